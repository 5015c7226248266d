//! Operators on single members, as OpenID Federation defines them.

use serde_json::{Value, json};
use tower_dcr::Registration;
use tower_dcr::rules::{
    Action, ConfigError, Context, Disposition, IntoRules, MemberOperators, MetadataAllowlist, MetadataOperators, Policy,
};

use crate::support::{changed, outcome};

fn operators(json: &Value) -> Result<MetadataOperators, serde_json::Error> {
    serde_json::from_value(json!({ "x": json }))
}

/// The result for `x`, and the disposition.
fn apply(rule: &(impl IntoRules + Clone), body: &Value) -> Result<(Value, Vec<Disposition>), String> {
    let registration = Registration::parse(body.to_string().as_bytes()).unwrap();
    let evaluation = Policy::new(rule.clone()).evaluate(registration, &Context::registration());
    let after = outcome(&evaluation)?;
    Ok((after, evaluation.findings.iter().map(|finding| finding.disposition).collect()))
}

/// Returns the member's value and disposition, or the beginning of the rejection.
type Outcome = Result<(Value, &'static [Disposition]), &'static str>;

#[test]
fn operators_do_what_the_standard_says() {
    use Disposition::{Defaulted, Narrowed, Stripped, Substituted, Supplied};
    let none = Value::Null;
    let rows: &[(Value, Value, Outcome)] = &[
        (json!({"value": 1}), json!(2), Ok((json!(1), &[Supplied]))),
        (json!({"value": 1}), json!(1), Ok((json!(1), &[]))),
        (json!({"value": ["a"]}), none.clone(), Ok((json!(["a"]), &[Supplied]))),
        (json!({"value": null}), json!("x"), Ok((none.clone(), &[Stripped]))),
        (json!({"value": null}), none.clone(), Ok((none.clone(), &[]))),
        (json!({"add": ["b"]}), json!(["a"]), Ok((json!(["a", "b"]), &[Supplied]))),
        (json!({"add": ["a"]}), json!(["a"]), Ok((json!(["a"]), &[]))),
        (json!({"add": ["a"]}), none.clone(), Ok((json!(["a"]), &[Supplied]))),
        (json!({"default": "d"}), none.clone(), Ok((json!("d"), &[Defaulted]))),
        (json!({"default": "d"}), json!("x"), Ok((json!("x"), &[]))),
        (json!({"default": "d"}), json!(""), Ok((json!("d"), &[Defaulted]))),
        (json!({"one_of": ["a", "b"]}), json!("b"), Ok((json!("b"), &[]))),
        (json!({"one_of": ["a", "b"]}), json!("c"), Err("x is not one of")),
        (json!({"one_of": ["a", "b"]}), json!(["a"]), Err("x is not one of")),
        (json!({"one_of": [1, true]}), json!(1), Ok((json!(1), &[]))),
        (json!({"one_of": ["a"]}), none.clone(), Ok((none.clone(), &[]))),
        (json!({"subset_of": ["a", "b"]}), json!(["a"]), Ok((json!(["a"]), &[]))),
        (json!({"subset_of": ["a", "b"]}), json!(["c", "b"]), Ok((json!(["b"]), &[Narrowed]))),
        (json!({"subset_of": ["a", "b"]}), json!(["c"]), Ok((none.clone(), &[Stripped]))),
        (json!({"subset_of": ["a"], "essential": true}), json!(["c"]), Err("x is required")),
        (json!({"subset_of": ["a"]}), json!("a"), Err("x must be a list")),
        (json!({"superset_of": ["a"]}), json!(["a", "b"]), Ok((json!(["a", "b"]), &[]))),
        (json!({"superset_of": ["a"]}), json!(["b"]), Err("x lacks something")),
        (json!({"superset_of": ["a"], "subset_of": ["a", "b"]}), json!(["a", "c"]), Ok((json!(["a"]), &[Narrowed]))),
        (json!({"superset_of": ["a"], "subset_of": ["a", "b"]}), json!(["b", "c"]), Err("x lacks something")),
        (json!({"essential": true}), json!(false), Ok((json!(false), &[]))),
        (json!({"essential": true}), json!([]), Err("x is required")),
        (json!({"essential": true, "default": 1}), none.clone(), Ok((json!(1), &[Defaulted]))),
        (json!({"one_of": ["a"], "otherwise": "strip"}), json!("c"), Ok((none.clone(), &[Stripped]))),
        (json!({"one_of": ["a"], "otherwise": "strip", "essential": true}), json!("c"), Err("x is required")),
        (json!({"one_of": ["a", "b"], "otherwise": "substitute"}), json!("c"), Ok((json!("a"), &[Substituted]))),
        (json!({"one_of": ["a"], "default": "a", "otherwise": "default"}), json!(7), Ok((json!("a"), &[Substituted]))),
        (json!({"subset_of": ["a"], "otherwise": "reject"}), json!(["a", "b"]), Err("x asks for more")),
        (json!({"subset_of": ["a"], "otherwise": "strip"}), json!(["a", "b"]), Ok((none.clone(), &[Stripped]))),
        (
            json!({"superset_of": ["a"], "otherwise": "substitute"}),
            json!(["b"]),
            Ok((json!(["b", "a"]), &[Substituted])),
        ),
    ];
    for (json, sent, expected) in rows {
        let rule = operators(json).unwrap_or_else(|error| panic!("{json}: {error}"));
        let body = if sent.is_null() { json!({}) } else { json!({ "x": sent }) };
        match (apply(&rule, &body), expected) {
            (Ok((after, dispositions)), Ok((wanted, how))) => {
                assert_eq!((&after["x"], &dispositions[..]), (wanted, *how), "{json} {sent}");
                assert!(after.get("x").is_none_or(|value| !value.is_null()), "{json} {sent}");
            }
            (Err(found), Err(wanted)) => assert!(found.starts_with(wanted), "{json} {sent}: {found}"),
            (found, wanted) => panic!("{json} {sent}: {found:?}, not {wanted:?}"),
        }
    }
}

#[test]
fn rejects_contradictory_operators() {
    for (json, reason) in [
        (json!({}), "there are none"),
        (json!({"one_of": ["a"], "subset_of": ["a"]}), "single values"),
        (json!({"one_of": ["a"], "add": ["a"]}), "single values"),
        (json!({"subset_of": ["a"], "superset_of": ["b"]}), "superset_of asks"),
        (json!({"subset_of": ["a"], "add": ["b"]}), "add adds"),
        (json!({"value": "c", "one_of": ["a"]}), "value breaks"),
        (json!({"value": ["c"], "subset_of": ["a"]}), "value breaks"),
        (json!({"value": null, "essential": true}), "essential"),
        (json!({"value": null, "default": 1}), "has a default"),
        (json!({"default": "c", "one_of": ["a"]}), "default breaks"),
        (json!({"default": []}), "default breaks"),
        (json!({"default": 1, "otherwise": "default"}), "otherwise is for"),
        (json!({"one_of": ["a"], "otherwise": "default"}), "needs a default"),
        (json!({"one_of": ["a"], "otherwise": "narrow"}), "only subset_of"),
        (json!({"subset_of": ["a"], "otherwise": "substitute"}), "only one_of"),
    ] {
        let error = operators(&json).expect_err(&json.to_string()).to_string();
        assert!(error.contains(reason), "{json}: {error}");
    }
    let on = |member: &str, operators| MetadataOperators::default().on(member, operators);
    let mut essential = MemberOperators::default();
    essential.essential = Some(true);
    for member in ["", "client_id", "client_secret", "registration_access_token", "software_statement"] {
        let error = on(member, essential.clone()).unwrap_err();
        assert!(matches!(error, ConfigError::Operators { member: named, .. } if named == member));
    }
    for puts in [
        changed(MemberOperators::default(), |it| it.value = Some(["https://evil.example.com/cb"].to_vec().into())),
        changed(MemberOperators::default(), |it| it.add = ["https://evil.example.com/cb"].map(Into::into).to_vec()),
        changed(MemberOperators::default(), |it| it.default = Some(["https://evil.example.com/cb"].to_vec().into())),
        changed(MemberOperators::default(), |it| {
            it.superset_of = ["https://evil.example.com/cb"].map(Into::into).to_vec();
            it.otherwise = Some(Action::Substitute);
        }),
    ] {
        assert!(on("redirect_uris", puts).is_err());
    }
    assert!(
        on(
            "redirect_uris",
            changed(MemberOperators::default(), |it| it.subset_of =
                ["https://a.example.com/cb"].map(Into::into).to_vec())
        )
        .is_ok()
    );
}

#[test]
fn scope_is_a_list_between_spaces() {
    let rule = |operators| MetadataOperators::default().on("scope", operators).unwrap();
    let scope = |rule: &MetadataOperators, scope: &str| {
        apply(rule, &json!({ "scope": scope })).map(|(after, _)| after["scope"].clone())
    };
    let narrowed = rule(changed(MemberOperators::default(), |it| {
        it.subset_of = ["read", "write"].map(Into::into).to_vec();
        it.add = ["read"].map(Into::into).to_vec();
    }));
    assert_eq!(scope(&narrowed, "write admin"), Ok(json!("write read")));
    let needed = rule(changed(MemberOperators::default(), |it| it.superset_of = ["openid"].map(Into::into).to_vec()));
    assert!(scope(&needed, "read").is_err() && scope(&needed, "read openid").is_ok());
}

/// Values from operators are evaluated by the other rules like sent ones.
#[test]
fn operators_come_before_the_rules() {
    let with = |member: &str, operators| {
        let operators = MetadataOperators::default().on(member, operators).unwrap();
        changed(MetadataAllowlist::mcp(), |it| it.operators = operators)
    };
    let body = json!({"redirect_uris": ["http://localhost/cb"], "tenant": "blue"});
    let (after, _) =
        apply(&with("tenant", changed(MemberOperators::default(), |it| it.essential = Some(true))), &body).unwrap();
    assert_eq!(after["tenant"], "blue", "a member with operators passes the allowlist");
    let grants = with(
        "grant_types",
        changed(MemberOperators::default(), |it| it.value = Some(["authorization_code", "implicit"].to_vec().into())),
    );
    assert_eq!(apply(&grants, &body).unwrap().0["grant_types"], json!(["authorization_code"]));
    let link = with("client_uri", changed(MemberOperators::default(), |it| it.value = Some("http://10.0.0.1/".into())));
    assert!(apply(&link, &body).unwrap().0.get("client_uri").is_none());
    let keys = with(
        "jwks_uri",
        changed(MemberOperators::default(), |it| it.default = Some("https://169.254.169.254/".into())),
    );
    assert!(apply(&keys, &body).is_err());
}
