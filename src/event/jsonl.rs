//! Events to a file, a line each.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::chain::ChainKey;
use super::queue::Queue;
use super::{Event, LifecycleEvent, Overflow, Sink, to_line};

mod log_file;

use log_file::LogFile;

/// Writes each event as a line of JSON to a file, on a thread of its own, some milliseconds later.
///
/// - The file is appended to. At [`with_max_bytes`](JsonLinesBuilder::with_max_bytes) it is renamed to `NAME.1`, an older `NAME.1`
///   to `NAME.2`, and so on; the oldest beyond [`with_max_files`](JsonLinesBuilder::with_max_files) is deleted.
///   What is no regular file (a pipe, a device) is written to and never renamed.
/// - Events wait in a bounded queue. What happens when it is full, or the disk is, is for [`Overflow`] to say.
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
    queue: Arc<Queue<String>>,
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
        self.queue.lost()
    }

    /// Waits until all events so far are with the operating system, or can't be.
    pub fn flush(&self) {
        self.queue.flush();
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
        self.queue = events;
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
        let (overflow, capacity, path) = (self.overflow, self.queue, self.path.clone());
        let queue = Queue::open(LogFile::open(self)?, capacity, overflow);
        Ok(JsonLines { queue: Arc::new(queue.map_err(|error| JsonLinesError::Io(path, error))?) })
    }
}

impl Sink for JsonLines {
    fn emit(&self, event: &Event) {
        self.queue.send(event, to_line);
    }

    fn emit_lifecycle(&self, event: &LifecycleEvent) {
        self.queue.send(event, to_line);
    }

    fn is_ready(&self) -> bool {
        self.queue.is_ready()
    }
}

impl fmt::Debug for JsonLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLines").field("overflow", &self.queue.overflow()).field("lost", &self.lost()).finish()
    }
}
