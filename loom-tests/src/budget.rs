//! The budget: its limit holds at every instant, a refused charge leaves no trace, a returned one is taken
//! over cleanly.

use crate::check::{Failure, fails_without, holds};
use loom::cell::UnsafeCell;
use loom::thread;
use protocols::budget::{Budget, Charge};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Memory {
    budget: Budget,
    /// One byte of memory, for budgets of one byte.
    byte: UnsafeCell<u32>,
    /// What was granted and not yet returned. Not part of the model: loom does not see it.
    granted: AtomicUsize,
}

// SAFETY: that the accesses to `byte` do not race is what the models check.
unsafe impl Sync for Memory {}
// SAFETY: as for Sync.
unsafe impl Send for Memory {}

impl Memory {
    fn new(limit: usize) -> Arc<Memory> {
        Arc::new(Memory { budget: Budget::new(limit), byte: UnsafeCell::new(0), granted: AtomicUsize::new(0) })
    }

    fn reserve(&self, bytes: usize, by: Charge) -> bool {
        let granted = self.budget.reserve(bytes, by);
        if granted {
            let sum = self.granted.fetch_add(bytes, Relaxed) + bytes;
            assert!(sum <= self.budget.limit(), "{sum} bytes are granted");
        }
        assert!(self.budget.reserved() <= self.budget.limit());
        granted
    }

    fn unreserve(&self, bytes: usize) {
        self.granted.fetch_sub(bytes, Relaxed);
        self.budget.unreserve(bytes);
    }

    fn use_the_byte(&self) {
        // SAFETY: loom reports a race.
        self.byte.with_mut(|byte| unsafe { *byte += 1 });
    }
}

/// Three threads charge and return; the limit has room for two of them, or for the large one alone.
fn charges() {
    let memory = Memory::new(4);
    memory.budget.keep_for_collector(1);
    let others = [(2, Charge::Mutator), (1, Charge::Mutator)].map(|(bytes, by)| {
        let memory = memory.clone();
        thread::spawn(move || {
            if memory.reserve(bytes, by) {
                memory.unreserve(bytes);
            }
        })
    });
    let large = memory.reserve(3, Charge::Collector);
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!(memory.budget.reserved(), if large { 3 } else { 0 });
}

/// One thread asks for too much, beside another that asks for all there is, and must get it.
fn refusal() {
    let memory = Memory::new(2);
    let greedy = {
        let memory = memory.clone();
        thread::spawn(move || {
            assert!(!memory.reserve(3, Charge::Mutator));
            assert!(!memory.reserve(usize::MAX, Charge::Mutator));
        })
    };
    assert!(memory.reserve(2, Charge::Mutator), "disturbed by a charge that was refused");
    greedy.join().unwrap();
    assert_eq!((memory.budget.reserved(), memory.budget.peak_reserved()), (2, 2));
}

/// The peak counts what two threads held together, though one may have returned its part before the other
/// looks.
fn peak() {
    let memory = Memory::new(2);
    assert!(memory.reserve(1, Charge::Mutator));
    let other = {
        let memory = memory.clone();
        thread::spawn(move || assert!(memory.reserve(1, Charge::Mutator)))
    };
    let seen = memory.budget.reserved();
    memory.unreserve(1);
    other.join().unwrap();
    assert!(memory.budget.peak_reserved() >= seen, "{seen} bytes were reserved once");
}

/// What one thread returned another may use: the first is done with it.
fn takes_over() {
    let memory = Memory::new(1);
    let others = [0, 1].map(|_| {
        let memory = memory.clone();
        thread::spawn(move || {
            if memory.reserve(1, Charge::Mutator) {
                memory.use_the_byte();
                memory.unreserve(1);
            }
        })
    });
    if memory.reserve(1, Charge::Collector) {
        memory.use_the_byte();
    }
    others.into_iter().for_each(|other| other.join().unwrap());
}

/// The same for resident memory.
fn takes_over_resident() {
    let memory = Memory::new(1);
    let other = {
        let memory = memory.clone();
        thread::spawn(move || {
            if memory.budget.make_resident(1) {
                memory.use_the_byte();
                memory.budget.not_resident(1);
            }
        })
    };
    if memory.budget.make_resident(1) {
        memory.use_the_byte();
        memory.budget.not_resident(1);
    }
    other.join().unwrap();
    assert_eq!(memory.budget.resident(), 0);
}

#[test]
fn the_limit_holds_at_every_instant() {
    holds(Some(3), charges);
}

#[test]
fn a_refused_charge_disturbs_nobody() {
    holds(None, refusal);
}

#[test]
fn returned_memory_is_no_longer_in_use() {
    holds(Some(3), takes_over);
    holds(None, takes_over_resident);
}

#[test]
fn the_peak_is_at_least_what_anybody_saw() {
    holds(None, peak);
    fails_without("budget-peak", Failure::Wrong, None, peak);
}

#[test]
fn without_the_exchange_a_charge_is_lost() {
    fails_without("budget-exchange", Failure::Wrong, Some(3), charges);
}

#[test]
fn without_the_ceiling_the_limit_is_passed() {
    fails_without("budget-ceiling", Failure::Wrong, Some(3), charges);
    fails_without("budget-ceiling", Failure::Wrong, None, refusal);
}

#[test]
fn a_return_releases_and_a_charge_acquires() {
    fails_without("budget-unreserve", Failure::Race, Some(3), takes_over);
    fails_without("budget-not-resident", Failure::Race, None, takes_over_resident);
    fails_without("budget-charge", Failure::Race, Some(3), takes_over);
    fails_without("budget-charge", Failure::Race, None, takes_over_resident);
}
