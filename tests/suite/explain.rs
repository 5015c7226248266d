//! Every rule is explained, and every explanation is of a rule.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tower_dcr::explain::{self, Explanation};
use tower_dcr::policy::{Policy, Review, Submission};
use tower_dcr::{Preset, Registration};

/// The names of rules in the sources: of constants, of `begin` and of refusals.
fn names(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            names(&entry, found);
            continue;
        }
        let source = fs::read_to_string(&entry).unwrap_or_default();
        let code = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        for before in [
            "RULE: &str = \"",
            ".begin(\"",
            "ErrorCode::MethodNotAllowed, \"",
            "ErrorCode::UnsupportedMediaType, \"",
            "ErrorCode::InvalidClientMetadata, \"",
            "ErrorCode::RequestTimeout, \"",
        ] {
            let named = code.split(before).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
            found.extend(named.filter(|name| name.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase())));
        }
    }
}

#[test]
fn every_rule_is_explained() {
    let mut found = BTreeSet::new();
    names(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    let explained: BTreeSet<String> = explain::RULES.iter().map(|rule| rule.name.to_owned()).collect();
    assert_eq!(found.difference(&explained).collect::<Vec<_>>(), Vec::<&String>::new(), "not explained");
    assert_eq!(explained.difference(&found).collect::<Vec<_>>(), Vec::<&String>::new(), "no rule");
}

/// What an attack that is a registration meets: the rules that refuse it or change it.
fn met_by(attack: &str) -> BTreeSet<String> {
    let Ok(mut registration) = Registration::parse(attack.as_bytes()) else { return ["strict-json".to_owned()].into() };
    let mut review = Review::registration();
    let preset = Preset::mcp();
    let verdict = preset.policy().review(&mut Submission::new(&mut registration, &mut review));
    let changed = review.findings().iter().map(|finding| finding.rule.to_owned());
    changed.chain(verdict.err().map(|refused| refused.rule().to_owned())).collect()
}

#[test]
fn the_rules_meet_the_attacks_that_explain_them() {
    let mut tried = 0;
    for Explanation { name, attack, .. } in explain::RULES.iter().filter(|rule| rule.attack.starts_with('{')) {
        assert!(met_by(attack).contains(*name), "{name}: {attack} is met by {:?}", met_by(attack));
        tried += 1;
    }
    assert!(tried >= 11, "{tried}");
}

#[test]
fn settings_that_loosen_a_rule_are_settings() {
    let schema = Preset::file_schema().to_string();
    for rule in explain::RULES {
        for word in rule
            .loosen
            .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
            .filter(|word| word.trim_matches('.').contains('.'))
        {
            let last = word.trim_matches('.').rsplit('.').next().unwrap();
            let known = last == "NAME" || last == "com" || last == "example" || schema.contains(&format!("\"{last}\""));
            assert!(known || word.starts_with("com."), "{}: {word}", rule.name);
        }
    }
}
