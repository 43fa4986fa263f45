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
use crate::events::Paced;
use crate::machine::{Grants, Machine};
use crate::memory::BLOCK_BYTES;
use crate::options::{OptionError, Options, When};
use crate::warnings;
use pacer::{Cause as Bound, CycleSample, Decision, GiveUp, PacerConfig, PacerPolicy, Policy};
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
}

/// The goal of one heap, and the pacer that sets it.
pub(crate) struct Goal {
    control: Mutex<Control>,
    limit: usize,
    /// Whether the plan marks while mutators run.
    beside: bool,
    /// Bytes reserved, external ones included, by which a collection should have ended; written in pauses.
    /// The trigger, where mutators stop for it.
    goal: AtomicUsize,
    /// Bytes that the marking in progress is expected to mark; written in pauses.
    expected: AtomicUsize,
    /// Bytes reserved when it began; written in pauses.
    at_begin: AtomicUsize,
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
        let mut policy = Policy::new(options.pacer_policy, config(options, limit, machine.now(), beside), 0.0);
        let decision = policy.decide();
        Goal {
            control: Mutex::new(Control {
                policy,
                give_up: GiveUp::default(),
                last: None,
                end_ns: 0,
                reserved: 0,
                options: options.clone(),
            }),
            limit,
            beside,
            goal: AtomicUsize::new(decision.goal as usize),
            expected: AtomicUsize::new(0),
            at_begin: AtomicUsize::new(0),
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
        let last = self.control.lock().last.map_or(0.0, |last| last.traced);
        self.expected.store(last as usize, Relaxed);
        self.at_begin.store(reserved, Relaxed);
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
        let config = config(&control.options, self.limit, grants, self.beside);
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
        let config = config(&options, self.limit, self.machine.now(), self.beside);
        if options.pacer_policy == control.options.pacer_policy {
            control.policy.configure(config);
        } else {
            // The new policy begins with what the old one was told last.
            control.policy = control.policy.succeeded_by(options.pacer_policy, config, control.last.as_ref());
        }
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
fn config(options: &Options, limit: usize, machine: Grants, concurrent: bool) -> PacerConfig {
    let config = options.pacer_config(limit);
    PacerConfig {
        concurrent,
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
    use super::*;
    use crate::events::CollectionKind;
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
