//! What the pacer is told, from the options.

use super::choice::Driver;
use super::error::OptionError;
use super::machine;
use super::table::Options;
use pacer::PacerConfig;

/// Options that a running heap can change.
const TUNABLE: [&str; 11] = [
    "heap.mode",
    "heap.headroom_percent",
    "heap.gc_cpu_target",
    "heap.balance",
    "heap.soft_limit",
    "heap.min",
    "heap.pressure",
    "heap.return_memory",
    "heap.uncommit_delay_ms",
    "heap.idle_gc_s",
    "safepoint.warn_ms",
];

impl Options {
    /// Who marks while mutators run: one of the two, which the machine decides if the option does not.
    pub fn driver(&self) -> Driver {
        match self.gc_driver {
            Driver::Auto if machine::default_workers() == 1 => Driver::Quanta,
            Driver::Auto => Driver::Background,
            driver => driver,
        }
    }

    /// The processors that affinity and cgroup quota grant.
    pub(crate) fn processors() -> usize {
        machine::default_workers()
    }

    /// Refuses changes of options that a running heap cannot change; those of the pacer it can.
    pub(crate) fn check_tunable(&self, before: &Options) -> Result<(), OptionError> {
        for row in Options::table() {
            let tunable = row.key.starts_with("pacer.") || TUNABLE.contains(&row.key);
            let value = before.get(row.key);
            if !tunable && self.get(row.key) != value {
                return Err(OptionError::Fixed { key: row.key, value: value.expect("a row of the table") });
            }
        }
        Ok(())
    }

    /// The settings of the pacer for a heap of at most `limit` bytes, in which mutators stop while the
    /// collector marks. `cores` is the number of GC workers.
    pub fn pacer_config(&self, limit: usize) -> PacerConfig {
        PacerConfig {
            mode: self.heap_mode,
            headroom: f64::from(self.heap_headroom_percent) / 100.0,
            gc_cpu_target: self.heap_gc_cpu_target.get(),
            balance: self.heap_balance.get(),
            min_bytes: self.heap_min.min(limit) as f64,
            soft_limit: if self.heap_soft_limit > 0 { self.heap_soft_limit as f64 } else { f64::INFINITY },
            hard_limit: limit as f64,
            pressure: 0.0,
            concurrent: false,
            cores: self.gc_workers as f64,
            gc_share: self.pacer_gc_share.get(),
            gc_share_max: self.pacer_gc_share_max.get(),
            gc_share_min: self.pacer_gc_share_min.get(),
            assist_cap: self.pacer_assist_cap.get(),
            float_budget: self.pacer_float_budget.get(),
            margin: self.pacer_margin.get(),
            safety_sigma: self.pacer_safety_sigma.get(),
            trim_gain: self.pacer_trim_gain.get(),
            trim_max: PacerConfig::default().trim_max,
            gc_cpu_cap: self.pacer_gc_cpu_cap.get(),
        }
    }
}
