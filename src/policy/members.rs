//! Which members a registration may have, and of which type.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{ConfigError, MetadataOperators, Operation, Policy, Submission, describe_as_json};
use crate::registration::{Entry, Field, Registration, Value};
use crate::rejection::{ErrorCode, Rejection};
use crate::text;

/// Lets known and wanted members through if they have the type that RFC 7591 section 2 gives them; what is left over
/// is stripped or refused, never forwarded (mass assignment: `"skip_consent": true`).
///
/// 1. Members that only the server issues (`client_id`, `client_secret`, `registration_access_token`, …) never pass a
///    `POST` (RFC 7591 section 6). A `PUT` must have `client_id` and may have `client_secret` (RFC 7592 section 2.2).
/// 2. A `software_statement` is refused: its claims override plain members (RFC 7591 section 2.3), so that one which
///    nobody verified would walk around every other rule.
/// 3. A language-tagged member (`client_name#fr`, RFC 7591 section 2.2) is known if its base is one of the five
///    human-readable members. Two tags that differ in case only are one member sent twice, which is refused.
/// 4. `null`, `""` and `[]` count as absent (RFC 7592 section 2.2) and are stripped, but for `redirect_uris`.
/// 5. No string that passes holds a control character or more than 2048 bytes.
///
/// ```
/// # use tower_dcr::{Registration, policy::{Policy, Review, Submission}};
/// # fn judge(rule: &impl Policy, body: &str) -> Result<String, String> {
/// #     let mut registration = Registration::parse(body.as_bytes()).unwrap();
/// #     let mut review = Review::registration();
/// #     rule.review(&mut Submission::new(&mut registration, &mut review)).map_err(|refused| refused.description())?;
/// #     Ok(String::from_utf8(registration.canonical_bytes()).unwrap())
/// # }
/// use tower_dcr::policy::Members;
///
/// let body = r#"{"client_name":"App","skip_consent":true,"tenant":"a"}"#;
/// assert_eq!(judge(&Members::lenient(), body)?, r#"{"client_name":"App"}"#);
/// assert!(judge(&Members::strict(), body).is_err());
/// let members = Members::lenient().add_member("tenant").unwrap();
/// assert_eq!(judge(&members, body)?, r#"{"client_name":"App","tenant":"a"}"#);
/// # Ok::<_, String>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct Members {
    /// Members of the server's own that pass as they are.
    #[serde(rename = "allow")]
    extra: BTreeSet<Extra>,
    /// Members of the server's own that every registration gets, with their values.
    #[serde(rename = "supply")]
    supplied: BTreeMap<Extra, serde_json::Value>,
    /// Whether the members pass that an OpenID Provider may want.
    openid: bool,
    /// What happens to members that this crate does not know.
    unknown: Unwanted,
    /// What happens to members that this crate knows and that are not for this server.
    unwanted: Unwanted,
    /// What happens to single members that would be unknown or unwanted.
    dispositions: BTreeMap<Extra, Unwanted>,
    /// What happens to `null`, `""` and `[]`.
    empty: Unwanted,
}

/// The name of a member of the server's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
pub(super) struct Extra(String);

/// What happens to a member that is not to pass.
///
/// ```
/// # use tower_dcr::{Registration, policy::{Policy, Review, Submission}};
/// # fn judge(rule: &impl Policy, body: &str) -> Result<String, String> {
/// #     let mut registration = Registration::parse(body.as_bytes()).unwrap();
/// #     let mut review = Review::registration();
/// #     rule.review(&mut Submission::new(&mut registration, &mut review)).map_err(|refused| refused.description())?;
/// #     Ok(String::from_utf8(registration.canonical_bytes()).unwrap())
/// # }
/// use tower_dcr::policy::{Members, Unwanted};
///
/// let members = Members::lenient().with_unknown(Unwanted::Refuse);
/// assert!(judge(&members, r#"{"skip_consent":true}"#).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unwanted {
    /// The registration is refused. For members that are unknown this deviates from RFC 7591 section 2: "The
    /// authorization server MUST ignore any client metadata sent by the client that it does not understand".
    #[serde(rename = "reject", alias = "refuse")]
    Refuse,
    /// The member is removed.
    Strip,
}

/// The type of a known member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Bool,
    Number,
    Object,
    String,
    Strings,
}

impl Shape {
    /// Whether a value has this shape and no string in it can be at fault. `false` where it takes a closer look to say.
    fn fits_at_a_glance(self, member: Entry<'_>, document: &Registration) -> bool {
        let fits = match self {
            Self::String => member.is_text(),
            Self::Strings => member.is_list(),
            Self::Bool | Self::Number | Self::Object => false,
        };
        fits && document.is_plain_within(MAX_STRING_BYTES)
    }
}

const MAX_STRING_BYTES: usize = 2048;
const MAX_LANGUAGE_TAGS: usize = 32;

/// RFC 7591 section 2, without what is dereferenced and without keys; `application_type` is OpenID Connect's.
const fn wanted(field: Field) -> Option<Shape> {
    Some(match field {
        Field::REDIRECT_URIS | Field::GRANT_TYPES | Field::RESPONSE_TYPES | Field::CONTACTS => Shape::Strings,
        Field::TOKEN_ENDPOINT_AUTH_METHOD
        | Field::CLIENT_NAME
        | Field::CLIENT_URI
        | Field::LOGO_URI
        | Field::TOS_URI
        | Field::POLICY_URI
        | Field::SCOPE
        | Field::SOFTWARE_ID
        | Field::SOFTWARE_VERSION
        | Field::APPLICATION_TYPE => Shape::String,
        _ => return None,
    })
}

/// The same as a table.
#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "runs when it is compiled")]
static WANTED: [Option<Shape>; Field::COUNT] = {
    let mut shapes = [None; Field::COUNT];
    let mut index = 0;
    while index < Field::COUNT {
        shapes[index] = wanted(Field::nth(index as u8));
        index += 1;
    }
    shapes
};

/// What an OpenID Provider may want besides (OpenID Connect Dynamic Client Registration section 2, and the members
/// that RFC 8705, RFC 9126 and RFC 9449 registered). `sector_identifier_uri` is not here: a server must fetch it
/// while it registers the client, and a guard fetches nothing.
fn wanted_by_openid(field: Field) -> Option<Shape> {
    Some(match field {
        Field::JWKS => Shape::Object,
        Field::DEFAULT_MAX_AGE => Shape::Number,
        Field::REQUIRE_AUTH_TIME
        | Field::DPOP_BOUND_ACCESS_TOKENS
        | Field::REQUIRE_PUSHED_AUTHORIZATION_REQUESTS
        | Field::TLS_CLIENT_CERTIFICATE_BOUND_ACCESS_TOKENS
        | Field::REQUIRE_SIGNED_REQUEST_OBJECT => Shape::Bool,
        Field::POST_LOGOUT_REDIRECT_URIS | Field::DEFAULT_ACR_VALUES => Shape::Strings,
        Field::JWKS_URI
        | Field::INITIATE_LOGIN_URI
        | Field::SUBJECT_TYPE
        | Field::ID_TOKEN_SIGNED_RESPONSE_ALG
        | Field::ID_TOKEN_ENCRYPTED_RESPONSE_ALG
        | Field::ID_TOKEN_ENCRYPTED_RESPONSE_ENC
        | Field::USERINFO_SIGNED_RESPONSE_ALG
        | Field::USERINFO_ENCRYPTED_RESPONSE_ALG
        | Field::USERINFO_ENCRYPTED_RESPONSE_ENC
        | Field::REQUEST_OBJECT_SIGNING_ALG
        | Field::TOKEN_ENDPOINT_AUTH_SIGNING_ALG => Shape::String,
        _ => return None,
    })
}

/// RFC 7591 section 3.2.1 and RFC 7592 section 3.
pub(super) fn is_server_issued(field: Field) -> bool {
    matches!(
        field,
        Field::CLIENT_ID
            | Field::CLIENT_SECRET
            | Field::CLIENT_ID_ISSUED_AT
            | Field::CLIENT_SECRET_EXPIRES_AT
            | Field::REGISTRATION_ACCESS_TOKEN
            | Field::REGISTRATION_CLIENT_URI
    )
}

/// Whether what stands behind the `#` of a tagged name is in BCP 47's alphabet.
fn has_well_formed_tag(name: &str) -> bool {
    let Some((_, tag)) = text::split_at_byte(name, b'#') else { return false };
    let is_subtag = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    tag.len() <= 35 && tag.split('-').all(is_subtag)
}

/// What becomes of a member that is no reason to refuse.
#[derive(Clone, Copy)]
enum Fate {
    Keep,
    Strip,
}

impl Members {
    /// Strips what is not wanted.
    pub fn lenient() -> Self {
        Self {
            extra: BTreeSet::new(),
            supplied: BTreeMap::new(),
            openid: false,
            unknown: Unwanted::Strip,
            unwanted: Unwanted::Strip,
            dispositions: BTreeMap::new(),
            empty: Unwanted::Strip,
        }
    }

    /// Refuses what is not wanted.
    pub fn strict() -> Self {
        Self { unknown: Unwanted::Refuse, unwanted: Unwanted::Refuse, empty: Unwanted::Refuse, ..Self::lenient() }
    }

    /// Lets the members through that an OpenID Provider may want.
    pub fn with_openid_members(mut self) -> Self {
        self.openid = true;
        self
    }

    /// What happens to members that this crate does not know.
    pub fn with_unknown(mut self, unwanted: Unwanted) -> Self {
        self.unknown = unwanted;
        self
    }

    /// What happens to members that this crate knows and that are not for this server, those that only the server
    /// issues included.
    pub fn with_unwanted(mut self, unwanted: Unwanted) -> Self {
        self.unwanted = unwanted;
        self
    }

    /// Lets a member of the server's own through, as it is.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Member`] for a name that only the server issues, `software_statement`, or one that passes anyway.
    pub fn add_member(mut self, name: impl Into<String>) -> Result<Self, ConfigError> {
        self.extra.insert(name.into().try_into()?);
        Ok(self)
    }

    /// What happens to one member that would be unknown or unwanted, whatever happens to the others. A client that would
    /// work without `jwks_uri` and one that would not can be told apart like that.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Member`] as for [`add_member`](Self::add_member).
    pub fn with_disposition(mut self, name: impl Into<String>, unwanted: Unwanted) -> Result<Self, ConfigError> {
        self.dispositions.insert(name.into().try_into()?, unwanted);
        Ok(self)
    }

    /// Gives every registration a member with the operator's own value, whatever the client sent for it.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Member`] as for [`add_member`](Self::add_member).
    pub fn supply_member(
        mut self,
        name: impl Into<String>,
        value: impl Into<serde_json::Value>,
    ) -> Result<Self, ConfigError> {
        self.supplied.insert(name.into().try_into()?, value.into());
        Ok(self)
    }

    /// The members of the server's own that pass.
    pub(super) fn own(&self) -> impl Iterator<Item = &str> {
        self.extra.iter().map(|name| name.0.as_str())
    }

    fn disposition(&self, name: &str, others: Unwanted) -> Unwanted {
        if self.dispositions.is_empty() { others } else { self.dispositions.get(name).copied().unwrap_or(others) }
    }

    fn fate(
        &self,
        submission: &Submission<'_>,
        member: Entry<'_>,
        ruled: &MetadataOperators,
    ) -> Result<Fate, Rejection> {
        if let Some(field) = member.kind().field() {
            return match WANTED.get(field.index()).copied().flatten() {
                // Most members of most registrations end here.
                Some(shape) if shape.fits_at_a_glance(member, submission.registration()) => Ok(Fate::Keep),
                Some(shape) => self.fate_of_wanted(submission, field, shape, &member.value()),
                None => self.fate_of_known(submission, field, &member.value(), ruled),
            };
        }
        if let Some(field) = member.kind().base()
            && has_well_formed_tag(member.name())
        {
            return self.fate_of_wanted(submission, field, Shape::String, &member.value());
        }
        if self.extra.contains(member.name()) || ruled.names(member.name()) {
            return Ok(Fate::Keep);
        }
        match self.disposition(member.name(), self.unknown) {
            // Its name is the client's own text.
            Unwanted::Refuse => {
                Err(submission.reject(ErrorCode::InvalidClientMetadata, "a member is not known to this server"))
            }
            Unwanted::Strip => Ok(Fate::Strip),
        }
    }

    /// The verdict on a member that is understood and that not every server wants.
    fn fate_of_known(
        &self,
        submission: &Submission<'_>,
        field: Field,
        value: &Value<'_>,
        ruled: &MetadataOperators,
    ) -> Result<Fate, Rejection> {
        let by = |unwanted, detail| match unwanted {
            Unwanted::Refuse => Err(refusal(submission, detail, field)),
            Unwanted::Strip => Ok(Fate::Strip),
        };
        if self.extra.contains(field.name()) || ruled.names(field.name()) {
            return Ok(Fate::Keep);
        }
        if is_server_issued(field) {
            return match (submission.operation(), field, value) {
                (Operation::Update, Field::CLIENT_ID | Field::CLIENT_SECRET, Value::String(_)) => Ok(Fate::Keep),
                (Operation::Update, Field::CLIENT_ID | Field::CLIENT_SECRET, _) => {
                    Err(refusal(submission, "must be a string", field))
                }
                _ => by(self.disposition(field.name(), self.unwanted), "is issued by the server only"),
            };
        }
        if field == Field::SOFTWARE_STATEMENT && !value.is_empty() {
            // Not `invalid_software_statement`: nobody looked whether it is valid.
            return Err(refusal(submission, "is not accepted by this server", field));
        }
        match wanted_by_openid(field).filter(|_| self.openid) {
            Some(shape) => self.fate_of_wanted(submission, field, shape, value),
            // Refusing a member that is understood is no deviation (RFC 7591 section 2).
            None => by(self.disposition(field.name(), self.unwanted), "is not accepted by this server"),
        }
    }

    /// The verdict on the value of a member that is wanted.
    fn fate_of_wanted(
        &self,
        submission: &Submission<'_>,
        field: Field,
        shape: Shape,
        value: &Value<'_>,
    ) -> Result<Fate, Rejection> {
        if field == Field::REDIRECT_URIS {
            return match value {
                Value::Strings(_) => Ok(Fate::Keep),
                _ => Err(submission
                    .reject(ErrorCode::InvalidRedirectUri, "must be an array of strings")
                    .with_field(field.name())),
            };
        }
        if value.is_empty() {
            // No contacts are no contacts; no grant types at all are not what their absence means.
            let nothing = field == Field::CONTACTS && matches!(value, Value::Strings(_));
            return match self.empty {
                Unwanted::Refuse if !nothing => Err(refusal(submission, "must not be empty", field)),
                Unwanted::Refuse | Unwanted::Strip => Ok(Fate::Strip),
            };
        }
        match fault(shape, value, submission.registration()) {
            Some(detail) => Err(refusal(submission, detail, field)),
            None => Ok(Fate::Keep),
        }
    }
}

impl Default for Members {
    fn default() -> Self {
        Self::lenient()
    }
}

fn refusal(submission: &Submission<'_>, detail: &'static str, field: Field) -> Rejection {
    submission.reject(ErrorCode::InvalidClientMetadata, detail).with_field(field.name())
}

impl Policy for Members {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        self.review_with(submission, &MetadataOperators::new())
    }

    fn describe(&self, out: &mut String) {
        describe_as_json(self, out);
    }
}

impl Members {
    /// Lets those members through as well that are `ruled`.
    pub(super) fn review_with(
        &self,
        submission: &mut Submission<'_>,
        ruled: &MetadataOperators,
    ) -> Result<(), Rejection> {
        submission.begin("known-members");
        let mut strip = Vec::new();
        let mut tagged = false;
        for (position, member) in submission.registration().entries().enumerate() {
            match self.fate(submission, member, ruled)? {
                Fate::Keep => tagged |= member.kind().is_tagged(),
                Fate::Strip => strip.push(position),
            }
        }
        if !strip.is_empty() {
            submission.strip_at(&strip);
        }
        if tagged {
            check_tags(submission)?;
        }
        if submission.operation() == Operation::Update && submission.registration().at(Field::CLIENT_ID).is_none() {
            // RFC 7592 section 2.2: the request "MUST include the client_id field".
            return Err(submission.reject(ErrorCode::InvalidClientMetadata, "is required").with_field("client_id"));
        }
        for (name, value) in &self.supplied {
            submission.supply(&name.0, value);
        }
        Ok(())
    }
}

/// RFC 7591 section 2.2: tags are interpreted "in a case insensitive manner".
fn check_tags(submission: &Submission<'_>) -> Result<(), Rejection> {
    let tagged = || submission.registration().entries().filter(|member| member.kind().is_tagged());
    // The same spelling can't be there twice: only a name with capitals repeats another one.
    let repeats = |member: Entry<'_>| {
        let name = member.name();
        name.bytes().any(|byte| byte.is_ascii_uppercase())
            && tagged()
                .filter(|other| other.kind() == member.kind())
                .any(|other| other.name().eq_ignore_ascii_case(name) && other.name() != name)
    };
    let detail = match () {
        () if tagged().nth(MAX_LANGUAGE_TAGS).is_some() => "there are too many language-tagged members",
        () if tagged().any(repeats) => "a language-tagged member appears twice",
        () => return Ok(()),
    };
    Err(submission.reject(ErrorCode::InvalidClientMetadata, detail))
}

/// What is wrong with a value of a known member.
fn fault(shape: Shape, value: &Value<'_>, document: &Registration) -> Option<&'static str> {
    match (shape, value) {
        (Shape::String, Value::String(text)) => string_fault(text, document),
        (Shape::Strings, Value::Strings(strings)) => strings.clone().find_map(|text| string_fault(text, document)),
        (Shape::Bool, Value::Bool(_)) | (Shape::Number, Value::Number(_)) | (Shape::Object, Value::Object(_)) => None,
        (Shape::String, _) => Some("must be a string"),
        (Shape::Strings, _) => Some("must be an array of strings"),
        (Shape::Bool, _) => Some("must be a boolean"),
        (Shape::Number, _) => Some("must be a number"),
        (Shape::Object, _) => Some("must be an object"),
    }
}

fn string_fault(text: &str, document: &Registration) -> Option<&'static str> {
    if text.len() > MAX_STRING_BYTES {
        return Some("is too long");
    }
    (!document.is_plain() && text::has_control(text)).then_some("contains a control character")
}

impl TryFrom<String> for Extra {
    type Error = ConfigError;

    fn try_from(name: String) -> Result<Self, ConfigError> {
        let taken = Field::of(name.as_bytes()).is_some_and(|field| {
            is_server_issued(field) || field == Field::SOFTWARE_STATEMENT || wanted(field).is_some()
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
