//! The workers of a heap: the leader with its helpers, how many of them take part, and when they are started.
//!
//! Callers: leaders of pauses, and threads that are about to lead one.

use super::ended::CollectionEnded;
use super::worker_count::WorkerCount;
use crate::events::CollectionKind;
use crate::options::{Options, WakeHelpers};
use crate::patience::Patience;
use crate::workers::Gang;
use protocols::sync::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a heap whose first collection may be long enough to miss helpers, so that they are started before
/// it. In a smaller one they are started before the collection that follows one that missed them.
const RESIDENT_FOR_HELPERS: usize = 16 << 20;

/// The workers of one heap.
pub(crate) struct Helpers {
    gang: Gang,
    /// The leader alone, for traces that are not shared.
    solo: Gang,
    /// How many take part: in minor collections and in full ones. Taken alone, by the leader.
    counts: [Mutex<WorkerCount>; 2],
    when: WakeHelpers,
}

impl Helpers {
    /// Of a heap with these options. `late` is told of helpers that keep the leader waiting.
    pub fn new(
        options: &Options,
        patience: Arc<Patience>,
        late: impl Fn(Duration, Vec<(usize, u32)>) + Send + Sync + 'static,
    ) -> Helpers {
        Helpers {
            gang: Gang::new(options.gc_workers, "gc").reporting(patience, late),
            solo: Gang::new(1, "gc"),
            counts: [(); 2].map(|()| Mutex::new(WorkerCount::new(options.gc_workers))),
            when: options.gc_helpers,
        }
    }

    /// The leader and its helpers.
    pub fn gang(&self) -> &Gang {
        &self.gang
    }

    /// The leader alone.
    pub fn solo(&self) -> &Gang {
        &self.solo
    }

    /// Before mutators are asked to stop, since a pause may not start threads: starts helpers, if a heap with
    /// `resident` bytes of touched memory needs them.
    pub fn get_ready(&self, resident: usize) {
        if self.when == WakeHelpers::Always || resident >= RESIDENT_FOR_HELPERS {
            self.gang.start();
        } else {
            self.gang.start_if_missed();
        }
    }

    /// Lets as many workers take part as made the last pauses shorter.
    pub fn allow(&self, kind: CollectionKind) {
        if self.when == WakeHelpers::Auto {
            self.gang.allow(self.counts[kind as usize].lock().next());
        }
    }

    /// What a collection took, for the choice of workers of the next ones.
    pub fn ended(&self, ended: &CollectionEnded) {
        self.counts[ended.kind as usize].lock().ended(ended);
    }

    /// The threads end, before a fork. They are started again when they are next needed.
    pub fn end_threads(&self) {
        self.gang.end_helpers();
        self.solo.end_helpers();
    }
}
