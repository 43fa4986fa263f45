//! What a space does with an object that the trace reached, and several spaces together.

use super::item::TraceItem;
use crate::address::ObjectReference;
use crate::binding::VMBinding;
use crate::workers::Worker;

/// What became of an object when the trace reached it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Traced {
    /// Reached before; it is here.
    Seen(ObjectReference),
    /// Reached for the first time; it is here, and its slots must be visited.
    New(ObjectReference),
    /// As `New`, in a space for large objects: its slots may be visited in parts.
    NewLarge(ObjectReference),
}

/// A space's policy for one trace: a small value, made when the pause has prepared the space, and copied into
/// every worker's loop, which is compiled for it.
///
/// A pair of them is the policy of both spaces, and so on: a plan hands the trace its spaces as nested pairs,
/// that of most objects first.
pub trait SpaceTracer<VM: VMBinding>: Copy + Send + Sync {
    /// What the stack of the trace holds: [`ObjectItem`](super::ObjectItem) if this space moves nothing,
    /// [`SlotItem`](super::SlotItem) otherwise.
    type Item: TraceItem<VM>;

    /// Whether the object is in this space.
    fn holds(&self, object: ObjectReference) -> bool;

    /// Marks an object of this space, or copies it. Any worker; two may be told of the same object at once,
    /// and one of them at least must answer that it is new.
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced;

    /// Where an object of this space is now; none if the trace has not reached it.
    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference>;

    /// Brings near what `trace` will read. The object may be in any space.
    #[inline(always)]
    fn prefetch(&self, object: ObjectReference) {
        object.address().prefetch();
    }
}

impl<VM: VMBinding, A: SpaceTracer<VM>, B: SpaceTracer<VM>> SpaceTracer<VM> for (A, B) {
    type Item = <A::Item as TraceItem<VM>>::With<B::Item>;

    #[inline(always)]
    fn holds(&self, object: ObjectReference) -> bool {
        self.0.holds(object) || self.1.holds(object)
    }

    #[inline(always)]
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        match self.0.holds(object) {
            true => self.0.trace(object, worker),
            false => self.1.trace(object, worker),
        }
    }

    #[inline]
    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        match self.0.holds(object) {
            true => self.0.resolve(object),
            false => self.1.resolve(object),
        }
    }

    /// Of the space that has most objects.
    #[inline(always)]
    fn prefetch(&self, object: ObjectReference) {
        self.0.prefetch(object);
    }
}
