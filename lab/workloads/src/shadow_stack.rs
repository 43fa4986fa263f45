//! The shadow stack: the roots of one mutator thread, shared by all adapters.
//!
//! A contiguous array of [`Ref`] in memory that is reserved whole and committed as it is touched, so that a
//! push is a compare, a store and an add. Adapters embed it in their per-thread state and give `range` to the
//! collector.
//!
//! I1. `base <= top <= limit`, all inside one mapping of `SLOTS` slots that lives as long as the stack.
//! I2. Entries below `top` were pushed and not popped.
//! I3. Only the owning thread calls methods other than `range`; the collector reads and updates entries while
//!     that thread is stopped.

use super::heap::Ref;

/// 4 Mi entries, 32 MiB of address space a mutator: deeper than any workload recurses.
const SLOTS: usize = 4 << 20;

/// A stack of references, scanned as roots.
#[derive(Debug)]
pub struct ShadowStack {
    base: *mut Ref,
    top: *mut Ref,
    limit: *mut Ref,
}

impl ShadowStack {
    /// An empty stack.
    ///
    /// # Panics
    /// When the address space for it cannot be reserved.
    pub fn new() -> Self {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
        // SAFETY: a new anonymous mapping touches no memory of ours.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), SLOTS * size_of::<Ref>(), protection, flags, -1, 0) };
        assert!(base != libc::MAP_FAILED, "cannot reserve a shadow stack");
        let base = base.cast::<Ref>();
        // SAFETY: the mapping has SLOTS slots, so its end is in bounds.
        let limit = unsafe { base.add(SLOTS) };
        Self { base, top: base, limit }
    }

    /// Pushes, and returns the absolute index of the new entry.
    #[inline(always)]
    pub fn push(&mut self, value: Ref) -> usize {
        if self.top == self.limit {
            overflow();
        }
        // SAFETY: top < limit, so the slot is in the mapping and the next top at most its end (I1).
        unsafe {
            self.top.write(value);
            let index = self.top.offset_from(self.base) as usize;
            self.top = self.top.add(1);
            index
        }
    }

    /// As [`push`](Self::push), but entry and top reach memory in this order: for collectors that stop a
    /// thread anywhere, by a signal.
    #[inline(always)]
    pub fn push_volatile(&mut self, value: Ref) -> usize {
        let top = self.top;
        if top == self.limit {
            overflow();
        }
        // SAFETY: as in `push`; the field written is our own.
        unsafe {
            top.write_volatile(value);
            (&raw mut self.top).write_volatile(top.add(1));
            top.offset_from(self.base) as usize
        }
    }

    /// The entry at an absolute index.
    #[inline(always)]
    pub fn get(&self, index: usize) -> Ref {
        debug_assert!(index < self.len());
        // SAFETY: a workload passes an index that `push` gave it and that is not popped yet (I2).
        unsafe { *self.base.add(index) }
    }

    /// Overwrites the entry at an absolute index.
    #[inline(always)]
    pub fn set(&mut self, index: usize, value: Ref) {
        debug_assert!(index < self.len());
        // SAFETY: as in `get`.
        unsafe { *self.base.add(index) = value }
    }

    /// The entry `depth` below the top.
    #[inline(always)]
    pub fn peek(&self, depth: usize) -> Ref {
        debug_assert!(depth < self.len());
        // SAFETY: a workload peeks at what it pushed and did not pop (I2).
        unsafe { *self.top.sub(depth + 1) }
    }

    /// Drops the top `n` entries.
    #[inline(always)]
    pub fn pop(&mut self, n: usize) {
        debug_assert!(n <= self.len());
        // SAFETY: a workload pops what it pushed, so top stays at or above base (I1).
        self.top = unsafe { self.top.sub(n) };
    }

    /// First entry and end of the entries, for the collector (I3).
    pub fn range(&self) -> (*mut Ref, *mut Ref) {
        (self.base, self.top)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        // SAFETY: both point into the same mapping (I1).
        unsafe { self.top.offset_from(self.base) as usize }
    }

    /// Whether nothing is on the stack.
    pub fn is_empty(&self) -> bool {
        self.base == self.top
    }
}

impl Default for ShadowStack {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for ShadowStack {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; nobody scans a stack that is being dropped (I3).
        unsafe { libc::munmap(self.base.cast(), SLOTS * size_of::<Ref>()) };
    }
}

#[cold]
#[inline(never)]
fn overflow() -> ! {
    panic!("shadow stack overflow: {SLOTS} entries")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_index_and_from_the_top() {
        let mut stack = ShadowStack::new();
        assert_eq!(stack.push(Ref(8)), 0);
        assert_eq!(stack.push_volatile(Ref(16)), 1);
        stack.set(0, Ref(24));
        assert_eq!((stack.get(0), stack.peek(0), stack.peek(1)), (Ref(24), Ref(16), Ref(24)));
        let (from, to) = stack.range();
        assert_eq!((to as usize - from as usize) / size_of::<Ref>(), stack.len());
        stack.pop(2);
        assert!(stack.is_empty());
    }
}
