//! Mechanism of a garbage-collection toolkit: for writers of plans and spaces. It names no VM and no
//! collector. To give a virtual machine a heap, depend on the crate `heapwright` instead: it has what that
//! takes, and documentation for it.
//!
//! # For writers of plans and spaces
//!
//! A **plan** is a complete collector. It owns **spaces** (memory with one policy each) as plain fields, and
//! implements [`Plan`]. Ready spaces are in the crate `policies` (`policies::spaces`): copying, Immix,
//! mark-sweep, mark-compact, and `CommonSpaces` for large, non-moving and immortal objects, regions and
//! pools.
//!
//! 1. **Say what it is** in a [`PlanInfo`]: its name, and what it needs of a binding ([`Needs`]: that objects
//!    may move, a barrier, and so on). A heap whose binding lacks it is refused.
//! 2. **Make the spaces** in `new` from a [`PlanContext`]. It has the VM, memory, options and the objects'
//!    state bytes. Each space is told the plan's ages ([`PlanInfo::ages`]): whether there are old objects,
//!    and so minor collections.
//! 3. **Allocate**: [`Plan::allocate`] is the slow path. It chooses a space by size and [`Semantics`] and
//!    asks it for a range or an object. `None` means that the budget is exhausted: the caller collects.
//!    Any mutator calls it, many at a time. The fast path serves an object with [`Semantics::Default`] of any
//!    size from the range [`Allocators::bump`](alloc::Allocators::bump) if it fits there, or from the free
//!    cells of its size, and asks no plan. So the size that a plan tests decides where an object lies only
//!    if no other space of the plan fills that range.
//! 4. **Collect**: [`Plan::collect`] tells the story of one collection from top to bottom, with the mutators
//!    stopped: [`prepare`](pause::Pause::prepare) the spaces, trace, sweep each space. Tracing is one call:
//!    [`Pause::trace`](pause::Pause::trace) where objects are marked and stay, and
//!    [`Pause::evacuate`](pause::Pause::evacuate) where they may move. All workers take part inside each
//!    step; between two steps the leader is alone.
//! 5. **Trace**: each space has a [`SpaceTracer`](trace::SpaceTracer), a small `Copy` value that marks or
//!    moves an object of its space. A pair of tracers is a tracer too. So a plan traces with nested pairs of
//!    its spaces' tracers, the space with most objects first, and the tracing loop is compiled for them. Each
//!    space that [`Plan::spaces`] lists has a place in the pairs. The second pairs of
//!    [`Pause::evacuate`](pause::Pause::evacuate), for what must stay in place, name the same spaces: one
//!    that moves nothing gives the same tracer twice.
//!
//! A plan that marks **beside mutators** says so in its needs (`Needs::snapshot`), and its spaces get
//! [`Ages::Snapshot`](metadata::Ages). It implements [`Beside`](plan::Beside) besides: how a pause begins the
//! marking, one step of it, how a pause ends it. Its spaces give a
//! [`SnapshotTracer`](trace::SnapshotTracer) for that, which tells by an object's address whether it was
//! there when the marking began. `policies/src/plans/concurrentimmix.rs` is Immix with these few lines.
//!
//! `use mmtk_core::plan::*` brings all that the file of a plan names.
//!
//! [`Heap::new`] makes a heap with a plan from anywhere. Read `policies/src/plans/semispace.rs` first: a plan
//! of two spaces in some fifty lines. `tests/custom-plan` is a plan outside of both crates, without unsafe
//! code, and its test shows how to run the matrix of workloads and the random programs on it. The verifier
//! (option `verify.trace`) traces a second time before and after each collection, so the author of a plan
//! that loses or overwrites an object learns which one.
//!
//! A **space** of your own implements [`space::Space`], takes blocks or pages from an
//! [`Extent`](memory::Extent) (which charges the heap's budget), keeps marks in
//! [side tables](memory), and offers a tracer and a sweep. `policies/src/spaces/bump.rs` is the smallest,
//! `copy.rs` the smallest that moves. A space that marks in place may leave its sweep for when mutators run
//! again ([`space::Unswept`]); no plan has to do anything for that.
//!
//! # The modules
//!
//! Read from below to above. No file uses another in a circle (`tests/layers`), and no module of this list
//! uses one that stands further down:
//!
//! | module | what |
//! |---|---|
//! | crates `protocols`, `pacer` | what threads share; when to collect |
//! | [`address`], [`os`], [`warnings`], [`options`], [`events`] | words, system calls, what users set and hear |
//! | [`memory`] | extents, blocks, pages, side tables, the budget |
//! | [`binding`], [`needs`], [`metadata`] | what a VM provides, and what plans need of that; what is known of each object, line and block |
//! | [`barrier`], [`alloc`], [`space`] | what is noted at a store; ranges and a thread's part; what a space is |
//! | [`workers`], [`trace`], [`weak`] | helpers, the tracing loop, tables of weak references |
//! | [`pause`], [`plan`] | what a collector is made of, and what it is |
//! | `verify` | the second opinion |
//! | `cycle` | what drives a heap: the slow path of allocation, the lead of a collection, pacing |
//! | `heap` | what a VM calls: [`Heap`], [`Mutator`], a file for each subject |
//!
//! Unsafe code lives in `address`, `os`, `memory`, `binding`, `metadata`, `alloc`, `stack`, `workers`,
//! `weak`, `pause`, `verify`, `cycle` and `heap`; the other modules have none.

pub mod address;
pub mod binding;

pub mod memory;
pub mod metadata;
pub mod needs;

pub mod barrier;

pub mod alloc;

pub mod workers;

pub mod trace;

mod callback;
mod cycle;
mod error;
pub mod events;
mod heap;
mod machine;
#[cfg(doctest)]
mod misuse;
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
    alloc::{NewObject, Semantics},
    binding::{Slot, SlotVisitor, StateLocation, VMBinding, WeakProcessor, WordSlot},
    callback::in_pause,
    error::{HeapError, MayBeOutOfMemory, OutOfMemory, Tried},
    heap::{
        AddressTable, CellsAt, Heap, HeapStatistics, Mutator, MutatorState, ObjectInfo, PinError, Pool, References,
        Region, StartParts,
    },
    needs::{Need, Needs, OldToNew},
    options::Options,
    plan::{Plan, PlanContext, PlanInfo},
};
