//! Clearing against resurrection: what a finalizer brings back is not cleared by a worker that looks at
//! references after that step.
//!
//! In one step workers take dead objects with finalizers from a shared counter and mark them; in the next
//! they clear phantom references whose targets are not marked. Marks are relaxed stores: the end of the first
//! step makes sure that the second sees them all.

use crate::check::{Failure, fails, fails_without, holds};
use crate::forwarding::{InHeader, Old, OnTheSide};
use loom::thread;
use protocols::forwarding::StateCell;
use protocols::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use protocols::termination::{Look, Termination};
use std::sync::Arc;

const DEAD: u8 = 4;
const EPOCH: u8 = 5;
const FINALIZABLE: usize = 2;

struct Pause<O> {
    keeping: Termination,
    next: AtomicUsize,
    /// With finalizers, and a phantom reference to each.
    objects: [O; FINALIZABLE],
}

impl<O: Old> Pause<O> {
    fn new() -> Arc<Self> {
        let pause = Pause {
            keeping: Termination::new(),
            next: AtomicUsize::new(0),
            objects: std::array::from_fn(|_| O::new(DEAD)),
        };
        pause.keeping.open();
        Arc::new(pause)
    }

    /// The step that keeps, until all workers are done with it.
    fn keep(&self, me: usize) {
        if me > 0 && !self.keeping.start() {
            return;
        }
        loop {
            let next = self.next.fetch_add(1, Relaxed);
            let Some(object) = self.objects.get(next) else { break };
            assert!(object.cell().mark(EPOCH), "each is taken by one worker");
        }
        if !self.keeping.leave() {
            assert_eq!(self.keeping.look(|| false, 0), Look::Finished);
        }
    }

    /// The step that clears.
    fn clear(&self) {
        for (number, object) in self.objects.iter().enumerate() {
            assert!(
                object.cell().is_marked(EPOCH),
                "the reference to {number} is cleared, which its finalizer brought back"
            );
        }
    }
}

fn finalizes<O: Old, const IN_STEPS: bool>() {
    let pause = Pause::<O>::new();
    let work = |pause: &Pause<O>, me| {
        if IN_STEPS || me == 0 {
            pause.keep(me);
        }
        pause.clear();
    };
    let helper = {
        let pause = pause.clone();
        thread::spawn(move || work(&pause, 1))
    };
    work(&pause, 0);
    helper.join().unwrap();
}

#[test]
fn what_a_finalizer_brings_back_keeps_its_references() {
    holds(Some(3), finalizes::<InHeader, true>);
    holds(Some(3), finalizes::<OnTheSide, true>);
}

#[test]
fn without_the_order_at_the_end_of_the_step_a_reference_to_it_is_cleared() {
    for name in ["termination-leave-release", "termination-leave-acquire"] {
        fails_without(name, Failure::Wrong, Some(3), finalizes::<InHeader, true>);
        fails_without(name, Failure::Wrong, Some(3), finalizes::<OnTheSide, true>);
    }
    fails_without("termination-last-look", Failure::Wrong, Some(3), finalizes::<OnTheSide, true>);
}

#[test]
fn a_worker_that_clears_before_the_step_has_ended_clears_a_reference_to_it() {
    fails(Failure::Wrong, Some(3), finalizes::<InHeader, false>);
    fails(Failure::Wrong, Some(3), finalizes::<OnTheSide, false>);
}
