//! [`Rejection`]: the reason for which a registration was rejected, as data.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::registration::ParseError;

/// The rejection of a registration: the rule, the member, and the message to the client.
///
/// A rejected request gets a response, never a service error. Its `Rejection` is in the response's extensions. It
/// repeats nothing that the client sent, except a member's name in [`field`](Self::field), which is a name that this
/// crate or the operator knows.
///
/// ```
/// use tower_dcr::rules::{ErrorCode, Rejection};
///
/// let detail = "must name a person";
/// let mut rejection = Rejection::new(ErrorCode::InvalidClientMetadata, "contact-required", detail).with_field("contacts");
/// rejection.index = Some(0);
/// assert_eq!(rejection.description(), "contacts[0] must name a person (contact-required)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejection {
    /// The error code with its HTTP status.
    pub code: ErrorCode,
    /// The stable name of the rule that rejected.
    pub rule: &'static str,
    /// The metadata member at fault; `None` if it is not set.
    pub field: Option<Cow<'static, str>>,
    /// The index of the array element at fault, counted from 0; `None` if it is not set.
    pub index: Option<usize>,
    /// The reason: the fault, without the field and the rule.
    pub detail: Cow<'static, str>,
    /// The time after which the client may try again; `None` if waiting doesn't help.
    pub retry_after: Option<Duration>,
    /// The allowed methods, for the `Allow` header of a 405.
    pub(crate) allow: Option<&'static str>,
    /// `true` if an operator may admit the registration nevertheless: see
    /// [`hold`](crate::clients::LifecycleSettings::hold). Nothing dangerous is.
    pub(crate) may_be_held: bool,
}

/// The `error` member of a rejection, with its HTTP status.
///
/// ```
/// use tower_dcr::rules::ErrorCode;
///
/// assert_eq!(ErrorCode::InvalidRedirectUri.to_string(), "invalid_redirect_uri");
/// assert_eq!(ErrorCode::TooManyRequests.status(), http::StatusCode::TOO_MANY_REQUESTS);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// 403 `access_denied`: a page in a browser without permission, or a registration while none is taken.
    AccessDenied,
    /// 502 `server_error`: the handler responded with success, but registered no client or another one.
    BadGateway,
    /// 403 `insufficient_scope`: a valid token that doesn't permit this (RFC 6750 section 3.1).
    InsufficientScope,
    /// 400 `invalid_client_metadata` (RFC 7591 section 3.2.2).
    InvalidClientMetadata,
    /// 400 `invalid_redirect_uri` (RFC 7591 section 3.2.2).
    InvalidRedirectUri,
    /// 400 `invalid_software_statement` (RFC 7591 section 3.2.2).
    InvalidSoftwareStatement,
    /// 401 `invalid_token`: the initial access token or the registration access token is invalid (RFC 7591 section 3,
    /// RFC 7592 section 2.1, RFC 6750 section 3.1).
    InvalidToken,
    /// 405 `invalid_request`: a method that neither registers nor reads.
    MethodNotAllowed,
    /// 413 `invalid_client_metadata`: the body exceeds the size limit.
    PayloadTooLarge,
    /// 408 `invalid_request`: the body did not arrive in time.
    RequestTimeout,
    /// 500 `server_error`: the handler's response violates the policy.
    ServerError,
    /// 503 `temporarily_unavailable`: a dependency of the decision is down.
    TemporarilyUnavailable,
    /// 401: a token is required, and there is none. Neither challenge nor body has an error code (RFC 6750 section
    /// 3.1). In events it is `invalid_token`.
    TokenRequired,
    /// 429 `too_many_requests`: a rate limit is exceeded.
    TooManyRequests,
    /// 400 `unapproved_software_statement` (RFC 7591 section 3.2.2).
    UnapprovedSoftwareStatement,
    /// 415 `invalid_client_metadata`: not plain `application/json`.
    UnsupportedMediaType,
}

impl ErrorCode {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::InsufficientScope => "insufficient_scope",
            Self::InvalidClientMetadata | Self::PayloadTooLarge | Self::UnsupportedMediaType => {
                "invalid_client_metadata"
            }
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidSoftwareStatement => "invalid_software_statement",
            Self::InvalidToken | Self::TokenRequired => "invalid_token",
            Self::MethodNotAllowed | Self::RequestTimeout => "invalid_request",
            Self::BadGateway | Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::TooManyRequests => "too_many_requests",
            Self::UnapprovedSoftwareStatement => "unapproved_software_statement",
        }
    }

    /// Returns the HTTP status code.
    #[must_use]
    pub const fn status(self) -> http::StatusCode {
        match self {
            Self::InvalidClientMetadata
            | Self::InvalidRedirectUri
            | Self::InvalidSoftwareStatement
            | Self::UnapprovedSoftwareStatement => http::StatusCode::BAD_REQUEST,
            Self::AccessDenied | Self::InsufficientScope => http::StatusCode::FORBIDDEN,
            Self::InvalidToken | Self::TokenRequired => http::StatusCode::UNAUTHORIZED,
            Self::MethodNotAllowed => http::StatusCode::METHOD_NOT_ALLOWED,
            Self::PayloadTooLarge => http::StatusCode::PAYLOAD_TOO_LARGE,
            Self::RequestTimeout => http::StatusCode::REQUEST_TIMEOUT,
            Self::BadGateway => http::StatusCode::BAD_GATEWAY,
            Self::ServerError => http::StatusCode::INTERNAL_SERVER_ERROR,
            Self::TemporarilyUnavailable => http::StatusCode::SERVICE_UNAVAILABLE,
            Self::TooManyRequests => http::StatusCode::TOO_MANY_REQUESTS,
            Self::UnsupportedMediaType => http::StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }
}

/// Writes the value of the `error` member.
impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Rejection {
    /// Creates a rejection by `rule` (a stable kebab-case name) for a reason that the client may read. `detail`
    /// completes the sentence "`field` …" or is a sentence of its own. It must not repeat anything that the client
    /// sent.
    #[must_use]
    pub fn new(code: ErrorCode, rule: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            rule,
            field: None,
            index: None,
            detail: detail.into(),
            retry_after: None,
            allow: None,
            may_be_held: false,
        }
    }

    /// Returns the same rejection, attributed to this rule.
    pub(crate) fn by(self, rule: &'static str) -> Self {
        Self { rule, ..self }
    }

    /// Sets the metadata member at fault.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Sets the index of the element at fault in an array, counted from 0.
    pub(crate) fn with_index(mut self, index: usize) -> Self {
        self.index = Some(index);
        self
    }

    /// Sets the time after which the client may try again.
    pub(crate) fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Leaves it to an operator to admit the registration nevertheless.
    pub(crate) fn holdable(mut self, may_be_held: bool) -> Self {
        self.may_be_held = may_be_held;
        self
    }

    /// Sets the allowed methods, for the `Allow` header of a 405.
    pub(crate) fn with_allow(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// Returns the value of the `Retry-After` header: whole seconds, rounded up, at least 1 (RFC 9110 section 10.2.3).
    pub(crate) fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|after| u64::try_from(after.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u64::MAX).max(1))
    }

    /// Returns the `error_description`: ASCII without quotation mark and backslash (RFC 6749 section 5.2), nothing
    /// quoted.
    #[must_use]
    pub fn description(&self) -> String {
        let mut sentence = String::with_capacity(96);
        self.describe(&mut sentence);
        sentence
    }

    /// Appends the description to `out`.
    pub(crate) fn describe(&self, out: &mut String) {
        // Users write custom rules: their texts have to fit the grammar, too.
        let mut push = |piece: &str| {
            let misfits = piece.bytes().fold(0, |found, byte| found | u8::from(!fits_description(byte)));
            if misfits == 0 {
                out.push_str(piece);
            } else {
                out.extend(piece.chars().map(|c| if u8::try_from(c).is_ok_and(fits_description) { c } else { '?' }));
            }
        };
        match (self.field.as_deref(), self.index) {
            (Some(field), Some(index)) => [field, "[", &index.to_string(), "] "].into_iter().for_each(&mut push),
            (Some(field), None) => [field, " "].into_iter().for_each(&mut push),
            (None, _) => {}
        }
        [&*self.detail, " (", self.rule, ")"].into_iter().for_each(push);
    }
}

/// Returns `true` if the byte may be in a description (RFC 6749 section 5.2: "%x20-21 / %x23-5B / %x5D-7E").
const fn fits_description(byte: u8) -> bool {
    matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~')
}

impl From<ParseError> for Rejection {
    /// Creates the response to a body that can't be read: 413 if it is too large, 400 otherwise.
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::TooLarge => Self::new(ErrorCode::PayloadTooLarge, "body", error.description()),
            _ => Self::new(ErrorCode::InvalidClientMetadata, "strict-json", error.description()),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.description())
    }
}

impl std::error::Error for Rejection {}
