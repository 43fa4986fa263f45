//! What the generational plans share: each is a plan with minor collections, under a name of its own.
//!
//! The spaces know from their context that they are generational: then what survives a collection is old, and
//! the write barrier watches it. The story of a collection is the plan's own; it asks the pause which kind
//! this one is.

use mmtk_core::alloc::{Allocators, Request};
use mmtk_core::pause::Pause;
use mmtk_core::plan::{Plan, PlanContext};
use mmtk_core::space::{Pools, Regions, Space};
use mmtk_core::{Address, HeapError, Needs, VMBinding};

/// `P` with minor collections.
pub struct Generational<P> {
    name: &'static str,
    needs: Needs,
    plan: P,
}

impl<P> Generational<P> {
    /// The plan that `make` makes, called `name`, with what it needs.
    pub(super) fn new<VM: VMBinding>(
        name: &'static str,
        needs: Needs,
        context: &PlanContext<'_, VM>,
        make: impl FnOnce(&PlanContext<'_, VM>) -> Result<P, HeapError>,
    ) -> Result<Self, HeapError> {
        Ok(Generational { name, needs, plan: make(&context.generational(name)?)? })
    }
}

impl<VM: VMBinding, P: Plan<VM>> Plan<VM> for Generational<P> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn needs(&self) -> Needs {
        self.needs
    }

    fn spaces(&self) -> Vec<&dyn Space> {
        self.plan.spaces()
    }

    fn regions(&self) -> Option<&dyn Regions> {
        self.plan.regions()
    }

    fn pools(&self) -> Option<&dyn Pools> {
        self.plan.pools()
    }

    fn allocate(&self, allocators: &mut Allocators, request: Request) -> Option<Address> {
        self.plan.allocate(allocators, request)
    }

    fn retire(&self, allocators: &mut Allocators) {
        self.plan.retire(allocators);
    }

    fn collect(&self, pause: &mut Pause<'_, VM>) {
        self.plan.collect(pause);
    }

    fn can_fork(&self) -> bool {
        self.plan.can_fork()
    }
}
