//! From results to rows: ratios, their spread, the worst cell, and whether the target is met.
//!
//! A row compares one collector with its base in heaps of one size: the geometric mean over the workloads.
//! The mean is also taken over the first processes of all cells, which ran close in time, over the second
//! processes, and so on; the spread is the least and the greatest of these means. If only our run failed in a
//! cell, every target of its row is missed. A cell in which their run failed, or that was not run, is counted
//! and named.

use super::catalogue::{Bound, Figure, Kind, Line, MEASUREMENTS, Measurement, Runs, Target, workloads_of};
use super::results::{Entry, Session};
use crate::child::Outcome;
use crate::compare::cell::{Cell, HeapPoint, Status};
use crate::compare::checksum::Checksums;
use crate::compare::metric::{self, Metric};
use crate::compare::{Comparison, Found, geomeans};
use crate::interleave::{Heaps, Matrix};
use crate::stats::median;

/// A section of the chapter.
#[derive(Clone, Debug)]
pub struct Section {
    /// What was measured.
    pub measurement: &'static Measurement,
    /// Its rows.
    pub rows: Vec<Row>,
    /// What is not in the rows, with the reason.
    pub missing: Vec<String>,
    /// Processors that other programs used while it was measured: the most of all calls.
    pub others: Option<f64>,
}

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The collector, and what it is compared with; or what was measured.
    pub what: String,
    /// The figure, in words.
    pub figure: &'static str,
    /// The heap or the workload.
    pub place: String,
    /// The figure.
    pub value: Option<f64>,
    /// Its least and greatest value.
    pub spread: Option<(f64, f64)>,
    /// The greatest ratio of a cell, and where.
    pub worst: Option<(f64, String)>,
    /// Cells compared, of those asked for.
    pub cells: (usize, usize),
    /// The target, in words.
    pub target: String,
    /// Whether it is met.
    pub verdict: Verdict,
    /// Whether the figure is a ratio.
    pub is_ratio: bool,
    /// What else is worth saying.
    pub note: String,
}

/// Whether a target is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is none.
    NoTarget,
    /// It is.
    Met,
    /// It is not.
    Missed,
    /// Nobody knows.
    NotMeasured,
}

/// A section for each measurement, in the order of the table; those that are made only when named are left
/// out where there is nothing of them.
pub fn sections(entries: &[Entry]) -> Vec<Section> {
    let quick = sessions(entries).any(|session| session.quick);
    MEASUREMENTS.iter().filter_map(|measurement| section(measurement, entries, quick)).collect()
}

/// The calls that made the results.
pub fn sessions(entries: &[Entry]) -> impl Iterator<Item = &Session> {
    entries.iter().filter_map(|entry| match entry {
        Entry::Session(session) => Some(session),
        _ => None,
    })
}

fn section(measurement: &'static Measurement, entries: &[Entry], quick: bool) -> Option<Section> {
    let name = measurement.name;
    let begun = entries.iter().any(|entry| match entry {
        Entry::Run { measurement, .. } | Entry::Refusal { measurement, .. } | Entry::Printed { measurement, .. } => {
            measurement == name
        }
        _ => false,
    });
    if measurement.only_when_named && !begun {
        return None;
    }
    let (rows, mut missing) = match &measurement.kind {
        Kind::Runs(runs) if begun => of_runs(&comparison(runs, name, entries, quick), runs),
        Kind::Runs(_) => not_measured(),
        Kind::Minima { pairs, workloads, most } => {
            of_minima(name, pairs, workloads_of(workloads, quick), most, entries)
        }
        Kind::Commands { calls, lines, .. } if begun => of_commands(name, calls, *lines, entries),
        Kind::Commands { .. } => not_measured(),
    };
    missing.extend(last_failures(name, entries));
    missing.extend(checksums(name, entries).iter().map(|differ| format!("**Checksums differ** on {differ}")));
    missing.dedup();
    let others = entries.iter().filter_map(|entry| match entry {
        Entry::Others { measurement, processors } if measurement == name => Some(*processors),
        _ => None,
    });
    let others = others.reduce(f64::max);
    Some(Section { measurement, rows, missing, others })
}

fn not_measured() -> (Vec<Row>, Vec<String>) {
    (Vec::new(), vec!["Not measured.".to_owned()])
}

/// Workloads on which collectors computed different things, with what they computed.
fn checksums(name: &str, entries: &[Entry]) -> Vec<String> {
    let mut checksums = Checksums::default();
    for entry in entries {
        if let Entry::Run { measurement, workload, collector, outcome: Outcome::Ran(records), .. } = entry
            && let (true, Some(spec)) = (measurement == name, workloads::find(workload))
        {
            records.iter().for_each(|record| checksums.add(spec.name, collector, &record.checksum));
        }
    }
    checksums.mismatches()
}

/// Why the measurement could not be made, the last time that it was tried.
fn last_failures(name: &str, entries: &[Entry]) -> Vec<String> {
    let mut failures = Vec::new();
    let mut of_this_call = true;
    for entry in entries {
        match entry {
            Entry::Session(_) => of_this_call = false,
            Entry::Run { measurement, .. } | Entry::Printed { measurement, .. } if measurement == name => {
                if !of_this_call {
                    failures.clear();
                }
                of_this_call = true;
            }
            Entry::Failure { measurement, why } if measurement == name => {
                if !of_this_call {
                    failures.clear();
                }
                of_this_call = true;
                failures.push(format!("**Failed**: {why}"));
            }
            _ => {}
        }
    }
    failures
}

/// The cells that were asked for, with what is known of them.
fn comparison(runs: &Runs, name: &str, entries: &[Entry], quick: bool) -> Comparison {
    let Matrix { groups, specs, heaps } = runs.matrix(quick);
    let labels: Vec<String> = match heaps {
        Heaps::Sizes(sizes) => sizes.into_iter().map(|point| point.label).collect(),
        Heaps::Multiples { factors, .. } => factors.iter().map(|factor| format!("{factor}x")).collect(),
    };
    let warmup = runs.effort(quick).warmup;
    let timeout_s = runs.effort(quick).timeout_s;
    let mut cells = Vec::new();
    for (g, group) in groups.iter().enumerate() {
        for spec in &specs {
            for label in &labels {
                for collector in &group.collectors {
                    let mut bytes_of = 0;
                    let mut status = Status::NotAvailable("not measured".to_owned());
                    for entry in entries {
                        match entry {
                            Entry::Run { measurement, workload, heap, bytes, collector: of, outcome, .. }
                                if (measurement.as_str(), workload.as_str(), heap, of)
                                    == (name, spec.name, label, &collector.name) =>
                            {
                                bytes_of = *bytes;
                                status = match (status, Status::of(outcome.clone(), warmup, timeout_s)) {
                                    (Status::Ran(mut records), Status::Ran(more)) => {
                                        records.extend(more);
                                        Status::Ran(records)
                                    }
                                    (_, last) => last,
                                };
                            }
                            Entry::Refusal { measurement, workload, collector: of, why }
                                if (measurement.as_str(), workload.as_str(), of)
                                    == (name, spec.name, &collector.name) =>
                            {
                                status = Status::NotAvailable(why.clone());
                            }
                            _ => {}
                        }
                    }
                    let heap = HeapPoint { label: label.clone(), bytes: bytes_of };
                    cells.push(Cell { group: g, workload: spec.name, heap, plan: collector.name.clone(), status });
                }
            }
        }
    }
    // All cells of a table have one heap, also those that were not run.
    for table in cells.chunk_by_mut(|a, b| (a.group, a.workload, &a.heap.label) == (b.group, b.workload, &b.heap.label))
    {
        let bytes = table.iter().map(|cell| cell.heap.bytes).max().unwrap_or(0);
        table.iter_mut().for_each(|cell| cell.heap.bytes = bytes);
    }
    let none = String::new;
    Comparison { command: none(), machine: none(), groups, minima: Vec::new(), cells, mismatches: Vec::new() }
}

fn of_runs(comparison: &Comparison, runs: &Runs) -> (Vec<Row>, Vec<String>) {
    let processes: Vec<Comparison> = (0..).map_while(|number| comparison.process(number)).collect();
    let mut rows = Vec::new();
    for figure in runs.ratios {
        rows.extend(ratios(comparison, &processes, figure));
    }
    for figure in runs.values {
        rows.extend(values(comparison, &processes, figure));
    }
    (rows, missing(comparison))
}

fn metric_of(figure: &Figure) -> &'static Metric {
    metric::named(figure.key).expect("a key of the table")
}

fn ratios(comparison: &Comparison, processes: &[Comparison], figure: &Figure) -> Vec<Row> {
    let metric = metric_of(figure);
    let labels = geomeans::labels(comparison);
    let of_processes: Vec<Vec<geomeans::Row>> = processes.iter().map(|one| geomeans::rows(one, metric)).collect();
    let mut rows = Vec::new();
    for (r, row) in geomeans::rows(comparison, metric).into_iter().enumerate() {
        for (l, label) in labels.iter().enumerate() {
            let mean = &row.means[l];
            let target = target_of(figure, &row.plan, label);
            let means = of_processes.iter().filter_map(|rows| rows[r].means[l].mean);
            let lost = comparison.tables().filter(|table| table[0].heap.label == *label).any(|table| {
                let ran = |cell: &Cell| matches!(cell.status, Status::Ran(_));
                let failed =
                    |cell: &Cell| !ran(cell) && !matches!(cell.status, Status::NotAvailable(_) | Status::NotInstalled);
                table.iter().any(|cell| cell.plan == row.plan && failed(cell))
                    && comparison.base(table).is_some_and(ran)
            });
            let worst = mean.worst.as_ref().map(|(ratio, _)| *ratio);
            rows.push(Row {
                what: pair(&row.plan, &row.base),
                figure: figure.words,
                place: label.clone(),
                value: mean.mean,
                spread: spread(means),
                worst: mean.worst.clone().map(|(ratio, place)| (ratio, without(&place, label))),
                cells: (mean.compared, mean.of),
                target: target.map_or(String::new(), words),
                verdict: verdict(target, mean.mean, worst, lost),
                is_ratio: true,
                note: String::new(),
            });
        }
    }
    rows
}

/// `Immix / bdwgc`. Of two settings of one collector the second stands alone: `Immix@gc.workers=2 /
/// gc.workers=1`.
fn pair(plan: &str, base: &str) -> String {
    let settings = |name: &str| name.split_once('@').map(|(of, settings)| (of.to_owned(), settings.to_owned()));
    match (settings(plan), settings(base)) {
        (Some((plan_of, _)), Some((base_of, settings))) if plan_of == base_of => format!("{plan} / {settings}"),
        _ => format!("{plan} / {base}"),
    }
}

/// `splay 2x` without the heap, which has a column.
fn without(place: &str, label: &str) -> String {
    place.strip_suffix(label).unwrap_or(place).trim_end().to_owned()
}

fn values(comparison: &Comparison, processes: &[Comparison], figure: &Figure) -> Vec<Row> {
    let metric = metric_of(figure);
    let mut rows = Vec::new();
    for (c, cell) in comparison.cells.iter().enumerate() {
        let of_processes = processes.iter().filter_map(|one| one.cells[c].value(metric));
        let target = target_of(figure, &cell.plan, &cell.heap.label);
        let value = cell.value(metric).map(|value| value / metric.scale);
        let failed = !matches!(cell.status, Status::Ran(_) | Status::NotAvailable(_) | Status::NotInstalled);
        rows.push(Row {
            what: cell.plan.clone(),
            figure: figure.words,
            place: format!("{} {}", cell.workload, cell.heap.label),
            value,
            spread: spread(of_processes.map(|value| value / metric.scale)),
            worst: None,
            cells: (usize::from(value.is_some()), 1),
            target: target.and_then(|target| target.cell).map_or(String::new(), |most| format!("{most}")),
            verdict: verdict(target, value, value, failed),
            is_ratio: false,
            note: String::new(),
        });
    }
    // What a collector never has, such as a goal, is no row.
    let has = |row: &Row| rows.iter().any(|other: &Row| other.what == row.what && other.value.is_some());
    let all_missing: Vec<bool> = rows.iter().map(|row| !has(row) && row.verdict == Verdict::NoTarget).collect();
    let mut keep = all_missing.iter().map(|missing| !missing);
    rows.retain(|_| keep.next().unwrap_or(true));
    rows
}

fn target_of<'a>(figure: &'a Figure, plan: &str, heap: &str) -> Option<&'a Target> {
    let target = figure
        .targets
        .iter()
        .find(|target| target.plan.is_none_or(|of| of == plan) && target.heap.is_none_or(|of| of == heap))?;
    (target.mean.is_some() || target.cell.is_some()).then_some(target)
}

fn words(target: &Target) -> String {
    match (target.mean, target.cell) {
        (Some(mean), Some(cell)) => format!("{mean:.2}, each {cell:.2}"),
        (Some(mean), None) => format!("{mean:.2}"),
        (None, Some(cell)) => format!("each {cell:.2}"),
        (None, None) => String::new(),
    }
}

/// What is shown is what is judged: two decimals.
fn within(value: f64, most: f64) -> bool {
    (value * 100.0).round() <= (most * 100.0).round()
}

fn verdict(target: Option<&Target>, mean: Option<f64>, worst: Option<f64>, lost: bool) -> Verdict {
    let Some(target) = target else { return Verdict::NoTarget };
    if lost {
        return Verdict::Missed;
    }
    let Some(mean) = mean else { return Verdict::NotMeasured };
    let mean_is = target.mean.is_none_or(|most| within(mean, most));
    let cells_are = target.cell.is_none_or(|most| worst.is_none_or(|worst| within(worst, most)));
    if mean_is && cells_are { Verdict::Met } else { Verdict::Missed }
}

/// Least and greatest of several; of one alone there is no spread.
fn spread(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let values: Vec<f64> = values.collect();
    let (least, most) = (values.iter().copied().reduce(f64::min)?, values.iter().copied().reduce(f64::max)?);
    (values.len() > 1).then_some((least, most))
}

/// Cells without numbers, by collector and reason.
fn missing(comparison: &Comparison) -> Vec<String> {
    let all = |plan: &str| comparison.cells.iter().filter(|cell| cell.plan == plan).count();
    let missing = comparison.cells.iter().filter_map(|cell| {
        let place = format!("{} {}", cell.workload, cell.heap.label);
        Some((cell.plan.clone(), cell.status.text()?, place))
    });
    by_reason(missing, all)
}

/// A line for each collector and reason: "`Immix`, out of memory: splay 2x, splay 3x." `all` says how many
/// places a collector has.
fn by_reason(missing: impl Iterator<Item = (String, String, String)>, all: impl Fn(&str) -> usize) -> Vec<String> {
    let mut reasons: Vec<(String, String, Vec<String>)> = Vec::new();
    for (plan, why, place) in missing {
        match reasons.iter_mut().find(|(of, known, _)| (of, known) == (&plan, &why)) {
            Some((.., places)) if places.contains(&place) => {}
            Some((.., places)) => places.push(place),
            None => reasons.push((plan, why, vec![place])),
        }
    }
    let words = |(plan, why, places): (String, String, Vec<String>)| {
        let places = if places.len() == all(&plan) { "all cells".to_owned() } else { places.join(", ") };
        format!("`{plan}`, {why}: {places}.")
    };
    reasons.into_iter().map(words).collect()
}

fn of_minima(
    name: &str,
    pairs: &[(&'static str, &'static str)],
    workloads: &[&'static str],
    most: &[(&'static str, f64)],
    entries: &[Entry],
) -> (Vec<Row>, Vec<String>) {
    let found = |of: &str, on: &str| {
        entries.iter().rev().find_map(|entry| match entry {
            Entry::Minimum { workload, collector, found } if (workload.as_str(), collector.as_str()) == (on, of) => {
                Some(*found)
            }
            _ => None,
        })
    };
    let refusal = |of: &str| {
        entries.iter().find_map(|entry| match entry {
            Entry::Refusal { measurement, collector, why, .. }
                if (measurement.as_str(), collector.as_str()) == (name, of) =>
            {
                Some(why)
            }
            _ => None,
        })
    };
    let mut missing = Vec::new();
    let mut rows = Vec::new();
    for (plan, base) in pairs {
        for workload in workloads {
            let mut bytes = |of: &str| {
                let why = match found(of, workload) {
                    Some(Found::Bytes(bytes)) => return Some(bytes),
                    Some(Found::Nothing) => "no heap is large enough, or it does not run".to_owned(),
                    Some(Found::NotBelow(_)) | None => refusal(of).cloned().unwrap_or("not measured".to_owned()),
                };
                missing.push((of.to_owned(), why, (*workload).to_owned()));
                None
            };
            let (ours, theirs) = (bytes(plan), bytes(base));
            let ratio = ours.zip(theirs).map(|(ours, theirs)| ours as f64 / theirs as f64);
            let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / (1 << 20) as f64);
            let target = most.iter().find(|(of, _)| of == plan).map(|(_, most)| *most);
            let bound = target.map(|most| Target { plan: None, heap: None, mean: Some(most), cell: None });
            rows.push(Row {
                what: format!("{plan} / {base}"),
                figure: "minimum heap",
                place: (*workload).to_owned(),
                value: ratio,
                spread: None,
                worst: None,
                cells: (usize::from(ratio.is_some()), 1),
                target: target.map_or(String::new(), |most| format!("{most:.2}")),
                verdict: verdict(bound.as_ref(), ratio, None, false),
                is_ratio: true,
                note: ours.map_or(String::new(), |ours| {
                    theirs.map_or(megabytes(ours), |theirs| format!("{} / {}", megabytes(ours), megabytes(theirs)))
                }),
            });
        }
    }
    if rows.iter().all(|row| row.value.is_none())
        && !entries.iter().any(|entry| matches!(entry, Entry::Refusal { measurement, .. } if measurement == name))
    {
        return not_measured();
    }
    (rows, by_reason(missing.into_iter(), |_| workloads.len()))
}

fn of_commands(
    name: &str,
    calls: &[&[&str]],
    read: fn(&serde_json::Value) -> Option<Vec<Line>>,
    entries: &[Entry],
) -> (Vec<Row>, Vec<String>) {
    let (mut rows, mut missing) = (Vec::new(), Vec::new());
    for (number, arguments) in calls.iter().enumerate() {
        let mut printed: Vec<Vec<Line>> = Vec::new();
        let mut unreadable = false;
        for entry in entries {
            match entry {
                Entry::Printed { measurement, call, value, .. } if (measurement.as_str(), *call) == (name, number) => {
                    match read(value) {
                        Some(lines) => printed.push(lines),
                        None => unreadable = true,
                    }
                }
                _ => {}
            }
        }
        if unreadable {
            missing.push(format!("`mmtk {}`: printed something that is not understood.", arguments.join(" ")));
        }
        let Some(first) = printed.first() else {
            missing.push(format!("`mmtk {}`: not measured.", arguments.join(" ")));
            continue;
        };
        for line in first {
            let same = || printed.iter().flatten().filter(|other| other.what == line.what).map(|other| other.value);
            let value = median(same());
            let met = |value: f64| match line.bound {
                None => Verdict::NoTarget,
                Some(Bound::Most(most)) if value <= most => Verdict::Met,
                Some(Bound::Least(least)) if value >= least => Verdict::Met,
                Some(_) => Verdict::Missed,
            };
            rows.push(Row {
                what: line.what.clone(),
                figure: "",
                place: line.unit.clone(),
                value,
                spread: spread(same()),
                worst: None,
                cells: (1, 1),
                target: match line.bound {
                    None => String::new(),
                    Some(Bound::Most(most)) => format!("at most {most}"),
                    Some(Bound::Least(least)) => format!("at least {least}"),
                },
                verdict: value.map_or(Verdict::NotMeasured, met),
                is_ratio: false,
                note: line.note.clone(),
            });
        }
    }
    (rows, missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target = Target { plan: None, heap: None, mean: Some(0.65), cell: Some(0.90) };

    #[test]
    fn a_target_holds_for_the_mean_and_for_each_cell_as_they_are_shown() {
        let judged = |mean, worst| verdict(Some(&TARGET), Some(mean), Some(worst), false);
        assert_eq!(judged(0.654, 0.904), Verdict::Met);
        assert_eq!(judged(0.656, 0.5), Verdict::Missed);
        assert_eq!(judged(0.5, 0.906), Verdict::Missed);
        assert_eq!(verdict(Some(&TARGET), None, None, false), Verdict::NotMeasured);
        assert_eq!(verdict(None, Some(3.0), None, false), Verdict::NoTarget);
    }

    #[test]
    fn a_run_of_ours_that_fails_misses_the_target_whatever_the_others_do() {
        assert_eq!(verdict(Some(&TARGET), Some(0.1), Some(0.1), true), Verdict::Missed);
    }

    #[test]
    fn collectors_that_compute_different_things_are_named() {
        let run = |collector: &str, checksum: &str| {
            let record = crate::compare::tests::record(collector, 1.0, checksum);
            Entry::Run {
                measurement: "smoke".to_owned(),
                workload: "list".to_owned(),
                heap: "4M".to_owned(),
                bytes: 4 << 20,
                collector: collector.to_owned(),
                rep: 0,
                outcome: Outcome::Ran(vec![record]),
            }
        };
        let section = |entries: &[Entry]| {
            sections(entries).into_iter().find(|section| section.measurement.name == "smoke").unwrap()
        };
        let differ = section(&[run("Immix", "01"), run("SemiSpace", "02")]);
        assert!(differ.missing.contains(&"**Checksums differ** on list: 01 by Immix; 02 by SemiSpace".to_owned()));
        let same = section(&[run("Immix", "01"), run("SemiSpace", "01")]);
        assert!(!same.missing.iter().any(|line| line.contains("Checksums")), "{:?}", same.missing);
    }

    #[test]
    fn one_process_has_no_spread() {
        assert_eq!(spread([0.5].into_iter()), None);
        assert_eq!(spread([0.5, 0.4, 0.6].into_iter()), Some((0.4, 0.6)));
    }

    #[test]
    fn the_target_of_a_heap_comes_before_the_one_of_all_heaps() {
        const AT_6X: Target = Target { heap: Some("6x"), mean: Some(0.8), ..TARGET };
        let figure = Figure { key: "cpu_ms", words: "", targets: &[AT_6X, TARGET] };
        assert_eq!(target_of(&figure, "Immix", "6x").and_then(|target| target.mean), Some(0.8));
        assert_eq!(target_of(&figure, "Immix", "2x").and_then(|target| target.mean), Some(0.65));
    }
}
