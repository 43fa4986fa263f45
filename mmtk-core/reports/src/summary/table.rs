//! The summary as a table for people.

use std::fmt;

use super::SummarySnapshot;
use mmtk_core::events::Cause;

impl fmt::Display for SummarySnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = if self.plan.is_empty() { "unknown plan" } else { self.plan };
        writeln!(f, "GC summary: {plan}, {} workers, limit {}", self.workers, bytes(self.limit_bytes))?;
        if self.gcs == 0 {
            // The sizes of the heap are taken when it is collected: without a collection they are not known,
            // not 0.
            writeln!(f, "{:<18} none so far: nothing was measured", "collections")?;
            return self.out_of_memory(f);
        }
        row(f, "collections", &[("total", self.gcs.to_string())])?;
        let by_cause = Cause::ALL.into_iter().zip(self.gcs_by_cause).filter(|(_, count)| *count > 0);
        row(f, "  by cause", &by_cause.map(|(cause, count)| (cause.name(), count.to_string())).collect::<Vec<_>>())?;
        row(
            f,
            "  of which",
            &[("defrag", self.defrag_gcs.to_string()), ("last attempt", self.emergency_gcs.to_string())],
        )?;
        row(
            f,
            "pause",
            &[
                ("p50", time(self.pause_ns_p50)),
                ("p90", time(self.pause_ns_p90)),
                ("p99", time(self.pause_ns_p99)),
                ("max", time(self.pause_ns_max)),
                ("total", time(self.stw_ns_total)),
            ],
        )?;
        // Where there is one kind alone, the line above says it all.
        if self.minor_gcs > 0 {
            let kind = |count: u64, p50, p99, max| {
                [("count", count.to_string()), ("p50", time(p50)), ("p99", time(p99)), ("max", time(max))]
            };
            let minor = kind(self.minor_gcs, self.minor_pause_ns_p50, self.minor_pause_ns_p99, self.minor_pause_ns_max);
            let full =
                kind(self.gcs - self.minor_gcs, self.full_pause_ns_p50, self.full_pause_ns_p99, self.full_pause_ns_max);
            row(f, "  minor", &minor)?;
            row(f, "  full", &full)?;
        }
        row(
            f,
            "time to safepoint",
            &[
                ("p50", time(self.time_to_safepoint_ns_p50)),
                ("p99", time(self.time_to_safepoint_ns_p99)),
                ("max", time(self.time_to_safepoint_ns_max)),
                ("total", time(self.time_to_safepoint_ns_total)),
            ],
        )?;
        if self.held_up > 0 {
            row(
                f,
                "mutators held up",
                &[
                    ("p50", time(self.held_up_ns_p50)),
                    ("p99", time(self.held_up_ns_p99)),
                    ("p99.9", time(self.held_up_ns_p999)),
                    ("max", time(self.held_up_ns_max)),
                    ("total", time(self.held_up_ns_total)),
                    ("times", self.held_up.to_string()),
                ],
            )?;
        }
        row(f, "GC CPU", &[("total", time(self.gc_cpu_ns_total))])?;
        row(
            f,
            "heap",
            &[
                ("peak", bytes(self.reserved_bytes_peak)),
                ("live peak", bytes(self.live_bytes_peak)),
                ("allocated", bytes(self.allocated_bytes_total as usize)),
            ],
        )?;
        self.out_of_memory(f)
    }
}

impl SummarySnapshot {
    fn out_of_memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.out_of_memory == 0 {
            return Ok(());
        }
        let cells = [("times", self.out_of_memory.to_string()), ("reserved", bytes(self.reserved_bytes_peak))];
        row(f, "out of memory", &cells)
    }
}

/// A label, then its cells; no line when there are none.
fn row(f: &mut fmt::Formatter<'_>, label: &str, cells: &[(&str, String)]) -> fmt::Result {
    let cells: Vec<String> = cells.iter().map(|(name, value)| format!("{name} {value:>9}")).collect();
    if cells.is_empty() { Ok(()) } else { writeln!(f, "{label:<18} {}", cells.join("   ")) }
}

/// Three digits or so, in the unit that fits.
fn time(ns: u64) -> String {
    let ns = ns as f64;
    match ns {
        _ if ns < 1e3 => format!("{ns} ns"),
        _ if ns < 1e6 => format!("{:.1} us", ns / 1e3),
        _ if ns < 1e9 => format!("{:.1} ms", ns / 1e6),
        _ => format!("{:.2} s", ns / 1e9),
    }
}

/// Three digits or so, unlike `options::format_bytes`, which is exact.
fn bytes(bytes: usize) -> String {
    let value = bytes as f64;
    match bytes >> 10 {
        0 => format!("{bytes} B"),
        kib if kib < 1 << 10 => format!("{:.1} KiB", value / 1024.0),
        kib if kib < 1 << 20 => format!("{:.1} MiB", value / 1024f64.powi(2)),
        _ => format!("{:.2} GiB", value / 1024f64.powi(3)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_what_matters_in_readable_units() {
        let text = SummarySnapshot {
            plan: "Immix",
            workers: 2,
            limit_bytes: 64 << 20,
            gcs: 12,
            gcs_by_cause: [10, 0, 2, 0, 0, 0, 0],
            pause_ns_p50: 1_234_000,
            pause_ns_max: 999,
            stw_ns_total: 2_500_000_000,
            reserved_bytes_peak: 3 << 29,
            ..Default::default()
        }
        .to_string();
        for part in
            ["Immix, 2 workers, limit 64.0 MiB", "heap_full        10", "1.2 ms", "999 ns", "2.50 s", "1.50 GiB"]
        {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("requested") && !text.contains("out of memory"), "{text}");
        assert!(!text.contains("minor"), "{text}");
    }

    #[test]
    fn without_a_collection_no_size_is_said_to_be_zero() {
        let heap = SummarySnapshot { plan: "NoGC", workers: 2, limit_bytes: 64 << 20, ..Default::default() };
        let text = heap.to_string();
        assert!(text.contains("none so far") && !text.contains(" 0 B") && !text.contains("peak"), "{text}");
        let text = SummarySnapshot { out_of_memory: 1, reserved_bytes_peak: 64 << 20, ..heap }.to_string();
        assert!(text.contains("out of memory") && text.contains("64.0 MiB") && !text.contains(" 0 B"), "{text}");
    }

    #[test]
    fn hold_ups_have_a_line_where_there_are_any() {
        let none = SummarySnapshot { gcs: 1, ..Default::default() };
        assert!(!none.to_string().contains("held up"), "{none}");
        let some = SummarySnapshot { held_up: 12, held_up_ns_p999: 480_000, ..none };
        let text = some.to_string();
        let line = text.lines().find(|line| line.starts_with("mutators held up")).unwrap();
        assert!(line.contains("p99.9  480.0 us") && line.contains("times        12"), "{line}");
    }

    #[test]
    fn minor_and_full_collections_have_lines_of_their_own() {
        let text = SummarySnapshot {
            gcs: 12,
            minor_gcs: 9,
            minor_pause_ns_p50: 250_000,
            full_pause_ns_p50: 9_500_000,
            ..Default::default()
        }
        .to_string();
        let line = |label: &str| text.lines().find(|line| line.trim_start().starts_with(label)).unwrap().to_string();
        assert!(line("minor").contains("count         9") && line("minor").contains("p50  250.0 us"), "{text}");
        assert!(line("full").contains("count         3") && line("full").contains("9.5 ms"), "{text}");
    }
}
