//! Requests that no HTTP library builds, over a real socket.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::ConnectInfo;
use axum::routing::post;
use base64::Engine;
use http::StatusCode;
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower_dcr::Preset;
use tower_dcr::rate_limit::RateLimits;

async fn register(Json(mut client): Json<Map<String, Value>>) -> (StatusCode, Json<Map<String, Value>>) {
    client.insert("client_id".into(), "c".into());
    (StatusCode::CREATED, Json(client))
}

async fn listen() -> SocketAddr {
    let guard = tower_dcr::mcp()
        .without_rate_limits()
        .with_peer_address(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0));
    serve(guard).await
}

async fn serve(guard: Preset) -> SocketAddr {
    let managed = axum::routing::any(async || StatusCode::NO_CONTENT).layer(guard.clone());
    let app = axum::Router::new().route("/register", post(register).layer(guard)).route("/register/{*client}", managed);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await.unwrap();
    });
    addr
}

/// The status of the first answer; `None` if the connection is closed without one.
async fn first_status(addr: SocketAddr, wire: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // The server may have answered and closed before all of it is written.
    let _closed = stream.write_all(wire).await;
    let _closed = stream.shutdown().await;
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer).await;
    let line = String::from_utf8_lossy(&answer);
    line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

fn decode(base64: &Value) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(base64.as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn requests_on_the_wire_have_the_labelled_result() {
    let addr = listen().await;
    let mut judged = 0;
    for line in include_str!("../data/attacks.jsonl").lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let wire = match (&row["wire_b64"], &row["raw_gen"]["parts"]) {
            (Value::String(_), _) => decode(&row["wire_b64"]),
            (_, Value::Array(parts)) if row["id"] == "http-framing-016" => {
                let repeat = |part: &Value| usize::try_from(part["repeat"].as_u64().unwrap()).unwrap();
                parts.iter().flat_map(|part| decode(&part["b64"]).repeat(repeat(part))).collect()
            }
            _ => continue,
        };
        judged += 1;
        let status = first_status(addr, &wire).await;
        match row["mcp"].as_str() {
            Some("register") => assert_eq!(status, Some(201), "{}", row["id"]),
            Some("refuse") => {
                let expected = row["error"]
                    .as_str()
                    .into_iter()
                    .chain(row["alt_errors"].as_array().into_iter().flatten().filter_map(Value::as_str));
                let expected: Vec<&str> = expected.collect();
                let got = status.map_or_else(|| "connection-closed".to_owned(), |status| status.to_string());
                assert!(expected.contains(&got.as_str()), "{}: {got}, expected {expected:?}", row["id"]);
            }
            _ => assert!(status != Some(500), "{}", row["id"]),
        }
    }
    assert_eq!(judged, 15);
}

#[tokio::test]
async fn rejects_unknown_methods_with_405() {
    let addr = listen().await;
    for line in include_str!("../data/attacks.jsonl").lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let Some(method) = row["method"].as_str() else { continue };
        let body = row["body"].to_string();
        let wire = format!(
            "{method} /register HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let status = first_status(addr, wire.as_bytes()).await;
        if row["mcp"] == "refuse" {
            assert_eq!(status, Some(405), "{method}");
        }
    }
}

/// A whole answer, read by a client that writes all of its request before it reads.
async fn answer_after(addr: SocketAddr, head: &str, body_bytes: usize) -> (u16, bool) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let head = format!("{head}host: a\r\ncontent-length: {body_bytes}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // A server that has closed makes this fail: the answer is there all the same.
    let _closed = stream.write_all(&vec![b' '; body_bytes]).await;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
        let read = stream.read(&mut buffer).await.unwrap_or_else(|error| panic!("{head}: {error}"));
        assert_ne!(read, 0, "{head}: closed without an answer");
        answer.extend_from_slice(&buffer[..read]);
    }
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    (answer[9..12].parse().unwrap(), answer.contains("\r\nconnection: close\r\n"))
}

/// A server that closes while a body is on its way resets the connection, and the client may never see why.
#[tokio::test]
async fn an_answer_before_the_body_was_read_reaches_the_client() {
    let one = tower_dcr::rate_limit::Quota::per_hour(std::num::NonZeroU32::MIN);
    let limited = tower_dcr::layers::RateLimitLayer::new().map_limits(|limits| {
        *limits = RateLimits::OFF;
        limits.requests = one.into();
    });
    let spent = serve(tower_dcr::mcp().with_rate_limit(limited)).await;
    assert_eq!(
        first_status(
            spent,
            b"POST /register HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
        )
        .await,
        Some(400)
    );
    let addr = listen().await;
    let tokens = tower_dcr::layers::StaticTokens::new();
    let tokens = tower_dcr::layers::InitialAccessTokenLayer::new(tokens);
    let with_tokens = serve(tower_dcr::mcp().without_rate_limits().with_initial_access_tokens(tokens)).await;
    let json = "content-type: application/json\r\n";
    for (addr, head, status) in [
        (spent, format!("POST /register HTTP/1.1\r\n{json}"), 429),
        (with_tokens, format!("POST /register HTTP/1.1\r\n{json}"), 401),
        (addr, "POST /register HTTP/1.1\r\ncontent-type: text/plain\r\n".to_owned(), 415),
        (addr, format!("POST /register HTTP/1.1\r\n{json}"), 413),
        (addr, format!("PUT /register HTTP/1.1\r\n{json}"), 405),
        (addr, format!("PATCH /register HTTP/1.1\r\n{json}"), 405),
        (addr, format!("PUT /register/c/ HTTP/1.1\r\n{json}"), 400),
        (addr, format!("DELETE /register/c HTTP/1.1\r\n{json}"), 204),
    ] {
        assert_eq!(answer_after(addr, &head, 40 * 1024).await, (status, false), "{head}: short enough to be drained");
        assert_eq!(answer_after(addr, &head, 10 << 20).await, (status, true), "{head}: too long to be drained");
    }
}
