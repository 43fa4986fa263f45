//! What a space is: the questions that every space answers, and the functions of spaces whose objects the VM
//! frees.

mod pool;
mod region;
mod spaces;
mod unswept;

pub use pool::{PoolCells, Pools, SharedCells};
pub use region::{RegionMemory, Regions};
pub use spaces::Spaces;
pub use unswept::{LeftToSweep, Unswept};

use crate::address::{Address, ObjectReference};
use crate::alloc::Allocators;
use crate::memory::Extent;
use crate::metadata::Ages;

/// A region of the heap with one policy.
pub trait Space: Send + Sync {
    /// Its name in reports.
    fn name(&self) -> &'static str;
    /// Its part of the address range.
    fn extent(&self) -> Extent;
    /// Whether its objects may move. The answer is the same as long as the heap exists.
    fn moves(&self) -> bool;
    /// Whether pinned objects stay where they are (`pin`).
    fn pins(&self) -> bool {
        !self.moves()
    }
    /// Whether it tells old objects from new ones: what it was made with. A heap is refused if that is not
    /// what its plan says ([`PlanInfo::ages`](crate::PlanInfo::ages)).
    fn ages(&self) -> Ages;
    /// A mutator's ranges are about to be forgotten, at the beginning of each pause and when it detaches: a
    /// space that must know about them takes note.
    fn retire(&self, _allocators: &mut Allocators) {}
    /// Itself, if its sweep may leave something for when mutators run again
    /// ([`Pause::leaves_sweep`](crate::pause::Pause::leaves_sweep)).
    fn unswept(&self) -> Option<&dyn Unswept> {
        None
    }
    /// Bytes it has reserved: blocks or pages it owns, and what it holds in reserve for them.
    fn reserved_bytes(&self) -> usize;
    /// Whether `[address, address + bytes)` is memory that an object can occupy now. The answer is for the
    /// verifier: in its own words, what is wrong.
    fn check_object(&self, object: ObjectReference, bytes: usize) -> Result<(), String>;
    /// After a full trace and before mutators run: whether the space's tables agree that this reachable
    /// object is live. Asked again before the next trace of objects that the binding may have kept alive.
    fn check_live(&self, object: ObjectReference, bytes: usize) -> Result<(), String>;
    /// The object that lies at an address of this extent, which may be anywhere inside it. Objects that the
    /// last collection found dead are none; new ones are found whether anything refers to them or not. For
    /// bindings with `OBJECT_STARTS`.
    fn find_object(&self, _address: Address) -> Option<ObjectReference> {
        None
    }
    /// Whether the bits of [`ObjectStates::starts`](crate::metadata::ObjectStates::starts) are kept here:
    /// mutators set them.
    fn keeps_starts(&self) -> bool {
        false
    }
    /// Visits the objects that `find_object` would find, in a pause or while no other thread allocates. For
    /// bindings with `OBJECT_STARTS`.
    fn for_each_object(&self, _visit: &mut dyn FnMut(ObjectReference)) {}
    /// Whether an object that `find_object` found has survived a collection.
    fn survived(&self, _object: ObjectReference) -> bool {
        false
    }
    /// The space's view of an address, for error messages.
    fn describe(&self, address: Address) -> String {
        format!("{address} in {} space", self.name())
    }
}
