//! What a policy is told, and what it decides.

use super::config::MOST_BYTES;

/// A tick of marking beside running mutators.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Tick {
    /// Bytes reserved now, those of the VM outside the heap included.
    pub reserved: f64,
    /// Bytes marked in this cycle so far.
    pub marked: f64,
    /// Bytes allocated per ns of mutators' processor time, since the last tick.
    pub allocation_rate: f64,
    /// Bytes marked per ns of workers' processor time, since the last tick.
    pub scan_rate: f64,
}

/// How hard to work until the next tick, as shares of the machine.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Effort {
    /// Workers.
    pub workers: f64,
    /// Mutators that help to mark.
    pub assist: f64,
}

/// A cycle that ended. Sizes in bytes, times in ns.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct CycleSample {
    /// Bytes of objects that were traced (L, and W of the cycle).
    pub traced: f64,
    /// Bytes reserved after the cycle: what was traced, what was allocated while marking, and what is lost
    /// between objects.
    pub retained: f64,
    /// Of both, bytes that the VM keeps outside the heap: they cost nothing to trace, and the hard limit does
    /// not bound them.
    pub external: f64,
    /// The most that was reserved.
    pub peak: f64,
    /// How long marking took.
    pub marking_ns: f64,
    /// Processor time of workers and assists in this cycle.
    pub gc_cpu_ns: f64,
    /// Of it, of mutators that helped.
    pub assist_cpu_ns: f64,
    /// Bytes allocated while marking, which the cycle could not free.
    pub black: f64,
    /// Processor time of mutators since the cycle before ended, without assists.
    pub mutator_cpu_ns: f64,
    /// Bytes allocated since the cycle before ended, those outside the heap included.
    pub allocated: f64,
    /// Of them, those that lie where memory was reserved already: between objects that the cycle before left
    /// in place.
    pub recycled: f64,
    /// From the request until all mutators had answered, the 99th centile.
    pub handshake_ns: f64,
    /// The pause that ends marking.
    pub final_pause_ns: f64,
    /// Whether something other than the trigger began the cycle: it tells nothing about the trigger.
    pub forced: bool,
}

impl CycleSample {
    /// The sample with every number finite and not negative.
    pub fn sane(self) -> CycleSample {
        let traced = amount(self.traced);
        let retained = amount(self.retained);
        let external = amount(self.external).min(traced).min(retained);
        let gc_cpu_ns = amount(self.gc_cpu_ns);
        let allocated = amount(self.allocated);
        CycleSample {
            traced,
            retained,
            external,
            peak: amount(self.peak),
            marking_ns: amount(self.marking_ns),
            gc_cpu_ns,
            assist_cpu_ns: amount(self.assist_cpu_ns).min(gc_cpu_ns),
            black: amount(self.black).min(retained),
            mutator_cpu_ns: amount(self.mutator_cpu_ns),
            allocated,
            recycled: amount(self.recycled).min(allocated),
            handshake_ns: amount(self.handshake_ns),
            final_pause_ns: amount(self.final_pause_ns),
            forced: self.forced,
        }
    }
}

impl Tick {
    /// The tick with every number finite, and rates that can be divided by.
    pub fn sane(self) -> Tick {
        Tick {
            reserved: amount(self.reserved),
            marked: amount(self.marked),
            allocation_rate: rate(self.allocation_rate),
            scan_rate: rate(self.scan_rate),
        }
    }
}

/// Bytes or ns: finite, not negative.
pub(super) fn amount(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(0.0, MOST_BYTES) }
}

/// Bytes per ns: between a byte in a quarter of an hour and a petabyte per second.
pub(super) fn rate(value: f64) -> f64 {
    if value.is_nan() { LEAST_RATE } else { value.clamp(LEAST_RATE, MOST_RATE) }
}

const LEAST_RATE: f64 = 1e-12;
const MOST_RATE: f64 = 1e6;

/// What a policy wants for the next cycle.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Decision {
    /// Bytes reserved by which the cycle should have ended (G).
    pub goal: f64,
    /// Bytes reserved at which it begins (T).
    pub trigger: f64,
    /// Bytes allocated since the last cycle at which it begins too, however little the heap has grown;
    /// [`MOST_BYTES`] for no such bound.
    pub allocation: f64,
    /// Planned share of the machine while marking (u*); 1 stops the mutators.
    pub share: f64,
    /// What the trigger was corrected by: the logarithm of a factor (I).
    pub trim: f64,
    /// What bound it.
    pub cause: Cause,
}

/// What bound a decision.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Nothing is known yet.
    FirstCycle,
    /// The estimates.
    Estimate,
    /// The trigger is as early as it may be.
    Earliest,
    /// The trigger is as late as it may be.
    Latest,
    /// The soft or hard limit bounds the goal.
    Limit,
    /// The goal is above the soft limit: what is live does not fit below, or leaves so little room there that
    /// collecting would take more of the processor than `gc_cpu_cap`.
    SoftLimitGivesWay,
    /// Mutators stop, so the trigger is the goal.
    StopTheWorld,
    /// The VM decides; the goal is the limit.
    Delegated,
}

impl Cause {
    /// Every cause.
    pub const ALL: &'static [Cause] = &[
        Cause::FirstCycle,
        Cause::Estimate,
        Cause::Earliest,
        Cause::Latest,
        Cause::Limit,
        Cause::SoftLimitGivesWay,
        Cause::StopTheWorld,
        Cause::Delegated,
    ];

    /// Its name in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Cause::FirstCycle => "first-cycle",
            Cause::Estimate => "estimate",
            Cause::Earliest => "earliest",
            Cause::Latest => "latest",
            Cause::Limit => "limit",
            Cause::SoftLimitGivesWay => "soft-limit-gives-way",
            Cause::StopTheWorld => "stop-the-world",
            Cause::Delegated => "delegated",
        }
    }
}
