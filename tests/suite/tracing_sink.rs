//! Audit events in the log: at the level that they are documented to have, whole, and with fields to filter by.

use std::io;
use std::sync::{Arc, Mutex};

use tower_dcr::Preset;
use tower_dcr::event::TracingSink;
use tower_dcr::ledger::{Actor, MemoryLedger};
use tower_dcr::registrar::{Registrar, Revocation};

use crate::support::{Naive, behind, post, send};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged at `level` and above while two register, one of them in vain, and one is revoked.
fn logged(level: tracing::Level) -> Vec<String> {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .without_time()
        .with_writer(move || writer.clone())
        .finish();
    // With one subscriber in the process, `tracing` remembers for all threads what one of them wants.
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    tracing::subscriber::with_default(subscriber, || {
        tracing::callsite::rebuild_interest_cache();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let registrar = Registrar::new(MemoryLedger::default());
            let preset = Preset::mcp().with_registrar(registrar.clone()).with_sink(TracingSink::new());
            let service = behind(&preset, &Naive::default());
            send(&service, post(r#"{"redirect_uris":["http://localhost/cb"]}"#)).await;
            send(&service, post(r#"{"redirect_uris":["javascript:alert(1)"]}"#)).await;
            registrar.revoke(Revocation::client("client-1", Actor::Operator("alice".into()), "abuse")).await.unwrap();
        });
    });
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    text.lines().filter(|line| line.contains("tower_dcr::audit:")).map(str::to_owned).collect()
}

#[test]
fn what_was_registered_is_news_and_what_was_not_a_warning() {
    let lines = logged(tracing::Level::INFO);
    let [registered, refused, later @ ..] = lines.as_slice() else { panic!("{lines:#?}") };
    assert!(registered.trim_start().starts_with("INFO"), "{registered}");
    for part in [r#"outcome="accepted""#, "status=201", r#""client_id":"client-1""#, "client registration"] {
        assert!(registered.contains(part), "{part} is not in {registered}");
    }
    assert!(refused.trim_start().starts_with("WARN"), "{refused}");
    for part in [r#"outcome="refused""#, r#"rule="redirect-uris""#, "status=400"] {
        assert!(refused.contains(part), "{part} is not in {refused}");
    }
    assert!(!refused.contains("alert"), "{refused}");
    let revoked = later.iter().find(|line| line.contains(r#"action="revoked""#)).unwrap();
    assert!(revoked.trim_start().starts_with("INFO") && revoked.contains("alice"), "{revoked}");
}

#[test]
fn whoever_wants_warnings_only_gets_what_was_not_registered() {
    let lines = logged(tracing::Level::WARN);
    assert!(lines.len() == 1 && lines[0].contains(r#"outcome="refused""#), "{lines:#?}");
}
