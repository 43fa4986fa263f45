//! The words that say which parts of a large array were stored into since the last collection, one a part.
//!
//! ```text
//!            31      30 .. 0
//! word 0   [ noted | parts that the array has; 0: this is no array that is remembered in parts ]
//! word 1   [ noted | parts of the array that were noted ]
//! word 2.. [ noted | 0 ]
//! ```
//! A mutator that is about to store into a part notes it, unless it is noted already. When half of the parts
//! are noted, the array is to be noted as a whole: then stores into it cost the barrier's test alone.
//!
//! I1. An array has two parts at least, or none.
//! I2. Between pauses the number of parts does not change, and words change by read-modify-writes of mutators
//!     alone. In pauses the leader forgets the notes; the worker that marks the array says how many parts it
//!     has.
//! I3. Of mutators that store into the same part, the one whose exchange sets the bit notes it: it then adds
//!     one to the number of noted parts.
//! Relaxed throughout: there is no safepoint between a note and its store, and the safepoint orders both with
//! the pause that looks for them.
//! Callers: mutators, from the slow path of their barriers; the leader of a pause; workers that mark.

use crate::sync::atomic::{AtomicU32, Ordering::Relaxed};
use crate::sync::dropped;

const NOTED: u32 = 1 << 31;

/// The most parts that an array can have.
pub const MAX_PARTS: u32 = NOTED - 1;

/// The word of one part.
#[derive(Copy, Clone)]
pub struct PartWord<'a>(pub &'a AtomicU32);

impl PartWord<'_> {
    /// Of the first part: how many parts there are.
    #[inline(always)]
    pub fn parts(self) -> u32 {
        self.0.load(Relaxed) & !NOTED
    }

    /// Of the first part, while no mutator looks at the array, and nothing of it is noted: it has so many
    /// parts, or is no array (0).
    pub fn set_parts(self, parts: u32) {
        debug_assert!(parts <= MAX_PARTS && parts != 1, "{parts} parts");
        self.0.store(parts, Relaxed);
    }

    /// Whether the part was noted.
    #[inline(always)]
    pub fn is_noted(self) -> bool {
        self.0.load(Relaxed) & NOTED != 0
    }

    /// A store into the part is to come; whether this mutator must note the part.
    #[inline(always)]
    pub fn note(self) -> bool {
        if self.is_noted() {
            return false;
        }
        if dropped!("part-exchange") {
            let seen = self.0.load(Relaxed);
            self.0.store(seen | NOTED, Relaxed);
            return seen & NOTED == 0;
        }
        self.0.fetch_or(NOTED, Relaxed) & NOTED == 0
    }

    /// Of the second part: another part was noted. How many there are now.
    pub fn count(self) -> u32 {
        if dropped!("part-count") {
            let seen = self.0.load(Relaxed);
            self.0.store(seen + 1, Relaxed);
            return (seen & !NOTED) + 1;
        }
        (self.0.fetch_add(1, Relaxed) & !NOTED) + 1
    }

    /// In a pause, by its leader: the part is not noted any more.
    pub fn forget(self) {
        self.0.store(self.0.load(Relaxed) & !NOTED, Relaxed);
    }

    /// In a pause, by its leader, of the second part: no part is noted any more.
    pub fn forget_count(self) {
        self.0.store(self.0.load(Relaxed) & NOTED, Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_noted_once_until_it_is_forgotten() {
        let word = AtomicU32::new(0);
        let part = PartWord(&word);
        part.set_parts(7);
        for _ in 0..2 {
            assert!(!part.is_noted() && part.note() && part.is_noted() && !part.note());
            assert_eq!(part.parts(), 7);
            part.forget();
        }
        assert_eq!(part.parts(), 7);
    }

    #[test]
    fn notes_are_counted_beside_the_bit_of_the_second_part() {
        let word = AtomicU32::new(0);
        let second = PartWord(&word);
        assert_eq!(second.count(), 1);
        assert!(second.note());
        assert_eq!((second.count(), second.count()), (2, 3));
        second.forget();
        assert!(!second.is_noted());
        assert_eq!(second.count(), 4);
        assert!(second.note());
        second.forget_count();
        assert!(second.is_noted());
        assert_eq!(second.count(), 1);
    }
}
