//! Makes the runs of a comparison: collectors x workloads x heaps, each run a child process, interleaved.
//!
//! 1. For heaps as multiples, the minimum heap of each workload: the smallest that any collector of the group
//!    needs.
//! 2. For each workload and heap, a number of rounds. In a round each collector runs once, every second round
//!    in reverse order, so that a slow drift of the machine touches all alike.
//! 3. A collector that fails in a cell is not run there again, and the cell says why.
//! 4. The checksums of all iterations are collected; the caller looks for differences.
//!
//! A [`Ledger`] hears of every result at once, and is asked before a run whether its result is known: so a
//! long comparison can be interrupted and continued.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use crate::child::{Outcome, Run};
use crate::cli::RunOptions;
use crate::collector::Collector;
use crate::compare::cell::{Cell, HeapPoint, Status};
use crate::compare::checksum::Checksums;
use crate::compare::group::Group;
use crate::compare::{Found, MinimumHeap};
use crate::failure::Failure;
use crate::{minimum, progress};
use workloads::Spec;

/// What is to be compared.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// Which collectors with which.
    pub groups: Vec<Group>,
    /// On which workloads.
    pub specs: Vec<&'static Spec>,
    /// In which heaps.
    pub heaps: Heaps,
}

/// Heaps as they were asked for.
#[derive(Clone, Debug)]
pub enum Heaps {
    /// The same for each workload.
    Sizes(Vec<HeapPoint>),
    /// Multiples of the minimum heap.
    Multiples {
        /// The multiples.
        factors: Vec<f64>,
        /// Minimum heaps that need not be searched for, by workload.
        known: HashMap<&'static str, u64>,
    },
}

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Child processes per cell.
    pub reps: usize,
    /// Iterations per process.
    pub iters: usize,
    /// Of these, the first that do not count.
    pub warmup: usize,
    /// Seconds after which a child process is given up.
    pub timeout_s: u64,
}

/// One run of many.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The workload.
    pub spec: &'static Spec,
    /// The heap.
    pub heap: &'a HeapPoint,
    /// The collector.
    pub collector: &'a Collector,
    /// Which process of the cell, from 0.
    pub rep: usize,
}

/// Where results are kept, and where those of an earlier call come from.
pub trait Ledger {
    /// A minimum heap that is known.
    fn minimum(&self, spec: &Spec, collector: &Collector) -> Option<Found>;

    /// A minimum heap was found.
    ///
    /// # Errors
    /// It cannot be kept.
    fn keep_minimum(&mut self, spec: &Spec, collector: &Collector, found: Found) -> Result<(), Failure>;

    /// The result of a run that was made before.
    fn run(&self, place: &Place) -> Option<Outcome>;

    /// A run was made.
    ///
    /// # Errors
    /// It cannot be kept.
    fn keep_run(&mut self, place: &Place, outcome: &Outcome) -> Result<(), Failure>;

    /// A collector cannot run a workload here, whatever the heap.
    ///
    /// # Errors
    /// It cannot be kept.
    fn keep_refusal(&mut self, spec: &Spec, collector: &Collector, why: &str) -> Result<(), Failure>;
}

/// How long a search for the smallest heap waits for a run, where one took `took` in a heap that sufficed. A
/// heap in which a program takes so much longer is too small: just below the minimum a collector may need
/// minutes to run out of memory.
fn too_long(took: Duration) -> Duration {
    (30 * took).max(Duration::from_secs(10))
}

/// The heaps of each group and workload, in order.
type HeapPoints = Vec<Vec<Vec<HeapPoint>>>;

/// Makes runs.
pub struct Bench<'a> {
    options: &'a RunOptions,
    effort: Effort,
    ledger: &'a mut dyn Ledger,
    /// What the collectors computed.
    pub checksums: Checksums,
    bar: ProgressBar,
}

impl Matrix {
    /// Makes all runs: the minimum heaps that were found, and a cell for each collector, workload and heap.
    ///
    /// # Errors
    /// No minimum heap where one is needed; a child process that cannot be started; what the ledger says.
    pub fn run(&self, bench: &mut Bench) -> Result<(Vec<MinimumHeap>, Vec<Cell>), Failure> {
        let (minima, heaps) = self.heaps(bench)?;
        Ok((minima, self.cells(bench, &heaps)?))
    }

    /// Settles the heaps; finds minimum heaps where they are needed.
    fn heaps(&self, bench: &mut Bench) -> Result<(Vec<MinimumHeap>, HeapPoints), Failure> {
        let mut minima = Vec::new();
        let mut points: HeapPoints = Vec::new();
        for group in &self.groups {
            let mut of_group = Vec::new();
            for spec in &self.specs {
                of_group.push(match &self.heaps {
                    Heaps::Sizes(sizes) => sizes.clone(),
                    Heaps::Multiples { factors, known } => {
                        let smallest = match known.get(spec.name) {
                            Some(bytes) => {
                                let found = Found::Bytes(*bytes);
                                let plan = "given".to_owned();
                                minima.push(MinimumHeap { workload: spec.name, plan, found });
                                *bytes
                            }
                            None => bench.smallest_minimum(group, spec, &mut minima)?,
                        };
                        let point = |factor: &f64| HeapPoint {
                            label: format!("{factor}x"),
                            bytes: (factor * smallest as f64).ceil() as u64,
                        };
                        factors.iter().map(point).collect()
                    }
                });
            }
            points.push(of_group);
        }
        Ok((minima, points))
    }

    fn cells(&self, bench: &mut Bench, heaps: &HeapPoints) -> Result<Vec<Cell>, Failure> {
        let tables = || {
            let groups = self.groups.iter().zip(heaps).enumerate();
            groups.flat_map(|(g, (group, of_group))| {
                let specs = self.specs.iter().zip(of_group);
                specs.flat_map(move |(spec, points)| points.iter().map(move |point| (g, group, *spec, point)))
            })
        };
        let runs: usize = tables().map(|(_, group, ..)| group.collectors.len() * bench.effort.reps).sum();
        bench.bar = progress::children(runs);
        let mut cells = Vec::new();
        for (g, group, spec, point) in tables() {
            let statuses = bench.table(group, spec, point)?;
            for (collector, status) in group.collectors.iter().zip(statuses) {
                let plan = collector.name.clone();
                cells.push(Cell { group: g, workload: spec.name, heap: point.clone(), plan, status });
            }
        }
        bench.bar.finish_and_clear();
        Ok(cells)
    }
}

impl<'a> Bench<'a> {
    /// Makes runs with these options, as many as `effort` says, and tells the ledger.
    pub fn new(options: &'a RunOptions, effort: Effort, ledger: &'a mut dyn Ledger) -> Self {
        Self { options, effort, ledger, checksums: Checksums::default(), bar: ProgressBar::hidden() }
    }

    /// One child process, given up after `timeout`.
    fn make(
        &mut self,
        collector: &Collector,
        spec: &'static Spec,
        heap_bytes: u64,
        iters: usize,
        timeout: Duration,
    ) -> Result<Outcome, Failure> {
        let outcome = Run { collector, spec, heap_bytes, iters, options: self.options, timeout }.make()?;
        self.check(collector, spec, &outcome);
        Ok(outcome)
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.effort.timeout_s)
    }

    fn check(&mut self, collector: &Collector, spec: &'static Spec, outcome: &Outcome) {
        if let Outcome::Ran(records) = outcome {
            for record in records {
                self.checksums.add(spec.name, &collector.name, &record.checksum);
            }
        }
    }

    /// The minimum heap of one collector, searched for to the end; `None` where the collector cannot run.
    ///
    /// # Errors
    /// A child process that cannot be started; what the ledger says.
    pub fn minimum_heap(&mut self, collector: &Collector, spec: &'static Spec) -> Result<Option<Found>, Failure> {
        if let Status::NotAvailable(why) = self.before(collector, spec) {
            self.ledger.keep_refusal(spec, collector, &why)?;
            return Ok(None);
        }
        self.bar = progress::spinner();
        let found = self.minimum(collector, spec, None)?;
        self.bar.finish_and_clear();
        Ok(Some(found))
    }

    /// The smallest minimum heap in a group.
    fn smallest_minimum(
        &mut self,
        group: &Group,
        spec: &'static Spec,
        minima: &mut Vec<MinimumHeap>,
    ) -> Result<u64, Failure> {
        self.bar = progress::spinner();
        let mut smallest = None;
        for collector in &group.collectors {
            let runs = collector.has_minimum_heap() && collector.is_built_in();
            if !runs || collector.refuses(spec, self.options.mutators).is_some() {
                continue;
            }
            let found = self.minimum(collector, spec, smallest)?;
            if let Found::Bytes(bytes) = found {
                smallest = Some(smallest.map_or(bytes, |known: u64| known.min(bytes)));
            }
            minima.push(MinimumHeap { workload: spec.name, plan: collector.name.clone(), found });
        }
        self.bar.finish_and_clear();
        smallest.ok_or_else(|| Failure::Failed(format!("{}: no minimum heap; give it by --min", spec.name)))
    }

    /// The minimum heap of one collector; not searched for when it is above one that is known.
    fn minimum(&mut self, collector: &Collector, spec: &'static Spec, known: Option<u64>) -> Result<Found, Failure> {
        let below = known.map(|known| known - minimum::resolution(known));
        match (self.ledger.minimum(spec, collector), below) {
            // What does not fit into more does not fit into less.
            (Some(Found::NotBelow(bound)), Some(below)) if below <= bound => return Ok(Found::NotBelow(below)),
            (Some(Found::NotBelow(_)), _) | (None, _) => {}
            (Some(found), _) => return Ok(found),
        }
        let found = self.search(collector, spec, below)?;
        self.ledger.keep_minimum(spec, collector, found)?;
        Ok(found)
    }

    fn search(&mut self, collector: &Collector, spec: &'static Spec, below: Option<u64>) -> Result<Found, Failure> {
        let what = format!("minimum heap of {} on {}", spec.name, collector.name);
        let mut patience = self.timeout();
        let mut try_heap = |bench: &mut Self, bytes: u64| {
            bench.bar.set_message(format!("{what}: {} MB", bytes >> 20));
            let began = Instant::now();
            let outcome = bench.make(collector, spec, bytes, 1, patience)?;
            if matches!(outcome, Outcome::Ran(_)) {
                patience = patience.min(too_long(began.elapsed()));
            }
            Ok::<_, Failure>(outcome)
        };
        let guess = match below {
            None => minimum::GUESS_BYTES,
            Some(below) => match try_heap(self, below)? {
                Outcome::Ran(_) => below,
                Outcome::OutOfMemory | Outcome::TimedOut => return Ok(Found::NotBelow(below)),
                // Not for lack of memory: it would fail in any heap.
                Outcome::NotInstalled | Outcome::Failed(_) => return Ok(Found::Nothing),
            },
        };
        let fits = |bytes| Ok::<_, Failure>(matches!(try_heap(self, bytes)?, Outcome::Ran(_)));
        Ok(minimum::search(guess, fits)?.map_or(Found::Nothing, Found::Bytes))
    }

    /// The cells of one table.
    fn table(&mut self, group: &Group, spec: &'static Spec, point: &HeapPoint) -> Result<Vec<Status>, Failure> {
        let Effort { reps, iters, warmup, timeout_s } = self.effort;
        let mut statuses = Vec::new();
        for collector in &group.collectors {
            let status = self.before(collector, spec);
            if let Status::NotAvailable(why) = &status {
                self.ledger.keep_refusal(spec, collector, why)?;
            }
            statuses.push(status);
        }
        for rep in 0..reps {
            let mut order: Vec<usize> = (0..group.collectors.len()).collect();
            if rep % 2 == 1 {
                order.reverse();
            }
            for i in order {
                let (collector, status) = (&group.collectors[i], &mut statuses[i]);
                let (name, heap) = (&collector.name, &point.label);
                self.bar.set_message(format!("{} {heap} {name}, {}/{reps}", spec.name, rep + 1));
                self.bar.inc(1);
                let Status::Ran(kept) = status else { continue };
                let place = Place { spec, heap: point, collector, rep };
                let outcome = match self.ledger.run(&place) {
                    Some(known) => {
                        self.check(collector, spec, &known);
                        known
                    }
                    None => {
                        let outcome = self.make(collector, spec, point.bytes, iters, self.timeout())?;
                        self.ledger.keep_run(&place, &outcome)?;
                        outcome
                    }
                };
                match Status::of(outcome, warmup, timeout_s) {
                    Status::Ran(records) => kept.extend(records),
                    other => *status = other,
                }
            }
        }
        Ok(statuses)
    }

    /// The status of a cell before its first run.
    fn before(&self, collector: &Collector, spec: &Spec) -> Status {
        if !collector.is_built_in() {
            return Status::NotAvailable("needs --features peers".to_owned());
        }
        match collector.refuses(spec, self.options.mutators) {
            Some(why) => Status::NotAvailable(why.to_owned()),
            None => Status::Ran(Vec::new()),
        }
    }
}
