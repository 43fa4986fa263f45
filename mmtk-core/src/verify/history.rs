//! What the verifier remembers from one collection to the next: every object that may be alive, its size and
//! its state byte.
//!
//! An object that is reached before a collection must
//! 1. have survived the last one: the walk after it found the object at this very address; or
//! 2. be new: a mutator asked for it since.
//!
//! So the verifier tells a dead object from the live one beside it, and the size that the binding says from
//! the size that it asked for. A mutator notes each request. While the heap is verified, the mutator's ranges
//! end at the cursor, so that every request goes to the slow path, from compiled code too.
//!
//! For its weak references a binding may keep objects alive that the walk does not find, and these may become
//! reachable again. The collector then counted more objects than the walk, so a mark proves survival, too.
//! The sizes of such objects are not known.
//!
//! Memory: 24 bytes for each survivor, and 16 for each request since the last collection, until the next one.
//! An object that moved is known under its new address, since the walk after the collection finds it there.
//! Callers: the leader of a pause; `add` also a thread that detaches.

use crate::address::{Address, ObjectReference};
use std::ops::Range;

/// An object that a walk after a collection found.
pub(super) struct Survivor {
    pub range: Range<Address>,
    /// The state byte, if it lies in the object's header.
    pub state: Option<u8>,
}

/// What is known of an object that may be alive.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Its size.
    pub bytes: usize,
    /// The state byte that the last collection left, or that new objects have.
    pub state: Option<u8>,
}

pub(crate) struct History {
    /// The survivors of the last collection, in the order of their addresses.
    survivors: Vec<Survivor>,
    /// Whether these are all.
    complete: bool,
    /// The memory of objects that were asked for since. In order once the walk begins.
    requested: Vec<Range<Address>>,
}

impl Default for History {
    fn default() -> Self {
        History { survivors: Vec::new(), complete: true, requested: Vec::new() }
    }
}

impl History {
    /// A mutator has asked for objects, and got this memory for them.
    pub fn add(&mut self, requested: Vec<Range<Address>>) {
        self.requested.extend(requested);
    }

    /// All mutators have said what they asked for.
    pub(super) fn begin_walk(&mut self) {
        // Mutators ask for one object after the other in ranges of memory: a stable sort makes use of such
        // runs.
        self.requested.sort_by_key(|range| range.start);
    }

    /// The collection left these objects, which are in the order of their addresses, and no others if
    /// `complete`.
    pub(super) fn collected(&mut self, survivors: Vec<Survivor>, complete: bool) {
        *self = History { survivors, complete, requested: Vec::new() };
    }

    /// A collection went by that was not verified.
    pub fn forget(&mut self) {
        self.collected(Vec::new(), false);
    }

    /// How many objects the last walk after a collection found.
    pub(super) fn survivors(&self) -> usize {
        self.survivors.len()
    }

    /// Whether every object that may be alive is known.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// What is known of the object that begins here, if any does.
    pub(super) fn known(&self, object: ObjectReference) -> Option<Known> {
        self.around(object.address()).filter(|(start, _)| *start == object.address()).map(|(_, known)| known)
    }

    /// Whether the object was there after the last collection.
    pub(super) fn survived(&self, object: ObjectReference) -> bool {
        self.survivors.binary_search_by_key(&object.address(), |survivor| survivor.range.start).is_ok()
    }

    /// Where the object begins in whose memory the address lies, and what is known of it.
    pub(super) fn around(&self, address: Address) -> Option<(Address, Known)> {
        let known = |range: &Range<Address>, state| {
            let bytes = range.end.bytes_from(range.start);
            range.contains(&address).then_some((range.start, Known { bytes, state }))
        };
        let survivors = self.survivors.partition_point(|survivor| survivor.range.start <= address);
        let requested = self.requested.partition_point(|range| range.start <= address);
        let survivor = self.survivors[..survivors].last().and_then(|s| known(&s.range, s.state));
        survivor.or_else(|| self.requested[..requested].last().and_then(|range| known(range, Some(0))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: usize) -> Address {
        Address::from_usize(address)
    }

    fn known(history: &History, address: usize) -> Option<usize> {
        Some(history.known(ObjectReference::for_test(at(address)))?.bytes)
    }

    #[test]
    fn an_object_is_known_where_it_was_asked_for_or_found_and_nowhere_else() {
        let mut history = History::default();
        history.add(vec![at(64)..at(80), at(96)..at(104)]);
        history.add(vec![at(32)..at(64)]);
        history.begin_walk();
        assert_eq!([32, 64, 96].map(|address| known(&history, address)), [Some(32), Some(16), Some(8)]);
        assert_eq!([24, 40, 80, 104].map(|address| known(&history, address)), [None; 4]);
        assert_eq!(history.around(at(63)).map(|(start, _)| start), Some(at(32)));
        history.collected(vec![Survivor { range: at(64)..at(80), state: Some(3) }], true);
        history.add(vec![at(80)..at(96)]);
        history.begin_walk();
        assert_eq!([32, 64, 80, 96].map(|address| known(&history, address)), [None, Some(16), Some(16), None]);
        assert_eq!(history.around(at(72)), Some((at(64), Known { bytes: 16, state: Some(3) })));
        assert_eq!(history.around(at(80)), Some((at(80), Known { bytes: 16, state: Some(0) })));
    }
}
