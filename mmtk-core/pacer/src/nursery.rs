//! How much mutators allocate between two collections of a generational plan, and what the next one may free.
//! Pure arithmetic: no heap, no clock.
//!
//! A larger nursery is cheaper: more of its objects have died when it is collected. So the nursery takes half
//! of the room that is left, up to a bound; the other half is for the survivors and for later nurseries. As
//! promotions fill the room, the nurseries shrink, and in the end a full collection is due.
//!
//! Do minor collections pay at all? Let a minor collection cost `c` ns for each byte allocated and let the
//! share `s` of those bytes survive; a full one costs `C` ns and leaves `R` bytes of room. Full collections
//! alone cost `C / R` a byte. With minor ones a byte costs `c`, and the room lasts for `R / s` bytes: `c + s
//! C / R`. So they pay while `c < (1 - s) C / R`. The last collections give all four numbers. When minor
//! collections do not pay, there are none until the next full collection. Then the heap tries them again, but
//! ever more rarely as long as they still do not pay.
//!
//! Filling untouched memory costs page faults, once. This is the ski-rental problem (Karlin, Manasse, Rudolph
//! and Sleator, "Competitive Snoopy Caching", Algorithmica 1988): the heap keeps to minor collections in the
//! memory that it has, until their extra cost over full ones equals the cost of the faults. Then it fills the
//! room.
//!
//! With a goal for pauses that full collections do not meet, there are always minor ones.
//!
//! Callers: the leader of a pause.
//! Source: the nursery of half the room is Appel's ("Simple generational garbage collection and fast
//! allocation", SP&E 1989).

/// No nursery is smaller, but where an option says so: a minor collection has a cost of its own.
const MIN_BYTES: usize = 256 << 10;
/// A nursery of less than this part of the room that the last full collection left is not worth a collection.
const LEAST_PART: usize = 16;
/// Before the first full collection nothing is known about its cost: then minor ones pay if no more than this
/// survives.
const UNTRIED_SURVIVAL: f64 = 0.5;
/// Weight of the newest minor collection in the averages.
const NEWEST: f64 = 0.5;
/// Full collections before the second trial; each that is in vain makes the wait longer by a factor, up to a
/// bound.
const FIRST_WAIT: u32 = 2;
const LONGER: u32 = 4;
const MAX_WAIT: u32 = 128;
/// What the goal may be to the live bytes that fill it: a copying space holds as much again in reserve, and
/// some is lost in holes.
const OVERHEAD: core::ops::RangeInclusive<f64> = 1.0..=2.25;

/// What the options say.
#[derive(Copy, Clone, Debug)]
pub struct NurseryConfig {
    /// The one size that it has; 0 leaves it to the controller.
    pub bytes: usize,
    /// Whether there are minor collections even if they do not pay.
    pub always: bool,
    /// The largest size that the controller chooses.
    pub max_bytes: usize,
    /// How long minor collections should take, in ns; 0: no goal.
    pub pause_goal_ns: u64,
}

/// What the controller is told of a collection that ended.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct NurserySample {
    /// Bytes that mutators allocated since the collection before.
    pub allocated: usize,
    /// Bytes that the trace found live: in a minor collection those that it made old.
    pub traced: usize,
    /// Processor time, on all threads.
    pub cpu_ns: u64,
    /// Its length until now.
    pub pause_ns: u64,
    /// Bytes reserved at which the heap was full until it began: the goal. The room that the heap keeps for
    /// copies is part of it, as it is of `goal`.
    pub full_at: usize,
    /// Bytes reserved at which the heap is full from now on.
    pub goal: usize,
    /// What it would cost to touch those of them for the first time that were never touched, or were given
    /// back, in ns.
    pub fresh_ns: f64,
    /// Whether it was: then what was allocated is what there was room for.
    pub was_full: bool,
}

/// The last full collection.
#[derive(Copy, Clone, Debug)]
struct Full {
    /// What another one would cost.
    cost_ns: f64,
    pause_ns: u64,
    /// Bytes that could be allocated after it.
    room: usize,
}

impl Full {
    /// The cost of a byte, if filling the room costs `price_ns` besides.
    fn cost_per_byte(self, price_ns: f64) -> f64 {
        (self.cost_ns + price_ns) / self.room as f64
    }

    /// Whether minor collections are wanted for their pauses, whatever they cost.
    fn is_too_long_for(self, config: &NurseryConfig) -> bool {
        config.pause_goal_ns > 0 && self.pause_ns > config.pause_goal_ns
    }
}

/// The controller.
#[derive(Clone, Debug)]
pub struct Nursery {
    config: NurseryConfig,
    /// Bytes that may be allocated before the next minor collection; none while they do not pay.
    trigger: Option<usize>,
    /// Live bytes at the last full collection, and what was promoted since.
    live: usize,
    /// The goal at which a heap was full to the bytes that filled it, those of objects long dead that no full
    /// collection has freed included. The goal of the time when it was full: in a heap that grows it is
    /// another one when the collection has ended. And not what was reserved then, which is less by the room
    /// for copies.
    overhead: f64,
    /// Once there was one.
    full: Option<Full>,
    /// Of recent minor collections: ns a byte allocated, and the share that survived.
    minor: Option<(f64, f64)>,
    /// The largest nursery that meets the pause goal.
    within_goal: f64,
    /// Since the last full collection: ns spent in minor ones, bytes allocated.
    spent: (f64, usize),
    /// What it would cost to touch the rest of the memory, and what minor collections have cost more than
    /// full ones since any of it was touched, in ns.
    fresh_ns: f64,
    rent_ns: f64,
    /// Full collections until the next trial, and how many that will be if it is in vain.
    wait: u32,
    next_wait: u32,
}

impl Nursery {
    /// For a heap that is full at `goal` reserved bytes.
    pub fn new(config: NurseryConfig, goal: usize) -> Nursery {
        let mut nursery = Nursery {
            config,
            trigger: None,
            live: 0,
            overhead: *OVERHEAD.end(),
            full: None,
            minor: None,
            within_goal: f64::INFINITY,
            spent: (0.0, 0),
            fresh_ns: 0.0,
            rent_ns: 0.0,
            wait: 0,
            next_wait: FIRST_WAIT,
        };
        nursery.trigger = Some(nursery.size(goal));
        nursery
    }

    /// Bytes that mutators may allocate before the next minor collection; `usize::MAX` while there is to be
    /// none.
    pub fn trigger_bytes(&self) -> usize {
        self.trigger.unwrap_or(usize::MAX)
    }

    fn always(&self) -> bool {
        self.config.always || self.config.bytes > 0
    }

    fn room(&self, goal: usize) -> usize {
        ((goal as f64 / self.overhead) as usize).saturating_sub(self.live)
    }

    fn size(&self, goal: usize) -> usize {
        match self.config.bytes {
            0 => {
                let within_goal = if self.config.pause_goal_ns > 0 { self.within_goal as usize } else { usize::MAX };
                (self.room(goal) / 2).min(self.config.max_bytes).min(within_goal).max(MIN_BYTES)
            }
            bytes => bytes,
        }
    }

    /// What filling the room costs besides the collection: what its memory costs, less what was paid for not
    /// touching it.
    fn price_ns(&self) -> f64 {
        (self.fresh_ns - self.rent_ns).max(0.0)
    }

    /// So much is left to touch. What was touched is paid.
    fn see_fresh(&mut self, fresh_ns: f64) {
        let touched_ns = (self.fresh_ns - fresh_ns).max(0.0);
        self.rent_ns = (self.rent_ns - touched_ns).max(0.0);
        self.fresh_ns = fresh_ns;
    }

    /// A minor collection ended.
    pub fn after_minor(&mut self, minor: NurserySample) {
        self.live += minor.traced;
        let allocated = minor.allocated.max(1) as f64;
        let now = (minor.cpu_ns as f64 / allocated, (minor.traced as f64 / allocated).min(1.0));
        let (cost, survival) = match self.minor {
            Some((cost, survival)) => (cost + NEWEST * (now.0 - cost), survival + NEWEST * (now.1 - survival)),
            None => now,
        };
        self.minor = Some((cost, survival));
        self.spent = (self.spent.0 + minor.cpu_ns as f64, self.spent.1 + minor.allocated);
        // Proportional in the logarithm, with gain 1/2: a single long pause does not throw it off.
        let ratio = self.config.pause_goal_ns as f64 / minor.pause_ns.max(1) as f64;
        self.within_goal = (allocated * libm::sqrt(ratio.clamp(0.25, 4.0))).max(MIN_BYTES as f64);
        self.see_fresh(minor.fresh_ns);
        let pays = match self.full {
            None => survival <= UNTRIED_SURVIVAL,
            Some(full) => {
                let excess = now.0 - (1.0 - now.1) * full.cost_per_byte(0.0);
                self.rent_ns = (self.rent_ns + allocated * excess.max(0.0)).min(self.fresh_ns);
                let cheaper = cost < (1.0 - survival) * full.cost_per_byte(self.price_ns());
                (cheaper || full.is_too_long_for(&self.config)) && self.room(minor.goal) >= full.room / LEAST_PART
            }
        };
        self.trigger = (self.always() || pays).then(|| self.size(minor.goal));
    }

    /// A full collection ended.
    pub fn after_full(&mut self, full: NurserySample) {
        let (spent_ns, before) = self.spent;
        let allocated = before + full.allocated;
        // Whether the minor collections since the last full one paid, if there were any.
        let paid = match self.full {
            // Asked for before the room was used: that says nothing.
            Some(last) if allocated < last.room / 2 => return self.keep(full),
            Some(last) => {
                let price_ns = self.price_ns();
                let spent_ns = spent_ns + last.cost_ns + price_ns;
                (before > 0).then(|| spent_ns / (allocated as f64) < last.cost_per_byte(price_ns))
            }
            None => self.minor.map(|_| self.trigger.is_some()),
        };
        match paid {
            Some(true) => (self.wait, self.next_wait) = (0, FIRST_WAIT),
            Some(false) => (self.wait, self.next_wait) = (self.next_wait, (LONGER * self.next_wait).min(MAX_WAIT)),
            None => self.wait = self.wait.saturating_sub(1),
        }
        self.keep(full);
    }

    /// What a full collection tells about the next ones.
    fn keep(&mut self, full: NurserySample) {
        if full.was_full {
            let filled = (self.live + full.allocated).max(1) as f64;
            self.overhead = (full.full_at as f64 / filled).clamp(*OVERHEAD.start(), *OVERHEAD.end());
        }
        self.live = full.traced;
        let room = self.room(full.goal).max(1);
        self.see_fresh(full.fresh_ns);
        let last = Full { cost_ns: full.cpu_ns as f64, pause_ns: full.pause_ns, room };
        self.full = Some(last);
        (self.minor, self.spent) = (None, (0.0, 0));
        let wanted = self.always() || last.is_too_long_for(&self.config) || self.wait == 0;
        self.trigger = wanted.then(|| self.size(full.goal));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 100 << 20;
    const ADAPTIVE: NurseryConfig = NurseryConfig { bytes: 0, always: false, max_bytes: 64 << 20, pause_goal_ns: 0 };
    /// A byte traced costs so many ns, a collection so many more.
    const TRACE_NS: f64 = 1.0;
    const FIXED_NS: f64 = 20_000.0;

    /// A program in a heap without waste.
    struct Program {
        /// Bytes that live for ever.
        old: usize,
        /// Half of the others die before so many bytes are allocated.
        half_life: f64,
    }

    /// What a run cost.
    #[derive(Default, Debug)]
    struct Run {
        ns: f64,
        minors: usize,
        fulls: usize,
        pauses: Vec<f64>,
        nurseries: Vec<usize>,
    }

    impl Program {
        /// The share of a nursery that survives.
        fn survival(&self, nursery: usize) -> f64 {
            let x = nursery as f64 / self.half_life * std::f64::consts::LN_2;
            (1.0 - (-x).exp()) / x
        }

        /// Live bytes in the steady state.
        fn live(&self) -> usize {
            self.old + (self.half_life / std::f64::consts::LN_2) as usize
        }

        fn run(&self, config: Option<NurseryConfig>, total: usize) -> Run {
            let mut nursery = config.map(|config| Nursery::new(config, LIMIT));
            let (mut run, mut reserved, mut allocated) = (Run::default(), self.live(), 0);
            while allocated < total {
                let trigger = nursery.as_ref().map_or(usize::MAX, Nursery::trigger_bytes);
                let step = trigger.min(LIMIT - reserved);
                let minor = nursery.is_some() && trigger != usize::MAX && step >= trigger / 2;
                allocated += step;
                let traced = if minor { (step as f64 * self.survival(step)) as usize } else { self.live() };
                reserved = if minor { reserved + traced } else { self.live() };
                let ns = FIXED_NS + TRACE_NS * traced as f64;
                run.ns += ns;
                let ended = NurserySample {
                    allocated: step,
                    traced,
                    cpu_ns: ns as u64,
                    pause_ns: ns as u64,
                    full_at: LIMIT,
                    goal: LIMIT,
                    fresh_ns: 0.0,
                    was_full: !minor || step < trigger,
                };
                let Some(nursery) = &mut nursery else { continue };
                run.nurseries.push(step);
                if minor {
                    (run.minors, run.pauses) = (run.minors + 1, {
                        run.pauses.push(ns);
                        run.pauses
                    });
                    nursery.after_minor(ended);
                } else {
                    run.fulls += 1;
                    nursery.after_full(ended);
                }
            }
            run
        }
    }

    const TOTAL: usize = 20 << 30;

    #[test]
    fn a_program_whose_objects_die_young_is_collected_at_a_fraction_of_the_cost() {
        let program = Program { old: 40 << 20, half_life: 500e3 };
        let (plain, run) = (program.run(None, TOTAL), program.run(Some(ADAPTIVE), TOTAL));
        assert!(run.ns < 0.3 * plain.ns, "{:?} of {:?} ns; {} minor, {} full", run.ns, plain.ns, run.minors, run.fulls);
        assert!(run.minors > 5 * run.fulls);
    }

    #[test]
    fn a_program_whose_objects_grow_old_pays_next_to_nothing_for_the_trials() {
        for (old, half_life) in [(40 << 20, 20e6), (20 << 20, 40e6), (80 << 20, 5e6), (1 << 20, 5e6), (0, 50e6)] {
            let program = Program { old, half_life };
            let (plain, run) = (program.run(None, TOTAL), program.run(Some(ADAPTIVE), TOTAL));
            assert!(
                run.ns < 1.05 * plain.ns,
                "{old} old, {half_life}: {} of {} ns; {} minor, {} full",
                run.ns,
                plain.ns,
                run.minors,
                run.fulls
            );
        }
    }

    #[test]
    fn when_objects_begin_to_die_young_minor_collections_come_back() {
        let mut nursery = Nursery::new(ADAPTIVE, LIMIT);
        let ended = |allocated: usize, traced: usize| NurserySample {
            allocated,
            traced,
            cpu_ns: traced as u64,
            pause_ns: traced as u64,
            full_at: LIMIT,
            goal: LIMIT,
            fresh_ns: 0.0,
            was_full: false,
        };
        let full = NurserySample { was_full: true, ..ended(60 << 20, 40 << 20) };
        nursery.after_full(full);
        for _ in 0..200 {
            match nursery.trigger_bytes() {
                usize::MAX => nursery.after_full(full),
                bytes => nursery.after_minor(ended(bytes, bytes * 9 / 10)),
            }
        }
        let tried = (0..=MAX_WAIT).any(|_| {
            nursery.after_full(full);
            nursery.trigger_bytes() != usize::MAX
        });
        assert!(tried, "a trial comes at last");
        for _ in 0..20 {
            let bytes = nursery.trigger_bytes();
            assert_ne!(bytes, usize::MAX, "minor collections pay now");
            nursery.after_minor(ended(bytes, bytes / 100));
        }
    }

    #[test]
    fn in_a_heap_that_grows_a_nursery_is_half_of_the_new_room() {
        let mut nursery = Nursery::new(ADAPTIVE, 16 << 20);
        for mb in [16, 32, 64] {
            // Half of what filled the heap was live before, all of it is now, and the goal is twice that.
            nursery.after_full(NurserySample {
                allocated: if mb == 16 { 16 << 20 } else { mb << 19 },
                traced: mb << 20,
                cpu_ns: 1_000_000,
                pause_ns: 1_000_000,
                full_at: mb << 20,
                goal: mb << 21,
                fresh_ns: 0.0,
                was_full: true,
            });
            assert_eq!(nursery.trigger_bytes(), mb << 19);
        }
    }

    #[test]
    fn a_goal_for_pauses_bounds_the_nursery() {
        let program = Program { old: 40 << 20, half_life: 2e6 };
        let goal = NurseryConfig { pause_goal_ns: 1_000_000, ..ADAPTIVE };
        let mut pauses = program.run(Some(goal), TOTAL).pauses;
        pauses.sort_by(f64::total_cmp);
        let median = pauses[pauses.len() / 2];
        assert!((0.7e6..1.3e6).contains(&median), "median {median} ns");
    }

    #[test]
    fn a_size_that_is_given_is_kept_whatever_it_costs() {
        let config = NurseryConfig { bytes: 4 << 20, always: false, max_bytes: 1 << 20, pause_goal_ns: 1 };
        let mut nursery = Nursery::new(config, LIMIT);
        let ended = NurserySample {
            allocated: 60 << 20,
            traced: 59 << 20,
            cpu_ns: u64::MAX,
            pause_ns: u64::MAX,
            full_at: LIMIT,
            goal: LIMIT,
            fresh_ns: 0.0,
            was_full: true,
        };
        for n in 0..20 {
            assert_eq!(nursery.trigger_bytes(), 4 << 20);
            if n % 5 == 0 { nursery.after_full(ended) } else { nursery.after_minor(ended) }
        }
    }

    #[test]
    fn memory_that_was_never_touched_is_left_alone_while_minor_collections_cost_little() {
        let goes_on = |fresh_ns| {
            let mut nursery = Nursery::new(ADAPTIVE, LIMIT);
            let ended = |allocated, traced: usize| NurserySample {
                allocated,
                traced,
                cpu_ns: traced as u64,
                pause_ns: traced as u64,
                full_at: LIMIT,
                goal: LIMIT,
                fresh_ns,
                was_full: false,
            };
            nursery.after_full(ended(LIMIT / 2, 1 << 20));
            nursery.after_minor(ended(nursery.trigger_bytes(), nursery.trigger_bytes() / 10));
            nursery.trigger_bytes() != usize::MAX
        };
        assert!(!goes_on(0.0), "a full collection costs next to nothing here");
        assert!(goes_on(0.2 * LIMIT as f64), "but to fill the heap would");
    }

    /// Minor collections of which each costs 1 ms more than its part of a full one, until there are none,
    /// when touching the rest costs so much.
    fn rented(nursery: &mut Nursery, fresh_ns: f64) -> usize {
        let ended = |cpu_ns: u64, fresh_ns| NurserySample {
            allocated: 1 << 20,
            traced: 0,
            cpu_ns,
            pause_ns: cpu_ns,
            full_at: LIMIT,
            goal: LIMIT,
            fresh_ns,
            was_full: false,
        };
        nursery.after_full(NurserySample { allocated: LIMIT, was_full: true, ..ended(1, fresh_ns) });
        let minor = |nursery: &mut Nursery| {
            nursery.after_minor(ended(1_000_000, fresh_ns));
            nursery.trigger_bytes() != usize::MAX
        };
        (0..1_000_000).take_while(|_| minor(nursery)).count()
    }

    #[test]
    fn memory_is_touched_once_as_much_was_paid_for_leaving_it_alone() {
        // In the end each minor collection has cost 1 ms for 1 MiB, which filling 100 MiB would cost too,
        // were it 100 ms.
        let minors = rented(&mut Nursery::new(ADAPTIVE, LIMIT), 300e6);
        assert!((150..=300).contains(&minors), "{minors}");
        assert_eq!(rented(&mut Nursery::new(ADAPTIVE, LIMIT), 50e6), 0, "cheaper at once");
    }

    #[test]
    fn what_was_touched_is_paid_and_what_goes_back_has_to_be_paid_anew() {
        let mut nursery = Nursery::new(ADAPTIVE, LIMIT);
        let first = rented(&mut nursery, 300e6);
        nursery.see_fresh(0.0);
        assert_eq!(nursery.rent_ns, 0.0);
        // The next trial comes with the next full collections.
        let again = (0..=MAX_WAIT).map(|_| rented(&mut nursery, 300e6)).find(|&minors| minors > 0);
        assert_eq!(again, Some(first));
    }

    const MB: usize = 1 << 20;
    const WIDE: NurseryConfig = NurseryConfig { max_bytes: usize::MAX, ..ADAPTIVE };

    /// A collection of so many MiB and so many MiB of ns, in a heap that is full at 128 MiB.
    fn ended(allocated: usize, traced: usize, cpu: usize) -> NurserySample {
        NurserySample {
            allocated: allocated * MB,
            traced: traced * MB,
            cpu_ns: (cpu * MB) as u64,
            pause_ns: (cpu * MB) as u64,
            full_at: 64 * MB,
            goal: 128 * MB,
            fresh_ns: 0.0,
            was_full: false,
        }
    }

    /// After a first full collection of a heap without waste: 64 MiB are live, there is room for as many, and
    /// another one would cost 1 ns for each byte of the room.
    fn after_a_full_one(config: NurseryConfig, fresh_ns: f64) -> Nursery {
        let mut nursery = Nursery::new(config, 128 * MB);
        nursery.after_full(NurserySample { was_full: true, fresh_ns, ..ended(64, 64, 64) });
        assert_eq!((nursery.overhead, nursery.trigger), (1.0, Some(32 * MB)));
        nursery
    }

    #[test]
    fn a_minor_collection_counts_half_in_the_averages_and_pays_if_it_costs_less_than_the_room_it_saves() {
        for (fresh_ns, pays) in [(0.0, false), (100.0 * MB as f64, true)] {
            let mut nursery = after_a_full_one(WIDE, fresh_ns);
            nursery.after_minor(NurserySample { fresh_ns, ..ended(32, 8, 8) });
            assert_eq!((nursery.minor, nursery.trigger, nursery.rent_ns), (Some((0.25, 0.25)), Some(28 * MB), 0.0));
            nursery.after_minor(NurserySample { fresh_ns, ..ended(16, 12, 16) });
            assert_eq!((nursery.minor, nursery.spent), (Some((0.625, 0.5)), (24.0 * MB as f64, 48 * MB)));
            // The last one cost 1 ns a byte, and would have paid at a quarter of that.
            assert_eq!(nursery.rent_ns, if pays { 12.0 * MB as f64 } else { 0.0 });
            assert_eq!(nursery.trigger, pays.then_some(22 * MB));
            let always = NurseryConfig { always: true, ..WIDE };
            let mut nursery = after_a_full_one(always, fresh_ns);
            nursery.after_minor(NurserySample { fresh_ns, ..ended(32, 16, 640) });
            assert_eq!(nursery.trigger, Some(24 * MB), "wanted in any case");
        }
        // What costs as much does not pay.
        let mut nursery = after_a_full_one(WIDE, 0.0);
        nursery.after_minor(ended(32, 16, 16));
        assert_eq!(nursery.trigger, None);
    }

    #[test]
    fn what_was_touched_is_paid_from_the_rent_and_no_more_is_owed_than_what_is_left() {
        let mut nursery = after_a_full_one(WIDE, 100.0);
        nursery.rent_ns = 60.0;
        assert_eq!(nursery.price_ns(), 40.0);
        nursery.see_fresh(70.0);
        assert_eq!((nursery.rent_ns, nursery.price_ns()), (30.0, 40.0));
        nursery.see_fresh(90.0);
        assert_eq!((nursery.rent_ns, nursery.price_ns()), (30.0, 60.0), "what was given back has its price again");
        nursery.see_fresh(20.0);
        assert_eq!((nursery.rent_ns, nursery.price_ns()), (0.0, 20.0));
        // However much more a minor collection costs.
        nursery.after_minor(NurserySample { fresh_ns: 20.0, ..ended(32, 32, 640) });
        assert_eq!((nursery.rent_ns, nursery.price_ns()), (20.0, 0.0));
    }

    #[test]
    fn a_nursery_of_a_sixteenth_of_the_room_is_worth_a_collection_and_a_smaller_one_is_not() {
        for (promoted, trigger) in [(60, Some(2 * MB)), (61, None)] {
            let mut nursery = after_a_full_one(WIDE, 0.0);
            nursery.after_minor(ended(640, promoted, 1));
            assert_eq!(nursery.trigger, trigger, "{promoted} MiB promoted");
        }
        // It has a least size of its own.
        let mut nursery = after_a_full_one(NurseryConfig { always: true, ..WIDE }, 0.0);
        nursery.after_minor(ended(640, 64, 1));
        assert_eq!(nursery.trigger, Some(MIN_BYTES));
    }

    #[test]
    fn minor_collections_paid_if_all_cost_less_a_byte_than_full_ones_alone() {
        let fresh_ns = 32.0 * MB as f64;
        // Full ones: 64 for the collection and 32 for its memory, for 64 MiB: 1.5 ns a byte.
        for (spent, wait) in [(16, 0), (24, FIRST_WAIT)] {
            let mut nursery = after_a_full_one(WIDE, fresh_ns);
            nursery.after_minor(NurserySample { fresh_ns, ..ended(32, 0, spent) });
            nursery.after_full(NurserySample { fresh_ns, was_full: true, ..ended(48, 64, 64) });
            assert_eq!(nursery.wait, wait, "{} ns for 80 MiB", spent + 64 + 32);
            assert_eq!(nursery.trigger.is_some(), wait == 0);
        }
        // Before half of the room was used a full collection says nothing; from then on it does.
        for (allocated, wait) in [(31, 7), (32, 6)] {
            let mut nursery = after_a_full_one(WIDE, 0.0);
            nursery.wait = 7;
            nursery.after_full(ended(allocated, 64, 64));
            assert_eq!(nursery.wait, wait, "{allocated} MiB");
        }
    }

    #[test]
    fn trials_in_vain_become_rare_by_a_factor_up_to_a_bound() {
        let mut nursery = after_a_full_one(WIDE, 0.0);
        let full = NurserySample { was_full: true, ..ended(64, 64, 64) };
        let waits = [0; 5].map(|_| {
            nursery.after_minor(ended(1, 1, 640));
            assert_eq!(nursery.trigger, None);
            nursery.after_full(full);
            (1..).find(|_| {
                nursery.after_full(full);
                nursery.trigger.is_some()
            })
        });
        assert_eq!(waits, [2, 8, 32, 128, 128].map(Some));
    }

    #[test]
    fn waste_is_what_is_reserved_for_each_byte_that_fills_the_heap() {
        let mut nursery = after_a_full_one(WIDE, 0.0);
        nursery.after_full(NurserySample { was_full: true, full_at: 192 * MB, ..ended(64, 32, 64) });
        assert_eq!(nursery.overhead, 1.5);
        assert_eq!(nursery.full.unwrap().room, (128.0 / 1.5 * MB as f64) as usize - 32 * MB);
        // A heap that was not full says nothing of it.
        nursery.after_full(NurserySample { full_at: 128 * MB, ..ended(64, 32, 64) });
        assert_eq!(nursery.overhead, 1.5);
    }

    #[test]
    fn minor_collections_that_take_longer_than_the_goal_become_smaller_and_shorter_ones_larger() {
        let goal_ns = 64 * MB as u64;
        let config = NurseryConfig { pause_goal_ns: goal_ns, ..WIDE };
        for (pause_ns, within_goal) in [(16 * goal_ns, 8), (4 * goal_ns, 8), (goal_ns, 16), (goal_ns / 4, 32), (0, 32)]
        {
            let mut nursery = after_a_full_one(config, 0.0);
            nursery.after_minor(NurserySample { pause_ns, ..ended(16, 0, 0) });
            assert_eq!(nursery.within_goal, (within_goal * MB) as f64, "{pause_ns} ns");
        }
        // A full collection that meets the goal is no reason for minor ones, a longer one is.
        for (pause_ns, wanted) in [(goal_ns, false), (goal_ns + 1, true)] {
            let mut nursery = after_a_full_one(config, 0.0);
            nursery.wait = 9;
            nursery.after_full(NurserySample { pause_ns, ..ended(0, 64, 64) });
            assert_eq!(nursery.trigger, wanted.then_some(32 * MB));
            // They are as large as they may be, and come although they do not pay.
            nursery.after_minor(NurserySample { pause_ns: 4 * goal_ns, ..ended(32, 16, 640) });
            assert_eq!(nursery.trigger, wanted.then_some(16 * MB));
        }
    }

    #[test]
    fn the_bound_holds() {
        let program = Program { old: 1 << 20, half_life: 100e3 };
        let run = program.run(Some(NurseryConfig { max_bytes: 8 << 20, ..ADAPTIVE }), 1 << 30);
        assert!(run.nurseries.iter().all(|&bytes| bytes <= 8 << 20) && run.fulls == 0, "{:?}", run.nurseries);
    }
}
