//! Cheap timestamps for the latency of one request: a clock read costs as much as a short request.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A timestamp in ticks.
#[inline(always)]
pub fn now() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has the instruction, and it has no effect but its result.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

/// Ticks per microsecond, measured once over 30 ms.
pub fn per_us() -> f64 {
    static RATE: OnceLock<f64> = OnceLock::new();
    *RATE.get_or_init(|| {
        let (ticks, clock) = (now(), Instant::now());
        while clock.elapsed() < Duration::from_millis(30) {}
        (now() - ticks) as f64 / (clock.elapsed().as_nanos() as f64 / 1e3)
    })
}
