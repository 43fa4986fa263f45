//! Tables of text: columns padded to their widest cell, as Markdown or without the bars.

use std::fmt::Write;

/// A header and rows of as many cells.
#[derive(Clone, Debug, Default)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Self {
        Self { header: header.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let mut row: Vec<String> = cells.into_iter().map(Into::into).collect();
        assert!(row.len() <= self.header.len(), "a row is longer than the header");
        row.resize(self.header.len(), String::new());
        self.rows.push(row);
    }

    fn widths(&self) -> Vec<usize> {
        let width = |column: usize| {
            let cells = self.rows.iter().chain([&self.header]);
            cells.map(|row| row[column].chars().count()).max().unwrap_or(0)
        };
        (0..self.header.len()).map(width).collect()
    }

    /// As Markdown. The first column is aligned left, the others right.
    pub fn markdown(&self) -> String {
        let widths = self.widths();
        let mut text = String::new();
        let mut line = |cells: &[String]| {
            for (i, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                let cell = cell.replace('|', "/");
                let _ = if i == 0 { write!(text, "| {cell:<width$} ") } else { write!(text, "| {cell:>width$} ") };
            }
            text.push_str("|\n");
        };
        line(&self.header);
        let rule = |(i, width): (usize, &usize)| {
            if i == 0 { "-".repeat(*width) } else { format!("{}:", "-".repeat(width.max(&2) - 1)) }
        };
        line(&widths.iter().enumerate().map(rule).collect::<Vec<_>>());
        for row in &self.rows {
            line(row);
        }
        text
    }

    /// For a terminal: padded columns, no bars.
    pub fn plain(&self) -> String {
        let widths = self.widths();
        let mut text = String::new();
        for row in [&self.header].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let _ = if i == 0 { write!(line, "{cell:<width$}") } else { write!(line, "  {cell:>width$}") };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// As plain columns that are all aligned left, for text.
    pub fn plain_left(&self) -> String {
        let widths = self.widths();
        let mut text = String::new();
        for row in [&self.header].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(line, "{cell:<width$}  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A number with a sensible number of decimals: four digits that mean something.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["plan", "cpu"]);
        table.row(["Immix", "12"]);
        table.row(["NoGC"]);
        assert_eq!(table.markdown(), "| plan  | cpu |\n| ----- | --: |\n| Immix |  12 |\n| NoGC  |     |\n");
        assert_eq!(table.plain(), "plan   cpu\nImmix   12\nNoGC\n");
    }

    #[test]
    fn numbers_keep_the_digits_that_mean_something() {
        let texts = [1234.5, 56.78, 3.456, 0.0123, 0.0].map(number);
        assert_eq!(texts, ["1234", "56.8", "3.46", "0.012", "0.00"]);
    }
}
