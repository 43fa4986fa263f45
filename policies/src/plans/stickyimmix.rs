//! StickyImmix: Immix whose marks stick. What survived a collection is old; a minor collection traces and frees only what is new.
//!
//! No object moves to become old: the mark that it survived with is what makes it so. Minor collections do not change the epoch,
//! so old objects count as reached; what they were made to refer to since, the write barrier has noted. Full collections, and all
//! evacuation, are Immix's own.
//!
//! Source: sticky mark bits, Demers et al., "Combining generational and conservative garbage collection" (POPL 1990); on Immix,
//! Blackburn and McKinley (PLDI 2008).

use super::Immix;
use mmtk_core::alloc::{Allocators, Request};
use mmtk_core::pause::Pause;
use mmtk_core::plan::{HeapError, Plan, PlanContext};
use mmtk_core::space::Space;
use mmtk_core::{Address, VMBinding};

/// The plan.
pub struct StickyImmix<VM>(Immix<VM>);

impl<VM: VMBinding> StickyImmix<VM> {
    /// The plan with empty spaces.
    pub fn new(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        Ok(StickyImmix(Immix::new(&context.generational())?))
    }
}

impl<VM: VMBinding> Plan<VM> for StickyImmix<VM> {
    fn name(&self) -> &'static str {
        "StickyImmix"
    }

    fn spaces(&self) -> Vec<&dyn Space> {
        self.0.spaces()
    }

    fn allocate(&self, allocators: &mut Allocators, request: Request) -> Option<Address> {
        self.0.allocate(allocators, request)
    }

    fn retire(&self, allocators: &mut Allocators) {
        self.0.retire(allocators);
    }

    fn collect(&self, pause: &mut Pause<'_, VM>) {
        self.0.collect(pause);
    }

    fn is_generational(&self) -> bool {
        true
    }
}
