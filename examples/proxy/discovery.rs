//! The server's discovery document, as clients of this proxy read it.

use axum::http::header;
use axum::http::request::Parts;
use serde_json::{Map, Value};
use url::Url;

use crate::Origin;
use crate::endpoints::{Endpoint, Endpoints};

/// How clients call this proxy, and for which endpoints they should.
pub(crate) struct Public {
    url: Option<Origin>,
    endpoints: Endpoints,
    gated: bool,
}

impl Public {
    pub(crate) fn new(url: Option<Origin>, endpoints: Endpoints, gated: bool) -> Self {
        Self { url, endpoints, gated }
    }

    /// Has the endpoints that are guarded here be asked for here. The issuer stays the server's own word: it is also in
    /// its tokens and in its answers (RFC 9207), and clients compare.
    pub(crate) fn amend(&self, request: &Parts, document: &mut Map<String, Value>) {
        let Some(here) = self.url.clone().or_else(|| called(request)) else { return };
        self.here(document, "registration_endpoint", Endpoint::Register, &here);
        if self.gated {
            self.here(document, "authorization_endpoint", Endpoint::Authorize, &here);
            self.here(document, "token_endpoint", Endpoint::Token, &here);
        }
    }

    fn here(&self, document: &mut Map<String, Value>, name: &str, endpoint: Endpoint, here: &Origin) {
        let Some(url) = document.get(name).and_then(Value::as_str).and_then(|url| Url::parse(url).ok()) else { return };
        if self.endpoints.at(url.path()) == Some(endpoint) {
            let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
            document.insert(name.to_owned(), format!("{here}{}{query}", url.path()).into());
            return;
        }
        // Another tenant's, perhaps. Whoever registers there is not reviewed.
        tracing::warn!(
            name,
            path = url.path(),
            "the discovery document names an endpoint that is not guarded: see --help"
        );
        if endpoint == Endpoint::Register {
            document.remove(name);
        }
    }
}

/// How the client called this proxy. What untrusted peers claim is not in the headers any more.
fn called(request: &Parts) -> Option<Origin> {
    let first = |name: &str| Some(request.headers.get(name)?.to_str().ok()?.split(',').next()?.trim().to_owned());
    let host = first("x-forwarded-host").or_else(|| first(header::HOST.as_str()));
    let authority = host.or_else(|| request.uri.authority().map(ToString::to_string))?;
    let scheme = first("x-forwarded-proto").unwrap_or_else(|| "http".to_owned());
    format!("{scheme}://{authority}").parse().ok()
}
