//! The smallest heap in which a run completes, by bisection.
//!
//! 1. From a guess, halve while it fits or double until it does.
//! 2. Halve the interval between what does not fit and what does, down to 1 % or 256 KiB.
//!
//! A collector need not be monotonic near its minimum, so the answer is a heap that was seen to fit, within
//! the resolution of one that was seen not to.

/// The smallest limit that the options take.
const FLOOR_BYTES: u64 = 1 << 20;
/// A workload that does not fit into this has no minimum worth knowing.
pub const CEILING_BYTES: u64 = 16 << 30;
/// Where the search begins when nothing is known.
pub const GUESS_BYTES: u64 = 64 << 20;
const PAGE_BYTES: u64 = 4096;

/// How far apart a fitting and a failing heap may be at the end: 1 %, and at least 256 KiB.
pub fn resolution(bytes: u64) -> u64 {
    (bytes / 100).max(256 << 10)
}

/// The smallest heap that fits; `None` if not even the largest does.
///
/// # Errors
/// The first error of `fits`.
pub fn search<E>(guess: u64, mut fits: impl FnMut(u64) -> Result<bool, E>) -> Result<Option<u64>, E> {
    let mut high = guess.clamp(FLOOR_BYTES, CEILING_BYTES);
    // Just below the floor: never tried, taken as not fitting.
    let mut low = FLOOR_BYTES - PAGE_BYTES;
    if fits(high)? {
        while high > FLOOR_BYTES {
            let half = (high / 2).max(FLOOR_BYTES);
            if !fits(half)? {
                low = half;
                break;
            }
            high = half;
        }
    } else {
        loop {
            if high == CEILING_BYTES {
                return Ok(None);
            }
            low = high;
            high = (high * 2).min(CEILING_BYTES);
            if fits(high)? {
                break;
            }
        }
    }
    while high - low > resolution(high) {
        let middle = (low + (high - low) / 2) / PAGE_BYTES * PAGE_BYTES;
        if fits(middle)? {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(Some(high))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn find(minimum: u64) -> (Option<u64>, usize) {
        let mut runs = 0;
        let fits = |bytes| {
            runs += 1;
            Ok::<_, Infallible>(bytes >= minimum)
        };
        let found = search(GUESS_BYTES, fits).unwrap();
        (found, runs)
    }

    #[test]
    fn the_answer_fits_and_is_close_to_what_does_not() {
        for minimum in [3 << 20, 26_000_000, 69 << 20, 376 << 20, 5 << 30] {
            let (found, runs) = find(minimum);
            let found = found.unwrap();
            assert!(found >= minimum && found - minimum <= resolution(found), "{minimum}: {found}");
            assert!(runs <= 16, "{minimum}: {runs} runs");
        }
    }

    #[test]
    fn there_may_be_no_minimum() {
        assert_eq!(find(0).0, Some(FLOOR_BYTES));
        assert_eq!(find(u64::MAX).0, None);
    }
}
