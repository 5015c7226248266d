//! Names that can be shown.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use unicode_security::MixedScript;

use super::{ConfigError, Policy, Submission, describe_as_json, nonzero};
use crate::name::{self, Fault, Readings};
use crate::registration::{Field, Value};
use crate::rejection::{ErrorCode, Rejection};

/// Refuses a `client_name` (language-tagged ones too) that would not be shown as it reads, or not where it belongs.
///
/// 1. No character that is not seen, or changes how others are: controls, line separators, what reorders text (`Claude`
///    spelled backwards after U+202E), zero-width characters, tags, fillers. Joiners pass where RFC 5892 appendix A lets
///    them and between emoji, variation selectors behind what has variants.
/// 2. Something to see, and no more than four combining marks on one letter (UTS #39 section 5.4).
/// 3. At most 100 characters ([`with_max_chars`](Self::with_max_chars)): a long name pushes the rest of a consent page out
///    of sight.
/// 4. None of the [words](Self::with_reserved_words) that the operator keeps for itself; by default there are none.
///
/// A word that mixes scripts as no language does (UTS #39 section 5.1), and characters that Unicode has not assigned or
/// leaves to private use, are flagged. Names are never rewritten: "used as is" (RFC 7591 section 2.2). Who may call itself
/// what is for the [`IdentityGuard`](super::IdentityGuard).
///
/// ```
/// # use tower_dcr::{Registration, policy::{Policy, Review, Submission}};
/// # fn judge(rule: &impl Policy, body: &str) -> Result<String, String> {
/// #     let mut registration = Registration::parse(body.as_bytes()).unwrap();
/// #     let mut review = Review::registration();
/// #     rule.review(&mut Submission::new(&mut registration, &mut review)).map_err(|refused| refused.description())?;
/// #     Ok(String::from_utf8(registration.canonical_bytes()).unwrap())
/// # }
/// use tower_dcr::policy::ClientName;
///
/// assert!(judge(&ClientName::new(), r#"{"client_name":"Café"}"#).is_ok());
/// assert!(judge(&ClientName::new(), r#"{"client_name":"\u202eedualC"}"#).is_err());
/// let reserved = ClientName::new().with_reserved_words(["official", "verified"]).unwrap();
/// assert!(judge(&reserved, r#"{"client_name":"Official MCP Client"}"#).is_err());
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct ClientName {
    /// How many characters a name may have.
    max_chars: NonZeroUsize,
    /// Words that no name may hold, or anything that looks like them.
    #[serde(rename = "reserved_words")]
    reserved: Vec<Reserved>,
}

#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
struct Reserved {
    word: String,
    forms: BTreeSet<String>,
}

const FIELD: &str = "client_name";

impl ClientName {
    /// At most 100 characters, and no reserved words.
    pub fn new() -> Self {
        Self { max_chars: nonzero(100), reserved: Vec::new() }
    }

    /// How many characters (Unicode scalar values) a name may have.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Zero`] for none.
    pub fn with_max_chars(mut self, max_chars: usize) -> Result<Self, ConfigError> {
        self.max_chars = NonZeroUsize::new(max_chars).ok_or(ConfigError::Zero { what: "the length of a name" })?;
        Ok(self)
    }

    /// Words that lend a trust which nobody has earned by registering (`official`, `verified`), or that are the operator's
    /// own. What looks like one of them counts, and the rest of the name does not.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Word`] for what is not one word.
    pub fn with_reserved_words<S: Into<String>>(
        mut self,
        words: impl IntoIterator<Item = S>,
    ) -> Result<Self, ConfigError> {
        for word in words {
            self.reserved.push(word.into().try_into()?);
        }
        Ok(self)
    }

    /// What is wrong with a name.
    fn fault(&self, name: &str) -> Option<&'static str> {
        let max_chars = self.max_chars.get();
        if name.len() > max_chars && name.chars().nth(max_chars).is_some() {
            return Some("is too long");
        }
        match name::fault(name) {
            Some(Fault::Hidden) => return Some("contains a character that is not shown, or changes how others are"),
            Some(Fault::Marks) => return Some("has too many combining marks on one letter"),
            Some(Fault::Blank) => return Some("has nothing in it that is shown"),
            None => {}
        }
        if self.reserved.is_empty() {
            return None;
        }
        let readings = Readings::of(name);
        let is_reserved = |reserved: &Reserved| readings.phrases(1).any(|word| reserved.forms.contains(word));
        self.reserved.iter().any(is_reserved).then_some("contains a word that is reserved")
    }
}

/// What nobody has to refuse, and somebody may want to know.
fn is_odd(name: &str) -> bool {
    !name.is_ascii() && (name.chars().any(name::is_odd) || name.split_whitespace().any(|word| !word.is_single_script()))
}

impl TryFrom<String> for Reserved {
    type Error = ConfigError;

    fn try_from(word: String) -> Result<Self, ConfigError> {
        let readings = Readings::of(&word);
        let forms: BTreeSet<String> = readings.whole().collect();
        if readings.count_words() != 1 || forms.is_empty() {
            return Err(ConfigError::Word { word });
        }
        Ok(Self { word, forms })
    }
}

impl From<Reserved> for String {
    fn from(reserved: Reserved) -> Self {
        reserved.word
    }
}

impl Default for ClientName {
    fn default() -> Self {
        Self::new()
    }
}

impl Policy for ClientName {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        submission.begin("client-name");
        let (mut odd, plain) = (false, submission.registration().is_plain());
        for member in submission.registration().entries() {
            let (Some(Field::CLIENT_NAME), Value::String(name)) = (member.kind().base(), member.value()) else {
                continue;
            };
            if let Some(detail) = self.fault(name) {
                return Err(submission.reject(ErrorCode::InvalidClientMetadata, detail).with_field(FIELD));
            }
            odd |= !plain && is_odd(name);
        }
        if odd {
            submission.flag(FIELD);
        }
        Ok(())
    }

    fn describe(&self, out: &mut String) {
        describe_as_json(self, out);
    }
}

impl std::fmt::Debug for Reserved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.word.fmt(f)
    }
}
