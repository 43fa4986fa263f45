//! A collection beside mutators from the view of the threads that drive it: when it begins, how much mutators
//! help, and who ends it.
//!
//! 1. A mutator whose allocation reaches the trigger leads the short pause that takes the snapshot.
//! 2. The background thread marks, for its share of the time (`effort`). When the pacer says that this is not
//!    enough, and beyond the goal, a mutator that allocates pays for it in bytes to be marked: what the
//!    background thread has marked pays first, the rest the mutator marks itself, in bounded steps.
//! 3. When no object is grey, the background thread asks all mutators for what their barriers have noted, in
//!    a handshake that stops nobody. If that is nothing, it leads the pause that ends the marking
//!    (`collect`); without such a thread a mutator does. So does a thread that needs memory that is not
//!    there, or that asked for a collection: it finishes what is left in the pause.
//! 4. The sweep is left for when mutators run again, as in every full collection.
//!
//! Callers: mutators, in the slow path of allocation; the background thread.

use super::background::EndsMarking;
use super::collect::{Details, StoppedHeap, nanos_since};
use super::collector::Collector;
use super::effort::Totals;
use super::late::Late;
use super::marking::{Begun, EndedMarking, Stepped};
use crate::address::ObjectReference;
use crate::alloc::{MutatorRef, Noted, ThreadPart};
use crate::barrier::Armed;
use crate::binding::VMBinding;
use crate::callback::Callback;
use crate::events::{Cause, CollectionKind, Event, HeldBy, PauseReport, PauseStep};
use crate::memory::{BLOCK_BYTES, List};
use crate::options::Driver;
use crate::os::{process_cpu_ns, thread_cpu_ns};
use crate::pause::{OfMarking, PausePhase, ambiguous_roots};
use crate::trace::Change;
use protocols::safepoint::Stop;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

/// Objects that a mutator follows at most in one step: some tens of microseconds, if they are small.
const QUANTUM: usize = 1024;

/// More clocks of mutators are not read at a tick.
const MOST_METERS: usize = 64;

impl<VM: VMBinding> Collector<VM> {
    /// A mutator that has allocated `allocated` bytes since it was last here pays for them, before it
    /// allocates `request` more.
    pub(super) fn assist(self: &Arc<Self>, me: &ThreadPart<VM>, allocated: usize, request: usize) {
        // SAFETY: the owner, which runs; the borrow ends before it comes to a safepoint.
        let noted = unsafe { ThreadPart::noted_of_stopped(me) };
        self.marking.hand_in(noted);
        // A request that may fit between live objects may need no more memory.
        let request = if request > BLOCK_BYTES { request } else { 0 };
        let reserved = self.memory().budget().reserved().saturating_add(request);
        if self.pacing.stress_is_due() {
            return self.end_in_pause(me, Cause::Stress);
        }
        if self.options.stress_no_background && self.driver == Driver::Background {
            return;
        }
        self.tick_if_due();
        let since = self.clock();
        let goal = self.pacing.goal();
        // The goal bounds the heap: who would carry it far beyond marks on.
        let is_exceeded = goal.is_exceeded(reserved, allocated >= BLOCK_BYTES);
        // While the background thread keeps up, no mutator is taxed.
        let owes = is_exceeded || self.driver == Driver::Quanta || self.marking.efforts().lets_assist();
        let ratio = if owes { goal.assist_ratio(reserved, self.marking.marked()) } else { 0.0 };
        let (mut stepped, mut cpu_ns) = self.marking.assist(noted, allocated, ratio, QUANTUM);
        while is_exceeded && matches!(stepped, Stepped::More | Stepped::Paid) && !me.thread().is_asked_to_stop() {
            let more = self.marking.step_by(noted, QUANTUM, None);
            (stepped, cpu_ns) = (more.0, cpu_ns + more.1);
        }
        self.marking.efforts().assisted(cpu_ns);
        me.meter().skip(cpu_ns);
        if cpu_ns > 0 {
            self.held_up(me, HeldBy::Assist, since);
        }
        match stepped {
            Stepped::Dry => self.marking_is_dry(me, is_exceeded),
            // The background thread may have waited for this.
            Stepped::More => _ = self.mark_beside(),
            Stepped::Nothing if is_exceeded => self.marking_is_dry(me, true),
            Stepped::Nothing | Stepped::Paid => (),
        }
    }

    /// Takes steps of the marking in progress, or sweeps what the last one has left, by a mutator that has
    /// time until `deadline`. Whether there is more to do.
    pub(crate) fn step_until(self: &Arc<Self>, me: &ThreadPart<VM>, deadline: Instant) -> bool {
        while self.marking.is_in_progress() {
            // SAFETY: as in `assist`.
            let noted = unsafe { ThreadPart::noted_of_stopped(me) };
            self.marking.hand_in(noted);
            let (stepped, cpu_ns) = self.marking.step_by(noted, QUANTUM, Some(deadline));
            me.meter().skip(cpu_ns);
            match stepped {
                Stepped::Dry => self.end_in_pause(me, self.marking.cause()),
                Stepped::Nothing | Stepped::Paid => return true,
                Stepped::More if Instant::now() >= deadline || me.thread().is_asked_to_stop() => {
                    self.mark_beside();
                    return true;
                }
                Stepped::More => (),
            }
        }
        while let Some(cpu_ns) = self.sweeping.sweep_unit_beside() {
            me.meter().skip(cpu_ns);
            if Instant::now() >= deadline || me.thread().should_stop() {
                break;
            }
        }
        !self.sweeping.is_over()
    }

    /// If a tick of the marking in progress is due, the pacer says how hard to work.
    fn tick_if_due(&self) {
        let at_ns = self.pauses.at_ns(Instant::now());
        let goal = self.pacing.goal();
        let cores = self.workers() as f64;
        self.marking.efforts().tick(at_ns, goal.tick_ns(), cores, |measured| {
            let totals = Totals {
                allocated: self.pacing.allocated().since_full(),
                mutator_cpu_ns: self.mutator_cpu_ns(),
                marked: self.marking.marked(),
                marking_cpu_ns: self.marking.recent_cpu_ns(),
            };
            let reserved = self.memory().budget().reserved().saturating_add(goal.external()) as f64;
            goal.tick(measured.tick(reserved, totals)?, at_ns, !self.watch.listeners().is_empty())
        });
    }

    /// Processor time in ns of mutators since the last full collection, without that in which they marked.
    /// Each clock is a system call: of many mutators the process's time is taken, which other threads add to.
    fn mutator_cpu_ns(&self) -> u64 {
        if self.safepoint.attached() > MOST_METERS {
            return process_cpu_ns().saturating_sub(self.marking.cpu_ns());
        }
        let of_attached = Cell::new(0);
        self.safepoint.find(|mutator| {
            // SAFETY: an entry of the registry points to an attached mutator's state; the lock keeps it
            // there.
            of_attached.set(of_attached.get() + unsafe { &*mutator.0 }.meter().elapsed());
            false
        });
        self.pacing.goal().left_cpu_ns() + of_attached.get()
    }

    /// The background thread is to mark, if there is one; whether it is there.
    pub(super) fn mark_beside(&self) -> bool {
        self.driver == Driver::Background && self.background.mark()
    }

    /// A mutator has found no grey object. The background thread asks all others before the marking ends,
    /// unless the heap would grow beyond its goal.
    fn marking_is_dry(self: &Arc<Self>, me: &ThreadPart<VM>, now: bool) {
        if now || !self.mark_beside() {
            self.end_in_pause(me, self.marking.cause());
        }
    }

    /// A mutator answers a handshake, if one waits for it.
    pub(super) fn answer(&self, me: &ThreadPart<VM>) {
        self.safepoint.answer(me.thread(), || {
            self.may_yield();
            // SAFETY: the owner, which runs; the borrow ends before it comes to a safepoint.
            self.marking.hand_in(unsafe { ThreadPart::noted_of_stopped(me) });
            self.may_yield();
        });
    }

    fn end_in_pause(self: &Arc<Self>, me: &ThreadPart<VM>, cause: Cause) {
        let seen = self.pauses.ended();
        if self.marking.is_in_progress() {
            me.where_it_may_stop(|| self.collect_unless_done(Some(me), cause, Some(seen), |_| ()));
        }
    }

    /// The pause that takes the snapshot, unless another thread collected since `seen` pauses.
    pub(super) fn begin_marking(self: &Arc<Self>, me: Option<&ThreadPart<VM>>, cause: Cause, seen: u64) {
        self.get_ready();
        let requested = Instant::now();
        let held_up = || me.map_or((), |me| self.held_up(me, HeldBy::Pause, self.since(requested)));
        if self.stop(me) == Stop::Followed {
            return held_up();
        }
        if self.marking.is_in_progress() || seen != self.pauses.ended() {
            self.resume_all();
            held_up();
            return self.go_on_beside();
        }
        let unfinished = self.led_by(me);
        let inside = self.call(Callback::Pause);
        let began = self.lead_begin(me, cause, requested);
        drop(inside);
        std::mem::forget(unfinished);
        self.resume_and_tell(|| {
            let duration_ns = nanos_since(requested);
            held_up();
            [Event::Pause(Box::new(began.report(duration_ns)))]
        });
    }

    fn lead_begin(&self, me: Option<&ThreadPart<VM>>, cause: Cause, requested: Instant) -> Began<'_> {
        self.pauses.phase().enter(PausePhase::Stopping);
        let to_safepoint = nanos_since(requested);
        let cpu_before = thread_cpu_ns();
        let ended_sweep = self.end_sweep().map(|start| self.pauses.phase_since("end sweep", start));
        let reserved = self.memory().budget().reserved();
        let mutators = self.retire_stopped();
        self.helpers.allow(CollectionKind::Full);
        let allocated = self.pacing.begin(CollectionKind::Minor);
        let vm_objects = self.store.vm_space().objects();
        let spaces = self.plan.spaces();
        let stopped = StoppedHeap { spaces: &spaces, vm_objects: &vm_objects, mutators: &mutators };
        let mut pause = self.pause(stopped, CollectionKind::Full);
        pause.phases.extend(ended_sweep);
        // While the spaces can tell what is there by the last collection alone.
        pause.ambiguous = ambiguous_roots(&*self.vm, &spaces, self.memory().arena(), &mutators);
        pause.marking = Some(self.marking.take(self.memory().arena().list()));
        let beside = self.plan.beside().expect("the plan marks beside mutators");
        beside.begin(&mut pause);
        self.watch.note_snapshot(self.pauses.ended(), &*self.plan, &pause);
        self.vm.pause_ends();
        let begun = Begun { cause, at_ns: self.pauses.at_ns(requested), allocated: allocated.since_full };
        self.marking.begin(begun, self.memory().arena());
        let goal = self.pacing.goal();
        goal.marking_begins(reserved);
        let now = self.pauses.at_ns(Instant::now());
        let (share, cores) = (goal.planned_share(), self.workers() as f64);
        self.marking.efforts().begin(now, goal.tick_ns(), share, cores, goal.last_rates());
        mutators.iter().for_each(|mutator| mutator.arm_barrier(self.armed()));
        let worker_cpu_ns = self.take_cpu_time(me, thread_cpu_ns() - cpu_before);
        self.pauses.began(worker_cpu_ns.iter().sum());
        Began {
            sequence: self.pauses.ended(),
            begun,
            to_safepoint,
            reserved,
            live: self.pauses.live_bytes(),
            allocated: allocated.since_pause,
            details: self.details(worker_cpu_ns, &pause),
        }
    }

    /// What the barriers of mutators do from now on.
    pub(super) fn armed(&self) -> Armed {
        match self.plan.beside() {
            Some(beside) if self.marking.is_in_progress() => Armed::Snapshot(beside.epoch()),
            _ if self.pacing.nursery().pays() => Armed::Remember,
            _ => Armed::No,
        }
    }

    /// What mutators have noted, for the pause that ends the marking. The leader.
    pub(super) fn take_noted(&self, mutators: &[MutatorRef<VM>]) -> List<'_, ObjectReference> {
        let mut logged = self.memory().arena().list();
        for mutator in mutators {
            // SAFETY: the mutator is stopped, and only the leader runs.
            let noted = unsafe { ThreadPart::noted_of_stopped(mutator.0) };
            logged.extend(noted.grey.drain(..));
            self.marking.keep(noted);
        }
        logged
    }

    /// A thread that detaches leaves what it has noted.
    pub(super) fn keep_noted(&self, noted: &mut Noted) {
        if self.marking.is_in_progress() {
            self.marking.keep(noted);
        }
    }

    /// The marking has ended. The leader.
    pub(super) fn end_marking(&self, of_pause: OfMarking<'_>, mutators: &[MutatorRef<VM>]) -> EndedMarking {
        let ended = self.marking.end(of_pause);
        self.pauses.note_concurrent();
        mutators.iter().for_each(|mutator| mutator.arm_barrier(Armed::No));
        ended
    }

    /// The barrier's slow path in a marking of this epoch.
    pub(crate) fn visit_before(&self, me: &ThreadPart<VM>, object: ObjectReference, change: Change, epoch: u8) {
        self.may_yield();
        let since = self.clock_of_barrier(object);
        // Stores into a large array come here until all of it is claimed. Most find their part claimed.
        if self.marking.visit(me, object, change, epoch) > 0 {
            self.held_up(me, HeldBy::Barrier, since);
        }
        self.may_yield();
    }

    /// A mutator has a reference to `object` that came from nowhere, in a marking in progress.
    pub(crate) fn keep_object(&self, me: &ThreadPart<VM>, object: ObjectReference) {
        self.marking.keep_object(me, object);
    }
}

impl<VM: VMBinding> EndsMarking for Collector<VM> {
    fn end_if_dry(self: Arc<Self>) {
        // Before the handshake: behind it another thread may end this marking, and begin the next.
        let seen = self.pauses.ended();
        if !self.marking.is_in_progress() {
            return;
        }
        // SAFETY: of the registry, and in a native region that cannot end: so its owner does not use it.
        let hand_in =
            |mutator: &MutatorRef<VM>| self.marking.hand_in(unsafe { ThreadPart::noted_of_stopped(mutator.0) });
        if !self.safepoint.handshake(hand_in, &mut Late::new(&self)) {
            // A pause has come between. Its leader wakes this thread again.
            return;
        }
        match self.marking.grey().is_dry() || self.marking.is_last_round() {
            true => _ = self.collect_unless_done(None, self.marking.cause(), Some(seen), |_| ()),
            false => _ = self.mark_beside(),
        }
    }

    fn tick(&self) -> u64 {
        if self.marking.is_in_progress() {
            self.tick_if_due();
        }
        self.pacing.goal().tick_ns()
    }
}

/// The pause that took a snapshot.
struct Began<'a> {
    sequence: u64,
    begun: Begun,
    to_safepoint: u64,
    reserved: usize,
    live: usize,
    allocated: usize,
    details: Details<'a>,
}

impl Began<'_> {
    fn report(&self, duration_ns: u64) -> PauseReport {
        let Began { sequence, begun, to_safepoint, reserved, live, allocated, details } = self;
        PauseReport {
            sequence: *sequence,
            cause: begun.cause,
            kind: CollectionKind::Full,
            step: PauseStep::Begin,
            start_ns: begun.at_ns,
            time_to_safepoint_ns: *to_safepoint,
            duration_ns,
            cpu_ns: details.worker_cpu_ns.iter().sum(),
            worker_cpu_ns: details.worker_cpu_ns.to_vec(),
            phases: details.phases.to_vec(),
            reserved_before_bytes: *reserved,
            reserved_after_bytes: *reserved,
            live_bytes: *live,
            goal_bytes: details.goal,
            resident_bytes: details.resident,
            limit_bytes: details.limit,
            allocated_bytes: *allocated,
            spaces: details.spaces.to_vec(),
            defrag: false,
            emergency: false,
            marking: None,
        }
    }
}
