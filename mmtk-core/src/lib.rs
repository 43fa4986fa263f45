//! Mechanism of a garbage-collection toolkit. It names no VM and no collector.
//!
//! Read in this order: [`address`] and [`binding`] (what a VM gives), [`memory`] and [`metadata`] (memory and
//! tables), [`alloc`], [`barrier`], [`pin`] and [`introspect`] (how objects are made, written, held in place
//! and found again), `vm_space` (those outside), [`Region`] and [`Pool`] (those the VM frees), [`workers`] and
//! [`trace`] (how a pause works), [`plan`], [`space`] and [`pause`] (what a collector is made of), [`Heap`]
//! (all of it together). What threads share lies below, in the crate `protocols`; when to collect is decided
//! in the crate `pacer`.
//!
//! Unsafe code lives in `address`, `memory`, `metadata`, `alloc`, `stack`, `introspect`, `workers`, `fork` and
//! `pause`; the other modules forbid it.

pub mod address;
pub mod binding;

pub mod memory;
pub mod metadata;

pub mod alloc;
pub mod barrier;

mod worker_count;
pub mod workers;

pub mod trace;

mod callback;
pub mod cycle;
mod error;
pub mod events;
mod fork;
mod heap;
mod idle;
pub mod introspect;
mod machine;
pub mod options;
mod patience;
pub mod pause;
pub mod pin;
pub mod plan;
pub mod space;
mod stack;
mod steering;
mod verify;
mod vm_space;
pub mod warnings;
pub mod weak;

pub use {
    address::{Address, ObjectReference},
    alloc::Semantics,
    binding::{Slot, SlotVisitor, StateLocation, VMBinding, WeakProcessor, WordSlot},
    error::{HeapError, MayBeOutOfMemory, OutOfMemory, Tried},
    heap::{Heap, HeapStatistics, Mutator, MutatorState, Pool, Region},
    options::Options,
    plan::{Plan, PlanContext},
};
