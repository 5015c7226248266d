//! The rule over `client_name`: names that can be displayed.

use std::borrow::Cow;
use std::num::NonZeroUsize;
#[cfg(feature = "identity")]
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::registration::{Field, Value};
use crate::rules::action::{self, Action};
use crate::rules::identity::name;
#[cfg(feature = "identity")]
use crate::rules::identity::name::{Matcher, Reach};
use crate::rules::{ConfigError, Draft, Rule, RuleDocs, documented, nonzero};
use crate::rules::{ErrorCode, Rejection};

/// Rejects a `client_name` (language-tagged ones too) that is not displayed as it reads, or that disturbs the text
/// around it.
///
/// 1. No character that is invisible, or changes how others are displayed: controls, line separators, characters that
///    reorder text (`Claude` spelled backwards after U+202E), zero-width characters, tags, fillers. Joiners are
///    accepted where RFC 5892 appendix A allows them and between emoji, variation selectors after a character that has
///    variants.
/// 2. Something visible, and no more than four combining marks on one letter (UTS #39 section 5.4).
/// 3. At most 100 characters ([`with_max_chars`](Self::with_max_chars)): a long name pushes the rest of a consent page
///    out of sight. A longer one is cut ([`overlong`](Self::overlong)), one of more than 256 is rejected.
/// 4. None of the operator's [reserved words](Self::with_reserved_words). By default there are none.
///
/// A word that mixes scripts as no language does (UTS #39 section 5.1), and characters that Unicode has not assigned or
/// leaves to private use, are flagged. A name that is not cut is unchanged: "used as is" (RFC 7591 section 2.2). The
/// claims of a name are checked by [`ClientIdentity`](crate::rules::ClientIdentity), before and after it is cut.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{ClientName, Context, Decision, Policy};
///
/// let policy = Policy::new(ClientName::default().with_max_chars(10)?);
/// let long = Registration::parse(br#"{"client_name":"Meeting Notes"}"#)?;
/// let evaluation = policy.evaluate(long, &Context::registration());
/// assert_eq!(evaluation.registration.unwrap().string("client_name"), Some("Meeting"));
/// let reversed = Registration::parse(br#"{"client_name":"\u202eedualC"}"#)?;
/// assert_eq!(policy.evaluate(reversed, &Context::registration()).decision(), Decision::Reject);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ClientName {
    /// Maximum number of characters of a name; 256 at most.
    #[serde(deserialize_with = "bounds::number::<_, _, 1, 256>")]
    max_chars: NonZeroUsize,
    /// Action on a name that has more, up to 256: `cut` it, between two words if that leaves half of it, or `reject`. A name with
    /// more than 256, or with more than the maximum if that is higher, is rejected in any case. RFC 7591 section 3.2.1: the
    /// server may "replace any of the client's requested metadata values".
    #[serde(
        deserialize_with = "action::one::<_, action::CutOrReject>",
        serialize_with = "action::write_one::<_, action::CutOrReject>"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "action::OneOf<action::CutOrReject>"))]
    pub overlong: Action,
    /// Words that no name may contain, nor anything that looks like them.
    #[cfg(feature = "identity")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    reserved_words: ReservedWords,
}

/// Words, with their matcher.
#[cfg(feature = "identity")]
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
struct ReservedWords {
    words: Vec<String>,
    matcher: Arc<Matcher>,
}

const FIELD: &str = Field::CLIENT_NAME.name();

/// The maximum length of a name that is cut. Of longer ones too little would be left, and identities are compared with
/// this many characters, in any script.
const MAX_CUT_CHARS: usize = 256;

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "client-name",
    protects: "People from names with invisible or misleading characters.",
    reference: "RFC 7591 sections 2.2 and 5; UTS #39 sections 5.1 and 5.4",
    attack: "{\"redirect_uris\":[\"http://localhost/cb\"],\"client_name\":\"\\u202eedualC\"}",
    loosen: "metadata.client_name.max_chars = 200; metadata.client_name.overlong = \"cut\"; \
             metadata.client_name.reserved_words = []",
    opens: "Names that push the rest of the page out of sight, or that claim undeserved trust.",
    replayable: true,
};

impl ClientName {
    /// Sets the maximum number of characters (Unicode scalar values) of a name (default: 100).
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::OutOfRange`] for zero, and for more than 256: names are compared with reserved ones up to
    /// 1,024 bytes.
    pub fn with_max_chars(mut self, max_chars: usize) -> Result<Self, ConfigError> {
        self.max_chars = nonzero(ConfigError::check("the length of a name", max_chars, &1, &256)?);
        Ok(self)
    }

    /// Sets words that suggest a trust which registration does not confer (`official`, `verified`), or that are the
    /// operator's own. Texts that look like one of them count, too. The rest of the name does not matter.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Word`] if a text is not one word.
    #[cfg(feature = "identity")]
    pub fn with_reserved_words<S: Into<String>>(
        mut self,
        words: impl IntoIterator<Item = S>,
    ) -> Result<Self, ConfigError> {
        for word in words {
            self.reserved_words.add(word.into())?;
        }
        Ok(self)
    }

    /// Returns the number of bytes to which `name` is cut. `None` if it is not too long.
    fn cut(&self, name: &str) -> Result<Option<usize>, Cow<'static, str>> {
        let max_chars = self.max_chars.get();
        if name.len() <= max_chars {
            return Ok(None);
        }
        let Some((limit, _)) = name.char_indices().nth(max_chars) else { return Ok(None) };
        let chars = name.chars().count();
        let longest = if self.overlong == Action::Cut { MAX_CUT_CHARS.max(max_chars) } else { max_chars };
        if chars > longest {
            return Err(format!("has {chars} characters, more than {longest}").into());
        }
        let left = name::cut(name, limit);
        match self.fault(left) {
            Some(detail) => Err(detail.into()),
            None => Ok(Some(left.len())),
        }
    }

    /// Returns the reason for which a name is rejected. `None` if there is none.
    fn fault(&self, name: &str) -> Option<&'static str> {
        name::fault(name).or_else(|| self.has_reserved_word(name).then_some("contains a word that is reserved"))
    }

    #[cfg(feature = "identity")]
    fn has_reserved_word(&self, name: &str) -> bool {
        self.reserved_words.are_in(name)
    }

    #[cfg(not(feature = "identity"))]
    #[expect(clippy::unused_self, reason = "there are no reserved words")]
    fn has_reserved_word(&self, _name: &str) -> bool {
        false
    }
}

#[cfg(feature = "identity")]
impl ReservedWords {
    fn add(&mut self, word: String) -> Result<(), ConfigError> {
        if !name::is_one_word(&word) || !Arc::make_mut(&mut self.matcher).insert(&word, self.words.len()) {
            return Err(ConfigError::Word { word });
        }
        self.words.push(word);
        Ok(())
    }

    fn are_in(&self, name: &str) -> bool {
        !self.words.is_empty() && !self.matcher.find(name).is_empty()
    }
}

#[cfg(feature = "identity")]
impl Default for ReservedWords {
    fn default() -> Self {
        Self { words: Vec::new(), matcher: Matcher::new(Reach::Words).into() }
    }
}

#[cfg(feature = "identity")]
impl TryFrom<Vec<String>> for ReservedWords {
    type Error = ConfigError;

    fn try_from(words: Vec<String>) -> Result<Self, ConfigError> {
        let mut reserved = Self::default();
        words.into_iter().try_for_each(|word| reserved.add(word))?;
        Ok(reserved)
    }
}

#[cfg(feature = "identity")]
impl From<ReservedWords> for Vec<String> {
    fn from(reserved: ReservedWords) -> Self {
        reserved.words
    }
}

impl Default for ClientName {
    fn default() -> Self {
        Self {
            max_chars: nonzero(100),
            overlong: Action::Cut,
            #[cfg(feature = "identity")]
            reserved_words: ReservedWords::default(),
        }
    }
}

impl Rule for ClientName {
    documented!(DOCS);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        let (mut odd, plain) = (false, draft.registration().is_plain());
        let mut cuts = Vec::new();
        for (position, member) in draft.registration().entries().enumerate() {
            let (Some(Field::CLIENT_NAME), Value::String(name)) = (member.kind().base(), member.value()) else {
                continue;
            };
            let reject = |detail| draft.reject(ErrorCode::InvalidClientMetadata, detail).with_field(FIELD);
            if let Some(detail) = self.fault(name) {
                return Err(reject(detail.into()));
            }
            cuts.extend(self.cut(name).map_err(reject)?.map(|bytes| (position, bytes)));
            odd |= !plain && name::is_odd(name);
        }
        for (position, bytes) in cuts {
            draft.shorten_at(position, bytes, FIELD);
        }
        if odd {
            draft.flag(FIELD);
        }
        Ok(())
    }
}

#[cfg(feature = "identity")]
impl std::fmt::Debug for ReservedWords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.words.fmt(f)
    }
}
