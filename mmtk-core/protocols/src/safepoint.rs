//! Stopping mutators: poll, park, native regions, stop-all and resume-all, attach and detach; and handshakes,
//! for which nobody stops.
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
//! long ([`Lateness`]), and whether it looks for a while before it sleeps: no clock is read here. LOOK is one
//! more bit, which may be set in any state. It asks the mutator to check whether a collection is due: at its
//! next poll, at its next slow path of allocation, or at the end of its native region.
//!
//! A handshake makes each mutator hand in what it keeps for others, its log say, once and soon. SHAKE asks
//! for it. A running mutator hands in at its next slow path and goes on. For one in a native region the
//! asking thread does it, and the region cannot end meanwhile. A pause ends a handshake at once: its leader
//! has all mutators stopped and can take what they keep.
//!
//! ```text
//!  word                answer                   pause
//!  RUNNING        --ask--> RUNNING|SHAKE --> RUNNING       SHAKE goes, STOP comes
//!  NATIVE         --ask--> NATIVE|SHAKE --on behalf of it--> NATIVE
//!  RUNNING|SHAKE --enter native--> NATIVE|SHAKE --leave--> RUNNING|SHAKE
//! ```
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
//! I7. SHAKE is raised and cleared under the lock, and a word in which it is up enters and leaves NATIVE
//!     under the lock. `unshaken` counts the words that hold it. While `stopping` is set it is up in no word.
//! I8. What a mutator hands in, it or the asking thread takes when no other uses it: the mutator outside
//!     native regions, the asking thread with the lock held while NATIVE and SHAKE are up. A mutator that
//!     answers sees what the asking thread had done before; that thread sees all that was handed in.
//! Callers: mutator threads, and whichever thread leads a pause; `ask_to_look` any thread; `handshake` one
//! thread at a time that is no mutator and leads no pause.

use crate::sync::atomic::{AtomicU32, Ordering::Relaxed};
use crate::sync::{Condvar, Mutex, MutexGuard, dropped, order, spin};
use std::time::Duration;

const RUNNING: u32 = 0;
const NATIVE: u32 = 1;
const STOP: u32 = 2;
const LOOK: u32 = 4;
/// With STOP: the mutator has acknowledged this pause.
const ANSWERED: u32 = 8;
/// A handshake waits until the mutator has handed in.
const SHAKE: u32 = 16;

/// How long a leader leaves the lock to others between two looks at it: about a microsecond.
const PAUSES_OF_A_LOOK: usize = if cfg!(loom) { 1 } else { 32 };

/// One mutator's state word. Compiled code may poll by itself: anything but zero means "call the slow path".
/// The slow path is: [`Safepoint::park`], then [`Safepoint::answer`], then [`Safepoint::take_look`].
///
/// | bit | meaning | raised by | cleared by |
/// |---|---|---|---|
/// | NATIVE | in a native region: touches no object | the mutator | the mutator |
/// | STOP | a pause begins or is in progress | its leader | its leader |
/// | ANSWERED | has acknowledged this pause | the mutator | the leader |
/// | LOOK | a collection may be due | any thread | the mutator |
/// | SHAKE | a handshake waits for it | the asking thread | the mutator, the asking thread, a leader |
///
/// Its place is the mutator's; it stays there until the mutator is detached, and the registry of one
/// [`Safepoint`] refers to it.
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

    /// Whether a pause waits for the mutator, or is in progress.
    pub fn is_asked_to_stop(&self) -> bool {
        self.0.load(Relaxed) & STOP != 0
    }

    /// Whether a pause waits for its answer.
    fn is_late(&self) -> bool {
        self.0.load(Relaxed) & !LOOK == RUNNING | STOP
    }

    /// Whether it has answered the pause in progress. A hint: the lock orders the rest.
    fn has_answered(&self) -> bool {
        self.0.load(Relaxed) & ANSWERED != 0
    }

    /// Whether a handshake waits for it.
    fn is_asked_to_hand_in(&self) -> bool {
        self.0.load(Relaxed) & SHAKE != 0
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

    /// Whether it looks once more before it sleeps, in a heap of this many mutators: a leader that waits for
    /// answers, or a mutator that has answered. The one who ends the wait then wakes nobody. Asked before
    /// each look, with the lock held or without.
    fn looks_again(&mut self, _mutators: usize) -> bool {
        false
    }

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
    /// A handshake: for this number of mutators to hand in. They may have done so meanwhile, and may detach,
    /// so they have no names here.
    Answers(usize),
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
    /// Counts the pauses.
    pause: u32,
    unacknowledged: usize,
    /// The leader of the pause in progress panicked (I5).
    abandoned: bool,
    /// A handshake has not returned yet.
    asking: bool,
    /// A handshake is made, and no pause has ended it.
    shaking: bool,
    /// Mutators that have not handed in (I7).
    unshaken: usize,
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
    /// For the thread that makes a handshake: all have handed in, a pause has ended it, or a mutator that was
    /// asked has entered a native region.
    shaken: Condvar,
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
                pause: 0,
                unacknowledged: 0,
                abandoned: false,
                asking: false,
                shaking: false,
                unshaken: 0,
            }),
            all_stopped: Condvar::new(),
            resumed: Condvar::new(),
            shaken: Condvar::new(),
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
    /// while no pause can begin, just before the entry goes; not in a heap in doubt (I5). It hands in what a
    /// handshake would ask for.
    pub fn detach(&self, state: &ThreadState, lateness: &mut impl Lateness<T>, retire: impl FnOnce()) -> Option<T> {
        let mut registry = self.registry.lock();
        if !dropped!("safepoint-detach-waits") {
            self.wait_while_stopping(&mut registry, Some(state), lateness);
        }
        if !registry.abandoned {
            retire();
        }
        if !dropped!("safepoint-detach-answers") {
            self.handed_in(&mut registry, state);
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

    /// The slow path of a poll: parks while a pause is in progress. When it returns, another may wait for
    /// this thread's next safepoint.
    #[cold]
    pub fn park(&self, state: &ThreadState, lateness: &mut impl Lateness<T>) {
        let mut registry = self.registry.lock();
        self.take_part(&mut registry, Some(state), lateness);
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

    /// Asks each mutator to hand in what it keeps for others, and waits until all have: the calling thread
    /// sees it then. `hand_in` is called with those in native regions, with the lock held: it calls nothing
    /// of this safepoint. A running mutator does it itself ([`Safepoint::answer`]), one that detaches in its
    /// `retire`. One that attaches meanwhile has nothing yet.
    ///
    /// False as soon as a pause begins or is in progress: then its leader does what is left of it, and
    /// mutators may or may not have handed in. What takes long is reported to `lateness`.
    ///
    /// The caller is no mutator and leads no pause, and a leader does not wait for it.
    ///
    /// # Panics
    /// If another thread makes a handshake.
    pub fn handshake(&self, mut hand_in: impl FnMut(&T), lateness: &mut impl Lateness<T>) -> bool {
        let mut registry = self.registry.lock();
        if registry.stopping {
            return false;
        }
        assert!(!registry.asking, "two threads make a handshake at once: one at a time may");
        (registry.asking, registry.shaking) = (true, true);
        for thread in &registry.threads {
            // Acquire pairs with Release in `enter_native`, Release with Acquire in `answer` (I8).
            thread.state().0.fetch_or(SHAKE, order!(AcqRel, "safepoint-shake"));
        }
        registry.unshaken = registry.threads.len();
        while registry.shaking {
            self.hand_in_for_native(&mut registry, &mut hand_in);
            if registry.unshaken == 0 {
                break;
            }
            match lateness.patience() {
                None => self.shaken.wait(&mut registry),
                Some(left) if !left.is_zero() => self.shaken.wait_for(&mut registry, left),
                Some(_) => {
                    let late = registry.unshaken;
                    MutexGuard::without(&mut registry, || lateness.report(WaitsFor::Answers(late)));
                    if dropped!("safepoint-late-handshake-looks-again") {
                        self.shaken.wait(&mut registry);
                    }
                }
            }
        }
        registry.asking = false;
        std::mem::take(&mut registry.shaking)
    }

    /// Hands in for mutators that were asked and are in native regions.
    fn hand_in_for_native(&self, registry: &mut Registry<T>, hand_in: &mut impl FnMut(&T)) {
        for thread in &registry.threads {
            let state = thread.state();
            if state.is_asked_to_hand_in() && state.is_native() {
                hand_in(thread);
                // Release publishes it to the mutator, which leaves its region without the lock (I8).
                state.0.fetch_and(!SHAKE, order!(Release, "safepoint-handed-in"));
                registry.unshaken -= 1;
            }
        }
    }

    /// The calling mutator answers a handshake, if one waits for it: `hand_in` hands in what the mutator
    /// keeps. One load otherwise. Not while it is in a native region. Best after [`Safepoint::park`], so that
    /// a pause does not wait for it.
    #[inline]
    pub fn answer(&self, state: &ThreadState, hand_in: impl FnOnce()) {
        // Acquire: I8.
        let word = state.0.load(order!(Acquire, "safepoint-answer"));
        if word & SHAKE == 0 || word & NATIVE != 0 {
            return;
        }
        if dropped!("safepoint-hands-in-first") {
            self.handed_in(&mut self.registry.lock(), state);
            return hand_in();
        }
        // Without the lock: a pause that begins waits for this thread.
        hand_in();
        self.handed_in(&mut self.registry.lock(), state);
    }

    /// The mutator has handed in, if it was asked. A pause may have ended the handshake.
    fn handed_in(&self, registry: &mut Registry<T>, state: &ThreadState) {
        if state.is_asked_to_hand_in() {
            // Relaxed: the lock carries what was handed in.
            state.0.fetch_and(!SHAKE, Relaxed);
            registry.unshaken -= 1;
            if registry.unshaken == 0 {
                self.shaken.notify_one();
            }
        }
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
            // A pause or a handshake has asked, and waits. Relaxed: the lock carries what I4 and I8 say.
            assert!(before & NATIVE == 0, "native regions do not nest");
            let mut registry = self.registry.lock();
            registry.assert_usable();
            if state.is_late() {
                self.acknowledge(&mut registry, state);
            }
            let before = state.0.fetch_or(NATIVE, Relaxed);
            if before & SHAKE != 0 && !dropped!("safepoint-native-wakes") {
                // It is the asking thread's turn.
                self.shaken.notify_one();
            }
        }
    }

    /// Leaves a native region; waits for the end of a pause, and asks for a `lateness` only then. If a
    /// handshake hands in on its behalf, waits for that.
    pub fn leave_native<L: Lateness<T>>(&self, state: &ThreadState, lateness: impl FnOnce() -> L) {
        if dropped!("safepoint-leave-in-handshake")
            && state.0.compare_exchange(NATIVE | SHAKE, RUNNING | SHAKE, Relaxed, Relaxed).is_ok()
        {
            return;
        }
        // Acquire pairs with Release in `resume_all`: objects may have moved (I4). And with Release where a
        // handshake was answered on its behalf (I8). It fails if another bit is up.
        let left = state.0.compare_exchange(NATIVE, RUNNING, order!(Acquire, "safepoint-leave-native"), Relaxed);
        if left.is_err() {
            let mut lateness = lateness();
            let mut registry = self.registry.lock();
            while registry.stopping && !registry.abandoned && !dropped!("safepoint-leave-waits") {
                self.wait_for_end(&mut registry, &mut lateness);
            }
            // The region is over in any case, and its mutator may be dropped; in a heap in doubt STOP stays
            // up (I5). LOOK and SHAKE are the mutator's to answer now; both are raised under the lock.
            let asked = state.0.load(Relaxed) & (LOOK | SHAKE);
            state.0.store(if registry.abandoned { RUNNING | STOP } else { RUNNING } | asked, Relaxed);
            registry.assert_usable();
        }
    }

    /// Stops every mutator but `me` (none, if the caller is not one) and makes the caller the leader; if
    /// another thread leads already, takes part in its pause instead and returns when that is over. A
    /// handshake ends at once, and mutators may not have handed in. What takes long is reported to
    /// `lateness`.
    pub fn stop_all(&self, me: Option<&ThreadState>, lateness: &mut impl Lateness<T>) -> Stop
    where
        T: Clone,
    {
        let mut registry = self.registry.lock();
        if registry.stopping && !dropped!("safepoint-one-leader") {
            self.take_part(&mut registry, me, lateness);
            registry.assert_usable();
            return Stop::Followed;
        }
        registry.stopping = true;
        registry.pause = registry.pause.wrapping_add(1);
        assert_eq!(registry.unacknowledged, 0, "a pause began before the last one was answered");
        // The pause does what a handshake waits for (I7).
        let ends_handshake = !dropped!("safepoint-stop-ends-handshake") && std::mem::take(&mut registry.shaking);
        let mut asked = 0;
        for thread in &registry.threads {
            if ends_handshake {
                // Relaxed: the lock orders it.
                thread.state().0.fetch_and(!SHAKE, Relaxed);
            }
            if me.is_some_and(|me| std::ptr::eq(me, thread.state())) {
                continue;
            }
            // Acquire pairs with Release in `enter_native` (I4).
            let before = thread.state().0.fetch_or(STOP, order!(Acquire, "safepoint-stop"));
            asked += usize::from(before & NATIVE == 0);
        }
        registry.unacknowledged = asked;
        if ends_handshake {
            registry.unshaken = 0;
            self.shaken.notify_one();
        }
        let mutators = registry.threads.len();
        while registry.unacknowledged > 0 && lateness.looks_again(mutators) {
            // Those who answer take the lock.
            MutexGuard::without(&mut registry, || (0..PAUSES_OF_A_LOOK).for_each(|_| spin()));
        }
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
        // In the child the thread that made a handshake is gone, too.
        registry.asking &= result != 0;
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

    /// Acknowledges the pause in progress, if it asked this thread, and waits until it is over. If another
    /// has begun by then, that one waits for the thread, which first goes on to its next safepoint: else
    /// threads that collect without a break would leave it no time at all.
    fn take_part(
        &self,
        registry: &mut MutexGuard<'_, Registry<T>>,
        me: Option<&ThreadState>,
        lateness: &mut impl Lateness<T>,
    ) {
        let pause = registry.pause;
        if let Some(me) = me.filter(|me| registry.stopping && !registry.abandoned && me.is_late()) {
            self.acknowledge(registry, me);
            let mutators = registry.threads.len();
            if lateness.looks_again(mutators) {
                MutexGuard::without(registry, || {
                    while me.has_answered() && lateness.looks_again(mutators) {
                        spin();
                    }
                });
                if dropped!("safepoint-looks-then-waits") {
                    return;
                }
            }
        }
        while registry.stopping && !registry.abandoned && registry.pause == pause {
            self.wait_for_end(registry, lateness);
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

    /// Looks until it need not wait any more, and counts how often it begins to sleep.
    #[derive(Default)]
    struct Looks {
        looks: usize,
        sleeps: usize,
    }

    impl<T> Lateness<T> for Looks {
        fn patience(&mut self) -> Option<Duration> {
            self.sleeps += 1;
            None
        }
        fn looks_again(&mut self, mutators: usize) -> bool {
            assert_eq!(mutators, 1);
            self.looks += 1;
            std::thread::yield_now();
            true
        }
        fn report(&mut self, _: WaitsFor<T>) {}
    }

    #[test]
    fn neither_a_leader_nor_a_mutator_sleeps_while_it_looks() {
        let safepoint = Safepoint::<Arc<ThreadState>>::new();
        let (attached, done) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let mutator = scope.spawn(|| {
                let me = Arc::new(ThreadState::default());
                safepoint.attach(me.clone(), &mut (), || ());
                attached.store(true, Relaxed);
                let mut looks = Looks::default();
                while !done.load(Relaxed) {
                    if me.should_stop() {
                        safepoint.park(&me, &mut looks);
                    }
                    std::thread::yield_now();
                }
                safepoint.detach(&me, &mut (), || ());
                looks
            });
            while !attached.load(Relaxed) {
                std::thread::yield_now();
            }
            let mut looks = Looks::default();
            for _ in 0..100 {
                assert_eq!(safepoint.stop_all(None, &mut looks), Stop::Leader);
                safepoint.resume_all();
            }
            done.store(true, Relaxed);
            let of_mutator = mutator.join().unwrap();
            assert_eq!((looks.sleeps, of_mutator.sleeps), (0, 0));
            assert!(looks.looks > 0 && of_mutator.looks > 0);
        });
    }

    #[test]
    fn a_thread_that_parked_goes_on_before_it_answers_the_next_pause() {
        const PAUSES: usize = 200;
        let safepoint = Safepoint::<Arc<ThreadState>>::new();
        let (attached, parked, done) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let me = Arc::new(ThreadState::default());
                safepoint.attach(me.clone(), &mut (), || ());
                attached.store(true, Relaxed);
                while !done.load(Relaxed) {
                    if me.should_stop() {
                        safepoint.park(&me, &mut ());
                        parked.fetch_add(1, Relaxed);
                    }
                    std::thread::yield_now();
                }
                safepoint.detach(&me, &mut (), || ());
            });
            while !attached.load(Relaxed) {
                std::thread::yield_now();
            }
            for _ in 0..PAUSES {
                assert_eq!(safepoint.stop_all(None, &mut ()), Stop::Leader);
                safepoint.resume_all();
            }
            done.store(true, Relaxed);
        });
        assert!(parked.load(Relaxed) >= PAUSES - 1, "of {PAUSES} pauses it parked for {parked:?}");
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
    fn a_handshake_hands_in_for_native_regions_and_not_in_a_pause() {
        let safepoint = Safepoint::<Arc<ThreadState>>::new();
        let mut handed_in = Vec::new();
        assert!(safepoint.handshake(|_| unreachable!("there is nobody"), &mut ()));
        let states = [(); 3].map(|()| Arc::new(ThreadState::default()));
        for state in &states {
            safepoint.attach(state.clone(), &mut (), || ());
            safepoint.answer(state, || unreachable!("nobody asks"));
            safepoint.enter_native(state);
        }
        assert!(safepoint.handshake(|state| handed_in.push(Arc::as_ptr(state)), &mut ()));
        assert_eq!(handed_in, states.each_ref().map(Arc::as_ptr), "each once");
        assert_eq!(safepoint.stop_all(None, &mut ()), Stop::Leader);
        assert!(!safepoint.handshake(|_| unreachable!("in a pause"), &mut ()));
        safepoint.resume_all();
        for state in &states {
            safepoint.leave_native(state, || ());
            assert!(!state.should_stop());
            safepoint.answer(state, || unreachable!("it was done on its behalf"));
        }
    }

    /// Without patience: the first mutator answers when it is reported first; then the other leads a pause.
    struct Impatient<'a> {
        safepoint: &'a Safepoint<Arc<ThreadState>>,
        mutators: &'a [Arc<ThreadState>; 2],
        reports: Vec<usize>,
    }

    impl Lateness<Arc<ThreadState>> for Impatient<'_> {
        fn patience(&mut self) -> Option<Duration> {
            Some(Duration::ZERO)
        }
        fn report(&mut self, waits: WaitsFor<Arc<ThreadState>>) {
            let WaitsFor::Answers(late) = waits else { panic!("a handshake waits for mutators") };
            self.reports.push(late);
            let ([one, two], safepoint) = (self.mutators, self.safepoint);
            assert_eq!((one.should_stop(), two.should_stop()), (late == 2, true));
            if late == 2 {
                let mut handed_in = false;
                safepoint.answer(one, || handed_in = true);
                assert!(handed_in && !one.should_stop());
                return safepoint.answer(one, || unreachable!("once"));
            }
            safepoint.enter_native(one);
            assert_eq!(safepoint.stop_all(Some(two), &mut ()), Stop::Leader);
            assert!(!two.should_stop(), "the pause has ended the handshake");
            safepoint.resume_all();
            safepoint.leave_native(one, || ());
        }
    }

    #[test]
    fn a_handshake_says_how_many_it_waits_for_and_ends_when_a_pause_begins() {
        let safepoint = Safepoint::<Arc<ThreadState>>::new();
        let mutators = [(); 2].map(|()| Arc::new(ThreadState::default()));
        mutators.iter().for_each(|state| safepoint.attach(state.clone(), &mut (), || ()));
        let mut lateness = Impatient { safepoint: &safepoint, mutators: &mutators, reports: Vec::new() };
        assert!(!safepoint.handshake(|_| unreachable!("nobody is in a region"), &mut lateness));
        assert_eq!(lateness.reports, [2, 1]);
        assert!(mutators.iter().all(|state| !state.should_stop()));
    }

    #[test]
    fn handshakes_lose_nothing_beside_mutators_and_pauses() {
        struct Logger(ThreadState, AtomicUsize);
        impl Stoppable for Arc<Logger> {
            fn state(&self) -> &ThreadState {
                &self.0
            }
        }
        let safepoint = Safepoint::<Arc<Logger>>::new();
        let (handed_in, done) = (AtomicUsize::new(0), AtomicBool::new(false));
        let hand_in = |logger: &Logger| {
            // Two steps, so that one of two that do it at once loses something.
            let things = logger.1.load(Relaxed);
            std::thread::yield_now();
            logger.1.store(0, Relaxed);
            handed_in.fetch_add(things, Relaxed);
        };
        let logged = std::thread::scope(|scope| {
            let mutators = [(); 3].map(|()| {
                scope.spawn(|| {
                    let me = Arc::new(Logger(ThreadState::default(), AtomicUsize::new(0)));
                    let mut logged = 0;
                    safepoint.attach(me.clone(), &mut (), || ());
                    while !done.load(Relaxed) {
                        me.1.store(me.1.load(Relaxed) + 1, Relaxed);
                        logged += 1;
                        if me.0.should_stop() {
                            safepoint.park(&me.0, &mut ());
                            safepoint.answer(&me.0, || hand_in(&me));
                        }
                        safepoint.enter_native(&me.0);
                        safepoint.leave_native(&me.0, || ());
                    }
                    safepoint.detach(&me.0, &mut (), || hand_in(&me));
                    logged
                })
            });
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    assert_eq!(safepoint.stop_all(None, &mut ()), Stop::Leader);
                    safepoint.with_stopped(|mutators| mutators.iter().for_each(|logger| hand_in(logger)));
                    safepoint.resume_all();
                    std::thread::yield_now();
                }
            });
            for _ in 0..200 {
                safepoint.handshake(|logger| hand_in(logger), &mut ());
            }
            done.store(true, Relaxed);
            mutators.map(|mutator| mutator.join().unwrap()).iter().sum::<usize>()
        });
        assert_eq!(handed_in.load(Relaxed), logged);
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
