//! One security: what it is, in which state, what it is worth, and its book.

use tickcast_codecs::Side;
use tickcast_codecs::wire::{Alpha, BePrice4};
use zerocopy::byteorder::big_endian::{U16, U32};

use super::config::MarketConfig;
use super::orders::Book;
use crate::random::Random;

/// As few cache lines as there can be.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub(super) struct Instrument {
    pub(super) stock: Alpha<8>,
    pub(super) state: State,
    /// Why it is in that state.
    pub(super) reason: [u8; 4],
    /// The last operational halt's action, if there was one today.
    pub(super) operational: Option<u8>,
    pub(super) reg_sho: u8,
    /// How many of its messages of the directory were told.
    pub(super) told: u8,
    /// A tick in units of 1e-4, the wire's.
    pub(super) tick_size: u32,
    /// Both in [`FAIR_UNIT`]ths of a tick.
    fair: i64,
    anchor: i64,
    /// How far fair goes from anchor, in the same unit.
    range: i64,
    /// Largest move of fair in one event, in the same unit.
    step: u32,
    /// Most displayed orders.
    pub(super) orders_max: u32,
    pub(super) interest: Interest,
    pub(super) book: Book,
}

/// The states of Stock Trading Action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Trading,
    Halted,
    Paused,
    Quotation,
}

impl State {
    pub(super) const fn wire(self) -> u8 {
        match self {
            Self::Trading => b'T',
            Self::Halted => b'H',
            Self::Paused => b'P',
            Self::Quotation => b'Q',
        }
    }
}

/// What waits for a cross and isn't displayed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Interest {
    /// Shares that can be matched among themselves.
    pub(super) paired: u32,
    /// Shares beyond those, all of one side; 0 is no imbalance.
    pub(super) imbalance: u32,
    /// Whether those are bought.
    pub(super) buys: bool,
}

impl Interest {
    /// Another minute, more interest; now and then it turns.
    pub(super) fn grow(&mut self, random: &mut Random) {
        self.paired = self
            .paired
            .saturating_add(100 * random.between(0, 40))
            .min(PAIRED_MAX);
        match random.below(4) {
            0 => self.imbalance = 0,
            1 => {
                self.buys = random.one_in(2);
                self.imbalance = 100 * random.between(1, 30);
            }
            _ => {}
        }
    }
}

/// Parts of a tick in which fair moves.
const FAIR_UNIT: i64 = 1 << 24;
/// Largest move of fair in one event of a book of [`ORDERS_OF_STEP`] orders: 0.12 ticks.
const FAIR_STEP: f64 = 2_013_265.0;
const ORDERS_OF_STEP: f64 = 256.0;
/// The share of its distance that fair goes back in one event: the walk's deviation tends to 140 ticks.
const FAIR_REVERSION: i64 = 1 << 23;
const PAIRED_MAX: u32 = 1_000_000;

impl Instrument {
    pub(super) fn new(at: u16, config: &MarketConfig, depth_sum: u64, random: &mut Random) -> Self {
        let shape = config.shape;
        let orders_max = config.orders_max(at, depth_sum);
        // Mostly securities above a dollar, in cents; one in sixteen below it, in hundredths of a cent.
        let (tick_size, anchor) = match at {
            0 => (100, 10_000),
            at if at % 16 == 11 => (1, random.between(4_000, 9_000)),
            _ => (100, random.between(500, 40_000)),
        };
        // No book reaches price 0.
        let anchor = anchor.max(4 * shape.levels);
        let anchor_fair = i64::from(anchor) * FAIR_UNIT + FAIR_UNIT / 2;
        Self {
            stock: Alpha(stock(at)),
            state: State::Trading,
            reason: *b"    ",
            operational: None,
            reg_sho: b'0',
            told: 0,
            tick_size,
            fair: anchor_fair,
            anchor: anchor_fair,
            range: i64::from(anchor / 5).min(400) * FAIR_UNIT,
            step: if shape.moves() { step(orders_max) } else { 0 },
            orders_max,
            interest: Interest::default(),
            book: Book::new(orders_max as usize, shape.levels_max()),
        }
    }

    /// Whether orders are accepted.
    pub(super) fn accepts(&self) -> bool {
        !matches!(self.state, State::Halted | State::Paused) && self.operational != Some(b'H')
    }

    pub(super) fn move_fair(&mut self, random: &mut Random) {
        let step = i64::from(random.below(2 * self.step + 1)) - i64::from(self.step);
        let pull = (self.anchor - self.fair) / FAIR_REVERSION;
        self.fair =
            (self.fair + step + pull).clamp(self.anchor - self.range, self.anchor + self.range);
    }

    /// The tick at or below fair.
    pub(super) fn fair_tick(&self) -> u32 {
        // Within `range` of `anchor`, which is far from both ends of u32.
        u32::try_from(self.fair / FAIR_UNIT).unwrap_or(1)
    }

    /// So many ticks away from fair, 0 being the first on its side; but never at or beyond the best of
    /// the other side.
    pub(super) fn passive_tick(&self, side: Side, distance: u32) -> u32 {
        match (side, self.book.best_tick(side.opposite())) {
            (Side::Bid, best) => {
                let tick = self.fair_tick().saturating_sub(distance).max(1);
                best.map_or(tick, |ask| tick.min(ask - 1))
            }
            (Side::Ask, best) => {
                let tick = self.fair_tick() + 1 + distance;
                best.map_or(tick, |bid| tick.max(bid + 1))
            }
        }
    }

    pub(super) fn wire_price(&self, tick: u32) -> u32 {
        tick * self.tick_size
    }

    pub(super) fn price(&self, tick: u32) -> BePrice4 {
        BePrice4(U32::new(self.wire_price(tick)))
    }
}

/// To move a price by a tick, its queue must go: the more orders, the slower is fair.
fn step(orders_max: u32) -> u32 {
    let slower = (f64::from(orders_max) / ORDERS_OF_STEP).max(0.25).sqrt();
    // At most twice the step, which is far below 2^32.
    u32::try_from(crate::random::to_whole(FAIR_STEP / slower)).unwrap_or(0)
}

/// `DEMO`, `TCAA` to `TCAZ`, then six letters, which no listed security has.
fn stock(at: u16) -> [u8; 8] {
    let mut stock = *b"DEMO    ";
    if at > 0 {
        let (mut rest, letters) = match at - 1 {
            rest @ ..26 => (rest, 2),
            rest => (rest - 26, 4),
        };
        stock = *b"TC      ";
        for letter in stock[2..2 + letters].iter_mut().rev() {
            *letter = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"[usize::from(rest % 26)];
            rest /= 26;
        }
    }
    stock
}

/// The stock locate of the instrument at this index.
pub(super) fn locate(at: usize) -> U16 {
    // At most 65,535 instruments.
    U16::new(u16::try_from(at + 1).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_unique_and_artificial() {
        let text = |at| String::from_utf8(stock(at).to_vec()).unwrap();
        assert_eq!(text(0), "DEMO    ");
        assert_eq!(text(1), "TCAA    ");
        assert_eq!(text(26), "TCAZ    ");
        assert_eq!(text(27), "TCAAAA  ");
        let mut all: Vec<_> = (0..u16::MAX).map(stock).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), usize::from(u16::MAX));
    }
}
