//! The parameters that the gate reads, and every spelling that some server reads as one of them.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

/// A parameter that the gate reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    ClientId,
    RedirectUri,
    ClientAssertion,
    ClientAssertionType,
    Request,
    RequestUri,
    GrantType,
    Code,
    RefreshToken,
    DeviceCode,
    AuthReqId,
    ClientSecret,
    CodeChallenge,
    CodeChallengeMethod,
    CodeVerifier,
    Resource,
    ResponseMode,
    ResponseType,
    Scope,
    State,
}

impl Name {
    pub(super) const ALL: [(Self, &'static str); 20] = [
        (Self::ClientId, "client_id"),
        (Self::RedirectUri, "redirect_uri"),
        (Self::ClientAssertion, "client_assertion"),
        (Self::ClientAssertionType, "client_assertion_type"),
        (Self::Request, "request"),
        (Self::RequestUri, "request_uri"),
        (Self::GrantType, "grant_type"),
        (Self::Code, "code"),
        (Self::RefreshToken, "refresh_token"),
        (Self::DeviceCode, "device_code"),
        (Self::AuthReqId, "auth_req_id"),
        (Self::ClientSecret, "client_secret"),
        (Self::CodeChallenge, "code_challenge"),
        (Self::CodeChallengeMethod, "code_challenge_method"),
        (Self::CodeVerifier, "code_verifier"),
        (Self::Resource, "resource"),
        (Self::ResponseMode, "response_mode"),
        (Self::ResponseType, "response_type"),
        (Self::Scope, "scope"),
        (Self::State, "state"),
    ];

    /// Returns whether only rules read it: they decide about its spellings and about repetitions, so that login and
    /// consent forms may have it in other forms.
    pub(super) const fn is_for_rules(self) -> bool {
        matches!(
            self,
            Self::ClientSecret
                | Self::CodeChallenge
                | Self::CodeChallengeMethod
                | Self::CodeVerifier
                | Self::Resource
                | Self::ResponseMode
                | Self::ResponseType
                | Self::Scope
                | Self::State
        )
    }

    /// Returns whether only token requests have it; a login form may have a `Code` of its own.
    pub(super) const fn is_of_token_request(self) -> bool {
        matches!(self, Self::GrantType | Self::Code | Self::RefreshToken | Self::DeviceCode | Self::AuthReqId)
    }

    /// Returns whether forms use the word for other things as well, below a name of their own (`user[code]`).
    const fn is_common_word(self) -> bool {
        matches!(self, Self::Request | Self::Code | Self::Resource | Self::Scope | Self::State)
    }
}

/// The reading of a parameter name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Spelled exactly.
    Exact(Name),
    /// Spelled in another way, but some server reads it as this one.
    Folded(Name),
    /// Another parameter to every server.
    Other,
}

impl Reading {
    /// Returns whether the gate rejects requests in which servers may read this parameter in different ways, whatever
    /// the rules are.
    pub(super) const fn is_reserved(self) -> bool {
        match self {
            Self::Exact(name) | Self::Folded(name) => !name.is_for_rules(),
            Self::Other => false,
        }
    }
}

/// Reads a parameter name after its escapes were decoded.
///
/// PHP turns `.`, ` ` and `[` into `_`, drops leading spaces and cuts at NUL. PHP, Rack and qs read `client_id[]`; qs also
/// reads `[client_id]`. ASP.NET ignores case, and so does Go in JSON, by Unicode's simple folding. ASP.NET binds
/// `model.client_id`, Spring `_client_id` and `!client_id`, Zope `client_id:list`. Future servers will fold in other
/// ways, so the fold is far wider than any of these: only letters and digits count.
pub(super) fn read(name: &str) -> Reading {
    if let Some((exact, _)) = Name::ALL.iter().find(|(_, spelling)| *spelling == name) {
        return Reading::Exact(*exact);
    }
    spelled(name, |_| true)
}

/// Reads a name that has a meaning in token requests only, at an endpoint that takes none: `code.challenge` is more than a
/// `code`.
pub(super) fn read_for_rules(name: &str) -> Reading {
    spelled(name, Name::is_for_rules)
}

/// Reads the name as another spelling of one of the names that count.
fn spelled(name: &str, counts: impl Fn(Name) -> bool) -> Reading {
    let mut spelling = Cow::Borrowed(name);
    // A second and third decoder further in.
    for _ in 0..3 {
        if let Some(folded) = fold(&spelling, &counts) {
            return Reading::Folded(folded);
        }
        if !spelling.contains('%') {
            break;
        }
        let bytes = spelling.replace('+', " ").into_bytes();
        let decoded = percent_encoding::percent_decode(&bytes).decode_utf8_lossy().into_owned();
        spelling = Cow::Owned(decoded);
    }
    Reading::Other
}

fn fold(name: &str, counts: &impl Fn(Name) -> bool) -> Option<Name> {
    let mut parts = vec![String::new()];
    for c in name.nfkd().flat_map(char::to_lowercase).flat_map(unfolded) {
        if c.is_ascii_alphanumeric() {
            if let Some(part) = parts.last_mut() {
                part.push(c);
            }
        } else if c.is_ascii() && !matches!(c, '_' | '-') && parts.last().is_some_and(|part| !part.is_empty()) {
            parts.push(String::new());
        }
    }
    // Some parsers drop text between two parts, and some text behind the last or before the first that counts.
    let found = Name::ALL.into_iter().filter(|(known, _)| counts(*known)).find(|(known, spelling)| {
        let starts = if known.is_common_word() { 1 } else { parts.len() };
        (0..starts).any(|start| begins_with(parts.get(start..).unwrap_or_default(), spelling))
    });
    found.map(|(known, _)| known)
}

/// Returns whether the first of the parts make up the letters of the name.
fn begins_with(parts: &[String], name: &str) -> bool {
    let mut rest = name.bytes().filter(|byte| *byte != b'_').peekable();
    for part in parts {
        if part.bytes().any(|byte| rest.next() != Some(byte)) {
            return false;
        }
        if rest.peek().is_none() {
            return true;
        }
    }
    false
}

/// Maps letters that lose their mark in upper or lower case only.
fn unfolded(c: char) -> std::iter::Once<char> {
    std::iter::once(match c {
        '\u{131}' => 'i',
        '\u{17f}' => 's',
        c => c,
    })
}

/// Returns whether a member name of a JSON object of claims is a spelling of `known`: only case and punctuation can
/// differ there.
pub(super) fn is_spelling_of(name: &str, known: &str) -> bool {
    name != known && letters_of(name) == letters_of(known)
}

/// Returns the letters and digits of a name, without case.
pub(super) fn letters_of(name: &str) -> String {
    name.nfkd().flat_map(char::to_lowercase).flat_map(unfolded).filter(char::is_ascii_alphanumeric).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_names_are_known() {
        for (name, what) in [
            ("client.id", "PHP"),
            ("client id", "PHP"),
            (" client_id", "PHP"),
            ("client[id", "PHP"),
            ("client_id\0", "PHP"),
            ("client_id\0x", "PHP"),
            ("client_id[]", "PHP, Rack, qs"),
            ("client_id[0]", "PHP, Rack, qs"),
            ("client id[client id]", "PHP"),
            ("client.id[x]", "PHP"),
            ("x[client.id]", "model binding"),
            ("client_id[x][y]", "PHP, Rack, qs"),
            ("[client_id]", "qs"),
            ("[client_id][0]", "qs"),
            ("__proto__[client_id]", "qs"),
            ("CLIENT_ID", "ASP.NET"),
            ("Client_Id", "ASP.NET"),
            ("cl\u{131}ent_id", "case folding"),
            ("cl\u{130}ent_id", "case folding"),
            ("ｃｌｉｅｎｔ＿ｉｄ", "best fit"),
            ("client\u{ff3f}id", "best fit"),
            ("\u{feff}client_id", "a byte order mark"),
            ("client\u{200b}_id", "zero width"),
            ("client_id\u{a0}", "white space"),
            ("?client_id", "URLSearchParams"),
            ("&client_id", "a second separator"),
            ("request.client_id", "ASP.NET model binding"),
            ("model['client_id']", "model binding"),
            ("_client_id", "Spring"),
            ("!client_id", "Spring"),
            ("client_id:utf8:list", "Zope"),
            ("client%5Fid", "decoded twice"),
            ("client%255Fid", "decoded three times"),
            ("clientId", "names in Java"),
            ("client-id", "names of headers"),
            ("client\n_id", "unfolded lines"),
            ("{\"client_id\":\"x\"}", "JSON"),
        ] {
            assert_eq!(read(name), Reading::Folded(Name::ClientId), "{name:?}: {what}");
        }
        for (name, known) in [
            ("redirect.uri", Name::RedirectUri),
            ("\u{212a}", Name::Code),
            ("reque\u{17f}t", Name::Request),
            ("request[0]", Name::Request),
            ("[request][0]", Name::Request),
            ("Request_Uri", Name::RequestUri),
            ("grant type", Name::GrantType),
            ("client.assertion", Name::ClientAssertion),
            ("refresh_token[]", Name::RefreshToken),
            ("code.challenge_method", Name::Code),
            ("Code_Challenge", Name::CodeChallenge),
            ("code_verifier[]", Name::CodeVerifier),
            ("Scope", Name::Scope),
            ("scope[]", Name::Scope),
            ("client-secret", Name::ClientSecret),
        ] {
            let wanted = if name == "\u{212a}" { Reading::Other } else { Reading::Folded(known) };
            assert_eq!(read(name), wanted, "{name:?}");
        }
        assert_eq!(read_for_rules("code.challenge_method"), Reading::Folded(Name::CodeChallengeMethod));
        assert_eq!(read_for_rules("Code"), Reading::Other);
    }

    #[test]
    fn honest_parameter_names_are_not_reserved() {
        for name in [
            "resource",
            "state",
            "scope",
            "audience",
            "response_type",
            "response_mode",
            "code_challenge",
            "code_challenge_method",
            "code_verifier",
            "client_secret",
            "client_name",
            "nonce",
            "prompt",
            "login_hint",
            "id_token_hint",
            "max_age",
            "ui_locales",
            "claims",
            "dpop_jkt",
            "authorization_details",
            "assertion",
            "subject_token",
            "subject_token_type",
            "actor_token",
            "requested_token_type",
            "pre-authorized_code",
            "tx_code",
            "user_code",
            "token",
            "token_type_hint",
            "username",
            "password",
            "user[email]",
            "user[code]",
            "scope[]",
            "scopes[read]",
            "authenticity_token",
            "__RequestVerificationToken",
            "csrfmiddlewaretoken",
            "_csrf",
            "utf8",
            "consent_challenge",
            "post_logout_redirect_uri",
            "request_id",
            "iss",
            "vendor.parameter",
        ] {
            assert!(!read(name).is_reserved(), "{name}");
        }
        for (known, spelling) in Name::ALL {
            assert_eq!(read(spelling), Reading::Exact(known));
        }
    }
}
