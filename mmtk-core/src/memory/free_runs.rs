//! The free pages of an extent: runs that merge with their neighbours, and which parts of them are resident.
//!
//! Best fit, and the lowest of several runs of one size. A run may be resident in part. Separate runs of
//! resident and of returned pages broke each other up, and in a full heap each large object gave pages back
//! in one place and faulted them in at another. `mmtk run large --plan MarkSweep` takes 0.67 to 0.89 of the
//! CPU for it, at heaps of 96 to 256 MB; first fit by address 0.73 to 0.79, but 1.33 with Immix at 128 MB,
//! where this is 1.0 (one run of three, medians of three pairs).
//!
//! I1. No two runs overlap or touch; the same holds for the dirty parts.
//! I2. Each dirty part lies inside one run.

use super::arena::List;
use super::ordered_map::OrderedMap;
use std::ops::Range;

/// A set of page numbers, as maximal intervals: start to end.
#[derive(Default)]
struct Intervals(OrderedMap<usize, usize>);

impl Intervals {
    /// The interval that ends where a page begins, or has it inside.
    fn before(&self, page: usize) -> Option<(usize, usize)> {
        self.0.below(page).map(|(start, end)| (start, *end))
    }

    /// The interval that `range` became part of. It was not in the set.
    fn insert(&mut self, range: &Range<usize>) -> Range<usize> {
        let (mut start, mut end) = (range.start, range.end);
        if let Some((before, its_end)) = self.before(start)
            && its_end == start
        {
            start = before;
        }
        if let Some(its_end) = self.0.remove(end) {
            end = its_end;
        }
        self.0.insert(start, end);
        start..end
    }

    /// Takes out what lies in `range`, the highest first.
    fn cut(&mut self, range: &Range<usize>, mut was: impl FnMut(Range<usize>)) {
        while let Some((start, end)) = self.before(range.end)
            && end > range.start
        {
            self.0.remove(start);
            if end > range.end {
                self.0.insert(range.end, end);
            }
            if start < range.start {
                self.0.insert(start, range.start);
            }
            was(start.max(range.start)..end.min(range.end));
        }
    }
}

/// The free runs of one extent, by page number.
#[derive(Default)]
pub(super) struct FreeRuns {
    runs: Intervals,
    /// Length and start of each run.
    by_length: OrderedMap<(usize, usize), ()>,
    /// The resident parts.
    dirty: Intervals,
}

impl FreeRuns {
    /// Frees `range`, of which the pages of `dirty` are resident.
    pub(super) fn insert(&mut self, range: &Range<usize>, dirty: &[Range<usize>]) {
        if let Some((before, end)) = self.runs.before(range.start)
            && end == range.start
        {
            self.by_length.remove((end - before, before));
        }
        if let Some(&end) = self.runs.0.get(range.end) {
            self.by_length.remove((end - range.end, range.end));
        }
        let run = self.runs.insert(range);
        self.by_length.insert((run.len(), run.start), ());
        for part in dirty {
            self.dirty.insert(part);
        }
    }

    /// The beginning of the shortest run with `pages` pages; those of them that are resident come into
    /// `dirty`, which is empty.
    pub(super) fn take(&mut self, pages: usize, dirty: &mut List<'_, Range<usize>>) -> Option<Range<usize>> {
        let ((_, start), ()) = self.by_length.at_or_above((pages, 0))?;
        let run = self.take_out(start..start + pages, |part| dirty.push(part));
        dirty.reverse();
        Some(run)
    }

    /// The dirty pages at the highest address, at most `pages` of them in a row.
    pub(super) fn take_dirty(&mut self, pages: usize) -> Option<Range<usize>> {
        let (start, &end) = self.dirty.0.last()?;
        let range = start.max(end.saturating_sub(pages))..end;
        Some(self.take_out(range, |_| ()))
    }

    fn take_out(&mut self, range: Range<usize>, dirty: impl FnMut(Range<usize>)) -> Range<usize> {
        let (start, &end) = self.runs.0.at_or_below(range.start).expect("the range lies in a run");
        self.by_length.remove((end - start, start));
        self.runs.cut(&range, |_| ());
        for rest in [start..range.start, range.end..end] {
            if !rest.is_empty() {
                self.by_length.insert((rest.len(), rest.start), ());
            }
        }
        self.dirty.cut(&range, dirty);
        range
    }
}

#[cfg(test)]
mod tests {
    use super::super::arena::Arena;
    use super::*;
    use proptest::prelude::*;

    fn take(runs: &mut FreeRuns, pages: usize) -> Option<(Range<usize>, Vec<Range<usize>>)> {
        let arena = Arena::default();
        let mut dirty = arena.list();
        runs.take(pages, &mut dirty).map(|run| (run, dirty.to_vec()))
    }

    #[test]
    fn neighbours_merge_and_the_best_fit_is_cut() {
        let mut runs = FreeRuns::default();
        runs.insert(&(10..15), &[]);
        runs.insert(&(20..23), &[]);
        assert_eq!(take(&mut runs, 2), Some((20..22, vec![])));
        runs.insert(&(15..20), &[]);
        runs.insert(&(20..22), &[]);
        assert_eq!(take(&mut runs, 13), Some((10..23, vec![])), "10..15, 15..20, 20..22 and 22..23 are one run");
        assert_eq!(take(&mut runs, 1), None);
    }

    #[test]
    fn resident_pages_are_known_and_the_highest_are_given_back_first() {
        let mut runs = FreeRuns::default();
        runs.insert(&(0..10), &[0..4, 6..8]);
        runs.insert(&(10..20), std::slice::from_ref(&(10..20)));
        assert_eq!(runs.take_dirty(3), Some(17..20));
        runs.insert(&(17..20), &[]);
        assert_eq!(take(&mut runs, 20), Some((0..20, vec![0..4, 6..8, 10..17])));
        assert_eq!(runs.take_dirty(1), None);
    }

    proptest! {
        #[test]
        fn free_runs_agree_with_one_flag_a_page(steps in prop::collection::vec((0u8..3, 1usize..40), 1..200)) {
            #[derive(Copy, Clone, PartialEq, Debug)]
            enum Page { Used, Clean, Dirty }
            let mut model = [Page::Used; 256];
            let (mut runs, mut used) = (FreeRuns::default(), vec![0..100, 100..130, 130..131, 131..256]);
            for (step, pages) in steps {
                match step {
                    0 if !used.is_empty() => {
                        let range = used.swap_remove(pages % used.len());
                        runs.insert(&range, std::slice::from_ref(&range));
                        model[range].fill(Page::Dirty);
                    }
                    1 => {
                        let free = model.chunk_by(|a, b| (*a == Page::Used) == (*b == Page::Used));
                        let starts = free.scan(0, |at, run| Some((run, std::mem::replace(at, *at + run.len()))));
                        let fits = starts.filter(|(run, _)| run[0] != Page::Used && run.len() >= pages);
                        let best = fits.min_by_key(|(run, start)| (run.len(), *start)).map(|(_, start)| start);
                        let taken = take(&mut runs, pages);
                        prop_assert_eq!(taken.as_ref().map(|t| t.0.start), best);
                        if let Some((range, dirty)) = taken {
                            for page in range.clone() {
                                let resident = dirty.iter().any(|d| d.contains(&page));
                                prop_assert_eq!(model[page] == Page::Dirty, resident);
                            }
                            model[range.clone()].fill(Page::Used);
                            used.push(range);
                        }
                    }
                    2 => {
                        let last = model.iter().rposition(|p| *p == Page::Dirty);
                        let taken = runs.take_dirty(pages);
                        prop_assert_eq!(taken.as_ref().map(|t| t.end - 1), last);
                        if let Some(range) = taken {
                            prop_assert!(range.len() <= pages && model[range.clone()].iter().all(|p| *p == Page::Dirty));
                            model[range.clone()].fill(Page::Clean);
                            runs.insert(&range, &[]);
                        }
                    }
                    _ => (),
                }
            }
        }
    }
}
