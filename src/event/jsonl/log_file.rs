//! The file itself: appended to in batches, rotated, chained.

use std::collections::VecDeque;
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use super::{JsonLinesBuilder, JsonLinesError};
use crate::event::chain::{ChainKey, seal, unseal};
use crate::event::queue::Outlet;

/// How many bytes go into one write at the most, unless a single line is longer.
const BLOCK_BYTES: usize = 64 << 10;

/// A file that is appended to and rotated. Belongs to the writer's thread.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    max_bytes: u64,
    max_files: usize,
    chain: Option<Chain>,
}

struct Chain {
    key: ChainKey,
    /// The value of the last line that is on disk.
    last: String,
}

/// Lines as they stand in the file.
struct Block {
    bytes: Vec<u8>,
    lines: usize,
    /// The value of the last of them, if they are chained.
    last: Option<String>,
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
            (Some(key), None) => Some(Chain { last: key.start(), key }),
            (Some(key), Some(line)) => match unseal(&line) {
                Some((_, value)) => Some(Chain { last: value.to_owned(), key }),
                None => return Err(JsonLinesError::Unchained(config.path)),
            },
        };
        Ok(Self { path: config.path, file, bytes, max_bytes, max_files: config.max_files, chain })
    }

    /// The next lines of `batch`: one at least, and as many more as fit into one write and this file.
    fn block(&self, batch: &VecDeque<String>) -> Block {
        let last = self.chain.as_ref().map(|chain| chain.last.clone());
        let mut block = Block { bytes: Vec::with_capacity(BLOCK_BYTES), lines: 0, last };
        for line in batch {
            let bytes = block.bytes.len();
            if bytes >= BLOCK_BYTES || (bytes > 0 && !self.has_room(bytes + line.len())) {
                break;
            }
            match (&self.chain, &mut block.last) {
                (Some(chain), Some(last)) => {
                    *last = chain.key.next(last, line);
                    block.bytes.extend_from_slice(seal(line, last).as_bytes());
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

    /// All of it or nothing.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(bytes);
        match &written {
            Ok(()) => self.bytes += bytes.len() as u64,
            Err(_) => {
                // Takes half a line back.
                if let Err(error) = self.file.set_len(self.bytes) {
                    tracing::error!(%error, path = %self.path.display(), "the audit file ends with half a line");
                }
            }
        }
        written
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

impl Outlet<String> for LogFile {
    fn write(&mut self, batch: &mut VecDeque<String>) -> Result<(), Box<dyn Error + Send + Sync>> {
        while let Some(line) = batch.front() {
            if self.bytes > 0 && !self.has_room(line.len()) {
                // Failing to rotate is no reason to stop writing.
                if let Err(error) = self.rotate() {
                    tracing::error!(%error, path = %self.path.display(), "the audit file can't be rotated");
                }
            }
            let block = self.block(batch);
            self.append(&block.bytes).map_err(|error| format!("{}: {error}", self.path.display()))?;
            if let (Some(chain), Some(last)) = (&mut self.chain, block.last) {
                chain.last = last;
            }
            batch.drain(..block.lines);
        }
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
