//! `mmtk compare`: collectors x workloads x heaps, each run a child process, interleaved.
//!
//! 1. For heaps as multiples, the minimum heap of each workload: the smallest that any of the compared
//!    collectors needs.
//! 2. For each workload and heap, so many rounds; in a round each collector runs once, every second round in
//!    reverse order, so that a slow drift of the machine touches all alike.
//! 3. A collector that fails in a cell is not run there again, and the cell says why.
//! 4. Checksums of all iterations are compared; a difference is an error after the report is printed.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::time::Duration;

use heapwright::options::{Options, format_bytes};
use indicatif::ProgressBar;

use crate::child::{Outcome, Run};
use crate::cli::{self, CompareOptions, Format, RunOptions};
use crate::collector::Collector;
use crate::compare::cell::{Cell, HeapPoint, Status};
use crate::compare::checksum::Checksums;
use crate::compare::group::{self, Group};
use crate::compare::{Comparison, Found, MinimumHeap, report};
use crate::failure::Failure;
use crate::record::Record;
use crate::{interrupt, minimum, output, progress};
use workloads::Spec;

/// Compared when nobody says.
const DEFAULT_PLANS: [&str; 2] = ["Immix", "SemiSpace"];

/// Compares, and prints or writes the report.
///
/// # Errors
/// What is wrong with the options; checksums that differ; a report that cannot be written.
pub(super) fn compare(options: &RunOptions, how: &CompareOptions) -> Result<(), Failure> {
    let matrix = Matrix::read(options, how)?;
    if let Some(path) = &how.out {
        // A comparison that ends without its report is a comparison in vain.
        File::options().create(true).append(true).open(path).map_err(|error| cannot_write(path, &error))?;
    }
    interrupt::install();
    let mut bench = Bench::new(options, how)?;
    let (minima, heaps) = matrix.heaps(&mut bench)?;
    let cells = matrix.run(&mut bench, &heaps)?;
    let comparison = Comparison {
        command: std::env::args().collect::<Vec<_>>().join(" "),
        machine: machine(),
        groups: matrix.groups,
        minima,
        cells,
        mismatches: bench.checksums.mismatches(),
    };
    let format = if options.json { Format::Json } else { how.format };
    let text = report::render(&comparison, format);
    match &how.out {
        None => output::text(&text)?,
        Some(path) => std::fs::write(path, text).map_err(|error| cannot_write(path, &error))?,
    }
    if !comparison.cells.iter().any(|cell| matches!(cell.status, Status::Ran(_))) {
        return Err(Failure::Failed("no run completed; the report says why".to_owned()));
    }
    match comparison.mismatches.as_slice() {
        [] => Ok(()),
        some => Err(Failure::Mismatch(format!("checksums differ on {}", some.join("; on ")))),
    }
}

fn cannot_write(path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::Failed(format!("{}: {error}", path.display()))
}

/// Processors and memory, for the head of the report.
fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let value_of = |file: &str, key: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key))?.to_owned();
        Some(line.split(':').nth(1)?.trim().to_owned())
    };
    let model = value_of("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
    let memory = value_of("/proc/meminfo", "MemTotal").unwrap_or_else(|| "unknown".to_owned());
    format!("Machine: {processors} processors ({model}), memory {memory}")
}

/// What is to be compared.
struct Matrix {
    groups: Vec<Group>,
    specs: Vec<&'static Spec>,
    heaps: Heaps,
}

/// Heaps as they were asked for.
enum Heaps {
    Sizes(Vec<HeapPoint>),
    Multiples { factors: Vec<f64>, known: HashMap<&'static str, u64> },
}

/// The heaps of each group and workload, in order.
type HeapPoints = Vec<Vec<Vec<HeapPoint>>>;

impl Matrix {
    fn read(options: &RunOptions, how: &CompareOptions) -> Result<Self, Failure> {
        let mut names: Vec<String> = options.plan.iter().chain(&how.peers).cloned().collect();
        if options.plan.is_empty() {
            names.splice(0..0, DEFAULT_PLANS.map(str::to_owned));
        }
        let collectors = names.iter().map(|name| Collector::parse(name));
        let groups = group::groups(collectors.collect::<Result<_, _>>()?, how.base.as_deref())?;
        let specs: Vec<_> = how.workloads.iter().map(|name| cli::workload(name)).collect::<Result<_, _>>()?;
        // Anything else that is wrong with the options is better said now than by each child.
        let probe = RunOptions { plan: vec![], heap: vec![], json: true, ..options.clone() };
        probe.request(specs[0].name)?;
        Ok(Self { groups, specs, heaps: read_heaps(options, how)? })
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

    fn run(&self, bench: &mut Bench, heaps: &HeapPoints) -> Result<Vec<Cell>, Failure> {
        let tables = || {
            let groups = self.groups.iter().zip(heaps).enumerate();
            groups.flat_map(|(g, (group, of_group))| {
                let specs = self.specs.iter().zip(of_group);
                specs.flat_map(move |(spec, points)| points.iter().map(move |point| (g, group, *spec, point)))
            })
        };
        let runs: usize = tables().map(|(_, group, ..)| group.collectors.len() * bench.how.reps).sum();
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

fn read_heaps(options: &RunOptions, how: &CompareOptions) -> Result<Heaps, Failure> {
    let size = |text: &str| {
        // The words and the bounds of the option that each child will be given.
        let mut options = Options::default();
        options.set("heap.limit", text)?;
        Ok::<u64, Failure>(options.heap_limit as u64)
    };
    if how.heap_x.is_empty() {
        // Clap does not ask for what `--heap` excludes.
        if let Some(min) = how.min.first() {
            return Err(Failure::Usage(format!("--min {min}: is read with --heap-x alone")));
        }
        let default = ["256M".to_owned()];
        let given = if options.heap.is_empty() { &default[..] } else { &options.heap };
        let point = |text: &String| {
            let bytes = size(text)?;
            Ok(HeapPoint { label: format_bytes(bytes as usize), bytes })
        };
        return Ok(Heaps::Sizes(given.iter().map(point).collect::<Result<_, Failure>>()?));
    }
    if let Some(factor) = how.heap_x.iter().find(|factor| !(0.01..=1000.0).contains(*factor)) {
        return Err(Failure::Usage(format!("--heap-x {factor}: must be 0.01..=1000, a multiple of the minimum heap")));
    }
    let known = how.min.iter().map(|text| {
        let Some((name, bytes)) = text.split_once('=') else {
            return Err(Failure::Usage(format!("--min {text}: must be WORKLOAD=SIZE")));
        };
        Ok((cli::workload(name)?.name, size(bytes)?))
    });
    let known = known.collect::<Result<_, _>>()?;
    Ok(Heaps::Multiples { factors: how.heap_x.clone(), known })
}

/// Makes runs, and keeps what they say.
struct Bench<'a> {
    options: &'a RunOptions,
    how: &'a CompareOptions,
    checksums: Checksums,
    /// Minimum heaps that were found: a collector may be in several groups.
    minima: HashMap<(&'static str, String), Found>,
    raw: Option<File>,
    bar: ProgressBar,
}

impl<'a> Bench<'a> {
    fn new(options: &'a RunOptions, how: &'a CompareOptions) -> Result<Self, Failure> {
        let append = |path| File::options().create(true).append(true).open(path);
        let raw = match &how.raw {
            None => None,
            Some(path) => Some(append(path).map_err(|error| cannot_write(path, &error))?),
        };
        let (checksums, minima, bar) = (Checksums::default(), HashMap::new(), ProgressBar::hidden());
        Ok(Self { options, how, checksums, minima, raw, bar })
    }

    /// One child process.
    fn make(
        &mut self,
        collector: &Collector,
        spec: &'static Spec,
        heap_bytes: u64,
        iters: usize,
    ) -> Result<Outcome, Failure> {
        let timeout = Duration::from_secs(self.how.timeout_s);
        let outcome = Run { collector, spec, heap_bytes, iters, options: self.options, timeout }.make()?;
        if let Outcome::Ran(records) = &outcome {
            for record in records {
                self.checksums.add(spec.name, &collector.name, &record.checksum);
            }
        }
        Ok(outcome)
    }

    fn keep_raw(&mut self, label: &str, records: &[Record]) -> Result<(), Failure> {
        let (Some(file), Some(path)) = (&mut self.raw, &self.how.raw) else { return Ok(()) };
        for record in records {
            let mut value = serde_json::to_value(record).expect("a record is plain data");
            value["heap"] = label.into();
            writeln!(file, "{value}").map_err(|error| cannot_write(path, &error))?;
        }
        Ok(())
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
        let key = (spec.name, collector.name.clone());
        if let Some(found) = self.minima.get(&key) {
            return Ok(*found);
        }
        let what = format!("minimum heap of {} on {}", spec.name, collector.name);
        let try_heap = |bench: &mut Self, bytes: u64| {
            bench.bar.set_message(format!("{what}: {} MB", bytes >> 20));
            bench.make(collector, spec, bytes, 1)
        };
        let guess = match known {
            None => minimum::GUESS_BYTES,
            Some(known) => {
                let below = known - minimum::resolution(known);
                match try_heap(self, below)? {
                    Outcome::Ran(_) => below,
                    Outcome::OutOfMemory | Outcome::TimedOut => return Ok(Found::NotBelow(below)),
                    // Not for lack of memory: it would fail in any heap.
                    Outcome::NotInstalled | Outcome::Failed(_) => return Ok(Found::Nothing),
                }
            }
        };
        let fits = |bytes| Ok::<_, Failure>(matches!(try_heap(self, bytes)?, Outcome::Ran(_)));
        let found = minimum::search(guess, fits)?;
        let found = found.map_or(Found::Nothing, Found::Bytes);
        self.minima.insert(key, found);
        Ok(found)
    }

    /// The cells of one table.
    fn table(&mut self, group: &Group, spec: &'static Spec, point: &HeapPoint) -> Result<Vec<Status>, Failure> {
        let iters = self.options.iters();
        let warmup = self.how.warmup.unwrap_or(usize::from(iters > 1)).min(iters - 1);
        let mut statuses: Vec<Status> = group.collectors.iter().map(|collector| self.before(collector, spec)).collect();
        for rep in 0..self.how.reps {
            let mut order: Vec<usize> = (0..group.collectors.len()).collect();
            if rep % 2 == 1 {
                order.reverse();
            }
            for i in order {
                let (collector, status) = (&group.collectors[i], &mut statuses[i]);
                let (name, heap) = (&collector.name, &point.label);
                let message = format!("{} {heap} {name}, {}/{}", spec.name, rep + 1, self.how.reps);
                self.bar.set_message(message);
                self.bar.inc(1);
                let Status::Ran(kept) = status else { continue };
                match self.make(collector, spec, point.bytes, iters)? {
                    Outcome::Ran(records) => {
                        self.keep_raw(&point.label, &records)?;
                        kept.extend(records.into_iter().skip(warmup));
                    }
                    Outcome::OutOfMemory => *status = Status::OutOfMemory,
                    Outcome::TimedOut => *status = Status::TimedOut(self.how.timeout_s),
                    Outcome::NotInstalled => *status = Status::NotInstalled,
                    Outcome::Failed(text) => *status = Status::Failed(text),
                }
            }
        }
        Ok(statuses)
    }

    /// The status of a cell before its first run.
    fn before(&self, collector: &Collector, spec: &Spec) -> Status {
        if !collector.is_built_in() {
            return Status::NotAvailable("needs --features peers");
        }
        match collector.refuses(spec, self.options.mutators) {
            Some(why) => Status::NotAvailable(why),
            None => Status::Ran(Vec::new()),
        }
    }
}
