//! Every registration of the corpus, through the whole preset, in front of a handler that accepts everything.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Map, Value};
use tower_dcr::client_address::ClientAddress;
use tower_dcr::clock::{Clock, ManualClock};
use tower_dcr::rate_limit::{Quota, RateLimits};
use tower_dcr::redirect_uri::RedirectUri;
use tower_dcr::rules::{AuthMethod, ClientName, ConfigError, Grants, Identities, ReservedIdentity, Scope};
use tower_dcr::{Preset, layers::RateLimitLayer};

use crate::rows::{Row, attacks, clients, headers, openid};
use crate::support::{Kept, Naive, Read, behind, changed, send};

/// Rows whose label this crate does not follow, with the reason.
const CONTESTED: [(&str, &str); 0] = [];

/// The identities and schemes of the corpus.
fn fixture(preset: Preset, config: &Value) -> Result<Preset, ConfigError> {
    let schemes: Vec<String> = match config["private_use_schemes"].as_array() {
        Some(schemes) => schemes.iter().map(|scheme| scheme.as_str().unwrap().to_owned()).collect(),
        None => ["cursor", "vscode", "com.example.app"].map(str::to_owned).into(),
    };
    let ports = config["https_ports"].as_array().cloned().unwrap_or_else(|| vec![443.into()]);
    let ports: Vec<u16> = ports.iter().map(|port| port.as_u64().unwrap().try_into().unwrap()).collect();
    preset.without_rate_limits().map_rules(|mut rules| {
        rules.identity.identities = reserved()?;
        rules.redirect_uris.localhost = true;
        rules.redirect_uris.https_ports = ports.into_iter().collect();
        rules.redirect_uris = rules.redirect_uris.with_private_use_schemes(schemes)?;
        Ok(rules)
    })
}

/// The names that the corpus' README calls reserved.
fn reserved() -> Result<Identities, ConfigError> {
    let row = |name: &str, hosts: &[&str], scheme: &[&str]| {
        changed(ReservedIdentity::new(name), |it| {
            it.https = hosts.iter().map(|host| format!("https://{host}/*")).collect();
            it.schemes = scheme.iter().map(ToString::to_string).collect();
        })
    };
    Identities::new("corpus")
        .reserve(row("Claude", &["claude.ai", "claude.com", "anthropic.com"], &[]))?
        .reserve(row("ChatGPT", &["chatgpt.com", "openai.com"], &[]))?
        .reserve(row("Cursor", &["cursor.com"], &["cursor"]))?
        .reserve(row("Visual Studio Code", &["vscode.dev"], &["vscode"]))?
        .reserve(row("GitHub Copilot", &["github.com"], &[]))
}

struct Outcome {
    answer: Read,
    forwarded: Option<Bytes>,
    lines: Vec<String>,
}

async fn register(preset: Preset, request: Request<Full<Bytes>>) -> Outcome {
    let (naive, kept) = (Naive::default(), Kept::default());
    let service = behind(&preset.with_sink(kept.sink()), &naive);
    let answer = send(&service, request).await;
    Outcome { answer, forwarded: naive.seen().pop(), lines: kept.lines() }
}

impl Outcome {
    fn verdict(&self) -> &'static str {
        if self.forwarded.is_some() && self.answer.status() == StatusCode::CREATED { "register" } else { "refuse" }
    }

    /// The invariants of every document that reaches the handler, for any label. Returns it.
    fn check_canonical(&self) -> Result<Option<Map<String, Value>>, String> {
        let Some(forwarded) = &self.forwarded else { return Ok(None) };
        let document: Value = serde_json::from_slice(forwarded).map_err(|error| error.to_string())?;
        let Value::Object(object) = document else { return Err("not an object".to_owned()) };
        let sorted: BTreeMap<_, _> = object.iter().collect();
        if serde_json::to_vec(&sorted).unwrap() != *forwarded {
            return Err(format!("not canonical: {forwarded:?}"));
        }
        let is_empty = |value: &Value| value.is_null() || value == "" || value == &Value::Array(Vec::new());
        // Without the authorization endpoint there is no response type, and the default is not empty.
        match object.iter().find(|(name, value)| is_empty(value) && *name != "response_types") {
            Some((name, _)) => Err(format!("{name} is empty: {forwarded:?}")),
            None => Ok(Some(object)),
        }
    }

    /// The invariants under `oauth`: members that are not understood are gone, and redirect URIs are as they were sent.
    fn check_oauth(&self, row: &Row, sent: &Value) -> Result<(), String> {
        let Some(object) = self.check_canonical()? else { return Ok(()) };
        let ensure = |holds: bool, what: &str| if holds { Ok(()) } else { Err(format!("{what}: {object:?}")) };
        let is_ignored = row.text("oauth_why").is_some_and(|why| why.contains("MUST ignore"));
        let stripped = if is_ignored { row_strings(&row.row["strip"]) } else { Vec::new() };
        for member in stripped.into_iter().chain(row_strings(&row.row["drops"])) {
            ensure(!object.contains_key(member), &format!("{member} should have been stripped"))?;
        }
        for (member, value) in row.row["forwards"].as_object().into_iter().flatten() {
            ensure(object.get(member) == Some(value), &format!("{member} should be {value}"))?;
        }
        let sent = sent["redirect_uris"].as_array().filter(|uris| !uris.is_empty());
        ensure(object.get("redirect_uris").and_then(Value::as_array) == sent, "other redirect URIs")
    }

    /// The invariants of every document that reaches the handler under `mcp`, for any label.
    fn check_forwarded(&self, row: &Row) -> Result<(), String> {
        let Some(object) = self.check_canonical()? else { return Ok(()) };
        let document = Value::Object(object.clone());
        let forwarded = self.forwarded.as_ref().unwrap();
        let ensure = |holds: bool, what: &str| if holds { Ok(()) } else { Err(format!("{what}: {forwarded:?}")) };
        for name in object.keys() {
            let base = name.split('#').next().unwrap();
            ensure(ALLOWED.contains(&base), "a member that is not allowed")?;
        }
        for member in row_strings(&row.row["strip"]) {
            ensure(!object.contains_key(member), "a member that should have been stripped")?;
        }
        let sent: Value = serde_json::from_slice(&row.body()).unwrap_or_default();
        let mut sent = sent["redirect_uris"].as_array().cloned().unwrap_or_default().into_iter();
        let uris = document["redirect_uris"].as_array().ok_or("no redirect URIs")?;
        ensure((1..=10).contains(&uris.len()), "too few or too many redirect URIs")?;
        for uri in uris {
            ensure(sent.any(|sent| sent == *uri), "a redirect URI that was not sent, or out of order")?;
            ensure(RedirectUri::parse(uri.as_str().unwrap()).is_ok(), "a dangerous redirect URI")?;
        }
        let grants = row_strings(&document["grant_types"]);
        ensure(grants.iter().all(|grant| ["authorization_code", "refresh_token"].contains(grant)), "a grant type")?;
        ensure(grants.contains(&"authorization_code"), "no authorization_code")?;
        ensure(row_strings(&document["response_types"]) == ["code"], "a response type")?;
        ensure(document["token_endpoint_auth_method"] == "none", "an auth method")
    }

    fn check_refusal(&self, row: &Row) -> Result<(), String> {
        let ensure = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
        let body = self.answer.json();
        ensure(self.forwarded.is_none(), "the handler was called")?;
        ensure(body["error"].is_string() && body["error_description"].is_string(), "not RFC 7591 JSON")?;
        ensure(self.answer.header("cache-control") == Some("no-store"), "may be stored")?;
        let said = body["error_description"].as_str().unwrap();
        ensure(said.bytes().all(|byte| matches!(byte, 0x20 | 0x21 | 0x23..=0x5B | 0x5D..=0x7E)), "not plain ASCII")?;
        let sent: Value = serde_json::from_slice(&row.body()).unwrap_or_default();
        // The member at fault may be named, if it is one that specifications define: those are fields of events.
        let event: Value = serde_json::from_str(self.lines.first().ok_or("no event")?).unwrap();
        let is_ours = |name: &str| event["field"] == name || OWN_WORDS.contains(&name);
        let echoed = sent.as_object().into_iter().flatten().find(|(name, value)| {
            // A value of the specification may be a part of the name of a member.
            let is_in_name = |value: &str| event["field"].as_str().is_some_and(|field| field.contains(value));
            !is_ours(name) && name.len() > 3 && said.contains(name.as_str())
                || value.as_str().is_some_and(|value| value.len() > 5 && said.contains(value) && !is_in_name(value))
        });
        ensure(echoed.is_none(), "repeats what the client sent")
    }

    fn check_lines(&self) -> Result<(), String> {
        let [line] = self.lines.as_slice() else { return Err(format!("{} events", self.lines.len())) };
        if line.bytes().all(|byte| (0x20..0x7F).contains(&byte)) && serde_json::from_str::<Value>(line).is_ok() {
            Ok(())
        } else {
            Err(format!("not one line of printable ASCII: {line:?}"))
        }
    }
}

const ALLOWED: [&str; 14] = [
    "application_type",
    "client_name",
    "client_uri",
    "contacts",
    "grant_types",
    "logo_uri",
    "policy_uri",
    "redirect_uris",
    "response_types",
    "scope",
    "software_id",
    "software_version",
    "token_endpoint_auth_method",
    "tos_uri",
];

/// Words of our own descriptions that a client may have used for the name of a member.
const OWN_WORDS: [&str; 3] = ["grant_types", "name", "redirect_uris"];

fn row_strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The faults of one row under one preset.
async fn judge(row: &Row, name: &str, preset: Preset) -> Vec<String> {
    let mut faults = Vec::new();
    let Some(label) = row.text(name) else { return faults };
    let Some(request) = row.request() else { return faults };
    let outcome = register(preset, request).await;
    let verdict = outcome.verdict();
    let contested = CONTESTED.iter().any(|(id, _)| *id == row.id);
    if label != "either" && label != verdict && !contested {
        faults.push(format!("{name} is {label}, not {verdict}: {}", String::from_utf8_lossy(&outcome.answer.body)));
    }
    if name == "mcp" {
        faults.extend(outcome.check_forwarded(row).err());
    }
    if verdict == "refuse" && outcome.answer.status() != StatusCode::CREATED {
        faults.extend(outcome.check_refusal(row).err());
        if name == "strict" {
            faults.extend(wrong_error(row, &outcome.answer));
        }
    }
    faults.extend(outcome.check_lines().err());
    faults.into_iter().map(|fault| format!("{} under {name}: {fault}", row.id)).collect()
}

/// The error that the corpus expects under `strict`.
fn wrong_error(row: &Row, answer: &Read) -> Option<String> {
    let expected = row.text("error")?;
    let status = answer.status().as_u16().to_string();
    let code = answer.json()["error"].as_str().unwrap_or_default().to_owned();
    let mut accepted = row_strings(&row.row["alt_errors"]);
    accepted.push(expected);
    let fits = accepted.iter().any(|expected| *expected == status || *expected == code);
    (!fits).then(|| format!("expected {accepted:?}, got {status} {code}"))
}

#[tokio::test]
async fn attacks_have_the_labelled_result() {
    let mut faults = Vec::new();
    let mut judged = 0;
    for row in attacks().iter().filter(|row| row.registers()) {
        for (name, preset) in [("mcp", tower_dcr::mcp()), ("strict", tower_dcr::strict())] {
            match fixture(preset, &row.row["config"]) {
                Ok(preset) => faults.extend(judge(row, name, preset).await),
                // A scheme that is never allowed can't be configured in the first place.
                Err(ConfigError::DangerousScheme { .. }) => assert_eq!(row.text(name), Some("refuse")),
                Err(error) => panic!("{}: {error}", row.id),
            }
            judged += 1;
        }
    }
    assert!(faults.is_empty(), "{} faults in {judged}:\n{}", faults.len(), faults.join("\n"));
    assert!(judged > 2200, "{judged}");
}

/// Rows on which reasonable engineers differ have no label. What becomes of them is recorded, so that a change is seen.
#[tokio::test]
async fn contested_rows_have_the_recorded_result() {
    let mut verdicts = String::new();
    for row in attacks().iter().chain(&clients()).chain(&openid()).filter(|row| row.registers()) {
        let oauth = oauth(row);
        let judged = [
            ("mcp", tower_dcr::mcp(), row.request()),
            ("strict", tower_dcr::strict(), row.request()),
            ("oauth", oauth.clone(), row.request()),
            ("oauth_put", oauth, row.update("client-1")),
        ];
        for (name, preset, request) in judged {
            let Some(request) = request.filter(|_| row.text(name) == Some("either")) else { continue };
            let preset = fixture(preset, &row.row["config"]).unwrap();
            let outcome = register(preset, request).await;
            let code = outcome.answer.json()["error"].as_str().unwrap_or_default().to_owned();
            verdicts += format!("{} {name} {} {code}", row.id, outcome.verdict()).trim_end();
            verdicts.push('\n');
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/contested.txt");
    let recorded = std::fs::read_to_string(path).unwrap_or_default();
    if std::env::var_os("UPDATE_CONTESTED").is_some() {
        // A file that has changed fails once more.
        std::fs::write(path, &verdicts).unwrap();
    }
    let changed: Vec<_> = verdicts.lines().filter(|line| !recorded.lines().any(|old| old == *line)).collect();
    assert!(changed.is_empty(), "run with UPDATE_CONTESTED=1, and look at the difference:\n{}", changed.join("\n"));
    assert_eq!(verdicts.lines().count(), recorded.lines().count());
    assert!(recorded.lines().count() > 300, "{}", recorded.lines().count());
}

/// The server of the labels for `oauth`, as `tests/data/README.md` describes it. A row may name other values in its `config`.
fn oauth(row: &Row) -> Preset {
    let list = |name: &str, default: &[&str]| match row.row["config"][name].as_array() {
        Some(values) => values.iter().map(|value| value.as_str().unwrap().to_owned()).collect(),
        None => default.iter().map(ToString::to_string).collect::<Vec<_>>(),
    };
    let grants = list("grant_types", &["authorization_code", "refresh_token", "client_credentials"]);
    let grants = Grants::new(grants, list("response_types", &["code"])).unwrap();
    let methods = list("auth_methods", &["none", "client_secret_basic", "client_secret_post", "private_key_jwt"]);
    tower_dcr::oauth(grants, AuthMethod::one_of(methods))
}

/// The faults of one row under `oauth`, as a registration and as an update.
async fn judge_oauth(row: &Row, preset: &Preset) -> Vec<String> {
    let mut faults = Vec::new();
    let sent: Value = serde_json::from_slice(&row.body()).unwrap_or_default();
    for (name, request) in [("oauth", row.request()), ("oauth_put", row.update("client-1"))] {
        let (Some(label), Some(request)) = (row.text(name), request) else { continue };
        let is_update = request.method() == "PUT";
        let outcome = register(preset.clone(), request).await;
        let verdict = outcome.verdict();
        let mut found = Vec::new();
        if label != "either" && label != verdict {
            let answer = String::from_utf8_lossy(&outcome.answer.body);
            found.push(format!("{label}, not {verdict}: {answer} ({})", row.text("oauth_why").unwrap_or_default()));
        }
        found.extend(outcome.check_oauth(row, &sent).err());
        if is_update && let Some(document) = outcome.check_canonical().ok().flatten() {
            found.extend((document["client_id"] != "client-1").then(|| "of another client".to_owned()));
        }
        if outcome.forwarded.is_none() {
            found.extend(outcome.check_refusal(row).err());
        }
        found.extend(outcome.check_lines().err());
        faults.extend(found.into_iter().map(|fault| format!("{} under {name}: {fault}", row.id)));
    }
    faults
}

#[tokio::test]
async fn oauth_rows_have_the_labelled_result() {
    let (mut faults, mut judged) = (Vec::new(), 0);
    let attacks = attacks().into_iter().map(|row| (fixture(oauth(&row), &row.row["config"]), row));
    // Real clients are judged with the identities of the library.
    let clients = clients().into_iter().map(|row| (profile(&row, oauth(&row)).and_then(listed_schemes), row));
    let openid = openid().into_iter().map(|row| (fixture(oauth(&row), &row.row["config"]), row));
    for (preset, row) in attacks.chain(clients).chain(openid).filter(|(_, row)| row.registers()) {
        match preset {
            Ok(preset) => faults.extend(judge_oauth(&row, &preset.without_rate_limits()).await),
            // A scheme that is never allowed can't be configured in the first place.
            Err(ConfigError::DangerousScheme { .. }) => assert_eq!(row.text("oauth"), Some("refuse")),
            Err(error) => panic!("{}: {error}", row.id),
        }
        judged += 2;
    }
    assert!(faults.is_empty(), "{} faults in {judged}:\n{}", faults.len(), faults.join("\n"));
    assert!(judged > 3200, "{judged}");
}

/// The private-use schemes of the corpus, without its identities.
fn listed_schemes(preset: Preset) -> Result<Preset, ConfigError> {
    preset.map_rules(|mut rules| {
        rules.redirect_uris = rules.redirect_uris.with_private_use_schemes(["cursor", "vscode"])?;
        Ok(rules)
    })
}

#[test]
fn every_row_has_labels_for_oauth_and_their_reason() {
    let labels = ["register", "refuse", "either"];
    for row in attacks().iter().chain(&clients()).chain(&openid()) {
        for name in ["oauth", "oauth_put"] {
            assert!(row.text(name).is_some_and(|label| labels.contains(&label)), "{}: {name}", row.id);
        }
        let why = row.text("oauth_why").unwrap_or_default();
        assert!(why.contains("RFC ") || why.contains("OpenID "), "{}: {why}", row.id);
        // Sections have many sentences: the one that decides is quoted.
        assert!(why.split('"').nth(1).is_some_and(|sentence| sentence.contains([' ', '_'])), "{}: {why}", row.id);
    }
    assert!(openid().len() >= 212);
}

/// RFC 7592: an update must not do what a registration could not.
#[tokio::test]
async fn attacks_are_rejected_in_updates_too() {
    let mut judged = 0;
    for row in attacks().iter().filter(|row| row.registers() && row.text("method").is_none()) {
        // Attacks on the members that a client must send with an update, or on the bytes of a document.
        let Some(mut body) = row.row["body"].as_object().cloned() else { continue };
        if !row.row["headers"].is_null() || body.contains_key("client_id") || body.contains_key("client_secret") {
            continue;
        }
        let preset = |preset| fixture(preset, &row.row["config"]);
        let (Ok(mcp), Ok(strict)) = (preset(tower_dcr::mcp()), preset(tower_dcr::strict())) else { continue };
        body.insert("client_id".into(), "client-1".into());
        for (name, preset) in [("mcp", mcp), ("strict", strict)] {
            let request = Request::put("/register/client-1").header("content-type", "application/json");
            let request = request.body(Full::<Bytes>::from(serde_json::to_vec(&body).unwrap())).unwrap();
            let outcome = register(preset, request).await;
            match row.text(name) {
                Some("refuse") => assert_eq!(outcome.forwarded, None, "{} under {name}", row.id),
                Some("register") => assert!(outcome.forwarded.is_some(), "{} under {name}", row.id),
                _ => {}
            }
            if let Some(forwarded) = &outcome.forwarded {
                let document: Value = serde_json::from_slice(forwarded).unwrap();
                assert_eq!(document["client_id"], "client-1");
            }
            judged += 1;
        }
    }
    assert!(judged > 1500, "{judged}");
}

/// The preset with what the row's profile asks for.
fn profile(row: &Row, preset: Preset) -> Result<Preset, ConfigError> {
    match row.text("profile").map(|profile| profile.split_once('=').unwrap_or((profile, ""))) {
        Some(("reserved-words", _)) => {
            let names = ClientName::default().with_reserved_words(["official", "verified"])?;
            preset.map_rules(|mut rules| {
                rules.metadata.client_name = names;
                Ok(rules)
            })
        }
        Some(("operator_brand", brand)) => {
            let mut identity = ReservedIdentity::new(brand);
            identity.https = vec![format!("https://{brand}.com/*")];
            preset.map_rules(|mut rules| {
                rules.identity.identities = rules.identity.identities.reserve(identity)?;
                Ok(rules)
            })
        }
        _ => Ok(preset),
    }
}

#[tokio::test]
async fn clients_have_the_labelled_result() {
    let mut faults = Vec::new();
    for row in clients().iter().filter(|row| row.registers()) {
        faults.extend(judge(row, "mcp", profile(row, tower_dcr::mcp()).unwrap().without_rate_limits()).await);
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Names and links that only the identity rules can evaluate must still be forwarded safely or rejected.
#[tokio::test]
async fn no_unsafe_document_is_forwarded() {
    let (mut faults, mut forwarded) = (Vec::new(), 0);
    for row in attacks().iter().chain(&clients()).filter(|row| row.text("needs").is_some()) {
        let Some(request) = row.request().filter(|request| request.method() == "POST") else { continue };
        let preset = fixture(tower_dcr::mcp(), &Value::Null).unwrap();
        let outcome = register(preset, request).await;
        forwarded += u32::from(outcome.forwarded.is_some());
        faults.extend(outcome.check_forwarded(row).err().map(|fault| format!("{}: {fault}", row.id)));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(forwarded > 100, "{forwarded}");
}

#[tokio::test]
async fn scopes_are_cut_to_the_ceiling() {
    for row in clients().iter().filter(|row| row.text("needs") == Some("scopes")) {
        let scopes = row.text("profile").unwrap().strip_prefix("allowed_scopes=").unwrap();
        let scope = Scope::default().with_ceiling(scopes.split(' ')).unwrap();
        let preset = tower_dcr::mcp()
            .map_rules(|mut rules| {
                rules.metadata.scope = scope;
                Ok(rules)
            })
            .unwrap();
        let faults = judge(row, "mcp", preset).await;
        assert!(faults.is_empty(), "{faults:?}");
    }
}

#[tokio::test]
async fn rate_limits_have_the_labelled_result() {
    let mut faults = Vec::new();
    let mut judged = 0;
    for row in attacks().iter().filter(|row| row.row["steps"].is_array()) {
        let clock = Arc::new(ManualClock::new(Duration::from_secs(1_000_000)));
        let start = clock.monotonic();
        let address = ClientAddress::new().with_trusted_proxies(["10.0.0.0/8", "fd00::/8"]).unwrap();
        let three = std::num::NonZeroU32::new(3).unwrap();
        let rate_limit = RateLimitLayer::new()
            .map_limits(|limits| {
                *limits = RateLimits::OFF;
                limits.address = Quota::per_minute(three).into();
            })
            .with_clock(clock.clone());
        let preset = fixture(tower_dcr::mcp(), &Value::Null).unwrap();
        let service = behind(&preset.with_rate_limit(rate_limit).with_client_address(address), &Naive::default());
        for (index, step) in row.row["steps"].as_array().unwrap().iter().enumerate() {
            if let Some(at) = step["at_s"].as_f64() {
                let at = start.as_secs_f64() + at;
                clock.set(Duration::from_secs_f64(at));
            }
            let body = if step["body"].is_null() { &row.row["body"] } else { &step["body"] };
            let mut request = Request::post("/register").header("x-step", index);
            for (name, value) in headers(&step["headers"]).unwrap() {
                request = request.header(name, value);
            }
            let mut request = request.body(Full::<Bytes>::from(serde_json::to_vec(body).unwrap())).unwrap();
            if let Some(peer) = step["peer"].as_str() {
                request.extensions_mut().insert(peer.parse::<SocketAddr>().unwrap());
            }
            let status = send(&service, request).await.status().as_u16();
            let expected = step["expect_status"].as_u64().map(|status| u16::try_from(status).unwrap());
            if row.text("mcp") != Some("either") && expected != Some(status) {
                faults.push(format!("{} step {index}: {expected:?}, got {status}", row.id));
            }
        }
        judged += 1;
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(judged, 44);
}

/// The log injection rows again, with the optional members of events.
#[tokio::test]
async fn no_event_is_more_than_one_line() {
    for row in attacks().iter().filter(|row| row.row["audit"].is_string()) {
        let (naive, kept) = (Naive::default(), Kept::default());
        let preset = fixture(tower_dcr::mcp(), &Value::Null)
            .unwrap()
            .with_sink(kept.sink())
            .map_audit(tower_dcr::layers::AuditLayer::with_requester);
        let Some(mut request) = row.request() else { continue };
        request.extensions_mut().insert(SocketAddr::from(([203, 0, 113, 7], 1)));
        send(&behind(&preset, &naive), request).await;
        let events = kept.take();
        assert_eq!(events.len(), 1, "{}", row.id);
        let line = events[0].to_string();
        assert!(line.bytes().all(|byte| (0x20..0x7F).contains(&byte)), "{}: {line}", row.id);
    }
}
