//! The proxy example as a product: what it guards, and what it must leave alone.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, Uri};
use axum::routing::{any, get, post};
use futures_core::Stream;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tower_dcr::ledger::{Fingerprint, SqliteLedger};
use tower_dcr::registrar::Registrar;
use tower_dcr::review::Review;

use crate::folder::Folder;
use crate::running::{ANY_PORT, Running, binary};

mod paths;

/// A server that registers what it is sent, knows only its own address, and says what it has received.
fn server(own: &str) -> axum::Router {
    let metadata = {
        let own = own.to_owned();
        async move || {
            Json(json!({
                "issuer": "https://as.example.com",
                "authorization_endpoint": format!("{own}/oauth/authorize"),
                "token_endpoint": format!("{own}/oauth/token"),
                "registration_endpoint": format!("{own}/oauth/clients?tenant=1"),
                "userinfo_endpoint": "https://users.example.com/me",
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", "client_credentials"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "none"],
            }))
        }
    };
    let other = async || {
        Json(json!({ "issuer": "https://other.example.com", "registration_endpoint": "https://other.example.com/reg" }))
    };
    let register = async |Json(mut client): Json<Map<String, Value>>| {
        client.insert("client_id".into(), "client-1".into());
        (http::StatusCode::CREATED, Json(client))
    };
    let received = async |uri: Uri, headers: HeaderMap| {
        let headers: Map<String, Value> =
            headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().into())).collect();
        Json(json!({ "uri": uri.to_string(), "headers": headers }))
    };
    let upload = async |request: Request| {
        let bytes = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
        bytes.len().to_string()
    };
    axum::Router::new()
        .route("/.well-known/openid-configuration", get(metadata))
        .route("/other/.well-known/openid-configuration", get(other))
        .route("/oauth/clients", post(register))
        .route("/oauth/clients/{client_id}", any(received))
        .route("/oauth/token", post(async || Json(json!({ "access_token": "t" }))))
        .route("/oauth/authorize", get(async || "a consent page"))
        .route("/events", get(async || axum::response::Sse::new(Ticks::default())))
        .route("/slow", get(async || tokio::time::sleep(Duration::from_millis(900)).await))
        .route("/upload", post(upload))
        .fallback(received)
}

/// An event now, and one in a second.
#[derive(Default)]
struct Ticks {
    said: u8,
    pause: Option<std::pin::Pin<Box<tokio::time::Sleep>>>,
}

impl Stream for Ticks {
    type Item = Result<axum::response::sse::Event, std::convert::Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(cx));
        }
        self.said += 1;
        self.pause = Some(Box::pin(tokio::time::sleep(Duration::from_secs(1))));
        let event = axum::response::sse::Event::default().data(self.said.to_string());
        std::task::Poll::Ready((self.said <= 2).then_some(Ok(event)))
    }
}

async fn upstream() -> String {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    let app = server(&own);
    tokio::spawn(async move { axum::serve(listener, app).await });
    own
}

/// On another thread: the server that it asks before it listens is in this process.
async fn start(upstream: &str, arguments: &[&str]) -> Running {
    let arguments = [&["--upstream", upstream, "--listen", ANY_PORT], arguments].concat();
    let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    let starting = move || Running::start("proxy", &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(starting).await.unwrap()
}

async fn post_json(proxy: &Running, path: &str, body: &Value) -> (u16, Value) {
    let answer = proxy.client.post(format!("{}{path}", proxy.base)).json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

/// A request that no library has put in order: request line and headers, each with `\r\n`, and a body.
async fn raw(proxy: &Running, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(proxy.base.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("the connection is closed").unwrap();
    answer
}

const HEAD: &str = "host: as.example.com\r\nconnection: close\r\ncontent-type: application/json\r\n";

async fn post_raw(proxy: &Running, target: &str, body: &str) -> String {
    raw(proxy, &format!("POST {target} HTTP/1.1\r\n{HEAD}"), body).await
}

/// What the server received of a request to somewhere that is not guarded.
async fn received(proxy: &Running, target: &str, headers: &str) -> Value {
    let answer = raw(proxy, &format!("GET {target} HTTP/1.1\r\nconnection: close\r\n{headers}"), "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{headers}: {answer}");
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
}

fn is_rejected(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 400") && answer.contains("\"invalid_request\"")
}

fn is_judged(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 400") && answer.contains("invalid_redirect_uri")
}

#[tokio::test]
async fn it_finds_the_endpoints_and_guards_every_spelling_of_them() {
    let own = upstream().await;
    let proxy = start(&own, &["--script", "front"]).await;
    let odd = start(&own, &["--script", "front", "--allow-odd-paths"]).await;
    let evil = json!({ "redirect_uris": ["javascript:alert(1)"] }).to_string();
    for path in [
        "/oauth/clients",
        "/oauth/clients?tenant=1",
        "/oauth/clients/",
        "/oauth/clients/client-1",
        "/OAuth/Clients",
        // Frameworks that choose a format by the ending.
        "/oauth/clients.json",
        "/oauth/clients.json.xml",
        // Windows, and the file systems that are like it.
        "/oauth/clients.",
        "/oauth/clients..",
        "/oauth/clients%20",
        "/oauth/clients::$DATA",
        // Who parses a decoded path again.
        "/oauth/clients%3F",
        "/oauth/clients%23x",
        // Comparisons by Unicode, without case, width or accents.
        "/oauth/client%C5%BF",
        "/oauth/cl%C4%B1ents",
        "/oauth/cl%C4%B0ents",
        "/oauth/%EF%BD%83lients",
        "/oauth/cli%C3%A9nts",
        "/oauth%EF%BC%8Fclients",
        // Front controllers.
        "/index.php/oauth/clients",
        "/app.php/oauth/clients",
        "/oauth/index.cgi/clients",
        "/oauth/index.cgi/clients/client-1",
        "/public/index.php/oauth/clients",
        "/INDEX.PHP/oauth/clients",
        "/index.php5/oauth/clients",
        "/default.aspx/oauth/clients",
        "/bin/app.fcgi/oauth/clients",
        "/a.php/b.php/oauth/clients",
        "/front/oauth/clients",
        "/(S(lit3py55t21z5v55vlm25s55))/oauth/clients",
        "/oauth/(S(x))/clients",
    ] {
        let answer = post_raw(&proxy, path, &evil).await;
        assert!(is_judged(&answer), "{path}: {answer}");
        let answer = post_raw(&odd, path, &evil).await;
        assert!(is_judged(&answer), "--allow-odd-paths {path}: {answer}");
    }
    for path in [
        "//oauth//clients",
        "/oauth/./clients",
        "/oauth/x/../clients",
        "/oauth/%63lients",
        "/oauth/%2563lients",
        "/oauth/%252563lients",
        "/oauth%2fclients",
        "/oauth%2Fclients",
        "/oauth/x/%2e%2e/clients",
        "/oauth/clients;v=1",
        "/oauth;x/clients",
        "/oauth/clients%3Bv=1",
        "/oauth%5Cclients",
        "/oauth\\clients",
        "/oauth/clients%00",
        "/oauth/clients%00.png",
        "/oauth/clients//",
        "/oauth//../clients",
        "/oauth/.;/../clients",
        "/oauth/clients/..",
        "/oauth/clients/%2e%2e",
        "/oauth/%u0063lients",
        "/oauth/%U0063lients",
        "/oauth/%25u0063lients",
        "/index.php//oauth/clients",
        // What looks like another endpoint to whom does not unescape.
        "/.well-known/openid-configuration/%2e%2e/%2e%2e/oauth/clients",
        "/oauth/token/%2e%2e/clients",
        "/oauth/clients/%2e%2e/token",
        "/oauth%3F/../oauth/clients",
    ] {
        assert!(is_rejected(&post_raw(&proxy, path, &evil).await), "{path}");
        let answer = post_raw(&odd, path, &evil).await;
        assert!(is_judged(&answer), "--allow-odd-paths {path}: {answer}");
    }
}

#[tokio::test]
async fn canonical_paths_pass_and_others_are_rejected() {
    let own = upstream().await;
    let (proxy, odd) = (start(&own, &[]).await, start(&own, &["--allow-odd-paths"]).await);
    let evil = json!({ "redirect_uris": ["javascript:alert(1)"] }).to_string();
    // Nobody knows what a server makes of those, with or without the flag.
    for path in ["/oauth%C0%AFclients", "/oauth/clients%FF", "/oauth/%252525252563lients"] {
        for proxy in [&proxy, &odd] {
            assert!(is_rejected(&post_raw(proxy, path, &evil).await), "{path}");
        }
    }
    // Other pages, also those of other applications whose paths end alike.
    for path in [
        "/",
        "/oauth",
        "/oauth/",
        "/oauth/clientship",
        "/oauth/token/clients",
        "/xoauth/clients",
        "/api/oauth/clients",
        "/blog/index.php/api/oauth/clients",
        "/clients",
        "/index.php/clients",
        "/a%20b/c%C3%A9/%E4%B8%AD",
        "/a%c3%a9",
        "/100%25",
        "/50%25off",
        "/a:b@c,d!$&'()*+=e",
        "/%7Bx%7D%5B0%5D%22%3C%3E%7C%5E%60",
        "/a%2Cb%3Ac%40d",
        "/x...y/.hidden",
        "/a.php/b",
    ] {
        for proxy in [&proxy, &odd] {
            assert!(post_raw(proxy, path, &evil).await.starts_with("HTTP/1.1 200"), "{path}");
        }
    }
    for path in ["/a//b", "/a/../b", "/a;b=c/d", "/a%2Fb", "/%41"] {
        assert!(is_rejected(&post_raw(&proxy, path, "").await), "{path}");
        assert!(post_raw(&odd, path, "").await.starts_with("HTTP/1.1 200"), "--allow-odd-paths {path}");
    }
    for path in ["*", "/caf\u{e9}", "/a%", "/a%4", "/a%zz", "/a%C2%85b"] {
        assert!(post_raw(&proxy, path, "").await.starts_with("HTTP/1.1 400"), "{path}");
    }
    let trace = raw(&proxy, &format!("TRACE /x HTTP/1.1\r\n{HEAD}"), "").await;
    assert!(trace.starts_with("HTTP/1.1 405"), "{trace}");
}

#[tokio::test]
async fn registrations_are_judged_and_others_pass() {
    let proxy = start(&upstream().await, &[]).await;
    let honest = json!({ "redirect_uris": ["http://127.0.0.1:1/cb"], "skip_consent": true });
    let (status, client) = post_json(&proxy, "/oauth/clients?tenant=1", &honest).await;
    assert_eq!((status, client.get("skip_consent")), (201, None));
    // RFC 7592: the update of a client.
    let evil = json!({ "redirect_uris": ["javascript:alert(1)"] });
    let update = proxy.client.put(format!("{}/oauth/clients/client-1", proxy.base)).json(&evil).send().await.unwrap();
    assert_eq!(update.status().as_u16(), 400);
    // A form on the way is none of its business.
    let elsewhere = proxy.client.post(format!("{}/login", proxy.base)).form(&[("user", "x")]).send().await.unwrap();
    assert_eq!(elsewhere.status().as_u16(), 200);
}

/// A program that is named in the metadata, with and without what makes it one.
#[tokio::test]
async fn programs_are_guarded_by_all_their_names() {
    let own = upstream().await;
    let proxy = start(&own, &["--register-path", "/index.php/apps/register.php"]).await;
    let evil = json!({ "redirect_uris": ["javascript:alert(1)"] }).to_string();
    for path in [
        "/index.php/apps/register.php",
        "/apps/register.php",
        "/apps/register",
        "/apps/register.php/x",
        "/index.php/apps/register",
        "/other.php/apps/register",
    ] {
        let answer = post_raw(&proxy, path, &evil).await;
        assert!(is_judged(&answer), "{path}: {answer}");
    }
    assert!(post_raw(&proxy, "/apps/registered", &evil).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn pages_of_other_origins_can_read_refusals() {
    let proxy = start(&upstream().await, &[]).await;
    let answer = proxy.client.post(format!("{}/oauth/clients", proxy.base)).json(&json!({})).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["access-control-allow-origin"]),
        (400, &"*".parse().unwrap())
    );
    let own = proxy.client.post(format!("{}/oauth/clients", proxy.base));
    let own = own.json(&json!({ "redirect_uris": ["http://127.0.0.1:1/cb"] })).send().await.unwrap();
    assert_eq!(
        (own.status().as_u16(), own.headers().get("access-control-allow-origin")),
        (201, None),
        "the server's word"
    );
}

#[tokio::test]
async fn the_discovery_document_names_this_proxy_and_what_the_policy_allows() {
    let own = upstream().await;
    let read =
        async |proxy: &Running| -> Value { proxy.get("/.well-known/openid-configuration").await.json().await.unwrap() };
    let proxy = start(&own, &[]).await;
    let document = read(&proxy).await;
    assert_eq!(document["registration_endpoint"], format!("{}/oauth/clients?tenant=1", proxy.base));
    assert_eq!(document["token_endpoint"], format!("{}/oauth/token", proxy.base), "the server's own is closed");
    assert_eq!(document["grant_types_supported"], json!(["authorization_code"]));
    assert_eq!(document["token_endpoint_auth_methods_supported"], json!(["none"]));
    assert_eq!(
        (&document["issuer"], &document["userinfo_endpoint"]),
        (&json!("https://as.example.com"), &json!("https://users.example.com/me"))
    );

    let proxy = start(&own, &["--keep-metadata"]).await;
    let document = read(&proxy).await;
    assert_eq!(document["registration_endpoint"], format!("{}/oauth/clients?tenant=1", proxy.base));
    assert_eq!(document["grant_types_supported"], json!(["authorization_code", "client_credentials"]));

    // The document of another tenant: what is not guarded is not announced.
    let other: Value = proxy.get("/other/.well-known/openid-configuration").await.json().await.unwrap();
    assert_eq!((&other["issuer"], other.get("registration_endpoint")), (&json!("https://other.example.com"), None));

    let folder = Folder::new("proxy-discovery");
    let ledger = format!("sqlite:{}", folder.0.join("clients.db").display());
    let proxy = start(&own, &["--public-url", "https://as.example.com", "--ledger", &ledger]).await;
    let document = read(&proxy).await;
    assert_eq!(document["registration_endpoint"], "https://as.example.com/oauth/clients?tenant=1");
    assert_eq!(document["token_endpoint"], "https://as.example.com/oauth/token");
    assert_eq!(document["authorization_endpoint"], "https://as.example.com/oauth/authorize");
}

/// The ledger is shared with whoever reviews it: here, this test.
#[tokio::test]
async fn a_revoked_client_is_turned_away_without_the_servers_help() {
    let folder = Folder::new("proxy-gate");
    let file = folder.0.join("clients.db");
    let ledger = format!("sqlite:{}", file.display());
    let proxy = start(&upstream().await, &["--ledger", &ledger]).await;
    let (_, client) =
        post_json(&proxy, "/oauth/clients", &json!({ "redirect_uris": ["https://app.example.com/cb"] })).await;
    let id = client["client_id"].as_str().unwrap();
    let form = [("grant_type", "authorization_code"), ("client_id", id)];
    let token = async || proxy.client.post(format!("{}/oauth/token", proxy.base)).form(&form).send().await.unwrap();
    assert_eq!(token().await.status().as_u16(), 200);
    let other =
        proxy.get(&format!("/oauth/authorize?client_id={id}&redirect_uri=https%3A%2F%2Fevil.example.net%2F")).await;
    assert_eq!((other.status().as_u16(), other.headers().get("access-control-allow-origin")), (400, None));
    let review = Review::new(Registrar::new(SqliteLedger::open(&file).await.unwrap()));
    review.revoke(Fingerprint::ClientId(id.to_owned()), "operator", "a test").await.unwrap();
    let since = tokio::time::Instant::now();
    let refused = loop {
        let answer = token().await;
        if answer.status().as_u16() != 200 {
            break answer;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "the gate's cache is 5 seconds old at most");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["access-control-allow-origin"]),
        (401, &"*".parse().unwrap())
    );
    assert_eq!(refused.json::<Value>().await.unwrap()["error"], "invalid_client");
}

#[tokio::test]
async fn what_is_forwarded_is_believed_of_trusted_proxies_only() {
    let own = upstream().await;
    let said = "host: as.example.com\r\nx-forwarded-for: 6.6.6.6, 203.0.113.7\r\nx-forwarded-host: evil.example.net\r\n\
                x-forwarded-proto: https\r\nforwarded: for=198.51.100.9;host=evil.example.net;proto=gopher\r\n\
                x-real-ip: 203.0.113.7\r\nx-forwarded-port: 1\r\nx-forwarded: for=x\r\ntrue-client-ip: 6.6.6.6\r\n\
                x-client-ip: 6.6.6.6\r\ncf-connecting-ip: 6.6.6.6\r\nx-cluster-client-ip: 6.6.6.6\r\n\
                fastly-client-ip: 6.6.6.6\r\nx_forwarded_for: 6.6.6.6\r\n";
    let seen = async |arguments: &[&str]| {
        let seen = received(&start(&own, arguments).await, "/any/Path%20x?a=%2F", said).await;
        assert_eq!(seen["uri"], "/any/Path%20x?a=%2F");
        let text = seen["headers"].to_string();
        for lie in ["evil", "6.6.6.6", "gopher", "real-ip", "port"] {
            assert!(!text.contains(lie), "{arguments:?} {lie}: {text}");
        }
        let header = |name: &str| seen["headers"][name].as_str().unwrap_or("-").to_owned();
        ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded"].map(header)
    };
    let here = "as.example.com";
    assert_eq!(seen(&[]).await, [here, "127.0.0.1", here, "-", "for=127.0.0.1;host=\"as.example.com\""]);
    let forwarded = "for=203.0.113.7;host=\"as.example.com\";proto=https, for=127.0.0.1";
    let believed = [here, "203.0.113.7, 127.0.0.1", here, "https", forwarded];
    assert_eq!(seen(&["--trusted-proxy", "127.0.0.0/8"]).await, believed);
    let folder = Folder::new("proxy-trust");
    let policy = |name: &str, text: &str| folder.write(name, text).0.join(name).display().to_string();
    let file = policy("x.toml", "client_address.trusted_proxies = ['127.0.0.1']");
    assert_eq!(seen(&["--policy", &file]).await, believed);
    let file = policy(
        "forwarded.toml",
        "client_address.trusted_proxies = ['127.0.0.1']\nclient_address.forwarded_header = 'forwarded'",
    );
    assert_eq!(
        seen(&["--policy", &file]).await,
        [here, "198.51.100.9, 127.0.0.1", here, "-", "for=198.51.100.9;host=\"as.example.com\", for=127.0.0.1"]
    );
    let server = own.strip_prefix("http://").unwrap();
    assert_eq!(
        seen(&["--upstream-host", "--public-url", "https://public.example.com:8443"]).await,
        [
            server,
            "127.0.0.1",
            "public.example.com:8443",
            "https",
            "for=127.0.0.1;host=\"public.example.com:8443\";proto=https"
        ]
    );
    let public = seen(&["--public-url", "https://public.example.com"]).await;
    assert_eq!(&public[0], "public.example.com", "the one name that clients have for it");
}

/// Some of them are read by one framework or another as another path, method or host than those that were judged.
#[tokio::test]
async fn headers_that_override_the_request_never_pass() {
    let own = upstream().await;
    let overrides = [
        "X-HTTP-Method-Override: PUT",
        "X-HTTP-Method: PUT",
        "X-Method-Override: PUT",
        "X_HTTP_METHOD_OVERRIDE: PUT",
        "X-HTTP_Method-Override: PUT",
        "X.HTTP.Method.Override: PUT",
        "X-Original-URL: /oauth/clients",
        "X-Rewrite-URL: /oauth/clients",
        "X-Original-URI: /oauth/clients",
        "X-Original-Host: evil.example.net",
        "X-Forwarded-URI: /oauth/clients",
        "X-Forwarded-Path: /oauth/clients",
        "X-Forwarded-Prefix: /evil",
        "X-HTTP-Path-Override: /oauth/clients",
        "X-Host: evil.example.net",
        "X-Accel-Mapping: /=/",
        "X-Sendfile-Type: X-Accel-Redirect",
        "Script-Name: /evil",
        "Proxy: http://evil.example.net",
        "Content_Length: 1",
        "Any_Thing: 1",
    ];
    let head = overrides.join("\r\n") + "\r\n";
    for arguments in [&[][..], &["--trusted-proxy", "127.0.0.1"]] {
        let proxy = start(&own, arguments).await;
        for path in ["/anything", "/oauth/clients/client-1"] {
            let seen =
                received(&proxy, path, &format!("host: as.example.com\r\nx-app: 1\r\ncookie: a_b=c\r\n{head}")).await;
            let headers = seen["headers"].as_object().unwrap();
            for name in headers.keys() {
                let passes = ["host", "x-app", "cookie", "via", "forwarded", "x-forwarded-for", "x-forwarded-host"];
                let is_length = name == "content-length" && headers[name] == "0";
                assert!(passes.contains(&&**name) || is_length, "{arguments:?} {path}: {name}");
            }
            assert_eq!((&headers["x-app"], &headers["cookie"]), (&json!("1"), &json!("a_b=c")));
        }
    }
    let proxy = start(&own, &[]).await;
    for query in [
        "_method=PUT",
        "a=b&_METHOD=PUT",
        "%5Fmethod=PUT",
        "%u005fmethod=PUT",
        "a;_method=PUT",
        ".method=PUT",
        "_method[]=PUT",
        "x-http-method-override=PUT",
    ] {
        assert!(is_rejected(&post_raw(&proxy, &format!("/oauth/clients?{query}"), "{}").await), "{query}");
    }
    assert!(post_raw(&proxy, "/form?_method=PUT", "{}").await.starts_with("HTTP/1.1 200"), "not of a guarded path");
    let testimony = "host: as.example.com\r\nclient-cert: :x:\r\nx-ssl-client-verify: SUCCESS\r\nremote-user: root\r\n";
    let seen = received(&proxy, "/x", testimony).await["headers"].to_string();
    assert!(!seen.contains("client") && !seen.contains("remote-user"), "{seen}");
}

/// RFC 9110 section 7.6.1, before anything is judged: what a client takes out afterwards is missing where it was judged.
#[tokio::test]
async fn connection_takes_nothing_out_of_a_judged_request() {
    let proxy = start(&upstream().await, &[]).await;
    let body = json!({ "redirect_uris": ["http://127.0.0.1:1/cb"], "software_version": "x&client_name=Claude&z=" });
    let post = async |path: &str, connection: &str| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: as.example.com\r\ncontent-type: application/json\r\n\
             authorization: Bearer t\r\nx-trace: 1\r\n{connection}\r\n"
        );
        raw(&proxy, &head, &body.to_string()).await
    };
    for connection in [
        "connection: close, content-type",
        "connection: close\r\nconnection: Content-Type",
        "connection: close,\tCONTENT-LENGTH",
        "connection: close, host",
        "connection: close, authorization",
        "connection: close, cookie",
        "connection: close, x-forwarded-for",
        "connection: close, content type",
        "connection: close, \"content-type\"",
        "connection: close, content-type;q=1",
    ] {
        for path in ["/oauth/clients", "/oauth/token", "/anything"] {
            let answer = post(path, connection).await;
            assert!(is_rejected(&answer), "{path} {connection}: {answer}");
        }
    }
    for connection in
        ["connection: close", "connection: close, X-Trace", "connection: close, te\r\nte: gzip", "connection: ,close,"]
    {
        assert!(post("/oauth/clients", connection).await.starts_with("HTTP/1.1 201"), "{connection}");
        let seen = post("/anything", connection).await;
        let gone = if connection.contains("Trace") { "x-trace" } else { "\"te\"" };
        assert!(seen.starts_with("HTTP/1.1 200") && !seen.contains(gone), "{connection}: {seen}");
        assert!(seen.contains("Bearer t") && seen.contains("application/json"), "{seen}");
    }
    // Another protocol than web sockets, and a web socket where registrations are judged.
    let upgrade = "host: as.example.com\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n";
    let head = format!("GET /x HTTP/1.1\r\nconnection: close, upgrade, http2-settings\r\n{upgrade}");
    let seen = raw(&proxy, &head, "").await;
    assert!(seen.starts_with("HTTP/1.1 200") && !seen.contains("h2c") && !seen.contains("http2-settings"), "{seen}");
}

#[tokio::test]
async fn a_host_is_a_host() {
    let proxy = start(&upstream().await, &[]).await;
    for (target, host) in [
        ("/x", "as.example.com"),
        ("/x", "as.example.com:8443"),
        ("/x", "127.0.0.1:80"),
        ("/x", "[2001:db8::1]:443"),
        ("/x", "my_service"),
        ("http://as.example.com/x", "AS.example.com"),
        ("http://as.example.com/x", "as.example.com:80"),
    ] {
        let seen = received(&proxy, target, &format!("host: {host}\r\n")).await;
        assert_eq!((&seen["uri"], &seen["headers"]["x-forwarded-host"]), (&json!("/x"), &json!(host)), "{target}");
        assert_eq!(seen["headers"]["forwarded"], format!("for=127.0.0.1;host=\"{host}\""));
    }
    for (target, fields) in [
        ("/x", ""),
        ("/x", "host:\r\n"),
        ("/x", "host: a\", for=6.6.6.6;x=\"\r\n"),
        ("/x", "host: a, b\r\n"),
        ("/x", "host: a b\r\n"),
        ("/x", "host: user@as.example.com\r\n"),
        ("/x", "host: http://as.example.com\r\n"),
        ("/x", "host: as.example.com/x\r\n"),
        ("/x", "host: as.example.com?x\r\n"),
        ("/x", "host: as.example.com:\r\n"),
        ("/x", "host: as.example.com:+80\r\n"),
        ("/x", "host: as.example.com:65536\r\n"),
        ("/x", "host: as.example.com:80:80\r\n"),
        ("/x", "host: a%00b\r\n"),
        ("/x", "host: a;b\r\n"),
        ("/x", "host: \u{e9}.example.com\r\n"),
        ("/x", "host: [::1\r\n"),
        ("/x", "host: [::1%25eth0]\r\n"),
        ("/x", "host: [as.example.com]\r\n"),
        ("/x", "host: as.example.com\r\nhost: as.example.com\r\n"),
        ("/x", "host: as.example.com\r\nhost: evil.example.net\r\n"),
        ("http://as.example.com/x", "host: evil.example.net\r\n"),
        ("http://as.example.com/x", ""),
        ("http://user@as.example.com/x", "host: as.example.com\r\n"),
    ] {
        let answer = raw(&proxy, &format!("GET {target} HTTP/1.1\r\nconnection: close\r\n{fields}"), "").await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{target} {fields}: {answer}");
    }
    // HTTP/1.0 knows no hosts.
    let old = raw(&proxy, "GET /x HTTP/1.0\r\n", "").await;
    assert!(old.starts_with("HTTP/1.0 200") && !old.contains("x-forwarded-host"), "{old}");
}

/// A server with all the endpoints that a client can use, which compresses whatever may be compressed.
fn complete(own: &str, seen: &Arc<Mutex<Vec<String>>>) -> axum::Router {
    let own = own.to_owned();
    let metadata = async move || {
        let mut document = json!({ "issuer": "https://as.example.com", "signed_metadata": "e30.e30.", "jwks_uri": "https://keys.example.com/" });
        for name in [
            "authorization",
            "token",
            "registration",
            "pushed_authorization_request",
            "device_authorization",
            "introspection",
            "revocation",
            "backchannel_authentication",
        ] {
            document[format!("{name}_endpoint")] = format!("{own}/{name}").into();
        }
        document["mtls_endpoint_aliases"] = json!({
            "token_endpoint": "https://mtls.example.com/mtls/token",
            "revocation_endpoint": format!("{own}/revocation"),
            "registration_endpoint": "https://mtls.example.com/mtls/registration",
            "userinfo_endpoint": "https://mtls.example.com/userinfo",
        });
        Json(document)
    };
    let seen = Arc::clone(seen);
    let answer = async move |request: Request| {
        let (path, asks) = (request.uri().to_string(), request.headers().contains_key("accept-encoding"));
        seen.lock().unwrap().push(format!("{} {path}", request.method()));
        let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
        let mut document: Map<String, Value> = serde_json::from_slice(&body).unwrap_or_default();
        let status = if document.is_empty() { 200 } else { 201 };
        document.insert("client_id".into(), "client-1".into());
        document.insert("access_token".into(), "t".into());
        let mut response = http::Response::builder().status(status).header("content-type", "application/json");
        if asks {
            response = response.header("content-encoding", "gzip");
        }
        let body = if asks { "compressed".to_owned() } else { Value::from(document).to_string() };
        response.body(axum::body::Body::from(body)).unwrap()
    };
    axum::Router::new().route("/.well-known/oauth-authorization-server", get(metadata)).fallback(answer)
}

async fn complete_upstream() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::default();
    let app = complete(&own, &seen);
    tokio::spawn(async move { axum::serve(listener, app).await });
    (own, seen)
}

#[tokio::test]
async fn every_endpoint_of_the_discovery_document_is_gated_and_leads_here() {
    let (own, seen) = complete_upstream().await;
    let folder = Folder::new("proxy-endpoints");
    let file = folder.0.join("clients.db");
    let ledger = format!("sqlite:{}", file.display());
    let proxy = start(&own, &["--ledger", &ledger, "--par-path", "/par2"]).await;
    let document: Value = proxy.get("/.well-known/oauth-authorization-server").await.json().await.unwrap();
    for name in [
        "authorization",
        "token",
        "registration",
        "pushed_authorization_request",
        "device_authorization",
        "introspection",
        "revocation",
        "backchannel_authentication",
    ] {
        assert_eq!(document[format!("{name}_endpoint")], format!("{}/{name}", proxy.base));
    }
    assert_eq!(document.get("signed_metadata"), None, "it names the server's own endpoints");
    assert_eq!(document["jwks_uri"], "https://keys.example.com/");
    let here = |path: &str| json!(format!("{}{path}", proxy.base));
    assert_eq!(
        document["mtls_endpoint_aliases"],
        json!({
            "token_endpoint": here("/mtls/token"),
            "revocation_endpoint": here("/revocation"),
            "registration_endpoint": here("/mtls/registration"),
            "userinfo_endpoint": "https://mtls.example.com/userinfo",
        })
    );
    let evil = json!({ "redirect_uris": ["javascript:alert(1)"] }).to_string();
    for path in ["/registration", "/mtls/registration"] {
        let answer = post_raw(&proxy, path, &evil).await;
        assert!(is_judged(&answer), "{path}: {answer}");
    }
    let (status, client) =
        post_json(&proxy, "/registration", &json!({ "redirect_uris": ["https://app.example.com/cb"] })).await;
    assert_eq!((status, &client["client_id"]), (201, &json!("client-1")));
    let review = Review::new(Registrar::new(SqliteLedger::open(&file).await.unwrap()));
    review.revoke(Fingerprint::ClientId("client-1".to_owned()), "operator", "a test").await.unwrap();
    // Another process has a view of its own, which is 5 seconds old at most.
    tokio::time::sleep(Duration::from_millis(5500)).await;
    seen.lock().unwrap().clear();
    let form = [("client_id", "client-1"), ("redirect_uri", "https://app.example.com/cb"), ("token", "t")];
    for path in [
        "/token",
        "/mtls/token",
        "/pushed_authorization_request",
        "/par2",
        "/device_authorization",
        "/introspection",
        "/backchannel_authentication",
        "/index.php/token",
        "/TOKEN",
    ] {
        let answer = proxy.client.post(format!("{}{path}", proxy.base)).form(&form).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 401, "{path}");
    }
    assert_eq!(*seen.lock().unwrap(), Vec::<String>::new());
    let revoke = proxy.client.post(format!("{}/revocation", proxy.base)).form(&form).send().await.unwrap();
    assert_eq!(revoke.status().as_u16(), 200, "revoking is always allowed");
    let two = [("client_id", "a"), ("client_id", "b")];
    let revoke = proxy.client.post(format!("{}/revocation", proxy.base)).form(&two).send().await.unwrap();
    assert_eq!(revoke.status().as_u16(), 400);
}

/// Every browser, and every library of clients, asks for compressed answers.
#[tokio::test]
async fn answers_that_are_judged_are_not_compressed() {
    let (own, _) = complete_upstream().await;
    let folder = Folder::new("proxy-gzip");
    let ledger = format!("sqlite:{}", folder.0.join("clients.db").display());
    let proxy = start(&own, &["--ledger", &ledger]).await;
    let honest = json!({ "redirect_uris": ["http://127.0.0.1:1/cb"] });
    let ask = |path: &str| proxy.client.post(format!("{}{path}", proxy.base)).header("accept-encoding", "gzip, br");
    let registered = ask("/registration").json(&honest).send().await.unwrap();
    assert_eq!(registered.status().as_u16(), 201);
    assert_eq!(registered.json::<Value>().await.unwrap()["client_id"], "client-1");
    let form = [("grant_type", "authorization_code"), ("client_id", "client-1")];
    let token = ask("/token").header("range", "bytes=0-1").form(&form).send().await.unwrap();
    assert_eq!(token.json::<Value>().await.unwrap()["access_token"], "t");
    let page = ask("/page").send().await.unwrap();
    assert_eq!(page.headers()["content-encoding"], "gzip", "as it was asked for");
}

#[tokio::test]
async fn an_alias_leads_to_the_registration_endpoint() {
    let (own, seen) = complete_upstream().await;
    let proxy = start(&own, &["--register-alias", "/register"]).await;
    let honest = json!({ "redirect_uris": ["http://127.0.0.1:1/cb"], "skip_consent": true });
    for (path, there) in
        [("/register", "/registration"), ("/register/", "/registration"), ("/register?x=1", "/registration?x=1")]
    {
        let (status, client) = post_json(&proxy, path, &honest).await;
        assert_eq!((status, client.get("skip_consent")), (201, None), "{path}");
        assert_eq!(seen.lock().unwrap().pop(), Some(format!("POST {there}")));
    }
    let evil = json!({ "redirect_uris": ["javascript:alert(1)"] }).to_string();
    for path in ["/register", "/REGISTER", "/index.php/register", "/register.json"] {
        assert!(is_judged(&post_raw(&proxy, path, &evil).await), "{path}");
    }
    let read = proxy.get("/register/client-1").await;
    assert_eq!(
        (read.status().as_u16(), seen.lock().unwrap().pop()),
        (200, Some("GET /registration/client-1".to_owned()))
    );
    // With the query that the endpoint has.
    let proxy = start(&upstream().await, &["--register-alias", "/register"]).await;
    assert_eq!(post_json(&proxy, "/register", &honest).await.0, 201);
    assert!(post_raw(&proxy, "/registers", "{}").await.contains("\"/registers\""), "that is not it");
}

/// `HTTP/1.0` on a connection of HTTP/1.1 has clients close it, or wonder.
#[tokio::test]
async fn an_answer_has_the_version_of_its_connection() {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let _read = stream.read(&mut head).await;
                let _written = stream.write_all(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            });
        }
    });
    let proxy = start(&own, &["--register-path", "/register"]).await;
    for path in ["/x", "/register"] {
        let head = format!("GET {path} HTTP/1.1\r\nhost: as.example.com\r\n");
        let twice = format!("{head}\r\n{head}connection: close\r\n");
        let answer = raw(&proxy, &twice, "").await;
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{path}: {answer}");
    }
}

/// The client still sends when the answer is there.
#[tokio::test]
async fn a_rejection_reaches_a_client_that_is_still_sending() {
    let proxy = start(&upstream().await, &[]).await;
    let answer = post_raw(&proxy, "/a//b", &"x".repeat(60_000)).await;
    assert!(is_rejected(&answer), "{answer}");
    // On the same connection, for what was read to its end.
    let head = "POST /a//b HTTP/1.1\r\nhost: as.example.com\r\ncontent-length: 3\r\n\r\nabc";
    let answer = raw(&proxy, &format!("{head}GET /x HTTP/1.1\r\n{HEAD}"), "").await;
    assert!(is_rejected(&answer) && answer.contains("HTTP/1.1 200"), "{answer}");
    let waits = raw(&proxy, "POST /a//b HTTP/1.1\r\nhost: as.example.com\r\nexpect: 100-continue\r\n", "").await;
    assert!(is_rejected(&waits) && waits.to_ascii_lowercase().contains("connection: close"), "{waits}");
}

#[tokio::test]
async fn long_bodies_and_events_stream_through() {
    let proxy = start(&upstream().await, &[]).await;
    let mut events = proxy.get("/events").await;
    let since = tokio::time::Instant::now();
    let first = events.chunk().await.unwrap().unwrap();
    assert_eq!(first, Bytes::from("data: 1\n\n"));
    assert!(since.elapsed() < Duration::from_millis(900), "the second event is a second later");
    assert_eq!(events.chunk().await.unwrap().unwrap(), Bytes::from("data: 2\n\n"));
    let long = reqwest::Body::from(vec![0; 8 << 20]);
    let answer = proxy.client.post(format!("{}/upload", proxy.base)).body(long).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), (8 << 20).to_string());
}

/// The handshake of RFC 6455 section 1.3, and then whatever bytes.
#[tokio::test]
async fn web_sockets_pass() {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let answer = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let mut said = [0; 5];
        stream.read_exact(&mut said).await.unwrap();
        said.reverse();
        stream.write_all(&said).await.unwrap();
    });
    let proxy = start(&own, &["--register-path", "/register"]).await;
    let mut stream = TcpStream::connect(proxy.base.strip_prefix("http://").unwrap()).await.unwrap();
    let request = "GET /ws HTTP/1.1\r\nhost: as.example.com\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("HTTP/1.1 101"), "{line}");
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).await.unwrap();
    }
    stream.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"olleh");
}

#[tokio::test]
async fn what_has_begun_is_finished_before_it_stops() {
    let mut proxy = start(&upstream().await, &[]).await;
    let slow = tokio::spawn(proxy.client.get(format!("{}/slow", proxy.base)).send());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let pid = proxy.child.id().to_string();
    assert!(std::process::Command::new("kill").arg(&pid).status().unwrap().success());
    assert_eq!(slow.await.unwrap().unwrap().status().as_u16(), 200);
    let status = proxy.child.wait().unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn it_waits_for_the_server_and_says_when_the_server_is_gone() {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let own = format!("http://{address}");
    let starting = tokio::spawn({
        let own = own.clone();
        async move { start(&own, &[]).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!starting.is_finished());
    let listener = TcpListener::bind(address).await.unwrap();
    let app = server(&own);
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let proxy = starting.await.unwrap();
    assert_eq!(proxy.get("/x").await.status().as_u16(), 200);
    serving.abort();
    let _stopped = serving.await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let since = tokio::time::Instant::now();
    while proxy.get("/x").await.status().as_u16() != 502 {
        assert!(since.elapsed() < Duration::from_secs(5), "connections that were open are closed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn the_servers_certificate_is_checked() {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![key.cert.der().clone()], private).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let own = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let app = server(&own);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, app) = (acceptor.clone(), app.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = hyper_util::service::TowerToHyperService::new(app);
                let io = hyper_util::rt::TokioIo::new(stream);
                let _closed = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
            });
        }
    });
    let folder = Folder::new("proxy-tls");
    let ca = folder.write("ca.pem", &key.cert.pem()).0.join("ca.pem");
    let proxy = start(&own, &["--upstream-ca", ca.to_str().unwrap()]).await;
    let (status, _) = post_json(&proxy, "/oauth/clients", &json!({ "redirect_uris": ["http://127.0.0.1:1/cb"] })).await;
    assert_eq!(status, 201);
    let distrustful = start(&own, &["--register-path", "/oauth/clients"]).await;
    assert_eq!(distrustful.get("/x").await.status().as_u16(), 502);
}

/// What can't be meant ends it at once, and says what to do.
#[tokio::test]
async fn mistakes_on_the_command_line_are_named() {
    let nothing = TcpListener::bind(ANY_PORT).await.unwrap();
    let bare = format!("http://{}", nothing.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(nothing, axum::Router::new()).await });
    let own = upstream().await;
    for (arguments, expected) in [
        (vec!["--upstream", "as.example.com"], "https://as.example.com"),
        (vec!["--upstream", "ftp://as.example.com"], "only http and https"),
        (vec!["--upstream", "https://as.example.com/realm"], "nothing else"),
        (vec!["--upstream", &*bare], "--register-path"),
        (vec!["--upstream", &*bare, "--register-path", "/"], "can't be told"),
        (vec!["--upstream", &*bare, "--register-path", "/r", "--ledger", "sqlite::memory:"], "--discovery-path"),
        (vec!["--upstream", &*own, "--ledger", "mysql:x"], "mysql:x"),
        (vec!["--upstream", &*own, "--trusted-proxy", "ten"], "\"ten\""),
        (vec!["--upstream", &*own, "--upstream-ca", "/nowhere.pem"], "/nowhere.pem"),
        (vec!["--upstream", &*own, "--policy", "/nowhere.toml"], "/nowhere.toml"),
    ] {
        let mut command = tokio::process::Command::new(binary("proxy"));
        let output = command.args(["--listen", ANY_PORT]).args(&arguments).stdin(Stdio::null()).output();
        let output = tokio::time::timeout(Duration::from_secs(10), output).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(expected), "{arguments:?}: {said}");
    }
}
