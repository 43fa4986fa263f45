//! A pause, as the plan that collects sees it: mutators stopped, workers at hand, phases timed.

use crate::address::ObjectReference;
use crate::alloc::MutatorState;
use crate::binding::VMBinding;
use crate::cycle::{Cycle, CyclePhase};
use crate::events::{CollectionKind, Phase};
use crate::metadata::ObjectStates;
use crate::options::{Options, WakeHelpers};
use crate::trace::{TraceShared, Tracer, Tracing};
use crate::weak::WeakProcessor;
use crate::workers::{Gang, Worker};
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// One pause. Lives on the leader's stack.
pub struct Pause<'a, VM: VMBinding> {
    pub(crate) vm: &'a VM,
    pub(crate) gang: &'a Gang,
    /// The leader alone, for traces that are not shared.
    pub(crate) solo: &'a Gang,
    pub(crate) cycle: &'a Cycle,
    pub(crate) options: &'a Options,
    pub(crate) mutators: &'a [MutatorRef<VM>],
    pub(crate) created: Instant,
    pub(crate) phases: Vec<Phase>,
    pub(crate) emergency: bool,
    pub(crate) kind: CollectionKind,
    pub(crate) minor_collections_pay: bool,
    pub(crate) states: ObjectStates<VM>,
    /// What the barriers noted; nothing in a full collection.
    pub(crate) remembered: Vec<Vec<ObjectReference>>,
    /// Old objects that the binding knows to be dead.
    pub(crate) released: Vec<ObjectReference>,
    pub(crate) allocated_bytes: usize,
    pub(crate) defragmented: bool,
    pub(crate) live_bytes: usize,
    pub(crate) live_objects: usize,
    pub(crate) copied_bytes: usize,
}

/// A stopped mutator, as the leader reaches it.
pub struct MutatorRef<VM: VMBinding>(pub(crate) *const MutatorState<VM>);

impl<VM: VMBinding> Clone for MutatorRef<VM> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<VM: VMBinding> Copy for MutatorRef<VM> {}

impl<VM: VMBinding> MutatorRef<VM> {
    /// See [`MutatorState::arm_barrier`].
    pub(crate) fn arm_barrier(&self, armed: bool) {
        // SAFETY: an entry of the registry points to an attached mutator's state, which lives until it is detached.
        unsafe { &*self.0 }.arm_barrier(armed);
    }
}

// SAFETY: the state behind it is reached from other threads in two ways only: its `ThreadState` and the barrier's flag, which are
// atomic, and, while its owner is stopped, the parts that `MutatorState` gives to the leader.
unsafe impl<VM: VMBinding> Send for MutatorRef<VM> {}
// SAFETY: as for Send.
unsafe impl<VM: VMBinding> Sync for MutatorRef<VM> {}

/// A range of items that a worker takes at a time.
const ITEMS_AT_ONCE: usize = 64;
/// Fewer items than this are not worth a wake-up.
const ITEMS_FOR_HELPERS: usize = 2048;

impl<'a, VM: VMBinding> Pause<'a, VM> {
    /// Whether this is the last resort before out of memory: free as much as possible, whatever it costs.
    pub fn is_emergency(&self) -> bool {
        self.emergency
    }

    /// What this collection may free. Minor only in plans that are generational: then what is marked with the current epoch stays
    /// so, the trace begins at the roots and the remembered objects, and only new memory is swept.
    pub fn kind(&self) -> CollectionKind {
        self.kind
    }

    /// Whether minor collections go on, since the last ones paid or an option says so. Never in plans that are not generational.
    /// If not, what was allocated since the last collection is most of the heap, and no nursery.
    pub fn minor_collections_pay(&self) -> bool {
        self.minor_collections_pay
    }

    /// In a minor collection: old objects that count as live but are dead. Before the sweep, a space takes away the marks of its own.
    pub fn released(&self) -> &[ObjectReference] {
        &self.released
    }

    /// The options of the heap.
    pub fn options(&self) -> &Options {
        self.options
    }

    /// Bytes that mutators got since the previous collection that was no less: what that one yielded.
    pub fn allocated_bytes(&self) -> usize {
        self.allocated_bytes
    }

    /// Bytes of the objects that the traces of this pause found live.
    pub fn live_bytes(&self) -> usize {
        self.live_bytes
    }

    /// The plan says that it evacuates sparse blocks, for the report.
    pub fn defragments(&mut self) {
        self.defragmented = true;
    }

    fn timed<R>(&mut self, name: &'static str, f: impl FnOnce(&mut Self) -> R) -> R {
        let start = Instant::now();
        let result = f(self);
        self.phases.push(Phase {
            name,
            start_ns: (start - self.created).as_nanos() as u64,
            duration_ns: start.elapsed().as_nanos() as u64,
        });
        result
    }

    /// A step that the leader does alone, before the trace.
    pub fn prepare(&mut self, f: impl FnOnce()) {
        self.cycle.enter(CyclePhase::Preparing);
        self.timed("prepare", |_| f());
    }

    /// A step in which workers share `items` numbered things; helpers are woken if there are many.
    pub fn parallel(&mut self, name: &'static str, items: usize, f: impl Fn(&mut Worker, Range<usize>) + Sync) {
        self.timed(name, |pause| {
            let next = AtomicUsize::new(0);
            let wake = items >= ITEMS_FOR_HELPERS || pause.options.gc_helpers == WakeHelpers::Always;
            pause.gang.run(wake, &|worker| {
                loop {
                    let from = next.fetch_add(ITEMS_AT_ONCE, Relaxed);
                    if from >= items {
                        break;
                    }
                    f(worker, from..(from + ITEMS_AT_ONCE).min(items));
                }
            });
        });
    }

    /// The step that sweeps: as [`Pause::parallel`], after the trace.
    pub fn sweep(&mut self, items: usize, f: impl Fn(&mut Worker, Range<usize>) + Sync) {
        if self.cycle.phase() != CyclePhase::Sweeping {
            self.cycle.enter(CyclePhase::Sweeping);
        }
        self.parallel("sweep", items, f);
    }

    /// Traces everything that the roots reach, and in a minor collection what the remembered objects refer to. Returns when no
    /// worker has work.
    pub fn trace_roots<T: Tracer<VM>>(&mut self, tracer: T) {
        self.cycle.enter(CyclePhase::Tracing);
        self.timed("trace", |pause| {
            let shared = TraceShared::<T::Item>::new(pause.gang);
            let next = AtomicUsize::new(0);
            let (vm, gang, mutators, states, kind) = (pause.vm, pause.gang, pause.mutators, pause.states, pause.kind);
            let remembered: Vec<&[ObjectReference]> =
                pause.remembered.iter().flat_map(|noted| noted.chunks(ITEMS_AT_ONCE)).collect();
            let next_remembered = AtomicUsize::new(0);
            gang.run(pause.options.gc_helpers == WakeHelpers::Always, &|worker| {
                let Some(mut tracing) = Tracing::<VM, T>::enter(tracer, &shared, gang, worker) else { return };
                if worker.index == 0 {
                    match kind {
                        CollectionKind::Full => vm.scan_vm(&mut tracing.roots()),
                        CollectionKind::Minor => vm.scan_vm_minor(&mut tracing.roots()),
                    }
                }
                loop {
                    let n = next.fetch_add(1, Relaxed);
                    let Some(mutator) = mutators.get(n) else { break };
                    // SAFETY: the mutator is stopped, and the counter gives it to this worker alone.
                    let local = unsafe { MutatorState::local_of_stopped(mutator.0) };
                    vm.scan_thread(local, &mut tracing.roots());
                }
                while let Some(noted) = remembered.get(next_remembered.fetch_add(1, Relaxed)) {
                    for &object in *noted {
                        states.unlog(object);
                        tracing.visit_again(object);
                    }
                    tracing.keep_up(worker);
                }
                tracing.run(worker);
                tracing.leave();
            });
            shared.finish(gang);
        });
        self.count_live();
    }

    /// Lets the binding process its weak references; objects that it keeps alive are traced.
    pub fn process_weak<T: Tracer<VM>>(&mut self, tracer: T) {
        self.cycle.enter(CyclePhase::Weak);
        self.timed("weak", |pause| {
            let released = Mutex::new(Vec::new());
            let (vm, gang, solo) = (pause.vm, pause.gang, pause.solo);
            gang.run(false, &|worker| {
                let mut released = released.lock();
                let trace = TraceShared::<T::Item>::new(solo);
                let Some(tracing) = Tracing::<VM, T>::enter(tracer, &trace, solo, worker) else { return };
                let mut weak = Weak { tracer, tracing, worker, released: &mut released };
                vm.process_weak(&mut weak);
                weak.tracing.leave();
                trace.finish(solo);
            });
            if pause.kind == CollectionKind::Minor {
                pause.released = released.into_inner();
            }
        });
        self.count_live();
    }

    fn count_live(&mut self) {
        let (mut live, mut objects, mut copied) = (0, 0, 0);
        self.gang.for_each_worker(|worker| {
            live += std::mem::take(&mut worker.live_bytes);
            objects += std::mem::take(&mut worker.objects);
            copied += std::mem::take(&mut worker.copied_bytes);
        });
        self.live_bytes += live;
        self.live_objects += objects;
        self.copied_bytes += copied;
    }

    /// Visits what each worker kept, after a section: the rest of its copy buffers, say.
    pub fn for_each_worker(&mut self, f: impl FnMut(&mut Worker)) {
        self.gang.for_each_worker(f);
    }

    /// Begins another round in the same pause, to collect harder.
    pub fn again(&mut self) {
        (self.live_bytes, self.live_objects) = (0, 0);
    }
}

struct Weak<'a, 'b, VM: VMBinding, T: Tracer<VM>> {
    tracer: T,
    tracing: Tracing<'a, VM, T>,
    worker: &'b mut Worker,
    released: &'b mut Vec<ObjectReference>,
}

impl<VM: VMBinding, T: Tracer<VM>> WeakProcessor for Weak<'_, '_, VM, T> {
    fn live(&self, object: ObjectReference) -> Option<ObjectReference> {
        self.tracer.resolve(object)
    }
    fn keep_alive(&mut self, object: ObjectReference) -> ObjectReference {
        self.tracing.keep_alive(object, self.worker)
    }
    fn release(&mut self, object: ObjectReference) {
        self.released.push(object);
    }
}
