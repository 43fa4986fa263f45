//! Defaults that the machine decides.

use std::path::Path;

use super::bytes::{MIB, TIB};
use crate::machine::Machine;

/// Most GC workers that `gc.workers` allows: beyond this, stealing costs more than it brings.
pub(super) const WORKERS_MAX: usize = 256;

/// When no source tells anything, as on a system without `/proc`.
const MEMORY_UNKNOWN_BYTES: u64 = 1 << 30;

/// Half of the memory, in whole MiB: the other half is for the VM, its native memory, and the page cache.
pub(super) fn default_heap_bytes() -> usize {
    half_in_range(Machine::memory_bytes(Path::new("/")).unwrap_or(MEMORY_UNKNOWN_BYTES))
}

/// The processors that affinity and cgroup quota grant.
pub(super) fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().min(WORKERS_MAX))
}

fn half_in_range(bytes: u64) -> usize {
    let half = usize::try_from(bytes / 2).unwrap_or(usize::MAX);
    (half / MIB * MIB).clamp(MIB, TIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_half_in_whole_mib_within_the_range_of_the_option() {
        assert_eq!(half_in_range(16 << 30), 8 << 30);
        assert_eq!(half_in_range((4 << 20) + 4098), 2 << 20);
        assert_eq!(half_in_range(1000), MIB);
        assert_eq!(half_in_range(u64::MAX), TIB);
    }

    #[test]
    fn this_machine_grants_something() {
        assert!((MIB..=TIB).contains(&default_heap_bytes()));
        assert!((1..=WORKERS_MAX).contains(&default_workers()));
    }
}
