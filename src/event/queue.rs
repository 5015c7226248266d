//! A bounded queue to a thread that has the time.

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Action, Event, LifecycleEvent, Outcome};
use crate::telemetry;

/// What to do with an event for which there is no room, or which can't be written.
///
/// ```
/// use tower_dcr::event::Overflow;
///
/// assert_eq!(Overflow::default(), Overflow::Count);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// Count it as lost and go on: registration matters more than its record.
    #[default]
    Count,
    /// Refuse registrations with 503 while there is no room or nothing can be written, and try to write again until it
    /// works: no registration without its record. What is refused may then be counted instead of written.
    Refuse,
}

/// Whether an event is written under [`Overflow::Refuse`], room or not.
pub(super) trait Urgency {
    fn must_be_written(&self) -> bool;
}

/// Under `Refuse` the queue was found to have room before the request went on. Requests that found it at the same moment
/// may overfill it by their own number; what is turned away for want of room may not.
impl Urgency for Event {
    fn must_be_written(&self) -> bool {
        self.outcome != Outcome::Refused
    }
}

/// Acts of the operator are few; what any stranger can bring about may not overfill the queue.
impl Urgency for LifecycleEvent {
    fn must_be_written(&self) -> bool {
        !matches!(self.action, Action::IdConflict | Action::LedgerFull | Action::Refused | Action::UnregisteredClient)
    }
}

/// Where a queue leads.
pub(super) trait Outlet<T>: Send + 'static {
    /// Writes the events in their order, and takes those out of `batch` that are written for good. Called again with the
    /// rest if that failed.
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

/// What the writer tells, and is told.
#[derive(Default)]
struct State {
    waiting: AtomicU64,
    lost: AtomicU64,
    /// The last write failed, or there will be no other.
    failing: AtomicBool,
    /// Nobody waits any more.
    closing: AtomicBool,
}

enum Message<T> {
    Event(T),
    Flush(Sender<()>),
}

/// How long the writer lets events gather: whoever sends next need not wake it again, which costs more than the event.
const GATHER: Duration = Duration::from_millis(2);

/// How many events are written at once.
const BATCH: usize = 1024;

/// After a failure, the writer waits this long, and each time twice as long up to the limit.
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

    /// Hands what `keep` makes of an event to the writer, or counts it as lost.
    pub(super) fn send<E: Urgency>(&self, event: &E, keep: impl FnOnce(&E) -> T) {
        let admitted = self.overflow == Overflow::Refuse && event.must_be_written();
        let room = self.state.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
            (admitted || waiting < self.capacity).then_some(waiting + 1)
        });
        let sent =
            room.is_ok() && self.sender.as_ref().is_some_and(|sender| sender.send(Message::Event(keep(event))).is_ok());
        if !sent {
            self.state.lose(1);
        }
    }

    /// Waits until all events so far are written, or can't be.
    pub(super) fn flush(&self) {
        let (done, wait) = channel();
        let sent = self.sender.as_ref().is_some_and(|sender| sender.send(Message::Flush(done)).is_ok());
        // An error means that the writer is gone, and then there is nothing to wait for.
        while sent && wait.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
            if self.state.failing.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

impl<T> Queue<T> {
    /// How many events were lost.
    pub(super) fn lost(&self) -> u64 {
        self.state.lost.load(Ordering::Relaxed)
    }

    pub(super) fn overflow(&self) -> Overflow {
        self.overflow
    }

    /// Whether what `must` be written could be now.
    pub(super) fn is_ready(&self) -> bool {
        self.overflow == Overflow::Count
            || (self.state.waiting.load(Ordering::Relaxed) < self.capacity
                && !self.state.failing.load(Ordering::Relaxed))
    }
}

impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        // Ends the writer's loop, once it has written what waits.
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
                        // Whoever waited may have gone.
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

    /// Writes the batch; under `Refuse` again and again, until it works or nobody waits any more.
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
                tracing::error!(%error, lost, "audit events are lost");
                self.batch.clear();
                self.state.waiting.fetch_sub(lost, Ordering::Relaxed);
                self.state.lose(lost);
                return;
            }
            if !failed_before {
                tracing::error!(%error, "audit events can't be written: registrations are refused until they can");
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// An outlet that panicked writes nothing any more.
impl<O, T> Drop for Writer<O, T> {
    fn drop(&mut self) {
        self.state.failing.store(true, Ordering::Relaxed);
    }
}
