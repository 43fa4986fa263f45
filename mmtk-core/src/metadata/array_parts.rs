//! What the write barrier remembers: old objects, and parts of old large arrays.
//!
//! An object is remembered whole: its barrier's bit is cleared, and further stores into it cost the test
//! alone. A large array would then be visited whole in the next minor collection, however little of it was
//! written. So it keeps its bit, the test sends each store to the slow path, and there the part is noted that
//! the slot lies in: a page, which is 512 slots of a word. A table has a word for each page of the heap; the
//! first word of an array says how many pages it has, so that one look tells whether a slot lies in an array
//! that is remembered in parts. A store into a part that is noted already costs two looks into the table.
//!
//! An array of which half the parts are noted is remembered whole (`protocols::part_marks`).
//!
//! I1. A space that remembers arrays in parts gives each a page of its own to begin at, and says of what has
//!     survived whether it is one ([`ArrayParts::begin`]). Of new objects nothing is remembered that counts:
//!     they are traced in any case.
//! I2. What is noted is in the list of some mutator, or of the heap: the leader of the next pause takes the
//!     lists, and forgets the notes. So a note belongs to an array that was not freed yet.
//! I3. A slot that is not inside its array is no part of it: then the array is remembered whole.

use super::ObjectStates;
use crate::address::{Address, ObjectReference};
use crate::binding::VMBinding;
use crate::memory::{CHUNK_BYTES, Memory, SideWords};
use crate::needs::OldToNew;
use crate::os::PAGE_BYTES;
use protocols::part_marks::{MAX_PARTS, PartWord};
use std::io;
use std::ops::Range;
use std::sync::Arc;

const LOG_PART_BYTES: u32 = PAGE_BYTES.trailing_zeros();

/// Bytes of a part of an array that is remembered by itself: 512 slots of a word.
pub(crate) const PART_BYTES: usize = 1 << LOG_PART_BYTES;
/// Arrays of more slots than this are remembered in parts.
const SLOTS: usize = 512;

/// What a mutator noted before it stored: an object, or a part of an array.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remembered {
    object: ObjectReference,
    /// The number of the part; none for the whole object.
    part: Option<u32>,
}

impl Remembered {
    /// The object.
    pub fn object(self) -> ObjectReference {
        self.object
    }

    /// Whether it is a part of the object.
    pub fn is_part(self) -> bool {
        self.part.is_some()
    }

    /// Of a part: the numbers of the slots that begin in it. None for an object, and if the VM does not say
    /// any more where the slots are: then all are to be visited.
    pub fn slots<VM: VMBinding>(self, vm: &VM) -> Option<Range<usize>> {
        let part = self.part?;
        let (slots, place) = layout(vm, self.object)?;
        let slot_bytes = place.end.bytes_from(place.start) / slots;
        let from = self.object.address().plus(part as usize * PART_BYTES);
        let below =
            |end: Address| end.as_usize().saturating_sub(place.start.as_usize()).div_ceil(slot_bytes).min(slots);
        Some(below(from)..below(from.plus(PART_BYTES)))
    }
}

/// How many slots an array has, and where they are: if the barrier can make parts of it.
fn layout<VM: VMBinding>(vm: &VM, array: ObjectReference) -> Option<(usize, Range<Address>)> {
    let slots = vm.slots_of_large(array).filter(|slots| *slots > SLOTS)?;
    let place = vm.place_of_slots(array)?;
    let whole =
        place.end.as_usize().checked_sub(place.start.as_usize()).is_some_and(|b| b > 0 && b.is_multiple_of(slots));
    (whole && place.start >= array.address()).then_some((slots, place))
}

/// Which arrays are remembered in parts, and which of their parts were noted.
#[derive(Clone, Debug, Default)]
pub struct ArrayParts(Option<Table>);

#[derive(Clone, Debug)]
struct Table {
    start: Address,
    words: SideWords,
}

impl ArrayParts {
    /// For all spaces of the heap, if the VM has a barrier that can tell parts; otherwise no array is
    /// remembered in parts.
    pub(crate) fn for_barrier_of<VM: VMBinding>(memory: &Arc<Memory>) -> io::Result<ArrayParts> {
        match VM::OLD_TO_NEW {
            OldToNew::Barrier => ArrayParts::new(memory),
            OldToNew::Found | OldToNew::Unknown => Ok(ArrayParts::default()),
        }
    }

    fn new(memory: &Arc<Memory>) -> io::Result<ArrayParts> {
        let whole = memory.whole();
        Ok(ArrayParts(Some(Table { start: whole.start(), words: memory.side_words(whole, LOG_PART_BYTES)? })))
    }

    /// What the table costs per chunk of a space that uses it.
    pub const fn table_bytes_per_chunk() -> usize {
        CHUNK_BYTES / PART_BYTES * size_of::<u32>()
    }

    /// The word of an object's part with this number; none beside the heap, or where arrays are not
    /// remembered in parts.
    #[inline(always)]
    fn word(&self, object: ObjectReference, part: usize) -> Option<PartWord<'_>> {
        let Table { start, words } = self.0.as_ref()?;
        let first = object.address().as_usize().wrapping_sub(start.as_usize()) >> LOG_PART_BYTES;
        words.get(first.wrapping_add(part)).map(PartWord)
    }

    /// Whether a store into a slot of `object` that begins at `slot` needs no note, since its part is noted:
    /// for the slow path of a barrier, which comes here at each store into an old large array.
    #[inline(always)]
    pub(crate) fn is_noted(&self, object: ObjectReference, slot: Option<Address>) -> bool {
        let noted = |slot: Address| {
            let part = slot.as_usize().wrapping_sub(object.address().as_usize()) >> LOG_PART_BYTES;
            Some(part < self.word(object, 0)?.parts() as usize && self.word(object, part)?.is_noted())
        };
        slot.and_then(noted).unwrap_or(false)
    }

    /// An object has survived, in a space whose large objects begin at pages of their own: if it is a large
    /// array, parts of it are remembered from now on. In a pause, before objects are noted again. Two workers
    /// may do so at once.
    pub fn begin<VM: VMBinding>(&self, vm: &VM, object: ObjectReference) {
        debug_assert!(object.address().is_aligned_to(PART_BYTES));
        let Some(first) = self.word(object, 0) else { return };
        let end = object.address().plus(vm.object_size(object));
        let parts = layout(vm, object).filter(|(_, place)| place.end <= end).map_or(0, |(_, place)| {
            place.end.bytes_from(object.address()).div_ceil(PART_BYTES).min(MAX_PARTS as usize) as u32
        });
        first.set_parts(if parts > 1 { parts } else { 0 });
    }

    /// The parts of an array in which slots in this range of addresses lie, and how many parts there are;
    /// none if the object is to be remembered whole (I3).
    fn parts_at(&self, object: ObjectReference, slots: Range<Address>) -> Option<(Range<u32>, u32)> {
        let at = object.address();
        let parts = self.word(object, 0)?.parts();
        let part = |address: Address| address.as_usize().wrapping_sub(at.as_usize()) >> LOG_PART_BYTES;
        let (first, last) = (part(slots.start), part(slots.end.minus(1)));
        (first <= last && last < parts as usize).then(|| (first as u32..last as u32 + 1, parts))
    }

    /// A reference is about to be stored into a slot of `object` that begins at `slot`, if that is known.
    /// Calls `note` with what is to be remembered, unless it is already.
    pub(crate) fn note_slot<VM: VMBinding>(
        &self,
        states: &ObjectStates<VM>,
        object: ObjectReference,
        slot: Option<Address>,
        mut note: impl FnMut(Remembered),
    ) {
        match slot.and_then(|slot| self.parts_at(object, slot..slot.plus(1))) {
            Some((part, parts)) => self.note_part(states, object, part.start, parts, &mut note),
            None => note_whole(states, object, &mut note),
        }
    }

    /// The same for all slots in a range of addresses, which is not empty.
    pub(crate) fn note_range<VM: VMBinding>(
        &self,
        states: &ObjectStates<VM>,
        object: ObjectReference,
        slots: Range<Address>,
        mut note: impl FnMut(Remembered),
    ) {
        match self.parts_at(object, slots) {
            Some((numbers, parts)) if !is_most(numbers.len() as u32, parts) => {
                numbers.for_each(|number| self.note_part(states, object, number, parts, &mut note));
            }
            _ => note_whole(states, object, &mut note),
        }
    }

    fn note_part<VM: VMBinding>(
        &self,
        states: &ObjectStates<VM>,
        object: ObjectReference,
        number: u32,
        parts: u32,
        note: &mut impl FnMut(Remembered),
    ) {
        if self.word_of(object, number).note() {
            note(Remembered { object, part: Some(number) });
            if is_most(self.word_of(object, 1).count(), parts) {
                note_whole(states, object, note);
            }
        }
    }

    fn word_of(&self, array: ObjectReference, part: u32) -> PartWord<'_> {
        self.word(array, part as usize).expect("an array is in the heap")
    }

    /// In a pause, by its leader: what is remembered is taken from a list, which has it no more (I2). Whether
    /// it is to be visited: a part is not if its array is remembered whole.
    pub(crate) fn take<VM: VMBinding>(&self, states: &ObjectStates<VM>, remembered: Remembered) -> bool {
        let Remembered { object, part: Some(number) } = remembered else { return true };
        self.word_of(object, number).forget();
        self.word_of(object, 1).forget_count();
        states.is_unlogged(object)
    }
}

/// Whether so many parts are as good as all.
fn is_most(noted: u32, parts: u32) -> bool {
    2 * u64::from(noted) >= u64::from(parts)
}

fn note_whole<VM: VMBinding>(states: &ObjectStates<VM>, object: ObjectReference, note: &mut impl FnMut(Remembered)) {
    if states.log(object) {
        note(Remembered { object, part: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::{SlotVisitor, WordSlot};
    use crate::options::Options;

    /// Objects of 40 pages. Their slots lie one behind the other from `offset` on; only their places matter.
    struct Vm {
        offset: usize,
        slot_bytes: usize,
        slots: usize,
    }

    const BYTES: usize = 40 * PART_BYTES;

    // SAFETY: no collection is made.
    unsafe impl VMBinding for Vm {
        type Slot = WordSlot;
        type Local = ();
        const OLD_TO_NEW: OldToNew = OldToNew::Barrier;
        fn object_size(&self, _: ObjectReference) -> usize {
            BYTES
        }
        fn scan_object(&self, _: ObjectReference, _: &mut impl SlotVisitor<WordSlot>) {}
        fn scan_thread(&self, (): &mut (), _: &mut impl SlotVisitor<WordSlot>) {}
        fn slots_of_large(&self, _: ObjectReference) -> Option<usize> {
            Some(self.slots)
        }
        fn place_of_slots(&self, object: ObjectReference) -> Option<Range<Address>> {
            let start = object.address().plus(self.offset);
            Some(start..start.plus(self.slots * self.slot_bytes))
        }
    }

    /// A heap's table and states, with memory for an object that is old.
    fn old_object(vm: &Vm) -> (ArrayParts, ObjectStates<Vm>, ObjectReference) {
        let memory = Memory::new(&Options { heap_limit: 16 << 20, ..Options::default() }).unwrap();
        let states = ObjectStates::<Vm>::new(&memory).unwrap();
        let start = memory.extent().start();
        memory.commit(start, CHUNK_BYTES).unwrap();
        let object = ObjectReference::for_test(start.plus(3 * PART_BYTES));
        let parts = ArrayParts::new(&memory).unwrap();
        parts.begin(vm, object);
        states.unlog(object);
        (parts, states, object)
    }

    fn note_slot(
        (parts, states, object): &(ArrayParts, ObjectStates<Vm>, ObjectReference),
        slot: Option<Address>,
    ) -> Vec<Remembered> {
        let mut noted = Vec::new();
        parts.note_slot(states, *object, slot, |remembered| noted.push(remembered));
        noted
    }

    #[test]
    fn each_slot_is_in_the_part_that_a_store_into_it_notes() {
        for (offset, slot_bytes, slots) in
            [(8, 8, 20_000), (16, 8, 513), (12, 4, 30_000), (24, 24, 5000), (PART_BYTES, 8, 2000), (8, 8192, 600)]
        {
            let vm = Vm { offset, slot_bytes, slots: slots.min((BYTES - offset) / slot_bytes) };
            if vm.slots <= SLOTS {
                continue;
            }
            let old = old_object(&vm);
            let place = vm.place_of_slots(old.2).unwrap();
            let mut covered = 0;
            for number in 0..vm.slots {
                let slot = place.start.plus(number * slot_bytes);
                match note_slot(&old, Some(slot))[..] {
                    // It was the first store into the part.
                    [first, ..] if first.is_part() => {
                        let slots = first.slots(&vm).unwrap();
                        assert_eq!(slots.start, covered, "no slot is left out, {offset} {slot_bytes}");
                        assert!(slots.contains(&number));
                        covered = slots.end;
                    }
                    _ => assert!(number < covered, "slot {number} is in the part that was noted"),
                }
            }
            assert_eq!(covered, vm.slots);
        }
    }

    #[test]
    fn what_is_no_large_array_with_its_slots_inside_is_remembered_whole() {
        for (offset, slot_bytes, slots) in
            [(8, 8, SLOTS), (8, 8, BYTES / 8), (0usize.wrapping_sub(8), 8, 1000), (8, 0, 1000)]
        {
            let old = old_object(&Vm { offset, slot_bytes, slots });
            let whole = Remembered { object: old.2, part: None };
            assert_eq!(note_slot(&old, Some(old.2.address().plus(16))), [whole], "{offset} {slot_bytes} {slots}");
        }
        let old = old_object(&Vm { offset: 8, slot_bytes: 8, slots: 1000 });
        let whole = Remembered { object: old.2, part: None };
        // A slot whose place is not known, one before the object, one behind its slots, none of this heap.
        let [before, behind] = [old.2.address().minus(8), old.2.address().plus(2 * PART_BYTES)];
        for slot in
            [None, Some(before), Some(behind), Some(Address::from_usize(8)), Some(Address::from_usize(usize::MAX))]
        {
            assert_eq!(note_slot(&old, slot), [whole], "{slot:?}");
            assert!(old.0.take(&old.1, whole));
            old.1.unlog(old.2);
        }
    }

    #[test]
    fn parts_are_noted_again_once_they_were_taken_until_another_object_comes() {
        let vm = Vm { offset: 8, slot_bytes: 8, slots: 10_000 };
        let old = old_object(&vm);
        let slot = |part: usize| Some(old.2.address().plus(part * PART_BYTES + 8));
        for _ in 0..3 {
            let noted: Vec<_> = [1, 0, 5, 1, 0].iter().flat_map(|part| note_slot(&old, slot(*part))).collect();
            let part = |part| Remembered { object: old.2, part: Some(part) };
            assert_eq!(noted, [part(1), part(0), part(5)]);
            assert!(noted.iter().all(|remembered| old.0.take(&old.1, *remembered)));
        }
        // Ten of twenty.
        let noted: Vec<_> = (0..20).flat_map(|part| note_slot(&old, slot(part))).collect();
        let (whole, parts): (Vec<_>, Vec<_>) =
            noted.iter().copied().partition(|remembered: &Remembered| !remembered.is_part());
        assert_eq!((whole.len(), old.1.is_unlogged(old.2)), (1, false));
        assert_eq!(noted[10], whole[0], "the tenth store notes all: those that come later do not come here");
        assert!(parts.iter().all(|part| !old.0.take(&old.1, *part)) && old.0.take(&old.1, whole[0]));
        old.1.unlog(old.2);
        old.0.begin(&Vm { slots: 1, ..vm }, old.2);
        assert_eq!(note_slot(&old, slot(7)), [Remembered { object: old.2, part: None }]);
    }
}
