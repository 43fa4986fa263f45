//! A cycle begins when half of the room is used, whatever the program does. Mutators that use up the other half wait.

use super::PacerPolicy;
use super::config::PacerConfig;
use super::heap_size::{HeapSize, Law};
use super::sample::{Cause, CycleSample, Decision, Effort, Tick};
use super::stopped;

/// The part of the room at which a cycle begins.
const PART: f64 = 0.5;

/// The policy.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct StaticHalf {
    config: PacerConfig,
    size: HeapSize,
}

impl StaticHalf {
    /// For a heap in which `live` bytes are supposed to be live.
    pub fn new(config: PacerConfig, live: f64) -> StaticHalf {
        StaticHalf { config: config.sane(), size: HeapSize::new(Law::Configured, live) }
    }
}

impl PacerPolicy for StaticHalf {
    fn name(&self) -> &'static str {
        "static-50"
    }

    fn config(&self) -> &PacerConfig {
        &self.config
    }

    fn configure(&mut self, config: PacerConfig) {
        self.config = config.sane();
    }

    fn mutators_ran(&mut self, _: f64) {}

    fn decide(&mut self) -> Decision {
        if !self.config.concurrent {
            return stopped(&self.config, &self.size);
        }
        let goal = self.size.goal(&self.config);
        let trigger = self.size.retained() + PART * (goal.bytes - self.size.retained()).max(0.0);
        let cause = if goal.limited { Cause::Limit } else { Cause::Estimate };
        Decision { goal: goal.bytes, trigger, share: self.config.gc_share, trim: 0.0, cause }
    }

    fn marking_begins(&mut self, _: f64) {}

    fn tick(&mut self, _: &Tick) -> Effort {
        Effort { workers: self.config.gc_share, assist: 0.0 }
    }

    fn cycle_ended(&mut self, cycle: &CycleSample) {
        self.size.cycle_ended(&self.config, &cycle.sane());
    }

    fn size(&self) -> &HeapSize {
        &self.size
    }

    fn stalls_at(&self) -> f64 {
        self.size.goal(&self.config).bytes
    }
}
