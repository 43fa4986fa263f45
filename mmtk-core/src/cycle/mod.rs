//! What drives a heap: when collections begin, which thread leads them, what the heap learns from each.
//!
//! `collector` is what the others work on; its parts are `store` (memory), `helpers`, `pauses` (the one in
//! progress and the sum of all), `pacing` and `watch` (listeners, verifier). `allocate` is the slow path of
//! mutators; `collect` is a collection from the view of the thread that asks for it; `threads` is how
//! mutators come and go, `fork` how a process with a heap forks; `late` reports a thread that waits long for
//! others. `held_up` notes what holds mutators up, `spells` what is done beside them. `ended` is a collection
//! that has ended: from it `goal` and `nursery` set when the next is due, `worker_count` chooses helpers, and
//! `attendant`, the thread that looks after a heap while its program is quiet, learns what may go back to the
//! system. `sweeping` is what a pause has left to be swept, and `background` the thread that sweeps it;
//! `side_thread` is what the heap's two threads have in common.

mod allocate;
mod allocated;
mod attendant;
mod background;
mod collect;
mod collector;
mod concurrent;
mod duty;
mod effort;
mod ended;
mod fork;
mod goal;
mod held_up;
mod helpers;
mod late;
mod marking;
mod nursery;
mod pacing;
mod pauses;
mod side_thread;
mod spells;
mod start;
mod store;
mod sweeping;
mod threads;
mod watch;
mod worker_count;

pub(crate) use collector::Collector;
