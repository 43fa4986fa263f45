//! Mark bits that are not cleared between cycles: the worker that first marks in a block clears the bits of
//! the block.
//!
//! ```text
//!   block state:  an older epoch ---begin---> CLEARING ---bits cleared---> this epoch
//! ```
//! Bits are valid while the block's state names the epoch they were set in.
//!
//! I1. Only the worker that raised CLEARING writes the bits until it has stored the epoch.
//! I2. A worker that sees the epoch sees the bits cleared, so it does not take a bit of an older epoch for a
//!     mark.
//! I3. One worker wins each bit.
//! Callers: GC workers inside a pause; threads that mark while mutators run.

use crate::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use crate::sync::{Spin, dropped, order};

/// The block's bits are being cleared. No epoch.
pub const CLEARING: u8 = 0x40;

/// Makes the bits of a block valid for `epoch`; `clear` sets them to zero, and is called by one worker.
#[inline(always)]
pub fn begin(state: &AtomicU8, epoch: u8, clear: impl FnOnce()) {
    // Acquire pairs with Release in `begin_anew` (I2).
    if state.load(order!(Acquire, "mark-bits-begun")) != epoch {
        begin_anew(state, epoch, clear);
    }
}

#[cold]
#[inline(never)]
fn begin_anew(state: &AtomicU8, epoch: u8, clear: impl FnOnce()) {
    let mut spin = Spin::default();
    loop {
        // Acquire as in `begin`.
        let seen = state.load(order!(Acquire, "mark-bits-waited"));
        if seen == epoch {
            return;
        }
        if seen == CLEARING {
            spin.wait();
            continue;
        }
        // Relaxed: what the winner overwrites was published by the safepoint.
        if dropped!("mark-bits-claim") || state.compare_exchange(seen, CLEARING, Relaxed, Relaxed).is_ok() {
            if !dropped!("mark-bits-clear") {
                clear();
            }
            state.store(epoch, order!(Release, "mark-bits-publish"));
            return;
        }
    }
}

/// Sets one bit; false if it was set (I3). A worker that is `alone` in the trace pays no locked instruction.
#[inline(always)]
pub fn set(word: &AtomicU64, bit: u64, alone: bool) -> bool {
    // Relaxed: the mark protects nothing but itself; what the object holds was published by the safepoint.
    let seen = word.load(Relaxed);
    if seen & bit != 0 {
        return false;
    }
    if alone || dropped!("mark-bits-exchange") {
        word.store(seen | bit, Relaxed);
        return true;
    }
    word.fetch_or(bit, Relaxed) & bit == 0
}
