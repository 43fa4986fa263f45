//! Epoch numbers come round: what a space hands out again may carry marks of just the epoch that begins.
//!
//! Generations of objects follow each other in the same memory. Between the collection that marks one and the collection that must
//! mark the next lie as many epochs as there are, in one of the rounds at least: a mark that was not reset when its memory was
//! handed out then passes for a new one, and what its object refers to is lost.

use lab::workloads::heap::{Mutator as _, Ref as LabRef};
use mmtk_core::Semantics;
use mmtk_core::metadata::EPOCH_MAX;
use plan_tests::{Attached, Handle, SideVM, TestVM, Watchdog, assert_within_limit, collecting_plans, options};
use policies::new_heap;
use reference::{Class, ReferenceVM};

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
fn add<VM: TestVM>(m: Handle<VM>, kind: &Kind, root: usize, id: u64) {
    let object = m.try_alloc(Class { refs: 1, bytes: kind.bytes }, kind.semantics).unwrap();
    let object = LabRef(object.0);
    m.write_word(object, 1, id);
    m.write_ref(object, 0, m.get(root));
    m.set(root, object);
}

fn check<VM: TestVM>(m: Handle<VM>, root: usize, ids: impl Iterator<Item = u64>) {
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
    let thread = Attached::new(&heap);
    let m = thread.handle();
    m.push(LabRef::NULL);
    m.push(LabRef::NULL);
    let stays = |id: &u64| holes && id.is_multiple_of(STAYS);
    (0..kind.count).for_each(|id| add(m, kind, usize::from(stays(&id)), id));
    for idle in 0..=u64::from(EPOCH_MAX) + 1 {
        m.set(0, LabRef::NULL);
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
