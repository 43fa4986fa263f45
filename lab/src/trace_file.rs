//! A Chrome trace of iterations and pauses, for collectors that do not write a better one. Opens in Perfetto.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::failure::Failure;
use workloads::heap::Pause;

const ITERATIONS: u32 = 1;
const PAUSES: u32 = 2;

/// Events collected in memory, written at the end: the file costs the run nothing.
#[derive(Debug)]
pub struct TraceFile {
    origin: Instant,
    events: Vec<Value>,
}

impl TraceFile {
    /// An empty trace that begins now.
    pub fn new(process: &str) -> Self {
        let name = |tid: u32, what: &str, name: &str| json!({"ph": "M", "pid": 1, "tid": tid, "name": what, "args": {"name": name}});
        let events = vec![
            name(ITERATIONS, "process_name", process),
            name(ITERATIONS, "thread_name", "iterations"),
            name(PAUSES, "thread_name", "pauses"),
        ];
        Self { origin: Instant::now(), events }
    }

    fn span(&mut self, track: u32, name: &str, start: Instant, length_ns: u64) {
        let start_us = start.saturating_duration_since(self.origin).as_nanos() as f64 / 1e3;
        let length_us = length_ns as f64 / 1e3;
        self.events.push(json!({"ph": "X", "pid": 1, "tid": track, "name": name, "ts": start_us, "dur": length_us}));
    }

    /// Adds an iteration with its pauses.
    pub fn iteration(&mut self, iter: usize, start: Instant, wall_ms: f64, pauses: &[Pause]) {
        self.span(ITERATIONS, &format!("iteration {iter}"), start, (wall_ms * 1e6) as u64);
        for pause in pauses {
            self.span(PAUSES, "pause", pause.start, pause.length_ns);
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let text = json!({"traceEvents": self.events, "displayTimeUnit": "ms"}).to_string();
        std::fs::write(path, text).map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))
    }
}
