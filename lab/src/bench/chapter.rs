//! The chapter: a section for each measurement, with a table, a chart and what is missing.
//!
//! The made part stands between two marks. Text that people write around it stays when the chapter is made
//! again.

use std::collections::BTreeSet;

use super::catalogue::Kind;
use super::chart;
use super::figures::{self, Row, Section, Verdict};
use super::results::Entry;
use crate::table::{Table, number};

/// Before what is made.
pub const BEGIN: &str = "<!-- made by `mmtk bench`: begin -->";
/// Behind what is made.
pub const END: &str = "<!-- made by `mmtk bench`: end -->";

/// A page and its pictures.
#[derive(Clone, Debug)]
pub struct Chapter {
    /// Markdown.
    pub text: String,
    /// Names of files with their content.
    pub charts: Vec<(String, String)>,
}

/// Draws all results. Charts are linked in `folder`, if there is one.
pub fn draw(entries: &[Entry], folder: Option<&str>) -> Chapter {
    let mut text = head(entries);
    let mut charts = Vec::new();
    for section in figures::sections(entries) {
        let measurement = section.measurement;
        text += &format!("\n### {}\n\n", measurement.title);
        let about = [measurement.about.to_owned(), needs(measurement.needs)];
        let about: Vec<String> = about.into_iter().filter(|part| !part.is_empty()).collect();
        text += &format!("{} `mmtk bench --only {}`\n", about.join(" "), measurement.name);
        if let (Some(folder), Some(svg)) = (folder, picture(&section)) {
            let file = format!("{}.svg", measurement.name);
            text += &format!("\n![{}]({folder}/{file})\n", measurement.title);
            charts.push((file, svg));
        }
        if !section.rows.is_empty() {
            text += &format!("\n{}", table(&section));
        }
        if let Some(processors) = section.others.filter(|processors| *processors > QUIET) {
            text += &format!("\nWhile it was measured, other programs used {processors:.1} processors.\n");
        }
        for line in &section.missing {
            text += &format!("\n- {line}");
        }
        if !section.missing.is_empty() {
            text += "\n";
        }
    }
    Chapter { text, charts }
}

fn needs(needs: &str) -> String {
    if needs.is_empty() { String::new() } else { format!("Needs {needs}.") }
}

/// When, where, by which commands.
fn head(entries: &[Entry]) -> String {
    let sessions: Vec<_> = figures::sessions(entries).collect();
    let Some(first) = sessions.first() else { return "Nothing is measured yet.\n".to_owned() };
    let dates: BTreeSet<&str> = sessions.iter().map(|session| session.date.as_str()).collect();
    let dates: Vec<&str> = dates.into_iter().collect();
    let machine = &first.machine;
    let mut text = format!(
        "Measured on {} by mmtk {} on {} processors ({}), memory {}, Linux {}.\n",
        dates.join(", "),
        first.version,
        machine.processors,
        machine.processor,
        machine.memory,
        machine.kernel
    );
    let load = sessions.iter().map(|session| session.load).fold(0.0, f64::max);
    if first.quick {
        text += "\n**A quick run**: one process a cell, two workloads, one heap. It shows that all works; the \
                 figures are no results.\n";
    }
    if load > BUSY {
        text += &format!(
            "\n**The machine was busy**: {load:.1} threads of other programs ran when a call began. Its figures are \
             not to be relied on.\n"
        );
    }
    let commands: BTreeSet<&str> = sessions.iter().map(|session| session.command.as_str()).collect();
    text += &format!("\n```sh\n{}\n```\n", commands.into_iter().collect::<Vec<_>>().join("\n"));
    text += EXPLANATION;
    let all: Vec<Row> = figures::sections(entries).into_iter().flat_map(|section| section.rows).collect();
    let count = |verdict| all.iter().filter(|row| row.verdict == verdict).count();
    text += &format!(
        "\nTargets: {} met, {} **missed**, {} not measured.\n",
        count(Verdict::Met),
        count(Verdict::Missed),
        count(Verdict::NotMeasured)
    );
    text
}

const EXPLANATION: &str = "
A ratio is our figure to the base's, both medians over iterations; the table has geometric means over the
workloads. Spread: the means of the first processes of all cells, of the second, and so on, from the least to
the greatest. The worst cell is the greatest ratio of a workload. A target holds for what is shown; \"each\" is
for every cell. Where our run fails and the base's does not, the target is missed.
";

/// As much of a processor is not worth a word.
const QUIET: f64 = 0.1;

/// As many threads of other programs make the figures doubtful.
const BUSY: f64 = 0.5;

/// The first ratio of the section.
fn picture(section: &Section) -> Option<String> {
    let first = section.rows.first().filter(|row| row.is_ratio)?.figure;
    let rows: Vec<&Row> = section.rows.iter().filter(|row| row.figure == first).collect();
    let mut title = first.to_owned();
    if let Some(letter) = title.get_mut(..1) {
        letter.make_ascii_uppercase();
    }
    let tick = if rows.iter().any(|row| row.worst.is_some()) { "; tick: worst cell" } else { "" };
    chart::draw(&format!("{title} as a ratio to the base; shorter is better{tick}; red: target missed"), &rows)
}

fn table(section: &Section) -> String {
    match section.measurement.kind {
        Kind::Runs(_) => {
            let (ratios, values): (Vec<&Row>, Vec<&Row>) = section.rows.iter().partition(|row| row.is_ratio);
            let tables = [(ratios, ratio_table as fn(&[&Row]) -> Table), (values, value_table)];
            let tables = tables.into_iter().filter(|(rows, _)| !rows.is_empty());
            tables.map(|(rows, table)| table(&rows).markdown()).collect::<Vec<_>>().join("\n")
        }
        Kind::Minima { .. } => minima_table(&section.rows).markdown(),
        Kind::Commands { .. } => line_table(&section.rows).markdown(),
    }
}

fn ratio_table(rows: &[&Row]) -> Table {
    let mut table =
        Table::new(["what", "figure", "heap", "ratio", "spread", "worst cell", "cells", "target", "result"]);
    for row in rows {
        let worst = row.worst.as_ref().map_or(String::new(), |(ratio, place)| format!("{ratio:.2} {place}"));
        table.row([
            row.what.clone(),
            row.figure.to_owned(),
            row.place.clone(),
            ratio(row.value),
            row.spread.map_or("-".to_owned(), |(least, most)| format!("{least:.2}-{most:.2}")),
            worst,
            format!("{}/{}", row.cells.0, row.cells.1),
            row.target.clone(),
            result(row.verdict),
        ]);
    }
    table
}

fn value_table(rows: &[&Row]) -> Table {
    let mut table = Table::new(["collector", "figure", "where", "value", "spread", "target", "result"]);
    for row in rows {
        table.row([
            row.what.clone(),
            row.figure.to_owned(),
            row.place.clone(),
            row.value.map_or("-".to_owned(), number),
            row.spread.map_or("-".to_owned(), |(least, most)| format!("{}-{}", number(least), number(most))),
            row.target.clone(),
            result(row.verdict),
        ]);
    }
    table
}

fn minima_table(rows: &[Row]) -> Table {
    let mut table = Table::new(["what", "workload", "minimum heaps", "ratio", "target", "result"]);
    for row in rows {
        let cells = [&row.what, &row.place, &row.note, &ratio(row.value), &row.target, &result(row.verdict)];
        table.row(cells.map(String::clone));
    }
    table
}

fn line_table(rows: &[Row]) -> Table {
    let mut table = Table::new(["what", "value", "unit", "spread", "target", "result", "remark"]);
    for row in rows {
        table.row([
            row.what.clone(),
            row.value.map_or("-".to_owned(), number),
            row.place.clone(),
            row.spread.map_or("-".to_owned(), |(least, most)| format!("{}-{}", number(least), number(most))),
            row.target.clone(),
            result(row.verdict),
            row.note.clone(),
        ]);
    }
    table
}

fn ratio(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.2}"))
}

fn result(verdict: Verdict) -> String {
    match verdict {
        Verdict::NoTarget => "",
        Verdict::Met => "met",
        Verdict::Missed => "**missed**",
        Verdict::NotMeasured => "not measured",
    }
    .to_owned()
}

/// A page with `made` between its marks; without marks if the page is empty.
///
/// # Errors
/// The marks are not both there, once each, in their order.
pub fn insert(page: &str, made: &str) -> Result<String, String> {
    let made = format!("{BEGIN}\n\n{made}\n{END}\n");
    if page.trim().is_empty() {
        return Ok(format!("# Measured\n\n{made}"));
    }
    let places = |mark: &str| page.match_indices(mark).map(|(at, _)| at).collect::<Vec<usize>>();
    match (places(BEGIN).as_slice(), places(END).as_slice()) {
        ([begin], [end]) if begin < end => {
            let rest = page[end + END.len()..].trim_start_matches('\n');
            let rest = if rest.is_empty() { String::new() } else { format!("\n{rest}") };
            Ok(format!("{}{made}{rest}", &page[..*begin]))
        }
        _ => Err(format!(
            "it has text, but not one line `{BEGIN}` and one line `{END}` below it. The figures go between the two: \
             add them, or name a file that does not exist"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_around_the_figures_stays() {
        let page = insert("", "old\n").unwrap();
        assert!(page.starts_with("# Measured\n\n<!--"), "{page}");
        let page = page.replace("# Measured\n", "# Measured\n\nBefore.\n") + "\nAfter.\n";
        let again = insert(&page, "new\n").unwrap();
        assert_eq!(again, page.replace("old", "new"));
        assert_eq!(insert(&again, "new\n").unwrap(), again);
    }

    #[test]
    fn a_page_without_marks_or_with_too_many_is_refused() {
        let both = insert("", "x").unwrap();
        let turned = format!("{END}\n{BEGIN}\n");
        for page in ["text", &format!("{BEGIN}\n"), &format!("{both}{both}"), &turned] {
            assert!(insert(page, "new").unwrap_err().contains("add them, or name a file"), "{page}");
        }
    }
}
