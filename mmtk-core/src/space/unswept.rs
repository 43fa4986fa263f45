//! What a full collection leaves to be swept when mutators run again.
//!
//! 1. In the pause, a space says how many units its sweep has, and how much they will free
//!    ([`LeftToSweep::leave`]). It makes its lists of free memory empty, so what is not swept yet is not
//!    handed out.
//! 2. At the end of the pause the units begin. Threads of the heap, mutators that find no memory, and the
//!    leader of the next pause take them one by one. Memory of a unit that is done is handed out.
//! 3. A pause begins when all are done. Another round in the same pause begins when the leader has swept what
//!    the round before has left.
//!
//! What was allocated meanwhile is told from what is to be swept: that is the space's business, and each says
//! how.

use protocols::units::Units;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

/// The units that a space has left.
#[derive(Debug, Default)]
pub struct LeftToSweep {
    /// Of a pause that is not over.
    promised: AtomicU32,
    units: Units,
    /// Bytes that the units will free.
    bytes: AtomicUsize,
}

impl LeftToSweep {
    /// A pause leaves `units` units, which will free `bytes` bytes. The leader.
    pub fn leave(&self, units: u32, bytes: usize) {
        self.promised.store(units, Relaxed);
        self.bytes.store(bytes, Relaxed);
    }

    /// A unit has freed `bytes` bytes, and given them back to the budget.
    pub fn freed(&self, bytes: usize) {
        let less = |left: usize| Some(left.saturating_sub(bytes));
        _ = self.bytes.fetch_update(Relaxed, Relaxed, less);
    }

    /// Bytes that units will free. Right but for what units are about to say.
    pub fn bytes(&self) -> usize {
        if self.is_over() { 0 } else { self.bytes.load(Relaxed) }
    }

    /// Whether all is swept.
    pub fn is_over(&self) -> bool {
        self.promised.load(Relaxed) == 0 && self.units.is_over()
    }

    /// The units that this pause leaves. The leader.
    pub(crate) fn promised(&self) -> u32 {
        self.promised.load(Relaxed)
    }

    /// The pause ends. The leader.
    pub(crate) fn begin(&self) {
        self.units.begin(self.promised.swap(0, Relaxed));
    }

    pub(crate) fn units(&self) -> &Units {
        &self.units
    }
}

/// A space that leaves units to be swept.
pub trait Unswept: Send + Sync {
    /// How many are left.
    fn left(&self) -> &LeftToSweep;

    /// Sweeps one of them, from 0. Called once for each, by any thread, while mutators run or stand still;
    /// several at the same time. It takes some ten microseconds at most, since the leader of a pause may wait
    /// for it.
    fn sweep_unit(&self, unit: u32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pause_leaves_is_not_over_before_its_units_are_done() {
        let left = LeftToSweep::default();
        assert!(left.is_over() && left.bytes() == 0);
        left.leave(2, 100);
        assert!(!left.is_over() && left.units().take().is_none(), "it begins when the pause ends");
        left.begin();
        for (unit, freed) in [(0, 30), (1, 80)] {
            assert_eq!(left.units().take(), Some(unit));
            assert!(!left.is_over());
            assert_eq!(left.bytes(), 100 - 30 * unit as usize);
            left.freed(freed);
            left.units().done();
        }
        // More became free than was known.
        assert!(left.is_over() && left.bytes() == 0);
        left.begin();
        assert!(left.is_over(), "the next pause has left nothing");
    }
}
