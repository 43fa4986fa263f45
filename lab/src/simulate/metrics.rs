//! The figures of a run, once the policy has learned.

use pacer::{PacerConfig, PolicyName};
use serde::Serialize;

use super::plant::{Cycle, LEARNED, Outcome, Plant, Run, run};

/// What a run comes to. Shares are parts of the machine, averages are over the time of marking.
#[derive(Copy, Clone, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// Cycles, all of them.
    pub cycles: usize,
    /// Peak to what was live: the mean over cycles, the middle one, and the greatest.
    pub peak_mean: f64,
    /// The middle one.
    pub peak_median: f64,
    /// The greatest.
    pub peak_max: f64,
    /// By which part of the room the goal was exceeded at most; negative if it never was.
    pub overshoot_max: f64,
    /// Peak to goal: the least, the 99th centile, the greatest.
    pub ratio_min: f64,
    /// The 99th centile.
    pub ratio_p99: f64,
    /// The greatest.
    pub ratio_max: f64,
    /// Marking's share while it runs.
    pub share: f64,
    /// The share of assists while marking runs.
    pub assist_mean: f64,
    /// In the cycle with the most.
    pub assist_max: f64,
    /// The collector's part of the machine.
    pub gc_share: f64,
    /// The least part of 10 ms that mutators had.
    pub utilisation: f64,
    /// Steps above the hard limit.
    pub violations: usize,
    /// How long mutators waited for memory, in ns.
    pub stall_ns: f64,
}

impl Metrics {
    /// Of a run. Infinite or NaN where it has no cycle.
    pub fn of(run: &Run) -> Metrics {
        let cycles: Vec<&Cycle> = run.cycles.iter().filter(|cycle| cycle.end > LEARNED).collect();
        let count = cycles.len() as f64;
        let time: f64 = cycles.iter().map(|cycle| cycle.length).sum();
        let weighted = |of: fn(&Cycle) -> f64| cycles.iter().map(|cycle| of(cycle) * cycle.length).sum::<f64>() / time;
        let sorted = |of: fn(&Cycle) -> f64| {
            let mut all: Vec<f64> = cycles.iter().map(|cycle| of(cycle)).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        let at = |all: &[f64], part: f64| {
            let index = ((all.len() as f64 * part) as usize).min(all.len().saturating_sub(1));
            all.get(index).copied().unwrap_or(f64::NAN)
        };
        let peaks = sorted(|cycle| cycle.peak / cycle.traced);
        let ratios = sorted(Cycle::ratio);
        Metrics {
            cycles: run.cycles.len(),
            peak_mean: peaks.iter().sum::<f64>() / count,
            peak_median: at(&peaks, 0.5),
            peak_max: run.peak_to_live,
            overshoot_max: at(&sorted(Cycle::overshoot), 1.0),
            ratio_min: at(&ratios, 0.0),
            ratio_p99: at(&ratios, 0.99),
            ratio_max: at(&ratios, 1.0),
            share: weighted(|cycle| cycle.share),
            assist_mean: weighted(|cycle| cycle.assist),
            assist_max: at(&sorted(|cycle| cycle.assist), 1.0),
            gc_share: run.gc_share,
            utilisation: run.utilisation,
            violations: run.violations,
            stall_ns: run.stall,
        }
    }

    /// Whether the run did all its work.
    pub fn completed(run: &Run) -> bool {
        run.outcome == Outcome::Completed
    }
}

/// How many cycles after `event` (ns) the ratio of peak to goal and the assists stay within .02 of what they
/// end up as.
pub fn settled_after(run: &Run, event: f64) -> usize {
    let after: Vec<&Cycle> = run.cycles.iter().filter(|cycle| cycle.end > event).collect();
    let last = &after[after.len().saturating_sub(20)..];
    let mean = |of: fn(&Cycle) -> f64| last.iter().map(|cycle| of(cycle)).sum::<f64>() / last.len() as f64;
    let (ratio, assist) = (mean(Cycle::ratio), mean(|cycle| cycle.assist));
    let off = |cycle: &&Cycle| (cycle.ratio() - ratio).abs() > 0.02 || (cycle.assist - assist).abs() > 0.02;
    after.iter().take(60).rposition(off).map_or(0, |index| index + 1)
}

/// The headroom with which a policy has this mean peak, by bisection between 0.1 and 4; and the figures with
/// it.
pub fn headroom_for_equal_memory(
    plant: &Plant,
    name: PolicyName,
    config: PacerConfig,
    peak_mean: f64,
) -> (f64, Metrics) {
    let (mut low, mut high) = (0.1, 4.0);
    for _ in 0..14 {
        let headroom = (low + high) / 2.0;
        let found = Metrics::of(&run(plant, name, PacerConfig { headroom, ..config }));
        if found.peak_mean > peak_mean {
            high = headroom;
        } else {
            low = headroom;
        }
    }
    let headroom = (low + high) / 2.0;
    (headroom, Metrics::of(&run(plant, name, PacerConfig { headroom, ..config })))
}
