//! The mark bits of one block: the first worker clears what an older epoch left, and no bit is won twice or
//! lost.

use crate::check::{Failure, fails_without, holds};
use loom::thread;
use protocols::mark_bits;
use protocols::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

const EPOCH: u8 = 5;
/// What the epoch before left: a bit that a worker is about to set, and one that nobody will.
const STALE: u64 = 0b101;

/// Waiting for who clears has schedules without end; each failure below needs fewer switches.
const PREEMPTIONS: Option<usize> = Some(4);

struct Block {
    state: AtomicU8,
    bits: AtomicU64,
    /// Not part of the model: loom does not see it.
    winners: AtomicUsize,
}

impl Block {
    fn mark(&self, bit: u64) {
        mark_bits::begin(&self.state, EPOCH, || self.bits.store(0, Relaxed));
        let won = mark_bits::set(&self.bits, bit, false);
        self.winners.fetch_add(usize::from(won), Relaxed);
    }
}

/// Two workers mark in a block that was last marked in an older epoch: `bits[0]` and `bits[1]`.
fn marks(bits: [u64; 2]) {
    let block = Arc::new(Block { state: AtomicU8::new(4), bits: AtomicU64::new(STALE), winners: AtomicUsize::new(0) });
    let other = {
        let block = block.clone();
        thread::spawn(move || block.mark(bits[0]))
    };
    block.mark(bits[1]);
    other.join().unwrap();
    assert_eq!(block.state.load(Relaxed), EPOCH);
    assert_eq!(block.bits.load(Relaxed), bits[0] | bits[1], "the marks are those of this epoch");
    let objects = if bits[0] == bits[1] { 1 } else { 2 };
    assert_eq!(block.winners.load(Relaxed), objects, "each object is scanned once");
}

fn of_one_object() {
    marks([1, 1]);
}

fn of_two_objects() {
    marks([1, 2]);
}

#[test]
fn each_bit_is_won_once_and_older_bits_are_gone() {
    holds(PREEMPTIONS, of_one_object);
    holds(PREEMPTIONS, of_two_objects);
}

#[test]
fn without_the_clearing_a_stale_bit_passes_for_a_mark() {
    fails_without("mark-bits-clear", Failure::Wrong, PREEMPTIONS, of_two_objects);
}

#[test]
fn without_the_claim_a_late_clearing_loses_a_mark() {
    fails_without("mark-bits-claim", Failure::Wrong, PREEMPTIONS, of_two_objects);
}

#[test]
fn without_the_exchange_a_mark_is_lost() {
    fails_without("mark-bits-exchange", Failure::Wrong, PREEMPTIONS, of_two_objects);
}

#[test]
fn with_weaker_orderings_a_stale_bit_passes_for_a_mark() {
    fails_without("mark-bits-publish", Failure::Wrong, PREEMPTIONS, of_two_objects);
    fails_without("mark-bits-begun", Failure::Wrong, PREEMPTIONS, of_two_objects);
    fails_without("mark-bits-waited", Failure::Wrong, PREEMPTIONS, of_two_objects);
}
