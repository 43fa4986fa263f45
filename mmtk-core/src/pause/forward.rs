//! For plans that move objects once all live ones are known (MarkCompact): gives the new addresses to
//! everything that still refers to an object: roots, entries of tables, the binding.
//!
//! Callers: the leader of a pause, between the moves and the end of the pause; workers share the entries.

use super::Pause;
use super::roots::{RootVisitor, Roots};
use crate::address::ObjectReference;
use crate::binding::{SlotVisitor, VMBinding, WeakProcessor};
use crate::events::CollectionKind;
use crate::trace::UpdateSlots;
use crate::weak::{Entries, QueuedRoot, ReferenceKind, Table, key};

/// What the step is called in the report of the pause.
const FORWARD: &str = "weak: forward";

impl<VM: VMBinding> Pause<'_, VM> {
    /// Makes the roots refer to the new places of objects.
    pub fn update_roots(&mut self, forward: impl Fn(ObjectReference) -> ObjectReference + Sync) {
        let vm = self.vm;
        self.timed("roots", |pause| {
            let roots = Roots::of(pause, CollectionKind::Full);
            pause.gang.run(roots.pay_to_wake(pause), &|worker| {
                roots.visit(worker.index == 0, &mut UpdateRoots { vm, forward: &forward });
            });
        });
    }

    /// In a plan that moves objects when all that are live are known: native references and tables, and then
    /// the binding, learn the new places. `forward` is asked once for each reference.
    pub fn forward_weak(&mut self, forward: impl Fn(ObjectReference) -> ObjectReference + Sync) {
        let tables = self.weak;
        for table in tables.all_tables() {
            self.forward_all(table, &forward);
        }
        let ephemerons = tables.of(ReferenceKind::Ephemeron).all(self.arena);
        self.parallel(FORWARD, ephemerons.entries, |_, range| {
            for entry in range.filter_map(|n| ephemerons.look(n)).filter(|entry| entry.target().is_some()) {
                entry.set_value(entry.value().map(&forward));
            }
        });
        for entries in tables.addresses.in_use(self.arena) {
            self.forward_all(&entries.table, &forward);
            entries.index.write().clear();
            self.index_again(&entries, FORWARD);
        }
        self.timed("weak: binding forwards", |pause| pause.vm.process_weak(&mut Moved(&forward)));
    }

    fn forward_all(&mut self, table: &Table, forward: impl Fn(ObjectReference) -> ObjectReference + Sync) {
        let scan = table.all(self.arena);
        let forward = |n| scan.look(n).into_iter().for_each(|entry| entry.forward(&forward));
        self.parallel(FORWARD, scan.entries, |_, range| range.for_each(forward));
    }

    /// Puts all entries into an index that is empty, under the addresses that their keys have now.
    pub(super) fn index_again(&mut self, entries: &Entries, phase: &'static str) {
        let (scan, index) = (entries.table.all(self.arena), entries.index.read());
        self.parallel(phase, scan.entries, |_, range| {
            for (number, object) in range.filter_map(|n| scan.target(n)) {
                index.insert(key(object), number);
            }
        });
    }
}

/// What still refers to an object refers to a live one, which has moved.
struct Moved<F>(F);

impl<F: Fn(ObjectReference) -> ObjectReference> WeakProcessor for Moved<F> {
    fn live(&self, object: ObjectReference) -> Option<ObjectReference> {
        Some((self.0)(object))
    }
    fn keep_alive(&mut self, object: ObjectReference) -> ObjectReference {
        (self.0)(object)
    }
    fn release(&mut self, _object: ObjectReference) {}
}

/// Updates the slots of roots, in plans that compact: these hold nothing in place.
struct UpdateRoots<'a, VM, F> {
    vm: &'a VM,
    forward: &'a F,
}

impl<VM: VMBinding, F: Fn(ObjectReference) -> ObjectReference> RootVisitor<VM> for UpdateRoots<'_, VM, F> {
    fn slots(&mut self) -> impl SlotVisitor<VM::Slot> {
        UpdateSlots(self.forward)
    }
    fn object_outside(&mut self, object: ObjectReference) {
        self.vm.scan_object(object, &mut UpdateSlots(self.forward));
    }
    fn ambiguous(&mut self, object: ObjectReference) {
        unreachable!("{object} must stay where it is, and this plan holds nothing in place");
    }
    fn queued(&mut self, _root: QueuedRoot<'_>) {
        // `Pause::forward_weak` updates all entries.
    }
}
