//! MarkCompact: marks in a table, then slides the live objects to the bottom, in place.
//!
//! The whole heap serves for allocation, without a reserve for copies. The price: each live object is visited
//! twice, once by the trace, in the order of the graph, and once to be moved, in the order of addresses.

use crate::spaces::{COPY_MAX_BYTES, CommonSpaces, MarkCompactSpace};
use mmtk_core::plan::*;

/// What users read about it.
pub const INFO: PlanInfo = PlanInfo {
    name: "MarkCompact",
    what: "slides what is live to the bottom, in the order of allocation; needs no reserve, leaves no holes",
    needs: Needs { moves: true, pins: false, ..Needs::NONE },
};

/// The plan.
pub struct MarkCompact<VM> {
    compact: MarkCompactSpace<VM>,
    common: CommonSpaces<VM>,
}

impl<VM: VMBinding> MarkCompact<VM> {
    /// The plan with empty spaces.
    pub fn new(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        Ok(MarkCompact {
            compact: MarkCompactSpace::new(context)?,
            common: CommonSpaces::revisited(context, INFO.ages())?,
        })
    }
}

impl<VM: VMBinding> Plan<VM> for MarkCompact<VM> {
    fn info(&self) -> &'static PlanInfo {
        &INFO
    }

    fn spaces(&self) -> Spaces<'_> {
        self.common.spaces_with(&[&self.compact])
    }

    fn allocate(&self, allocators: &mut Allocators, request: Request) -> Option<Address> {
        match request.semantics {
            Semantics::Default if request.bytes <= COPY_MAX_BYTES => self.compact.allocate(allocators, request.bytes),
            semantics => self.common.allocate_special(allocators, request.bytes, semantics),
        }
    }

    fn collect(&self, pause: &mut Pause<'_, VM>) {
        pause.prepare(|kind| self.common.prepare(kind));
        self.compact.prepare(pause);
        pause.trace((self.compact.tracer(), self.common.tracer()));
        let moves = self.compact.plan_moves(pause);
        pause.update_roots(|object| moves.forward(object));
        self.common.update_references(pause, &moves);
        self.compact.compact(pause, &moves);
        pause.forward_weak(|object| moves.forward(object));
        self.common.sweep(pause);
    }
}
