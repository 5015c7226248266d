//! Audit events, the [`Sink`]s that receive them, metrics and spans.
//!
//! Each registration attempt that reached a rule has one [`Event`], whatever its outcome, and each later change of a client
//! has one [`LifecycleEvent`]. Attempts that cost an attacker nothing (those that a rate limit rejects, failed reads, updates
//! and deletions, requests of unknown clients at a gate) are summed by source, rule and minute: the first one is an event at
//! once, and the others are one event with their `count`. Sending many of them does not overwrite a rotated log.
//!
//! An event names the rules that ran and their findings, by stable names. It holds no secret, no token and, of the values that
//! were registered, only these: the `client_id`, the hosts that prove an identity, the client's name in lifecycle
//! events, and the document if [`AuditLayer::with_document`](crate::layers::AuditLayer::with_document) asks for it. Text that a
//! client chose is cut and, by the sinks here, escaped: an event is one line.
//!
//! [`describe_metrics`] lists the metrics.
//!
//! # Spans
//!
//! The audit layer opens one span for each attempt, `client_registration` with the target `tower_dcr`, level `INFO`. It
//! contains everything further in, the handler's own spans included. Its fields have the names of OpenTelemetry's semantic
//! conventions, where there is one. No field holds anything that a client sent.
//!
//! | field | description |
//! | --- | --- |
//! | `otel.name` | `client registration create` or `… update`: a span's name should have few values |
//! | `otel.kind` | `internal`: the server creates the server span |
//! | `http.request.method` | `POST` or `PUT` |
//! | `http.response.status_code` | the status of the answer |
//! | `error.type` | the `error` in the answer |
//! | `otel.status_code` | `ERROR` if the server is at fault; not for a rejection |
//! | `dcr.outcome` | an [`Outcome`] |
//! | `dcr.rule` | the rule that rejected |
//! | `dcr.shadow.outcome`, `dcr.shadow.rule` | the decision of the shadow policy, and its rule |
//! | `dcr.policy` | the fingerprint of the policy in force |

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use crate::registration::{Digest, Field, Registration};
use crate::rules::Rejection;
use crate::rules::{Evaluation, Finding, Identity, Operation};
use crate::text;

mod aggregator;
mod bodies;
mod buffered;
mod chain;
mod document;
mod jsonl;
mod lifecycle;
mod line;
mod queue;
mod shadow;
mod source;
mod tracing;

pub use self::tracing::TracingSink;
pub use crate::telemetry::describe_metrics;
pub(crate) use aggregator::Aggregator;
use bodies::{Bodies, Hashed};
pub use buffered::{BatchSink, Buffered, Record};
pub use chain::{BrokenChain, ChainHead, ChainKey};
pub use jsonl::{JsonLines, JsonLinesError, JsonLinesSettings};
pub use lifecycle::{LifecycleAction, LifecycleEvent};
pub use queue::Overflow;
pub use shadow::ShadowReport;
pub(crate) use source::{Requester, Sources};

/// An attempt to register a client or to update one.
///
/// ```
/// use std::sync::mpsc::channel;
/// use tower_dcr::audit::{Event, Sink};
///
/// let (sender, rules) = channel();
/// let sink = move |event: &Event| event.rule.into_iter().for_each(|rule| sender.send(rule).unwrap());
/// let mut event = Event::default();
/// event.rule = Some("redirect-uris");
/// sink.emit(&event);
/// assert_eq!(rules.recv()?, "redirect-uris");
/// # Ok::<_, std::sync::mpsc::RecvError>(())
/// ```
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// The version of this structure: 1.
    pub schema: u32,
    /// The time of the request, in milliseconds since 1970-01-01 00:00 UTC; of the first one, in a sum.
    pub time_ms: u64,
    /// The time of the last request, in a sum of several attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// The number of attempts in a sum; absent for one attempt. The first attempt of its kind had an event of its own and is
    /// not counted here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The duration, in microseconds; 0 in a sum.
    pub duration_us: u64,
    /// The outcome of the attempt.
    pub outcome: Outcome,
    /// The operation: creating a client or updating one.
    pub operation: Operation,
    /// `true` if the client waits for approval, and can't sign in before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
    /// The status of the answer; absent without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The `client_id` in the answer, cut to 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The requester, if the audit layer is told to name requesters. In a sum, the network of the requester; absent in a sum
    /// of many networks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requester: Option<String>,
    /// The ID of the request, from the header that the audit layer reads it from; printable ASCII, cut to 128 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The rule that rejected the registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'static str>,
    /// The member at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<Cow<'static, str>>,
    /// The index of the element at fault, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// The reason of a rejection: the sentence in the answer, without the field and the rule; or the reason for which the
    /// registration waits for approval. It repeats nothing that the client sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
    /// The `error` in the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
    /// The vendor that the client claims to be, and the status of that claim; absent without a claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// The owner of the initial access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorized_by: Option<String>,
    /// The rules that the token names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules_for: Option<String>,
    /// The issuer of the software statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement_issuer: Option<String>,
    /// The rules that ran, in order.
    pub rules: Vec<&'static str>,
    /// The findings of the rules, in order.
    pub findings: Vec<Finding>,
    #[serde(flatten)]
    bodies: Bodies,
    /// The fingerprint of the policy; written as 16 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "hexadecimal")]
    pub policy: Option<u64>,
    /// The decision of the [shadow policy](crate::Preset::with_shadow); absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowReport>,
    /// The registration as it was received, redacted; absent without
    /// [`AuditLayer::with_document`](crate::layers::AuditLayer::with_document), and if it could not be read.
    ///
    /// The value of a member is `"[redacted]"` if it is a secret (`client_secret`, `registration_access_token`), a
    /// `software_statement`, a key (`jwks`), a way to reach a person (`contacts`), or a member that
    /// neither the specifications define nor the policy names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<Json>,
}

#[expect(clippy::ref_option, reason = "the signature that serde calls")]
fn hexadecimal<S: Serializer>(number: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) => serializer.collect_str(&format_args!("{number:016x}")),
        None => serializer.serialize_none(),
    }
}

/// The `client_id` in a handler's answer, on its way out in the response's extensions.
#[derive(Clone, Debug)]
pub(crate) struct RegisteredClient(pub(crate) Option<String>);

impl RegisteredClient {
    const MAX_BYTES: usize = 256;

    /// Returns the `client_id` in `answer`.
    pub(crate) fn of(answer: &Registration) -> Self {
        Self(answer.string_at(Field::CLIENT_ID).map(|id| text::cut(id, Self::MAX_BYTES).to_owned()))
    }
}

/// The handler answered with a success that can't be passed to the client; on its way out in the response's extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unanswerable;

/// The client can't sign in before it is approved; on its way out in the response's extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AwaitsApproval;

/// The answer to an equal registration was sent again; on its way out in the response's extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deduplicated;

/// In the extensions of an answer to an update: the client was unknown, and is known from now on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CostsLikeRegistration;

/// The outcome of an attempt.
///
/// ```
/// use tower_dcr::audit::Outcome;
///
/// assert_eq!(Outcome::Rewritten.to_string(), "rewritten");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The client hung up, or the server dropped the request, before the answer.
    #[default]
    Abandoned,
    /// The handler registered the client with what it asked for.
    Accepted,
    /// An equal registration was there: the client got its stored response, and the handler was not called.
    Deduplicated,
    /// The handler answered with an error of its own, or with what the policy forbids.
    Failed,
    /// A rate limit rejected the request.
    Limited,
    /// A rule rejected the registration.
    Rejected,
    /// The handler registered the client with other metadata than it asked for.
    Rewritten,
}

crate::text::named!(Outcome {
    Abandoned => "abandoned",
    Accepted => "accepted",
    Deduplicated => "deduplicated",
    Failed => "failed",
    Limited => "limited",
    Rejected => "rejected",
    Rewritten => "rewritten",
});

impl Event {
    pub(crate) fn new(time_ms: u64, operation: Operation, outcome: Outcome) -> Self {
        Self { schema: 1, time_ms, operation, outcome, ..Self::default() }
    }

    /// Takes the findings and facts of the rules; with the registration, if `document` asks for it, and the values of these
    /// members of the server's own.
    pub(crate) fn set_evaluation(&mut self, evaluation: Evaluation, document: Option<&BTreeSet<String>>) {
        self.operation = evaluation.operation;
        self.shadow = ShadowReport::of(&evaluation);
        self.policy = evaluation.fingerprint().or(self.policy);
        let (before, after) = evaluation.bodies();
        self.document = document.zip(before.as_ref()).and_then(|(own, body)| document::redact(body, own));
        self.rules_for = evaluation.caller.rules.as_deref().map(str::to_owned);
        self.bodies = Bodies { before: before.map(Hashed::Later), after: after.map(Hashed::Later) };
        self.identity = evaluation.identity().cloned();
        self.authorized_by = evaluation.caller.owner.as_deref().map(str::to_owned);
        self.statement_issuer = evaluation.facts.statement.as_ref().map(|statement| statement.issuer.clone());
        (self.rules, self.findings) = evaluation.into_parts();
    }

    /// Returns the digest of the body as it was received, `digest_before` in a line.
    #[must_use]
    pub fn digest_before(&self) -> Option<Digest> {
        self.bodies.digests().0
    }

    /// Returns the digest of the body as it was forwarded, `digest_after` in a line.
    #[must_use]
    pub fn digest_after(&self) -> Option<Digest> {
        self.bodies.digests().1
    }

    pub(crate) fn set_rejection(&mut self, rejection: &Rejection) {
        self.rule = Some(rejection.rule);
        self.field.clone_from(&rejection.field);
        self.index = rejection.index;
        self.reason = Some(rejection.detail.clone());
        self.error = Some(rejection.code.as_str());
    }

    /// Returns the sum that begins with this event. Nothing in it grows with the request.
    pub(crate) fn summary(&self, requester: Option<String>) -> Self {
        Self {
            until_ms: Some(self.time_ms),
            count: Some(1),
            status: self.status,
            client_id: self.client_id.clone(),
            requester,
            rule: self.rule,
            field: self.field.clone(),
            reason: self.reason.clone(),
            error: self.error,
            policy: self.policy,
            ..Self::new(self.time_ms, self.operation, self.outcome)
        }
    }

    /// Adds another event to the sum, which keeps what all have in common.
    pub(crate) fn add(&mut self, other: &Self) {
        self.until_ms = self.until_ms.max(Some(other.time_ms));
        self.count = self.count.map(|count| count.saturating_add(1));
        keep_common(&mut self.status, other.status.as_ref());
        keep_common(&mut self.client_id, other.client_id.as_ref());
        keep_common(&mut self.field, other.field.as_ref());
        keep_common(&mut self.reason, other.reason.as_ref());
        keep_common(&mut self.error, other.error.as_ref());
        keep_common(&mut self.policy, other.policy.as_ref());
    }
}

/// Forgets `kept` if `other` differs.
fn keep_common<T: PartialEq>(kept: &mut Option<T>, other: Option<&T>) {
    if kept.as_ref() != other {
        *kept = None;
    }
}

/// Receives audit events, on the task of the request: a sink that has to wait hands the event to a thread.
///
/// ```
/// use std::sync::mpsc::{SyncSender, sync_channel};
/// use tower_dcr::audit::{Event, Sink};
///
/// /// Hands events to a thread; without room, they are dropped.
/// struct Channel(SyncSender<Event>);
///
/// impl Sink for Channel {
///     fn emit(&self, event: &Event) {
///         let _full = self.0.try_send(event.clone());
///     }
/// }
///
/// let (sender, receiver) = sync_channel(1);
/// let channel = Channel(sender);
/// channel.emit(&Event::default());
/// channel.emit(&Event::default());
/// assert_eq!(receiver.try_iter().count(), 1);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an audit sink",
    note = "use a closure `Fn(&Event)`, or `JsonLines::open(path, JsonLinesSettings::default())?` for a file, or implement `tower_dcr::audit::Sink`"
)]
pub trait Sink: Send + Sync + 'static {
    /// Receives the event of an attempt.
    fn emit(&self, event: &Event);

    /// Receives an event of a client's later life. The default writes it to `tracing`, so that a sink without this method
    /// loses nothing.
    fn emit_lifecycle(&self, event: &LifecycleEvent) {
        tracing::log_lifecycle(event);
    }

    /// Returns whether the sink can take an event now (default: `true`). While it can't, registrations are rejected with 503:
    /// return `false` only if no registration may happen without its record.
    fn is_ready(&self) -> bool {
        true
    }
}

impl<F: Fn(&Event) + Send + Sync + 'static> Sink for F {
    fn emit(&self, event: &Event) {
        self(event);
    }
}

impl<S: Sink + ?Sized> Sink for Arc<S> {
    fn emit(&self, event: &Event) {
        (**self).emit(event);
    }

    fn emit_lifecycle(&self, event: &LifecycleEvent) {
        (**self).emit_lifecycle(event);
    }

    fn is_ready(&self) -> bool {
        (**self).is_ready()
    }
}

/// Passes each event to both sinks.
impl<A: Sink, B: Sink> Sink for (A, B) {
    fn emit(&self, event: &Event) {
        self.0.emit(event);
        self.1.emit(event);
    }

    fn emit_lifecycle(&self, event: &LifecycleEvent) {
        self.0.emit_lifecycle(event);
        self.1.emit_lifecycle(event);
    }

    fn is_ready(&self) -> bool {
        self.0.is_ready() && self.1.is_ready()
    }
}
