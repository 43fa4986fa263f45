//! Pages that show memory under more than one address: a range of address space, and a file in memory of the same length behind it.
//!
//! ```text
//!   addresses   [ page 0 ][ page 1 ][ page 2 ][ page 3 ] ..        each inaccessible, or mapped onto a home
//!                   |  ,------'         |         |
//!   memory      [ home 0 ]          [ home 2 ][ home 3 ] ..        a home takes memory once it is touched
//! ```
//! A home is named by the page with the same number. Neighbouring pages that are mapped onto their own homes are one mapping to the system,
//! and so are neighbouring inaccessible ones; every other page is a mapping of its own, of which a process may have `max_mappings`.
//!
//! I1. What is mapped or protected lies inside the range, which is this value's (checked).
//! I2. Who maps, protects or releases a page says that nobody uses it otherwise; the caller's tables know. Access to a page that is not mapped
//!     faults and harms nobody.
//! Callers: one space, under its lock.
//! Source: Dhurjati and Adve, "Efficiently detecting all dangling pointer uses in production servers" (DSN 2006).

use super::extent::Extent;
use super::memory::Memory;
use super::os::{Mapping, PAGE_BYTES};
use crate::address::Address;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::Arc;

/// Address space and the file behind it.
pub struct AliasedPages {
    memory: Arc<Memory>,
    extent: Extent,
    file: File,
    _range: Mapping,
}

impl AliasedPages {
    /// Reserves `bytes` of addresses, a power of two, or less if the system grants no more; none is accessible.
    ///
    /// # Errors
    /// When the system refuses even a small part, or a file in memory.
    pub fn reserve(memory: &Arc<Memory>, bytes: usize) -> io::Result<AliasedPages> {
        let mut log_bytes = bytes.ilog2();
        let range = loop {
            match Mapping::reserve(1 << log_bytes, PAGE_BYTES) {
                Ok(range) => break range,
                Err(error) if log_bytes < 26 => return Err(error),
                Err(_) => log_bytes -= 1,
            }
        };
        // SAFETY: a call with a name that lives, which makes a file that nobody else knows.
        let raw = unsafe { libc::memfd_create(c"page-protect".as_ptr(), libc::MFD_CLOEXEC) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was made above, and is given away once.
        let file = unsafe { File::from_raw_fd(raw) };
        file.set_len(1 << log_bytes)?;
        Ok(AliasedPages {
            memory: memory.clone(),
            extent: Extent::new(range.start(), log_bytes, memory.next_extent() as u32),
            file,
            _range: range,
        })
    }

    /// The addresses.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// How many pages there are.
    pub fn pages(&self) -> u32 {
        (self.extent.bytes() / PAGE_BYTES) as u32
    }

    /// Where a page begins.
    pub fn start_of(&self, page: u32) -> Address {
        assert!(page < self.pages(), "page {page} of {}", self.pages());
        self.extent.start().plus(page as usize * PAGE_BYTES)
    }

    fn range(&self, page: u32, pages: u32) -> (Address, usize) {
        assert!(pages > 0 && page.checked_add(pages).is_some_and(|end| end <= self.pages()), "pages {page}+{pages}");
        (self.start_of(page), pages as usize * PAGE_BYTES)
    }

    /// Maps pages onto as many homes, to be read and written.
    ///
    /// # Errors
    /// When the system refuses: most often because the process has too many mappings.
    pub fn map(&self, page: u32, home: u32, pages: u32) -> io::Result<()> {
        self.memory.ask_for_commit()?;
        let (at, bytes) = self.range(page, pages);
        let (offset, _) = self.range(home, pages);
        let offset = offset.bytes_from(self.extent.start()) as libc::off_t;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_NORESERVE;
        // SAFETY: the pages are ours (I1), and nobody uses them (I2).
        let mapped = unsafe { libc::mmap(at.as_mut_ptr(), bytes, access, flags, self.file.as_raw_fd(), offset) };
        if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Makes pages inaccessible. What their homes hold stays.
    ///
    /// # Errors
    /// When the system refuses, because the process has too many mappings; the pages are as they were.
    pub fn protect(&self, page: u32, pages: u32) -> io::Result<()> {
        let (at, bytes) = self.range(page, pages);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
        // SAFETY: the pages are ours (I1); who still uses them faults, which is the purpose (I2).
        let mapped = unsafe { libc::mmap(at.as_mut_ptr(), bytes, libc::PROT_NONE, flags, -1, 0) };
        if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Gives the memory of homes back to the system; they read as zero afterwards, under whatever addresses.
    pub fn release(&self, home: u32, pages: u32) {
        let (offset, bytes) = self.range(home, pages);
        let offset = offset.bytes_from(self.extent.start()) as libc::off_t;
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: a call on a file that is ours; nobody uses what these homes hold (I2).
        let result = unsafe { libc::fallocate(self.file.as_raw_fd(), mode, offset, bytes as libc::off_t) };
        assert_eq!(result, 0, "fallocate({offset:#x}, {bytes:#x}): {}", io::Error::last_os_error());
    }
}

impl Memory {
    /// How many mappings a process may have.
    pub fn max_mappings() -> usize {
        const DEFAULT: usize = 65_530;
        let text = std::fs::read_to_string("/proc/sys/vm/max_map_count");
        text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    fn pages() -> AliasedPages {
        let memory = Memory::new(&Options { heap_limit: 1 << 20, ..Options::default() }).unwrap();
        AliasedPages::reserve(&memory, 1 << 26).unwrap()
    }

    #[test]
    fn two_pages_show_one_home_and_a_released_one_reads_as_zero() {
        let pages = pages();
        pages.map(5, 5, 1).unwrap();
        pages.map(9, 5, 1).unwrap();
        // SAFETY: mapped above, used by this test alone.
        unsafe {
            pages.start_of(5).plus(64).store(7u64);
            assert_eq!(pages.start_of(9).plus(64).load::<u64>(), 7);
            pages.protect(5, 1).unwrap();
            assert_eq!(pages.start_of(9).plus(64).load::<u64>(), 7, "the home stays");
            pages.release(5, 1);
            assert_eq!(pages.start_of(9).plus(64).load::<u64>(), 0);
        }
    }

    #[test]
    #[should_panic(expected = "pages 16383+2")]
    fn pages_outside_the_range_are_refused() {
        let _ = pages().map(16383, 0, 2);
    }
}
