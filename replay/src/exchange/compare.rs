//! Whether a receiver's books are the exchange's: one hash for all of them, and the first difference in
//! words.
//!
//! The hash is over every level's instrument, side, price, shares and count of orders, and doesn't depend
//! on the order in which books are visited.  Equal hashes of different books have to be expected once in
//! 2^64 comparisons; queue order isn't in it, but is compared by [`first_difference`].

use core::fmt;

use tickcast_book::{Order, market};
use tickcast_codecs::types::Text;
use tickcast_codecs::{Level, Side};

use super::Market;

/// The hash of all books of a receiver's market.
#[must_use]
pub fn books_hash(books: &market::Market) -> u64 {
    (1..=u16::MAX).fold(0, |hash, stock_locate| {
        let book = books.book(instrument_id(books, stock_locate));
        if book.is_empty() {
            return hash;
        }
        let hash = hash.wrapping_add(side_hash(stock_locate, Side::Bid, book.bids()));
        hash.wrapping_add(side_hash(stock_locate, Side::Ask, book.asks()))
    })
}

/// The first difference between the exchange's books and a receiver's, among the instruments that the
/// receiver is concerned with; `None` if there is none.
#[must_use]
pub fn first_difference(
    exchange: &Market,
    books: &market::Market,
    concerns: impl Fn(u16) -> bool,
) -> Option<Difference> {
    let is_empty = |stock_locate| books.book(instrument_id(books, stock_locate)).is_empty();
    (1..=u16::MAX)
        .filter(|&stock_locate| stock_locate <= exchange.instruments() || !is_empty(stock_locate))
        .filter(|&stock_locate| concerns(stock_locate))
        .find_map(|stock_locate| {
            [Side::Bid, Side::Ask]
                .into_iter()
                .find_map(|side| side_difference(exchange, books, stock_locate, side))
        })
}

/// Where two books differ first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// The instrument.
    pub stock_locate: u16,
    /// Its symbol; empty if the exchange has no such instrument.
    pub symbol: Text<8>,
    /// The side.
    pub side: Side,
    /// What differs there.
    pub what: Differs,
}

/// What differs, each first as the exchange has it and then as the receiver has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differs {
    /// A level, counted from the best, which is 0.
    Level {
        /// Which.
        depth: usize,
        /// The exchange's; `None` if it has none so deep.
        exchange: Option<Level>,
        /// The receiver's.
        receiver: Option<Level>,
    },
    /// An order: the levels are the same.
    Order {
        /// Which, counted from the first in priority, which is 0.
        place: usize,
        /// The exchange's; `None` if it has none there.
        exchange: Option<Order>,
        /// The receiver's.
        receiver: Option<Order>,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            stock_locate,
            symbol,
            side,
            what,
        } = self;
        let side = match side {
            Side::Bid => "bid",
            Side::Ask => "ask",
        };
        write!(f, "instrument {stock_locate} ({symbol}), {side} ")?;
        match what {
            Differs::Level {
                depth,
                exchange,
                receiver,
            } => write!(
                f,
                "level {depth}: the exchange has {}, the receiver {}",
                Words(exchange.as_ref()),
                Words(receiver.as_ref())
            ),
            Differs::Order {
                place,
                exchange,
                receiver,
            } => write!(
                f,
                "order {place}: the exchange has {}, the receiver {}",
                Words(exchange.as_ref()),
                Words(receiver.as_ref())
            ),
        }
    }
}

/// Something that may not be there.
struct Words<'a, T>(Option<&'a T>);

impl fmt::Display for Words<'_, Level> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(Level { px, size, count }) => {
                write!(f, "{size} shares in {count} orders at {px}")
            }
            None => f.write_str("none"),
        }
    }
}

impl fmt::Display for Words<'_, Order> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(order) => write!(
                f,
                "{} of {} shares at {}",
                order.order_id, order.size, order.px
            ),
            None => f.write_str("none"),
        }
    }
}

impl Market {
    /// The hash of all true books; equal to [`books_hash`] of a receiver that has the same.
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        (1..=self.instruments()).fold(0, |hash, stock_locate| {
            let side = |side| {
                let levels = self.levels(stock_locate, side, usize::MAX);
                side_hash(stock_locate, side, levels)
            };
            hash.wrapping_add(side(Side::Bid))
                .wrapping_add(side(Side::Ask))
        })
    }
}

fn side_difference(
    exchange: &Market,
    books: &market::Market,
    stock_locate: u16,
    side: Side,
) -> Option<Difference> {
    let book = books.book(instrument_id(books, stock_locate));
    let level = first_unequal(
        exchange.levels(stock_locate, side, usize::MAX),
        book.levels(side),
    )
    .map(|(depth, exchange, receiver)| Differs::Level {
        depth,
        exchange,
        receiver,
    });
    let what = level.or_else(|| {
        let (place, exchange, receiver) =
            first_unequal(exchange.resting(stock_locate, side), book.orders(side))?;
        Some(Differs::Order {
            place,
            exchange,
            receiver,
        })
    })?;
    Some(Difference {
        stock_locate,
        symbol: exchange
            .symbol(stock_locate)
            .map_or_else(Text::default, |symbol| Text::from_padded(symbol)),
        side,
        what,
    })
}

fn first_unequal<T: PartialEq>(
    mut ours: impl Iterator<Item = T>,
    mut theirs: impl Iterator<Item = T>,
) -> Option<(usize, Option<T>, Option<T>)> {
    for at in 0.. {
        match (ours.next(), theirs.next()) {
            (None, None) => break,
            (ours, theirs) if ours != theirs => return Some((at, ours, theirs)),
            _ => {}
        }
    }
    None
}

fn instrument_id(books: &market::Market, stock_locate: u16) -> u32 {
    u32::from(books.channel()) << 16 | u32::from(stock_locate)
}

/// The sum of its levels' hashes.
fn side_hash(stock_locate: u16, side: Side, levels: impl Iterator<Item = Level>) -> u64 {
    let book = u64::from(stock_locate) << 1 | side as u64;
    levels.fold(0, |hash, level| {
        let mixed = mix(mix(mix(book) ^ level.px.0.cast_unsigned()) ^ level.size);
        hash.wrapping_add(mix(mixed ^ u64::from(level.count)))
    })
}

/// The finalizer of SplitMix64: a bijection in which each bit depends on all.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
