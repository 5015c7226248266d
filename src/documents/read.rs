//! Reads a fetched document.

use std::fmt;

use super::{ClientIdUrl, FetchError};
use crate::clients::ledger::LedgerError;
use crate::registration::{Limits, ParseError, Registration};
use crate::rules::Rejection;

/// The reason for which a client that is named by a URL is rejected. For operators: all but [`Unavailable`](Self::is_temporary)
/// ones have one text for clients.
#[derive(Debug)]
#[non_exhaustive]
pub enum DocumentError {
    /// The `client_id` is no URL of a document.
    Url(super::ClientIdUrlError),
    /// [`DocumentSettings`](super::DocumentSettings) do not admit the URL.
    NotAdmitted,
    /// The URL, its host or its site was revoked.
    Revoked,
    /// The ledger can't be asked for revocations.
    Ledger(LedgerError),
    /// A budget of fetches is spent.
    Budget(&'static str),
    /// The host failed often, and is not asked now.
    Breaker,
    /// The document was not fetched.
    Fetch(FetchError),
    /// The document is not strict JSON within its limits.
    Json(ParseError),
    /// The member `client_id` is missing, or another string than the URL.
    ClientId,
    /// The rules reject the document.
    Rejected(Box<Rejection>),
    /// An earlier fetch failed, and the next one is not due.
    Failed(&'static str),
    /// The endpoint does not fetch, and the document is not known.
    Unknown,
}

/// Reads the bytes of a document that was fetched from `url`, and checks that its `client_id` is the URL, character by character.
/// The registration that is returned has no `client_id`: it is evaluated in the
/// [context](crate::rules::Context::document) of a document.
///
/// ```
/// use tower_dcr::documents::{self, ClientIdUrl};
/// use tower_dcr::rules::{Context, Decision};
///
/// let url = ClientIdUrl::parse("https://app.example.com/client.json")?;
/// let bytes = br#"{"client_id":"https://app.example.com/client.json","client_name":"App","redirect_uris":["http://127.0.0.1/cb"]}"#;
/// let evaluation = tower_dcr::mcp().document_policy().evaluate(documents::read(&url, bytes)?, &Context::document(&url));
/// assert_eq!(evaluation.decision(), Decision::Accept);
/// let other = ClientIdUrl::parse("https://app.example.com/other.json")?;
/// assert!(documents::read(&other, bytes).is_err());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Returns [`DocumentError::Json`] for more than 5,120 bytes, and for everything that is not strict JSON, and
/// [`DocumentError::ClientId`] for another `client_id`.
pub fn read(url: &ClientIdUrl, bytes: &[u8]) -> Result<Registration, DocumentError> {
    let mut document = Registration::parse_with(bytes, &Limits::DOCUMENT).map_err(DocumentError::Json)?;
    // Section 4.1: "The client metadata document MUST contain a client_id property whose value MUST match the URL of the document
    // using simple string comparison".
    if document.string("client_id") != Some(url.as_str()) {
        return Err(DocumentError::ClientId);
    }
    document.remove("client_id");
    Ok(document)
}

impl DocumentError {
    /// Returns the name of the reason, for metrics and events.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Url(_) => "url",
            Self::NotAdmitted => "not_admitted",
            Self::Revoked => "revoked",
            Self::Ledger(_) => "ledger",
            Self::Budget(_) => "budget",
            Self::Breaker => "breaker",
            Self::Fetch(error) => error.as_str(),
            Self::Json(_) => "json",
            Self::ClientId => "client_id",
            Self::Rejected(_) => "rejected",
            Self::Failed(reason) => reason,
            Self::Unknown => "unknown",
        }
    }

    /// Returns the rule that rejected the document.
    pub(crate) fn rule(&self) -> Option<&'static str> {
        match self {
            Self::Rejected(rejection) => Some(rejection.rule),
            _ => None,
        }
    }

    /// Returns `true` if the client may try again later: the server has not judged its document.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::Budget(_) | Self::Breaker | Self::Ledger(_))
    }

    /// Returns `true` if the last document that was accepted may stay in force for a while: the host gave no answer about it. A
    /// document that is gone, broken or rejected is an answer.
    pub(crate) fn leaves_last_good(&self) -> bool {
        match self {
            Self::Budget(_) | Self::Breaker | Self::Ledger(_) => true,
            Self::Failed(reason) => !matches!(*reason, "gone" | "json" | "client_id" | "rejected" | "address_rejected"),
            Self::Fetch(error) => !matches!(error.as_str(), "gone" | "address_rejected"),
            _ => false,
        }
    }
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => error.fmt(f),
            Self::NotAdmitted => f.write_str("the URL is not admitted (documents.admission, documents.allow)"),
            Self::Ledger(error) => error.fmt(f),
            Self::Revoked => f.write_str("the URL, its host or its site was revoked"),
            Self::Budget(budget) => write!(f, "the budget of fetches is spent ({budget})"),
            Self::Breaker => f.write_str("the host failed often and is not asked now"),
            Self::Fetch(error) => error.fmt(f),
            Self::Json(error) => error.with_limit(&Limits::DOCUMENT).fmt(f),
            Self::ClientId => {
                f.write_str("client_id in the document is missing, or another string than the URL of the document")
            }
            Self::Rejected(rejection) => f.write_str(&rejection.description()),
            Self::Failed(reason) => write!(f, "an earlier fetch failed ({reason}), and the next one is not due"),
            Self::Unknown => f.write_str("the document is not known, and this endpoint fetches none"),
        }
    }
}

impl std::error::Error for DocumentError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Url(error) => Some(error),
            Self::Fetch(error) => Some(error),
            Self::Json(error) => Some(error),
            Self::Ledger(error) => Some(error),
            _ => None,
        }
    }
}
