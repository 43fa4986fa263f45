//! The spaces that a plan has beside its own: large and non-moving objects, and those that are not collected.

use super::large::{LargeObjectSpace, LargeSnapshot, LargeTracer};
use super::marksweep::{MarkSweepSnapshot, MarkSweepSpace, MarkSweepTracer};
use super::uncollected::{UncollectedSnapshot, UncollectedSpaces, UncollectedTracer};
use derive_where::derive_where;
use mmtk_core::alloc::Allocators;
use mmtk_core::events::CollectionKind;
use mmtk_core::metadata::{Ages, MAX_CELL_BYTES, Moves};
use mmtk_core::pause::Pause;
use mmtk_core::space::{Space, Spaces};
use mmtk_core::trace::{ObjectItem, SnapshotTracer, SpaceTracer, Traced};
use mmtk_core::workers::{Count, Worker};
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
    pub fn new(context: &PlanContext<'_, VM>, ages: Ages) -> Result<Self, HeapError> {
        Self::with(context, ages, UncollectedSpaces::new(context, ages)?)
    }

    /// The same for a plan that moves objects after the trace, and calls [`CommonSpaces::update_references`].
    pub fn revisited(context: &PlanContext<'_, VM>, ages: Ages) -> Result<Self, HeapError> {
        Self::with(context, ages, UncollectedSpaces::revisited(context, ages)?)
    }

    fn with(context: &PlanContext<'_, VM>, ages: Ages, uncollected: UncollectedSpaces<VM>) -> Result<Self, HeapError> {
        Ok(CommonSpaces {
            large: LargeObjectSpace::new(context, ages)?,
            nonmoving: MarkSweepSpace::nonmoving(context, ages)?,
            uncollected,
        })
    }

    /// The plan's own spaces, and these.
    pub fn spaces_with<'a>(&'a self, own: &[&'a dyn Space]) -> Spaces<'a> {
        let these: [&dyn Space; 2] = [&self.large, &self.nonmoving];
        self.uncollected.spaces_behind(own.iter().copied().chain(these))
    }

    /// A large object.
    pub fn allocate_large(&self, allocators: &mut Allocators, bytes: usize) -> Option<Address> {
        self.large.allocate(bytes, allocators)
    }

    /// An object for which the VM asked a certain space, or with `Semantics::Default` a large object: one
    /// that the plan's own spaces do not take.
    pub fn allocate_special(&self, allocators: &mut Allocators, bytes: usize, semantics: Semantics) -> Option<Address> {
        match semantics {
            Semantics::Immortal => self.uncollected.allocate_immortal(allocators, bytes),
            Semantics::NonMoving if bytes <= MAX_CELL_BYTES => self.nonmoving.allocate(allocators, bytes),
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

    /// A marking beside mutators begins. In a pause.
    pub fn begin_snapshot(&self) {
        self.large.begin_snapshot();
        self.nonmoving.begin_snapshot();
        self.uncollected.begin_snapshot();
    }

    /// The policy of the marking in progress.
    pub fn snapshot(&self) -> CommonSnapshot<'_, VM> {
        CommonSnapshot(((self.large.snapshot(), self.nonmoving.snapshot()), self.uncollected.snapshot()))
    }

    /// The policy for this pause's trace.
    pub fn tracer(&self) -> CommonTracer<'_, VM> {
        CommonTracer(((self.large.tracer(), self.nonmoving.tracer()), self.uncollected.tracer()))
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

type Each<'a, VM> = ((LargeTracer<'a, VM>, MarkSweepTracer<'a, VM>), UncollectedTracer<'a, VM>);

/// Marks objects of the common spaces. They are few in most programs, so their policies are not part of each
/// loop.
#[derive_where(Clone, Copy)]
pub struct CommonTracer<'a, VM>(Each<'a, VM>);

impl<VM: VMBinding> SpaceTracer<VM> for CommonTracer<'_, VM> {
    type Item = ObjectItem;

    fn holds(&self, object: ObjectReference) -> bool {
        self.0.holds(object)
    }

    #[inline(never)]
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        self.0.trace(object, worker)
    }

    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        self.0.resolve(object)
    }
}

type EachSnapshot<'a, VM> = ((LargeSnapshot<'a, VM>, MarkSweepSnapshot<'a, VM>), UncollectedSnapshot<'a, VM>);

/// Claims objects of the common spaces beside mutators.
#[derive_where(Clone, Copy)]
pub struct CommonSnapshot<'a, VM>(EachSnapshot<'a, VM>);

impl<VM: VMBinding> SnapshotTracer<VM> for CommonSnapshot<'_, VM> {
    fn holds(&self, object: ObjectReference) -> bool {
        self.0.holds(object)
    }

    #[inline(never)]
    fn is_white(&self, object: ObjectReference) -> bool {
        self.0.is_white(object)
    }

    #[inline(never)]
    fn claim(&self, object: ObjectReference, count: &mut impl Count) -> bool {
        self.0.claim(object, count)
    }

    fn is_large(&self, object: ObjectReference) -> bool {
        self.0.is_large(object)
    }
}
