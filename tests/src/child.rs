//! A test that runs again in a process of its own: for what ends a process, or changes all of it (limits,
//! locked memory).

use std::process::{Command, Output};

const CHILD: &str = "PLAN_TESTS_CHILD";
/// Seconds until a child that hangs is killed.
const CHILD_SECONDS: &str = "120";

/// Runs the test of this name again, alone, with [`is_child`] true. The name has the modules of the test's
/// file.
///
/// # Panics
/// When no process can be started, or there is no such test.
pub fn run_again(name: &str) -> Output {
    let test = std::env::current_exe().expect("a running test has a file");
    let child = Command::new("timeout")
        .args(["-s", "KILL", CHILD_SECONDS])
        .arg(test)
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output();
    let output = child.expect("a child can be started");
    let ran = String::from_utf8_lossy(&output.stdout).contains("running 1 test\n");
    assert!(ran, "there is no test {name}: {output:?}");
    output
}

/// Runs the test of this name again, which must pass. Returns what it wrote to standard error.
///
/// # Panics
/// When it fails.
pub fn pass_again(name: &str) -> String {
    let output = run_again(name);
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{error}", output.status);
    error.into_owned()
}

/// Whether this process is such a child.
pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}
