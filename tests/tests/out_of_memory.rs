//! What happens when memory runs out, or the system refuses it.

use mmtk_core::events::Event;
use mmtk_core::weak::{FinalizerOrder, ReferenceKind, Terms};
use mmtk_core::{Address, AddressTable, HeapError, Mutator, ObjectReference, OutOfMemory, PinError, Semantics, Tried};
use plan_tests::{SideVM, TestVM, Watchdog, assert_within_limit, collecting_plans, options, verified_heap as heap};
use policies::{PLANS, new_heap};
use reference::{Class, Ref, ReferenceHeap, ReferenceVM, Thread, ThreadHandle, object};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const LIMIT: usize = 2 << 20;

/// Kinds of objects, each served by another allocator of some plan.
const KINDS: [(&str, Class, Semantics); 7] = [
    ("small", Class { refs: 1, bytes: 16 }, Semantics::Default),
    ("medium", Class { refs: 1, bytes: 2000 }, Semantics::Default),
    ("large", Class { refs: 1, bytes: 100_000 }, Semantics::Default),
    ("small non-moving", Class { refs: 1, bytes: 16 }, Semantics::NonMoving),
    ("large non-moving", Class { refs: 1, bytes: 30_000 }, Semantics::NonMoving),
    ("small immortal", Class { refs: 1, bytes: 16 }, Semantics::Immortal),
    ("large immortal", Class { refs: 1, bytes: 100_000 }, Semantics::Immortal),
];

/// Chains new objects at a root until memory is exhausted; how many there were.
fn fill_at(m: ThreadHandle, root: usize, class: Class, semantics: Semantics) -> (usize, OutOfMemory) {
    for count in 0.. {
        match m.try_alloc(class, semantics) {
            Ok(object) => {
                m.write_ref(object, 0, m.get(root));
                m.set(root, object);
            }
            Err(error) => return (count, error),
        }
    }
    unreachable!()
}

/// The same at root 0.
fn fill(m: ThreadHandle, class: Class, semantics: Semantics) -> (usize, OutOfMemory) {
    fill_at(m, 0, class, semantics)
}

#[test]
fn out_of_memory_is_an_error_wherever_it_arises_and_the_heap_stays_usable() {
    let _watchdog = Watchdog::new();
    for plan in PLANS {
        for (what, class, semantics) in KINDS {
            let heap = heap(plan.name, LIMIT, &[]);
            let thread = Thread::attach(&heap);
            let m = *thread;
            m.push(Ref::NULL);
            let bytes = class.words() * 8;
            let (count, error) = fill(m, class, semantics);
            assert_eq!((error.requested, error.limit), (bytes, LIMIT), "{what} on {}", plan.name);
            assert!(error.reserved <= LIMIT && error.report.contains(plan.name), "{error}");
            // A copying plan needs as much again, and blocks lose their ends.
            assert!(count * bytes > LIMIT / 4, "only {count} {what} objects on {}: {error}", plan.name);
            let mut chain = 0;
            let mut next = m.get(0);
            while !next.is_null() {
                chain += 1;
                next = m.read_ref(next, 0);
            }
            assert_eq!(chain, count, "{what} on {}: objects were lost when memory ran out", plan.name);
            // Immortal objects stay for ever, and without a collector all do.
            if plan.name != "NoGC" && semantics != Semantics::Immortal {
                m.set(0, Ref::NULL);
                let (again, _) = fill(m, class, semantics);
                assert!(again * 100 > count * 90, "{what} on {}: first {count} fit, then {again}", plan.name);
            }
            m.pop(1);
            assert_within_limit(&heap);
        }
    }
}

/// Numbers below `count`, in an order in which each follows each, itself too, once: a de Bruijn sequence.
fn each_after_each(count: usize) -> impl Iterator<Item = usize> {
    let with_larger = move |one| std::iter::once(one).chain((one + 1..count).flat_map(move |other| [one, other]));
    (0..count).flat_map(with_larger).chain([0])
}

#[test]
fn every_kind_of_object_finds_room_when_another_kind_has_filled_the_heap_and_died() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = heap(plan, LIMIT, &[]);
        let thread = Thread::attach(&heap);
        let m = *thread;
        m.push(Ref::NULL);
        let mortal: Vec<_> = KINDS.into_iter().filter(|kind| kind.2 != Semantics::Immortal).collect();
        let mut pairs = HashSet::new();
        let mut first = None;
        for kind in each_after_each(mortal.len()) {
            let (then, class, semantics) = mortal[kind];
            let (count, error) = fill(m, class, semantics);
            let bytes = count * class.words() * 8;
            assert!(bytes > LIMIT / 4, "{then} after {first:?} on {plan}: only {bytes} bytes: {error}");
            m.set(0, Ref::NULL);
            pairs.extend(first.map(|first| (first, then)));
            first = Some(then);
        }
        assert_eq!(pairs.len(), mortal.len().pow(2));
        m.pop(1);
        assert_within_limit(&heap);
    }
}

#[test]
fn what_is_larger_than_the_limit_is_refused_without_a_collection() {
    let _watchdog = Watchdog::new();
    let modes = ["fixed", "proportional"].map(|mode| [("heap.min", "1M"), ("heap.mode", mode)]);
    for (plan, mode) in PLANS.iter().flat_map(|plan| modes.each_ref().map(|mode| (plan, mode))) {
        let heap = heap(plan.name, LIMIT, mode);
        let thread = Thread::attach(&heap);
        // A range to bump in, so that the fast path sees the requests too.
        thread.alloc(1, 8);
        for bytes in [LIMIT + 8, 1 << 40, usize::MAX / 2 + 1, usize::MAX & !7] {
            for semantics in [Semantics::Default, Semantics::NonMoving, Semantics::Immortal] {
                let error = thread.with_mutator(|m| m.try_alloc_with(bytes, semantics)).unwrap_err();
                assert_eq!((error.requested, error.limit), (bytes, LIMIT));
            }
            let error = thread.with_mutator(|m| m.try_alloc(bytes)).unwrap_err();
            assert_eq!(error.requested, bytes);
        }
        assert_eq!(heap.statistics().collections, 0, "{}, {mode:?}", plan.name);
        thread.alloc(1, 8);
    }
}

#[test]
fn alloc_tells_the_vm_when_memory_is_exhausted() {
    let _watchdog = Watchdog::new();
    for plan in PLANS {
        let heap = heap(plan.name, LIMIT, &[]);
        let thread = Thread::attach(&heap);
        thread.push(Ref::NULL);
        // The hook of the tests' VM unwinds with the error.
        let result = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let object = thread.alloc(1, 1000);
                thread.write_ref(object, 0, thread.get(0));
                thread.set(0, object);
            }
        }));
        let error = result.map(|_: std::convert::Infallible| ()).unwrap_err().downcast::<OutOfMemory>().unwrap();
        assert_eq!((error.requested, error.limit), (1016, LIMIT), "{}", plan.name);
    }
}

#[test]
fn many_threads_may_run_out_of_memory_at_once() {
    let _watchdog = Watchdog::new();
    for plan in PLANS {
        let heap = heap(plan.name, LIMIT, &[]);
        let exhausted = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let thread = Thread::attach(&heap);
                    thread.push(Ref::NULL);
                    fill(*thread, Class { refs: 1, bytes: 500 }, Semantics::Default);
                    exhausted.fetch_add(1, Relaxed);
                    thread.pop(1);
                });
            }
        });
        assert_eq!(exhausted.load(Relaxed), 4);
        assert_within_limit(&heap);
    }
}

/// Asks for an entry about the object with this number, which is given.
type Request<'a> = Box<dyn Fn(&Mutator<ReferenceVM>, usize, ObjectReference) -> Result<(), OutOfMemory> + 'a>;

/// Objects in memory of the test's own.
struct Outside(Vec<[u64; 2]>);

impl Outside {
    fn new(count: usize) -> Outside {
        let mut objects = vec![[0u64; 2]; count];
        // SAFETY: two words each, of this vector, which never grows.
        objects.iter_mut().for_each(|at| unsafe { object::write_header(Address::from_ptr(at.as_mut_ptr()), 0, 2) });
        Outside(objects)
    }
    fn object(&self, n: usize) -> ObjectReference {
        // SAFETY: `new` has made an object there.
        unsafe { ObjectReference::from_address(Address::from_ptr(&raw const self.0[n])) }.unwrap()
    }
}

/// What asks for memory and does not collect.
fn requests<'a>(heap: &'a ReferenceHeap, table: &'a AddressTable, outside: &'a Outside) -> [(&'a str, Request<'a>); 7] {
    [
        (
            "weak",
            Box::new(|m, _, object| m.references().create(ReferenceKind::Weak, object, Terms::default()).map(drop)),
        ),
        (
            "ephemeron",
            Box::new(|m, _, object| m.references().create_ephemeron(object, Some(object), Terms::default()).map(drop)),
        ),
        ("finalizer", Box::new(|m, _, object| m.references().add_finalizer(object, FinalizerOrder::Any).map(drop))),
        ("hash", Box::new(|m, _, object| m.references().identity_hash(object).map(drop))),
        ("table", Box::new(|m, n, object| table.insert(m, object, n as u64).map(drop))),
        (
            "pin",
            Box::new(|m, _, object| match m.pin(object) {
                Err(PinError::OutOfMemory(error)) => Err(error),
                _ => Ok(()),
            }),
        ),
        // SAFETY: objects without slots, which outlive the heap's last collection.
        ("VM object", Box::new(|_, n, _| unsafe { heap.add_vm_object(outside.object(n)) })),
    ]
}

/// A heap that counts how often it says that memory has run out.
fn listened(plan: &str) -> (ReferenceHeap, Arc<AtomicUsize>) {
    let heap = heap(plan, LIMIT, &[]);
    let said = Arc::new(AtomicUsize::new(0));
    let counter = said.clone();
    heap.listen(Box::new(move |event: &Event| {
        counter.fetch_add(usize::from(matches!(event, Event::OutOfMemory { .. })), Relaxed);
    }));
    (heap, said)
}

/// Objects in an array at the next root.
fn objects_at_root(thread: &Thread, objects: usize) {
    let array = thread.push(thread.alloc(objects, 0));
    for n in 0..objects {
        let object = thread.alloc(0, 8);
        thread.write_ref(thread.get(array), n, object);
    }
}

#[test]
fn what_makes_an_entry_finds_room_in_a_heap_full_of_garbage() {
    let _watchdog = Watchdog::new();
    const OBJECTS: usize = 3000;
    let outside = Outside::new(OBJECTS);
    for plan in collecting_plans() {
        for kind in 0..7 {
            let (heap, said) = listened(plan);
            let thread = Thread::attach(&heap);
            objects_at_root(&thread, OBJECTS);
            let table = thread.with_mutator(AddressTable::new);
            let (what, request) = requests(&heap, &table, &outside).into_iter().nth(kind).unwrap();
            let ask = |n: usize| {
                let object = thread.read_ref(thread.get(0), n).object().unwrap();
                thread.with_mutator(|mutator| request(mutator, n, object))
            };
            let garbage = thread.push(Ref::NULL);
            fill_at(*thread, garbage, Class { refs: 1, bytes: 1000 }, Semantics::Default);
            thread.set(garbage, Ref::NULL);
            let (collections, before) = (heap.statistics().collections, said.load(Relaxed));
            if let Some(error) = (0..OBJECTS).find_map(|n| ask(n).err()) {
                assert_eq!(error.tried, Tried::MayNotCollect, "{what} on {plan}");
                assert_eq!(heap.statistics().collections, collections, "{what} on {plan}");
                for n in 0..OBJECTS {
                    let made = thread.with_mutator(|mutator| mutator.or_collect(|| ask(n)));
                    made.unwrap_or_else(|error| panic!("{what} {n} on {plan}: {error}"));
                }
                assert!(heap.statistics().collections > collections, "{what} on {plan}");
            } else {
                // Where nothing moves, these need no entry.
                assert!(["hash", "pin"].contains(&what), "{what} on {plan}");
            }
            assert_eq!(said.load(Relaxed), before, "{what} on {plan}: memory has not run out");
            assert_within_limit(&heap);
        }
    }
}

#[test]
fn what_makes_an_entry_is_out_of_memory_after_every_collection_there_is() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let (heap, said) = listened(plan);
        let thread = Thread::attach(&heap);
        objects_at_root(&thread, 1);
        let target = || thread.read_ref(thread.get(0), 0).object().unwrap();
        let create = |m: &Mutator<ReferenceVM>| m.references().create(ReferenceKind::Weak, target(), Terms::default());
        let error = thread.with_mutator(|m| {
            loop {
                if let Err(error) = m.or_collect(|| create(m)) {
                    break error;
                }
            }
        });
        assert_eq!((error.tried, said.load(Relaxed)), (Tried::Collections, 1), "{plan}");
        assert!(error.to_string().contains("after an emergency collection"), "{error}");
        // What does not concern memory is an error at once.
        let collections = heap.statistics().collections;
        // SAFETY: it stands in a message, and nobody looks at it.
        let object = unsafe { ObjectReference::from_address(Address::from_usize(8)) }.unwrap();
        let moves = PinError::Moves { object, plan: "MarkCompact", space: "compact" };
        let refused = thread.with_mutator(|m| m.or_collect(|| Err::<(), _>(moves.clone())));
        assert_eq!(refused, Err(moves));
        assert_eq!(heap.statistics().collections, collections, "{plan}");
        assert_within_limit(&heap);
    }
}

/// Runs this test program again, for one test that does its part in a child; its exit status and what it
/// wrote.
fn child(test: &str) -> Option<std::process::Output> {
    const CHILD: &str = "PLAN_TESTS_CHILD";
    if std::env::var(CHILD).is_ok_and(|name| name == test) {
        return None;
    }
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).args([test, "--exact", "--nocapture"]).env(CHILD, test).output().unwrap();
    Some(output)
}

#[test]
fn the_default_hook_reports_the_heap_and_aborts() {
    let _watchdog = Watchdog::new();
    let Some(output) = child("the_default_hook_reports_the_heap_and_aborts") else {
        let heap = new_heap(ReferenceVM::default(), options("Immix", LIMIT, &[])).unwrap();
        let thread = Thread::attach(&heap);
        loop {
            thread.push(thread.alloc(0, 1000));
        }
    };
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(6), "not SIGABRT: {text}");
    for part in ["out of memory: 1008 bytes requested", "plan Immix", "immix", "large", "non-moving", "immortal"] {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[test]
fn a_system_that_refuses_memory_is_out_of_memory_and_what_was_granted_stays_usable() {
    let _watchdog = Watchdog::new();
    for plan in PLANS {
        for (what, class, semantics) in KINDS {
            for grants in 0..2 {
                let heap = heap(plan.name, 64 << 20, &[]);
                heap.memory().refuse_commits_after(grants);
                let thread = Thread::attach(&heap);
                let m = *thread;
                m.push(Ref::NULL);
                let (count, error) = fill(m, class, semantics);
                assert!(error.reserved < error.limit / 2, "the budget was not the reason: {error}");
                assert!(count > 0 || grants == 0, "{what} on {}: nothing from {grants} grants", plan.name);
                // Nothing is lost: with the system willing again, the heap grows on.
                heap.memory().refuse_commits_after(usize::MAX);
                let more = m.try_alloc(class, semantics).unwrap();
                m.write_ref(more, 0, m.get(0));
                m.set(0, more);
                m.collect();
                m.pop(1);
                assert_within_limit(&heap);
            }
        }
    }
}

#[test]
fn a_copying_collection_without_room_for_copies_keeps_objects_where_they_are() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = heap(plan, 64 << 20, &[("stress.always_defrag", "true")]);
        let thread = Thread::attach(&heap);
        let m = *thread;
        m.push(Ref::NULL);
        for id in 0..20_000 {
            let object = m.alloc(1, 100);
            m.write_word(object, 1, id);
            m.write_ref(object, 0, m.get(0));
            m.set(0, object);
        }
        heap.memory().refuse_commits_after(0);
        for _ in 0..20 {
            m.collect();
        }
        let mut next = m.get(0);
        for id in (0..20_000).rev() {
            assert_eq!(m.read_word(next, 1), id);
            next = m.read_ref(next, 0);
        }
        assert!(next.is_null());
        m.pop(1);
        assert_within_limit(&heap);
    }
}

#[test]
fn address_space_that_the_system_refuses_is_an_error_that_says_so() {
    let _watchdog = Watchdog::new();
    // In a child: while the address space is full, other tests would fail.
    let Some(output) = child("address_space_that_the_system_refuses_is_an_error_that_says_so") else {
        let mut heaps = Vec::new();
        // Each reserves 16 TiB of the 128 that a process has.
        let error = loop {
            match new_heap(ReferenceVM::new(), options("Immix", 1 << 40, &[])) {
                Ok(heap) => heaps.push(heap),
                Err(error) => break error,
            }
            assert!(heaps.len() < 20);
        };
        assert!(matches!(error, HeapError::System(_)), "{error:?}");
        assert!(error.to_string().contains("bytes of address space, with heap.limit=1T"), "{error}");
        heaps.clear();
        let heap = new_heap(ReferenceVM::new(), options("Immix", 1 << 40, &[])).expect("room again");
        Thread::attach(&heap).alloc(0, 8);
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Makes garbage of four times the limit, of which every eighth object lives until as many have followed as
/// fit. Slots refer to them in no order, so that copying a part of them empties no block.
fn churns_without_running_out<VM: TestVM>(limit: usize) {
    let heap = new_heap(VM::new(), options("SemiSpace", limit, &[("gc.workers", "1")])).unwrap();
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let class = Class { refs: 1, bytes: 1000 };
    let kept = limit / 16 / 1024;
    let slots = m.try_alloc(Class { refs: kept, bytes: 0 }, Semantics::Default).unwrap();
    m.push(slots);
    for n in 0..limit / 1024 * 4 {
        let object = m.try_alloc(class, Semantics::Default).unwrap_or_else(|error| panic!("limit {limit}: {error}"));
        if n % 8 == 0 {
            m.write_ref(m.get(0), n / 8 * 10_007 % kept, object);
        }
    }
    assert_within_limit(&heap);
}

/// SemiSpace prepaid the copies of what survives, but not the side tables of the chunk that the copies were
/// the first to use: near the limit nothing could be copied, so nothing became free, and a heap that was an
/// eighth full was out of memory.
#[test]
fn a_copying_heap_filled_to_the_byte_still_collects() {
    let _watchdog = Watchdog::new();
    for limit in ((8 << 20)..=(9 << 20)).step_by(32 << 10) {
        churns_without_running_out::<SideVM<3>>(limit);
    }
}
