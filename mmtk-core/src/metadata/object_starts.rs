//! Where objects begin: a bit a granule, for bindings that ask what lies at an address.
//!
//! The thread that makes an object sets its bit. The bits of a range are cleared before the range holds new
//! objects. An object that a collection finds dead loses its bit at once, or its space tells by other marks
//! that it is dead; see `Space::find_object`.
//!
//! I1. Memory is handed out to threads in multiples of eight granules, or in cells of a block that one thread
//!     has at a time, or the bits are set with an exchange (`set_shared`). So no two threads change the bits
//!     of a byte at the same time with plain stores.
//! I2. Bits are set and read at any time; they are cleared by the thread that owns the memory, or in a pause.
//! Callers: mutators, and workers that copy, set bits; the leader, one worker for each block, and the thread
//! that takes memory clear them; any thread asks.
//! Source: the bits that MMTk calls valid-object bits.

use crate::address::{Address, ObjectReference};
use crate::memory::{Borrowed, Extent, Memory, Owned, SideBytes};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Granules of a byte of the table, as a power of two.
const LOG_GRANULES: u32 = 3;
/// Bytes of the table that are read at once.
const WORD_BYTES: usize = 8;

/// The table.
#[derive(Copy, Clone, Debug)]
pub struct ObjectStarts<K = Owned> {
    bits: SideBytes<K>,
    log_granule: u32,
}

impl ObjectStarts {
    /// A table for an extent; no object begins anywhere.
    pub(crate) fn new(memory: &Arc<Memory>, extent: Extent, log_granule: u32) -> io::Result<Self> {
        Ok(ObjectStarts { bits: memory.side_bytes(extent, log_granule + LOG_GRANULES)?, log_granule })
    }

    /// In place of a table that nobody asks for.
    pub(crate) fn absent(memory: &Arc<Memory>, log_granule: u32) -> Self {
        ObjectStarts { bits: SideBytes::absent(Owned::new(memory), log_granule + LOG_GRANULES), log_granule }
    }

    /// The table, borrowed.
    pub(super) fn view(&self) -> ObjectStarts<Borrowed<'_>> {
        ObjectStarts { bits: self.bits.view(), log_granule: self.log_granule }
    }

    /// What the table costs for `bytes` of heap.
    pub const fn table_bytes(bytes: usize, log_granule: u32) -> usize {
        bytes >> (log_granule + LOG_GRANULES)
    }
}

impl<K> ObjectStarts<K> {
    /// The byte of an address is at this base and `address >> (log_granule + 3)`, wrapping.
    pub fn biased_base(&self) -> Address {
        self.bits.biased_base()
    }

    #[inline(always)]
    fn mask(&self, address: Address) -> u8 {
        1 << ((address.as_usize() >> self.log_granule) & 7)
    }

    /// An object begins at `address`, in memory that this thread was handed.
    #[inline(always)]
    pub fn set(&self, address: Address) {
        let byte = self.bits.at(address);
        // Not an exchange: see I1.
        byte.store(byte.load(Relaxed) | self.mask(address), Relaxed);
    }

    /// As [`ObjectStarts::set`], where the compiler knows the granule.
    #[inline(always)]
    pub(crate) fn set_in_granules(&self, address: Address, log_granule: u32) {
        debug_assert_eq!(log_granule, self.log_granule);
        let byte = self.bits.at_region(address, log_granule + LOG_GRANULES);
        byte.store(byte.load(Relaxed) | 1 << ((address.as_usize() >> log_granule) & 7), Relaxed);
    }

    /// The same in memory that several threads fill.
    pub fn set_shared(&self, address: Address) {
        self.bits.at(address).fetch_or(self.mask(address), Relaxed);
    }

    /// Whether an object begins at `address`.
    pub fn is_set(&self, address: Address) -> bool {
        address.is_aligned_to(1 << self.log_granule) && self.bits.at(address).load(Relaxed) & self.mask(address) != 0
    }

    /// No object begins in `[start, start + bytes)`, whole granules.
    pub fn clear(&self, start: Address, bytes: usize) {
        let unit = 1usize << (self.log_granule + LOG_GRANULES);
        let end = start.plus(bytes);
        let (first, last) = (start.align_up(unit), end.align_down(unit));
        if first >= last {
            return self.clear_each(start, end);
        }
        self.clear_each(start, first);
        self.bits.fill(first, last.bytes_from(first), 0);
        self.clear_each(last, end);
    }

    fn clear_each(&self, mut from: Address, end: Address) {
        while from < end {
            // The byte's other granules may be another thread's.
            self.bits.at(from).fetch_and(!self.mask(from), Relaxed);
            from = from.plus(1 << self.log_granule);
        }
    }

    /// The last object that begins at or before `address`, and not before `floor`.
    pub fn last_until(&self, address: Address, floor: Address) -> Option<ObjectReference> {
        let (granule, unit) = (1usize << self.log_granule, WORD_BYTES << (self.log_granule + LOG_GRANULES));
        let mut at = address.align_down(granule);
        loop {
            let word_start = at.align_down(unit);
            let word = self.bits.words::<1>(word_start)[0].load(Relaxed);
            let upto = at.bytes_from(word_start) >> self.log_granule;
            let below = word & (u64::MAX >> (63 - upto));
            if below != 0 {
                let found = word_start.plus((63 - below.leading_zeros() as usize) << self.log_granule);
                // SAFETY: its bit was set when it was made, and would be cleared before its memory is used
                // again (I2).
                return if found >= floor { unsafe { ObjectReference::from_address(found) } } else { None };
            }
            if word_start <= floor {
                return None;
            }
            at = word_start.minus(granule);
        }
    }

    /// Visits the objects that begin in `[start, end)`, multiples of 64 granules, in the order of their
    /// addresses.
    pub fn for_each(&self, start: Address, end: Address, mut visit: impl FnMut(ObjectReference)) {
        let unit = WORD_BYTES << (self.log_granule + LOG_GRANULES);
        let mut at = start;
        while at < end {
            let mut word = self.bits.words::<1>(at)[0].load(Relaxed);
            while word != 0 {
                let found = at.plus((word.trailing_zeros() as usize) << self.log_granule);
                // SAFETY: as in `last_until`.
                unsafe { ObjectReference::from_address(found) }.into_iter().for_each(&mut visit);
                word &= word - 1;
            }
            at = at.plus(unit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn table(log_granule: u32) -> (std::sync::Arc<Memory>, ObjectStarts, Address) {
        let memory = Memory::new(&Options { heap_limit: 1 << 20, ..Options::default() }).unwrap();
        let extent = memory.extent();
        let starts = ObjectStarts::new(&memory, extent, log_granule).unwrap();
        (memory, starts, extent.start())
    }

    proptest! {
        #[test]
        fn starts_agree_with_a_set_of_addresses(
            log_granule in 3u32..5,
            steps in prop::collection::vec((0u8..4, 0usize..600, 0usize..200), 1..60),
        ) {
            let (_memory, starts, base) = table(log_granule);
            let at = |n: usize| base.plus(n << log_granule);
            let mut known = BTreeSet::new();
            for (what, n, more) in steps {
                match what {
                    // What is set already stays so.
                    0 => { (0..2).for_each(|_| starts.set(at(n))); known.insert(n); }
                    1 => { (0..2).for_each(|_| starts.set_shared(at(n))); known.insert(n); }
                    2 => { (0..2).for_each(|_| starts.set_in_granules(at(n), log_granule)); known.insert(n); }
                    _ => {
                        starts.clear(at(n), more << log_granule);
                        known.retain(|k| !(n..n + more).contains(k));
                    }
                }
                let floor = more.min(n);
                let inside = at(n).plus((1 << log_granule) - 1);
                let found = starts.last_until(inside, at(floor));
                prop_assert_eq!(found.map(ObjectReference::address), known.range(floor..=n).next_back().map(|k| at(*k)));
                prop_assert_eq!(starts.is_set(at(n)), known.contains(&n));
                prop_assert!(!starts.is_set(at(n).plus(1)));
            }
            let mut all = Vec::new();
            starts.for_each(base, base.plus(1024 << log_granule), |object| all.push(object.address()));
            prop_assert_eq!(all, known.iter().map(|k| at(*k)).collect::<Vec<_>>());
            let mut some = Vec::new();
            starts.for_each(at(64), at(512), |object| some.push(object.address()));
            prop_assert_eq!(some, known.range(64..512).map(|k| at(*k)).collect::<Vec<_>>());
        }
    }
}
