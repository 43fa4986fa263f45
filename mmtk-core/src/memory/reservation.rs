//! The memory of one heap: the reservation, its extents, its side tables and its budget.
//!
//! I1. What is handed out (extents, tables) lies inside mappings that this value owns; spaces hold it in an
//!     `Arc`.
//! I2. Reserved and resident bytes, those of tables included, never exceed the limit (`budget`).

use super::arena::Arena;
use super::extent::{CHUNK_BYTES, EXTENTS, Extent, LOG_BLOCK_BYTES};
use super::first_touch::FirstTouch;
use super::joining::Joining;
use super::refusals::{self, Asked, Refusals};
use super::side_table::{Owned, SideBytes, SideStates, SideWords};
use crate::address::Address;
use crate::options::{Options, When, format_bytes};
use crate::os::{self, Mapping, PAGE_BYTES};
use bytemuck::{NoUninit, Zeroable};
use protocols::budget::{Budget, Charge};
use protocols::sync::Mutex;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};

/// With `os.huge_pages=auto` a space gets huge pages from this offset on, if they do not turn out to be much
/// dearer at first touch than small ones (`first_touch`). Below it they gain little at first (measured:
/// nothing on gcbench in 256 MiB), and make a small heap resident by 2 MiB at a time; there, and where they
/// are dear, small pages are joined to huge ones with time (`joining`).
const HUGE_FROM: usize = 256 << 20;

/// A heap in which less is resident gets its memory page by page.
const TOUCH_FROM: usize = 16 << 20;

/// Why memory goes back to the system.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// Nobody needs it now. What the program has locked stays.
    Unneeded,
    /// Other memory is needed, and the limit is reached.
    Limit,
}

/// Something that keeps freed memory for reuse and can give it back to the system.
pub trait Cache: Send + Sync {
    /// Gives back at least `bytes`, if it has that many and the system takes them; returns how many bytes
    /// went.
    fn give_back(&self, bytes: usize, why: Why) -> usize;
}

/// The reservation, tables and budget of one heap.
pub struct Memory {
    reservation: Mapping,
    log_extent: u32,
    extents_taken: AtomicUsize,
    budget: Budget,
    tables: Mutex<Vec<Mapping>>,
    /// Where objects lie that are not in the reservation (`AliasedPages`).
    elsewhere: Mutex<Vec<Extent>>,
    arena: Arena,
    caches: Mutex<Vec<Weak<dyn Cache>>>,
    huge_pages: When,
    first_touch: FirstTouch,
    joining: Joining,
    poison: bool,
    refusals: Refusals,
    /// Test support: how many more commitments the "system" grants.
    commits_left: AtomicUsize,
    /// Test support: the "system" takes nothing back.
    refuses_returns: AtomicBool,
    /// Test support: how many mappings the process may have; 0 if as many as the system says.
    mappings_max: AtomicUsize,
}

impl Memory {
    /// Reserves address space for a heap with these options. No memory is used yet.
    pub fn new(options: &Options) -> io::Result<Arc<Memory>> {
        let limit = options.heap_limit.next_multiple_of(PAGE_BYTES);
        let (reservation, log_extent) = Memory::reserve(limit)?;
        Ok(Arc::new(Memory {
            reservation,
            log_extent,
            extents_taken: AtomicUsize::new(0),
            budget: Budget::new(limit),
            tables: Mutex::default(),
            elsewhere: Mutex::default(),
            arena: Arena::default(),
            caches: Mutex::default(),
            huge_pages: options.huge_pages,
            first_touch: FirstTouch::new(),
            joining: Joining::new(options.huge_pages == When::Auto),
            poison: options.poison,
            refusals: Refusals::default(),
            commits_left: AtomicUsize::new(usize::MAX),
            refuses_returns: AtomicBool::new(false),
            mappings_max: AtomicUsize::new(0),
        }))
    }

    /// Address space for a heap of this limit, and the size of an extent as a power of two.
    fn reserve(limit: usize) -> io::Result<(Mapping, u32)> {
        // Room to fragment: pages are cheap to skip in a range that costs nothing.
        // In Miri what is reserved is memory.
        let least = if cfg!(miri) { CHUNK_BYTES } else { 64 << 20 };
        let log_roomy = (limit * 2).next_power_of_two().max(least).ilog2();
        let bytes = EXTENTS << log_roomy;
        // What the process may use is not for this heap alone.
        if refusals::address_space_left().is_none_or(|left| bytes <= left / 2)
            && let Ok(roomy) = Mapping::reserve(bytes, 1 << log_roomy)
        {
            return Ok((roomy, log_roomy));
        }
        // Side tables are mapped as a whole, and as large as the extents ask for.
        let log_tight = limit.next_power_of_two().max(16 << 20).ilog2();
        let tight = Mapping::choose(EXTENTS << log_tight, 1 << log_tight, limit);
        Ok((tight.map_err(|error| refused(limit, "of address space", limit, &error))?, log_tight))
    }

    /// Memory for lists that live for one pause or less.
    #[inline(always)]
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// The budget.
    #[inline(always)]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Whether freed memory is overwritten with a pattern.
    pub fn poisons(&self) -> bool {
        self.poison
    }

    /// Most objects lie outside the extents: no address space is kept for these.
    pub(super) fn objects_lie_elsewhere(&self) {
        self.reservation.keep_nothing();
    }

    /// Objects lie in this extent, too.
    pub(super) fn add_elsewhere(&self, extent: Extent) {
        self.elsewhere.lock().push(extent);
    }

    /// Whether `bytes` bytes at `start`, at least one, are address space of this heap. What of it is not in
    /// use faults, and is nobody else's.
    pub(crate) fn holds(&self, start: Address, bytes: usize) -> bool {
        let last = start.plus(bytes - 1);
        let is_in = |extent: &Extent| start <= last && extent.contains(start) && extent.contains(last);
        is_in(&self.whole()) || self.elsewhere.lock().iter().any(is_in)
    }

    /// The next unused extent.
    ///
    /// # Panics
    /// When a plan asks for more than [`EXTENTS`] spaces.
    pub fn extent(&self) -> Extent {
        let index = self.next_extent();
        Extent::new(self.reservation.start().plus(index << self.log_extent), self.log_extent, index as u32)
    }

    /// The number of the next extent.
    ///
    /// # Panics
    /// As [`Memory::extent`].
    pub(super) fn next_extent(&self) -> usize {
        let index = self.extents_taken.fetch_add(1, Relaxed);
        assert!(index < EXTENTS, "a plan can have {EXTENTS} spaces");
        index
    }

    /// The whole address range of the heap, for tables that serve all spaces.
    pub fn whole(&self) -> Extent {
        Extent::new(self.reservation.start(), self.log_extent + EXTENTS.trailing_zeros(), 0)
    }

    /// A side table with a byte for each `1 << log_region` bytes of `extent`. Its memory is counted by the
    /// type that commits chunks or pages (`table_bytes_per_chunk` of `BlockPool::new` and `PageRuns::new`).
    pub fn side_bytes(self: &Arc<Self>, extent: Extent, log_region: u32) -> io::Result<SideBytes> {
        let base = self.table(extent.bytes() >> log_region)?;
        Ok(SideBytes::new(Owned::new(self), base, extent, log_region))
    }

    /// A side table of `extent` with one state for every `1 << log_region` bytes.
    pub fn side_states<T: NoUninit + Zeroable>(
        self: &Arc<Self>,
        extent: Extent,
        log_region: u32,
    ) -> io::Result<SideStates<T>> {
        Ok(SideStates::new(self.side_bytes(extent, log_region)?))
    }

    /// A side table with a 32-bit word for each block of `extent`.
    pub fn block_words(self: &Arc<Self>, extent: Extent) -> io::Result<SideWords> {
        self.side_words(extent, LOG_BLOCK_BYTES)
    }

    /// A side table with a 32-bit word for each `1 << log_region` bytes of `extent`, or of as much of it as
    /// 32 bits can number.
    pub(crate) fn side_words(self: &Arc<Self>, extent: Extent, log_region: u32) -> io::Result<SideWords> {
        let entries = u32::try_from(extent.bytes() >> log_region).unwrap_or(u32::MAX);
        let base = self.table(entries as usize * 4)?;
        Ok(SideWords::new(Owned::new(self), base, entries))
    }

    /// A zeroed table that lives as long as this value.
    pub(crate) fn table(&self, bytes: usize) -> io::Result<Address> {
        let limit = self.budget.limit();
        let table = Mapping::zeroed(bytes).map_err(|error| refused(bytes, "for a side table", limit, &error))?;
        let start = table.start();
        self.tables.lock().push(table);
        Ok(start)
    }

    /// Registers memory that can be given back when fresh memory is needed.
    pub fn add_cache(&self, cache: Weak<dyn Cache>) {
        self.caches.lock().push(cache);
    }

    /// Asks all caches for `bytes`; returns how many bytes went back to the system.
    pub fn give_back(&self, bytes: usize, why: Why) -> usize {
        let caches = self.arena.collect(self.caches.lock().iter().filter_map(Weak::upgrade));
        let mut given = 0;
        for cache in caches {
            if given >= bytes {
                break;
            }
            given += cache.give_back(bytes - given, why);
        }
        given
    }

    /// Counts `bytes` of fresh memory as resident, giving back cached memory if the limit demands it.
    #[must_use]
    pub fn make_resident(&self, bytes: usize) -> bool {
        while !self.budget.make_resident(bytes) {
            // A good part at once, so that a heap at its limit does not come here for every block.
            if self.give_back(bytes.max(CHUNK_BYTES / 4), Why::Limit) == 0 {
                return self.budget.make_resident(bytes);
            }
        }
        true
    }

    /// Charges side tables that are about to be used, reserved and resident, or changes nothing and returns
    /// false.
    #[must_use]
    pub fn charge_tables(&self, bytes: usize, by: Charge) -> bool {
        if !self.budget.reserve(bytes, by) {
            return false;
        }
        let resident = self.make_resident(bytes);
        if !resident {
            self.budget.unreserve(bytes);
        }
        resident
    }

    /// The tables are not used after all.
    pub fn uncharge_tables(&self, bytes: usize) {
        self.budget.unreserve(bytes);
        self.budget.not_resident(bytes);
    }

    /// The system refuses, if a test wants it to.
    pub(super) fn ask_for_commit(&self) -> io::Result<()> {
        if self.commits_left.load(Relaxed) != usize::MAX
            && self.commits_left.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).is_err()
        {
            return Err(io::Error::from(io::ErrorKind::OutOfMemory));
        }
        Ok(())
    }

    /// Makes `[at, at + bytes)` usable.
    ///
    /// # Errors
    /// The system refuses, which is then known ([`Memory::refusals`]).
    pub fn commit(&self, at: Address, bytes: usize) -> io::Result<()> {
        self.try_commit(at, bytes).inspect_err(|error| self.refusals.add(Asked::Memory, bytes, error))
    }

    fn try_commit(&self, at: Address, bytes: usize) -> io::Result<()> {
        self.ask_for_commit()?;
        let huge = match self.huge_pages {
            When::Never => Some(false),
            _ => self.wants_huge_pages(at).then_some(true),
        };
        self.reservation.commit(at, bytes, huge)?;
        if huge.is_none() {
            self.joining.committed(at, bytes);
        }
        Ok(())
    }

    /// Whether memory at `at` is to have huge pages from its first touch on. Once they turned out to be dear,
    /// what was asked for and is not yet touched, less than a chunk a space, counts with the small ones.
    fn wants_huge_pages(&self, at: Address) -> bool {
        let offset = at.bytes_from(self.reservation.start()) & ((1 << self.log_extent) - 1);
        match self.huge_pages {
            When::Always => true,
            When::Never => false,
            When::Auto => offset >= HUGE_FROM && self.first_touch.huge_pages_pay(),
        }
    }

    /// Puts memory behind a fresh block, which will be used at once. Not in a small heap, where much of a
    /// block may stay unused.
    pub(super) fn touch(&self, at: Address, bytes: usize) {
        if self.budget.resident() >= TOUCH_FROM {
            self.first_touch.touch(&self.reservation, at, bytes, self.wants_huge_pages(at));
        }
    }

    /// What it costs to use memory for the first time, in ns of processor time a byte, by what it did lately.
    pub fn touch_ns_per_byte(&self) -> f64 {
        self.first_touch.ns_per_byte()
    }

    /// Whether small pages may now be joined to huge ones ([`join_pages`](Memory::join_pages)). Cheap.
    pub fn may_join_pages(&self) -> bool {
        self.joining.has_small() && self.joining.affordable(os::process_cpu_ns())
    }

    /// Joins small pages to a huge one, if the program has earned it by running so long (`joining`); whether
    /// it did. Takes milliseconds, in which other threads may use the heap. Only one thread at a time.
    pub fn join_pages(&self) -> bool {
        self.joining.join_one(&self.reservation, os::process_cpu_ns())
    }

    /// Joins no pages any more: two processes share them.
    pub(crate) fn end_joining(&self) {
        self.joining.end();
    }

    /// Bytes of memory that were joined to huge pages.
    pub fn joined_bytes(&self) -> usize {
        self.joining.joined_bytes()
    }

    /// Gives the memory of whole pages back to the system and counts it as not resident. False if the system
    /// does not take it: then it counts as before, and holds anything.
    ///
    /// # Safety
    /// Nobody uses what the range holds, now or later.
    #[must_use]
    pub unsafe fn decommit(&self, at: Address, bytes: usize, why: Why) -> bool {
        let given = self.ask_for_return().and_then(|()| {
            let locked_too = why == Why::Limit;
            // SAFETY: the caller's promise.
            self.joining.giving_back(at, bytes, || unsafe { self.reservation.give_back(at, bytes, locked_too) })
        });
        match given {
            Ok(()) => self.budget.not_resident(bytes),
            Err(ref error) => self.refusals.add(Asked::Return, bytes, error),
        }
        given.is_ok()
    }

    /// What the system refused so far.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// The system refuses, if a test wants it to.
    pub(super) fn ask_for_return(&self) -> io::Result<()> {
        match self.refuses_returns.load(Relaxed) {
            true => Err(io::Error::from_raw_os_error(libc::EINVAL)),
            false => Ok(()),
        }
    }

    /// Test support: from now on the system takes no memory back, or again does.
    pub fn refuse_returns(&self, refuse: bool) {
        self.refuses_returns.store(refuse, Relaxed);
    }

    /// How many mappings a test grants.
    pub(super) fn mappings_max(&self) -> Option<usize> {
        Some(self.mappings_max.load(Relaxed)).filter(|max| *max > 0)
    }

    /// Test support: the process may have `most` mappings, of which some are in use.
    pub fn limit_mappings(&self, most: usize) {
        self.mappings_max.store(most, Relaxed);
    }

    /// Test support: after `n` more commitments the system refuses.
    pub fn refuse_commits_after(&self, n: usize) {
        self.commits_left.store(n, Relaxed);
    }
}

/// What to say of a heap that is refused `bytes`.
pub(super) fn refused(bytes: usize, what: &str, limit: usize, error: &io::Error) -> io::Error {
    let why = refusals::why(Asked::Memory, bytes, error);
    io::Error::new(error.kind(), format!("{bytes} bytes {what}, with heap.limit={}: {error}{why}", format_bytes(limit)))
}
