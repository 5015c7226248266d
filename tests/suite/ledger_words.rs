//! Words that ledgers store are read back as the same values.

use serde_json::json;
use tower_dcr::clients::{Actor, Change, ClientQueue, Fingerprint, Origin, Status};

#[test]
fn actors_are_read_as_they_are_written() {
    for (actor, text) in [
        (Actor::Client, "client"),
        (Actor::System, "system"),
        (Actor::Operator("alice".into()), "operator:alice"),
        (Actor::Operator("a:b".into()), "operator:a:b"),
        (Actor::Operator(String::new()), "operator:"),
        (Actor::TokenOwner("portal".into()), "token-owner:portal"),
    ] {
        assert_eq!((actor.to_string().as_str(), text.parse()), (text, Ok(actor)));
    }
    for text in ["", "Client", "operator", "client:", "system:root", "somebody:else"] {
        assert!(text.parse::<Actor>().is_err(), "{text:?}");
    }
}

#[test]
fn states_and_origins_are_read_as_they_are_written() {
    for status in
        [Status::Active, Status::Expired, Status::Failed, Status::Pending, Status::Registering, Status::Revoked]
    {
        assert_eq!(status.to_string().parse(), Ok(status));
    }
    for origin in [Origin::Document, Origin::Elsewhere, Origin::Registered] {
        assert_eq!(origin.to_string().parse(), Ok(origin));
    }
    for change in [Change::Decoration, Change::Narrowing, Change::Widening, Change::Identity] {
        assert_eq!(change.to_string().parse(), Ok(change));
    }
    for queue in ClientQueue::ALL {
        assert_eq!(queue.to_string().parse(), Ok(queue));
    }
    let unknown = ["gone".parse::<Status>().unwrap_err(), "".parse::<Origin>().unwrap_err()];
    assert_eq!(
        unknown.map(|error| error.to_string()),
        [
            r#""gone" is not a status: expected one of registering, pending, active, expired, revoked, failed"#,
            r#""" is not an origin: expected one of registered, elsewhere, document"#,
        ]
    );
}

#[test]
fn fingerprints_are_read_as_they_are_written() {
    for kind in Fingerprint::KINDS {
        let json = json!({ "kind": kind, "value": "value" });
        let fingerprint: Fingerprint = serde_json::from_value(json.clone()).unwrap();
        assert_eq!((fingerprint.kind(), fingerprint.value()), (kind, "value"));
        assert_eq!(serde_json::to_value(fingerprint).unwrap(), json);
    }
    assert!(serde_json::from_value::<Fingerprint>(json!({ "kind": "colour", "value": "red" })).is_err());
}
