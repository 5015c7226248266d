//! The rule over scopes.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::registration::Field;
use crate::rules::action::{self, Action};
use crate::rules::{ConfigError, Draft, Rule, RuleDocs, documented};
use crate::rules::{ErrorCode, Rejection};

/// Checks the grammar of `scope` (RFC 6749 section 3.3), intersects it with a ceiling, and sets the operator's default
/// for a client that requests none.
///
/// Unknown scopes are common in honest registrations (clients copy them from discovery documents), so a scope above the
/// ceiling is removed. A client is rejected only if nothing is left of its request ([`otherwise`](Self::otherwise)).
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{Context, Decision, Policy, Scope};
///
/// let policy = Policy::new(Scope::default().with_ceiling(["read", "write"])?);
/// let evaluation = policy.evaluate(Registration::parse(br#"{"scope":"write admin"}"#)?, &Context::registration());
/// assert_eq!(evaluation.registration.unwrap().string("scope"), Some("write"));
/// let evaluation = policy.evaluate(Registration::parse(br#"{"scope":"admin"}"#)?, &Context::registration());
/// assert_eq!(evaluation.decision(), Decision::Reject);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Scope {
    /// The scopes that a client may have. Without the setting, any.
    #[serde(skip_serializing_if = "Option::is_none")]
    ceiling: Option<BTreeSet<Token>>,
    /// Scopes of a client that sends no `scope`.
    default: BTreeSet<Token>,
    /// Scopes that are added for each client that sends a `scope`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    add: BTreeSet<Token>,
    /// Action on a registration that requests scopes above the ceiling. `narrow` removes them, and rejects a client without any
    /// scope left; `default` removes them, and such a client gets the default; `reject` rejects the registration, also for
    /// more than one space between scopes.
    #[serde(
        deserialize_with = "action::one::<_, action::NarrowDefaultOrReject>",
        serialize_with = "action::write_one::<_, action::NarrowDefaultOrReject>"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "action::OneOf<action::NarrowDefaultOrReject>"))]
    pub otherwise: Action,
}

/// A scope token (RFC 6749 section 3.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
struct Token(String);

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "scope",
    protects: "Scopes that are not for every client.",
    reference: "RFC 6749 section 3.3; RFC 7591 section 2",
    attack: "{\"redirect_uris\":[\"http://localhost/cb\"],\"scope\":\"read \\\"\"}",
    loosen: "metadata.scope.add_ceiling = [\"admin\"]; metadata.scope.otherwise = \"narrow\"",
    opens: "Requests for those scopes at the authorization endpoint.",
    replayable: true,
};

impl Scope {
    /// Allows only these scopes.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Scope`] if a text is not a scope token.
    pub fn with_ceiling<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Result<Self, ConfigError> {
        self.ceiling = Some(tokens(scopes)?);
        Ok(self)
    }

    /// Sets the scopes of a client that sends no `scope`. RFC 7591 section 2 lets the server register such a default.
    /// Without one, some servers later reject scopes at the authorization endpoint that the client never listed
    /// (`offline_access`).
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Scope`] if a text is not a scope token.
    pub fn with_default<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Result<Self, ConfigError> {
        self.default = tokens(scopes)?;
        Ok(self)
    }

    /// Sets the scopes that are added for each client that sends a `scope` (default: none). A client that sends none
    /// gets only the default or, without one, the scopes that the server chooses.
    ///
    /// ```
    /// use tower_dcr::Registration;
    /// use tower_dcr::rules::{Context, Policy, Scope};
    ///
    /// let policy = Policy::new(Scope::default().with_add(["offline_access"])?);
    /// let evaluation = policy.evaluate(Registration::parse(br#"{"scope":"read"}"#)?, &Context::registration());
    /// assert_eq!(evaluation.registration.unwrap().string("scope"), Some("read offline_access"));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Scope`] if a text is not a scope token.
    pub fn with_add<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Result<Self, ConfigError> {
        self.add = tokens(scopes)?;
        Ok(self)
    }

    /// Returns the ceiling of all scopes. `None` if there is none.
    pub(crate) fn ceiling(&self) -> Option<BTreeSet<String>> {
        self.ceiling.as_ref().map(|ceiling| ceiling.iter().map(|token| token.0.clone()).collect())
    }

    fn default_text(&self) -> String {
        let tokens: Vec<&str> = self.default.iter().map(|token| token.0.as_str()).collect();
        tokens.join(" ")
    }

    fn add_to(&self, draft: &mut Draft<'_>) {
        let Some(scope) = draft.registration().string_at(Field::SCOPE) else { return };
        let asked: Vec<&str> = scope.split(' ').collect();
        let lacking: Vec<&str> =
            self.add.iter().map(|token| token.0.as_str()).filter(|token| !asked.contains(token)).collect();
        if !lacking.is_empty() {
            let scope = [asked, lacking].concat().join(" ");
            draft.supply("scope", &scope.into());
        }
    }

    /// Returns the number of scopes, and the number of those that are offered.
    fn count(&self, scope: &str) -> (usize, usize) {
        let asked = || scope.split(' ').filter(|token| !token.is_empty());
        (asked().count(), asked().filter(|token| self.allows(token)).count())
    }

    fn allows(&self, token: &str) -> bool {
        self.ceiling.as_ref().is_none_or(|ceiling| ceiling.iter().any(|allowed| allowed.0 == token))
    }
}

impl Default for Scope {
    /// Creates the rule that accepts any scopes, with no default.
    fn default() -> Self {
        Self { ceiling: None, default: BTreeSet::new(), add: BTreeSet::new(), otherwise: Action::Narrow }
    }
}

impl Rule for Scope {
    documented!(DOCS);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        let reject = |draft: &Draft<'_>, detail: Cow<'static, str>| {
            Err(draft.reject(ErrorCode::InvalidClientMetadata, detail).with_field("scope"))
        };
        let Some(scope) = draft.registration().string_at(Field::SCOPE) else {
            if !self.default.is_empty() {
                draft.insert_default("scope", self.default_text());
            }
            return Ok(());
        };
        // Both loops read every byte, in a form that vectorizes. A plain document contains no backslash, and so neither
        // of the two characters that have to be escaped in a JSON string.
        let bytes = scope.as_bytes();
        let next = bytes.get(1..).unwrap_or_default();
        let well_formed = draft.registration().is_plain()
            || bytes.iter().fold(0, |found, byte| found | u8::from(!is_space_or_token_byte(*byte))) == 0;
        let double = bytes.iter().zip(next).fold(0, |found, pair| found | u8::from(pair == (&b' ', &b' '))) != 0;
        let spaced = double || bytes.starts_with(b" ") || bytes.ends_with(b" ");
        if !well_formed {
            return reject(draft, "is not a list of scope tokens".into());
        }
        let above = self.ceiling.is_some() && !scope.split(' ').all(|token| self.allows(token));
        if !matches!(self.otherwise, Action::Default | Action::Narrow) && (spaced || above) {
            return reject(draft, if above { above_ceiling(self.count(scope)) } else { "has a space too many".into() });
        }
        let asked = above.then(|| self.count(scope));
        let mut scope_is_empty = scope.is_empty();
        if spaced || above {
            draft.narrow_tokens("scope", |token| !token.is_empty() && self.allows(token));
            scope_is_empty = draft.registration().string_at(Field::SCOPE) == Some("");
        }
        if scope_is_empty && self.otherwise == Action::Default && !self.default.is_empty() {
            draft.substitute("scope", self.default_text());
            return Ok(());
        }
        if scope_is_empty {
            return reject(draft, asked.map_or_else(|| "names no scope".into(), above_ceiling));
        }
        if !self.add.is_empty() {
            self.add_to(draft);
        }
        Ok(())
    }
}

fn above_ceiling((asked, offered): (usize, usize)) -> Cow<'static, str> {
    format!("asks for {asked} scopes, and this server offers {offered} of them").into()
}

fn is_token(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte != b' ' && is_space_or_token_byte(byte))
}

/// Returns `true` for bytes of tokens (RFC 6749 section 3.3: `1*( %x21 / %x23-5B / %x5D-7E )`) and the space between
/// them.
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
