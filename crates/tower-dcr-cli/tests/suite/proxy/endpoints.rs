//! The proxy in front of a server with all the endpoints.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::extract::Request;
use axum::routing::get;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tower_dcr::clients::{Actor, Registrar, Revocation};
use tower_dcr_sqlx::SqliteLedger;

use super::{is_judged, post_json, post_raw, start, upstream};
use test_support::folder::Folder;
use test_support::running::ANY_PORT;

/// The endpoints in a discovery document: `{name}_endpoint`.
const ENDPOINTS: [&str; 8] = [
    "authorization",
    "token",
    "registration",
    "pushed_authorization_request",
    "device_authorization",
    "introspection",
    "revocation",
    "backchannel_authentication",
];

/// A server with all the endpoints that a client can use, which compresses every compressible response.
fn complete(own: &str, objects: bool, seen: &Arc<Mutex<Vec<String>>>) -> axum::Router {
    let own = own.to_owned();
    let metadata = async move || {
        let mut document = json!({ "issuer": "https://as.example.com", "signed_metadata": "e30.e30.", "jwks_uri": "https://keys.example.com/" });
        for name in ENDPOINTS {
            document[format!("{name}_endpoint")] = format!("{own}/{name}").into();
        }
        document["request_uri_parameter_supported"] = objects.into();
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
        document.insert("request_uri".into(), "urn:example:pushed".into());
        let mut response = http::Response::builder().status(status).header("content-type", "application/json");
        if asks {
            response = response.header("content-encoding", "gzip");
        }
        let body = if asks { "compressed".to_owned() } else { Value::from(document).to_string() };
        response.body(axum::body::Body::from(body)).unwrap()
    };
    axum::Router::new().route("/.well-known/oauth-authorization-server", get(metadata)).fallback(answer)
}

async fn complete_upstream(objects: bool) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::default();
    let app = complete(&own, objects, &seen);
    tokio::spawn(async move { axum::serve(listener, app).await });
    (own, seen)
}

#[tokio::test]
async fn every_endpoint_of_the_discovery_document_is_gated_and_leads_here() {
    let (own, seen) = complete_upstream(false).await;
    let folder = Folder::new("proxy-endpoints");
    let file = folder.0.join("clients.db");
    let ledger = format!("sqlite:{}", file.display());
    let proxy = start(&own, &["--ledger", &ledger, "--par-path", "/par2", "--backchannel-path", "/ciba2"]).await;
    let document: Value = proxy.get("/.well-known/oauth-authorization-server").await.json().await.unwrap();
    for name in ENDPOINTS {
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
    let review = Registrar::new(SqliteLedger::open(&file).await.unwrap());
    review.revoke(Revocation::client("client-1", Actor::Operator("operator".into()), "a test")).await.unwrap();
    // Another process has its own cache, at most 5 seconds old.
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
        "/ciba2",
        "/index.php/token",
        "/TOKEN",
        // The index of a directory, and the rest of a path that a program gets.
        "/token/",
        "/token/index.php",
        "/token/index.php/x",
        "/token/index",
        "/token/x",
        "/token/x/y.json",
        "/Token/INDEX.html",
        "/token.php/x",
        "/index.php/token/x",
        "/mtls/token/index.php",
        "/pushed_authorization_request/index.php",
        "/par2/x",
        "/device_authorization/index",
        "/introspection/x",
        "/backchannel_authentication/index.php/x",
    ] {
        let answer = proxy.client.post(format!("{}{path}", proxy.base)).form(&form).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 401, "{path}");
    }
    let query = "client_id=client-1&redirect_uri=https%3A%2F%2Fapp.example.com%2Fcb";
    for path in [
        "/authorization",
        "/authorization/",
        "/authorization.php/x",
        "/authorization/index.php",
        "/authorization/index.php/x",
        "/authorization/index",
        "/authorization/index.html",
        "/authorization/Default.aspx",
        "/authorization/default",
        "/authorization/start.cgi/x",
        "/authorization/(S(x))",
        "/app.php/authorization/index.php",
    ] {
        let answer = proxy.get(&format!("{path}?{query}")).await;
        assert_eq!(answer.status().as_u16(), 400, "{path}");
    }
    assert_eq!(*seen.lock().unwrap(), Vec::<String>::new());
    for path in [
        // The pages for signing in and consent.
        "/authorization/consent",
        "/authorization/u7-Xk2",
        "/authorization/indexed",
        "/authorizations/index.php",
        "/tokens/index.php",
        "/x/token/index.php",
    ] {
        let answer = proxy.get(&format!("{path}?{query}")).await;
        assert_eq!(answer.status().as_u16(), 200, "{path}");
    }
    let revoke = proxy.client.post(format!("{}/revocation", proxy.base)).form(&form).send().await.unwrap();
    assert_eq!(revoke.status().as_u16(), 200, "revoking is always allowed");
    let two = [("client_id", "a"), ("client_id", "b")];
    let revoke = proxy.client.post(format!("{}/revocation", proxy.base)).form(&two).send().await.unwrap();
    assert_eq!(revoke.status().as_u16(), 400);
}

/// An endpoint may be below another one: oidc-provider has `/token/introspection` and `/token/revocation`.
#[tokio::test]
async fn an_endpoint_below_another_is_itself() {
    let (own, _) = complete_upstream(false).await;
    let folder = Folder::new("proxy-below");
    let file = folder.0.join("clients.db");
    let ledger = format!("sqlite:{}", file.display());
    let arguments = [
        "--revoke-path",
        "/token/revocation",
        "--authorize-path",
        "/token/authorize",
        "--token-path",
        "/authorization/t",
    ];
    let proxy = start(&own, &[&["--ledger", &ledger], &arguments[..]].concat()).await;
    let registration = json!({ "redirect_uris": ["https://app.example.com/cb"] });
    assert_eq!(post_json(&proxy, "/registration", &registration).await.0, 201);
    let review = Registrar::new(SqliteLedger::open(&file).await.unwrap());
    review.revoke(Revocation::client("client-1", Actor::Operator("operator".into()), "a test")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5500)).await;
    let form = [("client_id", "client-1"), ("token", "t")];
    for (path, status, why) in [
        ("/token/revocation", 200, "revoking is always allowed"),
        ("/token/revocation/", 200, "with a slash"),
        ("/Token/Revocation", 200, "in another case"),
        ("/token/revocation/index.php", 200, "its index"),
        ("/index.php/token/revocation", 200, "behind a script"),
        ("/token/authorize/consent", 200, "a page below the authorization endpoint"),
        ("/token/authorize/index.php", 400, "the index of the authorization endpoint"),
        ("/token/revocation.json", 401, "another name: perhaps the rest of a path that the token endpoint gets"),
        ("/token/revocations", 401, "another segment"),
        ("/token/x/revocation", 401, "deeper"),
        ("/token/index.php/revocation", 401, "the rest of a path that the index gets"),
        ("/authorization/t", 401, "a token endpoint below the authorization endpoint"),
        ("/authorization/t/x", 401, "and what is below it"),
    ] {
        let answer = proxy.client.post(format!("{}{path}", proxy.base)).form(&form).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}: {why}");
    }
}

const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// The replacements for a redirect URI are those that the server supports and that passed the gate.
#[tokio::test]
async fn request_objects_count_if_the_server_supports_them() {
    let registration = json!({ "redirect_uris": ["https://app.example.com/1", "https://app.example.com/2"] });
    for objects in [false, true] {
        let (own, _) = complete_upstream(objects).await;
        let folder = Folder::new(&format!("proxy-objects-{objects}"));
        let ledger = format!("sqlite:{}", folder.0.join("clients.db").display());
        let proxy = start(&own, &["--ledger", &ledger]).await;
        assert_eq!(post_json(&proxy, "/registration", &registration).await.0, 201);
        let authorize = async |query: &str| {
            proxy.get(&format!("/authorization?client_id=client-1&{query}")).await.status().as_u16()
        };
        let flow = format!("response_type=code&code_challenge={CHALLENGE}&code_challenge_method=S256");
        assert_eq!(authorize(&format!("redirect_uri=https%3A%2F%2Fapp.example.com%2F1&{flow}")).await, 200);
        assert_eq!(authorize("redirect_uri=https%3A%2F%2Fevil.example.net%2F&request_uri=urn:x").await, 400);
        let foreign = authorize("request_uri=https%3A%2F%2Fapp.example.com%2Frequest").await;
        assert_eq!(foreign, if objects { 200 } else { 400 }, "{objects}");
        let push = async |uri: &str| {
            let form = [
                ("client_id", "client-1"),
                ("redirect_uri", uri),
                ("response_type", "code"),
                ("code_challenge", CHALLENGE),
                ("code_challenge_method", "S256"),
            ];
            let push = proxy.client.post(format!("{}/pushed_authorization_request", proxy.base)).form(&form);
            push.send().await.unwrap().status().as_u16()
        };
        assert_eq!(push("https://evil.example.net/").await, 400);
        assert_eq!(push("https://app.example.com/2").await, 200);
        assert_eq!(authorize("request_uri=urn:example:pushed").await, 200);
    }
}

/// A server whose token endpoint knows none of the credentials.
async fn unauthorized_upstream() -> String {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    let unauthorized = async || (http::StatusCode::UNAUTHORIZED, Json(json!({ "error": "invalid_client" })));
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(unauthorized)).await });
    own
}

/// Failures count for the client that is evident from the head as it arrived: the proxy writes forwarding headers itself.
#[tokio::test]
async fn failed_authentication_is_limited_by_the_head_that_arrived() {
    let own = unauthorized_upstream().await;
    let folder = Folder::new("proxy-failures");
    for (name, trusted, header, is_limited) in [
        ("direct", false, None, true),
        ("untrusted", false, Some(("x-forwarded-for", "203.0.113.7")), false),
        ("forwarded", false, Some(("forwarded", "for=203.0.113.7")), false),
        ("silent", true, None, false),
        ("trusted", true, Some(("x-forwarded-for", "203.0.113.7")), true),
        ("malformed", true, Some(("x-forwarded-for", "203.0.113.7, x")), true),
        ("other", true, Some(("forwarded", "for=203.0.113.7")), false),
    ] {
        let ledger = format!("sqlite:{}", folder.0.join(format!("{name}.db")).display());
        let mut arguments = vec!["--ledger", &ledger, "--register-path", "/r", "--authorize-path", "/a"];
        arguments.extend(["--token-path", "/t"]);
        if trusted {
            arguments.extend(["--trusted-proxy", "127.0.0.1"]);
        }
        let proxy = start(&own, &arguments).await;
        let attempt = async || {
            let form =
                [("grant_type", "authorization_code"), ("code", "c"), ("client_id", "x"), ("client_secret", "s")];
            let ask = proxy.client.post(format!("{}/t", proxy.base)).form(&form);
            let ask = header.iter().fold(ask, |ask, (name, value)| ask.header(*name, *value));
            ask.send().await.unwrap().status().as_u16()
        };
        let mut statuses = Vec::new();
        for _ in 0..15 {
            statuses.push(attempt().await);
        }
        assert_eq!(statuses[0], 401, "{name}");
        assert_eq!(statuses.contains(&429), is_limited, "{name}: {statuses:?}");
    }
}

/// Every browser and client library asks for compressed responses.
#[tokio::test]
async fn evaluated_answers_are_not_compressed() {
    let (own, _) = complete_upstream(false).await;
    let folder = Folder::new("proxy-gzip");
    let ledger = format!("sqlite:{}", folder.0.join("clients.db").display());
    let proxy = start(&own, &["--ledger", &ledger]).await;
    let honest = json!({ "redirect_uris": ["http://127.0.0.1:1/cb"] });
    let ask = |path: &str| proxy.client.post(format!("{}{path}", proxy.base)).header("accept-encoding", "gzip, br");
    let registered = ask("/registration").json(&honest).send().await.unwrap();
    assert_eq!(registered.status().as_u16(), 201);
    assert_eq!(registered.json::<Value>().await.unwrap()["client_id"], "client-1");
    let form = [("grant_type", "refresh_token"), ("client_id", "client-1")];
    let token = ask("/token").header("range", "bytes=0-1").form(&form).send().await.unwrap();
    assert_eq!(token.json::<Value>().await.unwrap()["access_token"], "t");
    let page = ask("/page").send().await.unwrap();
    assert_eq!(page.headers()["content-encoding"], "gzip", "as it was asked for");
}

#[tokio::test]
async fn an_alias_leads_to_the_registration_endpoint() {
    let (own, seen) = complete_upstream(false).await;
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
    // With the query of the endpoint.
    let proxy = start(&upstream().await, &["--register-alias", "/register"]).await;
    assert_eq!(post_json(&proxy, "/register", &honest).await.0, 201);
    assert!(post_raw(&proxy, "/registers", "{}").await.contains("\"/registers\""), "that is not it");
}
