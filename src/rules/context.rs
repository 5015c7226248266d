//! [`Context`]: the request around a registration.

use std::sync::Arc;

use super::{Caller, Facts, Operation};
use crate::documents::client_id_url::ClientIdUrl;

/// The circumstances of a registration that rules can read: the operation and the caller.
///
/// ```
/// use tower_dcr::rules::{Caller, Context, Operation, Policy};
/// use tower_dcr::Registration;
///
/// let context = Context::update().by(Caller::authorized("partner"));
/// let evaluation = Policy::default().evaluate(Registration::parse(b"{}")?, &context);
/// assert_eq!((evaluation.operation, evaluation.caller.owner.as_deref()), (Operation::Update, Some("partner")));
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Context {
    pub(super) operation: Operation,
    pub(super) caller: Caller,
    /// The facts of an outer layer.
    pub(super) facts: Facts,
    /// `true` if nothing is enforced.
    pub(super) is_report_only: bool,
    /// `true` for a shadow policy.
    pub(super) is_shadow: bool,
    /// Leaves rejections for spent budgets to the layer.
    pub(super) defers_spent: bool,
}

impl Context {
    /// Creates the context of a registration (`POST`) by an anonymous caller.
    pub fn registration() -> Self {
        Self::of(Operation::Create)
    }

    /// Creates the context of an update (`PUT`) by an anonymous caller.
    pub fn update() -> Self {
        Self::of(Operation::Update)
    }

    /// Creates the context of a client metadata document, fetched from `url`.
    pub fn document(url: &ClientIdUrl) -> Self {
        let facts = Facts { document: Some(Arc::new(url.clone())), ..Facts::default() };
        Self { facts, ..Self::of(Operation::Document) }
    }

    pub(crate) fn of(operation: Operation) -> Self {
        Self { operation, ..Self::default() }
    }

    /// Sets the caller.
    pub fn by(mut self, caller: Caller) -> Self {
        self.caller = caller;
        self
    }

    /// Sets the facts that an outer layer has found.
    pub(crate) fn with_facts(mut self, facts: Facts) -> Self {
        self.facts = facts;
        self
    }

    /// Makes rules run without effect: they note the effects that they would have.
    pub(crate) fn report_only(mut self) -> Self {
        self.is_report_only = true;
        self
    }

    /// Returns the same context for the shadow policy.
    pub(crate) fn of_shadow(&self) -> Self {
        let mut shadow = Self { is_shadow: true, is_report_only: false, defers_spent: false, ..self.clone() };
        shadow.facts.policy = None;
        shadow
    }

    /// Makes rules leave rejections for spent budgets to the layer, which accepts repeated registrations.
    pub(crate) fn deferring_spent(mut self) -> Self {
        self.defers_spent = true;
        self
    }
}
