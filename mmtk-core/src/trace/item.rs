//! Edges: what the stack of a trace holds.

use crate::address::ObjectReference;
use crate::binding::{Slot, VMBinding};

/// An edge on the stack.
pub trait TraceItem<VM: VMBinding>: Copy + Send + 'static {
    /// The edges of a trace through spaces of which one has these, and another has those: slots if either
    /// moves objects.
    type With<Other: TraceItem<VM>>: TraceItem<VM>;
    /// The edge through a slot; none if the slot is null.
    fn from_slot(slot: VM::Slot) -> Option<Self>;
    /// The object at its end.
    fn target(self) -> Option<ObjectReference>;
    /// The object is now here.
    fn update(self, object: ObjectReference);
    /// The edge from an ambiguous word; none where edges are slots, which an ambiguous word is not.
    #[inline(always)]
    fn from_object(_object: ObjectReference) -> Option<Self> {
        None
    }
}

/// The edge as its target: for traces in which nothing moves.
#[derive(Copy, Clone, Debug)]
#[repr(transparent)]
pub struct ObjectItem(pub ObjectReference);

impl<VM: VMBinding> TraceItem<VM> for ObjectItem {
    type With<Other: TraceItem<VM>> = Other;

    #[inline(always)]
    fn from_slot(slot: VM::Slot) -> Option<Self> {
        slot.load().map(ObjectItem)
    }
    #[inline(always)]
    fn target(self) -> Option<ObjectReference> {
        Some(self.0)
    }
    #[inline(always)]
    fn update(self, _object: ObjectReference) {}
    #[inline(always)]
    fn from_object(object: ObjectReference) -> Option<Self> {
        Some(ObjectItem(object))
    }
}

/// The edge as its slot, which is updated when the target moves.
#[derive(Copy, Clone, Debug)]
#[repr(transparent)]
pub struct SlotItem<S>(pub S);

impl<VM: VMBinding> TraceItem<VM> for SlotItem<VM::Slot> {
    type With<Other: TraceItem<VM>> = Self;

    #[inline(always)]
    fn from_slot(slot: VM::Slot) -> Option<Self> {
        slot.load().map(|_| SlotItem(slot))
    }
    #[inline(always)]
    fn target(self) -> Option<ObjectReference> {
        self.0.load()
    }
    #[inline(always)]
    fn update(self, object: ObjectReference) {
        self.0.store(object);
    }
}
