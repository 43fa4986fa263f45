//! The goal of a heap. Drives the pacer: collects the numbers that the pacer needs, and keeps its decisions
//! where fast paths see them.
//!
//! A cycle of the pacer is the time between the ends of two full collections; minor collections within it are
//! part of its cost.
//!
//! Callers: leaders of pauses; the timer (`attendant`); `reached`, `external` and `adjust_external` any
//! thread.

use super::attendant::Delays;
use super::ended::CollectionEnded;
use crate::events::{Paced, Ticked};
use crate::machine::{Grants, Machine};
use crate::memory::BLOCK_BYTES;
use crate::options::{Driver, OptionError, Options, When};
use crate::os::PageVec;
use crate::warnings;
use pacer::{Cause as Bound, CycleSample, Decision, Effort, GiveUp, PacerConfig, PacerPolicy, Policy, Tick};
use protocols::sync::Mutex;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// What a heap may grow by before the next collection where what it retains is above its goal, in bytes.
const LEAST_ROOM: usize = 64 << 10;

/// A marking that has come to the goal is paced as if this part of the goal were left.
const LEAST_PART: usize = 64;

/// The goal follows what the VM has freed outside the heap in steps of this part.
const LEAST_RELEASED: f64 = 1.0 / 32.0;

/// Unless told otherwise, a heap may use this part of the memory that machine and cgroup grant: the rest is
/// for the VM itself.
const SOFT_PART: f64 = 0.9;

/// The policy and what it was told last.
struct Control {
    policy: Policy,
    give_up: GiveUp,
    last: Option<CycleSample>,
    /// When the last full collection ended, in ns since heap creation.
    end_ns: u64,
    /// Bytes reserved then.
    reserved: usize,
    /// The options in force.
    options: Options,
    /// Bytes reserved when the marking in progress began, until the policy is told.
    begins: Option<f64>,
    /// Whether a marking is in progress.
    marking: bool,
    /// The ticks of the marking in progress.
    ticks: PageVec<Ticked>,
    /// Bytes outside the heap that the policy was told are garbage, since the last tick or cycle.
    released: f64,
}

/// The goal of one heap, and the pacer that sets it.
pub(crate) struct Goal {
    control: Mutex<Control>,
    limit: usize,
    /// Who marks while mutators run, where the plan does that. The machine may have decided it, by what files
    /// say that no pause reads.
    driver: Option<Driver>,
    /// Bytes reserved, external ones included, by which a collection should have ended; written in pauses.
    /// The trigger, where mutators stop for it.
    goal: AtomicUsize,
    /// Bytes that the marking in progress is expected to mark; written in pauses.
    expected: AtomicUsize,
    /// Bytes reserved when it began; written in pauses.
    at_begin: AtomicUsize,
    /// The share that is planned for the next marking, as the bits of an `f64`.
    share: AtomicU64,
    /// From one tick to the next, in ns.
    tick_ns: AtomicU64,
    machine: Machine,
    /// Bytes reserved, external ones included, at which a collection is due; written in pauses.
    trigger: AtomicUsize,
    /// Bytes allocated since the last full collection at which one is due too; as `trigger`.
    allocation: AtomicUsize,
    /// Bytes of the VM that its objects keep outside the heap.
    external: AtomicUsize,
    /// The least that `external` was since the last full collection: what of it was live then. The VM frees
    /// the rest when it hears of dead objects, after the collection, which so took it for live.
    external_live: AtomicUsize,
    /// What of it the trigger takes for live.
    external_counted: AtomicUsize,
    /// Bytes that the VM reported as new since the last full collection.
    external_new: AtomicUsize,
    /// Since the last full collection: processor time of minor ones, and of mutators that have detached.
    gc_cpu_ns: AtomicU64,
    mutator_cpu_ns: AtomicU64,
    /// Says that the soft limit gives way.
    above_soft_limit: warnings::Once,
}

impl Goal {
    /// Of a heap with this limit. `beside`: its plan marks while mutators run.
    pub fn new(options: &Options, limit: usize, beside: bool) -> Goal {
        Goal::on(Machine::new(Path::new("/")), options, limit, beside)
    }

    fn on(machine: Machine, options: &Options, limit: usize, beside: bool) -> Goal {
        let driver = beside.then(|| options.driver());
        let mut policy = Policy::new(options.pacer_policy, config(options, limit, machine.now(), driver), 0.0);
        let decision = policy.decide();
        Goal {
            control: Mutex::new(Control {
                policy,
                give_up: GiveUp::default(),
                last: None,
                end_ns: 0,
                reserved: 0,
                options: options.clone(),
                begins: None,
                marking: false,
                ticks: PageVec::new(),
                released: 0.0,
            }),
            limit,
            driver,
            goal: AtomicUsize::new(decision.goal as usize),
            expected: AtomicUsize::new(0),
            at_begin: AtomicUsize::new(0),
            share: AtomicU64::new(decision.share.to_bits()),
            tick_ns: AtomicU64::new(options.pacer_tick_us * 1000),
            machine,
            trigger: AtomicUsize::new(decision.trigger as usize),
            allocation: AtomicUsize::new(decision.allocation as usize),
            external: AtomicUsize::new(0),
            external_live: AtomicUsize::new(0),
            external_counted: AtomicUsize::new(0),
            external_new: AtomicUsize::new(0),
            gc_cpu_ns: AtomicU64::new(0),
            mutator_cpu_ns: AtomicU64::new(0),
            above_soft_limit: warnings::Once::new(),
        }
    }

    /// Whether a collection is due, with `reserved` bytes reserved and `allocated` since the last full one,
    /// before `request` more bytes are allocated. A heap whose goal is its limit is full when the budget says
    /// so. A request that may fit between live objects is tried there first: it may need no more memory.
    pub fn reached(&self, reserved: usize, allocated: usize, request: usize) -> bool {
        // Right after a full collection another frees nothing, however much is asked for.
        if allocated == 0 && self.external_new.load(Relaxed) == 0 {
            return false;
        }
        if allocated >= self.allocation.load(Relaxed) {
            return true;
        }
        let trigger = self.trigger.load(Relaxed);
        let reserved = reserved.saturating_add(self.external.load(Relaxed));
        let request = if request > BLOCK_BYTES { request } else { 0 };
        reserved > trigger || trigger < self.limit && reserved.saturating_add(request) > trigger
    }

    /// Bytes reserved by which a collection should have ended, without those outside the heap: where mutators
    /// stop for it, those at which one is due.
    pub fn bytes(&self) -> usize {
        self.goal.load(Relaxed).saturating_sub(self.external.load(Relaxed))
    }

    /// A marking begins beside mutators, with `reserved` bytes reserved. The leader.
    pub fn marking_begins(&self, reserved: usize) {
        let mut control = self.control.lock();
        control.marking = true;
        control.begins = Some(reserved.saturating_add(self.external()) as f64);
        let last = control.last.map_or(0.0, |last| last.traced);
        self.expected.store(last as usize, Relaxed);
        self.at_begin.store(reserved, Relaxed);
    }

    /// A tick of the marking in progress, at `at_ns`, in ns since heap creation: how hard to work until the
    /// next; none if no marking is in progress. What is `recorded` is there for [`Goal::take_ticks`]. Any
    /// thread.
    pub fn tick(&self, tick: Tick, at_ns: u64, recorded: bool) -> Option<Effort> {
        let mut control = self.control.lock();
        let control = &mut *control;
        if !control.marking {
            return None;
        }
        let begins = control.begins.take();
        if let Some(reserved) = begins {
            control.policy.marking_begins(reserved);
        }
        let effort = control.policy.tick(&tick);
        let released = std::mem::take(&mut control.released);
        if recorded {
            let (policy, config) = (control.policy.name().into(), *control.policy.config());
            control.ticks.push(Ticked { sequence: 0, at_ns, policy, config, begins, released, tick, effort });
        }
        Some(effort)
    }

    /// The ticks of the marking that this collection has ended. The leader.
    pub fn take_ticks(&self, sequence: u64) -> PageVec<Ticked> {
        let mut ticks = std::mem::take(&mut self.control.lock().ticks);
        ticks.iter_mut().for_each(|tick| tick.sequence = sequence);
        ticks
    }

    /// The share of the machine that is planned for the next marking.
    pub fn planned_share(&self) -> f64 {
        f64::from_bits(self.share.load(Relaxed))
    }

    /// Bytes per ns of processor time that mutators allocated in the last cycle, and that were marked.
    pub fn last_rates(&self) -> [Option<f64>; 2] {
        let rate = |bytes, cpu_ns| (cpu_ns > 0.0).then(|| bytes / cpu_ns);
        let last = self.control.lock().last;
        last.map_or([None; 2], |last| [rate(last.allocated, last.mutator_cpu_ns), rate(last.traced, last.gc_cpu_ns)])
    }

    /// From one tick to the next, in ns.
    pub fn tick_ns(&self) -> u64 {
        self.tick_ns.load(Relaxed)
    }

    /// Processor time in ns of mutators that have detached since the last full collection.
    pub fn left_cpu_ns(&self) -> u64 {
        self.mutator_cpu_ns.load(Relaxed)
    }

    /// How many bytes are to be marked for each that a mutator allocates, so that the marking ends by the
    /// goal: with `reserved` bytes reserved, and `marked` of this marking. Beyond the goal all that was
    /// reserved when it began may be live, and there is hardly any room.
    pub fn assist_ratio(&self, reserved: usize, marked: usize) -> f64 {
        let goal = self.bytes();
        let expected = match reserved < goal {
            true => self.expected.load(Relaxed).max(marked + marked / 8),
            false => self.at_begin.load(Relaxed),
        };
        let left = expected.saturating_sub(marked).max(LEAST_ROOM);
        left as f64 / goal.saturating_sub(reserved).max(goal / LEAST_PART).max(LEAST_ROOM) as f64
    }

    /// Whether so much is reserved that the marking in progress must end now. What the program allocates in
    /// small pieces, `by_pieces`, may go a little beyond the goal.
    pub fn is_exceeded(&self, reserved: usize, by_pieces: bool) -> bool {
        let goal = self.bytes();
        reserved > goal + if by_pieces { goal / LEAST_PART } else { 0 }
    }

    /// The VM's memory outside the heap grew, or shrank. Takes no lock that somebody may hold.
    pub fn adjust_external(&self, bytes: isize) {
        let adjust = |now: usize| Some(now.saturating_add_signed(bytes));
        let before = self.external.fetch_update(Relaxed, Relaxed, adjust).unwrap_or_else(|now| now);
        if bytes > 0 {
            let add = |now: usize| Some(now.saturating_add_signed(bytes));
            _ = self.external_new.fetch_update(Relaxed, Relaxed, add);
            return;
        }
        let now = before.saturating_add_signed(bytes);
        let live = self.external_live.fetch_min(now, Relaxed).min(now);
        let counted = self.external_counted.load(Relaxed);
        if counted.saturating_sub(live) < LEAST_ROOM.max((counted as f64 * LEAST_RELEASED) as usize) {
            return;
        }
        // The thread that has the lock decides anew, or the next report does.
        if let Some(mut control) = self.control.try_lock() {
            self.recount_external(&mut control);
            self.follow(&mut control);
        }
    }

    /// What the VM has freed since the last full collection was not live.
    fn recount_external(&self, control: &mut Control) {
        let live = self.external_live.load(Relaxed);
        let counted = self.external_counted.swap(live, Relaxed);
        let released = counted.saturating_sub(live) as f64;
        control.policy.released(released);
        control.released += released;
        if let Some(last) = &mut control.last {
            let released = released.min(last.external);
            last.traced -= released;
            last.retained -= released;
            last.external -= released;
        }
    }

    pub fn external(&self) -> usize {
        self.external.load(Relaxed)
    }

    /// A mutator that detached had used `cpu_ns` of processor time.
    pub fn mutator_left(&self, cpu_ns: u64) {
        self.mutator_cpu_ns.fetch_add(cpu_ns, Relaxed);
    }

    pub fn minor_ended(&self, cpu_ns: u64) {
        self.gc_cpu_ns.fetch_add(cpu_ns, Relaxed);
        // What it freed is allocated once more, and says nothing about what is used again between live
        // objects.
        self.allocation.store(usize::MAX, Relaxed);
    }

    /// Returns what was decided.
    pub fn full_ended(&self, full: &CollectionEnded) -> Paced {
        let CollectionEnded { times, work, bytes, .. } = full;
        let minor_cpu_ns = self.gc_cpu_ns.swap(0, Relaxed);
        let mut control = self.control.lock();
        let control = &mut *control;
        let external = self.external();
        self.external_live.store(external, Relaxed);
        self.external_counted.store(external, Relaxed);
        let (external, external_new) = (external as f64, self.external_new.swap(0, Relaxed) as f64);
        let grown = bytes.reserved_before.saturating_sub(control.reserved);
        control.reserved = bytes.reserved_after;
        let allocated = bytes.allocated.since_full;
        // Where mutators stand still while the heap is marked, marking takes as long as the pause, nothing is
        // allocated meanwhile, and no mutator helps but the one that leads.
        let marking_ns = full.marking.map_or(times.pause, |marking| times.end().saturating_sub(marking.begun.at_ns));
        let black =
            full.marking.map_or(0, |marking| bytes.allocated.since_full.saturating_sub(marking.begun.allocated));
        let sample = CycleSample {
            traced: bytes.live as f64 + external,
            retained: bytes.reserved_after as f64 + external,
            external,
            peak: bytes.reserved_before as f64 + external,
            marking_ns: marking_ns as f64,
            gc_cpu_ns: (minor_cpu_ns + work.gc_cpu + work.beside_cpu) as f64,
            assist_cpu_ns: full.marking.map_or(0, |marking| marking.helped_cpu_ns) as f64,
            black: black as f64,
            mutator_cpu_ns: (self.mutator_cpu_ns.swap(0, Relaxed) + work.mutator_cpu) as f64,
            allocated: allocated as f64 + external_new,
            // What minor collections freed was used again too, and nothing tells the one from the other.
            recycled: if minor_cpu_ns > 0 { 0.0 } else { allocated.saturating_sub(grown) as f64 },
            handshake_ns: times.to_safepoint as f64,
            final_pause_ns: times.pause as f64,
            forced: !full.was_full(),
        };
        self.heed(control, self.machine.known());
        control.policy.cycle_passed(&sample);
        (control.marking, control.begins, control.released) = (false, None, 0.0);
        control.last = Some(sample);
        let decision = control.policy.decide();
        self.keep(&decision, sample.retained);
        let end_ns = times.end();
        let elapsed = end_ns.saturating_sub(control.end_ns) as f64;
        control.end_ns = end_ns;
        let config = *control.policy.config();
        if decision.cause == Bound::SoftLimitGivesWay {
            let mb = |bytes: f64| format!("{:.1} MB", bytes / 1e6);
            self.above_soft_limit.warn(format_args!(
                "the soft limit of {} gives way: {} are live, and the next collection is due at {}. To stay below, collecting would take more \
                 than pacer.gc_cpu_cap={} of the processor time; raise heap.soft_limit, or the cap. Events tell whenever this is so",
                mb(config.soft_limit),
                mb(sample.traced),
                mb(decision.goal),
                config.gc_cpu_cap,
            ));
        }
        // What lies outside has no limit to exceed.
        let reserved = bytes.reserved_after as f64;
        let gave_up = control.give_up.observe(&config, elapsed, sample.gc_cpu_ns, sample.mutator_cpu_ns, reserved);
        Paced {
            sequence: full.sequence,
            end_ns,
            policy: control.policy.name().into(),
            config,
            sample,
            decision,
            gave_up,
        }
    }

    /// Before a pause, which reads no files: they are read if that was long ago.
    pub fn look_at_machine(&self) {
        self.machine.now();
    }

    /// What the machine and its cgroup say; whether it has changed.
    fn heed(&self, control: &mut Control, grants: Grants) -> bool {
        let config = config(&control.options, self.limit, grants, self.driver);
        let changed = *control.policy.config() != config;
        if changed {
            control.policy.configure(config);
            control.policy.decide();
        }
        changed
    }

    /// If the machine or its cgroup grants more or less than before, the goal follows.
    pub fn look_around(&self) {
        // Without the lock, which the leader of a pause takes: files are read, and memory is taken for it.
        let grants = self.machine.now();
        let mut control = self.control.lock();
        if self.heed(&mut control, grants) {
            self.follow(&mut control);
        }
    }

    fn follow(&self, control: &mut Control) {
        let decision = control.policy.decide();
        self.keep(&decision, control.last.map_or(0.0, |sample| sample.retained));
    }

    fn keep(&self, decision: &Decision, retained: f64) {
        // External memory may exceed the limit by itself. Collecting cannot help, so do not collect
        // continuously.
        let beyond = retained > decision.trigger;
        let trigger = if beyond { (retained as usize).saturating_add(LEAST_ROOM) } else { decision.trigger as usize };
        self.trigger.store(trigger, Relaxed);
        self.goal.store(trigger.max(decision.goal as usize), Relaxed);
        self.share.store(decision.share.to_bits(), Relaxed);
        // As in `minor_ended`: settings may change after a minor collection.
        let minors = self.gc_cpu_ns.load(Relaxed) > 0;
        self.allocation.store(if minors { usize::MAX } else { decision.allocation as usize }, Relaxed);
    }

    /// Changes options of the pacer; the goal follows at once. `accepted` gets the options in force from now
    /// on.
    pub fn retune(
        &self,
        change: impl FnOnce(&mut Options) -> Result<(), OptionError>,
        accepted: impl FnOnce(&Options),
    ) -> Result<(), OptionError> {
        let mut control = self.control.lock();
        let mut options = control.options.clone();
        change(&mut options)?;
        options.validate()?;
        options.check_tunable(&control.options)?;
        let config = config(&options, self.limit, self.machine.now(), self.driver);
        if options.pacer_policy == control.options.pacer_policy {
            control.policy.configure(config);
        } else {
            // The new policy begins with what the old one was told last.
            control.policy = control.policy.succeeded_by(options.pacer_policy, config, control.last.as_ref());
            if control.marking {
                control.begins = Some(self.at_begin.load(Relaxed).saturating_add(self.external()) as f64);
            }
        }
        self.tick_ns.store(options.pacer_tick_us * 1000, Relaxed);
        accepted(&options);
        control.options = options;
        self.follow(&mut control);
        Ok(())
    }

    /// When memory goes back to the system, and what is done while the program is quiet.
    pub fn idling(&self) -> (When, Delays) {
        let options = &self.control.lock().options;
        let uncommit = Duration::from_millis(options.uncommit_delay_ms);
        let idle = Duration::from_secs_f64(options.idle_gc_s.get());
        let delays = Delays {
            uncommit: (options.return_memory == When::Auto).then_some(uncommit),
            idle: Some(idle).filter(|idle| !idle.is_zero()),
        };
        (options.return_memory, delays)
    }

    /// Whether memory that becomes free in a pause stays resident when that ends.
    pub fn keeps_free(&self) -> bool {
        let (when, delays) = self.idling();
        when != When::Always && delays.uncommit != Some(Duration::ZERO)
    }

    /// The options in force.
    pub fn options(&self) -> Options {
        self.control.lock().options.clone()
    }
}

/// The settings of the pacer on a machine with these grants.
fn config(options: &Options, limit: usize, machine: Grants, driver: Option<Driver>) -> PacerConfig {
    let config = options.pacer_config(limit);
    // One thread marks.
    PacerConfig {
        concurrent: driver.is_some(),
        gc_share_max: if driver == Some(Driver::Background) {
            config.gc_share_max.min(1.0 / config.cores)
        } else {
            config.gc_share_max
        },
        pressure: if options.heap_pressure { machine.pressure } else { 0.0 },
        soft_limit: if options.heap_soft_limit > 0 { config.soft_limit } else { SOFT_PART * machine.memory },
        ..config
    }
    // As the policy keeps them, so that a change is told from none.
    .sane()
}

#[cfg(test)]
mod tests {
    use super::super::allocated::AllocatedBytes;
    use super::super::ended::{Bytes, Times, Work};
    use super::super::marking::{Begun, EndedMarking};
    use super::*;
    use crate::events::{Cause, CollectionKind};
    use crate::machine::root::Root;

    const MB: usize = 1_000_000;

    #[test]
    fn what_was_allocated_is_no_reason_to_collect_once_a_minor_collection_freed_of_it() {
        let root = Root::new("allocation", &[]);
        let options = Options { heap_headroom_percent: 50, heap_limit: 900 * MB, ..Options::default() };
        let options = Options { heap_mode: pacer::HeapMode::Proportional, ..options };
        let goal = Goal::on(Machine::new(root.path()), &options, 900 * MB, false);
        // Half of what is reserved lies between live objects, and new ones take it.
        for sequence in 0..4 {
            let ended = CollectionEnded::for_test(CollectionKind::Full);
            let times = Times { requested: (sequence + 1) * 1_000_000_000, to_safepoint: 1000, pause: 1_000_000 };
            let work = Work { gc_cpu: 1_000_000, mutator_cpu: 10_000_000, ..ended.work };
            let bytes = Bytes {
                reserved_before: 200 * MB + 1,
                reserved_after: 200 * MB,
                live: 100 * MB,
                allocated: AllocatedBytes { since_full: 100 * MB, since_pause: 100 * MB },
                ..ended.bytes
            };
            goal.full_ended(&CollectionEnded { sequence, times, work, bytes, ..ended });
        }
        let reached = |allocated| goal.reached(200 * MB, allocated, 0);
        assert!(!reached(49 * MB) && reached(50 * MB));
        goal.minor_ended(1000);
        assert!(!reached(500 * MB));
        goal.retune(|options| options.set("heap.headroom_percent", "40"), |_| ()).unwrap();
        assert!(!reached(500 * MB));
    }

    /// A heap that is marked beside mutators, after some cycles, whose rates vary; `live` and `allocated` in
    /// MB.
    fn marked_beside(settings: &[(&str, &str)]) -> Goal {
        let root = Root::new("beside", &[]);
        let mut options = Options { gc_workers: 4, heap_limit: 900 * MB, ..Options::default() };
        options.set("gc.driver", "quanta").unwrap();
        options.set("heap.mode", "proportional").unwrap();
        settings.iter().for_each(|(key, value)| options.set(key, value).unwrap());
        let goal = Goal::on(Machine::new(root.path()), &options, 900 * MB, true);
        for sequence in 0..4 {
            cycle(&goal, sequence);
        }
        goal
    }

    /// A cycle in which 100 MB were live, and mutators allocated more or less in their time.
    fn cycle(goal: &Goal, sequence: u64) {
        let ended = CollectionEnded::for_test(CollectionKind::Full);
        let times = Times { requested: (sequence + 1) * 1_000_000_000, to_safepoint: 1000, pause: 100_000_000 };
        let work = Work { gc_cpu: 100_000_000, mutator_cpu: 800_000_000 + sequence % 2 * 200_000_000, ..ended.work };
        let bytes = Bytes {
            reserved_before: 170 * MB,
            reserved_after: 110 * MB,
            live: 100 * MB,
            allocated: AllocatedBytes { since_full: 80 * MB, since_pause: 80 * MB },
            ..ended.bytes
        };
        let begun = Begun { cause: Cause::Growth, at_ns: times.requested, allocated: 50 * MB };
        let marking = Some(EndedMarking {
            begun,
            cpu_ns: 80_000_000,
            helped_cpu_ns: 0,
            bytes_beside: 100 * MB,
            entries_beside: 0,
            entries_in_pause: 0,
            barrier_calls: 0,
            ticks: 0,
            rested_ns: 0,
        });
        goal.full_ended(&CollectionEnded { sequence, cause: Cause::Growth, marking, times, work, bytes, ..ended });
    }

    const TICK: Tick = Tick { reserved: 160e6, marked: 10e6, allocation_rate: 0.1, scan_rate: 1.0 };

    /// What the goal says of a marking that is far behind, and of the next.
    fn said(goal: &Goal, reserved: f64) -> (usize, u64, [Effort; 2]) {
        goal.marking_begins(150 * MB);
        let effort = || goal.tick(Tick { reserved, ..TICK }, 0, false).unwrap();
        let first = effort();
        (0..40).for_each(|_| _ = effort());
        let efforts = [first, effort()];
        (goal.trigger.load(Relaxed), goal.planned_share().to_bits(), efforts)
    }

    #[test]
    fn each_option_of_a_marking_acts_while_the_program_runs() {
        // With most of the room left, and with hardly any.
        for (key, value, reserved) in [
            ("pacer.gc_share", "0.4", 160e6),
            ("pacer.gc_share_max", "0.3", 199e6),
            ("pacer.gc_share_min", "0.2", 10e6),
            ("pacer.assist_cap", "0.05", 199e6),
            ("pacer.float_budget", "0.9", 160e6),
            ("pacer.margin", "0.2", 160e6),
            ("pacer.safety_sigma", "3", 160e6),
            ("pacer.policy", "go", 160e6),
        ] {
            let settings = [("pacer.gc_share", "0.2"), ("pacer.gc_share_min", "0.1")];
            let (before, after) = (marked_beside(&settings), marked_beside(&settings));
            after.retune(|options| options.set(key, value), |_| ()).unwrap();
            assert_ne!(said(&before, reserved), said(&after, reserved), "{key}");
        }
        // The gain acts on what the next cycle teaches.
        let (before, after) = (marked_beside(&[]), marked_beside(&[]));
        after.retune(|options| options.set("pacer.trim_gain", "0"), |_| ()).unwrap();
        (4..8).for_each(|sequence| [&before, &after].into_iter().for_each(|goal| cycle(goal, sequence)));
        assert_ne!(said(&before, 160e6), said(&after, 160e6), "pacer.trim_gain");
        let goal = marked_beside(&[]);
        goal.retune(|options| options.set("pacer.tick_us", "300"), |_| ()).unwrap();
        assert_eq!(goal.tick_ns(), 300_000);
    }

    #[test]
    fn a_change_of_settings_reaches_the_marking_in_progress() {
        let goal = marked_beside(&[]);
        goal.marking_begins(150 * MB);
        let late = Tick { reserved: 199e6, ..TICK };
        (0..40).for_each(|_| _ = goal.tick(late, 0, true));
        let most = goal.tick(late, 0, true).unwrap();
        assert_eq!((most.workers, most.assist), (0.5, 0.25));
        let less = |options: &mut Options| {
            options.set("pacer.gc_share", "0.1")?;
            options.set("pacer.gc_share_max", "0.2")?;
            options.set("pacer.assist_cap", "0")
        };
        goal.retune(less, |_| ()).unwrap();
        let effort = goal.tick(late, 0, true).unwrap();
        assert_eq!((effort.workers, effort.assist), (0.2, 0.0));
        // Another policy is told of the marking before its first tick.
        goal.retune(|options| options.set("pacer.policy", "go"), |_| ()).unwrap();
        goal.tick(late, 0, true).unwrap();
        let ticks = goal.take_ticks(9);
        let told = ticks.iter().enumerate().filter_map(|(n, tick)| Some((n, tick.begins?)));
        assert_eq!(told.collect::<Vec<_>>(), [(0, 150e6), (42, 150e6)]);
        assert!(ticks.iter().all(|tick| tick.sequence == 9) && ticks[42].policy == "go");
        cycle(&goal, 4);
        assert_eq!(goal.tick(late, 0, true), None, "no marking is in progress");
    }

    #[test]
    fn one_thread_marks_so_the_pacer_plans_with_one_processor_at_most() {
        for (driver, most) in [("background", 0.25), ("quanta", 0.5)] {
            let goal = marked_beside(&[("gc.driver", driver)]);
            goal.marking_begins(150 * MB);
            let late = Tick { reserved: 199e6, ..TICK };
            (0..40).for_each(|_| _ = goal.tick(late, 0, false));
            assert_eq!(goal.tick(late, 0, false).unwrap().workers, most, "{driver}");
        }
    }

    #[test]
    fn the_goal_follows_what_the_cgroup_grants_and_what_tasks_wait_for() {
        let limit = |bytes: usize| ("sys/fs/cgroup/memory.max", bytes.to_string());
        let waited = |percent: &str| ("sys/fs/cgroup/memory.pressure", format!("some avg10={percent} avg60=0.00\n"));
        let root = Root::new("pacing", &[("proc/self/cgroup", "0::/\n")]);
        let write = |(path, text): (&str, String)| root.write(&[(path, &text)]);
        write(limit(100 * MB));
        write(waited("0.00"));
        let heap_mode = pacer::HeapMode::MemBalancer;
        let options = Options { heap_mode, heap_min: 500 * MB, heap_limit: 500 * MB, ..Options::default() };
        let goal = Goal::on(Machine::new(root.path()), &options, 500 * MB, false);
        assert_eq!(goal.bytes(), 90 * MB, "nothing is known yet but the limits");
        let look = || {
            goal.machine.forget();
            goal.look_around();
            goal.bytes()
        };
        write(limit(50 * MB));
        assert_eq!(look(), 45 * MB);
        write(limit(1000 * MB));
        assert_eq!(look(), 500 * MB);
        write(waited("100.00"));
        assert!(look() < 200 * MB, "{}", goal.bytes());
        // Who says how much it may be is not overruled.
        goal.retune(|options| options.set("heap.soft_limit", "20000000"), |_| ()).unwrap();
        write(limit(10 * MB));
        write(waited("0.00"));
        assert_eq!(look(), 20 * MB);
    }
}
