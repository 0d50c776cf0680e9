//! One side of a book: its levels, exact at any depth.
//!
//! A sorted array with the best level at the end, because most changes are at or near the best: they move
//! few levels or none.  Both sides are kept in the same direction by a key that rises as a price gets
//! better (see [`key`]), so there is one code path.
//!
//! Invariant: keys rise strictly, and no level is empty.  What is in a level's queue is the business of
//! [`crate::orders`]; the ladder only keeps both ends of it.

use tickcast_codecs::types::{Price, Side};

use crate::level::Level;
use crate::orders::NIL;

/// A level as the ladder keeps it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rung {
    key: i64,
    pub(crate) size: u64,
    pub(crate) count: u32,
    /// First order of the queue, or [`NIL`].
    pub(crate) head: u32,
    /// Last order of the queue, or [`NIL`].
    pub(crate) tail: u32,
}

/// A number that is larger the better the price is: the price for bids, its complement for asks.
/// (`!px` is `-px - 1`: it reverses the order as negation does, and can't overflow.)
const fn key(side: Side, px: Price) -> i64 {
    match side {
        Side::Bid => px.0,
        Side::Ask => !px.0,
    }
}

/// One side of a book.
#[derive(Debug, Clone)]
pub(crate) struct Ladder {
    side: Side,
    /// Ascending keys: the best is last.
    rungs: Vec<Rung>,
}

impl Ladder {
    pub(crate) const fn new(side: Side) -> Self {
        Self {
            side,
            rungs: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rungs.len()
    }

    #[inline]
    pub(crate) fn level_of(&self, rung: &Rung) -> Level {
        Level {
            // The key function is its own inverse.
            px: Price(key(self.side, Price(rung.key))),
            size: rung.size,
            count: rung.count,
        }
    }

    pub(crate) fn best(&self) -> Option<Level> {
        self.rungs.last().map(|rung| self.level_of(rung))
    }

    pub(crate) fn level(&self, px: Price) -> Option<Level> {
        self.find(px).ok().map(|at| self.level_of(&self.rungs[at]))
    }

    /// Best first.
    pub(crate) fn rungs(&self) -> core::iter::Rev<core::slice::Iter<'_, Rung>> {
        self.rungs.iter().rev()
    }

    /// Where the price's level is, or where it would be.
    pub(crate) fn find(&self, px: Price) -> Result<usize, usize> {
        let key = key(self.side, px);
        self.rungs.binary_search_by_key(&key, |rung| rung.key)
    }

    /// Whether a place that [`find`](Self::find) gave is that of the best level.
    pub(crate) fn is_best(&self, at: usize) -> bool {
        at + 1 == self.rungs.len()
    }

    /// The level at a place that [`find`](Self::find) gave as `Ok`.
    pub(crate) fn rung(&self, at: usize) -> &Rung {
        &self.rungs[at]
    }

    pub(crate) fn rung_mut(&mut self, at: usize) -> &mut Rung {
        &mut self.rungs[at]
    }

    /// A level without orders at a place that [`find`](Self::find) gave as `Err`; the caller fills it.
    pub(crate) fn insert(&mut self, at: usize, px: Price) -> &mut Rung {
        let rung = Rung {
            key: key(self.side, px),
            size: 0,
            count: 0,
            head: NIL,
            tail: NIL,
        };
        self.rungs.insert(at, rung);
        &mut self.rungs[at]
    }

    pub(crate) fn remove(&mut self, at: usize) {
        self.rungs.remove(at);
    }

    /// Keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.rungs.clear();
    }
}

/// Both sides of a book.
#[derive(Debug, Clone)]
pub(crate) struct Ladders {
    bids: Ladder,
    asks: Ladder,
}

impl Ladders {
    pub(crate) const EMPTY: Self = Self {
        bids: Ladder::new(Side::Bid),
        asks: Ladder::new(Side::Ask),
    };

    pub(crate) fn side(&self, side: Side) -> &Ladder {
        match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        }
    }

    pub(crate) fn side_mut(&mut self, side: Side) -> &mut Ladder {
        match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        }
    }

    /// Both together.
    pub(crate) fn level_count(&self) -> usize {
        self.bids.len() + self.asks.len()
    }

    pub(crate) fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder(side: Side, prices: &[i64]) -> Ladder {
        let mut ladder = Ladder::new(side);
        for &px in prices {
            let at = ladder.find(Price(px)).expect_err("prices differ");
            ladder.insert(at, Price(px)).size = 1;
        }
        ladder
    }

    fn prices(ladder: &Ladder) -> Vec<i64> {
        ladder
            .rungs()
            .map(|rung| ladder.level_of(rung).px.0)
            .collect()
    }

    #[test]
    fn bids_fall_and_asks_rise_from_the_best() {
        let shuffled = [5, i64::MAX, 1, i64::MIN, 3, -1, 0];
        let mut sorted = shuffled;
        sorted.sort_unstable();
        assert_eq!(prices(&ladder(Side::Ask, &shuffled)), sorted);
        sorted.reverse();
        assert_eq!(prices(&ladder(Side::Bid, &shuffled)), sorted);
    }

    #[test]
    fn a_level_is_found_by_its_price_at_any_depth() {
        for side in [Side::Bid, Side::Ask] {
            let ladder = ladder(side, &(0..1000).map(|n| n * 7 % 1000).collect::<Vec<_>>());
            for px in 0..1000 {
                assert_eq!(ladder.level(Price(px)).map(|l| l.px), Some(Price(px)));
            }
            assert_eq!(ladder.level(Price(1000)), None);
        }
    }
}
