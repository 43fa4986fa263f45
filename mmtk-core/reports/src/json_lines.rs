//! JSON lines: one event, one object, one line. For `jq`, data frames and the lab.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::line::line;
use crate::sink::Sink;
use mmtk_core::events::{Event, Listener};

/// Writes each event as a line of JSON.
///
/// Each line is flushed, so a process that dies leaves whole lines. After an I/O error, of which it warns
/// once, it is silent.
pub struct JsonLines<W: Write + Send> {
    sink: Sink<W>,
}

impl JsonLines<File> {
    /// Writes to a new file.
    ///
    /// # Errors
    /// When the file cannot be created. Of later errors it warns.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self::new(File::create(path)?))
    }
}

impl<W: Write + Send> JsonLines<W> {
    /// Writes to `out`. Needs no buffer around it.
    pub fn new(out: W) -> Self {
        Self { sink: Sink::new("JSON lines of GC events", out) }
    }
}

impl<W: Write + Send> Listener for JsonLines<W> {
    fn on_event(&mut self, event: &Event) {
        if !self.sink.is_open() {
            return;
        }
        let mut line = line(event);
        line.push('\n');
        self.sink.write(&line);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::samples::{Pipe, life};

    #[test]
    fn each_event_is_a_line_of_valid_json() {
        let pipe = Pipe::new(usize::MAX);
        let mut lines = JsonLines::new(pipe.clone());
        life(2).iter().for_each(|event| lines.on_event(event));
        let events: Vec<Value> = pipe.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
        assert_eq!(names, ["heap_created", "pause", "pause", "out_of_memory", "heap_dropped"]);
        assert_eq!(events[1]["cause"], "heap_full");
        assert_eq!(events[2]["worker_cpu_ns"][1], 1_000_000);
    }

    #[test]
    fn a_failing_writer_ends_the_lines_and_nothing_else() {
        let pipe = Pipe::new(200);
        let mut lines = JsonLines::new(pipe.clone());
        life(2).iter().for_each(|event| lines.on_event(event));
        // The pause did not fit; the short events behind it would have.
        assert_eq!(pipe.text().lines().count(), 1);
        drop(lines);
        assert_eq!(pipe.text().lines().count(), 1);
    }
}
