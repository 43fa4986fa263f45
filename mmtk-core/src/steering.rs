//! Drives the pacer from a heap: gathers what it is told, and keeps what it decided where fast paths see it.
//!
//! A cycle of the pacer is what lies between the ends of two full collections; minor ones within it are part of its cost.
//!
//! Callers: leaders of pauses; `reached` and `external` any thread.

use crate::events::{Cause, Paced};
use crate::options::{OptionError, Options, When};
use crate::pacer::{CycleSample, GiveUp, PacerConfig, PacerPolicy, Policy};
use crate::pressure::Pressure;
use crate::sync::Mutex;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// After a collection a heap may grow by so much at least before the next, whatever the goal: otherwise memory that no collection frees would
/// make it collect all the time.
const LEAST_ROOM: usize = 64 << 10;

/// The policy and what it was told last.
struct Control {
    policy: Policy,
    give_up: GiveUp,
    last: Option<CycleSample>,
    /// When the last full collection ended, in ns since heap creation.
    end_ns: u64,
    /// The options in force.
    options: Options,
}

/// The pacer of one heap.
pub(crate) struct Steering {
    control: Mutex<Control>,
    limit: usize,
    pressure: Pressure,
    /// Bytes reserved, external ones included, at which a collection is due; written in pauses.
    trigger: AtomicUsize,
    /// Bytes of the VM's that its objects keep outside the heap.
    external: AtomicUsize,
    /// Since the last full collection: processor time of minor ones, and of mutators that have detached.
    gc_cpu_ns: AtomicU64,
    mutator_cpu_ns: AtomicU64,
}

/// A full collection that ends.
pub(crate) struct FullCollection {
    pub sequence: u64,
    /// In ns since heap creation.
    pub end_ns: u64,
    pub cause: Cause,
    pub live_bytes: usize,
    /// Since the one before.
    pub allocated_bytes: usize,
    pub reserved_before_bytes: usize,
    pub reserved_after_bytes: usize,
    pub cpu_ns: u64,
    pub pause_ns: u64,
    pub time_to_safepoint_ns: u64,
    /// Of attached mutators, since the one before.
    pub mutator_cpu_ns: u64,
}

impl Steering {
    pub fn new(options: &Options, limit: usize) -> Steering {
        let mut policy = Policy::new(options.pacer_policy, options.pacer_config(limit), 0.0);
        let trigger = policy.decide().trigger;
        Steering {
            control: Mutex::new(Control {
                policy,
                give_up: GiveUp::default(),
                last: None,
                end_ns: 0,
                options: options.clone(),
            }),
            limit,
            pressure: Pressure::new(Path::new("/")),
            trigger: AtomicUsize::new(trigger as usize),
            external: AtomicUsize::new(0),
            gc_cpu_ns: AtomicU64::new(0),
            mutator_cpu_ns: AtomicU64::new(0),
        }
    }

    /// Whether a collection is due, with so many bytes reserved, before `request` more are. A heap whose goal is its limit is full when the budget
    /// says so.
    pub fn reached(&self, reserved: usize, request: usize) -> bool {
        let trigger = self.trigger.load(Relaxed);
        let reserved = reserved.saturating_add(self.external.load(Relaxed));
        reserved > trigger || trigger < self.limit && reserved.saturating_add(request) > trigger
    }

    /// Bytes reserved at which a collection is due, without those outside the heap.
    pub fn goal(&self) -> usize {
        self.trigger.load(Relaxed).saturating_sub(self.external.load(Relaxed))
    }

    /// The VM's memory outside the heap grew, or shrank.
    pub fn adjust_external(&self, bytes: isize) {
        let adjust = |now: usize| Some(now.saturating_add_signed(bytes));
        _ = self.external.fetch_update(Relaxed, Relaxed, adjust);
    }

    pub fn external(&self) -> usize {
        self.external.load(Relaxed)
    }

    /// A mutator that detached had used so much processor time.
    pub fn mutator_left(&self, cpu_ns: u64) {
        self.mutator_cpu_ns.fetch_add(cpu_ns, Relaxed);
    }

    pub fn minor_ended(&self, cpu_ns: u64) {
        self.gc_cpu_ns.fetch_add(cpu_ns, Relaxed);
    }

    /// Returns what was decided.
    pub fn full_ended(&self, full: &FullCollection) -> Paced {
        let external = self.external();
        let sample = CycleSample {
            traced: (full.live_bytes + external) as f64,
            retained: (full.reserved_after_bytes + external) as f64,
            peak: (full.reserved_before_bytes + external) as f64,
            marking_ns: full.pause_ns as f64,
            gc_cpu_ns: (self.gc_cpu_ns.swap(0, Relaxed) + full.cpu_ns) as f64,
            assist_cpu_ns: 0.0,
            black: 0.0,
            mutator_cpu_ns: (self.mutator_cpu_ns.swap(0, Relaxed) + full.mutator_cpu_ns) as f64,
            allocated: full.allocated_bytes as f64,
            handshake_ns: full.time_to_safepoint_ns as f64,
            final_pause_ns: full.pause_ns as f64,
            forced: !matches!(full.cause, Cause::HeapFull | Cause::Growth),
        };
        let mut control = self.control.lock();
        let control = &mut *control;
        let pressure = if control.options.heap_pressure { self.pressure.now() } else { 0.0 };
        if control.policy.config().pressure != pressure {
            let config = PacerConfig { pressure, ..*control.policy.config() };
            control.policy.configure(config);
            control.policy.decide();
        }
        control.policy.cycle_ended(&sample);
        control.last = Some(sample);
        let decision = control.policy.decide();
        self.set_trigger(decision.trigger, sample.retained);
        let elapsed = full.end_ns.saturating_sub(control.end_ns) as f64;
        control.end_ns = full.end_ns;
        let config = *control.policy.config();
        let gave_up =
            control.give_up.observe(&config, elapsed, sample.gc_cpu_ns, sample.mutator_cpu_ns, sample.retained);
        Paced {
            sequence: full.sequence,
            end_ns: full.end_ns,
            policy: control.policy.name().to_owned(),
            config,
            sample,
            decision,
            gave_up,
        }
    }

    fn set_trigger(&self, decided: f64, retained: f64) {
        self.trigger.store((decided as usize).max(retained as usize + LEAST_ROOM), Relaxed);
    }

    /// Changes options of the pacer; the goal follows at once.
    pub fn retune(&self, change: impl FnOnce(&mut Options) -> Result<(), OptionError>) -> Result<(), OptionError> {
        let mut control = self.control.lock();
        let mut options = control.options.clone();
        change(&mut options)?;
        options.validate()?;
        options.check_tunable(&control.options)?;
        let config = options.pacer_config(self.limit);
        if options.pacer_policy == control.options.pacer_policy {
            control.policy.configure(config);
        } else {
            // The new policy begins with what the old one was told last.
            control.policy = control.policy.succeeded_by(options.pacer_policy, config, control.last.as_ref());
        }
        control.options = options;
        let decision = control.policy.decide();
        let retained = control.last.map_or(0.0, |sample| sample.retained);
        self.set_trigger(decision.trigger, retained);
        Ok(())
    }

    /// Whether memory goes back to the system, and when it was free for how long.
    pub fn returning(&self) -> (When, Duration) {
        let options = &self.control.lock().options;
        (options.return_memory, Duration::from_millis(options.uncommit_delay_ms))
    }

    /// The options in force.
    pub fn options(&self) -> Options {
        self.control.lock().options.clone()
    }
}
