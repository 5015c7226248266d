//! Rejections, in the form of the endpoint.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body::Body;
use serde_json::json;

use super::back::Back;
use super::endpoint::{Endpoint, RejectionForm};
use crate::layers::body::{self, ResponseBody};

/// The reason for a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Servers may read the request in different ways: a parameter is repeated, two names differ, the body can't be
    /// read.
    Ambiguous(&'static str),
    /// The client metadata document is not accepted. One text for every reason: the server must not tell what it reaches.
    Document,
    /// The client has deleted its registration itself (RFC 7592 section 2.3).
    Deleted,
    Expired,
    /// The method is not GET, HEAD, POST or OPTIONS.
    Method,
    /// The request does not name one of the redirect URIs.
    NoRedirect,
    Pending,
    Redirect,
    Revoked,
    /// A rule: the error code and its description.
    Rule(&'static str, &'static str),
    TooLarge,
    /// Too many attempts to authenticate this client from this source failed; with the time to wait.
    TooManyFailures(Duration),
    Unavailable,
    Unidentified,
    Unknown,
}

impl Fault {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ambiguous(what) => what,
            Self::Document => "client metadata document not accepted",
            Self::Deleted => "the client has deleted its registration",
            Self::Expired => "the client has expired",
            Self::Method => "method not allowed",
            Self::NoRedirect => "the request has to say where the answer goes",
            Self::Pending => "the client has not been approved yet",
            Self::Redirect => "the redirect URI is not registered for this client",
            Self::Revoked => "the client was revoked",
            Self::Rule(_, description) => description,
            Self::TooManyFailures(_) => "too many failed attempts to authenticate this client; try again later",
            Self::TooLarge => "the request is too large",
            Self::Unavailable => "the client can't be checked now; try again later",
            Self::Unidentified => "the request does not say which client it comes from",
            Self::Unknown => "the client is not registered",
        }
    }

    /// Returns the error code. `invalid_client` makes clients forget their registration and register again, and so does
    /// `unauthorized_client` in the TypeScript SDK. Outside of rules they are used only if a new registration solves the
    /// problem. Rules have the codes of RFC 6749: a client that uses another grant, response type or method than it
    /// registered has to register that one, too.
    const fn error(self, endpoint: &Endpoint) -> &'static str {
        match self {
            Self::Rule(error, _) => error,
            Self::Redirect if matches!(endpoint.rejection, RejectionForm::Page) => "invalid_client",
            Self::Ambiguous(_)
            | Self::Method
            | Self::NoRedirect
            | Self::Redirect
            | Self::TooLarge
            | Self::Unidentified => "invalid_request",
            Self::Deleted | Self::Document | Self::Expired | Self::Revoked | Self::Unknown => "invalid_client",
            Self::Pending => "access_denied",
            Self::TooManyFailures(_) | Self::Unavailable => "temporarily_unavailable",
        }
    }

    /// Returns advice for a person at the authorization endpoint.
    const fn advice(self) -> &'static str {
        match self {
            Self::Ambiguous(_)
            | Self::Method
            | Self::NoRedirect
            | Self::Rule(..)
            | Self::TooLarge
            | Self::TooManyFailures(_)
            | Self::Unidentified => {
                "The application sent a request that is not allowed here. Start again from the application."
            }
            Self::Deleted | Self::Expired | Self::Unknown => {
                "The application is not registered here any more. Remove the connection in the application and add it \
                 again: it then registers anew."
            }
            Self::Pending => {
                "The application is waiting for the approval of this server's operator. Try again once it is approved."
            }
            Self::Document => {
                "This server does not accept the application's description of itself. Its publisher can find out why."
            }
            Self::Redirect => {
                "The application asks to be answered at an address that is not its own. Remove the connection in the \
                 application and add it again."
            }
            Self::Revoked => "The operator of this server has revoked the application.",
            Self::Unavailable => "The application can't be checked at the moment. Try again in a minute.",
        }
    }
}

/// A rejected request.
#[derive(Debug)]
pub(super) struct Rejected {
    pub(super) fault: Fault,
    /// The rule that rejects it. `None` for everything that is not configurable.
    pub(super) rule: Option<&'static str>,
    /// The way back to the client, if its redirect URI is certain.
    pub(super) back: Option<Box<Back>>,
}

impl From<Fault> for Rejected {
    fn from(fault: Fault) -> Self {
        Self { fault, rule: None, back: None }
    }
}

/// The form of a rejection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    endpoint: &'static Endpoint,
    /// Set for a page for a person in a browser; else JSON.
    is_page: bool,
    /// Set if the client used `Authorization: Basic`.
    pub(super) by_basic: bool,
    is_post: bool,
}

impl Form {
    /// Returns the form of rejections for a request. Programs probe `/authorize` before they open a browser, with
    /// `Accept: */*` or none. Browsers name `text/html`.
    pub(super) fn of(endpoint: &'static Endpoint, method: &Method, headers: &HeaderMap) -> Self {
        let mut ranges =
            headers.get_all(header::ACCEPT).iter().flat_map(|accept| accept.as_bytes().split(|b| *b == b','));
        let names_page = ranges.any(|range| {
            let media = range.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            media.eq_ignore_ascii_case(b"text/html")
        });
        let is_page = endpoint.rejection == RejectionForm::Page && names_page;
        Self { endpoint, is_page, by_basic: false, is_post: method == Method::POST }
    }

    pub(super) fn response<R: Body>(self, rejected: &Rejected) -> Response<ResponseBody<R>> {
        let fault = rejected.fault;
        let error = fault.error(self.endpoint);
        if let Some(back) = rejected.back.as_ref().filter(|back| back.is_trusted) {
            return back.redirect(self.is_post, error, fault.as_str());
        }
        let (content_type, text) = if self.is_page {
            let link = rejected.back.as_ref().map(|back| back.link(error, fault.as_str()));
            ("text/html; charset=utf-8", page(fault, error, link.as_deref().unwrap_or_default()))
        } else {
            // No part of the text comes from the request.
            (body::JSON, json!({ "error": error, "error_description": fault.as_str() }).to_string())
        };
        let status = self.status(fault);
        let mut response = body::answer(status, content_type, text);
        let headers = response.headers_mut();
        if self.is_page {
            let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
            headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
            headers.insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer"));
        }
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110 section 15.5.2: a 401 has a challenge. RFC 6749 section 5.2: it matches the scheme that the
            // client used. A client that used none gets one on which no browser asks for a password.
            let challenge = if self.by_basic { "Basic realm=\"token\"" } else { "Bearer realm=\"token\"" };
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        match fault {
            Fault::Unavailable => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            Fault::TooManyFailures(wait) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().saturating_add(1)));
            }
            Fault::Method => {
                let methods = self.endpoint.methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
                headers.extend(HeaderValue::try_from(methods).map(|methods| (header::ALLOW, methods)));
            }
            _ => {}
        }
        response
    }

    fn status(self, fault: Fault) -> StatusCode {
        match fault {
            Fault::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Fault::TooManyFailures(_) => StatusCode::TOO_MANY_REQUESTS,
            Fault::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Fault::Method => StatusCode::METHOD_NOT_ALLOWED,
            _ if self.endpoint.rejection == RejectionForm::Json && fault.error(self.endpoint) == "invalid_client" => {
                StatusCode::UNAUTHORIZED
            }
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Returns the page of a rejection. `link` is HTML.
fn page(fault: Fault, error: &str, link: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>This application can't sign in</title>\
         <body style=\"font-family:system-ui;max-width:32rem;margin:4rem auto;padding:0 1rem;line-height:1.5\">\
         <h1 style=\"font-size:1.3rem\">This application can't sign in</h1><p>{}</p>{link}<small>{error}{}</small></body></html>\n",
        fault.advice(),
        match fault {
            Fault::Rule(_, description) | Fault::Ambiguous(description) => format!(": {description}"),
            _ => String::new(),
        }
    )
}
