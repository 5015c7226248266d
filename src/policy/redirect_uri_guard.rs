//! Which redirect URIs a client may register.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::native_schemes::NATIVE_SCHEMES;
use super::private_use_scheme::PrivateUseScheme;
use super::{ConfigError, Excess, Policy, RedirectPattern, Submission, describe_as_json, nonzero};
use crate::redirect_uri::{RedirectClass, RedirectUri, is_public_dns_name};
use crate::registration::Field;
use crate::rejection::{ErrorCode, Rejection};

/// Judges every entry of `redirect_uris` and forwards those that pass byte for byte.
///
/// An entry passes when it is a strict [`RedirectUri`] and one of
///
/// 1. `https` to a public DNS name on an allowed port ([`with_https_ports`](Self::with_https_ports); 443 by default),
///    unless [`only_https`](Self::only_https) names the places;
/// 2. `http` to an allowed loopback host on any port (RFC 8252 section 7.3);
/// 3. a private-use scheme that is listed, or, unless that is switched off, one in reverse domain name notation
///    (RFC 8252 section 7.1);
/// 4. what a [pattern](Self::add_pattern) of the operator's matches.
///
/// One entry that is malformed, ambiguous or dangerous, or plain `http` to another machine, refuses the registration:
/// nobody sends it by accident. One that is well formed and merely not allowed here is dropped while another one
/// remains (Cursor and VS Code send such lists), or refuses the registration after
/// [`refusing_unlisted`](Self::refusing_unlisted); OpenID Connect Dynamic Client Registration section 3.2 wants that.
///
/// ```
/// # use tower_dcr::{Registration, policy::{Policy, Review, Submission}};
/// # fn judge(rule: &impl Policy, body: &str) -> Result<String, String> {
/// #     let mut registration = Registration::parse(body.as_bytes()).unwrap();
/// #     let mut review = Review::registration();
/// #     rule.review(&mut Submission::new(&mut registration, &mut review)).map_err(|refused| refused.description())?;
/// #     Ok(String::from_utf8(registration.canonical_bytes()).unwrap())
/// # }
/// use tower_dcr::policy::RedirectUriGuard;
///
/// let body = r#"{"redirect_uris":["myapp://cb","https://app.example.com/cb"]}"#;
/// assert_eq!(judge(&RedirectUriGuard::mcp(), body)?, r#"{"redirect_uris":["https://app.example.com/cb"]}"#);
/// assert!(judge(&RedirectUriGuard::strict(), body).is_err());
/// let guard = RedirectUriGuard::strict().add_private_use_scheme("myapp").unwrap();
/// assert_eq!(judge(&guard, body)?, body);
/// # Ok::<_, String>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct RedirectUriGuard {
    /// The `https` places that are allowed; without, any public host on an allowed port.
    #[serde(skip_serializing_if = "Option::is_none")]
    only_https: Option<Vec<RedirectPattern>>,
    /// The ports on which `https` is allowed.
    #[serde(rename = "https_ports")]
    ports: BTreeSet<u16>,
    /// Whether the name `localhost` is allowed beside `127.0.0.1` and `[::1]`.
    localhost: bool,
    /// The private-use schemes that are allowed.
    #[serde(rename = "private_use_schemes")]
    schemes: BTreeSet<PrivateUseScheme>,
    /// Whether unlisted private-use schemes in reverse domain name notation are allowed.
    #[serde(rename = "reverse_domain_schemes")]
    reverse_domain: bool,
    /// What is allowed besides, whatever the other settings say.
    patterns: Vec<RedirectPattern>,
    /// The classes of redirect URIs that are allowed at all.
    classes: Vec<RedirectClass>,
    /// What happens to a list in which one is well formed and not allowed here.
    otherwise: Excess,
    /// How many redirect URIs a client may have.
    max_count: NonZeroUsize,
    /// How many bytes each.
    max_bytes: NonZeroUsize,
}

const FIELD: &str = "redirect_uris";
const RULE: &str = "redirect-uris";

impl RedirectUriGuard {
    /// For MCP clients: any public `https` host, all three loopback hosts, [`NATIVE_SCHEMES`] and reverse domain
    /// names; an entry that is not allowed is dropped.
    pub fn mcp() -> Self {
        Self {
            only_https: None,
            ports: [443].into(),
            localhost: true,
            schemes: NATIVE_SCHEMES.into_iter().filter_map(|scheme| scheme.to_owned().try_into().ok()).collect(),
            reverse_domain: true,
            patterns: Vec::new(),
            classes: vec![RedirectClass::Https, RedirectClass::Loopback, RedirectClass::PrivateUse],
            otherwise: Excess::Narrow,
            max_count: nonzero(10),
            max_bytes: nonzero(2048),
        }
    }

    /// Any public `https` host, the two loopback addresses, no private-use scheme that isn't listed; all or nothing.
    pub fn strict() -> Self {
        Self { localhost: false, reverse_domain: false, ..Self::oauth() }
    }

    /// Any public `https` host, all three loopback hosts, reverse domain names; all or nothing.
    pub fn oauth() -> Self {
        Self { schemes: BTreeSet::new(), otherwise: Excess::Refuse, ..Self::mcp() }
    }

    /// Allows these `https` places and no other.
    pub fn only_https(mut self, patterns: impl IntoIterator<Item = RedirectPattern>) -> Self {
        self.only_https = Some(patterns.into_iter().collect());
        self
    }

    /// Allows no redirect URIs but those of these classes, whatever the other settings say.
    pub fn only_classes(mut self, classes: impl IntoIterator<Item = RedirectClass>) -> Self {
        self.classes = classes.into_iter().collect();
        self
    }

    /// Allows `https` on these ports. A port other than 443 is as a rule a development server or something that was
    /// never meant to face the world.
    pub fn with_https_ports(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.ports = ports.into_iter().collect();
        self
    }

    /// Whether the name `localhost` is allowed beside `127.0.0.1` and `[::1]`. RFC 8252 section 8.3 advises clients
    /// against it, and most clients use it.
    pub fn with_localhost(mut self, allowed: bool) -> Self {
        self.localhost = allowed;
        self
    }

    /// Replaces the listed private-use schemes.
    ///
    /// # Errors
    ///
    /// As for [`add_private_use_scheme`](Self::add_private_use_scheme).
    pub fn with_private_use_schemes<S: Into<String>>(
        mut self,
        schemes: impl IntoIterator<Item = S>,
    ) -> Result<Self, ConfigError> {
        self.schemes.clear();
        schemes.into_iter().try_fold(self, Self::add_private_use_scheme)
    }

    /// Lists one more private-use scheme. The owner of `com.example.app` who is listed has said which scheme is theirs:
    /// `com.example.app.evil` and `com.example` no longer pass as reverse domain names.
    ///
    /// # Errors
    ///
    /// [`ConfigError::DangerousScheme`] for `javascript` and its kin, [`ConfigError::Scheme`] for what is no scheme.
    pub fn add_private_use_scheme(mut self, scheme: impl Into<String>) -> Result<Self, ConfigError> {
        self.schemes.insert(scheme.into().try_into()?);
        Ok(self)
    }

    /// Whether unlisted private-use schemes in reverse domain name notation are allowed.
    pub fn with_reverse_domain_schemes(mut self, allowed: bool) -> Self {
        self.reverse_domain = allowed;
        self
    }

    /// Allows what `pattern` matches, whatever the other settings say, but for what is malformed or dangerous or plain
    /// `http` to another machine. Use it for `https` hosts inside a company's network.
    pub fn add_pattern(mut self, pattern: RedirectPattern) -> Self {
        self.patterns.push(pattern);
        self
    }

    /// Refuses a registration with an entry that is not allowed, instead of dropping the entry.
    pub fn refusing_unlisted(mut self) -> Self {
        self.otherwise = Excess::Refuse;
        self
    }

    /// How many redirect URIs a client may have (10 by default) and how many bytes each (2048 by default).
    ///
    /// # Errors
    ///
    /// [`ConfigError::Zero`] if either is zero.
    pub fn with_limits(mut self, count: usize, bytes: usize) -> Result<Self, ConfigError> {
        let limit = |number| NonZeroUsize::new(number).ok_or(ConfigError::Zero { what: "a limit on redirect URIs" });
        (self.max_count, self.max_bytes) = (limit(count)?, limit(bytes)?);
        Ok(self)
    }

    fn allows(&self, uri: &RedirectUri<'_>) -> bool {
        if !self.classes.contains(&uri.class()) {
            return false;
        }
        let by_class = match uri.class() {
            RedirectClass::Https => self.allows_https(uri),
            RedirectClass::Loopback => self.localhost || uri.host() != Some("localhost"),
            RedirectClass::PrivateUse => self.allows_scheme(uri.scheme()),
            // No pattern either.
            RedirectClass::PlainHttp => return false,
        };
        by_class || self.patterns.iter().any(|pattern| pattern.matches(uri))
    }

    fn allows_https(&self, uri: &RedirectUri<'_>) -> bool {
        match &self.only_https {
            None => self.ports.contains(&uri.port().unwrap_or(443)) && uri.leads_to_public_host(),
            Some(patterns) => patterns.iter().any(|pattern| pattern.matches(uri)),
        }
    }

    fn allows_scheme(&self, scheme: &str) -> bool {
        self.schemes.contains(scheme)
            || (self.reverse_domain
                && is_reverse_domain_name(scheme)
                && !self.schemes.iter().any(|listed| {
                    is_domain_within(scheme, listed.as_str()) || is_domain_within(listed.as_str(), scheme)
                }))
    }

    fn judge(&self, raw: &str) -> Judgement {
        if raw.len() > self.max_bytes.get() {
            return Judgement::Refuse("is too long");
        }
        match RedirectUri::parse(raw) {
            Err(error) => Judgement::Refuse(error.description()),
            Ok(uri) if self.allows(&uri) => Judgement::Allow,
            // RFC 9700 section 2.6: "MUST NOT allow redirect URIs that use the http scheme except for native clients
            // that use loopback interface redirection".
            Ok(uri) if uri.class() == RedirectClass::PlainHttp => {
                Judgement::Refuse("uses http to a host that is not this machine")
            }
            Ok(uri) => Judgement::Unlisted(match uri.class() {
                class if !self.classes.contains(&class) => "is of a kind that is not allowed here",
                RedirectClass::PrivateUse => "uses a scheme that is not allowed here",
                RedirectClass::Loopback => "uses a loopback host that is not allowed here",
                _ => "leads to a host or port that is not allowed here",
            }),
        }
    }
}

enum Judgement {
    Allow,
    /// Well formed, and not allowed here.
    Unlisted(&'static str),
    Refuse(&'static str),
}

impl Default for RedirectUriGuard {
    fn default() -> Self {
        Self::mcp()
    }
}

impl Policy for RedirectUriGuard {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        submission.begin(RULE);
        let refuse = |submission: &Submission<'_>, detail: &'static str| {
            submission.reject(ErrorCode::InvalidRedirectUri, detail).with_field(FIELD)
        };
        let registration = submission.registration();
        let Some(uris) = registration.strings_at(Field::REDIRECT_URIS) else {
            if registration.contains(FIELD) {
                return Err(refuse(submission, "must be an array of strings"));
            }
            // RFC 7591 section 5: redirect-based clients register their redirect URIs. Others have none.
            return if needs_redirect(submission) { Err(refuse(submission, "is required")) } else { Ok(()) };
        };
        if uris.len() == 0 && needs_redirect(submission) {
            return Err(refuse(submission, "must not be empty"));
        }
        if uris.len() > self.max_count.get() {
            return Err(refuse(submission, "has too many entries"));
        }
        let mut allowed = 0;
        let mut unlisted = None;
        for (index, raw) in uris.clone().enumerate() {
            match self.judge(raw) {
                Judgement::Allow => allowed += 1,
                Judgement::Unlisted(detail) if self.otherwise == Excess::Refuse => {
                    return Err(refuse(submission, detail).with_index(index));
                }
                Judgement::Unlisted(detail) => unlisted = unlisted.or(Some((index, detail))),
                Judgement::Refuse(detail) => return Err(refuse(submission, detail).with_index(index)),
            }
        }
        let repeated = uris.clone().enumerate().any(|(at, uri)| uris.clone().take(at).any(|earlier| earlier == uri));
        if let (0, Some((index, detail))) = (allowed, unlisted) {
            return Err(refuse(submission, detail).with_index(index));
        }
        if unlisted.is_some() || repeated {
            let mut seen = BTreeSet::new();
            submission.narrow_strings(FIELD, |raw| {
                matches!(self.judge(raw), Judgement::Allow) && seen.insert(raw.to_owned())
            });
        }
        Ok(())
    }

    fn describe(&self, out: &mut String) {
        describe_as_json(self, out);
    }
}

/// Whether the grant types, after their default, go through the authorization endpoint.
fn needs_redirect(submission: &Submission<'_>) -> bool {
    submission
        .registration()
        .strings_at(Field::GRANT_TYPES)
        .is_none_or(|mut grants| grants.any(|grant| matches!(grant, "authorization_code" | "implicit")))
}

/// RFC 8252 section 7.1: a domain name under the application's control, in reverse order. So the first label is a
/// top-level domain, and there is a second one.
fn is_reverse_domain_name(scheme: &str) -> bool {
    let Some((top_level, rest)) = scheme.split_once('.') else { return false };
    let reversed: Vec<&str> = scheme.rsplit('.').collect();
    top_level.len() > 1
        && !rest.is_empty()
        && top_level.bytes().all(|byte| byte.is_ascii_lowercase())
        && is_public_dns_name(&reversed.join("."))
}

/// Whether `inner` is `outer` with more labels behind it.
fn is_domain_within(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'))
}
