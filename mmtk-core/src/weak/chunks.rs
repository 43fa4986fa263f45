//! The memory of a table: chunks of entries, found by their number without a lock, made and given back one by
//! one.
//!
//! ```text
//!   segments        4 chunks     8 chunks     16 chunks ...        a segment is made when one of its chunks is first wanted
//!                   |  |  |  |
//!                   v  -  v  -                                     128 entries, or none
//! ```
//! I1. A chunk is made by the thread that holds the table's lock, and published with its address.
//! I2. A chunk is given back only in a pause, when no worker uses it. Mutators read entries while they run,
//!     and keep no reference to one over a safepoint; workers keep none over a section.
//! Callers: `entry` any mutator, and the workers of a pause; `make` a mutator; `give_back` the leader.

use crate::os::Pages;
use allocator_api2::boxed::Box;
use std::array;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering::Acquire, Ordering::Release};

/// Entries of a chunk: a page of them.
pub(super) const CHUNK: u32 = 128;
/// Chunks of the first segment, each following one of which has twice as many.
const FIRST: u32 = 4;
const SEGMENTS: usize = (u32::BITS - CHUNK.trailing_zeros() - FIRST.trailing_zeros() + 1) as usize;

/// The entries of a chunk.
pub(super) type Chunk<E> = [E; CHUNK as usize];

type Segment<E> = std::boxed::Box<[AtomicPtr<Chunk<E>>]>;

/// The chunks of a table. It owns those that are there.
pub(super) struct Chunks<E> {
    segments: [OnceLock<Segment<E>>; SEGMENTS],
}

/// Where a chunk is noted: the segment, and the position in it.
fn place(chunk: u32) -> (usize, usize) {
    let n = chunk + FIRST;
    let log = n.ilog2();
    ((log - FIRST.ilog2()) as usize, (n - (1 << log)) as usize)
}

impl<E> Chunks<E> {
    pub fn new() -> Chunks<E> {
        Chunks { segments: array::from_fn(|_| OnceLock::new()) }
    }

    fn note(&self, chunk: u32) -> Option<&AtomicPtr<Chunk<E>>> {
        let (segment, position) = place(chunk);
        Some(&self.segments[segment].get()?[position])
    }

    /// The entries of a chunk, if it is there.
    #[inline(always)]
    pub fn get(&self, chunk: u32) -> Option<&Chunk<E>> {
        // Acquire pairs with Release in `make`: the entries are there.
        let entries = self.note(chunk)?.load(Acquire);
        // SAFETY: null, or made by `make`. It lives until the next pause at least, and nobody uses it for
        // longer (I2).
        unsafe { entries.as_ref() }
    }

    /// The entry with this number, if its chunk is there.
    #[inline(always)]
    pub fn entry(&self, number: u32) -> Option<&E> {
        self.get(number / CHUNK).map(|entries| &entries[(number % CHUNK) as usize])
    }

    /// Makes a chunk that is not there (I1).
    pub fn make(&self, chunk: u32, entries: Box<Chunk<E>, Pages>) {
        let (segment, position) = place(chunk);
        let segment = self.segments[segment].get_or_init(|| {
            let chunks = FIRST << segment;
            (0..chunks).map(|_| AtomicPtr::default()).collect()
        });
        let before = segment[position].swap(Box::into_raw_with_allocator(entries).0, Release);
        assert!(before.is_null(), "chunk {chunk} is made twice");
    }

    /// Gives a chunk back, if it is there.
    ///
    /// # Safety
    /// Nobody else uses an entry of it (I2).
    pub unsafe fn give_back(&self, chunk: u32) {
        let entries = self.note(chunk).map_or(ptr::null_mut(), |note| note.swap(ptr::null_mut(), Acquire));
        if !entries.is_null() {
            // SAFETY: from `Box::into_raw` in `make`, and now noted nowhere; nobody else uses it, says the
            // caller.
            drop(unsafe { Box::from_raw_in(entries, Pages) });
        }
    }
}

impl<E> Drop for Chunks<E> {
    fn drop(&mut self) {
        for (segment, chunks) in self.segments.iter().enumerate() {
            let count = chunks.get().map_or(0, |chunks| chunks.len() as u32);
            let first = (FIRST << segment) - FIRST;
            // SAFETY: the table goes, so nobody uses it.
            (first..first + count).for_each(|chunk| unsafe { self.give_back(chunk) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn numbers_lead_to_places_without_gaps() {
        let mut next = (0, 0);
        for chunk in 0..100_000 {
            assert_eq!(place(chunk), next, "chunk {chunk}");
            next.1 += 1;
            if next.1 == (FIRST << next.0) as usize {
                next = (next.0 + 1, 0);
            }
        }
        let (segment, position) = place(u32::MAX / CHUNK);
        assert!(segment < SEGMENTS && position < (FIRST as usize) << segment);
    }

    #[test]
    fn a_chunk_is_there_from_make_to_give_back_and_goes_with_the_table() {
        let chunks = Chunks::<Arc<u32>>::new();
        let value = Arc::new(7);
        for chunk in [0, 3, 4, 1000] {
            assert!(chunks.get(chunk).is_none() && chunks.entry(chunk * CHUNK).is_none());
            chunks.make(chunk, Box::new_in(array::from_fn(|_| value.clone()), Pages));
            assert_eq!(chunks.entry(chunk * CHUNK + CHUNK - 1).map(|value| **value), Some(7));
        }
        assert_eq!(Arc::strong_count(&value), 1 + 4 * CHUNK as usize);
        // SAFETY: only this thread knows the table.
        unsafe { chunks.give_back(3) };
        assert!(chunks.get(3).is_none() && chunks.get(4).is_some());
        assert_eq!(Arc::strong_count(&value), 1 + 3 * CHUNK as usize);
        drop(chunks);
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
