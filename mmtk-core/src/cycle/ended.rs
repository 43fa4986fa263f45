//! A collection that ended, as one value: each part of the engine that learns from a collection takes what it
//! needs.
//!
//! | part | what it takes |
//! |---|---|
//! | `goal` | a `CycleSample`: full collections, with what lies outside the heap and what minor ones cost |
//! | `nursery` | a [`NurserySample`] |
//! | `worker_count` | stopped time and processor time for each object |
//! | `attendant` | what is live, and what was allocated |
//! | `allocate` | whether it freed anything |
//! | listeners | a `PauseReport`, when mutators run again |
//!
//! The leader makes the value once, between the plan's last step and the pacer's decision. What is decided
//! from it is no part of it: the goal, the nursery, what memory goes back.
//!
//! The value is the core's, and the pacer has samples of its own. That crate knows no heap: a simulator and a
//! file of recorded samples drive it too, so a sample is plain numbers, and only those that a policy uses. A
//! cycle of the pacer is also more than one collection. So the two conversions into samples remain, and each
//! is the only place where its sample is made.
//!
//! The three groups are what a marking beside mutators adds to: its length and waits to [`Times`], the
//! processor time of assists to [`Work`], what was allocated meanwhile to [`Bytes`].
//! Callers: leaders of pauses.

use super::allocated::AllocatedBytes;
use super::marking::EndedMarking;
use crate::events::{Cause, CollectionKind};
use pacer::nursery::NurserySample;

/// A collection that ended.
#[derive(Copy, Clone, Debug)]
pub(crate) struct CollectionEnded {
    /// The number of the pause in which it ended, from 0.
    pub sequence: u64,
    pub cause: Cause,
    pub kind: CollectionKind,
    /// Whether it was the last attempt before out of memory.
    pub emergency: bool,
    /// Whether sparse blocks were evacuated.
    pub defragmented: bool,
    /// Of one that marked beside mutators: what that took. The times are those of the pause that ended it.
    pub marking: Option<EndedMarking>,
    pub times: Times,
    pub work: Work,
    pub bytes: Bytes,
}

/// When it was and how long it took, in ns.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Times {
    /// When it was requested, since heap creation.
    pub requested: u64,
    /// From then until the last mutator had stopped.
    pub to_safepoint: u64,
    /// From then until now: mutators are still stopped.
    pub pause: u64,
}

/// Processor time in ns, and what was done in it.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Work {
    /// Of the leader and all helpers.
    pub gc_cpu: u64,
    /// Of sweeping beside mutators, since the last full collection. 0 if it is a minor one.
    pub beside_cpu: u64,
    /// Whether a helper took part.
    pub helped: bool,
    /// Of attached mutators, since the last full collection. 0 if it is a minor one: their time goes on.
    pub mutator_cpu: u64,
    /// Objects that all rounds traced.
    pub objects: usize,
}

/// Bytes.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Bytes {
    /// Reserved when the mutators had stopped.
    pub reserved_before: usize,
    /// Reserved when all is swept: now, less what is left to be swept and will be free.
    pub reserved_after: usize,
    /// Reserved at which the next full collection would have been due.
    pub goal_before: usize,
    /// What the trace found live: in a minor collection what it made old.
    pub traced: usize,
    /// Live now. In a minor collection, what was live before is taken for live.
    pub live: usize,
    /// By mutators until it began.
    pub allocated: AllocatedBytes,
}

impl Times {
    /// The end of the pause so far, in ns since heap creation.
    pub fn end(&self) -> u64 {
        self.requested.saturating_add(self.pause)
    }

    /// How long all mutators have been stopped.
    pub fn stopped(&self) -> u64 {
        self.pause.saturating_sub(self.to_safepoint)
    }
}

impl Bytes {
    /// By how much less is reserved.
    pub fn freed(&self) -> usize {
        self.reserved_before.saturating_sub(self.reserved_after)
    }
}

impl CollectionEnded {
    /// Whether it began because there was no room: within the goal or the limit.
    pub fn was_full(&self) -> bool {
        matches!(self.cause, Cause::HeapFull | Cause::Growth)
    }

    /// The same collection some time later, when the pause has lasted for `pause_ns`.
    pub fn after(self, pause_ns: u64) -> CollectionEnded {
        CollectionEnded { times: Times { pause: pause_ns, ..self.times }, ..self }
    }

    /// For the nursery. The heap is full at `goal` bytes from now on; to touch those of them that were not
    /// touched yet would take `fresh_ns`.
    pub fn nursery_sample(&self, goal: usize, fresh_ns: f64) -> NurserySample {
        NurserySample {
            allocated: self.bytes.allocated.since_pause,
            traced: self.bytes.traced,
            cpu_ns: self.work.gc_cpu,
            pause_ns: self.times.pause,
            full_at: self.bytes.goal_before,
            goal,
            fresh_ns,
            was_full: self.was_full(),
        }
    }
}

#[cfg(test)]
impl CollectionEnded {
    /// A collection for tests, which say what matters to them.
    pub fn for_test(kind: CollectionKind) -> CollectionEnded {
        CollectionEnded {
            sequence: 0,
            cause: Cause::Growth,
            kind,
            emergency: false,
            defragmented: false,
            marking: None,
            times: Times { requested: 0, to_safepoint: 0, pause: 0 },
            work: Work { gc_cpu: 0, beside_cpu: 0, helped: false, mutator_cpu: 0, objects: 0 },
            bytes: Bytes {
                reserved_before: 0,
                reserved_after: 0,
                goal_before: 0,
                traced: 0,
                live: 0,
                allocated: AllocatedBytes { since_full: 0, since_pause: 0 },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nursery_is_told_of_one_collection_and_of_the_pause_until_then() {
        let bytes = Bytes {
            reserved_before: 1,
            reserved_after: 2,
            goal_before: 3,
            traced: 4,
            live: 5,
            allocated: AllocatedBytes { since_full: 6, since_pause: 7 },
        };
        let work = Work { gc_cpu: 8, beside_cpu: 0, helped: true, mutator_cpu: 9, objects: 10 };
        let times = Times { requested: 11, to_safepoint: 12, pause: 13 };
        let minor = CollectionEnded {
            cause: Cause::Nursery,
            times,
            work,
            bytes,
            ..CollectionEnded::for_test(CollectionKind::Minor)
        };
        // Memory was given back since the pacer was told: the pause is longer.
        let told = minor.after(100).nursery_sample(14, 15.0);
        assert_eq!(
            told,
            NurserySample {
                allocated: 7,
                traced: 4,
                cpu_ns: 8,
                pause_ns: 100,
                full_at: 3,
                goal: 14,
                fresh_ns: 15.0,
                was_full: false,
            }
        );
        for cause in Cause::ALL {
            let was_full = matches!(cause, Cause::HeapFull | Cause::Growth);
            assert_eq!(CollectionEnded { cause, ..minor }.nursery_sample(14, 15.0).was_full, was_full, "{cause}");
        }
    }

    #[test]
    fn mutators_are_stopped_from_the_safepoint_to_the_end() {
        let times = Times { requested: 1000, to_safepoint: 30, pause: 100 };
        assert_eq!((times.end(), times.stopped()), (1100, 70));
    }
}
