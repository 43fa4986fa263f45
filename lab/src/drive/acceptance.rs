//! What heaps must do when scenarios drive them. They must pass the rows of the pacer's table that apply to a
//! plan which stops its mutators, at twice the tolerance, and exceed no limit. And in the heap-size loop the
//! collector's share must follow its target soon.

use heapwright::Options;
use heapwright::options::Finite;
use pacer::HeapMode;

use super::{Drive, SCALE};
use crate::failure::Failure;
use crate::simulate::{
    Check, Metrics, Outcome, Row, Run, SCENARIOS, STEP_AT, Scenario, Shape, scenario, settled_after,
};

/// As a multiple of what is live at the beginning.
const LIMITS: [f64; 3] = [1.6, 1.3, 1.15];
/// Of the heap-size loop: its programs and its target.
const LOOP: usize = 4;
const TARGET: f64 = 0.1;
/// Cycles in which the share has to come to its target, and those over which its mean is taken then.
const TO_SETTLE: usize = 8;
const MEAN_OF: usize = 12;
/// Nothing is asked of a heap that has not had this many cycles: the first goals are guesses.
const LEARNED: usize = 5;

/// How many rows the table has.
pub fn rows() -> usize {
    let asked = SCENARIOS.iter().filter(|scenario| !bounds(scenario.name).is_empty()).count();
    asked * (1 + LIMITS.len()) + LOOP
}

/// Runs the whole table, and tells each row as it is known: some minutes.
///
/// # Errors
/// What is wrong with the options.
pub fn acceptance(options: &Options, mutators: usize, mut row: impl FnMut(Row)) -> Result<(), Failure> {
    let proportional = Options { heap_mode: HeapMode::Proportional, ..options.clone() };
    let drive = |scenario: &Scenario, options: &Options| {
        Drive { scenario, options: options.clone(), mutators, time: SCALE }.run(None)
    };
    for scenario in SCENARIOS {
        let asked = bounds(scenario.name);
        if !asked.is_empty() {
            let run = drive(scenario, &proportional)?;
            row(Row { name: scenario.name.to_owned(), checks: checks(&run, asked) });
        }
    }
    for part in LIMITS {
        for scenario in
            SCENARIOS.iter().filter(|scenario| scenario.limit.is_none() && !bounds(scenario.name).is_empty())
        {
            let limit = part * scenario.live.at(0.0);
            let limited = Scenario { limit: Some(limit), ..*scenario };
            row(at_the_limit(&limited, part, &drive(&limited, &proportional)?));
        }
    }
    let steady = scenario("steady").expect("it is in the table");
    let target = Options {
        heap_mode: HeapMode::CpuTarget,
        heap_gc_cpu_target: Finite::new(TARGET),
        heap_limit: options.heap_limit.max(1 << 30),
        ..options.clone()
    };
    for (name, changed) in loop_scenarios(steady) {
        row(follows_target(name, &drive(&changed, &target)?));
    }
    Ok(())
}

/// The quantities that a scenario is asked for, with the bound at twice the tolerance.
fn bounds(name: &str) -> &'static [(Quantity, f64)] {
    use Quantity::{Greatest, Least, Overshoot, P99, Settled, Shrunk};
    match name {
        "steady" => &[(Least, 0.94), (Greatest, 1.03)],
        "steady-noise" => &[(P99, 1.02), (Greatest, 1.04)],
        "allocation-x3" => &[(Settled, 6.0), (Overshoot, 0.04)],
        "allocation-x10" => &[(Settled, 12.0), (Overshoot, 0.04)],
        "allocation-ramp" => &[(Greatest, 1.04)],
        "bursts" => &[(Overshoot, 0.06)],
        "live-step" => &[(Overshoot, 0.24), (Settled, 4.0)],
        "live-growth" => &[(Overshoot, 0.02)],
        "live-shrink" => &[(Settled, 4.0), (Shrunk, 6.0)],
        "phases" => &[(Least, 0.88), (Greatest, 1.04)],
        "noise" => &[(Greatest, 1.06)],
        _ => &[],
    }
}

/// What is measured of a run.
#[derive(Copy, Clone)]
enum Quantity {
    /// Peak to goal: the least, the 99th centile, the greatest.
    Least,
    P99,
    Greatest,
    /// Part of the room by which a goal was exceeded.
    Overshoot,
    /// Cycles until the ratio of peak to goal is what it ends up as.
    Settled,
    /// Cycles until the goal is close to what it ends up as.
    Shrunk,
}

fn checks(run: &Run, asked: &[(Quantity, f64)]) -> Vec<Check> {
    let learned = Run { cycles: run.cycles.get(LEARNED..).unwrap_or_default().to_vec(), ..run.clone() };
    let m = Metrics::of(&learned);
    let mut checks = vec![
        Check::within("cycles", run.cycles.len() as f64, 2.0 * LEARNED as f64, f64::INFINITY),
        Check::at_most("times above the limit", run.violations as f64, 0.0),
        Check::within("it completes", f64::from(u8::from(run.outcome == Outcome::Completed)), 1.0, 1.0),
    ];
    checks.extend(asked.iter().map(|&(quantity, bound)| match quantity {
        Quantity::Least => Check::within("least peak to goal", m.ratio_min, bound, f64::INFINITY),
        Quantity::P99 => Check::at_most("peak to goal, 99 %", m.ratio_p99, bound),
        Quantity::Greatest => Check::at_most("greatest peak to goal", m.ratio_max, bound),
        Quantity::Overshoot => Check::at_most("overshoot", m.overshoot_max, bound),
        Quantity::Settled => Check::at_most("cycles to settle", settled_after(run, STEP_AT) as f64, bound),
        Quantity::Shrunk => Check::at_most("cycles until the goal has followed", followed(run), bound),
    }));
    checks
}

/// Cycles after the step until the goal is within a twentieth of the mean of the last ones.
fn followed(run: &Run) -> f64 {
    let after: Vec<f64> = run.cycles.iter().filter(|cycle| cycle.end > STEP_AT).map(|cycle| cycle.goal).collect();
    let last = &after[after.len().saturating_sub(20)..];
    let end = last.iter().sum::<f64>() / last.len() as f64;
    after.iter().position(|goal| *goal <= 1.05 * end).map_or(f64::NAN, |cycles| cycles as f64)
}

/// What does not fit ends in out of memory or a report to the VM, and what does must not run out of memory.
fn at_the_limit(scenario: &Scenario, part: f64, run: &Run) -> Row {
    let times = (0..=60).map(|second| f64::from(second) * 1e9);
    let most = times.map(|t| scenario.live.at(t)).fold(0.0, f64::max);
    let fits = most <= scenario.limit.unwrap_or(f64::INFINITY);
    let ended = match run.outcome {
        Outcome::Completed => fits,
        Outcome::OutOfMemory => !fits,
        Outcome::GaveUp => true,
    };
    Row {
        name: format!("{}, limit {part} of live", scenario.name),
        checks: vec![
            Check::at_most("times above the limit", run.violations as f64, 0.0),
            Check::within("ended as it should", f64::from(u8::from(ended)), 1.0, 1.0),
        ],
    }
}

fn loop_scenarios(steady: &Scenario) -> [(&'static str, Scenario); LOOP] {
    let live = steady.live.at(0.0);
    // Cycles are longer here than at twice what is live.
    let long = Scenario { length: 2.0 * steady.length, ..*steady };
    [
        ("allocation x4", Scenario { allocation: Shape::Step(0.05, 0.2, STEP_AT), ..long }),
        ("allocation /4", Scenario { allocation: Shape::Step(0.2, 0.05, STEP_AT), ..long }),
        ("live x4", Scenario { live: Shape::Step(0.5 * live, 2.0 * live, STEP_AT), ..long }),
        ("15 % noise", Scenario { cycle_noise: 0.15, tick_noise: 0.15, ..long }),
    ]
}

/// After the step, and the cycles that the loop is given to settle.
fn follows_target(name: &str, run: &Run) -> Row {
    let after = run.cycles.iter().filter(|cycle| cycle.end > STEP_AT).skip(TO_SETTLE).take(MEAN_OF);
    let shares: Vec<f64> = after.map(|cycle| cycle.share).collect();
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    Row {
        name: format!("heap-size loop, {name}"),
        checks: vec![
            Check::within("cycles to measure", shares.len() as f64, 4.0, f64::INFINITY),
            Check::within("the collector's share to its target", mean / TARGET, 0.6, 1.4),
            Check::at_most("times above the limit", run.violations as f64, 0.0),
        ],
    }
}
