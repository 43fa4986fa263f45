//! Sliding compaction: which objects move, where to, and which references are updated.

use mmtk_core::metadata::EPOCH_MAX;
use mmtk_core::{Heap, Semantics};
use plan_tests::{Extent, SideVM, TestVM, Watchdog, assert_within_limit, options};
use policies::new_heap;
use reference::{Class, Ref, ReferenceVM, Thread, ThreadHandle, object};

const MIB: usize = 1 << 20;

fn heap<VM: TestVM>(plan: &str, limit: usize, workers: &str) -> Heap<VM> {
    let settings = [("verify.trace", "true"), ("gc.workers", workers), ("gc.wake_helpers", "always")];
    new_heap(VM::new(), options(plan, limit, &settings)).unwrap()
}

/// A new object with one reference whose other words hold `id`.
fn alloc<VM: TestVM>(m: ThreadHandle<VM>, words: usize, id: usize, semantics: Semantics) -> Ref {
    let new = m.try_alloc(Class { refs: 1, bytes: words * 8 }, semantics).unwrap();
    (1..words).for_each(|word| m.write_word(new, word, id as u64));
    new
}

fn check<VM: TestVM>(m: ThreadHandle<VM>, object: Ref, words: usize, id: usize) {
    (1..words).for_each(|word| assert_eq!(m.read_word(object, word), id as u64, "word {word} of object {id}"));
}

fn bytes_of(at: Ref) -> usize {
    object::header(at.object().unwrap()).words() * 8
}

/// From two words to many regions of the live map; some of them come to lie across blocks.
fn words_of(id: usize) -> usize {
    [2, 3, 5, 2, 70, 9, 2, 200, 4, 1000][id % 10]
}

/// Objects live in an array, in no order; in each round some die and others are born.
fn stays_in_order<VM: TestVM>(workers: &str) {
    const SLOTS: usize = 3000;
    let heap = heap::<VM>("MarkCompact", 16 * MIB, workers);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    m.push(m.try_alloc(Class { refs: SLOTS, bytes: 0 }, Semantics::Default).unwrap());
    let (mut ids, mut next, mut random) = ([usize::MAX; SLOTS], 0usize, 1usize);
    for round in 0..12 {
        for _ in 0..SLOTS / 2 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let slot = (random >> 33) % SLOTS;
            let new = alloc(m, words_of(next), next, Semantics::Default);
            m.write_ref(m.get(0), slot, new);
            (ids[slot], next) = (next, next + 1);
        }
        let at = |slot| m.read_ref(m.get(0), slot % SLOTS);
        // Each refers to another one, above or below.
        let others = || (0..SLOTS).map(|slot| (at(slot), at(slot * 7 + 1))).filter(|(object, _)| !object.is_null());
        others().for_each(|(object, other)| m.write_ref(object, 0, other));
        m.mutator().collect();
        others().for_each(|(object, other)| assert_eq!(m.read_ref(object, 0), other, "round {round}"));
        let mut live: Vec<(usize, Ref)> =
            (0..SLOTS).map(|slot| (ids[slot], at(slot))).filter(|(_, at)| !at.is_null()).collect();
        live.sort_unstable_by_key(|(id, _)| *id);
        for pair in live.windows(2) {
            assert!(pair[0].1.0 < pair[1].1.0, "round {round}: {pair:?}, older first");
        }
        live.iter().for_each(|&(id, at)| check(m, at, words_of(id), id));
        let (first, last) = (live[0].1, live[live.len() - 1].1);
        let bytes: usize = live.iter().map(|(_, at)| bytes_of(*at)).sum();
        assert_eq!(last.0 + bytes_of(last) - first.0, bytes, "round {round}: there are gaps");
    }
    assert_within_limit(&heap);
}

#[test]
fn what_survives_stays_in_the_order_of_allocation_without_gaps() {
    let _watchdog = Watchdog::new();
    for workers in ["1", "2", "4"] {
        stays_in_order::<ReferenceVM>(workers);
        stays_in_order::<SideVM<3>>(workers);
        stays_in_order::<SideVM<4>>(workers);
    }
}

/// A list that fills this part of a limit, and as much garbage again, many times; false if memory ran out.
fn holds<VM: TestVM>(plan: &str, limit: usize, live: usize) -> bool {
    let heap = heap::<VM>(plan, limit, "2");
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    m.push(Ref::NULL);
    let class = Class { refs: 1, bytes: 48 };
    let mut kept = 0;
    for n in 0..4 * limit / 64 {
        let Ok(new) = m.try_alloc(class, Semantics::Default) else { return false };
        if n % 2 == 0 && kept + 64 <= live {
            kept += 64;
            m.write_ref(new, 0, m.get(0));
            m.set(0, new);
        }
    }
    assert!(heap.statistics().collections > 1);
    assert_within_limit(&heap);
    true
}

#[test]
fn live_objects_may_fill_nearly_the_whole_limit() {
    let _watchdog = Watchdog::new();
    for percent in [60, 90] {
        let (limit, live) = (16 * MIB, 16 * MIB / 100 * percent);
        assert!(holds::<ReferenceVM>("MarkCompact", limit, live), "{percent} %");
        // Half a minute of processor time.
        if Extent::chosen() == Extent::Full {
            assert!(holds::<SideVM<3>>("MarkCompact", limit, live), "{percent} %, no header byte");
        }
        assert!(!holds::<ReferenceVM>("SemiSpace", limit, live), "{percent} %: then this test shows nothing");
    }
}

fn is_told<VM: TestVM>(bytes: usize, semantics: Semantics) {
    let heap = heap::<VM>("MarkCompact", 16 * MIB, "2");
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    m.push(Ref::NULL);
    for id in 0..2000 {
        let _garbage = alloc(m, words_of(id), id, Semantics::Default);
        // Each object refers to a target and to the object before it.
        if id % 4 == 0 {
            m.push(alloc(m, words_of(id), id, Semantics::Default));
            let holder = m.try_alloc(Class { refs: 3, bytes }, semantics).unwrap();
            m.write_ref(holder, 0, m.peek(0));
            m.write_ref(holder, 1, m.get(0));
            m.pop(1);
            m.set(0, holder);
        }
    }
    let targets = |m: ThreadHandle<VM>| {
        let (mut holder, mut targets) = (m.get(0), Vec::new());
        while !holder.is_null() {
            targets.push(m.read_ref(holder, 0));
            holder = m.read_ref(holder, 1);
        }
        targets
    };
    let before = targets(m);
    for _ in 0..3 {
        m.mutator().collect();
        let after = targets(m);
        assert!(before.iter().zip(&after).all(|(before, after)| after.0 < before.0), "nothing moved");
        let ids = (0..2000).rev().filter(|id| id % 4 == 0);
        after.iter().zip(ids).for_each(|(target, id)| check(m, *target, words_of(id), id));
    }
}

#[test]
fn objects_that_do_not_move_are_told_where_others_went() {
    let _watchdog = Watchdog::new();
    for (bytes, semantics) in [
        (9000, Semantics::Default),
        (40, Semantics::NonMoving),
        (9000, Semantics::NonMoving),
        (40, Semantics::Immortal),
    ] {
        is_told::<ReferenceVM>(bytes, semantics);
        is_told::<SideVM<3>>(bytes, semantics);
        is_told::<SideVM<4>>(bytes, semantics);
    }
}

/// Its mark looked new when the number of its epoch came round, and its slots were taken for those of a live
/// object.
#[test]
fn an_immortal_object_that_nobody_refers_to_is_not_scanned_however_long() {
    let _watchdog = Watchdog::new();
    fn forgets<VM: TestVM>() {
        let heap = heap::<VM>("MarkCompact", 16 * MIB, "1");
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let holder = m.try_alloc(Class { refs: 1, bytes: 40 }, Semantics::Immortal).unwrap();
        m.push(holder);
        (0..1000).for_each(|id| _ = alloc(m, 100, id, Semantics::Default));
        m.push(alloc(m, 100, 0, Semantics::Default));
        m.write_ref(holder, 0, m.get(1));
        m.mutator().collect();
        let target = m.get(1);
        m.set(0, Ref::NULL);
        m.set(1, Ref::NULL);
        for _ in 0..=2 * usize::from(EPOCH_MAX) {
            // Garbage where the target was.
            (0..1100).for_each(|id| _ = alloc(m, 100, id, Semantics::Default));
            m.mutator().collect();
            assert_eq!(m.read_ref(holder, 0), target, "nobody updates what is dead");
        }
    }
    forgets::<ReferenceVM>();
    forgets::<SideVM<3>>();
}

#[test]
fn a_large_array_is_told_where_its_elements_went_in_all_of_its_parts() {
    const SLOTS: usize = 100_000;
    let _watchdog = Watchdog::new();
    let heap = heap::<ReferenceVM>("MarkCompact", 16 * MIB, "4");
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    m.push(m.try_alloc(Class { refs: SLOTS, bytes: 0 }, Semantics::Default).unwrap());
    for id in 0..SLOTS {
        let new = alloc(m, 2, id, Semantics::Default);
        m.write_ref(m.get(0), id, if id % 3 == 0 { Ref::NULL } else { new });
    }
    m.mutator().collect();
    (0..SLOTS).filter(|id| id % 3 != 0).for_each(|id| check(m, m.read_ref(m.get(0), id), 2, id));
}

#[test]
fn weak_references_and_global_roots_follow_what_moved_and_forget_what_died() {
    let _watchdog = Watchdog::new();
    let heap = heap::<ReferenceVM>("MarkCompact", 8 * MIB, "2");
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let mut weak = Vec::new();
    m.push(Ref::NULL);
    for id in 0..1000 {
        let new = alloc(m, words_of(id), id, Semantics::Default);
        weak.push(heap.vm().new_weak(new));
        if id % 3 == 0 {
            m.write_ref(new, 0, m.get(0));
            m.set(0, new);
        }
        if id == 500 {
            heap.vm().set_global(0, new);
        }
    }
    for _ in 0..3 {
        m.mutator().collect();
        check(m, heap.vm().global(0), words_of(500), 500);
        for (id, &number) in weak.iter().enumerate() {
            let target = heap.vm().weak(number);
            match id % 3 == 0 || id == 500 {
                true => check(m, target, words_of(id), id),
                false => assert!(target.is_null(), "object {id} died"),
            }
        }
    }
}

#[test]
fn the_table_of_where_immortal_objects_begin_is_charged() {
    const COUNT: usize = 100_000;
    const PAGE: usize = 4096;
    let _watchdog = Watchdog::new();
    let reserved = |plan| {
        let heap = heap::<ReferenceVM>(plan, 16 * MIB, "1");
        let thread = Thread::attach(&heap);
        for _ in 0..COUNT {
            thread.handle().try_alloc(Class { refs: 0, bytes: 24 }, Semantics::Immortal).unwrap();
        }
        heap.statistics().reserved_bytes
    };
    // A bit for each granule of 8 bytes, of objects of 32, in whole pages.
    let table = COUNT * 32 / 8 / 8;
    let charged = reserved("MarkCompact") - reserved("SemiSpace");
    assert!((table - PAGE..table + PAGE).contains(&charged), "{charged} bytes for a table of {table}");
}

#[test]
fn memory_above_what_is_live_goes_back_to_the_system_and_reads_as_zero_again() {
    let _watchdog = Watchdog::new();
    let settings = [("verify.trace", "true"), ("heap.return_memory", "always"), ("gc.workers", "1")];
    let heap = new_heap(ReferenceVM::new(), options("MarkCompact", 16 * MIB, &settings)).unwrap();
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    m.push(alloc(m, 2, 1, Semantics::Default));
    for _ in 0..3 {
        for id in 0..10_000 {
            let new = m.try_alloc(Class { refs: 0, bytes: 800 }, Semantics::Default).unwrap();
            assert!((0..100).all(|word| m.read_word(new, word) == 0), "object {id}");
            (0..100).for_each(|word| m.write_word(new, word, u64::MAX));
        }
        let full = heap.statistics();
        m.mutator().collect();
        let empty = heap.statistics();
        assert!(full.resident_bytes > 8 * MIB && empty.resident_bytes < MIB, "{empty:?} after {full:?}");
    }
}
