//! Rewrites headers of messages whose body was read by a layer, or whose response will be.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Writes a number, in one allocation instead of two.
pub(crate) fn number(number: &impl ToString) -> HeaderValue {
    HeaderValue::try_from(number.to_string()).unwrap_or(HeaderValue::from_static("0"))
}

/// Makes the headers of a request describe only the body that the inner service gets: the media type and the length are
/// written anew, and headers that describe, encode, range or sign another body are removed.
pub(crate) fn describe_body(headers: &mut HeaderMap, media_type: &'static str, length: usize) {
    let is_replaced = |name: &HeaderName| *name == header::CONTENT_TYPE || *name == header::CONTENT_LENGTH;
    remove(headers, is_replaced, |name| is_of_body(name) || is_of_answer(name));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_LENGTH, number(&length));
}

/// Asks the inner service for a whole body without a content coding, which a layer can read.
pub(crate) fn ask_for_plain_answer(headers: &mut HeaderMap) {
    remove(headers, |_| false, is_of_answer);
}

fn is_of_answer(name: &str) -> bool {
    matches!(name, "accept-encoding" | "range" | "if-range" | "te")
}

/// Removes the headers of a body that was read or replaced, its media type and length included.
pub(crate) fn forget_old_body(headers: &mut HeaderMap) {
    remove(headers, |_| false, is_of_body);
}

/// Removes the headers of a body that was replaced, before its media type and length are written anew.
pub(crate) fn forget_replaced_body(headers: &mut HeaderMap) {
    let is_replaced = |name: &HeaderName| *name == header::CONTENT_TYPE || *name == header::CONTENT_LENGTH;
    remove(headers, is_replaced, is_of_body);
}

fn is_of_body(name: &str) -> bool {
    (name.starts_with("content-") && !name.starts_with("content-security-policy"))
        || has_digest(name.as_bytes())
        || matches!(
            name,
            "expect"
                | "trailer"
                | "transfer-encoding"
                // The method was checked as well: a header must not override it in the application.
                | "x-http-method"
                | "x-http-method-override"
                | "x-method-override"
        )
}

/// Returns `true` for `Digest`, `Repr-Digest`, `Signature-Input`, `X-Hub-Signature-256`, `X-Amz-Content-Sha256` and similar
/// ones. In one pass: four searches in every name would cost more than the rest of the layer does with the headers.
fn has_digest(name: &[u8]) -> bool {
    let begins = |rest: &[u8]| match rest {
        [b'd', ..] => rest.starts_with(b"digest"),
        [b's', ..] => rest.starts_with(b"signature"),
        [b'c', ..] => rest.starts_with(b"content-sha") || rest.starts_with(b"content-md5"),
        _ => false,
    };
    (0..name.len()).any(|at| name.get(at..).is_some_and(begins))
}

/// Removes headers by their names, in which `_` is read as `-`: CGI and its successors read both as one. Those that are
/// written anew afterwards stay.
fn remove(headers: &mut HeaderMap, is_replaced: impl Fn(&HeaderName) -> bool, is_stale: impl Fn(&str) -> bool) {
    let is_stale = |name: &HeaderName| match name.as_str() {
        _ if is_replaced(name) => false,
        name if name.contains('_') => is_stale(&name.replace('_', "-")),
        name => is_stale(name),
    };
    if !headers.keys().any(is_stale) {
        return;
    }
    let stale: Vec<HeaderName> = headers.keys().filter(|name| is_stale(name)).cloned().collect();
    for name in stale {
        headers.remove(name);
    }
}
