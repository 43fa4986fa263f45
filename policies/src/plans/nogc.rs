//! NoGC: bump through the limit, then out of memory. The floor that collectors are measured from.

use crate::spaces::{BumpSpace, UncollectedSpaces};
use mmtk_core::alloc::{Allocators, Request};
use mmtk_core::memory::BLOCK_BYTES;
use mmtk_core::pause::Pause;
use mmtk_core::plan::{Plan, PlanContext};
use mmtk_core::space::{Pools, Regions, Space};
use mmtk_core::{Address, HeapError, Needs, Semantics, VMBinding};

/// What it needs of a binding.
pub const NEEDS: Needs = Needs { conservative: true, ..Needs::NONE };

/// The plan.
pub struct NoGC<VM> {
    bump: BumpSpace<VM>,
    uncollected: UncollectedSpaces<VM>,
}

impl<VM: VMBinding> NoGC<VM> {
    /// The plan with empty spaces.
    pub fn new(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        Ok(NoGC { bump: BumpSpace::new(context)?, uncollected: UncollectedSpaces::new(context)? })
    }
}

impl<VM: VMBinding> Plan<VM> for NoGC<VM> {
    fn name(&self) -> &'static str {
        "NoGC"
    }

    fn needs(&self) -> Needs {
        NEEDS
    }

    fn spaces(&self) -> Vec<&dyn Space> {
        std::iter::once(&self.bump as &dyn Space).chain(self.uncollected.spaces()).collect()
    }

    fn regions(&self) -> Option<&dyn Regions> {
        Some(&self.uncollected.regions)
    }

    fn pools(&self) -> Option<&dyn Pools> {
        Some(&self.uncollected.pools)
    }

    fn allocate(&self, allocators: &mut Allocators, request: Request) -> Option<Address> {
        match request.semantics {
            Semantics::Default if request.bytes <= BLOCK_BYTES / 4 => self.bump.allocate(allocators, request.bytes),
            _ => self.uncollected.allocate_immortal(allocators, request.bytes),
        }
    }

    fn retire(&self, _allocators: &mut Allocators) {}

    fn collect(&self, _pause: &mut Pause<'_, VM>) {
        unreachable!("a plan that cannot collect is never asked to")
    }

    fn can_collect(&self) -> bool {
        false
    }
}
