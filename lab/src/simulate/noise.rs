//! Normally distributed noise, the same for the same seed everywhere: a Mersenne twister, and Box and
//! Muller's transform of two uniform numbers into two normal ones.

use rand_mt::Mt;

/// The generator.
pub struct Noise {
    uniform: Mt,
    /// The second number of the last pair.
    next: Option<f64>,
}

impl Noise {
    /// For this seed.
    pub fn new(seed: u32) -> Noise {
        Noise { uniform: Mt::new_with_key([seed]), next: None }
    }

    /// Uniform in [0, 1), with 53 bits.
    fn uniform(&mut self) -> f64 {
        let high = f64::from(self.uniform.next_u32() >> 5);
        let low = f64::from(self.uniform.next_u32() >> 6);
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    /// With mean 0 and this deviation.
    pub fn normal(&mut self, deviation: f64) -> f64 {
        let normal = self.next.take().unwrap_or_else(|| {
            let angle = self.uniform() * std::f64::consts::TAU;
            let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
            self.next = Some(angle.sin() * radius);
            angle.cos() * radius
        });
        normal * deviation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_the_mean_and_deviation_it_was_asked_for_and_repeats() {
        let draw = || {
            let mut noise = Noise::new(7);
            (0..20_000).map(|_| noise.normal(2.0)).collect::<Vec<_>>()
        };
        let numbers = draw();
        let mean = numbers.iter().sum::<f64>() / 20_000.0;
        let deviation = (numbers.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / 20_000.0).sqrt();
        assert!(mean.abs() < 0.05 && (deviation - 2.0).abs() < 0.05, "{mean} {deviation}");
        assert_eq!(numbers, draw());
    }
}
