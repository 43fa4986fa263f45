//! The write barrier: one test for two kinds of plans. A mutator compares some bits of an object's state byte
//! with what it expects, before it stores into the object; if they differ, it calls the slow path. Which bits
//! and what is expected are two bytes of the mutator, which leaders change in pauses.
//!
//! | armed | bits | expected | the slow path |
//! |---|---|---|---|
//! | not | none | | |
//! | to remember | UNLOGGED | clear | remembers the object, or of a large array the part |
//! | for a snapshot | the epoch | the marking's | reads all slots of the object, and claims it |
//!
//! Generational plans arm it to remember while minor collections pay, plans that mark beside mutators for a
//! snapshot while they mark (`trace/snapshot.rs`).
//!
//! # Generational plans
//! An object that survived a collection is *unlogged*: a bit of its state byte says so
//! (`metadata::UNLOGGED`). Each store of a reference into an object is preceded by a test of that object's
//! bit. If it is set, the mutator clears it and notes the object; so an object is noted once between two
//! collections, however often it is written. A minor collection visits the slots of the noted objects as
//! roots, and makes the objects unlogged again. A full collection forgets the notes: it makes unlogged
//! whatever it marks.
//!
//! A large array keeps its bit: each store into it takes the slow path, which notes the page of the array
//! that the slot lies in, once between two collections, and a minor collection visits the slots of that page.
//! Once half of its pages are noted the array is noted like any object (`metadata/array_parts.rs`). Arrays in
//! other spaces than that for large objects are remembered whole.
//!
//! A new object's bit is clear, so its initialising stores cost the test alone, and may leave the barrier
//! out. This barrier is armed only while a minor collection is to come (`pacer::nursery`), and never in plans
//! that are not generational: until then the barrier does not look at the object, whose state may lie in
//! another cache line than the slot (a quarter more CPU in a program of random stores into old objects). It
//! is armed at the end of a full collection, which has made unlogged whatever lives.
//!
//! # Plans that mark beside mutators
//! What exists when a marking begins is claimed by the marker that has read its slots, or by a mutator that
//! is about to store into it and has read them first. Either sets the epoch in the state byte, and stores
//! cost the test alone from then on. A new object carries another epoch: its first store comes to the slow
//! path, which sets this one, and reads nothing. Initialising stores may leave the barrier out here, too.
//!
//! I1. The bit of an object is set by GC workers in pauses and cleared by mutators between them.
//! I2. There is no safepoint between a barrier and its store, so a pause never finds a store that was not
//!     noted.
//! I3. Two mutators may write to the same object: the one whose exchange clears the bit notes it. So it is
//!     with the parts of an array (`protocols::part_marks`).
//! I4. A store into an object that existed when the marking in progress began comes after all slots of the
//!     object were read: who sees the epoch in its state byte, or fails to set it, sees that (Acquire).
//! Source: the object-remembering barrier of Blackburn and McKinley, "In or out? Putting write barriers in
//! their place" (ISMM 2002).

use crate::binding::{StateLocation, VMBinding};
use crate::metadata::{EPOCH_MASK, ObjectStates, UNLOGGED};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// The barrier's test, for compiled code. A store into an object comes to the slow path if
/// `(state ^ expected) & mask` is not zero. `mask` and `expected` are bytes of the mutator, at
/// [`MutatorState::BARRIER_OFFSET`](crate::MutatorState) and behind it; they change at safepoints alone, and
/// while `mask` is zero nothing has to be tested. `state` is the byte at `base + (object >> shift)`
/// (wrapping), loaded with Acquire.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct BarrierTest {
    /// What is added to the shifted address of the object.
    pub base: usize,
    /// How far the address of the object is shifted to the right.
    pub shift: u32,
}

impl BarrierTest {
    pub(crate) fn new<VM: VMBinding>(states: &ObjectStates<VM>) -> BarrierTest {
        let (base, shift) = match VM::STATE {
            StateLocation::HeaderTopByte(offset) => (offset.wrapping_add(7) as usize, 0),
            StateLocation::Side => states.table_parts(),
        };
        BarrierTest { base, shift }
    }
}

/// What the barrier does.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Armed {
    /// It looks at no object.
    No,
    /// It remembers old objects.
    Remember,
    /// A marking of this epoch is in progress: objects that do not carry it are claimed.
    Snapshot(u8),
}

/// The same as two bytes of a mutator.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct BarrierBytes {
    /// Which bits of an object's state are compared.
    mask: AtomicU8,
    /// What with.
    expected: AtomicU8,
}

impl BarrierBytes {
    /// While the thread is stopped, or by itself.
    pub fn set(&self, armed: Armed) {
        let (mask, expected) = match armed {
            Armed::No => (0, 0),
            Armed::Remember => (UNLOGGED, 0),
            Armed::Snapshot(epoch) => (EPOCH_MASK, epoch),
        };
        // Relaxed: the safepoint orders it.
        self.mask.store(mask, Relaxed);
        self.expected.store(expected, Relaxed);
    }

    /// What was set.
    #[inline(always)]
    pub fn get(&self) -> Armed {
        match (self.mask.load(Relaxed), self.expected.load(Relaxed)) {
            (0, _) => Armed::No,
            (_, 0) => Armed::Remember,
            (_, epoch) => Armed::Snapshot(epoch),
        }
    }

    /// Whether a store comes to the slow path, into an object of which `state` is the state byte.
    #[inline(always)]
    pub fn asks(&self, state: impl FnOnce() -> u8) -> bool {
        let mask = self.mask.load(Relaxed);
        mask != 0 && (state() ^ self.expected.load(Relaxed)) & mask != 0
    }
}
