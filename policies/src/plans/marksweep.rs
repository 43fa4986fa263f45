//! MarkSweep: cells of size classes, marked in place, swept when they are next allocated from.

use crate::spaces::{CommonSpaces, CommonTracer, MarkSweepSpace, MarkSweepTracer};
use mmtk_core::alloc::{Allocators, Request};
use mmtk_core::metadata::MAX_CELL_BYTES;
use mmtk_core::pause::Pause;
use mmtk_core::plan::{Plan, PlanContext};
use mmtk_core::space::{Pools, Regions, Space};
use mmtk_core::trace::{ObjectItem, Traced, Tracer};
use mmtk_core::workers::Worker;
use mmtk_core::{Address, HeapError, Needs, ObjectReference, Semantics, VMBinding};

/// What it needs of a binding.
pub const NEEDS: Needs = Needs { conservative: true, ..Needs::NONE };

/// The plan.
pub struct MarkSweep<VM> {
    cells: MarkSweepSpace<VM>,
    common: CommonSpaces<VM>,
}

impl<VM: VMBinding> MarkSweep<VM> {
    /// The plan with empty spaces.
    pub fn new(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        Ok(MarkSweep { cells: MarkSweepSpace::new(context, "mark-sweep")?, common: CommonSpaces::new(context)? })
    }
}

impl<VM: VMBinding> Plan<VM> for MarkSweep<VM> {
    fn name(&self) -> &'static str {
        "MarkSweep"
    }

    fn needs(&self) -> Needs {
        NEEDS
    }

    fn spaces(&self) -> Vec<&dyn Space> {
        std::iter::once(&self.cells as &dyn Space).chain(self.common.spaces()).collect()
    }

    fn regions(&self) -> Option<&dyn Regions> {
        Some(&self.common.uncollected.regions)
    }

    fn pools(&self) -> Option<&dyn Pools> {
        Some(&self.common.uncollected.pools)
    }

    fn allocate(&self, allocators: &mut Allocators, request: Request) -> Option<Address> {
        match request.semantics {
            // Nothing moves here, so objects that must not are ordinary ones.
            Semantics::Default | Semantics::NonMoving if request.bytes <= MAX_CELL_BYTES => {
                self.cells.allocate(allocators.plan_cells(), request.bytes)
            }
            semantics => self.common.allocate_special(allocators, request.bytes, semantics),
        }
    }

    fn retire(&self, allocators: &mut Allocators) {
        self.cells.retire(&mut allocators.cells);
        self.common.retire(allocators);
    }

    fn collect(&self, pause: &mut Pause<'_, VM>) {
        let kind = pause.kind();
        pause.prepare(|| {
            self.cells.prepare(kind);
            self.common.prepare(kind);
        });
        let tracer = MarkSweepPlanTracer { plan: self, cells: self.cells.tracer(), common: self.common.tracer() };
        pause.trace_roots(tracer);
        pause.process_weak(tracer);
        self.cells.sweep(pause);
        self.common.sweep(pause);
    }
}

struct MarkSweepPlanTracer<'a, VM> {
    plan: &'a MarkSweep<VM>,
    cells: MarkSweepTracer<'a, VM>,
    common: CommonTracer<'a, VM>,
}

impl<VM> Clone for MarkSweepPlanTracer<'_, VM> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<VM> Copy for MarkSweepPlanTracer<'_, VM> {}

impl<VM: VMBinding> Tracer<VM> for MarkSweepPlanTracer<'_, VM> {
    type Item = ObjectItem;

    #[inline(always)]
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        match self.cells.holds(object) {
            true => self.cells.trace(object, worker),
            false => self.common.trace(object, worker),
        }
    }

    #[inline(always)]
    fn prefetch(&self, object: ObjectReference) {
        object.address().prefetch();
        if self.cells.holds(object) {
            self.cells.prefetch(object);
        }
    }

    fn find_object(&self, address: Address) -> Option<ObjectReference> {
        match self.plan.cells.extent().contains(address) {
            true => self.plan.cells.find_object(address),
            false => self.plan.common.find_object(address),
        }
    }

    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        match self.cells.holds(object) {
            true => self.cells.is_live(object).then_some(object),
            false => self.common.resolve(object),
        }
    }
}
