//! The reference binding: the smallest complete one, and a small runtime around it.
//!
//! `binding` is what a VM author writes: under 150 lines, and every plan runs, moving collectors and many
//! threads included. The rest is a runtime to test and measure with: `object` (the object model),
//! `shadow_stack` (a thread's roots), `thread` (a mutator's handle), `fields` (the references in objects),
//! `site` (the calls that the runtime owes the heap, and a switch for each).
//!
//! The runtime trusts its user, as the heap trusts a VM, and is no example of a safe interface. A [`Ref`] is
//! a word that any code can make. At best a debug build finds a stale one, an index that is too large, or a
//! [`ThreadHandle`] that has outlived its [`Thread`]. The runtime serves to measure what the heap costs, and
//! a check at each access would be measured with it.

mod binding;
mod fields;
pub mod object;
mod shadow_stack;
mod site;
mod thread;

pub use binding::ReferenceVM;
pub use object::{Class, Ref};
pub use shadow_stack::ShadowStack;
pub use site::Site;
pub use thread::{SameObjects, Thread, ThreadHandle};

/// A heap of the reference VM.
pub type ReferenceHeap = heapwright::Heap<ReferenceVM>;

/// A heap of the reference VM with the plan that the options name. The plans are compiled for this binding
/// here, once, and not in each crate and test that uses it.
///
/// # Errors
/// As [`heapwright::new_heap`].
pub fn new_heap(vm: ReferenceVM, options: heapwright::Options) -> Result<ReferenceHeap, heapwright::HeapError> {
    heapwright::new_heap(vm, options)
}

/// The code of the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
