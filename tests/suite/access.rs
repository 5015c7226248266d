//! Restrictions on callers.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tower_dcr::clock::ManualClock;
use tower_dcr::layers::{InitialAccess, InitialAccessTokens, JwtTokens, StaticTokens, TokenError};
use tower_dcr::rate_limit::Quota;
use tower_dcr::redirect_uri::RedirectClass;
use tower_dcr::rules::{
    Caller, Condition, ConfigError, Context, Policy, RedirectHostQuota, RedirectPattern, RedirectUris,
};
use tower_dcr::{Preset, Registration, layers::InitialAccessTokenLayer};

use crate::signer::Signer;
use crate::support::{Kept, Naive, Read, behind, changed, post, send};

const PARTNER: &str = "Vq3s8nR1xW7tB0yKd5Lc";

fn tokens() -> StaticTokens {
    StaticTokens::new().add(PARTNER, InitialAccess::of("partner-portal")).unwrap()
}

fn preset(layer: InitialAccessTokenLayer) -> Preset {
    tower_dcr::mcp().without_rate_limits().with_initial_access_tokens(layer)
}

fn request(authorization: &[&str]) -> Request<Full<Bytes>> {
    let mut request = post(r#"{"redirect_uris":["http://localhost/cb"]}"#);
    for value in authorization {
        request.headers_mut().append("authorization", value.parse().unwrap());
    }
    request
}

async fn register(preset: &Preset, authorization: &[&str]) -> (Read, usize) {
    let naive = Naive::default();
    let answer = send(&behind(preset, &naive), request(authorization)).await;
    (answer, naive.seen().len())
}

/// The header, the results with required and with optional tokens, and the reason.
type Row<'a> = (&'a [&'a str], Result<(), &'a str>, Result<(), &'a str>, &'a str);

const NO_TOKEN: &str = "Bearer realm=\"client registration\"";
const WRONG_TOKEN: &str = "Bearer error=\"invalid_token\"";

#[tokio::test]
async fn rejects_a_wrong_token_even_if_tokens_are_optional() {
    let bearer = format!("Bearer {PARTNER}");
    let longer = format!("{bearer}x");
    let huge = format!("Bearer {}", "x".repeat(5000));
    let rows: [Row<'_>; 15] = [
        (&[], Err(NO_TOKEN), Ok(()), "none"),
        (&[&bearer], Ok(()), Ok(()), "the right one"),
        (&["bearer Vq3s8nR1xW7tB0yKd5Lc"], Ok(()), Ok(()), "the scheme in other letters"),
        (&["BEARER   Vq3s8nR1xW7tB0yKd5Lc"], Ok(()), Ok(()), "more spaces"),
        (&["Bearer Vq3s8nR1xW7tB0yKd5Ld"], Err(WRONG_TOKEN), Err(WRONG_TOKEN), "one letter off"),
        (&[&longer], Err(WRONG_TOKEN), Err(WRONG_TOKEN), "longer"),
        (&["Bearer Vq3s8nR1"], Err(WRONG_TOKEN), Err(WRONG_TOKEN), "shorter"),
        (&["Bearer "], Err(WRONG_TOKEN), Err(WRONG_TOKEN), "empty"),
        (&["Bearer"], Err(WRONG_TOKEN), Err(WRONG_TOKEN), "the scheme alone"),
        (&[""], Err(WRONG_TOKEN), Err(WRONG_TOKEN), "nothing at all"),
        (&["Vq3s8nR1xW7tB0yKd5Lc"], Err(WRONG_TOKEN), Err(WRONG_TOKEN), "no scheme"),
        (&["Basic Vq3s8nR1xW7tB0yKd5Lc"], Err(WRONG_TOKEN), Err(WRONG_TOKEN), "another scheme"),
        (&[&bearer, &bearer], Err(WRONG_TOKEN), Err(WRONG_TOKEN), "twice"),
        (&["Bearer Vq3s8nR1xW7tB0yKd5Lc, Bearer x"], Err(WRONG_TOKEN), Err(WRONG_TOKEN), "a list"),
        (&[&huge], Err(WRONG_TOKEN), Err(WRONG_TOKEN), "as long as it gets"),
    ];
    for (authorization, required, optional, reason) in rows {
        for (layer, expected) in [
            (InitialAccessTokenLayer::new(tokens()), required),
            (InitialAccessTokenLayer::new(tokens()).optional(), optional),
        ] {
            let (answer, calls) = register(&preset(layer), authorization).await;
            match expected {
                Ok(()) => assert_eq!((answer.status(), calls), (StatusCode::CREATED, 1), "{reason}"),
                Err(challenge) => {
                    assert_eq!((answer.status(), calls), (StatusCode::UNAUTHORIZED, 0), "{reason}");
                    assert_eq!(answer.header("www-authenticate"), Some(challenge), "{reason}");
                    assert_eq!(answer.header("cache-control"), Some("no-store"));
                    assert!(answer.json()["error_description"].is_string());
                }
            }
        }
    }
}

/// RFC 6750 section 2.3 and 2.2: tokens elsewhere end up in logs, and are not looked at.
#[tokio::test]
async fn tokens_count_in_the_header_only() {
    let preset = preset(InitialAccessTokenLayer::new(tokens()));
    let body = json!({ "redirect_uris": ["http://localhost/cb"], "access_token": PARTNER }).to_string();
    let request = Request::post(format!("/register?access_token={PARTNER}")).header("content-type", "application/json");
    let answer = send(&behind(&preset, &Naive::default()), request.body(Full::<Bytes>::from(body)).unwrap()).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn events_name_the_owner_and_never_the_token() {
    let kept = Kept::default();
    let preset = preset(InitialAccessTokenLayer::new(tokens())).with_sink(kept.sink());
    register(&preset, &[&format!("Bearer {PARTNER}")]).await;
    register(&preset, &["Bearer Vq3s8nR1xW7tB0yKd5Ld"]).await;
    let lines = kept.lines();
    assert!(lines[0].contains(r#""authorized_by":"partner-portal""#), "{}", lines[0]);
    assert!(lines[1].contains(r#""rule":"initial-access-token""#) && lines[1].contains(r#""error":"invalid_token""#));
    assert!(lines.iter().all(|line| !line.contains("Vq3s8nR1")));
    assert!(!format!("{:?} {preset:?}", tokens()).contains("Vq3s8nR1"));
}

#[tokio::test]
async fn tokens_expire() {
    let clock = Arc::new(ManualClock::new(Duration::from_secs(1000)));
    let mut access = InitialAccess::of("partner");
    access.expires_at = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(2000));
    let tokens = StaticTokens::new().add(PARTNER, access).unwrap().with_clock(clock.clone());
    assert!(tokens.verify(PARTNER).await.is_ok());
    clock.set(Duration::from_secs(2000));
    assert!(matches!(tokens.verify(PARTNER).await, Err(TokenError::Invalid)));
}

#[test]
fn rejects_weak_and_duplicate_tokens_in_the_configuration() {
    let rejected = |token: &str| StaticTokens::new().add(token, InitialAccess::of("owner")).unwrap_err().to_string();
    for token in ["", "short", "fifteen-bytes-x", "a token with spaces", "tökens-of-other-scripts"] {
        let error = rejected(token);
        assert!(error.contains("\"owner\"") && (token.is_empty() || !error.contains(token)), "{error}");
    }
    assert!(tokens().add(PARTNER, InitialAccess::of("other")).is_err());
    let digest = tower_dcr::registration::Digest::of(PARTNER.as_bytes()).to_string();
    assert!(tokens().add_sha256(&digest, InitialAccess::of("other")).is_err());
    assert!(tokens().add_sha256("abc", InitialAccess::of("other")).is_err());
    assert!(matches!(
        InitialAccessTokenLayer::new(tokens()).with_allowed_origins(["https://app.example.com/"]),
        Err(ConfigError::Origin { .. })
    ));
}

/// A verifier that can't tell.
struct Down;

impl InitialAccessTokens for Down {
    async fn verify(&self, token: &str) -> Result<InitialAccess, TokenError> {
        Err(if token == "down" { TokenError::Unavailable("timeout".into()) } else { TokenError::Insufficient })
    }
}

#[tokio::test]
async fn rejects_tokens_that_can_not_be_verified() {
    for layer in [InitialAccessTokenLayer::new(Down), InitialAccessTokenLayer::new(Down).optional()] {
        let (answer, calls) = register(&preset(layer.clone()), &["Bearer down"]).await;
        assert_eq!(
            (answer.status(), calls, answer.header("retry-after")),
            (StatusCode::SERVICE_UNAVAILABLE, 0, Some("5"))
        );
        let (answer, calls) = register(&preset(layer), &["Bearer other"]).await;
        assert_eq!((answer.status(), calls), (StatusCode::FORBIDDEN, 0));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"insufficient_scope\""));
    }
    // Uses without a registrar.
    let once = StaticTokens::new()
        .add(PARTNER, InitialAccess { max_uses: Some(NonZeroU64::MIN), ..InitialAccess::of("partner") })
        .unwrap();
    let (answer, calls) = register(&preset(InitialAccessTokenLayer::new(once)), &[&format!("Bearer {PARTNER}")]).await;
    assert_eq!((answer.status(), calls), (StatusCode::INTERNAL_SERVER_ERROR, 0));
}

#[tokio::test]
async fn signed_tokens_are_verified() {
    let signer = Signer::new("https://portal.example.com");
    let other = Signer::new("https://portal.example.com");
    let (third, spaced) = (Signer::new("https://other.example.com"), Signer::new("https://other.example.com b"));
    let clock = || Arc::new(ManualClock::new(Duration::from_secs(1_800_000_000)));
    let tokens = || {
        let mut tokens = JwtTokens::new([signer.issuer()], "https://auth.example.com/register").unwrap();
        tokens.scope = Some("register_client".into());
        tokens.rules_claim = Some("rules".into());
        tokens.with_clock(clock())
    };
    let good = json!({ "aud": "https://auth.example.com/register", "scope": "openid register_client", "sub": "alice" });
    let with = |member: &str, value: Value| {
        let mut claims = good.clone();
        claims[member] = value;
        claims
    };
    assert_eq!(tokens().verify(&signer.sign(&good)).await.unwrap().owner, "https://portal.example.com alice");
    let nobody = tokens().verify(&signer.sign(&with("sub", json!(null)))).await.unwrap();
    assert_eq!(nobody.owner, "https://portal.example.com");
    // Subjects are unique with one issuer only.
    let both = || {
        let issuers = [signer.issuer(), third.issuer(), spaced.issuer()];
        JwtTokens::new(issuers, "https://auth.example.com/register").unwrap().with_clock(clock())
    };
    let owners = [
        both().verify(&signer.sign(&good)).await.unwrap(),
        both().verify(&third.sign(&good)).await.unwrap(),
        both().verify(&third.sign(&with("sub", json!("b alice")))).await.unwrap(),
        both().verify(&spaced.sign(&good)).await.unwrap(),
    ];
    let names: std::collections::BTreeSet<&str> = owners.iter().map(|access| access.owner.as_str()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    for (token, reason) in [
        (other.sign(&good), "somebody else's key"),
        (signer.sign(&with("aud", json!("https://other.example.com"))), "for somebody else"),
        (signer.sign(&with("aud", json!(null))), "for nobody"),
        (signer.sign(&with("exp", json!(1_000))), "expired"),
        (signer.sign(&with("rules", json!(["a"]))), "rules that are no name"),
        (signer.sign_text(r#"{"alg":"none"}"#, &good.to_string()), "unsigned"),
    ] {
        assert!(matches!(tokens().verify(&token).await, Err(TokenError::Invalid)), "{reason}");
    }
    let other_scope = signer.sign(&with("scope", json!("openid register_clients")));
    assert!(matches!(tokens().verify(&other_scope).await, Err(TokenError::Insufficient)));
    let once = || changed(tokens(), |it| it.single_use = true);
    let without_id = once().verify(&signer.sign(&good)).await;
    assert!(matches!(without_id, Err(TokenError::Invalid)), "nothing to count by");
    let once = once().verify(&signer.sign(&with("jti", json!("1")))).await.unwrap();
    assert_eq!(once.max_uses.map(NonZeroU64::get), Some(1));
    let (answer, _) =
        register(&preset(InitialAccessTokenLayer::new(tokens())), &[&format!("Bearer {}", signer.sign(&good))]).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn rejects_browsers_of_other_origins() {
    let layer =
        InitialAccessTokenLayer::new(tokens()).optional().with_allowed_origins(["https://app.example.com"]).unwrap();
    let preset = preset(layer);
    let from = async |origins: &[&str], method: &str| {
        let mut request = request(&[]);
        *request.method_mut() = method.parse().unwrap();
        for origin in origins {
            request.headers_mut().append("origin", origin.parse().unwrap());
        }
        send(&behind(&preset, &Naive::default()), request).await
    };
    assert_eq!(from(&[], "POST").await.status(), StatusCode::CREATED, "no browser");
    assert_eq!(from(&["https://app.example.com"], "POST").await.status(), StatusCode::CREATED);
    for origin in [
        "https://evil.example.net",
        "null",
        "https://app.example.com.evil.net",
        "http://app.example.com",
        "https://APP.example.com",
    ] {
        let rejected = from(&[origin], "POST").await;
        assert_eq!(
            (rejected.status(), &rejected.json()["error"]),
            (StatusCode::FORBIDDEN, &json!("access_denied")),
            "{origin}"
        );
        assert_eq!(from(&[origin], "OPTIONS").await.status(), StatusCode::CREATED, "a preflight is for the CORS layer");
    }
    assert_eq!(
        from(&["https://app.example.com", "https://evil.example.net"], "POST").await.status(),
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn report_only_tokens_reject_no_request() {
    let kept = Kept::default();
    let preset = preset(InitialAccessTokenLayer::new(tokens())).report_only().with_sink(kept.sink());
    let (answer, calls) = register(&preset, &["Bearer Vq3s8nR1xW7tB0yKd5Ld"]).await;
    assert_eq!((answer.status(), calls), (StatusCode::CREATED, 1));
    let event = kept.take().pop().unwrap();
    let finding = event.findings.iter().find(|finding| finding.rule == "initial-access-token").unwrap();
    assert!(!finding.enforced);
    assert_eq!(event.authorized_by, None);
    let (_, _) = register(&preset, &[&format!("Bearer {PARTNER}")]).await;
    assert_eq!(kept.take().pop().unwrap().authorized_by.as_deref(), Some("partner-portal"));
}

fn is_accepted(policy: &Policy, caller: Caller, uri: &str) -> bool {
    let registration = Registration::parse(json!({ "redirect_uris": [uri] }).to_string().as_bytes()).unwrap();
    let evaluation = policy.evaluate(registration, &Context::registration().by(caller));
    let rejection = &evaluation.rejection;
    assert!(rejection.as_ref().is_none_or(|rejection| ["cases", "redirect-uris"].contains(&rejection.rule)));
    rejection.is_none()
}

#[test]
fn conditions_choose_the_rules() {
    let loopback = || changed(RedirectUris::mcp(), |it| it.classes = Vec::from([RedirectClass::Loopback]));
    let host = |host: &str| {
        changed(RedirectUris::mcp(), |it| {
            it.only_https = Some(Vec::from([format!("https://{host}/*").parse::<RedirectPattern>().unwrap()]));
        })
    };
    let native = Condition::Redirects(vec![RedirectClass::Loopback, RedirectClass::PrivateUse]);
    let cases = Policy::default()
        .when(Condition::Rules("partner".into()), host("partner.example.com"))
        .when(Condition::All(vec![Condition::Token, Condition::Not(Box::new(native))]), host("app.example.com"))
        .when(Condition::Any(vec![Condition::Anonymous, Condition::Token]), loopback());
    let partner = || changed(Caller::authorized("p"), |caller| caller.rules = Some("partner".into()));
    let token = || Caller::authorized("t");
    let rows = [
        (partner(), "https://partner.example.com/cb", true),
        (partner(), "https://app.example.com/cb", false),
        (token(), "https://app.example.com/cb", true),
        (token(), "https://partner.example.com/cb", false),
        (token(), "http://127.0.0.1/cb", true),
        (token(), "com.example.app:/cb", false),
        (Caller::default(), "http://127.0.0.1/cb", true),
        (Caller::default(), "https://app.example.com/cb", false),
    ];
    for (caller, uri, accepted) in rows {
        assert_eq!(is_accepted(&cases, caller.clone(), uri), accepted, "{caller:?} {uri}");
    }
    let others = Policy::default().when(Condition::Rules("other".into()), loopback());
    assert!(!is_accepted(&others, Caller::default(), "http://127.0.0.1/cb"), "no case, no registration");
    assert!(is_accepted(&others.clone().otherwise(loopback()), Caller::default(), "http://127.0.0.1/cb"));
    assert_ne!(cases.fingerprint(), others.fingerprint());
    assert_ne!(others.fingerprint(), others.clone().otherwise(loopback()).fingerprint());
}

/// A token that names missing rules is rejected.
#[tokio::test]
async fn rejects_tokens_that_name_missing_rules() {
    let access = InitialAccess { rules: Some("partner".into()), ..InitialAccess::of("partner") };
    let tokens = StaticTokens::new().add(PARTNER, access).unwrap();
    let preset = preset(InitialAccessTokenLayer::new(tokens));
    let bearer = format!("Bearer {PARTNER}");
    let (answer, calls) = register(&preset, &[&bearer]).await;
    assert_eq!((answer.status(), calls), (StatusCode::INTERNAL_SERVER_ERROR, 0));
    let other = preset.clone().for_callers(Condition::Rules("other".into()), Ok).unwrap();
    assert_eq!(register(&other, &[&bearer]).await.0.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let there = other.for_callers(Condition::Rules("partner".into()), Ok).unwrap();
    assert_eq!(register(&there, &[&bearer]).await.0.status(), StatusCode::CREATED);
    // In a rule of the user's own as well.
    let own = preset.add_rule(Policy::default().when(Condition::Rules("partner".into()), RedirectUris::mcp()));
    assert_eq!(register(&own, &[&bearer]).await.0.status(), StatusCode::CREATED);
}

/// Limits are for everybody, whenever they are changed.
#[tokio::test]
async fn limits_are_lifted_for_every_caller() {
    let layer = InitialAccessTokenLayer::new(tokens());
    let preset = tower_dcr::mcp().with_initial_access_tokens(layer).for_callers(Condition::Token, Ok).unwrap();
    let one = Quota::per_minute(NonZeroU32::MIN);
    let bearer = format!("Bearer {PARTNER}");
    let statuses = async |preset: Preset| {
        let service = behind(&preset, &Naive::default());
        let mut statuses = Vec::new();
        for path in ["a", "b"] {
            let mut request = post(json!({ "redirect_uris": [format!("https://app.example.com/{path}")] }).to_string());
            request.headers_mut().insert("authorization", bearer.parse().unwrap());
            statuses.push(send(&service, request).await.status().as_u16());
        }
        statuses
    };
    let limited = preset.clone().with_redirect_host_quota(RedirectHostQuota::new(one));
    assert_eq!(statuses(limited.clone()).await, [201, 429]);
    assert_eq!(statuses(limited.without_rate_limits()).await, [201, 201]);
}
