//! Order reference numbers as the exchange's matching engines give them.
//!
//! Modelled on what recordings of Nasdaq's feed show.  All numbers of one security have the same remainder by 4
//! and rise in steps of 4; over a day the feed counts 1.2 numbers a message, so some 2.3 for each displayed
//! order, the others being of orders that aren't displayed (TotalView-ITCH of 17 July 2025, one security:
//! numbers 817,593 to 378,884,393 at messages 851,012 to 313,928,997).  So four engines count, each by itself,
//! and securities are spread so that they are equally busy: numbers of one security rise strictly, those of
//! the whole feed nearly.

use crate::random::Random;

const ENGINES: usize = 4;

/// The engines of a market.
#[derive(Debug, Clone)]
pub(super) struct Engines {
    /// By instrument.
    of: Vec<usize>,
    last: [u64; ENGINES],
}

impl Engines {
    /// Spreads instruments of these weights, heaviest first.
    pub(super) fn new(weights: &[u64]) -> Self {
        let mut loads = [0_u64; ENGINES];
        let of = weights
            .iter()
            .map(|weight| {
                let least = (0..ENGINES)
                    .min_by_key(|&engine| loads[engine])
                    .unwrap_or(0);
                loads[least] += weight;
                least
            })
            .collect();
        Self {
            of,
            last: [0, 1, 2, 3],
        }
    }

    /// The number of a new order of this instrument.
    pub(super) fn new_order(&mut self, at: usize, random: &mut Random) -> u64 {
        let undisplayed = u64::from(random.geometric(1));
        let engine = self.of.get(at).copied().unwrap_or_default();
        let last = &mut self.last[engine];
        *last += ENGINES as u64 * (1 + undisplayed);
        *last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_within_an_instrument_and_stay_near_each_other_between_them() {
        let seed = 3;
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let weights: Vec<u64> = (1..=100).map(|rank| 100_000 / rank).collect();
        let mut engines = Engines::new(&weights);
        let mut last = vec![0; weights.len()];
        let mut highest = 0;
        for _ in 0..1_000 {
            for (at, &weight) in weights.iter().enumerate() {
                for _ in 0..weight / 1_000 {
                    let number = engines.new_order(at, &mut random);
                    assert!(number > last[at]);
                    assert!(last[at] == 0 || (number - last[at]).is_multiple_of(4));
                    last[at] = number;
                    highest = highest.max(number);
                }
            }
        }
        let orders = 1_000 * weights.iter().map(|weight| weight / 1_000).sum::<u64>();
        let per_order = highest * 100 / orders;
        assert!(
            (190..=240).contains(&per_order),
            "{per_order} of 100 orders"
        );
    }
}
