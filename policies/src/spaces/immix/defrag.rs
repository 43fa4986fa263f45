//! Which blocks to evacuate, and when.
//!
//! The trace counts the live bytes of each block. The rest of a block (holes, and dead objects in lines with
//! a live one) is waste: it suits small objects at best. Evacuation is a second round in the same pause, so
//! its counts are exact. It takes the sparsest blocks first, as many as fit into the memory that the
//! collector may still take. Among equally sparse blocks, too, it takes as many as fit: often all blocks are
//! alike.
//!
//! When does a round pay? A collection that costs T and yields A bytes of allocation costs T/A a byte. A
//! round costs about 1.5 T more and frees G bytes, so it pays at once if G > 1.5 A. It pays for later
//! collections at a much smaller G: packed objects stay packed, and leave more free blocks to evacuate into
//! next time. Measured on a cache with random replacement in 110 MB with 70 live, G > A/2 needs 60
//! collections where G > 1.5 A needs 141. A is the yield of the collection before, so a heap with room to
//! spare is never evacuated. G is known: the blocks emptied less the blocks filled. When memory runs out, a
//! round pays if it frees a number of bytes that matters at all, and rounds follow each other as long as they
//! do: the memory that one frees is room for the copies of the next.
//!
//! Where do copies go? To free blocks, and then to holes: a hole wastes a part of an object at its end. But
//! copies of more than a line go to holes first when memory runs out or few blocks are free. They fill a
//! fresh block no better than the block that they come from, so only copies that fit into holes of other
//! blocks free a block.
//!
//! I1. A copy that finds no room stays where it is (`ImmixEvacuator`). The counts are exact once the trace is
//!     over (`BlockBytes`).
//! I2. Part of the budget is kept for copies, so that evacuation is possible when the heap is full.
//! I3. At least one block is free after a round if one was free before: copies take the last free block only
//!     when it is known that all copies fit. When few blocks are free, the workers fill one block together: a
//!     block for each worker, filled in part, would use up the free ones.

use super::lines::{LINE_BYTES, LINES, Lines};
use super::states::BlockState;
use mmtk_core::memory::{BLOCK_BYTES, Block, BlockPool, Budget, Extent, SideStates};
use mmtk_core::metadata::BlockTotals;
use mmtk_core::pause::Pause;
use mmtk_core::{HeapError, PlanContext, VMBinding};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// A block with more live lines than this is not worth copying.
const DENSEST: u32 = LINES * 15 / 16;

/// Nor is one with more than this if memory runs out: what copies leave empty at the end of a block is as
/// much as what they gain.
const DENSEST_IF_URGENT: u32 = LINES - 4;

/// Blocks that a worker fills with copies at the same time: one with small objects, one with others.
const BLOCKS_OF_A_WORKER: usize = 2;

pub struct Defrag {
    enabled: bool,
    always: bool,
    headroom_percent: u32,
    live_bytes: BlockTotals,
    /// Bytes of used blocks that are not live, after the last full sweep.
    waste: AtomicUsize,
    /// Bytes of their free lines.
    holes: AtomicUsize,
    workers: usize,
    /// Whether workers share a block in this round (I3).
    share_blocks: AtomicBool,
    /// Whether copies of more than a line fill holes before they take blocks, in this round.
    fill_holes: AtomicBool,
}

impl Defrag {
    pub fn new<VM>(context: &PlanContext<'_, VM>, extent: Extent, can_move: bool) -> Result<Defrag, HeapError> {
        Ok(Defrag {
            enabled: can_move && context.options.immix_defrag,
            always: context.options.stress_defrag,
            headroom_percent: context.options.immix_headroom_percent,
            live_bytes: BlockTotals::new(context.memory.block_words(extent)?, extent),
            waste: AtomicUsize::new(0),
            holes: AtomicUsize::new(0),
            workers: context.options.gc_workers,
            share_blocks: AtomicBool::new(false),
            fill_holes: AtomicBool::new(false),
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
    pub fn live_bytes(&self) -> &BlockTotals {
        &self.live_bytes
    }

    /// The counts start at nothing.
    pub fn begin_trace(&self, blocks: u32) {
        self.live_bytes.clear(blocks);
    }

    pub fn begin_sweep(&self) {
        self.waste.store(0, Relaxed);
        self.holes.store(0, Relaxed);
    }

    /// The bytes of a used block that are not live.
    pub fn waste_in(&self, block: Block) -> usize {
        BLOCK_BYTES.saturating_sub(self.live_bytes.bytes_in(block))
    }

    /// Some used blocks have `waste` bytes that are not live, and `holes` bytes in free lines.
    pub fn add_swept(&self, waste: usize, holes: usize) {
        self.waste.fetch_add(waste, Relaxed);
        self.holes.fetch_add(holes, Relaxed);
    }

    /// Whether workers put their copies in one block, then in the next (I3).
    pub fn shares_blocks(&self) -> bool {
        self.share_blocks.load(Relaxed)
    }

    /// Whether copies of more than a line fill holes before they take blocks.
    pub fn fills_holes(&self) -> bool {
        self.fill_holes.load(Relaxed)
    }

    /// The evacuation that was prepared, if any, is over.
    pub fn end_round(&self) {
        self.share_blocks.store(false, Relaxed);
        self.fill_holes.store(false, Relaxed);
    }

    /// Bytes of the free lines of used blocks. After a full sweep.
    pub fn holes(&self) -> usize {
        self.holes.load(Relaxed)
    }

    /// Whether a stress option wants every collection to evacuate.
    pub fn always(&self) -> bool {
        self.enabled && self.always
    }

    /// Whether memory runs out: this is an emergency, or the last collection yielded next to nothing, and
    /// neither does this one.
    pub fn is_urgent<VM: VMBinding>(&self, pause: &Pause<'_, VM>, budget: &Budget) -> bool {
        pause.is_emergency() || self.yields_little(pause, budget, budget.free_for_mutators())
    }

    /// Whether the last collection yielded next to nothing, and neither does this one, which leaves `free`
    /// bytes for mutators.
    fn yields_little<VM: VMBinding>(&self, pause: &Pause<'_, VM>, budget: &Budget, free: usize) -> bool {
        let little = budget.limit() / 100;
        pause.allocated_bytes() < little && free < little.max(BLOCK_BYTES)
    }

    /// What a round must free to pay while memory does not run out, in bytes.
    fn worth_a_round<VM: VMBinding>(pause: &Pause<'_, VM>, budget: &Budget) -> usize {
        (pause.allocated_bytes() / 2).max(budget.limit() / 100)
    }

    /// After a trace, and before its sweep: whether there will be anything to decide when all is swept. The
    /// trace has counted what is wasted in blocks with live objects; the others, of `owned_bytes` in all,
    /// become free.
    pub fn may_pay<VM: VMBinding>(&self, pause: &Pause<'_, VM>, budget: &Budget, owned_bytes: usize) -> bool {
        let live_blocks = self.live_bytes.live_blocks() as usize * BLOCK_BYTES;
        let waste = live_blocks.saturating_sub(self.live_bytes.live_bytes());
        let free = budget.free_for_mutators() + owned_bytes.saturating_sub(live_blocks);
        let urgent = self.yields_little(pause, budget, free);
        self.enabled && (urgent || waste >= Self::worth_a_round(pause, budget))
    }

    /// Makes sources of the sparsest blocks if evacuating them now pays. Returns whether there are any.
    /// Call after a sweep, or before the first round if a stress option wants it.
    pub fn choose_sources<VM: VMBinding>(
        &self,
        pause: &Pause<'_, VM>,
        pool: &BlockPool,
        blocks: &SideStates<BlockState>,
        lines: &Lines,
        epoch: u8,
    ) -> bool {
        if !self.enabled {
            return false;
        }
        let budget = pool.memory().budget();
        let gain_min = if self.always {
            0
        } else if self.is_urgent(pause, budget) {
            (budget.limit() / 1024).min(BLOCK_BYTES)
        } else {
            Self::worth_a_round(pause, budget)
        };
        if self.waste.load(Relaxed) < gain_min {
            return false;
        }
        // Where each used block begins, its live bytes in lines, and its free lines.
        let used = || {
            (0..pool.watermark())
                .map(|n| (n, pool.extent().block_start(Block(n))))
                .filter(|&(_, start)| blocks.at(start).load(Relaxed) != BlockState::Free)
                .map(|(n, start)| {
                    let live = self.live_bytes.bytes_in(Block(n)).div_ceil(LINE_BYTES) as u32;
                    (start, live.min(LINES), LINES - lines.count_live(start, [epoch]))
                })
        };
        let mut blocks_with = [(0usize, 0usize); LINES as usize + 1];
        let mut holes = 0;
        for (_, live, free) in used() {
            let (count, free_in_them) = &mut blocks_with[live as usize];
            *count += 1;
            *free_in_them += free as usize;
            holes += free as usize;
        }
        let free_blocks = (budget.limit() - budget.reserved()) / BLOCK_BYTES;
        let blocks_in_use = BLOCKS_OF_A_WORKER * self.workers;
        let share = free_blocks < 2 * blocks_in_use;
        // A little less than there is: ends of blocks stay empty. Holes are counted only when there is
        // nothing else: they may be too small for the objects that need room.
        let mut room = match free_blocks {
            0 => holes / 2,
            1 => LINES as usize,
            _ => (free_blocks - if share { 1 } else { blocks_in_use }) * LINES as usize / 16 * 15,
        };
        let (mut densest, mut of_densest, mut gain) = (0, 0, 0);
        let urgent = self.is_urgent(pause, budget);
        let densest_worth = match urgent {
            _ if self.always => LINES,
            true => DENSEST_IF_URGENT,
            false => DENSEST,
        };
        for live in 0..=densest_worth {
            let (blocks, free) = blocks_with[live as usize];
            if blocks == 0 {
                continue;
            }
            // A source takes room for its copies, and its holes no longer serve those of others.
            let cost = blocks * live as usize + if free_blocks == 0 { free / 2 } else { 0 };
            let fit = if cost <= room || self.always { blocks } else { blocks * room / cost };
            (densest, of_densest) = (live, fit);
            gain += fit * (LINES - live) as usize;
            room = room.saturating_sub(cost);
            if fit < blocks {
                break;
            }
        }
        if gain * LINE_BYTES < gain_min {
            return false;
        }
        let (mut chosen, mut left) = (false, of_densest);
        for (start, live, _) in used() {
            if live < densest || live == densest && left > 0 {
                left -= usize::from(live == densest);
                blocks.at(start).store(BlockState::Source, Relaxed);
                chosen = true;
            }
        }
        self.share_blocks.store(chosen && share, Relaxed);
        self.fill_holes.store(chosen && (share || urgent), Relaxed);
        chosen
    }
}
