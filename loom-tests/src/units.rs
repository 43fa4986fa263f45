//! Units that threads take: each is done once, by a thread that sees what the leader did before, and who
//! finds the work over sees all that was done in it.

use crate::check::{Failure, fails_without, holds};
use loom::cell::UnsafeCell;
use loom::thread;
use protocols::units::Units;
use std::sync::Arc;

struct Work {
    units: Units,
    /// What the leader wrote before the work began: its number.
    begun: UnsafeCell<u32>,
    /// How often each unit was done.
    done: [UnsafeCell<u32>; 2],
}

// SAFETY: that the accesses to the cells do not race is what the models check.
unsafe impl Sync for Work {}
// SAFETY: as for Sync.
unsafe impl Send for Work {}

impl Work {
    fn new() -> Arc<Work> {
        Arc::new(Work {
            units: Units::new(),
            begun: UnsafeCell::new(0),
            done: [UnsafeCell::new(0), UnsafeCell::new(0)],
        })
    }

    fn begin(&self, units: u32) {
        // SAFETY: loom reports a race.
        self.begun.with_mut(|begun| unsafe { *begun += 1 });
        self.units.begin(units);
    }

    /// Takes a unit and does it, if there is one; true if it was the last.
    fn step(&self) -> Option<bool> {
        let unit = self.units.take()?;
        // SAFETY: loom reports a race.
        assert!(self.begun.with(|begun| unsafe { *begun }) > 0);
        // SAFETY: as above.
        self.done[unit as usize].with_mut(|done| unsafe { *done += 1 });
        Some(self.units.done())
    }

    fn done(&self) -> [u32; 2] {
        // SAFETY: loom reports a race.
        [0, 1].map(|unit: usize| self.done[unit].with(|done| unsafe { *done }))
    }
}

/// Another thread takes a unit at any time; the leader, as in a pause, does the rest and waits.
fn the_leader_waits_until_it_is_over() {
    let work = Work::new();
    let other = {
        let work = work.clone();
        thread::spawn(move || work.step())
    };
    work.begin(2);
    while work.step().is_some() {}
    work.units.wait_until_over();
    assert_eq!(work.done(), [1, 1]);
    other.join().unwrap();
}

/// Two threads take what there is; the one that ends the work looks at what the other has done.
fn the_last_looks_at_all() {
    let work = Work::new();
    work.begin(2);
    let step_and_look = |work: Arc<Work>| {
        let last = work.step() == Some(true);
        if last {
            assert_eq!(work.done(), [1, 1]);
        }
        last
    };
    let other = {
        let work = work.clone();
        thread::spawn(move || step_and_look(work))
    };
    let last = step_and_look(work);
    assert!(last != other.join().unwrap(), "one of them is the last");
}

/// A thread that has read the word of one work takes a unit of the next, whose word is the same.
fn a_unit_is_taken_with_the_word_of_the_work_before() {
    let work = Work::new();
    work.begin(1);
    let other = {
        let work = work.clone();
        thread::spawn(move || work.step())
    };
    while work.step().is_some() {}
    work.units.wait_until_over();
    work.begin(1);
    while work.step().is_some() {}
    work.units.wait_until_over();
    assert_eq!(work.done(), [2, 0]);
    other.join().unwrap();
}

#[test]
fn each_unit_is_done_once_and_seen_by_who_finds_the_work_over() {
    holds(Some(3), the_leader_waits_until_it_is_over);
    holds(Some(3), the_last_looks_at_all);
    holds(Some(3), a_unit_is_taken_with_the_word_of_the_work_before);
}

#[test]
fn a_unit_shows_what_the_leader_did_before() {
    fails_without("units-begin", Failure::Race, Some(3), the_leader_waits_until_it_is_over);
    fails_without("units-take", Failure::Race, Some(3), the_leader_waits_until_it_is_over);
    fails_without("units-take", Failure::Race, Some(3), a_unit_is_taken_with_the_word_of_the_work_before);
}

#[test]
fn the_end_shows_what_was_done() {
    fails_without("units-done", Failure::Race, Some(3), the_leader_waits_until_it_is_over);
    fails_without("units-over", Failure::Race, Some(3), the_leader_waits_until_it_is_over);
    fails_without("units-done-acquire", Failure::Race, Some(3), the_last_looks_at_all);
    fails_without("units-done-release", Failure::Race, Some(3), the_last_looks_at_all);
}

#[test]
fn without_the_exchange_a_unit_is_done_twice() {
    fails_without("units-exchange", Failure::Race, Some(3), the_last_looks_at_all);
}
