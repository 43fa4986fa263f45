//! Mechanism of a garbage-collection toolkit. It names no VM and no collector.
//!
//! Read in this order: [`address`] and [`binding`] (what a VM gives), [`heap`] and [`metadata`] (memory and
//! tables), [`alloc`], [`barrier`], [`pin`] and [`introspect`] (how objects are made, written, held in place
//! and found again), `vm_space` (those outside), [`region`] and [`pool`] (those the VM frees), [`safepoint`],
//! [`workers`] and [`trace`] (how a pause works), [`plan`], [`space`] and [`pause`] (what a collector is made
//! of), [`Heap`] (all of it together).
//!
//! Unsafe code lives in `address`, `heap`, `metadata`, `alloc`, `stack`, `introspect`, `workers`, `fork` and
//! `pause`; the other modules forbid it. Under `--cfg loom` only the protocol files are compiled: `sync`,
//! `heap::block_list`, `heap::budget`, `heap::credit`, `metadata::evacuation`, `metadata::forwarding`,
//! `metadata::mark_bits`, `metadata::slot_word`, `safepoint`, `trace::termination`, `weak::conditions`,
//! `weak::index`.

pub mod sync;

#[cfg(not(loom))]
pub mod address;
#[cfg(not(loom))]
pub mod binding;

pub mod heap;
pub mod metadata;

#[cfg(not(loom))]
pub mod alloc;
#[cfg(not(loom))]
pub mod barrier;

pub mod safepoint;

#[cfg(not(loom))]
mod worker_count;
#[cfg(not(loom))]
pub mod workers;

pub mod trace;

#[cfg(not(loom))]
mod callback;
#[cfg(not(loom))]
pub mod cycle;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
pub mod events;
#[cfg(not(loom))]
mod fork;
#[cfg(not(loom))]
mod idle;
#[cfg(not(loom))]
mod instance;
#[cfg(not(loom))]
pub mod introspect;
#[cfg(not(loom))]
mod machine;
#[cfg(not(loom))]
mod nursery;
#[cfg(not(loom))]
pub mod options;
#[cfg(not(loom))]
pub mod pacer;
#[cfg(not(loom))]
mod patience;
#[cfg(not(loom))]
pub mod pause;
#[cfg(not(loom))]
pub mod pin;
#[cfg(not(loom))]
pub mod plan;
#[cfg(not(loom))]
pub mod pool;
#[cfg(not(loom))]
pub mod region;
#[cfg(not(loom))]
pub mod space;
#[cfg(not(loom))]
mod stack;
#[cfg(not(loom))]
mod steering;
#[cfg(not(loom))]
mod verify;
#[cfg(not(loom))]
mod vm_space;
#[cfg(not(loom))]
pub mod warnings;
pub mod weak;

#[cfg(not(loom))]
pub use {
    address::{Address, ObjectReference},
    alloc::{Mutator, MutatorState, Semantics},
    binding::{Slot, SlotVisitor, StateLocation, VMBinding, WeakProcessor, WordSlot},
    error::{HeapError, MayBeOutOfMemory, OutOfMemory, Tried},
    instance::{Heap, HeapStatistics},
    options::Options,
    plan::{Plan, PlanContext},
    pool::Pool,
    region::Region,
};
