//! Bump allocation of 32-byte objects (a header and three words, two of them written) from 32 KB blocks that
//! are zeroed when taken, over a region that is used again and again.

use std::hint::black_box;

use super::measure::{Report, cpu_seconds, repeat};
use super::region::{Pages, Region};
use crate::failure::Failure;

const BLOCK_BYTES: usize = 32 << 10;
const OBJECT_BYTES: usize = 32;
/// Two slots, four words.
const HEADER: usize = 2 | 4 << 32;

/// Memory in which the loop runs, again and again from its start.
pub(crate) struct Bump {
    region: Region,
    bytes: usize,
}

impl Bump {
    pub(crate) const TOTAL_BYTES: usize = 1 << 30;

    pub(crate) fn new(bytes: usize, pages: Pages) -> Self {
        let region = Region::new(bytes, pages);
        region.fill(0, bytes, 1);
        Self { region, bytes }
    }

    /// Allocates [`Bump::TOTAL_BYTES`]. CPU seconds.
    pub(crate) fn allocate(&self, zero_blocks: bool) -> f64 {
        cpu_seconds(|| allocate(&self.region, self.bytes, zero_blocks))
    }
}

fn allocate(region: &Region, bytes: usize, zero_blocks: bool) {
    for _ in 0..Bump::TOTAL_BYTES / bytes {
        for block in (0..bytes).step_by(BLOCK_BYTES) {
            if zero_blocks {
                region.fill(block, BLOCK_BYTES, 0);
            }
            let mut previous = 0;
            let mut cursor = block;
            while cursor + OBJECT_BYTES <= block + BLOCK_BYTES {
                let object = black_box(cursor);
                region.write(object, HEADER);
                region.write(object + 8, previous);
                region.write(object + 24, cursor);
                if !zero_blocks {
                    region.write(object + 16, 0);
                }
                previous = cursor;
                cursor += OBJECT_BYTES;
            }
        }
    }
}

pub(super) fn measure(report: &mut Report) -> Result<(), Failure> {
    use Pages::{Huge, Small};
    for (mb, pages) in [(1, Huge), (4, Huge), (16, Huge), (64, Huge), (256, Huge), (256, Small)] {
        let bump = Bump::new(mb << 20, pages);
        for zero_blocks in [true, false] {
            let times = repeat(3, || bump.allocate(zero_blocks));
            let zeroing = if zero_blocks { "zeroing 32 KB blocks" } else { "no zeroing" };
            let what = format!("bump alloc 32 B objects, {zeroing}, {mb} MB region, {}", pages.name());
            report.rate(&what, "GB/s", Bump::TOTAL_BYTES as f64 / 1e9, times)?;
        }
    }
    Ok(())
}
