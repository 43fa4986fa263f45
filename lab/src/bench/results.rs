//! The results of the runs: a file of JSON lines that grows while the runs are made.
//!
//! Every result is one line, which is written before the next run begins, so an interrupted call loses one
//! run at most. The next call with the same file reads the results and makes only the runs that are missing;
//! it drops a last line that was cut off. All runs of a file are made by one program on one machine, and are
//! all full or all quick: ratios of other runs would mean nothing. The file is locked while runs are made.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::child::Outcome;
use crate::collector::Collector;
use crate::compare::Found;
use crate::failure::Failure;
use crate::interleave::{Ledger, Place};
use crate::machine::Machine;
use workloads::Spec;

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Entry {
    /// A call began. All that follows is its work.
    Session(Session),
    /// The minimum heap of a collector on a workload.
    Minimum {
        /// The workload.
        workload: String,
        /// The collector.
        collector: String,
        /// What the search found.
        found: Found,
    },
    /// A process ended.
    Run {
        /// The measurement that it is a part of.
        measurement: String,
        /// The workload.
        workload: String,
        /// What the heap is called, `1.5x`.
        heap: String,
        /// The heap limit.
        bytes: u64,
        /// The collector.
        collector: String,
        /// Which process of the cell, from 0.
        rep: usize,
        /// How it ended.
        outcome: Outcome,
    },
    /// A collector cannot run a workload here.
    Refusal {
        /// The measurement.
        measurement: String,
        /// The workload.
        workload: String,
        /// The collector.
        collector: String,
        /// Why not.
        why: String,
    },
    /// Another command of `mmtk` printed this.
    Printed {
        /// The measurement.
        measurement: String,
        /// Which of its calls, from 0.
        call: usize,
        /// How often the call was made before.
        rep: usize,
        /// What was printed.
        value: Value,
    },
    /// What other programs took of the machine while runs of a measurement were made.
    Others {
        /// The measurement.
        measurement: String,
        /// Processors that they used, on average.
        processors: f64,
    },
    /// A measurement could not be made.
    Failure {
        /// The measurement.
        measurement: String,
        /// Why not.
        why: String,
    },
}

/// One call of `mmtk bench`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// The day in universal time.
    pub date: String,
    /// The machine.
    pub machine: Machine,
    /// Threads of other programs that ran before the first run, on average.
    pub load: f64,
    /// Whether less of everything is run.
    pub quick: bool,
    /// Version of this program.
    pub version: String,
    /// Tells builds of it apart.
    pub build: String,
    /// The command line.
    pub command: String,
}

/// The results of a file, and the file.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    file: File,
    entries: Vec<Entry>,
    minima: HashMap<(String, String), Found>,
}

/// Reads a file. The last line may have been cut off: it is left out.
///
/// # Errors
/// The file cannot be read, or a line is no result.
pub fn read(path: &Path) -> Result<Vec<Entry>, Failure> {
    is_file(path)?;
    let text = fs::read_to_string(path).map_err(|error| failed(path, "cannot read the results", &error))?;
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let parsed = |(number, line): (usize, &str)| {
        let wrong = |error| Failure::Failed(format!("{}: line {}: not a result: {error}", path.display(), number + 1));
        serde_json::from_str(line).map_err(wrong)
    };
    whole.lines().enumerate().map(parsed).collect()
}

/// Refuses what is no file: a device may have no end.
///
/// # Errors
/// It is something else.
pub fn is_file(path: &Path) -> Result<(), Failure> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(Failure::Usage(format!("{}: must be a file", path.display()))),
        _ => Ok(()),
    }
}

fn failed(path: &Path, what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::Failed(format!("{}: {what}: {error}", path.display()))
}

impl Results {
    /// Opens a file for a session, and makes it where there is none.
    ///
    /// # Errors
    /// The file cannot be read or written, or another call is writing it; its runs are of another machine or
    /// program, or quick where these are not.
    pub fn open(path: &Path, session: &Session) -> Result<Results, Failure> {
        is_file(path)?;
        let file = File::options().create(true).append(true).read(true).open(path);
        let file = file.map_err(|error| failed(path, "cannot write the results", &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(failed(
                    path,
                    "in use",
                    &"another `mmtk bench` writes it; wait for it, or name another --results",
                ));
            }
            // A file system without locks.
            Err(TryLockError::Error(_)) => {}
        }
        let entries = read(path)?;
        let last = entries.iter().rev().find_map(|entry| match entry {
            Entry::Session(session) => Some(session),
            _ => None,
        });
        if let Some(last) = last {
            check_same(path, last, session)?;
        }
        let text = fs::read(path).map_err(|error| failed(path, "cannot read the results", &error))?;
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64).map_err(|error| failed(path, "cannot write the results", &error))?;
        let mut results = Results { path: path.to_owned(), file, entries: Vec::new(), minima: HashMap::new() };
        entries.into_iter().for_each(|entry| results.note(entry));
        results.keep(Entry::Session(session.clone()))?;
        Ok(results)
    }

    /// All results so far.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Writes a result down.
    ///
    /// # Errors
    /// The disk is full, for example.
    pub fn keep(&mut self, entry: Entry) -> Result<(), Failure> {
        let line = serde_json::to_string(&entry).expect("an entry is plain data") + "\n";
        // One write: a call that is killed leaves whole lines, but for the last.
        self.file.write_all(line.as_bytes()).map_err(|error| failed(&self.path, "cannot write the results", &error))?;
        self.note(entry);
        Ok(())
    }

    fn note(&mut self, entry: Entry) {
        if let Entry::Minimum { workload, collector, found } = &entry {
            self.minima.insert((workload.clone(), collector.clone()), *found);
        }
        self.entries.push(entry);
    }

    /// Whether a call of another command was made.
    pub fn has_printed(&self, of: &str, which: usize, times: usize) -> bool {
        self.entries.iter().any(|entry| match entry {
            Entry::Printed { measurement, call, rep, .. } => (measurement.as_str(), *call, *rep) == (of, which, times),
            _ => false,
        })
    }

    /// The results of one measurement, as the runs ask for them.
    pub fn of(&mut self, measurement: &'static str) -> OfMeasurement<'_> {
        OfMeasurement { results: self, measurement }
    }
}

fn check_same(path: &Path, last: &Session, now: &Session) -> Result<(), Failure> {
    let differs = if last.machine != now.machine {
        format!("its runs were made on another machine ({})", last.machine.processor)
    } else if last.build != now.build {
        "its runs were made by another build of mmtk".to_owned()
    } else if last.quick != now.quick {
        let kind = |quick| if quick { "quick" } else { "full" };
        format!("its runs are {}, these would be {}", kind(last.quick), kind(now.quick))
    } else {
        return Ok(());
    };
    Err(Failure::Usage(format!("{}: {differs}, on {}; name another file by --results", path.display(), last.date)))
}

/// The results of one measurement.
pub struct OfMeasurement<'a> {
    results: &'a mut Results,
    measurement: &'static str,
}

impl Ledger for OfMeasurement<'_> {
    fn minimum(&self, spec: &Spec, collector: &Collector) -> Option<Found> {
        self.results.minima.get(&(spec.name.to_owned(), collector.name.clone())).copied()
    }

    fn keep_minimum(&mut self, spec: &Spec, collector: &Collector, found: Found) -> Result<(), Failure> {
        let (workload, collector) = (spec.name.to_owned(), collector.name.clone());
        self.results.keep(Entry::Minimum { workload, collector, found })
    }

    fn run(&self, place: &Place) -> Option<Outcome> {
        self.results.entries.iter().find_map(|entry| match entry {
            Entry::Run { measurement, workload, heap, bytes, collector, rep, outcome }
                if measurement == self.measurement
                    && workload == place.spec.name
                    && (heap, *bytes) == (&place.heap.label, place.heap.bytes)
                    && *collector == place.collector.name
                    && *rep == place.rep =>
            {
                Some(outcome.clone())
            }
            _ => None,
        })
    }

    fn keep_run(&mut self, place: &Place, outcome: &Outcome) -> Result<(), Failure> {
        self.results.keep(Entry::Run {
            measurement: self.measurement.to_owned(),
            workload: place.spec.name.to_owned(),
            heap: place.heap.label.clone(),
            bytes: place.heap.bytes,
            collector: place.collector.name.clone(),
            rep: place.rep,
            outcome: outcome.clone(),
        })
    }

    fn keep_refusal(&mut self, spec: &Spec, collector: &Collector, why: &str) -> Result<(), Failure> {
        let entry = Entry::Refusal {
            measurement: self.measurement.to_owned(),
            workload: spec.name.to_owned(),
            collector: collector.name.clone(),
            why: why.to_owned(),
        };
        if self.results.entries.contains(&entry) { Ok(()) } else { self.results.keep(entry) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::cell::HeapPoint;

    fn session() -> Session {
        let unknown = || "unknown".to_owned();
        let machine = Machine { processor: unknown(), processors: 2, memory: unknown(), kernel: unknown() };
        let (version, build, command) = ("0.1.0".to_owned(), "1".to_owned(), "mmtk bench".to_owned());
        Session { date: "2026-11-30".to_owned(), machine, load: 0.0, quick: false, version, build, command }
    }

    /// A file that goes when the test ends.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str) -> Temporary {
            let path = std::env::temp_dir().join(format!("mmtk-results-{}-{name}", std::process::id()));
            _ = fs::remove_file(&path);
            Temporary(path)
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_call_continues_behind_the_last_whole_line() {
        let file = Temporary::new("resume");
        let (spec, collector) = (workloads::find("list").unwrap(), Collector::parse("Immix").unwrap());
        let heap = HeapPoint { label: "2x".to_owned(), bytes: 8 << 20 };
        let place = |rep| Place { spec, heap: &heap, collector: &collector, rep };
        let mut results = Results::open(&file.0, &session()).unwrap();
        let mut ledger = results.of("smoke");
        ledger.keep_minimum(spec, &collector, Found::Bytes(4 << 20)).unwrap();
        ledger.keep_run(&place(0), &Outcome::OutOfMemory).unwrap();
        ledger.keep_refusal(spec, &collector, "not built in").unwrap();
        ledger.keep_refusal(spec, &collector, "not built in").unwrap();
        drop(results);
        let whole = fs::read_to_string(&file.0).unwrap();
        fs::write(&file.0, whole.clone() + "{\"entry\":\"run\",\"measu").unwrap();
        let mut results = Results::open(&file.0, &session()).unwrap();
        let ledger = results.of("smoke");
        assert_eq!(ledger.minimum(spec, &collector), Some(Found::Bytes(4 << 20)));
        assert_eq!(ledger.run(&place(0)), Some(Outcome::OutOfMemory));
        assert_eq!(ledger.run(&place(1)), None);
        assert_eq!(results.of("minor").run(&place(0)), None, "it is of another measurement");
        let text = fs::read_to_string(&file.0).unwrap();
        assert!(text.starts_with(&whole), "{text}");
        assert!(read(&file.0).is_ok(), "the part of a line is gone: {text}");
        assert_eq!(text.lines().count(), 5, "a refusal is said once, and there are two sessions: {text}");
    }

    #[test]
    fn runs_of_another_build_machine_or_length_are_refused_and_the_file_stays() {
        let file = Temporary::new("other");
        drop(Results::open(&file.0, &session()).unwrap());
        let before = fs::read_to_string(&file.0).unwrap();
        let error = |session: Session| Results::open(&file.0, &session).unwrap_err().to_string();
        let other = Machine { kernel: "6.1".to_owned(), ..session().machine };
        assert!(error(Session { machine: other, ..session() }).contains("on another machine (unknown)"));
        assert!(error(Session { build: "2".to_owned(), ..session() }).contains("by another build of mmtk"));
        let quick = error(Session { quick: true, ..session() });
        assert!(quick.contains("its runs are full, these would be quick, on 2026-11-30; name another"), "{quick}");
        assert_eq!(fs::read_to_string(&file.0).unwrap(), before);
    }

    #[test]
    fn two_calls_do_not_write_one_file() {
        let file = Temporary::new("locked");
        let _first = Results::open(&file.0, &session()).unwrap();
        let error = Results::open(&file.0, &session()).unwrap_err().to_string();
        assert!(error.contains("in use: another `mmtk bench` writes it"), "{error}");
    }

    #[test]
    fn a_line_that_is_no_result_is_named_and_the_file_stays() {
        let file = Temporary::new("broken");
        fs::write(&file.0, "{\"entry\":\"failure\",\"measurement\":\"minor\",\"why\":\"x\"}\n{\"entry\":1}\n").unwrap();
        let error = Results::open(&file.0, &session()).unwrap_err().to_string();
        assert!(error.contains(": line 2: not a result: "), "{error}");
        assert_eq!(fs::read_to_string(&file.0).unwrap().lines().count(), 2);
    }
}
