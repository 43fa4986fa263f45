//! Line marks: which lines of a block hold live data.
//!
//! I1. The table covers the space's extent.
//! I2. A line that holds part of an object marked in this epoch carries the epoch; one handed out since
//!     carries the number that the space gives it: the epoch, or in a generational plan one of its own.
//! Callers: the tracer (any worker), allocation (the thread that owns the block's search), the sweep (one
//! worker a block).

use mmtk_core::memory::{BLOCK_BYTES, Borrowed, BytePer, Extent, Memory, ObjectIn, Owned};
use mmtk_core::metadata::epoch_bytes;
use mmtk_core::{Address, ObjectReference};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes of a line, as a power of two.
pub const LOG_LINE_BYTES: u32 = 8;
/// Bytes of a line.
pub const LINE_BYTES: usize = 1 << LOG_LINE_BYTES;
/// Lines of a block.
pub const LINES: u32 = (BLOCK_BYTES / LINE_BYTES) as u32;

/// The line marks of a space.
#[derive(Copy, Clone)]
pub struct Lines<K = Owned> {
    marks: BytePer<LOG_LINE_BYTES, K>,
}

impl Lines {
    pub fn new(memory: &Arc<Memory>, extent: Extent) -> io::Result<Lines> {
        Ok(Lines { marks: BytePer::of(memory.side_bytes(extent, LOG_LINE_BYTES)?) })
    }

    /// The marks, borrowed: for tracers.
    pub fn view(&self) -> Lines<Borrowed<'_>> {
        Lines { marks: self.marks.view() }
    }
}

impl<K> Lines<K> {
    /// Whether the object is in the space.
    #[inline(always)]
    pub fn holds(&self, object: ObjectReference) -> bool {
        self.marks.holds(object)
    }

    /// An object of the space, whose lines may be marked later.
    #[inline(always)]
    pub fn object(&self, object: ObjectReference) -> ObjectIn<'_, LOG_LINE_BYTES, K> {
        self.marks.object(object)
    }

    fn words(&self, block: Address) -> &[AtomicU64; LINES as usize / 8] {
        self.marks.words(block)
    }

    /// What the line carries that the address lies in.
    #[inline(always)]
    pub fn number_at(&self, address: Address) -> u8 {
        self.marks.at(address).load(Relaxed)
    }

    /// Whether every line of `[start, start + bytes)` carries one of these numbers.
    pub fn all_taken<const N: usize>(&self, start: Address, bytes: usize, numbers: [u8; N]) -> bool {
        let mut line = start.align_down(LINE_BYTES);
        while line < start.plus(bytes) {
            if !numbers.contains(&self.marks.at(line).load(Relaxed)) {
                return false;
            }
            line = line.plus(LINE_BYTES);
        }
        true
    }

    /// The first hole at or after line `from` with at least `lines` lines: lines that carry none of these
    /// numbers. Mutators give those of I2. For copies, a line is free if it was so before this trace and is
    /// so still.
    pub fn next_hole<const N: usize>(
        &self,
        block: Address,
        mut from: u32,
        lines: u32,
        epochs: [u8; N],
    ) -> Option<Range<u32>> {
        let words = self.words(block);
        let eight = |line: u32| words[line as usize / 8].load(Relaxed);
        loop {
            let start = epoch_bytes::find(eight, LINES, from, epochs, false)?;
            let end = epoch_bytes::find(eight, LINES, start, epochs, true).unwrap_or(LINES);
            if end - start >= lines {
                return Some(start..end);
            }
            from = end;
        }
    }

    /// The addresses of lines.
    pub fn range(&self, block: Address, lines: Range<u32>) -> Range<Address> {
        block.plus(lines.start as usize * LINE_BYTES)..block.plus(lines.end as usize * LINE_BYTES)
    }

    /// Hands out lines: they carry `number` from now (I2).
    pub fn take(&self, block: Address, lines: Range<u32>, number: u8) -> Range<Address> {
        let taken = self.range(block, lines);
        self.marks.fill(taken.start, taken.end.bytes_from(taken.start), number);
        taken
    }

    /// Lines of a block that carry none of these numbers carry 0. By one worker, while nothing of the block
    /// is handed out.
    pub fn forget_others<const N: usize>(&self, block: Address, numbers: [u8; N]) {
        for mark in (0..LINES as usize).map(|line| self.marks.at(block.plus(line * LINE_BYTES))) {
            if !numbers.contains(&mark.load(Relaxed)) {
                mark.store(0, Relaxed);
            }
        }
    }

    /// Lines of a block that carry a larger number than `number` carry none. By one worker, while nothing is
    /// handed out.
    pub fn forget_above(&self, block: Address, number: u8) {
        for mark in (0..LINES as usize).map(|line| self.marks.at(block.plus(line * LINE_BYTES))) {
            if mark.load(Relaxed) > number {
                mark.store(0, Relaxed);
            }
        }
    }

    /// How many lines of the block carry one of these numbers.
    pub fn count_live<const N: usize>(&self, block: Address, numbers: [u8; N]) -> u32 {
        self.words(block).iter().map(|eight| epoch_bytes::count_live(eight.load(Relaxed), numbers)).sum()
    }
}
