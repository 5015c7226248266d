//! The headers of a message whose body was read here, and of one whose answer will be.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Makes the headers of a request describe the body that the inner service gets, and nothing else: the media type and the
/// length are written anew, and all that describes, encodes, ranges or signs another body goes.
pub(crate) fn describe_body(headers: &mut HeaderMap, media_type: &'static str, length: usize) {
    forget_old_body(headers);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    ask_for_plain_answer(headers);
}

/// Has the inner service answer with a whole body without a content coding, which can be read here.
pub(crate) fn ask_for_plain_answer(headers: &mut HeaderMap) {
    remove(headers, |name| matches!(name, "accept-encoding" | "range" | "if-range" | "te"));
}

/// Takes out everything that was said of a body that was read or replaced, its media type and length included.
pub(crate) fn forget_old_body(headers: &mut HeaderMap) {
    remove(headers, |name| {
        (name.starts_with("content-") && !name.starts_with("content-security-policy"))
            // `Digest`, `Repr-Digest`, `Signature-Input`, `X-Hub-Signature-256`, `X-Amz-Content-Sha256` and their like.
            || ["digest", "signature", "content-sha", "content-md5"].iter().any(|kind| name.contains(kind))
            || matches!(
                name,
                "expect"
                    | "trailer"
                    | "transfer-encoding"
                    // The method was judged as well: an application must not be asked for another one.
                    | "x-http-method"
                    | "x-http-method-override"
                    | "x-method-override"
            )
    });
}

/// Removes headers by their names, in which `_` is read as `-`: CGI and its heirs read both as one.
fn remove(headers: &mut HeaderMap, is_stale: impl Fn(&str) -> bool) {
    let is_stale = |name: &HeaderName| match name.as_str() {
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
