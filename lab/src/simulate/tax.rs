//! When mutators are taxed: the pacer's second law, with the rates of a run.
//!
//! Let mutators allocate `a` and markers trace `s` bytes a ns of their own processor time, `L` bytes be live,
//! `G` be the goal, and `b` be the part of `G - L` that may be allocated while the heap is marked. With
//! `x = a L / s`, marking needs the share `u* = x / (x + b (G - L))` of the machine. At the share `u` that it
//! gets, `B = x (1 - u) / u` bytes are allocated meanwhile. They stay for one collection, and as much comes
//! while the next one marks: so two times `B` has to fit into `G - L`.

use heapwright::events::Paced;

use crate::stats::median;

/// Of the room this part is used at most: the rest is for what rates vary.
const USED: f64 = 0.9;

/// What a run says of marking beside its mutators. Bytes, and bytes a ns of processor time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tax {
    /// Bytes traced by a collection (L).
    pub live: f64,
    /// The goal (G).
    pub goal: f64,
    /// Bytes that a mutator allocates (a).
    pub allocation_rate: f64,
    /// Bytes traced for the processor time of a collection, its pauses and its sweep included (s).
    pub scan_rate: f64,
    /// The share of the machine that marking needs (u*), from 0 to 1.
    pub needed: f64,
    /// The share that the options let it have (u).
    pub granted: f64,
    /// Bytes allocated while the heap is marked, by arithmetic (B).
    pub black: f64,
    /// Bytes allocated while the heap was marked, as measured.
    pub black_measured: f64,
    /// Processor time of mutators that helped, to all of mutators.
    pub assists: f64,
    /// Collections in the run.
    pub cycles: usize,
}

impl Tax {
    /// Of a log: medians over its collections but the first, which knows nothing yet. `None` if there is no
    /// other.
    pub fn of(log: &[Paced]) -> Option<Tax> {
        let cycles = log.get(1..).filter(|cycles| !cycles.is_empty())?;
        let over = |f: &dyn Fn(&Paced) -> f64| median(cycles.iter().map(f).filter(|value| value.is_finite()));
        let config = cycles[0].config;
        let live = over(&|paced| paced.sample.traced)?;
        let goal = over(&|paced| paced.decision.goal)?;
        let allocation_rate = over(&|paced| paced.sample.allocated / paced.sample.mutator_cpu_ns)?;
        let scan_rate = over(&|paced| paced.sample.traced / paced.sample.gc_cpu_ns)?;
        let x = allocation_rate * live / scan_rate;
        let needed = x / (x + config.float_budget * (goal - live).max(1.0));
        let granted = needed.max(config.gc_share).min(config.gc_share_max);
        let sum = |f: &dyn Fn(&Paced) -> f64| cycles.iter().map(f).sum::<f64>();
        let helped = sum(&|paced| paced.sample.assist_cpu_ns);
        Some(Tax {
            live,
            goal,
            allocation_rate,
            scan_rate,
            needed,
            granted,
            black: x * (1.0 - granted) / granted,
            black_measured: over(&|paced| paced.sample.black)?,
            assists: helped / (helped + sum(&|paced| paced.sample.mutator_cpu_ns)).max(1.0),
            cycles: cycles.len(),
        })
    }

    /// Whether mutators have to help or to wait, by arithmetic.
    pub fn is_due(&self) -> bool {
        2.0 * self.black >= USED * (self.goal - self.live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pacer::{Cause, CycleSample, Decision, PacerConfig};

    const MB: f64 = 1e6;

    /// A collection of 30 MB that are live in `goal` bytes, two bytes traced a ns, `rate` allocated a ns.
    fn cycle(goal: f64, rate: f64) -> Paced {
        let sample = CycleSample {
            traced: 30.0 * MB,
            retained: 30.0 * MB,
            external: 0.0,
            peak: goal,
            marking_ns: 15.0 * MB,
            gc_cpu_ns: 15.0 * MB,
            assist_cpu_ns: 1.0 * MB,
            black: 5.0 * MB,
            mutator_cpu_ns: 9.0 * MB,
            allocated: 9.0 * MB * rate,
            recycled: 0.0,
            handshake_ns: 0.0,
            final_pause_ns: 0.0,
            forced: false,
        };
        let cause = Cause::Estimate;
        let decision = Decision { goal, trigger: goal, allocation: f64::MAX, share: 0.25, trim: 0.0, cause };
        let config = PacerConfig::default();
        Paced { sequence: 0, end_ns: 0, policy: "adaptive".into(), config, sample, decision, gave_up: false }
    }

    #[test]
    fn a_program_that_allocates_fast_in_little_room_is_taxed() {
        let tax = |goal, rate| Tax::of(&[cycle(1.0, 1.0), cycle(goal, rate), cycle(goal, rate)]).unwrap();
        // x = 8 * 30 / 2 = 120 MB; b (G - L) = 22.5 MB.
        let fast = tax(120.0 * MB, 8.0);
        assert!((fast.needed - 120.0 / 142.5).abs() < 1e-9, "{fast:?}");
        assert!((fast.granted, fast.cycles) == (0.5, 2), "the options let it have half: {fast:?}");
        assert!((fast.black - 120.0 * MB).abs() < 1.0 && fast.is_due(), "{fast:?}");
        assert!((fast.assists - 0.1).abs() < 1e-9, "{fast:?}");
        // x = 3 MB; B = 9 MB at a quarter of the machine.
        let slow = tax(120.0 * MB, 0.2);
        assert!((slow.black - 9.0 * MB).abs() < 1.0 && !slow.is_due(), "{slow:?}");
        assert!(tax(400.0 * MB, 8.0).black < fast.black + 1.0 && !tax(400.0 * MB, 8.0).is_due());
    }

    #[test]
    fn a_run_of_one_collection_says_nothing() {
        assert_eq!(Tax::of(&[]), None);
        assert_eq!(Tax::of(&[cycle(MB, 1.0)]), None);
    }
}
