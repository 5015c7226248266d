//! How large a registration may be.

use serde::{Deserialize, Deserializer, Serialize};

/// Limits on one registration. The defaults hold every honest registration that is known (the largest is under 1 KiB)
/// with room to spare.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::registration::{Limits, ParseErrorKind};
///
/// let limits = Limits::new().with_bytes(4096).with_members(2);
/// let refused = Registration::parse_with(br#"{"a":1,"b":2,"c":3}"#, &limits).unwrap_err();
/// assert_eq!(refused.kind(), ParseErrorKind::TooManyMembers);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct Limits {
    /// Bytes in the whole body.
    #[serde(rename = "max_bytes", deserialize_with = "at_most_a_gibibyte")]
    pub(super) bytes: usize,
    /// Nested objects and arrays, the outermost object included.
    #[serde(rename = "max_depth")]
    pub(super) depth: usize,
    /// Members of one object.
    #[serde(rename = "max_members")]
    pub(super) members: usize,
    /// Elements of one array.
    #[serde(rename = "max_array")]
    pub(super) array: usize,
    /// Bytes of one unescaped string or member name.
    #[serde(rename = "max_string")]
    pub(super) string: usize,
}

impl Limits {
    /// For documents that were let through, or made by the server: what was accepted once can be read later.
    pub(crate) const GENEROUS: Self =
        Self::new().with_bytes(256 * 1024).with_string(128 * 1024).with_depth(32).with_array(1000);

    /// The defaults: 16 KiB, depth 8, 100 members, 100 array elements, strings of 16 KiB.
    pub const fn new() -> Self {
        Self { bytes: 16 * 1024, depth: 8, members: 100, array: 100, string: 16 * 1024 }
    }

    /// Bytes in the whole body.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes in the whole body. Values above 1 GiB count as 1 GiB.
    pub const fn with_bytes(mut self, bytes: usize) -> Self {
        self.bytes = if bytes > 1 << 30 { 1 << 30 } else { bytes };
        self
    }

    /// Nested objects and arrays, the outermost object included. `serde_json` itself stops at 128.
    pub const fn with_depth(mut self, depth: usize) -> Self {
        self.depth = depth;
        self
    }

    /// Members of one object.
    pub const fn with_members(mut self, members: usize) -> Self {
        self.members = members;
        self
    }

    /// Elements of one array.
    pub const fn with_array(mut self, array: usize) -> Self {
        self.array = array;
        self
    }

    /// UTF-8 bytes of one unescaped string or member name.
    pub const fn with_string(mut self, string: usize) -> Self {
        self.string = string;
        self
    }
}

fn at_most_a_gibibyte<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    usize::deserialize(deserializer).map(|bytes| Limits::new().with_bytes(bytes).bytes)
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}
