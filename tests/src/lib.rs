//! What the tests of whole collections share: bindings, workloads, the shadow heap, the watchdog.
//!
//! The tests themselves are in `tests/`: `matrix` (every plan, workload and stress option), `shadow_heap` (random programs beside a
//! plain model), `faults` (what happens when something is refused or broken), `stale_references` (what the verifier says of dead objects),
//! `heap_values` (heaps come and go), `epochs` (their numbers come round), `large_graphs`. A plan from outside
//! `policies` passes the same tests: see the crate `custom-plan`.

pub mod matrix;
pub mod shadow;

mod attached;
mod bindings;
mod watchdog;

pub use attached::{Attached, Handle};
pub use bindings::{SideVM, TestVM};
pub use watchdog::Watchdog;

use mmtk_core::{Heap, HeapError, Options};

/// How a test makes a heap: by name with `policies::new_heap`, or with the constructor of a plan from elsewhere.
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

/// The names of the plans of `policies` that collect.
pub fn collecting_plans() -> impl Iterator<Item = &'static str> {
    policies::PLANS.iter().map(|plan| plan.name).filter(|name| *name != "NoGC")
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
