//! The normalized model: what every venue's messages are mapped to.
//!
//! Vocabulary is DBN's.  `docs/field-map.md` says, field by field, where each value comes from on each
//! venue.  Order-by-order venues (ITCH, DEEP+) give order events, level venues (DEEP) give level sets,
//! top-of-book venues (TOPS) give quotes.
//!
//! A decoder is generic over its [`Sink`], so that decode and book inline into one loop.

use crate::DecodeError;
use crate::types::{Price, Side, Symbol, Text};

/// Where a message stands in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origin {
    /// The venue's sequence number of the message.
    pub sequence: u64,
    /// When its packet reached us, in nanoseconds since the Unix epoch.
    pub ts_recv: u64,
}

/// What every event carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Our key of the instrument: the channel's number × 65,536 + the venue's (or an assigned) number
    /// in 1..=65,535.  The number 0 stands for the channel itself.
    pub instrument_id: u32,
    /// The venue's sequence number of the message.
    pub sequence: u64,
    /// The venue's time, in nanoseconds since the Unix epoch (since midnight where the day is unknown).
    pub ts_event: u64,
    /// When the packet reached us, in nanoseconds since the Unix epoch.
    pub ts_recv: u64,
}

/// What became of an instrument, or of the market: DBN's status actions, as far as our venues have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StatusAction {
    /// Messages of the day begin.
    StartOfMessages,
    /// Orders are accepted; no continuous trading yet.
    PreOpen,
    /// Quotes only.
    Quoting,
    /// Continuous trading.
    Trading,
    /// Halted: neither orders are executed nor accepted, by the venue's rules.
    Halt,
    /// Paused (limit up, limit down).
    Pause,
    /// Orders are accepted during a halt or before an auction.
    OrderAcceptance,
    /// The regular session ends.
    Close,
    /// The system closes; order acceptance ends.
    PostClose,
    /// Messages of the day end.
    EndOfMessages,
    /// The venue itself halts or resumes the instrument for operational reasons: see the venue's code.
    OperationalHalt,
    /// The venue itself resumes.
    OperationalResume,
    /// A short-sale price test restriction came or went: see the venue's code.
    ShortSaleRestriction,
    /// Interest of retail liquidity changed: see the venue's code.
    RetailInterest,
    /// A market participant's position changed; carried for completeness.
    MarketParticipant,
    /// A market-wide circuit breaker was breached, or its levels were told.
    CircuitBreaker,
    /// A price collar for an auction was set.
    AuctionCollar,
    /// The opening or closing process of one security was completed (IEX security event).
    SecurityEvent,
    /// Something the model has no word for: see the venue's code.
    Other,
}

impl StatusAction {
    /// Whether it says in which phase of trading something is; the others tell something beside it.
    #[must_use]
    pub const fn is_phase(self) -> bool {
        matches!(
            self,
            Self::StartOfMessages
                | Self::PreOpen
                | Self::Quoting
                | Self::Trading
                | Self::Halt
                | Self::Pause
                | Self::OrderAcceptance
                | Self::Close
                | Self::PostClose
                | Self::EndOfMessages
        )
    }

    /// All, in the order of their numbers on subscribers' binary wire.
    pub const ALL: [Self; 19] = [
        Self::StartOfMessages,
        Self::PreOpen,
        Self::Quoting,
        Self::Trading,
        Self::Halt,
        Self::Pause,
        Self::OrderAcceptance,
        Self::Close,
        Self::PostClose,
        Self::EndOfMessages,
        Self::OperationalHalt,
        Self::OperationalResume,
        Self::ShortSaleRestriction,
        Self::RetailInterest,
        Self::MarketParticipant,
        Self::CircuitBreaker,
        Self::AuctionCollar,
        Self::SecurityEvent,
        Self::Other,
    ];

    /// By the name that subscribers see.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    /// The name that subscribers see: snake case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StartOfMessages => "start_of_messages",
            Self::PreOpen => "pre_open",
            Self::Quoting => "quoting",
            Self::Trading => "trading",
            Self::Halt => "halt",
            Self::Pause => "pause",
            Self::OrderAcceptance => "order_acceptance",
            Self::Close => "close",
            Self::PostClose => "post_close",
            Self::EndOfMessages => "end_of_messages",
            Self::OperationalHalt => "operational_halt",
            Self::OperationalResume => "operational_resume",
            Self::ShortSaleRestriction => "short_sale_restriction",
            Self::RetailInterest => "retail_interest",
            Self::MarketParticipant => "market_participant",
            Self::CircuitBreaker => "circuit_breaker",
            Self::AuctionCollar => "auction_collar",
            Self::SecurityEvent => "security_event",
            Self::Other => "other",
        }
    }
}

/// What kind of trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TradeKind {
    /// Against a displayed order of the book.
    Displayed,
    /// Against an order that isn't displayed.
    Hidden,
    /// An auction: opening, closing, halt, IPO.
    Cross,
    /// A price of the venue's own: last sale in TOPS, official price.
    Report,
}

impl TradeKind {
    /// All, in the order of their numbers on subscribers' binary wire.
    pub const ALL: [Self; 4] = [Self::Displayed, Self::Hidden, Self::Cross, Self::Report];

    /// By the name that subscribers see.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The name that subscribers see: snake case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Displayed => "displayed",
            Self::Hidden => "hidden",
            Self::Cross => "cross",
            Self::Report => "report",
        }
    }
}

/// A trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trade {
    /// The kind.
    pub kind: TradeKind,
    /// The side of the *resting* order, where the venue tells it.
    pub side: Option<Side>,
    /// Price.
    pub px: Price,
    /// Quantity in shares.
    pub size: u64,
    /// The venue's number of the trade (match number, trade id); 0 where it has none.
    pub trade_id: u64,
    /// Whether it counts in time and sales and volume (ITCH `printable`).
    pub printable: bool,
    /// The venue's own conditions: IEX sale condition flags, ITCH cross type; 0 where it has none.
    pub conditions: u8,
}

/// A status message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The action.
    pub action: StatusAction,
    /// The venue's own code, as on the wire (`T`, `H`, …).
    pub code: u8,
    /// The venue's reason, or empty.
    pub reason: Text<4>,
}

/// An auction imbalance.  Prices are 0 and sizes 0 where the venue gives none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imbalance {
    /// The venue's auction or cross type.
    pub auction_type: u8,
    /// The side of the imbalance; `None` if there is none or it can't be computed.
    pub side: Option<Side>,
    /// Shares paired at the reference price.
    pub paired_size: u64,
    /// Shares not paired.
    pub imbalance_size: u64,
    /// The reference price.
    pub reference_px: Price,
    /// Near indicative clearing price (auction and continuous orders); IEX: indicative clearing price.
    pub near_px: Price,
    /// Far indicative clearing price (auction orders only); IEX: auction book clearing price.
    pub far_px: Price,
}

/// What is known of an instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definition {
    /// The venue's symbol.
    pub symbol: Symbol,
    /// Shares in a round lot; 0 where the venue hasn't told yet.
    pub round_lot_size: u32,
    /// Whether it is a test security.
    pub is_test: bool,
    /// Whether it is an exchange-traded product.
    pub is_etp: bool,
}

/// What happened, in the normalized model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A new displayed order joins the end of its level's queue.
    Add {
        /// The venue's order reference number.
        order_id: u64,
        /// Side.
        side: Side,
        /// Price.
        px: Price,
        /// Shares.
        size: u32,
    },
    /// A resting order was executed in part or whole; it keeps its place.
    Execute {
        /// The resting order.
        order_id: u64,
        /// Shares executed.
        size: u32,
        /// The execution's price where it differs from the order's, else `None`.
        px: Option<Price>,
        /// The venue's number of the trade.
        trade_id: u64,
        /// Whether it counts in time and sales and volume.
        printable: bool,
        /// The venue's own conditions; 0 where it has none.
        conditions: u8,
    },
    /// A resting order lost some shares; it keeps its place.
    Cancel {
        /// The resting order.
        order_id: u64,
        /// Shares cancelled.
        size: u32,
    },
    /// A resting order is gone.
    Delete {
        /// The resting order.
        order_id: u64,
    },
    /// A resting order is gone and a new one with another id, on the same side, joins the end of the queue.
    Replace {
        /// The resting order.
        order_id: u64,
        /// The new order.
        new_order_id: u64,
        /// The new price.
        px: Price,
        /// The new shares.
        size: u32,
    },
    /// A resting order's price or shares changed under the same id (DEEP+).
    Modify {
        /// The resting order.
        order_id: u64,
        /// The new price.
        px: Price,
        /// The new total shares; 0 removes the order.
        size: u32,
        /// Whether it keeps its place; if not, it joins the end of the queue.
        keeps_priority: bool,
    },
    /// A level now has this size (level venues); 0 removes it.
    LevelSet {
        /// Side.
        side: Side,
        /// Price.
        px: Price,
        /// Shares.
        size: u32,
        /// Whether the book is consistent after this message (IEX: event processing complete).
        complete: bool,
    },
    /// The best bid and offer are now these (top-of-book venues); size 0 = none.
    Quote {
        /// Best bid.
        bid_px: Price,
        /// Its shares.
        bid_size: u32,
        /// Best offer.
        ask_px: Price,
        /// Its shares.
        ask_size: u32,
    },
    /// A trade that moves no displayed order.
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
    /// What is known of the instrument.  Comes before any other event of it.
    Definition(Definition),
    /// All orders and levels of the instrument are gone; number 0: of every instrument of the channel.
    Clear,
}

/// What an [`OrderEvent`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OrderKind {
    /// [`Event::Add`].
    Add,
    /// [`Event::Execute`] at the order's own price.
    Execute,
    /// [`Event::Execute`] at a price of its own.
    ExecuteAt,
    /// [`Event::Cancel`].
    Cancel,
    /// [`Event::Delete`].
    Delete,
    /// [`Event::Replace`].
    Replace,
}

/// An event of one order as a record of fixed form: what nearly all messages of an order-by-order venue are.
///
/// A decoder that fills the same fields whatever the message is needs no branch on its type, and records can be
/// gathered and looked at together before any is applied.  A field that the kind has no use for is 0 (the side:
/// [`Side::Bid`]).  One cache line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(64))]
pub struct OrderEvent {
    /// The venue's sequence number of the message.
    pub sequence: u64,
    /// As [`Header::ts_event`].
    pub ts_event: u64,
    /// As [`Header::ts_recv`].
    pub ts_recv: u64,
    /// The order that is added, or the resting one that changes.
    pub order_id: u64,
    /// Replace: the new order.  Execute: the venue's number of the trade.
    pub other_id: u64,
    /// Add, replace: the order's price.  Execute at: that of the execution.
    pub px: Price,
    /// As [`Header::instrument_id`].
    pub instrument_id: u32,
    /// Shares: of the order that is added or takes another's place, or those that are taken.
    pub size: u32,
    /// What it does.
    pub kind: OrderKind,
    /// Add: the side.
    pub side: Side,
    /// Execute: whether it counts in time and sales and volume.
    pub printable: bool,
    /// Execute: the venue's own conditions.
    pub conditions: u8,
}

const _: () = assert!(size_of::<OrderEvent>() == 64);

impl OrderEvent {
    /// What every event carries.
    #[inline]
    #[must_use]
    pub const fn header(&self) -> Header {
        Header {
            instrument_id: self.instrument_id,
            sequence: self.sequence,
            ts_event: self.ts_event,
            ts_recv: self.ts_recv,
        }
    }

    /// An event that is one of an order's, as a record.
    #[inline]
    #[must_use]
    pub const fn from_event(header: &Header, event: &Event) -> Option<Self> {
        let mut order = Self {
            sequence: header.sequence,
            ts_event: header.ts_event,
            ts_recv: header.ts_recv,
            order_id: 0,
            other_id: 0,
            px: Price(0),
            instrument_id: header.instrument_id,
            size: 0,
            kind: OrderKind::Add,
            side: Side::Bid,
            printable: false,
            conditions: 0,
        };
        (order.kind, order.order_id) = match *event {
            Event::Add {
                order_id,
                side,
                px,
                size,
            } => {
                (order.side, order.px, order.size) = (side, px, size);
                (OrderKind::Add, order_id)
            }
            Event::Execute {
                order_id,
                size,
                px,
                trade_id,
                printable,
                conditions,
            } => {
                (order.size, order.other_id) = (size, trade_id);
                (order.printable, order.conditions) = (printable, conditions);
                match px {
                    None => (OrderKind::Execute, order_id),
                    Some(px) => {
                        order.px = px;
                        (OrderKind::ExecuteAt, order_id)
                    }
                }
            }
            Event::Cancel { order_id, size } => {
                order.size = size;
                (OrderKind::Cancel, order_id)
            }
            Event::Delete { order_id } => (OrderKind::Delete, order_id),
            Event::Replace {
                order_id,
                new_order_id,
                px,
                size,
            } => {
                (order.other_id, order.px, order.size) = (new_order_id, px, size);
                (OrderKind::Replace, order_id)
            }
            _ => return None,
        };
        Some(order)
    }

    /// The same as an event.
    #[inline]
    #[must_use]
    pub fn event(&self) -> Event {
        let Self {
            order_id,
            other_id,
            px,
            size,
            side,
            printable,
            conditions,
            ..
        } = *self;
        let execute = |px| Event::Execute {
            order_id,
            size,
            px,
            trade_id: other_id,
            printable,
            conditions,
        };
        match self.kind {
            OrderKind::Add => Event::Add {
                order_id,
                side,
                px,
                size,
            },
            OrderKind::Execute => execute(None),
            OrderKind::ExecuteAt => execute(Some(px)),
            OrderKind::Cancel => Event::Cancel { order_id, size },
            OrderKind::Delete => Event::Delete { order_id },
            OrderKind::Replace => Event::Replace {
                order_id,
                new_order_id: other_id,
                px,
                size,
            },
        }
    }
}

/// Where a decoder puts its events.
pub trait Sink {
    /// Takes one event.
    fn event(&mut self, header: &Header, event: &Event);

    /// Takes an order's event as a record; as an event, unless a sink has a use for the record.
    #[inline]
    fn order(&mut self, order: &OrderEvent) {
        self.event(&order.header(), &order.event());
    }
}

/// Collects events: for tests and tools, not for a hot path.
impl Sink for Vec<(Header, Event)> {
    fn event(&mut self, header: &Header, event: &Event) {
        self.push((*header, *event));
    }
}

/// Maps one protocol's messages to events.
pub trait Normalizer {
    /// Maps one message, its type byte first, to zero or more events.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the message is malformed or of an unknown type; nothing was given to `sink` then.
    fn message<S: Sink>(
        &mut self,
        bytes: &[u8],
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError>;
}
