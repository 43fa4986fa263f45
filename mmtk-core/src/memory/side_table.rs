//! Side metadata: tables outside objects, indexed by address.
//!
//! `entry = biased_base + (address >> shift)`: the base is biased once, so a lookup is a shift and an
//! addition. A table covers one extent of the heap and is mapped as a whole; the system fills in pages that
//! are touched.
//!
//! I1. A table's mapping lives as long as the heap's memory, which outlives every space, tracer and mutator.
//! I2. Addresses and object references that reach a table belong to its extent: spaces test membership first,
//!     and a debug build checks it here.

use crate::address::Address;
use crate::memory::Extent;
use bytemuck::{NoUninit, Zeroable};
use protocols::sync::Atomic;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// A table with one byte for every `1 << shift` bytes of an extent.
#[derive(Copy, Clone, Debug)]
pub struct SideBytes {
    biased: Address,
    extent: Extent,
    shift: u32,
}

impl SideBytes {
    pub(crate) fn new(base: Address, extent: Extent, shift: u32) -> SideBytes {
        SideBytes { biased: base.minus(extent.start().as_usize() >> shift), extent, shift }
    }

    /// How many bytes of heap one entry stands for, as a power of two.
    pub fn log_region(&self) -> u32 {
        self.shift
    }

    /// The entry of an address is at this base and `address >> log_region()`, wrapping.
    pub fn biased_base(&self) -> Address {
        self.biased
    }

    /// The entry of the region that `address` lies in.
    #[inline(always)]
    pub fn at(&self, address: Address) -> &AtomicU8 {
        debug_assert!(self.extent.contains(address), "{address} is outside {:?}", self.extent);
        // SAFETY: the table is mapped for its whole extent (I1), in which the address lies (I2).
        unsafe { self.biased.plus(address.as_usize() >> self.shift).as_atomic_u8() }
    }

    /// As [`SideBytes::at`], with the shift known to the compiler.
    #[inline(always)]
    pub fn at_shift<const SHIFT: u32>(&self, address: Address) -> &AtomicU8 {
        debug_assert_eq!(SHIFT, self.shift);
        debug_assert!(self.extent.contains(address), "{address} is outside {:?}", self.extent);
        // SAFETY: as for `at`.
        unsafe { self.biased.plus(address.as_usize() >> SHIFT).as_atomic_u8() }
    }

    /// As [`SideBytes::at`], with a shift that the compiler knows once it knows the binding.
    #[inline(always)]
    pub fn at_region(&self, address: Address, log_region: u32) -> &AtomicU8 {
        debug_assert_eq!(log_region, self.shift);
        debug_assert!(self.extent.contains(address), "{address} is outside {:?}", self.extent);
        // SAFETY: as for `at`.
        unsafe { self.biased.plus(address.as_usize() >> log_region).as_atomic_u8() }
    }

    /// Eight entries at once, those of the regions from `address` on, lowest address in the lowest byte.
    /// `address` is a multiple of eight regions.
    #[inline(always)]
    pub fn eight_at(&self, address: Address) -> &AtomicU64 {
        debug_assert!(self.extent.contains(address), "{address} is outside {:?}", self.extent);
        debug_assert!(address.is_aligned_to(8 << self.shift));
        // SAFETY: as for `at`; extents are aligned to far more than eight regions, so the word is aligned and
        // inside. Mixed sizes: a table's bytes are written during marking and read by words when no worker
        // writes.
        unsafe { self.biased.plus(address.as_usize() >> self.shift).as_atomic_u64() }
    }

    /// Sets all entries of `[start, start + bytes)`, whole regions, to `value`.
    /// Call while nobody else uses them (a pause, one worker a range).
    pub fn fill(&self, start: Address, bytes: usize, value: u8) {
        if bytes == 0 {
            return;
        }
        debug_assert!(self.extent.contains(start) && self.extent.contains(start.plus(bytes - 1)));
        let entry = self.biased.plus(start.as_usize() >> self.shift);
        // SAFETY: mapped (I1), inside (I2), and nobody else uses the range (the caller's side of the contract
        // is a phase of a pause; a race would store bytes over bytes).
        unsafe { entry.as_mut_ptr::<u8>().write_bytes(value, bytes >> self.shift) };
    }
}

/// A table with one state for every `1 << shift` bytes of an extent. The type says which states there are:
/// an enum of one byte, of which the one that is zero is where each region begins.
pub struct SideStates<T> {
    bytes: SideBytes,
    holds: PhantomData<fn() -> T>,
}

impl<T> Clone for SideStates<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for SideStates<T> {}

impl<T: NoUninit + Zeroable> SideStates<T> {
    pub(crate) fn new(bytes: SideBytes) -> Self {
        SideStates { bytes, holds: PhantomData }
    }

    /// The state of the region that `address` lies in.
    #[inline(always)]
    pub fn at(&self, address: Address) -> &Atomic<T> {
        Self::state(self.bytes.at(address))
    }

    /// As [`SideStates::at`], with the shift known to the compiler.
    #[inline(always)]
    pub fn at_shift<const SHIFT: u32>(&self, address: Address) -> &Atomic<T> {
        Self::state(self.bytes.at_shift::<SHIFT>(address))
    }

    #[inline(always)]
    fn state(byte: &AtomicU8) -> &Atomic<T> {
        const { assert!(size_of::<Atomic<T>>() == 1 && align_of::<Atomic<T>>() == 1, "a state is one byte") };
        // SAFETY: both are a cell of one byte (asserted). The byte is a `T`: zero is one (`Zeroable`), and the
        // table, whose bytes nobody else has, is written through this type alone.
        unsafe { &*std::ptr::from_ref(byte).cast() }
    }
}

/// A table with one 32-bit word for every block of an extent.
#[derive(Copy, Clone, Debug)]
pub struct SideWords {
    base: Address,
    entries: u32,
}

impl SideWords {
    pub(crate) fn new(base: Address, entries: u32) -> SideWords {
        SideWords { base, entries }
    }

    /// The word of block `number`.
    #[inline(always)]
    pub fn word(&self, number: u32) -> &AtomicU32 {
        assert!(number < self.entries, "block {number} of {}", self.entries);
        // SAFETY: mapped (I1), in bounds (asserted), words are only accessed atomically.
        unsafe { AtomicU32::from_ptr(self.base.plus(number as usize * 4).as_mut_ptr()) }
    }
}

impl crate::memory::Links for SideWords {
    #[inline(always)]
    fn link(&self, number: u32) -> &AtomicU32 {
        self.word(number)
    }
}
