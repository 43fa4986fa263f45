//! Handshakes: each mutator hands in its log once, by itself or by the thread that asks; nobody uses a log
//! that another one hands in; and a pause may come at any time.

use crate::check::{Failure, fails_without, holds};
use loom::cell::UnsafeCell;
use loom::thread;
use protocols::safepoint::{Lateness, Safepoint, Stop, Stoppable, ThreadState, WaitsFor};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// A mutator: its word, how many entries its log has, and how often it was handed in to a handshake.
#[derive(Default)]
struct Mutator {
    state: ThreadState,
    log: UnsafeCell<usize>,
    handed_in: UnsafeCell<usize>,
}

#[derive(Clone)]
struct Entry(Arc<Mutator>);

impl Stoppable for Entry {
    fn state(&self) -> &ThreadState {
        &self.0.state
    }
}

struct Heap {
    safepoint: Safepoint<Entry>,
    /// What the asking thread did before it asks: 1.
    announced: UnsafeCell<usize>,
    /// Entries taken from logs. Not part of the model: loom does not see it.
    taken: AtomicUsize,
}

// SAFETY: that the accesses to the cells do not race is what the models check.
unsafe impl Sync for Heap {}
// SAFETY: as for Sync.
unsafe impl Send for Heap {}
// SAFETY: as for `Heap`.
unsafe impl Sync for Mutator {}
// SAFETY: as for Sync.
unsafe impl Send for Mutator {}

impl Heap {
    fn new() -> Arc<Heap> {
        Arc::new(Heap { safepoint: Safepoint::new(), announced: UnsafeCell::new(0), taken: AtomicUsize::new(0) })
    }

    fn attach(&self) -> Arc<Mutator> {
        let mutator = Arc::new(Mutator::default());
        self.safepoint.attach(Entry(mutator.clone()), &mut (), || ());
        mutator
    }

    fn take_log(&self, mutator: &Mutator) {
        // SAFETY: loom reports a race: two use the log, or one that has not seen what the other did.
        let entries = mutator.log.with_mut(|log| std::mem::take(unsafe { &mut *log }));
        self.taken.fetch_add(entries, Relaxed);
    }

    fn hand_in(&self, mutator: &Mutator) {
        // SAFETY: as above.
        self.announced.with(|announced| assert_eq!(unsafe { *announced }, 1));
        self.take_log(mutator);
        // SAFETY: as above.
        mutator.handed_in.with_mut(|times| unsafe { *times += 1 });
    }

    fn ask(&self, lateness: &mut impl Lateness<Entry>) -> bool {
        // SAFETY: as above.
        self.announced.with_mut(|announced| unsafe { *announced = 1 });
        self.safepoint.handshake(|mutator| self.hand_in(&mutator.0), lateness)
    }

    fn pause(&self, me: Option<&ThreadState>) {
        if self.safepoint.stop_all(me, &mut ()) == Stop::Leader {
            self.safepoint.with_stopped(|mutators| mutators.iter().for_each(|mutator| self.take_log(&mutator.0)));
            self.safepoint.resume_all();
        }
    }

    fn poll(&self, mutator: &Mutator) {
        if mutator.state.should_stop() {
            self.safepoint.park(&mutator.state, &mut ());
            self.safepoint.answer(&mutator.state, || self.hand_in(mutator));
        }
    }

    fn native(&self, mutator: &Mutator) {
        self.safepoint.enter_native(&mutator.state);
        self.safepoint.leave_native(&mutator.state, || ());
    }
}

impl Mutator {
    fn note(&self) {
        // SAFETY: loom reports a race.
        self.log.with_mut(|log| unsafe { *log += 1 });
    }
}

/// A mutator runs and then stays in a native region; another thread asks, and a pause comes if there is one.
/// In the end, all `notes` are found.
fn asks_beside(
    notes: usize,
    pause: bool,
    lateness: &mut impl Lateness<Entry>,
    run: impl FnOnce(&Heap, &Mutator) + 'static,
) {
    let heap = Heap::new();
    let mutator = heap.attach();
    let runs = {
        let (heap, mutator) = (heap.clone(), mutator.clone());
        thread::spawn(move || {
            run(&heap, &mutator);
            heap.safepoint.enter_native(&mutator.state);
        })
    };
    let leads = pause.then(|| {
        let heap = heap.clone();
        thread::spawn(move || heap.pause(None))
    });
    let answered = heap.ask(lateness);
    assert!(answered || pause, "only a pause ends a handshake");
    if answered {
        // SAFETY: loom reports a race: a log is handed in later, or this thread has not seen it.
        mutator.handed_in.with(|times| assert_eq!(unsafe { *times }, 1, "each hands in once"));
    }
    runs.join().unwrap();
    leads.into_iter().for_each(|leads| leads.join().unwrap());
    heap.safepoint.leave_native(&mutator.state, || ());
    assert!(!mutator.state.should_stop(), "all that was asked for is answered");
    heap.take_log(&mutator);
    assert_eq!(heap.taken.load(Relaxed), notes, "no entry of the log is lost or taken twice");
}

fn polls_in(pause: bool, lateness: &mut impl Lateness<Entry>) {
    asks_beside(2, pause, lateness, |heap, mutator| {
        mutator.note();
        heap.poll(mutator);
        mutator.note();
    });
}

fn polls() {
    polls_in(false, &mut ());
}

/// The mutator answers and does not look for a pause before: no lock carries what the asking thread did.
fn answers() {
    asks_beside(2, false, &mut (), |heap, mutator| {
        mutator.note();
        heap.safepoint.answer(&mutator.state, || heap.hand_in(mutator));
        mutator.note();
    });
}

fn polls_beside_a_pause() {
    polls_in(true, &mut ());
}

/// Looks twice, then reports once and waits as long as it takes.
#[derive(Default)]
struct Impatient(u32);

impl Lateness<Entry> for Impatient {
    fn patience(&mut self) -> Option<Duration> {
        self.0 += 1;
        match self.0 {
            1 => Some(Duration::from_secs(1)),
            2 => Some(Duration::ZERO),
            _ => None,
        }
    }
    fn report(&mut self, waits: WaitsFor<Entry>) {
        assert!(matches!(waits, WaitsFor::Answers(1)));
    }
}

fn is_reported_and_polls() {
    polls_in(false, &mut Impatient::default());
}

fn calls_native_code_in(pause: bool) {
    asks_beside(2, pause, &mut (), |heap, mutator| {
        mutator.note();
        heap.native(mutator);
        mutator.note();
    });
}

fn calls_native_code() {
    calls_native_code_in(false);
}

fn calls_native_code_beside_a_pause() {
    calls_native_code_in(true);
}

/// A mutator leads a pause, whether it was asked or not.
fn a_mutator_leads() {
    asks_beside(2, true, &mut (), |heap, mutator| {
        mutator.note();
        heap.pause(Some(&mutator.state));
        mutator.note();
    });
}

/// One attaches, and detaches with what it has noted meanwhile; another one is there before, and detaches.
fn threads_come_and_go() {
    let heap = Heap::new();
    let old = heap.attach();
    let goes = {
        let (heap, old) = (heap.clone(), old.clone());
        thread::spawn(move || {
            old.note();
            assert!(heap.safepoint.detach(&old.state, &mut (), || heap.take_log(&old)).is_some());
        })
    };
    let comes = {
        let heap = heap.clone();
        thread::spawn(move || {
            let new = heap.attach();
            new.note();
            heap.poll(&new);
            assert!(heap.safepoint.detach(&new.state, &mut (), || heap.take_log(&new)).is_some());
        })
    };
    assert!(heap.ask(&mut ()));
    goes.join().unwrap();
    comes.join().unwrap();
    assert_eq!((heap.safepoint.attached(), heap.taken.load(Relaxed)), (0, 2));
}

/// After a handshake that a pause ended, or not, the next one works.
fn asks_again_after_a_pause() {
    let heap = Heap::new();
    let mutator = heap.attach();
    heap.safepoint.enter_native(&mutator.state);
    let leads = {
        let heap = heap.clone();
        thread::spawn(move || heap.pause(None))
    };
    let first = heap.ask(&mut ());
    leads.join().unwrap();
    assert!(heap.ask(&mut ()), "no pause is in progress");
    // SAFETY: loom reports a race.
    mutator.handed_in.with(|times| assert_eq!(unsafe { *times }, 1 + usize::from(first)));
}

#[test]
fn each_mutator_hands_in_once_and_the_asking_thread_sees_it() {
    holds(None, polls);
    holds(None, answers);
    holds(None, calls_native_code);
    holds(Some(3), threads_come_and_go);
}

#[test]
fn a_pause_ends_a_handshake_and_hands_in_what_is_left() {
    holds(Some(2), polls_beside_a_pause);
    holds(Some(2), calls_native_code_beside_a_pause);
    holds(Some(2), a_mutator_leads);
    holds(None, asks_again_after_a_pause);
}

#[test]
fn a_pause_that_does_not_end_the_handshake_waits_for_ever() {
    fails_without("safepoint-stop-ends-handshake", Failure::Deadlock, Some(2), polls_beside_a_pause);
}

#[test]
fn a_mutator_answers_after_it_has_handed_in() {
    fails_without("safepoint-hands-in-first", Failure::Race, Some(3), polls);
    fails_without("safepoint-detach-answers", Failure::Deadlock, Some(3), threads_come_and_go);
}

#[test]
fn a_native_region_does_not_end_while_its_log_is_taken_and_does_not_hide_a_request() {
    fails_without("safepoint-leave-in-handshake", Failure::Race, None, calls_native_code);
    fails_without("safepoint-native-wakes", Failure::Deadlock, None, calls_native_code);
}

#[test]
fn an_asking_thread_that_reports_misses_no_answer() {
    holds(Some(3), is_reported_and_polls);
    fails_without("safepoint-late-handshake-looks-again", Failure::Deadlock, Some(3), is_reported_and_polls);
}

#[test]
fn the_word_orders_the_log_and_what_was_announced() {
    fails_without("safepoint-shake", Failure::Race, None, calls_native_code);
    fails_without("safepoint-shake-acquire", Failure::Race, None, calls_native_code);
    fails_without("safepoint-handed-in", Failure::Race, None, calls_native_code);
    fails_without("safepoint-shake-release", Failure::Race, None, answers);
    fails_without("safepoint-answer", Failure::Race, None, answers);
}
