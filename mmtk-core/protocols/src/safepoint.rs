//! Stopping mutators: poll, park, native regions, stop-all and resume-all, attach and detach.
//!
//! Each mutator has one state word. The leader of a pause raises STOP in every word; a running mutator
//! acknowledges at its next poll and parks; one in a native region counts as stopped already, and waits when
//! it comes back.
//!
//! ```text
//!  word                poll/park                                        resume
//!  RUNNING        --stop--> RUNNING|STOP  --acknowledge--> RUNNING|STOP|ANSWERED --> RUNNING
//!  NATIVE         --stop--> NATIVE|STOP   ------------------------------------------> NATIVE
//! ```
//! A leader that has waited long for answers gives up the lock, reports the threads that have not answered,
//! and looks again; so does a thread that has waited long for the end of a pause. Its caller says how long is
//! long ([`Lateness`]): no clock is read here. LOOK is one more bit, which may be set in any state. It asks
//! the mutator to check whether a collection is due: at its next poll, at its next slow path of allocation,
//! or at the end of its native region.
//!
//! I1. The transition into a native region and the stop request are read-modify-writes of the same word, so
//!     one of the two sees the other; no fence is needed between two words.
//! I2. `unacknowledged` and the bit ANSWERED are written under the lock only. `unacknowledged` counts the
//!     words that hold STOP and no other bit: running mutators that were asked and have not answered.
//! I3. While `stopping` is set, no thread attaches, detaches or returns from a native region, and there is
//!     one leader.
//! I4. What a mutator wrote before it acknowledged or entered native code is visible to the leader after
//!     `stop_all`; what the leader wrote is visible to a mutator after it resumes. The lock carries it, or
//!     the word's Release/Acquire.
//! I5. A pause whose leader panicked is never over: no thread may touch the heap again. A thread that waits
//!     for its end, or comes to a safepoint later, panics; it can only detach.
//! I6. A mutator that looks sees what the thread that asked had done before: the word carries it.
//! Callers: mutator threads, and whichever thread leads a pause; `ask_to_look` any thread.

use crate::sync::atomic::{AtomicU32, Ordering::Relaxed};
use crate::sync::{Condvar, Mutex, MutexGuard, dropped, order};
use std::time::Duration;

const RUNNING: u32 = 0;
const NATIVE: u32 = 1;
const STOP: u32 = 2;
const LOOK: u32 = 4;
/// With STOP: the mutator has acknowledged this pause.
const ANSWERED: u32 = 8;

/// One mutator's state word. Compiled code may poll by itself: anything but zero means "call the slow path".
#[derive(Debug)]
#[repr(transparent)]
pub struct ThreadState(AtomicU32);

impl Default for ThreadState {
    fn default() -> Self {
        ThreadState(AtomicU32::new(RUNNING))
    }
}

impl ThreadState {
    /// Whether the mutator must call the slow path. One relaxed load: the slow path takes the lock, which
    /// orders the rest.
    #[inline(always)]
    pub fn should_stop(&self) -> bool {
        self.0.load(Relaxed) != RUNNING
    }

    /// Whether a pause waits for its answer.
    fn is_late(&self) -> bool {
        self.0.load(Relaxed) & !LOOK == RUNNING | STOP
    }

    /// Whether the mutator is inside a native region.
    pub fn is_native(&self) -> bool {
        self.0.load(Relaxed) & NATIVE != 0
    }
}

/// Something with a state word that the safepoint keeps in its registry.
pub trait Stoppable {
    /// Its word.
    fn state(&self) -> &ThreadState;
}

/// What a thread does that has waited long for others to stop, or for the end of a pause.
pub trait Lateness<T> {
    /// How long to wait until the next report; for ever if there is no answer.
    fn patience(&mut self) -> Option<Duration>;

    /// The time is over. Called without the lock; for a leader while its pause is in progress, so that nobody
    /// attaches or detaches.
    fn report(&mut self, waits: WaitsFor<T>);
}

/// What is waited for.
pub enum WaitsFor<T> {
    /// The leader: for these mutators, which it has asked to stop. Some may have answered meanwhile.
    Mutators(Vec<T>),
    /// A stopped mutator, or a thread that wants to lead, to attach or to detach: for the end of the pause of
    /// another leader. It may be over.
    Leader,
}

/// Waits as long as it takes.
impl<T> Lateness<T> for () {
    fn patience(&mut self) -> Option<Duration> {
        None
    }
    fn report(&mut self, _: WaitsFor<T>) {}
}

struct Registry<T> {
    threads: Vec<T>,
    stopping: bool,
    unacknowledged: usize,
    /// The leader of the pause in progress panicked (I5).
    abandoned: bool,
}

impl<T> Registry<T> {
    fn assert_usable(&self) {
        // A thread that unwinds already has its reason.
        assert!(
            !self.abandoned || std::thread::panicking(),
            "a collection panicked: this heap cannot be used any more"
        );
    }
}

/// The mutators of one heap, and the lock by which they stop.
pub struct Safepoint<T> {
    registry: Mutex<Registry<T>>,
    all_stopped: Condvar,
    resumed: Condvar,
}

/// Whether this thread leads the pause.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[must_use = "the leader must resume the others"]
pub enum Stop {
    /// Everybody else is stopped; call [`Safepoint::resume_all`].
    Leader,
    /// Another thread led a pause, which is over now.
    Followed,
}

impl<T: Stoppable> Default for Safepoint<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Stoppable> Safepoint<T> {
    /// No mutators.
    pub fn new() -> Safepoint<T> {
        Safepoint {
            registry: Mutex::new(Registry {
                threads: Vec::new(),
                stopping: false,
                unacknowledged: 0,
                abandoned: false,
            }),
            all_stopped: Condvar::new(),
            resumed: Condvar::new(),
        }
    }

    /// Adds a mutator, in state RUNNING, once no pause is in progress. `admitted` runs while none can begin:
    /// what it reads of what leaders write stays true until the mutator's first safepoint, and leaders change
    /// the mutator itself only from then on.
    pub fn attach(&self, thread: T, lateness: &mut impl Lateness<T>, admitted: impl FnOnce()) {
        let mut admitted = Some(admitted);
        let mut admit = || admitted.take().into_iter().for_each(|admitted| admitted());
        if dropped!("safepoint-admit-in-turn") {
            admit();
        }
        let mut registry = self.registry.lock();
        while registry.stopping && !registry.abandoned && !dropped!("safepoint-attach-waits") {
            self.wait_for_end(&mut registry, lateness);
        }
        registry.assert_usable();
        registry.threads.push(thread);
        admit();
    }

    /// Removes the calling mutator and returns its entry. It may be inside a native region. `retire` runs
    /// while no pause can begin, just before the entry goes; not in a heap in doubt (I5).
    pub fn detach(&self, state: &ThreadState, lateness: &mut impl Lateness<T>, retire: impl FnOnce()) -> Option<T> {
        let mut registry = self.registry.lock();
        if !dropped!("safepoint-detach-waits") {
            self.wait_while_stopping(&mut registry, Some(state), lateness);
        }
        if !registry.abandoned {
            retire();
        }
        let at = registry.threads.iter().position(|t| std::ptr::eq(t.state(), state))?;
        Some(registry.threads.swap_remove(at))
    }

    /// The first entry of which `is` says so.
    pub fn find(&self, is: impl Fn(&T) -> bool) -> Option<T>
    where
        T: Clone,
    {
        self.registry.lock().threads.iter().find(|thread| is(thread)).cloned()
    }

    /// How many mutators are attached.
    pub fn attached(&self) -> usize {
        self.registry.lock().threads.len()
    }

    /// The slow path of a poll: parks while a pause is in progress.
    #[cold]
    pub fn park(&self, state: &ThreadState, lateness: &mut impl Lateness<T>) {
        let mut registry = self.registry.lock();
        self.wait_while_stopping(&mut registry, Some(state), lateness);
        registry.assert_usable();
    }

    /// Asks all mutators to look whether a collection is due ([`Safepoint::take_look`]). `f` is called with
    /// each, unless a pause is in progress; none can begin meanwhile.
    pub fn ask_to_look(&self, f: impl FnMut(&T)) {
        let registry = self.registry.lock();
        for thread in &registry.threads {
            // Release pairs with Acquire in `take_look` (I6), where the bit is up already, too: so it is
            // always written.
            thread.state().0.fetch_or(LOOK, order!(Release, "safepoint-ask"));
        }
        if !registry.stopping {
            registry.threads.iter().for_each(f);
        }
    }

    /// Whether the calling mutator was asked to look. Not while it is in a native region.
    pub fn take_look(&self, state: &ThreadState) -> bool {
        let word = state.0.load(Relaxed);
        if word & LOOK == 0 || word & NATIVE != 0 {
            return false;
        }
        // Acquire: I6.
        state.0.fetch_and(!LOOK, order!(Acquire, "safepoint-look"));
        true
    }

    /// Enters a native region: until [`Safepoint::leave_native`] the thread touches no object, and pauses do
    /// not wait for it.
    pub fn enter_native(&self, state: &ThreadState) {
        // Release publishes what the mutator did, for a leader that finds NATIVE (I4). It fails only if
        // another bit is up (I1).
        let enter = |seen| {
            state.0.compare_exchange(seen, seen | NATIVE, order!(Release, "safepoint-enter-native"), Relaxed).err()
        };
        let mut stopped = enter(RUNNING);
        while let Some(LOOK) = stopped {
            stopped = enter(LOOK);
        }
        if let Some(before) = stopped {
            // Asked, then; and that pause cannot end before the answer. Relaxed: the lock carries what I4
            // says.
            assert!(before & NATIVE == 0, "native regions do not nest");
            let mut registry = self.registry.lock();
            registry.assert_usable();
            self.acknowledge(&mut registry, state);
            state.0.fetch_or(NATIVE, Relaxed);
        }
    }

    /// Leaves a native region; waits for the end of a pause, and asks for a `lateness` only then.
    pub fn leave_native<L: Lateness<T>>(&self, state: &ThreadState, lateness: impl FnOnce() -> L) {
        // Acquire pairs with Release in `resume_all`: objects may have moved (I4).
        let left = state.0.compare_exchange(NATIVE, RUNNING, order!(Acquire, "safepoint-leave-native"), Relaxed);
        if left.is_err() {
            let mut lateness = lateness();
            let mut registry = self.registry.lock();
            while registry.stopping && !registry.abandoned && !dropped!("safepoint-leave-waits") {
                self.wait_for_end(&mut registry, &mut lateness);
            }
            // The region is over in any case, and its mutator may be dropped; in a heap in doubt STOP stays
            // up (I5).
            let look = state.0.load(Relaxed) & LOOK;
            state.0.store(if registry.abandoned { RUNNING | STOP } else { RUNNING } | look, Relaxed);
            registry.assert_usable();
        }
    }

    /// Stops every mutator but `me` (none, if the caller is not one) and makes the caller the leader; if
    /// another thread leads already, takes part in its pause instead and returns when that is over. What
    /// takes long is reported to `lateness`.
    pub fn stop_all(&self, me: Option<&ThreadState>, lateness: &mut impl Lateness<T>) -> Stop
    where
        T: Clone,
    {
        let mut registry = self.registry.lock();
        if registry.stopping && !dropped!("safepoint-one-leader") {
            self.wait_while_stopping(&mut registry, me, lateness);
            registry.assert_usable();
            return Stop::Followed;
        }
        registry.stopping = true;
        assert_eq!(registry.unacknowledged, 0, "a pause began before the last one was answered");
        let mut asked = 0;
        for thread in &registry.threads {
            if me.is_some_and(|me| std::ptr::eq(me, thread.state())) {
                continue;
            }
            // Acquire pairs with Release in `enter_native` (I4).
            let before = thread.state().0.fetch_or(STOP, order!(Acquire, "safepoint-stop"));
            asked += usize::from(before & NATIVE == 0);
        }
        registry.unacknowledged = asked;
        while registry.unacknowledged > 0 && !dropped!("safepoint-leader-waits") {
            match lateness.patience() {
                None => self.all_stopped.wait(&mut registry),
                Some(left) if !left.is_zero() => self.all_stopped.wait_for(&mut registry, left),
                Some(_) => {
                    let late = |thread: &&T| thread.state().is_late();
                    let late = registry.threads.iter().filter(late).cloned().collect();
                    MutexGuard::without(&mut registry, || lateness.report(WaitsFor::Mutators(late)));
                    if dropped!("safepoint-late-leader-looks-again") {
                        self.all_stopped.wait(&mut registry);
                    }
                }
            }
        }
        Stop::Leader
    }

    /// Calls `f` with the stopped mutators. Only the leader, between `stop_all` and `resume_all`.
    pub fn with_stopped<R>(&self, f: impl FnOnce(&[T]) -> R) -> R {
        let registry = self.registry.lock();
        assert!(registry.stopping, "mutators may be visited only while they are stopped");
        f(&registry.threads)
    }

    /// The leader calls `fork`, which forks the process and returns 0 in the child, while nobody else holds
    /// the lock. In the child no thread but that of `me` is left: the entries of the others are returned.
    pub fn fork(&self, me: &ThreadState, fork: impl FnOnce() -> i32) -> (i32, Vec<T>) {
        let mut registry = self.registry.lock();
        assert!(registry.stopping, "a process is forked while mutators are stopped");
        let result = fork();
        let gone = match result {
            0 => registry.threads.extract_if(.., |thread| !std::ptr::eq(thread.state(), me)).collect(),
            _ => Vec::new(),
        };
        (result, gone)
    }

    /// The leader lets all mutators go on.
    pub fn resume_all(&self) {
        let mut registry = self.registry.lock();
        debug_assert!(registry.stopping);
        for thread in &registry.threads {
            // Release publishes what the pause wrote to a mutator that leaves native code without the lock
            // (I4).
            let over = if dropped!("safepoint-answers-each-pause") { STOP } else { STOP | ANSWERED };
            thread.state().0.fetch_and(!over, order!(Release, "safepoint-resume"));
        }
        registry.stopping = false;
        self.resumed.notify_all();
    }

    /// The leader panics: the pause will never be over (I5).
    pub fn abandon(&self) {
        let mut registry = self.registry.lock();
        debug_assert!(registry.stopping);
        registry.abandoned = true;
        for thread in &registry.threads {
            // The leader's own thread, too, comes here at its next poll. Relaxed: the lock orders the rest.
            thread.state().0.fetch_or(STOP, Relaxed);
        }
        self.resumed.notify_all();
    }

    fn acknowledge(&self, registry: &mut Registry<T>, me: &ThreadState) {
        if dropped!("safepoint-acknowledge") {
            return;
        }
        // Relaxed: the lock orders it.
        me.0.fetch_or(ANSWERED, Relaxed);
        registry.unacknowledged -= 1;
        if registry.unacknowledged == 0 {
            self.all_stopped.notify_one();
        }
    }

    /// Acknowledges each pause that asked this thread, and waits until none is in progress.
    fn wait_while_stopping(
        &self,
        registry: &mut MutexGuard<'_, Registry<T>>,
        me: Option<&ThreadState>,
        lateness: &mut impl Lateness<T>,
    ) {
        while registry.stopping && !registry.abandoned {
            // In native code the leader did not count us; a thread that is not a mutator was never asked.
            if let Some(me) = me.filter(|me| me.is_late()) {
                self.acknowledge(registry, me);
            }
            self.wait_for_end(registry, lateness);
        }
    }

    /// Waits until the end of a pause is announced, or reports that it is not, without the lock. The caller
    /// looks again.
    fn wait_for_end(&self, registry: &mut MutexGuard<'_, Registry<T>>, lateness: &mut impl Lateness<T>) {
        match lateness.patience() {
            None => self.resumed.wait(registry),
            Some(left) if !left.is_zero() => self.resumed.wait_for(registry, left),
            Some(_) => {
                MutexGuard::without(registry, || lateness.report(WaitsFor::Leader));
                if dropped!("safepoint-late-mutator-looks-again") {
                    self.resumed.wait(registry);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    impl Stoppable for Arc<ThreadState> {
        fn state(&self) -> &ThreadState {
            self
        }
    }

    #[test]
    fn a_pause_excludes_running_mutators() {
        let safepoint = Safepoint::<Arc<ThreadState>>::new();
        let (inside, done) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    let me = Arc::new(ThreadState::default());
                    safepoint.attach(me.clone(), &mut (), || ());
                    while !done.load(Relaxed) {
                        inside.fetch_add(1, Relaxed);
                        inside.fetch_sub(1, Relaxed);
                        if me.should_stop() {
                            safepoint.park(&me, &mut ());
                        }
                        safepoint.enter_native(&me);
                        safepoint.leave_native(&me, || ());
                    }
                    safepoint.detach(&me, &mut (), || ());
                });
            }
            for _ in 0..200 {
                if safepoint.stop_all(None, &mut ()) == Stop::Leader {
                    assert_eq!(inside.load(Relaxed), 0);
                    safepoint.resume_all();
                }
            }
            done.store(true, Relaxed);
        });
        assert_eq!(safepoint.attached(), 0);
    }

    #[test]
    fn after_a_leader_panicked_threads_can_only_detach() {
        let safepoint = Safepoint::<Arc<ThreadState>>::new();
        let me = Arc::new(ThreadState::default());
        safepoint.attach(me.clone(), &mut (), || ());
        assert_eq!(safepoint.stop_all(Some(&me), &mut ()), Stop::Leader);
        safepoint.abandon();
        let panics = |f: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err();
        assert!(me.should_stop());
        assert!(panics(&|| safepoint.park(&me, &mut ())));
        assert!(panics(&|| safepoint.attach(Arc::new(ThreadState::default()), &mut (), || ())));
        assert!(panics(&|| assert_eq!(safepoint.stop_all(Some(&me), &mut ()), Stop::Followed)));
        assert!(safepoint.detach(&me, &mut (), || unreachable!("a heap in doubt is left alone")).is_some());
    }

    #[test]
    fn a_native_region_ends_in_a_heap_whose_leader_panicked_too() {
        let safepoint = Safepoint::<Arc<ThreadState>>::new();
        let me = Arc::new(ThreadState::default());
        safepoint.attach(me.clone(), &mut (), || ());
        let leave = || safepoint.leave_native(&me, || ());
        safepoint.enter_native(&me);
        assert_eq!(safepoint.stop_all(None, &mut ()), Stop::Leader);
        safepoint.abandon();
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(leave)).is_err());
        assert!(!me.is_native() && me.should_stop());
    }

    #[test]
    fn a_request_to_look_waits_for_a_native_region_and_for_a_pause_to_end() {
        let safepoint = Safepoint::<Arc<ThreadState>>::new();
        let (me, other) = (Arc::new(ThreadState::default()), Arc::new(ThreadState::default()));
        safepoint.ask_to_look(|_| unreachable!("there is nobody"));
        safepoint.attach(me.clone(), &mut (), || ());
        safepoint.attach(other.clone(), &mut (), || ());
        let told = AtomicUsize::new(0);
        let ask = || safepoint.ask_to_look(|_| _ = told.fetch_add(1, Relaxed));
        safepoint.enter_native(&me);
        ask();
        assert_eq!(told.load(Relaxed), 2);
        assert!(!safepoint.take_look(&me), "not in a native region");
        safepoint.enter_native(&other);
        assert_eq!(safepoint.stop_all(None, &mut ()), Stop::Leader);
        ask();
        assert_eq!(told.load(Relaxed), 2, "in a pause the bit alone is put up");
        safepoint.resume_all();
        safepoint.leave_native(&me, || ());
        safepoint.leave_native(&other, || ());
        for state in [&me, &other] {
            assert!(state.should_stop() && safepoint.take_look(state) && !state.should_stop());
            assert!(!safepoint.take_look(state), "once for one request");
            assert!(safepoint.detach(state, &mut (), || ()).is_some());
        }
    }

    #[test]
    fn a_thread_may_detach_inside_a_native_region() {
        let safepoint = Safepoint::<Arc<ThreadState>>::new();
        let me = Arc::new(ThreadState::default());
        safepoint.attach(me.clone(), &mut (), || ());
        safepoint.enter_native(&me);
        assert!(me.is_native());
        assert!(safepoint.detach(&me, &mut (), || ()).is_some());
        assert_eq!(safepoint.stop_all(None, &mut ()), Stop::Leader);
        safepoint.resume_all();
    }
}
