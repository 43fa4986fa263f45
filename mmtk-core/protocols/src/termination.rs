//! When is a parallel trace finished? A counted protocol with sleeping.
//!
//! `active` counts the workers that have, or may get, work. A worker whose own stack and deque are empty
//! leaves. It then looks for work of others, and joins again before it takes any. When the count reaches
//! zero, the trace is over for ever.
//!
//! ```text
//! Working --leave--> Looking --join--> Working (steals; if nothing was there, leaves again)
//!                       | nothing to see: sleep until somebody publishes, or until the end
//!                       +--count is 0--> Finished
//! ```
//! I1. Only an active worker publishes work, and it leaves only when its own deque is empty. So `active == 0`
//!     means that no work exists anywhere and none can appear. In a section that bounds the work of each
//!     worker, a worker may also leave when it has done its part: then `active == 0` ends the section, and
//!     the rest of the work is for the next one.
//! I2. A worker that finds `active == 0` sees everything that every worker did before it left.
//! I3. `hungry` counts workers that would take work; publishers look at it without ordering, as a hint. A
//!     publisher that reads it too early wakes no worker, which costs only parallelism, for a moment: it
//!     looks again every few dozen objects, and the end of the section always goes through the lock, under
//!     which a sleeper looks once more.
//! Callers: GC workers in a tracing section.

use crate::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use crate::sync::{Condvar, Mutex, MutexGuard, dropped, order};

/// The counts of one tracing section.
#[derive(Default)]
pub struct Termination {
    active: AtomicUsize,
    hungry: AtomicUsize,
    /// Held from a sleeper's last look until it sleeps, and taken before it is notified, so no notice falls
    /// in between.
    sleeping: Mutex<()>,
    changed: Condvar,
}

/// What a looking worker should do.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Look {
    /// It is active again and should try to steal.
    Joined,
    /// The trace is over.
    Finished,
}

impl Termination {
    /// No worker is active yet; each calls [`Termination::start`] first.
    pub fn new() -> Termination {
        Termination::default()
    }

    /// Enters the section as an active worker. False if the section has ended already: there is nothing to
    /// do. The first worker must use [`Termination::open`].
    #[must_use]
    pub fn start(&self) -> bool {
        self.join() == Look::Joined
    }

    /// The first worker enters, before any other can.
    pub fn open(&self) {
        self.active.store(1, Relaxed);
    }

    /// How many workers would take work: a hint.
    #[inline(always)]
    pub fn hungry(&self) -> usize {
        self.hungry.load(Relaxed)
    }

    /// An active worker has put work where others can steal it.
    pub fn published(&self) {
        if self.hungry.load(Relaxed) > 0 && !dropped!("termination-published") {
            self.wake();
        }
    }

    fn wake(&self) {
        if !dropped!("termination-wake-lock") {
            drop(self.sleeping.lock());
        }
        self.changed.notify_all();
    }

    /// The worker has nothing left, or may do no more (I1). Returns true if that was the last one.
    pub fn leave(&self) -> bool {
        // Release publishes what this worker did; Acquire makes the last one see what all others did (I2).
        let last = self.active.fetch_sub(1, order!(AcqRel, "termination-leave")) == 1;
        if last && !dropped!("termination-wake") {
            self.wake();
        }
        last
    }

    /// Becomes active again, unless all have left.
    pub fn join(&self) -> Look {
        // Acquire, here and on failure below, pairs with Release in `leave` for a worker that comes too late
        // (I2).
        let mut active = self.active.load(order!(Acquire, "termination-join"));
        loop {
            // Joining from zero would resurrect a finished section (I1).
            if active == 0 && !dropped!("termination-zero") {
                return Look::Finished;
            }
            // Relaxed on success: a worker that joins learns from the deque it steals from, not from this
            // count.
            match self.active.compare_exchange_weak(
                active,
                active + 1,
                Relaxed,
                order!(Acquire, "termination-join-again"),
            ) {
                Ok(_) => return Look::Joined,
                Err(now) => active = now,
            }
        }
    }

    /// Looks for work with `anything_to_steal`, spinning `patience` rounds before it sleeps. Called after
    /// `leave`.
    pub fn look(&self, anything_to_steal: impl FnMut() -> bool, patience: usize) -> Look {
        self.look_and_sleep(anything_to_steal, patience, |changed, sleeping| changed.wait(sleeping))
    }

    /// The same, and it sleeps by calling `sleep`, which waits to be notified. It may give up the lock to do
    /// something else, and then it returns without having waited.
    pub fn look_and_sleep(
        &self,
        mut anything_to_steal: impl FnMut() -> bool,
        patience: usize,
        sleep: impl FnMut(&Condvar, &mut MutexGuard<'_, ()>),
    ) -> Look {
        self.hungry.fetch_add(1, Relaxed);
        let found = self.look_while_hungry(&mut anything_to_steal, patience, sleep);
        self.hungry.fetch_sub(1, Relaxed);
        found
    }

    fn look_while_hungry(
        &self,
        anything_to_steal: &mut impl FnMut() -> bool,
        patience: usize,
        mut sleep: impl FnMut(&Condvar, &mut MutexGuard<'_, ()>),
    ) -> Look {
        for _ in 0..patience {
            // Acquire, here and under the lock, pairs with Release in `leave` (I2).
            if self.active.load(order!(Acquire, "termination-look")) == 0 {
                return Look::Finished;
            }
            if anything_to_steal() {
                return self.join();
            }
            crate::sync::spin();
        }
        let mut sleeping = self.sleeping.lock();
        loop {
            if self.active.load(order!(Acquire, "termination-last-look")) == 0 {
                return Look::Finished;
            }
            // A publisher that sees us hungry from now on must pass the lock that we hold before it notifies
            // (I3).
            if anything_to_steal() {
                drop(sleeping);
                return self.join();
            }
            sleep(&self.changed, &mut sleeping);
            if dropped!("termination-looks-again") {
                self.changed.wait(&mut sleeping);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_to_leave_ends_it_for_good() {
        let t = Termination::new();
        t.open();
        assert!(t.start());
        assert!(!t.leave());
        assert!(t.leave());
        assert!(!t.start(), "a latecomer finds the section finished");
        assert_eq!(t.look(|| true, 1), Look::Finished);
    }

    /// Longer than any notice takes: a worker that sleeps so long was not woken.
    const LONG: std::time::Duration = std::time::Duration::from_secs(60);

    #[test]
    fn a_worker_that_looks_is_hungry_until_it_has_joined() {
        let t = Termination::new();
        t.open();
        assert!(t.start() && t.hungry() == 0);
        assert!(!t.leave());
        let mut looks = 0;
        let look = t.look_and_sleep(
            || {
                assert_eq!(t.hungry(), 1);
                looks += 1;
                looks > 3
            },
            2,
            |_, _| (),
        );
        assert_eq!((look, t.hungry(), looks), (Look::Joined, 0, 4), "it slept, and looked again");
    }

    /// Sleeps in `look` until another thread has done `wakes`; whether it was woken.
    fn is_woken_by(t: &Termination, wakes: impl FnOnce() + Send, seen: impl FnMut() -> bool) -> (Look, bool) {
        let (mut seen, mut woken) = (seen, true);
        std::thread::scope(|scope| {
            let mut wakes = Some(wakes);
            let look = t.look_and_sleep(&mut seen, 1, |changed, sleeping| {
                // Held: who wakes takes it first, so the notice comes once this thread sleeps.
                if let Some(wakes) = wakes.take() {
                    scope.spawn(wakes);
                }
                let begin = std::time::Instant::now();
                changed.wait_for(sleeping, LONG);
                woken &= begin.elapsed() < LONG;
            });
            (look, woken)
        })
    }

    #[test]
    fn a_sleeper_is_woken_by_work_and_by_the_end() {
        let t = Termination::new();
        t.open();
        assert!(t.start() && !t.leave());
        let there_is_work = std::sync::atomic::AtomicBool::new(false);
        let publish = || {
            there_is_work.store(true, Relaxed);
            t.published();
        };
        assert_eq!(is_woken_by(&t, publish, || there_is_work.load(Relaxed)), (Look::Joined, true));
        assert!(!t.leave());
        assert_eq!(is_woken_by(&t, || assert!(t.leave()), || false), (Look::Finished, true));
    }

    #[test]
    fn a_looking_worker_joins_for_published_work() {
        let t = Termination::new();
        t.open();
        assert_eq!(t.look(|| true, 1), Look::Joined);
        assert!(!t.leave());
        assert!(t.leave());
    }
}
