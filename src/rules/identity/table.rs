//! Reserved identities, and how registrations are compared with them.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, LazyLock};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use crate::cache::Cache;
use crate::redirect_uri::{RedirectClass, RedirectUri, is_public_dns_name, is_within_domain, known_schemes};
use crate::registration::{Field, Registration, UriUse, Value};
use crate::rules::identity::known::{self, IDENTITIES_VERSION};
use crate::rules::identity::name::{Found, Matcher, Reach};
use crate::rules::identity::status::{Claim, ClaimStatus, Identity};
use crate::rules::metadata::public_link;
use crate::rules::redirect_uris::private_use_scheme::PrivateUseScheme;
use crate::rules::redirect_uris::vendor_callbacks::CALLBACKS;
use crate::rules::{Checked, ConfigError, RedirectPattern};

/// A reserved name, and the redirect URIs that prove it. [`Identities::reserve`] checks it.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{Identities, ReservedIdentity};
///
/// let mut acme = ReservedIdentity::new("Acme");
/// acme.also_called = vec!["Acme Cloud".into(), "Acme Assistant".into()];
/// acme.https = vec!["https://app.acme.com/oauth/*".into()];
/// acme.schemes = ["com.acme.app".into()].into();
/// acme.link_hosts = ["acme.com".into()].into();
/// acme.domains = ["acme.com".into()].into();
/// let identities = Identities::known().reserve(acme)?;
/// let body = br#"{"client_name":"Acme Cloud","redirect_uris":["https://app.acme.com/oauth/cb"]}"#;
/// assert_eq!(identities.identify(&Registration::parse(body)?).owner(), Some("Acme"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ReservedIdentity {
    /// The reserved name: every name that is easily confused with it is reserved, too. It has a letter or a digit.
    #[serde(deserialize_with = "checked::<_, Name>")]
    pub name: String,
    /// Other names of the identity.
    #[serde(default, deserialize_with = "each_checked::<_, Name, _>")]
    pub also_called: Vec<String>,
    /// The `https` redirect URIs that prove the identity, in the syntax of `RedirectPattern`. List the product's callbacks and
    /// nothing wider: a page, a relay or an open redirect on the same host would pass the code on. In place of a `/*`, exactly
    /// one segment of letters, digits and `-._~` proves the identity, without a query. Other matches prove nothing.
    #[serde(default, deserialize_with = "each_checked::<_, HttpsPattern, _>")]
    pub https: Vec<String>,
    /// The identity's own private-use schemes. They prove nothing, since any program can register a scheme (RFC 8252 section
    /// 8.6). They contradict every other reserved name.
    #[serde(default, deserialize_with = "each_checked::<_, Scheme, _>")]
    pub schemes: BTreeSet<String>,
    /// Schemes whose links the product passes on to extensions by other authors. They neither prove nor contradict any
    /// name.
    #[serde(default, deserialize_with = "each_checked::<_, Scheme, _>")]
    pub relayed_schemes: BTreeSet<String>,
    /// Hosts that belong to the identity alone. Links to them or to a subdomain (`client_uri`, `logo_uri`, …) claim it. Don't
    /// list a host with a marketplace or pages of other parties, which may link there.
    #[serde(default, deserialize_with = "each_checked::<_, Host, _>")]
    pub link_hosts: BTreeSet<String>,
    /// The identity's own domains. A place there that is not listed neither proves nor contradicts the identity: tables become
    /// outdated, and a rejection is a failed sign-in. Names below it that are rented out, according to the Public Suffix List,
    /// don't belong to the domain.
    #[serde(default, deserialize_with = "each_checked::<_, Host, _>")]
    pub domains: BTreeSet<String>,
    /// Declares that its clients send `https` and loopback redirects in one registration, as editors do that run in a browser
    /// and on a desktop: such a list is then unverified. Otherwise it is contradicted, since an attacker lists the vendor's
    /// redirect URI to use its name, and receives the code at the other one.
    #[serde(default)]
    pub mixing_redirects: bool,
    /// The URL that documents the identity's redirect URIs. No decision depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The date on which the identity was last compared with its source: `YYYY-MM-DD`.
    #[serde(default, deserialize_with = "checked_if_any::<_, Date>", skip_serializing_if = "Option::is_none")]
    pub checked: Option<String>,
}

/// A kind of text in a row. In a policy file, each text is checked where it stands.
trait Kind {
    fn check(text: &str) -> Result<(), ConfigError>;
}

struct Date;

struct Host;

struct HttpsPattern;

struct Name;

struct Scheme;

impl Kind for Date {
    fn check(text: &str) -> Result<(), ConfigError> {
        if Checked::is_date(text) { Ok(()) } else { Err(ConfigError::Date { value: text.to_owned() }) }
    }
}

impl Kind for Host {
    fn check(text: &str) -> Result<(), ConfigError> {
        if is_public_dns_name(text) { Ok(()) } else { Err(ConfigError::Host { host: text.to_owned() }) }
    }
}

impl Kind for HttpsPattern {
    fn check(text: &str) -> Result<(), ConfigError> {
        if !text.starts_with("https://") {
            let reason = "does not begin with https://".into();
            return Err(ConfigError::Pattern { pattern: text.to_owned(), reason });
        }
        text.parse::<RedirectPattern>().map(drop)
    }
}

impl Kind for Name {
    fn check(text: &str) -> Result<(), ConfigError> {
        let is_comparable = Matcher::new(Reach::Wide).insert(text, 0);
        if is_comparable { Ok(()) } else { Err(ConfigError::Name { name: text.to_owned() }) }
    }
}

impl Kind for Scheme {
    fn check(text: &str) -> Result<(), ConfigError> {
        text.parse::<PrivateUseScheme>().map(drop)
    }
}

/// A text that was checked.
struct Text<K>(String, PhantomData<K>);

impl<'de, K: Kind> Deserialize<'de> for Text<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        K::check(&text).map_err(D::Error::custom)?;
        Ok(Self(text, PhantomData))
    }
}

fn checked<'de, D: Deserializer<'de>, K: Kind>(deserializer: D) -> Result<String, D::Error> {
    Text::<K>::deserialize(deserializer).map(|text| text.0)
}

fn checked_if_any<'de, D: Deserializer<'de>, K: Kind>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Text<K>>::deserialize(deserializer)?.map(|text| text.0))
}

fn each_checked<'de, D, K, C>(deserializer: D) -> Result<C, D::Error>
where
    D: Deserializer<'de>,
    K: Kind,
    C: FromIterator<String>,
{
    Ok(Vec::<Text<K>>::deserialize(deserializer)?.into_iter().map(|text| text.0).collect())
}

/// A row of a table: an identity that was checked.
#[derive(Clone, Debug)]
struct Row {
    identity: ReservedIdentity,
    /// The parsed [`ReservedIdentity::https`].
    https: Vec<RedirectPattern>,
}

/// A table of reserved identities. [`known`](Self::known) has the products whose clients register with every MCP
/// server. Any such table becomes outdated, so it can be extended and replaced, and its rows have dates.
///
/// ```
/// use tower_dcr::rules::{Identities, ReservedIdentity};
///
/// assert!(Identities::known().reserved().all(|identity| identity.checked.is_some()));
/// let mut acme = ReservedIdentity::new("Acme");
/// acme.https = vec!["https://app.acme.com/cb".into()];
/// let own = Identities::new("2026-11-24").reserve(acme)?;
/// assert_eq!(own.reserved().count(), 1);
/// # Ok::<_, tower_dcr::rules::ConfigError>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "Changes"))]
#[serde(try_from = "Changes", into = "Changes")]
#[must_use]
pub struct Identities {
    table: Arc<Table>,
}

/// The form of a table in a file: its differences from the known table, or from an empty one.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Identities"))]
#[serde(default, deny_unknown_fields)]
struct Changes {
    /// Includes the known products.
    known: bool,
    /// The version of the table. The table of known products has one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Identities that are added. Each replaces one of the same name.
    reserve: Vec<ReservedIdentity>,
    /// Names of known products that any client may use.
    release: BTreeSet<String>,
}

struct Table {
    /// `true` if the table was created from the known one.
    known: bool,
    version: String,
    rows: Vec<Row>,
    /// All names of all identities.
    names: Matcher,
    /// For each link host, the identities that own it.
    links: HashMap<String, Vec<usize>>,
    /// A cache of the claims found in names. The same few names recur, and a comparison tries many forms of a name.
    seen: Cache<Arc<[(usize, Claim)]>>,
}

/// The number of names in the cache.
const REMEMBERED: usize = 4096;

/// The maximum length of a cached name.
const MAX_REMEMBERED_BYTES: usize = 512;

impl ReservedIdentity {
    /// Reserves `name` and every name that is easily confused with it.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.name).chain(&self.also_called)
    }

    /// Returns `true` if a host is in one of the identity's domains, and not in a name below it that is rented out to a
    /// customer.
    fn is_related(&self, host: &str) -> bool {
        let is_at = |own: &str| is_within_domain(host, own) && (host == own || public_link::are_same_site(host, own));
        self.domains.iter().any(|own| is_at(own))
    }
}

impl Row {
    fn new(identity: ReservedIdentity) -> Result<Self, ConfigError> {
        identity.names().try_for_each(|name| Name::check(name))?;
        identity.https.iter().try_for_each(|pattern| HttpsPattern::check(pattern))?;
        identity.schemes.union(&identity.relayed_schemes).try_for_each(|scheme| Scheme::check(scheme))?;
        identity.link_hosts.union(&identity.domains).try_for_each(|host| Host::check(host))?;
        identity.checked.iter().try_for_each(|date| Date::check(date))?;
        let https = identity.https.iter().map(|pattern| pattern.parse()).collect::<Result<_, _>>()?;
        Ok(Self { identity, https })
    }

    /// Reads a line of the known table.
    fn known(line: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let mut identity: ReservedIdentity = serde_json::from_str(line)?;
        let proofs = CALLBACKS.iter().filter(|callback| callback.vendor == identity.name && callback.relays.is_none());
        identity.https = proofs.map(|callback| callback.pattern.clone()).collect();
        Ok(Self::new(identity)?)
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self { known: true, version: None, reserve: Vec::new(), release: BTreeSet::new() }
    }
}

impl TryFrom<Changes> for Identities {
    type Error = ConfigError;

    fn try_from(changes: Changes) -> Result<Self, ConfigError> {
        let known = Self::known();
        if let Some(name) = changes.release.iter().find(|name| !known.reserved().any(|known| known.name == **name)) {
            return Err(ConfigError::UnknownIdentity { name: name.clone() });
        }
        let from = if changes.known { known } else { Self::new("") };
        let stays = |row: &&Row| !changes.release.contains(&row.identity.name);
        let mut rows: Vec<Row> = from.table.rows.iter().filter(stays).cloned().collect();
        for identity in changes.reserve {
            insert(&mut rows, identity)?;
        }
        let version = changes.version.unwrap_or_else(|| from.table.version.clone());
        Ok(Self::of(changes.known, version, rows))
    }
}

/// Adds a row, in place of one of the same name.
fn insert(rows: &mut Vec<Row>, identity: ReservedIdentity) -> Result<(), ConfigError> {
    rows.retain(|row| row.identity.name != identity.name);
    rows.push(Row::new(identity)?);
    Ok(())
}

impl From<Identities> for Changes {
    fn from(identities: Identities) -> Self {
        let Table { known, version, .. } = &*identities.table;
        let from = if *known { Identities::known() } else { Identities::new("") };
        let release = from.reserved().filter(|known| !identities.reserved().any(|kept| kept.name == known.name));
        Self {
            known: *known,
            version: Some(version.clone()).filter(|version| *version != from.table.version),
            reserve: identities
                .reserved()
                .filter(|kept| !from.reserved().any(|known| known == *kept))
                .cloned()
                .collect(),
            release: release.map(|identity| identity.name.clone()).collect(),
        }
    }
}

/// Returns the host of a link that every reader reads the same way: only letters, digits, dots and hyphens up to a
/// slash.
fn plain_host(link: &str) -> Option<&str> {
    let rest = link.strip_prefix("https://")?;
    let host = rest.split('/').next().filter(|host| !host.ends_with('.'))?;
    let is_plain = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
    (!host.is_empty() && host.bytes().all(is_plain)).then_some(host)
}

/// The evidence of one redirect URI about a claim.
enum Evidence {
    /// A callback of the identity on this host.
    For(String),
    /// Another place in one of the identity's domains: customers' pages, a relay, a callback that is not in the table.
    Near,
    /// A scheme of the identity, or one whose links are passed on to extensions.
    Scheme,
    /// A program on the person's computer, or a scheme of an unknown application.
    Neither,
    /// A place of another party.
    Against,
}

impl Identities {
    /// Creates an empty table. `version` is the operator's own, and is part of the policy's fingerprint.
    pub fn new(version: impl Into<String>) -> Self {
        Self::of(false, version.into(), Vec::new())
    }

    /// Returns the table of products whose clients register with every MCP server. Its version is a date.
    pub fn known() -> Self {
        static TABLE: LazyLock<Identities> = LazyLock::new(|| {
            // A unit test checks that each row is valid.
            let rows = known::TABLE.lines().filter_map(|line| Row::known(line).ok());
            Identities::of(true, IDENTITIES_VERSION.to_owned(), rows.collect())
        });
        TABLE.clone()
    }

    /// Reserves an identity. It replaces one of the same name.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Name`] for a name without a letter or a digit, [`ConfigError::Pattern`] for a pattern that is
    /// malformed or not an `https` pattern, [`ConfigError::DangerousScheme`] for `javascript` and similar schemes,
    /// [`ConfigError::Scheme`] for a text that is not a scheme, [`ConfigError::Host`] for a host that is not a public DNS name
    /// in lower case, and [`ConfigError::Date`] for a malformed date.
    pub fn reserve(self, identity: ReservedIdentity) -> Result<Self, ConfigError> {
        let mut rows = self.table.rows.clone();
        insert(&mut rows, identity)?;
        Ok(Self::of(self.table.known, self.table.version.clone(), rows))
    }

    /// Allows any client to use the names of an identity.
    pub fn release(self, name: &str) -> Self {
        let mut rows = self.table.rows.clone();
        rows.retain(|row| row.identity.name != name);
        Self::of(self.table.known, self.table.version.clone(), rows)
    }

    fn of(known: bool, version: String, rows: Vec<Row>) -> Self {
        let mut names = Matcher::new(Reach::Wide);
        let mut links: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, Row { identity, .. }) in rows.iter().enumerate() {
            for host in &identity.link_hosts {
                links.entry(host.clone()).or_default().push(index);
            }
            for name in identity.names() {
                names.insert(name, index);
            }
        }
        Self { table: Arc::new(Table { known, version, rows, names, links, seen: Cache::new(REMEMBERED) }) }
    }

    /// Returns the identities, in order, with their sources and the dates of the last comparison with them.
    pub fn reserved(&self) -> impl Iterator<Item = &ReservedIdentity> {
        self.table.rows.iter().map(|row| &row.identity)
    }

    /// Returns the rows that have a date of the last comparison with their source: the identities of this table and, if
    /// it was created from the known one, the vendors' callbacks and the schemes of known applications.
    pub(crate) fn checked(&self) -> impl Iterator<Item = Checked<'_>> {
        let is_known = self.table.known;
        let own = self.reserved().filter_map(|row| Some((&*row.name, row.checked.as_deref()?)));
        let callbacks = CALLBACKS.iter().map(|row| (&*row.pattern, &*row.checked));
        let schemes = known_schemes().map(|row| (&*row.scheme, &*row.checked));
        let rows = own.chain(callbacks.chain(schemes).filter(move |_| is_known));
        rows.map(|(subject, date)| Checked { subject, date })
    }

    /// Returns how a code that is sent to this redirect URI can get to others than the owner of the place. `None` if no
    /// table has an entry. A place that passes codes on does so regardless of the names that are reserved here.
    pub(crate) fn relay(&self, uri: &RedirectUri<'_>) -> Option<&'static str> {
        static RELAYS: LazyLock<Vec<(RedirectPattern, &str)>> = LazyLock::new(|| {
            let relays = CALLBACKS.iter().filter_map(|callback| Some((&callback.pattern, callback.relays.as_deref()?)));
            relays.filter_map(|(pattern, relays)| Some((pattern.parse().ok()?, relays))).collect()
        });
        if uri.class() == RedirectClass::PrivateUse {
            let tables = [&self.table, &Self::known().table];
            let is_relayed = tables.iter().any(|table| table.is_relayed(uri.scheme()));
            return is_relayed
                .then_some("the application that opens these links hands the code to any of its extensions");
        }
        // Only the page reads the query. It passes the code on with any query.
        let page = RedirectUri::parse(uri.as_str().split('?').next().unwrap_or_default()).ok()?;
        RELAYS.iter().find(|(pattern, _)| pattern.matches(&page)).map(|(_, relays)| *relays)
    }

    /// Returns the identity that a registration claims, with the evidence of its redirect URIs.
    #[must_use]
    pub fn identify(&self, registration: &Registration) -> Identity {
        let claims = self.claims(registration);
        if claims.is_empty() {
            return self.table.owner(registration).unwrap_or_default();
        }
        let uris: Vec<&str> = registration.redirect_uris().collect();
        let judge = |(index, claim): &(usize, Claim)| self.table.judge(*index, Some(*claim), &uris);
        let verdicts: Vec<Identity> = claims.iter().map(judge).collect();
        let first = |wanted: &dyn Fn(&Identity) -> bool| verdicts.iter().find(|verdict| wanted(verdict)).cloned();
        // A name, or a link that is displayed, must not be another's. For a client that only has another's name among
        // its words, the redirect URIs decide.
        first(&|verdict| verdict.status == ClaimStatus::Contradicted && verdict.claim != Some(Claim::Mention))
            .or_else(|| first(&|verdict| verdict.status == ClaimStatus::Verified))
            .or_else(|| first(&|verdict| verdict.status == ClaimStatus::Contradicted))
            .or_else(|| verdicts.iter().min_by_key(|verdict| verdict.claim).cloned())
            .unwrap_or_default()
    }

    /// Returns the identity that a metadata document claims. Its host is a proof of its own: a vendor that publishes the document on a
    /// host of its own says which place there gets the codes. A loopback redirect URI still proves nothing about the program that
    /// listens there.
    pub(crate) fn identify_document(&self, document: &Registration, host: &str) -> Identity {
        let identity = self.identify(document);
        let row = self.table.rows.iter().find(|row| Some(&row.identity.name) == identity.claimed.as_ref());
        let is_own = row.is_some_and(|row| row.identity.is_related(host));
        if identity.status != ClaimStatus::Unverified || !is_own {
            return identity;
        }
        let is_at_host = |uri: &str| {
            let uri = RedirectUri::parse(uri).ok();
            uri.is_some_and(|uri| {
                uri.class() == RedirectClass::Https
                    && uri.host() == Some(host)
                    && uri.unusual_port().is_none()
                    && self.relay(&uri).is_none()
            })
        };
        if document.redirect_uris().all(is_at_host) {
            Identity { status: ClaimStatus::Verified, proof: vec![host.to_owned()], ..identity }
        } else {
            identity
        }
    }

    /// Returns the identities that are claimed, the strongest claims first.
    fn claims(&self, registration: &Registration) -> BTreeSet<(usize, Claim)> {
        let mut claims = BTreeSet::new();
        // If a name was shortened, the whole name counts, too.
        for name in registration.shortened() {
            claims.extend(self.table.claims_of_name(name).iter().copied());
        }
        for member in registration.entries() {
            let Value::String(text) = member.value() else { continue };
            match member.kind().base() {
                Some(Field::CLIENT_NAME) => claims.extend(self.table.claims_of_name(text).iter().copied()),
                Some(field) if field.uri() == UriUse::Displayed => {
                    claims.extend(self.table.owners_of_link(text).map(|index| (index, Claim::Link)));
                }
                _ => {}
            }
        }
        let mut strongest = BTreeSet::new();
        let mut last = None;
        for (index, claim) in claims {
            if last != Some(index) {
                strongest.insert((index, claim));
            }
            last = Some(index);
        }
        strongest
    }
}

impl Table {
    fn claims_of_name(&self, name: &str) -> Arc<[(usize, Claim)]> {
        if let Some(known) = self.seen.get(name) {
            return known;
        }
        let claims: Arc<[_]> = self.find_claims(name).into();
        if name.len() <= MAX_REMEMBERED_BYTES {
            self.seen.insert(name.to_owned(), Arc::clone(&claims));
        }
        claims
    }

    fn find_claims(&self, name: &str) -> Vec<(usize, Claim)> {
        let claim = |found| match found {
            Found::Whole => Claim::Name,
            // Rejecting a name that only looks alike at a glance would reject people of that name.
            Found::Alike | Found::Part => Claim::Mention,
        };
        self.names.find(name).into_iter().map(|(index, found)| (index, claim(found))).collect()
    }

    fn owners_of_link(&self, link: &str) -> impl Iterator<Item = usize> {
        let owners = plain_host(link).map_or_else(
            || {
                // Parsed like a browser does, which follows links that strict readers reject.
                let url = url::Url::parse(link).ok();
                let host = url.as_ref().and_then(url::Url::host_str);
                host.and_then(|host| self.owners_of_host(host.trim_end_matches('.')))
            },
            |host| self.owners_of_host(host),
        );
        owners.into_iter().flatten().copied()
    }

    /// Returns the identities that own the host or a domain above it.
    fn owners_of_host(&self, host: &str) -> Option<&Vec<usize>> {
        let parents = host.match_indices('.').filter_map(|(dot, _)| host.get(dot + 1..));
        std::iter::once(host).chain(parents).find_map(|host| self.links.get(host))
    }

    fn judge(&self, index: usize, claim: Option<Claim>, uris: &[&str]) -> Identity {
        let Some(row) = self.rows.get(index) else { return Identity::default() };
        let mut proof = BTreeSet::new();
        let (mut near, mut scheme, mut neither, mut against) = (0, 0, 0, 0);
        for uri in uris {
            match self.evidence(row, uri) {
                Evidence::For(host) => drop(proof.insert(host)),
                Evidence::Near => near += 1,
                Evidence::Scheme => scheme += 1,
                Evidence::Neither => neither += 1,
                Evidence::Against => against += 1,
            }
        }
        // With a place of the vendor, to use its name, an attacker lists another one that receives the code.
        let borrowed = neither > 0 && !row.identity.mixing_redirects && (near > 0 || !proof.is_empty());
        let status = match () {
            () if against > 0 || borrowed => ClaimStatus::Contradicted,
            () if !proof.is_empty() && near + scheme + neither == 0 => ClaimStatus::Verified,
            () => ClaimStatus::Unverified,
        };
        let proof = if status == ClaimStatus::Verified { proof.into_iter().collect() } else { Vec::new() };
        Identity::new(status, &row.identity.name, claim, proof)
    }

    fn evidence(&self, Row { identity, https }: &Row, uri: &str) -> Evidence {
        let Ok(uri) = RedirectUri::parse(uri) else { return Evidence::Against };
        let host = uri.host().unwrap_or_default();
        match uri.class() {
            RedirectClass::Https if https.iter().any(|own| own.proves(&uri)) => Evidence::For(host.to_owned()),
            RedirectClass::Https if identity.is_related(host) => Evidence::Near,
            RedirectClass::Https if https.iter().any(|own| own.matches(&uri)) => Evidence::Near,
            RedirectClass::Loopback => Evidence::Neither,
            RedirectClass::PrivateUse if identity.schemes.contains(uri.scheme()) => Evidence::Scheme,
            RedirectClass::PrivateUse if self.is_relayed(uri.scheme()) => Evidence::Scheme,
            RedirectClass::PrivateUse if !self.is_owned(uri.scheme()) => Evidence::Neither,
            RedirectClass::Https | RedirectClass::PlainHttp | RedirectClass::PrivateUse => Evidence::Against,
        }
    }

    /// Returns `true` if an application passes links with this scheme on to extensions, which can have any name.
    fn is_relayed(&self, scheme: &str) -> bool {
        self.rows.iter().any(|row| row.identity.relayed_schemes.contains(scheme))
    }

    fn is_owned(&self, scheme: &str) -> bool {
        self.rows.iter().any(|row| row.identity.schemes.contains(scheme))
    }

    /// Returns the owner of all of these `https` redirect URIs, for a client that claims nothing. `None` if there is
    /// none.
    fn owner(&self, registration: &Registration) -> Option<Identity> {
        let first = registration.redirect_uris().next().filter(|uri| uri.starts_with("https:"))?;
        let first = RedirectUri::parse(first).ok()?;
        let owns = |row: &Row| row.https.iter().any(|own| own.proves(&first));
        let index = self.rows.iter().position(owns)?;
        let uris: Vec<&str> = registration.redirect_uris().collect();
        let verdict = self.judge(index, None, &uris);
        Some(verdict).filter(|verdict| verdict.status == ClaimStatus::Verified)
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Table { version, rows, .. } = &*self.table;
        f.debug_struct("Identities").field("version", version).field("identities", rows).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_row_is_in_the_table() {
        let rows: Vec<ReservedIdentity> = known::TABLE
            .lines()
            .map(|line| Row::known(line).unwrap_or_else(|error| panic!("{error}: {line}")).identity)
            .collect();
        assert_eq!(Identities::known().reserved().count(), rows.len());
        let distinct: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(distinct.len(), rows.len(), "each name once");
    }

    #[test]
    fn each_row_has_its_source() {
        let known = Identities::known();
        for row in known.checked() {
            assert!(Checked::is_date(row.date) && row.date <= IDENTITIES_VERSION, "{}", row.subject);
        }
        let own = known.reserved().map(|row| row.source.as_deref().unwrap_or_default());
        let sources =
            CALLBACKS.iter().map(|row| &*row.source).chain(known_schemes().map(|row| &*row.source)).chain(own);
        sources.for_each(|source| assert!(source.starts_with("https://"), "{source:?}"));
        assert!(known.reserved().all(|identity| known.checked().any(|row| row.subject == identity.name)));
        // Each callback of an identity either proves it or is listed as a relay.
        for callback in CALLBACKS.iter().filter(|callback| callback.vendor != "LobeHub") {
            let json = serde_json::json!({ "client_name": callback.vendor, "redirect_uris": [callback.pattern.replace('*', "x")] });
            let proven = identify(&json.to_string()).status == ClaimStatus::Verified;
            assert_eq!(proven, callback.relays.is_none(), "{}", callback.pattern);
            assert!(proven || identify(&json.to_string()).status == ClaimStatus::Unverified, "{}", callback.pattern);
        }
        let own = Identities::new("1").reserve(ReservedIdentity::new("Acme")).unwrap();
        assert_eq!(own.checked().count(), 0);
        let dated = ReservedIdentity { checked: Some("today".into()), ..ReservedIdentity::new("Acme") };
        assert!(own.reserve(dated).is_err());
    }

    /// A name below a vendor's domain that is rented out belongs to its customer.
    #[test]
    fn rented_names_are_not_of_the_domain() {
        let domains = ["acme.com".to_owned(), "herokuapp.com".to_owned()].into();
        let own = ReservedIdentity { domains, ..ReservedIdentity::new("Acme") };
        assert!(own.is_related("acme.com") && own.is_related("a.b.acme.com"));
        assert!(!own.is_related("evil.herokuapp.com") && !own.is_related("notacme.com"));
    }

    fn identify(json: &str) -> Identity {
        Identities::known().identify(&Registration::parse(json.as_bytes()).unwrap())
    }

    #[expect(clippy::too_many_lines, reason = "a table")]
    #[test]
    fn every_redirect_uri_must_verify_the_claim() {
        const CLAUDE: &str = "https://claude.ai/api/mcp/auth_callback";
        use ClaimStatus::{Contradicted, Unclaimed, Unverified, Verified};
        let rows = [
            ("Claude", &[CLAUDE][..], Verified, "its callback"),
            ("Claude", &[CLAUDE, "https://claude.com/api/mcp/auth_callback"], Verified, "its callbacks"),
            ("ChatGPT", &["https://chatgpt.com/connector/oauth/ig2N09X8ZQ6D"], Verified, "one for each connector"),
            ("Cursor", &["https://www.cursor.com/agents/mcp/oauth/callback"], Verified, "its hosted agents"),
            (
                "Perplexity",
                &["https://enterprise.perplexity.ai/rest/connections/oauth_callback"],
                Verified,
                "its callback",
            ),
            ("Claude", &[CLAUDE, "https://evil.example.com/cb"], Contradicted, "one of the list"),
            ("Claude", &["https://claude.ai.evil.com/cb"], Contradicted, "prefix of a host"),
            ("Claude", &["https://evilclaude.ai/cb"], Contradicted, "suffix of a host"),
            ("Claude", &["https://evil.com/claude.ai/cb"], Contradicted, "in a path"),
            ("Claude", &["https://claude.ai/public/artifacts/1"], Unverified, "pages of its customers"),
            ("Claude", &["https://claude.ai/cb"], Unverified, "not its callback"),
            ("Claude", &["https://claude.ai/api/mcp/auth_callback?x=1"], Unverified, "not quite its callback"),
            ("Claude", &["https://user-content.claude.ai/cb"], Unverified, "another host of its domain"),
            ("Claude", &["https://claude.ai:8443/api/mcp/auth_callback"], Unverified, "another port of the host"),
            ("ChatGPT", &["https://chatgpt.com/g/g-evil"], Unverified, "pages of its customers"),
            ("ChatGPT", &["https://chatgpt.com/?q=x"], Unverified, "a page that runs a prompt"),
            (
                "Perplexity",
                &["https://www.perplexity.com/rest/connections/oauth_callback"],
                Unverified,
                "another domain",
            ),
            ("Grok", &["https://console.x.ai/cb"], Unverified, "another domain"),
            ("GitHub", &["https://github.com/login/oauth/authorize?client_id=x"], Unverified, "a redirector"),
            ("GitHub Copilot", &["https://github.com/evil/page"], Unverified, "pages of its customers"),
            ("Slack", &["https://slack.com/openid/connect/authorize?redirect_uri=x"], Unverified, "a redirector"),
            (
                "Slack",
                &["https://oauth2.slack.com/external/auth/callback"],
                Unverified,
                "every Slack app gets codes there",
            ),
            (
                "Postman",
                &["https://oauth.pstmn.io/v1/callback"],
                Unverified,
                "every person with Postman gets codes there",
            ),
            ("Microsoft", &["https://token.botframework.com/.auth/web/redirect"], Unverified, "any Azure bot"),
            ("Microsoft Copilot", &["https://global.consent.azure-apim.net/redirect/x"], Unverified, "any connector"),
            (
                "Claude",
                &["https://token.botframework.com/.auth/web/redirect"],
                Contradicted,
                "a relay of somebody else",
            ),
            ("Raycast", &["https://raycast.com/redirect?packageName=Evil"], Unverified, "any extension"),
            ("Raycast", &["com.raycast:/oauth?package_name=Evil"], Unverified, "any extension"),
            ("Docker Desktop", &["https://mcp.docker.com/oauth/callback"], Unverified, "any program on the computer"),
            ("Google Antigravity", &["https://antigravity.google/oauth-callback"], Unverified, "shows the code"),
            ("Visual Studio Code", &["https://vscode.dev/redirect"], Unverified, "any extension"),
            ("Claude", &["http://localhost:9999/cb"], Unverified, "any program on the computer"),
            ("Claude", &["http://localhost:9999/cb", CLAUDE], Contradicted, "borrowed proof"),
            ("Claude", &["com.example.app:/cb"], Unverified, "a scheme of an unknown application"),
            ("Claude", &["claude://cb"], Unverified, "its own scheme, which any program can take"),
            ("Claude", &[CLAUDE, "claude://cb"], Unverified, "any program gets a code, too"),
            ("Cursor", &["claude://cb"], Contradicted, "another's scheme"),
            ("Cursor", &["vscode://x/cb"], Unverified, "an extension may have any name"),
            ("Cursor", &["cursor://evil-publisher.evil/cb"], Unverified, "any extension"),
            ("Windsurf", &["windsurf://evil.publisher/cb"], Unverified, "any extension"),
            ("Cursor", &["cursor://x/cb", "http://localhost:8787/cb", "grokbot://cb"], Unverified, "what Cursor sends"),
            ("Visual Studio Code", &["vscode://publisher.extension/cb"], Unverified, "an extension is not the editor"),
            ("Notes for Cursor", &["cursor://x/cb"], Unverified, "a mention, and a scheme"),
            (
                "Visual Studio Code",
                &["https://vscode.dev/redirect", "http://127.0.0.1/"],
                Unverified,
                "an editor's list",
            ),
            ("Claude", &[], Unverified, "no redirect at all"),
            ("Notes", &["https://app.example.com/cb"], Unclaimed, "nobody in particular"),
            ("Notes", &[CLAUDE], Verified, "whatever its name, the code goes to Claude"),
            ("Notes", &["https://claude.ai/cb"], Unclaimed, "not the callback"),
            ("ChatGPT", &["https://chatgpt.com/connector/oauth/aB3-._~"], Verified, "one segment"),
            ("ChatGPT", &["https://chatgpt.com/connector/oauth/a/b"], Unverified, "two segments"),
            ("ChatGPT", &["https://chatgpt.com/connector/oauth/;x"], Unverified, "a parameter"),
            ("ChatGPT", &["https://chatgpt.com/connector/oauth/a%3Fb"], Unverified, "an escape"),
            ("ChatGPT", &["https://chatgpt.com/connector/oauth/"], Unverified, "no segment"),
            ("ChatGPT", &["https://chatgpt.com/connector/oauth/x?redirect=https://evil.com"], Unverified, "a query"),
            ("ChatGPT", &["https://chatgpt.com/connector/oauth/x?"], Unverified, "an empty query"),
            ("Notes", &["https://chatgpt.com/connector/oauth/x?redirect=x"], Unclaimed, "no badge by it"),
            ("Notes", &[CLAUDE, "https://evil.com/cb"], Unclaimed, "no badge by one of the list"),
            ("Notes", &[CLAUDE, "claude://cb"], Unclaimed, "no badge by one of the list"),
            ("Notes", &["https://github.com/evil"], Unclaimed, "pages of customers"),
            ("Notes", &["vscode://publisher.notes/cb"], Unclaimed, "an extension is not the editor"),
            ("Notes", &["cursor://publisher.notes/cb"], Unclaimed, "an extension is not the editor"),
            ("Claude Monet Gallery", &["https://monet.example.com/cb"], Contradicted, "a mention"),
            ("MCPJam Claude readiness probe", &[CLAUDE], Verified, "a mention, and proof"),
        ];
        for (name, uris, status, reason) in rows {
            let verdict = identify(&serde_json::json!({"client_name": name, "redirect_uris": uris}).to_string());
            assert_eq!(verdict.status, status, "{name} {uris:?}: {reason}");
        }
    }

    #[test]
    fn one_segment_behind_a_custom_callback_verifies() {
        let acme = |pattern: &str, uri: &str| {
            let acme = ReservedIdentity { https: vec![pattern.into()], ..ReservedIdentity::new("Acme") };
            let json = serde_json::json!({ "client_name": "Acme", "redirect_uris": [uri] }).to_string();
            let registration = Registration::parse(json.as_bytes()).unwrap();
            Identities::new("1").reserve(acme).unwrap().identify(&registration).status
        };
        for (pattern, uri, status) in [
            ("https://app.acme.com/cb/*", "https://app.acme.com/cb/x", ClaimStatus::Verified),
            // The same vendor, although no domain is listed.
            ("https://app.acme.com/cb/*", "https://app.acme.com/cb/x/y", ClaimStatus::Unverified),
            ("https://app.acme.com/cb/*", "https://app.acme.com/cb/x?y", ClaimStatus::Unverified),
            ("https://app.acme.com/*", "https://app.acme.com/x", ClaimStatus::Verified),
            ("https://app.acme.com/*", "https://app.acme.com/", ClaimStatus::Unverified),
            ("https://app.acme.com/*", "https://app.acme.com", ClaimStatus::Unverified),
            ("https://app.acme.com/*", "https://app.acme.com?x", ClaimStatus::Unverified),
            ("https://app.acme.com/cb?x=1", "https://app.acme.com/cb?x=1", ClaimStatus::Verified),
            ("https://*.acme.com/cb", "https://eu.acme.com/cb", ClaimStatus::Verified),
            ("https://app.acme.com/cb/*", "https://app.acme.com/other", ClaimStatus::Contradicted),
        ] {
            assert_eq!(acme(pattern, uri), status, "{pattern} {uri}");
        }
    }

    #[test]
    fn tags_and_links_are_claims_too() {
        let tagged =
            r#"{"client_name":"Notes","client_name#ja":"Claude","redirect_uris":["https://app.example.com/cb"]}"#;
        assert_eq!(identify(tagged).claim, Some(Claim::Name));
        for link in
            ["https://claude.ai", "https://CLAUDE.ai./x", "https://cdn.claude.ai/favicon.ico", "https:\\\\claude.ai"]
        {
            let json = serde_json::json!({"client_name": "Notes", "logo_uri": link, "redirect_uris": ["https://app.example.com/cb"]});
            assert_eq!(identify(&json.to_string()).claim, Some(Claim::Link), "{link}");
        }
        for link in ["https://notclaude.ai", "https://claude.ai.example.com", "nonsense"] {
            let json = serde_json::json!({"logo_uri": link, "redirect_uris": ["https://app.example.com/cb"]});
            assert_eq!(identify(&json.to_string()), Identity::default(), "{link}");
        }
    }
}
