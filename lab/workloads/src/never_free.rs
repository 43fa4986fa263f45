//! Allocators that never free: the floor of what a mutator costs.
//!
//! `malloc`: glibc's `calloc` per object. `bump`: a thread-local bump pointer in fresh zero pages, with or
//! without huge pages.
//!
//! I1. A [`Handle`] points at the boxed state of a bound thread, which lives until `unbind`; only that thread
//!     uses it.
//! I2. An object is a header word (number of slots, number of words) and its payload, and is never freed. So
//!     a reference stays valid for ever, and slot or word `i` of an object is in bounds when the workload
//!     says so.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::heap::{GcStats, Heap, Mutator, Ref};
use crate::shadow_stack::ShadowStack;

/// A bump allocator takes memory in chunks of this size; `malloc` is charged in steps of it.
const CHUNK_BYTES: usize = 32 << 20;
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// A heap that never frees; `BUMP` chooses the bump pointer instead of `calloc`.
#[derive(Debug)]
pub struct NeverFreeHeap<const BUMP: bool> {
    huge_pages: bool,
    limit_bytes: usize,
    /// Bytes taken. Relaxed: an independent counter.
    taken_bytes: AtomicUsize,
    /// Called with the reason when there is no more memory, from wherever an allocation is.
    exhausted: fn(&str) -> !,
}

impl<const BUMP: bool> NeverFreeHeap<BUMP> {
    /// A heap of at most `limit_bytes`. `exhausted` is called with the reason when there is no more memory.
    pub fn new(huge_pages: bool, limit_bytes: usize, exhausted: fn(&str) -> !) -> Self {
        Self { huge_pages, limit_bytes, taken_bytes: AtomicUsize::new(0), exhausted }
    }

    fn charge(&self, bytes: usize) {
        if self.taken_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > self.limit_bytes {
            (self.exhausted)("this allocator never frees");
        }
    }
}

/// State of a bound thread.
#[derive(Debug)]
struct State<const BUMP: bool> {
    cursor: usize,
    end: usize,
    /// Bytes from `malloc` that are not charged yet.
    uncharged_bytes: usize,
    roots: ShadowStack,
    heap: *const NeverFreeHeap<BUMP>,
}

/// Handle of a bound thread.
#[derive(Clone, Copy, Debug)]
pub struct Handle<const BUMP: bool>(*mut State<BUMP>);

impl<const BUMP: bool> Heap for NeverFreeHeap<BUMP> {
    type M = Handle<BUMP>;

    fn bind(&self) -> Self::M {
        let roots = ShadowStack::new();
        Handle(Box::into_raw(Box::new(State { cursor: 0, end: 0, uncharged_bytes: 0, roots, heap: self })))
    }

    fn unbind(&self, mutator: Self::M) {
        // SAFETY: the box of `bind`, and the last use of the handle (I1).
        let state = unsafe { Box::from_raw(mutator.0) };
        assert!(state.roots.is_empty(), "unbound with roots on the shadow stack");
        self.charge(state.uncharged_bytes);
    }

    fn collect(&self, _mutator: Self::M) {}

    fn take_stats(&self) -> GcStats {
        let taken = self.taken_bytes.load(Ordering::Relaxed);
        GcStats { peak_reserved_bytes: taken as u64, ..GcStats::default() }
    }
}

impl<const BUMP: bool> Handle<BUMP> {
    #[expect(clippy::mut_from_ref, reason = "the handle is a pointer, not an owner")]
    #[inline(always)]
    fn state(&self) -> &mut State<BUMP> {
        // SAFETY: I1; no method keeps the borrow beyond itself.
        unsafe { &mut *self.0 }
    }

    /// Takes a chunk and allocates from it; an object that fills a chunk gets one of its own.
    #[cold]
    #[inline(never)]
    fn alloc_in_new_chunk(self, bytes: usize) -> usize {
        let state = self.state();
        // SAFETY: the heap outlives its handles.
        let heap = unsafe { &*state.heap };
        let chunk_bytes = bytes.max(CHUNK_BYTES);
        heap.charge(chunk_bytes);
        let Some(chunk) = map(chunk_bytes, heap.huge_pages) else { (heap.exhausted)("the system refused a mapping") };
        if bytes < CHUNK_BYTES {
            state.cursor = chunk + bytes;
            state.end = chunk + chunk_bytes;
        }
        chunk
    }

    #[cold]
    #[inline(never)]
    fn charge_malloc(self) {
        let state = self.state();
        // SAFETY: the heap outlives its handles.
        unsafe { &*state.heap }.charge(state.uncharged_bytes);
        state.uncharged_bytes = 0;
    }
}

/// Maps fresh zero pages at a multiple of the huge page size; `None` if the system refuses.
fn map(bytes: usize, huge_pages: bool) -> Option<usize> {
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
    // SAFETY: a new anonymous mapping touches no memory of ours.
    let mapping = unsafe { libc::mmap(null_mut(), bytes + HUGE_PAGE_BYTES, protection, flags, -1, 0) };
    if mapping == libc::MAP_FAILED {
        return None;
    }
    let start = (mapping as usize).next_multiple_of(HUGE_PAGE_BYTES);
    if huge_pages {
        // SAFETY: advice about pages of the mapping just made.
        unsafe { libc::madvise(start as *mut _, bytes, libc::MADV_HUGEPAGE) };
    }
    Some(start)
}

impl<const BUMP: bool> Mutator for Handle<BUMP> {
    #[inline(always)]
    fn alloc(self, nrefs: usize, nbytes: usize) -> Ref {
        let words = (1 + nrefs + nbytes.div_ceil(8)).max(2);
        let bytes = words * 8;
        let state = self.state();
        let address = if BUMP {
            let (start, end) = (state.cursor, state.cursor + bytes);
            if end > state.end {
                self.alloc_in_new_chunk(bytes)
            } else {
                state.cursor = end;
                start
            }
        } else {
            state.uncharged_bytes += bytes + 8;
            if state.uncharged_bytes > CHUNK_BYTES {
                self.charge_malloc();
            }
            // SAFETY: a plain allocation call.
            let block = unsafe { libc::calloc(1, bytes) };
            if block.is_null() {
                // SAFETY: the heap outlives its handles.
                (unsafe { &*state.heap }.exhausted)("calloc returned null");
            }
            block as usize
        };
        // SAFETY: the first word of `bytes` fresh bytes.
        unsafe { *(address as *mut u64) = nrefs as u64 | (words as u64) << 32 };
        Ref(address)
    }

    #[inline(always)]
    fn read_ref(self, object: Ref, i: usize) -> Ref {
        // SAFETY: I2.
        unsafe { *((object.0 + 8 + i * 8) as *const Ref) }
    }

    #[inline(always)]
    fn write_ref(self, object: Ref, i: usize, value: Ref) {
        // SAFETY: I2.
        unsafe { *((object.0 + 8 + i * 8) as *mut Ref) = value }
    }

    #[inline(always)]
    fn read_word(self, object: Ref, w: usize) -> u64 {
        // SAFETY: I2.
        unsafe { *((object.0 + 8 + w * 8) as *const u64) }
    }

    #[inline(always)]
    fn write_word(self, object: Ref, w: usize, value: u64) {
        // SAFETY: I2.
        unsafe { *((object.0 + 8 + w * 8) as *mut u64) = value }
    }

    #[inline(always)]
    fn poll(self) {}

    #[inline(always)]
    fn push(self, value: Ref) -> usize {
        self.state().roots.push(value)
    }

    #[inline(always)]
    fn get(self, index: usize) -> Ref {
        self.state().roots.get(index)
    }

    #[inline(always)]
    fn set(self, index: usize, value: Ref) {
        self.state().roots.set(index, value);
    }

    #[inline(always)]
    fn peek(self, depth: usize) -> Ref {
        self.state().roots.peek(depth)
    }

    #[inline(always)]
    fn pop(self, n: usize) {
        self.state().roots.pop(n);
    }
}
