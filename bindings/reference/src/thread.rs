//! A mutator thread of the reference VM, and of any other VM with the objects and stacks of this crate.
//!
//! [`Thread`] is the owner: dropping it detaches. [`ThreadHandle`] is a copy that travels in a register, for
//! workloads whose every function takes one.

use crate::ReferenceVM;
use crate::object::{self, Class, MAX_WORDS, Ref};
use crate::shadow_stack::ShadowStack;
use heapwright::compiled::MutatorState;
use heapwright::{Heap, Mutator, NewObject, OutOfMemory, Semantics, VMBinding, WordSlot};
use std::mem::ManuallyDrop;
use std::ops::Deref;

/// A binding whose objects are laid out as [`object`] says, and whose threads have a [`ShadowStack`].
pub trait SameObjects: VMBinding<Slot = WordSlot, Local = ShadowStack> {}
impl<VM: VMBinding<Slot = WordSlot, Local = ShadowStack>> SameObjects for VM {}

/// An attached thread.
pub struct Thread<VM: SameObjects = ReferenceVM> {
    handle: ThreadHandle<VM>,
}

/// A handle of an attached thread, valid on that thread until the [`Thread`] is dropped.
#[repr(transparent)]
pub struct ThreadHandle<VM: SameObjects = ReferenceVM>(*mut MutatorState<VM>);

impl<VM: SameObjects> Clone for ThreadHandle<VM> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<VM: SameObjects> Copy for ThreadHandle<VM> {}

impl<VM: SameObjects> Thread<VM> {
    /// Attaches the calling thread to a heap.
    pub fn attach(heap: &Heap<VM>) -> Thread<VM> {
        Thread { handle: ThreadHandle(heap.attach(ShadowStack::default()).into_raw()) }
    }

    /// Gives up ownership: the thread stays attached until [`Thread::from_handle`] takes it back.
    pub fn into_handle(self) -> ThreadHandle<VM> {
        ManuallyDrop::new(self).handle
    }

    /// Takes back what [`Thread::into_handle`] gave up.
    ///
    /// # Safety
    /// The handle came from `into_handle`, once, on this thread, and no copy of it is used afterwards.
    pub unsafe fn from_handle(handle: ThreadHandle<VM>) -> Thread<VM> {
        Thread { handle }
    }

    /// The handle; to be used on this thread, and not after this value.
    pub fn handle(&self) -> ThreadHandle<VM> {
        self.handle
    }
}

impl<VM: SameObjects> Deref for Thread<VM> {
    type Target = ThreadHandle<VM>;
    fn deref(&self) -> &ThreadHandle<VM> {
        &self.handle
    }
}

impl<VM: SameObjects> Drop for Thread<VM> {
    fn drop(&mut self) {
        // SAFETY: from `into_raw` in `attach`, and this is the end of it.
        drop(unsafe { Mutator::from_raw(self.handle.0) });
    }
}

impl<VM: SameObjects> ThreadHandle<VM> {
    /// The mutator itself.
    #[inline(always)]
    pub fn mutator(&self) -> impl Deref<Target = Mutator<VM>> + use<VM> {
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
    pub fn with_mutator<R>(&self, f: impl FnOnce(&Mutator<VM>) -> R) -> R {
        f(&self.mutator())
    }

    /// Words of an object of this class, header included: whole granules of the binding.
    #[inline(always)]
    pub fn words(class: Class) -> usize {
        class.words().next_multiple_of(1 << (VM::LOG_GRANULE - 3))
    }

    /// A new object with `refs` references and `bytes` bytes of raw data, zeroed. A safepoint: references in
    /// locals are stale afterwards.
    #[inline(always)]
    pub fn alloc(&self, refs: usize, bytes: usize) -> Ref {
        self.alloc_class(Class { refs, bytes })
    }

    /// As [`ThreadHandle::alloc`].
    #[inline(always)]
    pub fn alloc_class(&self, class: Class) -> Ref {
        let words = Self::words(class);
        Self::initialise(self.mutator().alloc(words * 8), class, words)
    }

    /// As [`ThreadHandle::alloc`], in the space that `semantics` names.
    ///
    /// # Errors
    /// When memory is exhausted.
    #[inline]
    pub fn try_alloc(&self, class: Class, semantics: Semantics) -> Result<Ref, OutOfMemory> {
        let words = Self::words(class);
        let at = match semantics {
            Semantics::Default => self.mutator().try_alloc(words * 8)?,
            special => self.mutator().try_alloc_with(words * 8, special)?,
        };
        Ok(Self::initialise(at, class, words))
    }

    #[inline(always)]
    fn initialise(new: NewObject, class: Class, words: usize) -> Ref {
        assert!(words <= MAX_WORDS, "an object of {words} words: the header has room for {MAX_WORDS}");
        debug_assert!(
            new.address().is_aligned_to(1 << VM::LOG_GRANULE),
            "{} is not aligned to a granule",
            new.address()
        );
        // SAFETY: just returned by the allocator, of that many words; with its header it is an object.
        unsafe {
            object::write_header(new.address(), class.refs, words);
            new.assume_object().into()
        }
    }

    #[inline(always)]
    fn word(object: Ref, index: usize) -> *mut u64 {
        debug_assert!(!object.is_null(), "null dereference");
        (object.0 + 8 + index * 8) as *mut u64
    }

    fn check(object: Ref, index: usize) {
        let bound = object::header(object.object().expect("null dereference")).words() - 1;
        assert!(index < bound, "index {index} of {bound}");
    }

    /// Reads a word; references come first, raw data after them.
    #[inline(always)]
    pub fn read_word(&self, object: Ref, index: usize) -> u64 {
        if cfg!(debug_assertions) {
            Self::check(object, index);
        }
        // SAFETY: the caller holds a live object with so many words, as this crate asks of its users.
        unsafe { Self::word(object, index).read() }
    }

    /// Writes a word of raw data.
    #[inline(always)]
    pub fn write_word(&self, object: Ref, index: usize, value: u64) {
        if cfg!(debug_assertions) {
            Self::check(object, index);
        }
        // SAFETY: the caller holds a live object with so many words, as this crate asks of its users.
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
