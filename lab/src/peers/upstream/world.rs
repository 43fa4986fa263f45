//! Stopping and resuming the mutators, and what happened meanwhile: pauses, worker CPU, reserved bytes.
//!
//! I1. `parked <= bound.len()`, and a pause begins when they are equal: each bound thread is inside `block`.
//! I2. A thread is bound only while no stop is asked for, so that a pause sees all threads or none of it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

use crate::cpu::ThreadClock;
use workloads::heap::Pause;

/// Polled by mutators. A hint: the truth is `World::stopping`, under the lock.
pub(super) static STOP: AtomicBool = AtomicBool::new(false);

static WORLD: Mutex<World> =
    Mutex::new(World { bound: Vec::new(), parked: 0, stopping: false, epoch: 0, stop_requested: None });
static STOPPED: Condvar = Condvar::new();
static RESUMED: Condvar = Condvar::new();

static PAUSES: Mutex<Vec<Pause>> = Mutex::new(Vec::new());
static WORKERS: Mutex<Workers> = Mutex::new(Workers { clocks: Vec::new(), taken_ns: 0 });
/// Relaxed: an independent maximum, written in pauses, read when no mutator is bound.
static PEAK_RESERVED_PAGES: AtomicUsize = AtomicUsize::new(0);

struct World {
    /// `*mut State` of each bound thread.
    bound: Vec<usize>,
    parked: usize,
    stopping: bool,
    /// Counts resumes: a parked thread waits for it to change.
    epoch: u64,
    stop_requested: Option<Instant>,
}

struct Workers {
    clocks: Vec<ThreadClock>,
    /// Sum of the clocks at the last `take_worker_cpu_ns`.
    taken_ns: u64,
}

fn world() -> MutexGuard<'static, World> {
    WORLD.lock().expect("no holder panics")
}

fn wait<'a>(condition: &Condvar, guard: MutexGuard<'a, World>) -> MutexGuard<'a, World> {
    condition.wait(guard).expect("no holder panics")
}

/// Runs `make`, which fills in the state, and lists the thread, while no pause is in progress (I2).
pub(super) fn bind_while_running(state: *mut impl Sized, make: impl FnOnce()) {
    let mut world = world();
    while world.stopping {
        world = wait(&RESUMED, world);
    }
    make();
    world.bound.push(state as usize);
}

/// Takes a thread off the list; a pause may have been waiting for it.
pub(super) fn unbind(state: *mut impl Sized) {
    world().bound.retain(|&bound| bound != state as usize);
    STOPPED.notify_all();
}

/// Parks until the next resume. Called by a mutator that asked for a collection or saw a stop.
#[cold]
#[inline(never)]
pub(super) fn block() {
    let mut world = world();
    let epoch = world.epoch;
    world.parked += 1;
    STOPPED.notify_all();
    while world.epoch == epoch {
        world = wait(&RESUMED, world);
    }
    // `parked` was reset by `resume`.
}

/// Parks if there really is a stop.
#[cold]
#[inline(never)]
pub(super) fn park() {
    let stopping = world().stopping;
    if stopping {
        block();
    }
}

/// Asks all mutators to stop and waits until they have.
pub(super) fn stop() {
    let mut world = world();
    world.stop_requested = Some(Instant::now());
    world.stopping = true;
    // Relaxed: only a hint to look at the lock.
    STOP.store(true, Ordering::Relaxed);
    while world.parked < world.bound.len() {
        world = wait(&STOPPED, world);
    }
}

/// Lets all mutators go on.
pub(super) fn resume() {
    let mut world = world();
    if let Some(start) = world.stop_requested.take() {
        let length_ns = start.elapsed().as_nanos() as u64;
        PAUSES.lock().expect("no holder panics").push(Pause { start, length_ns });
    }
    STOP.store(false, Ordering::Relaxed);
    world.stopping = false;
    world.parked = 0;
    world.epoch += 1;
    RESUMED.notify_all();
}

/// The states of the bound threads, which were bound with this type.
pub(super) fn states<State>() -> Vec<*mut State> {
    world().bound.iter().map(|&state| state as *mut State).collect()
}

/// The calling thread is a GC worker.
pub(super) fn note_worker() {
    WORKERS.lock().expect("no holder panics").clocks.push(ThreadClock::current());
}

/// A pause begins: what is reserved now, copy reserve included, is the most since the last one.
pub(super) fn note_reserved(pages: usize) {
    PEAK_RESERVED_PAGES.fetch_max(pages, Ordering::Relaxed);
}

/// The pauses since the last call.
pub(super) fn take_pauses() -> Vec<Pause> {
    std::mem::take(&mut *PAUSES.lock().expect("no holder panics"))
}

/// CPU time of the GC workers since the last call. They live as long as the process.
pub(super) fn take_worker_cpu_ns() -> u64 {
    let mut workers = WORKERS.lock().expect("no holder panics");
    let now: u64 = workers.clocks.iter().map(|clock| clock.read_ns()).sum();
    now - std::mem::replace(&mut workers.taken_ns, now)
}

/// Most bytes reserved since the last call.
pub(super) fn take_peak_reserved_bytes() -> u64 {
    let pages = PEAK_RESERVED_PAGES.swap(0, Ordering::Relaxed);
    mmtk::util::conversions::pages_to_bytes(pages) as u64
}
