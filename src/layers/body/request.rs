//! The request body between the layers: the checked registration itself.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};

use super::BoxError;
use super::begun::Begun;
use crate::registration::Registration;
use crate::rules::Facts;

/// The body of a request behind a [`PolicyLayer`](crate::layers::PolicyLayer).
///
/// For a registration, it holds the checked document and gives out its canonical bytes, so that the handler reads
/// exactly the checked document. A policy layer further in takes the document out and does not parse again. Such a body
/// can't be created from anything else.
///
/// A request that is no registration (`GET`, `DELETE`, …) has no body behind the layer. In report-only mode, the body
/// passes unchanged.
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response, StatusCode};
/// # use http_body_util::{BodyExt, Full};
/// # use tower::{ServiceBuilder, ServiceExt, service_fn};
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// # let post = |body: &'static str| {
/// #     let request = Request::post("/register").header("content-type", "application/json");
/// #     request.body(Full::<Bytes>::from(body)).unwrap()
/// # };
/// use tower_dcr::layers::{PolicyLayer, RegistrationBody};
/// use tower_dcr::rules::RedirectUris;
///
/// let register = ServiceBuilder::new().layer(PolicyLayer::new(RedirectUris::mcp())).service(service_fn(
///     async |request: Request<RegistrationBody>| {
///         let uris = request.body().registration().map_or(0, |checked| checked.redirect_uris().count());
///         assert_eq!(uris, 1);
///         let bytes = request.into_body().collect().await?.to_bytes();
///         assert_eq!(&bytes[..], br#"{"redirect_uris":["http://localhost/cb"]}"#);
///         Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Response::new(Full::<Bytes>::default()))
///     },
/// ));
/// let answer = register.oneshot(post(r#"{ "redirect_uris": ["http://localhost/cb"] }"#)).await.unwrap();
/// assert_eq!(answer.status(), StatusCode::OK);
/// # });
/// ```
pub struct RegistrationBody {
    content: Content,
}

enum Content {
    Checked { registration: Arc<Registration>, bytes: Bytes, facts: Facts },
    Passed(Begun<BoxError>),
    Done,
}

pin_project_lite::pin_project! {
    /// A server's body, with the data and the error that bodies have behind a layer.
    struct Converted<B> {
        #[pin]
        body: B,
    }
}

impl RegistrationBody {
    /// Returns the registration. `None` if no layer checked one, or the body was read already.
    #[must_use]
    pub fn registration(&self) -> Option<&Registration> {
        match &self.content {
            Content::Checked { registration, .. } => Some(registration),
            _ => None,
        }
    }

    /// Creates the body of a checked registration. Returns it with the bytes that it will give out.
    pub(crate) fn checked(registration: Registration, facts: Facts) -> (Self, Bytes) {
        let bytes = Bytes::from(registration.canonical_bytes());
        let content = Content::Checked { registration: Arc::new(registration), bytes: bytes.clone(), facts };
        (Self { content }, bytes)
    }

    /// Creates an empty body.
    pub(crate) fn empty() -> Self {
        Self { content: Content::Done }
    }

    /// Returns whether the body passes unchanged, in report-only mode.
    pub(crate) fn is_passed(&self) -> bool {
        matches!(self.content, Content::Passed(_))
    }

    /// Creates a body that passes unchanged.
    pub(crate) fn passed<B>(body: B) -> Self
    where
        B: Body<Error: Into<BoxError>> + Send + 'static,
    {
        Self::downcast(body).unwrap_or_else(|body| Self::passed_after(Bytes::new(), Some(body)))
    }

    /// Creates a body that passes unchanged, from the part that was read already and the rest.
    pub(crate) fn passed_after<B>(read: Bytes, rest: Option<B>) -> Self
    where
        B: Body<Error: Into<BoxError>> + Send + 'static,
    {
        let rest = rest.map(|body| Box::pin(Converted { body }) as Pin<Box<_>>);
        Self { content: Content::Passed(Begun::new(read, rest)) }
    }

    /// Returns `body` itself if it already is of this type. Decided when the service is monomorphised.
    pub(crate) fn downcast<B: 'static>(body: B) -> Result<Self, B> {
        let mut slot = Some(body);
        if let Some(found) = (&mut slot as &mut dyn Any).downcast_mut::<Option<Self>>()
            && let Some(body) = found.take()
        {
            return Ok(body);
        }
        slot.map_or_else(|| Ok(Self { content: Content::Done }), Err)
    }

    /// Returns a reference to `body` if it already is of this type.
    pub(crate) fn downcast_ref<B: 'static>(body: &B) -> Option<&Self> {
        (body as &dyn Any).downcast_ref()
    }

    /// Takes the registration out, without a copy unless a layer further out still shares it.
    pub(crate) fn into_registration(self) -> Result<(Registration, Facts), Self> {
        match self.content {
            Content::Checked { registration, facts, .. } => Ok((Arc::unwrap_or_clone(registration), facts)),
            content => Err(Self { content }),
        }
    }

    /// Returns the registration, shared, and the facts that the layers have found. `None` if no layer checked one.
    pub(crate) fn share(&self) -> Option<(Arc<Registration>, &Facts)> {
        match &self.content {
            Content::Checked { registration, facts, .. } => Some((Arc::clone(registration), facts)),
            _ => None,
        }
    }
}

impl Body for RegistrationBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let content = &mut self.get_mut().content;
        match content {
            Content::Checked { bytes, .. } => {
                let bytes = std::mem::take(bytes);
                *content = Content::Done;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Content::Passed(passed) => passed.poll_frame(cx),
            Content::Done => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Checked { .. } => false,
            Content::Passed(passed) => passed.size_hint().exact() == Some(0),
            Content::Done => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Checked { bytes, .. } => SizeHint::with_exact(bytes.len() as u64),
            Content::Passed(passed) => passed.size_hint(),
            Content::Done => SizeHint::with_exact(0),
        }
    }
}

impl<B> Body for Converted<B>
where
    B: Body<Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = self.project().body.poll_frame(cx);
        frame.map_ok(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for RegistrationBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            Content::Checked { registration, .. } => f.debug_tuple("RegistrationBody").field(registration).finish(),
            Content::Passed(_) => f.write_str("RegistrationBody(passed)"),
            Content::Done => f.write_str("RegistrationBody(read)"),
        }
    }
}
