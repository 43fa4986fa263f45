//! Addresses and object references: one-word newtypes.
//!
//! `Address` is a number until it is dereferenced, so arithmetic is safe and every access is not. An
//! `ObjectReference` is an address with a promise: an object begins there. Making one from an address is
//! unsafe; this layer, the heap and the edge of a binding do it.

use bytemuck::NoUninit;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU8, AtomicU64};

/// A machine address, possibly zero, possibly unmapped.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, NoUninit)]
#[repr(transparent)]
pub struct Address(usize);

impl Address {
    /// The null address.
    pub const ZERO: Address = Address(0);

    /// The address with this number.
    #[inline(always)]
    pub const fn from_usize(raw: usize) -> Address {
        Address(raw)
    }

    /// The number.
    #[inline(always)]
    pub const fn as_usize(self) -> usize {
        self.0
    }

    /// The address of what the pointer points to.
    #[inline(always)]
    pub fn from_ptr<T>(pointer: *const T) -> Address {
        Address(pointer as usize)
    }

    /// A pointer to this address. Dereferencing it is the caller's affair.
    #[inline(always)]
    pub const fn as_ptr<T>(self) -> *const T {
        self.0 as *const T
    }

    /// A pointer to this address. Dereferencing it is the caller's affair.
    #[inline(always)]
    pub const fn as_mut_ptr<T>(self) -> *mut T {
        self.0 as *mut T
    }

    /// Whether this is the null address.
    #[inline(always)]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The address `bytes` further. Wraps at the end of the address space, which no heap reaches.
    #[inline(always)]
    pub const fn plus(self, bytes: usize) -> Address {
        Address(self.0.wrapping_add(bytes))
    }

    /// The address `bytes` before.
    #[inline(always)]
    pub const fn minus(self, bytes: usize) -> Address {
        Address(self.0.wrapping_sub(bytes))
    }

    /// The address at a signed distance in bytes.
    #[inline(always)]
    pub const fn offset(self, bytes: isize) -> Address {
        Address(self.0.wrapping_add_signed(bytes))
    }

    /// Bytes from `origin` to here; `origin` must not lie behind.
    #[inline(always)]
    pub const fn bytes_from(self, origin: Address) -> usize {
        debug_assert!(self.0 >= origin.0);
        self.0.wrapping_sub(origin.0)
    }

    /// The next multiple of `align` (a power of two) at or above.
    #[inline(always)]
    pub const fn align_up(self, align: usize) -> Address {
        Address((self.0 + align - 1) & !(align - 1))
    }

    /// The multiple of `align` (a power of two) at or below.
    #[inline(always)]
    pub const fn align_down(self, align: usize) -> Address {
        Address(self.0 & !(align - 1))
    }

    /// Whether this is a multiple of `align`, a power of two.
    #[inline(always)]
    pub const fn is_aligned_to(self, align: usize) -> bool {
        self.0 & (align - 1) == 0
    }

    /// Asks the processor to bring the cache line near; never faults.
    #[inline(always)]
    pub fn prefetch(self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch is a hint; it has no architectural effect at any address.
        unsafe {
            core::arch::x86_64::_mm_prefetch(self.0 as *const i8, core::arch::x86_64::_MM_HINT_T0);
        }
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        // SAFETY: a prefetch is a hint; it has no architectural effect at any address.
        unsafe {
            core::arch::asm!("prfm pldl1keep, [{0}]", in(reg) self.0, options(nostack, preserves_flags, readonly));
        }
    }

    /// As [`Address::prefetch`], for a line that will be written: other processors' copies of it go.
    #[inline(always)]
    pub fn prefetch_write(self) {
        // Miri runs no assembly.
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: a prefetch is a hint; it has no architectural effect at any address. Processors without it
        // do nothing.
        unsafe {
            core::arch::asm!("prefetchw [{0}]", in(reg) self.0, options(nostack, preserves_flags, readonly));
        }
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        // SAFETY: a prefetch is a hint; it has no architectural effect at any address.
        unsafe {
            core::arch::asm!("prfm pstl1keep, [{0}]", in(reg) self.0, options(nostack, preserves_flags, readonly));
        }
    }

    /// Reads a value.
    ///
    /// # Safety
    /// The address is mapped, aligned for `T`, holds a valid `T`, and nobody writes it at the same time.
    #[inline(always)]
    pub unsafe fn load<T: Copy>(self) -> T {
        // SAFETY: the caller's promise.
        unsafe { *(self.0 as *const T) }
    }

    /// Writes a value.
    ///
    /// # Safety
    /// The address is mapped, writable, aligned for `T`, and nobody else accesses it at the same time.
    #[inline(always)]
    pub unsafe fn store<T: Copy>(self, value: T) {
        // SAFETY: the caller's promise.
        unsafe { *(self.0 as *mut T) = value }
    }

    /// The word here as an atomic.
    ///
    /// # Safety
    /// Mapped, aligned to 8, accessed only atomically while the reference lives, and mapped as long as it
    /// lives.
    #[inline(always)]
    pub unsafe fn as_atomic_u64<'a>(self) -> &'a AtomicU64 {
        // SAFETY: the caller's promise.
        unsafe { AtomicU64::from_ptr(self.0 as *mut u64) }
    }

    /// The byte here as an atomic.
    ///
    /// # Safety
    /// Mapped, accessed only atomically while the reference lives, and mapped as long as it lives.
    #[inline(always)]
    pub unsafe fn as_atomic_u8<'a>(self) -> &'a AtomicU8 {
        // SAFETY: the caller's promise.
        unsafe { AtomicU8::from_ptr(self.0 as *mut u8) }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A non-null reference to an object of the VM: the address at which the object's storage begins, as the
/// allocator returned it.
///
/// Where there is one, there is an object, which may be read and whose state the heap may change. So what
/// takes a reference is safe, and what makes one of a number is not ([`ObjectReference::from_address`]).
///
/// A reference that a mutator holds is good until its next safepoint, a native region included: then the
/// object may move or die, and copies of the reference are stale. That the VM uses no stale one is part of
/// what [`VMBinding`](crate::VMBinding) promises.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ObjectReference(NonZeroUsize);

impl ObjectReference {
    /// The object at `address`, or none at the null address.
    ///
    /// # Safety
    /// The address is null, or an object begins there, in a heap or outside: its memory is the object's, it
    /// can be scanned, and that is so as long as the reference is used.
    #[inline(always)]
    pub const unsafe fn from_address(address: Address) -> Option<ObjectReference> {
        match NonZeroUsize::new(address.0) {
            Some(raw) => Some(ObjectReference(raw)),
            None => None,
        }
    }

    /// Where the object's storage begins.
    #[inline(always)]
    pub const fn address(self) -> Address {
        Address(self.0.get())
    }
}

#[cfg(test)]
impl ObjectReference {
    /// For tests of tables and marks: `address` need hold no object.
    pub(crate) fn for_test(address: Address) -> ObjectReference {
        // SAFETY: the test knows what is looked at.
        unsafe { ObjectReference::from_address(address) }.expect("not null")
    }
}

impl fmt::Debug for ObjectReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {:#x}", self.0)
    }
}

impl fmt::Display for ObjectReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alignment_rounds_both_ways() {
        let address = Address::from_usize(0x1234);
        assert_eq!(address.align_up(0x1000), Address::from_usize(0x2000));
        assert_eq!(address.align_down(0x1000), Address::from_usize(0x1000));
        assert!(address.align_down(16).is_aligned_to(16));
        assert_eq!(address.align_up(4), address);
    }

    #[test]
    fn null_is_no_object() {
        // SAFETY: the null address.
        assert!(unsafe { ObjectReference::from_address(Address::ZERO) }.is_none());
        assert_eq!(size_of::<Option<ObjectReference>>(), size_of::<usize>());
    }
}
