//! Events: what happened, told to listeners. Statistics, logs and traces are listeners; the heap keeps none
//! of them.
//!
//! 1. The heap owns [`Listeners`]; the embedder adds listeners before or after the heap exists.
//! 2. Each pause ends with one [`PauseReport`], emitted when the mutators run again. Nothing here makes a
//!    pause longer.
//! 3. A listener formats and stores as it likes: [`Summary`], [`JsonLines`], [`ChromeTrace`], or the
//!    embedder's own.
//!
//! I1. All times are nanoseconds since the heap was created, on one monotonic clock; all sizes are bytes.
//! I2. Listeners see the events of one heap one at a time, in order: `HeapCreated` first, `HeapDropped` last.
//! I3. A listener that cannot write gives one warning and then keeps quiet. Reports never stop a program.
//!
//! Callers: whichever thread ran the pause (a GC worker or a mutator) emits.
#![deny(unsafe_code)]

mod event;
mod listeners;
mod paced;

mod chrome_trace;
mod json_lines;
mod sink;
mod summary;

pub use chrome_trace::ChromeTrace;
pub use event::{Cause, CollectionKind, Event, LateThread, PauseReport, Phase, SpaceReport, Wait};
pub use json_lines::JsonLines;
pub use listeners::{Listener, Listeners};
pub use paced::Paced;
pub use summary::{Summary, SummaryHandle, SummarySnapshot};
