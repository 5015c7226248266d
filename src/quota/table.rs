//! Buckets in fixed memory.

use super::gcra::{Nanos, Quota};
use super::{Exhausted, Remaining};
use crate::sync::{Mutex, MutexGuard, lock};

pub(super) struct Table {
    /// A power of two of them.
    sets: Box<[Set]>,
    overflow: Mutex<Nanos>,
}

/// As many buckets as share one lock and one cache line.
pub(super) const WAYS: usize = 4;

/// Aligned to a cache line: under a flood of new keys, fetching one is what a check costs.
#[repr(align(64))]
struct Set(Mutex<Buckets>);

/// Of an untouched bucket the tag is zero, and so is the time: it has no debt.
#[derive(Default)]
struct Buckets {
    /// The upper half of the keys' hashes; the lower half chooses the set. Two keys share a bucket if some 46 bits
    /// collide under a secret key, which nobody can look for.
    tags: [u32; WAYS],
    /// When each bucket will be full again. In the past: the bucket has no debt, and may be given away.
    full_at: [Nanos; WAYS],
}

/// The bucket from which a request was taken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// The key's own, by the hash of the key.
    Own(u64),
    /// The one that all share who found no room.
    Overflow,
}

impl Buckets {
    /// The time of the bucket with this tag.
    fn find(&mut self, tag: u32) -> Option<&mut Nanos> {
        let way = self.tags.iter().position(|other| *other == tag)?;
        self.full_at.get_mut(way)
    }

    /// The time of a bucket without debt, which has this tag from now on.
    fn give_away(&mut self, tag: u32, now: Nanos) -> Option<&mut Nanos> {
        let way = self.full_at.iter().position(|full_at| *full_at <= now)?;
        *self.tags.get_mut(way)? = tag;
        let full_at = self.full_at.get_mut(way)?;
        *full_at = 0;
        Some(full_at)
    }
}

impl Table {
    pub(super) fn new(buckets: usize) -> Self {
        let sets = buckets.div_ceil(WAYS).next_power_of_two();
        Self { sets: (0..sets).map(|_| Set(Mutex::new(Buckets::default()))).collect(), overflow: Mutex::new(0) }
    }

    /// How many buckets there are.
    pub(super) fn len(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// Takes one request from the bucket of `hash`, or from the one that all share who find no room.
    pub(super) fn take(&self, hash: u64, quota: Quota, now: Nanos) -> Result<(Place, Remaining), Exhausted> {
        let tag = tag(hash);
        let mut buckets = self.buckets(hash);
        let mut own = buckets.find(tag);
        if own.is_none() {
            own = buckets.give_away(tag, now);
        }
        if let Some(full_at) = own {
            return quota.take(full_at, now).map(|remaining| (Place::Own(hash), remaining));
        }
        drop(buckets);
        quota.take(&mut lock(&self.overflow), now).map(|remaining| (Place::Overflow, remaining))
    }

    /// Gives one request back to where it was taken from.
    pub(super) fn give_back(&self, place: Place, quota: Quota) {
        match place {
            Place::Overflow => quota.give_back(&mut lock(&self.overflow)),
            // A bucket that is somebody else's by now had no debt left.
            Place::Own(hash) => {
                if let Some(full_at) = self.buckets(hash).find(tag(hash)) {
                    quota.give_back(full_at);
                }
            }
        }
    }

    fn buckets(&self, hash: u64) -> MutexGuard<'_, Buckets> {
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
        let index = hash as usize & (self.sets.len() - 1);
        #[expect(clippy::indexing_slicing, reason = "masked by a power of two minus one, and there is a set at least")]
        lock(&self.sets[index].0)
    }
}

const fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}
