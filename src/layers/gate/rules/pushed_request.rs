//! Pushed authorization requests (RFC 9126), where they are required.

use super::{Asked, GateRule};
use crate::layers::gate::rejection::Fault;
use crate::rules::{Action, RuleDocs};

pub(super) static RULE: GateRule = GateRule {
    docs: RuleDocs {
        id: "gate-pushed-request",
        protects: "Requests of clients that push them from changes in the browser.",
        reference: "RFC 9126 sections 5 and 6, require_pushed_authorization_requests",
        attack: "A link with other parameters, for a client that registered that it pushes its requests.",
        loosen: "gate.require_pushed_requests = false; gate.rules.pushed_request = \"mark\" or \"pass\"",
        opens: "Requests with parameters in the URL, which any page can write.",
        replayable: false,
    },
    action: |rules| rules.pushed_request,
    default: |_| Action::Reject,
    check,
};

fn check(asked: &Asked<'_>) -> Result<(), Fault> {
    let is_required = asked.registered.pushes_requests || asked.settings.requires_pushed_requests();
    if !is_required || asked.reference.is_pushed || !asked.seen.may_be_request() {
        return Ok(());
    }
    Err(Fault::Rule("invalid_request", "the request has to be pushed"))
}
