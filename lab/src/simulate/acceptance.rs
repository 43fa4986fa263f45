//! What the adaptive policy must do, scenario by scenario, as a table that is measured anew each time.
//!
//! Bounds are those of the pacer's design. Shares of assists are of the machine: their mean is over the whole
//! run, their maximum over one cycle.

use pacer::{PacerConfig, PolicyName};

use super::metrics::{Metrics, settled_after};
use super::plant::{Bias, Cycle, Outcome, Plant, Quantum, Run, run};
use super::scenario::{SCENARIOS, STEP_AT, Scenario, Shape, scenario};

/// Something measured and what it may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What it is.
    pub what: &'static str,
    /// What was measured.
    pub found: f64,
    /// The least and the greatest that will do.
    pub bounds: (f64, f64),
}

impl Check {
    /// Whatever is not more.
    pub fn at_most(what: &'static str, found: f64, most: f64) -> Check {
        Check { what, found, bounds: (f64::NEG_INFINITY, most) }
    }

    /// Whatever lies between.
    pub fn within(what: &'static str, found: f64, least: f64, most: f64) -> Check {
        Check { what, found, bounds: (least, most) }
    }

    /// Whether it will do.
    pub fn passes(&self) -> bool {
        self.found >= self.bounds.0 && self.found <= self.bounds.1
    }

    /// The bounds as text.
    pub fn bound(&self) -> String {
        match self.bounds {
            (least, most) if least == f64::NEG_INFINITY => format!("<= {most}"),
            (least, most) if most == f64::INFINITY => format!(">= {least}"),
            (least, most) => format!("{least}..{most}"),
        }
    }
}

/// One scenario with its checks.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was run.
    pub name: String,
    /// The checks.
    pub checks: Vec<Check>,
}

impl Row {
    /// Whether all checks pass.
    pub fn passes(&self) -> bool {
        self.checks.iter().all(Check::passes)
    }
}

/// A run with what is asked of it.
struct Measured {
    run: Run,
    metrics: Metrics,
    /// Assists as a part of the machine, over the whole run.
    assist: f64,
}

impl Measured {
    fn new(scenario: &Scenario, quantum: Quantum, bias: Bias) -> Measured {
        let plant = Plant { bias, ..Plant::new(scenario, quantum) };
        let run = run(&plant, PolicyName::Adaptive, PacerConfig::default());
        let metrics = Metrics::of(&run);
        let assisted: f64 = run.cycles.iter().map(|cycle| cycle.assist * cycle.length).sum();
        let assist = assisted / run.end;
        Measured { run, metrics, assist }
    }

    fn after(&self, time: f64) -> impl Iterator<Item = &Cycle> {
        self.run.cycles.iter().filter(move |cycle| cycle.end > time)
    }

    fn settled(&self) -> f64 {
        settled_after(&self.run, STEP_AT) as f64
    }
}

const NO_BIAS: Bias = Bias { allocation: 1.0, marking: 1.0 };
/// As a multiple of what is live at the beginning.
const LIMITS: [f64; 3] = [1.6, 1.3, 1.15];

/// The whole table, measured now: a fraction of a second when optimised.
pub fn acceptance() -> Vec<Row> {
    let mut rows = Vec::new();
    for (quantum, how) in [(Quantum::Workers, "whole workers"), (Quantum::Fluid, "fluid")] {
        rows.extend(SCENARIOS.iter().filter_map(|scenario| {
            let checks = checks(scenario, quantum);
            (!checks.is_empty()).then(|| Row { name: format!("{}, {how}", scenario.name), checks })
        }));
    }
    rows.extend(
        LIMITS.into_iter().flat_map(|part| SCENARIOS.iter().filter_map(move |scenario| limited(scenario, part))),
    );
    for (name, bias) in [
        ("allocation rate overestimated by 1.6", Bias { allocation: 1.6, ..NO_BIAS }),
        ("allocation rate underestimated by 1.6", Bias { allocation: 1.0 / 1.6, ..NO_BIAS }),
        ("marking rate overestimated by 1.6", Bias { marking: 1.6, ..NO_BIAS }),
        ("marking rate underestimated by 1.6", Bias { marking: 1.0 / 1.6, ..NO_BIAS }),
    ] {
        rows.push(biased(name, bias));
    }
    rows
}

fn checks(scenario: &Scenario, quantum: Quantum) -> Vec<Check> {
    let measured = Measured::new(scenario, quantum, NO_BIAS);
    let m = &measured.metrics;
    let assist = |most| Check::at_most("assists, mean", measured.assist, most);
    let overshoot = |most| Check::at_most("overshoot", m.overshoot_max, most);
    let settled = |most| Check::at_most("cycles to settle", measured.settled(), most);
    match scenario.name {
        "steady" => {
            let known = &measured.run.cycles[5..];
            let ratio = |worse: fn(f64, f64) -> f64| known.iter().map(Cycle::ratio).reduce(worse).expect("many cycles");
            let away = known.iter().map(|cycle| (cycle.share - cycle.planned).abs()).fold(0.0, f64::max);
            let mut checks = vec![
                Check::within("least peak to goal from cycle 5", ratio(f64::min), 0.97, 1.0),
                Check::within("greatest", ratio(f64::max), 0.97, 1.0),
                assist(0.001),
            ];
            if quantum == Quantum::Fluid {
                checks.push(Check::at_most(
                    "share from the plan",
                    mean_of(known, |c| (c.share - c.planned).abs()),
                    0.01,
                ));
            } else {
                checks.push(Check::at_most("share from the plan, workers", away * scenario.cores, 1.0));
            }
            checks
        }
        "steady-noise" => vec![
            Check::at_most("peak to goal, 99 %", m.ratio_p99, 1.01),
            Check::at_most("greatest", m.ratio_max, 1.02),
            assist(0.001),
            Check::at_most("assists, most", m.assist_max, 0.025),
        ],
        "allocation-x3" => vec![settled(3.0), overshoot(0.02), assist(0.01)],
        "allocation-x10" => vec![settled(6.0), overshoot(0.02), assist(0.01)],
        "allocation-ramp" => vec![assist(0.005), Check::at_most("peak to goal", m.ratio_max, 1.02)],
        "bursts" => vec![
            assist(0.01),
            Check::at_most("assists, most", m.assist_max, 0.25),
            Check::within("mutators' part of 10 ms", m.utilisation, 0.25, 1.0),
            overshoot(0.03),
        ],
        "live-step" => vec![overshoot(0.12), settled(2.0)],
        "live-growth" => vec![overshoot(0.01)],
        "live-shrink" => {
            let after: Vec<&Cycle> = measured.after(STEP_AT).collect();
            let first = after.first().map_or(f64::NAN, |cycle| cycle.goal);
            let Shape::Step(_, live, _) = scenario.live else { unreachable!("it shrinks") };
            let late = after.iter().position(|cycle| cycle.goal <= 2.0 * live * 1.05).map_or(f64::NAN, |n| n as f64);
            vec![
                overshoot(0.0),
                settled(2.0),
                Check::at_most("cycles until the goal has followed", late, 3.0),
                Check::within("goal before", first / live, 2.0, 8.1),
            ]
        }
        "phases" => {
            let mut checks = vec![assist(0.005), Check::at_most("greatest peak to goal", m.ratio_max, 1.02)];
            if quantum == Quantum::Fluid {
                // Whole workers are more than the share that was asked for, so cycles end earlier.
                checks.push(Check::within("least", m.ratio_min, 0.94, 1.02));
            }
            checks
        }
        "marking-drop" => vec![assist(0.005), settled(3.0)],
        "noise" => vec![Check::at_most("peak to goal", m.ratio_max, 1.03), assist(0.015)],
        "go-56966" => {
            let go = Metrics::of(&run(&Plant::new(scenario, quantum), PolicyName::Go, PacerConfig::default()));
            vec![
                Check::at_most("assists, to those of go's policy", m.assist_mean / go.assist_mean, 0.2),
                overshoot(0.02),
                Check::within("mutators' part of 10 ms", m.utilisation, 0.25, 1.0),
            ]
        }
        "go-37331" => {
            vec![assist(0.005), overshoot(0.02), Check::within("mutators' part of 10 ms", m.utilisation, 0.25, 1.0)]
        }
        "go-52433" => {
            let late: Vec<&Cycle> = measured.after(STEP_AT).collect();
            let stall = late.iter().map(|cycle| cycle.stall).sum::<f64>();
            vec![
                Check::at_most("steps above the limit", m.violations as f64, 0.0),
                Check::at_most("part of the time that mutators wait", stall / STEP_AT, 0.001),
            ]
        }
        "go-58106" => vec![
            Check::within("the VM is told", f64::from(u8::from(measured.run.outcome == Outcome::GaveUp)), 1.0, 1.0),
            Check::at_most("after so many s at the limit", (measured.run.end - 20e9) / 1e9, 5.0),
            Check::at_most("steps above the limit", m.violations as f64, 0.0),
        ],
        "go-51061" => {
            let end = measured.run.cycles.last().map_or(f64::NAN, Cycle::ratio);
            vec![Check::within("peak to goal at the end", end, 0.94, 1.02), assist(0.005)]
        }
        _ => Vec::new(),
    }
}

fn mean_of(cycles: &[Cycle], of: impl Fn(&Cycle) -> f64) -> f64 {
    cycles.iter().map(of).sum::<f64>() / cycles.len() as f64
}

/// The scenario at a hard limit; none for those that have one of their own.
fn limited(scenario: &Scenario, part: f64) -> Option<Row> {
    if scenario.limit.is_some() {
        return None;
    }
    let limit = part * scenario.live.at(0.0);
    let limited = Scenario { limit: Some(limit), ..*scenario };
    let measured = Measured::new(&limited, Quantum::Workers, NO_BIAS);
    let fits = (0..60).all(|second| scenario.live.at(f64::from(second) * 1e9) <= limit);
    // What does not fit ends in a report to the VM, and what does must not run out of memory.
    let outcome = match measured.run.outcome {
        Outcome::Completed => fits,
        Outcome::OutOfMemory => !fits,
        Outcome::GaveUp => true,
    };
    // Mutators that wait leave the machine to the collector; otherwise it keeps within its share.
    let beside = |cycle: &Cycle| (cycle.share * cycle.length - cycle.stall) / (cycle.length - cycle.stall).max(1.0);
    let greatest = measured.run.cycles.iter().map(beside).fold(0.0, f64::max);
    let stalled = measured.run.cycles.iter().map(|cycle| cycle.stall).sum::<f64>();
    Some(Row {
        name: format!("{}, limit {part} of live", scenario.name),
        checks: vec![
            Check::at_most("steps above the limit", measured.metrics.violations as f64, 0.0),
            Check::at_most("share of the machine beside mutators", greatest, 0.75 + 1e-9),
            Check::within("ended as it should", f64::from(u8::from(outcome)), 1.0, 1.0),
            Check::within(
                "stalls recorded, of all",
                if measured.run.stall > 0.0 { stalled / measured.run.stall } else { 1.0 },
                1.0,
                1.0,
            ),
        ],
    })
}

/// A policy that is wrong about a rate: the trim has to find the share that it would have planned.
fn biased(name: &str, bias: Bias) -> Row {
    let steady = scenario("steady").expect("it is in the table");
    let measured = Measured::new(steady, Quantum::Fluid, bias);
    let shares: Vec<f64> = measured.run.cycles.iter().map(|cycle| cycle.share - cycle.planned).collect();
    let late = shares.iter().take(60).rposition(|away| away.abs() > 0.01).map_or(0, |index| index + 1);
    let end: Vec<f64> = measured.run.cycles.iter().rev().take(20).map(|cycle| cycle.trigger).collect();
    let (least, most) = end.iter().fold((f64::INFINITY, 0.0_f64), |(a, b), t| (a.min(*t), b.max(*t)));
    Row {
        name: format!("steady, {name}"),
        checks: vec![
            Check::at_most("cycles until the share is the planned one", late as f64, 12.0),
            Check::at_most("trigger wanders, of itself", (most - least) / most, 0.01),
            Check::at_most("peak to goal", measured.metrics.ratio_max, 1.02),
        ],
    }
}
