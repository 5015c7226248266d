//! Lints: probable mistakes in a policy.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
#[cfg(feature = "policy-file")]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value as Json;

use super::KnownClient;
use crate::layers::gate::{can_name_issuer, is_resource_of_clients};
use crate::policy_file::key::{Key, RuleSet, Setting, Step};
use crate::preset::Preset;
use crate::rate_limit::Quota;
use crate::redirect_uri::public_suffix;
use crate::registration::{Field, Registration};
use crate::rules::{Condition, Context, NATIVE_SCHEMES, RedirectPattern, Suggestion};

mod documents;
#[cfg(feature = "regex")]
mod expression;
mod members;
mod networks;

use members::Danger;
use networks::Part;

/// A mistake in a policy, or a setting that is probably one.
///
/// ```
/// use tower_dcr::Preset;
/// let preset = tower_dcr::mcp().with_trusted_proxies(["0.0.0.0/0"])?;
/// let lint = preset.lint(None).remove(0);
/// assert_eq!((lint.is_error, &*lint.key), (true, "client_address.trusted_proxies"));
/// # Ok::<_, tower_dcr::rules::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lint {
    /// `true` if the setting lets an attack through, or can't have the effect that it asks for: an error. `false` if it may be
    /// intended: a warning.
    pub is_error: bool,
    /// The setting, such as `redirect_uris.patterns[2]`; empty if the file is not TOML or JSON.
    pub key: String,
    /// The description of the mistake.
    pub message: String,
    /// The suggested correction; `None` if there is none.
    pub suggestion: Option<Suggestion>,
    /// The policy file that the lint is about, which may be that of the [shadow](Preset::with_shadow); `None` if the policy
    /// did not come from a file.
    pub file: Option<PathBuf>,
    /// The whole text of the policy; `None` if the policy did not come from text.
    pub text: Option<Arc<str>>,
    /// The bytes of the text that the lint is about; `None` if the setting is not in it.
    pub span: Option<Range<usize>>,
    /// The line of the text, counted from 1; `None` if the setting is not in it.
    pub line: Option<usize>,
    /// The column in characters, counted from 1; `None` if the setting is not in the text.
    pub column: Option<usize>,
    path: Key,
    /// The element of the setting's list that the lint is about.
    subject: Option<String>,
}

impl Lint {
    pub(super) fn new(is_error: bool, path: Key, message: String, suggestion: Option<Suggestion>) -> Self {
        Self {
            is_error,
            key: path.to_string(),
            path,
            subject: None,
            message,
            suggestion,
            file: None,
            text: None,
            span: None,
            line: None,
            column: None,
        }
    }

    fn said(&self) -> String {
        let suggestion = self.suggestion.as_ref().map(|suggestion| format!("; {suggestion}")).unwrap_or_default();
        format!("{}: {}{suggestion}", self.key, self.message)
    }

    #[cfg(feature = "policy-file")]
    pub(super) fn path(&self) -> &[Step] {
        &self.path.0
    }

    /// Names the setting as the file does.
    #[cfg(feature = "policy-file")]
    pub(super) fn under_key(self, path: Key) -> Self {
        Self { key: path.to_string(), path, ..self }
    }

    #[cfg(feature = "policy-file")]
    pub(super) fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Sets the place in the text of the policy.
    #[cfg(feature = "policy-file")]
    pub(super) fn at(self, file: Option<&Path>, text: &Arc<str>, span: Option<Range<usize>>) -> Self {
        let (line, column) =
            span.clone().map(|span| crate::policy_file::load::line_and_column(text, span.start)).unzip();
        Self { file: file.map(Path::to_path_buf), text: Some(Arc::clone(text)), span, line, column, ..self }
    }
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", if self.is_error { "error" } else { "warning" }, self.said())
    }
}

impl Preset {
    /// Returns probable mistakes in the policy: settings that let an attack through, that break known clients, or that
    /// can't have any effect. The worst comes first.
    #[must_use]
    pub fn lint(&self, today: Option<SystemTime>) -> Vec<Lint> {
        let mut linter = self.settings_lint();
        // Takes longer than all other lints together.
        linter.clients(self);
        linter.found.sort_by_key(|lint| std::cmp::Reverse(lint.is_error));
        linter.found.extend(today.and_then(|today| self.old_rows(today)));
        linter.found
    }

    fn old_rows(&self, today: SystemTime) -> Option<Lint> {
        // The formatter does not write years from 10000 on.
        let today = today.min(SystemTime::UNIX_EPOCH + Duration::from_secs(250_000_000_000));
        let today = humantime::format_rfc3339_seconds(today).to_string();
        let today = today.get(..10)?;
        let identities = &self.settings.policy.otherwise.identity.identities;
        let rows = || identities.checked().filter(|row| row.is_older_than_a_year(today));
        let oldest = rows().min_by_key(|row| row.date)?;
        let message = format!(
            "rows were last compared with their source more than a year ago: {}, the oldest {:?} on {}",
            rows().count(),
            oldest.subject,
            oldest.date
        );
        let suggestion = "use a newer version of tower-dcr; compare rows of your own with their source";
        Some(Lint::new(false, Setting::Identities.into(), message, Some(Suggestion::advice(suggestion))))
    }

    /// Logs settings that let an attack through, can't have an effect, or only report. A preset that enforces nothing
    /// logs that elsewhere.
    pub(crate) fn log_errors(&self) {
        let reported = [
            Setting::AnswerReportOnly,
            Setting::GateReportOnly,
            Setting::LifecycleReportOnly,
            Setting::ReportOnlyRules,
        ];
        let is_reported = |lint: &Lint| reported.iter().any(|setting| lint.path == Key::from(*setting));
        let is_logged = |lint: &&Lint| lint.is_error || is_reported(lint);
        for lint in self.settings_lint().found.iter().filter(is_logged) {
            let said = lint.said();
            if lint.is_error {
                tracing::error!(target: "tower_dcr::setup", "{said}");
            } else {
                tracing::warn!(target: "tower_dcr::setup", "{said}");
            }
        }
    }

    /// Returns the lints of each setting by itself.
    #[cfg(feature = "policy-file")]
    pub(crate) fn lint_settings(&self) -> Vec<Lint> {
        self.settings_lint().found
    }

    fn settings_lint(&self) -> Linter {
        let mut linter = Linter { policy: serde_json::to_value(self).unwrap_or_default(), found: Vec::new() };
        linter.patterns();
        linter.reserved_identities();
        linter.redirect_uris();
        linter.addresses();
        linter.limits();
        linter.times();
        linter.members();
        linter.tokens();
        linter.gate();
        linter.gate_rules();
        linter.gate_values();
        linter.documents();
        linter.metadata();
        linter.callers(&self.conditions());
        linter.dangers();
        linter
    }

    fn conditions(&self) -> Vec<&Condition> {
        self.settings.policy.cases.iter().map(|(condition, _)| condition).collect()
    }
}

struct Linter {
    policy: Json,
    found: Vec<Lint>,
}

/// The suggestion for a scope above the ceiling.
const CEILING: &str = "add it to the ceiling, or take it out";

/// The number of known clients that are named; the rest is counted.
const NAMED: usize = 5;

impl Linter {
    fn note(
        &mut self,
        is_error: bool,
        key: impl Into<Key>,
        subject: Option<&str>,
        message: impl Into<String>,
        suggestion: impl Into<String>,
    ) {
        let suggestion = Suggestion::Advice(Cow::Owned(suggestion.into()));
        let mut lint = Lint::new(is_error, key.into(), message.into(), Some(suggestion));
        lint.subject = subject.map(str::to_owned);
        let is_same = |found: &Lint, path: &[Step]| found.path.0 == path && found.message == lint.message;
        if lint.path.for_everybody().is_some_and(|path| self.found.iter().any(|found| is_same(found, path))) {
            // Callers inherit the mistake from the general rules.
            return;
        }
        self.found.push(lint);
    }

    fn error(&mut self, key: impl Into<Key>, message: impl Into<String>, suggestion: impl Into<String>) {
        self.note(true, key, None, message, suggestion);
    }

    fn warn(&mut self, key: impl Into<Key>, message: impl Into<String>, suggestion: impl Into<String>) {
        self.note(false, key, None, message, suggestion);
    }

    /// Returns the value of a setting; `null` if it is missing.
    fn at(&self, key: impl Into<Key>) -> &Json {
        let found = key.into().0.iter().try_fold(&self.policy, |value, step| match step {
            Step::Element(index) => value.get(index),
            Step::Member(name) => value.get(name),
        });
        found.unwrap_or(&Json::Null)
    }

    fn text(&self, key: impl Into<Key>) -> &str {
        self.at(key).as_str().unwrap_or_default()
    }

    fn texts(&self, key: impl Into<Key>) -> Vec<String> {
        self.at(key).as_array().into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect()
    }

    /// Returns the general rules and those of each caller.
    fn rule_sets(&self) -> Vec<RuleSet> {
        let callers = self.at(Setting::Callers).as_array().map_or(0, Vec::len);
        std::iter::once(RuleSet::Everybody).chain((0..callers).map(RuleSet::Caller)).collect()
    }

    /// Checks every list of redirect URI patterns.
    fn patterns(&mut self) {
        for set in self.rule_sets() {
            for list in [Setting::OnlyHttps, Setting::Patterns, Setting::Exempt] {
                let key = set.key(list);
                for (index, pattern) in self.texts(key.clone()).iter().enumerate() {
                    self.pattern(key.clone().element(index), pattern);
                }
            }
        }
        let identities = self.at(Setting::Reserve).as_array().map_or(0, Vec::len);
        for identity in 0..identities {
            let key = Key::from(Setting::Reserve).element(identity).member("https");
            for (index, pattern) in self.texts(key.clone()).iter().enumerate() {
                self.pattern(key.clone().element(index), pattern);
            }
        }
    }

    /// Checks for reserved identities with overly broad callbacks or with names that many honest clients have.
    fn reserved_identities(&mut self) {
        for set in self.rule_sets() {
            let reserve = set.key(Setting::Reserve);
            for identity in 0..self.at(reserve.clone()).as_array().map_or(0, Vec::len) {
                let key = |name: &str| reserve.clone().element(identity).member(name);
                for (index, pattern) in self.texts(key("https")).iter().enumerate() {
                    let (host, path) =
                        pattern.strip_prefix("https://").and_then(|rest| rest.split_once('/')).unwrap_or_default();
                    let message = match () {
                        () if path == "*" => "every page at the root of the host verifies the identity",
                        () if host.starts_with("*.") => "every host below the domain verifies the identity",
                        () => continue,
                    };
                    let suggestion = "list the callbacks one by one: a page or a relay hands the code on";
                    self.warn(key("https").element(index), message, suggestion);
                }
                let also = self.texts(key("also_called")).into_iter().enumerate();
                let also = also.map(|(index, name)| (key("also_called").element(index), name));
                let name = (key("name"), self.text(key("name")).to_owned());
                let names: Vec<_> = std::iter::once(name).chain(also).collect();
                for (key, name) in names.into_iter().filter(|(_, name)| is_short(name)) {
                    let message = format!("{name:?} has fewer than three letters: many honest names have it in them");
                    self.warn(key, message, "reserve it with more words around it");
                }
            }
        }
    }

    fn pattern(&mut self, key: Key, pattern: &str) {
        #[cfg(feature = "regex")]
        if let Some(expression) = pattern.strip_prefix("regex: ") {
            return self.expression(key, expression);
        }
        if pattern.starts_with("regex:") {
            let message = "this is a redirect URI of the scheme \"regex\", not a regular expression";
            return self.error(key, message, "write \"regex: …\", with a space");
        }
        let host = pattern.split("://").nth(1).unwrap_or_default().split(['/', ':']).next().unwrap_or_default();
        if pattern.starts_with("http://") && !(host == "localhost" || host.starts_with("127.") || host.starts_with('['))
        {
            let message = format!("no effect: http to another machine ({host}) is never allowed");
            let suggestion = "give that host TLS, and write \"https://…\" (RFC 9700 section 2.6); for a host in a private \
                              network, danger_private_origins";
            return self.error(key, message, suggestion);
        }
        let Some(parent) = host.strip_prefix("*.") else { return };
        let suffix = public_suffix(parent).filter(psl::Suffix::is_known);
        if suffix.is_some_and(|suffix| suffix.as_bytes() == parent.as_bytes()) {
            let message = format!("anyone can register a host below {parent}, which is a public suffix");
            self.error(key, message, "list the hosts one by one");
        }
    }

    #[cfg(feature = "regex")]
    fn expression(&mut self, key: Key, expression: &str) {
        use expression::Fault;
        let (message, suggestion) = match expression::fault(expression) {
            None => return,
            Some(Fault::NoEnd) => {
                let message = "the expression has no end: any path and query pass";
                return self.warn(key, message, "name the paths: codes can go to every one of them");
            }
            Some(Fault::TooIntricate) => {
                let message = "the expression has too many alternatives to check where codes can go";
                return self.warn(key, message, "write several patterns");
            }
            Some(Fault::Unanchored) => (
                "the expression is unanchored: an alternative does not begin with a literal scheme",
                "begin each alternative with the scheme and the whole host",
            ),
            Some(Fault::HostNotAnchored) => (
                "the host is not anchored: an expression before the path matches any text",
                "write the host out, or use a pattern: \"https://*.example.com/cb\"",
            ),
            Some(Fault::Dot) => (
                "a dot in the host matches any character: app.example.com also means appXexample.com",
                "write \\\\. in TOML's basic strings, or \\. in literal ones",
            ),
            Some(Fault::OpenDomain) => (
                "the domain is not literal: hosts of others match",
                "put the variable part left of a domain of yours: \"https://*.example.com/cb\"",
            ),
            Some(Fault::PublicSuffix) => (
                "anyone can register a host that matches: its literal part is a public suffix",
                "list the hosts one by one",
            ),
        };
        self.error(key, message, suggestion);
    }

    fn redirect_uris(&mut self) {
        for set in self.rule_sets() {
            let classes = self.texts(set.key(Setting::Classes));
            let allows = |class: &str| classes.iter().any(|allowed| allowed == class);
            if !["https", "loopback", "private_use"].iter().any(|class| allows(class)) {
                let message = "no class of redirect URIs is allowed: every registration is rejected";
                self.error(set.key(Setting::Classes), message, "allow \"https\", \"loopback\" or \"private_use\"");
            }
            if allows("plain_http") {
                let message = "plain_http has no effect: http to another machine is never allowed";
                self.warn(set.key(Setting::Classes), message, "take it out");
            }
            self.private_origins(set);
            let listed = self.at(set.key(Setting::OnlyHttps)).is_array();
            if listed && !allows("https") {
                let message = "only_https has no effect: the class https is not allowed";
                self.error(set.key(Setting::OnlyHttps), message, "add \"https\" to classes, or take the list out");
            }
            if listed && self.texts(set.key(Setting::OnlyHttps)).is_empty() && allows("https") {
                let message = "an empty list allows no https redirect URI";
                self.warn(set.key(Setting::OnlyHttps), message, "list places, or take \"https\" out of classes");
            }
            if listed && *self.at(set.key(Setting::HttpsPorts)) != serde_json::json!([443]) {
                let message = "https_ports has no effect: only_https names the ports";
                self.error(set.key(Setting::HttpsPorts), message, "write the ports into the patterns");
            }
            let schemes = self.texts(set.key(Setting::PrivateUseSchemes));
            self.ports(set);
            if self.text(set.key(Setting::UnlistedSchemes)) == "mark" {
                let message = "any application can register with any scheme, and any program can get the codes";
                self.warn(set.key(Setting::UnlistedSchemes), message, "list the schemes that your clients have");
            }
            let own: Vec<&String> =
                schemes.iter().filter(|scheme| !NATIVE_SCHEMES.contains(&scheme.as_str())).collect();
            if !own.is_empty() && !allows("private_use") {
                let message = "private-use schemes have no effect: their class is not allowed";
                self.error(set.key(Setting::PrivateUseSchemes), message, "add \"private_use\" to classes");
            }
            for scheme in own.iter().filter(|scheme| !scheme.contains('.')) {
                let message = format!(
                    "any application can take the scheme {scheme:?}, and with it the codes (RFC 8252 section 8.4)"
                );
                let suggestion = "use the reverse of a domain name: \"com.example.app\"";
                let key = set.key(Setting::PrivateUseSchemes);
                self.note(false, key, Some(scheme), message, suggestion);
            }
        }
    }

    /// Warns of each private origin.
    fn private_origins(&mut self, set: RuleSet) {
        for origin in self.texts(set.key(Setting::DangerPrivateOrigins)) {
            let (message, suggestion) = if origin.starts_with("http:") {
                (
                    format!(
                        "authorization codes go to {origin} in clear text: everybody who listens in that network can take \
                         them, and RFC 9700 section 2.6 forbids it"
                    ),
                    "give that host TLS, and list it in redirect_uris.patterns",
                )
            } else {
                (
                    format!("codes go to any machine that takes the place of {origin} in its network"),
                    "give that host a public name with a certificate for it",
                )
            };
            self.note(false, set.key(Setting::DangerPrivateOrigins), Some(&origin), message, suggestion);
        }
    }

    /// Checks for ports that browsers block.
    fn ports(&mut self, set: RuleSet) {
        let list = set.key(Setting::HttpsPorts);
        let ports = self.at(list.clone()).as_array().cloned().unwrap_or_default();
        for port in ports.iter().filter_map(Json::as_u64) {
            if let Some(message) = blocked(port) {
                self.error(list.clone(), message, "take it out");
            }
        }
        for list in [set.key(Setting::OnlyHttps), set.key(Setting::Patterns)] {
            for (index, pattern) in self.texts(list.clone()).iter().enumerate() {
                let authority = pattern.split("://").nth(1).unwrap_or_default().split('/').next().unwrap_or_default();
                let Some((_, ports)) = authority.rsplit_once(':') else { continue };
                if let Some(message) = ports.split(',').filter_map(|port| port.parse().ok()).find_map(blocked) {
                    self.error(list.clone().element(index), message, "take the port out");
                }
            }
        }
    }

    fn addresses(&mut self) {
        let part = networks::part_of_the_internet(&self.texts(Setting::TrustedProxies));
        let can = "anyone can write any address into every request";
        match part {
            Part::Small => {}
            Part::Large => {
                let message = format!("a large part of the Internet is trusted as a proxy: there, {can}");
                self.warn(Setting::TrustedProxies, message, "name your proxies");
            }
            Part::Whole => {
                let message = format!("every address is a trusted proxy: {can}");
                self.error(Setting::TrustedProxies, message, "name your proxies");
            }
        }
        let bits = self.at(Setting::Ipv6Prefix).as_u64().unwrap_or(64);
        if bits > 64 {
            let message = format!(
                "networks of {bits} bits: one subscriber has 2^{} of them, and as many budgets",
                bits.min(128) - 64
            );
            self.error(Setting::Ipv6Prefix, message, "write 64, or less");
        } else if bits < 48 {
            let message = format!("networks of {bits} bits: all customers of a provider share one budget");
            self.warn(Setting::Ipv6Prefix, message, "write 64, or at least 48");
        }
    }

    fn limits(&mut self) {
        let quota = |text: &str| text.parse::<Quota>().ok();
        if let Some(quota) = quota(self.text(Setting::RateLimitAddress))
            && (quota.burst().get() < 60 || quota.interval() > Duration::from_secs(6))
        {
            let message = format!(
                "{quota} would reject hosted platforms, which register for thousands of people from a few addresses"
            );
            self.warn(
                Setting::RateLimitAddress,
                message,
                "60 at once and 10 a minute at least; \"60/minute, burst 300\" is the default",
            );
        }
        let spacious = |key: Setting| quota(self.text(key)).map(|quota| (quota.interval(), quota.burst()));
        if let (Some((address, burst)), Some((global, all))) =
            (spacious(Setting::RateLimitAddress), spacious(Setting::RateLimitGlobal))
            && (global > address || all < burst)
        {
            let message = "one address can use up the budget of all, and lock out every other client";
            self.error(Setting::RateLimitGlobal, message, "allow ten times as much as for one address");
        }
        let spacious = |key: Setting| quota(self.text(key)).map(|quota| (quota.interval(), quota.burst()));
        if let (Some((software, burst)), Some((global, all))) =
            (spacious(Setting::RateLimitSoftwareId), spacious(Setting::RateLimitGlobal))
            && software <= global
            && burst >= all
        {
            let message = "no effect: the budget of all registrations is spent before that of one software_id";
            self.warn(Setting::RateLimitSoftwareId, message, "take it out, or less than rate_limit.global");
        }
        for (key, message) in [
            (Setting::RateLimitAddress, "nothing limits what one address or network registers"),
            (Setting::RateLimitGlobal, "nothing limits what all addresses together register"),
            (Setting::HostQuota, "nothing limits the registrations for one redirect host"),
        ] {
            if self.text(key) == "off" {
                self.warn(key, message, "take it out, to get the default");
            }
        }
        if self.text(Setting::NeverUsed) == "never" && !self.at(Setting::MaxClients).is_u64() {
            let message = "registrations that never led to a sign-in are kept forever, without a limit on their number";
            self.warn(Setting::NeverUsed, message, "set lifecycle.max_clients, or a time like \"90days\"");
        }
        if self.at(Setting::MaxClients).as_u64().is_some_and(|clients| clients < 100) {
            let message = "a few registrations fill the table, and evict clients before people can sign in";
            self.warn(Setting::MaxClients, message, "1000 or more, or take it out");
        }
        if self.at(Setting::MaxDocuments).as_u64().is_some_and(|documents| documents < 100) {
            let message = "a few documents fill the table, and evict applications before people can sign in";
            self.warn(Setting::MaxDocuments, message, "1000 or more, or take it out");
        }
        if quota(self.text(Setting::HostQuota)).is_some() {
            let exempt = self.texts(Setting::Exempt);
            let missing = RedirectPattern::vendor_callbacks()
                .filter(|place| !exempt.iter().any(|exempt| *exempt == place.to_string()))
                .count();
            if missing > 0 {
                let message = format!("{missing} callbacks of hosted clients have one budget for all of their users");
                self.warn(Setting::Exempt, message, "use add_exempt, which keeps the known ones");
            }
        }
        let deadline = humantime::parse_duration(self.text(Setting::BodyDeadline)).unwrap_or_default();
        if deadline < Duration::from_secs(2) {
            self.warn(Setting::BodyDeadline, "people on slow connections are rejected", "10s is the default");
        } else if deadline > Duration::from_secs(60) {
            let message = "a client that sends a byte now and then holds a connection for that long";
            self.warn(Setting::BodyDeadline, message, "10s is the default");
        }
    }

    fn metadata(&mut self) {
        for set in self.rule_sets() {
            let key = |setting| set.key(setting);
            if self.text(key(Setting::UnknownMembers)) == "reject" && self.text(Setting::Extends) != "strict" {
                let message = "clients that send a member of a newer specification can't register any more \
                               (RFC 7591 section 2 has servers ignore such members)";
                self.warn(key(Setting::UnknownMembers), message, "\"strip\" keeps the member out, and the client in");
            }
            if self.texts(key(Setting::GrantTypes)).iter().any(|grant| grant == "implicit") {
                let message = "the implicit grant puts tokens into URLs (RFC 9700 section 2.1.2)";
                self.warn(key(Setting::GrantTypes), message, "use authorization_code instead");
            }
            let ceiling = self.texts(key(Setting::ScopeCeiling));
            let outside = |scope: &String| !ceiling.is_empty() && !ceiling.contains(scope);
            if let Some(scope) = self.texts(key(Setting::ScopeDefault)).iter().find(|scope| outside(scope)) {
                let message = format!(
                    "the default scope {scope:?} is above the ceiling: a client that asks for no scope gets it"
                );
                self.note(true, key(Setting::ScopeDefault), Some(scope), message, CEILING);
            }
            if let Some(scope) = self.texts(key(Setting::ScopeAdd)).iter().find(|scope| outside(scope)) {
                let message =
                    format!("the scope {scope:?} is above the ceiling: a client that asks for any scope gets it");
                self.note(true, key(Setting::ScopeAdd), Some(scope), message, CEILING);
            }
            if self.text(key(Setting::ScopeOtherwise)) == "default" && self.texts(key(Setting::ScopeDefault)).is_empty()
            {
                let message = "no effect: there is no default";
                self.error(key(Setting::ScopeOtherwise), message, "add metadata.scope.default");
            }
            self.released(set);
            let identities = self.at(key(Setting::Identities));
            let empty = identities.get("reserve").and_then(Json::as_array).is_some_and(Vec::is_empty);
            if identities.get("known") == Some(&Json::Bool(false)) && empty {
                let message = "the table of names is empty: the identity rule has no effect";
                self.error(key(Setting::KnownIdentities), message, "keep the known names, or reserve some");
            }
        }
    }

    /// Checks for known names that any client may use.
    fn released(&mut self, set: RuleSet) {
        for name in self.texts(set.key(Setting::Release)) {
            let message = format!("any client may call itself {name:?}");
            let suggestion = "take it out, unless the name is yours";
            self.note(false, set.key(Setting::Release), Some(&name), message, suggestion);
        }
        let reserves = self.at(set.key(Setting::Reserve)).as_array().is_some_and(|reserve| !reserve.is_empty());
        if reserves && self.at(set.key(Setting::KnownIdentities)) == &Json::Bool(false) {
            let message = "any client may use any of the known names";
            self.warn(set.key(Setting::KnownIdentities), message, "keep the known names, and release single ones");
        }
    }

    /// Checks for times that undo the purpose of a setting.
    fn times(&mut self) {
        const HOUR: Duration = Duration::from_secs(3600);
        let time = |key: Setting| humantime::parse_duration(self.text(key)).unwrap_or_default();
        let mut found = Vec::new();
        if time(Setting::GateMaxAge) > HOUR {
            found.push((
                Setting::GateMaxAge,
                "more than one hour: a client that is revoked on another node passes for that long",
                "5s is the default",
            ));
        }
        if time(Setting::GateGrace) > HOUR * 24 {
            let message = "more than one day: while the ledger can't be used, a client that was revoked meanwhile passes for that long";
            found.push((Setting::GateGrace, message, "1min is the default, and a failover takes no longer"));
        }
        for (key, message, suggestion) in found {
            self.error(key, message, suggestion);
        }
    }

    /// Checks for members that clients should not be able to send, and defaults without effect.
    fn members(&mut self) {
        for set in self.rule_sets() {
            let allow = set.key(Setting::MembersAllow);
            let mut open: Vec<(Key, String)> =
                self.texts(allow.clone()).into_iter().map(|name| (allow.clone(), name)).collect();
            let policy = self.at(set.key(Setting::MetadataPolicy)).as_object().cloned().unwrap_or_default();
            for (name, operators) in policy {
                let key = set.key(Setting::MetadataPolicy).member(&*name);
                let has = |operator: &str| operators.get(operator).is_some();
                self.unreachable_default(set, &name, has("add"), has("default"));
                if !["value", "one_of", "subset_of"].into_iter().any(has) {
                    open.push((key, name));
                }
            }
            for (key, name) in open {
                let (message, suggestion) = match members::danger(&name) {
                    None => continue,
                    Some(Danger::LooksLike(field)) => (
                        format!("servers that compare names loosely read {name:?} as {field}, unchecked by any rule"),
                        format!("allow {field} instead, or take it out"),
                    ),
                    Some(Danger::Privilege) => (
                        format!("clients can set a privilege that only this server should set: {name:?}"),
                        "take it out, or set it for all clients in `metadata.members.supply`".to_owned(),
                    ),
                };
                self.note(true, key, Some(&name), message, suggestion);
            }
        }
    }

    /// Checks for a default that `add` makes unreachable: `add` comes before `default`, and adds the member (OpenID
    /// Federation 1.0 section 6.1.3).
    fn unreachable_default(&mut self, set: RuleSet, name: &str, adds: bool, has_default: bool) {
        let is_scope = name == Field::SCOPE.name() && !self.texts(set.key(Setting::ScopeDefault)).is_empty();
        if !adds || !(has_default || is_scope) {
            return;
        }
        let message =
            format!("add makes the default unreachable: a client without {name} gets what is added, and nothing else");
        let suggestion = if name == Field::SCOPE.name() {
            "write metadata.scope.add, which leaves metadata.scope.default alone"
        } else {
            "write it as superset_of with otherwise = \"substitute\", which leaves an absent member to default"
        };
        self.error(set.key(Setting::MetadataPolicy).member(name).member("add"), message, suggestion);
    }

    fn tokens(&mut self) {
        let settings = self.at(Setting::TokensTable);
        let lists_none = settings.get("tokens").and_then(Json::as_array).is_some_and(Vec::is_empty);
        if !lists_none || settings.get("jwt").is_some() {
            return;
        }
        if settings.get("required") == Some(&Json::Bool(true)) {
            if self.text(Setting::Registration) == "closed" {
                return;
            }
            let message = "a token is required, and there is none: no client can register";
            let suggestion = "list tokens, or an issuer in jwt; or write registration = \"closed\", which also takes the \
                              endpoint out of the discovery document";
            self.warn(Setting::TokensRequired, message, suggestion);
        } else {
            self.warn(Setting::TokensTable, "no effect: there are no tokens", "list tokens, or take it out");
        }
    }

    /// Checks for settings of the gate and the registrar that contradict one another.
    fn gate(&mut self) {
        let is = |key: Setting| self.at(key) == &Json::Bool(true);
        let (rejects_unknown, passes) =
            (self.text(Setting::UnknownClients) == "reject", self.text(Setting::UnidentifiedRequests) == "pass");
        let names_grants = self.at(Setting::AnonymousGrants).is_array();
        let (manages, closed) = (is(Setting::ManageUnknown), is(Setting::PassWithoutLedger));
        let (ports, deduplicates) =
            (is(Setting::AnyLoopbackPort), self.at(Setting::Deduplication) != &Json::Bool(false));
        if rejects_unknown && passes {
            let message = "no effect: a gate that rejects unknown clients rejects requests without a client, too";
            self.error(Setting::UnidentifiedRequests, message, "take it out, or let unknown clients pass");
        } else if passes && names_grants {
            let message = "no effect: every request may leave its client out";
            self.warn(Setting::AnonymousGrants, message, "take it out, or unidentified = \"pass\"");
        }
        if rejects_unknown && manages {
            let message = "clients that the ledger does not know may update themselves, and then get no token";
            self.warn(Setting::ManageUnknown, message, "take it out, or let unknown clients pass");
        }
        if rejects_unknown && closed {
            let message = "unknown clients are rejected only while the ledger can be used";
            self.warn(Setting::UnknownClients, message, "take danger_pass_without_ledger out");
        }
        if ports && !deduplicates {
            let message = "no effect: equal registrations do not get the existing client";
            self.warn(Setting::AnyLoopbackPort, message, "remove it, or deduplication = false");
        }
        if !deduplicates && !self.at(Setting::AnySoftwareVersion).is_null() {
            let message = "no effect: equal registrations do not get the existing client";
            self.warn(Setting::AnySoftwareVersion, message, "remove it, or deduplication = false");
        }
    }

    /// Checks for rules of the gate that are off, and for settings of such rules.
    fn gate_rules(&mut self) {
        let rules = self.at(Setting::GateRules).as_object().cloned().unwrap_or_default();
        let action = |rule: &str| rules.get(rule).and_then(Json::as_str);
        let is_listed = self.text(Setting::Extends) == "oauth";
        for (setting, rule, is_always_on) in [
            (Setting::AdditionalScopes, "scope", false),
            (Setting::ExactAuthMethod, "auth_method", false),
            (Setting::RequirePushedRequests, "pushed_request", true),
            (Setting::Resources, "resource", true),
            (Setting::ResponseModes, "response_mode", false),
        ] {
            let is_off = action(rule) == Some("pass") || (action(rule).is_none() && is_listed && !is_always_on);
            if is_off && !self.at(setting).is_null() {
                let message = format!("no effect: the rule gate.rules.{rule} is off");
                self.error(setting, message, format!("gate.rules.{rule} = \"reject\", or take it out"));
            }
        }
        for (rule, action) in &rules {
            let (key, action) = (Key::from(Setting::GateRules).member(rule), action.as_str().unwrap_or_default());
            if rule == "redirect_uri" && action != "reject" {
                let message = "codes can go to redirect URIs that no client registered, if the server allows that";
                self.warn(key, message, "take it out");
            } else if action == "mark" {
                let message = format!("not enforced: the gate's rule {rule}");
                self.warn(key, message, "take it out once the audit events show no surprises");
            } else if action == "pass" && !is_listed {
                let message = format!("off: the gate's rule {rule}");
                self.warn(key, message, "take it out, or write \"mark\" to see what it would reject");
            }
        }
    }

    /// Checks for values of the gate that no request has.
    fn gate_values(&mut self) {
        let resources = self.texts(Setting::Resources);
        if resources.is_empty() && self.at(Setting::Resources).is_array() {
            let message = "an empty list allows no resource: MCP clients name one in every request";
            self.warn(Setting::Resources, message, "list resources, or take it out to allow all");
        }
        for (index, resource) in resources.iter().enumerate().filter(|(_, resource)| !is_resource_of_clients(resource))
        {
            let message =
                format!("no effect: {resource:?} is compared as a string, and clients write it in another way");
            let suggestion = "write scheme and host in lower case, without the default port and dot segments";
            self.error(Key::from(Setting::Resources).element(index), message, suggestion);
        }
        if self.at(Setting::Issuer).is_string() {
            let modes = self.texts(Setting::ResponseModes);
            for (index, mode) in modes.iter().enumerate().filter(|(_, mode)| !can_name_issuer(mode)) {
                let message =
                    format!("no effect: a response in the mode {mode:?} can't get the parameter iss of gate.issuer");
                let suggestion = "take it out; or take gate.issuer out, if the server itself adds iss";
                self.error(Key::from(Setting::ResponseModes).element(index), message, suggestion);
            }
        }
    }

    fn callers(&mut self, conditions: &[&Condition]) {
        for (index, condition) in conditions.iter().enumerate() {
            if conditions.iter().take(index).any(|earlier| earlier == condition) {
                let message = "no effect: the same condition stands further up";
                self.error(Key::from(Setting::Callers).element(index).member("when"), message, "join the two");
            }
        }
        let mut named = Vec::new();
        named_rules(self.at(Setting::Callers), &mut named);
        let tokens = self.at(Setting::Tokens).as_array().cloned().unwrap_or_default();
        for (index, token) in tokens.iter().enumerate() {
            let Some(rules) = token.get("rules").and_then(Json::as_str) else { continue };
            if !named.iter().any(|name| name == rules) {
                let message = format!("no callers have the rules {rules:?}: this token is answered with 500");
                let key = Key::from(Setting::Tokens).element(index).member("rules");
                self.error(key, message, format!("add [[callers]] with when = {{ rules = {rules:?} }}"));
            }
        }
    }

    fn dangers(&mut self) {
        if self.at(Setting::ReportOnly) == &Json::Bool(true) {
            let way_out = "take it out, or enforce this policy and try the next one under [shadow]";
            self.warn(Setting::ReportOnly, "nothing is enforced", way_out);
        }
        if !self.texts(Setting::ReportOnlyRules).is_empty() {
            let message = format!("not enforced: {}", self.texts(Setting::ReportOnlyRules).join(", "));
            self.warn(Setting::ReportOnlyRules, message, "take them out once the audit events show no surprises");
        }
        let reported = self.texts(Setting::ReportOnlyRules);
        for rule in self.texts(Setting::Hold).into_iter().filter(|rule| reported.contains(rule)) {
            let message = format!("no effect: {rule} only reports, and rejects nothing that could wait");
            self.error(Setting::Hold, message, "take the rule out of report_only_rules");
        }
        for (key, message) in [
            (
                Setting::AnswerReportOnly,
                "answers of the handler that break clients, and secrets for public ones, go out",
            ),
            (Setting::GateReportOnly, "revoked clients and foreign redirect URIs pass the gates"),
            (Setting::LifecycleReportOnly, "revoked clients can be registered again"),
            (Setting::LifecycleReportOnlyExpiry, "clients that are past their limit go on"),
        ] {
            if self.at(key) == &Json::Bool(true) {
                self.warn(key, message, "take it out once the audit events show no surprises");
            }
        }
        for (key, message) in [
            (
                Setting::RegisterWithoutLedger,
                "an attacker who slows the ledger down can register a revoked client again, unrecorded",
            ),
            (Setting::PassWithoutLedger, "an attacker who slows the ledger down brings back every revoked client"),
        ] {
            if self.at(key) == &Json::Bool(true) {
                self.warn(key, message, "take it out");
            }
        }
        if self.at(Setting::AnswerSecret).get("allow").and_then(Json::as_array).is_some_and(Vec::is_empty) {
            self.error(
                Setting::AnswerSecret,
                "no method is allowed, so no secret is",
                "write \"reject\", or name methods",
            );
        }
        if self.text(Setting::ContradictedName) == "mark" {
            let message = "imitations of known names are registered";
            self.warn(Setting::ContradictedName, message, "\"reject\", unless your consent page shows the verdict");
        }
    }

    /// Evaluates the known clients under the rules.
    fn clients(&mut self, preset: &Preset) {
        let unlimited = preset.clone().without_rate_limits();
        // The presets reject some by design.
        let base = match self.text(Setting::Extends) {
            "strict" => Preset::strict(),
            _ => Preset::mcp(),
        }
        .without_rate_limits();
        let limits = &preset.settings.limits;
        let is_too_large =
            |client: &KnownClient| Registration::parse_with(client.registration.source().as_bytes(), limits).is_err();
        let too_large = KnownClient::all().filter(is_too_large).count();
        if too_large > 0 {
            let message = format!("{too_large} known clients send more than these limits hold");
            self.warn(Setting::Body, message, "the defaults accept every known client");
        }
        let (mut broken, mut by_scope) = (Vec::new(), 0);
        let rejection = |preset: &Preset, client: &KnownClient| {
            preset.policy().evaluate(client.registration.clone(), &Context::registration()).rejection
        };
        for client in KnownClient::all().filter(|client| rejection(&base, client).is_none()) {
            if let Some(rejection) = rejection(&unlimited, &client) {
                by_scope += usize::from(rejection.rule == "scope");
                broken.push(client.name);
            }
        }
        if broken.is_empty() {
            return;
        }
        let named: Vec<&str> = broken.iter().map(String::as_str).take(NAMED).collect();
        let more = if broken.len() > NAMED { format!(" and {} more", broken.len() - NAMED) } else { String::new() };
        let message = format!(
            "{} of {} known clients can't register: {}{more}",
            broken.len(),
            KnownClient::all().count(),
            named.join(", ")
        );
        let suggestion = if by_scope == broken.len() {
            "`metadata.scope.otherwise = \"default\"` gives them the default; `dcr clients compat` lists the reasons"
        } else {
            "`dcr clients compat` lists the reasons"
        };
        self.warn(Setting::Extends, message, suggestion);
    }
}

/// Returns the problem with a port: the "bad ports" of the Fetch standard (section 2.9), which browsers block; `None`
/// if there is none.
fn blocked(port: u64) -> Option<String> {
    const BLOCKED: [u64; 82] = [
        1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109,
        110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530,
        531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190,
        5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
    ];
    (port == 0 || BLOCKED.contains(&port))
        .then(|| format!("port {port} belongs to another protocol: browsers block it"))
}

/// Returns `true` if a name is too short. In scripts that write words or syllables, two signs are enough.
fn is_short(name: &str) -> bool {
    name.chars().filter(|c| c.is_alphanumeric()).count() < 3 && name.chars().all(|c| c < '\u{1100}')
}

/// Collects the names of rules in conditions.
fn named_rules(value: &Json, found: &mut Vec<String>) {
    match value {
        Json::Object(members) => {
            found.extend(members.get("rules").and_then(Json::as_str).map(str::to_owned));
            members.values().for_each(|value| named_rules(value, found));
        }
        Json::Array(elements) => elements.iter().for_each(|value| named_rules(value, found)),
        _ => {}
    }
}
