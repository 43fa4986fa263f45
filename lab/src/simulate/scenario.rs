//! Scenarios: programs as functions of time.

/// Bytes in a MiB.
const MIB: f64 = 1048576.0;
/// What is live in most of them.
const LIVE: f64 = 200.0 * MIB;
/// Seconds.
const S: f64 = 1e9;
/// When something changes in the scenarios that have a step, in ns.
pub const STEP_AT: f64 = 30.0 * S;

/// How a quantity changes with time, in ns.
#[derive(Copy, Clone, Debug, PartialEq)]
pub enum Shape {
    /// It does not.
    Constant(f64),
    /// From one value to another, at a time.
    Step(f64, f64, f64),
    /// From one value to another, between two times.
    Ramp(f64, f64, f64, f64),
    /// The second value at the beginning of each period, for a part of it; otherwise the first.
    Train(f64, f64, f64, f64),
}

impl Shape {
    /// Its value at a time.
    pub fn at(self, t: f64) -> f64 {
        match self {
            Shape::Constant(value) => value,
            Shape::Step(before, after, when) => {
                if t < when {
                    before
                } else {
                    after
                }
            }
            Shape::Ramp(before, _, from, _) if t < from => before,
            Shape::Ramp(_, after, _, to) if t > to => after,
            Shape::Ramp(before, after, from, to) => before + (after - before) * (t - from) / (to - from),
            Shape::Train(base, burst, period, part) => {
                if t % period < part * period {
                    burst
                } else {
                    base
                }
            }
        }
    }
}

/// A program, and the machine it runs on.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// Bytes that mutators allocate, per ns of their processor time.
    pub allocation: Shape,
    /// Bytes that workers mark, per ns of theirs.
    pub marking: Shape,
    /// Live bytes.
    pub live: Shape,
    /// Processors.
    pub cores: f64,
    /// Deviation of the logarithm of the allocation rate, from cycle to cycle; of marking, half of it.
    pub cycle_noise: f64,
    /// Deviation of the logarithm of the allocation rate within a cycle.
    pub tick_noise: f64,
    /// How long mutators run on, without help for the collector, before a cycle that has marked everything
    /// ends, in ns.
    pub handshake: f64,
    /// The hard limit, in bytes.
    pub limit: Option<f64>,
    /// How long it runs, in ns.
    pub length: f64,
    /// Seed of its noise.
    pub seed: u32,
}

const STEADY: Scenario = Scenario {
    name: "steady",
    about: "0.1 bytes a ns allocated, 1 marked, 200 MiB live, 8 processors",
    allocation: Shape::Constant(0.1),
    marking: Shape::Constant(1.0),
    live: Shape::Constant(LIVE),
    cores: 8.0,
    cycle_noise: 0.0,
    tick_noise: 0.0,
    handshake: 0.0,
    limit: None,
    length: 60.0 * S,
    seed: 1,
};

/// Every scenario, those of the acceptance table first; then those that Go's pacer is known to fail in.
pub const SCENARIOS: &[Scenario] = &[
    STEADY,
    Scenario {
        name: "steady-noise",
        about: "with 20 % noise on the rates",
        cycle_noise: 0.2,
        tick_noise: 0.2,
        ..STEADY
    },
    Scenario {
        name: "allocation-x3",
        about: "three times the allocation rate after 30 s",
        allocation: Shape::Step(0.05, 0.15, STEP_AT),
        ..STEADY
    },
    Scenario {
        name: "allocation-x10",
        about: "ten times the allocation rate after 30 s",
        allocation: Shape::Step(0.05, 0.5, STEP_AT),
        ..STEADY
    },
    Scenario {
        name: "allocation-ramp",
        about: "six times the allocation rate, within 10 s",
        allocation: Shape::Ramp(0.05, 0.3, 20.0 * S, 30.0 * S),
        ..STEADY
    },
    Scenario {
        name: "bursts",
        about: "eight times the allocation rate for 200 ms, every 3 s",
        allocation: Shape::Train(0.05, 0.4, 3.0 * S, 0.066),
        ..STEADY
    },
    Scenario {
        name: "phases",
        about: "four times the allocation rate for 2 s, every 4 s",
        allocation: Shape::Train(0.05, 0.2, 4.0 * S, 0.5),
        cycle_noise: 0.05,
        ..STEADY
    },
    Scenario {
        name: "live-step",
        about: "1.8 times the live bytes after 30 s",
        live: Shape::Step(LIVE, 1.8 * LIVE, STEP_AT),
        ..STEADY
    },
    Scenario {
        name: "live-growth",
        about: "live bytes grow by a tenth a second",
        live: Shape::Ramp(LIVE, 4.0 * LIVE, 20.0 * S, 50.0 * S),
        ..STEADY
    },
    Scenario {
        name: "live-shrink",
        about: "a quarter of the live bytes after 30 s",
        live: Shape::Step(LIVE, 0.25 * LIVE, STEP_AT),
        ..STEADY
    },
    Scenario {
        name: "marking-drop",
        about: "marking at 0.4 of its rate after 30 s",
        marking: Shape::Step(1.0, 0.4, STEP_AT),
        ..STEADY
    },
    Scenario { name: "noise", about: "with 50 % noise on the rates", cycle_noise: 0.5, tick_noise: 0.3, ..STEADY },
    Scenario {
        name: "limit-noise",
        about: "a hard limit of 320 MiB, 20 % noise",
        cycle_noise: 0.2,
        tick_noise: 0.2,
        limit: Some(320.0 * MIB),
        ..STEADY
    },
    Scenario {
        name: "limit-bursts",
        about: "bursts at a hard limit of 320 MiB",
        allocation: Shape::Train(0.05, 0.4, 3.0 * S, 0.066),
        cycle_noise: 0.1,
        limit: Some(320.0 * MIB),
        ..STEADY
    },
    Scenario {
        name: "limit-live-step",
        about: "1.3 times the live bytes at a hard limit of 300 MiB",
        live: Shape::Step(LIVE, 1.3 * LIVE, STEP_AT),
        limit: Some(300.0 * MIB),
        ..STEADY
    },
    Scenario {
        name: "go-37331",
        about: "one processor: whole workers are too coarse a share of it",
        cores: 1.0,
        ..STEADY
    },
    Scenario {
        name: "go-52433",
        about: "marking ends 20 ms late, at a hard limit of 320 MiB",
        handshake: 20e6,
        limit: Some(320.0 * MIB),
        ..STEADY
    },
    Scenario {
        name: "go-56966",
        about: "a quarter of the machine is just what marking needs, at every estimate's value",
        // With twice the live bytes as the goal, and all of the room as runway: 200 MiB allocated on six
        // processors while two mark as much.
        allocation: Shape::Constant(1.0 / 3.0),
        ..STEADY
    },
    Scenario {
        name: "go-58106",
        about: "live bytes grow to 97 % of a hard limit of 320 MiB, and stay there",
        live: Shape::Ramp(LIVE, 0.97 * 320.0 * MIB, 10.0 * S, 20.0 * S),
        limit: Some(320.0 * MIB),
        ..STEADY
    },
    Scenario {
        name: "go-51061",
        about: "nothing is live or allocated for ten seconds",
        allocation: Shape::Step(0.0, 0.1, 10.0 * S),
        live: Shape::Step(0.0, LIVE, 10.0 * S),
        ..STEADY
    },
];

/// The scenario of this name.
pub fn scenario(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

/// The scenarios, a line each.
pub fn describe() -> String {
    SCENARIOS.iter().map(|scenario| format!("  {:16} {}\n", scenario.name, scenario.about)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_change_when_they_say() {
        assert_eq!(Shape::Step(1.0, 2.0, 10.0).at(9.9), 1.0);
        assert_eq!(Shape::Step(1.0, 2.0, 10.0).at(10.0), 2.0);
        assert_eq!(Shape::Ramp(1.0, 3.0, 10.0, 20.0).at(15.0), 2.0);
        assert_eq!(Shape::Ramp(1.0, 3.0, 10.0, 20.0).at(25.0), 3.0);
        let train = Shape::Train(1.0, 5.0, 10.0, 0.2);
        assert_eq!([0.0, 1.9, 2.0, 9.9, 11.0].map(|t| train.at(t)), [5.0, 5.0, 1.0, 1.0, 5.0]);
    }

    #[test]
    fn each_scenario_has_a_name_of_its_own() {
        for (index, one) in SCENARIOS.iter().enumerate() {
            assert_eq!(SCENARIOS.iter().position(|other| other.name == one.name), Some(index));
        }
    }
}
