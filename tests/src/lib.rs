//! What the tests of whole collections share: bindings, workloads, the shadow heap, the watchdog.
//!
//! The tests themselves are in `tests/`, one file a capability; its header says what it shows. `matrix` runs
//! every plan, workload and stress option, `shadow_heap` random programs beside a plain model. A plan from
//! outside `policies` passes the same tests: see the crate `custom-plan`.

pub mod matrix;
pub mod shadow;

mod bindings;
mod child;
mod counting;
mod extent;
mod freed;
mod panics;
mod pinned_roots;
mod watchdog;

pub use bindings::{AmbiguousVM, CalledVM, HEAPS, SideVM, TestVM};
pub use child::{is_child, pass_again, run_again};
pub use counting::{CountingVM, Read};
pub use extent::Extent;
pub use freed::{pool_in, region_in};
pub use panics::{panic_of, text_of};
pub use pinned_roots::{PinningVM, what_pinned_roots_reach_stays};
pub use watchdog::Watchdog;

use mmtk_core::{Heap, HeapError, MutatorState, Options};
use reference::{ReferenceHeap, ReferenceVM, ThreadHandle};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// How a test makes a heap: by name with `policies::new_heap`, or with the constructor of a plan from
/// elsewhere.
pub type MakeHeap<VM> = fn(VM, Options) -> Result<Heap<VM>, HeapError>;

/// The options of a heap with this plan and limit, the rest from text.
///
/// # Panics
/// When a setting is refused.
pub fn options(plan: &str, limit_bytes: usize, settings: &[(&str, &str)]) -> Options {
    let mut options = Options { plan: plan.to_string(), heap_limit: limit_bytes, ..Options::default() };
    for (key, value) in settings {
        options.set(key, value).unwrap_or_else(|error| panic!("{error}"));
    }
    options
}

/// A heap of the reference VM with the verifier on and two workers; `settings` may say otherwise.
///
/// # Panics
/// When a setting or the heap is refused.
pub fn verified_heap(plan: &str, limit_bytes: usize, settings: &[(&str, &str)]) -> ReferenceHeap {
    let mut all = vec![("verify.trace", "true"), ("gc.workers", "2")];
    all.extend(settings);
    reference::new_heap(ReferenceVM::new(), options(plan, limit_bytes, &all)).unwrap_or_else(|error| panic!("{error}"))
}

/// The names of the plans of `policies` that collect.
pub fn collecting_plans() -> impl Iterator<Item = &'static str> {
    policies::PLANS.iter().map(|plan| plan.name).filter(|name| *name != "NoGC")
}

/// Those in which millions of small objects fit into a heap of ordinary size: in PageProtect each has a page.
pub fn dense_plans() -> impl Iterator<Item = &'static str> {
    collecting_plans().filter(|name| *name != "PageProtect")
}

/// Whether this plan of `policies` marks while mutators run.
pub fn marks_beside(plan: &str) -> bool {
    policies::PLANS.iter().any(|known| known.name == plan && known.needs.snapshot)
}

/// Whether a marking is in progress, in a plan that marks while mutators run: the barrier is armed then.
pub fn is_marked<VM: TestVM>(m: ThreadHandle<VM>) -> bool {
    let mutator = m.mutator();
    // SAFETY: an offset of the state, where leaders write in pauses.
    unsafe { &*mutator.state().byte_add(MutatorState::<VM>::BARRIER_OFFSET).cast::<AtomicU8>() }.load(Relaxed) != 0
}

/// Checks what must hold of every heap at any time.
///
/// # Panics
/// When the limit was exceeded.
pub fn assert_within_limit<VM: TestVM>(heap: &Heap<VM>) {
    let statistics = heap.statistics();
    assert!(statistics.peak_reserved_bytes <= statistics.limit_bytes, "the limit was exceeded: {statistics:?}");
    assert!(statistics.resident_bytes <= statistics.limit_bytes, "more is resident than the limit: {statistics:?}");
}
