//! A map of limited size, from names to values that can be found again.

use std::collections::HashMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

/// A cache of at most `capacity` values (and one, if that is odd or 0), in two generations. When the younger one is full, it
/// replaces the older one, whose values are dropped; a value that is read there becomes young again. A value that is read
/// often therefore stays, and most reads share the lock.
pub(crate) struct Cache<V> {
    generations: RwLock<Generations<V>>,
    capacity: usize,
    /// The largest sum of weights.
    max_weight: usize,
}

struct Generations<V> {
    young: HashMap<String, (V, usize)>,
    old: HashMap<String, (V, usize)>,
    /// The sum of the weights of the young.
    weight: usize,
}

impl<V: Clone> Cache<V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self::with_weight(capacity, usize::MAX)
    }

    /// Creates a cache whose values weigh at most `max_weight`, and the heaviest of them.
    pub(crate) fn with_weight(capacity: usize, max_weight: usize) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new(), weight: 0 };
        Self { generations: RwLock::new(generations), capacity, max_weight }
    }

    pub(crate) fn get(&self, name: &str) -> Option<V> {
        let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((value, _)) = generations.young.get(name) {
            return Some(value.clone());
        }
        if !generations.old.contains_key(name) {
            return None;
        }
        drop(generations);
        self.change(|generations| {
            // Another thread may have been faster.
            let Some((name, (value, weight))) = generations.old.remove_entry(name) else {
                return generations.young.get(name).map(|(value, _)| value.clone());
            };
            generations.insert(name, value.clone(), weight);
            Some(value)
        })
    }

    pub(crate) fn insert(&self, name: String, value: V) {
        self.insert_weighing(name, value, 0);
    }

    pub(crate) fn insert_weighing(&self, name: String, value: V, weight: usize) {
        self.change(|generations| {
            generations.old.remove(&name);
            generations.insert(name, value, weight);
        });
    }

    /// Weighs a value again, which has become heavier.
    pub(crate) fn weigh(&self, name: &str, weight: impl FnOnce(&V) -> usize) {
        self.change(|Generations { young, old, weight: sum }| {
            if let Some((value, before)) = young.get_mut(name) {
                let after = weight(value);
                *sum = *sum - std::mem::replace(before, after) + after;
            } else if let Some((value, before)) = old.get_mut(name) {
                *before = weight(value);
            }
        });
    }

    pub(crate) fn remove(&self, name: &str) {
        self.change(|generations| {
            generations.old.remove(name);
            if let Some((_, weight)) = generations.young.remove(name) {
                generations.weight -= weight;
            }
        });
    }

    fn change<R>(&self, change: impl FnOnce(&mut Generations<V>) -> R) -> R {
        let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut generations);
        if generations.young.len() > self.capacity / 2 || generations.weight > self.max_weight / 2 {
            generations.old = std::mem::take(&mut generations.young);
            generations.weight = 0;
        }
        result
    }
}

impl<V> Generations<V> {
    fn insert(&mut self, name: String, value: V, weight: usize) {
        self.weight += weight;
        if let Some((_, replaced)) = self.young.insert(name, (value, weight)) {
            self.weight -= replaced;
        }
    }
}

impl<V> fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_read_stay_and_the_size_is_limited() {
        let cache = Cache::new(8);
        cache.insert("often".to_owned(), 0);
        for index in 1..100 {
            cache.insert(index.to_string(), index);
            assert_eq!(cache.get("often"), Some(0), "{index}");
        }
        let stored = (1..100).filter(|index| cache.get(&index.to_string()).is_some()).count();
        assert!((1..=8).contains(&stored), "{stored}");
        assert_eq!(cache.get("1"), None);
        cache.insert("often".to_owned(), 1);
        assert_eq!(cache.get("often"), Some(1));
    }

    #[test]
    fn the_weight_is_limited() {
        let cache = Cache::with_weight(1000, 100);
        for index in 0..100 {
            cache.insert_weighing(index.to_string(), index, 10);
            cache.insert_weighing("replaced".to_owned(), index, 10);
        }
        let stored = (0..100).filter(|index| cache.get(&index.to_string()).is_some()).count();
        assert!((1..=11).contains(&stored), "{stored}");
        assert_eq!(cache.get("replaced"), Some(99));
        cache.weigh("replaced", |_| 20);
        for index in 0..2 {
            cache.insert_weighing(format!("more {index}"), index, 10);
            cache.weigh("replaced", |_| 20);
        }
        let left = (0..100).filter(|index| cache.get(&index.to_string()).is_some()).count();
        assert!(left < stored, "a value that has become heavier drops others: {left} of {stored}");
        cache.remove("replaced");
        assert_eq!(cache.get("replaced"), None);
    }

    #[test]
    fn the_smallest_cache_forgets_at_once_or_with_the_next_value() {
        for capacity in 0..2 {
            let cache = Cache::new(capacity);
            cache.insert("one".to_owned(), 1);
            assert_eq!(cache.get("one"), Some(1));
            cache.insert("two".to_owned(), 2);
            assert_eq!((cache.get("one"), cache.get("two")), (None, Some(2)));
        }
    }
}
