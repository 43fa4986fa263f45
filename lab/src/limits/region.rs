//! Raw memory to measure on: a mapping with bounds.
//!
//! I1. `[start, start + bytes)` is mapped, readable and writable as long as the region lives.
//! I2. Two threads that write at once write disjoint ranges; the measurements are written so.
//!
//! Bounds are checked in debug builds only: the checks would be measured.

use std::ptr::null_mut;

const HUGE_PAGE_BYTES: usize = 2 << 20;
pub(super) const PAGE_BYTES: usize = 4096;

/// Which pages the kernel is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pages {
    Small,
    Huge,
}

impl Pages {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Small => "4 KB pages",
            Self::Huge => "MADV_HUGEPAGE",
        }
    }
}

/// A mapping, aligned to the huge page size.
pub(super) struct Region {
    mapping: *mut libc::c_void,
    mapped_bytes: usize,
    start: usize,
    bytes: usize,
}

// SAFETY: plain memory; who writes where is I2.
unsafe impl Sync for Region {}

impl Region {
    pub(super) fn new(bytes: usize, pages: Pages) -> Self {
        let mapped_bytes = bytes + HUGE_PAGE_BYTES;
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
        // SAFETY: a new anonymous mapping touches no memory of ours.
        let mapping = unsafe { libc::mmap(null_mut(), mapped_bytes, protection, flags, -1, 0) };
        assert!(mapping != libc::MAP_FAILED, "cannot map {mapped_bytes} bytes");
        let start = (mapping as usize).next_multiple_of(HUGE_PAGE_BYTES);
        let region = Self { mapping, mapped_bytes, start, bytes };
        region.advise(match pages {
            Pages::Small => libc::MADV_NOHUGEPAGE,
            Pages::Huge => libc::MADV_HUGEPAGE,
        });
        region
    }

    pub(super) fn start(&self) -> usize {
        self.start
    }

    #[inline(always)]
    fn at(&self, offset: usize, bytes: usize) -> *mut u8 {
        debug_assert!(offset + bytes <= self.bytes);
        (self.start + offset) as *mut u8
    }

    /// Gives advice on the whole region.
    pub(super) fn advise(&self, advice: libc::c_int) {
        // SAFETY: pages of the region (I1). Some advice discards contents, none makes them inaccessible.
        unsafe { libc::madvise(self.start as *mut _, self.bytes, advice) };
    }

    /// Sets the protection of the page at `offset`.
    pub(super) fn protect_page(&self, offset: usize, protection: libc::c_int) {
        // SAFETY: a page of the region. The caller makes it writable again before it is used.
        unsafe { libc::mprotect(self.at(offset, PAGE_BYTES).cast(), PAGE_BYTES, protection) };
    }

    #[inline(always)]
    pub(super) fn fill(&self, offset: usize, bytes: usize, value: u8) {
        // SAFETY: I1, I2.
        unsafe { self.at(offset, bytes).write_bytes(value, bytes) }
    }

    pub(super) fn copy(&self, from: usize, to: usize, bytes: usize) {
        debug_assert!(from.abs_diff(to) >= bytes);
        let (from, to) = (self.at(from, bytes), self.at(to, bytes));
        // SAFETY: I1, I2, and the ranges are disjoint.
        unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) }
    }

    #[inline(always)]
    pub(super) fn read(&self, offset: usize) -> usize {
        // SAFETY: I1, and a mapping has no uninitialised memory; the measurements use multiples of 8.
        unsafe { *self.at(offset, 8).cast::<usize>() }
    }

    #[inline(always)]
    pub(super) fn write(&self, offset: usize, value: usize) {
        // SAFETY: as in `read`, and I2.
        unsafe { *self.at(offset, 8).cast::<usize>() = value }
    }

    /// Writes a byte into each page of a range.
    pub(super) fn touch(&self, offset: usize, bytes: usize) {
        for page in (offset..offset + bytes).step_by(PAGE_BYTES) {
            // SAFETY: I1, I2. Volatile: the store is the point.
            unsafe { self.at(page, 1).write_volatile(1) };
        }
    }

    /// Fetches the cache line at `offset`.
    #[inline(always)]
    pub(super) fn prefetch(&self, offset: usize) {
        prefetch(self.at(offset, 1));
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; no one holds a reference into it.
        unsafe { libc::munmap(self.mapping, self.mapped_bytes) };
    }
}

/// Fetches a cache line.
#[inline(always)]
pub(super) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; it cannot fault.
    unsafe {
        core::arch::x86_64::_mm_prefetch(address.cast(), core::arch::x86_64::_MM_HINT_T0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
