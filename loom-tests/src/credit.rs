//! Credit for marking: it is spent once, never lost, and void when its cycle has ended.

use crate::check::{Failure, fails_without, holds};
use loom::thread;
use protocols::credit::{Credit, Credits};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const CAP: u64 = 2;

/// A worker earns, a mutator pays, another has a surplus and exits: what was earned is spent or still there.
fn conserved() {
    let credits = Arc::new(Credits::new(CAP));
    let spent = Arc::new(AtomicU64::new(0));
    let worker = {
        let credits = credits.clone();
        thread::spawn(move || credits.earn(0, 2))
    };
    let mutator = {
        let (credits, spent) = (credits.clone(), spent.clone());
        thread::spawn(move || {
            let mut credit = Credit::default();
            spent.fetch_add(3 - credits.pay(&mut credit, 3), Relaxed);
            credits.give_back(&mut credit);
        })
    };
    let mut credit = Credit::default();
    credits.surplus(&mut credit, 0, 3);
    assert!(credit.bytes() <= CAP, "{} bytes held", credit.bytes());
    spent.fetch_add(1 - credits.pay(&mut credit, 1), Relaxed);
    credits.give_back(&mut credit);
    worker.join().unwrap();
    mutator.join().unwrap();
    assert_eq!(spent.load(Relaxed) + credits.available(), 5);
}

/// A cycle ends while a worker earns and a mutator pays: in the new one nothing is there that was not earned
/// in it.
fn void_after_the_cycle() {
    let credits = Arc::new(Credits::new(CAP));
    credits.earn(0, 1);
    let worker = {
        let credits = credits.clone();
        thread::spawn(move || {
            let cycle = credits.cycle();
            credits.earn(cycle, 1);
            cycle
        })
    };
    let mutator = {
        let credits = credits.clone();
        thread::spawn(move || {
            let mut credit = Credit::default();
            credits.surplus(&mut credit, 0, 1);
            let before = credits.cycle();
            let spent = 2 - credits.pay(&mut credit, 2);
            (before, spent)
        })
    };
    credits.begin_cycle();
    let earned = worker.join().unwrap();
    let (before, spent) = mutator.join().unwrap();
    if before == 1 {
        assert!(spent <= earned, "{spent} spent, {earned} earned in this cycle");
    }
    assert!(
        credits.available() <= earned,
        "{} there, {earned} earned in this cycle, {before} {spent}",
        credits.available()
    );
}

#[test]
fn credit_is_spent_once_and_never_lost() {
    holds(Some(3), conserved);
    fails_without("credit-exchange", Failure::Wrong, Some(3), conserved);
    fails_without("credit-return", Failure::Wrong, Some(3), conserved);
    fails_without("credit-cap", Failure::Wrong, Some(3), conserved);
}

#[test]
fn credit_of_a_cycle_that_has_ended_is_void() {
    holds(Some(3), void_after_the_cycle);
    fails_without("credit-cycle", Failure::Wrong, Some(3), void_after_the_cycle);
    fails_without("credit-exchange", Failure::Wrong, Some(3), void_after_the_cycle);
}
