//! What a space for regions does, and what it keeps for each region.
//!
//! I1. A region's memory is changed under its lock, which is taken by a running mutator, or by the leader of
//!     a pause on behalf of one. A thread that holds it does not come to a safepoint.
//! I2. Runs of pages belong to one region, from the time they are acquired until it is released.

use super::Space;
use crate::address::Address;
use crate::alloc::{BumpRange, Pace};
use crate::metadata::ObjectStarts;
use crate::os::PageVec;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// What belongs to one region: kept by it for its space.
#[derive(Debug, Default)]
pub struct RegionMemory {
    /// Its number, for messages.
    pub number: u32,
    /// Where the next object goes.
    pub range: BumpRange,
    /// The marking during which it took this range, or the last one before; and which one is the last now, in
    /// spaces that are marked beside mutators: an object made since goes to pages of its own.
    pub marking: u32,
    /// See `marking`.
    pub last_marking: Option<Arc<AtomicU32>>,
    /// Its runs: start and pages.
    pub runs: PageVec<(Address, usize)>,
    /// Where objects begin, if the space wants to know.
    pub starts: Option<ObjectStarts>,
}

impl RegionMemory {
    /// Memory for an object, if it is at hand.
    pub(crate) fn alloc(&mut self, bytes: usize) -> Option<Address> {
        if !self.is_up_to_date() {
            return None;
        }
        self.range.alloc(bytes).inspect(|address| self.note_start(*address))
    }

    /// Whether no marking beside mutators has begun since it took its range.
    #[inline]
    pub fn is_up_to_date(&self) -> bool {
        self.last_marking.as_ref().is_none_or(|last| last.load(Relaxed) == self.marking)
    }

    /// An object begins at `address`. Its space calls this for what it allocates.
    pub fn note_start(&self, address: Address) {
        if let Some(starts) = &self.starts {
            starts.set_shared(address);
        }
    }
}

/// A space that has regions.
pub trait Regions: Space {
    /// A region without memory.
    fn open(&self) -> RegionMemory;
    /// Zeroed memory for an object of any size; none if the budget is exhausted.
    fn allocate(&self, region: &mut RegionMemory, bytes: usize, pace: Pace, allocated: &mut usize) -> Option<Address>;
    /// The region ends. Its memory is free at once, if `now` and nothing speaks against it, or in the next
    /// pause.
    fn release(&self, region: RegionMemory, now: bool);
}
