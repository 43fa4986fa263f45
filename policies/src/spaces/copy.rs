//! A copying space: survivors are copied to fresh blocks, and the old blocks become free as a whole.
//!
//! Each block that copies fill carries the epoch in which it was taken. Beginning an epoch turns every
//! existing block into from-space at once. Blocks that mutators take are young: from-space in the next
//! collection whether it begins an epoch or not. A minor collection begins no epoch, so it copies only out of
//! young blocks, and the copies are old.
//!
//! I1. A block is charged twice: for itself and for the copy of what may survive in it; and twice as many
//!     blocks as are owned are committed, tables included. So a collection has a prepaid block for each
//!     from-block. At most it needs cached memory to go back; it needs nothing else from the budget or the
//!     system.
//! I2. Objects pack differently in to-space, so the prepaid blocks can run out by a hair. Then an object
//!     stays where it is: its state says so, and the space keeps its block. No collection can fail.
//! Callers: `allocate` any mutator; the tracer any worker; the rest the leader.
//! Source: Cheney's semispaces (CACM 1970) with Immix-sized blocks; in-place survivors as in G1's evacuation
//! failure.

use super::epoch::Epoch;
use derive_where::derive_where;
use mmtk_core::alloc::Allocators;
use mmtk_core::events::CollectionKind;
use mmtk_core::memory::{
    Acquired, BLOCK_BYTES, Block, BlockPool, Borrowed, BytePer, CHUNK_BYTES, Charge, Extent, FreeMemory,
    LOG_BLOCK_BYTES, Payment, SideBytes,
};
use mmtk_core::metadata::{Ages, Claim, Claimed, EPOCH_MAX, ObjectMark, ObjectStates};
use mmtk_core::pause::Pause;
use mmtk_core::space::Space;
use mmtk_core::trace::{ObjectItem, SlotItem, SpaceTracer, Traced};
use mmtk_core::workers::Worker;
use mmtk_core::{Address, HeapError, ObjectReference, PlanContext, VMBinding};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Objects larger than this are large objects: less than a quarter of a block is lost at its end, while whole
/// pages for an object of little more than one page would lose nearly half.
pub const COPY_MAX_BYTES: usize = BLOCK_BYTES / 4;

/// What blocks that mutators fill carry instead of an epoch.
const YOUNG: u8 = EPOCH_MAX + 1;

/// The space.
pub struct CopySpace<VM> {
    vm: Arc<VM>,
    pool: Arc<BlockPool>,
    states: ObjectStates<VM>,
    ages: Ages,
    epoch: Epoch,
    /// The epoch in which each block was taken for copies, or `YOUNG`; 0 for blocks that are not ours.
    taken: BytePer<LOG_BLOCK_BYTES>,
    /// The epoch in which each block was last found to hold an object that could not be copied.
    kept: SideBytes,
    /// Bytes charged to the budget: written by mutators as they take blocks, and by the sweep.
    charged: AtomicUsize,
    /// Blocks that copies may still take in this pause.
    prepaid: AtomicUsize,
}

impl<VM: VMBinding> CopySpace<VM> {
    /// An empty space in the next extent.
    pub fn new(context: &PlanContext<'_, VM>, ages: Ages) -> Result<Self, HeapError> {
        let extent = context.memory.extent();
        let tables = 2 * (CHUNK_BYTES >> LOG_BLOCK_BYTES) + ObjectStates::<VM>::table_bytes_per_chunk();
        Ok(CopySpace {
            vm: context.vm.clone(),
            pool: BlockPool::new(context.memory, extent, tables)?,
            states: context.states.clone(),
            ages,
            epoch: Epoch::default(),
            taken: BytePer::of(context.memory.side_bytes(extent, LOG_BLOCK_BYTES)?),
            kept: context.memory.side_bytes(extent, LOG_BLOCK_BYTES)?,
            charged: AtomicUsize::new(0),
            prepaid: AtomicUsize::new(0),
        })
    }

    /// The slow path, for at most [`COPY_MAX_BYTES`]: the rest of the range at hand, what another thread
    /// left, or a new block.
    pub fn allocate(&self, allocators: &mut Allocators, bytes: usize) -> Option<Address> {
        if let Some(address) = allocators.bump_or_zero(bytes).or_else(|| allocators.bump_in_leftovers(bytes)) {
            return Some(address);
        }
        let charge = 2 * BLOCK_BYTES;
        let acquired = self.pool.acquire(Payment::Bytes(charge, Charge::Mutator))?;
        // The copies' share of the tables is paid now, too (I1). Asked after the block counts as owned: of
        // threads that take blocks at the same time, the last asks for all.
        if !self.pool.commit(2 * self.pool.owned(), Charge::Mutator) {
            self.pool.release(acquired.block);
            self.pool.memory().budget().unreserve(charge);
            return None;
        }
        self.charged.fetch_add(charge, Relaxed);
        allocators.refill_bump(self.claim_block(acquired, YOUNG), bytes)
    }

    fn claim_block(&self, acquired: Acquired, taken: u8) -> FreeMemory<'_> {
        let memory = self.pool.memory_of(acquired);
        self.states.forget(memory.start(), BLOCK_BYTES);
        self.taken.at(memory.start()).store(taken, Relaxed);
        memory
    }

    /// Copies a claimed object; gives the claim back if the prepaid blocks are used up (I2).
    #[inline(always)]
    fn copy(&self, worker: &mut Worker, claimed: Claimed, state: ObjectMark) -> Result<ObjectReference, Claimed> {
        match worker.allocators.bump.copy(&self.states, claimed, state) {
            Ok(copy) => Ok(copy),
            Err(claimed) => self.copy_to_next(worker, claimed, state),
        }
    }

    #[cold]
    #[inline(never)]
    fn copy_to_next(
        &self,
        worker: &mut Worker,
        claimed: Claimed,
        state: ObjectMark,
    ) -> Result<ObjectReference, Claimed> {
        let next = || {
            self.prepaid.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).ok()?;
            Some(self.claim_block(self.pool.acquire(Payment::Prepaid)?, self.epoch.current()))
        };
        match next() {
            Some(block) => {
                worker.allocators.bump.install_for_copies(block);
                worker.allocators.bump.copy(&self.states, claimed, state)
            }
            None => Err(claimed),
        }
    }

    /// Before a full collection, everything that exists becomes from-space; before a minor one, what is
    /// young.
    pub fn prepare(&self, kind: CollectionKind) {
        if kind == CollectionKind::Full {
            self.epoch.advance();
        }
        let charged = self.charged.load(Relaxed) / BLOCK_BYTES;
        self.prepaid.store(charged - self.pool.owned() as usize, Relaxed);
    }

    /// The policy for this pause's trace.
    pub fn tracer(&self) -> CopyTracer<'_, VM> {
        let (extent, epoch) = (self.pool.extent(), self.epoch.current());
        CopyTracer { space: self, taken: self.taken.view(), extent, epoch, copied: self.ages.mark_of(0) }
    }

    /// The policy for what must stay where it is: its block is kept.
    pub fn in_place(&self) -> CopyInPlace<'_, VM> {
        CopyInPlace(self.tracer())
    }

    /// Frees from-space.
    pub fn sweep(&self, pause: &mut Pause<'_, VM>) {
        pause.for_each_worker(|worker| worker.allocators.bump.clear());
        pause.sweep(self.pool.watermark() as usize, |_, blocks| self.sweep_blocks(blocks));
        let budget = self.pool.memory().budget();
        let (charged, wanted) = (self.charged.load(Relaxed), self.pool.owned() as usize * 2 * BLOCK_BYTES);
        if wanted <= charged {
            budget.unreserve(charged - wanted);
        } else if !budget.reserve(wanted - charged, Charge::Collector) {
            // More blocks than before (I2), and no room to prepay their copies: the next collection copies
            // what it can.
            return;
        }
        self.charged.store(wanted, Relaxed);
    }

    fn sweep_blocks(&self, blocks: Range<usize>) {
        let epoch = self.epoch.current();
        // From the end, so that the list begins with its lowest address: mutators are quicker where a block
        // follows the one before.
        for number in blocks.rev() {
            let block = Block(number as u32);
            let start = self.pool.extent().block_start(block);
            let taken = self.taken.at(start);
            if taken.load(Relaxed) == 0 || taken.load(Relaxed) == epoch {
                continue;
            }
            if self.kept.at(start).load(Relaxed) == epoch {
                taken.store(epoch, Relaxed);
                self.kept.at(start).store(0, Relaxed);
                self.forget_what_left(start);
            } else {
                taken.store(0, Relaxed);
                self.pool.release(block);
            }
        }
    }
}

impl<VM: VMBinding> CopySpace<VM> {
    /// In a block that is kept: only what stayed in it is found by address.
    fn forget_what_left(&self, block: Address) {
        if !VM::OBJECT_STARTS {
            return;
        }
        super::lookup::forget_unmarked(&self.states, block, self.epoch.current());
    }
}

/// Copies what it reaches.
#[derive_where(Clone, Copy)]
pub struct CopyTracer<'a, VM> {
    space: &'a CopySpace<VM>,
    taken: BytePer<LOG_BLOCK_BYTES, Borrowed<'a>>,
    extent: Extent,
    epoch: u8,
    /// The state of a copy.
    copied: ObjectMark,
}

impl<VM: VMBinding> CopyTracer<'_, VM> {
    /// The object stays, and its block is kept.
    fn settle(&self, claimed: Claimed) -> Traced {
        let (space, object) = (self.space, claimed.object());
        space.kept.at(object.address()).store(self.epoch, Relaxed);
        space.states.settle(claimed, space.ages.mark_of(self.epoch));
        Traced::New(object)
    }
}

impl<VM: VMBinding> SpaceTracer<VM> for CopyTracer<'_, VM> {
    type Item = SlotItem<VM::Slot>;

    #[inline(always)]
    fn holds(&self, object: ObjectReference) -> bool {
        self.taken.holds(object)
    }

    /// Brings near what is copied: small objects reach into the next cache line as often as not.
    #[inline(always)]
    fn prefetch(&self, object: ObjectReference) {
        object.address().prefetch_write();
        object.address().plus(40).prefetch();
    }

    #[inline(always)]
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        let space = self.space;
        if self.taken.at(object.address()).load(Relaxed) == self.epoch {
            return Traced::Seen(object);
        }
        match space.states.claim(&space.vm, object, self.epoch, &worker.alone) {
            Claim::Moved(to) => Traced::Seen(to),
            Claim::Stays => Traced::Seen(object),
            Claim::Won(claimed) => {
                worker.count(self.extent, claimed.bytes());
                if claimed.is_pinned() {
                    return self.settle(claimed);
                }
                match space.copy(worker, claimed, self.copied) {
                    Ok(copy) => Traced::New(copy),
                    Err(claimed) => self.settle(claimed),
                }
            }
        }
    }

    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        let taken = self.space.taken.at(object.address()).load(Relaxed);
        if taken == self.epoch || self.space.states.is_marked(object, self.epoch) {
            return Some(object);
        }
        self.space.states.forwarded(object)
    }
}

/// Marks what it reaches, and leaves it where it is.
#[derive_where(Clone, Copy)]
pub struct CopyInPlace<'a, VM>(CopyTracer<'a, VM>);

impl<VM: VMBinding> SpaceTracer<VM> for CopyInPlace<'_, VM> {
    type Item = ObjectItem;

    fn holds(&self, object: ObjectReference) -> bool {
        self.0.holds(object)
    }

    /// Nothing has moved yet.
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        let CopyInPlace(copier) = self;
        if copier.space.taken.at(object.address()).load(Relaxed) == copier.epoch {
            return Traced::Seen(object);
        }
        match copier.space.states.claim(&copier.space.vm, object, copier.epoch, &worker.alone) {
            Claim::Won(claimed) => {
                worker.count(copier.extent, claimed.bytes());
                copier.settle(claimed)
            }
            Claim::Moved(_) | Claim::Stays => Traced::Seen(object),
        }
    }

    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        self.0.resolve(object)
    }
}

impl<VM: VMBinding> Space for CopySpace<VM> {
    fn name(&self) -> &'static str {
        "copy"
    }
    fn extent(&self) -> Extent {
        self.pool.extent()
    }
    fn moves(&self) -> bool {
        true
    }
    fn pins(&self) -> bool {
        true
    }
    fn ages(&self) -> Ages {
        self.ages
    }
    fn reserved_bytes(&self) -> usize {
        self.charged.load(Relaxed)
    }
    fn check_object(&self, object: ObjectReference, bytes: usize) -> Result<(), String> {
        if self.taken.at(object.address()).load(Relaxed) == 0 {
            return Err("its block is free: nothing was allocated there, or it was collected".to_string());
        }
        super::lookup::within_block(object, bytes)
    }
    fn check_live(&self, object: ObjectReference, _bytes: usize) -> Result<(), String> {
        match self.taken.at(object.address()).load(Relaxed) == self.epoch.current() {
            true => Ok(()),
            false => Err(format!("it was left behind in from-space (state {})", self.states.describe(object))),
        }
    }
    fn find_object(&self, address: Address) -> Option<ObjectReference> {
        if self.taken.at(address).load(Relaxed) == 0 {
            return None;
        }
        super::lookup::last_object(&*self.vm, &self.states, address, address.align_down(BLOCK_BYTES))
    }
    fn keeps_starts(&self) -> bool {
        true
    }
    fn for_each_object(&self, visit: &mut dyn FnMut(ObjectReference)) {
        for block in (0..self.pool.watermark()).map(|n| self.pool.extent().block_start(Block(n))) {
            if self.taken.at(block).load(Relaxed) != 0 {
                super::lookup::objects_in::<VM>(&self.states, block, block.plus(BLOCK_BYTES), &mut *visit);
            }
        }
    }
    fn survived(&self, object: ObjectReference) -> bool {
        self.taken.at(object.address()).load(Relaxed) != YOUNG
    }
}
