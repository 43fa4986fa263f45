//! The write barrier: if several mutators store into an old object at the same time, one of them remembers
//! it, and the pause finds it remembered. In a mutator that attaches while a pause arms the barrier, the
//! barrier is armed.

use crate::check::{Failure, fails_without, holds};
use crate::forwarding::{InHeader, Old, OnTheSide};
use loom::cell::UnsafeCell;
use loom::thread;
use protocols::forwarding::{PINNED, StateCell, UNLOGGED};
use protocols::safepoint::{Safepoint, Stop, Stoppable, ThreadState};
use protocols::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

const EPOCH: u8 = 5;

/// An old object with a slot.
struct Object<O> {
    old: O,
    slot: AtomicU64,
}

impl<O: Old> Object<O> {
    fn new() -> Arc<Self> {
        Arc::new(Object { old: O::new(EPOCH | UNLOGGED), slot: AtomicU64::new(0) })
    }

    /// A store and its barrier; whether this mutator must remember the object.
    fn write(&self, value: u64) -> bool {
        self.slot.store(value, Relaxed);
        self.old.cell().is_unlogged() && self.old.cell().log()
    }
}

fn two_write<O: Old>() {
    let object = Object::<O>::new();
    let low = object.old.low();
    let other = {
        let object = object.clone();
        thread::spawn(move || object.write(1))
    };
    let noted = usize::from(object.write(2)) + usize::from(other.join().unwrap());
    assert_eq!(noted, 1, "it is remembered once");
    assert_eq!((object.old.cell().read(Relaxed) >> 56) as u8, EPOCH);
    assert_eq!(object.old.low(), low);
}

/// One mutator writes to an old object while another pins it.
fn one_writes_another_pins<O: Old>() {
    let object = Object::<O>::new();
    let other = {
        let object = object.clone();
        thread::spawn(move || object.old.cell().set_pinned(true))
    };
    let noted = object.write(1);
    other.join().unwrap();
    assert!(noted, "it is remembered");
    assert_eq!((object.old.cell().read(Relaxed) >> 56) as u8, EPOCH | PINNED);
}

#[test]
fn a_pin_and_a_note_do_not_undo_each_other() {
    holds(None, one_writes_another_pins::<InHeader>);
    holds(None, one_writes_another_pins::<OnTheSide>);
}

#[test]
fn without_the_exchange_a_pin_undoes_a_note() {
    fails_without("pin-exchange", Failure::Wrong, None, one_writes_another_pins::<InHeader>);
    fails_without("pin-exchange", Failure::Wrong, None, one_writes_another_pins::<OnTheSide>);
}

/// A mutator: its state word, and what its barrier noted.
struct Mutator {
    state: ThreadState,
    noted: UnsafeCell<bool>,
}

// SAFETY: that the accesses to `noted` do not race is what the model checks.
unsafe impl Sync for Mutator {}
// SAFETY: as for Sync.
unsafe impl Send for Mutator {}

#[derive(Clone)]
struct Entry(Arc<Mutator>);
impl Stoppable for Entry {
    fn state(&self) -> &ThreadState {
        &self.0.state
    }
}

/// A mutator writes and goes on into native code; a collection comes at any time.
fn a_pause_comes<O: Old>() {
    let object = Object::<O>::new();
    let safepoint = Arc::new(Safepoint::<Entry>::new());
    let mutator = Arc::new(Mutator { state: ThreadState::default(), noted: UnsafeCell::new(false) });
    safepoint.attach(Entry(mutator.clone()), &mut (), || ());
    let writer = {
        let (object, safepoint, mutator) = (object.clone(), safepoint.clone(), mutator.clone());
        thread::spawn(move || {
            if object.write(1) {
                // SAFETY: loom reports a race.
                mutator.noted.with_mut(|noted| unsafe { *noted = true });
            }
            safepoint.enter_native(&mutator.state);
        })
    };
    assert_eq!(safepoint.stop_all(None, &mut ()), Stop::Leader);
    // SAFETY: loom reports a race.
    let noted = mutator.noted.with(|noted| unsafe { *noted });
    assert!(noted, "the mutator was stopped behind its store");
    assert_eq!(object.slot.load(Relaxed), 1);
    object.old.cell().unlog();
    safepoint.resume_all();
    writer.join().unwrap();
    assert!(object.old.cell().is_unlogged());
}

#[test]
fn an_object_is_remembered_once() {
    holds(None, two_write::<InHeader>);
    holds(None, two_write::<OnTheSide>);
}

#[test]
fn without_the_exchange_it_is_remembered_twice() {
    fails_without("barrier-exchange", Failure::Wrong, None, two_write::<InHeader>);
    fails_without("barrier-exchange", Failure::Wrong, None, two_write::<OnTheSide>);
}

#[test]
fn a_pause_finds_what_was_noted() {
    holds(None, a_pause_comes::<InHeader>);
    holds(None, a_pause_comes::<OnTheSide>);
}

#[test]
fn without_the_order_of_the_safepoint_a_pause_misses_what_was_noted() {
    for name in ["safepoint-enter-native", "safepoint-stop"] {
        fails_without(name, Failure::Race, None, a_pause_comes::<InHeader>);
    }
}

/// Whether barriers are armed: what leaders decide for the heap, and what a mutator goes by. Not atomic: loom
/// reports a race.
#[derive(Default)]
struct Armed(UnsafeCell<bool>);

// SAFETY: that the accesses do not race is what the model checks.
unsafe impl Sync for Armed {}
// SAFETY: as for Sync.
unsafe impl Send for Armed {}

impl Armed {
    fn get(&self) -> bool {
        // SAFETY: loom reports a race.
        self.0.with(|armed| unsafe { *armed })
    }

    fn set(&self, to: bool) {
        // SAFETY: loom reports a race.
        self.0.with_mut(|armed| unsafe { *armed = to });
    }
}

#[derive(Clone)]
struct Attached(Arc<(ThreadState, Armed)>);
impl Stoppable for Attached {
    fn state(&self) -> &ThreadState {
        &self.0.0
    }
}

/// A thread attaches and goes by the barrier that it finds; a pause that arms the barriers comes at any time.
fn one_attaches_while_barriers_are_armed() {
    let safepoint = Arc::new(Safepoint::<Attached>::new());
    let heap = Arc::new(Armed::default());
    let mutator = {
        let (safepoint, heap) = (safepoint.clone(), heap.clone());
        thread::spawn(move || {
            let me = Arc::new((ThreadState::default(), Armed::default()));
            safepoint.attach(Attached(me.clone()), &mut (), || me.1.set(heap.get()));
            assert_eq!(me.1.get(), heap.get(), "its stores into old objects would not be noted");
            safepoint.detach(&me.0, &mut (), || ());
        })
    };
    assert_eq!(safepoint.stop_all(None, &mut ()), Stop::Leader);
    heap.set(true);
    safepoint.with_stopped(|mutators| mutators.iter().for_each(|mutator| mutator.0.1.set(true)));
    safepoint.resume_all();
    mutator.join().unwrap();
}

#[test]
fn a_mutator_that_attaches_has_its_barrier_armed_as_the_heap_has() {
    holds(None, one_attaches_while_barriers_are_armed);
}

#[test]
fn unless_it_attaches_outside_pauses_its_barrier_is_in_doubt() {
    fails_without("safepoint-attach-waits", Failure::Race, None, one_attaches_while_barriers_are_armed);
    fails_without("safepoint-admit-in-turn", Failure::Race, None, one_attaches_while_barriers_are_armed);
}
