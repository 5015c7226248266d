//! Reads the parameters of a request.

use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, header};
use http_body::Body;

use super::credentials::Credentials;
use super::endpoint::{Endpoint, Sender};
use super::given::{Authentication, Given, Place};
use super::grant::DEVICE_CODE;
use super::names::{self, Name, Reading};
use super::rejection::Fault;
use super::{form, signed};
use crate::layers::body::{self, BoxError, ReadError, ResponseBody, Unread};
use crate::media_type::MediaType;
use crate::registration::{CIBA, Limits, Registration, Value};

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
    /// The body, unchanged.
    pub(super) body: Bytes,
    /// The parameters that rules read.
    pub(super) given: Given,
    /// The ways in which the client authenticates itself.
    pub(super) authentication: Authentication,
    /// Set if a bearer or `DPoP` token was sent.
    pub(super) has_token: bool,
    pub(super) redirect_uri: Option<String>,
    /// The redirect URI in a request object (RFC 9101).
    pub(super) object: Option<RequestObject>,
    /// A reference to a request object (RFC 9101), or to a pushed request (RFC 9126).
    pub(super) request_uri: Option<String>,
    pub(super) grant_type: Option<String>,
    /// The code, refresh token or device code.
    pub(super) grant: Option<String>,
}

impl Seen {
    /// Returns the first reading of the client's name.
    pub(super) fn client_id(&self) -> Option<&str> {
        self.client_ids.first().map(String::as_str)
    }

    /// Returns `true` if some server takes it for an authorization request: one that requires no `response_type` can't tell it
    /// from a step of its consent form.
    pub(super) fn may_be_request(&self) -> bool {
        self.is_request || self.redirect_uri.is_some()
    }
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
        // A body has no meaning here (RFC 9110 section 9.3.1), but some servers read one: it is dropped.
        body::forget_old_body(&mut parts.headers);
        let seen = seen(endpoint, &parts, Content::None)?;
        return Ok((Request::from_parts(parts, ResponseBody::own(Bytes::new())), seen));
    }
    let (media, charset) = media_type(&parts.headers)?;
    let content = match media {
        _ if bytes.is_empty() => Content::None,
        Some(FORM) => Content::Form(&bytes, charset),
        Some(_) => Content::Json(&bytes),
        None if parts.headers.contains_key(header::CONTENT_TYPE) => {
            return Err(Fault::Ambiguous("the body is neither a form nor JSON in UTF-8"));
        }
        None => return Err(Fault::Ambiguous("the body has no media type")),
    };
    let seen = Seen { body: bytes.clone(), ..seen(endpoint, &parts, content)? };
    if let Some(media) = media {
        body::describe_body(&mut parts.headers, media, bytes.len());
    } else {
        body::forget_old_body(&mut parts.headers);
        body::ask_for_plain_answer(&mut parts.headers);
    }
    Ok((Request::from_parts(parts, ResponseBody::own(bytes)), seen))
}

/// Reads the media type of the body; `None` if it is not one of the two. Frameworks differ in the media types that they
/// parse as a form, and decoders in their handling of a charset or a content coding: one form of each is accepted, and of
/// other charsets what every decoder reads alike.
fn media_type(headers: &HeaderMap) -> Result<(Option<&'static str>, Charset), Fault> {
    if body::is_encoded(headers) {
        return Err(Fault::Ambiguous("the body is compressed"));
    }
    // Nearly all requests have one of the two without a parameter. To parse it would be a twentieth of the gate's work.
    let mut fields = headers.get_all(header::CONTENT_TYPE).iter();
    if let (Some(only), None) = (fields.next(), fields.next())
        && let Some(media) = [FORM, JSON].into_iter().find(|known| only == known)
    {
        return Ok((Some(media), Charset::Utf8));
    }
    let media = MediaType::of(headers).map_err(|_| Fault::Ambiguous("the media type can't be read"))?;
    Ok(match media {
        Some(media) if media.is_utf8() => ([FORM, JSON].into_iter().find(|known| media.is(known)), Charset::Utf8),
        // Clients in Java name ISO-8859-1, and send ASCII.
        Some(media) if media.is(FORM) && media.extends_ascii() => (Some(FORM), Charset::Ascii),
        _ => (None, Charset::Utf8),
    })
}

/// The charset of a form.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Charset {
    Utf8,
    /// One that extends ASCII: the form may have nothing else, also where it is escaped.
    Ascii,
}

/// The body of a request.
#[derive(Clone, Copy)]
enum Content<'a> {
    None,
    Form(&'a [u8], Charset),
    Json(&'a [u8]),
}

fn seen(endpoint: &Endpoint, request: &Parts, content: Content<'_>) -> Result<Seen, Fault> {
    let is_for_clients = endpoint.sender == Sender::Client;
    let mut parameters = Parameters { is_for_clients, ..Parameters::default() };
    let query = request.uri.query().unwrap_or_default();
    parameters.given.place = Place::Url;
    form::read(query.as_bytes(), |name, value| parameters.add(name, value))?;
    if request.method == Method::OPTIONS {
        // A preflight of a browser (Fetch standard section 3.2.2) comes from no client yet. With parameters it is a
        // request, to handlers that ignore the method.
        // "A CORS-preflight request never includes credentials."
        let credentials = Credentials::read(&request.headers, &LIMITS, is_for_clients)?;
        let has_credentials = credentials.is_any() || request.headers.contains_key(header::AUTHORIZATION);
        let is_plain = !parameters.has_any() && !has_credentials;
        let unclear = Fault::Ambiguous("a preflight has the parameters or credentials of a request");
        return if is_plain { Ok(Seen::default()) } else { Err(unclear) };
    }
    // RFC 6749 section 2.3.1: "The parameters can only be transmitted in the request-body and MUST NOT be included in
    // the request URI". Some servers read them there.
    // RFC 6749 section 3.2: "The client MUST use the HTTP "POST" method". A handler that ignores the method reads the URL.
    let is_post = request.method == Method::POST;
    let is_aside = is_post && is_for_clients && !parameters.known.is_empty();
    let is_only_in_url = !is_post && is_for_clients && parameters.has_any();
    if is_only_in_url || (is_aside && parameters.known.iter().any(|(name, ..)| *name != Name::ClientId)) {
        return Err(Fault::Ambiguous("parameters of the request are in its URL"));
    }
    // A consent form without an `action` is sent to the URL of the request, often with all its parameters once more. Equal
    // values are no conflict.
    parameters.is_in_body = !is_for_clients;
    parameters.given.place = Place::Body;
    parameters.given.in_json = matches!(content, Content::Json(_));
    parameters.given.in_form = !is_for_clients && matches!(content, Content::Form(..));
    match content {
        Content::None => {}
        Content::Form(bytes, charset) => {
            // Iconv and similar decoders drop the mark, others read it as a part of the first name.
            if bytes.starts_with(BOM) {
                return Err(Fault::Ambiguous("the body begins with a byte order mark"));
            }
            if matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'[')) {
                return Err(Fault::Ambiguous("the body is JSON and a form"));
            }
            form::read(bytes, |name, value| match charset {
                Charset::Ascii if !name.is_ascii() || !value.is_ascii() => {
                    Err(Fault::Ambiguous("the form has other characters than ASCII, and is not UTF-8"))
                }
                _ => parameters.add(name, value),
            })?;
        }
        Content::Json(bytes) => parameters.add_json(bytes)?,
    }
    let credentials = Credentials::read(&request.headers, &LIMITS, is_for_clients)?;
    let is_asserted = parameters.has(Name::ClientAssertion);
    let names_client = parameters.has(Name::ClientId) || is_asserted;
    let mut seen = parameters.seen(&credentials, endpoint)?;
    // A consent form has a parameter of its own, such as a decision or a state.
    seen.is_request = !is_post || is_for_clients || parameters.asks_for_response || !parameters.has_more;
    let is_only_attested = credentials.attested.is_some() && !names_client && credentials.basic.is_empty();
    seen.is_named_aside = (is_aside && credentials.basic.is_empty() && !is_asserted) || is_only_attested;
    seen.given.extend(parameters.given, is_post, is_for_clients, seen.object.is_some());
    Ok(seen)
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The parameters that the gate uses, from all places. An empty value counts as present, but has no value.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
struct Parameters {
    /// Set if clients call the endpoint, not browsers.
    is_for_clients: bool,
    /// With `true` for those in the body, if browsers send it: its URL may have the same ones.
    known: Vec<(Name, String, bool)>,
    is_in_body: bool,
    /// Set if there is something that a server may reject.
    is_odd: bool,
    asks_for_response: bool,
    /// Set if there are parameters that the gate does not use.
    has_more: bool,
    has_code_flow: bool,
    has_challenge: bool,
    /// The parameters that some servers may read in the fields of a login or consent form.
    own_fields: Vec<Name>,
    given: Given,
}

/// The only supported type of client assertion (RFC 7523 section 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

impl Parameters {
    fn get(&self, name: Name) -> Option<&str> {
        self.known.iter().find(|(known, ..)| *known == name).map(|(_, value, _)| value.as_str())
    }

    /// Returns `true` if there is a parameter of a request.
    fn has_any(&self) -> bool {
        !self.known.is_empty() || self.given.has_any()
    }

    /// Returns `true` if a parameter has a value.
    fn has(&self, name: Name) -> bool {
        self.get(name).is_some_and(|value| !value.is_empty())
    }

    /// Takes the value of a parameter, unless it is empty.
    fn take(&mut self, name: Name) -> Option<String> {
        let (_, value, _) = self.known.iter_mut().find(|(known, ..)| *known == name)?;
        Some(std::mem::take(value)).filter(|value| !value.is_empty())
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
            _ if names::read(name).is_reserved() => Err(Fault::Ambiguous("a parameter is not a string")),
            _ => {
                self.given.add_other_type(names::read(name), &value);
                Ok(())
            }
        })
    }

    /// Adds a parameter. RFC 6749 section 3.1: "Request and response parameters MUST NOT be included more than once".
    /// Of two, one server takes the first and another one the last, with or without a value.
    fn add(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        let reading = names::read(name);
        match reading {
            Reading::Other if name == "_charset_" && !value.is_empty() && !value.eq_ignore_ascii_case("utf-8") => {
                Err(Fault::Ambiguous("the form is not UTF-8"))
            }
            _ if !reading.is_reserved() => {
                self.is_odd |= !is_plain(name, value);
                self.has_more = true;
                match reading {
                    Reading::Exact(Name::ResponseType) | Reading::Folded(Name::ResponseType) => {
                        self.asks_for_response = true;
                        self.has_code_flow |= value == "code";
                    }
                    Reading::Exact(Name::CodeChallenge) => self.has_challenge = true,
                    _ => {}
                }
                self.given.add(reading, name, value);
                Ok(())
            }
            Reading::Exact(known) | Reading::Folded(known) if known.is_of_token_request() && !self.is_for_clients => {
                if reading != Reading::Exact(known) {
                    self.given.add(names::read_for_rules(name), name, value);
                }
                Ok(())
            }
            Reading::Exact(Name::Request) | Reading::Folded(Name::Request)
                if self.is_in_body && !value.is_empty() && !signed::may_be_object(value) =>
            {
                // A field of a login or consent form: no server finds a request object in it.
                (self.is_odd, self.has_more) = (true, true);
                self.add_own_field(Name::Request)
            }
            // Of a login form, unless the request names a client.
            Reading::Folded(Name::RedirectUri) if self.is_in_body => {
                (self.is_odd, self.has_more) = (true, true);
                self.add_own_field(Name::RedirectUri)
            }
            Reading::Exact(name) => {
                match self.known.iter_mut().find(|(known, ..)| *known == name) {
                    None => self.known.push((name, value.to_owned(), self.is_in_body)),
                    Some((_, in_url, in_body)) if *in_body != self.is_in_body && *in_url == value => *in_body = true,
                    Some(_) => return Err(Fault::Ambiguous("a parameter is repeated")),
                }
                Ok(())
            }
            Reading::Folded(name) => Err(unusual(name)),
            Reading::Other => Err(Fault::Ambiguous("a parameter has an unusual name")),
        }
    }

    /// Adds a field of a form of the server's own that some server may read as the parameter.
    fn add_own_field(&mut self, name: Name) -> Result<(), Fault> {
        if self.own_fields.contains(&name) {
            return Err(Fault::Ambiguous("a parameter is repeated"));
        }
        self.own_fields.push(name);
        Ok(())
    }

    /// Rejects a form's own field that some server reads as a parameter of a request.
    fn check_own_fields(&self, names_client: bool) -> Result<(), Fault> {
        let is_request = names_client || self.asks_for_response || self.get(Name::RedirectUri).is_some();
        let is_request_in_body =
            || self.known.iter().any(|(.., in_body)| *in_body) || self.given.is_at(Name::ResponseType, Place::Body);
        for name in &self.own_fields {
            match name {
                // With another one beside it, servers differ in the one that they read. In a request it is an object that can't
                // be read.
                Name::Request if self.get(Name::Request).is_some() || is_request_in_body() => return Err(UNREADABLE),
                Name::Request => {}
                _ if is_request || self.get(Name::Request).is_some() || self.get(Name::RequestUri).is_some() => {
                    return Err(unusual(*name));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn seen(&mut self, credentials: &Credentials, endpoint: &Endpoint) -> Result<Seen, Fault> {
        let token = self.take(Name::Request);
        let object = token.as_deref().map(RequestObject::read).transpose()?;
        if endpoint.is_for_confidential && token.is_some_and(|token| !signed::is_asymmetric(&token, &LIMITS)) {
            return Err(Fault::Ambiguous("the request object has no signature with a private key"));
        }
        let assertion = self.take(Name::ClientAssertion);
        let mut subject = None;
        if let Some(assertion) = &assertion {
            if self.take(Name::ClientAssertionType).is_some_and(|kind| kind != JWT_BEARER) {
                return Err(Fault::Ambiguous("the assertion is of an unknown type"));
            }
            let read = signed::subject(assertion, &LIMITS);
            subject = Some(read.ok_or(Fault::Ambiguous("the assertion can't be read"))?);
        }
        let named = [self.take(Name::ClientId), subject, credentials.attested.clone()];
        let mut client_ids = credentials.basic.clone();
        for id in named.into_iter().flatten() {
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
        self.check_own_fields(!client_ids.is_empty())?;
        let request_uri = self.take(Name::RequestUri);
        if object.is_some() && request_uri.is_some() {
            // RFC 9101 section 5: "If this parameter is present in the authorization request, request_uri MUST NOT be present."
            return Err(Fault::Ambiguous("there are two request objects"));
        }
        if client_ids.is_empty() && (object.is_some() || request_uri.is_some()) {
            // RFC 9101 section 5 and RFC 9126 section 4 require `client_id`; a server that does not require it takes it from
            // inside.
            return Err(Fault::Ambiguous("the request object names no client"));
        }
        let redirect_uri = self.take(Name::RedirectUri);
        if let Some(object) = &object {
            object.check(&client_ids, redirect_uri.as_deref())?;
        }
        if !endpoint.takes_request_uri && request_uri.is_some() {
            // RFC 9126 section 2.1: "The request_uri authorization request parameter is one exception, and it MUST NOT be
            // provided." CIBA section 7.1.1 has no reference.
            return Err(Fault::Ambiguous("a request of this endpoint refers to another one"));
        }
        let given = object.as_ref().map(|object| object.given.clone()).unwrap_or_default();
        let secret = self.given.values(Name::ClientSecret).next().is_some();
        let authentication = Authentication {
            basic: credentials.has_basic_secret,
            post: secret,
            assertion: assertion.as_deref().map(|token| signed::is_symmetric(token, &LIMITS)),
            attestation: credentials.attested.is_some(),
        };
        let grant_type = self.take(Name::GrantType);
        let grant = match grant_type.as_deref() {
            Some("authorization_code") => self.take(Name::Code),
            Some("refresh_token") => self.take(Name::RefreshToken),
            Some(DEVICE_CODE) => self.take(Name::DeviceCode),
            Some(CIBA) => self.take(Name::AuthReqId),
            _ => None,
        };
        Ok(Seen {
            client_ids,
            by_basic: !credentials.basic.is_empty(),
            is_plain: !self.is_odd
                && object.is_none()
                && !credentials.is_any()
                && assertion.is_none()
                && (self.is_for_clients || self.has_code_flow && self.has_challenge),
            given,
            authentication,
            has_token: credentials.has_token,
            redirect_uri,
            object,
            request_uri,
            grant_type,
            grant,
            ..Seen::default()
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

/// Returns the fault of a name that some servers read as that of the parameter. It names no code and no parameter on which
/// programs throw their registration away.
const fn unusual(name: Name) -> Fault {
    Fault::Ambiguous(match name {
        Name::ClientId => "a field is named almost like the parameter of the client: give it another name",
        Name::RedirectUri => "a field is named almost like the parameter of the callback: give it another name",
        Name::Request => "a field is named almost like the parameter `request`: give it another name",
        Name::RequestUri => "a field is named almost like the parameter `request_uri`: give it another name",
        _ => "a parameter has an unusual name",
    })
}

const UNREADABLE: Fault = Fault::Ambiguous(
    "the request object in `request` can't be read: a form's own field of that name needs another one",
);

const DIFFERENT: Fault = Fault::Ambiguous("the client is named in two ways that differ");

/// Returns whether the text can be a client ID. RFC 6749 appendix A.1: `client-id = *VSCHAR`. Databases pad and trim,
/// and C strings end at a NUL.
fn is_identifier(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| matches!(byte, b' '..=b'~')) && id.trim_matches(' ') == id
}

/// The claims of a request object (RFC 9101) that repeat parameters of the request.
#[derive(Debug)]
pub(super) struct RequestObject {
    client_id: Option<String>,
    issuer: Option<String>,
    pub(super) redirect_uri: Option<String>,
    given: Given,
}

impl RequestObject {
    fn read(token: &str) -> Result<Self, Fault> {
        let unclear = UNREADABLE;
        let claims = signed::claims(token, &LIMITS).ok_or(unclear)?;
        let claim = |name| signed::claim(&claims, name).map(|claim| claim.map(str::to_owned)).ok_or(unclear);
        let mut inside = Parameters::default();
        inside.given.place = Place::Object;
        for (name, value) in claims.iter() {
            match value {
                Value::String(text) => inside.add(name, text)?,
                Value::Null => inside.add(name, "")?,
                _ if names::read(name).is_reserved() => return Err(unclear),
                _ => inside.given.add_other_type(names::read(name), &value),
            }
        }
        // RFC 9101 section 4 excludes both from request objects.
        if inside.get(Name::Request).is_some() || inside.get(Name::RequestUri).is_some() {
            return Err(unclear);
        }
        Ok(Self {
            client_id: claim("client_id")?,
            issuer: claim("iss")?,
            redirect_uri: claim("redirect_uri")?,
            given: inside.given,
        })
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
