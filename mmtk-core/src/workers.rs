//! The worker gang: threads that help the leader of a pause through its parallel sections.
//!
//! The leader is the thread that asked for the pause; it is worker 0 and does a section alone unless helpers
//! are woken. Waking one costs tens of microseconds, so a section that is over sooner never wakes any.
//! Helpers are started before a pause that may want them, and a small heap has none at all. A pause itself
//! starts none: a new thread takes memory from `malloc`, whose lock a thread that has stopped may hold.
//!
//! I1. A section's closure is borrowed from the leader's stack. `run` returns only when no helper is inside
//!     it and none can enter any more, so the borrow never outlives its owner.
//! I2. A helper enters a section at most once, as the worker with its own number.
//! I3. No more workers enter a section than are allowed. That number changes between sections.
//! I4. A panic of a helper, or of the leader while helpers are at work, ends the process, and its text is
//!     printed: the data that they share is in doubt. If the leader is alone, its panic unwinds. A leader
//!     that waits long for helpers reports which are at work (`patience`).
//! Callers: `run` and `allow` the leader; `wake` any worker inside the section.

use crate::address::{Address, ObjectReference};
use crate::alloc::Allocators;
use crate::callback::{self, Frame};
use crate::memory::{EXTENTS, Extent};
pub use crate::metadata::Count;
use crate::metadata::{BlockBytes, BlockTotals};
use crate::os::{self, PageVec, Pages, thread_cpu_ns};
use crate::patience::{Patience, Waiting};
use allocator_api2::{boxed::Box, unsize_box};
use protocols::sync::{Condvar, Mutex, MutexGuard};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// What a worker keeps through a pause.
///
/// Cache lines of its own, in pairs as processors fetch them: the counters are written for each object.
/// Beside one another, the last field of a worker shared a line with the counters of the next, and what read
/// it took twice the time.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Worker {
    /// 0 is the leader.
    pub index: usize,
    /// Whether no other worker may enter the sections of this pause.
    pub alone: bool,
    /// Where it puts copies.
    pub allocators: Allocators,
    /// Objects that live because of others it reached, and that it has to follow (`Policy::next_held`).
    pub held: PageVec<ObjectReference>,
    /// Objects that it reached first, where finalizers are put in order (`weak`).
    pub(crate) noted: PageVec<ObjectReference>,
    /// Bytes of objects that it marked or copied in spaces that do not count by block, by the number of the
    /// space's extent.
    pub live_bytes: [usize; EXTENTS],
    /// Objects that it marked or copied.
    pub objects: usize,
    /// Bytes of those in spaces that count by block.
    pub(crate) block_bytes: BlockBytes,
}

impl Worker {
    /// Counts an object found live in the space that has this extent.
    #[inline(always)]
    pub fn count(&mut self, extent: Extent, bytes: usize) {
        self.live_bytes[extent.number()] += bytes;
        self.objects += 1;
    }

    /// Counts an object found live, at `address` of a space that counts by block.
    #[inline(always)]
    pub fn count_in_block(&mut self, totals: &BlockTotals, address: Address, bytes: usize) {
        self.block_bytes.add(totals, address, bytes);
        self.objects += 1;
    }
}

impl Count for Worker {
    #[inline(always)]
    fn count(&mut self, extent: Extent, bytes: usize) {
        Worker::count(self, extent, bytes);
    }
    #[inline(always)]
    fn count_in_block(&mut self, totals: &BlockTotals, address: Address, bytes: usize) {
        Worker::count_in_block(self, totals, address, bytes);
    }
}

type SectionFn = dyn Fn(&mut Worker) + Sync;

/// A section's closure with its lifetime taken off (I1).
#[derive(Copy, Clone)]
struct Section(*const SectionFn);

// SAFETY: the closure is Sync, so it may be called from any thread while it lives (I1).
unsafe impl Send for Section {}

#[derive(Default)]
struct State {
    section: Option<Section>,
    /// The callback in which the leader runs the section: its helpers are inside it too.
    callback: Option<Frame>,
    number: u64,
    /// Helpers that entered the section.
    entered: usize,
    inside: usize,
    shutdown: bool,
}

struct Shared {
    state: Mutex<State>,
    begin: Condvar,
    left: Condvar,
    cpu_ns: Vec<AtomicU64>,
    workers: Vec<Mutex<Worker>>,
    /// How many workers may enter a section, the leader included.
    allowed: AtomicUsize,
    /// The thread of each helper while it is at work in the section; else 0. Only reports look at them.
    at_work: Vec<AtomicU32>,
    /// Whether helpers were asked into the current section.
    woken: AtomicBool,
    started: AtomicUsize,
}

/// The workers of one heap.
pub struct Gang {
    shared: Arc<Shared>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
    /// Buffers that sections leave for the next ones, of various types.
    spares: Mutex<PageVec<Box<dyn Any + Send, Pages>>>,
    /// A pause wanted helpers, and they had not been started.
    missed: AtomicBool,
    name: String,
    overdue: Option<Overdue>,
}

/// What becomes of a leader's wait for helpers that is too long.
struct Overdue {
    patience: Arc<Patience>,
    report: std::boxed::Box<Report>,
}

/// Says for how long the leader has waited, and for which helpers: number and thread. There may be none left.
type Report = dyn Fn(Duration, Vec<(usize, u32)>) + Send + Sync;

/// A wait of the leader for its helpers.
pub(crate) struct Late<'a> {
    gang: &'a Gang,
    waiting: Option<Waiting<'a>>,
}

impl Late<'_> {
    /// Waits to be notified, or reports, without the lock, and returns.
    pub fn wait<T>(&mut self, on: &Condvar, guard: &mut MutexGuard<'_, T>) {
        match &mut self.waiting {
            Some(waiting) => waiting.wait(on, guard, |waited| self.gang.report(waited)),
            None => on.wait(guard),
        }
    }
}

impl Gang {
    /// A gang of `size` workers, the leader included; no thread is started yet.
    pub fn new(size: usize, name: &str) -> Gang {
        let worker = |index| Mutex::new(Worker { index, alone: size == 1, ..Worker::default() });
        Gang {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                begin: Condvar::new(),
                left: Condvar::new(),
                cpu_ns: (0..size).map(|_| AtomicU64::new(0)).collect(),
                workers: (0..size).map(worker).collect(),
                allowed: AtomicUsize::new(size),
                at_work: (0..size).map(|_| AtomicU32::new(0)).collect(),
                woken: AtomicBool::new(false),
                started: AtomicUsize::new(0),
            }),
            threads: Mutex::default(),
            spares: Mutex::default(),
            missed: AtomicBool::new(false),
            name: name.to_string(),
            overdue: None,
        }
    }

    /// The same, whose leader calls `report` when it has waited long for helpers.
    pub(crate) fn reporting(
        mut self,
        patience: Arc<Patience>,
        report: impl Fn(Duration, Vec<(usize, u32)>) + Send + Sync + 'static,
    ) -> Gang {
        self.overdue = Some(Overdue { patience, report: std::boxed::Box::new(report) });
        self
    }

    /// The leader begins to wait for helpers.
    pub(crate) fn late(&self) -> Late<'_> {
        Late { gang: self, waiting: self.overdue.as_ref().map(|overdue| Waiting::new(&overdue.patience)) }
    }

    fn report(&self, waited: Duration) {
        let thread = |helper: usize| self.shared.at_work[helper].load(Relaxed);
        let late = (1..self.size()).map(|helper| (helper, thread(helper))).filter(|(_, thread)| *thread != 0);
        self.overdue.iter().for_each(|overdue| (overdue.report)(waited, late.clone().collect()));
    }

    /// A helper waits for work in `f`: no thread waits for that helper.
    pub(crate) fn resting<R>(&self, helper: usize, f: impl FnOnce() -> R) -> R {
        let thread = self.shared.at_work[helper].swap(0, Relaxed);
        let result = f();
        self.shared.at_work[helper].store(thread, Relaxed);
        result
    }

    /// How many workers there are, the leader included.
    pub fn size(&self) -> usize {
        self.shared.workers.len()
    }

    /// At most this many workers enter a section from now on, the leader included. Between sections; the
    /// leader.
    pub(crate) fn allow(&self, workers: usize) {
        debug_assert!((1..=self.size()).contains(&workers));
        if self.shared.allowed.swap(workers, Relaxed) != workers {
            self.for_each_worker(|worker| worker.alone = workers == 1);
        }
    }

    /// Runs one section: the leader at once, helpers if `wake`, or as soon as a worker calls [`Gang::wake`].
    /// Returns when all who entered have left.
    pub fn run(&self, wake: bool, section: &(dyn Fn(&mut Worker) + Sync)) {
        if self.size() > 1 {
            // SAFETY: only the lifetime changes; `run` keeps the borrow alive until the section is closed
            // below (I1).
            let erased = unsafe { std::mem::transmute::<&(dyn Fn(&mut Worker) + Sync), &'static SectionFn>(section) };
            let mut state = self.shared.state.lock();
            state.section = Some(Section(erased));
            state.callback = callback::current();
            state.number += 1;
            state.entered = 0;
            self.shared.woken.store(false, Relaxed);
            drop(state);
            if wake {
                self.wake();
            }
        }
        // The section is closed also if the leader's part unwinds.
        let result = catch_unwind(AssertUnwindSafe(|| section(&mut self.shared.workers[0].lock())));
        self.close(result.as_ref().err().map(|panic| &**panic));
        if let Err(panic) = result {
            resume_unwind(panic);
        }
    }

    /// Nobody enters the section any more; returns when all who entered have left. `panicked`: the leader,
    /// with this.
    fn close(&self, panicked: Option<&(dyn Any + Send)>) {
        let mut state = self.shared.state.lock();
        state.section = None;
        if let Some(panic) = panicked
            && state.inside > 0
        {
            // Helpers may wait for work of the leader's that will never come, and the closure they are in is
            // about to go.
            abort("the leader of a collection", panic);
        }
        let mut late = self.late();
        while state.inside > 0 {
            late.wait(&self.shared.left, &mut state);
        }
    }

    /// Runs something as the leader, without a section for others to enter.
    pub fn run_alone(&self, f: impl FnOnce(&mut Worker)) {
        f(&mut self.shared.workers[0].lock());
    }

    /// Asks the helpers into the current section; only the first call in a section costs anything.
    pub fn wake(&self) {
        // Relaxed, here and where a helper looks: the number changes between sections, and the lock below
        // orders it.
        let allowed = self.shared.allowed.load(Relaxed);
        if allowed == 1 || self.shared.woken.load(Relaxed) || self.shared.woken.swap(true, Relaxed) {
            return;
        }
        if self.shared.started.load(Relaxed) == 0 {
            if callback::in_pause() {
                // The leader does this pause alone: a thread that begins takes memory from `malloc`, whose
                // lock a mutator that has stopped may hold.
                return self.missed.store(true, Relaxed);
            }
            self.start_threads();
        }
        let _state = self.shared.state.lock();
        match allowed == self.size() {
            true => self.shared.begin.notify_all(),
            false => (1..allowed).for_each(|_| self.shared.begin.notify_one()),
        }
    }

    /// Ends the helpers, and waits for it; they start anew when they are next woken. Between sections.
    pub fn end_helpers(&self) {
        let mut threads = self.threads.lock();
        self.shared.state.lock().shutdown = true;
        self.shared.begin.notify_all();
        for thread in threads.drain(..) {
            // A helper that panicked has reported it.
            let _ = thread.join();
        }
        self.shared.state.lock().shutdown = false;
        self.shared.started.store(0, Relaxed);
    }

    /// Starts the helpers, unless that was done. Not in a pause: helpers that a pause finds missing do not
    /// come.
    pub(crate) fn start(&self) {
        if self.size() > 1 && self.shared.started.load(Relaxed) == 0 {
            self.start_threads();
        }
    }

    /// Starts them if a pause was without them that had work for them.
    pub(crate) fn start_if_missed(&self) {
        if self.missed.load(Relaxed) {
            self.start();
        }
    }

    #[cold]
    fn start_threads(&self) {
        let mut threads = self.threads.lock();
        for index in 1 + threads.len()..self.size() {
            let shared = self.shared.clone();
            let thread =
                std::thread::Builder::new().name(format!("{}-{index}", self.name)).spawn(move || help(&shared, index));
            match thread {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    // The leader can do all the work itself.
                    crate::warn_once!("cannot start GC worker {index}: {error}");
                    break;
                }
            }
        }
        self.shared.started.store(1, Relaxed);
    }

    /// A buffer that an earlier section left.
    pub(crate) fn take_spare<T: Any + Send>(&self) -> Option<Box<T, Pages>> {
        let mut spares = self.spares.lock();
        let index = spares.iter().rposition(|spare| (**spare).is::<T>())?;
        spares.swap_remove(index).downcast().ok()
    }

    /// Leaves a buffer for a later section. It should be small: it is not charged to the budget.
    pub(crate) fn keep_spare<T: Any + Send>(&self, spare: Box<T, Pages>) {
        self.spares.lock().push(unsize_box!(spare));
    }

    /// Visits each worker's state, between sections.
    pub fn for_each_worker(&self, mut f: impl FnMut(&mut Worker)) {
        for worker in &self.shared.workers {
            f(&mut worker.lock());
        }
    }

    /// Processor time of each helper since the last call, in nanoseconds; the leader's entry is 0.
    pub fn take_cpu_ns(&self) -> impl Iterator<Item = u64> {
        self.shared.cpu_ns.iter().map(|ns| ns.swap(0, Relaxed))
    }
}

impl Drop for Gang {
    fn drop(&mut self) {
        self.end_helpers();
    }
}

/// Ends the process: `who` has panicked where nothing can go on. The text comes again, since the program may
/// have a panic hook of its own.
pub(crate) fn abort(who: &str, panic: &(dyn Any + Send)) -> ! {
    let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        (None, None) => "a panic without a text",
    };
    let message = format!(
        "{who} panicked while others were at work, and the heap cannot go on; aborting: {text}
"
    );
    os::write_to_standard_error(message.as_bytes());
    std::process::abort()
}

fn help(shared: &Shared, index: usize) {
    let thread = os::thread_id();
    let mut last = 0;
    loop {
        let mut state = shared.state.lock();
        let section = loop {
            if state.shutdown {
                return;
            }
            match state.section {
                Some(section)
                    if state.number != last
                        && shared.woken.load(Relaxed)
                        && state.entered + 1 < shared.allowed.load(Relaxed) =>
                {
                    break section;
                }
                _ => shared.begin.wait(&mut state),
            }
        };
        last = state.number;
        shared.at_work[index].store(thread, Relaxed);
        state.entered += 1;
        state.inside += 1;
        let _callback = state.callback.map(callback::enter);
        drop(state);
        let inside = Inside(shared);
        let before = thread_cpu_ns();
        {
            let mut worker = shared.workers[index].lock();
            // SAFETY: the section was open when we entered, and `run` waits until `inside` is zero again
            // (I1).
            let section = unsafe { &*section.0 };
            let result = catch_unwind(AssertUnwindSafe(|| section(&mut worker)));
            if let Err(panic) = result {
                // A heap in doubt: nothing may run on.
                abort(&format!("GC worker {index}"), &*panic);
            }
        }
        shared.at_work[index].store(0, Relaxed);
        shared.cpu_ns[index].fetch_add(thread_cpu_ns() - before, Relaxed);
        drop(inside);
    }
}

struct Inside<'a>(&'a Shared);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.inside -= 1;
        if state.inside == 0 {
            self.0.left.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_enters_a_section_once() {
        let gang = Gang::new(3, "test");
        for _ in 0..50 {
            let entered = AtomicUsize::new(0);
            gang.run(true, &|worker| {
                assert_eq!(entered.fetch_or(1 << worker.index, Relaxed) & (1 << worker.index), 0);
                while entered.load(Relaxed) != 0b111 {
                    std::thread::yield_now();
                }
            });
            assert_eq!(entered.load(Relaxed), 0b111);
        }
    }

    #[test]
    fn a_section_does_not_wait_for_helpers_that_have_not_begun() {
        let gang = Gang::new(3, "test");
        // As if they had been started, and got no processor.
        gang.shared.started.store(1, Relaxed);
        let entered = AtomicUsize::new(0);
        for _ in 0..10 {
            gang.run(true, &|worker| {
                assert_eq!(worker.index, 0);
                entered.fetch_add(1, Relaxed);
            });
        }
        assert_eq!(entered.load(Relaxed), 10);
    }

    #[test]
    fn a_worker_is_alone_in_a_gang_of_one_and_nowhere_else() {
        for size in 1..4 {
            let mut workers = 0;
            Gang::new(size, "test").for_each_worker(|worker| {
                assert_eq!(worker.alone, size == 1);
                workers += 1;
            });
            assert_eq!(workers, size);
        }
    }

    #[test]
    fn no_more_workers_enter_a_section_than_are_allowed() {
        let gang = Gang::new(4, "test");
        for allowed in [2, 1, 3, 4, 1, 2] {
            gang.allow(allowed);
            gang.for_each_worker(|worker| assert_eq!(worker.alone, allowed == 1));
            for _ in 0..20 {
                let entered = AtomicUsize::new(0);
                gang.run(true, &|_| {
                    entered.fetch_add(1, Relaxed);
                    while entered.load(Relaxed) < allowed {
                        std::thread::yield_now();
                    }
                });
                assert_eq!(entered.load(Relaxed), allowed);
            }
        }
    }

    #[test]
    fn helpers_are_inside_the_callback_of_their_leader() {
        let gang = Gang::new(3, "test");
        let frame = Frame { heap: 42, what: callback::Callback::Pause };
        let (entered, right) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let all = |expected: Option<Frame>| {
            entered.store(0, Relaxed);
            gang.run(true, &|_| {
                entered.fetch_add(1, Relaxed);
                right.fetch_add(usize::from(callback::current() == expected), Relaxed);
                while entered.load(Relaxed) < 3 {
                    std::thread::yield_now();
                }
            });
        };
        gang.start();
        let inside = callback::enter(frame);
        all(Some(frame));
        drop(inside);
        all(None);
        assert_eq!(right.load(Relaxed), 6);
    }

    #[test]
    fn helpers_that_a_pause_finds_missing_do_not_come_and_are_started_before_the_next() {
        let gang = Gang::new(3, "test");
        let entered = AtomicUsize::new(0);
        let pause = || {
            let _inside = callback::enter(Frame { heap: 42, what: callback::Callback::Pause });
            gang.run(true, &|_| {
                entered.fetch_add(1, Relaxed);
                while !gang.threads.lock().is_empty() && entered.load(Relaxed) < 3 {
                    std::thread::yield_now();
                }
            });
            entered.swap(0, Relaxed)
        };
        gang.start_if_missed();
        assert_eq!((pause(), gang.threads.lock().len()), (1, 0));
        gang.start_if_missed();
        assert_eq!((pause(), gang.threads.lock().len()), (3, 2));
    }

    #[test]
    fn nobody_is_woken_for_a_short_section() {
        let gang = Gang::new(4, "test");
        let entered = AtomicUsize::new(0);
        gang.run(false, &|_| {
            entered.fetch_add(1, Relaxed);
        });
        assert_eq!(entered.load(Relaxed), 1);
        assert!(gang.threads.lock().is_empty());
    }
}
