//! A thread's roots: a contiguous stack of references in memory of its own.

use crate::object::Ref;
use heapwright::{Address, Mapping, WordSlot};

const SLOTS: usize = 4 << 20;

/// The shadow stack of one thread. The collector visits and updates its slots while the thread is stopped.
pub struct ShadowStack {
    top: *mut Ref,
    base: *mut Ref,
    limit: *mut Ref,
    _memory: Mapping,
}

// SAFETY: the pointers lead into the mapping that the value owns.
unsafe impl Send for ShadowStack {}

impl Default for ShadowStack {
    /// An empty stack of at most four million slots; memory is used as it grows.
    fn default() -> Self {
        let memory = Mapping::zeroed(SLOTS * 8).expect("address space for a shadow stack");
        let base: *mut Ref = memory.start().as_mut_ptr();
        ShadowStack { top: base, base, limit: base.wrapping_add(SLOTS), _memory: memory }
    }
}

impl ShadowStack {
    /// Pushes, and returns the index of the new slot.
    #[inline(always)]
    pub fn push(&mut self, value: Ref) -> usize {
        assert!(self.top < self.limit, "shadow stack overflow: more than {SLOTS} references");
        // SAFETY: below the limit, so inside the mapping.
        unsafe {
            self.top.write(value);
            let index = self.top.offset_from(self.base) as usize;
            self.top = self.top.add(1);
            index
        }
    }

    /// The slot with this index, counted from the bottom.
    #[inline(always)]
    pub fn get(&self, index: usize) -> Ref {
        debug_assert!(index < self.len());
        // SAFETY: the index came from `push`.
        unsafe { self.base.add(index).read() }
    }

    /// Writes the slot with this index.
    #[inline(always)]
    pub fn set(&mut self, index: usize, value: Ref) {
        debug_assert!(index < self.len());
        // SAFETY: the index came from `push`.
        unsafe { self.base.add(index).write(value) }
    }

    /// The slot counted from the top, 0 is the one pushed last.
    #[inline(always)]
    pub fn peek(&self, depth: usize) -> Ref {
        debug_assert!(depth < self.len());
        // SAFETY: there are more than `depth` slots.
        unsafe { self.top.sub(depth + 1).read() }
    }

    /// Removes the last `count` slots.
    #[inline(always)]
    pub fn pop(&mut self, count: usize) {
        debug_assert!(count <= self.len());
        // SAFETY: there are at least `count` slots.
        self.top = unsafe { self.top.sub(count) };
    }

    /// How many references it holds.
    pub fn len(&self) -> usize {
        // SAFETY: both lead into the same mapping.
        unsafe { self.top.offset_from(self.base) as usize }
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.top == self.base
    }

    /// Its words, for a collector that does not know them for references.
    pub fn range(&self) -> std::ops::Range<Address> {
        Address::from_ptr(self.base)..Address::from_ptr(self.top)
    }

    /// Its slots, for the collector.
    pub fn slots(&self) -> impl Iterator<Item = WordSlot> + use<> {
        let base = Address::from_ptr(self.base);
        // SAFETY: words of the mapping that hold null or an object's address.
        (0..self.len()).map(move |i| unsafe { WordSlot::at(base.plus(i * 8)) })
    }
}
