//! What a collection reports as live, by space: each space its own objects, and together what the whole heap
//! has.

use mmtk_core::events::{CollectionKind, Event, PauseReport};
use mmtk_core::{Heap, Semantics};
use plan_tests::{SideVM, TestVM, Watchdog, collecting_plans, options, pool_in, region_in};
use policies::new_heap;
use reference::{Class, Ref, ReferenceVM, Thread, ThreadHandle, object};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A heap, and the reports of its pauses.
fn heap_and_pauses<VM: TestVM>(plan: &str) -> (Heap<VM>, Arc<Mutex<Vec<PauseReport>>>) {
    let settings = [("verify.trace", "true"), ("gc.workers", "2"), ("nursery.bytes", "64K")];
    let heap = new_heap(VM::new(), options(plan, 32 << 20, &settings)).unwrap();
    let pauses: Arc<Mutex<Vec<PauseReport>>> = Arc::default();
    let seen = pauses.clone();
    heap.listen(Box::new(move |event: &Event| {
        if let Event::Pause(report) = event {
            seen.lock().unwrap().push((**report).clone());
        }
    }));
    (heap, pauses)
}

/// The name of the space that most objects of this plan lie in.
fn own_space(plan: &str) -> &'static str {
    match plan {
        "SemiSpace" | "GenCopy" => "copy",
        "MarkSweep" | "StickyMarkSweep" => "mark-sweep",
        "MarkCompact" => "mark-compact",
        "PageProtect" => "page-protect",
        _ => "immix",
    }
}

/// Where objects of this kind lie: the name of the space; none for the plan's own.
fn space_of(plan: &str, bytes: usize, semantics: Semantics) -> Option<&'static str> {
    match semantics {
        Semantics::Immortal => Some("immortal"),
        _ if plan == "PageProtect" => None,
        _ if bytes > 32 << 10 => Some("large"),
        Semantics::NonMoving if !plan.ends_with("MarkSweep") => Some("non-moving"),
        Semantics::NonMoving | Semantics::Default => None,
    }
}

/// Keeps objects of all kinds in a list at root 0, lets the first part of them die, and compares each
/// collection's report with what lives.
fn each_space_reports_its_own<VM: TestVM>(plan: &str) {
    const KINDS: [(usize, Semantics, usize); 6] = [
        (24, Semantics::Default, 1000),
        (2000, Semantics::Default, 50),
        (100_000, Semantics::Default, 3),
        (40, Semantics::NonMoving, 500),
        (100_000, Semantics::NonMoving, 2),
        (56, Semantics::Immortal, 70),
    ];
    let (heap, pauses) = heap_and_pauses::<VM>(plan);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let (region, pool) = (region_in(&heap), pool_in(&heap, 64));
    let in_region = ThreadHandle::<VM>::words(Class { refs: 1, bytes: 80 }) * 8;
    m.push(Ref::NULL);
    let mut live: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    let keep = |object: Ref| {
        m.write_ref(object, 0, m.get(0));
        m.set(0, object);
    };
    for round in 1..=3 {
        // Garbage of all kinds but one that stays: half of each round.
        for (bytes, semantics, count) in KINDS {
            let class = Class { refs: 1, bytes };
            for n in 0..2 * count {
                let new = m.try_alloc(class, semantics).unwrap();
                if n % 2 == 0 {
                    keep(new);
                    *live.entry(space_of(plan, bytes, semantics)).or_default() += ThreadHandle::<VM>::words(class) * 8;
                }
            }
        }
        for _ in 0..20 * round {
            let at = region.alloc(&m.mutator(), in_region).address();
            // SAFETY: just returned by the allocator, of that many bytes.
            unsafe { object::write_header(at, 1, in_region / 8) };
            keep(Ref(at.as_usize()));
            *live.entry(Some("regions")).or_default() += in_region;
            let at = pool.alloc(&m.mutator()).address();
            // SAFETY: as above.
            unsafe { object::write_header(at, 1, pool.object_bytes() / 8) };
            keep(Ref(at.as_usize()));
            *live.entry(Some("pools")).or_default() += pool.object_bytes();
        }
        m.mutator().collect();
        let pauses = std::mem::take(&mut *pauses.lock().unwrap());
        for pause in &pauses {
            let sum: usize = pause.spaces.iter().map(|space| space.live_bytes).sum();
            assert_eq!(sum, pause.live_bytes, "{plan}: {:?} in a {:?} collection", pause.spaces, pause.kind);
            for space in &pause.spaces {
                assert!(space.live_bytes <= space.reserved_bytes, "{plan}: {space:?}");
            }
        }
        let full = pauses.last().unwrap();
        assert_eq!(full.kind, CollectionKind::Full);
        let own = full.spaces[0].name;
        assert_eq!(own, own_space(plan));
        let expected: BTreeMap<&str, usize> = live.iter().map(|(name, bytes)| (name.unwrap_or(own), *bytes)).collect();
        let reported: BTreeMap<&str, usize> =
            full.spaces.iter().filter(|s| s.live_bytes > 0).map(|s| (s.name, s.live_bytes)).collect();
        assert_eq!(reported, expected, "{plan}");
        assert_eq!(heap.statistics().live_bytes, full.live_bytes, "{plan}");
    }
    m.set(0, Ref::NULL);
    m.mutator().collect();
    let empty = pauses.lock().unwrap().pop().unwrap();
    assert!(empty.spaces.iter().all(|space| space.live_bytes == 0), "{plan}: {:?}", empty.spaces);
    // PageProtect remembers what died.
    let gone = |name: &str| name == "large" || name == "non-moving" || name == own_space(plan) && plan != "PageProtect";
    for space in empty.spaces.iter().filter(|space| gone(space.name)) {
        assert_eq!(space.reserved_bytes, 0, "{plan}: {space:?}");
    }
    region.release(&m.mutator());
    pool.release(&m.mutator());
}

/// Three kinds of spaces took the live bytes of the whole heap for their own.
#[test]
fn each_space_reports_its_own_live_bytes_and_their_sum_is_the_heaps() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        each_space_reports_its_own::<ReferenceVM>(plan);
        each_space_reports_its_own::<SideVM<4>>(plan);
    }
}
