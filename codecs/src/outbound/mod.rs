//! What subscribers receive: the data messages of the subscriber protocol, and their two encodings.
//!
//! A [`Message`] borrows everything; [`json`] and [`fb`] write it once, and all subscribers of the
//! same profile share those bytes.  Nothing in a message belongs to one subscriber.

pub mod fb;
pub mod json;
#[rustfmt::skip]
#[allow(
    missing_docs,
    unsafe_code,
    unused_imports,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    rustdoc::all,
    unreachable_pub
)]
mod market_generated;
mod feed;
mod owned;

pub use feed::{Feed, FeedLine, FeedRepair};
pub use owned::{OwnedBody, OwnedMessage};

use crate::event::{Definition, Imbalance, Status, Trade};
use crate::types::{Level, Price, Side};

/// Flag bits of a data message; DBN's values where DBN has them.
pub mod flags {
    /// The last message of an event (or of a chunked snapshot): the book is consistent after it.
    pub const LAST: u8 = 1 << 7;
    /// Part of a snapshot.
    pub const SNAPSHOT: u8 = 1 << 5;
    /// The book may be wrong: the venue's stream named orders that it never told, or a gap is open.
    pub const MAYBE_BAD_BOOK: u8 = 1 << 2;
    /// The first message of a chunked snapshot: drop what you hold.
    pub const CLEAR: u8 = 1 << 0;
}

/// What one subscribes to, by DBN's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Schema {
    /// Every order event.
    Mbo,
    /// Books by price, the best level.
    Mbp1,
    /// Books by price, 5 levels a side.
    Mbp5,
    /// Books by price, 10 levels a side.
    Mbp10,
    /// Books by price, 20 levels a side.
    Mbp20,
    /// Books by price, 50 levels a side.
    Mbp50,
    /// Books by price, all levels.
    MbpFull,
    /// Trades and trade breaks.
    Trades,
    /// Status.
    Status,
    /// Auction imbalances.
    Imbalance,
    /// Definitions.
    Definition,
    /// State of a channel: its lines, gaps and counters.
    Feed,
}

impl Schema {
    /// All, in the order of the documentation.
    pub const ALL: [Self; 12] = [
        Self::Mbo,
        Self::Mbp1,
        Self::Mbp5,
        Self::Mbp10,
        Self::Mbp20,
        Self::Mbp50,
        Self::MbpFull,
        Self::Trades,
        Self::Status,
        Self::Imbalance,
        Self::Definition,
        Self::Feed,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mbo => "mbo",
            Self::Mbp1 => "mbp-1",
            Self::Mbp5 => "mbp-5",
            Self::Mbp10 => "mbp-10",
            Self::Mbp20 => "mbp-20",
            Self::Mbp50 => "mbp-50",
            Self::MbpFull => "mbp-full",
            Self::Trades => "trades",
            Self::Status => "status",
            Self::Imbalance => "imbalance",
            Self::Definition => "definition",
            Self::Feed => "feed",
        }
    }

    /// By its name on the wire.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|schema| schema.name() == name)
    }

    /// Levels a side of a book by price; `None` for the other schemas.
    #[must_use]
    pub const fn depth(self) -> Option<usize> {
        match self {
            Self::Mbp1 => Some(1),
            Self::Mbp5 => Some(5),
            Self::Mbp10 => Some(10),
            Self::Mbp20 => Some(20),
            Self::Mbp50 => Some(50),
            Self::MbpFull => Some(usize::MAX),
            _ => None,
        }
    }
}

/// Why a snapshot was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The subscription begins.
    Subscribe,
    /// The subscriber asked for one.
    Request,
    /// Messages of the venue, or ours, were lost on the way.
    Gap,
    /// The subscriber was too slow.
    Slow,
    /// The venue began a new session; books start empty.
    SessionStart,
    /// A resume wasn't possible.
    ResumeMiss,
}

impl Reason {
    /// All, in the order of their numbers on the binary wire.
    pub const ALL: [Self; 6] = [
        Self::Subscribe,
        Self::Request,
        Self::Gap,
        Self::Slow,
        Self::SessionStart,
        Self::ResumeMiss,
    ];

    /// By its name on the wire.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Request => "request",
            Self::Gap => "gap",
            Self::Slow => "slow",
            Self::SessionStart => "session_start",
            Self::ResumeMiss => "resume_miss",
        }
    }
}

/// What happened to an order, for `mbo`.
///
/// `Add` joins the end of its level's queue.  `Cancel` and `Fill` take `size` shares off, and remove
/// the order at 0.  `Modify` sets price and shares in place: the order keeps its place in the queue if
/// its price is the same, and joins the end of the other level's queue if not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OrderAction {
    /// A new order; DBN's `A`.
    Add,
    /// Shares cancelled; DBN's `C`.
    Cancel,
    /// New price or shares; DBN's `M`.
    Modify,
    /// Shares executed; DBN's `F`.
    Fill,
}

impl OrderAction {
    /// All, in the order of their numbers on the binary wire.
    pub const ALL: [Self; 4] = [Self::Add, Self::Cancel, Self::Modify, Self::Fill];

    /// By DBN's letter.
    #[must_use]
    pub fn from_letter(letter: char) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|action| action.letter() == letter)
    }

    /// DBN's letter.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Add => 'A',
            Self::Cancel => 'C',
            Self::Modify => 'M',
            Self::Fill => 'F',
        }
    }
}

/// One order event of `mbo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderUpdate {
    /// What happened.
    pub action: OrderAction,
    /// The venue's order reference number.
    pub order_id: u64,
    /// Side.
    pub side: Side,
    /// Price.
    pub px: Price,
    /// Shares: of the order for `Add` and `Modify`, taken off for `Cancel` and `Fill`.
    pub size: u32,
}

/// What every data message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageHeader {
    /// The schema.
    pub schema: Schema,
    /// The instrument.
    pub instrument_id: u32,
    /// The number of the topic's state after this message.
    pub seq: u64,
    /// The `seq` of the message before this one in the same profile; 0 for the first.
    pub prev: u64,
    /// The venue's time, ns.
    pub ts_event: u64,
    /// When the venue's packet reached us, ns.
    pub ts_recv: u64,
    /// When this message was encoded, ns.
    pub ts_out: u64,
    /// [`flags`].
    pub flags: u8,
    /// The venue's sequence numbers covered, first and last, where it numbers its messages.
    pub sequence: Option<(u64, u64)>,
}

/// The content of a data message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// A book by price, whole, best first: what the subscriber held before is void.
    Snapshot {
        /// Why.
        reason: Reason,
        /// Bids, best first.
        bids: &'a [Level],
        /// Asks, best first.
        asks: &'a [Level],
        /// CRC32 of the top ten, if asked for.
        checksum: Option<u32>,
    },
    /// The levels of a book by price that changed; size 0 = gone from the depth.
    Update {
        /// Changed bids.
        bids: &'a [Level],
        /// Changed asks.
        asks: &'a [Level],
        /// CRC32 of the top ten after the change, if asked for.
        checksum: Option<u32>,
        /// How many venue events were merged into this message.
        events: u32,
    },
    /// All orders of a book, or a chunk of them: each an `Add`, in queue order within its level.
    OrderSnapshot {
        /// Why.
        reason: Reason,
        /// The orders.
        orders: &'a [OrderUpdate],
    },
    /// Order events, in order.
    Orders {
        /// The events.
        orders: &'a [OrderUpdate],
    },
    /// A trade.
    Trade(&'a Trade),
    /// A trade was cancelled.
    TradeBreak {
        /// The venue's number of the trade.
        trade_id: u64,
        /// Its price, where the venue repeats it.
        px: Option<Price>,
        /// Its shares, where the venue repeats them; else 0.
        size: u64,
    },
    /// A status.
    Status(&'a Status),
    /// An auction imbalance.
    Imbalance(&'a Imbalance),
    /// A definition.
    Definition {
        /// What is known.
        definition: &'a Definition,
        /// The venue, by its market identifier code.
        venue: &'a str,
    },
    /// The state of a channel.
    Feed(&'a Feed),
    /// Messages of this topic were skipped because the subscriber was too slow (`trades`, `mbo`), or lost on their way
    /// to us (then `count` is 0).
    Gap {
        /// `seq` of the first message skipped.
        from: u64,
        /// `seq` of the last message skipped.
        to: u64,
        /// How many.
        count: u64,
    },
}

impl Body<'_> {
    /// The message's `type` on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Snapshot { .. } => "snapshot",
            Self::Update { .. } => "update",
            Self::OrderSnapshot { .. } => "orders_snapshot",
            Self::Orders { .. } => "orders",
            Self::Trade(_) => "trade",
            Self::TradeBreak { .. } => "trade_break",
            Self::Status(_) => "status",
            Self::Imbalance(_) => "imbalance",
            Self::Definition { .. } => "definition",
            Self::Feed(_) => "feed",
            Self::Gap { .. } => "gap",
        }
    }
}

/// A data message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// What every message carries.
    pub header: MessageHeader,
    /// The content.
    pub body: Body<'a>,
}
