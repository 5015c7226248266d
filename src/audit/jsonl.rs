//! [`JsonLines`]: events to a file, a line each.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::chain::{ChainHead, ChainKey};
use super::line::to_line;
use super::queue::Queue;
use super::{Event, LifecycleEvent, Overflow, Sink};

mod log_file;
mod recovery;

use log_file::LogFile;

/// Writes each event as a line of JSON to a file, on a thread of its own, some milliseconds later.
///
/// - The file is appended to. At [`max_bytes`](JsonLinesSettings::max_bytes) it is renamed to `NAME.1`, an older `NAME.1`
///   to `NAME.2`, and so on; the oldest beyond [`max_files`](JsonLinesSettings::max_files) is deleted.
///   A pipe or a device is written to and never renamed.
/// - Events wait in a bounded queue. [`Overflow`] sets the behavior when the queue or the disk is full.
/// - With a [`chain`](JsonLinesSettings::chain) each line ends with its number and a keyed hash over the line before
///   and itself, across rotations and restarts; [`ChainKey::verify`] names the first line that was
///   tampered with. `NAME.head` holds the number and value of the last line ([`ChainHead`]), sealed with the key. If the
///   file does not reach its head when it is opened, that is logged, and the chain continues so that no verification
///   passes over the gap. Restoring an older file together with its older head is not detected, unless the head is kept
///   elsewhere ([`head_copy`](JsonLinesSettings::head_copy)).
/// - Half a line at the end of the file, from a crash or a full disk, is ended with a line break, or cut off if the file
///   is chained. The next line is then an event [`Resumed`](super::LifecycleAction::Resumed), and an error is logged.
/// - [`flush`](Self::flush) waits until all events so far are written; dropping the last clone does that too.
///
/// ```
/// use tower_dcr::audit::{Event, JsonLines, JsonLinesSettings, Overflow, Sink};
///
/// let path = std::env::temp_dir().join(format!("tower-dcr-example-{}", std::process::id()));
/// let settings = JsonLinesSettings { max_bytes: 1 << 20, overflow: Overflow::Reject, ..Default::default() };
/// let file = JsonLines::open(&path, settings)?;
/// file.emit(&Event::default());
/// file.flush();
/// assert_eq!(std::fs::read_to_string(&path)?, format!("{}\n", Event::default()));
/// # drop(file);
/// # std::fs::remove_file(&path)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct JsonLines {
    queue: Arc<Queue<String>>,
}

/// The settings of a [`JsonLines`].
///
/// ```
/// use std::sync::{Arc, mpsc::channel};
/// use tower_dcr::audit::{ChainHead, ChainKey, Event, JsonLines, JsonLinesSettings, Sink};
///
/// let path = std::env::temp_dir().join(format!("tower-dcr-example-chain-{}", std::process::id()));
/// let (sender, heads) = channel();
/// let settings = JsonLinesSettings {
///     chain: ChainKey::new(b"sixteen bytes or more"),
///     head_copy: Some(Arc::new(move |head: &ChainHead| sender.send(head.lines).unwrap())),
///     ..JsonLinesSettings::default()
/// };
/// JsonLines::open(&path, settings)?.emit(&Event::default());
/// assert_eq!(heads.iter().last(), Some(1));
/// # std::fs::remove_file(path.with_extension("head"))?;
/// # std::fs::remove_file(&path)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[expect(clippy::exhaustive_structs, reason = "written with `..JsonLinesSettings::default()`")]
pub struct JsonLinesSettings {
    /// The size at which a new file is started (default: 64 MiB).
    pub max_bytes: u64,
    /// The number of files that are kept, the current one included; at least one (default: 8).
    pub max_files: usize,
    /// The number of events that may wait; at least one (default: 4096).
    pub queue: usize,
    /// The behavior when the queue is full or writing fails (default: [`Overflow::Count`]).
    pub overflow: Overflow,
    /// The key under which the lines are chained; `None` for no chain, which is the default. A policy file names the key's
    /// file in `audit.chain_key_file`; [`Preset::chain_key`](crate::Preset::chain_key) returns that key.
    pub chain: Option<ChainKey>,
    /// Receives the head of the chain each time it is written, on the thread of the writer: send it to a log or a machine
    /// that is out of reach for an attacker who can write the audit file.
    #[expect(clippy::type_complexity, reason = "a name would say less")]
    pub head_copy: Option<Arc<dyn Fn(&ChainHead) + Send + Sync>>,
}

impl Default for JsonLinesSettings {
    fn default() -> Self {
        Self { max_bytes: 64 << 20, max_files: 8, queue: 4096, overflow: Overflow::Count, chain: None, head_copy: None }
    }
}

/// The error of opening an audit file.
///
/// ```
/// use tower_dcr::audit::{JsonLines, JsonLinesError, JsonLinesSettings};
///
/// let error = JsonLines::open("/no/such/folder/audit.jsonl", JsonLinesSettings::default()).unwrap_err();
/// assert!(matches!(error, JsonLinesError::Io(..)));
/// ```
#[non_exhaustive]
pub enum JsonLinesError {
    /// The file can't be opened, or the thread that writes to it can't be started.
    Io(PathBuf, io::Error),
    /// The file is chained, and no key was given: lines without a chain would break it.
    Chained(PathBuf),
    /// The file is chained with another key.
    Key(PathBuf),
    /// A key was given, and the last line of the existing file is not part of a chain.
    Unchained(PathBuf),
}

crate::text::debug_for_people!(JsonLinesError);

impl fmt::Display for JsonLinesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "audit file {}: {error}", path.display()),
            Self::Chained(path) => {
                let path = path.display();
                write!(
                    f,
                    "audit file {path} is chained, and no key was given: give its key, or move it and its head away"
                )
            }
            Self::Key(path) => {
                write!(f, "audit file {} is chained with another key: move it and its head away", path.display())
            }
            Self::Unchained(path) => {
                let path = path.display();
                write!(f, "audit file {path} ends with a line that is not part of a chain: move it away")
            }
        }
    }
}

impl std::error::Error for JsonLinesError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            Self::Chained(_) | Self::Key(_) | Self::Unchained(_) => None,
        }
    }
}

impl JsonLines {
    /// Opens the file at `path` and starts the thread.
    ///
    /// # Errors
    ///
    /// [`JsonLinesError`] if the file can't be opened, is chained with another key, is chained and no key was given, or is
    /// not chained and should be.
    pub fn open(path: impl Into<PathBuf>, settings: JsonLinesSettings) -> Result<Self, JsonLinesError> {
        let (overflow, capacity, path) = (settings.overflow, settings.queue, path.into());
        let queue = Queue::open(LogFile::open(path.clone(), settings)?, capacity, overflow);
        Ok(Self { queue: Arc::new(queue.map_err(|error| JsonLinesError::Io(path, error))?) })
    }

    /// Returns the number of lost events: the queue was full, or writing failed.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.queue.lost()
    }

    /// Waits until all events so far are handed to the operating system, or writing fails.
    pub fn flush(&self) {
        self.queue.flush();
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

crate::text::debug_fields!(JsonLinesSettings { max_bytes, max_files, queue, overflow, chain });

impl fmt::Debug for JsonLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLines").field("overflow", &self.queue.overflow()).field("lost", &self.lost()).finish()
    }
}
