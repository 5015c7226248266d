//! Reserved identities, and who claims one.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, LazyLock};

use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};

use super::identity::{Claim, Identity, Standing};
use super::known_identities::{IDENTITIES_VERSION, KNOWN, Known};
use super::private_use_scheme::PrivateUseScheme;
use super::{ConfigError, RedirectPattern};
use crate::name::Readings;
use crate::redirect_uri::{RedirectClass, RedirectUri, is_public_dns_name, is_within_domain};
use crate::registration::{Field, Registration, Value};

/// A name that not everybody may use, and what proves that somebody may.
///
/// ```
/// use tower_dcr::policy::{Identities, ReservedIdentity};
///
/// let acme = ReservedIdentity::new("Acme")?
///     .also_called(["Acme Cloud", "Acme Assistant"])?
///     .with_https(["https://app.acme.com/oauth/*"])?
///     .with_scheme("com.acme.app")?
///     .with_link_host("acme.com")?
///     .with_domain("acme.com")?;
/// let identities = Identities::known().reserve(acme);
/// # let _ = identities;
/// # Ok::<_, tower_dcr::policy::ConfigError>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[must_use]
pub struct ReservedIdentity {
    /// The name that not everybody may use.
    name: Comparable,
    /// Other names of the same.
    #[serde(default, rename = "also_called")]
    also: Vec<Comparable>,
    /// The `https` redirect URIs that prove it.
    #[serde(default)]
    https: Vec<HttpsPattern>,
    /// The private-use schemes that prove it.
    #[serde(default)]
    schemes: BTreeSet<PrivateUseScheme>,
    /// Schemes of its own that lead to what others have made for it: they prove nothing for it, and everything against
    /// anybody else.
    #[serde(default, rename = "relayed_schemes")]
    relayed: BTreeSet<PrivateUseScheme>,
    /// Hosts that are about nothing else: links to them claim the identity.
    #[serde(default, rename = "link_hosts")]
    links: BTreeSet<PublicHost>,
    /// Domains of its own, where a host that is not listed neither proves nor disproves it.
    #[serde(default)]
    domains: BTreeSet<PublicHost>,
    /// Whether its clients send `https` and loopback redirects in one registration.
    #[serde(default, rename = "mixing_redirects")]
    mixes: bool,
}

/// A name with a letter or a digit in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
struct Comparable(String);

/// A public DNS name in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
struct PublicHost(String);

/// A redirect URI pattern of `https`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
struct HttpsPattern(RedirectPattern);

/// A table of reserved identities. [`known`](Self::known) has the products whose clients register with every MCP server;
/// any such table goes stale, so it can be added to and replaced, and has a version.
///
/// ```
/// use tower_dcr::policy::{IDENTITIES_VERSION, Identities, ReservedIdentity};
///
/// assert_eq!(Identities::known().version(), IDENTITIES_VERSION);
/// let own = Identities::new("2026-11-24").reserve(ReservedIdentity::new("Acme")?.with_https(["https://app.acme.com/cb"])?);
/// assert_eq!(own.names().collect::<Vec<_>>(), ["Acme"]);
/// # Ok::<_, tower_dcr::policy::ConfigError>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "Changes"))]
#[serde(try_from = "Changes", into = "Changes")]
#[must_use]
pub struct Identities {
    table: Arc<Table>,
}

/// A table as it is written: by what makes it differ from the known one, or from an empty one.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Identities"))]
#[serde(default, deny_unknown_fields)]
struct Changes {
    /// Whether the products are in the table whose clients register everywhere.
    known: bool,
    /// Which table it is; that of the known products has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Identities that are added, or replace one of the same name.
    reserve: Vec<ReservedIdentity>,
    /// Names of known products that everybody may use.
    release: BTreeSet<String>,
}

struct Table {
    /// Began as the known one.
    known: bool,
    version: String,
    identities: Vec<ReservedIdentity>,
    /// By each form of each name, whose it is.
    forms: HashMap<String, Vec<usize>>,
    /// By each host of their own, whose it is.
    links: HashMap<String, Vec<usize>>,
    /// The number of words in the longest name.
    longest: usize,
    /// What names were found to claim: the same few come again and again, and comparing one takes many forms of it.
    seen: Cache<String, Arc<[(usize, Claim)]>>,
}

/// How many names are remembered.
const REMEMBERED: usize = 4096;

/// Longer names are not remembered.
const MAX_REMEMBERED_BYTES: usize = 512;

impl ReservedIdentity {
    /// Reserves `name`, and whatever can be mistaken for it.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Name`] if there is no letter or digit in it.
    pub fn new(name: impl Into<String>) -> Result<Self, ConfigError> {
        let name = name.into().try_into()?;
        Ok(Self {
            name,
            also: Vec::new(),
            https: Vec::new(),
            schemes: BTreeSet::new(),
            relayed: BTreeSet::new(),
            links: BTreeSet::new(),
            domains: BTreeSet::new(),
            mixes: false,
        })
    }

    /// Other names of the same.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Name`] as for [`new`](Self::new).
    pub fn also_called<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Result<Self, ConfigError> {
        for name in names {
            self.also.push(name.into().try_into()?);
        }
        Ok(self)
    }

    /// The `https` redirect URIs that prove it, as [`RedirectPattern`] reads them.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Pattern`] for what is no such pattern, or not one of `https`.
    pub fn with_https<S: AsRef<str>>(mut self, patterns: impl IntoIterator<Item = S>) -> Result<Self, ConfigError> {
        for pattern in patterns {
            self.https.push(pattern.as_ref().to_owned().try_into()?);
        }
        Ok(self)
    }

    /// A private-use scheme that proves it.
    ///
    /// # Errors
    ///
    /// [`ConfigError::DangerousScheme`] for `javascript` and its kin, [`ConfigError::Scheme`] for what is no scheme.
    pub fn with_scheme(mut self, scheme: impl Into<String>) -> Result<Self, ConfigError> {
        self.schemes.insert(scheme.into().try_into()?);
        Ok(self)
    }

    /// A private-use scheme of its own whose links it hands on to extensions that others have made, as editors do: it
    /// proves nothing for it, and everything against anybody else.
    ///
    /// # Errors
    ///
    /// As for [`with_scheme`](Self::with_scheme).
    pub fn with_relayed_scheme(mut self, scheme: impl Into<String>) -> Result<Self, ConfigError> {
        self.relayed.insert(scheme.into().try_into()?);
        Ok(self)
    }

    /// A host that is about nothing else: links to it or below it (`client_uri`, `logo_uri`, …) claim the identity. Not one
    /// that has a marketplace or pages of others on it, to which they may link.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Host`] for what is no public DNS name in lower case.
    pub fn with_link_host(mut self, host: impl Into<String>) -> Result<Self, ConfigError> {
        self.links.insert(host.into().try_into()?);
        Ok(self)
    }

    /// A domain of its own: redirects to a host below it that is not listed neither prove nor disprove the identity. Tables
    /// go stale, and a refusal is a failed sign-in.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Host`] as for [`with_link_host`](Self::with_link_host).
    pub fn with_domain(mut self, domain: impl Into<String>) -> Result<Self, ConfigError> {
        self.domains.insert(domain.into().try_into()?);
        Ok(self)
    }

    /// Its clients send `https` and loopback redirects in one registration, as editors do that run in a browser and on a
    /// desktop. Such a list is then unverified. Without this it counts as contradicted: beside a vendor's redirect URI,
    /// whose name is to be borrowed, stands the one that the code will really go to.
    pub fn mixing_redirects(mut self) -> Self {
        self.mixes = true;
        self
    }

    fn known(row: &Known) -> Result<Self, ConfigError> {
        let mut identity = Self::new(row.name)?.also_called(row.also.iter().copied())?.with_https(row.https)?;
        for scheme in row.schemes {
            identity = identity.with_scheme(*scheme)?;
        }
        for scheme in row.relayed {
            identity = identity.with_relayed_scheme(*scheme)?;
        }
        for domain in row.domains {
            identity = identity.with_domain(*domain)?;
        }
        for host in row.links {
            identity = identity.with_link_host(*host)?;
        }
        Ok(if row.mixes { identity.mixing_redirects() } else { identity })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name).chain(&self.also).map(|name| name.0.as_str())
    }

    /// Whether a host is in a domain of its own.
    fn is_related(&self, host: &str) -> bool {
        self.domains.iter().any(|own| is_within_domain(host, &own.0))
    }
}

impl TryFrom<String> for PublicHost {
    type Error = ConfigError;

    fn try_from(host: String) -> Result<Self, ConfigError> {
        if is_public_dns_name(&host) { Ok(Self(host)) } else { Err(ConfigError::Host { host }) }
    }
}

impl From<PublicHost> for String {
    fn from(host: PublicHost) -> Self {
        host.0
    }
}

impl TryFrom<String> for Comparable {
    type Error = ConfigError;

    fn try_from(name: String) -> Result<Self, ConfigError> {
        if Readings::of(&name).whole().next().is_some() { Ok(Self(name)) } else { Err(ConfigError::Name { name }) }
    }
}

impl From<Comparable> for String {
    fn from(name: Comparable) -> Self {
        name.0
    }
}

impl TryFrom<String> for HttpsPattern {
    type Error = ConfigError;

    fn try_from(pattern: String) -> Result<Self, ConfigError> {
        if !pattern.starts_with("https://") {
            return Err(ConfigError::Pattern { pattern, reason: "does not begin with https://".into() });
        }
        pattern.parse().map(Self)
    }
}

impl From<HttpsPattern> for String {
    fn from(pattern: HttpsPattern) -> Self {
        pattern.0.to_string()
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
        if let Some(name) = changes.release.iter().find(|name| !known.names().any(|known| known == *name)) {
            return Err(ConfigError::UnknownIdentity { name: name.clone() });
        }
        let from = if changes.known { known } else { Self::new("") };
        let stays = |identity: &&ReservedIdentity| !changes.release.contains(&identity.name.0);
        let mut identities: Vec<ReservedIdentity> = from.table.identities.iter().filter(stays).cloned().collect();
        for identity in changes.reserve {
            // As for the builder: of two with one name the later one counts.
            identities.retain(|other| other.name != identity.name);
            identities.push(identity);
        }
        let version = changes.version.unwrap_or_else(|| from.table.version.clone());
        Ok(Self::of(changes.known, version, identities))
    }
}

impl From<Identities> for Changes {
    fn from(identities: Identities) -> Self {
        let Table { known, version, identities, .. } = &*identities.table;
        let same = |one: &ReservedIdentity, other: &ReservedIdentity| {
            serde_json::to_string(one).ok() == serde_json::to_string(other).ok()
        };
        let from = if *known { Identities::known() } else { Identities::new("") };
        let began = &from.table.identities;
        let reserve = identities.iter().filter(|identity| !began.iter().any(|other| same(identity, other)));
        let release = began.iter().filter(|known| !identities.iter().any(|identity| identity.name == known.name));
        Self {
            known: *known,
            version: Some(version.clone()).filter(|version| *version != from.table.version),
            reserve: reserve.cloned().collect(),
            release: release.map(|identity| identity.name.0.clone()).collect(),
        }
    }
}

/// The host of a link on which no two readers can differ: nothing but letters, digits, dots and hyphens up to a slash.
fn plain_host(link: &str) -> Option<&str> {
    let rest = link.strip_prefix("https://")?;
    let host = rest.split('/').next().filter(|host| !host.ends_with('.'))?;
    let is_plain = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
    (!host.is_empty() && host.bytes().all(is_plain)).then_some(host)
}

/// What one redirect URI says about a claim.
enum Evidence {
    For(String),
    /// On another host of its own domain.
    Near,
    Neither,
    Against,
}

impl Identities {
    /// An empty table; `version` is the operator's own, and goes into the fingerprint of the policy.
    pub fn new(version: impl Into<String>) -> Self {
        Self::of(false, version.into(), Vec::new())
    }

    /// The products whose clients register with every MCP server, as of [`IDENTITIES_VERSION`].
    pub fn known() -> Self {
        static TABLE: LazyLock<Identities> = LazyLock::new(|| {
            // A unit test shows that each row can be read.
            let rows = KNOWN.iter().filter_map(|row| ReservedIdentity::known(row).ok());
            Identities::of(true, IDENTITIES_VERSION.to_owned(), rows.collect())
        });
        TABLE.clone()
    }

    /// Reserves an identity; one of the same name is replaced.
    pub fn reserve(self, identity: ReservedIdentity) -> Self {
        let mut identities = self.table.identities.clone();
        identities.retain(|other| other.name != identity.name);
        identities.push(identity);
        Self::of(self.table.known, self.table.version.clone(), identities)
    }

    /// Lets everybody use the names of an identity.
    pub fn release(self, name: &str) -> Self {
        let mut identities = self.table.identities.clone();
        identities.retain(|other| other.name.0 != name);
        Self::of(self.table.known, self.table.version.clone(), identities)
    }

    fn of(known: bool, version: String, identities: Vec<ReservedIdentity>) -> Self {
        let mut forms: HashMap<String, Vec<usize>> = HashMap::new();
        let mut links: HashMap<String, Vec<usize>> = HashMap::new();
        let mut longest = 0;
        for (index, identity) in identities.iter().enumerate() {
            for host in &identity.links {
                links.entry(host.0.clone()).or_default().push(index);
            }
            for name in identity.names() {
                let readings = Readings::of(name);
                longest = longest.max(readings.count_words());
                for form in readings.whole() {
                    let owners = forms.entry(form).or_default();
                    if !owners.contains(&index) {
                        owners.push(index);
                    }
                }
            }
        }
        Self {
            table: Arc::new(Table { known, version, identities, forms, links, longest, seen: Cache::new(REMEMBERED) }),
        }
    }

    /// Which table it is.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.table.version
    }

    /// The names of the identities, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.table.identities.iter().map(|identity| identity.name.0.as_str())
    }

    /// Who a registration claims to be, and what its redirect URIs say to that.
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
        // A name, or a link that is shown, must not be another's. Who merely has another's name among their words is who
        // the redirect URIs say.
        first(&|verdict| verdict.standing() == Standing::Contradicted && verdict.claim() != Some(Claim::Mention))
            .or_else(|| first(&|verdict| verdict.standing() == Standing::Verified))
            .or_else(|| first(&|verdict| verdict.standing() == Standing::Contradicted))
            .or_else(|| verdicts.iter().min_by_key(|verdict| verdict.claim()).cloned())
            .unwrap_or_default()
    }

    /// The identities that are claimed, the strongest claims first.
    fn claims(&self, registration: &Registration) -> BTreeSet<(usize, Claim)> {
        let mut claims = BTreeSet::new();
        for member in registration.entries() {
            let Value::String(text) = member.value() else { continue };
            match member.kind().base() {
                Some(Field::CLIENT_NAME) => claims.extend(self.table.claims_of_name(text).iter().copied()),
                Some(Field::CLIENT_URI | Field::LOGO_URI | Field::TOS_URI | Field::POLICY_URI) => {
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
        let readings = Readings::of(name);
        let owners = |form: &str| self.forms.get(form).into_iter().flatten().copied();
        let mut claims = BTreeSet::new();
        for form in readings.whole() {
            claims.extend(owners(&form).map(|index| (index, Claim::Name)));
        }
        for phrase in readings.phrases(self.longest) {
            claims.extend(owners(phrase).map(|index| (index, Claim::Mention)));
        }
        claims.into_iter().collect()
    }

    fn owners_of_link(&self, link: &str) -> impl Iterator<Item = usize> {
        let owners = plain_host(link).map_or_else(
            || {
                // As a browser reads it, which will follow what nobody else would.
                let url = url::Url::parse(link).ok();
                let host = url.as_ref().and_then(url::Url::host_str);
                host.and_then(|host| self.owners_of_host(host.trim_end_matches('.')))
            },
            |host| self.owners_of_host(host),
        );
        owners.into_iter().flatten().copied()
    }

    /// Whose host it is, or is below.
    fn owners_of_host(&self, host: &str) -> Option<&Vec<usize>> {
        let parents = host.match_indices('.').filter_map(|(dot, _)| host.get(dot + 1..));
        std::iter::once(host).chain(parents).find_map(|host| self.links.get(host))
    }

    fn judge(&self, index: usize, claim: Option<Claim>, uris: &[&str]) -> Identity {
        let Some(identity) = self.identities.get(index) else { return Identity::default() };
        let mut proof = BTreeSet::new();
        let (mut proven, mut near, mut neither, mut against) = (0, 0, 0, 0);
        for uri in uris {
            match self.evidence(identity, uri) {
                Evidence::For(place) => {
                    proven += 1;
                    proof.insert(place);
                }
                Evidence::Near => near += 1,
                Evidence::Neither => neither += 1,
                Evidence::Against => against += 1,
            }
        }
        let is_host = |place: &String| !place.ends_with(':');
        let borrowed = neither > 0 && !identity.mixes && (near > 0 || proof.iter().any(is_host));
        // A name among other words is little, and so is a scheme: any application can take it.
        let counts = claim != Some(Claim::Mention) || proof.iter().all(is_host);
        let standing = match () {
            () if against > 0 || borrowed => Standing::Contradicted,
            () if proven > 0 && near == 0 && neither == 0 && counts => Standing::Verified,
            () => Standing::Unverified,
        };
        let proof = if standing == Standing::Verified { proof.into_iter().collect() } else { Vec::new() };
        Identity::new(standing, &identity.name.0, claim, proof)
    }

    fn evidence(&self, identity: &ReservedIdentity, uri: &str) -> Evidence {
        let Ok(uri) = RedirectUri::parse(uri) else { return Evidence::Against };
        let host = uri.host().unwrap_or_default();
        match uri.class() {
            RedirectClass::Https if identity.https.iter().any(|own| own.0.matches(&uri)) => {
                Evidence::For(host.to_owned())
            }
            RedirectClass::Https if identity.is_related(host) => Evidence::Near,
            RedirectClass::Loopback => Evidence::Neither,
            RedirectClass::PrivateUse if identity.schemes.contains(uri.scheme()) => {
                Evidence::For(format!("{}:", uri.scheme()))
            }
            RedirectClass::PrivateUse if identity.relayed.contains(uri.scheme()) => Evidence::Neither,
            RedirectClass::PrivateUse if !self.is_owned_scheme(uri.scheme()) => Evidence::Neither,
            RedirectClass::Https | RedirectClass::PlainHttp | RedirectClass::PrivateUse => Evidence::Against,
        }
    }

    fn is_owned_scheme(&self, scheme: &str) -> bool {
        let owns = |identity: &ReservedIdentity| identity.schemes.contains(scheme) || identity.relayed.contains(scheme);
        self.identities.iter().any(owns)
    }

    /// Whose all of these `https` redirect URIs are, of a client that claims nothing.
    fn owner(&self, registration: &Registration) -> Option<Identity> {
        let first = registration.redirect_uris().next().filter(|uri| uri.starts_with("https:"))?;
        let first = RedirectUri::parse(first).ok()?;
        let owns = |identity: &ReservedIdentity| identity.https.iter().any(|own| own.0.matches(&first));
        let index = self.identities.iter().position(owns)?;
        let uris: Vec<&str> = registration.redirect_uris().collect();
        let verdict = self.judge(index, None, &uris);
        let hosts_only = verdict.proof().iter().all(|place| !place.ends_with(':'));
        Some(verdict).filter(|verdict| verdict.standing() == Standing::Verified && hosts_only)
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Table { version, identities, .. } = &*self.table;
        f.debug_struct("Identities").field("version", version).field("identities", identities).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_row_is_in_the_table() {
        let rows: Vec<ReservedIdentity> = KNOWN.iter().map(|row| ReservedIdentity::known(row).unwrap()).collect();
        assert_eq!(Identities::known().names().count(), rows.len());
        let distinct: BTreeSet<&str> = rows.iter().map(|row| row.name.0.as_str()).collect();
        assert_eq!(distinct.len(), rows.len(), "each name once");
    }

    fn identify(json: &str) -> Identity {
        Identities::known().identify(&Registration::parse(json.as_bytes()).unwrap())
    }

    #[test]
    fn every_redirect_uri_has_to_prove_the_claim() {
        use Standing::{Contradicted, Unclaimed, Unverified, Verified};
        let rows = [
            ("Claude", &["https://claude.ai/cb"][..], Verified, "its own host"),
            ("Claude", &["https://claude.ai/cb", "https://claude.com/cb"], Verified, "its own hosts"),
            ("Claude", &["https://claude.ai/cb", "https://evil.example.com/cb"], Contradicted, "one of the list"),
            ("Claude", &["https://claude.ai.evil.com/cb"], Contradicted, "prefix of a host"),
            ("Claude", &["https://evilclaude.ai/cb"], Contradicted, "suffix of a host"),
            ("Claude", &["https://evil.com/claude.ai/cb"], Contradicted, "in a path"),
            ("Claude", &["https://user-content.claude.ai/cb"], Unverified, "another host of its domain"),
            ("Claude", &["https://claude.ai:8443/cb"], Unverified, "another port of the host"),
            ("Claude", &["http://localhost:9999/cb"], Unverified, "any program on the computer"),
            ("Claude", &["http://localhost:9999/cb", "https://claude.ai/cb"], Contradicted, "borrowed proof"),
            ("Claude", &["com.example.app:/cb"], Unverified, "a scheme that is nobody's"),
            ("Claude", &["claude://cb"], Verified, "its own scheme"),
            ("Cursor", &["vscode://x/cb"], Contradicted, "another's scheme"),
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
            ("Notes", &["https://claude.ai/cb"], Verified, "whatever its name, the code goes to Claude"),
            ("Notes", &["https://claude.ai/cb", "https://evil.com/cb"], Unclaimed, "no badge by one of the list"),
            ("Notes", &["vscode://publisher.notes/cb"], Unclaimed, "an extension is not the editor"),
            ("Claude Monet Gallery", &["https://monet.example.com/cb"], Contradicted, "a mention"),
            ("MCPJam Claude readiness probe", &["https://claude.ai/cb"], Verified, "a mention, and proof"),
        ];
        for (name, uris, standing, reason) in rows {
            let verdict = identify(&serde_json::json!({"client_name": name, "redirect_uris": uris}).to_string());
            assert_eq!(verdict.standing(), standing, "{name} {uris:?}: {reason}");
        }
    }

    #[test]
    fn tags_and_links_are_claims_too() {
        let tagged =
            r#"{"client_name":"Notes","client_name#ja":"Claude","redirect_uris":["https://app.example.com/cb"]}"#;
        assert_eq!(identify(tagged).claim(), Some(Claim::Name));
        for link in
            ["https://claude.ai", "https://CLAUDE.ai./x", "https://cdn.claude.ai/favicon.ico", "https:\\\\claude.ai"]
        {
            let json = serde_json::json!({"client_name": "Notes", "logo_uri": link, "redirect_uris": ["https://app.example.com/cb"]});
            assert_eq!(identify(&json.to_string()).claim(), Some(Claim::Link), "{link}");
        }
        for link in ["https://notclaude.ai", "https://claude.ai.example.com", "nonsense"] {
            let json = serde_json::json!({"logo_uri": link, "redirect_uris": ["https://app.example.com/cb"]});
            assert_eq!(identify(&json.to_string()), Identity::default(), "{link}");
        }
    }
}
