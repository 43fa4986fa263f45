//! A model of ZGC's director with a fixed number of workers: a cycle begins when, at a pessimistic allocation
//! rate, memory lasts no longer than a collection takes. There are no assists: mutators that find no memory
//! wait.
//!
//! Its heap has one size, so the goal plays the part of the maximal heap.
//!
//! Source: zDirector.cpp of the JDK, the rules on the allocation rate and on high usage.

use super::config::{MOST_BYTES, PacerConfig};
use super::estimate::AllocationRate;
use super::heap_size::Law;
use super::sample::{Cause, CycleSample, Decision, Effort, Tick, amount, rate};
use super::{Common, PacerPolicy};

/// The greatest rate that is feared: the mean by the tolerance for spikes, and deviations that one sample in
/// a thousand exceeds.
const SPIKES: f64 = 2.0;
const ONE_IN_THOUSAND: f64 = 3.290_527;
/// A cycle begins at the latest when so little of the heap is free.
const HIGH_USAGE: f64 = 0.05;
/// Weight of the newest cycle in its length.
const NEWEST: f64 = 0.3;
/// A cycle begins a sampling interval early.
const INTERVAL_NS: f64 = 10e6;
/// The first cycles begin at these parts of the heap, to learn.
const WARM_UP: [f64; 3] = [0.1, 0.2, 0.3];

/// The policy.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct ZgcDirector {
    common: Common,
    allocation: AllocationRate,
    /// How long a cycle takes: mean and variance, in ns.
    length: Option<(f64, f64)>,
    cycles: usize,
}

impl ZgcDirector {
    /// For a heap in which `live` bytes are supposed to be live.
    pub fn new(config: PacerConfig, live: f64) -> ZgcDirector {
        ZgcDirector {
            common: Common::new(config, Law::Configured, live),
            allocation: AllocationRate::default(),
            length: None,
            cycles: 0,
        }
    }
}

impl PacerPolicy for ZgcDirector {
    fn name(&self) -> &'static str {
        "zgc-director"
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
        let goal = self.size().goal(self.config()).bytes;
        let retained = self.size().retained().min(goal);
        let latest = (goal * (1.0 - HIGH_USAGE)).max(retained);
        let (trigger, cause) = match (self.length, self.allocation.upper(ONE_IN_THOUSAND)) {
            (Some((mean, variance)), Some(feared)) if self.cycles >= WARM_UP.len() => {
                let length = mean + ONE_IN_THOUSAND * libm::sqrt(variance);
                let mutators = self.config().cores * (1.0 - self.config().gc_share);
                let wanted = goal - SPIKES * feared * mutators * (length + INTERVAL_NS);
                let cause = if wanted > latest { Cause::Latest } else { Cause::Estimate };
                (wanted, if wanted < retained { Cause::Earliest } else { cause })
            }
            _ => (goal * WARM_UP[self.cycles.min(WARM_UP.len() - 1)], Cause::FirstCycle),
        };
        let trigger = trigger.clamp(retained, latest);
        Decision { goal, trigger, allocation: MOST_BYTES, share: self.config().gc_share, trim: 0.0, cause }
    }

    fn marking_begins(&mut self, _: f64) {}

    fn tick(&mut self, _: &Tick) -> Effort {
        Effort { workers: self.config().gc_share, assist: 0.0 }
    }

    fn learn(&mut self, cycle: &CycleSample) {
        let ns = amount(cycle.marking_ns);
        self.length = Some(match self.length {
            None => (ns, 0.0),
            Some((mean, variance)) => {
                let difference = ns - mean;
                let variance = (1.0 - NEWEST) * (variance + NEWEST * difference * difference);
                (mean + NEWEST * difference, variance)
            }
        });
        self.cycles = (self.cycles + 1).min(WARM_UP.len());
    }

    fn stalls_at(&self) -> f64 {
        self.size().goal(self.config()).bytes
    }
}
