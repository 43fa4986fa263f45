//! An index of entries by the address of an object: chains in a hash table.
//!
//! ```text
//!   buckets[hash(key)] --> entry --next--> entry --next--> end
//! ```
//! The workers of a pause fill it together: an entry is put in front of its chain with one exchange, and then
//! linked to what was there. When all have left the section, it is complete, and any thread may look objects
//! up.
//!
//! It has two users. One is ephemerons whose keys a trace has not reached: every object that the trace
//! reaches later is looked up, so that a value is traced when its key is, in any order, and no list is walked
//! twice. The other is tables keyed by objects (`address_table`).
//!
//! I1. Between the exchange and the link a chain has a gap. No thread walks chains while workers fill the
//!     index.
//! I2. An entry is in the index once at most.
//! I3. An entry is removed only by a thread that no other thread disturbs. Outside of pauses the same holds
//!     for inserting.

use crate::sync::atomic::{AtomicU32, Ordering::Relaxed};
use crate::sync::dropped;
use allocator_api2::alloc::{Allocator, Global};
use allocator_api2::vec::Vec;

const END: u32 = u32::MAX;

/// The index, in memory of the caller's choice: pauses have their own. What an entry is, the caller knows: a
/// number below the capacity, with a key.
pub struct Index<A: Allocator = Global> {
    buckets: Vec<AtomicU32, A>,
    next: Vec<AtomicU32, A>,
    shift: u32,
}

impl Index {
    /// An empty index for entries `0..capacity`.
    pub fn new(capacity: usize) -> Index {
        Index::new_in(capacity, Global)
    }

    /// How many bytes an index of this capacity takes.
    pub const fn bytes(capacity: usize) -> usize {
        if capacity == 0 { 0 } else { 4 * ((capacity * 2).next_power_of_two() + capacity) }
    }
}

impl<A: Allocator + Copy> Index<A> {
    /// As [`Index::new`], in this memory.
    pub fn new_in(capacity: usize, memory: A) -> Index<A> {
        let buckets = if capacity == 0 { 0 } else { (capacity * 2).next_power_of_two() };
        let all_end = |n| {
            let mut all = Vec::with_capacity_in(n, memory);
            all.resize_with(n, || AtomicU32::new(END));
            all
        };
        Index { buckets: all_end(buckets), next: all_end(capacity), shift: 64 - buckets.max(2).trailing_zeros() }
    }

    /// Entries have numbers below this.
    pub fn capacity(&self) -> usize {
        self.next.len()
    }

    /// Whether there is no room for any entry.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.buckets.iter_mut().for_each(|bucket| *bucket = AtomicU32::new(END));
    }

    fn bucket(&self, key: usize) -> &AtomicU32 {
        // Fibonacci hashing (Knuth, volume 3, 6.4): the high bits of the product depend on all bits of the
        // address.
        &self.buckets[((key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize]
    }

    /// Inserts an entry with this key (I1, I2).
    pub fn insert(&self, key: usize, entry: usize) {
        let bucket = self.bucket(key);
        // Relaxed: the end of the section, or the lock of who is alone, publishes the chains.
        let before = if dropped!("index-exchange") {
            let before = bucket.load(Relaxed);
            bucket.store(entry as u32, Relaxed);
            before
        } else {
            bucket.swap(entry as u32, Relaxed)
        };
        self.next[entry].store(before, Relaxed);
    }

    /// Removes an entry that was inserted with this key (I3).
    pub fn remove(&self, key: usize, entry: usize) {
        let mut link = self.bucket(key);
        while link.load(Relaxed) != entry as u32 {
            let next = link.load(Relaxed);
            assert!(next != END, "entry {entry} is not in the chain of its key");
            link = &self.next[next as usize];
        }
        link.store(self.next[entry].load(Relaxed), Relaxed);
    }

    /// The entries whose keys hash like this one.
    #[inline(always)]
    pub fn candidates(&self, key: usize) -> impl Iterator<Item = usize> {
        let mut entry = if self.is_empty() { END } else { self.bucket(key).load(Relaxed) };
        std::iter::from_fn(move || {
            let this = entry as usize;
            (entry != END).then(|| {
                entry = self.next[this].load(Relaxed);
                this
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(index: &Index, keys: &[usize], key: usize) -> Vec<usize> {
        index.candidates(key).filter(|entry| keys[*entry] == key).collect()
    }

    #[test]
    fn every_entry_is_found_under_its_key_and_equal_keys_share_a_chain() {
        let keys: Vec<usize> = (0..1000).map(|n| n / 3 * 4096).collect();
        let mut index = Index::new(keys.len());
        keys.iter().enumerate().for_each(|(entry, key)| index.insert(*key, entry));
        for key in (0..334).map(|n| n * 4096) {
            let expected: Vec<usize> = (0..1000).rev().filter(|entry| keys[*entry] == key).collect();
            assert_eq!(found(&index, &keys, key), expected, "key {key}");
        }
        assert!(found(&index, &keys, 8).is_empty());
        index.clear();
        assert!(found(&index, &keys, 4096).is_empty());
    }

    #[test]
    fn a_removed_entry_leaves_the_others_of_its_chain() {
        let keys = [64; 3];
        for removed in 0..3 {
            let index = Index::new(3);
            (0..3).for_each(|entry| index.insert(64, entry));
            index.remove(64, removed);
            let left: Vec<usize> = (0..3).rev().filter(|entry| *entry != removed).collect();
            assert_eq!(found(&index, &keys, 64), left);
        }
    }

    #[test]
    fn an_empty_index_has_no_candidates() {
        let index = Index::new(0);
        assert!(index.is_empty());
        assert_eq!(index.candidates(64).next(), None);
    }
}
