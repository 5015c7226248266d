//! Limits on the size of a registration.

use serde::{Deserialize, Serialize};

use crate::bounds;

/// Limits on the size of one registration. Every known client stays far below the defaults: the largest registration has
/// less than 1 KiB.
///
/// Each limit has a ceiling, so that no configuration lets a body exhaust the process. A policy file with a limit above its
/// ceiling is rejected; the methods below lower it to the ceiling.
///
/// | limit | default | ceiling |
/// | --- | --- | --- |
/// | [`with_bytes`](Self::with_bytes) | 16 KiB | 1 MiB |
/// | [`with_depth`](Self::with_depth) | 8 | 64 |
/// | [`with_members`](Self::with_members) | 100 | 1,000 |
/// | [`with_array`](Self::with_array) | 100 | 1,000 |
/// | [`with_string`](Self::with_string) | 16 KiB | 1 MiB |
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::registration::{Limits, ParseErrorKind};
///
/// let limits = Limits::new().with_bytes(4096).with_members(2);
/// let error = Registration::parse_with(br#"{"a":1,"b":2,"c":3}"#, &limits).unwrap_err();
/// assert_eq!(error.kind(), ParseErrorKind::TooManyMembers);
/// assert_eq!(Limits::new().with_bytes(usize::MAX).bytes(), 1024 * 1024);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct Limits {
    /// Bytes in the whole body; 1 MiB at most.
    #[serde(rename = "max_bytes", deserialize_with = "bounds::number::<_, _, 2, 1_048_576>")]
    pub(super) bytes: usize,
    /// Nested objects and arrays, the outermost object included; 64 at most.
    #[serde(rename = "max_depth", deserialize_with = "bounds::number::<_, _, 2, 64>")]
    pub(super) depth: usize,
    /// Members of one object; 1,000 at most.
    #[serde(rename = "max_members", deserialize_with = "bounds::number::<_, _, 1, 1000>")]
    pub(super) members: usize,
    /// Elements of one array; 1,000 at most.
    #[serde(rename = "max_array", deserialize_with = "bounds::number::<_, _, 1, 1000>")]
    pub(super) array: usize,
    /// Bytes of one unescaped string or member name; 1 MiB at most.
    #[serde(rename = "max_string", deserialize_with = "bounds::number::<_, _, 1, 1_048_576>")]
    pub(super) string: usize,
}

impl Limits {
    /// The parser and the writer recurse once for each level: 64 fit into the 2 MiB stack of a thread with room for their
    /// callers, and `serde_json` reads up to 128 levels.
    const CEILING: Self = Self { bytes: 1 << 20, depth: 64, members: 1000, array: 1000, string: 1 << 20 };

    /// Limits for documents that were accepted, or made by the server: large enough for the members that rules and the server
    /// add.
    pub(crate) const GENEROUS: Self =
        Self { bytes: 2 << 20, depth: Self::CEILING.depth, members: 1200, array: 1200, string: 1 << 20 };

    /// For answers of the server, and other documents of which a copy is made before they are read.
    pub(crate) const ANSWER: Self = Self { bytes: 256 * 1024, string: 128 * 1024, ..Self::GENEROUS };

    /// The defaults: 16 KiB, depth 8, 100 members, 100 array elements, strings of 16 KiB.
    pub const fn new() -> Self {
        Self { bytes: 16 * 1024, depth: 8, members: 100, array: 100, string: 16 * 1024 }
    }

    /// Bytes in the whole body.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sets the bytes in the whole body (default: 16 KiB). Values above 1 MiB count as 1 MiB.
    pub const fn with_bytes(mut self, bytes: usize) -> Self {
        self.bytes = within(bytes, 2, Self::CEILING.bytes);
        self
    }

    /// Sets the nested objects and arrays, the outermost object included (default: 8). Values above 64 count as 64, values below
    /// 2 as 2, without which there is no list of redirect URIs.
    pub const fn with_depth(mut self, depth: usize) -> Self {
        self.depth = within(depth, 2, Self::CEILING.depth);
        self
    }

    /// Sets the members of one object (default: 100). Values above 1,000 count as 1,000.
    pub const fn with_members(mut self, members: usize) -> Self {
        self.members = within(members, 1, Self::CEILING.members);
        self
    }

    /// Sets the elements of one array (default: 100). Values above 1,000 count as 1,000.
    pub const fn with_array(mut self, array: usize) -> Self {
        self.array = within(array, 1, Self::CEILING.array);
        self
    }

    /// Sets the UTF-8 bytes of one unescaped string or member name (default: 16 KiB). Values above 1 MiB count as 1 MiB.
    pub const fn with_string(mut self, string: usize) -> Self {
        self.string = within(string, 1, Self::CEILING.string);
        self
    }
}

const fn within(value: usize, least: usize, most: usize) -> usize {
    if value < least {
        least
    } else if value > most {
        most
    } else {
        value
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}
