//! A range of address space, and memory behind parts of it.

use super::sparse::Sparse;
use super::{HUGE_PAGE_BYTES, PAGE_BYTES, map_anywhere};
use crate::address::Address;
use std::io;

#[cfg(miri)]
use super::in_miri as libc;

/// A range of address space, released when dropped.
pub struct Mapping {
    start: Address,
    bytes: usize,
    /// If it is mapped piece by piece; otherwise all of it is ours.
    sparse: Option<Sparse>,
}

impl Mapping {
    /// Reserves address space aligned to `align` (a power of two of at least a page), without memory behind
    /// it: any access faults.
    pub fn reserve(bytes: usize, align: usize) -> io::Result<Mapping> {
        Mapping::map(bytes, align, libc::PROT_NONE)
    }

    /// Maps zeroed memory that the system fills in when it is first touched.
    pub fn zeroed(bytes: usize) -> io::Result<Mapping> {
        Mapping::map(bytes, PAGE_BYTES, libc::PROT_READ | libc::PROT_WRITE)
    }

    fn map(bytes: usize, align: usize, protection: i32) -> io::Result<Mapping> {
        let (start, bytes) = map_anywhere(bytes, align, protection)?;
        Ok(Mapping { start, bytes, sparse: None })
    }

    /// Chooses addresses, and maps each piece when it is committed. `kept` bytes of address space are
    /// reserved for that at once.
    pub fn choose(bytes: usize, align: usize, kept: usize) -> io::Result<Mapping> {
        let sparse = Sparse::choose(bytes, align, kept.next_multiple_of(PAGE_BYTES))?;
        Ok(Mapping { start: sparse.start(), bytes, sparse: Some(sparse) })
    }

    /// No address space is kept for what is committed from now on ([`Mapping::choose`]).
    pub fn keep_nothing(&self) {
        if let Some(sparse) = &self.sparse {
            sparse.keep_nothing();
        }
    }

    /// The first address.
    pub fn start(&self) -> Address {
        self.start
    }

    /// The length in bytes, whole pages.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn assert_inside(&self, at: Address, bytes: usize) {
        assert!(
            at >= self.start && at.bytes_from(self.start).checked_add(bytes).is_some_and(|end| end <= self.bytes),
            "{at}+{bytes:#x} is outside the mapping {}+{:#x}",
            self.start,
            self.bytes
        );
    }

    /// Makes whole pages of the reservation readable and writable. They read as zero until written.
    /// `huge_pages` asks for them, or against them; none leaves it to the system.
    pub fn commit(&self, at: Address, bytes: usize, huge_pages: Option<bool>) -> io::Result<()> {
        self.assert_inside(at, bytes);
        match &self.sparse {
            Some(sparse) => sparse.commit(at, bytes)?,
            // SAFETY: the range is ours (asserted); more access to it cannot break anybody.
            None => match unsafe { libc::mprotect(at.as_mut_ptr(), bytes, libc::PROT_READ | libc::PROT_WRITE) } {
                0 => (),
                _ => return Err(io::Error::last_os_error()),
            },
        }
        if let Some(huge) = huge_pages {
            let advice = if huge { libc::MADV_HUGEPAGE } else { libc::MADV_NOHUGEPAGE };
            // SAFETY: advice about a range that is ours; a refusal only costs speed.
            unsafe { libc::madvise(at.as_mut_ptr(), bytes, advice) };
        }
        Ok(())
    }

    /// Whether the whole of the huge page's worth of memory at `at` is resident.
    pub fn is_resident(&self, at: Address) -> io::Result<bool> {
        self.assert_inside(at, HUGE_PAGE_BYTES);
        let mut pages = [0; HUGE_PAGE_BYTES / PAGE_BYTES];
        // SAFETY: the call writes a byte for each page of the range, and `pages` has that many.
        match unsafe { libc::mincore(at.as_mut_ptr(), HUGE_PAGE_BYTES, pages.as_mut_ptr()) } {
            0 => Ok(pages.iter().all(|page| page & 1 != 0)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Moves what lies in the huge page's worth of memory at `at` into one huge page, now. Threads may use it
    /// meanwhile; they may have to wait.
    pub fn join_pages(&self, at: Address) -> io::Result<()> {
        self.assert_inside(at, HUGE_PAGE_BYTES);
        // SAFETY: the range is ours (asserted), and holds afterwards what it held before.
        match unsafe { libc::madvise(at.as_mut_ptr(), HUGE_PAGE_BYTES, libc::MADV_COLLAPSE) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Puts memory behind whole pages that have none, now instead of when they are used.
    pub fn populate(&self, at: Address, bytes: usize) -> io::Result<()> {
        self.assert_inside(at, bytes);
        // SAFETY: the range is ours (asserted), and reads afterwards as before.
        match unsafe { libc::madvise(at.as_mut_ptr(), bytes, libc::MADV_POPULATE_WRITE) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Gives the memory behind whole pages back to the system; they read as zero afterwards. Memory that the
    /// program has locked only if `locked_too`, and if the system can (Linux 5.18).
    ///
    /// # Errors
    /// The system does not take it, most often because it is locked. Then the range holds anything, and
    /// counts as resident.
    ///
    /// # Safety
    /// Nobody uses what the range holds, now or later.
    pub unsafe fn give_back(&self, at: Address, bytes: usize, locked_too: bool) -> io::Result<()> {
        self.assert_inside(at, bytes);
        let advise = |advice| {
            // SAFETY: the range is ours (asserted) and unused (the caller's promise).
            match unsafe { libc::madvise(at.as_mut_ptr(), bytes, advice) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        match advise(libc::MADV_DONTNEED) {
            Err(error) if locked_too && error.raw_os_error() == Some(libc::EINVAL) => {
                advise(MADV_DONTNEED_LOCKED).map_err(|_| error)
            }
            result => result,
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.sparse.is_none() {
            // SAFETY: the mapping is ours; a value that holds addresses into it holds them no longer than its
            // owner lives. The system refuses if the process has so many mappings that this one cannot be cut
            // off from its neighbours; then it stays.
            unsafe { libc::munmap(self.start.as_mut_ptr(), self.bytes) };
        }
    }
}

/// Linux 5.18; not in `libc` for each of its versions of the C library.
const MADV_DONTNEED_LOCKED: i32 = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_is_aligned_and_reads_as_zero_once_committed() {
        let mapping = Mapping::reserve(1 << 20, 1 << 22).unwrap();
        assert!(mapping.start().is_aligned_to(1 << 22));
        mapping.commit(mapping.start(), 1 << 20, None).unwrap();
        // SAFETY: committed above, used by this test alone.
        unsafe {
            assert_eq!(mapping.start().load::<u64>(), 0);
            mapping.start().store(7u64);
            mapping.give_back(mapping.start(), PAGE_BYTES, false).unwrap();
            assert_eq!(mapping.start().load::<u64>(), 0);
        }
    }

    #[test]
    fn locked_memory_is_given_back_only_if_it_must() {
        let mapping = Mapping::reserve(PAGE_BYTES, PAGE_BYTES).unwrap();
        mapping.commit(mapping.start(), PAGE_BYTES, None).unwrap();
        // SAFETY: committed above, used by this test alone.
        unsafe {
            mapping.start().store(7u64);
            assert_eq!(libc::mlock(mapping.start().as_mut_ptr(), PAGE_BYTES), 0, "a page may be locked");
            let error = mapping.give_back(mapping.start(), PAGE_BYTES, false).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
            assert_eq!(mapping.start().load::<u64>(), 7, "it was left alone");
            let given = mapping.give_back(mapping.start(), PAGE_BYTES, true).is_ok();
            assert_eq!(mapping.start().load::<u64>(), if given { 0 } else { 7 });
        }
    }

    #[test]
    fn an_impossible_reservation_is_an_error() {
        assert!(Mapping::reserve(usize::MAX - 1, PAGE_BYTES).is_err());
        assert!(Mapping::reserve(1 << 60, 1 << 30).is_err());
        assert!(Mapping::choose(1 << 60, 1 << 30, 0).is_err());
        assert!(Mapping::choose(1 << 30, 1 << 30, 1 << 60).is_err());
    }
}
