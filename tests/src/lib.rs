//! What the tests of whole collections share: bindings, workloads, the shadow heap, the watchdog.
//!
//! The tests themselves are in `tests/`: `matrix` (every plan, workload and stress option), `shadow_heap` (random programs beside a
//! plain model), `out_of_memory`, `native_regions`, `refused_heaps`, `broken_bindings` (what a contract that is not kept leads to),
//! `barriers` (stores into old objects), `leaving_threads` (what short threads leave is used), `references` (weak references, finalizers, tables keyed by objects), `finalizers` (their order), `shrinking_tables` (what tables that held much leave behind), `pinning`, `conservative`
//! (objects by their addresses, stacks whose words may be references), `compaction`
//! (order, reach, and who is told what moved), `page_protect`, `vm_space` (objects outside the heap), `regions` (and pools: what the VM frees), `released_objects` (what a binding knows to be dead), `stale_references`
//! (what the verifier says of dead objects), `reports` (what a heap says of itself), `heap_values` (heaps come and go), `fork` (processes part), `pacing` (goals, and memory that goes back), `epochs` (their numbers come round), `long_lived` (a thousand collections of one heap), `large_graphs`,
//! `large_objects`, `worker_races` (eight workers that meet at every object), `warnings` (what a user hears of a heap that goes on). A plan from outside `policies` passes the same tests:
//! see the crate `custom-plan`.

pub mod matrix;
pub mod shadow;

mod attached;
mod bindings;
mod panics;
mod watchdog;

pub use attached::{Attached, Handle};
pub use bindings::{AmbiguousVM, HEAPS, SideVM, TestVM};
pub use panics::{panic_of, text_of};
pub use watchdog::Watchdog;

use mmtk_core::{Heap, HeapError, Options};
use reference::{ReferenceHeap, ReferenceVM};

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

/// A heap of the reference VM with the verifier on and two workers; `settings` may say otherwise.
///
/// # Panics
/// When a setting or the heap is refused.
pub fn verified_heap(plan: &str, limit_bytes: usize, settings: &[(&str, &str)]) -> ReferenceHeap {
    let mut all = vec![("verify.trace", "true"), ("gc.workers", "2")];
    all.extend(settings);
    policies::new_heap(ReferenceVM::new(), options(plan, limit_bytes, &all)).unwrap_or_else(|error| panic!("{error}"))
}

/// The names of the plans of `policies` that collect.
pub fn collecting_plans() -> impl Iterator<Item = &'static str> {
    policies::PLANS.iter().map(|plan| plan.name).filter(|name| *name != "NoGC")
}

/// Those in which millions of small objects fit into a heap of ordinary size: in PageProtect each has a page.
pub fn dense_plans() -> impl Iterator<Item = &'static str> {
    collecting_plans().filter(|name| *name != "PageProtect")
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
