//! A cell: one collector on one workload and heap.

use super::metric::Metric;
use crate::child::Outcome;
use crate::record::Record;

/// A heap limit, and what it is called in the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeapPoint {
    /// `128M`, or `1.5x`.
    pub label: String,
    /// The limit.
    pub bytes: u64,
}

/// The result of a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// The iterations that count.
    Ran(Vec<Record>),
    /// A run ran out of memory.
    OutOfMemory,
    /// A run took longer than this many seconds.
    TimedOut(u64),
    /// Its external program is not installed.
    NotInstalled,
    /// The collector does not run this, or is not built in.
    NotAvailable(String),
    /// A run failed.
    Failed(String),
}

impl Status {
    /// What comes of one process, whose first `warmup` iterations do not count.
    pub fn of(outcome: Outcome, warmup: usize, timeout_s: u64) -> Status {
        match outcome {
            Outcome::Ran(records) => Self::Ran(records.into_iter().skip(warmup).collect()),
            Outcome::OutOfMemory => Self::OutOfMemory,
            Outcome::TimedOut => Self::TimedOut(timeout_s),
            Outcome::NotInstalled => Self::NotInstalled,
            Outcome::Failed(text) => Self::Failed(text),
        }
    }

    /// The iterations that count; none if a run did not complete.
    pub fn records(&self) -> &[Record] {
        match self {
            Self::Ran(records) => records,
            _ => &[],
        }
    }

    /// What the cell shows instead of numbers; `None` if there are numbers.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Ran(_) => None,
            Self::OutOfMemory => Some("out of memory".to_owned()),
            Self::TimedOut(seconds) => Some(format!("over {seconds} s")),
            Self::NotInstalled => Some("not installed".to_owned()),
            Self::NotAvailable(why) => Some(why.clone()),
            Self::Failed(text) => Some(format!("failed: {text}")),
        }
    }

    /// One word for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ran(_) => "ok",
            Self::OutOfMemory => "oom",
            Self::TimedOut(_) => "timeout",
            Self::NotInstalled => "not-installed",
            Self::NotAvailable(_) => "not-available",
            Self::Failed(_) => "failed",
        }
    }
}

/// One collector on one workload and heap.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Index of the group.
    pub group: usize,
    /// Name of the workload.
    pub workload: &'static str,
    /// The heap.
    pub heap: HeapPoint,
    /// Name of the collector.
    pub plan: String,
    /// The result.
    pub status: Status,
}

impl Cell {
    /// A number of the cell.
    pub fn value(&self, metric: &Metric) -> Option<f64> {
        metric.over(self.status.records())
    }

    /// The ratio to the base's number; `None` where either is missing or the base's is 0.
    pub fn ratio(&self, base: &Cell, metric: &Metric) -> Option<f64> {
        let (value, base) = (self.value(metric)?, base.value(metric)?);
        (base > 0.0).then(|| value / base)
    }
}

#[cfg(test)]
mod tests {
    use super::super::metric::{CPU, GC_CPU};
    use super::super::tests::comparison;

    #[test]
    fn numbers_are_medians_and_ratios_are_of_medians() {
        let cells = comparison().cells;
        assert_eq!(cells[0].value(&CPU), Some(200.0));
        assert_eq!(cells[1].ratio(&cells[0], &CPU), Some(0.5));
        assert_eq!(cells[1].ratio(&cells[0], &GC_CPU), Some(0.5));
        assert_eq!(cells[2].ratio(&cells[0], &CPU), None);
    }
}
