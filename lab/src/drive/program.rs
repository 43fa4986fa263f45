//! A mutator that allocates as a scenario says.
//!
//! It allocates in batches and computes between them, until the batch has taken the processor time that it
//! takes at the scenario's rate. Its clock is that time: processor time of other threads, of collections and
//! of other users of the machine does not count. A part of the new objects replaces live ones, so live
//! objects are of all ages.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use heapwright::{OutOfMemory, Semantics};
use reference::{Class, Ref, Thread};

use crate::cpu;
use crate::simulate::{Noise, Scenario};
use workloads::rng::Rng;

/// A reference and 48 bytes: with its header 64.
const NODE: Class = Class { refs: 1, bytes: 48 };
const NODE_BYTES: usize = 64;
/// With its place in the table.
const LIVE_BYTES: usize = NODE_BYTES + 8;
/// Bytes allocated at a time.
const BATCH: usize = 16 << 10;
/// Every Nth node replaces one that lives.
const REPLACES: usize = 16;
/// Batches after which the noise within a cycle is drawn anew: about a ms.
const BATCHES_PER_DRAW: usize = 8;

/// What mutators and the listener share.
#[derive(Default)]
pub(super) struct Clock {
    /// Of the scenario, in ns.
    pub now: AtomicU64,
    /// Full collections so far.
    pub cycles: AtomicU64,
    /// A thread ran out of memory: all of them stop.
    pub stop: AtomicBool,
}

/// What one mutator does.
#[derive(Copy, Clone)]
pub(super) struct Program<'a> {
    pub scenario: &'a Scenario,
    /// Its number, and how many there are.
    pub number: usize,
    pub of: usize,
    /// What the scenario's bytes and ns are multiplied by.
    pub size: f64,
    pub time: f64,
}

impl Program<'_> {
    fn live_nodes(self, t: f64, places: usize) -> usize {
        let live = self.scenario.live.at(t) * self.size / self.of as f64;
        (((live - 8.0 * places as f64) / NODE_BYTES as f64).max(1.0) as usize).min(places)
    }

    /// Places for the most that is ever live.
    fn places(self) -> usize {
        let times = (0..=600).map(|part| self.scenario.length * f64::from(part) / 600.0);
        let most = times.map(|t| self.scenario.live.at(t)).fold(0.0, f64::max);
        ((most * self.size / self.of as f64) as usize / LIVE_BYTES).max(1)
    }

    /// Makes what is live at the beginning, waits for the others, and runs.
    pub fn run(self, thread: &Thread, clock: &Clock, start: &std::sync::Barrier) -> Result<(), OutOfMemory> {
        let places = self.places();
        let built = self.build(thread, places);
        thread.native(|| start.wait());
        self.live(thread, clock, built?, places)
    }

    /// The table, as the root with this number. Made at the scenario's rate, so that the pacer knows it.
    fn build(self, thread: &Thread, places: usize) -> Result<(usize, usize), OutOfMemory> {
        let table = thread.try_alloc(Class { refs: places, bytes: 0 }, Semantics::Default)?;
        let root = thread.push(table);
        let used = self.live_nodes(0.0, places);
        let rate = self.scenario.allocation.at(0.0);
        for place in 0..used {
            let node = thread.try_alloc(NODE, Semantics::Default)?;
            thread.write_ref(thread.get(root), place, node);
            if place % (BATCH / NODE_BYTES) == 0 && rate > 0.0 {
                compute(thread, BATCH as f64 / rate);
            }
        }
        Ok((root, used))
    }

    fn live(
        self,
        thread: &Thread,
        clock: &Clock,
        (root, mut used): (usize, usize),
        places: usize,
    ) -> Result<(), OutOfMemory> {
        let mut rng = Rng::new(self.number as u64 + 1);
        let mut noise = Noise::new(self.scenario.seed + self.number as u32);
        let (mut cycle, mut cycle_noise, mut tick_noise) = (u64::MAX, 0.0, 0.0);
        let mut t = 0.0;
        let mut batch = 0;
        while t < self.scenario.length && !clock.stop.load(Relaxed) {
            let wanted = self.live_nodes(t, places);
            while used > wanted {
                used -= 1;
                thread.write_ref(thread.get(root), used, Ref::NULL);
            }
            if std::mem::replace(&mut cycle, clock.cycles.load(Relaxed)) != cycle && self.scenario.cycle_noise > 0.0 {
                cycle_noise = noise.normal(self.scenario.cycle_noise);
            }
            if batch % BATCHES_PER_DRAW == 0 && self.scenario.tick_noise > 0.0 {
                tick_noise = 0.9 * tick_noise + noise.normal(self.scenario.tick_noise) * 0.436;
            }
            batch += 1;
            let rate = self.scenario.allocation.at(t) * f64::exp(cycle_noise + tick_noise);
            let time = if rate > 0.0 { BATCH as f64 / rate } else { 1e6 * self.time };
            let before = cpu::thread_ns();
            for n in 0..if rate > 0.0 { BATCH / NODE_BYTES } else { 0 } {
                let node = thread.try_alloc(NODE, Semantics::Default)?;
                if used < wanted {
                    thread.write_ref(thread.get(root), used, node);
                    used += 1;
                } else if n % REPLACES == 0 {
                    thread.write_ref(thread.get(root), rng.below(used), node);
                }
            }
            let taken = (cpu::thread_ns() - before) as f64;
            // More than a batch takes was a collection that this thread led.
            compute(thread, if taken < time { time - taken } else { time });
            t += time / self.time;
            if self.number == 0 {
                clock.now.store(t as u64, Relaxed);
            }
        }
        Ok(())
    }
}

/// Uses the processor for so long.
fn compute(thread: &Thread, ns: f64) {
    let end = cpu::thread_ns() + ns as u64;
    while cpu::thread_ns() < end {
        (0..64).for_each(|_| std::hint::spin_loop());
        thread.poll();
    }
}
