//! The pauses of stock Boa, seen from outside: its collector reports nothing.
//!
//! 1. A probe lies in the heap, made before everything else. The collector begins with a walk over all
//!    objects in the order of their making, and the first thing it calls is the probe's `trace_non_roots`:
//!    the pause begins.
//! 2. The collector ends with dropping what is dead, and `finalizer_safe` is false meanwhile. It frees memory
//!    all the time then, so the allocator sees it. The first call of the allocator after that comes from the
//!    mutator, or just before: the pause has ended.
//!
//! A collection that frees nothing is not seen. Boa runs on one thread.

use boa_gc::{Finalize, Gc, Trace, Tracer, finalizer_safe};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

const IDLE: u8 = 0;
const BEGUN: u8 = 1;
const DROPPING: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(IDLE);
static COUNT: AtomicU64 = AtomicU64::new(0);
static LONGEST_NS: AtomicU64 = AtomicU64::new(0);

thread_local!(static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) });

struct Probe;

impl Finalize for Probe {}

// SAFETY: no handles.
unsafe impl Trace for Probe {
    unsafe fn trace(&self, _: &mut Tracer) {}
    unsafe fn trace_non_roots(&self) {
        BEGAN.set(Some(Instant::now()));
        STATE.store(BEGUN, Relaxed);
    }
    fn run_finalizer(&self) {}
}

/// The system's allocator, which looks at the state of the collection when there is one.
struct Watching;

#[global_allocator]
static ALLOCATOR: Watching = Watching;

#[cold]
fn look() {
    match (STATE.load(Relaxed), finalizer_safe()) {
        (BEGUN, false) => STATE.store(DROPPING, Relaxed),
        (DROPPING, true) => {
            STATE.store(IDLE, Relaxed);
            COUNT.fetch_add(1, Relaxed);
            if let Some(began) = BEGAN.get() {
                LONGEST_NS.fetch_max(began.elapsed().as_nanos() as u64, Relaxed);
            }
        }
        _ => (),
    }
}

// SAFETY: the system's allocator; `look` allocates nothing.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if STATE.load(Relaxed) != IDLE {
            look();
        }
        // SAFETY: passed on from the caller.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if STATE.load(Relaxed) != IDLE {
            look();
        }
        // SAFETY: passed on from the caller.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: passed on from the caller.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: passed on from the caller.
        unsafe { System.realloc(at, layout, bytes) }
    }
}

/// Puts the probe into the heap, for as long as the process lives.
pub fn watch() {
    std::mem::forget(Gc::new(Probe));
}

/// Prints the longest pause to standard error, in the words of the other build.
pub fn print() {
    eprintln!("collections {:>21}", COUNT.load(Relaxed));
    eprintln!("pause max {:>20.2} ms", LONGEST_NS.load(Relaxed) as f64 / 1e6);
}
