//! Repetition, clocks, and the rows of the report.

use std::time::Instant;

use serde_json::json;

use crate::failure::Failure;
use crate::{cpu, output};
use workloads::threads;

/// Best and median of several repetitions, in seconds.
#[derive(Clone, Copy)]
pub(super) struct Times {
    best: f64,
    median: f64,
}

impl Times {
    /// From single measurements.
    pub(super) fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        Self { best: seconds[0], median: seconds[seconds.len() / 2] }
    }
}

/// Repeats a measurement.
pub(super) fn repeat(times: usize, mut measure: impl FnMut() -> f64) -> Times {
    Times::of((0..times).map(|_| measure()).collect())
}

/// Repeats a measurement that may fail.
pub(super) fn try_repeat(times: usize, mut measure: impl FnMut() -> Result<f64, Failure>) -> Result<Times, Failure> {
    Ok(Times::of((0..times).map(|_| measure()).collect::<Result<_, _>>()?))
}

/// CPU seconds of the calling thread in `work`.
pub(super) fn cpu_seconds(work: impl FnOnce()) -> f64 {
    let start = cpu::thread_ns();
    work();
    (cpu::thread_ns() - start) as f64 / 1e9
}

/// Wall seconds of `work`.
pub(super) fn wall_seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// Wall seconds of `work(0)` and `work(1)` on two threads at once.
pub(super) fn on_two_threads(work: impl Fn(usize) + Sync) -> Result<f64, Failure> {
    let (wall, _) = threads::together(2, threads::SMALL_STACK_BYTES, work)?;
    Ok(wall.as_secs_f64())
}

/// Prints rows.
pub(super) struct Report {
    as_json: bool,
}

impl Report {
    pub(super) fn new(as_json: bool) -> Result<Self, Failure> {
        if !as_json {
            output::line("| what | best | median | unit |\n|---|---:|---:|---|")?;
        }
        Ok(Self { as_json })
    }

    /// An amount of work per second.
    pub(super) fn rate(&mut self, what: &str, unit: &str, amount: f64, times: Times) -> Result<(), Failure> {
        self.row(what, unit, amount / times.best, amount / times.median)
    }

    /// The cost of one of `n` operations, in units of `1 / scale` seconds.
    pub(super) fn cost(&mut self, what: &str, unit: &str, n: usize, scale: f64, times: Times) -> Result<(), Failure> {
        let n = n as f64;
        self.row(what, unit, times.best / n * scale, times.median / n * scale)
    }

    fn row(&mut self, what: &str, unit: &str, best: f64, median: f64) -> Result<(), Failure> {
        if self.as_json {
            return output::line(json!({"what": what, "best": best, "median": median, "unit": unit}));
        }
        output::line(format!("| {what} | {best:.2} | {median:.2} | {unit} |"))
    }
}
