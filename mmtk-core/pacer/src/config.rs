//! What the pacer is told beforehand. All of it may change while the program runs.

use core::fmt;

/// The law that sets the goal: how large the heap may grow before the next collection ends.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum HeapMode {
    /// The limit.
    Fixed,
    /// What was live, and a headroom in proportion to it.
    Proportional,
    /// What keeps collections at a given share of the processor time.
    CpuTarget,
    /// The square-root rule of MemBalancer.
    MemBalancer,
    /// The limit; below it the VM asks for collections.
    Delegated,
}

impl HeapMode {
    /// Every mode.
    pub const ALL: &'static [HeapMode] =
        &[HeapMode::Fixed, HeapMode::Proportional, HeapMode::CpuTarget, HeapMode::MemBalancer, HeapMode::Delegated];

    /// Its name in options.
    pub const fn name(self) -> &'static str {
        match self {
            HeapMode::Fixed => "fixed",
            HeapMode::Proportional => "proportional",
            HeapMode::CpuTarget => "cpu-target",
            HeapMode::MemBalancer => "membalancer",
            HeapMode::Delegated => "delegated",
        }
    }
}

impl fmt::Display for HeapMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Settings of all policies. Sizes in bytes, shares of the machine between 0 and 1, times in ns.
///
/// [`PacerConfig::sane`] is what policies work with: no setting makes their state infinite.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct PacerConfig {
    /// What sets the goal.
    pub mode: HeapMode,
    /// Proportional: room over what is live, as a part of it.
    pub headroom: f64,
    /// CPU target: the collector's part of all processor time (f*).
    pub gc_cpu_target: f64,
    /// MemBalancer: the price of memory (c), per byte. Four times the price is half the room.
    pub balance: f64,
    /// No goal is below it.
    pub min_bytes: f64,
    /// No goal is above it, unless what is live is, or collecting would take more than `gc_cpu_cap`.
    pub soft_limit: f64,
    /// The heap is never larger (H); infinite if there is none.
    pub hard_limit: f64,
    /// How scarce memory is on the machine, between 0 and 1: at 1 the room is a quarter of what it would be.
    pub pressure: f64,
    /// Whether mutators run while marking. Otherwise the trigger is the goal.
    pub concurrent: bool,
    /// Processors that mutators and collector share (C).
    pub cores: f64,
    /// Share of the machine that marking takes when nothing is urgent (u0).
    pub gc_share: f64,
    /// The most that marking takes without help of mutators.
    pub gc_share_max: f64,
    /// The least that it takes.
    pub gc_share_min: f64,
    /// The most that mutators give of their time, as a share of the machine.
    pub assist_cap: f64,
    /// Black allocation in a cycle, as a part of the room over what is live (b).
    pub float_budget: f64,
    /// Distance kept from the goal, as a part of the room (eps).
    pub margin: f64,
    /// Standard deviations that estimates are on the safe side (k).
    pub safety_sigma: f64,
    /// Gain of the trim of L2 (Ki).
    pub trim_gain: f64,
    /// The trim's bound. An estimate that is wrong by a factor of 1.6 takes .58 of it: the factor's
    /// logarithm, and the margin.
    pub trim_max: f64,
    /// The most that collecting takes of the processor time on account of the soft limit, of pressure, or of
    /// memory outside the heap; and when next to all of the heap is live, the part that ends in giving up.
    pub gc_cpu_cap: f64,
}

impl Default for PacerConfig {
    fn default() -> PacerConfig {
        PacerConfig {
            mode: HeapMode::Proportional,
            headroom: 1.0,
            gc_cpu_target: 0.08,
            balance: DEFAULT_BALANCE,
            min_bytes: 4.0 * MIB,
            soft_limit: f64::INFINITY,
            hard_limit: f64::INFINITY,
            pressure: 0.0,
            concurrent: true,
            cores: 1.0,
            gc_share: 0.25,
            gc_share_max: 0.5,
            gc_share_min: 0.10,
            assist_cap: 0.25,
            float_budget: 0.25,
            margin: 0.02,
            safety_sigma: 1.0,
            trim_gain: 0.3,
            trim_max: 0.6,
            gc_cpu_cap: 0.5,
        }
    }
}

/// 2^20.
pub const MIB: f64 = 1024.0 * 1024.0;
/// Bytes that no heap reaches; keeps products of two sizes finite.
pub const MOST_BYTES: f64 = 1e18;
/// With 1 ns to mark a byte, an allocation rate of 1 GB/s and 100 MB live, the heap has 100 MB of room.
const DEFAULT_BALANCE: f64 = 1e-8;

impl PacerConfig {
    /// The settings with each one in its range, NaN replaced by the default.
    pub fn sane(self) -> PacerConfig {
        let by_default = PacerConfig::default();
        let within = |value: f64, low: f64, high: f64, otherwise: f64| {
            if value.is_nan() { otherwise } else { value.clamp(low, high) }
        };
        let gc_share_max = within(self.gc_share_max, 0.01, 1.0, by_default.gc_share_max);
        PacerConfig {
            mode: self.mode,
            headroom: within(self.headroom, 0.01, 100.0, by_default.headroom),
            gc_cpu_target: within(self.gc_cpu_target, 0.001, 0.9, by_default.gc_cpu_target),
            balance: within(self.balance, 1e-15, 1.0, by_default.balance),
            min_bytes: within(self.min_bytes, 0.0, MOST_BYTES, by_default.min_bytes),
            soft_limit: within(self.soft_limit, 0.0, MOST_BYTES, MOST_BYTES),
            hard_limit: within(self.hard_limit, 0.0, MOST_BYTES, MOST_BYTES),
            pressure: within(self.pressure, 0.0, 1.0, by_default.pressure),
            concurrent: self.concurrent,
            cores: within(self.cores, 0.01, 1e6, by_default.cores),
            gc_share: within(self.gc_share, 0.005, gc_share_max, by_default.gc_share.min(gc_share_max)),
            gc_share_max,
            gc_share_min: within(self.gc_share_min, 0.0, gc_share_max, by_default.gc_share_min.min(gc_share_max)),
            assist_cap: within(self.assist_cap, 0.0, 1.0 - gc_share_max, by_default.assist_cap.min(1.0 - gc_share_max)),
            float_budget: within(self.float_budget, 0.01, 1.0, by_default.float_budget),
            margin: within(self.margin, 0.0, 0.5, by_default.margin),
            safety_sigma: within(self.safety_sigma, 0.0, 10.0, by_default.safety_sigma),
            trim_gain: within(self.trim_gain, 0.0, 1.0, by_default.trim_gain),
            trim_max: within(self.trim_max, 0.0, 3.0, by_default.trim_max),
            gc_cpu_cap: within(self.gc_cpu_cap, 0.01, 1.0, by_default.gc_cpu_cap),
        }
    }

    /// Whether there is a hard limit.
    pub fn is_limited(&self) -> bool {
        self.hard_limit < MOST_BYTES
    }
}
