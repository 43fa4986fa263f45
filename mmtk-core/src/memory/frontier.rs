//! The blocks of a space that fills its extent from the bottom: those below one number are in use, those
//! above are free.
//!
//! ```text
//!   0            next         resident       committed
//!   | in use     | free, dirty | reads as zero |      the address of a block tells when it was taken
//! ```
//! A block is taken at `next`; a compaction moves `next` back. Free memory needs no list, and the memory that
//! goes back to the system first is the memory that would be used last.
//!
//! I1. `next <= resident`, and `next <= committed`. Blocks below `next` are owned: by a mutator or the space.
//! I2. Each block below `next` is charged, each below `resident` counted as resident. From `resident` on
//!     memory reads as zero.
//! I3. `next` moves back only in a pause. The lock is held for a few instructions, or for one call of the
//!     system; nothing else is locked meanwhile.
//! Callers: `acquire` any mutator; `retreat` the leader of a pause; `give_back` any thread that is short of
//! memory.

use super::blocks::Acquired;
use super::chunks::Chunks;
use super::extent::{BLOCK_BYTES, Block, Extent};
use super::free_memory::FreeMemory;
use super::reservation::{Cache, Memory, Why};
use crate::address::{Address, ObjectReference};
use crate::os;
use protocols::budget::Charge;
use protocols::sync::Mutex;
use std::sync::{Arc, Weak};

#[derive(Default)]
struct Marks {
    next: u32,
    resident: u32,
}

/// The blocks of one extent, used from the bottom.
pub struct Frontier {
    chunks: Chunks,
    marks: Mutex<Marks>,
}

impl Frontier {
    /// All blocks of `extent` are free; each committed chunk charges `table_bytes_per_chunk` for the space's
    /// side tables.
    pub fn new(memory: &Arc<Memory>, extent: Extent, table_bytes_per_chunk: usize) -> Arc<Frontier> {
        let chunks = Chunks::new(memory, extent, table_bytes_per_chunk);
        let frontier = Arc::new(Frontier { chunks, marks: Mutex::default() });
        let weak: Weak<Frontier> = Arc::downgrade(&frontier);
        memory.add_cache(weak);
        frontier
    }

    /// The extent.
    #[inline(always)]
    pub fn extent(&self) -> Extent {
        self.chunks.extent()
    }

    /// The object that begins at an address here, as the caller knows. As what it frees, this is a space's
    /// own business: only the space knows where its objects begin.
    ///
    /// # Panics
    /// When the address is not in the extent, or no multiple of a word.
    pub fn object_at(&self, address: Address) -> ObjectReference {
        self.extent().object_at(address)
    }

    /// How many blocks are in use: those with the lowest numbers.
    pub fn used(&self) -> u32 {
        self.marks.lock().next
    }

    /// The lowest free block, charged; none if the budget or the system refuses.
    pub fn acquire(&self, by: Charge) -> Option<Acquired> {
        let budget = self.chunks.memory().budget();
        if !budget.reserve(BLOCK_BYTES, by) {
            return None;
        }
        let taken = self.take_dirty().or_else(|| self.take_fresh(by));
        match &taken {
            Some(Acquired { block, zeroed: true }) => {
                self.chunks.memory().touch(self.extent().block_start(*block), BLOCK_BYTES);
            }
            Some(_) => (),
            None => budget.unreserve(BLOCK_BYTES),
        }
        taken
    }

    /// The memory of a block just taken.
    ///
    /// # Panics
    /// When the block is not in use.
    pub fn memory_of(&self, acquired: Acquired) -> FreeMemory<'_> {
        let (block, used) = (acquired.block, self.used());
        assert!(block.0 < used, "{block:?} is not in use: those below {used} are");
        let start = self.extent().block_start(block);
        FreeMemory::new(start..start.plus(BLOCK_BYTES), acquired.zeroed)
    }

    fn take_dirty(&self) -> Option<Acquired> {
        let mut marks = self.marks.lock();
        if marks.next == marks.resident {
            return None;
        }
        marks.next += 1;
        Some(Acquired { block: Block(marks.next - 1), zeroed: false })
    }

    fn take_fresh(&self, by: Charge) -> Option<Acquired> {
        // Before the lock is taken: memory may have to be given back, our own too.
        if !self.chunks.memory().make_resident(BLOCK_BYTES) {
            return None;
        }
        loop {
            let mut marks = self.marks.lock();
            // Mutators alone take blocks and no pause ends here, so nothing became free.
            debug_assert_eq!(marks.next, marks.resident);
            let number = marks.next;
            if number < self.chunks.committed() {
                (marks.next, marks.resident) = (number + 1, number + 1);
                return Some(Acquired { block: Block(number), zeroed: true });
            }
            drop(marks);
            if !self.chunks.commit(number, by) {
                self.chunks.memory().budget().not_resident(BLOCK_BYTES);
                return None;
            }
        }
    }

    /// Nothing from `end` on, an address in the blocks in use or just behind them, is used any more. Blocks
    /// that lie behind it as a whole are free, and no longer charged.
    ///
    /// In a pause, by its leader. As for `BlockPool::release`, nobody may hold a reference to what lies
    /// there.
    pub fn retreat(&self, end: Address) {
        let (memory, extent) = (self.chunks.memory(), self.extent());
        let mut marks = self.marks.lock();
        let used_end = extent.block_start(Block(marks.next));
        assert!(extent.start() <= end && end <= used_end, "{end} is outside what is in use up to {used_end}");
        if memory.poisons() {
            // SAFETY: inside blocks that are owned, so they are committed (I1); the caller frees this part of
            // them.
            unsafe { os::poison(end, used_end.bytes_from(end)) };
        }
        let used = end.bytes_from(extent.start()).div_ceil(BLOCK_BYTES) as u32;
        memory.budget().unreserve((marks.next - used) as usize * BLOCK_BYTES);
        marks.next = used;
    }
}

impl Cache for Frontier {
    fn give_back(&self, bytes: usize, why: Why) -> usize {
        let mut marks = self.marks.lock();
        let blocks = (bytes.div_ceil(BLOCK_BYTES)).min((marks.resident - marks.next) as usize);
        if blocks == 0 {
            return 0;
        }
        let resident = marks.resident - blocks as u32;
        let start = self.extent().block_start(Block(resident));
        // SAFETY: free blocks (I1) that nobody can take while the lock is held, and they hold nothing.
        if !unsafe { self.chunks.memory().decommit(start, blocks * BLOCK_BYTES, why) } {
            return 0;
        }
        marks.resident = resident;
        blocks * BLOCK_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    #[test]
    fn the_lowest_free_block_is_taken_and_reads_as_zero_once_it_went_back() {
        let memory = Memory::new(&Options { heap_limit: 8 << 20, ..Options::default() }).unwrap();
        let (extent, budget) = (memory.extent(), memory.budget());
        let frontier = Frontier::new(&memory, extent, 100);
        let acquire = || frontier.acquire(Charge::Mutator).map(|taken| (taken.block.0, taken.zeroed));
        for number in 0..5 {
            assert_eq!(acquire(), Some((number, true)));
        }
        assert_eq!((budget.reserved(), budget.resident()), (5 * BLOCK_BYTES + 100, 5 * BLOCK_BYTES + 100));
        frontier.retreat(extent.start().plus(2 * BLOCK_BYTES + 8));
        assert_eq!((budget.reserved(), budget.resident()), (3 * BLOCK_BYTES + 100, 5 * BLOCK_BYTES + 100));
        assert_eq!(frontier.used(), 3, "a block in use in part is in use");
        assert_eq!(acquire(), Some((3, false)));
        memory.refuse_returns(true);
        assert_eq!(frontier.give_back(usize::MAX, Why::Unneeded), 0);
        assert_eq!((budget.resident(), memory.refusals().count()), (5 * BLOCK_BYTES + 100, 1));
        memory.refuse_returns(false);
        assert_eq!(frontier.give_back(usize::MAX, Why::Unneeded), BLOCK_BYTES);
        assert_eq!(frontier.give_back(usize::MAX, Why::Unneeded), 0);
        assert_eq!((budget.reserved(), budget.resident()), (4 * BLOCK_BYTES + 100, 4 * BLOCK_BYTES + 100));
        assert_eq!(acquire(), Some((4, true)));
    }

    #[test]
    fn a_refused_block_changes_nothing() {
        let memory = Memory::new(&Options { heap_limit: 1 << 20, ..Options::default() }).unwrap();
        let frontier = Frontier::new(&memory, memory.extent(), 100);
        let blocks = (0..).take_while(|_| frontier.acquire(Charge::Mutator).is_some()).count();
        assert_eq!(blocks, (1 << 20) / BLOCK_BYTES - 1, "the tables take the last one");
        let (reserved, resident) = (memory.budget().reserved(), memory.budget().resident());
        assert!(frontier.acquire(Charge::Mutator).is_none());
        assert_eq!((memory.budget().reserved(), memory.budget().resident()), (reserved, resident));
        memory.refuse_commits_after(0);
        let other = Frontier::new(&memory, memory.extent(), 0);
        frontier.retreat(frontier.extent().start());
        assert!(other.acquire(Charge::Mutator).is_none(), "the system refuses");
        assert_eq!((memory.budget().reserved(), frontier.used()), (100, 0));
        assert!(frontier.acquire(Charge::Mutator).is_some());
    }
}
