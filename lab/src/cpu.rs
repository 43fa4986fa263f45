//! CPU clocks of the process and of single threads, in nanoseconds.

/// The CPU clock of one thread of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadClock(libc::clockid_t);

impl ThreadClock {
    /// The clock of the calling thread, readable by every thread while that one lives.
    pub fn current() -> Self {
        // SAFETY: takes nothing, returns a number, cannot fail.
        Self::of(unsafe { libc::gettid() })
    }

    /// The clock of the thread with this id.
    pub fn of(tid: libc::pid_t) -> Self {
        // The kernel's encoding, as in glibc's `pthread_getcpuclockid`: ~tid, CPUCLOCK_PERTHREAD_MASK,
        // CPUCLOCK_SCHED.
        Self((!tid << 3) | 4 | 2)
    }

    /// CPU time that the thread has used; 0 once it has ended.
    pub fn read_ns(self) -> u64 {
        read_ns(self.0)
    }
}

/// CPU time of the calling thread.
pub fn thread_ns() -> u64 {
    read_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of all threads of the process, those that ended included.
pub fn process_ns() -> u64 {
    read_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn read_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec, ours. A clock that is gone is an error and leaves it at 0.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_clock_read_from_elsewhere_agrees_with_the_thread() {
        let clock = ThreadClock::current();
        while thread_ns() < 2_000_000 {}
        let elsewhere = std::thread::spawn(move || clock.read_ns()).join().unwrap();
        assert!((2_000_000..=thread_ns()).contains(&elsewhere));
        assert!(process_ns() >= thread_ns());
    }
}
