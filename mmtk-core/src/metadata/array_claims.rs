//! Large arrays that are claimed in parts while a heap is marked beside its mutators.
//!
//! The slots of an object are read before it is claimed, all of them by one thread and at once. Of a large
//! array that would hold up the mutator that first stores into it, and nothing could end the step of a
//! marker. So its slots are read and claimed in parts of 1024, each by itself; when all parts are claimed,
//! the array is claimed, and only then stores into it cost the barrier's test alone.
//!
//! A table has a word for each page of the heap. Two words belong to a part, and the Nth part of an array has
//! those from page 2 N of the array on (`protocols::part_claims`). What is in parts is told by the VM's
//! answers at that moment, and the number of the part by that of the slot.
//!
//! I1. Arrays in parts lie in spaces that give each object pages of its own, and only such objects are asked
//!     about. So no two arrays have a word in common.
//! I2. An array whose slots are so short, or so far away, that it has fewer pages than words is claimed
//!     whole.
//! I3. Who changes the layout of a large object claims all words of its pages first, whether or not it is in
//!     parts. So a thread that finds the new layout fails to claim whatever part it has read.

use crate::address::{Address, ObjectReference};
use crate::binding::VMBinding;
use crate::memory::{CHUNK_BYTES, Memory, SideWords};
use crate::os::PAGE_BYTES;
use protocols::part_claims::PartClaims;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Slots of a part.
pub(crate) const PART_SLOTS: usize = 1024;

const LOG_PAGE_BYTES: u32 = PAGE_BYTES.trailing_zeros();

/// Which parts of which arrays are claimed.
#[derive(Debug, Default)]
pub struct ArrayClaims(Option<Table>);

#[derive(Debug)]
struct Table {
    start: Address,
    words: SideWords,
    /// The marking in progress, or the last. Written in pauses.
    marking: AtomicU32,
}

/// An array in parts.
pub(crate) struct InParts<'a> {
    table: &'a Table,
    array: ObjectReference,
    slots: usize,
}

impl ArrayClaims {
    /// For all spaces of a heap.
    pub(crate) fn new(memory: &Arc<Memory>) -> io::Result<ArrayClaims> {
        let whole = memory.whole();
        let words = memory.side_words(whole, LOG_PAGE_BYTES)?;
        Ok(ArrayClaims(Some(Table { start: whole.start(), words, marking: AtomicU32::new(0) })))
    }

    /// What the table costs per chunk of a space that uses it.
    pub const fn table_bytes_per_chunk() -> usize {
        CHUNK_BYTES / PAGE_BYTES * size_of::<u32>()
    }

    /// A marking begins, in which nothing is claimed yet. The leader, in a pause.
    pub(crate) fn begin(&self) {
        if let Some(Table { marking, .. }) = &self.0 {
            marking.store(marking.load(Relaxed).checked_add(1).unwrap_or(1), Relaxed);
        }
    }

    /// The parts of an object of a space for large objects; none if it is claimed whole.
    pub(crate) fn of<VM: VMBinding>(&self, vm: &VM, object: ObjectReference) -> Option<InParts<'_>> {
        let table = self.0.as_ref()?;
        let bytes = vm.object_size(object);
        if bytes <= 8 * PART_SLOTS {
            return None;
        }
        let slots = vm.slots_of_large(object).filter(|slots| *slots > PART_SLOTS)?;
        let words = 2 * slots.div_ceil(PART_SLOTS) - 1;
        (words <= bytes.div_ceil(PAGE_BYTES)).then_some(InParts { table, array: object, slots })
    }

    /// For the verifier: whether the part is claimed that holds a slot at `slot`, of any object.
    pub(crate) fn is_claimed_at<VM: VMBinding>(&self, vm: &VM, object: ObjectReference, slot: Address) -> bool {
        // The words of objects of other spaces are never written.
        let Some(parts) = self.of(vm, object) else { return false };
        let part = parts.parts_at(vm, slot..slot.plus(1));
        part.is_some_and(|part| parts.claims().is_claimed(part.start))
    }

    /// The layout of an object of a space for large objects is about to change: nobody claims a part of it
    /// from now on (I3).
    pub(crate) fn claim_all_words<VM: VMBinding>(&self, vm: &VM, object: ObjectReference) {
        let Some(table) = &self.0 else { return };
        let parts = vm.object_size(object).div_ceil(PAGE_BYTES).div_ceil(2) as u32;
        let claims = table.claims(object, parts.max(2));
        (0..parts).for_each(|part| _ = claims.claim(part));
    }
}

impl Table {
    fn claims<'a>(&'a self, array: ObjectReference, parts: u32) -> PartClaims<impl Fn(u32) -> &'a AtomicU32> {
        let first = array.address().bytes_from(self.start) >> LOG_PAGE_BYTES;
        PartClaims::new(move |word| self.words.word(first as u32 + word), parts, self.marking.load(Relaxed))
    }
}

impl<'a> InParts<'a> {
    /// Their words.
    pub fn claims(&self) -> PartClaims<impl Fn(u32) -> &'a AtomicU32> {
        self.table.claims(self.array, self.slots.div_ceil(PART_SLOTS) as u32)
    }

    /// The numbers of the slots of a part.
    pub fn slots_of(&self, part: u32) -> Range<usize> {
        let from = part as usize * PART_SLOTS;
        from..(from + PART_SLOTS).min(self.slots)
    }

    /// The parts of the slots that lie in this range of addresses, which is not empty; none if the VM does
    /// not say where slots are, or if others lie there.
    pub fn parts_at<VM: VMBinding>(&self, vm: &VM, range: Range<Address>) -> Option<Range<u32>> {
        let place = vm.place_of_slots(self.array)?;
        if range.start < place.start || range.end > place.end || range.start >= range.end {
            return None;
        }
        let slot_bytes = place.end.bytes_from(place.start) / self.slots;
        let part = |at: Address| (at.bytes_from(place.start) / slot_bytes.max(1) / PART_SLOTS) as u32;
        Some(part(range.start)..part(range.end.minus(1)) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::{SlotVisitor, WordSlot};
    use crate::options::Options;
    use protocols::part_claims::Next;

    /// An array of a certain size. Only the places of its slots matter.
    struct Vm {
        bytes: usize,
        slots: Option<usize>,
        offset: usize,
        slot_bytes: usize,
    }

    // SAFETY: no collection is made.
    unsafe impl VMBinding for Vm {
        type Slot = WordSlot;
        type Local = ();
        fn object_size(&self, _: ObjectReference) -> usize {
            self.bytes
        }
        fn scan_object(&self, _: ObjectReference, _: &mut impl SlotVisitor<WordSlot>) {}
        fn scan_thread(&self, (): &mut (), _: &mut impl SlotVisitor<WordSlot>) {}
        fn slots_of_large(&self, _: ObjectReference) -> Option<usize> {
            self.slots
        }
        fn place_of_slots(&self, object: ObjectReference) -> Option<Range<Address>> {
            let start = object.address().plus(self.offset);
            let slots = self.slots.filter(|_| self.slot_bytes > 0)?;
            Some(start..start.plus(slots * self.slot_bytes))
        }
    }

    fn array(memory: &Arc<Memory>, page: usize) -> ObjectReference {
        ObjectReference::for_test(memory.whole().start().plus(page * PAGE_BYTES))
    }

    fn memory() -> Arc<Memory> {
        Memory::new(&Options { heap_limit: 16 << 20, ..Options::default() }).unwrap()
    }

    #[test]
    fn each_slot_is_in_one_part_and_a_store_finds_it() {
        let memory = memory();
        let claims = ArrayClaims::new(&memory).unwrap();
        for (slots, slot_bytes, offset) in [(1025, 8, 8), (2048, 8, 16), (10_001, 8, 8), (3000, 24, 40)] {
            let vm = Vm { bytes: offset + slots * slot_bytes, slots: Some(slots), offset, slot_bytes };
            let object = array(&memory, 3);
            let parts = claims.of(&vm, object).unwrap();
            let mut covered = 0;
            for part in 0..slots.div_ceil(PART_SLOTS) as u32 {
                assert_eq!(parts.slots_of(part).start, covered, "{slots}");
                covered = parts.slots_of(part).end;
                for slot in parts.slots_of(part) {
                    let at = object.address().plus(offset + slot * slot_bytes);
                    assert_eq!(parts.parts_at(&vm, at..at.plus(slot_bytes)), Some(part..part + 1), "{slot} of {slots}");
                }
            }
            assert_eq!(covered, slots);
            let first = object.address().plus(offset);
            let at = |slot: usize| first.plus(slot * slot_bytes);
            assert_eq!(parts.parts_at(&vm, at(1023)..at(1025)), Some(0..2));
            for none in [at(3)..at(3), at(4)..at(3), first.minus(8)..at(1), at(slots)..at(slots + 1)] {
                assert_eq!(parts.parts_at(&vm, none.clone()), None, "{none:?}");
            }
        }
    }

    #[test]
    fn what_has_fewer_pages_than_words_is_claimed_whole() {
        let memory = memory();
        let claims = ArrayClaims::new(&memory).unwrap();
        let of = |bytes, slots| claims.of(&Vm { bytes, slots, offset: 8, slot_bytes: 0 }, array(&memory, 0)).is_some();
        assert!(of(1025 * 8, Some(1025)) && of(100_000, Some(1025)));
        for (bytes, slots) in [(100_000, None), (100_000, Some(1024)), (1024 * 8, Some(1025)), (1 << 20, Some(1 << 18))]
        {
            assert!(!of(bytes, slots), "{bytes} {slots:?}");
        }
        assert!(
            ArrayClaims::default()
                .of(&Vm { bytes: 9000, slots: Some(1100), offset: 8, slot_bytes: 8 }, array(&memory, 0))
                .is_none()
        );
    }

    #[test]
    fn arrays_beside_each_other_have_words_of_their_own_and_each_marking_begins_anew() {
        let memory = memory();
        let table = ArrayClaims::new(&memory).unwrap();
        // Three pages each.
        let vm = Vm { bytes: 3 * PAGE_BYTES, slots: Some(1500), offset: 8, slot_bytes: 8 };
        for _ in 0..3 {
            table.begin();
            for page in [0, 3, 6] {
                let parts = table.of(&vm, array(&memory, page)).unwrap();
                assert_eq!((parts.claims().parts(), parts.claims().next(9)), (2, Next::Part(0)));
                assert!(parts.claims().claim(1) && parts.claims().claim(0));
                assert_eq!(parts.claims().next(9), Next::AllClaimed);
            }
        }
        table.begin();
        table.claim_all_words(&vm, array(&memory, 3));
        assert_eq!(table.of(&vm, array(&memory, 3)).unwrap().claims().next(9), Next::AllClaimed);
        for page in [0, 6] {
            assert_eq!(table.of(&vm, array(&memory, page)).unwrap().claims().next(9), Next::Part(0));
        }
    }
}
