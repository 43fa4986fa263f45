//! A model of Go's pacer as it is since 1.20: a trigger from the greatest of five estimates of allocation to
//! marking, a quarter of the machine for marking, and assists in proportion to what is left.
//!
//! It is here for comparison: the simulator runs it beside the toolkit's own policy. The goal counts black
//! allocation, as Go's does: all that a cycle retained is taken for live.
//!
//! Source: runtime/mgcpacer.go of Go, and its design document 44167.

use super::config::{MIB, MOST_BYTES, PacerConfig};
use super::heap_size::Law;
use super::sample::{Cause, CycleSample, Decision, Effort, Tick, amount, rate};
use super::{Common, PacerPolicy};

/// Share of the machine that background workers take.
const BACKGROUND: f64 = 0.25;
/// The trigger's bounds in the room over what is retained, in 64ths.
const EARLIEST: f64 = 45.0 / 64.0;
const LATEST: f64 = 61.0 / 64.0;
/// The part of a memory limit that is kept for memory that is not counted.
const LIMIT_MARGIN: f64 = 0.03;
/// The least distance from the trigger to the goal, in bytes.
const LEAST_RUNWAY: f64 = 64.0 * 1024.0;
/// What a goal that was missed is extended by.
const HARD_GOAL: f64 = 1.1;
/// The least heap.
const LEAST_HEAP: f64 = 4.0 * MIB;
/// Work that is always left.
const LEAST_WORK: f64 = 1000.0;

/// The policy.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Go {
    common: Common,
    /// What was marked by the last cycle, black allocation included.
    marked: f64,
    /// What it scanned.
    scanned: f64,
    /// Allocation to marking, of the last cycles and the greatest of them.
    ratios: [f64; 4],
    ratio: f64,
    trigger: f64,
}

impl Go {
    /// For a heap in which `live` bytes are supposed to be live.
    pub fn new(config: PacerConfig, live: f64) -> Go {
        let config = config.sane();
        Go {
            common: Common::new(config, Law::Configured, live),
            marked: live,
            scanned: live,
            ratios: [0.0; 4],
            ratio: 0.0,
            trigger: 0.0,
        }
    }

    /// The goal, and whether the memory limit bound it.
    fn goal(&self) -> (f64, bool) {
        let goal = (self.marked * (1.0 + self.config().headroom)).max(self.config().min_bytes).min(MOST_BYTES);
        if !self.config().is_limited() {
            return (goal, false);
        }
        let limit = self.config().hard_limit;
        let ceiling = (limit - (limit * LIMIT_MARGIN).max(MIB)).max(self.marked);
        (goal.min(ceiling), ceiling < goal)
    }

    fn trigger_for(&self, goal: f64) -> f64 {
        let marked = self.marked;
        if marked >= goal {
            return goal;
        }
        let runway = self.ratio * ((1.0 - BACKGROUND) / BACKGROUND) * self.scanned;
        let earliest = marked + (goal - marked) * EARLIEST;
        let mut latest = marked + (goal - marked) * LATEST;
        if goal > LEAST_HEAP {
            latest = latest.max(goal - LEAST_HEAP);
        }
        let wanted = if runway <= goal { (goal - runway).max(earliest) } else { earliest };
        wanted.clamp(earliest, latest.max(earliest))
    }
}

impl PacerPolicy for Go {
    fn name(&self) -> &'static str {
        "go"
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn common_mut(&mut self) -> &mut Common {
        &mut self.common
    }

    fn mutators_ran(&mut self, _: f64) {}

    fn decide_concurrent(&mut self) -> Decision {
        let (goal, limited) = self.goal();
        let cause = if limited { Cause::Limit } else { Cause::Estimate };
        Decision { goal, trigger: self.trigger_for(goal), allocation: MOST_BYTES, share: BACKGROUND, trim: 0.0, cause }
    }

    fn marking_begins(&mut self, reserved: f64) {
        self.trigger = amount(reserved);
    }

    fn tick(&mut self, tick: &Tick) -> Effort {
        let tick = tick.sane();
        let (mut goal, limited) = self.goal();
        if !limited {
            goal = goal.max(self.trigger + LEAST_RUNWAY);
        }
        // No more than was there when marking began, and what came since.
        let most = tick.reserved;
        let mut expected = self.scanned;
        if tick.marked > expected {
            let extended = (goal - self.trigger) / expected.max(1.0) * most + self.trigger;
            expected = most;
            goal = extended.min((1.0 + self.config().headroom) * goal);
        }
        if tick.reserved > goal {
            goal *= HARD_GOAL;
            expected = most;
        }
        let left = (expected - tick.marked).max(LEAST_WORK);
        let demand = left / (goal - tick.reserved).max(1.0) * tick.allocation_rate;
        let share = (demand / (demand + tick.scan_rate)).max(BACKGROUND);
        Effort { workers: BACKGROUND, assist: share - BACKGROUND }
    }

    fn learn(&mut self, cycle: &CycleSample) {
        let machine_ns = (self.config().cores * cycle.marking_ns).max(1.0);
        let share = BACKGROUND + cycle.assist_cpu_ns / machine_ns;
        let allocated = (cycle.peak - self.trigger).max(0.0);
        let ratio = if cycle.traced > 0.0 && share < 1.0 {
            rate(allocated * share / (cycle.traced * (1.0 - share)))
        } else {
            self.ratio
        };
        self.ratio = self.ratios.into_iter().fold(ratio, f64::max);
        self.ratios = [self.ratios[1], self.ratios[2], self.ratios[3], ratio];
        self.marked = cycle.retained;
        self.scanned = cycle.traced;
    }

    /// Its memory limit is soft.
    fn stalls_at(&self) -> f64 {
        f64::INFINITY
    }

    fn is_bounded(&self) -> bool {
        false
    }
}
