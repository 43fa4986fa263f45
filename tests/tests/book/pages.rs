//! Blocks of pages that are copies of something else, and must be equal to it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Only one test at a time writes into pages.
static PAGES: Mutex<()> = Mutex::new(());

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// All pages of the book, and the README.
fn pages() -> Vec<PathBuf> {
    let pages = |folder: &str| {
        let files = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect::<Vec<_>>()
    };
    let all: Vec<_> = ["docs/src", "docs/src/collectors", "."].into_iter().flat_map(pages).collect();
    assert!(all.len() > 20, "{all:?}");
    all
}

/// The text between the lines `// ANCHOR: part` and `// ANCHOR_END: part` of a file, or all of it, without
/// such lines and without the indentation that its lines share.
fn part(text: &str, part: Option<&str>) -> Option<String> {
    let begin = part.map(|part| format!("// ANCHOR: {part}"));
    let end = part.map(|part| format!("// ANCHOR_END: {part}"));
    let is = |line: &str, mark: &Option<String>| mark.as_deref() == Some(line.trim());
    let mut lines = Vec::new();
    let (mut inside, mut ended) = (part.is_none(), part.is_none());
    for line in text.lines() {
        match inside {
            true if is(line, &end) => (inside, ended) = (false, true),
            true if !line.trim().starts_with("// ANCHOR") => lines.push(line),
            false if is(line, &begin) => inside = true,
            _ => (),
        }
    }
    let indentation = |line: &&str| line.len() - line.trim_start().len();
    let shared = lines.iter().filter(|line| !line.trim().is_empty()).map(indentation).min()?;
    ended.then(|| lines.iter().map(|line| format!("{}\n", line.get(shared..).unwrap_or(""))).collect())
}

/// Compares each fenced block below a line for which `expected` has a text with that text, or writes the text
/// into the page if `UPDATE_BOOK` is set. Returns how many there are.
fn compare(expected: impl Fn(&str) -> Option<String>) -> usize {
    let _alone = PAGES.lock().unwrap_or_else(PoisonError::into_inner);
    let mut blocks = 0;
    for path in pages() {
        let page = std::fs::read_to_string(&path).unwrap();
        let mut new = String::new();
        let mut lines = page.lines();
        while let Some(line) = lines.next() {
            new += &format!("{line}\n");
            let Some(text) = expected(line) else { continue };
            blocks += 1;
            let fence = lines.next().unwrap_or("");
            assert!(fence.starts_with("```"), "{}: no code below {line}", path.display());
            let shown: String =
                lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
            let update = std::env::var_os("UPDATE_BOOK").is_some();
            assert!(
                update || shown == text,
                "{}, below {line}: run this test with UPDATE_BOOK=1. The page has:\n{shown}\nIt should have:\n{text}",
                path.display()
            );
            new += &format!("{fence}\n{text}```\n");
        }
        if new != page {
            std::fs::write(&path, &new).unwrap();
        }
    }
    blocks
}

/// What the page shows below `<!-- said by: test -->` is this.
pub fn shows(test: &str, text: &str) {
    let line = format!("<!-- said by: {test} -->");
    assert_eq!(compare(|other| (other == line).then(|| text.to_string())), 1, "no page has the line {line}");
}

#[test]
fn code_in_pages_is_that_of_the_files_it_comes_from() {
    let blocks = compare(|line| {
        let from = line.strip_prefix("<!-- from ")?.strip_suffix(" -->")?;
        let (file, name) = from.split_once(": ").map_or((from, None), |(file, part)| (file, Some(part)));
        let text = std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{line}: {error}"));
        Some(part(&text, name).unwrap_or_else(|| panic!("{line}: the file has no such part")))
    });
    assert!(blocks >= 3, "{blocks}");
}

#[test]
fn pages_read_without_a_tool_that_puts_in_other_files() {
    for path in pages() {
        let page = std::fs::read_to_string(&path).unwrap();
        assert!(!page.contains("{{#"), "{} includes a file, which only mdBook does", path.display());
    }
}

#[test]
fn a_part_is_what_stands_between_its_lines() {
    let text = "a\n  // ANCHOR: one\n  b\n\n    c\n  // ANCHOR: two\n  d\n  // ANCHOR_END: one\n  // ANCHOR_END: two\n";
    assert_eq!(part(text, Some("one")).unwrap(), "b\n\n  c\nd\n");
    assert_eq!(part(text, Some("two")).unwrap(), "d\n");
    assert_eq!(part(text, None).unwrap(), "a\n  b\n\n    c\n  d\n");
    assert_eq!(part(text, Some("three")), None);
    assert_eq!(part("// ANCHOR: one\na\n", Some("one")), None, "it does not end");
}
