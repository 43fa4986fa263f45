//! Bytes that a worker finds live, by block, on their way to a table that all workers share.
//!
//! A worker that traces stays in few blocks for a while. So it adds up each block's bytes in a slot of its own, and adds the sum to the
//! table when another block takes the slot, and once more at the end of the trace.
//!
//! I1. What was added to a block is in the table or in one slot of one worker. After `flush` it is in the table.
//! I2. A slot holds the bytes of one block. Slot `n` takes the blocks whose numbers are `n` modulo `SLOTS`, and of one space: a plan
//!     has at most one space that counts by block.
//! Why not add to the table at once: sixteen counters share a cache line. Workers that trace neighbouring subtrees waited for that line at
//! each object, and additions that are not atomic were lost. With a counter in a line of its own the table would take sixteen times the
//! memory, and the additions would still have to be atomic.
//! Callers: `add` a worker that traces; `flush` the leader of a pause, when no worker traces.
//! Source: G1's region mark statistics cache (OpenJDK, `g1RegionMarkStatsCache`).

use super::side_table::SideWords;
use crate::heap::Block;
use std::sync::atomic::Ordering::Relaxed;

/// Slots of a worker, eight KiB in all: as many as 32 MiB of heap have blocks.
const SLOTS: usize = 1024;

#[derive(Copy, Clone, Debug)]
struct Slot {
    block: u32,
    bytes: u32,
}

impl Slot {
    /// The slot of no block.
    const EMPTY: Slot = Slot { block: u32::MAX, bytes: 0 };
}

/// The sums of one worker.
#[derive(Debug)]
pub struct BlockBytes {
    slots: Box<[Slot; SLOTS]>,
    /// Whether any slot is a block's.
    used: bool,
}

impl Default for BlockBytes {
    fn default() -> Self {
        BlockBytes { slots: Box::new([Slot::EMPTY; SLOTS]), used: false }
    }
}

impl BlockBytes {
    /// An object of this many bytes is live in the block. A worker that is `alone` in the trace adds to the table.
    #[inline(always)]
    pub fn add(&mut self, totals: &SideWords, block: Block, bytes: usize, alone: bool) {
        if alone {
            let total = totals.word(block.0);
            return total.store(total.load(Relaxed) + bytes as u32, Relaxed);
        }
        let slot = &mut self.slots[block.0 as usize % SLOTS];
        if slot.block != block.0 {
            Self::empty(slot, totals);
            slot.block = block.0;
            self.used = true;
        }
        slot.bytes += bytes as u32;
    }

    /// Adds what is left to the table.
    pub fn flush(&mut self, totals: &SideWords) {
        if std::mem::take(&mut self.used) {
            for slot in &mut *self.slots {
                Self::empty(slot, totals);
                *slot = Slot::EMPTY;
            }
        }
    }

    #[inline(always)]
    fn empty(slot: &mut Slot, totals: &SideWords) {
        let bytes = std::mem::take(&mut slot.bytes);
        if bytes > 0 {
            // Relaxed: the end of the section orders the additions before the leader reads their sums.
            totals.word(slot.block).fetch_add(bytes, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::Memory;
    use crate::options::Options;

    /// Two blocks that take each other's slot at each addition, so that each goes to the table.
    #[test]
    fn what_several_workers_add_to_the_same_blocks_is_counted_once_each() {
        const WORKERS: usize = 4;
        const ADDED: usize = 2_000_000;
        let memory = Memory::new(&Options { heap_limit: 64 << 20, ..Options::default() }).unwrap();
        let totals = memory.block_words(memory.extent()).unwrap();
        let blocks = [0, SLOTS as u32];
        let begin = std::sync::Barrier::new(WORKERS);
        std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    let mut own = BlockBytes::default();
                    begin.wait();
                    for n in 0..ADDED {
                        own.add(&totals, Block(blocks[n % 2]), 8 + n % 2, false);
                    }
                    own.flush(&totals);
                    own.flush(&totals);
                });
            }
        });
        let sums = blocks.map(|block| totals.word(block).load(Relaxed) as usize);
        assert_eq!(sums, [8, 9].map(|bytes| WORKERS * ADDED / 2 * bytes));
    }

    #[test]
    fn a_worker_that_is_alone_counts_the_same() {
        let memory = Memory::new(&Options { heap_limit: 64 << 20, ..Options::default() }).unwrap();
        let totals = memory.block_words(memory.extent()).unwrap();
        let mut own = BlockBytes::default();
        for (block, bytes) in [(0, 16), (1, 24), (0, 32), (SLOTS, 8), (0, 64)] {
            own.add(&totals, Block(block as u32), bytes, true);
        }
        own.flush(&totals);
        assert_eq!([0, 1, SLOTS].map(|block| totals.word(block as u32).load(Relaxed)), [112, 24, 8]);
    }
}
