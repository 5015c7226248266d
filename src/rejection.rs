//! [`Rejection`]: why a registration was refused, as data.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// The refusal of a registration: which rule, which member, and what the client is told.
///
/// A refused request is answered with a response, never with a service error; its `Rejection` is in the response's
/// extensions. Nothing in it repeats what the client sent, except a member's name in [`field`](Self::field), which is
/// a name that this crate or the operator knows.
///
/// ```
/// use tower_dcr::rejection::{ErrorCode, Rejection};
///
/// let rejection = Rejection::new(ErrorCode::InvalidClientMetadata, "contact-required", "must name somebody")
///     .with_field("contacts")
///     .with_index(0);
/// assert_eq!(rejection.description(), "contacts[0] must name somebody (contact-required)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    code: ErrorCode,
    rule: &'static str,
    field: Option<Cow<'static, str>>,
    index: Option<usize>,
    detail: Cow<'static, str>,
    retry_after: Option<Duration>,
    allow: Option<&'static str>,
}

/// The `error` member of a refusal and the HTTP status that goes with it.
///
/// ```
/// use tower_dcr::rejection::ErrorCode;
///
/// assert_eq!(ErrorCode::InvalidRedirectUri.as_str(), "invalid_redirect_uri");
/// assert_eq!(ErrorCode::TooManyRequests.status(), http::StatusCode::TOO_MANY_REQUESTS);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// 403 `access_denied`: a browser's page that may not do this.
    AccessDenied,
    /// 403 `insufficient_scope`: a valid token that is not for this (RFC 6750 section 3.1).
    InsufficientScope,
    /// 400 `invalid_client_metadata` (RFC 7591 section 3.2.2).
    InvalidClientMetadata,
    /// 400 `invalid_redirect_uri` (RFC 7591 section 3.2.2).
    InvalidRedirectUri,
    /// 400 `invalid_software_statement` (RFC 7591 section 3.2.2).
    InvalidSoftwareStatement,
    /// 401 `invalid_token`: the initial access token or the registration access token is worth nothing (RFC 7591 section 3,
    /// RFC 7592 section 2.1, RFC 6750 section 3.1).
    InvalidToken,
    /// 405 `invalid_request`: a method that neither registers nor reads.
    MethodNotAllowed,
    /// 413 `invalid_client_metadata`: the body passes the size limit.
    PayloadTooLarge,
    /// 408 `invalid_request`: the body did not arrive in time.
    RequestTimeout,
    /// 500 `server_error`: the handler answered with what the policy forbids.
    ServerError,
    /// 503 `temporarily_unavailable`: something that a decision needs is down.
    TemporarilyUnavailable,
    /// 401 `invalid_token`: there is no token, and there has to be one. The challenge says nothing of an error (RFC 6750
    /// section 3.1).
    TokenRequired,
    /// 429 `too_many_requests`: a rate limit.
    TooManyRequests,
    /// 400 `unapproved_software_statement` (RFC 7591 section 3.2.2).
    UnapprovedSoftwareStatement,
    /// 415 `invalid_client_metadata`: not plain `application/json`.
    UnsupportedMediaType,
}

impl ErrorCode {
    /// The value of the `error` member.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
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
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::TooManyRequests => "too_many_requests",
            Self::UnapprovedSoftwareStatement => "unapproved_software_statement",
        }
    }

    /// The HTTP status code.
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
            Self::ServerError => http::StatusCode::INTERNAL_SERVER_ERROR,
            Self::TemporarilyUnavailable => http::StatusCode::SERVICE_UNAVAILABLE,
            Self::TooManyRequests => http::StatusCode::TOO_MANY_REQUESTS,
            Self::UnsupportedMediaType => http::StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }
}

impl Rejection {
    /// A refusal by `rule` (a stable kebab-case name) for a reason that the client may read: `detail` completes the
    /// sentence "`field` …" or stands alone. It must not repeat what the client sent.
    #[must_use]
    pub fn new(code: ErrorCode, rule: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, rule, field: None, index: None, detail: detail.into(), retry_after: None, allow: None }
    }

    /// Names the metadata member at fault.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Names the element at fault in an array, counted from 0.
    #[must_use]
    pub fn with_index(mut self, index: usize) -> Self {
        self.index = Some(index);
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Says which methods there are, for the `Allow` header of a 405.
    #[must_use]
    pub(crate) fn with_allow(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// Returns the methods that there are.
    pub(crate) const fn allow(&self) -> Option<&'static str> {
        self.allow
    }

    /// The error code and HTTP status.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// The stable name of the rule that refused.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        self.rule
    }

    /// The metadata member at fault.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// The same, to be kept.
    pub(crate) fn owned_field(&self) -> Option<Cow<'static, str>> {
        self.field.clone()
    }

    /// The array element at fault, counted from 0.
    #[must_use]
    pub const fn index(&self) -> Option<usize> {
        self.index
    }

    /// When to try again, if waiting helps.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The `Retry-After` header's value: whole seconds, rounded up, at least 1 (RFC 9110 section 10.2.3).
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|after| u64::try_from(after.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u64::MAX).max(1))
    }

    /// The `error_description`: ASCII without quotation mark and backslash (RFC 6749 section 5.2), nothing quoted.
    #[must_use]
    pub fn description(&self) -> String {
        let mut sentence = String::with_capacity(96);
        self.describe(&mut sentence);
        sentence
    }

    /// Writes the description at the end of `out`.
    pub(crate) fn describe(&self, out: &mut String) {
        // Custom rules are written by users: what they say has to fit the grammar too.
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

/// RFC 6749 section 5.2: "%x20-21 / %x23-5B / %x5D-7E".
const fn fits_description(byte: u8) -> bool {
    matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~')
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.description())
    }
}

impl std::error::Error for Rejection {}
