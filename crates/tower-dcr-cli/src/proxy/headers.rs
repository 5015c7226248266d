//! Filters the headers of a client.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

/// Removes the headers of this connection before evaluation, so that the layers see the same request as the server
/// (RFC 9110 section 7.6.1). If they were removed afterwards, a client could choose headers that the layers see and
/// the server does not.
///
/// # Errors
///
/// Returns an error if `Connection` is unreadable, or names a header for the server: "a sender MUST NOT send a
/// connection option corresponding to a header field that is intended for all recipients of the content".
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) -> Result<(), &'static str> {
    let mut nominated = Vec::new();
    for field in headers.get_all(header::CONNECTION) {
        let field = field.to_str().map_err(|_| "unreadable Connection field")?;
        for option in
            field.split(',').map(|option| option.trim_matches([' ', '\t'])).filter(|option| !option.is_empty())
        {
            nominated.push(option.parse::<HeaderName>().map_err(|_| "unreadable Connection field")?);
        }
    }
    if nominated.iter().any(|name| is_end_to_end(name.as_str())) {
        return Err("the Connection field names an end-to-end header");
    }
    let hop_by_hop = HOP_BY_HOP.iter().copied().map(HeaderName::from_static);
    for name in nominated.into_iter().chain(hop_by_hop) {
        headers.remove(name);
    }
    Ok(())
}

const HOP_BY_HOP: [&str; 11] = [
    "connection",
    "http2-settings",
    "keep-alive",
    // CGI programs would use it for their own requests.
    "proxy",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Returns `true` for a header that affects the reading of a request, or identifies its sender.
fn is_end_to_end(name: &str) -> bool {
    let is_sent_on =
        ["accept", "content-", "if-", "sec-", "x-forwarded", "x-real-", "x-http-", "x-method-", "x-original-"];
    is_sent_on.iter().any(|beginning| name.starts_with(beginning))
        || matches!(
            name,
            "authorization"
                | "cookie"
                | "dpop"
                | "expect"
                | "forwarded"
                | "host"
                | "origin"
                | "range"
                | "referer"
                | "signature"
                | "signature-input"
                | "user-agent"
                | "via"
        )
}

/// A web socket handshake (RFC 6455 section 4.1), and gRPC trailers.
pub(crate) struct Kept {
    upgrade: bool,
    trailers: bool,
}

impl Kept {
    /// Returns the headers of this connection that the server also needs, for requests that are not evaluated.
    pub(crate) fn of(method: &Method, version: Version, headers: &HeaderMap) -> Self {
        let only = |name: HeaderName, word: &str| {
            let mut fields = headers.get_all(name).iter();
            let is_word = fields.next().is_some_and(|field| field.as_bytes().eq_ignore_ascii_case(word.as_bytes()));
            is_word && fields.next().is_none()
        };
        let mut options = headers.get_all(header::CONNECTION).iter().filter_map(|field| field.to_str().ok());
        let asks = options.any(|field| field.split(',').any(|option| option.trim().eq_ignore_ascii_case("upgrade")));
        let http = *method == Method::GET && version == Version::HTTP_11;
        Self { upgrade: http && asks && only(header::UPGRADE, "websocket"), trailers: only(header::TE, "trailers") }
    }

    pub(crate) fn put_back(self, headers: &mut HeaderMap) {
        if self.upgrade {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        if self.trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
    }
}

/// Removes headers that would make the server respond to a different request than the evaluated one. Those of a trusted
/// proxy are removed, too: it forwards them as its client wrote them.
pub(crate) fn remove_overrides(headers: &mut HeaderMap, is_trusted: bool) {
    retain(headers, |name| has_one_reading(name) && !is_override(name) && (is_trusted || !is_testimony(name)));
}

/// Removes headers that ask for a response in a form that can't be read here.
pub(crate) fn ask_for_plain_answer(headers: &mut HeaderMap) {
    retain(headers, |name| !matches!(name, "accept-encoding" | "if-range" | "range"));
}

pub(crate) fn retain(headers: &mut HeaderMap, passes: impl Fn(&str) -> bool) {
    let removed: Vec<HeaderName> = headers.keys().filter(|name| !passes(name.as_str())).cloned().collect();
    for name in removed {
        headers.remove(name);
    }
}

/// Returns `false` for a name that another one can collide with: CGI, WSGI and Rack turn `-` and everything that is no
/// letter into `_` (RFC 3875 section 4.1.18), and the layers may have seen the other one.
fn has_one_reading(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Returns `true` for a header that overrides the path, host or method of the request line.
fn is_override(name: &str) -> bool {
    let families = [
        "x-accel-",
        "x-arr-",
        "x-envoy-",
        "x-http-",
        "x-method",
        "x-original",
        "x-override",
        "x-rewrite",
        "x-sendfile",
        "x-waws-",
    ];
    families.iter().any(|family| name.starts_with(family))
        || matches!(
            name,
            "base-url"
                | "path-info"
                | "request-uri"
                | "script-name"
                | "x-host"
                | "x-ms-original-url"
                | "x-path-info"
                | "x-request-uri"
                | "x-script-name"
        )
}

/// Returns `true` for a header that only a proxy can set: the client's certificate (RFC 9440), or its signed-in user.
fn is_testimony(name: &str) -> bool {
    ["client-cert", "remote-", "ssl-client-", "x-auth-request-", "x-client-cert", "x-remote-", "x-ssl-"]
        .iter()
        .any(|family| name.starts_with(family))
}
