//! Clocks, atomics, wake-ups.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use super::measure::{Report, cpu_seconds, repeat, try_repeat, wall_seconds};
use crate::failure::Failure;
use workloads::ticks;

const MANY: usize = 1_000_000;

// linux/membarrier.h
const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 16;
const PRIVATE_EXPEDITED: libc::c_int = 8;

fn membarrier(command: libc::c_int) {
    // SAFETY: takes numbers and touches no memory.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
}

/// Sleeps while the word has this value. SeqCst here and below: the hand-over is what is measured, not its
/// minimum.
fn wait(word: &AtomicU32, value: u32) {
    while word.load(Ordering::SeqCst) == value {
        let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        let no_timeout = std::ptr::null::<libc::timespec>();
        // SAFETY: the word outlives the call, and there is no timeout to read.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, no_timeout) };
    }
}

fn wake(word: &AtomicU32, value: u32) {
    word.store(value, Ordering::SeqCst);
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word outlives the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, 1) };
}

pub(super) fn measure(report: &mut Report) -> Result<(), Failure> {
    let each = |operation: &dyn Fn()| repeat(5, || cpu_seconds(|| (0..MANY).for_each(|_| operation())));
    let now = || {
        black_box(Instant::now());
    };
    report.cost("Instant::now", "ns", MANY, 1e9, each(&now))?;
    let ticks = || {
        black_box(ticks::now());
    };
    report.cost("rdtsc", "ns", MANY, 1e9, each(&ticks))?;
    let counter = AtomicU32::new(0);
    let add = || {
        black_box(&counter).fetch_add(1, Ordering::SeqCst);
    };
    report.cost("uncontended fetch_add (locked)", "ns", MANY, 1e9, each(&add))?;
    hand_over(report)?;
    let spawn = || {
        let start = Instant::now();
        for _ in 0..200 {
            let thread = std::thread::Builder::new().spawn(|| {}).map_err(no_thread)?;
            thread.join().expect("it does nothing");
        }
        Ok(start.elapsed().as_secs_f64())
    };
    report.cost("thread spawn + join (wall)", "us", 200, 1e6, try_repeat(5, spawn)?)?;
    membarrier(REGISTER_PRIVATE_EXPEDITED);
    let barriers = || (0..10_000).for_each(|_| membarrier(PRIVATE_EXPEDITED));
    let times = repeat(5, || cpu_seconds(barriers));
    report.cost("membarrier private expedited", "us", 10_000, 1e6, times)?;
    Ok(())
}

/// Futex ping-pong: one wake-up and one switch of threads.
fn hand_over(report: &mut Report) -> Result<(), Failure> {
    const ROUNDS: usize = 3000;
    let (word, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let partner = || {
            loop {
                wait(&word, 0);
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                wake(&word, 0);
            }
        };
        std::thread::Builder::new().spawn_scoped(scope, partner).map_err(no_thread)?;
        let ping_pong = || {
            for _ in 0..ROUNDS {
                wake(&word, 1);
                wait(&word, 1);
            }
        };
        let times = repeat(7, || wall_seconds(ping_pong));
        stop.store(true, Ordering::SeqCst);
        wake(&word, 1);
        report.cost("futex hand-over between two threads (wall)", "us", 2 * ROUNDS, 1e6, times)
    })
}

fn no_thread(error: std::io::Error) -> Failure {
    Failure::Failed(format!("the system starts no thread: {error}"))
}
