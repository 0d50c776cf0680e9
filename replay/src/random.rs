//! Randomness of which one seed gives one run, on every platform and with every compiler.
//!
//! Only integer and plain IEEE 754 operations: the ranges of `rand` may change from version to
//! version, and `ln` and `pow` of the platform from platform to platform.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// A seeded generator.
#[derive(Debug, Clone)]
pub struct Random {
    source: Xoshiro256PlusPlus,
}

/// One million: chances are given in parts of it.
const MILLION: u32 = 1_000_000;

impl Random {
    /// The generator of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            source: Xoshiro256PlusPlus::seed_from_u64(seed),
        }
    }

    /// 64 bits: the seed of another generator, for instance.
    pub fn bits(&mut self) -> u64 {
        self.source.next_u64()
    }

    /// Uniform in `0..n`; 0 if `n` is 0.  (The bias, below n / 2^32, doesn't matter here.)
    pub fn below(&mut self, n: u32) -> u32 {
        let scaled = ((self.source.next_u64() >> 32) * u64::from(n)) >> 32;
        // Below n, so it fits.
        u32::try_from(scaled).unwrap_or(0)
    }

    /// Uniform in `0..n`; 0 if `n` is 0.  For times, which need more than 32 bits.
    pub fn below_u64(&mut self, n: u64) -> u64 {
        let scaled = (u128::from(self.source.next_u64()) * u128::from(n)) >> 64;
        // Below n, so it fits.
        u64::try_from(scaled).unwrap_or(0)
    }

    /// Uniform in `0..n`, for an index; 0 if `n` is 0.
    pub fn index(&mut self, n: usize) -> usize {
        self.below(u32::try_from(n).unwrap_or(u32::MAX)) as usize
    }

    /// Uniform in `low..=high`.
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        low.saturating_add(self.below(high.saturating_sub(low).saturating_add(1)))
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    /// True in so many of a million times.
    pub fn chance_ppm(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.below(MILLION) < ppm
    }

    /// How many times a coin of `1 / 2^k` fails to end a run: geometric, at most 32.
    pub fn geometric(&mut self, k: u32) -> u32 {
        self.below(u32::MAX).trailing_zeros().min(32) / k.max(1)
    }

    /// In `0..n`, with each doubling as likely as the one before it: the chance of `d` falls as
    /// `1 / (d + 1)`.  0 if `n` is 0.
    pub fn log_uniform(&mut self, n: u32) -> u32 {
        let doublings = u32::BITS - n.leading_zeros();
        let first = 1_u32 << self.below(doublings).min(31);
        let draw = first - 1 + self.below(first);
        draw.min(n.saturating_sub(1))
    }

    /// Exponential with this mean, in whole units; at most 44 times the mean.
    pub fn exponential(&mut self, mean: f64) -> u64 {
        // -ln(u), where u = mantissa / 2^(zeros + 1) and mantissa is in 1..2.
        let bits = self.source.next_u64() | 1;
        let zeros = bits.leading_zeros();
        // The 52 bits behind the leading one are those of a double in 1..2.
        let fraction = (bits << zeros << 1) >> 12;
        let mantissa = f64::from_bits(ONE_BITS | fraction);
        let negative_ln = f64::from(zeros + 1) * core::f64::consts::LN_2 - ln_mantissa(mantissa);
        to_whole(negative_ln * mean)
    }
}

/// The bits of 1.0.
const ONE_BITS: u64 = 0x3ff0_0000_0000_0000;

/// ln of a number in 1..2.
fn ln_mantissa(mantissa: f64) -> f64 {
    // ln m = 2 atanh(z), z = (m - 1) / (m + 1) <= 1/3: seven terms are exact to 1e-8.
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let square = z * z;
    let mut sum = 0.0;
    for term in [13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        sum = sum * square + 1.0 / term;
    }
    2.0 * z * sum
}

/// `1 / rank^exponent`, to seven digits or so: Zipf's weight of a rank from 1 on.
pub(crate) fn zipf_weight(rank: u32, exponent: f64) -> f64 {
    let rank = rank.max(1);
    let doublings = u32::BITS - 1 - rank.leading_zeros();
    let mantissa = f64::from(rank) / f64::from(1_u32 << doublings);
    let log = ln_mantissa(mantissa) + f64::from(doublings) * core::f64::consts::LN_2;
    exp_negative(exponent * log)
}

/// e^-x for x >= 0; 0 beyond 600.
fn exp_negative(x: f64) -> f64 {
    if x > 600.0 {
        return 0.0;
    }
    let halvings = to_whole(x / core::f64::consts::LN_2);
    // Below 600 / ln 2, so it fits a double exactly.
    let rest = x - f64::from(u32::try_from(halvings).unwrap_or(0)) * core::f64::consts::LN_2;
    let (mut sum, mut term) = (1.0, 1.0);
    for n in 1..=16 {
        term *= -rest / f64::from(n);
        sum += term;
    }
    // 2^-halvings, a normal number.
    sum * f64::from_bits(ONE_BITS - (halvings << 52))
}

/// A nonnegative number without its fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "cutting the fraction is the purpose; `as` saturates"
)]
pub(crate) fn to_whole(x: f64) -> u64 {
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
        assert_eq!(random.below_u64(0), 0);
        assert!((0..1_000).all(|_| random.below_u64(1 << 40) < 1 << 40));
    }

    #[test]
    fn chances_are_parts_of_a_million() {
        let mut random = Random::new(3);
        let hits = (0..100_000).filter(|_| random.chance_ppm(20_000)).count();
        assert!((1_850..2_150).contains(&hits), "{hits}");
        assert!((0..1_000).all(|_| random.chance_ppm(1_000_000)));
        assert!((0..1_000).all(|_| !random.chance_ppm(0)));
    }

    #[test]
    fn log_uniform_draws_each_doubling_alike() {
        let mut random = Random::new(4);
        let draws: Vec<u32> = (0..80_000).map(|_| random.log_uniform(255)).collect();
        let below = |n| draws.iter().filter(|&&draw| draw < n).count();
        // 255 = 1 + 2 + … + 128: eight doublings.
        assert!((9_500..10_500).contains(&below(1)), "{}", below(1));
        assert!((39_000..41_000).contains(&below(15)), "{}", below(15));
        assert_eq!(below(255), 80_000);
        assert_eq!(random.log_uniform(0), 0);
        assert_eq!(random.log_uniform(1), 0);
    }

    #[test]
    fn zipf_weights_are_powers() {
        for rank in [1, 2, 3, 10, 1_000, 65_535] {
            for exponent in [0.0, 0.5, 1.0, 1.37, 3.0] {
                let expected = f64::from(rank).powf(-exponent);
                let error = (zipf_weight(rank, exponent) / expected - 1.0).abs();
                assert!(error < 1e-6, "{rank}^-{exponent}: {error}");
            }
        }
    }
}
