//! A thread that works for a part of the time.
//!
//! Each ns gives it that part of a ns to work, and it works while it has any. What it does not use is lost
//! after a tick: a thread that had no processor for a while does not make up for it. A thread that has worked
//! for longer than it had rests until it is even, but looks each tick whether its part has changed.
//!
//! Callers: the background thread. Time is that of the clock on the wall, work is processor time: a thread
//! that waits for a processor does not work.

use std::time::Duration;

/// What one thread may still work.
#[derive(Copy, Clone, Default, Debug)]
pub(crate) struct Duty {
    /// In ns; negative if it has worked for longer than it may.
    left_ns: f64,
    /// When that was, in ns.
    at_ns: u64,
}

impl Duty {
    /// It has worked for so long.
    pub fn worked(&mut self, cpu_ns: u64) {
        self.left_ns -= cpu_ns as f64;
    }

    /// How long to rest from `at_ns` on, at most a tick; none if it may work, for `part` of the time.
    pub fn rest(&mut self, at_ns: u64, part: f64, tick_ns: u64) -> Option<Duration> {
        let since = at_ns.saturating_sub(self.at_ns) as f64;
        self.at_ns = at_ns;
        if part >= 1.0 {
            self.left_ns = 0.0;
            return None;
        }
        self.left_ns = (self.left_ns + since * part).min(part * tick_ns as f64);
        if self.left_ns >= 0.0 {
            return None;
        }
        let rest = (-self.left_ns / part).min(tick_ns as f64).max(1.0);
        Some(Duration::from_nanos(rest as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK_NS: u64 = 1_000_000;

    /// Processor time in ns that a thread has of `ticks` ticks with steps of `step_ns`.
    fn worked(part: f64, step_ns: u64, ticks: u64) -> u64 {
        let (mut duty, mut now, mut worked) = (Duty::default(), 0, 0);
        while now < ticks * TICK_NS {
            match duty.rest(now, part, TICK_NS) {
                Some(rest) => now += rest.as_nanos() as u64,
                None => {
                    duty.worked(step_ns);
                    worked += step_ns;
                    now += step_ns;
                }
            }
        }
        worked
    }

    #[test]
    fn a_thread_works_for_its_part_of_the_time() {
        for part in [0.01, 0.1, 0.5, 0.9] {
            for step_ns in [10_000, 100_000, 300_000] {
                let worked = worked(part, step_ns, 1000) as f64 / (1000 * TICK_NS) as f64;
                assert!((worked - part).abs() < 0.01, "{part} in steps of {step_ns} ns: {worked}");
            }
        }
        assert_eq!(worked(1.0, 100_000, 1000), 1000 * TICK_NS);
    }

    #[test]
    fn a_thread_that_had_no_processor_does_not_make_up_for_it() {
        let mut duty = Duty::default();
        assert_eq!(duty.rest(100 * TICK_NS, 0.5, TICK_NS), None);
        duty.worked(TICK_NS / 2);
        assert_eq!(duty.rest(100 * TICK_NS, 0.5, TICK_NS), None);
        duty.worked(TICK_NS / 4);
        assert_eq!(duty.rest(100 * TICK_NS, 0.5, TICK_NS), Some(Duration::from_nanos(TICK_NS / 2)));
    }

    #[test]
    fn a_thread_that_rests_follows_a_part_that_has_changed() {
        let mut duty = Duty::default();
        duty.worked(TICK_NS);
        assert_eq!(duty.rest(0, 0.01, TICK_NS), Some(Duration::from_nanos(TICK_NS)));
        assert_eq!(duty.rest(TICK_NS, 1.0, TICK_NS), None);
    }
}
