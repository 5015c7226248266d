//! Requirements on single members.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value as Json;

use crate::registration::{Acceptance, Field, Registration, Value};
use crate::rules::action::{self, Action};
use crate::rules::metadata::members::{misfit, misfit_of_list};
use crate::rules::{ConfigError, Disposition, Draft, ErrorCode, Rejection, Rule, RuleDocs, documented};

/// Operators on members, by name: the server's own members, which they accept, and those of RFC 7591. They run after
/// [`Members`](crate::rules::Members) and before every other rule, so that the values they set are checked like values
/// from a client.
///
/// The operators are those of OpenID Federation 1.0 section 6.1.3, with its order and semantics:
///
/// | operator | on a member that is present | on one that is absent |
/// | --- | --- | --- |
/// | `value` | replaces it; `null` removes it | sets it |
/// | `add` | adds elements to a list | sets the list |
/// | `default` | | sets it |
/// | `one_of` | must be one of these | |
/// | `subset_of` | a list is narrowed to these, and removed if nothing is left | |
/// | `superset_of` | a list must contain these | |
/// | `essential` | | the registration is rejected |
///
/// `scope` counts as a list. A member that is `null` or empty counts as absent. For values that violate `one_of`,
/// `subset_of` or `superset_of`, actions other than the standard's can be chosen ([`MemberOperators::otherwise`]).
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{Action, Context, MemberOperators, MetadataOperators, Policy};
///
/// let mut tenant = MemberOperators::default();
/// tenant.one_of = vec!["blue".into(), "green".into()];
/// tenant.default = Some("blue".into());
/// tenant.otherwise = Some(Action::Default);
/// let policy = Policy::new(MetadataOperators::default().on("tenant", tenant)?);
/// let evaluation = policy.evaluate(Registration::parse(br#"{"tenant":"red"}"#)?, &Context::registration());
/// assert_eq!(evaluation.registration.unwrap().string("tenant"), Some("blue"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "BTreeMap<String, MemberOperators>"))]
#[serde(try_from = "BTreeMap<String, MemberOperators>")]
#[must_use]
pub struct MetadataOperators(BTreeMap<String, MemberOperators>);

/// The operators on one member. See [`MetadataOperators`], which checks that they agree.
///
/// ```
/// use tower_dcr::rules::{MemberOperators, MetadataOperators};
///
/// let mut groups = MemberOperators::default();
/// groups.subset_of = vec!["staff".into()];
/// groups.superset_of = vec!["guests".into()];
/// assert!(MetadataOperators::default().on("groups", groups).is_err(), "no list meets both");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct MemberOperators {
    /// Value of the member, in place of any sent value; `null` removes it.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "also_null")]
    pub value: Option<Json>,
    /// Elements that are added to a list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<Json>,
    /// Value of the member if none was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Json>,
    /// Values that the member may have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<Json>,
    /// Elements that a list may have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subset_of: Vec<Json>,
    /// Elements that a list must have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub superset_of: Vec<Json>,
    /// Requires the member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub essential: Option<bool>,
    /// Action on a member that violates a requirement. By default a list is narrowed to `subset_of`, and any other
    /// violation rejected. `default` sets the value of `default`, `narrow` removes the elements of a list that are not in
    /// `subset_of`, `reject` rejects the registration, `strip` removes the member, and `substitute` sets the first value of
    /// `one_of`, or adds the missing elements of `superset_of`. RFC 7591 section 3.2.1: the server "MAY reject or replace any
    /// of the client's requested metadata values submitted during the registration and substitute them with suitable values".
    #[serde(
        deserialize_with = "action::one_if_any::<_, action::Any>",
        serialize_with = "action::write_one_if_any::<_, action::Any>",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<action::OneOf<action::Any>>"))]
    pub otherwise: Option<Action>,
}

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "metadata-policy",
    protects: "Single members from values that the operator does not allow.",
    reference: "OpenID Federation 1.0 section 6.1.3; RFC 7591 section 3.2.1 (the server may reject, replace, substitute)",
    attack: "Ask for another tenant's clients: {\"tenant\":\"another\"}",
    loosen: "metadata.policy.NAME.otherwise = \"substitute\", or take the operator out",
    opens: "Other values of that member.",
    replayable: true,
};

impl MetadataOperators {
    /// Sets the operators on a member, in place of any earlier ones.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Operators`] for a member that the server issues, for `software_statement`, for operators
    /// that contradict one another, and for those that would add redirect URIs to a registration.
    pub fn on(mut self, member: impl Into<String>, operators: MemberOperators) -> Result<Self, ConfigError> {
        let member = member.into();
        let fault = fault_of_name(&member, &operators)
            .or_else(|| operators.fault(member == SCOPE))
            .or_else(|| operators.fault_of_shape(&member));
        if let Some(reason) = fault {
            return Err(ConfigError::Operators { member, reason });
        }
        self.0.insert(member, operators);
        Ok(self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn names(&self, member: &str) -> bool {
        !self.0.is_empty() && self.0.contains_key(member)
    }

    /// Returns the values that `member`, or its elements, may have. `None` without such an operator.
    pub(crate) fn ceiling(&self, member: &str) -> Option<BTreeSet<String>> {
        let operators = self.0.get(member)?;
        let values = match &operators.value {
            Some(Json::Array(values)) => values,
            Some(value) => std::slice::from_ref(value),
            None if !operators.one_of.is_empty() => &operators.one_of,
            None if !operators.subset_of.is_empty() => &operators.subset_of,
            None => return None,
        };
        Some(values.iter().filter_map(Json::as_str).flat_map(|value| words(member, value)).map(str::to_owned).collect())
    }

    /// Returns the members that have operators.
    pub(crate) fn members(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

const SCOPE: &str = Field::SCOPE.name();

/// Returns the values of a member: `scope` is a list in one string.
fn words<'a>(member: &str, value: &'a str) -> Vec<&'a str> {
    if member == SCOPE { value.split(' ').collect() } else { vec![value] }
}

fn fault_of_name(member: &str, operators: &MemberOperators) -> Option<&'static str> {
    let field = Field::of(member.as_bytes());
    let puts = operators.value.is_some() || operators.default.is_some() || !operators.add.is_empty();
    match () {
        () if member.is_empty() => Some("it has no name"),
        () if field.is_some_and(Field::is_server_issued) => Some("only the server issues it"),
        () if field.is_some_and(|field| field.acceptance() == Acceptance::Verified) => {
            Some("statements are verified, or rejected")
        }
        // Only the client decides where the codes go, and is held to its redirect URIs.
        () if field == Some(Field::REDIRECT_URIS) && (puts || operators.otherwise == Some(Action::Substitute)) => {
            Some("redirect URIs are the client's to choose")
        }
        () => None,
    }
}

impl MemberOperators {
    /// Returns the contradiction in the operators. OpenID Federation 1.0 section 6.1.3.1 lists the valid combinations.
    fn fault(&self, spaced: bool) -> Option<&'static str> {
        let holds = |value: &Json| self.complaint(value, spaced).is_none();
        let checks = !self.one_of.is_empty() || self.checks_lists();
        let within = |element: &Json| self.subset_of.is_empty() || self.subset_of.contains(element);
        match () {
            () if *self == Self::default() => Some("there are none"),
            () if !self.one_of.is_empty() && (self.checks_lists() || !self.add.is_empty()) => {
                Some("one_of is for single values, add, subset_of and superset_of for lists")
            }
            () if !self.superset_of.iter().all(within) => Some("superset_of asks for what subset_of takes out"),
            () if !self.add.iter().all(within) => Some("add adds what subset_of takes out"),
            () if !self.add.iter().all(|element| self.is_in_value(element, spaced)) => {
                Some("add adds what value does not have")
            }
            () if self.value == Some(Json::Null) && self.is_essential() => {
                Some("a null `value` removes the member that `essential` requires")
            }
            () if self.value == Some(Json::Null) && self.default.is_some() => Some("value removes what has a default"),
            () if self.value.as_ref().is_some_and(|value| !value.is_null() && !holds(value)) => {
                Some("value breaks the other operators")
            }
            () if self.default.as_ref().is_some_and(|value| is_absent(value) || !holds(value)) => {
                Some("default breaks the other operators")
            }
            () => match self.otherwise {
                Some(_) if !checks => Some("otherwise is for one_of, subset_of and superset_of"),
                Some(Action::Default) if self.default.is_none() => Some("otherwise needs a default"),
                Some(Action::Narrow) if self.subset_of.is_empty() => Some("only subset_of can narrow"),
                Some(Action::Substitute) if self.one_of.is_empty() && self.superset_of.is_empty() => {
                    Some("only one_of and superset_of can substitute")
                }
                _ => None,
            },
        }
    }

    fn is_essential(&self) -> bool {
        self.essential == Some(true)
    }

    /// Returns `true` if the element is in `value`. OpenID Federation 1.0 section 6.1.3.1.1: with `value`, "the values
    /// of add MUST be a subset of the values of value".
    fn is_in_value(&self, element: &Json, spaced: bool) -> bool {
        let value = self.value.as_ref().filter(|value| !value.is_null());
        value.is_none_or(|value| elements(value, spaced).is_some_and(|elements| elements.contains(element)))
    }

    /// Returns the type of `member` if an operator has another one: set values skip the rule about members that clients
    /// send, and no client can meet the other requirements.
    fn fault_of_shape(&self, member: &str) -> Option<&'static str> {
        let values = self.value.iter().chain(&self.default).chain(&self.one_of);
        let lists = [&self.add, &self.subset_of, &self.superset_of];
        values
            .into_iter()
            .find_map(|value| misfit(member, value))
            .or_else(|| lists.into_iter().filter(|list| !list.is_empty()).find_map(|list| misfit_of_list(member, list)))
    }

    fn checks_lists(&self) -> bool {
        !self.subset_of.is_empty() || !self.superset_of.is_empty()
    }

    /// Returns the requirement that a present value violates.
    fn complaint(&self, value: &Json, spaced: bool) -> Option<Complaint> {
        if !self.one_of.is_empty() && !self.one_of.contains(value) {
            return Some(Complaint::Value);
        }
        if !self.checks_lists() {
            return None;
        }
        let Some(elements) = elements(value, spaced) else { return Some(Complaint::NoList) };
        let within = |element: &Json| self.subset_of.is_empty() || self.subset_of.contains(element);
        if !elements.iter().all(within) {
            return Some(Complaint::Excess);
        }
        (!self.superset_of.iter().all(|element| elements.contains(element))).then_some(Complaint::Lack)
    }

    /// Returns the outcome for a present value that violates a requirement.
    fn negotiate(&self, value: &Json, complaint: Complaint, spaced: bool) -> Result<Outcome, &'static str> {
        let narrowed = || {
            let kept = elements(value, spaced)?.into_iter().filter(|element| self.subset_of.contains(element));
            let kept = joined(kept.collect(), spaced);
            Some(kept).filter(|kept| !is_absent(kept) && self.complaint(kept, spaced).is_none())
        };
        let by_default = if matches!(complaint, Complaint::Excess) { Action::Narrow } else { Action::Reject };
        match (self.otherwise.unwrap_or(by_default), complaint) {
            (Action::Strip, _) => Ok(Outcome::Removed),
            (Action::Default, _) => Ok(self.default.clone().map_or(Outcome::Removed, Outcome::Substituted)),
            (Action::Substitute, Complaint::Value) => {
                Ok(self.one_of.first().cloned().map_or(Outcome::Removed, Outcome::Substituted))
            }
            (Action::Substitute, Complaint::Lack) => {
                let mut all = elements(value, spaced).unwrap_or_default();
                append_lacking(&mut all, &self.superset_of);
                Ok(Outcome::Substituted(joined(all, spaced)))
            }
            (Action::Narrow, Complaint::Excess) => match narrowed() {
                Some(kept) => Ok(Outcome::Narrowed(kept)),
                None if self.superset_of.is_empty() => Ok(Outcome::Removed),
                None => Err(Complaint::Lack.detail()),
            },
            (_, complaint) => Err(complaint.detail()),
        }
    }
}

/// The requirement that a value violates.
#[derive(Clone, Copy)]
enum Complaint {
    Excess,
    Lack,
    NoList,
    Value,
}

impl Complaint {
    const fn detail(self) -> &'static str {
        match self {
            Self::Excess => "asks for more than this server offers",
            Self::Lack => "lacks something that this server needs",
            Self::NoList => "must be a list",
            Self::Value => "is not one of the values that this server takes",
        }
    }
}

enum Outcome {
    Narrowed(Json),
    Removed,
    Substituted(Json),
}

impl Rule for MetadataOperators {
    documented!(DOCS);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        self.0.iter().try_for_each(|(member, operators)| operators.apply(draft, member))
    }
}

impl MemberOperators {
    fn apply(&self, draft: &mut Draft<'_>, member: &str) -> Result<(), Rejection> {
        let spaced = member == SCOPE;
        match &self.value {
            Some(Json::Null) => draft.strip(member),
            Some(value) if current(draft.registration(), member).as_ref() != Some(value) => {
                draft.replace(member, value, Disposition::Supplied);
            }
            _ => {}
        }
        if !self.add.is_empty() {
            self.add_to(draft, member, spaced);
        }
        if let (Some(default), None) = (&self.default, current(draft.registration(), member)) {
            draft.replace(member, default, Disposition::Defaulted);
        }
        let reject = |draft: &Draft<'_>, detail| {
            Err(draft.reject(ErrorCode::InvalidClientMetadata, detail).with_field(member.to_owned()))
        };
        if let Some(value) = current(draft.registration(), member)
            && let Some(complaint) = self.complaint(&value, spaced)
        {
            match self.negotiate(&value, complaint, spaced) {
                Ok(Outcome::Narrowed(kept)) => draft.replace(member, &kept, Disposition::Narrowed),
                Ok(Outcome::Removed) => draft.strip(member),
                Ok(Outcome::Substituted(other)) => draft.replace(member, &other, Disposition::Substituted),
                Err(detail) => return reject(draft, detail),
            }
        }
        if self.is_essential() && current(draft.registration(), member).is_none() {
            return reject(draft, "is required");
        }
        Ok(())
    }

    fn add_to(&self, draft: &mut Draft<'_>, member: &str, spaced: bool) {
        let before = current(draft.registration(), member);
        let Some(mut all) = before.as_ref().map_or(Some(Vec::new()), |value| elements(value, spaced)) else { return };
        if append_lacking(&mut all, &self.add) {
            draft.replace(member, &joined(all, spaced), Disposition::Supplied);
        }
    }
}

/// Appends the elements of `wanted` that are missing. Returns `true` if there were any.
fn append_lacking(elements: &mut Vec<Json>, wanted: &[Json]) -> bool {
    let lacking: Vec<Json> = wanted.iter().filter(|element| !elements.contains(element)).cloned().collect();
    let lacks = !lacking.is_empty();
    elements.extend(lacking);
    lacks
}

/// Returns the value of a member as JSON. `None` if it is absent.
fn current(document: &Registration, member: &str) -> Option<Json> {
    let json = match document.get(member)? {
        Value::Null => return None,
        Value::Bool(value) => Json::Bool(value),
        Value::String(text) => Json::String(text.to_owned()),
        Value::Strings(strings) => strings.map(|text| Json::String(text.to_owned())).collect(),
        // The text has already been parsed once.
        Value::Number(text) | Value::Array(text) | Value::Object(text) => serde_json::from_str(text).ok()?,
    };
    Some(json).filter(|json| !is_absent(json))
}

fn is_absent(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::String(text) => text.is_empty(),
        Json::Array(elements) => elements.is_empty(),
        _ => false,
    }
}

/// Returns the elements of a list; those of `scope` are separated by spaces. `None` if it is not a list.
fn elements(value: &Json, spaced: bool) -> Option<Vec<Json>> {
    match value {
        Json::Array(elements) => Some(elements.clone()),
        Json::String(text) if spaced => {
            Some(text.split(' ').filter(|token| !token.is_empty()).map(Json::from).collect())
        }
        _ => None,
    }
}

fn joined(elements: Vec<Json>, spaced: bool) -> Json {
    if !spaced {
        return Json::Array(elements);
    }
    let tokens: Vec<&str> = elements.iter().filter_map(Json::as_str).collect();
    Json::String(tokens.join(" "))
}

/// Deserializes an explicit `null` as a value of its own.
fn also_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

impl TryFrom<BTreeMap<String, MemberOperators>> for MetadataOperators {
    type Error = ConfigError;

    fn try_from(members: BTreeMap<String, MemberOperators>) -> Result<Self, ConfigError> {
        members.into_iter().try_fold(Self::default(), |all, (member, operators)| all.on(member, operators))
    }
}
