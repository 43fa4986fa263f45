//! The object model: one header word, then reference slots, then raw data.
//!
//! ```text
//! 63    56 55            28 27             0
//! [ GC byte | words in all  | reference slots ]   [ slot 0 ] .. [ raw word 0 ] ..
//! ```
//! The top byte is lent to the collector. Objects are multiples of 8 bytes, at least 16. The header itself
//! has room for a forwarding word, so an object of a header and two words has 24 bytes.

use heapwright::{Address, ObjectReference};
use std::sync::atomic::Ordering::Relaxed;

/// A reference as the runtime's user sees it: a word, 0 is null. Stale after any safepoint, unless it is on a
/// shadow stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Ref(pub usize);

impl Ref {
    /// The null reference.
    pub const NULL: Ref = Ref(0);

    /// Whether it is null.
    #[inline(always)]
    pub fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The object, unless it is null.
    #[inline(always)]
    pub fn object(self) -> Option<ObjectReference> {
        // SAFETY: the user of this runtime makes a `Ref` of an object's address alone (see the crate).
        unsafe { ObjectReference::from_address(Address::from_usize(self.0)) }
    }
}

impl From<ObjectReference> for Ref {
    fn from(object: ObjectReference) -> Ref {
        Ref(object.address().as_usize())
    }
}

const FIELD: usize = (1 << 28) - 1;
/// The most words an object can have, header included: 2 GiB.
pub const MAX_WORDS: usize = FIELD;

/// The shape of an object: how many references, how many bytes of raw data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Class {
    /// Reference slots.
    pub refs: usize,
    /// Bytes of raw data, rounded up to words.
    pub bytes: usize,
}

impl Class {
    /// Words of an object of this class, header included.
    #[inline(always)]
    pub const fn words(self) -> usize {
        let words = 1 + self.refs + self.bytes.div_ceil(8);
        if words < 2 { 2 } else { words }
    }
}

/// A header as it was read.
#[derive(Clone, Copy)]
pub struct Header(u64);

impl Header {
    /// The header of a new object.
    #[inline(always)]
    pub fn new(refs: usize, words: usize) -> Header {
        Header(refs as u64 | (words as u64) << 28)
    }
    /// Reference slots.
    #[inline(always)]
    pub fn refs(self) -> usize {
        self.0 as usize & FIELD
    }
    /// Words of the object, header included.
    #[inline(always)]
    pub fn words(self) -> usize {
        (self.0 >> 28) as usize & FIELD
    }
}

/// The header of an object.
#[inline(always)]
pub fn header(object: ObjectReference) -> Header {
    // SAFETY: an object begins with its header word; the collector writes its top byte atomically, so it is
    // read so.
    Header(unsafe { object.address().as_atomic_u64() }.load(Relaxed))
}

/// Writes the header of a new object.
///
/// # Safety
/// `at` is memory of at least two words that the allocator has just returned.
#[inline(always)]
pub unsafe fn write_header(at: Address, refs: usize, words: usize) {
    // SAFETY: the caller's promise.
    unsafe { at.store(Header::new(refs, words).0) };
}

/// Where the object's word with this index is; references come first.
#[inline(always)]
pub fn slot(object: ObjectReference, index: usize) -> Address {
    object.address().plus(8 + index * 8)
}
