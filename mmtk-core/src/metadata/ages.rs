//! Whether a space tells old objects from new ones, and what that makes of the mark of an object.
//!
//! 1. A plan has minor collections or not; its `PlanInfo` says so, and gives the value
//!    ([`PlanInfo::ages`](crate::PlanInfo::ages)).
//! 2. The plan hands the value to the constructor of each space, which keeps it and answers for it
//!    (`Space::ages`). The tables that spaces share know nothing of ages.
//! 3. A heap is refused if one of its spaces has other ages than its plan: a minor collection would free
//!    what the objects of that space refer to.

use protocols::forwarding::{EPOCH_MAX, UNLOGGED};

/// The ages of the objects of a space.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Ages {
    /// All are alike: each collection is a full one.
    One,
    /// All are alike, and collections mark beside mutators: the tables of the space tell which objects
    /// existed when the marking began (`trace/snapshot.rs`).
    Snapshot,
    /// What survived a collection is old. Old objects become unlogged as they are marked, so that the barrier
    /// notes them, and a minor collection takes them for live.
    NewAndOld,
}

impl Ages {
    /// Whether there are old objects.
    #[inline(always)]
    pub fn has_old(self) -> bool {
        self == Ages::NewAndOld
    }

    /// Whether objects are marked beside mutators, so that the barrier claims them.
    #[inline(always)]
    pub fn at_snapshot(self) -> bool {
        self == Ages::Snapshot
    }

    /// Whether the barrier looks at the state byte of objects: it is kept in every space then.
    #[inline(always)]
    pub fn has_barrier(self) -> bool {
        self != Ages::One
    }

    /// What to mark objects with in this epoch.
    ///
    /// # Panics
    /// When it is larger than [`EPOCH_MAX`](super::EPOCH_MAX).
    pub fn mark_of(self, epoch: u8) -> ObjectMark {
        assert!(epoch <= EPOCH_MAX, "epoch {epoch}: the last is {EPOCH_MAX}");
        ObjectMark(if self.has_old() { epoch | UNLOGGED } else { epoch })
    }
}

/// What an object is marked with: an epoch, and where there are old objects the bit of the barrier
/// ([`Ages::mark_of`]).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct ObjectMark(pub(super) u8);

impl ObjectMark {
    /// Of no epoch: as a new object.
    pub const NONE: ObjectMark = ObjectMark(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_objects_are_unlogged_where_there_are_any() {
        assert_eq!((Ages::One.mark_of(3).0, Ages::NewAndOld.mark_of(3).0), (3, 3 | UNLOGGED));
        assert!(!Ages::One.has_old() && Ages::NewAndOld.has_old());
    }
}
