//! Options: one typed table, from which parsing, checks, printing and the book's chapter come.
//!
//! 1. [`Options::default`] asks the machine where the right value depends on it (`heap.limit`, `gc.workers`).
//! 2. Each source writes over the one before: a TOML file, `MMTK_*` variables, `--set key=value`, typed
//!    fields.
//! 3. [`Options::validate`] runs once, before the heap exists; afterwards the options are read-only.
//!
//! I1. A row is declared once, in `table.rs`; nothing else in this module knows the name of an option,
//!     cross-checks excepted.
//! I2. The same bad value gets the same answer by every route; a source only puts its own name in front.
//! I3. A call that fails leaves the options as they were, also when a file or an environment sets many.
//! I4. Whatever `get` prints, `set` accepts and reads as the same value.
//!
//! Callers: the embedder's start-up thread. The range of each value is checked when it is set; checks between
//! options wait for `validate`, so the order of writes does not matter.
#![deny(unsafe_code)]

mod table;

mod bytes;
mod choice;
mod domain;
mod effect;
mod error;
mod machine;
mod needs;
mod pacing;
mod print;
mod sources;

pub use bytes::{format_bytes, parse_bytes};
pub use choice::{Driver, WakeHelpers, Warnings, When};
pub use domain::Finite;
pub use effect::PlanFacts;
pub use error::{OptionError, near_miss};
pub use pacer::{HeapMode, PolicyName};
pub use table::{OptionInfo, Options};
