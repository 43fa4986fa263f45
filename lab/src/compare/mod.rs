//! A comparison: collectors x workloads x heaps, as data, and its reports.
//!
//! 1. [`group`]: which collectors are compared with which, and on which heaps.
//! 2. [`cell`]: one collector on one workload and heap: its runs, or why there are none. A cell is never
//!    dropped.
//! 3. [`metric`]: the numbers of a cell. [`geomeans`]: ratios to the base, over all workloads.
//! 4. [`checksum`]: whether all collectors computed the same.
//! 5. [`report`]: Markdown, CSV, JSON.
//!
//! Nothing here starts a process or looks at a clock; [`crate::interleave`] does.

pub mod cell;
pub mod checksum;
pub mod geomeans;
pub mod group;
pub mod metric;
pub mod report;

use serde::{Deserialize, Serialize};

use cell::{Cell, Status};
use group::Group;

/// The minimum heap of a collector on a workload, as found on the way.
#[derive(Clone, Debug, PartialEq)]
pub struct MinimumHeap {
    /// Name of the workload.
    pub workload: &'static str,
    /// Name of the collector; `given` when it came from the command line.
    pub plan: String,
    /// What was found.
    pub found: Found,
}

/// What a search for a minimum heap found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// The smallest heap that fits.
    Bytes(u64),
    /// Not searched further, since another collector needs less than this.
    NotBelow(u64),
    /// None.
    Nothing,
}

/// All results.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The command that measured them.
    pub command: String,
    /// Processors and memory of the machine.
    pub machine: String,
    /// Who is compared with whom.
    pub groups: Vec<Group>,
    /// Minimum heaps, where heaps are multiples of them.
    pub minima: Vec<MinimumHeap>,
    /// By group, workload, heap, collector.
    pub cells: Vec<Cell>,
    /// Workloads on which checksums differ, in words.
    pub mismatches: Vec<String>,
}

impl Comparison {
    /// The cells of one table: same group, workload and heap.
    pub fn tables(&self) -> impl Iterator<Item = &[Cell]> {
        let key = |cell: &Cell| (cell.group, cell.workload, cell.heap.clone());
        self.cells.chunk_by(move |a, b| key(a) == key(b))
    }

    /// The comparison as it would be with one process of each cell, the one with this number (from 0); `None`
    /// if no cell has that many. Iterations of a process are in order, so a process begins where the number
    /// falls.
    pub fn process(&self, number: usize) -> Option<Comparison> {
        let mut any = false;
        let cells = self.cells.iter().map(|cell| {
            let status = match &cell.status {
                Status::Ran(records) => {
                    let of_process = records.chunk_by(|a, b| a.iter < b.iter).nth(number).unwrap_or_default();
                    any |= !of_process.is_empty();
                    Status::Ran(of_process.to_vec())
                }
                other => other.clone(),
            };
            Cell { status, ..cell.clone() }
        });
        let cells = cells.collect();
        any.then(|| Comparison { cells, ..self.clone() })
    }

    /// The base's cell among those of one table.
    pub fn base<'a>(&self, table: &'a [Cell]) -> Option<&'a Cell> {
        let group = &self.groups[table.first()?.group];
        table.iter().find(|cell| cell.plan == group.base().name)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::cell::HeapPoint;
    use super::*;
    use crate::collector::Collector;
    use crate::record::Record;

    /// An iteration that took `cpu_ms` of CPU time, a quarter of it for the collector.
    pub(crate) fn record(plan: &str, cpu_ms: f64, checksum: &str) -> Record {
        Record {
            plan: plan.to_owned(),
            workload: "gcbench".to_owned(),
            heap_bytes: 128 << 20,
            gc_threads: 2,
            mutators: 1,
            iter: 1,
            wall_ms: cpu_ms,
            cpu_ms,
            gc_cpu_ms: Some(cpu_ms / 4.0),
            mut_cpu_ms: Some(cpu_ms * 0.75),
            user_ms: cpu_ms,
            sys_ms: 0.0,
            gcs: 7,
            pauses: 7,
            stw_ms: 3.0,
            pause_p50_ms: 0.25,
            pause_p99_ms: 0.5,
            pause_max_ms: 0.75,
            held_up: None,
            peak_reserved_bytes: Some(100 << 20),
            goal_p50: None,
            goal_max: None,
            rss_bytes: 90 << 20,
            minflt: 1,
            nvcsw: 2,
            nivcsw: 3,
            latency: None,
            checksum: checksum.to_owned(),
        }
    }

    pub(super) fn ran(plan: &str, cpu_ms: &[f64]) -> Status {
        Status::Ran(cpu_ms.iter().map(|&cpu| record(plan, cpu, "00ff")).collect())
    }

    /// Three collectors on one workload and two heaps; one runs out of memory on the smaller.
    pub(super) fn comparison() -> Comparison {
        let plans = ["SemiSpace", "Immix", "malloc:bump"];
        let collectors = plans.iter().map(|name| Collector::parse(name).unwrap()).collect();
        let cell = |label: &str, plan: &str, status| Cell {
            group: 0,
            workload: "gcbench",
            heap: HeapPoint { label: label.to_owned(), bytes: 128 << 20 },
            plan: plan.to_owned(),
            status,
        };
        Comparison {
            command: "mmtk compare gcbench".to_owned(),
            machine: "a machine".to_owned(),
            groups: group::groups(collectors, None).unwrap(),
            minima: vec![],
            cells: vec![
                cell("1.5x", "SemiSpace", ran("SemiSpace", &[100.0, 400.0, 200.0])),
                cell("1.5x", "Immix", ran("Immix", &[90.0, 100.0, 110.0])),
                cell("1.5x", "malloc:bump", Status::OutOfMemory),
                cell("3x", "SemiSpace", ran("SemiSpace", &[100.0])),
                cell("3x", "Immix", ran("Immix", &[80.0])),
                cell("3x", "malloc:bump", ran("malloc:bump", &[50.0])),
            ],
            mismatches: vec![],
        }
    }

    #[test]
    fn the_processes_of_a_cell_are_told_apart_by_the_numbers_of_their_iterations() {
        let mut comparison = comparison();
        let Status::Ran(records) = &mut comparison.cells[0].status else { panic!() };
        for (record, iter) in records.iter_mut().zip([1, 2, 1]) {
            record.iter = iter;
        }
        let cpu = |number| comparison.process(number).unwrap().cells[0].value(&metric::CPU);
        assert_eq!((cpu(0), cpu(1)), (Some(250.0), Some(200.0)));
        assert_eq!(comparison.process(1).unwrap().cells[2].status, Status::OutOfMemory);
        assert!(comparison.process(3).is_none());
    }

    #[test]
    fn cells_of_a_table_share_workload_and_heap() {
        let comparison = comparison();
        let sizes: Vec<usize> = comparison.tables().map(<[Cell]>::len).collect();
        assert_eq!(sizes, [3, 3]);
        let table = comparison.tables().next().unwrap();
        assert_eq!(comparison.base(table).unwrap().plan, "SemiSpace");
    }
}
