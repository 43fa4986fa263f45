//! A pause, as the plan that collects sees it: mutators stopped, workers at hand, phases timed.

mod ambiguous;
mod cycle;
mod finalize;
mod forward;
mod order;
mod pins;
mod process;
mod vm_space;
mod watching;
mod weak;

pub(crate) use ambiguous::ambiguous_roots;
pub(crate) use cycle::Cycle;
pub use cycle::CyclePhase;
pub(crate) use pins::{Moving, PinnedForPause};
pub(crate) use vm_space::{CHARGED_BYTES, VmSpace};

use self::pins::Targets;
use crate::address::ObjectReference;
use crate::alloc::{MutatorRef, ThreadPart};
use crate::binding::VMBinding;
use crate::events::{CollectionKind, Phase};
use crate::memory::EXTENTS;
use crate::metadata::ObjectStates;
use crate::options::{Options, WakeHelpers};
use crate::space::Spaces;
use crate::trace::{ObjectItem, OfSpaces, Policy, SlotItem, SpaceTracer, TraceShared, Tracing, UpdateSlots};
use crate::weak::WeakTables;
use crate::workers::{Gang, Worker};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// One pause. Lives on the leader's stack.
pub struct Pause<'a, VM: VMBinding> {
    pub(crate) vm: &'a VM,
    pub(crate) spaces: &'a Spaces<'a>,
    /// Objects outside the heap whose slots are roots.
    pub(crate) vm_objects: &'a [ObjectReference],
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
    pub(crate) weak: &'a WeakTables,
    /// What conservatively scanned stacks may refer to.
    pub(crate) ambiguous: Vec<ObjectReference>,
    /// What the barriers noted; nothing in a full collection.
    pub(crate) remembered: Vec<Vec<ObjectReference>>,
    /// Old objects that the binding knows to be dead.
    pub(crate) released: Vec<ObjectReference>,
    pub(crate) allocated_bytes: usize,
    pub(crate) defragmented: bool,
    /// Rounds that ended ([`Pause::again`]).
    pub(crate) round: usize,
    /// By the number of the space's extent.
    pub(crate) live_bytes: [usize; EXTENTS],
    pub(crate) live_objects: usize,
    /// Objects that all rounds found live.
    pub(crate) traced_objects: usize,
    pub(crate) copied_bytes: usize,
}

/// A range of items that a worker takes at a time.
const ITEMS_AT_ONCE: usize = 64;
/// Fewer stacks than this are not worth a wake-up.
const MUTATORS_FOR_HELPERS: usize = 8;
/// Fewer items than this are not worth a wake-up.
const ITEMS_FOR_HELPERS: usize = 2048;

/// The next few of `items` things that workers share.
fn next_range(next: &AtomicUsize, items: usize) -> Option<Range<usize>> {
    let from = next.fetch_add(ITEMS_AT_ONCE, Relaxed);
    (from < items).then(|| from..(from + ITEMS_AT_ONCE).min(items))
}

impl<'a, VM: VMBinding> Pause<'a, VM> {
    /// Whether this is the last resort before out of memory: free as much as possible, whatever it costs.
    pub fn is_emergency(&self) -> bool {
        self.emergency
    }

    /// What this collection may free. Minor only in plans that are generational: then what is marked with the
    /// current epoch stays so, the trace begins at the roots and the remembered objects, and only new memory
    /// is swept.
    pub fn kind(&self) -> CollectionKind {
        self.kind
    }

    /// Whether minor collections go on, since the last ones paid or an option says so. Never in plans that
    /// are not generational. If not, what was allocated since the last collection is most of the heap, and no
    /// nursery.
    pub fn minor_collections_pay(&self) -> bool {
        self.minor_collections_pay
    }

    /// In a minor collection: old objects that count as live but are dead. Before the sweep, a space takes
    /// away the marks of its own.
    pub fn released(&self) -> &[ObjectReference] {
        &self.released
    }

    /// The VM.
    pub fn vm(&self) -> &'a VM {
        self.vm
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
        self.live_bytes.iter().sum()
    }

    /// The plan says that it evacuates sparse blocks, for the report.
    pub fn defragments(&mut self) {
        self.defragmented = true;
    }

    pub(crate) fn timed<R>(&mut self, name: &'static str, f: impl FnOnce(&mut Self) -> R) -> R {
        let start = Instant::now();
        let result = f(self);
        let start_ns = (start - self.created).as_nanos() as u64;
        let duration_ns = start.elapsed().as_nanos() as u64;
        match self.phases.last_mut().filter(|last| last.name == name) {
            // Several sections of one step, a table each say, are one phase.
            Some(last) => last.duration_ns = start_ns + duration_ns - last.start_ns,
            None => self.phases.push(Phase { name, start_ns, duration_ns }),
        }
        result
    }

    /// A step that the leader does alone, before the trace.
    pub fn prepare(&mut self, f: impl FnOnce(CollectionKind)) {
        self.cycle.enter(CyclePhase::Preparing);
        self.timed("prepare", |pause| f(pause.kind));
    }

    /// A step in which workers share `items` numbered things; helpers are woken if there are many.
    pub fn parallel(&mut self, name: &'static str, items: usize, f: impl Fn(&mut Worker, Range<usize>) + Sync) {
        if items == 0 {
            return;
        }
        self.timed(name, |pause| {
            let next = AtomicUsize::new(0);
            pause.gang.run(pause.pays_to_wake(items), &|worker| {
                while let Some(range) = next_range(&next, items) {
                    f(worker, range);
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

    /// Traces what is live in spaces that move nothing now: what the roots reach, in a minor collection also
    /// what the remembered objects refer to, and what weak references and finalizers keep.
    pub fn trace<T: SpaceTracer<VM, Item = ObjectItem>>(&mut self, spaces: T) {
        let policy = OfSpaces { tracer: spaces, spaces: self.spaces };
        self.trace_roots(policy);
        self.process_weak(policy);
    }

    /// The same where objects move. What transitively pinned roots reach is traced first, by `in_place`, the
    /// policy of the same spaces that leaves everything where it is.
    pub fn evacuate<T, P>(&mut self, spaces: T, in_place: P)
    where
        T: SpaceTracer<VM, Item = SlotItem<VM::Slot>>,
        P: SpaceTracer<VM, Item = ObjectItem>,
    {
        let policy = OfSpaces { tracer: spaces, spaces: self.spaces };
        self.trace_pinned(OfSpaces { tracer: in_place, spaces: self.spaces });
        self.trace_roots(policy);
        self.process_weak(policy);
    }

    /// Traces what transitively pinned roots reach. In a minor collection old objects are not gone through,
    /// so whatever the remembered ones refer to is taken for reachable from such a root.
    fn trace_pinned<T: Policy<VM>>(&mut self, tracer: T) {
        if !VM::PINS_ROOTS {
            return;
        }
        let mut targets = Targets(Vec::new());
        self.vm.scan_transitively_pinned_roots(&mut targets);
        let Targets(targets) = targets;
        if targets.is_empty() {
            return;
        }
        let remembered: Vec<ObjectReference> = self.remembered.concat();
        self.trace_from("pinned", tracer, targets.len() + remembered.len(), |tracing, range, worker| {
            for n in range {
                match targets.get(n) {
                    Some(target) => {
                        tracing.keep(*target, worker);
                    }
                    None => tracing.visit_again(remembered[n - targets.len()]),
                }
            }
        });
    }

    /// Traces everything that the roots reach, and in a minor collection what the remembered objects refer
    /// to. Returns when no worker has work.
    fn trace_roots<T: Policy<VM>>(&mut self, tracer: T) {
        self.cycle.enter(CyclePhase::Tracing);
        self.timed("trace", |pause| {
            let shared = TraceShared::<T::Item>::new(pause.gang);
            let next = AtomicUsize::new(0);
            let (vm, gang, mutators, states, kind) = (pause.vm, pause.gang, pause.mutators, pause.states, pause.kind);
            let remembered: Vec<&[ObjectReference]> =
                pause.remembered.iter().flat_map(|noted| noted.chunks(ITEMS_AT_ONCE)).collect();
            let next_remembered = AtomicUsize::new(0);
            let queued = pause.weak.roots();
            let next_queued = AtomicUsize::new(0);
            let ambiguous = &pause.ambiguous;
            let next_ambiguous = AtomicUsize::new(0);
            let vm_objects = pause.vm_objects;
            let next_vm_object = AtomicUsize::new(0);
            gang.run(pause.options.gc_helpers == WakeHelpers::Always, &|worker| {
                let Some(mut tracing) = Tracing::<VM, T>::enter(tracer, vm, &shared, gang, worker) else { return };
                if worker.index == 0 {
                    match kind {
                        CollectionKind::Full => vm.scan_vm(&mut tracing.roots()),
                        CollectionKind::Minor => vm.scan_vm_minor(&mut tracing.roots()),
                    }
                    if VM::PINS_ROOTS {
                        vm.scan_pinned_roots(&mut tracing.roots());
                        vm.scan_transitively_pinned_roots(&mut tracing.roots());
                    }
                }
                loop {
                    let n = next.fetch_add(1, Relaxed);
                    let Some(mutator) = mutators.get(n) else { break };
                    // SAFETY: the mutator is stopped, and the counter gives it to this worker alone.
                    let local = unsafe { ThreadPart::local_of_stopped(mutator.0) };
                    vm.scan_thread(local, &mut tracing.roots());
                }
                while let Some(noted) = remembered.get(next_remembered.fetch_add(1, Relaxed)) {
                    for &object in *noted {
                        states.unlog(object);
                        tracing.visit_again(object);
                    }
                    tracing.keep_up(worker);
                }
                while let Some(range) = next_range(&next_vm_object, vm_objects.len()) {
                    vm_objects[range].iter().for_each(|object| tracing.visit_again(*object));
                    tracing.keep_up(worker);
                }
                while let Some(range) = next_range(&next_ambiguous, ambiguous.len()) {
                    for object in &ambiguous[range] {
                        tracing.keep(*object, worker);
                    }
                    tracing.keep_up(worker);
                }
                while let Some(range) = next_range(&next_queued, queued.len()) {
                    for root in range.filter_map(|n| queued.get(n)) {
                        root.load().into_iter().for_each(|object| root.store(tracing.keep(object, worker)));
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

    /// Begins the compaction, in plans that move objects when all that are live are known: the roots and what
    /// the binding kept alive. Then the plan decides where objects go, updates references
    /// ([`Pause::update_roots`]), moves objects, and ends with [`Pause::forward_weak`].
    pub fn begin_compaction(&mut self) {
        self.cycle.enter(CyclePhase::Compacting);
    }

    /// A step that the workers do together, helpers woken if `wake` or an option says so: each calls `f`
    /// once, which takes what there is to do until there is nothing left.
    pub fn together(&mut self, name: &'static str, wake: bool, f: impl Fn(&mut Worker) + Sync) {
        self.timed(name, |pause| {
            let wake = wake || pause.options.gc_helpers == WakeHelpers::Always;
            pause.gang.run(wake, &f);
        });
    }

    /// Makes the roots refer to the new places of objects.
    pub fn update_roots(&mut self, forward: impl Fn(ObjectReference) -> ObjectReference + Sync) {
        let (next, next_vm_object) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (vm, mutators, vm_objects) = (self.vm, self.mutators, self.vm_objects);
        self.together("roots", mutators.len() >= MUTATORS_FOR_HELPERS, |worker| {
            if worker.index == 0 {
                vm.scan_vm(&mut UpdateSlots(&forward));
            }
            while let Some(mutator) = mutators.get(next.fetch_add(1, Relaxed)) {
                // SAFETY: the mutator is stopped, and the counter gives it to this worker alone.
                let local = unsafe { ThreadPart::local_of_stopped(mutator.0) };
                vm.scan_thread(local, &mut UpdateSlots(&forward));
            }
            while let Some(range) = next_range(&next_vm_object, vm_objects.len()) {
                vm_objects[range].iter().for_each(|object| vm.scan_object(*object, &mut UpdateSlots(&forward)));
            }
        });
    }

    /// A trace that begins with what `f` does with things that are numbered up to `count`, a range at a time;
    /// returns when no worker has work.
    pub(crate) fn trace_from<T: Policy<VM>>(
        &mut self,
        name: &'static str,
        tracer: T,
        count: usize,
        f: impl Fn(&mut Tracing<'_, VM, T>, Range<usize>, &mut Worker) + Sync,
    ) {
        self.timed(name, |pause| {
            let (vm, gang) = (pause.vm, pause.gang);
            let shared = TraceShared::<T::Item>::new(gang);
            let next = AtomicUsize::new(0);
            gang.run(pause.pays_to_wake(count), &|worker| {
                let Some(mut tracing) = Tracing::<VM, T>::enter(tracer, vm, &shared, gang, worker) else { return };
                while let Some(range) = next_range(&next, count) {
                    f(&mut tracing, range, worker);
                    tracing.keep_up(worker);
                }
                tracing.run(worker);
                tracing.leave();
            });
            shared.finish(gang);
        });
    }

    /// A trace by the leader alone, as `f` asks for it.
    pub(crate) fn trace_alone<T: Policy<VM>>(
        &mut self,
        name: &'static str,
        tracer: T,
        f: impl Fn(&VM, &mut Tracing<'_, VM, T>, &mut Worker) + Sync,
    ) {
        self.timed(name, |pause| {
            let (vm, solo) = (pause.vm, pause.solo);
            let shared = TraceShared::<T::Item>::new(solo);
            pause.gang.run_alone(|worker| {
                let Some(mut tracing) = Tracing::<VM, T>::enter(tracer, vm, &shared, solo, worker) else { return };
                f(vm, &mut tracing, worker);
                tracing.leave();
            });
            shared.finish(solo);
        });
    }

    /// Whether helpers are woken at once for so many things to do.
    fn pays_to_wake(&self, count: usize) -> bool {
        count >= ITEMS_FOR_HELPERS || self.options.gc_helpers == WakeHelpers::Always
    }

    pub(crate) fn count_live(&mut self) {
        self.gang.for_each_worker(|worker| {
            let found = std::mem::take(&mut worker.live_bytes);
            self.live_bytes.iter_mut().zip(found).for_each(|(live, found)| *live += found);
            if let Some((extent, found)) = worker.block_bytes.flush() {
                self.live_bytes[extent.number()] += found;
            }
            let objects = std::mem::take(&mut worker.objects);
            self.live_objects += objects;
            self.traced_objects += objects;
            self.copied_bytes += std::mem::take(&mut worker.copied_bytes);
        });
    }

    /// Visits what each worker kept, after a section: the rest of its copy buffers, say.
    pub fn for_each_worker(&mut self, f: impl FnMut(&mut Worker)) {
        self.gang.for_each_worker(f);
    }

    /// Begins another round in the same pause, to collect harder.
    pub fn again(&mut self) {
        (self.live_bytes, self.live_objects) = ([0; EXTENTS], 0);
        self.round += 1;
    }
}
