//! What minor collections leave behind: room that mutators find again without a full collection, and nothing
//! that only dead objects refer to.

use mmtk_core::Heap;
use mmtk_core::weak::{Reference, ReferenceKind, Terms};
use plan_tests::{SideVM, TestVM, Watchdog, options};
use policies::{PLANS, new_heap};
use reference::{Class, Ref, ReferenceVM, Thread, ThreadHandle};

const MIB: usize = 1 << 20;

fn heap<VM: TestVM>(plan: &str, settings: &[(&str, &str)]) -> Heap<VM> {
    let settings = [&[("gc.workers", "1"), ("immix.defrag", "false")], settings].concat();
    new_heap(VM::new(), options(plan, 64 * MIB, &settings)).unwrap()
}

/// Makes garbage until the nursery is used up.
fn collect_minor<VM: TestVM>(heap: &Heap<VM>, m: ThreadHandle<VM>, garbage: Class) {
    let before = heap.statistics();
    while heap.statistics().collections == before.collections {
        m.alloc(garbage.refs, garbage.bytes);
    }
    assert_eq!(heap.statistics().full_collections, before.full_collections, "{}", heap.plan_name());
}

/// A block whose holes were used in a minor collection, for copies, or before it, by a mutator, was not swept
/// by it, and so not listed again. The rest of its holes was lost until the next full collection.
#[test]
fn many_minor_collections_share_the_holes_of_a_block() {
    const CLASS: Class = Class { refs: 0, bytes: 120 };
    const OBJECTS: usize = 4 * MIB / 128;
    const SURVIVORS: usize = 16;
    let _watchdog = Watchdog::new();
    for plan in ["GenImmix", "StickyImmix"] {
        let heap = heap::<ReferenceVM>(plan, &[("nursery.bytes", "64K")]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        // The array is large, and does not move.
        let array = m.push(m.alloc(OBJECTS, 0));
        let keep = |slot: usize| {
            let new = m.alloc(CLASS.refs, CLASS.bytes);
            m.write_ref(m.get(array), slot, new);
        };
        (0..OBJECTS).for_each(keep);
        m.mutator().collect();
        // Of sixteen lines, eight are free now.
        let freed: Vec<usize> = (0..OBJECTS).filter(|slot| slot / 16 % 2 == 0).collect();
        freed.iter().for_each(|slot| m.write_ref(m.get(array), *slot, Ref::NULL));
        m.mutator().collect();
        collect_minor(&heap, m, CLASS);
        let before = heap.statistics().reserved_bytes;
        // 600 KiB survive, and the holes have 2 MiB.
        for slots in freed.chunks(SURVIVORS).take(300) {
            slots.iter().for_each(|slot| keep(*slot));
            collect_minor(&heap, m, CLASS);
        }
        let grown = heap.statistics().reserved_bytes.saturating_sub(before);
        assert!(grown <= 256 << 10, "{plan}: {grown} bytes beside the holes");
    }
}

/// A thread that ended took the holes of the block that it had begun with it, until the next collection.
#[test]
fn a_thread_leaves_the_holes_of_its_block_to_others() {
    const CLASS: Class = Class { refs: 0, bytes: 120 };
    const OBJECTS: usize = 2 * MIB / 128;
    const THREADS: usize = 300;
    let _watchdog = Watchdog::new();
    for plan in ["Immix", "StickyImmix"] {
        let heap = heap::<ReferenceVM>(plan, &[]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let array = m.push(m.alloc(OBJECTS, 0));
        for slot in 0..OBJECTS {
            let new = m.alloc(CLASS.refs, CLASS.bytes);
            m.write_ref(m.get(array), slot, new);
        }
        m.mutator().collect();
        for slot in (0..OBJECTS).filter(|slot| slot / 16 % 2 == 0) {
            m.write_ref(m.get(array), slot, Ref::NULL);
        }
        m.mutator().collect();
        let before = heap.statistics();
        // A hole each, of 512 holes in 64 blocks.
        m.mutator().native(|| {
            for _ in 0..THREADS {
                let one = || {
                    let thread = Thread::attach(&heap);
                    (0..16).for_each(|_| _ = thread.alloc(CLASS.refs, CLASS.bytes));
                };
                std::thread::scope(|scope| scope.spawn(one).join()).unwrap();
            }
        });
        let after = heap.statistics();
        assert_eq!(after.collections, before.collections);
        let grown = after.reserved_bytes.saturating_sub(before.reserved_bytes);
        assert!(grown <= 128 << 10, "{plan}: {grown} bytes beside the holes");
    }
}

/// The marks of what was live in a block before it was free are not those of what is allocated there now.
#[test]
fn blocks_of_cells_in_which_all_died_young_go_back() {
    const CLASS: Class = Class { refs: 0, bytes: 56 };
    let _watchdog = Watchdog::new();
    let heap = heap::<ReferenceVM>("StickyMarkSweep", &[("nursery.bytes", "2M")]);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let array = m.push(m.alloc(20_000, 0));
    for slot in 0..20_000 {
        let new = m.alloc(CLASS.refs, CLASS.bytes);
        m.write_ref(m.get(array), slot, new);
    }
    m.mutator().collect();
    m.pop(1);
    m.mutator().collect();
    let before = heap.statistics().reserved_bytes;
    collect_minor(&heap, m, CLASS);
    let after = heap.statistics().reserved_bytes;
    assert!(after <= before + (256 << 10), "{before} bytes before, {after} after all had died");
}

/// New objects in the memory of old ones, of which the barrier had to note each store, are stored into.
fn new_objects_in_old_memory<VM: TestVM>(plan: &str) {
    const COUNT: usize = 4000;
    const HOLDER: Class = Class { refs: 1, bytes: 8 };
    let heap = heap::<VM>(plan, &[("nursery.bytes", "4M")]);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let array = m.push(m.alloc(COUNT, 0));
    for slot in 0..COUNT {
        let new = m.alloc(HOLDER.refs, HOLDER.bytes);
        m.write_ref(m.get(array), slot, new);
    }
    m.mutator().collect();
    m.pop(1);
    m.mutator().collect();
    let collections = heap.statistics().collections;
    let weak: Vec<Reference> = (0..COUNT)
        .map(|_| {
            let holder = m.push(m.alloc(HOLDER.refs, HOLDER.bytes));
            let held = m.alloc(0, 8);
            m.write_ref(m.get(holder), 0, held);
            m.pop(1);
            let held = held.object().unwrap();
            m.mutator().references().create(ReferenceKind::Weak, held, Terms::default()).unwrap()
        })
        .collect();
    assert_eq!(heap.statistics().collections, collections);
    collect_minor(&heap, m, HOLDER);
    let kept = weak.iter().filter(|weak| !m.mutator().references().is_cleared(**weak)).count();
    assert_eq!(kept, 0, "{plan}: of {COUNT} that only dead objects refer to");
}

#[test]
fn what_only_dead_new_objects_refer_to_dies_though_they_lie_where_old_ones_were() {
    let _watchdog = Watchdog::new();
    for plan in PLANS.iter().filter(|plan| plan.needs.old_to_new) {
        new_objects_in_old_memory::<ReferenceVM>(plan.name);
        new_objects_in_old_memory::<SideVM<4>>(plan.name);
    }
}
