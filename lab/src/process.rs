//! What the system says about this process: time, faults, switches, resident memory.

/// Counters since the process started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User time in milliseconds.
    pub user_ms: f64,
    /// System time in milliseconds.
    pub sys_ms: f64,
    /// Page faults served without I/O.
    pub minflt: i64,
    /// Voluntary context switches.
    pub nvcsw: i64,
    /// Involuntary context switches.
    pub nivcsw: i64,
}

impl Usage {
    /// The counters now.
    pub fn now() -> Self {
        Self::of(libc::RUSAGE_SELF)
    }

    /// The counters of all children that ended and were waited for.
    pub fn of_children() -> Self {
        Self::of(libc::RUSAGE_CHILDREN)
    }

    fn of(whom: libc::c_int) -> Self {
        let mut raw = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: `getrusage` fills in the struct it is given; all zeroes is a valid `rusage` too.
        let raw = unsafe {
            libc::getrusage(whom, raw.as_mut_ptr());
            raw.assume_init()
        };
        let ms = |t: libc::timeval| t.tv_sec as f64 * 1e3 + t.tv_usec as f64 / 1e3;
        Self {
            user_ms: ms(raw.ru_utime),
            sys_ms: ms(raw.ru_stime),
            minflt: raw.ru_minflt,
            nvcsw: raw.ru_nvcsw,
            nivcsw: raw.ru_nivcsw,
        }
    }

    /// What was added since an earlier reading.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user_ms: self.user_ms - earlier.user_ms,
            sys_ms: self.sys_ms - earlier.sys_ms,
            minflt: self.minflt - earlier.minflt,
            nvcsw: self.nvcsw - earlier.nvcsw,
            nivcsw: self.nivcsw - earlier.nivcsw,
        }
    }
}

/// The largest resident size since [`reset_peak_resident`], in bytes; 0 where the system does not tell.
pub fn peak_resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// Starts the peak of the resident size anew.
pub fn reset_peak_resident() {
    // Where this is refused the peak is that of the process, which is still an upper bound.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
