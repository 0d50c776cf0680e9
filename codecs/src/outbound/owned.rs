//! A data message that owns what it holds: what a client keeps after decoding either encoding.
//!
//! The server never makes one; it encodes from a borrowed [`Message`].

use super::{Body, Feed, Message, MessageHeader, OrderUpdate, Reason};
use crate::event::{Definition, Imbalance, Status, Trade};
use crate::types::{Level, Price};

/// A [`Message`] that owns its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedMessage {
    /// What every message carries.
    pub header: MessageHeader,
    /// The content.
    pub body: OwnedBody,
}

/// A [`Body`] that owns its content; see there for the meaning of each field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnedBody {
    /// [`Body::Snapshot`].
    Snapshot {
        /// Why.
        reason: Reason,
        /// Bids, best first.
        bids: Vec<Level>,
        /// Asks, best first.
        asks: Vec<Level>,
        /// CRC32 of the top ten, if asked for.
        checksum: Option<u32>,
    },
    /// [`Body::Update`].
    Update {
        /// Changed bids.
        bids: Vec<Level>,
        /// Changed asks.
        asks: Vec<Level>,
        /// CRC32 of the top ten after the change, if asked for.
        checksum: Option<u32>,
        /// How many venue events were merged into this message.
        events: u32,
    },
    /// [`Body::OrderSnapshot`].
    OrderSnapshot {
        /// Why.
        reason: Reason,
        /// The orders.
        orders: Vec<OrderUpdate>,
    },
    /// [`Body::Orders`].
    Orders {
        /// The events.
        orders: Vec<OrderUpdate>,
    },
    /// [`Body::Trade`].
    Trade(Trade),
    /// [`Body::TradeBreak`].
    TradeBreak {
        /// The venue's number of the trade.
        trade_id: u64,
        /// Its price, where the venue repeats it.
        px: Option<Price>,
        /// Its shares, where the venue repeats them; else 0.
        size: u64,
    },
    /// [`Body::Status`].
    Status(Status),
    /// [`Body::Imbalance`].
    Imbalance(Imbalance),
    /// [`Body::Definition`].
    Definition {
        /// What is known.
        definition: Definition,
        /// The venue, by its market identifier code.
        venue: String,
    },
    /// [`Body::Feed`].
    Feed(Box<Feed>),
    /// [`Body::Gap`].
    Gap {
        /// `seq` of the first message skipped.
        from: u64,
        /// `seq` of the last message skipped.
        to: u64,
        /// How many.
        count: u64,
    },
}

impl OwnedMessage {
    /// The same message, borrowed: what the encoders take.
    #[must_use]
    pub fn as_message(&self) -> Message<'_> {
        let body = match &self.body {
            OwnedBody::Snapshot {
                reason,
                bids,
                asks,
                checksum,
            } => Body::Snapshot {
                reason: *reason,
                bids,
                asks,
                checksum: *checksum,
            },
            OwnedBody::Update {
                bids,
                asks,
                checksum,
                events,
            } => Body::Update {
                bids,
                asks,
                checksum: *checksum,
                events: *events,
            },
            OwnedBody::OrderSnapshot { reason, orders } => Body::OrderSnapshot {
                reason: *reason,
                orders,
            },
            OwnedBody::Orders { orders } => Body::Orders { orders },
            OwnedBody::Trade(trade) => Body::Trade(trade),
            OwnedBody::TradeBreak { trade_id, px, size } => Body::TradeBreak {
                trade_id: *trade_id,
                px: *px,
                size: *size,
            },
            OwnedBody::Status(status) => Body::Status(status),
            OwnedBody::Imbalance(imbalance) => Body::Imbalance(imbalance),
            OwnedBody::Definition { definition, venue } => Body::Definition { definition, venue },
            OwnedBody::Feed(feed) => Body::Feed(feed),
            OwnedBody::Gap { from, to, count } => Body::Gap {
                from: *from,
                to: *to,
                count: *count,
            },
        };
        Message {
            header: self.header,
            body,
        }
    }
}
