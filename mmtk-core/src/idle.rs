//! Memory that a heap no longer needs goes back to the system after a delay, also when the program has gone quiet and no collection comes.
//!
//! What does a heap need? Until the next full collection is due it will use what there is up to the goal: that much is kept while the program
//! allocates as fast as in the cycle before. A program that has slowed down to a quarter of it needs what is live, and what it allocated since.
//! More than that is returned once nothing has used it for the delay; so a program in a steady state never returns what it takes again.
//!
//! 1. After each full collection the leader notes what is needed ([`Idle::collected`]), and starts the timer if more is resident.
//! 2. The timer, a thread, looks again when the delay is over: it returns what is above the need then, or waits on.
//!
//! The thread ends when there is nothing to return. Until the next full collection there will not be.
//! Callers: leaders; the timer.

use crate::heap::Memory;
use crate::sync::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Less than this is not worth a look, in bytes.
const LEAST: usize = 256 << 10;
/// A program is quiet when it allocates at less than this part of the rate before.
const QUIET: f64 = 0.25;
/// A quiet program is left so much over what is live, as a part of that: it will not take back page by page what was just returned.
const SPARE: f64 = 0.0625;

/// The cycle that is running.
#[derive(Copy, Clone, Debug)]
struct Cycle {
    began: Instant,
    /// How long the one before was.
    last: Duration,
    /// Bytes of live objects when it began.
    live: usize,
    /// Bytes reserved then, and at which it ends.
    retained: usize,
    goal: usize,
}

impl Cycle {
    /// Bytes that it cannot do without, with so many reserved now. Not what is reserved: that counts room for copies, which may never have been touched.
    fn least(&self, reserved: usize) -> usize {
        self.live + (SPARE * self.live as f64) as usize + reserved.saturating_sub(self.retained)
    }

    /// Bytes that the program is expected to use.
    fn need(&self, now: Instant, reserved: usize) -> usize {
        let elapsed = now.saturating_duration_since(self.began).as_secs_f64();
        let expected = elapsed / self.last.as_secs_f64().max(1e-9);
        let room = self.goal.saturating_sub(self.retained).max(1);
        let used = reserved.saturating_sub(self.retained) as f64 / room as f64;
        if expected > 0.0 && used < QUIET * expected.min(1.0) { self.least(reserved) } else { self.goal.max(reserved) }
    }
}

#[derive(Default)]
struct State {
    cycle: Option<Cycle>,
    delay: Duration,
    running: bool,
    shutdown: bool,
}

struct Shared {
    memory: Arc<Memory>,
    created: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

/// Returns memory of one heap.
pub(crate) struct Idle {
    shared: Arc<Shared>,
    timer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Idle {
    pub fn new(memory: Arc<Memory>) -> Idle {
        let shared = Shared { memory, created: Instant::now(), state: Mutex::default(), changed: Condvar::new() };
        Idle { shared: Arc::new(shared), timer: Mutex::new(None) }
    }

    /// A full collection has ended; the next is due at `goal` bytes. With a delay of 0 what is above the goal goes at once.
    pub fn collected(&self, live: usize, goal: usize, delay: Duration) {
        let now = Instant::now();
        let budget = self.shared.memory.budget();
        if delay.is_zero() {
            let excess = budget.resident().saturating_sub(goal);
            if excess > 0 {
                self.shared.memory.give_back(excess);
            }
        }
        let mut state = self.shared.state.lock();
        let last = now - state.cycle.map_or(self.shared.created, |cycle| cycle.began);
        let cycle = Cycle { began: now, last, live, retained: budget.reserved(), goal };
        (state.cycle, state.delay) = (Some(cycle), delay);
        let excess = budget.resident().saturating_sub(cycle.least(budget.reserved()));
        if excess < LEAST || state.running {
            return;
        }
        state.running = true;
        drop(state);
        let mut timer = self.timer.lock();
        if let Some(ended) = timer.take() {
            let _ = ended.join();
        }
        let shared = self.shared.clone();
        match std::thread::Builder::new().name("gc-idle".to_owned()).spawn(move || run(&shared)) {
            Ok(thread) => *timer = Some(thread),
            Err(error) => {
                log::warn!("cannot start the thread that returns memory: {error}");
                self.shared.state.lock().running = false;
            }
        }
    }

    /// Ends the timer, and waits for it; it is started anew when it is next needed.
    pub fn end(&self) {
        let mut timer = self.timer.lock();
        self.shared.state.lock().shutdown = true;
        self.shared.changed.notify_all();
        if let Some(thread) = timer.take() {
            let _ = thread.join();
        }
        let mut state = self.shared.state.lock();
        (state.shutdown, state.running) = (false, false);
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(shared: &Shared) {
    let budget = shared.memory.budget();
    // What was needed at most in the delay that is running.
    let mut needed = 0;
    let mut since = Instant::now();
    let mut state = shared.state.lock();
    loop {
        let now = Instant::now();
        let (Some(cycle), delay) = (state.cycle, state.delay.max(Duration::from_millis(1))) else { break };
        needed = needed.max(cycle.need(now, budget.reserved()));
        let excess_over = |needed: usize| budget.resident().saturating_sub(needed);
        if state.shutdown || excess_over(cycle.least(budget.reserved())) < LEAST {
            break;
        }
        if now - since >= delay {
            let excess = excess_over(needed);
            (needed, since) = (0, now);
            if excess >= LEAST {
                drop(state);
                let given = shared.memory.give_back(excess);
                state = shared.state.lock();
                if given == 0 && state.cycle.is_some_and(|now| now.began == cycle.began) {
                    break;
                }
                continue;
            }
        }
        // Eight looks in a delay: what was needed in between is seen in what is reserved.
        shared.changed.wait_for(&mut state, delay / 8);
    }
    state.running = false;
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn cycle(began: Instant) -> Cycle {
        Cycle { began, last: Duration::from_secs(8), live: 96 * MIB, retained: 100 * MIB, goal: 200 * MIB }
    }

    #[test]
    fn a_program_in_a_steady_state_needs_all_up_to_the_goal() {
        let began = Instant::now();
        for second in 0..=8 {
            let reserved = (100 + second * 100 / 8) * MIB;
            let now = began + Duration::from_secs(second as u64);
            assert_eq!(cycle(began).need(now, reserved), 200 * MIB, "after {second} s");
        }
        // At half the pace of the cycle before, too.
        assert_eq!(cycle(began).need(began + Duration::from_secs(8), 150 * MIB), 200 * MIB);
    }

    #[test]
    fn a_program_that_has_gone_quiet_needs_what_is_live_and_a_little() {
        let began = Instant::now();
        let need = cycle(began).need(began + Duration::from_secs(4), 101 * MIB);
        assert!((101 * MIB..120 * MIB).contains(&need), "{need}");
        // However long it stays so.
        let need = cycle(began).need(began + Duration::from_secs(4000), 101 * MIB);
        assert!((101 * MIB..120 * MIB).contains(&need), "{need}");
    }

    #[test]
    fn a_heap_above_its_goal_needs_what_it_has() {
        let began = Instant::now();
        assert_eq!(cycle(began).need(began, 250 * MIB), 250 * MIB);
    }
}
