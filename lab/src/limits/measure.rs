//! Repetition, clocks, and the rows of the report.

use std::sync::Barrier;
use std::time::Instant;

use crate::cpu;

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
pub(super) fn on_two_threads(work: impl Fn(usize) + Sync) -> f64 {
    let barrier = Barrier::new(3);
    std::thread::scope(|scope| {
        let threads = [0, 1].map(|i| {
            let (barrier, work) = (&barrier, &work);
            scope.spawn(move || {
                barrier.wait();
                work(i);
            })
        });
        barrier.wait();
        wall_seconds(|| {
            for thread in threads {
                thread.join().expect("a measurement does not panic");
            }
        })
    })
}

/// Prints rows.
pub(super) struct Report(());

impl Report {
    pub(super) fn new() -> Self {
        println!("| what | best | median | unit |\n|---|---:|---:|---|");
        Self(())
    }

    /// An amount of work per second.
    pub(super) fn rate(&mut self, what: &str, unit: &str, amount: f64, times: Times) {
        self.row(what, unit, amount / times.best, amount / times.median);
    }

    /// The cost of one of `n` operations, in units of `1 / scale` seconds.
    pub(super) fn cost(&mut self, what: &str, unit: &str, n: usize, scale: f64, times: Times) {
        let n = n as f64;
        self.row(what, unit, times.best / n * scale, times.median / n * scale);
    }

    fn row(&mut self, what: &str, unit: &str, best: f64, median: f64) {
        println!("| {what} | {best:.2} | {median:.2} | {unit} |");
    }
}
