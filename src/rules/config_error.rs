//! Errors in a configuration.

use std::fmt;
use std::time::Duration;

use crate::bounds;
use crate::period::{self, InWords};
use crate::redirect_uri::{RedirectClass, RedirectUri, is_dangerous_scheme, is_public_dns_name};
#[cfg(feature = "identity")]
use crate::rules::Identities;
#[cfg(feature = "policy-file")]
use crate::suggestion::Hint;
use crate::suggestion::Suggestion;

/// An invalid configuration. Layers and rules return it when they are built, not when they run.
///
/// ```
/// use tower_dcr::rules::RedirectUris;
///
/// let error = RedirectUris::mcp().add_private_use_scheme("javascript").unwrap_err();
/// assert_eq!(error.to_string(), r#"the scheme "javascript" is never allowed in a redirect URI"#);
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// An entry in a list of trusted proxies is neither an address nor a CIDR block.
    Cidr {
        /// The entry.
        value: String,
    },
    /// A character that client IDs can't contain.
    ClientIdCharacter {
        /// The character.
        character: char,
    },
    /// A query parameter that must not be let through.
    QueryParameter {
        /// The name of the parameter.
        name: String,
    },
    /// A registration path that is not a path.
    RegistrationPath {
        /// The given text.
        path: String,
    },
    /// A date that is not of the form `YYYY-MM-DD`.
    Date {
        /// The given text.
        value: String,
    },
    /// A scheme that is never allowed.
    DangerousScheme {
        /// The scheme.
        scheme: String,
    },
    /// A redirect URI pattern with a wildcard in place of a whole domain.
    DomainWildcard {
        /// The pattern.
        pattern: String,
    },
    /// A list of grant types without the one that a response type needs.
    MissingGrant,
    /// An empty list of grant types.
    NoGrants,
    /// The grant type `password`, which RFC 9700 section 2.4 forbids.
    PasswordGrant,
    /// A redirect URI pattern with a wildcard inside its path instead of at its end.
    PathWildcard {
        /// The pattern.
        pattern: String,
        /// The reason.
        reason: &'static str,
    },
    /// Neither a quota nor `off`: malformed text, a count of zero or above ten million, or a burst that takes more than 30
    /// days to refill.
    Quota {
        /// The given text.
        text: String,
        /// The reason.
        reason: &'static str,
    },
    /// A host that is not a public DNS name in lower case.
    Host {
        /// The given text.
        host: String,
    },
    /// A member that can't be allowed as an extra one, because the server issues it or another rule handles it.
    Member {
        /// The name of the member.
        name: String,
    },
    /// A name without any letter or digit, so that nothing can be compared with it.
    Name {
        /// The name.
        name: String,
    },
    /// A name that is not in the table of known identities.
    UnknownIdentity {
        /// The name.
        name: String,
    },
    /// A text that is not a single word.
    Word {
        /// The given text.
        word: String,
    },
    /// Invalid operators on a member (OpenID Federation 1.0 section 6.1.3).
    Operators {
        /// The member.
        member: String,
        /// The reason.
        reason: &'static str,
    },
    /// A text that is not an origin as browsers write it.
    Origin {
        /// The given text.
        origin: String,
    },
    /// A redirect URI pattern that is malformed, or would match more than it says.
    Pattern {
        /// The pattern.
        pattern: String,
        /// The reason.
        reason: String,
    },
    /// A pattern for the URLs of client metadata documents that is malformed.
    UrlPattern {
        /// The pattern.
        pattern: String,
        /// The reason.
        reason: String,
    },
    /// A number that must not be zero.
    Zero {
        /// The setting.
        what: &'static str,
    },
    /// A known member has a value of another type than its specification defines.
    Shape {
        /// The member.
        member: String,
        /// The requirement: `must be a string`.
        demand: &'static str,
    },
    /// A limit below its minimum or above its maximum.
    OutOfRange {
        /// The setting.
        what: &'static str,
        /// The given value, in words: `7 days`.
        value: String,
        /// The bound that the value violates: [`Suggestion::AtLeast`] or [`Suggestion::AtMost`].
        bound: Suggestion,
    },
    /// A word that is none of the known ones.
    Unknown {
        /// The kind of word: `a status`.
        what: &'static str,
        /// The given word.
        word: String,
        /// The known words.
        words: &'static [&'static str],
    },
    /// A fingerprint with a wrong number of hexadecimal digits for its kind.
    FingerprintDigits {
        /// The kind of the fingerprint.
        kind: String,
        /// The number of hexadecimal digits that this kind has.
        digits: usize,
    },
    /// A DNS name that is no site: a host below one, or a public suffix.
    Site {
        /// The given text.
        site: String,
    },
    /// A network of a prefix length that records don't use.
    Source {
        /// The given text.
        value: String,
    },
    /// An issuer of tokens with invalid keys or algorithms.
    Issuer {
        /// The name of the issuer.
        issuer: String,
        /// The reason.
        reason: String,
    },
    /// An invalid initial access token. The error does not contain the token.
    InitialAccessToken {
        /// The owner of the token.
        owner: String,
        /// The reason.
        reason: &'static str,
    },
    /// Shared secrets are to be replaced with `none`, but `none` is not offered.
    Substitute,
    /// A name that is not that of a rule which supports report-only mode.
    ReportOnlyRule {
        /// The given name.
        name: String,
    },
    /// Audit events are to contain a keyed hash, but there is no key.
    RequesterKey,
    /// A text that is not a URI scheme in lower case, or a scheme whose redirects have a class of their own (`https`,
    /// `http`).
    Scheme {
        /// The given text.
        scheme: String,
    },
    /// A text that is not a scope token (RFC 6749 section 3.3).
    Scope {
        /// The given text.
        token: String,
    },
}

impl ConfigError {
    /// Returns a way to correct the mistake. `None` if the message is sufficient.
    ///
    /// ```
    /// use tower_dcr::rules::{RedirectUris, Suggestion};
    ///
    /// let error = RedirectUris::mcp().add_private_use_scheme("MyApp://").unwrap_err();
    /// assert_eq!(error.suggestion(), Some(Suggestion::Write("\"myapp\"".into())));
    /// ```
    #[must_use]
    pub fn suggestion(&self) -> Option<Suggestion> {
        Some(match self {
            Self::DangerousScheme { .. } => Suggestion::Remove(Some("no setting allows it")),
            Self::Scheme { scheme } if scheme == "http" || scheme == "https" => Suggestion::advice(
                "take it out, and see redirect_uris.classes: \"https\" and \"loopback\" are classes of their own",
            ),
            Self::Scheme { scheme } => instead_of_scheme(scheme),
            Self::Pattern { pattern, .. } | Self::DomainWildcard { pattern } | Self::PathWildcard { pattern, .. }
                if looks_like_expression(pattern) =>
            {
                Suggestion::advice(
                    r#"begin a regular expression with "regex: ", like 'regex: https://[a-z]+\.example\.com/cb'"#,
                )
            }
            Self::DomainWildcard { .. } => {
                Suggestion::advice("put the wildcard below a domain of yours: \"https://*.example.com/cb\"")
            }
            Self::PathWildcard { .. } => {
                Suggestion::advice("a path ends with \"/*\" or has no wildcard: \"https://app.example.com/oauth/*\"")
            }
            Self::UrlPattern { pattern, .. } if pattern.contains('*') => Suggestion::advice(
                "`*` is one whole segment of the path: list each host, like \"https://app.example.com/oauth/*/client.json\"",
            ),
            Self::Host { host } => instead_of_host(host),
            Self::Substitute => Suggestion::advice("add `otherwise = \"reject\"`, or \"none\" to one_of"),
            Self::PasswordGrant => Suggestion::advice("take \"password\" out (RFC 9700 section 2.4)"),
            Self::MissingGrant => Suggestion::advice(
                "\"code\" needs \"authorization_code\", \"token\" and \"id_token\" need \"implicit\"",
            ),
            Self::Member { .. } => Suggestion::Remove(Some("another rule handles it, or only the server issues it")),
            #[cfg(feature = "identity")]
            Self::UnknownIdentity { .. } => {
                Suggestion::OneOf(Identities::known().reserved().map(|known| known.name.clone()).collect())
            }
            Self::Operators { .. } => {
                Suggestion::advice("see OpenID Federation 1.0 section 6.1.3, or `dcr explain metadata-policy`")
            }
            Self::Quota { reason, .. } if *reason == NOT_A_QUOTA => {
                Suggestion::advice("write \"60/minute, burst 300\", or \"off\"")
            }
            Self::OutOfRange { bound, .. } => bound.clone(),
            _ => return None,
        })
    }

    /// Returns the value or the name that the error is about. `None` if there is none.
    #[cfg(feature = "policy-file")]
    fn input(&self) -> Option<&str> {
        match self {
            Self::Cidr { value } | Self::Date { value } | Self::Source { value } => Some(value),
            Self::QueryParameter { name }
            | Self::Member { name }
            | Self::Name { name }
            | Self::UnknownIdentity { name }
            | Self::ReportOnlyRule { name } => Some(name),
            Self::RegistrationPath { path } => Some(path),
            Self::DangerousScheme { scheme } | Self::Scheme { scheme } => Some(scheme),
            Self::Host { host } => Some(host),
            Self::Site { site } => Some(site),
            Self::Word { word } | Self::Unknown { word, .. } => Some(word),
            Self::Operators { member, .. } | Self::Shape { member, .. } => Some(member),
            Self::Origin { origin } => Some(origin),
            Self::Pattern { pattern, .. }
            | Self::DomainWildcard { pattern }
            | Self::PathWildcard { pattern, .. }
            | Self::UrlPattern { pattern, .. } => Some(pattern),
            Self::Issuer { issuer, .. } => Some(issuer),
            Self::InitialAccessToken { owner, .. } => Some(owner),
            Self::Scope { token } => Some(token),
            _ => None,
        }
    }

    /// Returns `value` if it is in the range.
    pub(crate) fn check<T: PartialOrd + fmt::Display>(
        what: &'static str,
        value: T,
        least: &T,
        most: &T,
    ) -> Result<T, Self> {
        match bounds::broken(&value, least, most) {
            Some(bound) => Err(Self::OutOfRange { what, value: value.to_string(), bound }),
            None => Ok(value),
        }
    }

    /// Returns `value` if it is at least `least` and at most the longest duration that any setting allows.
    pub(crate) fn check_time(what: &'static str, value: Duration, least: Duration) -> Result<Duration, Self> {
        let time = Self::check(what, InWords(value), &InWords(least), &InWords(period::LONGEST))?;
        Ok(time.0)
    }
}

/// The reason of [`ConfigError::Quota`] for malformed text.
pub(crate) const NOT_A_QUOTA: &str = "is not a quota like \"60/minute\" or \"60/minute, burst 300\", nor \"off\"";

crate::text::debug_for_people!(ConfigError);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[cfg(feature = "policy-file")]
        Hint::leave(|| Hint { input: self.input().map(str::to_owned), suggestion: self.suggestion() });
        match self {
            Self::Cidr { value } => write!(f, "{value:?} is neither an IP address nor a CIDR block"),
            Self::ClientIdCharacter { character } => write!(f, "client IDs can't contain {character:?}"),
            Self::QueryParameter { name } => {
                write!(f, "{name:?} can't be a query parameter of registrations: it is metadata, or not a plain name")
            }
            Self::RegistrationPath { path } => {
                write!(f, "{path:?} is not the path of a registration endpoint, such as \"/register\"")
            }
            Self::Date { value } => write!(f, "{value:?} is not a day as YYYY-MM-DD"),
            Self::Issuer { issuer, reason } => write!(f, "the issuer {issuer:?}: {reason}"),
            Self::DangerousScheme { scheme } => write!(f, "the scheme {scheme:?} is never allowed in a redirect URI"),
            Self::DomainWildcard { pattern } => {
                write!(f, "the redirect URI pattern {pattern:?} has a wildcard below a top-level domain")
            }
            Self::MissingGrant => {
                f.write_str("invalid grant types: a response type needs a grant type that is not offered")
            }
            Self::NoGrants => f.write_str("invalid grant types: the list is empty"),
            Self::PasswordGrant => f.write_str("invalid grant types: password must not be used"),
            Self::PathWildcard { pattern, reason } => write!(f, "the redirect URI pattern {pattern:?}: {reason}"),
            Self::Quota { text, reason } => write!(f, "{text:?} {reason}"),
            Self::Host { host } => write!(f, "{host:?} is not a public DNS name in lower case"),
            Self::Member { name } => write!(f, "the member {name:?} can't be allowed as an extra one"),
            Self::Name { name } => write!(f, "the name {name:?} has no letter or digit in it"),
            Self::UnknownIdentity { name } => write!(f, "{name:?} is not in the table of known identities"),
            Self::Word { word } => write!(f, "{word:?} is not one word with a letter or a digit in it"),
            Self::Operators { member, reason } => write!(f, "the operators on the member {member:?}: {reason}"),
            Self::Origin { origin } => write!(f, "{origin:?} is not an origin as browsers write it"),
            Self::Pattern { pattern, reason } => write!(f, "the redirect URI pattern {pattern:?}: {reason}"),
            Self::UrlPattern { pattern, reason } => write!(f, "the URL pattern {pattern:?}: {reason}"),
            Self::Zero { what } => write!(f, "{what} must not be zero"),
            Self::Unknown { what, word, words } => {
                write!(f, "{word:?} is not {what}: expected one of {}", words.join(", "))
            }
            Self::FingerprintDigits { kind, digits } => write!(f, "a {kind} has {digits} hexadecimal digits"),
            Self::Site { site } => {
                write!(
                    f,
                    "{site:?} is not a site: write a registrable domain like \"example.com\", or use document_host"
                )
            }
            Self::Source { value } => {
                write!(f, "{value:?} is neither an IPv4 network of 24 or 32 bits nor an IPv6 network of 48 or 64 bits")
            }
            Self::InitialAccessToken { owner, reason } => write!(f, "the initial access token of {owner:?} {reason}"),
            Self::OutOfRange { what, value, bound } => {
                write!(f, "{what} must be {}, not {value}", bound.as_demand())
            }
            Self::ReportOnlyRule { name } => write!(f, "{name:?} is not the name of a rule that can be report-only"),
            Self::Shape { member, demand } => write!(f, "the member {member:?} {demand}"),
            Self::RequesterKey => f.write_str("the requester can't be hashed without a key: set requester_key_file"),
            Self::Scheme { scheme } if scheme == "http" || scheme == "https" => {
                write!(f, "{scheme:?} is not a private-use scheme: its redirect URIs have a class of their own")
            }
            Self::Scheme { scheme } => write!(f, "{scheme:?} is not a URI scheme in lower case"),
            Self::Substitute => f.write_str("shared secrets can't be replaced with \"none\", which is not offered"),
            Self::Scope { token } => write!(f, "{token:?} is not a scope token"),
        }
    }
}

impl std::error::Error for ConfigError {}

fn looks_like_expression(text: &str) -> bool {
    text.contains(['(', '[', '^', '$', '|', '+', '\\']) && !text.starts_with("regex:")
}

/// Suggests the scheme in the text if there is one. Never suggests the text itself.
fn instead_of_scheme(text: &str) -> Suggestion {
    let scheme = text.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let is_scheme =
        RedirectUri::parse(&format!("{scheme}:/cb")).is_ok_and(|uri| uri.class() == RedirectClass::PrivateUse);
    match () {
        () if is_scheme && !is_dangerous_scheme(&scheme) => Suggestion::Write(format!("{scheme:?}")),
        () if text.contains('*') => Suggestion::advice(
            "list each scheme, like \"com.example.app\"; `unlisted_schemes = \"mark\"` admits all but the dangerous ones",
        ),
        () => Suggestion::advice("a scheme is like \"com.example.app\""),
    }
}

fn instead_of_host(text: &str) -> Suggestion {
    let host = text.trim_start_matches("https://").split('/').next().unwrap_or_default().to_ascii_lowercase();
    let host = if is_public_dns_name(&host) { &*host } else { "app.example.com" };
    Suggestion::Advice(format!("write the name alone, like {host:?}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_bound_of_a_value_out_of_range() {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let error = ConfigError::check_time("the retention", DAY * 7, DAY * 30).unwrap_err();
        assert_eq!(error.to_string(), "the retention must be at least 30 days, not 7 days");
        let error = ConfigError::check_time("the retention", DAY * 70_000, DAY).unwrap_err();
        assert!(error.to_string().starts_with("the retention must be at most 100 years, not "), "{error}");
        let error = ConfigError::check("the number of keys", 1000, &1, &100).unwrap_err();
        assert_eq!(error.to_string(), "the number of keys must be at most 100, not 1000");
        assert_eq!(ConfigError::check("the number of keys", 100, &1, &100), Ok(100));
    }
}
