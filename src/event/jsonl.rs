//! Events to a file, a line each.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::chain::ChainKey;
use super::{Action, Event, LifecycleEvent, Outcome, Sink, to_line};
use crate::telemetry;

mod log_file;

use log_file::LogFile;

/// Writes each event as a line of JSON to a file, on a thread of its own, some milliseconds later.
///
/// - The file is appended to. At [`with_max_bytes`](JsonLinesBuilder::with_max_bytes) it is renamed to `NAME.1`, an older `NAME.1`
///   to `NAME.2`, and so on; the oldest beyond [`with_max_files`](JsonLinesBuilder::with_max_files) is deleted.
///   What is no regular file (a pipe, a device) is written to and never renamed.
/// - Events wait in a bounded queue. What happens when it is full is for [`Overflow`] to say.
/// - With [`with_chain`](JsonLinesBuilder::with_chain) each line ends with a keyed hash over the line before and itself, across
///   rotations and restarts; [`verify_chain`](super::verify_chain) names the first line that was tampered with.
/// - [`flush`](Self::flush) waits until everything so far is written; dropping the last clone does that too.
///
/// ```
/// use tower_dcr::event::{JsonLines, Overflow};
///
/// let path = std::env::temp_dir().join(format!("tower-dcr-example-{}", std::process::id()));
/// let file = JsonLines::new(&path).with_max_bytes(1 << 20).with_overflow(Overflow::Refuse).open()?;
/// let guard = tower_dcr::mcp().with_sink(file.clone());
/// assert_eq!(file.lost(), 0);
/// # drop((guard, file));
/// # std::fs::remove_file(&path)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct JsonLines {
    queue: Arc<Queue>,
}

/// What to do with an event for which the queue has no room.
///
/// ```
/// use tower_dcr::event::Overflow;
///
/// assert_eq!(Overflow::default(), Overflow::Count);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// Count it ([`JsonLines::lost`]) and go on: registration matters more than its record.
    #[default]
    Count,
    /// Refuse registrations with 503 while there is no room: no registration without its record.
    Refuse,
}

/// Configures a [`JsonLines`].
///
/// ```
/// use tower_dcr::event::{ChainKey, JsonLines};
///
/// let builder = JsonLines::new("registrations.jsonl")
///     .with_max_bytes(16 << 20)
///     .with_max_files(30)
///     .with_queue(1024)
///     .with_chain(ChainKey::new(b"sixteen bytes or more").unwrap());
/// # let _ = builder;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct JsonLinesBuilder {
    path: PathBuf,
    max_bytes: u64,
    max_files: usize,
    queue: usize,
    overflow: Overflow,
    chain: Option<ChainKey>,
}

/// Why a file can't be written to.
///
/// ```
/// use tower_dcr::event::{JsonLines, JsonLinesError};
///
/// let error = JsonLines::new("/no/such/folder/audit.jsonl").open().unwrap_err();
/// assert!(matches!(error, JsonLinesError::Io(..)));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum JsonLinesError {
    /// The file, or the thread that writes to it, can't be had.
    Io(PathBuf, io::Error),
    /// A chain was asked for, and the last line of the file that is there has no place in one.
    Unchained(PathBuf),
}

impl fmt::Display for JsonLinesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "the audit file {}: {error}", path.display()),
            Self::Unchained(path) => {
                write!(f, "the audit file {} ends with a line that is not part of a chain", path.display())
            }
        }
    }
}

impl std::error::Error for JsonLinesError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            Self::Unchained(_) => None,
        }
    }
}

struct Queue {
    sender: Option<Sender<Message>>,
    writer: Option<JoinHandle<()>>,
    overflow: Overflow,
    capacity: u64,
    state: Arc<State>,
}

/// What the writer tells.
#[derive(Default)]
struct State {
    waiting: AtomicU64,
    lost: AtomicU64,
    /// The last write failed.
    failing: AtomicBool,
}

enum Message {
    Line(String),
    Flush(Sender<()>),
}

impl JsonLines {
    /// Writes to `path`: by default 64 MiB a file, 8 files, a queue of 4096 events, lost events counted, no chain.
    #[expect(clippy::new_ret_no_self, reason = "opening a file can fail: the builder's `open` says so")]
    pub fn new(path: impl Into<PathBuf>) -> JsonLinesBuilder {
        JsonLinesBuilder {
            path: path.into(),
            max_bytes: 64 << 20,
            max_files: 8,
            queue: 4096,
            overflow: Overflow::Count,
            chain: None,
        }
    }

    /// How many events were lost: for want of room, or because the disk refused them.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.queue.state.lost.load(Ordering::Relaxed)
    }

    /// Waits until all events so far are with the operating system.
    pub fn flush(&self) {
        let (done, wait) = channel();
        if let Some(sender) = &self.queue.sender
            && sender.send(Message::Flush(done)).is_ok()
        {
            // An error means that the writer is gone, and then there is nothing to wait for.
            let _gone = wait.recv();
        }
    }
}

impl JsonLinesBuilder {
    /// Starts a new file at this size.
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Keeps this many files, the one being written included; at least one.
    pub fn with_max_files(mut self, files: usize) -> Self {
        self.max_files = files.max(1);
        self
    }

    /// Lets this many events wait; at least one.
    pub fn with_queue(mut self, events: usize) -> Self {
        self.queue = events.max(1);
        self
    }

    /// What to do with an event for which the queue has no room.
    pub fn with_overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Chains the lines under `key`.
    pub fn with_chain(mut self, key: ChainKey) -> Self {
        self.chain = Some(key);
        self
    }

    /// Opens the file and starts the thread.
    ///
    /// # Errors
    ///
    /// [`JsonLinesError`] if the file can't be opened, or ends with a line that can't be followed up.
    pub fn open(self) -> Result<JsonLines, JsonLinesError> {
        let (sender, receiver) = channel();
        let state = Arc::<State>::default();
        let (overflow, capacity, path) = (self.overflow, self.queue as u64, self.path.clone());
        let file = LogFile::open(self)?;
        let told = Arc::clone(&state);
        let writer = std::thread::Builder::new()
            .name("tower-dcr-audit".into())
            .spawn(move || write_all(file, &receiver, &told))
            .map_err(|error| JsonLinesError::Io(path, error))?;
        let queue = Queue { sender: Some(sender), writer: Some(writer), overflow, capacity, state };
        Ok(JsonLines { queue: Arc::new(queue) })
    }
}

impl Sink for JsonLines {
    fn emit(&self, event: &Event) {
        // Under `Refuse` the queue was found to have room before the request went on. Requests that found it at the
        // same moment may overfill it by their own number; what is turned away for want of room may not.
        self.queue.send(event.outcome != Outcome::Refused, || to_line(event));
    }

    fn emit_lifecycle(&self, event: &LifecycleEvent) {
        // Acts of the operator are few; what any stranger can bring about may not overfill the queue.
        let by_strangers = matches!(event.action, Action::LedgerFull | Action::Refused | Action::UnregisteredClient);
        self.queue.send(!by_strangers, || to_line(event));
    }

    fn is_ready(&self) -> bool {
        let state = &self.queue.state;
        self.queue.overflow == Overflow::Count
            || (state.waiting.load(Ordering::Relaxed) < self.queue.capacity && !state.failing.load(Ordering::Relaxed))
    }
}

impl Queue {
    /// Hands a line to the writer, or counts it as lost. Under `Refuse` what `must` be written is, room or not.
    fn send(&self, must: bool, line: impl FnOnce() -> String) {
        let admitted = must && self.overflow == Overflow::Refuse;
        let room = self.state.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
            (admitted || waiting < self.capacity).then_some(waiting + 1)
        });
        let sent =
            room.is_ok() && self.sender.as_ref().is_some_and(|sender| sender.send(Message::Line(line())).is_ok());
        if !sent {
            self.state.lost.fetch_add(1, Ordering::Relaxed);
            telemetry::audit_lost(1);
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Ends the writer's loop, once it has written what waits.
        self.sender = None;
        if let Some(writer) = self.writer.take() {
            let _panicked = writer.join();
        }
    }
}

impl fmt::Debug for JsonLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLines").field("overflow", &self.queue.overflow).field("lost", &self.lost()).finish()
    }
}

/// How long the writer lets events gather.
const GATHER: Duration = Duration::from_millis(2);

fn write_all(mut file: LogFile, receiver: &Receiver<Message>, state: &State) {
    while let Ok(message) = receiver.recv() {
        if let Message::Line(_) = message {
            // Whoever sends next need not wake this thread again, which costs more than the event itself.
            std::thread::sleep(GATHER);
        }
        let mut next = Some(message);
        while let Some(message) = next {
            match message {
                Message::Line(line) => file.add(&line, state),
                Message::Flush(done) => {
                    file.write(state);
                    // Whoever waited may have gone.
                    let _gone = done.send(());
                }
            }
            next = receiver.try_recv().ok();
        }
        file.write(state);
    }
}
