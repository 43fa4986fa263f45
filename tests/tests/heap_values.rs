//! Heaps are values: they come and go, and several live side by side.
//!
//! These tests read the memory of the whole process, so they run one after the other.

use mmtk_core::Semantics;
use mmtk_core::events::{Event, Listener};
use mmtk_core::os::{HUGE_PAGE_BYTES, Mapping, huge_pages_allowed, zero};
use plan_tests::matrix::{EVERY_BYTES, run};
use plan_tests::{SideVM, TestVM, Watchdog, assert_within_limit, collecting_plans, marks_beside, options};
use policies::{PLANS, new_heap};
use reference::{Class, Ref, ReferenceHeap, ReferenceVM, Thread, ThreadHandle};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number of `/proc/self/status`, in its own unit.
fn status(key: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// GC workers of this process, known by their name; the test harness has threads of its own that come and go.
fn gc_workers() -> usize {
    let names = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    names
        .filter(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("gc-")))
        .count()
}

/// Returns when no heap has workers. The system lists a thread for a moment after it was joined; those that
/// stay, the watchdog reports.
fn wait_for_no_workers() {
    while gc_workers() > 0 {
        std::thread::yield_now();
    }
}

fn resident_bytes() -> usize {
    status("VmRSS:") << 10
}

fn heap(plan: &str, limit: usize, settings: &[(&str, &str)]) -> ReferenceHeap {
    new_heap(ReferenceVM::new(), options(plan, limit, settings)).unwrap()
}

/// Fills a heap by half, mostly with garbage, on a thread of its own.
fn use_up(heap: &ReferenceHeap) {
    let thread = Thread::attach(heap);
    thread.push(Ref::NULL);
    for n in 0..20_000 {
        let object = thread.alloc(1, 200);
        if n % 4 == 0 {
            thread.write_ref(object, 0, thread.get(0));
            thread.set(0, object);
        }
    }
    thread.push(thread.alloc(0, 1 << 20));
}

#[test]
fn a_hundred_heaps_leave_nothing_behind() {
    let (_alone, _watchdog) = (alone(), Watchdog::new());
    let round = |n: usize| {
        let plan = PLANS[n % PLANS.len()].name;
        let heap = heap(plan, 16 << 20, &[("gc.workers", "2"), ("gc.wake_helpers", "always")]);
        use_up(&heap);
        heap.collect();
        assert_within_limit(&heap);
    };
    // Another arena of the C library's allocator, for a thread that finds the others taken, would be 64 MiB
    // of address space.
    // SAFETY: changes how many there may be from now on.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    // The first ones warm up what the process keeps: its allocator, code that was never touched.
    (0..PLANS.len()).for_each(round);
    let (resident, size) = (resident_bytes(), status("VmSize:"));
    (0..100).for_each(round);
    assert!(resident_bytes() < resident + (4 << 20), "resident: {resident} before, {} after", resident_bytes());
    assert!(status("VmSize:") < size + (64 << 10), "address space: {size} KiB before, {} after", status("VmSize:"));
    wait_for_no_workers();
}

#[test]
fn an_empty_heap_costs_next_to_nothing() {
    let (_alone, _watchdog) = (alone(), Watchdog::new());
    wait_for_no_workers();
    for plan in PLANS {
        drop(heap(plan.name, 1 << 30, &[("gc.workers", "4")]));
        let resident = resident_bytes();
        let heaps: Vec<_> = (0..20).map(|_| heap(plan.name, 1 << 30, &[("gc.workers", "4")])).collect();
        let each = resident_bytes().saturating_sub(resident) / heaps.len();
        assert!(each < 1 << 20, "an empty heap with {} has {each} bytes resident", plan.name);
        assert_eq!(gc_workers(), 0, "an empty heap has no threads");
        for heap in &heaps {
            let statistics = heap.statistics();
            assert_eq!((statistics.reserved_bytes, statistics.resident_bytes), (0, 0), "{}", plan.name);
        }
    }
}

#[test]
fn a_heap_outlives_its_handle_while_a_thread_is_attached() {
    let (_alone, _watchdog) = (alone(), Watchdog::new());
    for plan in PLANS {
        let (events, heard) = (Arc::new(Mutex::new(Vec::new())), |event: &Event| match event {
            Event::HeapCreated { .. } => "created",
            Event::HeapDropped => "dropped",
            _ => "other",
        });
        let heap = heap(plan.name, 16 << 20, &[]);
        let listener: Box<dyn Listener> = {
            let events = events.clone();
            Box::new(move |event: &Event| events.lock().unwrap().push(heard(event)))
        };
        heap.listen(listener);
        let thread = Thread::attach(&heap);
        drop(heap);
        let object = thread.alloc(1, 8);
        thread.push(object);
        thread.write_word(thread.peek(0), 1, 7);
        thread.collect();
        assert_eq!(thread.read_word(thread.peek(0), 1), 7);
        assert!(!events.lock().unwrap().contains(&"dropped"));
        drop(thread);
        let events = events.lock().unwrap();
        assert_eq!((events.first(), events.last()), (Some(&"created"), Some(&"dropped")));
    }
}

#[test]
fn two_heaps_with_different_plans_serve_the_same_threads() {
    let (_alone, _watchdog) = (alone(), Watchdog::new());
    for one in collecting_plans() {
        for other in collecting_plans().filter(|other| *other != one) {
            let settings = [("stress.every_bytes", "16K"), ("verify.trace", "true"), ("gc.workers", "2")];
            let heaps = [heap(one, 8 << 20, &settings), heap(other, 8 << 20, &settings)];
            std::thread::scope(|scope| {
                for id in 0..2u64 {
                    let heaps = &heaps;
                    scope.spawn(move || two_graphs(heaps, id));
                }
            });
            for heap in &heaps {
                // One that is marked beside mutators begins at one such time, and ends at the next.
                let least = if marks_beside(heap.options().plan.as_str()) { 1 } else { 2 };
                assert!(heap.statistics().collections > least);
                heap.collect();
                assert_eq!(heap.statistics().live_bytes, 0);
                assert_within_limit(heap);
            }
        }
    }
}

/// Grows a list in each heap by turns. While a thread works in one heap, it is in a native region of the
/// other: else two threads that collect in different heaps would wait for each other.
fn two_graphs(heaps: &[ReferenceHeap; 2], id: u64) {
    let threads = [Thread::attach(&heaps[0]), Thread::attach(&heaps[1])];
    threads.iter().for_each(|thread| assert_eq!(thread.push(Ref::NULL), 0));
    for round in 0..40 {
        for (own, other) in [(0, 1), (1, 0)] {
            let (own, other) = (&threads[own], &threads[other]);
            other.native(|| {
                for n in 0..20 {
                    let object = own.alloc(1, 40);
                    own.write_word(object, 1, id << 32 | (round * 20 + n));
                    own.write_ref(object, 0, own.get(0));
                    own.set(0, object);
                }
            });
        }
    }
    for (own, other) in [(0, 1), (1, 0)] {
        let own = &threads[own];
        threads[other].native(|| {
            let mut next = own.get(0);
            for n in (0..800).rev() {
                assert_eq!(own.read_word(next, 1), id << 32 | n);
                next = own.read_ref(next, 0);
                assert!(n > 0 || next.is_null());
                // The poll may move it.
                own.set(0, next);
                own.poll();
                next = own.get(0);
            }
        });
    }
    // One leaves while the other is native too.
    let [one, other] = threads;
    other.native(|| drop(one));
}

#[test]
fn many_heaps_work_at_once() {
    let (_alone, _watchdog) = (alone(), Watchdog::new());
    let workload = workloads::find("binary-trees").unwrap();
    let sums: Vec<u64> = std::thread::scope(|scope| {
        let start = |n: usize| {
            scope.spawn(move || {
                let plan = PLANS[n % PLANS.len()].name;
                let mut settings = EVERY_BYTES.settings.to_vec();
                settings.push(("gc.workers", "2"));
                let heap = heap(plan, 64 << 20, &settings);
                let sum = run(workload, &heap, 1).unwrap();
                assert_within_limit(&heap);
                sum
            })
        };
        let threads: Vec<_> = (0..8).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(sums.windows(2).all(|pair| pair[0] == pair[1]), "{sums:?}");
}

#[test]
fn freed_memory_goes_back_to_the_system_when_asked() {
    let (_alone, _watchdog) = (alone(), Watchdog::new());
    for plan in collecting_plans() {
        let heap = heap(plan, 64 << 20, &[("heap.return_memory", "always"), ("gc.workers", "1")]);
        use_up(&heap);
        let full = (resident_bytes(), heap.statistics().resident_bytes);
        heap.collect();
        let empty = (resident_bytes(), heap.statistics().resident_bytes);
        // PageProtect remembers the dead, in up to a quarter of what is free.
        let kept = if plan == "PageProtect" { 16 << 20 } else { 1 << 20 };
        assert!(empty.1 < kept, "{plan}: {empty:?} after {full:?}");
        assert!(empty.0 + full.1 / 2 < full.0, "{plan}: the system got nothing back: {empty:?} after {full:?}");
    }
}

/// Chains `count` objects of `bytes` bytes, or as many as there is room for, and writes all of them. How many
/// there were.
fn chain<VM: TestVM>(m: ThreadHandle<VM>, count: usize, bytes: usize, semantics: Semantics) -> usize {
    m.push(Ref::NULL);
    for n in 0..count {
        let Ok(object) = m.try_alloc(Class { refs: 1, bytes: bytes - 16 }, semantics) else { return n };
        (1..bytes / 8 - 1).step_by(500).for_each(|word| m.write_word(object, word, n as u64));
        m.write_ref(object, 0, m.get(0));
        m.set(0, object);
    }
    count
}

#[test]
fn side_tables_of_pages_are_reserved_with_the_pages() {
    const RUN: usize = 32 << 10;
    const MIB: usize = 1 << 20;
    fn reserved<VM: TestVM>(plan: &str, count: usize, bytes: usize, semantics: Semantics) -> usize {
        let heap = new_heap(VM::new(), options(plan, 64 * MIB, &[("gc.workers", "1")])).unwrap();
        let thread = Thread::attach(&heap);
        assert_eq!(chain(thread.handle(), count, bytes, semantics), count);
        heap.statistics().reserved_bytes
    }
    let (_alone, _watchdog) = (alone(), Watchdog::new());
    for plan in PLANS.iter().map(|plan| plan.name) {
        // A state byte a granule, but not if the state is in the header; a byte a page; where the plan
        // updates slots after the trace, a bit a granule. In whole pages.
        let immortal = Semantics::Immortal;
        let with_tables = |states: usize, granule: usize| {
            let starts = if plan == "MarkCompact" { RUN / granule / 8 } else { 0 };
            100 * RUN + (100 * (states + starts + RUN / 4096)).next_multiple_of(4096)
        };
        assert_eq!(reserved::<ReferenceVM>(plan, 100, RUN, immortal), with_tables(0, 8), "{plan}");
        assert_eq!(reserved::<SideVM<3>>(plan, 100, RUN, immortal), with_tables(RUN / 8, 8), "{plan}");
        assert_eq!(reserved::<SideVM<4>>(plan, 100, RUN, immortal), with_tables(RUN / 16, 16), "{plan}");
    }
    for plan in collecting_plans() {
        // A mark byte a page, and a word where arrays are remembered or claimed in parts, in whole pages.
        // PageProtect notes 48 bytes for each page.
        let large = Semantics::Default;
        let in_parts = PLANS.iter().any(|p| p.name == plan && (p.needs.old_to_new || p.needs.snapshot));
        let tables = [MIB, 40 * MIB].map(|bytes| match plan {
            "PageProtect" => bytes / 4096 * 48,
            _ => (bytes / 4096 * if in_parts { 1 + 4 } else { 1 }).next_multiple_of(4096),
        });
        assert_eq!(reserved::<ReferenceVM>(plan, 1, MIB, large), MIB + tables[0], "{plan}");
        assert_eq!(reserved::<ReferenceVM>(plan, 40, MIB, large), 40 * MIB + tables[1], "{plan}");
    }
}

/// Side tables were charged for what lies in blocks, but not for immortal objects: a heap full of them took
/// an eighth more than its limit.
#[test]
fn a_heap_full_of_immortal_objects_takes_no_more_memory_than_its_limit() {
    const LIMIT: usize = 32 << 20;
    let (_alone, _watchdog) = (alone(), Watchdog::new());
    let taken_by = |plan| {
        let heap = new_heap(SideVM::<3>::new(), options(plan, LIMIT, &[("gc.workers", "1")])).unwrap();
        let resident = resident_bytes();
        let thread = Thread::attach(&heap);
        let objects = chain(thread.handle(), usize::MAX, 8 << 10, Semantics::Immortal);
        thread.handle().mutator().collect();
        assert!(objects * (8 << 10) > LIMIT / 4 * 3, "only {objects} objects on {plan}");
        assert_within_limit(&heap);
        resident_bytes() - resident
    };
    for plan in PLANS.iter().map(|plan| plan.name) {
        // The first time, pages of the program itself become resident that had not run yet.
        taken_by(plan);
        let taken = taken_by(plan);
        assert!(taken < LIMIT + (1 << 20), "{plan}: {taken} bytes are resident, {LIMIT} is the limit");
    }
}

/// Whether the system joins small pages to huge ones when it is asked to.
fn joins_pages() -> bool {
    let mapping = Mapping::reserve(HUGE_PAGE_BYTES, HUGE_PAGE_BYTES).unwrap();
    mapping.commit(mapping.start(), HUGE_PAGE_BYTES, None).unwrap();
    // SAFETY: committed above, and nobody else has it.
    unsafe { zero(mapping.start(), HUGE_PAGE_BYTES) };
    huge_pages_allowed() && mapping.join_pages(mapping.start()).is_ok()
}

#[test]
fn a_program_that_has_run_for_a_while_has_its_pages_joined_to_huge_ones() {
    let (_alone, _watchdog) = (alone(), Watchdog::new());
    // It may refuse now and then.
    let possible = (0..10).any(|_| joins_pages());
    for (pages, idle, joins) in
        [("auto", "120", true), ("auto", "0", true), ("never", "120", false), ("always", "120", false)]
    {
        let settings = [("os.huge_pages", pages), ("heap.idle_gc_s", idle)];
        let heap = heap("Immix", 32 << 20, &settings);
        for _ in 0..if joins { usize::MAX } else { 4 } {
            use_up(&heap);
            heap.collect();
            if !possible || heap.statistics().joined_bytes > 0 {
                break;
            }
        }
        let now = heap.statistics();
        assert_eq!(now.joined_bytes > 0, joins && possible, "{pages}");
        assert!(now.joined_bytes <= now.resident_bytes);
        assert_within_limit(&heap);
    }
}

/// Joining would double what parent and child share. The other heap, which is used alike, shows when the
/// program has earned it.
#[test]
fn a_heap_whose_process_has_forked_has_no_pages_joined() {
    let (_alone, _watchdog) = (alone(), Watchdog::new());
    if !(0..10).any(|_| joins_pages()) {
        return;
    }
    let [forked, other] = [(); 2].map(|()| heap("Immix", 32 << 20, &[("heap.idle_gc_s", "0")]));
    // SAFETY: no process is made, so none shares the heap: this one goes on as a parent does.
    let child = unsafe { Thread::attach(&forked).handle().mutator().fork(|| 1) };
    assert_eq!(child.unwrap(), 1);
    let use_both = || {
        for heap in [&forked, &other] {
            use_up(heap);
            heap.collect();
            assert_eq!(forked.statistics().joined_bytes, 0);
        }
    };
    let mut rounds = 0;
    while other.statistics().joined_bytes == 0 {
        use_both();
        rounds += 1;
    }
    (0..10 * rounds).for_each(|_| use_both());
}
