//! Findings of a draft: each edit by a rule is noted, and an edit that changes nothing is not.

use serde_json::json;
use tower_dcr::Registration;
use tower_dcr::rules::{Context, Disposition, Draft, ErrorCode, Policy, Rejection, rule};

const SENT: &str = r#"{"client_name":"App","grant_types":["authorization_code","refresh_token"],"scope":"read write"}"#;

type Edit = fn(&mut Draft<'_>);

/// The members and what was done to them, and the registration after that.
fn done(edit: Edit) -> (Vec<(String, Disposition)>, String) {
    let policy = Policy::new(rule("edit", move |draft| {
        edit(draft);
        Ok(())
    }));
    let evaluation = policy.evaluate(Registration::parse(SENT.as_bytes()).unwrap(), &Context::registration());
    let findings = evaluation.findings.iter().inspect(|finding| assert_eq!(finding.rule, "edit"));
    let findings = findings.map(|finding| (finding.field.to_string(), finding.disposition)).collect();
    (findings, String::from_utf8(evaluation.registration.unwrap().canonical_bytes()).unwrap())
}

/// Not even a rejection that is made by hand says that another rule has spoken.
#[test]
fn no_rule_rejects_under_the_name_of_another() {
    let before = rule("before", |draft| {
        draft.strip("scope");
        Ok(())
    });
    let impostor = rule("impostor", |draft| {
        draft.flag("client_name");
        Err(Rejection::new(ErrorCode::InvalidClientMetadata, "before", "is not for you"))
    });
    let policy = Policy::new((before, impostor));
    let evaluation = policy.evaluate(Registration::parse(SENT.as_bytes()).unwrap(), &Context::registration());
    assert_eq!(evaluation.rules, ["before", "impostor"]);
    let findings: Vec<_> = evaluation.findings.iter().map(|finding| (finding.rule, finding.disposition)).collect();
    let expected =
        [("before", Disposition::Stripped), ("impostor", Disposition::Flagged), ("impostor", Disposition::Rejected)];
    assert_eq!(findings, expected);
    assert_eq!(evaluation.rejection.unwrap().description(), "is not for you (impostor)");
}

#[test]
fn each_edit_is_one_finding() {
    let edits: [(Edit, &str, Disposition, &str); 9] = [
        (|s| s.strip("scope"), "scope", Disposition::Stripped, "no scope"),
        (
            |s| s.narrow_strings("grant_types", |grant| grant != "refresh_token"),
            "grant_types",
            Disposition::Narrowed,
            "one",
        ),
        (|s| s.narrow_tokens("scope", |token| token != "write"), "scope", Disposition::Narrowed, "one scope"),
        (
            |s| s.insert_default("token_endpoint_auth_method", "none"),
            "token_endpoint_auth_method",
            Disposition::Defaulted,
            "",
        ),
        (|s| s.insert_default_strings("response_types", ["code"]), "response_types", Disposition::Defaulted, ""),
        (|s| s.substitute("client_name", "Another"), "client_name", Disposition::Substituted, ""),
        (|s| s.supply("tenant", &json!("acme")), "tenant", Disposition::Supplied, ""),
        (|s| s.supply("scope", &json!("read")), "scope", Disposition::Supplied, ""),
        (|s| s.flag("client_name"), "client_name", Disposition::Flagged, ""),
    ];
    for (edit, field, disposition, what) in edits {
        let (findings, after) = done(edit);
        assert_eq!(findings, [(field.to_owned(), disposition)], "{what}");
        assert_eq!(after == SENT, disposition == Disposition::Flagged, "{after}");
    }
}

#[test]
fn edits_without_a_change_are_no_findings() {
    let edits: [Edit; 6] = [
        |s| s.strip("software_id"),
        |s| s.narrow_strings("grant_types", |_| true),
        |s| s.narrow_strings("contacts", |_| false),
        |s| s.narrow_tokens("scope", |_| true),
        |s| s.insert_default("client_name", "Another"),
        |s| s.insert_default_strings("grant_types", ["implicit"]),
    ];
    for edit in edits {
        assert_eq!(done(edit), (Vec::new(), SENT.to_owned()));
    }
}
