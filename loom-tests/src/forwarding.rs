//! The forwarding word, in a header and in a side table: one copier, and the others use its copy.
//!
//! At most one thread of a model waits for another: two that wait take turns for ever, which loom counts as a
//! schedule.

use crate::check::{Failure, fails_without, holds};
use loom::cell::UnsafeCell;
use loom::thread;
use protocols::forwarding::{Claim, HeaderCell, SideCell, StateCell};
use protocols::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

const EPOCH: u8 = 5;
const OLD_EPOCH: u8 = 4;
const LOW: u64 = 0x0012_3456_789a_bcde;
const COPY_AT: usize = 0x7fff_1234_5678;
const COPIED: u64 = 42;

/// An old copy, with its state kept here or there.
pub trait Old: Send + Sync + 'static {
    fn new(state: u8) -> Self;
    fn cell(&self) -> impl StateCell;
    /// What the VM keeps in the rest of the header.
    fn low(&self) -> u64;
}

pub struct InHeader(AtomicU64);
impl Old for InHeader {
    fn new(state: u8) -> Self {
        InHeader(AtomicU64::new(u64::from(state) << 56 | LOW))
    }
    fn cell(&self) -> impl StateCell {
        HeaderCell(&self.0)
    }
    fn low(&self) -> u64 {
        self.0.load(Relaxed) << 8 >> 8
    }
}

pub struct OnTheSide {
    state: AtomicU8,
    pointer: AtomicU64,
}
impl Old for OnTheSide {
    fn new(state: u8) -> Self {
        OnTheSide { state: AtomicU8::new(state), pointer: AtomicU64::new(LOW) }
    }
    fn cell(&self) -> impl StateCell {
        SideCell { state: &self.state, pointer: &self.pointer }
    }
    fn low(&self) -> u64 {
        self.pointer.load(Relaxed)
    }
}

struct Object<O> {
    old: O,
    copy: UnsafeCell<u64>,
    /// Not part of the model: loom does not see it.
    winners: AtomicUsize,
}

// SAFETY: that the accesses to `copy` do not race is what the models check.
unsafe impl<O: Sync> Sync for Object<O> {}

impl<O: Old> Object<O> {
    fn new() -> Arc<Self> {
        let winners = AtomicUsize::new(0);
        Arc::new(Object { old: O::new(OLD_EPOCH), copy: UnsafeCell::new(0), winners })
    }

    fn reads_the_copy(&self, to: usize) {
        assert_eq!(to, COPY_AT);
        // SAFETY: loom reports a race.
        self.copy.with(|copy| assert_eq!(unsafe { *copy }, COPIED));
    }

    fn evacuate(&self) {
        match self.old.cell().claim(EPOCH, StateCell::wait_for_claimer) {
            Claim::Won(_) => {
                assert_eq!(self.winners.fetch_add(1, Relaxed), 0, "two workers copy the object");
                // SAFETY: loom reports a race.
                self.copy.with_mut(|copy| unsafe { *copy = COPIED });
                self.old.cell().publish(COPY_AT);
            }
            Claim::Moved(to) => self.reads_the_copy(to),
            Claim::Stays => panic!("nobody settles it"),
        }
    }

    fn stay(&self) {
        match self.old.cell().claim(EPOCH, StateCell::wait_for_claimer) {
            Claim::Won(seen) => {
                assert_eq!(self.winners.fetch_add(1, Relaxed), 0, "two workers settle the object");
                self.old.cell().settle(seen, EPOCH);
            }
            Claim::Moved(to) => panic!("nobody moves it to {to:#x}"),
            Claim::Stays => assert_eq!(self.winners.load(Relaxed), 1, "marked before anybody won it"),
        }
        assert!(self.old.cell().is_marked(EPOCH));
        assert_eq!(self.old.cell().forwarded(), None);
    }
}

/// Two workers want to copy, a third asks where the object is now.
fn moves<O: Old>() {
    let object = Object::<O>::new();
    let others = [0, 1].map(|_| {
        let object = object.clone();
        thread::spawn(move || object.evacuate())
    });
    if let Some(to) = object.old.cell().forwarded() {
        object.reads_the_copy(to);
    }
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!(object.winners.load(Relaxed), 1);
    assert_eq!(object.old.cell().claim(EPOCH, StateCell::wait_for_claimer), Claim::Moved(COPY_AT));
}

/// Two workers want to copy; the first finds no room and leaves the object where it is. A third looks on.
fn settles<O: Old>() {
    let object = Object::<O>::new();
    let others = [0, 1].map(|_| {
        let object = object.clone();
        thread::spawn(move || object.stay())
    });
    assert_eq!(object.old.cell().forwarded(), None);
    if object.old.cell().is_marked(EPOCH) {
        assert_eq!(object.old.cell().claim(EPOCH, StateCell::wait_for_claimer), Claim::Stays);
    }
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!(object.winners.load(Relaxed), 1);
    assert_eq!(object.old.low(), LOW, "the header's other bits, or the old copy's first word, changed");
}

#[test]
fn one_worker_copies_and_all_see_the_copied_bytes() {
    holds(Some(3), moves::<InHeader>);
    holds(Some(3), moves::<OnTheSide>);
}

#[test]
fn an_object_settled_in_place_is_seen_to_stay() {
    holds(Some(3), settles::<InHeader>);
    holds(Some(3), settles::<OnTheSide>);
}

#[test]
fn without_the_exchange_two_workers_win() {
    for model in [moves::<InHeader>, moves::<OnTheSide>, settles::<InHeader>, settles::<OnTheSide>] {
        fails_without("forwarding-busy", Failure::Wrong, None, model);
    }
}

#[test]
fn the_copied_bytes_are_published_with_the_address() {
    fails_without("forwarding-publish", Failure::Race, None, moves::<InHeader>);
    // The old copy's own word is read in the place of the new address.
    fails_without("forwarding-publish", Failure::Wrong, None, moves::<OnTheSide>);
}

#[test]
fn each_way_to_learn_the_address_acquires_it() {
    for name in ["forwarding-claim", "forwarding-wait", "forwarding-lost", "forwarding-read"] {
        fails_without(name, Failure::Race, None, moves::<InHeader>);
        fails_without(name, Failure::Wrong, None, moves::<OnTheSide>);
    }
}
