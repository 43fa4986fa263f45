//! What a heap says of itself is true: phases with names of their own, who was held up and by what, and the
//! words of out of memory.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Mutex};

use mmtk_core::Semantics;
use mmtk_core::events::{Event, HeldUp, PauseReport};
use mmtk_core::weak::{FinalizerOrder, ReferenceKind, Terms};
use plan_tests::{TestVM, Watchdog, collecting_plans, options, verified_heap};
use policies::{PLANS, new_heap};
use reference::{Class, Ref, ReferenceHeap, ReferenceVM, Thread};

const NODE: Class = Class { refs: 2, bytes: 8 };

/// The pauses of a program that uses every native service.
fn pauses_with_every_service(plan: &str) -> Vec<PauseReport> {
    let heap = verified_heap(plan, 32 << 20, &[("nursery.bytes", "64K")]);
    let pauses = Arc::new(Mutex::new(Vec::new()));
    let heard = pauses.clone();
    heap.listen(Box::new(move |event: &Event| {
        if let Event::Pause(report) = event {
            heard.lock().unwrap().push((**report).clone());
        }
    }));
    let thread = Thread::attach(&heap);
    for round in 0..4 {
        for _ in 0..100 {
            let root = thread.push(thread.alloc_class(NODE));
            let object = thread.get(root).object().unwrap();
            thread.with_mutator(|mutator| {
                let references = mutator.references();
                for kind in [ReferenceKind::Soft, ReferenceKind::Weak, ReferenceKind::Phantom] {
                    references.create(kind, object, Terms { notify: true, ..Terms::default() }).unwrap();
                }
                references.create_ephemeron(object, Some(object), Terms::default()).unwrap();
                references.add_finalizer(object, FinalizerOrder::Any).unwrap();
            });
            if round % 2 == 0 {
                thread.pop(1);
            }
        }
        thread.collect();
    }
    drop(thread);
    pauses.lock().unwrap().clone()
}

#[test]
fn each_phase_of_a_pause_has_a_name_of_its_own() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let pauses = pauses_with_every_service(plan);
        assert!(pauses.len() >= 4, "{plan}");
        for pause in pauses {
            let names: Vec<&str> = pause.phases.iter().map(|phase| phase.name).collect();
            let different: HashSet<&str> = names.iter().copied().collect();
            assert_eq!(different.len(), names.len(), "{plan}: {names:?}");
        }
    }
}

/// The pauses of a heap, and what held its mutators up.
type Told = Arc<Mutex<(Vec<PauseReport>, Vec<HeldUp>)>>;

fn listen(heap: &ReferenceHeap) -> Told {
    let told = Told::default();
    let hears = told.clone();
    heap.listen(Box::new(move |event: &Event| match event {
        Event::Pause(pause) => hears.lock().unwrap().0.push((**pause).clone()),
        Event::HeldUp(held) => hears.lock().unwrap().1.push(*held),
        _ => (),
    }));
    told
}

/// The system's number of this thread.
fn thread_id() -> u32 {
    let link = std::fs::read_link("/proc/thread-self").unwrap();
    link.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

fn parts_ns(held: &HeldUp) -> u64 {
    held.pause_ns + held.assist_ns + held.sweep_ns + held.wait_ns + held.barrier_ns
}

#[test]
fn each_mutator_that_a_pause_holds_up_says_so_and_one_in_native_code_does_not() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = new_heap(ReferenceVM::new(), options(plan, 32 << 20, &[])).unwrap();
        let told = listen(&heap);
        let (attached, done) = (Barrier::new(3), AtomicBool::new(false));
        let [leader, stopped, native] = std::thread::scope(|scope| {
            let stopped = scope.spawn(|| {
                let thread = Thread::attach(&heap);
                attached.wait();
                while !done.load(Relaxed) {
                    thread.poll();
                }
                thread_id()
            });
            let native = scope.spawn(|| {
                let thread = Thread::attach(&heap);
                thread.native(|| {
                    attached.wait();
                    while !done.load(Relaxed) {
                        std::thread::yield_now();
                    }
                });
                thread_id()
            });
            let thread = Thread::attach(&heap);
            thread.native(|| attached.wait());
            (0..5).for_each(|_| thread.collect());
            done.store(true, Relaxed);
            [thread_id(), stopped.join().unwrap(), native.join().unwrap()]
        });
        let (pauses, held) = std::mem::take(&mut *told.lock().unwrap());
        assert!(pauses.len() >= 5, "{plan}");
        let of = |thread: u32| held.iter().filter(move |held| held.thread == thread);
        for pause in &pauses {
            let (start, end) = (pause.start_ns, pause.end_ns());
            let leads = |held: &&HeldUp| held.start_ns <= start && end <= held.end_ns();
            let stops = |held: &&HeldUp| start <= held.start_ns && held.start_ns <= end;
            for (thread, is_held) in [(leader, of(leader).find(leads)), (stopped, of(stopped).find(stops))] {
                assert!(is_held.is_some_and(|held| held.pause_ns > 0), "{plan}, {thread}: {pause:?}, {held:?}");
            }
        }
        assert_eq!(of(native).count(), 0, "{plan}");
        for thread in [leader, stopped] {
            let mut end_ns = 0;
            for held in of(thread) {
                assert!(end_ns <= held.start_ns && parts_ns(held) <= held.duration_ns, "{plan}: {held:?}");
                end_ns = held.end_ns();
            }
        }
    }
}

#[test]
fn a_mutator_that_sweeps_what_it_asked_for_is_held_up_by_that_once() {
    let _watchdog = Watchdog::new();
    for plan in ["Immix", "MarkSweep", "StickyImmix", "StickyMarkSweep"] {
        let settings = [("gc.sweep_beside", "always"), ("stress.no_background", "true")];
        let heap = new_heap(ReferenceVM::new(), options(plan, 32 << 20, &settings)).unwrap();
        let told = listen(&heap);
        let thread = Thread::attach(&heap);
        (0..40_000).for_each(|_| _ = thread.alloc_class(NODE));
        let ended = || told.lock().unwrap().1.len();
        heap.collect();
        let before = ended();
        // The next pause tells.
        heap.collect();
        let held = told.lock().unwrap().1[before];
        assert!(held.pause_ns > 0 && held.sweep_ns > 0, "{plan}: {held:?}");
        drop(thread);
        assert_eq!(ended(), before + 2, "{plan}");
    }
}

/// Chains objects until there is no room, and returns what is said then.
fn out_of_memory(plan: &str, semantics: Semantics) -> String {
    let heap = new_heap(ReferenceVM::new(), options(plan, 2 << 20, &[])).unwrap();
    let thread = Thread::attach(&heap);
    thread.push(Ref::NULL);
    loop {
        match thread.try_alloc(NODE, semantics) {
            Ok(object) => {
                thread.write_ref(object, 0, thread.get(0));
                thread.set(0, object);
            }
            Err(error) => return error.to_string(),
        }
    }
}

#[test]
fn out_of_memory_says_what_was_tried() {
    let _watchdog = Watchdog::new();
    for plan in PLANS {
        let text = out_of_memory(plan.name, Semantics::Default);
        let tried = if plan.name == "NoGC" { "this plan never collects" } else { "after an emergency collection" };
        let first = text.lines().next().unwrap();
        assert!(first.contains(tried), "{}: {text}", plan.name);
        assert_eq!(first.contains("emergency"), plan.name != "NoGC", "{text}");
        assert!(text.contains("heap.limit"), "{}: {text}", plan.name);
    }
}

#[test]
fn a_request_above_the_limit_says_that_no_collection_can_make_room() {
    for plan in PLANS {
        let heap = new_heap(ReferenceVM::new(), options(plan.name, 2 << 20, &[])).unwrap();
        let thread = Thread::attach(&heap);
        let error = thread.try_alloc(Class { refs: 0, bytes: 3 << 20 }, Semantics::Default).unwrap_err().to_string();
        assert!(error.contains("more than the limit") && !error.contains("emergency"), "{}: {error}", plan.name);
    }
}
