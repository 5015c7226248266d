//! [`VerifiedClient`]: a client whose document was fetched and judged.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{ClientIdUrl, classify};
#[cfg(feature = "identity")]
use crate::clients::consent::ConsentFacts;
use crate::clients::ledger::{Change, Client};
#[cfg(feature = "identity")]
use crate::clients::ledger::{Fingerprints, Origin};
use crate::registration::{Digest, Limits, Registration};
use crate::rules::{Disposition, Evaluation, Finding, Identity, Rejection};
use crate::sync::{Mutex, lock};

/// A client that is named by the URL of its metadata document, after the document was fetched and the rules have judged it.
///
/// A [gate](crate::layers::GateLayer) puts it into the extensions of a request, so that the handler must not fetch the document
/// again: the second reading could differ. If the `client_id` of a request is an `https` URL and there is no such extension, the
/// handler rejects the request.
///
/// ```
/// # use bytes::Bytes;
/// # use http::Response;
/// # use tower_dcr::documents::{Fetch, FetchError, FetchRequest};
/// # struct Fetcher;
/// # impl Fetch for Fetcher {
/// #     async fn fetch(&self, request: FetchRequest) -> Result<Response<Bytes>, FetchError> {
/// #         let url = request.url.as_str();
/// #         let document = serde_json::json!({"client_id": url, "client_name": "App", "redirect_uris": ["http://127.0.0.1/cb"]});
/// #         let response = Response::builder().header("content-type", "application/json");
/// #         response.body(document.to_string().into()).map_err(FetchError::other)
/// #     }
/// # }
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use tower_dcr::documents::{ClientIdUrl, Documents};
///
/// let preset = tower_dcr::mcp().with_documents(Documents::new(Fetcher));
/// let url = ClientIdUrl::parse("https://app.example.com/client.json")?;
/// let client = preset.resolve_document(&url, None).await?;
/// assert_eq!(client.registration().string("client_name"), Some("App"));
/// let document: serde_json::Value = serde_json::from_slice(client.document())?;
/// assert_eq!(document["client_id"], "https://app.example.com/client.json");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct VerifiedClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    url: ClientIdUrl,
    registration: Registration,
    document: Bytes,
    identity: Option<Identity>,
    held: Option<Rejection>,
    digest: Digest,
    policy: u64,
    times: Times,
    /// The rule that would have rejected it, until it is reported.
    unreported: Mutex<Option<&'static str>>,
}

/// The times of a document, since 1970, and its entity tag.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    pub(crate) fetched_at: Duration,
    pub(crate) fresh_until: Duration,
    pub(crate) etag: Option<String>,
}

/// Returns the canonical document with its `client_id`.
fn with_client_id(registration: &Registration, url: &ClientIdUrl) -> Bytes {
    let mut document = registration.clone();
    document.insert_default_value("client_id", &url.as_str().into());
    document.canonical_bytes().into()
}

/// Returns the first rule that would have rejected a document, if it were enforced.
fn would_reject(judged: &Evaluation) -> Option<&'static str> {
    let rejects = |finding: &&Finding| !finding.enforced && finding.disposition == Disposition::Rejected;
    judged.findings.iter().find(rejects).map(|finding| finding.rule)
}

impl VerifiedClient {
    /// Takes the result of the rules for a document over. `digest` is that of the document as it was fetched.
    pub(crate) fn new(url: &ClientIdUrl, mut judged: Evaluation, digest: Digest, times: Times) -> Option<Self> {
        let registration = judged.registration.take()?;
        let inner = Inner {
            url: url.clone(),
            document: with_client_id(&registration, url),
            registration,
            identity: judged.identity().cloned(),
            held: judged.held.as_deref().cloned(),
            digest,
            policy: judged.fingerprint().unwrap_or_default(),
            times,
            unreported: Mutex::new(would_reject(&judged)),
        };
        Some(Self { inner: Arc::new(inner) })
    }

    /// Takes the client over from a record.
    pub(crate) fn of_record(
        url: &ClientIdUrl,
        registration: Registration,
        identity: Option<Identity>,
        digest: &str,
    ) -> Option<Self> {
        let inner = Inner {
            url: url.clone(),
            document: with_client_id(&registration, url),
            registration,
            identity,
            held: None,
            digest: Digest::parse(digest)?,
            policy: 0,
            times: Times::default(),
            unreported: Mutex::default(),
        };
        Some(Self { inner: Arc::new(inner) })
    }

    /// Returns the `client_id`, the URL of the document.
    #[must_use]
    pub fn url(&self) -> &ClientIdUrl {
        &self.inner.url
    }

    /// Returns the document as the rules left it, as canonical JSON with its `client_id`.
    #[must_use]
    pub fn document(&self) -> &Bytes {
        &self.inner.document
    }

    /// Returns the document as the rules left it, without its `client_id`: what a registration would have said.
    #[must_use]
    pub fn registration(&self) -> &Registration {
        &self.inner.registration
    }

    /// Returns the reserved identity that it claims, with the evidence, or `None` if it claims none.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.inner.identity.as_ref()
    }

    /// Returns the facts for a consent page, for a client that asks for a code at `redirect_uri` and has no
    /// [record](crate::clients::Registrar::consent_facts) yet.
    #[cfg(feature = "identity")]
    #[must_use]
    pub fn consent_facts(&self, redirect_uri: &str) -> ConsentFacts {
        let registration = String::from_utf8(self.registration().canonical_bytes()).unwrap_or_default();
        let client = Client {
            origin: Origin::Document,
            client_id: Some(self.url().as_str().to_owned()),
            identity: self.identity().cloned(),
            ..Client::draft(registration, Fingerprints::default(), 0)
        };
        ConsentFacts { first_seen: None, ..ConsentFacts::of_client(&client, redirect_uri) }
    }

    /// Returns the kind of change from the version that `record` has in force, or `None` if this is that version. A gate applies
    /// it at once or [holds](Change) it.
    #[must_use]
    pub fn change_since(&self, record: &Client) -> Option<Change> {
        if record.registration.as_bytes() == self.registration().canonical_bytes() {
            return None;
        }
        let before = Registration::parse_with(record.registration.as_bytes(), &Limits::GENEROUS);
        // A record that can't be read has nothing to compare with.
        let change = before.map_or(Change::Identity, |before| {
            classify(self.url(), (&before, record.identity.as_ref()), (self.registration(), self.identity()))
        });
        Some(change.held_by_rule(self.held().is_some()))
    }

    /// Returns the reason for which it waits for an operator, or `None` if it does not.
    pub(crate) fn held(&self) -> Option<&Rejection> {
        self.inner.held.as_ref()
    }

    /// Returns the SHA-256 of the document as it was fetched.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.inner.digest
    }

    /// Returns the fingerprint of the rules that judged it.
    pub(crate) fn policy(&self) -> u64 {
        self.inner.policy
    }

    /// Returns the rule that would have rejected it, if it were enforced: once for each fetch.
    pub(crate) fn take_report(&self) -> Option<&'static str> {
        lock(&self.inner.unreported).take()
    }

    pub(crate) fn times(&self) -> &Times {
        &self.inner.times
    }

    /// Returns `true` if both are the same version, judged by the same rules.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Returns the number of bytes that it takes, approximately.
    pub(crate) fn weight(&self) -> usize {
        3 * self.inner.document.len() + 1024
    }
}
