//! Rules about members of OpenID, and about the type of a client, where the corpus has no rows: other presets and settings.

use std::borrow::Cow;
use std::str::FromStr;

use serde_json::{Value, json};
use tower_dcr::preset::PresetRules;
use tower_dcr::rules::{Action, AuthMethod, ConfigError, Grants, MemberOperators};
use tower_dcr::{Preset, Rejection};

use crate::support::{Naive, behind, changed, post, send};

const CIBA: &str = "urn:openid:params:grant-type:ciba";

/// Returns the forwarded document, or the rule and the member that rejected it.
async fn judged(preset: &Preset, changes: &Value) -> Result<Value, (&'static str, Option<Cow<'static, str>>)> {
    let mut body = json!({ "redirect_uris": ["https://app.example.com/cb"] });
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let naive = Naive::default();
    let answer = send(&behind(&preset.clone().without_rate_limits(), &naive), post(body.to_string())).await;
    if let Some(body) = naive.seen().pop() {
        return Ok(serde_json::from_slice(&body).unwrap());
    }
    let rejection = answer.response.extensions().get::<Rejection>().unwrap();
    Err((rejection.rule, rejection.field.clone()))
}

fn rejects(rule: &'static str, member: &'static str) -> Result<Value, (&'static str, Option<Cow<'static, str>>)> {
    Err((rule, Some(member.into())))
}

fn oauth(grants: &[&str], methods: &[&str]) -> Preset {
    let responses = if grants.contains(&"authorization_code") { vec!["code"] } else { Vec::new() };
    let grants = Grants::new(grants.to_vec(), responses).unwrap();
    tower_dcr::oauth(grants, AuthMethod::one_of(methods.to_vec()))
}

fn with(preset: Preset, change: impl FnOnce(&mut PresetRules)) -> Preset {
    let changed = preset.map_rules(|mut rules| {
        change(&mut rules);
        Ok::<_, ConfigError>(rules)
    });
    changed.unwrap()
}

/// RFC 8252 section 8.5: a secret in each copy of an application is none.
#[tokio::test]
async fn a_native_client_gets_no_shared_secret() {
    let native = |method: Value| json!({ "application_type": "native", "redirect_uris": ["com.example.app:/cb"], "token_endpoint_auth_method": method });
    let both = oauth(&["authorization_code"], &["client_secret_basic", "none", "private_key_jwt"]);
    // One that is not offered is replaced like one that is.
    for method in [json!("client_secret_basic"), json!("client_secret_post"), Value::Null] {
        assert_eq!(judged(&both, &native(method)).await.unwrap()["token_endpoint_auth_method"], "none");
    }
    let secrets = oauth(&["authorization_code"], &["client_secret_basic"]);
    let rejected = rejects("token-endpoint-auth-method", "token_endpoint_auth_method");
    assert_eq!(judged(&secrets, &native("client_secret_basic".into())).await, rejected);
    assert_eq!(judged(&secrets, &native(Value::Null)).await, rejected);
    assert_eq!(judged(&secrets, &native("client_secret_post".into())).await, rejected);
    assert!(judged(&secrets, &json!({ "application_type": "web" })).await.is_ok());
    let per_instance = with(both, |rules| rules.metadata.auth_method.native_secrets = true);
    let kept = judged(&per_instance, &native("client_secret_basic".into())).await.unwrap();
    assert_eq!(kept["token_endpoint_auth_method"], "client_secret_basic");
    let file = "extends = 'oauth'
        metadata.grants = { grant_types = ['authorization_code'], response_types = ['code'] }
        metadata.token_endpoint_auth_method = { one_of = ['client_secret_basic'], native_secrets = true }";
    let kept = judged(&Preset::from_str(file).unwrap(), &native(Value::Null)).await.unwrap();
    assert_eq!(kept["token_endpoint_auth_method"], "client_secret_basic");
    // The operator's own decision about one redirect URI counts more.
    let listed = AuthMethod::public().with_method_for("http://127.0.0.1/cb", "client_secret_post").unwrap();
    let mcp = with(tower_dcr::mcp(), |rules| rules.metadata.auth_method = listed);
    let body = json!({ "application_type": "native", "redirect_uris": ["http://127.0.0.1/cb"] });
    assert_eq!(judged(&mcp, &body).await.unwrap()["token_endpoint_auth_method"], "client_secret_post");
}

/// RFC 8252 section 8.5, for a type that is inferred from the redirect URIs, or repaired.
#[tokio::test]
async fn a_client_that_is_found_to_be_native_gets_no_shared_secret() {
    let methods = ["client_secret_basic", "none"];
    let inferring =
        with(oauth(&["authorization_code"], &methods), |rules| rules.metadata.application_type.infer = true);
    let mcp = with(tower_dcr::mcp(), |rules| rules.metadata.auth_method = AuthMethod::one_of(methods));
    let body = |kind: Value, redirects: Value| json!({ "application_type": kind, "redirect_uris": redirects, "token_endpoint_auth_method": "client_secret_basic" });
    for preset in [&inferring, &mcp] {
        for (kind, redirects) in [
            (Value::Null, json!(["com.example.app:/cb"])),
            (Value::Null, json!(["http://127.0.0.1/cb", "http://[::1]/cb"])),
            ("web".into(), json!(["http://127.0.0.1/cb"])),
            ("web".into(), json!(["https://app.example.com/cb", "com.example.app:/cb"])),
        ] {
            let body = body(kind, redirects);
            let kept = judged(preset, &body).await.unwrap();
            assert_eq!(
                (&kept["application_type"], &kept["token_endpoint_auth_method"]),
                (&"native".into(), &"none".into()),
                "{body}"
            );
        }
        let web = body(Value::Null, json!(["https://app.example.com/cb"]));
        assert_eq!(judged(preset, &web).await.unwrap()["token_endpoint_auth_method"], "client_secret_basic");
    }
    let secrets = with(mcp, |rules| rules.metadata.auth_method = AuthMethod::one_of(["client_secret_basic"]));
    let inferred = body(Value::Null, json!(["http://127.0.0.1/cb"]));
    let rejected = rejects("token-endpoint-auth-method", "token_endpoint_auth_method");
    assert_eq!(judged(&secrets, &inferred).await, rejected);
    let allowed = with(secrets, |rules| rules.metadata.auth_method.native_secrets = true);
    assert!(judged(&allowed, &inferred).await.is_ok());
}

/// RFC 6749 section 4.4, and CIBA section 7.1.
#[tokio::test]
async fn a_public_client_has_no_grant_that_needs_authentication() {
    let grants = ["authorization_code", "refresh_token", "client_credentials", CIBA];
    let preset = oauth(&grants, &["none", "client_secret_basic"]);
    let public = |grants: Value| json!({ "token_endpoint_auth_method": "none", "grant_types": grants });
    let kept = judged(&preset, &public(json!(["authorization_code", "client_credentials"]))).await.unwrap();
    assert_eq!(kept["grant_types"], json!(["authorization_code"]));
    let rejected = rejects("public-clients", "grant_types");
    for alone in [json!(["client_credentials"]), json!(["client_credentials", "refresh_token"]), json!([CIBA])] {
        assert_eq!(judged(&preset, &public(alone)).await, rejected);
    }
    let confidential =
        json!({ "token_endpoint_auth_method": "client_secret_basic", "grant_types": ["client_credentials"] });
    assert!(judged(&preset, &confidential).await.is_ok());
    // Where nothing is narrowed, this is not either.
    let strict = with(preset, |rules| rules.metadata.grants.otherwise = Action::Reject);
    assert_eq!(judged(&strict, &public(json!(["authorization_code", "client_credentials"]))).await, rejected);
    // The method of a native client was replaced before.
    let native = json!({ "application_type": "native", "grant_types": ["client_credentials"] });
    assert_eq!(judged(&strict, &native).await, rejected);
    // What the operator grants to clients that ask for nothing is no exception.
    let file = "metadata.grants = { grant_types = ['authorization_code', 'client_credentials'], response_types = ['code'], absent = 'offered' }";
    let kept = judged(&Preset::from_str(file).unwrap(), &json!({})).await.unwrap();
    assert_eq!(kept["grant_types"], json!(["authorization_code"]));
}

/// The members of a grant type or a method are accepted where it is offered, in every preset.
#[tokio::test]
async fn members_follow_the_grant_types_and_methods_that_are_offered() {
    let mtls = json!({ "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_san_dns": "app.example.com" });
    let offering =
        with(tower_dcr::mcp(), |rules| rules.metadata.auth_method = AuthMethod::one_of(["none", "tls_client_auth"]));
    assert_eq!(judged(&offering, &mtls).await.unwrap()["tls_client_auth_san_dns"], "app.example.com");
    let public = json!({ "token_endpoint_auth_method": "none", "tls_client_auth_san_dns": "app.example.com" });
    assert_eq!(judged(&offering, &public).await, rejects("mutual-tls", "tls_client_auth_san_dns"));
    // Elsewhere the member has no meaning, and is stripped.
    assert!(judged(&tower_dcr::mcp(), &public).await.unwrap().get("tls_client_auth_san_dns").is_none());

    let keyed =
        with(tower_dcr::mcp(), |rules| rules.metadata.auth_method = AuthMethod::one_of(["none", "private_key_jwt"]));
    let mut key =
        json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://app.example.com/jwks" });
    assert_eq!(judged(&keyed, &key).await.unwrap()["jwks_uri"], "https://app.example.com/jwks");
    key["jwks_uri"] = Value::Null;
    assert_eq!(judged(&keyed, &key).await, rejects("client-keys", "token_endpoint_auth_method"));

    let ciba = oauth(&[CIBA], &["client_secret_basic"]);
    let ask = |mode: &str, endpoint: Value| json!({ "grant_types": [CIBA], "backchannel_token_delivery_mode": mode, "backchannel_client_notification_endpoint": endpoint });
    assert_eq!(judged(&ciba, &ask("poll", Value::Null)).await.unwrap()["backchannel_token_delivery_mode"], "poll");
    let endpoint = "backchannel_client_notification_endpoint";
    assert_eq!(judged(&ciba, &ask("push", Value::Null)).await, rejects("ciba", endpoint));
    let inside = ask("push", "https://10.0.0.1/".into());
    assert_eq!(judged(&ciba, &inside).await, rejects("dereferenced-uris", endpoint));
}

/// A redirect URI that another rule takes out does not count.
#[tokio::test]
async fn metadata_is_compared_with_the_redirect_uris_that_remain() {
    let only = with(tower_dcr::mcp(), |rules| {
        rules.metadata.members.openid = true;
        rules.redirect_uris.only_https = Some(vec!["https://app.example.com/*".parse().unwrap()]);
    });
    let both = json!(["https://app.example.com/cb", "https://evil.example.net/cb"]);
    let logout =
        |host: &str| json!({ "redirect_uris": both, "frontchannel_logout_uri": format!("https://{host}/out") });
    let kept = judged(&only, &logout("app.example.com")).await.unwrap();
    assert_eq!(kept["redirect_uris"], json!(["https://app.example.com/cb"]));
    let rejected = rejects("front-channel-logout", "frontchannel_logout_uri");
    assert_eq!(judged(&only, &logout("evil.example.net")).await, rejected);
    assert!(judged(&only, &json!({ "redirect_uris": both, "subject_type": "pairwise" })).await.is_ok());
    let any = with(tower_dcr::mcp(), |rules| rules.metadata.members.openid = true);
    let pairwise = json!({ "redirect_uris": both, "subject_type": "pairwise" });
    assert_eq!(judged(&any, &pairwise).await, rejects("subject-type", "subject_type"));
}

/// The port is a part of the origin, and an application's scheme is a sector of its own.
#[tokio::test]
async fn origins_and_sectors() {
    let preset = with(oauth(&["authorization_code"], &["none"]), |rules| {
        rules.redirect_uris.https_ports = [443, 8443].into();
    });
    for (redirect, logout, passes) in [
        ("https://app.example.com/cb", "https://app.example.com/out", true),
        ("https://app.example.com/cb", "https://app.example.com:443/out", true),
        ("https://app.example.com:443/cb", "https://app.example.com/out", true),
        ("https://app.example.com:8443/cb", "https://app.example.com:443/out", false),
        ("https://app.example.com/cb", "https://sub.app.example.com/out", false),
        ("https://app.example.com/cb", "https://example.com/out", false),
        ("https://app.example.com:8443/cb", "https://app.example.com/out", false),
        ("http://127.0.0.1/cb", "https://app.example.com/out", false),
    ] {
        let body = json!({ "redirect_uris": [redirect], "frontchannel_logout_uri": logout });
        assert_eq!(judged(&preset, &body).await.is_ok(), passes, "{redirect} and {logout}");
    }
    for (redirects, passes) in [
        (json!(["com.example.app:/cb"]), true),
        (json!(["com.example.app:/cb", "com.example.app:/other"]), true),
        (json!(["com.example.app:/cb", "com.example.other:/cb"]), false),
        (json!(["https://app.example.com/cb", "https://app.example.com:8443/cb"]), true),
        (json!(["http://127.0.0.1/cb", "http://localhost/cb"]), false),
        (json!(["https://app.example.com/cb", "https://example.com/cb"]), false),
    ] {
        let body = json!({ "redirect_uris": redirects, "subject_type": "pairwise" });
        assert_eq!(judged(&preset, &body).await.is_ok(), passes, "{redirects}");
    }
}

/// OpenID Connect Core section 9: the method `none` is also that of confidential clients that never use the token endpoint.
#[tokio::test]
async fn a_client_of_the_implicit_flow_alone_may_have_a_secret() {
    let grants = Grants::new(["authorization_code", "implicit"], ["code", "id_token", "code id_token"]).unwrap();
    let preset = tower_dcr::oauth(grants, AuthMethod::one_of(["none", "client_secret_basic"]));
    let rejected = rejects("algorithms", "id_token_signed_response_alg");
    for (grants, responses, kind, passes) in [
        (json!(["implicit"]), json!(["id_token"]), "web", true),
        (json!(["implicit", "authorization_code"]), json!(["id_token", "code"]), "web", false),
        (json!(["authorization_code"]), json!(["code"]), "web", false),
        // RFC 8252 section 8.5.
        (json!(["implicit"]), json!(["id_token"]), "native", false),
    ] {
        let body = json!({ "grant_types": grants, "response_types": responses, "application_type": kind,
            "token_endpoint_auth_method": "none", "id_token_signed_response_alg": "HS256" });
        let judged = judged(&preset, &body).await;
        assert!(if passes { judged.is_ok() } else { judged == rejected }, "{body}: {judged:?}");
    }
}

/// RFC 7591 section 2.1: no client "can register itself into an inconsistent state".
#[tokio::test]
async fn the_implicit_grant_has_a_response_type() {
    let grants = Grants::new(["authorization_code", "client_credentials", "implicit"], ["code", "id_token"]).unwrap();
    let preset = tower_dcr::oauth(grants, AuthMethod::one_of(["none", "client_secret_basic"]));
    let rejected = rejects("response-types", "response_types");
    for (grants, responses, passes) in [
        (json!(["implicit"]), json!(["none"]), false),
        (json!(["implicit"]), json!(["token"]), false),
        (json!(["implicit"]), Value::Null, false),
        (json!(["implicit", "client_credentials"]), json!(["none"]), false),
        (json!(["implicit"]), json!(["none", "id_token"]), true),
        (json!(["implicit", "authorization_code"]), json!(["code"]), true),
        (json!(["implicit", "authorization_code"]), json!(["none"]), false),
        (json!(["client_credentials"]), json!(["none"]), true),
        (json!(["client_credentials"]), Value::Null, true),
    ] {
        let method = "client_secret_basic";
        let body = json!({ "grant_types": grants, "response_types": responses, "token_endpoint_auth_method": method });
        let judged = judged(&preset, &body).await;
        assert!(if passes { judged.is_ok() } else { judged == rejected }, "{body}: {judged:?}");
    }
}

/// RFC 7518 sections 3.1 and 4.1, RFC 8037: each algorithm has its own kinds of keys.
#[tokio::test]
async fn keys_are_of_the_kind_that_the_algorithm_takes() {
    let methods = ["none", "client_secret_basic", "private_key_jwt", "self_signed_tls_client_auth"];
    let preset = oauth(&["authorization_code"], &methods);
    let signing = "token_endpoint_auth_signing_alg";
    let object = "request_object_signing_alg";
    let encrypting = "id_token_encrypted_response_alg";
    for (member, algorithm, kinds) in [
        (signing, "RS256", &["RSA"][..]),
        (signing, "PS512", &["RSA"]),
        (signing, "ES256", &["EC"]),
        (signing, "ES256K", &["EC"]),
        (signing, "EdDSA", &["OKP"]),
        (signing, "Ed25519", &["OKP"]),
        (signing, "", &["EC", "RSA", "OKP", "AKP"]),
        // Without a known kind, any may be right.
        (signing, "ML-DSA-44", &["EC", "RSA", "OKP", "AKP"]),
        (object, "RS256", &["RSA"]),
        (object, "es256", &["EC"]),
        (encrypting, "RSA-OAEP", &["RSA"]),
        (encrypting, "RSA-OAEP-256", &["RSA"]),
        (encrypting, "RSA1_5", &["RSA"]),
        (encrypting, "ECDH-ES", &["EC", "OKP"]),
        (encrypting, "ECDH-ES+A128KW", &["EC", "OKP"]),
    ] {
        let method = if member == signing { "private_key_jwt" } else { "client_secret_basic" };
        for kind in ["EC", "RSA", "OKP", "AKP"] {
            let keys = json!({ "keys": [{ "kty": kind, "kid": "1" }, { "kty": "EC", "kid": "2", "use": "other" }] });
            let body = json!({ "token_endpoint_auth_method": method, member: algorithm, "jwks": keys });
            let judged = judged(&preset, &body).await;
            let passes = kinds.contains(&kind);
            assert!(
                if passes { judged.is_ok() } else { judged == rejects("client-keys", "jwks") },
                "{body}: {judged:?}"
            );
        }
    }
    // Each need has a key of its own.
    let keys = json!({ "keys": [{ "kty": "EC", "use": "sig" }, { "kty": "RSA", "use": "enc" }] });
    let body = |signed: &str, encrypted: &str| json!({ "token_endpoint_auth_method": "private_key_jwt", signing: signed, encrypting: encrypted, "jwks": keys });
    assert!(judged(&preset, &body("ES256", "RSA-OAEP")).await.is_ok());
    assert_eq!(judged(&preset, &body("RS256", "RSA-OAEP")).await, rejects("client-keys", "jwks"));
    assert_eq!(judged(&preset, &body("ES256", "ECDH-ES")).await, rejects("client-keys", "jwks"));
    // A certificate is compared as a whole.
    let certificate =
        json!({ "token_endpoint_auth_method": "self_signed_tls_client_auth", signing: "RS256", "jwks": keys });
    assert!(judged(&preset, &certificate).await.is_ok());
}

/// OpenID Connect Core sections 10.1 and 10.2, for the members of other specifications as well.
#[tokio::test]
async fn a_public_client_has_no_symmetric_algorithm() {
    let members = ["authorization", "introspection"];
    let preset = with(oauth(&["authorization_code"], &["none", "client_secret_basic"]), |rules| {
        for member in members {
            for suffix in ["signed_response_alg", "encrypted_response_alg"] {
                let known = std::mem::take(&mut rules.metadata.members);
                rules.metadata.members = known.add_member(format!("{member}_{suffix}")).unwrap();
            }
        }
        rules.metadata.members.openid = true;
    });
    let keys = "https://app.example.com/jwks";
    for member in members {
        let signed = format!("{member}_signed_response_alg");
        let encrypted = format!("{member}_encrypted_response_alg");
        for (field, algorithm, is_symmetric) in [
            (&signed, "HS256", true),
            (&signed, "Hs512", true),
            (&signed, "ES256", false),
            (&signed, "EdDSA", false),
            (&encrypted, "dir", true),
            (&encrypted, "A192KW", true),
            (&encrypted, "A128GCMKW", true),
            (&encrypted, "PBES2-HS512+A256KW", true),
            (&encrypted, "RSA-OAEP-256", false),
            (&encrypted, "ECDH-ES", false),
            (&encrypted, "ECDH-ES+A256KW", false),
        ] {
            for (method, is_public) in [("none", true), ("client_secret_basic", false)] {
                let body = json!({ "token_endpoint_auth_method": method, "jwks_uri": keys, field: algorithm });
                let rejected = judged(&preset, &body).await.err();
                let expected = (is_symmetric && is_public).then(|| ("algorithms", Some(field.clone().into())));
                assert_eq!(rejected, expected, "{method} and {field}: {algorithm}");
            }
        }
    }
    // A secret that is not issued is none.
    let mcp = with(tower_dcr::mcp(), |rules| rules.metadata.members.openid = true);
    let asked = json!({ "token_endpoint_auth_method": "client_secret_basic", "id_token_signed_response_alg": "HS256" });
    assert_eq!(judged(&mcp, &asked).await, rejects("algorithms", "id_token_signed_response_alg"));
}

/// A set without a key that fits is none, and which key fits is said by its `use`.
#[tokio::test]
async fn keys_are_there_for_each_use() {
    let key = |more: Value| {
        let mut key = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key
    };
    let (signs, encrypts, any) = (key(json!({ "use": "sig" })), key(json!({ "use": "enc" })), key(json!({})));
    let methods = ["none", "client_secret_basic", "private_key_jwt", "self_signed_tls_client_auth"];
    let preset = oauth(&["authorization_code"], &methods);
    let method = |method: &str| json!({ "token_endpoint_auth_method": method });
    let signed = json!({ "token_endpoint_auth_method": "none", "request_object_signing_alg": "EdDSA" });
    let encrypted = json!({ "token_endpoint_auth_method": "none", "userinfo_encrypted_response_alg": "ECDH-ES" });
    for (client, at, keys, passes) in [
        (method("private_key_jwt"), "jwks", json!([]), false),
        (method("private_key_jwt"), "jwks", json!([encrypts]), false),
        (method("private_key_jwt"), "jwks", json!([encrypts, signs]), true),
        (method("private_key_jwt"), "jwks", json!([any]), true),
        (method("private_key_jwt"), "jwks", json!([key(json!({ "use": null }))]), true),
        (method("private_key_jwt"), "jwks", json!([key(json!({ "use": ["sig"] }))]), false),
        (method("private_key_jwt"), "token_endpoint_auth_method", Value::Null, false),
        (method("self_signed_tls_client_auth"), "jwks", json!([]), false),
        (method("self_signed_tls_client_auth"), "jwks", json!([encrypts]), true),
        (method("none"), "jwks", json!([]), true),
        (signed.clone(), "jwks", json!([]), false),
        (signed.clone(), "jwks", json!([encrypts]), false),
        (signed.clone(), "jwks", json!([signs]), true),
        // The keys may follow in an update.
        (signed, "jwks", Value::Null, true),
        (encrypted.clone(), "jwks", json!([]), false),
        (encrypted.clone(), "jwks", json!([signs]), false),
        (encrypted.clone(), "jwks", json!([encrypts]), true),
        (encrypted, "userinfo_encrypted_response_alg", Value::Null, false),
    ] {
        let mut body = client;
        if !keys.is_null() {
            body["jwks"] = json!({ "keys": keys });
        }
        let expected = if passes { None } else { Some(("client-keys", Some(Cow::Borrowed(at)))) };
        assert_eq!(judged(&preset, &body).await.err(), expected, "{body}");
        // Keys elsewhere are the server's to read.
        body["jwks"] = Value::Null;
        body["jwks_uri"] = "https://app.example.com/jwks".into();
        assert_eq!(judged(&preset, &body).await.err(), None, "{body}");
    }
    let no_set = json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": "none" } });
    assert_eq!(judged(&preset, &no_set).await, rejects("jwks", "jwks"));
}

/// A member that an operator lets through takes its keys along.
#[tokio::test]
async fn keys_pass_with_the_members_that_need_them() {
    let letting = |member: &str| {
        with(tower_dcr::mcp(), |rules| {
            let members = std::mem::take(&mut rules.metadata.members);
            rules.metadata.members = members.add_member(member).unwrap();
        })
    };
    let keys = "https://app.example.com/jwks";
    for member in ["introspection_encrypted_response_alg", "id_token_encrypted_response_alg"] {
        let with_keys = json!({ member: "RSA-OAEP-256", "jwks_uri": keys });
        assert_eq!(judged(&letting(member), &with_keys).await.unwrap()["jwks_uri"], keys, "{member}");
        let without = json!({ member: "RSA-OAEP-256" });
        assert_eq!(judged(&letting(member), &without).await, rejects("client-keys", member));
    }
    let signed = json!({ "request_object_signing_alg": "ES256", "jwks_uri": keys });
    assert_eq!(judged(&letting("request_object_signing_alg"), &signed).await.unwrap()["jwks_uri"], keys);
    assert_eq!(judged(&letting("tenant"), &signed).await.unwrap().get("jwks_uri"), None);
}

/// CIBA section 7.1, where no grant type says it.
#[tokio::test]
async fn a_public_client_is_none_of_ciba_in_any_mode() {
    let preset = oauth(&["authorization_code", CIBA], &["none", "client_secret_basic"]);
    for (grants, mode) in [
        (json!(["authorization_code"]), "push"),
        (json!(["authorization_code", CIBA]), "push"),
        (json!(["authorization_code", CIBA]), "ping"),
        (json!(["authorization_code", CIBA]), "poll"),
    ] {
        for (method, passes) in [("none", false), ("client_secret_basic", true)] {
            let body = json!({
                "token_endpoint_auth_method": method, "grant_types": grants, "backchannel_token_delivery_mode": mode,
                "backchannel_client_notification_endpoint": "https://app.example.com/notify",
            });
            let expected = if passes { None } else { rejects("ciba", "token_endpoint_auth_method").err() };
            assert_eq!(judged(&preset, &body).await.err(), expected, "{method} and {body}");
        }
    }
}

/// OpenID Connect Dynamic Client Registration section 2, `application_type`.
#[tokio::test]
async fn a_web_client_of_the_implicit_grant_is_not_at_localhost() {
    let preset = oauth(&["authorization_code", "implicit"], &["none"]);
    let preset = with(preset, |rules| {
        rules.redirect_uris.patterns = vec!["https://localhost/*".parse().unwrap()];
    });
    let client = |kind: Value, grants: Value| json!({ "redirect_uris": ["https://localhost/cb"], "application_type": kind, "grant_types": grants });
    let both = json!(["authorization_code", "implicit"]);
    let rejected = rejects("application-type", "redirect_uris");
    assert_eq!(judged(&preset, &client("web".into(), both.clone())).await, rejected);
    assert_eq!(judged(&preset, &client(Value::Null, both.clone())).await, rejected, "the default is web");
    assert!(judged(&preset, &client("native".into(), both)).await.is_ok());
    assert!(judged(&preset, &client("web".into(), json!(["authorization_code"]))).await.is_ok());
}

/// Some libraries have taken other spellings of `none` for it.
#[tokio::test]
async fn none_in_another_spelling_is_no_algorithm() {
    let preset = oauth(&["authorization_code"], &["none"]);
    for member in ["id_token_signed_response_alg", "request_object_signing_alg", "userinfo_signed_response_alg"] {
        for (value, passes) in [("none", true), ("None", false), ("NONE", false), ("nOnE", false), ("RS256", true)] {
            let expected = if passes { None } else { rejects("algorithms", member).err() };
            assert_eq!(judged(&preset, &json!({ member: value })).await.err(), expected, "{member}: {value}");
        }
    }
    for member in
        ["id_token_encrypted_response_alg", "userinfo_encrypted_response_alg", "request_object_encryption_alg"]
    {
        let expected = rejects("algorithms", member);
        assert_eq!(judged(&preset, &json!({ member: "none" })).await, expected, "{member}");
    }
    // What an operator lets through by name is held to the same.
    let jarm = with(preset, |rules| {
        let members = std::mem::take(&mut rules.metadata.members);
        rules.metadata.members = members.add_member("authorization_signed_response_alg").unwrap();
    });
    let member = "authorization_signed_response_alg";
    assert_eq!(judged(&jarm, &json!({ member: "none" })).await, rejects("algorithms", member));
    assert_eq!(judged(&jarm, &json!({ member: "PS256" })).await.unwrap()[member], "PS256");
}

/// A list that is not narrowed is forwarded as it was sent.
#[tokio::test]
async fn duplicate_redirect_uris_are_kept_where_nothing_is_taken_out() {
    let twice = json!({ "redirect_uris": ["https://app.example.com/cb", "https://app.example.com/cb"] });
    for (preset, count) in
        [(oauth(&["authorization_code"], &["none"]), 2), (tower_dcr::strict(), 2), (tower_dcr::mcp(), 1)]
    {
        assert_eq!(judged(&preset, &twice).await.unwrap()["redirect_uris"].as_array().unwrap().len(), count);
    }
    let narrowing =
        with(oauth(&["authorization_code"], &["none"]), |rules| rules.redirect_uris.otherwise = Action::Narrow);
    assert_eq!(judged(&narrowing, &twice).await.unwrap()["redirect_uris"].as_array().unwrap().len(), 1);
}

/// An operator can still require or forbid single members.
#[tokio::test]
async fn operators_apply_to_openid_members() {
    let preset = with(oauth(&["authorization_code"], &["client_secret_basic"]), |rules| {
        let required = changed(MemberOperators::default(), |it| it.essential = Some(true));
        let operators = std::mem::take(&mut rules.metadata.operators);
        rules.metadata.operators = operators.on("backchannel_logout_uri", required).unwrap();
    });
    assert_eq!(judged(&preset, &json!({})).await.unwrap_err().0, "metadata-policy");
    assert!(judged(&preset, &json!({ "backchannel_logout_uri": "https://app.example.com/bcl" })).await.is_ok());
}
