//! A process that has a heap forks: both go on, each with memory, helpers and threads of its own.

use mmtk_core::Heap;
use mmtk_core::events::Event;
use plan_tests::{SideVM, TestVM, Watchdog, collecting_plans, options};
use policies::{PLANS, new_heap};
use reference::{Ref, ReferenceVM, Thread, ThreadHandle};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

const SETTINGS: [(&str, &str); 6] = [
    ("gc.sweep_beside", "always"),
    ("verify.trace", "true"),
    ("verify.poison", "true"),
    ("gc.workers", "2"),
    ("gc.wake_helpers", "always"),
    ("stress.every_bytes", "64K"),
];

/// Seconds until a child that hangs is killed.
const CHILD_SECONDS: u32 = 30;

fn plans_that_fork() -> impl Iterator<Item = &'static str> {
    PLANS.iter().map(|plan| plan.name).filter(|plan| *plan != "PageProtect")
}

/// A list with numbers, as a root.
fn list<VM: TestVM>(m: ThreadHandle<VM>, length: u64) {
    let root = m.push(Ref::NULL);
    for n in 0..length {
        let node = m.alloc(1, 16);
        m.write_word(node, 1, n);
        m.write_ref(node, 0, m.get(root));
        m.set(root, node);
    }
}

fn check<VM: TestVM>(m: ThreadHandle<VM>, length: u64) {
    let mut node = m.peek(0);
    for n in (0..length).rev() {
        assert_eq!(m.read_word(node, 1), n);
        node = m.read_ref(node, 0);
    }
    assert!(node.is_null());
}

fn churn<VM: TestVM>(m: ThreadHandle<VM>, objects: usize) {
    (0..objects).for_each(|_| _ = m.alloc(1, 24));
}

/// Makes garbage until a collection finds it dead, and waits in a native region until it is free.
fn is_swept_meanwhile<VM: TestVM>(heap: &Heap<VM>, m: ThreadHandle<VM>) {
    let before = heap.statistics().collections;
    while heap.statistics().collections == before {
        churn(m, 100);
    }
    m.with_mutator(|mutator| {
        mutator.native(|| {
            while heap.statistics().reserved_bytes > 1 << 20 {
                std::thread::yield_now();
            }
        });
    });
}

#[test]
fn the_thread_that_sweeps_beside_mutators_is_there_again_in_both() {
    let _watchdog = Watchdog::new();
    let settings = [("gc.sweep_beside", "always"), ("stress.every_bytes", "4M")];
    let heap = new_heap(ReferenceVM::new(), options("Immix", 64 << 20, &settings)).unwrap();
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    is_swept_meanwhile(&heap, m);
    assert!(fork(m, || is_swept_meanwhile(&heap, m)));
    is_swept_meanwhile(&heap, m);
}

/// Forks; `child` runs in the child, which ends with it. Whether it ended well.
fn fork<VM: TestVM>(m: ThreadHandle<VM>, child: impl FnOnce()) -> bool {
    // SAFETY: it forks, when the heap has come to rest; and the child does nothing but what it was made for.
    let pid = unsafe { m.mutator().fork(|| libc::fork()) }.unwrap();
    assert!(pid >= 0, "the system refuses to fork");
    if pid == 0 {
        // SAFETY: plain calls; `_exit` leaves everything as it is, since it is the parent's, too.
        unsafe { libc::alarm(CHILD_SECONDS) };
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
        // SAFETY: as above.
        unsafe { libc::_exit(if ended.is_ok() { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: the child is ours, and the status has a place.
    let waited = m.mutator().native(|| unsafe { libc::waitpid(pid, &mut status, 0) });
    assert_eq!(waited, pid);
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

/// What a child does: its own objects are there, collections have helpers, and new threads can attach.
fn lives_on<VM: TestVM>(heap: &Heap<VM>, m: ThreadHandle<VM>, collects: bool) {
    check(m, 500);
    churn(m, 2000);
    if collects {
        let helped = Arc::new(AtomicU64::new(0));
        let count = helped.clone();
        heap.listen(Box::new(move |event: &Event| {
            if let Event::Pause(report) = event {
                count.fetch_add(report.worker_cpu_ns[1], Relaxed);
            }
        }));
        // A pause may be over before a new helper comes to it, but not all of them; without helpers the alarm
        // ends this.
        while helped.load(Relaxed) == 0 {
            m.mutator().collect();
        }
        assert!(heap.statistics().live_bytes < 500 * 64, "objects of other threads are gone: {:?}", heap.statistics());
    }
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let thread = Thread::attach(heap);
                list(thread.handle(), 300);
                churn(thread.handle(), 2000);
                check(thread.handle(), 300);
                done.fetch_add(1, Relaxed);
            });
        }
        m.mutator().native(|| {
            while done.load(Relaxed) < 2 {
                std::thread::yield_now();
            }
        });
    });
    check(m, 500);
}

fn until(flag: &AtomicBool) {
    while !flag.load(Relaxed) {
        std::thread::yield_now();
    }
}

/// Tells the other threads to end, also when their test fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Others allocate, or are in native regions, while the process forks again and again.
fn fork_beside_other_threads<VM: TestVM>(plan: &str, forks: usize) {
    let heap: Heap<VM> = new_heap(VM::new(), options(plan, 32 << 20, &SETTINGS)).unwrap();
    let collects = plan != "NoGC";
    let stop = AtomicBool::new(false);
    let ready = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for native in [false, true] {
            let (heap, stop, ready) = (&heap, &stop, &ready);
            scope.spawn(move || {
                let thread = Thread::attach(heap);
                let m = thread.handle();
                list(m, 2000);
                ready.fetch_add(1, Relaxed);
                while !stop.load(Relaxed) {
                    if native {
                        m.mutator().native(std::thread::yield_now);
                    } else if collects {
                        churn(m, 20);
                    }
                    m.poll();
                }
                check(m, 2000);
            });
        }
        let _stop = StopOnDrop(&stop);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        m.mutator().native(|| {
            while ready.load(Relaxed) < 2 {
                std::thread::yield_now();
            }
        });
        list(m, 500);
        for n in 0..forks {
            assert!(fork(m, || lives_on(&heap, m, collects)), "{plan}: child {n} failed");
            check(m, 500);
            churn(m, 200);
        }
        if collects {
            m.mutator().collect();
            assert!(heap.statistics().live_bytes > 2 * 2000 * 32, "{plan}: the parent still has its threads");
        }
    });
}

#[test]
fn parent_and_child_go_on_each_with_a_heap_of_its_own() {
    let _watchdog = Watchdog::new();
    for plan in plans_that_fork() {
        fork_beside_other_threads::<ReferenceVM>(plan, 3);
    }
}

#[test]
fn a_process_forks_where_states_are_in_side_tables() {
    let _watchdog = Watchdog::new();
    for plan in plans_that_fork() {
        fork_beside_other_threads::<SideVM<3>>(plan, 1);
    }
}

#[test]
fn a_child_can_fork_again() {
    let _watchdog = Watchdog::new();
    let heap: Heap<ReferenceVM> = new_heap(ReferenceVM::new(), options("GenImmix", 32 << 20, &SETTINGS)).unwrap();
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    list(m, 500);
    assert!(fork(m, || {
        lives_on(&heap, m, true);
        assert!(fork(m, || lives_on(&heap, m, true)));
        lives_on(&heap, m, true);
    }));
    lives_on(&heap, m, true);
}

/// Another thread made old objects of the forking thread, and an old array, refer to new ones. It is not in
/// the child, but what its barrier noted is.
#[test]
fn what_a_thread_stored_in_old_objects_lives_on_in_a_child_that_does_not_have_the_thread() {
    const OBJECTS: usize = 50;
    // Of an array that is remembered in parts.
    const SLOTS: usize = 20_000;
    let _watchdog = Watchdog::new();
    for plan in PLANS.iter().map(|plan| plan.name).filter(|plan| plan.starts_with("Gen") || plan.starts_with("Sticky"))
    {
        // The first collections of the child are minor ones.
        let settings = [("verify.trace", "true"), ("stress.every_bytes", "256K"), ("stress.full_every", "1000")];
        let heap: Heap<ReferenceVM> = new_heap(ReferenceVM::new(), options(plan, 32 << 20, &settings)).unwrap();
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let old = m.push(m.alloc(OBJECTS, 0));
        for n in 0..OBJECTS {
            let object = m.alloc(1, 0);
            m.write_ref(m.get(old), n, object);
        }
        let array = m.push(m.alloc(SLOTS, 0));
        m.mutator().collect();
        let old_objects: Vec<usize> = (0..OBJECTS).map(|n| m.read_ref(m.get(old), n).0).collect();
        let old_array = m.get(array).0;
        let (stored, stop) = (AtomicBool::new(false), AtomicBool::new(false));
        let (heap, stored, stop, old_objects) = (&heap, &stored, &stop, &old_objects);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let other = Thread::attach(heap);
                for (n, object) in old_objects.iter().enumerate() {
                    let new = other.handle().alloc(0, 8);
                    other.handle().write_word(new, 0, n as u64);
                    other.handle().write_ref(Ref(*object), 0, new);
                    let new = other.handle().alloc(0, 8);
                    other.handle().write_word(new, 0, n as u64);
                    other.handle().write_ref(Ref(old_array), SLOTS / 4 + n, new);
                }
                stored.store(true, Relaxed);
                other.handle().mutator().native(|| until(stop));
            });
            let _stop = StopOnDrop(stop);
            m.mutator().native(|| until(stored));
            let child = || {
                let before = heap.statistics();
                while heap.statistics().collections < before.collections + 2 {
                    churn(m, 1000);
                }
                assert_eq!(heap.statistics().full_collections, before.full_collections, "{plan}: minor ones");
                for n in 0..OBJECTS {
                    let new = m.read_ref(m.read_ref(m.get(old), n), 0);
                    assert_eq!(m.read_word(new, 0), n as u64, "{plan}");
                    let new = m.read_ref(m.get(array), SLOTS / 4 + n);
                    assert_eq!(m.read_word(new, 0), n as u64, "{plan}, in the array");
                }
            };
            assert!(fork(m, child), "{plan}");
        });
    }
}

#[test]
fn listeners_stay_with_the_parent() {
    let _watchdog = Watchdog::new();
    let heap: Heap<ReferenceVM> = new_heap(ReferenceVM::new(), options("Immix", 32 << 20, &SETTINGS)).unwrap();
    let heard = Arc::new(AtomicUsize::new(0));
    let count = heard.clone();
    heap.listen(Box::new(move |event: &Event| {
        if let Event::Pause(_) = event {
            count.fetch_add(1, Relaxed);
        }
    }));
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    m.mutator().collect();
    let before = heard.load(Relaxed);
    assert!(fork(m, || {
        m.mutator().collect();
        assert_eq!(heard.load(Relaxed), before, "the child has no listeners");
    }));
    m.mutator().collect();
    assert_eq!(heard.load(Relaxed), before + 1);
}

#[test]
fn a_plan_whose_pages_both_processes_would_share_refuses() {
    let _watchdog = Watchdog::new();
    assert!(collecting_plans().any(|plan| plan == "PageProtect"));
    let heap: Heap<ReferenceVM> = new_heap(ReferenceVM::new(), options("PageProtect", 32 << 20, &[])).unwrap();
    let thread = Thread::attach(&heap);
    // SAFETY: it is not called.
    let refused = unsafe { thread.handle().mutator().fork(|| unreachable!("it must not be called")) }.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "PageProtect cannot fork: parent and child would share the memory of their objects"
    );
}

/// A fork that fails is the parent's alone.
#[test]
fn a_fork_that_fails_changes_nothing() {
    let _watchdog = Watchdog::new();
    let heap: Heap<ReferenceVM> = new_heap(ReferenceVM::new(), options("Immix", 32 << 20, &SETTINGS)).unwrap();
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    list(m, 500);
    // SAFETY: it does not say that it has forked.
    assert_eq!(unsafe { m.mutator().fork(|| -1) }.unwrap(), -1);
    lives_on(&heap, m, true);
}

#[test]
fn a_heap_forks_while_its_timer_collects_it() {
    let _watchdog = Watchdog::new();
    for plan in ["Immix", "GenCopy", "MarkSweep"] {
        let settings = [("heap.idle_gc_s", "0.000001"), ("gc.workers", "2")];
        let heap = new_heap(ReferenceVM::new(), options(plan, 16 << 20, &settings)).unwrap();
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        list(m, 500);
        for _ in 0..10 {
            churn(m, 20_000);
            let child = || {
                check(m, 500);
                let before = heap.statistics().collections;
                churn(m, 20_000);
                // The child has a timer of its own.
                m.mutator().native(|| while heap.statistics().collections == before {});
                check(m, 500);
            };
            assert!(fork(m, child), "{plan}");
            check(m, 500);
        }
    }
}

#[test]
fn a_child_goes_on_in_what_the_threads_that_are_gone_had_not_used() {
    let _watchdog = Watchdog::new();
    for plan in plans_that_fork() {
        let heap: Heap<ReferenceVM> = new_heap(ReferenceVM::new(), options(plan, 64 << 20, &[])).unwrap();
        let ready = AtomicUsize::new(0);
        let gate = Mutex::new(());
        // First, for MarkCompact: a thread goes on upwards alone.
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        churn(m, 1);
        std::thread::scope(|scope| {
            let held = gate.lock().unwrap();
            for _ in 0..32 {
                scope.spawn(|| {
                    let thread = Thread::attach(&heap);
                    churn(thread.handle(), 1);
                    ready.fetch_add(1, Relaxed);
                    thread.handle().mutator().native(|| drop(gate.lock()));
                });
            }
            m.mutator().native(|| {
                while ready.load(Relaxed) < 32 {
                    std::thread::yield_now();
                }
            });
            let child = || {
                let before = heap.statistics().reserved_bytes;
                // Nine tenths of what 32 blocks hold.
                churn(m, 23_000);
                assert_eq!(heap.statistics().reserved_bytes, before, "{plan}");
            };
            let went_on = fork(m, child);
            drop(held);
            // The others end, which no pause keeps them from.
            assert!(went_on, "{plan}");
        });
    }
}

#[test]
fn a_thread_of_a_child_that_does_not_stop_is_reported_by_the_number_it_has_there() {
    let _watchdog = Watchdog::new();
    let settings = [("safepoint.warn_ms", "1"), ("warnings", "never"), ("gc.workers", "1")];
    let heap: Heap<ReferenceVM> = new_heap(ReferenceVM::new(), options("Immix", 16 << 20, &settings)).unwrap();
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let child = || {
        let late = Arc::new(Mutex::new(Vec::new()));
        let heard = late.clone();
        heap.listen(Box::new(move |event: &Event| {
            if let Event::Waiting { threads, .. } = event {
                heard.lock().unwrap().extend(threads.clone());
            }
        }));
        std::thread::scope(|scope| {
            scope.spawn(|| heap.collect());
            while late.lock().unwrap().is_empty() {
                std::thread::yield_now();
            }
            m.poll();
        });
        let late = &late.lock().unwrap()[0];
        // SAFETY: a plain call.
        assert_eq!((late.id as i32, late.ended), (unsafe { libc::gettid() }, false));
    };
    assert!(fork(m, child));
}
