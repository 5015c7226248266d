//! The server's discovery document, as clients of this proxy read it.

use std::sync::Once;

use axum::http::request::Parts;
use serde_json::{Map, Value};
use url::Url;

use crate::endpoints::{ALIASES, Endpoint, Endpoints, named};
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
        self.lead_here(here.as_ref(), document);
        if let Some(Value::Object(aliases)) = document.get_mut(ALIASES) {
            self.lead_here(here.as_ref(), aliases);
            // Clients that find no alias use the endpoint itself (RFC 8705 section 5), which is guarded.
            aliases.retain(|name, value| self.guards(name).is_none() || self.is_here(here.as_ref(), name, value));
        }
        // It says the same of the server's own endpoints, and takes precedence (RFC 8414 section 2.1).
        document.remove("signed_metadata");
        // Another tenant's, perhaps, or nobody knows where. Whoever registers there is not reviewed.
        if document.get(REGISTRATION).is_some_and(|url| !self.is_here(here.as_ref(), REGISTRATION, url)) {
            document.remove(REGISTRATION);
            self.warned.call_once(|| {
                let path = request.uri.path();
                tracing::warn!("{path:?} names a registration endpoint that is not guarded (see --register-path)");
            });
        }
        document.retain(|_, value| !value.is_null());
    }

    fn lead_here(&self, here: Option<&Origin>, document: &mut Map<String, Value>) {
        for (name, value) in document.iter_mut().filter(|(name, _)| *name != "issuer") {
            let Some(url) = value.as_str().and_then(|url| Url::parse(url).ok()) else { continue };
            if self.is_guarded(name, &url) || url.origin() == self.server {
                let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
                *value = here.map_or(Value::Null, |here| format!("{here}{}{query}", url.path()).into());
            }
        }
    }

    /// Returns whether the member leads to this proxy, and to an endpoint that it guards.
    fn is_here(&self, here: Option<&Origin>, name: &str, value: &Value) -> bool {
        let url = value.as_str().and_then(|url| Url::parse(url).ok());
        url.is_some_and(|url| {
            here.and_then(|here| Url::parse(&here.to_string()).ok()).is_some_and(|here| here.origin() == url.origin())
                && self.is_guarded(name, &url)
        })
    }

    /// Whether `url` leads to the endpoint that its name says, and there is something in front of that.
    fn is_guarded(&self, name: &str, url: &Url) -> bool {
        self.guards(name).is_some_and(|endpoint| self.endpoints.at(url.path()) == Ok(Some(endpoint)))
    }

    fn guards(&self, name: &str) -> Option<Endpoint> {
        named(name).filter(|endpoint| self.gated || *endpoint == Endpoint::Register)
    }
}

/// How the client called this proxy: by the headers that it has written itself.
fn called(request: &Parts) -> Option<Origin> {
    let said = |name: &str| request.headers.get(name)?.to_str().ok();
    let scheme = said("x-forwarded-proto").unwrap_or("http");
    format!("{scheme}://{}", said("x-forwarded-host")?).parse().ok()
}
