//! Policy of a garbage-collection toolkit: spaces, and the plans made of them.
//!
//! Safe Rust throughout: a space names blocks, lines and cells, and `mmtk_core` turns them into memory. To
//! write a plan of your own, read `plans/semispace.rs` first; a crate outside this one can do the same with
//! what is public here.
#![deny(unsafe_code)]

pub mod plans;
pub mod select;
pub mod spaces;

pub use select::{PLANS, new_heap};
