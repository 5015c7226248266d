//! The table of attacks.

use std::fs;
use std::path::{Path, PathBuf};

/// The file of a test in the table.
fn file(module: &str) -> PathBuf {
    let module = module.split("::").collect::<Vec<_>>();
    Path::new(test_support::ROOT).join(match module[..] {
        ["suite", name] => format!("tests/suite/{name}.rs"),
        ["gate"] => "tests/suite/document_gate.rs".to_owned(),
        ["fetch", name] => format!("crates/tower-dcr-fetch/tests/suite/{name}.rs"),
        ["fetcher", "tests"] => "crates/tower-dcr-fetch/src/fetcher/tests.rs".to_owned(),
        ["resolve", "tests"] => "crates/tower-dcr-fetch/src/resolve.rs".to_owned(),
        [name] => format!("tests/servers/documents/{name}.rs"),
        _ => panic!("{module:?} is in no known place"),
    })
}

/// Every number is there once, and each of its tests is one that runs.
#[test]
fn every_attack_has_tests() {
    let table = include_str!("../../data/documents/attacks.md");
    let mut numbers = Vec::new();
    for row in
        table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| |") && !line.starts_with("| -"))
    {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        numbers.push(cells[1].parse::<usize>().unwrap());
        let tests: Vec<&str> = cells[cells.len() - 2].split(", ").map(|test| test.trim_matches('`')).collect();
        assert!(!tests[0].is_empty(), "{row}");
        for test in tests {
            let (module, name) = test.rsplit_once("::").unwrap();
            let text = fs::read_to_string(file(module)).unwrap_or_else(|error| panic!("{test}: {error}"));
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            let is_it = |line: &&str| line.trim_start_matches("async ").starts_with(&format!("fn {name}("));
            let at = lines.iter().position(is_it).unwrap_or_else(|| panic!("{test} is not there"));
            let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
            let attributes: Vec<&&str> = attributes.collect();
            let runs = attributes.iter().any(|line| line.contains("test"))
                && !attributes.iter().any(|line| line.contains("ignore"));
            assert!(runs, "{test}: {attributes:?}");
        }
    }
    assert_eq!(numbers, (1..=98).collect::<Vec<_>>());
}
