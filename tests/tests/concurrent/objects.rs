//! What becomes of objects while they are marked: old ones, new ones, and those outside the heap.

use super::driving::*;
use super::places::*;
use mmtk_core::metadata::EPOCH_MAX;
use mmtk_core::{Address, ObjectReference, WordSlot};
use plan_tests::{AmbiguousVM, SideVM, TestVM, Watchdog};
use reference::{Ref, ReferenceVM, Thread, object};
use std::sync::atomic::Ordering::Relaxed;

/// In each of many cycles some holders give away what they hold, before or after the marking has come to
/// them; the rest is not written to for as many cycles as there are numbers of epochs, and more.
fn what_is_taken_out_of_objects_is_kept<VM: TestVM>() {
    let _watchdog = Watchdog::new();
    for (plan, verified) in concurrent_plans().flat_map(|plan| [(plan, true), (plan, false)]) {
        let settings = [&BY_STEPS[..], if verified { &[] } else { &[UNVERIFIED] }].concat();
        let heap = heap_with::<VM>(plan, &settings);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let places = Places::of(&heap);
        let table = holders(m, &places);
        let length = pairs().len();
        for cycle in 0..80 {
            begin(m);
            let going = step(m, [0, 1, 20, 60][cycle % 4]);
            assert!(going, "{plan}: a cycle of {length} holders is over after few steps");
            let taken: Vec<usize> = (0..length).filter(|n| (n + cycle) % 19 == 0).collect();
            for n in &taken {
                let holder = m.read_ref(m.get(table), *n);
                m.push(m.read_ref(holder, 0));
                m.write_ref(holder, 0, Ref::NULL);
                step(m, cycle % 3);
            }
            finish(m);
            for n in taken.iter().rev() {
                let holder = m.read_ref(m.get(table), *n);
                m.write_ref(holder, 0, m.peek(0));
                m.pop(1);
            }
            check_holders(m, table, &format!("{plan}, cycle {cycle}"));
            if cycle % 9 == 0 {
                m.collect();
                check_holders(m, table, &format!("{plan}, collection after cycle {cycle}"));
            }
        }
        let statistics = heap.statistics();
        assert!(statistics.concurrent_collections >= 80, "{plan}: {statistics:?}");
    }
}

#[test]
fn what_is_taken_out_of_objects_while_they_are_marked_is_kept() {
    what_is_taken_out_of_objects_is_kept::<ReferenceVM>();
}

#[test]
fn what_is_taken_out_of_objects_while_they_are_marked_is_kept_with_side_tables() {
    what_is_taken_out_of_objects_is_kept::<SideVM<3>>();
}

#[test]
fn what_is_taken_out_of_objects_while_they_are_marked_is_kept_with_ambiguous_roots() {
    what_is_taken_out_of_objects_is_kept::<AmbiguousVM<false>>();
}

/// An old object comes to hang on a new one alone, which was made in any place at any time of the marking.
fn what_new_objects_take_over_is_kept<VM: TestVM>() {
    let _watchdog = Watchdog::new();
    for (plan, verified) in concurrent_plans().flat_map(|plan| [(plan, true), (plan, false)]) {
        let settings = [&BY_STEPS[..], if verified { &[] } else { &[UNVERIFIED] }].concat();
        let heap = heap_with::<VM>(plan, &settings);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let places = Places::of(&heap);
        let pairs = pairs();
        for cycle in 0..20 {
            let table = holders(m, &places);
            begin(m);
            step(m, [0, 1, 20, 60][cycle % 4]);
            for (n, (_, place)) in pairs.iter().enumerate() {
                // Its number is that of the holder, in whose place it comes.
                let new = m.push(places.make(m, *place, 1000 + n as u64));
                let held = m.read_ref(m.read_ref(m.get(table), n), 0);
                m.write_ref(m.get(new), 0, held);
                m.write_ref(m.read_ref(m.get(table), n), 0, Ref::NULL);
                m.write_ref(m.get(table), n, m.get(new));
                m.pop(1);
                step(m, cycle % 3);
            }
            finish(m);
            check_holders(m, table, &format!("{plan}, cycle {cycle}"));
            m.collect();
            check_holders(m, table, &format!("{plan}, collection after cycle {cycle}"));
            m.pop(1);
        }
    }
}

#[test]
fn what_new_objects_take_over_while_it_is_marked_is_kept() {
    what_new_objects_take_over_is_kept::<ReferenceVM>();
}

#[test]
fn what_new_objects_take_over_while_it_is_marked_is_kept_with_side_tables() {
    what_new_objects_take_over_is_kept::<SideVM<4>>();
}

/// After each step each object that lives is found by its address: those of the snapshot, claimed or not, and
/// new ones.
#[test]
fn objects_are_found_by_address_at_any_time_of_a_marking() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<AmbiguousVM<false>>(plan, &BY_STEPS);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let places = Places::of(&heap);
        for cycle in 0..6 {
            let old = table(m, 7 * 6, |n| places.make(m, PLACES[n % 7], n as u64));
            if cycle % 2 == 1 {
                // These have survived one.
                m.collect();
            }
            begin(m);
            let new = table(m, 7, |n| places.make(m, PLACES[n % 7], n as u64));
            let mut steps = 0;
            loop {
                for (table, length) in [(old, 7 * 6), (new, 7)] {
                    for n in 0..length {
                        let object = object_of(m.read_ref(m.get(table), n));
                        // Not `find_object` of the mutator, which marks what it finds.
                        // SAFETY: this thread is the only mutator, and runs.
                        let found = unsafe { heap.find_object(object.address().plus(8)) };
                        let place = PLACES[n % 7];
                        assert_eq!(found, Some(object), "{plan}, cycle {cycle}: {place:?} {n} after {steps} steps");
                    }
                }
                if !step(m, 1) {
                    break;
                }
                steps += 1;
            }
            assert!(steps > 10, "{plan}: {steps}");
            m.pop(2);
        }
    }
}

/// Of an object that was dead before nothing is found while it is marked, although its line is in use.
#[test]
fn the_dead_beside_the_living_are_not_found_while_it_is_marked() {
    const OBJECTS: usize = 200;
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<AmbiguousVM<false>>(plan, &[&BY_STEPS[..], &[UNVERIFIED]].concat());
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        for cycle in 0..6 {
            let all = table(m, OBJECTS, |_| m.alloc(0, 8));
            let dead: Vec<_> = (0..OBJECTS).step_by(2).map(|n| object_of(m.read_ref(m.get(all), n))).collect();
            (0..OBJECTS).step_by(2).for_each(|n| m.write_ref(m.get(all), n, Ref::NULL));
            m.collect();
            begin(m);
            while step(m, 1) {
                for object in &dead {
                    // Not `find_object` of the mutator, which marks what it finds.
                    // SAFETY: this thread is the only mutator, and runs.
                    let found = unsafe { heap.find_object(object.address().plus(8)) };
                    assert_ne!(found, Some(*object), "{plan}, cycle {cycle}");
                }
            }
            m.pop(1);
        }
    }
}

/// All objects are visited while it is marked, and the marking goes on.
#[test]
fn objects_may_be_visited_while_it_is_marked() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        for driver in ["quanta", "background"] {
            let heap = heap_with::<AmbiguousVM<false>>(plan, &[&BY_STEPS[..], &[("gc.driver", driver)]].concat());
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let places = Places::of(&heap);
            let table = holders(m, &places);
            for _ in 0..5 {
                begin(m);
                while is_marked(m) {
                    let mut found = std::collections::HashSet::new();
                    m.mutator().for_each_object(|object| assert!(found.insert(object), "{plan}: {object} twice"));
                    for n in 0..pairs().len() {
                        let holder = m.read_ref(m.get(table), n);
                        assert!(found.contains(&object_of(holder)), "{plan}: {:?}", pairs()[n]);
                        assert!(found.contains(&object_of(m.read_ref(holder, 0))), "{plan}: {:?}", pairs()[n]);
                    }
                    step(m, 5);
                }
                check_holders(m, table, plan);
            }
        }
    }
}

/// An object that loses slots gives what was in them to the marking.
#[test]
fn objects_may_shrink_while_they_are_marked() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<ReferenceVM>(plan, &BY_STEPS);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let places = Places::of(&heap);
        for cycle in 0..10 {
            let table = holders(m, &places);
            begin(m);
            step(m, cycle * 10);
            for n in 0..pairs().len() {
                let holder = m.read_ref(m.get(table), n);
                m.push(m.read_ref(holder, 0));
                m.mutator().before_reshape(object_of(holder));
                // The second slot is left, with another meaning than before.
                // SAFETY: the header of a live object, which has a word for it; the top byte stays.
                let header = unsafe { object_of(holder).address().as_atomic_u64() };
                header.fetch_sub(2, Relaxed);
                m.write_word(holder, 0, 0xdead_beef);
                step(m, 1);
            }
            finish(m);
            for n in (0..pairs().len()).rev() {
                assert_eq!(m.read_word(m.peek(0), 2), n as u64, "{plan}, cycle {cycle}: {:?}", pairs()[n]);
                m.pop(1);
            }
            m.pop(1);
        }
    }
}

/// The numbers of what is handed out come round after some hundred cycles.
#[test]
fn numbers_of_new_memory_come_round() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let settings = [("stress.every_bytes", "16K"), ("stress.step_objects", "1000")];
        let heap = heap_with::<AmbiguousVM<false>>(plan, &[&BY_STEPS[..], &settings].concat());
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        // A window over objects that live for different times, so that lines of all ages have holes.
        let window = table(m, 64, |_| Ref::NULL);
        for cycle in 0..600usize {
            begin(m);
            for n in 0..3 {
                let index = (cycle * 3 + n) * 29 % 64;
                let old = m.push(m.read_ref(m.get(window), index));
                let new = m.alloc(2, 16 + 100 * n);
                m.write_word(new, 2, index as u64);
                if cycle % 5 == 0 {
                    m.write_ref(new, 0, m.get(old));
                }
                m.write_ref(m.get(window), index, new);
                m.pop(1);
            }
            finish(m);
            for index in 0..64 {
                let object = m.read_ref(m.get(window), index);
                assert!(object.is_null() || m.read_word(object, 2) == index as u64, "{plan}, cycle {cycle}: {index}");
            }
        }
    }
}

/// Between two markings lie so many collections in pauses that the number of the epoch is the same again.
#[test]
fn an_epoch_that_has_the_number_of_an_earlier_marking_is_another() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<SideVM<3>>(plan, &BY_STEPS);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let places = Places::of(&heap);
        let table = holders(m, &places);
        for between in EPOCH_MAX - 2..=EPOCH_MAX {
            begin(m);
            finish(m);
            (0..between).for_each(|_| m.collect());
            begin(m);
            for n in 0..pairs().len() {
                let holder = m.read_ref(m.get(table), n);
                m.push(m.read_ref(holder, 0));
                m.write_ref(holder, 0, Ref::NULL);
            }
            finish(m);
            for n in (0..pairs().len()).rev() {
                let holder = m.read_ref(m.get(table), n);
                m.write_ref(holder, 0, m.peek(0));
                m.pop(1);
            }
            check_holders(m, table, &format!("{plan}, {between} collections between"));
        }
    }
}

/// Objects outside the heap have no barrier: what they held when the marking began lives, and what they are
/// given meanwhile.
#[test]
fn objects_outside_the_heap_change_while_it_is_marked() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<ReferenceVM>(plan, &BY_STEPS);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let places = Places::of(&heap);
        let length = pairs().len();
        const WORDS: usize = 4;
        let mut words = vec![0u64; 2 * length * WORDS];
        let outside: Vec<_> = words
            .chunks_mut(WORDS)
            .map(|object| {
                let at = Address::from_ptr(object.as_mut_ptr());
                // SAFETY: the vector has as many words as the object needs, and stays as it is until the heap
                // has forgotten the object.
                unsafe {
                    object::write_header(at, 2, WORDS);
                    ObjectReference::from_address(at).unwrap()
                }
            })
            .collect();
        // SAFETY: slots of those objects, which this thread alone uses, and collections in pauses.
        let slot = |n: usize| unsafe { WordSlot::at(object::slot(outside[n], 0)) };
        let read = |n: usize| mmtk_core::Slot::load(slot(n)).map_or(Ref::NULL, Ref::from);
        let add = |n: usize| {
            // SAFETY: they stay where they are.
            unsafe { heap.add_vm_object(outside[n]) }.unwrap()
        };
        (0..length).for_each(add);
        for cycle in 0..20 {
            let held = holders(m, &places);
            (0..length).for_each(|n| slot(n).write(m.read_ref(m.get(held), n).object()));
            m.pop(1);
            begin(m);
            step(m, cycle * 3);
            // Half of them go to others that are known from now on, half of what those hold.
            for (n, old) in outside.clone().into_iter().enumerate().take(length) {
                add(length + n);
                let holder = read(n);
                let moved = if n % 2 == 0 { holder } else { m.read_ref(holder, 0) };
                if n % 2 == 1 {
                    m.write_ref(holder, 0, Ref::NULL);
                }
                slot(length + n).write(moved.object());
                slot(n).write(None);
                if n % 3 == 0 {
                    assert!(heap.remove_vm_object(old));
                }
                step(m, cycle % 2);
            }
            finish(m);
            m.collect();
            for (n, pair) in pairs().into_iter().enumerate() {
                let number = if n % 2 == 0 { 1000 + n } else { n };
                let found = m.read_word(read(length + n), 2);
                assert_eq!(found, number as u64, "{plan}, cycle {cycle}: {pair:?}");
                slot(length + n).write(None);
                heap.remove_vm_object(outside[length + n]);
                add(n);
            }
        }
        outside.iter().for_each(|object| _ = heap.remove_vm_object(*object));
    }
}

/// What a marking finds, when the program does nothing meanwhile, is what a collection in a pause finds.
#[test]
fn a_marking_counts_what_a_pause_counts() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        for (workers, step_objects) in [("1", "1"), ("1", "1000"), ("2", "7")] {
            let settings = [("gc.workers", workers), ("stress.step_objects", step_objects)];
            let heap = heap_with::<ReferenceVM>(plan, &[&BY_STEPS[..], &settings].concat());
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let places = Places::of(&heap);
            holders(m, &places);
            begin(m);
            finish(m);
            let beside = heap.statistics();
            m.collect();
            let paused = heap.statistics();
            assert_eq!(beside.live_bytes, paused.live_bytes, "{plan}, {settings:?}");
            // Objects that the barrier claims, and those that are left to the last pause, are counted alike.
            begin(m);
            for n in 0..pairs().len() {
                let holder = m.read_ref(m.get(0), n);
                m.write_ref(holder, 0, m.read_ref(holder, 0));
            }
            let concurrent = heap.statistics().concurrent_collections;
            m.collect();
            let after = heap.statistics();
            assert_eq!(after.concurrent_collections, concurrent + 1);
            assert_eq!(after.live_bytes, paused.live_bytes, "{plan}, {settings:?}");
            begin(m);
            for n in 0..pairs().len() {
                let holder = m.read_ref(m.get(0), n);
                m.write_ref(holder, 0, m.read_ref(holder, 0));
            }
            finish(m);
            assert_eq!(heap.statistics().live_bytes, paused.live_bytes, "{plan}, {settings:?}");
        }
    }
}
