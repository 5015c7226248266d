//! A ledger that can't be used is let alone; one that can't answer a question is asked the next one.

use std::sync::atomic::Ordering;

use tower_dcr::ledger::LedgerError;

use crate::down::Down;
use crate::world::{World, metadata};

/// How often the ledger is asked by twenty registrations and twenty sign-ins, all of which have to wait.
async fn asked(is_outage: bool) -> (usize, usize) {
    let ledger = Down { is_outage, ..Down::default() };
    let asked = ledger.asked.clone();
    let world = World::new(ledger);
    for number in 0..20 {
        let answer = world.register(&metadata(&format!("App {number}"))).await;
        assert!(answer.status == 503 && answer.error() == "temporarily_unavailable", "{answer:?}");
    }
    let by_registrations = asked.swap(0, Ordering::SeqCst);
    for number in 0..20 {
        let answer = world.token(&format!("client-{number}")).await;
        assert!(answer.status == 503 && answer.error() == "temporarily_unavailable", "{answer:?}");
    }
    (by_registrations, asked.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_ledger_that_is_down_is_let_alone() {
    // Reads and writes are watched apart, and each is let alone after five failures in a row.
    let (by_registrations, by_sign_ins) = asked(true).await;
    assert!((5..=10).contains(&by_registrations) && by_sign_ins <= 5, "{by_registrations} and {by_sign_ins}");
}

/// Or one who finds a question that it can't answer would turn all others away.
#[tokio::test]
async fn a_question_that_fails_keeps_nobody_from_asking() {
    let (by_registrations, by_sign_ins) = asked(false).await;
    assert!(by_registrations >= 20 && by_sign_ins >= 20, "{by_registrations} and {by_sign_ins}");
}

#[test]
fn an_error_says_which_of_the_two_it_is() {
    assert!(LedgerError::outage("connection refused").is_outage());
    assert!(!LedgerError::new("no such column").is_outage());
}
