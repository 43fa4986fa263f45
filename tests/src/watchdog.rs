//! A watchdog: a test that hangs ends the process with its name, instead of the reader's
//! patience. Under tools that make programs many times slower, `WATCHDOG_SECONDS` makes it more patient.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Generous: the tests take seconds, but may share few processors with many. Under an interpreter they take
/// minutes.
const DEFAULT: Duration = Duration::from_secs(if cfg!(miri) { 3600 } else { 180 });

/// The variable that says how long a test may take, in seconds.
const VARIABLE: &str = "WATCHDOG_SECONDS";

/// How long a test may take when the variable has this value.
fn patience(value: Option<&str>) -> Duration {
    let Some(value) = value else { return DEFAULT };
    match value.parse() {
        Ok(seconds @ 1..=86_400) => Duration::from_secs(seconds),
        _ => panic!("{VARIABLE}={value}: must be a whole number of seconds, 1..=86400"),
    }
}

/// Lives as long as the test that it watches.
pub struct Watchdog(Option<(Sender<()>, std::thread::JoinHandle<()>)>);

impl Watchdog {
    /// Watches the running test, whose thread bears its name.
    ///
    /// # Panics
    /// When no thread can be started, or `WATCHDOG_SECONDS` is no number of seconds.
    pub fn new() -> Watchdog {
        Watchdog::with(patience(std::env::var(VARIABLE).ok().as_deref()))
    }

    fn with(patience: Duration) -> Watchdog {
        let name = std::thread::current().name().unwrap_or("a test").to_string();
        let (alive, dead) = channel::<()>();
        let watch = move || {
            if dead.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                // Not `eprintln`, whose words are kept for the end of the test, which this one does not see.
                let _ = writeln!(
                    std::io::stderr(),
                    "{name} hangs: not finished after {} s; aborting ({VARIABLE} grants more or less)",
                    patience.as_secs()
                );
                std::process::abort();
            }
        };
        Watchdog(Some((alive, std::thread::spawn(watch))))
    }
}

impl Default for Watchdog {
    fn default() -> Self {
        Watchdog::new()
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some((alive, thread)) = self.0.take() {
            drop(alive);
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{is_child, panic_of, run_again};

    #[test]
    fn the_variable_grants_a_number_of_seconds() {
        assert_eq!(patience(None), DEFAULT);
        assert_eq!(patience(Some("1800")), Duration::from_secs(1800));
        for wrong in ["", "0", "3m", "-1", "86401"] {
            let text = panic_of(|| patience(Some(wrong)));
            assert_eq!(text, format!("WATCHDOG_SECONDS={wrong}: must be a whole number of seconds, 1..=86400"));
        }
    }

    #[test]
    fn a_test_that_hangs_ends_with_its_name_and_says_how_to_grant_it_more() {
        const NAME: &str = "watchdog::tests::a_test_that_hangs_ends_with_its_name_and_says_how_to_grant_it_more";
        if is_child() {
            let _watchdog = Watchdog::with(Duration::from_secs(1));
            loop {
                std::thread::park();
            }
        }
        let output = run_again(NAME);
        assert!(!output.status.success());
        let error = String::from_utf8_lossy(&output.stderr);
        let expect = format!("{NAME} hangs: not finished after 1 s; aborting (WATCHDOG_SECONDS grants more or less)");
        assert!(error.contains(&expect), "{error}");
    }
}
