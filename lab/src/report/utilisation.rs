//! Minimum mutator utilisation: the least part of any window of a given length that mutators have.
//!
//! Source: Cheng and Blelloch, "A parallel, real-time garbage collector", PLDI 2001.

use std::collections::BTreeMap;

/// When each thread was held up.
pub struct HoldUps(BTreeMap<u32, Vec<(u64, u64)>>);

impl HoldUps {
    /// Of threads by a number, with begin and length in ns; those of one thread in order and apart.
    pub fn of(held_up: impl IntoIterator<Item = (u32, u64, u64)>) -> HoldUps {
        let mut threads: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
        for (thread, begin, length) in held_up {
            threads.entry(thread).or_default().push((begin, length));
        }
        HoldUps(threads)
    }

    /// The least part of a window of `window` ns, within a run of `end` ns, in which a thread was not held
    /// up: of the thread that fared worst.
    pub fn utilisation(&self, window: u64, end: u64) -> f64 {
        self.0.values().map(|held_up| minimum_utilisation(held_up, window, end)).fold(1.0, f64::min)
    }
}

/// The least part of a window of `window` ns, within a run of `end` ns, in which no pause was in progress.
/// Pauses are (begin, length) in ns, in order and apart.
fn minimum_utilisation(pauses: &[(u64, u64)], window: u64, end: u64) -> f64 {
    if window == 0 || window > end {
        return 1.0;
    }
    // The worst window begins where a pause begins, or ends where one ends.
    let begins = pauses.iter().map(|(begin, _)| *begin);
    let ends = pauses.iter().filter_map(|(begin, length)| (begin + length).checked_sub(window));
    let sums: Vec<u64> = std::iter::once(0)
        .chain(pauses.iter().scan(0, |sum, (_, length)| {
            *sum += length;
            Some(*sum)
        }))
        .collect();
    // Paused ns before a time.
    let before = |time: u64| {
        let index = pauses.partition_point(|(begin, _)| *begin < time);
        let within = index.checked_sub(1).map_or(0, |last| {
            let (begin, length) = pauses[last];
            length.saturating_sub(time - begin)
        });
        sums[index] - within
    };
    let worst = begins.chain(ends).map(|from| {
        let from = from.min(end - window);
        before(from + window) - before(from)
    });
    1.0 - worst.max().unwrap_or(0) as f64 / window as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_as_long_as_a_pause_leaves_nothing_and_the_whole_run_its_mean() {
        let pauses = [(10, 10), (50, 5), (56, 4)];
        assert_eq!(minimum_utilisation(&pauses, 10, 100), 0.0);
        assert_eq!(minimum_utilisation(&pauses, 100, 100), 0.81);
        assert_eq!(minimum_utilisation(&pauses, 20, 100), 0.5);
        assert_eq!(minimum_utilisation(&[], 10, 100), 1.0);
    }

    #[test]
    fn threads_that_are_held_up_in_turn_do_not_count_together() {
        let found = HoldUps::of([(7, 50, 5), (8, 55, 4), (7, 70, 1)]).utilisation(10, 100);
        assert_eq!(found, 0.5);
        assert_eq!(HoldUps::of([]).utilisation(10, 100), 1.0);
    }

    #[test]
    fn two_pauses_that_are_close_count_together() {
        let found = minimum_utilisation(&[(50, 5), (56, 4)], 10, 100);
        assert!((found - 0.1).abs() < 1e-9, "{found}");
    }

    #[test]
    fn it_agrees_with_trying_every_window() {
        let pauses = [(3, 4), (12, 1), (20, 7), (30, 2), (45, 5)];
        let paused = |t: u64| pauses.iter().any(|(begin, length)| (*begin..begin + length).contains(&t));
        for window in 1..=60u64 {
            let tried =
                (0..=60 - window).map(|from| (from..from + window).filter(|t| paused(*t)).count()).max().unwrap();
            let expected = 1.0 - tried as f64 / window as f64;
            assert!((minimum_utilisation(&pauses, window, 60) - expected).abs() < 1e-9, "{window}");
        }
    }
}
