//! Responses to requests whose body is unread.

use http::{HeaderMap, HeaderValue, Response, Version, header};
use http_body::Body;

use super::read::drain;

/// The parts of a request that are needed to answer it without its body.
#[derive(Clone, Debug)]
pub(crate) struct Unread<B> {
    body: B,
    version: Version,
    headers: HeaderMap,
}

impl<B: Body> Unread<B> {
    pub(crate) fn new(version: Version, headers: HeaderMap, body: B) -> Self {
        Self { body, version, headers }
    }

    pub(crate) fn of(request: http::Request<B>) -> Self {
        let (parts, body) = request.into_parts();
        Self::new(parts.version, parts.headers, body)
    }

    /// Drains the body, within the bounds of [`drain`], so that `answer` reaches the client; otherwise the response
    /// says that the connection will be closed.
    pub(crate) async fn answer<R>(self, answer: Response<R>) -> Response<R> {
        let is_drained = drain(self.body, &self.headers).await;
        if is_drained { answer } else { announce_close(answer, self.version) }
    }
}

/// Announces that the connection ends with `answer` (RFC 9112 section 9.6). In HTTP/2 and later, only the stream ends.
pub(crate) fn announce_close<R>(mut answer: Response<R>, version: Version) -> Response<R> {
    if version < Version::HTTP_2 {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http::Request;
    use http_body::Frame;
    use http_body_util::channel::Channel;
    use http_body_util::{Empty, Full};

    use super::*;
    use crate::layers::body::read::DRAIN_LIMIT;

    async fn closes<B: Body>(version: Version, headers: &[(&'static str, &str)], body: B) -> bool {
        let mut request = Request::post("/register").version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = Unread::of(request.body(body).unwrap()).answer(Response::new(())).await;
        answer.headers().get(header::CONNECTION).is_some_and(|value| value == "close")
    }

    fn bytes(length: usize) -> Full<Bytes> {
        Full::new(Bytes::from(vec![b' '; length]))
    }

    #[tokio::test]
    async fn a_body_within_bounds_is_taken_off_the_connection() {
        let version = Version::HTTP_11;
        assert!(!closes(version, &[], Empty::<Bytes>::new()).await, "no body");
        assert!(!closes(version, &[], bytes(DRAIN_LIMIT)).await, "as long as is read");
        assert!(closes(version, &[], bytes(DRAIN_LIMIT + 1)).await, "longer than is read");
        assert!(closes(version, &[("content-length", "65537")], bytes(10)).await, "announced to be longer");
        assert!(closes(version, &[("expect", "100-continue")], bytes(10)).await, "waits to be told to go on");
        assert!(closes(Version::HTTP_10, &[], bytes(DRAIN_LIMIT + 1)).await, "HTTP/1.0");
        assert!(!closes(Version::HTTP_2, &[], bytes(DRAIN_LIMIT + 1)).await, "HTTP/2 has no such header");
    }

    #[tokio::test]
    async fn a_long_unread_body_closes_the_connection() {
        let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
        sender.send(Frame::data(Bytes::from_static(b"{"))).await.unwrap();
        assert!(closes(Version::HTTP_11, &[], body).await, "does not go on");

        drop(sender);
    }
}
