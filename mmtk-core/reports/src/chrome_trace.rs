//! Chrome trace: pauses on a timeline. Open the file in <https://ui.perfetto.dev> or `chrome://tracing`.
//!
//! The format is an array of objects, whose closing bracket is optional, so that a process that dies leaves a
//! readable file. With the bracket, written on `HeapDropped` or on drop, it is also plain JSON.
//!
//! On the track "pauses" a span holds its time to safepoint and its phases; viewers nest spans by
//! containment. A collection that marks beside mutators has two, "pause begin" and "pause end", and an
//! asynchronous span "marking" from the one to the other. What the heap's background thread marks and sweeps
//! is on a track of its own. Counter tracks show the heap and each space at the edges of the pauses: the heap
//! does not report in between.
//!
//! Source: "Trace Event Format", Google, 2016.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use crate::line::ThreadLine;
use crate::sink::Sink;
use mmtk_core::events::{Event, Listener, MarkingReport, PauseReport, PauseStep, WorkedBeside};

/// The tracks of spans.
const PAUSES_TID: u32 = 1;
const BACKGROUND_TID: u32 = 2;

/// Writes a Chrome trace-event file.
///
/// Each event is flushed. After an I/O error, of which it warns once, it is silent.
pub struct ChromeTrace<W: Write + Send> {
    sink: Sink<W>,
    process: u32,
    /// Whether the array is still empty, so that no comma comes first.
    first: bool,
    /// End of the last pause: the time of events that carry none.
    now_ns: u64,
}

impl ChromeTrace<File> {
    /// Writes to a new file.
    ///
    /// # Errors
    /// When the file cannot be created. Of later errors it warns.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self::new(File::create(path)?))
    }
}

impl<W: Write + Send> ChromeTrace<W> {
    /// Writes to `out`. Needs no buffer around it.
    pub fn new(out: W) -> Self {
        let mut sink = Sink::new("Chrome trace of GC events", out);
        sink.write("[");
        Self { sink, process: std::process::id(), first: true, now_ns: 0 }
    }

    /// Writes some objects in one piece, a line each, with the process that all of them belong to.
    fn objects(&mut self, objects: impl IntoIterator<Item = Value>) {
        let mut piece = String::new();
        for mut object in objects {
            object["pid"] = json!(self.process);
            let comma = if std::mem::take(&mut self.first) { "" } else { "," };
            write!(piece, "{comma}\n{object}").expect("a String takes any text");
        }
        self.sink.write(&piece);
    }

    fn pause(&mut self, report: &PauseReport) {
        let spans = [pause_span(report), safepoint_span(report)].into_iter().chain(phase_spans(report));
        let marking = report.marking.iter().flat_map(|marking| marking_span(report, marking));
        self.objects(spans.chain(marking).chain(counters(report)));
        self.now_ns = report.end_ns();
    }

    fn close(&mut self) {
        self.sink.write("\n]\n");
        self.sink.shut();
    }
}

impl<W: Write + Send> Listener for ChromeTrace<W> {
    fn on_event(&mut self, event: &Event) {
        if !self.sink.is_open() {
            return;
        }
        match event {
            Event::HeapCreated { plan, limit_bytes, workers } => self.objects([
                name("process_name", 0, &format!("{plan}, {workers} GC workers")),
                name("thread_name", PAUSES_TID, "pauses"),
                name("thread_name", BACKGROUND_TID, "background thread"),
                counter("heap limit", 0, *limit_bytes),
            ]),
            Event::Pause(report) => self.pause(report),
            Event::OutOfMemory { requested_bytes, reserved_bytes, limit_bytes } => {
                let args = json!({
                    "requested_bytes": requested_bytes,
                    "reserved_bytes": reserved_bytes,
                    "limit_bytes": limit_bytes,
                });
                let time = micros(self.now_ns);
                self.objects([json!({
                    "name": "out of memory", "ph": "i", "s": "p", "tid": PAUSES_TID, "ts": time, "args": args,
                })]);
            }
            Event::Waiting { wait, at_ns, waited_ns, threads } => {
                let threads: Vec<_> = threads.iter().map(ThreadLine).collect();
                let args = json!({ "wait": wait.name(), "waited_us": micros(*waited_ns), "threads": threads });
                self.objects([json!({
                    "name": "waiting", "ph": "i", "s": "p", "tid": PAUSES_TID, "ts": micros(*at_ns), "args": args,
                })]);
            }
            Event::WorkedBeside(worked) => self.objects([worked_span(worked)]),
            Event::HeapDropped => self.close(),
            // Decisions and hold-ups have no track, nor has an event that is not known here yet.
            _ => {}
        }
    }
}

impl<W: Write + Send> Drop for ChromeTrace<W> {
    fn drop(&mut self) {
        self.close();
    }
}

fn pause_span(report: &PauseReport) -> Value {
    let worker_cpu_us: Vec<f64> = report.worker_cpu_ns.iter().copied().map(micros).collect();
    let args = json!({
        "sequence": report.sequence,
        "cause": report.cause.name(),
        "defrag": report.defrag,
        "emergency": report.emergency,
        "reserved_before_bytes": report.reserved_before_bytes,
        "reserved_after_bytes": report.reserved_after_bytes,
        "live_bytes": report.live_bytes,
        "limit_bytes": report.limit_bytes,
        "allocated_bytes": report.allocated_bytes,
        "cpu_us": micros(report.cpu_ns),
        "worker_cpu_us": worker_cpu_us,
    });
    let pause = match report.step {
        PauseStep::Whole => "pause",
        PauseStep::Begin => "pause begin",
        PauseStep::End => "pause end",
    };
    let mut span = span(&format!("{pause}: {}", report.cause), report.start_ns, report.duration_ns);
    span["args"] = args;
    span
}

/// The two ends of an asynchronous span, which belong together by their number.
fn marking_span(report: &PauseReport, marking: &MarkingReport) -> [Value; 2] {
    let end_ns = report.end_ns();
    let edge = |kind: &str, at_ns: u64| {
        json!({
            "name": "marking", "cat": "gc", "ph": kind, "id": report.sequence, "tid": PAUSES_TID, "ts": micros(at_ns),
        })
    };
    let mut begin = edge("b", end_ns.saturating_sub(marking.duration_ns));
    begin["args"] = json!({
        "bytes_beside": marking.bytes_beside,
        "allocated_bytes": marking.allocated_bytes,
        "barrier_calls": marking.barrier_calls,
        "cpu_us": micros(marking.cpu_ns),
        "helped_cpu_us": micros(marking.helped_cpu_ns),
    });
    [begin, edge("e", end_ns)]
}

fn worked_span(worked: &WorkedBeside) -> Value {
    let mut span = span(worked.work.name(), worked.start_ns, worked.duration_ns);
    span["tid"] = json!(BACKGROUND_TID);
    span["args"] = json!({ "steps": worked.steps });
    span
}

fn safepoint_span(report: &PauseReport) -> Value {
    span("time to safepoint", report.start_ns, report.time_to_safepoint_ns)
}

fn phase_spans(report: &PauseReport) -> impl Iterator<Item = Value> {
    report.phases.iter().map(|phase| span(phase.name, phase.start_ns, phase.duration_ns))
}

fn counters(report: &PauseReport) -> impl Iterator<Item = Value> {
    let end_ns = report.end_ns();
    let heap = [
        counter("heap reserved", report.start_ns, report.reserved_before_bytes),
        counter("heap reserved", end_ns, report.reserved_after_bytes),
        counter("heap live", end_ns, report.live_bytes),
        counter("heap limit", end_ns, report.limit_bytes),
    ];
    let spaces = report.spaces.iter().flat_map(move |space| {
        [
            counter(&format!("{} reserved", space.name), end_ns, space.reserved_bytes),
            counter(&format!("{} live", space.name), end_ns, space.live_bytes),
        ]
    });
    heap.into_iter().chain(spaces)
}

fn span(name: &str, start_ns: u64, duration_ns: u64) -> Value {
    json!({
        "name": name, "cat": "gc", "ph": "X", "tid": PAUSES_TID, "ts": micros(start_ns), "dur": micros(duration_ns),
    })
}

/// A counter of its own for each number: several in one object would be stacked, and live is a part of
/// reserved.
fn counter(name: &str, time_ns: u64, bytes: usize) -> Value {
    json!({ "name": name, "ph": "C", "tid": 0, "ts": micros(time_ns), "args": { "bytes": bytes } })
}

fn name(kind: &str, thread: u32, text: &str) -> Value {
    json!({ "name": kind, "ph": "M", "tid": thread, "args": { "name": text } })
}

/// The unit of the format. A double keeps whole nanoseconds for a hundred days.
fn micros(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmtk_core::events::{BackgroundWork, LateThread, Wait};

    use crate::samples::{Pipe, beside, life, worked};

    fn trace(events: &[Event]) -> Vec<Value> {
        let pipe = Pipe::new(usize::MAX);
        let mut trace = ChromeTrace::new(pipe.clone());
        events.iter().for_each(|event| trace.on_event(event));
        drop(trace);
        serde_json::from_str(&pipe.text()).unwrap()
    }

    fn spans(objects: &[Value]) -> Vec<(&str, f64, f64)> {
        let spans = objects.iter().filter(|object| object["ph"] == "X");
        spans.map(|o| (o["name"].as_str().unwrap(), o["ts"].as_f64().unwrap(), o["dur"].as_f64().unwrap())).collect()
    }

    #[test]
    fn a_closed_trace_is_plain_json() {
        assert_eq!(trace(&[]), Vec::<Value>::new());
        assert_eq!(trace(&[Event::HeapDropped]), Vec::<Value>::new());
        // With the heap dropped, and with a listener dropped before.
        let life = life(2);
        assert_eq!(trace(&life), trace(&life[..life.len() - 1]));
    }

    #[test]
    fn a_trace_cut_short_lacks_only_the_bracket() {
        let pipe = Pipe::new(usize::MAX);
        let mut trace = ChromeTrace::new(pipe.clone());
        for event in &life(2)[..4] {
            let so_far: Vec<Value> = serde_json::from_str(&(pipe.text() + "]")).unwrap();
            trace.on_event(event);
            let now: Vec<Value> = serde_json::from_str(&(pipe.text() + "]")).unwrap();
            assert!(now.len() > so_far.len());
        }
    }

    #[test]
    fn phases_and_time_to_safepoint_lie_within_their_pause() {
        let objects = trace(&life(1));
        assert_eq!(
            spans(&objects),
            [
                ("pause: heap_full", 10_000.0, 2_000.0),
                ("time to safepoint", 10_000.0, 100.0),
                ("roots", 10_100.0, 400.0),
                ("trace", 10_500.0, 1_500.0),
            ]
        );
    }

    #[test]
    fn a_marking_lasts_from_one_pause_to_the_other_and_what_is_done_meanwhile_has_a_track() {
        let [begin, end] = beside().map(|pause| Event::Pause(Box::new(pause)));
        let marks = Event::WorkedBeside(worked(BackgroundWork::Mark, 12_500_000, 7_000_000));
        let sweeps = Event::WorkedBeside(worked(BackgroundWork::Sweep, 23_000_000, 1_000_000));
        let objects = trace(&[begin, marks, end, sweeps]);
        let named = |name: &str| objects.iter().filter(|o| o["name"] == name).collect::<Vec<_>>();
        let pauses = [named("pause begin: heap_full"), named("pause end: heap_full")].concat();
        assert_eq!((pauses.len(), &pauses[0]["ts"], &pauses[1]["ts"]), (2, &json!(10_000.0), &json!(20_000.0)));
        let marking: Vec<_> = named("marking").iter().map(|o| (o["ph"].clone(), o["ts"].clone())).collect();
        // The first pause began at 10 ms, and the second ended at 22.
        assert_eq!(marking, [(json!("b"), json!(10_000.0)), (json!("e"), json!(22_000.0))]);
        assert_eq!(named("marking")[0]["id"], named("marking")[1]["id"]);
        for (name, time, length) in [("mark", 12_500.0, 7_000.0), ("sweep", 23_000.0, 1_000.0)] {
            let [span] = named(name)[..] else { panic!("one span of {name}") };
            assert_eq!((&span["ts"], &span["dur"]), (&json!(time), &json!(length)));
            assert_eq!(span["tid"], BACKGROUND_TID);
        }
    }

    #[test]
    fn counters_follow_the_heap_and_each_space() {
        let objects = trace(&life(1));
        let counter = |name: &str| -> Vec<(f64, u64)> {
            let found = objects.iter().filter(|o| o["ph"] == "C" && o["name"] == name);
            found.map(|o| (o["ts"].as_f64().unwrap(), o["args"]["bytes"].as_u64().unwrap())).collect()
        };
        assert_eq!(counter("heap reserved"), [(10_000.0, 64 << 20), (12_000.0, 24 << 20)]);
        assert_eq!(counter("heap live"), [(12_000.0, 20 << 20)]);
        assert_eq!(counter("immix reserved"), [(12_000.0, 24 << 20)]);
        assert_eq!(counter("immix live"), [(12_000.0, 20 << 20)]);
    }

    #[test]
    fn process_track_and_workers_are_named() {
        let objects = trace(&life(1));
        assert_eq!(objects[0]["args"]["name"], "Immix, 2 GC workers");
        assert_eq!(objects[1]["name"], "thread_name");
        assert!(objects.iter().all(|object| object["pid"] == std::process::id()));
        let pause = objects.iter().find(|o| o["ph"] == "X").unwrap();
        assert_eq!(pause["args"]["worker_cpu_us"], json!([2000.0, 1000.0]));
    }

    #[test]
    fn a_wait_is_an_instant_that_names_the_late_threads() {
        let threads = vec![LateThread { name: None, id: 8, ended: true }];
        let waiting = Event::Waiting { wait: Wait::Mutators, at_ns: 5_000, waited_ns: 6_000, threads };
        let object = &trace(&[waiting])[0];
        assert_eq!((&object["name"], &object["ts"]), (&json!("waiting"), &json!(5.0)));
        let threads = json!([{ "name": null, "id": 8, "ended": true }]);
        assert_eq!(object["args"], json!({ "wait": "mutators", "waited_us": 6.0, "threads": threads }));
        assert_eq!(spans(&trace(&life(1)))[0].0, "pause: heap_full");
        let pause = trace(&life(1)).into_iter().find(|o| o["name"] == "pause: heap_full").unwrap();
        assert_eq!(pause["args"]["cause"], "heap_full");
    }

    #[test]
    fn a_failing_writer_ends_the_trace_and_nothing_else() {
        for capacity in [0, 1, 500, 2000] {
            let mut trace = ChromeTrace::new(Pipe::new(capacity));
            life(3).iter().for_each(|event| trace.on_event(event));
        }
    }
}
