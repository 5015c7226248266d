//! Checks and normalises the client metadata in a response.

use http::Uri;
use serde_json::Value as Json;

use super::public_url::Viewpoint;
use super::time;
use crate::layers::body::issued_client_id;
use crate::redirect_uri::is_same_uri;
use crate::registration::{Entry, Field, JsonType, Registration, Value};

/// Rejects a redirect URI in a response that was not forwarded, since no rule has checked it. RFC 7591 section 3.2.1:
/// the response has the registered metadata.
pub(super) fn check_redirect_uris(answer: &Registration, forwarded: &Registration) -> Result<(), &'static str> {
    let answered = match answer.at(Field::REDIRECT_URIS) {
        None | Some(Value::Null | Value::String("")) => return Ok(()),
        Some(Value::Strings(answered)) => answered,
        Some(_) => return Err("in the server's answer is not a list of strings"),
    };
    let is_forwarded = |uri: &str| forwarded.redirect_uris().any(|known| is_same_uri(known, uri));
    if answered.into_iter().all(is_forwarded) {
        Ok(())
    } else {
        Err("in the server's answer has one that was not asked for")
    }
}

/// Rejects the response to an update if it is not about the client that the request names (RFC 7592 section 3). A
/// generic page, or a handler that ignores the method, has changed nothing of that client.
pub(super) fn check_updated(answer: &Registration, sent: &Registration, uri: &Uri) -> Result<(), &'static str> {
    let id = issued_client_id(answer)?;
    let is_asked = sent.string_at(Field::CLIENT_ID).map_or_else(|| names(uri, id), |sent| sent == id);
    if is_asked { Ok(()) } else { Err("in the server's answer is another client's") }
}

/// Returns whether a URL names this client, in its path or its query.
fn names(uri: &Uri, id: &str) -> bool {
    let decoded = |segment: &str| percent_encoding::percent_decode_str(segment).decode_utf8().is_ok_and(|it| it == id);
    let query = uri.query().unwrap_or_default();
    let value =
        |parameter: &str| parameter.split_once('=').map_or_else(String::new, |(_, value)| value.replace('+', " "));
    uri.path().split('/').any(decoded) || query.split('&').any(|parameter| decoded(&value(parameter)))
}

/// Returns whether a successful answer to a `GET` is about a client (RFC 7592 section 2.1).
pub(super) fn is_client(answer: &Registration) -> bool {
    const TELLING: [Field; 4] =
        [Field::REDIRECT_URIS, Field::GRANT_TYPES, Field::REGISTRATION_ACCESS_TOKEN, Field::REGISTRATION_CLIENT_URI];
    answer.at(Field::CLIENT_ID).is_some_and(|id| !id.is_empty())
        && TELLING.into_iter().any(|field| answer.at(field).is_some())
}

/// The context of a request while its response is normalised.
pub(super) struct Asked<'a> {
    /// The document that was forwarded. `None` if a client reads its registration.
    pub(super) forwarded: Option<&'a Registration>,
    pub(super) viewpoint: Viewpoint<'a>,
    /// Set if the request went to the client configuration endpoint (RFC 7592).
    pub(super) is_management: bool,
    /// The token that was sent with the request there.
    pub(super) sent_token: Option<&'a str>,
}

/// The changes to a response.
#[derive(Default)]
pub(super) struct Mended {
    pub(super) changed: bool,
    /// The members that were wrong, except for blank and missing ones, which most servers' responses have.
    pub(super) wrong: Vec<Field>,
}

impl Mended {
    fn replace(&mut self, answer: &mut Registration, field: Field, right: Option<Json>) {
        self.changed = true;
        self.wrong.push(field);
        answer.remove(field.name());
        if let Some(right) = right {
            answer.insert_default_value(field.name(), &right);
        }
    }
}

impl Asked<'_> {
    /// Makes a response readable for every known client.
    pub(super) fn mend(&self, answer: &mut Registration) -> Mended {
        let mut mended = Mended::default();
        // An empty array stays: `response_types` may be one.
        if answer.entries().any(Entry::is_blank) {
            answer.retain(|_, value| !matches!(value, Value::Null | Value::String("")));
            mended.changed = true;
        }
        self.spell_redirect_uris(answer, &mut mended);
        write_scope(answer, &mut mended);
        write_times(answer, &mut mended);
        self.pair(answer, &mut mended);
        self.show_urls(answer, &mut mended);
        if let Some(forwarded) = self.forwarded {
            let has_secret = answer.at(Field::CLIENT_SECRET).is_some();
            mended.changed |= answer.complete_from(forwarded);
            // An update says which secret the client has. Only the server knows whether it is still valid.
            if !has_secret {
                answer.remove(Field::CLIENT_SECRET.name());
            }
        }
        // RFC 7591 section 2: they "MUST NOT both be present in the same request or response".
        if answer.at(Field::JWKS).is_some() && answer.at(Field::JWKS_URI).is_some() {
            mended.replace(answer, Field::JWKS_URI, None);
        }
        // RFC 7591 section 3.2.1: "REQUIRED if "client_secret" is issued".
        if answer.at(Field::CLIENT_SECRET).is_some() {
            mended.changed |= answer.insert_default_value(Field::CLIENT_SECRET_EXPIRES_AT.name(), &Json::from(0));
        }
        mended
    }

    /// Restores the client's own spelling of redirect URIs, since clients compare them as text.
    fn spell_redirect_uris(&self, answer: &mut Registration, mended: &mut Mended) {
        let (Some(forwarded), Some(answered)) = (self.forwarded, answer.strings_at(Field::REDIRECT_URIS)) else {
            return;
        };
        let sent = |uri: &str| forwarded.redirect_uris().any(|sent| sent == uri);
        if answered.clone().all(sent) {
            return;
        }
        let spelled: Vec<&str> = answered
            .map(|uri| {
                let same = || forwarded.redirect_uris().find(|sent| is_same_uri(sent, uri));
                if sent(uri) { uri } else { same().unwrap_or(uri) }
            })
            .collect();
        let spelled = Json::from(spelled);
        mended.replace(answer, Field::REDIRECT_URIS, Some(spelled));
    }

    /// Removes `registration_client_uri` or `registration_access_token` without the other: neither is of use alone. RFC
    /// 7592 section 3: the URI is the "fully qualified URL of the client configuration endpoint".
    fn pair(&self, answer: &mut Registration, mended: &mut Mended) {
        const URI: Field = Field::REGISTRATION_CLIENT_URI;
        const TOKEN: Field = Field::REGISTRATION_ACCESS_TOKEN;
        if answer.at(TOKEN).is_some() && answer.string_at(TOKEN).is_none() {
            mended.replace(answer, TOKEN, None);
        }
        let given = answer.string_at(URI).map(str::to_owned);
        let seen = match &given {
            Some(url) => self.viewpoint.see(url),
            // A client that reads or updates its registration has just used its URL.
            None if self.is_management && answer.at(TOKEN).is_some() => self.viewpoint.own_url(),
            None => None,
        };
        let token = answer.string_at(TOKEN);
        let is_pair = seen.is_some() && token.is_some();
        // A token that is not the one in the request has replaced that one (RFC 7592 section 3): the client has no other
        // any more.
        let is_spare = token.is_some_and(|token| self.sent_token.is_none_or(|sent| sent == token));
        if is_pair {
            if seen != given {
                mended.replace(answer, URI, seen.map(Json::from));
            }
            return;
        }
        if answer.at(URI).is_some() {
            mended.replace(answer, URI, None);
        }
        if is_spare {
            mended.replace(answer, TOKEN, None);
        }
    }

    /// Rewrites or removes members that are no client metadata and lead to internal hosts: a server behind a proxy
    /// names its own endpoints by internal addresses.
    fn show_urls(&self, answer: &mut Registration, mended: &mut Mended) {
        let internal: Vec<(String, Option<String>)> = answer
            .entries()
            .filter(|entry| entry.kind().base().is_none())
            .filter_map(|entry| match entry.value() {
                Value::String(url) if self.viewpoint.is_internal(url) => Some((entry.name(), url)),
                _ => None,
            })
            // Values that the client has sent itself stay.
            .filter(|(name, url)| self.forwarded.and_then(|sent| sent.string(name)) != Some(url))
            .map(|(name, url)| (name.to_owned(), self.viewpoint.see(url)))
            .collect();
        for (name, seen) in internal {
            mended.changed = true;
            answer.remove(&name);
            if let Some(seen) = seen {
                answer.insert_default_value(&name, &Json::from(seen));
            }
        }
    }
}

/// Joins scopes into a string. RFC 7591 section 2: a "string containing a space-separated list of scope values".
fn write_scope(answer: &mut Registration, mended: &mut Mended) {
    let joined = match answer.at(Field::SCOPE) {
        None | Some(Value::String(_)) => return,
        Some(Value::Strings(scopes)) => {
            Some(scopes.filter(|scope| !scope.is_empty()).collect::<Vec<&str>>().join(" ")).filter(|it| !it.is_empty())
        }
        Some(_) => None,
    };
    mended.replace(answer, Field::SCOPE, joined.map(Json::from));
}

/// Writes both times as seconds. RFC 7591 section 3.2.1: each is a "number of seconds".
fn write_times(answer: &mut Registration, mended: &mut Mended) {
    let is_time = |field: &Field| field.is_server_issued() && field.json_type() == JsonType::Number;
    for field in Field::all().filter(is_time) {
        let Some(value) = answer.at(field) else { continue };
        let seconds = time::seconds(&value);
        if let (Value::Number(text), Some(seconds)) = (&value, seconds)
            && seconds.to_string() == *text
        {
            continue;
        }
        // Clients need an expiry for a secret. One that can't be read becomes 0, and the server says when the secret
        // has expired. Without a secret, the expiry is removed.
        mended.replace(answer, field, seconds.map(Json::from));
    }
}
