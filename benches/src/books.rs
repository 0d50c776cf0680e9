//! One number for all books of a market: equal books, equal number.

use std::hash::Hasher;

use rustc_hash::FxHasher;
use serde::{Deserialize, Serialize};
use tickcast_book::{Market, Order};
use tickcast_codecs::types::Side;

/// What a market holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Books {
    /// Of all levels and all orders in their queues.  That of a market in several shards is the sum of theirs.
    pub hash: u64,
    /// Live orders.
    pub orders: u64,
    /// Levels, both sides.
    pub levels: u64,
}

impl Books {
    /// Looks at every book of a market of order books; instruments are those with a definition.
    #[must_use]
    pub fn of(market: &Market) -> Self {
        let mut books = Self::default();
        let mut orders = market.orders().peekable();
        for (instrument_id, _) in market.instruments() {
            let book = market.book(instrument_id);
            if book.is_empty() {
                continue;
            }
            let mut hasher = FxHasher::default();
            hasher.write_u32(instrument_id);
            for side in [Side::Bid, Side::Ask] {
                for level in book.levels(side) {
                    hasher.write_i64(level.px.0);
                    hasher.write_u64(level.size);
                    hasher.write_u64(u64::from(level.count));
                    books.levels += 1;
                }
                hasher.write_u8(0);
                let of_side = |one: &(u32, Order)| one.0 == instrument_id && one.1.side == side;
                while let Some((_, order)) = orders.next_if(of_side) {
                    hasher.write_u64(order.order_id);
                    hasher.write_u32(order.size);
                    books.orders += 1;
                }
            }
            books.hash = books.hash.wrapping_add(hasher.finish());
        }
        books
    }

    /// The books of two shards together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            hash: self.hash.wrapping_add(other.hash),
            orders: self.orders + other.orders,
            levels: self.levels + other.levels,
        }
    }
}
