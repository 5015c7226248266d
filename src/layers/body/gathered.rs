//! Data that arrives in pieces.

use bytes::{Bytes, BytesMut};

/// The data so far. A single piece is not copied; many small pieces take no more room than their bytes.
#[derive(Default)]
pub(super) struct Gathered {
    first: Bytes,
    /// All of the data, once there is a second piece.
    all: BytesMut,
}

impl Gathered {
    pub(super) fn push(&mut self, piece: Bytes) {
        if self.len() == 0 {
            self.first = piece;
            return;
        }
        if !piece.is_empty() {
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
            self.all.extend_from_slice(&piece);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.first.len() + self.all.len()
    }

    pub(super) fn into_bytes(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}
