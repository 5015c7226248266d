//! The request body between the layers: the checked registration itself.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

use crate::policy::Facts;
use crate::registration::Registration;

/// The body of a request behind a guard.
///
/// Of a registration it holds the document that the guard checked, and gives out that document's canonical bytes: what
/// was checked is what is read. A guard further in takes the document out and does not parse again. There is no way to
/// make such a body with anything else in it.
///
/// A request that is no registration (`GET`, `DELETE`, …) has no body behind a guard. What a guard only observes passes as
/// it came.
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
/// use tower_dcr::policy::RedirectUriGuard;
/// use tower_dcr::{GuardLayer, RegistrationBody};
///
/// let register = ServiceBuilder::new().layer(GuardLayer::new(RedirectUriGuard::mcp())).service(service_fn(
///     async |request: Request<RegistrationBody>| {
///         let uris = request.body().registration().map_or(0, |checked| checked.redirect_uris().count());
///         assert_eq!(uris, 1);
///         let bytes = request.into_body().collect().await?.to_bytes();
///         assert_eq!(&bytes[..], br#"{"redirect_uris":["http://localhost/cb"]}"#);
///         Ok::<_, tower_dcr::body::BodyError>(Response::new(Full::<Bytes>::default()))
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
    Passed(Passed),
    Done,
}

/// What was read of a body already, and what was not.
struct Passed {
    read: Bytes,
    /// Locked for nothing: only to be `Sync`, as some frameworks want their bodies, around bodies that are not.
    rest: Mutex<Option<UnsyncBoxBody<Bytes, BodyError>>>,
}

/// The body of a request that passed through a guard could not be read to its end.
#[derive(Debug)]
pub struct BodyError(Box<dyn Error + Send + Sync>);

impl RegistrationBody {
    /// The registration, if a guard checked one and nobody has read the body yet.
    #[must_use]
    pub fn registration(&self) -> Option<&Registration> {
        match &self.content {
            Content::Checked { registration, .. } => Some(registration),
            _ => None,
        }
    }

    /// The body, and the bytes that it will give out.
    pub(crate) fn checked(registration: Registration, facts: Facts) -> (Self, Bytes) {
        let bytes = Bytes::from(registration.canonical_bytes());
        let content = Content::Checked { registration: Arc::new(registration), bytes: bytes.clone(), facts };
        (Self { content }, bytes)
    }

    /// No body at all.
    pub(crate) fn empty() -> Self {
        Self { content: Content::Done }
    }

    /// Returns whether it passes as it came, since the guard only observes.
    pub(crate) fn is_passed(&self) -> bool {
        matches!(self.content, Content::Passed(_))
    }

    /// A body that passes as it comes.
    pub(crate) fn passed<B>(body: B) -> Self
    where
        B: Body + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        Self::passed_after(Bytes::new(), Some(body))
    }

    /// The same, with what was read of it already.
    pub(crate) fn passed_after<B>(read: Bytes, rest: Option<B>) -> Self
    where
        B: Body + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let rest = rest.map(|rest| {
            rest.map_frame(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
                .map_err(|error| BodyError(error.into()))
                .boxed_unsync()
        });
        Self { content: Content::Passed(Passed { read, rest: Mutex::new(rest) }) }
    }

    /// Asks whether `body` is one of these already. Decided when the service is monomorphised.
    pub(crate) fn downcast<B: 'static>(body: B) -> Result<Self, B> {
        let mut slot = Some(body);
        if let Some(found) = (&mut slot as &mut dyn Any).downcast_mut::<Option<Self>>()
            && let Some(body) = found.take()
        {
            return Ok(body);
        }
        slot.map_or_else(|| Ok(Self { content: Content::Done }), Err)
    }

    /// The same, by reference.
    pub(crate) fn downcast_ref<B: 'static>(body: &B) -> Option<&Self> {
        (body as &dyn Any).downcast_ref()
    }

    /// Takes the registration out, without a copy unless somebody further out still looks at it.
    pub(crate) fn into_registration(self) -> Result<(Registration, Facts), Self> {
        match self.content {
            Content::Checked { registration, facts, .. } => Ok((Arc::unwrap_or_clone(registration), facts)),
            content => Err(Self { content }),
        }
    }

    /// What the guards found out besides.
    pub(crate) fn facts(&self) -> Option<&Facts> {
        match &self.content {
            Content::Checked { facts, .. } => Some(facts),
            _ => None,
        }
    }

    /// The registration, shared.
    pub(crate) fn share(&self) -> Option<Arc<Registration>> {
        match &self.content {
            Content::Checked { registration, .. } => Some(Arc::clone(registration)),
            _ => None,
        }
    }
}

impl Body for RegistrationBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
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

impl Passed {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.read.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.read)))));
        }
        match self.rest.get_mut().unwrap_or_else(PoisonError::into_inner) {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.read.len() as u64;
        let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hint = rest.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint.set_lower(hint.lower().saturating_add(read));
        hint
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

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request body could not be read")
    }
}

impl Error for BodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}
