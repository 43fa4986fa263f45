//! The log of collections: a line about each pause, for eyes and for `grep` (option `log.gc`).
//!
//! ```text
//! [gc 7] 0.812 s ConcurrentImmix begin growth: 301.2 MB of 402.0 MB reserved, goal 350.1 MB,
//!        pause 0.09 ms (stop 0.03)
//! [gc 7] 0.845 s ConcurrentImmix end growth: 348.8 -> 121.0 MB of 402.0 MB, goal 350.1 -> 340.0 MB, live 90.1 MB,
//!        pause 0.12 ms (stop 0.02), marked for 32.9 ms (97 % beside, cpu 31.0 ms, mutators 0.4)
//! ```
//! Here each line is broken; in the log it is one.

use super::event::{Event, PauseReport, PauseStep};
use super::listeners::Listener;
use std::fmt;
use std::io::{self, Write};

/// Writes the log of one heap to standard error.
pub struct GcLog {
    plan: &'static str,
    goal_bytes: usize,
}

impl GcLog {
    /// Of a heap with this plan.
    pub fn new(plan: &'static str) -> GcLog {
        GcLog { plan, goal_bytes: 0 }
    }
}

impl Listener for GcLog {
    fn on_event(&mut self, event: &Event) {
        if let Event::Pause(pause) = event {
            let line = GcLine { plan: self.plan, goal_before: self.goal_bytes, pause };
            // A program may have closed standard error, and a listener does not panic.
            let _ = writeln!(io::stderr().lock(), "{line}");
            self.goal_bytes = pause.goal_bytes;
        }
    }
}

/// The line about one pause.
struct GcLine<'a> {
    plan: &'static str,
    goal_before: usize,
    pause: &'a PauseReport,
}

impl fmt::Display for GcLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PauseReport { sequence, cause, kind, step, emergency, .. } = self.pause;
        let p = self.pause;
        let mb = |bytes: usize| bytes as f64 / 1e6;
        let ms = |ns: u64| ns as f64 / 1e6;
        let what = match step {
            PauseStep::Whole => kind.name(),
            PauseStep::Begin | PauseStep::End => step.name(),
        };
        write!(f, "[gc {sequence}] {:.3} s {} {what} {cause}", p.end_ns() as f64 / 1e9, self.plan)?;
        if *emergency {
            f.write_str(", the last attempt")?;
        }
        f.write_str(": ")?;
        match step {
            PauseStep::Begin => write!(
                f,
                "{:.1} MB of {:.1} MB reserved, goal {:.1} MB",
                mb(p.reserved_before_bytes),
                mb(p.limit_bytes),
                mb(p.goal_bytes)
            )?,
            PauseStep::Whole | PauseStep::End => write!(
                f,
                "{:.1} -> {:.1} MB of {:.1} MB, goal {:.1} -> {:.1} MB, live {:.1} MB",
                mb(p.reserved_before_bytes),
                mb(p.reserved_after_bytes),
                mb(p.limit_bytes),
                mb(self.goal_before),
                mb(p.goal_bytes),
                mb(p.live_bytes)
            )?,
        }
        write!(f, ", pause {:.2} ms (stop {:.2})", ms(p.duration_ns), ms(p.time_to_safepoint_ns))?;
        if let Some(marking) = &p.marking {
            write!(
                f,
                ", marked for {:.1} ms ({:.0} % beside, cpu {:.1} ms, mutators {:.1})",
                ms(marking.duration_ns),
                marking.bytes_beside as f64 * 100.0 / (p.live_bytes.max(marking.bytes_beside).max(1)) as f64,
                ms(marking.cpu_ns),
                ms(marking.helped_cpu_ns)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{Cause, CollectionKind, MarkingReport};
    use super::*;

    const MS: u64 = 1_000_000;
    const MB: usize = 1_000_000;

    fn pause(step: PauseStep) -> PauseReport {
        let marking = MarkingReport {
            duration_ns: 32 * MS,
            cpu_ns: 31 * MS,
            helped_cpu_ns: MS / 2,
            bytes_beside: 9 * MB,
            allocated_bytes: 7 * MB,
            barrier_calls: 0,
        };
        PauseReport {
            sequence: 7,
            cause: Cause::Growth,
            kind: CollectionKind::Full,
            step,
            start_ns: 1200 * MS,
            time_to_safepoint_ns: MS / 10,
            duration_ns: 2 * MS,
            cpu_ns: 0,
            worker_cpu_ns: Vec::new(),
            phases: Vec::new(),
            reserved_before_bytes: 30 * MB,
            reserved_after_bytes: 20 * MB,
            live_bytes: 10 * MB,
            goal_bytes: 40 * MB,
            resident_bytes: 0,
            limit_bytes: 50 * MB,
            allocated_bytes: 0,
            spaces: Vec::new(),
            defrag: false,
            emergency: false,
            marking: (step == PauseStep::End).then_some(marking),
        }
    }

    #[test]
    fn a_line_says_what_the_pause_did() {
        let line = |pause: &PauseReport| GcLine { plan: "Plan", goal_before: 35 * MB, pause }.to_string();
        assert_eq!(
            line(&pause(PauseStep::Whole)),
            "[gc 7] 1.202 s Plan full growth: 30.0 -> 20.0 MB of 50.0 MB, goal 35.0 -> 40.0 MB, live 10.0 MB, pause 2.00 ms (stop 0.10)"
        );
        assert_eq!(
            line(&pause(PauseStep::Begin)),
            "[gc 7] 1.202 s Plan begin growth: 30.0 MB of 50.0 MB reserved, goal 40.0 MB, pause 2.00 ms (stop 0.10)"
        );
        let end = line(&pause(PauseStep::End));
        assert!(end.starts_with("[gc 7] 1.202 s Plan end growth: 30.0 -> 20.0 MB"), "{end}");
        assert!(end.ends_with(", marked for 32.0 ms (90 % beside, cpu 31.0 ms, mutators 0.5)"), "{end}");
        let last = PauseReport { kind: CollectionKind::Minor, emergency: true, ..pause(PauseStep::Whole) };
        assert!(line(&last).contains(" minor growth, the last attempt: "), "{}", line(&last));
    }
}
