//! What a heap does when the system refuses: memory, to take it back, address space. What changes a whole
//! process runs in a child.

use mmtk_core::events::Event;
use mmtk_core::options::format_bytes;
use mmtk_core::{Heap, Semantics};
use plan_tests::{TestVM, Watchdog, assert_within_limit, collecting_plans, is_child, options, panic_of, pass_again};
use policies::{PLANS, new_heap};
use reference::{Class, Ref, ReferenceHeap, ReferenceVM, Thread, ThreadHandle};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

const LIMIT: usize = 8 << 20;

fn heap(plan: &str, limit: usize, settings: &[(&str, &str)]) -> ReferenceHeap {
    let mut all = vec![("gc.workers", "2"), ("page_protect.addresses", "64M")];
    all.extend(settings);
    new_heap(ReferenceVM::new(), options(plan, limit, &all)).unwrap_or_else(|error| panic!("{plan}: {error}"))
}

/// A list that takes `bytes` bytes, of objects with `words` words beside their reference, as a root.
fn list<VM: TestVM>(m: ThreadHandle<VM>, bytes: usize, words: usize) {
    let root = m.push(Ref::NULL);
    let length = bytes / (8 * (words + 2));
    for n in 0..length {
        let node = m.try_alloc(Class { refs: 1, bytes: 8 * words }, Semantics::Default);
        let node = node.unwrap_or_else(|error| panic!("object {n} of {length}: {error}"));
        m.write_word(node, 1, n as u64);
        m.write_ref(node, 0, m.get(root));
        m.set(root, node);
    }
    let mut node = m.get(root);
    for n in (0..length).rev() {
        assert_eq!(m.read_word(node, 1), n as u64);
        node = m.read_ref(node, 0);
    }
    assert!(node.is_null());
}

/// A third of the heap in small objects, then in large ones, then in small ones again. In PageProtect each
/// small object has a page, so fewer.
fn small_large_small(heap: &ReferenceHeap) {
    let thread = Thread::attach(heap);
    let m = thread.handle();
    let limit = heap.statistics().limit_bytes;
    let small = if heap.plan_name() == "PageProtect" { 1 << 17 } else { limit / 3 };
    for _ in 0..2 {
        list(m, small, 2);
        m.pop(1);
        list(m, limit / 3, 4000);
        m.pop(1);
    }
    m.mutator().collect();
    assert_within_limit(heap);
}

/// How often memory goes back: after each collection, and by the timer as soon as it looks.
const RETURNS: [[(&str, &str); 2]; 2] = [
    [("heap.return_memory", "always"), ("heap.idle_gc_s", "0")],
    [("heap.uncommit_delay_ms", "1"), ("heap.idle_gc_s", "0.001")],
];

#[test]
fn memory_that_the_system_does_not_take_back_stays_resident_on_every_plan() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        for settings in RETURNS {
            let heap = heap(plan, LIMIT, &settings);
            heap.memory().refuse_returns(true);
            let thread = Thread::attach(&heap);
            list(thread.handle(), LIMIT / 8, 4000);
            let resident = heap.statistics().resident_bytes;
            thread.handle().pop(1);
            thread.handle().mutator().collect();
            thread.handle().mutator().native(|| {
                while heap.statistics().refusals == 0 {
                    std::thread::yield_now();
                }
            });
            assert!(heap.statistics().resident_bytes >= resident, "{plan}: it counts as resident still");
            let report = heap.report();
            assert_eq!(report.matches("the system refuses to take free memory back").count(), 1, "{report}");
            // It serves again.
            list(thread.handle(), LIMIT / 8, 4000);
            assert_within_limit(&heap);
            // And goes, once the system takes it.
            heap.memory().refuse_returns(false);
            thread.handle().pop(1);
            if settings == RETURNS[0] {
                thread.handle().mutator().collect();
                assert!(heap.statistics().resident_bytes < resident / 2, "{plan}: {}", heap.report());
            }
        }
    }
}

#[test]
fn a_process_with_locked_memory_runs_every_plan() {
    if !is_child() {
        pass_again("a_process_with_locked_memory_runs_every_plan");
        return;
    }
    // A process that may lock no more than a few MiB cannot have a heap then.
    // SAFETY: the child exists for this.
    if unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) } != 0 {
        return;
    }
    if new_heap(ReferenceVM::new(), options("Immix", LIMIT, &[])).is_err() {
        return;
    }
    for plan in collecting_plans() {
        for settings in RETURNS {
            small_large_small(&heap(plan, LIMIT, &settings));
        }
    }
}

#[test]
fn a_heap_that_is_granted_no_more_memory_is_out_of_memory_and_says_why() {
    let _watchdog = Watchdog::new();
    for plan in PLANS {
        let heap = heap(plan.name, 64 << 20, &[]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        list(m, 1 << 17, 2);
        heap.memory().refuse_commits_after(1);
        let class = Class { refs: 1, bytes: 1000 };
        m.push(Ref::NULL);
        let error = loop {
            match m.try_alloc(class, Semantics::Default) {
                Ok(object) => {
                    m.write_ref(object, 0, m.peek(0));
                    m.set(1, object);
                }
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("the system refuses"), "{}: {error}", plan.name);
        assert!(error.reserved < error.limit / 2, "{error}");
        // With memory the heap goes on.
        heap.memory().refuse_commits_after(usize::MAX);
        list(m, 1 << 17, 2);
    }
}

/// On the timer's thread, or on a mutator's.
fn on_timer() -> bool {
    std::thread::current().name() == Some("gc-idle")
}

#[test]
fn a_heap_whose_timer_panicked_can_be_dropped() {
    let _watchdog = Watchdog::new();
    for plan in ["Immix", "GenCopy"] {
        let heap = heap(plan, 16 << 20, &[("heap.idle_gc_s", "0.000001")]);
        let panicked = Arc::new(AtomicBool::new(false));
        let seen = panicked.clone();
        heap.listen(Box::new(move |_: &Event| {
            if on_timer() {
                seen.store(true, Relaxed);
                panic!("a listener on the timer's thread");
            }
        }));
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        list(m, 1 << 20, 2);
        m.mutator().native(|| {
            while !panicked.load(Relaxed) {
                std::thread::yield_now();
            }
        });
        // The heap goes on. A full collection starts another timer, once the first is gone.
        panicked.store(false, Relaxed);
        while !panicked.load(Relaxed) {
            m.mutator().collect();
            list(m, 1 << 20, 2);
            m.pop(1);
            m.mutator().native(|| (0..1000).for_each(|_| std::thread::yield_now()));
        }
        drop(thread);
        drop(heap);
    }
}

#[test]
fn a_timer_that_panics_with_the_last_handle_drops_the_heap() {
    let _watchdog = Watchdog::new();
    let heap = heap("Immix", 16 << 20, &[("heap.idle_gc_s", "0.000001")]);
    let (heard, wait) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
    let (count, held) = (heard.clone(), wait.clone());
    heap.listen(Box::new(move |event: &Event| {
        if on_timer() {
            count.fetch_add(1 + 1000 * u64::from(matches!(event, Event::HeapDropped)), Relaxed);
            while held.load(Relaxed) {
                std::thread::yield_now();
            }
            panic!("a listener on the timer's thread");
        }
    }));
    let thread = Thread::attach(&heap);
    list(thread.handle(), 1 << 20, 2);
    thread.handle().mutator().native(|| {
        while heard.load(Relaxed) == 0 {
            std::thread::yield_now();
        }
    });
    drop(thread);
    drop(heap);
    wait.store(false, Relaxed);
    // The listeners go last of what counts here.
    while Arc::strong_count(&heard) > 1 {
        std::thread::yield_now();
    }
    assert!(heard.load(Relaxed) > 1000, "they heard of the end");
}

#[test]
fn a_listener_that_panics_on_a_mutator_leaves_a_heap_that_goes_on() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = heap(plan, LIMIT, &[]);
        let panics = Arc::new(AtomicBool::new(true));
        let once = panics.clone();
        heap.listen(Box::new(move |event: &Event| {
            if matches!(event, Event::Pause(_)) && once.swap(false, Relaxed) {
                panic!("a listener on a mutator's thread");
            }
        }));
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        list(m, 1 << 16, 2);
        assert_eq!(panic_of(|| m.mutator().collect()), "a listener on a mutator's thread", "{plan}");
        m.mutator().collect();
        list(m, 1 << 16, 2);
    }
}

const ADDRESS_SPACE: usize = 256 << 20;

fn limit_address_space(bytes: usize) {
    let limit = libc::rlimit { rlim_cur: bytes as libc::rlim_t, rlim_max: bytes as libc::rlim_t };
    // SAFETY: the child exists for this.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
}

fn address_space() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn a_heap_of_64_mb_works_in_256_mb_of_address_space_on_every_plan() {
    if !is_child() {
        pass_again("a_heap_of_64_mb_works_in_256_mb_of_address_space_on_every_plan");
        return;
    }
    limit_address_space(ADDRESS_SPACE);
    for plan in collecting_plans() {
        let heap = heap(plan, 64 << 20, &[]);
        small_large_small(&heap);
        assert_eq!(heap.statistics().refusals, 0, "{}", heap.report());
    }
    // NoGC uses what it has, once.
    let heap = heap("NoGC", 64 << 20, &[]);
    let thread = Thread::attach(&heap);
    list(thread.handle(), 30 << 20, 2);
    list(thread.handle(), 30 << 20, 4000);
}

#[test]
fn heaps_that_share_little_address_space_take_only_their_part() {
    if !is_child() {
        pass_again("heaps_that_share_little_address_space_take_only_their_part");
        return;
    }
    limit_address_space(ADDRESS_SPACE);
    let heaps = ["Immix", "MarkSweep", "SemiSpace"].map(|plan| heap(plan, 16 << 20, &[]));
    heaps.iter().for_each(small_large_small);
    let before = address_space();
    drop(heaps);
    assert!(before - address_space() > 48 << 20, "what a heap took goes with it");
}

#[test]
fn too_little_address_space_is_refused_with_what_was_asked_and_the_limit() {
    if !is_child() {
        pass_again("too_little_address_space_is_refused_with_what_was_asked_and_the_limit");
        return;
    }
    let limit = address_space() + (60 << 20);
    limit_address_space(limit);
    for plan in PLANS {
        let text = match new_heap(ReferenceVM::new(), options(plan.name, 64 << 20, &[])) {
            Ok(_) => panic!("{} has an address space of 60 MB", plan.name),
            Err(error) => error.to_string(),
        };
        let limit = format_bytes(limit);
        let parts = ["67108864 bytes of address space", "heap.limit=64M", &limit, "ulimit -v, RLIMIT_AS"];
        for part in parts {
            assert!(text.contains(part), "{part:?} is missing in: {text}");
        }
    }
    small_large_small(&heap("Immix", 4 << 20, &[]));
}

#[test]
fn the_heap_limit_follows_from_the_address_space_that_a_process_may_have() {
    if !is_child() {
        pass_again("the_heap_limit_follows_from_the_address_space_that_a_process_may_have");
        return;
    }
    limit_address_space(1 << 30);
    let heap = new_heap(ReferenceVM::new(), Default::default()).unwrap();
    assert_eq!(heap.statistics().limit_bytes, 1 << 29);
    let thread = Thread::attach(&heap);
    list(thread.handle(), 64 << 20, 2);
}

#[test]
fn a_program_that_uses_up_the_address_space_is_told_why_its_heap_is_full() {
    if !is_child() {
        pass_again("a_program_that_uses_up_the_address_space_is_told_why_its_heap_is_full");
        return;
    }
    // Other parts of the program take what the heap may use.
    limit_address_space(ADDRESS_SPACE);
    let heap: Heap<ReferenceVM> = heap("MarkSweep", 64 << 20, &[]);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    list(m, 1 << 20, 2);
    let mut taken = Vec::new();
    let mut size = 64 << 20;
    while size >= 1 << 20 {
        // SAFETY: new mappings of the system's choice.
        let raw = unsafe {
            libc::mmap(std::ptr::null_mut(), size, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
        };
        if raw == libc::MAP_FAILED {
            size /= 2;
        } else {
            taken.push((raw, size));
        }
    }
    // What the heap kept for its limit serves small objects; then large ones find nothing.
    list(m, 48 << 20, 2);
    let root = m.push(Ref::NULL);
    let error = loop {
        match m.try_alloc(Class { refs: 1, bytes: 1 << 20 }, Semantics::Default) {
            Ok(object) => {
                m.write_ref(object, 0, m.get(root));
                m.set(root, object);
            }
            Err(error) => break error.to_string(),
        }
    };
    // SAFETY: mapped above.
    taken.into_iter().for_each(|(raw, size)| unsafe { _ = libc::munmap(raw, size) });
    assert!(error.contains("the system refuses memory for the heap") && error.contains("ulimit -v"), "{error}");
}
