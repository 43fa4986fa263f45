//! Scenarios on real threads: mutators that allocate at a scenario's rate, on a heap of ours with its pacer.
//!
//! Sizes and times are a tenth of the simulator's, rates are its own, and the marking rate is the machine's.
//! Our plans stop mutators while they mark, so what a scenario asks of a share of the machine or of assists
//! does not apply here; what it asks of goals, of heap sizes and of limits does.

mod acceptance;
mod program;

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Barrier};

use heapwright::events::{Event, Paced};
use heapwright::{Heap, Options};
use parking_lot::Mutex;
use reference::{ReferenceVM, Thread};

use crate::failure::Failure;
use crate::simulate::{self, Cycle, Outcome, Run, Scenario};
use program::{Clock, Program};
use workloads::threads;

pub use acceptance::{acceptance, rows};

/// What sizes and times of a scenario are multiplied by.
pub const SCALE: f64 = 0.1;

/// What is driven.
#[derive(Clone, Debug)]
pub struct Drive<'a> {
    /// The program.
    pub scenario: &'a Scenario,
    /// The heap. The limit is the scenario's where that has one.
    pub options: Options,
    /// Threads.
    pub mutators: usize,
    /// What the scenario's times are multiplied by: [`SCALE`], or less for a short look.
    pub time: f64,
}

impl Drive<'_> {
    /// Runs it, and writes the pacer's decisions to `pacer_log`. Times of the result are the scenario's,
    /// sizes are the heap's.
    ///
    /// # Errors
    /// What is wrong with the options, or that the log cannot be written.
    pub fn run(&self, pacer_log: Option<&Path>) -> Result<Run, Failure> {
        let scenario = self.scenario;
        let mut options = self.options.clone();
        if let Some(limit) = scenario.limit {
            options.heap_limit = (limit * SCALE) as usize;
        }
        let heap =
            reference::new_heap(ReferenceVM::default(), options).map_err(|error| Failure::Usage(error.to_string()))?;
        let mut receipt = None;
        if let Some(path) = pacer_log {
            let (listener, of_log) = simulate::pacer_log(path)?;
            heap.listen(listener);
            receipt = Some(of_log);
        }
        let clock = Arc::new(Clock::default());
        let log = Arc::new(Mutex::new(Log::default()));
        let (heard, time) = (log.clone(), clock.clone());
        heap.listen(Box::new(move |event: &Event| {
            if let Event::Paced(paced) = event {
                time.cycles.fetch_add(1, Relaxed);
                heard.lock().paced(paced, time.now.load(Relaxed) as f64);
            }
        }));
        let out_of_memory = self.threads(&heap, &clock)?;
        receipt.map_or(Ok(()), |receipt| receipt.check())?;
        let statistics = heap.statistics();
        let log = std::mem::take(&mut *log.lock());
        let peak_to_live = log.cycles.iter().map(|cycle| cycle.peak / cycle.traced).fold(0.0, f64::max);
        Ok(Run {
            cycles: log.cycles,
            end: clock.now.load(Relaxed) as f64,
            violations: log.violations + usize::from(statistics.peak_reserved_bytes > statistics.limit_bytes),
            stall: 0.0,
            gc_share: log.gc_ns / (log.gc_ns + log.mutator_ns).max(1.0),
            utilisation: 1.0,
            peak_to_live,
            outcome: match (out_of_memory, log.gave_up) {
                (true, _) => Outcome::OutOfMemory,
                (false, true) => Outcome::GaveUp,
                (false, false) => Outcome::Completed,
            },
        })
    }

    /// Whether memory ran out.
    fn threads(&self, heap: &Heap<ReferenceVM>, clock: &Clock) -> Result<bool, Failure> {
        let start = Barrier::new(self.mutators);
        let one = |number| {
            let program = Program { scenario: self.scenario, number, of: self.mutators, size: SCALE, time: self.time };
            let ended = program.run(&Thread::attach(heap), clock, &start);
            if ended.is_err() {
                clock.stop.store(true, Relaxed);
            }
            ended.is_err()
        };
        let (_, failed) = threads::together(self.mutators, threads::SMALL_STACK_BYTES, one)?;
        Ok(failed.contains(&true))
    }
}

/// The cycles so far.
#[derive(Default)]
struct Log {
    last: Option<Paced>,
    cycles: Vec<Cycle>,
    violations: usize,
    gc_ns: f64,
    mutator_ns: f64,
    gave_up: bool,
}

impl Log {
    /// A cycle ended at this time of the scenario; at 0 what is live at the beginning is still being made.
    fn paced(&mut self, paced: &Paced, end: f64) {
        let sample = &paced.sample;
        self.violations += usize::from(sample.peak > paced.config.hard_limit);
        self.gave_up |= paced.gave_up;
        if let Some(last) = self.last.replace(paced.clone()).filter(|_| end > 0.0) {
            self.gc_ns += sample.gc_cpu_ns;
            self.mutator_ns += sample.mutator_cpu_ns;
            self.cycles.push(Cycle {
                end,
                goal: last.decision.goal,
                trigger: last.decision.trigger,
                peak: sample.peak,
                retained: last.sample.retained,
                traced: sample.traced,
                planned: 1.0,
                share: sample.gc_cpu_ns / (sample.gc_cpu_ns + sample.mutator_cpu_ns).max(1.0),
                assist: 0.0,
                length: sample.marking_ns,
                stall: 0.0,
            });
        }
    }
}
