//! When to collect, how hard to work, and how large the heap may be: pure arithmetic. Samples in, decisions
//! out; no heap, no clock, no allocation, no lock. The heap, the simulator, the property tests and the
//! replayer all drive this code.
//!
//! Four loops on separate time scales, which share no integral:
//!
//! | loop | when | what | where |
//! |---|---|---|---|
//! | L0 | each buffer refill | may memory be taken at all | `protocols::budget`, the only one that mutators touch |
//! | L1 | each tick while marking | how hard to work | `effort` |
//! | L2 | each cycle | trigger and planned share | the policy |
//! | L3 | each cycle | the goal | `heap_size` |
//!
//! A [`PacerPolicy`] is L1 to L3. Plans that stop mutators use L0 and L3: their trigger is the goal.
//!
//! I1. The state is finite whatever the samples are: huge, negative, NaN, or with time that goes back.
//! I2. `m <= T <= G`, and `G <= H` where what is retained is not above H already. The bytes outside the heap
//!     in G do not count towards H.
//! I3. The share of workers and assists is at most `gc_share_max + assist_cap` in policies that say so
//!     ([`PacerPolicy::is_bounded`]).
//! I4. Constant samples lead to constant decisions.
//!
//! Floating-point functions are those of `libm`, so a decision that is replayed on another machine is the
//! same to the bit.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod config;
mod sample;

mod estimate;

mod reuse;

mod heap_size;

mod effort;
mod give_up;
pub mod nursery;

mod adaptive;
mod collect_at_goal;
mod go;
mod static_half;
mod zgc_director;

mod policy;

pub use adaptive::Adaptive;
pub use config::{HeapMode, MOST_BYTES, PacerConfig};
pub use effort::Crew;
pub use give_up::GiveUp;
pub use heap_size::HeapSize;
use heap_size::Law;
pub use policy::{Policy, PolicyName};
pub use sample::{Cause, CycleSample, Decision, Effort, Tick};

/// A way to pace collections. Sizes in bytes, times in ns, shares as parts of the machine.
///
/// Callers: the threads that drive it, one at a time. The order is: `mutators_ran` and `decide` while
/// mutators run, `marking_begins`, `tick` while marking runs, `cycle_ended`. A policy implements what has no
/// default.
pub trait PacerPolicy {
    /// Its name in options.
    fn name(&self) -> &'static str;

    /// What every policy has.
    fn common(&self) -> &Common;

    /// The same, to change it.
    fn common_mut(&mut self) -> &mut Common;

    /// Mutators ran for a while, and allocated `allocation_rate` bytes per ns of their processor time.
    fn mutators_ran(&mut self, allocation_rate: f64);

    /// What is to happen next, where mutators run while the collector marks.
    fn decide_concurrent(&mut self) -> Decision;

    /// Marking begins, with `reserved` bytes reserved.
    fn marking_begins(&mut self, reserved: f64);

    /// How hard to work until the next tick of marking.
    fn tick(&mut self, tick: &Tick) -> Effort;

    /// A cycle ended. The sample is a sane one; the caller tells the heap size of it.
    fn learn(&mut self, cycle: &CycleSample);

    /// Bytes reserved beyond which mutators wait for the running cycle. The hard limit, unless the policy
    /// knows nothing else than to stall.
    fn stalls_at(&self) -> f64 {
        self.config().hard_limit
    }

    /// Whether I3 holds.
    fn is_bounded(&self) -> bool {
        true
    }

    /// The settings in force.
    fn config(&self) -> &PacerConfig {
        &self.common().config
    }

    /// What sets the goal.
    fn size(&self) -> &HeapSize {
        &self.common().size
    }

    /// Changes the settings; from the next decision on.
    fn configure(&mut self, config: PacerConfig) {
        self.common_mut().config = config.sane();
    }

    /// What is to happen next; asked as often as one likes.
    fn decide(&mut self) -> Decision {
        if self.config().concurrent {
            return self.decide_concurrent();
        }
        self.common().decide_stopped()
    }

    /// Since the last cycle ended, the VM has freed `bytes` of the memory outside the heap that was live
    /// then: it was garbage after all.
    fn released(&mut self, bytes: f64) {
        self.common_mut().size.released(bytes);
    }

    /// A cycle ended. Of one that marked while mutators ran, the policy learns from the sample alone, whether
    /// it was told the beginning and ticks or not: a short marking has none.
    fn cycle_passed(&mut self, cycle: &CycleSample) {
        if self.config().concurrent {
            let cycle = cycle.sane();
            self.marking_begins((cycle.peak - cycle.black).max(0.0));
            if cycle.mutator_cpu_ns > 0.0 {
                self.mutators_ran(cycle.allocated / cycle.mutator_cpu_ns);
            }
        }
        self.cycle_ended(cycle);
    }

    /// A cycle ended.
    fn cycle_ended(&mut self, cycle: &CycleSample) {
        let cycle = cycle.sane();
        self.learn(&cycle);
        let Common { config, size } = self.common_mut();
        size.cycle_ended(config, &cycle);
    }
}

/// What every policy has.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Common {
    config: PacerConfig,
    size: HeapSize,
}

impl Common {
    fn new(config: PacerConfig, law: Law, live: f64) -> Common {
        Common { config: config.sane(), size: HeapSize::new(law, live) }
    }

    /// For a cycle that stops the mutators: it begins at the goal.
    fn decide_stopped(&self) -> Decision {
        let goal = self.size.goal(&self.config).bytes;
        let (allocation, cause) = (self.size.allocation(&self.config), self.size.cause(&self.config));
        Decision { goal, trigger: goal, allocation, share: 1.0, trim: 0.0, cause }
    }
}

#[cfg(test)]
mod tests;
