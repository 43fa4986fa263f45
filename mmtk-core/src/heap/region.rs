//! Regions: objects that are freed all together, when the VM says so: after a request of a server, a pass of
//! a compiler, a frame of a game.
//!
//! An object of a region is an object like any other: roots and objects may refer to it, and it may refer to
//! others. It never moves, and is scanned when the trace reaches it. An object that a collection did not
//! reach must not be used any more: its memory is still there, but what it refers to may be gone. The
//! collector frees nothing here. Releasing a region frees it, in a time that grows with its blocks and not
//! with its objects.
//!
//! A reference to an object of a released region dangles. The verifier (`verify.trace`) reports it in the
//! next pause, wherever it is; to make that sure, memory of a released region is not used again before that
//! pause. Without the verifier, a collection that meets such a reference panics if the memory was not used
//! again; otherwise it notices nothing.
//!
//! Source: region-based memory management (Tofte and Talpin, Information and Computation 1997), without the
//! inference: when a region ends is the VM's affair.

use crate::alloc::NewObject;
use crate::binding::VMBinding;
use crate::error::{HeapError, OutOfMemory};
use crate::heap::{Heap, Mutator};
use crate::space::{RegionMemory, Regions};
use protocols::sync::Mutex;

/// A region. Any mutator of its heap may allocate in it.
///
/// Dropping it releases it too, but its memory is then free only in the next pause, since a thread that is no
/// mutator may drop it. See [`Region::release`].
pub struct Region<VM: VMBinding> {
    heap: Heap<VM>,
    /// None once it is released.
    memory: Mutex<Option<RegionMemory>>,
}

impl<VM: VMBinding> Heap<VM> {
    /// Opens a region. It has no memory until something is allocated in it, and then whole blocks of 32 KiB.
    ///
    /// # Errors
    /// The plan has no regions (all plans of `policies` have them).
    ///
    /// # Safety
    /// When the region is released or dropped, its objects end. From then on no root, object, native
    /// reference, finalizer, pin or table that a collection or the VM may follow refers to one of them. And
    /// an object of it that a collection did not reach is not used after that collection.
    pub unsafe fn region(&self) -> Result<Region<VM>, HeapError> {
        let space = self.inner().plan().spaces().regions;
        let space = space.ok_or_else(|| HeapError::NoSpace { plan: self.plan_name(), space: "regions" })?;
        Ok(Region { heap: self.clone(), memory: Mutex::new(Some(space.open())) })
    }
}

impl<VM: VMBinding> Region<VM> {
    fn space(&self) -> &dyn Regions {
        self.heap.inner().plan().spaces().regions.expect("asked in `Heap::region`")
    }

    /// Zeroed memory for an object of `bytes` bytes: whole granules, at least one. A safepoint.
    ///
    /// Out of memory is as in [`Mutator::alloc`].
    ///
    /// # Panics
    /// As [`Mutator::alloc`], and when the mutator belongs to another heap.
    pub fn alloc(&self, mutator: &Mutator<VM>, bytes: usize) -> NewObject {
        mutator.or_report(self.try_alloc(mutator, bytes))
    }

    /// As [`Region::alloc`], but returns the error.
    pub fn try_alloc(&self, mutator: &Mutator<VM>, bytes: usize) -> Result<NewObject, OutOfMemory> {
        mutator.check_owner(self.heap.inner());
        mutator.part().check_request(bytes);
        // A run at hand must not put off a pause.
        let at_hand = match mutator.part().thread().should_stop() {
            true => None,
            false => self.with_memory(|memory| memory.alloc(bytes)),
        };
        let address = match at_hand {
            Some(address) => address,
            None => mutator.allocate_with(bytes, |pace, allocated| {
                self.with_memory(|memory| self.space().allocate(memory, bytes, pace, allocated))
            })?,
        };
        mutator.part().note_request(address, bytes);
        Ok(NewObject::new(address))
    }

    fn with_memory<R>(&self, f: impl FnOnce(&mut RegionMemory) -> R) -> R {
        f(self.memory.lock().as_mut().expect("a region is released by its owner, or when it is dropped"))
    }

    /// Its number: the verifier's messages name it.
    pub fn number(&self) -> u32 {
        self.with_memory(|memory| memory.number)
    }

    /// Ends the region and frees its memory: at once; under the verifier and in generational plans, in the
    /// next pause; in plans that mark while mutators run, when the next collection ends. The caller of
    /// [`Heap::region`] has promised what this needs.
    ///
    /// # Panics
    /// When the mutator belongs to another heap, or is in a native region.
    pub fn release(self, mutator: &Mutator<VM>) {
        mutator.check_owner(self.heap.inner());
        mutator.check_running();
        if let Some(memory) = self.memory.lock().take() {
            self.space().release(memory, true);
        }
    }
}

impl<VM: VMBinding> Drop for Region<VM> {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.get_mut().take() {
            // Where there are no pauses, none can be in progress.
            self.space().release(memory, !self.heap.inner().plan().can_collect());
        }
    }
}

impl<VM: VMBinding> std::fmt::Debug for Region<VM> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Region").field(&self.number()).finish()
    }
}
