//! What headers say about a body that was replaced.

use http::{HeaderMap, HeaderName};

/// Takes out the digests, codings and signatures over an old body. Its length is for the caller to correct.
pub(crate) fn forget_old_body(headers: &mut HeaderMap) {
    if !headers.keys().any(describes_old_body) {
        return;
    }
    let stale: Vec<HeaderName> = headers.keys().filter(|name| describes_old_body(name)).cloned().collect();
    for name in stale {
        headers.remove(name);
    }
}

fn describes_old_body(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "content-digest"
            | "content-encoding"
            | "content-md5"
            | "digest"
            | "repr-digest"
            | "signature"
            | "signature-input"
            | "trailer"
            | "transfer-encoding"
    )
}
