//! The live map: a bit for each live granule of an extent, and where each region of sixty-four granules will
//! go.
//!
//! ```text
//!   region of 64 granules:  [ bits: which of them are live | destination of its first live granule ]     16 bytes, one load apart
//!
//!   new place of an object = destination of its region + live granules before the object in the region
//! ```
//! Marking sets the bits of all granules of an object. So the distance that an object slides is a count of
//! bits, whatever the sizes of objects, and a look-up touches one cache line of a table that takes a
//! thirty-second of the heap. Objects may lie across regions, and across the blocks that workers share among
//! them; each object belongs to the block in which it begins.
//!
//! I1. Bits are set in a trace, by one winner for each object (`mark_bits::set`: the bits of an object in its
//!     first region are set at once), and cleared before the next.
//! I2. Destinations are written between trace and compaction, by one worker for each block, and then only
//!     read.
//! I3. An object is shorter than a block, so it reaches into the next block at most. `spill` says how many
//!     granules of a block belong to an object that began in the one before; its winner alone writes it.
//! Callers: GC workers inside a pause.
//! Source: the offset and mark-bit vectors of the Compressor (Kermany and Petrank, PLDI 2006), and of
//! Abuaiadh et al. (OOPSLA 2004).

use crate::address::{Address, ObjectReference};
use crate::binding::VMBinding;
use crate::memory::{BLOCK_BYTES, Block, Borrowed, CHUNK_BLOCKS, CHUNK_BYTES, Extent, Memory, Owned, SideWords};
use crate::os::CACHE_LINE_BYTES;
use protocols::mark_bits;
use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Granules of a region: the bits of a word.
const LOG_REGION_GRANULES: u32 = 6;
/// Bytes of a region's entry.
const LOG_ENTRY_BYTES: u32 = 4;

/// How far ahead of the object that is visited live memory is fetched.
const FETCH_AHEAD_BYTES: usize = 2 << 10;

/// The table of one extent.
pub struct LiveMap<VM, K = Owned> {
    extent: Extent,
    base: Address,
    /// Bytes of the table, a power of two, less an entry.
    mask: usize,
    /// Keeps what is at `base`, too.
    spill: SideWords<K>,
    vm: PhantomData<fn(VM)>,
}

impl<VM, K: Copy> Clone for LiveMap<VM, K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<VM, K: Copy> Copy for LiveMap<VM, K> {}

impl<VM: VMBinding> LiveMap<VM> {
    /// Side-table bytes for each chunk.
    pub const TABLE_BYTES_PER_CHUNK: usize =
        (CHUNK_BYTES >> Self::LOG_REGION_BYTES << LOG_ENTRY_BYTES) + CHUNK_BLOCKS as usize * 4;

    /// Makes the table; nothing is live.
    pub fn new(memory: &Arc<Memory>, extent: Extent) -> io::Result<Self> {
        assert!(extent.start().is_aligned_to(extent.bytes()), "entries are found by a mask");
        let bytes = extent.bytes() >> Self::LOG_REGION_BYTES << LOG_ENTRY_BYTES;
        let (base, mask) = (memory.table(bytes)?, bytes - (1 << LOG_ENTRY_BYTES));
        Ok(LiveMap { extent, base, mask, spill: memory.block_words(extent)?, vm: PhantomData })
    }

    /// The table, borrowed: for tracers.
    pub fn view(&self) -> LiveMap<VM, Borrowed<'_>> {
        let LiveMap { extent, base, mask, vm, .. } = *self;
        LiveMap { extent, base, mask, spill: self.spill.view(), vm }
    }
}

impl<VM: VMBinding, K> LiveMap<VM, K> {
    const LOG_REGION_BYTES: u32 = VM::LOG_GRANULE + LOG_REGION_GRANULES;
    const REGION_BYTES: usize = 1 << Self::LOG_REGION_BYTES;

    /// The extent.
    #[inline(always)]
    pub fn extent(&self) -> Extent {
        self.extent
    }

    #[inline(always)]
    fn entry(&self, address: Address) -> Address {
        debug_assert!(self.extent.contains(address), "{address} is outside {:?}", self.extent);
        self.base.plus(address.as_usize() >> (Self::LOG_REGION_BYTES - LOG_ENTRY_BYTES) & self.mask)
    }

    #[inline(always)]
    fn bits(&self, address: Address) -> &AtomicU64 {
        // SAFETY: the table is mapped for its whole extent as long as the heap, which `spill` keeps or
        // borrows; no offset is larger than the mask, which leads to entries alone; and an entry is two words
        // that are only accessed atomically, but for `clear`.
        unsafe { self.entry(address).as_atomic_u64() }
    }

    #[inline(always)]
    fn region_destination(&self, address: Address) -> &AtomicU64 {
        // SAFETY: as for `bits`.
        unsafe { self.entry(address).plus(8).as_atomic_u64() }
    }

    #[inline(always)]
    fn bit_index(address: Address) -> u32 {
        (address.as_usize() >> VM::LOG_GRANULE) as u32 & 63
    }

    /// How many bytes of the block belong to an object that begins in the one before (I3).
    fn spill_bytes(&self, block: Block) -> usize {
        match block.0 < self.extent.blocks() {
            true => (self.spill.word(block.0).load(Relaxed) as usize) << VM::LOG_GRANULE,
            false => 0,
        }
    }

    /// Where objects may begin in the block, and how far those that do reach at most.
    fn bounds(&self, block: Block) -> (Range<Address>, Address) {
        let start = self.extent.block_start(block);
        let end = start.plus(BLOCK_BYTES);
        (start.plus(self.spill_bytes(block))..end, end.plus(self.spill_bytes(Block(block.0 + 1))))
    }

    /// Brings near what `mark` reads first.
    #[inline(always)]
    pub fn prefetch(&self, object: ObjectReference) {
        self.entry(object.address()).prefetch();
    }

    /// Whether the object was marked.
    #[inline(always)]
    pub fn is_marked(&self, object: ObjectReference) -> bool {
        let address = object.address();
        self.bits(address).load(Relaxed) >> Self::bit_index(address) & 1 != 0
    }

    /// Marks the object; its size, for which the VM is asked, or none if it was marked before (I1). `alone`
    /// says that no other worker traces.
    #[inline(always)]
    pub fn mark(&self, vm: &VM, object: ObjectReference, alone: bool) -> Option<usize> {
        if self.is_marked(object) {
            return None;
        }
        let bytes = vm.object_size(object);
        let (index, granules) = (Self::bit_index(object.address()), bytes >> VM::LOG_GRANULE);
        if index as usize + granules > 64 {
            return self.mark_across(object, bytes, alone).then_some(bytes);
        }
        let mask = (u64::MAX >> (64 - granules as u32)) << index;
        mark_bits::set(self.bits(object.address()), mask, alone).then_some(bytes)
    }

    /// Marks an object that lies in more than one region.
    fn mark_across(&self, object: ObjectReference, bytes: usize, alone: bool) -> bool {
        let start = object.address();
        let end = start.plus(bytes);
        if !mark_bits::set(self.bits(start), u64::MAX << Self::bit_index(start), alone) {
            return false;
        }
        let mut region = start.align_down(Self::REGION_BYTES).plus(Self::REGION_BYTES);
        while region < end {
            let granules = (end.bytes_from(region) >> VM::LOG_GRANULE).min(64) as u32;
            mark_bits::set(self.bits(region), u64::MAX >> (64 - granules), alone);
            region = region.plus(Self::REGION_BYTES);
        }
        let next_block = start.align_down(BLOCK_BYTES).plus(BLOCK_BYTES);
        if end > next_block {
            let granules = end.bytes_from(next_block) >> VM::LOG_GRANULE;
            self.spill.word(self.extent.block_of(next_block).0).store(granules as u32, Relaxed);
        }
        true
    }

    /// Nothing that begins in these blocks is live. What is marked elsewhere stays so, which does no harm
    /// above them. Call while nobody else uses their entries (a pause, one worker a range).
    pub fn clear(&self, blocks: Range<usize>) {
        for block in blocks {
            assert!(block < self.extent.blocks() as usize, "block {block} of {}", self.extent.blocks());
            let entry = self.entry(self.extent.block_start(Block(block as u32)));
            let bytes = BLOCK_BYTES >> Self::LOG_REGION_BYTES << LOG_ENTRY_BYTES;
            // SAFETY: the entries of a block of the extent (asserted) are mapped, and nobody else uses them
            // (the caller's side of the contract is a phase of a pause; a race would store zeroes over bits).
            unsafe { entry.as_mut_ptr::<u8>().write_bytes(0, bytes) };
            // The next block's, which may lie above those in use: its entries are old, and nobody asks for
            // them.
            let next = block as u32 + 1;
            if next < self.extent.blocks() {
                self.spill.word(next).store(0, Relaxed);
            }
        }
    }

    fn regions(&self, block: Block) -> impl Iterator<Item = Address> + use<VM, K> {
        let start = self.extent.block_start(block);
        (0..BLOCK_BYTES >> Self::LOG_REGION_BYTES).map(move |n| start.plus(n << Self::LOG_REGION_BYTES))
    }

    /// How many bytes of the block are live.
    pub fn live_bytes(&self, block: Block) -> usize {
        let count = |region| self.bits(region).load(Relaxed).count_ones() as usize;
        self.regions(block).map(count).sum::<usize>() << VM::LOG_GRANULE
    }

    /// What is live in the block goes to `to` and behind it (I2).
    pub(super) fn set_destination(&self, block: Block, mut to: Address) {
        for region in self.regions(block) {
            self.region_destination(region).store(to.as_usize() as u64, Relaxed);
            to = to.plus((self.bits(region).load(Relaxed).count_ones() as usize) << VM::LOG_GRANULE);
        }
    }

    /// Where a live granule goes.
    #[inline(always)]
    pub fn destination(&self, address: Address) -> Address {
        let before = self.bits(address).load(Relaxed) & ((1 << Self::bit_index(address)) - 1);
        let to = self.region_destination(address).load(Relaxed) as usize;
        Address::from_usize(to).plus((before.count_ones() as usize) << VM::LOG_GRANULE)
    }

    /// The first granule in `[from, end)` that is live, or that is not.
    #[inline(always)]
    pub fn find(&self, from: Address, end: Address, live: bool) -> Option<Address> {
        let mut at = from;
        while at < end {
            let bits = self.bits(at).load(Relaxed);
            let hits = (if live { bits } else { !bits }) >> Self::bit_index(at);
            if hits != 0 {
                let found = at.plus((hits.trailing_zeros() as usize) << VM::LOG_GRANULE);
                return (found < end).then_some(found);
            }
            at = at.align_down(Self::REGION_BYTES).plus(Self::REGION_BYTES);
        }
        None
    }

    /// Brings near what is live of the region around an address.
    #[inline(always)]
    fn prefetch_live(&self, address: Address) {
        let (start, bits) = (address.align_down(Self::REGION_BYTES), self.bits(address).load(Relaxed));
        let line_granules = CACHE_LINE_BYTES >> VM::LOG_GRANULE;
        for granule in (0..64).step_by(line_granules) {
            if bits >> granule & ((1 << line_granules) - 1) != 0 {
                start.plus(granule << VM::LOG_GRANULE).prefetch();
            }
        }
    }

    /// Visits the live objects that begin in the block, in the order of their addresses; `visit` returns an
    /// object's size.
    #[inline(always)]
    pub fn for_each_object(&self, block: Block, mut visit: impl FnMut(ObjectReference) -> usize) {
        let (starts, _) = self.bounds(block);
        let (mut at, mut fetched) = (starts.start, starts.start);
        while let Some(object) = self.find(at, starts.end, true) {
            // Objects that are larger than a cache line, or far apart, defeat the processor's own
            // prefetching.
            while fetched < object.plus(FETCH_AHEAD_BYTES).min(starts.end) {
                self.prefetch_live(fetched);
                fetched = fetched.align_down(Self::REGION_BYTES).plus(Self::REGION_BYTES);
            }
            // SAFETY: a run of live granules begins there, or an object before it ends there: so one begins.
            let reference = unsafe { ObjectReference::from_address(object) };
            at = object.plus(visit(reference.expect("an extent does not begin at zero")));
        }
    }

    /// The first run of live granules at or after `from` of the objects that begin in the block.
    #[inline(always)]
    pub fn run(&self, block: Block, from: Address) -> Option<Range<Address>> {
        let (starts, reach) = self.bounds(block);
        let start = self.find(from.max(starts.start), starts.end, true)?;
        Some(start..self.find(start, reach, false).unwrap_or(reach))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::{SlotVisitor, WordSlot};
    use crate::options::Options;

    /// The first word of an object is its size.
    struct Sized<const LOG_GRANULE: u32>;

    // SAFETY: sizes are what the test wrote; there are no slots and no roots.
    unsafe impl<const LOG_GRANULE: u32> VMBinding for Sized<LOG_GRANULE> {
        type Slot = WordSlot;
        type Local = ();
        const LOG_GRANULE: u32 = LOG_GRANULE;
        fn object_size(&self, object: ObjectReference) -> usize {
            // SAFETY: the test wrote it there.
            unsafe { object.address().load() }
        }
        fn scan_object(&self, _: ObjectReference, _: &mut impl SlotVisitor<WordSlot>) {}
        fn scan_thread(&self, (): &mut (), _: &mut impl SlotVisitor<WordSlot>) {}
    }

    /// Objects side by side, from one granule to many regions, across regions and blocks; every other one is
    /// marked.
    fn counts_like_a_list_of_objects<const LOG_GRANULE: u32>() {
        const BLOCKS: usize = 4;
        let memory = Memory::new(&Options { heap_limit: 8 << 20, ..Options::default() }).unwrap();
        let extent = memory.extent();
        memory.commit(extent.start(), BLOCKS * BLOCK_BYTES).unwrap();
        let map = LiveMap::<Sized<LOG_GRANULE>>::new(&memory, extent).unwrap();
        let end = extent.start().plus(BLOCKS * BLOCK_BYTES);
        for round in 0..3 {
            map.clear(0..BLOCKS);
            let (mut at, mut live) = (extent.start(), Vec::new());
            for (n, granules) in [1, 2, 3, 64, 5, 63, 1, 65, 500, 2, 128, 4].into_iter().cycle().enumerate() {
                let bytes = granules << LOG_GRANULE;
                if at.plus(bytes) > end {
                    break;
                }
                // SAFETY: committed above, and nobody else uses it.
                unsafe { at.store(bytes) };
                let object = ObjectReference::for_test(at);
                if (n + round) % 2 == 0 || n % 7 == round {
                    let alone = n % 3 == 0;
                    assert_eq!(
                        (map.mark(&Sized, object, alone), map.mark(&Sized, object, !alone)),
                        (Some(bytes), None)
                    );
                    live.push((object, bytes));
                }
                assert_eq!(map.is_marked(object), live.last().is_some_and(|(last, _)| *last == object));
                at = at.plus(bytes);
            }
            let mut to = extent.start();
            for block in (0..BLOCKS as u32).map(Block) {
                map.set_destination(block, to);
                to = to.plus(map.live_bytes(block));
            }
            let mut to = extent.start();
            for &(object, bytes) in &live {
                assert_eq!(map.destination(object.address()), to);
                to = to.plus(bytes);
            }
            let (mut visited, mut moved) = (Vec::new(), 0);
            for block in (0..BLOCKS as u32).map(Block) {
                map.for_each_object(block, |object| {
                    assert_eq!(extent.block_of(object.address()), block);
                    visited.push(object);
                    Sized::<LOG_GRANULE>.object_size(object)
                });
                let mut from = extent.start();
                while let Some(run) = map.run(block, from) {
                    moved += run.end.bytes_from(run.start);
                    from = run.end;
                }
                let mine = |(object, _): &&(ObjectReference, usize)| extent.block_of(object.address()) <= block;
                let bytes: usize = live.iter().filter(mine).map(|(_, bytes)| bytes).sum();
                assert_eq!(moved, bytes, "block {block:?}: runs are of what begins in it, all of that");
            }
            assert_eq!(visited, live.iter().map(|(object, _)| *object).collect::<Vec<_>>());
        }
    }

    /// What a cycle left above the blocks that are in use in the next one.
    #[test]
    fn old_marks_above_the_blocks_in_use_do_not_lengthen_the_last_run() {
        let memory = Memory::new(&Options { heap_limit: 8 << 20, ..Options::default() }).unwrap();
        let extent = memory.extent();
        memory.commit(extent.start(), 2 * BLOCK_BYTES).unwrap();
        let map = LiveMap::<Sized<3>>::new(&memory, extent).unwrap();
        let mark = |at: Address, bytes: usize| {
            // SAFETY: committed above, and nobody else uses it.
            unsafe { at.store(bytes) };
            map.mark(&Sized, ObjectReference::for_test(at), true)
        };
        let boundary = extent.start().plus(BLOCK_BYTES);
        mark(boundary.minus(640), 1280);
        let mut from = extent.start();
        while let Some(run) = map.run(Block(0), from) {
            assert_eq!(run, boundary.minus(640)..boundary.plus(640));
            from = run.end;
        }
        map.clear(0..1);
        mark(boundary.minus(640), 640);
        assert_eq!(map.run(Block(0), extent.start()), Some(boundary.minus(640)..boundary));
    }

    /// Nothing lies behind it, and an object may end with it.
    #[test]
    fn the_last_block_of_an_extent_is_marked_and_searched_to_its_end() {
        let memory = Memory::new(&Options { heap_limit: 8 << 20, ..Options::default() }).unwrap();
        let extent = memory.extent();
        let map = LiveMap::<Sized<3>>::new(&memory, extent).unwrap();
        let (last, bytes) = (Block(extent.blocks() - 1), 1280);
        let start = extent.block_start(last);
        memory.commit(start, BLOCK_BYTES).unwrap();
        map.clear(last.0 as usize..last.0 as usize + 1);
        assert_eq!(map.run(last, start), None);
        let object = start.plus(BLOCK_BYTES - bytes);
        // SAFETY: committed above, and nobody else uses it.
        unsafe { object.store(bytes) };
        assert_eq!(map.mark(&Sized, ObjectReference::for_test(object), true), Some(bytes));
        assert_eq!(map.run(last, start), Some(object..start.plus(BLOCK_BYTES)));
        assert_eq!((map.run(last, start.plus(BLOCK_BYTES)), map.live_bytes(last)), (None, bytes));
    }

    #[test]
    fn destinations_and_runs_are_those_that_a_list_of_objects_gives() {
        counts_like_a_list_of_objects::<3>();
        counts_like_a_list_of_objects::<4>();
    }
}
