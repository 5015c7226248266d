//! Limits on the size of a registration.

use serde::{Deserialize, Serialize};

use crate::bounds;

/// Limits on the size of one registration. Every known client stays far below the defaults: the largest registration has
/// less than 1 KiB.
///
/// Each limit has a ceiling, so that no configuration lets a body exhaust the process: a policy file with a limit above its
/// ceiling is rejected, and layers and presets lower it to the ceiling.
///
/// ```
/// use tower_dcr::Registration;
/// use tower_dcr::registration::{Limits, ParseError};
///
/// let limits = Limits { max_bytes: 4096, max_members: 2, ..Limits::default() };
/// let error = Registration::parse_with(br#"{"a":1,"b":2,"c":3}"#, &limits).unwrap_err();
/// assert_eq!(error, ParseError::TooManyMembers);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "written with `..Limits::default()`")]
pub struct Limits {
    /// Bytes in the whole body; 1 MiB at most.
    #[serde(deserialize_with = "bounds::number::<_, _, 2, 1_048_576>")]
    pub max_bytes: usize,
    /// Nested objects and arrays, the outermost object included; 64 at most.
    #[serde(deserialize_with = "bounds::number::<_, _, 2, 64>")]
    pub max_depth: usize,
    /// Members of one object; 1,000 at most.
    #[serde(deserialize_with = "bounds::number::<_, _, 1, 1000>")]
    pub max_members: usize,
    /// Elements of one array; 1,000 at most.
    #[serde(deserialize_with = "bounds::number::<_, _, 1, 1000>")]
    pub max_array: usize,
    /// Bytes of one unescaped string or member name; 1 MiB at most.
    #[serde(deserialize_with = "bounds::number::<_, _, 1, 1_048_576>")]
    pub max_string: usize,
}

impl Limits {
    pub(crate) const DEFAULT: Self =
        Self { max_bytes: 16 * 1024, max_depth: 8, max_members: 100, max_array: 100, max_string: 16 * 1024 };

    /// The parser and the writer recurse once for each level: 64 fit into the 2 MiB stack of a thread with room for their
    /// callers, and `serde_json` reads up to 128 levels.
    const CEILING: Self =
        Self { max_bytes: 1 << 20, max_depth: 64, max_members: 1000, max_array: 1000, max_string: 1 << 20 };

    /// Limits for documents that were accepted, or made by the server: large enough for the members that rules and the server
    /// add. The parser reads nothing larger.
    pub(crate) const GENEROUS: Self = Self { max_bytes: 2 << 20, max_members: 1200, max_array: 1200, ..Self::CEILING };

    /// For client metadata documents: 5 KB, as their specification recommends.
    pub(crate) const DOCUMENT: Self = Self { max_bytes: 5 * 1024, ..Self::DEFAULT };

    /// For answers of the server, and other documents of which a copy is made before they are read.
    pub(crate) const ANSWER: Self = Self { max_bytes: 256 * 1024, max_string: 128 * 1024, ..Self::GENEROUS };

    pub(super) fn at_most(self, ceiling: Self) -> Self {
        Self {
            max_bytes: self.max_bytes.min(ceiling.max_bytes),
            max_depth: self.max_depth.min(ceiling.max_depth),
            max_members: self.max_members.min(ceiling.max_members),
            max_array: self.max_array.min(ceiling.max_array),
            max_string: self.max_string.min(ceiling.max_string),
        }
    }

    /// Returns the limits between the bounds that a policy file has. A depth below 2 has no list of redirect URIs.
    pub(crate) fn within_bounds(self) -> Self {
        let Self { max_bytes, max_depth, max_members, max_array, max_string } = self.at_most(Self::CEILING);
        Self {
            max_bytes: max_bytes.max(2),
            max_depth: max_depth.max(2),
            max_members: max_members.max(1),
            max_array: max_array.max(1),
            max_string: max_string.max(1),
        }
    }
}

/// 16 KiB, depth 8, 100 members, 100 array elements, strings of 16 KiB.
impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
