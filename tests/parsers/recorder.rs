//! A service between a layer and a parser, which records the requests.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub(crate) type Http = Client<HttpConnector, Full<Bytes>>;

pub(crate) fn http() -> Http {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
}

/// Says which row a request belongs to.
pub(crate) const ROW: &str = "x-row";

/// A request as it came through.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) method: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The parser's reading; `null` for an error, and for HEAD.
    pub(crate) read: Value,
}

impl Arrived {
    pub(crate) fn media_types(&self) -> Vec<&str> {
        let types = self.headers.get_all(header::CONTENT_TYPE).iter();
        types.map(|value| value.to_str().unwrap_or("(no text)")).collect()
    }
}

/// Hands every request on to a parser.
#[derive(Clone)]
pub(crate) struct Recorder {
    http: Http,
    parser: String,
    arrived: Arc<Mutex<HashMap<usize, Arrived>>>,
}

impl Recorder {
    pub(crate) fn new(parser: &str) -> Self {
        Self { http: http(), parser: parser.to_owned(), arrived: Arc::default() }
    }

    pub(crate) fn arrived(&self) -> HashMap<usize, Arrived> {
        self.arrived.lock().unwrap().clone()
    }

    /// Answers a registration with its client, and all else with what is neither a success nor an error: those mean
    /// something to the gate.
    pub(crate) async fn forward(State(recorder): State<Self>, request: Request) -> Response {
        let (mut parts, body) = request.into_parts();
        let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
            return status(StatusCode::BAD_REQUEST);
        };
        let (headers, method) = (parts.headers.clone(), parts.method.to_string());
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        if target.starts_with("/.well-known/") {
            return status(StatusCode::NOT_FOUND);
        }
        let registers = parts.uri.path().ends_with("/register") && parts.method == http::Method::POST;
        parts.uri = format!("{}{target}", recorder.parser).parse().unwrap();
        parts.version = http::Version::HTTP_11;
        // They are the connection's, and this one is another.
        for name in
            [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH, header::EXPECT]
        {
            parts.headers.remove(name);
        }
        let read = match recorder.http.request(Request::from_parts(parts, Full::new(body.clone()))).await {
            Ok(answer) => {
                let answer = answer.into_body().collect().await.map(http_body_util::Collected::to_bytes);
                serde_json::from_slice(&answer.unwrap_or_default()).unwrap_or_default()
            }
            Err(_) => Value::Null,
        };
        let document: Value = serde_json::from_slice(&body).unwrap_or_default();
        if let Some(row) = headers.get(ROW).and_then(|row| row.to_str().ok()?.parse().ok()) {
            let arrived = Arrived { method, headers, body, read };
            assert!(recorder.arrived.lock().unwrap().insert(row, arrived).is_none(), "row {row} arrives twice");
        }
        if !registers {
            return status(StatusCode::SEE_OTHER);
        }
        let mut client = document.as_object().cloned().unwrap_or_default();
        client.insert("client_id".into(), client.get("client_name").cloned().unwrap_or_else(|| json!("c")));
        let answer = Response::builder().status(StatusCode::CREATED).header("content-type", "application/json");
        answer.body(Body::from(Value::from(client).to_string())).unwrap()
    }
}

fn status(status: StatusCode) -> Response {
    Response::builder().status(status).body(Body::empty()).unwrap()
}

/// Serves on a free port of its own, and says where.
pub(crate) async fn serve(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await.unwrap();
    });
    format!("http://{address}")
}

/// Sends all, some at a time, with their numbers on them; and returns the statuses of the answers.
pub(crate) async fn send_all(base: &str, requests: impl Iterator<Item = http::Request<Bytes>>) -> Vec<u16> {
    let (http, turn) = (http(), Arc::new(Semaphore::new(8)));
    let mut sending = JoinSet::new();
    for (row, request) in requests.enumerate() {
        let (http, turn, base) = (http.clone(), Arc::clone(&turn), base.to_owned());
        sending.spawn(async move {
            let _turn = turn.acquire().await.unwrap();
            let (mut parts, body) = request.into_parts();
            parts.uri = format!("{base}{}", parts.uri).parse().unwrap();
            parts.headers.insert(ROW, row.into());
            let answer = http.request(Request::from_parts(parts, Full::new(body))).await;
            let Ok(answer) = answer else { return (row, 0) };
            let status = answer.status().as_u16();
            let _rest = answer.into_body().collect().await;
            (row, status)
        });
    }
    let mut statuses = vec![0; sending.len()];
    while let Some(sent) = sending.join_next().await {
        let (row, status) = sent.unwrap();
        statuses[row] = status;
    }
    statuses
}
