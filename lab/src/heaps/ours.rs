//! Our own heap behind the workloads' trait, with what a run asks of it: traces, reports, statistics.
//!
//! I1. A [`ThreadHandle`] is used on the thread that bound it, between `bind` and `unbind`
//!     (`workloads::heap`, I2); that is its contract.

use std::sync::Arc;
use std::time::{Duration, Instant};

use heapwright::events::{Event, Paced};
use parking_lot::Mutex;
use reference::{ReferenceHeap, ReferenceVM, Thread, ThreadHandle};

use crate::driver::drive;
use crate::failure::Failure;
use crate::report::Page;
use crate::request::Request;
use crate::simulate::pacer_log;
use crate::written::{self, Receipt};
use crate::{oom, output};
use workloads::heap::{GcStats, Heap, HeldUp, Pause};

/// Makes a heap from `request.options`, which hold the plan, and drives the workload on it.
///
/// # Errors
/// What is wrong with the options, or went wrong with the run.
pub fn run_with_ours(request: &Request) -> Result<(), Failure> {
    let heap = OurHeap::new(request)?;
    let driven = drive(&heap, request);
    // What the heap did is of interest above all when the run went wrong.
    let written = match &heap.page {
        Some(page) => page.write(heap.created.elapsed().as_nanos() as u64),
        None => Ok(()),
    };
    let arrived = heap.receipts.iter().try_for_each(Receipt::check);
    driven.and(written).and(arrived)
}

/// A heap of the reference VM.
pub struct OurHeap {
    heap: ReferenceHeap,
    seen: Mutex<Seen>,
    pauses: Arc<Mutex<Vec<Pause>>>,
    held_up: Arc<Mutex<Vec<HeldUp>>>,
    goals: Arc<Mutex<Goals>>,
    page: Option<Page>,
    /// Of the files that listeners write.
    receipts: Vec<Receipt>,
    created: Instant,
    writes_trace: bool,
}

/// What became of the goals that the pacer set.
#[derive(Default)]
struct Goals {
    /// That of the cycle that is running.
    goal: Option<f64>,
    /// Peaks as a part of their goals, since the last `take_stats`.
    peaks: Vec<f64>,
}

impl Goals {
    fn paced(&mut self, paced: &Paced) {
        // A cycle that ended early was not the pacer's.
        if let Some(goal) = self.goal.filter(|_| !paced.sample.forced) {
            self.peaks.push(paced.sample.peak / goal);
        }
        self.goal = Some(paced.decision.goal);
    }
}

/// Totals at the last `take_stats`.
#[derive(Default)]
struct Seen {
    collections: u64,
    gc_cpu_ns: u64,
}

impl OurHeap {
    /// A heap as the request wants it; out of memory ends the process as [`oom`] says.
    ///
    /// # Errors
    /// What is wrong with the options, or that the trace file cannot be written.
    pub fn new(request: &Request) -> Result<Self, Failure> {
        let vm = ReferenceVM::default().on_out_of_memory(|error| oom::exit(&error.to_string()));
        let heap =
            reference::new_heap(vm, request.options.clone()).map_err(|error| Failure::Usage(error.to_string()))?;
        let created = Instant::now();
        let mut receipts = Vec::new();
        if let Some(path) = &request.trace {
            let (output, receipt) = written::create(path, "the trace")?;
            heap.listen(Box::new(reports::ChromeTrace::new(output)));
            receipts.push(receipt);
        }
        if let Some(path) = &request.pacer_log {
            let (listener, receipt) = pacer_log(path)?;
            heap.listen(listener);
            receipts.push(receipt);
        }
        let page = match &request.report {
            Some(path) => {
                let title = format!("{} on {}", request.spec.name, request.options.plan);
                let page = Page::new(path, title)?;
                heap.listen(page.listener());
                let last = page.clone();
                oom::on_exit(move || {
                    if let Err(error) = last.write(created.elapsed().as_nanos() as u64) {
                        output::note(format!("mmtk: {error}"));
                    }
                });
                Some(page)
            }
            None => None,
        };
        let pauses = Arc::new(Mutex::new(Vec::new()));
        let log = pauses.clone();
        let held_up = Arc::new(Mutex::new(Vec::new()));
        let held_log = held_up.clone();
        let goals = Arc::new(Mutex::new(Goals::default()));
        let set = goals.clone();
        heap.listen(Box::new(move |event: &Event| match event {
            Event::Pause(report) => {
                let start = created + Duration::from_nanos(report.start_ns);
                log.lock().push(Pause { start, length_ns: report.duration_ns });
            }
            Event::HeldUp(held) => held_log.lock().push(HeldUp {
                thread: held.thread,
                start: created + Duration::from_nanos(held.start_ns),
                length_ns: held.duration_ns,
            }),
            Event::Paced(paced) => set.lock().paced(paced),
            _ => (),
        }));
        Ok(Self {
            heap,
            seen: Mutex::default(),
            pauses,
            held_up,
            goals,
            page,
            receipts,
            created,
            writes_trace: request.trace.is_some(),
        })
    }
}

impl Heap for OurHeap {
    type M = ThreadHandle;

    fn bind(&self) -> ThreadHandle {
        Thread::attach(&self.heap).into_handle()
    }

    fn unbind(&self, mutator: ThreadHandle) {
        // SAFETY: from `bind` on this thread, and this is its last use (I1).
        drop(unsafe { Thread::from_handle(mutator) });
    }

    fn collect(&self, mutator: ThreadHandle) {
        mutator.collect();
    }

    fn take_stats(&self) -> GcStats {
        let now = self.heap.statistics();
        let mut seen = self.seen.lock();
        let stats = GcStats {
            pauses: std::mem::take(&mut *self.pauses.lock()),
            held_up: Some(std::mem::take(&mut *self.held_up.lock())),
            gcs: now.collections - seen.collections,
            gc_cpu_ns: now.gc_cpu_ns - seen.gc_cpu_ns,
            peak_reserved_bytes: self.heap.take_peak_reserved() as u64,
            peak_to_goal: std::mem::take(&mut self.goals.lock().peaks),
        };
        *seen = Seen { collections: now.collections, gc_cpu_ns: now.gc_cpu_ns };
        stats
    }

    fn writes_trace(&self) -> bool {
        self.writes_trace
    }
}
