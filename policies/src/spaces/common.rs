//! The spaces that a plan has beside its own: large and non-moving objects, and those that are not collected.

use super::large::{LargeObjectSpace, LargeTracer};
use super::marksweep::{MarkSweepSpace, MarkSweepTracer};
use super::uncollected::{UncollectedSpaces, UncollectedTracer};
use mmtk_core::alloc::Allocators;
use mmtk_core::events::CollectionKind;
use mmtk_core::metadata::{MAX_CELL_BYTES, Moves};
use mmtk_core::pause::Pause;
use mmtk_core::space::Space;
use mmtk_core::trace::Traced;
use mmtk_core::workers::Worker;
use mmtk_core::{Address, HeapError, ObjectReference, PlanContext, Semantics, VMBinding};

/// Large and non-moving objects, and those that are not collected.
pub struct CommonSpaces<VM> {
    /// Whole pages each.
    pub large: LargeObjectSpace<VM>,
    /// Collected, never moved.
    pub nonmoving: MarkSweepSpace<VM>,
    /// Immortal objects, regions, pools.
    pub uncollected: UncollectedSpaces<VM>,
}

impl<VM: VMBinding> CommonSpaces<VM> {
    /// Empty spaces.
    pub fn new(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        Self::with(context, UncollectedSpaces::new(context)?)
    }

    /// The same for a plan that moves objects after the trace, and calls [`CommonSpaces::update_references`].
    pub fn revisited(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        Self::with(context, UncollectedSpaces::revisited(context)?)
    }

    fn with(context: &PlanContext<'_, VM>, uncollected: UncollectedSpaces<VM>) -> Result<Self, HeapError> {
        Ok(CommonSpaces {
            large: LargeObjectSpace::new(context)?,
            nonmoving: MarkSweepSpace::new(context, "non-moving")?,
            uncollected,
        })
    }

    /// The spaces, for reports.
    pub fn spaces(&self) -> impl Iterator<Item = &dyn Space> {
        let own: [&dyn Space; 2] = [&self.large, &self.nonmoving];
        own.into_iter().chain(self.uncollected.spaces())
    }

    /// The object that lies at an address.
    pub fn find_object(&self, address: Address) -> Option<ObjectReference> {
        self.spaces().find(|space| space.extent().contains(address))?.find_object(address)
    }

    /// A large object.
    pub fn allocate_large(&self, allocators: &mut Allocators, bytes: usize) -> Option<Address> {
        self.large.allocate(bytes, allocators)
    }

    /// An object for which the VM asked a certain space. `Semantics::Default` is the plan's own affair.
    pub fn allocate_special(&self, allocators: &mut Allocators, bytes: usize, semantics: Semantics) -> Option<Address> {
        match semantics {
            Semantics::Immortal => self.uncollected.allocate_immortal(allocators, bytes),
            Semantics::NonMoving if bytes <= MAX_CELL_BYTES => {
                self.nonmoving.allocate(allocators.nonmoving_cells(), bytes)
            }
            // Large objects never move anyway.
            Semantics::NonMoving | Semantics::Default => self.allocate_large(allocators, bytes),
        }
    }

    /// Begins an epoch, if the collection is a full one.
    pub fn prepare(&self, kind: CollectionKind) {
        if kind == CollectionKind::Full {
            self.large.prepare();
            self.nonmoving.prepare(kind);
            self.uncollected.prepare();
        }
    }

    /// The policy for this pause's trace.
    pub fn tracer(&self) -> CommonTracer<'_, VM> {
        CommonTracer {
            large: self.large.tracer(),
            nonmoving: self.nonmoving.tracer(),
            uncollected: self.uncollected.tracer(),
        }
    }

    /// A mutator gives up its ranges.
    pub fn retire(&self, allocators: &mut Allocators) {
        if let Some(cells) = &mut allocators.nonmoving {
            self.nonmoving.retire(&mut cells[..]);
        }
    }

    /// Updates the slots of the objects that were marked here. Between trace and sweep, in a full collection.
    pub fn update_references(&self, pause: &mut Pause<'_, VM>, moves: &Moves<'_, VM>) {
        self.large.update_references(pause, moves);
        self.nonmoving.update_references(pause, moves);
        self.uncollected.update_references(pause, moves);
    }

    /// Frees what was not marked.
    pub fn sweep(&self, pause: &mut Pause<'_, VM>) {
        self.large.sweep(pause);
        self.nonmoving.sweep(pause);
        self.uncollected.sweep(pause);
    }
}

/// Marks objects of the common spaces.
pub struct CommonTracer<'a, VM> {
    large: LargeTracer<'a, VM>,
    nonmoving: MarkSweepTracer<'a, VM>,
    uncollected: UncollectedTracer<'a, VM>,
}

impl<VM> Clone for CommonTracer<'_, VM> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<VM> Copy for CommonTracer<'_, VM> {}

impl<VM: VMBinding> CommonTracer<'_, VM> {
    /// Marks an object that is not in the plan's own space. Objects outside the heap are passed over.
    #[inline(never)]
    pub fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        if self.large.holds(object) {
            self.large.trace(object, worker)
        } else if self.nonmoving.holds(object) {
            self.nonmoving.trace(object, worker)
        } else {
            self.uncollected.trace(object, worker)
        }
    }

    /// The object, if it was reached or is outside the heap.
    pub fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        let live = if self.large.holds(object) {
            self.large.is_live(object)
        } else if self.nonmoving.holds(object) {
            self.nonmoving.is_live(object)
        } else {
            self.uncollected.is_live(object)
        };
        live.then_some(object)
    }
}
