//! The laboratory: the workloads on our heap and on the collectors of others, and the commands of `mmtk`.
//!
//! Read in this order: the crate [`workloads`] (what runs, and the traits it runs over), [`heaps`] and
//! [`peers`] (what it runs on), [`collector`] and [`request`] (how a run is asked for), [`driver`] and
//! [`record`] (how it is measured), then [`compare`], [`minimum`] and [`interleave`], which does all its work
//! in child processes, [`mod@bench`] (the measurements of the book, and its chapter), [`simulate`] (the pacer
//! without a heap), [`drive`] (the same programs on one), [`report`], and [`commands`].
//!
//! Absent on purpose: any knowledge of a plan. Those come by name from `policies`, and the peers by name from
//! [`collector`].

pub mod heaps;
pub mod peers;

pub mod collector;
pub mod request;

pub mod cpu;
pub mod driver;
pub mod held_up;
pub mod process;
pub mod record;
pub mod trace_file;
pub mod written;

pub mod child;
pub mod compare;
pub mod interleave;
pub mod machine;
pub mod minimum;

pub mod limits;

pub mod bench;
pub mod drive;
pub mod report;
pub mod simulate;

pub mod cli;
pub mod commands;
pub mod failure;
pub mod interrupt;
pub mod oom;
pub mod output;
pub mod progress;
pub mod stats;
pub mod suggest;
pub mod summary;
pub mod table;
