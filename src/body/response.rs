//! The response body of every layer here, and the request body behind a gate.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use super::gathered::Gathered;
use super::media_type::MediaType;
use crate::registration::Limits;

pin_project_lite::pin_project! {
    /// The inner service's body, or a layer's own answer.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project_lite::pin_project! {
    #[project = KindProjection]
    #[derive(Debug)]
    enum Kind<B> {
        Inner { #[pin] body: B },
        Own { bytes: Option<Bytes> },
    }
}

/// The body of a request behind a [gate](crate::gate): as it came, or the bytes that were read of it.
pub type ReplayBody<B> = ResponseBody<B>;

impl<B> ResponseBody<B> {
    pub(crate) fn inner(body: B) -> Self {
        Self { kind: Kind::Inner { body } }
    }

    pub(crate) fn own(bytes: Bytes) -> Self {
        Self { kind: Kind::Own { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()) } }
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            KindProjection::Inner { body } => {
                body.poll_frame(cx).map_ok(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
            }
            KindProjection::Own { bytes } => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Own { bytes } => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } => body.size_hint(),
            Kind::Own { bytes } => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}

/// How much of a handler's answer is read, and how deep.
pub(crate) const ANSWER_LIMITS: Limits = Limits::GENEROUS;

/// What a handler answered.
pub(crate) enum ReadAnswer {
    Complete(Bytes),
    TooLarge,
    Broken,
}

/// Whether an answer can describe a client: a success with content that is JSON, or does not say what it is.
pub(crate) fn has_document<B>(response: &Response<B>) -> bool {
    let says_json = |media: Option<MediaType>| media.is_none_or(|media| media.is("application/json"));
    response.status().is_success()
        && response.status() != StatusCode::NO_CONTENT
        && MediaType::of(response.headers()).is_ok_and(says_json)
}

/// Reads a handler's answer to its end, within [`ANSWER_LIMITS`].
pub(crate) async fn read_answer<B: Body>(body: B) -> ReadAnswer {
    let mut body = std::pin::pin!(body);
    let mut gathered = Gathered::default();
    while let Some(frame) = body.frame().await {
        let mut data = match frame.map(Frame::into_data) {
            Ok(Ok(data)) => data,
            Ok(Err(_trailers)) => continue,
            Err(_) => return ReadAnswer::Broken,
        };
        gathered.push(data.copy_to_bytes(data.remaining()));
        if gathered.len() > ANSWER_LIMITS.bytes() {
            return ReadAnswer::TooLarge;
        }
    }
    ReadAnswer::Complete(gathered.into_bytes())
}
