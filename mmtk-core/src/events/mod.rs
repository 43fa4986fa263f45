//! Events: what happened, told to listeners. Statistics, logs and traces are listeners; the heap keeps none
//! of them.
//!
//! 1. The heap owns [`Listeners`]; the embedder adds listeners before or after the heap exists.
//! 2. Each pause ends with one [`PauseReport`], emitted when the mutators run again. Nothing here makes a
//!    pause longer.
//! 3. What happens between pauses, how long each mutator was held up and what was done beside mutators
//!    ([`HeldUp`], [`WorkedBeside`]), is kept while somebody listens, and told with the next pause,
//!    before it.
//! 4. A listener formats and stores as it likes: those of the crate `reports` (summary, JSON lines, Chrome
//!    trace), or the embedder's own.
//!
//! I1. All times are nanoseconds since the heap was created, on one monotonic clock; all sizes are bytes.
//! I2. Listeners see the events of one heap one at a time, in order, but for those of 3, which come late:
//!     `HeapCreated` first, `HeapDropped` last.
//!
//! Callers: whichever thread ran the pause (a GC worker or a mutator) emits.
#![deny(unsafe_code)]

mod event;
mod gc_log;
mod held_up;
mod listeners;
mod paced;

pub use event::{
    Cause, CollectionKind, Event, LateThread, MarkingReport, PauseReport, PauseStep, Phase, SpaceReport, Wait,
};
pub use gc_log::GcLog;
pub use held_up::{BackgroundWork, HeldUp, WorkedBeside};
pub(crate) use held_up::{HeldBy, HeldUps, Spell};
pub use listeners::{Listener, Listeners};
pub use paced::{Paced, Ticked};
