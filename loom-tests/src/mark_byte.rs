//! The mark: several workers may win it, but it is never lost, and the other bits of its byte stay.

use crate::check::{Failure, fails_without, holds};
use crate::forwarding::{InHeader, Old, OnTheSide};
use loom::thread;
use protocols::forwarding::StateCell;
use protocols::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

const EPOCH: u8 = 5;
const OTHERS: u8 = 0x30;

struct Object<O> {
    old: O,
    /// Not part of the model: loom does not see it.
    winners: AtomicUsize,
}

impl<O: Old> Object<O> {
    fn mark(&self) {
        let won = self.old.cell().mark(EPOCH);
        self.winners.fetch_add(usize::from(won), Relaxed);
        assert!(self.old.cell().is_marked(EPOCH));
        assert!(!self.old.cell().mark(EPOCH), "a worker wins a mark once");
    }
}

fn marks<O: Old>() {
    let object = Arc::new(Object { old: O::new(OTHERS | 4), winners: AtomicUsize::new(0) });
    let low = object.old.low();
    let other = {
        let object = object.clone();
        thread::spawn(move || object.mark())
    };
    object.mark();
    other.join().unwrap();
    assert!(object.winners.load(Relaxed) >= 1, "nobody scans the object");
    assert_eq!((object.old.cell().read(Relaxed) >> 56) as u8, OTHERS | EPOCH);
    assert_eq!(object.old.low(), low);
}

#[test]
fn a_mark_is_never_lost_and_the_other_bits_stay() {
    holds(None, marks::<InHeader>);
    holds(None, marks::<OnTheSide>);
}

#[test]
fn without_the_store_the_mark_is_lost() {
    fails_without("mark-store", Failure::Wrong, None, marks::<InHeader>);
    fails_without("mark-store", Failure::Wrong, None, marks::<OnTheSide>);
}

#[test]
fn without_the_mask_the_other_bits_are_lost() {
    fails_without("mark-keeps-others", Failure::Wrong, None, marks::<InHeader>);
    fails_without("mark-keeps-others", Failure::Wrong, None, marks::<OnTheSide>);
}
