//! Parts of a large array that mutators note: each is noted once, one mutator finds that half are noted, and
//! the pause finds what is noted, and forgets it.

use crate::check::{Failure, fails_without, holds};
use loom::cell::UnsafeCell;
use loom::thread;
use protocols::part_marks::PartWord;
use protocols::safepoint::{Safepoint, Stop, Stoppable, ThreadState};
use protocols::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

const PARTS: u32 = 3;

/// An array of three parts, and a slot in the last one.
struct Array {
    words: [AtomicU32; 3],
    slot: AtomicU64,
}

impl Array {
    fn new() -> Arc<Self> {
        let array = Array { words: Default::default(), slot: AtomicU64::new(0) };
        array.part(0).set_parts(PARTS);
        Arc::new(array)
    }

    fn part(&self, number: usize) -> PartWord<'_> {
        PartWord(&self.words[number])
    }

    /// A barrier before a store: whether this mutator notes the part, and how many it then finds noted.
    fn barrier(&self, part: usize) -> Option<u32> {
        self.part(part).note().then(|| self.part(1).count())
    }
}

/// What two mutators note that store into these parts at the same time.
fn two_write(parts: [usize; 2]) -> [Option<u32>; 2] {
    let array = Array::new();
    let other = {
        let array = array.clone();
        thread::spawn(move || array.barrier(parts[1]))
    };
    let mut noted = [array.barrier(parts[0]), other.join().unwrap()];
    noted.sort();
    assert!(parts.iter().all(|part| array.part(*part).is_noted()));
    assert_eq!(array.part(0).parts(), PARTS);
    noted
}

fn two_write_to_one_part(part: usize) {
    let noted = two_write([part; 2]);
    assert_eq!(noted, [None, Some(1)], "the part is noted once");
}

/// The second part has the count, too.
fn two_write_to_two_parts(part: usize) {
    let noted = two_write([1, part]);
    assert_eq!(noted, [Some(1), Some(2)], "one of them finds that two parts are noted");
}

#[test]
fn a_part_is_noted_once() {
    for part in 0..3 {
        holds(None, move || two_write_to_one_part(part));
    }
}

#[test]
fn without_the_exchange_a_part_is_noted_twice() {
    fails_without("part-exchange", Failure::Wrong, None, || two_write_to_one_part(2));
}

#[test]
fn without_the_exchange_a_note_undoes_the_count() {
    fails_without("part-exchange", Failure::Wrong, None, || two_write_to_two_parts(2));
}

#[test]
fn one_mutator_finds_that_half_of_the_parts_are_noted() {
    for part in [0, 2] {
        holds(None, move || two_write_to_two_parts(part));
    }
}

#[test]
fn a_count_that_is_no_exchange_misses_a_part() {
    fails_without("part-count", Failure::Wrong, None, || two_write_to_two_parts(2));
}

/// A mutator: its state word, and the part that its barrier noted.
struct Mutator {
    state: ThreadState,
    noted: UnsafeCell<Option<usize>>,
}

// SAFETY: that the accesses to `noted` do not race is what the model checks.
unsafe impl Sync for Mutator {}
// SAFETY: as for Sync.
unsafe impl Send for Mutator {}

#[derive(Clone)]
struct Entry(Arc<Mutator>);
impl Stoppable for Entry {
    fn state(&self) -> &ThreadState {
        &self.0.state
    }
}

/// A mutator writes to a part and goes into native code; a pause comes at any time. Then it writes again.
fn a_pause_comes() {
    const PART: usize = 2;
    let array = Array::new();
    let safepoint = Arc::new(Safepoint::<Entry>::new());
    let mutator = Arc::new(Mutator { state: ThreadState::default(), noted: UnsafeCell::new(None) });
    safepoint.attach(Entry(mutator.clone()), &mut (), || ());
    let writer = {
        let (array, safepoint, mutator) = (array.clone(), safepoint.clone(), mutator.clone());
        thread::spawn(move || {
            let noted = array.barrier(PART);
            array.slot.store(1, Relaxed);
            if noted.is_some() {
                // SAFETY: loom reports a race.
                mutator.noted.with_mut(|noted| unsafe { *noted = Some(PART) });
            }
            safepoint.enter_native(&mutator.state);
        })
    };
    assert_eq!(safepoint.stop_all(None, &mut ()), Stop::Leader);
    // SAFETY: loom reports a race.
    let noted = mutator.noted.with_mut(|noted| unsafe { (*noted).take() });
    let part = array.part(noted.expect("the mutator was stopped behind its store"));
    assert_eq!(array.slot.load(Relaxed), 1);
    assert!(part.is_noted());
    part.forget();
    array.part(1).forget_count();
    safepoint.resume_all();
    writer.join().unwrap();
    assert_eq!(array.barrier(PART), Some(1), "it is noted again");
}

#[test]
fn a_pause_finds_the_parts_that_were_noted_and_forgets_them() {
    holds(None, a_pause_comes);
}

#[test]
fn without_the_order_of_the_safepoint_a_pause_misses_the_parts_that_were_noted() {
    for name in ["safepoint-enter-native", "safepoint-stop"] {
        fails_without(name, Failure::Race, None, a_pause_comes);
    }
}
