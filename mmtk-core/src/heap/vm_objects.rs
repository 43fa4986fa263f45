//! What a VM does with objects outside the heap that refer into it: see `pause/vm_space.rs`.

use super::Heap;
use crate::address::ObjectReference;
use crate::binding::VMBinding;
use crate::callback::Callback;
use crate::error::OutOfMemory;
use crate::pause::CHARGED_BYTES;

impl<VM: VMBinding> Heap<VM> {
    /// The slots of `object`, which lies outside this heap, are roots from now on. The binding's
    /// `object_size` and `scan_object` must know it. To add it a second time changes nothing. Any thread may
    /// call this; it waits while a collection runs, so a collection must not call it.
    ///
    /// # Errors
    /// There is no memory for the entry: some dozen bytes, counted against the limit. See
    /// [`Mutator::or_collect`](crate::Mutator::or_collect).
    ///
    /// # Panics
    /// When the object lies in this heap, and in a function called by a collection.
    ///
    /// # Safety
    /// Until [`Heap::remove_vm_object`] is called, `object` stays where it is and its slots hold references
    /// or none; mutators alone write to them, and collections.
    pub unsafe fn add_vm_object(&self, object: ObjectReference) -> Result<(), OutOfMemory> {
        let inner = self.inner();
        inner.refuse_in("Heap::add_vm_object", &[Callback::Pause]);
        assert!(!inner.holds(object), "{object} lies in the heap: it is no object of the VM space");
        let add = || inner.store().vm_space().add(object, inner.memory()).then_some(()).ok_or(CHARGED_BYTES);
        inner.or_sweep(None, add)
    }

    /// The slots of `object` are no roots any more, and its memory may be freed. Returns whether it was
    /// registered. Threads: as [`Heap::add_vm_object`].
    pub fn remove_vm_object(&self, object: ObjectReference) -> bool {
        let inner = self.inner();
        inner.refuse_in("Heap::remove_vm_object", &[Callback::Pause]);
        inner.store().vm_space().remove(object, inner.memory())
    }
}
