//! What compiled code needs to allocate, poll, and test the barrier by itself: offsets in the state of its
//! mutator, which are constants of the binding.
//!
//! The state does not move while the mutator is attached. Compiled code keeps its address
//! ([`Mutator::state`]) in a register, or where it finds its thread.
//!
//! I1. Fast paths are for the thread of the mutator, outside its native regions. Inside one a fast path of
//!     allocation finds nothing, so that the slow path tells the mistake.

use super::Mutator;
use super::mutator::MutatorState;
use crate::alloc::{Allocators, ThreadPart};
use crate::barrier::BarrierTest;
use crate::binding::VMBinding;
use crate::metadata::{MAX_CELL_BYTES, class_bytes, class_of};
use std::mem::offset_of;

/// Where compiled code finds free cells for objects of one size: offsets in the state of its mutator, to
/// which it adds the word at [`MutatorState::CELLS_MOVED_OFFSET`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct CellsAt {
    /// Of the cursor, a word: the address of the next free cell.
    pub cursor: usize,
    /// Of the limit, a word: the end of the cells at hand.
    pub limit: usize,
    /// Bytes of a cell, by which the cursor is moved.
    pub bytes: usize,
}

impl<VM: VMBinding> MutatorState<VM> {
    const ALLOCATORS: usize = offset_of!(MutatorState<VM>, part) + ThreadPart::<VM>::ALLOCATORS_OFFSET;

    /// Offset of the bump cursor, a word: where the next object begins. If `limit - cursor` is not less than
    /// the bytes of the object (whole granules), these are the object's, they are zero, and the cursor moves
    /// behind them. Else compiled code looks for cells ([`MutatorState::cells_at`]), or calls
    /// [`Mutator::alloc`].
    pub const CURSOR_OFFSET: usize = Self::ALLOCATORS + Allocators::CURSOR_OFFSET;
    /// Offset of the limit of the bump cursor, a word: the one behind the cursor.
    pub const LIMIT_OFFSET: usize = Self::ALLOCATORS + Allocators::LIMIT_OFFSET;
    /// Offset of the word that is added to offsets of cells. It is zero, but in native regions of the
    /// mutator.
    pub const CELLS_MOVED_OFFSET: usize = Self::ALLOCATORS + Allocators::FAST_CELLS_OFFSET;
    /// Offset of the 32-bit word to poll: not zero means "call [`Mutator::poll`]". Other threads write it.
    pub const THREAD_OFFSET: usize = offset_of!(MutatorState<VM>, part) + ThreadPart::<VM>::THREAD_OFFSET;
    /// Offset of the barrier's mask, a byte: zero as long as no store is to be noted. Else the barrier tests
    /// the object ([`Mutator::barrier_test`]). It changes at safepoints alone.
    pub const BARRIER_OFFSET: usize = offset_of!(MutatorState<VM>, part) + ThreadPart::<VM>::BARRIER_OFFSET;
    /// Offset of what the barrier expects in the bits of the mask, a byte: the one behind the mask.
    pub const BARRIER_EXPECTED_OFFSET: usize = Self::BARRIER_OFFSET + 1;
    /// Offset of what the VM keeps for the thread ([`VMBinding::Local`]), a shadow stack, for example.
    pub const LOCAL_OFFSET: usize = offset_of!(MutatorState<VM>, part) + ThreadPart::<VM>::LOCAL_OFFSET;

    /// Where cells are for objects of `bytes` bytes; none if the objects are too large for cells. A compiler
    /// that knows the size asks once. MarkSweep and StickyMarkSweep allocate in cells, and have no bump
    /// range; in the other plans it is the other way round. Compiled code that tries both works with all of
    /// them.
    pub fn cells_at(bytes: usize) -> Option<CellsAt> {
        if bytes == 0 || bytes > MAX_CELL_BYTES {
            return None;
        }
        let class = class_of(bytes);
        let [cursor, limit] = Allocators::cell_offsets(class).map(|offset| Self::ALLOCATORS + offset);
        Some(CellsAt { cursor, limit, bytes: class_bytes(class) })
    }
}

impl<VM: VMBinding> Mutator<VM> {
    /// What the barrier tests; `None` if the plan has no barrier. The slow path is [`Mutator::remember`], and
    /// before a copy of references [`Mutator::array_copy_barrier`].
    pub fn barrier_test(&self) -> Option<BarrierTest> {
        let states = self.states();
        self.heap().plan().info().ages().has_barrier().then(|| BarrierTest::new(states))
    }
}
