//! Which client a request comes from, and where it wants to be answered.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{HeaderMap, Method, Request, header};
use http_body::Body;
use url::form_urlencoded;

use super::refusal::Fault;
use crate::body::{self, ReadError, ReplayBody};
use crate::registration::{Limits, Registration};

/// What of a request is looked at.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The client; two if the name has two readings; none if the request does not say.
    pub(super) client_ids: Vec<String>,
    /// It was named in `Authorization: Basic`.
    pub(super) by_basic: bool,
    pub(super) redirect_uri: Option<String>,
    /// There is a request object (RFC 9101) or a reference to one (RFC 9126) that may hold the redirect URI.
    pub(super) is_elsewhere: bool,
}

/// Request objects with keys in them are the largest honest bodies here.
const MAX_BODY: usize = 128 * 1024;
const DEADLINE: Duration = Duration::from_secs(10);

/// Reads the parameters, and puts the body back as it came.
pub(super) async fn read<B>(request: Request<B>) -> Result<(Request<ReplayBody<B>>, Seen), Fault>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let mut parameters = Parameters::default();
    parameters.add_form(parts.uri.query().unwrap_or_default().as_bytes())?;
    let body = if matches!(parts.method, Method::GET | Method::HEAD) {
        ReplayBody::inner(body)
    } else {
        let is_json = names_json(&parts.headers)?;
        let read = body::read(body, &parts.headers, MAX_BODY, DEADLINE).await;
        match read.error {
            None => {}
            Some(ReadError::TooLarge) => return Err(Fault::TooLarge),
            Some(_) => return Err(Fault::Ambiguous("the body could not be read to its end")),
        }
        if is_json || read.bytes.trim_ascii_start().starts_with(b"{") {
            parameters.add_json(&read.bytes)?;
        } else {
            parameters.add_form(&read.bytes)?;
        }
        ReplayBody::own(read.bytes)
    };
    let seen = parameters.seen(&parts.headers)?;
    Ok((Request::from_parts(parts, body), seen))
}

/// Whether the body says that it is JSON. Only forms are standard (RFC 6749 section 3.2), but servers that read JSON as
/// well exist, and would be the way around. What says that it is something else, or nothing, is read as a form too:
/// frameworks differ in what they take for one.
fn names_json(headers: &HeaderMap) -> Result<bool, Fault> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (named, another) = (types.next(), types.next());
    if another.is_some() {
        return Err(Fault::Ambiguous("there are several content types"));
    }
    // What a decoder further in would make of it is not known here.
    if body::is_encoded(headers) {
        return Err(Fault::Ambiguous("the body is compressed"));
    }
    Ok(named.is_some_and(|value| value.as_bytes().to_ascii_lowercase().windows(4).any(|word| word == b"json")))
}

/// The parameters that matter here, from wherever they come.
#[derive(Default)]
struct Parameters {
    client_id: Option<String>,
    redirect_uri: Option<String>,
    assertion: Option<String>,
    is_elsewhere: bool,
}

impl Parameters {
    fn add_form(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        form_urlencoded::parse(bytes).try_for_each(|(name, value)| self.add(&name, value))
    }

    fn add_json(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let limits = Limits::new().with_bytes(MAX_BODY).with_string(MAX_BODY);
        let document = Registration::parse_with(bytes, &limits)
            .map_err(|_| Fault::Ambiguous("the body is not one JSON object"))?;
        ["client_id", "redirect_uri", "client_assertion", "request", "request_uri"]
            .into_iter()
            .filter_map(|name| Some((name, document.string(name)?)))
            .try_for_each(|(name, value)| self.add(name, value.into()))
    }

    /// RFC 6749 section 3.1: "Request and response parameters MUST NOT be included more than once", and "parameters sent
    /// without a value MUST be treated as if they were omitted".
    fn add(&mut self, name: &str, value: Cow<'_, str>) -> Result<(), Fault> {
        if value.is_empty() {
            return Ok(());
        }
        let slot = match name {
            "client_id" => &mut self.client_id,
            "redirect_uri" => &mut self.redirect_uri,
            "client_assertion" => &mut self.assertion,
            "request" | "request_uri" => {
                self.is_elsewhere = true;
                return Ok(());
            }
            _ => return Ok(()),
        };
        match slot.replace(value.into_owned()) {
            None => Ok(()),
            Some(_) => Err(Fault::Ambiguous("a parameter is repeated")),
        }
    }

    fn seen(self, headers: &HeaderMap) -> Result<Seen, Fault> {
        let basic = basic_names(headers)?;
        let by_basic = !basic.is_empty();
        let asserted = self.assertion.as_deref().and_then(asserted_client);
        let mut client_ids = basic;
        for named in [self.client_id, asserted].into_iter().flatten() {
            if client_ids.is_empty() {
                client_ids.push(named);
            } else if client_ids.contains(&named) {
                client_ids = vec![named];
            } else {
                return Err(Fault::Ambiguous("the client is named in two ways that differ"));
            }
        }
        Ok(Seen { client_ids, by_basic, redirect_uri: self.redirect_uri, is_elsewhere: self.is_elsewhere })
    }
}

/// As lenient about padding as any server.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The user of `Authorization: Basic`, decoded as RFC 6749 section 2.3.1 has it; and as it stands, if that is something
/// else: many clients do not encode it, and many servers do not decode it.
fn basic_names(headers: &HeaderMap) -> Result<Vec<String>, Fault> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Ok(Vec::new()) };
    if fields.next().is_some() {
        return Err(Fault::Ambiguous("there are several Authorization fields"));
    }
    let (scheme, credentials) = field.to_str().unwrap_or_default().trim().split_once(' ').unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("basic") {
        return Ok(Vec::new());
    }
    let decoded = BASE64.decode(credentials.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let Some((user, _)) = decoded.as_deref().and_then(|pair| pair.split_once(':')) else {
        return Err(Fault::Ambiguous("the Authorization field can't be read"));
    };
    if user.is_empty() {
        return Ok(Vec::new());
    }
    // A user has no name and value in it: what would separate them is escaped first.
    let escaped = user.replace('&', "%26").replace('=', "%3D");
    let decoded = form_urlencoded::parse(escaped.as_bytes()).next().map(|(name, _)| name.into_owned());
    let mut names: Vec<String> = decoded.into_iter().collect();
    if names.first().is_none_or(|name| name != user) {
        names.push(user.to_owned());
    }
    Ok(names)
}

/// The subject of a client assertion (RFC 7523 section 3), which is the client. Nobody has checked its signature: it is
/// good for refusing, and the server looks again.
fn asserted_client(assertion: &str) -> Option<String> {
    let payload = assertion.split('.').nth(1)?;
    let claims = BASE64_URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    claims.get("sub")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests;
