//! Native references and finalizers as values: their kinds and their options.

use super::table::{Handle, SERIAL_BITS};
use crate::address::ObjectReference;

/// How strongly a reference holds on to its target.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum ReferenceKind {
    /// Keeps its target until memory is short: an emergency collection clears it, and so does a full
    /// collection when it was not used during the last `references.soft_collections` full ones.
    Soft,
    /// Cleared by the first collection that does not reach the target otherwise, before finalizers are told.
    Weak,
    /// Cleared when the target cannot come back any more: not even through a finalizer. Its target cannot be
    /// asked for.
    Phantom,
    /// A key and a value: keeps its value as long as the key, and the owner if it has one, are live for other
    /// reasons (the value may lead to them). Cleared as phantom references are.
    Ephemeron,
}

impl ReferenceKind {
    pub(crate) const ALL: [ReferenceKind; 4] =
        [ReferenceKind::Soft, ReferenceKind::Weak, ReferenceKind::Phantom, ReferenceKind::Ephemeron];
}

/// A native reference: a number that the VM keeps wherever it likes, in the raw data of an object for
/// example.
///
/// It is used with the heap that made it. To use it after it was freed, or after its owner died, is an error
/// of the VM, and panics. (Once in half a billion references of the kind, one made since may look like it.)
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reference {
    pub(crate) kind: ReferenceKind,
    pub(crate) handle: Handle,
}

impl Reference {
    /// Its kind.
    pub fn kind(self) -> ReferenceKind {
        self.kind
    }

    /// As a word, never 0; for compiled code and C.
    pub fn to_bits(self) -> u64 {
        let Handle { number, serial } = self.handle;
        (self.kind as u64 + 1) << KIND_SHIFT | u64::from(serial) << 32 | u64::from(number)
    }

    /// The reference again; none if the word is none's.
    pub fn from_bits(bits: u64) -> Option<Reference> {
        let kind = usize::try_from((bits >> KIND_SHIFT).checked_sub(1)?).ok()?;
        let serial = (bits >> 32) as u32 & ((1 << SERIAL_BITS) - 1);
        Some(Reference { kind: *ReferenceKind::ALL.get(kind)?, handle: Handle { number: bits as u32, serial } })
    }
}

/// Where the kind is in a word.
const KIND_SHIFT: u32 = 32 + SERIAL_BITS;

/// What else is said of a new reference.
#[derive(Copy, Clone, Default, Debug)]
pub struct Terms {
    /// The reference is freed when this object dies: the VM's own weak reference object, say. None: it stays
    /// until it is freed.
    pub owner: Option<ObjectReference>,
    /// Once a collection has cleared it, [`References::next_cleared`](crate::References::next_cleared)
    /// returns it, and until then its owner stays alive. Not if the owner died in the same collection.
    pub notify: bool,
}

/// A registered finalizer, by which it can be withdrawn.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Finalizer(pub(crate) Handle);

/// When an unreachable object with a finalizer is queued.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum FinalizerOrder {
    /// In the collection that finds it unreachable, whatever else refers to it.
    Any,
    /// Not while another unreachable object that waits for its finalizer refers to it, by however many steps:
    /// a finalizer finds what its object uses as it was, whatever the finalizer does. An object that was held
    /// back is queued by the first collection after its referrers have gone, so a chain of `n` objects takes
    /// `n` collections.
    ///
    /// Objects in a cycle would wait for each other for ever; they, and what they refer to, are queued by the
    /// first collection that finds no finalizer whose turn it is. A cycle through one such object alone holds
    /// nothing up. An ephemeron does not refer to its value here.
    ReferrersFirst,
    /// As `ReferrersFirst`, but not held back for later collections: one collection queues a whole acyclic
    /// chain, each object behind all that refer to it. For a VM that runs finalizers one after the other, in
    /// the order in which [`References::next_finalizable`](crate::References::next_finalizable) returns them.
    ///
    /// What is queued stays so: a finalizer that makes its object reachable again does not save the objects
    /// behind it from theirs. An object is held back only by referrers that are held back themselves: those
    /// in a cycle, and with `ReferrersFirst`; and by referrers with `Any`, until the next collection.
    Topological,
}

/// When a finalizer is due, in the bits of its entry until it is queued. 0: whatever refers to its object.
pub(crate) const REFERRERS_FIRST: u64 = 1;
pub(crate) const TOPOLOGICAL: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_survives_the_way_through_a_word() {
        for kind in ReferenceKind::ALL {
            for (number, serial) in [(0, 0), (1, 7), (u32::MAX, 0), (u32::MAX, (1 << SERIAL_BITS) - 1)] {
                let reference = Reference { kind, handle: Handle { number, serial } };
                assert_ne!(reference.to_bits(), 0);
                assert_eq!(Reference::from_bits(reference.to_bits()), Some(reference));
            }
        }
        assert_eq!([0, 17, 5 << 32, u64::MAX].map(Reference::from_bits), [None; 4]);
    }
}
