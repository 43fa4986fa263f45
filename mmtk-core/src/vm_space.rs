//! The VM space: objects outside the heap that refer into it, such as those of a boot image, static data, or
//! another allocator.
//!
//! The heap does not own them: it neither frees nor moves them, and they are no objects for `find_object`. As
//! long as one is registered, its slots are roots: every collection visits them, a minor one too, so stores
//! into them need no barrier (and [`Mutator::write_barrier`] is not for them). References from the heap to
//! them are passed over, as to everything outside.
//!
//! I1. An object is listed once; `places` says where.
//! I2. Entries are charged before they are made.
//! Callers: any thread; the leader holds the lock for a whole pause.
//! Source: the VM space of MMTk, whose objects are traced only when they are reached; here all of them count
//! as reached.
//!
//! [`Mutator::write_barrier`]: crate::Mutator::write_barrier

use crate::address::ObjectReference;
use crate::binding::VMBinding;
use crate::callback::Callback;
use crate::error::OutOfMemory;
use crate::heap::Heap;
use crate::memory::{Charge, Memory};
use protocols::sync::{Mutex, MutexGuard};
use std::collections::HashMap;

/// What an entry takes: a word in the list, which may have grown by half too much, and 17 bytes in a table
/// that is at most 7/8 full and may have doubled just now.
const ENTRY_BYTES: usize = 16 + 40;
/// Entries that are charged at once.
const CHARGED_AT_ONCE: usize = 256;

#[derive(Default)]
struct Listed {
    objects: Vec<ObjectReference>,
    places: HashMap<ObjectReference, usize>,
    /// Entries that are charged.
    charged: usize,
}

/// The objects.
#[derive(Default)]
pub(crate) struct VmSpace(Mutex<Listed>);

/// The objects, which nobody adds or removes meanwhile.
pub(crate) struct Objects<'a>(MutexGuard<'a, Listed>);

impl std::ops::Deref for Objects<'_> {
    type Target = [ObjectReference];
    fn deref(&self) -> &[ObjectReference] {
        &self.0.objects
    }
}

impl VmSpace {
    /// For the leader of a pause.
    pub fn objects(&self) -> Objects<'_> {
        Objects(self.0.lock())
    }

    /// False if there is no room for another entry.
    fn add(&self, object: ObjectReference, memory: &Memory) -> bool {
        let mut listed = self.0.lock();
        if listed.places.contains_key(&object) {
            return true;
        }
        if listed.objects.len() == listed.charged {
            if !memory.charge_tables(CHARGED_AT_ONCE * ENTRY_BYTES, Charge::Mutator) {
                return false;
            }
            listed.charged += CHARGED_AT_ONCE;
        }
        let place = listed.objects.len();
        listed.objects.push(object);
        listed.places.insert(object, place);
        true
    }

    fn remove(&self, object: ObjectReference, memory: &Memory) -> bool {
        let mut listed = self.0.lock();
        let Some(place) = listed.places.remove(&object) else { return false };
        listed.objects.swap_remove(place);
        if let Some(moved) = listed.objects.get(place).copied() {
            listed.places.insert(moved, place);
        }
        if listed.charged - listed.objects.len() >= 2 * CHARGED_AT_ONCE {
            listed.charged -= CHARGED_AT_ONCE;
            let charged = listed.charged;
            if listed.objects.capacity() > 4 * charged {
                listed.objects.shrink_to(charged);
                listed.places.shrink_to(charged);
            }
            memory.uncharge_tables(CHARGED_AT_ONCE * ENTRY_BYTES);
        }
        true
    }
}

impl<VM: VMBinding> Heap<VM> {
    /// The slots of `object`, which lies outside this heap, are roots from now on. The binding's
    /// `object_size` and `scan_object` must know it. A second time changes nothing. From any thread; waits
    /// while a collection runs, so not from inside one.
    ///
    /// # Errors
    /// There is no memory for the entry: some dozen bytes, counted against the limit. See
    /// [`Mutator::or_collect`](crate::Mutator::or_collect).
    ///
    /// # Panics
    /// When the object lies in this heap, and in a function called by a collection.
    pub fn add_vm_object(&self, object: ObjectReference) -> Result<(), OutOfMemory> {
        let inner = self.inner();
        inner.refuse_in("Heap::add_vm_object", &[Callback::Pause]);
        assert!(!inner.holds(object), "{object} lies in the heap: it is no object of the VM space");
        match inner.vm_space.add(object, &inner.memory) {
            true => Ok(()),
            false => Err(inner.no_memory_for_tables(CHARGED_AT_ONCE * ENTRY_BYTES)),
        }
    }

    /// The slots of `object` are no roots any more, and it may go. Whether it was registered. From any
    /// thread, as [`Heap::add_vm_object`].
    pub fn remove_vm_object(&self, object: ObjectReference) -> bool {
        let inner = self.inner();
        inner.refuse_in("Heap::remove_vm_object", &[Callback::Pause]);
        inner.vm_space.remove(object, &inner.memory)
    }
}
