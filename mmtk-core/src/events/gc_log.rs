//! The log of collections: a line about each pause, for eyes and for `grep` (option `log.gc`).
//!
//! ```text
//! [gc 7] 0.812 s ConcurrentImmix begin growth: 301.2 MB of 402.0 MB reserved, goal 350.1 MB, pause 0.09 ms (stop 0.03)
//! [gc 7] 0.845 s ConcurrentImmix end growth: 348.8 -> 121.0 MB of 402.0 MB, goal 350.1 -> 340.0 MB, live 90.1 MB, pause 0.12 ms (stop 0.02), marked for 32.9 ms (97 % beside, cpu 31.0 ms, mutators 0.4)
//! ```

use super::event::{Event, PauseReport, PauseStep};
use super::listeners::Listener;
use std::fmt;

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
            eprintln!("{}", GcLine { plan: self.plan, goal_before: self.goal_bytes, pause });
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
