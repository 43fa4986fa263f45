//! A space that is compacted by sliding: survivors move to the bottom, in the order of their addresses.
//!
//! Threads take blocks from the bottom up, and bump through each, or go on in the rest of a block that a
//! detached thread left. So between two collections the addresses show in which order a thread allocated its
//! objects, and in which order threads took blocks. Sliding keeps the order of addresses, so they show this
//! for as long as the objects live. After a collection the space is dense up to the last live object; all
//! free memory is above it, in one piece.
//!
//! 1. Marking sets the bits of each object's granules in the live map; a new cycle begins with an empty map.
//! 2. When all live objects are known, a sum over the map plans the moves. Then every reference in the heap
//!    can be updated from the map alone: roots and the other spaces first, then this space, block by block as
//!    its objects slide down (`compaction`).
//! 3. All memory above the last live object is free.
//!
//! I1. No block is held in reserve, and a collection charges nothing. It needs only the tables, which are
//!     charged with each chunk.
//! I2. Between pauses memory in use is the dense part, `[start, dense_end)`, and the blocks taken since,
//!     which begin at the next block boundary.
//! I3. Once objects have moved, they lie across blocks: an object that begins in one block may end in the
//!     next.
//! Callers: `allocate` any mutator; the tracer any worker; the rest the leader.
//! Source: the Compressor (Kermany and Petrank, PLDI 2006); see `mmtk_core::metadata::Compaction` for how
//! workers share the moves.

use derive_where::derive_where;
use mmtk_core::alloc::Allocators;
use mmtk_core::memory::{BLOCK_BYTES, Block, Borrowed, Charge, Extent, Frontier};
use mmtk_core::metadata::{Ages, Compaction, LiveMap, Moves, ObjectStates};
use mmtk_core::pause::Pause;
use mmtk_core::space::Space;
use mmtk_core::trace::{ObjectItem, SpaceTracer, Traced};
use mmtk_core::workers::Worker;
use mmtk_core::{Address, HeapError, ObjectReference, PlanContext, VMBinding};
use protocols::sync::Atomic;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Fewer blocks than this are compacted before helpers are awake.
const BLOCKS_FOR_HELPERS: u32 = 16;

/// The space.
pub struct MarkCompactSpace<VM> {
    vm: Arc<VM>,
    frontier: Arc<Frontier>,
    compaction: Compaction<VM>,
    states: ObjectStates<VM>,
    /// The end of what the last collection left; written in pauses.
    dense_end: Atomic<Address>,
}

impl<VM: VMBinding> MarkCompactSpace<VM> {
    /// An empty space in the next extent.
    pub fn new(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        let extent = context.memory.extent();
        let tables = Compaction::<VM>::TABLE_BYTES_PER_CHUNK + ObjectStates::<VM>::start_bytes_per_chunk();
        Ok(MarkCompactSpace {
            vm: context.vm.clone(),
            frontier: Frontier::new(context.memory, extent, tables),
            compaction: Compaction::new(context.memory, extent)?,
            states: context.states.clone(),
            dense_end: Atomic::new(extent.start()),
        })
    }

    /// The slow path: the rest of the range at hand, what another thread left, or a new block.
    pub fn allocate(&self, allocators: &mut Allocators, bytes: usize) -> Option<Address> {
        if let Some(address) = allocators.bump_or_zero(bytes).or_else(|| allocators.bump_upwards_in_leftovers(bytes)) {
            return Some(address);
        }
        let acquired = self.frontier.acquire(Charge::Mutator)?;
        allocators.refill_bump(self.frontier.memory_of(acquired), bytes)
    }

    /// Empties the live map.
    pub fn prepare(&self, pause: &mut Pause<'_, VM>) {
        pause.parallel("clear", self.frontier.used() as usize, |_, blocks| self.compaction.clear(blocks));
    }

    /// The policy for this pause's trace.
    pub fn tracer(&self) -> MarkCompactTracer<'_, VM> {
        MarkCompactTracer { vm: &self.vm, map: self.compaction.map().view(), extent: self.frontier.extent() }
    }

    /// Begins the compaction: decides where everything goes. Nothing has moved yet, but the moves know the
    /// new places.
    pub fn plan_moves(&self, pause: &mut Pause<'_, VM>) -> Moves<'_, VM> {
        pause.begin_compaction();
        let blocks = self.frontier.used();
        pause.parallel("count", blocks as usize, |_, blocks| self.compaction.count(blocks));
        let moves = Moves::plan(&self.compaction, blocks);
        pause.parallel("place", blocks as usize, |_, blocks| moves.place(blocks));
        moves
    }

    /// Updates the slots of this space's objects, and moves the objects.
    pub fn compact(&self, pause: &mut Pause<'_, VM>, moves: &Moves<'_, VM>) {
        pause.together("compact", self.frontier.used() >= BLOCKS_FOR_HELPERS, |_| moves.compact(&self.vm));
        self.dense_end.store(moves.end(), Relaxed);
        if VM::OBJECT_STARTS {
            pause.together("starts", false, |worker| self.note_starts(worker));
        }
        self.frontier.retreat(moves.end());
    }

    /// Objects begin elsewhere now, each where the one before it ends.
    fn note_starts(&self, worker: &Worker) {
        if worker.index != 0 {
            return;
        }
        let start = self.frontier.extent().start();
        self.states.forget_starts(start, self.frontier.used() as usize * BLOCK_BYTES);
        let mut at = start;
        while at < self.dense_end() {
            self.states.starts().set(at);
            at = at.plus(self.vm.object_size(self.frontier.object_at(at)));
        }
    }

    fn dense_end(&self) -> Address {
        self.dense_end.load(Relaxed)
    }
}

/// Marks in the live map.
#[derive_where(Clone, Copy)]
pub struct MarkCompactTracer<'a, VM> {
    vm: &'a VM,
    map: LiveMap<VM, Borrowed<'a>>,
    extent: Extent,
}

impl<VM: VMBinding> SpaceTracer<VM> for MarkCompactTracer<'_, VM> {
    type Item = ObjectItem;

    #[inline(always)]
    fn holds(&self, object: ObjectReference) -> bool {
        self.extent.holds(object)
    }

    #[inline(always)]
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        match self.map.mark(self.vm, object, worker.alone) {
            None => Traced::Seen(object),
            Some(bytes) => {
                worker.count(self.extent, bytes);
                Traced::New(object)
            }
        }
    }

    #[inline(always)]
    fn prefetch(&self, object: ObjectReference) {
        object.address().prefetch();
        if self.holds(object) {
            self.map.prefetch(object);
        }
    }

    /// Before it moves.
    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        self.map.is_marked(object).then_some(object)
    }
}

impl<VM: VMBinding> Space for MarkCompactSpace<VM> {
    fn name(&self) -> &'static str {
        "mark-compact"
    }
    fn extent(&self) -> Extent {
        self.frontier.extent()
    }
    fn moves(&self) -> bool {
        true
    }
    fn pins(&self) -> bool {
        false
    }
    fn ages(&self) -> Ages {
        Ages::One
    }
    fn reserved_bytes(&self) -> usize {
        self.frontier.used() as usize * BLOCK_BYTES
    }
    fn check_object(&self, object: ObjectReference, bytes: usize) -> Result<(), String> {
        let (start, dense_end) = (object.address(), self.dense_end());
        if start < dense_end {
            return match start.plus(bytes) <= dense_end {
                true => Ok(()),
                false => Err(format!("it reaches over the end of what the last collection left at {dense_end}")),
            };
        }
        let used_end = self.frontier.extent().block_start(Block(self.frontier.used()));
        if start < dense_end.align_up(BLOCK_BYTES) || start >= used_end {
            return Err("its memory is free: nothing was allocated there, or it was collected".to_string());
        }
        super::lookup::within_block(object, bytes)
    }
    fn check_live(&self, object: ObjectReference, bytes: usize) -> Result<(), String> {
        match object.address().plus(bytes) <= self.dense_end() {
            true => Ok(()),
            false => Err("it was left behind above what is live".to_string()),
        }
    }
    fn find_object(&self, address: Address) -> Option<ObjectReference> {
        let extent = self.frontier.extent();
        if address >= extent.block_start(Block(self.frontier.used())) {
            return None;
        }
        // What slid may begin in one block and end in the next (I3); none is larger than a block.
        let floor = address.align_down(BLOCK_BYTES).minus(BLOCK_BYTES).max(extent.start());
        super::lookup::last_object(&*self.vm, &self.states, address, floor)
    }
    fn keeps_starts(&self) -> bool {
        true
    }
    fn for_each_object(&self, visit: &mut dyn FnMut(ObjectReference)) {
        let end = self.frontier.extent().block_start(Block(self.frontier.used()));
        super::lookup::objects_in::<VM>(&self.states, self.frontier.extent().start(), end, visit);
    }
    fn survived(&self, object: ObjectReference) -> bool {
        object.address() < self.dense_end()
    }
}
