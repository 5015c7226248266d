//! Arrows point down: which module may use which.

use std::fs;
use std::path::{Path, PathBuf};

/// Each module and those that it may use, lowest first. A module may use those that its line names, which stand above it, and
/// its own parts.
const FLOORS: [(&str, &[&str]); 35] = [
    ("cache", &[]),
    ("replaceable", &[]),
    ("sync", &[]),
    ("text", &[]),
    ("suggestion", &[]),
    ("period", &["suggestion"]),
    ("bounds", &["period", "suggestion"]),
    ("clock", &[]),
    ("method", &[]),
    ("telemetry", &[]),
    ("circuit_breaker", &["clock", "sync", "telemetry", "text"]),
    ("registration", &["bounds", "text"]),
    ("media_type", &[]),
    ("redirect_uri", &["text"]),
    ("documents::client_id_url", &["redirect_uri"]),
    ("rate_limit", &["circuit_breaker", "clock", "sync"]),
    (
        "rules",
        &[
            "bounds",
            "cache",
            "clock",
            "documents::client_id_url",
            "method",
            "period",
            "rate_limit",
            "redirect_uri",
            "registration",
            "suggestion",
            "sync",
            "text",
        ],
    ),
    ("client_address", &["bounds", "rules"]),
    ("client_url", &["method", "registration", "rules"]),
    ("rate_limit::quota", &["rules"]),
    ("rate_limit::limits", &["rules"]),
    ("rate_limit::budgets", &["client_address", "clock", "rules"]),
    (
        "clients::ledger",
        &["circuit_breaker", "client_address", "redirect_uri", "registration", "rules", "sync", "text"],
    ),
    ("audit", &["bounds", "client_address", "clock", "registration", "rules", "sync", "telemetry", "text"]),
    ("clients::consent", &["clients::ledger", "redirect_uri", "registration", "rules"]),
    (
        "clients::registrar",
        &[
            "audit",
            "cache",
            "client_address",
            "client_url",
            "clients::consent",
            "clients::ledger",
            "clock",
            "documents::client_id_url",
            "period",
            "redirect_uri",
            "registration",
            "replaceable",
            "rules",
            "sync",
            "telemetry",
            "text",
        ],
    ),
    (
        "documents",
        &[
            "audit",
            "bounds",
            "cache",
            "circuit_breaker",
            "client_address",
            "clients::consent",
            "clients::ledger",
            "clients::registrar",
            "clock",
            "media_type",
            "period",
            "rate_limit",
            "redirect_uri",
            "registration",
            "replaceable",
            "rules",
            "sync",
            "telemetry",
            "text",
        ],
    ),
    ("clients::admin", &["audit", "clients::ledger", "clients::registrar", "text"]),
    ("clients", &[]),
    ("layers::body", BELOW_LAYERS),
    ("layers::setup_check", BELOW_LAYERS),
    ("layers", BELOW_LAYERS),
    ("preset", ALL),
    ("policy_file", ALL),
    ("lib", ALL),
];

/// The parts of layers know no other layer.
const BELOW_LAYERS: &[&str] = &[
    "audit",
    "bounds",
    "cache",
    "client_address",
    "client_url",
    "clients::admin",
    "clients::consent",
    "clients::ledger",
    "clients::registrar",
    "clock",
    "documents",
    "documents::client_id_url",
    "media_type",
    "method",
    "period",
    "rate_limit",
    "rate_limit::budgets",
    "redirect_uri",
    "registration",
    "replaceable",
    "rules",
    "sync",
    "telemetry",
    "text",
];

/// Presets are data, and policy files are their text.
const ALL: &[&str] = &[
    "audit",
    "bounds",
    "client_address",
    "client_url",
    "clients::ledger",
    "clients::registrar",
    "documents",
    "documents::client_id_url",
    "layers",
    "layers::body",
    "layers::setup_check",
    "period",
    "policy_file",
    "preset",
    "rate_limit",
    "redirect_uri",
    "registration",
    "replaceable",
    "rules",
    "suggestion",
    "sync",
    "telemetry",
    "text",
    "clock",
];

/// The module of the table that holds `path`, a path of modules and perhaps an item.
fn module(path: &str) -> &'static str {
    let holds = |name: &str| path == name || path.starts_with(&format!("{name}::"));
    let found = FLOORS.iter().map(|(name, _)| *name).filter(|name| holds(name)).max_by_key(|name| name.len());
    found.unwrap_or_else(|| panic!("{path} is on no floor"))
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    // The program is a user of the library.
    let library = entries.filter(|path| !path.ends_with("bin") && path.extension().is_none_or(|kind| kind == "rs"));
    library.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// Every `crate::module::…` outside of comments and tests.
fn uses(source: &str) -> Vec<String> {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let named = |line: &str| -> Vec<String> {
        let paths = line.split("crate::").skip(1);
        paths
            .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').next().unwrap())
            .map(|path| path.trim_end_matches(':').into())
            .collect()
    };
    code.flat_map(named).collect()
}

/// The module that a file is, and its source.
fn modules() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    // `docs` includes the manual, and is in no build.
    let is_code = |path: &PathBuf| !path.ends_with("tests.rs") && *path != root.join("docs.rs");
    let paths = sources(&root).into_iter().filter(is_code);
    paths
        .map(|path| {
            let relative = path.strip_prefix(&root).unwrap().with_extension("");
            let segments: Vec<&str> = relative.iter().map(|segment| segment.to_str().unwrap()).collect();
            (segments.join("::"), fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn arrows_point_down() {
    let mut checked = 0;
    for (path, source) in modules() {
        let from = module(&path);
        let (_, allowed) = FLOORS.iter().find(|(name, _)| *name == from).unwrap();
        for used in uses(&source) {
            checked += 1;
            // Items of the root are used in examples only.
            assert!(!used.starts_with(char::is_uppercase), "{path} uses crate::{used} by its second name");
            let to = module(&used);
            let is_part = to.strip_prefix(from).is_some_and(|rest| rest.starts_with("::"));
            assert!(to == from || is_part || allowed.contains(&to), "{path} uses {used}");
        }
    }
    assert!(checked > 60, "{checked}");
}

/// No module uses itself by way of another one, apart from presets and policy files, which are one thing.
#[test]
fn no_module_uses_a_later_one() {
    let place = |name: &str| FLOORS.iter().position(|(other, _)| *other == name).unwrap();
    for (from, allowed) in FLOORS.iter().filter(|(_, allowed)| *allowed != ALL) {
        assert!(allowed.iter().all(|to| place(to) < place(from)), "{from}");
    }
}

#[test]
fn only_layers_and_modules_above_use_tower_or_http_bodies() {
    for (path, source) in modules() {
        let is_prose = |line: &&str| ["//", "#[doc ="].iter().any(|prose| line.trim_start().starts_with(prose));
        let code: String = source.lines().filter(|line| !is_prose(line)).collect();
        let knows = ["tower_layer::", "tower_service::", "http_body::", "http_body_util::"]
            .iter()
            .any(|name| code.contains(name));
        let may = ["layers", "layers::body", "layers::setup_check", "preset", "policy_file", "lib"];
        assert!(!knows || may.contains(&module(&path)), "{path}");
        assert!(!code.contains("axum"), "{path}");
    }
}
