//! Randomness of which one seed gives one run, on every platform and with every compiler.
//!
//! Only integer and plain IEEE 754 operations: the ranges of `rand` may change from version to
//! version, and `ln` of the platform from platform to platform.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// A seeded generator.
#[derive(Debug, Clone)]
pub(super) struct Random {
    source: Xoshiro256PlusPlus,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            source: Xoshiro256PlusPlus::seed_from_u64(seed),
        }
    }

    /// Uniform in `0..n`; 0 if `n` is 0.  (The bias, below n / 2^32, doesn't matter here.)
    pub(super) fn below(&mut self, n: u32) -> u32 {
        let scaled = ((self.source.next_u64() >> 32) * u64::from(n)) >> 32;
        // Below n, so it fits.
        u32::try_from(scaled).unwrap_or(0)
    }

    /// Uniform in `0..n`, for an index; 0 if `n` is 0.
    pub(super) fn index(&mut self, n: usize) -> usize {
        self.below(u32::try_from(n).unwrap_or(u32::MAX)) as usize
    }

    /// Uniform in `low..=high`.
    pub(super) fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True once in `n` times.
    pub(super) fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    /// How many times a coin of `1 / 2^k` fails to end a run: geometric, at most 32.
    pub(super) fn geometric(&mut self, k: u32) -> u32 {
        self.below(u32::MAX).trailing_zeros().min(32) / k.max(1)
    }

    /// Exponential with this mean, in whole units; at most 44 times the mean.
    pub(super) fn exponential(&mut self, mean: f64) -> u64 {
        // -ln(u), where u = mantissa / 2^(zeros + 1) and mantissa is in 1..2.
        let bits = self.source.next_u64() | 1;
        let zeros = bits.leading_zeros();
        // The 52 bits behind the leading one are those of a double in 1..2.
        let fraction = (bits << zeros << 1) >> 12;
        let mantissa = f64::from_bits(0x3ff0_0000_0000_0000 | fraction);
        // ln m = 2 atanh(z), z = (m - 1) / (m + 1) <= 1/3: seven terms are exact to 1e-8.
        let z = (mantissa - 1.0) / (mantissa + 1.0);
        let square = z * z;
        let mut sum = 0.0;
        for term in [13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
            sum = sum * square + 1.0 / term;
        }
        let negative_ln = f64::from(zeros + 1) * core::f64::consts::LN_2 - 2.0 * z * sum;
        to_whole(negative_ln * mean)
    }
}

/// A nonnegative number without its fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "cutting the fraction is the purpose; `as` saturates"
)]
fn to_whole(x: f64) -> u64 {
    x as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_has_its_mean_and_its_tail() {
        let mut random = Random::new(1);
        let draws: Vec<u64> = (0..200_000).map(|_| random.exponential(1e6)).collect();
        let mean = draws.iter().sum::<u64>() / 200_000;
        assert!((990_000..1_010_000).contains(&mean), "{mean}");
        let beyond = draws.iter().filter(|&&draw| draw > 3_000_000).count();
        // e^-3 = 4.98 %
        assert!((9_600..10_350).contains(&beyond), "{beyond}");
    }

    #[test]
    fn draws_stay_in_their_range() {
        let mut random = Random::new(2);
        let mut seen = [0_u32; 7];
        for _ in 0..70_000 {
            seen[random.index(7)] += 1;
        }
        assert!(
            seen.iter().all(|&n| (9_500..10_500).contains(&n)),
            "{seen:?}"
        );
        assert!((0..1_000).all(|_| (3..=5).contains(&random.between(3, 5))));
        assert_eq!(random.below(0), 0);
    }
}
