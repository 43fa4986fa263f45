//! How long mutators were held up in an iteration, in numbers: a pause is not all that a program waits for.

use std::time::Instant;

use crate::record::{HeldUp, round};
use crate::report::HoldUps;
use crate::stats::percentile;
use workloads::heap;

/// The numbers of these hold-ups, of an iteration that began at `start` and took `wall_ms`.
pub fn of(held: &[heap::HeldUp], start: Instant, wall_ms: f64) -> HeldUp {
    let ms = |ns: u64| ns as f64 / 1e6;
    let mut lengths: Vec<f64> = held.iter().map(|held| ms(held.length_ns)).collect();
    lengths.sort_by(f64::total_cmp);
    let at = |held: &heap::HeldUp| {
        (held.thread, held.start.saturating_duration_since(start).as_nanos() as u64, held.length_ns)
    };
    let threads = HoldUps::of(held.iter().map(at));
    let mutators_part = |window_ms: u64| round(threads.utilisation(window_ms * 1_000_000, (wall_ms * 1e6) as u64));
    HeldUp {
        times: held.len() as u64,
        total_ms: round(lengths.iter().sum()),
        p50_ms: percentile(&lengths, 0.5),
        p99_ms: percentile(&lengths, 0.99),
        p999_ms: percentile(&lengths, 0.999),
        max_ms: percentile(&lengths, 1.0),
        mmu_1ms: mutators_part(1),
        mmu_10ms: mutators_part(10),
        mmu_100ms: mutators_part(100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_part_of_a_window_is_that_of_the_thread_that_fared_worst() {
        let start = Instant::now();
        let held = |thread, at_ms, length_ms: u64| heap::HeldUp {
            thread,
            start: start + Duration::from_millis(at_ms),
            length_ns: length_ms * 1_000_000,
        };
        // Two threads are held up at once: no thread loses more than 4 of 10 ms.
        let all = [held(1, 10, 3), held(2, 10, 3), held(2, 15, 1)];
        let found = of(&all, start, 200.0);
        assert_eq!((found.times, found.total_ms, found.p50_ms, found.max_ms), (3, 7.0, 3.0, 3.0));
        assert_eq!((found.mmu_1ms, found.mmu_10ms, found.mmu_100ms), (0.0, 0.6, 0.96));
        assert_eq!(of(&[], start, 200.0), HeldUp { mmu_1ms: 1.0, mmu_10ms: 1.0, mmu_100ms: 1.0, ..HeldUp::default() });
    }
}
