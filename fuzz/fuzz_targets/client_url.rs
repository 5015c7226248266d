//! Any path of a client's URL: every other reader finds the same client.
#![no_main]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use libfuzzer_sys::fuzz_target;
use tower_dcr::layers::{PolicyLayer, RegistrationBody};
use tower_dcr::rules::RedirectUris;
use tower_dcr::{ClientUrl, Rejection};
use tower_layer::Layer;
use tower_service::Service;
use url::Url;

#[derive(Clone)]
struct Handler;

impl Service<Request<RegistrationBody>> for Handler {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<RegistrationBody>) -> Self::Future {
        ready(Ok(Response::default()))
    }
}

/// Returns whether an update of the client `id` is for the client that the URL names. `None` if it names no client.
fn names(urls: &ClientUrl, uri: &Uri, id: &str) -> Option<bool> {
    let body = serde_json::json!({ "client_id": id, "redirect_uris": ["http://localhost/cb"] }).to_string();
    let update = Request::put(uri).header("content-type", "application/json").body(Full::<Bytes>::from(body)).ok()?;
    let layer = PolicyLayer::new(RedirectUris::mcp()).with_client_url(urls.clone());
    let answer = pin!(layer.layer(Handler).call(update)).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Ok(response)) = answer else { panic!("nothing to wait for") };
    match response.extensions().get::<Rejection>() {
        None => Some(true),
        Some(rejection) if rejection.field.as_deref() == Some("client_id") => Some(false),
        Some(_) => None,
    }
}

fn is_unreserved(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

fuzz_target!(|target: &[u8]| {
    let target = [b"/register/", target].concat();
    let Ok(uri) = Uri::try_from(target.as_slice()) else { return };
    let url = Url::parse(&format!("http://as.example{uri}")).expect("it was a URI");
    let last = url.path_segments().and_then(Iterator::last).unwrap_or_default();
    if let Some(is_last) = names(&ClientUrl::default(), &uri, last) {
        assert!(is_last && is_unreserved(last), "{uri} does not name {last:?}");
        assert!(last != "." && last != ".." && uri.path().ends_with(&format!("/{last}")), "{uri} is {last:?}");
        // The URL standard takes `.`, `..`, `%2e` and `\` out first.
        assert_eq!(url.path(), uri.path(), "read otherwise by the URL standard");
        assert!(url.query_pairs().all(|(name, value)| name != "client_id" || value == last), "{uri} names two");
    }
    let mut in_query = ClientUrl::default();
    in_query.in_query = true;
    let named: Vec<_> = url.query_pairs().filter(|(name, _)| name == "client_id").collect();
    let id = named.first().map_or("", |(_, id)| id);
    if let Some(is_named) = names(&in_query, &uri, id) {
        assert!(is_named && named.len() == 1, "{uri} is not {id:?}");
    }
});
