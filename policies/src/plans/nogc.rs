//! NoGC: bump through the limit, then out of memory. The floor that collectors are measured from.

use crate::spaces::{BumpSpace, ImmortalSpace};
use mmtk_core::alloc::{Allocators, Request};
use mmtk_core::heap::BLOCK_BYTES;
use mmtk_core::pause::Pause;
use mmtk_core::plan::{HeapError, Plan, PlanContext};
use mmtk_core::space::Space;
use mmtk_core::{Address, Semantics, VMBinding};

/// The plan.
pub struct NoGC<VM> {
    bump: BumpSpace<VM>,
    immortal: ImmortalSpace<VM>,
}

impl<VM: VMBinding> NoGC<VM> {
    /// The plan with empty spaces.
    pub fn new(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        Ok(NoGC { bump: BumpSpace::new(context)?, immortal: ImmortalSpace::new(context)? })
    }
}

impl<VM: VMBinding> Plan<VM> for NoGC<VM> {
    fn name(&self) -> &'static str {
        "NoGC"
    }

    fn spaces(&self) -> Vec<&dyn Space> {
        vec![&self.bump, &self.immortal]
    }

    fn allocate(&self, allocators: &mut Allocators, request: Request) -> Option<Address> {
        match request.semantics {
            Semantics::Default if request.bytes <= BLOCK_BYTES / 4 => self.bump.allocate(allocators, request.bytes),
            _ => self.immortal.allocate(request.bytes, &mut allocators.allocated),
        }
    }

    fn retire(&self, _allocators: &mut Allocators) {}

    fn collect(&self, _pause: &mut Pause<'_, VM>) {
        unreachable!("a plan that cannot collect is never asked to")
    }

    fn scans_conservatively(&self) -> bool {
        true
    }

    fn can_collect(&self) -> bool {
        false
    }
}
