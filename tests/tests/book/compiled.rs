//! The chapter "Compiled code": allocation, poll and barrier as a compiler emits them, from offsets and
//! constants alone.

use mmtk_core::barrier::BarrierTest;
use mmtk_core::{Address, CellsAt, Heap, Mutator, MutatorState, ObjectReference, Semantics, WordSlot};
use plan_tests::{HEAPS, MakeHeap, TestVM, Watchdog, options};
use policies::PLANS;
use reference::{Class, Ref, Thread, ThreadHandle, object};
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32,
    Ordering::{Acquire, Relaxed},
};

// ANCHOR: alloc
/// A word of the state of the thread's mutator.
unsafe fn word<VM: TestVM>(state: *mut MutatorState<VM>, offset: usize) -> *mut usize {
    // SAFETY: the caller's promise: an offset of the state of a mutator that is attached.
    unsafe { state.byte_add(offset).cast() }
}

/// `bytes` bytes from a range whose cursor and limit are in the state; none if there are not so many.
unsafe fn bump<VM: TestVM>(state: *mut MutatorState<VM>, cursor: usize, limit: usize, bytes: usize) -> Option<usize> {
    // SAFETY: as for `word`; the thread is the mutator's, so nobody else uses the range.
    unsafe {
        let (cursor, limit) = (word(state, cursor), word(state, limit).read());
        let at = cursor.read();
        if bytes > limit - at {
            return None;
        }
        cursor.write(at + bytes);
        Some(at)
    }
}

/// Zeroed memory for an object of `bytes` bytes; none: call `Mutator::alloc`. `cells` is
/// `MutatorState::cells_at(bytes)`, which the compiler has asked for.
unsafe fn alloc<VM: TestVM>(state: *mut MutatorState<VM>, bytes: usize, cells: Option<CellsAt>) -> Option<usize> {
    // SAFETY: offsets of the state.
    unsafe {
        let range = (MutatorState::<VM>::CURSOR_OFFSET, MutatorState::<VM>::LIMIT_OFFSET);
        bump(state, range.0, range.1, bytes).or_else(|| {
            let CellsAt { cursor, limit, bytes } = cells?;
            let moved = word(state, MutatorState::<VM>::CELLS_MOVED_OFFSET).read();
            bump(state, cursor + moved, limit + moved, bytes)
        })
    }
}
// ANCHOR_END: alloc

// ANCHOR: poll
/// Whether `Mutator::poll` is to be called.
unsafe fn should_poll<VM: TestVM>(state: *mut MutatorState<VM>) -> bool {
    // SAFETY: an offset of the state; other threads write the word.
    let word = unsafe { &*state.byte_add(MutatorState::<VM>::THREAD_OFFSET).cast::<AtomicU32>() };
    word.load(Relaxed) != 0
}
// ANCHOR_END: poll

// ANCHOR: store
/// Stores `value` into a slot of `object`. `test` is `Mutator::barrier_test()`, which the compiler has asked
/// for.
unsafe fn store<VM: TestVM>(
    mutator: &Mutator<VM>,
    test: Option<BarrierTest>,
    object: ObjectReference,
    slot: WordSlot,
    value: Option<ObjectReference>,
) {
    // No safepoint from here ...
    if let Some(BarrierTest { base, shift }) = test {
        // SAFETY: offsets of the state, and where the test says that the state of an object is; other threads
        // write there.
        let (mask, expected, state) = unsafe {
            let mask = mutator.state().byte_add(MutatorState::<VM>::BARRIER_OFFSET).cast::<AtomicU8>();
            let expected = mutator.state().byte_add(MutatorState::<VM>::BARRIER_EXPECTED_OFFSET).cast::<AtomicU8>();
            let state = base.wrapping_add(object.address().as_usize() >> shift) as *const AtomicU8;
            ((*mask).load(Relaxed), (*expected).load(Relaxed), &*state)
        };
        if mask != 0 && (state.load(Acquire) ^ expected) & mask != 0 {
            mutator.remember(object, slot);
        }
    }
    slot.write(value);
    // ... to here.
}
// ANCHOR_END: store

/// A thread that runs compiled code, and how often its allocations took the fast path and the slow one.
struct Code<VM: TestVM> {
    m: ThreadHandle<VM>,
    test: Option<BarrierTest>,
    fast: usize,
    slow: usize,
}

impl<VM: TestVM> Code<VM> {
    fn new(m: ThreadHandle<VM>) -> Self {
        Code { m, test: m.mutator().barrier_test(), fast: 0, slow: 0 }
    }

    fn object(&mut self, refs: usize, bytes: usize) -> Ref {
        let words = ThreadHandle::<VM>::words(Class { refs, bytes });
        let cells = MutatorState::<VM>::cells_at(words * 8);
        // SAFETY: this thread's mutator, outside native regions; the object is whole granules.
        let at = match unsafe { alloc(self.m.mutator().state(), words * 8, cells) } {
            Some(at) => {
                self.fast += 1;
                Address::from_usize(at)
            }
            None => {
                self.slow += 1;
                self.m.mutator().alloc(words * 8).address()
            }
        };
        for word in 0..words {
            // SAFETY: the memory of the new object.
            assert_eq!(unsafe { at.plus(8 * word).load::<u64>() }, 0, "new memory is zero");
        }
        // SAFETY: as above.
        unsafe { object::write_header(at, refs, words) };
        Ref(at.as_usize())
    }

    fn store(&self, holder: Ref, index: usize, value: Ref) {
        let holder = holder.object().unwrap();
        // SAFETY: a slot of a live object, and the heap's own test.
        unsafe {
            let slot = WordSlot::at(object::slot(holder, index));
            store(&self.m.mutator(), self.test, holder, slot, value.object());
        }
    }
}

/// An old array whose elements are replaced by lists of a few sizes, as long as the program runs.
fn a_program_computes_what_it_should<VM: TestVM>(make: MakeHeap<VM>) {
    const ELEMENTS: usize = 5000;
    let _watchdog = Watchdog::new();
    // PageProtect has pages of their own for objects, and no fast path.
    for plan in PLANS.iter().filter(|plan| plan.name != "PageProtect") {
        let collects = plan.name != "NoGC";
        let limit = if collects { 12 << 20 } else { 256 << 20 };
        let heap: Heap<VM> =
            make(VM::new(), options(plan.name, limit, &[("verify.poison", "true"), ("nursery.bytes", "256K")]))
                .unwrap();
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let mut code = Code::new(m);
        assert_eq!(code.test.is_some(), plan.needs.old_to_new || plan.needs.snapshot, "{}", plan.name);
        let array = m.push(m.try_alloc(Class { refs: ELEMENTS, bytes: 0 }, Semantics::Default).unwrap());
        let sizes = [0, 8, 40, 120, 500, 3000];
        for n in 0..60_000 {
            let index = n * 7919 % ELEMENTS;
            let second = code.object(0, 8);
            m.write_word(second, 0, n as u64);
            let second = m.push(second);
            let first = code.object(1, sizes[n % sizes.len()]);
            code.store(first, 0, m.get(second));
            code.store(m.get(array), index, first);
            m.pop(1);
            // SAFETY: this thread's mutator.
            if unsafe { should_poll(m.mutator().state()) } {
                m.poll();
            }
        }
        for n in 55_000..60_000 {
            let first = m.read_ref(m.get(array), n * 7919 % ELEMENTS);
            assert_eq!(m.read_word(m.read_ref(first, 0), 0), n as u64, "{}", plan.name);
        }
        m.pop(1);
        let done = heap.statistics();
        assert!(done.full_collections > 1 || plan.needs.old_to_new || !collects, "{}: {done:?}", plan.name);
        assert!(done.collections > 20 || !plan.needs.old_to_new, "{}: {done:?}", plan.name);
        assert!(code.fast > 10 * code.slow, "{}: {} fast, {} slow", plan.name, code.fast, code.slow);
    }
}

#[test]
fn compiled_code_allocates_and_stores_with_header_bytes() {
    a_program_computes_what_it_should(HEAPS.0);
}

#[test]
fn compiled_code_allocates_and_stores_with_side_tables() {
    a_program_computes_what_it_should(HEAPS.2);
}

#[test]
fn compiled_code_finds_nothing_in_a_native_region() {
    let _watchdog = Watchdog::new();
    for plan in PLANS {
        let heap = (HEAPS.0)(TestVM::new(), options(plan.name, 64 << 20, &[])).unwrap();
        let thread = Thread::attach(&heap);
        let cells = MutatorState::<reference::ReferenceVM>::cells_at(64);
        // SAFETY: this thread's mutator, and whole granules; in a native region there is nothing to take.
        let allocated = || unsafe { alloc(thread.mutator().state(), 64, cells) };
        let expected = plan.name != "PageProtect";
        thread.alloc(0, 56);
        assert_eq!(allocated().is_some(), expected, "{}", plan.name);
        // What it took is no object: it is not there for a pause.
        thread.native(|| assert_eq!(allocated(), None, "{}", plan.name));
        assert_eq!(allocated().is_some(), expected, "{}", plan.name);
    }
}

#[test]
fn cells_are_as_large_as_the_objects_that_are_asked_for() {
    type State = MutatorState<reference::ReferenceVM>;
    let mut last = 0;
    for bytes in (8..=8176).step_by(8) {
        let CellsAt { cursor, limit, bytes: cell } = State::cells_at(bytes).unwrap();
        assert!(cell >= bytes && limit == cursor + 8 && cursor >= last, "{bytes}");
        last = cursor;
    }
    assert_eq!([0, 8184, usize::MAX].map(State::cells_at), [None; 3]);
    assert_eq!((State::CURSOR_OFFSET, State::LIMIT_OFFSET), (0, 8));
}

/// The word to poll says that another thread collects.
#[test]
fn compiled_code_that_polls_stops_for_others() {
    let _watchdog = Watchdog::new();
    for plan in PLANS.iter().filter(|plan| plan.name != "NoGC") {
        let heap = (HEAPS.0)(TestVM::new(), options(plan.name, 16 << 20, &[])).unwrap();
        let thread = Thread::attach(&heap);
        // SAFETY: this thread's mutator.
        let should_poll = || unsafe { should_poll(thread.mutator().state()) };
        let done = AtomicBool::new(false);
        assert!(!should_poll());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                heap.collect();
                done.store(true, Relaxed);
            });
            let mut stops = 0;
            while !done.load(Relaxed) {
                if should_poll() {
                    thread.poll();
                    stops += 1;
                }
                std::hint::spin_loop();
            }
            assert!(stops > 0, "{}", plan.name);
        });
        assert!(!should_poll() && heap.statistics().collections == 1, "{}", plan.name);
    }
}

/// What the VM keeps for a thread is where the offset says.
#[test]
fn compiled_code_finds_the_local_part() {
    let heap = (HEAPS.0)(TestVM::new(), options("Immix", 16 << 20, &[])).unwrap();
    let thread = Thread::attach(&heap);
    let mutator = thread.mutator();
    let offset = mutator.local().addr() - mutator.state().addr();
    assert_eq!(offset, MutatorState::<reference::ReferenceVM>::LOCAL_OFFSET);
}
