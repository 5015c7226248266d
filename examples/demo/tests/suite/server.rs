//! Sign-ins, flags, ledger, policy and terminal output.

use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower_dcr::audit::{ChainHead, ChainKey};
use tower_dcr::clients::{Actor, ClientQueue, Fingerprint, Registrar, Revocation};
use tower_dcr_sqlx::SqliteLedger;

use test_support::document_host::DocumentHost;
use test_support::folder::Folder;
use test_support::running::{ANY_PORT, Running};
use test_support::start_lines::{Server, logged};
use test_support::support::eventually;

/// Returns the demo, on a free port.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.args(["--addr", ANY_PORT]);
    command
}

pub(crate) fn start(arguments: &[&str]) -> Running {
    Running::spawn(command().args(arguments))
}

fn honest() -> Value {
    json!({ "client_name": "My App", "redirect_uris": ["http://127.0.0.1/cb"], "scope": "", "foo": null,
            "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "client_secret_post" })
}

/// The challenge of a verifier that is not needed.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn dangerous() -> Value {
    json!({ "client_name": "Claude", "redirect_uris": ["javascript:alert(document.cookie)"] })
}

/// Discovery, registration, authorization code with PKCE, token, a call, a refresh.
#[tokio::test]
async fn a_client_signs_in() {
    let server = start(&["--auto-approve"]);
    for method in [reqwest::Method::HEAD, reqwest::Method::GET, reqwest::Method::POST] {
        let response = server.client.request(method.clone(), format!("{}/mcp", server.base)).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 401, "{method}");
        assert!(response.headers()["www-authenticate"].to_str().unwrap().contains("resource_metadata"));
    }
    for (token, is_said) in [(None, false), (Some("unknown"), true)] {
        let request = server.client.post(format!("{}/mcp", server.base));
        let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
        let answer = request.send().await.unwrap();
        let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
        assert_eq!((answer.status().as_u16(), challenge.contains("error=\"invalid_token\"")), (401, is_said));
    }
    let resource: Value = server.get("/.well-known/oauth-protected-resource/mcp").await.json().await.unwrap();
    assert_eq!(resource["authorization_servers"], json!([server.base]));
    let metadata: Value = server.get("/.well-known/oauth-authorization-server").await.json().await.unwrap();
    assert_eq!(metadata["registration_endpoint"], format!("{}/register", server.base));

    let (status, client) = server.register(&honest()).await;
    assert_eq!((status, &client["token_endpoint_auth_method"]), (201, &json!("none")));
    assert!(client.get("foo").is_none() && client.get("scope").is_none());
    let client_id = client["client_id"].as_str().unwrap();

    let verifier = "a-verifier-that-is-at-least-forty-three-characters-long";
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    let authorize = |redirect_uri: &str, challenge: &str| {
        let query = [
            ("response_type", "code"),
            ("client_id", client_id),
            ("redirect_uri", redirect_uri),
            ("state", "s"),
            ("code_challenge", challenge),
            ("code_challenge_method", "S256"),
        ];
        server.client.get(format!("{}/authorize", server.base)).query(&query).send()
    };
    // RFC 8252 section 7.3: the system chooses the client's port.
    let redirect_uri = "http://127.0.0.1:51004/cb";
    let response = authorize(redirect_uri, &challenge).await.unwrap();
    assert_eq!(response.status().as_u16(), 302);
    let location = url::Url::parse(response.headers()["location"].to_str().unwrap()).unwrap();
    let parameter =
        |name: &str| location.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    assert!(location.as_str().starts_with(redirect_uri));
    assert_eq!((parameter("state"), parameter("iss")), (Some("s".into()), Some(server.base.clone())));
    for elsewhere in ["http://127.0.0.1:51004/other", "http://localhost/cb", "https://evil.example.net/cb"] {
        let rejected = authorize(elsewhere, &challenge).await.unwrap();
        assert!(rejected.status().as_u16() == 400 && rejected.headers().get("location").is_none(), "{elsewhere}");
    }
    let without_pkce = authorize(redirect_uri, "").await.unwrap();
    assert!(without_pkce.status().as_u16() == 400 && without_pkce.headers().get("location").is_none());
    let says: Value = without_pkce.json().await.unwrap();
    assert_eq!(says["error"], "invalid_request");

    let code = parameter("code").unwrap();
    let token = async |form: Vec<(&str, &str)>| {
        let response = server.client.post(format!("{}/token", server.base)).form(&form).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let redeem = |verifier| {
        vec![
            ("grant_type", "authorization_code"),
            ("code", &*code),
            ("client_id", client_id),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
        ]
    };
    let (status, tokens) = token(redeem(verifier)).await;
    assert_eq!(status, 200, "{tokens}");
    assert_eq!(token(redeem(verifier)).await.0, 400, "a code works once");
    let refresh = vec![
        ("grant_type", "refresh_token"),
        ("client_id", client_id),
        ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
    ];
    let (status, tokens) = token(refresh).await;
    assert_eq!(status, 200, "{tokens}");
    assert_eq!(
        token(vec![("grant_type", "refresh_token"), ("client_id", "unknown")]).await,
        (401, json!({ "error": "invalid_client" }))
    );

    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "echo", "arguments": { "text": "hello" } } });
    let request =
        server.client.post(format!("{}/mcp", server.base)).bearer_auth(tokens["access_token"].as_str().unwrap());
    let answer: Value = request.json(&call).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["result"]["content"][0]["text"], "hello");
}

/// MCP, "Step-Up Authorization Flow": the second tool needs a scope that the client asks for once it is told so.
#[tokio::test]
async fn the_second_tool_needs_another_scope() {
    let server = start(&["--auto-approve"]);
    let metadata: Value = server.get("/.well-known/oauth-authorization-server").await.json().await.unwrap();
    assert_eq!(metadata["scopes_supported"], json!(["mcp", "mcp:write"]));
    let resource: Value = server.get("/.well-known/oauth-protected-resource/mcp").await.json().await.unwrap();
    assert_eq!(resource["scopes_supported"], json!(["mcp"]));
    let body = json!({ "client_name": "My App", "redirect_uris": ["https://app.example.com/cb"] });
    let client_id = server.register(&body).await.1["client_id"].as_str().unwrap().to_owned();

    let verifier = "a-verifier-that-is-at-least-forty-three-characters-long";
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    let parameter = |location: &str, name: &str| {
        let location = url::Url::parse(location).unwrap();
        location.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let authorize = async |scope: Option<&str>| {
        let query = [("response_type", "code"), ("client_id", &client_id), ("code_challenge", &challenge)];
        let query: Vec<_> = query.into_iter().chain([("code_challenge_method", "S256")]).collect();
        let scope = scope.map(|scope| ("scope", scope));
        let request =
            server.client.get(format!("{}/authorize", server.base)).query(&query).query(&Vec::from_iter(scope));
        request.send().await.unwrap().headers()["location"].to_str().unwrap().to_owned()
    };
    let token = async |form: &[(&str, &str)]| {
        let form: Vec<_> = form.iter().copied().chain([("client_id", &*client_id)]).collect();
        let answer = server.client.post(format!("{}/token", server.base)).form(&form).send().await.unwrap();
        answer.json::<Value>().await.unwrap()
    };
    let tokens = async |scope: Option<&str>| {
        let code = parameter(&authorize(scope).await, "code").unwrap();
        token(&[("grant_type", "authorization_code"), ("code", &code), ("code_verifier", verifier)]).await
    };
    let refresh = async |tokens: &Value, scope: Option<&str>| {
        let form = [("grant_type", "refresh_token"), ("refresh_token", tokens["refresh_token"].as_str().unwrap())];
        let form: Vec<_> = form.into_iter().chain(scope.map(|scope| ("scope", scope))).collect();
        token(&form).await
    };
    let call = async |tokens: &Value, tool: &str| {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": { "text": "a" } } });
        let request = server.client.post(format!("{}/mcp", server.base)).json(&call);
        let answer = request.bearer_auth(tokens["access_token"].as_str().unwrap()).send().await.unwrap();
        let status = answer.status().as_u16();
        let challenge = answer.headers().get("www-authenticate").map(|it| it.to_str().unwrap().to_owned());
        let answer: Value = answer.json().await.unwrap_or_default();
        (status, challenge.or(answer["result"]["content"][0]["text"].as_str().map(str::to_owned)).unwrap())
    };
    let insufficient = |scope: &str| {
        let metadata = format!("{}/.well-known/oauth-protected-resource/mcp", server.base);
        (403, format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\", resource_metadata=\"{metadata}\""))
    };

    for asked in [None, Some("mcp"), Some("mcp unknown")] {
        let first = tokens(asked).await;
        assert_eq!(first["scope"], "mcp", "{asked:?}");
        for tokens in [&first, &refresh(&first, None).await] {
            assert_eq!(call(tokens, "echo").await, (200, "a".into()));
            assert_eq!(call(tokens, "write").await, insufficient("mcp mcp:write"));
        }
    }
    let more = refresh(&tokens(Some("mcp")).await, Some("mcp mcp:write")).await;
    assert_eq!(more["scope"], "mcp", "a refresh gives nothing that was not granted");

    let both = tokens(Some("mcp:write mcp")).await;
    assert_eq!(both["scope"], "mcp mcp:write");
    let less = refresh(&both, Some("mcp")).await;
    assert_eq!((&less["scope"], call(&less, "write").await.0), (&json!("mcp"), 403));
    let both = refresh(&less, None).await;
    assert_eq!((&both["scope"], call(&both, "write").await), (&json!("mcp mcp:write"), (200, "written: a".into())));

    let write = tokens(Some("mcp:write")).await;
    assert_eq!(call(&write, "echo").await, insufficient("mcp"));
    let error = parameter(&authorize(Some("unknown")).await, "error");
    assert_eq!(error.as_deref(), Some("invalid_scope"));
}

#[tokio::test]
async fn it_asks_for_consent_and_shows_known_data() {
    let server = start(&[]);
    let name = "<script>alert(1)</script>";
    let body = json!({ "client_name": name, "redirect_uris": ["https://app.example.com/cb"] });
    let (_, client) = server.register(&body).await;
    let path = format!(
        "/authorize?response_type=code&client_id={}&code_challenge={CHALLENGE}&code_challenge_method=S256",
        client["client_id"].as_str().unwrap()
    );
    let page = server.get(&format!("{path}&scope=mcp:write+mcp")).await.text().await.unwrap();
    assert!(page.contains("<dd id=\"scope\">mcp mcp:write</dd>"), "{page}");
    let page = server.get(&path).await.text().await.unwrap();
    assert!(page.contains("app.example.com") && page.contains("&lt;script&gt;") && !page.contains(name), "{page}");
    let id = page.split("name=\"id\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let decide = server.client.post(format!("{}/authorize", server.base)).form(&[("id", id)]);
    let denied = decide.try_clone().unwrap().send().await.unwrap();
    assert!(denied.headers()["location"].to_str().unwrap().contains("error=access_denied"));
    assert_eq!(decide.send().await.unwrap().status().as_u16(), 400, "answered once");
}

/// The page shows the known data of a client.
#[tokio::test]
async fn the_consent_page_shows_known_data() {
    let server = start(&["--quota", "1000"]);
    let claude = "https://claude.ai/api/mcp/auth_callback";
    let verified = "Verified: the answer goes to a callback of Claude, and only there.";
    let own = |name: &str| format!("{verified} The name \u{201c}{name}\u{201d} is the application\u{2019}s own.");
    let advice = "Continue only if you have just started to connect this application yourself.";
    let relayed = "The code that gives access can also reach others: the page hands the code to an editor, and that to any \
                   extension.";
    let by_links =
        "can also reach others: the application that opens these links hands the code to any of its extensions.";
    let rows = [
        ("a product as it is called", json!({ "client_name": "Claude" }), claude, verified, "The name"),
        ("another name at the callback", json!({ "client_name": "My Notes" }), claude, &own("My Notes"), advice),
        ("the name among others", json!({ "client_name": "Claude Helper" }), claude, &own("Claude Helper"), advice),
        ("no name at the callback", json!({}), claude, verified, "The name"),
        ("no name", json!({}), "https://notes.example.net/cb", "It has no name.", "is not checked"),
        ("no name and a loopback", json!({}), "http://127.0.0.1/cb", "any program", "is not checked"),
        ("an editor's page", json!({ "client_name": "Notes" }), "https://vscode.dev/redirect", relayed, "come from"),
        (
            "the editor at its page",
            json!({ "client_name": "Visual Studio Code" }),
            "https://vscode.dev/redirect",
            relayed,
            "have just come from",
        ),
        (
            "an editor's scheme",
            json!({ "client_name": "Cursor" }),
            "cursor://anysphere.cursor-mcp/cb",
            by_links,
            "have just come from",
        ),
        ("a site", json!({ "client_name": "Notes" }), "https://notes.example.net/cb", advice, "reach others"),
    ];
    for (reason, mut body, redirect_uri, says, never) in rows {
        body["redirect_uris"] = json!([redirect_uri]);
        let (status, client) = server.register(&body).await;
        assert_eq!(status, 201, "{reason}: {client}");
        let query = [
            ("response_type", "code"),
            ("client_id", client["client_id"].as_str().unwrap()),
            ("redirect_uri", redirect_uri),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        let answer = server.client.get(format!("{}/authorize", server.base)).query(&query).send().await.unwrap();
        let page = answer.text().await.unwrap();
        let (head, verdict) = page.split_once("<p id=\"verdict\"").unwrap_or_else(|| panic!("{reason}: {page}"));
        let named = body["client_name"].is_string();
        assert_eq!(head.contains("An application that gives no name"), !named, "{reason}: {head}");
        assert_eq!(head.contains("calls itself"), named, "{reason}: {head}");
        assert!(verdict.to_lowercase().contains(&says.to_lowercase()), "{reason}: {verdict}");
        assert!(!verdict.contains(never), "{reason}: {verdict}");
    }
}

#[tokio::test]
async fn the_flags_do_what_they_say() {
    let (status, body) = start(&[]).register(&dangerous()).await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_redirect_uri")));
    let (status, _) = start(&["--unprotected"]).register(&dangerous()).await;
    assert_eq!(status, 201);
    let (status, _) = start(&["--preset", "strict"]).register(&honest()).await;
    assert_eq!(status, 400);
    let audit = std::env::temp_dir().join(format!("tower-dcr-example-{}.jsonl", std::process::id()));
    let file = audit.to_str().unwrap();
    let arguments = ["--quota", "2", "--private-scheme", "myapp", "--trusted-proxy", "127.0.0.0/8", "--audit", file];
    let server = start(&arguments);
    let register = async |address: &str, name: &str| {
        let body = json!({ "client_name": name, "redirect_uris": ["myapp:/cb"] });
        let request =
            server.client.post(format!("{}/register", server.base)).header("x-forwarded-for", address).json(&body);
        request.send().await.unwrap().status().as_u16()
    };
    let statuses = [
        register("192.0.2.1", "a").await,
        register("192.0.2.1", "b").await,
        register("192.0.2.1", "c").await,
        register("192.0.2.2", "d").await,
        // A repeated registration uses no budget.
        register("192.0.2.2", "d").await,
        register("192.0.2.2", "d").await,
        register("192.0.2.2", "e").await,
        register("192.0.2.2", "f").await,
    ];
    assert_eq!(statuses, [201, 201, 429, 201, 201, 201, 201, 429]);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let events = std::fs::read_to_string(&audit).unwrap();
    std::fs::remove_file(&audit).unwrap();
    assert_eq!(events.lines().count(), 8);
    assert_eq!(events.matches("\"deduplicated\"").count(), 2);
    let token = "Vq3s8nR1xW7tB0yKd5Lc";
    let server = start(&["--initial-access-token", token]);
    assert_eq!(server.register(&honest()).await.0, 401);
    let request = server.client.post(format!("{}/register", server.base)).bearer_auth(token).json(&honest());
    assert_eq!(request.send().await.unwrap().status().as_u16(), 201);
    let failed = command().args(["--initial-access-token", "short"]).output().unwrap();
    assert!(!failed.status.success() && String::from_utf8_lossy(&failed.stderr).contains("less than 16 bytes"));
    let failed = command().args(["--private-scheme", "javascript"]).output().unwrap();
    assert!(!failed.status.success() && String::from_utf8_lossy(&failed.stderr).contains("javascript"));
}

/// The chain of the audit file, verified without writing a program.
#[tokio::test]
async fn it_chains_the_audit_file_with_a_key_from_a_flag_or_the_policy() {
    let folder = Folder::new("chain");
    folder.write("key", "0123456789abcdef\n").write("policy.toml", "[audit]\nchain_key_file = 'key'\n");
    let path = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
    let key = ChainKey::from_file(path("key")).unwrap();
    for (name, flag, value) in [("flag", "--audit-key-file", "key"), ("policy", "--policy", "policy.toml")] {
        let (file, value) = (path(name), path(value));
        let server = start(&["--audit", &file, flag, &value]);
        assert_eq!(server.register(&honest()).await.0, 201);
        assert_eq!(server.register(&dangerous()).await.0, 400);
        let head = || ChainHead::read(format!("{file}.head"), &key);
        eventually(name, async || head().is_ok_and(|head| head.lines >= 2)).await;
        let head = head().unwrap();
        let lines = std::io::BufReader::new(std::fs::File::open(&file).unwrap());
        assert!(key.verify(lines, None).unwrap().0.reaches(&head), "{name}");
    }
}

/// Many registrations from one address in a short time, like a test bench of released clients.
#[tokio::test]
async fn the_defaults_carry_a_test_bench() {
    let server = start(&[]);
    for _ in 0..100 {
        assert_eq!(server.register(&honest()).await.0, 201);
    }
}

/// The ledger outlives the server; a client that another process revokes stays revoked.
#[tokio::test]
async fn it_keeps_clients_and_sees_revocations_by_another_process() {
    let dir = std::env::temp_dir().join(format!("tower-dcr-ledger-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let ledger = format!("sqlite:{}", dir.join("clients.db").display());
    let arguments = ["--auto-approve", "--ledger", &ledger];
    let register = async |server: &Running, port: u16| {
        let uri = format!("http://127.0.0.1:{port}/cb");
        server.register(&json!({ "client_name": "My App", "redirect_uris": [uri] })).await
    };
    let authorize = async |server: &Running, id: &str| {
        let path = format!(
            "/authorize?response_type=code&client_id={id}&code_challenge={CHALLENGE}&code_challenge_method=S256"
        );
        server.get(&path).await.status().as_u16()
    };
    let server = start(&arguments);
    let (_, client) = register(&server, 1).await;
    let id = client["client_id"].as_str().unwrap().to_owned();
    assert_eq!(register(&server, 2).await.1["client_id"], client["client_id"], "whatever the port");
    drop(server);

    let server = start(&arguments);
    assert_eq!(register(&server, 3).await.1["client_id"], client["client_id"], "also after a restart");
    assert_eq!(authorize(&server, &id).await, 302);
    // This process acts like `dcr`, beside the server.
    let review = Registrar::new(SqliteLedger::open(dir.join("clients.db")).await.unwrap());
    let queue = async || review.list(ClientQueue::NeverReviewed, None, 10).await.unwrap().clients;
    assert_eq!(queue().await[0].client_id.as_ref(), Some(&id));
    review.approve(&id, "alice", "").await.unwrap();
    assert_eq!(queue().await.len(), 0);
    let name = Fingerprint::parse("name", "MY APP (2)").unwrap();
    assert_eq!(
        review.revoke(Revocation::new(name, Actor::Operator("alice".into()), "imitates us")).await.unwrap().clients,
        1
    );
    let blocks = review.blocks(None, 10).await.unwrap();
    assert_eq!(blocks[0].fingerprint.to_string(), "name:my app");
    assert_eq!(register(&server, 4).await.0, 400);
    // Another process: the gate sees it within the age of its cache, 5 seconds.
    eventually("the gate sees the revocation", async || authorize(&server, &id).await == 400).await;
    assert_eq!(server.get("/admin/clients").await.status().as_u16(), 401);
    drop((server, review));
    std::fs::remove_dir_all(&dir).unwrap();
    let failed = command().args(["--ledger", "mysql:x"]).output().unwrap();
    assert!(!failed.status.success() && String::from_utf8_lossy(&failed.stderr).contains("mysql:x"));
}

/// The banner of the example matches its behaviour.
#[tokio::test]
async fn the_banner_matches_the_policy() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let folder = Folder::new("banner");
    let policy = |name: &str, text: &str| {
        folder.write(name, text);
        folder.0.join(name).to_str().unwrap().to_owned()
    };
    let open = policy("open.toml", "report_only = true");
    let both = policy("both.toml", "report_only_rules = ['redirect-uris', 'identity']");
    // The other one of the two still rejects.
    let one = policy("one.toml", "report_only_rules = ['redirect-uris']");
    let hosted = policy("hosted.toml", "redirect_uris.classes = ['https']");
    let digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    let tokens =
        policy("tokens.toml", &format!("initial_access_tokens.tokens = [{{ owner = 'portal', sha256 = '{digest}' }}]"));
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../policy.toml");
    let (registers, is_rejected) = ("An honest client registers:", "This client is rejected by the policy:");
    let token = "Vq3s8nR1xW7tB0yKd5Lc";
    for (arguments, honest, attack) in [
        (vec!["--policy", shipped], registers, "An attacker is rejected (with"),
        (vec!["--preset", "strict"], registers, "An attacker is rejected (with"),
        (vec!["--policy", &open], registers, "An attacker registers, too: the policy is report-only:"),
        (vec!["--policy", &both], registers, "An attacker registers, too: the policy does not enforce"),
        (vec!["--policy", &one], registers, "An attacker is rejected (with"),
        (vec!["--policy", &hosted], is_rejected, "An attacker is rejected (with"),
        (vec!["--policy", &tokens], is_rejected, "An attacker is rejected (with"),
        (vec!["--initial-access-token", token], registers, "An attacker is rejected (with"),
        (vec!["--unprotected"], registers, "An attacker registers, too (without"),
    ] {
        let mut command = command();
        command.args(&arguments).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // Read to the end of the banner, and kept open: the server writes more later.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut banner = Vec::new();
        for line in lines.by_ref() {
            let is_last = line.starts_with("The MCP endpoint");
            banner.push(line);
            if is_last {
                break;
            }
        }
        let base = banner[0].strip_prefix("listening on ").unwrap().to_owned();
        let server = Running { child, base, client: reqwest::Client::new() };
        assert!(!banner.iter().any(|line| line.split(' ').any(|word| word == "he")), "{banner:#?}");
        for says in [honest, attack] {
            let at = banner.iter().position(|line| line.starts_with(says));
            let at = at.unwrap_or_else(|| panic!("{arguments:?}: no {says:?} in {banner:#?}"));
            let (command, body) = (&banner[at + 1], banner[at + 2].trim());
            let body = body.strip_prefix("-d '").and_then(|body| body.strip_suffix('\'')).unwrap();
            let given = command.split_once("Bearer ").map(|(_, rest)| rest.split('\'').next().unwrap());
            let request = server.client.post(format!("{}/register", server.base)).body(body.to_owned());
            let request = request.header("content-type", "application/json");
            let request = if let Some(token) = given { request.bearer_auth(token) } else { request };
            let admitted = request.send().await.unwrap().status().as_u16() == 201;
            assert_eq!(admitted, says.contains("registers"), "{arguments:?}: {says}");
        }
    }
}

/// Each event is one line in a terminal.
#[tokio::test]
async fn each_attempt_is_a_readable_line() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let mut child = command().env("NO_COLOR", "1").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let base = output.find_map(|line| line.strip_prefix("listening on ").map(str::to_owned)).unwrap();
    std::thread::spawn(move || output.for_each(drop));
    let mut server = Running { child, base, client: reqwest::Client::new() };
    let (_, client) = server.register(&honest()).await;
    assert_eq!(server.register(&dangerous()).await.0, 400);
    let hostile = json!({
        "client_name": format!("\u{1b}[2JEvil\n12:00:00Z accepted \u{202e}{}", "x".repeat(100)),
        "redirect_uris": ["https://a.example/", "https://b.example/1", "https://b.example/2", "https://c.example/", "my.app:/",
                          "no uri"],
    });
    assert_eq!(server.register(&hostile).await.0, 400);
    assert_eq!(server.register(&json!({ "client_name": 1 })).await.0, 400);
    assert_eq!(server.register(&json!([])).await.0, 400);
    let is_attempt = |line: &str| line.get(8..9) == Some("Z");
    let lines = logged(&mut server, 5, is_attempt);
    let lines: Vec<&str> = lines.iter().filter(|line| is_attempt(line)).map(|line| &line[9..]).collect();
    let accepted = format!(" rewritten    \"My App\" -> 127.0.0.1, client {}", client["client_id"].as_str().unwrap());
    assert_eq!(lines[0], accepted);
    assert_eq!(lines[1], " rejected     \"Claude\" -> javascript:, redirect-uris: uses a scheme that is never allowed");
    let shown = " rejected     \"⟨U+001B⟩[2JEvil⟨U+000A⟩12:00:00Z accepted ⟨U+202E⟩";
    assert!(lines[2].starts_with(shown) && lines[2].contains("x…\" -> a.example b.example c.example and 2 more, "));
    assert!(lines[3].starts_with(" rejected     (invalid name) -> (no redirect URI), "), "{}", lines[3]);
    assert!(lines[4].starts_with(" rejected    , strict-json: "), "{}", lines[4]);
    assert!(lines.iter().all(|line| line.len() < 300), "{lines:#?}");
}

/// A sign-in without a registration is one line, too, and the start says that there are such.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_by_a_document_is_a_readable_line() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let folder = Folder::new("document-lines");
    let host = DocumentHost::start("app.example.com").await;
    folder
        .write("ca.pem", &host.ca_pem)
        .write("off.toml", "documents.admission = 'off'\n")
        .write("listed.toml", "documents = { admission = 'listed', allow = ['https://app.example.com/*'] }\n");
    let path = |name: &str| folder.0.join(name).display().to_string();
    let redirect_uri = "https://app.example.com/cb";
    let url = host.publish(
        "/client.json",
        &json!({
            "client_name": "My App", "redirect_uris": ["http://127.0.0.1/cb", redirect_uri],
            "token_endpoint_auth_method": "none",
        }),
    );
    let any = "metadata documents: a client may use the https URL of its document as client_id (any)";
    let listed =
        "metadata documents: a client may use the https URL of its document as client_id (the 1 in documents.allow)";
    let off = "metadata documents: off, so that each client registers";
    for (policy, says, accepts) in
        [(None, any, true), (Some("listed.toml"), listed, true), (Some("off.toml"), off, false)]
    {
        let mut command = command();
        command.args(["--cimd-map", &host.map(), "--cimd-ca", &path("ca.pem")]).env("NO_COLOR", "1");
        command.args(policy.iter().flat_map(|policy| ["--policy".to_owned(), path(policy)]));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let base = output.find_map(|line| line.strip_prefix("listening on ").map(str::to_owned)).unwrap();
        let mut server = Running { child, base, client: reqwest::Client::new() };
        let said = output.find(|line| line.starts_with("metadata documents")).unwrap();
        assert_eq!(said, says);
        if accepts {
            let mapped = format!("documents of app.example.com are fetched from {}", host.address);
            assert_eq!(output.next(), Some(mapped));
        }
        std::thread::spawn(move || output.for_each(drop));
        let request = format!(
            "/authorize?response_type=code&client_id={url}&redirect_uri={redirect_uri}&code_challenge={CHALLENGE}&\
             code_challenge_method=S256"
        );
        assert_eq!(server.get(&request).await.status().as_u16(), if accepts { 200 } else { 400 }, "{policy:?}");
        if accepts {
            let is_attempt = |line: &str| line.get(8..9) == Some("Z");
            let lines = logged(&mut server, 1, is_attempt);
            let line = lines.iter().find(|line| is_attempt(line)).unwrap();
            let accepted = " accepted     \"My App\" -> app.example.com, signs in by its document ";
            assert_eq!(&line[9..], format!("{accepted}{url}"));
        }
    }
}

#[test]
fn it_names_its_setup_and_rejects_keys_that_chain_nothing() {
    let log = "the log, shortened; use --audit FILE for whole events";
    let server = Server {
        command,
        base: Vec::new(),
        ledger: "in memory",
        log,
        unwritten: |preset| preset.map_audit(tower_dcr::layers::AuditLayer::with_document),
    };
    server.names_its_setup();
    server.rejects_keys_that_chain_nothing();
}

/// The policy is edited while the server runs; an invalid file changes nothing.
#[tokio::test]
async fn it_takes_over_a_policy_that_is_edited() {
    let folder = std::env::temp_dir().join(format!("tower-dcr-edited-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let policy = folder.join("policy.toml");
    std::fs::write(&policy, "extends = 'mcp'\n").unwrap();
    let server = start(&["--policy", policy.to_str().unwrap()]);
    let hosted = json!({ "redirect_uris": ["https://app.example.com/cb"] });
    assert_eq!(server.register(&hosted).await.0, 201);
    std::fs::write(&policy, "redirect_uris.classes = ['loopback']\n").unwrap();
    let other = json!({ "redirect_uris": ["https://other.example.com/cb"] });
    eventually("the policy is taken over", async || server.register(&other).await.0 != 201).await;
    std::fs::write(&policy, "redirect_uris.classes = ['lopback', 'https']\n").unwrap();
    // Two checks, a second apart.
    tokio::time::sleep(std::time::Duration::from_millis(3500)).await;
    assert_eq!(server.register(&hosted).await.0, 400);
    assert_eq!(server.register(&honest()).await.0, 201);
    std::fs::remove_dir_all(folder).unwrap();
}
