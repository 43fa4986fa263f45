//! MarkSweep: cells of size classes, marked in place, swept when they are next allocated from.

use crate::spaces::{CommonSpaces, MAX_CELL_BYTES, MarkSweepSpace};
use mmtk_core::plan::*;

/// What users read about it.
pub const INFO: PlanInfo = PlanInfo {
    name: "MarkSweep",
    what: "size classes, marked in place, swept lazily; nothing moves",
    needs: Needs { conservative: true, ..Needs::NONE },
};

/// The plan.
pub struct MarkSweep<VM> {
    info: &'static PlanInfo,
    cells: MarkSweepSpace<VM>,
    common: CommonSpaces<VM>,
}

impl<VM: VMBinding> MarkSweep<VM> {
    /// The plan with empty spaces.
    pub fn new(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        Self::of(&INFO, context)
    }

    /// The plan under this name.
    pub(super) fn of(info: &'static PlanInfo, context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        let cells = MarkSweepSpace::new(context, "mark-sweep", info.ages())?;
        Ok(MarkSweep { info, cells, common: CommonSpaces::new(context, info.ages())? })
    }
}

impl<VM: VMBinding> Plan<VM> for MarkSweep<VM> {
    fn info(&self) -> &'static PlanInfo {
        self.info
    }

    fn spaces(&self) -> Spaces<'_> {
        self.common.spaces_with(&[&self.cells])
    }

    fn allocate(&self, allocators: &mut Allocators, request: Request) -> Option<Address> {
        // Nothing moves here, so objects that must not move have cells, too.
        if request.semantics != Semantics::Immortal && request.bytes <= MAX_CELL_BYTES {
            return self.cells.allocate(allocators, request.bytes);
        }
        self.common.allocate_special(allocators, request.bytes, request.semantics)
    }

    fn collect(&self, pause: &mut Pause<'_, VM>) {
        pause.prepare(|kind| {
            self.cells.prepare(kind);
            self.common.prepare(kind);
        });
        pause.trace((self.cells.tracer(), self.common.tracer()));
        self.cells.sweep(pause);
        self.common.sweep(pause);
    }
}
