//! Mechanism of a garbage-collection toolkit. It names no VM and no collector.
//!
//! Read from below to above. No file uses another in a circle (`tests/layers`), and no module of this list
//! uses one that stands further down:
//!
//! | module | what |
//! |---|---|
//! | crates `protocols`, `pacer` | what threads share; when to collect |
//! | [`address`], [`os`], [`warnings`], [`options`], [`events`] | words, system calls, what users set and hear |
//! | [`memory`] | extents, blocks, pages, side tables, the budget |
//! | [`binding`], [`needs`], [`metadata`] | what a VM gives, and what of it plans need; what is known of each object, line and block |
//! | [`alloc`], [`barrier`], [`space`] | ranges and a thread's part; what is noted at a store; what a space is |
//! | [`workers`], [`trace`], [`weak`] | helpers, the tracing loop, tables of weak references |
//! | [`pause`], [`plan`] | what a collector is made of, and what it is |
//! | `verify` | the second opinion |
//! | `cycle` | what drives a heap: allocation's slow path, a collection led, pacing |
//! | `heap` | what a VM calls: [`Heap`], [`Mutator`], a file for each subject |
//!
//! Unsafe code lives in `address`, `os`, `memory`, `binding`, `metadata`, `alloc`, `stack`, `workers`,
//! `weak`, `pause`, `verify`, `cycle` and `heap`; the other modules have none.

pub mod address;
pub mod binding;

pub mod memory;
pub mod metadata;
pub mod needs;

pub mod alloc;
pub mod barrier;

pub mod workers;

pub mod trace;

mod callback;
mod cycle;
mod error;
pub mod events;
mod heap;
mod machine;
pub mod options;
pub mod os;
mod patience;
pub mod pause;
pub mod plan;
pub mod space;
mod stack;
mod verify;
pub mod warnings;
pub mod weak;

pub use {
    address::{Address, ObjectReference},
    alloc::Semantics,
    binding::{Slot, SlotVisitor, StateLocation, VMBinding, WeakProcessor, WordSlot},
    error::{HeapError, MayBeOutOfMemory, OutOfMemory, Tried},
    heap::{
        AddressTable, Heap, HeapStatistics, Mutator, MutatorState, ObjectInfo, PinError, Pool, References, Region,
        StartParts,
    },
    needs::{Need, Needs, OldToNew},
    options::Options,
    plan::{Plan, PlanContext, PlanInfo},
};
