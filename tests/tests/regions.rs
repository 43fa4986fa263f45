//! Regions and pools: their objects keep others alive and are referred to, until the VM frees them;
//! references that are left then are found.

use mmtk_core::events::{CollectionKind, Event};
use mmtk_core::metadata::EPOCH_MAX;
use mmtk_core::{Heap, ObjectReference, Pool, Region};
use plan_tests::{
    AmbiguousVM, SideVM, TestVM, Watchdog, assert_within_limit, collecting_plans, options, panic_of, pool_in, region_in,
};
use policies::{PLANS, new_heap};
use reference::{Class, Ref, ReferenceVM, Thread, ThreadHandle, object};
use std::sync::{Arc, Mutex};

const STRESSED: [(&str, &str); 6] = [
    ("verify.trace", "true"),
    ("verify.poison", "true"),
    ("gc.workers", "2"),
    ("gc.wake_helpers", "always"),
    ("stress.every_bytes", "16K"),
    ("stress.full_every", "3"),
];
const QUIET: [(&str, &str); 1] = [("gc.workers", "1")];

fn heap<VM: TestVM>(plan: &str, limit: usize, settings: &[(&str, &str)]) -> Heap<VM> {
    new_heap(VM::new(), options(plan, limit, settings)).unwrap()
}

fn is_generational(plan: &str) -> bool {
    PLANS.iter().any(|known| known.name == plan && known.needs.old_to_new)
}

fn object_of(reference: Ref) -> ObjectReference {
    reference.object().expect("not null")
}

/// An object of a region.
fn in_region<VM: TestVM>(m: ThreadHandle<VM>, region: &Region<VM>, refs: usize, bytes: usize) -> Ref {
    let words = ThreadHandle::<VM>::words(Class { refs, bytes });
    let at = region.alloc(&m.mutator(), words * 8).address();
    assert!(at.is_aligned_to(1 << VM::LOG_GRANULE));
    // SAFETY: just returned by the allocator, of that many words.
    unsafe { object::write_header(at, refs, words) };
    Ref(at.as_usize())
}

/// An object of a pool made by `node_pool`: two slots and two words.
fn in_pool<VM: TestVM>(m: ThreadHandle<VM>, pool: &Pool<VM>) -> Ref {
    let at = pool.alloc(&m.mutator()).address();
    // SAFETY: just returned by the allocator; the pool's objects have so many bytes.
    unsafe { object::write_header(at, 2, pool.object_bytes() / 8) };
    Ref(at.as_usize())
}

fn node_pool<VM: TestVM>(heap: &Heap<VM>) -> Pool<VM> {
    pool_in(heap, ThreadHandle::<VM>::words(Class { refs: 2, bytes: 16 }) * 8)
}

/// A node of the collected heap with a number.
fn numbered<VM: TestVM>(m: ThreadHandle<VM>, number: u64) -> Ref {
    let node = m.alloc(2, 16);
    m.write_word(node, 2, number);
    node
}

/// A list through a region: each element of it refers to the next and to a node of the heap, which refers
/// back to the element.
fn list_in_region<VM: TestVM>(m: ThreadHandle<VM>, region: &Region<VM>, length: u64) {
    let list = m.push(Ref::NULL);
    for n in 0..length {
        let held = m.push(numbered(m, n));
        // Some do not fit what is left of a run, some no run at all.
        let bytes = [8, 24, 3000, 8, 100_000][n as usize % 5];
        let element = in_region(m, region, 2, bytes);
        m.write_ref(element, 0, m.get(list));
        m.write_ref(element, 1, m.get(held));
        m.write_ref(m.get(held), 0, element);
        m.write_word(element, 2, n);
        m.set(list, element);
        m.pop(1);
    }
}

fn check_list<VM: TestVM>(m: ThreadHandle<VM>, list: Ref, length: u64, what: &str) {
    let mut element = list;
    for n in (0..length).rev() {
        assert_eq!(m.read_word(element, 2), n, "{what}");
        let held = m.read_ref(element, 1);
        assert_eq!((m.read_word(held, 2), m.read_ref(held, 0)), (n, element), "{what}");
        element = m.read_ref(element, 0);
    }
    assert!(element.is_null(), "{what}");
}

fn requests_one_after_the_other<VM: TestVM>() {
    let _watchdog = Watchdog::new();
    const LENGTH: u64 = 15;
    for plan in PLANS.iter().map(|plan| plan.name) {
        let heap = heap::<VM>(plan, 24 << 20, &STRESSED);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let stays = region_in(&heap);
        list_in_region(m, &stays, LENGTH);
        let requests = if plan == "NoGC" { 5 } else { 12 };
        for request in 0..requests {
            let region = region_in(&heap);
            list_in_region(m, &region, LENGTH);
            // New objects in elements that are old by now.
            let (mut element, mut n) = (m.peek(0), LENGTH);
            while !element.is_null() {
                n -= 1;
                m.push(element);
                let held = numbered(m, n);
                m.write_ref(held, 0, m.peek(0));
                m.write_ref(m.peek(0), 1, held);
                element = m.read_ref(m.peek(0), 0);
                m.pop(1);
            }
            m.mutator().collect();
            check_list(m, m.peek(0), LENGTH, &format!("{plan}, request {request}"));
            m.pop(1);
            // The last goes without a word.
            if request + 1 < requests {
                region.release(&m.mutator());
            }
            m.alloc(1, 64);
        }
        check_list(m, m.peek(0), LENGTH, plan);
        m.pop(1);
        stays.release(&m.mutator());
        m.mutator().collect();
        if plan != "NoGC" {
            assert_eq!(heap.statistics().live_bytes, 0, "{plan}");
            assert_eq!(region_bytes(&heap), 0, "{plan}");
        }
        assert_within_limit(&heap);
    }
}

/// Bytes that the space for regions, or for pools, has.
fn bytes_of<VM: TestVM>(heap: &Heap<VM>, space: &str) -> usize {
    let report = heap.report();
    let line = report.lines().find(|line| line.trim_start().starts_with(space)).expect("no such space");
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn region_bytes<VM: TestVM>(heap: &Heap<VM>) -> usize {
    bytes_of(heap, "regions")
}

#[test]
fn objects_of_regions_hold_and_are_held_until_their_region_is_released() {
    requests_one_after_the_other::<ReferenceVM>();
}

#[test]
fn objects_of_regions_hold_and_are_held_where_states_are_in_side_tables() {
    requests_one_after_the_other::<SideVM<3>>();
    requests_one_after_the_other::<SideVM<4>>();
}

/// Objects of a pool in a list that is known to the model, which frees at random; the numbers are in the
/// objects and in nodes of the heap.
fn a_pool_beside_a_model<VM: TestVM>(plan: &str, settings: &[(&str, &str)], steps: u64) {
    let heap = heap::<VM>(plan, 16 << 20, settings);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let pool = node_pool(&heap);
    // Slot by slot of an array: an object of the pool, or null.
    let array = m.push(m.alloc(1200, 0));
    let mut model = [None; 1200];
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for step in 0..steps {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let n = random as usize % model.len();
        match model[n] {
            None => {
                let held = m.push(numbered(m, step));
                let object = in_pool(m, &pool);
                assert_eq!([2, 3].map(|word| m.read_word(object, word)), [0, 0], "{plan}: not zeroed");
                m.write_ref(object, 0, m.get(held));
                m.write_word(object, 2, step);
                m.write_word(object, 3, u64::MAX);
                m.write_ref(m.get(array), n, object);
                m.pop(1);
                model[n] = Some(step);
            }
            Some(number) => {
                let object = m.read_ref(m.get(array), n);
                assert_eq!(m.read_word(object, 2), number, "{plan}");
                assert_eq!(m.read_word(m.read_ref(object, 0), 2), number, "{plan}");
                if random.is_multiple_of(5) {
                    // A new node in an old object.
                    let held = numbered(m, number);
                    m.write_ref(m.read_ref(m.get(array), n), 0, held);
                } else {
                    m.write_ref(m.get(array), n, Ref::NULL);
                    pool.free(&m.mutator(), object_of(object));
                    model[n] = None;
                }
            }
        }
        assert_eq!(pool.len(), model.iter().flatten().count(), "{plan}");
    }
    m.pop(1);
    pool.release(&m.mutator());
    m.mutator().collect();
    if plan != "NoGC" {
        assert_eq!((heap.statistics().live_bytes, bytes_of(&heap, "pools")), (0, 0), "{plan}");
    }
}

#[test]
fn objects_of_pools_hold_and_are_held_until_they_are_freed() {
    let _watchdog = Watchdog::new();
    for plan in PLANS.iter().map(|plan| plan.name) {
        let steps = if plan == "NoGC" { 10_000 } else { 4000 };
        a_pool_beside_a_model::<ReferenceVM>(plan, &STRESSED, steps);
        a_pool_beside_a_model::<ReferenceVM>(plan, &QUIET, 20_000);
        a_pool_beside_a_model::<SideVM<4>>(plan, &STRESSED, steps);
    }
}

#[test]
fn objects_of_regions_and_pools_are_found_by_address_until_they_are_freed() {
    let _watchdog = Watchdog::new();
    for plan in PLANS.iter().filter(|plan| plan.needs.pins && plan.name != "NoGC").map(|plan| plan.name) {
        let heap = heap::<AmbiguousVM<false>>(plan, 16 << 20, &[("verify.trace", "true")]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let (region, pool) = (region_in(&heap), node_pool(&heap));
        let large = in_region(m, &region, 1, 50_000);
        let (small, celled) = (in_region(m, &region, 1, 8), in_pool(m, &pool));
        let spaces = ["regions", "regions", "pools"];
        for (object, space) in [large, small, celled].into_iter().zip(spaces) {
            let inside = object_of(object).address().plus(if object == large { 50_000 } else { 9 });
            let found = m.mutator().describe(inside).unwrap();
            assert_eq!((found.object, found.space, found.is_old), (object_of(object), space, false), "{plan}");
            m.push(object);
        }
        m.mutator().collect();
        for object in [large, small, celled] {
            assert!(m.mutator().describe(object_of(object).address()).is_some_and(|found| found.is_old), "{plan}");
        }
        let mut seen = 0;
        m.mutator()
            .for_each_object(|object| seen += usize::from([large, small, celled].map(object_of).contains(&object)));
        assert_eq!(seen, 3, "{plan}");
        let addresses = [large, small, celled].map(|object| object_of(object).address());
        m.pop(3);
        pool.free(&m.mutator(), object_of(celled));
        region.release(&m.mutator());
        assert!(!m.mutator().is_object(addresses[0]), "{plan}");
        // What is left of them in this frame is not to be taken for references.
        let hidden = addresses.map(|address| !address.as_usize());
        std::hint::black_box((large, small, celled, addresses));
        forget_and_collect(m);
        for address in hidden.map(|hidden| mmtk_core::Address::from_usize(!hidden)) {
            assert!(!m.mutator().is_object(address), "{plan}");
        }
    }
}

#[inline(never)]
fn forget_and_collect<VM: TestVM>(m: ThreadHandle<VM>) {
    m.mutator().collect();
}

/// What a collection says of a reference that `make` leaves behind.
fn complaint<VM: TestVM>(
    plan: &str,
    settings: &[(&str, &str)],
    make: impl FnOnce(ThreadHandle<VM>, &Heap<VM>),
) -> String {
    let heap = heap::<VM>(plan, 16 << 20, settings);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    make(m, &heap);
    panic_of(|| m.mutator().collect())
}

/// Leaves references to objects of a released region: from a root, an object of the heap, another region.
fn dangle_into_region<VM: TestVM>(m: ThreadHandle<VM>, heap: &Heap<VM>, from: usize) {
    let region = region_in(heap);
    let dead = in_region(m, &region, 1, 8);
    m.push(dead);
    m.mutator().collect();
    m.pop(1);
    match from {
        0 => _ = m.push(dead),
        1 => {
            let holder = m.push(m.alloc(1, 8));
            m.write_ref(m.get(holder), 0, dead);
        }
        _ => {
            let other = region_in(heap);
            let holder = m.push(in_region(m, &other, 1, 8));
            m.write_ref(m.get(holder), 0, dead);
            std::mem::forget(other);
        }
    }
    region.release(&m.mutator());
}

fn dangle_into_pool<VM: TestVM>(m: ThreadHandle<VM>, heap: &Heap<VM>, whole: bool) {
    let pool = node_pool(heap);
    let (dead, _live) = (in_pool(m, &pool), in_pool(m, &pool));
    m.push(dead);
    m.mutator().collect();
    let holder = m.push(m.alloc(1, 8));
    m.write_ref(m.get(holder), 0, dead);
    m.set(0, Ref::NULL);
    match whole {
        true => pool.release(&m.mutator()),
        false => {
            pool.free(&m.mutator(), object_of(dead));
            std::mem::forget(pool);
        }
    }
}

#[test]
fn the_verifier_reports_a_reference_into_a_released_region() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        for from in 0..3 {
            let text = complaint::<ReferenceVM>(plan, &[("verify.trace", "true")], |m, heap| {
                dangle_into_region(m, heap, from)
            });
            let whence = ["before the collection: root slot ", "before the collection: the slot at +8 of object with "]
                [from.min(1)];
            assert!(text.starts_with(whence), "{plan}, from {from}: {text}");
            assert!(text.contains("in regions space, but region 1 was released"), "{plan}, from {from}: {text}");
        }
    }
}

#[test]
fn the_verifier_reports_a_reference_to_an_object_that_was_freed_in_a_pool() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        for (whole, says) in [(false, "it was freed in pool 1"), (true, "pool 1 was released")] {
            let text =
                complaint::<ReferenceVM>(plan, &[("verify.trace", "true")], |m, heap| dangle_into_pool(m, heap, whole));
            assert!(text.starts_with("before the collection: the slot at +8 of object with "), "{plan}: {text}");
            assert!(
                text.contains(says) && text.contains("\n  likely causes: an object that the VM freed"),
                "{plan}: {text}"
            );
        }
    }
}

#[test]
fn without_the_verifier_a_collection_that_meets_free_memory_of_a_region_or_pool_says_so() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let region = complaint::<ReferenceVM>(plan, &QUIET, |m, heap| dangle_into_region(m, heap, 1));
        assert!(
            region.contains("was in a region that is released, and something still refers to it"),
            "{plan}: {region}"
        );
        if is_generational(plan) {
            // The cell waits for the next pause, and is still there.
            continue;
        }
        let pool = complaint::<ReferenceVM>(plan, &QUIET, |m, heap| dangle_into_pool(m, heap, false));
        assert!(pool.contains("was in a pool and is freed, but something still refers to it"), "{plan}: {pool}");
    }
}

#[test]
fn memory_of_a_released_region_is_free_at_once_or_after_the_next_pause() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = heap::<ReferenceVM>(plan, 16 << 20, &QUIET);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let [released, dropped] = [0, 1].map(|_| {
            let region = region_in(&heap);
            (0..1000).for_each(|_| _ = in_region(m, &region, 1, 1000));
            region
        });
        let both = region_bytes(&heap);
        assert!(both > 2_000_000, "{plan}");
        released.release(&m.mutator());
        assert_eq!(region_bytes(&heap), if is_generational(plan) { both } else { both / 2 }, "{plan}");
        // A thread that is no mutator.
        std::thread::scope(|scope| _ = scope.spawn(|| drop(dropped)));
        m.mutator().collect();
        assert_eq!(region_bytes(&heap), 0, "{plan}");
        let again = region_in(&heap);
        let object = in_region(m, &again, 0, 1000);
        assert!((0..125).all(|word| m.read_word(object, word) == 0), "{plan}: not zeroed");
    }
}

#[test]
fn a_full_heap_is_reported_and_what_is_released_makes_room() {
    let _watchdog = Watchdog::new();
    for plan in PLANS.iter().map(|plan| plan.name) {
        let heap = heap::<ReferenceVM>(plan, 2 << 20, &QUIET);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        for round in 0..3 {
            let region = region_in(&heap);
            let mutator = m.mutator();
            let given = (0..200_000).take_while(|_| region.try_alloc(&mutator, 64).is_ok()).count();
            assert!((15_000..33_000).contains(&given), "{plan}, round {round}: {given}");
            assert!(region.try_alloc(&mutator, 1 << 40).is_err(), "{plan}");
            region.release(&mutator);
            let pool = pool_in(&heap, 64);
            let given = (0..200_000).take_while(|_| pool.try_alloc(&mutator).is_ok()).count();
            assert!((15_000..33_000).contains(&given), "{plan}, round {round}: {given} in a pool");
            pool.release(&mutator);
        }
        assert_within_limit(&heap);
    }
}

#[test]
fn blocks_of_a_pool_that_are_empty_go_back() {
    let _watchdog = Watchdog::new();
    for (plan, down) in collecting_plans().flat_map(|plan| [(plan, false), (plan, true)]) {
        let heap = heap::<ReferenceVM>(plan, 16 << 20, &QUIET);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let pool = pool_in(&heap, 48);
        let objects: Vec<_> = (0..20_000).map(|_| in_pool(m, &pool)).collect();
        let full = bytes_of(&heap, "pools");
        assert!(full >= 20_000 * 48, "{plan}");
        let free = |object: &Ref| pool.free(&m.mutator(), object_of(*object));
        match down {
            false => objects[1..].iter().for_each(free),
            true => objects[1..].iter().rev().for_each(free),
        }
        m.mutator().collect();
        assert_eq!((bytes_of(&heap, "pools"), pool.len()), (32 << 10, 1), "{plan}, down {down}: one block is left");
        let again = in_pool(m, &pool);
        assert!(objects[1..].contains(&again), "{plan}: from the block that is left");
    }
}

#[test]
fn what_cannot_be_freed_is_refused() {
    let _watchdog = Watchdog::new();
    for settings in [&QUIET[..], &[("verify.trace", "true")]] {
        let heap = heap::<ReferenceVM>("Immix", 16 << 20, settings);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let (pool, other) = (node_pool(&heap), node_pool(&heap));
        let [mine, _, foreign, collected] = [in_pool(m, &pool), in_pool(m, &pool), in_pool(m, &other), m.alloc(1, 8)];
        let free = |object: Ref| pool.free(&m.mutator(), object_of(object));
        free(mine);
        for (object, says) in [
            (mine, "it is free"),
            (foreign, "it is no object of pool 1"),
            (collected, "it is no object of pool 1"),
            (Ref(mine.0 + 8), "no object begins there"),
        ] {
            let text = panic_of(|| free(object));
            assert!(text.contains("cannot be freed") && text.contains(says), "{text}");
        }
        for bytes in [0, 12, 8184, 1 << 20] {
            // SAFETY: there is no such pool.
            let error = unsafe { heap.pool(bytes) }.unwrap_err().to_string();
            assert!(error.contains(&format!("a pool of objects of {bytes} bytes")), "{error}");
        }
        let elsewhere = crate::heap::<ReferenceVM>("Immix", 16 << 20, &QUIET);
        let stranger = Thread::attach(&elsewhere);
        let text = panic_of(|| pool.alloc(&stranger.handle().mutator()));
        assert!(text.contains("the mutator belongs to another heap"), "{text}");
    }
}

/// An object of a pool without slots.
fn raw_in_pool<VM: TestVM>(m: ThreadHandle<VM>, pool: &Pool<VM>) -> Ref {
    let at = pool.alloc(&m.mutator()).address();
    // SAFETY: just returned by the allocator; the pool's objects have so many bytes.
    unsafe { object::write_header(at, 0, pool.object_bytes() / 8) };
    Ref(at.as_usize())
}

/// The barrier has noted an object of a region that is then released: the next minor collection must not go
/// there.
#[test]
fn objects_that_the_barrier_noted_may_be_released() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans().filter(|plan| is_generational(plan)) {
        let heap = heap::<ReferenceVM>(plan, 16 << 20, &[("stress.every_bytes", "64K"), ("stress.full_every", "1000")]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        for _ in 0..4 {
            let (region, pool) = (region_in(&heap), pool_in(&heap, 48));
            (0..100)
                .for_each(|n| _ = m.push(if n % 2 == 0 { in_region(m, &region, 1, 24) } else { in_pool(m, &pool) }));
            m.mutator().collect();
            for n in 0..100 {
                let young = m.alloc(1, 8);
                m.write_ref(m.get(n), 0, young);
            }
            m.pop(100);
            region.release(&m.mutator());
            pool.release(&m.mutator());
            // Data that looks like objects wherever one reads it, which refer to where nothing is.
            let (region, pool) = (region_in(&heap), pool_in(&heap, 4000));
            for _ in 0..20 {
                for data in [in_region(m, &region, 0, 3992), raw_in_pool(m, &pool)] {
                    for word in 0..499 {
                        let like_a_header = (data.0 / 8 + 1 + word).is_multiple_of(2);
                        let nowhere = data.0 as u64 + (32 << 20);
                        m.write_word(data, word, if like_a_header { 1 | 2 << 28 } else { nowhere });
                    }
                }
            }
            (0..10_000).for_each(|_| _ = m.alloc(1, 24));
            region.release(&m.mutator());
            pool.release(&m.mutator());
        }
    }
}

/// An object that nothing reaches keeps stale slots. Its mark, when the epoch's number comes round, must not
/// make a compaction update them.
#[test]
fn unreached_objects_of_regions_and_pools_are_left_alone_however_old() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = heap::<ReferenceVM>(plan, 8 << 20, &[("verify.trace", "true"), ("verify.poison", "true")]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let (region, pool) = (region_in(&heap), node_pool(&heap));
        for _ in 0..40 {
            m.push(in_region(m, &region, 1, 8));
            m.push(in_pool(m, &pool));
            for depth in 0..2 {
                let node = numbered(m, 1);
                m.write_ref(m.peek(depth), 0, node);
            }
            m.mutator().collect();
            m.pop(2);
            (0..100).for_each(|_| _ = m.alloc(1, 24));
        }
        assert_eq!(pool.len(), 40);
    }
}

#[test]
fn threads_share_a_region_and_a_pool() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = heap::<ReferenceVM>(plan, 16 << 20, &STRESSED);
        let (region, pool) = (region_in(&heap), node_pool(&heap));
        std::thread::scope(|scope| {
            for id in 0..4u64 {
                let (heap, region, pool) = (&heap, &region, &pool);
                scope.spawn(move || {
                    let thread = Thread::attach(heap);
                    let m = thread.handle();
                    for n in 0..150 {
                        let mark = id << 32 | n;
                        m.push(in_region(m, region, 2, 40));
                        m.push(in_pool(m, pool));
                        for depth in 0..2 {
                            let node = numbered(m, mark);
                            m.write_ref(m.peek(depth), 1, node);
                        }
                        m.poll();
                        for depth in 0..2 {
                            assert_eq!(m.read_word(m.read_ref(m.peek(depth), 1), 2), mark);
                        }
                        let done = m.peek(0);
                        m.pop(2);
                        if n % 3 != 0 {
                            pool.free(&m.mutator(), object_of(done));
                        }
                    }
                });
            }
        });
        assert_eq!(pool.len(), 200, "{plan}");
    }
}

/// Objects in memory of others that were freed carried the marks of those, and passed for reached when the
/// number of that collection came round: what they refer to died.
fn holds_where_others_were<VM: TestVM>(plan: &str) {
    let heap = heap::<VM>(plan, 16 << 20, &QUIET);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    for idle in 0..=EPOCH_MAX {
        let (region, pool) = (region_in(&heap), node_pool(&heap));
        let holders = [m.push(in_region(m, &region, 2, 16)), m.push(in_pool(m, &pool))];
        for holder in holders {
            let held = numbered(m, u64::from(idle));
            m.write_ref(m.get(holder), 0, held);
        }
        m.mutator().collect();
        for holder in holders {
            let held = m.read_ref(m.get(holder), 0);
            assert_eq!(m.read_word(held, 2), u64::from(idle), "{plan}: holder {holder}");
        }
        m.pop(2);
        region.release(&m.mutator());
        pool.release(&m.mutator());
        (0..idle).for_each(|_| m.mutator().collect());
    }
}

#[test]
fn what_is_allocated_where_freed_objects_were_holds_whichever_number_comes_round() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        holds_where_others_were::<ReferenceVM>(plan);
        holds_where_others_were::<SideVM<4>>(plan);
    }
}

#[test]
fn a_cell_of_a_pool_that_was_freed_is_poisoned() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = heap::<ReferenceVM>(plan, 16 << 20, &[("verify.poison", "true"), ("gc.workers", "1")]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let pool = node_pool(&heap);
        let [stays, freed] = [(); 2].map(|()| in_pool(m, &pool));
        m.push(stays);
        pool.free(&m.mutator(), object_of(freed));
        m.mutator().collect();
        let words = (0..4).map(|word| m.read_word(freed, word));
        assert!(words.into_iter().all(|word| word == 0xdbdb_dbdb_dbdb_dbdb), "{plan}");
    }
}

/// Minor collections look where a region goes on. One that was released goes on nowhere: what another has
/// there, an object of whole pages that is old, is not looked at again.
#[test]
fn minor_collections_look_for_nothing_where_a_released_region_went_on() {
    const PAGES: usize = 32 << 10;
    let _watchdog = Watchdog::new();
    for plan in collecting_plans().filter(|plan| is_generational(plan)) {
        let heap = heap::<AmbiguousVM<false>>(plan, 32 << 20, &[("nursery.bytes", "256K")]);
        let pauses = Arc::new(Mutex::new(Vec::new()));
        let seen = pauses.clone();
        heap.listen(Box::new(move |event: &Event| {
            if let Event::Pause(report) = event {
                let looks = report.phases.iter().any(|phase| phase.name == "sweep regions");
                seen.lock().unwrap().push((report.kind, looks));
            }
        }));
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let first = region_in(&heap);
        let at = in_region(m, &first, 0, 8);
        first.release(&m.mutator());
        m.mutator().collect();
        let second = region_in(&heap);
        assert_eq!(in_region(m, &second, 0, PAGES - 8), at, "{plan}: in the same pages");
        m.mutator().collect();
        assert_eq!(*pauses.lock().unwrap().last().unwrap(), (CollectionKind::Full, true), "{plan}");
        pauses.lock().unwrap().clear();
        while pauses.lock().unwrap().is_empty() {
            m.alloc(0, 64);
        }
        assert_eq!(*pauses.lock().unwrap(), [(CollectionKind::Minor, false)], "{plan}");
    }
}
