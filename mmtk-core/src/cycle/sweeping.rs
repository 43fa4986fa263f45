//! The sweep that a full collection has left for when mutators run again (`space/unswept.rs`).
//!
//! Callers: the leader of a pause begins it, and ends that of the collection before; mutators, and the heap's
//! threads, sweep units in between.

use crate::binding::VMBinding;
use crate::os::thread_cpu_ns;
use crate::plan::Plan;
use crate::space::Unswept;
use crate::workers::abort;
use protocols::units::Units;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The sweep of one heap.
pub(crate) struct Sweeping<VM: VMBinding> {
    plan: Arc<dyn Plan<VM>>,
    /// The units of all spaces: how many are not done.
    all: Units,
    /// Processor time that it took outside pauses, in ns: in all, and since the last full collection.
    cpu_ns: AtomicU64,
    recent_cpu_ns: AtomicU64,
}

impl<VM: VMBinding> Sweeping<VM> {
    /// Of a heap with this plan.
    pub fn new(plan: Arc<dyn Plan<VM>>) -> Sweeping<VM> {
        Sweeping { plan, all: Units::new(), cpu_ns: AtomicU64::new(0), recent_cpu_ns: AtomicU64::new(0) }
    }

    /// The spaces that may have left something.
    fn spaces(&self) -> impl Iterator<Item = &dyn Unswept> {
        self.plan.spaces().iter().filter_map(|space| space.unswept())
    }

    /// Bytes that will be free when all is swept.
    pub fn bytes(&self) -> usize {
        if self.is_over() { 0 } else { self.spaces().map(|space| space.left().bytes()).sum() }
    }

    /// At the end of a pause: what spaces have left may be swept.
    pub fn begin(&self) {
        // Before a unit of it can be done.
        self.all.begin(self.spaces().map(|space| space.left().promised()).sum());
        self.spaces().for_each(|space| space.left().begin());
    }

    /// Whether all is swept.
    pub fn is_over(&self) -> bool {
        self.all.is_over()
    }

    /// Sweeps a unit; false if none is left to be taken.
    pub fn sweep_unit(&self) -> bool {
        let taken = self.spaces().find_map(|space| Some((space, space.left().units().take()?)));
        let Some((space, unit)) = taken else { return false };
        // The unit would never be done, and the next pause waits for it.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| space.sweep_unit(unit))) {
            abort("a thread that sweeps", &*panic);
        }
        space.left().units().done();
        self.all.done();
        true
    }

    /// The same outside a pause, and what it takes is counted. Returns the processor time in ns; none if no
    /// unit is left.
    pub fn sweep_unit_beside(&self) -> Option<u64> {
        let before = thread_cpu_ns();
        self.sweep_unit().then(|| {
            let cpu_ns = thread_cpu_ns() - before;
            self.cpu_ns.fetch_add(cpu_ns, Relaxed);
            self.recent_cpu_ns.fetch_add(cpu_ns, Relaxed);
            cpu_ns
        })
    }

    /// Waits for the units that other threads have at hand; none is left to be taken.
    pub fn wait(&self) {
        self.all.wait_until_over();
    }

    /// Processor time in ns that sweeping took outside pauses.
    pub fn cpu_ns(&self) -> u64 {
        self.cpu_ns.load(Relaxed)
    }

    /// The same since the last call. The leader of a full collection.
    pub fn take_recent_cpu_ns(&self) -> u64 {
        self.recent_cpu_ns.swap(0, Relaxed)
    }
}
