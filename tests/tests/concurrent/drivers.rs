//! Who marks: mutators alone, the background thread, a pause when memory runs out.

use super::driving::*;
use super::places::*;
use mmtk_core::{Heap, Semantics};
use plan_tests::matrix::{self, all_workloads};
use plan_tests::{SideVM, TestVM, Watchdog, is_child, options, pass_again};
use policies::new_heap;
use reference::{Class, Ref, ReferenceVM, Thread};
use std::time::Duration;

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

/// The heap of a program that has gone quiet is collected to the end, with each driver, also if a marking was
/// in progress. With quanta nobody went on with the marking.
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
    const NAME: &str = "drivers::mutators_alone_mark_in_quanta";
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
