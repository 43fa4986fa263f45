//! The write barrier of generational plans: an old object into which a mutator stores is remembered, or of a
//! large array the part.
//!
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
//! out. The barrier is armed only while a minor collection is to come (`pacer::nursery`), and never in plans
//! that are not generational: until then it does not look at the object, whose state may lie in another cache
//! line than the slot (a quarter more CPU in a program of random stores into old objects). It is armed at the
//! end of a full collection, which has made unlogged whatever lives.
//!
//! I1. The bit of an object is set by GC workers in pauses and cleared by mutators between them.
//! I2. There is no safepoint between a barrier and its store, so a pause never finds a store that was not
//!     noted.
//! I3. Two mutators may write to the same object: the one whose exchange clears the bit notes it. So it is
//!     with the parts of an array (`protocols::part_marks`).
//! Source: the object-remembering barrier of Blackburn and McKinley, "In or out? Putting write barriers in
//! their place" (ISMM 2002).

use crate::binding::{StateLocation, VMBinding};
use crate::metadata::{ObjectStates, UNLOGGED};

/// The barrier's test, for compiled code: the byte at `base + (object >> shift)` (wrapping), and the bit in
/// it that says "call the slow path". One relaxed load and one branch.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct BarrierTest {
    /// What is added to the shifted address of the object.
    pub base: usize,
    /// How far the address of the object is shifted to the right.
    pub shift: u32,
    /// The bit.
    pub bit: u8,
}

impl BarrierTest {
    pub(crate) fn new<VM: VMBinding>(states: &ObjectStates<VM>) -> BarrierTest {
        let (base, shift) = match VM::STATE {
            StateLocation::HeaderTopByte(offset) => (offset.wrapping_add(7) as usize, 0),
            StateLocation::Side => states.table_parts(),
        };
        BarrierTest { base, shift, bit: UNLOGGED }
    }
}
