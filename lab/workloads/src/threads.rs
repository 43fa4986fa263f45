//! Threads that start together, or not at all.
//!
//! A system refuses threads: by a limit of the user or the cgroup, or for want of memory. Then the threads
//! that were started before return without having done anything. Otherwise a run would go on with fewer
//! mutators than were asked for, or wait for those that never come.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The system refused a thread.
#[derive(Debug)]
pub struct TooFewThreads {
    started: usize,
    count: usize,
    error: std::io::Error,
}

impl fmt::Display for TooFewThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooFewThreads { started, count, error } = self;
        write!(
            f,
            "the system starts {started} of {count} threads: {error}; ask for fewer threads, or raise the limit \
             (ulimit -u, ulimit -v, the cgroup's pids.max)"
        )
    }
}

impl std::error::Error for TooFewThreads {}

/// Calls `work` on `count` threads with this stack, each with its number, once all have been started. Returns
/// the wall time from then until the last has ended, and what they returned.
///
/// # Errors
/// The system refuses a thread.
///
/// # Panics
/// When `work` does.
pub fn together<R: Send>(
    count: usize,
    stack_bytes: usize,
    work: impl Fn(usize) -> R + Sync,
) -> Result<(Duration, Vec<R>), TooFewThreads> {
    let all_started = OnceLock::<bool>::new();
    std::thread::scope(|scope| {
        let (work, gate) = (&work, &all_started);
        let start = |number| {
            let body = move || gate.wait().then(|| work(number));
            std::thread::Builder::new().stack_size(stack_bytes).spawn_scoped(scope, body)
        };
        let mut threads = Vec::new();
        let mut refused = None;
        while threads.len() < count && refused.is_none() {
            match start(threads.len()) {
                Ok(thread) => threads.push(thread),
                Err(error) => refused = Some(error),
            }
        }
        let (began, started) = (Instant::now(), threads.len());
        gate.get_or_init(|| refused.is_none());
        let join = |thread: std::thread::ScopedJoinHandle<'_, Option<R>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let results: Vec<R> = threads.into_iter().filter_map(join).collect();
        match refused {
            None => Ok((began.elapsed(), results)),
            Some(error) => Err(TooFewThreads { started, count, error }),
        }
    })
}

/// The stack of a thread that does nothing deep.
pub const SMALL_STACK_BYTES: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn threads_run_at_the_same_time_and_return_in_order() {
        let barrier = Barrier::new(3);
        let one = |number| {
            barrier.wait();
            number * 10
        };
        assert_eq!(together(3, SMALL_STACK_BYTES, one).unwrap().1, [0, 10, 20]);
    }

    #[test]
    fn when_one_is_refused_none_has_run() {
        let ran = AtomicUsize::new(0);
        // No system maps stacks of 2^46 bytes for long.
        let error = together(8, 1 << 46, |_| ran.fetch_add(1, Ordering::Relaxed)).unwrap_err().to_string();
        assert!(error.contains(" of 8 threads: ") && error.contains("ulimit"), "{error}");
        assert_eq!(ran.into_inner(), 0);
    }
}
