//! Which client a request to the client configuration endpoint is about.

use http::Uri;

/// How a URL says which client it is about.
pub(crate) type ManagedBy = dyn Fn(&Uri) -> Option<String> + Send + Sync;

/// The client that `/register/CLIENT_ID` is about: the last segment of the path.
///
/// ```
/// use tower_dcr::lifecycle::client_in_path;
///
/// assert_eq!(client_in_path(&"/register/a%20b?client_id=c".parse().unwrap()).as_deref(), Some("a b"));
/// ```
#[must_use]
pub fn client_in_path(uri: &Uri) -> Option<String> {
    let segment = uri.path().rsplit('/').next().filter(|segment| !segment.is_empty())?;
    Some(percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned())
}

/// The client that `/register?client_id=CLIENT_ID` is about (OpenID Connect Dynamic Client Registration 1.0 section 4.1);
/// none if it is named more than once.
///
/// ```
/// use tower_dcr::lifecycle::client_in_query;
///
/// assert_eq!(client_in_query(&"/register/b?client_id=a+b".parse().unwrap()).as_deref(), Some("a b"));
/// assert_eq!(client_in_query(&"/register?client_id=a&client_id=b".parse().unwrap()), None);
/// ```
#[must_use]
pub fn client_in_query(uri: &Uri) -> Option<String> {
    let query = uri.query().unwrap_or_default();
    let mut named = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "client_id");
    let (_, id) = named.next()?;
    named.next().is_none().then(|| id.into_owned())
}
