//! Software statements, really signed.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower_dcr::Preset;
use tower_dcr::clock::ManualClock;
use tower_dcr::redirect_uri::RedirectClass;
use tower_dcr::rules::{Condition, RedirectPattern, SoftwareStatements};

use crate::signer::Signer;
use crate::support::{Kept, Naive, Read, behind, changed, post, send};

const NOW: u64 = 1_800_000_000;

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Duration::from_secs(NOW)))
}

fn statements(signer: &Signer) -> SoftwareStatements {
    SoftwareStatements::new([signer.issuer()]).unwrap().with_clock(clock())
}

fn preset(statements: SoftwareStatements) -> Preset {
    tower_dcr::mcp().without_rate_limits().with_software_statements(statements)
}

struct Outcome {
    answer: Read,
    forwarded: Option<Value>,
    event: Value,
}

async fn register(preset: &Preset, body: &Value) -> Outcome {
    let (naive, kept) = (Naive::default(), Kept::default());
    let answer = send(&behind(&preset.clone().with_sink(kept.sink()), &naive), post(body.to_string())).await;
    let forwarded = naive.seen().pop().map(|bytes| serde_json::from_slice(&bytes).unwrap());
    Outcome { answer, forwarded, event: serde_json::from_str(&kept.lines()[0]).unwrap() }
}

fn with(statement: &str) -> Value {
    json!({ "client_name": "Plain", "redirect_uris": ["https://plain.example.com/cb"], "software_statement": statement })
}

#[tokio::test]
async fn signed_claims_take_precedence_and_are_evaluated() {
    let signer = Signer::new("https://directory.example.com");
    let statement = signer.sign(&json!({
        "client_name": "Signed",
        "redirect_uris": ["https://signed.example.com/cb", "myapp://cb"],
        "grant_types": ["authorization_code", "password"],
        "software_id": "s-1", "org_id": "not metadata", "client_id": "mine", "jti": "1", "sub": "x",
    }));
    let mut body = with(&statement);
    body["client_name#fr"] = "Claude".into();
    body["software_id"] = "plain".into();
    let outcome = register(&preset(statements(&signer)), &body).await;
    assert_eq!(outcome.answer.status(), StatusCode::CREATED, "{}", outcome.answer.json());
    let forwarded = outcome.forwarded.unwrap();
    assert_eq!(
        forwarded,
        json!({
            "client_name": "Signed", "redirect_uris": ["https://signed.example.com/cb"], "software_id": "s-1",
            "grant_types": ["authorization_code"], "response_types": ["code"], "token_endpoint_auth_method": "none",
        }),
        "claims, narrowed by the rules; nothing of the token, nothing that only the server issues"
    );
    let answer = outcome.answer.json();
    assert_eq!(answer["software_statement"], statement, "returned unmodified (RFC 7591 section 3.2.1)");
    assert_eq!(outcome.event["statement_issuer"], "https://directory.example.com");
    assert_eq!(outcome.event["outcome"], "rewritten");
    let asserted: Vec<&Value> =
        outcome.event["findings"].as_array().unwrap().iter().filter(|f| f["disposition"] == "asserted").collect();
    assert_eq!(asserted.len(), 4, "{asserted:?}");
    assert!(!outcome.event.to_string().contains(&statement[..20]));
}

/// RFC 7591 section 5: what is signed is as good as the one who signed it.
#[tokio::test]
async fn the_ledger_keeps_the_issuer() {
    use tower_dcr::clients::Registrar;
    use tower_dcr::clients::{Filter, Ledger, MemoryLedger};
    let signer = Signer::new("https://directory.example.com");
    let statement =
        signer.sign(&json!({ "client_name": "Signed", "redirect_uris": ["https://signed.example.com/cb"] }));
    let plain = json!({ "client_name": "Plain", "redirect_uris": ["https://plain.example.com/cb"] });
    for (body, issuer) in [(with(&statement), Some("https://directory.example.com")), (plain, None)] {
        let ledger = MemoryLedger::default();
        let preset = preset(statements(&signer)).with_registrar(Registrar::new(ledger.clone()));
        assert_eq!(register(&preset, &body).await.answer.status(), StatusCode::CREATED);
        let record = ledger.page(&Filter::default(), None, 1).await.unwrap().remove(0);
        assert_eq!((record.statement_issuer.as_deref(), record.is_vouched_for()), (issuer, issuer.is_some()));
    }
}

/// Strangers who write the `software_id` of a signed application do not spend its budget, nor does another application of
/// the same issuer.
#[tokio::test]
async fn a_signed_software_id_has_a_budget_of_its_own() {
    let signer = Signer::new("https://directory.example.com");
    let preset = preset(statements(&signer)).map_rate_limit(|limits| limits.software_id = "1/hour".parse().unwrap());
    let uris = json!(["https://signed.example.com/cb"]);
    let unnamed = signer.sign(&json!({ "redirect_uris": uris, "client_name": "Other" }));
    let mut borrowed = with(&unnamed);
    borrowed["software_id"] = "s-1".into();
    let stranger = json!({ "redirect_uris": uris, "software_id": "s-1" });
    let named = with(&signer.sign(&json!({ "redirect_uris": uris, "software_id": "s-1" })));
    for (body, status, reason) in [
        (&borrowed, 201, "its issuer did not sign this id"),
        (&stranger, 429, "as strangers do"),
        (&named, 201, "with a budget of its own"),
        (&named, 429, "which is spent"),
    ] {
        let outcome = register(&preset, body).await;
        assert_eq!(outcome.answer.status().as_u16(), status, "{reason}: {}", outcome.answer.json());
    }
}

/// RFC 7591 section 3.1.1: the way around every rule that only looks at plain members.
#[tokio::test]
async fn an_attack_inside_of_a_statement_is_an_attack() {
    let signer = Signer::new("https://directory.example.com");
    let preset = preset(statements(&signer));
    for (claims, rule) in [
        (json!({ "redirect_uris": ["javascript:alert(1)"] }), "redirect-uris"),
        (json!({ "redirect_uris": "https://signed.example.com/cb" }), "known-members"),
        (json!({ "client_name": "Claude", "redirect_uris": ["https://evil.example.net/cb"] }), "identity"),
        (json!({ "client_name": "\u{202E}edualC" }), "client-name"),
        (json!({ "logo_uri": "javascript:alert(1)" }), "decorations"),
        (json!({ "grant_types": ["client_credentials"] }), "grant-types"),
    ] {
        let outcome = register(&preset, &with(&signer.sign(&claims))).await;
        assert_eq!((outcome.answer.status(), outcome.forwarded), (StatusCode::BAD_REQUEST, None), "{claims}");
        assert_eq!(outcome.event["rule"], rule, "{claims}");
    }
}

#[tokio::test]
async fn rejects_invalid_signatures() {
    let signer = Signer::new("https://directory.example.com");
    let other = Signer::new("https://directory.example.com");
    let stranger = Signer::new("https://stranger.example.com");
    let payload = json!({ "iss": "https://directory.example.com", "exp": 4_000_000_000_u64, "client_name": "Signed" })
        .to_string();
    let good = signer.sign(&json!({ "client_name": "Signed" }));
    let parts: Vec<&str> = good.split('.').collect();
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let unsigned = |header: &str| format!("{}.{}.", encode(header), encode(&payload));
    // A public key taken for the secret of an HMAC.
    let confused = {
        let message = format!("{}.{}", encode(r#"{"alg":"HS256","kid":"k1"}"#), encode(&payload));
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(signer.jwk_set().to_string().as_bytes()).unwrap();
        mac.update(message.as_bytes());
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    };
    let es256 = r#"{"alg":"ES256","kid":"k1"}"#;
    let duplicate = payload.replacen('{', r#"{"client_name":"Evil","#, 1);
    let rows = [
        (good.clone(), None, "as it should be"),
        (signer.sign_text(r#"{"alg":"ES256"}"#, &payload), None, "no key is named"),
        (
            signer.sign_text(r#"{"alg":"ES256","typ":"JWT","jku":"https://evil.example.net/","jwk":{}}"#, &payload),
            None,
            "keys in the header are not looked at",
        ),
        (unsigned(r#"{"alg":"none"}"#), Some("invalid_software_statement"), "none"),
        (unsigned(r#"{"alg":"NONE"}"#), Some("invalid_software_statement"), "none in capitals"),
        (unsigned(es256), Some("invalid_software_statement"), "no signature"),
        (confused, Some("invalid_software_statement"), "HMAC with the public key"),
        (
            signer.sign_text(r#"{"alg":"ES384","kid":"k1"}"#, &payload),
            Some("invalid_software_statement"),
            "another algorithm",
        ),
        (
            signer.sign_text(r#"{"alg":"ES256","kid":"k2"}"#, &payload),
            Some("invalid_software_statement"),
            "another key",
        ),
        (
            signer.sign_text(r#"{"alg":"ES256","kid":1}"#, &payload),
            Some("invalid_software_statement"),
            "a key that is no name",
        ),
        (
            signer.sign_text(r#"{"alg":"ES256","crit":["exp"],"exp":1}"#, &payload),
            Some("invalid_software_statement"),
            "critical",
        ),
        (
            signer.sign_text(r#"{"alg":"none","alg":"ES256"}"#, &payload),
            Some("invalid_software_statement"),
            "two algorithms",
        ),
        (signer.sign_text(es256, &duplicate), Some("invalid_software_statement"), "a name twice"),
        (signer.sign_text(es256, "[]"), Some("invalid_software_statement"), "no object"),
        (other.sign(&json!({ "client_name": "Signed" })), Some("invalid_software_statement"), "somebody else's key"),
        (
            format!("{}.{}.{}", parts[0], encode(&payload.replace("Signed", "Forged")), parts[2]),
            Some("invalid_software_statement"),
            "changed",
        ),
        (format!("{good}.x"), Some("invalid_software_statement"), "four parts"),
        (format!("{good}="), Some("invalid_software_statement"), "padded"),
        ("x".into(), Some("invalid_software_statement"), "nothing of the kind"),
        (signer.sign(&json!({ "client_name": "A".repeat(10_000) })), Some("invalid_software_statement"), "too long"),
        (signer.sign(&json!({ "exp": NOW - 3600 })), Some("invalid_software_statement"), "expired"),
        (signer.sign(&json!({ "exp": null })), Some("invalid_software_statement"), "without an end"),
        (signer.sign(&json!({ "exp": "4000000000" })), Some("invalid_software_statement"), "an end that is no number"),
        (signer.sign(&json!({ "exp": NOW - 30 })), None, "within what clocks may be off"),
        (signer.sign(&json!({ "nbf": NOW + 3600 })), Some("invalid_software_statement"), "not yet"),
        (signer.sign(&json!({ "iat": NOW + 3600 })), Some("invalid_software_statement"), "issued in the future"),
        (stranger.sign(&json!({})), Some("unapproved_software_statement"), "another issuer"),
        (signer.sign(&json!({ "iss": null })), Some("unapproved_software_statement"), "nobody's"),
    ];
    for (statement, error, reason) in rows {
        let outcome = register(&preset(statements(&signer)), &with(&statement)).await;
        let answer = outcome.answer.json();
        assert_eq!(answer["error"].as_str(), error, "{reason}: {answer}");
        assert_eq!(outcome.forwarded.is_some(), error.is_none(), "{reason}");
    }
    for other in [json!(1), json!(""), json!(null), json!([good])] {
        let mut body = with("");
        body["software_statement"] = other;
        assert_eq!(register(&preset(statements(&signer)), &body).await.answer.status(), StatusCode::BAD_REQUEST);
    }
    let without_the_rule = register(&tower_dcr::mcp().without_rate_limits(), &with(&good)).await;
    assert_eq!((without_the_rule.answer.status(), without_the_rule.forwarded), (StatusCode::BAD_REQUEST, None));
}

#[tokio::test]
async fn audience_age_and_use_are_checked_where_that_was_configured() {
    let signer = Signer::new("https://directory.example.com");
    let ok = async |statements: SoftwareStatements, claims: Value| {
        register(&preset(statements), &with(&signer.sign(&claims))).await.forwarded.is_some()
    };
    let audience = || {
        changed(statements(&signer), |it| {
            it.audiences = vec!["https://a.example.com".into(), "https://b.example.com".into()];
        })
    };
    assert!(ok(audience(), json!({ "aud": "https://a.example.com" })).await);
    assert!(ok(audience(), json!({ "aud": ["x", "https://b.example.com"] })).await);
    assert!(!ok(audience(), json!({ "aud": "https://c.example.com" })).await);
    assert!(!ok(audience(), json!({})).await);
    let young = || changed(statements(&signer), |it| it.max_age = Some(Duration::from_secs(600)));
    assert!(ok(young(), json!({ "iat": NOW - 300 })).await);
    assert!(!ok(young(), json!({ "iat": NOW - 900 })).await);
    assert!(!ok(young(), json!({})).await);
    let once = changed(statements(&signer), |it| it.single_use = true);
    assert!(ok(once.clone(), json!({ "jti": "a" })).await);
    assert!(!ok(once.clone(), json!({ "jti": "a" })).await, "used before");
    assert!(ok(once.clone(), json!({ "jti": "b" })).await);
    assert!(!ok(once, json!({})).await, "there has to be a name to remember");
    let plain = json!({ "redirect_uris": ["https://plain.example.com/cb"] });
    assert!(register(&preset(statements(&signer)), &plain).await.forwarded.is_some());
    assert!(register(&preset(changed(statements(&signer), |it| it.required = true)), &plain).await.forwarded.is_none());
}

#[tokio::test]
async fn an_update_may_repeat_a_used_statement() {
    let signer = Signer::new("https://directory.example.com");
    let preset = preset(changed(statements(&signer), |it| it.single_use = true));
    let naive = Naive::default();
    let service = behind(&preset, &naive);
    let mut body = with(&signer.sign(&json!({ "jti": "a", "client_name": "Signed" })));
    assert_eq!(send(&service, post(body.to_string())).await.status(), StatusCode::CREATED);
    body["client_id"] = "client-1".into();
    let update = Request::put("/register/client-1").header("content-type", "application/json");
    let answer =
        send(&service, update.body(http_body_util::Full::<bytes::Bytes>::from(body.to_string())).unwrap()).await;
    assert_eq!(answer.status(), StatusCode::CREATED, "{}", answer.json());
    let forwarded: Value = serde_json::from_slice(&naive.seen()[1]).unwrap();
    assert_eq!(forwarded["client_name"], "Signed");
}

#[tokio::test]
async fn members_of_the_servers_own_come_from_the_statement_too() {
    let signer = Signer::new("https://directory.example.com");
    let preset = |statements| {
        preset(statements)
            .map_rules(|mut rules| {
                rules.metadata.members = rules.metadata.members.add_member("tenant")?;
                Ok(rules)
            })
            .unwrap()
    };
    let statement = signer.sign(&json!({ "tenant": "signed", "other": "x" }));
    let mut body = with(&statement);
    let outcome = register(&preset(statements(&signer)), &body).await;
    assert_eq!(outcome.forwarded.unwrap().get("tenant"), None, "nobody asked for it");
    body["tenant"] = "plain".into();
    let outcome = register(&preset(statements(&signer)), &body).await;
    assert_eq!(outcome.forwarded.unwrap()["tenant"], "signed", "what was sent does not stand against what was signed");
    let claiming = changed(statements(&signer), |it| it.claims = vec!["tenant".into()]);
    let outcome = register(&preset(claiming), &with(&statement)).await;
    assert_eq!(outcome.forwarded.unwrap()["tenant"], "signed");
}

#[tokio::test]
async fn keys_by_value_and_by_reference_exclude_one_another() {
    let signer = Signer::new("https://directory.example.com");
    let preset = preset(statements(&signer))
        .map_rules(|mut rules| {
            rules.metadata.members.openid = true;
            Ok(rules)
        })
        .unwrap();
    let mut body = with(&signer.sign(&json!({ "jwks_uri": "https://signed.example.com/jwks" })));
    body["jwks"] = signer.jwk_set();
    let forwarded = register(&preset, &body).await.forwarded.unwrap();
    assert_eq!((forwarded.get("jwks"), &forwarded["jwks_uri"]), (None, &json!("https://signed.example.com/jwks")));
}

#[tokio::test]
async fn a_statement_can_have_rules_of_its_own() {
    let signer = Signer::new("https://directory.example.com");
    let preset = preset(statements(&signer))
        .map_rules(|mut rules| {
            rules.redirect_uris.classes = Vec::from([RedirectClass::Loopback]);
            Ok(rules)
        })
        .and_then(|preset| {
            preset.for_callers(Condition::StatementBy("https://directory.example.com".into()), |mut rules| {
                let hosts = ["https://signed.example.com/*".parse::<RedirectPattern>()?];
                rules.redirect_uris.classes = Vec::from([RedirectClass::Https]);
                rules.redirect_uris.only_https = Some(hosts.into_iter().collect());
                Ok(rules)
            })
        })
        .unwrap();
    let hosted = json!({ "redirect_uris": ["https://signed.example.com/cb"] });
    assert!(register(&preset, &hosted).await.forwarded.is_none(), "anonymous");
    assert!(register(&preset, &with(&signer.sign(&hosted))).await.forwarded.is_some());
    let elsewhere = json!({ "redirect_uris": ["https://other.example.com/cb"] });
    assert!(register(&preset, &with(&signer.sign(&elsewhere))).await.forwarded.is_none());
}

/// Any malformed statement gets a 400.
#[tokio::test]
async fn rejects_malformed_statements() {
    let signer = Signer::new("https://directory.example.com");
    let preset = preset(statements(&signer));
    for header in
        ["{", "{}", r#"{"alg":1}"#, r#"{"alg":"ES256","kid":""}"#, "\u{0}", r#"{"alg":"RS256"}"#, r#"{"alg":"EdDSA"}"#]
    {
        for payload in ["", "{}", "{\"iss\":1}", "{\"iss\":\"https://directory.example.com\",\"exp\":1e400}", "\u{FF}"]
        {
            let outcome = register(&preset, &with(&signer.sign_text(header, payload))).await;
            assert_eq!(outcome.answer.status(), StatusCode::BAD_REQUEST, "{header} {payload}");
        }
    }
}
