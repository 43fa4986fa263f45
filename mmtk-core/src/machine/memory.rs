//! How much memory there is for this process.
//!
//! The smallest of these: physical memory; the limit of each cgroup (v2 and v1) from our own up to the root;
//! the limit of the process's address space. An ancestor may be tighter than our own group. In a container
//! the path in `/proc/self/cgroup` may be the host's and not exist here; the walk up then ends at the mount
//! point, which is the container's own group. A limit that cannot be read does not count: a default must not
//! fail.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of memory that this process may use, seen from `root`, which tests replace.
pub(super) fn memory_bytes(root: &Path) -> Option<u64> {
    let physical = fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| mem_total(&text));
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|line| limit_of_group(&root.join("sys/fs/cgroup"), line));
    let limits_of_process = fs::read_to_string(root.join("proc/self/limits")).unwrap_or_default();
    limits.chain(physical).chain(address_space(&limits_of_process)).min()
}

/// `Max address space         268435456            unlimited            bytes` -> bytes.
fn address_space(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// `MemTotal:  16384 kB` -> bytes.
fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The tightest limit on the way from the group of one `/proc/self/cgroup` line to the root of its hierarchy.
fn limit_of_group(mount: &Path, line: &str) -> Option<u64> {
    // hierarchy-id:controllers:path, where v2 is hierarchy 0 without controllers.
    let mut fields = line.splitn(3, ':');
    let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let (mount, file) = if id == "0" && controllers.is_empty() {
        (mount.to_path_buf(), "memory.max")
    } else if controllers.split(',').any(|name| name == "memory") {
        (mount.join("memory"), "memory.limit_in_bytes")
    } else {
        return None;
    };
    // A group outside of our cgroup namespace is shown as `/../..`: only the mount point can be trusted.
    let path = if path.contains("..") { "" } else { path.trim_start_matches('/') };
    let own: PathBuf = mount.join(path);
    let to_root = own.ancestors().take_while(|group| group.starts_with(&mount));
    // "max" does not parse, which is no limit; v1 prints a number near 2^63 for it, which loses against
    // physical memory.
    to_root.filter_map(|group| fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::super::root::Root;

    fn memory(root: &Root) -> Option<u64> {
        super::memory_bytes(root.path())
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:       16777216 kB\nMemFree:  1 kB\n");

    #[test]
    fn without_cgroups_physical_memory_decides() {
        assert_eq!(memory(&Root::new("plain", &[MEMINFO])), Some(16 << 30));
        assert_eq!(memory(&Root::new("nothing", &[("proc/empty", "")])), None);
    }

    #[test]
    fn the_address_space_of_the_process_is_a_limit_too() {
        let limits =
            |soft| format!("Limit   Soft Limit   Hard Limit   Units\nMax address space   {soft}   unlimited   bytes\n");
        let root = Root::new("ulimit", &[MEMINFO, ("proc/self/limits", &limits("268435456"))]);
        assert_eq!(memory(&root), Some(256 << 20));
        let root = Root::new("no-ulimit", &[MEMINFO, ("proc/self/limits", &limits("unlimited"))]);
        assert_eq!(memory(&root), Some(16 << 30));
    }

    #[test]
    fn the_tightest_ancestor_decides() {
        let root = Root::new(
            "v2",
            &[
                MEMINFO,
                ("proc/self/cgroup", "0::/user/job\n"),
                ("sys/fs/cgroup/user/memory.max", "1073741824\n"),
                ("sys/fs/cgroup/user/job/memory.max", "max\n"),
            ],
        );
        assert_eq!(memory(&root), Some(1 << 30));
    }

    #[test]
    fn a_path_of_the_host_falls_back_to_the_mount_point() {
        for (name, line) in [("host", "0::/docker/0123\n"), ("outside", "0::/../..\n")] {
            let root =
                Root::new(name, &[MEMINFO, ("proc/self/cgroup", line), ("sys/fs/cgroup/memory.max", "536870912\n")]);
            assert_eq!(memory(&root), Some(512 << 20), "{name}");
        }
    }

    #[test]
    fn the_memory_controller_of_version_one_counts() {
        let groups = "4:memory:/job\n3:cpu,cpuacct:/x\n0::/\n";
        let limit = "sys/fs/cgroup/memory/job/memory.limit_in_bytes";
        let root = Root::new("v1", &[MEMINFO, ("proc/self/cgroup", groups), (limit, "2147483648\n")]);
        assert_eq!(memory(&root), Some(2 << 30));
        let root = Root::new("v1-max", &[MEMINFO, ("proc/self/cgroup", groups), (limit, "9223372036854771712\n")]);
        assert_eq!(memory(&root), Some(16 << 30));
    }
}
