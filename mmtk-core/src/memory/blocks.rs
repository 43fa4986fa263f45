//! The blocks of one space: fresh ones by a watermark, freed ones from a list.
//!
//! Taking a block is a pop or one exchange; a lock is taken only to commit a chunk, once in 128 blocks.
//!
//! I1. A block is free (on a list), fresh (above the watermark) or owned: by a mutator, a worker, or the
//!     space.
//! I2. A fresh block reads as zero. A freed one holds anything, or poison.
//! I3. Every owned block is charged to the budget by the thread that asked for it; owned and free blocks are
//!     resident.
//! Callers: `acquire` any mutator or worker; `release` any thread that sweeps.

use super::chunks::Chunks;
use super::extent::{BLOCK_BYTES, Block, CHUNK_BLOCKS, Extent};
use super::free_memory::FreeMemory;
use super::reservation::{Cache, Memory, Why};
use crate::address::{Address, ObjectReference};
use crate::memory::SideWords;
use crate::os;
use protocols::block_list::BlockList;
use protocols::budget::Charge;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// How a block is paid for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Payment {
    /// Charge this many bytes to the budget: the block itself, and what the plan must hold in reserve for it.
    Bytes(usize, Charge),
    /// It was charged before (a copy reserve).
    Prepaid,
}

/// A block just taken. [`BlockPool::memory_of`] and [`Frontier::memory_of`](super::Frontier::memory_of) give
/// its memory away, once.
#[derive(PartialEq, Eq, Debug)]
pub struct Acquired {
    /// Which one.
    pub block: Block,
    /// Whether it reads as zero.
    pub(super) zeroed: bool,
}

/// The blocks of one extent.
pub struct BlockPool {
    chunks: Chunks,
    /// Free and resident; may hold anything.
    free: BlockList,
    /// Free and given back to the system; read as zero.
    clean: BlockList,
    links: SideWords,
    /// Blocks below it were handed out at least once.
    watermark: AtomicU32,
    owned: AtomicU32,
}

impl BlockPool {
    /// The blocks of `extent`; each committed chunk charges `table_bytes_per_chunk` for the space's side
    /// tables.
    pub fn new(memory: &Arc<Memory>, extent: Extent, table_bytes_per_chunk: usize) -> io::Result<Arc<BlockPool>> {
        let pool = Arc::new(BlockPool {
            chunks: Chunks::new(memory, extent, table_bytes_per_chunk + CHUNK_BLOCKS as usize * 4),
            free: BlockList::new(),
            clean: BlockList::new(),
            links: memory.block_words(extent)?,
            watermark: AtomicU32::new(0),
            owned: AtomicU32::new(0),
        });
        let weak: std::sync::Weak<BlockPool> = Arc::downgrade(&pool);
        memory.add_cache(weak);
        Ok(pool)
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

    /// The links of this extent's blocks, for the space's own lists: a block is on one list at a time.
    pub fn links(&self) -> &SideWords {
        &self.links
    }

    /// The heap's memory.
    pub fn memory(&self) -> &Memory {
        self.chunks.memory()
    }

    /// How many blocks are owned.
    pub fn owned(&self) -> u32 {
        self.owned.load(Relaxed)
    }

    /// Blocks from here on were never handed out.
    pub fn watermark(&self) -> u32 {
        self.watermark.load(Relaxed)
    }

    /// A free block, or a fresh one; none if the budget or the system refuses.
    pub fn acquire(&self, payment: Payment) -> Option<Acquired> {
        if let Payment::Bytes(bytes, by) = payment
            && !self.memory().budget().reserve(bytes, by)
        {
            return None;
        }
        let taken = match self.free.pop(&self.links) {
            Some(number) => Some(Acquired { block: Block(number), zeroed: false }),
            None => self.fresh(payment),
        };
        match (&taken, payment) {
            (Some(Acquired { block, zeroed }), _) => {
                self.owned.fetch_add(1, Relaxed);
                if *zeroed {
                    self.memory().touch(self.extent().block_start(*block), BLOCK_BYTES);
                }
            }
            (None, Payment::Bytes(bytes, _)) => self.memory().budget().unreserve(bytes),
            (None, Payment::Prepaid) => (),
        }
        taken
    }

    /// The memory of a block just taken.
    ///
    /// # Panics
    /// When the block is not one of this pool.
    pub fn memory_of(&self, acquired: Acquired) -> FreeMemory<'_> {
        let start = self.extent().block_start(acquired.block);
        let end = start.plus(BLOCK_BYTES);
        self.check_part(start, BLOCK_BYTES);
        FreeMemory::new(start..end, acquired.zeroed)
    }

    /// Part of a block that the caller owns and calls free: lines or cells. It may hold anything.
    ///
    /// # Panics
    /// When `range` is not inside one block that was handed out.
    pub fn part(&self, range: Range<Address>) -> FreeMemory<'_> {
        self.check_part(range.start, range.end.as_usize().wrapping_sub(range.start.as_usize()));
        FreeMemory::new(range, false)
    }

    /// Panics unless it is inside one block that was handed out, and so committed (I1).
    fn check_part(&self, start: Address, bytes: usize) {
        let extent = self.extent();
        let room = BLOCK_BYTES - (start.as_usize() & (BLOCK_BYTES - 1));
        assert!(
            extent.contains(start) && extent.block_of(start).0 < self.watermark() && bytes <= room,
            "{start}+{bytes:#x} is no part of a used block"
        );
    }

    fn fresh(&self, payment: Payment) -> Option<Acquired> {
        if !self.memory().make_resident(BLOCK_BYTES) {
            // Another space's memory may have come back to our own list meanwhile.
            return self.free.pop(&self.links).map(|n| Acquired { block: Block(n), zeroed: false });
        }
        if let Some(number) = self.clean.pop(&self.links) {
            return Some(Acquired { block: Block(number), zeroed: true });
        }
        let by = match payment {
            Payment::Bytes(_, by) => by,
            Payment::Prepaid => Charge::Collector,
        };
        let mut number = self.watermark.load(Relaxed);
        loop {
            // The watermark passes `committed` never: a block is handed out only when its chunk can be used.
            if number >= self.chunks.committed() && !self.chunks.commit(number, by) {
                self.memory().budget().not_resident(BLOCK_BYTES);
                return None;
            }
            match self.watermark.compare_exchange_weak(number, number + 1, Relaxed, Relaxed) {
                Ok(_) => return Some(Acquired { block: Block(number), zeroed: true }),
                Err(now) => number = now,
            }
        }
    }

    /// Makes the first `blocks` blocks usable, and charges their tables. A space that has so many blocks
    /// prepaid or in use can then take them all without asking the budget or the system.
    #[must_use]
    pub fn commit(&self, blocks: u32, by: Charge) -> bool {
        loop {
            let committed = self.chunks.committed();
            if committed >= blocks {
                return true;
            }
            if !self.chunks.commit(committed, by) {
                return false;
            }
        }
    }

    /// The block is free again. The caller returns its charge.
    ///
    /// Nobody may hold a reference into it: this is the sweep's promise, which the verifier checks.
    pub fn release(&self, block: Block) {
        self.poison(self.extent().block_start(block), BLOCK_BYTES);
        self.owned.fetch_sub(1, Relaxed);
        self.free.push(&self.links, block.0);
    }

    /// Fills part of a block that is free again, lines or cells, if freed memory shall be filled. The caller
    /// owns the block, and as for [`BlockPool::release`] nobody may hold a reference into that part.
    pub fn poison(&self, start: Address, bytes: usize) {
        if self.memory().poisons() {
            self.check_part(start, bytes);
            // SAFETY: inside a block that was handed out (checked), so it is committed (I1); the caller owns
            // the block and frees this part of it.
            unsafe { os::poison(start, bytes) };
        }
    }
}

impl Cache for BlockPool {
    fn give_back(&self, bytes: usize, why: Why) -> usize {
        let mut given = 0;
        while given < bytes {
            let Some(number) = self.free.pop(&self.links) else { break };
            // SAFETY: popped, so this thread owns the block, and it holds nothing.
            if !unsafe { self.memory().decommit(self.extent().block_start(Block(number)), BLOCK_BYTES, why) } {
                self.free.push(&self.links, number);
                break;
            }
            self.clean.push(&self.links, number);
            given += BLOCK_BYTES;
        }
        given
    }
}
