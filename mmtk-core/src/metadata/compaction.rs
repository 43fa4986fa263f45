//! Sliding compaction: live objects move to the bottom of the extent, in the order of their addresses.
//!
//! 1. `count`: the workers share the blocks, and count the live bytes of each.
//! 2. `Moves::plan`: the leader adds these up from the bottom: where the live bytes of each block go.
//! 3. `place`: the workers share the blocks, and find out where the live objects of each region go. From now
//!    on `Moves::forward` knows the new place of every object, and references anywhere can be updated.
//! 4. `compact`: a worker takes the next block, and updates the slots of the objects that begin in it. It
//!    waits until the objects at their destination have left (`evacuation`), and slides its own down, runs of
//!    neighbours at once. Slots are updated while the block is on its way to the cache for the move, so each
//!    object is fetched once.
//!
//! I1. An object belongs to the block in which it begins, and its worker reads and moves all of it.
//! I2. Destinations keep the order of addresses and leave no gaps; none lies above its object. So a worker
//!     overwrites only memory of its own block or of lower ones, and it waits for those.
//! I3. Nothing below the first dead granule moves.
//! Callers: 2 the leader of a pause, the rest any GC worker in it.
//! Source: the Compressor (Kermany and Petrank, PLDI 2006) for table and phases. Parallel sliding collectors
//! since Flood et al. (JVM 2001) count the sources of each destination region; here a worker waits for lower
//! blocks in the order of addresses. There is nothing to wait for once the dead space below exceeds a block
//! for each worker.

use super::live_map::LiveMap;
use crate::address::{Address, ObjectReference};
use crate::binding::{Slot, SlotVisitor, VMBinding};
use crate::memory::{BLOCK_BYTES, Block, CHUNK_BLOCKS, Extent, LOG_BLOCK_BYTES, Memory, SideStates};
use crate::os;
use protocols::evacuation::{self, Evacuation};
use protocols::sync::Atomic;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// The tables of a space that is compacted.
pub struct Compaction<VM> {
    map: LiveMap<VM>,
    /// A state a block.
    evacuated: SideStates<Evacuation>,
    /// A word a block: first how many of its bytes are live, then where they go.
    plan: PlanTable,
}

struct PlanTable(Address, Extent);

impl PlanTable {
    fn at(&self, block: Block) -> &AtomicU64 {
        assert!(block.0 < self.1.blocks());
        // SAFETY: mapped as long as the heap, which the other tables keep; a word for each block of the
        // extent (asserted), only accessed atomically.
        unsafe { self.0.plus(block.0 as usize * 8).as_atomic_u64() }
    }
}

impl<VM: VMBinding> Compaction<VM> {
    /// Side-table bytes for each chunk.
    pub const TABLE_BYTES_PER_CHUNK: usize = LiveMap::<VM>::TABLE_BYTES_PER_CHUNK + CHUNK_BLOCKS as usize * (1 + 8);

    /// Makes the tables.
    pub fn new(memory: &Arc<Memory>, extent: Extent) -> io::Result<Self> {
        Ok(Compaction {
            map: LiveMap::new(memory, extent)?,
            evacuated: memory.side_states(extent, LOG_BLOCK_BYTES)?,
            plan: PlanTable(memory.table(extent.blocks() as usize * 8)?, extent),
        })
    }

    /// The live objects.
    #[inline(always)]
    pub fn map(&self) -> &LiveMap<VM> {
        &self.map
    }

    /// Nothing in these blocks is live. Before a trace; one worker a range.
    pub fn clear(&self, blocks: Range<usize>) {
        self.map.clear(blocks);
    }

    /// Counts what is live in these blocks. After the trace; one worker a range.
    pub fn count(&self, blocks: Range<usize>) {
        for block in blocks.map(|n| Block(n as u32)) {
            self.plan.at(block).store(self.map.live_bytes(block) as u64, Relaxed);
            self.evacuated.at(self.map.extent().block_start(block)).store(Evacuation::Full, Relaxed);
        }
    }
}

/// What moves in this pause, and where.
pub struct Moves<'a, VM> {
    tables: &'a Compaction<VM>,
    blocks: u32,
    /// Below it nothing moves (I3).
    still: Address,
    /// From `still` to the end of the blocks.
    moving_bytes: usize,
    /// The end of what is live afterwards.
    end: Address,
    next: AtomicU32,
}

impl<'a, VM: VMBinding> Moves<'a, VM> {
    /// Sums up what was counted in the first `blocks` blocks.
    pub fn plan(tables: &'a Compaction<VM>, blocks: u32) -> Self {
        let extent = tables.map.extent();
        let start = extent.start();
        let blocks_end = start.plus(blocks as usize * BLOCK_BYTES);
        let (mut end, mut dense) = (start, start);
        for block in (0..blocks).map(Block) {
            let plan = tables.plan.at(block);
            let live = plan.load(Relaxed) as usize;
            if end == extent.block_start(block) && live == BLOCK_BYTES {
                dense = end.plus(live);
            }
            plan.store(end.as_usize() as u64, Relaxed);
            end = end.plus(live);
        }
        let still = tables.map.find(dense, blocks_end, false).unwrap_or(blocks_end);
        let moving_bytes = blocks_end.bytes_from(still);
        Moves { tables, blocks, still, moving_bytes, end, next: AtomicU32::new(0) }
    }

    /// Decides where what is live in each region of these blocks goes. One worker a range.
    pub fn place(&self, blocks: Range<usize>) {
        for block in blocks.map(|n| Block(n as u32)) {
            let to = |block| Address::from_usize(self.tables.plan.at(block).load(Relaxed) as usize);
            let next = if block.0 + 1 < self.blocks { to(Block(block.0 + 1)) } else { self.end };
            // Nobody asks where something goes in a block without live objects.
            if to(block) != next {
                self.tables.map.set_destination(block, to(block));
            }
        }
    }

    /// The end of what is live after the compaction: it is dense from the start of the extent.
    pub fn end(&self) -> Address {
        self.end
    }

    /// The new place of a live object; objects of other spaces stay where they are. After `place`.
    #[inline(always)]
    pub fn forward(&self, object: ObjectReference) -> ObjectReference {
        match self.moves(object) {
            true => self.destination(object),
            false => object,
        }
    }

    #[inline(always)]
    fn moves(&self, object: ObjectReference) -> bool {
        object.address().as_usize().wrapping_sub(self.still.as_usize()) < self.moving_bytes
    }

    #[inline(always)]
    fn destination(&self, object: ObjectReference) -> ObjectReference {
        debug_assert!(self.tables.map.is_marked(object), "a slot is updated that refers to {object}, which is dead");
        let to = self.tables.map.destination(object.address());
        // SAFETY: where the object will be when mutators run again.
        unsafe { ObjectReference::from_address(to) }.expect("an object never moves to address zero")
    }

    /// Takes blocks until there are none left: updates what is live in them, and moves it. After `place`,
    /// every worker of a section.
    pub fn compact(&self, vm: &VM) {
        loop {
            let block = Block(self.next.fetch_add(1, Relaxed));
            if block.0 >= self.blocks {
                return;
            }
            self.update(vm, block);
            self.slide(block);
            evacuation::left(self.evacuated(block));
        }
    }

    fn evacuated(&self, block: Block) -> &Atomic<Evacuation> {
        self.tables.evacuated.at(self.tables.map.extent().block_start(block))
    }

    fn update(&self, vm: &VM, block: Block) {
        let mut slots = self.slots();
        self.tables.map.for_each_object(block, |object| {
            vm.scan_object(object, &mut slots);
            vm.object_size(object)
        });
    }

    /// A visitor that updates slots, the last of them when it is dropped.
    pub fn slots(&self) -> UpdateWindow<'_, VM> {
        UpdateWindow { moves: self, window: [None; WINDOW], head: 0 }
    }

    /// Moves the objects that begin in the block.
    fn slide(&self, block: Block) {
        let map = &self.tables.map;
        let Some(mut run) = map.run(block, self.still) else { return };
        let mut to = map.destination(run.start);
        // What lies there began in these blocks, or in the one before them and reaches into them.
        let mut awaited = map.extent().block_of(to).0.saturating_sub(1);
        loop {
            let bytes = run.end.bytes_from(run.start);
            let last = map.extent().block_of(to.plus(bytes - 1)).0;
            while awaited <= last && awaited < block.0 {
                evacuation::wait_for(self.evacuated(Block(awaited)));
                awaited += 1;
            }
            assert!(
                map.extent().start() <= to && to <= run.start,
                "what is live at {} moves down, and not to {to}: `place` comes before `compact`",
                run.start
            );
            // SAFETY: live bytes of this block's objects (I1), and a destination at or below them in blocks
            // of the extent that are in use (asserted). What lay there was moved by this worker, or by
            // another whose last read was waited for (I2).
            unsafe { os::copy_words(run.start, to, bytes / 8) };
            to = to.plus(bytes);
            match map.run(block, run.end) {
                Some(next) => run = next,
                None => return,
            }
        }
    }
}

/// Slots in flight: as many look-ups as wait for the cache at a time.
const WINDOW: usize = 16;

/// Updates the slots it visits, each when the look-up of its target has had time to reach the cache.
pub struct UpdateWindow<'a, VM: VMBinding> {
    moves: &'a Moves<'a, VM>,
    window: [Option<(VM::Slot, ObjectReference)>; WINDOW],
    head: usize,
}

impl<VM: VMBinding> SlotVisitor<VM::Slot> for UpdateWindow<'_, VM> {
    #[inline(always)]
    fn visit(&mut self, slot: VM::Slot) {
        let Some(object) = slot.load() else { return };
        // What stays where it is costs no write.
        if self.moves.moves(object) {
            self.moves.tables.map.prefetch(object);
            let place = &mut self.window[self.head % WINDOW];
            self.head = self.head.wrapping_add(1);
            if let Some((slot, object)) = place.replace((slot, object)) {
                slot.store(self.moves.destination(object));
            }
        }
    }
}

impl<VM: VMBinding> Drop for UpdateWindow<'_, VM> {
    fn drop(&mut self) {
        for (slot, object) in self.window.iter().flatten() {
            slot.store(self.moves.destination(*object));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::WordSlot;
    use crate::options::Options;
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    /// The first word of an object is its size. There are no slots: scanning says that a worker has taken a
    /// block.
    struct Slow;

    /// The object whose block waits, until the object of the next block was scanned.
    static FIRST: AtomicUsize = AtomicUsize::new(0);
    static NEXT_IS_SCANNED: AtomicBool = AtomicBool::new(false);
    /// How often the worker of the first block lets the other run on, after that.
    const TURNS: usize = 5000;

    // SAFETY: sizes are what the test wrote; there are no slots and no roots.
    unsafe impl VMBinding for Slow {
        type Slot = WordSlot;
        type Local = ();
        fn object_size(&self, object: ObjectReference) -> usize {
            // SAFETY: the test wrote it there.
            unsafe { object.address().load() }
        }
        fn scan_object(&self, object: ObjectReference, _: &mut impl SlotVisitor<WordSlot>) {
            if object.address().as_usize() != FIRST.load(Relaxed) {
                return NEXT_IS_SCANNED.store(true, Relaxed);
            }
            while !NEXT_IS_SCANNED.load(Relaxed) {
                std::thread::yield_now();
            }
            (0..TURNS).for_each(|_| std::thread::yield_now());
        }
        fn scan_thread(&self, (): &mut (), _: &mut impl SlotVisitor<WordSlot>) {}
    }

    #[test]
    fn what_lies_above_dead_memory_moves_and_what_lies_below_it_or_elsewhere_stays() {
        const BLOCKS: u32 = 3;
        let memory = Memory::new(&Options { heap_limit: 8 << 20, ..Options::default() }).unwrap();
        let extent = memory.extent();
        memory.commit(extent.start(), BLOCKS as usize * BLOCK_BYTES).unwrap();
        let tables = Compaction::<Slow>::new(&memory, extent).unwrap();
        tables.clear(0..BLOCKS as usize);
        let object =
            |block: u32, offset: usize| ObjectReference::for_test(extent.block_start(Block(block)).plus(offset));
        // A block that is live as a whole has nothing dead before it in its own block, but in the one before.
        let (half, dead) = (BLOCK_BYTES / 2, 256);
        let objects = [
            (object(0, 0), 1024, object(0, 0)),
            (object(0, 1024 + dead), 512, object(0, 1024)),
            (object(1, 0), half, object(0, 1536)),
            (object(1, half), half, object(0, 1536 + half)),
            (object(2, 64), 64, object(1, 1536)),
        ];
        for (object, bytes, _) in objects {
            // SAFETY: committed above, and nobody else uses it.
            unsafe { object.address().store(bytes) };
            assert_eq!(tables.map().mark(&Slow, object, true), Some(bytes));
        }
        tables.count(0..BLOCKS as usize);
        let moves = Moves::plan(&tables, BLOCKS);
        moves.place(0..BLOCKS as usize);
        for (object, _, place) in objects {
            assert_eq!(moves.forward(object), place);
        }
        assert_eq!(moves.end(), object(1, 1536 + 64).address());
        let behind = object(BLOCKS, 0);
        assert_eq!(moves.forward(behind), behind, "what begins behind the blocks is no object of theirs");
    }

    /// The object of block 0 reaches into block 1, and what begins in block 1 slides to where its end lay.
    #[test]
    fn what_reaches_into_a_block_has_left_before_the_objects_of_that_block_slide_over_it() {
        const DEAD: usize = 256;
        const REACH: usize = 1024;
        let memory = Memory::new(&Options { heap_limit: 8 << 20, ..Options::default() }).unwrap();
        let extent = memory.extent();
        memory.commit(extent.start(), 2 * BLOCK_BYTES).unwrap();
        let tables = Compaction::<Slow>::new(&memory, extent).unwrap();
        tables.clear(0..2);
        let bytes = [8 << 10, 4 << 10];
        let boundary = extent.start().plus(BLOCK_BYTES);
        let places = [boundary.plus(REACH).minus(bytes[0]), boundary.plus(REACH)];
        let fill = extent.start().plus(DEAD);
        // From the dead bytes at the bottom to the first of the two all is live, and slides down by as much
        // as is dead.
        let all = [(fill, places[0].bytes_from(fill)), (places[0], bytes[0]), (places[1], bytes[1])];
        for (n, (at, bytes)) in all.into_iter().enumerate() {
            for offset in (0..bytes).step_by(8) {
                // SAFETY: committed above, and nobody else uses it.
                unsafe { at.plus(offset).store(if offset == 0 { bytes } else { n }) };
            }
            assert!(tables.map().mark(&Slow, ObjectReference::for_test(at), true).is_some());
        }
        FIRST.store(fill.as_usize(), Relaxed);
        tables.count(0..2);
        let moves = Moves::plan(&tables, 2);
        moves.place(0..2);
        std::thread::scope(|scope| {
            scope.spawn(|| moves.compact(&Slow));
            moves.compact(&Slow);
        });
        for (n, (at, bytes)) in all.into_iter().enumerate() {
            for offset in (0..bytes).step_by(8) {
                // SAFETY: the workers are gone.
                let word: usize = unsafe { at.minus(DEAD).plus(offset).load() };
                assert_eq!(word, if offset == 0 { bytes } else { n }, "object {n} at {offset}");
            }
        }
    }
}
