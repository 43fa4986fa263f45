//! Estimates of what is measured once a sample: means that forget, and how far they can be trusted.

/// Weights of the newest sample in the fast and the slow mean of the allocation rate.
const FAST: f64 = 0.5;
const SLOW: f64 = 0.03;

/// The allocation rate: a fast mean, a slow one with variance, and the greater of the two with some
/// deviations more.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub struct AllocationRate {
    means: Option<(f64, f64)>,
    variance: f64,
}

impl AllocationRate {
    /// A sample, in bytes per ns.
    pub fn observe(&mut self, rate: f64) {
        let (fast, slow) = self.means.unwrap_or((rate, rate));
        let difference = rate - slow;
        self.means = Some((fast + FAST * (rate - fast), slow + SLOW * difference));
        self.variance = (1.0 - SLOW) * (self.variance + SLOW * difference * difference);
    }

    /// The rate to be ready for, `sigma` deviations on the safe side; none before the first sample.
    pub fn upper(&self, sigma: f64) -> Option<f64> {
        let (fast, slow) = self.means?;
        Some(fast.max(slow) + sigma * libm::sqrt(self.variance.min(slow * slow)))
    }
}

/// The bytes that the next cycle will trace: what the last did, where that has been going, and how wrong this
/// was lately.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub struct TracedBytes {
    last: f64,
    trend: f64,
    variance: f64,
}

/// A change of less than this part is noise and makes no trend.
const STEADY: f64 = 0.05;
/// One of more than this part is another program: what was known about its spread says nothing.
const JUMP: f64 = 0.5;

impl TracedBytes {
    /// A cycle traced this many bytes.
    pub fn observe(&mut self, traced: f64) {
        let difference = traced - self.last;
        let size = difference.abs();
        self.trend = 0.5 * self.trend + if size > STEADY * self.last { 0.5 * difference } else { 0.0 };
        self.variance =
            if size < JUMP * self.last { 0.7 * (self.variance + 0.3 * difference * difference) } else { 0.0 };
        self.last = traced;
    }

    /// What is expected.
    pub fn expected(&self) -> f64 {
        self.last + self.trend.max(0.0)
    }

    /// What to be ready for, `sigma` deviations on the safe side.
    pub fn upper(&self, sigma: f64) -> f64 {
        self.expected() + sigma * libm::sqrt(self.variance)
    }

    /// Supposes `traced` bytes, before anything was measured.
    pub fn suppose(traced: f64) -> TracedBytes {
        TracedBytes { last: traced, ..TracedBytes::default() }
    }
}

/// A mean that forgets: the newest sample has the weight given.
pub fn follow(mean: &mut Option<f64>, sample: f64, weight: f64) -> f64 {
    let next = match *mean {
        Some(mean) => mean + weight * (sample - mean),
        None => sample,
    };
    *mean = Some(next);
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_counts_at_once_and_is_forgotten_slowly() {
        let mut rate = AllocationRate::default();
        assert_eq!(rate.upper(1.0), None);
        (0..100).for_each(|_| rate.observe(1.0));
        assert!((rate.upper(1.0).unwrap() - 1.0).abs() < 1e-9);
        rate.observe(5.0);
        assert!(rate.upper(1.0).unwrap() > 3.0);
        (0..20).for_each(|_| rate.observe(1.0));
        let later = rate.upper(1.0).unwrap();
        assert!((1.2..2.5).contains(&later), "{later}");
    }

    #[test]
    fn growth_is_expected_to_go_on_and_noise_is_not_taken_for_growth() {
        let mut grows = TracedBytes::suppose(100.0);
        [110.0, 121.0, 133.0].into_iter().for_each(|traced| grows.observe(traced));
        assert!(grows.expected() > 140.0);
        let mut noisy = TracedBytes::suppose(100.0);
        [103.0, 99.0, 101.0, 104.0].into_iter().for_each(|traced| noisy.observe(traced));
        assert_eq!(noisy.expected(), 104.0);
        assert!(noisy.upper(1.0) > 104.0);
    }
}
