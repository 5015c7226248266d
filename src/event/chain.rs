//! A keyed hash chain over lines.
//!
//! Each line ends with an HMAC-SHA-256 over the line before it and itself. Who can write the file but does not know the
//! key can't change, insert, reorder or take out a line without a later line giving it away; the end of the file can be
//! cut off, which is why the last value is worth keeping elsewhere.

use std::fmt;
use std::io::{self, BufRead};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::text;

/// The key of a chain: at least 16 bytes that whoever can write the file does not know.
///
/// ```
/// use tower_dcr::event::ChainKey;
///
/// assert!(ChainKey::new(b"too short").is_none());
/// assert!(ChainKey::new(b"sixteen bytes or more").is_some());
/// ```
#[derive(Clone)]
pub struct ChainKey(Hmac<Sha256>);

impl ChainKey {
    /// Takes the key; `None` if it is shorter than 16 bytes.
    #[must_use]
    pub fn new(key: &[u8]) -> Option<Self> {
        if key.len() < 16 {
            return None;
        }
        Hmac::new_from_slice(key).ok().map(Self)
    }

    /// The value that the chain starts from.
    pub(super) fn start(&self) -> String {
        self.next("", "tower-dcr audit chain 1")
    }

    /// The value of a line after the line with the value `previous`.
    pub(super) fn next(&self, previous: &str, line: &str) -> String {
        let mut mac = self.0.clone();
        mac.update(previous.as_bytes());
        mac.update(b"\n");
        mac.update(line.as_bytes());
        text::hex(&mac.finalize().into_bytes())
    }
}

impl fmt::Debug for ChainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChainKey")
    }
}

/// What stands between an event's line and its value. The event's closing brace is moved behind the value, so that the
/// whole line stays one JSON object.
const SEPARATOR: &str = r#","chain":""#;

/// Puts the value into the line of a JSON object.
pub(super) fn seal(line: &str, value: &str) -> String {
    let body = line.strip_suffix('}').unwrap_or(line);
    format!("{body}{SEPARATOR}{value}\"}}")
}

/// Takes a sealed line apart again.
pub(super) fn unseal(line: &str) -> Option<(String, &str)> {
    let (body, value) = line.strip_suffix("\"}")?.rsplit_once(SEPARATOR)?;
    Some((format!("{body}}}"), value))
}

/// A chain that holds.
///
/// ```
/// use tower_dcr::event::{ChainKey, verify_chain};
///
/// let key = ChainKey::new(b"sixteen bytes or more").unwrap();
/// let empty = verify_chain(&b""[..], &key, None)?;
/// assert_eq!(empty.lines, 0);
/// // The file that follows goes on from here.
/// assert!(verify_chain(&b""[..], &key, Some(&empty.last)).is_ok());
/// # Ok::<_, tower_dcr::event::BrokenChain>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedChain {
    /// How many lines it has.
    pub lines: u64,
    /// The value of the last line: keep it elsewhere, or give it to the verification of the file that follows.
    pub last: String,
}

/// A chain that does not hold.
///
/// ```
/// use tower_dcr::event::{BrokenChain, ChainKey, verify_chain};
///
/// let key = ChainKey::new(b"sixteen bytes or more").unwrap();
/// let forged = br#"{"outcome":"accepted","chain":"00"}"#;
/// assert!(matches!(verify_chain(&forged[..], &key, None), Err(BrokenChain::Line(1))));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum BrokenChain {
    /// This line, counted from 1, is not what was written after the line before it.
    Line(u64),
    /// The file could not be read.
    Io(io::Error),
}

impl fmt::Display for BrokenChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line} is the first that breaks the chain"),
            Self::Io(error) => write!(f, "the file could not be read: {error}"),
        }
    }
}

impl std::error::Error for BrokenChain {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Line(_) => None,
            Self::Io(error) => Some(error),
        }
    }
}

/// Verifies the lines that [`JsonLines`](super::JsonLines) wrote. `previous` is the last value of the file before this
/// one, after a rotation; `None` for the first file.
///
/// # Errors
///
/// [`BrokenChain`] names the first line that does not follow from the one before it.
///
/// ```
/// use tower_dcr::event::{ChainKey, JsonLines, verify_chain};
///
/// let path = std::env::temp_dir().join(format!("tower-dcr-example-verify-{}", std::process::id()));
/// let key = ChainKey::new(b"sixteen bytes or more").unwrap();
/// let file = JsonLines::new(&path).with_chain(key.clone()).open()?;
/// # let guard = tower_dcr::mcp().with_sink(file.clone());
/// # drop(guard);
/// file.flush();
///
/// let written = std::io::BufReader::new(std::fs::File::open(&path)?);
/// assert_eq!(verify_chain(written, &key, None)?.lines, 0);
/// # std::fs::remove_file(&path)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn verify_chain(file: impl BufRead, key: &ChainKey, previous: Option<&str>) -> Result<VerifiedChain, BrokenChain> {
    let mut last = previous.map_or_else(|| key.start(), str::to_owned);
    let mut lines = 0;
    for line in file.lines() {
        lines += 1;
        let line = match line {
            Ok(line) => line,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(BrokenChain::Line(lines)),
            Err(error) => return Err(BrokenChain::Io(error)),
        };
        match unseal(&line) {
            Some((body, value)) if key.next(&last, &body) == value => value.clone_into(&mut last),
            _ => return Err(BrokenChain::Line(lines)),
        }
    }
    Ok(VerifiedChain { lines, last })
}
