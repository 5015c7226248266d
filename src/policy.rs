//! [`Policy`]: a rule is a value with one `review`.
//!
//! A rule sees a [`Submission`]: the parsed [`Registration`], whether it is a registration or an
//! update, and a place to note what it did. It may narrow the registration and it may refuse it. It knows nothing of
//! HTTP, of time or of other rules, so the same rule serves `POST /register`, `PUT /register/{id}` and documents that
//! came another way.
//!
//! A pair of rules is a rule, an [`Arc`] of a rule is a rule, and so is a closure:
//!
//! ```
//! use tower_dcr::policy::{MetadataAllowlist, Policy, RedirectUriGuard, Review, Submission};
//! use tower_dcr::rejection::{ErrorCode, Rejection};
//! use tower_dcr::Registration;
//!
//! let named = |submission: &mut Submission<'_>| -> Result<(), Rejection> {
//!     submission.begin("client-name-required");
//!     if submission.registration().string("client_name").is_some() {
//!         return Ok(());
//!     }
//!     Err(submission.reject(ErrorCode::InvalidClientMetadata, "is required").with_field("client_name"))
//! };
//! let policy = (MetadataAllowlist::mcp(), (RedirectUriGuard::mcp(), named));
//!
//! let mut registration = Registration::parse(br#"{"redirect_uris":["http://localhost:3000/cb"]}"#)?;
//! let mut review = Review::registration();
//! let refused = policy.review(&mut Submission::new(&mut registration, &mut review)).unwrap_err();
//! assert_eq!(refused.description(), "client_name is required (client-name-required)");
//! # Ok::<_, tower_dcr::registration::ParseError>(())
//! ```

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::sync::Arc;

use serde::Serialize;

use crate::quota::Draw;
#[cfg(feature = "software-statement")]
use crate::registration::Field;
use crate::registration::Registration;
use crate::rejection::{ErrorCode, Rejection};

mod application_type;
mod auth_method;
mod caller;
mod cases;
mod client_name;
mod condition;
mod config_error;
mod decorations;
mod dereferenced_uris;
mod excess;
mod grants;
mod identities;
mod identity;
mod identity_guard;
mod jwks;
mod known_identities;
mod members;
mod metadata_allowlist;
mod metadata_operators;
mod native_schemes;
mod private_use_scheme;
mod public_link;
mod redirect_host_quota;
mod redirect_pattern;
mod redirect_uri_guard;
mod report_only;
mod review;
mod scope;
mod server_metadata;
#[cfg(feature = "software-statement")]
mod software_statement;
mod vendor_callbacks;

pub use application_type::ApplicationType;
pub use auth_method::AuthMethod;
pub use caller::Caller;
pub use cases::Cases;
pub use client_name::ClientName;
pub use condition::Condition;
pub use config_error::ConfigError;
pub use decorations::Decorations;
pub use dereferenced_uris::DereferencedUris;
use excess::Excess;
pub use grants::Grants;
pub use identities::{Identities, ReservedIdentity};
pub use identity::{Claim, Identity, Standing};
pub use identity_guard::{IdentityGuard, OnClaim};
pub use jwks::Jwks;
pub use known_identities::IDENTITIES_VERSION;
pub use members::{Members, Unwanted};
pub use metadata_allowlist::MetadataAllowlist;
pub use metadata_operators::{MemberOperators, MetadataOperators, Negotiation};
pub use native_schemes::{NATIVE_SCHEMES, NATIVE_SCHEMES_VERSION};
pub use redirect_host_quota::RedirectHostQuota;
pub use redirect_pattern::RedirectPattern;
pub use redirect_uri_guard::RedirectUriGuard;
pub use report_only::ReportOnly;
pub use review::{Disposition, Finding, Operation, Review};
pub(crate) use review::{Facts, Statement};
pub use scope::Scope;
pub use server_metadata::ServerMetadata;
#[cfg(feature = "software-statement")]
pub use software_statement::SoftwareStatements;
pub use vendor_callbacks::{VENDOR_CALLBACKS, VENDOR_CALLBACKS_VERSION};

/// A rule over registrations. See the [module docs](self).
///
/// ```
/// use tower_dcr::policy::{Policy, Submission};
/// use tower_dcr::rejection::{ErrorCode, Rejection};
///
/// struct FewRedirects(usize);
///
/// impl Policy for FewRedirects {
///     fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
///         submission.begin("few-redirects");
///         if submission.registration().redirect_uris().count() <= self.0 {
///             return Ok(());
///         }
///         Err(submission.reject(ErrorCode::InvalidRedirectUri, "has too many entries").with_field("redirect_uris"))
///     }
/// }
///
/// let guard = tower_dcr::mcp().add_rule(FewRedirects(3));
/// # let _ = guard;
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a registration rule",
    label = "expected a type that implements `tower_dcr::policy::Policy`",
    note = "a closure is a rule if it is `Fn(&mut Submission<'_>) -> Result<(), Rejection>`; annotate its argument and result"
)]
pub trait Policy: Send + Sync {
    /// Narrows or refuses the submission.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] refuses the whole registration; the handler is not called.
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection>;

    /// Writes what distinguishes this rule from one that is configured otherwise; audit events carry a digest of it.
    fn describe(&self, out: &mut String) {
        out.push_str(std::any::type_name::<Self>());
    }
}

impl<F> Policy for F
where
    F: Fn(&mut Submission<'_>) -> Result<(), Rejection> + Send + Sync,
{
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        submission.begin("custom");
        self(submission)
    }
}

impl<A: Policy, B: Policy> Policy for (A, B) {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        self.0.review(submission)?;
        self.1.review(submission)
    }

    fn describe(&self, out: &mut String) {
        self.0.describe(out);
        out.push(';');
        self.1.describe(out);
    }
}

impl<P: Policy + ?Sized> Policy for Arc<P> {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        (**self).review(submission)
    }

    fn describe(&self, out: &mut String) {
        (**self).describe(out);
    }
}

/// All of them, in order. An empty list accepts everything.
impl<P: Policy> Policy for Vec<P> {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        self.iter().try_for_each(|policy| policy.review(submission))
    }

    fn describe(&self, out: &mut String) {
        for policy in self {
            policy.describe(out);
            out.push(';');
        }
    }
}

/// A registration on its way through the rules.
///
/// Every edit is noted in the [`Review`] under the name that the rule gave to [`begin`](Self::begin).
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::policy::{Review, Submission};
///
/// let mut registration = Registration::parse(br#"{"scope":"read admin"}"#)?;
/// let mut review = Review::registration();
/// let mut submission = Submission::new(&mut registration, &mut review);
/// submission.begin("no-admin");
/// submission.narrow_tokens("scope", |token| token != "admin");
/// assert_eq!(review.findings()[0].rule, "no-admin");
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Debug)]
pub struct Submission<'a> {
    registration: &'a mut Registration,
    review: &'a mut Review,
}

impl<'a> Submission<'a> {
    /// Puts `registration` before the rules; `review` says whether it is an update, and collects what they do.
    pub fn new(registration: &'a mut Registration, review: &'a mut Review) -> Self {
        Self { registration, review }
    }

    /// Says which rule is at work from here on, by its stable kebab-case name.
    pub fn begin(&mut self, rule: &'static str) {
        self.review.begin(rule);
    }

    /// The registration as it now stands.
    #[must_use]
    pub fn registration(&self) -> &Registration {
        self.registration
    }

    /// Whether a client is created or updated.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.review.operation()
    }

    /// Who asks.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        self.review.caller()
    }

    /// The issuer of the software statement whose claims are in the registration, if there was one.
    #[must_use]
    pub fn statement_issuer(&self) -> Option<&str> {
        self.review.facts().statement.as_ref().map(|statement| statement.issuer.as_str())
    }

    /// Whether the rules that the caller's credential names have judged; also if it names none.
    pub(crate) fn is_pinned_as_named(&self) -> bool {
        self.review.is_pinned_as_named()
    }

    /// Notes that the rules of `condition` judge.
    pub(crate) fn choose(&mut self, condition: &Condition) {
        self.review.choose(condition);
    }

    /// Puts a claim of a verified statement, which stands at `position`, in place of what was sent under its name.
    #[cfg(feature = "software-statement")]
    fn assert_from(&mut self, claims: &Registration, position: usize) {
        let Some(claim) = claims.entry(position) else { return };
        let (name, base) = (claim.name().to_owned(), claim.kind().base());
        let rivals: Vec<String> = match base {
            Some(Field::JWKS) => vec!["jwks_uri".to_owned()],
            Some(Field::JWKS_URI) => vec!["jwks".to_owned()],
            // What is said of the name in French must not contradict what was signed.
            Some(field) if field.is_human_readable() && !claim.kind().is_tagged() => {
                let tagged = self.registration.variants(field.name()).map(|(name, _)| name.to_owned());
                tagged.filter(|tagged| *tagged != name && !claims.contains(tagged)).collect()
            }
            _ => Vec::new(),
        };
        for rival in rivals {
            self.strip(&rival);
        }
        if self.registration.replace_from(claims, position) {
            self.note(name, Disposition::Asserted);
        }
    }

    /// Takes a member out that is for the rules, and not part of what is registered.
    #[cfg(feature = "software-statement")]
    fn discard(&mut self, name: &str) {
        self.registration.remove(name);
    }

    /// Notes whose statement the claims are from.
    #[cfg(feature = "software-statement")]
    fn state(&mut self, statement: Statement) {
        self.review.state(statement);
    }

    /// Notes what was taken from the budgets of this node, and is to be taken from those of all nodes. `spent` is what
    /// the client is told if they have nothing left.
    pub(crate) fn owe(&mut self, draw: Draw, spent: &'static str) {
        self.review.owe(draw, spent);
    }

    /// Notes who the client claims to be.
    pub(crate) fn identify(&mut self, identity: Identity) {
        self.review.identify(identity);
    }

    /// A refusal by the rule at work. `detail` must not repeat what the client sent.
    #[must_use]
    pub fn reject(&self, code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Rejection {
        Rejection::new(code, self.review.rule(), detail)
    }

    /// Notes something about `field` that changes nothing.
    pub fn flag(&mut self, field: &'static str) {
        self.note(field, Disposition::Flagged);
    }

    /// Removes the member `name`, if it is there.
    pub fn strip(&mut self, name: &str) {
        if self.registration.remove(name) {
            self.note(name.to_owned(), Disposition::Stripped);
        }
    }

    /// Removes the members at these positions in canonical order, which are in order themselves.
    pub(crate) fn strip_at(&mut self, positions: &[usize]) {
        for member in positions.iter().filter_map(|position| self.registration.entry(*position)) {
            let field = match member.kind().field() {
                Some(field) => field.name().into(),
                None => member.name().to_owned().into(),
            };
            self.review.note(field, Disposition::Stripped);
        }
        self.registration.remove_at(positions);
    }

    /// Keeps the elements of the string array `name` for which `keep` holds.
    pub fn narrow_strings(&mut self, name: &'static str, keep: impl FnMut(&str) -> bool) {
        if self.registration.narrow_strings(name, keep) > 0 {
            self.note(name, Disposition::Narrowed);
        }
    }

    /// Keeps the tokens of the space-separated list `name` for which `keep` holds.
    pub fn narrow_tokens(&mut self, name: &'static str, keep: impl FnMut(&str) -> bool) {
        if self.registration.narrow_tokens(name, keep) > 0 {
            self.note(name, Disposition::Narrowed);
        }
    }

    /// Gives the member `name` a default, if it is absent.
    pub fn insert_default(&mut self, name: &'static str, value: impl Into<Cow<'static, str>>) {
        if self.registration.insert_default(name, value) {
            self.note(name, Disposition::Defaulted);
        }
    }

    /// Gives the member `name` a default array, if it is absent.
    pub fn insert_default_strings<V>(&mut self, name: &'static str, values: impl IntoIterator<Item = V>)
    where
        V: Into<Cow<'static, str>>,
    {
        if self.registration.insert_default_strings(name, values) {
            self.note(name, Disposition::Defaulted);
        }
    }

    /// Replaces the member `name` by what the operator wants there, which RFC 7591 section 2 allows: "the
    /// authorization server MAY […] replace any of the client's requested metadata values".
    pub fn substitute(&mut self, name: &'static str, value: impl Into<Cow<'static, str>>) {
        self.registration.remove(name);
        self.registration.insert_default(name, value);
        self.note(name, Disposition::Substituted);
    }

    /// Gives the member `name` the operator's `value`, whatever was sent.
    pub fn supply(&mut self, name: &str, value: &serde_json::Value) {
        self.replace(name, value, Disposition::Supplied);
    }

    fn replace(&mut self, name: &str, value: &serde_json::Value, disposition: Disposition) {
        self.registration.remove(name);
        self.registration.insert_default_value(name, value);
        self.note(name.to_owned(), disposition);
    }

    fn note(&mut self, field: impl Into<Cow<'static, str>>, disposition: Disposition) {
        self.review.note(field.into(), disposition);
    }
}

/// What most rules are described by: their settings, as a policy file has them.
fn describe_as_json(rule: &impl Serialize, out: &mut String) {
    out.push_str(&serde_json::to_string(rule).unwrap_or_default());
}

/// For literals.
const fn nonzero(number: usize) -> NonZeroUsize {
    match NonZeroUsize::new(number) {
        Some(number) => number,
        None => NonZeroUsize::MIN,
    }
}
