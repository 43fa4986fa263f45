//! What one iteration measured: a JSON line of `mmtk run --json`, and what `mmtk compare` reads back.

use serde::{Deserialize, Serialize};

use crate::stats::percentile;

/// One iteration. Fields that a collector cannot measure are `null`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Name of the collector.
    pub plan: String,
    /// Name of the workload.
    pub workload: String,
    /// Heap limit.
    pub heap_bytes: u64,
    /// Threads that work in a pause.
    pub gc_threads: usize,
    /// Mutator threads.
    pub mutators: usize,
    /// Number of the iteration in its process, from 0.
    pub iter: usize,
    /// Wall time.
    pub wall_ms: f64,
    /// CPU time of the whole process.
    pub cpu_ms: f64,
    /// CPU time spent collecting, on whatever threads.
    pub gc_cpu_ms: Option<f64>,
    /// The rest of the CPU time.
    pub mut_cpu_ms: Option<f64>,
    /// User time of the process.
    pub user_ms: f64,
    /// System time of the process.
    pub sys_ms: f64,
    /// Collections.
    pub gcs: u64,
    /// Stops of the mutators.
    pub pauses: u64,
    /// Sum of the pauses, from the request to stop until the resume.
    pub stw_ms: f64,
    /// Median pause.
    pub pause_p50_ms: f64,
    /// 99th percentile of the pauses.
    pub pause_p99_ms: f64,
    /// Longest pause.
    pub pause_max_ms: f64,
    /// How long mutators were held up, of collectors that tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_up: Option<HeldUp>,
    /// Most bytes held against the limit.
    pub peak_reserved_bytes: Option<u64>,
    /// Peak of a cycle as a part of its goal, median.
    #[serde(default)]
    pub goal_p50: Option<f64>,
    /// The same, of the cycle that exceeded its goal the most.
    #[serde(default)]
    pub goal_max: Option<f64>,
    /// Peak resident size of the process during the iteration.
    pub rss_bytes: u64,
    /// Page faults without I/O.
    #[serde(default)]
    pub minflt: i64,
    /// Voluntary context switches.
    #[serde(default)]
    pub nvcsw: i64,
    /// Involuntary context switches.
    #[serde(default)]
    pub nivcsw: i64,
    /// Latency of requests, for workloads that serve them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// What the workload computed, in hexadecimal.
    pub checksum: String,
}

/// How long mutators were held up: by pauses, and by what the collector made them do in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeldUp {
    /// How often a mutator was.
    pub times: u64,
    /// Over all mutators.
    pub total_ms: f64,
    /// Median.
    pub p50_ms: f64,
    /// 99 %.
    pub p99_ms: f64,
    /// 99.9 %.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// Minimum mutator utilisation: the least part of any ms that a mutator had for its program.
    pub mmu_1ms: f64,
    /// The same of 10 ms.
    pub mmu_10ms: f64,
    /// The same of 100 ms.
    pub mmu_100ms: f64,
}

/// Latency of requests in microseconds, as percentiles.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// From the start of a request to its end.
    pub service_us: Percentiles,
    /// The same requests had they arrived at even intervals and waited for those before them.
    pub metered_us: Percentiles,
}

/// A distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Median.
    pub p50: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// 99.99 %.
    pub p9999: f64,
    /// The largest.
    pub max: f64,
}

impl Percentiles {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |q| round(percentile(&values, q));
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), p9999: at(0.9999), max: at(1.0) }
    }
}

impl Latency {
    /// From the service times in order of arrival, in ticks, and the length of a tick; `None` without
    /// requests.
    pub fn of(ticks: &[u32], us_per_tick: f64) -> Option<Self> {
        if ticks.is_empty() {
            return None;
        }
        let service: Vec<f64> = ticks.iter().map(|&t| f64::from(t) * us_per_tick).collect();
        let gap = service.iter().sum::<f64>() / service.len() as f64;
        let mut done = 0.0f64;
        let metered = service.iter().enumerate().map(|(i, time)| {
            let arrival = i as f64 * gap;
            done = done.max(arrival) + time;
            done - arrival
        });
        let metered_us = Percentiles::of(metered.collect());
        Some(Self { service_us: Percentiles::of(service), metered_us })
    }
}

/// Three decimals are enough of a millisecond; more only lengthen the line.
pub fn round(value: f64) -> f64 {
    // An empty sum of floats is -0.0, which would show; adding 0.0 makes it 0.0.
    (value * 1e3).round() / 1e3 + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_request_delays_those_behind_it() {
        let latency = Latency::of(&[10, 1000, 10, 10], 1.0).unwrap();
        assert_eq!(latency.service_us.p50, 10.0);
        assert_eq!(latency.metered_us.max, 1000.0);
        assert!(latency.metered_us.p50 > 100.0);
        assert_eq!(Latency::of(&[], 1.0), None);
    }
}
