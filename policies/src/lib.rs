//! Policy of a garbage-collection toolkit: spaces, and the plans made of them.
//!
//! Safe Rust throughout: a space names blocks, lines and cells, and `mmtk_core` turns them into memory. To
//! write a plan of your own, read `plans/semispace.rs` first; a crate outside this one can do the same with
//! what is public here.
//!
//! # What "safe" means here
//! A space cannot write to memory that is not its heap's, and no table of it outlives the heap: it hands out
//! memory as `FreeMemory`, which pools make; it copies an object that it has `Claimed`; tables test each
//! address; and the core tests what a plan returns as new memory.
//!
//! No type can say that a space is right about *its objects*. A space makes four decisions by itself. If one
//! of them is wrong, objects of the heap are overwritten, and the VM reads other data in their place:
//! - which memory is free: `BlockPool::{part, release}`, `PageRuns::release`, `Frontier::retreat`, `poison`;
//! - where an object begins: `object_at`, and the bits of `ObjectStarts`;
//! - what the trace reaches: a `SpaceTracer` may pass an object over, a plan may leave out a step for roots;
//! - where an object is now: what `Pause::{update_roots, forward_weak}` are told.
//!
//! The verifier (`verify.trace`) and poison find such mistakes. Two more promises are not tested: a space
//! keeps what belongs to one heap in that heap (a `BumpRange` that is moved to another heap is still
//! trusted); and an `Explainer` (`PageProtectSpace`) neither allocates nor waits, since it runs in a signal
//! handler.
#![deny(unsafe_code)]

pub mod plans;
pub mod select;
pub mod spaces;

pub use select::{PLANS, new_heap};
