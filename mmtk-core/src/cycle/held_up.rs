//! When mutators are held up: listeners hear of it (`events/held_up.rs`).
//!
//! The time is taken where a mutator waits for a pause or leads it, where it marks, sweeps or waits because
//! it allocates, and where its barrier reads a large object; and only while somebody listens. What comes in
//! one slow path is one hold-up.
//! Callers: the mutator, which runs.

use super::collector::Collector;
use crate::address::ObjectReference;
use crate::alloc::ThreadPart;
use crate::binding::VMBinding;
use crate::events::{Event, HeldBy, HeldUp};
use std::time::Instant;

/// Size in bytes from which on an object's reading by a barrier is timed. An object of this size has at most
/// 512 slots. To read fewer slots takes less than about a microsecond. Two looks at the clock would be a good
/// part of that, once for each object that is stored into while the heap is marked. So short a call changes
/// no percentile that matters, and not how much of a window a mutator had. `MarkingReport::barrier_calls`
/// counts all calls.
const TIMED_BYTES: usize = 512 * size_of::<usize>();

impl<VM: VMBinding> Collector<VM> {
    /// The time, if somebody listens.
    pub(super) fn clock(&self) -> Option<Instant> {
        (!self.watch.listeners().is_empty()).then(Instant::now)
    }

    /// This time, if somebody listens.
    pub(super) fn since(&self, then: Instant) -> Option<Instant> {
        (!self.watch.listeners().is_empty()).then_some(then)
    }

    /// The mutator was held up since then, and goes on.
    pub(super) fn held_up(&self, me: &ThreadPart<VM>, by: HeldBy, since: Option<Instant>) {
        if let Some(since) = since {
            let (start_ns, end_ns) = (self.pauses.at_ns(since), self.pauses.at_ns(Instant::now()));
            let ended = me.held_ups().note(me.owner_id(), by, start_ns, end_ns);
            self.tell_held_up(ended);
        }
    }

    fn tell_held_up(&self, ended: Option<HeldUp>) {
        // Hardly any slow path holds its mutator up.
        if let Some(held) = ended {
            self.watch.listeners().tell_later([Event::HeldUp(held)]);
        }
    }

    /// Runs a slow path of the mutator: whatever holds it up there is one hold-up.
    pub(super) fn in_one_go<R>(&self, me: &ThreadPart<VM>, f: impl FnOnce() -> R) -> R {
        me.held_ups().join();
        let result = f();
        let ended = me.held_ups().part();
        self.tell_held_up(ended);
        result
    }

    /// The time, if the barrier's slow path for this object is long enough for it.
    pub(super) fn clock_of_barrier(&self, object: ObjectReference) -> Option<Instant> {
        if self.watch.listeners().is_empty() || self.vm.object_size(object) < TIMED_BYTES {
            return None;
        }
        self.clock()
    }
}
