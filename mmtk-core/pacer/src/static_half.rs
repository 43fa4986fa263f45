//! A cycle begins when half of the room is used, whatever the program does. Mutators that use up the other
//! half wait.

use super::config::{MOST_BYTES, PacerConfig};
use super::heap_size::Law;
use super::sample::{Cause, CycleSample, Decision, Effort, Tick};
use super::{Common, PacerPolicy};

/// The part of the room at which a cycle begins.
const PART: f64 = 0.5;

/// The policy.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct StaticHalf {
    common: Common,
}

impl StaticHalf {
    /// For a heap in which `live` bytes are supposed to be live.
    pub fn new(config: PacerConfig, live: f64) -> StaticHalf {
        StaticHalf { common: Common::new(config, Law::Configured, live) }
    }
}

impl PacerPolicy for StaticHalf {
    fn name(&self) -> &'static str {
        "static-50"
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn common_mut(&mut self) -> &mut Common {
        &mut self.common
    }

    fn mutators_ran(&mut self, _: f64) {}

    fn decide_concurrent(&mut self) -> Decision {
        let goal = self.size().goal(self.config());
        let trigger = self.size().retained() + PART * (goal.bytes - self.size().retained()).max(0.0);
        let cause = if goal.limited { Cause::Limit } else { Cause::Estimate };
        Decision { goal: goal.bytes, trigger, allocation: MOST_BYTES, share: self.config().gc_share, trim: 0.0, cause }
    }

    fn marking_begins(&mut self, _: f64) {}

    fn tick(&mut self, _: &Tick) -> Effort {
        Effort { workers: self.config().gc_share, assist: 0.0 }
    }

    fn learn(&mut self, _: &CycleSample) {}

    fn stalls_at(&self) -> f64 {
        self.size().goal(self.config()).bytes
    }
}
