//! Memory pressure, as the kernel reports it: the share of time in which some task waited for memory (PSI).
//!
//! It is that of our own cgroup where that is known (v2), else of the machine. If it cannot be read, there is
//! no pressure.

use std::fs;
use std::path::{Path, PathBuf};

/// Per cent of the last ten seconds in which some task waited: no pressure up to the first, full pressure
/// from the second on.
const NONE: f64 = 5.0;
const FULL: f64 = 25.0;

/// The file that tells, of those below `root`.
pub(super) fn pressure_file(root: &Path) -> Option<PathBuf> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let mount = root.join("sys/fs/cgroup");
    let of_group = own.map(|path| if path.contains("..") { mount.clone() } else { mount.join(path) });
    let files = of_group.map(|group| group.join("memory.pressure")).into_iter();
    files.chain([root.join("proc/pressure/memory")]).find(|file| file.exists())
}

/// Between 0 and 1.
pub(super) fn pressure(file: &Path) -> f64 {
    fs::read_to_string(file).ok().and_then(|text| parse(&text)).unwrap_or(0.0)
}

/// `some avg10=12.34 avg60=... ` -> between 0 and 1.
fn parse(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some avg10="))?;
    let waited: f64 = line.split(' ').next()?.parse().ok()?;
    Some(((waited - NONE) / (FULL - NONE)).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::super::root::Root;
    use super::pressure_file;

    fn pressure(name: &str, files: &[(&str, &str)]) -> f64 {
        let root = Root::new(name, files);
        pressure_file(root.path()).map_or(0.0, |file| super::pressure(&file))
    }

    fn psi(waited: &str) -> String {
        format!("some avg10={waited} avg60=1.00 avg300=0.00 total=1\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=0\n")
    }

    #[test]
    fn our_own_group_decides_where_it_is_known() {
        let files = [
            ("proc/self/cgroup", "4:memory:/x\n0::/job\n"),
            ("sys/fs/cgroup/job/memory.pressure", &psi("15.00")),
            ("proc/pressure/memory", &psi("99.00")),
        ];
        assert_eq!(pressure("group", &files), 0.5);
        assert_eq!(pressure("machine", &files[2..]), 1.0);
    }

    #[test]
    fn what_cannot_be_read_is_no_pressure() {
        assert_eq!(pressure("nothing", &[("proc/empty", "")]), 0.0);
        assert_eq!(pressure("garbage", &[("proc/pressure/memory", "what?\n")]), 0.0);
        assert_eq!(pressure("little", &[("proc/pressure/memory", &psi("4.99"))]), 0.0);
    }
}
