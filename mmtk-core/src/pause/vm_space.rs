//! The VM space: objects outside the heap that refer into it, such as those of a boot image, static data, or
//! another allocator.
//!
//! The heap does not own them: it neither frees nor moves them, and `find_object` does not find them. As long
//! as an object is registered, its slots are roots. Every collection visits them, a minor one too, so stores
//! into them need no barrier (and [`Mutator::write_barrier`] is not for them). The trace passes over
//! references from the heap to them, as over all references to the outside.
//!
//! I1. An object is listed once; `places` says where.
//! I2. Entries are charged before they are made.
//! Callers: any thread; the leader holds the lock for a whole pause.
//! Source: the VM space of MMTk, whose objects are traced only when they are reached; here all of them count
//! as reached.
//!
//! [`Mutator::write_barrier`]: crate::Mutator::write_barrier

use crate::address::ObjectReference;
use crate::memory::{Charge, Memory};
use protocols::sync::{Mutex, MutexGuard};
use std::collections::HashMap;

/// What an entry takes: a word in the list, which may have grown by half too much, and 17 bytes in a table
/// that is at most 7/8 full and may have doubled just now.
const ENTRY_BYTES: usize = 16 + 40;
/// Entries that are charged at once.
const CHARGED_AT_ONCE: usize = 256;
/// Bytes that another entry may need.
pub(crate) const CHARGED_BYTES: usize = CHARGED_AT_ONCE * ENTRY_BYTES;

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
    pub fn add(&self, object: ObjectReference, memory: &Memory) -> bool {
        let mut listed = self.0.lock();
        if listed.places.contains_key(&object) {
            return true;
        }
        if listed.objects.len() == listed.charged {
            if !memory.charge_tables(CHARGED_BYTES, Charge::Mutator) {
                return false;
            }
            listed.charged += CHARGED_AT_ONCE;
        }
        let place = listed.objects.len();
        listed.objects.push(object);
        listed.places.insert(object, place);
        true
    }

    pub fn remove(&self, object: ObjectReference, memory: &Memory) -> bool {
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
            memory.uncharge_tables(CHARGED_BYTES);
        }
        true
    }
}
