//! Ephemerons that wait for their keys: no entry of the index is lost, and a value is followed exactly once.

use crate::check::{Failure, fails_without, holds};
use loom::thread;
use protocols::conditions::{Conditions, KEY, OWNER};
use protocols::index::Index;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const KEY_OF_BOTH: usize = 64;

/// Two workers put entries with the same key into the index; when both have left the section, both are found.
fn fill_together() {
    let index = Arc::new(Index::new(2));
    let other = {
        let index = index.clone();
        thread::spawn(move || index.insert(KEY_OF_BOTH, 0))
    };
    index.insert(KEY_OF_BOTH, 1);
    other.join().unwrap();
    let mut found: Vec<usize> = index.candidates(KEY_OF_BOTH).collect();
    found.sort_unstable();
    assert_eq!(found, [0, 1], "an entry was lost");
}

#[test]
fn entries_that_two_workers_insert_are_both_found() {
    holds(None, fill_together);
}

#[test]
fn without_the_exchange_an_entry_is_lost() {
    fails_without("index-exchange", Failure::Wrong, None, fill_together);
}

/// One worker reaches the key, and another one the owner; `twice` if both have marked the key.
fn reach(twice: bool) {
    let conditions = Arc::new(Conditions::new(0));
    // Not part of the model: loom does not see it.
    let followed = Arc::new(AtomicUsize::new(0));
    let meet = move |conditions: &Conditions, followed: &AtomicUsize, condition| {
        followed.fetch_add(usize::from(conditions.meet(condition)), Relaxed);
    };
    let other = {
        let (conditions, followed) = (conditions.clone(), followed.clone());
        thread::spawn(move || {
            meet(&conditions, &followed, KEY);
        })
    };
    meet(&conditions, &followed, OWNER);
    if twice {
        meet(&conditions, &followed, KEY);
    }
    other.join().unwrap();
    assert_eq!(followed.load(Relaxed), 1, "a value is followed once");
}

#[test]
fn who_completes_the_conditions_follows_the_value() {
    holds(None, || reach(false));
    holds(None, || reach(true));
}

#[test]
fn without_the_exchange_nobody_follows_the_value() {
    fails_without("conditions-exchange", Failure::Wrong, None, || reach(false));
}
