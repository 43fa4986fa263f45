//! ConcurrentImmix: Immix that marks while mutators run.
//!
//! A short pause takes a snapshot and copies the roots; a thread of the heap's own, and mutators that
//! allocate fast, mark what the snapshot reached; a short pause ends that; the sweep is Immix's, beside
//! mutators. What is allocated while it is marked lives until the next collection. When memory runs out
//! before, or the VM asks for a collection, the rest is marked in a pause; and from a heap in which no
//! marking is in progress a whole collection is made, with evacuation, which is that of Immix.
//!
//! Source: Yuasa, "Real-time garbage collection on general-purpose machines" (J. Systems and Software 1990),
//! on Immix: Blackburn and McKinley (PLDI 2008).

use super::{Immix, immix};
use crate::spaces::ImmixSpace;
use mmtk_core::plan::*;

/// What users read about it.
pub const INFO: PlanInfo = PlanInfo {
    name: "ConcurrentImmix",
    what: "Immix that marks while mutators run, between two short pauses",
    needs: Needs { snapshot: true, ..immix::INFO.needs },
};

/// The plan with empty spaces.
pub fn new<VM: VMBinding>(context: &PlanContext<'_, VM>) -> Result<Immix<VM>, HeapError> {
    Immix::of(&INFO, ImmixSpace::new(context, INFO.ages())?, context)
}

impl<VM: VMBinding> Beside<VM> for Immix<VM> {
    fn begin(&self, pause: &mut Pause<'_, VM>) {
        pause.prepare(|_| {
            self.immix.begin_snapshot();
            self.common.begin_snapshot();
        });
        pause.copy_roots();
    }

    fn mark(&self, step: &mut Step<'_, VM>) {
        step.mark((self.immix.snapshot(), self.common.snapshot()));
    }

    fn sift(&self, step: &mut SiftStep<'_, VM>) {
        step.look((self.immix.snapshot(), self.common.snapshot()));
    }

    fn end(&self, pause: &mut Pause<'_, VM>) {
        pause.finish_marking((self.immix.snapshot(), self.common.snapshot()));
        self.immix.sweep(pause);
        self.common.sweep(pause);
    }

    // Mutators come here for each object that they store into first. Most are in the Immix space, and the
    // policy of the others is many words: it is made for those alone.
    fn visit(&self, object: ObjectReference, log: &mut Log<'_, VM>) {
        let immix = self.immix.snapshot();
        match immix.holds(object) {
            true => log.visit(immix, object),
            false => log.visit(self.common.snapshot(), object),
        }
    }

    fn keep(&self, object: ObjectReference, log: &mut Log<'_, VM>) {
        let immix = self.immix.snapshot();
        match immix.holds(object) {
            true => log.keep(immix, object),
            false => log.keep(self.common.snapshot(), object),
        }
    }

    fn epoch(&self) -> u8 {
        self.immix.epoch()
    }
}
