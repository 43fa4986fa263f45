//! The slots that a scan visits, and whether they are where slots may be.
//!
//! A slot lies in its object, or outside the heap (a buffer that the object owns); its address is a multiple
//! of its size; and it is visited once. Slots that stand for a reference, and whose place is not known
//! ([`Slot::place`]), are not checked.

use crate::address::{Address, ObjectReference};
use crate::binding::{Slot, SlotVisitor};
use crate::memory::Extent;
use crate::stack::each_word;
use std::ops::Range;

/// What is wrong with a slot.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not aligned to this many bytes.
    NotAligned(usize),
    /// It lies in the heap, but not in the object that is scanned.
    Outside,
    /// It is visited twice.
    Twice,
}

/// Collects what a scan visits.
pub(super) struct Slots<S> {
    /// What the slots refer to.
    pub found: Vec<(ObjectReference, S)>,
    /// Words of objects that may be references.
    pub ambiguous: Vec<usize>,
    /// The object that is scanned; none while roots are.
    object: Option<Range<Address>>,
    /// Where slots lie.
    places: Vec<Address>,
    heap: Vec<Extent>,
    /// The first fault, and where the slot lies.
    fault: Option<(Address, Fault)>,
}

impl<S: Slot> Slots<S> {
    /// For a heap with these extents.
    pub fn new(heap: Vec<Extent>) -> Self {
        Slots { found: Vec::new(), ambiguous: Vec::new(), object: None, places: Vec::new(), heap, fault: None }
    }

    /// The slots of an object in this memory come next, or roots if there is none.
    pub fn begin(&mut self, object: Option<Range<Address>>) {
        self.found.clear();
        self.ambiguous.clear();
        self.places.clear();
        self.object = object;
    }

    /// All were visited: where a slot lies that is wrong, if any is.
    pub fn end(&mut self) -> Option<(Address, Fault)> {
        if !self.places.is_sorted_by(|a, b| a < b) {
            self.places.sort_unstable();
            let twice = self.places.windows(2).find(|pair| pair[0] == pair[1]);
            self.fault = self.fault.or(twice.map(|pair| (pair[0], Fault::Twice)));
        }
        self.fault.take()
    }

    fn check(&self, place: &Range<Address>) -> Option<Fault> {
        let bytes = place.end.bytes_from(place.start);
        if !place.start.is_aligned_to(bytes) {
            return Some(Fault::NotAligned(bytes));
        }
        let object = self.object.as_ref()?;
        let inside = place.start >= object.start && place.end <= object.end;
        (!inside && self.heap.iter().any(|extent| extent.contains(place.start))).then_some(Fault::Outside)
    }
}

impl<S: Slot> SlotVisitor<S> for Slots<S> {
    fn visit(&mut self, slot: S) {
        if let Some(place) = slot.place() {
            self.places.push(place.start);
            if let Some(fault) = self.check(&place) {
                self.fault = self.fault.or(Some((place.start, fault)));
                // It may not be there to be read.
                return;
            }
        }
        if let Some(object) = slot.load() {
            self.found.push((object, slot));
        }
    }

    fn visit_ambiguous(&mut self, words: Range<Address>) {
        each_word(words, |word| self.ambiguous.push(word));
    }
}
