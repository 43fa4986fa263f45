//! The plant: a heap that is marked beside its mutators, as a fluid.
//!
//! Black allocation is live until the next cycle has ended, as it is where marking works on a snapshot.
//! Objects allocated before marking begins are dead by then, except those that make up the live bytes of that
//! time.

use pacer::{Crew, CycleSample, GiveUp, PacerConfig, PacerPolicy, Policy, PolicyName, Tick};

use super::noise::Noise;
use super::scenario::Scenario;

/// A step, in ns.
const STEP: f64 = 0.25e6;
/// Steps to a sample of the allocation rate.
const STEPS_PER_SAMPLE: usize = 4;
/// Steps over which mutators' utilisation is taken: 10 ms.
const WINDOW: usize = 40;
/// Figures are taken when the policy had so long to learn, in ns.
pub(super) const LEARNED: f64 = 4e9;

/// How finely the machine can be shared.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Quantum {
    /// At will, in each step.
    Fluid,
    /// In whole workers, each ms.
    Workers,
}

/// Factors by which the adaptive policy's estimates are wrong.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Bias {
    /// Of the allocation rate.
    pub allocation: f64,
    /// Of the marking rate.
    pub marking: f64,
}

/// What is run.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Plant<'a> {
    /// The program.
    pub scenario: &'a Scenario,
    /// How the machine is shared.
    pub quantum: Quantum,
    /// What is wrong with the estimates.
    pub bias: Bias,
}

impl<'a> Plant<'a> {
    /// Without bias.
    pub fn new(scenario: &'a Scenario, quantum: Quantum) -> Plant<'a> {
        Plant { scenario, quantum, bias: Bias { allocation: 1.0, marking: 1.0 } }
    }
}

/// A cycle that ended. Sizes in bytes, times in ns, shares of the machine.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Cycle {
    /// When it ended.
    pub end: f64,
    /// The goal.
    pub goal: f64,
    /// Bytes at which it began.
    pub trigger: f64,
    /// Bytes at its end.
    pub peak: f64,
    /// What was retained when the cycle before had ended.
    pub retained: f64,
    /// Bytes traced.
    pub traced: f64,
    /// The planned share.
    pub planned: f64,
    /// The share that marking took, of workers and assists.
    pub share: f64,
    /// The share of assists.
    pub assist: f64,
    /// How long marking took.
    pub length: f64,
    /// How long mutators waited for memory.
    pub stall: f64,
}

impl Cycle {
    /// Peak to goal.
    pub fn ratio(&self) -> f64 {
        self.peak / self.goal
    }

    /// By which part of the room the goal was exceeded; negative if it was not. A heap whose holes suffice
    /// has no room to grow: then of the least that one has without holes, a fiftieth of what is live.
    pub fn overshoot(&self) -> f64 {
        (self.peak - self.goal) / (self.goal - self.retained).max(0.02 * self.traced).max(1.0)
    }
}

/// How a run ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With its time.
    Completed,
    /// More was live than the limit.
    OutOfMemory,
    /// The collector took too much of the processor, with all the heap live.
    GaveUp,
}

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Its cycles.
    pub cycles: Vec<Cycle>,
    /// When it ended, in ns.
    pub end: f64,
    /// Steps in which the heap was above the hard limit.
    pub violations: usize,
    /// How long mutators waited for memory, in ns.
    pub stall: f64,
    /// The collector's part of the machine.
    pub gc_share: f64,
    /// The least part of 10 ms that mutators had of the machine, once the policy had learned.
    pub utilisation: f64,
    /// The greatest heap to what was live, from then on.
    pub peak_to_live: f64,
    /// How it ended.
    pub outcome: Outcome,
}

/// Runs a policy on a plant. `config` has the settings; cores and limit are the scenario's.
pub fn run(plant: &Plant, name: PolicyName, config: PacerConfig) -> Run {
    let scenario = plant.scenario;
    let limit = scenario.limit.unwrap_or(f64::INFINITY);
    let config = PacerConfig { cores: scenario.cores, hard_limit: limit, concurrent: true, ..config };
    let live = scenario.live.at(0.0);
    let mut state = State {
        plant,
        limit,
        policy: Policy::new(name, config, live),
        noise: Noise::new(scenario.seed),
        now: 0.0,
        heap: live,
        cycle_noise: (1.0, 1.0),
        tick_noise: 0.0,
        sample: (0.0, 0),
        violations: 0,
    };
    if let Policy::Adaptive(adaptive) = &mut state.policy {
        adaptive.skew(plant.bias.allocation, plant.bias.marking);
    }
    state.new_cycle_noise();
    let mut totals = Totals { utilisation: 1.0, ..Totals::default() };
    let mut give_up = GiveUp::default();
    let mut cycles = Vec::new();
    let outcome = loop {
        let (began, before) = (state.now, state.heap);
        if !state.mutate() {
            break Outcome::Completed;
        }
        let mutated = (state.now - began) * scenario.cores;
        let Some(cycle) = state.mark(mutated, before, &mut totals) else { break Outcome::OutOfMemory };
        cycles.push(cycle);
        let gc = cycle.share * cycle.length * scenario.cores;
        let all = (state.now - began) * scenario.cores;
        if give_up.observe(state.policy.config(), state.now - began, gc, all - gc, state.heap) {
            break Outcome::GaveUp;
        }
        state.new_cycle_noise();
    };
    Run {
        cycles,
        end: state.now,
        violations: state.violations,
        stall: totals.stall,
        gc_share: totals.gc_cpu / (scenario.cores * state.now),
        utilisation: totals.utilisation,
        peak_to_live: totals.peak_to_live,
        outcome,
    }
}

#[derive(Default)]
struct Totals {
    gc_cpu: f64,
    stall: f64,
    utilisation: f64,
    peak_to_live: f64,
}

struct State<'a> {
    plant: &'a Plant<'a>,
    limit: f64,
    policy: Policy,
    noise: Noise,
    now: f64,
    heap: f64,
    /// Factors on the allocation rate and the marking rate in this cycle.
    cycle_noise: (f64, f64),
    tick_noise: f64,
    /// Sum and number of the allocation rates since the last sample.
    sample: (f64, usize),
    violations: usize,
}

impl State<'_> {
    fn new_cycle_noise(&mut self) {
        let deviation = self.plant.scenario.cycle_noise;
        self.cycle_noise = if deviation > 0.0 {
            (self.noise.normal(deviation).exp(), self.noise.normal(deviation / 2.0).exp())
        } else {
            (1.0, 1.0)
        };
    }

    /// The allocation rate of the next step.
    fn allocation(&mut self) -> f64 {
        let scenario = self.plant.scenario;
        if scenario.tick_noise > 0.0 {
            self.tick_noise = 0.9 * self.tick_noise + self.noise.normal(scenario.tick_noise) * 0.436;
        }
        scenario.allocation.at(self.now) * self.cycle_noise.0 * self.tick_noise.exp()
    }

    /// A step is over.
    fn sample(&mut self, allocation: f64) {
        self.sample = (self.sample.0 + allocation, self.sample.1 + 1);
        if self.sample.1 == STEPS_PER_SAMPLE {
            self.policy.mutators_ran(self.sample.0 / STEPS_PER_SAMPLE as f64);
            self.sample = (0.0, 0);
        }
        if self.heap > self.limit * (1.0 + 1e-12) {
            self.violations += 1;
        }
    }

    /// Mutators have the machine until the trigger is reached. Whether it was before the time was up.
    fn mutate(&mut self) -> bool {
        while self.now < self.plant.scenario.length {
            let allocation = self.allocation();
            let wanted = self.heap + allocation * self.plant.scenario.cores * STEP;
            // L0: what does not fit below the limit is not handed out.
            let admitted = wanted.min(self.policy.stalls_at().max(self.heap));
            let refused = admitted < wanted;
            self.heap = admitted;
            self.now += STEP;
            self.sample(allocation);
            if refused || self.heap >= self.policy.decide().trigger {
                break;
            }
        }
        self.now < self.plant.scenario.length
    }

    /// Marking, beside mutators; none if what is live does not fit.
    fn mark(&mut self, mutated: f64, before: f64, totals: &mut Totals) -> Option<Cycle> {
        let scenario = self.plant.scenario;
        let cores = scenario.cores;
        let decision = self.policy.decide();
        let retained = self.policy.size().retained();
        let (trigger, began) = (self.heap, self.now);
        self.policy.marking_begins(trigger);
        if scenario.live.at(began) > self.limit {
            return None;
        }
        let work = scenario.live.at(began).min(self.heap);
        let (mut marked, mut black, mut stall, mut assist_cpu, mut gc_cpu) = (0.0, 0.0, 0.0, 0.0, 0.0);
        let mut crew = Crew::new(self.policy.config(), decision.share);
        let mut effort = None;
        let mut window = Vec::<f64>::with_capacity(WINDOW);
        let mut steps = 0;
        while marked < work {
            let allocation = self.allocation();
            let marking = scenario.marking.at(self.now) * self.cycle_noise.1;
            let each_step = self.plant.quantum == Quantum::Fluid;
            if effort.is_none() || each_step || steps % STEPS_PER_SAMPLE == 0 {
                let tick = Tick { reserved: self.heap, marked, allocation_rate: allocation, scan_rate: marking };
                let mut next = self.policy.tick(&tick);
                if !each_step && decision.share < 1.0 {
                    next.workers = crew.for_share(self.policy.config(), next.workers) / cores;
                }
                effort = Some(next);
            }
            steps += 1;
            let now = effort.expect("set above");
            let mut share = (now.workers + now.assist).min(1.0);
            let mut allocated = allocation * (1.0 - share) * cores * STEP;
            let mut done = marking * share * cores * STEP;
            if self.heap + allocated > self.policy.stalls_at() {
                // Mutators that find no memory wait, and the machine is free for marking.
                allocated = (self.policy.stalls_at() - self.heap).max(0.0);
                done = marking * cores * STEP;
                stall += STEP;
                share = 1.0;
            }
            if window.len() == WINDOW {
                window.remove(0);
            }
            window.push(share);
            marked += done;
            self.heap += allocated;
            black += allocated;
            self.now += STEP;
            if self.now - STEP > LEARNED {
                totals.utilisation = totals.utilisation.min(1.0 - window.iter().sum::<f64>() / WINDOW as f64);
            }
            assist_cpu += now.assist * cores * STEP;
            gc_cpu += share * cores * STEP;
            self.sample(allocation);
        }
        let handshake = self.now + scenario.handshake;
        while self.now < handshake {
            let allocation = self.allocation();
            let wanted = allocation * cores * STEP;
            let allocated = wanted.min((self.policy.stalls_at() - self.heap).max(0.0));
            if allocated < wanted {
                stall += STEP;
            }
            self.heap += allocated;
            black += allocated;
            self.now += STEP;
            self.sample(allocation);
        }
        if self.now > LEARNED {
            totals.peak_to_live = totals.peak_to_live.max(self.heap / work);
        }
        totals.gc_cpu += gc_cpu;
        totals.stall += stall;
        let (peak, length) = (self.heap, self.now - began);
        self.heap = work + black;
        let cycle = Cycle {
            end: self.now,
            goal: decision.goal,
            trigger,
            peak,
            retained,
            traced: work,
            planned: decision.share,
            share: gc_cpu / (cores * length),
            assist: assist_cpu / (cores * length),
            length,
            stall,
        };
        self.policy.cycle_ended(&CycleSample {
            traced: work,
            retained: self.heap,
            external: 0.0,
            peak,
            marking_ns: length - scenario.handshake,
            gc_cpu_ns: gc_cpu,
            assist_cpu_ns: assist_cpu,
            black,
            mutator_cpu_ns: mutated + length * cores - gc_cpu,
            allocated: (peak - before).max(0.0),
            recycled: 0.0,
            handshake_ns: scenario.handshake,
            final_pause_ns: 0.0,
            forced: false,
        });
        Some(cycle)
    }
}
