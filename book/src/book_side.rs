//! One side of a book of a whole channel's: its levels in arrays, exact at any depth.
//!
//! The best [`TOP`] levels lie in three arrays, best first, whose addresses follow from the instrument's number
//! alone: they can be asked for before they are needed, and all keys are compared at once.  What is deeper is a
//! sorted array of its own, best last.
//!
//! A key is a level's price in units of 10^-4, turned so that it is greater the better the price is.  A price
//! that isn't a whole number of those, or needs more than 32 bits, can only be kept below the top; then all
//! levels worse than it are there too.
//!
//! Invariants: keys in the top fall strictly, behind the last all are [`NONE`]; every level of the top is better
//! than every one below it; no level is without orders.  Where the top isn't full, either nothing is below it or
//! the best of what is has no key.

use tickcast_codecs::prefetch::prefetch;
use tickcast_codecs::types::{Price, Side};

use crate::level::Level;

/// Levels of the top: of every seven new orders six join one of these, on days of the largest equities venue and
/// in markets like it.
pub(crate) const TOP: usize = 24;

/// No level: worse than every key that is one.
const NONE: i32 = i32::MIN;

/// Units of a [`Price`] in a tick.
const TICK: i64 = 100_000;

/// A price as the top keeps it, if it can.
#[inline(always)]
pub(crate) fn ticks(px: Price) -> Option<u32> {
    let ticks = px.0 / TICK;
    let whole = ticks * TICK == px.0;
    // 0 is no price, and `u32::MAX` on the ask side would be `NONE`.
    (whole & (ticks > 0) & (ticks < i64::from(u32::MAX))).then_some((ticks & 0xffff_ffff) as u32)
}

/// The price again.
#[inline(always)]
pub(crate) fn px(ticks: u32) -> Price {
    Price(i64::from(ticks) * TICK)
}

/// All ones for the ask side.
#[inline(always)]
const fn flip(side: Side) -> i32 {
    -(side as i32)
}

#[inline(always)]
const fn key(side: Side, ticks: u32) -> i32 {
    (ticks ^ 0x8000_0000).cast_signed() ^ flip(side)
}

#[inline(always)]
const fn ticks_of(side: Side, key: i32) -> u32 {
    (key ^ flip(side)).cast_unsigned() ^ 0x8000_0000
}

/// The key of a level below the top: the price, turned in the same way.
#[inline(always)]
pub(crate) const fn deep_key(side: Side, px: Price) -> i64 {
    px.0 ^ (flip(side) as i64)
}

#[inline(always)]
const fn deep_px(side: Side, key: i64) -> Price {
    Price(key ^ (flip(side) as i64))
}

/// A level's orders together.
#[derive(Debug, Clone, Copy)]
struct Sum {
    size: u64,
    count: u32,
    /// Never below the number of any order of the level that is placed by its number; 0 = none was.
    last: u32,
}

impl Sum {
    const NONE: Self = Self {
        size: 0,
        count: 0,
        last: 0,
    };

    #[inline(always)]
    fn level(&self, px: Price) -> Level {
        Level {
            px,
            size: self.size,
            count: self.count,
        }
    }

    /// One more order.  How far the numbers had got.
    #[inline(always)]
    fn join(&mut self, size: u64, number: u32) -> u32 {
        self.size += size;
        self.count += 1;
        let last = self.last;
        self.last = last.max(number);
        last
    }
}

/// A level below the top.
#[derive(Debug, Clone, Copy)]
struct Deep {
    key: i64,
    sum: Sum,
}

// What `docs/benchmarks.md` states.
const _: () = assert!(size_of::<Deep>() == 24);
const _: () = assert!(size_of::<BookSide>() == 512);

/// What became of a level, and of the best one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Changed {
    /// The level as it is now; size 0 = gone.
    pub(crate) level: Level,
    /// Whether it is, or was, the best.
    pub(crate) at_best: bool,
    /// Whether the best price is another than before.
    pub(crate) best_moved: bool,
}

/// An order joined a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) changed: Changed,
    /// How far the level's numbers had got.
    pub(crate) last: u32,
}

/// There are as many levels as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// The levels of one side.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(crate) struct BookSide {
    keys: [i32; TOP],
    sums: [Sum; TOP],
    /// Ascending keys: the best is last.
    deep: Vec<Deep>,
}

/// Where a level is, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Top(usize),
    Deep(usize),
}

impl BookSide {
    pub(crate) const EMPTY: Self = Self {
        keys: [NONE; TOP],
        sums: [Sum::NONE; TOP],
        deep: Vec::new(),
    };

    /// Asks for the keys.
    #[inline(always)]
    pub(crate) fn prefetch(&self) {
        prefetch(&self.keys[0]);
        prefetch(&self.keys[TOP - 1]);
    }

    /// Asks for the level of a price, by keys that are there, and says where it is or would be.
    #[inline(always)]
    pub(crate) fn prefetch_level(&self, side: Side, ticks: u32) -> usize {
        self.prefetch_place(self.better(key(side, ticks)))
    }

    /// The same for a second level.
    #[inline(always)]
    pub(crate) fn prefetch_other_level(&self, side: Side, ticks: u32) -> usize {
        self.prefetch_place(self.better_again(key(side, ticks)))
    }

    #[inline(always)]
    fn prefetch_place(&self, place: usize) -> usize {
        match self.sums.get(place) {
            Some(sum) => prefetch(sum),
            None => prefetch(&self.deep),
        }
        place
    }

    /// How many levels are better than a key; in the top that is the place of its level.
    #[inline(always)]
    fn better(&self, key: i32) -> usize {
        // Four lanes, as the smallest vector unit has.
        let mut better = [0_u32; 4];
        for keys in self.keys.as_chunks::<4>().0 {
            for (better, &other) in better.iter_mut().zip(keys) {
                *better += u32::from(other > key);
            }
        }
        (better[0] + better[1] + better[2] + better[3]) as usize
    }

    /// The same, in place of a second copy.
    #[inline(never)]
    fn better_again(&self, key: i32) -> usize {
        self.better(key)
    }

    /// Levels of the top.
    pub(crate) fn top_len(&self) -> usize {
        self.better(NONE)
    }

    pub(crate) fn len(&self) -> usize {
        self.top_len() + self.deep.len()
    }

    /// Where the price's level is, or would be: `Err`.
    #[inline(always)]
    fn find(&self, side: Side, px: Price, ticks: Option<u32>) -> Result<Place, Place> {
        if let Some(ticks) = ticks {
            let key = key(side, ticks);
            let place = self.better(key);
            if let Some(&there) = self.keys.get(place) {
                if there == key {
                    return Ok(Place::Top(place));
                }
                if there != NONE || self.deep.is_empty() {
                    return Err(Place::Top(place));
                }
            }
        }
        self.find_below(side, px, ticks)
    }

    /// The same for a level that isn't above the last of the top.
    #[inline(never)]
    fn find_below(&self, side: Side, px: Price, ticks: Option<u32>) -> Result<Place, Place> {
        let deep_key = deep_key(side, px);
        let found = self.deep.binary_search_by_key(&deep_key, |deep| deep.key);
        match (found, ticks) {
            (Ok(at), _) => Ok(Place::Deep(at)),
            // Better than all that is below.
            (Err(at), Some(ticks)) if at == self.deep.len() => {
                let place = self.better(key(side, ticks));
                Err(if place < TOP {
                    Place::Top(place)
                } else {
                    Place::Deep(at)
                })
            }
            (Err(at), _) => Err(Place::Deep(at)),
        }
    }

    /// An order joins the level of its price.  `number` is its own if it is placed by that, else 0.
    ///
    /// It is for the caller to see whether `last` lets it: if not, the order isn't placed by its number.
    #[inline(never)]
    pub(crate) fn join(
        &mut self,
        side: Side,
        px: Price,
        ticks: Option<u32>,
        size: u32,
        number: u32,
        levels_max: usize,
    ) -> Result<Joined, Full> {
        let size = u64::from(size);
        let (level, last, at_best, best_moved) = match self.find(side, px, ticks) {
            Ok(Place::Top(at)) => {
                let sum = &mut self.sums[at];
                let last = sum.join(size, number);
                (sum.level(px), last, at == 0, false)
            }
            Ok(Place::Deep(at)) => {
                let sum = &mut self.deep[at].sum;
                let last = sum.join(size, number);
                (sum.level(px), last, self.is_best_below(at), false)
            }
            Err(place) => {
                if self.deep.len() + TOP >= levels_max && self.len() >= levels_max {
                    return Err(Full);
                }
                let sum = Sum {
                    size,
                    count: 1,
                    last: number,
                };
                let best = self.insert(side, px, ticks, place, sum);
                (sum.level(px), 0, best, best)
            }
        };
        Ok(Joined {
            changed: Changed {
                level,
                at_best,
                best_moved,
            },
            last,
        })
    }

    /// As [`join`](Self::join), where [`prefetch_level`](Self::prefetch_level) said that the level may be.  `None`:
    /// full.
    #[inline(always)]
    pub(crate) fn join_near(
        &mut self,
        near: usize,
        side: Side,
        ticks: u32,
        size: u32,
        number: u32,
        levels_max: usize,
    ) -> Option<Joined> {
        if let (Some(&there), Some(sum)) = (self.keys.get(near), self.sums.get_mut(near))
            && there == key(side, ticks)
        {
            let last = sum.join(u64::from(size), number);
            return Some(Joined {
                changed: Changed {
                    level: sum.level(px(ticks)),
                    at_best: near == 0,
                    best_moved: false,
                },
                last,
            });
        }
        self.join(side, px(ticks), Some(ticks), size, number, levels_max)
            .ok()
    }

    /// As [`reduce`](Self::reduce), where [`prefetch_level`](Self::prefetch_level) said that the level may be.
    #[inline(always)]
    pub(crate) fn reduce_near(
        &mut self,
        near: usize,
        side: Side,
        ticks: u32,
        size: u32,
        orders: u32,
    ) -> Changed {
        if let (Some(&there), Some(sum)) = (self.keys.get(near), self.sums.get_mut(near))
            && there == key(side, ticks)
            && sum.count > orders
        {
            sum.size -= u64::from(size);
            sum.count -= orders;
            return Changed {
                level: sum.level(px(ticks)),
                at_best: near == 0,
                best_moved: false,
            };
        }
        self.reduce(side, px(ticks), Some(ticks), size, orders)
    }

    /// Whether a place below the top is that of the best level.
    fn is_best_below(&self, at: usize) -> bool {
        at + 1 == self.deep.len() && self.keys[0] == NONE
    }

    /// Puts a level where there was none.  Whether it is the best.
    #[inline(always)]
    fn insert(
        &mut self,
        side: Side,
        px: Price,
        ticks: Option<u32>,
        place: Place,
        sum: Sum,
    ) -> bool {
        match (place, ticks) {
            (Place::Top(at), Some(ticks)) => {
                if self.keys[TOP - 1] != NONE {
                    self.spill(side, TOP - 1);
                }
                for to in (1..TOP).rev() {
                    if to > at {
                        self.keys[to] = self.keys[to - 1];
                    }
                }
                let full = self.keys.iter().filter(|key| **key != NONE).count();
                self.sums.copy_within(at..full.min(TOP - 1), at + 1);
                self.keys[at] = key(side, ticks);
                self.sums[at] = sum;
                at == 0
            }
            (Place::Top(_), None) => unreachable!("a level of the top has a key"),
            (Place::Deep(_), _) => self.insert_below(side, px, sum),
        }
    }

    #[inline(never)]
    fn insert_below(&mut self, side: Side, px: Price, sum: Sum) -> bool {
        let deep_key = deep_key(side, px);
        // What is worse than a price without a key can't stay above it.
        for last in (0..self.top_len()).rev() {
            let worst = self.level_of_top(side, last).px;
            if self::deep_key(side, worst) > deep_key {
                break;
            }
            self.spill(side, last);
        }
        let at = self.deep.partition_point(|deep| deep.key < deep_key);
        let level = Deep { key: deep_key, sum };
        self.deep.insert(at, level);
        self.is_best_below(at)
    }

    /// The last level of the top becomes the best of those below it.
    fn spill(&mut self, side: Side, last: usize) {
        let px = px(ticks_of(side, self.keys[last]));
        self.deep.push(Deep {
            key: deep_key(side, px),
            sum: self.sums[last],
        });
        self.keys[last] = NONE;
    }

    /// An order of the level leaves it, wholly or in part: so many shares, and as many orders (0 or 1).
    #[inline(never)]
    pub(crate) fn reduce(
        &mut self,
        side: Side,
        px: Price,
        ticks: Option<u32>,
        size: u32,
        orders: u32,
    ) -> Changed {
        let size = u64::from(size);
        match self.find(side, px, ticks) {
            Ok(Place::Top(at)) => {
                let sum = &mut self.sums[at];
                sum.size -= size;
                sum.count -= orders;
                let level = sum.level(px);
                let gone = level.count == 0;
                if gone {
                    self.remove(side, at);
                }
                Changed {
                    level,
                    at_best: at == 0,
                    best_moved: gone & (at == 0),
                }
            }
            Ok(Place::Deep(at)) => self.reduce_below(side, px, at, size, orders),
            // An order is counted in its level for as long as it lives, and only a level without orders is
            // removed: were there none, memory would be corrupt, and every further word of the book a guess.
            Err(_) => unreachable!("a live order has a level"),
        }
    }

    #[inline(never)]
    fn reduce_below(
        &mut self,
        side: Side,
        px: Price,
        at: usize,
        size: u64,
        orders: u32,
    ) -> Changed {
        let at_best = self.is_best_below(at);
        let sum = &mut self.deep[at].sum;
        sum.size -= size;
        sum.count -= orders;
        let level = sum.level(px);
        let gone = level.count == 0;
        if gone {
            self.deep.remove(at);
            // A price without a key may have kept others from the top.
            if at == self.deep.len() {
                self.refill_from(side, self.top_len());
            }
        }
        Changed {
            level,
            at_best,
            best_moved: gone & at_best,
        }
    }

    /// Closes up over a level of the top, and fills it again from below.
    #[inline(always)]
    fn remove(&mut self, side: Side, at: usize) {
        let was_full = self.keys[TOP - 1] != NONE;
        for to in 0..TOP - 1 {
            if to >= at {
                self.keys[to] = self.keys[to + 1];
            }
        }
        let full = self.keys.iter().filter(|key| **key != NONE).count();
        self.sums.copy_within(at + 1..(full + 1).min(TOP), at);
        self.keys[TOP - 1] = NONE;
        if was_full {
            self.refill_from(side, TOP - 1);
        }
    }

    /// Fills the top from below, from its first free place on.
    #[inline(never)]
    fn refill_from(&mut self, side: Side, first: usize) {
        for place in first..TOP {
            let best = self.deep.last();
            let Some(ticks) = best.and_then(|deep| ticks(deep_px(side, deep.key))) else {
                return;
            };
            let Some(deep) = self.deep.pop() else {
                return;
            };
            self.keys[place] = key(side, ticks);
            self.sums[place] = deep.sum;
        }
    }

    /// Adds to a level's shares and takes from them, its orders staying as many.
    pub(crate) fn resize(
        &mut self,
        side: Side,
        px: Price,
        ticks: Option<u32>,
        old: u32,
        new: u32,
    ) -> Changed {
        let place = self.find(side, px, ticks);
        let (sum, at_best) = match place {
            Ok(Place::Top(at)) => (&mut self.sums[at], at == 0),
            Ok(Place::Deep(at)) => {
                let at_best = self.is_best_below(at);
                (&mut self.deep[at].sum, at_best)
            }
            Err(_) => unreachable!("a live order has a level"),
        };
        sum.size = sum.size - u64::from(old) + u64::from(new);
        let level = sum.level(px);
        Changed {
            level,
            at_best,
            best_moved: false,
        }
    }

    fn sum(&self, place: Place) -> &Sum {
        match place {
            Place::Top(at) => &self.sums[at],
            Place::Deep(at) => &self.deep[at].sum,
        }
    }

    /// How many orders the price's level has; `None` if there is no such level.
    pub(crate) fn orders_at(&self, side: Side, px: Price) -> Option<u32> {
        let place = self.find(side, px, ticks(px)).ok()?;
        Some(self.sum(place).count)
    }

    /// The level so many places behind the best.
    pub(crate) fn level(&self, side: Side, rank: usize) -> Option<Level> {
        self.level_behind(side, self.top_len(), rank)
    }

    /// The same, of a side whose top has so many levels.
    #[inline]
    pub(crate) fn level_behind(&self, side: Side, top: usize, rank: usize) -> Option<Level> {
        if rank < top {
            return Some(self.level_of_top(side, rank));
        }
        let deep = self.deep.iter().rev().nth(rank - top)?;
        Some(deep.sum.level(deep_px(side, deep.key)))
    }

    #[inline(always)]
    fn level_of_top(&self, side: Side, at: usize) -> Level {
        self.sums[at].level(px(ticks_of(side, self.keys[at])))
    }

    /// The level at a price.
    pub(crate) fn level_at(&self, side: Side, px: Price) -> Option<Level> {
        let place = self.find(side, px, ticks(px)).ok()?;
        Some(self.sum(place).level(px))
    }

    /// The best level.
    #[inline(always)]
    pub(crate) fn best(&self, side: Side) -> Option<Level> {
        if self.keys[0] == NONE {
            self.level(side, 0)
        } else {
            Some(self.level_of_top(side, 0))
        }
    }

    /// Keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.keys = [NONE; TOP];
        self.deep.clear();
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.deep.capacity() * size_of::<Deep>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const STEPS: usize = if cfg!(miri) { 300 } else { 60_000 };

    /// SplitMix64.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % end
        }
    }

    /// Levels by price: each order's number and shares, in the order of their coming.
    type Model = BTreeMap<i64, Vec<(u32, u32)>>;

    fn level_of(px: i64, orders: &[(u32, u32)]) -> Level {
        Level {
            px: Price(px),
            size: orders.iter().map(|order| u64::from(order.1)).sum(),
            count: u32::try_from(orders.len()).unwrap_or(u32::MAX),
        }
    }

    fn best_px(side: Side, model: &Model) -> Option<i64> {
        match side {
            Side::Bid => model.keys().next_back().copied(),
            Side::Ask => model.keys().next().copied(),
        }
    }

    fn check_invariants(book: &BookSide, side: Side) {
        let full = book.top_len();
        assert!(book.keys[..full].is_sorted_by(|a, b| a > b));
        assert!(book.keys[full..].iter().all(|key| *key == NONE));
        assert!(book.deep.is_sorted_by(|a, b| a.key < b.key));
        if let Some(best) = book.deep.last() {
            let px = deep_px(side, best.key);
            assert!(full == TOP || ticks(px).is_none());
            if full > 0 {
                let worst = book.level_of_top(side, full - 1).px;
                assert!(deep_key(side, worst) > best.key);
            }
        }
    }

    fn check_all(book: &BookSide, side: Side, model: &Model) {
        let mut levels: Vec<Level> = model
            .iter()
            .map(|(px, orders)| level_of(*px, orders))
            .collect();
        if side == Side::Bid {
            levels.reverse();
        }
        assert_eq!(book.len(), levels.len());
        assert_eq!(book.best(side), levels.first().copied());
        assert_eq!(book.level(side, levels.len()), None);
        for (rank, level) in levels.iter().enumerate() {
            // From the end of a deep array that costs its length.
            if rank < 2 * TOP || rank.is_multiple_of(97) {
                assert_eq!(book.level(side, rank), Some(*level));
            }
            assert_eq!(book.level_at(side, level.px), Some(*level));
            assert_eq!(book.orders_at(side, level.px), Some(level.count));
        }
    }

    /// What prices a run draws.
    #[derive(Debug, Clone, Copy)]
    struct Prices {
        /// Narrow ones, this many in a row.
        narrow: u64,
        /// One of so many has no key; 0 = none.
        wide_of: u64,
    }

    fn price(random: &mut Random, prices: Prices) -> Price {
        let tick = 1 + i64::try_from(random.below(prices.narrow)).unwrap_or(0);
        if prices.wide_of == 0 || random.below(prices.wide_of) != 0 {
            return Price(tick * TICK);
        }
        let extreme = [
            1,
            TICK - 1,
            i64::from(u32::MAX - 1) * TICK,
            i64::from(u32::MAX) * TICK,
            i64::MAX / TICK * TICK,
            i64::MAX,
        ];
        match random.below(3) {
            0 => Price(tick * TICK + 1),
            1 => Price((tick + i64::from(u32::MAX)) * TICK),
            _ => Price(extreme[usize::try_from(random.below(6)).unwrap_or(0)]),
        }
    }

    /// Random operations on one side, each compared with the model; whether top, array below and both ways
    /// between them were in use is for the caller to know from the number of levels, which is given back.
    fn run(seed: u64, side: Side, prices: Prices, levels_max: usize, deep: usize) -> usize {
        println!("seed {seed}, {side:?}, {prices:?}, {levels_max}, {deep}");
        let mut random = Random(seed);
        let mut book = BookSide::EMPTY;
        let mut model = Model::new();
        let mut number = 0;
        let (mut deepest, mut refused) = (0, 0);
        for step in 0..STEPS {
            let best_before = best_px(side, &model);
            // Mostly joins while the book isn't as deep as it shall be.
            let joins = random.below(100) < if model.len() < deep { 65 } else { 35 };
            let changed = if joins || model.is_empty() {
                let px = price(&mut random, prices);
                let size = match random.below(16) {
                    0 => u32::MAX,
                    size => u32::try_from(size).unwrap_or(1),
                };
                // Not every order is placed by its number.
                number += 1;
                let own = if random.below(4) == 0 { 0 } else { number };
                let near = book.prefetch_level(side, ticks(px).unwrap_or(0));
                // Sometimes as of another price: then it is only a guess.
                let near = if random.below(8) == 0 { near + 1 } else { near };
                let joined = match ticks(px) {
                    Some(ticks) if random.below(2) == 0 => {
                        book.join_near(near, side, ticks, size, own, levels_max)
                    }
                    ticks => book.join(side, px, ticks, size, own, levels_max).ok(),
                };
                let full = !model.contains_key(&px.0) && model.len() >= levels_max;
                let Some(joined) = joined else {
                    assert!(full, "step {step}");
                    refused += 1;
                    check_invariants(&book, side);
                    continue;
                };
                assert!(!full, "step {step}");
                let orders = model.entry(px.0).or_default();
                // All that live are behind it, or it is told so.
                let last = orders.iter().map(|order| order.0).max().unwrap_or(0);
                assert!(joined.last >= last);
                orders.push((own, size));
                assert_eq!(joined.changed.level, level_of(px.0, orders));
                joined.changed
            } else {
                let place = random.below(model.len() as u64);
                let place = usize::try_from(place).unwrap_or(0);
                let px = match random.below(3) {
                    0 => best_before.unwrap_or(0),
                    _ => model.keys().nth(place).copied().unwrap_or(0),
                };
                let orders = model.get_mut(&px).expect("a level");
                let at = usize::try_from(random.below(orders.len() as u64)).unwrap_or(0);
                let order = &mut orders[at];
                let ticks = ticks(Price(px));
                let changed = match random.below(4) {
                    0 => {
                        let new = 1 + u32::try_from(random.below(1 << 31)).unwrap_or(0);
                        let changed = book.resize(side, Price(px), ticks, order.1, new);
                        order.1 = new;
                        changed
                    }
                    what => {
                        let taken = if what == 1 && order.1 > 1 { 1 } else { order.1 };
                        let gone = u32::from(taken == order.1);
                        order.1 -= taken;
                        let near = book.prefetch_level(side, ticks.unwrap_or(0));
                        let changed = match ticks {
                            Some(ticks) if random.below(2) == 0 => {
                                book.reduce_near(near, side, ticks, taken, gone)
                            }
                            ticks => book.reduce(side, Price(px), ticks, taken, gone),
                        };
                        if gone == 1 {
                            orders.remove(at);
                        }
                        changed
                    }
                };
                assert_eq!(changed.level, level_of(px, orders), "step {step}");
                if orders.is_empty() {
                    model.remove(&px);
                }
                changed
            };
            let px = changed.level.px.0;
            let best = best_px(side, &model);
            let is_or_was = best == Some(px) || best_before == Some(px);
            assert_eq!(changed.at_best, is_or_was, "step {step}");
            assert_eq!(changed.best_moved, best != best_before, "step {step}");
            let level = model.get(&px).map(|orders| level_of(px, orders));
            assert_eq!(book.level_at(side, Price(px)), level, "step {step}");
            assert_eq!(book.best(side).map(|level| level.px.0), best);
            if model.len() < 100 || step.is_multiple_of(64) {
                check_invariants(&book, side);
            }
            if step.is_multiple_of(997) {
                check_all(&book, side, &model);
            }
            deepest = deepest.max(model.len());
        }
        check_all(&book, side, &model);
        if levels_max < 1000 && !cfg!(miri) {
            assert!(refused > 0);
        }
        book.clear();
        assert_eq!((book.len(), book.best(side)), (0, None));
        deepest
    }

    #[test]
    fn any_operations_leave_the_levels_equal_to_those_of_a_map() {
        let shapes = [
            // All in the top; around its end, so that levels go below it and come again.
            (10, 0, 20),
            (40, 0, 30),
            (60, 20, 40),
            (200, 2, 100),
            (10, 3, 10),
        ];
        for (seed, (narrow, wide_of, deep)) in (1..).zip(shapes) {
            for side in [Side::Bid, Side::Ask] {
                run(seed, side, Prices { narrow, wide_of }, usize::MAX, deep);
            }
        }
    }

    #[test]
    fn thousands_of_levels_are_exact() {
        for side in [Side::Bid, Side::Ask] {
            let prices = Prices {
                narrow: 100_000,
                wide_of: 50,
            };
            let deepest = run(11, side, prices, usize::MAX, 5000);
            assert!(cfg!(miri) || deepest > 4000);
        }
    }

    #[test]
    fn there_are_never_more_levels_than_there_may_be() {
        for levels_max in [1, 4, TOP - 1, TOP, TOP + 1, 50] {
            for side in [Side::Bid, Side::Ask] {
                for wide_of in [0, 4] {
                    let prices = Prices {
                        narrow: 100,
                        wide_of,
                    };
                    let deepest = run(21, side, prices, levels_max, 1000);
                    assert!(deepest <= levels_max && (cfg!(miri) || deepest == levels_max));
                }
            }
        }
    }

    #[test]
    fn a_price_has_a_key_exactly_if_it_can_be_had_back_from_it() {
        for wide in [
            i64::MIN,
            -TICK,
            -1,
            0,
            1,
            TICK - 1,
            TICK + 1,
            i64::from(u32::MAX) * TICK,
            i64::MAX,
        ] {
            assert_eq!(ticks(Price(wide)), None, "{wide}");
        }
        for whole in [1, 2, u32::MAX / 2, u32::MAX / 2 + 1, u32::MAX - 1] {
            let price = px(whole);
            assert_eq!(ticks(price), Some(whole));
            for side in [Side::Bid, Side::Ask] {
                assert_ne!(key(side, whole), NONE);
                assert_eq!(ticks_of(side, key(side, whole)), whole);
                assert_eq!(deep_px(side, deep_key(side, price)), price);
            }
            assert!(key(Side::Bid, whole) > key(Side::Bid, whole - 1));
            assert!(key(Side::Ask, whole) < key(Side::Ask, whole - 1));
        }
    }

    #[test]
    fn levels_come_back_into_the_top_when_a_price_without_a_key_has_gone() {
        let side = Side::Bid;
        let mut book = BookSide::EMPTY;
        for tick in 1..=40 {
            assert!(book.join(side, px(tick), Some(tick), 1, 0, 100).is_ok());
        }
        assert_eq!((book.top_len(), book.deep.len()), (TOP, 40 - TOP));
        let wide = Price(i64::MAX);
        assert!(book.join(side, wide, None, 1, 0, 100).is_ok());
        assert_eq!((book.top_len(), book.deep.len()), (0, 41));
        let changed = book.reduce(side, wide, None, 1, 1);
        assert!(changed.at_best && changed.best_moved);
        assert_eq!((book.top_len(), book.deep.len()), (TOP, 40 - TOP));
        let best = book.best(side).map(|level| level.px);
        assert_eq!(best, Some(px(40)));
    }
}
