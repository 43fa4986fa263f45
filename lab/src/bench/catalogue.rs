//! What is measured: one table, with the targets.
//!
//! A new measurement is a new entry; the command, the list and the chapter follow. A target that is missed
//! stays in the table, and the chapter says so.

use std::collections::HashMap;

use serde_json::Value;

use crate::collector::Collector;
use crate::compare::cell::HeapPoint;
use crate::compare::group;
use crate::failure::Failure;
use crate::interleave::{Effort, Heaps, Matrix};
use heapwright::options::parse_bytes;

/// One measurement: a section of the chapter.
#[derive(Debug)]
pub struct Measurement {
    /// Its name on the command line and in the results.
    pub name: &'static str,
    /// What is compared with what.
    pub title: &'static str,
    /// What a reader has to know; may be empty.
    pub about: &'static str,
    /// What has to be there besides this program; may be empty.
    pub needs: &'static str,
    /// How it is measured.
    pub kind: Kind,
    /// Made only when it is named: it says nothing about the collectors.
    pub only_when_named: bool,
}

/// How it is measured.
#[derive(Debug)]
pub enum Kind {
    /// Collectors on workloads and heaps, interleaved.
    Runs(Runs),
    /// Minimum heaps of a plan, to those of another collector.
    Minima {
        /// The plan, and what it is compared with.
        pairs: &'static [(&'static str, &'static str)],
        /// On these workloads.
        workloads: &'static [&'static str],
        /// The target of each ratio, by plan.
        most: &'static [(&'static str, f64)],
    },
    /// Other commands of `mmtk`, whose JSON has the figures.
    Commands {
        /// The arguments of each call.
        calls: &'static [&'static [&'static str]],
        /// How often each call is made.
        reps: usize,
        /// Reads the figures of one call.
        lines: fn(&Value) -> Option<Vec<Line>>,
    },
}

/// Collectors on workloads and heaps.
#[derive(Debug)]
pub struct Runs {
    /// Collectors, each group with its base. A group has heaps of its own.
    pub groups: &'static [(&'static [&'static str], &'static str)],
    /// Workloads.
    pub workloads: &'static [&'static str],
    /// Heaps.
    pub heaps: At,
    /// Child processes per cell.
    pub reps: usize,
    /// Iterations per process. The first warms up.
    pub iters: usize,
    /// Size and amount of work of the workloads; 0 is their default.
    pub amounts: (usize, usize),
    /// Ratios to the base that the chapter shows. The first of them is drawn.
    pub ratios: &'static [Figure],
    /// Numbers that the chapter shows as they are.
    pub values: &'static [Figure],
}

/// Heaps of a measurement.
#[derive(Debug)]
pub enum At {
    /// Multiples of the smallest minimum heap of the group.
    Multiples(&'static [f64]),
    /// Sizes.
    Sizes(&'static [&'static str]),
}

/// A number that is shown, and its targets.
#[derive(Debug)]
pub struct Figure {
    /// Key of the metric, see [`crate::compare::metric::METRICS`].
    pub key: &'static str,
    /// What the chapter calls it.
    pub words: &'static str,
    /// Targets. The first that fits a row holds.
    pub targets: &'static [Target],
}

/// A bound.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// For this collector only.
    pub plan: Option<&'static str>,
    /// For this heap only.
    pub heap: Option<&'static str>,
    /// The geometric mean may be this at most.
    pub mean: Option<f64>,
    /// Each cell may be this at most.
    pub cell: Option<f64>,
}

/// A figure that a command printed.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What it is.
    pub what: String,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// What it must be.
    pub bound: Option<Bound>,
    /// What else is worth saying.
    pub note: String,
}

/// A bound of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// At most this.
    Most(f64),
    /// At least this.
    Least(f64),
}

const ANY: Target = Target { plan: None, heap: None, mean: None, cell: None };
/// Against the crate `mmtk`: a plan takes two thirds of the time, and no program loses.
const AGAINST_CRATE: &[Target] = &[
    Target { heap: Some("6x"), mean: Some(0.80), cell: Some(0.90), ..ANY },
    Target { mean: Some(0.65), cell: Some(0.90), ..ANY },
];
const AGAINST_CRATE_GENERATIONAL: &[Target] = &[Target { mean: Some(0.65), cell: Some(0.90), ..ANY }];
const COLLECTING: &[Target] = &[Target { mean: Some(0.35), ..ANY }];

const fn total(targets: &'static [Target]) -> Figure {
    Figure { key: "cpu_ms", words: "total CPU", targets }
}

const fn collecting(targets: &'static [Target]) -> Figure {
    Figure { key: "gc_cpu_ms", words: "CPU spent collecting", targets }
}

const fn mutators(targets: &'static [Target]) -> Figure {
    Figure { key: "mut_cpu_ms", words: "mutator CPU", targets }
}

const fn longest_pause(targets: &'static [Target]) -> Figure {
    Figure { key: "pause_max_ms", words: "longest pause", targets }
}

const fn longest_pause_ms(targets: &'static [Target]) -> Figure {
    Figure { key: "pause_max_ms", words: "longest pause of an iteration, median, ms", targets }
}

const HEAPS: At = At::Multiples(&[1.5, 2.0, 3.0, 6.0]);
const TWICE: At = At::Multiples(&[2.0]);
const FULL_WORKLOADS: &[&str] = &["gcbench", "binary-trees", "splay", "mt-gcbench", "fragger"];
const MINOR_WORKLOADS: &[&str] = &["gcbench", "binary-trees", "splay", "mt-gcbench", "lru-cache", "mutation"];
const OWN_WORKLOADS: &[&str] = &["gcbench", "binary-trees", "splay", "lru-cache", "mutation", "fragger"];

const CONCURRENT_HEAPS: At = At::Multiples(&[2.0, 3.0, 6.0]);
const CONCURRENT_WORKLOADS: &[&str] = &["gcbench", "lru-cache", "list", "mt-gcbench", "splay", "mutation"];

const PEERS: &str = "the feature `peers`";

/// All that a comparison has in common with the others.
const RUNS: Runs = Runs {
    groups: &[],
    workloads: FULL_WORKLOADS,
    heaps: HEAPS,
    reps: 2,
    iters: 2,
    amounts: (0, 0),
    ratios: &[],
    values: &[],
};

const ENTRY: Measurement =
    Measurement { name: "", title: "", about: "", needs: "", kind: Kind::Runs(RUNS), only_when_named: false };

/// The table.
pub static MEASUREMENTS: &[Measurement] = &[
    Measurement {
        name: "minimum-heaps",
        title: "Minimum heaps",
        about: "The smallest heap in which a workload completes, to that of another collector. One in which it \
                takes thirty times as long as in the first that sufficed is too small.",
        needs: "the feature `peers` for the crate `mmtk`",
        kind: Kind::Minima {
            pairs: &[
                ("MarkCompact", "SemiSpace"),
                ("Immix", "upstream:Immix"),
                ("SemiSpace", "upstream:SemiSpace"),
                ("MarkSweep", "upstream:MarkSweep"),
            ],
            workloads: &["gcbench", "binary-trees", "splay", "fragger"],
            most: &[("MarkCompact", 0.55), ("Immix", 1.0), ("SemiSpace", 1.0), ("MarkSweep", 1.0)],
        },
        ..ENTRY
    },
    Measurement {
        name: "crate-full",
        title: "Against the crate `mmtk` 0.33: plans without minor collections",
        about: "The same plan on both sides, theirs with header forwarding bits.",
        needs: PEERS,
        kind: Kind::Runs(Runs {
            groups: &[
                (&["Immix", "upstream:Immix"], "upstream:Immix"),
                (&["SemiSpace", "upstream:SemiSpace"], "upstream:SemiSpace"),
                (&["MarkSweep", "upstream:MarkSweep"], "upstream:MarkSweep"),
            ],
            ratios: &[
                total(AGAINST_CRATE),
                collecting(COLLECTING),
                mutators(&[
                    Target { plan: Some("MarkSweep"), mean: Some(0.6), ..ANY },
                    Target { mean: Some(1.0), ..ANY },
                ]),
            ],
            ..RUNS
        }),
        ..ENTRY
    },
    Measurement {
        name: "crate-generational",
        title: "Against the crate `mmtk` 0.33: generational plans",
        about: "The size of the nursery is the heap's choice.",
        needs: PEERS,
        kind: Kind::Runs(Runs {
            groups: &[
                (&["GenImmix", "upstream:GenImmix"], "upstream:GenImmix"),
                (&["GenCopy", "upstream:GenCopy"], "upstream:GenCopy"),
                (&["StickyImmix", "upstream:StickyImmix"], "upstream:StickyImmix"),
            ],
            workloads: MINOR_WORKLOADS,
            ratios: &[total(AGAINST_CRATE_GENERATIONAL), collecting(&[]), mutators(&[])],
            ..RUNS
        }),
        ..ENTRY
    },
    Measurement {
        name: "crate-compacting",
        title: "Against the crate `mmtk` 0.33: MarkCompact and its Compressor",
        about: "Compressor is the compacting plan there that is nearest to MarkCompact.",
        needs: PEERS,
        kind: Kind::Runs(Runs {
            groups: &[(&["MarkCompact", "upstream:Compressor"], "upstream:Compressor")],
            workloads: OWN_WORKLOADS,
            ratios: &[
                total(&[Target { mean: Some(0.60), ..ANY }]),
                collecting(&[]),
                mutators(&[]),
                Figure {
                    key: "pause_worst_ms",
                    words: "longest pause",
                    targets: &[Target { mean: Some(0.60), cell: Some(0.60), ..ANY }],
                },
            ],
            ..RUNS
        }),
        ..ENTRY
    },
    Measurement {
        name: "libgc",
        title: "Against libgc",
        about: "libgc with its inlined allocator. The best of our plans is to meet the target.",
        needs: PEERS,
        kind: Kind::Runs(Runs {
            groups: &[(&["Immix", "MarkSweep", "bdwgc:inline"], "bdwgc:inline")],
            ratios: &[total(&[Target { plan: Some("Immix"), mean: Some(0.80), ..ANY }])],
            ..RUNS
        }),
        ..ENTRY
    },
    Measurement {
        name: "minor",
        title: "Generational plans against ours without minor collections",
        about: "No program is to lose more than 5 %.",
        kind: Kind::Runs(Runs {
            groups: &[
                (&["Immix", "StickyImmix", "GenImmix"], "Immix"),
                (&["SemiSpace", "GenCopy"], "SemiSpace"),
                (&["MarkSweep", "StickyMarkSweep"], "MarkSweep"),
            ],
            workloads: OWN_WORKLOADS,
            heaps: TWICE,
            ratios: &[total(&[Target { cell: Some(1.05), ..ANY }]), collecting(&[])],
            ..RUNS
        }),
        ..ENTRY
    },
    Measurement {
        name: "workers",
        title: "Two GC workers against one",
        about: "Needs two processors that are idle.",
        kind: Kind::Runs(Runs {
            groups: &[
                (&["Immix@gc.workers=2", "Immix@gc.workers=1"], "Immix@gc.workers=1"),
                (&["GenImmix@gc.workers=2", "GenImmix@gc.workers=1"], "GenImmix@gc.workers=1"),
                (&["MarkSweep@gc.workers=2", "MarkSweep@gc.workers=1"], "MarkSweep@gc.workers=1"),
                (&["MarkCompact@gc.workers=2", "MarkCompact@gc.workers=1"], "MarkCompact@gc.workers=1"),
            ],
            workloads: &["gcbench", "binary-trees"],
            heaps: At::Sizes(&["134M"]),
            reps: 5,
            ratios: &[
                Figure {
                    key: "gc_cpu_ms",
                    words: "CPU spent collecting",
                    targets: &[
                        Target { plan: Some("GenImmix@gc.workers=2"), mean: Some(1.2), ..ANY },
                        Target { plan: Some("MarkCompact@gc.workers=2"), mean: Some(1.2), ..ANY },
                        Target { mean: Some(1.15), ..ANY },
                    ],
                },
                Figure {
                    key: "stw_ms",
                    words: "time stopped",
                    targets: &[
                        Target { plan: Some("GenImmix@gc.workers=2"), mean: Some(0.70), ..ANY },
                        Target { plan: Some("MarkCompact@gc.workers=2"), mean: Some(0.70), ..ANY },
                        Target { mean: Some(0.60), ..ANY },
                    ],
                },
            ],
            ..RUNS
        }),
        ..ENTRY
    },
    Measurement {
        name: "workers-copying",
        title: "Two GC workers against one: plans that copy",
        about: "Needs two processors that are idle.",
        kind: Kind::Runs(Runs {
            groups: &[
                (&["SemiSpace@gc.workers=2", "SemiSpace@gc.workers=1"], "SemiSpace@gc.workers=1"),
                (&["GenCopy@gc.workers=2", "GenCopy@gc.workers=1"], "GenCopy@gc.workers=1"),
            ],
            workloads: &["gcbench", "binary-trees"],
            heaps: At::Sizes(&["200M"]),
            reps: 5,
            ratios: &[
                Figure {
                    key: "gc_cpu_ms",
                    words: "CPU spent collecting",
                    targets: &[Target { mean: Some(1.15), ..ANY }],
                },
                Figure { key: "stw_ms", words: "time stopped", targets: &[Target { mean: Some(0.60), ..ANY }] },
            ],
            ..RUNS
        }),
        ..ENTRY
    },
    Measurement {
        name: "pauses-generational",
        title: "Pauses of generational plans",
        about: "Median of all pauses, full collections included.",
        kind: Kind::Runs(Runs {
            groups: &[(&["GenImmix", "StickyImmix"], "GenImmix"), (&["GenCopy"], "GenCopy")],
            workloads: &["gcbench"],
            heaps: TWICE,
            values: &[Figure {
                key: "pause_p50_ms",
                words: "median pause, ms",
                targets: &[Target { cell: Some(0.3), ..ANY }],
            }],
            ..RUNS
        }),
        ..ENTRY
    },
    Measurement {
        name: "pauses-small",
        title: "Pauses with little to mark",
        about: "Forty live objects, all large.",
        kind: Kind::Runs(Runs {
            groups: &[(&["Immix"], "Immix")],
            workloads: &["large"],
            heaps: At::Sizes(&["128M"]),
            values: &[Figure {
                key: "pause_p50_ms",
                words: "median pause, ms",
                targets: &[Target { cell: Some(0.1), ..ANY }],
            }],
            ..RUNS
        }),
        ..ENTRY
    },
    Measurement {
        name: "pauses-list",
        title: "Pauses with one long list",
        about: "A chain of two million nodes: nothing can be marked in parallel.",
        kind: Kind::Runs(Runs {
            groups: &[(&["Immix"], "Immix")],
            workloads: &["list"],
            heaps: At::Sizes(&["128M"]),
            iters: 5,
            values: &[Figure {
                key: "pause_max_ms",
                words: "longest pause of an iteration, median, ms",
                targets: &[Target { cell: Some(20.0), ..ANY }],
            }],
            ..RUNS
        }),
        ..ENTRY
    },
    Measurement {
        name: "jvm",
        title: "Against the JVM of JDK 25",
        about: "Equal heaps, two workers. The JVM compiles its mutators and has references of four bytes.",
        needs: "JDK 25, and on two workloads only",
        kind: Kind::Runs(Runs {
            groups: &[(&["StickyImmix", "GenImmix", "java25:Parallel", "java25:G1"], "java25:G1")],
            workloads: &["gcbench", "binary-trees"],
            heaps: At::Multiples(&[2.0, 3.0]),
            iters: 4,
            ratios: &[
                total(&[Target { plan: Some("java25:Parallel"), ..ANY }, Target { cell: Some(1.2), ..ANY }]),
                collecting(&[]),
            ],
            ..RUNS
        }),
        ..ENTRY
    },
    Measurement {
        name: "go",
        title: "Against Go",
        about: "Our heaps with `heap.mode=proportional` and the default headroom, Go with GOGC=100. Pauses are Go's \
                strength: it marks beside its mutators.",
        needs: "Go",
        kind: Kind::Runs(Runs {
            groups: &[(
                &["Immix@heap.mode=proportional", "GenImmix@heap.mode=proportional", "go:gogc100"],
                "go:gogc100",
            )],
            workloads: &["gcbench", "splay", "lru-cache", "phases"],
            heaps: At::Sizes(&["2G"]),
            ratios: &[total(&[]), Figure { key: "pause_max_ms", words: "longest pause", targets: &[] }],
            values: &[Figure { key: "goal_max", words: "greatest peak to goal", targets: &[] }],
            ..RUNS
        }),
        ..ENTRY
    },
    Measurement {
        name: "concurrent-own",
        title: "ConcurrentImmix against our Immix",
        about: "What marking beside the mutators costs, and what pauses are left. A collection has two.",
        kind: Kind::Runs(Runs {
            groups: &[(&["ConcurrentImmix", "Immix"], "Immix")],
            workloads: CONCURRENT_WORKLOADS,
            heaps: CONCURRENT_HEAPS,
            iters: 3,
            ratios: &[
                total(&[Target { heap: Some("3x"), mean: Some(1.15), ..ANY }]),
                mutators(&[]),
                longest_pause(&[]),
            ],
            values: &[
                Figure {
                    key: "pause_p50_ms",
                    words: "median pause, ms",
                    targets: &[Target { plan: Some("ConcurrentImmix"), heap: Some("2x"), cell: Some(0.15), ..ANY }],
                },
                longest_pause_ms(&[
                    Target { plan: Some("ConcurrentImmix"), heap: Some("3x"), cell: Some(0.5), ..ANY },
                    Target { plan: Some("ConcurrentImmix"), heap: Some("6x"), cell: Some(0.5), ..ANY },
                ]),
            ],
            ..RUNS
        }),
        ..ENTRY
    },
    Measurement {
        name: "concurrent-crate",
        title: "ConcurrentImmix against that of the crate `mmtk` 0.33",
        about: "Theirs marks beside mutators too, and makes a full pause when memory runs out.",
        needs: PEERS,
        kind: Kind::Runs(Runs {
            groups: &[(&["ConcurrentImmix", "upstream:ConcurrentImmix"], "upstream:ConcurrentImmix")],
            workloads: CONCURRENT_WORKLOADS,
            heaps: CONCURRENT_HEAPS,
            ratios: &[
                total(&[Target { mean: Some(0.8), ..ANY }]),
                longest_pause(&[Target { mean: Some(0.25), cell: Some(0.25), ..ANY }]),
            ],
            ..RUNS
        }),
        ..ENTRY
    },
    Measurement {
        name: "concurrent-go",
        title: "ConcurrentImmix against Go",
        about: "Go with GOGC=100 and the heap as its soft limit.",
        needs: "Go",
        kind: Kind::Runs(Runs {
            groups: &[(&["ConcurrentImmix", "go:both"], "go:both")],
            workloads: &["gcbench", "splay", "lru-cache"],
            heaps: CONCURRENT_HEAPS,
            iters: 3,
            ratios: &[total(&[]), longest_pause(&[])],
            values: &[longest_pause_ms(&[])],
            ..RUNS
        }),
        ..ENTRY
    },
    Measurement {
        name: "concurrent-jvm",
        title: "ConcurrentImmix against ZGC and generational Shenandoah of JDK 25",
        about: "Both have generations, which ConcurrentImmix does not. The base is ZGC.",
        needs: "JDK 25, and on two workloads only",
        kind: Kind::Runs(Runs {
            groups: &[(&["ConcurrentImmix", "java25:GenShen", "java25:Z"], "java25:Z")],
            workloads: &["gcbench", "binary-trees"],
            heaps: At::Multiples(&[3.0, 6.0]),
            iters: 4,
            ratios: &[
                total(&[]),
                longest_pause(&[Target { plan: Some("ConcurrentImmix"), cell: Some(1.0), ..ANY }, ANY]),
            ],
            values: &[longest_pause_ms(&[])],
            ..RUNS
        }),
        ..ENTRY
    },
    Measurement {
        name: "rates",
        title: "Rates of tracing and allocating",
        about: "`mmtk rates`: medians of seven rounds. One tree of 1 GB, or one wide array, by two workers and by one.",
        kind: Kind::Commands {
            calls: &[
                &["rates", "--plan", "Immix"],
                &["rates", "--plan", "MarkSweep"],
                &["rates", "--plan", "SemiSpace"],
            ],
            reps: 3,
            lines: rates,
        },
        ..ENTRY
    },
    Measurement {
        name: "references",
        title: "Weak references and ephemerons",
        about: "`mmtk references`: what each entry adds to a pause, with two workers.",
        kind: Kind::Commands {
            calls: &[
                &["references", "--plan", "Immix"],
                &["references", "--plan", "MarkSweep"],
                &["references", "--plan", "SemiSpace"],
                &["references", "--plan", "Immix", "--entries", "10000000"],
            ],
            reps: 3,
            lines: references,
        },
        ..ENTRY
    },
    Measurement {
        name: "pacer",
        title: "The pacer on real heaps",
        about: "`mmtk pacer drive --all`: rows of the pacer's table that pass, at twice the simulator's tolerances.",
        kind: Kind::Commands { calls: &[&["pacer", "drive", "--all", "--plan", "Immix"]], reps: 1, lines: pacer },
        ..ENTRY
    },
    Measurement {
        name: "smoke",
        title: "Whether all of this works here",
        about: "Two plans on a list of a thousand nodes, in a few seconds. The figures say nothing.",
        kind: Kind::Runs(Runs {
            groups: &[(&["Immix", "SemiSpace", "bdwgc:inline"], "SemiSpace")],
            workloads: &["list"],
            heaps: At::Sizes(&["4M", "8M"]),
            reps: 2,
            iters: 2,
            amounts: (1000, 4),
            ratios: &[total(&[Target { mean: Some(1000.0), ..ANY }])],
            values: &[Figure { key: "gcs", words: "collections", targets: &[] }],
        }),
        only_when_named: true,
        ..ENTRY
    },
];

/// The measurement of this name.
pub fn find(name: &str) -> Option<&'static Measurement> {
    MEASUREMENTS.iter().find(|measurement| measurement.name == name)
}

/// How many of the workloads of a measurement a quick call takes.
const QUICK_WORKLOADS: usize = 2;

/// The workloads that are run.
pub fn workloads_of(workloads: &'static [&'static str], quick: bool) -> &'static [&'static str] {
    if quick { &workloads[..workloads.len().min(QUICK_WORKLOADS)] } else { workloads }
}

impl Runs {
    /// What is to be compared. A quick call takes two workloads, and one heap: twice the minimum.
    ///
    /// # Panics
    /// If a name in the table does not exist; a test reads all of them.
    pub fn matrix(&self, quick: bool) -> Matrix {
        let parsed =
            |names: &[&str]| names.iter().map(|name| Collector::parse(name)).collect::<Result<Vec<_>, Failure>>();
        let group = |(names, base): &(&[&str], &str)| {
            parsed(names).and_then(|collectors| group::groups(collectors, Some(base))).expect("a name of the table")
        };
        let specs = workloads_of(self.workloads, quick);
        let heaps = match self.heaps {
            At::Multiples(factors) => {
                let quick = quick.then_some(2.0).filter(|twice| factors.contains(twice));
                let factors = quick.map_or(factors.to_vec(), |twice| vec![twice]);
                Heaps::Multiples { factors, known: HashMap::new() }
            }
            At::Sizes(sizes) => {
                let point = |size: &&str| HeapPoint {
                    label: (*size).to_owned(),
                    bytes: parse_bytes(size).expect("a size of the table") as u64,
                };
                Heaps::Sizes(sizes.iter().map(point).collect())
            }
        };
        let spec = |name: &&str| workloads::find(name).expect("a name of the table");
        Matrix { groups: self.groups.iter().flat_map(group).collect(), specs: specs.iter().map(spec).collect(), heaps }
    }

    /// How much is run. A quick call makes one process a cell, of two iterations.
    pub fn effort(&self, quick: bool) -> Effort {
        let (reps, iters) = if quick { (1, 2) } else { (self.reps, self.iters) };
        Effort { reps, iters, warmup: 1, timeout_s: 120 }
    }
}

/// A line of `mmtk rates`.
fn rates(value: &Value) -> Option<Vec<Line>> {
    let mut lines = Vec::new();
    for rate in value["rates"].as_array()? {
        let what = rate["what"].as_str()?.to_owned();
        let least = match &what {
            what if what.contains("bump") => 20.0,
            what if what.contains("random") => 20.0,
            _ => 60.0,
        };
        lines.push(Line {
            what,
            value: rate["median"].as_f64()?,
            unit: rate["unit"].as_str()?.to_owned(),
            bound: Some(Bound::Least(least)),
            note: format!("{:.2} of a loop by hand", rate["ratio"].as_f64()?),
        });
    }
    for workers in value["two_workers"].as_array()? {
        lines.push(Line {
            what: format!("{}, two workers to one", workers["what"].as_str()?),
            value: workers["ratio"].as_f64()?,
            unit: String::new(),
            bound: Some(Bound::Most(0.6)),
            note: format!("one: {:.0} ms", workers["one_ms"].as_f64()?),
        });
    }
    Some(lines)
}

/// A line of `mmtk references`.
fn references(value: &Value) -> Option<Vec<Line>> {
    let line = |row: &Value| {
        let (plan, what) = (row["plan"].as_str()?, row["what"].as_str()?);
        // A chain is followed entry by entry: it has no target.
        let bound = (!what.contains("chain")).then_some(Bound::Most(60.0));
        Some(Line {
            what: format!("{plan}: {} {what}", row["entries"].as_u64()?),
            value: row["added_ns_per_entry"].as_f64()?,
            unit: "ns an entry".to_owned(),
            bound,
            note: String::new(),
        })
    };
    value.as_array()?.iter().map(line).collect()
}

/// The rows that pass.
fn pacer(value: &Value) -> Option<Vec<Line>> {
    let rows = value.as_array()?;
    let passes = |row: &&Value| {
        row["checks"].as_array().is_some_and(|checks| checks.iter().all(|check| check["passes"] == true))
    };
    let failing: Vec<&str> =
        rows.iter().filter(|row| !passes(row)).filter_map(|row| row["scenario"].as_str()).collect();
    let line = Line {
        what: format!("rows that pass, of {}", rows.len()),
        value: (rows.len() - failing.len()) as f64,
        unit: String::new(),
        bound: Some(Bound::Least(rows.len() as f64)),
        note: if failing.is_empty() { String::new() } else { format!("not: {}", failing.join(", ")) },
    };
    Some(vec![line])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::metric;
    use serde_json::json;

    #[test]
    fn every_name_of_the_table_exists_and_no_measurement_is_there_twice() {
        for (i, measurement) in MEASUREMENTS.iter().enumerate() {
            let name = measurement.name;
            assert!(MEASUREMENTS[..i].iter().all(|earlier| earlier.name != name), "{name}");
            match &measurement.kind {
                Kind::Runs(runs) => {
                    for quick in [false, true] {
                        let matrix = runs.matrix(quick);
                        assert_eq!(matrix.groups.len(), runs.groups.len(), "{name}");
                        assert!(!matrix.specs.is_empty(), "{name}");
                    }
                    for figure in runs.ratios.iter().chain(runs.values) {
                        assert!(metric::named(figure.key).is_some(), "{name}: {}", figure.key);
                        for target in figure.targets {
                            let is_there = |plan: &str| runs.groups.iter().any(|(plans, _)| plans.contains(&plan));
                            assert!(target.plan.is_none_or(is_there), "{name}: {target:?}");
                        }
                    }
                }
                Kind::Minima { pairs, workloads, most } => {
                    for (plan, base) in *pairs {
                        assert!(Collector::parse(plan).and(Collector::parse(base)).is_ok(), "{name}: {plan}, {base}");
                        assert!(most.iter().any(|(of, _)| of == plan), "{name}: {plan}");
                    }
                    assert!(workloads.iter().all(|name| workloads::find(name).is_some()), "{name}");
                }
                Kind::Commands { calls, .. } => assert!(!calls.is_empty(), "{name}"),
            }
        }
    }

    #[test]
    fn a_quick_call_runs_less_of_everything() {
        let Kind::Runs(runs) = &find("crate-full").unwrap().kind else { panic!() };
        let (full, quick) = (runs.matrix(false), runs.matrix(true));
        assert_eq!((full.specs.len(), quick.specs.len()), (5, 2));
        let factors = |matrix: &Matrix| match &matrix.heaps {
            Heaps::Multiples { factors, .. } => factors.clone(),
            Heaps::Sizes(_) => panic!(),
        };
        assert_eq!((factors(&full), factors(&quick)), (vec![1.5, 2.0, 3.0, 6.0], vec![2.0]));
        assert_eq!((runs.effort(false).reps, runs.effort(true).reps), (2, 1));
    }

    #[test]
    fn what_other_commands_print_becomes_lines_with_their_targets() {
        let printed = json!({
            "rates": [{"what": "Immix: mark in random order", "median": 39.0, "ratio": 0.91, "unit": "Mobj/s"}],
            "two_workers": [{"what": "Immix: a tree", "one_ms": 520.4, "two_ms": 300.0, "ratio": 0.577}],
            "second_worker": [],
        });
        let lines = rates(&printed).unwrap();
        assert_eq!((lines[0].value, lines[0].bound), (39.0, Some(Bound::Least(20.0))));
        assert_eq!(lines[0].note, "0.91 of a loop by hand");
        assert_eq!((lines[1].value, lines[1].bound), (0.577, Some(Bound::Most(0.6))));
        let row = |passes: bool| json!({"scenario": "steady", "checks": [{"passes": true}, {"passes": passes}]});
        let lines = pacer(&json!([row(true), row(false)])).unwrap();
        assert_eq!((lines[0].value, lines[0].bound), (1.0, Some(Bound::Least(2.0))));
        assert_eq!(rates(&json!({"rates": 1})), None);
    }
}
