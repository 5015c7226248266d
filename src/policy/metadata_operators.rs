//! What single members must be.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value as Json;

use super::members::is_server_issued;
use super::{ConfigError, Disposition, Policy, Submission, describe_as_json};
use crate::registration::{Field, Registration, Value};
use crate::rejection::{ErrorCode, Rejection};

/// Operators on members, by name: the server's own ones, which they let through, and those of RFC 7591. They run after
/// [`Members`](super::Members) and before every other rule, so that what they put into a registration is judged like what
/// was sent.
///
/// The operators are those of OpenID Federation 1.0 section 6.1.3, in its order, with its meaning:
///
/// | operator | on a member that is there | on one that is not |
/// | --- | --- | --- |
/// | `value` | replaces it; `null` removes it | puts it there |
/// | `add` | adds elements to a list | puts the list there |
/// | `default` | | puts it there |
/// | `one_of` | must be one of these | |
/// | `subset_of` | a list is narrowed to these, and removed if nothing is left | |
/// | `superset_of` | a list must hold these | |
/// | `essential` | | the registration is refused |
///
/// `scope` counts as a list. A member that is `null` or empty counts as absent. What breaks `one_of`, `subset_of` or
/// `superset_of` can be met in another way than the standard's ([`Negotiation`]).
///
/// ```
/// # use tower_dcr::{Registration, policy::{Policy, Review, Submission}};
/// # fn judge(rule: &impl Policy, body: &str) -> Result<String, String> {
/// #     let mut registration = Registration::parse(body.as_bytes()).unwrap();
/// #     let mut review = Review::registration();
/// #     rule.review(&mut Submission::new(&mut registration, &mut review)).map_err(|refused| refused.description())?;
/// #     Ok(String::from_utf8(registration.canonical_bytes()).unwrap())
/// # }
/// use tower_dcr::policy::{MemberOperators, MetadataOperators, Negotiation};
///
/// let tenant = MemberOperators::new().one_of(["blue", "green"]).default_value("blue").otherwise(Negotiation::Default);
/// let rule = MetadataOperators::new()
///     .on("tenant", tenant)?
///     .on("client_name", MemberOperators::new().essential())?;
///
/// assert_eq!(judge(&rule, r#"{"client_name":"App","tenant":"red"}"#).unwrap(), r#"{"client_name":"App","tenant":"blue"}"#);
/// assert_eq!(judge(&rule, r#"{"tenant":"green"}"#).unwrap_err(), "client_name is required (metadata-policy)");
/// assert!(MetadataOperators::new().on("client_secret", MemberOperators::new().essential()).is_err());
/// # Ok::<_, tower_dcr::policy::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "BTreeMap<String, MemberOperators>"))]
#[serde(try_from = "BTreeMap<String, MemberOperators>")]
#[must_use]
pub struct MetadataOperators(BTreeMap<String, MemberOperators>);

/// The operators on one member. See [`MetadataOperators`].
///
/// ```
/// use tower_dcr::policy::MemberOperators;
///
/// let groups = MemberOperators::new().subset_of(["staff", "guests"]).superset_of(["guests"]);
/// # let _ = groups;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct MemberOperators {
    /// What the member is, whatever was sent; `null` removes it.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "also_null")]
    value: Option<Json>,
    /// Elements that a list has in any case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    add: Vec<Json>,
    /// What the member is if it is not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<Json>,
    /// What the member may be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    one_of: Vec<Json>,
    /// The elements that a list may have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subset_of: Vec<Json>,
    /// The elements that a list must have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    superset_of: Vec<Json>,
    /// Whether the member must be there.
    essential: bool,
    /// What happens to a member that is not what it must be: by default a list is narrowed to `subset_of`, and anything else
    /// refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    otherwise: Option<Negotiation>,
}

/// What happens to a member that is not what it must be. RFC 7591 section 3.2.1: the server "MAY reject or replace any of
/// the client's requested metadata values submitted during the registration and substitute them with suitable values".
///
/// ```
/// use tower_dcr::policy::{MemberOperators, Negotiation};
///
/// let color = MemberOperators::new().one_of(["red", "green"]).otherwise(Negotiation::Strip);
/// # let _ = color;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Negotiation {
    /// It becomes what `default` says.
    Default,
    /// A list loses what is not in `subset_of`.
    Narrow,
    /// The registration is refused.
    #[serde(alias = "refuse")]
    Reject,
    /// It is removed.
    Strip,
    /// It becomes the first of `one_of`, or gets what it lacks of `superset_of`.
    Substitute,
}

const RULE: &str = "metadata-policy";

impl MetadataOperators {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts operators on a member; those that it had are replaced.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Operators`] for a member that the server issues, `software_statement`, operators that contradict one
    /// another, and those that would put redirect URIs into a registration.
    pub fn on(mut self, member: impl Into<String>, operators: MemberOperators) -> Result<Self, ConfigError> {
        let member = member.into();
        if let Some(reason) = fault_of_name(&member, &operators).or_else(|| operators.fault(member == SCOPE)) {
            return Err(ConfigError::Operators { member, reason });
        }
        self.0.insert(member, operators);
        Ok(self)
    }

    pub(super) fn names(&self, member: &str) -> bool {
        !self.0.is_empty() && self.0.contains_key(member)
    }

    /// What `member` may be, or what its elements may be; `None` if no operator says.
    pub(super) fn ceiling(&self, member: &str) -> Option<BTreeSet<String>> {
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

    /// The members that have operators.
    pub(super) fn members(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

const SCOPE: &str = "scope";

/// A scope is a list in one string.
fn words<'a>(member: &str, value: &'a str) -> Vec<&'a str> {
    if member == SCOPE { value.split(' ').collect() } else { vec![value] }
}

fn fault_of_name(member: &str, operators: &MemberOperators) -> Option<&'static str> {
    let field = Field::of(member.as_bytes());
    let puts = operators.value.is_some() || operators.default.is_some() || !operators.add.is_empty();
    match () {
        () if member.is_empty() => Some("it has no name"),
        () if field.is_some_and(is_server_issued) => Some("only the server issues it"),
        () if field == Some(Field::SOFTWARE_STATEMENT) => Some("statements are verified, or refused"),
        // Whoever registers says where the codes go, and is held to it.
        () if field == Some(Field::REDIRECT_URIS) && (puts || operators.otherwise == Some(Negotiation::Substitute)) => {
            Some("redirect URIs are the client's to choose")
        }
        () => None,
    }
}

impl MemberOperators {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the member is, whatever was sent; `null` removes it.
    pub fn value(mut self, value: impl Into<Json>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// Elements that a list has in any case.
    pub fn adding<V: Into<Json>>(mut self, elements: impl IntoIterator<Item = V>) -> Self {
        self.add = list(elements);
        self
    }

    /// What the member is if it is not sent.
    pub fn default_value(mut self, value: impl Into<Json>) -> Self {
        self.default = Some(value.into());
        self
    }

    /// What the member may be.
    pub fn one_of<V: Into<Json>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        self.one_of = list(values);
        self
    }

    /// The elements that a list may have.
    pub fn subset_of<V: Into<Json>>(mut self, elements: impl IntoIterator<Item = V>) -> Self {
        self.subset_of = list(elements);
        self
    }

    /// The elements that a list must have.
    pub fn superset_of<V: Into<Json>>(mut self, elements: impl IntoIterator<Item = V>) -> Self {
        self.superset_of = list(elements);
        self
    }

    /// The member must be there.
    pub fn essential(mut self) -> Self {
        self.essential = true;
        self
    }

    /// What happens to a member that is not what it must be.
    pub fn otherwise(mut self, negotiation: Negotiation) -> Self {
        self.otherwise = Some(negotiation);
        self
    }

    /// What can't be meant: OpenID Federation 1.0 section 6.1.3.1 says which operators go together.
    fn fault(&self, spaced: bool) -> Option<&'static str> {
        let holds = |value: &Json| self.complaint(value, spaced).is_none();
        let checks = !self.one_of.is_empty() || self.checks_lists();
        let within = |element: &Json| self.subset_of.is_empty() || self.subset_of.contains(element);
        match () {
            () if *self == Self::new() => Some("there are none"),
            () if !self.one_of.is_empty() && (self.checks_lists() || !self.add.is_empty()) => {
                Some("one_of is for single values, add, subset_of and superset_of for lists")
            }
            () if !self.superset_of.iter().all(within) => Some("superset_of asks for what subset_of takes out"),
            () if !self.add.iter().all(within) => Some("add adds what subset_of takes out"),
            () if self.value == Some(Json::Null) && self.essential => Some("value removes what is essential"),
            () if self.value == Some(Json::Null) && self.default.is_some() => Some("value removes what has a default"),
            () if self.value.as_ref().is_some_and(|value| !value.is_null() && !holds(value)) => {
                Some("value breaks the other operators")
            }
            () if self.default.as_ref().is_some_and(|value| is_absent(value) || !holds(value)) => {
                Some("default breaks the other operators")
            }
            () => match self.otherwise {
                Some(_) if !checks => Some("otherwise is for one_of, subset_of and superset_of"),
                Some(Negotiation::Default) if self.default.is_none() => Some("otherwise needs a default"),
                Some(Negotiation::Narrow) if self.subset_of.is_empty() => Some("only subset_of can narrow"),
                Some(Negotiation::Substitute) if self.one_of.is_empty() && self.superset_of.is_empty() => {
                    Some("only one_of and superset_of can substitute")
                }
                _ => None,
            },
        }
    }

    fn checks_lists(&self) -> bool {
        !self.subset_of.is_empty() || !self.superset_of.is_empty()
    }

    /// What is wrong with a value that is there.
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

    /// What becomes of a value that is there and wrong; nothing if it is removed.
    fn negotiate(&self, value: &Json, complaint: Complaint, spaced: bool) -> Result<Outcome, &'static str> {
        let narrowed = || {
            let kept = elements(value, spaced)?.into_iter().filter(|element| self.subset_of.contains(element));
            let kept = joined(kept.collect(), spaced);
            Some(kept).filter(|kept| !is_absent(kept) && self.complaint(kept, spaced).is_none())
        };
        let by_default = if matches!(complaint, Complaint::Excess) { Negotiation::Narrow } else { Negotiation::Reject };
        match (self.otherwise.unwrap_or(by_default), complaint) {
            (Negotiation::Strip, _) => Ok(Outcome::Removed),
            (Negotiation::Default, _) => Ok(self.default.clone().map_or(Outcome::Removed, Outcome::Substituted)),
            (Negotiation::Substitute, Complaint::Value) => {
                Ok(self.one_of.first().cloned().map_or(Outcome::Removed, Outcome::Substituted))
            }
            (Negotiation::Substitute, Complaint::Lack) => {
                let mut all = elements(value, spaced).unwrap_or_default();
                append_lacking(&mut all, &self.superset_of);
                Ok(Outcome::Substituted(joined(all, spaced)))
            }
            (Negotiation::Narrow, Complaint::Excess) => match narrowed() {
                Some(kept) => Ok(Outcome::Narrowed(kept)),
                None if self.superset_of.is_empty() => Ok(Outcome::Removed),
                None => Err(Complaint::Lack.detail()),
            },
            (Negotiation::Reject | Negotiation::Narrow | Negotiation::Substitute, complaint) => Err(complaint.detail()),
        }
    }
}

/// What is wrong with a value.
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

impl Policy for MetadataOperators {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        if self.0.is_empty() {
            return Ok(());
        }
        submission.begin(RULE);
        self.0.iter().try_for_each(|(member, operators)| operators.apply(submission, member))
    }

    fn describe(&self, out: &mut String) {
        describe_as_json(self, out);
    }
}

impl MemberOperators {
    fn apply(&self, submission: &mut Submission<'_>, member: &str) -> Result<(), Rejection> {
        let spaced = member == SCOPE;
        match &self.value {
            Some(Json::Null) => submission.strip(member),
            Some(value) if current(submission.registration(), member).as_ref() != Some(value) => {
                submission.replace(member, value, Disposition::Supplied);
            }
            _ => {}
        }
        if !self.add.is_empty() {
            self.add_to(submission, member, spaced);
        }
        if let (Some(default), None) = (&self.default, current(submission.registration(), member)) {
            submission.replace(member, default, Disposition::Defaulted);
        }
        let refuse = |submission: &Submission<'_>, detail| {
            Err(submission.reject(ErrorCode::InvalidClientMetadata, detail).with_field(member.to_owned()))
        };
        if let Some(value) = current(submission.registration(), member)
            && let Some(complaint) = self.complaint(&value, spaced)
        {
            match self.negotiate(&value, complaint, spaced) {
                Ok(Outcome::Narrowed(kept)) => submission.replace(member, &kept, Disposition::Narrowed),
                Ok(Outcome::Removed) => submission.strip(member),
                Ok(Outcome::Substituted(other)) => submission.replace(member, &other, Disposition::Substituted),
                Err(detail) => return refuse(submission, detail),
            }
        }
        if self.essential && current(submission.registration(), member).is_none() {
            return refuse(submission, "is required");
        }
        Ok(())
    }

    fn add_to(&self, submission: &mut Submission<'_>, member: &str, spaced: bool) {
        let before = current(submission.registration(), member);
        let Some(mut all) = before.as_ref().map_or(Some(Vec::new()), |value| elements(value, spaced)) else { return };
        if append_lacking(&mut all, &self.add) {
            submission.replace(member, &joined(all, spaced), Disposition::Supplied);
        }
    }
}

/// Appends those of `wanted` that are not there yet; whether there were any.
fn append_lacking(elements: &mut Vec<Json>, wanted: &[Json]) -> bool {
    let lacking: Vec<Json> = wanted.iter().filter(|element| !elements.contains(element)).cloned().collect();
    let lacks = !lacking.is_empty();
    elements.extend(lacking);
    lacks
}

/// The value of a member as JSON, if there is one.
fn current(document: &Registration, member: &str) -> Option<Json> {
    let json = match document.get(member)? {
        Value::Null => return None,
        Value::Bool(value) => Json::Bool(value),
        Value::String(text) => Json::String(text.to_owned()),
        Value::Strings(strings) => strings.map(|text| Json::String(text.to_owned())).collect(),
        // What was parsed once can be parsed again.
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

/// The elements of a list; `scope` is one whose elements stand between spaces.
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

fn list<V: Into<Json>>(values: impl IntoIterator<Item = V>) -> Vec<Json> {
    values.into_iter().map(Into::into).collect()
}

/// A `null` that is written is a value of its own.
fn also_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

impl TryFrom<BTreeMap<String, MemberOperators>> for MetadataOperators {
    type Error = ConfigError;

    fn try_from(members: BTreeMap<String, MemberOperators>) -> Result<Self, ConfigError> {
        members.into_iter().try_fold(Self::new(), |all, (member, operators)| all.on(member, operators))
    }
}
