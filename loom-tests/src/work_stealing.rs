//! Work stealing with counted termination: everything is done once, nobody returns before that, and everybody
//! returns.
//!
//! A locked vector stands in for the deque. A relaxed count beside it says whether there is something to
//! steal, and a worker writes its tally after it last touched a deque. So the deques add no ordering that the
//! protocol itself must give.

use crate::check::{Failure, fails_without, holds};
use loom::cell::UnsafeCell;
use loom::sync::Mutex;
use loom::thread;
use protocols::sync::atomic::AtomicUsize;
use protocols::sync::{MutexGuard, spin};
use protocols::termination::{Look, Termination};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as Unseen, Ordering::Relaxed};

struct Section<const WORKERS: usize> {
    termination: Termination,
    patience: usize,
    deques: [Mutex<Vec<u32>>; WORKERS],
    lengths: [AtomicUsize; WORKERS],
    tallies: [UnsafeCell<usize>; WORKERS],
    /// Not part of the model: loom does not see these two.
    last_leavers: Unseen,
    done: Unseen,
}

// SAFETY: that the accesses to `tallies` do not race is what the models check.
unsafe impl<const WORKERS: usize> Sync for Section<WORKERS> {}
// SAFETY: as for Sync.
unsafe impl<const WORKERS: usize> Send for Section<WORKERS> {}

/// The root, which is worker 0's, has two children.
const ROOT: u32 = 2;
const ITEMS: usize = 3;

impl<const WORKERS: usize> Section<WORKERS> {
    fn new(patience: usize) -> Arc<Self> {
        let section = Section {
            termination: Termination::new(),
            patience,
            deques: std::array::from_fn(|_| Mutex::new(Vec::new())),
            lengths: std::array::from_fn(|_| AtomicUsize::new(0)),
            tallies: std::array::from_fn(|_| UnsafeCell::new(0)),
            last_leavers: Unseen::new(0),
            done: Unseen::new(0),
        };
        section.termination.open();
        section.push(0, ROOT);
        Arc::new(section)
    }

    fn push(&self, to: usize, item: u32) {
        let mut deque = self.deques[to].lock().unwrap();
        deque.push(item);
        self.lengths[to].store(deque.len(), Relaxed);
    }

    fn pop(&self, from: usize) -> Option<u32> {
        let mut deque = self.deques[from].lock().unwrap();
        let item = deque.pop();
        self.lengths[from].store(deque.len(), Relaxed);
        item
    }

    fn steal(&self, me: usize) -> Option<u32> {
        (1..WORKERS).map(|turn| (me + turn) % WORKERS).find_map(|victim| match self.lengths[victim].load(Relaxed) {
            0 => None,
            _ => self.pop(victim),
        })
    }

    fn work(&self, me: usize) {
        if me == 0 || self.termination.start() {
            self.run(me);
        }
        assert_eq!(self.done.load(Relaxed), ITEMS, "worker {me} returned before the end");
        // SAFETY: loom reports a race, that is, a tally that the end of the section does not make visible.
        let sum: usize = self.tallies.iter().map(|tally| tally.with(|tally| unsafe { *tally })).sum();
        assert_eq!(sum, ITEMS);
    }

    fn run(&self, me: usize) {
        let (mut mine, mut next) = (0, None);
        loop {
            while let Some(item) = next.take().or_else(|| self.pop(me)).or_else(|| self.steal(me)) {
                if item == ROOT {
                    (0..2).for_each(|child| self.push(me, child));
                    self.termination.published();
                }
                self.done.fetch_add(1, Relaxed);
                mine += 1;
            }
            // SAFETY: as in `work`.
            self.tallies[me].with_mut(|tally| unsafe { *tally = mine });
            next = self.rejoin(me);
            if next.is_none() {
                return;
            }
        }
    }

    /// At most one item: a section that is one step of a marking.
    fn step(&self, me: usize) {
        if me != 0 && !self.termination.start() {
            return;
        }
        let item = self.pop(me).or_else(|| self.steal(me)).or_else(|| self.rejoin(me));
        let Some(item) = item else { return };
        if item == ROOT {
            (0..2).for_each(|child| self.push(me, child));
            self.termination.published();
        }
        self.done.fetch_add(1, Relaxed);
        if self.termination.leave() {
            assert_eq!(self.last_leavers.fetch_add(1, Relaxed), 0, "the section ended twice");
        }
    }

    /// As the tracing loop does it.
    fn rejoin(&self, me: usize) -> Option<u32> {
        loop {
            if self.termination.leave() {
                assert_eq!(self.last_leavers.fetch_add(1, Relaxed), 0, "the section ended twice");
                return None;
            }
            let visible = || (0..WORKERS).any(|other| other != me && self.lengths[other].load(Relaxed) > 0);
            if self.termination.look(visible, self.patience) == Look::Finished {
                return None;
            }
            let stolen = self.steal(me);
            if stolen.is_some() {
                return stolen;
            }
        }
    }
}

fn traces<const WORKERS: usize, const PATIENCE: usize>() {
    let section = Section::<WORKERS>::new(PATIENCE);
    let helpers: Vec<_> = (1..WORKERS)
        .map(|me| {
            let section = section.clone();
            thread::spawn(move || section.work(me))
        })
        .collect();
    section.work(0);
    helpers.into_iter().for_each(|helper| helper.join().unwrap());
    assert_eq!(section.last_leavers.load(Relaxed), 1);
}

/// A worker with much left to do publishes until its work is taken by one that may have gone to sleep.
fn publishes() {
    let termination = Arc::new((Termination::new(), AtomicUsize::new(0)));
    termination.0.open();
    let helper = {
        let termination = termination.clone();
        thread::spawn(move || {
            let (termination, items) = &*termination;
            // It has taken part already, and left.
            assert_eq!(termination.look(|| items.load(Relaxed) > 0, 0), Look::Joined);
            items.store(0, Relaxed);
            assert!(!termination.leave());
        })
    };
    let (termination, items) = &*termination;
    items.store(1, Relaxed);
    while items.load(Relaxed) > 0 {
        termination.published();
        spin();
    }
    helper.join().unwrap();
    assert!(termination.leave());
}

/// A worker that is about to sleep gives up the lock instead, to report that it has waited long, while the
/// last of the others leaves.
fn reports() {
    let termination = Arc::new(Termination::new());
    termination.open();
    assert!(termination.start());
    let helper = {
        let termination = termination.clone();
        thread::spawn(move || _ = termination.leave())
    };
    if !termination.leave() {
        let mut reported = false;
        let found = termination.look_and_sleep(
            || false,
            0,
            |changed, sleeping| match std::mem::replace(&mut reported, true) {
                false => MutexGuard::without(sleeping, || ()),
                true => changed.wait(sleeping),
            },
        );
        assert_eq!(found, Look::Finished);
    }
    helper.join().unwrap();
}

/// Each worker does one item at most, and leaves with the others.
fn steps<const PATIENCE: usize>() {
    let section = Section::<2>::new(PATIENCE);
    let helper = {
        let section = section.clone();
        thread::spawn(move || section.step(1))
    };
    section.step(0);
    helper.join().unwrap();
    let (done, left) = (section.done.load(Relaxed), section.deques.iter().map(|deque| deque.lock().unwrap().len()));
    assert!((1..=2).contains(&done), "{done} items in a step of two workers");
    assert_eq!(done + left.sum::<usize>(), ITEMS, "what nobody did is left for the next step");
    assert_eq!(section.last_leavers.load(Relaxed), 1);
}

#[test]
fn a_worker_that_may_do_no_more_leaves_what_there_is_to_the_next_section() {
    holds(Some(3), steps::<0>);
    holds(Some(3), steps::<1>);
    fails_without("termination-wake", Failure::Deadlock, Some(3), steps::<0>);
}

#[test]
fn two_workers_do_everything_once_and_return() {
    holds(Some(2), traces::<2, 0>);
    holds(Some(2), traces::<2, 1>);
}

#[test]
fn three_workers_do_everything_once_and_return() {
    holds(Some(1), traces::<3, 0>);
    holds(Some(1), traces::<3, 1>);
}

#[test]
fn published_work_wakes_a_sleeper() {
    holds(Some(3), publishes);
    fails_without("termination-published", Failure::Livelock, Some(3), publishes);
}

#[test]
fn the_last_to_leave_sees_what_the_others_did_and_shows_what_it_did() {
    fails_without("termination-leave", Failure::Race, Some(3), traces::<2, 0>);
    fails_without("termination-leave-acquire", Failure::Race, Some(3), traces::<2, 0>);
    fails_without("termination-leave-release", Failure::Race, Some(3), traces::<2, 0>);
}

#[test]
fn whoever_finds_the_section_finished_sees_what_was_done() {
    fails_without("termination-join", Failure::Race, Some(3), traces::<2, 0>);
    fails_without("termination-join-again", Failure::Race, Some(3), traces::<2, 0>);
    fails_without("termination-look", Failure::Race, Some(3), traces::<2, 1>);
    fails_without("termination-last-look", Failure::Race, Some(3), traces::<2, 0>);
}

#[test]
fn joining_from_zero_would_end_the_section_twice() {
    fails_without("termination-zero", Failure::Race, Some(3), traces::<2, 0>);
}

#[test]
fn without_a_wake_up_at_the_end_the_others_sleep_for_ever() {
    fails_without("termination-wake", Failure::Deadlock, Some(3), traces::<2, 0>);
    // The lock keeps the wake-up from falling between a sleeper's last look and its sleep.
    fails_without("termination-wake-lock", Failure::Deadlock, Some(3), traces::<2, 0>);
}

#[test]
fn a_worker_that_has_reported_looks_again_before_it_sleeps() {
    holds(Some(3), reports);
    fails_without("termination-looks-again", Failure::Deadlock, Some(3), reports);
}
