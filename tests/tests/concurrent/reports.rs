//! What listeners hear of a marking: who helps, which barriers take long, what the background thread does.

use super::driving::*;
use mmtk_core::Heap;
use mmtk_core::events::{BackgroundWork, Event, PauseStep};
use plan_tests::{TestVM, Watchdog};
use reference::{Ref, ReferenceVM, Thread, ThreadHandle};
use std::sync::{Arc, Mutex};

type Events = Arc<Mutex<Vec<Event>>>;

fn listen<VM: TestVM>(heap: &Heap<VM>) -> Events {
    let events = Events::default();
    let hears = events.clone();
    heap.listen(Box::new(move |event: &Event| hears.lock().unwrap().push(event.clone())));
    events
}

/// A list of so many nodes, which is pushed.
fn list<VM: TestVM>(m: ThreadHandle<VM>, nodes: usize) {
    m.push(Ref::NULL);
    for _ in 0..nodes {
        let node = m.alloc(1, 8);
        m.write_ref(node, 0, m.peek(0));
        m.pop(1);
        m.push(node);
    }
}

/// Makes garbage until an event is there that is looked for.
fn allocate_until(m: ThreadHandle<ReferenceVM>, events: &Events, is_it: impl Fn(&Event) -> bool) {
    while !events.lock().unwrap().iter().any(&is_it) {
        (0..1000).for_each(|_| _ = m.alloc(1, 100));
    }
}

#[test]
fn a_mutator_that_marks_for_its_allocation_is_held_up_by_that() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<ReferenceVM>(plan, &[("gc.driver", "quanta"), ("gc.workers", "1")]);
        let events = listen(&heap);
        let thread = Thread::attach(&heap);
        list(thread.handle(), 100_000);
        allocate_until(
            thread.handle(),
            &events,
            |event| matches!(event, Event::HeldUp(held) if held.assist_ns > 0 && held.duration_ns >= held.assist_ns),
        );
    }
}

#[test]
fn of_all_stores_that_read_their_object_those_into_large_ones_hold_their_mutator_up() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<ReferenceVM>(plan, &[&BY_STEPS[..], &[UNVERIFIED]].concat());
        let events = listen(&heap);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let sizes = [1, 100, 600, 4000];
        sizes.iter().for_each(|refs| _ = m.push(m.alloc(*refs, 0)));
        begin(m);
        for depth in 0..sizes.len() {
            // The second store finds the object claimed, or the part of it that it is to.
            (0..2).for_each(|_| m.write_ref(m.peek(depth), 0, m.peek(0)));
        }
        events.lock().unwrap().clear();
        finish(m);
        drop(thread);
        let events = events.lock().unwrap();
        let held = events.iter().filter(|event| matches!(event, Event::HeldUp(held) if held.barrier_ns > 0)).count();
        assert_eq!(held, 2, "{plan}: {events:?}");
        let ends = |event: &Event| match event {
            Event::Pause(pause) if pause.step == PauseStep::End => pause.marking,
            _ => None,
        };
        let marking = events.iter().find_map(ends).unwrap();
        let of_claimed_parts = 1;
        assert_eq!(marking.barrier_calls, 4 + of_claimed_parts, "{plan}");
    }
}

#[test]
fn what_the_background_thread_marks_and_sweeps_is_told_piece_by_piece() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let settings = [("gc.driver", "background"), ("gc.sweep_beside", "always")];
        let heap = heap_with::<ReferenceVM>(plan, &settings);
        let events = listen(&heap);
        let thread = Thread::attach(&heap);
        list(thread.handle(), 100_000);
        for work in [BackgroundWork::Mark, BackgroundWork::Sweep] {
            allocate_until(
                thread.handle(),
                &events,
                |event| matches!(event, Event::WorkedBeside(worked) if worked.work == work),
            );
        }
        let mut end_ns = 0;
        for event in events.lock().unwrap().iter() {
            if let Event::WorkedBeside(worked) = event {
                assert!(end_ns <= worked.start_ns && worked.steps > 0, "{plan}: {worked:?} begins before {end_ns}");
                end_ns = worked.end_ns();
            }
        }
    }
}
