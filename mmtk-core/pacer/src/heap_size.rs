//! L3: how large the heap may be, decided once a cycle.
//!
//! The goal is the memory that is reserved for live objects (with the bytes lost between them), and room to
//! allocate E bytes: E less the bytes between live objects that new objects will take (`reuse`). Black
//! allocation does not count as live: a goal in proportion to it would feed on itself.
//!
//! The law for a CPU target, in logarithms, where processor time is inverse to the room:
//!
//! ```text
//! ln E = ln((1 - f*) / f*) + ln(t0 + L / s^) + ln g^ + trim
//! ```
//!
//! `g^` is the allocation rate of mutators, `s^` how fast the collector marks, both in processor time. Each
//! follows its measurement by half of the difference when that is large and by a quarter when it is small: in
//! the words of control theory, the heap is a plant with unit gain and a delay of one cycle, and any gain
//! below 1 is monotone. A measurement over a longer time counts for more: the first cycles of a program are
//! short and say little. L, the live bytes, is known exactly, so a step of it is answered at once. The trim
//! learns what part of the room is really allocated before the cycle ends. No room is more than 4.5 times
//! (e^1.5) the one before, or what is live.
//!
//! Sources: proportional: Go's GOGC. MemBalancer: Kirisame, Shenoy and Panchekha, "Optimal Heap Limits for
//! Reducing Browser Memory Use", OOPSLA 2022. CPU-controlled heap: Tavakolisomeh, Shimchenko, Osterlund,
//! Bruno, Ferreira and Wrigstad, "Heap Size Adjustment with CPU Control", MPLR 2023.

use super::config::{HeapMode, MIB, MOST_BYTES, PacerConfig};
use super::reuse::Reuse;
use super::sample::{Cause, CycleSample, amount, rate};

/// Goal and why it is not what the law says, if so.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Goal {
    /// Bytes reserved.
    pub bytes: f64,
    /// Whether a limit bound it.
    pub limited: bool,
    /// Whether it is above the soft limit.
    pub gives_way: bool,
}

/// Which law a policy uses.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Law {
    /// The one that the options name.
    Configured,
    /// MemBalancer's, whatever they name.
    MemBalancer,
    /// The CPU-controlled heap's.
    CpuControlled,
}

/// No law asks for less room.
const LEAST_ROOM: f64 = MIB;
/// So much at least can be allocated before the next collection, whatever the limits are, in bytes and as a
/// part of what is live: until it is known what collections cost (`Overspent`).
const LEAST_BYTES: f64 = 65536.0;
const LEAST_PART: f64 = 0.02;
/// What full pressure takes of the room.
const PRESSED: f64 = 0.75;
/// What a collection costs besides marking, in ns (t0).
const FIXED_NS: f64 = 20e3;
/// The most that is made good of what collections have cost too much, in ns: a second of one processor.
const MOST_OVERSPENT_NS: f64 = 1e9;
/// How far an estimate goes in a cycle, in logarithms.
const LEAP: f64 = 1.5;

/// The heap size.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct HeapSize {
    law: Law,
    /// Of the last cycle: bytes traced, bytes reserved for them, and those allocated meanwhile with them.
    traced: f64,
    base: f64,
    retained: f64,
    /// Of each of them, bytes outside the heap.
    external: f64,
    reuse: Reuse,
    target: CpuTarget,
    overspent: Overspent,
    balance: Balance,
    controlled: CpuControlled,
}

impl HeapSize {
    /// A heap in which `live` bytes are supposed to be live.
    pub fn new(law: Law, live: f64) -> HeapSize {
        HeapSize {
            law,
            traced: live,
            base: live,
            retained: live,
            external: 0.0,
            reuse: Reuse::default(),
            target: CpuTarget::default(),
            overspent: Overspent::default(),
            balance: Balance::default(),
            controlled: CpuControlled::default(),
        }
    }

    /// Bytes traced by the last cycle (L).
    pub fn traced(&self) -> f64 {
        self.traced
    }

    /// Bytes reserved for them.
    pub fn base(&self) -> f64 {
        self.base
    }

    /// Bytes reserved when the last cycle had ended (m).
    pub fn retained(&self) -> f64 {
        self.retained
    }

    /// Bytes outside the heap, of those retained.
    pub fn external(&self) -> f64 {
        self.external
    }

    /// This many bytes outside the heap were not live after all.
    pub fn released(&mut self, bytes: f64) {
        let bytes = amount(bytes).min(self.external);
        for of in [&mut self.traced, &mut self.base, &mut self.retained, &mut self.external] {
            *of = (*of - bytes).max(0.0);
        }
    }

    /// A cycle ended. The sample is a sane one.
    pub fn cycle_ended(&mut self, config: &PacerConfig, cycle: &CycleSample) {
        let room = self.room_of(config);
        self.overspent.cycle_ended(config, cycle);
        self.traced = cycle.traced;
        self.external = cycle.external;
        self.base = (cycle.retained - cycle.black).max(0.0);
        self.retained = cycle.retained;
        self.reuse.cycle_ended(cycle);
        self.target.cycle_ended(cycle, room);
        self.balance.cycle_ended(cycle);
        self.controlled.cycle_ended(config, cycle, self.base);
    }

    /// Bytes that should be allocated before the next cycle.
    fn room_of(&self, config: &PacerConfig) -> f64 {
        (self.goal(config).bytes - self.base + self.reuse.bytes()).min(self.allocation(config)).max(1.0)
    }

    /// By how much the heap may grow to have `room`. It does not grow where the bytes between live objects
    /// are enough: if no block becomes free, growth is for ever, and a little in each cycle is much in the
    /// end.
    fn growth(&self, room: f64) -> f64 {
        match self.law {
            // This one sets the size itself, not a room.
            Law::CpuControlled => room,
            _ => (room - self.reuse.bytes()).max(0.0),
        }
    }

    fn law_room(&self, config: &PacerConfig) -> f64 {
        match (self.law, config.mode) {
            (Law::MemBalancer, _) | (Law::Configured, HeapMode::MemBalancer) => self.balance.room(config, self.traced),
            (Law::CpuControlled, _) => self.controlled.heap - self.base,
            (Law::Configured, HeapMode::Proportional) => config.headroom * self.traced,
            (Law::Configured, HeapMode::CpuTarget) => self.target.room(config, self.traced, self.external),
            (Law::Configured, HeapMode::Fixed | HeapMode::Delegated) => MOST_BYTES,
        }
    }

    /// That, but not too little where it comes from estimates, which may be far off.
    fn wanted_room(&self, config: &PacerConfig) -> f64 {
        let proportional = matches!((self.law, config.mode), (Law::Configured, HeapMode::Proportional));
        let room = self.law_room(config);
        if proportional { room } else { room.max(LEAST_ROOM) }
    }

    /// Bytes after whose allocation the next cycle begins, however little the heap has grown. There is such a
    /// bound where the holes that are there already are more than the room that the law asks for.
    pub fn allocation(&self, config: &PacerConfig) -> f64 {
        let room = self.wanted_room(config).max(self.least_room());
        let holes_suffice = self.growth(room) == 0.0 && self.goal(config).bytes <= self.retained;
        if holes_suffice { room } else { MOST_BYTES }
    }

    fn least_room(&self) -> f64 {
        LEAST_BYTES.max(LEAST_PART * self.traced)
    }

    /// The room without which collecting would take more than `gc_cpu_cap` of the processor time, but no more
    /// than the law asks for. Nothing, while the rates are not known.
    fn affordable_room(&self, config: &PacerConfig) -> f64 {
        let afford = |(allocation, _)| self.overspent.room(config, allocation, self.traced - self.external);
        let allocated = self.target.rates.map_or(0.0, afford);
        // Not all of a room may be allocated before the cycle ends: copies have their part.
        (allocated * libm::exp(self.target.trim)).min(self.wanted_room(config))
    }

    /// The goal. With limits it stays below them by the margin: what is charged between two looks at it has a
    /// place. The soft limit gives way, and so does pressure, where what is live does not fit, or collecting
    /// would take too much of the processor. Bytes outside the heap count towards the limits too, but the
    /// hard one does not bound them: it gives way to them in the same manner.
    pub fn goal(&self, config: &PacerConfig) -> Goal {
        let wanted = (self.base + self.growth(self.wanted_room(config))).max(config.min_bytes);
        // Where mutators stop at the goal there is nothing to overshoot.
        let margin = if config.concurrent { config.margin } else { 0.0 };
        let ceiling = (config.hard_limit * (1.0 - margin)).min(config.soft_limit);
        let least = self.retained + self.growth(self.least_room());
        let bound = config.hard_limit + self.external;
        let affordable = (self.base + self.growth(self.affordable_room(config))).min(bound * (1.0 - margin));
        // Who fixed the size has said what memory there is.
        let fixed = self.law == Law::Configured && matches!(config.mode, HeapMode::Fixed | HeapMode::Delegated);
        let pressed = if fixed { 0.0 } else { PRESSED * config.pressure };
        let free = (wanted.min(ceiling) - self.base).max(0.0) * (1.0 - pressed);
        let bytes = (self.base + free).min(ceiling).max(least).max(affordable).min(bound);
        Goal { bytes, limited: wanted > ceiling, gives_way: bytes > config.soft_limit }
    }

    /// Why the goal is what it is, where mutators stop.
    pub fn cause(&self, config: &PacerConfig) -> Cause {
        match (self.law, config.mode) {
            (Law::Configured, HeapMode::Delegated) => Cause::Delegated,
            _ => match self.goal(config) {
                Goal { gives_way: true, .. } => Cause::SoftLimitGivesWay,
                Goal { limited: true, .. } => Cause::Limit,
                _ => Cause::StopTheWorld,
            },
        }
    }
}

/// A heap whose collections take a given share of the processor time.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
struct CpuTarget {
    /// Of bytes allocated by mutators, and marked by the collector.
    rates: Option<(Rate, Rate)>,
    /// Logarithm of the room to what is allocated in it.
    trim: f64,
    /// The most room there may be.
    most: f64,
}

/// A rate, smoothed.
#[derive(Copy, Clone, Debug, PartialEq)]
struct Rate {
    /// Logarithm of bytes per ns.
    log: f64,
    /// How long it was measured, in a cycle.
    ns: f64,
}

impl Rate {
    fn new(bytes: f64, ns: f64) -> Rate {
        Rate { log: libm::log(rate(bytes / ns)), ns }
    }

    /// By a quarter or a half of the difference, and by more towards what took longer to measure.
    fn followed_by(self, newest: Rate) -> Rate {
        let weight = newest.ns / (newest.ns + 3.0 * self.ns);
        let (stepped, weighed) = (step(newest.log - self.log), weight * (newest.log - self.log));
        let change = if weighed.abs() > stepped.abs() { weighed } else { stepped };
        Rate { log: self.log + change, ns: self.ns + weight.max(0.25) * (newest.ns - self.ns) }
    }
}

impl CpuTarget {
    fn cycle_ended(&mut self, cycle: &CycleSample, room: f64) {
        let marked = cycle.traced - cycle.external;
        if cycle.allocated < 1.0 || cycle.mutator_cpu_ns < 1.0 || cycle.gc_cpu_ns < 1.0 || marked < 1.0 {
            return;
        }
        let allocation = Rate::new(cycle.allocated, cycle.mutator_cpu_ns);
        let marking = Rate::new(marked, (cycle.gc_cpu_ns - FIXED_NS).max(0.1 * cycle.gc_cpu_ns));
        self.rates = Some(match self.rates {
            None => (allocation, marking),
            Some((a, s)) => (a.followed_by(allocation), s.followed_by(marking)),
        });
        self.most = libm::exp(LEAP) * room.max(cycle.traced);
        if !cycle.forced && room < MOST_BYTES / 2.0 {
            self.trim = (self.trim + step(libm::log(room / cycle.allocated) - self.trim)).clamp(-LEAP, LEAP);
        }
    }

    fn room(&self, config: &PacerConfig, traced: f64, external: f64) -> f64 {
        let Some((allocation, marking)) = self.rates else { return config.headroom * traced };
        let cost_ns = FIXED_NS + (traced - external) / libm::exp(marking.log);
        let room = allocated_in(cost_ns, config.gc_cpu_target, allocation);
        (room * libm::exp(self.trim)).min(self.most).min(MOST_BYTES)
    }
}

/// What mutators allocate in the time in which collections of `cost_ns` are a part `f` of the processor time.
fn allocated_in(cost_ns: f64, f: f64, allocation: Rate) -> f64 {
    (1.0 - f) / f * cost_ns * libm::exp(allocation.log)
}

/// What the collections that the program did not ask for have cost more than `gc_cpu_cap` of the processor
/// time.
///
/// The next cycle is as long as it takes to make that good, and to pay for the collection that ends it. So
/// limits give way before collecting takes too much, and what an estimate was wrong by is not lost. It is
/// bounded, or a long bad time would make the limits void for as long.
///
/// Go's limiter is the precedent (`runtime/mgclimit.go`, for GOMEMLIMIT): a bucket that collecting fills and
/// mutators empty, of a second for each processor. There the limit holds until the bucket is full; here it
/// gives way at once.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
struct Overspent {
    ns: f64,
    /// What the last collection cost for each byte marked. As it is: to smooth it would be to know what a
    /// heap costs that has grown only cycles later.
    ns_a_byte: f64,
}

impl Overspent {
    fn cycle_ended(&mut self, config: &PacerConfig, cycle: &CycleSample) {
        let cap = config.gc_cpu_cap;
        let granted = if cap < 1.0 { cycle.mutator_cpu_ns * cap / (1.0 - cap) } else { MOST_OVERSPENT_NS };
        let spent = if cycle.forced { 0.0 } else { cycle.gc_cpu_ns };
        self.ns = (self.ns + spent - granted).clamp(0.0, MOST_OVERSPENT_NS);
        let marked = cycle.traced - cycle.external;
        if marked >= 1.0 {
            self.ns_a_byte = (cycle.gc_cpu_ns - FIXED_NS).max(0.1 * cycle.gc_cpu_ns) / marked;
        }
    }

    /// Bytes that mutators allocate before another collection of a heap in which this many bytes are live is
    /// within the cap.
    fn room(&self, config: &PacerConfig, allocation: Rate, marked: f64) -> f64 {
        allocated_in(FIXED_NS + marked * self.ns_a_byte + self.ns, config.gc_cpu_cap, allocation).min(MOST_BYTES)
    }
}

/// Half of a large difference, a quarter of a small one.
fn step(difference: f64) -> f64 {
    let gain = if difference.abs() > 0.25 { 0.5 } else { 0.25 };
    gain * difference.clamp(-LEAP, LEAP)
}

/// MemBalancer: the room is the root of L g / (c s), with both rates smoothed as a quotient of two smoothed
/// sums.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
struct Balance {
    /// Bytes allocated and mutators' ns, of which .05 are forgotten each second.
    allocated: (f64, f64),
    /// Bytes marked and ns that took, of which half is forgotten each collection.
    marked: (f64, f64),
}

/// What is left of the allocation sums after a second.
const KEPT_A_SECOND: f64 = 0.95;

impl Balance {
    fn cycle_ended(&mut self, cycle: &CycleSample) {
        let kept = libm::pow(KEPT_A_SECOND, cycle.mutator_cpu_ns / 1e9);
        self.allocated = (kept * self.allocated.0 + cycle.allocated, kept * self.allocated.1 + cycle.mutator_cpu_ns);
        self.marked = (0.5 * (self.marked.0 + cycle.traced), 0.5 * (self.marked.1 + cycle.gc_cpu_ns));
    }

    fn room(&self, config: &PacerConfig, traced: f64) -> f64 {
        if self.allocated.1 < 1.0 || self.marked.1 < 1.0 {
            return config.headroom * traced;
        }
        let g = rate(self.allocated.0 / self.allocated.1);
        let s = rate(self.marked.0 / self.marked.1);
        libm::sqrt(traced * g / (config.balance * s)).min(MOST_BYTES)
    }
}

/// The CPU-controlled heap: the size is multiplied by half to one and a half, as the collector's share of the
/// last three cycles is below or above its target.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
struct CpuControlled {
    heap: f64,
    /// Processor time of the collector and of both, in the last cycles, the newest first.
    window: [(f64, f64); 3],
}

impl CpuControlled {
    fn cycle_ended(&mut self, config: &PacerConfig, cycle: &CycleSample, base: f64) {
        let newest = (cycle.gc_cpu_ns, cycle.gc_cpu_ns + cycle.mutator_cpu_ns);
        self.window = [newest, self.window[0], self.window[1]];
        let (gc, all) = self.window.iter().fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        let share = gc / all.max(1.0);
        let before = if self.heap > 0.0 { self.heap } else { base * (1.0 + config.headroom) };
        let factor = 1.0 / (1.0 + libm::exp(-(share - config.gc_cpu_target))) + 0.5;
        self.heap = (before * factor).clamp(1.1 * base, MOST_BYTES.max(1.1 * base));
    }
}
