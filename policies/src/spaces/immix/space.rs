//! The space of Immix. The header of `mod.rs` in this folder says how it works, and has its invariants, I1 to
//! I6.

use super::defrag::Defrag;
use super::hole_search::HoleSearch;
use super::lines::{LINE_BYTES, LINES, LOG_LINE_BYTES, Lines};
use super::states::{BlockState, MEDIUM_BYTES, Turn};
use crate::spaces::epoch::Epoch;
use crate::spaces::lookup;
use mmtk_core::alloc::{Allocators, BumpRange, CopyTarget, HoleCursor};
use mmtk_core::events::CollectionKind;
use mmtk_core::memory::{
    BLOCK_BYTES, Block, BlockList, BlockPool, CHUNK_BYTES, Charge, Extent, FreeMemory, LOG_BLOCK_BYTES, Payment,
    SideStates,
};
use mmtk_core::metadata::{Ages, EPOCH_MAX, ObjectStates};
use mmtk_core::pause::Pause;
use mmtk_core::space::{LeftToSweep, Space, Unswept};
use mmtk_core::{Address, HeapError, ObjectReference, PlanContext, VMBinding};
use protocols::sync::{Atomic, Mutex};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Objects larger than this are large objects.
pub const IMMIX_MAX_BYTES: usize = BLOCK_BYTES / 4;

/// The numbers that fresh lines carry in turn begin behind the epochs. Before they begin again, no line
/// carries one.
const FIRST_FRESH: u8 = EPOCH_MAX + 1;

/// Free lines keep the number of the epoch that they were last marked in. So do dead objects in lines that
/// live ones share with them, and they keep their starts. Both must be gone before that number comes round.
/// Sweeping them in two epochs of each round, not in all, is enough: one of the two is another than theirs.
const NUMBERS_SWEPT: [u8; 2] = [EPOCH_MAX / 2, EPOCH_MAX];

/// Blocks of a unit of the sweep that is left: a few microseconds.
const UNIT_BLOCKS: u32 = 64;

/// What lines carried that were in use when the marking in progress began: the epoch before, and what was
/// handed out since the collection before (I7). Written in pauses.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    epoch: AtomicU8,
    fresh: AtomicU8,
}

impl Snapshot {
    fn begin(&self, [epoch, fresh]: [u8; 2]) {
        self.epoch.store(epoch, Relaxed);
        self.fresh.store(fresh, Relaxed);
    }

    fn end(&self) {
        self.epoch.store(0, Relaxed);
    }

    /// The two numbers, while a marking is in progress.
    #[inline(always)]
    pub fn before(&self) -> Option<[u8; 2]> {
        let epoch = self.epoch.load(Relaxed);
        (epoch != 0).then(|| [epoch, self.fresh.load(Relaxed)])
    }
}

/// The space.
pub struct ImmixSpace<VM> {
    pub(super) vm: Arc<VM>,
    pub(super) pool: Arc<BlockPool>,
    pub(super) states: ObjectStates<VM>,
    pub(super) ages: Ages,
    pub(super) epoch: Epoch,
    /// Where there are old objects, or objects are found by address: what lines carry that were handed out
    /// since the last collection. Changes as the epoch does (I3).
    pub(super) fresh: AtomicU8,
    /// Besides the epoch, what lines carried that were live when the last full collection ended.
    live: AtomicU8,
    pub(super) lines: Lines,
    /// A byte a block (I1).
    pub(super) blocks: SideStates<BlockState>,
    /// Blocks with holes; their links are the pool's.
    pub(super) recyclable: BlockList,
    /// Blocks whose holes were too small for the objects that looked for them; smaller ones take them. Memory
    /// of each was handed out since the last collection.
    pub(super) leftover: BlockList,
    /// How objects of more than a line, and copies of all sizes, search both lists.
    pub(super) search: HoleSearch,
    pub(super) defrag: Defrag,
    /// Where copies go while workers share a block (`defrag`).
    pub(super) shared_copies: Mutex<BumpRange>,
    /// Whether the blocks that mutators take whole are evacuated by the next collection.
    pub(super) has_nursery: bool,
    /// What the last full collection has left to be swept, and the turn that began with it.
    left: LeftToSweep,
    turn: Atomic<Turn>,
    /// Of a marking beside mutators (I7).
    pub(super) snapshot: Snapshot,
}

impl<VM: VMBinding> ImmixSpace<VM> {
    /// An empty space in the next extent.
    pub fn new(context: &PlanContext<'_, VM>, ages: Ages) -> Result<Self, HeapError> {
        Self::with(context, ages, false)
    }

    /// An empty space whose new objects are evacuated by the first collection that they survive. It
    /// tells old objects from new ones.
    pub fn with_nursery(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        Self::with(context, Ages::NewAndOld, true)
    }

    fn with(context: &PlanContext<'_, VM>, ages: Ages, has_nursery: bool) -> Result<Self, HeapError> {
        let extent = context.memory.extent();
        let tables = 6 * (CHUNK_BYTES >> LOG_BLOCK_BYTES)
            + (CHUNK_BYTES >> LOG_LINE_BYTES)
            + ObjectStates::<VM>::table_bytes_per_chunk();
        let space = ImmixSpace {
            vm: context.vm.clone(),
            pool: BlockPool::new(context.memory, extent, tables)?,
            states: context.states.clone(),
            ages,
            epoch: Epoch::default(),
            fresh: AtomicU8::new(FIRST_FRESH),
            live: AtomicU8::new(1),
            lines: Lines::new(context.memory, extent)?,
            blocks: context.memory.side_states(extent, LOG_BLOCK_BYTES)?,
            recyclable: BlockList::new(),
            leftover: BlockList::new(),
            search: HoleSearch::default(),
            defrag: Defrag::new(context, extent, VM::CAN_MOVE)?,
            shared_copies: Mutex::default(),
            has_nursery,
            left: LeftToSweep::default(),
            turn: Atomic::new(Turn::default()),
            snapshot: Snapshot::default(),
        };
        space.defrag.keep_headroom(context.memory.budget());
        Ok(space)
    }

    /// The slow path for an object of at most [`IMMIX_MAX_BYTES`].
    pub fn allocate(&self, allocators: &mut Allocators, bytes: usize) -> Option<Address> {
        if let Some(address) = allocators.bump_or_zero(bytes) {
            return Some(address);
        }
        if bytes >= MEDIUM_BYTES {
            self.allocate_medium(allocators, bytes)
        } else {
            self.allocate_small(allocators, bytes)
        }
    }

    fn allocate_small(&self, allocators: &mut Allocators, bytes: usize) -> Option<Address> {
        loop {
            if let Some(hole) = self.next_hole(&mut allocators.hole, 1) {
                return allocators.refill_bump(hole, bytes);
            }
            if let Some(address) = allocators.bump_in_leftovers(bytes) {
                return Some(address);
            }
            if self.has_nursery
                && let Some(block) = self.take_block(Charge::Mutator, 0)
            {
                return allocators.refill_bump(block, bytes);
            }
            let listed = self.leftover.pop(self.pool.links()).or_else(|| self.recyclable.pop(self.pool.links()));
            if let Some(number) = listed {
                allocators.hole = self.search(Block(number));
                continue;
            }
            if !self.left.is_over() {
                // It would grow beside holes that are not listed yet. The caller sweeps, and comes again.
                return None;
            }
            return allocators.refill_bump(self.take_block(Charge::Mutator, 0)?, bytes);
        }
    }

    fn allocate_medium(&self, allocators: &mut Allocators, bytes: usize) -> Option<Address> {
        if let Some(address) = allocators.overflow_or_zero(bytes) {
            return Some(address);
        }
        if let Some(address) = allocators.overflow_in_leftovers(bytes, MEDIUM_BYTES) {
            return Some(address);
        }
        if let Some(block) = self.take_block(Charge::Mutator, 0) {
            return allocators.refill_overflow(block, bytes, MEDIUM_BYTES);
        }
        if !self.left.is_over() {
            // What sweeping lists must not come while the lists change roles. The caller sweeps, and comes
            // again.
            return None;
        }
        let lines = bytes.div_ceil(LINE_BYTES) as u32;
        loop {
            if let Some(hole) = self.next_hole(&mut allocators.overflow_hole, lines) {
                return allocators.refill_overflow(hole, bytes, MEDIUM_BYTES);
            }
            let block = self.next_searched(&mut allocators.overflow_hole, lines)?;
            allocators.overflow_hole = self.search(block);
        }
    }

    /// A mutator looks for holes in a block it popped.
    fn search(&self, block: Block) -> HoleCursor {
        self.blocks.at(self.pool.extent().block_start(block)).store(self.turn.load(Relaxed).fresh(), Relaxed);
        HoleCursor { block: Some(block), line: 0 }
    }

    /// The next block to search for a hole of `lines` lines. The cursor's block had none, and is left to
    /// smaller objects, unless there is no block to search.
    fn next_searched(&self, cursor: &mut HoleCursor, lines: u32) -> Option<Block> {
        self.search.next_block([&self.recyclable, &self.leftover], self.pool.links(), &mut cursor.block, lines)
    }

    /// Forgets the listed blocks of which memory was handed out since the sweep; the next one lists them
    /// again. Copies must not find them: what is new in them is not marked yet.
    fn forget_searched(&self) {
        self.leftover.clear();
        if self.search.restart() {
            // The list was empty when the lists changed roles: all that came to it since was searched.
            self.recyclable.clear();
        }
    }

    /// What lines carry that were handed out since the last collection.
    fn handed_out(&self) -> u8 {
        if self.ages.has_barrier() || VM::OBJECT_STARTS { self.fresh.load(Relaxed) } else { self.epoch.current() }
    }

    /// Whether memory of the object was handed out since the last collection: what dies in it dies in the
    /// next one. Dead objects of earlier ones have their starts still, in lines that live ones share with
    /// them.
    fn is_new(&self, object: ObjectReference) -> bool {
        let number = self.lines.number_at(object.address());
        number == self.fresh.load(Relaxed) || self.snapshot.before().is_some_and(|[_, fresh]| number == fresh)
    }

    /// Whether an object that begins there, as its start says, is one that the last collection did not find
    /// dead. While the space is marked beside mutators a line changes its number as soon as one of its
    /// objects is claimed, and no longer says that another is new: then all are there that begin in a line in
    /// use, since the sweep before has forgotten the starts of the dead.
    fn is_there(&self, object: ObjectReference) -> bool {
        match self.snapshot.before() {
            None => self.is_new(object) || self.survived(object),
            Some(_) => self.taken().contains(&self.lines.number_at(object.address())),
        }
    }

    /// What lines carry that are in use, in a space that is marked beside mutators: those of the last
    /// collection and what was handed out since; while it is marked, those of the marking too.
    fn taken(&self) -> [u8; 4] {
        let now = [self.epoch.current(), self.fresh.load(Relaxed)];
        let [epoch, fresh] = self.snapshot.before().unwrap_or(now);
        [now[0], now[1], epoch, fresh]
    }

    /// Memory of a block is handed out while the space is marked: it is live.
    fn count_new(&self, start: Address, bytes: usize) {
        if self.snapshot.before().is_some() {
            self.defrag.live_bytes().add_now(start, bytes);
        }
    }

    /// The next hole of at least `lines` lines in the cursor's block, now ours (I2).
    fn next_hole(&self, cursor: &mut HoleCursor, lines: u32) -> Option<FreeMemory<'_>> {
        let start = self.pool.extent().block_start(cursor.block?);
        let hole = match self.ages.at_snapshot() {
            false => self.lines.next_hole(start, cursor.line, lines, [self.epoch.current(), self.handed_out()])?,
            true => self.lines.next_hole(start, cursor.line, lines, self.taken())?,
        };
        cursor.line = hole.end;
        let hole = self.lines.take(start, hole, self.handed_out());
        self.count_new(hole.start, hole.end.bytes_from(hole.start));
        self.states.forget(hole.start, hole.end.bytes_from(hole.start));
        Some(self.pool.part(hole))
    }

    /// A whole block, if `left` bytes are left then; its lines are all ours.
    pub(super) fn take_block(&self, by: Charge, left: usize) -> Option<FreeMemory<'_>> {
        let acquired = self.pool.acquire(Payment::Bytes(BLOCK_BYTES + left, by))?;
        self.pool.memory().budget().unreserve(left);
        let memory = self.pool.memory_of(acquired);
        let start = memory.start();
        self.states.forget(start, BLOCK_BYTES);
        let turn = self.turn.load(Relaxed);
        let (lines, state) = match by {
            Charge::Mutator if self.has_nursery => (self.handed_out(), turn.nursery()),
            Charge::Mutator => (self.handed_out(), turn.fresh()),
            Charge::Collector => (0, turn.fresh()),
        };
        self.lines.take(start, 0..LINES, lines);
        if matches!(by, Charge::Mutator) {
            self.count_new(start, BLOCK_BYTES);
        }
        self.blocks.at(start).store(state, Relaxed);
        Some(memory)
    }

    /// Room for a copy in a block that is not evacuated itself: a hole of at least `lines` lines. In a minor
    /// collection a line is free if it does not carry the epoch; in a full one, if it carried none before it
    /// either. Listed blocks hold nothing that was handed out since the last collection: mutators take them
    /// off the list.
    ///
    /// With `again`, the cursor's block is left to other workers if it has no such hole: the caller must give
    /// up what it has of that block when the cursor has left it.
    pub(super) fn next_hole_for_copies(
        &self,
        cursor: &mut HoleCursor,
        lines: u32,
        numbers: [u8; 3],
        again: bool,
    ) -> Option<FreeMemory<'_>> {
        loop {
            if let Some(block) = cursor.block {
                let start = self.pool.extent().block_start(block);
                if let Some(hole) = self.lines.next_hole(start, cursor.line, lines, numbers) {
                    cursor.line = hole.end;
                    return Some(self.pool.part(self.lines.range(start, hole)));
                }
            }
            let block = match again {
                true => self.next_searched(cursor, lines)?,
                false => Block(self.recyclable.pop(self.pool.links())?),
            };
            let state = self.blocks.at(self.pool.extent().block_start(block));
            let source = state.load(Relaxed) == BlockState::Source;
            if !source {
                // The sweep lists it again.
                state.store(self.turn.load(Relaxed).fresh(), Relaxed);
            }
            *cursor = HoleCursor { block: (!source).then_some(block), line: 0 };
        }
    }

    /// Room for a copy in the block that workers share, which may be the last one.
    pub(super) fn allocate_shared_copy(&self, bytes: usize) -> Option<CopyTarget> {
        let mut range = self.shared_copies.lock();
        if let Some(target) = range.alloc_for_copy(bytes) {
            return Some(target);
        }
        range.install_for_copies(self.take_block(Charge::Collector, 0)?);
        range.alloc_for_copy(bytes)
    }

    /// Begins an epoch, if the collection is a full one. The blocks of the nursery become sources if
    /// `evacuate_nursery`.
    pub fn prepare(&self, kind: CollectionKind, evacuate_nursery: bool) {
        self.forget_searched();
        if kind == CollectionKind::Full {
            self.epoch.advance();
            self.defrag.begin_trace(self.pool.watermark());
        }
        let blocks = if self.has_nursery { self.pool.watermark() } else { 0 };
        for state in (0..blocks).map(|n| self.blocks.at(self.pool.extent().block_start(Block(n)))) {
            if state.load(Relaxed).is_nursery() {
                let fresh = self.turn.load(Relaxed).fresh();
                state.store(if evacuate_nursery { BlockState::Source } else { fresh }, Relaxed);
            }
        }
    }

    /// The epoch of the last collection, or of the marking in progress.
    pub fn epoch(&self) -> u8 {
        self.epoch.current()
    }

    /// A marking beside mutators begins. In a pause, with all ranges of mutators retired.
    pub fn begin_snapshot(&self) {
        self.snapshot.begin([self.epoch.current(), self.fresh.load(Relaxed)]);
        self.epoch.advance();
        // When the numbers come round, no line carries them any more: sweeps have seen to it
        // (`NUMBERS_SWEPT`).
        let fresh = self.fresh.load(Relaxed);
        self.fresh.store(fresh.checked_add(1).unwrap_or(FIRST_FRESH), Relaxed);
        self.defrag.begin_trace(self.pool.watermark());
    }

    /// Whether new objects are evacuated by the first collection that they survive.
    pub fn has_nursery(&self) -> bool {
        self.has_nursery
    }

    /// Whether stress options want even the first round to evacuate.
    pub fn always_evacuates(&self) -> bool {
        self.defrag.always()
    }

    /// Whether memory runs out, so that it pays to evacuate again and again. Call after a sweep.
    pub fn evacuation_is_urgent(&self, pause: &Pause<'_, VM>) -> bool {
        self.defrag.is_urgent(pause, self.pool.memory().budget())
    }

    /// Chooses the blocks that the next round evacuates, if that pays. Call before [`ImmixSpace::prepare`].
    pub fn choose_sources(&self, pause: &mut Pause<'_, VM>) -> bool {
        let chosen = self.defrag.choose_sources(pause, &self.pool, &self.blocks, &self.lines, self.epoch.current());
        if chosen {
            pause.defragments();
        }
        chosen
    }

    /// Bytes that are not reserved, and the same with those of free lines. A round has gained something if it
    /// made one of the two larger: copies of more than a line go from holes to holes, and what they gain is
    /// whole blocks. After the sweep of a full collection.
    pub fn room(&self) -> [usize; 2] {
        let budget = self.pool.memory().budget();
        let free = budget.limit() - budget.reserved();
        [free, free + self.defrag.holes()]
    }

    /// Frees empty blocks and lists those with holes: now, or when mutators run again.
    pub fn sweep(&self, pause: &mut Pause<'_, VM>) {
        pause.for_each_worker(|worker| worker.allocators.clear());
        self.shared_copies.lock().clear();
        self.defrag.end_round();
        self.forget_searched();
        let kind = pause.kind();
        if kind == CollectionKind::Full {
            self.defrag.begin_sweep();
            self.recyclable.clear();
        }
        let ends = self.snapshot.before().is_some();
        self.snapshot.end();
        // What was handed out while it was marked is live, and mutators go on with that number.
        self.live.store(if ends { self.fresh.load(Relaxed) } else { self.epoch.current() }, Relaxed);
        if self.leaves_sweep(pause, ends) {
            self.turn.store(self.turn.load(Relaxed).next(), Relaxed);
            let dead = self.pool.owned().saturating_sub(self.defrag.live_bytes().live_blocks());
            self.left.leave(self.pool.watermark().div_ceil(UNIT_BLOCKS), dead as usize * BLOCK_BYTES);
        } else {
            pause.sweep(self.pool.watermark() as usize, |_, blocks| _ = self.sweep_blocks(blocks, kind, None));
        }
        match self.fresh.load(Relaxed) {
            _ if ends => (),
            u8::MAX => {
                pause.sweep(self.pool.watermark() as usize, |_, blocks| {
                    let start = |n| self.pool.extent().block_start(Block(n as u32));
                    blocks.map(start).for_each(|block| self.lines.forget_above(block, EPOCH_MAX));
                });
                self.fresh.store(FIRST_FRESH, Relaxed);
            }
            fresh => self.fresh.store(fresh + 1, Relaxed),
        }
    }

    /// Whether it is swept when mutators run again: nothing in this pause depends on it.
    fn leaves_sweep(&self, pause: &mut Pause<'_, VM>, ends: bool) -> bool {
        let numbers_end = self.fresh.load(Relaxed) == u8::MAX && !ends;
        let owned = self.pool.owned() as usize * BLOCK_BYTES;
        let may_pay = |pause: &Pause<'_, VM>| !ends && self.defrag.may_pay(pause, self.pool.memory().budget(), owned);
        (ends || !self.defrag.always()) && pause.leaves_sweep(self.pool.watermark() as usize, may_pay) && !numbers_end
    }

    /// Sweeps blocks, but for those of which memory was handed out in the turn `passes`. Returns the bytes
    /// that became free.
    fn sweep_blocks(&self, blocks: Range<usize>, kind: CollectionKind, passes: Option<Turn>) -> usize {
        let epoch = self.epoch.current();
        let numbers = [epoch, self.live.load(Relaxed)];
        let (mut freed, mut waste, mut holes) = (0, 0, 0);
        for number in blocks.rev() {
            let block = Block(number as u32);
            let start = self.pool.extent().block_start(block);
            let state = self.blocks.at(start);
            match (state.load(Relaxed), kind) {
                (BlockState::Free, _) | (BlockState::Used, CollectionKind::Minor) => continue,
                (now, _) if passes.is_some_and(|turn| turn.has_handed_out(now)) => continue,
                _ => (),
            }
            let live = match numbers[0] == numbers[1] {
                true => self.lines.count_live(start, [epoch]),
                false => self.lines.count_live(start, numbers),
            };
            if live == 0 {
                if self.ages.at_snapshot() {
                    // Numbers come round, and the block may be free for long (I7).
                    self.lines.take(start, 0..LINES, 0);
                }
                state.store(BlockState::Free, Relaxed);
                self.pool.release(block);
                freed += BLOCK_BYTES;
                continue;
            }
            if kind == CollectionKind::Full && NUMBERS_SWEPT.contains(&epoch) {
                self.lines.forget_others(start, numbers);
            }
            // A marking beside mutators asks the lines alone (`is_there`).
            let forget = NUMBERS_SWEPT.contains(&epoch) || self.ages.at_snapshot();
            if VM::OBJECT_STARTS && kind == CollectionKind::Full && forget {
                lookup::forget_starts(&self.states, start, |object| {
                    self.states.is_marked(object, epoch) || self.is_new(object)
                });
            }
            state.store(BlockState::Used, Relaxed);
            waste += self.defrag.waste_in(block);
            holes += (LINES - live) as usize * LINE_BYTES;
            if live < LINES {
                self.poison_holes(start, numbers);
                self.recyclable.push(self.pool.links(), block.0);
            }
        }
        self.pool.memory().budget().unreserve(freed);
        self.defrag.add_swept(waste, holes);
        freed
    }

    fn poison_holes(&self, block: Address, numbers: [u8; 2]) {
        let mut from = 0;
        while self.pool.memory().poisons()
            && let Some(hole) = self.lines.next_hole(block, from, 1, numbers)
        {
            from = hole.end;
            let hole = self.lines.range(block, hole);
            self.pool.poison(hole.start, hole.end.bytes_from(hole.start));
        }
    }
}

impl<VM: VMBinding> Unswept for ImmixSpace<VM> {
    fn left(&self) -> &LeftToSweep {
        &self.left
    }

    fn sweep_unit(&self, unit: u32) {
        let end = self.pool.watermark().min((unit + 1) * UNIT_BLOCKS);
        let blocks = (unit * UNIT_BLOCKS) as usize..end as usize;
        self.left.freed(self.sweep_blocks(blocks, CollectionKind::Full, Some(self.turn.load(Relaxed))));
    }
}

impl<VM: VMBinding> Space for ImmixSpace<VM> {
    fn name(&self) -> &'static str {
        "immix"
    }
    fn extent(&self) -> Extent {
        self.pool.extent()
    }
    fn moves(&self) -> bool {
        self.has_nursery || self.defrag.is_enabled()
    }
    fn pins(&self) -> bool {
        true
    }
    fn retire(&self, allocators: &mut Allocators) {
        // A block that was searched for large holes may have small ones left.
        for cursor in [&mut allocators.hole, &mut allocators.overflow_hole] {
            if let Some(block) = cursor.block.take() {
                self.leftover.push(self.pool.links(), block.0);
            }
        }
    }
    fn ages(&self) -> Ages {
        self.ages
    }
    fn unswept(&self) -> Option<&dyn Unswept> {
        Some(self)
    }
    fn reserved_bytes(&self) -> usize {
        self.pool.owned() as usize * BLOCK_BYTES
    }
    fn check_object(&self, object: ObjectReference, bytes: usize) -> Result<(), String> {
        if self.blocks.at(object.address()).load(Relaxed) == BlockState::Free {
            return Err("its block is free: nothing was allocated there, or it was collected".to_string());
        }
        lookup::within_block(object, bytes)?;
        let taken = match self.ages.at_snapshot() {
            false => self.lines.all_taken(object.address(), bytes, [self.epoch.current(), self.handed_out()]),
            true => self.lines.all_taken(object.address(), bytes, self.taken()),
        };
        match taken {
            true => Ok(()),
            false => Err("a line of it is free: it was collected".to_string()),
        }
    }
    fn check_live(&self, object: ObjectReference, _bytes: usize) -> Result<(), String> {
        let lives = self.states.is_marked(object, self.epoch.current());
        match lives || self.ages.at_snapshot() && self.is_new(object) {
            true => Ok(()),
            false => Err(format!("it is not marked (state {})", self.states.describe(object))),
        }
    }
    fn find_object(&self, address: Address) -> Option<ObjectReference> {
        if self.blocks.at(address).load(Relaxed) == BlockState::Free {
            return None;
        }
        let object = lookup::last_object(&*self.vm, &self.states, address, address.align_down(BLOCK_BYTES))?;
        self.is_there(object).then_some(object)
    }
    fn keeps_starts(&self) -> bool {
        true
    }
    fn for_each_object(&self, visit: &mut dyn FnMut(ObjectReference)) {
        for block in (0..self.pool.watermark()).map(|n| self.pool.extent().block_start(Block(n))) {
            if self.blocks.at(block).load(Relaxed) != BlockState::Free {
                lookup::objects_in::<VM>(&self.states, block, block.plus(BLOCK_BYTES), |object| {
                    if self.is_there(object) {
                        visit(object);
                    }
                });
            }
        }
    }
    fn survived(&self, object: ObjectReference) -> bool {
        let marked = |epoch| self.states.is_marked(object, epoch);
        marked(self.epoch.current()) || self.snapshot.before().is_some_and(|[epoch, _]| marked(epoch))
    }
}
