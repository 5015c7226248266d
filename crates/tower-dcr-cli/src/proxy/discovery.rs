//! The server's discovery document, rewritten for clients of this proxy.

use std::sync::Once;

use axum::http::request::Parts;
use serde_json::{Map, Value};
use tower_dcr_server::{Endpoint, Endpoints};
use url::Url;

use super::forwarded::Testimony;
use super::{Error, Origin};

/// The public URL of this proxy, and the endpoints that it announces.
pub(crate) struct Public {
    url: Option<Origin>,
    server: url::Origin,
    endpoints: Endpoints,
    gated: bool,
    warned: Once,
}

const REGISTRATION: &str = "registration_endpoint";

/// The member with other URLs of endpoints (RFC 8705 section 5).
const ALIASES: &str = "mtls_endpoint_aliases";

impl Public {
    pub(crate) fn new(url: Option<Origin>, server: &Origin, endpoints: &Endpoints, gated: bool) -> Result<Self, Error> {
        let server = Url::parse(&server.to_string())?.origin();
        // Which paths of the document are protected is a question of their endpoint, not of their spelling.
        let endpoints = endpoints.clone().allow_odd_paths(true);
        Ok(Self { url, server, endpoints, gated, warned: Once::new() })
    }

    /// Replaces the URLs of protected endpoints, and all URLs at the server's own address, which clients can't reach,
    /// with URLs of this proxy. The issuer does not change: it is also in the server's tokens and responses (RFC 9207),
    /// and clients compare it.
    pub(crate) fn amend(&self, request: &Parts, document: &mut Map<String, Value>) {
        let here = self.url.clone().or_else(|| request.extensions.get::<Testimony>()?.called.clone());
        self.lead_here(here.as_ref(), document);
        if let Some(Value::Object(aliases)) = document.get_mut(ALIASES) {
            self.lead_here(here.as_ref(), aliases);
            // Clients that find no alias use the endpoint itself (RFC 8705 section 5), which is protected.
            aliases.retain(|name, value| self.guards(name).is_none() || self.is_here(here.as_ref(), name, value));
        }
        // It names the server's own endpoints, and takes precedence (RFC 8414 section 2.1).
        document.remove("signed_metadata");
        // It may be another tenant's, or at an unknown place. Registrations there are not evaluated.
        if document.get(REGISTRATION).is_some_and(|url| !self.is_here(here.as_ref(), REGISTRATION, url)) {
            document.remove(REGISTRATION);
            self.warned.call_once(|| {
                let path = request.uri.path();
                tracing::warn!(
                    "removed an unprotected registration endpoint from {path:?}; to protect it, add --register-path"
                );
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

    /// Returns `true` if the member names a protected endpoint at this proxy.
    fn is_here(&self, here: Option<&Origin>, name: &str, value: &Value) -> bool {
        let url = value.as_str().and_then(|url| Url::parse(url).ok());
        url.is_some_and(|url| {
            here.and_then(|here| Url::parse(&here.to_string()).ok()).is_some_and(|here| here.origin() == url.origin())
                && self.is_guarded(name, &url)
        })
    }

    /// Returns `true` if `url` leads to the endpoint that its name says, and that endpoint is protected.
    fn is_guarded(&self, name: &str, url: &Url) -> bool {
        self.guards(name).is_some_and(|endpoint| self.endpoints.at(url.path()) == Ok(Some(endpoint)))
    }

    fn guards(&self, name: &str) -> Option<Endpoint> {
        Endpoint::of_member(name).filter(|endpoint| self.gated || *endpoint == Endpoint::Registration)
    }
}
