//! Cells: a block cut into equal pieces, with a mark bit each.
//!
//! ```text
//! block of 32 KiB:  [ one mark bit a cell, rounded up to 16 bytes ][ cell 0 ][ cell 1 ] ... [ rest ]
//! ```
//! The mark bits sit in the block itself, so a space pays for the cells that it has, not for a table that
//! would fit the smallest cells everywhere. They say what is live as long as the block's state is the current
//! epoch (see `mark_bits`). So sweeping writes nothing: an allocator that takes a block reads the marks
//! sixty-four at a time and bumps through the runs of free cells.
//!
//! I1. The class of a block is set while its new owner is alone with it, and stays until the block is free
//!     again.
//! I2. Every trace marks in each live block, and the other blocks become free. So no block keeps a state
//!     until the number of its epoch is used again.
//! Why bits: a byte for each cell needs no locked instruction, but took 4 % of a heap of 24-byte cells and
//! made the smallest heaps 2 % larger than necessary.

use crate::address::{Address, ObjectReference};
use crate::memory::{BLOCK_BYTES, Block, Borrowed, BytePer, Extent, LOG_BLOCK_BYTES, Memory, Owned};
use protocols::mark_bits;
use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Acquire, Ordering::Relaxed};

/// One size class.
#[derive(Copy, Clone, Debug)]
pub struct CellClass {
    /// Bytes of a cell.
    pub bytes: u32,
    /// Cells of a block.
    pub cells: u32,
    /// Offset of the first cell in the block.
    first: u32,
    /// 2^32 / bytes, rounded up: multiplying and shifting divides an offset below 2^15 exactly.
    reciprocal: u32,
}

impl CellClass {
    const fn new(bytes: u32) -> CellClass {
        let block = BLOCK_BYTES as u32;
        let mut cells = block / bytes;
        while mark_bytes(cells) + cells * bytes > block {
            cells -= 1;
        }
        let first = mark_bytes(cells);
        CellClass { bytes, cells, first, reciprocal: ((1u64 << 32).div_ceil(bytes as u64)) as u32 }
    }
}

/// Bytes that the marks of `cells` take at the start of a block: the first cell keeps an alignment of 16.
const fn mark_bytes(cells: u32) -> u32 {
    cells.div_ceil(128) * 16
}

/// How many size classes there are.
pub const SIZE_CLASSES: usize = CLASSES.len();
/// The largest cell; larger objects are large objects.
pub const MAX_CELL_BYTES: usize = CLASSES[SIZE_CLASSES - 1].bytes as usize;

/// Every multiple of 8 to 128, of 16 to 256, of 32 to 512; then sizes of which a whole number fills the
/// block, so that an object wastes an eighth of its cell at most. From 128 on all are multiples of 16, so a
/// binding whose granule is 16 gets aligned cells.
const CLASSES: [CellClass; 49] = {
    let mut classes = [CellClass::new(16); 49];
    let mut n = 0;
    let mut bytes = 16;
    while bytes <= 512 {
        classes[n] = CellClass::new(bytes);
        n += 1;
        bytes += if bytes < 128 {
            8
        } else if bytes < 256 {
            16
        } else {
            32
        };
    }
    let mut per_block = 56u32;
    while n < 49 {
        classes[n] = CellClass::new(((BLOCK_BYTES as u32 - mark_bytes(per_block)) / per_block) / 16 * 16);
        n += 1;
        per_block = if per_block > 8 { per_block * 8 / 9 } else { per_block - 1 };
    }
    classes
};

const CLASS_OF: [u8; MAX_CELL_BYTES / 8 + 1] = {
    let mut table = [0; MAX_CELL_BYTES / 8 + 1];
    let (mut words, mut class) = (0, 0);
    while words < table.len() {
        while (CLASSES[class].bytes as usize) < words * 8 {
            class += 1;
        }
        table[words] = class as u8;
        words += 1;
    }
    table
};

/// The class of cells that fit `bytes`, which is at most [`MAX_CELL_BYTES`].
#[inline(always)]
pub fn class_of(bytes: usize) -> usize {
    CLASS_OF[bytes.div_ceil(8)] as usize
}

const CLASSES_PADDED: [CellClass; 64] = {
    let mut padded = [CellClass::new(16); 64];
    let mut i = 0;
    while i < SIZE_CLASSES {
        padded[i] = CLASSES[i];
        i += 1;
    }
    padded
};

/// The class with this number.
#[inline(always)]
pub fn class(number: usize) -> &'static CellClass {
    // Padded to a power of two: the mask proves the bound, and no check is left in the marking loop.
    const { assert!(SIZE_CLASSES <= 64) };
    static TABLE: [CellClass; 64] = CLASSES_PADDED;
    &TABLE[number & 63]
}

/// The bytes of a cell of this class.
#[inline(always)]
pub fn class_bytes(number: usize) -> usize {
    class(number).bytes as usize
}

/// The block holds no cells.
pub const BLOCK_FREE: u8 = 0;
/// The state of a block that was taken since a collection, and no cell of it was ever marked: this, and the
/// epoch of that collection.
pub const BLOCK_NEW: u8 = 0x80;

/// The marks of the cells of one space.
#[derive(Copy, Clone)]
pub struct CellMarks<K = Owned> {
    extent: Extent,
    /// Class number of each block.
    classes: BytePer<LOG_BLOCK_BYTES, K>,
    /// A byte a block: `BLOCK_FREE`, `BLOCK_NEW` with an epoch, or the epoch in which a cell of it was last
    /// marked.
    states: BytePer<LOG_BLOCK_BYTES, K>,
}

/// One block with its class.
#[derive(Copy, Clone, Debug)]
pub struct BlockCells<'m> {
    /// Of a block of the extent.
    start: Address,
    class: &'static CellClass,
    /// The marks lie in the heap.
    memory: PhantomData<&'m Memory>,
}

impl CellMarks {
    /// Side-table bytes for each block.
    pub const TABLE_BYTES_PER_BLOCK: usize = 2;

    /// Makes the tables for the space's blocks.
    pub fn new(memory: &Arc<Memory>, extent: Extent) -> io::Result<CellMarks> {
        Ok(CellMarks {
            extent,
            classes: BytePer::of(memory.side_bytes(extent, LOG_BLOCK_BYTES)?),
            states: BytePer::of(memory.side_bytes(extent, LOG_BLOCK_BYTES)?),
        })
    }

    /// The tables, borrowed: for tracers.
    pub fn view(&self) -> CellMarks<Borrowed<'_>> {
        CellMarks { extent: self.extent, classes: self.classes.view(), states: self.states.view() }
    }
}

impl<K> CellMarks<K> {
    /// Whether the object lies in the space.
    #[inline(always)]
    pub fn holds(&self, object: ObjectReference) -> bool {
        self.classes.holds(object)
    }

    /// Where a block begins.
    fn start_of(&self, block: Block) -> Address {
        assert!(block.0 < self.extent.blocks(), "{block:?} of {}", self.extent.blocks());
        self.extent.block_start(block)
    }

    fn cells_at(&self, start: Address, class: &'static CellClass) -> BlockCells<'_> {
        BlockCells { start, class, memory: PhantomData }
    }

    /// Gives a block that the caller owns alone a class, with no cell marked (I1); taken since the collection
    /// of this epoch.
    pub fn format(&self, block: Block, class_number: usize, epoch: u8) -> BlockCells<'_> {
        let start = self.start_of(block);
        self.classes.at(start).store(class_number as u8, Relaxed);
        self.states.at(start).store(BLOCK_NEW | epoch, Relaxed);
        self.cells_at(start, class(class_number))
    }

    /// The block's state: `BLOCK_FREE`, `BLOCK_NEW` with an epoch, or the epoch in which a cell of it was
    /// last marked. Its owner, or the one worker that sweeps it, may set it free.
    pub fn state(&self, block: Block) -> &AtomicU8 {
        self.states.at(self.extent.block_start(block))
    }

    /// The block's class number.
    pub fn class_number(&self, block: Block) -> usize {
        self.classes.at(self.extent.block_start(block)).load(Relaxed) as usize
    }

    /// The block's cells.
    pub fn block(&self, block: Block) -> BlockCells<'_> {
        self.cells_at(self.start_of(block), class(self.class_number(block)))
    }

    /// The block around the object, and the number of its cell. Panics unless the object is in the space.
    #[inline(always)]
    fn locate(&self, object: ObjectReference) -> (BlockCells<'_>, u32) {
        let address = object.address();
        let start = address.align_down(BLOCK_BYTES);
        let class = class(self.classes.at(address).load(Relaxed) as usize);
        let cells = self.cells_at(start, class);
        (cells, cells.cell_of(address))
    }

    /// The state of the block around an object that `locate` has found.
    #[inline(always)]
    fn state_around(&self, object: ObjectReference) -> &AtomicU8 {
        // SAFETY: the table of classes has the same extent (`new`), and `locate` has asked it.
        unsafe { self.states.at_inside(object.address()) }
    }

    /// The address of the object's mark, for prefetching.
    #[inline(always)]
    pub fn mark_address(&self, object: ObjectReference) -> Address {
        let (cells, cell) = self.locate(object);
        cells.start.plus(cell as usize / 8)
    }

    /// Marks the object's cell; false if it was marked in this epoch. `alone` says that no other worker
    /// traces. `first` is called if it is the first mark of its block.
    #[inline(always)]
    pub fn mark(&self, object: ObjectReference, epoch: u8, alone: bool, first: impl FnOnce()) -> bool {
        let (cells, cell) = self.locate(object);
        mark_bits::begin(self.state_around(object), epoch, || {
            cells.clear_marks();
            first();
        });
        mark_bits::set(cells.mark_word(cell), 1 << (cell % 64), alone)
    }

    /// Takes the mark of the object's cell away; false if it was not marked in `epoch`. Call while no worker
    /// marks.
    pub fn unmark(&self, object: ObjectReference, epoch: u8) -> bool {
        let marked = self.is_marked(object, epoch);
        if marked {
            let (cells, cell) = self.locate(object);
            let word = cells.mark_word(cell);
            word.store(word.load(Relaxed) & !(1 << (cell % 64)), Relaxed);
        }
        marked
    }

    /// Whether the object's cell is marked in `epoch`.
    pub fn is_marked(&self, object: ObjectReference, epoch: u8) -> bool {
        let (cells, cell) = self.locate(object);
        // Acquire as in `mark_bits::begin`: a worker may ask while another clears.
        self.state_around(object).load(Acquire) == epoch && cells.mark_word(cell).load(Relaxed) >> (cell % 64) & 1 != 0
    }

    /// Where the cell begins in which an address lies. In a block that is not free; none before its first
    /// cell and behind its last.
    pub fn cell_around(&self, address: Address) -> Option<Address> {
        let cells = self.block(self.extent.block_of(address));
        let inside = address.bytes_from(cells.start) >= cells.class.first as usize;
        let cell = if inside { cells.cell_of(address) } else { return None };
        (cell < cells.class.cells).then(|| cells.cell_start(cell))
    }

    /// The cell the object should fill: where it begins, and its bytes.
    pub fn cell(&self, object: ObjectReference) -> (Address, usize) {
        let (cells, cell) = self.locate(object);
        (cells.cell_start(cell.min(cells.class.cells - 1)), cells.class.bytes as usize)
    }
}

impl BlockCells<'_> {
    /// The class.
    pub fn class(&self) -> &'static CellClass {
        self.class
    }

    #[inline(always)]
    fn cell_of(&self, address: Address) -> u32 {
        let offset = (address.bytes_from(self.start) as u32).wrapping_sub(self.class.first);
        ((u64::from(offset) * u64::from(self.class.reciprocal)) >> 32) as u32
    }

    #[inline(always)]
    fn mark_word(&self, cell: u32) -> &AtomicU64 {
        debug_assert!(cell < self.class.cells, "cell {cell} of {} in block {}", self.class.cells, self.start);
        // SAFETY: the mark bits of a formatted block are its first bytes, committed with the block, which
        // lies in the heap. An object of this space lies in a cell: that it begins there is what its
        // reference says (`ObjectReference`). So the number is in bounds.
        unsafe { self.start.plus(cell as usize / 64 * 8).as_atomic_u64() }
    }

    /// No cell is marked. For the worker that begins to mark in the block.
    fn clear_marks(&self) {
        for cell in (0..self.class.cells).step_by(64) {
            self.mark_word(cell).store(0, Relaxed);
        }
    }

    /// Where a cell begins.
    #[inline(always)]
    pub fn cell_start(&self, cell: u32) -> Address {
        self.start.plus((self.class.first + cell * self.class.bytes) as usize)
    }

    /// The bytes a run of cells covers.
    pub fn run(&self, cells: Range<u32>) -> Range<Address> {
        self.cell_start(cells.start)..self.cell_start(cells.end)
    }

    /// The next run of free cells at or after `from`. For blocks whose state is the current epoch, between
    /// pauses.
    pub fn next_free_run(&self, from: u32) -> Option<Range<u32>> {
        let start = self.find(from, false)?;
        let end = self.find(start + 1, true).unwrap_or(self.class.cells);
        Some(start..end)
    }

    /// Visits the objects whose cells are marked. For blocks whose state is the current epoch, when no worker
    /// marks.
    pub fn for_each_marked(&self, mut visit: impl FnMut(ObjectReference)) {
        let mut from = 0;
        while let Some(cell) = self.find(from, true) {
            // SAFETY: the object in it was marked, or taken, and the cell was not given to another since.
            let object = unsafe { ObjectReference::from_address(self.cell_start(cell)) };
            visit(object.expect("a cell does not begin at zero"));
            from = cell + 1;
        }
    }

    /// The first cell at or after `from` that is marked, or that is not.
    fn find(&self, from: u32, marked: bool) -> Option<u32> {
        let mut at = from & !63;
        let mut keep = u64::MAX << (from & 63);
        while at < self.class.cells {
            let word = self.mark_word(at).load(Relaxed);
            let hits = if marked { word } else { !word } & keep;
            if hits != 0 {
                let cell = at + hits.trailing_zeros();
                return (cell < self.class.cells).then_some(cell);
            }
            at += 64;
            keep = u64::MAX;
        }
        None
    }

    /// How many cells are marked. As [`BlockCells::next_free_run`].
    pub fn live_cells(&self) -> u32 {
        (0..self.class.cells).step_by(64).map(|cell| self.mark_word(cell).load(Relaxed).count_ones()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    #[test]
    fn every_size_has_the_smallest_class_that_fits() {
        for bytes in (8..=MAX_CELL_BYTES).step_by(8) {
            let n = class_of(bytes);
            assert!(class(n).bytes as usize >= bytes);
            assert!(n == 0 || (class(n - 1).bytes as usize) < bytes);
        }
        assert!(CLASSES.windows(2).all(|w| w[0].bytes < w[1].bytes));
        assert_eq!(class(class_of(24)).bytes, 24, "24-byte objects stay 24 bytes");
        assert_eq!(MAX_CELL_BYTES, 8176);
        assert!(CLASSES.iter().all(|c| c.bytes < 128 || c.bytes % 16 == 0), "a granule of 16 is kept");
    }

    #[test]
    fn the_reciprocal_divides_every_offset_exactly() {
        for class in CLASSES {
            for offset in 0..class.cells * class.bytes {
                assert_eq!((u64::from(offset) * u64::from(class.reciprocal)) >> 32, u64::from(offset / class.bytes));
            }
            assert!(class.cells <= class.first * 8 && class.first + class.cells * class.bytes <= BLOCK_BYTES as u32);
        }
    }

    #[test]
    fn runs_are_the_gaps_between_marks() {
        let options = Options { heap_limit: 8 << 20, ..Options::default() };
        let memory = Memory::new(&options).unwrap();
        let extent = memory.extent();
        memory.commit(extent.start(), BLOCK_BYTES).unwrap();
        let marks = CellMarks::new(&memory, extent).unwrap();
        let cells = marks.format(Block(0), class_of(48), 4);
        let n = cells.class().cells;
        assert_eq!(marks.state(Block(0)).load(Relaxed), BLOCK_NEW | 4);
        for (live, alone) in
            [0, 1, 9, 10, 11, 12, 13, 14, 15, 63, 64, 200, n - 1].into_iter().zip([false, true].into_iter().cycle())
        {
            let object = ObjectReference::for_test(cells.cell_start(live));
            assert!(marks.mark(object, 5, alone, || ()));
            assert!(!marks.mark(object, 5, alone, || ()));
        }
        let mut runs = Vec::new();
        let mut from = 0;
        while let Some(run) = cells.next_free_run(from) {
            from = run.end;
            runs.push(run);
        }
        assert_eq!(runs, [2..9, 16..63, 65..200, 201..n - 1]);
        assert_eq!(cells.live_cells(), 13);
        let object = ObjectReference::for_test(cells.cell_start(1));
        assert!(marks.is_marked(object, 5) && !marks.is_marked(object, 6), "marks are of their epoch");
        assert!(marks.mark(object, 6, true, || ()));
        assert_eq!(cells.live_cells(), 1, "the first mark of an epoch clears the older ones");
    }

    #[test]
    fn an_address_leads_to_its_cell_and_marks_are_visited_and_taken_away_one_by_one() {
        let memory = Memory::new(&Options { heap_limit: 8 << 20, ..Options::default() }).unwrap();
        let extent = memory.extent();
        let marks = CellMarks::new(&memory, extent).unwrap();
        for (number, class) in CLASSES.iter().enumerate() {
            let block = Block(number as u32);
            memory.commit(extent.block_start(block), BLOCK_BYTES).unwrap();
            let cells = marks.format(block, number, 6);
            assert_eq!((class_bytes(number), marks.class_number(block)), (class.bytes as usize, number));
            assert_eq!(marks.block(block).start, cells.start);
            let (first, count, bytes) = (cells.cell_start(0), class.cells, class.bytes as usize);
            let end = first.plus(count as usize * bytes);
            assert_eq!((marks.cell_around(cells.start), marks.cell_around(first.minus(1))), (None, None));
            let behind = (end < cells.start.plus(BLOCK_BYTES)).then(|| marks.cell_around(end));
            assert!(matches!(behind, None | Some(None)), "the rest of a block of {bytes}");
            let object = |cell: u32| ObjectReference::for_test(cells.cell_start(cell));
            // What lies in the rest, say an object that a broken binding made too large, is of the last cell.
            let last = ObjectReference::for_test(cells.start.plus(BLOCK_BYTES - 8));
            assert_eq!(marks.cell(last), (cells.cell_start(count - 1), bytes));
            // Some of the first two words of marks, and the last cell.
            let live: Vec<u32> =
                (0..count).filter(|cell| [0, 1, 3, 62, 63, 64, 70, count - 1].contains(cell)).collect();
            for &cell in &live {
                assert_eq!(marks.cell_around(cells.cell_start(cell).plus(bytes - 1)), Some(cells.cell_start(cell)));
                assert_eq!(marks.cell(object(cell)), (cells.cell_start(cell), bytes));
                assert!(marks.mark_address(object(cell)) == cells.start.plus(cell as usize / 8));
                assert!(!marks.is_marked(object(cell), 7) && marks.mark(object(cell), 7, cell % 2 == 0, || ()));
            }
            let visited = || {
                let mut visited = Vec::new();
                cells.for_each_marked(|object| visited.push(object));
                visited
            };
            assert_eq!(visited(), live.iter().map(|cell| object(*cell)).collect::<Vec<_>>());
            assert!((0..count).all(|cell| marks.is_marked(object(cell), 7) == live.contains(&cell)));
            for (n, &cell) in live.iter().enumerate() {
                assert!(!marks.unmark(object(cell), 8), "it is marked in epoch 7");
                assert!(marks.unmark(object(cell), 7) && !marks.unmark(object(cell), 7));
                assert_eq!(visited(), live[n + 1..].iter().map(|cell| object(*cell)).collect::<Vec<_>>());
            }
        }
    }
}
