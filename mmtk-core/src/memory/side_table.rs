//! Side metadata: tables outside objects, indexed by address.
//!
//! `entry = biased_base + (address >> shift)`: the base is biased once, so a lookup is a shift and an
//! addition. A table covers one extent of the heap and is mapped as a whole; the system fills in pages that
//! are touched.
//!
//! A table keeps the heap's memory mapped (`Owned`). What a trace copies into its loop borrows the table
//! instead (`Borrowed`): a copy is then a few words, and the compiler checks that it does not outlive the
//! table.
//!
//! I1. A table's mapping lives as long as the heap's memory, which each table holds or borrows.
//! I2. Every lookup tests whether the address belongs to the extent. A tracer has just asked whether the
//!     object is in its space (`SideBytes::holds`), so in the tracing loop the test costs nothing: the
//!     compiler sees that it was made before. For a second lookup, after a store, there is `BytePer::object`.

use crate::address::{Address, ObjectReference};
use crate::memory::Extent;
use bytemuck::{NoUninit, Zeroable};
use protocols::sync::Atomic;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

/// How a table of a space has its memory: it keeps it mapped.
#[derive(Clone)]
pub struct Owned(#[expect(dead_code, reason = "it is there to be dropped")] Arc<dyn Send + Sync>);

impl Owned {
    /// Keeps `memory`, in which the table lies, as long as the table is there.
    pub(crate) fn new(memory: &Arc<impl Send + Sync + 'static>) -> Owned {
        Owned(memory.clone())
    }
}

impl fmt::Debug for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Owned")
    }
}

/// How a table in a tracer has its memory: it borrows the table of the space.
#[derive(Copy, Clone, Debug)]
pub struct Borrowed<'t>(PhantomData<&'t ()>);

/// A table with one byte for every `1 << shift` bytes of an extent.
#[derive(Copy, Clone, Debug)]
pub struct SideBytes<K = Owned> {
    /// The entry of address 0, were there one.
    biased: Address,
    extent: Extent,
    shift: u32,
    /// Keeps the table's memory.
    _keeper: K,
}

impl SideBytes {
    /// A table at `base`, whose memory `keeper` keeps, with a byte for each `1 << shift` bytes.
    pub(super) fn new(keeper: Owned, base: Address, extent: Extent, shift: u32) -> SideBytes {
        let biased = base.minus(extent.start().as_usize() >> shift);
        SideBytes { biased, extent, shift, _keeper: keeper }
    }

    /// In place of a table that nobody asks for: it has no entries.
    pub(crate) fn absent(keeper: Owned, shift: u32) -> SideBytes {
        SideBytes { biased: Address::ZERO, extent: Extent::none(), shift, _keeper: keeper }
    }

    /// The table, borrowed: for tracers.
    pub fn view(&self) -> SideBytes<Borrowed<'_>> {
        let SideBytes { biased, extent, shift, .. } = *self;
        SideBytes { biased, extent, shift, _keeper: Borrowed(PhantomData) }
    }
}

impl<K> SideBytes<K> {
    /// The extent it is about.
    #[inline(always)]
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// Whether the object lies in its extent.
    #[inline(always)]
    pub fn holds(&self, object: ObjectReference) -> bool {
        self.extent.holds(object)
    }

    /// How many bytes of heap one entry stands for, as a power of two.
    pub fn log_region(&self) -> u32 {
        self.shift
    }

    /// The entry of an address of the extent is at this base and `address >> log_region()`, wrapping.
    pub fn biased_base(&self) -> Address {
        self.biased
    }

    #[inline(always)]
    fn entry(&self, address: Address, shift: u32) -> Address {
        debug_assert_eq!(shift, self.shift);
        self.extent.check(address);
        self.biased.plus(address.as_usize() >> shift)
    }

    /// The entry of the region that `address` lies in.
    ///
    /// # Panics
    /// When the address is not in the extent.
    #[inline(always)]
    pub fn at(&self, address: Address) -> &AtomicU8 {
        // SAFETY: the table is mapped for its whole extent (I1), in which the address lies (I2).
        unsafe { self.entry(address, self.shift).as_atomic_u8() }
    }

    /// As [`SideBytes::at`], with a shift that the compiler knows once it knows the binding.
    #[inline(always)]
    pub(crate) fn at_region(&self, address: Address, log_region: u32) -> &AtomicU8 {
        // SAFETY: as for `at`.
        unsafe { self.entry(address, log_region).as_atomic_u8() }
    }

    /// `8 * WORDS` entries by eights, those of the regions from `address` on, lowest address in the lowest
    /// byte. `address` is a multiple of eight regions.
    ///
    /// # Panics
    /// When they are not in the extent.
    #[inline(always)]
    pub fn words<const WORDS: usize>(&self, address: Address) -> &[AtomicU64; WORDS] {
        debug_assert!(address.is_aligned_to(8 << self.shift));
        self.extent.check(address);
        self.extent.check(address.plus(((8 * WORDS) << self.shift) - 1));
        let first = self.biased.plus(address.as_usize() >> self.shift).align_down(8);
        // SAFETY: as for `at`, of the first entry and the last; extents are aligned to far more than eight
        // regions, so the words are aligned and inside. Mixed sizes: a table's bytes are written during
        // marking and read by words when no worker writes.
        unsafe { &*first.as_ptr() }
    }

    /// Sets all entries of `[start, start + bytes)`, whole regions, to `value`.
    /// Call while nobody else uses them (a pause, one worker a range).
    ///
    /// # Panics
    /// When the range is not in the extent.
    pub fn fill(&self, start: Address, bytes: usize, value: u8) {
        if bytes == 0 {
            return;
        }
        let last = start.plus(bytes - 1);
        assert!(start <= last, "{bytes:#x} bytes");
        self.extent.check(start);
        self.extent.check(last);
        let entry = self.biased.plus(start.as_usize() >> self.shift);
        // SAFETY: mapped (I1), inside (checked), and nobody else uses the range (the caller's side of the
        // contract is a phase of a pause; a race would store bytes over bytes).
        unsafe { entry.as_mut_ptr::<u8>().write_bytes(value, bytes >> self.shift) };
    }
}

/// A table with one state for every `1 << shift` bytes of an extent. The type says which states there are:
/// an enum of one byte, of which the one that is zero is where each region begins.
pub struct SideStates<T, K = Owned> {
    bytes: SideBytes<K>,
    holds: PhantomData<fn() -> T>,
}

impl<T, K: Copy> Clone for SideStates<T, K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T, K: Copy> Copy for SideStates<T, K> {}

impl<T: NoUninit + Zeroable> SideStates<T> {
    pub(crate) fn new(bytes: SideBytes) -> Self {
        SideStates { bytes, holds: PhantomData }
    }

    /// The table, borrowed: for tracers.
    pub fn view(&self) -> SideStates<T, Borrowed<'_>> {
        SideStates { bytes: self.bytes.view(), holds: PhantomData }
    }
}

impl<T: NoUninit + Zeroable, K> SideStates<T, K> {
    /// As [`SideBytes::holds`].
    #[inline(always)]
    pub fn holds(&self, object: ObjectReference) -> bool {
        self.bytes.holds(object)
    }

    /// The state of the region that `address` lies in.
    ///
    /// # Panics
    /// When the address is not in the extent.
    #[inline(always)]
    pub fn at(&self, address: Address) -> &Atomic<T> {
        Self::state(self.bytes.at(address))
    }

    #[inline(always)]
    fn state(byte: &AtomicU8) -> &Atomic<T> {
        const { assert!(size_of::<Atomic<T>>() == 1 && align_of::<Atomic<T>>() == 1, "a state is one byte") };
        // SAFETY: both are a cell of one byte (asserted). The byte is a `T`: zero is one (`Zeroable`), and
        // the table, whose bytes nobody else has, is written through this type alone.
        unsafe { &*std::ptr::from_ref(byte).cast() }
    }
}

/// A [`SideBytes`] whose `shift` is in its type: the compiler knows it, in the loops of traces.
#[derive(Copy, Clone, Debug)]
pub struct BytePer<const LOG: u32, K = Owned>(SideBytes<K>);

impl<const LOG: u32> BytePer<LOG> {
    /// As [`SideBytes::view`].
    pub fn view(&self) -> BytePer<LOG, Borrowed<'_>> {
        BytePer(self.0.view())
    }
}

impl<const LOG: u32, K> BytePer<LOG, K> {
    /// The same table.
    ///
    /// # Panics
    /// When it has another shift.
    pub fn of(table: SideBytes<K>) -> BytePer<LOG, K> {
        assert_eq!(table.shift, LOG, "the table has one byte for each 1 << LOG bytes");
        BytePer(table)
    }

    /// As [`SideBytes::extent`].
    #[inline(always)]
    pub fn extent(&self) -> Extent {
        self.0.extent
    }

    /// As [`SideBytes::holds`].
    #[inline(always)]
    pub fn holds(&self, object: ObjectReference) -> bool {
        self.0.holds(object)
    }

    /// As [`SideBytes::at`].
    ///
    /// # Panics
    /// When the address is not in the extent.
    #[inline(always)]
    pub fn at(&self, address: Address) -> &AtomicU8 {
        self.0.at_region(address, LOG)
    }

    /// As [`BytePer::at`], without the test.
    ///
    /// # Safety
    /// The address is in the extent: another table of the same extent has said so.
    #[inline(always)]
    pub(crate) unsafe fn at_inside(&self, address: Address) -> &AtomicU8 {
        debug_assert!(self.0.extent.contains(address));
        // SAFETY: the table is mapped for its whole extent (I1), in which the address lies (the caller's
        // promise).
        unsafe { self.0.biased.plus(address.as_usize() >> LOG).as_atomic_u8() }
    }

    /// As [`SideBytes::words`].
    ///
    /// # Panics
    /// When they are not in the extent.
    #[inline(always)]
    pub fn words<const WORDS: usize>(&self, address: Address) -> &[AtomicU64; WORDS] {
        self.0.words(address)
    }

    /// As [`SideBytes::fill`].
    ///
    /// # Panics
    /// When the range is not in the extent.
    pub fn fill(&self, start: Address, bytes: usize, value: u8) {
        self.0.fill(start, bytes, value);
    }

    /// The object as the table knows it: what is asked of it later needs no test.
    ///
    /// # Panics
    /// When the object is not in the extent.
    #[inline(always)]
    pub fn object(&self, object: ObjectReference) -> ObjectIn<'_, LOG, K> {
        self.0.extent.check(object.address());
        ObjectIn { table: self, object }
    }
}

/// An object that begins in the extent of a table.
#[derive(Copy, Clone, Debug)]
pub struct ObjectIn<'t, const LOG: u32, K> {
    table: &'t BytePer<LOG, K>,
    object: ObjectReference,
}

impl<const LOG: u32, K> ObjectIn<'_, LOG, K> {
    /// The object.
    #[inline(always)]
    pub fn object(&self) -> ObjectReference {
        self.object
    }

    /// Sets the entries of all regions that the object lies in.
    ///
    /// # Safety
    /// It has `bytes` bytes, at least one.
    #[inline(always)]
    pub(crate) unsafe fn set_all(&self, bytes: usize, value: u8) {
        let (start, biased) = (self.object.address(), self.table.0.biased);
        let last = start.plus(bytes - 1);
        let set = |address: Address| {
            // SAFETY: the object begins in the extent (tested in `object`), and so ends there (the caller's
            // promise): objects do not lie across extents. The table is mapped for all of it (I1).
            unsafe { biased.plus(address.as_usize() >> LOG).as_atomic_u8() }.store(value, Relaxed);
        };
        set(last);
        let mut at = start;
        while at.as_usize() >> LOG != last.as_usize() >> LOG {
            set(at);
            at = at.plus(1 << LOG);
        }
    }
}

/// A table with one 32-bit word for every region of an extent: every block, mostly.
#[derive(Copy, Clone, Debug)]
pub struct SideWords<K = Owned> {
    base: Address,
    entries: u32,
    /// Keeps what is at `base`.
    _keeper: K,
}

impl SideWords {
    pub(super) fn new(keeper: Owned, base: Address, entries: u32) -> SideWords {
        SideWords { base, entries, _keeper: keeper }
    }

    /// The table, borrowed: for tracers.
    pub fn view(&self) -> SideWords<Borrowed<'_>> {
        SideWords { base: self.base, entries: self.entries, _keeper: Borrowed(PhantomData) }
    }
}

impl<K> SideWords<K> {
    /// The word of region `number`.
    ///
    /// # Panics
    /// When the extent has no such region.
    #[inline(always)]
    pub fn word(&self, number: u32) -> &AtomicU32 {
        self.get(number as usize).unwrap_or_else(|| panic!("region {number} of {}", self.entries))
    }

    /// The word of region `number`; none if the extent has no such region.
    #[inline(always)]
    pub fn get(&self, number: usize) -> Option<&AtomicU32> {
        // SAFETY: mapped (I1), in bounds (asked), words are only accessed atomically.
        (number < self.entries as usize)
            .then(|| unsafe { AtomicU32::from_ptr(self.base.plus(number * 4).as_mut_ptr()) })
    }
}

impl<K> crate::memory::Links for SideWords<K> {
    #[inline(always)]
    fn link(&self, number: u32) -> &AtomicU32 {
        self.word(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{BLOCK_BYTES, LOG_BLOCK_BYTES, Memory};
    use crate::options::Options;
    use std::sync::atomic::Ordering::Relaxed;

    fn memory() -> Arc<Memory> {
        Memory::new(&Options { heap_limit: 8 << 20, ..Options::default() }).unwrap()
    }

    #[test]
    fn every_region_has_an_entry_of_its_own() {
        let memory = memory();
        memory.extent();
        for extent in [memory.extent(), memory.whole()] {
            let table = memory.side_bytes(extent, LOG_BLOCK_BYTES).unwrap();
            let regions = extent.bytes() / BLOCK_BYTES;
            let at = |n: usize| extent.start().plus(n * BLOCK_BYTES + 24);
            let place = |n: usize| Address::from_ptr(table.at(at(n)));
            for n in 0..regions {
                assert_eq!(place(n), place(0).plus(n));
                table.at(at(n)).store(n as u8, Relaxed);
            }
            assert!((0..regions).all(|n| table.view().at(at(n)).load(Relaxed) == n as u8));
            let words = table.words::<4>(extent.start().plus(64 * BLOCK_BYTES));
            assert_eq!(words[1].load(Relaxed).to_le_bytes(), std::array::from_fn(|n| 72 + n as u8));
        }
    }

    /// What a table says of an address beside its extent, by each of its methods.
    fn asked(ask: impl FnOnce(&SideBytes, Address)) {
        let memory = memory();
        let extent = memory.extent();
        let table = memory.side_bytes(extent, LOG_BLOCK_BYTES).unwrap();
        for wild in [extent.start().minus(1), extent.start().plus(extent.bytes()), Address::from_usize(8)] {
            assert!(!table.extent().contains(wild));
        }
        ask(&table, extent.start().plus(extent.bytes()));
    }

    #[test]
    #[should_panic(expected = "is outside")]
    fn an_address_behind_the_extent_has_no_entry() {
        asked(|table, behind| _ = table.at(behind));
    }

    #[test]
    #[should_panic(expected = "is outside")]
    fn an_address_behind_the_extent_has_no_entry_where_the_shift_is_known() {
        asked(|table, behind| _ = BytePer::<LOG_BLOCK_BYTES, _>::of(table.view()).at(behind));
    }

    #[test]
    #[should_panic(expected = "is outside")]
    fn words_that_reach_over_the_extent_are_not_given() {
        asked(|table, behind| _ = table.words::<2>(behind.minus(8 * BLOCK_BYTES)));
    }

    #[test]
    #[should_panic(expected = "the table has one byte for each 1 << LOG bytes")]
    fn a_table_of_another_shift_is_refused() {
        asked(|table, _| _ = BytePer::<12, _>::of(table.view()));
    }

    #[test]
    #[should_panic(expected = "is outside")]
    fn an_object_of_another_extent_has_no_entry() {
        asked(|table, behind| {
            _ = BytePer::<LOG_BLOCK_BYTES, _>::of(table.view()).object(ObjectReference::for_test(behind))
        });
    }

    #[test]
    #[should_panic(expected = "is outside")]
    fn what_is_filled_ends_in_the_extent() {
        let memory = memory();
        let extent = memory.extent();
        let table = memory.side_bytes(extent, LOG_BLOCK_BYTES).unwrap();
        let last = extent.start().plus(extent.bytes() - BLOCK_BYTES);
        table.fill(last, BLOCK_BYTES, 7);
        table.fill(last, 2 * BLOCK_BYTES, 7);
    }

    #[test]
    fn a_table_that_is_left_is_still_mapped_when_its_heap_has_gone() {
        let memory = memory();
        let extent = memory.extent();
        let table = memory.side_bytes(extent, LOG_BLOCK_BYTES).unwrap();
        let weak = Arc::downgrade(&memory);
        drop(memory);
        table.at(extent.start()).store(7, Relaxed);
        assert_eq!((table.at(extent.start()).load(Relaxed), weak.strong_count()), (7, 1));
        drop(table);
        assert!(weak.upgrade().is_none());
    }
}
