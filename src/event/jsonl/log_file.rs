//! The file itself: appended to in batches, rotated, chained.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::{JsonLinesBuilder, JsonLinesError, State};
use crate::event::chain::{ChainKey, seal, unseal};
use crate::telemetry;

/// How many bytes go into one write at the most, unless a single line is longer.
const BATCH_BYTES: usize = 64 << 10;

/// A file that is appended to and rotated. Belongs to the writer's thread.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    max_bytes: u64,
    max_files: usize,
    chain: Option<Chain>,
    batch: Vec<u8>,
    lines: u64,
}

struct Chain {
    key: ChainKey,
    /// The value of the last line that is on disk.
    written: String,
    /// The value of the last line of the batch.
    last: String,
}

impl LogFile {
    pub(super) fn open(config: JsonLinesBuilder) -> Result<Self, JsonLinesError> {
        let failed = |error| JsonLinesError::Io(config.path.clone(), error);
        let file = OpenOptions::new().create(true).append(true).open(&config.path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let bytes = metadata.len();
        let last = if metadata.is_file() && bytes > 0 { last_line(&config.path).map_err(failed)? } else { None };
        // A chain goes on in a new file after a rotation that was followed by a restart.
        let last = match last {
            None if metadata.is_file() => last_line(&numbered(&config.path, 1)).unwrap_or_default(),
            last => last,
        };
        // A device or a pipe has no size. To rename one would take it away from everybody else: /dev/null is one.
        let max_bytes = if metadata.is_file() { config.max_bytes } else { u64::MAX };
        let chain = match (config.chain, last) {
            (None, _) => None,
            (Some(key), None) => Some(Chain { written: key.start(), last: key.start(), key }),
            (Some(key), Some(line)) => match unseal(&line) {
                Some((_, value)) => Some(Chain { written: value.to_owned(), last: value.to_owned(), key }),
                None => return Err(JsonLinesError::Unchained(config.path)),
            },
        };
        Ok(Self {
            path: config.path,
            file,
            bytes,
            max_bytes,
            max_files: config.max_files,
            chain,
            batch: Vec::with_capacity(BATCH_BYTES),
            lines: 0,
        })
    }

    pub(super) fn add(&mut self, line: &str, state: &State) {
        let pending = self.bytes + self.batch.len() as u64;
        if pending > 0 && pending + line.len() as u64 > self.max_bytes {
            self.write(state);
            // Failing to rotate is no reason to stop writing.
            if let Err(error) = self.rotate() {
                tracing::error!(%error, path = %self.path.display(), "the audit file can't be rotated");
            }
        }
        match &mut self.chain {
            Some(chain) => {
                chain.last = chain.key.next(&chain.last, line);
                self.batch.extend_from_slice(seal(line, &chain.last).as_bytes());
            }
            None => self.batch.extend_from_slice(line.as_bytes()),
        }
        self.batch.push(b'\n');
        self.lines += 1;
        if self.batch.len() >= BATCH_BYTES {
            self.write(state);
        }
    }

    /// Writes the batch, all of it or nothing.
    pub(super) fn write(&mut self, state: &State) {
        if self.lines == 0 {
            return;
        }
        match self.file.write_all(&self.batch) {
            Ok(()) => {
                self.bytes += self.batch.len() as u64;
                if let Some(chain) = &mut self.chain {
                    chain.written.clone_from(&chain.last);
                }
                state.failing.store(false, Ordering::Relaxed);
            }
            Err(error) => {
                tracing::error!(%error, path = %self.path.display(), "audit events are lost");
                // Takes half a line back, and the chain with it.
                if let Err(error) = self.file.set_len(self.bytes) {
                    tracing::error!(%error, path = %self.path.display(), "the audit file ends with half a line");
                }
                if let Some(chain) = &mut self.chain {
                    chain.last.clone_from(&chain.written);
                }
                state.failing.store(true, Ordering::Relaxed);
                state.lost.fetch_add(self.lines, Ordering::Relaxed);
                telemetry::audit_lost(self.lines);
            }
        }
        state.waiting.fetch_sub(self.lines, Ordering::Relaxed);
        self.batch.clear();
        self.lines = 0;
    }

    /// `NAME` becomes `NAME.1`, that one `NAME.2`, and so on up to the number of files that are kept.
    fn rotate(&mut self) -> io::Result<()> {
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
        self.bytes = 0;
        Ok(())
    }
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

fn last_line(path: &Path) -> io::Result<Option<String>> {
    BufReader::new(File::open(path)?).lines().last().transpose()
}
