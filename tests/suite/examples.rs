//! The examples, started as a user would start them.

use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::running::{ANY_PORT, Running, binary};

fn honest() -> Value {
    json!({ "client_name": "My App", "redirect_uris": ["http://127.0.0.1/cb"], "scope": "", "foo": null,
            "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "client_secret_post" })
}

fn dangerous() -> Value {
    json!({ "client_name": "Claude", "redirect_uris": ["javascript:alert(document.cookie)"] })
}

/// Discovery, registration, authorization code with PKCE, token, a call, a refresh.
#[tokio::test]
async fn a_client_signs_in_through_the_axum_example() {
    let server = Running::start("axum", &["--addr", ANY_PORT, "--auto-approve"]);
    for method in [reqwest::Method::HEAD, reqwest::Method::GET, reqwest::Method::POST] {
        let response = server.client.request(method.clone(), format!("{}/mcp", server.base)).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 401, "{method}");
        assert!(response.headers()["www-authenticate"].to_str().unwrap().contains("resource_metadata"));
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
    // RFC 8252 section 7.3: the port is whatever the system gave the client.
    let redirect_uri = "http://127.0.0.1:51004/cb";
    let response = authorize(redirect_uri, &challenge).await.unwrap();
    assert_eq!(response.status().as_u16(), 302);
    let location = url::Url::parse(response.headers()["location"].to_str().unwrap()).unwrap();
    let parameter =
        |name: &str| location.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    assert!(location.as_str().starts_with(redirect_uri));
    assert_eq!((parameter("state"), parameter("iss")), (Some("s".into()), Some(server.base.clone())));
    for elsewhere in ["http://127.0.0.1:51004/other", "http://localhost/cb", "https://evil.example.net/cb"] {
        let refused = authorize(elsewhere, &challenge).await.unwrap();
        assert!(refused.status().as_u16() == 400 && refused.headers().get("location").is_none(), "{elsewhere}");
    }
    let without_pkce = authorize(redirect_uri, "").await.unwrap();
    assert!(without_pkce.headers()["location"].to_str().unwrap().contains("error=invalid_request"));

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

#[tokio::test]
async fn the_axum_example_asks_for_consent_and_shows_what_is_known() {
    let server = Running::start("axum", &["--addr", ANY_PORT]);
    let name = "<script>alert(1)</script>";
    let body = json!({ "client_name": name, "redirect_uris": ["https://app.example.com/cb"] });
    let (_, client) = server.register(&body).await;
    let path = format!(
        "/authorize?response_type=code&client_id={}&code_challenge=c&code_challenge_method=S256",
        client["client_id"].as_str().unwrap()
    );
    let page = server.get(&path).await.text().await.unwrap();
    assert!(page.contains("app.example.com") && page.contains("&lt;script&gt;") && !page.contains(name), "{page}");
    let id = page.split("name=\"id\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let decide = server.client.post(format!("{}/authorize", server.base)).form(&[("id", id)]);
    let refused = decide.try_clone().unwrap().send().await.unwrap();
    assert!(refused.headers()["location"].to_str().unwrap().contains("error=access_denied"));
    assert_eq!(decide.send().await.unwrap().status().as_u16(), 400, "answered once");
}

#[tokio::test]
async fn the_flags_of_the_axum_example_do_what_they_say() {
    let (status, body) = Running::start("axum", &["--addr", ANY_PORT]).register(&dangerous()).await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_redirect_uri")));
    let (status, _) = Running::start("axum", &["--addr", ANY_PORT, "--unprotected"]).register(&dangerous()).await;
    assert_eq!(status, 201);
    let (status, _) = Running::start("axum", &["--addr", ANY_PORT, "--preset", "strict"]).register(&honest()).await;
    assert_eq!(status, 400);
    let audit = std::env::temp_dir().join(format!("tower-dcr-example-{}.jsonl", std::process::id()));
    let file = audit.to_str().unwrap();
    let arguments = [
        "--addr",
        ANY_PORT,
        "--quota",
        "2",
        "--private-scheme",
        "myapp",
        "--trusted-proxy",
        "127.0.0.0/8",
        "--audit",
        file,
    ];
    let server = Running::start("axum", &arguments);
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
        // What is registered already costs nothing.
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
    assert_eq!(events.matches("\"repeated\"").count(), 2);
    let token = "Vq3s8nR1xW7tB0yKd5Lc";
    let server = Running::start("axum", &["--addr", ANY_PORT, "--initial-access-token", token]);
    assert_eq!(server.register(&honest()).await.0, 401);
    let request = server.client.post(format!("{}/register", server.base)).bearer_auth(token).json(&honest());
    assert_eq!(request.send().await.unwrap().status().as_u16(), 201);
    let failed = Command::new(binary("axum")).args(["--initial-access-token", "short"]).output().unwrap();
    assert!(!failed.status.success() && String::from_utf8_lossy(&failed.stderr).contains("less than 16 bytes"));
    let failed = Command::new(binary("axum")).args(["--private-scheme", "javascript"]).output().unwrap();
    assert!(!failed.status.success() && String::from_utf8_lossy(&failed.stderr).contains("javascript"));
}

/// What a test bench of released clients does: many registrations from one address in a short time.
#[tokio::test]
async fn the_defaults_of_the_axum_example_carry_a_test_bench() {
    let server = Running::start("axum", &["--addr", ANY_PORT]);
    for _ in 0..100 {
        assert_eq!(server.register(&honest()).await.0, 201);
    }
}

/// The ledger outlives the server; what is revoked from the terminal stays out.
#[tokio::test]
async fn the_axum_example_remembers_and_the_review_example_revokes() {
    let dir = std::env::temp_dir().join(format!("tower-dcr-ledger-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let ledger = format!("sqlite:{}", dir.join("clients.db").display());
    let arguments = ["--addr", ANY_PORT, "--auto-approve", "--ledger", &ledger];
    let register = async |server: &Running, port: u16| {
        let uri = format!("http://127.0.0.1:{port}/cb");
        server.register(&json!({ "client_name": "My App", "redirect_uris": [uri] })).await
    };
    let authorize = async |server: &Running, id: &str| {
        let path = format!("/authorize?response_type=code&client_id={id}&code_challenge=c&code_challenge_method=S256");
        server.get(&path).await.status().as_u16()
    };
    let server = Running::start("axum", &arguments);
    let (_, client) = register(&server, 1).await;
    let id = client["client_id"].as_str().unwrap().to_owned();
    assert_eq!(register(&server, 2).await.1["client_id"], client["client_id"], "whatever the port");
    drop(server);

    let server = Running::start("axum", &arguments);
    assert_eq!(register(&server, 3).await.1["client_id"], client["client_id"], "also after a restart");
    assert_eq!(authorize(&server, &id).await, 302);
    let review = |arguments: &[&str]| {
        let output = Command::new(binary("review")).args(["--ledger", &ledger]).args(arguments).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    assert!(review(&["list"]).1.contains(&id));
    assert!(review(&["list", "never-reviewed"]).1.contains("\"My App\""));
    assert_eq!(review(&["approve", &id]), (true, "approved\n".into()));
    assert_eq!(review(&["list", "never-reviewed"]).1, "");
    assert!(!review(&["list", "nonsense"]).0 && !review(&["revoke", "nonsense", "x", "--reason", "y"]).0);
    assert_eq!(review(&["revoke", "--reason", "imitates us", "name", "MY APP (2)"]), (true, "revoked 1\n".into()));
    assert!(review(&["blocks"]).1.contains("name:my app"));
    assert_eq!(register(&server, 4).await.0, 400);
    // Another process: the gate sees it within the age of its cache, 5 seconds.
    let since = tokio::time::Instant::now();
    while authorize(&server, &id).await != 400 {
        assert!(since.elapsed().as_secs() < 20);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(server.get("/admin/clients").await.status().as_u16(), 401);
    drop(server);
    std::fs::remove_dir_all(&dir).unwrap();
    let failed = Command::new(binary("axum")).args(["--ledger", "mysql:x"]).output().unwrap();
    assert!(!failed.status.success() && String::from_utf8_lossy(&failed.stderr).contains("mysql:x"));
}

#[tokio::test]
async fn the_hyper_example_is_guarded() {
    let server = Running::start("hyper", &[ANY_PORT]);
    assert_eq!(server.register(&dangerous()).await.0, 400);
    let (status, body) = server.register(&honest()).await;
    assert_eq!((status, &body["token_endpoint_auth_method"]), (201, &json!("none")));
    assert_eq!(server.get("/other").await.status().as_u16(), 404);
}

#[tokio::test]
async fn the_custom_rule_example_applies_its_rule() {
    let server = Running::start("custom_rule", &[ANY_PORT]);
    let (status, body) = server.register(&honest()).await;
    assert_eq!((status, &body["error_description"]), (400, &json!("contacts must name somebody (contact-required)")));
    let body = json!({ "redirect_uris": ["https://app.example.com/cb"], "contacts": ["ops@example.com"] });
    assert_eq!(server.register(&body).await.0, 201);
}

#[tokio::test]
async fn the_proxy_example_guards_a_server_that_knows_nothing_of_it() {
    let upstream = Running::start("axum", &["--addr", ANY_PORT, "--unprotected"]);
    assert_eq!(upstream.register(&dangerous()).await.0, 201);
    let proxy = Running::start("proxy", &["--upstream", &upstream.base, "--listen", ANY_PORT]);
    assert_eq!(proxy.register(&dangerous()).await.0, 400);
    let (status, body) = proxy.register(&honest()).await;
    assert_eq!((status, &body["token_endpoint_auth_method"]), (201, &json!("none")));
    let metadata: Value = proxy.get("/.well-known/oauth-authorization-server").await.json().await.unwrap();
    assert_eq!(metadata["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(proxy.get("/mcp").await.status().as_u16(), 401);
}

/// The policy is edited while the server runs, and a mistake in it changes nothing.
#[tokio::test]
async fn the_axum_example_takes_over_a_policy_that_is_edited() {
    let folder = std::env::temp_dir().join(format!("tower-dcr-edited-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let policy = folder.join("policy.toml");
    std::fs::write(&policy, "extends = 'mcp'\n").unwrap();
    let server = Running::start("axum", &["--addr", ANY_PORT, "--policy", policy.to_str().unwrap()]);
    let hosted = json!({ "redirect_uris": ["https://app.example.com/cb"] });
    assert_eq!(server.register(&hosted).await.0, 201);
    std::fs::write(&policy, "redirect_uris.classes = ['loopback']\n").unwrap();
    while server.register(&json!({ "redirect_uris": ["https://other.example.com/cb"] })).await.0 == 201 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    std::fs::write(&policy, "redirect_uris.classes = ['lopback', 'https']\n").unwrap();
    // Two looks, a second apart.
    tokio::time::sleep(std::time::Duration::from_millis(3500)).await;
    assert_eq!(server.register(&hosted).await.0, 400);
    assert_eq!(server.register(&honest()).await.0, 201);
    std::fs::remove_dir_all(folder).unwrap();
}
