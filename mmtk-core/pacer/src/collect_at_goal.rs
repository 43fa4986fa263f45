//! Policies that only choose the heap's size: mutators stop when the goal is reached, and marking takes the
//! whole machine.

use super::config::PacerConfig;
use super::heap_size::Law;
use super::sample::{CycleSample, Decision, Effort, Tick};
use super::{Common, PacerPolicy};

/// The policy.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct CollectAtGoal {
    name: &'static str,
    common: Common,
}

impl CollectAtGoal {
    /// MemBalancer.
    pub fn mem_balancer(config: PacerConfig, live: f64) -> CollectAtGoal {
        CollectAtGoal { name: "membalancer", common: Common::new(config, Law::MemBalancer, live) }
    }

    /// The CPU-controlled heap of MPLR 2023.
    pub fn cpu_controlled(config: PacerConfig, live: f64) -> CollectAtGoal {
        CollectAtGoal { name: "mplr23", common: Common::new(config, Law::CpuControlled, live) }
    }
}

impl PacerPolicy for CollectAtGoal {
    fn name(&self) -> &'static str {
        self.name
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn common_mut(&mut self) -> &mut Common {
        &mut self.common
    }

    fn mutators_ran(&mut self, _: f64) {}

    fn decide_concurrent(&mut self) -> Decision {
        self.common.decide_stopped()
    }

    fn marking_begins(&mut self, _: f64) {}

    fn tick(&mut self, _: &Tick) -> Effort {
        Effort { workers: 1.0, assist: 0.0 }
    }

    fn learn(&mut self, _: &CycleSample) {}

    fn is_bounded(&self) -> bool {
        false
    }
}
