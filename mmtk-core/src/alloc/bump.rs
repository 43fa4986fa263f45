//! Thread-local ranges of free memory, and bump allocation in them.
//!
//! ```text
//!   cursor        limit                    end
//!     v             v                       v
//!     | zeroed, fast path | not yet zeroed  |      limit == end when the whole range was zero to begin with
//! ```
//! A recycled range is zeroed step by step just ahead of the cursor, so the bytes are in the first-level
//! cache when the object is written. The fast path is `bytes <= limit - cursor`; compiled code may do it by
//! itself: `cursor` and `limit` are the first two words of a mutator's state.
//!
//! I1. A range belongs to one thread: it was taken from a block or hole that nobody else allocates in.
//! I2. `cursor <= limit <= end`; `[cursor, limit)` reads as zero unless the range is for copies.

use crate::address::{Address, ObjectReference};
use crate::binding::{StateLocation, VMBinding};
use crate::memory::{Block, FreeMemory};
use crate::metadata::{Claimed, ObjectMark, ObjectStates, SIZE_CLASSES};
use crate::os;

/// How far ahead of the cursor memory is zeroed: a few cache lines would call the slow path too often, a
/// whole block would push the mutator's data out of the first-level cache. A page: a power of two.
pub const ZERO_STEP: usize = 4 << 10;
/// The same for objects of more than `LONG_STEP_FROM` bytes. A mutator that waits for memory runs ahead as
/// far as the processor looks, into its next cache misses; zeroing fills that view. So it must not come with
/// every second object.
const LONG_STEP: usize = 16 << 10;
/// See `LONG_STEP`.
const LONG_STEP_FROM: usize = ZERO_STEP / 16;

/// How far ahead of the cursor the slow path prepares memory.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Bytes to zero at once if `clip`; otherwise it is to the next page boundary behind the object.
    pub step: usize,
    /// Whether memory that is zero already is also handed out in such steps (stress options).
    pub clip: bool,
}

/// A range of free memory.
#[derive(Debug, Default)]
#[repr(C)]
pub struct BumpRange {
    cursor: Address,
    limit: Address,
    end: Address,
}

/// Memory for one copy, taken from a range: only its holder can write it.
#[derive(Debug)]
#[must_use]
pub struct CopyTarget {
    at: Address,
    bytes: usize,
}

impl BumpRange {
    /// Offset of the cursor, for compiled code.
    pub(super) const CURSOR_OFFSET: usize = std::mem::offset_of!(BumpRange, cursor);
    /// Offset of the limit, for compiled code.
    pub(super) const LIMIT_OFFSET: usize = std::mem::offset_of!(BumpRange, limit);

    /// The fast path: zeroed memory, if it is at hand.
    #[inline(always)]
    pub fn alloc(&mut self, bytes: usize) -> Option<Address> {
        let start = self.cursor;
        // Compared as lengths: `cursor + bytes` wraps round for sizes that no heap has.
        if bytes > self.limit.bytes_from(start) {
            return None;
        }
        self.cursor = start.plus(bytes);
        Some(start)
    }

    /// Zeroes as much as is needed, and as far ahead as `pace` says, and allocates. The bytes by which the
    /// limit moved are added to `allocated`.
    pub fn alloc_zeroing(&mut self, bytes: usize, pace: Pace, allocated: &mut usize) -> Option<Address> {
        if bytes > self.end.bytes_from(self.cursor) {
            return None;
        }
        let counted = self.limit.bytes_from(self.cursor);
        if pace.clip {
            self.limit = self.cursor;
        }
        let ahead = match pace.clip {
            true => self.cursor.plus(bytes.max(pace.step)),
            // To a page boundary, wherever the range begins: measured better than a page from wherever the
            // cursor is.
            false => self.cursor.plus(bytes).align_up(if bytes > LONG_STEP_FROM { LONG_STEP } else { ZERO_STEP }),
        };
        let limit = ahead.min(self.end).max(self.limit);
        // Added before it is subtracted: what was counted may have left `allocated` for the heap's statistics
        // since.
        *allocated = *allocated + limit.bytes_from(self.cursor) - counted;
        // SAFETY: memory that a pool has looked at (`FreeMemory`), so it is committed; and the range is ours
        // (I1).
        unsafe { os::zero(self.limit, limit.bytes_from(self.limit)) };
        self.limit = limit;
        self.alloc(bytes)
    }

    /// Memory for a copy; it holds anything.
    #[inline(always)]
    pub fn alloc_for_copy(&mut self, bytes: usize) -> Option<CopyTarget> {
        let at = self.cursor;
        let end = at.plus(bytes);
        if end > self.end {
            return None;
        }
        self.cursor = end;
        // Far enough for the few copies that are made in a memory latency.
        end.plus(256).prefetch_write();
        Some(CopyTarget { at, bytes })
    }

    /// Copies a claimed object here, as [`CopyTarget::copy`] does.
    ///
    /// # Errors
    /// The claim, when there is no room.
    #[inline(always)]
    pub fn copy<VM: VMBinding, K>(
        &mut self,
        states: &ObjectStates<VM, K>,
        claimed: Claimed,
        state: ObjectMark,
    ) -> Result<ObjectReference, Claimed> {
        match self.alloc_for_copy(claimed.bytes()) {
            Some(CopyTarget { at, .. }) => Ok(copy_to(at, states, claimed, state)),
            None => Err(claimed),
        }
    }

    /// Ends at the cursor from now on; returns the limit that it had.
    #[inline]
    pub(super) fn close(&mut self) -> Address {
        std::mem::replace(&mut self.limit, self.cursor)
    }

    /// Has the limit again that `close` returned; zero changes nothing.
    #[inline]
    pub(super) fn open(&mut self, limit: Address) {
        self.limit = self.limit.max(limit);
    }

    /// The next allocation is to come to the slow path. What the limit moves back by is not counted in
    /// `allocated` any more.
    pub(super) fn hold(&mut self, allocated: &mut usize) {
        // What the heap's statistics have got of it already is counted twice.
        *allocated = allocated.saturating_sub(self.limit.bytes_from(self.cursor));
        self.limit = self.cursor;
    }

    /// Replaces the range by memory that the space has taken for this thread (I1).
    pub fn install(&mut self, memory: FreeMemory<'_>, allocated: &mut usize) {
        self.cursor = memory.start();
        self.end = memory.end();
        self.limit = if memory.is_zeroed() { self.end } else { self.cursor };
        *allocated += self.limit.bytes_from(self.cursor);
    }

    /// The same for copies, which need no zeroes.
    pub fn install_for_copies(&mut self, memory: FreeMemory<'_>) {
        *self = BumpRange { cursor: memory.start(), limit: memory.end(), end: memory.end() };
    }

    /// Forgets the range.
    pub fn clear(&mut self) {
        *self = BumpRange::default();
    }

    /// Bytes that are left, zeroed or not.
    pub fn bytes_left(&self) -> usize {
        self.end.bytes_from(self.cursor)
    }

    /// Where the next object would begin.
    pub fn cursor(&self) -> Address {
        self.cursor
    }

    /// The end of the range.
    pub fn end(&self) -> Address {
        self.end
    }
}

impl CopyTarget {
    /// Copies the claimed object here, gives the copy the state `state` and publishes its new place.
    ///
    /// # Panics
    /// When the memory was asked for with another size.
    #[inline(always)]
    pub fn copy<VM: VMBinding, K>(
        self,
        states: &ObjectStates<VM, K>,
        claimed: Claimed,
        state: ObjectMark,
    ) -> ObjectReference {
        let from = claimed.object();
        assert!(self.bytes == claimed.bytes(), "{from} has {} bytes, and its copy {}", claimed.bytes(), self.bytes);
        copy_to(self.at, states, claimed, state)
    }
}

/// Copies the claimed object to memory of its size, which was taken from a range for it.
#[inline(always)]
fn copy_to<VM: VMBinding, K>(
    at: Address,
    states: &ObjectStates<VM, K>,
    claimed: Claimed,
    state: ObjectMark,
) -> ObjectReference {
    let (from, bytes) = (claimed.object().address(), claimed.bytes());
    // A first word that holds the state is written once, below: to read it back from the copy, or together
    // with its neighbour from the source, would wait for the store that claimed it.
    let first = if VM::STATE == StateLocation::HeaderTopByte(0) { 8 } else { 0 };
    // SAFETY: the source is a whole object of this size whose bytes do not change while it is claimed
    // (forwarding I1); the target is as large, belongs to this worker (I1 above) and overlaps no object.
    unsafe { os::copy_words(from.plus(first), at.plus(first), (bytes - first) / 8) };
    // SAFETY: the copy was made there just now.
    let to = unsafe { ObjectReference::from_address(at) }.expect("a copy is never made at address zero");
    states.begin_copy(to, &claimed, state);
    states.publish(claimed, to);
    to
}

/// Where in a block the search for holes stands.
#[derive(Debug, Default, Copy, Clone)]
pub struct HoleCursor {
    /// The block, if there is one.
    pub block: Option<Block>,
    /// The first line not looked at.
    pub line: u32,
}

/// The free cells that a thread holds of one size class.
#[derive(Debug, Default)]
#[repr(C)]
pub struct CellRange {
    /// A run of free cells.
    pub range: BumpRange,
    /// The block it lies in.
    pub block: Option<Block>,
    /// The first cell behind the run.
    pub next_cell: u32,
}

/// Cells of a thread that holds none.
pub(super) fn no_cells() -> [CellRange; SIZE_CLASSES] {
    std::array::from_fn(|_| CellRange::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_wraps_round_the_address_space_is_refused() {
        let mut range = BumpRange::default();
        let (start, end) = (Address::from_usize(0x1000), Address::from_usize(0x2000));
        range.install(FreeMemory::for_test(start..end, true), &mut 0);
        assert_eq!(range.alloc(usize::MAX & !7), None);
        assert_eq!(range.alloc(0x1000), Some(start));
        assert_eq!(range.alloc(8), None);
    }
}
