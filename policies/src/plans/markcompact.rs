//! MarkCompact: marks in a table, then slides what is live to the bottom, in place.
//!
//! The whole heap serves for allocation: nothing is held in reserve for copies. The price is that each live
//! object is visited twice, once in the trace in the order of the graph, once to be moved in the order of
//! addresses.

use crate::spaces::{COPY_MAX_BYTES, CommonSpaces, CommonTracer, MarkCompactSpace, MarkCompactTracer};
use mmtk_core::alloc::{Allocators, Request};
use mmtk_core::pause::Pause;
use mmtk_core::plan::{Plan, PlanContext};
use mmtk_core::space::{Pools, Regions, Space};
use mmtk_core::trace::{ObjectItem, Traced, Tracer};
use mmtk_core::workers::Worker;
use mmtk_core::{Address, HeapError, Needs, ObjectReference, Semantics, VMBinding};

/// What it needs of a binding.
pub const NEEDS: Needs = Needs { moves: true, pins: false, ..Needs::NONE };

/// The plan.
pub struct MarkCompact<VM> {
    compact: MarkCompactSpace<VM>,
    common: CommonSpaces<VM>,
}

impl<VM: VMBinding> MarkCompact<VM> {
    /// The plan with empty spaces.
    pub fn new(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        Ok(MarkCompact { compact: MarkCompactSpace::new(context)?, common: CommonSpaces::revisited(context)? })
    }
}

impl<VM: VMBinding> Plan<VM> for MarkCompact<VM> {
    fn name(&self) -> &'static str {
        "MarkCompact"
    }

    fn needs(&self) -> Needs {
        NEEDS
    }

    fn spaces(&self) -> Vec<&dyn Space> {
        std::iter::once(&self.compact as &dyn Space).chain(self.common.spaces()).collect()
    }

    fn regions(&self) -> Option<&dyn Regions> {
        Some(&self.common.uncollected.regions)
    }

    fn pools(&self) -> Option<&dyn Pools> {
        Some(&self.common.uncollected.pools)
    }

    fn allocate(&self, allocators: &mut Allocators, request: Request) -> Option<Address> {
        match request.semantics {
            Semantics::Default if request.bytes <= COPY_MAX_BYTES => self.compact.allocate(allocators, request.bytes),
            semantics => self.common.allocate_special(allocators, request.bytes, semantics),
        }
    }

    fn retire(&self, allocators: &mut Allocators) {
        self.common.retire(allocators);
    }

    fn collect(&self, pause: &mut Pause<'_, VM>) {
        let kind = pause.kind();
        pause.prepare(|| self.common.prepare(kind));
        self.compact.prepare(pause);
        let tracer = MarkCompactPlanTracer { compact: self.compact.tracer(), common: self.common.tracer() };
        pause.trace_roots(tracer);
        pause.process_weak(tracer);
        pause.begin_compaction();
        let moves = self.compact.plan_moves(pause);
        let forward = |object| moves.forward(object);
        pause.update_roots(forward);
        self.common.update_references(pause, &moves);
        self.compact.compact(pause, &moves);
        pause.forward_weak(forward);
        self.common.sweep(pause);
    }
}

struct MarkCompactPlanTracer<'a, VM> {
    compact: MarkCompactTracer<'a, VM>,
    common: CommonTracer<'a, VM>,
}

impl<VM> Clone for MarkCompactPlanTracer<'_, VM> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<VM> Copy for MarkCompactPlanTracer<'_, VM> {}

impl<VM: VMBinding> Tracer<VM> for MarkCompactPlanTracer<'_, VM> {
    type Item = ObjectItem;

    #[inline(always)]
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        match self.compact.holds(object) {
            true => self.compact.trace(object, worker),
            false => self.common.trace(object, worker),
        }
    }

    #[inline(always)]
    fn prefetch(&self, object: ObjectReference) {
        object.address().prefetch();
        if self.compact.holds(object) {
            self.compact.prefetch(object);
        }
    }

    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        match self.compact.holds(object) {
            true => self.compact.is_live(object).then_some(object),
            false => self.common.resolve(object),
        }
    }
}
