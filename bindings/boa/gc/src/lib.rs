//! The interface of Boa's garbage collector, version 0.22, on a heap of the toolkit.
//!
//! A workspace that patches `boa_gc` with this crate runs an unchanged `boa_engine` on the collector chosen
//! at startup: [`configure`] or the `MMTK_*` variables name it. Each thread that makes a [`Gc`] has a heap of
//! its own, unmapped when the thread ends.
//!
//! Read in this order: [`GcBox`] (an object), [`Gc`] (a handle), [`Trace`] (what the engine says about its
//! types), `heap` (what a thread owns), `collection` (how roots are found, what dies, and in which order),
//! then the weak ones.

// The derives of `boa_macros` name the crate.
extern crate self as boa_gc;

mod gc_box;

mod gc;
mod gc_erased;

mod trace;
mod trace_impls;

mod cell;

mod collection;
mod heap;

mod ephemeron;
mod weak_gc;
mod weak_map;

pub use boa_macros::{Finalize, Trace};
pub use cell::{GcRef, GcRefCell, GcRefMut};
pub use collection::Boa;
pub use ephemeron::{Ephemeron, EphemeronValueRef};
pub use gc::Gc;
pub use gc_box::GcBox;
pub use gc_erased::GcErased;
pub use heap::{configure, default_options, finalizer_safe, force_collect, with_heap};
pub use trace::{Finalize, Trace, Tracer};
pub use weak_gc::WeakGc;
pub use weak_map::WeakMap;
