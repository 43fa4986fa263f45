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
/// leader and the sweep write the rest, in pauses.
#[derive(Copy, Clone, PartialEq, Eq, Debug, NoUninit, Zeroable)]
#[repr(u8)]
pub(super) enum BlockState {
    /// In no use. A new table is all `Free`.
    Free = 0,
    /// What is live in it was there in the last collection.
    Used = 1,
    /// Memory of it was handed out since the last collection.
    Fresh = 2,
    /// As `Fresh`, and all of it: the next collection may evacuate it.
    Nursery = 3,
    /// It is evacuated in this collection. Only within a pause.
    Source = 4,
}

const _: () = assert!(size_of::<BlockState>() == 1 && BlockState::Free as u8 == 0);
