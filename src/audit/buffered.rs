//! [`Buffered`]: events to a pipeline of your own, in batches.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use serde::Serialize;

use super::queue::{Outlet, Queue};
use super::{Event, LifecycleEvent, Overflow, Sink};

/// Passes events through a bounded queue to a thread of its own, and from there in batches to a [`BatchSink`] that may block:
/// a broker, a database, an HTTP collector.
///
/// [`Overflow`] sets the behavior when the queue is full or the pipeline fails: under [`Overflow::Count`] events are
/// counted as lost; under [`Overflow::Reject`] a batch is tried again until it is written, and meanwhile registrations are answered with 503.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use tower_dcr::audit::{Buffered, Event, Overflow, Record, Sink};
///
/// let collector: Arc<Mutex<Vec<String>>> = Arc::default();
/// let pipeline = {
///     let collector = Arc::clone(&collector);
///     // A real one would send the batch, and wait for the answer.
///     move |batch: &[Record]| {
///         collector.lock().unwrap().extend(batch.iter().map(ToString::to_string));
///         Ok(())
///     }
/// };
/// let audit = Buffered::start(pipeline, 10_000, Overflow::Reject)?;
/// audit.emit(&Event::default());
/// audit.flush();
/// assert_eq!(collector.lock().unwrap().len(), 1);
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Buffered {
    queue: Arc<Queue<Record>>,
}

/// An event of either kind.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Record {
    /// An attempt to register.
    Registration(Box<Event>),
    /// An event of a client's later life.
    Lifecycle(Box<LifecycleEvent>),
}

/// Writes batches of events, on a thread that may block.
///
/// ```
/// use std::error::Error;
/// use std::io::Write;
/// use tower_dcr::audit::{BatchSink, Record};
///
/// struct Collector<W>(W);
///
/// impl<W: Write + Send + 'static> BatchSink for Collector<W> {
///     fn write(&mut self, batch: &[Record]) -> Result<(), Box<dyn Error + Send + Sync>> {
///         let lines: String = batch.iter().map(|record| record.to_string() + "\n").collect();
///         Ok(self.0.write_all(lines.as_bytes())?)
///     }
/// }
///
/// let mut collector = Collector(Vec::new());
/// collector.write(&[Record::Registration(Box::default())])?;
/// assert!(collector.0.starts_with(br#"{"schema":"#));
/// # Ok::<_, Box<dyn Error + Send + Sync>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a sink of batches of audit events",
    note = "implement `tower_dcr::audit::BatchSink`, use a closure `FnMut(&[Record]) -> Result<(), Box<dyn Error + Send + Sync>>`, or put a `Sink` into an `Arc`"
)]
pub trait BatchSink: Send + 'static {
    /// Writes a batch, all of it or nothing.
    ///
    /// # Errors
    ///
    /// If the batch can't be written. It is then lost or tried again, as [`Overflow`] says; a pipeline that has written a part of
    /// it has to recognize repeated events.
    fn write(&mut self, batch: &[Record]) -> Result<(), Box<dyn Error + Send + Sync>>;
}

impl<F> BatchSink for F
where
    F: FnMut(&[Record]) -> Result<(), Box<dyn Error + Send + Sync>> + Send + 'static,
{
    fn write(&mut self, batch: &[Record]) -> Result<(), Box<dyn Error + Send + Sync>> {
        self(batch)
    }
}

/// Passes the events to the sink one by one. A batch fails while the sink is [not ready](Sink::is_ready).
impl<S: Sink + ?Sized> BatchSink for Arc<S> {
    fn write(&mut self, batch: &[Record]) -> Result<(), Box<dyn Error + Send + Sync>> {
        if !(**self).is_ready() {
            return Err("sink not ready".into());
        }
        for record in batch {
            match record {
                Record::Registration(event) => (**self).emit(event),
                Record::Lifecycle(event) => (**self).emit_lifecycle(event),
            }
        }
        Ok(())
    }
}

impl Buffered {
    /// Starts the thread, which passes events to `pipeline`. At most `queue` events wait, and at least one.
    ///
    /// # Errors
    ///
    /// If the thread can't be started.
    pub fn start(pipeline: impl BatchSink, queue: usize, overflow: Overflow) -> io::Result<Self> {
        Ok(Self { queue: Arc::new(Queue::open(Pipeline(pipeline), queue, overflow)?) })
    }

    /// Returns the number of lost events: the queue was full, or the pipeline failed.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.queue.lost()
    }

    /// Waits until the pipeline has written all events so far, or fails. Dropping the last clone does that too.
    pub fn flush(&self) {
        self.queue.flush();
    }
}

struct Pipeline<P>(P);

impl<P: BatchSink> Outlet<Record> for Pipeline<P> {
    fn write(&mut self, batch: &mut VecDeque<Record>) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.0.write(batch.make_contiguous())?;
        batch.clear();
        Ok(())
    }
}

impl Sink for Buffered {
    fn emit(&self, event: &Event) {
        self.queue.send(event, |event| Record::Registration(Box::new(event.clone())));
    }

    fn emit_lifecycle(&self, event: &LifecycleEvent) {
        self.queue.send(event, |event| Record::Lifecycle(Box::new(event.clone())));
    }

    fn is_ready(&self) -> bool {
        self.queue.is_ready()
    }
}

impl fmt::Debug for Buffered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffered").field("overflow", &self.queue.overflow()).field("lost", &self.lost()).finish()
    }
}
