//! Which blocks to evacuate, and when.
//!
//! The trace counts the live bytes of each block. What blocks hold beside live bytes (holes, and dead objects in lines with a
//! live one) is waste: it suits small objects at best. Evacuation is a second round in the same pause, so the counts it goes by
//! are exact: the sparsest blocks first, as many as fit in what the collector may still take.
//!
//! When does a round pay? A collection that costs T and yields A bytes of allocation costs T/A a byte. A round costs about
//! 1.5 T more and frees G bytes, so it pays at once if G > 1.5 A, and for the collections to come much earlier: what is packed
//! stays packed, and leaves more free blocks to evacuate into next time. Measured on a cache with random replacement
//! in 110 MB with 70 live, G > A/2 needs 60 collections where G > 1.5 A needs 141. A is what the collection before
//! yielded, so a heap with room to spare is never evacuated; G is known: the blocks emptied less the blocks filled.
//!
//! I1. A copy that finds no room stays where it is (`ImmixEvacuator`). The counts are exact from the sweep on (`BlockBytes`).
//! I2. Part of the budget is kept for copies, so that evacuation is possible when the heap is full.

use super::lines::{LINE_BYTES, LINES};
use super::{FREE, ImmixSpace, SOURCE};
use mmtk_core::heap::{BLOCK_BYTES, Block, Budget, Extent};
use mmtk_core::metadata::SideWords;
use mmtk_core::pause::Pause;
use mmtk_core::{HeapError, PlanContext, VMBinding};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A block with more live lines than this is never worth copying.
const DENSEST: u32 = LINES * 15 / 16;

pub struct Defrag {
    enabled: bool,
    always: bool,
    headroom_percent: u32,
    /// A word a block: bytes that the last trace found live in it.
    live_bytes: SideWords,
    /// Bytes of used blocks that are not live, after the last sweep.
    waste: AtomicUsize,
}

impl Defrag {
    pub fn new<VM>(context: &PlanContext<'_, VM>, extent: Extent, can_move: bool) -> Result<Defrag, HeapError> {
        Ok(Defrag {
            enabled: can_move && context.options.immix_defrag,
            always: context.options.stress_defrag,
            headroom_percent: context.options.immix_headroom_percent,
            live_bytes: context.memory.block_words(extent)?,
            waste: AtomicUsize::new(0),
        })
    }

    /// Whether anything is ever evacuated.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Keeps part of the limit for copies (I2).
    pub fn keep_headroom(&self, budget: &Budget) {
        if self.enabled {
            let bytes = budget.limit() / 100 * self.headroom_percent as usize;
            budget.keep_for_collector(bytes.next_multiple_of(BLOCK_BYTES).min(budget.limit() / 2));
        }
    }

    /// The counts, for the tracers.
    pub fn live_bytes(&self) -> SideWords {
        self.live_bytes
    }

    /// The counts start at nothing.
    pub fn begin_trace(&self, blocks: u32) {
        (0..blocks).for_each(|block| self.live_bytes.word(block).store(0, Relaxed));
    }

    pub fn begin_sweep(&self) {
        self.waste.store(0, Relaxed);
    }

    /// The bytes of a used block that are not live.
    pub fn waste_in(&self, block: Block) -> usize {
        BLOCK_BYTES.saturating_sub(self.live_bytes.word(block.0).load(Relaxed) as usize)
    }

    pub fn add_waste(&self, bytes: usize) {
        self.waste.fetch_add(bytes, Relaxed);
    }

    /// Whether a stress option wants every collection to evacuate.
    pub fn always(&self) -> bool {
        self.enabled && self.always
    }

    /// Makes sources of the sparsest blocks if evacuating them now pays. Returns whether there are any.
    /// Call after a sweep, or before the first round if a stress option wants it.
    pub fn choose_sources<VM: VMBinding>(&self, pause: &Pause<'_, VM>, space: &ImmixSpace<VM>) -> bool {
        if !self.enabled {
            return false;
        }
        let budget = space.pool.memory().budget();
        let gain_min = if self.always {
            0
        } else if pause.is_emergency() {
            BLOCK_BYTES
        } else {
            (pause.allocated_bytes() / 2).max(budget.limit() / 100)
        };
        if self.waste.load(Relaxed) < gain_min {
            return false;
        }
        let epoch = space.epoch.current();
        // Where each used block begins, its live bytes in lines, and its free lines.
        let used = || {
            (0..space.pool.watermark())
                .map(|n| (n, space.pool.extent().block_start(Block(n))))
                .filter(|&(_, start)| space.blocks.at(start).load(Relaxed) != FREE)
                .map(|(n, start)| {
                    let live = self.live_bytes.word(n).load(Relaxed).div_ceil(LINE_BYTES as u32);
                    (start, live.min(LINES), LINES - space.lines.count_live(start, epoch))
                })
        };
        let mut blocks_with = [(0usize, 0usize); LINES as usize + 1];
        let mut holes = 0;
        for (_, live, free) in used() {
            let (blocks, free_in_them) = &mut blocks_with[live as usize];
            *blocks += 1;
            *free_in_them += free as usize;
            holes += free as usize;
        }
        let free_lines = (budget.limit() - budget.reserved()) / LINE_BYTES;
        let scarce = free_lines < 4 * LINES as usize;
        let (mut densest, mut copied, mut emptied) = (None, 0, 0);
        for live in 0..=if self.always { LINES } else { DENSEST } {
            let (blocks, free) = blocks_with[live as usize];
            holes -= free;
            copied += blocks * live as usize;
            // A little less than there is: ends of blocks stay empty. Holes are counted only when there is nothing else: a
            // copy that finds no room leaves its block half empty and the free blocks gone.
            let room = if scarce { free_lines + holes / 2 } else { free_lines / 16 * 15 };
            if copied > room && !self.always {
                copied -= blocks * live as usize;
                break;
            }
            emptied += blocks * LINES as usize;
            if blocks > 0 {
                densest = Some(live);
            }
        }
        if (emptied - copied.min(emptied)) * LINE_BYTES < gain_min {
            return false;
        }
        let Some(densest) = densest else { return false };
        for (start, live, _) in used() {
            if live <= densest {
                space.blocks.at(start).store(SOURCE, Relaxed);
            }
        }
        true
    }
}
