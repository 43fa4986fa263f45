//! All native references of one heap.

use super::address_table::{AddressTables, Entries};
use super::kinds::ReferenceKind;
use super::table::{Entry, Scan, Table};
use crate::address::ObjectReference;
use crate::memory::{Arena, List, Memory};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The tables.
pub(crate) struct WeakTables {
    /// By [`ReferenceKind`].
    pub(crate) references: [Table; 4],
    pub(crate) finalizers: Table,
    pub(crate) addresses: AddressTables,
    /// Full collections so far, the age of soft references is counted in. Written by leaders.
    pub(crate) fulls: AtomicU32,
    memory: Arc<Memory>,
}

/// A reference that keeps its target alive: something is queued, and the VM will ask for it.
pub(crate) struct QueuedRoot<'a> {
    entry: &'a Entry,
    /// The object itself is queued; otherwise it is the owner of what is queued.
    target: bool,
}

impl QueuedRoot<'_> {
    /// The object that is kept.
    pub fn load(&self) -> Option<ObjectReference> {
        if self.target { self.entry.target() } else { self.entry.owner() }
    }
    /// It has moved.
    pub fn store(&self, object: ObjectReference) {
        if self.target { self.entry.set_target(Some(object)) } else { self.entry.set_owner(Some(object)) }
    }
}

/// The entries of the tables in which something is queued, numbered through.
pub(crate) struct QueuedRoots<'a>(List<'a, (Scan<'a>, bool)>);

impl<'a> QueuedRoots<'a> {
    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|(scan, _)| scan.entries).sum()
    }

    /// What is queued under this number, if anything is.
    pub fn get(&self, mut number: usize) -> Option<QueuedRoot<'a>> {
        for (scan, target) in &self.0 {
            if number < scan.entries {
                let entry = scan.look(number).filter(|entry| entry.is_queued())?;
                return Some(QueuedRoot { entry, target: *target });
            }
            number -= scan.entries;
        }
        None
    }
}

impl WeakTables {
    pub fn new(generational: bool, memory: &Arc<Memory>) -> WeakTables {
        WeakTables {
            references: std::array::from_fn(|_| Table::new(generational)),
            finalizers: Table::new(generational),
            addresses: AddressTables::new(generational, memory),
            fulls: AtomicU32::new(0),
            memory: memory.clone(),
        }
    }

    pub(crate) fn of(&self, kind: ReferenceKind) -> &Table {
        &self.references[kind as usize]
    }

    /// How often objects are pinned.
    pub fn pins(&self) -> &Entries {
        &self.addresses.pins
    }

    /// A full collection begins.
    pub fn begin_full(&self) {
        self.fulls.fetch_add(1, Relaxed);
    }

    /// Nothing is young any more. At the end of a collection.
    pub fn forget_young(&self) {
        self.all().for_each(|(table, _)| table.forget_young());
    }

    /// Memory in which nothing is left goes back. At the end of a full collection, after
    /// [`WeakTables::forget_young`].
    pub fn give_back(&self) {
        self.all_tables().for_each(|table| table.give_back_empty(&self.memory));
    }

    /// References and finalizers.
    pub(crate) fn all_tables(&self) -> impl Iterator<Item = &Table> {
        self.all().map(|(table, _)| table)
    }

    fn all(&self) -> impl Iterator<Item = (&Table, bool)> {
        self.references.iter().map(|table| (table, false)).chain([(&self.finalizers, true)])
    }

    /// What is queued.
    pub fn roots<'a>(&'a self, arena: &'a Arena) -> QueuedRoots<'a> {
        let queued = self.all().filter(|(table, _)| table.queued() > 0);
        QueuedRoots(arena.collect(queued.map(|(table, target)| (table.all(arena), target))))
    }

    /// For the verifier: what must be live if `is_live` says so of the objects it depends on, and why.
    pub fn kept_by(
        &self,
        is_live: impl Fn(ObjectReference) -> bool,
        mut keeps: impl FnMut(ObjectReference, &'static str),
    ) {
        for entry in self.of(ReferenceKind::Soft).all(self.memory.arena()).iter().filter(|entry| !entry.is_queued()) {
            if entry.owner().is_none_or(&is_live) {
                entry.target().into_iter().for_each(|target| keeps(target, "a soft reference"));
            }
        }
        for entry in
            self.of(ReferenceKind::Ephemeron).all(self.memory.arena()).iter().filter(|entry| !entry.is_queued())
        {
            if entry.target().is_some_and(&is_live) && entry.owner().is_none_or(&is_live) {
                entry.value().into_iter().for_each(|value| keeps(value, "an ephemeron"));
            }
        }
    }

    /// For the verifier, after a collection: what entries still refer to, and the kind of entry.
    pub fn for_each_target(&self, mut f: impl FnMut(ObjectReference, &'static str)) {
        let kinds = ["a soft reference", "a weak reference", "a phantom reference", "an ephemeron", "a finalizer"];
        for ((table, _), kind) in self.all().zip(kinds) {
            for entry in table.all(self.memory.arena()).iter() {
                entry.target().into_iter().chain(entry.owner()).for_each(|object| f(object, kind));
            }
        }
    }
}
