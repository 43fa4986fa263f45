//! Pinned objects stay where they are, and the others around them move.

use mmtk_core::metadata::EPOCH_MAX;
use mmtk_core::{Heap, Needs, ObjectReference, PlanInfo, Semantics};
use plan_tests::{
    PinningVM, SideVM, TestVM, Watchdog, collecting_plans, options, verified_heap, what_pinned_roots_reach_stays,
};
use policies::{PLANS, new_heap};
use reference::{Class, Ref, ReferenceVM, Thread, ThreadHandle};

const SETTINGS: [(&str, &str); 4] =
    [("verify.trace", "true"), ("verify.poison", "true"), ("stress.always_defrag", "true"), ("nursery.bytes", "64K")];

fn heap<VM: TestVM>(plan: &str) -> Heap<VM> {
    new_heap(VM::new(), options(plan, 16 << 20, &SETTINGS)).unwrap()
}

/// The plans that can hold an object in place.
fn pinning_plans() -> impl Iterator<Item = &'static PlanInfo> {
    PLANS.iter().filter(|plan| plan.needs.pins && plan.name != "NoGC")
}

fn object(value: Ref) -> ObjectReference {
    value.object().unwrap()
}

/// A list of new objects with numbers, on the stack: its root.
fn list<VM: TestVM>(m: ThreadHandle<VM>, length: u64) -> usize {
    let root = m.push(Ref::NULL);
    for number in 0..length {
        let node = m.alloc(1, 8);
        m.write_word(node, 1, number);
        m.write_ref(node, 0, m.get(root));
        m.set(root, node);
    }
    root
}

/// Where the objects of a list are, the last first.
fn places<VM: TestVM>(m: ThreadHandle<VM>, root: usize) -> Vec<Ref> {
    std::iter::successors(Some(m.get(root)), |node| Some(m.read_ref(*node, 0)).filter(|next| *next != Ref::NULL))
        .collect()
}

/// Three collections, so that what may move does.
fn collect<VM: TestVM>(m: ThreadHandle<VM>) {
    (0..3).for_each(|_| m.mutator().collect());
}

fn pinned_objects_stay_and_others_move<VM: TestVM>() {
    let _watchdog = Watchdog::new();
    const LENGTH: u64 = 4000;
    for PlanInfo { name: plan, needs: Needs { moves, .. }, .. } in pinning_plans() {
        let heap = heap::<VM>(plan);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let root = list(m, LENGTH);
        let before = places(m, root);
        // Every seventh, some of them twice.
        let pinned: Vec<usize> = (0..LENGTH as usize).step_by(7).collect();
        for &n in pinned.iter().chain(pinned.iter().step_by(2)) {
            m.mutator().pin(object(before[n])).unwrap();
        }
        collect(m);
        let after = places(m, root);
        assert_eq!(after.len(), before.len(), "{plan}");
        for &n in &pinned {
            assert_eq!(before[n], after[n], "{plan}: a pinned object moved");
            assert!(m.mutator().is_pinned(object(after[n])), "{plan}");
        }
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert!(!moves || moved > LENGTH as usize / 2, "{plan}: only {moved} objects of {LENGTH} moved");
        // One unpin each: those that were pinned twice stay.
        for &n in &pinned {
            m.mutator().unpin(object(after[n]));
        }
        collect(m);
        let later = places(m, root);
        for &n in pinned.iter().step_by(2) {
            assert_eq!(after[n], later[n], "{plan}: an object moved that is pinned once more");
            m.mutator().unpin(object(later[n]));
            // What never moves is pinned for ever.
            assert!(!moves || !m.mutator().is_pinned(object(later[n])), "{plan}");
        }
        collect(m);
        let last = places(m, root);
        let moved = pinned.iter().filter(|n| last[**n] != after[**n]).count();
        assert!(!moves || moved == pinned.len(), "{plan}: {moved} of {} objects moved again", pinned.len());
        for (n, place) in last.iter().enumerate() {
            assert_eq!(m.read_word(*place, 1), LENGTH - 1 - n as u64, "{plan}");
        }
    }
}

#[test]
fn pinned_objects_stay_and_others_move_with_header_bytes() {
    pinned_objects_stay_and_others_move::<ReferenceVM>();
}

#[test]
fn pinned_objects_stay_and_others_move_with_side_tables() {
    pinned_objects_stay_and_others_move::<SideVM<3>>();
    pinned_objects_stay_and_others_move::<SideVM<4>>();
}

#[test]
fn a_pinned_object_survives_minor_collections_where_it_was_made() {
    let _watchdog = Watchdog::new();
    for plan in PLANS.iter().filter(|plan| plan.needs.old_to_new) {
        let heap = heap::<ReferenceVM>(plan.name);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let root = list(m, 100);
        let before = places(m, root);
        m.mutator().pin(object(before[50])).unwrap();
        while heap.statistics().collections < 3 {
            m.alloc(1, 8);
        }
        assert_eq!(heap.statistics().full_collections, 0, "{}", plan.name);
        let after = places(m, root);
        assert_eq!(after[50], before[50], "{}", plan.name);
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert_eq!(moved, if plan.needs.moves { 99 } else { 0 }, "{}", plan.name);
    }
}

#[test]
fn a_pin_goes_with_its_object() {
    let _watchdog = Watchdog::new();
    for PlanInfo { name: plan, needs: Needs { moves, .. }, .. } in pinning_plans() {
        let heap = verified_heap(plan, 16 << 20, &[("verify.poison", "true")]);
        let thread = Thread::attach(&heap);
        for _ in 0..1000 {
            let dead = thread.alloc(1, 8);
            thread.with_mutator(|mutator| mutator.pin(dead.object().unwrap())).unwrap();
        }
        thread.collect();
        for _ in 0..5000 {
            let new = thread.alloc(1, 8);
            let pinned = thread.with_mutator(|mutator| mutator.is_pinned(new.object().unwrap()));
            assert!(!moves || !pinned, "{plan}: a new object is pinned");
        }
    }
}

/// A block that was kept for a pinned object is not kept again when the number of that collection comes
/// round.
#[test]
fn a_block_is_kept_for_a_pinned_object_and_once() {
    let _watchdog = Watchdog::new();
    for plan in ["SemiSpace", "GenCopy"] {
        let heap = new_heap(ReferenceVM::new(), options(plan, 16 << 20, &[("gc.workers", "1")])).unwrap();
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        m.push(m.alloc(1, 8));
        m.mutator().collect();
        let reserved = heap.statistics().reserved_bytes;
        m.mutator().pin(object(m.get(0))).unwrap();
        m.mutator().collect();
        m.mutator().unpin(object(m.get(0)));
        for later in 1..=2 * u32::from(EPOCH_MAX) + 2 {
            m.mutator().collect();
            assert_eq!(heap.statistics().reserved_bytes, reserved, "{plan}: {later} collections later");
        }
    }
}

#[test]
fn what_never_moves_can_be_pinned_at_no_cost() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = verified_heap(plan, 16 << 20, &[]);
        let thread = Thread::attach(&heap);
        for semantics in [Semantics::NonMoving, Semantics::Immortal] {
            let fixed = thread.try_alloc(Class { refs: 1, bytes: 8 }, semantics).unwrap().object().unwrap();
            let reserved = heap.statistics().reserved_bytes;
            thread.with_mutator(|mutator| {
                mutator.pin(fixed).unwrap();
                assert!(mutator.is_pinned(fixed), "{plan}");
                mutator.unpin(fixed);
                assert!(mutator.is_pinned(fixed), "{plan}");
            });
            assert_eq!(heap.statistics().reserved_bytes, reserved, "{plan}");
        }
    }
}

#[test]
fn a_plan_that_moves_everything_says_so() {
    let refusing: Vec<_> = PLANS.iter().filter(|plan| !plan.needs.pins).map(|plan| plan.name).collect();
    assert_eq!(refusing, ["MarkCompact"]);
    for plan in refusing {
        let heap = verified_heap(plan, 16 << 20, &[]);
        let thread = Thread::attach(&heap);
        let one = thread.alloc(1, 8).object().unwrap();
        let error = thread.with_mutator(|mutator| mutator.pin(one)).unwrap_err().to_string();
        let expected = format!(
            "{one} cannot be pinned: {plan} moves every object of its mark-compact space; choose a plan that evacuates around pinned \
             objects, or allocate it with Semantics::NonMoving"
        );
        assert_eq!(error, expected);
        let error = new_heap(PinningVM::new(), options(plan, 16 << 20, &[])).err().expect("it is refused").to_string();
        assert!(error.starts_with("MarkCompact moves every object; this binding has roots"), "{error}");
        assert!(error.contains("Immix") && !error.contains("MarkCompact,"), "{error}");
    }
}

#[test]
#[should_panic(expected = "is unpinned more often than it was pinned")]
fn an_object_is_not_unpinned_more_often_than_it_was_pinned() {
    let heap = verified_heap("SemiSpace", 16 << 20, &[]);
    let thread = Thread::attach(&heap);
    let one = thread.alloc(1, 8).object().unwrap();
    thread.with_mutator(|mutator| {
        mutator.pin(one).unwrap();
        mutator.unpin(one);
        mutator.unpin(one);
    });
}

#[test]
fn pinned_roots_hold_their_targets_and_transitive_ones_all_they_reach() {
    let _watchdog = Watchdog::new();
    const LENGTH: u64 = 50;
    for plan in pinning_plans() {
        for full in [true, false] {
            if !full && !plan.needs.old_to_new {
                continue;
            }
            let heap = heap::<PinningVM>(plan.name);
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let lists = [list(m, LENGTH), list(m, LENGTH), list(m, LENGTH)];
            let before = lists.map(|root| places(m, root));
            heap.vm().pinned.lock().unwrap().push(before[0][0]);
            heap.vm().transitively.lock().unwrap().push(before[1][0]);
            // The native roots alone keep the first two lists.
            m.set(lists[0], Ref::NULL);
            m.set(lists[1], Ref::NULL);
            if full {
                collect(m);
            } else {
                while heap.statistics().collections < 2 {
                    m.alloc(1, 8);
                }
                assert_eq!(heap.statistics().full_collections, 0);
            }
            m.set(lists[0], before[0][0]);
            m.set(lists[1], before[1][0]);
            let after = lists.map(|root| places(m, root));
            let moved =
                |n: usize| before[n].iter().zip(&after[n]).filter(|(before, after)| before != after).count() as u64;
            assert_eq!(after.each_ref().map(Vec::len), [LENGTH as usize; 3], "{}", plan.name);
            assert_eq!(after[0][0], before[0][0], "{}: the target of a pinned root moved", plan.name);
            assert_eq!(moved(1), 0, "{}: what a transitively pinned root reaches moved", plan.name);
            if plan.needs.moves {
                assert_eq!((moved(0), moved(2)), (LENGTH - 1, LENGTH), "{}: the rest moves", plan.name);
            }
            // Given up, they move again.
            heap.vm().pinned.lock().unwrap().clear();
            heap.vm().transitively.lock().unwrap().clear();
            collect(m);
            assert!(!plan.needs.moves || places(m, lists[0])[0] != before[0][0], "{}", plan.name);
        }
    }
}

#[test]
fn objects_of_all_sizes_stay_where_a_transitively_pinned_root_reaches_them() {
    pinning_plans().for_each(|plan| what_pinned_roots_reach_stays(new_heap, plan.name));
}
