//! The way of an error back to the client.

use http::{HeaderValue, Response, StatusCode, header};
use http_body::Body;

use super::issuer;
use super::names::Name;
use super::parameters::Seen;
use super::records::Known;
use super::rules::response_mode::shows_token;
use super::settings::SettingsInForce;
use crate::layers::body::{self, ResponseBody};
use crate::redirect_uri::{self, RedirectUri, is_dangerous_scheme};
use crate::rules::ClaimStatus;

/// The way back to a client whose redirect URI is registered.
///
/// RFC 9700 section 4.11.2: a server that redirects errors to every registered URI is an open redirector, since anyone can
/// register one: "the authorization server MUST take precautions to prevent these threats". An error goes back by itself
/// only to a client whose identity is verified or that an operator approved. A person follows a link to all others.
#[derive(Debug)]
pub(super) struct Back {
    redirect_uri: String,
    /// The host or the scheme of the redirect URI, for people.
    place: String,
    state: Option<String>,
    issuer: Option<String>,
    in_fragment: bool,
    /// Set if the error is sent by a redirect.
    pub(super) is_trusted: bool,
}

impl Back {
    /// Returns the way back for an answer to `seen`. `None` if the redirect URI is not registered, or not certain.
    pub(super) fn of(known: &Known, seen: &Seen, settings: &SettingsInForce<'_>) -> Option<Self> {
        let registered = &known.registered()?.redirect_uris;
        let is_inside = seen.object.as_ref().is_some_and(|object| object.redirect_uri.is_some());
        let redirect_uri = match (&seen.redirect_uri, &registered[..]) {
            _ if is_inside || seen.request_uri.is_some() || !seen.is_request => return None,
            (Some(asked), all) => all.iter().any(|uri| redirect_uri::matches(uri, asked)).then(|| asked.clone())?,
            (None, [only]) => only.clone(),
            (None, _) => return None,
        };
        if settings.issuer().is_some() && issuer::is_ambiguous(&redirect_uri) {
            return None;
        }
        let parsed = RedirectUri::parse(&redirect_uri).ok().filter(|uri| !is_dangerous_scheme(uri.scheme()))?;
        let place = parsed.host().map_or_else(|| format!("{}:", parsed.scheme()), ToString::to_string);
        let given = &seen.given;
        let types = given.only(Name::ResponseType).unwrap_or("code");
        let mode = given.only(Name::ResponseMode);
        let client = &known.client;
        let is_verified = client.identity.as_ref().is_some_and(|identity| identity.status == ClaimStatus::Verified);
        Some(Self {
            place,
            state: given.only(Name::State).map(str::to_owned),
            issuer: settings.issuer().map(str::to_owned),
            in_fragment: mode == Some("fragment") || (mode.is_none() && shows_token(types)),
            is_trusted: (is_verified || client.reviewed_at.is_some())
                && matches!(mode, None | Some("query" | "fragment")),
            redirect_uri,
        })
    }

    /// Returns the redirect URI with the parameters of an error (RFC 6749 section 4.1.2.1).
    fn with_error(&self, error: &str, description: &str) -> String {
        let mut parameters = form_urlencoded::Serializer::new(String::new());
        parameters.append_pair("error", error).append_pair("error_description", description);
        let (state, issuer) = (self.state.as_deref(), self.issuer.as_deref());
        for (name, value) in [("state", state), ("iss", issuer)] {
            if let Some(value) = value {
                parameters.append_pair(name, value);
            }
        }
        let separator = match (self.in_fragment, self.redirect_uri.contains('?')) {
            (true, _) => '#',
            (false, true) => '&',
            (false, false) => '?',
        };
        format!("{}{separator}{}", self.redirect_uri, parameters.finish())
    }

    /// Redirects the browser to the client.
    pub(super) fn redirect<R: Body>(&self, is_post: bool, error: &str, description: &str) -> Response<ResponseBody<R>> {
        // RFC 9700 section 4.12: never 307, which sends a form on.
        let status = if is_post { StatusCode::SEE_OTHER } else { StatusCode::FOUND };
        let mut response = body::answer(status, "text/plain; charset=utf-8", String::new());
        let location = HeaderValue::try_from(self.with_error(error, description));
        response.headers_mut().extend(location.map(|location| (header::LOCATION, location)));
        response
    }

    /// Returns a link for a page. The parts that come from the client are escaped.
    pub(super) fn link(&self, error: &str, description: &str) -> String {
        let (target, place) = (escaped(&self.with_error(error, description)), escaped(&self.place));
        format!(
            "<p>The application is at <strong>{place}</strong>. Only go there if you know it: \
             <a rel=\"noreferrer nofollow\" href=\"{target}\">return to {place}</a></p>"
        )
    }
}

/// Escapes a text for HTML. A redirect URI has no other characters that count there: RFC 3986 section 2.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
