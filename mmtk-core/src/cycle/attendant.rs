//! What a heap does while its program does little: it gives memory that it no longer needs back to the
//! system, and collects garbage when no mutator would start a collection. While the program runs, it also
//! joins small pages to huge ones (`memory/joining.rs`).
//!
//! How much does a heap need? Until the next full collection is due, it will use memory up to the goal; it
//! keeps all of that while the program allocates as fast as in the cycle before. A program that has slowed
//! down to a quarter of that rate needs what is live, and what it has allocated since. Memory beyond the need
//! is returned once nothing has used it for the delay. So a program in a steady state never returns memory
//! that it would take again.
//!
//! When a program has allocated and then become quiet, its heap is collected once, so that the memory of dead
//! objects can go back and finalizers run. In a program that never becomes quiet, this happens only if its
//! cycles are very long: some nine times the time after which a program counts as quiet.
//!
//! 1. Each thread that attaches, and each full collection, starts the timer (a thread) if the timer will have
//!    something to do.
//! 2. The timer wakes eight times in each delay. It returns what is above the need, or leads a collection, or
//!    goes on waiting.
//! 3. After each collection it joins pages, one region after the other, if the program has earned that.
//! 4. If it finds a pause in progress, it looks again soon, and reports a pause that lasts. So a leader that
//!    does not return from code of the VM is reported even if no other thread waits for it, and pauses pay
//!    nothing for that.
//!
//! The thread ends when there is nothing to return, to join or to wait for.
//! Callers: threads that attach; leaders; a thread that forks or drops the heap; the timer.

use super::allocated::Allocated;
use super::ended::CollectionEnded;
use super::side_thread::{SideThread, State};
use crate::memory::{self, Memory, Why};
use crate::patience::{Patience, Waiting};
use crate::warnings;
use protocols::sync::MutexGuard;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Less than this is not worth a look, in bytes.
const LEAST: usize = 256 << 10;
/// A program is quiet when it allocates at less than this part of the rate before.
const QUIET: f64 = 0.25;
/// A quiet program keeps this part of its live bytes in addition to them, so that it does not take back page
/// by page what was just returned. An idle collection needs at least this much garbage.
const SPARE: f64 = 0.0625;
/// How often the timer looks in a delay: what was needed in between is seen in what is reserved.
const LOOKS: u32 = 8;
/// The program was active between two looks if it allocated at least a 64th of what was allocated since the
/// last full collection.
const ACTIVE_PART: usize = 64;

/// The heap that the timer may collect.
pub(crate) trait Quiet: Send + Sync {
    /// Collects all of it, as a thread that is not one of its mutators.
    fn collect_while_idle(self: Arc<Self>);

    /// Looks whether what the machine grants has changed.
    fn look_around(&self);

    /// The number of the pause in which all mutators stand still now, if there is one.
    fn pause_in_progress(&self) -> Option<u64>;

    /// That pause has lasted for so long at least. One thread reports it, and `again` says that it is this
    /// one; whether it is now.
    fn report_pause(&self, waited: Duration, again: bool) -> bool;
}

/// What is to be done, and when.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub(crate) struct Delays {
    /// Memory that was not needed for so long goes back; none if the timer returns nothing.
    pub uncommit: Option<Duration>,
    /// A program that was quiet for so long is collected; none if it is not.
    pub idle: Option<Duration>,
}

impl Delays {
    /// How long until the next look.
    fn look(self) -> Option<Duration> {
        let shorter = match (self.uncommit, self.idle) {
            (Some(uncommit), Some(idle)) => uncommit.min(idle),
            (uncommit, idle) => uncommit.or(idle)?,
        };
        Some((shorter / LOOKS).max(Duration::from_micros(100)))
    }
}

/// The cycle that is running.
#[derive(Copy, Clone, Debug)]
struct Cycle {
    began: Instant,
    /// Bytes allocated in a second of the one before.
    rate: f64,
    /// Bytes of live objects when it began.
    live: usize,
    /// Bytes reserved then, and at which it ends.
    retained: usize,
    goal: usize,
}

impl Cycle {
    /// A lower bound of the memory that this cycle needs, with `reserved` bytes reserved now. `reserved`
    /// alone is too high: it counts the room for copies, which may never have been touched.
    fn least(&self, reserved: usize) -> usize {
        self.live + (SPARE * self.live as f64) as usize + reserved.saturating_sub(self.retained)
    }

    /// Bytes that the program is expected to use, when it has allocated `allocated` since the cycle began.
    fn need(&self, now: Instant, reserved: usize, allocated: usize) -> usize {
        let expected = self.rate * now.saturating_duration_since(self.began).as_secs_f64();
        let quiet = (allocated as f64) < QUIET * expected || self.rate == 0.0 && allocated == 0;
        if quiet { self.least(reserved) } else { self.goal.max(reserved) }
    }
}

/// What the timer has seen of memory that may go back.
#[derive(Copy, Clone, Debug)]
struct Returning {
    /// What was needed at most in the delay that is running.
    needed: usize,
    since: Instant,
}

/// What the timer has seen of the program.
#[derive(Copy, Clone, Debug)]
struct Activity {
    /// When the cycle began; none before the first full collection.
    cycle: Option<Instant>,
    /// What was allocated in it at the last look.
    allocated: usize,
    /// When the program last did something.
    active: Instant,
}

impl Activity {
    fn new(now: Instant, cycle: Option<Instant>) -> Activity {
        Activity { cycle, allocated: 0, active: now }
    }

    /// Whether to collect now, with `allocated` bytes allocated in this cycle, and `live` bytes live when it
    /// began.
    fn looks_idle(
        &mut self,
        now: Instant,
        idle: Duration,
        cycle: Option<Instant>,
        allocated: usize,
        live: usize,
    ) -> bool {
        if cycle != self.cycle {
            *self = Activity::new(now, cycle);
        }
        let recent = allocated.saturating_sub(self.allocated);
        self.allocated = allocated;
        if recent > 0 && recent >= allocated / ACTIVE_PART {
            self.active = now;
        }
        let garbage = LEAST.max((SPARE * live as f64) as usize);
        let due = now.saturating_duration_since(self.active) >= idle && allocated >= garbage;
        if due {
            // If nothing comes of it, not at once again.
            self.active = now;
        }
        due
    }
}

/// What the timer has seen of pauses.
struct Watched<'a> {
    patience: &'a Patience,
    /// The number of the pause that was in progress at the last look, if one was.
    pause: Option<u64>,
    waiting: Waiting<'a>,
    /// Whether it is the timer that reports it.
    reports: bool,
}

impl<'a> Watched<'a> {
    fn new(patience: &'a Patience) -> Watched<'a> {
        Watched { patience, pause: None, waiting: Waiting::new(patience), reports: false }
    }

    /// Reports the pause of the heap if that is due. While one is in progress: how long until the next look.
    fn look(&mut self, heap: &dyn Quiet) -> Option<Duration> {
        let pause = heap.pause_in_progress();
        if pause != self.pause {
            *self = Watched { pause, ..Watched::new(self.patience) };
        }
        pause?;
        if self.waiting.left()?.is_zero() {
            self.reports |= heap.report_pause(self.waiting.reported(), self.reports);
        }
        self.waiting.left()
    }
}

/// What the timer is to do.
#[derive(Default)]
pub(crate) struct Asked {
    cycle: Option<Cycle>,
    delays: Delays,
    /// How long the timer waits until its next look.
    look: Duration,
    /// It is to look at once: it would wait too long.
    look_now: bool,
    /// It is to join pages.
    join_pages: bool,
}

/// Bytes that are reserved until what the last collection has left is swept.
pub(crate) type UnsweptBytes = Box<dyn Fn() -> usize + Send + Sync>;

struct Shared {
    heap: Weak<dyn Quiet>,
    memory: Arc<Memory>,
    unswept: UnsweptBytes,
    allocated: Arc<Allocated>,
    created: Instant,
    thread: SideThread<Asked>,
}

impl Shared {
    /// Bytes reserved when all is swept. Else what is about to become free would count as needed.
    fn reserved(&self) -> usize {
        self.memory.budget().reserved().saturating_sub((self.unswept)())
    }
}

/// The timer of one heap.
pub(crate) struct Idle {
    shared: Arc<Shared>,
}

impl Idle {
    pub fn new(
        heap: Weak<dyn Quiet>,
        memory: Arc<Memory>,
        unswept: UnsweptBytes,
        allocated: Arc<Allocated>,
        patience: Arc<Patience>,
    ) -> Idle {
        let (created, thread) = (Instant::now(), SideThread::new(patience));
        Idle { shared: Arc::new(Shared { heap, memory, unswept, allocated, created, thread }) }
    }

    /// A full collection has ended; the next is due at `goal` bytes. With a delay of 0 what is above that
    /// goes at once.
    pub fn collected(&self, ended: &CollectionEnded, goal: usize, delays: Delays) {
        let now = Instant::now();
        let budget = self.shared.memory.budget();
        if delays.uncommit == Some(Duration::ZERO) {
            let excess = budget.resident().saturating_sub(goal);
            if excess > 0 {
                self.shared.memory.give_back(excess, Why::Unneeded);
            }
        }
        let mut state = self.shared.thread.lock();
        let last = now - state.asked.cycle.map_or(self.shared.created, |cycle| cycle.began);
        let rate = ended.bytes.allocated.since_full as f64 / last.as_secs_f64().max(1e-9);
        let cycle = Cycle { began: now, rate, live: ended.bytes.live, retained: ended.bytes.reserved_after, goal };
        state.asked.cycle = Some(cycle);
        drop(state);
        self.attend(delays);
    }

    /// Starts the timer, unless it runs, or will have nothing to do; with these delays from now on.
    pub fn attend(&self, delays: Delays) {
        let mut state = self.shared.thread.lock();
        state.asked.delays = delays;
        let uncommit = delays.uncommit.filter(|_| excess(&self.shared, &state.asked) >= LEAST);
        let Some(look) = (Delays { uncommit, ..delays }).look() else { return };
        if state.is_running() {
            if look < state.asked.look {
                state.asked.look_now = true;
                self.shared.thread.tell();
            }
            return;
        }
        self.start(state);
    }

    /// Has the timer join pages to huge ones soon, if the program has earned it.
    pub fn join_pages(&self) {
        if !self.shared.memory.may_join_pages() {
            return;
        }
        let mut state = self.shared.thread.lock();
        state.asked.join_pages = true;
        if state.is_running() {
            self.shared.thread.tell();
            return;
        }
        self.start(state);
    }

    fn start(&self, state: MutexGuard<'_, State<Asked>>) {
        let shared = self.shared.clone();
        if let Err(error) = self.shared.thread.start(state, "gc-idle", move || run(&shared)) {
            // Memory stays, and idle heaps are not collected; the next collection tries again.
            self.shared.memory.refusals().add(memory::Asked::Thread, 0, &error);
        }
    }

    /// The thread, for a fork.
    pub fn thread(&self) -> &SideThread<Asked> {
        &self.shared.thread
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.shared.thread.hold(&mut |waited| {
            warnings::warn(format_args!(
                "the drop of a heap has waited {:.3} s for its timer, which looks after the idle heap, to end",
                waited.as_secs_f64()
            ));
        });
    }
}

/// Bytes of memory that the heap could do without, at most.
fn excess(shared: &Shared, asked: &Asked) -> usize {
    let budget = shared.memory.budget();
    match (asked.cycle, asked.delays.uncommit) {
        (Some(cycle), Some(_)) => budget.resident().saturating_sub(cycle.least(shared.reserved())),
        _ => 0,
    }
}

fn run(shared: &Shared) {
    let _panics = shared.thread.watch_for_panics();
    let budget = shared.memory.budget();
    let mut returning = Returning { needed: 0, since: Instant::now() };
    let mut activity = Activity::new(Instant::now(), None);
    let mut watched = Watched::new(shared.thread.patience());
    let mut state = shared.thread.lock();
    while !state.is_held() {
        state.asked.look_now = false;
        let now = Instant::now();
        let allocated = shared.allocated.since_full();
        let (cycle, delays) = (state.asked.cycle, state.asked.delays);
        let mut returns = excess(shared, &state.asked) >= LEAST;
        if let (true, Some(cycle), Some(delay)) = (returns, cycle, delays.uncommit) {
            let needed = returning.needed.max(cycle.need(now, shared.reserved(), allocated));
            returning.needed = needed;
            if now - returning.since >= delay {
                returning = Returning { needed: 0, since: now };
                let excess = budget.resident().saturating_sub(needed);
                if excess >= LEAST {
                    drop(state);
                    let given = shared.memory.give_back(excess, Why::Unneeded);
                    state = shared.thread.lock();
                    // What cannot be returned now will not be before more is swept or the next collection.
                    let more = (shared.unswept)() > 0 || state.asked.cycle.is_some_and(|now| now.began != cycle.began);
                    returns = given > 0 || more;
                }
            }
        } else {
            returning = Returning { needed: 0, since: now };
        }
        let (began, live) = (cycle.map(|cycle| cycle.began), cycle.map_or(0, |cycle| cycle.live));
        let due = delays.idle.is_some_and(|idle| activity.looks_idle(now, idle, began, allocated, live));
        let mut watches = None;
        // The heap may go with this handle, and with it the timer: not under the lock.
        drop(state);
        if let Some(heap) = shared.heap.upgrade() {
            if delays.idle.is_some() {
                heap.look_around();
            }
            watches = watched.look(&*heap);
            if due {
                heap.collect_while_idle();
            }
        }
        state = shared.thread.lock();
        let uncommit = delays.uncommit.filter(|_| returns);
        let look = (Delays { uncommit, ..delays }).look().map(|look| watches.map_or(look, |soon| look.min(soon)));
        let next = look.map(|look| Instant::now() + look);
        state.asked.look = look.unwrap_or(Duration::MAX);
        while !state.is_held() && !state.asked.look_now {
            let left = next.map(|next| next.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                break;
            }
            if std::mem::take(&mut state.asked.join_pages) {
                drop(state);
                let joined = shared.memory.join_pages();
                state = shared.thread.lock();
                state.asked.join_pages |= joined && shared.memory.may_join_pages();
                continue;
            }
            let Some(left) = left else { break };
            shared.thread.wait(&mut state, left);
        }
        if next.is_none() && !state.asked.look_now {
            break;
        }
    }
    shared.thread.end(state);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    const MIB: usize = 1 << 20;
    const SECOND: Duration = Duration::from_secs(1);

    fn cycle(began: Instant) -> Cycle {
        let rate = 100.0 / 8.0 * MIB as f64;
        Cycle { began, rate, live: 96 * MIB, retained: 100 * MIB, goal: 200 * MIB }
    }

    #[test]
    fn a_program_in_a_steady_state_needs_all_up_to_the_goal() {
        let began = Instant::now();
        for second in 0..=8 {
            let allocated = second * 100 / 8 * MIB;
            let now = began + Duration::from_secs(second as u64);
            assert_eq!(cycle(began).need(now, 100 * MIB + allocated, allocated), 200 * MIB, "after {second} s");
            // What a nursery took is free again after each minor collection.
            assert_eq!(cycle(began).need(now, 100 * MIB, allocated), 200 * MIB, "after {second} s");
        }
        // At half the pace of the cycle before, too.
        assert_eq!(cycle(began).need(began + Duration::from_secs(8), 150 * MIB, 50 * MIB), 200 * MIB);
    }

    #[test]
    fn a_program_that_has_gone_quiet_needs_what_is_live_and_a_little() {
        let began = Instant::now();
        let need = cycle(began).need(began + Duration::from_secs(4), 101 * MIB, MIB);
        assert!((101 * MIB..120 * MIB).contains(&need), "{need}");
        // However long it stays so.
        let need = cycle(began).need(began + Duration::from_secs(4000), 101 * MIB, MIB);
        assert!((101 * MIB..120 * MIB).contains(&need), "{need}");
        // And if it was before.
        let need = Cycle { rate: 0.0, ..cycle(began) }.need(began + SECOND, 100 * MIB, 0);
        assert!((100 * MIB..120 * MIB).contains(&need), "{need}");
    }

    #[test]
    fn a_heap_above_its_goal_needs_what_it_has() {
        let began = Instant::now();
        assert_eq!(cycle(began).need(began, 250 * MIB, MIB), 250 * MIB);
    }

    /// The seconds in which an idle collection is due after 10 s of quiet, of a program that has allocated
    /// `allocated(second)` bytes by then.
    fn due(seconds: u64, live: usize, allocated: impl Fn(u64) -> usize) -> Vec<u64> {
        let began = Instant::now();
        let mut activity = Activity::new(began, None);
        let looks = (0..=seconds).filter(|&second| {
            activity.looks_idle(began + Duration::from_secs(second), 10 * SECOND, None, allocated(second), live)
        });
        looks.collect()
    }

    #[test]
    fn a_program_that_allocated_and_went_quiet_is_collected() {
        assert_eq!(due(25, 0, |second| second.min(5) as usize * MIB), [15, 25]);
        // A little is nothing.
        assert_eq!(due(15, 0, |second| second.min(5) as usize * MIB + second as usize * 1000), [15]);
    }

    #[test]
    fn what_would_bring_next_to_nothing_is_not_collected() {
        assert!(due(1000, 0, |_| 0).is_empty());
        assert!(due(1000, 0, |second| second.min(5) as usize * 40_000).is_empty());
        assert!(due(1000, 1000 * MIB, |second| second.min(5) as usize * MIB).is_empty());
    }

    #[test]
    fn a_steady_program_is_not_collected_before_some_eight_times_the_delay() {
        let first = due(1000, 0, |second| second as usize * MIB)[0];
        assert!((64..90).contains(&first), "{first}");
    }

    #[test]
    fn a_full_collection_begins_the_wait_anew() {
        let began = Instant::now();
        let mut activity = Activity::new(began, None);
        let at = |second| began + second * SECOND;
        assert!(!activity.looks_idle(at(0), 10 * SECOND, None, MIB, 0));
        assert!(!activity.looks_idle(at(9), 10 * SECOND, Some(at(8)), MIB, 0));
        assert!(!activity.looks_idle(at(18), 10 * SECOND, Some(at(8)), MIB, 0));
        assert!(activity.looks_idle(at(19), 10 * SECOND, Some(at(8)), MIB, 0));
    }

    struct NoHeap;

    impl Quiet for NoHeap {
        fn collect_while_idle(self: Arc<Self>) {}
        fn look_around(&self) {}
        fn pause_in_progress(&self) -> Option<u64> {
            None
        }
        fn report_pause(&self, _: Duration, _: bool) -> bool {
            false
        }
    }

    fn is_running(idle: &Idle) -> bool {
        idle.shared.thread.lock().is_running()
    }

    #[test]
    fn a_timer_that_is_ended_while_it_is_started_is_not_lost() {
        let memory = Memory::new(&crate::Options { heap_limit: MIB, ..Default::default() }).unwrap();
        let idle = Idle::new(Weak::<NoHeap>::new(), memory, Box::new(|| 0), Arc::default(), Arc::new(Patience::new(0)));
        let (done, finished) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // Two end it as before a fork, one starts it as after each full collection.
            let ended = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while ended.load(Relaxed) < 2 {
                        idle.attend(Delays { uncommit: None, idle: Some(SECOND) });
                        std::thread::yield_now();
                    }
                });
                for _ in 0..2 {
                    scope.spawn(|| {
                        for _ in 0..500 {
                            while !is_running(&idle) && ended.load(Relaxed) == 0 {
                                std::thread::yield_now();
                            }
                            idle.thread().hold(&mut |_| ());
                            assert!(!is_running(&idle), "held, it is not there");
                            idle.thread().release();
                        }
                        ended.fetch_add(1, Relaxed);
                    });
                }
            });
            idle.thread().hold(&mut |_| ());
            done.send(Arc::strong_count(&idle.shared)).unwrap();
        });
        // A thread that waits for a timer that no thread ends waits for ever.
        let handles = finished.recv_timeout(60 * SECOND).expect("it neither hangs nor panics");
        assert_eq!(handles, 1, "a timer that nobody can end is running");
    }

    #[test]
    fn threads_that_are_not_in_the_child_hold_its_timer_up_no_more() {
        let memory = Memory::new(&crate::Options { heap_limit: MIB, ..Default::default() }).unwrap();
        let idle = Idle::new(Weak::<NoHeap>::new(), memory, Box::new(|| 0), Arc::default(), Arc::new(Patience::new(0)));
        let delays = Delays { uncommit: None, idle: Some(3600 * SECOND) };
        let is_told = &mut |_: Duration| ();
        // Two threads were about to fork; one does, in a process that goes on as the parent.
        idle.thread().hold(is_told);
        idle.thread().hold(is_told);
        assert_eq!(idle.thread().fork(|| (1, "parent")).1, "parent");
        idle.thread().release();
        idle.attend(delays);
        assert!(!is_running(&idle), "the other thread still holds it");
        // And as the child, where the other one is not.
        idle.thread().hold(is_told);
        assert_eq!(idle.thread().fork(|| (0, "child")).1, "child");
        idle.thread().release();
        idle.attend(delays);
        assert!(is_running(&idle), "nobody holds it");
    }

    /// A heap that keeps the timer until it is told to let it go.
    struct Keeping {
        inside: std::sync::mpsc::Sender<()>,
        go_on: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
    }

    impl Quiet for Keeping {
        fn collect_while_idle(self: Arc<Self>) {}
        fn look_around(&self) {
            self.inside.send(()).unwrap();
            self.go_on.lock().unwrap().recv_timeout(60 * SECOND).expect("the wait is reported");
        }
        fn pause_in_progress(&self) -> Option<u64> {
            None
        }
        fn report_pause(&self, _: Duration, _: bool) -> bool {
            false
        }
    }

    #[test]
    fn a_timer_that_takes_long_to_end_is_reported() {
        let memory = Memory::new(&crate::Options { heap_limit: MIB, ..Default::default() }).unwrap();
        let (inside, is_inside) = std::sync::mpsc::channel();
        let (lets_go, go_on) = std::sync::mpsc::channel();
        let heap: Arc<dyn Quiet> = Arc::new(Keeping { inside, go_on: go_on.into() });
        let idle = Idle::new(Arc::downgrade(&heap), memory, Box::new(|| 0), Arc::default(), Arc::new(Patience::new(1)));
        idle.attend(Delays { uncommit: None, idle: Some(SECOND) });
        is_inside.recv_timeout(60 * SECOND).expect("the timer looks at once");
        let mut reports = Vec::new();
        idle.thread().hold(&mut |waited| {
            reports.push(waited);
            if reports.len() == 3 {
                lets_go.send(()).unwrap();
            }
        });
        assert!(reports.len() >= 3 && reports.is_sorted(), "{reports:?}");
        assert!(!is_running(&idle));
        idle.thread().release();
    }

    #[test]
    fn the_shorter_delay_says_how_often_to_look() {
        let delays = |uncommit, idle| Delays { uncommit, idle }.look();
        assert_eq!(delays(Some(8 * SECOND), Some(16 * SECOND)), Some(SECOND));
        assert_eq!(delays(None, Some(16 * SECOND)), Some(2 * SECOND));
        assert_eq!(delays(None, None), None);
    }
}
