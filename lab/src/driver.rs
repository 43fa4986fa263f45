//! Runs the iterations of one request on a heap, and reports each.
//!
//! 1. A full collection between iterations, untimed, so that each starts from the same heap.
//! 2. Reset of the collector's statistics and of the peak resident size.
//! 3. The workload on its mutator threads; wall time, process CPU and the system's counters around it.
//! 4. CPU spent collecting comes from the heap; the rest is the mutator's. So the two always add up to the
//!    whole.

use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::process::{self, Usage};
use crate::record::{Latency, Record, round};
use crate::request::Request;
use crate::stats::percentile;
use crate::trace_file::TraceFile;
use crate::{cpu, held_up, output, progress, summary};
use workloads::heap::{GcStats, Heap, Mutator, Pause};
use workloads::{threads, ticks};

/// Runs all iterations; prints JSON lines, or progress and a summary.
///
/// # Errors
/// When the trace cannot be written, a thread cannot be started, or two iterations compute different things.
pub fn drive<H: Heap>(heap: &H, request: &Request) -> Result<(), Failure> {
    crate::oom::expect_in(request);
    let process = format!("{} on {}", request.spec.name, request.collector.name);
    let mut trace = TraceFile::new(&process);
    let bar = progress::iterations(&process, request.iters, request.json);
    let mut records = Vec::new();
    for iter in 0..request.iters {
        bar.start(iter);
        let start = Instant::now();
        let (record, pauses) = iterate(heap, request, iter)?;
        trace.iteration(iter, start, record.wall_ms, &pauses);
        if request.json {
            output::line(serde_json::to_string(&record).expect("a record is plain data"))?;
        }
        bar.finish(iter, Duration::from_secs_f64(record.wall_ms / 1e3));
        records.push(record);
    }
    bar.clear();
    // A reader that has left is no reason to leave files unwritten.
    let printed = if request.json { Ok(()) } else { output::text(&summary::of(request, &records)) };
    if let Some(path) = request.trace.as_deref().filter(|_| !heap.writes_trace()) {
        trace.write(path)?;
    }
    same_checksum(&records).and(printed)
}

/// Measures one iteration.
///
/// # Errors
/// A thread that cannot be started.
pub fn iterate<H: Heap>(heap: &H, request: &Request, iter: usize) -> Result<(Record, Vec<Pause>), Failure> {
    if iter > 0 {
        collect(heap)?;
    }
    heap.take_stats();
    process::reset_peak_resident();
    let (start, usage, cpu_ns) = (Instant::now(), Usage::now(), cpu::process_ns());
    let (wall_ms, outcome) = request.spec.run_on_threads(heap, request.size, request.ops, request.mutators)?;
    let cpu_ns = cpu::process_ns() - cpu_ns;
    let usage = Usage::now().since(usage);
    let rss_bytes = process::peak_resident_bytes();
    let GcStats { pauses, held_up, gcs, gc_cpu_ns, peak_reserved_bytes, mut peak_to_goal } = heap.take_stats();
    peak_to_goal.sort_by(f64::total_cmp);

    let ms = |ns: u64| ns as f64 / 1e6;
    let mut lengths: Vec<f64> = pauses.iter().map(|pause| ms(pause.length_ns)).collect();
    lengths.sort_by(f64::total_cmp);
    let latency = (!outcome.latency_ticks.is_empty())
        .then(|| Latency::of(&outcome.latency_ticks, 1.0 / ticks::per_us()))
        .flatten();
    let record = Record {
        plan: request.collector.name.clone(),
        workload: request.spec.name.to_owned(),
        heap_bytes: request.heap_bytes() as u64,
        gc_threads: request.gc_threads(),
        mutators: request.mutators,
        iter,
        wall_ms: round(wall_ms),
        cpu_ms: round(ms(cpu_ns)),
        gc_cpu_ms: Some(round(ms(gc_cpu_ns))),
        mut_cpu_ms: Some(round(ms(cpu_ns.saturating_sub(gc_cpu_ns)))),
        user_ms: round(usage.user_ms),
        sys_ms: round(usage.sys_ms),
        gcs,
        pauses: pauses.len() as u64,
        stw_ms: round(lengths.iter().sum()),
        pause_p50_ms: percentile(&lengths, 0.5),
        pause_p99_ms: percentile(&lengths, 0.99),
        pause_max_ms: percentile(&lengths, 1.0),
        held_up: held_up.map(|held| held_up::of(&held, start, wall_ms)),
        peak_reserved_bytes: Some(peak_reserved_bytes),
        goal_p50: peak_to_goal.get(peak_to_goal.len() / 2).copied().map(round),
        goal_max: peak_to_goal.last().copied().map(round),
        rss_bytes,
        minflt: usage.minflt,
        nvcsw: usage.nvcsw,
        nivcsw: usage.nivcsw,
        latency,
        checksum: format!("{:016x}", outcome.checksum),
    };
    Ok((record, pauses))
}

/// A full collection on a thread of its own.
fn collect<H: Heap>(heap: &H) -> Result<(), Failure> {
    let collect = |_| {
        let m = heap.bind();
        // One survivor: MarkCompact of mmtk 0.33 loses its space when a collection finds nothing alive.
        m.push(m.alloc(1, 8));
        heap.collect(m);
        m.pop(1);
        heap.unbind(m);
    };
    threads::together(1, threads::SMALL_STACK_BYTES, collect)?;
    Ok(())
}

fn same_checksum(records: &[Record]) -> Result<(), Failure> {
    let differs = |record: &&Record| record.checksum != records[0].checksum;
    match records.iter().find(differs) {
        None => Ok(()),
        Some(other) => Err(Failure::Mismatch(format!(
            "checksums differ between iterations: {} in iteration 0, {} in iteration {}",
            records[0].checksum, other.checksum, other.iter
        ))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;
    use workloads::never_free::NeverFreeHeap;

    fn records(plan: &str, iters: usize) -> Vec<Record> {
        let line = ["mmtk", "--size", "6", "--heap", "1G", "--plan", plan, "list", "plans"];
        let request = Cli::parse_from(line).run.request("gcbench").unwrap();
        let heap = NeverFreeHeap::<false>::new(false, request.heap_bytes(), crate::oom::exit);
        (0..iters).map(|iter| iterate(&heap, &request, iter).unwrap().0).collect()
    }

    #[test]
    fn a_tiny_gcbench_runs_on_malloc() {
        let records = records("malloc", 2);
        assert_eq!((records[0].plan.as_str(), records[1].iter), ("malloc", 1));
        assert_eq!((records[0].gcs, records[0].heap_bytes), (0, 1 << 30));
        assert_eq!(records[0].gc_cpu_ms, Some(0.0));
        assert_eq!(records[0].mut_cpu_ms, Some(records[0].cpu_ms));
        assert!(records[0].peak_reserved_bytes.unwrap() > 0);
        same_checksum(&records).unwrap();
    }

    #[test]
    fn a_record_survives_its_json_line() {
        let record = records("malloc", 1).remove(0);
        let line = serde_json::to_string(&record).unwrap();
        assert!(!line.contains('\n'));
        let fields = [
            "plan",
            "workload",
            "heap_bytes",
            "wall_ms",
            "cpu_ms",
            "gc_cpu_ms",
            "mut_cpu_ms",
            "gcs",
            "stw_ms",
            "pause_p50_ms",
            "pause_p99_ms",
            "pause_max_ms",
            "peak_reserved_bytes",
            "rss_bytes",
            "checksum",
        ];
        for field in fields {
            assert!(line.contains(&format!("\"{field}\":")), "{field} in {line}");
        }
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
    }

    #[test]
    fn iterations_that_disagree_are_an_error() {
        let mut records = records("malloc", 2);
        records[1].checksum = "0".to_owned();
        assert!(matches!(same_checksum(&records), Err(Failure::Mismatch(_))));
    }
}
