//! A link that is shown or followed leads over https to a public name, for two other readers as well.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_dcr::Registration;
use tower_dcr::rules::{Action, AuthMethod, Context, Grants, Identities, MetadataAllowlist, Policy};

fn passes(unshown: Action, member: &str, link: &str) -> bool {
    let mut rules = MetadataAllowlist::oauth(Grants::authorization_code(), AuthMethod::public());
    rules.decorations.otherwise = unshown;
    let body = serde_json::json!({ member: link }).to_string();
    let Ok(registration) = Registration::parse(body.as_bytes()) else { return false };
    // No link is a fault of the table of names, either.
    let _verdict = Identities::known().identify(&registration);
    let evaluation = Policy::new(rules).evaluate(registration, &Context::registration());
    let left = evaluation.registration.as_ref().and_then(|registration| registration.string(member));
    evaluation.rejection.is_none() && left == Some(link)
}

fuzz_target!(|link: &str| {
    let shown = passes(Action::Strip, "logo_uri", link);
    let followed = passes(Action::Strip, "jwks_uri", link);
    assert_eq!(shown, passes(Action::Reject, "tos_uri", link));
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
