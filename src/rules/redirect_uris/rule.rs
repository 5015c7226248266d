//! The rule over redirect URIs.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::redirect_uri::{RedirectClass, RedirectUri, is_public_dns_name};
use crate::registration::Field;
use crate::rules::action::{self, Action};
use crate::rules::redirect_uris::native_schemes::NATIVE_SCHEMES;
use crate::rules::redirect_uris::private_origin::PrivateOrigin;
use crate::rules::redirect_uris::private_use_scheme::PrivateUseScheme;
use crate::rules::{ConfigError, Draft, RedirectPattern, Rule, RuleDocs, documented, nonzero};
use crate::rules::{ErrorCode, Rejection};

/// Checks every entry of `redirect_uris` and forwards accepted entries byte for byte.
///
/// An entry is accepted if it is a strict [`RedirectUri`] and one of
///
/// 1. `https` to a public web site on an allowed port ([`https_ports`](Self::https_ports); 443 by default),
///    unless [`only_https`](Self::only_https) lists the places. Names outside the public top-level domains, public
///    suffixes, and names that resolve to a private address are not public web sites;
/// 2. `http` to an allowed loopback host on any port (RFC 8252 section 7.3);
/// 3. a private-use scheme that is listed, or, unless that is disabled, one in reverse domain name notation (RFC 8252
///    section 7.1), or any if [`unlisted_schemes`](Self::unlisted_schemes) are marked;
/// 4. a match of one of the operator's [patterns](Self::patterns);
/// 5. at one of the operator's [private origins](Self::with_danger_private_origins), `http` included.
///
/// An entry that is malformed, ambiguous or dangerous, or plain `http` to another machine, rejects the registration:
/// no client sends it by accident. A link that makes a known application install, clone, open or run something
/// is dangerous under any setting. An entry that is well
/// formed but not allowed is dropped while another one remains (Cursor and VS Code send such lists). With
/// [`Action::Reject`](Self::otherwise) it rejects the registration, as OpenID Connect Dynamic Client
/// Registration section 3.2 wants, and duplicates stay in the list.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{Context, Decision, Policy, RedirectUris};
///
/// let registration = Registration::parse(br#"{"redirect_uris":["myapp://cb","https://app.example.com/cb"]}"#)?;
/// let evaluation = Policy::new(RedirectUris::mcp()).evaluate(registration.clone(), &Context::registration());
/// assert!(evaluation.registration.unwrap().redirect_uris().eq(["https://app.example.com/cb"]));
/// let evaluation = Policy::new(RedirectUris::strict()).evaluate(registration, &Context::registration());
/// assert_eq!(evaluation.decision(), Decision::Reject);
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RedirectUris {
    /// The `https` places that are allowed. Without the setting, any public host on an allowed port. A regular
    /// expression begins with `regex: `, like `"regex: https://[a-z]+\\.example\\.com/cb"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_https: Option<Vec<RedirectPattern>>,
    /// The ports on which `https` is allowed. Others than 443 are mostly development servers and internal services.
    pub https_ports: BTreeSet<u16>,
    /// Allows the name `localhost` in addition to `127.0.0.1` and `[::1]`. RFC 8252 section 8.3 advises clients against it, but
    /// most clients use it.
    pub localhost: bool,
    /// The private-use schemes that are allowed.
    private_use_schemes: BTreeSet<PrivateUseScheme>,
    /// Allows unlisted private-use schemes in reverse domain name notation.
    pub reverse_domain_schemes: bool,
    /// Action on a private-use scheme that neither setting allows: `reject`, or `mark`, which allows every scheme except the
    /// dangerous ones and flags the registration. New desktop applications then sign in without a change of the policy, and so
    /// does any program that registers a scheme.
    #[serde(
        deserialize_with = "action::one::<_, action::MarkOrReject>",
        serialize_with = "action::write_one::<_, action::MarkOrReject>"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "action::OneOf<action::MarkOrReject>"))]
    pub unlisted_schemes: Action,
    /// Redirect URIs that are allowed regardless of the other settings, except malformed or dangerous ones and plain `http` to
    /// another machine: `https` hosts inside a company's network. A regular expression begins with `regex: `, like `"regex:
    /// https://[a-z]+\\.example\\.com/cb"`.
    pub patterns: Vec<RedirectPattern>,
    /// The origins of single hosts in a private network whose redirect URIs are allowed: `http://n8n.lan:5678`,
    /// `https://192.168.1.20`. Everybody who listens in that network reads the codes of `http`, and an address is of
    /// any machine that takes it: RFC 9700 section 2.6 forbids `http`. Scheme, host and port have to be equal. No public
    /// host is accepted here.
    danger_private_origins: BTreeSet<PrivateOrigin>,
    /// The only classes of redirect URIs that are allowed.
    pub classes: Vec<RedirectClass>,
    /// Action on a list with an entry that is well formed but not allowed: `narrow` the list while something remains, or
    /// `reject`.
    #[serde(
        deserialize_with = "action::one::<_, action::NarrowOrReject>",
        serialize_with = "action::write_one::<_, action::NarrowOrReject>"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "action::OneOf<action::NarrowOrReject>"))]
    pub otherwise: Action,
    /// Maximum number of redirect URIs of a client; 1,000 at most.
    #[serde(deserialize_with = "bounds::number::<_, _, 1, 1000>")]
    max_count: NonZeroUsize,
    /// Maximum number of bytes of each; 16 KiB at most.
    #[serde(deserialize_with = "bounds::number::<_, _, 1, 16_384>")]
    max_bytes: NonZeroUsize,
}

const FIELD: &str = Field::REDIRECT_URIS.name();

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "redirect-uris",
    protects: "Authorization codes from reaching an attacker.",
    reference: "RFC 8252 sections 7 and 8.4; RFC 9700 sections 2.1 and 4.1; RFC 7591 section 5",
    attack: "{\"redirect_uris\":[\"javascript:alert(document.cookie)\"]}",
    loosen: "redirect_uris.add_private_use_schemes = [\"com.example.app\"]; redirect_uris.add_patterns = \
             [\"https://intranet.example/cb\"]; redirect_uris.unlisted_schemes = \"mark\"; \
             redirect_uris.danger_private_origins = [\"http://nas:5678\"]; redirect_uris.max_count = 20; \
             redirect_uris.max_bytes = 4096; redirect_uris.otherwise = \"narrow\"; \
             lifecycle.hold = [\"redirect-uris\"], for an operator to decide",
    opens: "Codes to any program that takes that scheme on a person's computer, or to that host. What is dangerous or has \
            two readings stays rejected.",
    replayable: true,
};

impl RedirectUris {
    /// Creates the rule for MCP clients: any public `https` host, all three loopback hosts, the schemes of known
    /// applications, and reverse domain names. An entry that is not allowed is dropped.
    #[must_use]
    pub fn mcp() -> Self {
        Self {
            only_https: None,
            https_ports: [443].into(),
            localhost: true,
            private_use_schemes: NATIVE_SCHEMES.into_iter().filter_map(|scheme| scheme.parse().ok()).collect(),
            reverse_domain_schemes: true,
            unlisted_schemes: Action::Reject,
            patterns: Vec::new(),
            danger_private_origins: BTreeSet::new(),
            classes: vec![RedirectClass::Https, RedirectClass::Loopback, RedirectClass::PrivateUse],
            otherwise: Action::Narrow,
            max_count: nonzero(10),
            max_bytes: nonzero(2048),
        }
    }

    /// Creates the rule for any public `https` host, the two loopback addresses, and listed private-use schemes. An
    /// entry that is not allowed rejects the registration.
    #[must_use]
    pub fn strict() -> Self {
        Self { localhost: false, reverse_domain_schemes: false, ..Self::oauth() }
    }

    /// Creates the rule for any public `https` host, all three loopback hosts, and reverse domain names. An entry that
    /// is not allowed rejects the registration.
    #[must_use]
    pub fn oauth() -> Self {
        Self { private_use_schemes: BTreeSet::new(), otherwise: Action::Reject, ..Self::mcp() }
    }

    /// Replaces the listed private-use schemes.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`add_private_use_scheme`](Self::add_private_use_scheme).
    pub fn with_private_use_schemes<S: Into<String>>(
        mut self,
        schemes: impl IntoIterator<Item = S>,
    ) -> Result<Self, ConfigError> {
        self.private_use_schemes.clear();
        schemes.into_iter().try_fold(self, Self::add_private_use_scheme)
    }

    /// Lists one more private-use scheme. If `com.example.app` is listed, `com.example.app.evil` and `com.example` are
    /// no longer accepted as reverse domain names: the owner's scheme is known.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::DangerousScheme`] for `javascript` and similar schemes, and [`ConfigError::Scheme`] if
    /// the text is not a scheme.
    pub fn add_private_use_scheme(mut self, scheme: impl Into<String>) -> Result<Self, ConfigError> {
        self.private_use_schemes.insert(scheme.into().parse()?);
        Ok(self)
    }

    /// Lists the origins of hosts in a private network (`http://n8n.lan:5678`, `https://192.168.1.20`) whose redirect URIs
    /// are allowed, regardless of the other settings. Each registration with one is flagged. Codes sent by `http` can be read
    /// by every host in that network, and another host that gets the address gets the codes. Scheme, host and port have to
    /// be equal; there are no wildcards.
    ///
    /// ```
    /// use tower_dcr::rules::RedirectUris;
    ///
    /// assert!(RedirectUris::mcp().with_danger_private_origins(["http://n8n.lan:5678", "https://192.168.1.20"]).is_ok());
    /// let error = RedirectUris::mcp().with_danger_private_origins(["http://app.example.com"]).unwrap_err();
    /// assert!(error.to_string().contains("http to a public host"));
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Pattern`] if one is no origin, or that of a public host or of this machine.
    pub fn with_danger_private_origins<S: AsRef<str>>(
        mut self,
        origins: impl IntoIterator<Item = S>,
    ) -> Result<Self, ConfigError> {
        let read: Result<_, _> = origins.into_iter().map(|origin| origin.as_ref().parse()).collect();
        self.danger_private_origins = read?;
        Ok(self)
    }

    /// Sets the maximum number of redirect URIs of a client (default: 10) and of bytes of each (default: 2048).
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::OutOfRange`] if either is zero, for more than 1,000 URIs, and for more than 16 KiB.
    pub fn with_limits(mut self, count: usize, bytes: usize) -> Result<Self, ConfigError> {
        self.max_count = nonzero(ConfigError::check("the number of redirect URIs", count, &1, &1000)?);
        self.max_bytes = nonzero(ConfigError::check("the length of a redirect URI", bytes, &1, &(16 * 1024))?);
        Ok(self)
    }

    /// Allows at least `count` redirect URIs.
    pub(crate) fn raise_max_count(&mut self, count: usize) {
        self.max_count = self.max_count.max(nonzero(count));
    }

    /// Returns the private-use schemes that are listed.
    pub(crate) fn listed_schemes(&self) -> impl Iterator<Item = String> {
        self.private_use_schemes.iter().map(|scheme| scheme.as_str().to_owned())
    }

    /// Checks that an entry is allowed.
    fn check(&self, uri: &RedirectUri<'_>) -> Result<(), Fault> {
        if !self.classes.contains(&uri.class()) {
            return Err(Fault::unlisted(uri, "is of a kind that is not allowed here"));
        }
        let by_class = match uri.class() {
            RedirectClass::Https => self.check_https(uri),
            RedirectClass::Loopback if self.localhost || uri.host() != Some("localhost") => Ok(()),
            RedirectClass::Loopback => Err(Fault::unlisted(uri, "uses a loopback host that is not allowed here")),
            RedirectClass::PrivateUse if self.allows_scheme(uri.scheme()) => Ok(()),
            RedirectClass::PrivateUse => Err(Fault::unlisted(uri, "uses a scheme that is not allowed here")),
            // No pattern allows it either.
            RedirectClass::PlainHttp => {
                return Err(Fault::unlisted(uri, "uses http to a host that is not this machine"));
            }
        };
        by_class.or_else(|why| if self.patterns.iter().any(|pattern| pattern.matches(uri)) { Ok(()) } else { Err(why) })
    }

    fn check_https(&self, uri: &RedirectUri<'_>) -> Result<(), Fault> {
        match &self.only_https {
            Some(patterns) if patterns.iter().any(|pattern| pattern.matches(uri)) => Ok(()),
            Some(_) => Err(Fault::unlisted(uri, "leads to a place that is not listed here")),
            None if !self.https_ports.contains(&uri.port().unwrap_or(443)) => {
                Err(Fault::unlisted(uri, "leads to a port that is not allowed here"))
            }
            None => uri.check_public_host().map_err(|why| Fault { detail: why.description(), is_of_policy: false }),
        }
    }

    fn allows_scheme(&self, scheme: &str) -> bool {
        self.private_use_schemes.contains(scheme)
            || (self.reverse_domain_schemes && is_reverse_domain_name(scheme) && !self.resembles_listed_scheme(scheme))
    }

    /// Returns `true` if a scheme extends a listed one or is extended by it: the owner's schemes are known.
    fn resembles_listed_scheme(&self, scheme: &str) -> bool {
        let resembles = |listed: &str| is_domain_within(scheme, listed) || is_domain_within(listed, scheme);
        self.private_use_schemes.iter().any(|listed| resembles(listed.as_str()))
    }

    fn is_at_private_origin(&self, raw: &str) -> bool {
        !self.danger_private_origins.is_empty()
            && RedirectUri::parse_with_address(raw)
                .is_ok_and(|uri| self.danger_private_origins.iter().any(|origin| origin.has(&uri)))
    }

    fn judge(&self, raw: &str) -> Judgement {
        if raw.len() > self.max_bytes.get() {
            let detail = format!("has {} bytes, and at most {} are allowed", raw.len(), self.max_bytes);
            return Judgement::Reject(detail.into());
        }
        if self.is_at_private_origin(raw) {
            return Judgement::Mark;
        }
        let uri = match RedirectUri::parse(raw) {
            Ok(uri) => uri,
            Err(error) => return Judgement::Reject(error.description().into()),
        };
        let is_marked = self.unlisted_schemes == Action::Mark
            && uri.class() == RedirectClass::PrivateUse
            && !self.resembles_listed_scheme(uri.scheme());
        match self.check(&uri) {
            Ok(()) => Judgement::Allow,
            // RFC 9700 section 2.6: "MUST NOT allow redirect URIs that use the http scheme except for native clients
            // that use loopback interface redirection".
            Err(_) if uri.class() == RedirectClass::PlainHttp => {
                Judgement::Reject("uses http to a host that is not this machine".into())
            }
            Err(_) if is_marked && self.classes.contains(&uri.class()) => Judgement::Mark,
            Err(why) => Judgement::Unlisted(why),
        }
    }
}

/// The reason for which a well-formed entry is not allowed.
struct Fault {
    detail: &'static str,
    /// `true` if nothing is wrong but that the policy does not list it, so that an operator may admit it.
    is_of_policy: bool,
}

impl Fault {
    fn unlisted(uri: &RedirectUri<'_>, detail: &'static str) -> Self {
        let is_of_policy = match uri.class() {
            RedirectClass::Https => uri.leads_to_public_host(),
            RedirectClass::Loopback | RedirectClass::PrivateUse => true,
            RedirectClass::PlainHttp => false,
        };
        Self { detail, is_of_policy }
    }
}

enum Judgement {
    Allow,
    /// Allowed, with a finding.
    Mark,
    /// Well formed, but not allowed.
    Unlisted(Fault),
    Reject(Cow<'static, str>),
}

impl Default for RedirectUris {
    fn default() -> Self {
        Self::mcp()
    }
}

impl Rule for RedirectUris {
    documented!(DOCS);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        let registration = draft.registration();
        let Some(uris) = registration.strings_at(Field::REDIRECT_URIS) else {
            if registration.contains(FIELD) {
                return Err(reject(draft, "must be an array of strings"));
            }
            // RFC 7591 section 5: redirect-based clients register their redirect URIs. Others have none.
            return if needs_redirect(draft) { Err(reject(draft, "is required")) } else { Ok(()) };
        };
        if uris.len() == 0 && needs_redirect(draft) {
            return Err(reject(draft, "must not be empty"));
        }
        if uris.len() > self.max_count.get() {
            let detail = format!("has {} entries, and at most {} are allowed", uris.len(), self.max_count);
            return Err(reject(draft, detail));
        }
        let (mut allowed, mut marked, mut may_be_held) = (0, false, true);
        let mut unlisted = None;
        for (index, raw) in uris.clone().enumerate() {
            match self.judge(raw) {
                Judgement::Allow => allowed += 1,
                Judgement::Mark => (allowed, marked) = (allowed + 1, true),
                Judgement::Unlisted(fault) => {
                    unlisted = unlisted.or(Some((index, fault.detail)));
                    may_be_held &= fault.is_of_policy;
                }
                Judgement::Reject(detail) => return Err(reject(draft, detail).with_index(index)),
            }
        }
        // OpenID Connect Dynamic Client Registration section 3.2 excepts redirect_uris from the values that a server may
        // replace: a rule that takes nothing out keeps duplicates as well.
        let repeated = self.otherwise == Action::Narrow
            && uris.clone().enumerate().any(|(at, uri)| uris.clone().take(at).any(|earlier| earlier == uri));
        if let Some((index, detail)) = unlisted.filter(|_| allowed == 0 || self.otherwise != Action::Narrow) {
            // Held, all of them would be registered.
            return Err(reject(draft, detail).with_index(index).holdable(may_be_held));
        }
        if unlisted.is_some() || repeated {
            let mut seen = BTreeSet::new();
            draft.narrow_strings(FIELD, |raw| {
                matches!(self.judge(raw), Judgement::Allow | Judgement::Mark) && seen.insert(raw.to_owned())
            });
        }
        if marked {
            draft.flag(FIELD);
        }
        Ok(())
    }
}

fn reject(draft: &Draft<'_>, detail: impl Into<Cow<'static, str>>) -> Rejection {
    draft.reject(ErrorCode::InvalidRedirectUri, detail).with_field(FIELD)
}

/// Returns `true` if the grant types, after their default, use the authorization endpoint.
fn needs_redirect(draft: &Draft<'_>) -> bool {
    draft
        .registration()
        .strings_at(Field::GRANT_TYPES)
        .is_none_or(|mut grants| grants.any(|grant| matches!(grant, "authorization_code" | "implicit")))
}

/// Returns `true` for a domain name under the application's control, in reverse order (RFC 8252 section 7.1). The first
/// label is a top-level domain, and there is a second one.
fn is_reverse_domain_name(scheme: &str) -> bool {
    let Some((top_level, rest)) = scheme.split_once('.') else { return false };
    let reversed: Vec<&str> = scheme.rsplit('.').collect();
    top_level.len() > 1
        && !rest.is_empty()
        && top_level.bytes().all(|byte| byte.is_ascii_lowercase())
        && is_public_dns_name(&reversed.join("."))
}

/// Returns `true` if `inner` is `outer` with more labels after it.
fn is_domain_within(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'))
}
