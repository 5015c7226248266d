//! Which client a request comes from, and where it wants to be answered.

use std::error::Error;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Uri};
use http_body::Body;

use super::credentials::Credentials;
use super::names::{self, Name, Reading};
use super::refusal::Fault;
use super::{Endpoint, form, signed};
use crate::body::{self, MediaType, ReadError, ReplayBody, Unread};
use crate::registration::{Limits, Registration, Value};

/// What of a request is looked at.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub(super) struct Seen {
    /// The client; several if the name has several readings; none if the request does not say.
    pub(super) client_ids: Vec<String>,
    /// It was named in `Authorization: Basic`.
    pub(super) by_basic: bool,
    /// It is named where some servers do not look, so that the request names nobody to them.
    pub(super) is_named_aside: bool,
    /// It has nothing in it by which a server that knows the client could take offence: no credentials, and no parameters
    /// but those of a code flow with PKCE.
    pub(super) is_plain: bool,
    /// It asks for an authorization, and is no step of a consent form.
    pub(super) is_request: bool,
    pub(super) scope: Option<String>,
    /// A bearer or `DPoP` token was sent.
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

/// What of a request object is looked at.
#[derive(Debug, Default)]
pub(super) struct Object {
    pub(super) redirect_uri: Option<String>,
}

/// Request objects with keys in them are the largest honest bodies here.
const MAX_BODY: usize = 128 * 1024;
const DEADLINE: Duration = Duration::from_secs(10);
const LIMITS: Limits = Limits::new().with_bytes(MAX_BODY).with_string(MAX_BODY);

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// Reads the body, before anything is judged: a client that still sends may not hear an answer. What is left of a body that is
/// too large comes back.
pub(super) async fn read_body<B>(request: Request<B>) -> Result<(Parts, Bytes), (Fault, Option<Unread<Pin<Box<B>>>>)>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    if !is_known_method(&parts.method) {
        return Err((Fault::Method, Some(Unread::new(parts.version, parts.headers, Box::pin(body)))));
    }
    let read = body::read(body, &parts.headers, MAX_BODY, DEADLINE).await;
    let fault = match read.error {
        None => return Ok((parts, read.bytes)),
        Some(ReadError::TooLarge) => Fault::TooLarge,
        Some(_) => Fault::Ambiguous("the body could not be read to its end"),
    };
    Err((fault, read.rest.map(|rest| Unread::new(parts.version, parts.headers, rest))))
}

fn is_known_method(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::POST)
}

/// Reads the parameters, and puts the bytes of the body back as they came, under headers that describe them and no others.
pub(super) fn read<B>(
    endpoint: Endpoint,
    mut parts: Parts,
    bytes: Bytes,
) -> Result<(Request<ReplayBody<B>>, Seen), Fault> {
    if parts.method != Method::POST {
        if !is_known_method(&parts.method) {
            return Err(Fault::Method);
        }
        // A body has no meaning here (RFC 9110 section 9.3.1), but some servers read one: it stays behind.
        body::forget_old_body(&mut parts.headers);
        let seen = if parts.method == Method::OPTIONS {
            // A preflight of a browser (Fetch standard section 3.2.2) comes from no client yet. With parameters it is a
            // request, to handlers that look at no method.
            let mut parameters =
                Parameters { is_for_clients: endpoint != Endpoint::Authorization, ..Parameters::default() };
            form::read(parts.uri.query().unwrap_or_default().as_bytes(), |name, value| parameters.add(name, value))?;
            if parameters.has_any() {
                return Err(Fault::Ambiguous("a preflight has the parameters of a request"));
            }
            Seen::default()
        } else {
            seen(endpoint, &parts.method, &parts.uri, &parts.headers, Content::None)?
        };
        return Ok((Request::from_parts(parts, ReplayBody::own(Bytes::new())), seen));
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
        // It is empty.
        Media::None | Media::Other => {
            body::forget_old_body(&mut parts.headers);
            body::ask_for_plain_answer(&mut parts.headers);
        }
    }
    Ok((Request::from_parts(parts, ReplayBody::own(bytes)), seen))
}

#[derive(Clone, Copy)]
enum Media {
    Form,
    Json,
    None,
    Other,
}

/// Reads the media type of the body. Frameworks differ in what they take for a form, and decoders in what they do with a
/// charset or a content coding: one form of each is read.
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
    endpoint: Endpoint,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    content: Content<'_>,
) -> Result<Seen, Fault> {
    let is_for_clients = endpoint != Endpoint::Authorization;
    let mut parameters = Parameters { is_for_clients, ..Parameters::default() };
    form::read(uri.query().unwrap_or_default().as_bytes(), |name, value| parameters.add(name, value))?;
    if !is_for_clients {
        // A consent form without an `action` is sent to the URL of the request, often with all its parameters once more. Which
        // of two equal values a server reads is all the same.
        parameters.in_query = Some(Box::new(std::mem::take(&mut parameters)));
    }
    // RFC 6749 section 2.3.1: "The parameters can only be transmitted in the request-body and MUST NOT be included in the
    // request URI". Servers differ in whether they look there.
    let is_aside = method == Method::POST && is_for_clients && parameters.has_any();
    let named_aside = is_aside && parameters.client_id.is_some();
    if is_aside && !parameters.has_only_client() {
        return Err(Fault::Ambiguous("parameters of the request are in its URL"));
    }
    match content {
        Content::None => {}
        Content::Form(bytes) => {
            // Iconv and its like drop the mark, others take it for a part of the first name.
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
    // A consent form has a decision, a state or the like in it.
    seen.is_request = method != Method::POST || is_for_clients || parameters.asks_for_response || !parameters.has_more;
    let is_only_attested = credentials.attested.is_some() && !parameters.names_client() && credentials.basic.is_empty();
    seen.is_named_aside =
        (named_aside && credentials.basic.is_empty() && !parameters.is_asserted()) || is_only_attested;
    Ok(seen)
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The parameters that matter here, from wherever they come. An empty value was there, and is none.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
struct Parameters {
    /// The endpoint is one that clients call, and not a browser.
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
    /// There is something that a server may take offence at.
    is_odd: bool,
    asks_for_response: bool,
    /// There are parameters that are not looked at.
    has_more: bool,
    has_code_flow: bool,
    has_challenge: bool,
    scope: Option<String>,
    /// What was in the query of a form for people.
    in_query: Option<Box<Parameters>>,
}

/// The only type of client assertion that is read (RFC 7523 section 2.2).
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

    /// Takes over what was in the query, where the body does not say something else.
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
            // Copied member by member, it becomes the prototype of what it is copied into.
            _ if name == "__proto__" => Err(Fault::Ambiguous("a parameter has an unusual name")),
            _ if names::read(name) == Reading::Other => Ok(()),
            _ => Err(Fault::Ambiguous("a parameter is not a string")),
        })
    }

    /// RFC 6749 section 3.1: "Request and response parameters MUST NOT be included more than once". Of two, one server
    /// takes the first and another one the last, whether they have a value or not.
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

    fn seen(&self, credentials: &Credentials, endpoint: Endpoint) -> Result<Seen, Fault> {
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
            // The other readings of Basic stay: a server may go by one of them, whatever else names the client.
            match client_ids.iter().position(|known| *known == id) {
                Some(at) => client_ids.swap(0, at),
                None if client_ids.is_empty() => client_ids.push(id),
                None => return Err(DIFFERENT),
            }
        }
        if client_ids.iter().chain(&credentials.by_field).any(|id| !is_identifier(id)) {
            return Err(Fault::Ambiguous("the name of the client has unusual characters"));
        }
        // A gateway may read such a field; the server need not, so it names nobody here.
        if credentials.by_field.iter().any(|id| !client_ids.contains(id)) {
            return Err(DIFFERENT);
        }
        let request_uri = there(&self.request_uri);
        if object.is_some() && request_uri.is_some() {
            // RFC 9101 section 5: "if one of these parameters is used, the other MUST NOT be used".
            return Err(Fault::Ambiguous("there are two request objects"));
        }
        if client_ids.is_empty() && (object.is_some() || request_uri.is_some()) {
            // RFC 9101 section 5 and RFC 9126 section 4 require it; a server that does without takes it from inside.
            return Err(Fault::Ambiguous("the request object does not say whose it is"));
        }
        let redirect_uri = there(&self.redirect_uri);
        if let Some(object) = &object {
            object.check(&client_ids, redirect_uri.as_deref())?;
        }
        if endpoint == Endpoint::PushedAuthorization && request_uri.is_some() {
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

/// Whether a parameter is one that every server of a code flow with PKCE takes, with a value that is well formed.
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

/// RFC 6749 appendix A.1: `client-id = *VSCHAR`. Databases pad and trim, and C strings end at a NUL.
fn is_identifier(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| matches!(byte, b' '..=b'~')) && id.trim_matches(' ') == id
}

/// What a request object (RFC 9101) says of what stands beside it.
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
                Err(Fault::Ambiguous("the request object wants the answer elsewhere"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
