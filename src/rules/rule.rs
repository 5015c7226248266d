//! [`Rule`]: one decision about registrations.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::UNIX_EPOCH;

use serde::Serialize;
use serde_json::Value as Json;

use super::{Draft, Rejection};

/// A rule over registrations. See the [module docs](super).
///
/// ```
/// use serde_json::{Value, json};
/// use tower_dcr::rules::{Draft, ErrorCode, Rejection, Rule};
///
/// struct FewRedirects(usize);
///
/// impl Rule for FewRedirects {
///     fn id(&self) -> &'static str {
///         "few-redirects"
///     }
///
///     fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
///         if draft.registration().redirect_uris().count() <= self.0 {
///             return Ok(());
///         }
///         Err(draft.reject(ErrorCode::InvalidRedirectUri, "has too many entries").with_field("redirect_uris"))
///     }
///
///     fn config(&self) -> Value {
///         json!({ "max": self.0 })
///     }
/// }
///
/// let few = tower_dcr::mcp().add_rule(FewRedirects(3));
/// assert_ne!(few.fingerprint(), tower_dcr::mcp().add_rule(FewRedirects(4)).fingerprint());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a registration rule",
    label = "expected a type that implements `tower_dcr::rules::Rule`",
    note = "give a closure a name: `tower_dcr::rules::rule(\"few-redirects\", |draft| …)`"
)]
pub trait Rule: Send + Sync {
    /// Returns the stable name, in kebab-case. It appears in audit events, metrics and the `error_description` that
    /// clients read.
    fn id(&self) -> &'static str;

    /// Accepts, narrows or rejects the draft.
    ///
    /// Every change of the draft is noted under [`id`](Self::id). A rule that counts, spends or remembers anything must
    /// not do so for a [shadow](Draft::is_shadow).
    ///
    /// # Errors
    ///
    /// Returns a [`Rejection`] to reject the whole registration. The handler is then not called.
    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection>;

    /// Returns the settings that distinguish this rule from others with the same id. Audit events contain a fingerprint
    /// of ids and settings.
    fn config(&self) -> Json;

    /// Returns the documentation that `dcr explain` shows, or `None` if there is none.
    fn docs(&self) -> Option<&'static RuleDocs> {
        None
    }

    /// Returns `true` if only the registration and its caller decide, so that a stored registration can be evaluated
    /// again. The default comes from the [docs](Self::docs), and is `true` without docs.
    fn replayable(&self) -> bool {
        self.docs().is_none_or(|docs| docs.replayable)
    }
}

/// The documentation of a rule. `dcr explain` prints it.
///
/// ```
/// use tower_dcr::Preset;
///
/// let docs = Preset::rule_docs().find(|docs| docs.id == "redirect-uris").unwrap();
/// assert!(docs.reference.contains("RFC 8252") && docs.replayable);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "rules of other crates have docs, too")]
pub struct RuleDocs {
    /// The [id](Rule::id) of the rule.
    pub id: &'static str,
    /// The asset that the rule protects, as a sentence.
    pub protects: &'static str,
    /// The specifications that ask for it.
    pub reference: &'static str,
    /// An attack without it. If it begins with `{`, it is a registration that the rule changes or rejects under the
    /// preset `mcp`.
    pub attack: &'static str,
    /// The settings of a policy file that loosen it, or of the builder if the file has none.
    pub loosen: &'static str,
    /// The consequence of loosening it.
    pub opens: &'static str,
    /// `true` if only the registration and its caller decide: see [`Rule::replayable`].
    pub replayable: bool,
}

/// Creates a rule from an id and a closure.
///
/// The configuration of a closure can't be read. It counts as changed with each build of the program, and so does the
/// fingerprint of policies with this rule. [`FnRule::with_config`] sets a value instead.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{Context, ErrorCode, Policy, rule};
///
/// let named = rule("client-name-required", |draft| match draft.registration().string("client_name") {
///     Some(_) => Ok(()),
///     None => Err(draft.reject(ErrorCode::InvalidClientMetadata, "is required").with_field("client_name")),
/// });
/// let evaluation = Policy::new(named).evaluate(Registration::parse(b"{}")?, &Context::registration());
/// assert_eq!(evaluation.rejection.unwrap().description(), "client_name is required (client-name-required)");
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
pub fn rule<F>(id: &'static str, check: F) -> FnRule<F>
where
    F: Fn(&mut Draft<'_>) -> Result<(), Rejection> + Send + Sync,
{
    FnRule { id, check, config: Json::from(BUILD.as_str()) }
}

/// A closure with the name of a rule. Created by [`rule`].
#[derive(Clone)]
#[must_use]
pub struct FnRule<F> {
    id: &'static str,
    check: F,
    config: Json,
}

impl<F> FnRule<F> {
    /// Sets the configuration: the fingerprint changes with this value, and not with each build.
    ///
    /// ```
    /// use tower_dcr::rules::{Policy, rule};
    ///
    /// let few = |max| rule("few-redirects", |_| Ok(())).with_config(max);
    /// assert_ne!(Policy::new(few(3)).fingerprint(), Policy::new(few(4)).fingerprint());
    /// ```
    pub fn with_config(mut self, config: impl Into<Json>) -> Self {
        self.config = config.into();
        self
    }
}

impl<F> Rule for FnRule<F>
where
    F: Fn(&mut Draft<'_>) -> Result<(), Rejection> + Send + Sync,
{
    fn id(&self) -> &'static str {
        self.id
    }

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        (self.check)(draft)
    }

    fn config(&self) -> Json {
        self.config.clone()
    }
}

impl<R: Rule + ?Sized> Rule for Arc<R> {
    fn id(&self) -> &'static str {
        (**self).id()
    }

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        (**self).check(draft)
    }

    fn config(&self) -> Json {
        (**self).config()
    }

    fn docs(&self) -> Option<&'static RuleDocs> {
        (**self).docs()
    }

    fn replayable(&self) -> bool {
        (**self).replayable()
    }
}

impl Rule for Box<dyn Rule> {
    fn id(&self) -> &'static str {
        (**self).id()
    }

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        (**self).check(draft)
    }

    fn config(&self) -> Json {
        (**self).config()
    }

    fn docs(&self) -> Option<&'static RuleDocs> {
        (**self).docs()
    }

    fn replayable(&self) -> bool {
        (**self).replayable()
    }
}

impl<F> fmt::Debug for FnRule<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnRule").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Implements the methods of [`Rule`] that follow from its [`RuleDocs`] and its settings.
macro_rules! documented {
    ($docs:expr) => {
        documented!($docs, with a configuration of its own);

        fn config(&self) -> serde_json::Value {
            $crate::rules::rule::settings(self)
        }
    };
    ($docs:expr, with a configuration of its own) => {
        fn id(&self) -> &'static str {
            $docs.id
        }

        fn docs(&self) -> Option<&'static $crate::rules::RuleDocs> {
            Some(&$docs)
        }
    };
}

pub(super) use documented;

/// Returns the settings of a rule in the form of a policy file.
pub(super) fn settings(rule: &impl Serialize) -> Json {
    serde_json::to_value(rule).unwrap_or_default()
}

/// A text that identifies this build of the program: the length of the program's file and the time of its last change.
static BUILD: LazyLock<String> = LazyLock::new(|| {
    let program = std::env::current_exe().and_then(std::fs::metadata);
    let changed = program.as_ref().ok().and_then(|file| file.modified().ok()?.duration_since(UNIX_EPOCH).ok());
    format!("{}/{}", program.map_or(0, |file| file.len()), changed.unwrap_or_default().as_nanos())
});
