//! Which blocks have been evacuated: so the worker that slides objects into a block knows that the objects
//! there are gone.
//!
//! ```text
//!   the worker of a lower block:   reads what it moves --- left ---> Left
//!   the worker of a higher block:                          wait_for ---+---> writes there
//! ```
//! Blocks are taken in the order of their numbers, and objects slide down, so a worker waits only for lower
//! blocks, which some worker has taken, and whose worker waits only for blocks that are lower still. The
//! worker of the lowest of them does not wait, hence no deadlock.
//!
//! I1. The objects of a block are read before the block's word says `Left`, and overwritten only after a
//!     worker has seen that.
//! I2. Words are reset while no worker compacts.
//! Callers: GC workers inside a pause.

use crate::sync::{Atomic, Spin, dropped, order};
use bytemuck::{CheckedBitPattern, NoUninit, Zeroable};

/// What a worker that writes into a block has to know of it.
#[derive(Copy, Clone, PartialEq, Eq, Debug, NoUninit, CheckedBitPattern, Zeroable)]
#[repr(u8)]
pub enum Evacuation {
    /// The block holds objects that are yet to be moved.
    Full = 0,
    /// Everything that began in the block has left it, or stays for good.
    Left = 1,
}

/// Nothing of the block will be read any more.
#[inline(always)]
pub fn left(block: &Atomic<Evacuation>) {
    // Release pairs with Acquire in `wait_for` (I1).
    block.store(Evacuation::Left, order!(Release, "evacuation-left"));
}

/// Returns when nothing of the block will be read any more.
#[inline(always)]
pub fn wait_for(block: &Atomic<Evacuation>) {
    let mut spin = Spin::default();
    // Acquire pairs with Release in `left` (I1).
    while block.load(order!(Acquire, "evacuation-seen")) != Evacuation::Left && !dropped!("evacuation-wait") {
        spin.wait();
    }
}
