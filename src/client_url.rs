//! [`ClientUrl`]: the client ID in the URL of a request (the client configuration endpoint of RFC 7592).

use std::collections::BTreeSet;

use http::{Method, Uri};
use percent_encoding::percent_decode_str;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use crate::method::MethodKind;
use crate::registration::Field;
use crate::rules::ConfigError;
use crate::rules::{ErrorCode, Rejection};

/// Reads the client ID from the URL of a client (the "client configuration endpoint" of RFC 7592), in the same way for
/// all layers.
///
/// By default the client ID is the last segment of the path (`/register/CLIENT_ID`), of unreserved characters only (RFC
/// 3986 section 2.3: letters, digits, `-`, `.`, `_`, `~`). Some servers fold other spellings (`/register/ID/`,
/// `/register/I%44`, `/register/ID;v=1`) into the same client, so these are rejected with 400. So is a `client_id` in
/// the query beside the segment, or another parameter that may be [metadata](Self::with_query_parameters). If your
/// server differs, set that here.
///
/// The registration route itself names no client. It is each path that was set by
/// [`with_registration_path`](Self::with_registration_path); without one, a path of fewer than two segments, or one
/// whose last segment is `register`.
///
/// | URL | by default | with [`in_query`](Self::in_query) |
/// | --- | --- | --- |
/// | `/oauth/register` | the registration route | the registration route |
/// | `/oauth/register/s6BhdRkqt3` | the client `s6BhdRkqt3` | the registration route |
/// | `/oauth/register/s6BhdRkqt3/` | rejected | the registration route |
/// | `/oauth/register?client_id=s6BhdRkqt3` | rejected | the client `s6BhdRkqt3` |
///
/// ```
/// use tower_dcr::ClientUrl;
///
/// let mut urls = ClientUrl::default().with_registration_path("/oauth2/reg")?;
/// urls.trailing_slash = true;
/// let preset = tower_dcr::mcp().with_client_url(urls);
/// // A metadata field can't be a query parameter.
/// assert!(ClientUrl::default().with_query_parameters(["tenant", "client_name"]).is_err());
/// # Ok::<_, tower_dcr::rules::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "ClientUrlSettings"))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ClientUrl {
    /// Reads the client ID from `?client_id=` instead of the last segment of the path: exactly one (OpenID Connect Dynamic
    /// Client Registration 1.0 section 4.1). A URL without one is the registration route.
    pub in_query: bool,
    /// Expects a `/` at the end of the path of a client's URL. The spelling without it is then rejected.
    pub trailing_slash: bool,
    /// The characters that client IDs may have in addition to letters, digits and `-._~`.
    #[serde(deserialize_with = "characters")]
    additional_characters: String,
    /// The paths of the registration endpoint (default: paths of one segment, and those that end in `/register`).
    #[serde(deserialize_with = "paths")]
    registration_paths: BTreeSet<String>,
    /// The only query parameters that reach the handler (default: all with a plain name that is not a metadata
    /// field's).
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "parameter_names")]
    query_parameters: Option<BTreeSet<String>>,
}

/// The subject of the URL of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UrlTarget {
    /// The registration route, which names no client.
    Registration,
    /// The client with this ID.
    Client(String),
    /// A spelling that servers may read in more than one way.
    Unreadable,
}

/// The rule that rejects a URL.
pub(crate) const RULE: &str = "client-url";

impl ClientUrl {
    /// Adds characters that client IDs may have in addition to unreserved ones, such as `:` for `urn:…`. They may be
    /// percent-encoded, in capitals (`%3A`). A character that is not allowed in a path segment, or at which servers cut
    /// (`;`), must be encoded; unreserved characters must not. The key in policy files is
    /// `client_url.additional_characters`.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::ClientIdCharacter`] if there is a control character or `%`, which servers may decode
    /// twice.
    pub fn with_additional_characters(mut self, characters: &str) -> Result<Self, ConfigError> {
        if let Some(character) = characters.chars().find(|c| c.is_control() || *c == '%') {
            return Err(ConfigError::ClientIdCharacter { character });
        }
        self.additional_characters.push_str(characters);
        Ok(self)
    }

    /// Adds a path of the registration endpoint, as the layers see it (after a nesting router has stripped its prefix).
    /// Needed if the path has more than one segment and does not end in `/register`: `/oauth2/reg` would be the URL of
    /// a client `reg`. The key in policy files is `client_url.registration_paths`.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::RegistrationPath`] if `path` is not a path that begins with `/`.
    pub fn with_registration_path(mut self, path: impl Into<String>) -> Result<Self, ConfigError> {
        let path = path.into();
        let is_path = path.starts_with('/') && path.parse::<Uri>().is_ok_and(|uri| uri.to_string() == path);
        if !is_path || path.contains(['?', '#']) {
            return Err(ConfigError::RegistrationPath { path });
        }
        self.registration_paths.insert(path);
        Ok(self)
    }

    /// Passes only these query parameters, and rejects all others with 400. `params` of Rack and Rails and `$_REQUEST`
    /// of PHP hold the query beside the document, so a parameter there is metadata that no rule has checked. Without
    /// this setting a parameter passes (`?tenant=a`) if its name has unreserved characters only (RFC 3986 section 2.3)
    /// and does not end in the name of a metadata field. Members of your server's own, such as `skip_consent`, then
    /// pass as well. The key in policy files is `client_url.query_parameters`.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::QueryParameter`] if a name never passes, such as `client_name` or `_method`.
    pub fn with_query_parameters(
        mut self,
        names: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self, ConfigError> {
        let names: BTreeSet<String> = names.into_iter().map(Into::into).collect();
        if let Some(name) = names.iter().find(|name| !may_pass(name)) {
            return Err(ConfigError::QueryParameter { name: name.clone() });
        }
        self.query_parameters = Some(names);
        Ok(self)
    }

    /// Returns the subject of `uri`.
    pub(crate) fn read(&self, uri: &Uri) -> UrlTarget {
        let query = uri.query().unwrap_or_default();
        if self.in_query && query.contains(';') {
            // Some servers end the value there.
            return UrlTarget::Unreadable;
        }
        let named = match client_id_in(query) {
            Ok(named) => named,
            Err(Ambiguous) => return UrlTarget::Unreadable,
        };
        let id = match (self.in_query, named) {
            (true, Some(value)) => self.decode(value, is_literal_in_query),
            (true, None) => return UrlTarget::Registration,
            (false, Some(_)) => None,
            (false, None) if self.is_registration_path(uri.path()) => return UrlTarget::Registration,
            (false, None) => self.last_segment(uri.path()),
        };
        id.map_or(UrlTarget::Unreadable, UrlTarget::Client)
    }

    /// Rejects requests of RFC 7592 whose URL has more than one reading, `PUT` to the registration route, and unknown
    /// methods. All other requests pass, with any URL.
    pub(crate) fn check(&self, method: &Method, uri: &Uri) -> Result<UrlTarget, Rejection> {
        if !self.has_only_known_parameters(uri.query().unwrap_or_default()) {
            return Err(unreadable("the URL has query parameters that are not expected here"));
        }
        let target = self.read(uri);
        match (MethodKind::of(method), &target) {
            // RFC 7592 section 2.2 updates by the URL of a client. At the registration route, handlers that ignore the
            // method would register.
            (MethodKind::Other, _) | (MethodKind::Update, UrlTarget::Registration) => Err(not_allowed(&target)),
            (MethodKind::Update | MethodKind::Read | MethodKind::Delete, UrlTarget::Unreadable) => {
                Err(unreadable("the URL does not name a client in the expected spelling"))
            }
            _ => Ok(target),
        }
    }

    /// Returns `true` if all parameters are expected. A handler that ignores the method, or that merges the query into
    /// the document, would read others as metadata.
    fn has_only_known_parameters(&self, query: &str) -> bool {
        let is_known = |name: &str| match &self.query_parameters {
            _ if self.in_query && name == "client_id" => true,
            Some(names) => names.contains(name),
            None => may_pass(name),
        };
        query.is_empty() || parameters(query).all(|(name, _)| name.is_empty() || is_known(name))
    }

    fn is_registration_path(&self, path: &str) -> bool {
        // Servers may ignore case, and a prefix of the path (`/index.php/register`).
        let ends_in = |known: &String| {
            path.len()
                .checked_sub(known.len())
                .and_then(|at| path.get(at..))
                .is_some_and(|end| end.eq_ignore_ascii_case(known))
        };
        if !self.registration_paths.is_empty() {
            return self.registration_paths.iter().any(ends_in);
        }
        let path = path.strip_prefix('/').unwrap_or(path);
        path.is_empty() || path.rsplit_once('/').is_none_or(|(_, last)| last.eq_ignore_ascii_case("register"))
    }

    fn last_segment(&self, path: &str) -> Option<String> {
        let path = if self.trailing_slash { path.strip_suffix('/')? } else { path };
        let (before, segment) = path.rsplit_once('/')?;
        is_canonical(before).then_some(())?;
        self.decode(segment, is_literal_in_segment)
    }

    /// Returns the client ID that `written` spells; `None` if it can be read in more than one way.
    fn decode(&self, written: &str, is_literal: fn(char) -> bool) -> Option<String> {
        if written.is_empty() || matches!(written, "." | "..") {
            return None;
        }
        let more = &self.additional_characters;
        if more.is_empty() {
            return written.chars().all(is_unreserved).then(|| written.to_owned());
        }
        let bytes = written.as_bytes();
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            at += match (byte, bytes.get(at + 1), bytes.get(at + 2)) {
                (b'%', Some(high), Some(low)) if is_capital_hex(*high) && is_capital_hex(*low) => 3,
                (b'%', ..) => return None,
                (&byte, ..) if is_unreserved(byte.into()) || is_literal(byte.into()) => 1,
                _ => return None,
            };
        }
        let decoded = percent_decode_str(written).decode_utf8().ok()?;
        let escaped = written.matches('%').count();
        let unreserved = |text: &str| text.chars().filter(|c| is_unreserved(*c)).count();
        // The two digits of an escape are unreserved as written; a surplus was escaped without need.
        if unreserved(&decoded) + 2 * escaped != unreserved(written) {
            return None;
        }
        let is_dots = matches!(&*decoded, "." | "..");
        (!is_dots && decoded.chars().all(|c| is_unreserved(c) || more.contains(c))).then(|| decoded.into_owned())
    }
}

/// A name in the query that some servers read as `client_id`, or a duplicate.
struct Ambiguous;

/// Returns the one `client_id` of a query, as it is written; `None` if there is none.
fn client_id_in(query: &str) -> Result<Option<&str>, Ambiguous> {
    let mut found = None;
    for (name, value) in parameters(query) {
        let Some(folded) = fold(name) else { return Err(Ambiguous) };
        if folded != "clientid" {
            continue;
        }
        if name != "client_id" || found.replace(value).is_some() {
            return Err(Ambiguous);
        }
    }
    Ok(found)
}

/// Returns `true` if no framework takes a query parameter for a metadata field or for the method, judged by its name.
fn may_pass(name: &str) -> bool {
    let letters = |name: &str| name.replace('_', "").to_ascii_lowercase();
    let is_plain = !name.is_empty() && name.chars().all(is_unreserved);
    // ASP.NET binds `model.client_name`.
    let folded = name.replace(['-', '.', '~'], "_");
    // `_method`, and names that PHP folds into it.
    let overrides_method = name != "method" && fold(name).is_some_and(|folded| folded == "method");
    is_plain && !overrides_method && !Field::all().any(|field| letters(&folded).ends_with(&letters(field.name())))
}

/// Returns the parameters of a query. Some servers separate at `;` as well.
fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split(['&', ';']).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Returns a parameter's name without everything that any server folds: case, brackets, and signs between letters.
/// `None` if decoders disagree about the name.
fn fold(name: &str) -> Option<String> {
    let decoded = percent_decode_str(name).decode_utf8().ok()?;
    if decoded.contains('%') || !decoded.chars().all(|c| matches!(c, ' '..='~')) {
        return None;
    }
    let letters = decoded.chars().filter(char::is_ascii_alphanumeric);
    Some(letters.map(|c| c.to_ascii_lowercase()).collect())
}

/// Returns `true` if every reader finds the same segments in a path: only characters of RFC 3986 section 3.3, no empty
/// segments and no dot segments.
fn is_canonical(path: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%/".contains(&byte);
    let is_there = |segment: &str| {
        let decoded = percent_decode_str(segment).decode_utf8_lossy();
        !matches!(&*decoded, "" | "." | "..")
    };
    path.bytes().all(is_allowed) && path.split('/').skip(1).all(is_there)
}

/// Returns `true` if a character is unreserved (RFC 3986 section 2.3).
fn is_unreserved(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~')
}

/// Returns `true` if a character may be literal in a segment (RFC 3986 section 3.3), except `;`, at which servers cut.
fn is_literal_in_segment(c: char) -> bool {
    matches!(c, '!' | '$' | '&' | '\'' | '(' | ')' | '*' | '+' | ',' | '=' | ':' | '@')
}

/// Returns `true` if a character may be literal in a query (RFC 3986 section 3.4), except separators of parameters, and
/// `+`, which is a space there.
fn is_literal_in_query(c: char) -> bool {
    matches!(c, '!' | '$' | '\'' | '(' | ')' | '*' | ',' | '=' | ':' | '@' | '/' | '?')
}

fn is_capital_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'F')
}

/// Returns a 405 with the methods of `target`.
fn not_allowed(target: &UrlTarget) -> Rejection {
    let allow = match target {
        UrlTarget::Registration => "POST, OPTIONS",
        UrlTarget::Client(_) => "GET, PUT, DELETE, OPTIONS",
        UrlTarget::Unreadable => "OPTIONS",
    };
    Rejection::new(ErrorCode::MethodNotAllowed, "method", "method not allowed").with_allow(allow)
}

fn unreadable(detail: &'static str) -> Rejection {
    Rejection::new(ErrorCode::InvalidClientMetadata, RULE, detail)
}

fn characters<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let urls = ClientUrl::default().with_additional_characters(&String::deserialize(deserializer)?);
    urls.map(|urls| urls.additional_characters).map_err(D::Error::custom)
}

fn paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    let mut paths = BTreeSet::<String>::deserialize(deserializer)?.into_iter();
    let urls = paths.try_fold(ClientUrl::default(), ClientUrl::with_registration_path);
    urls.map(|urls| urls.registration_paths).map_err(D::Error::custom)
}

fn parameter_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BTreeSet<String>>, D::Error> {
    let Some(names) = Option::<Vec<String>>::deserialize(deserializer)? else { return Ok(None) };
    let urls = ClientUrl::default().with_query_parameters(names);
    urls.map(|urls| urls.query_parameters).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(urls: &ClientUrl, uri: &str) -> Option<String> {
        match urls.read(&uri.parse().unwrap_or_else(|_| panic!("{uri}"))) {
            UrlTarget::Client(id) => Some(id),
            UrlTarget::Registration => Some("(route)".into()),
            UrlTarget::Unreadable => None,
        }
    }

    #[test]
    fn one_spelling_of_a_path_names_a_client() {
        let urls = ClientUrl::default();
        for (uri, id) in [
            ("/register/abc", "abc"),
            ("/register/a-b.c_d~e", "a-b.c_d~e"),
            ("/oauth2/clients/7", "7"),
            ("/register/abc?lang=de", "abc"),
            ("/register", "(route)"),
            ("/reg", "(route)"),
            ("/", "(route)"),
            ("/oauth/register", "(route)"),
            ("/realms/main/clients-registrations/register", "(route)"),
        ] {
            assert_eq!(read(&urls, uri).as_deref(), Some(id), "{uri}");
        }
        for (uri, reason) in [
            ("/register//abc", "empty segment"),
            ("/register/./abc", "dot segment"),
            ("/x/%2e%2e/register/abc", "escaped dot segment"),
            ("/register\\x/abc", "backslash"),
            ("/regi\u{e9}ster/abc", "not ASCII"),
            ("/register/abc/", "empty last segment"),
            ("/register/", "empty last segment"),
            ("/register//", "empty last segments"),
            ("/register/abc/.", "dot segment"),
            ("/register/abc/x/..", "dot segments"),
            ("/register/abc;v=1", "path parameter"),
            ("/register/ab%63", "needless escape"),
            ("/register/abc%2F", "escaped slash"),
            ("/register/abc%20", "escaped space"),
            ("/register/abc%00", "escaped NUL"),
            ("/register/abc%252F", "escaped twice"),
            ("/register/%u0061bc", "escape of IIS"),
            ("/register/ab\u{c7}", "not ASCII"),
            ("/register/a:b", "reserved character"),
            ("/register/abc?client_id=other", "named twice"),
            ("/register/abc?client_id=abc", "named twice"),
            ("/register/abc?Client_ID=other", "case"),
            ("/register/abc?client.id=other", "PHP folds the dot"),
            ("/register/abc?client+id=other", "PHP folds the space"),
            ("/register/abc?client_id[]=other", "an array"),
            ("/register/abc?x=1;client_id=other", "Rack separates at a semicolon"),
            ("/register/abc?clien%74_id=other", "escape"),
            ("/register/abc?client%255Fid=other", "escaped twice"),
            ("/register/abc?client_id%00=other", "cut at NUL"),
            ("/register?client_id=abc", "the other way to name a client"),
        ] {
            assert_eq!(read(&urls, uri), None, "{uri}: {reason}");
        }
    }

    #[test]
    fn a_registration_path_can_be_any() {
        let urls = ClientUrl::default().with_registration_path("/oauth2/reg").unwrap();
        for (uri, id) in
            [("/oauth2/reg", "(route)"), ("/oauth2/reg/abc", "abc"), ("/register", "register"), ("/abc", "abc")]
        {
            assert_eq!(read(&urls, uri).as_deref(), Some(id), "{uri}");
        }
        assert_eq!(read(&urls, "/oauth2/reg/"), None);
        for path in ["reg", "", "/reg?x", "/a b", "/reg#x", "https://as.example.com/reg"] {
            assert!(ClientUrl::default().with_registration_path(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_trailing_slash_is_there_or_is_not() {
        let urls = ClientUrl { trailing_slash: true, ..ClientUrl::default() };
        assert_eq!(read(&urls, "/register/abc/").as_deref(), Some("abc"));
        assert_eq!(read(&urls, "/register/abc"), None);
        assert_eq!(read(&urls, "/register/abc//"), None);
    }

    #[test]
    fn one_parameter_of_the_query_names_a_client() {
        let urls = ClientUrl { in_query: true, ..ClientUrl::default() };
        for (uri, id) in [
            ("/register?client_id=abc", "abc"),
            ("/connect/clients?x=1&client_id=a~b", "a~b"),
            ("/register", "(route)"),
            ("/register?x=1", "(route)"),
        ] {
            assert_eq!(read(&urls, uri).as_deref(), Some(id), "{uri}");
        }
        for uri in [
            "/register?client_id=",
            "/register?client_id",
            "/register?client_id=a&client_id=a",
            "/register?client_id=a&CLIENT_ID=b",
            "/register?client_id=a%62",
            "/register?client_id=a+b",
            "/register?client_id=a;b",
            "/register?client_id=a&%ff=1",
        ] {
            assert_eq!(read(&urls, uri), None, "{uri}");
        }
    }

    #[test]
    fn other_alphabets_have_one_spelling_too() {
        let urls = ClientUrl::default().with_additional_characters(":/;\u{e4}").unwrap();
        for (uri, id) in [
            ("/register/urn:x", "urn:x"),
            ("/register/urn%3Ax", "urn:x"),
            ("/register/a%2Fb", "a/b"),
            ("/register/a%3Bb", "a;b"),
            ("/register/a%C3%A4", "a\u{e4}"),
        ] {
            assert_eq!(read(&urls, uri).as_deref(), Some(id), "{uri}");
        }
        for (uri, reason) in [
            ("/register/urn%3ax", "small letters"),
            ("/register/ur%6Ex", "needless escape"),
            ("/register/a;b", "servers cut there"),
            ("/register/a%2Bb", "not in the alphabet"),
            ("/register/a+b", "not in the alphabet"),
            ("/register/a%C3", "no UTF-8"),
            ("/register/a%C3%B6", "not in the alphabet"),
            ("/register/%2E%2E", "dot segment"),
            ("/register/a%", "no escape"),
            ("/register/a%3", "no escape"),
        ] {
            assert_eq!(read(&urls, uri), None, "{uri}: {reason}");
        }
        for character in ["%", "\0", "\n", "\u{85}"] {
            assert!(ClientUrl::default().with_additional_characters(character).is_err(), "{character:?}");
        }
    }

    #[test]
    fn methods_that_need_a_client_are_rejected_without_one() {
        use ErrorCode::{InvalidClientMetadata, MethodNotAllowed};
        let urls = ClientUrl::default();
        for name in ["", "_method", "client_name", "clientName", "redirect_uris", "model.scope", "a b", "a;b"] {
            assert!(ClientUrl::default().with_query_parameters([name]).is_err(), "{name:?}");
        }
        for (method, uri, code) in [
            ("PUT", "/register", Some(MethodNotAllowed)),
            ("PUT", "/register/abc", None),
            ("PUT", "/register/abc/", Some(InvalidClientMetadata)),
            ("GET", "/register", None),
            ("GET", "/register/abc/", Some(InvalidClientMetadata)),
            ("HEAD", "/register/abc/", Some(InvalidClientMetadata)),
            ("DELETE", "/register/abc/", Some(InvalidClientMetadata)),
            ("POST", "/register/abc/", None),
            ("OPTIONS", "/register/abc/", None),
            ("TRACE", "/register", Some(MethodNotAllowed)),
            ("CONNECT", "/register/abc", Some(MethodNotAllowed)),
            ("post", "/register", Some(MethodNotAllowed)),
            ("PATCH", "/register/abc", Some(MethodNotAllowed)),
            ("POST", "/register?_method=PUT", Some(InvalidClientMetadata)),
            ("POST", "/register?x&%5Fmethod=PUT", Some(InvalidClientMetadata)),
            ("POST", "/register?client_name=Claude", Some(InvalidClientMetadata)),
            ("POST", "/register?redirect_uris[]=https://evil.test/", Some(InvalidClientMetadata)),
            ("POST", "/register?tenant=a;client_name=Claude", Some(InvalidClientMetadata)),
            ("GET", "/register?clientName=Claude", Some(InvalidClientMetadata)),
            ("OPTIONS", "/register?a.scope=admin", Some(InvalidClientMetadata)),
            ("POST", "/register?tenant=a&x", None),
            ("POST", "/register?tenant[x]=a", Some(InvalidClientMetadata)),
            ("POST", "/register?", None),
        ] {
            let checked = urls.check(&Method::from_bytes(method.as_bytes()).unwrap(), &uri.parse().unwrap());
            assert_eq!(checked.err().map(|rejection| rejection.code), code, "{method} {uri}");
        }
        let urls = urls.with_query_parameters(["tenant"]).unwrap();
        for (uri, passes) in
            [("/r?tenant=a", true), ("/r", true), ("/r?Tenant=a", false), ("/r?skip_consent=true", false)]
        {
            assert_eq!(urls.check(&Method::POST, &uri.parse().unwrap()).is_ok(), passes, "{uri}");
        }
    }

    /// URLs close enough to those of clients that some server may read them.
    fn client_url() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => "[a-zA-Z0-9._~-]{1,4}",
            2 => prop_oneof![Just("/"), Just("//"), Just("."), Just(".."), Just(";"), Just(":"), Just("+")].prop_map(str::to_owned),
            2 => "%[0-9a-fA-F]{2}",
            1 => prop_oneof![Just("%u0061"), Just("%"), Just("\\"), Just("client_id"), Just("register")].prop_map(str::to_owned),
        ];
        let query = prop_oneof![
            2 => Just(String::new()),
            1 => "\\?[a-z_.+%\\[\\]05f;&=]{0,12}",
            2 => prop_oneof![Just("client_id"), Just("client.id"), Just("Client_ID"), Just("client_id[]")]
                .prop_map(|name| format!("?a=b&{name}=other")),
        ];
        (prop::collection::vec(piece, 1..6), query)
            .prop_map(|(pieces, query)| format!("/register/{}{query}", pieces.concat()))
    }

    proptest! {
        /// Nothing but the one spelling is read, and every other reader that there is reads the same.
        #[test]
        fn a_client_that_is_read_from_a_url_is_the_one_that_others_read(url in client_url()) {
            let Ok(uri) = url.parse::<Uri>() else { return Ok(()) };
            let urls = [ClientUrl::default(), ClientUrl::default().with_additional_characters(":+/").unwrap()];
            for (urls, has_escapes) in urls.into_iter().zip([false, true]) {
                let UrlTarget::Client(id) = urls.read(&uri) else { continue };
                let raw = uri.path().rsplit('/').next().unwrap_or_default();
                if !has_escapes {
                    prop_assert_eq!(raw, &id, "as it is written");
                }
                // As browsers and Node read it.
                let parsed = url::Url::parse(&format!("http://localhost{uri}")).unwrap();
                let last = parsed.path_segments().unwrap().next_back().unwrap();
                let decoded = percent_decode_str(last).decode_utf8().unwrap();
                prop_assert_eq!(&*decoded, &id);
                prop_assert!(parsed.query_pairs().all(|(name, _)| !name.eq_ignore_ascii_case("client_id")), "{}", uri);
            }
        }
    }
}
