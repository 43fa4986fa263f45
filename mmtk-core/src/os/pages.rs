//! An allocator for containers that a collection uses and keeps: whole pages from the system.
//!
//! A pause may not call `malloc`: a thread that stopped may hold its lock. So a container that grows, shrinks
//! or is dropped in a pause has its memory from here: each has a mapping of its own, with no shared state, no
//! lock, and nothing that a fork could find half done. A system call is dear and a page is large, so such a
//! container is kept and used again; what lives for one pause or less is in an
//! [`Arena`](crate::memory::Arena).

use super::{PAGE_BYTES, map_anywhere, unmap};
use crate::address::Address;
use allocator_api2::alloc::{AllocError, Allocator, Layout};
use allocator_api2::vec::{IntoIter, Vec};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

#[cfg(miri)]
use super::in_miri as libc;

/// Mappings for containers, one each. Zeroed when they are new.
#[derive(Copy, Clone, Default, Debug)]
pub struct Pages;

/// Bytes of the mapping behind what has this layout.
fn mapped(layout: Layout) -> usize {
    layout.size().next_multiple_of(PAGE_BYTES)
}

/// What lies at an address, as the allocator of a container gives it.
pub(crate) fn memory_at(start: Address, bytes: usize) -> Result<NonNull<[u8]>, AllocError> {
    let start = NonNull::new(start.as_mut_ptr::<u8>()).ok_or(AllocError)?;
    Ok(NonNull::slice_from_raw_parts(start, bytes))
}

// SAFETY: a mapping is the container's alone until it is given back, and belongs to no instance of this type.
unsafe impl Allocator for Pages {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.size() == 0 {
            return memory_at(Address::from_usize(layout.align()), 0);
        }
        let (start, bytes) =
            map_anywhere(layout.size(), layout.align(), libc::PROT_READ | libc::PROT_WRITE).map_err(|_| AllocError)?;
        memory_at(start, bytes)
    }

    fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        self.allocate(layout)
    }

    unsafe fn deallocate(&self, memory: NonNull<u8>, layout: Layout) {
        if layout.size() > 0 {
            // SAFETY: made by `allocate`, and given up by its owner (the caller's promise). If the system
            // refuses, the pages stay.
            unsafe { unmap(Address::from_ptr(memory.as_ptr()), mapped(layout)) };
        }
    }

    unsafe fn grow(&self, memory: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if old.size() > 0 && mapped(old) == mapped(new) && old.align() == new.align() {
            return memory_at(Address::from_ptr(memory.as_ptr()), mapped(new));
        }
        // Miri has no such call. ThreadSanitizer does not see it: it takes what another thread writes to the
        // addresses that were left for a race.
        #[cfg(not(any(miri, tsan)))]
        if old.size() > 0 && new.align() <= PAGE_BYTES {
            // SAFETY: made by `allocate`, and its owner asks for it (the caller's promise).
            let moved = unsafe { libc::mremap(memory.as_ptr().cast(), mapped(old), mapped(new), libc::MREMAP_MAYMOVE) };
            if moved == libc::MAP_FAILED {
                return Err(AllocError);
            }
            return memory_at(Address::from_ptr(moved), mapped(new));
        }
        let more = self.allocate(new)?;
        // SAFETY: both are the container's, the new one is larger, and the old one is given up.
        unsafe {
            memory.copy_to_nonoverlapping(more.cast(), old.size());
            self.deallocate(memory, old);
        }
        Ok(more)
    }

    unsafe fn shrink(&self, memory: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let start = Address::from_ptr(memory.as_ptr());
        if new.size() == 0 {
            // SAFETY: the caller's promise.
            unsafe { self.deallocate(memory, old) };
            return self.allocate(new);
        }
        if mapped(new) < mapped(old) {
            // SAFETY: the end of what was made by `allocate`, and its owner gives it up (the caller's
            // promise). If the system refuses, it stays.
            unsafe { unmap(start.plus(mapped(new)), mapped(old) - mapped(new)) };
        }
        memory_at(start, mapped(new))
    }
}

/// A vector in pages of its own.
#[derive(Debug)]
pub struct PageVec<T>(Vec<T, Pages>);

impl<T> PageVec<T> {
    /// Without elements, and without memory.
    pub const fn new() -> PageVec<T> {
        PageVec(Vec::new_in(Pages))
    }
}

impl<T> Default for PageVec<T> {
    fn default() -> Self {
        PageVec::new()
    }
}

impl<T> Deref for PageVec<T> {
    type Target = Vec<T, Pages>;
    #[inline(always)]
    fn deref(&self) -> &Vec<T, Pages> {
        &self.0
    }
}

impl<T> DerefMut for PageVec<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Vec<T, Pages> {
        &mut self.0
    }
}

impl<T> IntoIterator for PageVec<T> {
    type Item = T;
    type IntoIter = IntoIter<T, Pages>;
    fn into_iter(self) -> IntoIter<T, Pages> {
        self.0.into_iter()
    }
}

impl<T> Extend<T> for PageVec<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        self.0.extend(items);
    }
}

impl<T> FromIterator<T> for PageVec<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> PageVec<T> {
        let mut all = PageVec::new();
        all.extend(items);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use allocator_api2::boxed::Box;

    #[test]
    fn a_container_of_pages_grows_shrinks_and_keeps_what_it_holds() {
        let mut numbers: Vec<usize, Pages> = Vec::new_in(Pages);
        for n in 0..100_000 {
            numbers.push(n);
        }
        assert!(numbers.iter().copied().eq(0..100_000));
        numbers.truncate(700);
        numbers.shrink_to_fit();
        assert!(numbers.capacity() < 100_000 && numbers.iter().copied().eq(0..700));
        numbers.extend(700..5000);
        assert!(numbers.iter().copied().eq(0..5000));
        numbers.clear();
        numbers.shrink_to_fit();
        assert_eq!(numbers.capacity(), 0);
        assert_eq!(*Box::new_in([7u64; 600], Pages), [7; 600]);
        assert!(Vec::<u64, Pages>::new_in(Pages).is_empty());
    }

    #[test]
    fn what_needs_more_than_the_alignment_of_a_page_gets_it() {
        #[repr(align(16384))]
        struct Wide([u8; 16384]);
        let mut wide = Vec::new_in(Pages);
        for n in 0..5 {
            wide.push(Wide([n; 16384]));
            assert!(Address::from_ptr(wide.as_ptr()).is_aligned_to(16384));
        }
        assert!(wide.iter().enumerate().all(|(n, wide)| wide.0[16383] == n as u8));
    }
}
