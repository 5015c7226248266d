//! The same guard on axum, bare hyper and salvo.

use std::convert::Infallible;

use axum::Json;
use axum::body::Body;
use axum::routing::{get, post};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Map, Value};
use tower::{ServiceBuilder, ServiceExt};
use tower_dcr::layers::RegistrationBody;
use tower_http::cors::{Any, CorsLayer};
use tower_http::map_request_body::MapRequestBodyLayer;

const GOOD: &str = r#"{"redirect_uris":["https://app.example.com/cb"],"foo":1}"#;
const EVIL: &str = r#"{"redirect_uris":["javascript:alert(1)"]}"#;

async fn register(Json(mut client): Json<Map<String, Value>>) -> (StatusCode, Json<Map<String, Value>>) {
    client.insert("client_id".into(), "c".into());
    (StatusCode::CREATED, Json(client))
}

/// Echoes the metadata, with an identifier.
fn with_client_id(body: &[u8]) -> Bytes {
    let mut client: Map<String, Value> = serde_json::from_slice(body).unwrap();
    client.insert("client_id".into(), "c".into());
    serde_json::to_vec(&client).unwrap().into()
}

fn request(method: &str, path: &str, body: &'static str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap()
}

async fn check(app: axum::Router) {
    let status = async |request: Request<Body>| app.clone().oneshot(request).await.unwrap().status();
    assert_eq!(status(request("POST", "/register", EVIL)).await, StatusCode::BAD_REQUEST);
    assert_eq!(status(request("GET", "/register", "")).await, StatusCode::METHOD_NOT_ALLOWED);
    let response = app.clone().oneshot(request("POST", "/register", GOOD)).await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let body: Value = serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert!(body.get("foo").is_none() && body["token_endpoint_auth_method"] == "none");
}

#[tokio::test]
async fn on_a_method_router_of_axum() {
    check(axum::Router::new().route("/register", post(register).layer(tower_dcr::mcp()))).await;
    let other = axum::Router::new()
        .route("/register", post(register).layer(tower_dcr::mcp()))
        .route("/other", post(async |body: String| body));
    let response = other.oneshot(request("POST", "/other", EVIL)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn on_a_router_of_axum() {
    check(axum::Router::new().route("/register", post(register)).layer(tower_dcr::mcp())).await;
    check(axum::Router::new().route("/register", post(register)).route_layer(tower_dcr::mcp())).await;
    let nested = axum::Router::new().route("/register", post(register)).layer(tower_dcr::mcp());
    let app = axum::Router::new().nest("/oauth", nested);
    let response = app.oneshot(request("POST", "/oauth/register", EVIL)).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn behind_a_cors_layer_browsers_can_read_rejections() {
    let cors = CorsLayer::new().allow_origin(Any).allow_methods(Any).allow_headers(Any);
    let one = tower_dcr::rate_limit::Quota::per_hour(std::num::NonZeroU32::new(2).unwrap());
    let guard = tower_dcr::mcp().map_rate_limit(|limits| limits.address = one.into());
    let app = axum::Router::new().route("/register", post(register).layer(guard)).layer(cors);
    let preflight = || {
        let request = Request::builder().method("OPTIONS").uri("/register").header("origin", "https://app.example.com");
        request.header("access-control-request-method", "POST").body(Body::empty()).unwrap()
    };
    let mut statuses = Vec::new();
    for body in [EVIL, GOOD, GOOD] {
        assert_eq!(app.clone().oneshot(preflight()).await.unwrap().status(), StatusCode::OK);
        let mut request = request("POST", "/register", body);
        request.headers_mut().insert("origin", "https://app.example.com".parse().unwrap());
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        statuses.push(response.status().as_u16());
    }
    // The preflights cost nothing.
    assert_eq!(statuses, [400, 201, 429]);
}

/// An options handler of the user's own is not reviewed either.
#[tokio::test]
async fn reads_reach_the_handler() {
    let app = axum::Router::new()
        .route("/register/{id}", get(async || "read").delete(async || "gone").layer(tower_dcr::mcp()));
    for (method, expected) in [("GET", "read"), ("DELETE", "gone")] {
        let response = app.clone().oneshot(request(method, "/register/c", "")).await.unwrap();
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), expected);
    }
}

#[tokio::test]
async fn on_bare_hyper() {
    let handler = tower::service_fn(async |request: Request<RegistrationBody>| {
        let read = request.into_body().collect().await.map_err(std::io::Error::other)?;
        let response = Response::builder().header("content-type", "application/json");
        let response = response.body(Full::new(with_client_id(&read.to_bytes())));
        Ok::<_, std::io::Error>(response.unwrap())
    });
    let service = ServiceBuilder::new().layer(tower_dcr::mcp()).service(handler);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper_util::service::TowerToHyperService::new(service.clone());
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    let client = reqwest::Client::new();
    let send = async |body: &'static str| {
        let request = client.post(format!("http://{addr}/register")).header("content-type", "application/json");
        request.body(body).send().await.unwrap()
    };
    let answer = send(GOOD).await;
    assert_eq!(answer.status().as_u16(), 201);
    assert!(answer.json::<Value>().await.unwrap().get("foo").is_none());
    let answer = send(EVIL).await;
    assert_eq!(answer.status().as_u16(), 400);
    assert_eq!(answer.json::<Value>().await.unwrap()["error"], "invalid_redirect_uri");
    server.abort();
}

mod on_salvo {
    use salvo::http::ReqBody;
    use salvo::prelude::{Router, Service, TowerLayerCompat, handler};
    use salvo::test::{ResponseExt, TestClient};

    use super::*;

    #[handler]
    async fn naive(request: &mut salvo::Request, response: &mut salvo::Response) {
        let bytes = request.payload().await.unwrap().clone();
        response.status_code(StatusCode::CREATED);
        response.headers_mut().insert("content-type", "application/json".parse().unwrap());
        response.body(salvo::http::ResBody::Once(with_client_id(&bytes)));
    }

    /// Salvo's handlers read salvo's own body type: one more layer, nearest to the handler, turns ours into it.
    fn into_salvo(body: RegistrationBody) -> ReqBody {
        ReqBody::Boxed { inner: Box::pin(body), fuse_config: None }
    }

    #[tokio::test]
    async fn as_a_hoop() {
        let layer =
            ServiceBuilder::new().layer(tower_dcr::mcp()).layer(MapRequestBodyLayer::new(into_salvo)).into_inner();
        let service = Service::new(Router::with_path("register").hoop(layer.compat::<ReqBody>()).post(naive));
        let send = async |body: &'static str| {
            let request =
                TestClient::post("http://127.0.0.1/register").add_header("content-type", "application/json", true);
            request.body(body).send(&service).await
        };
        let mut answer = send(GOOD).await;
        assert_eq!(answer.status_code, Some(StatusCode::CREATED));
        assert!(answer.take_json::<Value>().await.unwrap().get("foo").is_none());
        let mut answer = send(EVIL).await;
        assert_eq!(answer.status_code, Some(StatusCode::BAD_REQUEST));
        assert_eq!(answer.take_json::<Value>().await.unwrap()["error"], "invalid_redirect_uri");
    }
}

/// Bodies that are neither `Sync` nor `Unpin`.
#[tokio::test]
async fn on_any_body() {
    let body = Full::<Bytes>::from(GOOD).map_err(|error: Infallible| match error {}).boxed_unsync();
    let request: Request<http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>> =
        Request::post("/register").header("content-type", "application/json").body(body).unwrap();
    let handler = tower::service_fn(async |_: Request<RegistrationBody>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("{\"client_id\":\"c\"}")))
    });
    let response = ServiceBuilder::new().layer(tower_dcr::mcp()).service(handler).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
}
