//! The parameter `iss` in authorization responses (RFC 9207), which the gate adds to redirects.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderValue, Response, header};
use percent_encoding::{CONTROLS, percent_decode_str, percent_encode};

use super::Judgement;
use super::admission::Admitted;
use super::names::{self, Name};
use super::parameters::Seen;
use super::records::Known;
use super::rejection::Fault;
use super::rules::response_mode;
use crate::layers::web_url::{self, WebUrl};

/// The responses to a request of the authorization endpoint, each of which names the issuer.
///
/// RFC 9207 section 2: "In authorization responses to the client, including error responses, an authorization server
/// supporting this specification MUST indicate its identity by including the iss parameter in the response."
pub(super) struct Responses {
    issuer: String,
    /// The redirect URIs that the request names.
    asked: Vec<String>,
    /// The client. `None` if it is not known.
    client: Option<Arc<Known>>,
}

/// The parameters by which a client recognises a response.
const OF_RESPONSES: [&str; 5] = ["code", "error", "access_token", "id_token", SIGNED];
/// The parameter of a signed response, which has `iss` inside (JARM section 2.1).
const SIGNED: &str = "response";

impl Judgement<'_> {
    /// Returns the responses that this gate amends. `None` if no issuer is set.
    ///
    /// Rejects requests whose response can't get the parameter, whatever the rules are: clients that read the announcement reject
    /// a response without it (RFC 9207 section 2.4).
    pub(super) fn responses(&self, seen: &Seen, admitted: &Admitted<'_>) -> Result<Option<Responses>, Fault> {
        if !self.endpoint.compares_redirect_uri() {
            return Ok(None);
        }
        let Some(issuer) = self.settings.issuer().map(str::to_owned) else { return Ok(None) };
        if !seen.given.values(Name::ResponseMode).all(can_name_issuer) {
            return Err(Fault::Rule(
                "invalid_request",
                "this response_mode can't carry iss, which this server sends with each response",
            ));
        }
        let inside = seen.object.as_ref().and_then(|object| object.redirect_uri.clone());
        let asked: Vec<String> = seen.redirect_uri.iter().cloned().chain(inside).collect();
        let responses = Responses { issuer, asked, client: admitted.known.clone() };
        let used = match (&responses.asked[..], responses.registered()) {
            ([], [only]) => std::slice::from_ref(only),
            (asked, _) => asked,
        };
        if used.iter().any(|uri| is_ambiguous(uri)) {
            return Err(Fault::Rule("invalid_request", "the redirect URI has a parameter of responses in its query"));
        }
        Ok(Some(responses))
    }
}

/// Returns `true` if a response in this mode has the parameter: redirects get it, and signed responses have it inside (JARM
/// section 2.1). A page of the server with a form or a script gets none.
pub(crate) fn can_name_issuer(mode: &str) -> bool {
    matches!(mode, "query" | "fragment") || response_mode::SIGNED.contains(&mode)
}

/// Returns `true` if a response to the redirect URI has a parameter twice: of two, one client takes the first, another one
/// the last. Not for `state`: known clients have one there.
pub(super) fn is_ambiguous(redirect_uri: &str) -> bool {
    let is_taken = |name: &str| is_named(name, "iss") || OF_RESPONSES.iter().any(|known| is_named(name, known));
    redirect_uri.split_once('?').is_some_and(|(_, query)| query.split(['&', ';']).any(is_taken))
}

/// Returns `true` if some client reads the name of a pair as this one: in another case (ASP.NET), or as an array (PHP).
fn is_named(pair: &str, known: &str) -> bool {
    let Some((name, _)) = form_urlencoded::parse(pair.as_bytes()).next() else { return false };
    let stem = name.split('[').next().unwrap_or_default();
    [&*name, stem].iter().any(|name| *name == known || names::is_spelling_of(name, known))
}

/// Returns `true` if the part of a URL has a parameter of a response.
fn is_response(part: &str) -> bool {
    form_urlencoded::parse(part.as_bytes()).any(|(name, _)| OF_RESPONSES.contains(&&*name))
}

/// Returns `true` if the parameters are those of a signed response.
fn is_signed(part: &str) -> bool {
    let mut found =
        form_urlencoded::parse(part.as_bytes()).filter(|(name, _)| OF_RESPONSES.contains(&&**name)).peekable();
    found.peek().is_some() && found.all(|(name, _)| name == SIGNED)
}

impl Responses {
    /// Returns the redirect URIs of the client's registration.
    fn registered(&self) -> &[String] {
        let registered = self.client.as_ref().and_then(|client| client.registered());
        registered.map(|registered| &registered.redirect_uris[..]).unwrap_or_default()
    }

    /// Names the issuer in a redirect to the client, exactly once.
    pub(super) fn name_issuer<R>(&self, response: &mut Response<R>) {
        if !response.status().is_redirection() {
            return;
        }
        let Some(location) = response.headers().get(header::LOCATION) else { return };
        // Servers write the state of a request as it came. Browsers escape it then.
        let location = percent_encode(location.as_bytes(), CONTROLS).to_string();
        if !self.lead_to_client(&location) {
            return;
        }
        if let Ok(amended) = HeaderValue::try_from(self.amended(&location)) {
            response.headers_mut().insert(header::LOCATION, amended);
        }
    }

    /// Returns `true` if a redirect leads to the client. Other redirects are steps on the way there, such as a login form or
    /// another identity provider.
    fn lead_to_client(&self, location: &str) -> bool {
        let url = self.absolute(location);
        if self.asked.iter().chain(self.registered()).any(|uri| is_at(&url, uri)) {
            return true;
        }
        // A step of a login or consent form often does not say where the answer goes, nor from which client it comes.
        self.asked.is_empty() && {
            let (query, fragment) = parts(location);
            let is_own = is_own(&url, &self.issuer);
            let may_be = |part: &str| {
                let has = |wanted: &str| form_urlencoded::parse(part.as_bytes()).any(|(name, _)| name == wanted);
                // A login form of the server shows errors, too.
                is_response(part) && (!is_own || !has("error") || has("state"))
            };
            query.into_iter().chain(fragment).any(may_be)
        }
    }

    /// Returns the URL that a path at the server leads to.
    fn absolute<'a>(&self, location: &'a str) -> Cow<'a, str> {
        let is_path = location.starts_with('/') && !location.starts_with("//");
        let after_scheme = self.issuer.find("://").map_or(0, |at| at + 3);
        let host = self.issuer.get(after_scheme..).unwrap_or_default().split('/').next().unwrap_or_default();
        let origin = self.issuer.get(..after_scheme + host.len());
        match origin.filter(|_| is_path) {
            Some(origin) => format!("{origin}{location}").into(),
            None => location.into(),
        }
    }

    /// Returns the location with the issuer. Every other `iss` is removed: of two, one client takes the first, another one the
    /// last, and a server that writes a `state` as it came writes the attacker's.
    fn amended(&self, location: &str) -> String {
        let (query, fragment) = parts(location);
        let (mut query, mut fragment) = (query.map(without_issuer), fragment.map(without_issuer));
        // A code flow answers in the query: a fragment beside it comes from the state.
        let is_query = query.as_deref().is_some_and(is_response) || !fragment.as_deref().is_some_and(is_response);
        let part = if is_query { &mut query } else { &mut fragment };
        let pair = form_urlencoded::Serializer::new(String::new()).append_pair("iss", &self.issuer).finish();
        match part {
            Some(part) if is_signed(part) => {}
            Some(part) if !part.is_empty() => *part = format!("{part}&{pair}"),
            _ => *part = Some(pair),
        }
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let fragment = fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default();
        format!("{}{query}{fragment}", place(location))
    }
}

/// Returns a URL without its query and fragment.
fn place(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// Returns the query and the fragment of a URL.
fn parts(url: &str) -> (Option<&str>, Option<&str>) {
    let (rest, fragment) = url.split_once('#').map_or((url, None), |(rest, fragment)| (rest, Some(fragment)));
    (rest.split_once('?').map(|(_, query)| query), fragment)
}

/// Returns the pairs of a query or fragment without those that some client reads as `iss`. All others keep their bytes, except
/// for a `;` at which an old parser would find one.
fn without_issuer(part: &str) -> String {
    let kept = part.split('&').filter(|pair| !is_named(pair, "iss")).map(|pair| {
        let hides_one = pair.split(';').skip(1).any(|piece| is_named(piece, "iss"));
        if hides_one { pair.replace(';', "%3B").into() } else { Cow::Borrowed(pair) }
    });
    kept.collect::<Vec<_>>().join("&")
}

/// Returns `true` if a URL is a redirect URI with parameters. Servers write it as their URL library does.
fn is_at(url: &str, redirect_uri: &str) -> bool {
    let (url, redirect_uri) = (place(url), place(redirect_uri));
    if let (Some(url), Some(redirect_uri)) = (WebUrl::read(url), WebUrl::read(redirect_uri)) {
        return url.has_place_of(&redirect_uri);
    }
    // An empty authority is none to some libraries: `com.example.app:///cb` is written as `com.example.app:/cb`.
    let plain =
        |text: &str| -> Vec<u8> { percent_decode_str(&text.trim_end_matches('/').replacen(":///", ":/", 1)).collect() };
    plain(url).eq_ignore_ascii_case(&plain(redirect_uri))
}

/// Returns `true` for a page of the server itself.
fn is_own(url: &str, issuer: &str) -> bool {
    match WebUrl::read(url) {
        Some(url) => WebUrl::read(issuer).is_some_and(|own| own.has_origin_of(&url)),
        // A relative URL leads to the server, and another scheme to an application.
        None => !web_url::has_scheme(url),
    }
}
