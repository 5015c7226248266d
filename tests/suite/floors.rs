//! Arrows point down: which module may use which.

use std::fs;
use std::path::{Path, PathBuf};

/// The floor of each module, by its first path segment.
const FLOORS: [(&str, u8); 38] = [
    ("breaker", 0),
    ("clock", 0),
    ("explain", 0),
    ("jwt", 0),
    ("method", 0),
    ("name", 0),
    ("period", 0),
    ("redirect_uri", 0),
    ("registration", 0),
    ("rejection", 0),
    ("sync", 0),
    ("telemetry", 0),
    ("text", 0),
    ("client_address", 1),
    ("client_url", 1),
    ("compat", 1),
    ("consent", 1),
    ("event", 1),
    ("initial_access", 1),
    ("ledger", 1),
    ("policy", 1),
    ("quota", 1),
    ("registrar", 1),
    ("review", 1),
    ("setup_check", 1),
    ("body", 2),
    ("answer", 2),
    ("audit", 2),
    ("gate", 2),
    ("guard", 2),
    ("initial_access_token", 2),
    ("lifecycle", 2),
    ("rate_limit", 2),
    ("review_service", 2),
    ("server_metadata", 2),
    ("preset", 3),
    ("reload", 3),
    ("lib", 4),
];

/// What each module of floors 0 and 1 may use of its own floor. On floor 2 everything stands on `body`, and nothing on
/// its sibling.
const WITHIN: [(&str, &str); 28] = [
    ("breaker", "clock"),
    ("breaker", "sync"),
    ("breaker", "telemetry"),
    ("breaker", "text"),
    ("compat", "policy"),
    ("consent", "ledger"),
    ("consent", "policy"),
    ("name", "text"),
    ("registrar", "consent"),
    ("initial_access", "policy"),
    ("jwt", "registration"),
    ("registration", "text"),
    ("client_address", "policy"),
    ("client_url", "policy"),
    ("registrar", "client_url"),
    ("setup_check", "client_url"),
    ("event", "policy"),
    ("ledger", "policy"),
    ("policy", "quota"),
    ("registrar", "event"),
    ("registrar", "ledger"),
    ("registrar", "policy"),
    ("review", "event"),
    ("review", "ledger"),
    ("review", "registrar"),
    ("reload", "preset"),
    ("redirect_uri", "text"),
    ("rejection", "text"),
];

fn floor(module: &str) -> u8 {
    FLOORS.iter().find(|(name, _)| *name == module).unwrap_or_else(|| panic!("{module} is on no floor")).1
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    // The program is a user of the library.
    let library = entries.filter(|path| !path.ends_with("bin") && path.extension().is_none_or(|kind| kind == "rs"));
    library.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// Every `crate::module` outside of comments and tests.
fn uses(source: &str) -> Vec<String> {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let named = |line: &str| -> Vec<String> {
        line.split("crate::")
            .skip(1)
            .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().into())
            .collect()
    };
    code.flat_map(named).collect()
}

#[test]
fn arrows_point_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    for path in sources(&root) {
        let relative = path.strip_prefix(&root).unwrap();
        if relative.ends_with("tests.rs") {
            continue;
        }
        let module = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        for used in uses(&fs::read_to_string(&path).unwrap()) {
            checked += 1;
            if used == module || module == "lib" {
                continue;
            }
            let (from, to) = (floor(module), floor(&used));
            let sibling = match from {
                2 => used == "body",
                _ => WITHIN.contains(&(module, used.as_str())),
            };
            assert!(to < from || (to == from && sibling), "{} uses {used}", relative.display());
        }
    }
    assert!(checked > 60, "{checked}");
}

#[test]
fn only_floors_two_and_three_know_tower_or_http_bodies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in sources(&root) {
        let relative = path.strip_prefix(&root).unwrap();
        let module = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let source = fs::read_to_string(&path).unwrap();
        let is_prose = |line: &&str| ["//", "#[doc ="].iter().any(|prose| line.trim_start().starts_with(prose));
        let code: String = source.lines().filter(|line| !is_prose(line)).collect();
        let knows = ["tower_layer::", "tower_service::", "http_body::", "http_body_util::"]
            .iter()
            .any(|name| code.contains(name));
        assert!(!knows || floor(module) >= 2, "{}", relative.display());
        assert!(!code.contains("axum"), "{}", relative.display());
    }
}
