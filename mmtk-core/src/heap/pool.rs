//! Pools: objects of one size that the VM frees one by one, such as descriptors, handles, inline caches, or
//! frames on the heap.
//!
//! An object of a pool is an object like any other, as those of regions are (`region`). It never moves, and
//! is scanned when the trace reaches it. An object that a collection did not reach may be freed, but not
//! used. Freeing an object that is still referred to leaves a dangling reference. The verifier reports it in
//! the next pause; to make that sure, a freed cell is not used again before that pause.
//!
//! How its cells are kept is told in `space/pool.rs`.

use crate::address::ObjectReference;
use crate::alloc::NewObject;
use crate::binding::VMBinding;
use crate::error::{HeapError, OutOfMemory};
use crate::heap::{Heap, Mutator};
use crate::metadata::MAX_CELL_BYTES;
use crate::space::{Pools, SharedCells};

/// A pool of objects of one size. Any mutator of its heap may allocate in it and free its objects.
///
/// Dropping it frees all that is in it, in the next pause: a thread that is no mutator may drop it. See
/// [`Pool::release`].
pub struct Pool<VM: VMBinding> {
    heap: Heap<VM>,
    bytes: usize,
    /// None once it is released.
    cells: Option<SharedCells>,
}

impl<VM: VMBinding> Heap<VM> {
    /// Opens a pool of objects of `bytes` bytes. It has no memory until something is allocated in it, and
    /// then whole blocks of 32 KiB.
    ///
    /// # Errors
    /// `bytes` is not a whole number of granules, or more than [`MAX_CELL_BYTES`]; or the plan has no pools
    /// (all plans of `policies` have them).
    ///
    /// # Safety
    /// An object of the pool ends when it is freed, or when the pool is released or dropped. From then on no
    /// root, object, native reference, finalizer, pin or table that a collection or the VM may follow refers
    /// to it. And an object that a collection did not reach is not used after that collection.
    pub unsafe fn pool(&self, bytes: usize) -> Result<Pool<VM>, HeapError> {
        let granule = 1usize << VM::LOG_GRANULE;
        if bytes == 0 || !bytes.is_multiple_of(granule) || bytes > MAX_CELL_BYTES {
            return Err(HeapError::PoolSize { bytes, granule, max: MAX_CELL_BYTES });
        }
        let space = self.inner().plan().spaces().pools;
        let space = space.ok_or_else(|| HeapError::NoSpace { plan: self.plan_name(), space: "pools" })?;
        Ok(Pool { heap: self.clone(), bytes, cells: Some(space.open(crate::metadata::class_of(bytes))) })
    }
}

impl<VM: VMBinding> Pool<VM> {
    fn space(&self) -> &dyn Pools {
        self.heap.inner().plan().spaces().pools.expect("asked in `Heap::pool`")
    }

    fn cells(&self) -> &SharedCells {
        self.cells.as_ref().expect("a pool is released by its owner, or when it is dropped")
    }

    /// Zeroed memory for an object of the pool's size. A safepoint. Out of memory is as in
    /// [`Mutator::alloc`].
    ///
    /// # Panics
    /// When the mutator belongs to another heap, or is in a native region.
    pub fn alloc(&self, mutator: &Mutator<VM>) -> NewObject {
        mutator.or_report(self.try_alloc(mutator))
    }

    /// As [`Pool::alloc`], but returns the error.
    pub fn try_alloc(&self, mutator: &Mutator<VM>) -> Result<NewObject, OutOfMemory> {
        mutator.check_owner(self.heap.inner());
        mutator.check_running();
        let address = mutator.allocate_with(self.bytes, |pace, allocated| {
            self.space().allocate(&mut self.cells().lock(), pace, allocated)
        })?;
        mutator.part().note_request(address, self.bytes);
        Ok(NewObject::new(address))
    }

    /// Frees an object of this pool. Its cell can be used again at once; under the verifier and in
    /// generational plans, after the next pause; in plans that mark while mutators run, when the next
    /// collection has ended. The caller of [`Heap::pool`] has promised what this needs.
    ///
    /// # Panics
    /// When it is no object of this pool, or was freed before and its cell not used again; and as
    /// [`Pool::alloc`].
    pub fn free(&self, mutator: &Mutator<VM>, object: ObjectReference) {
        mutator.check_owner(self.heap.inner());
        mutator.check_running();
        let freed = self.space().free(&mut self.cells().lock(), object);
        if let Err(why) = freed {
            panic!("{object} cannot be freed: {why}");
        }
    }

    /// Bytes of an object.
    pub fn object_bytes(&self) -> usize {
        self.bytes
    }

    /// How many objects it has.
    pub fn len(&self) -> usize {
        let cells = self.cells().lock();
        cells.blocks.iter().map(|(_, taken)| *taken as usize).sum::<usize>() - cells.waiting.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its number: the verifier's messages name it.
    pub fn number(&self) -> u32 {
        self.cells().lock().number
    }

    /// Frees all that is in it, as [`Pool::free`] does with one object.
    ///
    /// # Panics
    /// As [`Pool::alloc`].
    pub fn release(mut self, mutator: &Mutator<VM>) {
        mutator.check_owner(self.heap.inner());
        mutator.check_running();
        if let Some(cells) = self.cells.take() {
            self.space().release(&cells, true);
        }
    }
}

impl<VM: VMBinding> Drop for Pool<VM> {
    fn drop(&mut self) {
        if let Some(cells) = self.cells.take() {
            // Where there are no pauses, none can be in progress.
            self.space().release(&cells, !self.heap.inner().plan().can_collect());
        }
    }
}

impl<VM: VMBinding> std::fmt::Debug for Pool<VM> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("number", &self.number()).field("bytes", &self.bytes).finish()
    }
}
