//! Paths to the settings of a policy.

use std::fmt;

/// A step of a path, from a value to one of its children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Element(usize),
    Member(String),
}

/// The path to a setting, written `callers[0].redirect_uris.patterns[2]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) Vec<Step>);

/// The rules that a setting belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RuleSet {
    Everybody,
    /// The rules of the caller at this index of `callers`.
    Caller(usize),
}

macro_rules! settings {
    ($($setting:ident: $first:ident $(. $rest:ident)*,)+) => {
        /// A setting that lints read or name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Setting {
            $($setting,)+
        }

        impl Setting {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$setting,)+];

            const fn path(self) -> &'static [&'static str] {
                match self {
                    $(Self::$setting => &[stringify!($first) $(, stringify!($rest))*],)+
                }
            }
        }
    };
}

settings! {
    AdditionalScopes: gate.additional_scopes,
    AnonymousGrants: gate.anonymous_grants,
    AnswerReportOnly: answer.report_only,
    AnswerSecret: answer.secret,
    AnyLoopbackPort: lifecycle.any_loopback_port,
    AnySoftwareVersion: lifecycle.any_software_version,
    Body: body,
    BodyDeadline: body_deadline,
    Callers: callers,
    Classes: redirect_uris.classes,
    ContradictedName: identity.contradicted_name,
    Documents: documents,
    DocumentsAdmission: documents.admission,
    DocumentsAllow: documents.allow,
    DocumentsDefaultAge: documents.default_age,
    DocumentsFetches: documents.fetches,
    DocumentsFetchesBySite: documents.fetches_by_site,
    DocumentsMaxStale: documents.max_stale,
    DocumentsMinAge: documents.min_age,
    DocumentsOwnHosts: documents.own_hosts,
    DocumentsPorts: documents.ports,
    Exempt: redirect_host_quota.exempt,
    ExactAuthMethod: gate.exact_auth_method,
    Extends: extends,
    GateGrace: gate.grace,
    GateMaxAge: gate.max_age,
    GateReportOnly: gate.report_only,
    GateRules: gate.rules,
    GrantTypes: metadata.grants.grant_types,
    Hold: lifecycle.hold,
    HostQuota: redirect_host_quota.quota,
    HttpsPorts: redirect_uris.https_ports,
    Identities: identity.identities,
    Ipv6Prefix: client_address.ipv6_prefix,
    Issuer: gate.issuer,
    KnownIdentities: identity.identities.known,
    LifecycleReportOnly: lifecycle.report_only,
    LifecycleReportOnlyExpiry: lifecycle.report_only_expiry,
    ManageUnknown: lifecycle.manage_unknown,
    MaxClients: lifecycle.max_clients,
    MaxDocuments: lifecycle.max_documents,
    MembersAllow: metadata.members.allow,
    MetadataPolicy: metadata.policy,
    NeverUsed: lifecycle.never_used,
    OnlyHttps: redirect_uris.only_https,
    PassWithoutLedger: gate.danger_pass_without_ledger,
    Patterns: redirect_uris.patterns,
    PrivateUseSchemes: redirect_uris.private_use_schemes,
    RateLimitAddress: rate_limit.address,
    RateLimitGlobal: rate_limit.global,
    RateLimitSoftwareId: rate_limit.software_id,
    RequirePushedRequests: gate.require_pushed_requests,
    Resources: gate.resources,
    ResponseModes: gate.response_modes,
    RegisterWithoutLedger: lifecycle.danger_register_without_ledger,
    Release: identity.identities.release,
    DangerPrivateOrigins: redirect_uris.danger_private_origins,
    Deduplication: lifecycle.deduplication,
    Registration: registration,
    ReportOnly: report_only,
    ReportOnlyRules: report_only_rules,
    Reserve: identity.identities.reserve,
    ScopeAdd: metadata.scope.add,
    ScopeCeiling: metadata.scope.ceiling,
    ScopeDefault: metadata.scope.default,
    ScopeOtherwise: metadata.scope.otherwise,
    Tokens: initial_access_tokens.tokens,
    TokensRequired: initial_access_tokens.required,
    TokensTable: initial_access_tokens,
    TrustedProxies: client_address.trusted_proxies,
    UnidentifiedRequests: gate.unidentified,
    UnknownClients: gate.unknown,
    UnknownMembers: metadata.members.unknown,
    UnlistedSchemes: redirect_uris.unlisted_schemes,
}

impl RuleSet {
    pub(super) fn key(self, setting: Setting) -> Key {
        match self {
            Self::Everybody => setting.into(),
            Self::Caller(index) => {
                let mut key = Key::from(Setting::Callers).element(index);
                key.0.extend(Key::from(setting).0);
                key
            }
        }
    }
}

impl Key {
    pub(super) fn element(mut self, index: usize) -> Self {
        self.0.push(Step::Element(index));
        self
    }

    pub(super) fn member(mut self, name: impl Into<String>) -> Self {
        self.0.push(Step::Member(name.into()));
        self
    }

    /// Returns the setting of the general rules that a caller's setting replaces; `None` for other settings.
    pub(super) fn for_everybody(&self) -> Option<&[Step]> {
        match &*self.0 {
            [Step::Member(first), Step::Element(_), rest @ ..] if [first.as_str()] == Setting::Callers.path() => {
                Some(rest)
            }
            _ => None,
        }
    }
}

impl From<Setting> for Key {
    fn from(setting: Setting) -> Self {
        Self(setting.path().iter().map(|name| Step::Member((*name).to_owned())).collect())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(index, step)| match step {
            Step::Element(element) => write!(f, "[{element}]"),
            Step::Member(name) if index == 0 => f.write_str(name),
            Step::Member(name) => write!(f, ".{name}"),
        })
    }
}

#[cfg(all(test, feature = "schema"))]
mod tests {
    use serde_json::Value as Json;

    use super::*;
    use crate::preset::Preset;

    /// Follows the references of a JSON Schema to the properties of a table.
    fn property<'a>(schema: &'a Json, mut table: &'a Json, name: &str) -> Option<&'a Json> {
        loop {
            if let Some(found) = table.get("properties").and_then(|properties| properties.get(name)) {
                return Some(found);
            }
            let variants = table.get("anyOf").and_then(Json::as_array).into_iter().flatten();
            let target = std::iter::once(table).chain(variants).find_map(|schema| schema.get("$ref"))?.as_str()?;
            table = schema.pointer(target.strip_prefix('#')?)?;
        }
    }

    #[test]
    fn every_setting_is_one_of_the_schema() {
        let schema = Preset::file_schema();
        for setting in Setting::ALL {
            let found = setting.path().iter().try_fold(&schema, |table, name| property(&schema, table, name));
            assert!(found.is_some(), "{}", Key::from(*setting));
        }
    }

    #[test]
    fn keys_are_written_as_the_file_has_them() {
        let key = RuleSet::Caller(1).key(Setting::Patterns).element(2);
        assert_eq!(key.to_string(), "callers[1].redirect_uris.patterns[2]");
        assert_eq!(key.for_everybody(), Some(&*Key::from(Setting::Patterns).element(2).0));
    }
}
