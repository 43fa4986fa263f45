//! Calls that would wait for their own thread are refused at once: two mutators on one thread, and what a
//! callback may not do.

use mmtk_core::events::Event;
use mmtk_core::{Address, Heap, ObjectReference, VMBinding};
use plan_tests::{CalledVM, Watchdog, collecting_plans, options, panic_of, verified_heap as heap};
use policies::{PLANS, new_heap};
use reference::{Class, Ref, ReferenceHeap, ShadowStack, Thread, ThreadHandle};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

const LIMIT: usize = 2 << 20;
const SMALL: Class = Class { refs: 0, bytes: 8 };
/// Too large for any range at hand.
const LARGE: Class = Class { refs: 0, bytes: 100_000 };

#[test]
fn a_thread_is_one_mutator_of_a_heap() {
    let _watchdog = Watchdog::new();
    for plan in PLANS {
        let (one, other) = (heap(plan.name, LIMIT, &[]), heap(plan.name, LIMIT, &[]));
        let twice = "this thread is a mutator of this heap already";
        let thread = Thread::attach(&one);
        assert!(panic_of(|| Thread::attach(&one)).contains(twice));
        assert!(panic_of(|| thread.native(|| Thread::attach(&one))).contains(twice));
        // Each may be one of another heap, and other threads are mutators of this one.
        Thread::attach(&other).alloc_class(SMALL);
        std::thread::scope(|scope| _ = scope.spawn(|| Thread::attach(&one).alloc_class(SMALL)).join().unwrap());
        thread.collect();
        drop(thread);
        Thread::attach(&one).alloc_class(SMALL);
    }
}

#[test]
fn a_heap_collects_from_the_thread_of_a_mutator_as_the_mutator_does() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = heap(plan, LIMIT, &[]);
        let thread = Thread::attach(&heap);
        let object = thread.alloc_class(SMALL);
        thread.write_word(object, 0, 42);
        thread.push(object);
        heap.collect();
        assert_eq!(thread.read_word(thread.peek(0), 0), 42);
        thread.native(|| heap.collect());
        assert_eq!(thread.read_word(thread.peek(0), 0), 42);
        std::thread::scope(|scope| {
            scope.spawn(|| heap.collect());
            while heap.statistics().collections < 3 {
                thread.poll();
                std::thread::yield_now();
            }
        });
        assert_eq!(heap.statistics().live_bytes, 16);
    }
}

/// Its name in the refusal, and the call.
type Call<'a> = (&'static str, Box<dyn FnMut() + 'a>);

/// What a thread may not do in a callback of `heap`.
fn calls<'a, VM: VMBinding<Local = ShadowStack>>(heap: &'a Heap<VM>) -> Vec<Call<'a>> {
    vec![
        ("Heap::attach", Box::new(|| drop(heap.attach(ShadowStack::default())))),
        ("Heap::collect", Box::new(|| heap.collect())),
    ]
}

/// The same for a mutator.
fn calls_of_mutator(thread: ThreadHandle) -> Vec<Call<'static>> {
    vec![
        ("an allocation", Box::new(move || _ = thread.alloc_class(LARGE))),
        ("Mutator::collect", Box::new(move || thread.collect())),
        ("Mutator::native", Box::new(move || thread.native(|| ()))),
        // SAFETY: it does not say that it has forked.
        ("Mutator::fork", Box::new(move || _ = thread.with_mutator(|m| unsafe { m.fork(|| -1) }))),
    ]
}

/// Makes the calls, each of which is to be refused inside `place`; how many there were.
fn are_refused(calls: Vec<Call<'_>>, place: &str) -> usize {
    let count = calls.len();
    for (call, mut make) in calls {
        let text = panic_of(AssertUnwindSafe(&mut make));
        assert!(text.starts_with(&format!("{call} is refused inside {place} of this heap")), "{call}: {text}");
    }
    count
}

#[test]
fn a_closure_of_retune_has_the_options_and_asks_the_heap_for_nothing() {
    let _watchdog = Watchdog::new();
    let heap = heap("Immix", LIMIT, &[]);
    let thread = Thread::attach(&heap);
    let refused = heap.retune(|options| {
        let place = "a closure of `retune`";
        are_refused(calls(&heap), place);
        are_refused(calls_of_mutator(*thread), place);
        are_refused(vec![("Heap::tuned", Box::new(|| _ = heap.tuned()))], place);
        are_refused(vec![("Heap::retune", Box::new(|| heap.retune(|_| Ok(())).unwrap()))], place);
        options.set("heap.headroom_percent", "50")
    });
    refused.unwrap();
    assert_eq!(heap.tuned().heap_headroom_percent, 50);
    // A closure that panics leaves the options as they were, and the heap can be used.
    panic_of(|| {
        heap.retune(|options| {
            options.heap_headroom_percent = 60;
            panic!("in the closure")
        })
    });
    assert_eq!(heap.tuned().heap_headroom_percent, 50);
    thread.collect();
}

/// For a listener that runs on the thread of the mutator.
struct OnItsThread(ThreadHandle);
// SAFETY: used on its own thread alone.
unsafe impl Send for OnItsThread {}

#[test]
fn a_listener_neither_collects_nor_allocates_nor_attaches() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = heap(plan, LIMIT, &[]);
        let thread = Thread::attach(&heap);
        let (mine, of_listener) = (OnItsThread(*thread), Arc::new(Mutex::new(Some(heap.clone()))));
        let (theirs, made) = (of_listener.clone(), Arc::new(AtomicUsize::new(0)));
        let count = made.clone();
        heap.listen(Box::new(move |event: &Event| {
            let mine = &mine;
            let Some(heap) = &*theirs.lock().unwrap() else { return };
            if matches!(event, Event::Pause(_)) {
                count.fetch_add(are_refused(calls(heap), "a listener"), Relaxed);
                count.fetch_add(are_refused(calls_of_mutator(mine.0), "a listener"), Relaxed);
                let listen: Box<dyn FnMut()> = Box::new(|| heap.listen(Box::new(|_: &Event| ())));
                count.fetch_add(are_refused(vec![("Heap::listen", listen)], "a listener"), Relaxed);
                // These are not: they wait for nobody who waits for the listener.
                heap.retune(|options| options.set("heap.headroom_percent", "50")).unwrap();
                assert_eq!(heap.tuned().heap_headroom_percent, 50);
                assert!(heap.statistics().collections > 0);
            }
        }));
        thread.collect();
        thread.collect();
        assert_eq!(made.load(Relaxed), 14, "{plan}");
        *of_listener.lock().unwrap() = None;
    }
}

#[test]
fn a_listener_sets_options_beside_a_process_that_forks() {
    let _watchdog = Watchdog::new();
    let heap = heap("MarkSweep", LIMIT, &[]);
    let (of_listener, done) = (Arc::new(Mutex::new(Some(heap.clone()))), AtomicUsize::new(0));
    let theirs = of_listener.clone();
    heap.listen(Box::new(move |event: &Event| {
        let Some(heap) = &*theirs.lock().unwrap() else { return };
        if matches!(event, Event::Pause(_)) {
            (0..20).for_each(|_| heap.retune(|options| options.set("heap.headroom_percent", "50")).unwrap());
        }
    }));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..100).for_each(|_| heap.collect());
            done.store(1, Relaxed);
        });
        let thread = Thread::attach(&heap);
        while done.load(Relaxed) == 0 {
            // SAFETY: it does not say that it has forked.
            let forked = thread.with_mutator(|m| unsafe { m.fork(|| -1) });
            assert_eq!(forked.unwrap(), -1, "the system is said to refuse");
        }
    });
    *of_listener.lock().unwrap() = None;
}

#[test]
fn a_closure_of_fork_only_forks() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans().filter(|plan| *plan != "PageProtect") {
        let heap = heap(plan, LIMIT, &[]);
        let thread = Thread::attach(&heap);
        let forked = thread.with_mutator(|m| {
            let fork = || {
                let place = "a closure of `fork`";
                are_refused(calls(&heap), place);
                are_refused(calls_of_mutator(*thread), place);
                are_refused(vec![("Heap::retune", Box::new(|| heap.retune(|_| Ok(())).unwrap()))], place);
                -1
            };
            // SAFETY: it does not say that it has forked.
            unsafe { m.fork(fork) }
        });
        assert_eq!(forked.unwrap(), -1, "the closure said that the system refused");
        thread.push(thread.alloc_class(SMALL));
        thread.collect();
        // A closure that panics ends the heap, but not the thread that waits for it.
        // SAFETY: it does not say that it has forked.
        panic_of(|| thread.with_mutator(|m| unsafe { m.fork(|| panic!("in the closure")) }));
        assert!(panic_of(|| thread.collect()).contains("this heap cannot be used any more"));
    }
}

#[test]
fn a_function_of_the_vm_that_a_collection_calls_neither_collects_nor_attaches() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = new_heap(CalledVM::default(), options(plan, LIMIT, &[("gc.workers", "1")])).unwrap();
        let (theirs, made) = (heap.clone(), Arc::new(AtomicUsize::new(0)));
        let count = made.clone();
        heap.vm().call(move || {
            let place = "a function called by a collection";
            count.fetch_add(are_refused(calls(&theirs), place), Relaxed);
            // SAFETY: it is refused before anybody looks at it.
            let outside = unsafe { ObjectReference::from_address(Address::from_usize(1 << 20)) }.unwrap();
            let vm_space: Vec<Call<'_>> = vec![
                // SAFETY: it is refused.
                ("Heap::add_vm_object", Box::new(|| _ = unsafe { theirs.add_vm_object(outside) })),
                ("Heap::remove_vm_object", Box::new(|| _ = theirs.remove_vm_object(outside))),
            ];
            are_refused(vm_space, place);
        });
        heap.collect();
        let mutator = heap.attach(ShadowStack::default());
        mutator.collect();
        heap.vm().call_nothing();
        assert!(made.load(Relaxed) >= 4, "{plan}");
        mutator.collect();
    }
}

#[test]
fn a_refused_call_in_a_collection_ends_the_heap_and_hangs_nobody() {
    let _watchdog = Watchdog::new();
    let heap = new_heap(CalledVM::default(), options("Immix", LIMIT, &[("gc.workers", "1")])).unwrap();
    let theirs = heap.clone();
    heap.vm().call(move || theirs.collect());
    let mutator = heap.attach(ShadowStack::default());
    let text = panic_of(|| mutator.collect());
    assert!(text.starts_with("Heap::collect is refused inside a function called by a collection"), "{text}");
    heap.vm().call_nothing();
    let text = panic_of(|| mutator.collect());
    assert!(text.contains("this heap cannot be used any more"), "{text}");
}

#[test]
fn a_heap_whose_limit_is_reached_in_a_listener_is_not_asked_for_more() {
    // The listener of one heap uses another: that is allowed, also while the other collects and tells a
    // listener of its own.
    let _watchdog = Watchdog::new();
    let (one, other): (ReferenceHeap, ReferenceHeap) = (heap("Immix", LIMIT, &[]), heap("SemiSpace", LIMIT, &[]));
    let used = other.clone();
    one.listen(Box::new(move |event: &Event| {
        if matches!(event, Event::Pause(_)) {
            let thread = Thread::attach(&used);
            thread.push(Ref::NULL);
            (0..100).for_each(|_| thread.set(0, thread.alloc_class(LARGE)));
            thread.pop(1);
        }
    }));
    let heard = Arc::new(AtomicUsize::new(0));
    let (count, outer) = (heard.clone(), one.clone());
    other.listen(Box::new(move |event: &Event| {
        if matches!(event, Event::Pause(_)) {
            // Two heaps deep, the outer one still waits for its listener.
            let text = catch_unwind(AssertUnwindSafe(|| outer.collect())).unwrap_err();
            assert!(plan_tests::text_of(text).starts_with("Heap::collect is refused inside a listener"));
            count.fetch_add(1, Relaxed);
        }
    }));
    one.collect();
    assert!(heard.load(Relaxed) > 0);
}
