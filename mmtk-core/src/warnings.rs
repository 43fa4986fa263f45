//! Warnings: what a user has to know although the heap goes on.
//!
//! 1. A logger of the crate `log`, if the program has installed one, gets each warning.
//! 2. Without one the warning goes to standard error, in one write and without a lock: a thread that is
//!    inside a lock of standard error when the process forks never leaves it in the child.
//! 3. `warnings=never`, or MMTK_WARNINGS=never for a VM that reads no environment, keeps standard error
//!    clean.
//!
//! Standard error belongs to the process, so the switch belongs to it too, and so does what `warn_once!`
//! remembers. A warning that each heap gives once is an [`Once`] in a field of the heap.
//!
//! Callers: any thread, at any time, also with locks of the heap held. So a logger must not use the heap.

use crate::os;
use log::LevelFilter;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The variable that silences warnings also in a program that does not read options from the environment.
const VARIABLE: &str = "MMTK_WARNINGS";

/// Whether a heap of this process was made with `warnings=never`.
static SILENCED: AtomicBool = AtomicBool::new(false);

/// Keeps warnings off standard error from now on.
pub(crate) fn silence() {
    SILENCED.store(true, Relaxed);
}

/// Gives a warning, each time it is called.
#[cold]
pub fn warn(message: fmt::Arguments<'_>) {
    // The filter is above `Off` once a logger is installed; the logger decides the rest.
    if log::max_level() > LevelFilter::Off {
        log::warn!(target: "mmtk", "{message}");
    } else if !is_silenced() {
        let line =
            format!("mmtk: warning: {message}\n      (to silence warnings: {VARIABLE}=never, or a logger for `log`)\n");
        os::write_to_standard_error(line.as_bytes());
    }
}

fn is_silenced() -> bool {
    SILENCED.load(Relaxed) || std::env::var(VARIABLE).is_ok_and(|value| value.eq_ignore_ascii_case("never"))
}

/// A warning that is given once, however often its reason comes up.
#[derive(Debug, Default)]
pub struct Once(AtomicBool);

impl Once {
    /// Not given yet.
    pub const fn new() -> Once {
        Once(AtomicBool::new(false))
    }

    /// Gives the warning, unless it was given before.
    #[cold]
    pub fn warn(&self, message: fmt::Arguments<'_>) {
        // Relaxed: the flag publishes nothing.
        if !self.0.swap(true, Relaxed) {
            warn(message);
        }
    }
}

/// Gives a warning, unless this process has given one of the same words: for warnings that are about a
/// setting, which each of its heaps has.
#[cold]
pub fn warn_of_text(text: String) {
    static GIVEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    // A child inherits the lock as it was when the process forked. Better twice than to wait for a thread
    // that is not there.
    let new = GIVEN.try_lock().map_or(true, |mut given| given.insert(text.clone()));
    if new {
        warn(format_args!("{text}"));
    }
}

/// Gives a warning the first time that this place of the program comes to it; takes what `format!` takes.
#[macro_export]
macro_rules! warn_once {
    ($($message:tt)+) => {{
        static GIVEN: $crate::warnings::Once = $crate::warnings::Once::new();
        GIVEN.warn(format_args!($($message)+));
    }};
}
