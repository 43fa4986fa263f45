//! What a plan tells the tracing loop.

use crate::address::{Address, ObjectReference};
use crate::binding::{Slot, VMBinding};
use crate::workers::Worker;

/// An edge on the stack.
pub trait TraceItem<VM: VMBinding>: Copy + Send + 'static {
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

/// A plan's tracing policy: a small value, copied into every worker's loop, which is compiled for it.
pub trait Tracer<VM: VMBinding>: Copy + Send + Sync {
    /// What its stack holds: [`ObjectItem`] if no object moves, [`SlotItem`] otherwise.
    type Item: TraceItem<VM>;

    /// Marks or copies the object, whichever its space does. Objects outside the heap are `Seen`.
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced;

    /// Brings near what `trace` will read.
    #[inline(always)]
    fn prefetch(&self, object: ObjectReference) {
        object.address().prefetch();
    }

    /// An object that lives because of one that this worker reached, but that no slot of it refers to.
    #[inline(always)]
    fn next_held(&self, _worker: &mut Worker) -> Option<ObjectReference> {
        None
    }

    /// The object that lies at an address, which may be anything: see
    /// [`Space::find_object`](crate::space::Space::find_object). For plans whose
    /// needs say `conservative` ([`Needs`](crate::needs::Needs)).
    fn find_object(&self, _address: Address) -> Option<ObjectReference> {
        None
    }

    /// Where the object is now if the trace has reached it. Objects outside the heap are live.
    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference>;
}
