//! What drives a heap: when collections begin, which thread leads them, what the heap learns from each.
//!
//! `collector` is the data that the others work on; `allocate` is the slow path of mutators; `collect` is a
//! collection from the view of the thread that asks for it; `late` reports a thread that waits long for
//! others. `ended` is a collection that has ended: from it `pacing` informs the pacer, `worker_count` chooses
//! helpers, and `attendant`, the thread that looks after a heap while its program is quiet, learns what may go
//! back to the system.

mod allocate;
mod attendant;
mod collect;
mod collector;
mod ended;
mod late;
mod pacing;
mod start;
mod worker_count;

pub(crate) use collector::Collector;
pub(crate) use late::Late;
