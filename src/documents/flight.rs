//! [`Flight`]: one operation that several requests wait for.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crate::sync::{Mutex, lock};

/// An operation that runs once, and whose result every waiter gets. The waiters drive it, so that it needs no runtime and goes on
/// when the first of them ends. Clones are the same operation.
pub(super) struct Flight<T>(Arc<Shared<T>>);

struct Shared<T>(Mutex<State<T>>);

struct State<T> {
    operation: Operation<T>,
    /// The wakers of the waiters, by their numbers.
    wakers: Vec<(u64, Waker)>,
    waiters: usize,
    next: u64,
}

enum Operation<T> {
    Idle(Pin<Box<dyn Future<Output = T> + Send>>),
    /// A waiter polls it.
    Polled,
    Done(T),
    /// It panicked.
    Lost,
}

/// Waits for a flight. `None` if the operation panicked.
pub(super) struct Waiter<T> {
    shared: Arc<Shared<T>>,
    number: u64,
}

impl<T> Clone for Flight<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone + Send + 'static> Flight<T> {
    pub(super) fn new(operation: impl Future<Output = T> + Send + 'static) -> Self {
        let operation = Operation::Idle(Box::pin(operation));
        Self(Arc::new(Shared(Mutex::new(State { operation, wakers: Vec::new(), waiters: 0, next: 0 }))))
    }

    /// Returns a waiter, or `None` if `most` wait already.
    pub(super) fn wait(&self, most: usize) -> Option<Waiter<T>> {
        let mut state = lock(&self.0.0);
        if state.waiters >= most {
            return None;
        }
        state.waiters += 1;
        state.next += 1;
        Some(Waiter { shared: Arc::clone(&self.0), number: state.next })
    }

    /// Returns `true` if there is a waiter, which drives the operation.
    pub(super) fn is_waited_for(&self) -> bool {
        lock(&self.0.0).waiters > 0
    }

    /// Drives the operation once, without waiting. Returns the result if there is one.
    pub(super) fn advance(&self) -> Option<T> {
        let mut waiter = self.wait(usize::MAX)?;
        match Pin::new(&mut waiter).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => None,
        }
    }
}

impl<T> Shared<T> {
    fn wake_all(&self) {
        let wakers = std::mem::take(&mut lock(&self.0).wakers);
        for (_, waker) in wakers {
            waker.wake();
        }
    }
}

impl<T: Send + 'static> Wake for Shared<T> {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }
}

/// Puts the end of a poll in place, also if the operation panics.
struct Polling<'a, T> {
    shared: &'a Shared<T>,
    after: Option<Operation<T>>,
}

impl<T> Drop for Polling<'_, T> {
    fn drop(&mut self) {
        let after = self.after.take().unwrap_or(Operation::Lost);
        let goes_on = matches!(after, Operation::Idle(_));
        lock(&self.shared.0).operation = after;
        if !goes_on {
            self.shared.wake_all();
        }
    }
}

impl<T: Clone + Send + 'static> Future for Waiter<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let shared = &self.shared;
        let mut operation = {
            let mut state = lock(&shared.0);
            match &state.operation {
                Operation::Done(result) => return Poll::Ready(Some(result.clone())),
                Operation::Lost => return Poll::Ready(None),
                Operation::Idle(_) | Operation::Polled => {}
            }
            // Before the poll: the operation may wake during it.
            match state.wakers.iter_mut().find(|(number, _)| *number == self.number) {
                Some((_, waker)) => waker.clone_from(cx.waker()),
                None => state.wakers.push((self.number, cx.waker().clone())),
            }
            match std::mem::replace(&mut state.operation, Operation::Polled) {
                Operation::Idle(operation) => operation,
                _ => return Poll::Pending,
            }
        };
        let mut polling = Polling { shared, after: None };
        let waker = Waker::from(Arc::clone(shared));
        match operation.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => {
                polling.after = Some(Operation::Done(result.clone()));
                Poll::Ready(Some(result))
            }
            Poll::Pending => {
                polling.after = Some(Operation::Idle(operation));
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Waiter<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.0);
        state.waiters = state.waiters.saturating_sub(1);
        state.wakers.retain(|(number, _)| *number != self.number);
        drop(state);
        // The operation may have woken this waiter only a moment ago: another one has to drive it now.
        self.shared.wake_all();
    }
}

impl<T> fmt::Debug for Flight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn waiters_share_one_run() {
        let runs = Arc::new(AtomicUsize::new(0));
        let (send, receive) = oneshot::channel::<u32>();
        let counter = Arc::clone(&runs);
        let flight = Flight::new(async move {
            counter.fetch_add(1, Ordering::Relaxed);
            receive.await.unwrap()
        });
        let waiters: Vec<_> = (0..64).map(|_| tokio::spawn(flight.wait(64).unwrap())).collect();
        assert!(flight.wait(64).is_none());
        tokio::task::yield_now().await;
        send.send(7).unwrap();
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap(), Some(7));
        }
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        assert_eq!(flight.wait(1).unwrap().await, Some(7));
    }

    #[tokio::test]
    async fn the_operation_goes_on_when_the_waiter_that_drove_it_ends() {
        for cancelled_first in [true, false] {
            let (send, receive) = oneshot::channel::<u32>();
            let flight = Flight::new(async move { receive.await.unwrap() });
            let first = tokio::spawn(flight.wait(2).unwrap());
            let second = tokio::spawn(flight.wait(2).unwrap());
            tokio::task::yield_now().await;
            if cancelled_first {
                first.abort();
                tokio::task::yield_now().await;
                send.send(1).unwrap();
            } else {
                // The operation wakes the first, which never runs again.
                send.send(1).unwrap();
                first.abort();
            }
            assert_eq!(tokio::time::timeout(Duration::from_secs(5), second).await.unwrap().unwrap(), Some(1));
        }
    }

    #[tokio::test]
    async fn a_panic_ends_all_waiters() {
        let flight: Flight<u32> = Flight::new(async { panic!("as a fetcher may") });
        let (one, other) = (flight.wait(2).unwrap(), flight.wait(2).unwrap());
        assert!(tokio::spawn(one).await.is_err());
        assert_eq!(other.await, None);
    }

    #[tokio::test]
    async fn an_operation_is_driven_without_waiting() {
        let (send, receive) = oneshot::channel::<u32>();
        let flight = Flight::new(async move { receive.await.unwrap() });
        assert_eq!(flight.advance(), None);
        send.send(1).unwrap();
        assert_eq!(flight.advance(), Some(1));
    }
}
