//! A watchdog: a test that hangs ends the process with its name, instead of the reader's
//! patience.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Generous: the tests take seconds, but may share few processors with many. Under an interpreter they take
/// minutes.
const PATIENCE: Duration = Duration::from_secs(if cfg!(miri) { 3600 } else { 180 });

/// Lives as long as the test that it watches.
pub struct Watchdog(Option<(Sender<()>, std::thread::JoinHandle<()>)>);

impl Watchdog {
    /// Watches the running test, whose thread bears its name.
    ///
    /// # Panics
    /// When no thread can be started.
    pub fn new() -> Watchdog {
        let name = std::thread::current().name().unwrap_or("a test").to_string();
        let (alive, dead) = channel::<()>();
        let watch = move || {
            if dead.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                // Not `eprintln`, whose words are kept for the end of the test, which this one does not see.
                let _ =
                    writeln!(std::io::stderr(), "{name} hangs: not finished after {} s; aborting", PATIENCE.as_secs());
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
