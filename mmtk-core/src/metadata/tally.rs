//! What a marking finds live, as the thread counts it that finds it.

use super::block_bytes::{BlockBytes, BlockTotals};
use crate::address::Address;
use crate::memory::{EXTENTS, Extent};

/// Who counts what a marking finds live: a worker, a thread that marks beside mutators, or a mutator.
pub trait Count {
    /// An object of the space that has this extent.
    fn count(&mut self, extent: Extent, bytes: usize);
    /// An object at `address` of a space that counts by block.
    fn count_in_block(&mut self, totals: &BlockTotals, address: Address, bytes: usize);
}

/// What one thread has counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Bytes, by the number of the space's extent.
    pub live_bytes: [usize; EXTENTS],
    pub objects: usize,
    /// Bytes in all spaces.
    pub bytes: usize,
    /// Of a thread that marks much: its sums by block.
    pub blocks: Option<BlockBytes>,
}

impl Tally {
    /// For a thread that marks much.
    pub fn with_blocks() -> Tally {
        Tally { blocks: Some(BlockBytes::default()), ..Tally::default() }
    }

    /// Takes all that another thread has counted.
    pub fn absorb(&mut self, other: &mut Tally) {
        if let Some((extent, found)) = other.blocks.as_mut().and_then(BlockBytes::flush) {
            other.live_bytes[extent.number()] += found;
        }
        let Tally { live_bytes, objects, bytes, blocks: _ } = other;
        self.live_bytes.iter_mut().zip(live_bytes).for_each(|(all, found)| *all += std::mem::take(found));
        self.objects += std::mem::take(objects);
        self.bytes += std::mem::take(bytes);
    }
}

impl Count for Tally {
    #[inline(always)]
    fn count(&mut self, extent: Extent, bytes: usize) {
        self.live_bytes[extent.number()] += bytes;
        self.objects += 1;
        self.bytes += bytes;
    }

    #[inline(always)]
    fn count_in_block(&mut self, totals: &BlockTotals, address: Address, bytes: usize) {
        match &mut self.blocks {
            Some(blocks) => blocks.add(totals, address, bytes),
            None => {
                totals.add_now(address, bytes);
                self.live_bytes[totals.extent().number()] += bytes;
            }
        }
        self.objects += 1;
        self.bytes += bytes;
    }
}
