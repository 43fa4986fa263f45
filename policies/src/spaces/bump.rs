//! A space that only grows: thread-local bump allocation in blocks, nothing is ever freed.

use mmtk_core::alloc::Allocators;
use mmtk_core::memory::{BLOCK_BYTES, Block, BlockPool, Charge, Extent, Payment};
use mmtk_core::metadata::{Ages, ObjectStates};
use mmtk_core::space::Space;
use mmtk_core::{Address, HeapError, ObjectReference, PlanContext, VMBinding};
use std::sync::Arc;

/// The space.
pub struct BumpSpace<VM> {
    vm: Arc<VM>,
    pool: Arc<BlockPool>,
    states: ObjectStates<VM>,
}

impl<VM: VMBinding> BumpSpace<VM> {
    /// An empty space in the next extent.
    pub fn new(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        let tables = ObjectStates::<VM>::start_bytes_per_chunk();
        Ok(BumpSpace {
            vm: context.vm.clone(),
            pool: BlockPool::new(context.memory, context.memory.extent(), tables)?,
            states: context.states.clone(),
        })
    }

    /// The slow path: the rest of the range at hand, what another thread left, or a new block.
    pub fn allocate(&self, allocators: &mut Allocators, bytes: usize) -> Option<Address> {
        if let Some(address) = allocators.bump_or_zero(bytes).or_else(|| allocators.bump_in_leftovers(bytes)) {
            return Some(address);
        }
        let acquired = self.pool.acquire(Payment::Bytes(BLOCK_BYTES, Charge::Mutator))?;
        allocators.refill_bump(self.pool.memory_of(acquired), bytes)
    }
}

impl<VM: VMBinding> Space for BumpSpace<VM> {
    fn name(&self) -> &'static str {
        "bump"
    }
    fn extent(&self) -> Extent {
        self.pool.extent()
    }
    fn moves(&self) -> bool {
        false
    }
    fn ages(&self) -> Ages {
        Ages::One
    }
    fn reserved_bytes(&self) -> usize {
        self.pool.owned() as usize * BLOCK_BYTES
    }
    fn check_object(&self, object: ObjectReference, bytes: usize) -> Result<(), String> {
        if self.extent().block_of(object.address()).0 >= self.pool.watermark() {
            return Err("nothing was allocated there".to_string());
        }
        super::lookup::within_block(object, bytes)
    }
    fn find_object(&self, address: Address) -> Option<ObjectReference> {
        super::lookup::last_object(&*self.vm, &self.states, address, address.align_down(BLOCK_BYTES))
    }
    fn keeps_starts(&self) -> bool {
        true
    }
    fn for_each_object(&self, visit: &mut dyn FnMut(ObjectReference)) {
        let end = self.extent().block_start(Block(self.pool.watermark()));
        super::lookup::objects_in::<VM>(&self.states, self.extent().start(), end, visit);
    }
    fn check_live(&self, _object: ObjectReference, _bytes: usize) -> Result<(), String> {
        Ok(())
    }
}
