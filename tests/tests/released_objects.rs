//! Old objects that a binding knows to be dead: a minor collection takes them back.

use mmtk_core::{Heap, ObjectReference, Semantics, SlotVisitor, VMBinding, WeakProcessor, WordSlot};
use plan_tests::{TestVM, Watchdog, options};
use policies::new_heap;
use reference::{Class, Ref, ReferenceVM, Thread};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The reference binding, with a list of old objects to release in the next collection.
struct Releasing {
    vm: ReferenceVM,
    dead: Mutex<Vec<ObjectReference>>,
    minor_scans: AtomicUsize,
}

// SAFETY: as for the reference binding; the tests drop every reference to an object before they list it.
unsafe impl VMBinding for Releasing {
    plan_tests::as_the_reference_binding!(vm);

    fn object_size(&self, object: ObjectReference) -> usize {
        self.vm.object_size(object)
    }
    fn scan_vm_minor(&self, visitor: &mut impl SlotVisitor<WordSlot>) {
        self.minor_scans.fetch_add(1, Relaxed);
        self.scan_vm(visitor);
    }
    fn process_weak(&self, weak: &mut dyn WeakProcessor) {
        self.dead.lock().unwrap().drain(..).for_each(|object| weak.release(object));
    }
}

impl TestVM for Releasing {
    fn new() -> Self {
        Releasing { vm: ReferenceVM::new(), dead: Mutex::default(), minor_scans: AtomicUsize::new(0) }
    }
    fn reference(&self) -> &ReferenceVM {
        &self.vm
    }
}

/// Makes `count` objects, makes them old by a full collection, releases all but every `kept`th in a minor
/// collection, and makes as many again. Bytes reserved before the release, after it, and at the end.
fn release(plan: &str, class: Class, count: usize, kept: usize) -> [usize; 3] {
    release_after(plan, class, count, kept, true)
}

/// As [`release`]. Without `full`, minor collections have made all old but the last few.
fn release_after(plan: &str, class: Class, count: usize, kept: usize, full: bool) -> [usize; 3] {
    let settings =
        [("verify.trace", "true"), ("verify.poison", "true"), ("nursery.bytes", "256K"), ("gc.workers", "1")];
    let heap: Heap<Releasing> = new_heap(Releasing::new(), options(plan, 64 << 20, &settings)).unwrap();
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let alloc = |word| {
        let object = m.try_alloc(class, Semantics::Default).unwrap();
        m.write_word(object, 0, word);
        m.push(object);
    };
    let collect_minor = || {
        let collections = heap.statistics().collections;
        while heap.statistics().collections == collections {
            m.try_alloc(Class { refs: 0, bytes: 1000 }, Semantics::Default).unwrap();
        }
    };
    (0..count).for_each(|n| alloc(n as u64));
    if full {
        m.mutator().collect();
    } else {
        collect_minor();
    }
    let before = heap.statistics();
    for n in (0..count).filter(|n| n % kept != 0) {
        heap.vm().dead.lock().unwrap().push(m.get(n).object().unwrap());
        m.set(n, Ref::NULL);
    }
    collect_minor();
    let after = heap.statistics();
    (0..count).for_each(|n| alloc(n as u64));
    let end = heap.statistics();
    assert_eq!(end.full_collections, before.full_collections, "{plan}: all others were minor");
    let minor = (end.collections - end.full_collections) as usize;
    assert!(heap.vm().minor_scans.load(Relaxed) >= minor, "{plan}: their roots are those of minor collections");
    m.mutator().collect();
    for n in 0..count {
        assert!(n % kept != 0 || m.read_word(m.get(n), 0) == n as u64, "{plan}: object {n}, kept");
        assert_eq!(m.read_word(m.get(count + n), 0), n as u64, "{plan}: object {n}, new");
    }
    [before, after, end].map(|statistics| statistics.reserved_bytes)
}

const GENERATIONAL: [&str; 4] = ["GenCopy", "GenImmix", "StickyImmix", "StickyMarkSweep"];

#[test]
fn the_memory_of_large_objects_is_free_at_once() {
    let _watchdog = Watchdog::new();
    for plan in GENERATIONAL {
        let [before, after, _] = release(plan, Class { refs: 0, bytes: 100_000 }, 50, 5);
        assert!(after + 39 * 100_000 < before, "{plan}: {after} of {before}");
    }
}

#[test]
fn cells_are_used_again_and_blocks_without_an_object_go_back() {
    let _watchdog = Watchdog::new();
    let class = Class { refs: 0, bytes: 56 };
    let [before, _, end] = release("StickyMarkSweep", class, 40_000, 4);
    // A quarter lives twice: 1.25 of what there was, and the nursery.
    assert!(end < before / 4 * 5 + (1 << 20), "{end} after {before}");
    for full in [true, false] {
        let [before, after, _] = release_after("StickyMarkSweep", class, 20_000, 20_000, full);
        assert!(after < before / 2, "{after} of {before}, full: {full}");
    }
}

#[test]
fn a_plan_that_frees_nothing_before_the_next_full_collection_keeps_the_rest_intact() {
    let _watchdog = Watchdog::new();
    for plan in GENERATIONAL {
        release(plan, Class { refs: 1, bytes: 56 }, 20_000, 3);
    }
}
