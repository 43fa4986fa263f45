//! What the verifier and the slow paths say about a binding that breaks its contract.

use mmtk_core::{
    Address, Heap, MutatorState, ObjectReference, OldToNew, Semantics, SlotVisitor, StateLocation, VMBinding,
    WeakProcessor, WordSlot,
};
use plan_tests::{
    SideVM, TestVM, Watchdog, collecting_plans, options, panic_of, pool_in, region_in, text_of, verified_heap as heap,
};
use policies::{PLANS, new_heap};
use reference::{Class, Ref, ReferenceVM, ShadowStack, Thread, object};
use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

const LIMIT: usize = 2 << 20;

#[test]
fn a_request_that_is_not_whole_granules_is_told_so() {
    fn check<VM: TestVM>(sizes: &[usize], granule: &str) {
        for plan in PLANS {
            let heap = new_heap(VM::new(), options(plan.name, LIMIT, &[("gc.workers", "1")])).unwrap();
            let thread = Thread::attach(&heap);
            let m = thread.handle().mutator();
            for &bytes in sizes {
                for semantics in [Semantics::Default, Semantics::NonMoving, Semantics::Immortal] {
                    let text = panic_of(|| m.try_alloc_with(bytes, semantics));
                    let expect = format!("{bytes} bytes requested: an object is whole granules of {granule} bytes");
                    assert!(text.contains(&expect), "{}: {text}", plan.name);
                }
                if cfg!(debug_assertions) {
                    assert!(panic_of(|| m.alloc(bytes)).contains("whole granules"));
                }
            }
            // Nothing came of it.
            assert_eq!(heap.statistics().reserved_bytes, 0);
            thread.handle().alloc(1, 8);
            m.collect();
        }
    }
    let _watchdog = Watchdog::new();
    check::<ReferenceVM>(&[0, 4, 20, 4001, 50_001], "8");
    check::<SideVM<4>>(&[0, 8, 24, 4008, 50_008], "16");
}

/// Compiled code bumps by itself, and a release build does not look at sizes while it bumps.
#[test]
fn an_object_that_ended_inside_a_granule_is_found_at_the_next_slow_path_and_the_next_pause() {
    let _watchdog = Watchdog::new();
    for plan in ["Immix", "SemiSpace", "MarkCompact"] {
        let heap = heap(plan, LIMIT, &[]);
        let thread = Thread::attach(&heap);
        thread.push(thread.alloc(1, 8));
        // SAFETY: the cursor, as compiled code finds it, with four bytes to spare behind it.
        thread.with_mutator(|m| unsafe {
            let cursor = m.state().byte_add(MutatorState::<ReferenceVM>::CURSOR_OFFSET).cast::<usize>();
            *cursor += 4;
        });
        let late = "inside a granule of 8 bytes: an earlier one was not whole granules";
        let text = panic_of(|| thread.try_alloc(Class { refs: 1, bytes: 8 }, Semantics::Immortal));
        assert!(text.contains(late), "{plan}: {text}");
        let text = panic_of(|| thread.collect());
        assert!(text.contains(late), "{plan}: {text}");
    }
}

/// A heap of one worker, so that the thread that collects scans by itself.
fn verified<VM: VMBinding>(vm: VM, plan: &str) -> Heap<VM> {
    new_heap(vm, options(plan, LIMIT, &[("verify.trace", "true"), ("gc.workers", "1")])).unwrap()
}

#[test]
fn a_dangling_slot_is_reported_with_object_slot_space_and_phase() {
    let _watchdog = Watchdog::new();
    let spaces =
        [("Immix", "immix"), ("SemiSpace", "copy"), ("MarkSweep", "mark-sweep"), ("MarkCompact", "mark-compact")];
    let cases = spaces.into_iter().flat_map(|(plan, own)| {
        [(16, Semantics::Default, own), (50_000, Semantics::Default, "large")].map(|case| (plan, case))
    });
    for (plan, (bytes, semantics, space)) in cases {
        let heap = verified(ReferenceVM::new(), plan);
        let thread = Thread::attach(&heap);
        thread.push(thread.alloc(3, 0));
        // On lines of its own, which are free when it is dead.
        thread.alloc(0, 2000);
        let dead = thread.try_alloc(Class { refs: 0, bytes }, semantics).unwrap();
        thread.alloc(0, 2000);
        thread.collect();
        let holder = thread.peek(0);
        thread.write_ref(holder, 2, dead);
        let result = catch_unwind(AssertUnwindSafe(|| thread.collect()));
        let text = text_of(result.expect_err(&format!("{plan}, {bytes} bytes: not found")));
        let parts = [
            "before the collection".to_string(),
            format!(
                "the slot at +24 of object with 3 references and 4 words in all ({}, 32 bytes)",
                holder.object().unwrap()
            ),
            format!("refers to {}", dead.object().unwrap()),
            format!("in {space} space"),
        ];
        for part in parts {
            assert!(text.contains(&part), "{plan}: {part:?} is missing in: {text}");
        }
        assert!(text.contains("\n  likely causes: a forgotten root: "), "{plan}: {text}");
        assert!(!text.contains("it is old"), "{plan}: {text}");
    }
}

#[test]
fn a_dangling_root_is_reported_with_its_slot() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = verified(ReferenceVM::new(), plan);
        let thread = Thread::attach(&heap);
        let dead = thread.alloc(0, 50_000);
        thread.collect();
        thread.push(dead);
        let text = text_of(catch_unwind(AssertUnwindSafe(|| thread.collect())).unwrap_err());
        let object = dead.object().unwrap();
        assert!(text.starts_with("before the collection: root slot 0x"), "{plan}: {text}");
        let place = match plan {
            "PageProtect" => "page-protect space, but no object begins there",
            _ => "large space, but no large object",
        };
        assert!(text.contains(&format!("refers to {object} in {place}")), "{plan}: {text}");
    }
}

#[test]
fn after_the_verifier_panicked_the_other_threads_panic_and_nobody_hangs() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = verified(ReferenceVM::new(), plan);
        let (attached, waiting) = mpsc::channel();
        std::thread::scope(|scope| {
            let others: Vec<_> = (0..2)
                .map(|native| {
                    let (heap, attached) = (&heap, attached.clone());
                    scope.spawn(move || {
                        let thread = Thread::attach(heap);
                        attached.send(()).unwrap();
                        loop {
                            match native {
                                0 => thread.poll(),
                                _ => thread.native(std::thread::yield_now),
                            }
                        }
                    })
                })
                .collect();
            waiting.iter().take(2).for_each(drop);
            let thread = Thread::attach(&heap);
            let dead = thread.alloc(0, 50_000);
            thread.collect();
            thread.push(dead);
            assert!(catch_unwind(AssertUnwindSafe(|| thread.collect())).is_err());
            for other in others {
                let text = text_of(other.join().map(|never: std::convert::Infallible| match never {}).unwrap_err());
                assert!(text.contains("a collection panicked"), "{plan}: {text}");
            }
            let again = catch_unwind(AssertUnwindSafe(|| thread.poll())).unwrap_err();
            assert!(text_of(again).contains("a collection panicked"), "{plan}: the leader may not go on either");
        });
        assert!(catch_unwind(AssertUnwindSafe(|| heap.collect())).is_err());
    }
}

/// A binding that is wrong about one object.
struct Liar(ReferenceVM);

/// What it is wrong about.
#[derive(Copy, Clone, Debug)]
enum Lie {
    /// Its size, by this many bytes.
    Size(isize),
    /// Its slots: one more is visited, at this offset.
    Slot(usize),
    /// Its slots, when they are visited in parts: none is.
    Parts,
    /// Where its slots are: between these offsets.
    Place([usize; 2]),
}

thread_local! {
    /// The object, and the lie; for the thread that collects.
    static LIE: Cell<Option<(usize, Lie)>> = const { Cell::new(None) };
    static ROOTS_TWICE: Cell<bool> = const { Cell::new(false) };
}

fn lie_about(object: ObjectReference) -> Option<Lie> {
    LIE.get().filter(|(liar, _)| object.address().as_usize() == *liar).map(|(_, lie)| lie)
}

// SAFETY: not kept, on purpose: the verifier must find out before the collector relies on it.
unsafe impl VMBinding for Liar {
    type Slot = WordSlot;
    type Local = ShadowStack;
    const STATE: StateLocation = ReferenceVM::STATE;
    const OLD_TO_NEW: OldToNew = OldToNew::Barrier;
    const SCAN_BESIDE: bool = true;

    fn object_size(&self, object: ObjectReference) -> usize {
        match lie_about(object) {
            Some(Lie::Size(by)) => self.0.object_size(object).wrapping_add_signed(by),
            _ => self.0.object_size(object),
        }
    }
    fn type_name(&self, object: ObjectReference) -> Cow<'static, str> {
        match object::header(object).refs() {
            2 => "Pair".into(),
            _ => "Bytes".into(),
        }
    }
    fn scan_object(&self, object: ObjectReference, visitor: &mut impl SlotVisitor<WordSlot>) {
        self.0.scan_object(object, visitor);
        if let Some(Lie::Slot(offset)) = lie_about(object) {
            // SAFETY: not kept, on purpose.
            visitor.visit(unsafe { WordSlot::at(object.address().plus(offset)) });
        }
    }
    fn scan_thread(&self, stack: &mut ShadowStack, visitor: &mut impl SlotVisitor<WordSlot>) {
        self.0.scan_thread(stack, visitor);
        if ROOTS_TWICE.get() {
            self.0.scan_thread(stack, visitor);
        }
    }
    fn slots_of_large(&self, object: ObjectReference) -> Option<usize> {
        lie_about(object).filter(|lie| matches!(lie, Lie::Parts | Lie::Place(_))).map(|_| 2)
    }
    fn scan_part(&self, object: ObjectReference, from: usize, to: usize, visitor: &mut impl SlotVisitor<WordSlot>) {
        if !matches!(lie_about(object), Some(Lie::Parts)) {
            self.0.scan_part(object, from, to, visitor);
        }
    }
    fn place_of_slots(&self, object: ObjectReference) -> Option<Range<Address>> {
        let Some(Lie::Place([from, to])) = lie_about(object) else { return None };
        Some(object.address().plus(from)..object.address().plus(to))
    }
    fn process_weak(&self, weak: &mut dyn WeakProcessor) {
        self.0.process_weak(weak);
    }
}

impl TestVM for Liar {
    fn new() -> Self {
        Liar(ReferenceVM::new())
    }
    fn reference(&self) -> &ReferenceVM {
        &self.0
    }
}

/// Where an object comes from.
#[derive(Copy, Clone, Debug)]
enum From {
    Plan(Semantics),
    Region,
    Pool,
}

const SOURCES: [From; 5] = [
    From::Plan(Semantics::Default),
    From::Plan(Semantics::NonMoving),
    From::Plan(Semantics::Immortal),
    From::Region,
    From::Pool,
];

/// Two neighbours on the stack of a thread, the first of which the binding lies about after `collections`
/// collections; what the verifier says in the next.
fn lie(plan: &str, from: From, class: Class, lie: Lie, collections: usize) -> (Ref, String) {
    let heap = verified(Liar::new(), plan);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let region = region_in(&heap);
    let pool = matches!(from, From::Pool).then(|| pool_in(&heap, class.words() * 8));
    for _ in 0..2 {
        let object = match from {
            From::Plan(semantics) => m.try_alloc(class, semantics).unwrap(),
            From::Region | From::Pool => {
                let at = match &pool {
                    None => region.alloc(&m.mutator(), class.words() * 8).address(),
                    Some(pool) => pool.alloc(&m.mutator()).address(),
                };
                // SAFETY: just returned by the allocator, of that many words.
                unsafe { object::write_header(at, class.refs, class.words()) };
                Ref(at.as_usize())
            }
        };
        // So that its slots refer to something.
        if class.refs > 0 {
            m.write_ref(object, 0, object);
        }
        m.push(object);
    }
    (0..collections).for_each(|_| m.mutator().collect());
    let first = m.get(0);
    LIE.set(Some((first.0, lie)));
    let result = catch_unwind(AssertUnwindSafe(|| m.mutator().collect()));
    LIE.set(None);
    let silent = format!("{plan}, {from:?}, {class:?}, {lie:?} after {collections} collections: not found");
    (first, text_of(result.expect_err(&silent)))
}

/// Every plan and every source of objects, with sizes that it serves: small, of more than a line, and large
/// ones.
fn everywhere() -> impl Iterator<Item = (&'static str, From, Class)> {
    let sizes = |from| match from {
        From::Pool => &[16, 48, 1000][..],
        _ => &[16, 48, 1000, 50_000],
    };
    let cases = move |from| sizes(from).iter().map(move |bytes| (from, Class { refs: 2, bytes: *bytes }));
    collecting_plans()
        .flat_map(move |plan| SOURCES.into_iter().flat_map(cases).map(move |(from, class)| (plan, from, class)))
}

#[test]
fn an_object_whose_size_is_not_what_was_allocated_is_reported() {
    let _watchdog = Watchdog::new();
    for (plan, from, class) in everywhere() {
        for (by, collections) in [(-8, 0), (8, 0), (-8, 1), (8, 1), (40_000, 0)] {
            let (object, text) = lie(plan, from, class, Lie::Size(by), collections);
            let (object, asked) = (object.object().unwrap(), class.words() * 8);
            let says = asked.wrapping_add_signed(by);
            let parts = [
                "before the collection: ",
                &format!("Pair ({object}"),
                &format!("object_size says {says} bytes where {asked} were asked for"),
            ];
            for part in parts {
                assert!(text.contains(part), "{plan}, {from:?}, {class:?}, {by}: {part:?} is missing in: {text}");
            }
        }
    }
}

#[test]
fn an_object_of_a_broken_granule_is_reported() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let from = From::Plan(Semantics::Default);
        let (_, text) = lie(plan, from, Class { refs: 0, bytes: 56 }, Lie::Size(3), 0);
        assert!(text.contains("object_size says 67 bytes where 64 were asked for"), "{plan}: {text}");
    }
}

#[test]
fn a_slot_that_is_visited_twice_lies_outside_its_object_or_is_not_aligned_is_reported() {
    let _watchdog = Watchdog::new();
    for (plan, from, class) in everywhere() {
        let bytes = class.words() * 8;
        let cases = [
            (16, "the slot at +16 is visited twice".to_string()),
            (bytes, format!("the slot at +{bytes} lies outside the object")),
            (12, "the slot at +12 is not aligned to 8 bytes".to_string()),
        ];
        for (offset, why) in cases {
            let (object, text) = lie(plan, from, class, Lie::Slot(offset), 0);
            let object = object.object().unwrap();
            for part in ["before the collection: ", &format!("Pair ({object}, {bytes} bytes)"), &why] {
                assert!(text.contains(part), "{plan}, {from:?}, {class:?}: {part:?} is missing in: {text}");
            }
        }
    }
}

#[test]
fn parts_of_an_array_that_leave_out_slots_are_reported() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let class = Class { refs: 2, bytes: 50_000 };
        let (object, text) = lie(plan, From::Plan(Semantics::Default), class, Lie::Parts, 0);
        let expect =
            format!("Pair ({}, 50024 bytes): scan_object visits 1 references, but scan_part", object.object().unwrap());
        assert!(text.contains(&expect), "{plan}: {expect:?} is missing in: {text}");
    }
}

#[test]
fn slots_of_an_array_that_are_not_where_the_binding_says_are_reported() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let class = Class { refs: 2, bytes: 50_000 };
        let beside = "that the slots 0 to 2 are at +16 to +32, but scan_part visits the slot at +8 for them";
        let no_range = |range| format!("{range}, which is not a range of the object for the 2 slots");
        let cases = [
            ([16, 32], beside.to_string()),
            ([8, 25], no_range("+8 to +25")),
            ([24, 8], no_range("+24 to +8")),
            ([50_016, 50_032], no_range("+50016 to +50032")),
            ([0usize.wrapping_sub(8), 8], no_range("-8 to +8")),
        ];
        for (place, says) in cases {
            let (object, text) = lie(plan, From::Plan(Semantics::Default), class, Lie::Place(place), 0);
            let expect = format!("Pair ({}, 50024 bytes): place_of_slots says {says}", object.object().unwrap());
            assert!(text.contains(&expect), "{plan}: {expect:?} is missing in: {text}");
        }
    }
}

#[test]
fn a_state_byte_that_the_vm_overwrote_is_reported() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        for (semantics, byte) in [
            (Semantics::Default, 0x05),
            (Semantics::Default, 0x40),
            (Semantics::NonMoving, 0x80),
            (Semantics::Immortal, 0x0f),
        ] {
            for collections in 0..2 {
                let heap = verified(ReferenceVM::new(), plan);
                let thread = Thread::attach(&heap);
                thread.push(thread.try_alloc(Class { refs: 2, bytes: 8 }, semantics).unwrap());
                (0..collections).for_each(|_| thread.collect());
                let object = thread.peek(0);
                // SAFETY: the top byte of a live object's header, which is the collector's.
                unsafe { (object.0 as *mut u8).add(7).write(byte) };
                let text = panic_of(|| thread.collect());
                let whose = if collections == 0 { "0x00 of a new object" } else { "that the collector left" };
                let name =
                    format!("object with 2 references and 4 words in all ({}, 32 bytes)", object.object().unwrap());
                let says = format!("its state byte is {byte:#04x}, not the ");
                for part in ["before the collection: root slot 0x", &name, &says, whose, "likely causes: a header word"]
                {
                    assert!(text.contains(part), "{plan}, {semantics:?}: {part:?} is missing in: {text}");
                }
            }
        }
    }
}

#[test]
fn a_pointer_into_an_object_is_reported_with_the_object() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans().filter(|plan| *plan != "PageProtect") {
        for collections in 0..2 {
            let heap = verified(ReferenceVM::new(), plan);
            let thread = Thread::attach(&heap);
            thread.push(thread.alloc(0, 40));
            (0..collections).for_each(|_| thread.collect());
            let object = thread.peek(0);
            thread.push(Ref(object.0 + 16));
            let text = panic_of(|| thread.collect());
            let inside = format!("(object {:#x}, 48 bytes)", object.0);
            let cell = "no object begins there; the cell around it begins at";
            let known = text.contains("no object begins there: it is at +16 in object with") && text.contains(&inside);
            assert!(known || text.contains(cell), "{plan}: {text}");
        }
    }
}

#[test]
fn a_root_that_is_visited_twice_is_reported() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = verified(Liar::new(), plan);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        m.push(m.alloc(0, 8));
        ROOTS_TWICE.set(true);
        let text = panic_of(|| m.mutator().collect());
        ROOTS_TWICE.set(false);
        assert!(text.starts_with("before the collection: the root at 0x"), "{plan}: {text}");
        assert!(text.contains(" is visited twice\n  likely causes: "), "{plan}: {text}");
    }
}
