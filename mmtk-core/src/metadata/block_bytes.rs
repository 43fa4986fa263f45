//! Live bytes of each block: a worker adds up what it finds, and passes the sums to a table that all workers
//! share.
//!
//! A worker that traces stays in few blocks for a while. So it adds up each block's bytes in a slot of its
//! own, and adds the sum to the table when another block takes the slot, and once more at the end of the
//! trace.
//!
//! I1. What was added to a block is in the table or in one slot of one worker. After `flush` it is in the
//!     table.
//! I2. A slot holds the bytes of one block. Slot `n` is for the blocks whose places are `n` modulo `SLOTS`.
//!     All are of one space, since a plan has at most one space that counts by block, and no two blocks of a
//!     space have the same place.
//! Why not add to the table at once: sixteen counters share a cache line. Workers that trace neighbouring
//! subtrees waited for that line at each object, and additions that are not atomic were lost. With a counter
//! in a line of its own the table would take sixteen times the memory, and the additions would still have to
//! be atomic.
//! Callers: `add` a worker that traces; `flush` the leader of a pause, when no worker traces.
//! Source: G1's region mark statistics cache (OpenJDK, `g1RegionMarkStatsCache`).

use crate::address::Address;
use crate::memory::{Block, Extent, LOG_BLOCK_BYTES, SideWords};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

/// Slots of a worker, eight KiB in all: as many as 32 MiB of heap have blocks.
const SLOTS: usize = 1024;

#[derive(Copy, Clone, Debug)]
struct Slot {
    /// The place of the block (`place_of`).
    place: u32,
    bytes: u32,
}

impl Slot {
    /// Slot `index`, of no block: the place is that of another slot's blocks.
    fn empty(index: usize) -> Slot {
        Slot { place: !(index as u32), bytes: 0 }
    }
}

/// Where the block around an address is in memory, in blocks. Taken from the address alone: to subtract where
/// the extent begins would take a load for each live object. 32 bits are enough for an extent of 128 TiB.
#[inline(always)]
fn place_of(address: Address) -> u32 {
    (address.as_usize() >> LOG_BLOCK_BYTES) as u32
}

/// The live bytes of each block of a space, as the last trace found them.
#[derive(Clone, Debug)]
pub struct BlockTotals {
    words: SideWords,
    extent: Extent,
    sums: Arc<Sums>,
}

/// What all blocks have together.
#[derive(Debug, Default)]
struct Sums {
    /// Blocks in which anything is live.
    blocks: AtomicU32,
    /// Bytes that are live.
    bytes: AtomicUsize,
}

impl BlockTotals {
    /// The totals of the space that has this extent, in these words, one a block.
    pub fn new(words: SideWords, extent: Extent) -> Self {
        BlockTotals { words, extent, sums: Arc::default() }
    }

    fn add(&self, place: u32, bytes: u32) {
        let block = place.wrapping_sub(place_of(self.extent.start()));
        // Relaxed: the end of the section orders the additions before the leader reads their sums.
        if self.words.word(block).fetch_add(bytes, Relaxed) == 0 {
            self.sums.blocks.fetch_add(1, Relaxed);
        }
        self.sums.bytes.fetch_add(bytes as usize, Relaxed);
    }

    /// Something of `bytes` bytes at an address of the space is live. Any thread.
    pub fn add_now(&self, address: Address, bytes: usize) {
        self.add(place_of(address), bytes as u32);
    }

    /// The extent of the space.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// In how many blocks anything was found live. When no worker traces.
    pub fn live_blocks(&self) -> u32 {
        self.sums.blocks.load(Relaxed)
    }

    /// Bytes that were found live in all blocks. When no worker traces.
    pub fn live_bytes(&self) -> usize {
        self.sums.bytes.load(Relaxed)
    }

    /// What was found live in the block, in bytes.
    pub fn bytes_in(&self, block: Block) -> usize {
        self.words.word(block.0).load(Relaxed) as usize
    }

    /// The totals of the first blocks start at nothing. The leader, before a trace.
    pub fn clear(&self, blocks: u32) {
        (0..blocks).for_each(|block| self.words.word(block).store(0, Relaxed));
        self.sums.blocks.store(0, Relaxed);
        self.sums.bytes.store(0, Relaxed);
    }
}

/// The sums of one worker.
#[derive(Debug)]
pub struct BlockBytes {
    slots: Box<[Slot; SLOTS]>,
    /// Where the sums go, once a slot is a block's.
    totals: Option<BlockTotals>,
    /// What went there since the last `flush`.
    added: usize,
}

impl Default for BlockBytes {
    fn default() -> Self {
        BlockBytes { slots: Box::new(std::array::from_fn(Slot::empty)), totals: None, added: 0 }
    }
}

impl BlockBytes {
    /// An object of this many bytes is live at an address of the space.
    #[inline(always)]
    pub fn add(&mut self, totals: &BlockTotals, address: Address, bytes: usize) {
        debug_assert!(totals.extent.contains(address));
        let place = place_of(address);
        let slot = &mut self.slots[place as usize % SLOTS];
        if slot.place == place {
            slot.bytes += bytes as u32;
        } else {
            self.begin(totals, place, bytes);
        }
    }

    /// Another block takes the slot.
    #[inline(never)]
    fn begin(&mut self, totals: &BlockTotals, place: u32, bytes: usize) {
        let slot = &mut self.slots[place as usize % SLOTS];
        let before = std::mem::replace(slot, Slot { place, bytes: bytes as u32 });
        self.totals.get_or_insert_with(|| totals.clone());
        self.add_up(before, totals);
    }

    /// Adds what is left to the table. Returns the bytes that were added since the last call, and the extent
    /// they lie in.
    pub fn flush(&mut self) -> Option<(Extent, usize)> {
        let totals = self.totals.take()?;
        for index in 0..SLOTS {
            let before = std::mem::replace(&mut self.slots[index], Slot::empty(index));
            self.add_up(before, &totals);
        }
        Some((totals.extent, std::mem::take(&mut self.added)))
    }

    fn add_up(&mut self, slot: Slot, totals: &BlockTotals) {
        if slot.bytes > 0 {
            totals.add(slot.place, slot.bytes);
            self.added += slot.bytes as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;
    use crate::options::Options;

    fn totals() -> (std::sync::Arc<Memory>, BlockTotals) {
        let memory = Memory::new(&Options { heap_limit: 64 << 20, ..Options::default() }).unwrap();
        let extent = memory.extent();
        let totals = BlockTotals::new(memory.block_words(extent).unwrap(), extent);
        (memory, totals)
    }

    /// Two blocks that take each other's slot at each addition, so that each goes to the table.
    #[test]
    fn what_several_workers_add_to_the_same_blocks_is_counted_once_each() {
        const WORKERS: usize = 4;
        const ADDED: usize = 2_000_000;
        let (_memory, totals) = totals();
        let blocks = [Block(0), Block(SLOTS as u32)];
        let begin = std::sync::Barrier::new(WORKERS);
        std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    let mut own = BlockBytes::default();
                    begin.wait();
                    for n in 0..ADDED {
                        own.add(&totals, totals.extent.block_start(blocks[n % 2]), 8 + n % 2);
                    }
                    assert_eq!(own.flush(), Some((totals.extent, ADDED / 2 * 17)));
                    assert_eq!(own.flush(), None);
                });
            }
        });
        assert_eq!(blocks.map(|block| totals.bytes_in(block)), [8, 9].map(|bytes| WORKERS * ADDED / 2 * bytes));
        assert_eq!((totals.live_blocks(), totals.live_bytes()), (2, WORKERS * ADDED / 2 * 17));
    }

    #[test]
    fn bytes_reach_the_table_when_another_block_takes_the_slot_or_at_the_end() {
        let (_memory, totals) = totals();
        let mut own = BlockBytes::default();
        let mut add = |block, bytes| own.add(&totals, totals.extent.block_start(Block(block)).plus(64), bytes);
        let all = || [0, 1, SLOTS as u32].map(|block| totals.bytes_in(Block(block)));
        for (block, bytes) in [(0, 16), (1, 24), (0, 32)] {
            add(block, bytes);
        }
        assert_eq!(all(), [0, 0, 0]);
        add(SLOTS as u32, 8);
        assert_eq!(all(), [48, 0, 0]);
        add(0, 64);
        assert_eq!((own.flush(), all()), (Some((totals.extent, 144)), [112, 24, 8]));
        assert_eq!(totals.live_blocks(), 3);
        totals.clear(2);
        assert_eq!((totals.live_blocks(), totals.live_bytes()), (0, 0));
        assert_eq!(all(), [0, 0, 8]);
    }
}
