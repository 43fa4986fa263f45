//! The state cell of an object, wherever the binding keeps it.
//!
//! The location is a constant of the binding, so the choice is made when the tracing loop is compiled.

use super::ages::ObjectMark;
use super::claimed::wait_for_claimer;
use super::object_starts::ObjectStarts;
use crate::address::{Address, ObjectReference};
use crate::binding::{StateLocation, VMBinding};
use crate::memory::{Borrowed, CHUNK_BYTES, Memory, Owned, SideBytes};
use protocols::forwarding::{self, HeaderCell, PINNED, SideCell, StateCell, UNLOGGED};
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

/// What a worker that wants to copy an object must do now.
#[derive(Debug)]
#[must_use = "the winner copies the object, or settles it"]
pub enum Claim {
    /// Copy the object (`CopyTarget::copy`), or leave it where it is ([`ObjectStates::settle`]).
    Won(Claimed),
    /// Another worker moved it here.
    Moved(ObjectReference),
    /// It stays where it is and is marked in this epoch.
    Stays,
}

/// The right to move an object, or to say that it stays: there is one for each object that is claimed. Who
/// has it uses it; others wait for that.
#[derive(Debug)]
#[must_use = "other workers wait until the object is copied or settled"]
pub struct Claimed {
    object: ObjectReference,
    /// Its size.
    bytes: usize,
    /// The cell as the claim found it.
    seen: u64,
}

impl Claimed {
    /// The object.
    #[inline(always)]
    pub fn object(&self) -> ObjectReference {
        self.object
    }

    /// Its size, for which the VM was asked when it was claimed.
    #[inline(always)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it must stay where it is.
    #[inline(always)]
    pub fn is_pinned(&self) -> bool {
        forwarding::is_pinned(self.seen)
    }
}

/// How to reach the state of an object of this heap.
pub struct ObjectStates<VM, K = Owned> {
    side: Option<SideBytes<K>>,
    /// Where objects begin; absent if the binding does not ask for it.
    starts: ObjectStarts<K>,
    vm: PhantomData<fn(VM)>,
}

impl<VM, K: Clone> Clone for ObjectStates<VM, K> {
    fn clone(&self) -> Self {
        let ObjectStates { side, starts, vm } = self;
        ObjectStates { side: side.clone(), starts: starts.clone(), vm: *vm }
    }
}
impl<VM> Copy for ObjectStates<VM, Borrowed<'_>> {}

impl<VM: VMBinding> ObjectStates<VM> {
    /// Makes the side table, if the binding lends no header byte.
    pub(crate) fn new(memory: &Arc<Memory>) -> io::Result<Self> {
        let side = match VM::STATE {
            StateLocation::HeaderTopByte(_) => None,
            StateLocation::Side => Some(memory.side_bytes(memory.whole(), VM::LOG_GRANULE)?),
        };
        let starts = match VM::OBJECT_STARTS {
            true => ObjectStarts::new(memory, memory.whole(), VM::LOG_GRANULE)?,
            false => ObjectStarts::absent(memory, VM::LOG_GRANULE),
        };
        Ok(ObjectStates { side, starts, vm: PhantomData })
    }

    /// The same, borrowed: for tracers.
    pub fn view(&self) -> ObjectStates<VM, Borrowed<'_>> {
        let ObjectStates { side, starts, vm } = self;
        let side = side.as_ref().map(SideBytes::view);
        ObjectStates { side, starts: starts.view(), vm: *vm }
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
}

impl<VM: VMBinding, K> ObjectStates<VM, K> {
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

    /// The state byte, for the barrier: who sees an object claimed sees that its slots were read (Acquire).
    #[inline(always)]
    pub(crate) fn state(&self, object: ObjectReference) -> u8 {
        match VM::STATE {
            StateLocation::HeaderTopByte(offset) => Self::header(object, offset).state(Acquire),
            StateLocation::Side => self.side(object).state(Acquire),
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

    /// See [`ObjectStarts::set`].
    #[inline(always)]
    pub(crate) fn note_start(&self, address: Address) {
        self.starts().set_in_granules(address, VM::LOG_GRANULE);
    }

    /// Where objects begin. Only for bindings with [`VMBinding::OBJECT_STARTS`].
    #[inline(always)]
    pub fn starts(&self) -> &ObjectStarts<K> {
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

    /// Marks the object for this epoch ([`Ages::mark_of`](super::Ages::mark_of)); false if it was marked in
    /// it. For objects that stay where they are.
    #[inline(always)]
    pub fn mark(&self, object: ObjectReference, ObjectMark(mark): ObjectMark) -> bool {
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

    /// Whether the object is marked in `epoch`, while mutators run: then all that who marked it had read of
    /// its slots came before.
    #[inline(always)]
    pub fn is_claimed(&self, object: ObjectReference, epoch: u8) -> bool {
        match VM::STATE {
            StateLocation::HeaderTopByte(offset) => Self::header(object, offset).is_claimed(epoch),
            StateLocation::Side => self.side(object).is_claimed(epoch),
        }
    }

    /// Marks the object for this epoch while mutators run: a marker, or a mutator that is about to store into
    /// it, both after they have read its slots. True for one of them.
    #[inline(always)]
    pub fn claim_beside(&self, object: ObjectReference, epoch: u8) -> bool {
        match VM::STATE {
            StateLocation::HeaderTopByte(offset) => Self::header(object, offset).claim_beside(epoch),
            StateLocation::Side => self.side(object).claim_beside(epoch),
        }
    }

    /// See [`StateCell::claim`]. Whether the worker is `alone` is looked at only where another has a claim.
    ///
    /// # Panics
    /// When the object is claimed and there is no other worker.
    #[inline(always)]
    pub fn claim(&self, vm: &VM, object: ObjectReference, epoch: u8, alone: &bool) -> Claim {
        let claim = match VM::STATE {
            StateLocation::HeaderTopByte(offset) => {
                Self::header(object, offset).claim(epoch, |cell| wait_for_claimer(cell, object, *alone))
            }
            StateLocation::Side => self.side(object).claim(epoch, |cell| wait_for_claimer(cell, object, *alone)),
        };
        match claim {
            // Asked only now: while nobody had claimed it, its header could change.
            forwarding::Claim::Won(seen) => Claim::Won(Claimed { object, bytes: vm.object_size(object), seen }),
            forwarding::Claim::Moved(to) => Claim::Moved(Self::moved_to(to)),
            forwarding::Claim::Stays => Claim::Stays,
        }
    }

    /// The object that a forwarding word names.
    #[inline(always)]
    fn moved_to(address: usize) -> ObjectReference {
        // SAFETY: what `publish` has made of the reference to the copy.
        let copy = unsafe { ObjectReference::from_address(Address::from_usize(address)) };
        copy.expect("an object is never moved to address zero")
    }

    /// See [`StateCell::publish`].
    #[inline(always)]
    pub(crate) fn publish(&self, claimed: Claimed, to: ObjectReference) {
        let object = claimed.object;
        let to = to.address().as_usize();
        match VM::STATE {
            StateLocation::HeaderTopByte(offset) => Self::header(object, offset).publish(to),
            StateLocation::Side => self.side(object).publish(to),
        }
    }

    /// See [`StateCell::settle`].
    #[inline(always)]
    pub fn settle(&self, claimed: Claimed, ObjectMark(mark): ObjectMark) {
        let Claimed { object, seen, .. } = claimed;
        match VM::STATE {
            StateLocation::HeaderTopByte(offset) => Self::header(object, offset).settle(seen, mark),
            StateLocation::Side => self.side(object).settle(seen, mark),
        }
    }

    /// The copy of a claimed object starts with the state `state`.
    #[inline(always)]
    pub(crate) fn begin_copy(&self, copy: ObjectReference, claimed: &Claimed, ObjectMark(state): ObjectMark) {
        let seen = claimed.seen;
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
        to.map(Self::moved_to)
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

#[cfg(test)]
mod tests {
    use super::super::Ages;
    use super::*;
    use crate::binding::{SlotVisitor, WordSlot};
    use crate::memory::BLOCK_BYTES;
    use crate::options::Options;

    const BYTES: usize = 64;

    /// The state in the first word of an object, or in a table; with or without a table of starts.
    struct Vm<const SIDE: bool, const STARTS: bool>;

    // SAFETY: objects have one size; there are no slots and no roots.
    unsafe impl<const SIDE: bool, const STARTS: bool> VMBinding for Vm<SIDE, STARTS> {
        type Slot = WordSlot;
        type Local = ();
        const STATE: StateLocation = if SIDE { StateLocation::Side } else { StateLocation::HeaderTopByte(0) };
        const OBJECT_STARTS: bool = STARTS;
        fn object_size(&self, _: ObjectReference) -> usize {
            BYTES
        }
        fn scan_object(&self, _: ObjectReference, _: &mut impl SlotVisitor<WordSlot>) {}
        fn scan_thread(&self, (): &mut (), _: &mut impl SlotVisitor<WordSlot>) {}
    }

    fn the_state_of_an_object_is_where_the_binding_says<const SIDE: bool, const STARTS: bool>() {
        let memory = Memory::new(&Options { heap_limit: 8 << 20, ..Options::default() }).unwrap();
        let start = memory.extent().start();
        memory.commit(start, BLOCK_BYTES).unwrap();
        let states = ObjectStates::<Vm<SIDE, STARTS>>::new(&memory).unwrap();
        let ages = Ages::NewAndOld;
        let object = |n: usize| ObjectReference::for_test(start.plus(n * BYTES));
        let (old, copy, stays) = (object(1), object(5), object(9));
        let begins = |at: ObjectReference| STARTS && states.starts().is_set(at.address());

        assert!(states.mark(old, ages.mark_of(3)) && !states.mark(old, ages.mark_of(3)));
        assert!(states.is_marked(old, 3) && !states.is_marked(old, 4) && !states.is_marked(copy, 3));
        assert!(states.is_unlogged(old) && states.log(old) && !states.is_unlogged(old) && !states.log(old));
        states.unlog(old);
        assert!(states.is_unlogged(old));
        states.set_pinned(old, true);
        assert!(!states.pin_for_pause(old), "it is pinned already");
        states.set_pinned(old, false);
        assert!(states.pin_for_pause(old));
        assert_eq!(states.lent_byte(old), (!SIDE).then_some(3), "bits of mutators are left out");
        assert_eq!(states.describe(old), "0x33");
        if SIDE {
            let (base, shift) = states.table_parts();
            let byte = Address::from_usize(base.wrapping_add(old.address().as_usize() >> shift));
            // SAFETY: a byte of the table.
            assert_eq!(unsafe { byte.load::<u8>() }, 3 | UNLOGGED | PINNED);
        }

        let Claim::Won(claimed) = states.claim(&Vm::<SIDE, STARTS>, old, 4, &true) else {
            panic!("nobody else claims it")
        };
        assert!(claimed.object() == old && claimed.bytes() == BYTES && claimed.is_pinned());
        states.begin_copy(copy, &claimed, ages.mark_of(4));
        states.publish(claimed, copy);
        assert_eq!((states.forwarded(old), states.forwarded(copy)), (Some(copy), None));
        assert!(states.is_marked(copy, 4) && states.is_unlogged(copy) && !states.is_marked(old, 4));
        let Claim::Won(claimed) = states.claim(&Vm::<SIDE, STARTS>, stays, 4, &true) else {
            panic!("nobody else claims it")
        };
        states.settle(claimed, Ages::One.mark_of(4));
        assert!(states.is_marked(stays, 4) && states.forwarded(stays).is_none());

        assert_eq!((begins(copy), begins(stays)), (STARTS, false));
        states.forget_starts(copy.address(), BYTES);
        assert!(!begins(copy) && states.is_marked(copy, 4));
        if STARTS {
            states.note_start(stays.address());
        }
        states.forget(start, BLOCK_BYTES);
        assert!(!begins(stays));
        assert_eq!(states.is_marked(stays, 4), !SIDE, "a table is cleared; a header is, with its memory");

        let bytes = |there: bool, granules: usize| if there { CHUNK_BYTES / 8 / granules } else { 0 };
        let (side, starts) = (bytes(SIDE, 1), bytes(STARTS, 8));
        assert_eq!(ObjectStates::<Vm<SIDE, STARTS>>::table_bytes_per_chunk(), side + starts);
        assert_eq!(ObjectStates::<Vm<SIDE, STARTS>>::start_bytes_per_chunk(), starts);
    }

    #[test]
    fn states_in_headers_and_in_tables_are_read_and_written_alike() {
        the_state_of_an_object_is_where_the_binding_says::<false, false>();
        the_state_of_an_object_is_where_the_binding_says::<false, true>();
        the_state_of_an_object_is_where_the_binding_says::<true, false>();
        the_state_of_an_object_is_where_the_binding_says::<true, true>();
    }
}
