//! PageProtect: mark-sweep in which each object has pages of its own, which become inaccessible when it dies.
//! For debugging: an access to a dead object faults at once, and the report names the object.

use crate::spaces::{PageProtectSpace, UncollectedSpaces};
use mmtk_core::plan::*;

/// What users read about it.
pub const INFO: PlanInfo = PlanInfo {
    name: "PageProtect",
    what: "for debugging: each object has pages of its own, which fault once it is dead, and the report says what it was",
    needs: Needs::NONE,
};

/// The plan.
pub struct PageProtect<VM> {
    protect: PageProtectSpace<VM>,
    uncollected: UncollectedSpaces<VM>,
}

impl<VM: VMBinding> PageProtect<VM> {
    /// The plan with empty spaces.
    pub fn new(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        let uncollected = UncollectedSpaces::new(context, INFO.ages())?;
        Ok(PageProtect { protect: PageProtectSpace::new(context)?, uncollected })
    }
}

impl<VM: VMBinding> Plan<VM> for PageProtect<VM> {
    fn info(&self) -> &'static PlanInfo {
        &INFO
    }

    fn spaces(&self) -> Spaces<'_> {
        self.uncollected.spaces_with(&[&self.protect])
    }

    fn allocate(&self, allocators: &mut Allocators, request: Request) -> Option<Address> {
        match request.semantics {
            Semantics::Immortal => self.uncollected.allocate_immortal(allocators, request.bytes),
            // Nothing moves here.
            Semantics::Default | Semantics::NonMoving => self.protect.allocate(request.bytes, allocators),
        }
    }

    fn can_fork(&self) -> bool {
        // Pages are aliased, so they are mapped from a file that both processes would write to.
        false
    }

    fn collect(&self, pause: &mut Pause<'_, VM>) {
        pause.prepare(|_| {
            self.protect.prepare();
            self.uncollected.prepare();
        });
        pause.trace((self.protect.tracer(), self.uncollected.tracer()));
        self.protect.sweep(pause);
        self.uncollected.sweep(pause);
    }
}
