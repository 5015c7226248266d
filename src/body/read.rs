//! Reading a request body under a size limit and a deadline.

use std::collections::VecDeque;
use std::error::Error;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_timer::Delay;
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body, Frame};

/// A body that was read to its end or not.
pub(crate) struct Read<B> {
    /// The data so far.
    pub(crate) chunks: VecDeque<Bytes>,
    /// What is left, if reading stopped early.
    pub(crate) rest: Option<Pin<Box<B>>>,
    /// Why it stopped.
    pub(crate) error: Option<ReadError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// The connection broke.
    Broken,
    /// More than the limit, or a `Content-Length` that announces more.
    TooLarge,
    /// Not all of it came in time.
    TooSlow,
}

impl<B> Read<B> {
    /// All of the data in one piece; no copy if it came in one.
    pub(crate) fn bytes(&self) -> Bytes {
        if let (Some(only), 1) = (self.chunks.front(), self.chunks.len()) {
            return only.clone();
        }
        let mut all = BytesMut::with_capacity(self.chunks.iter().map(Bytes::len).sum());
        self.chunks.iter().for_each(|chunk| all.extend_from_slice(chunk));
        all.freeze()
    }
}

/// Reads `body` to its end, at most `limit` bytes of data, within `deadline` of the first time it makes us wait.
///
/// The limit holds for what arrives, since `Content-Length` need not be there; where it is there and announces more,
/// nothing is read.
pub(crate) async fn read<B>(body: B, headers: &HeaderMap, limit: usize, deadline: Duration) -> Read<B>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut read = Read { chunks: VecDeque::new(), rest: None, error: None };
    let mut body = Box::pin(body);
    if content_length(headers).is_some_and(|length| length > limit as u64) {
        read.error = Some(ReadError::TooLarge);
        read.rest = Some(body);
        return read;
    }
    let mut timer: Option<Delay> = None;
    let mut size = 0;
    read.error = std::future::poll_fn(|cx| {
        loop {
            match body.as_mut().poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(ReadError::Broken)),
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers are dropped: nothing here looks at them.
                    let Ok(mut data) = Frame::into_data(frame) else { continue };
                    size += data.remaining();
                    read.chunks.push_back(data.copy_to_bytes(data.remaining()));
                    if size > limit {
                        return Poll::Ready(Some(ReadError::TooLarge));
                    }
                }
                Poll::Pending => {
                    // Most bodies are there at once and never need a timer.
                    let timer = timer.get_or_insert_with(|| Delay::new(deadline));
                    return pin!(timer).poll(cx).map(|()| Some(ReadError::TooSlow));
                }
            }
        }
    })
    .await;
    read.rest = read.error.map(|_| body);
    read
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the headers announce plain JSON: one `Content-Type`, `application/json` with no charset but UTF-8, and no
/// `Content-Encoding`.
///
/// Whatever a browser sends across origins without asking first (`text/plain`, forms) is not JSON here, or it would be
/// the way around the guard; a compressed body would have to be inflated, which is how bombs go off.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next(), types.next()) else { return false };
    let encoded = headers.get_all(header::CONTENT_ENCODING).iter().any(|encoding| encoding != "identity");
    !encoded && is_json_type(only)
}

fn is_json_type(value: &HeaderValue) -> bool {
    let Ok(value) = value.to_str() else { return false };
    let mut parts = value.split(';').map(|part| part.trim_matches([' ', '\t']));
    if !parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return false;
    }
    // RFC 8259 section 11 defines no parameters; clients send a charset all the same.
    parts.all(|parameter| match parameter.split_once('=') {
        Some((name, charset)) if name.eq_ignore_ascii_case("charset") => {
            charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("\"utf-8\"")
        }
        _ => true,
    })
}
