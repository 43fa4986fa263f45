//! Memory that is to become an object.

use crate::address::{Address, ObjectReference};

/// Memory for one object, as an allocation returns it: whole granules, all zero, and the caller's alone.
///
/// No reference leads there yet. The VM writes what it has to write, a header most often, and then says that
/// it is an object now: [`NewObject::assume_object`]. What is dropped before that is garbage.
#[derive(Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct NewObject(Address);

impl NewObject {
    #[inline(always)]
    pub(crate) fn new(start: Address) -> NewObject {
        NewObject(start)
    }

    /// Where the memory begins.
    #[inline(always)]
    pub fn address(&self) -> Address {
        self.0
    }

    /// The object that the memory is now.
    ///
    /// # Safety
    /// No safepoint has come since the allocation, and the memory holds an object: its header is written, its
    /// slots are null or refer to objects, and `object_size` returns what was asked for.
    #[inline(always)]
    pub unsafe fn assume_object(self) -> ObjectReference {
        // SAFETY: the caller's promise; an allocation never returns null.
        unsafe { ObjectReference::from_address(self.0).unwrap_unchecked() }
    }
}
