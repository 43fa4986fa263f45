//! Objects are found by any address inside them, and words of stacks that may be references keep them alive
//! and in place.

use mmtk_core::metadata::EPOCH_MAX;
use mmtk_core::{
    Address, Heap, ObjectReference, OldToNew, Pool, Region, Semantics, SlotVisitor, StateLocation, VMBinding, WordSlot,
};
use plan_tests::matrix::{self, Stress, all_workloads};
use plan_tests::{
    AmbiguousVM, TestVM, Watchdog, as_the_reference_binding, collecting_plans, options, pool_in, region_in,
};
use policies::{PLANS, new_heap};
use proptest::prelude::*;
use reference::{Class, Ref, ReferenceVM, ShadowStack, Thread, ThreadHandle, object};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The reference VM, which can be asked what lies where.
struct FindingVM(ReferenceVM);

// SAFETY: as for the reference binding.
unsafe impl VMBinding for FindingVM {
    as_the_reference_binding!(0);
    const OBJECT_STARTS: bool = true;

    fn object_size(&self, object: ObjectReference) -> usize {
        self.0.object_size(object)
    }
    fn type_name(&self, object: ObjectReference) -> Cow<'static, str> {
        self.0.type_name(object)
    }
}

impl TestVM for FindingVM {
    fn new() -> Self {
        FindingVM(ReferenceVM::new())
    }
    fn reference(&self) -> &ReferenceVM {
        &self.0
    }
}

/// The reference VM, whose objects may have references among their data: an object with `refs` slots has
/// ambiguous words behind them, but one without any has none (as one allocates strings and numbers in such a
/// heap). With `STACKS`, nobody knows the roots either, as in a program in C.
struct OpaqueVM<const STACKS: bool>(ReferenceVM);

// SAFETY: as for the reference binding; the ambiguous words lie inside the object, or are those of a shadow
// stack.
unsafe impl<const STACKS: bool> VMBinding for OpaqueVM<STACKS> {
    type Slot = WordSlot;
    type Local = ShadowStack;
    const STATE: StateLocation = ReferenceVM::STATE;
    const OLD_TO_NEW: OldToNew = OldToNew::Barrier;
    const SCAN_BESIDE: bool = true;
    const OBJECT_STARTS: bool = true;
    const CONSERVATIVE_HEAP: bool = true;
    const CONSERVATIVE_STACKS: bool = STACKS;

    fn object_size(&self, object: ObjectReference) -> usize {
        self.0.object_size(object)
    }
    fn scan_object(&self, object: ObjectReference, visitor: &mut impl SlotVisitor<WordSlot>) {
        self.0.scan_object(object, visitor);
        let header = object::header(object);
        if header.refs() > 0 {
            visitor.visit_ambiguous(object::slot(object, header.refs())..object.address().plus(header.words() * 8));
        }
    }
    fn scan_thread(&self, stack: &mut ShadowStack, visitor: &mut impl SlotVisitor<WordSlot>) {
        if !STACKS {
            self.0.scan_thread(stack, visitor);
        }
    }
    fn scan_ambiguous(&self, stack: &mut ShadowStack, look: &mut dyn FnMut(Range<Address>)) {
        look(stack.range());
    }
    fn scan_vm(&self, visitor: &mut impl SlotVisitor<WordSlot>) {
        self.0.scan_vm(visitor);
    }
}

impl<const STACKS: bool> TestVM for OpaqueVM<STACKS> {
    fn new() -> Self {
        OpaqueVM(ReferenceVM::new())
    }
    fn reference(&self) -> &ReferenceVM {
        &self.0
    }
}

/// The plans whose objects may have ambiguous words.
fn conservative_plans() -> impl Iterator<Item = &'static str> {
    PLANS.iter().filter(|plan| plan.needs.conservative && plan.name != "NoGC").map(|plan| plan.name)
}

const SETTINGS: [(&str, &str); 3] = [("verify.trace", "true"), ("nursery.bytes", "64K"), ("gc.workers", "2")];

fn heap<VM: TestVM>(plan: &str) -> Heap<VM> {
    new_heap(VM::new(), options(plan, 32 << 20, &SETTINGS)).unwrap()
}

/// The plans that can hold an object in place.
fn pinning_plans() -> impl Iterator<Item = &'static str> {
    PLANS.iter().filter(|plan| plan.needs.pins && plan.name != "NoGC").map(|plan| plan.name)
}

/// Everything on the shadow stack is found by each of its words, and nothing is elsewhere.
fn only_these_are_found<VM: TestVM>(m: ThreadHandle<VM>, stack: std::ops::Range<usize>, dead: &[Address]) {
    let live: BTreeMap<usize, usize> = stack
        .map(|index| m.get(index).object().unwrap())
        .map(|object| (object.address().as_usize(), m.mutator().vm().object_size(object)))
        .collect();
    let mutator = m.mutator();
    for (start, bytes) in &live {
        for offset in (0..*bytes).step_by(24).chain([1, bytes - 1]) {
            let found = mutator.find_object(Address::from_usize(start + offset));
            assert_eq!(found.map(|o| o.address().as_usize()), Some(*start), "{offset} bytes into {bytes}");
        }
        assert!(mutator.is_object(Address::from_usize(*start)));
        assert!(!mutator.is_object(Address::from_usize(start + 8)));
        let info = mutator.describe(Address::from_usize(start + 8)).unwrap();
        assert_eq!((info.object.address().as_usize(), info.bytes), (*start, *bytes));
    }
    for address in dead {
        let around =
            live.range(..=address.as_usize()).next_back().filter(|(at, bytes)| address.as_usize() < *at + *bytes);
        let found = mutator.find_object(*address).map(|object| object.address().as_usize());
        assert_eq!(found, around.map(|(at, _)| *at), "at {address}, where an object died");
    }
    let mut all = Vec::new();
    mutator.for_each_object(|object| {
        assert!(mutator.is_object(object.address()), "it may be asked about");
        all.push(object.address().as_usize());
    });
    all.sort_unstable();
    assert_eq!(all, live.keys().copied().collect::<Vec<_>>());
}

/// Allocates, keeps some, collects: twice, so that old and new objects lie side by side.
fn objects_are_found_until_they_die(plan: &str, sizes: &[(usize, u8, bool)]) {
    let heap = heap::<FindingVM>(plan);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let (base, mut kept) = (m.push(Ref::NULL), 1);
    m.set(base, m.alloc(0, 8));
    let mut dead = Vec::new();
    for round in 0..3 {
        for (n, (bytes, where_to, keep)) in sizes.iter().enumerate() {
            let semantics = match where_to {
                0 => Semantics::NonMoving,
                1 => Semantics::Immortal,
                _ => Semantics::Default,
            };
            let object = m.try_alloc(Class { refs: 0, bytes: *bytes }, semantics).unwrap();
            let address = Address::from_usize(object.0);
            assert_eq!(m.mutator().find_object(address.plus(8)).map(|o| o.address()), Some(address));
            // Others in another round: neighbours of the dead die later.
            if *keep != (n % 3 == round) {
                m.push(object);
                kept += 1;
            } else {
                dead.push(address);
            }
        }
        m.mutator().collect();
        only_these_are_found(m, base..base + kept, &dead);
    }
    assert_eq!(m.mutator().find_object(Address::from_usize(black_box(&raw const kept) as usize)), None);
    assert_eq!(m.mutator().find_object(Address::from_usize(0)), None);
    m.pop(kept);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]
    #[test]
    fn objects_are_found_by_any_address_inside_them_until_they_die(
        sizes in prop::collection::vec((1usize..40, 0u8..12, any::<bool>()), 1..300),
        large in prop::collection::vec((200usize..5000, 0u8..12, any::<bool>()), 0..12),
    ) {
        let _watchdog = Watchdog::new();
        let all: Vec<_> = sizes.iter().chain(&large).map(|(words, to, keep)| (words * 8, *to, *keep)).collect();
        for plan in collecting_plans() {
            objects_are_found_until_they_die(plan, &all);
        }
    }
}

/// Its mark carries the number of an epoch, which comes round.
#[test]
fn an_object_that_died_beside_a_live_one_is_not_found_however_many_collections_later() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = heap::<FindingVM>(plan);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        for object in 0..2 {
            m.push(m.alloc(0, 8));
            m.write_word(m.get(object), 0, object as u64);
        }
        m.mutator().collect();
        let dead = Address::from_usize(m.get(1).0);
        assert!(m.mutator().is_object(dead), "{plan}");
        m.pop(1);
        for later in 1..=2 * u32::from(EPOCH_MAX) {
            m.mutator().collect();
            // The live one may come to lie there, where objects move.
            let live = m.get(0).object();
            let found = m.mutator().find_object(dead).filter(|object| Some(*object) != live);
            assert_eq!(found, None, "{plan}: found again {later} collections later");
        }
        assert_eq!(m.read_word(m.get(0), 0), 0, "{plan}");
    }
}

/// New lines carry a number until the next collection, and the numbers come round.
#[test]
fn an_object_that_died_young_is_not_found_however_many_minor_collections_later() {
    // Nothing comes round in cells.
    died_young_is_not_found("StickyImmix", 2 * u64::from(u8::MAX));
    died_young_is_not_found("StickyMarkSweep", 2);
}

fn died_young_is_not_found(plan: &str, collections: u64) {
    let _watchdog = Watchdog::new();
    let settings = [("nursery.bytes", "64K"), ("gc.workers", "1")];
    let heap: Heap<FindingVM> = new_heap(FindingVM::new(), options(plan, 32 << 20, &settings)).unwrap();
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    // Live and dead ones in turn, a line each: what is allocated later does not fit into the holes. All lie
    // in a block, which stays.
    let dead: Vec<Address> = (0..60)
        .map(|_| {
            m.push(m.alloc(0, 248));
            Address::from_usize(m.alloc(0, 248).0)
        })
        .collect();
    assert!(dead.iter().all(|dead| m.mutator().is_object(*dead)));
    let mut before = 0;
    while before < collections {
        m.alloc(0, 2040);
        let now = heap.statistics().collections;
        if now > before {
            before = now;
            let found = dead.iter().find(|dead| m.mutator().is_object(**dead));
            assert_eq!(found, None, "{plan}: found again {before} collections later");
        }
    }
    assert_eq!(heap.statistics().full_collections, 0, "{plan}: a full collection forgets the numbers");
    m.pop(60);
}

/// The numbers that a compiler builds into code which bumps by itself and notes what begins where.
#[test]
fn compiled_code_finds_the_bit_of_an_address() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans().filter(|plan| *plan != "PageProtect") {
        let heap = heap::<FindingVM>(plan);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let parts = m.mutator().start_parts();
        let begins = |address: usize| {
            let byte = parts.base.wrapping_add(address >> (parts.shift + 3)) as *const u8;
            // SAFETY: the byte of an address in the heap, as the documentation says.
            let byte = unsafe { *byte };
            byte >> ((address >> parts.shift) & 7) & 1 == 1
        };
        for n in 0..100 {
            let object = m.alloc(0, 8 * n);
            assert!(begins(object.0), "{plan}: {n}");
            let inside = (1..=n).map(|word| object.0 + 8 * word).find(|word| begins(*word));
            assert_eq!(inside, None, "{plan}: {n}");
        }
    }
}

/// The block of a pinned object is kept. What lay beside it has moved, and left where it began.
#[test]
fn what_moved_out_of_a_block_that_is_kept_is_not_found_there() {
    let _watchdog = Watchdog::new();
    for plan in ["SemiSpace", "GenCopy", "Immix", "StickyImmix", "GenImmix"] {
        let settings = [("gc.workers", "1"), ("stress.always_defrag", "true")];
        let heap: Heap<FindingVM> = new_heap(FindingVM::new(), options(plan, 32 << 20, &settings)).unwrap();
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        (0..100).for_each(|_| _ = m.push(m.alloc(0, 248)));
        let before: Vec<usize> = (0..100).map(|n| m.get(n).0).collect();
        m.mutator().pin(m.get(50).object().unwrap()).unwrap();
        for round in 0..3 {
            m.mutator().collect();
            let now: Vec<usize> = (0..100).map(|n| m.get(n).0).collect();
            assert_eq!(now[50], before[50], "{plan}");
            assert!(now.iter().zip(&before).filter(|(now, before)| now != before).count() > 50, "{plan}: they moved");
            for place in before.iter().filter(|place| !now.contains(place)) {
                let found = m.mutator().find_object(Address::from_usize(*place));
                assert_eq!(found, None, "{plan}, round {round}");
            }
        }
        m.pop(100);
    }
}

#[test]
fn objects_that_survive_grow_old() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = heap::<FindingVM>(plan);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let slot = m.push(Ref::NULL);
        m.set(slot, m.alloc(1, 16));
        let describe = || m.mutator().describe(Address::from_usize(m.get(slot).0 + 16)).unwrap();
        let young = describe();
        assert!(!young.is_old, "{plan}: {young:?}");
        assert_eq!(young.bytes, 32, "{plan}: {young:?}");
        assert_eq!(young.type_name, "object with 1 references and 4 words in all", "{plan}");
        let immortal = m.try_alloc(Class { refs: 0, bytes: 16 }, Semantics::Immortal).unwrap();
        assert_eq!(m.mutator().describe(Address::from_usize(immortal.0)).unwrap().space, "immortal", "{plan}");
        assert_ne!(young.space, "immortal", "{plan}");
        let inside = Address::from_usize(m.get(slot).0 + 16);
        // SAFETY: this is the one mutator, and it does not collect now.
        let find = || unsafe { heap.find_object(inside) };
        let found = std::thread::scope(|scope| scope.spawn(find).join()).unwrap();
        assert_eq!(found, Some(young.object), "{plan}: for a thread that is no mutator");
        m.mutator().collect();
        let old = describe();
        assert!(old.is_old, "{plan}: {old:?}");
        m.pop(1);
    }
}

/// Garbage, and a frame's worth of other words where addresses may have been.
#[inline(never)]
fn churn<VM: TestVM>(m: ThreadHandle<VM>, objects: usize) {
    let mut words = black_box([0usize; 64]);
    for n in 0..objects {
        words[n % 64] = m.alloc(1, 24).0 & 1;
    }
    black_box(words);
}

/// An object whose only reference is what this returns, hidden from nobody.
#[inline(never)]
fn secret<VM: TestVM>(m: ThreadHandle<VM>, number: u64) -> Ref {
    let object = m.alloc(1, 8);
    let inner = m.alloc(0, 8);
    m.write_word(inner, 0, number);
    m.write_ref(object, 0, inner);
    m.write_word(object, 1, !number);
    object
}

#[test]
fn an_address_in_a_local_keeps_its_object_alive_and_in_place() {
    let _watchdog = Watchdog::new();
    for plan in pinning_plans() {
        let heap = heap::<AmbiguousVM<false>>(plan);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let object = secret(m, 7);
        // One whose first word nobody refers to.
        let inside = black_box(secret(m, 8).0 + 8);
        for _ in 0..3 {
            churn(m, 2000);
            m.mutator().collect();
        }
        for (object, number) in [(object, 7), (Ref(inside - 8), 8)] {
            assert_eq!(m.read_word(object, 1), !number, "{plan}");
            assert_eq!(m.read_word(m.read_ref(object, 0), 0), number, "{plan}");
        }
    }
}

/// An array of objects that no word of a stack refers to, at a new root; and their addresses, so that none
/// looks like one.
#[inline(never)]
fn hidden<VM: TestVM>(m: ThreadHandle<VM>, objects: usize) -> (usize, Vec<usize>) {
    let array = m.push(m.alloc(objects, 0));
    let hide = |n| {
        let object = m.alloc(0, 8);
        m.write_ref(m.get(array), n, object);
        !object.0
    };
    (array, (0..objects).map(hide).collect())
}

#[test]
fn plans_that_move_objects_move_those_that_no_word_refers_to_around_the_others() {
    let _watchdog = Watchdog::new();
    const OBJECTS: usize = 500;
    for plan in ["Immix", "StickyImmix", "GenImmix", "SemiSpace", "GenCopy"] {
        let settings: Vec<_> = SETTINGS.into_iter().chain([("stress.always_defrag", "true")]).collect();
        let heap = new_heap(AmbiguousVM::<false>::new(), options(plan, 32 << 20, &settings)).unwrap();
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let stays = secret(m, 7);
        let (array, hidden) = hidden(m, OBJECTS);
        churn(m, 4000);
        m.mutator().collect();
        let has_moved = |(n, hidden): &(usize, &usize)| m.read_ref(m.get(array), *n).0 != !**hidden;
        let moved = hidden.iter().enumerate().filter(has_moved).count();
        // A word of a frame that is gone may still refer to a few.
        assert!(moved > OBJECTS * 9 / 10, "{plan}: {moved} of {OBJECTS} moved");
        assert!(m.mutator().is_object(Address::from_usize(stays.0)), "{plan}");
        assert_eq!((m.read_word(stays, 1), m.read_word(m.read_ref(stays, 0), 0)), (!7, 7), "{plan}");
        m.pop(1);
    }
}

#[test]
fn stopped_threads_keep_what_their_stacks_refer_to_wherever_they_stopped() {
    let _watchdog = Watchdog::new();
    for plan in pinning_plans() {
        let heap = heap::<AmbiguousVM<false>>(plan);
        let (ready, arrived) = std::sync::mpsc::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let heap = &heap;
            let poller_ready = ready.clone();
            let stop = &stop;
            scope.spawn(move || {
                let thread = Thread::attach(heap);
                let m = thread.handle();
                let object = secret(m, 21);
                m.mutator().native(|| {
                    ready.send(()).unwrap();
                    wait.recv().unwrap();
                });
                assert_eq!(m.read_word(m.read_ref(object, 0), 0), 21);
            });
            scope.spawn(move || {
                let thread = Thread::attach(heap);
                let m = thread.handle();
                let object = secret(m, 22);
                poller_ready.send(()).unwrap();
                while !stop.load(Relaxed) {
                    m.poll();
                    std::thread::yield_now();
                }
                assert_eq!(m.read_word(m.read_ref(object, 0), 0), 22);
            });
            (0..2).for_each(|_| arrived.recv().unwrap());
            let thread = Thread::attach(heap);
            for _ in 0..3 {
                churn(thread.handle(), 2000);
                thread.handle().mutator().collect();
            }
            stop.store(true, Relaxed);
            go.send(()).unwrap();
        });
    }
}

#[test]
fn what_no_word_refers_to_dies() {
    let _watchdog = Watchdog::new();
    for plan in pinning_plans() {
        let heap = heap::<AmbiguousVM<false>>(plan);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        churn(m, 3000);
        m.mutator().collect();
        let mut left = 0;
        m.mutator().for_each_object(|_| left += 1);
        assert!(left < 300, "{plan}: {left} of 3000 objects are kept");
    }
}

/// Workloads whose stacks are searched, on every plan that can hold objects in place.
fn workloads<const GARBAGE: bool>(stress: Stress) {
    for plan in pinning_plans() {
        let _watchdog = Watchdog::new();
        all_workloads::<AmbiguousVM<GARBAGE>>(new_heap, plan, stress);
    }
}

#[test]
fn workloads_compute_the_same_with_stacks_that_are_searched() {
    workloads::<false>(matrix::EVERY_BYTES);
}

#[test]
fn workloads_compute_the_same_with_garbage_on_their_stacks() {
    workloads::<true>(matrix::POISON);
}

#[test]
fn a_plan_that_moves_every_object_refuses_stacks_that_are_searched() {
    let Err(error) = new_heap(AmbiguousVM::<false>::new(), options("MarkCompact", 1 << 20, &[])) else {
        panic!("it has no way to hold an object in place")
    };
    let text = error.to_string();
    assert!(text.contains("MarkCompact") && text.contains("CONSERVATIVE_STACKS"), "{text}");
}

/// How many objects the heap has.
fn count<VM: TestVM>(m: ThreadHandle<VM>) -> usize {
    let mut count = 0;
    m.mutator().for_each_object(|_| count += 1);
    count
}

#[test]
fn an_ambiguous_word_of_an_object_keeps_what_it_is_the_address_of_or_inside() {
    let _watchdog = Watchdog::new();
    for plan in conservative_plans() {
        for bytes in [16, 64, 40_000] {
            let heap = heap::<OpaqueVM<false>>(plan);
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            // Each in a data word of the one before it, disguised as the address of its last word.
            let root = m.push(Ref::NULL);
            for _ in 0..50 {
                let node = m.alloc(1, bytes);
                let object = node.object().unwrap();
                m.mutator().array_copy_barrier(object, object.address()..object.address().plus(32));
                m.write_word(node, 2, m.get(root).0 as u64 + bytes as u64);
                m.set(root, node);
            }
            m.mutator().collect();
            assert_eq!(count(m), 50, "{plan}: objects of {bytes} bytes");
            // In an object that has no references the same words are data.
            let leaf = m.alloc(0, 64);
            m.write_word(leaf, 0, m.get(root).0 as u64);
            m.set(root, leaf);
            m.mutator().collect();
            assert_eq!(count(m), 1, "{plan}: objects of {bytes} bytes");
            m.pop(1);
        }
    }
}

/// Numbers as programs have them: counts, bit sets, hashes, times, floating-point numbers, text.
fn numbers() -> impl Iterator<Item = u64> {
    let hash = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let text = |n: u64| u64::from_le_bytes(std::array::from_fn(|i| b'a' + ((n >> (3 * i)) % 26) as u8));
    (0u64..).flat_map(move |n| {
        [n, n << 20, hash(n), 1_700_000_000_000_000_000 + n * 1_000_003, (n as f64 * 0.37).to_bits(), text(n)]
    })
}

#[test]
fn data_full_of_integers_keep_nothing_that_is_dead() {
    let _watchdog = Watchdog::new();
    for plan in conservative_plans() {
        let heap = heap::<OpaqueVM<false>>(plan);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let (mut numbers, root) = (numbers(), m.push(Ref::NULL));
        for _ in 0..500 {
            let table = m.alloc(1, 256 * 8);
            m.write_ref(table, 0, m.get(root));
            (1..=256).zip(&mut numbers).for_each(|(word, number)| m.write_word(table, word, number));
            m.set(root, table);
            // Dead, and all over the heap.
            churn(m, 100);
        }
        m.mutator().collect();
        assert_eq!(count(m), 500, "{plan}: {} words were scanned", 500 * 256);
        m.pop(1);
    }
}

/// The reference VM, whose objects have no slots in front; the first word says of what kind each is. The
/// words that count follow the second.
struct KindsVM(ReferenceVM);

#[derive(Clone, Copy)]
enum Kind {
    /// No references.
    Data,
    /// Any word may be one.
    Ambiguous,
    /// The second word has a bit for each that is one.
    Bitmap,
    /// Those with even numbers are.
    Procedure,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Data, Kind::Ambiguous, Kind::Bitmap, Kind::Procedure];
    const WORDS: usize = 6;
    const BITMAP: u64 = 0b10_1001;

    /// Which of the words are references.
    fn has(self, word: usize) -> bool {
        match self {
            Kind::Data => false,
            Kind::Ambiguous => true,
            Kind::Bitmap => Kind::BITMAP >> word & 1 == 1,
            Kind::Procedure => word.is_multiple_of(2),
        }
    }
}

// SAFETY: as for the reference binding; slots and ambiguous words lie inside the object.
unsafe impl VMBinding for KindsVM {
    type Slot = WordSlot;
    type Local = ShadowStack;
    const STATE: StateLocation = ReferenceVM::STATE;
    const OLD_TO_NEW: OldToNew = OldToNew::Barrier;
    const SCAN_BESIDE: bool = true;
    const OBJECT_STARTS: bool = true;
    const CONSERVATIVE_HEAP: bool = true;

    fn object_size(&self, object: ObjectReference) -> usize {
        self.0.object_size(object)
    }
    fn scan_object(&self, object: ObjectReference, visitor: &mut impl SlotVisitor<WordSlot>) {
        // SAFETY: objects have at least two words behind the header.
        let word = |word| unsafe { object::slot(object, word).load::<u64>() };
        let place = |word| object::slot(object, 2 + word);
        // SAFETY: objects that are not data have `WORDS` words behind the second.
        let slot = |word| unsafe { WordSlot::at(place(word)) };
        match Kind::ALL[word(0) as usize] {
            Kind::Data => (),
            Kind::Ambiguous => visitor.visit_ambiguous(place(0)..place(Kind::WORDS)),
            Kind::Bitmap => {
                let bits = word(1);
                (0..Kind::WORDS).filter(|word| bits >> word & 1 == 1).for_each(|word| visitor.visit(slot(word)));
            }
            Kind::Procedure => (0..Kind::WORDS).step_by(2).for_each(|word| visitor.visit(slot(word))),
        }
    }
    fn scan_thread(&self, stack: &mut ShadowStack, visitor: &mut impl SlotVisitor<WordSlot>) {
        self.0.scan_thread(stack, visitor);
    }
}

impl TestVM for KindsVM {
    fn new() -> Self {
        KindsVM(ReferenceVM::new())
    }
    fn reference(&self) -> &ReferenceVM {
        &self.0
    }
}

#[test]
fn an_object_keeps_what_its_kind_says_by_a_bitmap_a_procedure_or_any_word() {
    let _watchdog = Watchdog::new();
    for plan in conservative_plans() {
        for kind in Kind::ALL {
            let heap = heap::<KindsVM>(plan);
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let parent = m.push(m.alloc(0, (2 + Kind::WORDS) * 8));
            m.write_word(m.get(parent), 0, kind as u64);
            m.write_word(m.get(parent), 1, Kind::BITMAP);
            let children: Vec<Ref> = (0..Kind::WORDS)
                .map(|word| {
                    let child = m.alloc(0, 32);
                    m.write_word(child, 2, 100 + word as u64);
                    let object = m.get(parent).object().unwrap();
                    m.mutator().array_copy_barrier(object, object.address()..object.address().plus(32));
                    m.write_word(m.get(parent), 2 + word, child.0 as u64);
                    child
                })
                .collect();
            // Once as it was, once when all that lives is old.
            for _ in 0..2 {
                m.mutator().collect();
                for (word, child) in children.iter().enumerate() {
                    let lives = m.mutator().is_object(Address::from_usize(child.0));
                    assert_eq!(lives, kind.has(word), "{plan}: word {word} of kind {}", kind as u8);
                    assert!(!lives || m.read_word(*child, 2) == 100 + word as u64, "{plan}");
                }
            }
            m.pop(1);
        }
    }
}

#[test]
fn workloads_compute_the_same_with_ambiguous_words_in_objects() {
    for plan in conservative_plans() {
        let _watchdog = Watchdog::new();
        all_workloads::<OpaqueVM<false>>(new_heap, plan, matrix::EVERY_BYTES);
        all_workloads::<OpaqueVM<true>>(new_heap, plan, matrix::POISON);
    }
}

#[test]
fn a_plan_that_cannot_find_objects_while_it_traces_refuses_ambiguous_words() {
    for plan in PLANS.iter().filter(|plan| !plan.needs.conservative) {
        let Err(error) = new_heap(OpaqueVM::<false>::new(), options(plan.name, 1 << 20, &[])) else {
            panic!("{} would not find them", plan.name)
        };
        let text = error.to_string();
        assert!(text.contains(plan.name) && text.contains("choose one of MarkSweep"), "{text}");
    }
}

/// What is kept after the roots were traced is as any other object: its ambiguous words count.
#[test]
fn ambiguous_words_of_what_finalizers_and_ephemerons_keep_are_followed() {
    use mmtk_core::weak::{FinalizerOrder, Terms};
    let _watchdog = Watchdog::new();
    for plan in conservative_plans() {
        let heap = heap::<OpaqueVM<false>>(plan);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        // An object on the stack that leads to another by an address inside it, and that object.
        let pair = || {
            let inner = m.alloc(0, 16);
            let root = m.push(inner);
            let outer = m.alloc(1, 8);
            let inner = m.get(root);
            m.write_word(outer, 1, inner.0 as u64 + 16);
            m.set(root, outer);
            (outer, inner)
        };
        let object = |at: Ref| at.object().unwrap();
        let is_there = |at: Ref| m.mutator().is_object(object(at).address());
        let key = m.alloc(0, 8);
        let key = m.push(key);
        let (value, held) = pair();
        let ephemeron =
            m.mutator().references().create_ephemeron(object(m.get(key)), Some(object(value)), Terms::default());
        m.pop(1);
        m.mutator().collect();
        assert!(is_there(held), "{plan}");
        m.mutator().references().free(ephemeron.unwrap());
        for order in [FinalizerOrder::Any, FinalizerOrder::ReferrersFirst, FinalizerOrder::Topological] {
            let (outer, inner) = pair();
            for at in [inner, outer] {
                m.mutator().references().add_finalizer(object(at), order).unwrap();
            }
            m.pop(1);
            m.mutator().collect();
            let due: Vec<_> = std::iter::from_fn(|| m.mutator().references().next_finalizable()).collect();
            let expected: &[Ref] = match order {
                FinalizerOrder::Any => &[inner, outer],
                FinalizerOrder::ReferrersFirst => &[outer],
                FinalizerOrder::Topological => &[outer, inner],
            };
            assert!(due.iter().copied().eq(expected.iter().map(|at| object(*at))), "{plan}, {order:?}");
            assert!(is_there(inner), "{plan}, {order:?}");
            m.mutator().collect();
            while m.mutator().references().next_finalizable().is_some() {}
            m.mutator().collect();
        }
    }
}

/// An object of each kind that no collection frees, with a reference to a new object of the heap.
#[inline(never)]
fn uncollected<VM: TestVM>(m: ThreadHandle<VM>, region: &Region<VM>, pool: &Pool<VM>) -> [Ref; 3] {
    let words = ThreadHandle::<VM>::words(Class { refs: 1, bytes: 8 });
    let target = m.push(m.alloc(1, 24));
    let immortal = m.try_alloc(Class { refs: 1, bytes: 8 }, Semantics::Immortal).unwrap();
    let objects = [
        immortal.0,
        region.alloc(&m.mutator(), words * 8).address().as_usize(),
        pool.alloc(&m.mutator()).address().as_usize(),
    ];
    for object in objects {
        // SAFETY: just returned by the allocator, of that many words.
        unsafe { object::write_header(Address::from_usize(object), 1, words) };
        m.write_ref(Ref(object), 0, m.get(target));
    }
    m.pop(1);
    objects.map(Ref)
}

fn region_and_pool<VM: TestVM>(heap: &Heap<VM>) -> (Region<VM>, Pool<VM>) {
    (region_in(heap), pool_in(heap, ThreadHandle::<VM>::words(Class { refs: 1, bytes: 8 }) * 8))
}

#[test]
fn what_a_collection_did_not_reach_is_found_no_more_though_it_keeps_its_memory() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = heap::<FindingVM>(plan);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let (region, pool) = region_and_pool(&heap);
        let found = |object: Ref| m.mutator().find_object(Address::from_usize(object.0 + 8)).is_some();
        let mut kept = Vec::new();
        for round in 0..5 {
            // Beside those that live, in the same pages and blocks, and in those that are taken next.
            let mut dead = Vec::new();
            if round == 0 {
                // More than the pages that a region takes at a time.
                for _ in 0..1400 {
                    let at = region.alloc(&m.mutator(), 24).address();
                    // SAFETY: just returned by the allocator, of three words.
                    unsafe { object::write_header(at, 1, 3) };
                    dead.push(Ref(at.as_usize()));
                }
            }
            for _ in 0..200 {
                dead.extend(uncollected(m, &region, &pool));
            }
            kept.extend(uncollected(m, &region, &pool));
            kept[kept.len() - 3..].iter().for_each(|object| _ = m.push(*object));
            assert!(dead.iter().chain(&kept).all(|object| found(*object)), "{plan}");
            // A minor one, where there are such.
            let before = heap.statistics().collections;
            for _ in 0..100 {
                if heap.statistics().collections == before {
                    churn(m, 50);
                }
            }
            if heap.statistics().collections == before {
                m.mutator().collect();
            }
            assert!(kept.iter().all(|object| found(*object)), "{plan}: what lives, in round {round}");
            let left: Vec<_> = dead.iter().map(|object| found(*object)).collect();
            assert!(!left.contains(&true), "{plan}: {:?} in round {round}", left.iter().position(|found| *found));
        }
        m.pop(kept.len());
    }
}

/// A region that comes and goes between two collections is no longer among those in which objects may be new.
#[test]
fn what_was_allocated_in_regions_that_are_gone_is_found_no_more() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = heap::<FindingVM>(plan);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let (_, pool) = region_and_pool(&heap);
        let found = |object: Ref| m.mutator().find_object(Address::from_usize(object.0 + 8)).is_some();
        for round in 0..20 {
            let region = region_in(&heap);
            let [_, object, _] = uncollected(m, &region, &pool);
            assert!(found(object), "{plan}, round {round}");
            drop(region);
            let before = heap.statistics().collections;
            for _ in 0..100 {
                if round % 4 == 3 && heap.statistics().collections == before {
                    churn(m, 50);
                }
            }
            if round % 8 == 7 {
                m.mutator().collect();
                assert!(!found(object), "{plan}, round {round}");
            }
        }
    }
}

/// A block of a pool that is gone goes to the next pool, and the cells that are still free there hold
/// nothing.
#[test]
fn what_was_in_a_pool_that_is_gone_is_found_no_more_when_another_has_its_block() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = heap::<FindingVM>(plan);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let made = |pool: &Pool<FindingVM>| {
            let at = pool.alloc(&m.mutator()).address();
            // SAFETY: just returned by the allocator; the pool's objects have three words.
            unsafe { object::write_header(at, 1, 3) };
            at
        };
        let gone = pool_in(&heap, 24);
        let before: Vec<Address> = (0..100).map(|_| made(&gone)).collect();
        gone.release(&m.mutator());
        m.mutator().collect();
        let next = pool_in(&heap, 24);
        let only = made(&next);
        assert!(before.contains(&only), "{plan}: the block is used again");
        let found: Vec<_> = before.iter().filter(|at| m.mutator().is_object(**at)).collect();
        assert_eq!(found, [&only], "{plan}");
    }
}

#[test]
fn a_stale_word_does_not_revive_what_a_minor_collection_did_not_reach() {
    let _watchdog = Watchdog::new();
    for plan in PLANS.iter().filter(|plan| plan.needs.pins && plan.needs.old_to_new) {
        let heap = heap::<AmbiguousVM<false>>(plan.name);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let (region, pool) = region_and_pool(&heap);
        // Hidden, so that no word of the stack looks like them.
        let dead: Vec<usize> = (0..50).flat_map(|_| uncollected(m, &region, &pool)).map(|object| !object.0).collect();
        let before = heap.statistics().collections;
        churn(m, 4000);
        assert!(heap.statistics().collections > before, "{}: a minor collection", plan.name);
        // What the unreached ones referred to is gone; then somebody has words that look like their
        // addresses.
        dead.iter().for_each(|hidden| _ = m.push(Ref(!hidden)));
        for _ in 0..3 {
            churn(m, 4000);
        }
        m.mutator().collect();
        m.pop(dead.len());
    }
}
