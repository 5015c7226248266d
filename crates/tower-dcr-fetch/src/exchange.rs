//! One request, and its response within limits.

use std::convert::Infallible;
use std::error::Error;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri, header, response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_dcr::documents::{FetchError, FetchRequest};

use crate::deadline::Deadline;
use crate::metered::Metered;

const MAX_HEAD_BYTES: usize = 8 * 1024;
const MAX_FIELDS: usize = 64;

/// Limits the bytes of the response head, of 1xx responses before it and of trailers: everything except the body.
const MAX_BYTES_AROUND: usize = 2 * MAX_HEAD_BYTES;

/// The bytes of a body in chunks of one byte, for each byte: `1␍␊x␍␊`.
const MAX_BYTES_PER_BYTE: usize = 6;

const USER_AGENT: &str = concat!("tower-dcr-fetch/", env!("CARGO_PKG_VERSION"));

/// Sends the request and reads the response. The connection is closed when this ends, whatever the server says.
pub(crate) async fn exchange<S>(
    stream: S,
    request: &FetchRequest,
    deadline: Deadline,
) -> Result<Response<Bytes>, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limit = request.max_bytes.saturating_mul(MAX_BYTES_PER_BYTE).saturating_add(MAX_BYTES_AROUND);
    let io = TokioIo::new(Metered::new(stream, limit));
    let mut http = http1::Builder::new();
    http.max_buf_size(MAX_HEAD_BYTES).max_headers(MAX_FIELDS);
    let (sender, connection) = deadline.step("head", http.handshake(io)).await?.map_err(protocol)?;
    let driven = async {
        // Its error is that of the response, or comes after it.
        let _ = connection.await;
        pending::<Infallible>().await
    };
    tokio::select! {
        response = respond(sender, request, deadline) => response,
        never = driven => match never {},
    }
}

async fn respond(
    mut sender: SendRequest<String>,
    request: &FetchRequest,
    deadline: Deadline,
) -> Result<Response<Bytes>, FetchError> {
    let sent = sender.send_request(get(request)?);
    let (head, body) = deadline.step("head", sent).await?.map_err(protocol)?.into_parts();
    check_framing(&head)?;
    request.check_head(&head)?;
    let body = deadline.step("body", read(body, request.max_bytes)).await??;
    Ok(Response::from_parts(head, body))
}

/// Returns the request: nothing in it comes from a user, apart from the URL.
fn get(request: &FetchRequest) -> Result<Request<String>, FetchError> {
    let target = PathAndQuery::try_from(request.url.path_and_query()).map_err(FetchError::other)?;
    let mut get = Request::get(Uri::from(target))
        .header(header::HOST, request.url.authority())
        .header(header::ACCEPT, "application/json")
        .header(header::ACCEPT_ENCODING, "identity")
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONNECTION, "close");
    if let Some(etag) = &request.etag {
        get = get.header(header::IF_NONE_MATCH, etag);
    }
    get.body(String::new()).map_err(FetchError::other)
}

/// Checks that the body has one end (RFC 9112 section 6.3): a cache or scanner in between may have read another.
fn check_framing(head: &response::Parts) -> Result<(), FetchError> {
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    let is_length = |length: &HeaderValue| !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
    let codings: Vec<_> = head.headers.get_all(header::TRANSFER_ENCODING).iter().collect();
    let lengths: Vec<_> = head.headers.get_all(header::CONTENT_LENGTH).iter().collect();
    match (&codings[..], &lengths[..]) {
        ([], []) => Ok(()),
        ([coding], []) if is_chunked(coding) => Ok(()),
        ([], [length]) if is_length(length) => Ok(()),
        _ => Err(FetchError::Protocol("the length of the response is ambiguous".into())),
    }
}

/// Reads a body, not further than the maximum.
async fn read(mut body: Incoming, max_bytes: usize) -> Result<Bytes, FetchError> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|error| if is_cut_off(&error) { FetchError::Size } else { protocol(error) })?;
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > max_bytes - bytes.len() {
            return Err(FetchError::Size);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

/// Returns `true` if the connection ended within a body.
fn is_cut_off(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    error.is_incomplete_message() || cause.is_some_and(|cause| cause.kind() == io::ErrorKind::UnexpectedEof)
}

fn protocol(error: hyper::Error) -> FetchError {
    FetchError::Protocol(error.into())
}
