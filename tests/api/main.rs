//! The public API of the published libraries is the one that is listed in `api/`.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

const CRATES: [&str; 7] = [
    "tower-dcr",
    "tower-dcr-admin",
    "tower-dcr-conformance",
    "tower-dcr-fetch",
    "tower-dcr-redis",
    "tower-dcr-server",
    "tower-dcr-sqlx",
];

const HINT: &str = "if that is meant, `UPDATE_API=1 cargo test -p test-api` writes it into the listing";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The items of a crate with all of its features, one a line, without the implementations that every type has.
fn listing(package: &str) -> String {
    let json = rustdoc_json::Builder::default()
        .toolchain("nightly")
        .manifest_path(root().join("Cargo.toml"))
        // As `scripts/figures` has it.
        .target_dir(root().join("target/api"))
        .package(package)
        .all_features(true)
        .quiet(true)
        .silent(true)
        .build()
        .unwrap_or_else(|error| panic!("{package}: {error}; it takes `rustup toolchain install nightly`"));
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_auto_trait_impls(true)
        .omit_blanket_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .unwrap_or_else(|error| {
            panic!("{package}: {error}; the version of public-api has to fit the nightly toolchain")
        });
    // The manual is a module of the documentation only.
    api.to_string()
        .lines()
        .filter(|line| !line.starts_with("pub mod tower_dcr::docs"))
        .fold(String::new(), |text, line| text + line + "\n")
}

static LISTINGS: LazyLock<[(&str, String); 7]> = LazyLock::new(|| CRATES.map(|package| (package, listing(package))));

/// The lines that only one of two listings has.
fn difference(before: &str, after: &str) -> String {
    let (before, after): (BTreeSet<&str>, BTreeSet<&str>) = (before.lines().collect(), after.lines().collect());
    let mut text = String::new();
    before.difference(&after).for_each(|line| writeln!(text, "-{line}").unwrap());
    after.difference(&before).for_each(|line| writeln!(text, "+{line}").unwrap());
    text
}

#[test]
fn the_public_api_is_the_listed_one() {
    let mut differences = String::new();
    for (package, now) in &*LISTINGS {
        let path = root().join("api").join(format!("{package}.txt"));
        if std::env::var_os("UPDATE_API").is_some() {
            fs::write(&path, now).unwrap();
            continue;
        }
        let listed = fs::read_to_string(&path).unwrap_or_default();
        if listed != *now {
            writeln!(differences, "api/{package}.txt\n{}", difference(&listed, now)).unwrap();
        }
    }
    assert!(differences.is_empty(), "the public API changed:\n\n{differences}{HINT}");
}

/// Frameworks and databases have versions of their own: none of them is part of the library's.
#[test]
fn the_library_names_no_framework_and_no_database() {
    let listed = &LISTINGS[0].1;
    for name in ["axum", "hyper", "redis", "salvo", "sqlx", "tokio"] {
        let found =
            listed.lines().find(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name));
        assert_eq!(found, None, "{name}");
    }
}
