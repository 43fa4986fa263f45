//! The simulator: a pacer's policy drives a model of a heap that is marked beside its mutators.
//!
//! Nothing is allocated and no thread is started. The plant is fluid: in each step of 1/4 ms mutators
//! allocate and workers mark by their rates and shares of the machine. What differs between runs is the
//! policy; noise comes from a seeded generator, so a figure can be repeated to the last digit.

mod acceptance;
mod metrics;
mod noise;
mod plant;
mod plot;
mod replay;
mod scenario;
mod tax;

pub use acceptance::{Check, Row, acceptance};
pub use metrics::{Metrics, headroom_for_equal_memory, settled_after};
pub use noise::Noise;
pub use plant::{Bias, Cycle, Outcome, Plant, Quantum, Run, run};

pub use plot::plot;
pub use replay::{Kept, Replayed, kept, pacer_log, read_cycles, read_log, replay, same};
pub use tax::Tax;

pub use scenario::{SCENARIOS, STEP_AT, Scenario, Shape, describe, scenario};
