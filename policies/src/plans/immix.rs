//! Immix: mark in place, allocate in the holes; when memory is short and wasted in holes, evacuate the
//! sparsest blocks.

use crate::spaces::{CommonSpaces, CommonTracer, IMMIX_MAX_BYTES, ImmixEvacuator, ImmixMarker, ImmixSpace};
use mmtk_core::alloc::{Allocators, Request};
use mmtk_core::events::CollectionKind;
use mmtk_core::pause::Pause;
use mmtk_core::plan::{Plan, PlanContext};
use mmtk_core::space::{Pools, Regions, Space};
use mmtk_core::trace::{ObjectItem, SlotItem, Traced, Tracer};
use mmtk_core::workers::Worker;
use mmtk_core::{Address, HeapError, Needs, ObjectReference, Semantics, VMBinding};

/// What it needs of a binding.
pub const NEEDS: Needs = Needs::NONE;

/// Evacuating rounds when memory runs out, at most: each makes room for the next. If blocks are four fifths
/// live and only the headroom is free, a round frees a quarter more than the one before, and this many go
/// through the whole heap.
const URGENT_ROUNDS: usize = 16;

/// The plan.
pub struct Immix<VM> {
    immix: ImmixSpace<VM>,
    common: CommonSpaces<VM>,
}

impl<VM: VMBinding> Immix<VM> {
    /// The plan with empty spaces.
    pub fn new(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        Ok(Immix { immix: ImmixSpace::new(context)?, common: CommonSpaces::new(context)? })
    }

    /// The same for a generational plan that moves what is new.
    pub(super) fn with_nursery(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        Ok(Immix { immix: ImmixSpace::with_nursery(context)?, common: CommonSpaces::new(context)? })
    }

    /// A trace and a sweep; evacuates the nursery or sources that were chosen, both, or nothing. A minor
    /// collection keeps the epoch: what is marked stays so, and counts as live.
    fn round(&self, pause: &mut Pause<'_, VM>, nursery: bool, sources: bool) {
        let kind = pause.kind();
        pause.prepare(|| {
            self.immix.prepare(kind, nursery);
            self.common.prepare(kind);
        });
        let common = self.common.tracer();
        if nursery || sources {
            let tracer = Evacuate { immix: self.immix.evacuator(kind), common };
            pause.trace_pinned(Mark { immix: self.immix.marker(), common });
            pause.trace_roots(tracer);
            pause.process_weak(tracer);
        } else {
            let tracer = Mark { immix: self.immix.marker(), common };
            pause.trace_roots(tracer);
            pause.process_weak(tracer);
        }
        self.immix.sweep(pause);
        self.common.sweep(pause);
    }
}

impl<VM: VMBinding> Plan<VM> for Immix<VM> {
    fn name(&self) -> &'static str {
        "Immix"
    }

    fn needs(&self) -> Needs {
        NEEDS
    }

    fn spaces(&self) -> Vec<&dyn Space> {
        std::iter::once(&self.immix as &dyn Space).chain(self.common.spaces()).collect()
    }

    fn regions(&self) -> Option<&dyn Regions> {
        Some(&self.common.uncollected.regions)
    }

    fn pools(&self) -> Option<&dyn Pools> {
        Some(&self.common.uncollected.pools)
    }

    fn allocate(&self, allocators: &mut Allocators, request: Request) -> Option<Address> {
        match request.semantics {
            Semantics::Default if request.bytes <= IMMIX_MAX_BYTES => self.immix.allocate(allocators, request.bytes),
            semantics => self.common.allocate_special(allocators, request.bytes, semantics),
        }
    }

    fn retire(&self, allocators: &mut Allocators) {
        self.immix.retire(allocators);
        self.common.retire(allocators);
    }

    fn collect(&self, pause: &mut Pause<'_, VM>) {
        let nursery = self.immix.has_nursery() && pause.minor_collections_pay();
        if pause.kind() == CollectionKind::Minor {
            return self.round(pause, nursery, false);
        }
        let sources = self.immix.always_evacuates() && self.immix.choose_sources(pause);
        self.round(pause, nursery, sources);
        // What the round counted is exact until a mutator runs, so this is the moment to evacuate.
        let rounds = if self.immix.evacuation_is_urgent(pause) { URGENT_ROUNDS } else { 1 };
        for _ in 0..rounds {
            let room = self.immix.room();
            if !self.immix.choose_sources(pause) {
                break;
            }
            pause.again();
            self.round(pause, false, true);
            let gained = std::iter::zip(self.immix.room(), room).any(|(after, before)| after > before);
            if !gained {
                break;
            }
        }
    }
}

struct Mark<'a, VM> {
    immix: ImmixMarker<'a, VM>,
    common: CommonTracer<'a, VM>,
}

struct Evacuate<'a, VM> {
    immix: ImmixEvacuator<'a, VM>,
    common: CommonTracer<'a, VM>,
}

impl<VM> Clone for Mark<'_, VM> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<VM> Copy for Mark<'_, VM> {}
impl<VM> Clone for Evacuate<'_, VM> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<VM> Copy for Evacuate<'_, VM> {}

impl<VM: VMBinding> Tracer<VM> for Mark<'_, VM> {
    type Item = ObjectItem;

    #[inline(always)]
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        match self.immix.holds(object) {
            true => self.immix.trace(object, worker),
            false => self.common.trace(object, worker),
        }
    }

    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        match self.immix.holds(object) {
            true => self.immix.resolve(object),
            false => self.common.resolve(object),
        }
    }
}

impl<VM: VMBinding> Tracer<VM> for Evacuate<'_, VM> {
    type Item = SlotItem<VM::Slot>;

    #[inline(always)]
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        match self.immix.holds(object) {
            true => self.immix.trace(object, worker),
            false => self.common.trace(object, worker),
        }
    }

    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        match self.immix.holds(object) {
            true => self.immix.resolve(object),
            false => self.common.resolve(object),
        }
    }
}
