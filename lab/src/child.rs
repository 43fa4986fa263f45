//! One run in a process of its own: starts `mmtk run --json` as a child, with a time limit, and classifies
//! how it ended.
//!
//! Each run has a process, because collectors leave traces in a process (mappings, tables, threads), and
//! because some of them can be made only once.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::RunOptions;
use crate::collector::{Collector, Kind};
use crate::failure::{Failure, NOT_INSTALLED_STATUS, OUT_OF_MEMORY_STATUS};
use crate::interrupt;
use crate::record::Record;
use workloads::Spec;

/// How often the child is looked at.
const POLL: Duration = Duration::from_millis(5);

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It completed: its iterations.
    Ran(Vec<Record>),
    /// It ran out of memory.
    OutOfMemory,
    /// It took longer than allowed.
    TimedOut,
    /// Its external program is not installed.
    NotInstalled,
    /// Anything else, with the end of what it said.
    Failed(String),
}

/// A run to make.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    /// The collector.
    pub collector: &'a Collector,
    /// The workload.
    pub spec: &'static Spec,
    /// Heap limit.
    pub heap_bytes: u64,
    /// Iterations.
    pub iters: usize,
    /// The options of the command that makes the run.
    pub options: &'a RunOptions,
    /// After this it is given up.
    pub timeout: Duration,
}

impl Run<'_> {
    fn arguments(&self) -> Vec<String> {
        let Self { collector, spec, heap_bytes, iters, options, .. } = self;
        let mut arguments = vec!["run".to_owned(), spec.name.to_owned(), "--json".to_owned()];
        let mut add = |flag: &str, value: String| arguments.extend([format!("--{flag}"), value]);
        add("plan", collector.name.clone());
        add("heap", heap_bytes.to_string());
        add("iters", iters.to_string());
        add("mutators", options.mutators.to_string());
        add("size", options.size.to_string());
        add("ops", options.ops.to_string());
        if let Some(threads) = &options.gc_threads {
            add("gc-threads", threads.clone());
        }
        if let Some(path) = &options.config {
            add("config", path.display().to_string());
        }
        // Settings are for our plans; those of a peer are in its name.
        if collector.kind == Kind::Ours {
            for setting in &options.set {
                add("set", setting.clone());
            }
        }
        arguments
    }

    /// Makes the run and waits for it.
    ///
    /// # Errors
    /// When the child cannot be started at all.
    pub fn make(&self) -> Result<Outcome, Failure> {
        let Ended { status, stdout, stderr } = start(&self.arguments(), self.timeout)?;
        Ok(classify(status, &stdout, &stderr))
    }
}

/// Another command of this program, with `--json`: what it printed, or in words why there is nothing.
///
/// # Errors
/// When the child cannot be started at all.
pub fn json(arguments: &[&str], timeout: Duration) -> Result<Result<Value, String>, Failure> {
    let arguments: Vec<String> = arguments.iter().chain(&["--json"]).map(|&argument| argument.to_owned()).collect();
    let Ended { status, stdout, stderr } = start(&arguments, timeout)?;
    let Some(status) = status else { return Ok(Err(format!("took longer than {} s", timeout.as_secs()))) };
    // A command may print its figures and fail because of them.
    Ok(serde_json::from_str(&stdout).map_err(|_| format!("{status}: {}", tail(&stderr))))
}

/// A child that has ended.
struct Ended {
    /// `None` when it had to be killed.
    status: Option<ExitStatus>,
    stdout: String,
    stderr: String,
}

/// Starts this program as a child, and waits for it.
fn start(arguments: &[String], timeout: Duration) -> Result<Ended, Failure> {
    let cannot = |error: std::io::Error| Failure::Failed(format!("cannot start a run: {error}"));
    let program = std::env::current_exe().map_err(cannot)?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(cannot)?;
    let group = child.id() as i32;
    interrupt::set_child(group);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let readers = read_all(stdout).and_then(|stdout| Ok((stdout, read_all(stderr)?)));
    if readers.is_err() {
        interrupt::kill_group(group);
    }
    let status = wait(&mut child, timeout);
    // The group is gone, or about to be: nothing may be sent to it later.
    interrupt::set_child(0);
    let status = status.map_err(cannot)?;
    let (stdout, stderr) = readers.map_err(cannot)?;
    let text = |reader: JoinHandle<String>| reader.join().unwrap_or_default();
    Ok(Ended { status, stdout: text(stdout), stderr: text(stderr) })
}

/// The last lines of what a child said.
fn tail(stderr: &str) -> String {
    let mut tail: Vec<&str> = stderr.lines().rev().take(3).collect();
    tail.reverse();
    tail.join(" / ")
}

/// Reads a pipe on a thread of its own, so that the child never waits for us.
fn read_all(pipe: Option<impl Read + Send + 'static>) -> std::io::Result<JoinHandle<String>> {
    std::thread::Builder::new().spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is kept.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The exit status; `None` when the child had to be killed.
fn wait(child: &mut Child, timeout: Duration) -> std::io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() > timeout {
            interrupt::kill_group(child.id() as i32);
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

fn classify(status: Option<ExitStatus>, stdout: &str, stderr: &str) -> Outcome {
    let Some(status) = status else { return Outcome::TimedOut };
    match status.code() {
        Some(0) => {}
        Some(OUT_OF_MEMORY_STATUS) => return Outcome::OutOfMemory,
        Some(NOT_INSTALLED_STATUS) => return Outcome::NotInstalled,
        _ => return Outcome::Failed(format!("{status}: {}", tail(stderr))),
    }
    let records: Result<Vec<Record>, _> = stdout.lines().map(serde_json::from_str).collect();
    match records {
        Ok(records) if records.is_empty() => Outcome::Failed("no iterations".to_owned()),
        Ok(records) => Outcome::Ran(records),
        Err(error) => Outcome::Failed(format!("not a line of results: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn exit(code: i32) -> Option<ExitStatus> {
        Some(ExitStatus::from_raw(code << 8))
    }

    #[test]
    fn each_way_to_end_is_told_apart() {
        assert_eq!(classify(None, "", ""), Outcome::TimedOut);
        assert_eq!(classify(exit(3), "{\"error\":\"oom\"}", "out of memory"), Outcome::OutOfMemory);
        assert_eq!(classify(exit(127), "", ""), Outcome::NotInstalled);
        assert_eq!(classify(exit(0), "", ""), Outcome::Failed("no iterations".to_owned()));
        let Outcome::Failed(text) = classify(exit(101), "", "one\ntwo\nthree\nfour") else { panic!() };
        assert!(text.ends_with("two / three / four"), "{text}");
        assert!(matches!(classify(exit(0), "hello", ""), Outcome::Failed(_)));
    }
}
