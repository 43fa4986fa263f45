//! What a plan is: spaces, how to allocate in them, and the steps of a collection.

use crate::memory::{Extent, Memory};
use crate::metadata::{Ages, ArrayParts, ObjectStarts, ObjectStates};
use crate::options::Options;
use std::sync::Arc;

/// What the file of a plan names.
pub use crate::{
    address::{Address, ObjectReference},
    alloc::{Allocators, Request, Semantics},
    binding::VMBinding,
    error::HeapError,
    events::CollectionKind,
    needs::Needs,
    pause::Pause,
    space::Spaces,
    trace::{Log, SnapshotTracer, Step},
    weak::SiftStep,
};

/// What a plan gets to build its spaces from.
#[non_exhaustive]
pub struct PlanContext<'a, VM> {
    /// The VM: a space that asks it about objects keeps it.
    pub vm: &'a Arc<VM>,
    /// Address space, tables, budget.
    pub memory: &'a Arc<Memory>,
    /// The checked options.
    pub options: &'a Options,
    /// Where the objects' state bytes are.
    pub states: ObjectStates<VM>,
    /// Which arrays the barrier remembers in parts, if the plan has minor collections.
    pub parts: ArrayParts,
}

impl<'a, VM: VMBinding> PlanContext<'a, VM> {
    pub(crate) fn new(
        vm: &'a Arc<VM>,
        memory: &'a Arc<Memory>,
        options: &'a Options,
        states: ObjectStates<VM>,
        parts: ArrayParts,
    ) -> Self {
        PlanContext { vm, memory, options, states, parts }
    }

    /// A table of where objects begin, for one space. It costs [`ObjectStarts::table_bytes`], which the space
    /// charges.
    pub fn object_starts(&self, extent: Extent) -> Result<ObjectStarts, HeapError> {
        Ok(ObjectStarts::new(self.memory, extent, VM::LOG_GRANULE)?)
    }
}

/// What users read about a plan, and what it asks for.
#[derive(Debug)]
pub struct PlanInfo {
    /// The name, as users write it; upper and lower case are the same.
    pub name: &'static str,
    /// What it is, in a line.
    pub what: &'static str,
    /// What it needs of a binding.
    pub needs: Needs,
}

impl PlanInfo {
    /// For the constructors of the plan's spaces: a plan that needs to know what old objects refer to has
    /// minor collections, and its spaces tell old objects from new ones.
    pub const fn ages(&self) -> Ages {
        match (self.needs.old_to_new, self.needs.snapshot) {
            (true, _) => Ages::NewAndOld,
            (false, true) => Ages::Snapshot,
            (false, false) => Ages::One,
        }
    }
}

/// A complete collector.
///
/// The virtual calls happen per buffer refill and per pause; the tracing loop is compiled for the
/// [`SpaceTracer`](crate::trace::SpaceTracer)s of the plan's spaces.
pub trait Plan<VM: VMBinding>: Send + Sync {
    /// What it is, and what it needs of the binding: if the binding does not meet that, no heap is made. A
    /// heap is refused, by a panic, if a space was made with other [`Ages`] than [`PlanInfo::ages`].
    fn info(&self) -> &'static PlanInfo;

    /// All its spaces. The verifier reports objects of a space that is not among them.
    fn spaces(&self) -> Spaces<'_>;

    /// The slow path of allocation, for what the fast path has no memory: memory for the request, zeroed,
    /// from the present range or a new one; memory that takes long to zero goes to
    /// [`Allocators::zero_later`]. `None` if the budget is exhausted; then the caller collects and tries
    /// again. Called by any mutator; takes no lock in the common case.
    fn allocate(&self, allocators: &mut Allocators, request: Request) -> Option<Address>;

    /// One collection, from stopped mutators to swept spaces. Called by the leader of a pause.
    fn collect(&self, pause: &mut Pause<'_, VM>);

    /// How it collects beside mutators; none for plans whose collections are pauses. `collect` is then the
    /// collection of a heap in which no marking is in progress, with mutators stopped: when memory is out, or
    /// the VM asks for it.
    fn beside(&self) -> Option<&dyn Beside<VM>> {
        None
    }

    /// Whether a forked process has memory of its own for the objects
    /// ([`Mutator::fork`](crate::Mutator::fork)).
    fn can_fork(&self) -> bool {
        true
    }

    /// Whether it collects at all.
    fn can_collect(&self) -> bool {
        true
    }
}

/// A collection beside mutators, in the order in which it happens: a pause begins it, threads mark while
/// mutators run, a pause ends it, and the spaces are swept when mutators run again. Between the two pauses
/// there may be others, which find the marking at rest.
///
/// Each of these is a line or two: the plan prepares its spaces, and hands [`SnapshotTracer`]s of all of them
/// to the step.
pub trait Beside<VM: VMBinding>: Send + Sync {
    /// In a pause: the spaces begin an epoch and a snapshot, then
    /// [`Pause::copy_roots`](crate::pause::Pause::copy_roots).
    fn begin(&self, pause: &mut Pause<'_, VM>);

    /// While mutators run, by any thread: [`Step::mark`].
    fn mark(&self, step: &mut Step<'_, VM>);

    /// While mutators run, by any thread, when nothing is left to be marked for now: [`SiftStep::look`].
    fn sift(&self, step: &mut SiftStep<'_, VM>);

    /// In a pause: [`Pause::finish_marking`](crate::pause::Pause::finish_marking), then the spaces sweep, now
    /// or when mutators run again.
    fn end(&self, pause: &mut Pause<'_, VM>);

    /// A mutator is about to store into an object, and the marking is in progress: [`Log::visit`].
    fn visit(&self, object: ObjectReference, log: &mut Log<'_, VM>);

    /// A mutator has a reference that came from nowhere, and the marking is in progress: [`Log::keep`].
    fn keep(&self, object: ObjectReference, log: &mut Log<'_, VM>);

    /// The epoch of the marking in progress, which claimed objects carry in their state bytes. The same in
    /// all spaces.
    fn epoch(&self) -> u8;
}
