//! Audit events in the log: at the level that they are documented to have, whole, and with fields to filter by.

use tower_dcr::audit::TracingSink;
use tower_dcr::clients::{Actor, MemoryLedger};
use tower_dcr::clients::{Registrar, Revocation};

use crate::support::{self, Naive, behind, post, send};

/// Returns the log at `level` and above of two registrations, one of them rejected, and a revocation.
fn logged(level: tracing::Level) -> Vec<String> {
    let lines = support::logged(level, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let registrar = Registrar::new(MemoryLedger::default());
            let preset = tower_dcr::mcp().with_registrar(registrar.clone()).with_sink(TracingSink);
            let service = behind(&preset, &Naive::default());
            send(&service, post(r#"{"redirect_uris":["http://localhost/cb"]}"#)).await;
            send(&service, post(r#"{"redirect_uris":["javascript:alert(1)"]}"#)).await;
            registrar.revoke(Revocation::client("client-1", Actor::Operator("alice".into()), "abuse")).await.unwrap();
        });
    });
    lines.into_iter().filter(|line| line.contains("tower_dcr::audit:")).collect()
}

#[test]
fn registrations_are_logged_as_info_and_rejections_as_warnings() {
    let lines = logged(tracing::Level::INFO);
    let [registered, refused, later @ ..] = lines.as_slice() else { panic!("{lines:#?}") };
    assert!(registered.trim_start().starts_with("INFO"), "{registered}");
    for part in [r#"outcome="accepted""#, "status=201", r#""client_id":"client-1""#, "client registration"] {
        assert!(registered.contains(part), "{part} is not in {registered}");
    }
    assert!(refused.trim_start().starts_with("WARN"), "{refused}");
    for part in [r#"outcome="rejected""#, r#"rule="redirect-uris""#, "status=400"] {
        assert!(refused.contains(part), "{part} is not in {refused}");
    }
    assert!(!refused.contains("alert"), "{refused}");
    let revoked = later.iter().find(|line| line.contains(r#"action="revoked""#)).unwrap();
    assert!(revoked.trim_start().starts_with("INFO") && revoked.contains("alice"), "{revoked}");
}

#[test]
fn at_level_warn_only_failed_registrations_are_logged() {
    let lines = logged(tracing::Level::WARN);
    assert!(lines.len() == 1 && lines[0].contains(r#"outcome="rejected""#), "{lines:#?}");
}
