//! The snapshot: what a marking that runs beside mutators has to reach, and how a space tells.
//!
//! The marking reaches what was reachable when it began. A pause takes that snapshot: it copies the roots,
//! and each space remembers which memory was handed out by then. What is allocated later lives until the next
//! collection, and is never scanned.
//!
//! 1. Whether an object is in the snapshot is told by tables of its space, by its address alone. A marker may
//!    find a reference to a new object in a slot before it can see the object's header; it never looks at
//!    such an object. No value that a table holds for new memory while a marking is in progress, or held
//!    before since the last pause, is one of an object in the snapshot.
//! 2. An object of the snapshot is white until somebody has claimed it: by one exchange on its state byte,
//!    after all its slots were read. Who fails to claim it forgets what it read: the slots may have changed.
//! 3. A mutator that is about to store into a white object does the same first. So each slot was read by the
//!    one who claimed the object while it still held what it held at the snapshot.
//!
//! Source: snapshot at the beginning, Yuasa, "Real-time garbage collection on general-purpose machines" (J.
//! Systems and Software 1990). That a loser forgets: Ulan Degenbaev et al., "Concurrent marking of
//! shape-changing objects" (ISMM 2019). The address test and the claim as the barrier's own test are ours.

use super::item::ObjectItem;
use super::tracer::{SpaceTracer, Traced};
use crate::address::ObjectReference;
use crate::binding::VMBinding;
use crate::workers::{Count, Worker};

/// A space's policy for a marking beside mutators: a small value, made when the space has begun the snapshot.
/// A pair of them is the policy of both spaces, as for [`SpaceTracer`].
pub trait SnapshotTracer<VM: VMBinding>: Copy + Send + Sync {
    /// Whether the object is in this space.
    fn holds(&self, object: ObjectReference) -> bool;

    /// Whether an object of this space existed when the marking began, and is not claimed. The address alone
    /// tells the first. False says of an object of the snapshot that its slots were read before this returns.
    fn is_white(&self, object: ObjectReference) -> bool;

    /// Claims a white object of this space whose slots the caller has read; true for one of several threads.
    /// That one has marked it with all that belongs to it, and counted it.
    fn claim(&self, object: ObjectReference, count: &mut impl Count) -> bool;

    /// Whether objects of this space may have many slots: in a pause they are scanned in parts.
    fn is_large(&self, _object: ObjectReference) -> bool {
        false
    }

    /// Brings near what a claim will read. The object may be in any space.
    #[inline(always)]
    fn prefetch(&self, object: ObjectReference) {
        object.address().prefetch();
    }
}

impl<VM: VMBinding, A: SnapshotTracer<VM>, B: SnapshotTracer<VM>> SnapshotTracer<VM> for (A, B) {
    #[inline(always)]
    fn holds(&self, object: ObjectReference) -> bool {
        self.0.holds(object) || self.1.holds(object)
    }

    #[inline(always)]
    fn is_white(&self, object: ObjectReference) -> bool {
        match self.0.holds(object) {
            true => self.0.is_white(object),
            false => self.1.is_white(object),
        }
    }

    #[inline(always)]
    fn claim(&self, object: ObjectReference, count: &mut impl Count) -> bool {
        match self.0.holds(object) {
            true => self.0.claim(object, count),
            false => self.1.claim(object, count),
        }
    }

    #[inline]
    fn is_large(&self, object: ObjectReference) -> bool {
        match self.0.holds(object) {
            true => self.0.is_large(object),
            false => self.1.is_large(object),
        }
    }

    #[inline(always)]
    fn prefetch(&self, object: ObjectReference) {
        self.0.prefetch(object);
    }
}

/// The same marking in a pause, where nothing is stored: objects are claimed first, then scanned, by the
/// tracing loop of all pauses. An array of which parts are claimed is scanned whole: what was stored into
/// those meanwhile is new, or is marked in any case.
#[derive(Copy, Clone)]
pub(crate) struct InPause<T>(pub T);

impl<VM: VMBinding, T: SnapshotTracer<VM>> SpaceTracer<VM> for InPause<T> {
    type Item = ObjectItem;

    #[inline(always)]
    fn holds(&self, object: ObjectReference) -> bool {
        self.0.holds(object)
    }

    #[inline(always)]
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        if !self.0.is_white(object) || !self.0.claim(object, worker) {
            return Traced::Seen(object);
        }
        if self.0.is_large(object) { Traced::NewLarge(object) } else { Traced::New(object) }
    }

    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        (!self.0.is_white(object)).then_some(object)
    }

    #[inline(always)]
    fn prefetch(&self, object: ObjectReference) {
        self.0.prefetch(object);
    }
}
