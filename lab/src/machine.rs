//! The machine that figures were measured on, and the day.

use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};

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
    fn this_machine_has_a_processor_and_the_day_is_of_this_century() {
        assert!(Machine::here().processors > 0);
        let today = today();
        assert!(today.len() == 10 && today.starts_with("20") && today[4..5] == *"-", "{today}");
    }
}
