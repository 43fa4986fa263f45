//! The table for readers: the book's chapter and `--help`.

use std::fmt::Write;

use super::table::{OptionInfo, Options};

impl Options {
    /// The table as Markdown, one row an option. The book includes it.
    pub fn markdown() -> String {
        let mut text =
            String::from("| Option | Variable | Type | Default | Allowed | Why |\n|---|---|---|---|---|---|\n");
        for row in Self::table() {
            let (key, env, kind, default) = (row.key, &row.env_name, row.type_name, &row.default);
            let (allowed, why) = (row.allowed.replace('|', "\\|"), row.why_and_needs().replace('|', "\\|"));
            writeln!(text, "| `{key}` | `{env}` | {kind} | `{default}` | {allowed} | {why} |")
                .expect("a String takes any text");
        }
        text
    }

    /// The table as aligned plain text for `--help`: key, default, allowed values, and the reason below.
    pub fn help() -> String {
        let width = |text: fn(&super::OptionInfo) -> &str| Self::table().iter().map(|row| text(row).len()).max();
        let key_width = width(|row| row.key).unwrap_or(0);
        let default_width = width(|row| &row.default).unwrap_or(0);
        let mut text =
            String::from("Options: --set key=value, a TOML file, or MMTK_KEY (heap.limit: MMTK_HEAP_LIMIT)\n");
        for row in Self::table() {
            let (key, default, allowed, why) = (row.key, &row.default, &row.allowed, row.why_and_needs());
            writeln!(text, "  {key:key_width$}  {default:default_width$}  {allowed}\n      {why}")
                .expect("a String takes any text");
        }
        text
    }
}

impl OptionInfo {
    /// What it is for, and what it needs to have an effect.
    pub fn why_and_needs(&self) -> String {
        let Self { why, needs, .. } = self;
        if needs.is_empty() { (*why).to_owned() } else { format!("{why} Needs {needs}.") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_markdown_has_a_row_for_each_option() {
        let text = Options::markdown();
        for row in Options::table() {
            let start = format!("| `{}` | `{}` |", row.key, row.env_name);
            let line = text.lines().find(|line| line.starts_with(&start)).expect(row.key);
            assert_eq!(line.matches(" | ").count(), 5, "{line}");
            assert!(line.contains(row.why) && !row.why.is_empty());
        }
        assert_eq!(text.lines().count(), 2 + Options::table().len());
    }

    #[test]
    fn the_help_is_aligned_and_complete() {
        let text = Options::help();
        let columns: Vec<usize> = Options::table()
            .iter()
            .map(|row| {
                let start = format!("  {} ", row.key);
                let line = text.lines().find(|line| line.starts_with(&start)).expect(row.key);
                line.rfind(&row.allowed).unwrap()
            })
            .collect();
        assert!(columns.iter().all(|column| *column == columns[0]), "{text}");
    }
}
