//! The nursery of a heap: asks the controller of the crate `pacer` after each collection, and keeps its
//! answer where mutators see it.
//!
//! Callers: leaders of pauses; any thread reads the answer.

use super::ended::CollectionEnded;
use crate::events::CollectionKind;
use crate::metadata::Ages;
use crate::options::Options;
use pacer::nursery::{Nursery, NurseryConfig};
use protocols::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// When minor collections are due.
pub(crate) struct NurserySize {
    /// If the plan has minor collections. Taken by leaders alone.
    controller: Option<Mutex<Nursery>>,
    /// What it last decided: bytes that may be allocated before the next; `usize::MAX` for none. Written in
    /// pauses.
    bytes: AtomicUsize,
}

impl NurserySize {
    /// Of a heap that is full at `goal` bytes.
    pub fn new(options: &Options, ages: Ages, goal: usize) -> NurserySize {
        let config = NurseryConfig {
            bytes: options.nursery_bytes,
            always: options.stress_bytes > 0,
            max_bytes: options.nursery_max_bytes,
            pause_goal_ns: options.nursery_pause_goal_us * 1000,
        };
        let controller = ages.has_old().then(|| Nursery::new(config, goal));
        let bytes = AtomicUsize::new(controller.as_ref().map_or(usize::MAX, Nursery::trigger_bytes));
        NurserySize { controller: controller.map(Mutex::new), bytes }
    }

    /// Bytes that mutators may allocate before the next minor collection; `usize::MAX` if there will be none.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Whether there will be minor collections: since they pay, or an option says so.
    pub fn pays(&self) -> bool {
        self.bytes() != usize::MAX
    }

    /// A collection has ended in a heap that is full at `goal` bytes now, of which `fresh_ns` tells what it
    /// would take to touch those that were not touched yet. Whether the plan has minor collections.
    pub fn ended(&self, ended: &CollectionEnded, goal: usize, fresh_ns: f64) -> bool {
        let Some(nursery) = &self.controller else { return false };
        let mut nursery = nursery.lock();
        let sample = ended.nursery_sample(goal, fresh_ns);
        match ended.kind {
            CollectionKind::Minor => nursery.after_minor(sample),
            CollectionKind::Full => nursery.after_full(sample),
        }
        self.bytes.store(nursery.trigger_bytes(), Relaxed);
        true
    }
}
