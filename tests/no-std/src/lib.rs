//! The pacer, compiled without the standard library: no allocation, no clock, no lock can be in it.
#![cfg_attr(not(test), no_std)]

#[path = "../../../mmtk-core/src/pacer/mod.rs"]
pub mod pacer;
