//! What a user hears of a heap that goes on. What standard error shows is seen from outside: each test runs
//! itself again as a child.

use mmtk_core::Options;
use plan_tests::{Watchdog, options};
use policies::new_heap;
use reference::{Class, ReferenceHeap, ReferenceVM, Thread};
use std::process::Command;

const CHILD: &str = "WARNINGS_CHILD";
const REFUSED: &str = "the system refuses memory";
const HOW_TO_SILENCE: &str = "MMTK_WARNINGS=never";

/// Runs this test again as a child, with some variables set; what it wrote to standard error.
fn stderr_of_child(test: &str, variables: &[(&str, &str)]) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture"]).env_remove("MMTK_WARNINGS").env(CHILD, "1");
    let output = child.envs(variables.iter().copied()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}{error}", String::from_utf8_lossy(&output.stdout));
    error
}

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

fn heap(options: Options) -> ReferenceHeap {
    new_heap(ReferenceVM::default(), options).unwrap()
}

/// Twice asks a heap for more memory than the system grants it.
fn ask_for_memory_in_vain(heap: &ReferenceHeap) {
    heap.memory().refuse_commits_after(0);
    let thread = Thread::attach(heap);
    for _ in 0..2 {
        assert!(thread.try_alloc(Class { refs: 0, bytes: 100_000 }, mmtk_core::Semantics::Default).is_err());
    }
}

#[test]
fn a_warning_reaches_a_user_without_a_logger_once_and_says_how_to_silence_it() {
    let _watchdog = Watchdog::new();
    if is_child() {
        return (0..2).for_each(|_| ask_for_memory_in_vain(&heap(options("MarkSweep", 64 << 20, &[]))));
    }
    let test = "a_warning_reaches_a_user_without_a_logger_once_and_says_how_to_silence_it";
    let error = stderr_of_child(test, &[]);
    assert_eq!(error.matches(REFUSED).count(), 1, "{error}");
    assert!(error.starts_with("mmtk: warning: ") && error.contains(HOW_TO_SILENCE), "{error}");
    // The VM of the child reads no environment.
    let error = stderr_of_child(test, &[("MMTK_WARNINGS", "never")]);
    assert_eq!(error, "");
}

#[test]
fn warnings_can_be_silenced_by_an_option() {
    let _watchdog = Watchdog::new();
    if is_child() {
        return ask_for_memory_in_vain(&heap(options("MarkSweep", 64 << 20, &[("warnings", "never")])));
    }
    assert_eq!(stderr_of_child("warnings_can_be_silenced_by_an_option", &[]), "");
}

#[test]
fn options_and_variables_without_effect_are_reported_once_each() {
    let _watchdog = Watchdog::new();
    if is_child() {
        let mut read = Options::from_env().unwrap();
        read.apply_process_env().unwrap();
        (0..2).for_each(|_| {
            drop(heap(options("Immix", 64 << 20, &[("nursery.bytes", "4M"), ("immix.defrag", "false")])))
        });
        return drop(heap(options("NoGC", 64 << 20, &[("stress.every_bytes", "1M")])));
    }
    let test = "options_and_variables_without_effect_are_reported_once_each";
    let error = stderr_of_child(test, &[("MMTK_THREADS", "4")]);
    let said = [
        "the variable MMTK_THREADS is no option of this toolkit: it has no effect",
        "nursery.bytes=4M has no effect with plan Immix and heap.mode=fixed: it needs a generational plan",
        "stress.every_bytes=1M has no effect with plan NoGC and heap.mode=fixed: it needs a plan that collects",
    ];
    for sentence in said {
        assert_eq!(error.matches(sentence).count(), 1, "{sentence}: {error}");
    }
    assert_eq!(error.matches("mmtk: warning: ").count(), said.len(), "{error}");
}

#[test]
fn the_variable_that_silences_warnings_is_an_option_too() {
    let mut options = Options::default();
    options.apply_env([("MMTK_WARNINGS".to_owned(), "never".to_owned())]).unwrap();
    assert_eq!(options.get("warnings").as_deref(), Some("never"));
}

/// A logger that writes to standard error, under a name of its own.
struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        eprintln!("logged {} {}: {}", record.level(), record.target(), record.args());
    }
    fn flush(&self) {}
}

#[test]
fn a_logger_gets_the_warning_and_standard_error_does_not() {
    let _watchdog = Watchdog::new();
    if is_child() {
        log::set_logger(&Logger).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
        return ask_for_memory_in_vain(&heap(options("MarkSweep", 64 << 20, &[])));
    }
    let error = stderr_of_child("a_logger_gets_the_warning_and_standard_error_does_not", &[]);
    assert!(error.starts_with("logged WARN mmtk: the system refuses memory"), "{error}");
    assert_eq!(error.matches(REFUSED).count(), 1, "{error}");
    assert!(!error.contains(HOW_TO_SILENCE), "{error}");
}
