//! A link that is shown or followed leads over https to a public name, for two other readers as well.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_dcr::Registration;
use tower_dcr::rules::{Action, Context, Decorations, DereferencedUris, Identities, IntoRules, Policy};

fn passes(rule: impl IntoRules, member: &str, link: &str) -> bool {
    let body = serde_json::json!({ member: link }).to_string();
    let Ok(registration) = Registration::parse(body.as_bytes()) else { return false };
    // No link is a fault of the table of names, either.
    let _verdict = Identities::known().identify(&registration);
    let evaluation = Policy::new(rule).evaluate(registration, &Context::registration());
    let left = evaluation.registration.as_ref().and_then(|registration| registration.string(member));
    evaluation.rejection.is_none() && left == Some(link)
}

fuzz_target!(|link: &str| {
    let shown = passes(Decorations::default(), "logo_uri", link);
    let followed = passes(DereferencedUris::default(), "jwks_uri", link);
    assert_eq!(
        shown,
        passes(
            {
                let mut rule = Decorations::default();
                rule.otherwise = Action::Reject;
                rule
            },
            "tos_uri",
            link
        )
    );
    assert!(followed || !shown, "what is shown could be followed");
    if !followed {
        return;
    }
    let url = url::Url::parse(link).expect("a URL");
    let ada = ada_url::Url::parse(link, None).expect("a URL for the other reader, too");
    assert_eq!((url.scheme(), url.as_str()), ("https", ada.href()));
    assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
    let Some(url::Host::Domain(host)) = url.host() else { panic!("an address: {link}") };
    assert_eq!(host, ada.hostname());
    assert!(host.contains('.') && !host.ends_with('.') && host.is_ascii());
    assert!(host.parse::<std::net::IpAddr>().is_err());
});
