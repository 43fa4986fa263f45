//! Files about a heap: listeners write what it did, and options come from TOML.
//!
//! `mmtk_core` tells listeners what happens and keeps nothing. What needs a library for files, formats or
//! histograms is here, so that a virtual machine that writes no reports does without all of them.
//!
//! | item | what it makes or reads |
//! |---|---|
//! | [`JsonLines`] | one JSON object an event, one event a line |
//! | [`ChromeTrace`] | a file for Perfetto or `chrome://tracing` |
//! | [`Summary`] | percentiles of pauses and of hold-ups of mutators, totals; prints as a table |
//! | [`read_decision`] | the pacer's decisions, from lines that `JsonLines` wrote |
//! | [`apply_toml_file`], [`apply_toml_str`] | options of a heap, from TOML |
//!
//! I1. A listener that cannot write gives one warning and no more. Reports never stop a program.
//! I2. The names of fields in what is written are those of [`mmtk_core::events::Event`]; a test compares them
//!     with lines that an earlier version wrote.
//!
//! Callers: the thread that ran a pause calls the listeners, after the mutators resumed; any thread the rest.
//! The locks are `parking_lot`'s: a forked child has no listeners, and a fork waits until no listener runs.
#![forbid(unsafe_code)]

mod chrome_trace;
mod decision;
mod json_lines;
mod line;
mod sink;
mod summary;
mod toml_file;

#[cfg(test)]
mod samples;

pub use chrome_trace::ChromeTrace;
pub use decision::{Decided, read_decision};
pub use json_lines::JsonLines;
pub use summary::{Summary, SummaryHandle, SummarySnapshot};
pub use toml_file::{apply_toml_file, apply_toml_str};
