//! The table of presets, row by row, and what can be changed about them.

use serde_json::{Value, json};
use tower_dcr::preset::PresetRules;
use tower_dcr::redirect_uri::RedirectClass;
use tower_dcr::rules::{
    Action, ApplicationType, AuthMethod, ConfigError, Context, Decision, Disposition, Grants, Members,
    MetadataAllowlist, Policy, RedirectPattern, RedirectUris, Scope,
};
use tower_dcr::{Preset, Registration};

use crate::support::{Naive, behind, changed, post, send};

/// Returns the forwarded document, or the error.
async fn judged(preset: &Preset, body: Value) -> Result<Value, String> {
    let naive = Naive::default();
    let answer = send(&behind(&preset.clone().without_rate_limits(), &naive), post(body.to_string())).await;
    match naive.seen().pop() {
        Some(body) => Ok(serde_json::from_slice(&body).unwrap()),
        None => Err(answer.json()["error_description"].as_str().unwrap().to_owned()),
    }
}

fn oauth() -> Preset {
    let grants = Grants::new(
        ["authorization_code", "refresh_token", "client_credentials", "implicit"],
        ["code", "token id_token"],
    );
    tower_dcr::oauth(grants.unwrap(), AuthMethod::one_of(["none", "client_secret_basic", "private_key_jwt"]))
}

fn with_redirect_uris(
    mut rules: PresetRules,
    change: impl FnOnce(RedirectUris) -> Result<RedirectUris, ConfigError>,
) -> Result<PresetRules, ConfigError> {
    rules.redirect_uris = change(rules.redirect_uris)?;
    Ok(rules)
}

#[expect(clippy::needless_pass_by_value, reason = "called with literals")]
fn with(changes: Value) -> Value {
    let mut body = json!({ "redirect_uris": ["https://app.example.com/cb"] });
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn unknown_and_unwanted_members() {
    let signed = json!({ "signed_jwks_uri": "https://a.example.com/" });
    for changes in [json!({ "foo": 1 }), signed, json!({ "client_id": "x" })] {
        let body = with(changes.clone());
        let plain = with(
            json!({ "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"], "token_endpoint_auth_method": "none" }),
        );
        assert_eq!(judged(&tower_dcr::mcp(), body.clone()).await.unwrap(), plain, "{changes}");
        assert!(judged(&tower_dcr::strict(), body.clone()).await.is_err(), "{changes}");
        let expected = with(
            json!({ "grant_types": ["authorization_code"], "response_types": ["code"], "token_endpoint_auth_method": "client_secret_basic" }),
        );
        assert_eq!(judged(&oauth(), body).await.unwrap(), expected, "{changes}");
    }
    let statement = with(json!({ "software_statement": "eyJ" }));
    for preset in [tower_dcr::mcp(), tower_dcr::strict(), oauth()] {
        assert!(judged(&preset, statement.clone()).await.unwrap_err().starts_with("software_statement"));
    }
    let jwks =
        with(json!({ "jwks_uri": "https://app.example.com/jwks", "subject_type": "public", "default_max_age": 3600 }));
    assert_eq!(judged(&oauth(), jwks.clone()).await.unwrap()["default_max_age"], 3600);
    assert!(judged(&tower_dcr::mcp(), jwks).await.unwrap().get("jwks_uri").is_none());
}

#[tokio::test]
async fn fetched_uris_must_be_public() {
    for (changes, fault) in [
        (json!({ "jwks_uri": "https://app.example.com/jwks" }), None),
        (json!({ "jwks_uri": "http://app.example.com/jwks" }), Some("jwks_uri is not")),
        (json!({ "jwks_uri": "https://169.254.169.254/latest" }), Some("jwks_uri is not")),
        (json!({ "jwks_uri": "https://metadata.internal/" }), Some("jwks_uri is not")),
        (json!({ "jwks_uri": "https://2130706433/" }), Some("jwks_uri is not")),
        (json!({ "initiate_login_uri": "http://app.example.com/login" }), Some("initiate_login_uri is not")),
        (json!({ "post_logout_redirect_uris": ["https://app.example.com/out", "http://127.0.0.1:1/out"] }), None),
        (
            json!({ "post_logout_redirect_uris": ["https://app.example.com/out", "javascript:alert(1)"] }),
            Some("post_logout_redirect_uris[1] is not"),
        ),
        (
            json!({ "post_logout_redirect_uris": ["http://app.example.com/out"] }),
            Some("post_logout_redirect_uris[0] is not"),
        ),
        (
            json!({ "jwks": { "keys": [] }, "jwks_uri": "https://app.example.com/jwks" }),
            Some("jwks must not be there beside jwks_uri"),
        ),
        (json!({ "jwks": { "keys": [] } }), None),
    ] {
        let judged = judged(&oauth(), with(changes.clone())).await;
        match fault {
            None => assert!(judged.is_ok(), "{changes}: {judged:?}"),
            Some(fault) => {
                assert!(judged.as_ref().is_err_and(|error| error.starts_with(fault)), "{changes}: {judged:?}");
            }
        }
    }
}

/// OpenID Connect Dynamic Client Registration section 2: the rule is for the implicit flow, and for `web` only.
#[tokio::test]
async fn web_clients_of_the_implicit_flow_redirect_to_https() {
    for (grants, kind, uri, passes) in [
        (json!(["implicit"]), Some("web"), "https://app.example.com/cb", true),
        (json!(["implicit"]), Some("web"), "http://localhost:1/cb", false),
        (json!(["implicit"]), None, "http://127.0.0.1:1/cb", false),
        (json!(["implicit"]), None, "com.example.app:/cb", false),
        (json!(["implicit"]), Some("native"), "http://127.0.0.1:1/cb", true),
        (json!(["authorization_code"]), Some("web"), "http://localhost:1/cb", true),
        (json!(["authorization_code"]), None, "http://localhost:1/cb", true),
    ] {
        let responses = if grants[0] == "implicit" { json!(["token id_token"]) } else { json!(["code"]) };
        let mut body = json!({ "redirect_uris": [uri], "grant_types": grants, "response_types": responses });
        if let Some(kind) = kind {
            body["application_type"] = kind.into();
        }
        let judged = judged(&oauth(), body.clone()).await;
        assert_eq!(judged.is_ok(), passes, "{body}: {judged:?}");
    }
}

#[tokio::test]
async fn grants_and_response_types_are_correlated_after_their_defaults() {
    let grants = |body: Value| async move {
        let document = judged(&oauth(), with(body)).await?;
        Ok::<_, String>((document["grant_types"].clone(), document["response_types"].clone()))
    };
    // The trap: the literal default of response_types contradicts client_credentials alone.
    assert_eq!(
        grants(json!({ "grant_types": ["client_credentials"] })).await.unwrap(),
        (json!(["client_credentials"]), json!([]))
    );
    assert_eq!(grants(json!({})).await.unwrap(), (json!(["authorization_code"]), json!(["code"])));
    assert!(grants(json!({ "response_types": ["id_token token"] })).await.unwrap_err().contains("contradicts"));
    // The order of a composite does not matter, and its text is forwarded as sent.
    let implicit = json!({ "grant_types": ["implicit"], "response_types": ["id_token token"] });
    assert_eq!(grants(implicit).await.unwrap().1, json!(["id_token token"]));
    assert!(grants(json!({ "grant_types": ["refresh_token"] })).await.is_err());
    assert!(grants(json!({ "grant_types": ["Authorization_Code"] })).await.is_err());
    assert!(grants(json!({ "grant_types": ["password"] })).await.is_err());
    assert!(
        grants(json!({ "grant_types": ["authorization_code"], "response_types": ["token id_token"] })).await.is_err()
    );
    let no_redirect = json!({ "grant_types": ["client_credentials"] });
    assert!(judged(&oauth(), no_redirect.clone()).await.is_ok());
    assert!(judged(&tower_dcr::mcp(), no_redirect).await.is_err());
    assert!(
        judged(&oauth(), json!({ "grant_types": ["authorization_code"] }))
            .await
            .unwrap_err()
            .contains("redirect_uris is required")
    );
}

#[tokio::test]
async fn auth_methods() {
    let method = async |preset: &Preset, method: Value| {
        judged(preset, with(json!({ "token_endpoint_auth_method": method })))
            .await
            .map(|body| body["token_endpoint_auth_method"].clone())
    };
    for shared in ["client_secret_basic", "client_secret_post", "client_secret_jwt"] {
        assert_eq!(method(&tower_dcr::mcp(), shared.into()).await.unwrap(), "none");
        assert!(method(&tower_dcr::strict(), shared.into()).await.is_err());
    }
    assert!(method(&tower_dcr::mcp(), "private_key_jwt".into()).await.is_err());
    let keyed = with(json!({
        "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://app.example.com/jwks"
    }));
    assert_eq!(judged(&oauth(), keyed).await.unwrap()["token_endpoint_auth_method"], "private_key_jwt");
    assert!(method(&oauth(), "client_secret_post".into()).await.is_err());
    assert!(method(&oauth(), 7.into()).await.is_err());
}

#[tokio::test]
async fn one_redirect_uri_can_have_a_method_of_its_own() {
    let special = "https://www.perplexity.ai/rest/connections/oauth_callback";
    let rule = AuthMethod::public().with_method_for(special, "client_secret_post").unwrap();
    let preset = tower_dcr::mcp()
        .map_rules(|mut rules| {
            rules.metadata.auth_method = rule;
            Ok(rules)
        })
        .unwrap();
    let method = async |uris: Value, asked: Value| {
        let body = json!({ "redirect_uris": uris, "token_endpoint_auth_method": asked });
        judged(&preset, body).await.unwrap()["token_endpoint_auth_method"].clone()
    };
    assert_eq!(method(json!([special]), "none".into()).await, "client_secret_post");
    assert_eq!(method(json!([special]), Value::Null).await, "client_secret_post");
    assert_eq!(method(json!(["https://app.example.com/cb"]), "client_secret_post".into()).await, "none");
    // One that is listed does not lend its method to another one.
    assert_eq!(method(json!([special, "https://app.example.com/cb"]), "none".into()).await, "none");
    assert!(matches!(AuthMethod::public().with_method_for("javascript:x", "none"), Err(ConfigError::Pattern { .. })));
}

#[tokio::test]
async fn scopes() {
    let preset = |scope: Scope| {
        tower_dcr::mcp()
            .map_rules(|mut rules| {
                rules.metadata.scope = scope;
                Ok(rules)
            })
            .unwrap()
    };
    let scope = async |preset: &Preset, scope: Value| {
        judged(preset, with(json!({ "scope": scope }))).await.map(|body| body["scope"].clone())
    };
    let ceiling = preset(Scope::default().with_ceiling(["read", "write"]).unwrap().with_default(["read"]).unwrap());
    assert_eq!(scope(&ceiling, "write admin read".into()).await.unwrap(), "write read");
    assert!(scope(&ceiling, "admin".into()).await.is_err());
    assert_eq!(scope(&ceiling, Value::Null).await.unwrap(), "read");
    assert_eq!(scope(&ceiling, "".into()).await.unwrap(), "read");
    assert_eq!(scope(&tower_dcr::mcp(), "a  b ".into()).await.unwrap(), "a b");
    assert!(scope(&tower_dcr::strict(), "a  b".into()).await.is_err());
    assert!(scope(&tower_dcr::mcp(), "a\"b".into()).await.is_err());
    assert!(scope(&tower_dcr::mcp(), json!(["a"])).await.is_err());
    assert_eq!(Scope::default().with_ceiling(["a b"]).unwrap_err(), ConfigError::Scope { token: "a b".into() });
}

#[tokio::test]
async fn application_types() {
    let kind = async |preset: &Preset, uris: Value, kind: Value| {
        judged(preset, json!({ "redirect_uris": uris, "application_type": kind }))
            .await
            .map(|body| body["application_type"].clone())
    };
    let mcp = tower_dcr::mcp();
    assert_eq!(kind(&mcp, json!(["http://localhost/cb", "cursor://a/cb"]), Value::Null).await.unwrap(), "native");
    assert_eq!(
        kind(&mcp, json!(["http://localhost/cb", "https://vscode.dev/redirect"]), Value::Null).await.unwrap(),
        Value::Null
    );
    assert_eq!(
        kind(&mcp, json!(["https://vscode.dev/redirect", "http://localhost/cb"]), "web".into()).await.unwrap(),
        "native"
    );
    assert_eq!(kind(&mcp, json!(["https://vscode.dev/redirect"]), "web".into()).await.unwrap(), "web");
    assert_eq!(kind(&mcp, json!(["https://vscode.dev/redirect"]), "native".into()).await.unwrap(), "native");
    assert_eq!(kind(&mcp, json!(["https://vscode.dev/redirect"]), "spa".into()).await.unwrap(), Value::Null);
    assert!(kind(&tower_dcr::strict(), json!(["https://vscode.dev/redirect"]), "spa".into()).await.is_err());
    let as_sent = mcp
        .map_rules(|mut rules| {
            rules.metadata.application_type = changed(ApplicationType::default(), |it| {
                it.infer = false;
                it.unknown = Action::Reject;
            });
            Ok(rules)
        })
        .unwrap();
    assert_eq!(kind(&as_sent, json!(["http://localhost/cb"]), Value::Null).await.unwrap(), Value::Null);
}

#[tokio::test]
async fn redirect_uris_by_class() {
    // The URI, and whether mcp, strict and oauth let it register by itself.
    let table = [
        ("https://app.example.com/cb", [true, true, true]),
        ("https://app.example.com:8443/cb", [false, false, false]),
        ("https://app.corp.internal/cb", [false, false, false]),
        ("http://127.0.0.1:1/cb", [true, true, true]),
        ("http://[::1]/cb", [true, true, true]),
        ("http://localhost/cb", [true, false, true]),
        ("cursor://anysphere/cb", [true, false, false]),
        ("com.example.app:/cb", [true, false, true]),
        ("myapp://cb", [false, false, false]),
        // Callbacks of applications that the tables know.
        ("antigravity://google.antigravity/oauth", [true, false, false]),
        ("postman://app/oauth2/callback", [true, false, false]),
        ("raycast://oauth?package_name=Extension", [true, false, false]),
        ("com.raycast:/oauth", [true, false, true]),
        ("slack://oauth/callback", [true, false, false]),
        ("warp://mcp/oauth2callback", [true, false, false]),
        ("workbuddy://workbuddy/mcp/connector%3A/oauth/callback", [true, false, false]),
        // Names of private networks, and names without an owner.
        ("https://127-0-0-1.nip.io/cb", [false, false, false]),
        ("https://192-168-0-1.x.plex.direct/cb", [false, false, false]),
        ("https://app.lndo.site/cb", [false, false, false]),
        ("https://fritz.box/cb", [false, false, false]),
        ("https://foo.svc/cb", [false, false, false]),
        ("https://foo.intranet/cb", [false, false, false]),
        ("https://co.uk/cb", [false, false, false]),
        ("https://app.203-0-113-7.sslip.io/cb", [true, true, true]),
        ("http://app.example.com/cb", [false, false, false]),
    ];
    for (uri, expected) in table {
        for (preset, expected) in [tower_dcr::mcp(), tower_dcr::strict(), oauth()].iter().zip(expected) {
            let verdict = judged(preset, json!({ "redirect_uris": [uri] })).await;
            assert_eq!(verdict.is_ok(), expected, "{uri}: {verdict:?}");
        }
    }
    // A URI that is not allowed, next to an allowed one, is dropped, or rejects all.
    let mixed = json!({ "redirect_uris": ["grokked://cb", "http://127.0.0.1/cb", "https://app.example.com:8443/cb"] });
    assert_eq!(
        judged(&tower_dcr::mcp(), mixed.clone()).await.unwrap()["redirect_uris"],
        json!(["http://127.0.0.1/cb"])
    );
    assert_eq!(
        judged(&tower_dcr::strict(), mixed.clone()).await.unwrap_err(),
        "redirect_uris[0] uses a scheme that is not allowed here (redirect-uris)"
    );
    assert!(judged(&oauth(), mixed).await.is_err());
    // A dangerous one rejects all, under every preset.
    let poisoned = json!({ "redirect_uris": ["http://127.0.0.1/cb", "http://app.example.com/cb"] });
    for preset in [tower_dcr::mcp(), tower_dcr::strict(), oauth()] {
        assert!(judged(&preset, poisoned.clone()).await.unwrap_err().starts_with("redirect_uris[1]"));
    }
}

/// The descriptions name the scheme, host, top-level domain, port or number.
#[tokio::test]
async fn rejections_of_redirect_uris_name_the_fault() {
    let many: Vec<String> = (0..11).map(|n| format!("https://app{n}.example.com/cb")).collect();
    let listed = tower_dcr::mcp()
        .map_rules(|mut rules| {
            rules.redirect_uris.only_https = Some(Vec::from(["https://a.com/*".parse::<RedirectPattern>()?]));
            Ok(rules)
        })
        .unwrap();
    for (preset, uris, expected) in [
        (tower_dcr::mcp(), json!(many), "redirect_uris has 11 entries, and at most 10 are allowed (redirect-uris)"),
        (
            tower_dcr::mcp(),
            json!(["https://evil.example/cb"]),
            "redirect_uris[0] leads to a host without a public top-level domain (redirect-uris)",
        ),
        (
            tower_dcr::mcp(),
            json!(["https://app.example.com:8443/cb"]),
            "redirect_uris[0] leads to a port that is not allowed here (redirect-uris)",
        ),
        (
            tower_dcr::mcp(),
            json!(["https://co.uk/cb"]),
            "redirect_uris[0] leads to a public suffix, which has no owner (redirect-uris)",
        ),
        (
            tower_dcr::mcp(),
            json!(["https://10-0-0-1.nip.io/cb"]),
            "redirect_uris[0] leads to a host name for private networks (redirect-uris)",
        ),
        (
            listed,
            json!(["https://b.com/cb"]),
            "redirect_uris[0] leads to a place that is not listed here (redirect-uris)",
        ),
    ] {
        assert_eq!(judged(&preset, json!({ "redirect_uris": uris })).await.unwrap_err(), expected);
    }
}

/// However the scheme is let in, a link that makes the application act is no redirect URI.
#[tokio::test]
async fn links_that_act_are_rejected_under_every_policy() {
    const LINKS: [&str; 6] = [
        "cursor://anysphere.cursor-deeplink/mcp/install?name=x&config=e30",
        "vscode://vscode.git/clone?url=https://x.test/x.git",
        "jetbrains://idea/checkout/git?checkout.repo=x",
        "warp://action/new_tab",
        "x-github-client://openRepo/https://github.com/x/y",
        "https://vscode.dev/redirect?url=vscode:mcp/install",
    ];
    let open = |mut guard: RedirectUris| {
        guard.unlisted_schemes = Action::Mark;
        ["cursor", "vscode", "jetbrains", "warp", "x-github-client"]
            .into_iter()
            .try_fold(guard, RedirectUris::add_private_use_scheme)
    };
    for preset in [tower_dcr::mcp(), tower_dcr::strict(), oauth()] {
        for preset in [preset.clone(), preset.map_rules(|rules| with_redirect_uris(rules, open)).unwrap()] {
            for link in LINKS {
                // Also beside one that is allowed: it is never dropped in silence.
                let body = json!({ "redirect_uris": ["http://127.0.0.1/cb", link] });
                let rejected = judged(&preset, body).await.unwrap_err();
                assert!(
                    rejected.starts_with("redirect_uris[1] leads to a link of an application"),
                    "{link}: {rejected}"
                );
            }
        }
    }
    for link in LINKS {
        assert!(link.parse::<RedirectPattern>().is_err(), "a pattern can't name {link}");
    }
}

/// Any scheme but the dangerous ones: with a finding, and only where the class is allowed.
#[tokio::test]
async fn unlisted_schemes_can_be_marked() {
    let marking = |mut guard: RedirectUris| {
        guard.unlisted_schemes = Action::Mark;
        Ok::<_, ConfigError>(guard)
    };
    let findings = |guard: &RedirectUris, uris: &[&str]| {
        let body = json!({ "redirect_uris": uris }).to_string();
        let registration = Registration::parse(body.as_bytes()).unwrap();
        let evaluation = Policy::new(guard.clone()).evaluate(registration, &Context::registration());
        match evaluation.decision() {
            Decision::Reject => Err(evaluation.rejection.unwrap().clone()),
            decision => Ok((evaluation.findings.clone(), decision == Decision::Rewrite)),
        }
    };
    let mut guard = RedirectUris::mcp();
    guard.unlisted_schemes = Action::Mark;
    let (found, rewritten) = findings(&guard, &["newapp://cb", "otherapp:/cb", "http://127.0.0.1/cb"]).unwrap();
    assert_eq!(found.iter().map(|finding| finding.disposition).collect::<Vec<_>>(), [Disposition::Flagged]);
    assert!(!rewritten);
    assert_eq!(findings(&guard, &["cursor://anysphere.cursor-mcp/cb"]).unwrap().0, [], "a listed one");
    for dangerous in [
        "javascript:/x",
        "ms-settings:/privacy",
        "itms-services://x",
        "shortcuts://run-shortcut",
        "git+ssh://x",
        "x-apple.systempreferences:/x",
        "steam://run",
        "microsoft-edge:/x",
        "vnc://x",
        "data:/x",
        "market://x",
    ] {
        assert!(findings(&guard, &[dangerous]).is_err(), "{dangerous}");
    }
    guard.classes = vec![RedirectClass::Https];
    assert!(findings(&guard, &["newapp://cb"]).is_err());
    let owned = marking(RedirectUris::mcp()).and_then(|guard| guard.add_private_use_scheme("com.example.app")).unwrap();
    assert!(findings(&owned, &["com.example.app.evil:/cb"]).is_err(), "its owner has said which schemes are theirs");
    let preset = tower_dcr::mcp().map_rules(|rules| with_redirect_uris(rules, marking)).unwrap();
    assert!(judged(&preset, json!({ "redirect_uris": ["workbuddy2://cb"] })).await.is_ok());
}

#[tokio::test]
async fn redirect_uris_can_be_opened_and_closed() {
    let preset = |change: fn(RedirectUris) -> Result<RedirectUris, ConfigError>| {
        tower_dcr::mcp().map_rules(|rules| with_redirect_uris(rules, change)).unwrap()
    };
    let allows = async |preset: &Preset, uri: &str| judged(preset, json!({ "redirect_uris": [uri] })).await.is_ok();
    let internal = preset(|mut guard| {
        guard.patterns.push("https://*.corp.internal:*/oauth/*".parse()?);
        Ok(guard)
    });
    assert!(allows(&internal, "https://a.corp.internal:8443/oauth/cb").await);
    assert!(!allows(&internal, "https://a.b.corp.internal/oauth/cb").await);
    let vendors = preset(|mut guard| {
        guard.only_https = Some(RedirectPattern::vendor_callbacks().collect());
        Ok(guard)
    });
    assert!(allows(&vendors, "https://claude.ai/api/mcp/auth_callback").await);
    assert!(allows(&vendors, "https://chatgpt.com/connector/oauth/abc").await);
    assert!(
        !allows(&vendors, "https://claude.ai/other").await && !allows(&vendors, "https://app.example.com/cb").await
    );
    assert!(allows(&vendors, "http://localhost/cb").await);
    let listed = preset(|guard| guard.add_private_use_scheme("com.example.app"));
    assert!(allows(&listed, "com.example.app:/cb").await && allows(&listed, "org.example.app:/cb").await);
    assert!(!allows(&listed, "com.example.app.evil:/cb").await && !allows(&listed, "com.example:/cb").await);
    let closed = preset(|mut guard| {
        (guard.reverse_domain_schemes, guard.localhost) = (false, false);
        Ok(guard)
    });
    assert!(!allows(&closed, "org.example.app:/cb").await && !allows(&closed, "http://localhost/cb").await);
    let small = preset(|guard| guard.with_limits(1, 30));
    assert!(
        allows(&small, "http://127.0.0.1/cb").await && !allows(&small, "https://app.example.com/a-long-callback").await
    );
    for scheme in ["javascript", "DATA", "ms-word", "file"] {
        let error = RedirectUris::mcp().add_private_use_scheme(scheme).unwrap_err();
        assert_eq!(error, ConfigError::DangerousScheme { scheme: scheme.into() });
    }
    for scheme in ["https", "http", "My.App", "a b", "", "1a"] {
        assert!(
            matches!(RedirectUris::mcp().add_private_use_scheme(scheme), Err(ConfigError::Scheme { .. })),
            "{scheme}"
        );
    }
}

#[tokio::test]
async fn members_allows_and_supplies_extra_members() {
    let preset = tower_dcr::mcp()
        .map_rules(|mut rules| {
            let members = rules.metadata.members.add_member("tenant")?;
            rules.metadata.members = members.supply_member("origin", json!({ "b": 1, "a": [true] }))?;
            Ok(rules)
        })
        .unwrap();
    let document = judged(&preset, with(json!({ "tenant": { "id": 7 }, "origin": "mine", "other": 1 }))).await.unwrap();
    assert_eq!((&document["tenant"], &document["origin"]), (&json!({ "id": 7 }), &json!({ "a": [true], "b": 1 })));
    assert!(document.get("other").is_none());
    for name in ["client_id", "software_statement", "redirect_uris", ""] {
        assert_eq!(Members::default().add_member(name).unwrap_err(), ConfigError::Member { name: name.into() });
    }
    let mut rejecting = MetadataAllowlist::mcp();
    rejecting.members = Members::default();
    rejecting.members.unknown = Action::Reject;
    let preset = tower_dcr::mcp().map_rules(|rules| Ok(changed(rules, |it| it.metadata = rejecting))).unwrap();
    assert_eq!(
        judged(&preset, with(json!({ "foo": 1 }))).await.unwrap_err(),
        "a member is not known to this server (known-members)"
    );
}

#[tokio::test]
async fn language_tags() {
    let tagged = with(
        json!({ "client_name#fr": "F", "client_name#": "x", "client_name#a b": "x", "redirect_uris#en": "x", "tos_uri#de-CH": "http://x/" }),
    );
    let document = judged(&tower_dcr::mcp(), tagged).await.unwrap();
    let names: Vec<_> = document.as_object().unwrap().keys().filter(|name| name.contains('#')).collect();
    assert_eq!(names, ["client_name#fr"]);
    let twice = with(json!({ "client_name#fr": "F", "client_name#FR": "G" }));
    assert!(judged(&tower_dcr::mcp(), twice).await.unwrap_err().contains("twice"));
    assert!(judged(&tower_dcr::mcp(), with(json!({ "client_name#fr": "a\u{202e}b" }))).await.is_err());
    assert!(judged(&tower_dcr::mcp(), with(json!({ "logo_uri#fr": "\tjava\nscript:alert(1)" }))).await.is_err());
}

#[tokio::test]
async fn decorations() {
    let logo = async |preset: &Preset, uri: &str| {
        judged(preset, with(json!({ "logo_uri": uri }))).await.map(|body| body.get("logo_uri").is_some())
    };
    let rejecting = tower_dcr::mcp()
        .map_rules(|mut rules| {
            rules.metadata.decorations.otherwise = Action::Reject;
            Ok(rules)
        })
        .unwrap();
    for (uri, stays) in
        [("https://app.example.com/l.png", true), ("http://app.example.com/l.png", false), ("https://10.0.0.1/", false)]
    {
        assert_eq!(logo(&tower_dcr::mcp(), uri).await, Ok(stays), "{uri}");
        assert_eq!(logo(&rejecting, uri).await.is_ok(), stays, "{uri}");
    }
    assert!(logo(&tower_dcr::mcp(), " JavaScript:alert(1)").await.is_err());
}

#[test]
fn contradictory_grants_are_a_configuration_error() {
    let fails = |grants: &[&str], responses: &[&str]| {
        matches!(
            Grants::new(grants.to_vec(), responses.to_vec()),
            Err(ConfigError::NoGrants | ConfigError::PasswordGrant | ConfigError::MissingGrant)
        )
    };
    assert!(fails(&[], &["code"]) && fails(&["password"], &[]) && fails(&["authorization_code"], &["token"]));
    assert!(!fails(&["authorization_code"], &["code"]));
}
