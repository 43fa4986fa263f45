//! The parts of ranges that threads left when they detached: other threads allocate there.
//!
//! A thread takes a whole block at a time, and only the next collection would find what the thread did not
//! use. Without this file each thread would cost the heap a block, however little it allocates and however
//! short its life is.
//!
//! 1. A thread that detaches leaves its ranges as they are: zeroed up to the limit, and counted as allocated
//!    up to there.
//! 2. A space that needs memory for a thread asks for a range that was left before it takes a block.
//! 3. The leader of a pause takes the ranges that are still listed, and gives them up like the ranges of
//!    attached threads.
//!
//! I1. A range is listed here or belongs to one thread. The lock hands it over, with all that its last owner
//!     wrote.
//! Callers: mutators in the slow path of allocation; threads that detach, under the safepoint's lock;
//! leaders. No other lock is taken under this one.

use super::bump::{BumpRange, CellRange};
use crate::address::Address;
use crate::metadata::SIZE_CLASSES;
use protocols::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A shorter range is lost: to fetch it would take longer than to allocate in it.
const LEAST_BYTES: usize = 128;
/// Ranges are listed by the logarithm of their length, those of 128 to 255 bytes first. The last list has
/// those of 32 KiB and more.
const LENGTHS: usize = 9;

/// The cells of one thread or of one space, by size class.
type Cells = [Vec<CellRange>; SIZE_CLASSES];

/// What is listed.
pub(super) struct Lists {
    bump: [Vec<BumpRange>; LENGTHS],
    cells: Cells,
    nonmoving: Cells,
}

impl Default for Lists {
    fn default() -> Self {
        let cells = || std::array::from_fn(|_| Vec::new());
        Lists { bump: std::array::from_fn(|_| Vec::new()), cells: cells(), nonmoving: cells() }
    }
}

/// Which cells of a thread: the plan's own, or those of the space for objects that must not move.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum CellsOf {
    /// Those for ordinary objects, in plans that allocate cells.
    Plan,
    /// Those for objects that must not move.
    NonMoving,
}

/// The ranges that threads have left since the last pause.
#[derive(Default)]
pub(crate) struct Leftovers {
    /// How many are listed. Written under the lock; read without it, so that a thread asks only where it is
    /// worth it.
    listed: AtomicUsize,
    lists: Mutex<Lists>,
    /// What the last pause emptied, to take the place of the others in the next.
    empty: Mutex<Lists>,
}

impl Leftovers {
    /// A thread detaches: takes over what is worth it of its ranges, and of its cells by class, the plan's
    /// own and those for objects that must not move. Every object in them was whole granules of `granule`
    /// bytes.
    pub fn keep(
        &self,
        ranges: [&mut BumpRange; 2],
        cells: &mut [CellRange],
        nonmoving: Option<&mut [CellRange]>,
        granule: usize,
    ) {
        let mut lists = self.lists.lock();
        let mut kept = 0;
        for range in ranges {
            // A thread whose sizes were wrong is told so in a pause; nobody is to take over its range.
            if range.bytes_left() >= LEAST_BYTES && range.cursor().is_aligned_to(granule) {
                lists.bump[length_at_most(range.bytes_left())].push(std::mem::take(range));
                kept += 1;
            }
        }
        let mut keep_cells = |lists: &mut Cells, cells: &mut [CellRange]| {
            for (class, cell) in cells.iter_mut().enumerate().filter(|(_, cell)| cell.block.is_some()) {
                lists[class].push(std::mem::take(cell));
                kept += 1;
            }
        };
        keep_cells(&mut lists.cells, cells);
        if let Some(cells) = nonmoving {
            keep_cells(&mut lists.nonmoving, cells);
        }
        self.listed.fetch_add(kept, Relaxed);
    }

    /// A range of at least `bytes` bytes: one of the shortest, so that long ones are left to larger objects.
    pub(super) fn take_bump(&self, bytes: usize) -> Option<BumpRange> {
        self.take(|lists| lists.bump[length_at_least(bytes)..].iter_mut().find_map(Vec::pop))
    }

    /// A range of at least `bytes` bytes that begins above `floor`: the lowest. Looks at all of them.
    pub(super) fn take_lowest_bump(&self, bytes: usize, floor: Address) -> Option<BumpRange> {
        self.take(|lists| {
            let ranges = lists.bump.iter().enumerate();
            let ranges =
                ranges.flat_map(|(length, list)| list.iter().enumerate().map(move |(at, range)| (range, length, at)));
            let fitting = ranges.filter(|(range, ..)| range.bytes_left() >= bytes && range.cursor() > floor);
            let (_, length, at) = fitting.min_by_key(|(range, ..)| range.cursor())?;
            Some(lists.bump[length].swap_remove(at))
        })
    }

    /// A block of cells of this class.
    pub(super) fn take_cells(&self, of: CellsOf, class: usize) -> Option<CellRange> {
        self.take(|lists| match of {
            CellsOf::Plan => lists.cells[class].pop(),
            CellsOf::NonMoving => lists.nonmoving[class].pop(),
        })
    }

    fn take<R>(&self, from: impl FnOnce(&mut Lists) -> Option<R>) -> Option<R> {
        if self.listed.load(Relaxed) == 0 {
            return None;
        }
        let taken = from(&mut self.lists.lock());
        self.listed.fetch_sub(usize::from(taken.is_some()), Relaxed);
        taken
    }

    /// In a pause, by its leader: everything, if there is anything. [`Leftovers::keep_empty`] is to follow.
    pub(super) fn take_all(&self) -> Option<Lists> {
        let empty = |any: bool| any.then(|| std::mem::take(&mut *self.empty.lock()));
        empty(self.listed.swap(0, Relaxed) > 0).map(|empty| std::mem::replace(&mut *self.lists.lock(), empty))
    }

    /// The lists are empty, and are used again by the next pause, which gives no memory back to `malloc`.
    pub(super) fn keep_empty(&self, lists: Lists) {
        *self.empty.lock() = lists;
    }
}

impl Lists {
    /// Fills these with ranges and cells that are listed, one each; whether there was any.
    pub(super) fn fill<'a>(
        &mut self,
        ranges: [&mut BumpRange; 2],
        cells: impl Iterator<Item = &'a mut CellRange>,
        nonmoving: impl Iterator<Item = &'a mut CellRange>,
    ) -> bool {
        let mut any = false;
        for range in ranges {
            if let Some(left) = self.bump.iter_mut().find_map(Vec::pop) {
                (*range, any) = (left, true);
            }
        }
        for (list, cell) in self.cells.iter_mut().zip(cells).chain(self.nonmoving.iter_mut().zip(nonmoving)) {
            if let Some(left) = list.pop() {
                (*cell, any) = (left, true);
            }
        }
        any
    }
}

/// The list for a range of `bytes` bytes, at least `LEAST_BYTES`.
fn length_at_most(bytes: usize) -> usize {
    ((bytes / LEAST_BYTES).ilog2() as usize).min(LENGTHS - 1)
}

/// The first list whose ranges all have at least `bytes` bytes; none beyond the last.
fn length_at_least(bytes: usize) -> usize {
    let length = bytes.div_ceil(LEAST_BYTES).next_power_of_two().ilog2() as usize;
    length.min(LENGTHS)
}

#[cfg(test)]
mod tests {
    use super::super::allocators::Allocators;
    use super::super::bump::no_cells;
    use super::*;
    use crate::memory::{Block, FreeMemory};
    use crate::os::Pages;
    use allocator_api2::boxed::Box;

    fn range(start: usize, bytes: usize) -> BumpRange {
        let mut range = BumpRange::default();
        let memory = Address::from_usize(start)..Address::from_usize(start + bytes);
        range.install(FreeMemory::for_test(memory, false), &mut 0);
        range
    }

    fn keep(leftovers: &Leftovers, mut allocators: Allocators, granule: usize) {
        allocators.leave(leftovers, granule);
    }

    fn left(bump: BumpRange, overflow: BumpRange) -> Allocators {
        Allocators { bump, overflow, ..Allocators::default() }
    }

    #[test]
    fn a_range_that_fits_is_found_and_the_shortest_first() {
        let leftovers = Leftovers::default();
        keep(&leftovers, left(range(0x8000, 0x8000), range(0x10000, 300)), 8);
        keep(&leftovers, left(range(0x18000, 127), range(0x20000, 4096)), 8);
        let take = |bytes| leftovers.take_bump(bytes).map(|range| range.cursor().as_usize());
        assert_eq!(take(8), Some(0x10000));
        assert_eq!(take(4096), Some(0x20000));
        assert_eq!(take(0x8001), None);
        assert_eq!(take(0x8000), Some(0x8000));
        assert_eq!((take(8), leftovers.listed.load(Relaxed)), (None, 0), "127 bytes are lost");
    }

    #[test]
    fn where_addresses_tell_an_order_the_lowest_range_above_is_found() {
        let leftovers = Leftovers::default();
        for start in [0x30000, 0x10000, 0x20000, 0x40000] {
            keep(&leftovers, left(range(start, 0x200), range(start + 0x1000, 0x80)), 8);
        }
        let take = |bytes, floor| {
            leftovers.take_lowest_bump(bytes, Address::from_usize(floor)).map(|range| range.cursor().as_usize())
        };
        assert_eq!(take(0x100, 0x10000), Some(0x20000));
        assert_eq!(take(0x100, 0x20000), Some(0x30000));
        assert_eq!(take(0x10, 0x30000), Some(0x31000));
        assert_eq!(take(0x201, 0), None);
        assert_eq!(take(0x100, 0), Some(0x10000));
        assert_eq!(take(0x100, 0x40000), None);
    }

    #[test]
    fn whatever_length_is_asked_for_what_is_found_has_it() {
        for bytes in [1, 127, 128, 129, 255, 256, 257, 8192, 8193, 32767, 32768, 32769, 1 << 20] {
            for length in [128, 200, 256, 8191, 8192, 16384, 32767, 32768, 65536] {
                let leftovers = Leftovers::default();
                keep(&leftovers, left(range(0x100000, length), BumpRange::default()), 8);
                let found = leftovers.take_bump(bytes);
                assert!(found.is_none() || length >= bytes, "{length} for {bytes}");
                assert!(found.is_some() || length < 2 * bytes || bytes > 32768, "{length} is enough for {bytes}");
            }
        }
    }

    #[test]
    fn a_range_inside_a_granule_is_not_handed_on() {
        let leftovers = Leftovers::default();
        keep(&leftovers, left(range(0x8008, 0x1000), BumpRange::default()), 16);
        assert!(leftovers.take_bump(16).is_none());
    }

    #[test]
    fn cells_are_kept_by_class_and_space_and_a_pause_gives_up_all_of_them() {
        let cell = |n: u32| CellRange { range: range(n as usize * 0x8000, 64), block: Some(Block(n)), next_cell: 3 };
        let leftovers = Leftovers::default();
        for n in 1..=3 {
            let mut allocators =
                Allocators { nonmoving: Some(Box::new_in(no_cells(), Pages)), ..Allocators::default() };
            allocators.cells[2] = cell(n);
            allocators.nonmoving.as_mut().unwrap()[2] = cell(10 + n);
            allocators.leave(&leftovers, 8);
            assert!(allocators.cells[2].block.is_none() && allocators.cells[2].range.bytes_left() == 0);
        }
        let block = |cells: Option<CellRange>| cells.map(|cells| cells.block.unwrap().0);
        assert_eq!(block(leftovers.take_cells(CellsOf::Plan, 3)), None);
        assert_eq!(block(leftovers.take_cells(CellsOf::Plan, 2)), Some(3));
        assert_eq!(block(leftovers.take_cells(CellsOf::NonMoving, 2)), Some(13));
        let mut given_up = Vec::new();
        Allocators::give_up(&leftovers, |allocators| {
            let nonmoving = allocators.nonmoving.iter().flat_map(|cells| cells.iter());
            given_up
                .extend(allocators.cells.iter().chain(nonmoving).filter_map(|cell| cell.block).map(|block| block.0));
            allocators.clear();
        });
        given_up.sort_unstable();
        assert_eq!(given_up, [1, 2, 11, 12]);
        assert!(leftovers.take_cells(CellsOf::Plan, 2).is_none());
    }
}
