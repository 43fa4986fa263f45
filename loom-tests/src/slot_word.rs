//! The slot's word: a worker that reads the new address there sees the copy, however the other worker learned
//! of it.

use crate::check::{Failure, fails_without, holds};
use crate::forwarding::{InHeader, Old, OnTheSide};
use loom::cell::UnsafeCell;
use loom::thread;
use protocols::forwarding::{Claim, StateCell};
use protocols::slot_word::SlotWord;
use protocols::sync::atomic::AtomicU64;
use std::sync::Arc;

const EPOCH: u8 = 5;
const OLD_AT: u64 = 0x7fff_0000_0008;
const COPY_AT: usize = 0x7fff_1234_5678;
const COPIED: u64 = 42;

/// An object that is to move, its copy, and two slots that refer to it.
struct Scene<O> {
    old: O,
    copy: UnsafeCell<u64>,
    slots: [AtomicU64; 2],
}

// SAFETY: that the accesses to `copy` do not race is what the models check.
unsafe impl<O: Sync> Sync for Scene<O> {}

impl<O: Old> Scene<O> {
    /// Traces the edge through one slot, as the loop does, and reads the object at its end.
    fn trace(&self, slot: usize) {
        let slot = SlotWord(&self.slots[slot]);
        let place = match slot.load() {
            OLD_AT => match self.old.cell().claim(EPOCH, StateCell::wait_for_claimer) {
                Claim::Won(_) => {
                    // SAFETY: loom reports a race.
                    self.copy.with_mut(|copy| unsafe { *copy = COPIED });
                    self.old.cell().publish(COPY_AT);
                    COPY_AT
                }
                Claim::Moved(to) => to,
                Claim::Stays => panic!("nobody settles it"),
            },
            new => new as usize,
        };
        slot.store(place as u64);
        assert_eq!(place, COPY_AT);
        // SAFETY: loom reports a race.
        self.copy.with(|copy| assert_eq!(unsafe { *copy }, COPIED));
    }
}

/// A worker traces both slots: it copies, or learns of the copy by the old object. Another one scans the
/// object that holds the second slot, too.
fn slots_lead_to_the_copy<O: Old>() {
    let slots = [0, 1].map(|_| AtomicU64::new(OLD_AT));
    let scene = Arc::new(Scene { old: O::new(EPOCH - 1), copy: UnsafeCell::new(0), slots });
    let other = {
        let scene = scene.clone();
        thread::spawn(move || scene.trace(1))
    };
    scene.trace(0);
    scene.trace(1);
    other.join().unwrap();
}

#[test]
fn a_worker_that_reads_the_new_address_in_a_slot_sees_the_copied_bytes() {
    holds(Some(3), slots_lead_to_the_copy::<InHeader>);
    holds(Some(3), slots_lead_to_the_copy::<OnTheSide>);
}

#[test]
fn the_slot_publishes_the_copy_and_its_reader_acquires_it() {
    for name in ["slot-load", "slot-store"] {
        fails_without(name, Failure::Race, None, slots_lead_to_the_copy::<InHeader>);
        fails_without(name, Failure::Race, None, slots_lead_to_the_copy::<OnTheSide>);
    }
}
