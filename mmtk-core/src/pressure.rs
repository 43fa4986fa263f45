//! Memory pressure, as the kernel tells: how much of the time somebody had to wait for memory (PSI).
//!
//! Of our own cgroup where it is known (v2), else of the machine. What cannot be read is no pressure.
//! Callers: leaders, after full collections.

use crate::sync::Mutex;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file is not read more often.
const INTERVAL: Duration = Duration::from_secs(1);
/// Per cent of the last ten seconds in which some task waited: no pressure up to the first, full pressure from the second on.
const NONE: f64 = 5.0;
const FULL: f64 = 25.0;

/// The pressure, read now and then.
pub(crate) struct Pressure {
    file: Option<PathBuf>,
    last: Mutex<Option<(Instant, f64)>>,
}

impl Pressure {
    /// Of this process, with the files below `root`, which tests replace.
    pub fn new(root: &Path) -> Pressure {
        let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
        let mount = root.join("sys/fs/cgroup");
        let of_group = own.map(|path| if path.contains("..") { mount.clone() } else { mount.join(path) });
        let files = of_group.map(|group| group.join("memory.pressure")).into_iter();
        let file = files.chain([root.join("proc/pressure/memory")]).find(|file| file.exists());
        Pressure { file, last: Mutex::default() }
    }

    /// Between 0 and 1. At most a second old.
    pub fn now(&self) -> f64 {
        let Some(file) = &self.file else { return 0.0 };
        let mut last = self.last.lock();
        match *last {
            Some((when, pressure)) if when.elapsed() < INTERVAL => pressure,
            _ => {
                let pressure = fs::read_to_string(file).ok().and_then(|text| parse(&text)).unwrap_or(0.0);
                *last = Some((Instant::now(), pressure));
                pressure
            }
        }
    }
}

/// `some avg10=12.34 avg60=... ` -> between 0 and 1.
fn parse(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some avg10="))?;
    let waited: f64 = line.split(' ').next()?.parse().ok()?;
    Some(((waited - NONE) / (FULL - NONE)).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressure(name: &str, files: &[(&str, &str)]) -> f64 {
        let root = std::env::temp_dir().join(format!("mmtk-pressure-{}-{name}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let pressure = Pressure::new(&root).now();
        fs::remove_dir_all(&root).ok();
        pressure
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
