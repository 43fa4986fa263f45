//! Patience: how long a thread waits for others before it says so.
//!
//! The thread reports when it has waited for `safepoint.warn_ms`, and again each time that the wait has
//! doubled. Only a thread that has to wait reads the clock.
//!
//! Callers: leaders of pauses; a thread that waits to lead; a thread that ends helpers or the timer.

use protocols::sync::{Condvar, MutexGuard};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// That of one heap.
#[derive(Debug)]
pub(crate) struct Patience {
    /// 0 is for ever.
    warn_ms: AtomicU64,
}

impl Patience {
    pub fn new(warn_ms: u64) -> Patience {
        Patience { warn_ms: AtomicU64::new(warn_ms) }
    }

    /// For waits that begin from now on, and for those that have not been reported yet.
    pub fn set(&self, warn_ms: u64) {
        self.warn_ms.store(warn_ms, Relaxed);
    }

    /// The option as it is now.
    pub fn warn_ms(&self) -> u64 {
        self.warn_ms.load(Relaxed)
    }
}

/// A wait that may become long.
pub(crate) struct Waiting<'a> {
    patience: &'a Patience,
    /// None before the thread has looked first.
    since: Option<Instant>,
    reports: u32,
}

impl<'a> Waiting<'a> {
    pub fn new(patience: &'a Patience) -> Waiting<'a> {
        Waiting { patience, since: None, reports: 0 }
    }

    /// How long until the next report is due; none if there will not be one.
    pub fn left(&mut self) -> Option<Duration> {
        let due = self.due()?;
        Some(due.saturating_sub(self.since.get_or_insert_with(Instant::now).elapsed()))
    }

    /// The report is given: how long the thread has waited. The next is due when that has doubled.
    pub fn reported(&mut self) -> Duration {
        let waited = self.since.get_or_insert_with(Instant::now).elapsed();
        self.reports += 1;
        while self.due().is_some_and(|due| due <= waited) {
            self.reports += 1;
        }
        waited
    }

    /// After how long in all.
    fn due(&self) -> Option<Duration> {
        let warn_ms = self.patience.warn_ms();
        let due_ms = warn_ms.saturating_mul(1u64.checked_shl(self.reports).unwrap_or(u64::MAX));
        (warn_ms > 0).then_some(Duration::from_millis(due_ms))
    }

    /// Waits to be notified, or gives the report that is due, without the lock.
    pub fn wait<T>(&mut self, on: &Condvar, guard: &mut MutexGuard<'_, T>, report: impl FnOnce(Duration)) {
        match self.left() {
            None => on.wait(guard),
            Some(left) if !left.is_zero() => on.wait_for(guard, left),
            Some(_) => {
                let waited = self.reported();
                MutexGuard::without(guard, || report(waited));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn since(ago: Duration, patience: &Patience) -> Waiting<'_> {
        Waiting { since: Instant::now().checked_sub(ago), ..Waiting::new(patience) }
    }

    #[test]
    fn reports_are_due_after_ever_longer_waits() {
        let patience = Patience::new(100_000);
        let mut waiting = since(Duration::ZERO, &patience);
        let left = waiting.left().unwrap();
        assert!(99 * SECOND < left && left <= 100 * SECOND, "{left:?}");
        let mut waiting = since(100 * SECOND, &patience);
        assert_eq!(waiting.left(), Some(Duration::ZERO));
        assert!(waiting.reported() >= 100 * SECOND);
        let left = waiting.left().unwrap();
        assert!(99 * SECOND < left && left <= 100 * SECOND, "{left:?}");
        // A report that itself took long is not followed by all that were due meanwhile.
        let mut waiting = since(1000 * SECOND, &patience);
        waiting.reported();
        let left = waiting.left().unwrap();
        assert!(599 * SECOND < left && left <= 600 * SECOND, "{left:?}");
    }

    #[test]
    fn without_patience_to_lose_there_is_no_report() {
        let patience = Patience::new(0);
        let mut waiting = since(100 * SECOND, &patience);
        assert_eq!(waiting.left(), None);
        patience.set(1000);
        assert_eq!(waiting.left(), Some(Duration::ZERO), "the option counts as it is now");
    }

    #[test]
    fn a_wait_without_end_overflows_nothing() {
        let patience = Patience::new(u64::MAX / 1000);
        let mut waiting = Waiting { reports: 200, ..since(SECOND, &patience) };
        assert!(waiting.left().is_some());
        waiting.reported();
    }
}
