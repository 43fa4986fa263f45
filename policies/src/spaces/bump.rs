//! A space that only grows: thread-local bump allocation in blocks, nothing is ever freed.

use mmtk_core::alloc::Allocators;
use mmtk_core::heap::{BLOCK_BYTES, BlockPool, Charge, Extent, Payment};
use mmtk_core::space::Space;
use mmtk_core::{Address, HeapError, ObjectReference, PlanContext};
use std::sync::Arc;

/// The space.
pub struct BumpSpace {
    pool: Arc<BlockPool>,
}

impl BumpSpace {
    /// An empty space in the next extent.
    pub fn new<VM>(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        Ok(BumpSpace { pool: BlockPool::new(context.memory, context.memory.extent(), 0)? })
    }

    /// The slow path: the rest of the range at hand, or a new block.
    pub fn allocate(&self, allocators: &mut Allocators, bytes: usize) -> Option<Address> {
        if let Some(address) = allocators.bump_or_zero(bytes) {
            return Some(address);
        }
        let acquired = self.pool.acquire(Payment::Bytes(BLOCK_BYTES, Charge::Mutator))?;
        let start = self.pool.extent().block_start(acquired.block);
        allocators.refill_bump(start, start.plus(BLOCK_BYTES), acquired.zeroed, bytes)
    }
}

impl Space for BumpSpace {
    fn name(&self) -> &'static str {
        "bump"
    }
    fn extent(&self) -> Extent {
        self.pool.extent()
    }
    fn moves(&self) -> bool {
        false
    }
    fn reserved_bytes(&self) -> usize {
        self.pool.owned() as usize * BLOCK_BYTES
    }
    fn check_object(&self, object: ObjectReference, bytes: usize) -> Result<(), String> {
        if self.extent().block_of(object.address()).0 >= self.pool.watermark() {
            return Err("nothing was allocated there".to_string());
        }
        super::common::within_block(object, bytes)
    }
    fn check_live(&self, _object: ObjectReference, _bytes: usize) -> Result<(), String> {
        Ok(())
    }
}
