//! When to tell the VM that the heap is too small: the collector takes most of the processor, and collections
//! leave almost no room. Without it a program at its limit crawls for hours before it runs out of memory.

use super::config::PacerConfig;
use super::sample::amount;

/// How long it must have been so, in ns, and in how many parts that is kept.
const WINDOW_NS: f64 = 2e9;
const PARTS: usize = 8;
/// The heap is as good as full.
const FULL: f64 = 0.95;

/// Time and processor time, in ns.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
struct Part {
    elapsed: f64,
    collector: f64,
    mutators: f64,
}

/// The last two seconds.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub struct GiveUp {
    parts: [Part; PARTS],
    newest: usize,
}

impl GiveUp {
    /// Time went by, and at its end a collection retained a number of bytes: live ones, and those allocated
    /// while it marked. Returns whether the limit is exceeded for all practical purposes; then the window
    /// starts anew.
    pub fn observe(
        &mut self,
        config: &PacerConfig,
        elapsed: f64,
        collector: f64,
        mutators: f64,
        retained: f64,
    ) -> bool {
        let part = &mut self.parts[self.newest];
        part.elapsed += amount(elapsed);
        part.collector += amount(collector);
        part.mutators += amount(mutators);
        let add = |a: f64, b: f64| a + b;
        let sum = |of: fn(&Part) -> f64| self.parts.iter().map(of).fold(0.0, add);
        let (elapsed, collector) = (sum(|part| part.elapsed), sum(|part| part.collector));
        let share = collector / (collector + sum(|part| part.mutators)).max(1.0);
        let exceeded = elapsed >= WINDOW_NS * (PARTS - 1) as f64 / PARTS as f64
            && share > config.gc_cpu_cap
            && retained > FULL * config.hard_limit;
        if exceeded {
            *self = GiveUp::default();
        } else if self.parts[self.newest].elapsed >= WINDOW_NS / PARTS as f64 {
            self.newest = (self.newest + 1) % PARTS;
            self.parts[self.newest] = Part::default();
        }
        exceeded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(cycles: usize, share: f64, live: f64) -> Option<usize> {
        let config = PacerConfig { hard_limit: 100e6, ..PacerConfig::default() };
        let mut rule = GiveUp::default();
        (0..cycles).find(|_| rule.observe(&config, 10e6, share * 20e6, (1.0 - share) * 20e6, live))
    }

    #[test]
    fn a_heap_that_is_full_and_always_collected_is_given_up_after_two_seconds() {
        let cycle = after(1000, 0.6, 96e6).expect("nothing but collections");
        assert!((170..=200).contains(&cycle), "{cycle}");
    }

    #[test]
    fn a_busy_collector_alone_or_a_full_heap_alone_is_no_reason() {
        assert_eq!(after(1000, 0.9, 90e6), None);
        assert_eq!(after(1000, 0.4, 99e6), None);
    }

    #[test]
    fn what_was_long_ago_does_not_count() {
        let config = PacerConfig { hard_limit: 100e6, ..PacerConfig::default() };
        let mut rule = GiveUp::default();
        assert!(!(0..80).any(|_| rule.observe(&config, 10e6, 20e6, 0.0, 99e6)));
        assert!(!(0..300).any(|_| rule.observe(&config, 10e6, 0.0, 20e6, 99e6)));
        assert!(!(0..80).any(|_| rule.observe(&config, 10e6, 20e6, 0.0, 99e6)));
    }
}
