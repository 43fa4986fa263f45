//! The machine that figures were measured on, and the day.

use std::fs;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::process::Usage;

/// What a figure depends on besides the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Model of the processor.
    pub processor: String,
    /// Processors that this process may use.
    pub processors: usize,
    /// Memory, as the kernel says it.
    pub memory: String,
    /// Release of the kernel.
    pub kernel: String,
}

impl Machine {
    /// This machine. What it does not tell is "unknown".
    pub fn here() -> Machine {
        let value_of = |file: &str, key: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(key))?.to_owned();
            Some(line.split(':').nth(1)?.trim().to_owned())
        };
        let or_unknown = |value: Option<String>| value.unwrap_or_else(|| "unknown".to_owned());
        Machine {
            processor: or_unknown(value_of("/proc/cpuinfo", "model name")),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            memory: or_unknown(value_of("/proc/meminfo", "MemTotal")),
            kernel: or_unknown(
                fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| text.trim().to_owned()),
            ),
        }
    }
}

/// How many threads of others run or want to run, averaged over a fifth of a second. 0 where the system does
/// not say. Not the load of the last minute, which has this program's own earlier runs in it.
pub fn others_running() -> f64 {
    const LOOKS: u32 = 10;
    let running = || {
        let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let running = text.split(' ').nth(3).and_then(|field| field.split('/').next()?.parse::<u32>().ok());
        std::thread::sleep(Duration::from_millis(20));
        // This thread is one of them.
        running.unwrap_or(1).saturating_sub(1)
    };
    f64::from((0..LOOKS).map(|_| running()).sum::<u32>()) / f64::from(LOOKS)
}

/// Watches what other programs take of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Others {
    start: Instant,
    /// Seconds of processors, of all programs and of ours, when the watch began.
    all: f64,
    ours: f64,
}

impl Others {
    /// Begins to watch. `None` where the system does not say what its processors do.
    pub fn watch() -> Option<Others> {
        Some(Others { start: Instant::now(), all: busy_seconds()?, ours: our_seconds() })
    }

    /// How many processors others used since then, on average. Ours are this process and its children that
    /// ended: read it when none runs.
    pub fn processors(&self) -> Option<f64> {
        let (all, ours) = (busy_seconds()? - self.all, our_seconds() - self.ours);
        Some(used_by_others(all, ours, self.start.elapsed().as_secs_f64()))
    }
}

/// Processors that others used in `wall` seconds in which all programs took `all` and ours `ours`. The
/// machine's clock ticks, so next to nothing may come out negative.
fn used_by_others(all: f64, ours: f64, wall: f64) -> f64 {
    ((all - ours) / wall.max(1e-3)).max(0.0)
}

/// Seconds that the processors of the machine have worked since it started: all states of `/proc/stat` but
/// idle and waiting for devices (proc_stat(5)).
fn busy_seconds() -> Option<f64> {
    // SAFETY: `sysconf` takes any number.
    let ticks_a_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    Some(busy_ticks(&fs::read_to_string("/proc/stat").ok()?)? / ticks_a_second)
}

fn busy_ticks(stat: &str) -> Option<f64> {
    let ticks: Vec<f64> =
        stat.lines().next()?.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _waiting, interrupts, soft_interrupts, ..] = ticks[..] else { return None };
    Some(user + nice + system + interrupts + soft_interrupts)
}

/// Processor seconds of this process and of its children that ended.
fn our_seconds() -> f64 {
    let seconds = |usage: Usage| (usage.user_ms + usage.sys_ms) / 1e3;
    seconds(Usage::now()) + seconds(Usage::of_children())
}

/// The day in universal time, `2026-11-30`.
pub fn today() -> String {
    // SAFETY: both calls write only the values that they are given; null asks `time` for its result alone.
    let day = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut day: libc::tm = std::mem::zeroed();
        libc::gmtime_r(&now, &mut day);
        day
    };
    format!("{:04}-{:02}-{:02}", day.tm_year + 1900, day.tm_mon + 1, day.tm_mday)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_program_does_is_not_counted_as_others() {
        assert_eq!(used_by_others(10.0, 4.0, 4.0), 1.5);
        assert_eq!(used_by_others(3.99, 4.0, 4.0), 0.0);
        let before = our_seconds();
        let mut sum = 0u64;
        while our_seconds() == before {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(1));
        }
        assert!(Others::watch().is_some_and(|others| others.ours > before && others.processors().is_some()));
    }

    #[test]
    fn processors_that_idle_or_wait_for_devices_are_not_busy() {
        let stat = "cpu  100 20 3 4000 500 6 7 80 9 0\ncpu0 1 1 1 1 1 1 1 0 0 0\n";
        assert_eq!(busy_ticks(stat), Some(136.0));
        assert_eq!(busy_ticks("cpu 1 2\n"), None);
        assert_eq!(busy_ticks(""), None);
    }

    #[test]
    fn this_machine_has_a_processor_and_the_day_is_of_this_century() {
        assert!(Machine::here().processors > 0);
        let today = today();
        assert!(today.len() == 10 && today.starts_with("20") && today[4..5] == *"-", "{today}");
    }
}
