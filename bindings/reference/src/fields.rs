//! What a program does with the references in an object. Each change is told to the heap before it is made,
//! with no safepoint between.

use crate::object::{self, Ref};
use crate::site::Site;
use crate::thread::{SameObjects, ThreadHandle};
use heapwright::{Address, ObjectReference, WordSlot};
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

fn object_of(reference: Ref) -> ObjectReference {
    reference.object().expect("null dereference")
}

/// The slot with this index. In a debug build null and an index that is too large panic.
#[inline(always)]
fn slot_of(object: Ref, index: usize) -> WordSlot {
    if cfg!(debug_assertions) {
        let bound = object::header(object_of(object)).refs();
        assert!(index < bound, "index {index} of {bound}");
    }
    // SAFETY: the caller holds a live object with so many slots, as this crate asks of its users.
    unsafe { WordSlot::at(Address::from_usize(object.0).plus(8 + index * 8)) }
}

impl<VM: SameObjects> ThreadHandle<VM> {
    /// Reads the reference in slot `index`.
    #[inline(always)]
    pub fn read_ref(&self, object: Ref, index: usize) -> Ref {
        let at = slot_of(object, index).address();
        // SAFETY: the word of a slot. Other threads may store into it.
        Ref(unsafe { at.as_atomic_u64() }.load(Relaxed) as usize)
    }

    /// Writes the reference in slot `index`.
    #[inline(always)]
    pub fn write_ref(&self, object: Ref, index: usize, value: Ref) {
        let slot = slot_of(object, index);
        Site::Store.call(|| self.mutator().write_barrier(object_of(object), slot));
        slot.write(value.object());
    }

    /// Exchanges the reference in slot `index`, and returns the old one.
    pub fn swap_ref(&self, object: Ref, index: usize, value: Ref) -> Ref {
        let slot = slot_of(object, index);
        Site::Swap.call(|| self.mutator().write_barrier(object_of(object), slot));
        // SAFETY: the word of a slot.
        Ref(unsafe { slot.address().as_atomic_u64() }.swap(value.0 as u64, Relaxed) as usize)
    }

    /// Writes the reference in slot `index` if it is `expected`; whether it was.
    pub fn replace_ref(&self, object: Ref, index: usize, expected: Ref, value: Ref) -> bool {
        let slot = slot_of(object, index);
        Site::Replace.call(|| self.mutator().write_barrier(object_of(object), slot));
        // SAFETY: the word of a slot.
        let word = unsafe { slot.address().as_atomic_u64() };
        word.compare_exchange(expected.0 as u64, value.0 as u64, Relaxed, Relaxed).is_ok()
    }

    /// Copies references from the slots `slots` of one object to the slots from index `to` on of another, or
    /// of the same: each arrives as it was before.
    pub fn copy_refs(&self, from: Ref, slots: Range<usize>, into: Ref, to: usize) {
        let Some(count) = slots.len().checked_sub(1) else { return };
        // The barrier is told a range of addresses, whose ends are slots.
        let (first, last) = (slot_of(into, to), slot_of(into, to + count));
        let range = first.address()..last.address().plus(8);
        Site::Copy.call(|| self.mutator().array_copy_barrier(object_of(into), range));
        let copy = |n: usize| slot_of(into, to + n).write(self.read_ref(from, slots.start + n).object());
        match from == into && slots.start < to {
            true => (0..=count).rev().for_each(copy),
            false => (0..=count).for_each(copy),
        }
    }

    /// Writes null into the slots `slots`.
    pub fn clear_refs(&self, object: Ref, slots: Range<usize>) {
        if slots.is_empty() {
            return;
        }
        let (first, last) = (slot_of(object, slots.start), slot_of(object, slots.end - 1));
        let range = first.address()..last.address().plus(8);
        Site::Clear.call(|| self.mutator().array_copy_barrier(object_of(object), range));
        slots.for_each(|index| slot_of(object, index).write(None));
    }

    /// From now on the object has `refs` slots, at most as many as before. Behind them lie raw words: first
    /// those that were slots, zeroed, then those that it had.
    pub fn truncate_refs(&self, object: Ref, refs: usize) {
        let at = object_of(object);
        let before = object::header(at).refs();
        assert!(refs <= before, "{refs} slots of {before}");
        Site::Truncate.call(|| self.mutator().before_reshape(at));
        // SAFETY: the header of a live object. Its low bits are the count of slots, and other threads change
        // other bits.
        unsafe { at.address().as_atomic_u64() }.fetch_sub((before - refs) as u64, Relaxed);
        for index in refs..before {
            // SAFETY: a word of the object, which a marker may still read as a slot.
            unsafe { WordSlot::at(object::slot(at, index)) }.write(None);
        }
    }

    /// Says that the thread goes on to use what it got from a weak reference of the VM.
    #[inline(always)]
    pub fn keep(&self, target: Ref) {
        if let Some(object) = target.object() {
            Site::Keep.call(|| self.mutator().keep(object));
        }
    }
}
