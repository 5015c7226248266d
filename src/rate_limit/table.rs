//! Buckets in fixed memory.

use std::sync::OnceLock;

use super::Exhausted;
use super::gcra::{Nanos, Quota};
use crate::sync::{Mutex, MutexGuard, lock};

pub(super) struct Table {
    /// A power of two of them, allocated for the first key: most presets in a process never see one.
    sets: OnceLock<Box<[Set]>>,
    count: usize,
    overflow: Mutex<Nanos>,
}

/// The number of buckets that share one lock and one cache line.
pub(super) const WAYS: usize = 4;

/// Aligned to a cache line: under a flood of new keys, fetching it is the cost of a check.
#[repr(align(64))]
struct Set(Mutex<Buckets>);

/// An untouched bucket has the tag zero and the time zero: it is full.
#[derive(Default)]
struct Buckets {
    /// The upper half of the keys' hashes; the lower half chooses the set. Two keys share a bucket if some 46 bits
    /// collide under a secret key, which no attacker can search for.
    tags: [u32; WAYS],
    /// The time at which each bucket will be full again. A bucket with a time in the past is full, and may be reassigned.
    full_at: [Nanos; WAYS],
}

/// The bucket from which a request was taken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// The key's own, by the hash of the key.
    Own(u64),
    /// The bucket that keys without room share.
    Overflow,
}

impl Buckets {
    /// Returns the time of the bucket with this tag.
    fn find(&mut self, tag: u32) -> Option<&mut Nanos> {
        let way = self.tags.iter().position(|other| *other == tag)?;
        self.full_at.get_mut(way)
    }

    /// Returns the time of the bucket with this tag, or of a full one that it gets. `None` if there is no room.
    fn own(&mut self, tag: u32, now: Nanos) -> Option<&mut Nanos> {
        if self.tags.contains(&tag) { self.find(tag) } else { self.reassign(tag, now) }
    }

    /// Returns `true` if a bucket is full, so that another key can get it.
    fn has_room(&self, now: Nanos) -> bool {
        self.full_at.iter().any(|full_at| *full_at <= now)
    }

    /// Assigns a full bucket to this tag, and returns its time.
    fn reassign(&mut self, tag: u32, now: Nanos) -> Option<&mut Nanos> {
        let way = self.full_at.iter().position(|full_at| *full_at <= now)?;
        *self.tags.get_mut(way)? = tag;
        let full_at = self.full_at.get_mut(way)?;
        *full_at = 0;
        Some(full_at)
    }
}

impl Table {
    pub(super) fn new(buckets: usize) -> Self {
        let count = buckets.div_ceil(WAYS).next_power_of_two();
        Self { sets: OnceLock::new(), count, overflow: Mutex::new(0) }
    }

    /// Returns the number of buckets.
    pub(super) fn len(&self) -> usize {
        self.count * WAYS
    }

    /// Takes one request from the bucket of `hash`, or from the overflow bucket if there is no room.
    pub(super) fn take(&self, hash: u64, quota: Quota, now: Nanos) -> Result<Place, Exhausted> {
        let mut buckets = self.buckets(hash);
        if let Some(full_at) = buckets.own(tag(hash), now) {
            return quota.take(full_at, now).map(|()| Place::Own(hash));
        }
        drop(buckets);
        quota.take(&mut lock(&self.overflow), now).map(|()| Place::Overflow)
    }

    /// Checks that the bucket of `hash` has a request left, and takes none.
    pub(super) fn peek(&self, hash: u64, quota: Quota, now: Nanos) -> Result<(), Exhausted> {
        let mut buckets = self.buckets(hash);
        let own = buckets.find(tag(hash)).map(|full_at| *full_at);
        // A key without a bucket has taken none, unless there was no room for it.
        let has_room = buckets.has_room(now);
        drop(buckets);
        match own {
            None if has_room => Ok(()),
            own => quota.take(&mut own.unwrap_or_else(|| *lock(&self.overflow)), now),
        }
    }

    /// Takes one request from the bucket of `hash`, or from the overflow bucket if there is no room, even if it has none left, up
    /// to a debt of `longest`.
    pub(super) fn charge(&self, hash: u64, quota: Quota, now: Nanos, longest: Nanos) {
        let mut buckets = self.buckets(hash);
        if let Some(full_at) = buckets.own(tag(hash), now) {
            quota.charge(full_at, now, longest);
            return;
        }
        drop(buckets);
        quota.charge(&mut lock(&self.overflow), now, longest);
    }

    /// Releases one request in the bucket that it was taken from.
    pub(super) fn release(&self, place: Place, quota: Quota) {
        match place {
            Place::Overflow => quota.release(&mut lock(&self.overflow)),
            // A bucket that was reassigned in the meantime was full.
            Place::Own(hash) => {
                if let Some(full_at) = self.buckets(hash).find(tag(hash)) {
                    quota.release(full_at);
                }
            }
        }
    }

    fn buckets(&self, hash: u64) -> MutexGuard<'_, Buckets> {
        let make = || (0..self.count).map(|_| Set(Mutex::new(Buckets::default()))).collect();
        let sets = self.sets.get_or_init(make);
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
        let index = hash as usize & (sets.len() - 1);
        #[expect(clippy::indexing_slicing, reason = "masked by a power of two minus one, and there is a set at least")]
        lock(&sets[index].0)
    }
}

const fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}
