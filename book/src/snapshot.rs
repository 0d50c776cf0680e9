//! A book as of a sequence number, as a value of its own: for tools, HTTP answers and tests.
//!
//! On the way to subscribers a snapshot is a series of updates instead: [`Market::snapshot`](crate::Market::snapshot).

use crate::checksum::checksum;
use crate::integrity::BookState;
use crate::level::Level;

/// The best levels of a book.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BookSnapshot {
    /// The instrument.
    pub instrument_id: u32,
    /// The venue's sequence number of the last message that was applied to the channel.
    pub sequence: u64,
    /// How many messages have changed this book: see [`Market::book_sequence`](crate::Market::book_sequence).
    pub book_sequence: u64,
    /// The venue's time of the last message that was applied to the channel.
    pub ts_event: u64,
    /// Whether the book can be trusted.
    pub state: BookState,
    /// Bids, best first.
    pub bids: Vec<Level>,
    /// Asks, best first.
    pub asks: Vec<Level>,
}

impl BookSnapshot {
    /// The checksum of the ten best levels, as far as they are here: see [`checksum`].
    #[must_use]
    pub fn checksum(&self) -> u32 {
        checksum(self.bids.iter().copied(), self.asks.iter().copied())
    }
}
