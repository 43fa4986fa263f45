//! How hard to work while a marking is in progress: what the pacer has said at the last tick, where the
//! threads that mark read it, and what the next tick tells the pacer.
//!
//! 1. Each `pacer.tick_us` one of these threads measures: what mutators have allocated and threads have
//!    marked since the last tick, and the processor time that either took.
//! 2. The pacer answers with shares of the machine (`pacer::effort`).
//! 3. The background thread works for its part of the time, and rests for the rest (`duty`). Mutators may
//!    give so much of their time until the next tick.
//!
//! I1. One thread measures at a time; others do not wait for it.
//! Callers: the background thread between steps, mutators in the slow path of allocation; `begin` the leader.

use pacer::{Effort, Tick};
use protocols::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// Less processor time than this, in ns, tells nothing about a rate: the next tick counts it in.
const LEAST_CPU_NS: u64 = 20_000;

/// What has been counted by a tick.
#[derive(Copy, Clone, Default, Debug)]
pub(crate) struct Totals {
    /// Bytes allocated, and processor time of mutators without that in which they marked, in ns.
    pub allocated: usize,
    pub mutator_cpu_ns: u64,
    /// Bytes marked, and processor time of marking, in ns.
    pub marked: usize,
    pub marking_cpu_ns: u64,
}

/// A rate that is measured from tick to tick.
#[derive(Copy, Clone, Default, Debug)]
struct Rate {
    /// Bytes per ns; none before anything is known.
    now: Option<f64>,
    /// What had been counted when it was last measured.
    bytes: usize,
    cpu_ns: u64,
}

impl Rate {
    fn measure(&mut self, bytes: usize, cpu_ns: u64) -> Option<f64> {
        let taken = cpu_ns.saturating_sub(self.cpu_ns);
        if taken >= LEAST_CPU_NS {
            self.now = Some(bytes.saturating_sub(self.bytes) as f64 / taken as f64);
            (self.bytes, self.cpu_ns) = (bytes, cpu_ns);
        }
        self.now
    }
}

/// What is known from one tick to the next.
#[derive(Copy, Clone, Default, Debug)]
pub(crate) struct Measured {
    /// Whether the marking in progress had a tick.
    begun: bool,
    allocation: Rate,
    scan: Rate,
    /// When the last tick was, or the beginning, in ns since heap creation.
    at_ns: u64,
}

impl Measured {
    /// What to tell the pacer; none while a rate is not known. The first tick is where counting begins.
    pub fn tick(&mut self, reserved: f64, totals: Totals) -> Option<Tick> {
        let Totals { allocated, mutator_cpu_ns, marked, marking_cpu_ns } = totals;
        if !std::mem::replace(&mut self.begun, true) {
            (self.allocation.bytes, self.allocation.cpu_ns) = (allocated, mutator_cpu_ns);
        }
        let allocation = self.allocation.measure(allocated, mutator_cpu_ns);
        let scan = self.scan.measure(marked, marking_cpu_ns);
        Some(Tick { reserved, marked: marked as f64, allocation_rate: allocation?, scan_rate: scan? })
    }
}

/// The effort of one heap.
pub(crate) struct Efforts {
    /// Processors that the background thread may use, as the bits of an `f64`.
    workers: AtomicU64,
    /// Processor time in ns that mutators may give until the next tick.
    assist_ns: AtomicI64,
    /// When the next tick is due, in ns since heap creation.
    due_ns: AtomicU64,
    /// Ticks of the marking in progress.
    ticks: AtomicU64,
    measured: Mutex<Measured>,
}

impl Efforts {
    /// Of a heap that is not marked.
    pub fn new() -> Efforts {
        Efforts {
            workers: AtomicU64::new(1.0_f64.to_bits()),
            assist_ns: AtomicI64::new(0),
            due_ns: AtomicU64::new(0),
            ticks: AtomicU64::new(0),
            measured: Mutex::default(),
        }
    }

    /// A marking begins at `at_ns`, ns since heap creation, with the share that is planned, of so many
    /// processors. `rates` are those of the last cycle, of allocation and of marking, where markings have not
    /// measured them yet. The leader.
    pub fn begin(&self, at_ns: u64, tick_ns: u64, share: f64, cores: f64, rates: [Option<f64>; 2]) {
        let mut measured = self.measured.lock();
        let (allocation, scan) = (measured.allocation.now.or(rates[0]), measured.scan.now.or(rates[1]));
        *measured = Measured {
            begun: false,
            allocation: Rate { now: allocation, ..Rate::default() },
            scan: Rate { now: scan, ..Rate::default() },
            at_ns,
        };
        self.workers.store((share * cores).to_bits(), Relaxed);
        self.assist_ns.store(0, Relaxed);
        self.ticks.store(0, Relaxed);
        self.due_ns.store(at_ns + tick_ns, Relaxed);
    }

    /// If a tick is due at `at_ns`, calls `measure`, which returns the pacer's answer, if it has one.
    pub fn tick(&self, at_ns: u64, tick_ns: u64, cores: f64, measure: impl FnOnce(&mut Measured) -> Option<Effort>) {
        if !self.is_due(at_ns) {
            return;
        }
        let Some(mut measured) = self.measured.try_lock() else { return };
        self.due_ns.store(at_ns + tick_ns, Relaxed);
        let elapsed = at_ns.saturating_sub(measured.at_ns).min(tick_ns) as f64;
        measured.at_ns = at_ns;
        if let Some(Effort { workers, assist }) = measure(&mut measured) {
            self.workers.store((workers * cores).to_bits(), Relaxed);
            self.assist_ns.store((assist * cores * elapsed) as i64, Relaxed);
            self.ticks.fetch_add(1, Relaxed);
        }
    }

    /// Whether a tick is due.
    pub fn is_due(&self, at_ns: u64) -> bool {
        at_ns >= self.due_ns.load(Relaxed)
    }

    /// Processors that the background thread may use.
    pub fn workers(&self) -> f64 {
        f64::from_bits(self.workers.load(Relaxed))
    }

    /// Whether mutators may give more of their time before the next tick.
    pub fn lets_assist(&self) -> bool {
        self.assist_ns.load(Relaxed) > 0
    }

    /// A mutator has given so much.
    pub fn assisted(&self, cpu_ns: u64) {
        self.assist_ns.fetch_sub(cpu_ns as i64, Relaxed);
    }

    /// Ticks since the marking began.
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK_NS: u64 = 1_000_000;

    fn totals(ms: u64) -> Totals {
        let ns = ms * 1_000_000;
        Totals { allocated: 3 * ns as usize, mutator_cpu_ns: ns, marked: 2 * ns as usize, marking_cpu_ns: ns }
    }

    #[test]
    fn a_tick_tells_the_rates_since_the_tick_before() {
        let mut measured = Measured::default();
        // Nothing is known of mutators at the first tick of the first marking.
        assert_eq!(measured.tick(7.0, Totals { allocated: 5_000_000, ..totals(1) }), None);
        let tick = measured.tick(8.0, totals(3)).unwrap();
        assert_eq!((tick.reserved, tick.marked, tick.scan_rate), (8.0, 6e6, 2.0));
        assert_eq!(tick.allocation_rate, (9e6 - 5e6) / 2e6);
        // Too little time to measure: what is known stays, and is counted in later.
        let mut little = totals(3);
        little.marking_cpu_ns += LEAST_CPU_NS - 1;
        little.marked += 1_000_000;
        assert_eq!(measured.tick(8.0, little).unwrap().scan_rate, 2.0);
        let later = measured.tick(8.0, Totals { marked: little.marked, ..totals(4) }).unwrap();
        assert_eq!(later.scan_rate, 1.0);
    }

    #[test]
    fn ticks_come_when_they_are_due_and_effort_stays_until_the_next() {
        let efforts = Efforts::new();
        efforts.begin(5, TICK_NS, 0.25, 2.0, [None; 2]);
        assert_eq!((efforts.workers(), efforts.lets_assist(), efforts.ticks()), (0.5, false, 0));
        efforts.tick(TICK_NS, TICK_NS, 2.0, |_| panic!("it is not due yet"));
        efforts.tick(5 + TICK_NS, TICK_NS, 2.0, |_| Some(Effort { workers: 0.5, assist: 0.1 }));
        assert_eq!((efforts.workers(), efforts.ticks()), (1.0, 1));
        // A tenth of two processors for a tick.
        efforts.assisted(199_999);
        assert!(efforts.lets_assist());
        efforts.assisted(1);
        assert!(!efforts.lets_assist());
        // A late tick grants no more than one in time.
        efforts.tick(50 * TICK_NS, TICK_NS, 2.0, |_| Some(Effort { workers: 0.5, assist: 0.1 }));
        efforts.assisted(200_000);
        assert!(!efforts.lets_assist());
        // Where the pacer has no answer, what it said last holds.
        efforts.tick(60 * TICK_NS, TICK_NS, 2.0, |_| None);
        assert_eq!((efforts.workers(), efforts.ticks()), (1.0, 2));
    }

    #[test]
    fn what_is_known_of_rates_outlives_a_marking() {
        let efforts = Efforts::new();
        efforts.begin(0, TICK_NS, 0.25, 2.0, [None; 2]);
        let tick = |n: u64, ms| {
            let mut told = None;
            efforts.tick(n * TICK_NS, TICK_NS, 2.0, |measured| {
                told = measured.tick(0.0, totals(ms));
                None
            });
            told
        };
        assert_eq!((tick(1, 0), tick(2, 1).map(|tick| tick.allocation_rate)), (None, Some(3.0)));
        // Not those of the last cycle, which pauses and sweeps are part of.
        efforts.begin(2 * TICK_NS, TICK_NS, 0.25, 2.0, [Some(9.0); 2]);
        assert_eq!(tick(3, 0).map(|tick| (tick.allocation_rate, tick.scan_rate)), Some((3.0, 2.0)));
    }
}
