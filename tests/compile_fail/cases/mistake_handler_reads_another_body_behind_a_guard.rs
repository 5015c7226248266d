use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tower::{Service, ServiceBuilder, service_fn};
use tower_dcr::layers::PolicyLayer;
use tower_dcr::rules::RedirectUris;

fn serve(_: impl Service<Request<Incoming>>) {}

fn main() {
    let handler = service_fn(async |_: Request<Incoming>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())));
    serve(ServiceBuilder::new().layer(PolicyLayer::new(RedirectUris::mcp())).service(handler));
}
