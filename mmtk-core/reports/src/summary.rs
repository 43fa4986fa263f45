//! Summary: the numbers of a run, as percentiles and totals.
//!
//! The listener goes to the heap, the handle stays with the caller; both hold the same state behind a lock.
//! Percentiles come from histograms with three significant digits; maxima and totals are exact.

use std::sync::Arc;

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::Serialize;

use mmtk_core::events::{Cause, CollectionKind, Event, Listener, PauseReport, PauseStep};

mod table;

/// Counts and measures pauses. Give it to [`Heap::listen`](mmtk_core::Heap::listen) and keep the handle.
pub struct Summary {
    state: Arc<Mutex<State>>,
}

impl Summary {
    /// A listener, and the handle to read it with.
    pub fn new() -> (Self, SummaryHandle) {
        let state = Arc::new(Mutex::new(State::default()));
        (Self { state: Arc::clone(&state) }, SummaryHandle { state })
    }
}

impl Listener for Summary {
    fn on_event(&mut self, event: &Event) {
        self.state.lock().on_event(event);
    }
}

/// Reads a [`Summary`] that was given away. Any thread, any time, also after the heap is gone.
#[derive(Clone)]
pub struct SummaryHandle {
    state: Arc<Mutex<State>>,
}

impl SummaryHandle {
    /// The numbers since the start or the last reset.
    pub fn snapshot(&self) -> SummarySnapshot {
        self.state.lock().snapshot()
    }

    /// Forgets all pauses, as after a warm-up. What the heap is (plan, limit, workers) stays known.
    pub fn reset(&self) {
        let mut state = self.state.lock();
        let seen = &state.seen;
        let seen = SummarySnapshot {
            plan: seen.plan,
            workers: seen.workers,
            limit_bytes: seen.limit_bytes,
            ..SummarySnapshot::default()
        };
        *state = State { seen, ..State::default() };
    }
}

/// What a [`Summary`] knows: plain data, in nanoseconds and bytes. Prints as a table. All zero before the
/// first pause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SummarySnapshot {
    /// Name of the plan; empty if the listener came after the heap.
    pub plan: &'static str,
    /// GC workers.
    pub workers: usize,
    /// Most bytes the heap may hold, as last reported.
    pub limit_bytes: usize,
    /// Pauses.
    pub pauses: u64,
    /// Collections. Fewer than `pauses` where some have two.
    pub gcs: u64,
    /// Collections by cause, in the order of [`Cause::ALL`].
    pub gcs_by_cause: [u64; Cause::ALL.len()],
    /// Collections that were minor ones.
    pub minor_gcs: u64,
    /// Collections that evacuated sparse blocks.
    pub defrag_gcs: u64,
    /// Collections that were the last attempt before out of memory.
    pub emergency_gcs: u64,
    /// Requests that could not be met.
    pub out_of_memory: u64,
    /// Half of the pauses, request to resume, were no longer than this.
    pub pause_ns_p50: u64,
    /// 90 of 100 pauses were no longer than this.
    pub pause_ns_p90: u64,
    /// 99 of 100 pauses were no longer than this.
    pub pause_ns_p99: u64,
    /// The longest pause.
    pub pause_ns_max: u64,
    /// Half of the pauses of minor collections were no longer than this.
    pub minor_pause_ns_p50: u64,
    /// 99 of 100 of them.
    pub minor_pause_ns_p99: u64,
    /// The longest.
    pub minor_pause_ns_max: u64,
    /// Half of the pauses of full collections were no longer than this.
    pub full_pause_ns_p50: u64,
    /// 99 of 100 of them.
    pub full_pause_ns_p99: u64,
    /// The longest.
    pub full_pause_ns_max: u64,
    /// All pauses together: wall-clock time without mutators, time to safepoint included.
    pub stw_ns_total: u64,
    /// Half of the times from the request to the last mutator's stop were no longer than this.
    pub time_to_safepoint_ns_p50: u64,
    /// 99 of 100 were no longer than this.
    pub time_to_safepoint_ns_p99: u64,
    /// The longest.
    pub time_to_safepoint_ns_max: u64,
    /// All of them together; a part of `stw_ns_total`.
    pub time_to_safepoint_ns_total: u64,
    /// How often a mutator was held up: by a pause, or by what the collector made it do between pauses.
    pub held_up: u64,
    /// Half of these times were no longer than this.
    pub held_up_ns_p50: u64,
    /// 99 of 100.
    pub held_up_ns_p99: u64,
    /// 999 of 1000.
    pub held_up_ns_p999: u64,
    /// The longest.
    pub held_up_ns_max: u64,
    /// All of them together, over all mutators.
    pub held_up_ns_total: u64,
    /// CPU time of pauses, and of marking between them.
    pub gc_cpu_ns_total: u64,
    /// Bytes allocated up to the last pause.
    pub allocated_bytes_total: u64,
    /// Most bytes the spaces held at the edge of a pause or when memory ran out.
    pub reserved_bytes_peak: usize,
    /// Most bytes found reachable.
    pub live_bytes_peak: usize,
}

/// What listener and handle share.
struct State {
    /// Totals and maxima, kept up to date; the percentiles are filled in on demand.
    seen: SummarySnapshot,
    pause_ns: Histogram<u64>,
    minor_pause_ns: Histogram<u64>,
    full_pause_ns: Histogram<u64>,
    time_to_safepoint_ns: Histogram<u64>,
    held_up_ns: Histogram<u64>,
}

impl Default for State {
    fn default() -> Self {
        // Grows with the values: a few KiB for milliseconds, where fixed bounds would cost 100 times that.
        let histogram = || Histogram::new(3).expect("1 to 5 significant digits are allowed");
        Self {
            seen: SummarySnapshot::default(),
            pause_ns: histogram(),
            minor_pause_ns: histogram(),
            full_pause_ns: histogram(),
            time_to_safepoint_ns: histogram(),
            held_up_ns: histogram(),
        }
    }
}

impl State {
    fn on_event(&mut self, event: &Event) {
        match event {
            Event::HeapCreated { plan, limit_bytes, workers } => {
                (self.seen.plan, self.seen.limit_bytes, self.seen.workers) = (plan, *limit_bytes, *workers);
            }
            Event::Pause(report) => self.pause(report),
            Event::HeldUp(held) => self.held_up(held.duration_ns),
            Event::OutOfMemory { reserved_bytes, .. } => {
                self.seen.out_of_memory += 1;
                self.seen.reserved_bytes_peak = self.seen.reserved_bytes_peak.max(*reserved_bytes);
            }
            // Nothing to count in decisions, waits and work beside mutators, nor in an event that is not
            // known here yet.
            _ => {}
        }
    }

    fn pause(&mut self, report: &PauseReport) {
        record(&mut self.pause_ns, report.duration_ns);
        record(&mut self.time_to_safepoint_ns, report.time_to_safepoint_ns);
        let seen = &mut self.seen;
        let (of_kind, longest) = match report.kind {
            CollectionKind::Minor => (&mut self.minor_pause_ns, &mut seen.minor_pause_ns_max),
            CollectionKind::Full => (&mut self.full_pause_ns, &mut seen.full_pause_ns_max),
        };
        record(of_kind, report.duration_ns);
        *longest = (*longest).max(report.duration_ns);
        seen.minor_gcs += u64::from(report.kind == CollectionKind::Minor);
        seen.pauses += 1;
        // A collection that begins in one pause counts when it ends in another.
        if report.step != PauseStep::Begin {
            seen.gcs += 1;
            seen.gcs_by_cause[report.cause as usize] += 1;
        }
        seen.defrag_gcs += u64::from(report.defrag);
        seen.emergency_gcs += u64::from(report.emergency);
        seen.pause_ns_max = seen.pause_ns_max.max(report.duration_ns);
        add(&mut seen.stw_ns_total, report.duration_ns);
        seen.time_to_safepoint_ns_max = seen.time_to_safepoint_ns_max.max(report.time_to_safepoint_ns);
        add(&mut seen.time_to_safepoint_ns_total, report.time_to_safepoint_ns);
        let beside = report.marking.map_or(0, |marking| marking.cpu_ns);
        add(&mut seen.gc_cpu_ns_total, report.cpu_ns.saturating_add(beside));
        add(&mut seen.allocated_bytes_total, report.allocated_bytes as u64);
        let reserved = report.reserved_before_bytes.max(report.reserved_after_bytes);
        seen.reserved_bytes_peak = seen.reserved_bytes_peak.max(reserved);
        seen.live_bytes_peak = seen.live_bytes_peak.max(report.live_bytes);
        seen.limit_bytes = report.limit_bytes;
    }

    fn held_up(&mut self, ns: u64) {
        record(&mut self.held_up_ns, ns);
        let seen = &mut self.seen;
        seen.held_up += 1;
        seen.held_up_ns_max = seen.held_up_ns_max.max(ns);
        add(&mut seen.held_up_ns_total, ns);
    }

    fn snapshot(&self) -> SummarySnapshot {
        // A bucket is named by its upper end, which may lie above everything that was recorded.
        let pause = |quantile| self.pause_ns.value_at_quantile(quantile).min(self.seen.pause_ns_max);
        let minor = |quantile| self.minor_pause_ns.value_at_quantile(quantile).min(self.seen.minor_pause_ns_max);
        let full = |quantile| self.full_pause_ns.value_at_quantile(quantile).min(self.seen.full_pause_ns_max);
        let safepoint =
            |quantile| self.time_to_safepoint_ns.value_at_quantile(quantile).min(self.seen.time_to_safepoint_ns_max);
        let held_up = |quantile| self.held_up_ns.value_at_quantile(quantile).min(self.seen.held_up_ns_max);
        SummarySnapshot {
            held_up_ns_p50: held_up(0.5),
            held_up_ns_p99: held_up(0.99),
            held_up_ns_p999: held_up(0.999),
            pause_ns_p50: pause(0.5),
            pause_ns_p90: pause(0.9),
            pause_ns_p99: pause(0.99),
            minor_pause_ns_p50: minor(0.5),
            minor_pause_ns_p99: minor(0.99),
            full_pause_ns_p50: full(0.5),
            full_pause_ns_p99: full(0.99),
            time_to_safepoint_ns_p50: safepoint(0.5),
            time_to_safepoint_ns_p99: safepoint(0.99),
            ..self.seen.clone()
        }
    }
}

/// `saturating_record` would not let the histogram grow: it clamps to the first few microseconds.
fn record(histogram: &mut Histogram<u64>, ns: u64) {
    histogram.record(ns).expect("a growing histogram takes any u64 on a 64-bit system");
}

/// Saturates: a clock that jumps must not end the program that is measured.
fn add(total: &mut u64, amount: u64) {
    *total = total.saturating_add(amount);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    /// A summary of pauses of 1, 2, ... `count` microseconds, in a scrambled order.
    fn summary_of(count: u64) -> SummaryHandle {
        let (mut summary, handle) = Summary::new();
        summary.on_event(&Event::HeapCreated { plan: "Immix", limit_bytes: 64 << 20, workers: 2 });
        for n in 0..count {
            // 7 has no factor in common with the counts used here, so each value comes once.
            let micros = n * 7 % count + 1;
            let report = PauseReport {
                duration_ns: micros * 1000,
                time_to_safepoint_ns: micros * 10,
                reserved_before_bytes: micros as usize,
                ..samples::pause(n)
            };
            summary.on_event(&Event::Pause(Box::new(report)));
        }
        handle
    }

    fn about(value: u64, expected: u64) -> bool {
        value.abs_diff(expected) * 500 <= expected
    }

    #[test]
    fn minor_and_full_pauses_have_percentiles_of_their_own() {
        let (mut summary, handle) = Summary::new();
        for n in 1..=101u64 {
            let (kind, duration_ns) = match n <= 100 {
                true => (CollectionKind::Minor, n * 1000),
                false => (CollectionKind::Full, 9_000_000),
            };
            summary.on_event(&Event::Pause(Box::new(PauseReport { kind, duration_ns, ..samples::pause(n) })));
        }
        let seen = handle.snapshot();
        assert_eq!((seen.gcs, seen.minor_gcs), (101, 100));
        assert!(about(seen.minor_pause_ns_p50, 50_000) && about(seen.minor_pause_ns_p99, 99_000), "{seen:?}");
        assert_eq!((seen.minor_pause_ns_max, seen.full_pause_ns_max), (100_000, 9_000_000));
        assert_eq!((seen.full_pause_ns_p50, seen.full_pause_ns_p99), (9_000_000, 9_000_000));
    }

    #[test]
    fn percentiles_of_known_pauses() {
        let seen = summary_of(1000).snapshot();
        assert_eq!((seen.pauses, seen.gcs), (1000, 1000));
        assert!(about(seen.pause_ns_p50, 500_000), "{}", seen.pause_ns_p50);
        assert!(about(seen.pause_ns_p90, 900_000), "{}", seen.pause_ns_p90);
        assert!(about(seen.pause_ns_p99, 990_000), "{}", seen.pause_ns_p99);
        assert!(about(seen.time_to_safepoint_ns_p50, 5_000));
        assert!(about(seen.time_to_safepoint_ns_p99, 9_900));
        assert_eq!((seen.pause_ns_max, seen.time_to_safepoint_ns_max), (1_000_000, 10_000));
        assert_eq!(seen.stw_ns_total, 500_500_000);
        assert_eq!(seen.gc_cpu_ns_total, 3_000_000_000);
        assert_eq!(seen.gcs_by_cause, [1000, 0, 0, 0, 0, 0, 0]);
        assert_eq!((seen.reserved_bytes_peak, seen.live_bytes_peak), (24 << 20, 20 << 20));
    }

    #[test]
    fn one_pause_is_every_percentile() {
        let seen = summary_of(1).snapshot();
        assert_eq!([seen.pause_ns_p50, seen.pause_ns_p99, seen.pause_ns_max], [1000; 3]);
    }

    #[test]
    fn nothing_seen_is_all_zero() {
        let (_summary, handle) = Summary::new();
        assert_eq!(handle.snapshot(), SummarySnapshot::default());
    }

    #[test]
    fn a_collection_of_two_pauses_counts_once_with_what_it_marked_between_them() {
        let (mut summary, handle) = Summary::new();
        for pause in samples::beside() {
            summary.on_event(&Event::Pause(Box::new(pause)));
        }
        let seen = handle.snapshot();
        assert_eq!((seen.pauses, seen.gcs, seen.gc_cpu_ns_total), (2, 1, 15_000_000));
        assert_eq!(seen.gcs_by_cause.iter().sum::<u64>(), 1);
    }

    #[test]
    fn hold_ups_have_percentiles_beside_those_of_pauses() {
        let (mut summary, handle) = Summary::new();
        (1..=2000u64).for_each(|n| summary.on_event(&Event::HeldUp(samples::held_up(7, n * 10_000_000, n * 1000))));
        let seen = handle.snapshot();
        assert_eq!((seen.held_up, seen.pauses, seen.pause_ns_max), (2000, 0, 0));
        assert!(about(seen.held_up_ns_p50, 1_000_000) && about(seen.held_up_ns_p99, 1_980_000), "{seen:?}");
        assert!(about(seen.held_up_ns_p999, 1_998_000), "{seen:?}");
        assert_eq!((seen.held_up_ns_max, seen.held_up_ns_total), (2_000_000, 2_001_000_000));
    }

    #[test]
    fn a_reset_forgets_the_pauses_and_keeps_the_heap() {
        let handle = summary_of(10);
        handle.clone().reset();
        let kept = SummarySnapshot { plan: "Immix", workers: 2, limit_bytes: 64 << 20, ..Default::default() };
        assert_eq!(handle.snapshot(), kept);
    }

    #[test]
    fn a_pause_beyond_all_sense_is_counted() {
        let (mut summary, handle) = Summary::new();
        let report = PauseReport { duration_ns: u64::MAX, ..samples::pause(1) };
        summary.on_event(&Event::Pause(Box::new(report.clone())));
        summary.on_event(&Event::Pause(Box::new(report)));
        let seen = handle.snapshot();
        assert_eq!((seen.pauses, seen.pause_ns_max, seen.stw_ns_total), (2, u64::MAX, u64::MAX));
    }
}
