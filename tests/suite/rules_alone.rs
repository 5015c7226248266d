//! Each rule by itself, outside of any preset: it judges, and tells one configuration of it from another.

use tower_dcr::Registration;
use tower_dcr::rules::{
    Action, ApplicationType, AuthMethod, Claim, ClaimStatus, ClientIdentity, ClientName, Condition, Context,
    Decorations, Evaluation, Grants, IntoRules, Jwks, MemberOperators, Members, MetadataAllowlist, MetadataOperators,
    Policy, RedirectHostQuota, RedirectUris, Scope,
};

use crate::support::changed;

fn evaluate(policy: &Policy, body: &str) -> Evaluation {
    policy.evaluate(Registration::parse(body.as_bytes()).unwrap(), &Context::registration())
}

/// Evaluates a registration by one rule. Returns the id of the rule that rejects, or the remaining document.
fn judged(policy: &Policy, body: &str) -> Result<String, &'static str> {
    let evaluation = evaluate(policy, body);
    match &evaluation.rejection {
        Some(rejection) => Err(rejection.rule),
        None => Ok(String::from_utf8(evaluation.registration.unwrap().canonical_bytes()).unwrap()),
    }
}

fn strict() -> Members {
    MetadataAllowlist::strict().members
}

fn rule(rules: impl IntoRules) -> Policy {
    Policy::new(rules)
}

/// A rule, the same otherwise configured, and a registration with what the rule makes of it.
type Row = (Policy, Policy, &'static str, Result<&'static str, &'static str>);

fn rules() -> Vec<Row> {
    let quota = |text: &str| text.parse().unwrap();
    let operators = |value: &str| {
        MetadataOperators::default()
            .on("tenant", changed(MemberOperators::default(), |it| it.value = Some(value.into())))
            .unwrap()
    };
    vec![
        (
            rule(changed(ApplicationType::default(), |it| {
                it.infer = false;
                it.unknown = Action::Reject;
            })),
            rule(ApplicationType::default()),
            r#"{"application_type":"toaster"}"#,
            Err("application-type"),
        ),
        (
            rule(AuthMethod::one_of(["none"])),
            rule(AuthMethod::public()),
            r#"{"token_endpoint_auth_method":"client_secret_basic"}"#,
            Err("token-endpoint-auth-method"),
        ),
        (
            rule(ClientName::default()),
            rule(ClientName::default().with_max_chars(5).unwrap()),
            r#"{"client_name":"a\u202eb"}"#,
            Err("client-name"),
        ),
        (
            rule(Decorations::default()),
            rule(changed(Decorations::default(), |it| it.otherwise = Action::Reject)),
            r#"{"logo_uri":"http://10.0.0.1/logo.png"}"#,
            Ok("{}"),
        ),
        (
            rule(Grants::authorization_code()),
            rule(changed(Grants::authorization_code(), |it| it.otherwise = Action::Reject)),
            r#"{"grant_types":["authorization_code","implicit"],"response_types":["code"]}"#,
            Ok(r#"{"grant_types":["authorization_code"],"response_types":["code"]}"#),
        ),
        (
            rule(ClientIdentity::default()),
            rule(changed(ClientIdentity::default(), |it| it.unverified = Action::Reject)),
            r#"{"client_name":"Claude","redirect_uris":["https://claude.example.net/cb"]}"#,
            Err("identity"),
        ),
        (
            rule(Jwks::default()),
            rule(Jwks::default().with_limits(1, 100).unwrap()),
            r#"{"jwks":{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}}"#,
            Err("jwks"),
        ),
        (
            rule(strict()),
            rule(Members::default()),
            r#"{"client_name":"App","skip_consent":true}"#,
            Err("known-members"),
        ),
        (
            rule(MetadataAllowlist::strict()),
            rule(MetadataAllowlist::mcp()),
            r#"{"skip_consent":true}"#,
            Err("known-members"),
        ),
        (rule(operators("acme")), rule(operators("globex")), "{}", Ok(r#"{"tenant":"acme"}"#)),
        (
            rule(RedirectHostQuota::new(quota("1/hour"))),
            rule(RedirectHostQuota::new(quota("2/hour"))),
            r#"{"redirect_uris":["https://app.example.com/cb"]}"#,
            Ok(r#"{"redirect_uris":["https://app.example.com/cb"]}"#),
        ),
        (
            rule(RedirectUris::mcp()),
            rule(RedirectUris::strict()),
            r#"{"redirect_uris":["javascript:alert(1)"]}"#,
            Err("redirect-uris"),
        ),
        (
            rule(Scope::default().with_ceiling(["read"]).unwrap()),
            rule(Scope::default().with_ceiling(["write"]).unwrap()),
            r#"{"scope":"read write"}"#,
            Ok(r#"{"scope":"read"}"#),
        ),
        (
            rule(MetadataAllowlist::oauth(Grants::authorization_code(), AuthMethod::public())),
            rule(MetadataAllowlist::mcp()),
            r#"{"jwks_uri":"https://10.0.0.1/keys"}"#,
            Err("dereferenced-uris"),
        ),
    ]
}

/// Sets of rules.
fn combinations() -> Vec<Row> {
    vec![
        (
            rule(strict()).report_only(),
            rule(Members::default()).report_only(),
            r#"{"skip_consent":true}"#,
            Ok(r#"{"skip_consent":true}"#),
        ),
        (
            rule(Policy::default().when(Condition::Token, Members::default()).otherwise(strict())),
            rule(Policy::default().when(Condition::Anonymous, Members::default()).otherwise(strict())),
            r#"{"skip_consent":true}"#,
            Err("known-members"),
        ),
        (
            rule((Scope::default(), strict())),
            rule((Scope::default(), Members::default())),
            r#"{"skip_consent":true}"#,
            Err("known-members"),
        ),
        (
            rule(vec![rule(Scope::default()), rule(strict())]),
            rule(vec![rule(Scope::default()), rule(Members::default())]),
            r#"{"skip_consent":true}"#,
            Err("known-members"),
        ),
    ]
}

#[test]
fn each_judges() {
    for (rule, _, body, expected) in rules().into_iter().chain(combinations()) {
        assert_eq!(judged(&rule, body), expected.map(str::to_owned), "{body}");
    }
}

/// Audit events say by which configuration a registration was judged.
#[test]
fn each_tells_one_configuration_from_another() {
    for (rule, other, body, _) in rules().into_iter().chain(combinations()) {
        assert_ne!(rule.rules().count(), 0, "{body}");
        assert_eq!(rule.fingerprint(), rule.clone().fingerprint());
        assert_ne!(rule.fingerprint(), other.fingerprint(), "{body}: {rule:?}");
    }
}

/// Of two names in one, the one that the redirect URI speaks against counts, and not the one that it says nothing of.
#[test]
fn a_mention_that_is_contradicted_outweighs_one_that_is_not() {
    let body = r#"{"client_name":"ChatGPT beside Claude today","redirect_uris":["https://new.claude.ai/cb"]}"#;
    let policy = Policy::new(ClientIdentity::default());
    let evaluation = evaluate(&policy, body);
    assert!(evaluation.rejection.is_none());
    let identity = evaluation.identity().unwrap();
    assert_eq!((identity.status, identity.claim), (ClaimStatus::Contradicted, Some(Claim::Mention)));
    let body = body
        .replace("new.claude.ai", "app.example.com")
        .replace("https", "http")
        .replace("app.example.com", "localhost");
    let evaluation = evaluate(&policy, &body);
    assert!(evaluation.rejection.is_none());
    assert_eq!(evaluation.identity().unwrap().status, ClaimStatus::Unverified);
}

/// Scope is a list with single spaces between (RFC 6749 section 3.3), and what is asked for is compared with what there is.
#[test]
fn scopes_are_lists_and_bounded() {
    let narrowing = || Scope::default().with_ceiling(["read", "write"]).unwrap();
    let rejecting = || changed(narrowing(), |it| it.otherwise = Action::Reject);
    let scope = |rule: &Scope, scope: &str| judged(&Policy::new(rule.clone()), &format!(r#"{{"scope":"{scope}"}}"#));
    let kept = |scope: &str| Ok(format!(r#"{{"scope":"{scope}"}}"#));
    for (sent, narrowed, rejected) in [
        ("read", Some("read"), false),
        ("read write", Some("read write"), false),
        ("write admin", Some("write"), true),
        ("admin", None, true),
        ("read  write", Some("read write"), true),
        (" read", Some("read"), true),
        ("read ", Some("read"), true),
    ] {
        let expected = narrowed.map_or(Err("scope"), kept);
        assert_eq!(scope(&narrowing(), sent), expected, "{sent:?}");
        assert_eq!(scope(&rejecting(), sent).is_err(), rejected, "{sent:?}");
    }
    // Neither a control character nor a letter beyond ASCII nor a quotation mark is part of a token.
    for sent in ["read\\u0007", "l\\u00e9r", "re\\\"ad", "re\\\\ad"] {
        assert_eq!(scope(&narrowing(), sent), Err("scope"), "{sent:?}");
        assert_eq!(scope(&Scope::default(), sent), Err("scope"), "{sent:?}");
    }
    assert_eq!(scope(&Scope::default(), "anything at:all"), kept("anything at:all"));
    for sent in [" read", "read ", "read  write"] {
        assert!(scope(&changed(Scope::default(), |it| it.otherwise = Action::Reject), sent).is_err(), "{sent:?}");
    }
}
