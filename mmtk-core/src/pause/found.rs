//! What a pause has found live, and how: written as its rounds go, read when it has ended.
//!
//! Callers: the leader.

use crate::memory::EXTENTS;
use crate::metadata::Tally;
use crate::workers::Worker;

/// What one pause found.
#[derive(Default)]
pub(crate) struct Found {
    /// Bytes that this round found live, by the number of the space's extent.
    live_bytes: [usize; EXTENTS],
    /// Objects that this round found live.
    live_objects: usize,
    /// Objects that all rounds found live.
    traced_objects: usize,
    /// Rounds that ended.
    rounds: usize,
    /// Whether sparse blocks were evacuated.
    defragmented: bool,
}

impl Found {
    /// Takes what a worker has counted since it was last asked.
    pub(super) fn take(&mut self, worker: &mut Worker) {
        let found = std::mem::take(&mut worker.live_bytes);
        self.live_bytes.iter_mut().zip(found).for_each(|(live, found)| *live += found);
        if let Some((extent, found)) = worker.block_bytes.flush() {
            self.live_bytes[extent.number()] += found;
        }
        let objects = std::mem::take(&mut worker.objects);
        self.live_objects += objects;
        self.traced_objects += objects;
    }

    /// Adds what was counted beside mutators.
    pub(super) fn add(&mut self, counted: &Tally) {
        self.live_bytes.iter_mut().zip(&counted.live_bytes).for_each(|(live, found)| *live += found);
        self.live_objects += counted.objects;
        self.traced_objects += counted.objects;
    }

    /// Another round begins, which finds all of it once more.
    pub(super) fn begin_round(&mut self) {
        (self.live_bytes, self.live_objects) = ([0; EXTENTS], 0);
        self.rounds += 1;
    }

    /// Sparse blocks are evacuated.
    pub(super) fn note_defrag(&mut self) {
        self.defragmented = true;
    }

    /// Rounds that ended.
    pub(super) fn rounds(&self) -> usize {
        self.rounds
    }

    /// Bytes found live, by the number of the space's extent.
    pub fn live_bytes_by_space(&self) -> &[usize; EXTENTS] {
        &self.live_bytes
    }

    /// Bytes found live in all spaces.
    pub fn live_bytes(&self) -> usize {
        self.live_bytes.iter().sum()
    }

    /// Objects found live.
    pub fn live_objects(&self) -> usize {
        self.live_objects
    }

    /// Objects that all rounds found live.
    pub fn traced_objects(&self) -> usize {
        self.traced_objects
    }

    /// Whether sparse blocks were evacuated.
    pub fn defragmented(&self) -> bool {
        self.defragmented
    }
}
