//! Grant types and response types, which depend on one another.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{ConfigError, Excess, Policy, Submission, describe_as_json};
use crate::registration::Field;
use crate::rejection::{ErrorCode, Rejection};

/// Narrows `grant_types` and `response_types` to what the server offers, writes their defaults out, and refuses a pair
/// that contradicts itself (RFC 7591 section 2.1).
///
/// Values are compared literally: "the value MUST be […] the same as the value of the `grant_type` parameter"
/// (RFC 7591 section 2). A client that asks for more than it gets (VS Code asks for the device flow) still signs in;
/// one that is left without any grant is refused.
///
/// ```
/// # use tower_dcr::{Registration, policy::{Policy, Review, Submission}};
/// # fn judge(rule: &impl Policy, body: &str) -> Result<String, String> {
/// #     let mut registration = Registration::parse(body.as_bytes()).unwrap();
/// #     let mut review = Review::registration();
/// #     rule.review(&mut Submission::new(&mut registration, &mut review)).map_err(|refused| refused.description())?;
/// #     Ok(String::from_utf8(registration.canonical_bytes()).unwrap())
/// # }
/// use tower_dcr::policy::Grants;
///
/// let body = r#"{"grant_types":["authorization_code","urn:ietf:params:oauth:grant-type:device_code"]}"#;
/// let narrowed = judge(&Grants::authorization_code(), body)?;
/// assert_eq!(narrowed, r#"{"grant_types":["authorization_code"],"response_types":["code"]}"#);
/// assert!(judge(&Grants::authorization_code().refusing_others(), body).is_err());
/// # Ok::<_, String>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, try_from = "Unchecked")]
#[must_use]
pub struct Grants {
    // In order, each once, and so are the responses.
    /// The grant types that the server offers.
    #[serde(rename = "grant_types")]
    types: Vec<String>,
    /// The response types that the server offers.
    #[serde(rename = "response_types")]
    responses: Vec<String>,
    /// What happens to a registration that asks for more.
    otherwise: Excess,
}

/// As it is read.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
struct Unchecked {
    /// The grant types that the server offers.
    grant_types: Vec<String>,
    /// The response types that the server offers. Of a composite one (`code id_token`) the order does not matter.
    response_types: Vec<String>,
    /// What happens to a registration that asks for more.
    otherwise: Excess,
}

const CODE: &str = "authorization_code";

impl Grants {
    /// `authorization_code` and `refresh_token` with `code`: what MCP and OAuth 2.1 public clients use.
    pub fn authorization_code() -> Self {
        Self {
            types: vec![CODE.into(), "refresh_token".into()],
            responses: vec!["code".into()],
            otherwise: Excess::Narrow,
        }
    }

    /// The grant types and response types of the server. Of a composite response type (`code id_token`) the order does
    /// not matter.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Grants`] where no grant type is given, where `password` is (RFC 9700 section 2.4: it "MUST NOT
    /// be used"), or where a response type needs a grant type that is not in the list.
    pub fn new<S: Into<String>>(
        grants: impl IntoIterator<Item = S>,
        responses: impl IntoIterator<Item = S>,
    ) -> Result<Self, ConfigError> {
        let grants: BTreeSet<String> = grants.into_iter().map(Into::into).collect();
        let responses: BTreeSet<String> =
            responses.into_iter().map(|response| in_order(&response.into()).into_owned()).collect();
        let reason = match () {
            () if grants.is_empty() => "there is none",
            () if grants.contains("password") => "password must not be used",
            () if !responses.iter().all(|response| Flows::of(grants.iter().map(String::as_str)).allow(response)) => {
                "a response type needs a grant type that is not offered"
            }
            () => {
                let (types, responses) = (grants.into_iter().collect(), responses.into_iter().collect());
                return Ok(Self { types, responses, otherwise: Excess::Narrow });
            }
        };
        Err(ConfigError::Grants { reason })
    }

    /// Refuses a registration that asks for more than the server offers, instead of narrowing it.
    pub fn refusing_others(mut self) -> Self {
        self.otherwise = Excess::Refuse;
        self
    }

    /// The grant types and the response types, the words of each in order.
    pub(super) fn offered(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        (self.types.iter().cloned().collect(), self.responses.iter().cloned().collect())
    }

    fn review_grants(&self, submission: &mut Submission<'_>) -> Result<Flows, Rejection> {
        if submission.registration().at(Field::GRANT_TYPES).is_none() {
            // RFC 7591 section 2: "If omitted, the default behavior is that the client will use only the
            // "authorization_code" Grant Type."
            submission.insert_default_strings("grant_types", [CODE]);
        }
        self.narrow(submission, Field::GRANT_TYPES, |grant| contains(&self.types, grant))?;
        let grants = submission.registration().strings_at(Field::GRANT_TYPES);
        let flows = grants.map(Flows::of).unwrap_or_default();
        if flows.any {
            Ok(flows)
        } else {
            Err(refuse(submission, Field::GRANT_TYPES, "leaves no grant type that this server offers"))
        }
    }

    fn review_responses(&self, submission: &mut Submission<'_>, flows: Flows) -> Result<(), Rejection> {
        if submission.registration().at(Field::RESPONSE_TYPES).is_none() {
            // The literal default is ["code"], which contradicts a client that asks for client_credentials alone; the
            // server may provision another (section 3.1).
            submission.insert_default_strings("response_types", flows.code.then_some("code"));
        }
        let mut responses = submission.registration().strings_at(Field::RESPONSE_TYPES).into_iter().flatten();
        if responses.next() == Some("code")
            && responses.next().is_none()
            && flows.code
            && contains(&self.responses, "code")
        {
            // What nearly every client asks for.
            return Ok(());
        }
        self.narrow(submission, Field::RESPONSE_TYPES, |response| contains(&self.responses, &in_order(response)))?;
        let Some(mut responses) = submission.registration().strings_at(Field::RESPONSE_TYPES) else { return Ok(()) };
        if responses.clone().any(|response| !flows.allow(response)) {
            return Err(refuse(submission, Field::RESPONSE_TYPES, "contradicts grant_types"));
        }
        if flows.code && !responses.any(|response| response == "code" || response.split(' ').any(|part| part == "code"))
        {
            return Err(refuse(submission, Field::RESPONSE_TYPES, "must include code"));
        }
        Ok(())
    }

    fn narrow(
        &self,
        submission: &mut Submission<'_>,
        field: Field,
        offered: impl Fn(&str) -> bool,
    ) -> Result<(), Rejection> {
        let Some(values) = submission.registration().strings_at(field) else {
            return Err(refuse(submission, field, "must be an array of strings"));
        };
        let (mut all_offered, mut repeats) = (true, false);
        for (index, value) in values.clone().enumerate() {
            all_offered = all_offered && offered(value);
            repeats = repeats || values.clone().take(index).any(|earlier| earlier == value);
        }
        if self.otherwise == Excess::Refuse && !all_offered {
            return Err(refuse(submission, field, "asks for more than this server offers"));
        }
        if !all_offered || repeats {
            let mut seen = BTreeSet::new();
            submission.narrow_strings(field.name(), |value| offered(value) && seen.insert(value.to_owned()));
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
        let Grants { types, responses, otherwise } = Grants::default();
        Self { grant_types: types, response_types: responses, otherwise }
    }
}

impl TryFrom<Unchecked> for Grants {
    type Error = ConfigError;

    fn try_from(read: Unchecked) -> Result<Self, ConfigError> {
        Ok(Self { otherwise: read.otherwise, ..Self::new(read.grant_types, read.response_types)? })
    }
}

impl Policy for Grants {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        submission.begin("grant-types");
        let flows = self.review_grants(submission)?;
        submission.begin("response-types");
        self.review_responses(submission, flows)
    }

    fn describe(&self, out: &mut String) {
        describe_as_json(self, out);
    }
}

fn refuse(submission: &Submission<'_>, field: Field, detail: &'static str) -> Rejection {
    submission.reject(ErrorCode::InvalidClientMetadata, detail).with_field(field.name())
}

fn contains(list: &[String], value: &str) -> bool {
    list.iter().any(|listed| listed == value)
}

/// What a list of grant types opens.
#[derive(Clone, Copy, Default)]
struct Flows {
    code: bool,
    implicit: bool,
    /// Whether anything leads to a first token: nothing could issue the one that `refresh_token` alone would refresh.
    any: bool,
}

impl Flows {
    fn of<'a>(grants: impl Iterator<Item = &'a str>) -> Self {
        grants.fold(Self::default(), |flows, grant| Self {
            code: flows.code || grant == CODE,
            implicit: flows.implicit || grant == "implicit",
            any: flows.any || grant != "refresh_token",
        })
    }

    /// RFC 7591 section 2.1 and OpenID Connect Dynamic Client Registration section 2: `code` needs
    /// `authorization_code`, `token` and `id_token` need `implicit`, a composite needs both.
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

/// RFC 6749 section 3.1.1: "the order of values does not matter".
pub(super) fn in_order(response: &str) -> Cow<'_, str> {
    if !response.as_bytes().contains(&b' ') {
        return Cow::Borrowed(response);
    }
    let mut parts: Vec<&str> = response.split(' ').collect();
    parts.sort_unstable();
    Cow::Owned(parts.join(" "))
}
