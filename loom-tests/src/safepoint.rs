//! Safepoints: the leader has the heap to itself, both sides see what the other did, and nobody waits for
//! ever.

use crate::check::{Failure, fails_without, holds};
use loom::cell::UnsafeCell;
use loom::thread;
use protocols::safepoint::{Lateness, Safepoint, Stop, Stoppable, ThreadState, WaitsFor};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

#[derive(Clone)]
struct Thread(Arc<ThreadState>);

impl Stoppable for Thread {
    fn state(&self) -> &ThreadState {
        &self.0
    }
}

/// A heap with an object for each of its mutators. A mutator touches its own while it runs, the leader all of
/// them.
struct Heap {
    safepoint: Safepoint<Thread>,
    objects: Vec<UnsafeCell<usize>>,
    /// Pauses led. Not part of the model: loom does not see it.
    pauses: AtomicUsize,
}

// SAFETY: that the accesses to `objects` do not race is what the models check.
unsafe impl Sync for Heap {}
// SAFETY: as for Sync.
unsafe impl Send for Heap {}

impl Heap {
    fn new(objects: usize) -> Arc<Heap> {
        let objects = (0..objects).map(|_| UnsafeCell::new(0)).collect();
        Arc::new(Heap { safepoint: Safepoint::new(), objects, pauses: AtomicUsize::new(0) })
    }

    fn attach(self: &Arc<Heap>, object: usize) -> Mutator {
        let state = Arc::new(ThreadState::default());
        self.safepoint.attach(Thread(state.clone()), &mut (), || ());
        Mutator { heap: self.clone(), state, object }
    }

    fn touch(&self, object: usize) {
        // SAFETY: loom reports a race, that is, an access while the leader has the heap, or one that has not
        // seen the other's.
        self.objects[object].with_mut(|object| unsafe { *object += 1 });
    }

    fn pause(&self, me: Option<&ThreadState>) -> Stop {
        self.pause_with(me, &mut ())
    }

    fn pause_with(&self, me: Option<&ThreadState>, lateness: &mut impl Lateness<Thread>) -> Stop {
        let stop = self.safepoint.stop_all(me, lateness);
        if stop == Stop::Leader {
            self.pauses.fetch_add(1, Relaxed);
            (0..self.objects.len()).for_each(|object| self.touch(object));
            self.safepoint.resume_all();
        }
        stop
    }
}

/// Looks twice, then reports once and waits as long as it takes. What it reports is counted.
#[derive(Default)]
struct Impatient {
    looks: u32,
    reports: u32,
    late: usize,
}

impl Lateness<Thread> for Impatient {
    fn patience(&mut self) -> Option<Duration> {
        self.looks += 1;
        match self.looks {
            1 => Some(Duration::from_secs(1)),
            2 => Some(Duration::ZERO),
            _ => None,
        }
    }
    fn report(&mut self, waits: WaitsFor<Thread>) {
        self.reports += 1;
        if let WaitsFor::Mutators(late) = waits {
            self.late += late.len();
        }
    }
}

/// Looks a few times, then sleeps.
#[derive(Default)]
struct Looking(u32);

impl Lateness<Thread> for Looking {
    fn patience(&mut self) -> Option<Duration> {
        None
    }
    fn looks_again(&mut self, _: usize) -> bool {
        self.0 += 1;
        self.0 <= 2
    }
    fn report(&mut self, _: WaitsFor<Thread>) {}
}

struct Mutator {
    heap: Arc<Heap>,
    state: Arc<ThreadState>,
    object: usize,
}

impl Mutator {
    fn touch(&self) {
        self.heap.touch(self.object);
    }

    fn poll(&self) {
        if self.state.should_stop() {
            self.heap.safepoint.park(&self.state, &mut ());
        }
    }

    fn native(&self) {
        self.heap.safepoint.enter_native(&self.state);
        self.heap.safepoint.leave_native(&self.state, || ());
    }

    /// Its last accesses are made while it gives back what it holds.
    fn detach(self) {
        let thread = self.heap.safepoint.detach(&self.state, &mut (), || self.touch());
        assert!(thread.is_some_and(|thread| Arc::ptr_eq(&thread.0, &self.state)));
    }
}

fn beside(mutator: Mutator, run: impl FnOnce(Mutator) + 'static, lead: impl FnOnce(&Heap)) {
    let heap = mutator.heap.clone();
    let other = thread::spawn(move || run(mutator));
    lead(&heap);
    other.join().unwrap();
    assert_eq!(heap.safepoint.attached(), 0);
}

fn polls() {
    let run = |mutator: Mutator| {
        mutator.touch();
        mutator.poll();
        mutator.touch();
        mutator.detach();
    };
    beside(Heap::new(1).attach(0), run, |heap| assert_eq!(heap.pause(None), Stop::Leader));
}

/// The leader and the mutator look before they sleep. The pause may end while they look, and another begin.
fn looks_before_it_sleeps() {
    let run = |mutator: Mutator| {
        mutator.touch();
        if mutator.state.should_stop() {
            mutator.heap.safepoint.park(&mutator.state, &mut Looking::default());
        }
        mutator.touch();
        mutator.detach();
    };
    let lead = |heap: &Heap| {
        assert_eq!(heap.pause_with(None, &mut Looking::default()), Stop::Leader);
        assert_eq!(heap.pause(None), Stop::Leader);
    };
    beside(Heap::new(1).attach(0), run, lead);
}

/// The second pause may begin before the mutator has woken up from the first.
fn parks_through_two_pauses() {
    let run = |mutator: Mutator| {
        mutator.touch();
        mutator.poll();
        mutator.touch();
        mutator.detach();
    };
    let lead = |heap: &Heap| (0..2).for_each(|_| assert_eq!(heap.pause(None), Stop::Leader));
    beside(Heap::new(1).attach(0), run, lead);
}

/// The leader reports the mutator, and goes on waiting. It may answer while the leader does that.
fn is_reported_and_polls() {
    let run = |mutator: Mutator| {
        mutator.touch();
        mutator.poll();
        mutator.touch();
        mutator.detach();
    };
    let lead = |heap: &Heap| {
        let mut lateness = Impatient::default();
        assert_eq!(heap.pause_with(None, &mut lateness), Stop::Leader);
        assert_eq!(
            lateness.late, lateness.reports as usize,
            "the lock was held since the leader saw that one is missing"
        );
        assert_eq!(heap.pause(None), Stop::Leader);
    };
    beside(Heap::new(1).attach(0), run, lead);
}

/// A mutator stops, and one comes back from a native region, without patience for the end of the pause. It
/// may end while they report that they wait.
fn waits_impatiently_for_the_end() {
    let run = |mutator: Mutator| {
        let safepoint = &mutator.heap.safepoint;
        mutator.touch();
        if mutator.state.should_stop() {
            safepoint.park(&mutator.state, &mut Impatient::default());
        }
        mutator.touch();
        safepoint.enter_native(&mutator.state);
        safepoint.leave_native(&mutator.state, Impatient::default);
        mutator.touch();
        mutator.detach();
    };
    beside(Heap::new(1).attach(0), run, |heap| assert_eq!(heap.pause(None), Stop::Leader));
}

/// Two mutators want to collect at once, and have no patience.
fn two_impatient_ones_want_to_lead() {
    let heap = Heap::new(2);
    let run = |mutator: Mutator| {
        mutator.touch();
        let _ = mutator.heap.pause_with(Some(&mutator.state), &mut Impatient::default());
        mutator.touch();
        mutator.detach();
    };
    let (one, two) = (heap.attach(0), heap.attach(1));
    let other = thread::spawn(move || run(one));
    run(two);
    other.join().unwrap();
    assert_eq!(heap.safepoint.attached(), 0);
}

fn calls_native_code() {
    let run = |mutator: Mutator| {
        mutator.touch();
        mutator.native();
        mutator.touch();
        mutator.detach();
    };
    beside(Heap::new(1).attach(0), run, |heap| assert_eq!(heap.pause(None), Stop::Leader));
}

/// Native regions one after the other, and a second pause.
fn calls_native_code_twice() {
    let run = |mutator: Mutator| {
        mutator.touch();
        mutator.native();
        mutator.touch();
        mutator.native();
        mutator.detach();
    };
    let lead = |heap: &Heap| (0..2).for_each(|_| assert_eq!(heap.pause(None), Stop::Leader));
    beside(Heap::new(1).attach(0), run, lead);
}

fn detaches_inside_native_code() {
    let run = |mutator: Mutator| {
        mutator.touch();
        mutator.heap.safepoint.enter_native(&mutator.state);
        mutator.detach();
    };
    beside(Heap::new(1).attach(0), run, |heap| assert_eq!(heap.pause(None), Stop::Leader));
}

fn attaches() {
    let heap = Heap::new(2);
    // One that is there already: the leader waits, and gives up the lock while it does.
    let old = heap.attach(0);
    let parking = thread::spawn(move || old.detach());
    let attaching = {
        let heap = heap.clone();
        thread::spawn(move || {
            let new = heap.attach(1);
            new.touch();
            new.detach();
        })
    };
    assert_eq!(heap.pause(None), Stop::Leader);
    parking.join().unwrap();
    attaching.join().unwrap();
    assert_eq!(heap.safepoint.attached(), 0);
}

/// Two mutators want to collect at once; one leads, and the other, which stops for it, may be next.
fn two_want_to_lead() {
    let heap = Heap::new(2);
    let run = |mutator: Mutator| {
        mutator.touch();
        let stop = mutator.heap.pause(Some(&mutator.state));
        mutator.touch();
        let heap = mutator.heap.clone();
        mutator.detach();
        (stop, heap)
    };
    let (one, two) = (heap.attach(0), heap.attach(1));
    let other = thread::spawn(move || run(one).0);
    let (mine, heap) = run(two);
    let leaders = [mine, other.join().unwrap()].iter().filter(|stop| **stop == Stop::Leader).count();
    assert!(leaders >= 1);
    assert_eq!(heap.pauses.load(Relaxed), leaders);
    assert_eq!(heap.safepoint.attached(), 0);
}

/// As `two_want_to_lead`, but one of them is no mutator, and a third thread runs.
fn a_mutator_and_a_stranger_want_to_lead() {
    let heap = Heap::new(2);
    let (running, leading) = (heap.attach(0), heap.attach(1));
    let runs = thread::spawn(move || {
        running.touch();
        running.detach();
    });
    let leads = thread::spawn(move || {
        leading.touch();
        let _ = leading.heap.pause(Some(&leading.state));
        leading.detach();
    });
    let _ = heap.pause(None);
    runs.join().unwrap();
    leads.join().unwrap();
    assert!(heap.pauses.load(Relaxed) >= 1);
    assert_eq!(heap.safepoint.attached(), 0);
}

/// Two threads report something each and ask for a look; the mutator looks when it likes.
fn asks_for_a_look() {
    let mutator = Heap::new(1).attach(0);
    let reported = Arc::new(loom::sync::atomic::AtomicUsize::new(0));
    let reporters = [(); 2].map(|()| {
        let (heap, reported) = (mutator.heap.clone(), reported.clone());
        thread::spawn(move || {
            reported.fetch_add(1, Relaxed);
            heap.safepoint.ask_to_look(|_| ());
        })
    });
    let mut seen = 0;
    let mut look = || {
        if mutator.state.should_stop() && mutator.heap.safepoint.take_look(&mutator.state) {
            seen = reported.load(Relaxed);
        }
    };
    look();
    reporters.into_iter().for_each(|reporter| reporter.join().unwrap());
    look();
    assert_eq!(seen, 2, "a report was overlooked");
    mutator.detach();
}

/// A request comes while the mutator enters and leaves a native region, and another thread leads a pause.
fn asks_beside_native_code_and_a_pause() {
    let mutator = Heap::new(1).attach(0);
    let (heap, asking) = (mutator.heap.clone(), mutator.heap.clone());
    let asks = thread::spawn(move || asking.safepoint.ask_to_look(|_| ()));
    let runs = thread::spawn(move || {
        mutator.touch();
        mutator.native();
        mutator.touch();
        // So that the pause need not wait for it.
        mutator.heap.safepoint.enter_native(&mutator.state);
        mutator
    });
    assert_eq!(heap.pause(None), Stop::Leader);
    asks.join().unwrap();
    let mutator = runs.join().unwrap();
    mutator.heap.safepoint.leave_native(&mutator.state, || ());
    assert!(mutator.heap.safepoint.take_look(&mutator.state), "the request is kept");
    mutator.detach();
}

#[test]
fn who_looks_before_it_sleeps_waits_for_the_end_all_the_same() {
    holds(Some(3), looks_before_it_sleeps);
    fails_without("safepoint-looks-then-waits", Failure::Race, Some(3), looks_before_it_sleeps);
}

#[test]
fn a_report_is_seen_by_who_looks_after_it() {
    holds(Some(3), asks_for_a_look);
    holds(Some(2), asks_beside_native_code_and_a_pause);
    fails_without("safepoint-ask", Failure::Wrong, Some(3), asks_for_a_look);
    fails_without("safepoint-look", Failure::Wrong, Some(3), asks_for_a_look);
}

#[test]
fn the_leader_has_the_heap_to_itself() {
    holds(None, polls);
    holds(None, parks_through_two_pauses);
}

#[test]
fn a_native_region_is_not_waited_for_and_not_left_in_a_pause() {
    holds(None, calls_native_code);
    holds(Some(3), calls_native_code_twice);
}

#[test]
fn threads_come_and_go_but_not_in_a_pause() {
    holds(Some(3), attaches);
    holds(None, detaches_inside_native_code);
}

#[test]
fn one_of_two_leads() {
    holds(None, two_want_to_lead);
    holds(Some(3), a_mutator_and_a_stranger_want_to_lead);
}

#[test]
fn the_leader_waits_for_an_answer_from_each() {
    fails_without("safepoint-leader-waits", Failure::Race, None, polls);
    fails_without("safepoint-acknowledge", Failure::Deadlock, None, polls);
    fails_without("safepoint-acknowledge", Failure::Deadlock, None, calls_native_code);
    // A mutator that wakes up in the next pause must answer that one too.
    fails_without("safepoint-answers-each-pause", Failure::Deadlock, Some(3), parks_through_two_pauses);
}

#[test]
fn a_leader_that_reports_who_is_late_misses_no_answer() {
    holds(Some(3), is_reported_and_polls);
    holds(Some(3), two_impatient_ones_want_to_lead);
    fails_without("safepoint-late-leader-looks-again", Failure::Deadlock, Some(3), is_reported_and_polls);
}

#[test]
fn a_mutator_that_reports_a_long_pause_misses_no_end() {
    holds(Some(3), waits_impatiently_for_the_end);
    fails_without("safepoint-late-mutator-looks-again", Failure::Deadlock, Some(3), waits_impatiently_for_the_end);
}

#[test]
fn the_word_orders_what_goes_round_the_lock() {
    for name in ["safepoint-enter-native", "safepoint-stop", "safepoint-resume", "safepoint-leave-native"] {
        fails_without(name, Failure::Race, None, calls_native_code);
    }
}

#[test]
fn who_comes_back_attaches_or_detaches_waits_for_the_end_of_a_pause() {
    fails_without("safepoint-leave-waits", Failure::Race, None, calls_native_code);
    fails_without("safepoint-attach-waits", Failure::Race, Some(3), attaches);
    fails_without("safepoint-detach-waits", Failure::Race, Some(3), detaches_inside_native_code);
}

#[test]
fn with_two_leaders_neither_is_alone() {
    fails_without("safepoint-one-leader", Failure::Wrong, Some(3), two_want_to_lead);
}
