//! The log of collections: a line about each pause, for eyes and for `grep` (option `log.gc`). A collection
//! that marks beside mutators has two; the line about its second pause has all that the collection took.
//!
//! ```text
//! [gc 7] 0.812 s ConcurrentImmix begin growth: 301.2 MB of 402.0 MB reserved, goal 350.1 MB,
//!        pause 0.09 ms (stop 0.03)
//! [gc 7] 0.845 s ConcurrentImmix end growth: 348.8 -> 121.0 MB of 402.0 MB, goal 350.1 -> 340.0 MB,
//!        live 90.1 MB, pauses 0.09 + 0.12 ms (stop 0.02), marked for 32.9 ms (97 % beside, cpu 31.0 ms,
//!        0.4 of mutators: 47 % of 2 workers), mutators marked for 0.40 ms in 12 steps of at most 0.06 ms,
//!        swept for 0.20 ms, waited for 0.10 ms
//! ```
//! Here each line is broken; in the log it is one. What mutators did not do is left out.

use super::event::{Event, MarkingReport, PauseReport, PauseStep};
use super::held_up::HeldUp;
use super::listeners::Listener;
use std::fmt;
use std::io::{self, Write};

/// Writes the log of one heap to standard error.
pub struct GcLog {
    plan: &'static str,
    /// As many as may work in a pause.
    workers: usize,
    goal_bytes: usize,
    /// The last pause.
    last_ns: u64,
    since: SinceLastPause,
}

/// What mutators did for the collector since the last pause, by wall clock.
#[derive(Copy, Clone, Default)]
struct SinceLastPause {
    assists: u64,
    assist_ns_max: u64,
    assist_ns: u64,
    sweep_ns: u64,
    wait_ns: u64,
}

impl SinceLastPause {
    fn add(&mut self, held: &HeldUp) {
        self.assists += u64::from(held.assist_ns > 0);
        self.assist_ns_max = self.assist_ns_max.max(held.assist_ns);
        self.assist_ns += held.assist_ns;
        self.sweep_ns += held.sweep_ns;
        self.wait_ns += held.wait_ns;
    }
}

impl GcLog {
    /// Of a heap with this plan and as many GC workers.
    pub fn new(plan: &'static str, workers: usize) -> GcLog {
        GcLog { plan, workers, goal_bytes: 0, last_ns: 0, since: SinceLastPause::default() }
    }

    /// The line about this pause, which is the next.
    fn line(&mut self, pause: &PauseReport) -> String {
        let line = GcLine { log: self, pause }.to_string();
        self.goal_bytes = pause.goal_bytes;
        self.last_ns = pause.duration_ns;
        self.since = SinceLastPause::default();
        line
    }
}

impl Listener for GcLog {
    fn on_event(&mut self, event: &Event) {
        match event {
            Event::HeldUp(held) => self.since.add(held),
            Event::Pause(pause) => {
                let line = self.line(pause);
                // A program may have closed standard error, and a listener does not panic.
                let _ = writeln!(io::stderr().lock(), "{line}");
            }
            _ => (),
        }
    }
}

/// The line about one pause.
struct GcLine<'a> {
    log: &'a GcLog,
    pause: &'a PauseReport,
}

fn mb(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

impl fmt::Display for GcLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PauseReport { sequence, cause, kind, step, emergency, .. } = self.pause;
        let p = self.pause;
        let what = match step {
            PauseStep::Whole => kind.name(),
            PauseStep::Begin | PauseStep::End => step.name(),
        };
        write!(f, "[gc {sequence}] {:.3} s {} {what} {cause}", p.end_ns() as f64 / 1e9, self.log.plan)?;
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
                mb(self.log.goal_bytes),
                mb(p.goal_bytes),
                mb(p.live_bytes)
            )?,
        }
        match step {
            PauseStep::End => write!(f, ", pauses {:.2} + {:.2} ms", ms(self.log.last_ns), ms(p.duration_ns))?,
            PauseStep::Whole | PauseStep::Begin => write!(f, ", pause {:.2} ms", ms(p.duration_ns))?,
        }
        write!(f, " (stop {:.2})", ms(p.time_to_safepoint_ns))?;
        if let Some(marking) = &p.marking {
            self.marking(f, marking)?;
        }
        self.mutators(f)
    }
}

impl GcLine<'_> {
    fn marking(&self, f: &mut fmt::Formatter<'_>, marking: &MarkingReport) -> fmt::Result {
        let percent = |part: f64, all: f64| part * 100.0 / all.max(1.0);
        let all_bytes = self.pause.live_bytes.max(marking.bytes_beside);
        let machine_ns = marking.duration_ns as f64 * self.log.workers as f64;
        write!(
            f,
            ", marked for {:.1} ms ({:.0} % beside, cpu {:.1} ms, {:.1} of mutators: {:.0} % of {} workers)",
            ms(marking.duration_ns),
            percent(marking.bytes_beside as f64, all_bytes as f64),
            ms(marking.cpu_ns),
            ms(marking.helped_cpu_ns),
            percent(marking.cpu_ns as f64, machine_ns),
            self.log.workers
        )
    }

    /// What they did since the last pause.
    fn mutators(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SinceLastPause { assists, assist_ns_max, assist_ns, sweep_ns, wait_ns } = self.log.since;
        let mut before = ", mutators";
        if assists > 0 {
            let (all, most) = (ms(assist_ns), ms(assist_ns_max));
            write!(f, "{before} marked for {all:.2} ms in {assists} steps of at most {most:.2} ms")?;
            before = ",";
        }
        for (what, ns) in [("swept", sweep_ns), ("waited", wait_ns)] {
            if ns > 0 {
                write!(f, "{before} {what} for {:.2} ms", ms(ns))?;
                before = ",";
            }
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
            entries_beside: 0,
            entries_in_pause: 0,
            allocated_bytes: 7 * MB,
            barrier_calls: 0,
            ticks: 31,
            rested_ns: 0,
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

    fn log() -> GcLog {
        GcLog { goal_bytes: 35 * MB, ..GcLog::new("Plan", 2) }
    }

    #[test]
    fn a_line_says_what_the_pause_did() {
        assert_eq!(
            log().line(&pause(PauseStep::Whole)),
            "[gc 7] 1.202 s Plan full growth: 30.0 -> 20.0 MB of 50.0 MB, goal 35.0 -> 40.0 MB, live 10.0 MB, pause 2.00 ms (stop 0.10)"
        );
        assert_eq!(
            log().line(&pause(PauseStep::Begin)),
            "[gc 7] 1.202 s Plan begin growth: 30.0 MB of 50.0 MB reserved, goal 40.0 MB, pause 2.00 ms (stop 0.10)"
        );
        let last = PauseReport { kind: CollectionKind::Minor, emergency: true, ..pause(PauseStep::Whole) };
        let line = log().line(&last);
        assert!(line.contains(" minor growth, the last attempt: "), "{line}");
    }

    #[test]
    fn the_line_of_the_second_pause_has_both_and_what_lay_between_them() {
        let mut log = log();
        let held = |assist_ns, sweep_ns, wait_ns| {
            Event::HeldUp(HeldUp { assist_ns, sweep_ns, wait_ns, pause_ns: MS, ..HeldUp::default() })
        };
        // Of the collection before.
        log.on_event(&held(MS, MS, MS));
        let begin = log.line(&PauseReport { duration_ns: MS, ..pause(PauseStep::Begin) });
        assert!(begin.ends_with(
            "mutators marked for 1.00 ms in 1 steps of at most 1.00 ms, swept for 1.00 ms, waited for 1.00 ms"
        ));
        log.on_event(&held(MS / 5, 0, 0));
        log.on_event(&held(MS / 10, 0, MS / 2));
        log.on_event(&held(0, 0, 0));
        assert_eq!(
            log.line(&pause(PauseStep::End)),
            "[gc 7] 1.202 s Plan end growth: 30.0 -> 20.0 MB of 50.0 MB, goal 40.0 -> 40.0 MB, live 10.0 MB, \
             pauses 1.00 + 2.00 ms (stop 0.10), marked for 32.0 ms (90 % beside, cpu 31.0 ms, 0.5 of mutators: 48 % of 2 workers), \
             mutators marked for 0.30 ms in 2 steps of at most 0.20 ms, waited for 0.50 ms"
        );
        let next = log.line(&pause(PauseStep::Whole));
        assert!(next.ends_with("(stop 0.10)"), "{next}");
    }
}
