//! What a thread allocates from: its ranges, its cells, and the holes that it looks through.
//!
//! I1. `fast_cells` is an offset from `cells`: to `cells` itself, or to `no_cells`. Only `close` and `open`
//!     write it.
//! I2. Memory that is not zeroed yet is committed, and belongs to this thread alone.

use super::bump::{BumpRange, CellRange, HoleCursor, Pace, ZERO_STEP, no_cells};
use super::leftovers::{CellsOf, Leftovers};
use crate::address::Address;
use crate::memory::FreeMemory;
use crate::metadata::{MAX_CELL_BYTES, SIZE_CLASSES, class_bytes, class_of};
use crate::os::{self, PageVec, Pages};
use allocator_api2::boxed::Box;
use std::fmt;
use std::mem::offset_of;
use std::sync::Arc;

/// Where the cells of a closed thread are, in bytes from those of an open one.
const NO_CELLS_FROM_CELLS: usize = offset_of!(Allocators, no_cells) - offset_of!(Allocators, cells);

/// What a thread needs to allocate: a mutator for new objects, a worker for copies.
#[repr(C)]
pub struct Allocators {
    /// Ordinary objects of plans that bump.
    pub bump: BumpRange,
    /// Bytes from `cells` to the cells of the fast path: those themselves, and `no_cells` in a native region
    /// (I1).
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
    pub nonmoving: Option<Box<[CellRange; SIZE_CLASSES], Pages>>,
    /// Parts of the large object just allocated that are yet to be zeroed: start and bytes.
    pub(super) unzeroed: PageVec<(Address, usize)>,
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
            unzeroed: PageVec::new(),
            allocated: 0,
            pace: Pace { step: ZERO_STEP, clip: false },
            leftovers: None,
        }
    }
}

impl Allocators {
    /// Offset of the bump cursor, a word.
    pub(crate) const CURSOR_OFFSET: usize = offset_of!(Allocators, bump) + BumpRange::CURSOR_OFFSET;
    /// Offset of its limit, a word.
    pub(crate) const LIMIT_OFFSET: usize = offset_of!(Allocators, bump) + BumpRange::LIMIT_OFFSET;
    /// Offset of the word that is added to offsets of cells of the fast path.
    pub(crate) const FAST_CELLS_OFFSET: usize = offset_of!(Allocators, fast_cells);

    /// Offsets of cursor and limit of the cells of a class.
    pub(crate) fn cell_offsets(class: usize) -> [usize; 2] {
        assert!(class < SIZE_CLASSES);
        let range = offset_of!(Allocators, cells) + class * size_of::<CellRange>() + offset_of!(CellRange, range);
        [BumpRange::CURSOR_OFFSET, BumpRange::LIMIT_OFFSET].map(|offset| range + offset)
    }

    /// The thread detaches: others go on in its ranges, as far as they are worth it. Every object in them was
    /// whole granules of `granule` bytes.
    pub(crate) fn leave(&mut self, leftovers: &Leftovers, granule: usize) {
        let Allocators { bump, overflow, cells, nonmoving, .. } = self;
        leftovers.keep([bump, overflow], cells, nonmoving.as_deref_mut().map(|cells| &mut cells[..]), granule);
    }

    /// In a pause, by its leader: `give_up` gets everything that was left, as the allocators of as many
    /// threads as it takes.
    pub(crate) fn give_up(leftovers: &Leftovers, mut give_up: impl FnMut(&mut Allocators)) {
        let Some(mut lists) = leftovers.take_all() else { return };
        let mut allocators = Allocators { nonmoving: Some(Box::new_in(no_cells(), Pages)), ..Allocators::default() };
        loop {
            let Allocators { bump, overflow, cells, nonmoving, .. } = &mut allocators;
            let nonmoving = nonmoving.iter_mut().flat_map(|cells| cells.iter_mut());
            if !lists.fill([bump, overflow], cells.iter_mut(), nonmoving) {
                return leftovers.keep_empty(lists);
            }
            give_up(&mut allocators);
        }
    }

    /// The fast path finds nothing from now on: the mutator enters a native region, where an object that it
    /// allocates would not be there for a pause.
    #[inline]
    pub(super) fn close(&mut self) {
        self.closed_limit = self.bump.close();
        self.fast_cells = NO_CELLS_FROM_CELLS;
    }

    /// The fast path finds what was there before [`Allocators::close`], unless a pause took it. Without a
    /// `close` it does nothing.
    #[inline]
    pub(crate) fn open(&mut self) {
        self.bump.open(std::mem::take(&mut self.closed_limit));
        self.fast_cells = 0;
    }

    /// The cells that the fast path allocates in. `class` is that of a size.
    #[inline(always)]
    pub(super) fn fast_cells(&mut self, class: usize) -> &mut CellRange {
        debug_assert!(class < SIZE_CLASSES);
        // SAFETY: `fast_cells` leads to an array of this struct (I1), and there is a class of this number in
        // both.
        unsafe {
            let cells = std::ptr::from_mut(self).byte_add(offset_of!(Allocators, cells) + self.fast_cells);
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

    /// The plan is about to hand out memory of which these parts are not zeroed yet; the thread owns them
    /// (I2). The thread that leads a pause allocates inside it, and zeroing megabytes there would make the
    /// others wait.
    pub fn zero_later<'a>(&mut self, parts: impl IntoIterator<Item = FreeMemory<'a>>) {
        debug_assert!(self.unzeroed.is_empty());
        self.unzeroed.extend(parts.into_iter().map(|part| (part.start(), part.bytes())));
    }

    /// Zeroes what the plan left. Called before the object is the mutator's, when no pause of its own is in
    /// progress.
    pub(crate) fn zero_rest(&mut self) {
        for (start, bytes) in self.unzeroed.drain(..) {
            // SAFETY: committed memory of this thread alone (I2).
            unsafe { os::zero(start, bytes) };
        }
    }

    /// Those of a mutator, which goes on in what others leave.
    pub(crate) fn of_mutator(leftovers: Arc<Leftovers>) -> Self {
        Allocators { leftovers: Some(leftovers), ..Allocators::default() }
    }

    /// The thread's cells for these objects.
    pub fn cells_of(&mut self, of: CellsOf) -> ThreadCells<'_> {
        let Allocators { cells, nonmoving, pace, allocated, leftovers, .. } = self;
        let cells = match of {
            CellsOf::Plan => cells,
            CellsOf::NonMoving => nonmoving.get_or_insert_with(|| Box::new_in(no_cells(), Pages)).as_mut_slice(),
        };
        ThreadCells { cells, pace: *pace, allocated, leftovers: leftovers.as_deref(), of }
    }

    /// The same as far as they were ever used.
    pub fn used_cells_of(&mut self, of: CellsOf) -> &mut [CellRange] {
        match (of, &mut self.nonmoving) {
            (CellsOf::Plan, _) => &mut self.cells,
            (CellsOf::NonMoving, Some(cells)) => &mut cells[..],
            (CellsOf::NonMoving, None) => &mut [],
        }
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
    pub fn refill_bump(&mut self, memory: FreeMemory<'_>, bytes: usize) -> Option<Address> {
        self.bump.install(memory, &mut self.allocated);
        self.bump_or_zero(bytes)
    }

    /// As [`Allocators::refill_bump`], for the overflow range; `from` bytes are the least that are to be
    /// taken from it.
    pub fn refill_overflow(&mut self, memory: FreeMemory<'_>, bytes: usize, from: usize) -> Option<Address> {
        self.overflow_from = from;
        self.overflow.install(memory, &mut self.allocated);
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
    fn a_range_that_is_held_goes_on_in_the_slow_path_where_it_was() {
        let mut memory = vec![1u64; 4096];
        let start = Address::from_ptr(memory.as_mut_ptr()).align_up(ZERO_STEP);
        let mut allocators = Allocators::default();
        allocators.refill_bump(FreeMemory::for_test(start..start.plus(2 * ZERO_STEP), false), 64);
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
        let memory = |start, end| FreeMemory::for_test(at(start)..at(end), true);
        allocators.bump.install(memory(0x1000, 0x2000), &mut 0);
        allocators.cells[class].range.install(memory(0x8000, 0x9000), &mut 0);
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
        assert_eq!(allocators.refill_overflow(FreeMemory::for_test(start..end, false), 512, 257), Some(start));
        assert_eq!(allocators.extend(256), None, "it is to look for another hole");
        let next = allocators.extend(264);
        assert_eq!(next, Some(start.plus(512)));
        // SAFETY: inside the vector, which is this test's alone.
        assert_eq!(unsafe { start.plus(512).load::<u64>() }, 0);
        assert_eq!(allocators.extend(2 * ZERO_STEP), None, "there is not so much left");
    }
}
