//! A collection from the view of the thread that asks for it: it stops the others, leads the pause, and tells
//! pacer, nursery and listeners the result.

use super::collector::Collector;
use super::ended::{Bytes, CollectionEnded, Times, Work};
use super::late::Late;
use crate::address::ObjectReference;
use crate::alloc::{Allocators, MutatorRef, ThreadPart};
use crate::binding::VMBinding;
use crate::callback::Callback;
use crate::events::{
    Cause, CollectionKind, Event, HeldBy, MarkingReport, Paced, PauseReport, PauseStep, Phase, SpaceReport, Ticked,
};
use crate::memory::{List, Why};
use crate::metadata::Remembered;
use crate::options::When;
use crate::os::{self, PageVec, thread_cpu_ns};
use crate::pause::{Found, Pause, PausePhase, PinnedForPause, ambiguous_roots};
use crate::plan::Plan;
use crate::space::{Space, Spaces};
use protocols::safepoint::Stop;
use std::sync::Arc;
use std::time::Instant;

/// Room for what a thread's barrier notes that is kept from one pause to the next.
const KEPT_NOTES: usize = 4096;

impl<VM: VMBinding> Collector<VM> {
    /// Collects; the caller leads, or takes part in the pause that another thread leads.
    pub(crate) fn collect(self: &Arc<Self>, me: Option<&ThreadPart<VM>>, cause: Cause) {
        match me {
            Some(mutator) => self.in_one_go(mutator, || self.collect_and_sweep(me, cause)),
            None => self.collect_and_sweep(me, cause),
        }
    }

    fn collect_and_sweep(self: &Arc<Self>, me: Option<&ThreadPart<VM>>, cause: Cause) {
        // A marking in progress keeps what has died since it began. So its end is not enough: a whole
        // collection follows. A thread that took part in the pause of another does not know what that did.
        let ends_marking = || self.collect_unless_done(me, cause, None, |ended| ended.marking.is_some());
        while ends_marking().unwrap_or(self.marks_beside) {}
        if cause == Cause::Requested {
            // Who asks for a collection expects that it has freed what it can.
            self.sweep_all(me);
        }
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
        let held_up = || me.map_or((), |me| self.held_up(me, HeldBy::Pause, self.since(requested)));
        if self.stop(me) == Stop::Followed {
            held_up();
            return None;
        }
        if seen.is_some_and(|seen| seen != self.pauses.ended()) {
            self.resume_all();
            held_up();
            return None;
        }
        let unfinished = self.led_by(me);
        let inside = self.call(Callback::Pause);
        let Led { ended, details, paced, ticks } = self.lead(me, cause, requested);
        let result = last(&ended);
        drop(inside);
        std::mem::forget(unfinished);
        self.resume_and_tell(|| {
            let ended = ended.after(nanos_since(requested));
            held_up();
            let pause = Event::Pause(Box::new(details.report(&ended)));
            let ticks = ticks.into_iter().map(|tick| Event::Ticked(Box::new(tick)));
            [pause].into_iter().chain(ticks).chain(paced.map(|paced| Event::Paced(Box::new(paced))))
        });
        Some(result)
    }

    /// The leader lets all go on, and tells the listeners of its pause, if there are any.
    pub(super) fn resume_and_tell<E: IntoIterator<Item = Event>>(&self, events: impl FnOnce() -> E) {
        let resume = || {
            self.resume_all();
            self.go_on_beside();
        };
        if self.watch.listeners().is_empty() {
            return resume();
        }
        let _inside = self.call(Callback::Listener);
        self.watch.listeners().emit_in_order(|| {
            resume();
            events()
        });
    }

    /// Before mutators are asked to stop: what a pause may not do, since a thread that has stopped may hold
    /// the lock of `malloc`. Helpers are started, and files of the system are read.
    pub(super) fn get_ready(&self) {
        self.pacing.goal().look_at_machine();
        self.helpers.get_ready(self.memory().budget().resident());
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
        self.go_on_beside();
        result
    }

    /// All mutators have stopped, and the caller leads.
    pub(crate) fn led_by(&self, me: Option<&ThreadPart<VM>>) -> Unfinished<'_, VM> {
        self.pauses.led_by(me.map_or_else(os::thread_id, ThreadPart::owner_id));
        Unfinished(self)
    }

    /// Stops all mutators but the caller, which then leads, and every step of a marking; or takes part in the
    /// pause of another thread.
    pub(super) fn stop(&self, me: Option<&ThreadPart<VM>>) -> Stop {
        let stop = self.safepoint.stop_all(me.map(ThreadPart::thread), &mut Late::new(self));
        if stop == Stop::Leader && self.marks_beside {
            self.marking.close();
        }
        stop
    }

    /// The leader lets all mutators go on, and the steps of a marking.
    pub(crate) fn resume_all(&self) {
        if self.marks_beside {
            self.marking.open();
        }
        self.pauses.leader_gone();
        self.safepoint.resume_all();
    }

    /// Stops all mutators but the caller, which leads. A caller that took part in the pause of another thread
    /// tries again.
    pub(crate) fn stop_and_lead(&self, me: Option<&ThreadPart<VM>>) {
        while self.stop(me) == Stop::Followed {}
        self.end_sweep();
    }

    /// Sweeps what the collection before has left: nothing else is done in a pause before. The leader takes
    /// what no other thread has at hand. When it began, if there was anything.
    pub(super) fn end_sweep(&self) -> Option<Instant> {
        if self.sweeping.is_over() {
            return None;
        }
        let start = Instant::now();
        while self.sweeping.sweep_unit() {}
        self.sweeping.wait();
        Some(start)
    }

    /// Mutators run again: if the pause has left anything, the background thread sweeps it; and it goes on
    /// with a marking in progress.
    pub(super) fn go_on_beside(&self) {
        self.marking.forget();
        if !self.sweeping.is_over() {
            self.background.sweep();
        }
        if self.marking.is_in_progress() {
            self.mark_beside();
        }
    }

    /// Sweeps what the last collection has left, until nothing is left or another collection has begun anew.
    fn sweep_all(&self, me: Option<&ThreadPart<VM>>) {
        let collections = self.pauses.ended();
        while self.pauses.ended() == collections && self.sweep_some(me) {}
    }

    /// Sweeps a unit of what the last collection has left, or waits for those that others have at hand.
    /// Whether there was anything: then there may be free memory where there was none.
    pub(super) fn sweep_some(&self, me: Option<&ThreadPart<VM>>) -> bool {
        if self.sweeping.is_over() {
            return false;
        }
        self.may_yield();
        // In a pause that the mutator leads, that is what holds it up.
        let since = self.clock().filter(|_| self.pauses.in_progress().is_none());
        match (self.sweeping.sweep_unit_beside(), me) {
            (Some(cpu_ns), Some(me)) => {
                me.meter().skip(cpu_ns);
                self.held_up(me, HeldBy::Sweep, since);
            }
            (Some(_), None) => (),
            (None, Some(me)) => {
                self.sweeping.wait();
                self.held_up(me, HeldBy::Wait, since);
            }
            // The next pause may leave more meanwhile, and nobody may come to sweep that.
            (None, None) => std::thread::yield_now(),
        }
        true
    }

    /// The pause, from stopped mutators to just before they resume.
    fn lead(self: &Arc<Self>, me: Option<&ThreadPart<VM>>, cause: Cause, requested: Instant) -> Led<'_> {
        self.pauses.phase().enter(PausePhase::Stopping);
        let to_safepoint = nanos_since(requested);
        let cpu_before = thread_cpu_ns();
        let ended_sweep = self.end_sweep().map(|start| self.pauses.phase_since("end sweep", start));
        let (reserved_before, goal_before) = (self.memory().budget().reserved(), self.pacing.goal().bytes());
        let mutators = self.retire_stopped();
        let ends = self.marking.is_in_progress();
        let kind = self.pacing.kind_for(cause, self.pauses.next());
        self.helpers.allow(kind);
        let mutator_cpu = match kind {
            CollectionKind::Full => mutators.iter().map(|mutator| mutator.meter().take()).sum(),
            CollectionKind::Minor => 0,
        };
        let allocated = self.pacing.begin(kind);
        let vm_objects = self.store.vm_space().objects();
        let spaces = self.plan.spaces();
        let stopped = StoppedHeap { spaces: &spaces, vm_objects: &vm_objects, mutators: &mutators };
        let mut pause = self.pause(stopped, kind);
        pause.phases.extend(ended_sweep);
        pause.emergency = cause == Cause::Emergency;
        pause.allocated_bytes = allocated.since_no_less(kind);
        pause.remembered = self.take_remembered(&mutators, kind);
        match ends {
            true => pause.marking = Some(self.marking.take(self.take_noted(&mutators))),
            false => pause.ambiguous = ambiguous_roots(&*self.vm, &spaces, self.memory().arena(), &mutators),
        }
        self.run_plan(&mut pause);
        let marking = pause.marking.take().map(|of_pause| self.end_marking(of_pause, &mutators));
        let worker_cpu_ns = self.take_cpu_time(me, thread_cpu_ns() - cpu_before);
        self.sweeping.begin();
        let found = &pause.found;
        let gc_cpu = worker_cpu_ns.iter().sum();
        let (sequence, live) = self.pauses.collected(kind, found.live_bytes_by_space(), gc_cpu);
        let ended = CollectionEnded {
            sequence,
            cause,
            kind,
            emergency: pause.emergency,
            defragmented: found.defragmented(),
            marking,
            times: Times { requested: self.pauses.at_ns(requested), to_safepoint, pause: nanos_since(requested) },
            work: Work {
                gc_cpu,
                beside_cpu: match kind {
                    CollectionKind::Full => {
                        self.sweeping.take_recent_cpu_ns() + marking.map_or(0, |marking| marking.cpu_ns)
                    }
                    CollectionKind::Minor => 0,
                },
                helped: worker_cpu_ns[1..].iter().any(|ns| *ns > 0),
                mutator_cpu,
                objects: found.traced_objects(),
            },
            bytes: Bytes {
                reserved_before,
                reserved_after: self.memory().budget().reserved().saturating_sub(self.sweeping.bytes()),
                goal_before,
                traced: found.live_bytes(),
                live,
                allocated,
            },
        };
        self.helpers.ended(&ended);
        let paced = self.steer(&ended);
        let ticks = self.pacing.goal().take_ticks(sequence);
        let goal = self.pacing.goal().bytes();
        self.return_memory(&ended, goal);
        // To return memory takes time, and the nursery has a goal for the whole pause.
        self.size_nursery(&ended.after(nanos_since(requested)), goal, &mutators);
        let details = self.details(worker_cpu_ns, &pause);
        Led { ended, details, paced, ticks }
    }

    /// What the plan sees of a pause, before anything is known of what it is for.
    pub(super) fn pause<'a>(&'a self, stopped: StoppedHeap<'a, VM>, kind: CollectionKind) -> Pause<'a, VM> {
        let arena = self.memory().arena();
        Pause {
            vm: &*self.vm,
            spaces: stopped.spaces,
            vm_objects: stopped.vm_objects,
            gang: self.helpers.gang(),
            solo: self.helpers.solo(),
            phase: self.pauses.phase(),
            options: &self.options,
            mutators: stopped.mutators,
            created: self.pauses.heap_created(),
            arena,
            phases: arena.list(),
            emergency: false,
            kind,
            minor_collections_pay: self.pacing.nursery().pays(),
            states: self.store.states(),
            weak: self.store.weak(),
            ambiguous: arena.list(),
            remembered: arena.list(),
            released: arena.list(),
            allocated_bytes: 0,
            keeps_free: self.pacing.goal().keeps_free(),
            sweeps_now: false,
            found: Found::default(),
            marking: None,
        }
    }

    /// Takes the ranges of stopped mutators from them, and those that others left. Only the leader, as all
    /// that follows.
    pub(super) fn retire_stopped(&self) -> List<'_, MutatorRef<VM>> {
        let arena = self.memory().arena();
        let mutators = self.safepoint.with_stopped(|mutators| arena.collect(mutators.iter().copied()));
        for mutator in &mutators {
            // SAFETY: the mutator is stopped, and only the leader runs.
            let (allocators, requested) =
                unsafe { (ThreadPart::allocators_of_stopped(mutator.0), ThreadPart::requested_of_stopped(mutator.0)) };
            ThreadPart::<VM>::check_cursor(allocators);
            self.retire(allocators);
            self.watch.keep_requested(requested);
        }
        Allocators::give_up(self.store.leftovers(), |allocators| self.retire(allocators));
        mutators
    }

    /// The collection itself, and the verifier's word on it.
    fn run_plan(&self, pause: &mut Pause<'_, VM>) {
        if pause.kind == CollectionKind::Full {
            self.store.weak().begin_full();
        }
        self.watch.verified(self.pauses.ended(), &*self.plan, self.memory().whole(), pause, |pause| {
            let (states, moving) = (self.store.states(), self.store.moving());
            let pinned = PinnedForPause::begin(&*self.vm, states, moving, &pause.ambiguous, pause.arena);
            match (&pause.marking, self.plan.beside()) {
                (Some(_), Some(beside)) => beside.end(pause),
                _ => self.plan.collect(pause),
            }
            pinned.end();
        });
        self.vm.pause_ends();
        let budget = self.memory().budget();
        assert!(budget.reserved() <= budget.limit(), "the hard limit was exceeded");
    }

    /// The processor time of each worker, the first of which is the leader. A mutator that led is not charged
    /// for it.
    pub(super) fn take_cpu_time(&self, me: Option<&ThreadPart<VM>>, leader_ns: u64) -> List<'_, u64> {
        let mut worker_cpu_ns = self.memory().arena().collect(self.helpers.gang().take_cpu_ns());
        worker_cpu_ns[0] = leader_ns;
        if let Some(me) = me {
            me.meter().skip(leader_ns);
        }
        worker_cpu_ns
    }

    /// Tells the pacer. Returns what it decided, after a full collection.
    fn steer(&self, ended: &CollectionEnded) -> Option<Paced> {
        let paced = self.pacing.ended(ended)?;
        if paced.gave_up {
            let mut report = self.memory().arena().text();
            // A text takes whatever is written to it.
            let _ = self.write_report(&mut report);
            self.vm.limit_exceeded(&report);
        }
        Some(paced)
    }

    /// In a generational plan: when the next minor collection is due, in a heap that is full at `goal` bytes
    /// now. Barriers are armed if there will be one.
    fn size_nursery(&self, ended: &CollectionEnded, goal: usize, mutators: &[MutatorRef<VM>]) {
        let fresh_bytes = goal.saturating_sub(self.memory().budget().resident());
        let nursery = self.pacing.nursery();
        if nursery.ended(ended, goal, self.memory().touch_ns_per_byte() * fresh_bytes as f64) {
            let armed = self.armed();
            mutators.iter().for_each(|mutator| mutator.arm_barrier(armed));
        }
    }

    /// What listeners are told of a pause that is about to end.
    pub(super) fn details<'a>(&'a self, worker_cpu_ns: List<'a, u64>, pause: &Pause<'_, VM>) -> Details<'a> {
        Details {
            worker_cpu_ns,
            phases: self.memory().arena().collect(pause.phases.iter().cloned()),
            spaces: self.report_spaces(),
            goal: self.pacing.goal().bytes(),
            resident: self.memory().budget().resident(),
            limit: self.memory().budget().limit(),
        }
    }

    /// What lies in each space, if anybody listens.
    fn report_spaces(&self) -> List<'_, SpaceReport> {
        let arena = self.memory().arena();
        if self.watch.listeners().is_empty() {
            return arena.list();
        }
        let report = |s: &dyn Space| SpaceReport {
            name: s.name(),
            reserved_bytes: s.reserved_bytes().saturating_sub(s.unswept().map_or(0, |left| left.left().bytes())),
            live_bytes: self.pauses.live_bytes_in(s.extent()),
        };
        arena.collect(self.plan.spaces().iter().map(report))
    }

    /// A thread that detaches leaves what its barrier noted.
    pub(crate) fn keep_remembered(&self, noted: &mut PageVec<Remembered>) {
        if !noted.is_empty() {
            self.remembered.lock().append(noted);
        }
    }

    /// What the barriers noted since the last pause, as far as this collection needs it. Only the leader.
    fn take_remembered(&self, mutators: &[MutatorRef<VM>], kind: CollectionKind) -> List<'_, Remembered> {
        let mut all = self.memory().arena().list();
        let mut take = |noted: &mut PageVec<Remembered>| {
            for remembered in noted.iter() {
                if self.store.parts().take(self.store.states(), *remembered) && kind == CollectionKind::Minor {
                    all.push(*remembered);
                }
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
        let (when, delays) = self.pacing.goal().idling();
        if when == When::Always {
            self.memory().give_back(usize::MAX, Why::Unneeded);
        }
        if ended.kind == CollectionKind::Full {
            self.idle.collected(ended, goal, delays);
        }
        self.idle.join_pages();
    }
}

/// What stands still in a pause.
pub(super) struct StoppedHeap<'a, VM: VMBinding> {
    pub spaces: &'a Spaces<'a>,
    pub vm_objects: &'a [ObjectReference],
    pub mutators: &'a [MutatorRef<VM>],
}

pub(super) fn nanos_since(then: Instant) -> u64 {
    then.elapsed().as_nanos() as u64
}

/// A pause that is about to end.
struct Led<'a> {
    ended: CollectionEnded,
    details: Details<'a>,
    paced: Option<Paced>,
    /// Of the marking that it ended.
    ticks: PageVec<Ticked>,
}

/// What listeners are told besides. The lists are in the arena: what listeners get is made of them when
/// mutators run again.
pub(super) struct Details<'a> {
    pub worker_cpu_ns: List<'a, u64>,
    pub phases: List<'a, Phase>,
    pub spaces: List<'a, SpaceReport>,
    /// Bytes at the end of the pause.
    pub goal: usize,
    pub resident: usize,
    pub limit: usize,
}

impl Details<'_> {
    fn report(&self, ended: &CollectionEnded) -> PauseReport {
        let CollectionEnded { sequence, cause, kind, emergency, defragmented, marking, times, work, bytes } = *ended;
        PauseReport {
            sequence,
            cause,
            kind,
            step: if marking.is_some() { PauseStep::End } else { PauseStep::Whole },
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
            marking: marking.map(|marking| MarkingReport {
                duration_ns: times.end().saturating_sub(marking.begun.at_ns),
                cpu_ns: marking.cpu_ns,
                helped_cpu_ns: marking.helped_cpu_ns,
                bytes_beside: marking.bytes_beside,
                entries_beside: marking.entries_beside,
                entries_in_pause: marking.entries_in_pause,
                allocated_bytes: bytes.allocated.since_full.saturating_sub(marking.begun.allocated),
                barrier_calls: marking.barrier_calls,
                ticks: marking.ticks,
                rested_ns: marking.rested_ns,
            }),
        }
    }
}

/// Lives while a pause is led; dropped only if the leader unwinds, which leaves the heap in doubt.
pub(crate) struct Unfinished<'a, VM: VMBinding>(&'a Collector<VM>);

impl<VM: VMBinding> Drop for Unfinished<'_, VM> {
    fn drop(&mut self) {
        self.0.pauses.leader_gone();
        self.0.safepoint.abandon();
    }
}
