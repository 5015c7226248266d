//! The rule over the names and types of members.

use std::borrow::{Borrow, Cow};
use std::collections::{BTreeMap, BTreeSet};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value as Json;

use crate::registration::{Acceptance, Entry, Field, JsonType, Registration, Value};
use crate::rules::action::{self, Action};
use crate::rules::metadata::noncharacters;
use crate::rules::{
    ConfigError, Draft, ErrorCode, MetadataOperators, Operation, Rejection, Rule, RuleDocs, documented, settings,
};
use crate::text;

/// Accepts known members with the type that RFC 7591 section 2 defines. All others are stripped or rejected, never
/// forwarded (mass assignment: `"skip_consent": true`).
///
/// 1. Members that only the server issues (`client_id`, `client_secret`, `registration_access_token`, …) are never
///    accepted in a `POST` (RFC 7591 section 6). A `PUT` must have `client_id` and may have `client_secret` (RFC 7592
///    section 2.2).
/// 2. A `software_statement` is rejected: its claims override plain members (RFC 7591 section 2.3), so that an
///    unverified one would bypass every other rule.
/// 3. A language-tagged member (`client_name#fr`, RFC 7591 section 2.2) is known if its base is one of the five
///    human-readable members. Two tags that differ only in case are a duplicate member, which is rejected.
/// 4. `null`, `""` and `[]` count as absent (RFC 7592 section 2.2) and are stripped, except `redirect_uris`.
/// 5. No accepted string contains a control character or more than 2048 bytes.
/// 6. A known member must have the type that its specification defines even if [`add_member`](Self::add_member) or an
///    operator ([`MetadataOperators`]) accepts it.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::rules::{Context, Members, Policy};
///
/// let policy = Policy::new(Members::default().add_member("tenant")?);
/// let registration = Registration::parse(br#"{"client_name":"App","skip_consent":true,"tenant":"a"}"#)?;
/// let evaluation = policy.evaluate(registration, &Context::registration());
/// assert_eq!(evaluation.registration.unwrap().canonical_bytes(), br#"{"client_name":"App","tenant":"a"}"#);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Members {
    /// The server's own members that are accepted unchanged.
    #[serde(rename = "allow")]
    extra: BTreeSet<Extra>,
    /// The server's own members that every registration gets, with their values.
    #[serde(rename = "supply", deserialize_with = "supplied")]
    supplied: BTreeMap<Extra, serde_json::Value>,
    /// Accepts the members that OpenID Providers use: those of OpenID Connect Dynamic Client Registration and of the logout
    /// specifications. Members of a grant type or an authentication method are accepted where it is offered.
    pub openid: bool,
    /// Action on members that this crate does not know: `reject` or `strip`. Rejecting deviates from RFC 7591 section 2: "The
    /// authorization server MUST ignore any client metadata sent by the client that it does not understand".
    #[serde(
        deserialize_with = "action::one::<_, action::StripOrReject>",
        serialize_with = "action::write_one::<_, action::StripOrReject>"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "action::OneOf<action::StripOrReject>"))]
    pub unknown: Action,
    /// Action on members that this crate knows but this server does not accept, including those that only the server issues:
    /// `reject` or `strip`.
    #[serde(
        deserialize_with = "action::one::<_, action::StripOrReject>",
        serialize_with = "action::write_one::<_, action::StripOrReject>"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "action::OneOf<action::StripOrReject>"))]
    pub unwanted: Action,
    /// Action on single members that would be unknown or not accepted: `reject` or `strip`.
    #[serde(
        deserialize_with = "action::by_name::<_, action::StripOrReject, _>",
        serialize_with = "action::write_by_name::<_, action::StripOrReject, _>"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "BTreeMap<Extra, action::OneOf<action::StripOrReject>>"))]
    dispositions: BTreeMap<Extra, Action>,
    /// Action on `null`, `""` and `[]`: `reject` or `strip`.
    #[serde(
        deserialize_with = "action::one::<_, action::StripOrReject>",
        serialize_with = "action::write_one::<_, action::StripOrReject>"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "action::OneOf<action::StripOrReject>"))]
    pub empty: Action,
}

/// The name of a member of the server's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Extra(String);

/// Returns `true` if a value has the type of its field and no string in it can be at fault. `false` if it needs a full
/// check.
fn fits_at_a_glance(json_type: JsonType, member: Entry<'_>, document: &Registration) -> bool {
    let fits = match json_type {
        JsonType::String => member.is_text(),
        JsonType::Strings => member.is_list(),
        JsonType::Bool | JsonType::Number | JsonType::Object => false,
    };
    fits && document.is_plain_within(MAX_STRING_BYTES)
}

const MAX_STRING_BYTES: usize = 2048;
const MAX_LANGUAGE_TAGS: usize = 32;

/// Returns the type of a member by its name, language-tagged or not. `None` if it is one of the server's own.
fn type_of(name: &str) -> Option<JsonType> {
    let base = text::split_at_byte(name, b'#').map_or(name, |(base, _)| base);
    let field = Field::of(base.as_bytes())?;
    (base.len() == name.len() || field.is_human_readable()).then(|| field.json_type())
}

/// Returns the type that the member `name` must have if a configured value has another one. `None` if the value fits;
/// `null` removes a member.
pub(crate) fn misfit(name: &str, value: &serde_json::Value) -> Option<&'static str> {
    let json_type = type_of(name)?;
    (!value.is_null() && !json_type.fits(value)).then(|| json_type.requirement())
}

/// Returns the type that the member `name` must have if it can't be a list of these elements. A `scope` is a list in
/// one string.
pub(crate) fn misfit_of_list(name: &str, elements: &[serde_json::Value]) -> Option<&'static str> {
    let json_type = if name == Field::SCOPE.name() { JsonType::Strings } else { type_of(name)? };
    (json_type != JsonType::Strings || !elements.iter().all(serde_json::Value::is_string))
        .then(|| json_type.requirement())
}

/// Returns `true` if the part of a name after its `#` is in BCP 47's alphabet.
fn has_well_formed_tag(name: &str) -> bool {
    let Some((_, tag)) = text::split_at_byte(name, b'#') else { return false };
    let is_subtag = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    tag.len() <= 35 && tag.split('-').all(is_subtag)
}

/// The outcome for a member that does not reject the registration.
#[derive(Clone, Copy)]
enum Fate {
    Keep,
    Strip,
}

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "known-members",
    protects: "The handler and its store from unexpected members (mass assignment).",
    reference: "RFC 7591 section 2: \"MUST ignore any client metadata … that it does not understand\"; sections 2.2 and 6",
    attack: "{\"redirect_uris\":[\"http://localhost/cb\"],\"skip_consent\":true,\"client_secret\":\"chosen by me\"}",
    loosen: "metadata.members.allow = [\"tenant\"]; metadata.members.openid = true; \
             metadata.members.unknown = \"strip\" (instead of \"reject\"). Not possible for the 2,048 bytes of a string and the 32 \
             language tags",
    opens: "Values of those members reach the handler as they were sent: put operators on them (metadata.policy).",
    replayable: true,
};

impl Members {
    /// Creates the rule that rejects a registration with members that are not accepted. The default strips them.
    pub(crate) fn strict() -> Self {
        Self { unknown: Action::Reject, unwanted: Action::Reject, empty: Action::Reject, ..Self::default() }
    }

    /// Accepts one of the server's own members unchanged. A known one must have the type that its specification
    /// defines.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Member`] for a name that only the server issues, `software_statement`, or one that is
    /// accepted anyway.
    pub fn add_member(mut self, name: impl Into<String>) -> Result<Self, ConfigError> {
        self.extra.insert(name.into().try_into()?);
        Ok(self)
    }

    /// Sets the action on one member that would be unknown or not accepted, independently of the others: `jwks_uri` can
    /// be rejected while others are stripped.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Member`] as [`add_member`](Self::add_member) does.
    pub fn with_disposition(mut self, name: impl Into<String>, action: Action) -> Result<Self, ConfigError> {
        self.dispositions.insert(name.into().try_into()?, action);
        Ok(self)
    }

    /// Sets a member of every registration to the operator's own value, regardless of the value that the client sent.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Member`] as [`add_member`](Self::add_member) does, and [`ConfigError::Shape`] for a known
    /// member with a value that its specification does not allow.
    pub fn supply_member(
        mut self,
        name: impl Into<String>,
        value: impl Into<serde_json::Value>,
    ) -> Result<Self, ConfigError> {
        let (name, value) = (Extra::try_from(name.into())?, value.into());
        if let Some(demand) = misfit(&name.0, &value) {
            return Err(ConfigError::Shape { member: name.0, demand });
        }
        self.supplied.insert(name, value);
        Ok(self)
    }

    /// Strips what would be rejected: a document is the same for every server.
    pub(super) fn for_documents(&mut self) {
        (self.unknown, self.unwanted, self.empty) = (Action::Strip, Action::Strip, Action::Strip);
    }

    /// Returns the server's own members that are accepted.
    pub(crate) fn own(&self) -> impl Iterator<Item = &str> {
        self.extra.iter().map(|name| name.0.as_str())
    }

    fn disposition(&self, name: &str, others: Action) -> Action {
        if self.dispositions.is_empty() { others } else { self.dispositions.get(name).copied().unwrap_or(others) }
    }

    fn fate(&self, draft: &Draft<'_>, member: Entry<'_>, known: Known<'_>) -> Result<Fate, Rejection> {
        let is_let_in = || self.extra.contains(member.name()) || known.names(member.name());
        if let Some(field) = member.kind().field() {
            return match (field.acceptance(), field.json_type()) {
                // A fast path for most members of most registrations.
                (Acceptance::Always, json_type) if fits_at_a_glance(json_type, member, draft.registration()) => {
                    Ok(Fate::Keep)
                }
                (Acceptance::Always, json_type) => self.fate_of_wanted(draft, field, json_type, &member.value()),
                // A known member must have the type that its specification defines, even if it is accepted by name:
                // later rules, and the server, rely on it.
                (_, json_type) if is_let_in() => self.fate_of_wanted(draft, field, json_type, &member.value()),
                _ => self.fate_of_known(draft, field, &member.value()),
            };
        }
        if let Some(field) = member.kind().base()
            && (has_well_formed_tag(member.name()) || is_let_in())
        {
            return self.fate_of_wanted(draft, field, JsonType::String, &member.value());
        }
        if is_let_in() {
            return Ok(Fate::Keep);
        }
        match self.disposition(member.name(), self.unknown) {
            Action::Strip => Ok(Fate::Strip),
            // The client chose the name.
            _ => Err(draft.reject(ErrorCode::InvalidClientMetadata, "a member is not known to this server")),
        }
    }

    /// Decides on a field that specifications define and not every server accepts.
    fn fate_of_known(&self, draft: &Draft<'_>, field: Field, value: &Value<'_>) -> Result<Fate, Rejection> {
        let unwanted = |detail| match self.disposition(field.name(), self.unwanted) {
            Action::Strip => Ok(Fate::Strip),
            _ => Err(rejection(draft, detail, field)),
        };
        // Rejecting a member that is understood is no deviation (RFC 7591 section 2).
        let not_accepted = "is not accepted by this server";
        match (field.acceptance(), draft.operation()) {
            (Acceptance::Updates, Operation::Update) => match value {
                Value::String(_) => Ok(Fate::Keep),
                _ => Err(rejection(draft, field.json_type().requirement(), field)),
            },
            (Acceptance::Updates | Acceptance::Never, _) => unwanted("is issued by the server only"),
            // Not `invalid_software_statement`: its validity was not checked.
            (Acceptance::Verified, _) if !value.is_empty() => Err(rejection(draft, not_accepted, field)),
            (Acceptance::Openid, _) if self.openid => self.fate_of_wanted(draft, field, field.json_type(), value),
            (
                Acceptance::Always
                | Acceptance::Openid
                | Acceptance::WithGrant(_)
                | Acceptance::WithMethod(_)
                | Acceptance::OptIn
                | Acceptance::Verified,
                _,
            ) => unwanted(not_accepted),
        }
    }

    /// Decides on the value of a member that is wanted.
    fn fate_of_wanted(
        &self,
        draft: &Draft<'_>,
        field: Field,
        json_type: JsonType,
        value: &Value<'_>,
    ) -> Result<Fate, Rejection> {
        if field == Field::REDIRECT_URIS {
            return match value {
                Value::Strings(_) => Ok(Fate::Keep),
                _ => Err(draft
                    .reject(ErrorCode::InvalidRedirectUri, "must be an array of strings")
                    .with_field(field.name())),
            };
        }
        if value.is_empty() {
            // An empty list of contacts means none. An empty list of grant types differs from an absent one.
            let nothing = field == Field::CONTACTS && matches!(value, Value::Strings(_));
            return match self.empty {
                Action::Strip => Ok(Fate::Strip),
                _ if nothing => Ok(Fate::Strip),
                _ => Err(rejection(draft, "must not be empty", field)),
            };
        }
        match fault(json_type, value, draft.registration()) {
            Some(detail) => Err(rejection(draft, detail, field)),
            None => Ok(Fate::Keep),
        }
    }
}

impl Default for Members {
    fn default() -> Self {
        Self {
            extra: BTreeSet::new(),
            supplied: BTreeMap::new(),
            openid: false,
            unknown: Action::Strip,
            unwanted: Action::Strip,
            dispositions: BTreeMap::new(),
            empty: Action::Strip,
        }
    }
}

fn rejection(draft: &Draft<'_>, detail: impl Into<Cow<'static, str>>, field: Field) -> Rejection {
    draft.reject(ErrorCode::InvalidClientMetadata, detail).with_field(field.name())
}

impl Rule for Members {
    documented!(DOCS);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        self.check_with(draft, Known { ruled: &MetadataOperators::default(), offered: &[] })
    }
}

impl Members {
    /// Checks the draft. Members that other rules have a use for are accepted, too.
    fn check_with(&self, draft: &mut Draft<'_>, known: Known<'_>) -> Result<(), Rejection> {
        let mut strip = Vec::new();
        let mut tagged = false;
        for (position, member) in draft.registration().entries().enumerate() {
            match self.fate(draft, member, known)? {
                Fate::Keep => tagged |= member.kind().is_tagged(),
                Fate::Strip => strip.push(position),
            }
        }
        if !strip.is_empty() {
            draft.strip_at(&strip);
        }
        if tagged {
            check_tags(draft)?;
        }
        if draft.operation() == Operation::Update && draft.registration().at(Field::CLIENT_ID).is_none() {
            // RFC 7592 section 2.2: the request "MUST include the client_id field".
            return Err(draft.reject(ErrorCode::InvalidClientMetadata, "is required").with_field("client_id"));
        }
        for (name, value) in &self.supplied {
            draft.supply(&name.0, value);
        }
        Ok(())
    }
}

/// The rule of a policy with operators, grant types and authentication methods, which accepts their members, too.
#[derive(Debug)]
pub(crate) struct KnownMembers {
    pub(crate) members: Members,
    pub(crate) operators: MetadataOperators,
    /// The fields of the grant types and methods that are offered.
    pub(crate) offered: Vec<Field>,
}

/// The members that other rules of the policy have a use for.
#[derive(Clone, Copy)]
struct Known<'a> {
    ruled: &'a MetadataOperators,
    offered: &'a [Field],
}

impl Known<'_> {
    fn names(self, name: &str) -> bool {
        self.ruled.names(name) || self.offered.iter().any(|field| field.name() == name)
    }
}

impl Rule for KnownMembers {
    documented!(DOCS, with a configuration of its own);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        self.members.check_with(draft, Known { ruled: &self.operators, offered: &self.offered })?;
        noncharacters::reject(draft)
    }

    fn config(&self) -> Json {
        settings(&self.members)
    }
}

/// Rejects duplicate tags. RFC 7591 section 2.2: tags are interpreted "in a case insensitive manner".
fn check_tags(draft: &Draft<'_>) -> Result<(), Rejection> {
    let tagged = || draft.registration().entries().filter(|member| member.kind().is_tagged());
    // An identical name can't be there twice: only a name with capitals can repeat another one.
    let repeats = |member: Entry<'_>| {
        let name = member.name();
        name.bytes().any(|byte| byte.is_ascii_uppercase())
            && tagged()
                .filter(|other| other.kind() == member.kind())
                .any(|other| other.name().eq_ignore_ascii_case(name) && other.name() != name)
    };
    let detail: Cow<'static, str> = match tagged().count() {
        count if count > MAX_LANGUAGE_TAGS => {
            format!("there are {count} language-tagged members, and at most {MAX_LANGUAGE_TAGS} are allowed").into()
        }
        _ if tagged().any(repeats) => "a language-tagged member appears twice".into(),
        _ => return Ok(()),
    };
    Err(draft.reject(ErrorCode::InvalidClientMetadata, detail))
}

/// Returns the reason for which a value is invalid for a known member. `None` if it is valid.
fn fault(json_type: JsonType, value: &Value<'_>, document: &Registration) -> Option<Cow<'static, str>> {
    match (json_type, value) {
        (JsonType::String, Value::String(text)) => string_fault(text, document),
        (JsonType::Strings, Value::Strings(strings)) => strings.clone().find_map(|text| string_fault(text, document)),
        (JsonType::Bool, Value::Bool(_))
        | (JsonType::Number, Value::Number(_))
        | (JsonType::Object, Value::Object(_)) => None,
        (json_type, _) => Some(json_type.requirement().into()),
    }
}

fn string_fault(text: &str, document: &Registration) -> Option<Cow<'static, str>> {
    if text.len() > MAX_STRING_BYTES {
        return Some(format!("has {} bytes, and at most {MAX_STRING_BYTES} are allowed", text.len()).into());
    }
    (!document.is_plain() && text::has_control(text)).then_some("contains a control character".into())
}

fn supplied<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Extra, serde_json::Value>, D::Error> {
    let read = BTreeMap::<String, serde_json::Value>::deserialize(deserializer)?;
    let members =
        read.into_iter().try_fold(Members::default(), |members, (name, value)| members.supply_member(name, value));
    members.map(|members| members.supplied).map_err(D::Error::custom)
}

impl TryFrom<String> for Extra {
    type Error = ConfigError;

    fn try_from(name: String) -> Result<Self, ConfigError> {
        let taken = Field::of(name.as_bytes()).is_some_and(|field| match field.acceptance() {
            Acceptance::Always | Acceptance::Verified | Acceptance::Updates | Acceptance::Never => true,
            Acceptance::Openid | Acceptance::WithGrant(_) | Acceptance::WithMethod(_) | Acceptance::OptIn => false,
        });
        if taken || name.is_empty() { Err(ConfigError::Member { name }) } else { Ok(Self(name)) }
    }
}

impl From<Extra> for String {
    fn from(name: Extra) -> Self {
        name.0
    }
}

impl Borrow<str> for Extra {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod field_values;
#[cfg(test)]
mod tests;
