//! The pauses of a heap: which one is in progress, who leads it and how far it is, and what those that ended
//! add up to.
//!
//! Callers: leaders write. Any thread reads: for statistics, and to say in a message what the heap does.

use crate::events::{CollectionKind, Phase};
use crate::memory::{EXTENTS, Extent};
use crate::pause::{PausePhase, PhaseCell};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// The pauses of one heap.
pub(crate) struct Pauses {
    heap_created: Instant,
    phase: PhaseCell,
    /// The system's number of the thread that leads a pause in which all have stopped; 0 if there is none.
    leader_id: AtomicU32,
    /// The number of the pause that a thread waiting for its end has reported.
    reported: AtomicU64,
    /// Pauses that ended, and those of them that were full collections.
    ended: AtomicU64,
    fulls: AtomicU64,
    /// Those of the full ones that marked beside mutators.
    concurrent: AtomicU64,
    gc_cpu_ns: AtomicU64,
    /// Bytes found live in each space, by the number of its extent.
    live_bytes: [AtomicUsize; EXTENTS],
}

/// The pause of that number is in progress, counted from 1, while all mutators stand still.
#[derive(Copy, Clone, Debug)]
pub(crate) struct InProgress {
    pub number: u64,
    /// The system's number of the thread that leads it.
    pub leader_id: u32,
}

impl Pauses {
    /// Of a heap that is made now.
    pub fn new() -> Pauses {
        Pauses {
            heap_created: Instant::now(),
            phase: PhaseCell::default(),
            leader_id: AtomicU32::new(0),
            reported: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            fulls: AtomicU64::new(0),
            concurrent: AtomicU64::new(0),
            gc_cpu_ns: AtomicU64::new(0),
            live_bytes: Default::default(),
        }
    }

    /// When the heap's clock began.
    pub fn heap_created(&self) -> Instant {
        self.heap_created
    }

    /// In ns since then.
    pub fn at_ns(&self, instant: Instant) -> u64 {
        (instant - self.heap_created).as_nanos() as u64
    }

    /// A phase that ends now.
    pub fn phase_since(&self, name: &'static str, start: Instant) -> Phase {
        Phase { name, start_ns: self.at_ns(start), duration_ns: start.elapsed().as_nanos() as u64 }
    }

    /// Where the pause in progress stands.
    pub fn phase(&self) -> &PhaseCell {
        &self.phase
    }

    /// How many have ended.
    pub fn ended(&self) -> u64 {
        self.ended.load(Relaxed)
    }

    /// How many of them were full collections.
    pub fn fulls(&self) -> u64 {
        self.fulls.load(Relaxed)
    }

    /// How many full collections marked beside mutators.
    pub fn concurrent(&self) -> u64 {
        self.concurrent.load(Relaxed)
    }

    /// The collection that is about to end has marked beside mutators.
    pub fn note_concurrent(&self) {
        self.concurrent.fetch_add(1, Relaxed);
    }

    /// Processor time of all of them.
    pub fn gc_cpu_ns(&self) -> u64 {
        self.gc_cpu_ns.load(Relaxed)
    }

    /// Bytes found live by the last collection, in all spaces.
    pub fn live_bytes(&self) -> usize {
        self.live_bytes.iter().map(|bytes| bytes.load(Relaxed)).sum()
    }

    /// The same in the space that has this extent.
    pub fn live_bytes_in(&self, extent: Extent) -> usize {
        self.live_bytes[extent.number()].load(Relaxed)
    }

    /// All mutators have stopped, and this thread leads.
    pub fn led_by(&self, thread_id: u32) {
        self.leader_id.store(thread_id, Relaxed);
    }

    /// Mutators are about to go on.
    pub fn leader_gone(&self) {
        self.leader_id.store(0, Relaxed);
    }

    /// The pause in which all mutators stand still now.
    pub fn in_progress(&self) -> Option<InProgress> {
        let leader_id = self.leader_id.load(Relaxed);
        (leader_id != 0).then(|| InProgress { number: self.next(), leader_id })
    }

    /// The number, counted from 1, of the pause that is in progress or that will be the next.
    pub fn next(&self) -> u64 {
        self.ended() + 1
    }

    /// Whether no thread has said yet that it waits for the end of this pause.
    pub fn first_to_report(&self, pause: u64) -> bool {
        self.reported.swap(pause, Relaxed) != pause
    }

    /// A pause has begun a collection, which another ends.
    pub fn began(&self, gc_cpu_ns: u64) {
        self.gc_cpu_ns.fetch_add(gc_cpu_ns, Relaxed);
        self.phase.enter(PausePhase::Idle);
    }

    /// A collection has found `found` bytes live in each space. A minor one found only what was promoted, and
    /// what was live before is taken for live still. Returns its number, from 0, and the bytes that are live
    /// now in all spaces.
    pub fn collected(&self, kind: CollectionKind, found: &[usize; EXTENTS], gc_cpu_ns: u64) -> (u64, usize) {
        for (live, found) in self.live_bytes.iter().zip(found) {
            let before = if kind == CollectionKind::Full { 0 } else { live.load(Relaxed) };
            live.store(before + found, Relaxed);
        }
        if kind == CollectionKind::Full {
            self.fulls.fetch_add(1, Relaxed);
        }
        self.gc_cpu_ns.fetch_add(gc_cpu_ns, Relaxed);
        self.phase.enter(PausePhase::Idle);
        (self.ended.fetch_add(1, Relaxed), self.live_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: usize) -> [usize; EXTENTS] {
        let mut found = [0; EXTENTS];
        found[..2].fill(bytes);
        found
    }

    #[test]
    fn a_minor_collection_adds_to_what_is_live_and_a_full_one_replaces_it() {
        let pauses = Pauses::new();
        assert_eq!(pauses.collected(CollectionKind::Full, &found(100), 5), (0, 200));
        assert_eq!(pauses.collected(CollectionKind::Minor, &found(10), 2), (1, 220));
        assert_eq!(pauses.collected(CollectionKind::Full, &found(50), 5), (2, 100));
        assert_eq!((pauses.ended(), pauses.fulls(), pauses.gc_cpu_ns()), (3, 2, 12));
    }

    #[test]
    fn a_pause_is_reported_by_the_first_thread_that_waits_long() {
        let pauses = Pauses::new();
        assert!(pauses.in_progress().is_none());
        pauses.led_by(7);
        let pause = pauses.in_progress().unwrap();
        assert_eq!((pause.number, pause.leader_id), (1, 7));
        assert!(pauses.first_to_report(pause.number) && !pauses.first_to_report(pause.number));
        pauses.collected(CollectionKind::Full, &found(0), 0);
        pauses.leader_gone();
        assert!(pauses.in_progress().is_none() && pauses.first_to_report(pauses.next()));
    }
}
