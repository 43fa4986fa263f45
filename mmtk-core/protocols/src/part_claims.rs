//! The words that say which parts of a large array are claimed in a marking beside mutators, two a part.
//!
//! ```text
//! word 0     [ number of the marking in which part 0 was claimed ]
//! word 1     [ part from which to look on: all before it are claimed, if part 0 is ]
//! word 2 N   [ number of the marking in which part N was claimed ]
//! ```
//! A visit reads all slots of a part, then claims the part by one exchange; the loser forgets what it read. A
//! mutator visits a part before its first store into it, a marker goes from part to part. When all are
//! claimed, the array is claimed as any object is (`forwarding`), and the words are not looked at any more.
//!
//! I1. Who claims a part has read its slots before, and a store into one of them comes after that. So the
//!     winner has read what they held when the mutators were stopped last.
//! I2. Who is told that all parts are claimed sees that their slots were read: a store may follow.
//! I3. Markings have numbers of 32 bits, and 0 is none: what a word holds of an earlier marking is not the
//!     number of this one. So nothing is cleared.
//! I4. Word 1 is set back before part 0 is claimed. Later it may go back, never too far forward.
//! Callers, while mutators run: threads that mark, mutators from the slow path of their barriers.

use crate::sync::atomic::{AtomicU32, Ordering::Relaxed};
use crate::sync::{dropped, order};

/// The parts of one array in one marking. `word` lends its words.
#[derive(Copy, Clone, Debug)]
pub struct PartClaims<W> {
    word: W,
    parts: u32,
    marking: u32,
}

/// Where to go on in an array.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// This part is not claimed.
    Part(u32),
    /// As many parts were looked at as the caller has allowed, and all of them are claimed.
    Later,
    /// All parts are claimed.
    AllClaimed,
}

impl<'a, W: Fn(u32) -> &'a AtomicU32> PartClaims<W> {
    /// Of an array of `parts` parts, in the marking of this number.
    pub fn new(word: W, parts: u32, marking: u32) -> Self {
        debug_assert!(parts > 1 && marking != 0, "{parts} parts in marking {marking}");
        PartClaims { word, parts, marking }
    }

    /// How many parts there are.
    pub fn parts(&self) -> u32 {
        self.parts
    }

    /// Whether the part is claimed: its slots have been read, and a store into them may follow.
    #[inline]
    pub fn is_claimed(&self, part: u32) -> bool {
        // Acquire pairs with Release in `claim`: the winner's reads come before a store of this thread (I1).
        (self.word)(2 * part).load(order!(Acquire, "part-claim-seen")) == self.marking
    }

    /// Claims a part whose slots the caller has read. True for one of several threads; the others forget what
    /// they read. In both cases a store may follow.
    #[inline]
    #[must_use = "the loser forgets what it read"]
    pub fn claim(&self, part: u32) -> bool {
        if part == 0 && !dropped!("part-claim-sets-back") {
            // Seen by who sees the part claimed (I4).
            (self.word)(1).store(1, Relaxed);
        }
        let word = (self.word)(2 * part);
        if dropped!("part-claim-exchange") {
            let seen = word.load(Relaxed);
            word.store(self.marking, Relaxed);
            return seen != self.marking;
        }
        // Release: this thread's reads come before a store of who sees the claim. Acquire: the winner's reads
        // come before a store of a loser.
        word.swap(self.marking, order!(AcqRel, "part-claim")) != self.marking
    }

    /// The first part that is not claimed, after looks at no more than `most` parts behind those that are
    /// known to be claimed. For who marks the array.
    pub fn next(&self, most: u32) -> Next {
        if !self.is_claimed(0) {
            return Next::Part(0);
        }
        // Acquire and Release: who goes on where another has looked has seen all that the other saw (I2).
        let from = (self.word)(1).load(order!(Acquire, "part-claim-resumes"));
        let end = self.parts.min(from.saturating_add(most));
        let next = (from..end).find(|part| !self.is_claimed(*part)).unwrap_or(end);
        if next > from {
            (self.word)(1).store(next, order!(Release, "part-claim-goes-on"));
        }
        match next {
            next if next == self.parts => Next::AllClaimed,
            next if next == end => Next::Later,
            next => Next::Part(next),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn words<const N: usize>() -> [AtomicU32; N] {
        // As an earlier marking may leave them.
        std::array::from_fn(|word| AtomicU32::new([4, 5][word % 2]))
    }

    #[test]
    fn a_part_is_claimed_once_in_each_marking() {
        let words = words::<9>();
        for marking in [5, 6, u32::MAX, 1] {
            let claims = PartClaims::new(|n| &words[n as usize], 5, marking);
            for part in [2, 0, 1, 4, 3] {
                assert!(!claims.is_claimed(part) && claims.claim(part));
                assert!(claims.is_claimed(part) && !claims.claim(part));
            }
        }
    }

    #[test]
    fn who_marks_an_array_passes_over_what_others_have_claimed() {
        let words = words::<9>();
        let claims = PartClaims::new(|n| &words[n as usize], 5, 7);
        assert!(claims.claim(1) && claims.claim(2));
        assert_eq!(claims.next(9), Next::Part(0));
        assert!(claims.claim(0));
        assert_eq!((claims.next(1), claims.next(1), claims.next(1)), (Next::Later, Next::Later, Next::Part(3)));
        assert!(claims.claim(4));
        assert_eq!(claims.next(9), Next::Part(3));
        assert!(!claims.claim(0), "who comes late sets it back");
        assert!(claims.claim(3));
        assert_eq!(claims.next(9), Next::AllClaimed);
        assert_eq!(claims.next(9), Next::AllClaimed);
    }
}
