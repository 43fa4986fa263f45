//! A million cycles in which everything jumps: no state becomes infinite, no bound is broken.

use lab::simulate::Noise;
use pacer::{CycleSample, HeapMode, PacerConfig, PacerPolicy, Policy, PolicyName, Tick};

const CYCLES: usize = 1_000_000;
const LIMIT: f64 = 1e9;

/// A factor between .01 and 100.
fn jump(noise: &mut Noise) -> f64 {
    (noise.normal(2.0)).exp().clamp(0.01, 100.0)
}

fn run(name: PolicyName, mode: HeapMode, cycles: usize, seed: u32) {
    let config = PacerConfig { mode, hard_limit: LIMIT, cores: 8.0, ..PacerConfig::default() };
    let mut policy = Policy::new(name, config, 1e8);
    let mut noise = Noise::new(seed);
    let mut reserved = 1e8;
    for cycle in 0..cycles {
        let allocation = 0.1 * jump(&mut noise);
        let marking = jump(&mut noise);
        policy.mutators_ran(allocation);
        let decision = policy.decide();
        assert!(decision.goal.is_finite() && decision.trigger.is_finite(), "{name} {cycle}: {decision:?}");
        // I2.
        let retained = policy.size().retained();
        assert!(decision.trigger <= decision.goal.max(retained), "{name} {cycle}: {decision:?}");
        assert!(decision.goal <= LIMIT.max(retained), "{name} {cycle}: {decision:?}");
        // I1: what does not fit is not admitted.
        let start = decision.trigger.clamp(reserved, LIMIT);
        policy.marking_begins(start);
        let live = (1e8 * jump(&mut noise)).min(start);
        let (mut heap, mut marked, mut gc_cpu, mut assist) = (start, 0.0, 0.0, 0.0);
        let mut ticks = 0;
        while marked < live && ticks < 8 {
            let rates = Tick { reserved: heap, marked, allocation_rate: allocation, scan_rate: marking };
            let effort = policy.tick(&rates);
            let share = effort.workers + effort.assist;
            assert!(share.is_finite() && share >= 0.0, "{name} {cycle}: {effort:?}");
            // I3.
            assert!(!policy.is_bounded() || share <= 0.75 + 1e-9, "{name} {cycle}: {effort:?}");
            // An eighth of the cycle a tick; I8: some work is always done.
            marked += live / 8.0;
            heap = (heap + live / 8.0 * allocation / marking * (1.0 - share.min(1.0))).min(LIMIT);
            gc_cpu += live / 8.0 / marking;
            assist += effort.assist;
            ticks += 1;
        }
        let black = (heap - start).min(LIMIT - live);
        policy.cycle_ended(&CycleSample {
            traced: live,
            retained: live + black,
            external: 0.0,
            peak: heap,
            marking_ns: gc_cpu / 2.0,
            gc_cpu_ns: gc_cpu,
            assist_cpu_ns: assist,
            black,
            mutator_cpu_ns: (start - reserved) / allocation,
            allocated: heap - reserved,
            recycled: 0.0,
            handshake_ns: 0.0,
            final_pause_ns: 0.0,
            forced: cycle % 7 == 0,
        });
        reserved = (live + black).min(LIMIT);
    }
}

#[test]
fn a_million_cycles_of_chaos_break_nothing() {
    run(PolicyName::Adaptive, HeapMode::Proportional, CYCLES, 1);
}

#[test]
fn no_policy_and_no_mode_is_broken_by_chaos() {
    for (seed, &name) in PolicyName::ALL.iter().enumerate() {
        for &mode in HeapMode::ALL {
            run(name, mode, CYCLES / 50, seed as u32 + 2);
        }
    }
}
