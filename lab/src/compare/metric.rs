//! The numbers that a cell is made of: each a field of a [`Record`], folded over iterations.

use crate::record::Record;
use crate::stats::median;

/// How the values of several iterations become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// The median.
    Median,
    /// The smallest.
    Least,
    /// The largest.
    Greatest,
}

/// A number of a cell.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name in CSV and JSON.
    pub key: &'static str,
    /// Its column in Markdown; `None` keeps it out.
    pub heading: Option<&'static str>,
    /// Over iterations.
    pub fold: Fold,
    /// Of one iteration, in the unit of the key.
    of: fn(&Record) -> Option<f64>,
    /// What one unit of the heading is of the unit of the key.
    pub scale: f64,
}

impl Metric {
    /// The number for these iterations; `None` if none of them has it.
    pub fn over(&self, records: &[Record]) -> Option<f64> {
        let values = records.iter().filter_map(self.of);
        match self.fold {
            Fold::Median => median(values),
            Fold::Least => values.reduce(f64::min),
            Fold::Greatest => values.reduce(f64::max),
        }
    }
}

const MB: f64 = (1 << 20) as f64;

const fn metric(key: &'static str, heading: &'static str, of: fn(&Record) -> Option<f64>) -> Metric {
    Metric { key, heading: Some(heading), fold: Fold::Median, of, scale: 1.0 }
}

/// Wall time.
pub const WALL: Metric = metric("wall_ms", "wall ms", |r| Some(r.wall_ms));
/// CPU time of the process.
pub const CPU: Metric = metric("cpu_ms", "cpu ms", |r| Some(r.cpu_ms));
/// CPU time spent collecting.
pub const GC_CPU: Metric = metric("gc_cpu_ms", "gc cpu ms", |r| r.gc_cpu_ms);
/// The rest of the CPU time.
pub const MUT_CPU: Metric = metric("mut_cpu_ms", "mut cpu ms", |r| r.mut_cpu_ms);

/// All metrics, in the order of the columns.
pub const METRICS: &[Metric] = &[
    WALL,
    CPU,
    GC_CPU,
    MUT_CPU,
    Metric { key: "cpu_ms_best", fold: Fold::Least, heading: Some("best cpu"), ..CPU },
    metric("gcs", "gcs", |r| Some(r.gcs as f64)),
    metric("stw_ms", "stw ms", |r| Some(r.stw_ms)),
    metric("pause_p50_ms", "p50 ms", |r| Some(r.pause_p50_ms)),
    metric("pause_p99_ms", "p99 ms", |r| Some(r.pause_p99_ms)),
    metric("pause_max_ms", "max ms", |r| Some(r.pause_max_ms)),
    Metric { fold: Fold::Greatest, ..metric("pause_worst_ms", "worst ms", |r| Some(r.pause_max_ms)) },
    metric("held_up_p999_ms", "held p99.9", |r| r.held_up.map(|held| held.p999_ms)),
    Metric { fold: Fold::Greatest, ..metric("held_up_max_ms", "held worst", |r| r.held_up.map(|held| held.max_ms)) },
    Metric { heading: None, fold: Fold::Least, ..metric("mmu_1ms", "", |r| r.held_up.map(|held| held.mmu_1ms)) },
    Metric { heading: None, fold: Fold::Least, ..metric("mmu_10ms", "", |r| r.held_up.map(|held| held.mmu_10ms)) },
    Metric { heading: None, fold: Fold::Least, ..metric("mmu_100ms", "", |r| r.held_up.map(|held| held.mmu_100ms)) },
    Metric { scale: MB, ..metric("peak_reserved_bytes", "peak MB", |r| r.peak_reserved_bytes.map(|b| b as f64)) },
    Metric { scale: MB, ..metric("rss_bytes", "rss MB", |r| Some(r.rss_bytes as f64)) },
    metric("gc_share", "gc/cpu", |r| r.gc_cpu_ms.map(|gc| gc / r.cpu_ms)),
    metric("goal_p50", "peak/goal", |r| r.goal_p50),
    Metric { fold: Fold::Greatest, ..metric("goal_max", "worst", |r| r.goal_max) },
    Metric { heading: None, ..metric("user_ms", "", |r| Some(r.user_ms)) },
    Metric { heading: None, ..metric("sys_ms", "", |r| Some(r.sys_ms)) },
    Metric { heading: None, ..metric("minflt", "", |r| Some(r.minflt as f64)) },
    Metric { heading: None, ..metric("nvcsw", "", |r| Some(r.nvcsw as f64)) },
    Metric { heading: None, ..metric("latency_p50_us", "", |r| r.latency.map(|l| l.service_us.p50)) },
    Metric { heading: None, ..metric("latency_p99_us", "", |r| r.latency.map(|l| l.service_us.p99)) },
    Metric { heading: None, ..metric("latency_max_us", "", |r| r.latency.map(|l| l.service_us.max)) },
    Metric { heading: None, ..metric("metered_p50_us", "", |r| r.latency.map(|l| l.metered_us.p50)) },
    Metric { heading: None, ..metric("metered_p99_us", "", |r| r.latency.map(|l| l.metered_us.p99)) },
    Metric { heading: None, ..metric("metered_max_us", "", |r| r.latency.map(|l| l.metered_us.max)) },
];

/// The metric with this key.
pub fn named(key: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.key == key)
}

/// Metrics that are shown as ratios to the base too: key, heading, metric.
pub const RATIOS: &[(&str, &str, Metric)] = &[
    ("wall_ratio", "wall/base", WALL),
    ("cpu_ratio", "cpu/base", CPU),
    ("gc_cpu_ratio", "gc/base", GC_CPU),
    ("mut_cpu_ratio", "mut/base", MUT_CPU),
];
