//! Any name can be judged, compared and shown; what passes is what was sent, or its beginning, and hides nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_dcr::Registration;
use tower_dcr::clients::ConsentFacts;
use tower_dcr::rules::{ClientIdentity, ClientName, Context, Identities, Policy, visible};

fuzz_target!(|name: &str| {
    let shown = visible(name);
    assert_eq!(visible(&shown), shown, "shown as it is shown");
    let body = serde_json::json!({ "client_name": name, "redirect_uris": ["https://app.example.com/cb"] }).to_string();
    let Ok(registration) = Registration::parse(body.as_bytes()) else { return };
    let sent = registration.canonical_bytes();
    let facts = ConsentFacts::new(&registration, "https://app.example.com/cb", &Identities::known());
    assert!(facts.owner.is_none(), "nobody is verified by a name");
    let evaluation = Policy::new((ClientName::default(), ClientIdentity::default()))
        .evaluate(registration, &Context::registration());
    if let Some(registration) = evaluation.registration.as_ref().filter(|_| evaluation.rejection.is_none()) {
        let left = registration.string("client_name").unwrap_or_default();
        assert!(name.starts_with(left) && left.chars().count() <= 100 && !name.chars().any(char::is_control));
        if name.chars().count() <= 100 {
            assert_eq!(registration.canonical_bytes(), sent, "names are not rewritten");
        }
    }
});
