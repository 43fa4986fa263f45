//! A plan from outside: Patchwork, a mark-region collector with a twist.
//!
//! Immix bumps through the holes between live objects. Its trouble are objects larger than a line: when one
//! does not fit the hole at hand, Immix takes a whole fresh block for such objects, or searches for a large
//! hole. Patchwork puts it into a cell of a mark-sweep space instead, where it needs no hole among small
//! objects. Small objects keep what Immix is good at: bumping, locality, evacuation when memory is wasted in
//! holes.
//!
//! Everything here is public API of `mmtk_core` and `policies`: spaces as fields, a slow path that chooses
//! among them, a collection that reads from top to bottom, and a tracer that asks which space an object is
//! in. Safe Rust throughout.
#![forbid(unsafe_code)]

use mmtk_core::alloc::{Allocators, Request};
use mmtk_core::metadata::MAX_CELL_BYTES;
use mmtk_core::pause::Pause;
use mmtk_core::space::{Pools, Regions, Space};
use mmtk_core::trace::{ObjectItem, SlotItem, TraceItem, Traced, Tracer};
use mmtk_core::workers::Worker;
use mmtk_core::{Address, Heap, HeapError, ObjectReference, Options, Plan, PlanContext, Semantics, VMBinding};
use policies::spaces::{
    CommonSpaces, CommonTracer, ImmixEvacuator, ImmixMarker, ImmixSpace, LINE_BYTES, MarkSweepSpace, MarkSweepTracer,
};

/// A heap that Patchwork collects; `options.plan` is not looked at.
///
/// # Errors
/// Options out of range, or no address space.
pub fn new_heap<VM: VMBinding>(vm: VM, options: Options) -> Result<Heap<VM>, HeapError> {
    Heap::new(vm, options, |context| Ok(Box::new(Patchwork::new(context)?)))
}

/// The plan.
pub struct Patchwork<VM> {
    /// Objects of up to a line, and larger ones that fit the hole at hand.
    small: ImmixSpace<VM>,
    /// The other objects of up to a cell.
    medium: MarkSweepSpace<VM>,
    /// Large and non-moving objects, and those that are not collected.
    common: CommonSpaces<VM>,
}

impl<VM: VMBinding> Patchwork<VM> {
    /// The plan with empty spaces.
    pub fn new(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        Ok(Patchwork {
            small: ImmixSpace::new(context)?,
            medium: MarkSweepSpace::new(context, "medium")?,
            common: CommonSpaces::new(context)?,
        })
    }

    /// One trace and sweep.
    fn round(&self, pause: &mut Pause<'_, VM>, evacuate: bool) {
        let kind = pause.kind();
        pause.prepare(|| {
            self.small.prepare(kind, false);
            self.medium.prepare(kind);
            self.common.prepare(kind);
        });
        if evacuate {
            self.trace(pause, self.small.evacuator(kind));
        } else {
            self.trace(pause, self.small.marker());
        }
        self.small.sweep(pause);
        self.medium.sweep(pause);
        self.common.sweep(pause);
    }

    fn trace(&self, pause: &mut Pause<'_, VM>, small: impl Region<VM>) {
        let tracer = PatchworkTracer { small, medium: self.medium.tracer(), common: self.common.tracer() };
        pause.trace_roots(tracer);
        pause.process_weak(tracer);
    }
}

impl<VM: VMBinding> Plan<VM> for Patchwork<VM> {
    fn name(&self) -> &'static str {
        "Patchwork"
    }

    fn spaces(&self) -> Vec<&dyn Space> {
        let own: [&dyn Space; 2] = [&self.small, &self.medium];
        own.into_iter().chain(self.common.spaces()).collect()
    }

    fn regions(&self) -> Option<&dyn Regions> {
        Some(&self.common.uncollected.regions)
    }

    fn pools(&self) -> Option<&dyn Pools> {
        Some(&self.common.uncollected.pools)
    }

    fn allocate(&self, allocators: &mut Allocators, request: Request) -> Option<Address> {
        match request {
            Request { bytes, semantics: Semantics::Default } if bytes <= LINE_BYTES => {
                self.small.allocate(allocators, bytes)
            }
            Request { bytes, semantics: Semantics::Default } if bytes <= MAX_CELL_BYTES => {
                // The twist: the hole at hand, or a cell.
                match allocators.bump_or_zero(bytes) {
                    Some(address) => Some(address),
                    None => self.medium.allocate(allocators.plan_cells(), bytes),
                }
            }
            Request { bytes, semantics } => self.common.allocate_special(allocators, bytes, semantics),
        }
    }

    fn retire(&self, allocators: &mut Allocators) {
        self.small.retire(allocators);
        self.medium.retire(&mut allocators.cells);
        self.common.retire(allocators);
    }

    fn collect(&self, pause: &mut Pause<'_, VM>) {
        let evacuate = self.small.always_evacuates() && self.small.choose_sources(pause);
        self.round(pause, evacuate);
        // What the round counted is exact until a mutator runs: now is the moment to evacuate, if it pays.
        if self.small.choose_sources(pause) {
            pause.again();
            self.round(pause, true);
        }
    }
}

/// What the two tracing policies of an Immix space have in common.
trait Region<VM: VMBinding>: Copy + Send + Sync {
    /// Edges as objects if nothing moves, as slots otherwise.
    type Item: TraceItem<VM>;
    fn holds(&self, object: ObjectReference) -> bool;
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced;
    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference>;
}

macro_rules! region {
    ($policy:ty, $item:ty) => {
        impl<VM: VMBinding> Region<VM> for $policy {
            type Item = $item;
            #[inline(always)]
            fn holds(&self, object: ObjectReference) -> bool {
                <$policy>::holds(self, object)
            }
            #[inline(always)]
            fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
                <$policy>::trace(self, object, worker)
            }
            fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
                <$policy>::resolve(self, object)
            }
        }
    };
}

region!(ImmixMarker<'_, VM>, ObjectItem);
region!(ImmixEvacuator<'_, VM>, SlotItem<VM::Slot>);

/// The policy of one trace, compiled once for each way to treat small objects.
struct PatchworkTracer<'a, VM, R> {
    small: R,
    medium: MarkSweepTracer<'a, VM>,
    common: CommonTracer<'a, VM>,
}

impl<VM, R: Copy> Clone for PatchworkTracer<'_, VM, R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<VM, R: Copy> Copy for PatchworkTracer<'_, VM, R> {}

impl<VM: VMBinding, R: Region<VM>> Tracer<VM> for PatchworkTracer<'_, VM, R> {
    type Item = R::Item;

    #[inline(always)]
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        if self.small.holds(object) {
            self.small.trace(object, worker)
        } else if self.medium.holds(object) {
            self.medium.trace(object, worker)
        } else {
            self.common.trace(object, worker)
        }
    }

    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        if self.small.holds(object) {
            self.small.resolve(object)
        } else if self.medium.holds(object) {
            self.medium.is_live(object).then_some(object)
        } else {
            self.common.resolve(object)
        }
    }
}
