//! The part of a pause in which native references are processed, step by step, in the order that the header
//! of the module `weak` gives. The steps are in `process` and `finalize`.
//!
//! Each step is a section that all workers run until it is quiescent, over 64 entries at a time; an empty
//! table costs nothing. Objects that a step keeps alive are traced by `Watching`. It is the plan's tracer,
//! and looks up each object that it reaches for the first time in an index, which has the waiting ephemerons
//! since the first step. The value of an ephemeron is followed as soon as the ephemeron waits for nothing
//! more.

use super::process::Process;
use super::{Pause, PausePhase};
use crate::binding::VMBinding;
use crate::events::CollectionKind;
use crate::trace::Policy;
use crate::weak::ReferenceKind;

/// Entries of a worker's list that is kept from one pause to the next.
const KEPT_HELD: usize = 4096;

impl<VM: VMBinding> Pause<'_, VM> {
    /// After the trace: weak references of every kind and finalizers, the binding's and the heap's. Objects
    /// that they keep alive are traced.
    pub(super) fn process_weak<T: Policy<VM>>(&mut self, tracer: T) {
        self.phase.enter(PausePhase::Weak);
        let tables = self.weak;
        let mut process = Process::new(self, tracer, tables);
        process.phase = "weak: find ephemerons";
        process.find_ephemerons();
        process.phase = "weak: keep values";
        process.keep_soft_and_values();
        process.phase = "weak: binding keeps";
        process.binding(VM::trace_weak);
        process.phase = "weak: clear";
        process.clear(ReferenceKind::Soft);
        process.clear(ReferenceKind::Weak);
        process.phase = "weak: binding clears";
        process.binding(|vm, weak| {
            vm.process_weak(weak);
            false
        });
        process.phase = "weak: finalizers";
        if process.finalize() {
            process.phase = "weak: binding keeps more";
            process.binding(VM::trace_weak);
        }
        process.phase = "weak: settle ephemerons";
        process.settle_ephemerons();
        process.phase = "weak: clear phantoms";
        process.clear(ReferenceKind::Phantom);
        process.free_orphans_and_notify();
        process.phase = "weak: tables by object";
        process.address_tables();
        let (released, sift, looked_at) = (process.released.into_inner(), process.sift.take(), process.looked_at);
        if let Some(marking) = &mut self.marking {
            // It goes when mutators run again.
            (marking.sift, marking.entries) = (sift, looked_at);
        }
        if self.kind == CollectionKind::Minor {
            self.released = released;
        }
        tables.forget_young();
        if self.kind == CollectionKind::Full {
            tables.give_back();
        }
        self.for_each_worker(|worker| worker.held.shrink_to(KEPT_HELD));
        self.count_live();
    }
}
