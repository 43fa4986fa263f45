//! Runs of pages for large objects.
//!
//! Best fit over free runs, else the untouched end of the extent. Large objects are rare and large, so a lock
//! and a tree are cheap beside them. A freed page stays resident (dirty) until its memory is needed elsewhere
//! or the collector gives it back; then it reads as zero again (clean).
//!
//! I1. Every page below `top` is in exactly one free run or in use.
//! I2. Pages in use and dirty pages are resident; clean ones and those above `top` are not.
//! I3. The space's side tables of the pages below `top` are charged, by whole pages, and never returned.
//! Lock order: `state` is taken alone; memory is given back without it, from runs taken out first.

use super::arena::List;
use super::extent::{CHUNK_BYTES, Extent};
use super::free_memory::FreeMemory;
use super::free_runs::FreeRuns;
use super::reservation::{Cache, Memory, Why};
use crate::address::{Address, ObjectReference};
use crate::os::{self, PAGE_BYTES};
use protocols::budget::Charge;
use protocols::sync::Mutex;
use std::ops::Range;
use std::sync::{Arc, Weak};

#[derive(Default)]
struct State {
    free: FreeRuns,
    /// Pages from here on were never handed out.
    top: usize,
    committed: usize,
    /// Bytes of side tables charged: enough for `top` (I3), more if threads that extended at the same time
    /// all paid.
    table_bytes: usize,
}

/// The pages of one extent.
pub struct PageRuns {
    memory: Arc<Memory>,
    extent: Extent,
    state: Mutex<State>,
    table_bytes_per_chunk: usize,
}

/// A run just taken.
pub struct AcquiredPages<'m> {
    start: Address,
    /// The parts that hold what was there before; the rest reads as zero.
    dirty: List<'m, FreeMemory<'m>>,
    end: Address,
}

impl<'m> AcquiredPages<'m> {
    /// Where it begins.
    pub fn start(&self) -> Address {
        self.start
    }

    /// The parts of the run that are to be zeroed; the rest reads as zero.
    pub fn into_dirty(self) -> List<'m, FreeMemory<'m>> {
        self.dirty
    }

    /// The run as one piece of memory.
    pub fn into_memory(self) -> FreeMemory<'m> {
        FreeMemory::new(self.start..self.end, self.dirty.is_empty())
    }
}

impl PageRuns {
    /// The pages of `extent`; those that were ever used charge their share of `table_bytes_per_chunk` for the
    /// space's side tables.
    pub fn new(memory: &Arc<Memory>, extent: Extent, table_bytes_per_chunk: usize) -> Arc<PageRuns> {
        let runs =
            Arc::new(PageRuns { memory: memory.clone(), extent, state: Mutex::default(), table_bytes_per_chunk });
        let weak: Weak<PageRuns> = Arc::downgrade(&runs);
        memory.add_cache(weak);
        runs
    }

    /// The heap's memory.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The extent.
    #[inline(always)]
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

    /// Takes `pages` pages and charges them; none if the budget, the extent or the system refuses.
    pub fn acquire(&self, pages: usize, by: Charge) -> Option<AcquiredPages<'_>> {
        let bytes = pages.checked_mul(PAGE_BYTES)?;
        if !self.memory.budget().reserve(bytes, by) {
            return None;
        }
        let taken = self.take_free(pages).or_else(|| self.extend(pages, by));
        if taken.is_none() {
            self.memory.budget().unreserve(bytes);
        }
        taken
    }

    /// As [`PageRuns::acquire`], and the run reads as zero.
    pub fn acquire_zeroed(&self, pages: usize, by: Charge) -> Option<Address> {
        let run = self.acquire(pages, by)?;
        for part in run.dirty {
            // SAFETY: the run was just taken, so it is committed and nobody else uses it.
            unsafe { os::zero(part.start(), part.bytes()) };
        }
        Some(run.start)
    }

    fn take_free(&self, pages: usize) -> Option<AcquiredPages<'_>> {
        let mut dirty = self.memory.arena().list();
        let run = self.state.lock().free.take(pages, &mut dirty)?;
        let resident: usize = dirty.iter().map(Range::len).sum();
        // Without the lock: memory that is given back for it may be our own.
        if resident < pages && !self.memory.make_resident((pages - resident) * PAGE_BYTES) {
            self.state.lock().free.insert(&run, &dirty);
            return None;
        }
        let memory = |part: &Range<usize>| FreeMemory::new(self.address(part.start)..self.address(part.end), false);
        let dirty = self.memory.arena().collect(dirty.iter().map(memory));
        Some(AcquiredPages { start: self.address(run.start), dirty, end: self.address(run.end) })
    }

    /// Pages from `top` on.
    fn extend(&self, pages: usize, by: Charge) -> Option<AcquiredPages<'_>> {
        if !self.memory.make_resident(pages * PAGE_BYTES) {
            return None;
        }
        let start = self.raise_top(pages, by);
        if start.is_none() {
            self.memory.budget().not_resident(pages * PAGE_BYTES);
        }
        let start = start?;
        let dirty = self.memory.arena().list();
        Some(AcquiredPages { start: self.address(start), dirty, end: self.address(start + pages) })
    }

    /// The old top, with the tables paid and the pages committed; the caller has made them resident.
    fn raise_top(&self, pages: usize, by: Charge) -> Option<usize> {
        loop {
            let mut state = self.state.lock();
            let start = state.top;
            let end = start + pages;
            if end * PAGE_BYTES > self.extent.bytes() {
                return None;
            }
            let unpaid = self.table_bytes(end).saturating_sub(state.table_bytes);
            if unpaid == 0 {
                self.commit(&mut state, end * PAGE_BYTES)?;
                state.top = end;
                return Some(start);
            }
            // Paid without the lock: memory that is given back for it may be our own.
            drop(state);
            if !self.memory.charge_tables(unpaid, by) {
                return None;
            }
            self.state.lock().table_bytes += unpaid;
        }
    }

    fn commit(&self, state: &mut State, end: usize) -> Option<()> {
        if end > state.committed {
            let upto = end.next_multiple_of(CHUNK_BYTES).min(self.extent.bytes());
            let at = self.extent.start().plus(state.committed);
            self.memory.commit(at, upto - state.committed).ok()?;
            state.committed = upto;
        }
        Some(())
    }

    /// Bytes of side tables of the first `pages` pages, in whole pages.
    fn table_bytes(&self, pages: usize) -> usize {
        (pages * self.table_bytes_per_chunk).div_ceil(CHUNK_BYTES / PAGE_BYTES).next_multiple_of(PAGE_BYTES)
    }

    /// The run is free. Returns its charge.
    ///
    /// # Panics
    /// When it reaches over the pages that were ever handed out.
    pub fn release(&self, start: Address, pages: usize) {
        let (page, top) = ((start.as_usize().wrapping_sub(self.extent.start().as_usize())) / PAGE_BYTES, self.top());
        assert!(
            page <= top && pages <= top - page,
            "{pages} pages at {start} are freed, of {top} at {}",
            self.extent.start()
        );
        let run = page..page + pages;
        if self.memory.poisons() {
            // SAFETY: the run was handed out (asserted), so it is committed, and its owner frees it.
            unsafe { os::poison(start, pages * PAGE_BYTES) };
        }
        self.state.lock().free.insert(&run, std::slice::from_ref(&run));
        self.memory.budget().unreserve(pages * PAGE_BYTES);
    }

    fn top(&self) -> usize {
        self.state.lock().top
    }

    fn address(&self, page: usize) -> Address {
        self.extent.start().plus(page * PAGE_BYTES)
    }
}

impl Cache for PageRuns {
    fn give_back(&self, bytes: usize, why: Why) -> usize {
        let mut given = 0;
        while given < bytes {
            let wanted = (bytes - given).div_ceil(PAGE_BYTES);
            let Some(run) = self.state.lock().free.take_dirty(wanted) else { break };
            // SAFETY: the run was taken out of the free runs, so nobody else has it, and it holds nothing.
            if !unsafe { self.memory.decommit(self.address(run.start), run.len() * PAGE_BYTES, why) } {
                self.state.lock().free.insert(&run, std::slice::from_ref(&run));
                break;
            }
            self.state.lock().free.insert(&run, &[]);
            given += run.len() * PAGE_BYTES;
        }
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    #[test]
    fn a_run_whose_tables_find_no_room_is_refused_and_tables_are_paid_once() {
        let memory = Memory::new(&Options { heap_limit: 10 * PAGE_BYTES, ..Options::default() }).unwrap();
        let pages = PageRuns::new(&memory, memory.extent(), CHUNK_BYTES / PAGE_BYTES);
        let charged = || (memory.budget().reserved() / PAGE_BYTES, memory.budget().resident() / PAGE_BYTES);
        assert!(pages.acquire(10, Charge::Mutator).is_none());
        assert_eq!(charged(), (0, 0));
        for _ in 0..2 {
            let run = pages.acquire(9, Charge::Mutator).unwrap();
            assert_eq!(charged(), (10, 10));
            pages.release(run.start, 9);
            assert_eq!(charged(), (1, 10));
        }
    }

    #[test]
    #[should_panic(expected = "are freed, of 9 at")]
    fn pages_that_were_never_handed_out_are_not_freed() {
        let memory = Memory::new(&Options { heap_limit: 1 << 20, poison: true, ..Options::default() }).unwrap();
        let pages = PageRuns::new(&memory, memory.extent(), 0);
        let start = pages.acquire(9, Charge::Mutator).unwrap().start();
        pages.release(start.plus(8 * PAGE_BYTES), 2);
    }

    #[test]
    fn pages_that_the_system_does_not_take_back_stay_resident_and_serve_again() {
        let memory = Memory::new(&Options { heap_limit: 10 * PAGE_BYTES, ..Options::default() }).unwrap();
        let pages = PageRuns::new(&memory, memory.extent(), 0);
        let run = pages.acquire(9, Charge::Mutator).unwrap();
        pages.release(run.start, 9);
        memory.refuse_returns(true);
        assert_eq!(pages.give_back(usize::MAX, Why::Unneeded), 0);
        assert_eq!((memory.budget().resident() / PAGE_BYTES, memory.refusals().count()), (9, 1));
        let again = pages.acquire(9, Charge::Mutator).unwrap();
        let end = run.start.plus(9 * PAGE_BYTES);
        let dirty = [FreeMemory::for_test(run.start..end, false)];
        assert_eq!((again.start, again.end, &again.dirty[..]), (run.start, end, &dirty[..]));
        pages.release(run.start, 9);
        memory.refuse_returns(false);
        assert_eq!(pages.give_back(usize::MAX, Why::Unneeded), 9 * PAGE_BYTES);
        assert_eq!(memory.budget().resident(), 0);
    }
}
