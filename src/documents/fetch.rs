//! [`Fetch`]: the one operation that leaves the process.

use std::error::Error;
use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header, response};

use super::ClientIdUrl;
use crate::media_type::MediaType;

/// Fetches client metadata documents. `HttpsFetcher` of the crate `tower-dcr-fetch` is one.
///
/// Implement it for an egress proxy, or for another runtime. Status, media type, content coding, size, `client_id` and the rules
/// are checked by [`Documents`](super::Documents), whatever fetches. What a fetcher alone can do is to
///
/// - connect to no address that is not public (RFC 6890), and look at the address that it connects to, not at the name;
/// - follow no redirect, use no connection twice and send nothing about the user;
/// - stop after [`max_bytes`](FetchRequest::max_bytes), and after a few seconds;
/// - go on without being polled, on its runtime: several requests wait for one fetch, and any of them may end.
///
/// ```
/// use bytes::Bytes;
/// use http::Response;
/// use tower_dcr::documents::{Fetch, FetchError, FetchRequest};
///
/// /// Asks a proxy that fetches.
/// struct ByProxy;
///
/// impl Fetch for ByProxy {
///     async fn fetch(&self, request: FetchRequest) -> Result<Response<Bytes>, FetchError> {
///         # async fn ask(_: &str) -> Result<Response<Bytes>, std::io::Error> { Ok(Response::default()) }
///         ask(request.url.as_str()).await.map_err(FetchError::other)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not fetch documents",
    label = "expected a type that implements `tower_dcr::documents::Fetch`",
    note = "use `HttpsFetcher::new()` of the crate `tower-dcr-fetch`"
)]
pub trait Fetch: Send + Sync + 'static {
    /// Sends `GET` for the document and returns the response with its body, which may be cut behind
    /// [`max_bytes`](FetchRequest::max_bytes).
    ///
    /// # Errors
    ///
    /// Returns [`FetchError`] if there is no response, or if [`check_head`](FetchRequest::check_head) rejects it.
    fn fetch(&self, request: FetchRequest) -> impl Future<Output = Result<Response<Bytes>, FetchError>> + Send;
}

/// A request for a document.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FetchRequest {
    /// The URL of the document.
    pub url: ClientIdUrl,
    /// The value of `If-None-Match`; `None` if no copy is known.
    pub etag: Option<HeaderValue>,
    /// The maximum size of the document in bytes.
    pub max_bytes: usize,
    /// `true` for a client that has been used, or that the operator lists. Strangers choose the other URLs: a fetcher whose places are
    /// limited, such as those of a resolver, keeps some that others can't take.
    pub in_use: bool,
}

/// The reason for which a document was not fetched. For operators: clients get one text for all of them, since a server must
/// not tell anyone what is in its network.
#[derive(Debug)]
#[non_exhaustive]
pub enum FetchError {
    /// The name has no address.
    NoAddress,
    /// The name has an address that is not public; the class is in the error.
    AddressRejected(&'static str),
    /// No connection.
    Connect(Box<dyn Error + Send + Sync>),
    /// No TLS connection: an untrusted certificate, or another protocol.
    Tls(Box<dyn Error + Send + Sync>),
    /// The time limit ended; the step is in the error.
    Timeout(&'static str),
    /// The response is not HTTP/1.1, or has too many header fields.
    Protocol(Box<dyn Error + Send + Sync>),
    /// A redirect, which is never followed.
    Redirect(StatusCode),
    /// Another status than 200.
    Status(StatusCode),
    /// The media type is neither `application/json` nor `application/*+json`, or not in UTF-8.
    ContentType,
    /// A content coding.
    ContentCoding,
    /// More bytes than the maximum, or fewer than announced.
    Size,
    /// Another error of a [`Fetch`].
    Other(Box<dyn Error + Send + Sync>),
}

impl FetchRequest {
    /// The recommended maximum of a document, 5 KB.
    pub(crate) const MAX_BYTES: usize = 5 * 1024;

    /// Creates a request without a known copy, for at most 5,120 bytes.
    #[must_use]
    pub fn new(url: ClientIdUrl) -> Self {
        Self { url, etag: None, max_bytes: Self::MAX_BYTES, in_use: false }
    }

    /// Checks the head of a response, before its body is read.
    ///
    /// # Errors
    ///
    /// Returns [`FetchError`] for another status than 200 (or 304, if [`etag`](Self::etag) is set), another media type than JSON in
    /// UTF-8, a content coding, and a `Content-Length` above the maximum.
    pub fn check_head(&self, head: &response::Parts) -> Result<(), FetchError> {
        match head.status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if self.etag.is_some() => return Ok(()),
            StatusCode::NOT_MODIFIED => return Err(FetchError::Status(head.status)),
            status if status.is_redirection() => return Err(FetchError::Redirect(status)),
            status => return Err(FetchError::Status(status)),
        }
        // RFC 9110 section 8.4.1: "identity" is no coding, and some servers say so.
        let is_coded = |coding: &HeaderValue| !coding.as_bytes().eq_ignore_ascii_case(b"identity");
        if head.headers.get_all(header::CONTENT_ENCODING).iter().any(is_coded) {
            return Err(FetchError::ContentCoding);
        }
        let media = MediaType::of(&head.headers).ok().flatten().ok_or(FetchError::ContentType)?;
        if !media.is_json() || !media.is_utf8() {
            return Err(FetchError::ContentType);
        }
        let lengths = head.headers.get_all(header::CONTENT_LENGTH);
        let is_too_long = |length: &HeaderValue| {
            let length = length.to_str().ok().and_then(|length| length.parse::<usize>().ok());
            length.is_none_or(|length| length > self.max_bytes)
        };
        if lengths.iter().any(is_too_long) { Err(FetchError::Size) } else { Ok(()) }
    }
}

impl FetchError {
    /// Creates the error of a fetcher of your own.
    pub fn other(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }

    /// Returns the name of the reason, for metrics and events.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NoAddress => "no_address",
            Self::AddressRejected(_) => "address_rejected",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Timeout(_) => "timeout",
            Self::Protocol(_) => "protocol",
            Self::Redirect(_) => "redirect",
            Self::Status(StatusCode::NOT_FOUND | StatusCode::GONE) => "gone",
            Self::Status(_) => "status",
            Self::ContentType => "content_type",
            Self::ContentCoding => "content_coding",
            Self::Size => "size",
            Self::Other(_) => "other",
        }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => f.write_str("the host has no address"),
            Self::AddressRejected(class) => write!(f, "the host has an address that is not public ({class})"),
            Self::Connect(_) => f.write_str("no connection"),
            Self::Tls(_) => f.write_str("no TLS connection"),
            Self::Timeout(step) => write!(f, "no answer in time ({step})"),
            Self::Protocol(_) => f.write_str("the response is not HTTP/1.1, or too large"),
            Self::Redirect(status) => write!(f, "a redirect ({status}), which is never followed"),
            Self::Status(status) => write!(f, "the status {status} instead of 200"),
            Self::ContentType => f.write_str("the media type is not JSON in UTF-8"),
            Self::ContentCoding => f.write_str("the document has a content coding"),
            Self::Size => f.write_str("the document is too large, or cut off"),
            Self::Other(_) => f.write_str("the document was not fetched"),
        }
    }
}

impl Error for FetchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Connect(error) | Self::Tls(error) | Self::Protocol(error) | Self::Other(error) => Some(&**error),
            _ => None,
        }
    }
}

/// The result of a fetch.
pub(crate) type Fetched = Result<Response<Bytes>, FetchError>;

/// [`Fetch`] without its type.
pub(crate) trait ErasedFetch: Send + Sync {
    fn fetch(&self, request: FetchRequest) -> Pin<Box<dyn Future<Output = Fetched> + Send + '_>>;
}

impl<F: Fetch> ErasedFetch for F {
    fn fetch(&self, request: FetchRequest) -> Pin<Box<dyn Future<Output = Fetched> + Send + '_>> {
        Box::pin(Fetch::fetch(self, request))
    }
}
