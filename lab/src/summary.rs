//! The table at the end of `mmtk run`: a row an iteration, and their medians.

use std::fmt::Write;

use heapwright::options::format_bytes;

use crate::record::Record;
use crate::request::Request;
use crate::stats::median;
use crate::table::{Table, number};

const HEADER: [&str; 12] = [
    "iter", "wall ms", "cpu ms", "gc cpu", "gcs", "stw ms", "p50 ms", "p99 ms", "max ms", "peak MB", "rss MB",
    "checksum",
];

/// The numbers of a row, in the order of the header.
fn numbers(record: &Record) -> [Option<f64>; 10] {
    let mb = |bytes: u64| bytes as f64 / (1 << 20) as f64;
    [
        Some(record.wall_ms),
        Some(record.cpu_ms),
        record.gc_cpu_ms,
        Some(record.gcs as f64),
        Some(record.stw_ms),
        Some(record.pause_p50_ms),
        Some(record.pause_p99_ms),
        Some(record.pause_max_ms),
        record.peak_reserved_bytes.map(mb),
        Some(mb(record.rss_bytes)),
    ]
}

fn cells(label: &str, numbers: [Option<f64>; 10], checksum: &str) -> Vec<String> {
    let text = |(i, value): (usize, Option<f64>)| match value {
        // The number of collections.
        Some(count) if i == 3 => format!("{count:.0}"),
        Some(value) => number(value),
        None => "-".to_owned(),
    };
    let numbers = numbers.into_iter().enumerate().map(text);
    [label.to_owned()].into_iter().chain(numbers).chain([checksum.to_owned()]).collect()
}

/// The summary of a run.
pub fn of(request: &Request, records: &[Record]) -> String {
    let mut table = Table::new(HEADER);
    for record in records {
        table.row(cells(&(record.iter + 1).to_string(), numbers(record), &record.checksum));
    }
    if records.len() > 1 {
        let column = |i: usize| median(records.iter().filter_map(|record| numbers(record)[i]));
        table.row(cells("median", std::array::from_fn(column), ""));
    }
    let mut text = format!(
        "{} on {}, heap {}, {} mutator(s), {} GC thread(s)\n\n{}",
        request.spec.name,
        request.collector.name,
        format_bytes(request.heap_bytes()),
        request.mutators,
        request.gc_threads(),
        table.plain()
    );
    for record in records {
        if let Some(held) = record.held_up {
            let _ = writeln!(
                text,
                "mutators held up, iteration {}: p50 {} ms, p99 {}, p99.9 {}, max {}; {} times, {} ms in all; \
                 least part of 1 ms left to a mutator {}, of 10 ms {}, of 100 ms {}",
                record.iter + 1,
                number(held.p50_ms),
                number(held.p99_ms),
                number(held.p999_ms),
                number(held.max_ms),
                held.times,
                number(held.total_ms),
                number(held.mmu_1ms),
                number(held.mmu_10ms),
                number(held.mmu_100ms)
            );
        }
        if let Some(latency) = record.latency {
            for (what, of) in [("service", latency.service_us), ("metered", latency.metered_us)] {
                let _ = writeln!(
                    text,
                    "latency {what}, iteration {}: p50 {} us, p99 {}, p99.9 {}, p99.99 {}, max {}",
                    record.iter + 1,
                    number(of.p50),
                    number(of.p99),
                    number(of.p999),
                    number(of.p9999),
                    number(of.max)
                );
            }
        }
    }
    text
}
