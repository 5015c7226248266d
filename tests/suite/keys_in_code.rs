//! Each key of a policy file can be set in code: the schema, compared with the names of builders and fields.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Sections whose keys are the public fields of a struct, and the file of that struct.
const FIELDS: [(&str, &str); 5] = [
    ("body", "src/registration/limits.rs"),
    ("documents", "src/documents/settings.rs"),
    ("gate", "src/layers/gate/settings.rs"),
    ("lifecycle", "src/clients/registrar/settings.rs"),
    ("rate_limit", "src/rate_limit/limits.rs"),
];

/// Sections with builders, the keys of which are rows here. Other sections are one row each: the settings of rules.
const SECTIONS: [&str; 5] = ["answer", "audit", "client_address", "client_url", "initial_access_tokens"];

/// Each key with its builder, whose name is that of the key behind a preposition or verb.
const BUILDERS: [(&str, &str); 29] = [
    ("answer.errors", "ResponseLayer::pass_errors"),
    ("answer.management", "ResponseLayer::with_management"),
    ("answer.normalise", "ResponseLayer::with_normalise"),
    ("answer.public_url", "ResponseLayer::with_public_url"),
    ("answer.report_only", "ResponseLayer::report_only"),
    ("answer.secret", "ResponseLayer::with_secret"),
    ("audit.document", "AuditLayer::with_document"),
    ("audit.request_id_header", "AuditLayer::with_request_id_header"),
    ("audit.requester", "AuditLayer::with_requester"),
    ("body_deadline", "Preset::with_body_deadline"),
    ("callers", "Preset::for_callers"),
    ("client_address.forwarded_header", "ClientAddress::with_forwarded_header"),
    ("client_address.ipv6_prefix", "ClientAddress::with_ipv6_prefix"),
    ("client_address.trusted_proxies", "ClientAddress::with_trusted_proxies"),
    ("client_url.additional_characters", "ClientUrl::with_additional_characters"),
    ("client_url.in_query", "ClientUrl::in_query"),
    ("client_url.query_parameters", "ClientUrl::with_query_parameters"),
    ("client_url.trailing_slash", "ClientUrl::trailing_slash"),
    ("identity", "PresetRules::identity"),
    ("initial_access_tokens.allowed_origins", "InitialAccessTokenLayer::with_allowed_origins"),
    ("metadata", "PresetRules::metadata"),
    ("redirect_host_quota", "Preset::with_redirect_host_quota"),
    ("redirect_uris", "PresetRules::redirect_uris"),
    ("registration", "Preset::close_registration"),
    ("report_only", "Preset::report_only"),
    ("report_only_rules", "Preset::with_report_only_rules"),
    ("shadow", "Preset::with_shadow"),
    ("software_statements", "Preset::with_software_statements"),
    ("body", "Preset::with_body"),
];

/// Keys that code writes in another way, since a file has no values of types, no files that are read later, and no
/// methods.
const OTHERWISE: [(&str, &str); 6] = [
    ("audit.chain_key_file", "JsonLinesSettings::chain"),
    ("audit.requester_key_file", "AuditLayer::with_requester_hash"),
    ("client_url.registration_paths", "ClientUrl::with_registration_path"),
    ("initial_access_tokens.jwt", "JwtTokens::new"),
    ("initial_access_tokens.required", "InitialAccessTokenLayer::optional"),
    ("initial_access_tokens.tokens", "StaticTokens::add_sha256"),
];

/// The keys that are no settings: the schema itself, and the preset that a file extends (`tower_dcr::mcp()`).
const NO_SETTINGS: [&str; 2] = ["$schema", "extends"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut Vec<String>) {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(fs::read_to_string(path).unwrap());
        }
    }
}

/// The keys of a table in the schema, without `add_x`.
fn keys(table: &Value) -> BTreeSet<String> {
    let all = table["properties"].as_object().into_iter().flatten().map(|(key, _)| key.clone());
    all.filter(|key| !key.starts_with("add_")).collect()
}

#[test]
fn each_key_of_a_policy_file_has_a_builder_or_a_field() {
    let schema: Value = serde_json::from_slice(&fs::read(root().join("schema/policy.json")).unwrap()).unwrap();
    let section = |key: &str| {
        let text = schema["properties"][key].to_string();
        let name = text.split("#/$defs/").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        keys(&schema["$defs"][name])
    };
    let mut wanted = BTreeSet::new();
    for key in keys(&schema) {
        if let Some((_, file)) = FIELDS.iter().find(|(name, _)| *name == key) {
            let source = fs::read_to_string(root().join(file)).unwrap();
            let fields = section(&key);
            assert!(fields.len() > 4, "{key} is a section");
            for field in fields {
                assert!(source.contains(&format!("\n    pub {field}: ")), "{key}.{field} is no public field in {file}");
            }
            wanted.extend((key == "body").then_some(key));
        } else if SECTIONS.contains(&&*key) {
            wanted.extend(section(&key).into_iter().map(|inner| format!("{key}.{inner}")));
        } else if !NO_SETTINGS.contains(&&*key) {
            wanted.insert(key);
        }
    }
    let listed: BTreeSet<String> = BUILDERS.iter().chain(&OTHERWISE).map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(listed, wanted, "the table of builders, and the keys of the schema");
    for (key, builder) in BUILDERS {
        let (key, method) = (key.rsplit('.').next().unwrap(), builder.split("::").nth(1).unwrap());
        let bare = |name: &str| {
            let prefixes = ["with_", "map_", "for_", "max_", "pass_", "close_"];
            prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name).to_owned()
        };
        assert_eq!(bare(method), bare(key), "{builder} is named as its key");
    }
    let mut all = Vec::new();
    sources(&root().join("src"), &mut all);
    for (key, builder) in BUILDERS.iter().chain(&OTHERWISE) {
        let (owner, method) = builder.split_once("::").unwrap();
        let is_there = all.iter().any(|source| {
            let declares = |end: char| source.contains(&format!("fn {method}{end}"));
            let is_method = source.contains(&format!("\nimpl {owner} {{")) && (declares('(') || declares('<'));
            let is_field =
                source.contains(&format!("pub struct {owner} {{")) && source.contains(&format!("\n    pub {method}: "));
            is_method || is_field
        });
        assert!(is_there, "{key}: there is no {builder}");
    }
}
