//! Policies that are nothing but a law for the heap's size: mutators stop when the goal is reached, and marking takes the whole machine.

use super::config::PacerConfig;
use super::heap_size::{HeapSize, Law};
use super::sample::{CycleSample, Decision, Effort, Tick};
use super::{PacerPolicy, stopped};

/// The policy.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct CollectAtGoal {
    name: &'static str,
    config: PacerConfig,
    size: HeapSize,
}

impl CollectAtGoal {
    /// MemBalancer.
    pub fn mem_balancer(config: PacerConfig, live: f64) -> CollectAtGoal {
        CollectAtGoal { name: "membalancer", config: config.sane(), size: HeapSize::new(Law::MemBalancer, live) }
    }

    /// The CPU-controlled heap of MPLR 2023.
    pub fn cpu_controlled(config: PacerConfig, live: f64) -> CollectAtGoal {
        CollectAtGoal { name: "mplr23", config: config.sane(), size: HeapSize::new(Law::CpuControlled, live) }
    }
}

impl PacerPolicy for CollectAtGoal {
    fn name(&self) -> &'static str {
        self.name
    }

    fn config(&self) -> &PacerConfig {
        &self.config
    }

    fn configure(&mut self, config: PacerConfig) {
        self.config = config.sane();
    }

    fn mutators_ran(&mut self, _: f64) {}

    fn decide(&mut self) -> Decision {
        stopped(&self.config, &self.size)
    }

    fn marking_begins(&mut self, _: f64) {}

    fn tick(&mut self, _: &Tick) -> Effort {
        Effort { workers: 1.0, assist: 0.0 }
    }

    fn cycle_ended(&mut self, cycle: &CycleSample) {
        self.size.cycle_ended(&self.config, &cycle.sane());
    }

    fn size(&self) -> &HeapSize {
        &self.size
    }

    fn is_bounded(&self) -> bool {
        false
    }
}
