//! Any name can be judged, compared and shown; what passes is what was sent, and hides nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_dcr::Registration;
use tower_dcr::consent::ConsentFacts;
use tower_dcr::name::{is_confusable, visible};
use tower_dcr::policy::{ClientName, Identities, IdentityGuard, Policy, Review, Submission};

fuzz_target!(|name: &str| {
    let shown = visible(name);
    assert_eq!(visible(&shown), shown, "shown as it is shown");
    for known in ["Claude", "Visual Studio Code"] {
        assert_eq!(is_confusable(known, name), is_confusable(name, known));
    }
    let body = serde_json::json!({ "client_name": name, "redirect_uris": ["https://app.example.com/cb"] }).to_string();
    let Ok(mut registration) = Registration::parse(body.as_bytes()) else { return };
    let sent = registration.canonical_bytes();
    let facts = ConsentFacts::new(&registration, "https://app.example.com/cb", &Identities::known());
    assert!(facts.owner().is_none(), "nobody is verified by a name");
    let mut review = Review::registration();
    let rules = (ClientName::new(), IdentityGuard::new());
    if rules.review(&mut Submission::new(&mut registration, &mut review)).is_ok() {
        assert_eq!(registration.canonical_bytes(), sent, "names are never rewritten");
        assert!(name.chars().count() <= 100 && !name.chars().any(char::is_control));
    }
});
