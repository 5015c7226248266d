//! Filters the headers of a client.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

/// Takes out what is for this connection only, so that everything is judged as the server gets it (RFC 9110 section 7.6.1).
/// Removed behind the judgement, it would be the client's choice what the server does not see of a judged request.
///
/// # Errors
///
/// `Connection` can't be read, or names what is meant for the server: "a sender MUST NOT send a connection option
/// corresponding to a header field that is intended for all recipients of the content".
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) -> Result<(), &'static str> {
    let mut nominated = Vec::new();
    for field in headers.get_all(header::CONNECTION) {
        let field = field.to_str().map_err(|_| "the Connection field can't be read")?;
        for option in
            field.split(',').map(|option| option.trim_matches([' ', '\t'])).filter(|option| !option.is_empty())
        {
            nominated.push(option.parse::<HeaderName>().map_err(|_| "the Connection field can't be read")?);
        }
    }
    if nominated.iter().any(|name| is_end_to_end(name.as_str())) {
        return Err("the Connection field names what is for the server");
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
    // Programs run by CGI would use it for their own requests.
    "proxy",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What decides how a request is read, and whose it is.
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

/// A web socket's handshake (RFC 6455 section 4.1), and trailers of gRPC.
pub(crate) struct Kept {
    upgrade: bool,
    trailers: bool,
}

impl Kept {
    /// What of the headers for this connection the server needs, too, where nothing is judged.
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

/// Takes out what would have the server answer another request than the one that was judged. A trusted proxy sends it on, too,
/// as its client wrote it.
pub(crate) fn remove_overrides(headers: &mut HeaderMap, is_trusted: bool) {
    retain(headers, |name| has_one_reading(name) && !is_override(name) && (is_trusted || !is_testimony(name)));
}

/// Takes out what asks for answers in a form that can't be read here.
pub(crate) fn ask_for_plain_answer(headers: &mut HeaderMap) {
    retain(headers, |name| !matches!(name, "accept-encoding" | "if-range" | "range"));
}

pub(crate) fn retain(headers: &mut HeaderMap, passes: impl Fn(&str) -> bool) {
    let removed: Vec<HeaderName> = headers.keys().filter(|name| !passes(name.as_str())).cloned().collect();
    for name in removed {
        headers.remove(name);
    }
}

/// CGI, WSGI and Rack turn `-` and everything that is no letter into `_` (RFC 3875 section 4.1.18): of two names that become one
/// there, the other one was judged.
fn has_one_reading(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Another path, host or method than those of the request line.
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

/// What only a proxy can know of a client: its certificate (RFC 9440), and who it was signed in as.
fn is_testimony(name: &str) -> bool {
    ["client-cert", "remote-", "ssl-client-", "x-auth-request-", "x-client-cert", "x-remote-", "x-ssl-"]
        .iter()
        .any(|family| name.starts_with(family))
}
