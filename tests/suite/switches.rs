//! Each switch of the configuration does one thing.

use std::num::NonZeroU32;
use std::str::FromStr;

use serde_json::{Value, json};
use tower_dcr::rate_limit::{Quota, RateLimits};
use tower_dcr::registration::Limits;
use tower_dcr::rules::{Action, AuthMethod, ClientName, ConfigError, Decorations, Grants, RedirectPattern, Scope};
use tower_dcr::{Preset, layers::RateLimitLayer};

use crate::support::{Naive, behind, post, send};

/// A setting: its name, the change, and a registration that is rejected before and accepted after it.
type Switch = (&'static str, fn(Preset) -> Result<Preset, ConfigError>, fn() -> Value);

/// As strict as it gets.
fn closed() -> Preset {
    tower_dcr::strict()
        .without_rate_limits()
        .map_rules(|mut rules| {
            rules.identity.contradicted_mention = Action::Reject;
            rules.identity.unverified = Action::Reject;
            Ok(rules)
        })
        .and_then(|preset| {
            preset.map_rules(|mut rules| {
                rules.metadata.scope = Scope::default().with_ceiling(["read"])?;
                rules.metadata.scope.otherwise = Action::Reject;
                Ok(rules)
            })
        })
        .unwrap()
}

fn with(member: &str, value: impl Into<Value>) -> Value {
    let mut body = json!({ "client_name": "App", "redirect_uris": ["https://app.example.com/cb"] });
    body[member] = value.into();
    body
}

fn redirecting(uri: &str) -> Value {
    with("redirect_uris", vec![uri])
}

fn named(name: &str, uri: &str) -> Value {
    json!({ "client_name": name, "redirect_uris": [uri] })
}

/// A grant type that a client without a secret may have.
const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

const SWITCHES: [Switch; 18] = [
    (
        "https ports",
        |preset| {
            preset.map_rules(|mut rules| {
                rules.redirect_uris.https_ports = [443, 8443].into();
                Ok(rules)
            })
        },
        || redirecting("https://app.example.com:8443/cb"),
    ),
    (
        "localhost",
        |preset| {
            preset.map_rules(|mut rules| {
                rules.redirect_uris.localhost = true;
                Ok(rules)
            })
        },
        || redirecting("http://localhost/cb"),
    ),
    (
        "a private-use scheme",
        |preset| {
            preset.map_rules(|mut rules| {
                rules.redirect_uris = rules.redirect_uris.add_private_use_scheme("myapp")?;
                Ok(rules)
            })
        },
        || redirecting("myapp://cb"),
    ),
    (
        "unlisted schemes",
        |preset| {
            preset.map_rules(|mut rules| {
                rules.redirect_uris.unlisted_schemes = Action::Mark;
                Ok(rules)
            })
        },
        || redirecting("otherapp://cb"),
    ),
    (
        "reverse domain names",
        |preset| {
            preset.map_rules(|mut rules| {
                rules.redirect_uris.reverse_domain_schemes = true;
                Ok(rules)
            })
        },
        || redirecting("com.example.app:/cb"),
    ),
    (
        "a pattern",
        |preset| {
            preset.map_rules(|mut rules| {
                rules.redirect_uris.patterns.push("https://app.corp/cb".parse::<RedirectPattern>()?);
                Ok(rules)
            })
        },
        || redirecting("https://app.corp/cb"),
    ),
    (
        "the number of redirect URIs",
        |preset| {
            preset.map_rules(|mut rules| {
                rules.redirect_uris = rules.redirect_uris.with_limits(20, 2048)?;
                Ok(rules)
            })
        },
        || with("redirect_uris", (0..12).map(|n| format!("https://app.example.com/{n}")).collect::<Vec<_>>()),
    ),
    (
        "unknown members",
        |preset| {
            preset.map_rules(|mut rules| {
                rules.metadata.members.unknown = Action::Strip;
                Ok(rules)
            })
        },
        || with("skip_consent", true),
    ),
    (
        "unwanted members",
        |preset| {
            preset.map_rules(|mut rules| {
                rules.metadata.members.unwanted = Action::Strip;
                Ok(rules)
            })
        },
        || with("jwks_uri", "https://app.example.com/jwks"),
    ),
    (
        "grant types",
        |preset| {
            let grants = Grants::new(["authorization_code", "refresh_token", DEVICE], ["code"])?;
            preset.map_rules(|mut rules| {
                rules.metadata.grants = grants;
                rules.metadata.grants.otherwise = Action::Reject;
                Ok(rules)
            })
        },
        || with("grant_types", vec!["authorization_code", DEVICE]),
    ),
    (
        "auth methods",
        |preset| {
            let methods = AuthMethod::one_of(["none", "client_secret_post"]);
            preset.map_rules(|mut rules| {
                rules.metadata.auth_method = methods;
                Ok(rules)
            })
        },
        || with("token_endpoint_auth_method", "client_secret_post"),
    ),
    (
        "decorations",
        |preset| {
            preset.map_rules(|mut rules| {
                rules.metadata.decorations = Decorations::default();
                Ok(rules)
            })
        },
        || with("logo_uri", "http://localhost:5173/logo.png"),
    ),
    (
        "the length of names",
        |preset| {
            let names = ClientName::default().with_max_chars(200)?;
            preset.map_rules(|mut rules| {
                rules.metadata.client_name = names;
                Ok(rules)
            })
        },
        || with("client_name", "A".repeat(150)),
    ),
    (
        "scopes",
        |preset| {
            let mut scope = Scope::default().with_ceiling(["read", "admin"])?;
            scope.otherwise = Action::Reject;
            preset.map_rules(|mut rules| {
                rules.metadata.scope = scope;
                Ok(rules)
            })
        },
        || with("scope", "read admin"),
    ),
    (
        "contradicted names",
        |preset| {
            preset.map_rules(|mut rules| {
                rules.identity.contradicted_name = Action::Mark;
                Ok(rules)
            })
        },
        || named("Claude", "https://app.example.com/cb"),
    ),
    (
        "contradicted links",
        |preset| {
            preset.map_rules(|mut rules| {
                rules.identity.contradicted_link = Action::Mark;
                Ok(rules)
            })
        },
        || with("client_uri", "https://claude.ai"),
    ),
    (
        "contradicted mentions",
        |preset| {
            preset.map_rules(|mut rules| {
                rules.identity.contradicted_mention = Action::Mark;
                Ok(rules)
            })
        },
        || named("Claude Helper", "https://app.example.com/cb"),
    ),
    (
        "unverified claims",
        |preset| {
            preset.map_rules(|mut rules| {
                rules.identity.unverified = Action::Mark;
                Ok(rules)
            })
        },
        || named("Claude Code", "http://127.0.0.1/cb"),
    ),
];

/// Returns `true` if a setting also opens the other one's registration: any scheme except dangerous ones is also a listed one, and
/// one in reverse domain name notation.
fn opens(turned: &str, name: &str) -> bool {
    turned == name || (turned == "unlisted schemes" && ["a private-use scheme", "reverse domain names"].contains(&name))
}

async fn is_registered(preset: &Preset, body: &Value) -> bool {
    send(&behind(preset, &Naive::default()), post(body.to_string())).await.status() == 201
}

#[tokio::test]
async fn loosening_one_rule_loosens_no_other() {
    assert!(is_registered(&closed(), &redirecting("https://app.example.com/cb")).await);
    let loosened: Vec<Preset> = SWITCHES.iter().map(|(_, loosen, _)| loosen(closed()).unwrap()).collect();
    for (name, _, probe) in &SWITCHES {
        assert!(!is_registered(&closed(), &probe()).await, "{name} is closed");
    }
    for (turned, preset) in SWITCHES.iter().zip(&loosened) {
        for (name, _, probe) in &SWITCHES {
            let registered = is_registered(preset, &probe()).await;
            assert_eq!(registered, opens(turned.0, name), "with {} loosened: {name}", turned.0);
        }
    }
}

/// Two settings at once open both registrations, and no other.
#[tokio::test]
async fn loosening_two_rules_loosens_no_third() {
    for (index, (one, loosen_one, _)) in SWITCHES.iter().enumerate() {
        for (other, loosen_other, _) in &SWITCHES[index + 1..] {
            // Two that set the same part of the policy: the later one counts, and it closes nothing it did not open.
            let preset = loosen_other(loosen_one(closed()).unwrap()).unwrap();
            for (name, _, probe) in &SWITCHES {
                let registered = is_registered(&preset, &probe()).await;
                assert_eq!(
                    registered,
                    opens(one, name) || opens(other, name),
                    "with {one} and {other} loosened: {name}"
                );
            }
        }
    }
}

/// A rule, and a registration that only this rule rejects. The first ones under the strictest settings, the others at an OpenID provider.
type Reported = (&'static str, fn() -> Value);

const REPORTED: [Reported; 9] = [
    ("client-name", || with("client_name", "A".repeat(150))),
    ("decorations", || with("logo_uri", "http://localhost:5173/logo.png")),
    ("grant-types", || with("grant_types", vec!["authorization_code", DEVICE])),
    ("identity", || named("Claude", "https://app.example.com/cb")),
    ("known-members", || with("skip_consent", true)),
    ("redirect-uris", || redirecting("myapp://cb")),
    ("response-types", || with("response_types", vec!["code", "token"])),
    ("scope", || with("scope", "read admin")),
    ("token-endpoint-auth-method", || with("token_endpoint_auth_method", "client_secret_post")),
];

const REPORTED_OF_PROVIDER: [Reported; 12] = [
    ("algorithms", || with("userinfo_encrypted_response_enc", "A256GCM")),
    ("application-type", || {
        let mut body = redirecting("http://127.0.0.1/cb");
        body["application_type"] = "desktop".into();
        body
    }),
    ("ciba", || with("backchannel_token_delivery_mode", "pull")),
    ("client-keys", || with("token_endpoint_auth_method", "private_key_jwt")),
    ("dereferenced-uris", || {
        let mut body = with("token_endpoint_auth_method", "private_key_jwt");
        body["jwks_uri"] = "https://10.0.0.1/keys".into();
        body
    }),
    ("front-channel-logout", || with("frontchannel_logout_uri", "https://app.example.net/out")),
    ("jwks", || {
        let mut body = with("token_endpoint_auth_method", "private_key_jwt");
        body["jwks"] = json!({ "keys": [{ "kty": "oct", "k": "c2VjcmV0" }] });
        body
    }),
    ("metadata-policy", || with("tos_uri", "https://app.example.com/other")),
    ("mutual-tls", || with("token_endpoint_auth_method", "tls_client_auth")),
    ("public-clients", || with("grant_types", vec!["client_credentials"])),
    ("request-uris", || with("request_uris", vec!["https://app.example.com/request"; 21])),
    ("subject-type", || with("subject_type", "ephemeral")),
];

fn provider() -> Preset {
    let policy = "extends = 'oauth'
        rate_limit = { address = 'off', global = 'off' }
        redirect_host_quota.quota = 'off'
        metadata.grants.grant_types = ['authorization_code', 'client_credentials', 'urn:openid:params:grant-type:ciba']
        metadata.grants.response_types = ['code']
        metadata.token_endpoint_auth_method.one_of = ['none', 'private_key_jwt', 'tls_client_auth']
        metadata.application_type.unknown = 'reject'
        metadata.policy.tos_uri.one_of = ['https://app.example.com/tos']";
    Preset::from_str(policy).unwrap()
}

/// Reporting one rule opens that one, and two open two. Which policy is tried beside it opens and closes nothing.
#[tokio::test]
async fn reporting_a_rule_loosens_no_other() {
    for (base, table) in [(closed(), &REPORTED[..]), (provider(), &REPORTED_OF_PROVIDER[..])] {
        for (name, probe) in table {
            let answer = send(&behind(&base, &Naive::default()), post(probe().to_string())).await;
            let rule = answer.response.extensions().get::<tower_dcr::Rejection>().map(|rejection| rejection.rule);
            assert_eq!(rule, Some(*name), "{name} is closed, and by this rule");
        }
        for (index, (one, _)) in table.iter().enumerate() {
            for (other, _) in &table[index..] {
                let preset = base.clone().with_report_only_rules([one, other]).unwrap();
                let shadowed = [preset.clone(), preset.with_shadow(tower_dcr::mcp())];
                for (name, probe) in table {
                    for preset in &shadowed {
                        let registered = is_registered(preset, &probe()).await;
                        assert_eq!(registered, name == one || name == other, "with {one} and {other} reported: {name}");
                    }
                }
            }
        }
    }
}

/// Each rule that can be reported has a row: those that are about no registration, in `trying.rs` and `documents.rs`.
#[test]
fn every_report_only_rule_is_tested() {
    let schema = Preset::file_schema();
    let named = schema["$defs"]["ReportableRule"]["enum"].as_array().unwrap();
    let tried = REPORTED.iter().chain(&REPORTED_OF_PROVIDER).map(|(name, _)| *name);
    let elsewhere = ["document", "document-redirects", "initial-access-token", "rate-limit", "redirect-host-quota"];
    let tried: std::collections::BTreeSet<&str> = tried.chain(elsewhere).collect();
    assert_eq!(named.iter().map(|name| name.as_str().unwrap()).collect::<std::collections::BTreeSet<_>>(), tried);
}

/// Nor does turning the limits off, or making bodies larger.
#[tokio::test]
async fn limits_loosen_no_rule() {
    let one = Quota::per_minute(NonZeroU32::MIN);
    let generous = [
        closed().with_body(Limits { max_bytes: 1 << 20, max_members: 1000, ..Limits::default() }),
        closed().with_rate_limit(RateLimitLayer::new().map_limits(|limits| {
            *limits = RateLimits::OFF;
            limits.global = one.into();
        })),
    ];
    for preset in generous {
        for (name, _, probe) in &SWITCHES {
            assert!(!is_registered(&preset, &probe()).await, "{name}");
        }
    }
}
