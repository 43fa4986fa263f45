//! What holds of every policy, whatever it is told.

use super::*;
use proptest::prelude::*;

/// Numbers that no program produces, and those that it does.
fn any_number() -> BoxedStrategy<f64> {
    prop_oneof![
        4 => 0.0..1e12f64,
        2 => prop_oneof![Just(0.0), Just(1.0), Just(f64::MAX), Just(f64::MIN_POSITIVE), Just(1e300)],
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-1.0), Just(-1e15)],
    ]
    .boxed()
}

#[derive(Clone, Debug)]
enum Step {
    Ran(f64),
    Decide,
    Begins(f64),
    Tick(Tick),
    Ends(CycleSample),
    Configure(PacerConfig),
}

fn any_cycle() -> impl Strategy<Value = CycleSample> {
    (proptest::array::uniform13(any_number()), any::<bool>()).prop_map(|(n, forced)| CycleSample {
        traced: n[0],
        retained: n[1],
        peak: n[2],
        marking_ns: n[3],
        gc_cpu_ns: n[4],
        assist_cpu_ns: n[5],
        black: n[6],
        mutator_cpu_ns: n[7],
        allocated: n[8],
        handshake_ns: n[9],
        final_pause_ns: n[10],
        recycled: n[11],
        external: n[12],
        forced,
    })
}

fn any_config() -> impl Strategy<Value = PacerConfig> {
    let mode = proptest::sample::select(HeapMode::ALL);
    (proptest::array::uniform18(any_number()), mode, any::<bool>()).prop_map(|(n, mode, concurrent)| PacerConfig {
        mode,
        headroom: n[0],
        gc_cpu_target: n[1],
        balance: n[2],
        min_bytes: n[3],
        soft_limit: n[4],
        hard_limit: n[5],
        concurrent,
        cores: n[6],
        gc_share: n[7],
        gc_share_max: n[8],
        gc_share_min: n[9],
        assist_cap: n[10],
        float_budget: n[11],
        margin: n[12],
        safety_sigma: n[13],
        trim_gain: n[14],
        gc_cpu_cap: n[15],
        trim_max: n[16],
        pressure: n[17],
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let tick = proptest::array::uniform4(any_number()).prop_map(|n| Tick {
        reserved: n[0],
        marked: n[1],
        allocation_rate: n[2],
        scan_rate: n[3],
    });
    prop_oneof![
        any_number().prop_map(Step::Ran),
        Just(Step::Decide),
        any_number().prop_map(Step::Begins),
        tick.prop_map(Step::Tick),
        any_cycle().prop_map(Step::Ends),
        any_config().prop_map(Step::Configure),
    ]
}

fn any_policy() -> impl Strategy<Value = PolicyName> {
    proptest::sample::select(PolicyName::ALL)
}

/// I1 to I3.
fn check(policy: &mut Policy) {
    let decision = policy.decide();
    let Decision { goal, trigger, allocation, share, trim, .. } = decision;
    let numbers = [goal, trigger, allocation, share, trim];
    assert!(numbers.iter().all(|number| number.is_finite()), "{decision:?}");
    // A bound of nothing would collect all the time.
    assert!(allocation >= 65536.0, "{decision:?}");
    let retained = policy.size().retained();
    let config = *policy.config();
    assert!(
        trigger <= goal.max(retained) && trigger >= retained.min(goal) * (1.0 - 1e-12),
        "{decision:?}, {retained} retained"
    );
    let bound = config.hard_limit + policy.size().external();
    assert!(goal <= bound.max(retained), "{decision:?}, {config:?}");
    assert!((0.0..=1.0).contains(&share), "{decision:?}");
}

fn take(policy: &mut Policy, step: &Step) {
    match step {
        Step::Ran(rate) => policy.mutators_ran(*rate),
        Step::Decide => check(policy),
        Step::Begins(reserved) => policy.marking_begins(*reserved),
        Step::Tick(tick) => {
            let effort = policy.tick(tick);
            assert!(effort.workers.is_finite() && effort.assist.is_finite(), "{effort:?}");
            assert!(effort.workers >= 0.0 && effort.assist >= 0.0, "{effort:?}");
            let config = policy.config();
            let most = if policy.is_bounded() { config.gc_share_max + config.assist_cap + 1e-9 } else { 1.0 };
            assert!(effort.workers + effort.assist <= most, "{effort:?} of {most}");
        }
        Step::Ends(cycle) => policy.cycle_ended(cycle),
        Step::Configure(config) => policy.configure(*config),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_input_makes_the_state_infinite_or_breaks_the_order_of_the_sizes(
        name in any_policy(),
        config in any_config(),
        live in any_number(),
        steps in proptest::collection::vec(any_step(), 1..60),
    ) {
        let mut policy = Policy::new(name, config, live);
        check(&mut policy);
        for step in &steps {
            take(&mut policy, step);
            check(&mut policy);
        }
        // And it is not lost: with plain numbers it decides plainly.
        policy.configure(PacerConfig { hard_limit: f64::INFINITY, ..PacerConfig::default() });
        for _ in 0..200 {
            steady_cycle(&mut policy, 0.1);
        }
        let decision = policy.decide();
        // The CPU-controlled heap takes more cycles than that to come down, as it was published.
        prop_assert!(decision.goal < 2e9 || name == PolicyName::Mplr23, "{decision:?}");
    }

    #[test]
    fn the_same_inputs_lead_to_the_same_decisions(
        name in any_policy(),
        steps in proptest::collection::vec(any_step(), 1..60),
    ) {
        let mut one = Policy::new(name, PacerConfig::default(), 1e8);
        let mut other = one;
        for step in &steps {
            take(&mut one, step);
            take(&mut other, step);
            let (a, b) = (one.decide(), other.decide());
            prop_assert_eq!(
                [a.goal, a.trigger, a.allocation, a.share, a.trim].map(f64::to_bits),
                [b.goal, b.trigger, b.allocation, b.share, b.trim].map(f64::to_bits)
            );
        }
    }

    #[test]
    fn the_trigger_never_rises_with_the_allocation_rate_or_the_work(
        rates in proptest::collection::vec(0.001..2.0f64, 1..20),
        more in 1.0..10.0f64,
        traced in 1e6..1e9f64,
        wider in 1.0..3.0f64,
    ) {
        let trigger = |factor: f64, growth: f64| {
            let mut policy = Policy::new(PolicyName::Adaptive, PacerConfig::default(), 1e8);
            for rate in &rates {
                policy.mutators_ran(rate * factor);
            }
            // What is retained is the same: it is the estimate of the work that differs.
            let cycle = CycleSample { traced: 1e8, retained: 1e8, ..cycle_of(1e8, 0.1) };
            policy.cycle_ended(&cycle);
            let Policy::Adaptive(adaptive) = &mut policy else { unreachable!() };
            adaptive.expect_work(traced * growth);
            policy.decide().trigger
        };
        let base = trigger(1.0, 1.0);
        prop_assert!(trigger(more, 1.0) <= base);
        prop_assert!(trigger(1.0, wider) <= base);
    }

    #[test]
    fn constant_samples_lead_to_constant_decisions(
        name in any_policy(),
        mode in proptest::sample::select(HeapMode::ALL),
        rate in 0.001..1.0f64,
    ) {
        let config = PacerConfig { mode, hard_limit: 1e9, ..PacerConfig::default() };
        let mut policy = Policy::new(name, config, 1e8);
        (0..100).for_each(|_| steady_cycle(&mut policy, rate));
        let before = policy.decide();
        steady_cycle(&mut policy, rate);
        let after = policy.decide();
        prop_assert!((after.trigger - before.trigger).abs() / before.goal < 0.01, "{before:?} {after:?}");
    }
}

/// A cycle of a program with `live` bytes that allocates what there is room for while marking takes a quarter
/// of one processor.
fn cycle_of(live: f64, rate: f64) -> CycleSample {
    let (marking_ns, share) = (live / 0.25, 0.25);
    let black = rate * (1.0 - share) * marking_ns;
    CycleSample {
        traced: live,
        retained: live + black,
        external: 0.0,
        peak: 2.0 * live,
        marking_ns,
        gc_cpu_ns: share * marking_ns,
        assist_cpu_ns: 0.0,
        black,
        mutator_cpu_ns: live / rate,
        allocated: live,
        recycled: 0.0,
        handshake_ns: 0.0,
        final_pause_ns: 0.0,
        forced: false,
    }
}

/// One cycle of it.
fn steady_cycle(policy: &mut Policy, rate: f64) {
    (0..50).for_each(|_| policy.mutators_ran(rate));
    let trigger = policy.decide().trigger;
    policy.marking_begins(trigger);
    let cycle = cycle_of(1e8, rate);
    let peak = trigger + cycle.black;
    // Mutators run with the processor to themselves until marking begins.
    let allocated = (peak - policy.size().retained()).max(1.0);
    policy.cycle_ended(&CycleSample { peak, allocated, mutator_cpu_ns: allocated / rate, ..cycle });
}

#[test]
fn mem_balancer_follows_the_square_root_rule_in_bytes() {
    // M = L + sqrt(L g / (c s)).
    let (live, g, s, c) = (64e6, 0.5, 2.0, 1e-9);
    let config = PacerConfig { balance: c, min_bytes: 0.0, concurrent: false, ..PacerConfig::default() };
    let mut policy = Policy::new(PolicyName::MemBalancer, config, live);
    for _ in 0..50 {
        let allocated = 10e6;
        policy.cycle_ended(&CycleSample {
            retained: live,
            black: 0.0,
            gc_cpu_ns: live / s,
            allocated,
            mutator_cpu_ns: allocated / g,
            ..cycle_of(live, g)
        });
    }
    let expected = live + (live * g / (c * s)).sqrt();
    let goal = policy.decide().goal;
    assert!((goal / expected - 1.0).abs() < 1e-9, "{goal} {expected}");
}

#[test]
fn mem_balancer_smooths_sums_and_not_quotients() {
    let config = PacerConfig { min_bytes: 0.0, concurrent: false, ..PacerConfig::default() };
    let cycle = |gc_cpu_ns: f64, traced: f64| CycleSample {
        traced,
        retained: traced,
        black: 0.0,
        gc_cpu_ns,
        mutator_cpu_ns: 1e9,
        allocated: 1e8,
        ..cycle_of(traced, 0.1)
    };
    let mut policy = Policy::new(PolicyName::MemBalancer, config, 0.0);
    policy.cycle_ended(&cycle(1e6, 1e6));
    policy.cycle_ended(&cycle(9e6, 1e6));
    // s is a weighted mean of bytes by one of times: (1/4 + 1/2) MB in (1/4 + 9/2) ms.
    let s = 0.75 / 4.75;
    let expected = 1e6 + (1e6 * 0.1 / (config.balance * s)).sqrt();
    let goal = policy.decide().goal;
    assert!((goal / expected - 1.0).abs() < 1e-9, "{goal} {expected}");
}

/// The plant of the heap-size loop: collections that stop the mutators, of a program whose rates change.
struct HeapPlant {
    live: f64,
    allocation: f64,
    marking: f64,
}

const TARGET: f64 = 0.05;

/// The collector's share in each of `cycles` cycles, with noise on both rates.
fn shares(
    plant: &HeapPlant,
    policy: &mut Policy,
    cycles: usize,
    noise: f64,
    random: &mut impl FnMut() -> f64,
) -> Vec<f64> {
    let one = |_| {
        let allocated = (policy.decide().trigger - plant.live).max(1e3);
        let mutator_cpu_ns = allocated / (plant.allocation * (noise * random()).exp());
        let gc_cpu_ns = 0.2e6 + plant.live / (plant.marking * (noise * random()).exp());
        policy.cycle_ended(&CycleSample {
            traced: plant.live,
            retained: plant.live,
            peak: plant.live + allocated,
            black: 0.0,
            gc_cpu_ns,
            mutator_cpu_ns,
            allocated,
            ..cycle_of(plant.live, 0.1)
        });
        gc_cpu_ns / (gc_cpu_ns + mutator_cpu_ns)
    };
    (0..cycles).map(one).collect()
}

#[test]
fn the_heap_size_loop_settles_within_eight_cycles_of_a_step() {
    let before = HeapPlant { live: 100e6, allocation: 0.2, marking: 2.0 };
    let steps = [
        ("allocation x4", HeapPlant { allocation: 0.8, ..before }),
        ("allocation /4", HeapPlant { allocation: 0.05, ..before }),
        ("live x4", HeapPlant { live: 400e6, ..before }),
        ("marking x.3", HeapPlant { marking: 0.6, ..before }),
    ];
    let config =
        PacerConfig { mode: HeapMode::CpuTarget, gc_cpu_target: TARGET, concurrent: false, ..PacerConfig::default() };
    for (name, after) in &steps {
        let mut policy = Policy::new(PolicyName::Adaptive, config, 100e6);
        shares(&before, &mut policy, 40, 0.0, &mut || 0.0);
        let settled = shares(after, &mut policy, 40, 0.0, &mut || 0.0);
        let late = settled.iter().rposition(|share| (share / TARGET - 1.0).abs() > 0.2).map_or(0, |index| index + 1);
        assert!(late <= 8, "{name}: settled after {late} cycles: {settled:?}");
        // With noise a cycle's share is noisy by itself: the mean must be right, and the size must not
        // wander.
        let mut seed = 1u64;
        let mut random = || {
            // A sum of uniform numbers is normal enough here.
            let uniform = |_| {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (seed >> 11) as f64 / (1u64 << 53) as f64
            };
            (0..12).map(uniform).sum::<f64>() - 6.0
        };
        let mut policy = Policy::new(PolicyName::Adaptive, config, 100e6);
        shares(&before, &mut policy, 40, 0.15, &mut random);
        let noisy = shares(after, &mut policy, 48, 0.15, &mut random);
        let mean = noisy[8..].iter().sum::<f64>() / 40.0;
        assert!((mean / TARGET - 1.0).abs() < 0.2, "{name}: mean share {mean}");
        let spread = (noisy[8..].iter().map(|share| (share - mean).powi(2)).sum::<f64>() / 40.0).sqrt();
        assert!(spread < 0.3 * TARGET, "{name}: {spread}");
    }
}

#[test]
fn an_unknown_program_gets_its_first_cycle_early() {
    let mut policy = Policy::new(PolicyName::Adaptive, PacerConfig::default(), 0.0);
    let first = policy.decide();
    assert_eq!((first.goal, first.cause), (4.0 * 1048576.0, Cause::FirstCycle));
    assert!(first.trigger < first.goal);
}

#[test]
fn a_fixed_heap_is_collected_at_its_limit_only() {
    let config = PacerConfig { mode: HeapMode::Fixed, concurrent: false, hard_limit: 1e9, ..PacerConfig::default() };
    let mut policy = Policy::new(PolicyName::Adaptive, config, 0.0);
    assert_eq!(policy.decide().trigger, 1e9);
    policy.cycle_ended(&CycleSample { black: 0.0, ..cycle_of(1e8, 0.1) });
    assert_eq!(policy.decide().trigger, 1e9);
}

#[test]
fn a_proportional_heap_grows_with_what_is_live_and_never_over_a_limit() {
    let config = PacerConfig {
        headroom: 0.5,
        min_bytes: 1e8,
        soft_limit: 8e8,
        hard_limit: 1e9,
        concurrent: false,
        ..PacerConfig::default()
    };
    let mut policy = Policy::new(PolicyName::Adaptive, config, 0.0);
    let mut goal = |traced: f64, retained: f64| {
        policy.cycle_ended(&CycleSample { traced, retained, black: 0.0, ..cycle_of(1e8, 0.1) });
        policy.decide().goal
    };
    assert_eq!(goal(1e6, 2e6), 1e8);
    // The headroom is of what was traced, and comes on top of what is lost between objects.
    assert_eq!(goal(4e8, 5e8), 7e8);
    assert_eq!(goal(6e8, 7e8), 8e8);
    // What is live is above the soft limit: a little room is left, up to the hard one.
    assert_eq!(goal(9e8, 9e8), 9.18e8);
    assert_eq!(goal(1e9, 1e9), 1e9);
}

#[test]
fn memory_pressure_takes_of_the_room_and_never_of_what_is_live() {
    for (mode, left) in [(HeapMode::Fixed, 1.0), (HeapMode::Proportional, 0.25)] {
        let config = PacerConfig { mode, hard_limit: 1e9, concurrent: false, ..PacerConfig::default() };
        let mut policy = Policy::new(PolicyName::Adaptive, config, 0.0);
        policy.cycle_ended(&CycleSample { black: 0.0, ..cycle_of(2e8, 0.1) });
        policy.cycle_ended(&CycleSample { traced: 2e8, retained: 2e8, black: 0.0, ..cycle_of(2e8, 0.1) });
        let relaxed = policy.decide().goal;
        policy.configure(PacerConfig { pressure: 1.0, ..config });
        let pressed = policy.decide().goal;
        assert!(((pressed - 2e8) / (relaxed - 2e8) - left).abs() < 1e-9, "{mode}: {relaxed} {pressed}");
    }
}

/// A program that stands still in its collections. `live` bytes are live, of them some outside the heap;
/// mutators allocate `a` bytes in a ns of processor time, and collections mark `s`.
#[derive(Copy, Clone, Debug)]
struct Stopped {
    live: f64,
    external: f64,
    a: f64,
    s: f64,
}

/// What came of some cycles of it.
#[derive(Copy, Clone, Debug, Default)]
struct Spent {
    collections: usize,
    collecting: f64,
    allocating: f64,
}

impl Spent {
    fn share(&self) -> f64 {
        self.collecting / (self.collecting + self.allocating)
    }
}

impl Stopped {
    /// One cycle, which begins when `retained` bytes have become as many as the goal says.
    fn cycle(self, policy: &mut Policy, spent: &mut Spent) {
        let allocated = (policy.decide().trigger - policy.size().retained()).max(1.0);
        let (gc_cpu_ns, mutator_cpu_ns) = (20e3 + (self.live - self.external) / self.s, allocated / self.a);
        policy.cycle_ended(&CycleSample {
            traced: self.live,
            retained: self.live,
            external: self.external,
            peak: self.live + allocated,
            marking_ns: gc_cpu_ns,
            gc_cpu_ns,
            black: 0.0,
            mutator_cpu_ns,
            allocated,
            ..cycle_of(self.live, 0.1)
        });
        spent.collections += 1;
        spent.collecting += gc_cpu_ns;
        spent.allocating += mutator_cpu_ns;
    }

    /// Allocates so much. What the first cycles learn from is not counted.
    fn allocate(self, policy: &mut Policy, bytes: f64) -> Spent {
        (0..3).for_each(|_| self.cycle(policy, &mut Spent::default()));
        let mut spent = Spent::default();
        while spent.allocating * self.a < bytes && spent.collections < 100_000 {
            self.cycle(policy, &mut spent);
        }
        spent
    }
}

fn stopped_config(mode: HeapMode, soft_limit: f64, hard_limit: f64) -> PacerConfig {
    PacerConfig { mode, concurrent: false, soft_limit, hard_limit, ..PacerConfig::default() }
}

#[test]
fn a_soft_limit_below_what_is_live_takes_no_more_of_the_processor_than_the_cap() {
    for mode in [HeapMode::Fixed, HeapMode::Proportional, HeapMode::CpuTarget, HeapMode::MemBalancer] {
        for (a, s) in [(0.001, 1.0), (0.1, 1.0), (1.0, 1.0), (10.0, 1.0), (1.0, 0.1)] {
            for cap in [0.1, 0.5, 0.9] {
                let program = Stopped { live: 100e6, external: 0.0, a, s };
                let config = PacerConfig { gc_cpu_cap: cap, ..stopped_config(mode, 20e6, 1e12) };
                let mut policy = Policy::new(PolicyName::Adaptive, config, 0.0);
                let spent = program.allocate(&mut policy, 2e9);
                let mut free = Policy::new(PolicyName::Adaptive, PacerConfig { soft_limit: 1e12, ..config }, 0.0);
                let unlimited = program.allocate(&mut free, 2e9);
                // What the law takes without a soft limit is the law's.
                let most = (1.02 * cap).max(unlimited.share() + 0.01);
                assert!(spent.share() <= most, "{mode}, {program:?}, cap {cap}: {spent:?}, {unlimited:?}");
                let decision = policy.decide();
                assert_eq!(decision.cause, Cause::SoftLimitGivesWay);
                assert!(decision.goal <= free.decide().goal * 1.01, "{mode}, {program:?}: {decision:?}");
            }
        }
    }
}

#[test]
fn a_soft_limit_gives_way_no_further_than_it_must_and_holds_again_when_less_is_live() {
    let config = stopped_config(HeapMode::Proportional, 20e6, 1e9);
    let mut policy = Policy::new(PolicyName::Adaptive, config, 0.0);
    // Collections cost a thousandth of what allocating does: 2 % of room are affordable.
    let slow = Stopped { live: 100e6, external: 0.0, a: 1e-3, s: 1.0 };
    slow.allocate(&mut policy, 100e6);
    assert_eq!(policy.decide().goal, 102e6);
    let program = Stopped { a: 1.0, ..slow };
    // 52 MB are allocated without a collection, as in a heap without a soft limit.
    program.allocate(&mut policy, 1e9);
    assert!(policy.decide().goal > 152e6, "{:?}", policy.decide());
    let smaller = Stopped { live: 8e6, ..program };
    smaller.allocate(&mut policy, 1e9);
    let decision = policy.decide();
    assert!(decision.goal <= 20e6 && decision.cause == Cause::StopTheWorld, "{decision:?}");
    let between = Stopped { live: 16e6, ..program };
    between.allocate(&mut policy, 1e9);
    let decision = policy.decide();
    assert!(decision.goal > 20e6 && decision.cause == Cause::SoftLimitGivesWay, "4 MB are too little: {decision:?}");
}

#[test]
fn what_an_estimate_was_wrong_by_is_made_good() {
    let config = stopped_config(HeapMode::Fixed, 20e6, 1e12);
    let mut policy = Policy::new(PolicyName::Adaptive, config, 0.0);
    let program = Stopped { live: 100e6, external: 0.0, a: 1.0, s: 1.0 };
    program.allocate(&mut policy, 1e9);
    let mut spent = Spent::default();
    for n in 0..2000 {
        // Eight cycles at a tenth of the rate, eight at ten times as much, and marking now and then a third
        // as fast.
        let a = if n / 8 % 2 == 0 { 0.1 } else { 10.0 };
        let s = if n % 5 == 0 { 0.3 } else { 1.0 };
        Stopped { a, s, ..program }.cycle(&mut policy, &mut spent);
    }
    assert!(spent.share() <= 0.51, "{spent:?}");
    // And not for ever: a second of one processor is the most.
    assert!(policy.decide().goal <= 100e6 + 10.0 * 10.0 * (1e9 + 1e9), "{:?}", policy.decide());
}

#[test]
fn memory_outside_the_heap_above_every_limit_leaves_mutators_their_part() {
    for mode in
        [HeapMode::Fixed, HeapMode::Proportional, HeapMode::CpuTarget, HeapMode::MemBalancer, HeapMode::Delegated]
    {
        let config = stopped_config(mode, 0.9e9, 1e9);
        let mut policy = Policy::new(PolicyName::Adaptive, config, 0.0);
        for external in [0.5e9, 0.99e9, 1e9, 20e9] {
            let program = Stopped { live: 50e6 + external, external, a: 1.0, s: 1.0 };
            let spent = program.allocate(&mut policy, 2e9);
            assert!(spent.share() <= 0.51, "{mode}, {external}: {spent:?} {:?}", policy.decide());
            assert!(policy.decide().goal <= 1e9 + external, "the heap's own limit is hard");
        }
    }
}

#[test]
fn bytes_outside_the_heap_that_the_vm_frees_after_a_cycle_were_not_live() {
    let config = stopped_config(HeapMode::Proportional, 1e9, 1e9);
    let mut policy = Policy::new(PolicyName::Adaptive, config, 0.0);
    let program = Stopped { live: 110e6, external: 100e6, a: 1.0, s: 1.0 };
    program.cycle(&mut policy, &mut Spent::default());
    assert_eq!(policy.decide().goal, 220e6);
    policy.released(80e6);
    assert_eq!((policy.decide().goal, policy.size().external()), (60e6, 20e6));
    policy.released(1e12);
    assert_eq!((policy.decide().goal, policy.size().retained()), (20e6, 10e6));
}

#[test]
fn collections_that_the_vm_asks_for_are_not_what_the_soft_limit_took() {
    let config = stopped_config(HeapMode::Proportional, 300e6, 1e9);
    let mut policy = Policy::new(PolicyName::Adaptive, config, 0.0);
    let asked_for = CycleSample { forced: true, black: 0.0, retained: 100e6, ..cycle_of(100e6, 0.1) };
    for _ in 0..100 {
        policy.cycle_ended(&CycleSample { allocated: 1e6, mutator_cpu_ns: 1e7, ..asked_for });
    }
    assert_eq!(policy.decide().goal, 200e6);
    policy.configure(PacerConfig { soft_limit: 105e6, ..config });
    let goal = policy.decide().goal;
    assert!((109e6..111e6).contains(&goal), "room for one collection, not for a hundred: {goal}");
}

#[test]
fn a_cycle_that_passed_is_learned_from_its_sample_alone() {
    for concurrent in [false, true] {
        let config = PacerConfig { concurrent, ..PacerConfig::default() };
        let new = || Policy::new(PolicyName::Adaptive, config, 1e8);
        let (mut told, mut passed) = (new(), new());
        for live in [1e8, 2e8, 1.5e8] {
            let cycle = CycleSample { peak: 3e8, black: 0.5e8, ..cycle_of(live, 0.1) };
            if concurrent {
                told.marking_begins(cycle.peak - cycle.black);
                told.mutators_ran(cycle.allocated / cycle.mutator_cpu_ns);
            }
            told.cycle_ended(&cycle);
            passed.cycle_passed(&cycle);
            assert_eq!(told.decide(), passed.decide(), "{concurrent}");
        }
        // It knows the rates, so it plans.
        assert_ne!(passed.decide().cause, Cause::FirstCycle);
    }
}

#[test]
fn who_asks_for_a_collection_of_little_does_not_put_off_the_next_marking() {
    let trigger_after = |forced| {
        let mut policy = Policy::new(PolicyName::Adaptive, PacerConfig::default(), 1e8);
        (0..8).for_each(|_| policy.cycle_passed(&CycleSample { black: 1e7, ..cycle_of(1e8, 0.1) }));
        policy.cycle_passed(&CycleSample { traced: 1e3, retained: 1e8, forced, ..cycle_of(1e8, 0.1) });
        policy.decide().trigger
    };
    assert!(trigger_after(true) < trigger_after(false));
}
