//! PageProtect: mark-sweep with pages of its own for each object, which become inaccessible when it dies. For
//! debugging: who uses a dead object faults at once, and is told which it was.

use crate::spaces::{PageProtectSpace, PageProtectTracer, UncollectedSpaces, UncollectedTracer};
use mmtk_core::alloc::{Allocators, Request};
use mmtk_core::pause::Pause;
use mmtk_core::plan::{Plan, PlanContext};
use mmtk_core::space::{Pools, Regions, Space};
use mmtk_core::trace::{ObjectItem, Traced, Tracer};
use mmtk_core::workers::Worker;
use mmtk_core::{Address, HeapError, Needs, ObjectReference, Semantics, VMBinding};

/// What it needs of a binding.
pub const NEEDS: Needs = Needs::NONE;

/// The plan.
pub struct PageProtect<VM> {
    protect: PageProtectSpace<VM>,
    uncollected: UncollectedSpaces<VM>,
}

impl<VM: VMBinding> PageProtect<VM> {
    /// The plan with empty spaces.
    pub fn new(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        Ok(PageProtect { protect: PageProtectSpace::new(context)?, uncollected: UncollectedSpaces::new(context)? })
    }
}

impl<VM: VMBinding> Plan<VM> for PageProtect<VM> {
    fn name(&self) -> &'static str {
        "PageProtect"
    }

    fn needs(&self) -> Needs {
        NEEDS
    }

    fn spaces(&self) -> Vec<&dyn Space> {
        std::iter::once(&self.protect as &dyn Space).chain(self.uncollected.spaces()).collect()
    }

    fn regions(&self) -> Option<&dyn Regions> {
        Some(&self.uncollected.regions)
    }

    fn pools(&self) -> Option<&dyn Pools> {
        Some(&self.uncollected.pools)
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

    fn retire(&self, _allocators: &mut Allocators) {}

    fn collect(&self, pause: &mut Pause<'_, VM>) {
        pause.prepare(|| {
            self.protect.prepare();
            self.uncollected.prepare();
        });
        let tracer = PageProtectPlanTracer { protect: self.protect.tracer(), uncollected: self.uncollected.tracer() };
        pause.trace_roots(tracer);
        pause.process_weak(tracer);
        self.protect.sweep(pause);
        self.uncollected.sweep(pause);
    }
}

struct PageProtectPlanTracer<'a, VM> {
    protect: PageProtectTracer<'a, VM>,
    uncollected: UncollectedTracer<'a, VM>,
}

impl<VM> Clone for PageProtectPlanTracer<'_, VM> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<VM> Copy for PageProtectPlanTracer<'_, VM> {}

impl<VM: VMBinding> Tracer<VM> for PageProtectPlanTracer<'_, VM> {
    type Item = ObjectItem;

    #[inline(always)]
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        if self.protect.holds(object) {
            self.protect.trace(object, worker)
        } else {
            self.uncollected.trace(object, worker)
        }
    }

    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        let live =
            if self.protect.holds(object) { self.protect.is_live(object) } else { self.uncollected.is_live(object) };
        live.then_some(object)
    }
}
