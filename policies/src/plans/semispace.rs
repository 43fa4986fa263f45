//! SemiSpace: every collection copies what is live and frees the rest as a whole.

use crate::spaces::{COPY_MAX_BYTES, CommonSpaces, CopySpace};
use mmtk_core::plan::*;

/// What users read about it.
pub const INFO: PlanInfo = PlanInfo {
    name: "SemiSpace",
    what: "copies what is live; needs twice the room, leaves no holes",
    needs: Needs { moves: true, ..Needs::NONE },
};

/// The plan.
pub struct SemiSpace<VM> {
    info: &'static PlanInfo,
    copy: CopySpace<VM>,
    common: CommonSpaces<VM>,
}

impl<VM: VMBinding> SemiSpace<VM> {
    /// The plan with empty spaces.
    pub fn new(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        Self::of(&INFO, context)
    }

    /// The plan under this name.
    pub(super) fn of(info: &'static PlanInfo, context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        let ages = info.ages();
        Ok(SemiSpace { info, copy: CopySpace::new(context, ages)?, common: CommonSpaces::new(context, ages)? })
    }
}

impl<VM: VMBinding> Plan<VM> for SemiSpace<VM> {
    fn info(&self) -> &'static PlanInfo {
        self.info
    }

    fn spaces(&self) -> Spaces<'_> {
        self.common.spaces_with(&[&self.copy])
    }

    fn allocate(&self, allocators: &mut Allocators, request: Request) -> Option<Address> {
        match request.semantics {
            Semantics::Default if request.bytes <= COPY_MAX_BYTES => self.copy.allocate(allocators, request.bytes),
            semantics => self.common.allocate_special(allocators, request.bytes, semantics),
        }
    }

    fn collect(&self, pause: &mut Pause<'_, VM>) {
        pause.prepare(|kind| {
            self.copy.prepare(kind);
            self.common.prepare(kind);
        });
        let common = self.common.tracer();
        pause.evacuate((self.copy.tracer(), common), (self.copy.in_place(), common));
        self.copy.sweep(pause);
        self.common.sweep(pause);
    }
}
