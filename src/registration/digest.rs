//! A SHA-256 value.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::text;

/// A SHA-256 digest. Displays as 64 lower-case hexadecimal digits.
///
/// ```
/// use tower_dcr::Registration;
///
/// let (one, other) = (Registration::parse(br#"{"a":1,"b":2}"#)?, Registration::parse(br#"{ "b":2, "a":1 }"#)?);
/// assert_eq!(one.digest(), other.digest());
/// assert_eq!(one.digest().to_string().len(), 64);
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Hashes `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Returns the first eight bytes as a number.
    pub(crate) fn prefix(&self) -> u64 {
        self.0.first_chunk().copied().map_or(0, u64::from_be_bytes)
    }

    /// Returns the 32 bytes.
    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::hex(&self.0))
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        text::unhex(text).map(Self).ok_or(ParseDigestError)
    }
}

/// An error for a text that is not 64 hexadecimal digits.
///
/// ```
/// use tower_dcr::registration::Digest;
///
/// assert_eq!("abc".parse::<Digest>().unwrap_err().to_string(), "a SHA-256 has 64 hexadecimal digits");
/// let digest = Digest::of(b"abc");
/// assert_eq!(digest.to_string().parse(), Ok(digest));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseDigestError;

impl fmt::Display for ParseDigestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a SHA-256 has 64 hexadecimal digits")
    }
}

impl std::error::Error for ParseDigestError {}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
