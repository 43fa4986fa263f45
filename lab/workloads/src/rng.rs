//! Pseudo-random numbers: xorshift64*, seeded, the same on every machine and in every language of the peers.

/// A generator; equal seeds give equal sequences.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator from a seed. Any seed will do.
    pub fn new(seed: u64) -> Self {
        // The lowest bit is set because a state of 0 would stay 0.
        Rng((seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03) | 1)
    }

    /// 64 bits.
    #[inline(always)]
    pub fn bits(&mut self) -> u64 {
        let mut x = self.0;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0 = x;
        x.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Uniform in `0..n`, for `n` below 2^32.
    #[inline(always)]
    pub fn below(&mut self, n: usize) -> usize {
        (((self.bits() >> 32) * n as u64) >> 32) as usize
    }

    /// `0..n` in random order, for `n` below 2^32 (Fisher and Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }

    /// Log-uniform in `lo..hi`.
    #[inline(always)]
    pub fn log_uniform(&mut self, lo: usize, hi: usize) -> usize {
        let octaves = (hi / lo).ilog2() as usize;
        let base = lo << self.below(octaves);
        base + self.below(base)
    }
}

/// Folds a value into a checksum. Order matters.
#[inline(always)]
pub fn mix(sum: u64, value: u64) -> u64 {
    (sum ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
}
