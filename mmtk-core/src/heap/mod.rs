//! A heap as a value: a VM, a plan, memory, mutators.
//!
//! Nothing is global: two heaps of two VMs live in one process. The last handle or mutator to go unmaps the
//! memory.
//!
//! The code that drives a heap is below, in `cycle`. Here are the functions that a VM calls, a file for each
//! subject.

mod address_table;
mod compiled;
mod fork;
mod introspect;
mod mutator;
mod pin;
mod pool;
mod references;
mod region;
mod vm_objects;

pub use address_table::AddressTable;
pub use compiled::CellsAt;
pub use introspect::{ObjectInfo, StartParts};
pub use mutator::{Mutator, MutatorState};
pub use pin::PinError;
pub use pool::Pool;
pub use references::References;
pub use region::Region;

use crate::binding::VMBinding;
use crate::callback::Callback;
use crate::cycle::Collector;
use crate::error::HeapError;
use crate::events::{Cause, Event, Listener};
use crate::memory::Memory;
use crate::options::{OptionError, Options};
use crate::plan::{Plan, PlanContext};
use std::sync::Arc;

/// A heap. Clones share it.
pub struct Heap<VM: VMBinding>(Arc<Collector<VM>>);

impl<VM: VMBinding> Clone for Heap<VM> {
    fn clone(&self) -> Self {
        Heap(self.0.clone())
    }
}

/// Totals since the heap was created.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct HeapStatistics {
    /// Collections.
    pub collections: u64,
    /// Those of them that were full ones.
    pub full_collections: u64,
    /// Those of the full ones that marked while mutators ran.
    pub concurrent_collections: u64,
    /// Processor time spent collecting, on all threads, in nanoseconds.
    pub gc_cpu_ns: u64,
    /// Bytes reserved now.
    pub reserved_bytes: usize,
    /// The most that was reserved at any time.
    pub peak_reserved_bytes: usize,
    /// Bytes of memory that were touched and not given back.
    pub resident_bytes: usize,
    /// Bytes of them that were touched as small pages and now lie in huge ones.
    pub joined_bytes: usize,
    /// Bytes of live objects at the last collection.
    pub live_bytes: usize,
    /// Bytes outside the heap that the VM has reported.
    pub external_bytes: usize,
    /// Bytes reserved at which the next collection is due, if nothing else asks for one.
    pub goal_bytes: usize,
    /// The hard limit in bytes.
    pub limit_bytes: usize,
    /// How often the system refused to give memory, or to take memory back. [`Heap::report`] says what.
    pub refusals: u64,
}

impl<VM: VMBinding> Heap<VM> {
    /// A heap whose plan is made by `plan`. Most callers choose by name, with `policies::select`.
    ///
    /// # Errors
    /// Options out of range, a plan that does not fit the binding, or no address space.
    ///
    /// # Panics
    /// When the plan contradicts itself: a space of it was made with other ages of objects than its
    /// [`PlanInfo`](crate::PlanInfo) says.
    pub fn new(
        vm: VM,
        options: Options,
        plan: impl FnOnce(&PlanContext<'_, VM>) -> Result<Box<dyn Plan<VM>>, HeapError>,
    ) -> Result<Heap<VM>, HeapError> {
        Ok(Heap(Collector::new(vm, options, plan)?))
    }

    /// Makes the calling thread a mutator. Waits if a pause is in progress.
    ///
    /// A thread may be a mutator of several heaps. It then runs in all of them: while it waits for a pause of
    /// one heap, it holds up pauses of the others, and two threads that do so crosswise would wait for ever.
    /// Work in one heap inside the [`Mutator::native`] regions of the others.
    ///
    /// # Panics
    /// When the thread is a mutator of this heap already: while it waited as one of the two, the other could
    /// not answer. In a callback of this heap.
    pub fn attach(&self, local: VM::Local) -> Mutator<VM> {
        self.0.refuse_in("Heap::attach", Callback::ANY);
        assert!(
            self.0.mutator_of_this_thread().is_none(),
            "this thread is a mutator of this heap already: use that mutator, or drop it before attaching again"
        );
        // The state has its place for good before the registry learns of it: what moves a box may take it for
        // its own alone.
        let mutator = Mutator::from_state(MutatorState::new(self.0.clone(), local));
        self.0.attach(mutator.part());
        mutator
    }

    /// Collects now, and sweeps: when it returns, what was found dead is free. If this thread is a mutator of
    /// the heap and runs, it is [`Mutator::collect`], a safepoint.
    ///
    /// # Panics
    /// In a callback of this heap.
    pub fn collect(&self) {
        self.0.refuse_in("Heap::collect", Callback::ANY);
        // SAFETY: the entry of this thread; no other detaches it.
        let me = self.0.mutator_of_this_thread().map(|mutator| unsafe { &*mutator.0 });
        match me.filter(|me| !me.thread().is_native()) {
            Some(me) => me.where_it_may_stop(|| self.0.collect(Some(me), Cause::Requested)),
            None => self.0.collect(None, Cause::Requested),
        }
    }

    /// The VM.
    pub fn vm(&self) -> &VM {
        self.0.vm()
    }

    pub(crate) fn inner(&self) -> &Collector<VM> {
        &self.0
    }

    /// The options it was made with. [`Heap::tuned`] tells those in force.
    pub fn options(&self) -> &Options {
        self.0.options()
    }

    /// The options in force: those it was made with, and what [`Heap::retune`] changed.
    ///
    /// # Panics
    /// In a closure of [`Heap::retune`], which has them already.
    pub fn tuned(&self) -> Options {
        self.0.refuse_in("Heap::tuned", &[Callback::Retune]);
        self.0.pacing().goal().options()
    }

    /// The plan's name.
    pub fn plan_name(&self) -> &'static str {
        self.0.plan_name()
    }

    /// Adds a listener, which is told first that the heap exists.
    ///
    /// # Panics
    /// In a listener of this heap, and while it forks.
    pub fn listen(&self, mut listener: Box<dyn Listener>) {
        self.0.refuse_in("Heap::listen", &[Callback::Listener, Callback::Fork]);
        listener.on_event(&Event::HeapCreated {
            plan: self.0.plan_name(),
            limit_bytes: self.0.memory().budget().limit(),
            workers: self.0.workers(),
        });
        self.0.watch().listeners().add(listener);
    }

    /// Says that memory outside the heap, which the VM's objects keep, has grown by `bytes`, or has shrunk if
    /// `bytes` is negative. Such memory counts as live: the goal leaves room in proportion to it, and a heap
    /// whose objects keep much of it is collected sooner. Memory that the VM frees after a collection, as
    /// finalizers run, was not live. The limit is for the heap alone.
    ///
    /// From any thread, at any time. If this makes a collection due, a mutator leads it at its next
    /// [`Mutator::poll`] or its next slow path of allocation; the calling thread, if it is a mutator, at its
    /// next allocation.
    pub fn adjust_external(&self, bytes: isize) {
        self.0.pacing().goal().adjust_external(bytes);
        self.0.tell_if_due();
    }

    /// Changes options of a running heap: those of the pacer, and when memory goes back to the system.
    /// `change` gets the options in force, and may set them by field or by text. The goal follows at once.
    /// From any thread, at any time.
    ///
    /// # Errors
    /// The error that `change` returns, a value that is refused, or an option that cannot change; nothing has
    /// changed then.
    ///
    /// # Panics
    /// In a closure of its own, and while the heap forks.
    pub fn retune(&self, change: impl FnOnce(&mut Options) -> Result<(), OptionError>) -> Result<(), OptionError> {
        self.0.refuse_in("Heap::retune", &[Callback::Retune, Callback::Fork]);
        let change = |options: &mut Options| {
            let _inside = self.0.call(Callback::Retune);
            change(options)
        };
        let accepted = |options: &Options| self.0.watch().patience().set(options.safepoint_warn_ms);
        self.0.pacing().goal().retune(change, accepted)?;
        self.0.tell_if_due();
        self.0.attend_when_idle();
        Ok(())
    }

    /// Totals so far.
    pub fn statistics(&self) -> HeapStatistics {
        let (pauses, goal, memory) = (self.0.pauses(), self.0.pacing().goal(), self.0.memory());
        let budget = memory.budget();
        HeapStatistics {
            collections: pauses.ended(),
            full_collections: pauses.fulls(),
            concurrent_collections: pauses.concurrent(),
            gc_cpu_ns: self.0.gc_cpu_ns(),
            reserved_bytes: budget.reserved(),
            peak_reserved_bytes: budget.peak_reserved(),
            resident_bytes: budget.resident(),
            joined_bytes: memory.joined_bytes(),
            live_bytes: pauses.live_bytes(),
            external_bytes: goal.external(),
            goal_bytes: goal.bytes(),
            limit_bytes: budget.limit(),
            refusals: memory.refusals().count(),
        }
    }

    /// The most bytes reserved since the last call.
    pub fn take_peak_reserved(&self) -> usize {
        self.0.memory().budget().take_peak()
    }

    /// The heap's memory: for tests that make the system refuse, and for reports.
    pub fn memory(&self) -> &Memory {
        self.0.memory()
    }

    /// The state of the heap, space by space, as text.
    pub fn report(&self) -> String {
        self.0.report()
    }
}
