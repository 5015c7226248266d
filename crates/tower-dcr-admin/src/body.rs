//! Request and response bodies, and the response future.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_timer::Delay;
use http::{HeaderMap, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};

use super::Problem;

const MAX_BODY: usize = 16 * 1024;
const DEADLINE: Duration = Duration::from_secs(10);

/// A response body, complete from the start.
#[derive(Debug, Default)]
pub struct PageBody {
    bytes: Option<Bytes>,
}

impl PageBody {
    pub(super) fn of(bytes: Bytes) -> Self {
        Self { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()) }
    }
}

impl Body for PageBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// The response future of an [`AdminService`](super::AdminService).
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<R> {
    inner: Pin<Box<dyn Future<Output = Result<R, Infallible>> + Send>>,
}

impl<R> ResponseFuture<R> {
    pub(super) fn new(future: impl Future<Output = Result<R, Infallible>> + Send + 'static) -> Self {
        Self { inner: Box::pin(future) }
    }
}

impl<R> Future for ResponseFuture<R> {
    type Output = Result<R, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.as_mut().poll(cx)
    }
}

impl<R> fmt::Debug for ResponseFuture<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// Returns `true` if the only `Content-Type` is `application/json` in UTF-8. Browsers send it across origins only after
/// a preflight.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (fields.next(), fields.next()) else { return false };
    let Ok(text) = only.to_str() else { return false };
    let (essence, parameter) = text.split_once(';').unwrap_or((text, "charset=utf-8"));
    let is_utf8 = ["charset=utf-8", "charset=\"utf-8\""].iter().any(|utf8| parameter.trim().eq_ignore_ascii_case(utf8));
    is_utf8 && essence.trim().eq_ignore_ascii_case("application/json")
}

/// Reads a small body within ten seconds.
pub(super) async fn read<B>(body: B) -> Result<Bytes, Problem>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut collected = pin!(Limited::new(body, MAX_BODY).collect());
    let mut deadline = pin!(Delay::new(DEADLINE));
    let read = poll_fn(|cx| match collected.as_mut().poll(cx) {
        Poll::Ready(read) => Poll::Ready(read.ok()),
        Poll::Pending => deadline.as_mut().poll(cx).map(|()| None),
    });
    match read.await {
        Some(read) => Ok(read.to_bytes()),
        None => Err(Problem::new(StatusCode::BAD_REQUEST, "body too large, or not received in time")),
    }
}
