//! Objects that stay where they are for the length of a pause: targets of pinned roots, and what ambiguous
//! words refer to.
//!
//! I1. The bits that a pause sets are cleared at its end.
//! Callers: the leader.

use crate::address::ObjectReference;
use crate::binding::VMBinding;
use crate::memory::{Arena, Extent, List};
use crate::metadata::ObjectStates;
use crate::trace::Targets;

/// A space whose objects may move.
pub(crate) struct Moving {
    pub extent: Extent,
    pub name: &'static str,
    /// Whether pinned objects stay.
    pub pins: bool,
}

/// The bits that a pause set.
pub(crate) struct PinnedForPause<'a, VM> {
    states: &'a ObjectStates<VM>,
    objects: List<'a, ObjectReference>,
}

impl<'a, VM: VMBinding> PinnedForPause<'a, VM> {
    /// Pins what the binding's pinned roots refer to, and ambiguous ones. The leader, before the trace.
    pub fn begin(
        vm: &VM,
        states: &'a ObjectStates<VM>,
        moving: &[Moving],
        ambiguous: &[ObjectReference],
        arena: &'a Arena,
    ) -> Self {
        let mut objects = arena.collect(ambiguous.iter().copied());
        if VM::PINS_ROOTS {
            vm.scan_pinned_roots(&mut Targets(&mut objects));
        }
        let moves = |object: &ObjectReference| moving.iter().any(|space| space.extent.holds(*object));
        objects.retain(|object| moves(object) && states.pin_for_pause(*object));
        PinnedForPause { states, objects }
    }

    /// Unpins them. The leader, when nothing moves any more.
    pub fn end(self) {
        self.objects.into_iter().for_each(|object| self.states.set_pinned(object, false));
    }
}
