//! What a policy says that is probably not meant.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use serde_json::Value as Json;

use super::Preset;
use crate::client_address::ClientAddress;
use crate::compat::{self, Fate};
use crate::policy::{Condition, NATIVE_SCHEMES, VENDOR_CALLBACKS};
use crate::quota::Quota;

/// Something about a policy that is probably not meant.
///
/// ```
/// use tower_dcr::Preset;
/// use tower_dcr::preset::Severity;
///
/// let preset = Preset::mcp().with_trusted_proxies(["0.0.0.0/0"])?;
/// let lint = preset.lint().remove(0);
/// assert_eq!((lint.severity(), lint.key()), (Severity::Error, "client_address.trusted_proxies"));
/// # Ok::<_, tower_dcr::policy::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    severity: Severity,
    key: String,
    message: String,
    suggestion: String,
    span: Option<Range<usize>>,
}

/// How bad it is.
///
/// ```
/// use tower_dcr::preset::Severity;
///
/// assert!(Severity::Error > Severity::Warning);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// It may be meant.
    Warning,
    /// It lets an attack through, or what it says can't come about.
    Error,
}

impl Lint {
    /// How bad it is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        self.severity
    }

    /// The setting: `redirect_uris.patterns[2]`.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do.
    #[must_use]
    pub fn suggestion(&self) -> &str {
        &self.suggestion
    }

    /// The bytes of the policy file that it is about; absent if the setting is not in it.
    #[must_use]
    pub fn span(&self) -> Option<Range<usize>> {
        self.span.clone()
    }

    #[cfg(feature = "policy-file")]
    pub(super) fn at(self, span: Option<Range<usize>>) -> Self {
        Self { span, ..self }
    }
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}; {}", self.severity, self.key, self.message, self.suggestion)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

impl Preset {
    /// What the policy says that is probably not meant: settings that let an attack through, that break clients which are
    /// known, or that can't have any effect. The worst comes first.
    #[must_use]
    pub fn lint(&self) -> Vec<Lint> {
        let mut linter = self.settings_lint();
        // Lasts longer than the rest together.
        linter.clients(self);
        linter.found.sort_by_key(|lint| std::cmp::Reverse(lint.severity));
        linter.found
    }

    /// Logs what lets an attack through or can't come about.
    pub(super) fn log_errors(&self) {
        for lint in self.settings_lint().found.iter().filter(|lint| lint.severity == Severity::Error) {
            tracing::warn!(target: "tower_dcr::setup", "{lint}");
        }
    }

    fn settings_lint(&self) -> Linter {
        let mut linter = Linter { policy: serde_json::to_value(self).unwrap_or_default(), found: Vec::new() };
        linter.patterns();
        linter.redirect_uris("redirect_uris");
        linter.addresses();
        linter.limits();
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

/// Known clients that are named; the rest is counted.
const NAMED: usize = 5;

impl Linter {
    fn note(
        &mut self,
        severity: Severity,
        key: impl Into<String>,
        message: impl Into<String>,
        suggestion: impl Into<String>,
    ) {
        let (key, message, suggestion) = (key.into(), message.into(), suggestion.into());
        let general = key.strip_prefix("callers[").and_then(|rest| rest.split_once("].")).map(|(_, rest)| rest);
        if general
            .is_some_and(|general| self.found.iter().any(|found| found.key == general && found.message == message))
        {
            // Callers have what they have from the rules for everybody.
            return;
        }
        self.found.push(Lint { severity, key, message, suggestion, span: None });
    }

    fn error(&mut self, key: impl Into<String>, message: impl Into<String>, suggestion: impl Into<String>) {
        self.note(Severity::Error, key, message, suggestion);
    }

    fn warn(&mut self, key: impl Into<String>, message: impl Into<String>, suggestion: impl Into<String>) {
        self.note(Severity::Warning, key, message, suggestion);
    }

    /// The value of a setting.
    fn at(&self, key: &str) -> &Json {
        let pointer = format!("/{}", key.replace(['.', '['], "/").replace(']', ""));
        self.policy.pointer(&pointer).unwrap_or(&Json::Null)
    }

    fn text(&self, key: &str) -> &str {
        self.at(key).as_str().unwrap_or_default()
    }

    fn texts(&self, key: &str) -> Vec<String> {
        self.at(key).as_array().into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect()
    }

    /// Where rules are: for everybody, and for each case.
    fn rule_sets(&self) -> Vec<String> {
        let cases = self.at("callers").as_array().map_or(0, Vec::len);
        std::iter::once(String::new()).chain((0..cases).map(|case| format!("callers[{case}]."))).collect()
    }

    /// Every list of redirect URI patterns.
    fn patterns(&mut self) {
        for set in self.rule_sets() {
            for list in ["redirect_uris.only_https", "redirect_uris.patterns", "redirect_host_quota.exempt"] {
                let key = format!("{set}{list}");
                for (index, pattern) in self.texts(&key).iter().enumerate() {
                    self.pattern(&format!("{key}[{index}]"), pattern);
                }
            }
        }
        let identities = self.at("identity.identities.reserve").as_array().map_or(0, Vec::len);
        for identity in 0..identities {
            let key = format!("identity.identities.reserve[{identity}].https");
            for (index, pattern) in self.texts(&key).iter().enumerate() {
                self.pattern(&format!("{key}[{index}]"), pattern);
            }
        }
    }

    fn pattern(&mut self, key: &str, pattern: &str) {
        if let Some(expression) = pattern.strip_prefix("regex: ") {
            return self.expression(key, expression);
        }
        if pattern.starts_with("regex:") {
            let message = "this is a redirect URI of the scheme \"regex\", and no regular expression";
            return self.error(key, message, "write \"regex: …\", with a space");
        }
        let host = pattern.split("://").nth(1).unwrap_or_default().split(['/', ':']).next().unwrap_or_default();
        if pattern.starts_with("http://") && !(host == "localhost" || host.starts_with("127.") || host.starts_with('['))
        {
            let message = format!("this can't come about: http to another machine ({host}) is never allowed");
            return self.error(key, message, "give that host TLS, and write \"https://…\" (RFC 9700 section 2.6)");
        }
        let Some(parent) = host.strip_prefix("*.") else { return };
        let suffix = psl::suffix(parent.as_bytes()).filter(psl::Suffix::is_known);
        if suffix.is_some_and(|suffix| suffix.as_bytes() == parent.as_bytes()) {
            let message = format!("anybody can have a host below {parent}, which is a public suffix");
            self.error(key, message, "list the hosts one by one");
        }
    }

    /// Expressions are anchored, but their text can undo that.
    fn expression(&mut self, key: &str, expression: &str) {
        let open = [".*", ".+", "[^", "\\S*", "\\S+"];
        let before_path = expression.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        if open.iter().any(|open| expression.starts_with(open) || expression.contains(&format!("|{open}"))) {
            let message = "the expression is unanchored: it begins with what matches anything";
            return self.error(key, message, "begin with the scheme and the whole host");
        }
        if open.iter().any(|open| before_path.contains(open)) {
            let message = "the host is not anchored: what matches anything stands before the path";
            return self.error(key, message, "write the host out, or use a pattern: \"https://*.example.com/cb\"");
        }
        let bytes = before_path.as_bytes();
        let is_loose = |(index, byte): (usize, &u8)| {
            *byte == b'.' && index.checked_sub(1).and_then(|at| bytes.get(at)) != Some(&b'\\')
        };
        if bytes.iter().enumerate().any(is_loose) {
            let message = "a dot in the host matches any character: app.example.com also means appXexample.com";
            self.error(key, message, "write \\\\. in TOML's basic strings, or \\. in literal ones");
        } else if expression.ends_with(".*") || expression.ends_with(".+") {
            let message = "the expression has no end: any path and query pass";
            self.warn(key, message, "name the paths: every one of them is a place where codes may go");
        }
    }

    fn redirect_uris(&mut self, key: &str) {
        for set in self.rule_sets() {
            let key = format!("{set}{key}");
            let classes = self.texts(&format!("{key}.classes"));
            let allows = |class: &str| classes.iter().any(|allowed| allowed == class);
            if !["https", "loopback", "private_use"].iter().any(|class| allows(class)) {
                let message = "no class of redirect URIs is allowed: every registration is refused";
                self.error(format!("{key}.classes"), message, "allow \"https\", \"loopback\" or \"private_use\"");
            }
            if allows("plain_http") {
                let message = "plain_http has no effect: http to another machine is never allowed";
                self.warn(format!("{key}.classes"), message, "take it out");
            }
            let listed = self.at(&format!("{key}.only_https")).is_array();
            if listed && !allows("https") {
                let message = "only_https can't come about: the class https is not allowed";
                self.error(format!("{key}.only_https"), message, "add \"https\" to classes, or take the list out");
            }
            if listed && self.texts(&format!("{key}.only_https")).is_empty() && allows("https") {
                let message = "an empty list allows no https redirect URI";
                self.warn(format!("{key}.only_https"), message, "list places, or take \"https\" out of classes");
            }
            if listed && *self.at(&format!("{key}.https_ports")) != serde_json::json!([443]) {
                let message = "https_ports can't come about: only_https says which ports there are";
                self.error(format!("{key}.https_ports"), message, "write the ports into the patterns");
            }
            let schemes = self.texts(&format!("{key}.private_use_schemes"));
            let own: Vec<&String> =
                schemes.iter().filter(|scheme| !NATIVE_SCHEMES.contains(&scheme.as_str())).collect();
            if !own.is_empty() && !allows("private_use") {
                let message = "private-use schemes can't come about: their class is not allowed";
                self.error(format!("{key}.private_use_schemes"), message, "add \"private_use\" to classes");
            }
            for scheme in own.iter().filter(|scheme| !scheme.contains('.')) {
                let message = format!(
                    "any application can take the scheme {scheme:?}, and with it the codes (RFC 8252 section 8.4)"
                );
                self.warn(
                    format!("{key}.private_use_schemes"),
                    message,
                    "use the reverse of a domain name: \"com.example.app\"",
                );
            }
        }
    }

    fn addresses(&mut self) {
        let proxies = self.texts("client_address.trusted_proxies");
        let trusts = |proxies: &[String]| ClientAddress::new().with_trusted_proxies(proxies).ok();
        if proxies.iter().any(|network| network.ends_with("/0")) && trusts(&proxies).is_some() {
            let message = "everybody is a trusted proxy: anybody can write an address of their own into every request";
            self.error("client_address.trusted_proxies", message, "name your proxies");
        }
        let bits = self.at("client_address.ipv6_prefix").as_u64().unwrap_or(64);
        if bits > 64 {
            let message = format!(
                "networks of {bits} bits: one subscriber has 2^{} of them, and as many budgets",
                bits.min(128) - 64
            );
            self.error("client_address.ipv6_prefix", message, "write 64, or less");
        }
    }

    fn limits(&mut self) {
        let quota = |text: &str| text.parse::<Quota>().ok();
        if let Some(quota) = quota(self.text("rate_limit.address"))
            && (quota.burst().get() < 60 || quota.interval() > Duration::from_secs(6))
        {
            let message = format!(
                "{quota} would refuse hosted platforms, which register for thousands of people from a few addresses"
            );
            self.warn(
                "rate_limit.address",
                message,
                "60 at once and 10 a minute at least; \"60/minute, burst 300\" is the default",
            );
        }
        let spacious = |key: &str| quota(self.text(key)).map(|quota| (quota.interval(), quota.burst()));
        if let (Some((address, burst)), Some((global, all))) =
            (spacious("rate_limit.address"), spacious("rate_limit.global"))
            && (global > address || all < burst)
        {
            let message = "one address can use up what all together may do, and shut everybody else out";
            self.error("rate_limit.global", message, "ten times what one address may do");
        }
        if quota(self.text("redirect_host_quota.quota")).is_some() {
            let exempt = self.texts("redirect_host_quota.exempt");
            let missing = VENDOR_CALLBACKS.iter().filter(|place| !exempt.iter().any(|exempt| exempt == *place)).count();
            if missing > 0 {
                let message =
                    format!("{missing} callbacks of hosted clients share one budget each with all of their users");
                self.warn("redirect_host_quota.exempt", message, "use add_exempt, which keeps those that are known");
            }
        }
        let deadline = humantime::parse_duration(self.text("body_deadline")).unwrap_or_default();
        if deadline < Duration::from_secs(2) {
            self.warn("body_deadline", "people on slow connections are refused", "10s is the default");
        } else if deadline > Duration::from_secs(60) {
            let message = "whoever sends a byte now and then holds a connection for that long";
            self.warn("body_deadline", message, "10s is the default");
        }
    }

    fn metadata(&mut self) {
        for set in self.rule_sets() {
            let key = |name: &str| format!("{set}metadata.{name}");
            if self.text(&key("members.unknown")) == "reject" && self.text("extends") != "strict" {
                let message = "clients that send a member of a newer specification can't register any more \
                               (RFC 7591 section 2 has servers ignore such members)";
                self.warn(key("members.unknown"), message, "\"strip\" keeps the member out, and the client in");
            }
            if self.texts(&key("grants.grant_types")).iter().any(|grant| grant == "implicit") {
                let message = "the implicit grant puts tokens into URLs (RFC 9700 section 2.1.2)";
                self.warn(key("grants.grant_types"), message, "authorization_code does what it was for");
            }
            let ceiling = self.texts(&key("scope.ceiling"));
            let outside = |scope: &String| !ceiling.is_empty() && !ceiling.contains(scope);
            if let Some(scope) = self.texts(&key("scope.default")).iter().find(|scope| outside(scope)) {
                let message =
                    format!("the default scope {scope:?} is above the ceiling: whoever asks for nothing gets it");
                self.error(key("scope.default"), message, "add it to the ceiling, or take it out");
            }
            let identities = self.at(&format!("{set}identity.identities"));
            let empty = identities.get("reserve").and_then(Json::as_array).is_some_and(Vec::is_empty);
            if identities.get("known") == Some(&Json::Bool(false)) && empty {
                let message = "the table of names is empty: the identity rule can't fire";
                self.error(format!("{set}identity.identities.known"), message, "keep the known names, or reserve some");
            }
        }
    }

    fn callers(&mut self, conditions: &[&Condition]) {
        for (index, condition) in conditions.iter().enumerate() {
            if conditions.iter().take(index).any(|earlier| earlier == condition) {
                let message = "these rules can't come about: the same condition stands further up";
                self.error(format!("callers[{index}].when"), message, "join the two");
            }
        }
        let mut named = Vec::new();
        named_rules(self.at("callers"), &mut named);
        let tokens = self.at("initial_access_tokens.tokens").as_array().cloned().unwrap_or_default();
        for (index, token) in tokens.iter().enumerate() {
            let Some(rules) = token.get("rules").and_then(Json::as_str) else { continue };
            if !named.iter().any(|name| name == rules) {
                let message = format!("no callers have the rules {rules:?}: this token is answered with 500");
                let key = format!("initial_access_tokens.tokens[{index}].rules");
                self.error(key, message, format!("add [[callers]] with when = {{ rules = {rules:?} }}"));
            }
        }
    }

    fn dangers(&mut self) {
        if self.at("report_only") == &Json::Bool(true) {
            self.warn("report_only", "nothing is enforced", "take it out once the audit events say what you expect");
        }
        for (key, message) in [
            (
                "lifecycle.danger_register_without_ledger",
                "whoever slows the ledger down can register what was revoked, and nobody finds it",
            ),
            (
                "gate.danger_pass_without_ledger",
                "whoever slows the ledger down brings back every client that was revoked",
            ),
        ] {
            if self.at(key) == &Json::Bool(true) {
                self.warn(key, message, "take it out");
            }
        }
        if self.at("answer.secret").get("allow").and_then(Json::as_array).is_some_and(Vec::is_empty) {
            self.error("answer.secret", "no method is allowed, so nothing is", "write \"reject\", or name methods");
        }
        if self.text("identity.contradicted_name") == "mark" {
            let message = "imitations of known names are registered";
            self.warn("identity.contradicted_name", message, "\"reject\", unless your consent page shows the verdict");
        }
    }

    /// Runs the known clients through the rules.
    fn clients(&mut self, preset: &Preset) {
        let unlimited = preset.clone().without_rate_limits();
        // The presets refuse some by design.
        let base = match self.text("extends") {
            "strict" => Preset::strict(),
            _ => Preset::mcp(),
        }
        .without_rate_limits();
        let broken: Vec<String> = compat::clients()
            .filter(|client| {
                client.fate(unlimited.policy()) == Fate::Refused && client.fate(base.policy()) != Fate::Refused
            })
            .map(|client| client.name().to_owned())
            .collect();
        if broken.is_empty() {
            return;
        }
        let named: Vec<&str> = broken.iter().map(String::as_str).take(NAMED).collect();
        let more = if broken.len() > NAMED { format!(" and {} more", broken.len() - NAMED) } else { String::new() };
        let message = format!(
            "{} of {} known clients can't register: {}{more}",
            broken.len(),
            compat::clients().count(),
            named.join(", ")
        );
        self.warn("extends", message, "`dcr clients compat` says why for each");
    }
}

/// The rules that conditions name.
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
