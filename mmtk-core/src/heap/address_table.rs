//! What a mutator does with a table keyed by objects: see `weak/address_table.rs`.

use super::Mutator;
use crate::address::ObjectReference;
use crate::binding::VMBinding;
use crate::error::OutOfMemory;
use crate::weak::Entries;
use std::sync::Arc;

/// A table from objects to 64 bits each, for the VM's own use: it keeps no key alive, and forgets keys that
/// have died. Clones share it.
///
/// Its methods need a running mutator of the heap that made the table; none of them is a safepoint. Several
/// mutators may use it at the same time.
#[derive(Clone)]
pub struct AddressTable(Arc<Entries>);

impl AddressTable {
    /// An empty table in the heap of this mutator.
    pub fn new<VM: VMBinding>(mutator: &Mutator<VM>) -> AddressTable {
        AddressTable(mutator.weak_tables().addresses.create())
    }

    /// Collections leave the table alone only while a mutator of the heap runs.
    fn entries<VM: VMBinding>(&self, mutator: &Mutator<VM>) -> &Entries {
        mutator.check_running();
        assert!(std::ptr::eq(mutator.memory(), &*self.0.memory), "the table belongs to another heap than the mutator");
        &self.0
    }

    /// The bits of an object, if it has any.
    pub fn get<VM: VMBinding>(&self, mutator: &Mutator<VM>, object: ObjectReference) -> Option<u64> {
        self.entries(mutator).get(object)
    }

    /// Gives the object these bits; returns those it had.
    ///
    /// # Errors
    /// Out of memory, if the limit leaves no room for the table to grow; nothing has changed then. See
    /// [`Mutator::or_collect`].
    pub fn insert<VM: VMBinding>(
        &self,
        mutator: &Mutator<VM>,
        object: ObjectReference,
        bits: u64,
    ) -> Result<Option<u64>, OutOfMemory> {
        let entries = self.entries(mutator);
        mutator.or_sweep(|| entries.update(object, |_| bits)).map(|(before, _)| before)
    }

    /// Forgets an object; returns the bits it had.
    pub fn remove<VM: VMBinding>(&self, mutator: &Mutator<VM>, object: ObjectReference) -> Option<u64> {
        self.entries(mutator).remove(object)
    }

    /// How many objects it knows. Dead ones count until a collection has looked at them.
    pub fn len(&self) -> usize {
        self.0.table.in_use_now()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
