//! Client metadata documents: those of known clients, with what each preset makes of them, and attacks.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use bytes::Bytes;
use http::Response;
use serde_json::{Map, Value, json};
use tower_dcr::clients::{Client, Fingerprints, Ledger as _, MemoryLedger, Origin, Registrar, Status};
use tower_dcr::documents::{
    self, Admitted, ClientIdUrl, ClientIdUrlOptions, DocumentSettings, Documents, Fetch, FetchError, FetchRequest,
};
use tower_dcr::policy_file::KnownClient;
use tower_dcr::redirect_uri::{RedirectClass, RedirectUri};
use tower_dcr::registration::ParseError;
use tower_dcr::rules::{AuthMethod, Context, Decision, Evaluation, Grants};
use tower_dcr::{Preset, Registration};

#[expect(clippy::disallowed_methods, reason = "a program of its own")]
fn site(host: &str) -> Option<&str> {
    psl::domain_str(host)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/documents")
}

/// A server with OpenID's members that can authenticate clients by their keys.
fn oauth() -> Preset {
    let grants = Grants::new(["authorization_code", "refresh_token"], ["code"]).unwrap();
    tower_dcr::oauth(grants, AuthMethod::one_of(["none", "private_key_jwt", "client_secret_basic"]))
}

fn presets() -> [(&'static str, Preset); 3] {
    [("mcp", tower_dcr::mcp()), ("strict", tower_dcr::strict()), ("oauth", oauth())]
}

fn url_of(document: &[u8]) -> ClientIdUrl {
    let document: Value = serde_json::from_slice(document).unwrap();
    ClientIdUrl::parse(document["client_id"].as_str().unwrap()).unwrap()
}

fn evaluate(preset: &Preset, url: &ClientIdUrl, document: &[u8]) -> Evaluation {
    preset.document_policy().evaluate(documents::read(url, document).unwrap(), &Context::document(url))
}

/// Returns the registration that goes on; `None` if the document was rejected.
fn after(evaluation: &Evaluation) -> Option<Map<String, Value>> {
    let after = evaluation.registration.as_ref().filter(|_| evaluation.rejection.is_none());
    after.map(|after| serde_json::from_slice(&after.canonical_bytes()).unwrap())
}

/// The documents of known clients by their names.
fn known() -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let documents = files.filter(|path| path.extension().is_some_and(|kind| kind == "json"));
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    documents.filter(|path| name(path) != "results").map(|path| (name(&path), fs::read(&path).unwrap())).collect()
}

fn result(evaluation: &Evaluation) -> Value {
    let findings = evaluation.findings.iter().map(|finding| {
        let disposition = serde_json::to_value(finding.disposition).unwrap();
        format!("{}: {} {}", finding.rule, disposition.as_str().unwrap(), finding.field)
    });
    json!({
        "decision": format!("{:?}", evaluation.decision()).to_lowercase(),
        "rejection": evaluation.rejection.as_ref().map(|rejection| rejection.description()),
        "findings": findings.collect::<Vec<_>>(),
        "identity": evaluation.identity(),
        "after": after(evaluation),
    })
}

/// `UPDATE_DOCUMENTS=1` writes the results anew.
#[test]
fn documents_of_known_clients_have_the_committed_results() {
    let results = folder().join("results.json");
    let found: BTreeMap<String, BTreeMap<&str, Value>> = known()
        .into_iter()
        .map(|(name, document)| {
            let url = url_of(&document);
            let by_preset = presets().map(|(preset, rules)| (preset, result(&evaluate(&rules, &url, &document))));
            (name, by_preset.into())
        })
        .collect();
    let found = serde_json::to_string_pretty(&found).unwrap() + "\n";
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        fs::write(&results, &found).unwrap();
    }
    assert_eq!(fs::read_to_string(results).unwrap(), found, "UPDATE_DOCUMENTS=1 writes them");
}

/// Each client works: what it needs arrives, and nothing else does.
#[test]
fn documents_of_known_clients_work_under_the_presets() {
    for (name, document) in known() {
        let (url, sent) = (url_of(&document), serde_json::from_slice::<Value>(&document).unwrap());
        for (preset, rules) in presets() {
            let evaluation = evaluate(&rules, &url, &document);
            let is_rejected = evaluation.decision() == Decision::Reject;
            // It has no name, or wants an authentication that the server does not have.
            let may_be = preset == "strict"
                && (sent["client_name"].is_null() || sent["token_endpoint_auth_method"] == "private_key_jwt");
            assert_eq!(is_rejected, may_be, "{name} under {preset}: {:?}", evaluation.rejection);
            let Some(after) = after(&evaluation) else { continue };
            // `strict` has no `localhost` (RFC 8252 section 8.3), and no other site.
            let own = |uri: &&Value| {
                let uri = RedirectUri::parse(uri.as_str().unwrap()).unwrap();
                let host = uri.host().unwrap();
                let is_loopback = uri.class() == RedirectClass::Loopback && host != "localhost";
                preset != "strict" || is_loopback || site(host) == site(url.host())
            };
            let wanted: Vec<&Value> = sent["redirect_uris"].as_array().unwrap().iter().filter(own).collect();
            assert_eq!(json!(after["redirect_uris"]), json!(wanted), "{name} under {preset}");
            assert_eq!(after.get("client_name"), sent.get("client_name"), "{name} under {preset}");
            assert!(after["grant_types"].as_array().unwrap().contains(&json!("authorization_code")), "{name}");
            assert_eq!(after.get("client_id"), None, "{name}");
            let offers_keys = preset == "oauth";
            let method = &after["token_endpoint_auth_method"];
            let keeps = offers_keys && sent["token_endpoint_auth_method"] == "private_key_jwt";
            assert_eq!(method, if keeps { "private_key_jwt" } else { "none" }, "{name} under {preset}");
        }
    }
}

/// Rules leave alone the documents that they made: drift reports changes of rules, and nothing else.
#[tokio::test]
async fn documents_of_known_clients_do_not_drift() {
    for (preset, rules) in presets() {
        let ledger = MemoryLedger::default();
        let mut expected = Vec::new();
        for (name, document) in known() {
            let url = url_of(&document);
            let Some(after) = after(&evaluate(&rules, &url, &document)) else { continue };
            let mut client = Client::draft(Value::Object(after).to_string(), Fingerprints::default(), 0);
            (client.origin, client.status) = (Origin::Document, Status::Active);
            client.client_id = Some(url.as_str().to_owned());
            // Some of them are of one URL.
            client.variant = name;
            ledger.insert(&client, None).await.unwrap();
            expected.push((client.variant, Decision::Accept, Vec::<String>::new()));
        }
        let mut found = Vec::new();
        let note = |client: &Client, evaluated: Result<&Evaluation, &ParseError>| {
            let evaluation = evaluated.unwrap();
            let changes = evaluation.findings.iter().filter(|finding| finding.disposition.rewrites());
            let changes = changes.map(|finding| format!("{} {}", finding.rule, finding.field)).collect();
            found.insert(0, (client.variant.clone(), evaluation.decision(), changes));
        };
        let registrar = Registrar::new(ledger);
        registrar.drift(rules.policy(), &rules.document_policy(), note).await.unwrap();
        assert!(expected.len() > 5, "{preset}: {}", expected.len());
        assert_eq!(found, expected, "{preset}");
    }
}

/// Counts the requests, and knows no document.
#[derive(Default)]
struct Counting(Arc<AtomicUsize>);

impl Fetch for Counting {
    async fn fetch(&self, _: FetchRequest) -> Result<Response<Bytes>, FetchError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Err(FetchError::NoAddress)
    }
}

/// A document on a host of the server would make it ask itself.
#[tokio::test]
async fn a_server_does_not_ask_itself() {
    let policy = "gate.issuer = 'https://as.example.com:8443/tenant'\ndocuments.own_hosts = ['alias.example.com']";
    let count = Arc::new(AtomicUsize::new(0));
    let preset: Preset = policy.parse().unwrap();
    let preset = preset.with_documents(Documents::new(Counting(Arc::clone(&count))));
    for (url, fetches) in [
        ("https://as.example.com/client.json", 0),
        ("https://alias.example.com/client.json", 0),
        ("https://app.example.com/client.json", 1),
    ] {
        let error = preset.resolve_document(&ClientIdUrl::parse(url).unwrap(), None).await.unwrap_err();
        assert_eq!(
            (error.as_str(), count.load(Ordering::SeqCst)),
            (["not_admitted", "no_address"][fetches], fetches),
            "{url}"
        );
    }
}

/// Documents that a rule rejects go on, with an event, if it only reports.
#[test]
fn rules_about_documents_can_be_reported() {
    let url = ClientIdUrl::parse(URL).unwrap();
    for (rule, members) in [
        ("document", json!({ "client_name": null })),
        ("document-redirects", json!({ "redirect_uris": ["https://evil.example.net/cb"] })),
    ] {
        let document = document(&json!({ "members": members }));
        let strict = tower_dcr::strict();
        let evaluation = evaluate(&strict, &url, &document);
        assert_eq!(evaluation.rejection.map(|rejection| rejection.rule), Some(rule));
        let evaluation = evaluate(&strict.with_report_only_rules([rule]).unwrap(), &url, &document);
        assert!(after(&evaluation).is_some(), "{rule}: {:?}", evaluation.rejection);
        assert!(evaluation.findings.iter().any(|finding| finding.rule == rule && !finding.enforced), "{rule}");
    }
}

/// Each case: the settings, the redirect URIs, and the description. The index is that in the document: the rule about redirect URIs has
/// taken out the first one.
#[test]
fn a_document_is_told_which_redirect_uri_leads_elsewhere() {
    let url = ClientIdUrl::parse("https://app.example.co.uk:8443/client.json");
    assert!(url.is_err(), "a port is an option");
    let options = ClientIdUrlOptions { ports: [8443].into(), ..Default::default() };
    let url = ClientIdUrl::parse_with("https://app.example.co.uk:8443/client.json", &options).unwrap();
    for (redirects, uris, description) in [
        (
            "any",
            ["com.evil.app:/cb", "com.evil.other:/cb"],
            "redirect_uris[0] has a scheme that does not begin with uk.co.example, the site of the document in reverse \
             (document-redirects)",
        ),
        (
            "same_site",
            ["https://evil.example.net:9443/cb", "https://evil.example.net/cb"],
            "redirect_uris[1] leads to another site than example.co.uk, that of the document (document-redirects)",
        ),
        (
            "same_origin",
            ["https://app.example.co.uk/cb", "https://evil.example.net/cb"],
            "redirect_uris[0] leads to another origin than https://app.example.co.uk:8443, that of the document \
             (document-redirects)",
        ),
    ] {
        let preset: Preset = format!("documents.rules.redirects = '{redirects}'").parse().unwrap();
        let document = json!({ "client_id": url.as_str(), "client_name": "App", "redirect_uris": uris });
        let evaluation = evaluate(&preset, &url, document.to_string().as_bytes());
        assert_eq!(
            evaluation.rejection.map(|rejection| rejection.description()).as_deref(),
            Some(description),
            "{uris:?}"
        );
    }
}

/// The table of the library has the documents of this folder.
#[test]
fn the_known_documents_are_those_of_the_library() {
    let texts = |documents: &mut dyn Iterator<Item = Value>| -> Vec<String> {
        let mut texts: Vec<String> = documents.map(|document| document.to_string()).collect();
        texts.sort();
        texts
    };
    let files = texts(&mut known().values().map(|document| serde_json::from_slice(document).unwrap()));
    let source = |client: KnownClient| serde_json::from_str(client.registration.source()).unwrap();
    assert_eq!(texts(&mut KnownClient::documents().map(source)), files, "src/policy_file/known_documents.jsonl");
}

/// Fails with all rows that have another result.
fn none_differs(differing: &[String]) {
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// Rows of attacks.
fn attacks() -> Vec<Value> {
    let rows = fs::read_to_string(folder().join("attacks.jsonl")).unwrap();
    rows.lines().map(|row| serde_json::from_str(row).unwrap_or_else(|error| panic!("{row}: {error}"))).collect()
}

fn rows_with(member: &str) -> Vec<Value> {
    let rows: Vec<Value> = attacks().into_iter().filter(|row| !row[member].is_null()).collect();
    assert!(rows.len() > 5, "{member}");
    rows
}

fn settings(row: &Value) -> DocumentSettings {
    if row["settings"].is_null() {
        DocumentSettings::default()
    } else {
        serde_json::from_value(row["settings"].clone()).unwrap()
    }
}

fn options(row: &Value) -> ClientIdUrlOptions {
    let settings = settings(row);
    ClientIdUrlOptions { query: settings.query, ports: settings.ports }
}

#[test]
fn rows_are_of_one_kind_and_have_an_id_of_their_own() {
    let mut ids = std::collections::BTreeSet::new();
    for row in attacks() {
        assert!(ids.insert(row["id"].as_str().unwrap().to_owned()), "{row}");
        let kinds = ["url_error", "admitted", "unreadable", "rejected", "after"];
        assert_eq!(kinds.iter().filter(|kind| !row[**kind].is_null()).count(), 1, "{row}");
    }
}

#[test]
fn attacks_by_the_url_are_rejected_before_anything_is_sent() {
    let differing = rows_with("url_error").into_iter().filter_map(|row| {
        let url = row["url"].as_str().unwrap();
        // Without options it is no other client either.
        let is_rejected = ClientIdUrl::parse(url).is_err();
        let found =
            ClientIdUrl::parse_with(url, &options(&row)).map_or_else(|error| format!("{error:?}"), |_| "none".into());
        (!is_rejected || found != row["url_error"].as_str().unwrap()).then(|| format!("{found}: {row}"))
    });
    none_differs(&differing.collect::<Vec<_>>());
}

#[test]
fn urls_are_admitted_by_their_whole_text() {
    let differing = rows_with("admitted").into_iter().filter_map(|row| {
        let url = ClientIdUrl::parse_with(row["url"].as_str().unwrap(), &options(&row)).unwrap();
        let found = match settings(&row).admit(&url) {
            Admitted::ByEntry(entry) => entry.to_string(),
            Admitted::Unlisted => "open".to_owned(),
            Admitted::Reported => "reported".to_owned(),
            _ => "no".to_owned(),
        };
        (found != row["admitted"].as_str().unwrap()).then(|| format!("{found}: {row}"))
    });
    none_differs(&differing.collect::<Vec<_>>());
}

const URL: &str = "https://app.example.com/client.json";

/// The document of a row: a whole text, bytes, or the members that a plain one gets.
fn document(row: &Value) -> Vec<u8> {
    if let Some(raw) = row["raw"].as_str() {
        return raw.into();
    }
    if let Some(bytes) = row["raw_b64"].as_str() {
        return base64::engine::general_purpose::STANDARD.decode(bytes).unwrap();
    }
    let mut plain = json!({
        "client_id": URL, "client_name": "App", "redirect_uris": ["https://app.example.com/cb"],
        "token_endpoint_auth_method": "none",
    });
    for (name, value) in row["members"].as_object().unwrap() {
        plain[name] = value.clone();
    }
    // A member that is to be missing.
    if let Some(name) = row["missing"].as_str() {
        plain.as_object_mut().unwrap().remove(name);
    }
    serde_json::to_vec(&plain).unwrap()
}

fn url(row: &Value) -> ClientIdUrl {
    ClientIdUrl::parse(row["document_url"].as_str().unwrap_or(URL)).unwrap()
}

#[test]
fn documents_that_have_several_readings_are_not_read() {
    let differing = rows_with("unreadable").into_iter().filter_map(|row| {
        let read = documents::read(&url(&row), &document(&row));
        let found = read.map_or_else(|error| error.as_str(), |_| "read");
        (found != row["unreadable"].as_str().unwrap()).then(|| format!("{found}: {row}"))
    });
    none_differs(&differing.collect::<Vec<_>>());
}

/// `preset` names the one that a row is about: without it, a row is about all of them, and the rule is that of `mcp`.
#[test]
fn dangerous_documents_are_rejected() {
    let differing = rows_with("rejected").into_iter().flat_map(|row| {
        presets().map(|(name, preset)| {
            let only = row["preset"].as_str();
            if only.is_some_and(|only| only != name) {
                return None;
            }
            let evaluation = evaluate(&preset, &url(&row), &document(&row));
            let rule = evaluation.rejection.as_ref().map(|rejection| rejection.rule);
            let is_wanted =
                if name == only.unwrap_or("mcp") { rule == row["rejected"].as_str() } else { rule.is_some() };
            (!is_wanted).then(|| format!("{name}: {rule:?} {:?}: {row}", after(&evaluation)))
        })
    });
    none_differs(&differing.flatten().collect::<Vec<_>>());
}

/// Members with the values that arrive (`null`: none), under `preset` or under all that accept the document.
#[test]
fn what_no_document_may_decide_does_not_arrive() {
    let differing = rows_with("after").into_iter().flat_map(|row| {
        presets().map(|(name, preset)| {
            let evaluation = evaluate(&preset, &url(&row), &document(&row));
            if row["preset"].as_str().is_some_and(|only| only != name) {
                return None;
            }
            let Some(after) = after(&evaluation) else {
                // The others may be stricter.
                let is_wanted = name == row["preset"].as_str().unwrap_or("mcp");
                return is_wanted.then(|| format!("{name}: {:?}: {row}", evaluation.rejection));
            };
            let mut wanted = row["after"].as_object().unwrap().iter();
            let differs = wanted.any(|(member, value)| after.get(member).unwrap_or(&Value::Null) != value);
            let status = evaluation.identity().map(|identity| format!("{:?}", identity.status).to_lowercase());
            let is_other = row["identity"].is_string() && status.as_deref() != row["identity"].as_str();
            (differs || is_other).then(|| format!("{name}: {after:?} {status:?}: {row}"))
        })
    });
    none_differs(&differing.flatten().collect::<Vec<_>>());
}

/// The members that arrive, whatever a document has in it.
#[test]
fn no_document_leads_a_server_into_its_own_network() {
    let own = |row: &&Value| row["url_error"].is_null() && row["admitted"].is_null() && row["unreadable"].is_null();
    for row in attacks().iter().filter(own) {
        for (name, preset) in presets() {
            let evaluation = evaluate(&preset, &url(row), &document(row));
            let Some(after) = after(&evaluation) else { continue };
            for secret in ["client_secret", "client_secret_expires_at", "software_statement", "client_id", "logo_uri"] {
                assert!(
                    !after.keys().any(|member| member.split('#').next() == Some(secret)),
                    "{name}: {secret}: {row}"
                );
            }
            let method = after["token_endpoint_auth_method"].as_str().unwrap();
            assert!(!method.starts_with("client_secret"), "{name}: {row}");
            let text = serde_json::to_string(&after).unwrap();
            for inside in
                ["169.254", "10.0.0.", "internal", "::ffff", "file:", "javascript:", "data:", "gopher:", "\"d\""]
            {
                assert!(!text.contains(inside), "{name}: {inside} in {text}");
            }
            for uri in after["redirect_uris"].as_array().unwrap() {
                assert!(RedirectUri::parse(uri.as_str().unwrap()).is_ok(), "{name}: {uri}");
            }
            // It is a registration that the same server takes.
            assert!(Registration::parse(text.as_bytes()).is_ok());
        }
    }
}
