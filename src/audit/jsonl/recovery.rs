//! Continues an existing audit file: after a crash, a full disk, or a change by another process.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde::de::IgnoredAny;

use crate::audit::chain::{BrokenChain, ChainHead, ChainKey, Sealed, head_path};

/// The bytes that are read from the end of a file, first and at most.
const FIRST_BYTES: u64 = 64 << 10;
const MAX_BYTES: u64 = 64 << 20;

/// The end of a file.
#[derive(Default)]
pub(super) struct Tail {
    /// The last whole lines, at least one if there is one.
    lines: Vec<Vec<u8>>,
    /// The bytes after the last line break.
    pub(super) torn: Vec<u8>,
}

impl Tail {
    /// Reads lines from the end until the first of them `is_enough`, or the file has no more. A missing file has none.
    pub(super) fn read(path: &Path, is_enough: impl Fn(&[u8]) -> bool) -> io::Result<Self> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        let mut bytes = FIRST_BYTES;
        loop {
            let start = length.saturating_sub(bytes);
            file.seek(SeekFrom::Start(start))?;
            let mut end = Vec::new();
            Read::by_ref(&mut file).take(length - start).read_to_end(&mut end)?;
            let mut pieces: Vec<Vec<u8>> = end.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            let torn = pieces.pop().unwrap_or_default();
            // The first one may have begun earlier.
            let lines = if start == 0 { pieces } else { pieces.split_off(pieces.len().min(1)) };
            if start == 0 || bytes >= MAX_BYTES || lines.first().is_some_and(|line| is_enough(line)) {
                return Ok(Self { lines, torn });
            }
            bytes = bytes.saturating_mul(8);
        }
    }

    /// Returns the lines with numbers and values; `None` if the last line has none.
    fn sealed(&self) -> Option<Vec<Sealed<'_>>> {
        read_sealed(self.lines.last()?)?;
        Some(self.lines.iter().filter_map(|line| read_sealed(line)).collect())
    }

    /// Returns whether a complete event without a value follows the last line break.
    fn ends_unchained(&self) -> bool {
        let is_json = serde_json::from_slice::<IgnoredAny>(&self.torn).is_ok();
        is_json && read_sealed(&self.torn).is_none()
    }
}

fn read_sealed(line: &[u8]) -> Option<Sealed<'_>> {
    str::from_utf8(line).ok().and_then(Sealed::read)
}

/// Returns whether `path` is chained: it has a head, or its last whole line has a place in a chain.
pub(super) fn is_chained(path: &Path) -> io::Result<bool> {
    // A device or a pipe has no lines before those that are written to it.
    Ok(head_path(path).exists() || (path.is_file() && Tail::read(path, |_| true)?.sealed().is_some()))
}

/// The head that a chain continues from, and a remark for the log.
pub(super) struct Resumption {
    pub(super) head: ChainHead,
    pub(super) remark: Option<String>,
}

/// The reason why a chain can't continue.
pub(super) enum Stuck {
    Io(io::Error),
    /// The file is chained with another key.
    Key,
    /// The file is not chained.
    Unchained,
}

impl From<io::Error> for Stuck {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Finds the head that the chain of `path` continues from. `rotated` is the file before it.
///
/// If the lines don't reach the head, the chain continues from the head: the next line then does not follow from the remaining
/// ones, and each later verification fails there.
pub(super) fn resume(path: &Path, rotated: &Path, key: &ChainKey) -> Result<Resumption, Stuck> {
    let head = ChainHead::read(head_path(path), key);
    let reached = head.as_ref().map_or(u64::MAX, |head| head.lines);
    // Without a head, two lines show if the chain has this key.
    let is_enough = |line: &[u8]| head.is_err() || read_sealed(line).is_some_and(|sealed| sealed.number <= reached);
    let mut tail = Tail::read(path, is_enough)?;
    if tail.ends_unchained() && head.is_err() {
        return Err(Stuck::Unchained);
    }
    if tail.lines.is_empty() {
        tail = Tail::read(rotated, is_enough)?;
    }
    let lines = tail.sealed();
    let (remark, stuck) = match head {
        Ok(head) => {
            let end = match lines.as_deref() {
                None if tail.lines.is_empty() && head.lines == 0 => Some(head.clone()),
                lines => follow(lines.unwrap_or_default(), &head, key),
            };
            return Ok(match end {
                Some(head) => Resumption { head, remark: None },
                None => Resumption { remark: Some(cut(lines.as_deref(), &head)), head },
            });
        }
        Err(BrokenChain::Io(error)) if error.kind() != io::ErrorKind::NotFound => return Err(Stuck::Io(error)),
        Err(BrokenChain::Io(_)) if tail.lines.is_empty() => {
            return Ok(Resumption { head: ChainHead::start(key), remark: None });
        }
        Err(BrokenChain::Io(_)) => ("the head of the audit file is missing", Stuck::Unchained),
        Err(_) => ("the head of the audit file was changed", Stuck::Key),
    };
    // At least the last line must have been written with this key.
    let number = match lines.as_deref() {
        Some([.., before, last]) if last.follows(key, before.value) => last.number,
        Some([only]) if only.number == 1 && only.follows(key, &key.start()) => only.number,
        // After a rotation, the line before stands in the other file.
        Some([only]) if follows_rotated(only, rotated, key)? => only.number,
        _ => return Err(stuck),
    };
    let remark = Some(format!("{remark}: lines may have been cut off after line {number}"));
    Ok(Resumption { head: ChainHead { lines: number, last: key.lost() }, remark })
}

/// Follows the lines from `head` to the last one; `None` if they don't reach it or were changed. A gap that was reported at an
/// earlier start is not reported again.
fn follow(lines: &[Sealed<'_>], head: &ChainHead, key: &ChainKey) -> Option<ChainHead> {
    let mut pairs = lines.iter().zip(lines.iter().skip(1));
    if !pairs.all(|(line, next)| next.follows(key, line.value) || next.is_resumption()) {
        return None;
    }
    let mut end = head.clone();
    for line in lines {
        let fits = match line.number.cmp(&head.lines) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => line.value == head.last,
            std::cmp::Ordering::Greater => end.follow(key, line),
        };
        if !fits {
            return None;
        }
    }
    lines.last().is_some_and(|line| line.number >= head.lines).then_some(end)
}

fn follows_rotated(line: &Sealed<'_>, rotated: &Path, key: &ChainKey) -> io::Result<bool> {
    let tail = Tail::read(rotated, |_| true)?;
    Ok(tail.sealed().and_then(|lines| lines.last().map(|before| line.follows(key, before.value))).unwrap_or(false))
}

fn cut(lines: Option<&[Sealed<'_>]>, head: &ChainHead) -> String {
    let end = match lines.and_then(<[Sealed<'_>]>::last) {
        Some(line) => format!("ends with line {}", line.number),
        None => "ends with no chained line".to_owned(),
    };
    format!("the audit file {end}, its head says {}: it was cut or changed", head.lines)
}
