//! What the machine and its cgroups grant this process, and how scarce memory is there, as the kernel reports
//! it.

mod memory;
mod pressure;
#[cfg(test)]
pub(crate) mod root;

use protocols::sync::Mutex;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Files are not read more often.
const INTERVAL: Duration = Duration::from_secs(1);

/// What was read.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(crate) struct Grants {
    /// Bytes of memory that this process may use; infinite if that is not known.
    pub memory: f64,
    /// How scarce it is, between 0 and 1.
    pub pressure: f64,
}

/// The machine, looked at now and then. From any thread.
pub(crate) struct Machine {
    root: PathBuf,
    pressure: Option<PathBuf>,
    last: Mutex<Option<(Instant, Grants)>>,
}

impl Machine {
    /// With the files below `root`, which tests replace.
    pub fn new(root: &Path) -> Machine {
        Machine { root: root.to_owned(), pressure: pressure::pressure_file(root), last: Mutex::default() }
    }

    /// Bytes of memory that this process may use, by the files below `root`.
    pub fn memory_bytes(root: &Path) -> Option<u64> {
        memory::memory_bytes(root)
    }

    /// What was read last, whenever that was. It neither reads files nor takes memory: for pauses.
    pub fn known(&self) -> Grants {
        self.last.lock().map_or(Grants { memory: f64::INFINITY, pressure: 0.0 }, |(_, grants)| grants)
    }

    /// At most a second old.
    pub fn now(&self) -> Grants {
        self.at(Instant::now())
    }

    /// Forgets what was read.
    #[cfg(test)]
    pub fn forget(&self) {
        *self.last.lock() = None;
    }

    fn at(&self, now: Instant) -> Grants {
        let last = *self.last.lock();
        if let Some((when, grants)) = last
            && now.saturating_duration_since(when) < INTERVAL
        {
            return grants;
        }
        // Without the lock, which `known` takes in pauses.
        let memory = Machine::memory_bytes(&self.root).map_or(f64::INFINITY, |bytes| bytes as f64);
        let grants = Grants { memory, pressure: self.pressure.as_deref().map_or(0.0, pressure::pressure) };
        *self.last.lock() = Some((now, grants));
        grants
    }
}

#[cfg(test)]
mod tests {
    use super::root::Root;
    use super::*;

    #[test]
    fn a_limit_that_changes_is_followed_but_not_read_all_the_time() {
        let group = ("proc/self/cgroup", "0::/\n");
        let limit = |bytes| ("sys/fs/cgroup/memory.max", bytes);
        let root = Root::new("changes", &[group, limit("1000000\n")]);
        let (machine, start) = (Machine::new(root.path()), Instant::now());
        let granted = |ms| machine.at(start + Duration::from_millis(ms)).memory;
        assert_eq!(granted(0), 1e6);
        root.write(&[limit("500000\n")]);
        assert_eq!(granted(900), 1e6);
        assert_eq!(granted(1100), 5e5);
        root.write(&[limit("max\n")]);
        assert_eq!(granted(2200), f64::INFINITY);
    }
}
