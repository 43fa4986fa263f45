//! Mark-sweep: size-segregated blocks, swept when they are next allocated from.
//!
//! 1. Marking sets the mark bit of an object's cell; the first mark in a block gives the block the epoch.
//! 2. After the trace, a block without a mark is free as a whole; every other block goes to the list of its
//!    size class.
//! 3. A mutator that needs cells takes a block from the list, reads its mark bits a word at a time, and bumps
//!    through the runs of free cells. This is the lazy sweep: it writes nothing, and it need not be
//!    completed. With poison, the pause fills the free cells.
//!
//! In a generational plan marks stick: a minor collection keeps the epoch, so what is marked is old and is
//! not traced again. It sweeps the blocks that mutators took since the last collection, which they list as
//! `touched`. Old objects that the binding releases lose their marks before that, and their blocks are
//! touched, too.
//!
//! I1. A listed block is swept by the thread that pops it. A block comes to a `partial` list by the sweep
//!     alone: in a pause, or when mutators run again.
//! I2. Between pauses a cell of a listed block is free if it is not marked; cells handed out since are behind
//!     their owner's cursor, which only moves forward.
//! I3. While the sweep is left for mutators, a block that was taken since the trace is told by its state:
//!     `BLOCK_NEW` with this epoch.
//! I4. While the space is marked beside mutators, memory is handed out in blocks of their own, with this
//!     state: what lies in another block that is not free is in the snapshot. Cells that are free there wait
//!     for the sweep. Who claims an object does so in its state, which every full collection marks too: no
//!     old number comes round.
//! Callers: `allocate` any mutator; the tracer any worker; `sweep_unit` any thread; the rest the leader.

use super::epoch::Epoch;
use derive_where::derive_where;
use mmtk_core::alloc::{Allocators, CellRange, CellsOf, ThreadCells};
use mmtk_core::events::CollectionKind;
use mmtk_core::memory::{
    BLOCK_BYTES, Block, BlockList, BlockPool, Borrowed, CHUNK_BYTES, Charge, Extent, FreeMemory, LOG_BLOCK_BYTES,
    Payment, SideBytes,
};
use mmtk_core::metadata::{
    Ages, BLOCK_FREE, BLOCK_NEW, CellMarks, Moves, ObjectStates, SIZE_CLASSES, class_bytes, class_of,
};
use mmtk_core::pause::Pause;
use mmtk_core::space::{LeftToSweep, Space, Unswept};
use mmtk_core::trace::{ObjectItem, SnapshotTracer, SpaceTracer, Traced};
use mmtk_core::workers::{Count, Worker};
use mmtk_core::{Address, HeapError, ObjectReference, PlanContext, VMBinding};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// Blocks of a unit of the sweep that is left: a few microseconds.
const UNIT_BLOCKS: u32 = 64;

/// The space.
pub struct MarkSweepSpace<VM> {
    vm: Arc<VM>,
    name: &'static str,
    /// Which cells of a thread are this space's.
    of: CellsOf,
    pool: Arc<BlockPool>,
    marks: CellMarks,
    epoch: Epoch,
    /// Blocks that may have free cells, by class; their links are the pool's.
    partial: [BlockList; SIZE_CLASSES],
    /// In a generational plan: blocks that mutators have taken since the last collection, and are done with.
    touched: BlockList,
    /// A byte a block, in a generational plan: whether it is on no list since it had no free cell when it was
    /// swept.
    full: SideBytes,
    states: ObjectStates<VM>,
    ages: Ages,
    /// Blocks in which the last full collection marked anything.
    live_blocks: AtomicU32,
    /// Whether a marking beside mutators is in progress.
    marking: AtomicBool,
    /// What it has left to be swept.
    left: LeftToSweep,
}

impl<VM: VMBinding> MarkSweepSpace<VM> {
    /// An empty space in the next extent, for ordinary objects of a plan.
    pub fn new(context: &PlanContext<'_, VM>, name: &'static str, ages: Ages) -> Result<Self, HeapError> {
        Self::with(context, name, CellsOf::Plan, ages)
    }

    /// An empty space in the next extent, for objects that must not move: the one in `CommonSpaces`. A space
    /// of a plan's own is made by `new`, also if the plan puts objects there so that they stay. The two use
    /// different cells of a thread.
    pub fn nonmoving(context: &PlanContext<'_, VM>, ages: Ages) -> Result<Self, HeapError> {
        Self::with(context, "non-moving", CellsOf::NonMoving, ages)
    }

    fn with(context: &PlanContext<'_, VM>, name: &'static str, of: CellsOf, ages: Ages) -> Result<Self, HeapError> {
        let extent = context.memory.extent();
        let mut tables = CellMarks::TABLE_BYTES_PER_BLOCK * (CHUNK_BYTES >> LOG_BLOCK_BYTES);
        // Marks are the space's own; an object's state is used for the barrier.
        if ages.has_barrier() {
            tables += ObjectStates::<VM>::table_bytes_per_chunk() + (CHUNK_BYTES >> LOG_BLOCK_BYTES);
        } else {
            tables += ObjectStates::<VM>::start_bytes_per_chunk();
        }
        Ok(MarkSweepSpace {
            vm: context.vm.clone(),
            name,
            of,
            pool: BlockPool::new(context.memory, extent, tables)?,
            marks: CellMarks::new(context.memory, extent)?,
            epoch: Epoch::default(),
            partial: std::array::from_fn(|_| BlockList::new()),
            touched: BlockList::new(),
            full: context.memory.side_bytes(extent, LOG_BLOCK_BYTES)?,
            states: context.states.clone(),
            ages,
            live_blocks: AtomicU32::new(0),
            marking: AtomicBool::new(false),
            left: LeftToSweep::default(),
        })
    }

    /// The slow path, for at most [`MAX_CELL_BYTES`](super::MAX_CELL_BYTES): the run at hand, the next run of
    /// the block at hand, a block that another thread left, a listed block, or a new one.
    pub fn allocate(&self, allocators: &mut Allocators, bytes: usize) -> Option<Address> {
        let mut thread = allocators.cells_of(self.of);
        let class = class_of(bytes);
        let cell_bytes = class_bytes(class);
        loop {
            let ThreadCells { cells, pace, allocated, .. } = &mut thread;
            let cell = &mut cells[class];
            if let Some(address) = cell.range.alloc_zeroing(cell_bytes, *pace, allocated) {
                return Some(address);
            }
            if let Some(block) = cell.block {
                let block = self.marks.block(block);
                if let Some(run) = block.next_free_run(cell.next_cell) {
                    cell.next_cell = run.end;
                    self.install(cell, self.pool.part(block.run(run)), allocated);
                    continue;
                }
            }
            self.put_away(cell);
            if let Some(left) = thread.left_by_another(class) {
                thread.cells[class] = left;
                continue;
            }
            let ThreadCells { cells, allocated, .. } = &mut thread;
            let cell = &mut cells[class];
            let marking = self.marking.load(Relaxed);
            if !marking && let Some(number) = self.partial[class].pop(self.pool.links()) {
                (cell.block, cell.next_cell) = (Some(Block(number)), 0);
                continue;
            }
            if matches!(self.of, CellsOf::Plan) && !self.left.is_over() {
                // It would grow beside cells that are free. The caller sweeps, and comes again. Beside
                // another plan's space it is small, and that space's units come first.
                return None;
            }
            let acquired = self.pool.acquire(Payment::Bytes(BLOCK_BYTES, Charge::Mutator))?;
            let block = self.marks.format(acquired.block, class, self.epoch.current());
            if marking {
                self.live_blocks.fetch_add(1, Relaxed);
            }
            self.states.forget_starts(self.pool.extent().block_start(acquired.block), BLOCK_BYTES);
            let cells = block.class().cells;
            (cell.block, cell.next_cell) = (Some(acquired.block), cells);
            self.install(cell, self.pool.memory_of(acquired).narrow(block.run(0..cells)), allocated);
        }
    }

    fn install(&self, cell: &mut CellRange, run: FreeMemory<'_>, allocated: &mut usize) {
        if self.ages.has_barrier() {
            self.states.forget(run.start(), run.bytes());
        }
        cell.range.install(run, allocated);
    }

    /// A mutator is done with a block.
    fn put_away(&self, cell: &mut CellRange) {
        if let Some(block) = cell.block.take()
            && self.ages.has_old()
        {
            self.touched.push(self.pool.links(), block.0);
        }
    }

    /// Begins an epoch, if the collection is a full one. Blocks still listed are then found again by the
    /// sweep.
    pub fn prepare(&self, kind: CollectionKind) {
        if kind == CollectionKind::Full {
            self.epoch.advance();
            self.partial.iter().for_each(BlockList::clear);
            self.touched.clear();
            self.live_blocks.store(0, Relaxed);
        }
    }

    /// A marking beside mutators begins. In a pause, with all cells of mutators given up.
    pub fn begin_snapshot(&self) {
        self.prepare(CollectionKind::Full);
        self.marking.store(true, Relaxed);
    }

    /// The policy of the marking in progress.
    pub fn snapshot(&self) -> MarkSweepSnapshot<'_, VM> {
        MarkSweepSnapshot(self.tracer())
    }

    /// Whether the object's block was taken since the last full collection began.
    fn is_in_new_block(&self, object: ObjectReference) -> bool {
        let block = self.pool.extent().block_of(object.address());
        self.marks.state(block).load(Relaxed) == BLOCK_NEW | self.epoch.current()
    }

    /// The policy for this pause's trace.
    pub fn tracer(&self) -> MarkSweepTracer<'_, VM> {
        MarkSweepTracer {
            vm: &self.vm,
            marks: self.marks.view(),
            extent: self.pool.extent(),
            epoch: self.epoch.current(),
            states: self.states.view(),
            ages: self.ages,
            live_blocks: &self.live_blocks,
        }
    }

    /// Updates the slots of the objects that were marked. Between trace and sweep, in a full collection.
    pub fn update_references(&self, pause: &mut Pause<'_, VM>, moves: &Moves<'_, VM>) {
        let epoch = self.epoch.current();
        pause.parallel("update cells", self.pool.watermark() as usize, |_, blocks| {
            let mut slots = moves.slots();
            for block in blocks.map(|number| Block(number as u32)) {
                if self.marks.state(block).load(Relaxed) == epoch {
                    self.marks.block(block).for_each_marked(|object| self.vm.scan_object(object, &mut slots));
                }
            }
        });
    }

    /// Frees blocks without a live cell and lists the others: all of them, now or when mutators run again, or
    /// in a minor collection those that mutators took.
    pub fn sweep(&self, pause: &mut Pause<'_, VM>) {
        self.marking.store(false, Relaxed);
        let blocks = self.pool.watermark() as usize;
        match pause.kind() {
            // Objects that are found by address must not be found dead, and cells do not tell.
            CollectionKind::Full if !VM::OBJECT_STARTS && pause.leaves_sweep(blocks, |_| false) => {
                let dead = self.pool.owned().saturating_sub(self.live_blocks.load(Relaxed));
                self.left.leave(self.pool.watermark().div_ceil(UNIT_BLOCKS), dead as usize * BLOCK_BYTES);
            }
            CollectionKind::Full => {
                pause.sweep(blocks, |_, blocks| _ = self.sweep_blocks(blocks));
            }
            CollectionKind::Minor => {
                self.release(pause.released());
                pause.sweep(blocks, |_, blocks| self.sweep_touched(blocks.len()));
            }
        }
    }

    /// Takes away the marks of the objects that lie in this space.
    fn release(&self, objects: &[ObjectReference]) {
        let (extent, epoch) = (self.pool.extent(), self.epoch.current());
        for &object in objects.iter().filter(|&&object| extent.holds(object)) {
            let marked = self.marks.unmark(object, epoch);
            debug_assert!(marked, "{object} was released, but is not old");
            if self.full.at(object.address()).swap(0, Relaxed) != 0 {
                self.touched.push(self.pool.links(), extent.block_of(object.address()).0);
            }
        }
    }

    /// Sweeps up to `blocks` of the touched blocks.
    fn sweep_touched(&self, blocks: usize) {
        let mut freed = 0;
        for block in (0..blocks).map_while(|_| self.touched.pop(self.pool.links())).map(Block) {
            let (state, cells) = (self.marks.state(block), self.marks.block(block));
            let run = match state.load(Relaxed) {
                state if state & BLOCK_NEW != 0 => Some(0..cells.class().cells),
                _ => cells.next_free_run(0),
            };
            match run {
                Some(run) if run.len() == cells.class().cells as usize => {
                    state.store(BLOCK_FREE, Relaxed);
                    self.pool.release(block);
                    freed += BLOCK_BYTES;
                }
                Some(_) => {
                    self.clear_cells(block);
                    self.partial[self.marks.class_number(block)].push(self.pool.links(), block.0);
                }
                // Not listed again until something in it is released, or a full collection frees a cell.
                None => self.full.at(self.pool.extent().block_start(block)).store(1, Relaxed),
            }
        }
        self.pool.memory().budget().unreserve(freed);
    }

    /// Returns the bytes that became free.
    fn sweep_blocks(&self, blocks: Range<usize>) -> usize {
        let epoch = self.epoch.current();
        let mut freed = 0;
        // From the end, so that a list begins with its lowest address.
        for number in blocks.rev() {
            let block = Block(number as u32);
            let state = self.marks.state(block);
            let full = self.full.at(self.pool.extent().block_start(block));
            if self.ages.has_old() {
                full.store(0, Relaxed);
            }
            match state.load(Relaxed) {
                BLOCK_FREE => (),
                // Taken since the trace (I3).
                taken if taken == BLOCK_NEW | epoch => (),
                // A block that is released as a whole goes back sooner if it is on no list.
                marked
                    if marked == epoch && self.ages.has_old() && self.marks.block(block).next_free_run(0).is_none() =>
                {
                    full.store(1, Relaxed);
                }
                marked if marked == epoch => {
                    self.clear_cells(block);
                    self.partial[self.marks.class_number(block)].push(self.pool.links(), block.0);
                }
                _ => {
                    state.store(BLOCK_FREE, Relaxed);
                    self.pool.release(block);
                    freed += BLOCK_BYTES;
                }
            }
        }
        self.pool.memory().budget().unreserve(freed);
        freed
    }

    /// What is to be done at once with cells that are free: for poison, and so that nobody finds objects
    /// there.
    fn clear_cells(&self, block: Block) {
        let (block, mut from) = (self.marks.block(block), 0);
        while (VM::OBJECT_STARTS || self.pool.memory().poisons())
            && let Some(run) = block.next_free_run(from)
        {
            from = run.end;
            let run = block.run(run);
            let bytes = run.end.bytes_from(run.start);
            self.states.forget_starts(run.start, bytes);
            if self.pool.memory().poisons() {
                self.pool.poison(run.start, bytes);
            }
        }
    }
}

/// Marks cells.
#[derive_where(Clone, Copy)]
pub struct MarkSweepTracer<'a, VM> {
    vm: &'a VM,
    marks: CellMarks<Borrowed<'a>>,
    extent: Extent,
    epoch: u8,
    states: ObjectStates<VM, Borrowed<'a>>,
    ages: Ages,
    live_blocks: &'a AtomicU32,
}

impl<VM: VMBinding> SpaceTracer<VM> for MarkSweepTracer<'_, VM> {
    type Item = ObjectItem;

    #[inline(always)]
    fn holds(&self, object: ObjectReference) -> bool {
        self.marks.holds(object)
    }

    #[inline(always)]
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        if !self.marks.mark(object, self.epoch, worker.alone, || _ = self.live_blocks.fetch_add(1, Relaxed)) {
            return Traced::Seen(object);
        }
        worker.count(self.extent, self.vm.object_size(object));
        match self.ages {
            Ages::One => (),
            // The state, too: an old number in it would come round.
            Ages::Snapshot => _ = self.states.mark(object, Ages::Snapshot.mark_of(self.epoch)),
            Ages::NewAndOld => self.states.unlog(object),
        }
        Traced::New(object)
    }

    #[inline(always)]
    fn prefetch(&self, object: ObjectReference) {
        object.address().prefetch();
        if self.holds(object) {
            self.marks.mark_address(object).prefetch();
        }
    }

    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        self.marks.is_marked(object, self.epoch).then_some(object)
    }
}

/// Claims cells beside mutators.
#[derive_where(Clone, Copy)]
pub struct MarkSweepSnapshot<'a, VM>(MarkSweepTracer<'a, VM>);

impl<VM: VMBinding> SnapshotTracer<VM> for MarkSweepSnapshot<'_, VM> {
    #[inline(always)]
    fn holds(&self, object: ObjectReference) -> bool {
        self.0.holds(object)
    }

    fn is_white(&self, object: ObjectReference) -> bool {
        let MarkSweepTracer { marks, extent, states, epoch, .. } = &self.0;
        let block = marks.state(extent.block_of(object.address())).load(Relaxed);
        block != BLOCK_FREE && block != BLOCK_NEW | epoch && !states.is_claimed(object, *epoch)
    }

    fn claim(&self, object: ObjectReference, count: &mut impl Count) -> bool {
        let MarkSweepTracer { vm, marks, extent, states, epoch, live_blocks, .. } = &self.0;
        if !states.claim_beside(object, *epoch) {
            return false;
        }
        let marked = marks.mark(object, *epoch, false, || _ = live_blocks.fetch_add(1, Relaxed));
        debug_assert!(marked, "{object} is claimed once");
        count.count(*extent, vm.object_size(object));
        true
    }
}

impl<VM: VMBinding> Unswept for MarkSweepSpace<VM> {
    fn left(&self) -> &LeftToSweep {
        &self.left
    }

    fn sweep_unit(&self, unit: u32) {
        let end = self.pool.watermark().min((unit + 1) * UNIT_BLOCKS);
        self.left.freed(self.sweep_blocks((unit * UNIT_BLOCKS) as usize..end as usize));
    }
}

impl<VM: VMBinding> Space for MarkSweepSpace<VM> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn extent(&self) -> Extent {
        self.pool.extent()
    }
    fn moves(&self) -> bool {
        false
    }
    fn retire(&self, allocators: &mut Allocators) {
        allocators.used_cells_of(self.of).iter_mut().for_each(|cell| self.put_away(cell));
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
        if self.marks.state(self.pool.extent().block_of(object.address())).load(Relaxed) == BLOCK_FREE {
            return Err("its block is free: nothing was allocated there, or it was collected".to_string());
        }
        let (start, cell_bytes) = self.marks.cell(object);
        if start != object.address() {
            return Err(format!("no object begins there; the cell around it begins at {start}"));
        }
        if bytes > cell_bytes {
            return Err(format!("it was given a cell of {cell_bytes} bytes"));
        }
        Ok(())
    }
    fn find_object(&self, address: Address) -> Option<ObjectReference> {
        if self.marks.state(self.pool.extent().block_of(address)).load(Relaxed) == BLOCK_FREE {
            return None;
        }
        super::lookup::last_object(&*self.vm, &self.states, address, self.marks.cell_around(address)?)
    }
    fn keeps_starts(&self) -> bool {
        true
    }
    fn for_each_object(&self, visit: &mut dyn FnMut(ObjectReference)) {
        for block in (0..self.pool.watermark()).map(Block) {
            if self.marks.state(block).load(Relaxed) != BLOCK_FREE {
                let start = self.pool.extent().block_start(block);
                super::lookup::objects_in::<VM>(&self.states, start, start.plus(BLOCK_BYTES), &mut *visit);
            }
        }
    }
    fn survived(&self, object: ObjectReference) -> bool {
        self.marks.is_marked(object, self.epoch.current())
    }
    fn check_live(&self, object: ObjectReference, _bytes: usize) -> Result<(), String> {
        let new = self.ages.at_snapshot() && self.is_in_new_block(object);
        match new || self.marks.is_marked(object, self.epoch.current()) {
            true => Ok(()),
            false => Err(format!("its cell is not marked (state {})", self.states.describe(object))),
        }
    }
}
