//! A thread attached to a heap of any test binding, and the handle that the lab's workloads take.

use crate::TestVM;
use lab::workloads::heap as lab_heap;
use lab_heap::Ref as LabRef;
use mmtk_core::{Address, Heap, Mutator, MutatorState, OutOfMemory, Semantics, WordSlot};
use reference::{Class, Ref, ShadowStack, object};
use std::mem::ManuallyDrop;

/// An attached thread; dropping it detaches.
pub struct Attached<VM: TestVM>(*mut MutatorState<VM>);

/// A handle of an attached thread, used on that thread while its [`Attached`] lives.
pub struct Handle<VM: TestVM>(*mut MutatorState<VM>);

impl<VM: TestVM> Clone for Handle<VM> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<VM: TestVM> Copy for Handle<VM> {}

impl<VM: TestVM> Attached<VM> {
    /// Attaches the calling thread.
    pub fn new(heap: &Heap<VM>) -> Attached<VM> {
        Attached(heap.attach(ShadowStack::default()).into_raw())
    }

    /// The handle.
    pub fn handle(&self) -> Handle<VM> {
        Handle(self.0)
    }
}

impl<VM: TestVM> Drop for Attached<VM> {
    fn drop(&mut self) {
        // SAFETY: from `into_raw` in `new`, and this is the end of it.
        drop(unsafe { Mutator::from_raw(self.0) });
    }
}

impl<VM: TestVM> Handle<VM> {
    /// The mutator itself.
    pub fn mutator(&self) -> ManuallyDrop<Mutator<VM>> {
        // SAFETY: the thread is attached (the handle's contract); the owner alone drops it.
        ManuallyDrop::new(unsafe { Mutator::from_raw(self.0) })
    }

    #[allow(clippy::mut_from_ref)]
    fn stack(&self) -> &mut ShadowStack {
        // SAFETY: the owner thread runs, so the collector does not; each use below ends before the next
        // begins.
        unsafe { &mut *self.mutator().local() }
    }

    /// Words of an object of this class, whole granules.
    pub fn words(class: Class) -> usize {
        class.words().next_multiple_of(1 << (VM::LOG_GRANULE - 3))
    }

    /// A new object, zeroed.
    ///
    /// # Errors
    /// When memory is exhausted.
    pub fn try_alloc(self, class: Class, semantics: Semantics) -> Result<Ref, OutOfMemory> {
        let words = Self::words(class);
        let at = match semantics {
            Semantics::Default => self.mutator().try_alloc(words * 8)?,
            special => self.mutator().try_alloc_with(words * 8, special)?,
        };
        assert!(at.is_aligned_to(1 << VM::LOG_GRANULE), "{at} is not aligned to a granule");
        // SAFETY: just returned by the allocator, of that many words.
        unsafe { object::write_header(at, class.refs, words) };
        Ok(Ref(at.as_usize()))
    }
}

fn slot_of(object: LabRef, index: usize) -> *mut u64 {
    let object = Ref(object.0).object().expect("not null");
    let header = object::header(object);
    assert!(index + 1 < header.words(), "word {index} of {} words", header.words() - 1);
    object::slot(object, index).as_mut_ptr()
}

impl<VM: TestVM> lab_heap::Mutator for Handle<VM> {
    fn alloc(self, nrefs: usize, nbytes: usize) -> LabRef {
        let class = Class { refs: nrefs, bytes: nbytes };
        let words = Self::words(class);
        let at = self.mutator().alloc(words * 8);
        // SAFETY: just returned by the allocator, of that many words.
        unsafe { object::write_header(at, nrefs, words) };
        LabRef(at.as_usize())
    }
    fn read_ref(self, object: LabRef, i: usize) -> LabRef {
        LabRef(self.read_word(object, i) as usize)
    }
    fn write_ref(self, object: LabRef, i: usize, value: LabRef) {
        // SAFETY: a slot of a live object (checked against its header).
        let slot = unsafe { WordSlot::at(Address::from_ptr(slot_of(object, i))) };
        self.mutator().store(Ref(object.0).object().expect("not null"), slot, Ref(value.0).object());
    }
    fn read_word(self, object: LabRef, w: usize) -> u64 {
        // SAFETY: inside a live object (checked against its header).
        unsafe { slot_of(object, w).read() }
    }
    fn write_word(self, object: LabRef, w: usize, value: u64) {
        // SAFETY: as for `read_word`.
        unsafe { slot_of(object, w).write(value) }
    }
    fn poll(self) {
        self.mutator().poll();
    }
    fn push(self, value: LabRef) -> usize {
        self.stack().push(Ref(value.0))
    }
    fn get(self, index: usize) -> LabRef {
        LabRef(self.stack().get(index).0)
    }
    fn set(self, index: usize, value: LabRef) {
        self.stack().set(index, Ref(value.0));
    }
    fn peek(self, depth: usize) -> LabRef {
        LabRef(self.stack().peek(depth).0)
    }
    fn pop(self, n: usize) {
        self.stack().pop(n);
    }
}
