//! The state cell of an object, wherever the binding keeps it.
//!
//! The location is a constant of the binding, so the choice is made when the tracing loop is compiled.

use super::claimed::wait_for_claimer;
use super::object_starts::ObjectStarts;
use crate::address::{Address, ObjectReference};
use crate::binding::{StateLocation, VMBinding};
use crate::memory::SideBytes;
use crate::memory::{CHUNK_BYTES, Memory};
use protocols::forwarding::{Claim, HeaderCell, PINNED, SideCell, StateCell, UNLOGGED};
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::Ordering::Relaxed;

/// How to reach the state of an object of this heap.
pub struct ObjectStates<VM> {
    side: Option<SideBytes>,
    /// Where objects begin; absent if the binding does not ask for it.
    starts: ObjectStarts,
    /// Whether objects become unlogged as they are marked.
    generational: bool,
    vm: PhantomData<fn(VM)>,
}

impl<VM> Clone for ObjectStates<VM> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<VM> Copy for ObjectStates<VM> {}

impl<VM: VMBinding> ObjectStates<VM> {
    /// Makes the side table, if the binding lends no header byte.
    pub(crate) fn new(memory: &Memory) -> io::Result<Self> {
        let side = match VM::STATE {
            StateLocation::HeaderTopByte(_) => None,
            StateLocation::Side => Some(memory.side_bytes(memory.whole(), VM::LOG_GRANULE)?),
        };
        let starts = match VM::OBJECT_STARTS {
            true => ObjectStarts::new(memory, memory.whole(), VM::LOG_GRANULE)?,
            false => ObjectStarts::absent(memory.whole(), VM::LOG_GRANULE),
        };
        Ok(ObjectStates { side, starts, generational: false, vm: PhantomData })
    }

    /// The states of a plan that remembers stores.
    pub(crate) fn generational(self) -> Self {
        ObjectStates { generational: true, ..self }
    }

    /// Whether the plan remembers stores: then objects become unlogged as they are marked.
    #[inline(always)]
    pub fn is_generational(&self) -> bool {
        self.generational
    }

    /// What to mark objects with in this epoch.
    pub fn mark_of(&self, epoch: u8) -> u8 {
        if self.generational { epoch | UNLOGGED } else { epoch }
    }

    /// Base and shift of the side table, biased: the state byte of an object is at `base + (address >>
    /// shift)`.
    pub(crate) fn table_parts(&self) -> (usize, u32) {
        let table = self.side.as_ref().expect("made in `new` for this location");
        (table.biased_base().as_usize(), table.log_region())
    }

    /// The barrier's test: whether a store into this object of the heap must be noted.
    #[inline(always)]
    pub fn is_unlogged(&self, object: ObjectReference) -> bool {
        match VM::STATE {
            StateLocation::HeaderTopByte(offset) => Self::header(object, offset).is_unlogged(),
            StateLocation::Side => self.side(object).is_unlogged(),
        }
    }

    /// See [`StateCell::log`].
    pub fn log(&self, object: ObjectReference) -> bool {
        match VM::STATE {
            StateLocation::HeaderTopByte(offset) => Self::header(object, offset).log(),
            StateLocation::Side => self.side(object).log(),
        }
    }

    /// See [`StateCell::unlog`].
    #[inline(always)]
    pub fn unlog(&self, object: ObjectReference) {
        match VM::STATE {
            StateLocation::HeaderTopByte(offset) => Self::header(object, offset).unlog(),
            StateLocation::Side => self.side(object).unlog(),
        }
    }

    /// See [`StateCell::set_pinned`].
    pub(crate) fn set_pinned(&self, object: ObjectReference, pinned: bool) {
        match VM::STATE {
            StateLocation::HeaderTopByte(offset) => Self::header(object, offset).set_pinned(pinned),
            StateLocation::Side => self.side(object).set_pinned(pinned),
        }
    }

    /// In a pause: the object must stay where it is; whether nothing said so before.
    pub(crate) fn pin_for_pause(&self, object: ObjectReference) -> bool {
        match VM::STATE {
            StateLocation::HeaderTopByte(offset) => Self::header(object, offset).raise(PINNED),
            StateLocation::Side => self.side(object).raise(PINNED),
        }
    }

    /// What the tables cost per chunk of a space whose objects use their state.
    pub fn table_bytes_per_chunk() -> usize {
        let states = match VM::STATE {
            StateLocation::HeaderTopByte(_) => 0,
            StateLocation::Side => CHUNK_BYTES >> VM::LOG_GRANULE,
        };
        states + Self::start_bytes_per_chunk()
    }

    /// What the table of starts costs per chunk of a space that keeps them: part of the above.
    pub fn start_bytes_per_chunk() -> usize {
        if VM::OBJECT_STARTS { ObjectStarts::table_bytes(CHUNK_BYTES, VM::LOG_GRANULE) } else { 0 }
    }

    /// See [`ObjectStarts::set`].
    #[inline(always)]
    pub(crate) fn note_start(&self, address: Address) {
        self.starts().set_in_granules(address, VM::LOG_GRANULE);
    }

    /// Where objects begin. Only for bindings with [`VMBinding::OBJECT_STARTS`].
    #[inline(always)]
    pub fn starts(&self) -> &ObjectStarts {
        assert!(VM::OBJECT_STARTS, "the binding asks for no OBJECT_STARTS");
        &self.starts
    }

    #[inline(always)]
    fn header(object: ObjectReference, offset: isize) -> HeaderCell<'static> {
        // SAFETY: the object is live or a from-space copy in a pause, so its header is mapped until the pause
        // ends; the binding's contract (`StateLocation::HeaderTopByte`) makes the word ours to access
        // atomically.
        HeaderCell(unsafe { object.address().offset(offset).as_atomic_u64() })
    }

    #[inline(always)]
    fn side(&self, object: ObjectReference) -> SideCell<'_> {
        let table = self.side.as_ref().expect("made in `new` for this location");
        SideCell {
            state: table.at(object.address()),
            // SAFETY: the first word of the object, mapped as above; it is written only once the object was
            // copied.
            pointer: unsafe { object.address().as_atomic_u64() },
        }
    }

    /// Marks the object with [`ObjectStates::mark_of`] this epoch; false if it was marked in it. For objects
    /// that stay where they are.
    #[inline(always)]
    pub fn mark(&self, object: ObjectReference, mark: u8) -> bool {
        match VM::STATE {
            StateLocation::HeaderTopByte(offset) => Self::header(object, offset).mark(mark),
            StateLocation::Side => self.side(object).mark(mark),
        }
    }

    /// Whether the object is marked in `epoch`.
    #[inline(always)]
    pub fn is_marked(&self, object: ObjectReference, epoch: u8) -> bool {
        match VM::STATE {
            StateLocation::HeaderTopByte(offset) => Self::header(object, offset).is_marked(epoch),
            StateLocation::Side => self.side(object).is_marked(epoch),
        }
    }

    /// See [`StateCell::claim`]. Whether the worker is `alone` is looked at only where another has a claim.
    ///
    /// # Panics
    /// When the object is claimed and there is no other worker.
    #[inline(always)]
    pub fn claim(&self, object: ObjectReference, epoch: u8, alone: &bool) -> Claim {
        match VM::STATE {
            StateLocation::HeaderTopByte(offset) => {
                Self::header(object, offset).claim(epoch, |cell| wait_for_claimer(cell, object, *alone))
            }
            StateLocation::Side => self.side(object).claim(epoch, |cell| wait_for_claimer(cell, object, *alone)),
        }
    }

    /// See [`StateCell::publish`].
    #[inline(always)]
    pub fn publish(&self, object: ObjectReference, to: ObjectReference) {
        let to = to.address().as_usize();
        match VM::STATE {
            StateLocation::HeaderTopByte(offset) => Self::header(object, offset).publish(to),
            StateLocation::Side => self.side(object).publish(to),
        }
    }

    /// See [`StateCell::settle`].
    #[inline(always)]
    pub fn settle(&self, object: ObjectReference, seen: u64, mark: u8) {
        match VM::STATE {
            StateLocation::HeaderTopByte(offset) => Self::header(object, offset).settle(seen, mark),
            StateLocation::Side => self.side(object).settle(seen, mark),
        }
    }

    /// The copy of an object whose claim found `seen` starts with the state `state`.
    #[inline(always)]
    pub fn begin_copy(&self, copy: ObjectReference, seen: u64, state: u8) {
        match VM::STATE {
            StateLocation::HeaderTopByte(offset) => Self::header(copy, offset).store_state(seen, state),
            StateLocation::Side => self.side(copy).store_state(seen, state),
        }
        if VM::OBJECT_STARTS {
            self.note_start(copy.address());
        }
    }

    /// The new address, if the object moved in this pause.
    #[inline(always)]
    pub fn forwarded(&self, object: ObjectReference) -> Option<ObjectReference> {
        let to = match VM::STATE {
            StateLocation::HeaderTopByte(offset) => Self::header(object, offset).forwarded(),
            StateLocation::Side => self.side(object).forwarded(),
        };
        to.and_then(|a| ObjectReference::from_address(Address::from_usize(a)))
    }

    /// Memory is about to hold new objects: none of them is marked. A header is zero because the memory is.
    #[inline]
    pub fn forget(&self, start: Address, bytes: usize) {
        if let Some(side) = &self.side {
            side.fill(start, bytes, 0);
        }
        self.forget_starts(start, bytes);
    }

    /// Memory is about to hold new objects, or holds none any more: none begins there.
    #[inline]
    pub fn forget_starts(&self, start: Address, bytes: usize) {
        if VM::OBJECT_STARTS {
            self.starts.clear(start, bytes);
        }
    }

    /// The state byte, if it lies in the object, where the VM may overwrite it. Without the bits that
    /// mutators change.
    pub(crate) fn lent_byte(&self, object: ObjectReference) -> Option<u8> {
        match VM::STATE {
            StateLocation::HeaderTopByte(offset) => {
                let state = (Self::header(object, offset).read(Relaxed) >> 56) as u8;
                Some(state & !(UNLOGGED | PINNED))
            }
            StateLocation::Side => None,
        }
    }

    /// The state byte, for messages.
    pub fn describe(&self, object: ObjectReference) -> String {
        match VM::STATE {
            StateLocation::HeaderTopByte(offset) => describe_cell(Self::header(object, offset)),
            StateLocation::Side => describe_cell(self.side(object)),
        }
    }
}

/// The state byte of a cell, for code that is not hot.
fn describe_cell(cell: impl StateCell) -> String {
    let raw = cell.read(Relaxed);
    format!("{:#04x}", raw >> 56)
}
