//! SemiSpace: every collection copies what is live and frees the rest as a whole.

use crate::spaces::{COPY_MAX_BYTES, CommonSpaces, CommonTracer, CopySpace, CopyStayer, CopyTracer};
use mmtk_core::alloc::{Allocators, Request};
use mmtk_core::pause::Pause;
use mmtk_core::plan::{Plan, PlanContext};
use mmtk_core::space::{Pools, Regions, Space};
use mmtk_core::trace::{ObjectItem, SlotItem, Traced, Tracer};
use mmtk_core::workers::Worker;
use mmtk_core::{Address, HeapError, Needs, ObjectReference, Semantics, VMBinding};

/// What it needs of a binding.
pub const NEEDS: Needs = Needs { moves: true, ..Needs::NONE };

/// The plan.
pub struct SemiSpace<VM> {
    copy: CopySpace<VM>,
    common: CommonSpaces<VM>,
}

impl<VM: VMBinding> SemiSpace<VM> {
    /// The plan with empty spaces.
    pub fn new(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        Ok(SemiSpace { copy: CopySpace::new(context)?, common: CommonSpaces::new(context)? })
    }
}

impl<VM: VMBinding> Plan<VM> for SemiSpace<VM> {
    fn name(&self) -> &'static str {
        "SemiSpace"
    }

    fn needs(&self) -> Needs {
        NEEDS
    }

    fn spaces(&self) -> Vec<&dyn Space> {
        std::iter::once(&self.copy as &dyn Space).chain(self.common.spaces()).collect()
    }

    fn regions(&self) -> Option<&dyn Regions> {
        Some(&self.common.uncollected.regions)
    }

    fn pools(&self) -> Option<&dyn Pools> {
        Some(&self.common.uncollected.pools)
    }

    fn allocate(&self, allocators: &mut Allocators, request: Request) -> Option<Address> {
        match request.semantics {
            Semantics::Default if request.bytes <= COPY_MAX_BYTES => self.copy.allocate(allocators, request.bytes),
            semantics => self.common.allocate_special(allocators, request.bytes, semantics),
        }
    }

    fn retire(&self, allocators: &mut Allocators) {
        self.common.retire(allocators);
    }

    fn collect(&self, pause: &mut Pause<'_, VM>) {
        let kind = pause.kind();
        pause.prepare(|| {
            self.copy.prepare(kind);
            self.common.prepare(kind);
        });
        let tracer = SemiSpaceTracer { copy: self.copy.tracer(), common: self.common.tracer() };
        pause.trace_pinned(Stay { copy: self.copy.stayer(), common: self.common.tracer() });
        pause.trace_roots(tracer);
        pause.process_weak(tracer);
        self.copy.sweep(pause);
        self.common.sweep(pause);
    }
}

struct SemiSpaceTracer<'a, VM> {
    copy: CopyTracer<'a, VM>,
    common: CommonTracer<'a, VM>,
}

impl<VM> Clone for SemiSpaceTracer<'_, VM> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<VM> Copy for SemiSpaceTracer<'_, VM> {}

impl<VM: VMBinding> Tracer<VM> for SemiSpaceTracer<'_, VM> {
    type Item = SlotItem<VM::Slot>;

    #[inline(always)]
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        match self.copy.holds(object) {
            true => self.copy.trace(object, worker),
            false => self.common.trace(object, worker),
        }
    }

    #[inline(always)]
    fn prefetch(&self, object: ObjectReference) {
        self.copy.prefetch(object);
    }

    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        match self.copy.holds(object) {
            true => self.copy.resolve(object),
            false => self.common.resolve(object),
        }
    }
}

/// What transitively pinned roots reach.
struct Stay<'a, VM> {
    copy: CopyStayer<'a, VM>,
    common: CommonTracer<'a, VM>,
}

impl<VM> Clone for Stay<'_, VM> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<VM> Copy for Stay<'_, VM> {}

impl<VM: VMBinding> Tracer<VM> for Stay<'_, VM> {
    type Item = ObjectItem;

    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        match self.copy.holds(object) {
            true => self.copy.trace(object, worker),
            false => self.common.trace(object, worker),
        }
    }

    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        match self.copy.holds(object) {
            true => self.copy.resolve(object),
            false => self.common.resolve(object),
        }
    }
}
