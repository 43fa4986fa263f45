//! The reference VM, which counts what collections read of its objects.

use crate::TestVM;
use mmtk_core::{Address, ObjectReference, OldToNew, SlotVisitor, StateLocation, VMBinding, WeakProcessor, WordSlot};
use reference::{ReferenceVM, ShadowStack, object};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// Objects of more slots are large.
const LARGE: usize = 512;

/// What was read.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Objects, or parts of them.
    pub objects: usize,
    /// Their slots.
    pub slots: usize,
    /// Of those, slots of objects with more than 512.
    pub slots_of_large: usize,
}

/// The VM.
#[derive(Default)]
pub struct CountingVM {
    vm: ReferenceVM,
    objects: AtomicUsize,
    slots: AtomicUsize,
    slots_of_large: AtomicUsize,
    /// Whether it does not say where the slots of arrays are.
    is_silent: AtomicBool,
}

impl CountingVM {
    /// From now on it says where the slots of arrays are, or does not.
    pub fn set_silent(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Relaxed);
    }

    /// What is read while `f` runs.
    pub fn read_by(&self, f: impl FnOnce()) -> Read {
        let before = self.read();
        f();
        let now = self.read();
        Read {
            objects: now.objects - before.objects,
            slots: now.slots - before.slots,
            slots_of_large: now.slots_of_large - before.slots_of_large,
        }
    }

    fn read(&self) -> Read {
        let [objects, slots, slots_of_large] =
            [&self.objects, &self.slots, &self.slots_of_large].map(|count| count.load(Relaxed));
        Read { objects, slots, slots_of_large }
    }

    fn count(&self, object: ObjectReference, slots: usize) {
        self.objects.fetch_add(1, Relaxed);
        self.slots.fetch_add(slots, Relaxed);
        if object::header(object).refs() > LARGE {
            self.slots_of_large.fetch_add(slots, Relaxed);
        }
    }
}

// SAFETY: all is delegated to the reference binding.
unsafe impl VMBinding for CountingVM {
    type Slot = WordSlot;
    type Local = ShadowStack;
    const STATE: StateLocation = ReferenceVM::STATE;
    const OLD_TO_NEW: OldToNew = OldToNew::Barrier;
    const SCAN_BESIDE: bool = true;

    fn object_size(&self, object: ObjectReference) -> usize {
        self.vm.object_size(object)
    }
    fn scan_object(&self, object: ObjectReference, visitor: &mut impl SlotVisitor<WordSlot>) {
        self.count(object, object::header(object).refs());
        self.vm.scan_object(object, visitor);
    }
    fn slots_of_large(&self, object: ObjectReference) -> Option<usize> {
        self.vm.slots_of_large(object)
    }
    fn scan_part(&self, object: ObjectReference, from: usize, to: usize, visitor: &mut impl SlotVisitor<WordSlot>) {
        self.count(object, to - from);
        self.vm.scan_part(object, from, to, visitor);
    }
    fn place_of_slots(&self, object: ObjectReference) -> Option<Range<Address>> {
        if self.is_silent.load(Relaxed) { None } else { self.vm.place_of_slots(object) }
    }
    fn scan_thread(&self, stack: &mut ShadowStack, visitor: &mut impl SlotVisitor<WordSlot>) {
        self.vm.scan_thread(stack, visitor);
    }
    fn scan_vm(&self, visitor: &mut impl SlotVisitor<WordSlot>) {
        self.vm.scan_vm(visitor);
    }
    fn process_weak(&self, weak: &mut dyn WeakProcessor) {
        self.vm.process_weak(weak);
    }
}

impl TestVM for CountingVM {
    fn new() -> Self {
        CountingVM { vm: ReferenceVM::new(), ..Default::default() }
    }
    fn reference(&self) -> &ReferenceVM {
        &self.vm
    }
}
