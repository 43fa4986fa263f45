//! Claims beside mutators: who claims an object has read all its slots, and stores into it come later.
//!
//! A visit reads the slots, then claims the object; the loser forgets what it read. A marker visits what it
//! finds, a mutator visits an object before its first store. So each value that the object held at the
//! snapshot is found by one thread, and no other value is followed.
//!
//! Loom has no load buffering: a load never takes a store that comes after a later claim of its own thread. A
//! processor may do that where the claim is no Release or its reader no Acquire. So a visitor keeps what it
//! read in a cell, and a mutator that is about to store looks at the winner's: a race, unless the winner's
//! reads come before the store.

use crate::check::{Failure, fails, fails_without, holds};
use crate::forwarding::{InHeader, Old, OnTheSide};
use loom::cell::UnsafeCell;
use loom::thread;
use protocols::forwarding::{HeaderCell, PINNED, StateCell, UNLOGGED};
use protocols::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

const EPOCH: u8 = 5;
const OLD_EPOCH: u8 = 4;
/// What the slots held at the snapshot.
const SNAPSHOT: [u64; 2] = [11, 12];
const NOBODY: usize = usize::MAX;

/// How a visit is made.
#[derive(Copy, Clone, PartialEq)]
enum Visit {
    AsItShould,
    ClaimsFirst,
    ForgetsNothing,
}

/// An object of two slots, and what each thread found in it.
struct Object<O> {
    old: O,
    slots: [AtomicU64; 2],
    /// How many of the slots hold references: the object's shape.
    references: AtomicU64,
    /// The stacks of the threads. A mutator looks at the winner's before it stores.
    found: [UnsafeCell<Vec<u64>>; 3],
    /// Not part of the model: loom does not see it. So it changes in one step with the claim.
    winner: AtomicUsize,
    visit: Visit,
}

// SAFETY: that the accesses to `found` do not race is what the models check.
unsafe impl<O: Sync> Sync for Object<O> {}
// SAFETY: as for Sync.
unsafe impl<O: Send> Send for Object<O> {}

impl<O: Old> Object<O> {
    fn new(visit: Visit) -> Arc<Self> {
        Arc::new(Object {
            old: O::new(OLD_EPOCH),
            slots: SNAPSHOT.map(AtomicU64::new),
            references: AtomicU64::new(SNAPSHOT.len() as u64),
            found: std::array::from_fn(|_| UnsafeCell::new(Vec::new())),
            winner: AtomicUsize::new(NOBODY),
            visit,
        })
    }

    fn claim(&self, thread: usize) -> bool {
        let won = self.old.cell().claim_beside(EPOCH);
        if won {
            let before = self.winner.swap(thread, Relaxed);
            assert_eq!(before, NOBODY, "two threads win the claim");
        }
        won
    }

    fn visit(&self, thread: usize) {
        if self.old.cell().is_claimed(EPOCH) {
            return;
        }
        let claimed_first = self.visit == Visit::ClaimsFirst && self.claim(thread);
        let references = self.references.load(Relaxed) as usize;
        let read = self.slots[..references].iter().map(|slot| slot.load(Relaxed)).collect();
        // SAFETY: loom reports a race.
        self.found[thread].with_mut(|found| unsafe { *found = read });
        if !claimed_first && !self.claim(thread) && self.visit != Visit::ForgetsNothing {
            // SAFETY: as above. Nobody looks at what a loser found.
            self.found[thread].with_mut(|found| unsafe { (*found).clear() });
        }
    }

    /// The winner's reads come before what this thread does next.
    fn look(&self) {
        // SAFETY: loom reports a race.
        self.found[self.winner.load(Relaxed)].with(|found| assert_eq!(unsafe { &**found }, SNAPSHOT));
    }

    /// A barrier and a store.
    fn write(&self, thread: usize, slot: usize) {
        self.visit(thread);
        if self.visit == Visit::AsItShould {
            self.look();
        }
        self.slots[slot].store(100 + thread as u64, Relaxed);
    }

    /// From now on the second slot holds a number.
    fn reshape(&self, thread: usize) {
        self.visit(thread);
        if self.visit == Visit::AsItShould {
            self.look();
        }
        self.references.store(1, Relaxed);
        self.slots[1].store(100, Relaxed);
    }

    /// After all threads have ended.
    fn check(&self) {
        let mut found = Vec::new();
        for of_thread in &self.found {
            // SAFETY: as above.
            of_thread.with(|of_thread| found.extend_from_slice(unsafe { &*of_thread }));
        }
        found.sort_unstable();
        assert_eq!(found, SNAPSHOT, "each value of the snapshot is found, and no other is followed");
        assert!(self.old.cell().is_claimed(EPOCH));
    }
}

fn beside_a_marker<O: Old>(visit: Visit, mutators: &[fn(&Object<O>, usize)]) {
    let object = Object::<O>::new(visit);
    let others: Vec<_> = (1..)
        .zip(mutators)
        .map(|(thread, mutate)| {
            let (object, mutate) = (object.clone(), *mutate);
            thread::spawn(move || mutate(&object, thread))
        })
        .collect();
    object.visit(0);
    others.into_iter().for_each(|other| other.join().unwrap());
    object.check();
}

/// A marker, and two mutators that write to both slots.
fn two_write<O: Old>(visit: Visit) {
    beside_a_marker::<O>(visit, &[|object, me| object.write(me, 0), |object, me| object.write(me, 1)]);
}

/// The same slot.
fn two_write_to_one_slot<O: Old>(visit: Visit) {
    beside_a_marker::<O>(visit, &[|object, me| object.write(me, 0), |object, me| object.write(me, 0)]);
}

fn one_writes<O: Old>(visit: Visit) {
    beside_a_marker::<O>(visit, &[|object, me| object.write(me, 1)]);
}

fn one_reshapes<O: Old>(visit: Visit) {
    beside_a_marker::<O>(visit, &[Object::reshape]);
}

/// A marker claims while a mutator pins the object and notes a store.
fn pinned_and_logged<O: Old>() {
    let old = Arc::new(O::new(OLD_EPOCH | UNLOGGED));
    let low = old.low();
    let mutator = {
        let old = old.clone();
        thread::spawn(move || {
            old.cell().set_pinned(true);
            assert!(old.cell().log());
        })
    };
    assert!(old.cell().claim_beside(EPOCH), "nobody else claims it");
    mutator.join().unwrap();
    assert_eq!(old.cell().state(Relaxed), EPOCH | PINNED);
    assert_eq!(old.low(), low);
}

/// A marker claims while the VM changes its part of the header.
fn beside_the_vm() {
    let header = Arc::new(AtomicU64::new(u64::from(OLD_EPOCH) << 56));
    let vm = {
        let header = header.clone();
        thread::spawn(move || _ = header.fetch_or(0x55, Relaxed))
    };
    assert!(HeaderCell(&header).claim_beside(EPOCH));
    vm.join().unwrap();
    assert_eq!(header.load(Relaxed), u64::from(EPOCH) << 56 | 0x55);
}

#[test]
fn what_an_object_held_at_the_snapshot_is_found_and_nothing_else() {
    holds(None, || one_writes::<InHeader>(Visit::AsItShould));
    holds(None, || one_writes::<OnTheSide>(Visit::AsItShould));
    for model in [two_write::<InHeader>, two_write::<OnTheSide>] {
        holds(Some(2), move || model(Visit::AsItShould));
    }
    for model in [two_write_to_one_slot::<InHeader>, two_write_to_one_slot::<OnTheSide>] {
        holds(Some(2), move || model(Visit::AsItShould));
    }
}

#[test]
fn an_object_whose_words_change_their_meaning_is_found_as_it_was() {
    holds(None, || one_reshapes::<InHeader>(Visit::AsItShould));
    holds(None, || one_reshapes::<OnTheSide>(Visit::AsItShould));
}

#[test]
fn a_store_comes_after_the_reads_of_the_winner() {
    for name in ["claim-won", "claim-seen", "claim-read", "claim-lost"] {
        fails_without(name, Failure::Race, None, || one_writes::<InHeader>(Visit::AsItShould));
        fails_without(name, Failure::Race, None, || one_writes::<OnTheSide>(Visit::AsItShould));
        fails_without(name, Failure::Race, None, || one_reshapes::<InHeader>(Visit::AsItShould));
        fails_without(name, Failure::Race, None, || one_reshapes::<OnTheSide>(Visit::AsItShould));
    }
}

#[test]
fn who_claims_an_object_before_its_slots_are_read_follows_new_values() {
    for model in [one_writes::<InHeader>, one_writes::<OnTheSide>, one_reshapes::<InHeader>] {
        fails(Failure::Wrong, None, move || model(Visit::ClaimsFirst));
    }
}

#[test]
fn a_loser_that_does_not_forget_follows_new_values() {
    for model in [one_writes::<InHeader>, one_writes::<OnTheSide>, one_reshapes::<InHeader>] {
        fails(Failure::Wrong, None, move || model(Visit::ForgetsNothing));
    }
}

#[test]
fn a_claim_and_a_pin_or_a_note_do_not_undo_each_other() {
    holds(None, pinned_and_logged::<InHeader>);
    holds(None, pinned_and_logged::<OnTheSide>);
    holds(None, beside_the_vm);
}

#[test]
fn without_the_exchange_a_claim_undoes_other_changes_and_has_two_winners() {
    fails_without("claim-exchange", Failure::Wrong, None, pinned_and_logged::<InHeader>);
    fails_without("claim-exchange", Failure::Wrong, None, pinned_and_logged::<OnTheSide>);
    fails_without("claim-exchange", Failure::Wrong, None, beside_the_vm);
    fails_without("claim-exchange", Failure::Wrong, None, || one_writes::<InHeader>(Visit::AsItShould));
}
