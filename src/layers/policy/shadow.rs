//! A policy that is evaluated in addition to the one in force.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use crate::registration::{Limits, Registration};
use crate::rules::{Context, Evaluation, Policy, Rejection};

/// Evaluates another policy without effect: it charges no budget, and stores nothing.
#[derive(Clone)]
pub(crate) struct Shadow {
    pub(crate) policy: Policy,
    pub(crate) limits: Limits,
}

impl Shadow {
    /// Evaluates the policy on a copy. `first` is the decision of the layer itself, which holds under any policy;
    /// `source` is the body if it was read under `limits`. `None` if a rule panicked: a shadow policy must not end the
    /// request.
    pub(super) fn evaluate(
        &self,
        registration: &Registration,
        context: &Context,
        first: Result<(), Rejection>,
        source: Option<(&Bytes, &Limits)>,
    ) -> Option<Evaluation> {
        let evaluated = catch_unwind(AssertUnwindSafe(|| match first.and_then(|()| self.fits(source)) {
            Ok(()) => self.policy.evaluate_in_place(registration.clone(), context).0,
            Err(rejection) => super::rejected(&self.policy, context, rejection),
        }));
        if evaluated.is_err() {
            tracing::error!(target: "tower_dcr::policy", "a rule of the shadow policy panicked; this registration has no shadow report");
        }
        evaluated.ok()
    }

    /// Parses the body again if this policy has other limits.
    fn fits(&self, source: Option<(&Bytes, &Limits)>) -> Result<(), Rejection> {
        let Some((bytes, _)) = source.filter(|(_, limits)| **limits != self.limits) else { return Ok(()) };
        Registration::parse_with(bytes, &self.limits).map(drop).map_err(Rejection::from)
    }
}
