//! Runs `dcr cimd`.

mod diff;

use serde_json::{Value, json};
use test_support::document_host::DocumentHost;
use test_support::folder::Folder;

use crate::cli::{dcr, json_of, run};

const HOST: &str = "app.example.com";
const URL: &str = "https://app.example.com/client.json";

fn document(members: &Value) -> String {
    let mut document = json!({
        "client_id": URL, "client_name": "App", "redirect_uris": ["https://app.example.com/cb"],
        "grant_types": ["authorization_code"], "response_types": ["code"], "token_endpoint_auth_method": "none",
    });
    for (name, value) in members.as_object().unwrap() {
        document[name] = value.clone();
    }
    document.to_string()
}

#[test]
fn check_evaluates_a_document_like_a_server() {
    let folder = Folder::new("cimd-check");
    let secret = document(&json!({ "client_secret": "public" }));
    let connector = document(&json!({
        "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://app.example.com/jwks.json",
        "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"], "x_unknown": true,
        "grant_types": ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"],
    }));
    folder.write("plain.json", &document(&json!({}))).write("connector.json", &connector);
    insta::assert_snapshot!("cimd_check_accept", run(&folder, &["cimd", "check", "plain.json"], ""));
    insta::assert_snapshot!("cimd_check_rewrite", run(&folder, &["cimd", "check", "connector.json"], ""));
    insta::assert_snapshot!("cimd_check_reject", run(&folder, &["cimd", "check", "-"], &secret));
    insta::assert_snapshot!("cimd_check_no_json", run(&folder, &["cimd", "check", "-"], r#"{"a":1,"a":2}"#));
    insta::assert_snapshot!("cimd_check_no_file", run(&folder, &["cimd", "check", "missing.json"], ""));
    folder.write("none.toml", "documents.admission = 'listed'");
    let listed = ["cimd", "check", "--policy", "none.toml", "plain.json"];
    insta::assert_snapshot!("cimd_check_not_listed", run(&folder, &listed, ""));
}

#[test]
fn check_prints_what_goes_on() {
    let folder = Folder::new("cimd-json");
    let logo = document(&json!({ "logo_uri": "https://app.example.com/logo.png" }));
    let (status, judged) = json_of(&folder, &["cimd", "check", &logo]);
    assert_eq!((status, &judged["verdict"], &judged["step"]), (3, &json!("rewrite"), &Value::Null));
    assert_eq!(judged["policy"], json!(tower_dcr::mcp().fingerprint()));
    assert_eq!(judged["after"], serde_json::from_str::<Value>(&document(&json!({}))).unwrap(), "with its client_id");
    assert_eq!(judged["before"], serde_json::from_str::<Value>(&logo).unwrap());
    assert_eq!(
        (&judged["client_id"], &judged["host"], &judged["site"]),
        (&json!(URL), &json!(HOST), &json!("example.com"))
    );
    let steps: Vec<&str> = judged["steps"].as_array().unwrap().iter().map(|s| s["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["url", "admission", "json", "client_id", "rules"]);
    let imitation = document(&json!({ "client_name": "Claude" }));
    let (status, judged) = json_of(&folder, &["cimd", "check", &imitation]);
    assert_eq!((status, &judged["step"], &judged["rule"]), (4, &json!("rules"), &json!("identity")));
    assert_eq!((&judged["after"], &judged["status"], &judged["error"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!(judged["identity"]["claimed"], "Claude");
}

/// Each case: the arguments before the document, the document, the status and the step that rejects.
#[test]
fn check_names_the_step_that_rejects() {
    let folder = Folder::new("cimd-steps");
    let other = "https://app.example.com/other.json";
    let large = document(&json!({ "pad": vec!["x".repeat(1000); 5] }));
    folder.write("listed.toml", "documents = { admission = 'listed', allow = ['https://app.example.com/*'] }");
    folder.write("ports.toml", "documents = { ports = [8443], query = true }");
    folder.write("own.toml", "gate.issuer = 'https://app.example.com/tenant'");
    folder.write("off.toml", "documents.admission = 'off'");
    folder.write("none.toml", "documents.admission = 'listed'");
    folder.write("reports.toml", "report_only = true");
    folder.write("closed.toml", "registration = 'closed'");
    let with_port = document(&json!({ "client_id": "https://app.example.com:8443/client.json?v=2" }));
    let plain = document(&json!({}));
    for (arguments, document, status, step) in [
        (vec![], &*plain, 0, None),
        (vec!["--client-id", URL], &plain, 0, None),
        (vec!["--client-id", other], &plain, 4, Some("client_id")),
        (vec!["--client-id", "https://app.example.com/client.json/"], &plain, 4, Some("client_id")),
        (vec!["--client-id", "http://app.example.com/client.json"], &plain, 4, Some("url")),
        (vec![], r#"{"redirect_uris":["https://app.example.com/cb"]}"#, 4, Some("client_id")),
        (vec![], r#"{"client_id":["https://app.example.com/c"]}"#, 4, Some("client_id")),
        (vec![], &document(&json!({ "client_id": "https://10.0.0.1/client.json" })), 4, Some("url")),
        (vec![], &large, 4, Some("json")),
        (vec![], &plain[1..], 4, Some("json")),
        (vec!["--client-id", URL], "[]", 4, Some("json")),
        (vec![], &document(&json!({ "redirect_uris": [] })), 4, Some("rules")),
        (vec!["--policy", "listed.toml"], &plain, 0, None),
        (vec!["--policy", "strict"], &plain, 0, None),
        (vec!["--policy", "none.toml"], &plain, 4, Some("admission")),
        (vec!["--policy", "off.toml"], &plain, 4, Some("admission")),
        (vec!["--policy", "own.toml"], &plain, 4, Some("admission")),
        (vec!["--policy", "ports.toml"], &with_port, 0, None),
        (vec![], &with_port, 4, Some("url")),
        (vec!["--policy", "reports.toml", "--client-id", other], &plain, 4, Some("client_id")),
        // It closes the registration of clients, and nothing else.
        (vec!["--policy", "closed.toml"], &plain, 0, None),
    ] {
        folder.write("document.json", document);
        let all = [&["cimd", "check"], &arguments[..], &["document.json"]].concat();
        let (found, judged) = json_of(&folder, &all);
        assert_eq!((found, judged["step"].as_str()), (status, step), "{arguments:?} {document}: {judged}");
        assert_eq!(judged["after"].is_null(), status == 4, "{judged}");
    }
    // Report-only rules are said to be such.
    let shown = run(&folder, &["cimd", "check", "--policy", "reports.toml", "-"], &document(&json!({ "x": 1 })));
    assert!(shown.contains("would rewrite") && shown.contains("report-only"), "{shown}");
}

#[test]
fn untrusted_text_does_not_control_the_terminal() {
    let folder = Folder::new("cimd-steering");
    let steering = document(&json!({ "\u{1b}[31m": 1, "client_name": "\u{202e}App" }));
    for arguments in [["cimd", "check", "-"], ["cimd", "url", "https://a.example.com/\u{1b}[31m\u{202e}"]] {
        let shown = run(&folder, &arguments, &steering);
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown}");
    }
}

/// Each case: the arguments before the document, the member `client_id`, and the reason.
#[test]
fn check_names_both_client_ids() {
    let folder = Folder::new("cimd-client-id");
    let other = "https://app.example.com/other.json";
    for (arguments, client_id, reason) in [
        (
            vec!["--client-id", other],
            json!(URL),
            "client_id in the document is \"https://app.example.com/client.json\", and its URL is \
             \"https://app.example.com/other.json\"",
        ),
        (
            vec!["--client-id", other],
            json!("\u{202e}x"),
            "client_id in the document is \"\\u{202e}x\", and its URL is \"https://app.example.com/other.json\"",
        ),
        (
            vec!["--client-id", URL],
            Value::Null,
            "the document has no client_id; its URL is \"https://app.example.com/client.json\"",
        ),
        (
            vec!["--client-id", URL],
            json!(1),
            "client_id in the document is not a string; its URL is \"https://app.example.com/client.json\"",
        ),
        (vec![], Value::Null, "the document has no client_id; name its URL with --client-id"),
        (vec![], json!([URL]), "client_id in the document is not a string; name its URL with --client-id"),
    ] {
        let mut document: Value = serde_json::from_str(&document(&json!({ "client_id": client_id }))).unwrap();
        if client_id.is_null() {
            document.as_object_mut().unwrap().remove("client_id");
        }
        let document = document.to_string();
        let arguments = [&["cimd", "check"], &arguments[..], &[&document]].concat();
        let (status, judged) = json_of(&folder, &arguments);
        assert_eq!((status, &judged["step"], &judged["description"]), (4, &json!("client_id"), &json!(reason)));
        assert!(run(&folder, &arguments, "").contains(&format!("reject  client_id: {reason}")), "{client_id}");
    }
}

#[test]
fn url_says_if_it_is_a_client_id() {
    let folder = Folder::new("cimd-url");
    folder.write("ports.toml", "documents = { ports = [8443], query = true }");
    let url = |arguments: &[&str]| run(&folder, &[&["cimd", "url"], arguments].concat(), "");
    assert_eq!(url(&[URL]), format!("status 0\n{URL} accepted\n"));
    let odd = "https://app.example.com:8443/c?v=2";
    assert_eq!(url(&["--policy", "ports.toml", odd]), format!("status 0\n{odd} accepted\n"));
    assert_eq!(url(&[odd]), format!("status 4\n{odd} rejected: the client_id has a port that is not accepted\n"));
    for rejected in
        ["https://app.example.com", "HTTPS://app.example.com/c", "https://127.1/c", "", "https://a.example.com/%2e"]
    {
        let shown = url(&[rejected]);
        assert!(shown.starts_with(&format!("status 4\n{rejected} rejected: the client_id ")), "{shown}");
    }
    let (status, found) = json_of(&folder, &["cimd", "url", odd]);
    assert_eq!(
        (status, &found["accepted"], &found["url"], &found["host"]),
        (4, &json!(false), &json!(odd), &Value::Null)
    );
    let (status, found) = json_of(&folder, &["cimd", "url", URL]);
    assert_eq!(
        (status, &found["accepted"], &found["reason"], &found["host"]),
        (0, &json!(true), &Value::Null, &json!(HOST))
    );
}

#[test]
fn address_says_if_a_server_connects_to_it() {
    let folder = Folder::new("cimd-address");
    let shown = run(&folder, &["cimd", "address", "8.8.8.8", "2606:4700:4700::1111"], "");
    assert_eq!(shown, "status 0\n8.8.8.8 allowed public\n2606:4700:4700::1111 allowed public\n");
    let shown = run(&folder, &["cimd", "address", "8.8.8.8", "127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::808:808"], "");
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[..3], ["status 4", "8.8.8.8 allowed public", "127.0.0.1 refused loopback"]);
    assert!(lines[3..].iter().all(|line| line.contains(" refused ")) && lines.len() == 5, "{shown}");
    let (status, found) = json_of(&folder, &["cimd", "address", "169.254.169.254"]);
    assert_eq!((status, &found[0]["allowed"], &found[0]["class"]), (4, &json!(false), &json!("link_local")));
}

#[test]
fn text_that_is_no_address_is_refused_beside_the_others() {
    let folder = Folder::new("cimd-no-address");
    for wrong in [
        "127.1",
        "2130706433",
        "localhost",
        "0x7f.0.0.1",
        "0x7f.1",
        "010.0.0.1",
        "08.8.8.8",
        "8.8.8.8.",
        " 8.8.8.8",
        "8.8.8.8:443",
        "256.1.1.1",
        "10.0.0.0/8",
        "fe80::1%eth0",
        "2001:4860:4860::8888%1",
        "[::1]",
        "[2001:4860:4860::8888]:443",
        "::ffff:8.8.8",
        "::ffff:0x8.8.8.8",
        "8.8.8.8 allowed public",
        "",
    ] {
        let shown = run(&folder, &["cimd", "address", wrong, "8.8.8.8", "127.0.0.1"], "");
        let wanted = format!("{wrong} refused invalid\n8.8.8.8 allowed public\n127.0.0.1 refused loopback\n");
        assert_eq!(shown, format!("status 4\n{wanted}"));
        let (status, rows) = json_of(&folder, &["cimd", "address", "8.8.8.8", wrong, "::1"]);
        assert_eq!((status, &rows[1]), (4, &json!({ "address": wrong, "allowed": false, "class": "invalid" })));
        assert_eq!((&rows[0]["allowed"], &rows[2]["class"]), (&json!(true), &json!("loopback")));
    }
    // An address within an address is judged by its own class, and is no mistake.
    let (status, rows) = json_of(&folder, &["cimd", "address", "::ffff:10.0.0.1", "::FFFF:8.8.8.8", "2001:DB8::1"]);
    let classes: Vec<&str> = rows.as_array().unwrap().iter().map(|row| row["class"].as_str().unwrap()).collect();
    assert!(status == 4 && !classes.contains(&"invalid") && !classes.contains(&"public"), "{rows}");
    let steering = "8.8.8.8\n1.1.1.1 allowed public\u{1b}[2K\r\u{202e}\t";
    let shown = run(&folder, &["cimd", "address", steering], "");
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(!shown.contains(['\u{1b}', '\r', '\t', '\u{202e}']) && shown.ends_with(" refused invalid\n"), "{shown}");
    assert!(shown.contains("8.8.8.8⟨U+000A⟩1.1.1.1"), "{shown}");
}

#[cfg(unix)]
#[test]
fn bytes_that_are_no_text_are_no_address() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = Folder::new("cimd-bytes");
    let bytes = std::ffi::OsStr::from_bytes(b"8.8.8.8\xff");
    let output = dcr(&folder.0, &["cimd", "address", "8.8.8.8"]).arg(bytes).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(4), "{shown}");
    assert!(shown.starts_with("8.8.8.8 allowed public\n8.8.8.8") && shown.ends_with(" refused invalid\n"), "{shown}");
}

#[test]
fn admission_names_the_entry() {
    let folder = Folder::new("cimd-admission");
    let pattern = "https://chatgpt.com/oauth/*/client.json";
    let listed = format!("allow = ['{pattern}'], own_hosts = ['as.example.com']");
    let urls = ["https://chatgpt.com/oauth/x/client.json", URL, "https://as.example.com/c", "http://a.example.com/c"];
    let http = "http://a.example.com/c rejected: the client_id must begin with https://";
    let own = "https://as.example.com/c rejected: the host is one of this server";
    for (admission, chatgpt, app, as_itself) in [
        ("open", format!("admitted by {pattern}"), "admitted (open)", own),
        ("reporting", format!("admitted by {pattern}"), "reported", own),
        ("listed", format!("admitted by {pattern}"), "rejected: not listed", own),
        (
            "off",
            "rejected: documents.admission is \"off\"".to_owned(),
            "rejected: documents.admission is \"off\"",
            "https://as.example.com/c rejected: documents.admission is \"off\"",
        ),
    ] {
        folder.write("policy.toml", &format!("documents = {{ admission = '{admission}', {listed} }}"));
        let shown = run(&folder, &[&["cimd", "admission", "--policy", "policy.toml"], &urls[..]].concat(), "");
        let wanted = format!("status 4\n{} {chatgpt}\n{URL} {app}\n{as_itself}\n{http}\n", urls[0]);
        assert_eq!(shown, wanted);
        let status = if admission == "off" { 4 } else { 0 };
        let (found, rows) = json_of(&folder, &["cimd", "admission", "--policy", "policy.toml", urls[0]]);
        assert_eq!((found, &rows[0]["admitted"]), (status, &json!(status == 0)));
    }
}

/// Starts a server with these documents. Its authority's certificate is in `ca.pem`.
async fn host(folder: &Folder) -> DocumentHost {
    const JSON: &str = "200 OK\r\ncontent-type: application/json";
    let host = DocumentHost::start(HOST).await;
    let secret = document(&json!({ "client_id": host.url("/secret.json"), "client_secret": "s" }));
    host.answer("/client.json", &format!("{JSON}\r\ncache-control: max-age=600"), &document(&json!({})));
    host.answer("/other.json", JSON, &document(&json!({})));
    host.answer("/secret.json", JSON, &secret);
    host.answer("/html", "200 OK\r\ncontent-type: text/html", "<title>Just a moment...</title>");
    host.answer("/broken", JSON, "{");
    host.answer("/large", JSON, &" ".repeat(5121));
    host.answer("/moved", &format!("302 Found\r\nlocation: {URL}"), "");
    folder.write("ca.pem", &host.ca_pem);
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn check_fetches_a_document_and_shows_each_step() {
    let folder = Folder::new("cimd-fetch");
    let host = host(&folder).await;
    let map = host.map();
    let fetch = |arguments: &[&str]| {
        let all = [&["cimd", "check", "--cimd-ca", "ca.pem", "--cimd-map", &map], arguments].concat();
        tokio::task::block_in_place(|| run(&folder, &all, ""))
    };
    insta::assert_snapshot!("cimd_fetch_accept", fetch(&[URL]));
    insta::assert_snapshot!("cimd_fetch_reject", fetch(&["https://app.example.com/secret.json"]));
    for (path, step, words) in [
        ("other.json", "client_id", "and its URL is \"https://app.example.com/other.json\""),
        ("html", "fetch", "the media type is not JSON"),
        ("broken", "json", ""),
        ("large", "fetch", "too large"),
        ("moved", "fetch", "a redirect (302 Found), which is never followed"),
        ("nothing", "fetch", "the status 404 Not Found instead of 200"),
    ] {
        let (before, shown) = (host.connections(), fetch(&[&format!("https://app.example.com/{path}")]));
        let headline = shown.lines().find(|line| line.starts_with("reject")).unwrap();
        assert!(headline.starts_with(&format!("reject  {step}: ")) && headline.contains(words), "{path}: {shown}");
        assert!(shown.starts_with("status 4\nurl        accepted\n"), "{path}: {shown}");
        assert_eq!(host.connections(), before + 1, "{path}: no redirect is followed, and nothing is tried again");
    }
}

/// Before the fetch, there is no connection.
#[tokio::test(flavor = "multi_thread")]
async fn check_fetches_nothing_that_is_not_admitted() {
    let folder = Folder::new("cimd-no-fetch");
    folder.write("none.toml", "documents.admission = 'listed'");
    let host = host(&folder).await;
    let map = host.map();
    let check = |arguments: &[&str]| {
        let all = [&["cimd", "check", "--cimd-ca", "ca.pem", "--cimd-map", &map], arguments].concat();
        tokio::task::block_in_place(|| json_of(&folder, &all))
    };
    for (policy, url, step) in [
        ("none.toml", URL, "admission"),
        ("mcp", "https://app.example.com/client.json#", "url"),
        ("mcp", "https://app.example.com:8443/client.json", "url"),
        ("mcp", "http://app.example.com/client.json", "url"),
        ("mcp", "HTTPS://app.example.com/client.json", "url"),
    ] {
        let (status, judged) = check(&["--policy", policy, url]);
        assert_eq!((status, judged["step"].as_str()), (4, Some(step)), "{url}: {judged}");
    }
    assert_eq!(host.connections(), 0);
    let (status, judged) = check(&[URL]);
    assert_eq!((status, &judged["after"]["client_id"], host.connections()), (0, &json!(URL), 1));
    // Its certificate is from no authority that the system knows.
    let all = ["cimd", "check", "--cimd-map", &map, URL];
    let (status, judged) = tokio::task::block_in_place(|| json_of(&folder, &all));
    assert_eq!((status, judged["step"].as_str()), (4, Some("fetch")), "{judged}");
    assert!(judged["description"].as_str().unwrap().contains("no TLS connection"), "{judged}");
}

#[test]
fn mistakes_on_the_command_line_are_named() {
    let folder = Folder::new("cimd-usage");
    for (arguments, status, words) in [
        (vec!["check", "--cimd-map", "app.example.com", URL], 2, "HOST=ADDR:PORT"),
        (vec!["check", "--cimd-map", "app.example.com=localhost", URL], 2, "localhost"),
        (vec!["check", "--cimd-map", "localhost=127.0.0.1:1", URL], 1, "localhost"),
        (vec!["check", "--cimd-ca", "missing.pem", URL], 1, "missing.pem"),
        (vec!["check", "--client-id", URL, URL], 2, "--client-id"),
        (vec!["check"], 2, "DOCUMENT"),
        (vec!["address"], 2, "ADDR"),
        (vec!["diff"], 2, "URL"),
        (vec!["diff", URL], 2, "LEDGER"),
        (vec!["diff", "sqlite:missing.db", URL], 1, "no such ledger"),
        (vec!["diff", "mysql://x", URL], 1, "invalid ledger URL"),
        (vec!["diff", "--policy", "missing.toml", "sqlite:missing.db", URL], 1, "missing.toml"),
        (vec!["admission"], 2, "URL"),
        (vec!["url", "--policy", "missing.toml", URL], 1, "missing.toml"),
    ] {
        let output = dcr(&folder.0, &[&["cimd"], &arguments[..]].concat()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        assert!(said.contains(words) && output.stdout.is_empty(), "{arguments:?}: {said}");
    }
}
