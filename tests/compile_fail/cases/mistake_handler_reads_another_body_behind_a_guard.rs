use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tower::{Service, ServiceBuilder, service_fn};
use tower_dcr::GuardLayer;
use tower_dcr::policy::RedirectUriGuard;

fn serve(_: impl Service<Request<Incoming>>) {}

fn main() {
    let handler = service_fn(async |_: Request<Incoming>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())));
    serve(ServiceBuilder::new().layer(GuardLayer::new(RedirectUriGuard::mcp())).service(handler));
}
