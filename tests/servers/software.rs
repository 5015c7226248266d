//! Registrations that say they are the software of another client.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use tower_dcr::audit::LifecycleAction;
use tower_dcr::clients::{Ledger, MemoryLedger};
use tower_dcr::rules::{Action, Caller};
use tower_dcr_sqlx::SqliteLedger;

use crate::databases::TempDir;
use crate::world::{Answer, DAY, World, register};

const CONFLICT: LifecycleAction = LifecycleAction::SoftwareIdConflict;

fn app(name: &str, uris: &[&str]) -> Value {
    json!({ "client_name": name, "redirect_uris": uris, "software_id": "acme-app" })
}

fn world(ledger: impl Ledger, action: Option<Action>) -> World {
    World::with(ledger, |registrar| {
        registrar.map_settings(|lifecycle| lifecycle.software_id_conflict = action).unwrap()
    })
}

async fn admitted_by_token(world: &World, body: &Value) -> Answer {
    let mut request = register(body);
    request.extensions_mut().insert(Caller::authorized("acme"));
    world.send(request).await
}

/// Registers by a node that has reported nothing before, since further events of one source are summed. Returns whether it
/// reports a conflict.
async fn is_marked(world: &World, ledger: impl Ledger, body: &Value) -> bool {
    let node = World::around(world.server.clone(), world.clock.clone(), ledger, |registrar| registrar);
    assert_eq!(node.register(body).await.status, 201, "{body}");
    !node.events.of(CONFLICT).is_empty()
}

async fn other_hosts_are_marked(ledger: impl Ledger + Clone, reason: &str) {
    let world = world(ledger.clone(), None);
    let evil = app("Acme", &["https://evil.example.net/cb"]);
    let honest = world.register(&app("Acme", &["http://127.0.0.1:1/cb", "https://acme.example.com/cb"])).await;
    assert_eq!(honest.status, 201, "{reason}");
    assert_eq!(world.register(&app("Unused", &["https://one.example.net/cb"])).await.status, 201, "{reason}");
    assert_eq!(world.events.of(CONFLICT), [], "{reason}: a registration alone proves nothing");
    assert_eq!(world.token(&honest.client_id()).await.status, 200, "{reason}");
    for (body, marked) in [
        (app("Acme 2", &["http://127.0.0.1:2/other", "http://localhost:3/cb"]), false),
        (app("Acme 3", &["https://acme.example.com/another"]), false),
        (evil.clone(), true),
        // The existing client, which was reported.
        (evil.clone(), false),
        (app("Acme 4", &["https://acme.example.com/cb", "https://evil.example.net/cb"]), true),
        (app("Acme 5", &["com.example.acme:/cb"]), true),
        (
            json!({ "client_name": "E", "redirect_uris": ["https://evil.example.net/cb"], "software_id": "Acme-app" }),
            false,
        ),
        (json!({ "client_name": "E", "redirect_uris": ["https://evil.example.net/cb"], "software_id": "" }), false),
        (json!({ "client_name": "E", "redirect_uris": ["https://evil.example.net/cb"] }), false),
        // Its codes go to the vendor, whatever software it says it is.
        (app("Claude", &["https://claude.ai/api/mcp/auth_callback"]), false),
    ] {
        assert_eq!(is_marked(&world, ledger.clone(), &body).await, marked, "{reason}: {body}");
    }
    assert_eq!(world.register(&app("Acme", &["https://evil2.example.net/cb"])).await.status, 201, "{reason}");
    let event = &world.events.of(CONFLICT)[0];
    assert_eq!(event.subject.as_deref(), Some("software_id:acme-app"), "{reason}");
    assert_eq!(event.client_name.as_deref(), Some("Acme"), "{reason}");
    let told = event.reason.as_deref().unwrap();
    assert!(told.contains("evil2.example.net") && told.contains(&honest.client_id()), "{reason}: {told}");
    // Records that cost nothing do not hide the client that got a token.
    for number in 0..40 {
        world.register(&app(&format!("Filler {number}"), &["https://filler.example.net/cb"])).await;
    }
    assert!(is_marked(&world, ledger.clone(), &app("Late", &["https://filler.example.net/cb"])).await, "{reason}");
    let partner = World::around(world.server.clone(), world.clock.clone(), ledger, |registrar| registrar);
    assert_eq!(
        admitted_by_token(&partner, &app("Partner", &["https://p.example.net/cb"])).await.status,
        201,
        "{reason}"
    );
    assert_eq!(partner.events.of(CONFLICT), [], "{reason}: vouched for");
}

async fn other_hosts_are_rejected(ledger: impl Ledger, reason: &str) {
    let world = world(ledger, Some(Action::Reject));
    // A stranger comes first, and signs in.
    let stranger = world.register(&app("Acme", &["https://evil.example.net/cb"])).await.client_id();
    assert_eq!(world.token(&stranger).await.status, 200, "{reason}");
    let honest = world.register(&app("Acme", &["https://acme.example.com/cb"])).await;
    assert_eq!((honest.status, world.events.of(CONFLICT).len()), (201, 1), "{reason}: not locked out");
    // Nor by a registration of a vendor's callback, which is verified and proves nothing about this software.
    let vendor = world.register(&app("Claude", &["https://claude.ai/api/mcp/auth_callback"])).await;
    assert_eq!(world.token(&vendor.client_id()).await.status, 200, "{reason}");
    assert_eq!(world.register(&app("Acme", &["http://127.0.0.1/cb"])).await.status, 201, "{reason}");
    // The operator says which one is known.
    world.registrar.extend(&honest.client_id(), DAY, "alice", "known to us").await.unwrap();
    let clones = [["https://evil2.example.net/cb"].as_slice(), &["https://acme.example.com/cb", "http://localhost/cb"]];
    for uris in clones {
        let answer = world.register(&app("Clone", uris)).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_client_metadata"), "{reason}: {uris:?}");
        assert!(
            answer.text.contains("software_id") && !answer.text.contains(&honest.client_id()),
            "{reason}: {}",
            answer.text
        );
    }
    assert_eq!(world.register(&app("Acme (laptop)", &["https://acme.example.com/cb"])).await.status, 201, "{reason}");
    // The usual bypass: a clean registration, and then an update.
    let clean =
        world.register(&json!({ "client_name": "Clean", "redirect_uris": ["https://evil3.example.net/cb"] })).await;
    let mut update = app("Clean", &["https://evil3.example.net/cb"]);
    update["client_id"] = clean.client_id().into();
    let put = Request::put(format!("/register/{}", clean.client_id()))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(update.to_string()))
        .unwrap();
    assert_eq!(world.send(put).await.status, 400, "{reason}");
    // A client may change its own hosts: it is compared with others only.
    let mut own = app("Acme", &["https://acme.example.com/cb", "https://new.acme.example.com/cb"]);
    own["client_id"] = honest.client_id().into();
    let put = |body: &Value| {
        Request::put(format!("/register/{}", honest.client_id()))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .unwrap()
    };
    assert_eq!(world.send(put(&own)).await.status, 200, "{reason}");
}

#[tokio::test]
async fn the_software_of_another_client_with_other_hosts_is_suspicious() {
    let dir = TempDir::new("software");
    let sqlite = async |name: &str| SqliteLedger::open(dir.path().join(name)).await.unwrap();
    other_hosts_are_marked(MemoryLedger::default(), "memory").await;
    other_hosts_are_marked(sqlite("mark.db").await, "SQLite").await;
    other_hosts_are_rejected(MemoryLedger::default(), "memory").await;
    other_hosts_are_rejected(sqlite("reject.db").await, "SQLite").await;
}

#[tokio::test]
async fn what_a_token_admitted_counts_and_what_is_passed_does_not() {
    for (action, status, marked) in [(Action::Reject, 400, 0), (Action::Mark, 201, 1), (Action::Pass, 201, 0)] {
        let world = world(MemoryLedger::default(), Some(action));
        let partner = admitted_by_token(&world, &app("Acme", &["https://acme.example.com/cb"])).await;
        assert_eq!(partner.status, 201, "{action:?}");
        let answer = world.register(&app("Acme", &["https://evil.example.net/cb"])).await;
        assert_eq!((answer.status, world.events.of(CONFLICT).len()), (status, marked), "{action:?}");
        // An ended client counts no more.
        let alice = tower_dcr::clients::Actor::Operator("alice".into());
        let mut revocation = tower_dcr::clients::Revocation::client(partner.client_id(), alice, "x");
        revocation.blocks = false;
        world.registrar.revoke(revocation).await.unwrap();
        let again = world.register(&app("Acme B", &["https://evil.example.net/cb"])).await;
        assert_eq!((again.status, world.events.of(CONFLICT).len()), (201, marked), "{action:?}");
    }
}

/// In report-only mode it passes, and the audit event says what would have been rejected.
#[tokio::test]
async fn a_policy_file_sets_it_and_report_only_passes_it() {
    let text = "extends = 'mcp'\nlifecycle.software_id_conflict = 'reject'\n";
    for (report_only, status) in [(false, 400), (true, 201)] {
        let world = World::new(MemoryLedger::default());
        let file: tower_dcr::Preset = format!("{text}lifecycle.report_only = {report_only}").parse().unwrap();
        let world = world.guarded_by(|_| file.with_sink(|_: &tower_dcr::audit::Event| {}));
        admitted_by_token(&world, &app("Acme", &["https://acme.example.com/cb"])).await;
        let answer = world.register(&app("Acme", &["https://evil.example.net/cb"])).await;
        assert_eq!(answer.status, status, "{}", answer.text);
    }
}
