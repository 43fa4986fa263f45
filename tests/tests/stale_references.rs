//! References to dead objects whose memory still belongs to a used block: what the verifier says, and what
//! they find there.

use mmtk_core::os::POISON;
use mmtk_core::{Address, Heap, ObjectReference, Semantics, SlotVisitor, VMBinding, WeakProcessor, WordSlot};
use plan_tests::{SideVM, TestVM, Watchdog, collecting_plans, is_child, options, panic_of, pass_again, text_of};
use policies::new_heap;
use policies::spaces::LINE_BYTES;
use reference::{Class, Ref, ReferenceVM, Thread, ThreadHandle, object};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A plan, what to ask it for, and the space that serves it.
type Place = (&'static str, Semantics, &'static str);

/// Where objects stay as long as Immix does not evacuate.
const PLACES: [Place; 4] = [
    ("Immix", Semantics::Default, "immix"),
    ("MarkSweep", Semantics::Default, "mark-sweep"),
    ("Immix", Semantics::NonMoving, "non-moving"),
    ("SemiSpace", Semantics::NonMoving, "non-moving"),
];

/// A heap of one worker, in which Immix does not evacuate.
fn heap<VM: TestVM>(plan: &str, settings: &[(&str, &str)]) -> Heap<VM> {
    let mut all = vec![("verify.trace", "true"), ("gc.workers", "1"), ("immix.defrag", "false")];
    all.extend(settings);
    new_heap(VM::new(), options(plan, 2 << 20, &all)).unwrap()
}

fn alloc<VM: TestVM>(m: ThreadHandle<VM>, class: Class, semantics: Semantics) -> Ref {
    m.try_alloc(class, semantics).unwrap()
}

fn collect<VM: TestVM>(m: ThreadHandle<VM>, times: usize) {
    (0..times).for_each(|_| m.mutator().collect());
}

/// Collects; what the verifier says.
fn complaint<VM: TestVM>(m: ThreadHandle<VM>, what: &str) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| collect(m, 1))).expect_err(&format!("{what}: not found"));
    text_of(panic)
}

/// Makes slot 0 of `holder` refer to an object that died, and expects to be told.
fn revive<VM: TestVM>(m: ThreadHandle<VM>, holder: Ref, dead: Ref, space: &str, what: &str) -> String {
    m.write_ref(holder, 0, dead);
    let text = complaint(m, what);
    let [holder, dead] = [holder, dead].map(|o| o.object().unwrap());
    let bytes = m.mutator().vm().object_size(holder);
    let holder = format!("{} ({holder}, {bytes} bytes)", m.mutator().vm().type_name(holder));
    let start = format!("before the collection: the slot at +8 of {holder} refers to {dead} in {space} space, but ");
    assert!(text.starts_with(&start), "{what}: {text}");
    text
}

/// Three objects side by side. The middle one survives `lived` collections, dies, and is found again `dead`
/// collections later.
fn revive_between_live_objects<VM: TestVM>((plan, semantics, space): Place, lived: usize, dead: usize) {
    let heap = heap::<VM>(plan, &[]);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let [first, middle, last] = [0; 3].map(|_| alloc(m, Class { refs: 1, bytes: 8 }, semantics));
    assert!(space != "immix" || first.0 / LINE_BYTES == last.0 / LINE_BYTES, "not on one line");
    [first, middle, last].into_iter().for_each(|o| _ = m.push(o));
    collect(m, lived);
    m.set(1, Ref::NULL);
    collect(m, dead);
    revive(m, first, middle, space, &format!("{plan}, {semantics:?}, alive for {lived}, dead for {dead}"));
}

/// In fifteen collections the numbers of the epochs come round, and an old mark looks like one of the last
/// collection.
#[test]
fn a_dead_object_between_live_ones_is_reported_however_long_it_is_dead() {
    let _watchdog = Watchdog::new();
    for place in PLACES {
        for lived in 0..3 {
            for dead in 1..=16 {
                revive_between_live_objects::<ReferenceVM>(place, lived, dead);
                revive_between_live_objects::<SideVM<3>>(place, lived, dead);
                revive_between_live_objects::<SideVM<4>>(place, lived, dead);
            }
        }
    }
}

#[test]
fn a_dead_object_in_memory_that_a_thread_was_given_and_did_not_use_is_reported() {
    let _watchdog = Watchdog::new();
    for (plan, semantics, space) in PLACES.into_iter().chain([("SemiSpace", Semantics::Default, "copy")]) {
        let heap = heap::<ReferenceVM>(plan, &[]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let class = Class { refs: 1, bytes: 24 };
        m.push(alloc(m, class, semantics));
        // Further from the cursor than memory is zeroed ahead of it.
        let dead: Vec<_> = (0..400).map(|_| alloc(m, class, semantics)).collect();
        collect(m, 1);
        alloc(m, class, semantics);
        let text = revive(m, m.get(0), dead[399], space, plan);
        let why = ["nothing was allocated there since", "its block is free"];
        assert!(why.iter().any(|why| text.contains(why)), "{plan}: {text}");
    }
}

/// A binding with a root that it hides: from the trace, or from all but the processing of weak references,
/// where it keeps the object alive.
struct Secretive<const KEEPS: bool> {
    vm: ReferenceVM,
    root: AtomicUsize,
    scans: AtomicUsize,
}

// SAFETY: as for the reference binding, but the root is hidden from the trace; the verifier must find out. A
// Secretive<true> keeps its promises: nobody follows the root while it is hidden.
unsafe impl<const KEEPS: bool> VMBinding for Secretive<KEEPS> {
    plan_tests::as_the_reference_binding!(vm);

    fn object_size(&self, object: ObjectReference) -> usize {
        self.vm.object_size(object)
    }
    fn scan_vm(&self, visitor: &mut impl SlotVisitor<WordSlot>) {
        // Of each three scans the second is the trace's.
        if !KEEPS && self.scans.fetch_add(1, Relaxed) % 3 != 1 {
            // SAFETY: zero or an object's address.
            visitor.visit(unsafe { WordSlot::at(Address::from_ptr(self.root.as_ptr())) });
        }
    }
    fn process_weak(&self, weak: &mut dyn WeakProcessor) {
        if KEEPS && let Some(object) = Ref(self.root.load(Relaxed)).object() {
            self.root.store(Ref::from(weak.keep_alive(object)).0, Relaxed);
        }
    }
}

impl<const KEEPS: bool> TestVM for Secretive<KEEPS> {
    fn new() -> Self {
        Secretive { vm: ReferenceVM::new(), root: AtomicUsize::new(0), scans: AtomicUsize::new(0) }
    }
    fn reference(&self) -> &ReferenceVM {
        &self.vm
    }
}

#[test]
fn an_object_that_the_trace_missed_is_reported_after_the_collection() {
    let _watchdog = Watchdog::new();
    for (plan, semantics, space) in PLACES {
        let heap = heap::<Secretive<false>>(plan, &[]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let [first, missed, last] = [0; 3].map(|_| alloc(m, Class { refs: 1, bytes: 8 }, semantics));
        [first, last].into_iter().for_each(|o| _ = m.push(o));
        heap.vm().root.store(missed.0, Relaxed);
        let text = complaint(m, plan);
        let object = missed.object().unwrap();
        assert!(text.starts_with("after the collection: root slot 0x"), "{plan}: {text}");
        assert!(text.contains(&format!("refers to {object} in {space} space, but it")), "{plan}: {text}");
        assert!(text.contains("is not marked"), "{plan}: {text}");
    }
}

#[test]
fn an_object_that_the_binding_kept_alive_unseen_may_come_back() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        for semantics in [Semantics::Default, Semantics::NonMoving] {
            let heap = heap::<Secretive<true>>(plan, &[]);
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let [first, kept, last] = [0; 3].map(|_| alloc(m, Class { refs: 1, bytes: 8 }, semantics));
            [first, last].into_iter().for_each(|o| _ = m.push(o));
            heap.vm().root.store(kept.0, Relaxed);
            for back in [false, true, true, false, false, true] {
                collect(m, 1);
                let kept = Ref(heap.vm().root.load(Relaxed));
                m.write_ref(m.get(0), 0, if back { kept } else { Ref::NULL });
            }
            collect(m, 1);
        }
    }
}

#[test]
fn an_old_object_beside_one_that_the_binding_kept_alive_unseen_is_reported() {
    let _watchdog = Watchdog::new();
    for (plan, semantics, space) in PLACES {
        let heap = heap::<Secretive<true>>(plan, &[]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let [kept, dead] = [0; 2].map(|_| alloc(m, Class { refs: 1, bytes: 8 }, semantics));
        m.push(dead);
        heap.vm().root.store(kept.0, Relaxed);
        collect(m, 1);
        m.pop(1);
        collect(m, 1);
        m.push(dead);
        let text = complaint(m, plan);
        let object = dead.object().unwrap();
        assert!(text.contains(&format!("refers to {object} in {space} space, but it")), "{plan}: {text}");
        assert!(text.contains("it was collected"), "{plan}: {text}");
    }
}

/// The words of memory that belongs to a used block.
fn words(at: Ref, count: usize) -> Vec<u64> {
    // SAFETY: mapped as long as the heap lives, and no other thread uses it.
    (0..count).map(|word| unsafe { (at.0 as *const u64).add(word).read() }).collect()
}

fn poisons_what_it_frees<VM: TestVM>((plan, semantics, _): Place) {
    let heap = heap::<VM>(plan, &[("verify.poison", "true")]);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let class = Class { refs: 0, bytes: 56 };
    let new_object = |n| {
        let object = alloc(m, class, semantics);
        assert_eq!(words(object, 8)[1..], [0; 7], "{plan}: object {n}, new");
        (0..7).for_each(|word| m.write_word(object, word, 0x1111));
        object
    };
    // Every fortieth lives. In the second round the objects lie in the holes that the first one left.
    for round in 0..2 {
        let objects: Vec<_> = (0..2000).map(new_object).collect();
        let (live, dead): (Vec<_>, Vec<_>) = objects.into_iter().enumerate().partition(|(n, _)| n % 40 == 20);
        live.iter().for_each(|(_, object)| _ = m.push(*object));
        collect(m, 1);
        let lines: Vec<usize> = live.iter().flat_map(|(_, o)| [o.0 / LINE_BYTES, (o.0 + 63) / LINE_BYTES]).collect();
        let alone =
            |at: usize| plan != "Immix" || semantics != Semantics::Default || !lines.contains(&(at / LINE_BYTES));
        let mut poisoned = 0;
        for (n, object) in dead {
            if alone(object.0) && alone(object.0 + 63) {
                assert_eq!(words(object, 8), [u64::from_ne_bytes([POISON; 8]); 8], "{plan}: object {n}, round {round}");
                poisoned += 1;
            }
        }
        assert!(poisoned > 1500, "{plan}: only {poisoned} were alone on their lines");
        assert!(live.iter().all(|(_, o)| words(*o, 8)[1..] == [0x1111; 7]), "{plan}: a live object was overwritten");
    }
}

#[test]
fn what_dies_in_a_used_block_is_poisoned_and_what_is_allocated_there_reads_as_zero() {
    let _watchdog = Watchdog::new();
    for place in PLACES {
        poisons_what_it_frees::<ReferenceVM>(place);
        poisons_what_it_frees::<SideVM<4>>(place);
    }
}

/// A text in root 0, and in root 1 a reference into it: where its state byte would be is a letter, in which
/// the bit of a claim is set.
fn refer_into_a_text(m: ThreadHandle<ReferenceVM>) -> Address {
    let text = m.alloc(0, 64);
    (0..8).for_each(|word| m.write_word(text, word, u64::from_ne_bytes(*b"a string")));
    m.push(text);
    let inside = text.0 + 16;
    m.push(Ref(inside));
    Address::from_usize(inside)
}

/// Of plans that move objects, which claim them first.
#[test]
fn a_reference_into_a_text_is_no_object_that_another_worker_moves() {
    let _watchdog = Watchdog::new();
    for plan in ["SemiSpace", "GenCopy", "GenImmix", "Immix", "StickyImmix"] {
        let settings = [("gc.workers", "1"), ("stress.always_defrag", "true"), ("warnings", "never")];
        let heap = new_heap(ReferenceVM::new(), options(plan, 4 << 20, &settings)).unwrap();
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let inside = refer_into_a_text(m);
        let text = panic_of(|| m.mutator().collect());
        let part =
            format!("the state byte of object {inside} is 0x67: a worker moves it, and there is no other worker");
        assert!(text.contains(&part) && text.contains("verify.trace=true"), "{plan}: {text}");
    }
}

/// Where the claim of nobody is, and what takes its place once a warning has come.
static CLAIMED: AtomicUsize = AtomicUsize::new(0);

/// Makes an object of what nobody has claimed.
struct Rescuer;

impl log::Log for Rescuer {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        if text.contains("for another to move object") {
            eprintln!("{text}");
            // SAFETY: a word of a text that no thread but the worker that waits looks at.
            unsafe { object::write_header(Address::from_usize(CLAIMED.load(Relaxed)), 0, 2) };
        }
    }
    fn flush(&self) {}
}

#[test]
fn a_worker_that_waits_long_for_the_claim_of_nobody_says_so() {
    let _watchdog = Watchdog::new();
    if is_child() {
        log::set_logger(&Rescuer).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
        let settings = [("gc.workers", "2"), ("gc.wake_helpers", "always"), ("safepoint.warn_ms", "0")];
        let heap = new_heap(ReferenceVM::new(), options("SemiSpace", 4 << 20, &settings)).unwrap();
        let thread = Thread::attach(&heap);
        let inside = refer_into_a_text(thread.handle());
        CLAIMED.store(inside.as_usize(), Relaxed);
        thread.handle().mutator().collect();
        return;
    }
    let error = pass_again("a_worker_that_waits_long_for_the_claim_of_nobody_says_so");
    assert!(error.contains("whose state byte is 0x67. If no worker is in a function of the VM, no object"), "{error}");
}
