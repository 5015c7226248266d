//! A bounded queue to a thread that may block.

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Event, LifecycleEvent, Outcome};
use crate::telemetry;

/// The behavior for an event that finds no room, or that can't be written.
///
/// ```
/// use tower_dcr::audit::Overflow;
///
/// assert_eq!(Overflow::default(), Overflow::Count);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// Counts it as lost: registration matters more than its record.
    #[default]
    Count,
    /// Rejects registrations with 503 while the queue is full or writing fails, and tries to write again. Every registration
    /// is then written while the process lives; a process that is killed loses the events in the queue, which are those of some
    /// milliseconds. Events of rejections may be counted instead of written.
    Reject,
}

/// Tells which events are written under [`Overflow::Reject`] even if the queue is full.
pub(super) trait Urgency {
    fn must_be_written(&self) -> bool;
}

/// Under `Reject` the queue had room when the request came. Requests that come at the same moment may overfill it by their own
/// number; those that are rejected for lack of room may not.
impl Urgency for Event {
    fn must_be_written(&self) -> bool {
        self.outcome != Outcome::Rejected
    }
}

/// Acts of the operator are few; events that any stranger can cause may not overfill the queue.
impl Urgency for LifecycleEvent {
    fn must_be_written(&self) -> bool {
        !self.action.is_at_will()
    }
}

/// The end of a queue.
pub(super) trait Outlet<T>: Send + 'static {
    /// Writes the events in their order, and takes the written ones out of `batch`. Called again with the rest after a failure.
    fn write(&mut self, batch: &mut VecDeque<T>) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// Hands events to a thread, which writes them in batches.
pub(super) struct Queue<T> {
    sender: Option<Sender<Message<T>>>,
    writer: Option<JoinHandle<()>>,
    overflow: Overflow,
    capacity: u64,
    state: Arc<State>,
}

/// The state that a queue and its writer share.
#[derive(Default)]
struct State {
    waiting: AtomicU64,
    lost: AtomicU64,
    /// The last write failed, or the writer is gone.
    failing: AtomicBool,
    /// The queue is dropped.
    closing: AtomicBool,
}

enum Message<T> {
    Event(T),
    Flush(Sender<()>),
}

/// The time in which the writer lets events gather: waking it costs more than sending an event.
const GATHER: Duration = Duration::from_millis(2);

/// The number of events that are written at once.
const BATCH: usize = 1024;

/// The pause of the writer after a failure, doubled each time up to the limit.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl<T: Send + 'static> Queue<T> {
    pub(super) fn open(outlet: impl Outlet<T>, capacity: usize, overflow: Overflow) -> io::Result<Self> {
        let (sender, receiver) = channel();
        let state = Arc::<State>::default();
        let mut writer = Writer { outlet, overflow, state: Arc::clone(&state), batch: VecDeque::new() };
        let writer =
            std::thread::Builder::new().name("tower-dcr-audit".into()).spawn(move || writer.write_all(&receiver))?;
        let capacity = capacity.max(1) as u64;
        Ok(Self { sender: Some(sender), writer: Some(writer), overflow, capacity, state })
    }

    /// Hands an event, converted by `keep`, to the writer, or counts it as lost.
    pub(super) fn send<E: Urgency>(&self, event: &E, keep: impl FnOnce(&E) -> T) {
        let admitted = self.overflow == Overflow::Reject && event.must_be_written();
        let room = self.state.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
            (admitted || waiting < self.capacity).then_some(waiting + 1)
        });
        let sent =
            room.is_ok() && self.sender.as_ref().is_some_and(|sender| sender.send(Message::Event(keep(event))).is_ok());
        if !sent {
            self.state.lose(1);
        }
    }

    /// Waits until all events so far are written, or writing fails.
    pub(super) fn flush(&self) {
        let (done, wait) = channel();
        let sent = self.sender.as_ref().is_some_and(|sender| sender.send(Message::Flush(done)).is_ok());
        // An error means that the writer is gone.
        while sent && wait.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
            if self.state.failing.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

impl<T> Queue<T> {
    /// Returns the number of lost events.
    pub(super) fn lost(&self) -> u64 {
        self.state.lost.load(Ordering::Relaxed)
    }

    pub(super) fn overflow(&self) -> Overflow {
        self.overflow
    }

    /// Returns whether an event that must be written could be written now.
    pub(super) fn is_ready(&self) -> bool {
        self.overflow == Overflow::Count
            || (self.state.waiting.load(Ordering::Relaxed) < self.capacity
                && !self.state.failing.load(Ordering::Relaxed))
    }
}

impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        // Ends the writer's loop, once it has written the waiting events.
        self.state.closing.store(true, Ordering::Relaxed);
        self.sender = None;
        if let Some(writer) = self.writer.take() {
            let _panicked = writer.join();
        }
    }
}

impl State {
    fn lose(&self, events: u64) {
        self.lost.fetch_add(events, Ordering::Relaxed);
        telemetry::audit_lost(events);
    }
}

struct Writer<O, T> {
    outlet: O,
    overflow: Overflow,
    state: Arc<State>,
    batch: VecDeque<T>,
}

impl<O: Outlet<T>, T> Writer<O, T> {
    fn write_all(&mut self, receiver: &Receiver<Message<T>>) {
        while let Ok(message) = receiver.recv() {
            if let Message::Event(_) = message {
                std::thread::sleep(GATHER);
            }
            let mut next = Some(message);
            while let Some(message) = next {
                match message {
                    Message::Event(event) => self.batch.push_back(event),
                    Message::Flush(done) => {
                        self.deliver();
                        // The caller may be gone.
                        let _gone = done.send(());
                    }
                }
                if self.batch.len() >= BATCH {
                    self.deliver();
                }
                next = receiver.try_recv().ok();
            }
            self.deliver();
        }
    }

    /// Writes the batch; under `Reject` again and again, until it works or the queue is dropped.
    fn deliver(&mut self) {
        let mut pause = PAUSE;
        while !self.batch.is_empty() {
            let before = self.batch.len();
            let written = self.outlet.write(&mut self.batch);
            self.state.waiting.fetch_sub(before.saturating_sub(self.batch.len()) as u64, Ordering::Relaxed);
            let Err(error) = written else {
                self.state.failing.store(false, Ordering::Relaxed);
                continue;
            };
            let failed_before = self.state.failing.swap(true, Ordering::Relaxed);
            if self.overflow == Overflow::Count || self.state.closing.load(Ordering::Relaxed) {
                let lost = self.batch.len() as u64;
                tracing::error!(%error, lost, "audit events lost");
                self.batch.clear();
                self.state.waiting.fetch_sub(lost, Ordering::Relaxed);
                self.state.lose(lost);
                return;
            }
            if !failed_before {
                tracing::error!(%error, "audit events can't be written: registrations are rejected with 503 until they can");
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// After a panic nothing is written any more.
impl<O, T> Drop for Writer<O, T> {
    fn drop(&mut self) {
        self.state.failing.store(true, Ordering::Relaxed);
    }
}
