//! What the command says when something is wrong: files that are missing, endless, full or unreadable;
//! readers that leave; threads that the system refuses; amounts out of range.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Output, Stdio};

const SMALL: [&str; 7] = ["run", "list", "--size", "1000", "--ops", "1", "--iters=1"];

fn mmtk(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mmtk"));
    command.args(arguments);
    command
}

/// The small run with more arguments.
fn run(arguments: &[&str]) -> Output {
    mmtk(&[&SMALL, arguments].concat()).output().unwrap()
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The exit status and what was said, which is no panic.
fn refused(arguments: &[&str]) -> (i32, String) {
    let output = mmtk(arguments).output().unwrap();
    let text = error(&output);
    assert!(!text.contains("panicked"), "{arguments:?}: {text}");
    (output.status.code().expect("it was not killed"), text)
}

#[test]
fn a_file_of_options_that_cannot_be_read_is_named_with_the_reason() {
    for (path, why) in [
        ("/dev/zero", "larger than 1 MiB"),
        ("/dev/urandom", "larger than 1 MiB"),
        ("/", "Is a directory"),
        ("/nonexistent", "No such file"),
    ] {
        let output = run(&["--config", path]);
        let text = error(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.starts_with(&format!("mmtk: --config: {path}: ")) && text.contains(why), "{text}");
    }
    assert!(run(&["--config", "/dev/null"]).status.success(), "an empty file sets nothing");
}

#[test]
fn a_pipe_of_options_is_read() {
    let mut command = mmtk(&[&SMALL[..], &["--config", "/dev/stdin"]].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"plan = 'SemiSpace'\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("list on SemiSpace"), "{}", error(&output));
}

#[test]
fn a_log_without_an_end_is_refused() {
    for path in ["/dev/zero", "/", "/nonexistent"] {
        let (status, text) = refused(&["pacer", "replay", path]);
        assert!(status == 1 && text.starts_with(&format!("mmtk: {path}: ")), "{text}");
    }
}

#[test]
fn a_full_disk_is_an_error_for_every_file_that_is_written() {
    for (flag, what) in [("--trace", "the trace"), ("--report", "the report")] {
        let output = run(&[flag, "/dev/full"]);
        let text = error(&output);
        assert_eq!(output.status.code(), Some(1), "{flag}: {text}");
        assert!(text.contains(&format!("mmtk: /dev/full: cannot write {what}: No space left")), "{flag}: {text}");
    }
    let log = ["--pacer-log", "/dev/full", "--heap", "2M", "--ops", "8"];
    let text = error(&mmtk(&[&["run", "list", "--size", "1000", "--iters=1"], &log[..]].concat()).output().unwrap());
    assert!(text.contains("mmtk: /dev/full: cannot write the pacer's log: No space left"), "{text}");
    let full = || File::create("/dev/full").unwrap();
    let output = mmtk(&["list"]).stdout(full()).output().unwrap();
    assert_eq!(
        (output.status.code(), error(&output).contains("mmtk: standard output: No space left")),
        (Some(1), true)
    );
    let output = mmtk(&SMALL).stderr(full()).output().unwrap();
    assert!(output.status.success(), "notes for people may get lost");
    assert!(String::from_utf8_lossy(&output.stdout).contains("list on Immix"));
}

#[test]
fn a_reader_that_leaves_ends_the_command_in_peace() {
    for arguments in [&["list"][..], &["limits", "chase", "sync"], &["pacer", "simulate", "steady"], &SMALL] {
        let mut child = mmtk(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut text = String::new();
        child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        let status = child.wait().unwrap();
        assert!(
            status.success() && !text.contains("panicked") && !text.contains("Broken pipe"),
            "{arguments:?}: {text}"
        );
    }
}

#[test]
fn threads_that_the_system_refuses_are_an_error_with_what_to_do() {
    // Stacks of 16 MB do not fit 256 times into 1 GB of addresses. `malloc` reserves no heap.
    let line = format!(
        "ulimit -v 1000000; exec {} run list --size 1000 --ops 1 --plan malloc --mutators 256",
        env!("CARGO_BIN_EXE_mmtk")
    );
    let output = Command::new("bash").args(["-c", &line]).output().unwrap();
    let text = error(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(" of 256 threads: ") && text.contains("ulimit -u") && !text.contains("panicked"), "{text}");
}

#[test]
fn a_run_out_of_memory_says_so_once_and_leaves_its_report() {
    let path = std::env::temp_dir().join(format!("mmtk-test-{}-oom.html", std::process::id()));
    let output = mmtk(&["run", "gcbench", "--heap", "4M", "--report", path.to_str().unwrap()]).output().unwrap();
    let (text, page) = (error(&output), std::fs::read_to_string(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert_eq!(text.matches("out of memory").count(), 1, "{text}");
    assert!(page.contains("</html>") && page.contains("Out of memory"), "{page}");
}

#[test]
fn a_plan_without_pauses_is_refused_where_pauses_are_measured() {
    for command in [&["references", "--entries", "1000"][..], &["rates"]] {
        let (status, text) = refused(&[command, &["--plan", "NoGC"]].concat());
        assert!(status == 2 && text.contains("never collects"), "{text}");
    }
}

#[test]
fn heaps_of_a_comparison_are_checked_before_it_begins() {
    let (status, text) = refused(&["compare", "gcbench", "--heap", "0"]);
    assert!(status == 2 && text.contains("must be 1M..=1T"), "{text}");
    let (status, text) = refused(&["compare", "gcbench", "--heap", "64M", "--min", "gcbench=1M"]);
    assert!(status == 2 && text.contains("--min gcbench=1M: is read with --heap-x alone"), "{text}");
    let (status, text) = refused(&["compare", "gcbench", "--heap-x", "0"]);
    assert!(status == 2 && text.contains("must be 0.01..=1000"), "{text}");
    let (status, text) = refused(&["compare", "list", "--heap", "1M", "--iters", "1", "--reps", "1", "--plan", "NoGC"]);
    assert!(status == 1 && text.contains("no run completed"), "{text}");
}

#[test]
fn a_report_of_a_comparison_that_cannot_be_written_is_an_error_before_it_begins() {
    let raw = std::env::temp_dir().join(format!("mmtk-test-{}-raw.jsonl", std::process::id()));
    let small = ["compare", "list", "--size", "1000", "--ops", "1", "--iters", "1", "--reps", "1", "--heap", "64M"];
    let files = ["--raw", raw.to_str().unwrap(), "--out", "/nonexistent/report.md"];
    let (status, text) = refused(&[&small[..], &files].concat());
    assert!(status == 1 && text.contains("/nonexistent/report.md: No such file"), "{text}");
    assert!(!raw.exists(), "nothing was run");
}

#[test]
fn a_plan_that_does_not_exist_is_answered_in_a_line_or_two() {
    let (status, text) = refused(&["run", "gcbench", "--plan", "Foo"]);
    assert!(
        status == 2 && text.contains("mmtk list plans") && text.contains("StickyImmix") && text.len() < 400,
        "{text}"
    );
}
