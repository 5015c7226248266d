//! The response body of every layer, and the request body behind a gate.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};

use super::begun::Begun;
use super::gathered::Gathered;
use crate::media_type::MediaType;
use crate::registration::{Field, Limits, Registration};

pin_project_lite::pin_project! {
    /// The body behind a layer: that of the message, unread, or bytes in its place.
    ///
    /// It is the response body of every layer, and the request body behind a [gate](crate::layers::GateLayer).
    #[derive(Debug)]
    pub struct ResponseBody<B: Body> {
        #[pin]
        kind: Kind<B, B::Error>,
    }
}

pin_project_lite::pin_project! {
    #[project = KindProjection]
    #[derive(Debug)]
    enum Kind<B, E> {
        Inner { #[pin] body: B },
        Own { bytes: Option<Bytes> },
        // Too long to be read whole.
        Begun { begun: Begun<E> },
    }
}

impl<B: Body> ResponseBody<B> {
    pub(crate) fn inner(body: B) -> Self {
        Self { kind: Kind::Inner { body } }
    }

    pub(crate) fn own(bytes: Bytes) -> Self {
        Self { kind: Kind::Own { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()) } }
    }

    /// Gives out `read`, and then the rest of the body.
    pub(crate) fn begun(read: Bytes, rest: impl Body<Data = Bytes, Error = B::Error> + Send + 'static) -> Self {
        Self { kind: Kind::Begun { begun: Begun::new(read, Some(Box::pin(rest))) } }
    }
}

impl<B: Body> ResponseBody<ResponseBody<B>> {
    /// Makes the body of two layers that of one.
    pub(crate) fn flatten(self) -> ResponseBody<B> {
        match self.kind {
            Kind::Inner { body } => body,
            Kind::Own { bytes } => ResponseBody { kind: Kind::Own { bytes } },
            Kind::Begun { begun } => ResponseBody { kind: Kind::Begun { begun } },
        }
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let plain = |frame: Frame<B::Data>| frame.map_data(|mut data| data.copy_to_bytes(data.remaining()));
        match self.project().kind.project() {
            KindProjection::Inner { body } => body.poll_frame(cx).map_ok(plain),
            KindProjection::Own { bytes } => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            KindProjection::Begun { begun } => begun.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Own { bytes } => bytes.is_none(),
            Kind::Begun { begun } => begun.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } => body.size_hint(),
            Kind::Own { bytes } => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Begun { begun } => begun.size_hint(),
        }
    }
}

/// The size and depth limits for a handler's response.
pub(crate) const ANSWER_LIMITS: Limits = Limits::ANSWER;

/// Returns whether a response can describe a client: a success whose content is JSON or has no `Content-Type`.
pub(crate) fn has_document<B>(response: &Response<B>) -> bool {
    let says_json = |media: Option<MediaType>| media.is_none_or(|media| media.is("application/json"));
    response.status().is_success()
        && response.status() != StatusCode::NO_CONTENT
        && MediaType::of(response.headers()).is_ok_and(says_json)
}

/// Returns the `client_id` of a response.
///
/// RFC 7591 section 3.2.1: "REQUIRED. OAuth 2.0 client identifier string". RFC 6749 appendix A.1: "client-id =
/// *VSCHAR". Clients and ledgers would read a number differently. An ID that begins with `https://` is the address of a
/// document that describes another client (OAuth Client ID Metadata Document section 6.9).
pub(crate) fn issued_client_id(answer: &Registration) -> Result<&str, &'static str> {
    let id = answer.string_at(Field::CLIENT_ID).filter(|id| !id.trim().is_empty());
    let id = id.ok_or("is missing in the server's answer, or no string")?;
    if !id.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err("in the server's answer has characters that no client_id has");
    }
    if id.trim_start().get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://")) {
        return Err("in the server's answer is the URL of a metadata document, which was not requested");
    }
    Ok(id)
}

/// Returns whether a message has a content coding, so that its bytes have to be decoded first.
pub(crate) fn is_coded(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(header::CONTENT_ENCODING);
    codings.iter().any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// Reads a handler's response to its end. `None` if it breaks off, or is longer than [`ANSWER_LIMITS`] allow.
pub(crate) async fn read_answer<B: Body>(body: B) -> Option<Bytes> {
    match gather(std::pin::pin!(body)).await {
        (bytes, End::Reached) => Some(bytes),
        (_, End::Beyond | End::Broken) => None,
    }
}

/// Reads a handler's response to its end, or gives back one that is longer than [`ANSWER_LIMITS`] allow. `None` if it
/// breaks off.
pub(crate) async fn read_or_pass<B: Body + Send + 'static>(body: B) -> Option<Result<Bytes, ResponseBody<B>>> {
    let mut body = Box::pin(ResponseBody::inner(body));
    match gather(body.as_mut()).await {
        (bytes, End::Reached) => Some(Ok(bytes)),
        (read, End::Beyond) => Some(Err(ResponseBody::begun(read, body))),
        (_, End::Broken) => None,
    }
}

/// Reads a handler's response, judges its document, and returns it unchanged with the judgement. The document is `None` if
/// there is no JSON object, or one that is longer than [`ANSWER_LIMITS`] allow. A response that breaks off becomes an empty 502,
/// with `false`.
pub(crate) async fn judge_document<R: Body + Send + 'static>(
    response: Response<R>,
    judge: impl FnOnce(Option<&Registration>) -> bool,
) -> (Response<ResponseBody<R>>, bool) {
    let (mut parts, body) = response.into_parts();
    let (body, judged) = match read_or_pass(body).await {
        Some(Ok(bytes)) => {
            let document = Registration::parse_with(&bytes, &Limits::GENEROUS).ok();
            (ResponseBody::own(bytes), judge(document.as_ref()))
        }
        Some(Err(rest)) => (rest, judge(None)),
        None => {
            parts.status = StatusCode::BAD_GATEWAY;
            parts.headers.remove(header::CONTENT_LENGTH);
            (ResponseBody::own(Bytes::new()), false)
        }
    };
    (Response::from_parts(parts, body), judged)
}

enum End {
    Reached,
    /// The body is longer than the limit.
    Beyond,
    Broken,
}

async fn gather<B: Body>(mut body: Pin<&mut B>) -> (Bytes, End) {
    let mut gathered = Gathered::default();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let mut data = match frame.map(Frame::into_data) {
            Ok(Ok(data)) => data,
            Ok(Err(_trailers)) => continue,
            Err(_) => return (Bytes::new(), End::Broken),
        };
        gathered.push(data.copy_to_bytes(data.remaining()));
        if gathered.len() > ANSWER_LIMITS.max_bytes {
            return (gathered.into_bytes(), End::Beyond);
        }
    }
    (gathered.into_bytes(), End::Reached)
}
