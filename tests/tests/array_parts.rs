//! Large arrays are remembered in parts: what a minor collection visits of an old array follows the parts
//! that were stored into, and nothing that only the array refers to is lost.

use mmtk_core::{Address, Heap, Mutator, MutatorState, ObjectReference, WordSlot};
use plan_tests::{CountingVM, TestVM, Watchdog, options, panic_of};
use policies::{PLANS, new_heap};
use reference::{Ref, Thread, ThreadHandle, object};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Slots of a part: a page.
const PART: usize = 512;
/// The first part begins at the header.
const SLOTS_OF_FIRST: usize = PART - 1;
/// 101 parts.
const SLOTS: usize = 100 * PART + 5;
const PARTS: usize = 101;

type Handle = ThreadHandle<CountingVM>;

fn heap_with(plan: &str, workers: &str, settings: &[(&str, &str)]) -> Heap<CountingVM> {
    let mut all = vec![("nursery.bytes", "64K"), ("gc.workers", workers), ("gc.wake_helpers", "always")];
    all.extend(settings);
    new_heap(CountingVM::new(), options(plan, 32 << 20, &all)).unwrap()
}

/// Each generational plan with 1, 2 and 4 workers. Freed memory is overwritten, so what is lost is missed.
fn heaps() -> impl Iterator<Item = (String, Heap<CountingVM>)> {
    let generational = PLANS.iter().filter(|plan| plan.needs.old_to_new);
    generational.flat_map(|plan| {
        ["1", "2", "4"].map(|workers| {
            let heap = heap_with(plan.name, workers, &[("verify.poison", "true")]);
            (format!("{} with {workers} workers", plan.name), heap)
        })
    })
}

/// Garbage, until there was a minor collection.
fn minor(heap: &Heap<CountingVM>, m: Handle) {
    let before = heap.statistics();
    while heap.statistics().collections == before.collections {
        m.alloc(1, 32);
    }
    assert_eq!(heap.statistics().full_collections, before.full_collections, "it is a minor one");
}

/// What a minor collection visits of large arrays.
fn visited_by_minor(heap: &Heap<CountingVM>, m: Handle) -> usize {
    heap.vm().read_by(|| minor(heap, m)).slots_of_large
}

/// An old array at root 0.
fn old_array(heap: &Heap<CountingVM>, m: Handle, slots: usize) -> ObjectReference {
    let array = m.push(m.alloc(slots, 0));
    minor(heap, m);
    minor(heap, m);
    m.get(array).object().unwrap()
}

fn slot(array: ObjectReference, index: usize) -> WordSlot {
    // SAFETY: a slot of a live object, behind its header.
    unsafe { WordSlot::at(object::slot(array, index)) }
}

/// The slots of a part.
fn slots_of(part: usize, slots: usize) -> usize {
    let begin = |part: usize| (part * PART).saturating_sub(1).min(slots);
    begin(part + 1) - begin(part)
}

/// A new object that says which it is, in a slot of the array at root 0, with a barrier before the store.
fn store(m: Handle, index: usize, id: u64, barrier: impl Fn(&Mutator<CountingVM>, ObjectReference, WordSlot)) {
    let young = m.alloc(0, 16);
    m.write_word(young, 0, id);
    let array = m.get(0).object().unwrap();
    barrier(&m.mutator(), array, slot(array, index));
    slot(array, index).write(young.object());
}

fn stored(m: Handle, index: usize) -> u64 {
    m.read_word(m.read_ref(m.get(0), index), 0)
}

/// The barrier as compiled code has it.
fn compiled(mutator: &Mutator<CountingVM>, object: ObjectReference, slot: WordSlot) {
    let test = mutator.barrier_test().expect("the plan is generational");
    let at = test.base.wrapping_add(object.address().as_usize() >> test.shift);
    // SAFETY: where the test says, for a live object of the heap; others access it atomically.
    let state = unsafe { &*(at as *const AtomicU8) }.load(Relaxed);
    if state & mask(mutator) != 0 {
        mutator.remember(object, slot);
    }
}

/// What the barrier tests; it expects these bits to be clear.
fn mask(mutator: &Mutator<CountingVM>) -> u8 {
    // SAFETY: an offset of the state, where leaders write in pauses.
    unsafe { &*mutator.state().byte_add(MutatorState::<CountingVM>::BARRIER_OFFSET).cast::<AtomicU8>() }.load(Relaxed)
}

/// The barrier of a copy of one reference.
fn in_bulk(mutator: &Mutator<CountingVM>, object: ObjectReference, slot: WordSlot) {
    mutator.array_copy_barrier(object, slot.address()..slot.address().plus(8));
}

#[test]
fn a_minor_collection_visits_the_parts_that_were_stored_into_and_no_others() {
    let _watchdog = Watchdog::new();
    for (name, heap) in heaps() {
        for barrier in [Mutator::write_barrier, in_bulk, compiled] {
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            old_array(&heap, m, SLOTS);
            assert_eq!(visited_by_minor(&heap, m), 0, "{name}: nothing was stored");
            // The ends of parts, the same part twice, the last part, which is short.
            let rounds: [(&[usize], &[usize]); 4] = [
                (&[0], &[0]),
                (&[SLOTS_OF_FIRST - 1, SLOTS_OF_FIRST], &[0, 1]),
                (&[5 * PART, 5 * PART + 7, 5 * PART + 7], &[5]),
                (&[SLOTS - 1, 50 * PART], &[100, 50]),
            ];
            for (round, (slots, parts)) in rounds.into_iter().enumerate() {
                for index in slots {
                    store(m, *index, (round * SLOTS + index) as u64, barrier);
                }
                let expected: usize = parts.iter().map(|part| slots_of(*part, SLOTS)).sum();
                assert_eq!(visited_by_minor(&heap, m), expected, "{name}, round {round}");
                assert_eq!(visited_by_minor(&heap, m), 0, "{name}: nothing was stored since");
                for index in slots {
                    assert_eq!(stored(m, *index), (round * SLOTS + index) as u64, "{name}, slot {index}");
                }
            }
            m.pop(1);
        }
    }
}

#[test]
fn an_array_of_which_half_the_parts_are_stored_into_is_visited_once() {
    let _watchdog = Watchdog::new();
    for (name, heap) in heaps() {
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let array = old_array(&heap, m, SLOTS);
        let is_tested = || {
            m.mutator().barrier_test().is_some_and(|test| {
                let at = test.base.wrapping_add(array.address().as_usize() >> test.shift);
                // SAFETY: as in `compiled`.
                unsafe { &*(at as *const AtomicU8) }.load(Relaxed) & mask(&m.mutator()) != 0
            })
        };
        for part in 0..PARTS {
            assert_eq!(is_tested(), part < PARTS.div_ceil(2), "{name}: after {part} parts");
            store(m, part * PART, part as u64, Mutator::write_barrier);
        }
        assert_eq!(visited_by_minor(&heap, m), SLOTS, "{name}");
        assert!(is_tested(), "{name}");
        (0..PARTS).for_each(|part| assert_eq!(stored(m, part * PART), part as u64, "{name}"));
        // And again in parts.
        store(m, 1, 1, Mutator::write_barrier);
        assert_eq!(visited_by_minor(&heap, m), SLOTS_OF_FIRST, "{name}");
        m.pop(1);
    }
}

#[test]
fn a_copy_of_a_range_is_remembered_by_its_parts() {
    let _watchdog = Watchdog::new();
    for (name, heap) in heaps() {
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        old_array(&heap, m, SLOTS);
        let sizes = [1, 2, PART, 3 * PART, 49 * PART];
        for (from, count) in sizes.into_iter().flat_map(|size| [(0, size), (PART - 2, size), (SLOTS - size, size)]) {
            // The last objects come first, so that a part that is left out is missed.
            let young: Vec<usize> = [0, count / 2, count - 1].map(|index| from + index).into();
            for index in &young {
                store(m, *index, *index as u64, |_, _, _| ());
                let array = m.get(0).object().unwrap();
                m.mutator().array_copy_barrier(array, slot(array, from).address()..slot(array, from + count).address());
            }
            let parts = (from + 1) / PART..(from + count) / PART + 1;
            let expected: usize = parts.map(|part| slots_of(part, SLOTS)).sum();
            assert_eq!(visited_by_minor(&heap, m), expected, "{name}: {count} slots from {from}");
            young.iter().for_each(|index| assert_eq!(stored(m, *index), *index as u64, "{name}, slot {index}"));
        }
        // More than half: all of it. Nothing: nothing.
        store(m, 3, 3, |mutator, array, _| {
            mutator.array_copy_barrier(array, slot(array, 3).address()..slot(array, 52 * PART).address());
        });
        assert_eq!(visited_by_minor(&heap, m), SLOTS, "{name}");
        let array = m.get(0).object().unwrap();
        m.mutator().array_copy_barrier(array, slot(array, 3).address()..slot(array, 3).address());
        assert_eq!(visited_by_minor(&heap, m), 0, "{name}");
        m.pop(1);
    }
}

/// A binding may keep slots of an object elsewhere: then the object is remembered whole.
#[test]
fn an_array_whose_slot_lies_elsewhere_is_remembered_whole() {
    let _watchdog = Watchdog::new();
    for (name, heap) in heaps() {
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let array = old_array(&heap, m, SLOTS);
        let elsewhere = 0usize;
        let end = array.address().plus(PARTS * PART * 8);
        // Neighbours, the beginnings of other parts of memory, and no memory of the heap at all.
        for place in [array.address().minus(8), end, end.plus(100 * PART), Address::from_ptr(&raw const elsewhere)] {
            store(m, 77 * PART, 7, |mutator, array, _| {
                // SAFETY: the barrier does not look into it.
                mutator.write_barrier(array, unsafe { WordSlot::at(place) });
            });
            assert_eq!(visited_by_minor(&heap, m), SLOTS, "{name}");
            assert_eq!(stored(m, 77 * PART), 7, "{name}");
        }
        m.pop(1);
    }
}

#[test]
fn an_array_of_a_vm_that_does_not_say_where_slots_are_is_remembered_whole() {
    let _watchdog = Watchdog::new();
    for (name, heap) in heaps() {
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        heap.vm().set_silent(true);
        old_array(&heap, m, SLOTS);
        store(m, 5, 5, Mutator::write_barrier);
        assert_eq!(visited_by_minor(&heap, m), SLOTS, "{name}");
        // It says so after its array was found to have parts, and no more when they are visited.
        heap.vm().set_silent(false);
        m.mutator().collect();
        store(m, 5, 6, Mutator::write_barrier);
        heap.vm().set_silent(true);
        assert_eq!(visited_by_minor(&heap, m), SLOTS, "{name}");
        assert_eq!(stored(m, 5), 6, "{name}");
        m.pop(1);
    }
}

#[test]
fn a_full_collection_forgets_the_parts_that_were_stored_into() {
    let _watchdog = Watchdog::new();
    for (name, heap) in heaps() {
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        old_array(&heap, m, SLOTS);
        for round in 0..3 {
            store(m, 3 * PART, round, Mutator::write_barrier);
            m.mutator().collect();
            assert_eq!(visited_by_minor(&heap, m), 0, "{name}: all of that is old");
            store(m, 3 * PART, round + 10, Mutator::write_barrier);
            assert_eq!(visited_by_minor(&heap, m), PART, "{name}");
            assert_eq!(stored(m, 3 * PART), round + 10, "{name}");
        }
        m.pop(1);
    }
}

#[test]
fn what_comes_in_the_place_of_an_array_is_no_array() {
    let _watchdog = Watchdog::new();
    for (name, heap) in heaps() {
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let array = old_array(&heap, m, SLOTS);
        store(m, 5, 5, Mutator::write_barrier);
        m.pop(1);
        m.mutator().collect();
        // One slot, and as large.
        m.push(m.alloc(1, (SLOTS - 1) * 8));
        assert_eq!(m.get(0).object(), Some(array), "{name}: the memory was used again");
        minor(&heap, m);
        minor(&heap, m);
        store(m, 0, 8, Mutator::write_barrier);
        minor(&heap, m);
        assert_eq!(stored(m, 0), 8, "{name}");
        m.pop(1);
    }
}

#[test]
fn what_several_threads_store_into_the_same_parts_lives() {
    const THREADS: usize = 4;
    let _watchdog = Watchdog::new();
    for (name, heap) in heaps() {
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let array = old_array(&heap, m, SLOTS);
        for round in 0..4u64 {
            let start = Barrier::new(THREADS);
            let (heap, start) = (&heap, &start);
            let stored_by = |me: usize| {
                let index = move |n: usize| n * PART + 2 * me + 1;
                (0..20).map(index)
            };
            m.native(|| {
                std::thread::scope(|scope| {
                    for me in 0..THREADS {
                        scope.spawn(move || {
                            let thread = Thread::attach(heap);
                            let m = thread.handle();
                            m.push(Ref::from(array));
                            m.native(|| start.wait());
                            stored_by(me)
                                .for_each(|index| store(m, index, round << 32 | index as u64, Mutator::write_barrier));
                            m.pop(1);
                        });
                    }
                });
            });
            let visited = visited_by_minor(heap, m);
            assert!(visited <= 20 * PART, "{name}: {visited}");
            for index in (0..THREADS).flat_map(stored_by) {
                assert_eq!(stored(m, index), round << 32 | index as u64, "{name}, round {round}, slot {index}");
            }
        }
        m.pop(1);
    }
}

/// A new array is visited whole when it survives, and remembered in parts from then on.
#[test]
fn what_a_new_array_was_filled_with_lives() {
    let _watchdog = Watchdog::new();
    for (name, heap) in heaps() {
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        m.push(m.alloc(SLOTS, 0));
        for index in (0..SLOTS).step_by(1000) {
            store(m, index, index as u64, Mutator::write_barrier);
        }
        assert_eq!(visited_by_minor(&heap, m), SLOTS, "{name}");
        (0..SLOTS).step_by(1000).for_each(|index| assert_eq!(stored(m, index), index as u64, "{name}"));
        store(m, 1, 1, Mutator::write_barrier);
        assert_eq!(visited_by_minor(&heap, m), SLOTS_OF_FIRST, "{name}");
        m.pop(1);
    }
}

#[test]
fn the_verifier_finds_a_store_into_another_part_than_the_barrier_was_told() {
    let _watchdog = Watchdog::new();
    for plan in PLANS.iter().filter(|plan| plan.needs.old_to_new) {
        for forgotten in [true, false] {
            let heap = heap_with(plan.name, "2", &[("verify.trace", "true")]);
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            old_array(&heap, m, SLOTS);
            store(m, 5, 5, Mutator::write_barrier);
            store(m, 3 * PART, 6, |mutator, array, _| {
                if !forgotten {
                    mutator.write_barrier(array, slot(array, 9 * PART));
                }
            });
            let text = panic_of(|| minor(&heap, m));
            let part = format!("the slot at +{} of object", 8 + 8 * 3 * PART);
            for said in
                ["after the collection", &part, "likely causes: a missing write barrier", "with another slot told"]
            {
                assert!(text.contains(said), "{}: {said:?} is missing in: {text}", plan.name);
            }
        }
    }
}
