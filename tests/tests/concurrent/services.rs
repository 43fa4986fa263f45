//! The services of the heap while it is marked: references, finalizers, tables, pins, regions, pools.

use super::driving::*;
use super::places::*;
use mmtk_core::AddressTable;
use mmtk_core::memory::BLOCK_BYTES;
use mmtk_core::metadata::EPOCH_MAX;
use mmtk_core::weak::{FinalizerOrder, ReferenceKind, Terms};
use plan_tests::{SideVM, TestVM, Watchdog};
use reference::{Ref, ReferenceVM, Thread};
use std::collections::HashSet;

/// Objects that nothing but a weak reference knew when the marking began, and that the program then takes
/// from there, live; others are cleared.
#[test]
fn what_the_program_takes_from_native_references_meanwhile_is_kept() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<ReferenceVM>(plan, &BY_STEPS);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let places = Places::of(&heap);
        for cycle in 0..2 * EPOCH_MAX as usize {
            let mutator = m.mutator();
            let known = mutator.references();
            let pairs = pairs();
            // So much is to be marked that no step below is the last.
            table(m, 100, |_| m.alloc(0, 0));
            let held = holders(m, &places);
            let at = |n: usize| object_of(m.read_ref(m.get(held), n));
            let kind = [ReferenceKind::Weak, ReferenceKind::Soft][cycle % 2];
            let weak: Vec<_> = (0..pairs.len()).map(|n| known.create(kind, at(n), Terms::default()).unwrap()).collect();
            // The value of each leads to a number of its own.
            let key = m.push(m.alloc(0, 8));
            let ephemerons: Vec<_> = (0..pairs.len())
                .map(|n| known.create_ephemeron(object_of(m.get(key)), Some(at(n)), Terms::default()).unwrap())
                .collect();
            let dying: Vec<_> = (0..pairs.len())
                .map(|n| known.create_ephemeron(at(n), Some(at(n)), Terms::default()).unwrap())
                .collect();
            // Nothing refers to the holders any more; soft references are cleared at once or not.
            let by_ephemeron = cycle % 4 >= 2;
            m.set(held, Ref::NULL);
            if !by_ephemeron {
                ephemerons.iter().for_each(|ephemeron| assert!(known.set_value(*ephemeron, None)));
            }
            begin(m);
            step(m, [0, 1, 3][cycle % 3]);
            let taken = (0..pairs.len()).filter(|n| (n + cycle) % 3 == 0);
            let mut kept = Vec::new();
            for n in taken {
                let taken = match by_ephemeron {
                    true => known.value(ephemerons[n]),
                    false => known.get(weak[n]),
                };
                if by_ephemeron {
                    known.set_value(ephemerons[n], None);
                }
                let taken = taken
                    .unwrap_or_else(|| panic!("{plan}, cycle {cycle}: {:?} was cleared while it is marked", pairs[n]));
                kept.push((n, m.push(taken.into())));
                step(m, 1);
            }
            finish(m);
            for again in [false, true] {
                for (n, root) in &kept {
                    let holder = m.get(*root);
                    let what = format!("{plan}, cycle {cycle}: {:?}", pairs[*n]);
                    assert_eq!(m.read_word(holder, 2), 1000 + *n as u64, "{what}");
                    assert_eq!(m.read_word(m.read_ref(holder, 0), 2), *n as u64, "{what}");
                    assert_eq!(known.get(weak[*n]), holder.object(), "{what}");
                    assert_eq!(known.value(dying[*n]), holder.object(), "{what}");
                }
                if kind == ReferenceKind::Weak && !by_ephemeron {
                    let lives = |n: usize| kept.iter().any(|(other, _)| *other == n);
                    for n in (0..pairs.len()).filter(|n| !lives(*n)) {
                        let what = format!("{plan}, cycle {cycle}: {:?}", pairs[n]);
                        assert!(known.is_cleared(weak[n]) && known.value(dying[n]).is_none(), "{what}");
                    }
                }
                if !again {
                    m.collect();
                }
            }
            weak.into_iter().chain(ephemerons).chain(dying).for_each(|reference| known.free(reference));
            m.pop(m.depth());
        }
    }
}

/// The same from tables of the VM and from a visit of all objects, where the program says that it keeps them.
#[test]
fn what_the_program_says_that_it_keeps_is_kept() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<FindingVM>(plan, &BY_STEPS);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let places = Places::of(&heap);
        for cycle in 0..20 {
            table(m, 50, |_| m.alloc(0, 0));
            let vm = heap.vm().reference();
            let held = holders(m, &places);
            let weak: Vec<_> = (0..pairs().len()).map(|n| vm.new_weak(m.read_ref(m.get(held), n))).collect();
            m.set(held, Ref::NULL);
            begin(m);
            step(m, cycle % 10);
            let mut back = Vec::new();
            if cycle % 2 == 0 {
                for number in &weak {
                    m.keep(vm.weak(*number));
                    back.push(m.push(vm.weak(*number)));
                }
            } else {
                let mut found = std::collections::HashSet::new();
                m.mutator().for_each_object(|object| {
                    found.insert(object);
                    m.keep(object.into());
                });
                for number in &weak {
                    assert!(found.contains(&object_of(vm.weak(*number))));
                    back.push(m.push(vm.weak(*number)));
                }
            }
            finish(m);
            for (n, root) in back.into_iter().enumerate() {
                let holder = m.get(root);
                let read = (m.read_word(holder, 2), m.read_word(m.read_ref(holder, 0), 2));
                assert_eq!(read, (1000 + n as u64, n as u64), "{plan}, cycle {cycle}: {:?}", pairs()[n]);
            }
            m.pop(m.depth());
        }
    }
}

/// What died while it was marked is there until the next collection, and may come back through a weak
/// reference; so may what was born meanwhile. The next marking ends in a pause before it has come to them.
#[test]
fn what_the_marking_took_for_live_may_come_back() {
    let _watchdog = Watchdog::new();
    for (plan, verified) in concurrent_plans().flat_map(|plan| [(plan, true), (plan, false)]) {
        let settings = [&BY_STEPS[..], if verified { &[] } else { &[UNVERIFIED] }].concat();
        let heap = heap_with::<ReferenceVM>(plan, &settings);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let mutator = m.mutator();
        let known = mutator.references();
        let places = Places::of(&heap);
        for cycle in 0..10 {
            let make = |n: usize| places.make(m, PLACES[n], n as u64);
            let old = table(m, PLACES.len(), make);
            begin(m);
            let new = table(m, PLACES.len(), make);
            let weak = [old, new].map(|table| {
                let at = |n| object_of(m.read_ref(m.get(table), n));
                let create = |n| known.create(ReferenceKind::Weak, at(n), Terms::default()).unwrap();
                (0..PLACES.len()).map(create).collect::<Vec<_>>()
            });
            m.pop(2);
            finish(m);
            let back = m.depth();
            let later = cycle % 2 == 1;
            if later {
                begin(m);
            }
            for reference in weak.iter().flatten() {
                m.push(known.get(*reference).expect("it was taken for live").into());
            }
            if !later {
                begin(m);
            }
            m.collect();
            for n in 0..2 * PLACES.len() {
                let number = m.read_word(m.get(back + n), 2);
                assert_eq!(number, (n % PLACES.len()) as u64, "{plan}, cycle {cycle}");
            }
            weak.into_iter().flatten().for_each(|reference| known.free(reference));
            m.pop(2 * PLACES.len());
        }
    }
}

/// An object that waits in a queue, for its finalizer to run, refers to others: the queue is a root of each
/// marking, as long as the program does not come for it.
#[test]
fn what_waits_in_a_queue_is_kept_through_markings() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<ReferenceVM>(plan, &[&BY_STEPS[..], &[UNVERIFIED]].concat());
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let places = Places::of(&heap);
        let mutator = m.mutator();
        let known = mutator.references();
        for (n, place) in PLACES.into_iter().enumerate() {
            let held = m.push(places.make(m, place, n as u64));
            let due = m.push(m.alloc(1, 0));
            m.write_ref(m.get(due), 0, m.get(held));
            known.add_finalizer(object_of(m.get(due)), FinalizerOrder::Any).unwrap();
            m.pop(2);
        }
        m.collect();
        for _ in 0..3 {
            begin(m);
            finish(m);
        }
        let due: Vec<Ref> = std::iter::from_fn(|| known.next_finalizable()).map(Ref::from).collect();
        let mut numbers: Vec<u64> = due.into_iter().map(|due| m.read_word(m.read_ref(due, 0), 2)).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..PLACES.len() as u64).collect::<Vec<_>>(), "{plan}");
    }
}

/// What is made while it is marked lives to its end, with all that is said of it then: finalizers, identity
/// hashes, pins, numbers in tables.
#[test]
fn what_is_said_of_objects_meanwhile_holds() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<ReferenceVM>(plan, &BY_STEPS);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let mutator = m.mutator();
        let known = mutator.references();
        let places = Places::of(&heap);
        let numbers = AddressTable::new(&mutator);
        for cycle in 0..EPOCH_MAX as usize + 3 {
            let old = table(m, PLACES.len(), |n| places.make(m, PLACES[n], n as u64));
            begin(m);
            step(m, cycle % 5);
            let new = table(m, PLACES.len(), |n| places.make(m, PLACES[n], n as u64));
            let at = |table: usize, n: usize| object_of(m.read_ref(m.get(table), n));
            let hashes = [old, new].map(|table| PLACES.map(|_| table)).concat();
            let all: Vec<_> = hashes.iter().enumerate().map(|(n, table)| (*table, n % PLACES.len())).collect();
            let said: Vec<_> = all
                .iter()
                .map(|(table, n)| {
                    let object = at(*table, *n);
                    step(m, 1);
                    mutator.pin(object).unwrap();
                    numbers.insert(&mutator, object, *n as u64).unwrap();
                    known.add_finalizer(object, FinalizerOrder::Any).unwrap();
                    (known.identity_hash(object).unwrap(), object)
                })
                .collect();
            finish(m);
            for _ in 0..2 {
                assert_eq!(known.next_finalizable(), None, "{plan}");
                for ((table, n), (hash, object)) in all.iter().zip(&said) {
                    let what = format!("{plan}, cycle {cycle}: {:?}", PLACES[*n]);
                    assert_eq!(at(*table, *n), *object, "{what}");
                    assert_eq!(m.read_word(Ref::from(*object), 2), *n as u64, "{what}");
                    assert_eq!(known.identity_hash(*object).unwrap(), *hash, "{what}");
                    assert_eq!(numbers.get(&mutator, *object), Some(*n as u64), "{what}");
                    assert!(mutator.is_pinned(*object), "{what}");
                }
                m.collect();
            }
            said.iter().for_each(|(_, object)| mutator.unpin(*object));
            m.pop(2);
            // All are dead when the marking begins: their finalizers are due, and they live for them.
            begin(m);
            finish(m);
            let mut due = 0;
            while let Some(object) = known.next_finalizable() {
                assert!(m.read_word(object.into(), 2) < PLACES.len() as u64, "{plan}, cycle {cycle}");
                due += 1;
            }
            assert_eq!((due, numbers.len()), (said.len(), said.len()), "{plan}, cycle {cycle}");
            begin(m);
            finish(m);
            assert_eq!(numbers.len(), 0, "{plan}, cycle {cycle}");
        }
    }
}

/// Memory of pools and regions that the program frees while it is marked is not used before the marking ends;
/// then all of it is, also what was free when the marking began.
#[test]
fn what_the_program_frees_while_it_is_marked_is_used_again_when_that_ends() {
    const EACH: usize = 500;
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        // The verifier has what is freed wait in any case.
        let heap = heap_with::<ReferenceVM>(plan, &[&BY_STEPS[..], &[UNVERIFIED]].concat());
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let places = Places::of(&heap);
        let all =
            |places: &Places<_>, place| (0..EACH).map(|n| places.make(m, place, n as u64).0).collect::<HashSet<_>>();
        let free =
            |objects: &HashSet<usize>| objects.iter().for_each(|o| places.pool.free(&m.mutator(), object_of(Ref(*o))));
        for cycle in 0..3 {
            let [early, late] = [(); 2].map(|()| all(&places, Place::Pool));
            let ends = Places::of(&heap);
            let of_ends = [Place::Pool, Place::Region].map(|place| all(&ends, place));
            let quiet = Places::of(&heap);
            let in_block = || quiet.make(m, Place::Pool, 0).0 / BLOCK_BYTES;
            let block = in_block();
            free(&early);
            begin(m);
            free(&late);
            ends.pool.release(&m.mutator());
            ends.region.release(&m.mutator());
            let meanwhile = [Place::Pool, Place::Region].map(|place| all(&places, place));
            for freed in of_ends.iter().chain([&early, &late]) {
                assert!(meanwhile.iter().all(|new| new.is_disjoint(freed)), "{plan}, cycle {cycle}");
            }
            finish(m);
            assert_eq!(in_block(), block, "{plan}, cycle {cycle}: the block has free cells");
            // As many as are free in at most two blocks more.
            let more = 2 * EACH + 2 * BLOCK_BYTES / places.pool.object_bytes();
            let again: HashSet<_> = (0..more).map(|_| places.make(m, Place::Pool, 0).0).collect();
            assert!(early.is_subset(&again) && late.is_subset(&again), "{plan}, cycle {cycle}");
            free(&again);
            free(&meanwhile[0]);
        }
    }
}

/// The program takes objects out of a region and a pool, and ends those before the marking has come to them.
#[test]
fn what_the_program_takes_from_a_region_before_it_ends_is_kept() {
    let _watchdog = Watchdog::new();
    for (plan, verified) in concurrent_plans().flat_map(|plan| [(plan, true), (plan, false)]) {
        let settings = [&BY_STEPS[..], if verified { &[] } else { &[UNVERIFIED] }].concat();
        let heap = heap_with::<ReferenceVM>(plan, &settings);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let lasting = Places::of(&heap);
        for cycle in 0..10 {
            let ends = Places::of(&heap);
            let holders = table(m, 2 * PLACES.len(), |n| {
                let held = m.push(lasting.make(m, PLACES[n / 2], n as u64));
                let holder = ends.make(m, [Place::Region, Place::Pool][n % 2], 0);
                m.write_ref(holder, 0, m.get(held));
                m.pop(1);
                holder
            });
            begin(m);
            step(m, cycle);
            let taken = m.depth();
            for n in 0..2 * PLACES.len() {
                m.push(m.read_ref(m.read_ref(m.get(holders), n), 0));
                m.write_ref(m.get(holders), n, Ref::NULL);
            }
            ends.region.release(&m.mutator());
            ends.pool.release(&m.mutator());
            finish(m);
            for n in 0..2 * PLACES.len() {
                assert_eq!(m.read_word(m.get(taken + n), 2), n as u64, "{plan}, cycle {cycle}");
            }
            m.pop(2 * PLACES.len() + 1);
        }
    }
}

/// Objects of regions and pools that end while it is marked: those of the snapshot, claimed or not, and new
/// ones. Their memory is used again in later cycles.
#[test]
fn regions_and_pools_may_end_while_it_is_marked() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<SideVM<3>>(plan, &BY_STEPS);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        for cycle in 0..2 * EPOCH_MAX as usize {
            let pairs = pairs();
            let places = [Places::of(&heap), Places::of(&heap)];
            let lasting = Places::of(&heap);
            let old = [holders(m, &places[0]), holders(m, &lasting)];
            begin(m);
            step(m, cycle * 7 % 100);
            let new = holders(m, &places[1]);
            for n in 0..pairs.len() {
                // What lasts refers to what ends, which is taken out of it.
                let ends = m.read_ref(m.get(new), n);
                m.write_ref(m.read_ref(m.get(old[1]), n), 1, ends);
                m.write_ref(m.read_ref(m.get(old[1]), n), 1, Ref::NULL);
            }
            for table in [old[0], new] {
                (0..pairs.len()).for_each(|n| m.write_ref(m.get(table), n, Ref::NULL));
            }
            for Places { region, pool } in places {
                region.release(&m.mutator());
                pool.release(&m.mutator());
            }
            step(m, cycle % 3);
            finish(m);
            check_holders(m, old[1], &format!("{plan}, cycle {cycle}"));
            if cycle % 4 == 3 {
                m.collect();
            }
            m.pop(3);
        }
    }
}
