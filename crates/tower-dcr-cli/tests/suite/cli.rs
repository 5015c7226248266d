//! Runs the program `dcr`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::str::FromStr;

use serde_json::{Value, json};
use tower_dcr::Preset;
use tower_dcr::audit::{ChainKey, Event, JsonLines, JsonLinesSettings};
use tower_dcr::clients::{
    Blocks as _, Change, Client, DocumentState, Fingerprints, HeldChange, Ledger as _, Origin, Registrar, Status,
};
use tower_dcr_sqlx::SqliteLedger;

use test_support::folder::Folder;
use test_support::support::{Kept, Naive, behind, post, send};
use test_support::there::is_there;

/// The workspace directory.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

pub(crate) fn dcr(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dcr"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    for variable in ["DCR_POLICY", "DCR_LEDGER", "DCR_CHAIN_KEY_FILE"] {
        command.env_remove(variable);
    }
    // 2026-11-29, for table rows that expire.
    command.env("USER", "alice").env("COLUMNS", "100").env("SOURCE_DATE_EPOCH", "1795910400");
    command
}

/// Returns the output of a run: `status`, the standard output, and the standard error after `stderr:`.
pub(crate) fn run(folder: &Folder, arguments: &[&str], input: &str) -> String {
    let mut child =
        dcr(&folder.0, arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may exit without reading its input.
    let _unread = child.stdin.take().unwrap().write_all(input.as_bytes());
    shown(&child.wait_with_output().unwrap())
}

fn shown(output: &Output) -> String {
    let mut shown = format!("status {}\n{}", output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout));
    if !output.stderr.is_empty() {
        write!(shown, "stderr:\n{}", String::from_utf8_lossy(&output.stderr)).unwrap();
    }
    shown
}

pub(crate) fn json_of(folder: &Folder, arguments: &[&str]) -> (i32, Value) {
    let output = dcr(&folder.0, arguments).arg("--json").output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
}

const HONEST: &str = r#"{"client_name":"App","redirect_uris":["http://127.0.0.1/cb"],"grant_types":["authorization_code"],
    "response_types":["code"],"token_endpoint_auth_method":"none","application_type":"native"}"#;
const GREEDY: &str = r#"{"client_name":"App 2","redirect_uris":["http://127.0.0.1/cb","myapp:/cb"],"skip_consent":true,
    "grant_types":["authorization_code","client_credentials"],"token_endpoint_auth_method":"client_secret_post"}"#;
const EVIL: &str = r#"{"redirect_uris":["https://evil.example.net/cb"],"client_name":"CIaude"}"#;

#[test]
fn check_prints_the_decision_and_its_reasons() {
    let folder = Folder::new("check");
    folder.write("honest.json", HONEST).write("greedy.json", GREEDY);
    insta::assert_snapshot!("check_accept", run(&folder, &["check", "honest.json"], ""));
    insta::assert_snapshot!("check_rewrite", run(&folder, &["check", "greedy.json"], ""));
    insta::assert_snapshot!("check_reject", run(&folder, &["check", "-"], EVIL));
    insta::assert_snapshot!("check_strict_rejects", run(&folder, &["check", "--policy", "strict", "greedy.json"], ""));
    insta::assert_snapshot!("check_no_json", run(&folder, &["check", "-"], r#"{"a":1,"a":2}"#));
    insta::assert_snapshot!("check_no_file", run(&folder, &["check", "missing.json"], ""));
    // Untrusted text does not control the terminal.
    let steering = r#"{"redirect_uris":["http://localhost/cb"],"\u001b[31m":1,"client_name":"\u202eApp"}"#;
    let shown = run(&folder, &["check", "-"], steering);
    let json = run(&folder, &["check", "--json", "-"], steering);
    assert!(json.is_ascii() && json.contains("\\u202eApp"), "{json}");
    assert!(shown.contains("⟨U+001B⟩[31m") && !shown.contains(['\u{1b}', '\u{202e}']), "{shown}");
}

#[test]
fn check_prints_json() {
    let folder = Folder::new("check-json");
    folder.write("greedy.json", GREEDY).write("evil.json", EVIL);
    let (status, judged) = json_of(&folder, &["check", "greedy.json"]);
    assert_eq!(
        (status, &judged["verdict"], &judged["policy"]),
        (3, &json!("rewrite"), &json!(tower_dcr::mcp().fingerprint()))
    );
    assert_eq!(judged["after"]["redirect_uris"], json!(["http://127.0.0.1/cb"]));
    assert!(judged["findings"].as_array().unwrap().iter().any(|finding| finding["field"] == "skip_consent"));
    let (status, judged) = json_of(&folder, &["check", "evil.json"]);
    assert_eq!((status, &judged["verdict"], &judged["rule"]), (4, &json!("refuse"), &json!("identity")));
    assert_eq!((&judged["identity"]["claimed"], &judged["after"]), (&json!("Claude"), &Value::Null));
}

/// Each case: the policy, the arguments, the exit status, the verdict, and words of the output.
#[test]
fn check_knows_closed_servers_and_approval() {
    let folder = Folder::new("check-closed");
    let foreign = r#"{"redirect_uris":["https://app.example.com:8443/cb"],"token_endpoint_auth_method":"none"}"#;
    let evil = r#"{"redirect_uris":["javascript:alert(1)"]}"#;
    let (closed, hold) = ("registration = 'closed'", "lifecycle.hold = ['redirect-uris']");
    let reports = "registration = 'closed'\nreport_only = true";
    for (policy, arguments, wanted, words) in [
        (closed, vec![HONEST], (4, "refuse", Some("registration-closed")), "reject  403 access_denied"),
        (closed, vec![evil], (4, "refuse", Some("redirect-uris")), "registration is closed"),
        (
            closed,
            vec!["--owner", "portal", HONEST],
            (4, "refuse", Some("registration-closed")),
            "registration is closed",
        ),
        (reports, vec![HONEST], (0, "accept", None), "accept"),
        (hold, vec![foreign], (3, "hold", None), "held for approval: redirect_uris[0]"),
        (hold, vec![evil], (4, "refuse", Some("redirect-uris")), "reject"),
        ("", vec![foreign], (4, "refuse", Some("redirect-uris")), "reject"),
    ] {
        folder.write("policy.toml", policy);
        let arguments = [&["check", "--policy", "policy.toml"], &arguments[..]].concat();
        let (status, judged) = json_of(&folder, &arguments);
        let found = (status, judged["verdict"].as_str().unwrap(), judged["rule"].as_str());
        assert_eq!(found, wanted, "{policy} {arguments:?}: {judged}");
        let shown = run(&folder, &arguments, "");
        assert!(shown.contains(words) && (wanted.1 != "hold" || !shown.contains("accept")), "{policy}: {shown}");
    }
}

/// Each case: the limit of a policy, the status of a server's response, and the rule behind it.
#[test]
fn check_applies_the_body_limits_of_the_policy() {
    let folder = Folder::new("check-limits");
    let long = json!({"client_name": "App", "redirect_uris": vec!["http://localhost/cb"; 1500]}).to_string();
    let deep = r#"{"redirect_uris":["http://localhost/cb"],"a":[[[[[[[[[1]]]]]]]]]}"#;
    folder.write("long.json", &long).write("deep.json", deep).write("short.json", HONEST);
    for (reason, policy, body, wanted) in [
        ("the default", "", "short.json", (0, None, None)),
        ("more than 16 KiB", "", "long.json", (4, Some(413), Some("body.max_bytes is 16384"))),
        ("as the policy says", "body.max_bytes = 20", "short.json", (4, Some(413), Some("body.max_bytes is 20"))),
        ("a larger one", "body.max_bytes = 100000", "long.json", (4, Some(400), Some("body.max_array is 100"))),
        ("deeper than 8", "", "deep.json", (4, Some(400), Some("body.max_depth is 8"))),
        ("a deeper one", "body.max_depth = 20", "deep.json", (3, None, None)),
    ] {
        folder.write("policy.toml", policy);
        let (status, judged) = json_of(&folder, &["check", "--policy", "policy.toml", body]);
        let found = (status, judged["status"].as_u64(), judged["reason"].as_str());
        assert_eq!(found, wanted, "{reason}: {judged}");
    }
}

/// An endless device: only the limit and one more byte are read.
#[test]
#[cfg(target_os = "linux")]
fn check_reads_no_more_than_the_limit() {
    let folder = Folder::new("check-endless");
    for arguments in [&["check", "/dev/zero"][..], &["check", "--policy", "strict", "/dev/zero"]] {
        let shown = run(&folder, arguments, "");
        assert!(shown.starts_with("status 4\nreject  413 invalid_client_metadata: the body is too large"), "{shown}");
    }
    let endless = fs::File::open("/dev/zero").unwrap();
    let output = dcr(&folder.0, &["check", "-"]).stdin(endless).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", shown(&output));
    let policy = run(&folder, &["lint", "/dev/zero"], "");
    assert_eq!(policy, "status 1\nstderr:\nerror: /dev/zero: can't be read: it is too large for a policy\n");
}

#[test]
fn check_names_the_place_of_a_json_error() {
    let folder = Folder::new("check-broken");
    for (reason, body, line, column, words) in [
        ("a comma", "{\"a\":1,\n \"b\":2,}", 2, 8, "trailing comma"),
        ("a colon", "{\"a\" 1}", 1, 6, "expected `:`"),
        ("the end", "{\"a\":", 1, 5, "EOF"),
        ("something behind", "{\"a\":1}\n x", 2, 2, "trailing characters"),
        ("a lone surrogate", "{\"a\":\"\\ud800\"}", 1, 13, "hex escape"),
        ("a large number", "{\"a\":1e999}", 1, 10, "number out of range"),
        ("twice", "{\"a\":1,\n\"\\u0061\":2}", 2, 8, "\"a\" appears twice"),
        ("twice, further in", "{\"a\":[{\"b\":1,\"b\":2}]}", 1, 16, "\"b\" appears twice"),
    ] {
        let (status, judged) = json_of(&folder, &["check", body]);
        assert_eq!((status, &judged["rule"]), (4, &json!("strict-json")), "{reason}");
        assert_eq!((&judged["line"], &judged["column"]), (&json!(line), &json!(column)), "{reason}: {judged}");
        assert!(judged["reason"].as_str().unwrap().contains(words), "{reason}: {judged}");
    }
    fs::write(folder.0.join("latin1.json"), b"{\n\"client_name\":\"caf\xe9\"}").unwrap();
    let (_, judged) = json_of(&folder, &["check", "latin1.json"]);
    assert_eq!((&judged["line"], &judged["column"], &judged["reason"]), (&json!(2), &json!(19), &json!("not UTF-8")));
    // A list is no registration, but it is JSON and not a file name.
    let list = run(&folder, &["check", " [1]"], "");
    assert!(list.contains("the document is not a JSON object"), "{list}");
}

#[test]
fn check_names_the_faulty_part_of_a_redirect_uri() {
    let folder = Folder::new("check-redirect");
    folder.write("list.toml", "redirect_uris.only_https = ['https://app.example.com/cb']\n");
    for (policy, uri, words) in [
        ("mcp", "https://app.example.com:8443/cb", "port 8443 is not in redirect_uris.https_ports"),
        ("mcp", "https://app.example/cb", "app.example is not a public host name"),
        ("mcp", "https://intranet/cb", "intranet is not a public host name"),
        ("mcp", "myapp:/cb", "myapp: is not in redirect_uris.private_use_schemes"),
        ("list.toml", "https://other.example.com/cb", "redirect_uris.only_https"),
        ("mcp", "https://App.Example.com/cb", "a host is written in lower case: app.example.com"),
        ("mcp", "http://N8N.lan:5678/cb", "a host is written in lower case: n8n.lan:5678"),
        ("mcp", "http://[FD12::1]/cb", "a host is written in lower case: [fd12::1]"),
        ("mcp", "http://n8n.lan:5678/cb", "rejected unless redirect_uris.danger_private_origins lists it"),
        ("mcp", "https://192.168.1.20/cb", "rejected unless redirect_uris.danger_private_origins lists it"),
    ] {
        let body = json!({"redirect_uris": [uri]}).to_string();
        let (status, judged) = json_of(&folder, &["check", "--policy", policy, &body]);
        assert_eq!((status, &judged["rule"]), (4, &json!("redirect-uris")), "{uri}");
        assert!(judged["reason"].as_str().unwrap().contains(words), "{uri}: {judged}");
    }
    // A setting is named only if it accepts the place.
    for uri in ["https://8.8.8.8/cb", "https://8.8.8.8/CB", "http://app.example.com/cb", "https://0x7f.1/cb"] {
        let body = json!({"redirect_uris": [uri]}).to_string();
        let (_, judged) = json_of(&folder, &["check", &body]);
        assert_eq!((&judged["rule"], &judged["reason"]), (&json!("redirect-uris"), &Value::Null), "{uri}: {judged}");
    }
    // The explanation by a port is not used for another fault.
    folder.write("loopback.toml", "redirect_uris.classes = ['loopback']\n");
    let body = r#"{"redirect_uris":["https://app.example.com:8443/cb"]}"#;
    let (_, judged) = json_of(&folder, &["check", "--policy", "loopback.toml", body]);
    assert_eq!(judged["reason"], Value::Null, "{judged}");
}

/// The error names the file, once as text and once as JSON; the standard output is empty.
#[test]
fn errors_name_the_file() {
    let folder = Folder::new("errors");
    fs::create_dir(folder.0.join("folder")).unwrap();
    fs::write(folder.0.join("binary"), [0xff, 0xfe, 0, b'\n', 0xc3]).unwrap();
    folder.write("empty.json", "");
    for (status, named, arguments) in [
        (1, "missing.json", &["check", "missing.json"][..]),
        (1, "folder", &["check", "folder"]),
        (1, "none.toml", &["check", "--policy", "none.toml", "{}"]),
        (1, "none.toml", &["lint", "none.toml"]),
        (1, "folder", &["lint", "folder"]),
        (1, "binary", &["lint", "binary"]),
        (1, "folder", &["show", "--policy", "folder"]),
        (1, "missing.jsonl", &["replay", "--policy", "mcp", "missing.jsonl"]),
        (1, "folder", &["replay", "--policy", "mcp", "folder"]),
        (1, "none.db", &["clients", "list", "sqlite:none.db"]),
        (1, "empty.json", &["man", "empty.json"]),
        (2, "chekc", &["chekc"]),
    ] {
        let text = dcr(&folder.0, arguments).output().unwrap();
        let (said, json) = (shown(&text), dcr(&folder.0, arguments).arg("--json").output().unwrap());
        assert!(text.stdout.is_empty() && said.contains(named), "{arguments:?}: {said}");
        let error: Value = serde_json::from_slice(&json.stderr).unwrap_or_else(|_| panic!("{}", shown(&json)));
        assert!(error["error"].is_string() && error.to_string().contains(named), "{arguments:?}: {error}");
        assert!(json.stdout.is_empty(), "{arguments:?}");
        assert_eq!((text.status.code(), json.status.code()), (Some(status), Some(status)), "{arguments:?}");
    }
    // An empty file is readable; as JSON it is an error.
    assert_eq!(json_of(&folder, &["lint", "empty.json"]).0, 4);
    // A binary body is readable too, and rejected by a server.
    assert_eq!(json_of(&folder, &["check", "binary"]).0, 4);
}

#[test]
fn check_evaluates_updates_and_callers() {
    let folder = Folder::new("check-caller");
    folder.write(
        "policy.toml",
        "redirect_uris.classes = ['loopback']
         [[callers]]
         when = { rules = 'partner' }
         redirect_uris.classes = ['https']",
    );
    let hosted = r#"{"redirect_uris":["https://app.example.com/cb"]}"#;
    let status = |arguments: &[&str], body: &str| {
        let arguments = [&["check", "--policy", "policy.toml", "-"], arguments].concat();
        run(&folder, &arguments, body).lines().next().unwrap().to_owned()
    };
    assert_eq!(status(&[], hosted), "status 4");
    assert_eq!(status(&["--owner", "portal", "--rules", "partner"], hosted), "status 0");
    assert_eq!(status(&["--owner", "portal", "--rules", "unknown"], hosted), "status 4");
    assert_eq!(status(&["--update"], HONEST), "status 4", "an update names its client");
    let mut update: Value = serde_json::from_str(HONEST).unwrap();
    update["client_id"] = "c".into();
    assert_eq!(status(&["--update"], &update.to_string()), "status 0");
}

#[test]
fn explain_describes_rules_and_settings() {
    let folder = Folder::new("explain");
    insta::assert_snapshot!("explain_redirect_uris", run(&folder, &["explain", "redirect-uris"], ""));
    insta::assert_snapshot!("explain_unknown", run(&folder, &["explain", "redirects"], ""));
    insta::assert_snapshot!("explain_setting", run(&folder, &["explain", "body.max_bytes"], ""));
    insta::assert_snapshot!("explain_choices", run(&folder, &["explain", "gate.rules.scope"], ""));
    for (wrong, right) in [
        ("pkce", "gate-pkce"),
        ("gate-pcke", "gate-pkce"),
        ("gate_pkce", "gate-pkce"),
        ("redirect-urls", "redirect-uris"),
        ("redirecturis", "redirect-uris"),
        ("auth-method", "gate-auth-method"),
        ("gate.unknwon", "gate.unknown"),
        ("gate.rules.pcke", "gate.rules.pkce"),
        ("failed_authentication", "gate.failed_authentication"),
    ] {
        let said = run(&folder, &["explain", wrong], "");
        assert!(said.contains(&format!("did you mean {right:?}? The rules are")), "{wrong}: {said}");
    }
    let said = run(&folder, &["explain", "zzzzzz"], "");
    assert!(!said.contains("did you mean"), "{said}");
    let (_, action) = json_of(&folder, &["explain", "identity.unverified"]);
    assert_eq!((&action["values"], &action["strict"]), (&json!(["mark", "reject"]), &json!("mark")));
    for key in ["gate", "gate.grace", "lifecycle.idle", "redirect_uris.patterns", "rate_limit.address"] {
        let (status, setting) = json_of(&folder, &["explain", key]);
        assert!(
            status == 0 && setting["description"].as_str().is_some_and(|text| !text.is_empty()),
            "{key}: {setting}"
        );
    }
    let (status, all) = json_of(&folder, &["explain"]);
    assert_eq!((status, all.as_array().unwrap().len()), (0, Preset::rule_docs().count()));
}

#[test]
fn lint_prints_findings_with_suggestions() {
    let folder = Folder::new("lint");
    folder.write("good.toml", "extends = 'mcp'\n").write("broken.toml", "[redirect_uris]\nlocalhost = 'yes'\n").write(
        "bad.toml",
        r#"extends = "mcp"
report_only = true

[client_address]
trusted_proxies = ["0.0.0.0/0"]

[rate_limit]
address = "5/minute"

[redirect_uris]
classes = ["loopback"]
add_private_use_schemes = ["myapp"]
patterns = [
    "https://*.github.io/cb",
    'regex: .*\.example\.com/cb',
    "regex: https://app.example.com/cb",
    'regex: https://app\.example\.com/.*',
]

[metadata.scope]
ceiling = ["read"]
default = ["admin"]

[[callers]]
when = "token"

[[callers]]
when = "token"

[initial_access_tokens]
required = false
tokens = [{ sha256 = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b", owner = "portal", rules = "gone" }]
"#,
    );
    insta::assert_snapshot!("lint_good", run(&folder, &["lint", "good.toml"], ""));
    insta::assert_snapshot!("lint_bad", run(&folder, &["lint", "bad.toml"], ""));
    insta::assert_snapshot!("lint_broken", run(&folder, &["lint", "broken.toml"], ""));
    let (status, lints) = json_of(&folder, &["lint", "bad.toml"]);
    assert_eq!((status, &lints[0]["severity"], &lints[0]["key"]), (4, &json!("warning"), &json!("extends")));
    let order: Vec<u64> = lints.as_array().unwrap().iter().map(|lint| lint["line"].as_u64().unwrap()).collect();
    assert!(order.is_sorted() && order.len() > 10, "{order:?}");
    let proxies =
        lints.as_array().unwrap().iter().find(|lint| lint["key"] == "client_address.trusted_proxies").unwrap();
    assert_eq!(proxies["line"], 5);
    let (status, lints) = json_of(&folder, &["lint", "broken.toml"]);
    assert_eq!((status, &lints[0]["line"], &lints[0]["key"]), (4, &json!(2), &json!("redirect_uris.localhost")));
}

/// Findings in the order of the files, the shadow last; includes lints of the valid parts of an invalid file.
#[test]
fn lint_names_the_file_and_place_of_each_finding() {
    let folder = Folder::new("lint-places");
    folder
        .write("now.toml", "gate.grace = '30days'\nreport_only = true\n[shadow]\npolicy = 'next.toml'\n")
        .write("next.toml", "\n[redirect_uris]\npatterns = ['https://*.github.io/cb']\n")
        .write("broken.toml", "report_only = true\nreport_onyl = 1\ngate.grace = '30days'\nbody = []\n")
        .write(
            "absent.toml",
            "extends = 'strict'\nlifecycle.deduplication = false\nlifecycle.any_loopback_port = true\n",
        );
    let found = |file: &str| {
        let (status, found) = json_of(&folder, &["lint", file]);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let row = |lint: &Value| {
            let (line, column) = (lint["line"].as_u64().unwrap(), lint["column"].as_u64().unwrap());
            (text(&lint["severity"]), text(&lint["file"]), line, column, text(&lint["key"]))
        };
        (status, found.as_array().unwrap().iter().map(row).collect::<Vec<_>>())
    };
    let row = |severity: &str, file: &str, line, column, key: &str| {
        (severity.to_owned(), file.to_owned(), line, column, key.to_owned())
    };
    let of_shadow = row("error", "next.toml", 3, 13, "redirect_uris.patterns[0]");
    assert_eq!(
        found("now.toml"),
        (
            4,
            vec![
                row("error", "now.toml", 1, 14, "gate.grace"),
                row("warning", "now.toml", 2, 15, "report_only"),
                of_shadow
            ]
        )
    );
    assert_eq!(
        found("broken.toml"),
        (
            4,
            vec![
                row("warning", "broken.toml", 1, 15, "report_only"),
                row("error", "broken.toml", 2, 1, "report_onyl"),
                row("error", "broken.toml", 3, 14, "gate.grace"),
                row("error", "broken.toml", 4, 8, "body"),
            ]
        )
    );
    let shown = run(&folder, &["lint", "now.toml"], "");
    assert!(shown.contains(" --> next.toml:3:13"), "{shown}");
    let output =
        dcr(&folder.0, &["lint", "--json", "absent.toml"]).env("SOURCE_DATE_EPOCH", "4102444800").output().unwrap();
    let lints: Value = serde_json::from_slice(&output.stdout).unwrap();
    let last = lints.as_array().unwrap().last().unwrap();
    assert_eq!((&last["key"], &last["file"]), (&json!("identity.identities"), &json!("absent.toml")), "{lints}");
    assert_eq!((&last["line"], &last["column"]), (&Value::Null, &Value::Null));
}

/// Elements keep the number that they have in the file, behind an invalid one, in a list that is added, and in one that is sorted.
#[test]
fn lint_counts_elements_as_the_file_does() {
    let folder = Folder::new("lint-elements");
    for (policy, wanted) in [
        (
            "documents.admission = 'listed'\ndocuments.allow = ['https://a.example.com/c', 'https://*.example.com/c', \
             'https://b.example.com/c', 'https://x.github.io/*/c', 'http://c.example.com/c', 'https://y.github.io/*/c']",
            ["documents.allow[1]", "documents.allow[3]", "documents.allow[4]", "documents.allow[5]"].as_slice(),
        ),
        (
            "documents.admission = 'listed'\ndocuments.add_allow = ['https://*.example.com/c', 'https://x.github.io/*/c']",
            &["documents.add_allow[0]", "documents.add_allow[1]"],
        ),
        (
            "documents.own_hosts = ['z.example.com', '?', 'a.example.com', '!']",
            &["documents.own_hosts", "documents.own_hosts"],
        ),
        (
            "redirect_uris.patterns = ['https://*.com/c', 'https://b.example.com/c', 'https://*.github.io/c']",
            &["redirect_uris.patterns[0]", "redirect_uris.patterns[2]"],
        ),
        (
            "redirect_uris.add_patterns = ['https://*.com/c', 'https://b.example.com/c', 'https://*.github.io/c']",
            &["redirect_uris.add_patterns[0]", "redirect_uris.add_patterns[2]"],
        ),
        (
            "[[callers]]\nwhen = 'nobody'\n[[callers]]\nwhen = 'token'\n\
             redirect_uris.add_patterns = ['https://*.com/c', 'https://*.github.io/c']",
            &[
                "callers[0].when",
                "callers[1].redirect_uris.add_patterns[0]",
                "callers[1].redirect_uris.add_patterns[1]",
            ],
        ),
    ] {
        folder.write("policy.toml", policy);
        let (_, found) = json_of(&folder, &["lint", "policy.toml"]);
        let keys: Vec<&str> = found.as_array().unwrap().iter().map(|lint| lint["key"].as_str().unwrap()).collect();
        assert_eq!(keys, wanted, "{policy}: {found}");
    }
    folder.write("policy.toml", "documents.allow = ['https://*.example.com/c', 'https://x.github.io/*/c']");
    insta::assert_snapshot!("lint_documents", run(&folder, &["lint", "policy.toml"], ""));
}

/// A policy with a lint, a similar one without it, and words of the lint.
const LINTS: &[(&str, &str, &str)] = &[
    (
        "redirect_uris.patterns = ['https://*.co.uk/cb']",
        "redirect_uris.patterns = ['https://*.example.co.uk/cb']",
        "public suffix",
    ),
    (
        "redirect_uris.patterns = ['https://*.pages.dev/cb']",
        "redirect_uris.patterns = ['https://x.pages.dev/cb']",
        "public suffix",
    ),
    (
        "redirect_uris.patterns = ['regex: https://.*\\.example\\.com/cb']",
        "redirect_uris.patterns = ['regex: https://[a-z]+\\.example\\.com/cb']",
        "not anchored",
    ),
    (
        "redirect_uris.patterns = ['regex:/cb']",
        "redirect_uris.patterns = ['regex: com\\.example:/cb']",
        "not a regular expression",
    ),
    (
        "redirect_uris.patterns = ['regex: a|.*']",
        "redirect_uris.patterns = ['regex: https://a\\.example\\.com/(a|b)']",
        "unanchored",
    ),
    (
        "redirect_uris.patterns = ['regex: https://a\\.example.com/cb']",
        "redirect_uris.patterns = ['regex: https://a\\.example\\.com/a.b']",
        "any character",
    ),
    (
        "redirect_uris.patterns = ['http://intranet.example.com/cb']",
        "redirect_uris.patterns = ['http://localhost:8080/cb']",
        "never allowed",
    ),
    ("redirect_uris.classes = []", "redirect_uris.classes = ['https', 'loopback', 'private_use']", "no class"),
    (
        "redirect_uris.only_https = ['https://a.example.com/cb']\nredirect_uris.classes = ['loopback']",
        "redirect_uris.only_https = ['https://a.example.com/cb']",
        "has no effect",
    ),
    (
        "redirect_uris.only_https = ['https://a.example.com:8443/*']\nredirect_uris.https_ports = [8443]",
        "redirect_uris.https_ports = [443, 8443]",
        "https_ports has no effect",
    ),
    (
        "redirect_uris.add_private_use_schemes = ['acme']",
        "redirect_uris.add_private_use_schemes = ['com.acme.app']",
        "any application can take",
    ),
    (
        "client_address.trusted_proxies = ['::/0']",
        "client_address.trusted_proxies = ['2001:db8::/32']",
        "every address is a trusted proxy",
    ),
    ("client_address.ipv6_prefix = 128", "client_address.ipv6_prefix = 56", "as many budgets"),
    ("rate_limit.address = '20/hour'", "rate_limit.address = '60/minute'", "hosted platforms"),
    ("rate_limit.global = '60/minute'", "rate_limit.global = 'off'", "lock out every other client"),
    (
        "redirect_host_quota.exempt = []",
        "redirect_host_quota.add_exempt = ['https://a.example.com/*']",
        "one budget for all",
    ),
    ("body_deadline = '500ms'", "body_deadline = '5s'", "slow connections"),
    ("body_deadline = '10min'", "body_deadline = '30s'", "holds a connection"),
    ("metadata.members.unknown = 'reject'", "extends = 'strict'", "newer specification"),
    (
        "metadata.grants.add_grant_types = ['implicit']",
        "metadata.grants.add_grant_types = ['client_credentials']",
        "implicit grant",
    ),
    (
        "metadata.scope = { ceiling = ['a'], default = ['b'] }",
        "metadata.scope = { ceiling = ['a', 'b'], default = ['b'] }",
        "above the ceiling",
    ),
    (
        "identity.identities.known = false",
        "identity.identities = { known = false, reserve = [{ name = 'Acme' }] }",
        "the identity rule has no effect",
    ),
    (
        "[[callers]]\nwhen = 'token'\n[[callers]]\nwhen = 'token'",
        "[[callers]]\nwhen = 'token'\n[[callers]]\nwhen = 'anonymous'",
        "further up",
    ),
    (
        "gate.issuer = 'https://As.example.com:8443/t'\ndocuments = { admission = 'listed', allow = ['https://as.example.com/c'] }",
        "gate.issuer = 'https://as.example.com/t'\ndocuments = { admission = 'listed', allow = ['https://a.example.com/c'] }",
        "the host of gate.issuer",
    ),
    (
        "registration = 'closed'\ndocuments.admission = 'off'",
        "registration = 'closed'\ndocuments.admission = 'open'",
        "no new client is possible",
    ),
    (
        "registration = 'closed'\ndocuments.admission = 'listed'",
        "registration = 'closed'\ndocuments = { admission = 'listed', allow = ['https://a.example.com/c'] }",
        "no new client is possible",
    ),
    (
        "registration = 'closed'\ndocuments.admission = 'off'",
        "registration = 'open'\ndocuments.admission = 'off'",
        "no new client is possible",
    ),
    (
        "registration = 'closed'\ndocuments.admission = 'off'",
        "report_only = true\nregistration = 'closed'\ndocuments.admission = 'off'",
        "no new client is possible",
    ),
    ("report_only = true", "report_only = false", "nothing is enforced"),
    ("report_only_rules = ['scope']", "report_only_rules = []", "not enforced: scope"),
    ("answer.report_only = true", "answer.report_only = false", "secrets for public ones"),
    ("gate.report_only = true", "gate.report_only = false", "pass the gates"),
    ("lifecycle.report_only = true", "lifecycle.report_only = false", "registered again"),
    ("gate.danger_pass_without_ledger = true", "gate.danger_pass_without_ledger = false", "every revoked client"),
    ("answer.secret = { allow = [] }", "answer.secret = { allow = ['client_secret_basic'] }", "no method"),
    ("identity.contradicted_name = 'mark'", "identity.contradicted_mention = 'mark'", "imitations"),
    ("identity.unverified = 'reject'", "identity.contradicted_mention = 'reject'", "known clients can't register"),
];

/// Each lint has a policy that triggers it, and a similar one that does not.
#[test]
fn each_lint_fires_on_its_policy_and_not_on_a_similar_one() {
    for (with, without, message) in LINTS {
        let says = |policy: &str| {
            let lints = Preset::from_str(policy).unwrap_or_else(|error| panic!("{error}")).lint(None);
            lints.iter().any(|lint| lint.message.contains(message))
        };
        assert!(says(with), "{with}: {message}");
        assert!(!says(without), "{without}: {message}");
    }
    assert_eq!(tower_dcr::mcp().lint(None), []);
    assert_eq!(tower_dcr::strict().lint(None), []);
}

#[test]
fn compat_lists_the_clients_that_a_policy_rejects() {
    let folder = Folder::new("compat");
    folder.write("policy.toml", "redirect_uris.private_use_schemes = []\nredirect_uris.otherwise = 'reject'\n");
    insta::assert_snapshot!("compat_mcp", run(&folder, &["clients", "compat"], ""));
    insta::assert_snapshot!("compat_policy", run(&folder, &["clients", "compat", "--policy", "policy.toml"], ""));
    let (status, compat) = json_of(&folder, &["clients", "compat", "--policy", "policy.toml"]);
    assert_eq!(status, 4);
    let cursor = compat["clients"]
        .as_array()
        .unwrap()
        .iter()
        .find(|client| client["client"].as_str().unwrap().contains("Cursor desktop"))
        .unwrap();
    assert_eq!(cursor["fate"], "refused");
    assert_eq!(
        compat["refused"].as_u64().unwrap()
            + compat["accepted"].as_u64().unwrap()
            + compat["rewritten"].as_u64().unwrap(),
        93
    );
}

/// Closed servers reject registrations only; documents are judged by their admission, too.
#[test]
fn compat_knows_closed_servers_and_documents() {
    let folder = Folder::new("compat-documents");
    folder.write(
        "closed.toml",
        "registration = 'closed'\nredirect_uris = { private_use_schemes = [], otherwise = 'reject' }\n",
    );
    let listed = "documents.admission = 'listed'\ndocuments.rules.redirects = 'same_origin'\n\
                  documents.allow = ['https://claude.ai/oauth/*', 'https://vscode.dev/oauth/client-metadata.json']\n";
    folder.write("listed.toml", listed);
    folder.write("off.toml", "documents.admission = 'off'\n");
    folder.write("reports.toml", &format!("report_only = true\nregistration = 'closed'\n{listed}"));
    for name in ["closed", "listed", "off", "reports"] {
        let file = format!("{name}.toml");
        let shown = run(&folder, &["clients", "compat", "--policy", &file], "");
        insta::assert_snapshot!(format!("compat_{name}"), shown);
    }
    let all = run(&folder, &["clients", "compat", "--all", "--policy", "closed.toml"], "");
    assert_eq!(all.matches("this server does not register clients (registration-closed)").count(), 93 - 3, "{all}");
    let compat = |policy: &str| json_of(&folder, &["clients", "compat", "--policy", policy]);
    let (status, closed) = compat("closed.toml");
    assert_eq!((status, &closed["closed"], &closed["refused"]), (4, &json!(true), &json!(93)));
    assert_eq!((&closed["documents"]["refused"], &closed["not_enforced"]), (&json!(0), &json!(0)));
    let (_, listed) = compat("listed.toml");
    let fate = |client: &str| {
        let clients = listed["documents"]["clients"].as_array().unwrap();
        let found = clients.iter().find(|found| found["client"] == client).unwrap();
        (found["url"].clone(), found["fate"].clone())
    };
    assert_eq!(fate("Claude Code"), (json!("https://claude.ai/oauth/claude-code-client-metadata"), json!("accepted")));
    assert_eq!(fate("Zed").1, "refused");
    let (status, off) = compat("off.toml");
    assert_eq!((status, &off["documents"], &off["closed"]), (0, &Value::Null, &json!(false)));
}

#[test]
fn names_like_those_of_presets_have_a_hint() {
    let folder = Folder::new("preset-names");
    let shown = |policy: &str| run(&folder, &["clients", "compat", "--policy", policy], "");
    insta::assert_snapshot!("policy_oauth", shown("oauth"));
    insta::assert_snapshot!("policy_near_miss", shown("Strict"));
    assert!(!shown("missing.toml").contains("preset"), "{}", shown("missing.toml"));
    // A file of the name is read.
    folder.write("oauth", "extends = 'mcp'");
    assert!(shown("oauth").starts_with("status 0"), "{}", shown("oauth"));
}

/// Returns the events of a server with this policy, as lines.
async fn events(preset: Preset, bodies: &[&str]) -> String {
    let kept = Kept::default();
    let register = behind(
        &preset.with_sink(kept.sink()).map_audit(tower_dcr::layers::AuditLayer::with_document),
        &Naive::default(),
    );
    for body in bodies {
        send(&register, post((*body).to_owned())).await;
    }
    // Times differ between runs.
    let untimed = |mut event: Event| {
        event.time_ms = 1_767_225_600_000;
        event.duration_us = 100;
        event.to_string() + "\n"
    };
    kept.take().into_iter().map(untimed).collect()
}

#[tokio::test]
async fn replay_lists_changed_decisions() {
    let folder = Folder::new("replay");
    let native = r#"{"client_name":"Acme (laptop)","redirect_uris":["com.acme.app:/cb"]}"#;
    let bodies = [HONEST, native, native, EVIL, "no json", r#"{"redirect_uris":["javascript:alert(1)"]}"#, GREEDY];
    let mut lines = events(tower_dcr::mcp(), &bodies).await;
    lines.push_str("{\"schema\":1,\"time_ms\":1,\"action\":\"expired\"}\nnonsense\n\n");
    folder.write("audit.jsonl", &lines);
    folder.write("new.toml", "redirect_uris.reverse_domain_schemes = false\nidentity.contradicted_name = 'mark'\n");
    folder.write("same.toml", "extends = 'mcp'\n");
    insta::assert_snapshot!("replay", run(&folder, &["replay", "--policy", "new.toml", "audit.jsonl"], ""));
    insta::assert_snapshot!("replay_same", run(&folder, &["replay", "--policy", "same.toml", "audit.jsonl"], ""));
    assert_eq!(
        run(&folder, &["replay", "--policy", "new.toml", "--against", "mcp", "audit.jsonl"], ""),
        run(&folder, &["replay", "--policy", "new.toml", "-"], &lines).replace("at -:9", "at audit.jsonl:9"),
        "the recorded decisions are those of the old policy"
    );
    let (status, replay) = json_of(&folder, &["replay", "--policy", "new.toml", "audit.jsonl"]);
    assert_eq!((status, &replay["lines"], &replay["judged"]), (4, &json!(10), &json!(6)));
    assert_eq!(
        (&replay["unreadable"], &replay["lifecycle"], &replay["not_by_policy"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(replay["first_unreadable"], "audit.jsonl:9");
    assert_eq!((&replay["changes"][0]["count"], &replay["changes"][0]["rule"]), (&json!(2), &json!("redirect-uris")));
}

/// `examples/audit.jsonl` holds the events of a server with the preset `mcp`. To update it: `UPDATE_SAMPLE=1 cargo test
/// -p tower-dcr-cli sample`.
#[tokio::test]
async fn the_sample_audit_file_has_the_decisions_of_the_preset() {
    let path = Path::new(ROOT).join("examples/audit.jsonl");
    let clients: Vec<String> =
        tower_dcr::policy_file::KnownClient::all().map(|client| client.registration.source().to_owned()).collect();
    let attacks = Preset::rule_docs().map(|rule| rule.attack).filter(|attack| attack.starts_with('{'));
    let bodies: Vec<&str> = clients.iter().map(String::as_str).chain(attacks).collect();
    let lines = events(tower_dcr::mcp().without_rate_limits(), &bodies).await;
    let timed: String = (0_u64..)
        .zip(lines.lines())
        .map(|(number, line)| line.replace("1767225600000", &(1_767_225_600_000 + number * 600_000).to_string()) + "\n")
        .collect();
    if std::env::var_os("UPDATE_SAMPLE").is_some() {
        fs::write(&path, &timed).unwrap();
    }
    // The fingerprint changes with each version.
    let same = |text: &str| -> Vec<Value> {
        let read = |line: &str| {
            let mut event: Value = serde_json::from_str(line).unwrap();
            event["policy"] = Value::Null;
            event
        };
        text.lines().map(read).collect()
    };
    assert!(
        same(&fs::read_to_string(&path).unwrap()) == same(&timed),
        "run: UPDATE_SAMPLE=1 cargo test -p tower-dcr-cli sample"
    );
}

/// The commands of the chapter on changing a policy, as printed there.
#[test]
fn the_commands_of_the_readme_work_as_printed() {
    let readme = include_str!("../../../../docs/policy-files.md");
    let section =
        readme.split("## Changing a policy without breaking clients").nth(1).unwrap().split("\n## ").next().unwrap();
    let commands: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("dcr ")).collect();
    assert_eq!(commands.len(), 5, "{commands:?}");
    for command in commands {
        let (command, comment) = command.split_once('#').unwrap_or((command, ""));
        let arguments: Vec<&str> = command.split_whitespace().collect();
        let output = dcr(Path::new(ROOT), &arguments).output().unwrap();
        let status = output.status.code().unwrap().to_string();
        assert!(comment.contains(&format!("status {status}")), "dcr {command}: {}", shown(&output));
        assert!(output.stderr.is_empty(), "dcr {command}: {}", shown(&output));
    }
}

/// An input without documents is reported.
#[tokio::test]
async fn replay_counts_events_that_it_can_not_evaluate() {
    let folder = Folder::new("replay-undocumented");
    let kept = Kept::default();
    let guard = Preset::from_str("rate_limit.address = '1/hour'").unwrap().with_sink(kept.sink());
    let register = behind(&guard, &Naive::default());
    for body in [HONEST, "no json", HONEST] {
        send(&register, post(body)).await;
    }
    folder.write("audit.jsonl", &(kept.lines().join("\n") + "\n"));
    let (status, replay) = json_of(&folder, &["replay", "--policy", "strict", "audit.jsonl"]);
    assert_eq!((status, &replay["judged"], &replay["without_document"]), (5, &json!(0), &json!(1)));
    assert_eq!(replay["not_by_policy"], 2, "the limit, and the unreadable body");
}

/// The shadow of a policy is compared with the policy itself, and only on request.
#[tokio::test]
async fn replay_tries_the_shadow_of_a_policy() {
    const NATIVE: &str = r#"{"redirect_uris":["com.example.app:/cb"]}"#;
    let folder = Folder::new("replay-shadow");
    folder
        .write("next.toml", "redirect_uris.reverse_domain_schemes = false")
        .write("policy.toml", "extends = 'mcp'\n[shadow]\npolicy = 'next.toml'")
        .write("audit.jsonl", &events(tower_dcr::mcp(), &[HONEST, GREEDY, EVIL, NATIVE]).await);
    let replay = |arguments: &[&str]| {
        let output =
            dcr(&folder.0, &[&["replay", "--json", "--policy"], arguments, &["audit.jsonl"]].concat()).output();
        let output = output.unwrap();
        let changes =
            serde_json::from_slice(&output.stdout).map_or(Value::Null, |replay: Value| replay["changes"].clone());
        (output.status.code().unwrap(), changes, String::from_utf8(output.stderr).unwrap())
    };
    let (status, changes, said) = replay(&["policy.toml", "--shadow"]);
    assert_eq!((status, &*said, changes.as_array().unwrap().len()), (4, "", 1), "{changes}");
    assert_eq!((&changes[0]["rule"], &changes[0]["to"]), (&json!("redirect-uris"), &json!("refuse")));
    let (status, changes, said) = replay(&["policy.toml"]);
    assert_eq!((status, changes), (0, json!([])), "the policy decides as before");
    assert!(said.contains("policy.toml has a shadow policy: --shadow"), "{said}");
    let (status, _, said) = replay(&["next.toml", "--shadow"]);
    assert!(status == 1 && said.contains("no `[shadow]`"), "{status} {said}");
    assert_eq!(replay(&["policy.toml", "--shadow", "--against", "mcp"]).0, 2);
}

/// Without a decision, the exit status is that of an empty input.
#[tokio::test]
async fn replay_without_registrations_fails() {
    let folder = Folder::new("replay-nothing");
    folder.write("empty.jsonl", "").write("blank.jsonl", "\n\n").write("text.jsonl", "no\nevents\n");
    fs::write(folder.0.join("binary"), [0xff_u8; 5000]).unwrap();
    let ledger = ledger_of(&folder, "clients.db", &[]).await;
    for (input, unreadable, first) in [
        ("empty.jsonl", 0, Value::Null),
        ("blank.jsonl", 0, Value::Null),
        ("text.jsonl", 2, json!("text.jsonl:1")),
        ("binary", 1, json!("binary:1")),
        (&*ledger, 0, Value::Null),
    ] {
        let (status, replay) = json_of(&folder, &["replay", "--policy", "mcp", input]);
        let found = (status, &replay["judged"], &replay["unreadable"], &replay["first_unreadable"]);
        assert_eq!(found, (5, &json!(0), &json!(unreadable), &first), "{input}");
        let text = run(&folder, &["replay", "--policy", "mcp", input], "");
        assert!(text.contains("no registration was evaluated"), "{text}");
    }
    let (status, drift) = json_of(&folder, &["clients", "drift", &ledger]);
    assert_eq!((status, &drift["checked"]), (5, &json!(0)));
    insta::assert_snapshot!("replay_nothing", run(&folder, &["replay", "--policy", "mcp", "text.jsonl"], ""));
}

/// Unreadable lines are not evaluated: they are no success, and hide no decision.
#[test]
fn replay_with_unreadable_lines_is_not_a_success() {
    let folder = Folder::new("replay-part");
    let honest = HONEST.replace('\n', " ");
    let greedy = GREEDY.replace('\n', " ");
    for (reason, lines, wanted) in [
        ("unchanged", vec![&*honest], 0),
        ("half of it", vec![&*honest, "nonsense"], 5),
        ("no registration", vec!["{}", &*honest], 5),
        ("a worse decision stands", vec!["nonsense", &*greedy], 3),
        ("and the worst", vec!["nonsense", &*greedy, EVIL], 4),
        ("nothing", vec!["nonsense"], 5),
    ] {
        folder.write("bare.jsonl", &(lines.join("\n") + "\n"));
        let (status, replay) = json_of(&folder, &["replay", "--policy", "mcp", "bare.jsonl"]);
        assert_eq!(status, wanted, "{reason}: {replay}");
    }
}

/// An input that is named twice would count twice, in any spelling.
#[test]
fn rejects_an_input_that_is_named_twice() {
    let folder = Folder::new("twice");
    folder.write("bare.jsonl", EVIL).write("other.jsonl", EVIL).write("key", "0123456789abcdef");
    for arguments in [
        &["replay", "--policy", "mcp", "bare.jsonl", "./bare.jsonl"][..],
        &["replay", "--policy", "mcp", "-", "bare.jsonl", "-"],
        &["replay", "--policy", "mcp", "sqlite:none.db", "sqlite:none.db"],
        &["audit", "verify", "--key-file", "key", "bare.jsonl", "other.jsonl", "bare.jsonl"],
    ] {
        let shown = run(&folder, arguments, "");
        assert!(shown.starts_with("status 1\nstderr:\nerror: ") && shown.contains("named twice"), "{shown}");
    }
    assert!(run(&folder, &["replay", "--policy", "mcp", "bare.jsonl", "other.jsonl"], "").starts_with("status 4\n"));
}

/// A device has no end and no line break.
#[test]
#[cfg(target_os = "linux")]
fn stops_reading_an_endless_file() {
    let folder = Folder::new("endless");
    folder.write("bare.jsonl", EVIL).write("key", "0123456789abcdef");
    folder.write("policy.toml", "[audit]\nchain_key_file = '/dev/zero'\n");
    for (arguments, status, says) in [
        (&["replay", "--policy", "mcp", "/dev/zero"][..], 1, "/dev/zero: a line of more than 64 MiB"),
        (&["audit", "stats", "/dev/zero"], 1, "/dev/zero: a line of more than 64 MiB"),
        (&["audit", "verify", "--key-file", "/dev/zero", "bare.jsonl"], 1, "/dev/zero: more than 64 KiB"),
        (&["audit", "verify", "--key-file", "key", "--without-head", "/dev/zero"], 4, "chain broken at line 1"),
        (&["audit", "verify", "--key-file", "key", "--head", "/dev/zero", "bare.jsonl"], 4, "chain broken at line 1"),
        (&["show", "--policy", "policy.toml"], 1, "/dev/zero: more than 64 KiB"),
    ] {
        let shown = run(&folder, arguments, "");
        assert!(shown.starts_with(&format!("status {status}\n")) && shown.contains(says), "{arguments:?}: {shown}");
    }
    // A terminated line that is too long for an event is unreadable.
    folder.write("long.jsonl", &format!("{}\n{EVIL}\n", "x".repeat(3 << 20)));
    let (status, replay) = json_of(&folder, &["replay", "--policy", "mcp", "long.jsonl"]);
    assert_eq!((status, &replay["lines"], &replay["unreadable"]), (4, &json!(2), &json!(1)), "{replay}");
    let (status, summed) = json_of(&folder, &["audit", "stats", "long.jsonl"]);
    assert_eq!((status, &summed["other_lines"]), (5, &json!(2)), "{summed}");
}

/// The decision is the same for an enforcing and a report-only policy, with the effect on a server.
#[test]
fn report_only_rules_are_evaluated_and_marked() {
    const ACCEPTS: &str = "report-only: a server under this policy accepts it";
    let folder = Folder::new("report-only");
    folder.write("all.toml", "report_only = true\n");
    folder.write("some.toml", "report_only_rules = ['identity', 'known-members', 'grant-types', 'rate-limit']\n");
    folder.write("other.toml", "report_only_rules = ['scope', 'rate-limit']\n");
    folder.write("shadow.toml", "extends = 'strict'\n[shadow]\npolicy = 'all.toml'\n");
    folder.write("reporting.toml", "report_only = true\n[shadow]\npolicy = 'strict.toml'\n");
    folder.write("strict.toml", "extends = 'strict'\n");
    let javascript = r#"{"redirect_uris":["javascript:alert(1)"]}"#;
    for (policy, body, status, verdict, in_force, enforced) in [
        ("mcp", EVIL, 4, "refuse", "refuse", true),
        ("other.toml", EVIL, 4, "refuse", "refuse", true),
        ("all.toml", EVIL, 4, "refuse", "accept", false),
        ("some.toml", EVIL, 4, "refuse", "accept", false),
        ("all.toml", GREEDY, 3, "rewrite", "accept", false),
        ("some.toml", GREEDY, 3, "rewrite", "rewrite", false),
        ("all.toml", "{\"a\":1,}", 4, "refuse", "accept", false),
        ("some.toml", javascript, 4, "refuse", "refuse", true),
        ("some.toml", HONEST, 0, "accept", "accept", true),
    ] {
        let (ended, judged) = json_of(&folder, &["check", "--policy", policy, body]);
        let found = (ended, &judged["verdict"], &judged["in_force"], &judged["enforced"]);
        assert_eq!(found, (status, &json!(verdict), &json!(in_force), &json!(enforced)), "{policy} {body}: {judged}");
        let text = run(&folder, &["check", "--policy", policy, body], "");
        assert_eq!(text.contains("report-only: a server"), !enforced, "{policy} {body}: {text}");
        assert_eq!(text.contains(ACCEPTS), verdict != in_force, "{policy} {body}: {text}");
        assert_eq!(text.contains("would reject  "), verdict == "refuse" && in_force == "accept", "{text}");
    }
    let text = run(&folder, &["check", "--policy", "some.toml", EVIL], "");
    assert!(text.contains("identity                    would reject client_name\n"), "{text}");
    folder.write("bare.jsonl", &format!("{EVIL}\n{}\n{javascript}\n", HONEST.replace('\n', " ")));
    for (arguments, status, not_enforced, against) in [
        (&["mcp"][..], 4, 0, false),
        (&["all.toml"], 4, 2, false),
        (&["some.toml"], 4, 1, false),
        (&["mcp", "--against", "some.toml"], 0, 0, true),
        (&["mcp", "--against", "other.toml"], 0, 0, true),
        (&["shadow.toml", "--shadow"], 0, 2, false),
        (&["reporting.toml", "--shadow"], 0, 0, true),
    ] {
        let arguments = [&["replay", "bare.jsonl", "--policy"], arguments].concat();
        let (ended, replay) = json_of(&folder, &arguments);
        let found = (ended, &replay["not_enforced"], &replay["against_report_only"]);
        assert_eq!(found, (status, &json!(not_enforced), &json!(against)), "{arguments:?}: {replay}");
        let text = run(&folder, &arguments, "");
        assert_eq!(text.contains("report-only: a server under this policy accepts"), not_enforced > 0, "{text}");
        assert_eq!(text.contains("rules of the other policy count as enforced"), against, "{text}");
        assert_eq!(text.contains("would reject"), status == 4 && not_enforced > 0, "{text}");
    }
    folder.write("narrow.toml", "report_only_rules = ['redirect-uris']\nredirect_uris.classes = ['https']\n");
    let (status, compat) = json_of(&folder, &["clients", "compat", "--policy", "narrow.toml"]);
    assert_eq!((status, &compat["not_enforced"]), (4, &compat["refused"]), "{compat}");
}

/// A registration that is too large for the new policy would be rejected.
#[test]
fn replay_applies_the_limits_of_a_policy() {
    let folder = Folder::new("replay-limits");
    folder.write("small.toml", "body.max_bytes = 20\n").write("bare.jsonl", &HONEST.replace('\n', " "));
    let (status, replay) = json_of(&folder, &["replay", "--policy", "small.toml", "--against", "mcp", "bare.jsonl"]);
    assert_eq!((status, &replay["changes"][0]["rule"]), (4, &json!("body")), "{replay}");
}

/// Report-only findings count as if they were enforced.
#[tokio::test]
async fn replay_reads_events_of_a_policy_that_only_reports() {
    let folder = Folder::new("replay-report");
    let strict = tower_dcr::strict().report_only();
    folder.write("audit.jsonl", &events(strict, &[HONEST, GREEDY, EVIL]).await);
    let (status, replay) = json_of(&folder, &["replay", "--policy", "strict", "audit.jsonl"]);
    assert_eq!((status, &replay["judged"], &replay["changes"]), (0, &json!(3), &json!([])), "{replay}");
    let (status, replay) = json_of(&folder, &["replay", "--policy", "mcp", "audit.jsonl"]);
    assert_eq!((status, replay["changes"].as_array().unwrap().len()), (3, 1), "{replay}");
}

/// The documents in events lead to the same decisions as the documents that were sent, over the whole corpus.
#[tokio::test]
async fn replay_of_the_corpus_agrees_with_the_recorded_decisions() {
    let folder = Folder::new("replay-corpus");
    let corpus = include_str!("../../../../tests/data/clients.jsonl")
        .lines()
        .chain(include_str!("../../../../tests/data/attacks.jsonl").lines());
    let rows: Vec<Value> = corpus.map(|line| serde_json::from_str(line).unwrap()).collect();
    let bodies: Vec<String> =
        rows.iter().filter(|row| row["body"].is_object()).map(|row| row["body"].to_string()).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    for (name, preset) in [("mcp", tower_dcr::mcp()), ("strict", tower_dcr::strict())] {
        folder.write("audit.jsonl", &events(preset.without_rate_limits(), &bodies).await);
        let (_, replay) = json_of(&folder, &["replay", "--policy", name, "audit.jsonl"]);
        assert!(replay["judged"].as_u64().unwrap() > 900, "{}", replay["judged"]);
        // A redacted value may be the faulty one: such an event is not evaluated the same way.
        let differing: u64 =
            replay["changes"].as_array().unwrap().iter().map(|change| change["count"].as_u64().unwrap()).sum();
        let redacted = ["software-statement", "known-members", "jwks"];
        assert!(
            replay["changes"]
                .as_array()
                .unwrap()
                .iter()
                .all(|change| redacted.contains(&change["rule"].as_str().unwrap())),
            "{name}: {:#}",
            replay["changes"]
        );
        assert!(differing < 20, "{name}: {differing}");
    }
}

#[test]
fn replay_takes_a_corpus_and_bare_registrations() {
    let folder = Folder::new("replay-bare");
    folder.write("corpus.jsonl", include_str!("../../../../tests/data/clients.jsonl"));
    folder.write("bare.jsonl", &format!("{}\n{}\n", HONEST.replace('\n', " "), EVIL));
    let (status, replay) = json_of(&folder, &["replay", "--policy", "mcp", "bare.jsonl"]);
    assert_eq!((status, &replay["judged"], &replay["changes"][0]["rule"]), (4, &json!(2), &json!("identity")));
    let (_, replay) = json_of(&folder, &["replay", "--policy", "strict", "--against", "mcp", "corpus.jsonl"]);
    assert!(replay["judged"].as_u64().unwrap() > 60, "{replay}");
}

#[tokio::test]
async fn lists_groups_re_evaluates_approves_and_revokes_clients() {
    let folder = Folder::new("ledger");
    let path = folder.0.join("clients.db");
    let registrar = Registrar::new(SqliteLedger::open(&path).await.unwrap())
        .map_settings(|lifecycle| lifecycle.deduplication = Some(false))
        .unwrap();
    let guard = tower_dcr::mcp().with_registrar(registrar.clone());
    let number = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let store = tower::service_fn(move |_: http::Request<tower_dcr::layers::RegistrationBody>| {
        let id = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut answer = serde_json::Map::new();
        answer.insert("client_id".into(), format!("client-{id}").into());
        async move { Ok::<_, std::convert::Infallible>(test_support::support::created(&answer)) }
    });
    let register = tower::Layer::layer(&guard, store);
    for body in [HONEST, HONEST, r#"{"client_name":"Acme","redirect_uris":["com.acme.app:/cb"]}"#] {
        assert_eq!(send(&register, post(body)).await.status(), 201);
    }
    drop((register, guard, registrar));
    let ledger = format!("sqlite:{}", path.display());
    let (status, listed) = json_of(&folder, &["clients", "list", "--ledger", &ledger]);
    assert_eq!((status, listed.as_array().unwrap().len()), (0, 3));
    assert_eq!(
        (&listed[0]["client_id"], &listed[0]["state"], &listed[0]["policy"]),
        (&json!("client-2"), &json!("active"), &json!(tower_dcr::mcp().fingerprint()))
    );
    let listing = run(&folder, &["clients", "list", "--ledger", &ledger], "");
    assert!(listing.contains("client-0") && listing.contains("Acme") && listing.contains("com.acme.app:"), "{listing}");
    assert_eq!(run(&folder, &["clients", "stale", "--ledger", &ledger], ""), "status 0\n");
    let (_, duplicates) = json_of(&folder, &["clients", "duplicates", "--ledger", &ledger]);
    assert_eq!(duplicates[0]["clients"], 2);
    let families = run(&folder, &["clients", "families", "--ledger", &ledger], "");
    assert!(families.contains("family="), "{families}");
    folder.write("new.toml", "redirect_uris.classes = ['loopback']\n");
    let (status, drift) = json_of(&folder, &["clients", "drift", "--ledger", &ledger, "--policy", "new.toml"]);
    assert_eq!((status, &drift["refused"], &drift["clients"][0]["client_id"]), (4, &json!(1), &json!("client-2")));
    let (status, replay) = json_of(&folder, &["replay", "--policy", "new.toml", &ledger]);
    assert_eq!((status, &replay["judged"], &replay["changes"][0]["count"]), (4, &json!(3), &json!(1)));
    let acts = ["--ledger", &ledger, "--reason", "a test"];
    let approve = run(&folder, &[&["clients", "approve"], &acts[..], &["client-0"]].concat(), "");
    assert_eq!(approve, "status 0\nclient-0 is active\n");
    let unknown = run(&folder, &[&["clients", "approve"], &acts[..], &["unknown"]].concat(), "");
    assert_eq!(unknown, "status 1\nstderr:\nerror: unknown client\n");
    let family = listed[2]["family"].as_str().unwrap();
    let revoked = run(&folder, &[&["clients", "revoke"], &acts[..], &[&format!("family={family}")]].concat(), "");
    assert_eq!(revoked, format!("status 0\n2 clients revoked\nblocked family={family}\n"));
    let (_, listed) = json_of(&folder, &["clients", "list", "--queue", "revoked", "--ledger", &ledger]);
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["reason"]), (2, &json!("a test")));
    let forgotten = run(&folder, &[&["clients", "forget"], &acts[..], &["client-0"]].concat(), "");
    assert_eq!(forgotten, "status 0\n1 record of client-0 removed; blocks stay\n");
    let (_, left) = json_of(&folder, &["clients", "list", "--ledger", &ledger]);
    assert_eq!((left.as_array().unwrap().len(), &left[0]["client_id"]), (2, &json!("client-2")));
    let again = run(&folder, &[&["clients", "forget"], &acts[..], &["client-0"]].concat(), "");
    assert_eq!(again, "status 1\nstderr:\nerror: unknown client\n");
    let registrar = Registrar::new(SqliteLedger::open(&path).await.unwrap());
    let blocks = registrar.blocks(None, 10).await.unwrap();
    assert_eq!(blocks.len(), 1, "{blocks:?}");
    let missing = run(&folder, &["clients", "list", "--ledger", "sqlite:none.db"], "");
    assert_eq!(missing, "status 1\nstderr:\nerror: none.db: no such ledger\n");
    assert!(!folder.0.join("none.db").exists());
    let wrong = run(&folder, &["clients", "list", "--ledger", "mysql://x"], "");
    assert!(wrong.contains("invalid ledger URL"), "{wrong}");
}

const URL: &str = "https://app.example.com/client.json";

/// Creates a ledger with clients of documents, and one registered client.
async fn ledger_of_documents(folder: &Folder) -> String {
    let ledger = ledger_of(folder, "clients.db", &[("one", -1, None, 6)]).await;
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let store = SqliteLedger::open(folder.0.join("clients.db")).await.unwrap();
    let wide = r#"{"client_name":"App","redirect_uris":["https://app.example.com/cb","https://b.example.com/cb"]}"#;
    for (url, state, held) in [
        (URL, 3_600_000, Some(7_200_000)),
        ("https://fresh.example.net/c", 3_600_000, None),
        ("https://overdue.example.net/c", -3_600_000, None),
        ("https://suspended.example.net/c", 3_600_000, Some(-1)),
        ("https://gone.github.io/c", -3_600_000, None),
    ] {
        let json = r#"{"client_name":"App","redirect_uris":["https://app.example.com/cb"]}"#;
        let registration = tower_dcr::Registration::parse(json.as_bytes()).unwrap();
        let mut client = Client::draft(json, Fingerprints::of(&registration, false), now);
        (client.status, client.origin, client.client_id) = (Status::Active, Origin::Document, Some(url.into()));
        let mut document = DocumentState::new("00".repeat(32), now - 1000, now + state);
        document.held = held.map(|end| HeldChange::new(wide, "11".repeat(32), Change::Widening, now - 5, now + end));
        document.unreachable_since = url.contains("gone").then_some(1_767_225_600_000);
        client.document = Some(Box::new(document));
        store.insert(&client, None).await.unwrap();
    }
    ledger
}

#[tokio::test]
async fn an_approval_is_for_the_version_that_was_looked_at() {
    let folder = Folder::new("versions");
    let ledger = ledger_of_documents(&folder).await;
    let acts = ["--reason", "a test", "--operator", "alice", &ledger];
    let (_, shown) = json_of(&folder, &["clients", "show", &ledger, URL]);
    assert_eq!(
        (&shown["digest"], &shown["document"]["held"]["digest"]),
        (&json!("11".repeat(32)), &json!("11".repeat(32)))
    );
    let approve = |digest: &str, target: &str| {
        run(&folder, &[&["clients", "approve", "--digest", digest], &acts[..], &[target]].concat(), "")
    };
    for (digest, target, error) in [
        (
            "22".repeat(32),
            URL,
            format!(
                "another version of the document is there to approve: look at it with `dcr clients show`; its digest is {}",
                "11".repeat(32)
            ),
        ),
        ("00".repeat(32), URL, "its digest is 1111".to_owned()),
        ("11".repeat(32), "https://fresh.example.net/c", "its digest is 0000".to_owned()),
        ("11".repeat(32), "one", "the client has no metadata document".to_owned()),
        ("11".repeat(32), "unknown", "unknown client".to_owned()),
    ] {
        let answer = approve(&digest, target);
        assert!(answer.starts_with("status 1") && answer.contains(&error), "{target}: {answer}");
    }
    assert!(approve("11", URL).contains("64 hexadecimal digits are needed"));
    let fresh = approve(&"00".repeat(32), "https://fresh.example.net/c");
    assert_eq!(fresh, "status 0\nhttps://fresh.example.net/c is active\n", "what is in force");
    let (_, pending) = json_of(&folder, &["clients", "show", &ledger, URL]);
    assert_eq!(pending["document"]["held"]["digest"], "11".repeat(32), "nothing was approved");
    assert_eq!(approve(&"11".repeat(32), URL), format!("status 0\n{URL} is active\n"));
    let suspended = "https://suspended.example.net/c";
    assert_eq!(
        run(&folder, &[&["clients", "approve"], &acts[..], &[suspended]].concat(), ""),
        format!("status 0\n{suspended} is active\n"),
        "without a digest, what waits"
    );
}

#[tokio::test]
async fn documents_are_listed_shown_approved_and_revoked() {
    let folder = Folder::new("documents");
    let ledger = ledger_of_documents(&folder).await;
    let list = run(&folder, &["clients", "list", &ledger, "--queue", "documents"], "");
    for (url, shown) in [
        (URL, "widening to approve"),
        ("https://fresh.example.net/c", "fresh until 20"),
        ("https://overdue.example.net/c", "to be fetched again since 20"),
        ("https://suspended.example.net/c", "suspended: widening not approved"),
        ("https://gone.github.io/c", "not usable since 2026-01-01T00:00:00Z"),
    ] {
        let line = list.lines().find(|line| line.contains(url)).unwrap_or_else(|| panic!("{url}: {list}"));
        assert!(line.contains(shown), "{line}");
    }
    assert!(!list.contains("App one"), "{list}");
    assert!(run(&folder, &["clients", "list", &ledger], "").contains("App one"));
    let (_, pending) = json_of(&folder, &["clients", "list", &ledger, "--queue", "pending"]);
    let pending: Vec<_> = pending.as_array().unwrap().iter().map(|client| &client["document_host"]).collect();
    assert_eq!(pending, ["suspended.example.net", "app.example.com"]);

    let show = run(&folder, &["clients", "show", &ledger, URL], "");
    for part in [
        "origin          document\n",
        "published by    app.example.com\n",
        "document        widening to approve\n",
        "digest          1111111111111111111111111111111111111111111111111111111111111111\n",
        "fingerprint     document_host=app.example.com\n",
        "fingerprint     document_site=example.com\n",
    ] {
        assert!(show.contains(part), "{part}{show}");
    }
    let (_, after) = show.split_once("\nafter approval\n").unwrap();
    assert!(after.contains("https://b.example.com/cb"), "{show}");
    let acts = ["--reason", "a test", "--operator", "alice", &ledger];
    let act = |verb: &str, target: &str| run(&folder, &[&["clients", verb], &acts[..], &[target]].concat(), "");
    assert_eq!(act("approve", URL), format!("status 0\n{URL} is active\n"));
    let (_, shown) = json_of(&folder, &["clients", "show", &ledger, URL]);
    assert_eq!(shown["registration"]["redirect_uris"][1], "https://b.example.com/cb");
    assert_eq!(shown["document"]["digest"], "11".repeat(32));
    assert!(shown["document"]["held"].is_null(), "{shown}");

    assert_eq!(act("revoke", URL), format!("status 0\n1 client revoked\nblocked client_id={URL}\n"));
    let unknown = "https://new.example.org/c?a=b";
    assert_eq!(act("revoke", unknown), format!("status 0\n0 clients revoked\nblocked client_id={unknown}\n"));
    let blocked = run(&folder, &["clients", "show", &ledger, URL], "");
    assert!(blocked.contains(&format!("blocked         client_id={URL} by operator:alice: a test\n")), "{blocked}");
    let unblock = ["clients", "unblock", "--operator", "alice", &ledger, &format!("client_id={URL}")];
    assert_eq!(run(&folder, &unblock, ""), format!("status 0\nunblocked client_id={URL}\n"));
    let site = act("revoke", "document_site=example.net");
    assert_eq!(site, "status 0\n3 clients revoked\nblocked document_site=example.net\n");
    let host = act("revoke", "document_host=gone.github.io");
    assert_eq!(host, "status 0\n1 client revoked\nblocked document_host=gone.github.io\n");
    for (target, error) in [
        ("document_site=app.example.com", "is not a site"),
        ("document_site=github.io", "is not a site"),
        ("document_host=App.example.com", "is not a public DNS name in lower case"),
        ("document_host=https://app.example.com", "is not a public DNS name in lower case"),
        ("http://app.example.com/client.json", "unknown client"),
        (
            "https://app.example.com/a/../c",
            "unknown client, and no URL of a metadata document: the client_id needs a path",
        ),
        ("client_id=https://app.example.com/a/../c", "the client_id needs a path"),
        ("https://App.example.com:8443/c?a=b", "the client_id needs the name of a host in lower case"),
        ("https://127.0.0.1/c", "the client_id needs the name of a host"),
        ("https:app.example.com/c", "the client_id must begin with https://"),
        ("https://app.example.com/c#f", "the client_id must not have a fragment"),
    ] {
        let answer = act("revoke", target);
        assert!(answer.starts_with("status 1") && answer.contains(error), "{target}: {answer}");
    }
}

/// Creates a ledger with these clients: an id, the time of registration, the last token and the expiry, in days from
/// now.
async fn ledger_of(folder: &Folder, name: &str, clients: &[(&str, i64, Option<i64>, i64)]) -> String {
    const DAY: i64 = 24 * 3600 * 1000;
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(folder.0.join(name))
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let ledger = SqliteLedger::new(pool.clone()).await.unwrap();
    for (id, created, used, expires) in clients {
        let json = format!(r#"{{"client_name":"App {id}","redirect_uris":["http://localhost/{id}"]}}"#);
        let registration = tower_dcr::Registration::parse(json.as_bytes()).unwrap();
        let mut client = Client::draft(&*json, Fingerprints::of(&registration, false), now + created * DAY);
        client.status = Status::Active;
        client.client_id = Some((*id).to_owned());
        client.last_used_at = used.map(|used| now + used * DAY);
        client.expires_at = Some(now + expires * DAY);
        ledger.insert(&client, None).await.unwrap();
    }
    // A dropped pool closes its files later, and only then the log beside the ledger disappears.
    pool.close().await;
    format!("sqlite:{name}")
}

/// Every read-only verb, on this ledger.
fn reading(ledger: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["clients", "list", ledger],
        vec!["clients", "stale", ledger],
        vec!["clients", "stale", "--policy", "strict", ledger],
        vec!["clients", "duplicates", ledger],
        vec!["clients", "families", ledger],
        vec!["clients", "blocks", ledger],
        vec!["clients", "show", ledger, "one"],
        vec!["clients", "drift", ledger],
        vec!["replay", "--policy", "mcp", ledger],
    ]
}

/// Every verb that writes, on this ledger.
fn writing(ledger: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["clients", "approve", "--reason", "x", ledger, "one"],
        vec!["clients", "extend", "--reason", "x", "--for", "90days", ledger, "one"],
        vec!["clients", "forget", "--reason", "x", ledger, "one"],
        vec!["clients", "revoke", "--reason", "x", ledger, "name=App"],
        vec!["clients", "unblock", ledger, "name=App"],
    ]
}

async fn sqlite(folder: &Folder, name: &str, sql: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.0.join(name)).create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::raw_sql(sql).execute(&pool).await.unwrap();
    pool.close().await;
}

/// No verb changes another application's database or another version's, and no read-only verb changes a ledger.
#[tokio::test]
async fn databases_are_not_changed_by_accident() {
    let folder = Folder::new("read-only");
    sqlite(&folder, "other.db", "CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('mine')").await;
    ledger_of(&folder, "old.db", &[]).await;
    sqlite(
        &folder,
        "old.db",
        "DELETE FROM tower_dcr_migrations WHERE version = (SELECT MAX(version) FROM tower_dcr_migrations)",
    )
    .await;
    ledger_of(&folder, "new.db", &[]).await;
    sqlite(&folder, "new.db", "UPDATE tower_dcr_migrations SET version = 1000 WHERE version = 1").await;
    folder.write("text.db", "no database, and long enough to be looked at as one");
    fs::create_dir(folder.0.join("folder.db")).unwrap();
    let ledger = ledger_of(&folder, "clients.db", &[("one", -1, None, 6)]).await;
    let bytes = |name: &str| fs::read(folder.0.join(name)).unwrap_or_default();
    let files = || {
        let mut names: Vec<_> = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let all = files();
    for (name, words) in [
        ("other.db", "other.db: the database is not a ledger"),
        ("old.db", "when it starts"),
        ("new.db", "use a newer version"),
        ("text.db", "text.db: error returned from database: (code: 26) file is not a database"),
        ("folder.db", "folder.db: a directory, not a ledger"),
        ("none.db", "none.db: no such ledger"),
    ] {
        let before = bytes(name);
        let url = format!("sqlite:{name}");
        let diff = vec!["cimd", "diff", &url, "https://one.example.com/client.json"];
        for arguments in reading(&url).into_iter().chain(writing(&url)).chain([diff]) {
            let shown = run(&folder, &arguments, "");
            assert!(shown.starts_with("status 1\nstderr:\nerror: ") && shown.contains(words), "{arguments:?}: {shown}");
            assert_eq!(shown.lines().count(), 3, "{shown}");
        }
        assert!(bytes(name) == before, "{name} was changed");
    }
    let before = bytes("clients.db");
    for arguments in reading(&ledger) {
        let shown = run(&folder, &arguments, "");
        assert!(shown.starts_with("status 0\n"), "{arguments:?}: {shown}");
    }
    assert!(bytes("clients.db") == before);
    assert_eq!(files(), all);
}

/// Recent writes of a running server are visible.
#[tokio::test]
async fn reads_a_ledger_that_a_server_uses() {
    let folder = Folder::new("running");
    let ledger = ledger_of(&folder, "clients.db", &[]).await;
    let server = SqliteLedger::open(folder.0.join("clients.db")).await.unwrap();
    let mut client = Client::draft("{}", Fingerprints::default(), 0);
    (client.status, client.client_id) = (Status::Active, Some("new".into()));
    server.insert(&client, None).await.unwrap();
    assert!(folder.0.join("clients.db-wal").exists());
    let shown = run(&folder, &["clients", "list", &ledger], "");
    assert!(shown.starts_with("status 0\n") && shown.contains("new"), "{shown}");
    assert_eq!(server.find("new").await.unwrap().unwrap().client_id.as_deref(), Some("new"));
}

/// SQLite can't create files beside the ledger, as on a read-only disk.
#[tokio::test]
async fn reads_a_ledger_in_a_read_only_folder() {
    let folder = Folder::new("sealed");
    let ledger = ledger_of(&folder, "clients.db", &[("one", -1, None, 6)]).await;
    for file in ["clients.db-wal", "clients.db-shm"] {
        let _gone = fs::remove_file(folder.0.join(file));
    }
    fs::create_dir(folder.0.join("clients.db-shm")).unwrap();
    let shown = run(&folder, &["clients", "list", &ledger], "");
    assert!(shown.starts_with("status 0\n") && shown.contains("App one"), "{shown}");
}

#[tokio::test]
async fn lists_and_removes_blocks() {
    let folder = Folder::new("blocks");
    let ledger = ledger_of(&folder, "clients.db", &[("one", -1, None, 6), ("two", -2, Some(-1), 100)]).await;
    let dcr = |arguments: &[&str]| run(&folder, &[&["clients"], arguments, &["--ledger", &ledger]].concat(), "");
    assert_eq!(dcr(&["blocks"]), "status 0\n");
    // No client has the name, and it is still blocked.
    let revoked = dcr(&["revoke", "--reason", "none of us", "name=None  Such (laptop)"]);
    assert_eq!(revoked, "status 0\n0 clients revoked\nblocked name=none such\n");
    let revoked = dcr(&["revoke", "--reason", "left us", "one"]);
    let digest = revoked.strip_prefix("status 0\n1 client revoked\nblocked digest=").unwrap().trim();
    let blocks = dcr(&["blocks"]);
    assert!(blocks.contains(&format!("digest={digest}")) && blocks.contains("operator:alice"), "{blocks}");
    assert_eq!(dcr(&["blocks", "--limit", "1"]).lines().last(), Some("… and more: --limit COUNT"));
    let (_, listed) = json_of(&folder, &["clients", "blocks", &ledger]);
    let reasons: Vec<_> = listed.as_array().unwrap().iter().map(|block| &block["reason"]).collect();
    assert_eq!(reasons, ["left us", "none of us"]);
    let (_, shown) = json_of(&folder, &["clients", "show", &ledger, "one"]);
    assert_eq!((&shown["state"], &shown["blocked"]["value"]), (&json!("revoked"), &json!(digest)));
    let shown = dcr(&["show", "one"]);
    for words in ["state           revoked", "App one", "by operator:alice", "left us", "http://localhost/one"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert_eq!(dcr(&["unblock", &format!("digest={digest}")]), format!("status 0\nunblocked digest={digest}\n"));
    // The spelling of events.
    assert_eq!(dcr(&["unblock", "name:None Such"]), "status 0\nunblocked name=none such\n");
    dcr(&["revoke", "--reason", "none of us", "name=none such"]);
    let unblock = ["clients", "unblock", "--reason", "a mistake", "--ledger", &ledger, "name=none such"];
    let unblocked = json!({"unblocked": {"kind": "name", "value": "none such"}, "reason": "a mistake"});
    assert_eq!(json_of(&folder, &unblock), (0, unblocked));
    assert!(dcr(&["unblock", "--reason", " ", "name=none such"]).contains("empty text"));
    assert_eq!(dcr(&["unblock", "name=none such"]), "status 1\nstderr:\nerror: name=none such is not blocked\n");
    assert!(dcr(&["unblock", "one"]).starts_with("status 1\nstderr:\nerror: invalid block \"one\""));
    assert_eq!(dcr(&["blocks"]), "status 0\n");
    let extended = dcr(&["extend", "--for", "400days", "--reason", "on a sabbatical", "two"]);
    assert!(extended.starts_with("status 0\ntwo is active until 20"), "{extended}");
    let (_, shown) = json_of(&folder, &["clients", "show", &ledger, "two"]);
    let days = (shown["expires_at"].as_i64().unwrap() - shown["reviewed_at"].as_i64().unwrap()) / (24 * 3600 * 1000);
    assert_eq!((days, &shown["reviewed_by"], &shown["blocked"]), (400, &json!("alice"), &Value::Null));
    let ended = dcr(&["extend", "--for", "1day", "--reason", "x", "one"]);
    assert!(ended.starts_with("status 1\nstderr:\nerror: client has ended"), "{ended}");
}

/// An invalid fingerprint blocks nothing.
#[tokio::test]
async fn rejects_an_invalid_fingerprint() {
    let folder = Folder::new("targets");
    let ledger = ledger_of(&folder, "clients.db", &[("one", -1, None, 6), ("a=b", -1, None, 6)]).await;
    let dcr = |arguments: &[&str]| run(&folder, &[&["clients"], arguments, &["--ledger", &ledger]].concat(), "");
    let short = "0123456789abcdef0123456789abcde";
    for (target, words) in [
        ("digest=xyz".to_owned(), "a digest has 64 hexadecimal digits"),
        (format!("digest={short}f"), "a digest has 64 hexadecimal digits"),
        (format!("family={short}"), "a family has 32 hexadecimal digits"),
        (format!("family={short}g"), "a family has 32 hexadecimal digits"),
        ("redirect_set=".to_owned(), "a redirect_set has 32 hexadecimal digits"),
        (
            "foo=bar".to_owned(),
            "client_id, digest, document_host, document_site, family, name, redirect_set, software_id, source",
        ),
    ] {
        let shown = dcr(&["revoke", "--reason", "x", &target]);
        assert!(shown.starts_with("status 1\nstderr:\nerror: ") && shown.contains(words), "{target}: {shown}");
    }
    assert_eq!(dcr(&["blocks"]), "status 0\n");
    let upper = format!("family={}F", short.to_uppercase());
    let revoked = dcr(&["revoke", "--reason", "x", &upper]);
    assert_eq!(revoked, format!("status 0\n0 clients revoked\nblocked family={short}f\n"));
    assert_eq!(dcr(&["unblock", &upper]), format!("status 0\nunblocked family={short}f\n"));
    // A client_id may contain any character.
    assert!(dcr(&["revoke", "--reason", "x", "a=b"]).starts_with("status 0\n1 client revoked\n"));
    // A block by an earlier version can be removed.
    let server = SqliteLedger::open(folder.0.join("clients.db")).await.unwrap();
    let stored = tower_dcr::clients::Fingerprint::Digest("xyz".into());
    let block = tower_dcr::clients::Block::new(stored, 0, tower_dcr::clients::Actor::System, "x");
    server.block(&block).await.unwrap();
    drop(server);
    assert_eq!(dcr(&["unblock", "digest=xyz"]), "status 0\nunblocked digest=xyz\n");
    // Existing blocks stay.
    assert_eq!(dcr(&["forget", "--reason", "x", "one"]), "status 0\n1 record of one removed\n");
    assert_eq!(dcr(&["forget", "--reason", "x", "a=b"]), "status 0\n1 record of a=b removed; blocks stay\n");
}

#[tokio::test]
async fn extend_prints_the_new_expiry() {
    let folder = Folder::new("extend");
    let ledger = ledger_of(&folder, "clients.db", &[("one", -1, None, 200), ("two", -1, None, 6)]).await;
    let extend = |id: &str, time: &str, more: &[&str]| {
        let arguments = ["clients", "extend", "--reason", "x", "--for", time, &ledger, id];
        run(&folder, &[&arguments, more].concat(), "")
    };
    for nothing in ["0s", "0days", "soon"] {
        assert!(extend("one", nothing, &[]).starts_with("status 2\n"), "{nothing}");
    }
    let shorter = extend("one", "90days", &[]);
    assert!(shorter.starts_with("status 0\nunchanged: one is active until 20"), "{shorter}");
    assert!(shorter.ends_with(", later than requested\n"), "{shorter}");
    assert!(extend("one", "90days", &["--json"]).contains("\"extended\": false"));
    let longer = extend("two", "90days", &["--json"]);
    assert!(longer.contains("\"extended\": true"), "{longer}");
    let longest = extend("two", "5000years", &[]);
    assert!(longest.starts_with("status 0\ntwo is active until 21"), "{longest}");
    assert!(longest.ends_with("Z: limited to 36525 days, the maximum\n"), "{longest}");
    let secret = "UPDATE tower_dcr_clients SET not_after = expires_at + 86400000 WHERE client_id = 'one'";
    sqlite(&folder, "clients.db", secret).await;
    for words in ["one is active until 20", "unchanged: one is active until 20"] {
        let cut = extend("one", "400days", &[]);
        assert!(cut.starts_with(&format!("status 0\n{words}")), "{words}: {cut}");
        assert!(cut.ends_with("Z, when its secret expires\n"), "{words}: {cut}");
    }
}

/// A disk that accepts no change, like a folder that only another user may write to.
#[tokio::test]
async fn names_a_ledger_that_can_not_be_written() {
    let folder = Folder::new("unwritable");
    let ledger = ledger_of(&folder, "clients.db", &[("one", -1, None, 6)]).await;
    // Simulates a full or read-only disk.
    let trigger = "CREATE TRIGGER reject BEFORE INSERT ON tower_dcr_blocks BEGIN SELECT RAISE(FAIL, 'read-only'); END";
    sqlite(&folder, "clients.db", trigger).await;
    let shown = run(&folder, &["clients", "revoke", "--reason", "x", &ledger, "name=App"], "");
    assert!(shown.starts_with("status 1\nstderr:\nerror: clients.db: ") && shown.contains("read-only"), "{shown}");
}

/// A registered secret is not printed.
#[tokio::test]
async fn show_keeps_secrets() {
    let folder = Folder::new("secret");
    let ledger = SqliteLedger::open(folder.0.join("clients.db")).await.unwrap();
    let json =
        r#"{"client_secret":"s3cret","registration_access_token":"t0ken","redirect_uris":["https://a.example.com/"]}"#;
    let registration = tower_dcr::Registration::parse(json.as_bytes()).unwrap();
    let mut client = Client::draft(json, Fingerprints::of(&registration, false), 0);
    (client.status, client.client_id) = (Status::Active, Some("one".into()));
    ledger.insert(&client, None).await.unwrap();
    for verb in [&["list", "sqlite:clients.db"][..], &["show", "sqlite:clients.db", "one"]] {
        for json in [&["--json"][..], &[]] {
            let shown = run(&folder, &[&["clients"], verb, json].concat(), "");
            assert!(shown.starts_with("status 0") && !shown.contains("s3cret") && !shown.contains("t0ken"), "{shown}");
        }
    }
}

/// The issuer of a software statement is shown, in a terminal and as JSON.
#[tokio::test]
async fn show_names_the_issuer_that_vouches() {
    let folder = Folder::new("issuer");
    let ledger = SqliteLedger::open(folder.0.join("clients.db")).await.unwrap();
    let json = r#"{"redirect_uris":["https://a.example.com/"]}"#;
    let registration = tower_dcr::Registration::parse(json.as_bytes()).unwrap();
    for (id, issuer) in [("one", Some("https://directory.example.com")), ("two", None)] {
        let mut client = Client::draft(json, Fingerprints::of(&registration, false), 0);
        (client.status, client.client_id) = (Status::Active, Some(id.into()));
        client.statement_issuer = issuer.map(Into::into);
        ledger.insert(&client, None).await.unwrap();
        let shown = run(&folder, &["clients", "show", "sqlite:clients.db", id], "");
        let line = shown.lines().find(|line| line.trim_start().starts_with("vouched for by"));
        assert_eq!(line.and_then(|line| line.split_whitespace().last()), issuer, "{shown}");
        let (_, json) = json_of(&folder, &["clients", "show", "sqlite:clients.db", id]);
        let record = if json.is_array() { &json[0] } else { &json };
        assert_eq!(record["statement_issuer"].as_str(), issuer, "{json}");
    }
}

/// The list contains the clients whose badge says stale, and those that are past their limit and not ended, since the limit may only be
/// reported; on request, those of another policy.
#[tokio::test]
async fn stale_means_the_same_everywhere() {
    let folder = Folder::new("stale");
    let clients = [
        ("fresh", -1, None, 6),
        ("unused", -4, None, 3),
        ("busy", -400, Some(-10), 125),
        ("forgotten", -400, Some(-70), 65),
        ("prolonged", -20, None, 300),
        ("over", -400, Some(-200), -65),
    ];
    let ledger = ledger_of(&folder, "clients.db", &clients).await;
    folder.write("short.toml", "lifecycle.never_used = '1day'\nlifecycle.idle = '30days'\n");
    folder.write("long.toml", "lifecycle.never_used = '100days'\nlifecycle.idle = '1000days'\n");
    let stale = |policy: &[&str]| {
        let (_, listed) = json_of(&folder, &[&["clients", "stale", &ledger], policy].concat());
        let of = |client: &Value| {
            (client["client_id"].as_str().unwrap().to_owned(), client["state"].as_str().unwrap().to_owned())
        };
        let mut found: Vec<_> = listed.as_array().unwrap().iter().map(of).collect();
        found.sort();
        found
    };
    let pairs = |pairs: &[(&str, &str)]| -> Vec<_> {
        pairs.iter().map(|(id, state)| ((*id).to_owned(), (*state).to_owned())).collect()
    };
    let (_, all) = json_of(&folder, &["clients", "list", &ledger]);
    let mut badges: Vec<_> = all.as_array().unwrap().iter().filter(|client| client["state"] == "stale").collect();
    badges.sort_by_key(|client| client["client_id"].to_string());
    let badges: Vec<_> = badges.into_iter().map(|client| client["client_id"].as_str().unwrap()).collect();
    assert_eq!(badges, ["forgotten", "unused"]);
    assert_eq!(stale(&[]), pairs(&[("forgotten", "stale"), ("over", "expired"), ("unused", "stale")]));
    let (_, queue) = json_of(&folder, &["clients", "list", "--queue", "stale", &ledger]);
    assert_eq!(queue.as_array().unwrap().len(), 3);
    let short = [
        ("forgotten", "expired"),
        ("fresh", "expired"),
        ("over", "expired"),
        ("prolonged", "expired"),
        ("unused", "expired"),
    ];
    assert_eq!(stale(&["--policy", "short.toml"]), pairs(&short), "45 days after a token, of which 10 have passed");
    assert_eq!(stale(&["--policy", "long.toml"]), []);
    assert_eq!(stale(&["--policy", "mcp", "--limit", "1"]).len(), 1);
}

/// Missing or invalid arguments are reported before a ledger is opened.
#[test]
fn rejects_missing_and_meaningless_options() {
    let folder = Folder::new("usage");
    let ledger = "sqlite:none.db";
    for (reason, arguments) in [
        ("an empty reason", &["clients", "approve", "--reason", "", ledger, "one"][..]),
        ("a blank one", &["clients", "revoke", "--reason", " ", ledger, "one"]),
        ("no operator", &["clients", "forget", "--reason", "x", "--operator", "", ledger, "one"]),
        ("no reason", &["clients", "extend", "--for", "1day", ledger, "one"]),
        ("no time", &["clients", "extend", "--reason", "x", ledger, "one"]),
        ("nothing is listed", &["clients", "approve", "--reason", "x", "--limit", "5", ledger, "one"]),
        ("nothing is listed", &["clients", "revoke", "--reason", "x", "--limit", "5", ledger, "one"]),
        ("revoking uses no policy", &["clients", "revoke", "--reason", "x", "--policy", "mcp", ledger, "one"]),
        ("no ledger", &["clients", "list"]),
        ("no ledger", &["clients", "show", "one"]),
    ] {
        let shown = run(&folder, arguments, "");
        assert!(shown.starts_with("status 2\n"), "{reason}: {shown}");
    }
    let two = run(&folder, &["clients", "list", ledger, "--ledger", "sqlite:other.db"], "");
    assert_eq!(two, "status 1\nstderr:\nerror: two ledgers: sqlite:none.db and --ledger\n");
    // The argument takes precedence over the environment.
    let shown = dcr(&folder.0, &["clients", "list", ledger]).env("DCR_LEDGER", "sqlite:other.db").output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stderr).contains("none.db"), "{shown:?}");
}

/// Reported at once, in words, and without the password.
#[test]
fn names_an_unreachable_database() {
    let folder = Folder::new("unreachable");
    let url = "postgres://dcr:s3cret@127.0.0.1:1/clients";
    let expected = "status 1\nstderr:\nerror: 127.0.0.1:1/clients: connection refused\n";
    let diff = vec!["cimd", "diff", url, "https://one.example.com/client.json"];
    for arguments in reading(url).into_iter().chain(writing(url)).chain([diff]) {
        assert_eq!(run(&folder, &arguments, ""), expected, "{arguments:?}");
    }
}

/// `dcr … | true`: the reader exits before the first line.
#[tokio::test]
async fn a_closed_output_keeps_the_status() {
    let folder = Folder::new("closed");
    let ledger = ledger_of(&folder, "clients.db", &[("one", -1, None, 6)]).await;
    folder
        .write("evil.json", EVIL)
        .write("greedy.json", GREEDY)
        .write("bare.jsonl", EVIL)
        .write("empty.jsonl", "")
        .write("broken.toml", "[redirect_uris]\nlocalhost = 'yes'\n")
        .write("narrow.toml", "redirect_uris.classes = ['https']\n");
    for (status, arguments) in [
        (4, &["check", "evil.json"][..]),
        (4, &["check", "--json", "evil.json"]),
        (3, &["check", "greedy.json"]),
        (0, &["check", HONEST]),
        (4, &["lint", "broken.toml"]),
        (4, &["clients", "compat", "--policy", "narrow.toml"]),
        (4, &["clients", "drift", "--policy", "narrow.toml", &ledger]),
        (4, &["replay", "--policy", "mcp", "bare.jsonl"]),
        (5, &["replay", "--policy", "mcp", "empty.jsonl"]),
        (0, &["clients", "show", &ledger, "one"]),
        (1, &["clients", "show", &ledger, "two"]),
        (0, &["explain"]),
        (0, &["completions", "bash"]),
        (0, &["man"]),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = dcr(&folder.0, arguments).stdout(writer).stderr(Stdio::null()).status().unwrap();
        assert_eq!(ended.code(), Some(status), "{arguments:?}");
    }
}

/// An event that stands for many attempts counts as many.
const SUMS: &str = r#"{"schema":1,"time_ms":1767247200000,"until_ms":1767247250000,"count":8,"duration_us":0,"outcome":"limited","operation":"create","rule":"rate-limit"}
{"schema":1,"time_ms":1767247200000,"until_ms":1767247250000,"count":499,"action":"unregistered_client","subject":"token"}
{"schema":1,"time_ms":1767247200000,"action":"expired","client_id":"client-1"}
"#;

#[tokio::test]
async fn audit_files_are_verified_and_summed_up() {
    let folder = Folder::new("audit");
    folder.write("key", "0123456789abcdef\n").write("short", "0123");
    let path = folder.0.join("audit.jsonl");
    let file = JsonLines::open(
        &path,
        JsonLinesSettings { chain: Some(ChainKey::new(b"0123456789abcdef").unwrap()), ..Default::default() },
    )
    .unwrap();
    let register = behind(&tower_dcr::mcp().with_sink(file.clone()), &Naive::default());
    for body in [HONEST, EVIL, EVIL] {
        send(&register, post(body)).await;
    }
    file.flush();
    let verified = run(&folder, &["audit", "verify", "--key-file", "key", "audit.jsonl"], "");
    assert!(verified.starts_with("status 0\naudit.jsonl: 3 lines, ends with "), "{verified}");
    let text = fs::read_to_string(&path).unwrap();
    let verify =
        |arguments: &[&str]| run(&folder, &[&["audit", "verify", "--key-file", "key"], arguments].concat(), "");
    let first = text.split_inclusive('\n').next().unwrap();
    folder.write("cut.jsonl", first).write("empty.jsonl", "").write("bad.head", "{}");
    for (arguments, status, says) in [
        (&["--head", "audit.jsonl.head", "cut.jsonl"][..], 4, "the files end before line 3, which the head names"),
        (&["--head", "audit.jsonl.head", "empty.jsonl"], 4, "no line to verify"),
        (&["--without-head", "empty.jsonl"], 4, "no line to verify"),
        (&["cut.jsonl"], 4, "cut.jsonl.head: head missing"),
        (&["--head", "bad.head", "audit.jsonl"], 4, "bad.head: head not sealed with this key"),
        (&["--without-head", "cut.jsonl"], 0, "cut.jsonl: 1 lines"),
        (&["--without-head", "none.jsonl"], 1, "none.jsonl: "),
        (&["--without-head", "."], 1, ".: "),
    ] {
        let shown = verify(arguments);
        assert!(shown.starts_with(&format!("status {status}\n")) && shown.contains(says), "{arguments:?}: {shown}");
    }
    let (ended, report) = json_of(&folder, &["audit", "verify", "--key-file", "key", "cut.jsonl"]);
    assert_eq!((ended, report.as_array().map(Vec::len)), (4, Some(2)), "{report}");
    folder.write("tampered.jsonl", &text.replacen("rejected", "accepted", 1));
    let broken = run(&folder, &["audit", "verify", "--key-file", "key", "tampered.jsonl"], "");
    assert_eq!(broken, "status 4\ntampered.jsonl: chain broken at line 2\n");
    let short = run(&folder, &["audit", "verify", "--key-file", "short", "audit.jsonl"], "");
    assert!(short.contains("less than 16 bytes"), "{short}");
    let lines = events(tower_dcr::mcp(), &[HONEST, GREEDY, EVIL, EVIL]).await;
    let one = run(&folder, &["audit", "stats", "-"], lines.lines().next().unwrap());
    assert!(one.contains("\n1 event, half of them"), "{one}");
    let later = lines.replace("1767225600000", "1767247200000");
    insta::assert_snapshot!(
        "audit_stats",
        run(&folder, &["audit", "stats", "-"], &format!("{lines}{later}{later}nonsense\n{SUMS}"))
    );
    for nothing in ["empty.jsonl", "key"] {
        assert_eq!(json_of(&folder, &["audit", "stats", nothing]).0, 5, "{nothing}");
        let shown = run(&folder, &["audit", "stats", nothing], "");
        assert!(shown.starts_with("status 5\n") && shown.contains("no audit event in it"), "{shown}");
    }
    folder.write("events.jsonl", &lines);
    let (ended, stats) = json_of(&folder, &["audit", "stats", "events.jsonl"]);
    assert_eq!(
        (ended, &stats["events"], &stats["outcomes"]["rejected"], &stats["refused_by"]["identity"]),
        (0, &json!(4), &json!(2), &json!(2))
    );
}

#[test]
fn the_effective_policy_the_schema_completions_and_manual_pages_are_printed() {
    let folder = Folder::new("print");
    folder.write("policy.toml", "redirect_uris.localhost = false\n");
    let shown = run(&folder, &["show", "--policy", "policy.toml"], "");
    let effective = shown.strip_prefix("status 0\n").unwrap();
    let expected = Preset::from_str("redirect_uris.localhost = false").unwrap();
    assert_eq!(Preset::from_str(effective).unwrap().fingerprint(), expected.fingerprint());
    let schema = dcr(&folder.0, &["schema"]).output().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&schema.stdout).unwrap(), Preset::file_schema());
    for (shell, word) in [
        ("bash", "complete -F _dcr"),
        ("zsh", "#compdef dcr"),
        ("fish", "complete -c dcr"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "set edit:completion"),
    ] {
        let completions = run(&folder, &["completions", shell], "");
        assert!(completions.contains(word) && completions.contains("replay"), "{shell}");
    }
    assert_eq!(run(&folder, &["man", "man"], ""), "status 0\n");
    let page = fs::read_to_string(folder.0.join("man/dcr-check.1")).unwrap();
    assert!(page.contains(".TH") && page.contains("Exit status"), "{page}");
    assert!(fs::read_to_string(folder.0.join("man/dcr.1")).unwrap().contains("replay"));
    assert!(run(&folder, &["man"], "").contains(".TH dcr"));
}

/// Table entries expire; the decision about a registration does not depend on the day.
#[test]
fn lint_reports_rows_that_are_old() {
    let folder = Folder::new("lint-old");
    folder.write("policy.toml", "extends = 'mcp'\n");
    for (seconds, is_old) in [("1795910400", false), ("4102444800", true)] {
        let output = dcr(&folder.0, &["lint", "policy.toml"]).env("SOURCE_DATE_EPOCH", seconds).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.contains("more than a year ago"), is_old, "{said}");
        assert_eq!(output.status.code(), Some(if is_old { 3 } else { 0 }), "{said}");
    }
}

/// Colour on a terminal, none in a pipe.
#[test]
fn colour_is_for_terminals() {
    let folder = Folder::new("colour");
    let plain = run(&folder, &["explain", "scope"], "");
    assert!(!plain.contains('\u{1b}'));
    let command = format!("{} explain scope", env!("CARGO_BIN_EXE_dcr"));
    // util-linux's `script` runs a command on its own terminal.
    let terminal = Command::new("script").args(["-qec", &command, "/dev/null"]).env("TERM", "xterm").output();
    if is_there("util-linux's script", terminal.is_ok() && cfg!(target_os = "linux")) {
        let shown = String::from_utf8(terminal.unwrap().stdout).unwrap();
        assert!(shown.contains("\u{1b}[1mscope\u{1b}[0m"), "{shown:?}");
    }
}

#[test]
fn help_and_mistakes() {
    let folder = Folder::new("help");
    insta::assert_snapshot!("help", run(&folder, &["--help"], ""));
    insta::assert_snapshot!("help_replay", run(&folder, &["replay", "--help"], ""));
    insta::assert_snapshot!("help_cimd", run(&folder, &["cimd", "--help"], ""));
    insta::assert_snapshot!("help_cimd_diff", run(&folder, &["cimd", "diff", "--help"], ""));
    insta::assert_snapshot!("help_cimd_address", run(&folder, &["cimd", "address", "--help"], ""));
    insta::assert_snapshot!("help_cimd_check", run(&folder, &["cimd", "check", "--help"], ""));
    insta::assert_snapshot!("help_clients", run(&folder, &["clients", "--help"], ""));
    insta::assert_snapshot!("help_revoke", run(&folder, &["clients", "revoke", "--help"], ""));
    insta::assert_snapshot!("help_stale", run(&folder, &["clients", "stale", "--help"], ""));
    assert!(run(&folder, &["chekc"], "").starts_with("status 2\n"));
    let no_policy = run(&folder, &["check", "--policy", "none.toml", "-"], HONEST);
    assert!(no_policy.starts_with("status 1\nstderr:\nerror: none.toml: can't be read"), "{no_policy}");
}
