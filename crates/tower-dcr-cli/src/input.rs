//! Input files and their substitutes on the command line.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

/// Reads a file, or the standard input for `-`, up to `limit` bytes and one more, which shows that the input is longer.
pub(super) fn read(path: &Path, limit: usize) -> Result<Vec<u8>, Box<dyn Error>> {
    let limit = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|error| named(path, &error))?;
    Ok(bytes)
}

/// Returns an error that names the file.
pub(super) fn named(path: impl AsRef<Path>, error: &io::Error) -> Box<dyn Error> {
    format!("{}: {error}", path.as_ref().display()).into()
}

/// A longer line is no event; the rest of it is skipped.
const MAX_LINE: u64 = 1 << 20;
/// A longer line stops reading with an error: a device has no end.
const MAX_SKIPPED: u64 = 64 << 20;

/// Reads the next line, at most its first MiB. Returns its length in bytes; 0 at the end.
pub(super) fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    line.clear();
    let mut read = input.by_ref().take(MAX_LINE).read_until(b'\n', line)? as u64;
    let mut is_whole = read < MAX_LINE || line.last() == Some(&b'\n');
    while !is_whole {
        let buffer = input.fill_buf()?;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        is_whole = end.is_some() || buffer.is_empty();
        let taken = end.map_or(buffer.len(), |end| end + 1);
        input.consume(taken);
        read = read.saturating_add(taken as u64);
        if read > MAX_SKIPPED {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a line of more than 64 MiB: not an audit file"));
        }
    }
    Ok(read)
}

/// Rejects an input that is named twice, since it would count twice.
pub(super) fn each_once(inputs: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<(), Box<dyn Error>> {
    let mut seen: Vec<PathBuf> = Vec::new();
    for input in inputs {
        let input = input.as_ref();
        // A URL and - are no files; a missing file is an error later.
        let file = std::fs::canonicalize(input).unwrap_or_else(|_| input.to_path_buf());
        if seen.contains(&file) {
            return Err(format!("{}: input named twice", input.display()).into());
        }
        seen.push(file);
    }
    Ok(())
}
