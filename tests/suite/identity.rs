//! Imitations, honest names, and the verdict on its way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_dcr::audit::Outcome;
use tower_dcr::rules::{Action, Claim, ClaimStatus, ClientIdentity, Identities, Identity};
use tower_dcr::{
    Registration,
    layers::{PolicyLayer, RegistrationBody},
};
use unicode_normalization::UnicodeNormalization;
use unicode_security::skeleton;

use crate::support::{Kept, Naive, behind, post, send};

fn identify(name: &str, redirect_uri: &str) -> Identity {
    let json = json!({ "client_name": name, "redirect_uris": [redirect_uri] }).to_string();
    Identities::known().identify(&Registration::parse(json.as_bytes()).unwrap())
}

/// For each letter what three public tables say looks like it, with the initials of the tables.
fn lookalikes() -> BTreeMap<char, Vec<(char, Vec<char>)>> {
    let entry = |entry: &str| {
        let (code, tables) = entry.split_at(entry.find(|c: char| c.is_ascii_lowercase()).unwrap());
        (char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap(), tables.chars().collect())
    };
    let line = |line: &str| {
        let (letter, entries) = line.split_once(' ').unwrap();
        (letter.chars().next().unwrap(), entries.split(' ').map(entry).collect())
    };
    include_str!("../data/confusables.txt").lines().map(line).collect()
}

const IMITATED: [&str; 8] = [
    "Claude",
    "Claude Code",
    "ChatGPT",
    "Cursor",
    "Visual Studio Code",
    "GitHub Copilot",
    "Perplexity",
    "Microsoft Copilot Studio",
];

/// Every letter of every name, replaced by everything that any of the tables has for it.
fn imitations() -> Vec<(&'static str, String, Vec<char>)> {
    let lookalikes = lookalikes();
    let mut imitations = Vec::new();
    for name in IMITATED {
        for (at, letter) in name.char_indices() {
            for (other, tables) in lookalikes.get(&letter.to_ascii_lowercase()).into_iter().flatten() {
                let imitation = format!("{}{other}{}", &name[..at], &name[at + letter.len_utf8()..]);
                imitations.push((name, imitation, tables.clone()));
            }
        }
    }
    imitations
}

/// Methods of comparing names, single or combined.
type Method = (&'static str, fn(&str) -> Vec<String>);

/// The obvious one, the other table, and both in the number of forms that they were proposed with; ours comes last.
const METHODS: [Method; 4] = [
    ("skeleton of lower case", |name| vec![bare(skeleton(&name.to_lowercase()))]),
    ("decancer", |name| vec![cured(name)]),
    ("skeletons of three cases", |name| cases(name).to_vec()),
    ("skeletons of three cases, as it is and NFKC", |name| {
        let compatible: String = name.nfkc().collect();
        cases(name).into_iter().chain(cases(&compatible)).collect()
    }),
];

fn bare(text: impl Iterator<Item = char>) -> String {
    text.filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).filter(|c| c.is_alphanumeric()).collect()
}

fn cases(name: &str) -> [String; 3] {
    [name.to_lowercase(), name.to_owned(), name.to_uppercase()].map(|name| bare(skeleton(&name)))
}

fn cured(name: &str) -> String {
    bare(decancer::cure(name, decancer::Options::default()).unwrap().chars())
}

fn finds(method: fn(&str) -> Vec<String>, name: &str, imitation: &str) -> bool {
    let own = method(name);
    method(imitation).iter().any(|form| own.contains(form))
}

/// The rates that benches/README.md reports: `cargo test --test suite imitations -- --nocapture`.
#[test]
fn imitations_by_public_tables_of_lookalikes_are_recognised() {
    let imitations = imitations();
    let rate = |misses: usize, of: usize| {
        let percent = 100.0 * f64::from(u32::try_from(misses).unwrap()) / f64::from(u32::try_from(of).unwrap());
        format!("{misses} of {of} ({percent:.2} %)")
    };
    for (method, forms) in METHODS {
        let misses = imitations.iter().filter(|(name, imitation, ..)| !finds(forms, name, imitation)).count();
        println!("{method}: missed {}", rate(misses, imitations.len()));
    }
    let is_missed = |imitation: &str| {
        // The same as a person would see it, so nothing but a foreign host and a loopback one.
        [("https://app.example.net/cb", ClaimStatus::Contradicted), ("http://127.0.0.1/cb", ClaimStatus::Unverified)]
            .iter()
            .any(|(redirect_uri, standing)| identify(imitation, redirect_uri).status != *standing)
    };
    let missed: Vec<_> = imitations.iter().filter(|(_, imitation, ..)| is_missed(imitation)).collect();
    println!("this crate: missed {}", rate(missed.len(), imitations.len()));
    for (table, initial) in [("confusables", 'c'), ("dnstwist", 'd'), ("homoglyph", 'h')] {
        let of = imitations.iter().filter(|(.., tables)| tables.contains(&initial)).count();
        println!(
            "  of the table {table}: {}",
            rate(missed.iter().filter(|(.., tables)| tables.contains(&initial)).count(), of)
        );
    }
    assert!(imitations.len() > 10_000);
    assert!(missed.len() * 50 <= imitations.len(), "more than 2 % pass unmarked: {missed:?}");
}

/// Imitations and possible imitations of the corpus, with the default table of names.
#[tokio::test]
async fn imitations_of_the_corpus_are_rejected_or_marked() {
    let (mut refused, mut marked, mut unmarked) = (0, 0, Vec::new());
    for row in include_str!("../data/attacks.jsonl").lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        let id = row["id"].as_str().unwrap();
        let name = row["body"]["client_name"].as_str().unwrap_or_default();
        // The owner's own hosts are no imitation. Backwards, and a word of the name, are
        // other names.
        let others = ["edualC", "Copilot"];
        if !id.starts_with("name-confusable") || row["mcp"] == "register" || others.contains(&name) {
            continue;
        }
        let kept = Kept::default();
        let preset = tower_dcr::mcp().without_rate_limits().with_sink(kept.sink());
        let answer = send(&behind(&preset, &Naive::default()), post(row["body"].to_string())).await;
        let event = kept.take().pop().unwrap();
        match event.identity.map(|identity| identity.status) {
            _ if answer.status() == StatusCode::BAD_REQUEST => refused += 1,
            Some(ClaimStatus::Contradicted | ClaimStatus::Unverified) => marked += 1,
            Some(ClaimStatus::Verified) | None => unmarked.push(format!("{id} {name}")),
            Some(_) => unreachable!(),
        }
    }
    println!("refused {refused}, marked {marked}, unmarked {unmarked:?}");
    assert!(refused + marked > 80, "{refused} {marked}");
    assert!(unmarked.len() * 50 <= refused + marked + unmarked.len(), "{unmarked:?}");
}

/// Honest names over hosts of their own: none is rejected.
#[tokio::test]
async fn honest_names_pass() {
    let names = [
        "Claudette",
        "Claudius Ptolemy Maps",
        "Jean-Claude's Notes",
        "Claude Monet Gallery",
        "Cloud",
        "Cloud Console",
        "iCloud Helper",
        "SoundCloud Sync",
        "Cloudflare Workers MCP",
        "Precursor",
        "Recursor",
        "Cursory Reading",
        "Database Cursor Inspector",
        "Visual Studio Tools",
        "Code Visual Studio",
        "GitHub Issues Triage",
        "GitLab",
        "Copilot Theater Company",
        "Perplexed",
        "Devin's Notes",
        "Windsurfing Club",
        "Slacker News",
        "Postman Pat Fan Club",
        "Grokking Algorithms",
        "Docker Hub Stats",
        "Raycaster",
        "Warp",
        "Zed",
        "Goose",
        "Gemini",
        "Codex",
        "Open WebUI",
        "LibreChat",
        "Dify",
        "n8n",
        "LM Studio",
        "MCP Inspector",
        "FastMCP Client",
        "Le Chat Noir",
        "Microsoft Teams Exporter",
        "Notion",
        "Linear",
        "Figma",
        "Zürich Bank",
        "Ångström",
        "Łódź Transit",
        "İstanbul Rehberi",
        "Çalışma",
        "Заметки",
        "クライアント名",
        "클라이언트",
        "عميل التقويم",
        "नोट्स",
        "ไทย",
        "ხელსაწყო",
        "Հայերեն",
        "תזכורות",
        "Ελληνικά",
        "می\u{200C}خواهم",
        "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467} Family",
        "\u{1F1EB}\u{1F1F7} Notes",
        "ＡＢＣツール",
        "R&D Tools",
        "C++ Helper",
        "50% Off Tracker",
        "user@host",
        "#channel bot",
        "v2.1-beta_3",
        "№ 1",
        "H₂O Tracker",
    ];
    for name in names {
        for redirect_uri in ["https://app.example.net/cb", "http://127.0.0.1/cb", "com.example.app:/cb"] {
            let body = json!({ "client_name": name, "redirect_uris": [redirect_uri] }).to_string();
            let preset = tower_dcr::mcp().without_rate_limits();
            let answer = send(&behind(&preset, &Naive::default()), post(body)).await;
            assert_eq!(answer.status(), StatusCode::CREATED, "{name}: {}", answer.json());
        }
    }
}

/// Pages of honest clients: markets and projects on hosts of reserved vendors.
#[test]
fn pages_on_hosts_of_customers_claim_no_identity() {
    for page in [
        "https://github.com/acme/tool",
        "https://hub.docker.com/r/acme/tool",
        "https://apps.microsoft.com/detail/9nblggh4nns1",
        "https://marketplace.visualstudio.com/items?itemName=acme.tool",
        "https://plugins.jetbrains.com/plugin/1",
        "https://www.raycast.com/acme/tool",
        "https://www.postman.com/acme",
        "https://slack.com/apps/A1",
        "https://x.com/acme",
        "https://gemini.com/",
    ] {
        let json = json!({ "client_uri": page, "redirect_uris": ["https://app.example.net/cb"] }).to_string();
        let identity = Identities::known().identify(&Registration::parse(json.as_bytes()).unwrap());
        assert_eq!(identity, Identity::default(), "{page}");
    }
}

/// The verdict is derived from the checked document, and reaches handler and event; what was there before is dropped.
#[tokio::test]
async fn only_the_policy_layer_sets_the_identity_for_the_handler() {
    let told: Arc<Mutex<Option<Identity>>> = Arc::default();
    let handler = {
        let told = Arc::clone(&told);
        service_fn(move |request: Request<RegistrationBody>| {
            *told.lock().unwrap() = request.extensions().get::<Identity>().cloned();
            async { Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default())) }
        })
    };
    let register = ServiceBuilder::new().layer(PolicyLayer::new(ClientIdentity::default())).service(handler);
    let request = |name: &str, redirect_uri: &str| {
        let mut request = post(json!({ "client_name": name, "redirect_uris": [redirect_uri] }).to_string());
        request.extensions_mut().insert(identify("Claude", "https://claude.ai/api/mcp/auth_callback"));
        request
    };
    register.clone().oneshot(request("Claude Code", "http://localhost/cb")).await.unwrap();
    let verdict = told.lock().unwrap().take().unwrap();
    assert_eq!((verdict.status, verdict.claim), (ClaimStatus::Unverified, Some(Claim::Name)));
    register.clone().oneshot(request("Notes", "http://localhost/cb")).await.unwrap();
    assert_eq!(told.lock().unwrap().take(), None, "a verified identity from outside");
    let answer = register.oneshot(request("Claude", "https://evil.example.net/cb")).await.unwrap();
    assert_eq!((answer.status(), told.lock().unwrap().take()), (StatusCode::BAD_REQUEST, None));
}

#[tokio::test]
async fn events_name_the_claimed_identity_and_no_sent_text() {
    let kept = Kept::default();
    let preset = tower_dcr::mcp().without_rate_limits().with_sink(kept.sink());
    let service = behind(&preset, &Naive::default());
    let register = async |name: &str, redirect_uri: &str| {
        send(&service, post(json!({ "client_name": name, "redirect_uris": [redirect_uri] }).to_string())).await;
        let line = kept.lines().pop().unwrap();
        (kept.take().pop().unwrap(), serde_json::from_str::<Value>(&line).unwrap())
    };
    let (event, line) = register("CIaude", "https://evil.example.net/cb").await;
    assert_eq!((event.outcome, event.rule), (Outcome::Rejected, Some("identity")));
    assert_eq!(line["identity"], json!({ "standing": "contradicted", "claimed": "Claude", "claim": "name" }));
    assert!(!line.to_string().contains("CIaude"));
    let (event, line) = register("Claude Code (secret project)", "http://localhost/cb").await;
    assert_eq!(event.outcome, Outcome::Accepted);
    assert_eq!(line["identity"]["standing"], "unverified");
    assert!(!line.to_string().contains("secret"));
    let (_, line) = register("Claude", "https://claude.ai/api/mcp/auth_callback").await;
    assert_eq!(line["identity"]["proof"], json!(["claude.ai"]));
    let (_, line) = register("Notes", "https://notes.example.net/cb").await;
    assert_eq!(line.get("identity"), None);
}

#[tokio::test]
async fn outcomes_of_claims_are_configurable() {
    let mut guard = ClientIdentity::default();
    guard.contradicted_mention = Action::Reject;
    guard.unverified = Action::Reject;
    let preset = tower_dcr::mcp()
        .without_rate_limits()
        .map_rules(|mut rules| {
            rules.identity = guard;
            Ok(rules)
        })
        .unwrap();
    for (name, redirect_uri, status) in [
        ("Claude Helper", "https://helper.example.net/cb", 400),
        ("Claude Code", "http://localhost/cb", 400),
        ("Claude", "https://claude.ai/api/mcp/auth_callback", 201),
        ("Claude", "https://claude.ai/cb", 400),
        ("Notes", "http://localhost/cb", 201),
    ] {
        let body = json!({ "client_name": name, "redirect_uris": [redirect_uri] }).to_string();
        let answer = send(&behind(&preset, &Naive::default()), post(body)).await;
        assert_eq!(answer.status().as_u16(), status, "{name} {redirect_uri}: {}", answer.json());
    }
}
