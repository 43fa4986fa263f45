//! The toolkit's own policy: trigger and share planned together once a cycle, the share corrected each tick.
//!
//! Let x be the bytes that mutators allocate while one processor's worth of marking is done on another: `x =
//! a^ W^ / s^`. At a share u of the machine, `x (1-u)/u` bytes are allocated while marking runs.
//!
//! 1. The share is the smallest one for which black allocation fits into its budget, `u* = x / (x + b (G -
//!    L))`, but not below u0. Below u* every pacer has to assist, stall or overshoot.
//! 2. The trigger leaves room for it: `T = G - e^I x (1-u*)/u* - eps (G - m)`.
//! 3. The trim I is the error of the estimates, learned in the logarithm from cycles that ended: `I += Ki
//!    ln(A / R)`. A is the allocation while marking, rescaled to the planned share, and R the runway. The
//!    trim is bounded, and decays when the trigger was at a bound: otherwise the integral would remember
//!    errors of cycles that the trigger did not control.
//!
//! I1. The trigger never rises when the allocation rate or the work is estimated higher.
//! I2. `m <= T <= G`.

use super::config::{MOST_BYTES, PacerConfig};
use super::effort::{Marking, Share};
use super::estimate::{AllocationRate, TracedBytes, follow};
use super::heap_size::Law;
use super::sample::{Cause, CycleSample, Decision, Effort, Tick, rate};
use super::{Common, PacerPolicy};

/// The trigger's bounds in the room over what is retained.
const EARLIEST: f64 = 0.05;
const LATEST: f64 = 0.97;
/// Before anything is known.
const FIRST_RUNWAY: f64 = 0.3;
/// The most that a cycle says about the trim.
const TRIM_A_CYCLE: f64 = 0.5;
/// What is left of it after a cycle that told nothing.
const FORGET: f64 = 0.7;

/// A plan: the share, and what mutators allocate while marking takes it and until the cycle has ended.
#[derive(Copy, Clone)]
struct Runway {
    share: f64,
    marking: f64,
    ending: f64,
}

/// The policy.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Adaptive {
    common: Common,
    allocation: AllocationRate,
    work: TracedBytes,
    /// Bytes per ns of workers' processor time.
    scan_rate: Option<f64>,
    handshake_ns: Option<f64>,
    trim: f64,
    /// Of the running cycle.
    share: Share,
    trigger: f64,
    runway: f64,
    /// Whether the trigger was at a bound when it was last looked at.
    saturated: bool,
    /// What the estimates of the allocation rate and of the marking rate are multiplied by.
    skew: (f64, f64),
}

impl Adaptive {
    /// For a heap in which `live` bytes are supposed to be live.
    pub fn new(config: PacerConfig, live: f64) -> Adaptive {
        let config = config.sane();
        let nothing = Marking { work: live, trigger: 0.0, retained: 0.0, share: config.gc_share, handshake_ns: 0.0 };
        Adaptive {
            common: Common::new(config, Law::Configured, live),
            allocation: AllocationRate::default(),
            work: TracedBytes::suppose(live),
            scan_rate: None,
            handshake_ns: None,
            trim: 0.0,
            share: Share::new(nothing),
            trigger: 0.0,
            runway: 1.0,
            saturated: false,
            skew: (1.0, 1.0),
        }
    }

    /// Makes the estimates of the allocation rate and of the marking rate wrong by these factors: experiments
    /// show that the trim corrects it.
    pub fn skew(&mut self, allocation: f64, marking: f64) {
        self.skew = (rate(allocation), rate(marking));
    }

    /// Expects the next cycle to trace so much.
    #[cfg(test)]
    pub(super) fn expect_work(&mut self, traced: f64) {
        self.work = TracedBytes::suppose(traced);
    }

    /// What mutators allocate between the last object marked and the end of the cycle: they run on with the
    /// whole machine.
    fn ending(&self, allocation: f64, handshake_ns: f64) -> f64 {
        rate(allocation) * self.config().cores * handshake_ns
    }

    /// The plan of the next cycle; none while nothing is known.
    fn plan(&self, goal: f64) -> Option<Runway> {
        let c = self.config();
        let (a, s) = (self.allocation.upper(c.safety_sigma)?, self.scan_rate?);
        let x = rate(a * self.skew.0) * self.work.upper(c.safety_sigma) / rate(s * self.skew.1);
        let live = self.size().base();
        let black = (goal - live).max(1.0) * c.float_budget;
        let black = black.min(0.95 * (goal - self.size().retained()).max(0.02 * live)).max(1.0);
        let share = (x / (x + black)).clamp(c.gc_share, c.gc_share_max);
        // As `x (1 - share) / share`, and to the last bit never less for a greater x.
        let at = |share: f64| x * (1.0 - share) / share;
        let allocated = black.clamp(at(c.gc_share_max).min(at(c.gc_share)), at(c.gc_share));
        Some(Runway {
            share,
            marking: allocated * libm::exp(self.trim),
            ending: self.ending(a, self.handshake_ns.unwrap_or(0.0)),
        })
    }
}

impl PacerPolicy for Adaptive {
    fn name(&self) -> &'static str {
        "adaptive"
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn common_mut(&mut self) -> &mut Common {
        &mut self.common
    }

    fn mutators_ran(&mut self, allocation_rate: f64) {
        self.allocation.observe(rate(allocation_rate));
    }

    fn decide_concurrent(&mut self) -> Decision {
        let goal = self.size().goal(self.config());
        let retained = self.size().retained();
        let span = (goal.bytes - retained).max(1.0);
        let planned = self.plan(goal.bytes);
        let first =
            Runway { share: self.config().gc_share, marking: FIRST_RUNWAY * (goal.bytes - retained), ending: 0.0 };
        let Runway { share, marking, ending } = planned.unwrap_or(first);
        let (earliest, latest) = (retained + EARLIEST * span, retained + LATEST * span);
        let wanted = goal.bytes - marking - ending - self.config().margin * span;
        self.saturated = wanted < earliest || wanted > latest;
        let cause = match planned {
            None => Cause::FirstCycle,
            _ if goal.gives_way => Cause::SoftLimitGivesWay,
            _ if wanted < earliest => Cause::Earliest,
            _ if wanted > latest => Cause::Latest,
            _ if goal.limited => Cause::Limit,
            _ => Cause::Estimate,
        };
        let trigger = wanted.clamp(earliest, latest).min(goal.bytes.max(retained));
        Decision { goal: goal.bytes, trigger, allocation: MOST_BYTES, share, trim: self.trim, cause }
    }

    fn marking_begins(&mut self, reserved: f64) {
        let goal = self.size().goal(self.config()).bytes;
        let (share, ending) = self.plan(goal).map_or((self.config().gc_share, 0.0), |plan| (plan.share, plan.ending));
        self.trigger = super::sample::amount(reserved);
        self.runway = (goal - self.trigger - ending).max(1.0);
        self.share = Share::new(Marking {
            work: self.work.expected(),
            trigger: self.trigger,
            retained: self.size().retained(),
            share,
            handshake_ns: self.handshake_ns.unwrap_or(0.0),
        });
    }

    fn tick(&mut self, tick: &Tick) -> Effort {
        let goal = self.size().goal(self.config()).bytes;
        self.share.tick(&self.common.config, &tick.sane(), goal)
    }

    fn learn(&mut self, cycle: &CycleSample) {
        if cycle.gc_cpu_ns > 0.0 {
            follow(&mut self.scan_rate, rate(cycle.traced / cycle.gc_cpu_ns), 0.5);
        }
        follow(&mut self.handshake_ns, cycle.handshake_ns, 0.5);
        let machine_ns = (self.config().cores * cycle.marking_ns).max(1.0);
        let (planned, taken) = (self.share.planned(), (cycle.gc_cpu_ns / machine_ns).min(1.0));
        let ending = self.ending(self.allocation.upper(0.0).unwrap_or(0.0), cycle.handshake_ns);
        let while_marking = (cycle.peak - self.trigger - ending).max(0.0);
        let allocated = while_marking * ((1.0 - planned) * taken) / ((1.0 - taken).max(1e-3) * planned);
        if self.config().concurrent && allocated > 0.0 && !self.saturated && !cycle.forced {
            let error = libm::log(allocated.max(1.0) / self.runway).clamp(-TRIM_A_CYCLE, TRIM_A_CYCLE);
            let most = self.config().trim_max;
            self.trim = (self.trim + self.config().trim_gain * error).clamp(-most, most);
        } else {
            self.trim *= FORGET;
        }
        // Who asks for a collection may do so because little is live at that moment.
        let least = if cycle.forced { self.work.expected() } else { 0.0 };
        self.work.observe(cycle.traced.max(least));
    }
}
