//! `mmtk compare`: collectors x workloads x heaps, each run a child process, interleaved
//! ([`crate::interleave`]). A difference of checksums is an error after the report is printed.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use heapwright::options::{Options, format_bytes};

use crate::child::Outcome;
use crate::cli::{self, CompareOptions, Format, RunOptions};
use crate::collector::Collector;
use crate::compare::cell::{HeapPoint, Status};
use crate::compare::{Comparison, Found, group, report};
use crate::failure::Failure;
use crate::interleave::{Bench, Effort, Heaps, Ledger, Matrix, Place};
use crate::machine::Machine;
use crate::{interrupt, output};
use workloads::Spec;

/// Compared when nobody says.
const DEFAULT_PLANS: [&str; 2] = ["Immix", "SemiSpace"];

/// Compares, and prints or writes the report.
///
/// # Errors
/// What is wrong with the options; checksums that differ; a report that cannot be written.
pub(super) fn compare(options: &RunOptions, how: &CompareOptions) -> Result<(), Failure> {
    let matrix = read(options, how)?;
    if let Some(path) = &how.out {
        // A comparison that ends without its report is a comparison in vain.
        File::options().create(true).append(true).open(path).map_err(|error| cannot_write(path, &error))?;
    }
    interrupt::install();
    let mut ledger = Raw::new(how)?;
    let iters = options.iters();
    let warmup = how.warmup.unwrap_or(usize::from(iters > 1)).min(iters - 1);
    let effort = Effort { reps: how.reps, iters, warmup, timeout_s: how.timeout_s };
    let mut bench = Bench::new(options, effort, &mut ledger);
    let (minima, cells) = matrix.run(&mut bench)?;
    let mismatches = bench.checksums.mismatches();
    let comparison = Comparison {
        command: std::env::args().collect::<Vec<_>>().join(" "),
        machine: machine(),
        groups: matrix.groups,
        minima,
        cells,
        mismatches,
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
    let Machine { processor, processors, memory, .. } = Machine::here();
    format!("Machine: {processors} processors ({processor}), memory {memory}")
}

/// What the command line asks for.
fn read(options: &RunOptions, how: &CompareOptions) -> Result<Matrix, Failure> {
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
    Ok(Matrix { groups, specs, heaps: read_heaps(options, how)? })
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

/// Remembers the minimum heaps, since a collector may be in several groups, and writes what `--raw` asks for.
struct Raw {
    minima: HashMap<(&'static str, String), Found>,
    file: Option<(PathBuf, File)>,
}

impl Raw {
    fn new(how: &CompareOptions) -> Result<Self, Failure> {
        let file = match &how.raw {
            None => None,
            Some(path) => {
                let file = File::options().create(true).append(true).open(path);
                Some((path.clone(), file.map_err(|error| cannot_write(path, &error))?))
            }
        };
        Ok(Self { minima: HashMap::new(), file })
    }
}

impl Ledger for Raw {
    fn minimum(&self, spec: &Spec, collector: &Collector) -> Option<Found> {
        self.minima.get(&(spec.name, collector.name.clone())).copied()
    }

    fn keep_minimum(&mut self, spec: &Spec, collector: &Collector, found: Found) -> Result<(), Failure> {
        self.minima.insert((spec.name, collector.name.clone()), found);
        Ok(())
    }

    fn run(&self, _: &Place) -> Option<Outcome> {
        None
    }

    fn keep_run(&mut self, place: &Place, outcome: &Outcome) -> Result<(), Failure> {
        let (Some((path, file)), Outcome::Ran(records)) = (&mut self.file, outcome) else { return Ok(()) };
        for record in records {
            let mut value = serde_json::to_value(record).expect("a record is plain data");
            value["heap"] = place.heap.label.as_str().into();
            writeln!(file, "{value}").map_err(|error| cannot_write(path, &error))?;
        }
        Ok(())
    }

    fn keep_refusal(&mut self, _: &Spec, _: &Collector, _: &str) -> Result<(), Failure> {
        Ok(())
    }
}
