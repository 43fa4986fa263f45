//! Where objects move when all that are live are known (MarkCompact): what still refers to an object learns its new place.
//!
//! Callers: the leader of a pause, between the moves and the end of the pause; workers share the entries.

use super::address_table::index_again;
use super::process::WeakProcessor;
use super::references::ReferenceKind;
use crate::address::ObjectReference;
use crate::binding::VMBinding;
use crate::pause::Pause;

impl<VM: VMBinding> Pause<'_, VM> {
    /// In a plan that moves objects when all that are live are known: native references and tables, and then the binding, learn the new
    /// places. `forward` is asked once for each reference.
    pub fn forward_weak(&mut self, forward: impl Fn(ObjectReference) -> ObjectReference + Sync) {
        let tables = self.weak;
        for table in tables.all_tables() {
            self.parallel("weak: forward", table.len(), |_, range| {
                range.for_each(|number| table.any(number).forward(&forward))
            });
        }
        let ephemerons = tables.of(ReferenceKind::Ephemeron);
        self.parallel("weak: forward", ephemerons.len(), |_, range| {
            for entry in range.map(|number| ephemerons.any(number)).filter(|entry| entry.target().is_some()) {
                entry.set_value(entry.value().map(&forward));
            }
        });
        for entries in tables.addresses.in_use() {
            let table = &entries.table;
            self.parallel("weak: forward", table.len(), |_, range| {
                range.for_each(|number| table.any(number).forward(&forward))
            });
            entries.index.write().clear();
            let index = entries.index.read();
            self.parallel("weak: forward", table.len(), |_, range| index_again(table, &index, range));
        }
        self.timed("weak: binding forwards", |pause| pause.vm.process_weak(&mut Moved(&forward)));
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
