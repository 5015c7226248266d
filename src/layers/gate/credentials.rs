//! Reads the client that the header fields of a request name.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName, header};

use super::names::{self, Name, Reading};
use super::rejection::Fault;
use super::signed;
use crate::layers::initial_access_token::tokens::is_b64token;
use crate::registration::Limits;

/// The client names and credentials in the header fields.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    /// The readings of the user of `Authorization: Basic`; empty if there is none.
    pub(super) basic: Vec<String>,
    /// Set if its password is not empty.
    pub(super) has_basic_secret: bool,
    /// Set if the request has a bearer token or a `DPoP` token, which name no client.
    pub(super) has_token: bool,
    /// The subject of an `OAuth-Client-Attestation`.
    pub(super) attested: Option<String>,
    /// The values of fields such as `client_id`, which some gateways read, and of cookies of that name.
    pub(super) by_field: Vec<String>,
}

/// Accepts padding or none, but no trailing bits: decoders that ignore them read many texts as one.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Credentials {
    /// Returns whether there are credentials that a server could reject.
    pub(super) fn is_any(&self) -> bool {
        self.has_token || self.attested.is_some() || !self.basic.is_empty() || !self.by_field.is_empty()
    }

    /// Reads the header fields. `only_known` rejects schemes that may name a client in a way that the gate does not
    /// read.
    pub(super) fn read(headers: &HeaderMap, limits: &Limits, only_known: bool) -> Result<Self, Fault> {
        let mut read = Self::default();
        for (name, value) in headers {
            // None of the names below: a browser sends a dozen of these.
            let (first, last) = (folded(name).next(), folded(name).next_back());
            if !matches!(first, Some(b'a' | b'c' | b'o' | b'p')) && last != Some(b'n') {
                continue;
            }
            let text = || str::from_utf8(value.as_bytes());
            let is = |letters: &str| folded(name).eq(letters.bytes());
            match () {
                // The proxy that is addressed removes it (RFC 9110 section 11.7.2).
                () if is("authorization") || is("proxyauthorization") => {}
                () if is("oauthclientattestation") => {
                    let subject = text().ok().and_then(|token| signed::attested(token, limits));
                    let subject = subject.ok_or(Fault::Ambiguous("the attestation can't be read"))?;
                    if name.as_str() != "oauth-client-attestation" || read.attested.replace(subject).is_some() {
                        return Err(Fault::Ambiguous("the attestation is repeated"));
                    }
                }
                // PHP without a configuration has cookies override the parameters (`$_REQUEST`). People have cookies of
                // all kinds, so this is for clients only.
                () if only_known && is("cookie") => read.by_field.extend(clients_in_cookies(value.as_bytes())),
                () if is("clientid") => match text() {
                    Ok(text) => read.by_field.push(text.to_owned()),
                    Err(_) => return Err(Fault::Ambiguous("a header field can't be read")),
                },
                // CGI and its successors keep more than one: HTTP_AUTHORIZATION, REDIRECT_HTTP_AUTHORIZATION, …
                () if ends_with_authorization(name) && !text().is_ok_and(|text| scheme(text) == Scheme::Token) => {
                    return Err(Fault::Ambiguous("there is more than one Authorization field"));
                }
                () => {}
            }
        }
        read.add_authorization(headers, only_known)?;
        Ok(read)
    }

    fn add_authorization(&mut self, headers: &HeaderMap, only_known: bool) -> Result<(), Fault> {
        let mut fields = headers.get_all(header::AUTHORIZATION).iter();
        let Some(field) = fields.next() else { return Ok(()) };
        if fields.next().is_some() {
            return Err(Fault::Ambiguous("there are several Authorization fields"));
        }
        let unclear = Fault::Ambiguous("the Authorization field can't be read");
        let text = str::from_utf8(field.as_bytes()).map_err(|_| unclear)?;
        match scheme(text) {
            Scheme::Token => self.has_token = true,
            Scheme::Basic(credentials) => {
                (self.basic, self.has_basic_secret) = basic(credentials).ok_or(unclear)?;
            }
            Scheme::Unclear => return Err(unclear),
            Scheme::Other if only_known => return Err(unclear),
            Scheme::Other => {}
        }
        Ok(())
    }
}

/// Returns the values of cookies whose name may be taken for `client_id`.
fn clients_in_cookies(cookies: &[u8]) -> impl Iterator<Item = String> {
    let decode = |text: &[u8]| percent_encoding::percent_decode(text.trim_ascii()).decode_utf8_lossy().into_owned();
    let is_client =
        |name: &str| matches!(names::read(name), Reading::Exact(Name::ClientId) | Reading::Folded(Name::ClientId));
    cookies.split(|byte| matches!(byte, b';' | b',')).filter_map(move |cookie| {
        let mut parts = cookie.splitn(2, |byte| *byte == b'=');
        let (name, value) = (decode(parts.next()?), decode(parts.next().unwrap_or_default()));
        is_client(&name).then_some(value)
    })
}

/// Folds a field name as CGI, Rack and WSGI do, and further.
fn folded(name: &HeaderName) -> impl DoubleEndedIterator<Item = u8> {
    name.as_str().bytes().filter(u8::is_ascii_alphanumeric)
}

fn ends_with_authorization(name: &HeaderName) -> bool {
    const LETTERS: &str = "authorization";
    folded(name).rev().take(LETTERS.len()).eq(LETTERS.bytes().rev())
}

#[derive(Debug, PartialEq, Eq)]
enum Scheme<'a> {
    Basic(&'a str),
    /// `Bearer` (RFC 6750) or `DPoP` (RFC 9449).
    Token,
    Other,
    Unclear,
}

/// Parses the scheme. RFC 9110 section 11.4: `auth-scheme 1*SP token68`. Servers split at any white space, at the sixth
/// character, or not at all.
fn scheme(text: &str) -> Scheme<'_> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.eq_ignore_ascii_case("basic") {
        return rest.strip_prefix(' ').filter(|rest| is_b64token(rest)).map_or(Scheme::Unclear, Scheme::Basic);
    }
    if name.eq_ignore_ascii_case("bearer") || name.eq_ignore_ascii_case("dpop") {
        // Tokens in the field are not all token68 (`12|abc`).
        let is_token =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
        let is_clear = rest.is_empty() || rest.strip_prefix(' ').is_some_and(is_token);
        return if is_clear { Scheme::Token } else { Scheme::Unclear };
    }
    // `BasicYWJj`, ` Basic`, `"Basic"`, `ＢＡＳＩＣ`: a lenient reader may find the word at the start.
    let letters: String = text.chars().filter(char::is_ascii_alphanumeric).take(5).collect();
    let is_plain = text.is_ascii() && !name.is_empty() && (rest.is_empty() || rest.starts_with(' '));
    if letters.eq_ignore_ascii_case("basic") || !is_plain { Scheme::Unclear } else { Scheme::Other }
}

/// Returns the readings of the user of `Authorization: Basic`, as far as they differ: decoded by RFC 6749 section
/// 2.3.1, decoded without `+`, and not decoded. Many clients do not encode it, and many servers do not decode it. With
/// `true` if there is a password.
fn basic(credentials: &str) -> Option<(Vec<String>, bool)> {
    let decoded = String::from_utf8(BASE64.decode(credentials).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    if user.is_empty() {
        return Some((Vec::new(), !password.is_empty()));
    }
    let unescape = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().ok().map(String::from);
    let mut readings = vec![unescape(&user.replace('+', " "))?];
    for reading in [unescape(user)?, user.to_owned()] {
        if !readings.contains(&reading) {
            readings.push(reading);
        }
    }
    Some((readings, !password.is_empty()))
}
