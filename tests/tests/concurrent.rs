//! Collections that mark while the program runs: what the program may do meanwhile, and what it may not leave
//! out.
//!
//! Most tests drive the marking themselves, object by object (`gc.driver=quanta`, `stress.step_objects`), so
//! each run is the same. Freed memory is poisoned: what is lost does not read as it was.

use mmtk_core::metadata::EPOCH_MAX;
use mmtk_core::weak::{FinalizerOrder, ReferenceKind, Terms};
use mmtk_core::{
    Address, AddressTable, Heap, MutatorState, ObjectReference, OldToNew, Pool, Region, Semantics, SlotVisitor,
    StateLocation, VMBinding, WeakProcessor, WordSlot,
};
use plan_tests::matrix::{self, all_workloads};
use plan_tests::{
    AmbiguousVM, SideVM, TestVM, Watchdog, as_the_reference_binding, is_child, options, panic_of, pass_again, pool_in,
    region_in, run_again,
};
use policies::{PLANS, new_heap};
use reference::{Class, Ref, ReferenceVM, Thread, ThreadHandle, object};
use std::sync::atomic::{
    AtomicBool, AtomicU8,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

/// Who marks is the test, one object a step.
const BY_STEPS: [(&str, &str); 6] = [
    ("gc.driver", "quanta"),
    ("gc.workers", "1"),
    ("stress.step_objects", "1"),
    ("stress.every_bytes", "128K"),
    ("verify.trace", "true"),
    ("verify.poison", "true"),
];

/// While the heap is verified, each allocation takes the slow path.
const UNVERIFIED: (&str, &str) = ("verify.trace", "false");

const LIMIT: usize = 32 << 20;

/// The reference VM, which can be asked what lies where.
struct FindingVM(ReferenceVM);

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

fn concurrent_plans() -> impl Iterator<Item = &'static str> {
    PLANS.iter().filter(|plan| plan.needs.snapshot).map(|plan| plan.name)
}

fn heap_with<VM: TestVM>(plan: &str, settings: &[(&str, &str)]) -> Heap<VM> {
    new_heap(VM::new(), options(plan, LIMIT, settings)).unwrap_or_else(|error| panic!("{error}"))
}

fn object_of(reference: Ref) -> ObjectReference {
    reference.object().expect("not null")
}

/// Whether a marking is in progress: the barrier is armed then.
fn is_marked<VM: TestVM>(m: ThreadHandle<VM>) -> bool {
    let mutator = m.mutator();
    // SAFETY: an offset of the state, where leaders write in pauses.
    unsafe { &*mutator.state().byte_add(MutatorState::<VM>::BARRIER_OFFSET).cast::<AtomicU8>() }.load(Relaxed) != 0
}

/// Makes garbage until a marking begins, which knows what there is now.
fn begin<VM: TestVM>(m: ThreadHandle<VM>) {
    finish(m);
    while !is_marked(m) {
        m.alloc(1, 1000);
    }
}

/// So many steps of the marking; whether it is still in progress.
fn step<VM: TestVM>(m: ThreadHandle<VM>, steps: usize) -> bool {
    for _ in 0..steps {
        if !is_marked(m) {
            return false;
        }
        m.mutator().step(Duration::ZERO);
    }
    is_marked(m)
}

/// Marks to the end.
fn finish<VM: TestVM>(m: ThreadHandle<VM>) {
    while step(m, 1) {}
}

/// Where an object lies: each is told in another way that it existed when the marking began.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Place {
    Small,
    Lines,
    Large,
    NonMoving,
    Immortal,
    Region,
    Pool,
}

const PLACES: [Place; 7] =
    [Place::Small, Place::Lines, Place::Large, Place::NonMoving, Place::Immortal, Place::Region, Place::Pool];

struct Places<VM: TestVM> {
    region: Region<VM>,
    pool: Pool<VM>,
}

impl<VM: TestVM> Places<VM> {
    fn of(heap: &Heap<VM>) -> Self {
        Places { region: region_in(heap), pool: pool_in(heap, Self::words(0) * 8) }
    }

    fn words(bytes: usize) -> usize {
        ThreadHandle::<VM>::words(Class { refs: 2, bytes: 8 + bytes })
    }

    /// An object there with two references, and a number.
    fn make(&self, m: ThreadHandle<VM>, place: Place, number: u64) -> Ref {
        let alloc = |bytes: usize, semantics| m.try_alloc(Class { refs: 2, bytes: 8 + bytes }, semantics).unwrap();
        let write = |at: mmtk_core::Address| {
            // SAFETY: just returned by the allocator, of that many words.
            unsafe { object::write_header(at, 2, Self::words(0)) };
            Ref(at.as_usize())
        };
        let new = match place {
            Place::Small => alloc(0, Semantics::Default),
            Place::Lines => alloc(700, Semantics::Default),
            Place::Large => alloc(40_000, Semantics::Default),
            Place::NonMoving => alloc(0, Semantics::NonMoving),
            Place::Immortal => alloc(0, Semantics::Immortal),
            Place::Region => write(self.region.alloc(&m.mutator(), Self::words(0) * 8).address()),
            Place::Pool => write(self.pool.alloc(&m.mutator()).address()),
        };
        m.write_word(new, 2, number);
        new
    }
}

/// A table of objects as a root: those of `make`, which is asked in order.
fn table<VM: TestVM>(m: ThreadHandle<VM>, length: usize, make: impl Fn(usize) -> Ref) -> usize {
    let table = m.push(m.alloc(length, 0));
    for n in 0..length {
        let new = make(n);
        m.write_ref(m.get(table), n, new);
    }
    table
}

/// Each place with each other.
fn pairs() -> Vec<(Place, Place)> {
    PLACES.iter().flat_map(|one| PLACES.map(|other| (*one, other))).collect()
}

/// A table of holders, each of which refers to an object that nothing else refers to.
fn holders<VM: TestVM>(m: ThreadHandle<VM>, places: &Places<VM>) -> usize {
    let pairs = pairs();
    table(m, pairs.len(), |n| {
        let held = m.push(places.make(m, pairs[n].1, n as u64));
        let holder = places.make(m, pairs[n].0, 1000 + n as u64);
        m.write_ref(holder, 0, m.get(held));
        m.pop(1);
        holder
    })
}

fn check_holders<VM: TestVM>(m: ThreadHandle<VM>, table: usize, what: &str) {
    for (n, pair) in pairs().into_iter().enumerate() {
        let holder = m.read_ref(m.get(table), n);
        assert_eq!(m.read_word(holder, 2), 1000 + n as u64, "{what}: holder of {pair:?}");
        assert_eq!(m.read_word(m.read_ref(holder, 0), 2), n as u64, "{what}: held of {pair:?}");
    }
}

/// In each of many cycles some holders give away what they hold, before or after the marking has come to
/// them; the rest is not written to for as many cycles as there are numbers of epochs, and more.
fn what_is_taken_out_of_objects_is_kept<VM: TestVM>() {
    let _watchdog = Watchdog::new();
    for (plan, verified) in concurrent_plans().flat_map(|plan| [(plan, true), (plan, false)]) {
        let settings = [&BY_STEPS[..], if verified { &[] } else { &[UNVERIFIED] }].concat();
        let heap = heap_with::<VM>(plan, &settings);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let places = Places::of(&heap);
        let table = holders(m, &places);
        let length = pairs().len();
        for cycle in 0..80 {
            begin(m);
            let going = step(m, [0, 1, 20, 60][cycle % 4]);
            assert!(going, "{plan}: a cycle of {length} holders is over after few steps");
            let taken: Vec<usize> = (0..length).filter(|n| (n + cycle) % 19 == 0).collect();
            for n in &taken {
                let holder = m.read_ref(m.get(table), *n);
                m.push(m.read_ref(holder, 0));
                m.write_ref(holder, 0, Ref::NULL);
                step(m, cycle % 3);
            }
            finish(m);
            for n in taken.iter().rev() {
                let holder = m.read_ref(m.get(table), *n);
                m.write_ref(holder, 0, m.peek(0));
                m.pop(1);
            }
            check_holders(m, table, &format!("{plan}, cycle {cycle}"));
            if cycle % 9 == 0 {
                m.collect();
                check_holders(m, table, &format!("{plan}, collection after cycle {cycle}"));
            }
        }
        let statistics = heap.statistics();
        assert!(statistics.concurrent_collections >= 80, "{plan}: {statistics:?}");
    }
}

#[test]
fn what_is_taken_out_of_objects_while_they_are_marked_is_kept() {
    what_is_taken_out_of_objects_is_kept::<ReferenceVM>();
}

#[test]
fn what_is_taken_out_of_objects_while_they_are_marked_is_kept_with_side_tables() {
    what_is_taken_out_of_objects_is_kept::<SideVM<3>>();
}

#[test]
fn what_is_taken_out_of_objects_while_they_are_marked_is_kept_with_ambiguous_roots() {
    what_is_taken_out_of_objects_is_kept::<AmbiguousVM<false>>();
}

/// An old object comes to hang on a new one alone, which was made in any place at any time of the marking.
fn what_new_objects_take_over_is_kept<VM: TestVM>() {
    let _watchdog = Watchdog::new();
    for (plan, verified) in concurrent_plans().flat_map(|plan| [(plan, true), (plan, false)]) {
        let settings = [&BY_STEPS[..], if verified { &[] } else { &[UNVERIFIED] }].concat();
        let heap = heap_with::<VM>(plan, &settings);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let places = Places::of(&heap);
        let pairs = pairs();
        for cycle in 0..20 {
            let table = holders(m, &places);
            begin(m);
            step(m, [0, 1, 20, 60][cycle % 4]);
            for (n, (_, place)) in pairs.iter().enumerate() {
                // Its number is that of the holder, in whose place it comes.
                let new = m.push(places.make(m, *place, 1000 + n as u64));
                let held = m.read_ref(m.read_ref(m.get(table), n), 0);
                m.write_ref(m.get(new), 0, held);
                m.write_ref(m.read_ref(m.get(table), n), 0, Ref::NULL);
                m.write_ref(m.get(table), n, m.get(new));
                m.pop(1);
                step(m, cycle % 3);
            }
            finish(m);
            check_holders(m, table, &format!("{plan}, cycle {cycle}"));
            m.collect();
            check_holders(m, table, &format!("{plan}, collection after cycle {cycle}"));
            m.pop(1);
        }
    }
}

#[test]
fn what_new_objects_take_over_while_it_is_marked_is_kept() {
    what_new_objects_take_over_is_kept::<ReferenceVM>();
}

#[test]
fn what_new_objects_take_over_while_it_is_marked_is_kept_with_side_tables() {
    what_new_objects_take_over_is_kept::<SideVM<4>>();
}

/// After each step each object that lives is found by its address: those of the snapshot, claimed or not, and
/// new ones.
#[test]
fn objects_are_found_by_address_at_any_time_of_a_marking() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<AmbiguousVM<false>>(plan, &BY_STEPS);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let places = Places::of(&heap);
        for cycle in 0..6 {
            let old = table(m, 7 * 6, |n| places.make(m, PLACES[n % 7], n as u64));
            if cycle % 2 == 1 {
                // These have survived one.
                m.collect();
            }
            begin(m);
            let new = table(m, 7, |n| places.make(m, PLACES[n % 7], n as u64));
            let mut steps = 0;
            loop {
                for (table, length) in [(old, 7 * 6), (new, 7)] {
                    for n in 0..length {
                        let object = object_of(m.read_ref(m.get(table), n));
                        // Not `find_object` of the mutator, which marks what it finds.
                        // SAFETY: this thread is the only mutator, and runs.
                        let found = unsafe { heap.find_object(object.address().plus(8)) };
                        let place = PLACES[n % 7];
                        assert_eq!(found, Some(object), "{plan}, cycle {cycle}: {place:?} {n} after {steps} steps");
                    }
                }
                if !step(m, 1) {
                    break;
                }
                steps += 1;
            }
            assert!(steps > 10, "{plan}: {steps}");
            m.pop(2);
        }
    }
}

/// A thread that has nothing else to do steps until there is no more to do, though nobody sweeps but it.
#[test]
fn steps_come_to_an_end_when_nobody_else_sweeps() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let mut settings = BY_STEPS.to_vec();
        settings.extend([("gc.sweep_beside", "always"), ("stress.no_background", "true")]);
        let heap = heap_with::<ReferenceVM>(plan, &settings);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        begin(m);
        let mut steps = 0;
        while m.mutator().step(Duration::from_millis(1)) {
            steps += 1;
            assert!(steps < 1_000_000, "{plan}: there is always more to do");
        }
        assert!(!is_marked(m), "{plan}");
    }
}

/// Objects that nothing but a weak reference knew when the marking began, and that the program then takes
/// from there, live; others are cleared.
#[test]
fn what_the_program_takes_from_native_references_meanwhile_is_kept() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<ReferenceVM>(plan, &BY_STEPS);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let places = Places::of(&heap);
        for cycle in 0..2 * EPOCH_MAX as usize {
            let mutator = m.mutator();
            let known = mutator.references();
            let pairs = pairs();
            // So much is to be marked that no step below is the last.
            table(m, 100, |_| m.alloc(0, 0));
            let held = holders(m, &places);
            let at = |n: usize| object_of(m.read_ref(m.get(held), n));
            let kind = [ReferenceKind::Weak, ReferenceKind::Soft][cycle % 2];
            let weak: Vec<_> = (0..pairs.len()).map(|n| known.create(kind, at(n), Terms::default()).unwrap()).collect();
            // The value of each leads to a number of its own.
            let key = m.push(m.alloc(0, 8));
            let ephemerons: Vec<_> = (0..pairs.len())
                .map(|n| known.create_ephemeron(object_of(m.get(key)), Some(at(n)), Terms::default()).unwrap())
                .collect();
            let dying: Vec<_> = (0..pairs.len())
                .map(|n| known.create_ephemeron(at(n), Some(at(n)), Terms::default()).unwrap())
                .collect();
            // Nothing refers to the holders any more; soft references are cleared at once or not.
            let by_ephemeron = cycle % 4 >= 2;
            m.set(held, Ref::NULL);
            if !by_ephemeron {
                ephemerons.iter().for_each(|ephemeron| assert!(known.set_value(*ephemeron, None)));
            }
            begin(m);
            step(m, [0, 1, 3][cycle % 3]);
            let taken = (0..pairs.len()).filter(|n| (n + cycle) % 3 == 0);
            let mut kept = Vec::new();
            for n in taken {
                let taken = match by_ephemeron {
                    true => known.value(ephemerons[n]),
                    false => known.get(weak[n]),
                };
                if by_ephemeron {
                    known.set_value(ephemerons[n], None);
                }
                let taken = taken
                    .unwrap_or_else(|| panic!("{plan}, cycle {cycle}: {:?} was cleared while it is marked", pairs[n]));
                kept.push((n, m.push(taken.into())));
                step(m, 1);
            }
            finish(m);
            for again in [false, true] {
                for (n, root) in &kept {
                    let holder = m.get(*root);
                    let what = format!("{plan}, cycle {cycle}: {:?}", pairs[*n]);
                    assert_eq!(m.read_word(holder, 2), 1000 + *n as u64, "{what}");
                    assert_eq!(m.read_word(m.read_ref(holder, 0), 2), *n as u64, "{what}");
                    assert_eq!(known.get(weak[*n]), holder.object(), "{what}");
                    assert_eq!(known.value(dying[*n]), holder.object(), "{what}");
                }
                if kind == ReferenceKind::Weak && !by_ephemeron {
                    let lives = |n: usize| kept.iter().any(|(other, _)| *other == n);
                    for n in (0..pairs.len()).filter(|n| !lives(*n)) {
                        let what = format!("{plan}, cycle {cycle}: {:?}", pairs[n]);
                        assert!(known.is_cleared(weak[n]) && known.value(dying[n]).is_none(), "{what}");
                    }
                }
                if !again {
                    m.collect();
                }
            }
            weak.into_iter().chain(ephemerons).chain(dying).for_each(|reference| known.free(reference));
            m.pop(m.depth());
        }
    }
}

/// The same from tables of the VM and from a visit of all objects, where the program says that it keeps them.
#[test]
fn what_the_program_says_that_it_keeps_is_kept() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<FindingVM>(plan, &BY_STEPS);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let places = Places::of(&heap);
        for cycle in 0..20 {
            table(m, 50, |_| m.alloc(0, 0));
            let vm = heap.vm().reference();
            let held = holders(m, &places);
            let weak: Vec<_> = (0..pairs().len()).map(|n| vm.new_weak(m.read_ref(m.get(held), n))).collect();
            m.set(held, Ref::NULL);
            begin(m);
            step(m, cycle % 10);
            let mut back = Vec::new();
            if cycle % 2 == 0 {
                for number in &weak {
                    m.keep(vm.weak(*number));
                    back.push(m.push(vm.weak(*number)));
                }
            } else {
                let mut found = std::collections::HashSet::new();
                m.mutator().for_each_object(|object| {
                    found.insert(object);
                    m.keep(object.into());
                });
                for number in &weak {
                    assert!(found.contains(&object_of(vm.weak(*number))));
                    back.push(m.push(vm.weak(*number)));
                }
            }
            finish(m);
            for (n, root) in back.into_iter().enumerate() {
                let holder = m.get(root);
                let read = (m.read_word(holder, 2), m.read_word(m.read_ref(holder, 0), 2));
                assert_eq!(read, (1000 + n as u64, n as u64), "{plan}, cycle {cycle}: {:?}", pairs()[n]);
            }
            m.pop(m.depth());
        }
    }
}

/// What died while it was marked is there until the next collection, and may come back through a weak
/// reference; so may what was born meanwhile. The next marking ends in a pause before it has come to them.
#[test]
fn what_the_marking_took_for_live_may_come_back() {
    let _watchdog = Watchdog::new();
    for (plan, verified) in concurrent_plans().flat_map(|plan| [(plan, true), (plan, false)]) {
        let settings = [&BY_STEPS[..], if verified { &[] } else { &[UNVERIFIED] }].concat();
        let heap = heap_with::<ReferenceVM>(plan, &settings);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let mutator = m.mutator();
        let known = mutator.references();
        let places = Places::of(&heap);
        for cycle in 0..10 {
            let make = |n: usize| places.make(m, PLACES[n], n as u64);
            let old = table(m, PLACES.len(), make);
            begin(m);
            let new = table(m, PLACES.len(), make);
            let weak = [old, new].map(|table| {
                let at = |n| object_of(m.read_ref(m.get(table), n));
                let create = |n| known.create(ReferenceKind::Weak, at(n), Terms::default()).unwrap();
                (0..PLACES.len()).map(create).collect::<Vec<_>>()
            });
            m.pop(2);
            finish(m);
            let back = m.depth();
            let later = cycle % 2 == 1;
            if later {
                begin(m);
            }
            for reference in weak.iter().flatten() {
                m.push(known.get(*reference).expect("it was taken for live").into());
            }
            if !later {
                begin(m);
            }
            m.collect();
            for n in 0..2 * PLACES.len() {
                let number = m.read_word(m.get(back + n), 2);
                assert_eq!(number, (n % PLACES.len()) as u64, "{plan}, cycle {cycle}");
            }
            weak.into_iter().flatten().for_each(|reference| known.free(reference));
            m.pop(2 * PLACES.len());
        }
    }
}

/// What is made while it is marked lives to its end, with all that is said of it then: finalizers, identity
/// hashes, pins, numbers in tables.
#[test]
fn what_is_said_of_objects_meanwhile_holds() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<ReferenceVM>(plan, &BY_STEPS);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let mutator = m.mutator();
        let known = mutator.references();
        let places = Places::of(&heap);
        let numbers = AddressTable::new(&mutator);
        for cycle in 0..EPOCH_MAX as usize + 3 {
            let old = table(m, PLACES.len(), |n| places.make(m, PLACES[n], n as u64));
            begin(m);
            step(m, cycle % 5);
            let new = table(m, PLACES.len(), |n| places.make(m, PLACES[n], n as u64));
            let at = |table: usize, n: usize| object_of(m.read_ref(m.get(table), n));
            let hashes = [old, new].map(|table| PLACES.map(|_| table)).concat();
            let all: Vec<_> = hashes.iter().enumerate().map(|(n, table)| (*table, n % PLACES.len())).collect();
            let said: Vec<_> = all
                .iter()
                .map(|(table, n)| {
                    let object = at(*table, *n);
                    step(m, 1);
                    mutator.pin(object).unwrap();
                    numbers.insert(&mutator, object, *n as u64).unwrap();
                    known.add_finalizer(object, FinalizerOrder::Any).unwrap();
                    (known.identity_hash(object).unwrap(), object)
                })
                .collect();
            finish(m);
            for _ in 0..2 {
                assert_eq!(known.next_finalizable(), None, "{plan}");
                for ((table, n), (hash, object)) in all.iter().zip(&said) {
                    let what = format!("{plan}, cycle {cycle}: {:?}", PLACES[*n]);
                    assert_eq!(at(*table, *n), *object, "{what}");
                    assert_eq!(m.read_word(Ref::from(*object), 2), *n as u64, "{what}");
                    assert_eq!(known.identity_hash(*object).unwrap(), *hash, "{what}");
                    assert_eq!(numbers.get(&mutator, *object), Some(*n as u64), "{what}");
                    assert!(mutator.is_pinned(*object), "{what}");
                }
                m.collect();
            }
            said.iter().for_each(|(_, object)| mutator.unpin(*object));
            m.pop(2);
            // All are dead when the marking begins: their finalizers are due, and they live for them.
            begin(m);
            finish(m);
            let mut due = 0;
            while let Some(object) = known.next_finalizable() {
                assert!(m.read_word(object.into(), 2) < PLACES.len() as u64, "{plan}, cycle {cycle}");
                due += 1;
            }
            assert_eq!((due, numbers.len()), (said.len(), said.len()), "{plan}, cycle {cycle}");
            begin(m);
            finish(m);
            assert_eq!(numbers.len(), 0, "{plan}, cycle {cycle}");
        }
    }
}

/// Objects of regions and pools that end while it is marked: those of the snapshot, claimed or not, and new
/// ones. Their memory is used again in later cycles.
#[test]
fn regions_and_pools_may_end_while_it_is_marked() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<SideVM<3>>(plan, &BY_STEPS);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        for cycle in 0..2 * EPOCH_MAX as usize {
            let pairs = pairs();
            let places = [Places::of(&heap), Places::of(&heap)];
            let lasting = Places::of(&heap);
            let old = [holders(m, &places[0]), holders(m, &lasting)];
            begin(m);
            step(m, cycle * 7 % 100);
            let new = holders(m, &places[1]);
            for n in 0..pairs.len() {
                // What lasts refers to what ends, which is taken out of it.
                let ends = m.read_ref(m.get(new), n);
                m.write_ref(m.read_ref(m.get(old[1]), n), 1, ends);
                m.write_ref(m.read_ref(m.get(old[1]), n), 1, Ref::NULL);
            }
            for table in [old[0], new] {
                (0..pairs.len()).for_each(|n| m.write_ref(m.get(table), n, Ref::NULL));
            }
            for Places { region, pool } in places {
                region.release(&m.mutator());
                pool.release(&m.mutator());
            }
            step(m, cycle % 3);
            finish(m);
            check_holders(m, old[1], &format!("{plan}, cycle {cycle}"));
            if cycle % 4 == 3 {
                m.collect();
            }
            m.pop(3);
        }
    }
}

/// An object that loses slots gives what was in them to the marking.
#[test]
fn objects_may_shrink_while_they_are_marked() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<ReferenceVM>(plan, &BY_STEPS);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let places = Places::of(&heap);
        for cycle in 0..10 {
            let table = holders(m, &places);
            begin(m);
            step(m, cycle * 10);
            for n in 0..pairs().len() {
                let holder = m.read_ref(m.get(table), n);
                m.push(m.read_ref(holder, 0));
                m.mutator().before_reshape(object_of(holder));
                // The second slot is left, with another meaning than before.
                // SAFETY: the header of a live object, which has a word for it; the top byte stays.
                let header = unsafe { object_of(holder).address().as_atomic_u64() };
                header.fetch_sub(2, Relaxed);
                m.write_word(holder, 0, 0xdead_beef);
                step(m, 1);
            }
            finish(m);
            for n in (0..pairs().len()).rev() {
                assert_eq!(m.read_word(m.peek(0), 2), n as u64, "{plan}, cycle {cycle}: {:?}", pairs()[n]);
                m.pop(1);
            }
            m.pop(1);
        }
    }
}

/// The numbers of what is handed out come round after some hundred cycles.
#[test]
fn numbers_of_new_memory_come_round() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let settings = [("stress.every_bytes", "16K"), ("stress.step_objects", "1000")];
        let heap = heap_with::<AmbiguousVM<false>>(plan, &[&BY_STEPS[..], &settings].concat());
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        // A window over objects that live for different times, so that lines of all ages have holes.
        let window = table(m, 64, |_| Ref::NULL);
        for cycle in 0..600usize {
            begin(m);
            for n in 0..3 {
                let index = (cycle * 3 + n) * 29 % 64;
                let old = m.push(m.read_ref(m.get(window), index));
                let new = m.alloc(2, 16 + 100 * n);
                m.write_word(new, 2, index as u64);
                if cycle % 5 == 0 {
                    m.write_ref(new, 0, m.get(old));
                }
                m.write_ref(m.get(window), index, new);
                m.pop(1);
            }
            finish(m);
            for index in 0..64 {
                let object = m.read_ref(m.get(window), index);
                assert!(object.is_null() || m.read_word(object, 2) == index as u64, "{plan}, cycle {cycle}: {index}");
            }
        }
    }
}

/// The only mutator sits in a native region: the heap's thread marks to the end, and ends the collection.
#[test]
fn a_marking_ends_while_the_only_thread_is_in_a_native_region() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        for step_objects in ["1", "7", "1000"] {
            let settings = [("gc.driver", "background"), ("stress.step_objects", step_objects)];
            let heap = heap_with::<ReferenceVM>(plan, &[&BY_STEPS[..], &settings].concat());
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let places = Places::of(&heap);
            let table = holders(m, &places);
            for cycle in 0..5 {
                let before = heap.statistics().concurrent_collections;
                begin(m);
                let taken = m.push(m.read_ref(m.read_ref(m.get(table), cycle), 0));
                m.write_ref(m.read_ref(m.get(table), cycle), 0, Ref::NULL);
                m.native(|| {
                    while heap.statistics().concurrent_collections == before {
                        std::thread::yield_now();
                    }
                });
                m.poll();
                m.write_ref(m.read_ref(m.get(table), cycle), 0, m.get(taken));
                m.pop(1);
                check_holders(m, table, plan);
            }
        }
    }
}

/// A heap whose program does nothing is collected to the end, whoever marks when the program runs; also if a
/// marking was in progress.
#[test]
fn an_idle_heap_is_collected_to_the_end() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        for (driver, no_background) in [("quanta", "false"), ("background", "false"), ("background", "true")] {
            for in_progress in [false, true] {
                let settings = [
                    ("gc.driver", driver),
                    ("stress.no_background", no_background),
                    ("stress.every_bytes", if in_progress { "1M" } else { "0" }),
                    ("heap.idle_gc_s", "0.001"),
                ];
                let heap = heap_with::<ReferenceVM>(plan, &[&BY_STEPS[..], &settings].concat());
                let thread = Thread::attach(&heap);
                let m = thread.handle();
                let places = Places::of(&heap);
                let table = holders(m, &places);
                let before = heap.statistics().collections;
                if in_progress {
                    begin(m);
                }
                for _ in 0..400 {
                    m.alloc(1, 2000);
                }
                m.native(|| {
                    while heap.statistics().collections == before {
                        std::thread::yield_now();
                    }
                });
                check_holders(m, table, plan);
            }
        }
    }
}

/// Objects outside the heap have no barrier: what they held when the marking began lives, and what they are
/// given meanwhile.
#[test]
fn objects_outside_the_heap_change_while_it_is_marked() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<ReferenceVM>(plan, &BY_STEPS);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let places = Places::of(&heap);
        let length = pairs().len();
        const WORDS: usize = 4;
        let mut words = vec![0u64; 2 * length * WORDS];
        let outside: Vec<_> = words
            .chunks_mut(WORDS)
            .map(|object| {
                let at = Address::from_ptr(object.as_mut_ptr());
                // SAFETY: so many words, of a vector that never grows and outlives the heap's use of it.
                unsafe {
                    object::write_header(at, 2, WORDS);
                    ObjectReference::from_address(at).unwrap()
                }
            })
            .collect();
        // SAFETY: slots of those objects, which this thread alone uses, and collections in pauses.
        let slot = |n: usize| unsafe { WordSlot::at(object::slot(outside[n], 0)) };
        let read = |n: usize| mmtk_core::Slot::load(slot(n)).map_or(Ref::NULL, Ref::from);
        let add = |n: usize| {
            // SAFETY: they stay where they are.
            unsafe { heap.add_vm_object(outside[n]) }.unwrap()
        };
        (0..length).for_each(add);
        for cycle in 0..20 {
            let held = holders(m, &places);
            (0..length).for_each(|n| slot(n).write(m.read_ref(m.get(held), n).object()));
            m.pop(1);
            begin(m);
            step(m, cycle * 3);
            // Half of them go to others that are known from now on, half of what those hold.
            for (n, old) in outside.clone().into_iter().enumerate().take(length) {
                add(length + n);
                let holder = read(n);
                let moved = if n % 2 == 0 { holder } else { m.read_ref(holder, 0) };
                if n % 2 == 1 {
                    m.write_ref(holder, 0, Ref::NULL);
                }
                slot(length + n).write(moved.object());
                slot(n).write(None);
                if n % 3 == 0 {
                    assert!(heap.remove_vm_object(old));
                }
                step(m, cycle % 2);
            }
            finish(m);
            m.collect();
            for (n, pair) in pairs().into_iter().enumerate() {
                let number = if n % 2 == 0 { 1000 + n } else { n };
                let found = m.read_word(read(length + n), 2);
                assert_eq!(found, number as u64, "{plan}, cycle {cycle}: {pair:?}");
                slot(length + n).write(None);
                heap.remove_vm_object(outside[length + n]);
                add(n);
            }
        }
        outside.iter().for_each(|object| _ = heap.remove_vm_object(*object));
    }
}

/// What a marking finds, when the program does nothing meanwhile, is what a collection in a pause finds.
#[test]
fn a_marking_counts_what_a_pause_counts() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        for (workers, step_objects) in [("1", "1"), ("1", "1000"), ("2", "7")] {
            let settings = [("gc.workers", workers), ("stress.step_objects", step_objects)];
            let heap = heap_with::<ReferenceVM>(plan, &[&BY_STEPS[..], &settings].concat());
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let places = Places::of(&heap);
            holders(m, &places);
            begin(m);
            finish(m);
            let beside = heap.statistics();
            m.collect();
            let paused = heap.statistics();
            assert_eq!(beside.live_bytes, paused.live_bytes, "{plan}, {settings:?}");
            // Objects that the barrier claims, and those that are left to the last pause, are counted alike.
            begin(m);
            for n in 0..pairs().len() {
                let holder = m.read_ref(m.get(0), n);
                m.write_ref(holder, 0, m.read_ref(holder, 0));
            }
            let concurrent = heap.statistics().concurrent_collections;
            m.collect();
            let after = heap.statistics();
            assert_eq!(after.concurrent_collections, concurrent + 1);
            assert_eq!(after.live_bytes, paused.live_bytes, "{plan}, {settings:?}");
            begin(m);
            for n in 0..pairs().len() {
                let holder = m.read_ref(m.get(0), n);
                m.write_ref(holder, 0, m.read_ref(holder, 0));
            }
            finish(m);
            assert_eq!(heap.statistics().live_bytes, paused.live_bytes, "{plan}, {settings:?}");
        }
    }
}

/// All threads ask for collections at once, in the middle of markings that others of them begin.
#[test]
fn threads_may_all_ask_for_collections_while_it_is_marked() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        for driver in ["quanta", "background"] {
            let settings = [("gc.driver", driver), ("gc.workers", "2"), ("stress.every_bytes", "16K")];
            let heap = heap_with::<ReferenceVM>(plan, &[&BY_STEPS[..], &settings].concat());
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let thread = Thread::attach(&heap);
                        let m = thread.handle();
                        let places = Places::of(&heap);
                        let table = table(m, PLACES.len(), |n| places.make(m, PLACES[n], n as u64));
                        for round in 0..25 {
                            (0..round).for_each(|_| _ = m.alloc(1, 500));
                            let before = heap.statistics().full_collections;
                            m.collect();
                            assert!(heap.statistics().full_collections > before);
                            for n in 0..PLACES.len() {
                                assert_eq!(m.read_word(m.read_ref(m.get(table), n), 2), n as u64);
                            }
                        }
                        // The region and the pool end with the thread.
                        m.pop(1);
                    });
                }
            });
        }
    }
}

/// A binding that panics where its objects are scanned beside the program ends the process, and says why:
/// others would wait for the rest of that step for ever.
#[test]
fn a_panic_in_a_scan_beside_the_program_ends_the_process() {
    const NAME: &str = "a_panic_in_a_scan_beside_the_program_ends_the_process";
    if !is_child() {
        let output = run_again(NAME);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{said}");
        assert!(said.contains("a thread that marks") && said.contains("no such type"), "{said}");
        return;
    }
    let plan = concurrent_plans().next().unwrap();
    let heap = heap_with::<PanickingVM>(plan, &[&BY_STEPS[..], &[UNVERIFIED]].concat());
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let broken = m.push(m.alloc(0, 8));
    m.write_word(m.get(broken), 0, BROKEN);
    begin(m);
    finish(m);
}

/// What an object without slots holds whose scan panics.
const BROKEN: u64 = 0xbad0_bad0;

struct PanickingVM(ReferenceVM);

// SAFETY: as for the reference binding.
unsafe impl VMBinding for PanickingVM {
    plan_tests::delegate_to!(0);
    const STATE: StateLocation = ReferenceVM::STATE;
    const OLD_TO_NEW: OldToNew = OldToNew::Barrier;
    const SCAN_BESIDE: bool = true;

    fn object_size(&self, object: ObjectReference) -> usize {
        self.0.object_size(object)
    }
    fn scan_object(&self, object: ObjectReference, visitor: &mut impl SlotVisitor<WordSlot>) {
        if object::header(object).refs() == 0 {
            // SAFETY: each object has a word behind its header.
            assert!(unsafe { object::slot(object, 0).as_atomic_u64() }.load(Relaxed) != BROKEN, "no such type");
        }
        self.0.scan_object(object, visitor);
    }
}

impl TestVM for PanickingVM {
    fn new() -> Self {
        PanickingVM(ReferenceVM::new())
    }
    fn reference(&self) -> &ReferenceVM {
        &self.0
    }
}

/// Threads come and go while it is marked, and take the last reference to objects with them to others.
#[test]
fn threads_may_come_and_go_while_it_is_marked() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        for driver in ["quanta", "background"] {
            let heap = heap_with::<ReferenceVM>(plan, &[&BY_STEPS[..], &[("gc.driver", driver)]].concat());
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let places = Places::of(&heap);
            let table = holders(m, &places);
            heap.vm().set_global(0, m.get(table));
            for cycle in 0..20usize {
                begin(m);
                step(m, cycle * 5);
                m.native(|| {
                    std::thread::scope(|scope| {
                        for t in 0..3usize {
                            let heap = &heap;
                            scope.spawn(move || {
                                let thread = Thread::attach(heap);
                                let m = thread.handle();
                                for n in (t..pairs().len()).step_by(3) {
                                    let holder = m.push(m.read_ref(heap.vm().global(0), n));
                                    let held = m.push(m.read_ref(m.get(holder), 0));
                                    m.write_ref(m.get(holder), 0, Ref::NULL);
                                    // What was noted goes to others, or stays until the thread leaves.
                                    if n % 4 == 0 {
                                        m.mutator().step(Duration::ZERO);
                                    }
                                    let new = m.alloc(2, 16);
                                    m.write_ref(new, 1, m.get(held));
                                    m.write_ref(m.get(holder), 1, new);
                                    m.pop(2);
                                }
                            });
                        }
                    });
                });
                finish(m);
                for n in 0..pairs().len() {
                    let holder = m.read_ref(m.get(table), n);
                    let held = m.read_ref(m.read_ref(holder, 1), 1);
                    m.write_ref(holder, 0, held);
                    m.write_ref(holder, 1, Ref::NULL);
                }
                check_holders(m, table, &format!("{plan}, {driver}, cycle {cycle}"));
            }
        }
    }
}

/// Threads pass objects to and fro in the same places, while the heap's thread marks and others end its
/// markings in pauses. Whatever a slot holds is whole.
fn threads_pass_objects_on<VM: TestVM>() {
    let _watchdog = Watchdog::new();
    const PLACES_EACH: usize = 7;
    const HOLDERS: usize = PLACES.len() * PLACES_EACH;
    const THREADS: u64 = 3;
    // What the first word of an object says of it.
    let seal = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for plan in concurrent_plans() {
        for (workers, step_objects, every_bytes) in [("1", "1", "24K"), ("2", "7", "64K"), ("2", "1000", "96K")] {
            let settings = [
                ("gc.driver", "background"),
                ("gc.workers", workers),
                ("stress.step_objects", step_objects),
                ("stress.every_bytes", every_bytes),
                ("gc.sweep_beside", "always"),
            ];
            let heap = heap_with::<VM>(plan, &[&BY_STEPS[..], &settings].concat());
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let places = Places::of(&heap);
            let holders = table(m, HOLDERS, |n| {
                let held = m.push(m.alloc(2, 16));
                m.write_word(m.get(held), 2, n as u64);
                m.write_word(m.get(held), 3, seal(n as u64));
                let holder = places.make(m, PLACES[n % PLACES.len()], n as u64);
                m.write_ref(holder, 0, m.get(held));
                m.pop(1);
                holder
            });
            heap.vm().reference().set_global(0, m.get(holders));
            let check = |m: ThreadHandle<VM>, object: Ref| {
                let (number, sealed) = (m.read_word(object, 2), m.read_word(object, 3));
                assert_eq!(sealed, seal(number), "{plan}, {settings:?}: {object:x?}");
            };
            let pass_on = |m: ThreadHandle<VM>, t: u64| {
                let mut random = 0x1234_5678_9abc_def1 * (t + 1);
                let mut next = |below: usize| {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    (random >> 33) as usize % below
                };
                let at = |n: usize| m.read_ref(heap.vm().reference().global(0), n);
                for operation in 0..6000 {
                    let (from, to, slot) = (at(next(HOLDERS)), at(next(HOLDERS)), next(2));
                    let held = m.read_ref(from, slot);
                    if !held.is_null() {
                        check(m, held);
                    }
                    match next(8) {
                        0 => m.write_ref(from, slot, Ref::NULL),
                        1 | 2 => m.write_ref(to, 1 - slot, held),
                        3 => {
                            // Both slots, as a copy.
                            let word = |object: Ref, n| object::slot(object_of(object), n);
                            m.mutator().array_copy_barrier(object_of(to), word(to, 0)..word(to, 2));
                            for n in [0, 1] {
                                // SAFETY: slots of live objects.
                                let (read, write) = unsafe { (WordSlot::at(word(from, n)), WordSlot::at(word(to, n))) };
                                write.write(mmtk_core::Slot::load(read));
                            }
                        }
                        4 if !held.is_null() => {
                            // What the object refers to, in its place.
                            let inner = m.read_ref(held, slot);
                            m.write_ref(held, slot, Ref::NULL);
                            m.write_ref(to, slot, inner);
                        }
                        5 => m.poll(),
                        _ => {
                            let number = t << 32 | operation;
                            let kept = m.push(held);
                            let (depth, to) = (m.depth(), m.push(to));
                            let new = m.alloc(2, 16);
                            m.write_word(new, 2, number);
                            m.write_word(new, 3, seal(number));
                            m.write_ref(new, 0, m.get(kept));
                            m.write_ref(m.get(to), slot, new);
                            m.pop(m.depth() - depth + 1);
                            // Chains do not grow for ever.
                            if next(4) == 0 {
                                m.write_ref(new, 0, Ref::NULL);
                            }
                        }
                    }
                }
            };
            m.native(|| {
                std::thread::scope(|scope| {
                    for t in 0..THREADS {
                        let (heap, pass_on) = (&heap, &pass_on);
                        scope.spawn(move || pass_on(Thread::attach(heap).handle(), t));
                    }
                });
            });
            for n in 0..HOLDERS {
                for slot in [0, 1] {
                    let held = m.read_ref(m.read_ref(m.get(holders), n), slot);
                    if !held.is_null() {
                        check(m, held);
                    }
                }
            }
            let statistics = heap.statistics();
            assert!(statistics.concurrent_collections > 1, "{plan}, {settings:?}: {statistics:?}");
        }
    }
}

#[test]
fn threads_may_pass_objects_on_while_they_are_marked() {
    threads_pass_objects_on::<ReferenceVM>();
}

#[test]
fn threads_may_pass_objects_on_while_they_are_marked_with_side_tables() {
    threads_pass_objects_on::<SideVM<3>>();
}

/// A heap that is dropped while it is marked, by its own thread or by nobody.
#[test]
fn a_heap_may_be_dropped_while_it_is_marked() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        for driver in ["quanta", "background"] {
            for round in 0..20 {
                let heap = heap_with::<ReferenceVM>(plan, &[&BY_STEPS[..], &[("gc.driver", driver)]].concat());
                let thread = Thread::attach(&heap);
                let m = thread.handle();
                let places = Places::of(&heap);
                holders(m, &places);
                begin(m);
                step(m, round * 5);
            }
        }
    }
}

/// A process forks in the middle; both come to the end.
#[test]
fn a_process_may_fork_while_it_is_marked() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        for driver in ["quanta", "background"] {
            let heap = heap_with::<ReferenceVM>(plan, &[&BY_STEPS[..], &[("gc.driver", driver)]].concat());
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let places = Places::of(&heap);
            let table = holders(m, &places);
            for cycle in 0..4 {
                begin(m);
                step(m, cycle * 10);
                let taken = m.push(m.read_ref(m.read_ref(m.get(table), 1), 0));
                m.write_ref(m.read_ref(m.get(table), 1), 0, Ref::NULL);
                let goes_on = || {
                    finish(m);
                    m.write_ref(m.read_ref(m.get(table), 1), 0, m.get(taken));
                    check_holders(m, table, plan);
                    m.collect();
                    begin(m);
                    finish(m);
                    check_holders(m, table, plan);
                };
                assert!(fork(m, goes_on), "{plan}, {driver}");
                goes_on();
                m.pop(1);
            }
        }
    }
}

/// In the child the other threads are gone. What they had noted is marked all the same.
#[test]
fn what_threads_had_noted_is_marked_in_a_forked_process() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<ReferenceVM>(plan, &BY_STEPS);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let places = Places::of(&heap);
        let table = holders(m, &places);
        heap.vm().set_global(0, m.get(table));
        let length = pairs().len();
        begin(m);
        let (noted, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let wait_for = |flag: &AtomicBool| {
            while !flag.load(Acquire) {
                std::thread::yield_now();
            }
        };
        // Each holder gets what the one before it held.
        let other = || {
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            for n in 1..length {
                let (from, to) = (m.read_ref(heap.vm().global(0), n - 1), m.read_ref(heap.vm().global(0), n));
                m.write_ref(to, 1, m.read_ref(from, 0));
                m.write_ref(from, 0, Ref::NULL);
            }
            m.native(|| {
                noted.store(true, Release);
                wait_for(&over);
            });
        };
        let goes_on = || {
            finish(m);
            for n in 1..length {
                let moved = m.read_ref(m.read_ref(m.get(table), n), 1);
                assert_eq!(m.read_word(moved, 2), n as u64 - 1, "{plan}: {:?}", pairs()[n]);
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(other);
            m.native(|| wait_for(&noted));
            let forked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| fork(m, goes_on)));
            over.store(true, Release);
            assert!(forked.unwrap(), "{plan}");
            // The other thread hands in what it has noted.
        });
        goes_on();
    }
}

/// Forks; `child` runs in the child, which ends with it. Whether it ended well.
fn fork<VM: TestVM>(m: ThreadHandle<VM>, child: impl FnOnce()) -> bool {
    // SAFETY: it forks, when the heap has come to rest; the child does nothing but what it was made for.
    let pid = unsafe { m.mutator().fork(|| libc::fork()) }.unwrap();
    if pid == 0 {
        // SAFETY: plain calls; `_exit` leaves everything as it is, since it is the parent's, too.
        unsafe { libc::alarm(30) };
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
        // SAFETY: as above.
        unsafe { libc::_exit(if ended.is_ok() { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: the child is ours, and the status has a place.
    assert_eq!(m.native(|| unsafe { libc::waitpid(pid, &mut status, 0) }), pid);
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

/// Between two markings lie so many collections in pauses that the number of the epoch is the same again.
#[test]
fn an_epoch_that_has_the_number_of_an_earlier_marking_is_another() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<SideVM<3>>(plan, &BY_STEPS);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let places = Places::of(&heap);
        let table = holders(m, &places);
        for between in EPOCH_MAX - 2..=EPOCH_MAX {
            begin(m);
            finish(m);
            (0..between).for_each(|_| m.collect());
            begin(m);
            for n in 0..pairs().len() {
                let holder = m.read_ref(m.get(table), n);
                m.push(m.read_ref(holder, 0));
                m.write_ref(holder, 0, Ref::NULL);
            }
            finish(m);
            for n in (0..pairs().len()).rev() {
                let holder = m.read_ref(m.get(table), n);
                m.write_ref(holder, 0, m.peek(0));
                m.pop(1);
            }
            check_holders(m, table, &format!("{plan}, {between} collections between"));
        }
    }
}

/// Memory runs out in the middle: the marking is ended, and what is dead is freed, before anybody is told.
#[test]
fn memory_may_run_out_while_it_is_marked() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        for settings in [
            &[("gc.driver", "quanta"), ("stress.every_bytes", "3M")][..],
            &[("gc.driver", "background"), ("stress.every_bytes", "3M")],
            &[("gc.driver", "background"), ("stress.every_bytes", "3M"), ("stress.no_background", "true")],
        ] {
            let options = options(plan, 4 << 20, &[&BY_STEPS[..], settings].concat());
            let heap: Heap<ReferenceVM> = new_heap(ReferenceVM::new(), options).unwrap();
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let places = Places::of(&heap);
            let table = holders(m, &places);
            for cycle in 0..4 {
                begin(m);
                // A chain that fills the heap, and is dead then.
                let chain = m.push(Ref::NULL);
                let class = Class { refs: 1, bytes: 3000 };
                let mut length = 0;
                let refused = loop {
                    match m.try_alloc(class, [Semantics::Default, Semantics::NonMoving][length % 2]) {
                        Ok(new) => {
                            m.write_ref(new, 0, m.get(chain));
                            m.set(chain, new);
                            length += 1;
                        }
                        Err(refused) => break refused,
                    }
                };
                assert!(length > 400, "{plan}, {settings:?}, cycle {cycle}: {length}, {refused}");
                check_holders(m, table, plan);
                m.pop(1);
                // The garbage is room again.
                for _ in 0..2000 {
                    m.try_alloc(class, Semantics::Default).unwrap_or_else(|error| panic!("{error}"));
                }
                check_holders(m, table, plan);
            }
        }
    }
}

/// In quanta a heap with one worker starts no thread to mark.
#[test]
fn mutators_alone_mark_in_quanta() {
    const NAME: &str = "mutators_alone_mark_in_quanta";
    if !is_child() {
        pass_again(NAME);
        return;
    }
    // The timer of idle heaps is there in any case.
    let has_background = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let is_it =
            |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap() == "gc-background\n";
        tasks.map(Result::unwrap).any(is_it)
    };
    for plan in concurrent_plans() {
        for step_objects in ["0", "1", "7", "1000"] {
            let settings = [("stress.step_objects", step_objects), ("gc.sweep_beside", "never")];
            let heap = heap_with::<ReferenceVM>(plan, &[&BY_STEPS[..], &settings].concat());
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let places = Places::of(&heap);
            let table = holders(m, &places);
            let cycles = heap.statistics().concurrent_collections;
            for _ in 0..3 {
                begin(m);
                while m.mutator().step(Duration::from_micros(50)) {}
            }
            check_holders(m, table, plan);
            assert!(heap.statistics().concurrent_collections >= cycles + 3, "{plan}, {step_objects}");
            assert!(!has_background(), "{plan}, {step_objects}");
        }
    }
}

/// All objects are visited while it is marked, and the marking goes on.
#[test]
fn objects_may_be_visited_while_it_is_marked() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        for driver in ["quanta", "background"] {
            let heap = heap_with::<AmbiguousVM<false>>(plan, &[&BY_STEPS[..], &[("gc.driver", driver)]].concat());
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let places = Places::of(&heap);
            let table = holders(m, &places);
            for _ in 0..5 {
                begin(m);
                while is_marked(m) {
                    let mut found = std::collections::HashSet::new();
                    m.mutator().for_each_object(|object| assert!(found.insert(object), "{plan}: {object} twice"));
                    for n in 0..pairs().len() {
                        let holder = m.read_ref(m.get(table), n);
                        assert!(found.contains(&object_of(holder)), "{plan}: {:?}", pairs()[n]);
                        assert!(found.contains(&object_of(m.read_ref(holder, 0))), "{plan}: {:?}", pairs()[n]);
                    }
                    step(m, 5);
                }
                check_holders(m, table, plan);
            }
        }
    }
}

#[test]
fn workloads_compute_the_same_when_they_mark_themselves_in_quanta() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        all_workloads::<ReferenceVM>(new_heap, plan, matrix::QUANTA);
        all_workloads::<SideVM<4>>(new_heap, plan, matrix::QUANTA);
    }
}

#[test]
fn workloads_compute_the_same_when_they_are_marked_in_the_background() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        all_workloads::<ReferenceVM>(new_heap, plan, matrix::BACKGROUND);
        all_workloads::<SideVM<3>>(new_heap, plan, matrix::BACKGROUND);
    }
}

/// A call that the program owes while it is marked is left out, and the verifier says so in that cycle: for
/// each place in the reference runtime where there is one.
mod left_out {
    use super::*;

    /// What the verifier says of this program. A holder of one object is a root, the first, and of a weak
    /// reference, the first; a marking has begun, and has come to neither.
    fn said_of(wrong: impl Fn(ThreadHandle<ReferenceVM>, &Heap<ReferenceVM>)) -> String {
        let mut said = Vec::new();
        for plan in concurrent_plans() {
            let heap = heap_with::<ReferenceVM>(plan, &BY_STEPS);
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let holder = m.push(m.alloc(2, 8));
            let held = m.alloc(0, 8);
            m.write_ref(m.get(holder), 0, held);
            heap.vm().new_weak(held);
            begin(m);
            let cycles = heap.statistics().full_collections;
            // The end of the thread cannot collect any more.
            let _thread = std::mem::ManuallyDrop::new(thread);
            let heap = std::mem::ManuallyDrop::new(heap);
            said.push(panic_of(|| {
                wrong(m, &heap);
                finish(m);
                assert_eq!(heap.statistics().full_collections, cycles + 1);
            }));
        }
        said.remove(0)
    }

    fn held(m: ThreadHandle<ReferenceVM>) -> Ref {
        m.read_ref(m.get(0), 0)
    }

    /// The first slot of the holder.
    fn slot(m: ThreadHandle<ReferenceVM>) -> WordSlot {
        // SAFETY: a slot of a live object.
        unsafe { WordSlot::at(object::slot(object_of(m.get(0)), 0)) }
    }

    /// The holder is named, with its slot.
    fn names_the_holder(said: &str, now: &str) {
        let what = "while the heap was marked: object with 2 references and 4 words in all (object ";
        assert!(said.starts_with(what), "{said}");
        assert!(said.contains("was changed, and was not claimed before: the slot at +8 held object "), "{said}");
        assert!(said.contains(&format!(" when the marking began, and holds {now}")), "{said}");
        assert!(said.contains("likely causes: a store without write_barrier before it"), "{said}");
    }

    #[test]
    fn the_barrier_of_a_store() {
        let said = said_of(|m, _| {
            m.push(held(m));
            slot(m).write(None);
        });
        names_the_holder(&said, "nothing");
    }

    /// It is found though nothing is lost by it.
    #[test]
    fn the_barrier_of_a_store_that_loses_nothing() {
        let said = said_of(|m, _| {
            let other = object_of(m.alloc(0, 8));
            slot(m).write(Some(other));
        });
        names_the_holder(&said, "object ");
    }

    #[test]
    fn the_barrier_of_a_copy() {
        let said = said_of(|m, _| {
            let from = m.alloc(2, 0);
            m.push(held(m));
            let word = |object: Ref| object::slot(object_of(object), 0).as_usize() as *mut u64;
            // SAFETY: both have two slots.
            unsafe { std::ptr::copy(word(from), word(m.get(0)), 2) };
        });
        names_the_holder(&said, "nothing");
    }

    #[test]
    fn the_call_before_a_change_of_layout() {
        let said = said_of(|m, _| {
            m.push(held(m));
            // SAFETY: the header of a live object.
            unsafe { object_of(m.get(0)).address().as_atomic_u64() }.fetch_sub(2, Relaxed);
        });
        assert!(said.contains("it had 2 slots when the marking began, and has 0"), "{said}");
        assert!(said.contains("without before_reshape"), "{said}");
    }

    #[test]
    fn the_call_that_keeps_what_comes_from_a_table_of_the_vm() {
        let said = said_of(|m, heap| {
            m.write_ref(m.get(0), 0, Ref::NULL);
            // From here on the object is known to the weak reference alone.
            begin(m);
            m.push(heap.vm().weak(0));
        });
        assert!(said.starts_with("after the collection: root "), "{said}");
        assert!(said.contains("likely causes: a reference that a mutator took from a table of the VM"), "{said}");
        assert!(said.contains("without Mutator::keep"), "{said}");
    }
}
