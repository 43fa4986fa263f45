//! Extents and blocks: how one reservation is cut up.
//!
//! A heap reserves one range, cut into power-of-two extents, one per space, so that "is this object in that
//! space?" is a subtraction and a shift, with no load. An extent is cut into 4 MiB chunks (the unit of
//! commitment) and 32 KiB blocks (the unit that changes hands).

use crate::address::{Address, ObjectReference};

/// How many spaces a plan can have.
pub const EXTENTS: usize = 8;
/// Bytes of a block, as a power of two. 32 KiB as in Immix: half the first-level cache of common processors,
/// and large enough that the shared list is touched once in a thousand small objects.
pub const LOG_BLOCK_BYTES: u32 = 15;
/// Bytes of a block.
pub const BLOCK_BYTES: usize = 1 << LOG_BLOCK_BYTES;
/// Bytes of a chunk: commitment happens by whole chunks, two huge pages each.
pub const CHUNK_BYTES: usize = 4 << 20;
/// Blocks of a chunk.
pub const CHUNK_BLOCKS: u32 = (CHUNK_BYTES / BLOCK_BYTES) as u32;

/// The part of the heap's address range that belongs to one space.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Extent {
    start: Address,
    log_bytes: u32,
    number: u32,
}

/// A block by its number within its extent.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Block(pub u32);

impl Extent {
    pub(crate) fn new(start: Address, log_bytes: u32, number: u32) -> Extent {
        assert!((number as usize) < EXTENTS);
        Extent { start, log_bytes, number }
    }

    /// An extent that nothing lies in.
    pub(super) fn none() -> Extent {
        Extent { start: Address::from_usize(usize::MAX), log_bytes: 0, number: 0 }
    }

    /// Its number among the extents of the heap, below [`EXTENTS`].
    #[inline(always)]
    pub fn number(&self) -> usize {
        // SAFETY: `new` saw to it. A table by number is then read without a test of the bounds, for each live
        // object.
        unsafe { std::hint::assert_unchecked((self.number as usize) < EXTENTS) };
        self.number as usize
    }

    /// The first address.
    pub fn start(&self) -> Address {
        self.start
    }

    /// The length in bytes, a power of two.
    pub fn bytes(&self) -> usize {
        1 << self.log_bytes
    }

    /// How many blocks it is cut into.
    pub fn blocks(&self) -> u32 {
        1 << (self.log_bytes - LOG_BLOCK_BYTES)
    }

    /// Whether the address lies inside.
    #[inline(always)]
    pub fn contains(&self, address: Address) -> bool {
        address.as_usize().wrapping_sub(self.start.as_usize()) >> self.log_bytes == 0
    }

    /// Whether the object lies inside.
    #[inline(always)]
    pub fn holds(&self, object: ObjectReference) -> bool {
        self.contains(object.address())
    }

    /// See `BlockPool::object_at`.
    pub(super) fn object_at(&self, address: Address) -> ObjectReference {
        assert!(
            self.contains(address) && address.is_aligned_to(size_of::<usize>()),
            "no object begins at {address}: objects of this space begin at words of {self:?}"
        );
        // SAFETY: memory of the heap; that an object begins there is what the space says.
        unsafe { ObjectReference::from_address(address) }.expect("an extent does not begin at zero")
    }

    /// The block around an address of this extent.
    #[inline(always)]
    pub fn block_of(&self, address: Address) -> Block {
        debug_assert!(self.contains(address));
        Block((address.bytes_from(self.start) >> LOG_BLOCK_BYTES) as u32)
    }

    /// Panics unless the address lies inside. Where the caller has asked before, the compiler asks no more.
    #[inline(always)]
    pub(crate) fn check(&self, address: Address) {
        #[cold]
        #[inline(never)]
        fn fail(extent: &Extent, address: Address) -> ! {
            panic!("{address} is outside {extent:?}")
        }
        if !self.contains(address) {
            fail(self, address);
        }
    }

    /// Where a block begins.
    #[inline(always)]
    pub fn block_start(&self, block: Block) -> Address {
        self.start.plus((block.0 as usize) << LOG_BLOCK_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn membership_is_exact_at_both_ends() {
        let extent = Extent::new(Address::from_usize(1 << 30), 30, 0);
        assert!(extent.contains(Address::from_usize(1 << 30)));
        assert!(extent.contains(Address::from_usize((2 << 30) - 1)));
        assert!(!extent.contains(Address::from_usize((1 << 30) - 1)));
        assert!(!extent.contains(Address::from_usize(2 << 30)));
        let block = extent.block_of(Address::from_usize((1 << 30) + 3 * BLOCK_BYTES + 17));
        assert_eq!(block, Block(3));
        assert_eq!(extent.block_start(block), Address::from_usize((1 << 30) + 3 * BLOCK_BYTES));
    }
}
