//! The audit [`Event`] and the [`Sink`]s that take it.
//!
//! There is exactly one [`Event`] per registration attempt, whatever became of it, and one [`LifecycleEvent`] for what
//! happens to a client later. An event says which rules ran and what they
//! did, by stable names; it never holds a member's value, a secret or a token. Text that a client chose (the name of an
//! unknown member) is cut and, by the sinks here, escaped: an event is one line.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Serialize, Serializer};

use crate::policy::{Finding, Identity, Operation, Review};
use crate::registration::{Digest, Field, Registration};
use crate::rejection::Rejection;
use crate::text;

mod buffered;
#[cfg(feature = "jsonl")]
mod chain;
mod document;
#[cfg(feature = "jsonl")]
mod jsonl;
mod lifecycle;
mod line;
mod queue;
mod tracing;

pub use self::tracing::TracingSink;
pub use buffered::{BatchSink, Buffered, BufferedBuilder, Record, Sinks};
#[cfg(feature = "jsonl")]
pub use chain::{BrokenChain, ChainKey, VerifiedChain, verify_chain};
pub use document::RedactedDocument;
#[cfg(feature = "jsonl")]
pub use jsonl::{JsonLines, JsonLinesBuilder, JsonLinesError};
pub use lifecycle::{Action, LifecycleEvent};
pub use line::to_line;
pub use queue::Overflow;

/// One attempt to register a client or to update one.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use tower_dcr::event::Event;
///
/// let refused_by = Arc::new(Mutex::new(Vec::new()));
/// let sink = Arc::clone(&refused_by);
/// let guard = tower_dcr::mcp().with_sink(move |event: &Event| sink.lock().unwrap().extend(event.rule));
/// # let _ = guard;
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// The version of this structure: 1.
    pub schema: u32,
    /// When the request came, in milliseconds since 1970-01-01 00:00 UTC.
    pub time_ms: u64,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// Creating a client or updating one.
    pub operation: Operation,
    /// The status of the answer; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The `client_id` in the answer, cut to 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Who asked, as the audit layer was told to name them: by default nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requester: Option<String>,
    /// The rule that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'static str>,
    /// The member at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<Cow<'static, str>>,
    /// Its element at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// The `error` that the client was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
    /// Who the client claims to be, and what its redirect URIs say to that; absent if it claims nobody in particular.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// The owner of the initial access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorized_by: Option<String>,
    /// The rules that this token named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules_for: Option<String>,
    /// The issuer of the software statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement_issuer: Option<String>,
    /// The rules that ran, in order.
    pub rules: Vec<&'static str>,
    /// What they did, in order.
    pub findings: Vec<Finding>,
    /// Digest of the body as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest_before: Option<BodyDigest>,
    /// Digest of the body as it was forwarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest_after: Option<BodyDigest>,
    /// Which configuration of the rules judged; written as 16 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "hexadecimal")]
    pub policy: Option<u64>,
    /// The registration as it came, redacted; absent unless that was asked for
    /// ([`AuditLayer::with_document`](crate::AuditLayer::with_document)), or if there was none that could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<RedactedDocument>,
}

/// The digest of a body, computed when it is asked for: a sink that filters events need not pay for all of them.
///
/// ```
/// use tower_dcr::event::Event;
///
/// let guard = tower_dcr::mcp().with_sink(|event: &Event| {
///     if let Some(forwarded) = &event.digest_after {
///         println!("registered {}", forwarded.digest());
///     }
/// });
/// # let _ = guard;
/// ```
#[derive(Clone)]
pub struct BodyDigest(Bytes);

impl BodyDigest {
    /// SHA-256 of the body.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }
}

impl Serialize for BodyDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.digest().serialize(serializer)
    }
}

impl fmt::Debug for BodyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digest().fmt(f)
    }
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

    /// What `answer` says.
    pub(crate) fn of(answer: &Registration) -> Self {
        Self(answer.string_at(Field::CLIENT_ID).map(|id| text::cut(id, Self::MAX_BYTES).to_owned()))
    }
}

/// The answer to an equal registration was given out again; on its way out in the response's extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repeated;

/// In the extensions of an answer to an update: a client that was not known is, from now on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CostsLikeRegistration;

/// What became of an attempt.
///
/// ```
/// use tower_dcr::event::Outcome;
///
/// assert_eq!(Outcome::Rewritten.as_str(), "rewritten");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// The client hung up, or the server dropped the request, before there was an answer.
    Abandoned,
    /// The handler registered the client with what it asked for.
    Accepted,
    /// The handler answered with an error of its own, or with what the policy forbids.
    Failed,
    /// A rate limit turned the request away.
    Limited,
    /// A rule refused.
    Refused,
    /// The same was registered before: the client got the earlier answer, and the handler was not asked.
    Repeated,
    /// The handler registered the client with less or other than it asked for.
    Rewritten,
}

impl Outcome {
    /// The name that is written into events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Abandoned => "abandoned",
            Self::Accepted => "accepted",
            Self::Failed => "failed",
            Self::Limited => "limited",
            Self::Refused => "refused",
            Self::Repeated => "repeated",
            Self::Rewritten => "rewritten",
        }
    }
}

impl Event {
    pub(crate) fn new(time_ms: u64, operation: Operation, outcome: Outcome) -> Self {
        Self {
            schema: 1,
            time_ms,
            duration_us: 0,
            outcome,
            operation,
            status: None,
            client_id: None,
            requester: None,
            rule: None,
            field: None,
            index: None,
            error: None,
            identity: None,
            authorized_by: None,
            rules_for: None,
            statement_issuer: None,
            rules: Vec::new(),
            findings: Vec::new(),
            digest_before: None,
            digest_after: None,
            policy: None,
            document: None,
        }
    }

    /// Takes over what the rules found out; with the registration, if it is wanted, and those members of the
    /// server's own in it.
    pub(crate) fn set_review(&mut self, review: Review, document: Option<&Arc<BTreeSet<String>>>) {
        self.operation = review.operation();
        self.policy = review.policy_fingerprint().or(self.policy);
        let (before, after) = review.bodies();
        self.document = document.zip(before.as_ref()).and_then(|(own, body)| RedactedDocument::of(body, own));
        self.rules_for = review.caller().rules().map(str::to_owned);
        (self.digest_before, self.digest_after) = (before.map(BodyDigest), after.map(BodyDigest));
        self.identity = review.identity().cloned();
        self.authorized_by = review.caller().owner().map(str::to_owned);
        self.statement_issuer = review.facts().statement.as_ref().map(|statement| statement.issuer.clone());
        (self.rules, self.findings) = review.into_parts();
    }

    pub(crate) fn set_rejection(&mut self, rejection: &Rejection) {
        self.rule = Some(rejection.rule());
        self.field = rejection.owned_field();
        self.index = rejection.index();
        self.error = Some(rejection.code().as_str());
    }
}

/// Takes events. Called on the request's own task: a sink that has to wait hands the event to somebody who can.
///
/// ```
/// use std::sync::mpsc::{SyncSender, sync_channel};
/// use tower_dcr::event::{Event, Sink};
///
/// /// Hands events to a thread that has the time; those for which there is no room are dropped.
/// struct Channel(SyncSender<Event>);
///
/// impl Sink for Channel {
///     fn emit(&self, event: &Event) {
///         let _full = self.0.try_send(event.clone());
///     }
/// }
///
/// let (sender, receiver) = sync_channel(1024);
/// let guard = tower_dcr::mcp().with_sink(Channel(sender));
/// # let _ = (guard, receiver);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an audit sink",
    note = "use a closure `Fn(&Event)`, or `JsonLines::new(path).open()?` for a file, or implement `tower_dcr::event::Sink`"
)]
pub trait Sink: Send + Sync + 'static {
    /// Takes one event.
    fn emit(&self, event: &Event);

    /// Takes what happened to a client later. By default it goes to `tracing`, so that nothing is lost by a sink that
    /// does not know of it.
    fn emit_lifecycle(&self, event: &LifecycleEvent) {
        tracing::log_lifecycle(event);
    }

    /// Whether the sink can take an event now. While it can't, registrations are refused with 503: say `false` only if
    /// a registration must not happen without its record.
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

/// Both of them.
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
