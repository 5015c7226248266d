//! Reading a request body under a size limit and a deadline.

use std::error::Error;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_timer::Delay;
use http::{HeaderMap, header};
use http_body::Body;

use super::gathered::Gathered;
use super::media_type::MediaType;

/// A body that was read to its end or not.
pub(crate) struct Read<B> {
    /// The data so far.
    pub(crate) bytes: Bytes,
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

/// How often a body may make us wait before a timer is set. Over HTTP/1, hyper hands out a body that it has long
/// received only when it was asked once in vain, and setting a timer wakes a thread.
const PATIENCE: u32 = 4;

/// How many frames without data are put up with: HTTP/2 allows any number of them, at no cost to who sends them.
const EMPTY_FRAMES: u32 = 256;

/// Reads `body` to its end, at most `limit` bytes of data, within `deadline` of the time when it made us wait.
///
/// The limit holds for what arrives, since `Content-Length` need not be there; where it is there and announces more,
/// nothing is read.
pub(crate) async fn read<B>(body: B, headers: &HeaderMap, limit: usize, deadline: Duration) -> Read<B>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
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
/// How long [`drain`] waits for one.
const DRAIN_DEADLINE: Duration = Duration::from_secs(1);

/// Reads what is left of the body of a request that is answered without it, and throws it away: at most [`DRAIN_LIMIT`]
/// bytes, within a second. Returns whether that was all of it.
///
/// A server that closes a connection while a body is still arriving resets it, and the reset can take the answer away from
/// a client that is still sending. If the client waits to be told to go on (`Expect`), it is not told so.
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

/// Gives the data of `body` to `keep` until its end, or says why it stopped before.
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
            // Trailers are dropped: nothing here looks at them.
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

/// Whether the headers announce plain JSON: one `Content-Type`, `application/json` with no charset but UTF-8, and no
/// `Content-Encoding`.
///
/// Whatever a browser sends across origins without asking first (`text/plain`, forms) is not JSON here, or it would be
/// the way around the guard; a compressed body would have to be inflated, which is how bombs go off.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let is_json = |media: &MediaType| media.is("application/json") && media.is_utf8();
    !is_encoded(headers) && MediaType::of(headers).ok().flatten().is_some_and(|media| is_json(&media))
}

/// Whether the headers announce what an HTML form sends.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    let is_form = |media: &MediaType| media.is("application/x-www-form-urlencoded") || media.is("multipart/form-data");
    MediaType::of(headers).ok().flatten().is_some_and(|media| is_form(&media))
}

/// Whether the body would have to be decoded first.
pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_ENCODING).iter().any(|encoding| encoding != "identity")
}
