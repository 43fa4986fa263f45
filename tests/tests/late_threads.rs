//! Threads that do not stop: what waits for them says so, and which they are. No test waits for longer than
//! it takes to hear of it.

use mmtk_core::Heap;
use mmtk_core::events::{Event, LateThread, Listener, Wait};
use plan_tests::{CalledVM, TestVM as _, Watchdog, is_child, options, pass_again};
use policies::new_heap;
use reference::{ReferenceHeap, ReferenceVM, Thread, ThreadHandle};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Mutex};

const LIMIT: usize = 8 << 20;
const SETTINGS: [(&str, &str); 3] = [("gc.workers", "1"), ("safepoint.warn_ms", "1"), ("warnings", "never")];

/// What is waited for, for how many ns so far, and the threads that have not stopped.
type Report = (Wait, u64, Vec<LateThread>);

/// What was heard of waits.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Report>>>);

impl Heard {
    fn listener(&self) -> Box<dyn Listener> {
        let heard = self.clone();
        Box::new(move |event: &Event| {
            if let Event::Waiting { wait, waited_ns, threads, .. } = event {
                heard.0.lock().unwrap().push((*wait, *waited_ns, threads.clone()));
            }
        })
    }
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
    fn wait_for(&self, reports: usize) {
        while self.count() < reports {
            std::thread::yield_now();
        }
    }
    fn all(&self) -> Vec<Report> {
        self.0.lock().unwrap().clone()
    }
}

fn heap(settings: &[(&str, &str)]) -> (ReferenceHeap, Heard) {
    let heap = new_heap(ReferenceVM::new(), options("Immix", LIMIT, settings)).unwrap();
    let heard = Heard::default();
    heap.listen(heard.listener());
    (heap, heard)
}

fn spawn<'s, R: Send + 's>(
    scope: &'s std::thread::Scope<'s, '_>,
    name: &str,
    f: impl FnOnce() -> R + Send + 's,
) -> std::thread::ScopedJoinHandle<'s, R> {
    std::thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, f).unwrap()
}

/// A mutator that somebody else drops.
struct Forgotten(ThreadHandle);
// SAFETY: its thread has ended.
unsafe impl Send for Forgotten {}

#[test]
fn a_mutator_that_a_thread_forgot_to_drop_is_reported_again_and_again() {
    let _watchdog = Watchdog::new();
    let (heap, heard) = heap(&SETTINGS);
    std::thread::scope(|scope| {
        let forgotten = spawn(scope, "forgetful", || Forgotten(Thread::attach(&heap).into_handle())).join().unwrap();
        scope.spawn(|| heap.collect());
        // The system may know a thread for a moment longer than those that wait for its end.
        while heard.count() < 4 || !heard.all().iter().any(|(_, _, threads)| threads[0].ended) {
            std::thread::yield_now();
        }
        // SAFETY: the thread has ended, and nobody else has the handle.
        drop(unsafe { Thread::from_handle(forgotten.0) });
    });
    let all = heard.all();
    for (wait, _, threads) in &all {
        assert_eq!((*wait, threads.len()), (Wait::Mutators, 1));
        assert_eq!(threads[0].name.as_deref(), Some("forgetful"));
        let text = threads[0].to_string();
        assert_eq!(text.contains("has ended without dropping its mutator"), threads[0].ended, "{text}");
    }
    assert!(all.windows(2).all(|pair| pair[0].1 < pair[1].1), "{all:?}");
    assert_eq!(heap.statistics().collections, 1, "and then the collection goes on");
}

/// One mutator runs until it was reported, another is in a native region.
fn collect_beside_a_mutator_that_does_not_poll(heap: &ReferenceHeap, heard: &Heard) {
    let (attached, go_on) = (Barrier::new(3), AtomicBool::new(false));
    std::thread::scope(|scope| {
        spawn(scope, "busy", || {
            let thread = Thread::attach(heap);
            attached.wait();
            heard.wait_for(1);
            thread.poll();
        });
        spawn(scope, "native", || {
            let thread = Thread::attach(heap);
            thread.native(|| {
                attached.wait();
                while !go_on.load(Relaxed) {
                    std::thread::yield_now();
                }
            });
        });
        attached.wait();
        heap.collect();
        go_on.store(true, Relaxed);
    });
    let names = |threads: &[LateThread]| threads.iter().filter_map(|thread| thread.name.clone()).collect::<Vec<_>>();
    // On a busy machine the pause itself may take long enough that a stopped thread reports its leader.
    let late: Vec<_> = heard.all().into_iter().filter(|(wait, ..)| *wait != Wait::Leader).collect();
    assert!(!late.is_empty());
    for (wait, _, threads) in late {
        assert_eq!((wait, names(&threads)), (Wait::Mutators, vec!["busy".to_owned()]));
        assert!(!threads[0].ended && threads[0].id > 0);
    }
}

#[test]
fn a_mutator_that_does_not_poll_is_reported_and_one_in_a_native_region_is_not() {
    let _watchdog = Watchdog::new();
    let (heap, heard) = heap(&SETTINGS);
    collect_beside_a_mutator_that_does_not_poll(&heap, &heard);
}

#[test]
fn how_long_a_stop_may_take_can_be_set_while_the_heap_is_in_use() {
    let _watchdog = Watchdog::new();
    let (heap, heard) = heap(&[("safepoint.warn_ms", "0"), ("warnings", "never")]);
    heap.retune(|options| options.set("safepoint.warn_ms", "1")).unwrap();
    collect_beside_a_mutator_that_does_not_poll(&heap, &heard);
}

#[test]
fn the_warning_names_the_threads_and_says_what_a_mutator_has_to_do() {
    let _watchdog = Watchdog::new();
    if is_child() {
        let (heap, heard) = heap(&[("safepoint.warn_ms", "1")]);
        return collect_beside_a_mutator_that_does_not_poll(&heap, &heard);
    }
    let text = pass_again("the_warning_names_the_threads_and_says_what_a_mutator_has_to_do");
    for part in [
        "1 of its 2 mutators to stop",
        "(\"busy\")",
        "Mutator::native",
        "Immix",
        "safepoint.warn_ms=1",
        "MMTK_WARNINGS",
    ] {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[test]
fn a_thread_that_wants_to_collect_says_that_another_leads_for_long() {
    let _watchdog = Watchdog::new();
    let (heard, pauses, inside) = (Heard::default(), Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(2)));
    let (theirs, entered) = (heard.clone(), inside.clone());
    let heap = new_heap(CalledVM::default(), options("Immix", LIMIT, &SETTINGS)).unwrap();
    heap.vm().call(move || {
        if pauses.fetch_add(1, Relaxed) == 0 {
            entered.wait();
            theirs.wait_for(2);
        }
    });
    heap.listen(heard.listener());
    std::thread::scope(|scope| {
        scope.spawn(|| heap.collect());
        inside.wait();
        heap.collect();
    });
    assert!(heard.all().iter().all(|(wait, _, threads)| *wait == Wait::Leader && threads.is_empty()));
}

#[test]
fn a_listener_or_a_logger_that_panics_leaves_the_stop_as_it_is() {
    let _watchdog = Watchdog::new();
    let (heap, heard) = heap(&SETTINGS);
    let panics = Arc::new(AtomicUsize::new(0));
    let count = panics.clone();
    heap.listen(Box::new(move |event: &Event| {
        if matches!(event, Event::Waiting { .. }) {
            count.fetch_add(1, Relaxed);
            panic!("a listener should not");
        }
    }));
    collect_beside_a_mutator_that_does_not_poll(&heap, &heard);
    assert!(panics.load(Relaxed) > 0);
    Thread::attach(&heap).alloc(0, 8);
    heap.collect();
}

/// A heap whose leader, its only worker, stays in code of the VM until that was reported twice.
struct Stuck {
    heap: Heap<CalledVM>,
    heard: Heard,
    /// The leader is there.
    inside: Arc<AtomicBool>,
}

fn stuck(settings: &[(&str, &str)]) -> Stuck {
    let (heard, inside) = (Heard::default(), Arc::new(AtomicBool::new(false)));
    let heap = new_heap(CalledVM::default(), options("Immix", LIMIT, settings)).unwrap();
    let (theirs, entered) = (heard.clone(), inside.clone());
    heap.vm().call(move || {
        entered.store(true, Relaxed);
        theirs.wait_for(2);
    });
    // A mutator that the system does not run for a millisecond is late, too.
    let mut listener = heard.listener();
    heap.listen(Box::new(move |event: &Event| {
        if matches!(event, Event::Waiting { wait: Wait::Leader, .. }) {
            listener.on_event(event);
        }
    }));
    Stuck { heap, heard, inside }
}

impl Stuck {
    fn wait_until_inside(&self) {
        while !self.inside.load(Relaxed) {
            std::thread::yield_now();
        }
    }
    fn check(&self, what: &str) {
        let all = self.heard.all();
        assert!(all.len() >= 2 && all.iter().all(|(_, _, threads)| threads.is_empty()), "{what}: {all:?}");
        assert!(all.windows(2).all(|pair| pair[0].1 < pair[1].1), "{what}: {all:?}");
    }
}

#[test]
fn each_thread_that_a_pause_holds_up_can_say_that_its_leader_does_not_come_back() {
    let _watchdog = Watchdog::new();
    let polls: fn(&Stuck) = |stuck| {
        let thread = Thread::attach(&stuck.heap);
        while stuck.heard.count() < 2 {
            thread.handle().mutator().poll();
        }
    };
    let allocates: fn(&Stuck) = |stuck| {
        let thread = Thread::attach(&stuck.heap);
        while stuck.heard.count() < 2 {
            thread.handle().alloc(0, 2000);
        }
    };
    let attaches: fn(&Stuck) = |stuck| {
        stuck.wait_until_inside();
        drop(Thread::attach(&stuck.heap));
    };
    let comes_back: fn(&Stuck) = |stuck| {
        let thread = Thread::attach(&stuck.heap);
        thread.handle().mutator().native(|| stuck.wait_until_inside());
    };
    let detaches: fn(&Stuck) = |stuck| {
        let thread = Thread::attach(&stuck.heap);
        thread.handle().mutator().native(|| {
            stuck.wait_until_inside();
            drop(thread);
        });
    };
    let ways = [
        ("polls", polls),
        ("allocates", allocates),
        ("attaches", attaches),
        ("comes back", comes_back),
        ("detaches", detaches),
    ];
    for (what, way) in ways {
        let stuck = stuck(&SETTINGS);
        std::thread::scope(|scope| {
            scope.spawn(|| way(&stuck));
            scope.spawn(|| stuck.heap.collect());
        });
        stuck.check(what);
    }
}

/// The only thread there is leads, and the only worker.
#[test]
fn a_leader_that_does_not_come_back_is_reported_where_no_thread_waits_for_it() {
    let _watchdog = Watchdog::new();
    // The timer looks eight times in that delay.
    let stuck = stuck(&[SETTINGS.as_slice(), &[("heap.idle_gc_s", "0.01")]].concat());
    Thread::attach(&stuck.heap).handle().mutator().collect();
    stuck.check("nobody waits");
}

#[test]
fn the_warning_names_the_leader_and_says_what_may_hold_it_up() {
    let _watchdog = Watchdog::new();
    if is_child() {
        let stuck = stuck(&[("gc.workers", "1"), ("safepoint.warn_ms", "1"), ("heap.idle_gc_s", "0.01")]);
        return Thread::attach(&stuck.heap).handle().mutator().collect();
    }
    let text = pass_again("the_warning_names_the_leader_and_says_what_may_hold_it_up");
    for part in [
        "the end of the pause that thread ",
        " leads (processing weak references)",
        "`scan_object`, say, may not have returned",
    ] {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}
