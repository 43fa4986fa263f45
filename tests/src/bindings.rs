//! The bindings of the tests: the reference binding, and variants of it that keep the collector's state in
//! side tables.

use crate::MakeHeap;
use mmtk_core::{
    Address, ObjectReference, OldToNew, OutOfMemory, SlotVisitor, StateLocation, VMBinding, WeakProcessor, WordSlot,
};
use reference::{ReferenceVM, ShadowStack, object};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// How many global roots the VM of a test has.
pub const GLOBALS: usize = 8;

/// What a binding delegates whose objects and roots are those of the binding in its field `$vm`: items of its
/// `VMBinding`.
#[macro_export]
macro_rules! delegate_to {
    ($vm:tt) => {
        type Slot = mmtk_core::WordSlot;
        type Local = reference::ShadowStack;

        fn slots_of_large(&self, object: mmtk_core::ObjectReference) -> Option<usize> {
            self.$vm.slots_of_large(object)
        }
        fn scan_part(
            &self,
            object: mmtk_core::ObjectReference,
            from: usize,
            to: usize,
            visitor: &mut impl mmtk_core::SlotVisitor<mmtk_core::WordSlot>,
        ) {
            self.$vm.scan_part(object, from, to, visitor);
        }
        fn place_of_slots(&self, object: mmtk_core::ObjectReference) -> Option<std::ops::Range<mmtk_core::Address>> {
            self.$vm.place_of_slots(object)
        }
        fn scan_thread(
            &self,
            stack: &mut reference::ShadowStack,
            visitor: &mut impl mmtk_core::SlotVisitor<mmtk_core::WordSlot>,
        ) {
            self.$vm.scan_thread(stack, visitor);
        }
        fn scan_vm(&self, visitor: &mut impl mmtk_core::SlotVisitor<mmtk_core::WordSlot>) {
            self.$vm.scan_vm(visitor);
        }
        fn process_weak(&self, weak: &mut dyn mmtk_core::WeakProcessor) {
            self.$vm.process_weak(weak);
        }
    };
}

/// A binding whose objects are laid out like those of the reference binding.
pub trait TestVM: VMBinding<Slot = WordSlot, Local = ShadowStack> {
    /// A VM with `GLOBALS` global roots; when memory is exhausted, `alloc` unwinds with the error.
    fn new() -> Self;
    /// The VM that keeps global roots and weak references.
    fn reference(&self) -> &ReferenceVM;
}

/// Unwinds without the noise of a panic: tests ask for more memory than there is on purpose.
fn unwind_with(error: &OutOfMemory) {
    std::panic::resume_unwind(Box::new(error.clone()))
}

impl TestVM for ReferenceVM {
    fn new() -> Self {
        ReferenceVM::with_globals(GLOBALS).on_out_of_memory(unwind_with)
    }
    fn reference(&self) -> &ReferenceVM {
        self
    }
}

/// The reference VM with its state in side tables, and granules of `1 << LOG_GRANULE` bytes.
pub struct SideVM<const LOG_GRANULE: u32>(ReferenceVM);

// SAFETY: as for the reference binding, to which all is delegated; sizes are rounded up to granules by
// `ThreadHandle`.
unsafe impl<const LOG_GRANULE: u32> VMBinding for SideVM<LOG_GRANULE> {
    delegate_to!(0);

    const LOG_GRANULE: u32 = LOG_GRANULE;
    const STATE: StateLocation = StateLocation::Side;
    const OLD_TO_NEW: OldToNew = OldToNew::Barrier;
    const SCAN_BESIDE: bool = true;

    fn object_size(&self, object: ObjectReference) -> usize {
        self.0.object_size(object)
    }
    fn scan_object(&self, object: ObjectReference, visitor: &mut impl SlotVisitor<WordSlot>) {
        self.0.scan_object(object, visitor);
    }
    fn out_of_memory(&self, error: &OutOfMemory) {
        self.0.out_of_memory(error);
    }
}

impl<const LOG_GRANULE: u32> TestVM for SideVM<LOG_GRANULE> {
    fn new() -> Self {
        SideVM(ReferenceVM::new())
    }
    fn reference(&self) -> &ReferenceVM {
        &self.0
    }
}

type Called = Arc<dyn Fn() + Send + Sync>;

/// The reference VM, with a function that each pause calls.
#[derive(Default)]
pub struct CalledVM {
    vm: ReferenceVM,
    called: Mutex<Option<Called>>,
}

impl CalledVM {
    /// Pauses call this from now on.
    pub fn call(&self, function: impl Fn() + Send + Sync + 'static) {
        *self.called.lock().unwrap() = Some(Arc::new(function));
    }
    /// Pauses call nothing any more.
    pub fn call_nothing(&self) {
        *self.called.lock().unwrap() = None;
    }
}

// SAFETY: objects and roots of the reference VM, with their states beside them.
unsafe impl VMBinding for CalledVM {
    type Slot = WordSlot;
    type Local = ShadowStack;

    const OLD_TO_NEW: OldToNew = OldToNew::Barrier;
    const SCAN_BESIDE: bool = true;

    fn object_size(&self, object: ObjectReference) -> usize {
        self.vm.object_size(object)
    }
    fn scan_object(&self, object: ObjectReference, visitor: &mut impl SlotVisitor<WordSlot>) {
        self.vm.scan_part(object, 0, object::header(object).refs(), visitor);
    }
    fn scan_thread(&self, stack: &mut ShadowStack, visitor: &mut impl SlotVisitor<WordSlot>) {
        self.vm.scan_thread(stack, visitor);
    }
    fn process_weak(&self, _: &mut dyn WeakProcessor) {
        let called = self.called.lock().unwrap().clone();
        called.into_iter().for_each(|called| called());
    }
}

impl TestVM for CalledVM {
    fn new() -> Self {
        CalledVM::default()
    }
    fn reference(&self) -> &ReferenceVM {
        &self.vm
    }
}

/// The reference VM, none of whose roots in threads are known: shadow stacks and native ones are searched.
/// With `GARBAGE`, so are words that lead anywhere near what lies on the shadow stack.
pub struct AmbiguousVM<const GARBAGE: bool> {
    vm: ReferenceVM,
    seed: AtomicU64,
}

// SAFETY: as for the reference binding; the ranges are the words of a shadow stack, and of a local array.
unsafe impl<const GARBAGE: bool> VMBinding for AmbiguousVM<GARBAGE> {
    type Slot = WordSlot;
    type Local = ShadowStack;

    const STATE: StateLocation = ReferenceVM::STATE;
    const OLD_TO_NEW: OldToNew = OldToNew::Barrier;
    const SCAN_BESIDE: bool = true;
    const OBJECT_STARTS: bool = true;
    const CONSERVATIVE_STACKS: bool = true;

    fn object_size(&self, object: ObjectReference) -> usize {
        self.vm.object_size(object)
    }
    fn type_name(&self, object: ObjectReference) -> Cow<'static, str> {
        self.vm.type_name(object)
    }
    fn scan_object(&self, object: ObjectReference, visitor: &mut impl SlotVisitor<WordSlot>) {
        self.vm.scan_object(object, visitor);
    }
    fn scan_thread(&self, _stack: &mut ShadowStack, _visitor: &mut impl SlotVisitor<WordSlot>) {}
    fn scan_ambiguous(&self, stack: &mut ShadowStack, look: &mut dyn FnMut(Range<Address>)) {
        let words = stack.range();
        if GARBAGE {
            let seed = self.seed.fetch_add(1, Relaxed);
            let some = (1..=64u64).map(|n| (n.wrapping_add(seed)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let near = |random: u64| {
                let index = random as usize >> 32;
                let known = if stack.is_empty() { 0 } else { stack.get(index % stack.len()).0 };
                known.wrapping_add(random as usize & 0x3_ffff).wrapping_sub(0x2_0000)
            };
            let garbage: Vec<usize> = some.map(near).collect();
            let start = Address::from_ptr(garbage.as_ptr());
            look(start..start.plus(size_of_val(&garbage[..])));
        }
        look(words);
    }
    fn scan_vm(&self, visitor: &mut impl SlotVisitor<WordSlot>) {
        self.vm.scan_vm(visitor);
    }
    fn process_weak(&self, weak: &mut dyn WeakProcessor) {
        self.vm.process_weak(weak);
    }
    fn out_of_memory(&self, error: &OutOfMemory) {
        self.vm.out_of_memory(error);
    }
}

impl<const GARBAGE: bool> TestVM for AmbiguousVM<GARBAGE> {
    fn new() -> Self {
        AmbiguousVM { vm: ReferenceVM::new(), seed: AtomicU64::new(1) }
    }
    fn reference(&self) -> &ReferenceVM {
        &self.vm
    }
}

/// What a binding must say whose objects and threads are those of the reference binding, in a field of this
/// name: the items of its `VMBinding` beside the ones that it is about. Left to the binding are
/// `object_size`, other roots than those of threads, and `process_weak`.
#[macro_export]
macro_rules! as_the_reference_binding {
    ($vm:tt) => {
        type Slot = mmtk_core::WordSlot;
        type Local = reference::ShadowStack;
        const STATE: mmtk_core::StateLocation = <reference::ReferenceVM as mmtk_core::VMBinding>::STATE;
        const OLD_TO_NEW: mmtk_core::OldToNew = mmtk_core::OldToNew::Barrier;
        const SCAN_BESIDE: bool = true;

        fn scan_object(
            &self,
            object: mmtk_core::ObjectReference,
            visitor: &mut impl mmtk_core::SlotVisitor<mmtk_core::WordSlot>,
        ) {
            self.$vm.scan_object(object, visitor);
        }
        fn scan_thread(
            &self,
            stack: &mut reference::ShadowStack,
            visitor: &mut impl mmtk_core::SlotVisitor<mmtk_core::WordSlot>,
        ) {
            self.$vm.scan_thread(stack, visitor);
        }
    };
}

/// Heaps of the bindings that most tests use. Named here, they are compiled once for all tests instead of
/// once for each.
pub static HEAPS: (MakeHeap<ReferenceVM>, MakeHeap<SideVM<3>>, MakeHeap<SideVM<4>>) =
    (policies::new_heap, policies::new_heap, policies::new_heap);
