//! `mmtk bench`: measurements that continue from a file, and the chapter that is drawn from it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn mmtk(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mmtk")).arg("bench").args(arguments).output().unwrap()
}

fn succeed(arguments: &[&str]) -> String {
    let output = mmtk(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The exit status and what was said, which is no panic.
fn refused(arguments: &[&str]) -> (i32, String) {
    let output = mmtk(arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("panicked"), "{arguments:?}: {text}");
    (output.status.code().expect("it was not killed"), text)
}

/// A folder that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("mmtk-bench-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

fn stored() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bench.jsonl").to_str().unwrap().to_owned()
}

/// `UPDATE_EXPECTED=1` writes the chapter that is expected, to be read before it is kept.
#[test]
fn stored_results_are_drawn_as_expected() {
    let folder = Folder::new("golden");
    let page = folder.file("measured.md");
    assert_eq!(succeed(&["--draw", "--results", &stored(), "--report", &page]), "");
    let drawn = fs::read_to_string(&page).unwrap();
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bench.md");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&expected, &drawn).unwrap();
    }
    assert_eq!(drawn, fs::read_to_string(&expected).unwrap());
    for chart in ["minimum-heaps.svg", "workers.svg"] {
        assert!(drawn.contains(&format!("(measured/{chart})")), "{drawn}");
        assert!(fs::read_to_string(folder.file(&format!("measured/{chart}"))).unwrap().starts_with("<svg"));
    }
    assert_eq!(folder.names(), ["measured", "measured.md"], "nothing else is left");
    // Without a page the tables are printed, and nothing is linked.
    let printed = succeed(&["--draw", "--results", &stored()]);
    assert!(printed.contains("**missed**") && !printed.contains(".svg"), "{printed}");
}

#[test]
fn the_chapter_of_the_book_can_be_made_again() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/measured.md");
    let page = fs::read_to_string(page).unwrap();
    let made = lab::bench::chapter::insert(&page, "figures\n").unwrap();
    let (_, by_hand) = page.split_once(lab::bench::chapter::END).unwrap();
    assert!(made.contains("begin -->\n\nfigures\n\n<!--") && made.ends_with(by_hand), "{made}");
}

#[test]
fn measurements_are_listed_with_what_they_need() {
    let text = succeed(&["--list"]);
    let line =
        |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    assert!(line("crate-full ").contains(" 240 ") && line("crate-full ").contains("`peers`"), "{text}");
    assert!(line("smoke ").contains("made only when named"), "{text}");
    let quick = succeed(&["--list", "--quick"]);
    assert!(quick.lines().any(|line| line.starts_with("crate-full ") && line.contains(" 12 ")), "{quick}");
}

#[test]
fn a_call_measures_draws_and_goes_on_where_another_was_interrupted() {
    let folder = Folder::new("smoke");
    let (results, page) = (folder.file("results.jsonl"), folder.file("page.md"));
    let all = ["--only", "smoke", "--quick", "--results", &results, "--report", &page];
    succeed(&all);
    let first = fs::read_to_string(&results).unwrap();
    let runs = |text: &str| text.lines().filter(|line| line.starts_with("{\"entry\":\"run\"")).count();
    // Two plans, two heaps, one process; libgc where it is built in.
    let of_all = runs(&first);
    assert!(of_all >= 4, "{first}");
    let drawn = fs::read_to_string(&page).unwrap();
    assert!(drawn.contains("### Whether all of this works here") && drawn.contains("**A quick run**"), "{drawn}");
    assert!(drawn.contains("| Immix / SemiSpace "), "{drawn}");
    if !cfg!(feature = "peers") {
        assert!(drawn.contains("- `bdwgc:inline`, needs --features peers: all cells."), "{drawn}");
    }

    // As if it had been killed while it wrote the last result.
    let last = first.trim_end().rfind('\n').unwrap();
    fs::write(&results, &first[..last + 20]).unwrap();
    fs::write(&page, drawn.replace("# Measured\n", "# Measured\n\nWritten by hand.\n")).unwrap();
    succeed(&all);
    let second = fs::read_to_string(&results).unwrap();
    assert!(second.starts_with(&first[..=last]), "what was there stays");
    assert_eq!(runs(&second), of_all, "one run was made again: {second}");
    assert!(fs::read_to_string(&page).unwrap().starts_with("# Measured\n\nWritten by hand.\n"));
    succeed(&all);
    assert_eq!(runs(&fs::read_to_string(&results).unwrap()), of_all, "there was nothing left to run");
}

#[test]
fn what_is_wrong_is_said_before_anything_is_measured_and_nothing_is_lost() {
    let folder = Folder::new("errors");
    let (results, page) = (folder.file("results.jsonl"), folder.file("page.md"));
    let call = |more: &[&str]| refused(&[&["--only", "smoke", "--results", &results], more].concat());

    let (status, text) = refused(&["--only", "smok", "--results", &results]);
    assert!(status == 2 && text.contains("unknown measurement smok: did you mean smoke?"), "{text}");
    let (status, text) = call(&["--report", "/nonexistent/page.md"]);
    assert!(status == 1 && text.contains("/nonexistent/page.md: cannot write the report: No such file"), "{text}");
    let (status, text) = call(&["--report", &folder.file("page")]);
    assert!(status == 2 && text.contains("must have an extension, such as .md"), "{text}");
    fs::write(&page, "# A page of somebody\n").unwrap();
    let (status, text) = call(&["--report", &page]);
    assert!(status == 2 && text.contains("page.md: it has text, but not one line `<!-- made by"), "{text}");
    assert_eq!(fs::read_to_string(&page).unwrap(), "# A page of somebody\n");
    let (status, text) = call(&["--plan", "Immix"]);
    assert!(status == 2 && text.contains("--plan: `mmtk bench` does not read it; it reads --report"), "{text}");
    assert_eq!(folder.names(), ["page.md"], "nothing was measured");

    let (status, text) = refused(&["--draw", "--results", &results]);
    assert!(status == 1 && text.contains("results.jsonl: cannot read the results: No such file"), "{text}");
    let stored = fs::read_to_string(stored()).unwrap();
    fs::write(&results, &stored).unwrap();
    let (status, text) = call(&[]);
    assert!(status == 2 && text.contains("its runs were made on another machine (A processor)"), "{text}");
    assert_eq!(fs::read_to_string(&results).unwrap(), stored);
    fs::write(&results, stored.clone() + "no result\n").unwrap();
    let lines = stored.lines().count() + 1;
    let (status, text) = refused(&["--draw", "--results", &results]);
    assert!(status == 1 && text.contains(&format!("results.jsonl: line {lines}: not a result: ")), "{text}");
    let (status, text) = refused(&["--only", "smoke", "--quick", "--results", "/dev/full"]);
    assert!(status == 2 && text.contains("/dev/full: must be a file"), "{text}");
}
