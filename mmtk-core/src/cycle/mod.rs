//! What drives a heap: when collections begin, who leads them, what is learnt from each.
//!
//! `collector` is what all of it works on; `allocate` the slow path of mutators, `collect` a collection from
//! the side of the thread that asks for it, `late` what is said when one waits long for others. `pacing` asks
//! the pacer, `worker_count` chooses helpers, and `attendant` is the thread that looks after a heap while its
//! program is quiet.

mod allocate;
mod attendant;
mod collect;
mod collector;
mod late;
mod pacing;
mod start;
mod worker_count;

pub(crate) use collector::Collector;
pub(crate) use late::Late;
