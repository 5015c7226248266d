//! Reads the client and the redirect URI of a request.

use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body::Body;

use super::credentials::Credentials;
use super::endpoint::{Endpoint, Sender};
use super::names::{self, Name, Reading};
use super::rejection::Fault;
use super::{form, signed};
use crate::layers::body::{self, BoxError, MediaType, ReadError, ResponseBody, Unread};
use crate::registration::{Limits, Registration, Value};

/// The parts of a request that the gate uses.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub(super) struct Seen {
    /// The address that it comes from.
    pub(super) address: Option<IpAddr>,
    /// The client; several if the name has several readings; empty if the request names none.
    pub(super) client_ids: Vec<String>,
    /// Set if it was named in `Authorization: Basic`.
    pub(super) by_basic: bool,
    /// Set if it is named in a place that some servers ignore, so that to them the request names no client.
    pub(super) is_named_aside: bool,
    /// Set if a server that knows the client has no reason to reject it: no credentials, and only the parameters of a
    /// code flow with PKCE.
    pub(super) is_plain: bool,
    /// Set if it asks for an authorization, and is no step of a consent form.
    pub(super) is_request: bool,
    pub(super) scope: Option<String>,
    /// Set if a bearer or `DPoP` token was sent.
    pub(super) has_token: bool,
    pub(super) redirect_uri: Option<String>,
    /// The redirect URI in a request object (RFC 9101).
    pub(super) object: Option<Object>,
    /// A reference to a request object (RFC 9101), or to a pushed request (RFC 9126).
    pub(super) request_uri: Option<String>,
    pub(super) grant_type: Option<String>,
    /// The code, refresh token or device code.
    pub(super) grant: Option<String>,
}

/// The parts of a request object that the gate uses.
#[derive(Debug, Default)]
pub(super) struct Object {
    pub(super) redirect_uri: Option<String>,
}

/// The maximum length of a body. Request objects with keys in them are the largest honest bodies.
const MAX_BODY: usize = 128 * 1024;
const DEADLINE: Duration = Duration::from_secs(10);
const LIMITS: Limits = Limits { max_bytes: MAX_BODY, max_string: MAX_BODY, ..Limits::DEFAULT };

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// A request whose body was not read to its end.
pub(super) struct Unfinished<B> {
    pub(super) fault: Fault,
    /// Set if the rest can still be read.
    pub(super) can_go_on: bool,
    parts: Parts,
    read: Bytes,
    rest: Option<Pin<Box<B>>>,
}

impl<B: Body + Send + 'static> Unfinished<B> {
    /// Answers without the rest of the body.
    pub(super) async fn answer<R>(self, answer: Response<R>) -> Response<R> {
        match self.rest {
            Some(rest) => Unread::new(self.parts.version, self.parts.headers, rest).answer(answer).await,
            None => answer,
        }
    }

    /// Returns the request unchanged.
    pub(super) fn into_request(self) -> Request<ResponseBody<B>> {
        let body = match self.rest {
            Some(rest) => ResponseBody::begun(self.read, ResponseBody::inner(rest)),
            None => ResponseBody::own(self.read),
        };
        Request::from_parts(self.parts, body)
    }
}

/// Reads the body before any decision: a client that still sends may not receive a response.
pub(super) async fn read_body<B>(endpoint: &Endpoint, request: Request<B>) -> Result<(Parts, Bytes), Box<Unfinished<B>>>
where
    B: Body<Error: Into<BoxError>>,
{
    let (parts, body) = request.into_parts();
    if !endpoint.methods.contains(&parts.method) {
        let rest = Some(Box::pin(body));
        let unfinished = Unfinished { fault: Fault::Method, can_go_on: true, parts, read: Bytes::new(), rest };
        return Err(Box::new(unfinished));
    }
    let read = body::read(body, &parts.headers, MAX_BODY, DEADLINE).await;
    let (fault, can_go_on) = match read.error {
        None => return Ok((parts, read.bytes)),
        Some(ReadError::TooLarge) => (Fault::TooLarge, true),
        // A truncated body would reach the server as if it were whole.
        Some(_) => (Fault::Ambiguous("the body could not be read to its end"), false),
    };
    Err(Box::new(Unfinished { fault, can_go_on, parts, read: read.bytes, rest: read.rest }))
}

/// Reads the parameters, and restores the bytes of the body unchanged, under headers that describe only them.
pub(super) fn read<B: Body>(
    endpoint: &Endpoint,
    mut parts: Parts,
    bytes: Bytes,
) -> Result<(Request<ResponseBody<B>>, Seen), Fault> {
    if parts.method != Method::POST {
        if !endpoint.methods.contains(&parts.method) {
            return Err(Fault::Method);
        }
        // A body has no meaning here (RFC 9110 section 9.3.1), but some servers read one: it is dropped.
        body::forget_old_body(&mut parts.headers);
        let seen = if parts.method == Method::OPTIONS {
            // A preflight of a browser (Fetch standard section 3.2.2) comes from no client yet. With parameters it is a
            // request, to handlers that ignore the method.
            let mut parameters =
                Parameters { is_for_clients: endpoint.sender == Sender::Client, ..Parameters::default() };
            form::read(parts.uri.query().unwrap_or_default().as_bytes(), |name, value| parameters.add(name, value))?;
            if parameters.has_any() {
                return Err(Fault::Ambiguous("a preflight has the parameters of a request"));
            }
            Seen::default()
        } else {
            seen(endpoint, &parts.method, &parts.uri, &parts.headers, Content::None)?
        };
        return Ok((Request::from_parts(parts, ResponseBody::own(Bytes::new())), seen));
    }
    let media = media_type(&parts.headers)?;
    let content = match media {
        _ if bytes.is_empty() => Content::None,
        Media::Form => Content::Form(&bytes),
        Media::Json => Content::Json(&bytes),
        Media::None => return Err(Fault::Ambiguous("the body has no media type")),
        Media::Other => return Err(Fault::Ambiguous("the body is neither a form nor JSON in UTF-8")),
    };
    let seen = seen(endpoint, &parts.method, &parts.uri, &parts.headers, content)?;
    match media {
        Media::Form => body::describe_body(&mut parts.headers, FORM, bytes.len()),
        Media::Json => body::describe_body(&mut parts.headers, JSON, bytes.len()),
        // The body is empty.
        Media::None | Media::Other => {
            body::forget_old_body(&mut parts.headers);
            body::ask_for_plain_answer(&mut parts.headers);
        }
    }
    Ok((Request::from_parts(parts, ResponseBody::own(bytes)), seen))
}

#[derive(Clone, Copy)]
enum Media {
    Form,
    Json,
    None,
    Other,
}

/// Reads the media type of the body. Frameworks differ in the media types that they parse as a form, and decoders in
/// their handling of a charset or a content coding: one form of each is accepted.
fn media_type(headers: &HeaderMap) -> Result<Media, Fault> {
    if body::is_encoded(headers) {
        return Err(Fault::Ambiguous("the body is compressed"));
    }
    match MediaType::of(headers) {
        Ok(None) => Ok(Media::None),
        Ok(Some(media)) if media.is_utf8() && media.is(FORM) => Ok(Media::Form),
        Ok(Some(media)) if media.is_utf8() && media.is(JSON) => Ok(Media::Json),
        Ok(Some(_)) => Ok(Media::Other),
        Err(_) => Err(Fault::Ambiguous("the media type can't be read")),
    }
}

/// The body of a request.
#[derive(Clone, Copy)]
enum Content<'a> {
    None,
    Form(&'a [u8]),
    Json(&'a [u8]),
}

fn seen(
    endpoint: &Endpoint,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    content: Content<'_>,
) -> Result<Seen, Fault> {
    let is_for_clients = endpoint.sender == Sender::Client;
    let mut parameters = Parameters { is_for_clients, ..Parameters::default() };
    form::read(uri.query().unwrap_or_default().as_bytes(), |name, value| parameters.add(name, value))?;
    if !is_for_clients {
        // A consent form without an `action` is sent to the URL of the request, often with all its parameters once
        // more. Equal values are no conflict.
        parameters.in_query = Some(Box::new(std::mem::take(&mut parameters)));
    }
    // RFC 6749 section 2.3.1: "The parameters can only be transmitted in the request-body and MUST NOT be included in
    // the request URI". Some servers read them there.
    let is_aside = method == Method::POST && is_for_clients && parameters.has_any();
    let named_aside = is_aside && parameters.client_id.is_some();
    if is_aside && !parameters.has_only_client() {
        return Err(Fault::Ambiguous("parameters of the request are in its URL"));
    }
    match content {
        Content::None => {}
        Content::Form(bytes) => {
            // Iconv and similar decoders drop the mark, others read it as a part of the first name.
            if bytes.starts_with(BOM) {
                return Err(Fault::Ambiguous("the body begins with a byte order mark"));
            }
            if matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'[')) {
                return Err(Fault::Ambiguous("the body is JSON and a form"));
            }
            form::read(bytes, |name, value| parameters.add(name, value))?;
        }
        Content::Json(bytes) => parameters.add_json(bytes)?,
    }
    parameters.unite()?;
    let credentials = Credentials::read(headers, &LIMITS, is_for_clients)?;
    let mut seen = parameters.seen(&credentials, endpoint)?;
    // A consent form has a parameter of its own, such as a decision or a state.
    seen.is_request = method != Method::POST || is_for_clients || parameters.asks_for_response || !parameters.has_more;
    let is_only_attested = credentials.attested.is_some() && !parameters.names_client() && credentials.basic.is_empty();
    seen.is_named_aside =
        (named_aside && credentials.basic.is_empty() && !parameters.is_asserted()) || is_only_attested;
    Ok(seen)
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The parameters that the gate uses, from all places. An empty value counts as present, but has no value.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
struct Parameters {
    /// Set if clients call the endpoint, not browsers.
    is_for_clients: bool,
    client_id: Option<String>,
    redirect_uri: Option<String>,
    assertion: Option<String>,
    assertion_type: Option<String>,
    request: Option<String>,
    request_uri: Option<String>,
    grant_type: Option<String>,
    code: Option<String>,
    refresh_token: Option<String>,
    device_code: Option<String>,
    auth_req_id: Option<String>,
    /// Set if there is something that a server may reject.
    is_odd: bool,
    asks_for_response: bool,
    /// Set if there are parameters that the gate does not use.
    has_more: bool,
    has_code_flow: bool,
    has_challenge: bool,
    scope: Option<String>,
    /// The parameters in the query of a form for people.
    in_query: Option<Box<Parameters>>,
}

/// The only supported type of client assertion (RFC 7523 section 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

impl Parameters {
    fn slot(&mut self, name: Name) -> &mut Option<String> {
        match name {
            Name::ClientId => &mut self.client_id,
            Name::RedirectUri => &mut self.redirect_uri,
            Name::ClientAssertion => &mut self.assertion,
            Name::ClientAssertionType => &mut self.assertion_type,
            Name::Request => &mut self.request,
            Name::RequestUri => &mut self.request_uri,
            Name::GrantType => &mut self.grant_type,
            Name::Code => &mut self.code,
            Name::RefreshToken => &mut self.refresh_token,
            Name::DeviceCode => &mut self.device_code,
            Name::AuthReqId => &mut self.auth_req_id,
        }
    }

    /// Merges the parameters from the query, unless the body contradicts them.
    fn unite(&mut self) -> Result<(), Fault> {
        let Some(mut query) = self.in_query.take() else { return Ok(()) };
        for name in Name::ALL {
            let in_query = query.slot(name).take();
            let slot = self.slot(name);
            match (&slot, in_query) {
                (Some(body), Some(in_query)) if *body != in_query => {
                    return Err(Fault::Ambiguous("a parameter is repeated"));
                }
                (None, in_query) => *slot = in_query,
                _ => {}
            }
        }
        self.is_odd |= query.is_odd;
        self.asks_for_response |= query.asks_for_response;
        self.has_more |= query.has_more;
        self.has_code_flow |= query.has_code_flow;
        self.has_challenge |= query.has_challenge;
        self.scope = self.scope.take().or(query.scope);
        Ok(())
    }

    fn has_any(&mut self) -> bool {
        Name::ALL.into_iter().any(|name| self.slot(name).is_some())
    }

    fn has_only_client(&mut self) -> bool {
        Name::ALL.into_iter().all(|name| name == Name::ClientId || self.slot(name).is_none())
    }

    fn names_client(&self) -> bool {
        self.client_id.as_ref().is_some_and(|id| !id.is_empty()) || self.is_asserted()
    }

    fn is_asserted(&self) -> bool {
        self.assertion.as_ref().is_some_and(|assertion| !assertion.is_empty())
    }

    fn add_json(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let document = Registration::parse_with(bytes, &LIMITS)
            .map_err(|_| Fault::Ambiguous("the body is not one JSON object"))?;
        form::check_json(bytes)?;
        document.iter().try_for_each(|(name, value)| match value {
            Value::String(text) => self.add(name, text),
            Value::Null => self.add(name, ""),
            // Copied member by member, it becomes the prototype of the copy.
            _ if name == "__proto__" => Err(Fault::Ambiguous("a parameter has an unusual name")),
            _ if names::read(name) == Reading::Other => Ok(()),
            _ => Err(Fault::Ambiguous("a parameter is not a string")),
        })
    }

    /// Adds a parameter. RFC 6749 section 3.1: "Request and response parameters MUST NOT be included more than once".
    /// Of two, one server takes the first and another one the last, with or without a value.
    fn add(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        match names::read(name) {
            Reading::Other if name == "_charset_" && !value.is_empty() && !value.eq_ignore_ascii_case("utf-8") => {
                Err(Fault::Ambiguous("the form is not UTF-8"))
            }
            Reading::Other => {
                self.is_odd |= !is_plain(name, value);
                self.has_more = true;
                match name {
                    "response_type" => {
                        self.asks_for_response = true;
                        self.has_code_flow = value == "code";
                    }
                    "code_challenge" => self.has_challenge = true,
                    "scope" => self.scope = Some(value.to_owned()),
                    _ => {}
                }
                Ok(())
            }
            Reading::Exact(name) | Reading::Folded(name) if name.is_of_token_request() && !self.is_for_clients => {
                Ok(())
            }
            Reading::Folded(_) => Err(Fault::Ambiguous("a parameter has an unusual name")),
            Reading::Exact(name) => match self.slot(name).replace(value.to_owned()) {
                None => Ok(()),
                Some(_) => Err(Fault::Ambiguous("a parameter is repeated")),
            },
        }
    }

    fn seen(&self, credentials: &Credentials, endpoint: &Endpoint) -> Result<Seen, Fault> {
        let there = |slot: &Option<String>| slot.clone().filter(|value| !value.is_empty());
        let object = there(&self.request).map(|token| RequestObject::read(&token)).transpose()?;
        let mut named: Vec<String> = there(&self.client_id).into_iter().collect();
        if let Some(assertion) = there(&self.assertion) {
            if there(&self.assertion_type).is_some_and(|kind| kind != JWT_BEARER) {
                return Err(Fault::Ambiguous("the assertion is of an unknown type"));
            }
            let subject = signed::subject(&assertion, &LIMITS);
            named.push(subject.ok_or(Fault::Ambiguous("the assertion can't be read"))?);
        }
        named.extend(credentials.attested.clone());
        let mut client_ids = credentials.basic.clone();
        for id in named {
            // The other readings of Basic stay: a server may use one of them, even if the client is named elsewhere.
            match client_ids.iter().position(|known| *known == id) {
                Some(at) => client_ids.swap(0, at),
                None if client_ids.is_empty() => client_ids.push(id),
                None => return Err(DIFFERENT),
            }
        }
        if client_ids.iter().chain(&credentials.by_field).any(|id| !is_identifier(id)) {
            return Err(Fault::Ambiguous("the name of the client has unusual characters"));
        }
        // A gateway may read such a field, but the server need not, so it does not name the client.
        if credentials.by_field.iter().any(|id| !client_ids.contains(id)) {
            return Err(DIFFERENT);
        }
        let request_uri = there(&self.request_uri);
        if object.is_some() && request_uri.is_some() {
            // RFC 9101 section 5: "if one of these parameters is used, the other MUST NOT be used".
            return Err(Fault::Ambiguous("there are two request objects"));
        }
        if client_ids.is_empty() && (object.is_some() || request_uri.is_some()) {
            // RFC 9101 section 5 and RFC 9126 section 4 require it; a server that does not require it takes it from
            // inside.
            return Err(Fault::Ambiguous("the request object names no client"));
        }
        let redirect_uri = there(&self.redirect_uri);
        if let Some(object) = &object {
            object.check(&client_ids, redirect_uri.as_deref())?;
        }
        if !endpoint.takes_request_uri && request_uri.is_some() {
            // RFC 9126 section 2.1: "the authorization server MUST reject the request".
            return Err(Fault::Ambiguous("a pushed request refers to another one"));
        }
        let grant_type = there(&self.grant_type);
        let grant = match grant_type.as_deref() {
            Some("authorization_code") => there(&self.code),
            Some("refresh_token") => there(&self.refresh_token),
            Some("urn:ietf:params:oauth:grant-type:device_code") => there(&self.device_code),
            Some("urn:openid:params:grant-type:ciba") => there(&self.auth_req_id),
            _ => None,
        };
        Ok(Seen {
            address: None,
            client_ids,
            by_basic: !credentials.basic.is_empty(),
            is_named_aside: false,
            is_plain: !self.is_odd
                && object.is_none()
                && !credentials.is_any()
                && there(&self.assertion).is_none()
                && (self.is_for_clients || self.has_code_flow && self.has_challenge),
            is_request: true,
            scope: there(&self.scope),
            has_token: credentials.has_token,
            redirect_uri,
            object: object.map(|object| Object { redirect_uri: object.redirect_uri }),
            request_uri,
            grant_type,
            grant,
        })
    }
}

/// Returns whether a parameter is one that every server of a code flow with PKCE takes, with a value that is well
/// formed.
fn is_plain(name: &str, value: &str) -> bool {
    let is_base64url = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.' | b'~');
    match name {
        "response_type" => value == "code",
        "code_challenge_method" => value == "S256",
        "code_challenge" => value.len() == 43 && value.bytes().all(is_base64url),
        "code_verifier" => (43..=128).contains(&value.len()) && value.bytes().all(is_base64url),
        "prompt" => value == "consent",
        "resource" | "scope" | "state" => value.bytes().all(|byte| matches!(byte, b' '..=b'~')),
        _ => false,
    }
}

const DIFFERENT: Fault = Fault::Ambiguous("the client is named in two ways that differ");

/// Returns whether the text can be a client ID. RFC 6749 appendix A.1: `client-id = *VSCHAR`. Databases pad and trim,
/// and C strings end at a NUL.
fn is_identifier(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| matches!(byte, b' '..=b'~')) && id.trim_matches(' ') == id
}

/// The claims of a request object (RFC 9101) that repeat parameters of the request.
struct RequestObject {
    client_id: Option<String>,
    issuer: Option<String>,
    redirect_uri: Option<String>,
}

impl RequestObject {
    fn read(token: &str) -> Result<Self, Fault> {
        let unclear = Fault::Ambiguous("the request object can't be read");
        let claims = signed::claims(token, &LIMITS).ok_or(unclear)?;
        let claim = |name| signed::claim(&claims, name).map(|claim| claim.map(str::to_owned)).ok_or(unclear);
        let mut inside = Parameters::default();
        for (name, value) in claims.iter() {
            match value {
                Value::String(text) => inside.add(name, text)?,
                Value::Null => inside.add(name, "")?,
                _ if names::read(name) == Reading::Other => {}
                _ => return Err(unclear),
            }
        }
        // RFC 9101 section 4: "request and request_uri parameters MUST NOT be included in Request Objects".
        if inside.request.is_some() || inside.request_uri.is_some() {
            return Err(unclear);
        }
        Ok(Self { client_id: claim("client_id")?, issuer: claim("iss")?, redirect_uri: claim("redirect_uri")? })
    }

    fn check(&self, client_ids: &[String], redirect_uri: Option<&str>) -> Result<(), Fault> {
        let names_another = |id: &Option<String>| id.as_ref().is_some_and(|id| !client_ids.contains(id));
        if names_another(&self.client_id) || names_another(&self.issuer) {
            return Err(DIFFERENT);
        }
        match (redirect_uri, &self.redirect_uri) {
            (Some(plain), Some(inside)) if plain != inside => {
                Err(Fault::Ambiguous("the request object asks for the answer at another address"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
