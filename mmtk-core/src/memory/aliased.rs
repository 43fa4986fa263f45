//! Pages that show memory under more than one address: a range of address space, and a file in memory of the
//! same length behind it.
//!
//! ```text
//!   addresses   [ page 0 ][ page 1 ][ page 2 ][ page 3 ] ..        each inaccessible, or mapped onto a home
//!                   |  ,------'         |         |
//!   memory      [ home 0 ]          [ home 2 ][ home 3 ] ..        a home takes memory once it is touched
//! ```
//! A home is named by the page with the same number. Neighbouring pages that are mapped onto their own homes
//! are one mapping to the system, and so are neighbouring inaccessible ones; most others are a mapping each.
//! The system limits the mappings of a process (`vm.max_map_count`), and threads and other memory need some.
//! So they are counted (`Mappings`), those of all heaps of the process together. Pages that share homes may
//! take half of the limit; with inaccessible pages between others it is five eighths, and with all pages
//! three quarters.
//!
//! I1. What is mapped or protected lies inside the range, which is this value's (checked).
//! I2. The caller that maps, protects or releases a page promises that no other code uses it; the caller's
//!     tables tell. An access to a page that is not mapped faults, and harms nothing.
//! Callers: one space, under its lock.
//! Source: Dhurjati and Adve, "Efficiently detecting all dangling pointer uses in production servers" (DSN
//! 2006).

use super::extent::Extent;
use super::free_memory::FreeMemory;
use super::mappings::Mappings;
use super::refusals::{self, Asked};
use super::reservation::{Memory, refused};
use crate::address::{Address, ObjectReference};
use crate::os::{self, Mapping, PAGE_BYTES};
use protocols::sync::Mutex;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Mappings of all `AliasedPages` of this process: the system's limit is the process's.
static OF_PROCESS: AtomicUsize = AtomicUsize::new(0);

/// Address space and the file behind it.
pub struct AliasedPages {
    memory: Arc<Memory>,
    extent: Extent,
    file: File,
    mappings: Mutex<Mappings>,
    /// How many mappings the process may have.
    mappings_max: usize,
    _range: Mapping,
}

/// The least range, as a power of two.
const LOG_LEAST: u32 = 24;

impl AliasedPages {
    /// Reserves `bytes` of addresses, a power of two, or less if the system grants no more; none is
    /// accessible.
    ///
    /// # Errors
    /// When the system refuses even a small part, or a file in memory.
    pub fn reserve(memory: &Arc<Memory>, bytes: usize) -> io::Result<AliasedPages> {
        memory.objects_lie_elsewhere();
        let limits = [refusals::address_space_left().map(|left| left / 4 * 3), os::file_size_limit()];
        let most = limits.into_iter().flatten().fold(bytes, usize::min);
        let mut log_bytes = most.max(1 << LOG_LEAST).ilog2();
        let range = loop {
            match Mapping::reserve(1 << log_bytes, PAGE_BYTES) {
                Ok(range) => break range,
                Err(error) if log_bytes <= LOG_LEAST => {
                    let what = "of addresses for objects (page_protect.addresses)";
                    return Err(refused(1 << log_bytes, what, memory.budget().limit(), &error));
                }
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
        let extent = Extent::new(range.start(), log_bytes, memory.next_extent() as u32);
        memory.add_elsewhere(extent);
        OF_PROCESS.fetch_add(1, Relaxed);
        Ok(AliasedPages {
            memory: memory.clone(),
            extent,
            file,
            mappings: Mutex::new(Mappings::new(1 << (log_bytes - PAGE_BYTES.ilog2()))),
            mappings_max: refusals::max_mappings(),
            _range: range,
        })
    }

    /// How many mappings the process may have.
    fn mappings_max(&self) -> usize {
        self.memory.mappings_max().unwrap_or(self.mappings_max)
    }

    /// Few pages are left that hold nothing live.
    pub fn used_up(&self) {
        let pages = self.pages();
        let error = io::Error::other(format!(
            "live objects take most of the {pages} pages of addresses (page_protect.addresses)"
        ));
        self.memory.refusals().add(Asked::Page, PAGE_BYTES, &error);
    }

    /// How many mappings are in use. Where a test grants some, it grants them to this heap alone.
    fn in_use(&self) -> usize {
        match self.memory.mappings_max() {
            Some(_) => self.mappings.lock().count(),
            None => OF_PROCESS.load(Relaxed),
        }
    }

    /// Whether more pages may share homes.
    pub fn may_share(&self) -> bool {
        self.in_use() < self.mappings_max() / 2
    }

    /// Whether half of the mappings that pages may take by sharing homes are in use.
    pub fn is_crowded(&self) -> bool {
        self.in_use() > self.mappings_max() / 4
    }

    /// Whether the process has as many mappings or fewer when these pages are inaccessible.
    pub fn is_cheap_to_protect(&self, page: u32, pages: u32) -> bool {
        self.mappings.lock().change(page, pages, None) <= 0
    }

    /// Has the system change what pages show, if that leaves no more than `most` mappings.
    fn change(
        &self,
        page: u32,
        pages: u32,
        home: Option<u32>,
        most: usize,
        call: impl FnOnce() -> bool,
    ) -> io::Result<()> {
        let mut mappings = self.mappings.lock();
        let change = mappings.change(page, pages, home);
        let (most_here, most_of_process) = match self.memory.mappings_max() {
            Some(_) => (most, usize::MAX),
            None => (usize::MAX, most),
        };
        if change > 0 && mappings.count().saturating_add_signed(change) > most_here {
            return Err(io::Error::other(refusals::too_many_mappings(mappings.count())));
        }
        // Another heap may take some at the same time.
        let add = |used: usize| {
            Some(used.saturating_add_signed(change)).filter(|used| change <= 0 || *used <= most_of_process)
        };
        if let Err(used) = OF_PROCESS.fetch_update(Relaxed, Relaxed, add) {
            return Err(io::Error::other(refusals::too_many_mappings(used)));
        }
        if !call() {
            let error = io::Error::last_os_error();
            OF_PROCESS.fetch_sub(change as usize, Relaxed);
            return Err(error);
        }
        mappings.set(page, pages, home);
        Ok(())
    }

    /// The addresses.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// The object that begins at an address here, as the caller knows. As what it frees, this is a space's
    /// own business: only the space knows where its objects begin.
    ///
    /// # Panics
    /// When the address is not in the extent, or no multiple of a word.
    pub fn object_at(&self, address: Address) -> ObjectReference {
        self.extent.object_at(address)
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

    /// Memory that is mapped here, and that the caller calls free. It may hold anything.
    ///
    /// # Panics
    /// When it reaches over these pages.
    pub fn memory_at(&self, range: Range<Address>) -> FreeMemory<'_> {
        let is_inside = range.start <= range.end
            && self.extent.contains(range.start)
            && range.end.bytes_from(self.extent.start()) <= self.extent.bytes();
        assert!(is_inside, "{}..{} is outside {:?}", range.start, range.end, self.extent);
        FreeMemory::new(range, false)
    }

    fn range(&self, page: u32, pages: u32) -> (Address, usize) {
        assert!(pages > 0 && page.checked_add(pages).is_some_and(|end| end <= self.pages()), "pages {page}+{pages}");
        (self.start_of(page), pages as usize * PAGE_BYTES)
    }

    /// Maps pages onto as many homes, to be read and written.
    ///
    /// # Errors
    /// When the process has too many mappings, or the system refuses. It is then known
    /// ([`Memory::refusals`]).
    pub fn map(&self, page: u32, home: u32, pages: u32) -> io::Result<()> {
        let (at, bytes) = self.range(page, pages);
        let (offset, _) = self.range(home, pages);
        let offset = offset.bytes_from(self.extent.start()) as libc::off_t;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_NORESERVE;
        let fd = self.file.as_raw_fd();
        let mapped = self.memory.ask_for_commit().and_then(|()| {
            self.change(page, pages, Some(home), self.mappings_max() / 4 * 3, || {
                // SAFETY: the pages are ours (I1), and nobody uses them (I2).
                unsafe { libc::mmap(at.as_mut_ptr(), bytes, access, flags, fd, offset) != libc::MAP_FAILED }
            })
        });
        mapped.inspect_err(|error| self.memory.refusals().add(Asked::Page, bytes, error))
    }

    /// Makes pages inaccessible. What their homes hold stays.
    ///
    /// # Errors
    /// When the process has too many mappings, or the system refuses; the pages are as they were. It is then
    /// known ([`Memory::refusals`]).
    pub fn protect(&self, page: u32, pages: u32) -> io::Result<()> {
        let (at, bytes) = self.range(page, pages);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
        let protected = self.change(page, pages, None, self.mappings_max() / 8 * 5, || {
            // SAFETY: the pages are ours (I1); who still uses them faults, which is the purpose (I2).
            unsafe { libc::mmap(at.as_mut_ptr(), bytes, libc::PROT_NONE, flags, -1, 0) != libc::MAP_FAILED }
        });
        protected.inspect_err(|error| self.memory.refusals().add(Asked::Protection, bytes, error))
    }

    /// Gives the memory of homes back to the system; they read as zero afterwards, under whatever addresses.
    /// False if the system does not take it: then they hold anything, and are resident still.
    #[must_use]
    pub fn release(&self, home: u32, pages: u32) -> bool {
        let (offset, bytes) = self.range(home, pages);
        let offset = offset.bytes_from(self.extent.start()) as libc::off_t;
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let released = self.memory.ask_for_return().and_then(|()| {
            // SAFETY: a call on a file that is ours; nobody uses what these homes hold (I2).
            match unsafe { libc::fallocate(self.file.as_raw_fd(), mode, offset, bytes as libc::off_t) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
        released.inspect_err(|error| self.memory.refusals().add(Asked::Return, bytes, error)).is_ok()
    }
}

impl Memory {
    /// How many mappings a process may have.
    pub fn max_mappings() -> usize {
        refusals::max_mappings()
    }
}

impl Drop for AliasedPages {
    fn drop(&mut self) {
        OF_PROCESS.fetch_sub(self.mappings.lock().count(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    /// With mappings of its own, whatever other tests use.
    fn pages() -> AliasedPages {
        let memory = Memory::new(&Options { heap_limit: 1 << 20, ..Options::default() }).unwrap();
        memory.limit_mappings(10_000);
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
            assert!(pages.release(5, 1));
            assert_eq!(pages.start_of(9).plus(64).load::<u64>(), 0);
        }
    }

    /// Mappings of this process that begin in the range.
    fn mappings_in(pages: &AliasedPages) -> usize {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let start = |line: &str| usize::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
        maps.lines().filter(|line| pages.extent().contains(Address::from_usize(start(line)))).count()
    }

    /// Maps every second page, as long as that is granted, and at most `most`.
    fn map_apart(pages: &AliasedPages, most: u32) -> u32 {
        let apart = (0..most).map(|n| 2 * n + 1).take_while(|&page| pages.map(page, page, 1).is_ok());
        apart.count() as u32
    }

    #[test]
    fn heaps_of_one_process_share_the_mappings_that_it_may_have() {
        const GRANTED: usize = 20_000;
        let reserve = || {
            let memory = Memory::new(&Options { heap_limit: 1 << 20, ..Options::default() }).unwrap();
            let mut pages = AliasedPages::reserve(&memory, 1 << 28).unwrap();
            // Less than any system grants, and other tests of this process use some hundreds at most.
            pages.mappings_max = GRANTED;
            pages
        };
        let (one, other) = (reserve(), reserve());
        // Each page is a mapping of its own, and so is what lies between two.
        let most = GRANTED as u32 / 4 * 3;
        let first = map_apart(&one, most / 4);
        assert_eq!(first, most / 4, "half of what is granted");
        let second = map_apart(&other, most);
        assert!(second.abs_diff(most / 4) < most / 16, "{second} of {most}");
        let error = other.map(2 * second + 9, 2 * second + 9, 1).unwrap_err().to_string();
        assert!(error.contains("vm.max_map_count"), "{error}");
        drop(one);
        assert!(other.map(2 * second + 9, 2 * second + 9, 1).is_ok());
    }

    #[test]
    fn as_many_mappings_are_counted_as_the_system_has() {
        let pages = pages();
        let mut random = 1u64;
        for n in 0..3000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (page, length) = ((random >> 40) as u32 % 200 + 1, (random >> 60) as u32 % 4 + 1);
            match (random >> 50) % 4 {
                0 => pages.protect(page, length).unwrap(),
                1 => pages.map(page, 300 + (random >> 33) as u32 % 8, 1).unwrap(),
                _ => pages.map(page, page, length).unwrap(),
            }
            if n % 100 == 0 {
                // The range may have grown together with the mapping before it, which begins elsewhere.
                let counted = pages.mappings.lock().count();
                assert!((mappings_in(&pages)..=mappings_in(&pages) + 1).contains(&counted), "{counted} after {n}");
            }
        }
    }

    #[test]
    fn where_mappings_are_used_up_neighbours_can_be_mapped_still_and_the_limit_is_named() {
        let pages = pages();
        pages.memory.limit_mappings(80);
        let mapped = (0..).take_while(|n| pages.map(2 * n, 300, 1).is_ok()).count();
        assert_eq!(mapped, 30, "of the mappings three quarters, half of them with nothing");
        let text = pages.map(1000, 1000, 1).unwrap_err().to_string();
        assert!(text.contains("vm.max_map_count") && text.contains("60 of the"), "{text}");
        // One protected in the midst of others costs two, and only less than that is left for it.
        pages.map(59, 59, 1).unwrap_err();
        pages.protect(58, 1).unwrap();
        pages.map(58, 58, 2).unwrap();
        pages.map(60, 60, 1).unwrap();
        assert!(pages.protect(59, 1).is_err() && !pages.is_cheap_to_protect(59, 1));
        assert!(pages.is_cheap_to_protect(60, 1) && pages.is_cheap_to_protect(0, 1));
        assert_eq!(pages.memory.refusals().count(), 4);
    }

    #[test]
    #[should_panic(expected = "pages 16383+2")]
    fn pages_outside_the_range_are_refused() {
        let _ = pages().map(16383, 0, 2);
    }
}
