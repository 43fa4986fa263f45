//! A mutator thread of the reference VM.
//!
//! [`Thread`] is the owner: dropping it detaches. [`ThreadHandle`] is a copy that travels in a register, for
//! workloads whose every function takes one.

use crate::ReferenceVM;
use crate::object::{self, Class, Header, MAX_WORDS, Ref};
use crate::shadow_stack::ShadowStack;
use mmtk_core::{Address, Heap, Mutator, MutatorState, OutOfMemory, Semantics, WordSlot};
use std::mem::ManuallyDrop;
use std::ops::Deref;

/// An attached thread.
pub struct Thread {
    handle: ThreadHandle,
}

/// A handle of an attached thread, valid on that thread until the [`Thread`] is dropped.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct ThreadHandle(*mut MutatorState<ReferenceVM>);

impl Thread {
    /// Attaches the calling thread to a heap.
    pub fn attach(heap: &Heap<ReferenceVM>) -> Thread {
        Thread { handle: ThreadHandle(heap.attach(ShadowStack::default()).into_raw()) }
    }

    /// Gives up ownership: the thread stays attached until [`Thread::from_handle`] takes it back.
    pub fn into_handle(self) -> ThreadHandle {
        ManuallyDrop::new(self).handle
    }

    /// Takes back what [`Thread::into_handle`] gave up.
    ///
    /// # Safety
    /// The handle came from `into_handle`, once, on this thread, and no copy of it is used afterwards.
    pub unsafe fn from_handle(handle: ThreadHandle) -> Thread {
        Thread { handle }
    }
}

impl Deref for Thread {
    type Target = ThreadHandle;
    fn deref(&self) -> &ThreadHandle {
        &self.handle
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: from `into_raw` in `attach`, and this is the end of it.
        drop(unsafe { Mutator::from_raw(self.handle.0) });
    }
}

impl ThreadHandle {
    #[inline(always)]
    fn mutator(&self) -> ManuallyDrop<Mutator<ReferenceVM>> {
        // SAFETY: the thread is attached (the handle's contract); the owner alone drops it.
        ManuallyDrop::new(unsafe { Mutator::from_raw(self.0) })
    }

    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    fn stack(&self) -> &mut ShadowStack {
        // SAFETY: the owner thread runs, so the collector does not; each use below ends before the next
        // begins.
        unsafe { &mut *self.mutator().local() }
    }

    /// Runs `f` with the mutator itself.
    pub fn with_mutator<R>(&self, f: impl FnOnce(&Mutator<ReferenceVM>) -> R) -> R {
        f(&self.mutator())
    }

    /// A new object, zeroed. A safepoint: references in locals are stale afterwards.
    #[inline(always)]
    pub fn alloc(&self, class: Class) -> Ref {
        let words = class.words();
        let at = self.mutator().alloc(words * 8);
        Self::initialise(at, class, words)
    }

    /// As [`ThreadHandle::alloc`], but returns the error when memory is exhausted.
    pub fn try_alloc(&self, class: Class) -> Result<Ref, OutOfMemory> {
        let words = class.words();
        Ok(Self::initialise(self.mutator().try_alloc(words * 8)?, class, words))
    }

    /// As [`ThreadHandle::try_alloc`], in the space that `semantics` names.
    pub fn try_alloc_with(&self, class: Class, semantics: Semantics) -> Result<Ref, OutOfMemory> {
        let words = class.words();
        Ok(Self::initialise(self.mutator().try_alloc_with(words * 8, semantics)?, class, words))
    }

    #[inline(always)]
    fn initialise(at: Address, class: Class, words: usize) -> Ref {
        assert!(words <= MAX_WORDS, "an object of {words} words: the header has room for {MAX_WORDS}");
        // SAFETY: just returned by the allocator, of that many words.
        unsafe { object::write_header(at, class.refs, words) };
        Ref(at.as_usize())
    }

    #[inline(always)]
    fn word(object: Ref, index: usize) -> *mut u64 {
        debug_assert!(!object.is_null(), "null dereference");
        (object.0 + 8 + index * 8) as *mut u64
    }

    fn check(object: Ref, index: usize, references: bool) {
        let header: Header = object::header(object.object().expect("null dereference"));
        let bound = if references { header.refs() } else { header.words() - 1 };
        assert!(index < bound, "index {index} of {bound}");
    }

    /// Reads the reference in slot `index`.
    #[inline(always)]
    pub fn read_ref(&self, object: Ref, index: usize) -> Ref {
        if cfg!(debug_assertions) {
            Self::check(object, index, true);
        }
        // SAFETY: the caller holds a live object with so many slots.
        Ref(unsafe { Self::word(object, index).read() } as usize)
    }

    /// Writes the reference in slot `index`.
    #[inline(always)]
    pub fn write_ref(&self, object: Ref, index: usize, value: Ref) {
        if cfg!(debug_assertions) {
            Self::check(object, index, true);
        }
        // SAFETY: as for `read_ref`.
        let slot = unsafe { WordSlot::at(Address::from_ptr(Self::word(object, index))) };
        self.mutator().store(object.object().expect("null dereference"), slot, value.object());
    }

    /// Reads a word; references come first, raw data after them.
    #[inline(always)]
    pub fn read_word(&self, object: Ref, index: usize) -> u64 {
        if cfg!(debug_assertions) {
            Self::check(object, index, false);
        }
        // SAFETY: as for `read_ref`.
        unsafe { Self::word(object, index).read() }
    }

    /// Writes a word of raw data.
    #[inline(always)]
    pub fn write_word(&self, object: Ref, index: usize, value: u64) {
        if cfg!(debug_assertions) {
            Self::check(object, index, false);
        }
        // SAFETY: as for `read_ref`.
        unsafe { Self::word(object, index).write(value) }
    }

    /// A safepoint.
    #[inline(always)]
    pub fn poll(&self) {
        self.mutator().poll();
    }

    /// A full collection, now.
    pub fn collect(&self) {
        self.mutator().collect();
    }

    /// Runs `f` as a native region, which touches no object.
    pub fn native<R>(&self, f: impl FnOnce() -> R) -> R {
        self.mutator().native(f)
    }

    /// Pushes a root; returns its index.
    #[inline(always)]
    pub fn push(&self, value: Ref) -> usize {
        self.stack().push(value)
    }

    /// Reads a root by index.
    #[inline(always)]
    pub fn get(&self, index: usize) -> Ref {
        self.stack().get(index)
    }

    /// Writes a root by index.
    #[inline(always)]
    pub fn set(&self, index: usize, value: Ref) {
        self.stack().set(index, value);
    }

    /// Reads a root counted from the top, 0 is the last.
    #[inline(always)]
    pub fn peek(&self, depth: usize) -> Ref {
        self.stack().peek(depth)
    }

    /// Removes the last roots.
    #[inline(always)]
    pub fn pop(&self, count: usize) {
        self.stack().pop(count);
    }

    /// How many roots there are.
    pub fn depth(&self) -> usize {
        self.stack().len()
    }
}
