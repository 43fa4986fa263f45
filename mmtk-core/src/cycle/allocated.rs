//! Bytes that mutators have allocated, counted at refills.
//!
//! Callers: mutators add; leaders of pauses take; the timer reads.

use crate::events::CollectionKind;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The count of one heap.
#[derive(Default)]
pub(crate) struct Allocated {
    since_pause: AtomicUsize,
    /// Before the last pause, since the last full collection; written in pauses.
    before: AtomicUsize,
}

/// What it was when a collection began.
#[derive(Copy, Clone, Debug)]
pub(crate) struct AllocatedBytes {
    /// Since the last full collection.
    pub since_full: usize,
    /// Since the last pause.
    pub since_pause: usize,
}

impl Allocated {
    /// A mutator has allocated `bytes` more.
    pub fn add(&self, bytes: usize) {
        self.since_pause.fetch_add(bytes, Relaxed);
    }

    /// Since the last pause.
    pub fn since_pause(&self) -> usize {
        self.since_pause.load(Relaxed)
    }

    /// Since the last full collection.
    pub fn since_full(&self) -> usize {
        self.before.load(Relaxed) + self.since_pause()
    }

    /// What was allocated until now. A collection begins, and with a full one a cycle.
    pub fn take(&self, kind: CollectionKind) -> AllocatedBytes {
        let since_full = self.since_full();
        let since_pause = self.since_pause.swap(0, Relaxed);
        self.before.store(if kind == CollectionKind::Full { 0 } else { since_full }, Relaxed);
        AllocatedBytes { since_full, since_pause }
    }
}

impl AllocatedBytes {
    /// Since the last collection that could free as much as one of this kind.
    pub fn since_no_less(&self, kind: CollectionKind) -> usize {
        match kind {
            CollectionKind::Full => self.since_full,
            CollectionKind::Minor => self.since_pause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_collection_begins_the_count_anew_and_a_minor_one_that_since_the_last_pause() {
        let allocated = Allocated::default();
        let take = |bytes, kind| {
            allocated.add(bytes);
            let taken = allocated.take(kind);
            assert_eq!(allocated.since_pause(), 0);
            (taken.since_full, taken.since_pause, taken.since_no_less(kind))
        };
        assert_eq!(take(10, CollectionKind::Minor), (10, 10, 10));
        assert_eq!(take(5, CollectionKind::Minor), (15, 5, 5));
        assert_eq!(take(1, CollectionKind::Full), (16, 1, 16));
        assert_eq!(take(2, CollectionKind::Minor), (2, 2, 2));
        assert_eq!(allocated.since_full(), 2);
    }
}
