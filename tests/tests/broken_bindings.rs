//! What a binding that breaks its contract is told, by the verifier and by the slow paths.

use lab::workloads::heap::Mutator as _;
use mmtk_core::weak::WeakProcessor;
use mmtk_core::{Heap, MutatorState, ObjectReference, Semantics, VMBinding};
use plan_tests::{
    Attached, SideVM, TestVM, Watchdog, collecting_plans, options, panic_of, text_of, verified_heap as heap,
};
use policies::{PLANS, new_heap};
use reference::{Class, Ref, ReferenceVM, Thread, object};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

const LIMIT: usize = 2 << 20;

#[test]
fn a_request_that_is_not_whole_granules_is_told_so() {
    fn check<VM: TestVM>(sizes: &[usize], granule: &str) {
        for plan in PLANS {
            let heap = new_heap(VM::new(), options(plan.name, LIMIT, &[("gc.workers", "1")])).unwrap();
            let thread = Attached::new(&heap);
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
        thread.push(thread.alloc(Class { refs: 1, bytes: 8 }));
        // SAFETY: the cursor, as compiled code finds it, with four bytes to spare behind it.
        thread.with_mutator(|m| unsafe {
            let cursor = m.state().byte_add(MutatorState::<ReferenceVM>::CURSOR_OFFSET).cast::<usize>();
            *cursor += 4;
        });
        let late = "inside a granule of 8 bytes: an earlier one was not whole granules";
        let text = panic_of(|| thread.try_alloc_with(Class { refs: 1, bytes: 8 }, Semantics::Immortal));
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
        thread.push(thread.alloc(Class { refs: 3, bytes: 0 }));
        // On lines of its own, which are free when it is dead.
        thread.alloc(Class { refs: 0, bytes: 2000 });
        let dead = thread.try_alloc_with(Class { refs: 0, bytes }, semantics).unwrap();
        thread.alloc(Class { refs: 0, bytes: 2000 });
        thread.collect();
        let holder = thread.peek(0);
        thread.write_ref(holder, 2, dead);
        let slot = object::slot(holder.object().unwrap(), 2);
        let result = catch_unwind(AssertUnwindSafe(|| thread.collect()));
        let text = text_of(result.expect_err(&format!("{plan}, {bytes} bytes: not found")));
        let parts = [
            "before the collection".to_string(),
            format!("slot {slot}"),
            format!("of {}", holder.object().unwrap()),
            format!("refers to {}", dead.object().unwrap()),
            format!("in {space} space"),
        ];
        for part in parts {
            assert!(text.contains(&part), "{plan}: {part:?} is missing in: {text}");
        }
    }
}

#[test]
fn a_dangling_root_is_reported_with_its_slot() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = verified(ReferenceVM::new(), plan);
        let thread = Thread::attach(&heap);
        let dead = thread.alloc(Class { refs: 0, bytes: 50_000 });
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
            let dead = thread.alloc(Class { refs: 0, bytes: 50_000 });
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

/// A binding that lies about the size of one object.
struct Liar(ReferenceVM);

thread_local! {
    /// The object, and how many bytes its binding adds; for the thread that collects.
    static LIE: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

// SAFETY: not kept, on purpose: the verifier must find out before the collector relies on it.
unsafe impl VMBinding for Liar {
    plan_tests::as_the_reference_binding!(0);

    fn object_size(object: ObjectReference) -> usize {
        let (liar, more) = LIE.get();
        ReferenceVM::object_size(object) + if object.address().as_usize() == liar { more } else { 0 }
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

/// Two neighbours, the first of which says that it has `more` bytes: what the verifier says.
fn lie(plan: &str, bytes: usize, more: usize) -> (Ref, String) {
    let heap = verified(Liar::new(), plan);
    let thread = plan_tests::Attached::new(&heap);
    let m = thread.handle();
    let first = m.alloc(0, bytes);
    m.push(first);
    let second = m.alloc(0, bytes);
    m.push(second);
    LIE.set((first.0, more));
    let result = catch_unwind(AssertUnwindSafe(|| m.mutator().collect()));
    LIE.set((0, 0));
    (Ref(first.0), text_of(result.unwrap_err()))
}

#[test]
fn an_object_that_says_it_is_larger_than_it_is_is_reported() {
    let _watchdog = Watchdog::new();
    let cases = [
        ("Immix", 64, 8, "overlaps the object", "immix"),
        ("SemiSpace", 64, 8, "overlaps the object", "copy"),
        ("MarkCompact", 64, 8, "overlaps the object", "mark-compact"),
        ("MarkSweep", 56, 16, "it was given a cell of 64 bytes", "mark-sweep"),
        ("Immix", 50_000, 8000, "it was given 13 pages", "large"),
        ("Immix", 64, 40_000, "over the end of its block", "immix"),
        ("SemiSpace", 64, 40_000, "over the end of its block", "copy"),
        ("MarkCompact", 64, 40_000, "over the end of its block", "mark-compact"),
    ];
    for (plan, bytes, more, why, space) in cases {
        let (object, text) = lie(plan, bytes, more);
        let object = object.object().unwrap();
        let parts = [
            "before the collection",
            why,
            &format!("{} space", space),
            &object.address().to_string(),
            "object_size",
            "slot 0x",
        ];
        for part in parts {
            assert!(text.contains(part), "{plan}, {bytes}+{more}: {part:?} is missing in: {text}");
        }
    }
}

#[test]
fn an_object_of_a_broken_granule_is_reported() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let (_, text) = lie(plan, 56, 3);
        assert!(text.contains("object_size says 67 bytes, not a whole number of granules"), "{plan}: {text}");
    }
}
