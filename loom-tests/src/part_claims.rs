//! Parts of a large array that are claimed beside mutators: who claims a part has read all its slots, stores
//! into them come later, and who finds that all parts are claimed may store into any.
//!
//! As in `claim`, a visitor keeps what it read in a cell, and a mutator looks at the winner's before it
//! stores.

use crate::check::{Failure, fails, fails_without, holds};
use crate::forwarding::{Old, OnTheSide};
use loom::cell::UnsafeCell;
use loom::thread;
use protocols::forwarding::StateCell;
use protocols::part_claims::{Next, PartClaims};
use protocols::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

const EPOCH: u8 = 5;
const OLD_EPOCH: u8 = 4;
/// This marking, and the last one.
const MARKING: u32 = 2;
const LAST: u32 = 1;
/// What the slots held at the snapshot, one slot a part.
const SNAPSHOT: [u64; PARTS] = [11, 12];
const PARTS: usize = 2;
const NOBODY: usize = usize::MAX;

/// How a part is visited.
#[derive(Copy, Clone, PartialEq)]
enum Visit {
    AsItShould,
    ClaimsFirst,
    ForgetsNothing,
}

/// An array, and what each thread found in each part.
struct Array {
    state: OnTheSide,
    words: [AtomicU32; 2 * PARTS - 1],
    slots: [AtomicU64; PARTS],
    /// The stacks of the threads. A mutator looks at the winner's before it stores.
    found: [[UnsafeCell<Option<u64>>; PARTS]; 3],
    /// Not part of the model: loom does not see it. So it changes in one step with the claim.
    winners: [AtomicUsize; PARTS],
    visit: Visit,
}

// SAFETY: that the accesses to `found` do not race is what the models check.
unsafe impl Sync for Array {}
// SAFETY: as for Sync.
unsafe impl Send for Array {}

impl Array {
    /// The last marking has left its numbers, and where it stopped.
    fn new(visit: Visit) -> Arc<Self> {
        Arc::new(Array {
            state: OnTheSide::new(OLD_EPOCH),
            words: [LAST, PARTS as u32, LAST].map(AtomicU32::new),
            slots: SNAPSHOT.map(AtomicU64::new),
            found: std::array::from_fn(|_| std::array::from_fn(|_| UnsafeCell::new(None))),
            winners: std::array::from_fn(|_| AtomicUsize::new(NOBODY)),
            visit,
        })
    }

    fn claims<'a>(&'a self) -> PartClaims<impl Fn(u32) -> &'a AtomicU32> {
        PartClaims::new(|word| &self.words[word as usize], PARTS as u32, MARKING)
    }

    fn claim(&self, thread: usize, part: usize) -> bool {
        let won = self.claims().claim(part as u32);
        if won {
            let before = self.winners[part].swap(thread, Relaxed);
            assert_eq!(before, NOBODY, "two threads win the claim");
        }
        won
    }

    fn visit(&self, thread: usize, part: usize) {
        if self.claims().is_claimed(part as u32) {
            return;
        }
        let claimed_first = self.visit == Visit::ClaimsFirst && self.claim(thread, part);
        let read = self.slots[part].load(Relaxed);
        // SAFETY: loom reports a race.
        self.found[thread][part].with_mut(|found| unsafe { *found = Some(read) });
        if !claimed_first && !self.claim(thread, part) && self.visit != Visit::ForgetsNothing {
            // SAFETY: as above. Nobody looks at what a loser found.
            self.found[thread][part].with_mut(|found| unsafe { *found = None });
        }
    }

    /// Part by part, then the array.
    fn mark(&self, thread: usize) {
        loop {
            match self.claims().next(1) {
                Next::Part(part) => self.visit(thread, part as usize),
                Next::Later => (),
                Next::AllClaimed => break,
            }
        }
        _ = self.state.cell().claim_beside(EPOCH);
    }

    /// A barrier and a store.
    fn write(&self, thread: usize, part: usize) {
        if !self.state.cell().is_claimed(EPOCH) {
            self.visit(thread, part);
        }
        if self.visit == Visit::AsItShould {
            let winner = self.winners[part].load(Relaxed);
            assert_ne!(winner, NOBODY, "the array is claimed, and this part was not read");
            // SAFETY: loom reports a race.
            self.found[winner][part].with(|found| assert_eq!(unsafe { *found }, Some(SNAPSHOT[part])));
        }
        self.slots[part].store(100 + thread as u64, Relaxed);
    }

    /// After all threads have ended.
    fn check(&self) {
        for (part, held) in SNAPSHOT.into_iter().enumerate() {
            // SAFETY: as above.
            let found = self.found.iter().filter_map(|of_thread| of_thread[part].with(|found| unsafe { *found }));
            assert_eq!(found.collect::<Vec<_>>(), [held], "what each part held is found, and nothing else");
        }
    }
}

fn beside_a_marker(visit: Visit, others: &[fn(&Array, usize)]) {
    let array = Array::new(visit);
    let others: Vec<_> = (1..)
        .zip(others)
        .map(|(thread, other)| {
            let (array, other) = (array.clone(), *other);
            thread::spawn(move || other(&array, thread))
        })
        .collect();
    array.mark(0);
    others.into_iter().for_each(|other| other.join().unwrap());
    array.check();
}

fn one_writes_to_the_first(visit: Visit) {
    beside_a_marker(visit, &[|array, me| array.write(me, 0)]);
}

fn one_writes_to_the_last(visit: Visit) {
    beside_a_marker(visit, &[|array, me| array.write(me, 1)]);
}

/// A mutator helps to mark, and writes then.
fn one_helps_and_writes(visit: Visit) {
    beside_a_marker(
        visit,
        &[|array, me| {
            array.mark(me);
            array.write(me, 1);
        }],
    );
}

fn two_write(visit: Visit) {
    beside_a_marker(visit, &[|array, me| array.write(me, 0), |array, me| array.write(me, 0)]);
}

#[test]
fn what_the_parts_held_at_the_snapshot_is_found_and_nothing_else() {
    holds(Some(3), || one_writes_to_the_first(Visit::AsItShould));
    holds(Some(3), || one_writes_to_the_last(Visit::AsItShould));
}

#[test]
fn two_mutators_that_write_to_one_part_find_it_once() {
    holds(Some(2), || two_write(Visit::AsItShould));
}

#[test]
fn two_that_mark_one_array_find_each_part_once() {
    holds(Some(3), || one_helps_and_writes(Visit::AsItShould));
}

#[test]
fn a_store_comes_after_the_reads_of_who_claimed_the_part() {
    for name in ["part-claim", "part-claim-seen"] {
        fails_without(name, Failure::Race, None, || one_writes_to_the_last(Visit::AsItShould));
    }
}

/// One goes on where the other has looked, and finds the whole array claimed.
#[test]
fn who_goes_on_behind_another_has_seen_what_that_one_saw() {
    for name in ["part-claim-resumes", "part-claim-goes-on"] {
        fails_without(name, Failure::Race, Some(3), || one_helps_and_writes(Visit::AsItShould));
    }
}

#[test]
fn a_part_that_is_claimed_before_its_slots_are_read_is_read_too_late() {
    fails(Failure::Wrong, None, || one_writes_to_the_last(Visit::ClaimsFirst));
}

#[test]
fn a_loser_that_does_not_forget_follows_new_values() {
    fails(Failure::Wrong, None, || one_writes_to_the_last(Visit::ForgetsNothing));
}

#[test]
fn without_the_exchange_a_part_has_two_winners() {
    fails_without("part-claim-exchange", Failure::Wrong, None, || one_writes_to_the_last(Visit::AsItShould));
}

/// Else the parts would seem claimed that the last marking had claimed.
#[test]
fn each_marking_begins_at_the_second_part_again() {
    fails_without("part-claim-sets-back", Failure::Wrong, None, || one_writes_to_the_last(Visit::AsItShould));
}
