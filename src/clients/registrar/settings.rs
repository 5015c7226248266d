//! The settings of a registrar, from its builder and from a policy file.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Lifetimes, lifetimes};
use crate::period::{self, Lifetime, Period};
use crate::rules::ConfigError;
use crate::rules::action::{self, Action};
use crate::rules::hold::{HOLDABLE, HoldableRule};

/// As many as a server has applications: one document is that of all installations.
const MAX_DOCUMENTS: NonZeroU64 = NonZeroU64::new(10_000).expect("a positive number");

/// The settings in force.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "switches that do not depend on each other")]
pub(crate) struct Settings {
    pub(crate) lifetimes: Lifetimes,
    pub(super) max_clients: Option<NonZeroU64>,
    pub(super) max_documents: NonZeroU64,
    pub(super) document_hold: Duration,
    pub(super) deduplication: bool,
    pub(super) any_loopback_port: bool,
    pub(super) any_software_version: bool,
    pub(super) shared_client_ids: bool,
    pub(super) software_id_conflict: Action,
    pub(super) sources: bool,
    pub(super) retention: Duration,
    pub(super) address_retention: Duration,
    pub(crate) manage_unknown: bool,
    pub(super) client_type_changes: bool,
    pub(crate) danger_register_without_ledger: Option<bool>,
    pub(crate) report_only: Option<bool>,
    pub(super) report_only_expiry: bool,
    pub(crate) hold: Vec<String>,
}

/// The settings of a [`Registrar`](crate::clients::Registrar): the keys of the section `[lifecycle]` in a policy file.
///
/// A setting in the policy file of a [preset](crate::Preset::with_registrar) wins over the one in code; a setting in
/// neither has its default.
///
/// ```
/// use std::time::Duration;
/// use tower_dcr::clients::{MemoryLedger, Registrar};
///
/// const DAY: Duration = Duration::from_secs(24 * 3600);
/// let registrar = Registrar::new(MemoryLedger::default()).map_settings(|lifecycle| {
///     lifecycle.never_used = Some(DAY * 14);
///     lifecycle.idle = Some(DAY * 365);
/// })?;
/// let too_short = registrar.map_settings(|lifecycle| lifecycle.idle = Some(DAY * 7));
/// assert!(too_short.is_err(), "refresh tokens live longer");
/// # Ok::<_, tower_dcr::rules::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(
        description = "The table `[lifecycle]` of a policy file. Absent keys keep the settings of the registrar."
    )
)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LifecycleSettings {
    /// Sets how long a client lives that never got a token (default: 7days); an hour at least. With `"never"` (in code
    /// [`Duration::MAX`]) it does not expire.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "period::optional::serialize",
        deserialize_with = "never_used"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Period>"))]
    pub never_used: Option<Duration>,
    /// Sets how long a client lives after it last got a token (default: 90days); 30 days at least. With `"never"` (in code
    /// [`Duration::MAX`]) it does not expire.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "period::optional::serialize",
        deserialize_with = "idle"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Period>"))]
    pub idle: Option<Duration>,
    /// Requires clients to be approved, and ends those that are not approved within this time (default: no approval); an
    /// hour at least. Until then they have a `client_id`, the same one each time they register again, and the gate rejects
    /// them.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "period::optional::serialize",
        deserialize_with = "approval"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Period>"))]
    pub approval: Option<Duration>,
    /// Holds registrations that these rules would reject until an operator approves them (default: none): `redirect-uris`, for
    /// well-formed places and schemes that are not listed, and `identity`. The client is registered and has one `client_id`,
    /// each time it registers again while it waits and after its approval, and gates answer `access_denied` until then. Without
    /// approval it ends after `approval`, or else `never_used`. What is dangerous, malformed or in a private network is rejected
    /// all the same, and so are updates. It needs a ledger, and gates.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "hold")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<HoldableRule>>"))]
    pub hold: Option<Vec<String>>,
    /// Sets how many clients may live at once (default: no limit). When so many do, others are evicted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_clients: Option<NonZeroU64>,
    /// Sets how many clients of metadata documents may live at once (default: 10,000). They don't count as clients: neither kind
    /// makes room for the other. When so many do, those that never got a token are evicted first, then those that nothing vouches for; within
    /// such a kind those of the site (the registrable domain) that has most of them, the least recently used first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_documents: Option<NonZeroU64>,
    /// Sets how long a client goes on as it was after its metadata document changed so that an operator has to approve it: another
    /// name or identity, or a redirect URI, key, grant or scope more (default: 24h); an hour at least. After that it gets no new
    /// sign-ins until the change is approved, or taken back. With `"never"` (in code [`Duration::MAX`]) it goes on as it was.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "period::optional::serialize",
        deserialize_with = "document_hold"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Period>"))]
    pub document_hold: Option<Duration>,
    /// Sets how long the record of a client that has ended is kept whole (default: 30days). After that it is emptied, or
    /// removed if the server is known to have no such client.
    #[serde(skip_serializing_if = "Option::is_none", with = "period::optional")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Period>"))]
    pub retention: Option<Duration>,
    /// Sets how long a record keeps the address that it was registered from (default: 30days); after that it keeps the
    /// address's network only (/24, /48).
    #[serde(skip_serializing_if = "Option::is_none", with = "period::optional")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Period>"))]
    pub address_retention: Option<Duration>,
    /// Gives an equal registration of a public client the client that is there (default: true, and false in the `oauth`
    /// preset). OpenID Connect forbids it: "The Client Identifier … MUST NOT be currently valid for any other registered
    /// Client" (OpenID Connect Dynamic Client Registration 1.0 section 3.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deduplication: Option<bool>,
    /// Deduplicates registrations that differ only in the ports of loopback redirect URIs (default: false): for a server
    /// that ignores these ports (RFC 8252 section 7.3). If the server compares the port, sign-ins fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any_loopback_port: Option<bool>,
    /// Deduplicates registrations that differ only in `software_version` (default: true), so that a new release of an
    /// application is not a new client; the repeated answer has the version of its own request. The server is not told of
    /// the new version: set this to `false` if it decides by the version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any_software_version: Option<bool>,
    /// Allows the server to give one `client_id` to several registrations (default: false): each then has a record of its
    /// own, and inherits nothing from the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_client_ids: Option<bool>,
    /// The handling of a registration, or an update, with the `software_id` of a live client whose redirect URIs lead to other
    /// hosts (default: `mark`): it may imitate that client. Ports of loopback URIs don't count, nor do registrations that a
    /// token, a statement or a verified identity vouches for. `mark` emits an event. `reject` rejects where the other
    /// client was reviewed by an operator, or admitted by an initial access token or a software statement, and marks where
    /// it only got a token: else a stranger who registers first would lock the honest client out.
    #[serde(
        deserialize_with = "action::one_if_any::<_, action::MarkPassOrReject>",
        serialize_with = "action::write_one_if_any::<_, action::MarkPassOrReject>",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<action::OneOf<action::MarkPassOrReject>>"))]
    pub software_id_conflict: Option<Action>,
    /// Records the network of the client address (default: true). Without it nothing can be blocked by source, and at the
    /// limit of clients all of them count as from one network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources: Option<bool>,
    /// Lets clients that the ledger does not know update themselves (RFC 7592) although initial access tokens or approval
    /// are required (default: false). Set it where clients registered before there was a ledger, and the server answers 401
    /// to unknown ones (RFC 7592 section 2.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manage_unknown: Option<bool>,
    /// Lets an update (RFC 7592) change the authentication method of a client from `none` to another one, or back (default:
    /// false). OAuth 2.1 section 2.1 has one type for each client: a public one that becomes confidential keeps the grants
    /// that anyone with its `client_id` could have got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_type_changes: Option<bool>,
    /// Ends no active client at `never_used` and `idle`, and reports it (default: false): maintenance emits an event for each,
    /// once, `dcr clients stale` lists them, and gates pass them. To see which clients a limit would end before it does.
    /// Clients whose secret has expired, and those that were not approved in time, end as always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_only_expiry: Option<bool>,
    /// Passes everything that the ledger would reject, and reports it in audit events (default: false). Everything else is
    /// recorded as always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_only: Option<bool>,
    /// Registers clients while the ledger can't be used (default: false). An attacker who slows the ledger down can then
    /// register what was revoked: such clients appear at the token endpoint as registered elsewhere, if at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub danger_register_without_ledger: Option<bool>,
}

impl Settings {
    pub(super) fn new() -> Self {
        Self {
            lifetimes: Lifetimes::new(),
            max_clients: None,
            max_documents: MAX_DOCUMENTS,
            document_hold: Duration::from_secs(24 * 3600),
            deduplication: true,
            any_loopback_port: false,
            any_software_version: true,
            shared_client_ids: false,
            software_id_conflict: Action::Mark,
            sources: true,
            retention: Duration::from_secs(30 * 24 * 3600),
            address_retention: Duration::from_secs(30 * 24 * 3600),
            manage_unknown: false,
            client_type_changes: false,
            danger_register_without_ledger: None,
            report_only: None,
            report_only_expiry: false,
            hold: Vec::new(),
        }
    }

    /// Returns these settings with others over them.
    pub(super) fn under(&self, file: &LifecycleSettings) -> Self {
        Self {
            // The lifetimes were found to be long enough when they were set.
            lifetimes: file.lifetimes_over(&self.lifetimes).unwrap_or_else(|_| self.lifetimes.clone()),
            max_clients: file.max_clients.or(self.max_clients),
            max_documents: file.max_documents.unwrap_or(self.max_documents),
            document_hold: file.document_hold.unwrap_or(self.document_hold),
            deduplication: file.deduplication.unwrap_or(self.deduplication),
            any_loopback_port: file.any_loopback_port.unwrap_or(self.any_loopback_port),
            any_software_version: file.any_software_version.unwrap_or(self.any_software_version),
            shared_client_ids: file.shared_client_ids.unwrap_or(self.shared_client_ids),
            software_id_conflict: file.software_id_conflict.unwrap_or(self.software_id_conflict),
            sources: file.sources.unwrap_or(self.sources),
            retention: file.retention.unwrap_or(self.retention),
            address_retention: file.address_retention.unwrap_or(self.address_retention),
            manage_unknown: file.manage_unknown.unwrap_or(self.manage_unknown),
            client_type_changes: file.client_type_changes.unwrap_or(self.client_type_changes),
            danger_register_without_ledger: file.danger_register_without_ledger.or(self.danger_register_without_ledger),
            report_only: file.report_only.or(self.report_only),
            hold: file.hold.as_ref().unwrap_or(&self.hold).clone(),
            report_only_expiry: file.report_only_expiry.unwrap_or(self.report_only_expiry),
        }
    }
}

impl LifecycleSettings {
    pub(super) fn lifetimes_over(&self, others: &Lifetimes) -> Result<Lifetimes, ConfigError> {
        Ok(Lifetimes {
            never_used: self.never_used.map_or(Ok(others.never_used), lifetimes::never_used)?,
            idle: self.idle.map_or(Ok(others.idle), lifetimes::idle)?,
            approval: self.approval.map(lifetimes::approval).transpose()?.or(others.approval),
        })
    }

    /// Checks the time for which changes of documents are held.
    pub(super) fn check_document_hold(&self) -> Result<(), ConfigError> {
        self.document_hold.map_or(Ok(()), |hold| lifetimes::document_hold(hold).map(drop))
    }

    /// Checks the names of rules.
    pub(super) fn check_hold(&self) -> Result<(), ConfigError> {
        let mut named = self.hold.iter().flatten();
        match named.find(|name| !HOLDABLE.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Err(ConfigError::Unknown {
                what: "a rule that can hold registrations for approval",
                word: name.clone(),
                words: &HOLDABLE,
            }),
        }
    }
}

fn hold<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    let rules = Vec::<HoldableRule>::deserialize(deserializer)?;
    Ok(Some(rules.into_iter().map(String::from).collect()))
}

fn never_used<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    lifetime(deserializer, lifetimes::never_used)
}

fn idle<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    lifetime(deserializer, lifetimes::idle)
}

fn document_hold<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    lifetime(deserializer, lifetimes::document_hold)
}

fn approval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    checked(deserializer, lifetimes::approval)
}

/// Reads a lifetime that `check` accepts.
fn lifetime<'de, D: Deserializer<'de>>(
    deserializer: D,
    check: fn(Duration) -> Result<Duration, ConfigError>,
) -> Result<Option<Duration>, D::Error> {
    check(Lifetime::deserialize(deserializer)?.0).map(Some).map_err(D::Error::custom)
}

/// Reads a time that `check` accepts.
fn checked<'de, D: Deserializer<'de>>(
    deserializer: D,
    check: fn(Duration) -> Result<Duration, ConfigError>,
) -> Result<Option<Duration>, D::Error> {
    check(Period::deserialize(deserializer)?.0).map(Some).map_err(D::Error::custom)
}
