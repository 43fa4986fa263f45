//! The write barrier of generational plans: what it keeps, and what happens to a program that leaves it out.

use mmtk_core::events::{CollectionKind, Event};
use mmtk_core::{Heap, HeapStatistics, Mutator, MutatorState, ObjectReference, Semantics, WordSlot};
use plan_tests::matrix::{self, all_workloads};
use plan_tests::{SideVM, TestVM, Watchdog, options, panic_of};
use policies::{PLANS, new_heap};
use reference::{Class, Ref, ReferenceVM, Thread, ThreadHandle};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

const LIMIT: usize = 16 << 20;
const NURSERY: usize = 64 << 10;

fn generational() -> impl Iterator<Item = &'static str> {
    PLANS.iter().filter(|plan| plan.needs.old_to_new).map(|plan| plan.name)
}

fn heap<VM: TestVM>(plan: &str, settings: &[(&str, &str)]) -> Heap<VM> {
    let mut all = vec![("verify.trace", "true"), ("nursery.bytes", "64K"), ("gc.workers", "2")];
    all.extend(settings);
    new_heap(VM::new(), options(plan, LIMIT, &all)).unwrap()
}

/// Counts minor and full collections.
fn count<VM: TestVM>(heap: &Heap<VM>) -> Arc<[AtomicUsize; 2]> {
    let counts: Arc<[AtomicUsize; 2]> = Arc::default();
    let seen = counts.clone();
    heap.listen(Box::new(move |event: &Event| {
        if let Event::Pause(report) = event {
            seen[usize::from(report.kind == CollectionKind::Full)].fetch_add(1, Relaxed);
        }
    }));
    counts
}

/// Garbage for `nurseries` minor collections.
fn churn<VM: TestVM>(m: ThreadHandle<VM>, nurseries: usize) {
    for _ in 0..nurseries * NURSERY / 48 {
        m.alloc(1, 32);
    }
}

/// One old object of each kind, at the roots 0.., with a slot each.
fn old_objects<VM: TestVM>(m: ThreadHandle<VM>) -> usize {
    let kinds = [
        (Class { refs: 1, bytes: 16 }, Semantics::Default),
        (Class { refs: 3000, bytes: 0 }, Semantics::Default),
        (Class { refs: 1, bytes: 16 }, Semantics::NonMoving),
        (Class { refs: 1, bytes: 16 }, Semantics::Immortal),
    ];
    for (class, semantics) in kinds {
        let object = m.try_alloc(class, semantics).unwrap();
        m.push(object);
    }
    churn(m, 2);
    kinds.len()
}

/// What a mutator does before a store into a slot of an object.
type Barrier<VM> = fn(&Mutator<VM>, ObjectReference, WordSlot);

/// The barrier as compiled code has it.
fn compiled<VM: TestVM>(mutator: &Mutator<VM>, object: ObjectReference, slot: WordSlot) {
    let test = mutator.barrier_test().expect("the plan is generational");
    let at = test.base.wrapping_add(object.address().as_usize() >> test.shift);
    // SAFETY: where the test says, for a live object of the heap; others access it atomically.
    let state = unsafe { &*(at as *const AtomicU8) }.load(Relaxed);
    if state & mask(mutator) != 0 {
        mutator.remember(object, slot);
    }
}

/// What the barrier tests; it expects these bits to be clear.
fn mask<VM: TestVM>(mutator: &Mutator<VM>) -> u8 {
    // SAFETY: an offset of the state, where leaders write in pauses.
    unsafe { &*mutator.state().byte_add(MutatorState::<VM>::BARRIER_OFFSET).cast::<AtomicU8>() }.load(Relaxed)
}

/// The barrier of a copy of one reference.
fn in_bulk<VM: TestVM>(mutator: &Mutator<VM>, object: ObjectReference, slot: WordSlot) {
    mutator.array_copy_barrier(object, slot.address()..slot.address().plus(8));
}

fn keeps_what_only_old_objects_refer_to<VM: TestVM>() {
    let _watchdog = Watchdog::new();
    let barriers: [Barrier<VM>; 3] = [Mutator::write_barrier, in_bulk, compiled];
    for (plan, barrier) in generational().flat_map(|plan| barriers.map(|barrier| (plan, barrier))) {
        let heap = heap::<VM>(plan, &[("verify.poison", "true")]);
        let counts = count(&heap);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let old = old_objects(m);
        for round in 0..6 {
            for root in 0..old {
                let young = m.alloc(0, 16);
                m.write_word(young, 0, (round * old + root) as u64);
                let object = m.get(root).object().unwrap();
                // SAFETY: the first slot of a live object, behind its header.
                let slot = unsafe { WordSlot::at(object.address().plus(8)) };
                barrier(&m.mutator(), object, slot);
                m.write_word(m.get(root), 0, young.0 as u64);
            }
            churn(m, 2);
            if round == 3 {
                m.mutator().collect();
            }
            for root in 0..old {
                let young = m.read_ref(m.get(root), 0);
                assert_eq!(m.read_word(young, 0), (round * old + root) as u64, "{plan}, object {root}");
            }
        }
        let [minor, full] = [0, 1].map(|kind| counts[kind].load(Relaxed));
        assert!(minor >= 12 && full == 1, "{plan}: {minor} minor collections, {full} full ones");
        m.pop(old);
    }
}

#[test]
fn what_only_old_objects_refer_to_lives_with_header_bytes() {
    keeps_what_only_old_objects_refer_to::<ReferenceVM>();
}

#[test]
fn what_only_old_objects_refer_to_lives_with_side_tables() {
    keeps_what_only_old_objects_refer_to::<SideVM<4>>();
}

fn a_store_without_its_barrier_is_found<VM: TestVM>() {
    let _watchdog = Watchdog::new();
    for plan in generational() {
        for root in 0..4 {
            let heap = heap::<VM>(plan, &[]);
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            assert_eq!(old_objects(m), 4);
            let young = m.alloc(0, 16);
            m.write_word(m.get(root), 0, young.0 as u64);
            let text = panic_of(|| churn(m, 2));
            let young = format!("{:#x}", young.0);
            assert!(text.contains("after the collection") && text.contains(&young), "{plan}, object {root}: {text}");
            assert!(text.contains("likely causes: a missing write barrier"), "{plan}, object {root}: {text}");
            assert!(!text.contains("it is old"), "{plan}, object {root}: {text}");
        }
    }
}

#[test]
fn a_store_without_its_barrier_is_found_by_the_verifier() {
    a_store_without_its_barrier_is_found::<ReferenceVM>();
    a_store_without_its_barrier_is_found::<SideVM<4>>();
}

#[test]
fn workloads_compute_the_same_with_a_nursery_of_one_block() {
    for plan in generational() {
        let _watchdog = Watchdog::new();
        all_workloads::<ReferenceVM>(new_heap, plan, matrix::NURSERY);
        all_workloads::<SideVM<4>>(new_heap, plan, matrix::NURSERY);
    }
}

#[test]
fn workloads_compute_the_same_with_a_full_collection_after_every_minor_one() {
    for plan in generational() {
        let _watchdog = Watchdog::new();
        all_workloads::<ReferenceVM>(new_heap, plan, matrix::NURSERY_AND_FULL);
        let heap = heap::<ReferenceVM>(plan, matrix::NURSERY_AND_FULL.settings);
        let thread = Thread::attach(&heap);
        churn(thread.handle(), 200);
        let HeapStatistics { collections, full_collections, .. } = heap.statistics();
        assert!(collections > 20, "{plan}: {collections} collections");
        assert_eq!(full_collections, collections / 2, "{plan}: of {collections}");
    }
}

/// With a nursery of the heap's choice: nearly all survives at first, so minor collections end until a trial,
/// and the barrier with them.
#[test]
fn what_only_old_objects_refer_to_lives_while_minor_collections_come_and_go() {
    let _watchdog = Watchdog::new();
    for plan in generational() {
        let heap =
            heap::<ReferenceVM>(plan, &[("nursery.bytes", "0"), ("verify.trace", "false"), ("verify.poison", "true")]);
        let counts = count(&heap);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        // A ring of lists, each the referent of an old object; the oldest is replaced.
        let lists = 8;
        for _ in 0..lists {
            m.push(m.alloc(1, 8));
        }
        let (mut rounds, mut minors_later) = (0u64, 0);
        while rounds < 40 || minors_later == 0 {
            rounds += 1;
            let before = counts[0].load(Relaxed);
            let holder = rounds as usize % lists;
            m.write_ref(m.get(holder), 0, Ref::NULL);
            // In the first half what is allocated lives for eight rounds, later it is garbage at once.
            for n in 0..3000 {
                let node = m.alloc(1, 120);
                m.write_word(node, 1, rounds << 32 | n);
                if rounds < 20 || n % 300 == 0 {
                    m.write_ref(node, 0, m.read_ref(m.get(holder), 0));
                    m.write_ref(m.get(holder), 0, node);
                }
            }
            for back in 0..(lists as u64).min(rounds) {
                let round = rounds - back;
                let mut node = m.read_ref(m.get(round as usize % lists), 0);
                let mut n = if round < 20 { 2999 } else { 2700 };
                while node != Ref::NULL {
                    assert_eq!(m.read_word(node, 1), round << 32 | n, "{plan}, round {round}");
                    (node, n) = (m.read_ref(node, 0), n.wrapping_sub(if round < 20 { 1 } else { 300 }));
                }
            }
            if rounds >= 20 {
                minors_later += counts[0].load(Relaxed) - before;
            }
            assert!(rounds < 20_000, "{plan}: minor collections never came back");
        }
        assert!(counts[1].load(Relaxed) > 0, "{plan}: no full collection");
        m.pop(lists);
    }
}

#[test]
fn a_full_heap_with_a_nursery_of_a_byte_is_out_of_memory_and_not_for_ever_collected() {
    let _watchdog = Watchdog::new();
    for plan in generational() {
        let heap = heap::<ReferenceVM>(plan, &[("nursery.bytes", "1"), ("verify.trace", "false")]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let mut kept = 0;
        while let Ok(object) = m.try_alloc(Class { refs: 0, bytes: 3 << 20 }, Semantics::Default) {
            m.push(object);
            kept += 1;
        }
        assert!((2..=5).contains(&kept), "{plan}: {kept} objects of 3M in a heap of 16M");
        m.pop(kept);
    }
}

/// What was allocated before each of the minor collections of a program whose objects die at once, with
/// nurseries of the heap's choice.
fn nurseries(plan: &str, settings: &[(&str, &str)]) -> Vec<usize> {
    let settings: Vec<_> = [("nursery.bytes", "0")].iter().chain(settings).copied().collect();
    let heap = heap::<ReferenceVM>(plan, &settings);
    let seen: Arc<Mutex<Vec<usize>>> = Arc::default();
    let seen_by_listener = seen.clone();
    heap.listen(Box::new(move |event: &Event| {
        if let Event::Pause(report) = event
            && report.kind == CollectionKind::Minor
        {
            seen_by_listener.lock().unwrap().push(report.allocated_bytes);
        }
    }));
    churn(Thread::attach(&heap).handle(), 512);
    let seen = seen.lock().unwrap();
    seen.clone()
}

#[test]
fn nurseries_keep_to_their_bound_and_shrink_while_pauses_miss_their_goal() {
    let _watchdog = Watchdog::new();
    // Fast paths are handed a block at a time.
    const BLOCK: usize = 32 << 10;
    for plan in generational() {
        let free = nurseries(plan, &[]);
        assert!(free.iter().all(|bytes| *bytes > 1 << 20), "{plan}: {free:?}");
        let bounded = nurseries(plan, &[("nursery.max_bytes", "1M")]);
        assert!(bounded.len() > 16 && bounded.iter().all(|bytes| *bytes <= (1 << 20) + BLOCK), "{plan}: {bounded:?}");
        // No pause is so short.
        let goal = nurseries(plan, &[("nursery.pause_goal_us", "1")]);
        let smallest = 256 << 10;
        assert!(goal.len() > 2 * free.len() && goal[0] > 1 << 20, "{plan}: {goal:?}");
        assert!(goal.last().is_some_and(|bytes| *bytes <= smallest + BLOCK), "{plan}: {goal:?}");
    }
}

#[test]
fn what_a_thread_stored_before_it_went_is_remembered() {
    let _watchdog = Watchdog::new();
    for plan in generational() {
        let heap = heap::<ReferenceVM>(plan, &[]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        old_objects(m);
        heap.vm().set_global(0, m.get(0));
        let stored = std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let thread = Thread::attach(&heap);
                let m = thread.handle();
                let young = m.alloc(0, 16);
                m.write_word(young, 0, 42);
                m.write_ref(heap.vm().global(0), 0, young);
            });
            m.mutator().native(|| other.join())
        });
        stored.unwrap();
        churn(m, 2);
        assert_eq!(m.read_word(m.read_ref(m.get(0), 0), 0), 42, "{plan}");
    }
}

#[test]
fn a_binding_without_a_barrier_is_refused_and_told_what_to_choose() {
    struct NoBarrier;
    // SAFETY: there are no objects.
    unsafe impl mmtk_core::VMBinding for NoBarrier {
        type Slot = mmtk_core::WordSlot;
        type Local = ();
        fn object_size(&self, _: mmtk_core::ObjectReference) -> usize {
            unreachable!("there are no objects")
        }
        fn scan_object(&self, _: mmtk_core::ObjectReference, _: &mut impl mmtk_core::SlotVisitor<mmtk_core::WordSlot>) {
        }
        fn scan_thread(&self, (): &mut (), _: &mut impl mmtk_core::SlotVisitor<mmtk_core::WordSlot>) {}
    }
    for plan in generational() {
        let Err(error) = new_heap(NoBarrier, options(plan, LIMIT, &[])) else { panic!("{plan} was accepted") };
        let text = error.to_string();
        assert!(text.contains(plan) && text.contains("no write barrier") && text.contains("SemiSpace"), "{text}");
    }
}
