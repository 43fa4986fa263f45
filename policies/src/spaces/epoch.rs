//! The epoch of a space: the value that this cycle's marks carry.

use mmtk_core::metadata::EPOCH_MAX;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// A number from 1 to `EPOCH_MAX`, and round again. Changes only while mutators are stopped and no worker
/// traces.
#[derive(Debug)]
pub struct Epoch(AtomicU8);

impl Default for Epoch {
    fn default() -> Self {
        Epoch(AtomicU8::new(1))
    }
}

impl Epoch {
    /// The epoch of the last trace, or of the one in progress.
    pub fn current(&self) -> u8 {
        self.0.load(Relaxed)
    }

    /// The epoch before this one.
    pub fn before(epoch: u8) -> u8 {
        if epoch == 1 { EPOCH_MAX } else { epoch - 1 }
    }

    /// Begins the next epoch and returns it.
    pub fn advance(&self) -> u8 {
        let next = self.current() % EPOCH_MAX + 1;
        self.0.store(next, Relaxed);
        next
    }
}
