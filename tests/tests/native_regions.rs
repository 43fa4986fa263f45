//! Native regions and threads that come and go, beside collections.

use mmtk_core::events::Event;
use mmtk_core::weak::{ReferenceKind, Terms};
use mmtk_core::{Address, MutatorState, Semantics, WordSlot};
use plan_tests::{Watchdog, collecting_plans, panic_of, verified_heap as heap};
use policies::PLANS;
use reference::{Class, ReferenceVM, Thread};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Barrier};

const LIMIT: usize = 2 << 20;

#[test]
fn a_thread_in_a_native_region_does_not_hold_up_a_collection() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = heap(plan, LIMIT, &[]);
        let (inside, go_on) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let thread = Thread::attach(&heap);
                let object = thread.alloc(0, 16);
                thread.write_word(object, 0, 42);
                thread.push(object);
                thread.native(|| {
                    inside.wait();
                    go_on.wait();
                });
                assert_eq!(thread.read_word(thread.peek(0), 0), 42, "its roots were visited while it was away");
                thread.pop(1);
            });
            let thread = Thread::attach(&heap);
            thread.native(|| inside.wait());
            thread.collect();
            thread.collect();
            assert_eq!(heap.statistics().collections, 2);
            thread.native(|| go_on.wait());
        });
    }
}

#[test]
fn a_thread_that_dies_inside_a_native_region_detaches_beside_collections() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = heap(plan, LIMIT, &[("stress.every_bytes", "8K")]);
        std::thread::scope(|scope| {
            let dying: Vec<_> = (0..12)
                .map(|_| {
                    scope.spawn(|| {
                        let thread = Thread::attach(&heap);
                        thread.push(thread.alloc(2, 100));
                        thread.native(|| std::panic::resume_unwind(Box::new("dies in native code")))
                    })
                })
                .collect();
            let thread = Thread::attach(&heap);
            for _ in 0..200 {
                thread.alloc(2, 1000);
                thread.collect();
            }
            thread.native(|| {
                for thread in dying {
                    let panic = thread.join().map(|_: ()| ()).unwrap_err();
                    assert_eq!(*panic.downcast::<&str>().unwrap(), "dies in native code");
                }
            });
        });
        heap.collect();
        assert_eq!(heap.statistics().live_bytes, 0, "nobody is attached on {plan}");
    }
}

/// The words that the book promises, and what was asked for.
fn assert_says_so(text: &str, plan: &str) {
    let says = text.starts_with("this thread is inside a native region") && text.contains("16 bytes were requested");
    assert!(says, "{plan}: {text}");
}

#[test]
fn a_native_region_that_allocates_or_nests_is_told_so() {
    let _watchdog = Watchdog::new();
    for plan in PLANS {
        let heap = heap(plan.name, LIMIT, &[]);
        let thread = Thread::attach(&heap);
        let class = Class { refs: 0, bytes: 8 };
        let text = panic_of(|| thread.native(|| thread.try_alloc(class, Semantics::Immortal)));
        assert_says_so(&text, plan.name);
        // In a release build, too, small objects at hand are not handed out.
        thread.alloc_class(class);
        let text = panic_of(|| thread.native(|| thread.alloc_class(class)));
        assert_says_so(&text, plan.name);
        let text = panic_of(|| thread.native(|| thread.native(|| ())));
        assert!(text.contains("native regions do not nest"), "{}: {text}", plan.name);
        thread.push(thread.alloc_class(class));
        thread.collect();
        thread.native(|| heap.collect());
    }
}

#[test]
fn a_native_region_neither_polls_nor_collects_nor_touches_objects() {
    let _watchdog = Watchdog::new();
    for plan in PLANS {
        let heap = heap(plan.name, LIMIT, &[]);
        let thread = Thread::attach(&heap);
        let class = Class { refs: 1, bytes: 8 };
        // What a minor collection finds old is noted by the barrier.
        thread.push(thread.alloc_class(class));
        thread.collect();
        let object = thread.peek(0);
        // SAFETY: its slot.
        let slot = unsafe { WordSlot::at(Address::from_usize(object.0 + 8)) };
        thread.with_mutator(|m| {
            let references = m.references();
            let weak = references.create(ReferenceKind::Weak, object.object().unwrap(), Terms::default()).unwrap();
            type Call<'a> = (&'static str, Box<dyn FnMut() + 'a>);
            let mut calls: Vec<Call<'_>> = vec![
                ("poll", Box::new(|| m.poll())),
                ("collect", Box::new(|| m.collect())),
                ("remember", Box::new(|| m.remember(object.object().unwrap(), slot))),
                ("references", Box::new(|| _ = m.references())),
                ("a handle of references from before", Box::new(|| _ = references.get(weak))),
                ("pin", Box::new(|| _ = m.pin(object.object().unwrap()))),
                // SAFETY: it does not say that it has forked.
                ("fork", Box::new(|| _ = unsafe { m.fork(|| -1) })),
            ];
            if cfg!(debug_assertions) {
                calls.push((
                    "write_barrier",
                    Box::new(|| m.array_copy_barrier(object.object().unwrap(), Address::ZERO..Address::ZERO)),
                ));
            }
            for (call, mut make) in calls {
                let text = panic_of(|| m.native(&mut make));
                assert!(text.starts_with("this thread is inside a native region"), "{call} on {}: {text}", plan.name);
            }
        });
        thread.alloc_class(class);
        thread.collect();
    }
}

/// Compiled code finds cursor and limit by itself.
#[test]
fn a_native_region_closes_the_range_of_its_mutator_and_opens_it_again() {
    let _watchdog = Watchdog::new();
    let range = |thread: &Thread| {
        // SAFETY: the two words of the range, as compiled code reads them.
        thread.with_mutator(|m| unsafe {
            m.state().byte_add(MutatorState::<ReferenceVM>::CURSOR_OFFSET).cast::<[usize; 2]>().read()
        })
    };
    for plan in ["NoGC", "Immix", "SemiSpace", "MarkCompact"] {
        // The verifier leaves a mutator no range.
        let heap = heap(plan, LIMIT, &[("verify.trace", "false")]);
        let thread = Thread::attach(&heap);
        thread.push(thread.alloc(1, 8));
        let before = range(&thread);
        assert!(before[0] < before[1], "{plan} has no range");
        let inside = thread.native(|| range(&thread));
        assert_eq!(inside, [before[0]; 2], "{plan}");
        assert_eq!(range(&thread), before, "{plan}");
        if plan != "NoGC" {
            thread.native(|| heap.collect());
            assert_eq!(range(&thread), [0; 2], "{plan}: a pause took the range");
        }
        thread.alloc(1, 8);
    }
}

/// A handle of the reference binding is a copy, so its owner can go while it is in use: the end of the native
/// region read what was freed.
#[test]
fn a_thread_detaches_inside_its_own_native_region_and_leaves_nothing_behind() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = heap(plan, LIMIT, &[]);
        let gone = Arc::new(AtomicBool::new(false));
        let hears = gone.clone();
        heap.listen(Box::new(move |event: &Event| _ = hears.fetch_or(matches!(event, Event::HeapDropped), Relaxed)));
        let thread = Thread::attach(&heap);
        thread.push(thread.alloc(0, 8));
        let handle = *thread;
        handle.native(|| {
            drop(thread);
            heap.collect();
            assert_eq!(heap.statistics().live_bytes, 0, "its roots went with it");
            drop(heap);
            // Whatever was freed is now something else's.
            black_box(vec![0xffu8; size_of::<MutatorState<ReferenceVM>>()]);
            assert!(!gone.load(Relaxed));
        });
        // The state went at the end of the region, and the heap with it; a thread of the heap that looked
        // around just then holds it a moment longer.
        while !gone.load(Relaxed) {
            std::thread::yield_now();
        }
    }
}

#[test]
fn threads_come_and_go_while_others_collect() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = heap(plan, LIMIT, &[("stress.every_bytes", "16K")]);
        std::thread::scope(|scope| {
            for id in 0..3u64 {
                let heap = &heap;
                scope.spawn(move || {
                    for round in 0..60 {
                        let thread = Thread::attach(heap);
                        for n in 0..20 {
                            let object = thread.alloc(1, 200);
                            thread.write_word(object, 1, id << 32 | round << 16 | n);
                            thread.push(object);
                        }
                        for n in 0..20u64 {
                            assert_eq!(thread.read_word(thread.get(n as usize), 1), id << 32 | round << 16 | n);
                        }
                    }
                });
            }
        });
        assert!(heap.statistics().collections > 0);
    }
}
