//! The chunks of one extent, made usable one after the other.
//!
//! I1. Blocks below `committed` are usable, and the side tables of their chunks are charged.
//! I2. A chunk is committed once, under the lock; never while another lock is held, since the charge may take
//!     back what caches hold.
//! Callers: any mutator or worker that needs a fresh block.

use super::extent::{Block, CHUNK_BLOCKS, CHUNK_BYTES, Extent};
use super::reservation::Memory;
use protocols::budget::Charge;
use protocols::sync::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

pub(super) struct Chunks {
    memory: Arc<Memory>,
    extent: Extent,
    /// Blocks; a multiple of `CHUNK_BLOCKS`, grows under `committing`.
    committed: AtomicU32,
    committing: Mutex<()>,
    table_bytes_per_chunk: usize,
}

impl Chunks {
    /// No chunk is usable yet; each that becomes so charges `table_bytes_per_chunk`.
    pub fn new(memory: &Arc<Memory>, extent: Extent, table_bytes_per_chunk: usize) -> Chunks {
        Chunks {
            memory: memory.clone(),
            extent,
            committed: AtomicU32::new(0),
            committing: Mutex::new(()),
            table_bytes_per_chunk,
        }
    }

    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    #[inline(always)]
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// How many blocks are usable. Relaxed: the lock orders commitment for a thread that had to wait for it,
    /// and the system's own page tables for the rest.
    pub fn committed(&self) -> u32 {
        self.committed.load(Relaxed)
    }

    /// Makes the chunk around block `number` usable, if those before it are; false if the budget or the
    /// system refuses.
    #[cold]
    pub fn commit(&self, number: u32, by: Charge) -> bool {
        let _guard = self.committing.lock();
        let committed = self.committed();
        if number < committed {
            return true;
        }
        if committed >= self.extent.blocks() {
            return false;
        }
        let tables = self.table_bytes_per_chunk;
        if !self.memory.charge_tables(tables, by) {
            return false;
        }
        if self.memory.commit(self.extent.block_start(Block(committed)), CHUNK_BYTES).is_err() {
            self.memory.uncharge_tables(tables);
            return false;
        }
        self.committed.store(committed + CHUNK_BLOCKS, Relaxed);
        true
    }
}
