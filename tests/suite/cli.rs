//! `dcr`, run as a user runs it.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tower_dcr::Preset;
use tower_dcr::event::{ChainKey, Event, JsonLines, to_line};
use tower_dcr::ledger::SqliteLedger;
use tower_dcr::registrar::Registrar;

use crate::folder::Folder;
use crate::support::{Kept, Naive, behind, post, send};

fn dcr(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dcr"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    for variable in ["DCR_POLICY", "DCR_LEDGER", "DCR_CHAIN_KEY_FILE"] {
        command.env_remove(variable);
    }
    command.env("USER", "alice").env("COLUMNS", "100");
    command
}

/// What it says and how it ends: `status`, the standard output, and the standard error behind `stderr:`.
fn run(folder: &Folder, arguments: &[&str], input: &str) -> String {
    let mut child =
        dcr(&folder.0, arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It need not read what it is given.
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

fn json_of(folder: &Folder, arguments: &[&str]) -> (i32, Value) {
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
fn check_says_what_becomes_of_a_registration() {
    let folder = Folder::new("check");
    folder.write("honest.json", HONEST).write("greedy.json", GREEDY);
    insta::assert_snapshot!("check_accept", run(&folder, &["check", "honest.json"], ""));
    insta::assert_snapshot!("check_rewrite", run(&folder, &["check", "greedy.json"], ""));
    insta::assert_snapshot!("check_refuse", run(&folder, &["check", "-"], EVIL));
    insta::assert_snapshot!("check_strict_refuses", run(&folder, &["check", "--policy", "strict", "greedy.json"], ""));
    insta::assert_snapshot!("check_no_json", run(&folder, &["check", "-"], r#"{"a":1,"a":2}"#));
    insta::assert_snapshot!("check_no_file", run(&folder, &["check", "missing.json"], ""));
    // What a stranger wrote does not steer the terminal.
    let steering = r#"{"redirect_uris":["http://localhost/cb"],"\u001b[31m":1,"client_name":"\u202eApp"}"#;
    let shown = run(&folder, &["check", "-"], steering);
    let json = run(&folder, &["check", "--json", "-"], steering);
    assert!(json.is_ascii() && json.contains("\\u202eApp"), "{json}");
    assert!(shown.contains("⟨U+001B⟩[31m") && !shown.contains(['\u{1b}', '\u{202e}']), "{shown}");
}

#[test]
fn check_is_for_scripts_too() {
    let folder = Folder::new("check-json");
    folder.write("greedy.json", GREEDY).write("evil.json", EVIL);
    let (status, judged) = json_of(&folder, &["check", "greedy.json"]);
    assert_eq!(
        (status, &judged["verdict"], &judged["policy"]),
        (3, &json!("rewrite"), &json!(Preset::mcp().fingerprint()))
    );
    assert_eq!(judged["after"]["redirect_uris"], json!(["http://127.0.0.1/cb"]));
    assert!(judged["findings"].as_array().unwrap().iter().any(|finding| finding["field"] == "skip_consent"));
    let (status, judged) = json_of(&folder, &["check", "evil.json"]);
    assert_eq!((status, &judged["verdict"], &judged["rule"]), (4, &json!("refuse"), &json!("identity")));
    assert_eq!((&judged["identity"]["claimed"], &judged["after"]), (&json!("Claude"), &Value::Null));
}

#[test]
fn check_judges_updates_and_callers() {
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
    assert_eq!(status(&["--update"], HONEST), "status 4", "an update says which client it is about");
    let mut update: Value = serde_json::from_str(HONEST).unwrap();
    update["client_id"] = "c".into();
    assert_eq!(status(&["--update"], &update.to_string()), "status 0");
}

#[test]
fn explain_says_what_a_rule_is_for() {
    let folder = Folder::new("explain");
    insta::assert_snapshot!("explain_redirect_uris", run(&folder, &["explain", "redirect-uris"], ""));
    insta::assert_snapshot!("explain_unknown", run(&folder, &["explain", "redirects"], ""));
    let (status, all) = json_of(&folder, &["explain"]);
    assert_eq!((status, all.as_array().unwrap().len()), (0, tower_dcr::explain::RULES.len()));
}

#[test]
fn lint_finds_what_is_not_meant() {
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
    assert_eq!((status, &lints[0]["severity"]), (4, &json!("error")));
    let proxies =
        lints.as_array().unwrap().iter().find(|lint| lint["key"] == "client_address.trusted_proxies").unwrap();
    assert_eq!(proxies["line"], 5);
    let (status, lints) = json_of(&folder, &["lint", "broken.toml"]);
    assert_eq!((status, &lints[0]["line"], &lints[0]["key"]), (4, &json!(2), &json!("redirect_uris.localhost")));
}

/// A policy that has a lint, one that is nearly the same and has not, and words of the lint.
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
        "no regular expression",
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
        "can't come about",
    ),
    (
        "redirect_uris.only_https = ['https://a.example.com:8443/*']\nredirect_uris.https_ports = [8443]",
        "redirect_uris.https_ports = [443, 8443]",
        "https_ports can't",
    ),
    (
        "redirect_uris.add_private_use_schemes = ['acme']",
        "redirect_uris.add_private_use_schemes = ['com.acme.app']",
        "any application can take",
    ),
    (
        "client_address.trusted_proxies = ['::/0']",
        "client_address.trusted_proxies = ['2001:db8::/32']",
        "everybody is a trusted proxy",
    ),
    ("client_address.ipv6_prefix = 128", "client_address.ipv6_prefix = 56", "as many budgets"),
    ("rate_limit.address = '20/hour'", "rate_limit.address = '60/minute'", "hosted platforms"),
    ("rate_limit.global = '60/minute'", "rate_limit.global = 'off'", "shut everybody else out"),
    (
        "redirect_host_quota.exempt = []",
        "redirect_host_quota.add_exempt = ['https://a.example.com/*']",
        "share one budget",
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
        "can't fire",
    ),
    (
        "[[callers]]\nwhen = 'token'\n[[callers]]\nwhen = 'token'",
        "[[callers]]\nwhen = 'token'\n[[callers]]\nwhen = 'anonymous'",
        "further up",
    ),
    ("report_only = true", "report_only = false", "nothing is enforced"),
    ("gate.danger_pass_without_ledger = true", "gate.danger_pass_without_ledger = false", "was revoked"),
    ("answer.secret = { allow = [] }", "answer.secret = { allow = ['client_secret_basic'] }", "no method"),
    ("identity.contradicted_name = 'mark'", "identity.contradicted_mention = 'mark'", "imitations"),
    ("identity.unverified = 'reject'", "identity.contradicted_mention = 'reject'", "known clients can't register"),
];

/// Each lint has a policy that has it, and one that is nearly the same and has not.
#[test]
fn lints_fire_where_they_should_and_nowhere_else() {
    for (with, without, message) in LINTS {
        let says = |policy: &str| {
            let lints = Preset::from_toml(policy).unwrap_or_else(|error| panic!("{error}")).lint();
            lints.iter().any(|lint| lint.message().contains(message))
        };
        assert!(says(with), "{with}: {message}");
        assert!(!says(without), "{without}: {message}");
    }
    assert_eq!(Preset::mcp().lint(), []);
    assert_eq!(Preset::strict().lint(), []);
}

#[test]
fn compat_says_which_clients_a_policy_breaks() {
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

/// Events of a server with this policy, as lines.
async fn events(preset: Preset, bodies: &[&str]) -> String {
    let kept = Kept::default();
    let register = behind(&preset.with_document().with_sink(kept.sink()), &Naive::default());
    for body in bodies {
        send(&register, post((*body).to_owned())).await;
    }
    // The time of a test is no one's business.
    let untimed = |mut event: Event| {
        event.time_ms = 1_767_225_600_000;
        event.duration_us = 100;
        to_line(&event) + "\n"
    };
    kept.take().into_iter().map(untimed).collect()
}

#[tokio::test]
async fn replay_says_who_would_fare_otherwise() {
    let folder = Folder::new("replay");
    let native = r#"{"client_name":"Acme (laptop)","redirect_uris":["com.acme.app:/cb"]}"#;
    let bodies = [HONEST, native, native, EVIL, "no json", r#"{"redirect_uris":["javascript:alert(1)"]}"#, GREEDY];
    let mut lines = events(Preset::mcp(), &bodies).await;
    lines.push_str("{\"schema\":1,\"time_ms\":1,\"action\":\"expired\"}\nnonsense\n\n");
    folder.write("audit.jsonl", &lines);
    folder.write("new.toml", "redirect_uris.reverse_domain_schemes = false\nidentity.contradicted_name = 'mark'\n");
    folder.write("same.toml", "extends = 'mcp'\n");
    insta::assert_snapshot!("replay", run(&folder, &["replay", "--policy", "new.toml", "audit.jsonl"], ""));
    insta::assert_snapshot!("replay_same", run(&folder, &["replay", "--policy", "same.toml", "audit.jsonl"], ""));
    assert_eq!(
        run(&folder, &["replay", "--policy", "new.toml", "--against", "mcp", "audit.jsonl"], ""),
        run(&folder, &["replay", "--policy", "new.toml", "-"], &lines),
        "what is recorded is what the old policy says"
    );
    let (status, replay) = json_of(&folder, &["replay", "--policy", "new.toml", "audit.jsonl"]);
    assert_eq!((status, &replay["lines"], &replay["judged"]), (4, &json!(10), &json!(6)));
    assert_eq!(
        (&replay["unreadable"], &replay["lifecycle"], &replay["not_by_policy"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!((&replay["changes"][0]["count"], &replay["changes"][0]["rule"]), (&json!(2), &json!("redirect-uris")));
}

/// `examples/audit.jsonl` is what a server with the preset `mcp` has seen. To make it anew: `UPDATE_SAMPLE=1 cargo test sample`.
#[tokio::test]
async fn the_sample_is_what_the_preset_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/audit.jsonl");
    let clients: Vec<String> = tower_dcr::compat::clients().map(|client| client.body().to_owned()).collect();
    let attacks = tower_dcr::explain::RULES.iter().map(|rule| rule.attack).filter(|attack| attack.starts_with('{'));
    let bodies: Vec<&str> = clients.iter().map(String::as_str).chain(attacks).collect();
    let lines = events(Preset::mcp().without_rate_limits(), &bodies).await;
    let timed: String = (0_u64..)
        .zip(lines.lines())
        .map(|(number, line)| line.replace("1767225600000", &(1_767_225_600_000 + number * 600_000).to_string()) + "\n")
        .collect();
    if std::env::var_os("UPDATE_SAMPLE").is_some() {
        fs::write(&path, &timed).unwrap();
    }
    // The fingerprint is another one with each version.
    let same = |text: &str| -> Vec<Value> {
        let read = |line: &str| {
            let mut event: Value = serde_json::from_str(line).unwrap();
            event["policy"] = Value::Null;
            event
        };
        text.lines().map(read).collect()
    };
    assert!(same(&fs::read_to_string(&path).unwrap()) == same(&timed), "run: UPDATE_SAMPLE=1 cargo test sample");
}

/// The commands of the README's section on changing a policy, as they are printed there.
#[test]
fn the_commands_of_the_readme_work_as_printed() {
    let readme = include_str!("../../README.md");
    let section =
        readme.split("## Change a policy without breaking anyone").nth(1).unwrap().split("\n## ").next().unwrap();
    let commands: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("dcr ")).collect();
    assert_eq!(commands.len(), 5, "{commands:?}");
    for command in commands {
        let (command, comment) = command.split_once('#').unwrap_or((command, ""));
        let arguments: Vec<&str> = command.split_whitespace().collect();
        let output = dcr(Path::new(env!("CARGO_MANIFEST_DIR")), &arguments).output().unwrap();
        let status = output.status.code().unwrap().to_string();
        assert!(comment.contains(&format!("status {status}")), "dcr {command}: {}", shown(&output));
        assert!(output.stderr.is_empty(), "dcr {command}: {}", shown(&output));
    }
}

/// Who has not asked for documents is told so.
#[tokio::test]
async fn replay_says_what_it_can_not_judge() {
    let folder = Folder::new("replay-undocumented");
    let kept = Kept::default();
    let guard = Preset::from_toml("rate_limit.address = '2/hour'").unwrap().with_sink(kept.sink());
    let register = behind(&guard, &Naive::default());
    for body in [HONEST, "no json", HONEST] {
        send(&register, post(body)).await;
    }
    folder.write("audit.jsonl", &(kept.lines().join("\n") + "\n"));
    let (status, replay) = json_of(&folder, &["replay", "--policy", "strict", "audit.jsonl"]);
    assert_eq!((status, &replay["judged"], &replay["without_document"]), (0, &json!(0), &json!(1)));
    assert_eq!(replay["not_by_policy"], 2, "the limit, and what could not be read");
}

/// What was only reported counts as what would have been done.
#[tokio::test]
async fn replay_reads_events_of_a_policy_that_only_reports() {
    let folder = Folder::new("replay-report");
    let strict = Preset::strict().report_only();
    folder.write("audit.jsonl", &events(strict, &[HONEST, GREEDY, EVIL]).await);
    let (status, replay) = json_of(&folder, &["replay", "--policy", "strict", "audit.jsonl"]);
    assert_eq!((status, &replay["judged"], &replay["changes"]), (0, &json!(3), &json!([])), "{replay}");
    let (status, replay) = json_of(&folder, &["replay", "--policy", "mcp", "audit.jsonl"]);
    assert_eq!((status, replay["changes"].as_array().unwrap().len()), (3, 1), "{replay}");
}

/// With the documents that events hold, a policy says the same as with those that were sent: over the whole corpus.
#[tokio::test]
async fn replay_of_the_corpus_agrees_with_what_happened() {
    let folder = Folder::new("replay-corpus");
    let corpus = include_str!("../data/clients.jsonl").lines().chain(include_str!("../data/attacks.jsonl").lines());
    let rows: Vec<Value> = corpus.map(|line| serde_json::from_str(line).unwrap()).collect();
    let bodies: Vec<String> =
        rows.iter().filter(|row| row["body"].is_object()).map(|row| row["body"].to_string()).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    for (name, preset) in [("mcp", Preset::mcp()), ("strict", Preset::strict())] {
        folder.write("audit.jsonl", &events(preset.without_rate_limits(), &bodies).await);
        let (_, replay) = json_of(&folder, &["replay", "--policy", name, "audit.jsonl"]);
        assert!(replay["judged"].as_u64().unwrap() > 900, "{}", replay["judged"]);
        // A value that was redacted can have been at fault: such an event is not judged as it was.
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
    folder.write("corpus.jsonl", include_str!("../data/clients.jsonl"));
    folder.write("bare.jsonl", &format!("{}\n{}\n", HONEST.replace('\n', " "), EVIL));
    let (status, replay) = json_of(&folder, &["replay", "--policy", "mcp", "bare.jsonl"]);
    assert_eq!((status, &replay["judged"], &replay["changes"][0]["rule"]), (4, &json!(2), &json!("identity")));
    let (_, replay) = json_of(&folder, &["replay", "--policy", "strict", "--against", "mcp", "corpus.jsonl"]);
    assert!(replay["judged"].as_u64().unwrap() > 60, "{replay}");
}

#[tokio::test]
async fn clients_of_a_ledger_are_listed_grouped_judged_approved_and_revoked() {
    let folder = Folder::new("ledger");
    let path = folder.0.join("clients.db");
    let registrar = Registrar::new(SqliteLedger::open(&path).await.unwrap()).without_repeats();
    let guard = Preset::mcp().with_registrar(registrar.clone());
    let number = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let store = tower::service_fn(move |_: http::Request<tower_dcr::RegistrationBody>| {
        let id = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut answer = serde_json::Map::new();
        answer.insert("client_id".into(), format!("client-{id}").into());
        async move { Ok::<_, std::convert::Infallible>(crate::support::created(&answer)) }
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
        (&json!("client-2"), &json!("active"), &json!(Preset::mcp().fingerprint()))
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
    let unknown = run(&folder, &[&["clients", "approve"], &acts[..], &["nobody"]].concat(), "");
    assert_eq!(unknown, "status 1\nstderr:\nerror: there is no such client in the ledger\n");
    let family = listed[2]["family"].as_str().unwrap();
    let revoked = run(&folder, &[&["clients", "revoke"], &acts[..], &[&format!("family={family}")]].concat(), "");
    assert_eq!(revoked, "status 0\n2 clients revoked\n");
    let (_, listed) = json_of(&folder, &["clients", "list", "--queue", "revoked", "--ledger", &ledger]);
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["reason"]), (2, &json!("a test")));
    let forgotten = run(&folder, &[&["clients", "forget"], &acts[..], &["client-0"]].concat(), "");
    assert_eq!(forgotten, "status 0\n1 records of client-0 removed; blocks stay\n");
    let (_, left) = json_of(&folder, &["clients", "list", "--ledger", &ledger]);
    assert_eq!((left.as_array().unwrap().len(), &left[0]["client_id"]), (2, &json!("client-2")));
    let again = run(&folder, &[&["clients", "forget"], &acts[..], &["client-0"]].concat(), "");
    assert_eq!(again, "status 1\nstderr:\nerror: there is no such client in the ledger\n");
    let registrar = Registrar::new(SqliteLedger::open(&path).await.unwrap());
    let blocks = tower_dcr::review::Review::new(registrar).blocks(None, 10).await.unwrap();
    assert_eq!(blocks.len(), 1, "{blocks:?}");
    let missing = run(&folder, &["clients", "list", "--ledger", "sqlite:none.db"], "");
    assert_eq!(missing, "status 1\nstderr:\nerror: there is no ledger none.db\n");
    assert!(!folder.0.join("none.db").exists());
    let wrong = run(&folder, &["clients", "list", "--ledger", "mysql://x"], "");
    assert!(wrong.contains("is no ledger"), "{wrong}");
}

#[tokio::test]
async fn audit_files_are_verified_and_summed_up() {
    let folder = Folder::new("audit");
    folder.write("key", "0123456789abcdef\n").write("short", "0123");
    let path = folder.0.join("audit.jsonl");
    let file = JsonLines::new(&path).with_chain(ChainKey::new(b"0123456789abcdef").unwrap()).open().unwrap();
    let register = behind(&Preset::mcp().with_sink(file.clone()), &Naive::default());
    for body in [HONEST, EVIL, EVIL] {
        send(&register, post(body)).await;
    }
    file.flush();
    let verified = run(&folder, &["audit", "verify", "--key-file", "key", "audit.jsonl"], "");
    assert!(verified.starts_with("status 0\naudit.jsonl: 3 lines, ends with "), "{verified}");
    let text = fs::read_to_string(&path).unwrap();
    folder.write("tampered.jsonl", &text.replacen("refused", "accepted", 1));
    let broken = run(&folder, &["audit", "verify", "--key-file", "key", "tampered.jsonl"], "");
    assert_eq!(broken, "status 4\ntampered.jsonl: line 2 is the first that breaks the chain\n");
    let short = run(&folder, &["audit", "verify", "--key-file", "short", "audit.jsonl"], "");
    assert!(short.contains("less than 16 bytes"), "{short}");
    let lines = events(Preset::mcp(), &[HONEST, GREEDY, EVIL, EVIL]).await;
    let later = lines.replace("1767225600000", "1767247200000");
    insta::assert_snapshot!(
        "audit_stats",
        run(&folder, &["audit", "stats", "-"], &format!("{lines}{later}{later}nonsense\n"))
    );
    folder.write("events.jsonl", &lines);
    let (ended, stats) = json_of(&folder, &["audit", "stats", "events.jsonl"]);
    assert_eq!(
        (ended, &stats["events"], &stats["outcomes"]["refused"], &stats["refused_by"]["identity"]),
        (0, &json!(4), &json!(2), &json!(2))
    );
}

#[test]
fn the_effective_policy_the_schema_completions_and_manual_pages_are_printed() {
    let folder = Folder::new("print");
    folder.write("policy.toml", "redirect_uris.localhost = false\n");
    let shown = run(&folder, &["show", "--policy", "policy.toml"], "");
    let effective = shown.strip_prefix("status 0\n").unwrap();
    let expected = Preset::from_toml("redirect_uris.localhost = false").unwrap();
    assert_eq!(Preset::from_toml(effective).unwrap().fingerprint(), expected.fingerprint());
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

/// On a terminal there is colour, in a pipe there is none.
#[test]
fn colour_is_for_terminals() {
    let folder = Folder::new("colour");
    let plain = run(&folder, &["explain", "scope"], "");
    assert!(!plain.contains('\u{1b}'));
    let command = format!("{} explain scope", env!("CARGO_BIN_EXE_dcr"));
    // util-linux's `script` runs a command on a terminal of its own.
    let terminal = Command::new("script").args(["-qec", &command, "/dev/null"]).env("TERM", "xterm").output();
    match terminal {
        Ok(output) if cfg!(target_os = "linux") => {
            let shown = String::from_utf8(output.stdout).unwrap();
            assert!(shown.contains("\u{1b}[1mscope\u{1b}[0m"), "{shown:?}");
        }
        _ => println!("not tried on a terminal: there is no util-linux `script` here"),
    }
}

#[test]
fn help_and_mistakes() {
    let folder = Folder::new("help");
    insta::assert_snapshot!("help", run(&folder, &["--help"], ""));
    insta::assert_snapshot!("help_replay", run(&folder, &["replay", "--help"], ""));
    assert!(run(&folder, &["chekc"], "").starts_with("status 2\n"));
    let no_policy = run(&folder, &["check", "--policy", "none.toml", "-"], HONEST);
    assert!(no_policy.starts_with("status 1\nstderr:\nerror: none.toml: can't be read"), "{no_policy}");
}
