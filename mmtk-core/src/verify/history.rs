//! What the verifier remembers from one collection to the next: enough to tell a dead object from the live one beside it.
//!
//! A dead object may lie on a line that a live one keeps, or in a cell that is free but not used again. Its memory is part of a used
//! block, and holds what it held when the object was alive. So each object that is reached before a collection must
//! 1. have survived the last one: the walk after it found the object at this very address; or
//! 2. be new: not in memory that a thread was given and did not use, not in a unit of memory (a line, say) that holds part of a
//!    survivor, and never reached by a trace, as far as its space can tell.
//!
//! A binding may keep objects alive that the walk does not find, for weak references, and they may come back. The collector then
//! counted more objects than the walk, and a mark proves survival, too.
//!
//! Not seen: a dead object whose memory was given out again and used up to there; and one beside an object that the binding kept
//! alive alone, unless its space remembers an older mark.
//! Callers: the leader of a pause; `unused` also a thread that detaches.

use crate::address::{Address, ObjectReference};
use crate::alloc::{Allocators, BumpRange};
use crate::space::Space;
use std::ops::Range;

pub(crate) struct History {
    /// Where the survivors of the last collection are, in the order of their addresses.
    survivors: Vec<Range<Address>>,
    /// Whether these are all.
    complete: bool,
    /// What threads were given since, and gave up without having used it. In order once the walk begins.
    unused: Vec<Range<Address>>,
}

impl Default for History {
    fn default() -> Self {
        History { survivors: Vec::new(), complete: true, unused: Vec::new() }
    }
}

impl History {
    /// A thread is about to give up its ranges.
    pub fn unused(&mut self, allocators: &Allocators) {
        let Allocators { bump, overflow, cells, nonmoving, .. } = allocators;
        let cells = cells.iter().chain(nonmoving.iter().flat_map(|cells| cells.iter()));
        let ranges = [bump, overflow].into_iter().chain(cells.map(|cell| &cell.range));
        let left = ranges.filter(|range| range.bytes_left() > 0);
        self.unused.extend(left.map(|range: &BumpRange| range.cursor()..range.end()));
    }

    /// All threads have given up their ranges.
    pub(super) fn begin_walk(&mut self) {
        self.unused.sort_unstable_by_key(|range| range.start);
    }

    /// The collection left these objects, which are in the order of their addresses, and no others if `complete`.
    pub(super) fn collected(&mut self, survivors: Vec<Range<Address>>, complete: bool) {
        *self = History { survivors, complete, unused: Vec::new() };
    }

    /// Whether the object was there after the last collection.
    pub(super) fn survived(&self, object: ObjectReference) -> bool {
        self.survivors.binary_search_by_key(&object.address(), |survivor| survivor.start).is_ok()
    }

    /// Whether an object that is none of the survivors can be alive; if not, why.
    pub(super) fn check_new(&self, space: &dyn Space, object: ObjectReference, bytes: usize) -> Result<(), String> {
        let (start, end) = (object.address(), object.address().plus(bytes));
        if overlapping(&self.unused, start, end).is_some() {
            return Err("the thread that was given this memory had not used it yet".to_string());
        }
        if !self.complete && space.check_live(object, bytes).is_ok() {
            return Ok(());
        }
        let unit = space.unit_bytes();
        if let Some(survivor) = overlapping(&self.survivors, start.align_down(unit), end.align_up(unit)) {
            return Err(format!(
                "it is no survivor of the last collection, and beside one ({}) nothing was given out since",
                survivor.start
            ));
        }
        space.check_new(object)
    }
}

/// The last range that has part of `start..end`, if any. The ranges are disjoint and in order, and none is empty.
fn overlapping(ranges: &[Range<Address>], start: Address, end: Address) -> Option<&Range<Address>> {
    let before_end = ranges.partition_point(|range| range.start < end);
    ranges[..before_end].last().filter(|range| range.end > start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_only_touch_do_not_overlap() {
        let at = Address::from_usize;
        let ranges = [at(16)..at(32), at(32)..at(40), at(64)..at(80)];
        let found = |start, end| overlapping(&ranges, at(start), at(end)).map(|range| range.start.as_usize());
        assert_eq!([found(0, 16), found(40, 64), found(80, 96)], [None; 3]);
        assert_eq!([found(0, 17), found(31, 32), found(20, 24)], [Some(16); 3]);
        assert_eq!([found(16, 40), found(39, 64)], [Some(32); 2]);
        assert_eq!([found(0, 96), found(64, 72)], [Some(64); 2]);
    }
}
