//! Runs of pages for large objects.
//!
//! Best fit over free runs, then the untouched end of the extent. Large objects are rare and large, so a lock and a tree are
//! cheap beside them. A freed run stays resident (dirty) until its memory is needed elsewhere or the collector gives it
//! back; then it reads as zero again (clean). Dirty and clean neighbours are not merged, so a run is one or the other.
//!
//! I1. Every page below `top` is in exactly one free run or in use.
//! I2. Pages in use and dirty pages are resident; clean ones and those above `top` are not.
//! I3. The space's side tables of the pages below `top` are charged, by whole pages, and never returned.
//! Lock order: `state` is taken alone; memory is given back without it, from runs taken out first.

use super::budget::Charge;
use super::extent::{CHUNK_BYTES, Extent};
use super::memory::{Cache, Memory};
use super::os::{self, PAGE_BYTES};
use crate::address::Address;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

#[derive(Default)]
struct Runs {
    by_start: BTreeMap<usize, usize>,
    by_length: BTreeSet<(usize, usize)>,
}

impl Runs {
    fn insert(&mut self, mut start: usize, mut length: usize) {
        if let Some((&before, &its)) = self.by_start.range(..start).next_back()
            && before + its == start
        {
            self.remove(before, its);
            (start, length) = (before, its + length);
        }
        if let Some(&its) = self.by_start.get(&(start + length)) {
            self.remove(start + length, its);
            length += its;
        }
        self.by_start.insert(start, length);
        self.by_length.insert((length, start));
    }
    fn remove(&mut self, start: usize, length: usize) {
        self.by_start.remove(&start);
        self.by_length.remove(&(length, start));
    }
    /// The shortest run of at least `length` pages, cut to it.
    fn take(&mut self, length: usize) -> Option<usize> {
        let &(its, start) = self.by_length.range((length, 0)..).next()?;
        self.remove(start, its);
        if its > length {
            self.insert(start + length, its - length);
        }
        Some(start)
    }
    fn take_longest(&mut self) -> Option<(usize, usize)> {
        let &(length, start) = self.by_length.last()?;
        self.remove(start, length);
        Some((start, length))
    }
}

#[derive(Default)]
struct State {
    dirty: Runs,
    clean: Runs,
    /// Pages from here on were never handed out.
    top: usize,
    committed: usize,
    /// Bytes of side tables charged: enough for `top` (I3), more if threads that extended at the same time all paid.
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
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct AcquiredPages {
    /// Where it begins.
    pub start: Address,
    /// Whether it reads as zero.
    pub zeroed: bool,
}

impl PageRuns {
    /// The pages of `extent`; those that were ever used charge their share of `table_bytes_per_chunk` for the space's side tables.
    pub fn new(memory: &Arc<Memory>, extent: Extent, table_bytes_per_chunk: usize) -> Arc<PageRuns> {
        let runs =
            Arc::new(PageRuns { memory: memory.clone(), extent, state: Mutex::default(), table_bytes_per_chunk });
        let weak: Weak<PageRuns> = Arc::downgrade(&runs);
        memory.add_cache(weak);
        runs
    }

    /// The extent.
    #[inline(always)]
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// Takes `pages` pages and charges them; none if the budget, the extent or the system refuses.
    pub fn acquire(&self, pages: usize, by: Charge) -> Option<AcquiredPages> {
        let bytes = pages.checked_mul(PAGE_BYTES)?;
        if !self.memory.budget().reserve(bytes, by) {
            return None;
        }
        let taken = self.take(pages, bytes, by);
        if taken.is_none() {
            self.memory.budget().unreserve(bytes);
        }
        taken
    }

    /// As [`PageRuns::acquire`], and the run reads as zero.
    pub fn acquire_zeroed(&self, pages: usize, by: Charge) -> Option<Address> {
        let AcquiredPages { start, zeroed } = self.acquire(pages, by)?;
        if !zeroed {
            // SAFETY: the run was just taken, so it is committed and nobody else uses it.
            unsafe { os::zero(start, pages * PAGE_BYTES) };
        }
        Some(start)
    }

    fn take(&self, pages: usize, bytes: usize, by: Charge) -> Option<AcquiredPages> {
        if let Some(start) = self.state.lock().dirty.take(pages) {
            return Some(AcquiredPages { start: self.address(start), zeroed: false });
        }
        if !self.memory.make_resident(bytes) {
            return None;
        }
        let start = self.take_clean(pages, by).or_else(|| {
            // The extent is fragmented: give everything back, which merges all free runs into clean ones.
            self.give_back(usize::MAX);
            self.state.lock().clean.take(pages)
        });
        if start.is_none() {
            self.memory.budget().not_resident(bytes);
        }
        Some(AcquiredPages { start: self.address(start?), zeroed: true })
    }

    /// A clean run, or one from `top` on with its tables paid. The caller has made it resident.
    fn take_clean(&self, pages: usize, by: Charge) -> Option<usize> {
        loop {
            let mut state = self.state.lock();
            if let Some(start) = state.clean.take(pages) {
                return Some(start);
            }
            let end = state.top + pages;
            if end * PAGE_BYTES > self.extent.bytes() {
                return None;
            }
            let unpaid = self.table_bytes(end).saturating_sub(state.table_bytes);
            if unpaid == 0 {
                return self.extend(&mut state, pages);
            }
            // Paid without the lock: memory that is given back for it may be our own.
            drop(state);
            if !self.memory.charge_tables(unpaid, by) {
                return None;
            }
            self.state.lock().table_bytes += unpaid;
        }
    }

    /// Bytes of side tables of the first `pages` pages, in whole pages.
    fn table_bytes(&self, pages: usize) -> usize {
        (pages * self.table_bytes_per_chunk).div_ceil(CHUNK_BYTES / PAGE_BYTES).next_multiple_of(PAGE_BYTES)
    }

    fn extend(&self, state: &mut State, pages: usize) -> Option<usize> {
        let start = state.top;
        let end = (start + pages) * PAGE_BYTES;
        if end > state.committed {
            let upto = end.next_multiple_of(CHUNK_BYTES).min(self.extent.bytes());
            let at = self.extent.start().plus(state.committed);
            if let Err(error) = self.memory.commit(at, upto - state.committed) {
                log::warn!("the system refuses memory for a large object: {error}");
                return None;
            }
            state.committed = upto;
        }
        state.top += pages;
        Some(start)
    }

    /// The run is free. Returns its charge.
    pub fn release(&self, start: Address, pages: usize) {
        if self.memory.poisons() {
            // SAFETY: the run was handed out, so it is committed, and its owner frees it.
            unsafe { os::poison(start, pages * PAGE_BYTES) };
        }
        let page = start.bytes_from(self.extent.start()) / PAGE_BYTES;
        self.state.lock().dirty.insert(page, pages);
        self.memory.budget().unreserve(pages * PAGE_BYTES);
    }

    fn address(&self, page: usize) -> Address {
        self.extent.start().plus(page * PAGE_BYTES)
    }
}

impl Cache for PageRuns {
    fn give_back(&self, bytes: usize) -> usize {
        let mut given = 0;
        while given < bytes {
            let Some((start, pages)) = self.state.lock().dirty.take_longest() else { break };
            // SAFETY: the run was taken out of the free runs, so nobody else has it, and it holds nothing.
            unsafe { self.memory.decommit(self.address(start), pages * PAGE_BYTES) };
            self.state.lock().clean.insert(start, pages);
            given += pages * PAGE_BYTES;
        }
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    #[test]
    fn neighbours_merge_and_the_best_fit_is_cut() {
        let mut runs = Runs::default();
        runs.insert(10, 5);
        runs.insert(20, 3);
        assert_eq!(runs.take(3), Some(20));
        runs.insert(15, 5);
        assert_eq!(runs.by_start.len(), 1, "10..15 and 15..20 are one run");
        assert_eq!(runs.take(4), Some(10));
        runs.insert(10, 4);
        assert_eq!(runs.take_longest(), Some((10, 10)));
        assert_eq!(runs.take(1), None);
    }

    #[test]
    fn a_run_whose_tables_find_no_room_is_refused_and_tables_are_paid_once() {
        let memory = Memory::new(&Options { heap_limit: 10 * PAGE_BYTES, ..Options::default() }).unwrap();
        let pages = PageRuns::new(&memory, memory.extent(), CHUNK_BYTES / PAGE_BYTES);
        let charged = || (memory.budget().reserved() / PAGE_BYTES, memory.budget().resident() / PAGE_BYTES);
        assert_eq!(pages.acquire(10, Charge::Mutator), None);
        assert_eq!(charged(), (0, 0));
        for _ in 0..2 {
            let run = pages.acquire(9, Charge::Mutator).unwrap();
            assert_eq!(charged(), (10, 10));
            pages.release(run.start, 9);
            assert_eq!(charged(), (1, 10));
        }
    }
}
