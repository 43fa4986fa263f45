//! `mmtk bench`: the measurements of the book's chapter "Measured". Makes the runs that are not in the
//! results yet, and draws the chapter of all that are.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::bench::catalogue::{self, Kind, MEASUREMENTS, Measurement};
use crate::bench::chapter;
use crate::bench::results::{self, Entry, Results, Session};
use crate::cli::{BenchOptions, RunOptions};
use crate::collector::Collector;
use crate::failure::Failure;
use crate::interleave::{Bench, Effort, Heaps};
use crate::machine::{self, Machine, Others};
use crate::table::Table;
use crate::{child, interrupt, output, progress, suggest};

/// Seconds after which another command of `mmtk` is given up: the pacer's scenarios take some minutes.
const COMMAND_TIMEOUT_S: u64 = 1800;

/// Measures, and prints or writes the chapter.
///
/// # Errors
/// What is wrong with the options; files that cannot be read or written; checksums that differ.
pub(super) fn bench(options: &RunOptions, how: &BenchOptions) -> Result<(), Failure> {
    let chosen = choose(&how.only)?;
    if how.list {
        return list(how.quick);
    }
    // What cannot be written in the end is better said now.
    let page = options.report.as_deref().map(Page::read).transpose()?;
    let default = if how.quick { "bench-quick.jsonl" } else { "bench.jsonl" };
    let path = how.results.clone().unwrap_or_else(|| PathBuf::from(default));
    let mut mismatches = Vec::new();
    let entries = if how.draw {
        results::read(&path)?
    } else {
        interrupt::install();
        let mut results = Results::open(&path, &session(how.quick)?)?;
        for (number, measurement) in chosen.iter().enumerate() {
            output::note(format!("{}/{} {}: {}", number + 1, chosen.len(), measurement.name, measurement.title));
            let (made, others) = (results.entries().len(), Others::watch());
            let measured = measure(measurement, how.quick, &mut results);
            if results.entries().len() > made
                && let Some(processors) = others.and_then(|others| others.processors())
            {
                results.keep(Entry::Others { measurement: measurement.name.to_owned(), processors })?;
            }
            match measured {
                Ok(found) => mismatches.extend(found),
                Err(failure) => {
                    output::note(format!("{}: {failure}", measurement.name));
                    let (measurement, why) = (measurement.name.to_owned(), failure.to_string());
                    results.keep(Entry::Failure { measurement, why })?;
                }
            }
        }
        results.entries().to_vec()
    };
    match page {
        None => output::text(&chapter::draw(&entries, None).text)?,
        Some(page) => page.write(&entries)?,
    }
    match mismatches.as_slice() {
        [] => Ok(()),
        some => Err(Failure::Mismatch(format!("checksums differ on {}", some.join("; on ")))),
    }
}

/// The measurements that are named; all but those that must be named if none is.
fn choose(only: &[String]) -> Result<Vec<&'static Measurement>, Failure> {
    if only.is_empty() {
        return Ok(MEASUREMENTS.iter().filter(|measurement| !measurement.only_when_named).collect());
    }
    let names = MEASUREMENTS.iter().map(|measurement| measurement.name);
    let find =
        |name: &String| catalogue::find(name).ok_or_else(|| suggest::unknown("measurement", name, names.clone()));
    only.iter().map(find).collect()
}

fn list(quick: bool) -> Result<(), Failure> {
    let mut table = Table::new(["measurement", "runs", "what", "needs"]);
    for measurement in MEASUREMENTS {
        let needs = match (measurement.needs, measurement.only_when_named) {
            ("", true) => "made only when named".to_owned(),
            (needs, _) => needs.to_owned(),
        };
        table.row([measurement.name.to_owned(), runs(&measurement.kind, quick), measurement.title.to_owned(), needs]);
    }
    output::text(&table.plain_left())
}

/// How many processes a measurement is, besides the search for minimum heaps.
fn runs(kind: &Kind, quick: bool) -> String {
    match kind {
        Kind::Runs(runs) => {
            let matrix = runs.matrix(quick);
            let heaps = match &matrix.heaps {
                Heaps::Sizes(sizes) => sizes.len(),
                Heaps::Multiples { factors, .. } => factors.len(),
            };
            let collectors: usize = matrix.groups.iter().map(|group| group.collectors.len()).sum();
            (collectors * matrix.specs.len() * heaps * runs.effort(quick).reps).to_string()
        }
        Kind::Minima { pairs, workloads, .. } => {
            let searches = distinct(pairs).len() * catalogue::workloads_of(workloads, quick).len();
            format!("{searches} searches")
        }
        Kind::Commands { calls, reps, .. } => if quick { 1 } else { calls.len() * reps }.to_string(),
    }
}

/// The collectors of some pairs, each once.
fn distinct(pairs: &[(&'static str, &'static str)]) -> Vec<&'static str> {
    let mut names = Vec::new();
    for name in pairs.iter().flat_map(|(plan, base)| [*plan, *base]) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn session(quick: bool) -> Result<Session, Failure> {
    let cannot = |error: std::io::Error| Failure::Failed(format!("cannot read this program: {error}"));
    let mut hasher = DefaultHasher::new();
    fs::read(std::env::current_exe().map_err(cannot)?).map_err(cannot)?.hash(&mut hasher);
    let mut arguments = std::env::args();
    // Where the program lies says nothing.
    arguments.next();
    Ok(Session {
        date: machine::today(),
        machine: Machine::here(),
        load: machine::others_running(),
        quick,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        build: format!("{:016x}", hasher.finish()),
        command: ["mmtk".to_owned()].into_iter().chain(arguments).collect::<Vec<_>>().join(" "),
    })
}

/// Makes what is missing of a measurement, and tells on which workloads checksums differ.
///
/// # Errors
/// Why it cannot be made. Others can, unless results cannot be kept.
fn measure(measurement: &'static Measurement, quick: bool, results: &mut Results) -> Result<Vec<String>, Failure> {
    let no_options = RunOptions { mutators: 1, ..RunOptions::default() };
    match &measurement.kind {
        Kind::Runs(runs) => {
            let (size, ops) = runs.amounts;
            let options = RunOptions { size, ops, ..no_options };
            let mut ledger = results.of(measurement.name);
            let mut bench = Bench::new(&options, runs.effort(quick), &mut ledger);
            runs.matrix(quick).run(&mut bench)?;
            Ok(bench.checksums.mismatches())
        }
        Kind::Minima { pairs, workloads, .. } => {
            let effort = Effort { reps: 1, iters: 1, warmup: 0, timeout_s: 120 };
            let mut ledger = results.of(measurement.name);
            let mut bench = Bench::new(&no_options, effort, &mut ledger);
            for workload in catalogue::workloads_of(workloads, quick) {
                let spec = workloads::find(workload).expect("a name of the table");
                for name in distinct(pairs) {
                    let collector = Collector::parse(name)?;
                    bench.minimum_heap(&collector, spec)?;
                }
            }
            Ok(bench.checksums.mismatches())
        }
        Kind::Commands { calls, reps, .. } => {
            let (calls, reps) = if quick { (&calls[..1], 1) } else { (*calls, *reps) };
            let bar = progress::children(calls.len() * reps);
            for rep in 0..reps {
                for (call, arguments) in calls.iter().enumerate() {
                    bar.set_message(arguments.join(" "));
                    bar.inc(1);
                    if results.has_printed(measurement.name, call, rep) {
                        continue;
                    }
                    let printed = child::json(arguments, Duration::from_secs(COMMAND_TIMEOUT_S))?;
                    let measurement = measurement.name.to_owned();
                    let entry = match printed {
                        Ok(value) => Entry::Printed { measurement, call, rep, value },
                        Err(why) => {
                            let why = format!("`mmtk {}`: {why}", arguments.join(" "));
                            Entry::Failure { measurement, why }
                        }
                    };
                    results.keep(entry)?;
                }
            }
            bar.finish_and_clear();
            Ok(Vec::new())
        }
    }
}

/// The page that is written in the end.
struct Page {
    path: PathBuf,
    before: String,
}

impl Page {
    /// Reads what is there, and sees whether it can be written.
    fn read(path: &Path) -> Result<Page, Failure> {
        if path.extension().is_none() {
            let path = path.display();
            return Err(Failure::Usage(format!(
                "--report {path}: must have an extension, such as .md: the folder of the charts has the name without it"
            )));
        }
        results::is_file(path)?;
        let file = fs::File::options().create(true).append(true).open(path);
        let before = file.and_then(|_| fs::read_to_string(path)).map_err(|error| cannot_write(path, &error))?;
        chapter::insert(&before, "").map_err(|why| Failure::Usage(format!("{}: {why}", path.display())))?;
        Ok(Page { path: path.to_owned(), before })
    }

    /// Writes the chapter, and its charts into a folder that is named as the page.
    fn write(&self, entries: &[Entry]) -> Result<(), Failure> {
        let folder = self.path.with_extension("");
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let chapter = chapter::draw(entries, Some(&name));
        for (file, svg) in &chapter.charts {
            fs::create_dir_all(&folder).map_err(|error| cannot_write(&folder, &error))?;
            replace(&folder.join(file), svg)?;
        }
        let page = chapter::insert(&self.before, &chapter.text).expect("it was tried when the page was read");
        replace(&self.path, &page)
    }
}

/// Writes a file so that a disk that is full leaves the old one.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, path));
    written.map_err(|error| {
        _ = fs::remove_file(&new);
        cannot_write(path, &error)
    })
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Failed(format!("{}: cannot write the report: {error}", path.display()))
}
