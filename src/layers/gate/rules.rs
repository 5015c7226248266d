//! The rules that a gate enforces on requests of registered clients: one file each, and a row of them at each endpoint.

use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use super::parameters::Seen;
use super::records::Registered;
use super::rejection::Fault;
use super::settings::{Profile, SettingsInForce};
use crate::rules::RuleDocs;
use crate::rules::action::{self, Action};

mod auth_method;
mod code_verifier;
mod grant_type;
mod password_grant;
mod pkce;
mod pushed_request;
mod redirect_uri;
mod repeated_parameter;
pub(super) mod resource;
pub(super) mod response_mode;
mod response_type;
pub(super) mod scope;

/// The actions of a gate's rules: the keys of the section `[gate.rules]` in a policy file.
///
/// `reject` answers the request with an error, `mark` passes it and emits an event, `pass` passes it. `None` is the
/// default of the preset that made the gate: see [`GateLayer`](crate::layers::GateLayer#rules).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(
        description = "The actions of the gate's rules on requests of registered clients. A rule that is left out has the action of the preset."
    )
)]
#[serde(default, deny_unknown_fields)]
#[must_use]
#[non_exhaustive]
pub struct GateRules {
    /// The client authenticates itself by the method that it registered, and by one only (RFC 7591 section 2). An empty
    /// secret counts as none. `client_secret_basic` and `client_secret_post` are one method, unless
    /// [`exact_auth_method`](super::GateSettings::exact_auth_method) says otherwise.
    /// Default: `reject` in the presets `mcp` and `strict`, `pass` in `oauth`.
    #[serde(
        deserialize_with = "action::one_if_any::<_, action::MarkPassOrReject>",
        serialize_with = "action::write_one_if_any::<_, action::MarkPassOrReject>",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<action::OneOf<action::MarkPassOrReject>>"))]
    pub auth_method: Option<Action>,
    /// A code is redeemed with a `code_verifier` (RFC 7636 section 4.5).
    /// Default: `reject` in the presets `mcp` and `strict`, `pass` in `oauth`.
    #[serde(
        deserialize_with = "action::one_if_any::<_, action::MarkPassOrReject>",
        serialize_with = "action::write_one_if_any::<_, action::MarkPassOrReject>",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<action::OneOf<action::MarkPassOrReject>>"))]
    pub code_verifier: Option<Action>,
    /// The client uses a grant type that it registered (RFC 7591 section 2).
    /// Default: `reject` in the presets `mcp` and `strict`, `pass` in `oauth`.
    #[serde(
        deserialize_with = "action::one_if_any::<_, action::MarkPassOrReject>",
        serialize_with = "action::write_one_if_any::<_, action::MarkPassOrReject>",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<action::OneOf<action::MarkPassOrReject>>"))]
    pub grant_type: Option<Action>,
    /// The client does not collect the password of a person (RFC 9700 section 2.4).
    /// Default: `reject` in the presets `mcp` and `strict`, `pass` in `oauth`.
    #[serde(
        deserialize_with = "action::one_if_any::<_, action::MarkPassOrReject>",
        serialize_with = "action::write_one_if_any::<_, action::MarkPassOrReject>",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<action::OneOf<action::MarkPassOrReject>>"))]
    pub password_grant: Option<Action>,
    /// A request for a code has a `code_challenge`, of the method `S256` (RFC 7636, RFC 9700 section 2.1.1).
    /// Default: `reject` in the presets `mcp` and `strict`, `pass` in `oauth`.
    #[serde(
        deserialize_with = "action::one_if_any::<_, action::MarkPassOrReject>",
        serialize_with = "action::write_one_if_any::<_, action::MarkPassOrReject>",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<action::OneOf<action::MarkPassOrReject>>"))]
    pub pkce: Option<Action>,
    /// A client that registered `require_pushed_authorization_requests` pushes its requests (RFC 9126 section 6), and so does
    /// every client if [`require_pushed_requests`](super::GateSettings::require_pushed_requests) is set.
    /// Default: `reject`.
    #[serde(
        deserialize_with = "action::one_if_any::<_, action::MarkPassOrReject>",
        serialize_with = "action::write_one_if_any::<_, action::MarkPassOrReject>",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<action::OneOf<action::MarkPassOrReject>>"))]
    pub pushed_request: Option<Action>,
    /// The answer goes to a registered redirect URI (RFC 9700 section 4.1.3). On in every gate: codes go astray without it.
    /// Default: `reject`.
    #[serde(
        deserialize_with = "action::one_if_any::<_, action::MarkPassOrReject>",
        serialize_with = "action::write_one_if_any::<_, action::MarkPassOrReject>",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<action::OneOf<action::MarkPassOrReject>>"))]
    pub redirect_uri: Option<Action>,
    /// No parameter is repeated (RFC 6749 section 3.1), except for `resource` (RFC 8707 section 2) and, in token exchange,
    /// `audience` (RFC 8693 section 2.1). A spelling that some servers read as the name of a parameter counts, and so do the
    /// parameters of a token request in its URL. A form at the authorization endpoint may repeat fields of its own, such as
    /// boxes, whose name is no parameter of OAuth or OpenID Connect.
    /// Default: `reject` in the presets `mcp` and `strict`, `pass` in `oauth`.
    #[serde(
        deserialize_with = "action::one_if_any::<_, action::MarkPassOrReject>",
        serialize_with = "action::write_one_if_any::<_, action::MarkPassOrReject>",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<action::OneOf<action::MarkPassOrReject>>"))]
    pub repeated_parameter: Option<Action>,
    /// Each `resource` is one of [`resources`](super::GateSettings::resources), if that is set (RFC 8707 section 2).
    /// Default: `reject`.
    #[serde(
        deserialize_with = "action::one_if_any::<_, action::MarkPassOrReject>",
        serialize_with = "action::write_one_if_any::<_, action::MarkPassOrReject>",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<action::OneOf<action::MarkPassOrReject>>"))]
    pub resource: Option<Action>,
    /// The `response_mode` is one of [`response_modes`](super::GateSettings::response_modes).
    /// Default: `reject` in the presets `mcp` and `strict`, `pass` in `oauth`.
    #[serde(
        deserialize_with = "action::one_if_any::<_, action::MarkPassOrReject>",
        serialize_with = "action::write_one_if_any::<_, action::MarkPassOrReject>",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<action::OneOf<action::MarkPassOrReject>>"))]
    pub response_mode: Option<Action>,
    /// The `response_type` is one that the client registered (RFC 7591 section 2).
    /// Default: `reject` in the presets `mcp` and `strict`, `pass` in `oauth`.
    #[serde(
        deserialize_with = "action::one_if_any::<_, action::MarkPassOrReject>",
        serialize_with = "action::write_one_if_any::<_, action::MarkPassOrReject>",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<action::OneOf<action::MarkPassOrReject>>"))]
    pub response_type: Option<Action>,
    /// The client asks for scopes that it registered (RFC 7591 section 2), or for those that
    /// [`additional_scopes`](super::GateSettings::additional_scopes) lists. `narrow` removes the others from the request, and
    /// rejects a request that is left without any.
    /// Default: `narrow` in the preset `mcp`, `reject` in `strict`, `pass` in `oauth`.
    #[serde(
        deserialize_with = "action::one_if_any::<_, action::MarkNarrowPassOrReject>",
        serialize_with = "action::write_one_if_any::<_, action::MarkNarrowPassOrReject>",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<action::OneOf<action::MarkNarrowPassOrReject>>"))]
    pub scope: Option<Action>,
}

/// A rule about requests of registered clients.
#[derive(Debug)]
pub(super) struct GateRule {
    pub(super) docs: RuleDocs,
    /// Picks its action.
    pub(super) action: fn(&GateRules) -> Option<Action>,
    /// Its action without a setting.
    pub(super) default: fn(Profile) -> Action,
    /// Checks a request against the registration.
    pub(super) check: fn(&Asked<'_>) -> Result<(), Fault>,
}

/// A request of a registered client.
pub(super) struct Asked<'a> {
    pub(super) endpoint: &'static Endpoint,
    pub(super) seen: &'a Seen,
    pub(super) registered: &'a Registered,
    pub(super) settings: &'a SettingsInForce<'a>,
    pub(super) reference: Reference,
}

/// The parts of a request that stand elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reference {
    /// Set if the redirect URI does: in a request object that the server reads, or behind a `request_uri`.
    pub(super) has_redirect_uri: bool,
    /// Set if all parameters do: behind a `request_uri`.
    pub(super) has_all: bool,
    /// Set if they were pushed through a gate, which checked them.
    pub(super) is_pushed: bool,
}

/// A rule that a request breaks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Violation {
    pub(super) rule: &'static str,
    pub(super) fault: Fault,
}

/// The result of the rules on a request that may go on.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// The rules that it breaks and that are only reported.
    pub(super) marked: Vec<Violation>,
    /// The scopes that stay in the request, if others have to be removed.
    pub(super) narrowed: Option<Vec<String>>,
}

/// In `mcp` and `strict`: what their specifications call MUST.
const fn in_presets(profile: Profile) -> Action {
    match profile {
        Profile::Mcp | Profile::Strict => Action::Reject,
        Profile::Other => Action::Pass,
    }
}

pub(super) static PKCE: &GateRule = &pkce::RULE;
pub(super) static PUSHED_REQUEST: &GateRule = &pushed_request::RULE;
pub(super) static REDIRECT_URI: &GateRule = &redirect_uri::RULE;
pub(super) static RESPONSE_MODE: &GateRule = &response_mode::RULE;

/// The rules of authorization requests, in the order in which they run.
pub(super) static AUTHORIZATION: &[&GateRule] = &[
    &redirect_uri::RULE,
    &repeated_parameter::RULE,
    &pushed_request::RULE,
    &response_type::RULE,
    &response_mode::RULE,
    &pkce::RULE,
    &resource::RULE,
    &scope::RULE,
];

/// Those of pushed authorization requests.
pub(super) static PUSHED_AUTHORIZATION: &[&GateRule] = &[
    &redirect_uri::RULE,
    &repeated_parameter::RULE,
    &auth_method::RULE,
    &response_type::RULE,
    &response_mode::RULE,
    &pkce::RULE,
    &resource::RULE,
    &scope::RULE,
];

/// Those of token requests.
pub(super) static TOKEN: &[&GateRule] = &[
    &repeated_parameter::RULE,
    &password_grant::RULE,
    &auth_method::RULE,
    &grant_type::RULE,
    &code_verifier::RULE,
    &resource::RULE,
    &scope::RULE,
];

/// Those of device authorization requests. Clients with a secret often leave it out here.
pub(super) static DEVICE_AUTHORIZATION: &[&GateRule] =
    &[&repeated_parameter::RULE, &grant_type::RULE, &resource::RULE, &scope::RULE];

/// Those of backchannel authentication requests.
pub(super) static BACKCHANNEL_AUTHENTICATION: &[&GateRule] =
    &[&repeated_parameter::RULE, &auth_method::RULE, &grant_type::RULE, &resource::RULE, &scope::RULE];

/// Those of introspection by clients.
pub(super) static INTROSPECTION: &[&GateRule] = &[&repeated_parameter::RULE, &auth_method::RULE];

/// Returns the documentation of all rules.
pub(crate) fn docs() -> impl Iterator<Item = &'static RuleDocs> {
    let all = AUTHORIZATION.iter().chain(TOKEN).copied();
    let mut seen: Vec<&'static str> = Vec::new();
    all.map(|rule| &rule.docs).filter(move |docs| {
        let is_new = !seen.contains(&docs.id);
        seen.push(docs.id);
        is_new
    })
}

impl Asked<'_> {
    /// Returns `true` if parameters have to be in this request: it is no step of a consent form, and refers to no other
    /// request.
    pub(super) fn is_complete(&self) -> bool {
        self.seen.is_request && !self.reference.has_all
    }

    /// Runs the rules of the endpoint. `Err` for the first one that rejects.
    pub(super) fn check(&self) -> Result<Passed, Violation> {
        let mut passed = Passed::default();
        for rule in self.endpoint.rules {
            let action = self.settings.action(rule);
            if action == Action::Pass {
                continue;
            }
            let Err(fault) = (rule.check)(self) else { continue };
            let violation = Violation { rule: rule.docs.id, fault };
            match action {
                Action::Mark => passed.marked.push(violation),
                Action::Narrow => match scope::narrowed(self) {
                    Some(scopes) => passed.narrowed = Some(scopes),
                    None => return Err(violation),
                },
                _ => return Err(violation),
            }
        }
        Ok(passed)
    }
}
