//! Free memory on its way from a space to a thread: the right to write there, as a value.
//!
//! A pair of addresses is two numbers, which any code can make. Only the pools make a [`FreeMemory`]
//! (`BlockPool`, `Frontier`, `PageRuns`, `AliasedPages`), and they check that the range is theirs. So a
//! space, which is safe code, can have memory zeroed and handed out, but never memory outside its heap.
//!
//! I1. The range is committed, lies in the extent of the pool that made it, and was handed out by it.
//! I2. The value borrows the pool, so the range is mapped as long as it exists. It is used once. No pool can
//!     know whether the range is free. The space decides that: memory that it calls free is overwritten, with
//!     objects that are there (see the documentation of `policies`).
//! Callers: mutators in the slow path of allocation, workers that copy.

use crate::address::Address;
use std::marker::PhantomData;
use std::ops::Range;

/// Memory that a space gives to a thread.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "memory that no thread gets stays unused until the next sweep"]
pub struct FreeMemory<'m> {
    start: Address,
    end: Address,
    zeroed: bool,
    pool: PhantomData<&'m ()>,
}

impl<'m> FreeMemory<'m> {
    /// The range, which reads as zero if `zeroed`. The caller is a pool and has looked at it (I1).
    pub(super) fn new(range: Range<Address>, zeroed: bool) -> FreeMemory<'m> {
        FreeMemory { start: range.start, end: range.end, zeroed, pool: PhantomData }
    }

    /// Part of it.
    ///
    /// # Panics
    /// When `range` is no part of it.
    pub fn narrow(self, range: Range<Address>) -> FreeMemory<'m> {
        assert!(
            self.start <= range.start && range.start <= range.end && range.end <= self.end,
            "{}..{} is no part of the free memory {}..{}",
            range.start,
            range.end,
            self.start,
            self.end
        );
        FreeMemory { start: range.start, end: range.end, ..self }
    }

    /// The first address.
    pub fn start(&self) -> Address {
        self.start
    }

    /// The first address behind it.
    pub fn end(&self) -> Address {
        self.end
    }

    /// The length in bytes.
    pub fn bytes(&self) -> usize {
        self.end.bytes_from(self.start)
    }

    /// Whether it reads as zero.
    pub fn is_zeroed(&self) -> bool {
        self.zeroed
    }
}

#[cfg(test)]
impl FreeMemory<'static> {
    /// For tests of ranges: memory that the test owns, or that nobody writes to.
    pub(crate) fn for_test(range: Range<Address>, zeroed: bool) -> FreeMemory<'static> {
        FreeMemory::new(range, zeroed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> FreeMemory<'static> {
        FreeMemory::new(Address::from_usize(0x1000)..Address::from_usize(0x2000), true)
    }

    #[test]
    fn a_part_reads_as_zero_if_the_whole_does() {
        let at = Address::from_usize;
        let part = memory().narrow(at(0x1100)..at(0x1200));
        assert_eq!((part.start(), part.end(), part.bytes(), part.is_zeroed()), (at(0x1100), at(0x1200), 0x100, true));
    }

    #[test]
    #[should_panic(expected = "is no part of the free memory")]
    fn a_part_does_not_reach_over_the_end() {
        let _ = memory().narrow(Address::from_usize(0x1100)..Address::from_usize(0x2008));
    }
}
