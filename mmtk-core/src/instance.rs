//! A heap as a value: a VM, a plan, memory, mutators.
//!
//! Nothing is global: two heaps of two VMs live in one process. The last handle or mutator to go unmaps the memory.

use crate::address::{Address, ObjectReference};
use crate::alloc::{Allocators, Mutator, MutatorState};
use crate::binding::{OutOfMemory, VMBinding};
use crate::cycle::{Cycle, CyclePhase};
use crate::events::{Cause, CollectionKind, Event, Listener, Listeners, Paced, PauseReport, SpaceReport};
use crate::heap::os::thread_cpu_ns;
use crate::heap::{BLOCK_BYTES, Budget, Extent, Memory};
use crate::idle::{Allocated, Ended, Idle, Quiet};
use crate::introspect::ambiguous_roots;
use crate::metadata::ObjectStates;
use crate::nursery::{Collected, Nursery, NurseryConfig};
use crate::options::{OptionError, Options, When};
use crate::pause::{MutatorRef, Pause};
use crate::pin::{Moving, PinnedForPause};
use crate::plan::{HeapError, Plan, PlanContext};
use crate::safepoint::{Safepoint, Stop, Stoppable, ThreadState};
use crate::space::Space;
use crate::steering::{FullCollection, Steering};
use crate::sync::Mutex;
use crate::verify;
use crate::vm_space::VmSpace;
use crate::weak::WeakTables;
use crate::workers::Gang;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Instant;

impl<VM: VMBinding> Stoppable for MutatorRef<VM> {
    fn state(&self) -> &ThreadState {
        // SAFETY: an entry of the registry points to an attached mutator's state, which lives until it is detached; the state
        // word is atomic.
        unsafe { &*self.0 }.thread()
    }
}

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
    pub(crate) solo: Gang,
    cycle: Cycle,
    pub(crate) steering: Steering,
    pub(crate) idle: Idle,
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
    /// What it last decided: bytes that may be allocated before the next; `usize::MAX` for none. Written in pauses.
    nursery_bytes: AtomicUsize,
    /// Objects outside the heap.
    pub(crate) vm_space: VmSpace,
    /// Native references, finalizers, tables keyed by objects.
    pub(crate) weak: WeakTables,
    /// What threads that detached had noted in their barriers.
    remembered: Mutex<Vec<ObjectReference>>,
    gc_cpu_ns: AtomicU64,
    live_bytes: AtomicUsize,
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
        let starts_in =
            plan.spaces().into_iter().filter(|space| space.keeps_starts()).map(|space| space.extent()).collect();
        let weak = WeakTables::new(plan.is_generational(), &memory);
        let nursery = plan.is_generational().then(|| Nursery::new(nursery, steering.goal()));
        Ok(Heap(Arc::new_cyclic(|me: &Weak<HeapInner<VM>>| HeapInner {
            vm,
            idle: Idle::new(me.clone(), memory.clone(), allocated.clone()),
            gang: Gang::new(options.gc_workers, "gc"),
            solo: Gang::new(1, "gc"),
            yield_seed: AtomicU64::new(options.stress_seed),
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
            remembered: Mutex::default(),
            nursery_bytes: AtomicUsize::new(nursery.as_ref().map_or(usize::MAX, Nursery::trigger_bytes)),
            nursery: nursery.map(Mutex::new),
            gc_cpu_ns: AtomicU64::new(0),
            live_bytes: AtomicUsize::new(0),
            history: Mutex::default(),
        })))
    }

    /// Makes the calling thread a mutator. Waits if a pause is in progress.
    ///
    /// A thread may be a mutator of several heaps. It is then running in all of them: while it waits in one for a pause, it
    /// holds up the others, and two threads that do so crosswise would wait for ever. Work in one heap inside the
    /// [`Mutator::native`] regions of the others.
    pub fn attach(&self, local: VM::Local) -> Mutator<VM> {
        let state = MutatorState::new(self.0.clone(), local);
        let arm = || state.arm_barrier(self.0.nursery_bytes.load(Relaxed) != usize::MAX);
        self.0.safepoint.attach(MutatorRef(&*state), arm);
        self.0.attend_when_idle();
        Mutator::from_state(state)
    }

    /// Collects now, from a thread that is not a mutator of this heap (a mutator calls [`Mutator::collect`]).
    pub fn collect(&self) {
        self.0.collect(None, Cause::Requested);
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
    pub fn tuned(&self) -> Options {
        self.0.steering.options()
    }

    /// The plan's name.
    pub fn plan_name(&self) -> &'static str {
        self.0.plan.name()
    }

    /// Adds a listener, which is told first that the heap exists.
    pub fn listen(&self, mut listener: Box<dyn Listener>) {
        listener.on_event(&Event::HeapCreated {
            plan: self.0.plan.name(),
            limit_bytes: self.0.memory.budget().limit(),
            workers: self.0.gang.size(),
        });
        self.0.listeners.add(listener);
    }

    /// The VM's memory outside the heap, which its objects keep, grew or shrank by so many bytes. It counts as live: the goal leaves
    /// room in proportion to it, and a heap whose objects keep much of it is collected sooner. The limit is the heap's alone.
    /// From any thread, at any time.
    pub fn adjust_external(&self, bytes: isize) {
        self.0.steering.adjust_external(bytes);
    }

    /// Changes options of a running heap: those of the pacer, and when memory goes back to the system. `change` gets the options in force, and may set
    /// them by field or by text. The goal follows at once. From any thread, at any time.
    ///
    /// # Errors
    /// What `change` says, a value that is refused, or an option that cannot change; nothing has changed then.
    pub fn retune(&self, change: impl FnOnce(&mut Options) -> Result<(), OptionError>) -> Result<(), OptionError> {
        self.0.steering.retune(change)?;
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
            live_bytes: self.0.live_bytes.load(Relaxed),
            external_bytes: self.0.steering.external(),
            goal_bytes: self.0.steering.goal(),
            limit_bytes: budget.limit(),
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
    /// The slow path of allocation: `attempt`, and the collections it takes. The attempt may be made in a pause that this thread leads.
    pub(crate) fn allocate(
        self: &Arc<Self>,
        me: &MutatorState<VM>,
        bytes: usize,
        mut attempt: impl FnMut(&mut Allocators) -> Option<Address>,
    ) -> Result<Address, OutOfMemory> {
        // SAFETY: the caller is the owner of the mutator and runs; the borrow is not used across a pause.
        let allocators = || unsafe { MutatorState::allocators_of_stopped(me) };
        if self.options.stress_yield {
            self.yield_at_random();
        }
        if me.thread().should_stop() {
            me.where_it_may_stop(|| self.safepoint.park(me.thread()));
        }
        self.flush_allocated(allocators());
        // A minor collection may leave so much that a full one is due after all.
        for _ in 0..2 {
            // Threads that cross the goal together want one collection, not one each.
            let seen = self.pauses.load(Relaxed);
            let Some(cause) = self.wants_collection(bytes) else { break };
            me.where_it_may_stop(|| self.collect_unless_done(Some(me), cause, Some(seen), |_| ()));
        }
        let limit = self.memory.budget().limit();
        // What can never fit is refused before anything is collected for it.
        let mut attempts = if bytes <= limit { 0 } else { MAX_ATTEMPTS };
        while attempts < MAX_ATTEMPTS {
            if let Some(address) = attempt(allocators()) {
                return Ok(address);
            }
            if !self.plan.can_collect() {
                break;
            }
            // One ordinary collection, then ever harder ones as long as they free anything. The leader allocates before the
            // others resume: else they could take all that was freed, and it would report a full heap that is not. Who only
            // took part in a pause knows nothing about the room it left, and tries again.
            let seen = self.pauses.load(Relaxed);
            let cause = if attempts == 0 { Cause::HeapFull } else { Cause::Emergency };
            let led = me.where_it_may_stop(|| {
                self.collect_unless_done(Some(me), cause, Some(seen), |report| {
                    let freed = report.reserved_before_bytes.saturating_sub(report.reserved_after_bytes);
                    attempt(allocators()).ok_or((report.kind, freed))
                })
            });
            match led {
                Some(Ok(address)) => return Ok(address),
                // Nothing was allocated since, so the next is a full one.
                Some(Err((CollectionKind::Minor, _))) => (),
                Some(Err((_, freed))) if attempts >= 2 && freed < BLOCK_BYTES => attempts = MAX_ATTEMPTS,
                Some(Err(_)) => attempts += 1,
                None => (),
            }
        }
        Err(self.out_of_memory(bytes))
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

    /// There is no room for so many bytes: tells the listeners.
    pub(crate) fn out_of_memory(&self, requested: usize) -> OutOfMemory {
        let budget: &Budget = self.memory.budget();
        let (reserved, limit) = (budget.reserved(), budget.limit());
        self.listeners.emit(&Event::OutOfMemory {
            requested_bytes: requested,
            reserved_bytes: reserved,
            limit_bytes: limit,
        });
        OutOfMemory { requested, reserved, limit, report: self.report() }
    }

    /// Lets other threads in between, about every fourth time (a stress option). The sequence depends on the seed alone; which
    /// thread draws which number is up to the system.
    #[cold]
    fn yield_at_random(&self) {
        // SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): any thread can draw the next number with one addition.
        let mut bits = self.yield_seed.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        if (bits ^ bits >> 31).is_multiple_of(4) {
            std::thread::yield_now();
        }
    }

    fn flush_allocated(&self, allocators: &mut Allocators) {
        let bytes = std::mem::take(&mut allocators.allocated);
        if bytes > 0 {
            self.allocated.since_pause.fetch_add(bytes, Relaxed);
        }
    }

    /// Why to collect before so many bytes are allocated.
    fn wants_collection(&self, bytes: usize) -> Option<Cause> {
        let stress = self.options.stress_bytes;
        if !self.plan.can_collect() {
            return None;
        }
        if stress != 0 && self.allocated.since_pause.load(Relaxed) >= stress {
            return Some(Cause::Stress);
        }
        if self.allocated.since_pause.load(Relaxed) >= self.nursery_bytes.load(Relaxed) {
            return Some(Cause::Nursery);
        }
        let reserved = self.memory.budget().reserved();
        self.steering.reached(reserved, self.allocated.since_full(), bytes).then_some(Cause::Growth)
    }

    fn minor_collections_pay(&self) -> bool {
        self.nursery_bytes.load(Relaxed) != usize::MAX
    }

    /// What a collection for this cause may free. A heap that is full calls for a full collection if little was allocated: what was
    /// promoted has then left so little room that minor ones no longer pay.
    fn kind_for(&self, cause: Cause) -> CollectionKind {
        let full_is_due = |every| {
            let every = if self.options.stress_full_every > 0 { self.options.stress_full_every } else { every };
            every > 0 && (self.pauses.load(Relaxed) + 1).is_multiple_of(every)
        };
        let minor = self.minor_collections_pay()
            && match cause {
                Cause::Nursery => !full_is_due(0),
                Cause::HeapFull => self.allocated.since_pause.load(Relaxed) > self.nursery_bytes.load(Relaxed) / 2,
                Cause::Stress => !full_is_due(STRESS_FULL_EVERY),
                Cause::Requested | Cause::Emergency | Cause::Growth | Cause::Idle => false,
            };
        if minor { CollectionKind::Minor } else { CollectionKind::Full }
    }

    /// A thread that detaches leaves what its barrier noted.
    pub(crate) fn keep_remembered(&self, noted: Vec<ObjectReference>) {
        if !noted.is_empty() {
            self.remembered.lock().extend(noted);
        }
    }

    /// What the barriers noted since the last pause. Only the leader.
    fn take_remembered(&self, mutators: &[MutatorRef<VM>]) -> Vec<Vec<ObjectReference>> {
        let detached = std::mem::take(&mut *self.remembered.lock());
        // SAFETY: the mutators are stopped, and only the leader runs.
        let attached = mutators.iter().map(|mutator| unsafe { MutatorState::remembered_of_stopped(mutator.0) });
        attached.chain([detached]).collect()
    }

    pub(crate) fn retire(&self, allocators: &mut Allocators) {
        self.flush_allocated(allocators);
        if self.options.verify {
            self.history.lock().unused(allocators);
        }
        self.plan.retire(allocators);
        allocators.clear();
    }

    /// Collects; the caller leads, or takes part in the pause that another thread leads.
    pub(crate) fn collect(self: &Arc<Self>, me: Option<&MutatorState<VM>>, cause: Cause) {
        self.collect_unless_done(me, cause, None, |_| ());
    }

    /// Collects, unless another thread did since `seen` pauses: then none. Runs `last` before the mutators resume.
    fn collect_unless_done<R>(
        self: &Arc<Self>,
        me: Option<&MutatorState<VM>>,
        cause: Cause,
        seen: Option<u64>,
        last: impl FnOnce(&PauseReport) -> R,
    ) -> Option<R> {
        if !self.plan.can_collect() {
            return None;
        }
        let requested = Instant::now();
        if self.safepoint.stop_all(me.map(MutatorState::thread)) == Stop::Followed {
            return None;
        }
        if seen.is_some_and(|seen| seen != self.pauses.load(Relaxed)) {
            self.safepoint.resume_all();
            return None;
        }
        let unfinished = Unfinished(&self.safepoint);
        let (report, paced) = self.lead(me, cause, requested);
        let result = last(&report);
        std::mem::forget(unfinished);
        if self.listeners.is_empty() {
            self.safepoint.resume_all();
        } else {
            self.listeners.emit_in_order(|| {
                self.safepoint.resume_all();
                let duration_ns = requested.elapsed().as_nanos() as u64;
                let pause = Event::Pause(Box::new(PauseReport { duration_ns, ..report }));
                [pause].into_iter().chain(paced.map(|paced| Event::Paced(Box::new(paced))))
            });
        }
        Some(result)
    }

    /// Runs `f` with all mutators stopped but the caller.
    pub(crate) fn while_stopped<R>(&self, me: Option<&MutatorState<VM>>, f: impl FnOnce(&dyn Plan<VM>) -> R) -> R {
        // Whoever takes part in the pause of another thread tries again.
        while self.safepoint.stop_all(me.map(MutatorState::thread)) == Stop::Followed {}
        let unfinished = Unfinished(&self.safepoint);
        let result = f(&*self.plan);
        std::mem::forget(unfinished);
        self.safepoint.resume_all();
        result
    }

    /// The pause, from stopped mutators to just before they resume.
    fn lead(
        self: &Arc<Self>,
        me: Option<&MutatorState<VM>>,
        cause: Cause,
        requested: Instant,
    ) -> (PauseReport, Option<Paced>) {
        self.cycle.enter(CyclePhase::Stopping);
        let time_to_safepoint_ns = requested.elapsed().as_nanos() as u64;
        let cpu_before = thread_cpu_ns();
        let budget = self.memory.budget();
        let reserved_before_bytes = budget.reserved();
        let mutators: Vec<MutatorRef<VM>> = self.safepoint.with_stopped(<[_]>::to_vec);
        for mutator in &mutators {
            // SAFETY: the mutator is stopped, and only the leader runs.
            let allocators = unsafe { MutatorState::allocators_of_stopped(mutator.0) };
            MutatorState::<VM>::check_cursor(allocators);
            self.retire(allocators);
        }
        let kind = self.kind_for(cause);
        let mutator_cpu_ns = match kind {
            CollectionKind::Full => mutators.iter().map(|mutator| mutator.meter().take()).sum(),
            CollectionKind::Minor => 0,
        };
        let since_full = self.allocated.since_full();
        let allocated_bytes = self.allocated.since_pause.swap(0, Relaxed);
        let mut remembered = self.take_remembered(&mutators);
        if kind == CollectionKind::Full {
            remembered.clear();
            self.weak.begin_full();
        }
        self.allocated.before.store(if kind == CollectionKind::Full { 0 } else { since_full }, Relaxed);
        let vm_objects = self.vm_space.objects();
        let mut pause = Pause {
            vm: &self.vm,
            vm_objects: &vm_objects,
            gang: &self.gang,
            solo: &self.solo,
            cycle: &self.cycle,
            options: &self.options,
            mutators: &mutators,
            created: self.created,
            phases: Vec::with_capacity(8),
            emergency: cause == Cause::Emergency,
            kind,
            minor_collections_pay: self.minor_collections_pay(),
            states: self.states,
            weak: &self.weak,
            ambiguous: ambiguous_roots(&self.vm, &*self.plan, &mutators),
            remembered,
            released: Vec::new(),
            allocated_bytes: if kind == CollectionKind::Full { since_full } else { allocated_bytes },
            defragmented: false,
            round: 0,
            live_bytes: 0,
            live_objects: 0,
            copied_bytes: 0,
        };
        if self.options.verify {
            verify::before_collection(&mut pause, &*self.plan, &mut self.history.lock());
        }
        let pinned = PinnedForPause::begin(&self.vm, self.states, &self.moving, &pause.ambiguous);
        self.plan.collect(&mut pause);
        pinned.end();
        if self.options.verify {
            verify::after_collection(&mut pause, &*self.plan, &mut self.history.lock());
        }
        self.vm.pause_ends();
        assert!(budget.reserved() <= budget.limit(), "the hard limit was exceeded");
        // A minor collection found only what was promoted; what was live before is taken for live still.
        let live_bytes = match kind {
            CollectionKind::Full => {
                self.fulls.fetch_add(1, Relaxed);
                pause.live_bytes
            }
            CollectionKind::Minor => self.live_bytes.load(Relaxed) + pause.live_bytes,
        };
        self.live_bytes.store(live_bytes, Relaxed);
        self.cycle.enter(CyclePhase::Idle);
        let sequence = self.pauses.fetch_add(1, Relaxed);
        let mut worker_cpu_ns = self.gang.take_cpu_ns();
        worker_cpu_ns[0] = thread_cpu_ns() - cpu_before;
        let cpu_ns = worker_cpu_ns.iter().sum();
        self.gc_cpu_ns.fetch_add(cpu_ns, Relaxed);
        if let Some(me) = me {
            me.meter().skip(worker_cpu_ns[0]);
        }
        let paced = match kind {
            CollectionKind::Minor => {
                self.steering.minor_ended(cpu_ns);
                None
            }
            CollectionKind::Full => {
                let paced = self.steering.full_ended(&FullCollection {
                    sequence,
                    end_ns: self.created.elapsed().as_nanos() as u64,
                    cause,
                    live_bytes,
                    allocated_bytes: pause.allocated_bytes,
                    reserved_before_bytes,
                    reserved_after_bytes: budget.reserved(),
                    cpu_ns,
                    pause_ns: requested.elapsed().as_nanos() as u64,
                    time_to_safepoint_ns,
                    mutator_cpu_ns,
                });
                if paced.gave_up {
                    self.vm.limit_exceeded(&self.report());
                }
                Some(paced)
            }
        };
        self.return_memory(kind, since_full);
        if let Some(nursery) = &self.nursery {
            let mut nursery = nursery.lock();
            let ended = Collected {
                allocated: allocated_bytes,
                traced: pause.live_bytes,
                cpu_ns,
                pause_ns: requested.elapsed().as_nanos() as u64,
                goal: self.steering.goal(),
                fresh_ns: self.memory.touch_ns_per_byte()
                    * self.steering.goal().saturating_sub(budget.resident()) as f64,
                was_full: matches!(cause, Cause::HeapFull | Cause::Growth),
            };
            match kind {
                CollectionKind::Minor => nursery.after_minor(ended),
                CollectionKind::Full => nursery.after_full(ended),
            }
            self.nursery_bytes.store(nursery.trigger_bytes(), Relaxed);
            let armed = self.minor_collections_pay();
            mutators.iter().for_each(|mutator| mutator.arm_barrier(armed));
        }
        let spaces = if self.listeners.is_empty() {
            Vec::new()
        } else {
            let report = |s: &dyn Space| SpaceReport {
                name: s.name(),
                reserved_bytes: s.reserved_bytes(),
                live_bytes: s.live_bytes(),
            };
            self.plan.spaces().into_iter().map(report).collect()
        };
        let report = PauseReport {
            sequence,
            cause,
            kind,
            start_ns: (requested - self.created).as_nanos() as u64,
            time_to_safepoint_ns,
            duration_ns: 0,
            cpu_ns,
            worker_cpu_ns,
            phases: pause.phases,
            reserved_before_bytes,
            reserved_after_bytes: budget.reserved(),
            live_bytes,
            goal_bytes: self.steering.goal(),
            resident_bytes: budget.resident(),
            limit_bytes: budget.limit(),
            allocated_bytes,
            spaces,
            defrag: pause.defragmented,
            emergency: pause.emergency,
        };
        (report, paced)
    }

    /// Gives freed memory back to the system: all of it, what was not needed for a while, or nothing. `allocated`: since the last full
    /// collection.
    fn return_memory(&self, kind: CollectionKind, allocated: usize) {
        let (when, delays) = self.steering.idling();
        if when == When::Always {
            self.memory.give_back(usize::MAX);
        }
        if kind == CollectionKind::Full {
            let (live, goal) = (self.live_bytes.load(Relaxed), self.steering.goal());
            self.idle.collected(&Ended { live, goal, allocated }, delays);
        }
        self.idle.join_pages();
    }

    /// Sees to it that somebody looks after the heap while its program is quiet, if there is something to be done then.
    pub(crate) fn attend_when_idle(&self) {
        let (_, delays) = self.steering.idling();
        if self.plan.can_collect() {
            self.idle.attend(delays);
        }
    }

    fn report(&self) -> String {
        let budget = self.memory.budget();
        let mut text = format!(
            "plan {}: {} of {} bytes reserved, {} resident, {} live at the last of {} collections\n",
            self.plan.name(),
            budget.reserved(),
            budget.limit(),
            budget.resident(),
            self.live_bytes.load(Relaxed),
            self.pauses.load(Relaxed),
        );
        for space in self.plan.spaces() {
            let _ = writeln!(text, "  {:<12} {:>14} bytes reserved", space.name(), space.reserved_bytes());
        }
        text
    }
}

impl<VM: VMBinding> Quiet for HeapInner<VM> {
    fn collect_while_idle(self: Arc<Self>) {
        self.collect(None, Cause::Idle);
    }

    fn look_around(&self) {
        self.steering.look_around();
    }
}

/// Lives while a pause is led; dropped only if the leader unwinds, which leaves the heap in doubt.
pub(crate) struct Unfinished<'a, VM: VMBinding>(pub(crate) &'a Safepoint<MutatorRef<VM>>);

impl<VM: VMBinding> Drop for Unfinished<'_, VM> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// Collections that one allocation may cause before it is refused: emergency collections compact step by step.
const MAX_ATTEMPTS: usize = 20;

/// Of the collections that `stress.every_bytes` asks for, every so manieth is a full one, unless `stress.full_every` says otherwise.
const STRESS_FULL_EVERY: u64 = 4;

impl<VM: VMBinding> Drop for HeapInner<VM> {
    fn drop(&mut self) {
        self.listeners.emit(&Event::HeapDropped);
    }
}
