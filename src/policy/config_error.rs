//! Mistakes in a configuration.

use std::fmt;

/// A configuration that can't be meant. Layers and rules fail with it when they are built, not when they run.
///
/// ```
/// use tower_dcr::policy::RedirectUriGuard;
///
/// let error = RedirectUriGuard::mcp().add_private_use_scheme("javascript").unwrap_err();
/// assert_eq!(error.to_string(), r#"the scheme "javascript" is never allowed in a redirect URI"#);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A list of trusted proxies holds something that is neither an address nor a CIDR block.
    Cidr {
        /// What was given.
        value: String,
    },
    /// A character that no client ID may have.
    ClientIdCharacter {
        /// What was given.
        character: char,
    },
    /// A query parameter that must not pass.
    QueryParameter {
        /// What was given.
        name: String,
    },
    /// A registration path that is no path.
    RegistrationPath {
        /// What was given.
        path: String,
    },
    /// A scheme that is never allowed.
    DangerousScheme {
        /// What was given.
        scheme: String,
    },
    /// A grant type without which the rest makes no sense is missing.
    Grants {
        /// What is wrong.
        reason: &'static str,
    },
    /// Not a public DNS name in lower case.
    Host {
        /// What was given.
        host: String,
    },
    /// A member that the server issues, or that has a rule of its own, was to be allowed as an extra one.
    Member {
        /// What was given.
        name: String,
    },
    /// A name in which there is nothing that could be compared.
    Name {
        /// What was given.
        name: String,
    },
    /// A name that the table of known identities does not have.
    UnknownIdentity {
        /// What was given.
        name: String,
    },
    /// Not one word.
    Word {
        /// What was given.
        word: String,
    },
    /// Operators on a member that can't be meant (OpenID Federation 1.0 section 6.1.3).
    Operators {
        /// The member.
        member: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// Not an origin as browsers write it.
    Origin {
        /// What was given.
        origin: String,
    },
    /// A redirect URI pattern that can't be read, or would match more than it says.
    Pattern {
        /// What was given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A number that must not be zero.
    Zero {
        /// What it configures.
        what: &'static str,
    },
    /// Not a kind of fingerprint.
    Fingerprint {
        /// What was given.
        kind: String,
    },
    /// Not a network of a size that records keep.
    Source {
        /// What was given.
        value: String,
    },
    /// An initial access token that can't be one. The error does not hold the token.
    InitialAccessToken {
        /// Whose it was to be.
        owner: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A lifetime under which honest clients would break.
    Lifetime {
        /// What it configures.
        what: &'static str,
        /// The shortest that is accepted.
        least: std::time::Duration,
    },
    /// Shared secrets are to be substituted by `none`, and `none` is not offered.
    Substitute,
    /// Audit events are to hold a keyed hash, and there is no key.
    RequesterKey,
    /// Not a URI scheme in lower case.
    Scheme {
        /// What was given.
        scheme: String,
    },
    /// Not a scope token (RFC 6749 section 3.3).
    Scope {
        /// What was given.
        token: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cidr { value } => write!(f, "{value:?} is neither an IP address nor a CIDR block"),
            Self::ClientIdCharacter { character } => write!(f, "{character:?} can't be a character of client IDs"),
            Self::QueryParameter { name } => {
                write!(f, "{name:?} can't be a query parameter of registrations: it is metadata, or no plain name")
            }
            Self::RegistrationPath { path } => {
                write!(f, "{path:?} is no path of a registration endpoint: \"/register\" is one")
            }
            Self::DangerousScheme { scheme } => write!(f, "the scheme {scheme:?} is never allowed in a redirect URI"),
            Self::Grants { reason } => write!(f, "the grant types make no sense: {reason}"),
            Self::Host { host } => write!(f, "{host:?} is not a public DNS name in lower case"),
            Self::Member { name } => write!(f, "the member {name:?} can't be allowed as an extra one"),
            Self::Name { name } => write!(f, "the name {name:?} has no letter or digit in it"),
            Self::UnknownIdentity { name } => write!(f, "{name:?} is not in the table of known identities"),
            Self::Word { word } => write!(f, "{word:?} is not one word with a letter or a digit in it"),
            Self::Operators { member, reason } => write!(f, "the operators on the member {member:?}: {reason}"),
            Self::Origin { origin } => write!(f, "{origin:?} is no origin as browsers write it"),
            Self::Pattern { pattern, reason } => write!(f, "the redirect URI pattern {pattern:?}: {reason}"),
            Self::Zero { what } => write!(f, "{what} must not be zero"),
            Self::Fingerprint { kind } => write!(f, "{kind:?} is no kind of fingerprint"),
            Self::Source { value } => {
                write!(f, "{value:?} is neither an IPv4 network of 24 or 32 bits nor an IPv6 network of 48 or 64 bits")
            }
            Self::InitialAccessToken { owner, reason } => write!(f, "the initial access token of {owner:?} {reason}"),
            Self::Lifetime { what, least } => write!(f, "{what} must be at least {} s", least.as_secs()),
            Self::RequesterKey => {
                f.write_str("the requester can't be hashed without a key: requester_key_file names its file")
            }
            Self::Scheme { scheme } => write!(f, "{scheme:?} is not a URI scheme in lower case"),
            Self::Substitute => f.write_str("shared secrets can't be substituted by none if none is not offered"),
            Self::Scope { token } => write!(f, "{token:?} is not a scope token"),
        }
    }
}

impl std::error::Error for ConfigError {}
