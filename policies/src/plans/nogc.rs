//! NoGC: bumps until the limit, then is out of memory. The baseline for measurements of collectors.

use crate::spaces::{BumpSpace, UncollectedSpaces};
use mmtk_core::memory::BLOCK_BYTES;
use mmtk_core::plan::*;

/// What users read about it.
pub const INFO: PlanInfo = PlanInfo {
    name: "NoGC",
    what: "never collects: out of memory at the limit",
    needs: Needs { conservative: true, ..Needs::NONE },
};

/// The plan.
pub struct NoGC<VM> {
    bump: BumpSpace<VM>,
    uncollected: UncollectedSpaces<VM>,
}

impl<VM: VMBinding> NoGC<VM> {
    /// The plan with empty spaces.
    pub fn new(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        Ok(NoGC { bump: BumpSpace::new(context)?, uncollected: UncollectedSpaces::new(context, INFO.ages())? })
    }
}

impl<VM: VMBinding> Plan<VM> for NoGC<VM> {
    fn info(&self) -> &'static PlanInfo {
        &INFO
    }

    fn spaces(&self) -> Spaces<'_> {
        self.uncollected.spaces_with(&[&self.bump])
    }

    fn allocate(&self, allocators: &mut Allocators, request: Request) -> Option<Address> {
        match request.semantics {
            Semantics::Default if request.bytes <= BLOCK_BYTES / 4 => self.bump.allocate(allocators, request.bytes),
            _ => self.uncollected.allocate_immortal(allocators, request.bytes),
        }
    }

    fn collect(&self, _pause: &mut Pause<'_, VM>) {
        unreachable!("a plan that cannot collect is never asked to")
    }

    fn can_collect(&self) -> bool {
        false
    }
}
