//! A collection from the view of the thread that asks for it: it stops the others, leads the pause, and tells
//! pacer, nursery and listeners the result.

use super::collector::Collector;
use super::ended::{AllocatedBytes, Bytes, CollectionEnded, Times, Work};
use super::late::Late;
use crate::address::ObjectReference;
use crate::alloc::{Allocators, MutatorRef, ThreadPart};
use crate::binding::VMBinding;
use crate::callback::Callback;
use crate::events::{Cause, CollectionKind, Event, Paced, PauseReport, Phase, SpaceReport};
use crate::memory::{EXTENTS, List, Why};
use crate::options::{WakeHelpers, When};
use crate::os::{self, PageVec, thread_cpu_ns};
use crate::pause::{Pause, PausePhase, PinnedForPause, ambiguous_roots};
use crate::plan::Plan;
use crate::space::Space;
use crate::verify;
use protocols::safepoint::Stop;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Of the collections that `stress.every_bytes` asks for, every Nth is a full one, unless `stress.full_every`
/// says otherwise.
const STRESS_FULL_EVERY: u64 = 4;

/// Bytes of a heap whose first collection may be long enough to miss helpers, so that they are started before
/// it. In a smaller one they are started before the collection that follows one that missed them.
const RESIDENT_FOR_HELPERS: usize = 16 << 20;

/// Room for what a thread's barrier notes that is kept from one pause to the next.
const KEPT_NOTES: usize = 4096;

impl<VM: VMBinding> Collector<VM> {
    /// Collects; the caller leads, or takes part in the pause that another thread leads.
    pub(crate) fn collect(self: &Arc<Self>, me: Option<&ThreadPart<VM>>, cause: Cause) {
        self.collect_unless_done(me, cause, None, |_| ());
    }

    /// Collects, unless another thread did since `seen` pauses: then none. Runs `last` before the mutators
    /// resume.
    pub(super) fn collect_unless_done<R>(
        self: &Arc<Self>,
        me: Option<&ThreadPart<VM>>,
        cause: Cause,
        seen: Option<u64>,
        last: impl FnOnce(&CollectionEnded) -> R,
    ) -> Option<R> {
        if !self.plan.can_collect() {
            return None;
        }
        self.get_ready();
        let requested = Instant::now();
        if self.safepoint.stop_all(me.map(ThreadPart::thread), &mut Late::new(self)) == Stop::Followed {
            return None;
        }
        if seen.is_some_and(|seen| seen != self.pauses.load(Relaxed)) {
            self.resume_all();
            return None;
        }
        let unfinished = self.led_by(me);
        let inside = self.call(Callback::Pause);
        let Led { ended, details, paced } = self.lead(me, cause, requested);
        let result = last(&ended);
        drop(inside);
        std::mem::forget(unfinished);
        if self.listeners.is_empty() {
            self.resume_all();
        } else {
            let _inside = self.call(Callback::Listener);
            self.listeners.emit_in_order(|| {
                self.resume_all();
                let ended = ended.after(nanos_since(requested));
                let pause = Event::Pause(Box::new(details.report(&ended)));
                [pause].into_iter().chain(paced.map(|paced| Event::Paced(Box::new(paced))))
            });
        }
        Some(result)
    }

    /// Before mutators are asked to stop: what a pause may not do, since a thread that has stopped may hold
    /// the lock of `malloc`. Helpers are started, and files of the system are read.
    fn get_ready(&self) {
        self.pacing.look_at_machine();
        let resident = self.memory.budget().resident();
        if self.options.gc_helpers == WakeHelpers::Always || resident >= RESIDENT_FOR_HELPERS {
            self.gang.start();
        } else {
            self.gang.start_if_missed();
        }
    }

    /// Runs `f` with all mutators stopped but the caller.
    pub(crate) fn while_stopped<R>(&self, me: Option<&ThreadPart<VM>>, f: impl FnOnce(&dyn Plan<VM>) -> R) -> R {
        self.stop_and_lead(me);
        let unfinished = self.led_by(me);
        let inside = self.call(Callback::Pause);
        let result = f(&*self.plan);
        drop(inside);
        std::mem::forget(unfinished);
        self.resume_all();
        result
    }

    /// All mutators have stopped, and the caller leads.
    pub(crate) fn led_by(&self, me: Option<&ThreadPart<VM>>) -> Unfinished<'_, VM> {
        self.leader_id.store(me.map_or_else(os::thread_id, ThreadPart::owner_id), Relaxed);
        Unfinished(self)
    }

    /// The leader lets all mutators go on.
    pub(crate) fn resume_all(&self) {
        self.leader_id.store(0, Relaxed);
        self.safepoint.resume_all();
    }

    /// Stops all mutators but the caller, which leads. A caller that took part in the pause of another thread
    /// tries again.
    pub(crate) fn stop_and_lead(&self, me: Option<&ThreadPart<VM>>) {
        while self.safepoint.stop_all(me.map(ThreadPart::thread), &mut Late::new(self)) == Stop::Followed {}
    }

    /// The pause, from stopped mutators to just before they resume.
    fn lead(self: &Arc<Self>, me: Option<&ThreadPart<VM>>, cause: Cause, requested: Instant) -> Led<'_> {
        self.phase.enter(PausePhase::Stopping);
        let to_safepoint = nanos_since(requested);
        let cpu_before = thread_cpu_ns();
        let (reserved_before, goal_before) = (self.memory.budget().reserved(), self.pacing.goal());
        let mutators = self.retire_stopped();
        let kind = self.kind_for(cause);
        self.allow_workers(kind);
        let mutator_cpu = match kind {
            CollectionKind::Full => mutators.iter().map(|mutator| mutator.meter().take()).sum(),
            CollectionKind::Minor => 0,
        };
        let allocated = self.take_allocated(kind);
        let vm_objects = self.vm_space.objects();
        let spaces = self.plan.spaces();
        let mut pause = Pause {
            vm: &*self.vm,
            spaces: &spaces,
            vm_objects: &vm_objects,
            gang: &self.gang,
            solo: &self.solo,
            phase: &self.phase,
            options: &self.options,
            mutators: &mutators,
            created: self.created,
            arena: self.memory.arena(),
            phases: self.memory.arena().list(),
            emergency: cause == Cause::Emergency,
            kind,
            minor_collections_pay: self.minor_collections_pay(),
            states: &self.states,
            weak: &self.weak,
            ambiguous: ambiguous_roots(&*self.vm, &spaces, self.memory.arena(), &mutators),
            remembered: self.take_remembered(&mutators, kind),
            released: self.memory.arena().list(),
            allocated_bytes: allocated.since_no_less(kind),
            defragmented: false,
            round: 0,
            live_bytes: [0; EXTENTS],
            live_objects: 0,
            traced_objects: 0,
            copied_bytes: 0,
        };
        self.run_plan(&mut pause);
        let live = self.keep_live_bytes(kind, &pause.live_bytes);
        self.phase.enter(PausePhase::Idle);
        let sequence = self.pauses.fetch_add(1, Relaxed);
        let worker_cpu_ns = self.keep_cpu_time(me, thread_cpu_ns() - cpu_before);
        let ended = CollectionEnded {
            sequence,
            cause,
            kind,
            emergency: pause.emergency,
            defragmented: pause.defragmented,
            times: Times {
                requested: (requested - self.created).as_nanos() as u64,
                to_safepoint,
                pause: nanos_since(requested),
            },
            work: Work {
                gc_cpu: worker_cpu_ns.iter().sum(),
                helped: worker_cpu_ns[1..].iter().any(|ns| *ns > 0),
                mutator_cpu,
                objects: pause.traced_objects,
            },
            bytes: Bytes {
                reserved_before,
                reserved_after: self.memory.budget().reserved(),
                goal_before,
                traced: pause.live_bytes(),
                live,
                allocated,
            },
        };
        self.worker_counts[kind as usize].lock().ended(&ended);
        let paced = self.steer(&ended);
        let goal = self.pacing.goal();
        self.return_memory(&ended, goal);
        // To return memory takes time, and the nursery has a goal for the whole pause.
        self.size_nursery(&ended.after(nanos_since(requested)), goal, &mutators);
        let details = Details {
            worker_cpu_ns,
            phases: self.memory.arena().collect(pause.phases.iter().cloned()),
            spaces: self.report_spaces(),
            goal,
            resident: self.memory.budget().resident(),
            limit: self.memory.budget().limit(),
        };
        Led { ended, details, paced }
    }

    /// Lets as many workers take part as made the last pauses shorter.
    fn allow_workers(&self, kind: CollectionKind) {
        if self.options.gc_helpers == WakeHelpers::Auto {
            self.gang.allow(self.worker_counts[kind as usize].lock().next());
        }
    }

    /// Takes the ranges of stopped mutators from them, and those that others left. Only the leader, as all
    /// that follows.
    fn retire_stopped(&self) -> List<'_, MutatorRef<VM>> {
        let arena = self.memory.arena();
        let mutators = self.safepoint.with_stopped(|mutators| arena.collect(mutators.iter().copied()));
        for mutator in &mutators {
            // SAFETY: the mutator is stopped, and only the leader runs.
            let (allocators, requested) =
                unsafe { (ThreadPart::allocators_of_stopped(mutator.0), ThreadPart::requested_of_stopped(mutator.0)) };
            ThreadPart::<VM>::check_cursor(allocators);
            self.retire(allocators);
            self.keep_requested(requested);
        }
        Allocators::give_up(&self.leftovers, |allocators| self.retire(allocators));
        mutators
    }

    /// What was allocated until now; a collection begins, and with a full one a cycle.
    fn take_allocated(&self, kind: CollectionKind) -> AllocatedBytes {
        let since_full = self.allocated.since_full();
        let since_pause = self.allocated.since_pause.swap(0, Relaxed);
        self.allocated.before.store(if kind == CollectionKind::Full { 0 } else { since_full }, Relaxed);
        AllocatedBytes { since_full, since_pause }
    }

    /// The collection itself, and the verifier's word on it.
    fn run_plan(&self, pause: &mut Pause<'_, VM>) {
        if pause.kind == CollectionKind::Full {
            self.weak.begin_full();
        }
        let verified = self.options.verify && self.pauses.load(Relaxed).is_multiple_of(self.options.verify_every);
        if verified {
            verify::before_collection(pause, &*self.plan, &mut self.history.lock());
        }
        let pinned = PinnedForPause::begin(&*self.vm, &self.states, &self.moving, &pause.ambiguous, pause.arena);
        self.plan.collect(pause);
        pinned.end();
        if verified {
            verify::after_collection(pause, &*self.plan, &mut self.history.lock());
        } else if self.options.verify {
            self.history.lock().forget();
        }
        self.vm.pause_ends();
        let budget = self.memory.budget();
        assert!(budget.reserved() <= budget.limit(), "the hard limit was exceeded");
    }

    /// Live bytes now, in all spaces; the collection found these in each. A minor one found only what was
    /// promoted; what was live before is taken for live still.
    fn keep_live_bytes(&self, kind: CollectionKind, found: &[usize; EXTENTS]) -> usize {
        for (live, found) in self.live_bytes.iter().zip(found) {
            let before = if kind == CollectionKind::Full { 0 } else { live.load(Relaxed) };
            live.store(before + found, Relaxed);
        }
        if kind == CollectionKind::Full {
            self.fulls.fetch_add(1, Relaxed);
        }
        self.live_bytes()
    }

    /// The processor time of each worker, the first of which is the leader. A mutator that led is not charged
    /// for it.
    fn keep_cpu_time(&self, me: Option<&ThreadPart<VM>>, leader_ns: u64) -> List<'_, u64> {
        let mut worker_cpu_ns = self.memory.arena().collect(self.gang.take_cpu_ns());
        worker_cpu_ns[0] = leader_ns;
        self.gc_cpu_ns.fetch_add(worker_cpu_ns.iter().sum(), Relaxed);
        if let Some(me) = me {
            me.meter().skip(leader_ns);
        }
        worker_cpu_ns
    }

    /// Tells the pacer. Returns what it decided, after a full collection.
    fn steer(&self, ended: &CollectionEnded) -> Option<Paced> {
        if ended.kind == CollectionKind::Minor {
            self.pacing.minor_ended(ended.work.gc_cpu);
            return None;
        }
        let paced = self.pacing.full_ended(ended);
        if paced.gave_up {
            let mut report = self.memory.arena().text();
            // A text takes whatever is written to it.
            let _ = self.write_report(&mut report);
            self.vm.limit_exceeded(&report);
        }
        Some(paced)
    }

    /// In a generational plan: when the next minor collection is due, in a heap that is full at `goal` bytes
    /// now. Barriers are armed if there will be one.
    fn size_nursery(&self, ended: &CollectionEnded, goal: usize, mutators: &[MutatorRef<VM>]) {
        let Some(nursery) = &self.nursery else { return };
        let mut nursery = nursery.lock();
        let fresh_bytes = goal.saturating_sub(self.memory.budget().resident());
        let sample = ended.nursery_sample(goal, self.memory.touch_ns_per_byte() * fresh_bytes as f64);
        match ended.kind {
            CollectionKind::Minor => nursery.after_minor(sample),
            CollectionKind::Full => nursery.after_full(sample),
        }
        self.nursery_bytes.store(nursery.trigger_bytes(), Relaxed);
        let armed = self.minor_collections_pay();
        mutators.iter().for_each(|mutator| mutator.arm_barrier(armed));
    }

    /// What lies in each space, if anybody listens.
    fn report_spaces(&self) -> List<'_, SpaceReport> {
        let arena = self.memory.arena();
        if self.listeners.is_empty() {
            return arena.list();
        }
        let report = |s: &dyn Space| SpaceReport {
            name: s.name(),
            reserved_bytes: s.reserved_bytes(),
            live_bytes: self.live_bytes[s.extent().number()].load(Relaxed),
        };
        arena.collect(self.plan.spaces().iter().map(report))
    }

    /// What a collection for this cause may free. A heap that is full calls for a full collection if little
    /// was allocated: what was promoted has then left so little room that minor ones no longer pay.
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
    pub(crate) fn keep_remembered(&self, noted: &mut PageVec<ObjectReference>) {
        if !noted.is_empty() {
            self.remembered.lock().append(noted);
        }
    }

    /// What the barriers noted since the last pause, as far as this collection needs it. Only the leader.
    fn take_remembered(&self, mutators: &[MutatorRef<VM>], kind: CollectionKind) -> List<'_, ObjectReference> {
        let mut all = self.memory.arena().list();
        let mut take = |noted: &mut PageVec<ObjectReference>| {
            if kind == CollectionKind::Minor {
                all.extend_from_slice(noted);
            }
            noted.clear();
            if noted.capacity() > KEPT_NOTES {
                noted.shrink_to_fit();
            }
        };
        take(&mut self.remembered.lock());
        // SAFETY: the mutators are stopped, and only the leader runs.
        mutators.iter().for_each(|mutator| take(unsafe { ThreadPart::remembered_of_stopped(mutator.0) }));
        all
    }

    /// Gives freed memory back to the system: all of it, what was not needed for a while, or nothing.
    fn return_memory(&self, ended: &CollectionEnded, goal: usize) {
        let (when, delays) = self.pacing.idling();
        if when == When::Always {
            self.memory.give_back(usize::MAX, Why::Unneeded);
        }
        if ended.kind == CollectionKind::Full {
            self.idle.collected(ended, goal, delays);
        }
        self.idle.join_pages();
    }
}

fn nanos_since(then: Instant) -> u64 {
    then.elapsed().as_nanos() as u64
}

/// A pause that is about to end.
struct Led<'a> {
    ended: CollectionEnded,
    details: Details<'a>,
    paced: Option<Paced>,
}

/// What listeners are told besides. The lists are in the arena: what listeners get is made of them when
/// mutators run again.
struct Details<'a> {
    worker_cpu_ns: List<'a, u64>,
    phases: List<'a, Phase>,
    spaces: List<'a, SpaceReport>,
    /// Bytes at the end of the pause.
    goal: usize,
    resident: usize,
    limit: usize,
}

impl Details<'_> {
    fn report(&self, ended: &CollectionEnded) -> PauseReport {
        let CollectionEnded { sequence, cause, kind, emergency, defragmented, times, work, bytes } = *ended;
        PauseReport {
            sequence,
            cause,
            kind,
            start_ns: times.requested,
            time_to_safepoint_ns: times.to_safepoint,
            duration_ns: times.pause,
            cpu_ns: work.gc_cpu,
            worker_cpu_ns: self.worker_cpu_ns.to_vec(),
            phases: self.phases.to_vec(),
            reserved_before_bytes: bytes.reserved_before,
            reserved_after_bytes: bytes.reserved_after,
            live_bytes: bytes.live,
            goal_bytes: self.goal,
            resident_bytes: self.resident,
            limit_bytes: self.limit,
            allocated_bytes: bytes.allocated.since_pause,
            spaces: self.spaces.to_vec(),
            defrag: defragmented,
            emergency,
        }
    }
}

/// Lives while a pause is led; dropped only if the leader unwinds, which leaves the heap in doubt.
pub(crate) struct Unfinished<'a, VM: VMBinding>(&'a Collector<VM>);

impl<VM: VMBinding> Drop for Unfinished<'_, VM> {
    fn drop(&mut self) {
        self.0.leader_id.store(0, Relaxed);
        self.0.safepoint.abandon();
    }
}
