//! Roots whose targets must stay, on any plan: a space that is not among the tracers for what stays in place
//! passes every test without them.

use crate::bindings::TestVM;
use crate::{MakeHeap, Watchdog, options};
use mmtk_core::{ObjectReference, Semantics, SlotVisitor, VMBinding, WordSlot};
use reference::{Class, Ref, ReferenceVM, Thread};
use std::sync::Mutex;

/// Bytes of data in the objects of a list: for every space that a plan may choose by size.
const SIZES: [usize; 7] = [8, 100, 300, 1500, 4000, 12_000, 40_000];
const LENGTH: usize = 10 * SIZES.len();

/// The reference VM with roots whose targets must stay.
pub struct PinningVM {
    vm: ReferenceVM,
    /// The targets stay.
    pub pinned: Mutex<Vec<Ref>>,
    /// The targets stay, and all that they lead to.
    pub transitively: Mutex<Vec<Ref>>,
}

fn visit(roots: &Mutex<Vec<Ref>>, visitor: &mut impl SlotVisitor<WordSlot>) {
    for root in roots.lock().unwrap().iter() {
        // SAFETY: a word of a vector that no thread changes in a pause; it holds an object's address.
        visitor.visit(unsafe { WordSlot::at(mmtk_core::Address::from_ptr(root)) });
    }
}

// SAFETY: all but the pinned roots is the reference binding's.
unsafe impl VMBinding for PinningVM {
    crate::as_the_reference_binding!(vm);
    const PINS_ROOTS: bool = true;

    fn object_size(&self, object: ObjectReference) -> usize {
        self.vm.object_size(object)
    }
    fn scan_pinned_roots(&self, visitor: &mut impl SlotVisitor<WordSlot>) {
        visit(&self.pinned, visitor);
    }
    fn scan_transitively_pinned_roots(&self, visitor: &mut impl SlotVisitor<WordSlot>) {
        visit(&self.transitively, visitor);
    }
}

impl TestVM for PinningVM {
    fn new() -> Self {
        PinningVM { vm: ReferenceVM::default(), pinned: Mutex::default(), transitively: Mutex::default() }
    }
    fn reference(&self) -> &ReferenceVM {
        &self.vm
    }
}

/// A transitively pinned root keeps objects of all sizes where they are, beside others that move.
///
/// # Panics
/// When one moved or was lost.
pub fn what_pinned_roots_reach_stays(make: MakeHeap<PinningVM>, plan: &str) {
    let _watchdog = Watchdog::new();
    let settings = [("verify.trace", "true"), ("verify.poison", "true"), ("stress.always_defrag", "true")];
    let heap = make(PinningVM::new(), options(plan, 16 << 20, &settings)).unwrap_or_else(|error| panic!("{error}"));
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let list = m.push(Ref::NULL);
    for number in 0..LENGTH {
        let bytes = SIZES[number % SIZES.len()];
        // Garbage between them.
        m.alloc(1, bytes);
        let node = m.try_alloc(Class { refs: 1, bytes }, Semantics::Default).unwrap();
        m.write_word(node, 1, number as u64);
        m.write_ref(node, 0, m.get(list));
        m.set(list, node);
    }
    let places = || {
        let next = |node: &Ref| Some(m.read_ref(*node, 0)).filter(|next| !next.is_null());
        std::iter::successors(Some(m.get(list)), next).map(|node| (node, m.read_word(node, 1))).collect::<Vec<_>>()
    };
    let before = places();
    assert_eq!(before.len(), LENGTH);
    heap.vm().transitively.lock().unwrap().push(before[0].0);
    m.set(list, Ref::NULL);
    (0..3).for_each(|_| m.collect());
    m.set(list, before[0].0);
    assert_eq!(places(), before, "objects of {plan} moved, or others are in their place");
    heap.vm().transitively.lock().unwrap().clear();
    (0..3).for_each(|_| m.collect());
    assert_eq!(places().len(), LENGTH);
}
