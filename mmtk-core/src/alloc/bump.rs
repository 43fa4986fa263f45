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
//! I3. `Allocators::fast_cells` is the distance of `cells` or of `no_cells` from `cells`. Only `close` and
//!     `open` write it.

use super::leftovers::{CellsOf, Leftovers};
use crate::address::{Address, ObjectReference};
use crate::binding::{StateLocation, VMBinding};
use crate::memory::Block;
use crate::metadata::{MAX_CELL_BYTES, ObjectStates, SIZE_CLASSES, class_bytes, class_of};
use crate::os;
use std::fmt;
use std::sync::Arc;

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
        // SAFETY: the range is ours (I1) and committed; it holds nothing.
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

    /// The next allocation is to come to the slow path. What the limit moves back by is not counted in
    /// `allocated` any more.
    fn hold(&mut self, allocated: &mut usize) {
        // What the heap's statistics have got of it already is counted twice.
        *allocated = allocated.saturating_sub(self.limit.bytes_from(self.cursor));
        self.limit = self.cursor;
    }

    /// Replaces the range. `zeroed` says that it reads as zero. The caller owns `[start, end)` (I1) and gives
    /// it to this thread.
    pub fn install(&mut self, start: Address, end: Address, zeroed: bool, allocated: &mut usize) {
        debug_assert!(start <= end);
        self.cursor = start;
        self.end = end;
        self.limit = if zeroed { end } else { start };
        *allocated += self.limit.bytes_from(start);
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
    /// Copies the object here, gives the copy the state `state` and publishes its new place.
    /// The caller has claimed the object and found `seen`.
    #[inline(always)]
    pub fn copy<VM: VMBinding>(
        self,
        states: &ObjectStates<VM>,
        from: ObjectReference,
        seen: u64,
        state: u8,
    ) -> ObjectReference {
        // A first word that holds the state is written once, below: to read it back from the copy, or
        // together with its neighbour from the source, would wait for the store that claimed it.
        let first = if VM::STATE == StateLocation::HeaderTopByte(0) { 8 } else { 0 };
        // SAFETY: the source is a whole object of this size whose bytes do not change while it is claimed
        // (forwarding I1); the target belongs to this worker (I1 above) and overlaps no object.
        unsafe { os::copy_words(from.address().plus(first), self.at.plus(first), (self.bytes - first) / 8) };
        let to = ObjectReference::from_address(self.at).expect("a copy is never made at address zero");
        states.begin_copy(to, seen, state);
        states.publish(from, to);
        to
    }
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

/// Where the cells of a closed thread are, in bytes from those of an open one.
const NO_CELLS_FROM_CELLS: usize = std::mem::offset_of!(Allocators, no_cells) - std::mem::offset_of!(Allocators, cells);

/// What a thread needs to allocate: a mutator for new objects, a worker for copies.
#[repr(C)]
pub struct Allocators {
    /// Ordinary objects of plans that bump.
    pub bump: BumpRange,
    /// Bytes from `cells` to the cells of the fast path: those themselves, and `no_cells` in a native region
    /// (I3).
    pub(super) fast_cells: usize,
    /// In a native region: the limit of `bump`, which is then none. Zero elsewhere, and once a pause took the
    /// range.
    pub(super) closed_limit: Address,
    /// Size classes of plans that allocate cells: empty otherwise, so that one test serves both.
    pub cells: [CellRange; SIZE_CLASSES],
    /// Cells that are never filled. Of each thread, so that what the fast path reads is never shared.
    pub(super) no_cells: [CellRange; SIZE_CLASSES],
    /// Objects that do not fit the hole at hand, if they are of `overflow_from` bytes at least.
    pub overflow: BumpRange,
    /// Smaller objects look for another hole.
    pub overflow_from: usize,
    /// Where holes are looked for.
    pub hole: HoleCursor,
    /// Where holes are looked for that fit what `overflow` could not.
    pub overflow_hole: HoleCursor,
    /// Size classes for objects that must not move, in plans whose ordinary objects do.
    pub nonmoving: Option<Box<[CellRange; SIZE_CLASSES]>>,
    /// Parts of the large object just allocated that are yet to be zeroed: start and bytes.
    pub(super) unzeroed: Vec<(Address, usize)>,
    /// Bytes handed to the fast path since they were last collected into the heap's statistics.
    pub allocated: usize,
    /// How far to prepare memory ahead.
    pub pace: Pace,
    /// Of a mutator: what other threads left.
    pub(super) leftovers: Option<Arc<Leftovers>>,
}

/// The cells of a thread, and what it takes to allocate in them.
pub struct ThreadCells<'a> {
    /// By size class.
    pub cells: &'a mut [CellRange],
    /// How far to prepare memory ahead.
    pub pace: Pace,
    /// Bytes handed to the fast path.
    pub allocated: &'a mut usize,
    leftovers: Option<&'a Leftovers>,
    of: CellsOf,
}

impl ThreadCells<'_> {
    /// Cells of this class that another thread left when it detached: the run at hand and the block it lies
    /// in. To be asked before a block is taken.
    pub fn left_by_another(&self, class: usize) -> Option<CellRange> {
        self.leftovers?.take_cells(self.of, class)
    }
}

impl fmt::Debug for Allocators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Allocators { bump, overflow, allocated, pace, .. } = self;
        f.debug_struct("Allocators")
            .field("bump", bump)
            .field("overflow", overflow)
            .field("allocated", allocated)
            .field("pace", pace)
            .finish_non_exhaustive()
    }
}

impl Default for Allocators {
    fn default() -> Self {
        Allocators {
            bump: BumpRange::default(),
            fast_cells: 0,
            closed_limit: Address::default(),
            cells: no_cells(),
            no_cells: no_cells(),
            overflow: BumpRange::default(),
            overflow_from: usize::MAX,
            hole: HoleCursor::default(),
            overflow_hole: HoleCursor::default(),
            nonmoving: None,
            unzeroed: Vec::new(),
            allocated: 0,
            pace: Pace { step: ZERO_STEP, clip: false },
            leftovers: None,
        }
    }
}

impl Allocators {
    /// The fast path finds nothing from now on: the mutator enters a native region, where an object that it
    /// allocates would not be there for a pause.
    #[inline]
    pub(super) fn close(&mut self) {
        self.closed_limit = std::mem::replace(&mut self.bump.limit, self.bump.cursor);
        self.fast_cells = NO_CELLS_FROM_CELLS;
    }

    /// The fast path finds what was there before [`Allocators::close`], unless a pause took it. Without a
    /// `close` it does nothing.
    #[inline]
    pub(crate) fn open(&mut self) {
        self.bump.limit = self.bump.limit.max(std::mem::take(&mut self.closed_limit));
        self.fast_cells = 0;
    }

    /// The cells that the fast path allocates in. `class` is that of a size.
    #[inline(always)]
    pub(super) fn fast_cells(&mut self, class: usize) -> &mut CellRange {
        debug_assert!(class < SIZE_CLASSES);
        // SAFETY: `fast_cells` leads to an array of this struct (I3), and there is a class of this number in
        // both.
        unsafe {
            let cells = std::ptr::from_mut(self).byte_add(std::mem::offset_of!(Allocators, cells) + self.fast_cells);
            &mut *cells.cast::<CellRange>().add(class)
        }
    }

    /// Forgets all ranges; what they held is found again by the sweep.
    pub fn clear(&mut self) {
        self.closed_limit = Address::default();
        debug_assert!(self.unzeroed.is_empty(), "a large object was not zeroed before the next safepoint");
        self.bump.clear();
        self.overflow.clear();
        self.hole = HoleCursor::default();
        self.overflow_hole = HoleCursor::default();
        for cell in &mut self.cells {
            *cell = CellRange::default();
        }
        if let Some(cells) = &mut self.nonmoving {
            for cell in cells.iter_mut() {
                *cell = CellRange::default();
            }
        }
    }

    /// The thread is to come to the slow path at its next allocation.
    pub(crate) fn hold(&mut self) {
        let Allocators { bump, overflow, cells, allocated, .. } = self;
        let cells = cells.iter_mut().map(|cell| &mut cell.range);
        [bump, overflow].into_iter().chain(cells).for_each(|range| range.hold(allocated));
    }

    /// The plan is about to hand out memory of which these parts, start and bytes, are not zeroed yet; the
    /// thread owns them (I1). The thread that leads a pause allocates inside it, and zeroing megabytes there
    /// would make the others wait.
    pub fn zero_later(&mut self, parts: Vec<(Address, usize)>) {
        debug_assert!(self.unzeroed.is_empty());
        self.unzeroed = parts;
    }

    /// Zeroes what the plan left. Called before the object is the mutator's, when no pause of its own is in
    /// progress.
    pub(crate) fn zero_rest(&mut self) {
        for (start, bytes) in self.unzeroed.drain(..) {
            // SAFETY: committed memory of this thread alone (I1).
            unsafe { os::zero(start, bytes) };
        }
    }

    /// Those of a mutator, which goes on in what others leave.
    pub(crate) fn of_mutator(leftovers: Arc<Leftovers>) -> Self {
        Allocators { leftovers: Some(leftovers), ..Allocators::default() }
    }

    /// The cells for ordinary objects, in plans that allocate cells.
    pub fn plan_cells(&mut self) -> ThreadCells<'_> {
        let Allocators { cells, pace, allocated, leftovers, .. } = self;
        ThreadCells { cells, pace: *pace, allocated, leftovers: leftovers.as_deref(), of: CellsOf::Plan }
    }

    /// The cells for objects that must not move.
    pub fn nonmoving_cells(&mut self) -> ThreadCells<'_> {
        let Allocators { nonmoving, pace, allocated, leftovers, .. } = self;
        let cells = nonmoving.get_or_insert_with(|| Box::new(no_cells())).as_mut_slice();
        ThreadCells { cells, pace: *pace, allocated, leftovers: leftovers.as_deref(), of: CellsOf::NonMoving }
    }

    /// Goes on in a range that another thread left when it detached, if there is one for an object of `bytes`
    /// bytes. To be asked before memory is taken for `bump`; it is the plan's own, whatever range it was.
    pub fn bump_in_leftovers(&mut self, bytes: usize) -> Option<Address> {
        self.bump = self.leftovers.as_ref()?.take_bump(bytes)?;
        self.bump_or_zero(bytes)
    }

    /// As [`Allocators::bump_in_leftovers`], but only upwards from where the thread is, in spaces in which
    /// addresses tell the order of allocation.
    pub fn bump_upwards_in_leftovers(&mut self, bytes: usize) -> Option<Address> {
        self.bump = self.leftovers.as_ref()?.take_lowest_bump(bytes, self.bump.cursor())?;
        self.bump_or_zero(bytes)
    }

    /// As [`Allocators::bump_in_leftovers`], for the overflow range; `from` bytes are the least that are to
    /// be taken from it.
    pub fn overflow_in_leftovers(&mut self, bytes: usize, from: usize) -> Option<Address> {
        self.overflow = self.leftovers.as_ref()?.take_bump(bytes)?;
        self.overflow_from = from;
        self.overflow_or_zero(bytes)
    }

    /// Installs a range for ordinary objects and allocates the first of them.
    pub fn refill_bump(&mut self, start: Address, end: Address, zeroed: bool, bytes: usize) -> Option<Address> {
        self.bump.install(start, end, zeroed, &mut self.allocated);
        self.bump_or_zero(bytes)
    }

    /// As [`Allocators::refill_bump`], for the overflow range; `from` bytes are the least that are to be
    /// taken from it.
    pub fn refill_overflow(
        &mut self,
        start: Address,
        end: Address,
        zeroed: bool,
        bytes: usize,
        from: usize,
    ) -> Option<Address> {
        self.overflow_from = from;
        self.overflow.install(start, end, zeroed, &mut self.allocated);
        self.overflow_or_zero(bytes)
    }

    /// Allocates from a range at hand that reaches further than it is zeroed.
    pub(crate) fn extend(&mut self, bytes: usize) -> Option<Address> {
        if let Some(address) = self.bump_or_zero(bytes) {
            return Some(address);
        }
        if bytes >= self.overflow_from {
            return self.overflow_or_zero(bytes);
        }
        let class = (bytes <= MAX_CELL_BYTES).then(|| class_of(bytes))?;
        self.cells[class].range.alloc_zeroing(class_bytes(class), self.pace, &mut self.allocated)
    }

    /// Allocates from the overflow range, zeroing ahead.
    pub fn overflow_or_zero(&mut self, bytes: usize) -> Option<Address> {
        self.overflow.alloc_zeroing(bytes, self.pace, &mut self.allocated)
    }

    /// Allocates from the bump range, zeroing ahead.
    pub fn bump_or_zero(&mut self, bytes: usize) -> Option<Address> {
        self.bump.alloc_zeroing(bytes, self.pace, &mut self.allocated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_wraps_round_the_address_space_is_refused() {
        let mut range = BumpRange::default();
        let (start, end) = (Address::from_usize(0x1000), Address::from_usize(0x2000));
        range.install(start, end, true, &mut 0);
        assert_eq!(range.alloc(usize::MAX & !7), None);
        assert_eq!(range.alloc(0x1000), Some(start));
        assert_eq!(range.alloc(8), None);
    }

    #[test]
    fn a_range_that_is_held_goes_on_in_the_slow_path_where_it_was() {
        let mut memory = vec![1u64; 4096];
        let start = Address::from_ptr(memory.as_mut_ptr()).align_up(ZERO_STEP);
        let mut allocators = Allocators::default();
        allocators.refill_bump(start, start.plus(2 * ZERO_STEP), false, 64);
        let allocated = allocators.allocated;
        allocators.hold();
        assert_eq!((allocators.bump.alloc(8), allocators.allocated), (None, 64));
        assert_eq!(allocators.extend(8), Some(start.plus(64)));
        assert_eq!((allocators.bump.alloc(8), allocators.allocated), (Some(start.plus(72)), allocated));
    }

    #[test]
    fn closed_ranges_give_nothing_and_come_back_unless_a_pause_took_them() {
        let at = Address::from_usize;
        let mut allocators = Allocators::default();
        let class = class_of(64);
        let fast =
            |allocators: &mut Allocators| (allocators.bump.alloc(64), allocators.fast_cells(class).range.alloc(64));
        allocators.bump.install(at(0x1000), at(0x2000), true, &mut 0);
        allocators.cells[class].range.install(at(0x8000), at(0x9000), true, &mut 0);
        allocators.close();
        assert_eq!(fast(&mut allocators), (None, None));
        allocators.open();
        assert_eq!(fast(&mut allocators), (Some(at(0x1000)), Some(at(0x8000))));
        allocators.close();
        assert_eq!(allocators.bump.bytes_left(), 0x2000 - 0x1040, "a pause retires what is left");
        allocators.clear();
        allocators.open();
        assert_eq!(fast(&mut allocators), (None, None));
    }

    #[test]
    fn what_fits_no_hole_goes_on_in_the_overflow_range_and_small_objects_do_not() {
        let mut memory = vec![1u64; 4096];
        let start = Address::from_ptr(memory.as_mut_ptr()).align_up(ZERO_STEP);
        let end = start.plus(2 * ZERO_STEP);
        let mut allocators = Allocators::default();
        assert_eq!(allocators.refill_overflow(start, end, false, 512, 257), Some(start));
        assert_eq!(allocators.extend(256), None, "it is to look for another hole");
        let next = allocators.extend(264);
        assert_eq!(next, Some(start.plus(512)));
        // SAFETY: inside the vector, which is this test's alone.
        assert_eq!(unsafe { start.plus(512).load::<u64>() }, 0);
        assert_eq!(allocators.extend(2 * ZERO_STEP), None, "there is not so much left");
    }
}
