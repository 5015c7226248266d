//! The server's discovery document, as clients of this proxy read it.

use std::sync::Once;

use axum::http::header;
use axum::http::request::Parts;
use serde_json::{Map, Value};
use url::Url;

use crate::endpoints::{Endpoint, Endpoints};
use crate::{Error, Origin};

/// How clients call this proxy, and what they should ask for here.
pub(crate) struct Public {
    url: Option<Origin>,
    server: url::Origin,
    endpoints: Endpoints,
    gated: bool,
    warned: Once,
}

const REGISTRATION: &str = "registration_endpoint";

impl Public {
    pub(crate) fn new(url: Option<Origin>, server: &Origin, endpoints: Endpoints, gated: bool) -> Result<Self, Error> {
        let server = Url::parse(&server.to_string())?.origin();
        Ok(Self { url, server, endpoints, gated, warned: Once::new() })
    }

    /// Has clients ask here for the endpoints that are guarded here, and for everything that the server has at its own
    /// address, which is closed to them. The issuer stays the server's word: it is also in its tokens and in its answers
    /// (RFC 9207), and clients compare.
    pub(crate) fn amend(&self, request: &Parts, document: &mut Map<String, Value>) {
        let here = self.url.clone().or_else(|| called(request));
        for (name, value) in document.iter_mut().filter(|(name, _)| *name != "issuer") {
            let Some(url) = value.as_str().and_then(|url| Url::parse(url).ok()) else { continue };
            if self.is_guarded(name, &url) || url.origin() == self.server {
                let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
                *value = here.as_ref().map_or(Value::Null, |here| format!("{here}{}{query}", url.path()).into());
            }
        }
        // Another tenant's, perhaps, or nobody knows where. Whoever registers there is not reviewed.
        let registers = document.get(REGISTRATION).map(|url| url.as_str().and_then(|url| Url::parse(url).ok()));
        if registers.is_some_and(|url| !url.is_some_and(|url| self.is_guarded(REGISTRATION, &url))) {
            document.remove(REGISTRATION);
            self.warned.call_once(|| {
                let path = request.uri.path();
                tracing::warn!("{path:?} names a registration endpoint that is not guarded (see --register-path)");
            });
        }
        document.retain(|_, value| !value.is_null());
    }

    /// Whether `url` leads to the endpoint that its name says, and there is something in front of that.
    fn is_guarded(&self, name: &str, url: &Url) -> bool {
        let endpoint = match name {
            REGISTRATION => Endpoint::Register,
            "authorization_endpoint" if self.gated => Endpoint::Authorize,
            "token_endpoint" if self.gated => Endpoint::Token,
            _ => return false,
        };
        self.endpoints.at(url.path()) == Some(endpoint)
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
