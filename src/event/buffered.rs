//! Events to a pipeline of yours, in batches.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use serde::Serialize;

use super::queue::{Outlet, Queue};
use super::{Event, LifecycleEvent, Overflow, Sink};

/// Hands events to a thread of its own through a bounded queue, and from there in batches to a [`BatchSink`] that may take
/// its time: a broker, a database, an HTTP collector.
///
/// What happens when the queue is full, or the pipeline fails, is for [`Overflow`] to say: by default events are counted as
/// lost; under [`Overflow::Refuse`] a batch is tried again until it is taken, and meanwhile registrations are answered
/// with 503.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use tower_dcr::event::{Buffered, Overflow, Record, to_line};
///
/// let collector: Arc<Mutex<Vec<String>>> = Arc::default();
/// let pipeline = {
///     let collector = Arc::clone(&collector);
///     // A real one would send the batch, and wait for the answer.
///     move |batch: &[Record]| {
///         collector.lock().unwrap().extend(batch.iter().map(to_line));
///         Ok(())
///     }
/// };
/// let audit = Buffered::new(pipeline).with_queue(10_000).with_overflow(Overflow::Refuse).start()?;
/// let guard = tower_dcr::mcp().with_sink(audit.clone());
/// audit.flush();
/// assert_eq!(audit.lost(), 0);
/// # drop(guard);
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Buffered {
    queue: Arc<Queue<Record>>,
}

/// Configures a [`Buffered`].
///
/// ```
/// use tower_dcr::event::{Buffered, Overflow, Sinks, TracingSink};
///
/// // Any `Sink` will do, if nothing can go wrong with it.
/// let audit = Buffered::new(Sinks(TracingSink::new())).with_queue(1000).with_overflow(Overflow::Count).start()?;
/// # let _ = audit;
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct BufferedBuilder<P> {
    pipeline: P,
    queue: usize,
    overflow: Overflow,
}

/// An event of either kind.
///
/// ```
/// use tower_dcr::event::{Record, to_line};
///
/// fn describe(record: &Record) -> String {
///     match record {
///         Record::Registration(event) => event.outcome.as_str().into(),
///         other => to_line(other),
///     }
/// }
/// # let _ = describe;
/// ```
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Record {
    /// An attempt to register.
    Registration(Box<Event>),
    /// What happened to a client later.
    Lifecycle(LifecycleEvent),
}

/// Takes batches of events, on a thread that may wait.
///
/// ```
/// use std::error::Error;
/// use std::io::Write;
/// use std::net::TcpStream;
/// use tower_dcr::event::{BatchSink, Record, to_line};
///
/// struct Collector(TcpStream);
///
/// impl BatchSink for Collector {
///     fn write(&mut self, batch: &[Record]) -> Result<(), Box<dyn Error + Send + Sync>> {
///         let lines: String = batch.iter().map(|record| to_line(record) + "\n").collect();
///         Ok(self.0.write_all(lines.as_bytes())?)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` takes no batches of audit events",
    note = "implement `tower_dcr::event::BatchSink`, use a closure `FnMut(&[Record]) -> Result<(), Box<dyn Error + Send + Sync>>`, or put a `Sink` into `Sinks`"
)]
pub trait BatchSink: Send + 'static {
    /// Takes a batch, all of it or nothing.
    ///
    /// # Errors
    ///
    /// What goes wrong. The batch is lost or tried again, as [`Overflow`] says; a pipeline that has taken a part of it has to
    /// tell repeated events apart.
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

/// A [`Sink`] that takes its events one after the other, as a [`BatchSink`]. While it is [not ready](Sink::is_ready), that
/// is a failure.
///
/// ```
/// use tower_dcr::event::{Buffered, Event, Sinks};
///
/// let slow = |event: &Event| println!("{:?}", event.outcome);
/// let audit = Buffered::new(Sinks(slow)).start()?;
/// # let _ = audit;
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "made by its user")]
pub struct Sinks<S>(pub S);

impl<S: Sink> BatchSink for Sinks<S> {
    fn write(&mut self, batch: &[Record]) -> Result<(), Box<dyn Error + Send + Sync>> {
        if !self.0.is_ready() {
            return Err("the sink is not ready".into());
        }
        for record in batch {
            match record {
                Record::Registration(event) => self.0.emit(event),
                Record::Lifecycle(event) => self.0.emit_lifecycle(event),
            }
        }
        Ok(())
    }
}

impl Buffered {
    /// Events to `pipeline`: by default a queue of 4096, and lost events counted.
    #[expect(clippy::new_ret_no_self, reason = "starting a thread can fail: the builder's `start` says so")]
    pub fn new<P: BatchSink>(pipeline: P) -> BufferedBuilder<P> {
        BufferedBuilder { pipeline, queue: 4096, overflow: Overflow::Count }
    }

    /// How many events were lost: for want of room, or because the pipeline failed.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.queue.lost()
    }

    /// Waits until the pipeline has all events so far, or can't take them. Dropping the last clone does that too.
    pub fn flush(&self) {
        self.queue.flush();
    }
}

impl<P: BatchSink> BufferedBuilder<P> {
    /// Lets this many events wait; at least one.
    pub fn with_queue(mut self, events: usize) -> Self {
        self.queue = events;
        self
    }

    /// What to do with an event for which there is no room, or that the pipeline does not take.
    pub fn with_overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub fn start(self) -> io::Result<Buffered> {
        let queue = Queue::open(Pipeline(self.pipeline), self.queue, self.overflow)?;
        Ok(Buffered { queue: Arc::new(queue) })
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
        self.queue.send(event, |event| Record::Lifecycle(event.clone()));
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
