//! Pinning: objects that must stay where they are, because code outside the heap knows their address.
//!
//! | pinned by | until |
//! |---|---|
//! | a mutator: [`Mutator::pin`] | as many [`Mutator::unpin`], or the object's death: a pin does not keep it alive |
//! | the binding: `scan_pinned_roots` | the end of the collection; these are roots, too |
//! | the binding: `scan_transitively_pinned_roots` | the same, and all that they reach stays as well |
//! | stacks that are scanned conservatively | the same as for pinned roots |
//!
//! A pinned object has a bit set in its state byte (`metadata::PINNED`). A space that moves objects claims
//! each object before it copies it. If the bit is set, the object is settled in place, and its block is kept;
//! the other objects of the block move. The counts are in a table keyed by objects. What is reached from
//! transitively pinned roots is traced first, in place; then it is marked, and the trace that moves objects
//! passes it over.
//!
//! I1. The bit of an object is set while its count is not zero: both change under the lock of the table
//!     (`protocols::pin_count`).
//! I2. The barrier's bit is in the same byte, so both are changed by an exchange.
//! Callers: mutators. What a pause pins for its roots: `pause/pins.rs`.

use super::Mutator;
use crate::address::ObjectReference;
use crate::binding::VMBinding;
use crate::error::{MayBeOutOfMemory, OutOfMemory};
use protocols::pin_count;
use std::fmt;

/// Why an object cannot be pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinError {
    /// It is in a space that moves all its objects.
    Moves {
        /// The object.
        object: ObjectReference,
        /// The plan.
        plan: &'static str,
        /// The space.
        space: &'static str,
    },
    /// The table of pins cannot grow.
    OutOfMemory(OutOfMemory),
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PinError::Moves { object, plan, space } => write!(
                f,
                "{object} cannot be pinned: {plan} moves every object of its {space} space; choose a plan that evacuates around \
                 pinned objects, or allocate it with Semantics::NonMoving"
            ),
            PinError::OutOfMemory(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for PinError {}

impl MayBeOutOfMemory for PinError {
    fn out_of_memory(&mut self) -> Option<&mut OutOfMemory> {
        match self {
            PinError::Moves { .. } => None,
            PinError::OutOfMemory(error) => Some(error),
        }
    }
}

impl<VM: VMBinding> Mutator<VM> {
    /// Makes the object stay where it is until [`Mutator::unpin`] is called as often. It does not keep the
    /// object alive. Objects that never move, and those outside the heap, need no pin and can have one. Not a
    /// safepoint.
    ///
    /// # Errors
    /// The plan moves all objects of this space; or there is no memory for the table of pins (see
    /// [`Mutator::or_collect`]).
    ///
    /// # Panics
    /// In a native region of this mutator.
    pub fn pin(&self, object: ObjectReference) -> Result<(), PinError> {
        self.check_running();
        let Some(moving) = self.moving(object) else { return Ok(()) };
        if !moving.pins {
            return Err(PinError::Moves { object, plan: self.plan_name(), space: moving.name });
        }
        let states = self.states();
        let set = |pinned| states.set_pinned(object, pinned);
        let pins = self.weak_tables().pins();
        let added = self.or_sweep(|| pins.update(object, |count| pin_count::one_more(count, set)));
        added.map(|_| ()).map_err(PinError::OutOfMemory)
    }

    /// Takes back one [`Mutator::pin`].
    ///
    /// # Panics
    /// When the object may move and has no pin; or in a native region of this mutator.
    pub fn unpin(&self, object: ObjectReference) {
        self.check_running();
        if self.moving(object).is_none() {
            return;
        }
        let states = self.states();
        let set = |pinned| states.set_pinned(object, pinned);
        let known = self.weak_tables().pins().alter(object, |count| pin_count::one_less(count, set));
        assert!(known, "{object} is unpinned more often than it was pinned");
    }

    /// Whether the object stays where it is until [`Mutator::unpin`] is called, or for ever.
    pub fn is_pinned(&self, object: ObjectReference) -> bool {
        self.check_running();
        self.moving(object).is_none() || self.weak_tables().pins().get(object).is_some()
    }
}
