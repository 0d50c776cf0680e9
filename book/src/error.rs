//! What can be wrong with an event, from the book's point of view.
//!
//! Operating facts, not exceptions: each moves exactly one counter of [`Counters`](crate::Counters), makes the
//! instrument's book stale, and never stops the feed.

use core::fmt;
use tickcast_codecs::types::Price;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The order to execute, cancel, delete, replace or modify isn't live.
    UnknownOrder {
        /// The order's id.
        order_id: u64,
    },
    /// The order to add is live already.  The first one is kept.
    DuplicateOrder {
        /// The order's id.
        order_id: u64,
        /// The number, in its channel, of the instrument that it belongs to.
        owner: u16,
    },
    /// More was executed or cancelled than remained.  What remained is removed.
    OverReduced {
        /// The order's id.
        order_id: u64,
        /// Shares that the message takes.
        size: u32,
        /// Shares that remained before it.
        remained: u32,
    },
    /// The order is live, but in the book of another instrument.
    OtherInstrument {
        /// The order's id.
        order_id: u64,
        /// The number, in its channel, of the instrument that it belongs to.
        owner: u16,
    },
    /// An order of no shares was to be added, or no shares executed or cancelled.
    ZeroSize {
        /// The order's id.
        order_id: u64,
    },
    /// A displayed order or level can't have this price.
    BadPrice {
        /// The price.
        px: Price,
    },
    /// `orders_max` orders are live.
    OrdersFull {
        /// The order that isn't kept.
        order_id: u64,
    },
    /// `levels_max` or `side_levels_max` levels are there.
    LevelsFull {
        /// The price of the level that isn't kept.
        px: Price,
    },
    /// No definition of the instrument came before.  The event is applied all the same.
    UnknownInstrument,
    /// The instrument isn't of this channel, or is the channel itself (number 0), which has no book.
    BadInstrument,
    /// A level or quote in a channel of books by order, or an order in one of books by price.
    OtherKind,
}

impl Fault {
    /// The name of the counter that this fault moves.
    #[must_use]
    pub const fn counter(&self) -> &'static str {
        match self {
            Self::UnknownOrder { .. } => "unknown_order",
            Self::DuplicateOrder { .. } => "duplicate_order",
            Self::OverReduced { .. } => "over_reduced",
            Self::OtherInstrument { .. } => "other_instrument",
            Self::ZeroSize { .. } => "zero_size",
            Self::BadPrice { .. } => "bad_price",
            Self::OrdersFull { .. } => "orders_full",
            Self::LevelsFull { .. } => "levels_full",
            Self::UnknownInstrument => "unknown_instrument",
            Self::BadInstrument => "bad_instrument",
            Self::OtherKind => "other_kind",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UnknownOrder { order_id } => write!(f, "order {order_id} isn't live"),
            Self::DuplicateOrder { order_id, owner } => write!(
                f,
                "order {order_id} is live already, of instrument number {owner}"
            ),
            Self::OverReduced {
                order_id,
                size,
                remained,
            } => write!(
                f,
                "{size} shares are taken from order {order_id}, which has {remained}"
            ),
            Self::OtherInstrument { order_id, owner } => {
                write!(f, "order {order_id} is of instrument number {owner}")
            }
            Self::ZeroSize { order_id } => write!(f, "no shares for order {order_id}"),
            Self::BadPrice { px } => write!(f, "no order can rest at {px}"),
            Self::OrdersFull { order_id } => {
                write!(f, "no room for order {order_id}: orders_max are live")
            }
            Self::LevelsFull { px } => write!(f, "no room for a level at {px}"),
            Self::UnknownInstrument => f.write_str("no definition came before"),
            Self::BadInstrument => f.write_str("no instrument of this channel"),
            Self::OtherKind => f.write_str("the channel's books are of the other kind"),
        }
    }
}

/// A fault, and where to find the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BookError {
    /// What is wrong.
    pub fault: Fault,
    /// The message's instrument.
    pub instrument_id: u32,
    /// The venue's sequence number of the message.
    pub sequence: u64,
}

impl fmt::Display for BookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "message {}, instrument {}: {}",
            self.sequence, self.instrument_id, self.fault
        )
    }
}

impl core::error::Error for BookError {}
