//! Why a request is refused, in the form that its endpoint wants.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::Endpoint;
use crate::body::{self, ResponseBody};

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A parameter is repeated, two names differ, the body can't be read: whatever the server would make of it.
    Ambiguous(&'static str),
    Expired,
    Pending,
    Redirect,
    Revoked,
    TooLarge,
    Unavailable,
    Unidentified,
    Unknown,
}

impl Fault {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ambiguous(what) => what,
            Self::Expired => "the client has expired",
            Self::Pending => "the client has not been approved yet",
            Self::Redirect => "the redirect URI is not registered for this client",
            Self::Revoked => "the client was revoked",
            Self::TooLarge => "the request is too large",
            Self::Unavailable => "the registration of the client can't be checked now",
            Self::Unidentified => "the request does not say which client it comes from",
            Self::Unknown => "the client is not registered",
        }
    }

    const fn error(self) -> &'static str {
        match self {
            Self::Ambiguous(_) | Self::Redirect | Self::TooLarge => "invalid_request",
            Self::Expired | Self::Pending | Self::Revoked | Self::Unidentified | Self::Unknown => "invalid_client",
            Self::Unavailable => "temporarily_unavailable",
        }
    }

    /// What a person at the authorization endpoint can do about it.
    const fn advice(self) -> &'static str {
        match self {
            Self::Ambiguous(_) | Self::TooLarge | Self::Unidentified => {
                "The application sent a request that can't be understood. Start again from the application."
            }
            Self::Expired | Self::Unknown => {
                "The application is not registered here any more. Remove the connection in the application and add it \
                 again: it then registers anew."
            }
            Self::Pending => {
                "The application is waiting for the approval of this server's operator. Try again once it is approved."
            }
            Self::Redirect => "The application asks to be answered at an address that is not its own.",
            Self::Revoked => "The operator of this server has revoked the application.",
            Self::Unavailable => "The application can't be checked at the moment. Try again in a minute.",
        }
    }
}

/// How a refusal is put.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// For a person in a browser.
    Page,
    /// For a person's program that asked for JSON at the authorization endpoint.
    PageAsJson,
    /// For a client.
    Json { challenge: bool },
}

impl Form {
    pub(super) fn of(endpoint: Endpoint, headers: &HeaderMap) -> Self {
        if endpoint != Endpoint::Authorization {
            return Self::Json { challenge: false };
        }
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let names =
            |media: &str| accept.split(',').any(|part| part.split(';').next().unwrap_or_default().trim() == media);
        if names("application/json") && !names("text/html") { Self::PageAsJson } else { Self::Page }
    }

    /// RFC 6749 section 5.2: "If the client attempted to authenticate via the "Authorization" request header field, the
    /// authorization server MUST respond with an HTTP 401 … and include the "WWW-Authenticate" response header field".
    pub(super) fn challenging(self, by_basic: bool) -> Self {
        match self {
            Self::Json { .. } => Self::Json { challenge: by_basic },
            page => page,
        }
    }

    pub(super) fn refuse<R>(self, fault: Fault) -> Response<ResponseBody<R>> {
        let (content_type, text) = match self {
            Self::Page => ("text/html; charset=utf-8", page(fault)),
            Self::PageAsJson | Self::Json { .. } => ("application/json", json(fault)),
        };
        let bytes = Bytes::from(text);
        let length = HeaderValue::from(bytes.len());
        let mut response = Response::new(ResponseBody::own(bytes));
        *response.status_mut() = self.status(fault);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CONTENT_LENGTH, length);
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        body::forbid_storing(headers);
        match self {
            Self::Page => {
                let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
                headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
                headers.insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer"));
            }
            Self::Json { challenge: true } if fault.error() == "invalid_client" => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"token\""));
            }
            Self::PageAsJson | Self::Json { .. } => {}
        }
        if fault == Fault::Unavailable {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }

    fn status(self, fault: Fault) -> StatusCode {
        match (fault, self) {
            (Fault::Unavailable, _) => StatusCode::SERVICE_UNAVAILABLE,
            (Fault::TooLarge, _) => StatusCode::PAYLOAD_TOO_LARGE,
            (_, Self::Json { .. }) if fault.error() == "invalid_client" => StatusCode::UNAUTHORIZED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Nothing in it comes from the request.
fn json(fault: Fault) -> String {
    serde_json::json!({ "error": fault.error(), "error_description": fault.as_str() }).to_string()
}

fn page(fault: Fault) -> String {
    let advice = fault.advice();
    let mut page = String::with_capacity(512);
    for piece in [
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">",
        "<meta name=\"viewport\" content=\"width=device-width\"><title>This application can't sign in</title>",
        "<body style=\"font-family:system-ui;max-width:32rem;margin:4rem auto;padding:0 1rem;line-height:1.5\">",
        "<h1 style=\"font-size:1.3rem\">This application can't sign in</h1><p>",
        advice,
        "</p></body></html>\n",
    ] {
        page.push_str(piece);
    }
    page
}
