//! What a full collection leaves to be swept when mutators run again: it becomes free, by whatever
//! thread it is swept, and nobody is told of it as live or free too soon.

use mmtk_core::events::{Event, PauseReport, PauseStep};
use mmtk_core::weak::{ReferenceKind, Terms};
use mmtk_core::{Heap, Semantics};
use plan_tests::{SideVM, TestVM, Watchdog, collecting_plans, dense_plans, marks_beside, options};
use policies::new_heap;
use reference::{Class, Ref, ReferenceVM, Thread, ThreadHandle};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Nothing but mutators and pauses sweep.
const NO_BACKGROUND: (&str, &str) = ("stress.no_background", "true");
const ALWAYS: (&str, &str) = ("gc.sweep_beside", "always");

type Pauses = Arc<Mutex<Vec<PauseReport>>>;

fn heap_and_pauses<VM: TestVM>(plan: &str, limit: usize, settings: &[(&str, &str)]) -> (Heap<VM>, Pauses) {
    let heap = new_heap(VM::new(), options(plan, limit, settings)).unwrap();
    let pauses = Pauses::default();
    let seen = pauses.clone();
    heap.listen(Box::new(move |event: &Event| {
        if let Event::Pause(report) = event {
            seen.lock().unwrap().push((**report).clone());
        }
    }));
    (heap, pauses)
}

/// A list whose nodes lie among as much garbage, in all spaces; the list is root 0.
fn fill<VM: TestVM>(m: ThreadHandle<VM>, bytes: usize) {
    const KINDS: [(usize, Semantics); 4] = [
        (40, Semantics::Default),
        (3000, Semantics::Default),
        (40 << 10, Semantics::Default),
        (72, Semantics::NonMoving),
    ];
    m.push(Ref::NULL);
    let mut made = 0;
    for n in 0.. {
        let (bytes_of_one, semantics) = KINDS[if n % 64 > 2 { 0 } else { 1 + n % 3 }];
        let node = m.try_alloc(Class { refs: 1, bytes: bytes_of_one }, semantics).unwrap();
        if n % 128 < 64 {
            m.write_ref(node, 0, m.get(0));
            m.set(0, node);
        }
        made += bytes_of_one;
        if made > bytes {
            break;
        }
    }
}

fn length<VM: TestVM>(m: ThreadHandle<VM>) -> usize {
    let there = |node: Ref| Some(node).filter(|node| !node.is_null());
    std::iter::successors(there(m.get(0)), |node| there(m.read_ref(*node, 0))).count()
}

/// The pause says what the heap will hold when all is swept, and so it comes.
fn a_requested_collection_frees_what_the_pause_announced<VM: TestVM>() {
    for plan in dense_plans() {
        let (heap, pauses) = heap_and_pauses::<VM>(plan, 64 << 20, &[ALWAYS, NO_BACKGROUND, ("verify.poison", "true")]);
        let thread = Thread::attach(&heap);
        fill(thread.handle(), 8 << 20);
        let before = length(thread.handle());
        for _ in 0..3 {
            heap.collect();
            let announced = pauses.lock().unwrap().last().unwrap().clone();
            let in_spaces: usize = announced.spaces.iter().map(|space| space.reserved_bytes).sum();
            let announced = announced.reserved_after_bytes;
            assert!(in_spaces <= announced, "{plan}: the spaces have {in_spaces} of {announced} bytes");
            assert_eq!(heap.statistics().reserved_bytes, announced, "{plan}");
            assert_eq!(length(thread.handle()), before, "{plan}");
        }
        let pauses = pauses.lock().unwrap();
        assert!(pauses[0].reserved_after_bytes < pauses[0].reserved_before_bytes, "{plan}");
    }
}

#[test]
fn a_requested_collection_has_freed_what_its_pause_announced_when_it_returns() {
    let _watchdog = Watchdog::new();
    a_requested_collection_frees_what_the_pause_announced::<ReferenceVM>();
    a_requested_collection_frees_what_the_pause_announced::<SideVM<3>>();
}

/// The pause that ends a marking says so, too: what was made while the heap was marked is live then.
#[test]
fn a_marking_frees_what_its_last_pause_announced() {
    let _watchdog = Watchdog::new();
    for plan in dense_plans().filter(|plan| marks_beside(plan)) {
        let settings = [ALWAYS, ("gc.driver", "quanta"), ("stress.every_bytes", "8M"), ("verify.poison", "true")];
        let (heap, pauses) = heap_and_pauses::<ReferenceVM>(plan, 64 << 20, &settings);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        fill(m, 6 << 20);
        let last = || pauses.lock().unwrap().last().map(|pause| (pause.step, pause.reserved_after_bytes));
        while last().is_none() {
            m.alloc(0, 1000);
        }
        assert_eq!(last().map(|(step, _)| step), Some(PauseStep::Begin), "{plan}");
        let before = m.push(Ref::NULL);
        for n in 0..1000 {
            let node = m.alloc(1, if n % 50 == 0 { 40 << 10 } else { 400 });
            m.write_ref(node, 0, m.get(before));
            m.set(before, node);
        }
        while m.mutator().step(Duration::ZERO) {}
        let reserved = heap.statistics().reserved_bytes;
        assert_eq!(last(), Some((PauseStep::End, reserved)), "{plan}");
    }
}

/// The program never stops at the end of a collection, so what is left is swept by somebody else.
#[test]
fn while_the_only_mutator_is_in_native_code_what_is_left_is_swept() {
    let _watchdog = Watchdog::new();
    for plan in ["Immix", "MarkSweep", "StickyImmix", "StickyMarkSweep"] {
        let settings = [ALWAYS, ("stress.every_bytes", "4M"), ("stress.full_every", "1")];
        let (heap, pauses) = heap_and_pauses::<ReferenceVM>(plan, 64 << 20, &settings);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        fill(m, 3 << 20);
        while pauses.lock().unwrap().is_empty() {
            m.alloc(0, 1000);
        }
        m.with_mutator(|mutator| {
            mutator.native(|| {
                let announced = pauses.lock().unwrap()[0].reserved_after_bytes;
                // The leader took a block or two for what it came for.
                while heap.statistics().reserved_bytes > announced + (128 << 10) {
                    std::thread::yield_now();
                }
            });
        });
        assert_eq!(pauses.lock().unwrap().len(), 1, "{plan}");
    }
}

/// How many collections a program takes that fills a heap again and again with objects of these sizes. Before
/// that, it makes `old` bytes of them, and half of these stay.
fn collections(plan: &str, sizes: [usize; 3], old: usize, settings: &[(&str, &str)]) -> u64 {
    let (heap, _) = heap_and_pauses::<ReferenceVM>(plan, 16 << 20, settings);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    fill(m, 2 << 20);
    // Every second one dies, so there are holes of their size.
    let (mut made, mut size) = (0, sizes.into_iter().cycle());
    for n in 0.. {
        let node = m.alloc(1, size.next().unwrap());
        if n % 2 == 0 {
            m.write_ref(node, 0, m.get(0));
            m.set(0, node);
        }
        made += 16 + sizes[n % 3];
        if made > old {
            break;
        }
    }
    let (nodes, mut made) = (length(m), 0);
    while made < 64 << 20 {
        let bytes = size.next().unwrap();
        m.alloc(1, bytes);
        if made % (100 << 10) < bytes {
            m.alloc(1, 20 << 10);
        }
        made += bytes;
    }
    assert_eq!(length(m), nodes, "{plan}");
    heap.statistics().collections
}

#[test]
fn memory_that_is_not_swept_yet_is_found_before_the_heap_is_collected_again() {
    let _watchdog = Watchdog::new();
    // How often a heap is collected that is marked beside its mutators is a matter of time.
    let plans = dense_plans().filter(|plan| !marks_beside(plan));
    let plans = plans.flat_map(|plan| [(plan, [40, 24, 200], 6 << 20), (plan, [1600; 3], 6 << 20)]);
    // In the last ones hardly a block becomes free: larger objects have to find holes.
    let full = ["Immix", "StickyImmix"].map(|plan| (plan, [1600; 3], 14 << 20));
    for (plan, sizes, old) in plans.chain(full) {
        // Whether evacuation pays is another question.
        let as_is = ("immix.defrag", "false");
        let in_pauses = collections(plan, sizes, old, &[("gc.sweep_beside", "never"), as_is]);
        for settings in [vec![ALWAYS, NO_BACKGROUND, as_is], vec![ALWAYS, as_is]] {
            let beside = collections(plan, sizes, old, &settings);
            let most = in_pauses + in_pauses / 10;
            assert!(beside <= most, "{plan}, {sizes:?}, {settings:?}: {beside} collections instead of {in_pauses}");
        }
    }
}

/// A mutator took blocks that a sweep had freed, beside cells and holes that were not swept yet. So the heap
/// was as large as before soon after a collection, and was collected again, now and then.
#[test]
fn holes_that_are_not_swept_yet_are_used_before_blocks_that_are_free() {
    const LARGE: usize = 100_000;
    let _watchdog = Watchdog::new();
    for plan in ["MarkSweep", "Immix"] {
        let settings = [
            ALWAYS,
            NO_BACKGROUND,
            ("immix.defrag", "false"),
            ("stress.every_bytes", "16M"),
            ("stress.full_every", "1"),
            ("gc.workers", "1"),
        ];
        let (heap, pauses) = heap_and_pauses::<ReferenceVM>(plan, 64 << 20, &settings);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let records = 1 << 16;
        let table = m.push(m.alloc(records, 0));
        // Blocks that become free lie before those with holes.
        (0..records / 2).for_each(|_| _ = m.alloc(1, 48));
        for n in 0..records {
            let record = m.alloc(1, 48);
            m.write_ref(m.get(table), n, record);
        }
        for n in (0..records).filter(|n| n % 16 >= 8) {
            m.write_ref(m.get(table), n, Ref::NULL);
        }
        while pauses.lock().unwrap().is_empty() {
            m.alloc(0, LARGE);
        }
        // The object whose allocation met the pause came after it.
        let after = pauses.lock().unwrap()[0].reserved_after_bytes + (LARGE + 16).next_multiple_of(4096);
        (0..records / 4).for_each(|_| _ = m.alloc(1, 48));
        m.mutator().collect();
        let pauses = pauses.lock().unwrap();
        assert_eq!(pauses.len(), 2, "{plan}");
        assert!(pauses[1].reserved_before_bytes <= after, "{plan}: {} bytes, {after}", pauses[1].reserved_before_bytes);
    }
}

/// A thread that swept asked twice which objects live. In between the pages of a dead one became those of a
/// new one, and both were listed.
#[test]
fn large_objects_that_are_made_while_others_are_swept_are_listed_once() {
    let _watchdog = Watchdog::new();
    let (heap, _) = heap_and_pauses::<ReferenceVM>("ConcurrentImmix", 64 << 20, &[ALWAYS]);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    (0..60_000).for_each(|n| _ = m.alloc(0, if n % 8 == 0 { 20_000 } else { 10_000 }));
}

/// Who makes an entry does not collect, since that would make its references stale; but it may sweep.
#[test]
fn tables_grow_into_memory_that_is_not_swept_yet() {
    let _watchdog = Watchdog::new();
    for plan in ["Immix", "MarkSweep", "StickyImmix", "StickyMarkSweep"] {
        let settings = [ALWAYS, NO_BACKGROUND, ("stress.every_bytes", "24M"), ("stress.full_every", "1")];
        let (heap, pauses) = heap_and_pauses::<ReferenceVM>(plan, 32 << 20, &settings);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        while pauses.lock().unwrap().is_empty() {
            m.alloc(0, 1000);
        }
        m.push(m.alloc(0, 8));
        let entries = (16 << 20) / 32;
        let made = m.with_mutator(|mutator| {
            let target = m.get(0).object().unwrap();
            let make = || mutator.references().create(ReferenceKind::Weak, target, Terms::default());
            (0..entries).take_while(|_| make().is_ok()).count()
        });
        assert_eq!((made, pauses.lock().unwrap().len()), (entries, 1), "{plan}");
    }
}

/// The heap learns in the pause that it has too much, though nothing of it is free yet.
#[test]
fn memory_that_is_swept_beside_a_quiet_program_goes_back_to_the_system() {
    let _watchdog = Watchdog::new();
    for plan in ["Immix", "MarkSweep"] {
        let settings = [
            ALWAYS,
            ("stress.every_bytes", "24M"),
            ("heap.idle_gc_s", "0"),
            ("heap.return_memory", "auto"),
            ("heap.uncommit_delay_ms", "10"),
        ];
        let (heap, pauses) = heap_and_pauses::<ReferenceVM>(plan, 32 << 20, &settings);
        let thread = Thread::attach(&heap);
        while pauses.lock().unwrap().is_empty() {
            thread.handle().alloc(0, 1000);
        }
        thread.handle().with_mutator(|mutator| {
            mutator.native(|| {
                while heap.statistics().resident_bytes > 8 << 20 {
                    std::thread::yield_now();
                }
            });
        });
        assert_eq!(pauses.lock().unwrap().len(), 1, "{plan}");
    }
}

#[test]
fn a_heap_told_to_return_memory_at_once_sweeps_in_its_pauses() {
    let _watchdog = Watchdog::new();
    for (key, value) in [("heap.return_memory", "always"), ("heap.uncommit_delay_ms", "0")] {
        let settings = [ALWAYS, NO_BACKGROUND, ("stress.every_bytes", "24M")];
        let (heap, pauses) = heap_and_pauses::<ReferenceVM>("Immix", 64 << 20, &settings);
        heap.retune(|options| options.set(key, value)).unwrap();
        let thread = Thread::attach(&heap);
        while pauses.lock().unwrap().is_empty() {
            thread.handle().alloc(0, 1000);
        }
        let phases = &pauses.lock().unwrap()[0].phases;
        assert!(phases.iter().any(|phase| phase.name == "sweep"), "{key}={value}: {phases:?}");
    }
}

#[test]
fn a_pause_first_sweeps_what_the_one_before_has_left() {
    let _watchdog = Watchdog::new();
    for plan in ["Immix", "MarkSweep", "StickyImmix"] {
        let (heap, pauses) = heap_and_pauses::<ReferenceVM>(
            plan,
            64 << 20,
            &[
                ALWAYS,
                NO_BACKGROUND,
                ("stress.every_bytes", "2M"),
                ("stress.full_every", "1"),
                ("verify.trace", "true"),
            ],
        );
        let thread = Thread::attach(&heap);
        fill(thread.handle(), 10 << 20);
        let pauses = pauses.lock().unwrap();
        let names = |pause: &PauseReport| pause.phases.iter().map(|phase| phase.name).collect::<Vec<_>>();
        assert!(!names(&pauses[0]).contains(&"end sweep"), "{plan}: {:?}", names(&pauses[0]));
        let later = pauses[1..].iter().filter(|pause| names(pause).first() == Some(&"end sweep")).count();
        assert!(later > 0, "{plan}: of {} pauses none swept what was left", pauses.len());
    }
}

/// A thread that is no mutator sees that all is swept while the next pause leaves something again.
#[test]
fn a_thread_that_is_no_mutator_asks_for_collections_beside_those_of_a_mutator() {
    let _watchdog = Watchdog::new();
    let second_round = ("stress.always_defrag", "true");
    for (plan, setting) in [("Immix", ALWAYS), ("MarkSweep", ALWAYS), ("Immix", second_round)] {
        let settings = [ALWAYS, ("stress.every_bytes", "32K"), setting];
        let (heap, pauses) = heap_and_pauses::<ReferenceVM>(plan, 16 << 20, &settings);
        let thread = Thread::attach(&heap);
        fill(thread.handle(), 1 << 20);
        let nodes = length(thread.handle());
        let enough = || pauses.lock().unwrap().len() > 1000;
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                while !enough() {
                    heap.collect();
                }
            });
            while !other.is_finished() {
                thread.handle().alloc(1, 500);
            }
        });
        assert_eq!(length(thread.handle()), nodes, "{plan}");
    }
}

#[test]
fn heaps_are_dropped_while_they_are_swept() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        for n in 0..10 {
            let settings = [ALWAYS, ("stress.every_bytes", "64K"), ("stress.full_every", "1")];
            let (heap, pauses) = heap_and_pauses::<ReferenceVM>(plan, 16 << 20, &settings);
            let thread = Thread::attach(&heap);
            while pauses.lock().unwrap().len() <= n {
                thread.handle().alloc(1, 500);
            }
        }
    }
}

/// A space leaves its sweep, and another of the same plan calls for a second round: it evacuates.
#[test]
fn what_a_round_leaves_is_swept_before_the_next_round_of_the_pause() {
    let _watchdog = Watchdog::new();
    let settings = [ALWAYS, NO_BACKGROUND, ("stress.always_defrag", "true"), ("verify.trace", "true")];
    let (heap, pauses) = heap_and_pauses::<ReferenceVM>("Immix", 64 << 20, &settings);
    let thread = Thread::attach(&heap);
    fill(thread.handle(), 8 << 20);
    let nodes = length(thread.handle());
    (0..3).for_each(|_| heap.collect());
    assert!(pauses.lock().unwrap().iter().all(|pause| pause.defrag));
    assert_eq!(length(thread.handle()), nodes);
}

/// Bytes reserved after a collection that finds every second object of a list dead, and large garbage.
fn packed(settings: &[(&str, &str)]) -> usize {
    let (heap, pauses) = heap_and_pauses::<ReferenceVM>("Immix", 12 << 20, settings);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    m.push(Ref::NULL);
    for _ in 0..(7 << 20) / 1600 {
        let node = m.alloc(1, 1600 - 16);
        m.write_ref(node, 0, m.get(0));
        m.set(0, node);
    }
    heap.collect();
    let mut node = m.get(0);
    while !node.is_null() {
        let dead = m.read_ref(node, 0);
        let next = if dead.is_null() { dead } else { m.read_ref(dead, 0) };
        m.write_ref(node, 0, next);
        node = next;
    }
    for _ in 0..(5 << 19) / (40 << 10) {
        m.alloc(0, 40 << 10);
    }
    heap.collect();
    assert_eq!(pauses.lock().unwrap().iter().map(|pause| pause.defrag).collect::<Vec<_>>(), [false, true]);
    heap.statistics().reserved_bytes
}

/// To evacuate, a space takes all the room that there is: also what becomes free in others.
#[test]
fn evacuation_has_as_much_room_as_if_all_was_swept_in_the_pause() {
    let _watchdog = Watchdog::new();
    let (now, beside) = (packed(&[("gc.sweep_beside", "never")]), packed(&[ALWAYS, NO_BACKGROUND]));
    assert!(beside <= now + (256 << 10), "{beside} bytes are reserved instead of {now}");
}

/// The spaces whose pauses get shorter by it do so without being told.
#[test]
fn a_heap_of_some_size_leaves_its_sweep_by_itself_and_a_small_one_does_not() {
    let _watchdog = Watchdog::new();
    for plan in ["Immix", "MarkSweep"] {
        for (bytes, leaves) in [(4 << 20, false), (40 << 20, true)] {
            let (heap, pauses) = heap_and_pauses::<ReferenceVM>(plan, 128 << 20, &[NO_BACKGROUND]);
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            // All dies, so nothing is worth an evacuation.
            (0..bytes / 64).for_each(|_| _ = m.alloc(0, 48));
            heap.collect();
            let pauses = pauses.lock().unwrap();
            let swept = pauses[0].phases.iter().any(|phase| phase.name == "sweep");
            assert_eq!(!swept, leaves, "{plan}, {bytes} bytes: {:?}", pauses[0].phases);
        }
    }
}
