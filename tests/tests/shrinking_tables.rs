//! Tables that held much and hold little give their memory back, and a collection does no more than in a heap
//! in which they never did.
//!
//! How many entries a collection looks at is tested with the tables (`weak/table.rs`); here that the steps
//! are those of an empty heap: a step with nothing to look at is not taken.

use mmtk_core::events::Event;
use mmtk_core::weak::{FinalizerOrder, Reference, ReferenceKind, Terms};
use mmtk_core::{AddressTable, ObjectReference, Options, References};
use plan_tests::{Watchdog, collecting_plans, dense_plans, options, region_in};
use policies::new_heap;
use reference::{Class, Ref, ReferenceHeap, ReferenceVM, Thread};
use std::sync::{Arc, Mutex};

const NODE: Class = Class { refs: 1, bytes: 8 };
const KINDS: [ReferenceKind; 4] =
    [ReferenceKind::Soft, ReferenceKind::Weak, ReferenceKind::Phantom, ReferenceKind::Ephemeron];

/// A heap whose collections are recorded.
struct Recorded {
    heap: ReferenceHeap,
    steps: Arc<Mutex<Vec<&'static str>>>,
}

/// What is reserved, and the steps of the last collection.
type State = (usize, Vec<&'static str>);

impl Recorded {
    fn new(options: Options) -> Recorded {
        let heap = new_heap(ReferenceVM::default(), options).unwrap();
        let steps = Arc::new(Mutex::new(Vec::new()));
        let last = steps.clone();
        heap.listen(Box::new(move |event: &Event| {
            if let Event::Pause(report) = event {
                *last.lock().unwrap() = report.phases.iter().map(|phase| phase.name).collect();
            }
        }));
        Recorded { heap, steps }
    }

    /// After a collection that found everything dead, and one more.
    fn settled(&self, thread: &Thread) -> State {
        (0..2).for_each(|_| thread.collect());
        (self.heap.statistics().reserved_bytes, self.steps.lock().unwrap().clone())
    }

    /// The same once the heap had that many objects: its spaces keep their side tables.
    fn after_objects(&self, thread: &Thread, count: usize) -> State {
        objects(thread, count);
        thread.pop(1);
        self.settled(thread)
    }
}

fn with<R>(thread: &Thread, f: impl FnOnce(&References<'_, ReferenceVM>) -> R) -> R {
    thread.with_mutator(|mutator| f(&mutator.references()))
}

fn object(value: Ref) -> ObjectReference {
    value.object().unwrap()
}

/// An array of `count` new objects, at a new root.
fn objects(thread: &Thread, count: usize) -> usize {
    let array = thread.push(thread.alloc(count, 0));
    for n in 0..count {
        let one = thread.alloc_class(NODE);
        thread.write_ref(thread.get(array), n, one);
    }
    array
}

fn at(thread: &Thread, array: usize, n: usize) -> ObjectReference {
    object(thread.read_ref(thread.get(array), n))
}

/// Whether a heap is as it was before: up to a few pages, in which live objects may have moved.
fn assert_as_before(before: &State, after: &State, what: &str) {
    assert!(after.0 <= before.0 + (64 << 10), "{what}: {} bytes reserved, before {}", after.0, before.0);
    assert_eq!(after.1, before.1, "{what}: the steps of a collection");
}

/// References to one object, made and given up; or their owner dies.
fn made_and_freed(plan: &str, limit: usize, count: usize, kinds: &[ReferenceKind]) {
    let recorded = Recorded::new(options(plan, limit, &[]));
    let thread = Thread::attach(&recorded.heap);
    let target = thread.push(thread.alloc_class(NODE));
    let before = recorded.settled(&thread);
    for &kind in kinds {
        for owned in [false, true] {
            let owner = thread.push(thread.alloc_class(NODE));
            let made: Vec<Reference> = with(&thread, |references| {
                let terms = Terms { owner: thread.get(owner).object().filter(|_| owned), notify: true };
                let target = object(thread.get(target));
                (0..count).map(|_| references.create(kind, target, terms).unwrap()).collect()
            });
            assert!(recorded.heap.statistics().reserved_bytes >= before.0 + 32 * count, "{plan}, {kind:?}");
            if !owned {
                with(&thread, |references| made.into_iter().for_each(|reference| references.free(reference)));
            }
            thread.pop(1);
            assert_as_before(&before, &recorded.settled(&thread), &format!("{plan}, {kind:?}, owned: {owned}"));
        }
    }
}

#[test]
fn a_million_references_of_each_kind_leave_nothing_behind() {
    let _watchdog = Watchdog::new();
    made_and_freed("Immix", 64 << 20, 1_000_000, &KINDS);
}

#[test]
fn eight_million_weak_references_leave_nothing_behind() {
    let _watchdog = Watchdog::new();
    made_and_freed("Immix", 1 << 30, 8_000_000, &[ReferenceKind::Weak]);
}

#[test]
fn references_leave_nothing_behind_on_any_plan() {
    let _watchdog = Watchdog::new();
    collecting_plans().for_each(|plan| made_and_freed(plan, 32 << 20, 20_000, &KINDS));
}

/// Cancelled, or called and returned.
#[test]
fn finalizers_leave_nothing_behind() {
    let _watchdog = Watchdog::new();
    for plan in dense_plans() {
        for order in [FinalizerOrder::Any, FinalizerOrder::ReferrersFirst, FinalizerOrder::Topological] {
            const COUNT: usize = 20_000;
            let recorded = Recorded::new(options(plan, 32 << 20, &[]));
            let thread = Thread::attach(&recorded.heap);
            let before = recorded.after_objects(&thread, COUNT);
            let array = objects(&thread, COUNT);
            let made: Vec<_> = with(&thread, |references| {
                (0..COUNT).map(|n| references.add_finalizer(at(&thread, array, n), order).unwrap()).collect()
            });
            with(&thread, |r| made.into_iter().step_by(2).for_each(|finalizer| r.cancel_finalizer(finalizer)));
            thread.pop(1);
            thread.collect();
            with(&thread, |references| {
                let due = std::iter::from_fn(|| references.next_finalizable()).count();
                assert_eq!(due, COUNT / 2, "{plan}, {order:?}");
            });
            assert_as_before(&before, &recorded.settled(&thread), &format!("{plan}, {order:?}"));
        }
    }
}

/// Identity hashes, tables of the VM and pins: their objects die; or they are taken out by the VM.
#[test]
fn tables_keyed_by_objects_leave_nothing_behind() {
    let _watchdog = Watchdog::new();
    for plan in dense_plans() {
        const COUNT: usize = 20_000;
        let recorded = Recorded::new(options(plan, 32 << 20, &[]));
        let thread = Thread::attach(&recorded.heap);
        let table = thread.with_mutator(AddressTable::new);
        let before = recorded.after_objects(&thread, COUNT);
        for dies in [true, false] {
            let array = objects(&thread, COUNT);
            let pins = thread.with_mutator(|mutator| {
                for n in 0..COUNT {
                    let object = at(&thread, array, n);
                    table.insert(mutator, object, n as u64).unwrap();
                    mutator.references().identity_hash(object).unwrap();
                }
                (0..COUNT).filter(|n| mutator.pin(at(&thread, array, *n)).is_ok()).count()
            });
            assert!(recorded.heap.statistics().reserved_bytes > before.0 + 40 * COUNT, "{plan}");
            if !dies {
                thread.with_mutator(|mutator| {
                    for n in 0..COUNT {
                        assert_eq!(table.remove(mutator, at(&thread, array, n)), Some(n as u64), "{plan}");
                        if pins > 0 {
                            mutator.unpin(at(&thread, array, n));
                        }
                    }
                });
            }
            thread.pop(1);
            assert_as_before(&before, &recorded.settled(&thread), &format!("{plan}, dies: {dies}"));
            assert!(table.is_empty(), "{plan}");
        }
    }
}

/// What is left keeps its numbers and is found, wherever it was in the tables; of the 5 MB that these took
/// little is left.
#[test]
fn what_is_left_of_many_is_found_and_takes_little() {
    let _watchdog = Watchdog::new();
    for plan in dense_plans() {
        const COUNT: usize = 20_000;
        let recorded = Recorded::new(options(plan, 32 << 20, &[("verify.trace", "true")]));
        let thread = Thread::attach(&recorded.heap);
        let table = thread.with_mutator(AddressTable::new);
        let (before, _) = recorded.after_objects(&thread, COUNT);
        let stays = |n: usize| n % 500 == 250;
        let kept = objects(&thread, COUNT);
        let (mut made, mut hashes) = (Vec::new(), Vec::new());
        for n in 0..COUNT {
            let key = at(&thread, kept, n);
            thread.with_mutator(|mutator| {
                let references = mutator.references();
                made.push(KINDS.map(|kind| references.create(kind, key, Terms::default()).unwrap()));
                hashes.push(references.identity_hash(key).unwrap());
                table.insert(mutator, key, n as u64).unwrap();
            });
        }
        for n in (0..COUNT).filter(|n| !stays(*n)) {
            thread.write_ref(thread.get(kept), n, Ref::NULL);
            with(&thread, |references| made[n].into_iter().for_each(|reference| references.free(reference)));
        }
        for round in 0..3 {
            let reserved = recorded.settled(&thread).0;
            // The array, and the blocks of which each holds a live object, twice in plans that copy; a chunk
            // for each entry of four kinds.
            let most = before + COUNT * (8 + 32) * 2 + 40 * 4 * 4096;
            assert!(reserved <= most, "{plan}, round {round}: {reserved} of {before} bytes, {most} expected");
            for n in (0..COUNT).filter(|n| stays(*n)) {
                let key = at(&thread, kept, n);
                thread.with_mutator(|mutator| {
                    let references = mutator.references();
                    let [soft, weak, phantom, ephemeron] = made[n];
                    assert_eq!([soft, weak, ephemeron].map(|r| references.get(r)), [Some(key); 3], "{plan}: {n}");
                    assert!(!references.is_cleared(phantom), "{plan}: {n}");
                    assert_eq!(references.identity_hash(key).unwrap(), hashes[n], "{plan}: {n}");
                    assert_eq!(table.get(mutator, key), Some(n as u64), "{plan}: {n}");
                });
            }
            // New ones take the room that there is, and are told from the old ones.
            let more = objects(&thread, 1000);
            for n in 0..1000 {
                let key = at(&thread, more, n);
                thread.with_mutator(|mutator| {
                    table.insert(mutator, key, (COUNT + n) as u64).unwrap();
                    let weak = mutator.references().create(ReferenceKind::Weak, key, Terms::default()).unwrap();
                    assert_eq!(mutator.references().get(weak), Some(key), "{plan}");
                    mutator.references().free(weak);
                });
            }
            thread.pop(1);
        }
    }
}

/// Regions that were released are not looked through for objects any more.
#[test]
fn regions_leave_nothing_to_look_at_behind() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let recorded = Recorded::new(options(plan, 32 << 20, &[]));
        let thread = Thread::attach(&recorded.heap);
        let before = recorded.settled(&thread);
        let region = region_in(&recorded.heap);
        thread.with_mutator(|mutator| {
            for _ in 0..10_000 {
                let at = region.alloc(mutator, 32).address();
                // SAFETY: just allocated, of four words.
                unsafe { reference::object::write_header(at, 0, 4) };
            }
        });
        thread.collect();
        thread.with_mutator(|mutator| region.release(mutator));
        // Its space keeps side tables.
        assert_eq!(recorded.settled(&thread).1, before.1, "{plan}");
    }
}
