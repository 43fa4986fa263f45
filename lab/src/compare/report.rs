//! Reports of a comparison: Markdown to read, CSV for a spreadsheet, JSON with everything.

use serde_json::{Map, Value, json};

use super::cell::{Cell, Status};
use super::geomeans::{self, Mean};
use super::metric::{CPU, GC_CPU, METRICS, MUT_CPU, Metric, RATIOS};
use super::{Comparison, Found};
use crate::cli::Format;
use crate::record::round;
use crate::table::{Table, number};

const SUMMARIES: [(&str, &str, Metric); 3] = [
    ("Total CPU", "cpu_ratio", CPU),
    ("CPU spent collecting", "gc_cpu_ratio", GC_CPU),
    ("Mutator CPU", "mut_cpu_ratio", MUT_CPU),
];

/// The report in a format.
pub fn render(comparison: &Comparison, format: Format) -> String {
    match format {
        Format::Markdown => markdown(comparison),
        Format::Csv => csv(comparison),
        Format::Json => format!("{:#}\n", json(comparison)),
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / (1 << 20) as f64)
}

fn markdown(comparison: &Comparison) -> String {
    let mut text = format!("<!-- {} -->\n{}.\n", comparison.command, comparison.machine);
    text += "Medians over iterations; `worst` is the longest pause of all. Ratios are of medians.\n";
    text += "`held` is how long a mutator was held up at once, by pauses or by what it had to do for the collector.\n";
    for mismatch in &comparison.mismatches {
        text += &format!("\n**Checksums differ** on {mismatch}\n");
    }
    if !comparison.minima.is_empty() {
        text += &format!("\n## Minimum heaps\n\n{}", minima(comparison).markdown());
    }
    if comparison.groups.iter().any(|group| group.collectors.len() > 1) {
        text += "\n## Geometric means of ratios to the base\n\n";
        text += "In brackets: cells compared of those asked for, and the largest ratio.\n";
        for (title, _, metric) in &SUMMARIES {
            text += &format!("\n{title}:\n\n{}", means(comparison, metric).markdown());
        }
    }
    text += "\n## Cells\n";
    for cells in comparison.tables() {
        let (workload, heap) = (cells[0].workload, &cells[0].heap);
        let heap = format!("{} ({})", heap.label, megabytes(heap.bytes));
        let table = cell_table(cells, comparison.base(cells));
        text += &format!("\n### {workload}, heap {heap}\n\n{}", table.markdown());
        let failed = cells.iter().filter(|cell| matches!(cell.status, Status::Failed(_)));
        for cell in failed {
            text += &format!("\n{}: {}\n", cell.plan, cell.status.text().unwrap_or_default());
        }
    }
    text
}

fn minima(comparison: &Comparison) -> Table {
    let mut table = Table::new(["workload", "plan", "minimum heap"]);
    for minimum in &comparison.minima {
        let found = match minimum.found {
            Found::Bytes(bytes) => megabytes(bytes),
            Found::NotBelow(bytes) => format!("over {}", megabytes(bytes)),
            Found::Nothing => "none".to_owned(),
        };
        table.row([minimum.workload, &minimum.plan, &found]);
    }
    table
}

fn means(comparison: &Comparison, metric: &Metric) -> Table {
    let labels = geomeans::labels(comparison).into_iter().chain(["all".to_owned()]);
    let mut table = Table::new(["plan".to_owned(), "base".to_owned()].into_iter().chain(labels));
    let text = |mean: &Mean| {
        let Mean { compared, of, .. } = mean;
        match (&mean.mean, &mean.worst) {
            (Some(value), Some((worst, _))) => format!("{value:.2} ({compared}/{of}, {worst:.2})"),
            _ => format!("- ({compared}/{of})"),
        }
    };
    for row in geomeans::rows(comparison, metric) {
        table.row([row.plan, row.base].into_iter().chain(row.means.iter().map(text)));
    }
    table
}

/// A row a collector. One that has no numbers shows why in the first column of numbers.
fn cell_table(cells: &[Cell], base: Option<&Cell>) -> Table {
    let columns: Vec<&Metric> = METRICS.iter().filter(|metric| metric.heading.is_some()).collect();
    let headings = columns.iter().filter_map(|metric| metric.heading);
    let ratios = RATIOS.iter().map(|(_, heading, _)| *heading);
    let mut table = Table::new(["plan"].into_iter().chain(headings).chain(ratios));
    for cell in cells {
        if let Some(why) = cell.status.text() {
            // Why a run failed is long: it stands below the table.
            let failed = matches!(cell.status, Status::Failed(_));
            table.row([cell.plan.clone(), if failed { "failed".to_owned() } else { why }]);
            continue;
        }
        let shown = |value: Option<f64>| value.map_or("-".to_owned(), number);
        let numbers = columns.iter().map(|metric| match cell.value(metric) {
            Some(count) if metric.key == "gcs" => format!("{count:.0}"),
            value => shown(value.map(|value| value / metric.scale)),
        });
        let ratios = RATIOS.iter().map(|(.., metric)| {
            let ratio = base.and_then(|base| cell.ratio(base, metric));
            ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
        });
        table.row([cell.plan.clone()].into_iter().chain(numbers).chain(ratios));
    }
    table
}

/// A field of CSV; quoted only where it must be.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

fn csv(comparison: &Comparison) -> String {
    let fixed = ["workload", "heap", "heap_bytes", "plan", "base", "status", "detail", "iterations"];
    let header: Vec<&str> = fixed
        .into_iter()
        .chain(METRICS.iter().map(|metric| metric.key))
        .chain(RATIOS.iter().map(|(key, ..)| *key))
        .collect();
    let mut text = header.join(",") + "\n";
    for cells in comparison.tables() {
        let base = comparison.base(cells);
        for cell in cells {
            let shown = |value: Option<f64>| value.map_or(String::new(), |v| round(v).to_string());
            let numbers = METRICS.iter().map(|metric| shown(cell.value(metric)));
            let ratios = RATIOS.iter().map(|(.., metric)| shown(base.and_then(|b| cell.ratio(b, metric))));
            let fixed = [
                cell.workload.to_owned(),
                cell.heap.label.clone(),
                cell.heap.bytes.to_string(),
                field(&cell.plan),
                field(base.map_or("", |base| &base.plan)),
                cell.status.word().to_owned(),
                field(&cell.status.text().unwrap_or_default()),
                cell.status.records().len().to_string(),
            ];
            let row: Vec<String> = fixed.into_iter().chain(numbers).chain(ratios).collect();
            text += &(row.join(",") + "\n");
        }
    }
    text
}

fn json(comparison: &Comparison) -> Value {
    let cells = comparison.tables().flat_map(|cells| {
        let base = comparison.base(cells);
        cells.iter().map(move |cell| cell_json(cell, base))
    });
    let minima = comparison.minima.iter().map(|minimum| {
        let (bytes, bound) = match minimum.found {
            Found::Bytes(bytes) => (Some(bytes), "found"),
            Found::NotBelow(bytes) => (Some(bytes), "not-below"),
            Found::Nothing => (None, "nothing"),
        };
        json!({"workload": minimum.workload, "plan": minimum.plan, "bytes": bytes, "bound": bound})
    });
    let labels: Vec<String> = geomeans::labels(comparison).into_iter().chain(["all".to_owned()]).collect();
    let mut summary = Map::new();
    for (_, key, metric) in &SUMMARIES {
        let rows = geomeans::rows(comparison, metric);
        summary.insert((*key).to_owned(), rows.iter().map(|row| row_json(row, &labels)).collect());
    }
    json!({
        "command": comparison.command,
        "machine": comparison.machine,
        "mismatches": comparison.mismatches,
        "minimum_heaps": minima.collect::<Value>(),
        "geometric_means": summary,
        "cells": cells.collect::<Value>(),
    })
}

fn row_json(row: &geomeans::Row, labels: &[String]) -> Value {
    let means = row.means.iter().zip(labels).map(|(mean, label)| {
        let (ratio, place) = mean.worst.clone().unzip();
        json!({
            "heap": label, "geomean": mean.mean, "worst": ratio, "worst_at": place,
            "compared": mean.compared, "of": mean.of,
        })
    });
    json!({"plan": row.plan, "base": row.base, "means": means.collect::<Value>()})
}

fn cell_json(cell: &Cell, base: Option<&Cell>) -> Value {
    let number = |value: Option<f64>| value.map_or(Value::Null, |value| json!(round(value)));
    let mut value = json!({
        "workload": cell.workload, "heap": cell.heap.label, "heap_bytes": cell.heap.bytes, "plan": cell.plan,
        "base": base.map(|base| &base.plan), "status": cell.status.word(), "detail": cell.status.text(),
        "iterations": cell.status.records().len(),
    });
    for metric in METRICS {
        value[metric.key] = number(cell.value(metric));
    }
    for (key, _, metric) in RATIOS {
        value[key] = number(base.and_then(|base| cell.ratio(base, metric)));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::super::tests::comparison;
    use super::*;

    #[test]
    fn out_of_memory_is_shown_in_its_cell() {
        let text = markdown(&comparison());
        let line = text.lines().find(|line| line.starts_with("| malloc:bump ") && line.contains("out of memory"));
        assert!(line.is_some(), "{text}");
        assert!(text.contains("### gcbench, heap 1.5x (128.0 MB)"), "{text}");
        assert!(text.contains("- (0/1)") && text.contains("(1/2, 0.50)"), "{text}");
    }

    #[test]
    fn markdown_rows_have_as_many_cells_as_their_header() {
        let bars = |line: &str| line.matches('|').count();
        let text = markdown(&comparison());
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair.iter().all(|line| line.starts_with('|'))) {
            assert_eq!(bars(pair[0]), bars(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn csv_has_a_row_for_each_cell() {
        let text = csv(&comparison());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 7);
        let commas = |line: &str| line.matches(',').count();
        assert!(lines.iter().all(|line| commas(line) == commas(lines[0])), "{text}");
        assert!(lines[3].starts_with("gcbench,1.5x,134217728,malloc:bump,SemiSpace,oom,out of memory,0,,"));
    }

    #[test]
    fn json_keeps_what_has_no_numbers() {
        let value = json(&comparison());
        assert_eq!(value["cells"].as_array().unwrap().len(), 6);
        assert_eq!(value["cells"][2]["status"], "oom");
        assert_eq!(value["cells"][2]["cpu_ms"], Value::Null);
        assert_eq!(value["cells"][1]["cpu_ratio"], 0.5);
        assert_eq!(value["geometric_means"]["cpu_ratio"][0]["means"][2]["worst_at"], "gcbench 3x");
    }

    #[test]
    fn a_mismatch_leads_the_report() {
        let mut comparison = comparison();
        comparison.mismatches = vec!["gcbench: 01 by Immix; 02 by SemiSpace".to_owned()];
        assert!(markdown(&comparison).contains("**Checksums differ** on gcbench: 01 by Immix"));
    }
}
