//! What a market tells: every change of its books, and what else is of interest to a subscriber.
//!
//! An update is a small value without heap, so it goes through a ring as it is.
//!
//! **Order of updates.**  All updates of one venue message are consecutive, and the last of them carries
//! [`flags::LAST`]: only then is the book consistent.  The exception is a level venue that says itself when
//! a book is consistent (IEX DEEP): a level set that isn't `complete` has no `LAST`, and the next complete
//! one closes the event.
//!
//! **Two views of one change.**  In books by order, an order's change is told twice: as
//! [`UpdateKind::Order`], for who keeps the queue, and as [`UpdateKind::Level`], for who keeps the levels.
//! Either stream alone rebuilds its book exactly: [`Replica`](crate::Replica) does.

use tickcast_codecs::event::{Definition, Header, Imbalance, Status, Trade};
pub use tickcast_codecs::outbound::{OrderAction, OrderUpdate};
use tickcast_codecs::types::{Price, Side};

use crate::level::{Level, Order};

/// DBN's flags, as far as they have a meaning here.
pub mod flags {
    /// The last update of an event: the book is consistent now.
    pub const LAST: u8 = 0x80;
    /// Part of a snapshot, not of the stream of changes.
    pub const SNAPSHOT: u8 = 0x20;
    /// The book may be wrong: an unrecovered gap, or a message that doesn't fit the book.
    pub const MAYBE_BAD_BOOK: u8 = 0x04;
}

/// One update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update {
    /// Where it comes from.
    pub header: Header,
    /// See [`flags`].
    pub flags: u8,
    /// What happened.
    pub kind: UpdateKind,
}

impl Update {
    /// Whether the book is consistent after this update.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.flags & flags::LAST != 0
    }

    /// Whether it is part of a snapshot.
    #[must_use]
    pub const fn is_snapshot(&self) -> bool {
        self.flags & flags::SNAPSHOT != 0
    }

    /// Whether the book may be wrong.
    #[must_use]
    pub const fn maybe_bad_book(&self) -> bool {
        self.flags & flags::MAYBE_BAD_BOOK != 0
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateKind {
    /// A level is now this; size 0 = gone.
    Level {
        /// Side.
        side: Side,
        /// The whole level as it is now.
        level: Level,
    },
    /// An order changed.
    Order(OrderUpdate),
    /// A trade.  For an execution of a displayed order it comes before the order's own update.
    Trade(Trade),
    /// A trade was cancelled.
    TradeBreak {
        /// The venue's number of the trade.
        trade_id: u64,
        /// Its price, where the venue repeats it.
        px: Option<Price>,
        /// Its shares, where the venue repeats them; else 0.
        size: u64,
    },
    /// A status of the instrument, or of the channel (number 0).
    Status(Status),
    /// An auction imbalance.
    Imbalance(Imbalance),
    /// What is known of the instrument.
    Definition(Definition),
    /// The instrument's book is empty now; number 0: all books of the channel.
    Clear,
    /// Of number 0 only: all books of the channel were replaced by a snapshot of the venue's.  What was known of them
    /// holds no more, and nothing is told by itself of what they are now: ask for them anew.  What `Stale` said of
    /// single instruments is over; what it said of the channel is over with the `Live` that follows.
    Resync,
    /// A snapshot of the instrument begins: its book is empty now, and what follows up to `SnapshotEnd`
    /// fills it.
    SnapshotBegin,
    /// The snapshot is complete; the next update continues from it.
    SnapshotEnd,
    /// From here on the book may be wrong.  Number 0: all books of the channel (a gap).  Also the answer to
    /// each message that was refused.
    Stale,
    /// What `Stale` said of the same number is over.  A channel's `Live` doesn't end an instrument's own
    /// `Stale`: that takes a `Clear`, a `Resync` or a snapshot.
    Live,
}

/// An order's change, from the order as it stands in a book.
#[must_use]
pub(crate) const fn order_update(action: OrderAction, order: Order, size: u32) -> OrderUpdate {
    OrderUpdate {
        action,
        order_id: order.order_id,
        side: order.side,
        px: order.px,
        size,
    }
}

/// The best level of a side is another: its price, its shares or its orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BestChange {
    /// Where it comes from.
    pub header: Header,
    /// Side.
    pub side: Side,
    /// The best level now; `None` = the side is empty.
    pub best: Option<Level>,
}

/// Where a market puts its updates.
pub trait UpdateSink {
    /// Takes one update.
    fn update(&mut self, update: &Update);

    /// Whether changes of levels and orders of this instrument are of interest; if not, they aren't made.
    #[inline]
    fn wants(&self, _instrument_id: u32) -> bool {
        true
    }

    /// Takes a change of a best level, of any instrument.  At most one a venue message and side, and none if it is
    /// the same again after the message.  Not told where books are emptied, filled or replaced as a whole.
    #[inline]
    fn best(&mut self, _change: &BestChange) {}
}

/// Collects updates: for tests and tools, not for a hot path.
impl UpdateSink for Vec<Update> {
    fn update(&mut self, update: &Update) {
        self.push(*update);
    }
}

/// Takes updates and drops them: for who only wants the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NoUpdates;

impl UpdateSink for NoUpdates {
    #[inline]
    fn update(&mut self, _: &Update) {}

    #[inline]
    fn wants(&self, _: u32) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_fits_two_cache_lines() {
        assert!(size_of::<Update>() <= 128, "{}", size_of::<Update>());
    }
}
