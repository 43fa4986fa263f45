//! Which blocks to evacuate, and when.
//!
//! The sweep records how many lines of each block are live, and how much room is in holes altogether. Holes are worth less than
//! free blocks: they suit small objects only, and mutators crawl through them. So when holes hold more than the free blocks
//! do, the next collection evacuates: the sparsest blocks first, as many as are expected to fit in what the
//! collector may still take. In an emergency the numbers are exact, since no mutator has run since they were taken.
//!
//! I1. Estimates may be wrong: an object that finds no room stays where it is (`ImmixEvacuator`).
//! I2. Part of the budget is kept for copies, so that evacuation is possible when the heap is full.

use super::lines::{LINE_BYTES, LINES};
use super::{FREE, ImmixSpace, SOURCE};
use mmtk_core::heap::{BLOCK_BYTES, Block, Budget, Extent, LOG_BLOCK_BYTES};
use mmtk_core::metadata::SideBytes;
use mmtk_core::pause::Pause;
use mmtk_core::{Address, HeapError, PlanContext, VMBinding};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// A block with more live lines than this is not sparse: copying it would gain too little. Emergencies go up to 15 in 16.
const SPARSE_LINES: u32 = LINES / 2;
const SPARSE_LINES_EMERGENCY: u32 = LINES * 15 / 16;

pub struct Defrag {
    enabled: bool,
    always: bool,
    headroom_percent: u32,
    /// A byte a block: live lines after the last sweep.
    live_lines: SideBytes,
    hole_bytes: AtomicUsize,
    wanted: AtomicBool,
}

impl Defrag {
    pub fn new<VM>(context: &PlanContext<'_, VM>, extent: Extent, can_move: bool) -> Result<Defrag, HeapError> {
        Ok(Defrag {
            enabled: can_move && context.options.immix_defrag,
            always: context.options.stress_defrag,
            headroom_percent: context.options.immix_headroom_percent,
            live_lines: context.memory.side_bytes(extent, LOG_BLOCK_BYTES)?,
            hole_bytes: AtomicUsize::new(0),
            wanted: AtomicBool::new(false),
        })
    }

    /// Keeps part of the limit for copies (I2).
    pub fn keep_headroom(&self, budget: &Budget) {
        if self.enabled {
            let bytes = budget.limit() / 100 * self.headroom_percent as usize;
            budget.keep_for_collector(bytes.next_multiple_of(BLOCK_BYTES).min(budget.limit() / 2));
        }
    }

    pub fn begin_sweep(&self) {
        self.hole_bytes.store(0, Relaxed);
    }

    /// The sweep found `live` live lines in the block that begins here.
    pub fn record(&self, block: Address, live: u32) {
        self.live_lines.at(block).store(live as u8, Relaxed);
    }

    pub fn add_holes(&self, bytes: usize) {
        self.hole_bytes.fetch_add(bytes, Relaxed);
    }

    /// Holes against free blocks: decides about the next collection.
    pub fn end_sweep(&self, budget: &Budget) {
        self.wanted.store(self.hole_bytes.load(Relaxed) > budget.free_for_mutators(), Relaxed);
    }

    /// Whether evacuating now would free at least a hundredth of the heap.
    pub fn is_fragmented(&self, budget: &Budget) -> bool {
        self.enabled && self.hole_bytes.load(Relaxed) > budget.limit() / 100
    }

    /// Makes sources of the sparsest blocks. Returns whether there are any.
    pub fn choose_sources<VM: VMBinding>(&self, pause: &Pause<'_, VM>, space: &ImmixSpace<VM>) -> bool {
        let wanted = self.always || pause.is_emergency() || self.wanted.load(Relaxed);
        if !self.enabled || !wanted {
            return false;
        }
        let used = || {
            (0..space.pool.watermark())
                .map(|n| space.pool.extent().block_start(Block(n)))
                .filter(|&start| space.blocks.at(start).load(Relaxed) != FREE)
        };
        let mut blocks_with = [0usize; LINES as usize + 1];
        for start in used() {
            blocks_with[self.live_lines.at(start).load(Relaxed) as usize] += 1;
        }
        let budget = space.pool.memory().budget();
        // A little less than there is, for what does not fit at the ends of blocks.
        let mut room = (budget.limit() - budget.reserved()) / LINE_BYTES / 16 * 15;
        let most = if self.always {
            LINES
        } else if pause.is_emergency() {
            SPARSE_LINES_EMERGENCY
        } else {
            SPARSE_LINES
        };
        let mut densest = None;
        for lines in 0..=most {
            let expected = blocks_with[lines as usize] * lines.max(1) as usize;
            if expected > room {
                break;
            }
            room -= expected;
            if blocks_with[lines as usize] > 0 {
                densest = Some(lines);
            }
        }
        let Some(densest) = densest else { return false };
        for start in used() {
            if u32::from(self.live_lines.at(start).load(Relaxed)) <= densest {
                space.blocks.at(start).store(SOURCE, Relaxed);
            }
        }
        true
    }
}
