//! Words that ledgers store are read back as the same values.

use tower_dcr::clients::{Actor, Fingerprint, Origin, Status};

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
    for origin in [Origin::Elsewhere, Origin::Registered] {
        assert_eq!(origin.to_string().parse(), Ok(origin));
    }
    assert!("gone".parse::<Status>().is_err() && "".parse::<Origin>().is_err());
}

#[test]
fn fingerprints_are_read_as_they_are_written() {
    for kind in ["client_id", "digest", "family", "name", "redirect_set", "software_id", "source"] {
        let fingerprint = Fingerprint::from_parts(kind, "value").unwrap();
        assert_eq!((fingerprint.kind(), fingerprint.value()), (kind, "value"));
    }
    assert!(Fingerprint::from_parts("colour", "red").is_none());
}
