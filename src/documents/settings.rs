//! [`DocumentSettings`]: the settings of metadata documents, in code and in policy files.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ClientIdUrl;
use super::admission::{Admission, UrlPattern};
use super::client_id_url::ClientIdUrlOptions;
use crate::bounds;
use crate::period::Period;
use crate::rate_limit::{Quota, RateLimit};
use crate::rules::DocumentRules;

/// The settings of client metadata documents: the keys of the section `[documents]` in a policy file.
///
/// ```
/// use std::time::Duration;
///
/// let mut settings = tower_dcr::documents::DocumentSettings::default();
/// settings.allow.push("https://chatgpt.com/oauth/*/client.json".parse()?);
/// settings.max_age = Duration::from_secs(3600);
/// assert_eq!(serde_json::to_value(&settings)?["allow"][0], "https://chatgpt.com/oauth/*/client.json");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(
        description = "Clients whose client_id is the URL of a metadata document, if the server fetches documents."
    )
)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DocumentSettings {
    /// The URLs whose documents are fetched (default: `open`).
    pub admission: Admission,
    /// The URLs that are listed: each a URL, in which `*` may stand for one whole segment of the path. A host is never a pattern.
    ///
    /// With the admission `open`, entries have an effect, too. The client of an entry without `*` counts as one in use from its first
    /// request on: its document has a place in memory that strangers can't take, and its fetches take from `refreshes`. Fetches for
    /// an entry with `*` do not take from `fetches`.
    pub allow: Vec<UrlPattern>,
    /// The hosts of this server itself, whose documents are never fetched. The host of `gate.issuer` always is one.
    pub own_hosts: BTreeSet<String>,
    /// Accepts a query in a `client_id` (default: false). Each query is another client, with one document.
    pub query: bool,
    /// The ports that a `client_id` may have written out (default: none).
    pub ports: BTreeSet<u16>,
    /// The rules that only documents have.
    pub rules: DocumentRules,
    /// The least time for which a document is used before it is fetched again, whatever the response says (default: 5min).
    #[serde(deserialize_with = "time::<_, 1_000, 86_400_000>", serialize_with = "write_time")]
    #[cfg_attr(feature = "schema", schemars(with = "Period"))]
    pub min_age: Duration,
    /// The time for which a document is used if the response says nothing (default: 1h).
    #[serde(deserialize_with = "time::<_, 1_000, 604_800_000>", serialize_with = "write_time")]
    #[cfg_attr(feature = "schema", schemars(with = "Period"))]
    pub default_age: Duration,
    /// The longest time for which a document is used before it is fetched again, whatever the response says (default: 1day).
    #[serde(deserialize_with = "time::<_, 1_000, 604_800_000>", serialize_with = "write_time")]
    #[cfg_attr(feature = "schema", schemars(with = "Period"))]
    pub max_age: Duration,
    /// The time for which the last document of a client that has been used stays in force while its host can't be reached, behind
    /// its age (default: 1h; in the preset `strict` 0s). Documents that are gone or broken have none.
    #[serde(deserialize_with = "time::<_, 0, 604_800_000>", serialize_with = "write_time")]
    #[cfg_attr(feature = "schema", schemars(with = "Period"))]
    pub max_stale: Duration,
    /// Limits the fetches for clients that have never been used, in total (default: `60/minute`). URLs that an entry of `allow` with
    /// `*` matches do not count.
    #[serde(skip_serializing_if = "RateLimit::is_default")]
    pub fetches: RateLimit,
    /// Limits them by client address (default: `10/minute`).
    #[serde(skip_serializing_if = "RateLimit::is_default")]
    pub fetches_by_address: RateLimit,
    /// Limits them by the site of the document (default: `30/minute`).
    #[serde(skip_serializing_if = "RateLimit::is_default")]
    pub fetches_by_site: RateLimit,
    /// Limits the fetches for clients that have been used, in total (default: `120/minute`).
    #[serde(skip_serializing_if = "RateLimit::is_default")]
    pub refreshes: RateLimit,
}

impl Default for DocumentSettings {
    fn default() -> Self {
        Self {
            admission: Admission::Open,
            allow: Vec::new(),
            own_hosts: BTreeSet::new(),
            query: false,
            ports: BTreeSet::new(),
            rules: DocumentRules::default(),
            min_age: Duration::from_secs(5 * 60),
            default_age: Duration::from_secs(3600),
            max_age: Duration::from_secs(24 * 3600),
            max_stale: Duration::from_secs(3600),
            fetches: RateLimit::Default,
            fetches_by_address: RateLimit::Default,
            fetches_by_site: RateLimit::Default,
            refreshes: RateLimit::Default,
        }
    }
}

impl DocumentSettings {
    /// The settings of the preset `strict`.
    pub(crate) fn strict() -> Self {
        Self { rules: DocumentRules::strict(), max_stale: Duration::ZERO, ..Self::default() }
    }

    /// Returns the reading of URLs.
    pub(crate) fn url_options(&self) -> ClientIdUrlOptions {
        ClientIdUrlOptions { query: self.query, ports: self.ports.clone() }
    }

    /// Returns `true` if there is a URL whose document may be fetched.
    pub(crate) fn admits_any(&self) -> bool {
        match self.admission {
            Admission::Off => false,
            Admission::Listed => !self.allow.is_empty(),
            Admission::Reporting | Admission::Open => true,
        }
    }

    /// Returns the entry of the list that has `url`.
    pub(crate) fn listed(&self, url: &ClientIdUrl) -> Option<&UrlPattern> {
        self.allow.iter().find(|pattern| pattern.matches(url))
    }

    /// Returns the quota of a limit, or `None` if it is off.
    pub(super) fn quota(limit: RateLimit, per_minute: u32) -> Option<Quota> {
        match limit {
            RateLimit::Default => NonZeroU32::new(per_minute).map(Quota::per_minute),
            RateLimit::Off => None,
            RateLimit::Quota(quota) => Some(quota),
        }
    }
}

/// Returns the host of an issuer. A document there would make the server ask itself.
pub(crate) fn host_of_issuer(issuer: &str) -> Option<String> {
    issuer.parse::<http::Uri>().ok()?.host().map(str::to_owned)
}

fn time<'de, D: Deserializer<'de>, const LEAST: u64, const MOST: u64>(deserializer: D) -> Result<Duration, D::Error> {
    bounds::time::<D, LEAST, MOST>(deserializer).map(|Period(time)| time)
}

fn write_time<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    Period(*time).serialize(serializer)
}
