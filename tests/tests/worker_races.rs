//! Races between workers: eight of them, on however few processors, and a graph in which they meet at every
//! turn.
//!
//! The objects are small and lie side by side, so that workers mark in the same words and copy from the same
//! blocks; an array refers to all of them in no order, and each to some others, so that several workers come
//! to each. When the binding is asked about an object, it now and then lets other threads run, so that a
//! worker is held up in the middle of its work.

use mmtk_core::{ObjectReference, OldToNew, Semantics, SlotVisitor, StateLocation, VMBinding, WordSlot};
use plan_tests::{SideVM, TestVM, Watchdog, assert_within_limit, delegate_to, dense_plans, options};
use policies::new_heap;
use reference::{Class, Ref, ReferenceVM, Thread, ThreadHandle};
use std::cell::Cell;
use workloads::rng::Rng;

/// A binding that lets other threads run now and then while the collector asks it about objects.
struct Yielding<VM>(VM);

/// Yields in one of `every` calls, at random.
fn maybe_yield(every: u64) {
    std::thread_local! { static SEED: Cell<u64> = const { Cell::new(1) } }
    let seed = SEED.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    SEED.set(seed);
    if (seed >> 33).is_multiple_of(every) {
        std::thread::yield_now();
    }
}

// SAFETY: all is delegated, and a thread that lets others run keeps every promise.
unsafe impl<VM: TestVM> VMBinding for Yielding<VM> {
    delegate_to!(0);

    const LOG_GRANULE: u32 = VM::LOG_GRANULE;
    const STATE: StateLocation = VM::STATE;
    const OLD_TO_NEW: OldToNew = VM::OLD_TO_NEW;
    const SCAN_BESIDE: bool = VM::SCAN_BESIDE;

    fn object_size(&self, object: ObjectReference) -> usize {
        // The worker may have claimed the object, and the others wait.
        maybe_yield(2000);
        self.0.object_size(object)
    }
    fn scan_object(&self, object: ObjectReference, visitor: &mut impl SlotVisitor<WordSlot>) {
        maybe_yield(100);
        self.0.scan_object(object, visitor);
    }
}

impl<VM: TestVM> TestVM for Yielding<VM> {
    fn new() -> Self {
        Yielding(VM::new())
    }
    fn reference(&self) -> &ReferenceVM {
        self.0.reference()
    }
}

/// Objects of the graph, several parts of a large array of references.
const NODES: usize = 8192;
const REFS: usize = 2;
/// Collections of one graph.
const ROUNDS: u64 = 6;

/// What the graph should be: each node's number, and the indices of the nodes that it refers to.
struct Model {
    ids: Vec<u64>,
    edges: Vec<[usize; REFS]>,
}

fn new_node<VM: TestVM>(m: ThreadHandle<VM>, id: u64) -> Ref {
    let node = m.try_alloc(Class { refs: REFS, bytes: 8 }, Semantics::Default).unwrap();
    m.write_word(node, REFS, id);
    node
}

/// Root 0 is the array.
fn change<VM: TestVM>(m: ThreadHandle<VM>, model: &mut Model, random: &mut Rng, round: u64) {
    for index in 0..NODES {
        // A quarter of the nodes die; what takes their place is new, and what referred to them is made to
        // refer to that.
        if round == 0 || random.below(4) == 0 {
            model.ids[index] = round * NODES as u64 + index as u64;
            let node = new_node(m, model.ids[index]);
            m.write_ref(m.get(0), index, node);
        }
    }
    for index in 0..NODES {
        model.edges[index] = std::array::from_fn(|_| random.below(NODES));
        for (n, target) in model.edges[index].into_iter().enumerate() {
            m.write_ref(m.read_ref(m.get(0), index), n, m.read_ref(m.get(0), target));
        }
    }
}

fn check<VM: TestVM>(m: ThreadHandle<VM>, model: &Model) {
    for (index, (id, edges)) in model.ids.iter().zip(&model.edges).enumerate() {
        let node = m.read_ref(m.get(0), index);
        assert_eq!(m.read_word(node, REFS), *id, "node {index}");
        for (n, target) in edges.iter().enumerate() {
            assert_eq!(m.read_ref(node, n), m.read_ref(m.get(0), *target), "reference {n} of node {index}");
        }
    }
}

fn eight_workers<VM: TestVM>(plan: &str, more: &[(&str, &str)]) {
    let settings = [("verify.trace", "true"), ("gc.workers", "8"), ("gc.wake_helpers", "always")];
    let settings: Vec<_> = settings.into_iter().chain(more.iter().copied()).collect();
    let heap = new_heap(Yielding::<VM>::new(), options(plan, 16 << 20, &settings)).unwrap();
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    m.push(m.try_alloc(Class { refs: NODES, bytes: 0 }, Semantics::Default).unwrap());
    let mut model = Model { ids: vec![0; NODES], edges: vec![[0; REFS]; NODES] };
    let mut random = Rng::new(7);
    let bytes = |class| ThreadHandle::<Yielding<VM>>::words(class) * 8;
    let live = bytes(Class { refs: NODES, bytes: 0 }) + NODES * bytes(Class { refs: REFS, bytes: 8 });
    for round in 0..ROUNDS {
        change(m, &mut model, &mut random, round);
        m.mutator().collect();
        check(m, &model);
        // Where marks are plain stores, two workers that come at the very same moment both count the object.
        let counted = heap.statistics().live_bytes;
        let exact = !plan.contains("Immix");
        assert!(counted == live || !exact && counted > live, "{plan}: {counted} bytes counted, {live} live");
    }
    assert_within_limit(&heap);
}

#[test]
fn eight_workers_that_meet_at_every_object_lose_none() {
    for plan in dense_plans() {
        let _watchdog = Watchdog::new();
        eight_workers::<ReferenceVM>(plan, &[("nursery.bytes", "128K")]);
        eight_workers::<SideVM<3>>(plan, &[("nursery.bytes", "128K")]);
    }
}

#[test]
fn eight_workers_that_evacuate_what_they_meet_at_lose_none() {
    for plan in ["Immix", "StickyImmix", "GenImmix"] {
        let _watchdog = Watchdog::new();
        eight_workers::<ReferenceVM>(plan, &[("stress.always_defrag", "true")]);
        eight_workers::<SideVM<3>>(plan, &[("stress.always_defrag", "true")]);
    }
}

/// Two workers come to neighbours at the same moment, over and over: the array's halves lead to objects that
/// lie in turn side by side, so that their marks are bits of one word.
#[test]
fn two_workers_that_mark_in_the_same_word_lose_no_mark() {
    const OBJECTS: usize = 1 << 15;
    for plan in ["MarkSweep", "MarkCompact", "StickyMarkSweep"] {
        let _watchdog = Watchdog::new();
        let settings = [("verify.trace", "true"), ("gc.workers", "2"), ("gc.wake_helpers", "always")];
        let heap = new_heap(ReferenceVM::new(), options(plan, 16 << 20, &settings)).unwrap();
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        m.push(m.try_alloc(Class { refs: OBJECTS, bytes: 0 }, Semantics::Default).unwrap());
        for n in 0..OBJECTS {
            let object = m.alloc(0, 8);
            m.write_word(object, 0, n as u64);
            m.write_ref(m.get(0), n % 2 * (OBJECTS / 2) + n / 2, object);
        }
        let bytes = |refs, bytes| ThreadHandle::<ReferenceVM>::words(Class { refs, bytes }) * 8;
        let live = bytes(OBJECTS, 0) + OBJECTS * bytes(0, 8);
        for round in 0..ROUNDS {
            m.mutator().collect();
            assert_eq!(heap.statistics().live_bytes, live, "{plan}, round {round}");
        }
        for n in 0..OBJECTS {
            let object = m.read_ref(m.get(0), n % 2 * (OBJECTS / 2) + n / 2);
            assert_eq!(m.read_word(object, 0), n as u64, "{plan}");
        }
    }
}
