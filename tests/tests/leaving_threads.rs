//! Threads that come and go: other threads use the memory that they left, and what their barriers noted is
//! not lost.

use mmtk_core::{Heap, Semantics};
use plan_tests::{TestVM as _, Watchdog, collecting_plans, dense_plans, options};
use policies::{PLANS, new_heap};
use reference::{Class, Ref, ReferenceVM, Thread, ThreadHandle};
use std::sync::Barrier;

const MIB: usize = 1 << 20;
const LIMIT: usize = 512 * MIB;
/// A header, a reference, and what makes 216 bytes.
const LEFT: Class = Class { refs: 1, bytes: 200 };
/// An object that does not fit every hole of Immix.
const MEDIUM: Class = Class { refs: 1, bytes: 2000 };

fn plain_heap(plan: &str, settings: &[(&str, &str)]) -> Heap<ReferenceVM> {
    let mut all = vec![("gc.workers", "1"), ("heap.mode", "fixed")];
    all.extend(settings);
    new_heap(ReferenceVM::new(), options(plan, LIMIT, &all)).unwrap()
}

fn alloc(m: ThreadHandle<ReferenceVM>, class: Class, semantics: Semantics) -> Ref {
    m.try_alloc(class, semantics).unwrap()
}

/// A table that never moves, as a root. Threads that have no root yet put objects there.
fn table(m: ThreadHandle<ReferenceVM>, length: usize) -> Ref {
    let table = alloc(m, Class { refs: length, bytes: 0 }, Semantics::NonMoving);
    m.push(table);
    table
}

/// Runs `f` on a thread of its own that is attached meanwhile. The calling thread is attached, too.
fn on_a_thread(
    heap: &Heap<ReferenceVM>,
    m: ThreadHandle<ReferenceVM>,
    f: impl FnOnce(ThreadHandle<ReferenceVM>) + Send,
) {
    m.mutator().native(|| {
        std::thread::scope(|scope| {
            let run = || {
                let thread = Thread::attach(heap);
                f(thread.handle());
            };
            if let Err(panic) = scope.spawn(run).join() {
                std::panic::resume_unwind(panic);
            }
        });
    });
}

/// So many threads are attached at the same time, and each runs `f` with its number.
fn on_threads_at_once(
    heap: &Heap<ReferenceVM>,
    m: ThreadHandle<ReferenceVM>,
    threads: usize,
    f: impl Fn(ThreadHandle<ReferenceVM>, usize) + Sync,
) {
    let barrier = Barrier::new(threads);
    m.mutator().native(|| {
        std::thread::scope(|scope| {
            for n in 0..threads {
                let (f, barrier) = (&f, &barrier);
                scope.spawn(move || {
                    let thread = Thread::attach(heap);
                    f(thread.handle(), n);
                    thread.handle().mutator().native(|| barrier.wait());
                });
            }
        });
    });
}

fn reserved(heap: &Heap<ReferenceVM>) -> usize {
    heap.statistics().reserved_bytes
}

#[test]
fn thousands_of_short_threads_reserve_no_more_than_what_they_leave() {
    let _watchdog = Watchdog::new();
    const THREADS: usize = 3000;
    for plan in dense_plans().chain(["NoGC"]) {
        for kept in [false, true] {
            let heap = plain_heap(plan, &[]);
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let table = table(m, THREADS);
            for n in 0..THREADS {
                on_a_thread(&heap, m, |m| {
                    let object = alloc(m, LEFT, Semantics::Default);
                    m.write_word(object, 1, n as u64);
                    if kept {
                        m.write_ref(table, n, object);
                    }
                });
            }
            assert!(reserved(&heap) <= 4 * MIB, "{plan}, kept {kept}: {} bytes before a collection", reserved(&heap));
            if plan == "NoGC" {
                continue;
            }
            m.mutator().collect();
            assert!(reserved(&heap) <= 4 * MIB, "{plan}, kept {kept}: {} bytes after a collection", reserved(&heap));
            for n in 0..if kept { THREADS } else { 0 } {
                assert_eq!(m.read_word(m.read_ref(table, n), 1), n as u64, "{plan}");
            }
        }
    }
}

#[test]
fn what_threads_leave_serves_objects_of_every_kind() {
    let _watchdog = Watchdog::new();
    const THREADS: usize = 300;
    let kinds = [
        (LEFT, Semantics::Default),
        (MEDIUM, Semantics::Default),
        (LEFT, Semantics::NonMoving),
        (MEDIUM, Semantics::NonMoving),
        (LEFT, Semantics::Immortal),
    ];
    for plan in dense_plans() {
        let heap = plain_heap(plan, &[]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        for _ in 0..THREADS {
            on_a_thread(&heap, m, |m| kinds.iter().for_each(|(class, semantics)| _ = alloc(m, *class, *semantics)));
        }
        // 1.4 MB of objects, twice what is reserved for it in a plan that copies, and what is lost between
        // them.
        assert!(reserved(&heap) <= 5 * MIB, "{plan}: {} bytes", reserved(&heap));
    }
}

#[test]
fn threads_that_come_in_waves_take_what_the_wave_before_left() {
    let _watchdog = Watchdog::new();
    for plan in dense_plans().chain(["NoGC"]) {
        let heap = plain_heap(plan, &[]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let wave = || on_threads_at_once(&heap, m, 16, |m, _| _ = alloc(m, LEFT, Semantics::Default));
        wave();
        let first = reserved(&heap);
        (0..40).for_each(|_| wave());
        assert_eq!(reserved(&heap), first, "{plan}: 140 KB fit what 16 threads were given");
    }
}

#[test]
fn a_thread_that_stays_goes_on_in_what_others_left() {
    let _watchdog = Watchdog::new();
    for plan in dense_plans().chain(["NoGC"]) {
        let heap = plain_heap(plan, &[]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        alloc(m, LEFT, Semantics::Default);
        on_threads_at_once(&heap, m, 32, |m, _| _ = alloc(m, LEFT, Semantics::Default));
        let before = reserved(&heap);
        // Nine tenths of a megabyte.
        (0..4000).for_each(|_| _ = alloc(m, LEFT, Semantics::Default));
        assert_eq!(reserved(&heap), before, "{plan}");
    }
}

#[test]
fn objects_in_memory_that_another_thread_left_survive_collections_of_every_kind() {
    let _watchdog = Watchdog::new();
    const THREADS: usize = 200;
    for plan in collecting_plans() {
        for nursery in ["0", "32K"] {
            let settings =
                [("verify.trace", "true"), ("verify.poison", "true"), ("gc.workers", "2"), ("nursery.bytes", nursery)];
            let heap = plain_heap(plan, &settings);
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let table = table(m, THREADS * 3);
            // Old, so that the barriers of threads that leave note what they store into it.
            m.mutator().collect();
            for n in 0..THREADS {
                on_a_thread(&heap, m, |m| {
                    for (i, semantics) in
                        [Semantics::Default, Semantics::NonMoving, Semantics::Default].iter().enumerate()
                    {
                        let class = if i == 2 { MEDIUM } else { LEFT };
                        let object = alloc(m, class, *semantics);
                        m.write_word(object, 1, (3 * n + i) as u64);
                        m.write_ref(table, 3 * n + i, object);
                        alloc(m, class, *semantics);
                    }
                    if n % 50 == 49 {
                        m.mutator().collect();
                    }
                });
            }
            for n in 0..THREADS * 3 {
                assert_eq!(m.read_word(m.read_ref(table, n), 1), n as u64, "{plan}, nursery {nursery}");
            }
        }
    }
}

#[test]
fn threads_that_leave_and_threads_that_collect_do_so_at_the_same_time() {
    let _watchdog = Watchdog::new();
    for plan in PLANS.iter().map(|plan| plan.name).filter(|name| *name != "PageProtect") {
        let settings = [("verify.trace", "true"), ("stress.every_bytes", "64K"), ("gc.workers", "2")];
        let heap = plain_heap(plan, &settings);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..40 {
                        let thread = Thread::attach(&heap);
                        let m = thread.handle();
                        m.push(Ref::NULL);
                        for i in 0..8 + n {
                            let node = alloc(m, if i % 7 == 0 { MEDIUM } else { LEFT }, Semantics::Default);
                            m.write_word(node, 1, i);
                            m.write_ref(node, 0, m.get(0));
                            m.set(0, node);
                        }
                        let mut node = m.get(0);
                        for i in (0..8 + n).rev() {
                            assert_eq!(m.read_word(node, 1), i, "{plan}");
                            node = m.read_ref(node, 0);
                        }
                    }
                });
            }
        });
    }
}

#[test]
fn where_addresses_tell_the_order_of_allocation_they_do_so_in_what_others_left() {
    let _watchdog = Watchdog::new();
    let heap = plain_heap("MarkCompact", &[]);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let mut last = alloc(m, LEFT, Semantics::Default).0;
    for _ in 0..20 {
        on_threads_at_once(&heap, m, 8, |m, _| _ = alloc(m, LEFT, Semantics::Default));
        for _ in 0..300 {
            let next = alloc(m, LEFT, Semantics::Default).0;
            assert!(next > last, "{next:#x} after {last:#x}");
            last = next;
        }
    }
    assert!(reserved(&heap) <= 3 * MIB, "1.3 MB were allocated: {} bytes", reserved(&heap));
}
