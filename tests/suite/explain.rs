//! Every rule is explained, and explanations are true.

use std::collections::BTreeSet;

use tower_dcr::rules::{AuthMethod, Context, Grants, MemberOperators, MetadataOperators, RuleDocs};
use tower_dcr::{Preset, Registration};

use crate::support::changed;

fn listed() -> BTreeSet<&'static str> {
    Preset::rule_docs().map(|docs| docs.id).collect()
}

/// Rules of every preset, with those that only settings switch on.
fn presets() -> [Preset; 3] {
    let operators = || {
        MetadataOperators::default()
            .on("tenant", changed(MemberOperators::default(), |it| it.essential = Some(true)))
            .unwrap()
    };
    let statements = || {
        let keys = r#"{"keys":[{"kty":"EC","crv":"P-256",
            "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
        let issuer = tower_dcr::rules::Issuer::new("i", keys, ["ES256"]).unwrap();
        tower_dcr::rules::SoftwareStatements::new([issuer]).unwrap()
    };
    let provider = || {
        let grants = Grants::new(["authorization_code", "urn:openid:params:grant-type:ciba"], ["code"]).unwrap();
        tower_dcr::oauth(grants, AuthMethod::one_of(["none", "tls_client_auth"]))
    };
    [tower_dcr::mcp(), tower_dcr::strict(), provider()].map(|preset| {
        let preset = preset
            .map_rules(|mut rules| {
                rules.metadata.operators = operators();
                Ok(rules)
            })
            .unwrap();
        preset.with_software_statements(statements())
    })
}

#[test]
fn every_rule_of_a_preset_is_explained_under_its_id() {
    assert_eq!(listed().len(), Preset::rule_docs().count(), "each once");
    let mut seen = BTreeSet::new();
    for preset in presets() {
        for rule in preset.policy().rules().chain(preset.document_policy().rules()) {
            let docs = rule.docs().unwrap_or_else(|| panic!("{} is not explained", rule.id()));
            assert_eq!((docs.id, docs.replayable), (rule.id(), rule.replayable()));
            assert!(Preset::rule_docs().any(|listed| std::ptr::eq(listed, docs)), "{} is not listed", rule.id());
            seen.insert(rule.id());
        }
    }
    // The others speak where no rule of a policy does.
    let by_layers = [
        "answer",
        "audit",
        "body",
        "cases",
        "client-url",
        "initial-access-token",
        "lifecycle",
        "media-type",
        "method",
        "origin",
        "pinned-rules",
        "rate-limit",
        "registration-closed",
        "strict-json",
    ];
    let by_gates = |id: &&str| id.starts_with("gate-");
    let others: Vec<&str> = listed().difference(&seen).copied().filter(|id| !by_gates(id)).collect();
    assert_eq!(others, by_layers);
}

/// Each rule of a gate is a key of the section `[gate.rules]`.
#[test]
fn the_rules_of_gates_are_named_like_their_keys() {
    let schema = Preset::file_schema();
    let keys = schema["$defs"]["GateRules"]["properties"].as_object().unwrap();
    let ids: BTreeSet<String> =
        listed().iter().filter_map(|id| Some(id.strip_prefix("gate-")?.replace('-', "_"))).collect();
    assert_eq!(ids, keys.keys().cloned().collect());
}

/// `dcr replay` judges again by these alone.
#[test]
fn rules_that_need_more_than_the_document_are_not_replayable() {
    let others = Preset::rule_docs().filter(|docs| !docs.replayable).map(|docs| docs.id);
    let others: Vec<&str> = others.filter(|id| !id.starts_with("gate-")).collect();
    assert_eq!(
        others,
        [
            "audit",
            "rate-limit",
            "registration-closed",
            "initial-access-token",
            "origin",
            "method",
            "client-url",
            "media-type",
            "body",
            "strict-json",
            "software-statement",
            "document",
            "document-redirects",
            "redirect-host-quota",
            "lifecycle",
            "answer",
        ]
    );
}

/// Returns the rules that reject or change an attack.
fn met_by(attack: &str) -> BTreeSet<&'static str> {
    let Ok(registration) = Registration::parse(attack.as_bytes()) else { return ["strict-json"].into() };
    let evaluation = tower_dcr::mcp().policy().evaluate(registration, &Context::registration());
    evaluation.findings.iter().map(|finding| finding.rule).collect()
}

#[test]
fn rules_reject_the_attacks_of_their_documentation() {
    let mut tried = 0;
    for RuleDocs { id, attack, .. } in Preset::rule_docs().filter(|rule| rule.attack.starts_with('{')) {
        assert!(met_by(attack).contains(id), "{id}: {attack} is met by {:?}", met_by(attack));
        tried += 1;
    }
    assert!(tried >= 11, "{tried}");
}

#[test]
fn documented_settings_exist() {
    let schema = Preset::file_schema().to_string();
    for rule in Preset::rule_docs() {
        for word in rule
            .loosen
            .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
            .filter(|word| word.trim_matches('.').contains('.'))
        {
            let last = word.trim_matches('.').rsplit('.').next().unwrap();
            let known = last == "NAME" || last == "com" || last == "example" || schema.contains(&format!("\"{last}\""));
            assert!(known || word.starts_with("com."), "{}: {word}", rule.id);
        }
    }
}
