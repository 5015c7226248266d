//! [`Bodies`]: the digests of a registration's bodies, computed when a sink reads them.

use std::fmt;

use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::registration::Digest;

/// The body as it was received and as it was forwarded.
#[derive(Clone, Default)]
pub(super) struct Bodies {
    pub(super) before: Option<Hashed>,
    pub(super) after: Option<Hashed>,
}

/// A body, or its digest.
pub(super) enum Hashed {
    Later(Bytes),
    Now(Digest),
}

/// Keeps the digest only: a copy of an event waits in queues, and a body can be a part of a large buffer.
impl Clone for Hashed {
    fn clone(&self) -> Self {
        Self::Now(self.digest())
    }
}

impl Hashed {
    fn digest(&self) -> Digest {
        match self {
            Self::Later(body) => Digest::of(body),
            Self::Now(digest) => *digest,
        }
    }
}

impl Bodies {
    /// Returns both digests, and hashes equal bodies once.
    pub(super) fn digests(&self) -> (Option<Digest>, Option<Digest>) {
        let before = self.before.as_ref().map(Hashed::digest);
        let after = match (&self.before, &self.after) {
            (Some(Hashed::Later(before)), Some(Hashed::Later(after))) if before == after => None,
            (_, after) => Some(after.as_ref().map(Hashed::digest)),
        };
        (before, after.unwrap_or(before))
    }
}

impl Serialize for Bodies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (before, after) = self.digests();
        let mut map = serializer.serialize_map(None)?;
        for (name, digest) in [("digest_before", before), ("digest_after", after)] {
            if let Some(digest) = digest {
                map.serialize_entry(name, &digest)?;
            }
        }
        map.end()
    }
}

impl fmt::Debug for Bodies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = self.digests();
        f.debug_struct("Bodies").field("before", &before).field("after", &after).finish()
    }
}
