//! Atomics and locks for the protocol files: std's normally, loom's under `--cfg loom`.
//!
//! A protocol file takes everything that two threads share from here, so that the models in `loom-tests`
//! explore the same source that runs in a heap. `order!` and `dropped!` mark the orderings and steps that a
//! model can weaken by name; outside a loom build both are constants and cost nothing. For each name a test
//! shows that a model fails without it, so an ordering that bears no name is either `Relaxed` or says why no
//! model can see it.
//!
//! The two lines below are the only ones of this crate that ask which it is: `sync/on_std.rs` and
//! `sync/on_loom.rs` offer the same names. What protocols do not use is there for std alone.

#[cfg_attr(not(loom), path = "sync/on_std.rs")]
#[cfg_attr(loom, path = "sync/on_loom.rs")]
mod on;

pub use on::*;

/// Looks before a thread lets others run: what it waits for takes some ten microseconds at most, unless the
/// thread that does it was preempted.
const LOOKS: u32 = 200;

/// A wait for a few steps of another thread, which may not be running: `wait` is called between two looks.
#[derive(Default)]
pub struct Spin {
    looks: u32,
}

impl Spin {
    /// The first times a few cycles; later, other threads run first.
    #[cold]
    pub fn wait(&mut self) {
        spin();
        self.looks = self.looks.saturating_add(1);
        if self.looks > LOOKS {
            yield_now();
        }
    }

    /// Whether other threads have run meanwhile.
    pub fn is_long(&self) -> bool {
        self.looks > LOOKS
    }
}
