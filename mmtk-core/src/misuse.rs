//! What must not compile: safe code that would write where it has no right to. Each example that fails has a
//! twin beside it that differs in the offence alone, and compiles; so it fails for the right reason.
//!
//! # Memory that no pool has made cannot be given to a thread
//! ```
//! use mmtk_core::{Address, alloc::BumpRange, memory::{Acquired, BlockPool}};
//! fn give(range: &mut BumpRange, pool: &BlockPool, block: Acquired) {
//!     range.install(pool.memory_of(block), &mut 0);
//! }
//! ```
//! ```compile_fail,E0308
//! use mmtk_core::{Address, alloc::BumpRange, memory::{Acquired, BlockPool}};
//! fn give(range: &mut BumpRange, at: Address) {
//!     range.install(at..at.plus(64), &mut 0);
//! }
//! ```
//!
//! # Memory is given once
//! ```
//! use mmtk_core::{alloc::BumpRange, memory::FreeMemory};
//! fn give(ranges: &mut [BumpRange; 2], memory: FreeMemory<'_>) {
//!     ranges[0].install(memory, &mut 0);
//! }
//! ```
//! ```compile_fail,E0382
//! use mmtk_core::{alloc::BumpRange, memory::FreeMemory};
//! fn give(ranges: &mut [BumpRange; 2], memory: FreeMemory<'_>) {
//!     ranges[0].install(memory, &mut 0);
//!     ranges[1].install(memory, &mut 0);
//! }
//! ```
//!
//! # Memory does not outlive the pool that it came from
//! ```
//! use mmtk_core::memory::{Acquired, BlockPool, FreeMemory};
//! fn keep(pool: &BlockPool, block: Acquired) -> FreeMemory<'_> {
//!     pool.memory_of(block)
//! }
//! ```
//! ```compile_fail
//! use mmtk_core::memory::{Acquired, BlockPool, FreeMemory};
//! fn keep(pool: &BlockPool, block: Acquired) -> FreeMemory<'static> {
//!     pool.memory_of(block)
//! }
//! ```
