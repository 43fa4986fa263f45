//! The count of pins: the object's bit is set as long as there is a pin, and is cleared with the last one.

use crate::check::{Failure, fails, holds};
use crate::forwarding::{InHeader, Old, OnTheSide};
use loom::thread;
use protocols::forwarding::{PINNED, StateCell};
use protocols::pin_count::{one_less, one_more};
use protocols::sync::Mutex;
use protocols::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

const EPOCH: u8 = 5;

struct Object<O> {
    old: O,
    /// In place of the table of pins, which has one lock too.
    count: Mutex<Option<u64>>,
}

impl<O: Old> Object<O> {
    fn is_pinned(&self) -> bool {
        (self.old.cell().read(Relaxed) >> 56) as u8 & PINNED != 0
    }

    /// Count and bit change under the lock; or the bit after it, which is what the model must find.
    fn pin_and_unpin<const TOGETHER: bool>(&self) {
        let mut later = None;
        let set = |pinned| self.old.cell().set_pinned(pinned);
        let mut change = |pinned| if TOGETHER { set(pinned) } else { later = Some(pinned) };
        {
            let mut count = self.count.lock();
            *count = Some(one_more(*count, &mut change));
        }
        later.take().into_iter().for_each(set);
        assert!(self.is_pinned(), "whoever has pinned it finds it pinned");
        let mut change = |pinned| if TOGETHER { set(pinned) } else { later = Some(pinned) };
        {
            let mut count = self.count.lock();
            *count = one_less(count.expect("this thread has a pin"), &mut change);
        }
        later.into_iter().for_each(set);
    }
}

fn two_pin<O: Old, const TOGETHER: bool>() {
    let object = Arc::new(Object { old: O::new(EPOCH), count: Mutex::new(None) });
    let other = {
        let object = object.clone();
        thread::spawn(move || object.pin_and_unpin::<TOGETHER>())
    };
    object.pin_and_unpin::<TOGETHER>();
    other.join().unwrap();
    assert_eq!(*object.count.lock(), None);
    assert!(!object.is_pinned(), "nobody has a pin any more");
    assert_eq!((object.old.cell().read(Relaxed) >> 56) as u8, EPOCH);
}

#[test]
fn an_object_is_pinned_as_long_as_somebody_holds_a_pin() {
    holds(None, two_pin::<InHeader, true>);
    holds(None, two_pin::<OnTheSide, true>);
}

#[test]
fn a_bit_that_changes_outside_the_lock_goes_while_somebody_holds_a_pin() {
    fails(Failure::Wrong, None, two_pin::<InHeader, false>);
    fails(Failure::Wrong, None, two_pin::<OnTheSide, false>);
}
