//! Pools: the blocks and cells of mark-sweep, taken and freed by the VM.
//!
//! The mark bits of a block say which of its cells are taken; whether the trace reached an object is in the
//! object's state, with an epoch. Cells are taken from the lowest block that has a free one, so that the
//! upper ones empty; an empty block is free as soon as the pool has another with room.
//!
//! With `OBJECT_STARTS`, the space notes where objects begin. As in regions, an object that a collection did
//! not reach keeps its cell, but `find_object` does not find it any more.
//!
//! A freed cell, or a released pool, waits for the sweep of the next pause if the barrier may have noted one
//! of its objects, or if the verifier is to find references that are left. A released pool waits also if the
//! caller is no mutator.
//!
//! I1. A block's state is `BLOCK_FREE`, `TAKEN`, `RELEASED`, or `BLOCK_NEW` while its pool takes the first
//!     cell.
//! I2. `owners` has the pool's number for each block that is not free.
//! I3. While the space is marked beside mutators, cells are taken in blocks that were free when that began,
//!     and `owners` says so until the next collection: what lies in another block that is not free (`owners`
//!     is not 0) is in the snapshot. Nothing becomes free meanwhile.
//! Lock order: `pools`, then the cells of one pool; the latter are locked by the callers of `allocate` and
//! `free`.
//! Callers: as `mmtk_core::pool` says; the tracer any worker; the rest the leader.

use super::epoch::Epoch;
use derive_where::derive_where;
use mmtk_core::alloc::{BumpRange, Pace};
use mmtk_core::events::CollectionKind;
use mmtk_core::memory::{
    BLOCK_BYTES, Block, BlockPool, Borrowed, CHUNK_BYTES, Charge, Extent, LOG_BLOCK_BYTES, OrderedMap, Payment,
    SideWords,
};
use mmtk_core::metadata::{Ages, BLOCK_FREE, CellMarks, Moves, ObjectMark, ObjectStates, class_bytes};
use mmtk_core::os::PageVec;
use mmtk_core::pause::Pause;
use mmtk_core::space::{PoolCells, SharedCells, Space};
use mmtk_core::trace::{ObjectItem, SnapshotTracer, SpaceTracer, Traced};
use mmtk_core::workers::{Count, Worker};
use mmtk_core::{Address, HeapError, ObjectReference, PlanContext, VMBinding};
use protocols::sync::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The state of a block whose mark bits say which cells are taken.
const TAKEN: u8 = 1;
/// The state of a block whose pool was released, and which waits.
const RELEASED: u8 = 2;

/// In `owners`: the block was taken while the space is marked beside mutators (I3).
const NEW: u32 = 1 << 31;

/// Bytes of `owners` for each block.
const OWNER_BYTES: usize = 4;

#[derive(Default)]
struct Pools {
    /// How many were opened.
    opened: u32,
    /// Those that were not released, by their numbers.
    open: OrderedMap<u32, SharedCells>,
    /// Those that wait for the next sweep.
    released: PageVec<SharedCells>,
    /// Those that were freed in a pause. What is left of them is memory of `malloc`, which gets it back when
    /// the next pool is opened or released.
    spent: PageVec<SharedCells>,
}

/// The space.
pub struct PoolSpace<VM> {
    vm: Arc<VM>,
    blocks: Arc<BlockPool>,
    cells: CellMarks,
    owners: SideWords,
    states: ObjectStates<VM>,
    ages: Ages,
    epoch: Epoch,
    pools: Mutex<Pools>,
    /// Whether what is freed waits for the next pause, also when no marking is in progress.
    waits: bool,
    /// Whether a marking beside mutators is in progress.
    marking: AtomicBool,
}

impl<VM: VMBinding> PoolSpace<VM> {
    /// An empty space in the next extent.
    pub fn new(context: &PlanContext<'_, VM>, ages: Ages) -> Result<Self, HeapError> {
        let extent = context.memory.extent();
        let per_block = CellMarks::TABLE_BYTES_PER_BLOCK + OWNER_BYTES;
        let tables = ObjectStates::<VM>::table_bytes_per_chunk() + per_block * (CHUNK_BYTES >> LOG_BLOCK_BYTES);
        Ok(PoolSpace {
            vm: context.vm.clone(),
            blocks: BlockPool::new(context.memory, extent, tables)?,
            cells: CellMarks::new(context.memory, extent)?,
            owners: context.memory.block_words(extent)?,
            states: context.states.clone(),
            ages,
            epoch: Epoch::default(),
            pools: Mutex::default(),
            waits: context.options.verify || ages.has_old(),
            marking: AtomicBool::new(false),
        })
    }

    /// The next block for a pool, none of its cells taken.
    fn acquire(&self, pool: &mut PoolCells) -> Option<Block> {
        let block = self.blocks.acquire(Payment::Bytes(BLOCK_BYTES, Charge::Mutator))?.block;
        self.cells.format(block, pool.class, 0);
        let new = self.marking.load(Relaxed);
        self.owners.word(block.0).store(pool.number | if new { NEW } else { 0 }, Relaxed);
        if new {
            pool.young.insert(block, ());
        }
        pool.blocks.insert(block, 0);
        pool.partial.insert(block, ());
        Some(block)
    }

    /// The cell is free. An empty block goes back, unless it is the only one with free cells; then it does
    /// when another has some.
    fn free_cell(&self, pool: &mut PoolCells, object: ObjectReference) {
        let (start, bytes) = (object.address(), class_bytes(pool.class));
        let taken = self.cells.unmark(object, TAKEN);
        debug_assert!(taken, "{object} was freed, and is in no cell that is taken");
        self.blocks.poison(start, bytes);
        let block = self.blocks.extent().block_of(start);
        let taken = pool.blocks.get_mut(block).expect("checked in `free`");
        *taken -= 1;
        let empty = *taken == 0;
        pool.partial.insert(block, ());
        let is_empty = |block: &Block| pool.blocks.get(*block) == Some(&0);
        let goes_back = match pool.partial.len() {
            1 => None,
            _ if empty => Some(block),
            // The other may be the one that was kept.
            2 => pool.partial.iter().map(|(block, ())| block).find(is_empty),
            _ => None,
        };
        if let Some(block) = goes_back {
            pool.blocks.remove(block);
            pool.partial.remove(block);
            self.free_block(block);
        }
    }

    fn free_block(&self, block: Block) {
        self.states.forget_starts(self.blocks.extent().block_start(block), BLOCK_BYTES);
        self.cells.state(block).store(BLOCK_FREE, Relaxed);
        self.owners.word(block.0).store(0, Relaxed);
        self.blocks.release(block);
        self.blocks.memory().budget().unreserve(BLOCK_BYTES);
    }

    fn free_pool(&self, cells: &SharedCells) {
        let mut cells = cells.lock();
        cells.waiting.clear();
        cells.partial.clear();
        cells.set_aside.clear();
        std::mem::take(&mut cells.blocks).iter().for_each(|(block, _)| self.free_block(block));
    }

    /// Updates the slots of the objects that were reached. In a full collection.
    pub fn update_references(&self, pause: &mut Pause<'_, VM>, moves: &Moves<'_, VM>) {
        let epoch = self.epoch.current();
        pause.parallel("update pools", self.blocks.watermark() as usize, |_, blocks| {
            let mut slots = moves.slots();
            for block in blocks.map(|number| Block(number as u32)) {
                self.for_each_taken(block, |object| match self.states.is_marked(object, epoch) {
                    true => self.vm.scan_object(object, &mut slots),
                    // Never marked: else it would pass for reached when the epoch's number comes round, and
                    // what it refers to is gone.
                    false => _ = self.states.mark(object, ObjectMark::NONE),
                });
            }
        });
    }

    fn for_each_taken(&self, block: Block, visit: impl FnMut(ObjectReference)) {
        if self.cells.state(block).load(Relaxed) == TAKEN {
            self.cells.block(block).for_each_marked(visit);
        }
    }

    /// Frees the cells and pools that waited, and forgets where objects begin that this collection could have
    /// freed and did not reach: nobody may use them.
    pub fn sweep(&self, pause: &mut Pause<'_, VM>) {
        self.marking.store(false, Relaxed);
        let mut pools = self.pools.lock();
        let mut released = std::mem::take(&mut pools.released);
        released.iter().for_each(|cells| self.free_pool(cells));
        pools.spent.append(&mut released);
        let mut young = pause.arena().list();
        for (_, cells) in pools.open.iter() {
            let mut cells = cells.lock();
            let partial = std::mem::take(&mut cells.set_aside);
            partial.iter().for_each(|(block, ())| _ = cells.partial.insert(block, ()));
            while let Some((object, ())) = cells.waiting.first() {
                cells.waiting.remove(object);
                self.free_cell(&mut cells, object);
            }
            young.extend(cells.young.iter().map(|(block, ())| block));
            if !self.ages.at_snapshot() {
                cells.young.clear();
            }
        }
        if !VM::OBJECT_STARTS {
            return;
        }
        let epoch = self.epoch.current();
        let forget_unreached = |block| {
            if self.cells.state(block).load(Relaxed) == TAKEN && !self.is_new(block) {
                super::lookup::forget_unmarked(&self.states, self.blocks.extent().block_start(block), epoch);
            }
        };
        match pause.kind() {
            CollectionKind::Full => pause.parallel("sweep pools", self.blocks.watermark() as usize, |_, blocks| {
                blocks.map(|number| Block(number as u32)).for_each(forget_unreached);
            }),
            CollectionKind::Minor => pause.parallel("sweep pools", young.len(), |_, blocks| {
                young[blocks].iter().copied().for_each(forget_unreached);
            }),
        }
    }

    /// Begins an epoch. In a full collection.
    pub fn prepare(&self) {
        self.epoch.advance();
        if self.ages.at_snapshot() {
            self.for_each_open(|cells| {
                let young = std::mem::take(&mut cells.young);
                young.iter().for_each(|(block, ())| {
                    self.owners.word(block.0).fetch_and(!NEW, Relaxed);
                });
            });
        }
    }

    /// A marking beside mutators begins: cells are taken in other blocks from now on. In a pause.
    pub fn begin_snapshot(&self) {
        self.prepare();
        self.for_each_open(|cells| cells.set_aside = std::mem::take(&mut cells.partial));
        self.marking.store(true, Relaxed);
    }

    fn for_each_open(&self, f: impl Fn(&mut PoolCells)) {
        self.pools.lock().open.iter().for_each(|(_, cells)| f(&mut cells.lock()));
    }

    /// Whether the block was taken during a marking, since the last collection began.
    fn is_new(&self, block: Block) -> bool {
        self.owners.word(block.0).load(Relaxed) & NEW != 0
    }

    /// The policy of the marking in progress.
    pub fn snapshot(&self) -> PoolSnapshot<'_, VM> {
        PoolSnapshot { tracer: self.tracer(), owners: &self.owners }
    }

    /// The policy for this pause's trace.
    pub fn tracer(&self) -> PoolTracer<'_, VM> {
        let epoch = self.epoch.current();
        PoolTracer {
            vm: &self.vm,
            states: self.states.view(),
            cells: self.cells.view(),
            extent: self.blocks.extent(),
            epoch,
            mark: self.ages.mark_of(epoch),
        }
    }
}

impl<VM: VMBinding> mmtk_core::space::Pools for PoolSpace<VM> {
    fn open(&self, class: usize) -> SharedCells {
        let mut pools = self.pools.lock();
        pools.opened = pools.opened % (NEW - 1) + 1;
        let number = pools.opened;
        let cells = SharedCells::new(Mutex::new(PoolCells { number, class, ..PoolCells::default() }));
        pools.open.insert(number, cells.clone());
        let spent = std::mem::take(&mut pools.spent);
        drop(pools);
        drop(spent);
        cells
    }

    fn allocate(&self, pool: &mut PoolCells, pace: Pace, allocated: &mut usize) -> Option<Address> {
        let block = match pool.partial.first() {
            Some((block, ())) => block,
            None => self.acquire(pool)?,
        };
        let taken = pool.blocks.get_mut(block).expect("a partial block is one of the pool's");
        let cells = self.cells.block(block);
        let cell = match *taken {
            0 => 0,
            _ => cells.next_free_run(0).expect("a partial block has a free cell").start,
        };
        *taken += 1;
        if *taken == cells.class().cells {
            pool.partial.remove(block);
        }
        let (start, bytes) = (cells.cell_start(cell), class_bytes(pool.class));
        // Marked by this thread alone: it holds the pool's lock, and a block belongs to one pool.
        self.cells.mark(self.blocks.object_at(start), TAKEN, true, || ());
        self.states.forget(start, bytes);
        if VM::OBJECT_STARTS {
            self.states.starts().set_shared(start);
            if self.ages.has_old() {
                pool.young.insert(block, ());
            }
        }
        let mut range = BumpRange::default();
        range.install(self.blocks.part(start..start.plus(bytes)), allocated);
        range.alloc_zeroing(bytes, pace, allocated)
    }

    fn free(&self, pool: &mut PoolCells, object: ObjectReference) -> Result<(), String> {
        let extent = self.blocks.extent();
        if !extent.holds(object) || !pool.blocks.contains(extent.block_of(object.address())) {
            return Err(format!("it is no object of pool {}", pool.number));
        }
        if self.cells.cell_around(object.address()) != Some(object.address()) {
            return Err("no object begins there".to_string());
        }
        if !self.cells.is_marked(object, TAKEN) || pool.waiting.contains(object) {
            return Err("it is free".to_string());
        }
        // From now on nobody finds it by its address: a word on a stack that looks like it is no dangling
        // reference.
        self.states.forget_starts(object.address(), class_bytes(pool.class));
        match self.waits || self.marking.load(Relaxed) {
            true => _ = pool.waiting.insert(object, ()),
            false => self.free_cell(pool, object),
        }
        Ok(())
    }

    fn release(&self, cells: &SharedCells, now: bool) {
        let number = cells.lock().number;
        self.pools.lock().open.remove(number);
        if now && !self.waits && !self.marking.load(Relaxed) {
            return self.free_pool(cells);
        }
        cells.lock().blocks.iter().for_each(|(block, _)| self.cells.state(block).store(RELEASED, Relaxed));
        let mut pools = self.pools.lock();
        pools.released.push(cells.clone());
        let spent = std::mem::take(&mut pools.spent);
        drop(pools);
        drop(spent);
    }
}

/// Passes through objects of pools.
#[derive_where(Clone, Copy)]
pub struct PoolTracer<'a, VM> {
    vm: &'a VM,
    states: ObjectStates<VM, Borrowed<'a>>,
    cells: CellMarks<Borrowed<'a>>,
    extent: Extent,
    epoch: u8,
    /// What objects are marked with.
    mark: ObjectMark,
}

impl<VM: VMBinding> PoolTracer<'_, VM> {
    fn is_there(&self, object: ObjectReference) -> bool {
        self.cells.state(self.extent.block_of(object.address())).load(Relaxed) == TAKEN
            && self.cells.cell_around(object.address()) == Some(object.address())
            && self.cells.is_marked(object, TAKEN)
    }
}

impl<VM: VMBinding> SpaceTracer<VM> for PoolTracer<'_, VM> {
    type Item = ObjectItem;

    #[inline(always)]
    fn holds(&self, object: ObjectReference) -> bool {
        self.extent.holds(object)
    }

    /// # Panics
    /// When it was freed.
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        assert!(
            self.is_there(object),
            "{object} was in a pool and is freed, but something still refers to it; verify.trace=true tells what"
        );
        if !self.states.mark(object, self.mark) {
            return Traced::Seen(object);
        }
        worker.count(self.extent, self.vm.object_size(object));
        Traced::New(object)
    }

    /// One that was not keeps its cell, but what it refers to is
    /// dead.
    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        let reached = self.is_there(object) && self.states.is_marked(object, self.epoch);
        reached.then_some(object)
    }
}

/// Claims objects of pools beside mutators.
#[derive_where(Clone, Copy)]
pub struct PoolSnapshot<'a, VM> {
    tracer: PoolTracer<'a, VM>,
    owners: &'a SideWords,
}

impl<VM: VMBinding> SnapshotTracer<VM> for PoolSnapshot<'_, VM> {
    #[inline(always)]
    fn holds(&self, object: ObjectReference) -> bool {
        self.tracer.extent.holds(object)
    }

    fn is_white(&self, object: ObjectReference) -> bool {
        let PoolTracer { extent, states, epoch, .. } = &self.tracer;
        let owner = self.owners.word(extent.block_of(object.address()).0).load(Relaxed);
        owner != 0 && owner & NEW == 0 && !states.is_claimed(object, *epoch)
    }

    fn claim(&self, object: ObjectReference, count: &mut impl Count) -> bool {
        let PoolTracer { vm, extent, states, epoch, .. } = &self.tracer;
        let claimed = states.claim_beside(object, *epoch);
        if claimed {
            count.count(*extent, vm.object_size(object));
        }
        claimed
    }
}

impl<VM: VMBinding> Space for PoolSpace<VM> {
    fn name(&self) -> &'static str {
        "pools"
    }
    fn extent(&self) -> Extent {
        self.blocks.extent()
    }
    fn moves(&self) -> bool {
        false
    }
    fn ages(&self) -> Ages {
        self.ages
    }
    fn reserved_bytes(&self) -> usize {
        self.blocks.owned() as usize * BLOCK_BYTES
    }
    fn check_object(&self, object: ObjectReference, bytes: usize) -> Result<(), String> {
        let block = self.blocks.extent().block_of(object.address());
        let number = self.owners.word(block.0).load(Relaxed) & !NEW;
        match self.cells.state(block).load(Relaxed) {
            TAKEN => (),
            RELEASED => return Err(format!("pool {number} was released: the reference dangles")),
            _ => return Err("no pool has memory there: it was freed, or never taken".to_string()),
        }
        let (start, cell_bytes) = self.cells.cell(object);
        if start != object.address() {
            return Err(format!("no object begins there; the cell around it begins at {start}"));
        }
        let waits = self.pools.lock().open.get(number).is_some_and(|pool| pool.lock().waiting.contains(object));
        if waits || !self.cells.is_marked(object, TAKEN) {
            return Err(format!("it was freed in pool {number}: the reference dangles"));
        }
        if bytes > cell_bytes {
            return Err(format!("pool {number} gave it a cell of {cell_bytes} bytes"));
        }
        Ok(())
    }
    fn find_object(&self, address: Address) -> Option<ObjectReference> {
        if self.cells.state(self.blocks.extent().block_of(address)).load(Relaxed) != TAKEN {
            return None;
        }
        super::lookup::last_object(&*self.vm, &self.states, address, self.cells.cell_around(address)?)
    }
    fn for_each_object(&self, visit: &mut dyn FnMut(ObjectReference)) {
        for block in (0..self.blocks.watermark()).map(Block) {
            if self.cells.state(block).load(Relaxed) == TAKEN {
                let start = self.blocks.extent().block_start(block);
                super::lookup::objects_in::<VM>(&self.states, start, start.plus(BLOCK_BYTES), &mut *visit);
            }
        }
    }
    fn survived(&self, object: ObjectReference) -> bool {
        self.states.is_marked(object, self.epoch.current())
    }
    fn check_live(&self, object: ObjectReference, _bytes: usize) -> Result<(), String> {
        let new = self.is_new(self.blocks.extent().block_of(object.address()));
        match new || self.states.is_marked(object, self.epoch.current()) {
            true => Ok(()),
            false => Err(format!("the trace did not reach it (state {})", self.states.describe(object))),
        }
    }
}
