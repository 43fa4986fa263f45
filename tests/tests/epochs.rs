//! Epoch numbers are used again: memory that a space hands out again may carry marks with the number of the
//! epoch that begins.
//!
//! Generations of objects follow each other in the same memory. In at least one of the rounds, the number of
//! epochs between the collection that marks one generation and the collection that must mark the next is the
//! number of all epochs. A mark that was not reset when its memory was handed out then passes for a new one,
//! and what its object refers to is lost.

use mmtk_core::Semantics;
use mmtk_core::metadata::EPOCH_MAX;
use plan_tests::{SideVM, TestVM, Watchdog, assert_within_limit, collecting_plans, options};
use policies::new_heap;
use reference::{Class, Ref, ReferenceVM, Thread, ThreadHandle};

/// A kind of objects, and how many a generation has.
struct Kind {
    count: u64,
    bytes: usize,
    semantics: Semantics,
}

/// Each fills some blocks, or some runs of pages.
const KINDS: [Kind; 4] = [
    Kind { count: 1500, bytes: 16, semantics: Semantics::Default },
    Kind { count: 70, bytes: 1000, semantics: Semantics::Default },
    Kind { count: 4, bytes: 20_000, semantics: Semantics::Default },
    Kind { count: 1500, bytes: 16, semantics: Semantics::NonMoving },
];

/// One in so many objects stays: blocks are then handed out again in holes, not as a whole.
const STAYS: u64 = 25;

/// Root 0 is the generation, root 1 what stays.
fn add<VM: TestVM>(m: ThreadHandle<VM>, kind: &Kind, root: usize, id: u64) {
    let object = m.try_alloc(Class { refs: 1, bytes: kind.bytes }, kind.semantics).unwrap();
    m.write_word(object, 1, id);
    m.write_ref(object, 0, m.get(root));
    m.set(root, object);
}

fn check<VM: TestVM>(m: ThreadHandle<VM>, root: usize, ids: impl Iterator<Item = u64>) {
    let mut next = m.get(root);
    for id in ids {
        assert_eq!(m.read_word(next, 1), id);
        next = m.read_ref(next, 0);
    }
    assert!(next.is_null());
}

fn generations<VM: TestVM>(plan: &str, kind: &Kind, holes: bool) {
    // Evacuation would give the next generation other memory.
    let settings = [("verify.trace", "true"), ("gc.workers", "1"), ("immix.defrag", "false")];
    let heap = new_heap(VM::new(), options(plan, 8 << 20, &settings)).unwrap();
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    m.push(Ref::NULL);
    m.push(Ref::NULL);
    let stays = |id: &u64| holes && id.is_multiple_of(STAYS);
    (0..kind.count).for_each(|id| add(m, kind, usize::from(stays(&id)), id));
    for idle in 0..=u64::from(EPOCH_MAX) + 1 {
        m.set(0, Ref::NULL);
        (0..=idle).for_each(|_| m.mutator().collect());
        (0..kind.count).filter(|id| !stays(id)).for_each(|id| add(m, kind, 0, idle << 32 | id));
        m.mutator().collect();
        check(m, 0, (0..kind.count).rev().filter(|id| !stays(id)).map(|id| idle << 32 | id));
        check(m, 1, (0..kind.count).rev().filter(stays));
    }
    assert!(heap.statistics().collections > 2 * u64::from(EPOCH_MAX));
    assert_within_limit(&heap);
}

fn on_every_plan<VM: TestVM>() {
    for plan in collecting_plans() {
        let _watchdog = Watchdog::new();
        for kind in &KINDS {
            generations::<VM>(plan, kind, false);
            generations::<VM>(plan, kind, true);
        }
    }
}

#[test]
fn a_mark_of_the_same_epoch_number_a_cycle_ago_is_not_taken_for_a_new_one() {
    on_every_plan::<ReferenceVM>();
}

#[test]
fn a_side_state_of_the_same_epoch_number_a_cycle_ago_is_not_taken_for_a_new_one() {
    on_every_plan::<SideVM<3>>();
    on_every_plan::<SideVM<4>>();
}

/// How many numbers memory carries in turn, one for each collection, that was handed out since the last one:
/// all that a byte has beside the epochs.
const FRESH_NUMBERS: u64 = u8::MAX as u64 - EPOCH_MAX as u64;

/// Garbage lies in holes between what stays, and nothing is allocated for a number of collections; then the
/// next garbage needs no other memory. It has survived a collection, or none.
fn holes_are_used_again<VM: TestVM>(plan: &str, survives: bool, idle: impl Iterator<Item = u64>) {
    let settings = [("gc.workers", "1"), ("immix.defrag", "false")];
    let heap = new_heap(VM::new(), options(plan, 8 << 20, &settings)).unwrap();
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    m.push(Ref::NULL);
    m.push(Ref::NULL);
    let kind = Kind { count: 4000, bytes: 112, semantics: Semantics::Default };
    (0..kind.count).for_each(|id| add(m, &kind, usize::from(id.is_multiple_of(STAYS)), id));
    m.set(0, Ref::NULL);
    m.mutator().collect();
    let reserved = heap.statistics().reserved_bytes;
    for idle in idle {
        (0..kind.count / 2).for_each(|id| add(m, &kind, 0, id));
        assert_eq!(heap.statistics().reserved_bytes, reserved, "{plan}, before {idle} collections");
        if survives {
            m.mutator().collect();
        }
        m.set(0, Ref::NULL);
        (0..idle).for_each(|_| m.mutator().collect());
    }
    (0..kind.count / 2).for_each(|id| add(m, &kind, 0, id));
    assert_eq!(heap.statistics().reserved_bytes, reserved, "{plan}, in the end");
    check(m, 1, (0..kind.count).rev().filter(|id| id.is_multiple_of(STAYS)));
}

const REUSING: [&str; 4] = ["Immix", "StickyImmix", "MarkSweep", "StickyMarkSweep"];

/// Marks that lines kept since what was there had died were taken for new ones when the number of their epoch
/// came round.
#[test]
fn a_hole_that_nobody_used_until_the_number_of_its_epoch_comes_round_is_still_a_hole() {
    let _watchdog = Watchdog::new();
    for plan in REUSING {
        holes_are_used_again::<ReferenceVM>(plan, true, 1..=u64::from(EPOCH_MAX) + 1);
    }
}

/// What lines carry that were handed out between two collections must be forgotten before other lines carry
/// the same.
#[test]
fn a_hole_that_nobody_used_until_the_number_of_fresh_lines_comes_round_is_still_a_hole() {
    let _watchdog = Watchdog::new();
    for plan in REUSING {
        holes_are_used_again::<ReferenceVM>(plan, false, FRESH_NUMBERS - 1..=FRESH_NUMBERS + 1);
    }
}
