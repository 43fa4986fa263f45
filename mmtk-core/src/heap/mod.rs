//! A heap as a value: a VM, a plan, memory, mutators.
//!
//! Nothing is global: two heaps of two VMs live in one process. The last handle or mutator to go unmaps the
//! memory.
//!
//! `allocate` is the slow path of its mutators, `collect` a collection from the side of the thread that asks
//! for it.

mod address_table;
mod allocate;
mod collect;
mod fork;
mod introspect;
mod late;
mod mutator;
mod pin;
mod pool;
mod references;
mod region;
mod vm_objects;

pub use address_table::AddressTable;
pub(crate) use collect::Unfinished;
pub use introspect::{ObjectInfo, StartParts};
pub(crate) use late::Late;
pub use mutator::{Mutator, MutatorState};
pub use pin::PinError;
pub use pool::Pool;
pub use references::References;
pub use region::Region;

use crate::address::{Address, ObjectReference};
use crate::alloc::{Allocators, Leftovers, MutatorRef};
use crate::binding::VMBinding;
use crate::callback::{self, Callback, Frame};
use crate::error::HeapError;
use crate::events::{Cause, Event, Listener, Listeners};
use crate::idle::{Allocated, Idle, Quiet};
use crate::memory::{EXTENTS, Extent, Memory};
use crate::metadata::ObjectStates;
use crate::options::{OptionError, Options, PlanFacts, Warnings};
use crate::patience::Patience;
use crate::pause::Cycle;
use crate::pause::Moving;
use crate::pause::VmSpace;
use crate::plan::{Plan, PlanContext};
use crate::space::Space;
use crate::steering::Steering;
use crate::verify;
use crate::warnings;
use crate::weak::WeakTables;
use crate::worker_count::WorkerCount;
use crate::workers::Gang;
use pacer::nursery::{Nursery, NurseryConfig};
use protocols::safepoint::Safepoint;
use protocols::sync::Mutex;
use std::fmt::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Instant;

pub(crate) struct HeapInner<VM: VMBinding> {
    pub(crate) vm: VM,
    pub(crate) options: Options,
    pub(crate) plan: Box<dyn Plan<VM>>,
    pub(crate) memory: Arc<Memory>,
    /// Where objects may move.
    moving: Box<[Moving]>,
    /// Where mutators note the starts of objects.
    starts_in: Box<[Extent]>,
    pub(crate) states: ObjectStates<VM>,
    pub(crate) safepoint: Safepoint<MutatorRef<VM>>,
    pub(crate) gang: Gang,
    /// How many of them take part: in full collections, and in minor ones. Taken alone, by the leader.
    worker_counts: [Mutex<WorkerCount>; 2],
    pub(crate) solo: Gang,
    cycle: Cycle,
    pub(crate) steering: Steering,
    pub(crate) idle: Idle,
    pub(crate) patience: Arc<Patience>,
    /// The system's number of the thread that leads a pause in which all have stopped; 0 if there is none.
    /// For reports.
    leader_id: AtomicU32,
    /// The number of the pause, counted from 1, that a thread waiting for its end has reported.
    reported_pause: AtomicU64,
    pub(crate) listeners: Listeners,
    created: Instant,
    /// Pauses so far; written by leaders.
    pauses: AtomicU64,
    /// Full collections so far; written by leaders.
    fulls: AtomicU64,
    /// Bytes handed to fast paths.
    allocated: Arc<Allocated>,
    /// In a generational plan: decides when minor collections are due. Taken by leaders alone.
    nursery: Option<Mutex<Nursery>>,
    /// What it last decided: bytes that may be allocated before the next; `usize::MAX` for none. Written in
    /// pauses.
    nursery_bytes: AtomicUsize,
    /// Objects outside the heap.
    pub(crate) vm_space: VmSpace,
    /// Native references, finalizers, tables keyed by objects.
    pub(crate) weak: WeakTables,
    /// What threads that detached had not used of their ranges.
    pub(crate) leftovers: Arc<Leftovers>,
    /// What threads that detached had noted in their barriers.
    remembered: Mutex<Vec<ObjectReference>>,
    gc_cpu_ns: AtomicU64,
    /// Bytes found live in each space, by the number of its extent. Written by leaders.
    live_bytes: [AtomicUsize; EXTENTS],
    yield_seed: AtomicU64,
    /// For the verifier. Taken alone: by the leader of a pause, and by threads that detach.
    history: Mutex<verify::History>,
}

/// A heap. Clones share it.
pub struct Heap<VM: VMBinding>(Arc<HeapInner<VM>>);

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
    /// How often the system refused something: memory, or to take it back. [`Heap::report`] says what.
    pub refusals: u64,
}

impl<VM: VMBinding> Heap<VM> {
    /// A heap whose plan is made by `plan`. Most callers choose by name, with `policies::select`.
    ///
    /// # Errors
    /// Options out of range, a plan that does not fit the binding, or no address space.
    pub fn new(
        vm: VM,
        options: Options,
        plan: impl FnOnce(&PlanContext<'_, VM>) -> Result<Box<dyn Plan<VM>>, HeapError>,
    ) -> Result<Heap<VM>, HeapError> {
        options.validate()?;
        if options.warnings == Warnings::Never {
            warnings::silence();
        }
        let memory = Memory::new(&options)?;
        let states = ObjectStates::new(&memory)?;
        let plan = plan(&PlanContext { memory: &memory, options: &options, states })?;
        let states = if plan.is_generational() { states.generational() } else { states };
        let steering = Steering::new(&options, memory.budget().limit());
        let allocated = Arc::new(Allocated::default());
        let nursery = NurseryConfig {
            bytes: options.nursery_bytes,
            always: options.stress_bytes > 0,
            max_bytes: options.nursery_max_bytes,
            pause_goal_ns: options.nursery_pause_goal_us * 1000,
        };
        let moves = |space: &dyn Space| Moving { extent: space.extent(), name: space.name(), pins: space.pins() };
        let moving: Box<[_]> = plan.spaces().into_iter().filter(|space| space.moves()).map(moves).collect();
        let why = match (VM::PINS_ROOTS, VM::CONSERVATIVE_STACKS) {
            (_, true) => {
                Some("scans stacks conservatively (CONSERVATIVE_STACKS), and what they may refer to must stay")
            }
            (true, _) => Some("has roots whose targets must stay (PINS_ROOTS)"),
            (false, false) => None,
        };
        if let (Some(why), Some(space)) = (why, moving.iter().find(|space| !space.pins)) {
            return Err(HeapError::Plan(format!(
                "{} moves every object of its {} space; this binding {why}: choose a plan that evacuates around pinned objects, or \
                 moves none",
                plan.name(),
                space.name
            )));
        }
        if VM::CONSERVATIVE_HEAP && !plan.scans_conservatively() {
            return Err(HeapError::Plan(format!(
                "{} cannot find objects by their addresses while it traces; this binding scans its heap conservatively \
                 (CONSERVATIVE_HEAP): choose a plan that marks in place, such as MarkSweep",
                plan.name()
            )));
        }
        const { assert!(VM::OBJECT_STARTS || !VM::CONSERVATIVE_HEAP, "CONSERVATIVE_HEAP needs OBJECT_STARTS") };
        const { assert!(VM::OBJECT_STARTS || !VM::CONSERVATIVE_STACKS, "CONSERVATIVE_STACKS needs OBJECT_STARTS") };
        let facts = PlanFacts {
            name: plan.name(),
            collects: plan.can_collect(),
            generational: plan.is_generational(),
            may_move: VM::CAN_MOVE,
            spaces: plan.spaces().iter().map(|space| space.name()).collect(),
        };
        for sentence in options.without_effect(&facts) {
            warnings::warn_of_text(sentence);
        }
        let starts_in =
            plan.spaces().into_iter().filter(|space| space.keeps_starts()).map(|space| space.extent()).collect();
        let weak = WeakTables::new(plan.is_generational(), &memory);
        let patience = Arc::new(Patience::new(options.safepoint_warn_ms));
        let nursery = plan.is_generational().then(|| Nursery::new(nursery, steering.goal()));
        Ok(Heap(Arc::new_cyclic(|me: &Weak<HeapInner<VM>>| HeapInner {
            vm,
            idle: Idle::new(me.clone(), memory.clone(), allocated.clone(), patience.clone()),
            leader_id: AtomicU32::new(0),
            reported_pause: AtomicU64::new(0),
            gang: Gang::new(options.gc_workers, "gc").reporting(patience.clone(), late::workers_are_late(me.clone())),
            worker_counts: [(); 2].map(|()| Mutex::new(WorkerCount::new(options.gc_workers))),
            solo: Gang::new(1, "gc"),
            yield_seed: AtomicU64::new(options.stress_seed),
            patience,
            options,
            moving,
            starts_in,
            plan,
            memory,
            states,
            safepoint: Safepoint::new(),
            cycle: Cycle::default(),
            steering,
            listeners: Listeners::new(),
            created: Instant::now(),
            pauses: AtomicU64::new(0),
            fulls: AtomicU64::new(0),
            allocated,
            weak,
            vm_space: VmSpace::default(),
            leftovers: Arc::default(),
            remembered: Mutex::default(),
            nursery_bytes: AtomicUsize::new(nursery.as_ref().map_or(usize::MAX, Nursery::trigger_bytes)),
            nursery: nursery.map(Mutex::new),
            gc_cpu_ns: AtomicU64::new(0),
            live_bytes: Default::default(),
            history: Mutex::default(),
        })))
    }

    /// Makes the calling thread a mutator. Waits if a pause is in progress.
    ///
    /// A thread may be a mutator of several heaps. It is then running in all of them: while it waits in one
    /// for a pause, it holds up the others, and two threads that do so crosswise would wait for ever. Work in
    /// one heap inside the [`Mutator::native`] regions of the others.
    ///
    /// # Panics
    /// When the thread is a mutator of this heap already: as it waits in one for a pause, the other could not
    /// answer. In a callback of this heap.
    pub fn attach(&self, local: VM::Local) -> Mutator<VM> {
        self.0.refuse_in("Heap::attach", Callback::ANY);
        assert!(
            self.0.mutator_of_this_thread().is_none(),
            "this thread is a mutator of this heap already: use that mutator, or drop it before attaching again"
        );
        // The state has its place for good before the registry learns of it: what moves a box may take it for
        // its own alone.
        let mutator = Mutator::from_state(MutatorState::new(self.0.clone(), local));
        let arm = || mutator.part().arm_barrier(self.0.nursery_bytes.load(Relaxed) != usize::MAX);
        self.0.safepoint.attach(MutatorRef(mutator.part()), arm);
        self.0.attend_when_idle();
        mutator
    }

    /// Collects now. If this thread is a mutator of the heap and runs, it is [`Mutator::collect`], a
    /// safepoint.
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
        &self.0.vm
    }

    pub(crate) fn inner(&self) -> &HeapInner<VM> {
        &self.0
    }

    /// The options it was made with. [`Heap::tuned`] tells those in force.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// The options in force: those it was made with, and what [`Heap::retune`] changed.
    ///
    /// # Panics
    /// In a closure of [`Heap::retune`], which has them already.
    pub fn tuned(&self) -> Options {
        self.0.refuse_in("Heap::tuned", &[Callback::Retune]);
        self.0.steering.options()
    }

    /// The plan's name.
    pub fn plan_name(&self) -> &'static str {
        self.0.plan.name()
    }

    /// Adds a listener, which is told first that the heap exists.
    ///
    /// # Panics
    /// In a listener of this heap, and while it forks.
    pub fn listen(&self, mut listener: Box<dyn Listener>) {
        self.0.refuse_in("Heap::listen", &[Callback::Listener, Callback::Fork]);
        listener.on_event(&Event::HeapCreated {
            plan: self.0.plan.name(),
            limit_bytes: self.0.memory.budget().limit(),
            workers: self.0.gang.size(),
        });
        self.0.listeners.add(listener);
    }

    /// The VM's memory outside the heap, which its objects keep, grew or shrank by so many bytes. It counts
    /// as live: the goal leaves room in proportion to it, and a heap whose objects keep much of it is
    /// collected sooner. What the VM takes back after a collection, as finalizers run, was not live. The
    /// limit is the heap's alone.
    ///
    /// From any thread, at any time. If a collection is due by it, mutators lead one at their next
    /// [`Mutator::poll`] or when they next come to the slow path of allocation; the calling thread, if it is
    /// one of them, at its next allocation.
    pub fn adjust_external(&self, bytes: isize) {
        self.0.steering.adjust_external(bytes);
        self.0.tell_if_due();
    }

    /// Changes options of a running heap: those of the pacer, and when memory goes back to the system.
    /// `change` gets the options in force, and may set them by field or by text. The goal follows at once.
    /// From any thread, at any time.
    ///
    /// # Errors
    /// What `change` says, a value that is refused, or an option that cannot change; nothing has changed
    /// then.
    ///
    /// # Panics
    /// In a closure of its own, and while the heap forks.
    pub fn retune(&self, change: impl FnOnce(&mut Options) -> Result<(), OptionError>) -> Result<(), OptionError> {
        self.0.refuse_in("Heap::retune", &[Callback::Retune, Callback::Fork]);
        let change = |options: &mut Options| {
            let _inside = self.0.call(Callback::Retune);
            change(options)
        };
        self.0.steering.retune(change, |options| self.0.patience.set(options.safepoint_warn_ms))?;
        self.0.tell_if_due();
        self.0.attend_when_idle();
        Ok(())
    }

    /// Totals so far.
    pub fn statistics(&self) -> HeapStatistics {
        let budget = self.0.memory.budget();
        HeapStatistics {
            collections: self.0.pauses.load(Relaxed),
            full_collections: self.0.fulls.load(Relaxed),
            gc_cpu_ns: self.0.gc_cpu_ns.load(Relaxed),
            reserved_bytes: budget.reserved(),
            peak_reserved_bytes: budget.peak_reserved(),
            resident_bytes: budget.resident(),
            joined_bytes: self.0.memory.joined_bytes(),
            live_bytes: self.0.live_bytes(),
            external_bytes: self.0.steering.external(),
            goal_bytes: self.0.steering.goal(),
            limit_bytes: budget.limit(),
            refusals: self.0.memory.refusals().count(),
        }
    }

    /// The most bytes reserved since the last call.
    pub fn take_peak_reserved(&self) -> usize {
        self.0.memory.budget().take_peak()
    }

    /// The heap's memory: for tests that make the system refuse, and for reports.
    pub fn memory(&self) -> &Memory {
        &self.0.memory
    }

    /// The state of the heap, space by space, as text.
    pub fn report(&self) -> String {
        self.0.report()
    }
}

impl<VM: VMBinding> HeapInner<VM> {
    /// This thread calls a callback.
    pub(crate) fn call(&self, what: Callback) -> callback::Inside {
        callback::enter(Frame { heap: std::ptr::from_ref(self).addr(), what })
    }

    /// Panics if this thread is inside one of these callbacks of this heap.
    #[inline(always)]
    pub(crate) fn refuse_in(&self, call: &str, callbacks: &[Callback]) {
        callback::refuse(std::ptr::from_ref(self).addr(), call, callbacks);
    }

    /// Tells the listeners.
    fn tell(&self, event: &Event) {
        let _inside = self.call(Callback::Listener);
        self.listeners.emit(event);
    }

    /// The entry of the calling thread, if it is attached.
    fn mutator_of_this_thread(&self) -> Option<MutatorRef<VM>> {
        let this_thread = std::thread::current().id();
        // SAFETY: an entry of the registry points to an attached mutator's state; the lock keeps it there.
        self.safepoint.find(|mutator| unsafe { &*mutator.0 }.owner().id() == this_thread)
    }

    /// An object was allocated at `address`, in whatever space.
    pub(crate) fn note_start(&self, address: Address) {
        if VM::OBJECT_STARTS && self.starts_in.iter().any(|extent| extent.contains(address)) {
            self.states.starts().set_shared(address);
        }
    }

    /// Whether the object lies in a space of this heap.
    pub(crate) fn holds(&self, object: ObjectReference) -> bool {
        self.plan.spaces().into_iter().any(|space| space.extent().holds(object))
    }

    /// The space of an object that may move.
    pub(crate) fn moving(&self, object: ObjectReference) -> Option<&Moving> {
        self.moving.iter().find(|space| space.extent.holds(object))
    }

    pub(crate) fn plan_name(&self) -> &'static str {
        self.plan.name()
    }

    fn flush_allocated(&self, allocators: &mut Allocators) {
        let bytes = std::mem::take(&mut allocators.allocated);
        if bytes > 0 {
            self.allocated.since_pause.fetch_add(bytes, Relaxed);
        }
    }

    /// Whether collections are verified, and mutators note what they ask for.
    pub(crate) fn is_verified(&self) -> bool {
        self.options.verify && self.plan.can_collect()
    }

    /// A mutator stops or leaves: what it asked for since the last collection.
    pub(crate) fn keep_requested(&self, requested: Vec<Range<Address>>) {
        if !requested.is_empty() {
            self.history.lock().add(requested);
        }
    }

    fn minor_collections_pay(&self) -> bool {
        self.nursery_bytes.load(Relaxed) != usize::MAX
    }

    /// A thread detaches: others go on in its ranges.
    pub(crate) fn leave(&self, allocators: &mut Allocators) {
        // It may be inside a native region.
        allocators.open();
        self.leftovers.keep(allocators, 1 << VM::LOG_GRANULE);
        self.retire(allocators);
    }

    /// A thread's ranges are given up: in a pause, or what is not kept of one that detaches.
    pub(crate) fn retire(&self, allocators: &mut Allocators) {
        self.flush_allocated(allocators);
        self.plan.retire(allocators);
        allocators.clear();
    }

    /// Sees to it that somebody looks after the heap while its program is quiet, if there is something to be
    /// done then.
    pub(crate) fn attend_when_idle(&self) {
        let (_, delays) = self.steering.idling();
        if self.plan.can_collect() {
            self.idle.attend(delays);
        }
    }

    /// Bytes found live by the last collection, in all spaces.
    fn live_bytes(&self) -> usize {
        self.live_bytes.iter().map(|bytes| bytes.load(Relaxed)).sum()
    }

    fn report(&self) -> String {
        let budget = self.memory.budget();
        let live = match self.pauses.load(Relaxed) {
            0 => "never collected".to_string(),
            collections => format!("{} live at the last of {collections} collections", self.live_bytes()),
        };
        let mut text = format!(
            "plan {}: {} of {} bytes reserved, {} resident, {live}\n",
            self.plan.name(),
            budget.reserved(),
            budget.limit(),
            budget.resident(),
        );
        for space in self.plan.spaces() {
            let _ = writeln!(text, "  {:<12} {:>14} bytes reserved", space.name(), space.reserved_bytes());
        }
        self.memory.refusals().report(&mut text);
        text
    }
}

impl<VM: VMBinding> Quiet for HeapInner<VM> {
    fn collect_while_idle(self: Arc<Self>) {
        self.collect(None, Cause::Idle);
    }

    fn look_around(&self) {
        self.steering.look_around();
        self.tell_if_due();
    }
}

impl<VM: VMBinding> Drop for HeapInner<VM> {
    fn drop(&mut self) {
        let tell = || self.tell(&Event::HeapDropped);
        if std::thread::panicking() {
            // A listener that panics once more would end the process.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(tell));
        } else {
            tell();
        }
    }
}
