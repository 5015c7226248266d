use std::time::Duration;

use super::circuit::{Circuit, FAILURES, LONGEST_PAUSE, PAUSE};

const SECOND: Duration = Duration::from_secs(1);

/// Opens at zero.
fn open() -> Circuit {
    let circuit = Circuit::default();
    let pauses: Vec<_> = (0..FAILURES).map(|_| circuit.leave(Duration::ZERO).unwrap().failed(Duration::ZERO)).collect();
    assert!(pauses.iter().rev().skip(1).all(Option::is_none) && pauses.last().unwrap().is_some());
    circuit
}

#[test]
fn it_opens_after_failures_in_a_row() {
    let circuit = Circuit::default();
    for _ in 0..10 {
        for _ in 1..FAILURES {
            assert_eq!(circuit.leave(SECOND).unwrap().failed(SECOND), None);
        }
        assert!(!circuit.leave(SECOND).unwrap().succeeded());
    }
    let wait = open().leave(Duration::ZERO).unwrap_err();
    assert!(wait >= PAUSE && wait < PAUSE * 2, "{wait:?}");
}

#[test]
fn one_asks_when_the_pause_is_over() {
    let circuit = open();
    assert!(circuit.leave(PAUSE / 2).is_err());
    let probe = circuit.leave(SECOND).unwrap();
    assert!(circuit.leave(SECOND * 100).is_err());
    // Who hangs up has learned nothing, and the next one asks.
    drop(probe);
    let probe = circuit.leave(SECOND).unwrap();
    assert!(probe.succeeded());
    let two = (circuit.leave(SECOND).unwrap(), circuit.leave(SECOND).unwrap());
    assert!(!two.0.succeeded() && two.1.failed(SECOND).is_none());
}

#[test]
fn each_pause_is_twice_as_long_up_to_a_limit() {
    let circuit = open();
    let mut now = Duration::ZERO;
    let pauses: Vec<Duration> = (0..12)
        .map(|_| {
            now += LONGEST_PAUSE * 2;
            circuit.leave(now).unwrap().failed(now).unwrap()
        })
        .collect();
    for (index, pause) in pauses.iter().enumerate() {
        let length = (PAUSE * 2_u32.pow(u32::try_from(index).unwrap() + 1)).min(LONGEST_PAUSE);
        assert!(*pause >= length * 3 / 4 && *pause <= length * 5 / 4, "{index}: {pause:?} for {length:?}");
    }
    // All of them equal is one in a thousand to the eighth power.
    assert!(pauses.iter().skip(5).any(|pause| *pause != pauses[4]));
    assert!(circuit.leave(now * 2).unwrap().succeeded());
    assert_eq!((0..FAILURES).filter_map(|_| circuit.leave(now).unwrap().failed(now)).count(), 1);
}

#[test]
fn what_was_asked_before_it_opened_says_nothing_of_after() {
    let circuit = Circuit::default();
    let (late_success, late_failure) = (circuit.leave(SECOND).unwrap(), circuit.leave(SECOND).unwrap());
    (0..FAILURES).for_each(|_| _ = circuit.leave(SECOND).unwrap().failed(SECOND));
    assert!(!late_success.succeeded() && late_failure.failed(SECOND).is_none());
    assert!(circuit.leave(SECOND).is_err());
}
