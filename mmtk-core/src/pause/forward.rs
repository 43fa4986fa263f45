//! Where objects move when all that are live are known (MarkCompact): what still refers to an object learns
//! its new place.
//!
//! Callers: the leader of a pause, between the moves and the end of the pause; workers share the entries.

use super::Pause;
use crate::address::ObjectReference;
use crate::binding::{VMBinding, WeakProcessor};
use crate::weak::{Entries, ReferenceKind, Table, key};

/// What the step is called in the report of the pause.
const FORWARD: &str = "weak: forward";

impl<VM: VMBinding> Pause<'_, VM> {
    /// In a plan that moves objects when all that are live are known: native references and tables, and then
    /// the binding, learn the new places. `forward` is asked once for each reference.
    pub fn forward_weak(&mut self, forward: impl Fn(ObjectReference) -> ObjectReference + Sync) {
        let tables = self.weak;
        for table in tables.all_tables() {
            self.forward_all(table, &forward);
        }
        let ephemerons = tables.of(ReferenceKind::Ephemeron).all();
        self.parallel(FORWARD, ephemerons.entries, |_, range| {
            for entry in range.filter_map(|n| ephemerons.look(n)).filter(|entry| entry.target().is_some()) {
                entry.set_value(entry.value().map(&forward));
            }
        });
        for entries in tables.addresses.in_use() {
            self.forward_all(&entries.table, &forward);
            entries.index.write().clear();
            self.index_again(&entries, FORWARD);
        }
        self.timed("weak: binding forwards", |pause| pause.vm.process_weak(&mut Moved(&forward)));
    }

    fn forward_all(&mut self, table: &Table, forward: impl Fn(ObjectReference) -> ObjectReference + Sync) {
        let scan = table.all();
        let forward = |n| scan.look(n).into_iter().for_each(|entry| entry.forward(&forward));
        self.parallel(FORWARD, scan.entries, |_, range| range.for_each(forward));
    }

    /// Puts all entries into an index that is empty, under the addresses that their keys have now.
    pub(super) fn index_again(&mut self, entries: &Entries, phase: &'static str) {
        let (scan, index) = (entries.table.all(), entries.index.read());
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
