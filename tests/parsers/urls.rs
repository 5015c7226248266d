//! URLs in metadata: what three readers make of them, and what a rule lets through.

use proptest::prelude::*;
use serde_json::{Value, json};
use tower_dcr::Registration;
use tower_dcr::redirect_uri::{RedirectClass, RedirectUri};
use tower_dcr::rules::{
    Action, AuthMethod, Context, Decorations, Grants, IntoRules, Jwks, Members, MetadataAllowlist, Policy, RedirectUris,
};

use test_support::support::outcome;

/// A row of the web platform's tests of URLs without a base.
fn platform_tests() -> Vec<Value> {
    include_str!("../data/wpt-urls.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn judge(rule: &(impl IntoRules + Clone), body: &Value) -> Result<Value, String> {
    let registration = Registration::parse(body.to_string().as_bytes()).map_err(|error| error.to_string())?;
    outcome(&Policy::new(rule.clone()).evaluate(registration, &Context::registration()))
}

/// Returns `true` if a link is forwarded byte for byte.
fn is_shown(link: &str) -> bool {
    match judge(&Decorations::default(), &json!({ "logo_uri": link })) {
        Ok(left) => left.get("logo_uri").is_some_and(|left| left == link),
        Err(_) => false,
    }
}

/// Accepts every member that a server or a browser follows.
fn openid() -> MetadataAllowlist {
    let mut rules = MetadataAllowlist::oauth(Grants::authorization_code(), AuthMethod::public());
    let members = FOLLOWED.into_iter().chain(["request_uris"]);
    rules.members = members.fold(rules.members, |members, name| members.add_member(name).unwrap());
    rules
}

const FOLLOWED: [&str; 5] =
    ["jwks_uri", "sector_identifier_uri", "initiate_login_uri", "backchannel_logout_uri", "frontchannel_logout_uri"];

fn is_followed(member: &str, uri: &str) -> bool {
    judge(&openid(), &json!({ member: uri })).is_ok_and(|left| left[member] == uri)
}

/// The invariants of a link that passes, for its host in every reader.
fn is_public(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    let special =
        ["local", "localhost", "internal", "invalid", "test", "example", "onion", "arpa", "corp", "home", "lan"];
    host.contains('.')
        && host.is_ascii()
        && !host.ends_with('.')
        && host.parse::<std::net::IpAddr>().is_err()
        && !last.bytes().all(|byte| byte.is_ascii_digit())
        && !special.contains(&last)
}

/// The readings of `url`, `ada-url` and this crate agree on everything that this crate accepts.
fn readers_agree(text: &str) -> Result<(), String> {
    let Ok(ours) = RedirectUri::parse(text) else { return Ok(()) };
    if !matches!(ours.scheme(), "https" | "http") {
        return Ok(());
    }
    let url = url::Url::parse(text).map_err(|error| format!("url: {error}"))?;
    let ada = ada_url::Url::parse(text, None).map_err(|_| "ada: no URL".to_owned())?;
    let host = ours.host().unwrap_or_default();
    let agree = url.host_str() == Some(host)
        && ada.hostname() == host
        && url.as_str() == ada.href()
        && url.username().is_empty()
        && ada.username().is_empty()
        && url.fragment().is_none()
        && ada.hash().is_empty()
        && url.scheme() == ours.scheme();
    if agree { Ok(()) } else { Err(format!("{text:?}: ours {host}, url {url}, ada {}", ada.href())) }
}

/// A link that passes leads, for both other readers, over `https` to a public name.
fn shown_links_are_public(text: &str) -> Result<(), String> {
    for (rule, passes) in [("shown", is_shown(text)), ("followed", is_followed("jwks_uri", text))] {
        if !passes {
            continue;
        }
        readers_agree(text)?;
        let url = url::Url::parse(text).map_err(|error| error.to_string())?;
        if url.scheme() != "https" || !is_public(url.host_str().unwrap_or_default()) {
            return Err(format!("{rule}: {text}"));
        }
    }
    Ok(())
}

#[test]
fn the_web_platforms_tests_hold() {
    let (mut rows, mut accepted) = (0, 0);
    for row in platform_tests() {
        let input = row["input"].as_str().unwrap();
        rows += 1;
        readers_agree(input).unwrap();
        shown_links_are_public(input).unwrap();
        let Ok(ours) = RedirectUri::parse(input) else { continue };
        if !matches!(ours.scheme(), "https" | "http") {
            continue;
        }
        accepted += 1;
        assert_ne!(row["failure"], true, "{input}");
        assert_eq!(row["hostname"], ours.host().unwrap(), "{input}");
        let href = row["href"].as_str().unwrap();
        // But for an empty path and a default port, what is accepted is its own serialisation.
        let stripped = |text: &str| text.trim_end_matches('/').replace(":443", "").replace(":80", "");
        assert_eq!(stripped(href), stripped(input));
    }
    println!("{rows} rows, {accepted} accepted as web URLs");
    assert!(rows > 450 && accepted > 10, "{rows} {accepted}");
    assert!(is_shown("https://app.example.com/logo.png"));
}

/// Every spelling that has led a server into its own network, and names without an owner.
const INSIDE: [&str; 89] = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.1.",
    "127.0.0.01",
    "①②⑦.⓪.⓪.①",
    "１２７.0.0.1",
    "127。0。0。1",
    "127%2e0%2e0%2e1",
    "0",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "0xa9fea9fe",
    "2852039166",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "[fc00::1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "sub.localhost",
    "localhost.localdomain",
    "ip6-localhost",
    "metadata",
    "metadata.google.internal",
    "instance-data.ec2.internal",
    "kubernetes.default.svc",
    "db.corp",
    "nas.local",
    "router.lan",
    "printer.home",
    "x.home.arpa",
    "x.test",
    "x.invalid",
    "x.onion",
    "127.0.0.1.nip.io",
    "app-127-0-0-1.nip.io",
    "10.0.0.1.sslip.io",
    "localtest.me",
    "sub.lvh.me",
    "metadata.goog",
    "lndo.site",
    "app.ddev.site",
    "localhost.direct",
    "fuf.me",
    "192-168-0-1.x.plex.direct",
    "192-168-0-1.my.local-ip.co",
    "192-168-0-1.local-ip.sh",
    "bugbounty.dod.network",
    "spoofed.burpcollaborator.net",
    "vm.internal.cloudapp.net",
    "localho.st",
    "fritz.box",
    "router.asus.com",
    "routerlogin.net",
    "tplinkwifi.net",
    "foo.svc",
    "foo.intranet",
    "foo.private",
    "192-168-0-1.example.com",
    "10.0.0.1.example.com",
    "example.com@127.0.0.1",
    "127.0.0.1\\@example.com",
    "127.0.0.1#.example.com",
    "127.0.0.1?.example.com",
    "127.0.0.1\t",
    "exa\u{AD}mple.com",
    "co.uk",
    "github.io",
    "com",
    "example.com:22",
    "example.com:25",
    "example.com.",
];

/// Returns `true` if the URL leads to the local machine in a spelling that redirect URIs may have.
fn is_loopback(uri: &str) -> bool {
    RedirectUri::parse(uri).is_ok_and(|uri| uri.class() == RedirectClass::Loopback)
}

/// Every member that a server or browser follows.
#[test]
fn no_member_leads_inside() {
    let members = ["client_uri", "logo_uri", "tos_uri", "policy_uri", "logo_uri#en-US"];
    for host in INSIDE {
        for uri in [
            format!("https://{host}/"),
            format!("https://{host}/x.png?y=1"),
            format!("http://{host}/"),
            format!("//{host}/"),
        ] {
            for member in members {
                let left = judge(&Decorations::default(), &json!({ member: uri }));
                assert!(left.as_ref().is_err() || left == Ok(json!({})), "{member} {uri}");
                assert!(
                    judge(
                        &{
                            let mut rule = Decorations::default();
                            rule.otherwise = Action::Reject;
                            rule
                        },
                        &json!({ member: uri })
                    )
                    .is_err(),
                    "{member} {uri}"
                );
            }
            // Redirect URIs are held to the same rule.
            let redirect = judge(&RedirectUris::mcp(), &json!({ "redirect_uris": [uri] }));
            assert!(redirect.is_err() || is_loopback(&uri), "{uri}");
            let other_port = host == "example.com:22" || host == "example.com:25";
            for member in FOLLOWED.iter().filter(|_| !other_port) {
                assert!(!is_followed(member, &uri), "{member} {uri}");
                assert!(judge(&openid(), &json!({ "request_uris": [uri] })).is_err(), "{uri}");
            }
        }
    }
    for member in FOLLOWED {
        assert!(is_followed(member, "https://app.example.com/x"), "{member}");
        assert!(judge(&openid(), &json!({ member: ["https://app.example.com/x"] })).is_err(), "no string");
    }
    let hashed =
        json!({ "request_uris": ["https://app.example.com/request.jwt#GkurKxf5T0Y-mnPFCHqWOMiZi4VS138cQO_V7PZHAdM"] });
    assert_eq!(judge(&openid(), &hashed).unwrap()["request_uris"], hashed["request_uris"]);
}

/// Members that a policy allows are checked like those that pass by default.
#[test]
fn members_that_were_let_through_are_judged() {
    let mut metadata = MetadataAllowlist::mcp();
    for name in ["sector_identifier_uri", "request_uris"] {
        metadata.members = metadata.members.add_member(name).unwrap();
    }
    let body = |uri: &str| json!({ "redirect_uris": ["https://app.example.com/cb"], "sector_identifier_uri": uri });
    assert!(judge(&metadata, &body("https://app.example.com/sector.json")).is_ok());
    assert!(judge(&metadata, &body("https://169.254.169.254/latest/meta-data/")).is_err());
}

#[test]
fn links_can_be_held_to_the_clients_own_site() {
    let mut rule = Decorations::default();
    rule.same_site = true;
    let left = |body: Value| judge(&rule, &body).unwrap();
    let body = json!({
        "redirect_uris": ["https://app.example.co.uk/cb"],
        "client_uri": "https://www.example.co.uk",
        "logo_uri": "https://other.co.uk/logo.png",
        "tos_uri": "https://example.co.uk/tos",
    });
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&left(body)), ["client_uri", "redirect_uris", "tos_uri"]);
    let native = json!({
        "redirect_uris": ["http://127.0.0.1/cb"],
        "client_uri": "https://tool.example.com",
        "logo_uri": "https://cdn.example.com/logo.png",
        "policy_uri": "https://evil.example.net/",
    });
    assert_eq!(names(&left(native)), ["client_uri", "logo_uri", "redirect_uris"]);
    let two_domains = json!({
        "redirect_uris": ["https://app.example.io/cb"],
        "client_uri": "https://example.com",
        "logo_uri": "https://cdn.example.com/logo.png",
        "tos_uri": "https://example.net/tos",
    });
    assert_eq!(names(&left(two_domains)), ["client_uri", "logo_uri", "redirect_uris"]);
    let pages = json!({ "redirect_uris": ["https://a.github.io/cb"], "logo_uri": "https://b.github.io/logo.png" });
    assert_eq!(names(&left(pages)), ["redirect_uris"]);
    assert!(
        judge(
            &{
                let mut rule = Decorations::default();
                rule.otherwise = Action::Reject;
                rule.same_site = true;
                rule
            },
            &json!({ "redirect_uris": ["https://a.com/cb"], "logo_uri": "https://b.com/x" })
        )
        .is_err()
    );
}

#[test]
fn keys_are_public_and_few() {
    let rsa = json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "1" });
    let with = |member: &str, value: Value| {
        let mut key = rsa.clone();
        key[member] = value;
        key
    };
    let rows = [
        (json!({ "keys": [rsa] }), true, "one public key"),
        (json!({ "keys": [] }), true, "none"),
        (json!({ "keys": [with("x5u", json!("https://app.example.com/cert.pem"))] }), true, "a public certificate"),
        (json!({ "keys": vec![rsa.clone(); 10] }), true, "as many as may be"),
        (json!({ "keys": vec![rsa.clone(); 11] }), false, "one more"),
        (json!({}), false, "no keys"),
        (json!({ "keys": {} }), false, "no array"),
        (json!({ "keys": ["x"] }), false, "no key"),
        (json!({ "keys": [{ "n": "AQAB" }] }), false, "of no kind"),
        (json!({ "keys": [{ "kty": "oct", "k": "c2VjcmV0" }] }), false, "symmetric"),
        (json!({ "keys": [with("k", json!("c2VjcmV0"))] }), false, "symmetric in disguise"),
        (json!({ "keys": [with("x5u", json!("https://169.254.169.254/"))] }), false, "a certificate inside"),
        (json!({ "keys": [with("x5u", json!(1))] }), false, "a certificate that is no URL"),
        (json!({ "keys": [with("x5c", json!(["A".repeat(20_000)]))] }), false, "too long"),
        (json!("x"), false, "no object"),
        (json!([1]), false, "an array"),
    ];
    for (jwks, accepted, reason) in rows {
        assert_eq!(judge(&Jwks::default(), &json!({ "jwks": jwks })).is_ok(), accepted, "{reason}");
    }
    for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "priv"] {
        let rejected =
            judge(&Jwks::default(), &json!({ "jwks": { "keys": [rsa, with(private, json!("c2VjcmV0LXZhbHVl"))] } }));
        let rejected = rejected.unwrap_err();
        assert!(
            rejected.starts_with("jwks has a private key") && !rejected.contains("c2VjcmV0"),
            "{private}: {rejected}"
        );
    }
    let both = json!({ "jwks": { "keys": [] }, "jwks_uri": "https://app.example.com/jwks" });
    assert!(judge(&Jwks::default(), &both).is_err());
    // In the place where they pass.
    let mut openid = MetadataAllowlist::mcp();
    openid.members = {
        let mut members = Members::default();
        members.openid = true;
        members
    };
    let body = json!({ "redirect_uris": ["https://a.example.com/cb"], "jwks": { "keys": [with("d", json!("x"))] } });
    assert!(judge(&openid, &body).is_err());
}

/// Pieces of which links into networks are made.
fn near_url() -> impl Strategy<Value = String> {
    let scheme = prop_oneof![6 => Just("https:"), 1 => Just("http:"), 1 => Just("HTTPS:"), 1 => Just("javascript:"), 1 => Just(" https:")];
    let slashes = prop_oneof![8 => Just("//"), 1 => Just("/"), 1 => Just("\\\\"), 1 => Just("///"), 1 => Just("")];
    let userinfo = prop_oneof![8 => Just(""), 1 => Just("app.example.com@"), 1 => Just("a:b@"), 1 => Just("@")];
    let host = prop_oneof![
        4 => "[a-z0-9-]{1,8}(\\.[a-z0-9-]{1,8}){0,3}",
        2 => "(0x)?[0-9a-f]{1,10}(\\.[0-9]{1,3}){0,3}",
        1 => "\\[[0-9a-f:.]{2,20}\\]",
        1 => "xn--[a-z0-9-]{1,10}\\.(com|example|io)",
        1 => "[a-zé。．％%\u{AD}\u{200B}]{1,8}\\.(com|localhost|nip\\.io|internal)",
        1 => Just("localhost".to_owned()),
    ];
    let rest = prop_oneof![4 => Just(""), 2 => Just("/"), 1 => Just(":443/"), 1 => Just(":80"), 1 => Just("."), 2 => Just("/a/../b"), 1 => Just("#x"), 1 => Just("?x=#"), 1 => Just("\\@x.com/")];
    (scheme, slashes, userinfo, host, rest)
        .prop_map(|(scheme, slashes, userinfo, host, rest)| format!("{scheme}{slashes}{userinfo}{host}{rest}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn three_readers_agree_on_what_is_accepted(text in prop_oneof![4 => near_url(), 1 => ".{0,40}", 1 => "https://[ -~]{0,30}"]) {
        prop_assert_eq!(readers_agree(&text), Ok(()));
        prop_assert_eq!(shown_links_are_public(&text), Ok(()));
    }

    /// Names: no panic, the verdict is the same again, and what is shown has nothing hidden in it.
    #[test]
    fn any_name_can_be_judged_and_shown(name in ".{0,120}") {
        use tower_dcr::rules::visible;
        let shown = visible(&name).into_owned();
        prop_assert_eq!(visible(&shown), shown.as_str());
        let body = json!({ "client_name": name, "redirect_uris": ["https://app.example.com/cb"] });
        let rule = (tower_dcr::rules::ClientName::default(), tower_dcr::rules::ClientIdentity::default());
        let first = judge(&rule, &body);
        prop_assert_eq!(&first, &judge(&rule, &body));
        if let Ok(left) = first {
            let left = left["client_name"].as_str().unwrap().to_owned();
            if name.chars().count() <= 100 {
                prop_assert_eq!(left, name, "names are not rewritten");
            } else {
                prop_assert!(left.chars().count() <= 100 && name.starts_with(&left), "but cut: {}", left);
            }
        }
    }
}
