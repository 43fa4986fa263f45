//! What share of the machine marking takes, and what the pacer says of it.

use super::driving::*;
use mmtk_core::Heap;
use mmtk_core::events::{Event, MarkingReport};
use plan_tests::{TestVM as _, Watchdog, options};
use policies::new_heap;
use reference::{Ref, ReferenceVM, Thread};
use std::sync::{Arc, Mutex};

/// Objects that are live: some dozen steps of the background thread.
const OBJECTS: usize = 50_000;

/// What the marking of an idle heap took, in which one thread marks with this share of one processor.
fn marked_with(plan: &str, share: &str) -> MarkingReport {
    let settings = [
        ("gc.driver", "background"),
        ("gc.workers", "1"),
        ("heap.idle_gc_s", "0.001"),
        ("pacer.gc_share_min", share),
        ("pacer.gc_share", share),
        ("pacer.gc_share_max", share),
        ("pacer.tick_us", "100"),
    ];
    let heap: Heap<ReferenceVM> = new_heap(ReferenceVM::new(), options(plan, LIMIT, &settings)).unwrap();
    let reports = Arc::new(Mutex::new(Vec::new()));
    let heard = reports.clone();
    heap.listen(Box::new(move |event: &Event| {
        if let Event::Pause(pause) = event {
            heard.lock().unwrap().extend(pause.marking);
        }
    }));
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let list = m.push(Ref::NULL);
    for _ in 0..OBJECTS {
        let new = m.alloc(1, 8);
        m.write_ref(new, 0, m.get(list));
        m.set(list, new);
    }
    // The pacer learns the rates, without which it has nothing to say at a tick.
    m.mutator().collect();
    let whole = |reports: &[MarkingReport]| reports.iter().copied().find(|marking| marking.bytes_beside > OBJECTS * 16);
    loop {
        (0..400).for_each(|_| _ = m.alloc(1, 2000));
        let before = heap.statistics().collections;
        m.native(|| {
            while heap.statistics().collections == before {
                std::thread::yield_now();
            }
        });
        if let Some(marking) = whole(&reports.lock().unwrap()) {
            return marking;
        }
    }
}

/// A thread that may use a hundredth of a processor has rested when it is done, and the pacer had its say;
/// one that may use a whole processor has not rested.
#[test]
fn the_background_thread_keeps_to_its_share() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let marking = marked_with(plan, "0.01");
        assert!(marking.rested_ns > 10 * marking.cpu_ns, "{plan}: {marking:?}");
        assert!(marking.ticks > 0, "{plan}: {marking:?}");
        let marking = marked_with(plan, "1");
        assert_eq!(marking.rested_ns, 0, "{plan}: {marking:?}");
    }
}

/// The goal was above what mutators could get: markings ended in long pauses, for want of memory.
#[test]
fn a_marking_ends_before_mutators_come_to_what_is_kept_for_copies() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<ReferenceVM>(plan, &[("gc.driver", "quanta"), ("immix.headroom_percent", "50")]);
        let goals = Arc::new(Mutex::new(Vec::new()));
        let heard = goals.clone();
        heap.listen(Box::new(move |event: &Event| {
            if let Event::Pause(pause) = event {
                heard.lock().unwrap().push(pause.goal_bytes);
            }
        }));
        let thread = Thread::attach(&heap);
        while goals.lock().unwrap().len() < 8 {
            thread.handle().alloc(0, 2000);
        }
        let goals = goals.lock().unwrap();
        assert!(goals.iter().all(|goal| *goal < LIMIT / 2), "{plan}: {goals:?} of {LIMIT}");
    }
}
