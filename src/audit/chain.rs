//! A keyed hash chain over numbered lines.
//!
//! Each line ends with its number and an HMAC-SHA-256 over the line before it and itself. An attacker who can write the file
//! and does not know the key can't change, insert, reorder or remove a line without breaking the chain. The end of the file is
//! protected by its head: a small file beside it with the number and value of the last line, sealed with the same key.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use ctutils::CtEq;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::bounds::read_small;
use crate::text;

/// The key of a chain: at least 16 bytes, secret from all who can write the audit file.
///
/// ```
/// use tower_dcr::audit::ChainKey;
///
/// assert!(ChainKey::new(b"too short").is_none());
/// assert!(ChainKey::new(b"sixteen bytes or more").is_some());
/// ```
#[derive(Clone)]
pub struct ChainKey(Hmac<Sha256>);

impl ChainKey {
    /// Creates a key; `None` if it is shorter than 16 bytes.
    #[must_use]
    pub fn new(key: &[u8]) -> Option<Self> {
        if key.len() < 16 {
            return None;
        }
        Hmac::new_from_slice(key).ok().map(Self)
    }

    /// Reads the key from a file, without white space around it.
    ///
    /// ```
    /// use tower_dcr::audit::ChainKey;
    ///
    /// let file = std::env::temp_dir().join(format!("tower-dcr-example-key-{}", std::process::id()));
    /// std::fs::write(&file, "sixteen bytes or more\n")?;
    /// assert!(ChainKey::from_file(&file).is_ok());
    /// std::fs::write(&file, "too short")?;
    /// assert!(ChainKey::from_file(&file).is_err());
    /// # std::fs::remove_file(&file)?;
    /// # Ok::<_, std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// An [`io::Error`] that names the file, if it can't be read, has more than 64 KiB, or the key in it has less than
    /// 16 bytes.
    pub fn from_file(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let key =
            read_small(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        Self::new(key.trim_ascii()).ok_or_else(|| {
            let message = format!("key in {} has less than 16 bytes", path.display());
            io::Error::new(io::ErrorKind::InvalidData, message)
        })
    }

    /// Verifies the lines that [`JsonLines`](super::JsonLines) wrote, and returns their end and their number. `previous` is the
    /// last value of the file before this one, after a rotation; `None` for the first file. Use
    /// [`reaches`](ChainHead::reaches) to detect a cut end.
    ///
    /// # Errors
    ///
    /// [`BrokenChain`] names the first line that does not follow from the one before it.
    ///
    /// ```
    /// use tower_dcr::audit::ChainKey;
    ///
    /// let key = ChainKey::new(b"sixteen bytes or more").unwrap();
    /// let (end, lines) = key.verify(&b""[..], None)?;
    /// assert_eq!(lines, 0);
    /// // The next file continues from here.
    /// assert!(key.verify(&b""[..], Some(&end.last)).is_ok());
    /// # Ok::<_, tower_dcr::audit::BrokenChain>(())
    /// ```
    pub fn verify(&self, mut file: impl BufRead, previous: Option<&str>) -> Result<(ChainHead, u64), BrokenChain> {
        let mut end = ChainHead::start(self);
        let mut lines = 0;
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            if file.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes).map_err(BrokenChain::Io)? == 0 {
                break;
            }
            lines += 1;
            let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            let line = str::from_utf8(line).map_err(|_| BrokenChain::Line(lines))?;
            let sealed = Sealed::read(line).ok_or(BrokenChain::Line(lines))?;
            if let (1, Some(previous)) = (lines, previous) {
                // The number, which the value covers, counts the lines of earlier files.
                end = ChainHead { lines: sealed.number.wrapping_sub(1), last: previous.to_owned() };
            }
            if !end.follow(self, &sealed) {
                return Err(BrokenChain::Line(lines));
            }
        }
        if let (0, Some(previous)) = (lines, previous) {
            previous.clone_into(&mut end.last);
        }
        Ok((end, lines))
    }

    /// Returns the value that the chain starts from.
    pub(super) fn start(&self) -> String {
        self.next("", "tower-dcr audit chain 1")
    }

    /// Returns the value that a chain with a lost head continues from: no line has it, so that verification fails there.
    pub(super) fn lost(&self) -> String {
        self.next("", "tower-dcr audit chain 1 without its head")
    }

    /// Returns the value of a line after the line with the value `previous`.
    pub(super) fn next(&self, previous: &str, line: &str) -> String {
        text::hex(&self.mac(previous, line).finalize().into_bytes())
    }

    fn follows(&self, previous: &str, line: &str, value: &str) -> bool {
        bool::from(self.next(previous, line).as_bytes().ct_eq(value.as_bytes()))
    }

    fn mac(&self, previous: &str, line: &str) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(previous.as_bytes());
        mac.update(b"\n");
        mac.update(line.as_bytes());
        mac
    }
}

impl fmt::Debug for ChainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChainKey")
    }
}

/// The text between an event's line and its value. The event's closing brace is moved behind the value, so that the whole line
/// stays one JSON object.
const SEPARATOR: &str = r#","chain":""#;
const NUMBER: &str = r#","n":"#;

/// A parsed line of a chained file.
pub(super) struct Sealed<'a> {
    /// The part that the value covers, with the number.
    body: String,
    pub(super) number: u64,
    pub(super) value: &'a str,
}

impl<'a> Sealed<'a> {
    pub(super) fn read(line: &'a str) -> Option<Self> {
        let (body, value) = line.strip_suffix("\"}")?.rsplit_once(SEPARATOR)?;
        let number = body.rsplit_once(NUMBER)?.1.parse().ok()?;
        Some(Self { body: format!("{body}}}"), number, value })
    }

    pub(super) fn follows(&self, key: &ChainKey, previous: &str) -> bool {
        key.follows(previous, &self.body, self.value)
    }

    /// Returns whether the chain continued here after a gap.
    pub(super) fn is_resumption(&self) -> bool {
        self.body.contains(r#""action":"resumed""#)
    }
}

/// The number of lines of a chain, and the value of the last one. An audit file `NAME` has its head in `NAME.head`, sealed
/// with the key. A copy that is kept elsewhere shows if the end of the file was cut off.
///
/// ```
/// use std::io::BufReader;
/// use tower_dcr::audit::{ChainHead, ChainKey, Event, JsonLines, JsonLinesSettings, Sink};
///
/// let path = std::env::temp_dir().join(format!("tower-dcr-example-head-{}", std::process::id()));
/// let key = ChainKey::new(b"sixteen bytes or more").unwrap();
/// let file = JsonLines::open(&path, JsonLinesSettings { chain: Some(key.clone()), ..Default::default() })?;
/// file.emit(&Event::default());
/// drop(file);
///
/// let head = ChainHead::read(path.with_extension("head"), &key)?;
/// let written = BufReader::new(std::fs::File::open(&path)?);
/// let (end, lines) = key.verify(written, None)?;
/// assert!(lines == 1 && end.reaches(&head));
/// # std::fs::remove_file(path.with_extension("head"))?;
/// # std::fs::remove_file(&path)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ChainHead {
    /// The number of the last line, counted from the first file; 0 before the first line.
    pub lines: u64,
    /// The value of the last line.
    pub last: String,
}

#[derive(Serialize, Deserialize)]
struct SealedHead {
    schema: u32,
    lines: u64,
    last: String,
    seal: String,
}

impl ChainHead {
    /// Reads a head.
    ///
    /// # Errors
    ///
    /// [`BrokenChain::Head`] if it is not sealed with `key`, [`BrokenChain::Io`] if it is missing or can't be read.
    pub fn read(path: impl AsRef<Path>, key: &ChainKey) -> Result<Self, BrokenChain> {
        let bytes = read_small(path.as_ref()).map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => BrokenChain::Head,
            _ => BrokenChain::Io(error),
        })?;
        let SealedHead { lines, last, seal, .. } = serde_json::from_slice(&bytes).map_err(|_| BrokenChain::Head)?;
        let head = Self { lines, last };
        if key.follows(HEAD, &head.sealed_part(), &seal) { Ok(head) } else { Err(BrokenChain::Head) }
    }

    /// Returns `true` if a chain with this end reaches `head`. It may be longer, by lines that were written after the head.
    #[must_use]
    pub fn reaches(&self, head: &Self) -> bool {
        self.lines > head.lines || self == head
    }

    /// Returns the head of a chain without lines.
    pub(super) fn start(key: &ChainKey) -> Self {
        Self { lines: 0, last: key.start() }
    }

    /// Returns the head as text for [`read`](Self::read).
    pub(super) fn seal(&self, key: &ChainKey) -> String {
        let seal = key.next(HEAD, &self.sealed_part());
        let head = SealedHead { schema: 1, lines: self.lines, last: self.last.clone(), seal };
        serde_json::to_string(&head).unwrap_or_default() + "\n"
    }

    fn sealed_part(&self) -> String {
        format!("{}\n{}", self.lines, self.last)
    }

    /// Adds the next number and value to the line of a JSON object.
    pub(super) fn append(&mut self, key: &ChainKey, line: &str) -> String {
        self.lines += 1;
        let body = line.strip_suffix('}').unwrap_or(line);
        let numbered = format!("{body}{NUMBER}{}", self.lines);
        self.last = key.next(&self.last, &format!("{numbered}}}"));
        format!("{numbered}{SEPARATOR}{}\"}}", self.last)
    }

    /// Advances to `line`, if it is the next one. Returns whether it was.
    pub(super) fn follow(&mut self, key: &ChainKey, line: &Sealed<'_>) -> bool {
        let is_next = line.number == self.lines.wrapping_add(1) && line.follows(key, &self.last);
        if is_next {
            self.lines = line.number;
            line.value.clone_into(&mut self.last);
        }
        is_next
    }
}

/// Takes the place of a previous value in the seal of a head.
const HEAD: &str = "tower-dcr audit head 1";

/// Returns the path of an audit file's head.
pub(super) fn head_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".head");
    name.into()
}

/// The error of verifying a chain.
///
/// ```
/// use tower_dcr::audit::{BrokenChain, ChainKey};
///
/// let key = ChainKey::new(b"sixteen bytes or more").unwrap();
/// let forged = br#"{"outcome":"accepted","n":1,"chain":"00"}"#;
/// assert!(matches!(key.verify(&forged[..], None), Err(BrokenChain::Line(1))));
/// ```
#[non_exhaustive]
pub enum BrokenChain {
    /// The head is not sealed with this key.
    Head,
    /// The number of the first line, counted from 1, that does not follow from the line before it.
    Line(u64),
    /// The file can't be read.
    Io(io::Error),
}

crate::text::debug_for_people!(BrokenChain);

impl fmt::Display for BrokenChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("head not sealed with this key"),
            Self::Line(line) => write!(f, "chain broken at line {line}"),
            Self::Io(error) => write!(f, "unreadable file: {error}"),
        }
    }
}

impl std::error::Error for BrokenChain {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Head | Self::Line(_) => None,
            Self::Io(error) => Some(error),
        }
    }
}

/// The longest line that is read, for a device without end. No event comes near it.
const MAX_LINE: u64 = 64 << 20;
