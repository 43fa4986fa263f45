//! How these tests drive a marking: object by object, or as the heap does.

use mmtk_core::{Heap, ObjectReference, SlotVisitor, VMBinding, WeakProcessor, WordSlot};
pub use plan_tests::is_marked;
use plan_tests::{TestVM, as_the_reference_binding, options};
use policies::{PLANS, new_heap};
use reference::{Ref, ReferenceVM, ThreadHandle};
use std::time::Duration;

/// Who marks is the test, one object a step.
pub const BY_STEPS: [(&str, &str); 6] = [
    ("gc.driver", "quanta"),
    ("gc.workers", "1"),
    ("stress.step_objects", "1"),
    ("stress.every_bytes", "128K"),
    ("verify.trace", "true"),
    ("verify.poison", "true"),
];

/// While the heap is verified, each allocation takes the slow path.
pub const UNVERIFIED: (&str, &str) = ("verify.trace", "false");

pub const LIMIT: usize = 32 << 20;

/// The reference VM, which can be asked what lies where.
pub struct FindingVM(ReferenceVM);

// SAFETY: as for the reference binding.
unsafe impl VMBinding for FindingVM {
    as_the_reference_binding!(0);
    const OBJECT_STARTS: bool = true;

    fn object_size(&self, object: ObjectReference) -> usize {
        self.0.object_size(object)
    }
    fn scan_vm(&self, visitor: &mut impl SlotVisitor<WordSlot>) {
        self.0.scan_vm(visitor);
    }
    fn process_weak(&self, weak: &mut dyn WeakProcessor) {
        self.0.process_weak(weak);
    }
}

impl TestVM for FindingVM {
    fn new() -> Self {
        FindingVM(ReferenceVM::new())
    }
    fn reference(&self) -> &ReferenceVM {
        &self.0
    }
}

pub fn concurrent_plans() -> impl Iterator<Item = &'static str> {
    PLANS.iter().filter(|plan| plan.needs.snapshot).map(|plan| plan.name)
}

pub fn heap_with<VM: TestVM>(plan: &str, settings: &[(&str, &str)]) -> Heap<VM> {
    new_heap(VM::new(), options(plan, LIMIT, settings)).unwrap_or_else(|error| panic!("{error}"))
}

pub fn object_of(reference: Ref) -> ObjectReference {
    reference.object().expect("not null")
}

/// Makes garbage until a marking begins, which knows what there is now.
pub fn begin<VM: TestVM>(m: ThreadHandle<VM>) {
    finish(m);
    while !is_marked(m) {
        m.alloc(1, 1000);
    }
}

/// So many steps of the marking; whether it is still in progress.
pub fn step<VM: TestVM>(m: ThreadHandle<VM>, steps: usize) -> bool {
    for _ in 0..steps {
        if !is_marked(m) {
            return false;
        }
        m.mutator().step(Duration::ZERO);
    }
    is_marked(m)
}

/// Marks to the end.
pub fn finish<VM: TestVM>(m: ThreadHandle<VM>) {
    while step(m, 1) {}
}
