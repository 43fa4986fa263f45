//! Large arrays, which are claimed in parts of 1024 slots while they are marked.

use super::driving::*;
use super::threads::fork;
use mmtk_core::{Heap, WordSlot};
use plan_tests::{CountingVM, Read, SideVM, TestVM, Watchdog, options};
use policies::new_heap;
use reference::{Ref, ReferenceVM, Thread, ThreadHandle, object};
use std::ops::Range;
use std::sync::Barrier;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Slots of a part.
const PART: usize = 1024;
/// Slots that a step reads between two looks at whether it is to end.
const LOOK: usize = 1024;
/// What an object costs beside its slots, in slots.
const OBJECT: usize = 16;

/// A heap of which only the test marks anything, as much as a step does that has no time left.
fn heap_of_whole_steps(plan: &str) -> Heap<CountingVM> {
    let settings = [UNVERIFIED, ("verify.poison", "false"), ("stress.step_objects", "0"), ("stress.every_bytes", "8M")];
    new_heap(CountingVM::new(), options(plan, 96 << 20, &[&BY_STEPS[..], &settings].concat())).unwrap()
}

/// An array as a root, of which all slots refer to a few objects.
fn full_array<VM: TestVM>(m: ThreadHandle<VM>, slots: usize) -> usize {
    let array = m.push(m.alloc(slots, 0));
    let held: Vec<usize> = (0..50).map(|_| m.push(m.alloc(0, 8))).collect();
    (0..slots).for_each(|slot| m.write_ref(m.get(array), slot, m.get(held[slot % held.len()])));
    m.pop(held.len());
    array
}

/// What one step may cost that has no time: what is between two looks, and the object in hand.
fn check_step(Read { objects, slots, .. }: Read, what: &str) {
    let cost = objects * OBJECT + slots;
    assert!(cost <= LOOK + OBJECT + PART, "{what}: a step has read {objects} objects and {slots} slots");
}

#[test]
fn a_step_reads_no_more_of_an_array_than_a_part() {
    const SLOTS: usize = 1_000_000;
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_of_whole_steps(plan);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        full_array(m, SLOTS);
        for is_silent in [false, true] {
            heap.vm().set_silent(is_silent);
            begin(m);
            let (mut all, mut steps) = (0, 0);
            while is_marked(m) {
                let read = heap.vm().read_by(|| _ = m.mutator().step(Duration::ZERO));
                check_step(read, plan);
                all += read.slots;
                steps += 1;
            }
            assert_eq!(all, SLOTS, "{plan}: each slot is read once");
            assert!(steps >= SLOTS / (LOOK + PART), "{plan}: {steps}");
        }
    }
}

/// The contract of a step, over objects of all sizes: what is between two looks, and one more object.
#[test]
fn a_step_without_time_ends_at_the_next_look() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_of_whole_steps(plan);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let table = m.push(m.alloc(400, 0));
        for n in 0..400 {
            let new = m.alloc([0, 3, 40, 900, 1024, 1025, 5000][n % 7], 8);
            m.write_ref(m.get(table), n, new);
            for slot in 0..object::header(object_of(new)).refs().min(3) {
                // Lists, and rings.
                m.write_ref(new, slot, m.read_ref(m.get(table), n * 31 % (n + 1)));
            }
        }
        begin(m);
        let (mut longest, mut steps) = (0, 0);
        while is_marked(m) {
            let read = heap.vm().read_by(|| _ = m.mutator().step(Duration::ZERO));
            check_step(read, plan);
            longest = longest.max(read.objects * OBJECT + read.slots);
            steps += 1;
        }
        assert!(longest >= LOOK && steps > 100, "{plan}: steps end too early: {longest}, {steps}");
    }
}

#[test]
fn a_store_reads_the_part_that_it_is_to_and_a_copy_the_parts_that_it_is_to() {
    const SLOTS: usize = 100 * PART + 5;
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_of_whole_steps(plan);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let array = full_array(m, SLOTS);
        let store = |slot| heap.vm().read_by(|| m.write_ref(m.get(array), slot, Ref::NULL)).slots;
        begin(m);
        for (slot, read) in [(3, PART), (5, 0), (PART - 1, 0), (PART, PART), (SLOTS - 1, 5), (SLOTS - 5, 0)] {
            assert_eq!(store(slot), read, "{plan}: slot {slot}");
        }
        let copy = |slots: Range<usize>| {
            let object = object_of(m.get(array));
            let place = object::slot(object, slots.start)..object::slot(object, slots.end);
            heap.vm().read_by(|| m.mutator().array_copy_barrier(object, place)).slots
        };
        for (slots, read) in [
            (5 * PART..5 * PART, 0),
            (5 * PART - 1..5 * PART + 1, 2 * PART),
            (3 * PART..8 * PART, 3 * PART),
            (SLOTS - PART - 7..SLOTS, 2 * PART),
        ] {
            assert_eq!(copy(slots.clone()), read, "{plan}: {slots:?}");
        }
        // The marker reads the rest.
        let parts_claimed = 1 + 1 + 2 + 3 + 2;
        let rest = heap.vm().read_by(|| finish(m)).slots;
        assert_eq!(rest, SLOTS - 5 - parts_claimed * PART, "{plan}");
        assert_eq!(store(50 * PART), 0, "{plan}: no marking is in progress");
        // Where the VM does not say where slots are, a store reads all of them, and the next ones none.
        heap.vm().set_silent(true);
        begin(m);
        assert_eq!((store(50 * PART), store(3)), (SLOTS, 0), "{plan}");
        assert_eq!(heap.vm().read_by(|| finish(m)).slots, 0, "{plan}");
    }
}

/// Slots at the ends of parts, with an object each that nothing else refers to.
const SLOTS: usize = 4 * PART + 5;
const HELD: [usize; 10] =
    [0, PART - 1, PART, PART + 1, 2 * PART - 1, 2 * PART + 500, 3 * PART, 4 * PART - 1, 4 * PART, SLOTS - 1];
/// As many steps of an object as a marking of such an array has, and some more.
const STEPS: usize = 24;

fn array_of_held<VM: TestVM>(m: ThreadHandle<VM>) -> usize {
    let array = m.push(m.alloc(SLOTS, 0));
    for slot in HELD {
        let new = m.alloc(0, 8);
        m.write_word(new, 0, slot as u64);
        m.write_ref(m.get(array), slot, new);
    }
    array
}

fn check_array<VM: TestVM>(m: ThreadHandle<VM>, array: usize, what: &str) {
    for slot in HELD {
        assert_eq!(m.read_word(m.read_ref(m.get(array), slot), 0), slot as u64, "{what}: slot {slot}");
    }
}

/// Heaps with the verifier, and without: then mutators take the fast path.
fn heaps<VM: TestVM>() -> impl Iterator<Item = (String, Heap<VM>)> {
    concurrent_plans().flat_map(|plan| [(plan, true), (plan, false)]).map(|(plan, verified)| {
        let settings = [&BY_STEPS[..], if verified { &[] } else { &[UNVERIFIED] }].concat();
        (format!("{plan}, verified {verified}"), heap_with(plan, &settings))
    })
}

/// After each number of steps some slots give away what they hold, and get new objects.
fn what_is_taken_out_of_arrays_is_kept<VM: TestVM>() {
    let _watchdog = Watchdog::new();
    for (name, heap) in heaps::<VM>() {
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let array = array_of_held(m);
        for steps in 0..STEPS {
            for taken in [&HELD[..], &HELD[steps % 10..][..1], &HELD[..5], &HELD[5..], &[]] {
                begin(m);
                step(m, steps);
                for (n, slot) in taken.iter().enumerate() {
                    m.push(m.read_ref(m.get(array), *slot));
                    let new = m.alloc(0, 8);
                    m.write_ref(m.get(array), *slot, if n % 2 == 0 { new } else { Ref::NULL });
                    step(m, (steps + n) % 3);
                }
                finish(m);
                for slot in taken.iter().rev() {
                    m.write_ref(m.get(array), *slot, m.peek(0));
                    m.pop(1);
                }
                check_array(m, array, &format!("{name}, {steps} steps, {taken:?}"));
            }
            m.collect();
            check_array(m, array, &name);
        }
    }
}

#[test]
fn what_is_taken_out_of_arrays_while_they_are_marked_is_kept() {
    what_is_taken_out_of_arrays_is_kept::<ReferenceVM>();
}

#[test]
fn what_is_taken_out_of_arrays_while_they_are_marked_is_kept_with_side_tables() {
    what_is_taken_out_of_arrays_is_kept::<SideVM<4>>();
}

#[test]
fn what_a_copy_overwrites_is_kept() {
    let _watchdog = Watchdog::new();
    for (name, heap) in heaps::<ReferenceVM>() {
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let array = array_of_held(m);
        for steps in 0..STEPS {
            for slots in [0..SLOTS, PART - 1..PART + 1, PART + 1..3 * PART + 1, 4 * PART..SLOTS, 0..1] {
                begin(m);
                step(m, steps);
                let taken: Vec<usize> = HELD.into_iter().filter(|slot| slots.contains(slot)).collect();
                taken.iter().for_each(|slot| _ = m.push(m.read_ref(m.get(array), *slot)));
                let object = object_of(m.get(array));
                let (from, to) = (object::slot(object, slots.start), object::slot(object, slots.end));
                m.mutator().array_copy_barrier(object, from..to);
                for slot in slots.clone() {
                    // SAFETY: a slot of the live array.
                    unsafe { WordSlot::at(object::slot(object, slot)) }.write(None);
                }
                finish(m);
                for slot in taken.iter().rev() {
                    m.write_ref(m.get(array), *slot, m.peek(0));
                    m.pop(1);
                }
                check_array(m, array, &format!("{name}, {steps} steps, {slots:?}"));
            }
        }
    }
}

/// An array loses its second half, which is words of another meaning then.
#[test]
fn arrays_may_shrink_while_they_are_marked() {
    let _watchdog = Watchdog::new();
    for (name, heap) in heaps::<ReferenceVM>() {
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        for steps in 0..STEPS {
            let array = array_of_held(m);
            begin(m);
            step(m, steps);
            // A part of it is claimed by a store.
            m.write_ref(m.get(array), 1, Ref::NULL);
            let lost: Vec<usize> = HELD.into_iter().filter(|slot| *slot >= 2 * PART).collect();
            lost.iter().for_each(|slot| _ = m.push(m.read_ref(m.get(array), *slot)));
            let object = object_of(m.get(array));
            m.mutator().before_reshape(object);
            // SAFETY: the header of a live object, which has a word for it; the top byte stays.
            unsafe { object.address().as_atomic_u64() }.fetch_sub((SLOTS - 2 * PART) as u64, Relaxed);
            (2 * PART..SLOTS).for_each(|word| m.write_word(m.get(array), word, 0xdead_beef));
            finish(m);
            for slot in lost.iter().rev() {
                assert_eq!(m.read_word(m.peek(0), 0), *slot as u64, "{name}, {steps} steps");
                m.pop(1);
            }
            for slot in HELD.into_iter().filter(|slot| *slot < 2 * PART) {
                assert_eq!(m.read_word(m.read_ref(m.get(array), slot), 0), slot as u64, "{name}, {steps} steps");
            }
            m.pop(1);
        }
    }
}

/// A marking is ended in a pause, interrupted by one, or by a fork, with some parts claimed.
#[test]
fn a_pause_or_a_fork_may_come_in_the_middle_of_an_array() {
    let _watchdog = Watchdog::new();
    for (name, heap) in heaps::<FindingVM>() {
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let array = array_of_held(m);
        for steps in 0..STEPS {
            begin(m);
            step(m, steps);
            let taken = HELD[steps % 10];
            m.push(m.read_ref(m.get(array), taken));
            m.write_ref(m.get(array), taken, Ref::NULL);
            let goes_on = || {
                finish(m);
                m.write_ref(m.get(array), taken, m.peek(0));
                check_array(m, array, &format!("{name}, {steps} steps"));
            };
            match steps % 3 {
                0 => m.collect(),
                1 => m.mutator().for_each_object(|_| ()),
                _ => assert!(fork(m, goes_on), "{name}, {steps} steps: the child"),
            }
            goes_on();
            m.pop(1);
        }
    }
}

/// What barriers have claimed in parts counts as what markers have, and as what a pause finds.
#[test]
fn arrays_are_counted_once() {
    let _watchdog = Watchdog::new();
    for (name, heap) in heaps::<ReferenceVM>() {
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let array = array_of_held(m);
        m.collect();
        let live = heap.statistics().live_bytes;
        for steps in 0..STEPS {
            begin(m);
            let concurrent = heap.statistics().concurrent_collections;
            step(m, steps);
            for slot in &HELD[steps % 10..] {
                m.write_ref(m.get(array), *slot, m.read_ref(m.get(array), *slot));
            }
            if steps % 2 == 0 {
                finish(m);
            } else {
                m.collect();
            }
            let statistics = heap.statistics();
            assert_eq!(statistics.concurrent_collections, concurrent + 1, "{name}, {steps} steps");
            assert_eq!(statistics.live_bytes, live, "{name}, {steps} steps");
        }
    }
}

/// Two mutators exchange what is in the slots of one array while the background thread marks it.
#[test]
fn threads_store_into_one_array_while_it_is_marked() {
    const SLOTS: usize = 20 * PART + 7;
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        for verify in ["true", "false"] {
            let settings = [("gc.driver", "background"), ("stress.step_objects", "3"), ("verify.trace", verify)];
            let heap = heap_with::<ReferenceVM>(plan, &[&BY_STEPS[..], &settings].concat());
            let barrier = Barrier::new(2);
            {
                let thread = Thread::attach(&heap);
                let m = thread.handle();
                let array = m.push(m.alloc(SLOTS, 0));
                for slot in 0..SLOTS {
                    let new = m.alloc(0, 8);
                    m.write_word(new, 0, slot as u64);
                    m.write_ref(m.get(array), slot, new);
                }
                heap.vm().set_global(0, m.get(array));
            }
            let mutate = |me: usize| {
                let thread = Thread::attach(&heap);
                let m = thread.handle();
                m.native(|| _ = barrier.wait());
                let mut random = me as u64 + 1;
                // Each has every second slot: they share all parts.
                let mut slot = || {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (random >> 33) as usize % (SLOTS / 2) * 2 + me
                };
                let cycles = heap.statistics().concurrent_collections;
                while heap.statistics().concurrent_collections < cycles + 20 {
                    for _ in 0..50 {
                        let array = heap.vm().global(0);
                        let (one, other) = (slot(), slot());
                        let held = m.read_ref(array, one);
                        m.write_ref(array, one, m.read_ref(array, other));
                        m.write_ref(array, other, held);
                    }
                    m.alloc(0, 2000);
                }
            };
            std::thread::scope(|scope| {
                scope.spawn(|| mutate(1));
                mutate(0);
            });
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let array = heap.vm().global(0);
            let mut found: Vec<u64> = (0..SLOTS).map(|slot| m.read_word(m.read_ref(array, slot), 0)).collect();
            found.sort_unstable();
            assert!(found.into_iter().eq(0..SLOTS as u64), "{plan}, verify {verify}");
        }
    }
}
