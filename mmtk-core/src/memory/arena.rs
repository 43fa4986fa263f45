//! The arena of a heap: memory for lists that live for one pause or less.
//!
//! Memory is cut off a chunk. Only the piece that was cut off last can grow in place, or give its memory
//! back. The memory of any other piece stays unused until no piece is left: then the arena begins anew, with
//! its largest chunk, if that is not too large to be kept. A pause begins with an empty arena and leaves an
//! empty one, so a heap whose pauses are alike maps nothing after the first of them.
//!
//! Lists double as they grow, and memory is not used twice in a pause. So a pause may use twice as much as
//! its lists hold at most. The arena is not charged to the budget, nor are the stacks of a trace; no more
//! than [`KEPT_BYTES`] stay between pauses.
//!
//! I1. Each piece lies in the present chunk or in an older one. A chunk is given back only when none of its
//!     pieces is left.
//! Callers: the leader and the workers of a pause; threads that take memory from the heap, for a moment. The
//! lock is held for some instructions.

use crate::address::Address;
use crate::os::{self, Mapping, PageVec};
use allocator_api2::alloc::{AllocError, Allocator, Layout};
use allocator_api2::vec::Vec;
use protocols::sync::Mutex;
use std::ptr::NonNull;

/// A list in an arena.
pub type List<'a, T> = Vec<T, &'a Arena>;

/// The first chunk; each that follows is as large as all before it.
const LEAST_BYTES: usize = 64 << 10;
/// A larger chunk goes back to the system at the end of the pause that needed it.
const KEPT_BYTES: usize = 1 << 20;

/// Where the next cut begins.
struct Chunk {
    memory: Mapping,
    at: Address,
}

impl Chunk {
    fn end(&self) -> Address {
        self.memory.start().plus(self.memory.bytes())
    }

    /// Cuts off what lies from `at` on.
    fn cut(&mut self, at: Address, bytes: usize) -> bool {
        let fits = at <= self.end() && bytes <= self.end().bytes_from(at);
        if fits {
            self.at = at.plus(bytes);
        }
        fits
    }
}

#[derive(Default)]
struct Chunks {
    /// What is cut now.
    at_hand: Option<Chunk>,
    older: PageVec<Mapping>,
    /// Bytes of all of them.
    bytes: usize,
    /// Cuts that were not given back.
    living: usize,
}

impl Chunks {
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let place = |chunk: &Chunk| chunk.at.align_up(layout.align());
        if let Some(chunk) = &mut self.at_hand {
            let at = place(chunk);
            if chunk.cut(at, layout.size()) {
                self.living += 1;
                return os::memory_at(at, layout.size());
            }
        }
        let wanted = layout.size().checked_add(layout.align()).ok_or(AllocError)?;
        let memory = Mapping::zeroed(wanted.max(LEAST_BYTES).max(self.bytes)).map_err(|_| AllocError)?;
        self.bytes += memory.bytes();
        self.older.extend(self.at_hand.take().map(|chunk| chunk.memory));
        let mut chunk = Chunk { at: memory.start(), memory };
        let at = place(&chunk);
        chunk.cut(at, layout.size());
        self.at_hand = Some(chunk);
        self.living += 1;
        os::memory_at(at, layout.size())
    }

    /// Whether the last cut has this start and this length.
    fn is_last(&self, start: Address, bytes: usize) -> bool {
        self.at_hand.as_ref().is_some_and(|chunk| start.plus(bytes) == chunk.at && start >= chunk.memory.start())
    }

    fn give_back(&mut self, start: Address, bytes: usize) {
        self.living -= 1;
        let is_last = self.is_last(start, bytes);
        let Some(chunk) = &mut self.at_hand else { return };
        if self.living > 0 {
            chunk.at = if is_last { start } else { chunk.at };
            return;
        }
        // The one at hand is as large as all others (I1: nothing lives in any).
        self.older = PageVec::new();
        chunk.at = chunk.memory.start();
        self.bytes = chunk.memory.bytes();
        if self.bytes > KEPT_BYTES {
            (self.at_hand, self.bytes) = (None, 0);
        }
    }
}

/// The arena.
#[derive(Default)]
pub struct Arena(Mutex<Chunks>);

/// A text in an arena.
pub struct Text<'a>(List<'a, u8>);

impl std::fmt::Write for Text<'_> {
    fn write_str(&mut self, more: &str) -> std::fmt::Result {
        self.0.extend_from_slice(more.as_bytes());
        Ok(())
    }
}

impl std::ops::Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).expect("made of whole strings")
    }
}

impl Arena {
    /// An empty text.
    pub fn text(&self) -> Text<'_> {
        Text(self.list())
    }

    /// An empty list.
    pub fn list<T>(&self) -> List<'_, T> {
        List::new_in(self)
    }

    /// A list of these.
    pub fn collect<T>(&self, items: impl IntoIterator<Item = T>) -> List<'_, T> {
        let mut list = self.list();
        list.extend(items);
        list
    }

    /// Bytes that are mapped for it.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.0.lock().bytes
    }
}

// SAFETY: what is cut off is the container's alone (I1): a place is cut off again when it was given back, or
// when nothing lives. It belongs to the arena, which outlives the reference.
unsafe impl Allocator for &Arena {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        match layout.size() {
            0 => os::memory_at(Address::from_usize(layout.align()), 0),
            _ => self.0.lock().allocate(layout),
        }
    }

    unsafe fn deallocate(&self, memory: NonNull<u8>, layout: Layout) {
        if layout.size() > 0 {
            self.0.lock().give_back(Address::from_ptr(memory.as_ptr()), layout.size());
        }
    }

    unsafe fn grow(&self, memory: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let start = Address::from_ptr(memory.as_ptr());
        let mut chunks = self.0.lock();
        if old.size() > 0
            && start.is_aligned_to(new.align())
            && chunks.is_last(start, old.size())
            && chunks.at_hand.as_mut().is_some_and(|chunk| chunk.cut(start, new.size()))
        {
            return os::memory_at(start, new.size());
        }
        let more = chunks.allocate(new)?;
        // SAFETY: both are the container's, and the new place is larger.
        unsafe { memory.copy_to_nonoverlapping(more.cast(), old.size()) };
        if old.size() > 0 {
            chunks.give_back(start, old.size());
        }
        Ok(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(arena: &Arena, count: usize) -> List<'_, usize> {
        arena.collect(0..count)
    }

    #[test]
    fn lists_that_grow_side_by_side_keep_what_they_hold() {
        let arena = Arena::default();
        let mut lists: std::vec::Vec<List<'_, usize>> = (0..7).map(|_| List::new_in(&arena)).collect();
        for n in 0..20_000 {
            lists[n * n % 7].push(n);
        }
        for (index, list) in lists.iter().enumerate() {
            assert!(list.iter().copied().eq((0..20_000).filter(|n| n * n % 7 == index)));
        }
        drop(lists);
        assert!(arena.bytes() <= KEPT_BYTES);
    }

    #[test]
    fn a_list_that_is_alone_grows_in_place_and_the_next_pause_finds_its_memory() {
        let arena = Arena::default();
        let mut list = numbers(&arena, 1);
        let start = list.as_ptr();
        list.extend(1..1000);
        assert_eq!(list.as_ptr(), start);
        drop(list);
        let bytes = arena.bytes();
        assert_eq!(bytes, LEAST_BYTES);
        assert_eq!(numbers(&arena, 1000).as_ptr(), start);
        assert_eq!(arena.bytes(), bytes);
    }

    #[test]
    fn what_a_large_pause_needed_is_not_kept() {
        let arena = Arena::default();
        let held = numbers(&arena, 10);
        drop(numbers(&arena, 1 << 20));
        assert!(arena.bytes() > KEPT_BYTES);
        assert!(held.iter().copied().eq(0..10));
        drop(held);
        assert_eq!(arena.bytes(), 0);
    }

    #[test]
    fn threads_share_an_arena() {
        let arena = Arena::default();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for count in 0..if cfg!(miri) { 20 } else { 500 } {
                        assert!(numbers(&arena, count).iter().copied().eq(0..count));
                    }
                });
            }
        });
        assert_eq!(arena.0.lock().living, 0);
    }
}
