//! Units of work that threads take one by one, beside mutators: each goes to one thread, and the work is over
//! when every unit that was taken is done.
//!
//! ```text
//! word = count:32 | next:32         left = units that are not done
//! ```
//! I1. Work begins only when the work before it is over, so no unit of two works is at hand at once.
//! I2. Who takes a unit sees what the thread that began the work had done before.
//! I3. Who finds the work over sees what was done in all its units.
//! Callers: `begin` the leader of a pause; the rest any thread.

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::sync::{Spin, dropped, order};

/// The units of one work after the other.
#[derive(Debug, Default)]
pub struct Units {
    word: AtomicU64,
    left: AtomicU32,
}

impl Units {
    /// There is no work.
    pub fn new() -> Units {
        Units::default()
    }

    /// Begins work of `count` units.
    ///
    /// # Panics
    /// If the work before is not over (I1).
    pub fn begin(&self, count: u32) {
        assert!(self.is_over(), "units of the work before are left");
        // Relaxed: who takes a unit sees it by the word.
        self.left.store(count, Relaxed);
        // Release publishes what the leader did before (I2).
        self.word.store(u64::from(count) << 32, order!(Release, "units-begin"));
    }

    /// Takes the next unit; none if all are taken. Then [`Units::done`] must follow.
    pub fn take(&self) -> Option<u32> {
        let mut word = self.word.load(Relaxed);
        loop {
            let (next, count) = (word as u32, (word >> 32) as u32);
            if next == count {
                return None;
            }
            if dropped!("units-exchange") {
                self.word.store(word + 1, Relaxed);
                return Some(next);
            }
            // Acquire pairs with Release in `begin`. Others that took units since carry it on: they exchanged
            // the word (I2).
            match self.word.compare_exchange_weak(word, word + 1, order!(Acquire, "units-take"), Relaxed) {
                Ok(_) => return Some(next),
                Err(now) => word = now,
            }
        }
    }

    /// A unit that was taken is done. True for the last of the work.
    pub fn done(&self) -> bool {
        // Release publishes what was done; Acquire makes the last one see what all others did (I3).
        self.left.fetch_sub(1, order!(AcqRel, "units-done")) == 1
    }

    /// Units that are not done, of which some may be at hand.
    pub fn left(&self) -> u32 {
        self.left.load(Relaxed)
    }

    /// Whether all units are done.
    pub fn is_over(&self) -> bool {
        // Acquire pairs with Release in `done` (I3).
        self.left.load(order!(Acquire, "units-over")) == 0
    }

    /// Waits until all are done. None is left to take, so this takes as long as the units that others have at
    /// hand.
    pub fn wait_until_over(&self) {
        let mut spin = Spin::default();
        while !self.is_over() {
            spin.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_is_taken_once_and_the_last_that_is_done_ends_the_work() {
        let units = Units::new();
        assert!(units.is_over() && units.take().is_none());
        for count in [1, 3] {
            units.begin(count);
            assert_eq!(std::iter::from_fn(|| units.take()).collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
            let last: Vec<bool> = (0..count).map(|_| units.done()).collect();
            assert_eq!(last.iter().filter(|last| **last).count(), 1);
            assert!(last[count as usize - 1] && units.is_over());
        }
        units.begin(0);
        assert!(units.is_over() && units.take().is_none());
    }

    #[test]
    #[should_panic(expected = "units of the work before are left")]
    fn work_does_not_begin_while_units_of_other_work_are_left() {
        let units = Units::new();
        units.begin(2);
        units.begin(1);
    }
}
