//! The file itself: appended to in batches, rotated, chained.

use std::collections::VecDeque;
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::recovery::{self, Resumption, Stuck, Tail};
use super::{JsonLinesError, JsonLinesSettings};
use crate::audit::chain::{ChainHead, ChainKey, head_path};
use crate::audit::line::to_line;
use crate::audit::queue::Outlet;
use crate::audit::{LifecycleAction, LifecycleEvent};
use crate::clock::{Clock, SystemClock};

/// The most bytes of one write, unless a single line is longer.
const BLOCK_BYTES: usize = 64 << 10;

/// A file that is appended to and rotated. Belongs to the writer's thread.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// A write left half a line behind that could not be removed.
    is_torn: bool,
    max_bytes: u64,
    max_files: usize,
    chain: Option<Chain>,
    /// Events about the file itself, which are written before all others.
    remarks: VecDeque<String>,
}

struct Chain {
    key: ChainKey,
    /// The last line that is on disk.
    head: ChainHead,
    /// The path of the head; `None` for a pipe or a device.
    file: Option<PathBuf>,
    copy: Option<Arc<HeadCopy>>,
    /// The last head was not written.
    failed: bool,
}

type HeadCopy = dyn Fn(&ChainHead) + Send + Sync;

/// Lines as they are written to the file.
struct Block {
    bytes: Vec<u8>,
    lines: usize,
    /// The last of them, if they are chained.
    head: Option<ChainHead>,
}

impl LogFile {
    pub(super) fn open(path: PathBuf, config: JsonLinesSettings) -> Result<Self, JsonLinesError> {
        let failed = |error| JsonLinesError::Io(path.clone(), error);
        if config.chain.is_none() && recovery::is_chained(&path).map_err(failed)? {
            return Err(JsonLinesError::Chained(path));
        }
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
        let is_regular = file.metadata().map_err(failed)?.is_file();
        let mut log = Self {
            // A device or a pipe has no size, and renaming one would take it away from other processes: /dev/null is one.
            max_bytes: if is_regular { config.max_bytes } else { u64::MAX },
            max_files: config.max_files.max(1),
            path,
            file,
            bytes: 0,
            is_torn: false,
            chain: None,
            remarks: VecDeque::new(),
        };
        if let Some(key) = config.chain {
            log.chain = Some(log.resume(key, is_regular, config.head_copy)?);
        }
        if is_regular {
            let path = log.path.clone();
            log.mend().map_err(|error| JsonLinesError::Io(path, error))?;
        }
        // A failed write does not prevent the start: the remarks wait.
        if let Err(error) = log.write(&mut VecDeque::new()) {
            tracing::error!(%error, "audit file can't be written");
        }
        if let Some(chain) = &mut log.chain {
            chain.keep_head();
        }
        Ok(log)
    }

    /// Continues the existing chain.
    fn resume(
        &mut self,
        key: ChainKey,
        is_regular: bool,
        copy: Option<Arc<HeadCopy>>,
    ) -> Result<Chain, JsonLinesError> {
        let resumed = if is_regular {
            recovery::resume(&self.path, &numbered(&self.path, 1), &key)
        } else {
            Ok(Resumption { head: ChainHead::start(&key), remark: None })
        };
        let path = || self.path.clone();
        let Resumption { head, remark } = resumed.map_err(|stuck| match stuck {
            Stuck::Io(error) => JsonLinesError::Io(path(), error),
            Stuck::Key => JsonLinesError::Key(path()),
            Stuck::Unchained => JsonLinesError::Unchained(path()),
        })?;
        if let Some(remark) = remark {
            self.remark(&remark);
        }
        let file = is_regular.then(|| head_path(&self.path));
        Ok(Chain { key, head, file, copy, failed: false })
    }

    /// Ends half a line from a crash or a full disk, so that the next event is a line of its own. In a chain it is cut off.
    fn mend(&mut self) -> io::Result<()> {
        self.bytes = self.file.metadata()?.len();
        let torn = Tail::read(&self.path, |_| true)?.torn.len() as u64;
        if torn == 0 {
            return Ok(());
        }
        if self.chain.is_some() {
            self.bytes = self.bytes.saturating_sub(torn);
            self.file.set_len(self.bytes)?;
            self.remark(&format!("half a line of {torn} bytes at the end of the audit file was cut off"));
        } else {
            // On a full disk, the next write begins with the line break.
            self.is_torn = true;
            self.remark(&format!("half a line of {torn} bytes at the end of the audit file was ended"));
        }
        Ok(())
    }

    /// Reports on the file, in the log and as its next line.
    fn remark(&mut self, remark: &str) {
        tracing::error!(path = %self.path.display(), "{remark}");
        let now = i64::try_from(SystemClock::default().unix_time().as_millis()).unwrap_or(i64::MAX);
        self.remarks.push_back(to_line(&LifecycleEvent::new(now, LifecycleAction::Resumed).because(remark)));
    }

    /// Returns the next lines of `batch`: at least one, and as many more as fit into one write and this file.
    fn block(&self, batch: &VecDeque<String>) -> Block {
        let head = self.chain.as_ref().map(|chain| chain.head.clone());
        let mut block = Block { bytes: Vec::with_capacity(BLOCK_BYTES), lines: 0, head };
        if self.is_torn {
            block.bytes.push(b'\n');
        }
        for line in batch {
            let bytes = block.bytes.len();
            if block.lines > 0 && (bytes >= BLOCK_BYTES || !self.has_room(bytes + line.len())) {
                break;
            }
            match (&self.chain, &mut block.head) {
                (Some(chain), Some(head)) => {
                    block.bytes.extend_from_slice(head.append(&chain.key, line).as_bytes());
                }
                _ => block.bytes.extend_from_slice(line.as_bytes()),
            }
            block.bytes.push(b'\n');
            block.lines += 1;
        }
        block
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.bytes + bytes as u64 <= self.max_bytes
    }

    /// Appends all bytes or none.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(bytes);
        match &written {
            Ok(()) => (self.bytes, self.is_torn) = (self.bytes + bytes.len() as u64, false),
            Err(_) => {
                // Removes half a line.
                if let Err(error) = self.file.set_len(self.bytes) {
                    tracing::error!(%error, path = %self.path.display(), "audit file ends with half a line");
                    self.is_torn = true;
                }
            }
        }
        written
    }

    /// Renames `NAME` to `NAME.1`, that one to `NAME.2`, and so on up to the number of files that are kept.
    fn rotate(&mut self) -> io::Result<()> {
        // The head on disk is then at most one file behind.
        self.keep_head();
        let oldest = self.max_files - 1;
        if oldest > 0 {
            for number in (1..oldest).rev() {
                rename_if_there(&numbered(&self.path, number), &numbered(&self.path, number + 1))?;
            }
            fs::rename(&self.path, numbered(&self.path, 1))?;
        } else {
            fs::remove_file(&self.path)?;
        }
        self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        (self.bytes, self.is_torn) = (0, false);
        Ok(())
    }

    fn write_lines(&mut self, batch: &mut VecDeque<String>) -> Result<(), Box<dyn Error + Send + Sync>> {
        while let Some(line) = batch.front() {
            if self.bytes > 0 && !self.has_room(line.len()) {
                // A failed rotation does not stop writing.
                if let Err(error) = self.rotate() {
                    tracing::error!(%error, path = %self.path.display(), "audit file can't be rotated");
                }
            }
            let block = self.block(batch);
            self.append(&block.bytes).map_err(|error| format!("{}: {error}", self.path.display()))?;
            if let (Some(chain), Some(head)) = (&mut self.chain, block.head) {
                chain.head = head;
            }
            batch.drain(..block.lines);
        }
        Ok(())
    }

    fn keep_head(&mut self) {
        if let Some(chain) = &mut self.chain {
            if chain.file.is_some() {
                // After a power failure, a head that is ahead of its file would look like a cut.
                let _unsynced = self.file.sync_data();
            }
            chain.keep_head();
        }
    }
}

impl Outlet<String> for LogFile {
    fn write(&mut self, batch: &mut VecDeque<String>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let before = self.chain.as_ref().map(|chain| chain.head.lines);
        let mut remarks = std::mem::take(&mut self.remarks);
        let mut written = self.write_lines(&mut remarks);
        self.remarks = remarks;
        if written.is_ok() {
            written = self.write_lines(batch);
        }
        if self.chain.as_ref().map(|chain| chain.head.lines) != before {
            self.keep_head();
        }
        written
    }
}

impl Chain {
    /// Writes the head beside the file, and passes it to the operator's copy. On a full disk the head stays older than its file.
    /// An older head is valid, and the next batch writes a new one.
    fn keep_head(&mut self) {
        if let Some(file) = &self.file {
            let kept = replace(file, &self.head.seal(&self.key));
            if let (Err(error), false) = (&kept, self.failed) {
                tracing::error!(%error, path = %file.display(), "head of the audit file can't be written");
            }
            self.failed = kept.is_err();
        }
        if let Some(copy) = &self.copy {
            copy(&self.head);
        }
    }
}

/// Writes a file completely or not at all.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    // An existing file is not written through: it may be a link, or a pipe without a reader.
    if let Err(error) = fs::remove_file(&new)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let written = File::create_new(&new).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&new, path))
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    }
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}
