//! Which members a registration may have, and of which type.

use std::collections::BTreeSet;

use super::{ConfigError, Operation, Policy, Submission, describe_as_debug};
use crate::registration::Value;
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
#[derive(Clone, Debug)]
#[must_use]
pub struct Members {
    extra: BTreeSet<String>,
    supplied: Vec<(String, serde_json::Value)>,
    openid: bool,
    unknown: Unwanted,
    unwanted: Unwanted,
    empty: Unwanted,
}

/// What happens to a member that is not to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unwanted {
    /// The registration is refused. For members that are unknown this deviates from RFC 7591 section 2: "The
    /// authorization server MUST ignore any client metadata sent by the client that it does not understand".
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

const MAX_STRING_BYTES: usize = 2048;
const MAX_LANGUAGE_TAGS: usize = 32;

/// RFC 7591 section 2, without what is dereferenced and without keys; `application_type` is OpenID Connect's.
fn wanted(name: &str) -> Option<Shape> {
    Some(match name {
        "redirect_uris" | "grant_types" | "response_types" | "contacts" => Shape::Strings,
        "token_endpoint_auth_method"
        | "client_name"
        | "client_uri"
        | "logo_uri"
        | "tos_uri"
        | "policy_uri"
        | "scope"
        | "software_id"
        | "software_version"
        | "application_type" => Shape::String,
        _ => return None,
    })
}

/// What an OpenID Provider may want besides (OpenID Connect Dynamic Client Registration section 2, and the members
/// that RFC 8705, RFC 9126 and RFC 9449 registered). `sector_identifier_uri` is not here: a server must fetch it
/// while it registers the client, and a guard fetches nothing.
fn wanted_by_openid(name: &str) -> Option<Shape> {
    Some(match name {
        "jwks" => Shape::Object,
        "default_max_age" => Shape::Number,
        "require_auth_time"
        | "dpop_bound_access_tokens"
        | "require_pushed_authorization_requests"
        | "tls_client_certificate_bound_access_tokens"
        | "require_signed_request_object" => Shape::Bool,
        "post_logout_redirect_uris" | "default_acr_values" => Shape::Strings,
        "jwks_uri"
        | "initiate_login_uri"
        | "subject_type"
        | "id_token_signed_response_alg"
        | "id_token_encrypted_response_alg"
        | "id_token_encrypted_response_enc"
        | "userinfo_signed_response_alg"
        | "userinfo_encrypted_response_alg"
        | "userinfo_encrypted_response_enc"
        | "request_object_signing_alg"
        | "token_endpoint_auth_signing_alg" => Shape::String,
        _ => return None,
    })
}

/// Understood, and not for this server: refusing them is no deviation (RFC 7591 section 2).
fn is_known(name: &str) -> bool {
    wanted_by_openid(name).is_some()
        || matches!(
            name,
            "sector_identifier_uri"
                | "request_uris"
                | "backchannel_logout_uri"
                | "backchannel_logout_session_required"
                | "frontchannel_logout_uri"
                | "frontchannel_logout_session_required"
                | "tls_client_auth_subject_dn"
                | "tls_client_auth_san_dns"
                | "tls_client_auth_san_uri"
                | "tls_client_auth_san_ip"
                | "tls_client_auth_san_email"
                | "software_statement"
        )
}

/// RFC 7591 section 3.2.1 and RFC 7592 section 3.
fn is_server_issued(name: &str) -> bool {
    matches!(
        name,
        "client_id"
            | "client_secret"
            | "client_id_issued_at"
            | "client_secret_expires_at"
            | "registration_access_token"
            | "registration_client_uri"
    )
}

fn is_human_readable(name: &str) -> bool {
    matches!(name, "client_name" | "client_uri" | "logo_uri" | "tos_uri" | "policy_uri")
}

/// The base of a well-formed language-tagged name: split at the first `#`, the tag in BCP 47's alphabet.
fn language_tagged(name: &str) -> Option<&str> {
    let (base, tag) = text::split_at_byte(name, b'#')?;
    let well_formed = tag
        .split('-')
        .all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    (is_human_readable(base) && well_formed && tag.len() <= 35).then_some(base)
}

/// The verdict on one member.
enum Fate {
    Keep,
    /// A language-tagged member.
    KeepTagged,
    Strip,
    Refuse(Rejection),
}

impl Members {
    /// Strips what is not wanted.
    pub fn lenient() -> Self {
        Self {
            extra: BTreeSet::new(),
            supplied: Vec::new(),
            openid: false,
            unknown: Unwanted::Strip,
            unwanted: Unwanted::Strip,
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
        self.extra.insert(extra_name(name.into())?);
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
        self.supplied.push((extra_name(name.into())?, value.into()));
        Ok(self)
    }

    fn fate(&self, submission: &Submission<'_>, name: &str, value: &Value<'_>) -> Fate {
        // Most members of most registrations end here.
        if let Some(shape) = wanted(name) {
            return self.fate_of_wanted(submission, name, shape, value);
        }
        let refuse = |detail| refusal(submission, detail, name);
        let by = |unwanted, detail| match unwanted {
            Unwanted::Refuse => refuse(detail),
            Unwanted::Strip => Fate::Strip,
        };
        if self.extra.contains(name) {
            return Fate::Keep;
        }
        if is_server_issued(name) {
            return match (submission.operation(), name, value) {
                (Operation::Update, "client_id" | "client_secret", Value::String(_)) => Fate::Keep,
                (Operation::Update, "client_id" | "client_secret", _) => refuse("must be a string"),
                _ => by(self.unwanted, "is issued by the server only"),
            };
        }
        if name == "software_statement" && !value.is_empty() {
            // Not `invalid_software_statement`: nobody looked whether it is valid.
            return refuse("is not accepted by this server");
        }
        if let Some(shape) = wanted_by_openid(name).filter(|_| self.openid) {
            return self.fate_of_wanted(submission, name, shape, value);
        }
        if language_tagged(name).is_some() {
            return match self.fate_of_wanted(submission, name, Shape::String, value) {
                Fate::Keep => Fate::KeepTagged,
                fate => fate,
            };
        }
        match self.unknown {
            _ if is_known(name) => by(self.unwanted, "is not accepted by this server"),
            // Its name is the client's own text.
            Unwanted::Refuse => Fate::Refuse(
                submission.reject(ErrorCode::InvalidClientMetadata, "a member is not known to this server"),
            ),
            Unwanted::Strip => Fate::Strip,
        }
    }

    /// The verdict on the value of a member that is wanted.
    fn fate_of_wanted(&self, submission: &Submission<'_>, name: &str, shape: Shape, value: &Value<'_>) -> Fate {
        match (name, value) {
            ("redirect_uris", Value::Strings(_)) => Fate::Keep,
            ("redirect_uris", _) => Fate::Refuse(
                submission
                    .reject(ErrorCode::InvalidRedirectUri, "must be an array of strings")
                    .with_field("redirect_uris"),
            ),
            // No contacts are no contacts; no grant types at all are not what their absence means.
            ("contacts", Value::Strings(strings)) if strings.len() == 0 => Fate::Strip,
            (_, value) if value.is_empty() => match self.empty {
                Unwanted::Refuse => refusal(submission, "must not be empty", name),
                Unwanted::Strip => Fate::Strip,
            },
            _ => fault(shape, value).map_or(Fate::Keep, |detail| refusal(submission, detail, name)),
        }
    }
}

fn refusal(submission: &Submission<'_>, detail: &'static str, name: &str) -> Fate {
    Fate::Refuse(submission.reject(ErrorCode::InvalidClientMetadata, detail).with_field(known_field(name)))
}

impl Policy for Members {
    fn review(&self, submission: &mut Submission<'_>) -> Result<(), Rejection> {
        submission.begin("known-members");
        let mut strip: Vec<String> = Vec::new();
        let mut tagged: Vec<&str> = Vec::new();
        for (name, value) in submission.registration().iter() {
            match self.fate(submission, name, &value) {
                Fate::Keep => {}
                Fate::KeepTagged => tagged.push(name),
                Fate::Strip => strip.push(name.to_owned()),
                Fate::Refuse(rejection) => return Err(rejection),
            }
        }
        check_tags(submission, &tagged)?;
        if submission.operation() == Operation::Update && !submission.registration().contains("client_id") {
            // RFC 7592 section 2.2: the request "MUST include the client_id field".
            return Err(submission.reject(ErrorCode::InvalidClientMetadata, "is required").with_field("client_id"));
        }
        for name in &strip {
            submission.strip(name);
        }
        for (name, value) in &self.supplied {
            submission.supply(name, value);
        }
        Ok(())
    }

    fn describe(&self, out: &mut String) {
        describe_as_debug(self, out);
    }
}

/// RFC 7591 section 2.2: tags are interpreted "in a case insensitive manner".
fn check_tags(submission: &Submission<'_>, tagged: &[&str]) -> Result<(), Rejection> {
    let repeats = |at: usize, name: &str| tagged.iter().take(at).any(|other| other.eq_ignore_ascii_case(name));
    let twice = tagged.len() <= MAX_LANGUAGE_TAGS && tagged.iter().enumerate().any(|(at, name)| repeats(at, name));
    let detail = match () {
        () if twice => "a language-tagged member appears twice",
        () if tagged.len() > MAX_LANGUAGE_TAGS => "there are too many language-tagged members",
        () => return Ok(()),
    };
    Err(submission.reject(ErrorCode::InvalidClientMetadata, detail))
}

/// What is wrong with a value of a known member.
fn fault(shape: Shape, value: &Value<'_>) -> Option<&'static str> {
    match (shape, value) {
        (Shape::String, Value::String(text)) => string_fault(text),
        (Shape::Strings, Value::Strings(strings)) => strings.clone().find_map(string_fault),
        (Shape::Bool, Value::Bool(_)) | (Shape::Number, Value::Number(_)) | (Shape::Object, Value::Object(_)) => None,
        (Shape::String, _) => Some("must be a string"),
        (Shape::Strings, _) => Some("must be an array of strings"),
        (Shape::Bool, _) => Some("must be a boolean"),
        (Shape::Number, _) => Some("must be a number"),
        (Shape::Object, _) => Some("must be an object"),
    }
}

fn string_fault(text: &str) -> Option<&'static str> {
    if text.len() > MAX_STRING_BYTES {
        return Some("is too long");
    }
    text::has_control(text).then_some("contains a control character")
}

/// A name that may be shown to the client: only those that are in this crate's own tables.
fn known_field(name: &str) -> &'static str {
    const NAMES: [&str; 39] = [
        "application_type",
        "backchannel_logout_uri",
        "client_id",
        "client_id_issued_at",
        "client_name",
        "client_secret",
        "client_secret_expires_at",
        "client_uri",
        "contacts",
        "default_acr_values",
        "default_max_age",
        "dpop_bound_access_tokens",
        "grant_types",
        "id_token_signed_response_alg",
        "initiate_login_uri",
        "jwks",
        "jwks_uri",
        "logo_uri",
        "policy_uri",
        "post_logout_redirect_uris",
        "redirect_uris",
        "registration_access_token",
        "registration_client_uri",
        "request_object_signing_alg",
        "request_uris",
        "require_auth_time",
        "require_pushed_authorization_requests",
        "response_types",
        "scope",
        "sector_identifier_uri",
        "software_id",
        "software_statement",
        "software_version",
        "subject_type",
        "tls_client_certificate_bound_access_tokens",
        "token_endpoint_auth_method",
        "token_endpoint_auth_signing_alg",
        "tos_uri",
        "userinfo_signed_response_alg",
    ];
    let base = language_tagged(name).unwrap_or(name);
    NAMES.binary_search(&base).ok().and_then(|index| NAMES.get(index).copied()).unwrap_or("a member")
}

fn extra_name(name: String) -> Result<String, ConfigError> {
    if is_server_issued(&name) || name == "software_statement" || wanted(&name).is_some() || name.is_empty() {
        Err(ConfigError::Member { name })
    } else {
        Ok(name)
    }
}
