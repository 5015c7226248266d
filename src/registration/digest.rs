//! A SHA-256 value.

use std::fmt;

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

    /// Reads 64 hexadecimal digits; `None` for another text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        text::unhex(text).map(Self)
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
