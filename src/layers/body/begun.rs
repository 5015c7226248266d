//! [`Begun`]: a body that was read in part.

use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The part of a body that was read, and the rest.
pub(super) struct Begun<E> {
    read: Bytes,
    /// The mutex only makes the type `Sync`, as some frameworks want their bodies, around bodies that are not.
    rest: Mutex<Option<Rest<E>>>,
}

pub(super) type Rest<E> = Pin<Box<dyn Body<Data = Bytes, Error = E> + Send>>;

impl<E> Begun<E> {
    pub(super) fn new(read: Bytes, rest: Option<Rest<E>>) -> Self {
        Self { read, rest: Mutex::new(rest) }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        if !self.read.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.read)))));
        }
        match self.rest.get_mut().unwrap_or_else(PoisonError::into_inner) {
            Some(rest) => rest.as_mut().poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        self.read.is_empty() && rest.as_ref().is_none_or(Body::is_end_stream)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
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

impl<E> fmt::Debug for Begun<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").field("read", &self.read.len()).finish_non_exhaustive()
    }
}
