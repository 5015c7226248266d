//! Reading a request body under a size limit and a deadline.

use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_timer::Delay;
use http::{HeaderMap, header};
use http_body::Body;

use super::BoxError;
use super::gathered::Gathered;
use crate::media_type::MediaType;

/// A body that was read to its end or in part.
pub(crate) struct Read<B> {
    /// The data so far.
    pub(crate) bytes: Bytes,
    /// The unread remainder. `None` if the end was reached.
    pub(crate) rest: Option<Pin<Box<B>>>,
    /// The reason for stopping early.
    pub(crate) error: Option<ReadError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// The connection broke.
    Broken,
    /// The body, or its `Content-Length`, exceeds the limit.
    TooLarge,
    /// The deadline passed before the end.
    TooSlow,
}

/// The number of pending polls before a timer is set. Over HTTP/1, hyper hands out a body that it received long ago
/// only after one pending poll, and setting a timer wakes a thread.
const PATIENCE: u32 = 4;

/// The maximum number of frames without data: over HTTP/2, a client can send any number of them at no cost.
const EMPTY_FRAMES: u32 = 256;

/// Reads `body` to its end, at most `limit` bytes of data, within `deadline` of the end of the first few pending polls
/// (`PATIENCE`).
///
/// The limit applies to the received bytes, since `Content-Length` may be missing. If it is there and exceeds the
/// limit, nothing is read.
pub(crate) async fn read<B>(body: B, headers: &HeaderMap, limit: usize, deadline: Duration) -> Read<B>
where
    B: Body<Error: Into<BoxError>>,
{
    if body.is_end_stream() {
        return Read { bytes: Bytes::new(), rest: None, error: None };
    }
    let mut body = Box::pin(body);
    if content_length(headers).is_some_and(|length| length > limit as u64) {
        return Read { bytes: Bytes::new(), rest: Some(body), error: Some(ReadError::TooLarge) };
    }
    let mut gathered = Gathered::default();
    let error =
        take(body.as_mut(), limit, deadline, |mut data| gathered.push(data.copy_to_bytes(data.remaining()))).await;
    Read { bytes: gathered.into_bytes(), rest: error.map(|_| body), error }
}

/// The longest body that [`drain`] reads.
pub(crate) const DRAIN_LIMIT: usize = 64 * 1024;
/// The time limit of [`drain`].
const DRAIN_DEADLINE: Duration = Duration::from_secs(1);

/// Reads and discards the rest of the body of a request that is answered without it: at most [`DRAIN_LIMIT`] bytes,
/// within a second. Returns whether the end was reached.
///
/// A server that closes a connection while a body is still arriving resets it, and the reset can take the response away
/// from a client that is still sending. A client that waits for permission to send (`Expect`) is not given it.
pub(crate) async fn drain<B: Body>(body: B, headers: &HeaderMap) -> bool {
    if body.is_end_stream() {
        return true;
    }
    let too_long = |length: u64| length > DRAIN_LIMIT as u64;
    if headers.contains_key(header::EXPECT)
        || too_long(body.size_hint().lower())
        || content_length(headers).is_some_and(too_long)
    {
        return false;
    }
    let mut body = Box::pin(body);
    take(body.as_mut(), DRAIN_LIMIT, DRAIN_DEADLINE, drop).await.is_none()
}

/// Passes the data of `body` to `keep` until its end. Returns the reason if it stopped before, else `None`.
async fn take<B: Body>(
    mut body: Pin<&mut B>,
    limit: usize,
    deadline: Duration,
    mut keep: impl FnMut(B::Data),
) -> Option<ReadError> {
    let mut timer: Option<Delay> = None;
    let mut length = 0;
    let (mut patience, mut empty_frames) = (PATIENCE, EMPTY_FRAMES);
    std::future::poll_fn(|cx| {
        loop {
            let Poll::Ready(frame) = body.as_mut().poll_frame(cx) else {
                if patience > 0 {
                    patience -= 1;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let timer = timer.get_or_insert_with(|| Delay::new(deadline));
                return pin!(timer).poll(cx).map(|()| Some(ReadError::TooSlow));
            };
            let frame = match frame {
                None => return Poll::Ready(None),
                Some(Err(_)) => return Poll::Ready(Some(ReadError::Broken)),
                Some(Ok(frame)) => frame,
            };
            // Trailers are dropped: no layer uses them.
            let data = frame.into_data().ok().filter(Buf::has_remaining);
            let Some(data) = data else {
                empty_frames -= 1;
                if empty_frames == 0 {
                    return Poll::Ready(Some(ReadError::Broken));
                }
                continue;
            };
            length += data.remaining();
            keep(data);
            if length > limit {
                return Poll::Ready(Some(ReadError::TooLarge));
            }
        }
    })
    .await
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Returns whether the headers announce plain JSON: one `Content-Type`, `application/json` with no charset but UTF-8,
/// and no `Content-Encoding`.
///
/// Content that a browser sends across origins without a preflight (`text/plain`, forms) is not accepted as JSON, so
/// that web pages can't register clients through a user's browser. A compressed body is not accepted either: inflating
/// it allows decompression bombs.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let is_json = |media: &MediaType| media.is("application/json") && media.is_utf8();
    !is_encoded(headers) && MediaType::of(headers).ok().flatten().is_some_and(|media| is_json(&media))
}

/// Returns whether the headers announce the body of an HTML form.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    let is_form = |media: &MediaType| media.is("application/x-www-form-urlencoded") || media.is("multipart/form-data");
    MediaType::of(headers).ok().flatten().is_some_and(|media| is_form(&media))
}

/// Returns whether the body would have to be decoded first.
pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_ENCODING).iter().any(|encoding| encoding != "identity")
}
