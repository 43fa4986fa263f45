//! What a block is.

use super::lines::LINE_BYTES;
use bytemuck::{NoUninit, Zeroable};

/// Objects of this size and more leave a hole that they do not fit to smaller ones.
pub(super) const MEDIUM_BYTES: usize = LINE_BYTES + 1;

/// What a block is, in a byte of a side table.
///
/// ```text
///            a mutator takes it whole, plans with a nursery
///  Free  ----------------------------------------------------> Nursery --.
///   |  \-- taken whole by anyone else --> Fresh <--- a hole of it is ----|--- Used
///   |                                      |         handed out          |     ^
///   |                                      '------------- swept ---------|-----|
///   '<---- swept, nothing live in it ---- any                            |     |
///                             Source <--- chosen to be evacuated --------'-----'
/// ```
/// Mutators and workers that take memory write `Fresh` and `Nursery`, of blocks that are theirs alone. The
/// leader writes the rest in pauses, and the sweep.
///
/// A sweep that is left for when mutators run again begins a turn. It passes over what was handed out in its
/// own turn, and visits every other block that is not free. So when it is over no block carries a state of
/// the turn before, and two turns are enough to tell them apart.
#[derive(Copy, Clone, PartialEq, Eq, Debug, NoUninit, Zeroable)]
#[repr(u8)]
pub(super) enum BlockState {
    /// In no use. A new table is all `Free`.
    Free = 0,
    /// What is live in it was there in the last collection.
    Used = 1,
    /// Memory of it was handed out since the last collection, in an even turn.
    Fresh = 2,
    /// The same in an odd turn.
    FreshOdd = 3,
    /// As `Fresh`, and all of it: the next collection may evacuate it.
    Nursery = 4,
    /// The same in an odd turn.
    NurseryOdd = 5,
    /// It is evacuated in this collection. Only within a pause.
    Source = 6,
}

const _: () = assert!(size_of::<BlockState>() == 1 && BlockState::Free as u8 == 0);

impl BlockState {
    /// Whether all of it was handed out since the last collection, and may be evacuated.
    pub fn is_nursery(self) -> bool {
        matches!(self, BlockState::Nursery | BlockState::NurseryOdd)
    }
}

/// Whether a sweep that was left began an even or an odd turn. Changes in pauses.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, NoUninit, Zeroable)]
#[repr(u8)]
pub(super) enum Turn {
    /// The first, and every second from there.
    #[default]
    Even = 0,
    /// The others.
    Odd = 1,
}

impl Turn {
    /// The one that follows.
    pub fn next(self) -> Turn {
        match self {
            Turn::Even => Turn::Odd,
            Turn::Odd => Turn::Even,
        }
    }

    /// The state of a block of which memory is handed out.
    pub fn fresh(self) -> BlockState {
        match self {
            Turn::Even => BlockState::Fresh,
            Turn::Odd => BlockState::FreshOdd,
        }
    }

    /// The state of a block that is handed out whole, and may be evacuated.
    pub fn nursery(self) -> BlockState {
        match self {
            Turn::Even => BlockState::Nursery,
            Turn::Odd => BlockState::NurseryOdd,
        }
    }

    /// Whether memory of a block in this state was handed out in this turn.
    pub fn has_handed_out(self, state: BlockState) -> bool {
        state == self.fresh() || state == self.nursery()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_tells_what_was_handed_out_in_it_from_all_else() {
        use BlockState::*;
        for (turn, of_turn) in [(Turn::Even, [Fresh, Nursery]), (Turn::Odd, [FreshOdd, NurseryOdd])] {
            assert_eq!([turn.fresh(), turn.nursery()], of_turn);
            for state in [Free, Used, Fresh, FreshOdd, Nursery, NurseryOdd, Source] {
                assert_eq!(turn.has_handed_out(state), of_turn.contains(&state), "{turn:?} {state:?}");
            }
            assert!(turn.nursery().is_nursery() && !turn.fresh().is_nursery());
            assert!(turn.next() != turn && turn.next().next() == turn);
        }
    }
}
