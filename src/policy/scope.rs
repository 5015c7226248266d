//! Which scopes a client may register.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{ConfigError, Excess, Policy, Submission, describe_as_json};
use crate::registration::Field;
use crate::rejection::{ErrorCode, Rejection};

/// Checks the grammar of `scope` (RFC 6749 section 3.3), intersects it with a ceiling, and gives a client that asks for
/// none the operator's default.
///
/// Unknown scopes are common in honest registrations (clients copy them from discovery documents), so a scope above the
/// ceiling is taken out; a client is refused only if nothing is left of what it asked for.
///
/// ```
/// # use tower_dcr::{Registration, policy::{Policy, Review, Submission}};
/// # fn judge(rule: &impl Policy, body: &str) -> Result<String, String> {
/// #     let mut registration = Registration::parse(body.as_bytes()).unwrap();
/// #     let mut review = Review::registration();
/// #     rule.review(&mut Submission::new(&mut registration, &mut review)).map_err(|refused| refused.description())?;
/// #     Ok(String::from_utf8(registration.canonical_bytes()).unwrap())
/// # }
/// use tower_dcr::policy::Scope;
///
/// let scope = Scope::any().with_ceiling(["read", "write"]).unwrap().with_default(["read"]).unwrap();
/// assert_eq!(judge(&scope, r#"{"scope":"write admin"}"#)?, r#"{"scope":"write"}"#);
/// assert_eq!(judge(&scope, "{}")?, r#"{"scope":"read"}"#);
/// assert!(judge(&scope, r#"{"scope":"admin"}"#).is_err());
/// # Ok::<_, String>(())
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct Scope {
    /// The scopes that a client may have; without, any.
    #[serde(skip_serializing_if = "Option::is_none")]
    ceiling: Option<BTreeSet<Token>>,
    /// What a client gets that sends no `scope`.
    default: BTreeSet<Token>,
    /// What happens to a registration that asks for more.
    otherwise: Excess,
}

/// A scope token (RFC 6749 section 3.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
struct Token(String);

impl Scope {
    /// Any scopes, none by default.
    pub fn any() -> Self {
        Self::default()
    }

    /// No scope but these.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Scope`] for what is no scope token.
    pub fn with_ceiling<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Result<Self, ConfigError> {
        self.ceiling = Some(tokens(scopes)?);
        Ok(self)
    }

    /// What a client gets that sends no `scope`. RFC 7591 section 2 lets the server register such a default; without
    /// one, some servers later refuse at the authorization endpoint what the client never listed (`offline_access`).
    ///
    /// # Errors
    ///
    /// [`ConfigError::Scope`] for what is no scope token.
    pub fn with_default<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Result<Self, ConfigError> {
        self.default = tokens(scopes)?;
        Ok(self)
    }

    /// Refuses a registration that asks for more than the ceiling or spaces its list carelessly.
    pub fn refusing_others(mut self) -> Self {
        self.otherwise = Excess::Refuse;
        self
    }

    /// The scopes beyond which nobody gets anything, if there are any.
    pub(super) fn ceiling(&self) -> Option<BTreeSet<String>> {
        self.ceiling.as_ref().map(|ceiling| ceiling.iter().map(|token| token.0.clone()).collect())
    }

    fn allows(&self, token: &str) -> bool {
        self.ceiling.as_ref().is_none_or(|ceiling| ceiling.iter().any(|allowed| allowed.0 == token))
    }
}

impl Policy for Scope {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        submission.begin("scope");
        let refuse = |submission: &Submission<'_>, detail| {
            Err(submission.reject(ErrorCode::InvalidClientMetadata, detail).with_field("scope"))
        };
        let Some(scope) = submission.registration().string_at(Field::SCOPE) else {
            if !self.default.is_empty() {
                let tokens: Vec<&str> = self.default.iter().map(|token| token.0.as_str()).collect();
                submission.insert_default("scope", tokens.join(" "));
            }
            return Ok(());
        };
        // Both loops look at every byte, in a form that vectorises. A plain document has no backslash, and so none of
        // the two characters that a JSON string needs one for.
        let bytes = scope.as_bytes();
        let next = bytes.get(1..).unwrap_or_default();
        let well_formed = submission.registration().is_plain()
            || bytes.iter().fold(0, |found, byte| found | u8::from(!is_space_or_token_byte(*byte))) == 0;
        let double = bytes.iter().zip(next).fold(0, |found, pair| found | u8::from(pair == (&b' ', &b' '))) != 0;
        let spaced = double || bytes.starts_with(b" ") || bytes.ends_with(b" ");
        if !well_formed {
            return refuse(submission, "is not a list of scope tokens");
        }
        let above = self.ceiling.is_some() && !scope.split(' ').all(|token| self.allows(token));
        if self.otherwise == Excess::Refuse && (spaced || above) {
            return refuse(submission, "asks for more than this server offers");
        }
        let mut scope_is_empty = scope.is_empty();
        if spaced || above {
            submission.narrow_tokens("scope", |token| !token.is_empty() && self.allows(token));
            scope_is_empty = submission.registration().string_at(Field::SCOPE) == Some("");
        }
        if scope_is_empty {
            return refuse(submission, "asks for nothing that this server offers");
        }
        Ok(())
    }

    fn describe(&self, out: &mut String) {
        describe_as_json(self, out);
    }
}

fn is_token(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte != b' ' && is_space_or_token_byte(byte))
}

/// RFC 6749 section 3.3: `1*( %x21 / %x23-5B / %x5D-7E )`, and the space between tokens.
fn is_space_or_token_byte(byte: u8) -> bool {
    (0x20..=0x7E).contains(&byte) && byte != b'"' && byte != b'\\'
}

fn tokens<S: Into<String>>(scopes: impl IntoIterator<Item = S>) -> Result<BTreeSet<Token>, ConfigError> {
    scopes.into_iter().map(|token| Token::try_from(token.into())).collect()
}

impl TryFrom<String> for Token {
    type Error = ConfigError;

    fn try_from(token: String) -> Result<Self, ConfigError> {
        if is_token(&token) { Ok(Self(token)) } else { Err(ConfigError::Scope { token }) }
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.0
    }
}
