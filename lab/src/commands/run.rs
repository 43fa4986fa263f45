//! `mmtk run WORKLOAD`: iterations of a workload on one heap in this process.

use crate::cli::RunOptions;
use crate::failure::Failure;
use crate::heaps;

/// Exit status after a panic, as Rust's own.
const PANIC_STATUS: i32 = 101;

/// Runs.
///
/// # Errors
/// What is wrong with the options, or went wrong with the run.
pub(super) fn run(options: &RunOptions, workload: &str) -> Result<(), Failure> {
    let request = options.request(workload)?;
    end_on_panic();
    heaps::run(&request)
}

/// A panic on any thread ends the process: a mutator or a GC worker that is gone would leave the others
/// waiting for it.
fn end_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        // SAFETY: ends the process at once; other threads may be in any state.
        unsafe { libc::_exit(PANIC_STATUS) }
    }));
}
