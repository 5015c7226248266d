//! Grant types and response types, which depend on one another.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::registration::{CIBA, Field, Registration};
use crate::rules::action::{self, Action};
use crate::rules::{ConfigError, Draft, ErrorCode, IntoRules, Policy, Rejection, Rule, RuleDocs, documented, settings};

/// Narrows `grant_types` and `response_types` to those that the server offers, writes their defaults out, and rejects a
/// contradictory pair (RFC 7591 section 2.1).
///
/// Values are compared literally: "the value MUST be […] the same as the value of the `grant_type` parameter" (RFC 7591
/// section 2). A client that requests more than it gets (VS Code requests the device flow) still signs in. One that is
/// left without any grant is rejected.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{Action, Context, Decision, Grants, Policy};
///
/// let mut grants = Grants::authorization_code();
/// let registration = Registration::parse(br#"{"grant_types":["authorization_code","implicit"]}"#)?;
/// let evaluation = Policy::new(grants.clone()).evaluate(registration.clone(), &Context::registration());
/// assert!(evaluation.registration.unwrap().strings("grant_types").unwrap().eq(["authorization_code"]));
/// grants.otherwise = Action::Reject;
/// let evaluation = Policy::new(grants).evaluate(registration, &Context::registration());
/// assert_eq!(evaluation.decision(), Decision::Reject);
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, try_from = "Unchecked")]
#[non_exhaustive]
pub struct Grants {
    // In order, without duplicates, like the responses.
    /// The grant types that the server offers.
    #[serde(rename = "grant_types")]
    types: Vec<String>,
    /// The response types that the server offers.
    #[serde(rename = "response_types")]
    responses: Vec<String>,
    /// Action on a registration that requests more: `narrow` it to the offered ones while something remains, or `reject`.
    #[cfg_attr(feature = "schema", schemars(with = "action::OneOf<action::NarrowOrReject>"))]
    pub otherwise: Action,
    /// Grant types of a registration without any. `None` is the default of RFC 7591, `authorization_code`; the presets `mcp`
    /// and `strict` have [`AbsentGrants::Offered`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absent: Option<AbsentGrants>,
}

/// The grant types of a registration without any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AbsentGrants {
    /// `authorization_code`, the default of RFC 7591 section 2.
    #[default]
    AuthorizationCode,
    /// All grant types that the server offers: RFC 7591 section 3.2.1 lets a server provision its own defaults. Clients
    /// that omit the member expect a refresh token, and a server that enforces registered grant types gives none to a
    /// client of `authorization_code` alone.
    Offered,
}

/// The settings as they are written in a file.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
struct Unchecked {
    /// The grant types that the server offers.
    grant_types: Vec<String>,
    /// The response types that the server offers. In a composite one (`code id_token`) the order does not matter.
    response_types: Vec<String>,
    /// Action on a registration that requests more: `narrow` it to the offered ones while something remains, or `reject`.
    #[serde(
        deserialize_with = "action::one::<_, action::NarrowOrReject>",
        serialize_with = "action::write_one::<_, action::NarrowOrReject>"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "action::OneOf<action::NarrowOrReject>"))]
    otherwise: Action,
    /// Grant types of a registration without any. Without the setting, `authorization_code`.
    absent: Option<AbsentGrants>,
}

const CODE: &str = "authorization_code";
const REFRESH: &str = "refresh_token";

pub(crate) static GRANT_TYPES_DOCS: RuleDocs = RuleDocs {
    id: "grant-types",
    protects: "Grants that the server does not offer to any client.",
    reference: "RFC 7591 sections 2 and 2.1; RFC 9700 section 2.4 (password MUST NOT be used)",
    attack: "{\"redirect_uris\":[\"http://localhost/cb\"],\"grant_types\":[\"client_credentials\"]}",
    loosen: "metadata.grants.add_grant_types = [\"urn:ietf:params:oauth:grant-type:device_code\"]; \
             metadata.grants.otherwise = \"narrow\"",
    opens: "Tokens without a person, or without a checked redirect URI.",
    replayable: true,
};

pub(crate) static RESPONSE_TYPES_DOCS: RuleDocs = RuleDocs {
    id: "response-types",
    protects: "Flows that put tokens into URLs, and clients from contradicting themselves.",
    reference: "RFC 7591 section 2.1; RFC 9700 section 2.1.2",
    attack: "{\"redirect_uris\":[\"https://app.example.com/cb\"],\"response_types\":[\"token\"]}",
    loosen: "metadata.grants.add_response_types = [\"code id_token\"], with the grant type that it needs",
    opens: "Tokens in the fragments of redirects.",
    replayable: true,
};

impl Grants {
    /// Creates the rule for `authorization_code` and `refresh_token` with `code`: the grants of MCP and OAuth 2.1
    /// public clients.
    #[must_use]
    pub fn authorization_code() -> Self {
        Self {
            types: vec![CODE.into(), REFRESH.into()],
            responses: vec!["code".into()],
            otherwise: Action::Narrow,
            absent: None,
        }
    }

    /// Creates the rule for the server's grant types and response types. In a composite response type (`code id_token`)
    /// the order does not matter.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::NoGrants`] for an empty list, [`ConfigError::PasswordGrant`] for `password` (RFC 9700
    /// section 2.4: it "MUST NOT be used"), and [`ConfigError::MissingGrant`] for a response type whose grant type is
    /// not in the list.
    pub fn new<S: Into<String>>(
        grants: impl IntoIterator<Item = S>,
        responses: impl IntoIterator<Item = S>,
    ) -> Result<Self, ConfigError> {
        let grants: BTreeSet<String> = grants.into_iter().map(Into::into).collect();
        let responses: BTreeSet<String> =
            responses.into_iter().map(|response| in_order(&response.into()).into_owned()).collect();
        let flows = Flows::of(grants.iter().map(String::as_str));
        match () {
            () if grants.is_empty() => Err(ConfigError::NoGrants),
            () if grants.contains("password") => Err(ConfigError::PasswordGrant),
            () if !responses.iter().all(|response| flows.allow(response)) => Err(ConfigError::MissingGrant),
            () => {
                let (types, responses) = (grants.into_iter().collect(), responses.into_iter().collect());
                Ok(Self { types, responses, otherwise: Action::Narrow, absent: None })
            }
        }
    }

    pub(super) fn offers(&self, grant: &str) -> bool {
        contains(&self.types, grant)
    }

    /// Returns the grant types and the response types. The words of each response type are sorted.
    pub(crate) fn offered(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        (self.types.iter().cloned().collect(), self.responses.iter().cloned().collect())
    }

    fn check_grants(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        if draft.registration().at(Field::GRANT_TYPES).is_none() {
            match self.absent.unwrap_or_default() {
                // RFC 7591 section 2: "If omitted, the default behavior is that the client will use only the
                // "authorization_code" Grant Type."
                AbsentGrants::AuthorizationCode => draft.insert_default_strings("grant_types", [CODE]),
                AbsentGrants::Offered => {
                    // A client that needs one of the others asks for it: they are for confidential clients, and CIBA needs
                    // more fields.
                    let usual = |grant: &&String| *grant != "client_credentials" && *grant != CIBA;
                    let is_any = self.types.iter().any(|grant| usual(&grant));
                    let types = self.types.iter().filter(|grant| !is_any || usual(grant));
                    draft.insert_default_strings("grant_types", types.map(|grant| lasting(grant)));
                }
            }
        }
        self.narrow(draft, Field::GRANT_TYPES, |grant| contains(&self.types, grant))?;
        if Flows::of_registration(draft.registration()).any {
            return Ok(());
        }
        Err(reject(draft, Field::GRANT_TYPES, "leaves no grant type that this server offers"))
    }

    fn check_responses(&self, draft: &mut Draft<'_>, flows: Flows) -> Result<(), Rejection> {
        if draft.registration().at(Field::RESPONSE_TYPES).is_none() {
            // The literal default is ["code"], which contradicts a client that requests client_credentials alone. The
            // server may provision another (section 3.1).
            draft.insert_default_strings("response_types", flows.code.then_some("code"));
        }
        let mut responses = draft.registration().strings_at(Field::RESPONSE_TYPES).into_iter().flatten();
        if responses.next() == Some("code")
            && responses.next().is_none()
            && flows.code
            && contains(&self.responses, "code")
        {
            // The request of nearly every client.
            return Ok(());
        }
        self.narrow(draft, Field::RESPONSE_TYPES, |response| contains(&self.responses, &in_order(response)))?;
        let Some(mut responses) = draft.registration().strings_at(Field::RESPONSE_TYPES) else { return Ok(()) };
        let is_empty = responses.clone().next().is_none();
        if responses.clone().any(|response| !flows.allow(response)) {
            return Err(reject(draft, Field::RESPONSE_TYPES, "contradicts grant_types"));
        }
        if flows.code && !responses.any(|response| response == "code" || response.split(' ').any(|part| part == "code"))
        {
            return Err(reject(draft, Field::RESPONSE_TYPES, "must include code"));
        }
        if flows.implicit && is_empty {
            // RFC 7591 section 2.1: a server "SHOULD take steps to ensure that a client cannot register itself into an
            // inconsistent state". The implicit grant has no other endpoint than that of response types.
            return Err(reject(draft, Field::RESPONSE_TYPES, "must include one of the implicit grant"));
        }
        Ok(())
    }

    fn narrow(&self, draft: &mut Draft<'_>, field: Field, offered: impl Fn(&str) -> bool) -> Result<(), Rejection> {
        let Some(values) = draft.registration().strings_at(field) else {
            return Err(reject(draft, field, "must be an array of strings"));
        };
        let (mut all_offered, mut repeats) = (true, false);
        for (index, value) in values.clone().enumerate() {
            all_offered = all_offered && offered(value);
            repeats = repeats || values.clone().take(index).any(|earlier| earlier == value);
        }
        if self.otherwise != Action::Narrow && !all_offered {
            return Err(reject(draft, field, "asks for more than this server offers"));
        }
        if !all_offered || repeats {
            let mut seen = BTreeSet::new();
            draft.narrow_strings(field.name(), |value| offered(value) && seen.insert(value.to_owned()));
        }
        Ok(())
    }
}

impl Default for Grants {
    fn default() -> Self {
        Self::authorization_code()
    }
}

impl Default for Unchecked {
    fn default() -> Self {
        let Grants { types, responses, otherwise, absent } = Grants::default();
        Self { grant_types: types, response_types: responses, otherwise, absent }
    }
}

impl TryFrom<Unchecked> for Grants {
    type Error = ConfigError;

    fn try_from(read: Unchecked) -> Result<Self, ConfigError> {
        let Unchecked { grant_types, response_types, otherwise, absent } = read;
        Ok(Self { otherwise, absent, ..Self::new(grant_types, response_types)? })
    }
}

/// Two rules: one over `grant_types`, and one over `response_types`, which depend on the former.
impl IntoRules for Grants {
    fn into_rules(self) -> Policy {
        Policy::new((GrantTypes(self.clone()), ResponseTypes(self)))
    }
}

#[derive(Debug)]
struct GrantTypes(Grants);

impl Rule for GrantTypes {
    documented!(GRANT_TYPES_DOCS, with a configuration of its own);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        self.0.check_grants(draft)
    }

    fn config(&self) -> Json {
        settings(&self.0)
    }
}

#[derive(Debug)]
struct ResponseTypes(Grants);

impl Rule for ResponseTypes {
    documented!(RESPONSE_TYPES_DOCS, with a configuration of its own);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        self.0.check_responses(draft, Flows::of_registration(draft.registration()))
    }

    fn config(&self) -> Json {
        settings(&self.0)
    }
}

fn reject(draft: &Draft<'_>, field: Field, detail: &'static str) -> Rejection {
    draft.reject(ErrorCode::InvalidClientMetadata, detail).with_field(field.name())
}

/// Avoids an allocation for the two that nearly every server offers.
fn lasting(grant: &str) -> Cow<'static, str> {
    [CODE, REFRESH].into_iter().find(|known| *known == grant).map_or_else(|| grant.to_owned().into(), Cow::Borrowed)
}

fn contains(list: &[String], value: &str) -> bool {
    list.iter().any(|listed| listed == value)
}

/// The flows that a list of grant types allows.
#[derive(Clone, Copy, Default)]
struct Flows {
    code: bool,
    implicit: bool,
    /// `true` if a flow leads to a first token. With `refresh_token` alone, there would be no token to refresh.
    any: bool,
}

impl Flows {
    /// Returns the flows that the current `grant_types` allow. If absent, they allow the code flow (RFC 7591 section
    /// 2).
    fn of_registration(registration: &Registration) -> Self {
        if registration.at(Field::GRANT_TYPES).is_none() {
            return Self::of([CODE].into_iter());
        }
        registration.strings_at(Field::GRANT_TYPES).map(Self::of).unwrap_or_default()
    }

    fn of<'a>(grants: impl Iterator<Item = &'a str>) -> Self {
        grants.fold(Self::default(), |flows, grant| Self {
            code: flows.code || grant == CODE,
            implicit: flows.implicit || grant == "implicit",
            any: flows.any || grant != REFRESH,
        })
    }

    /// Returns `true` if the flows allow a response type (RFC 7591 section 2.1 and OpenID Connect Dynamic Client
    /// Registration section 2): `code` needs `authorization_code`, `token` and `id_token` need `implicit`, a composite
    /// needs both.
    fn allow(self, response: &str) -> bool {
        let allows = |part| match part {
            "code" => self.code,
            "token" | "id_token" => self.implicit,
            "none" => true,
            _ => false,
        };
        allows(response) || response.split(' ').all(allows)
    }
}

/// Returns the response type with its values sorted. RFC 6749 section 3.1.1: "the order of values does not matter".
pub(crate) fn in_order(response: &str) -> Cow<'_, str> {
    if !response.as_bytes().contains(&b' ') {
        return Cow::Borrowed(response);
    }
    let mut parts: Vec<&str> = response.split(' ').collect();
    parts.sort_unstable();
    Cow::Owned(parts.join(" "))
}
