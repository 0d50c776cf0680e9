//! What IEX's feeds share: messages, flags, the symbol table, and how those messages are normalized.
//!
//! TOPS 1.6 (specification 1.66), DEEP 1.0 (1.08) and DEEP+ 1.0 (1.04) use the same layouts for
//! these messages; each feed's module says which it has.  All integers are little-endian, prices are
//! signed with four implied decimals, timestamps are nanoseconds since the Unix epoch, and symbols
//! are eight bytes padded with spaces, in Nasdaq Integrated symbology.
//!
//! IEX may grow a message at its end or add types without notice: longer messages are read by their
//! known beginning, unknown types are an error of their own that the caller counts and goes on from.
//!
//! Not done: the DEEP+ and TOPS snapshot services, which are other protocols.

use core::hash::BuildHasherDefault;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rustc_hash::FxHasher;
use zerocopy::byteorder::little_endian::{I64, U32};

use crate::DecodeError;
use crate::event::{
    Definition, Event, Header, Imbalance, Origin, Sink, Status, StatusAction, Trade, TradeKind,
};
use crate::types::{Side, Symbol, Text};
use crate::wire::{Alpha, Char, LeEventTime, LePrice4, LeTimestamp, wire_struct};

/// Declares a byte of flags: names from the lowest bit up, with their masks.
macro_rules! wire_flags {
    (
        $(#[$meta:meta])*
        $name:ident {
            $unused:literal: $unused_mask:literal,
            $( $(#[$flag_meta:meta])* $flag:ident: $mask:literal ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable,
            zerocopy::KnownLayout, zerocopy::Unaligned,
        )]
        #[repr(transparent)]
        pub struct $name(pub u8);

        impl $name {
            /// Name and mask of each flag, from the lowest bit up.
            pub const TABLE: &'static [(&'static str, u8)] =
                &[($unused, $unused_mask), $( (stringify!($flag), $mask) ),+];

            $(
                $(#[$flag_meta])*
                #[must_use]
                pub const fn $flag(self) -> bool {
                    self.0 & $mask != 0
                }
            )+
        }

        // Every bit is named exactly once.
        const _: () = assert!($unused_mask as u32 $( + $mask as u32 )+ == 0xff);

        impl $crate::wire::WireValue for $name {
            fn value(&self) -> $crate::wire::Value<'_> {
                $crate::wire::Value::Flags(self.0, Self::TABLE)
            }
        }
    };
}
pub(crate) use wire_flags;

wire_flags! {
    /// Sale condition flags of trades and trade breaks (Appendix A).
    SaleConditionFlags {
        "unused_3": 0x07,
        /// The trade resulted from a single-price cross: an auction.
        single_price_cross_trade: 0x08,
        /// The trade isn't subject to Rule 611 of Regulation NMS.
        trade_through_exempt: 0x10,
        /// The trade is less than one round lot.
        odd_lot: 0x20,
        /// The trade occurred before or after the regular market session (Form T).
        extended_hours: 0x40,
        /// The trade resulted from an intermarket sweep order.
        intermarket_sweep: 0x80,
    }
}

impl SaleConditionFlags {
    /// Whether the trade may be the last sale, by the specification's trade eligibility guidelines.
    #[must_use]
    pub const fn is_last_sale_eligible(self) -> bool {
        !self.extended_hours() && !self.odd_lot()
    }

    /// Whether the trade may set the day's high or low, by the same guidelines.
    #[must_use]
    pub const fn is_high_low_eligible(self) -> bool {
        !self.extended_hours() && !self.odd_lot()
    }

    /// Whether the trade counts in volume, by the same guidelines: every trade does.
    #[must_use]
    pub const fn is_volume_eligible(self) -> bool {
        true
    }
}

wire_flags! {
    /// Flags of a security directory message (Appendix A).
    SecurityDirectoryFlags {
        "unused_5": 0x1f,
        /// An exchange-traded product.
        etp: 0x20,
        /// A when issued security.
        when_issued: 0x40,
        /// A test security.
        test_security: 0x80,
    }
}

wire_struct! {
    /// An event of the market or the feed.
    SystemEvent = "system_event", 10 {
        /// `S`.
        0 message_type: Char,
        /// `O` start of messages, `S` start of system hours, `R` start of regular hours, `M` end of
        /// regular hours, `E` end of system hours, `C` end of messages.
        1 system_event: Char,
        /// When.
        2 timestamp: LeTimestamp,
    }
}

wire_struct! {
    /// What IEX says about a security that it lists.
    SecurityDirectory = "security_directory", 31 {
        /// `D`.
        0 message_type: Char,
        /// Flags.
        1 security_directory_flags: SecurityDirectoryFlags,
        /// When.
        2 timestamp: LeTimestamp,
        /// The security.
        10 symbol: Alpha<8>,
        /// Shares in a round lot.
        18 round_lot_size: U32,
        /// Previous official closing price, adjusted for corporate actions.
        22 adjusted_poc_price: LePrice4,
        /// Limit Up-Limit Down tier: 0 not applicable, 1, 2.
        30 luld_tier: u8,
    }
}

wire_struct! {
    /// A security's trading status.
    TradingStatus = "trading_status", 22 {
        /// `H`.
        0 message_type: Char,
        /// `H` halted, `O` order acceptance period, `P` paused, `T` trading.
        1 trading_status: Char,
        /// When.
        2 timestamp: LeTimestamp,
        /// The security.
        10 symbol: Alpha<8>,
        /// Why: `T1`, `IPO1`, `MCB3`, `NA`, …; blank while it trades.
        18 reason: Alpha<4>,
    }
}

wire_struct! {
    /// Interest of retail liquidity providers.
    RetailLiquidityIndicator = "retail_liquidity_indicator", 18 {
        /// `I`.
        0 message_type: Char,
        /// Space not applicable, `A` buy, `B` sell, `C` both.
        1 retail_liquidity_indicator: Char,
        /// When.
        2 timestamp: LeTimestamp,
        /// The security.
        10 symbol: Alpha<8>,
    }
}

wire_struct! {
    /// Whether IEX itself suspended a security for operational reasons.
    OperationalHaltStatus = "operational_halt_status", 18 {
        /// `O`.
        0 message_type: Char,
        /// `O` halted on IEX, `N` not.
        1 operational_halt_status: Char,
        /// When.
        2 timestamp: LeTimestamp,
        /// The security.
        10 symbol: Alpha<8>,
    }
}

wire_struct! {
    /// Whether a Rule 201 short sale price test is in effect.
    ShortSalePriceTestStatus = "short_sale_price_test_status", 19 {
        /// `P`.
        0 message_type: Char,
        /// 0 not in effect, 1 in effect.
        1 short_sale_price_test_status: u8,
        /// When.
        2 timestamp: LeTimestamp,
        /// The security.
        10 symbol: Alpha<8>,
        /// Space none, `A` activated, `C` continued, `D` deactivated, `N` not available.
        18 detail: Char,
    }
}

wire_struct! {
    /// A security's opening or closing process is complete (DEEP, DEEP+).
    SecurityEvent = "security_event", 18 {
        /// `E`.
        0 message_type: Char,
        /// `O` opening process complete, `C` closing process complete.
        1 security_event: Char,
        /// When.
        2 timestamp: LeTimestamp,
        /// The security.
        10 symbol: Alpha<8>,
    }
}

wire_struct! {
    /// One fill (TOPS 1.6, DEEP).
    TradeReport = "trade_report", 38 {
        /// `T`.
        0 message_type: Char,
        /// Flags.
        1 sale_condition_flags: SaleConditionFlags,
        /// When.
        2 timestamp: LeTimestamp,
        /// The security.
        10 symbol: Alpha<8>,
        /// Shares.
        18 size: U32,
        /// Price.
        22 price: LePrice4,
        /// IEX's number of the trade, unique within a day.
        30 trade_id: I64,
    }
}

wire_struct! {
    /// A trade of the same day was broken.
    TradeBreak = "trade_break", 38 {
        /// `B`.
        0 message_type: Char,
        /// The broken trade's flags.
        1 sale_condition_flags: SaleConditionFlags,
        /// When it was broken.
        2 timestamp: LeTimestamp,
        /// The security.
        10 symbol: Alpha<8>,
        /// The broken trade's shares.
        18 size: U32,
        /// The broken trade's price.
        22 price: LePrice4,
        /// The broken trade's number.
        30 trade_id: I64,
    }
}

wire_struct! {
    /// IEX's official opening or closing price (TOPS 1.6, DEEP); a later one overrides.
    OfficialPrice = "official_price", 26 {
        /// `X`.
        0 message_type: Char,
        /// `Q` opening, `M` closing.
        1 price_type: Char,
        /// When.
        2 timestamp: LeTimestamp,
        /// The security.
        10 symbol: Alpha<8>,
        /// The price.
        18 official_price: LePrice4,
    }
}

wire_struct! {
    /// Where an auction stands (TOPS 1.6, DEEP).
    AuctionInformation = "auction_information", 80 {
        /// `A`.
        0 message_type: Char,
        /// `O` opening, `C` closing, `I` IPO, `H` halt, `V` volatility.
        1 auction_type: Char,
        /// When.
        2 timestamp: LeTimestamp,
        /// The security.
        10 symbol: Alpha<8>,
        /// Shares paired at the reference price.
        18 paired_shares: U32,
        /// The clearing price at or within the reference price range.
        22 reference_price: LePrice4,
        /// The clearing price of all eligible auction orders.
        30 indicative_clearing_price: LePrice4,
        /// Shares not paired at the reference price.
        38 imbalance_shares: U32,
        /// `B` buy, `S` sell, `N` none.
        42 imbalance_side: Char,
        /// Extensions that the auction received.
        43 extension_number: u8,
        /// When the match is expected.
        44 scheduled_auction_time: LeEventTime,
        /// The clearing price of orders on the auction book only.
        48 auction_book_clearing_price: LePrice4,
        /// The collar's reference; 0 if there is no collar.
        56 collar_reference_price: LePrice4,
        /// The collar's lower end; 0 if there is none.
        64 lower_auction_collar: LePrice4,
        /// The collar's upper end; 0 if there is none.
        72 upper_auction_collar: LePrice4,
    }
}

/// Local numbers of a channel's instruments: 1, 2, … in order of first appearance.
///
/// A symbol keeps its number for as long as the table lives, sessions included, so books and
/// subscriptions that are keyed by it stay valid.  A channel has at most 65,535; a symbol beyond
/// that is refused and counted.
#[derive(Debug, Clone)]
pub struct SymbolTable {
    channel: u32,
    numbers: HashMap<u64, u16, BuildHasherDefault<FxHasher>>,
    refused: u64,
}

/// Symbols that a table has room for before it grows: IEX trades fewer than 13,000.
const SYMBOLS_EXPECTED: usize = 16_384;

impl SymbolTable {
    /// An empty table for our channel of this number.
    #[must_use]
    pub fn new(channel: u16) -> Self {
        Self {
            channel: u32::from(channel).wrapping_shl(16),
            numbers: HashMap::with_capacity_and_hasher(
                SYMBOLS_EXPECTED,
                BuildHasherDefault::default(),
            ),
            refused: 0,
        }
    }

    /// How many symbols have a number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether no symbol was seen yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Messages that were dropped because the table was full.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The instrument that a symbol has, if it was seen.
    #[must_use]
    pub fn find(&self, symbol: &Alpha<8>) -> Option<u32> {
        self.numbers
            .get(&key(symbol))
            .map(|&number| self.channel | u32::from(number))
    }

    /// The channel itself: number 0.
    pub(crate) fn channel_id(&self) -> u32 {
        self.channel
    }

    /// The instrument that a symbol has from now on, and whether it is new.
    #[inline]
    pub(crate) fn number(&mut self, symbol: &Alpha<8>) -> Result<(u32, bool), DecodeError> {
        let key = key(symbol);
        // The next number, counted from 1: one more than there are.
        let next = u16::try_from(self.numbers.len().saturating_add(1));
        match self.numbers.entry(key) {
            Entry::Occupied(entry) => Ok((self.channel | u32::from(*entry.get()), false)),
            Entry::Vacant(entry) => {
                let (Ok(number), false) = (next, symbol.trimmed().is_empty()) else {
                    if next.is_err() {
                        self.refused = self.refused.saturating_add(1);
                    }
                    return Err(DecodeError::BadValue {
                        field: "symbol",
                        value: key,
                    });
                };
                entry.insert(number);
                Ok((self.channel | u32::from(number), true))
            }
        }
    }

    /// Finds or makes the instrument, and announces it if it is new.
    #[inline]
    pub(crate) fn announce<S: Sink>(
        &mut self,
        symbol: &Alpha<8>,
        timestamp: LeTimestamp,
        origin: Origin,
        sink: &mut S,
    ) -> Result<Header, DecodeError> {
        let (instrument_id, is_new) = self.number(symbol)?;
        let header = header(instrument_id, timestamp, origin);
        if is_new {
            sink.event(
                &header,
                &Event::Definition(Definition {
                    symbol: symbol.text(),
                    round_lot_size: 0,
                    is_test: false,
                    is_etp: false,
                }),
            );
        }
        Ok(header)
    }

    /// Announces the instrument if it is new, then gives its event.
    #[inline]
    pub(crate) fn emit<S: Sink>(
        &mut self,
        symbol: &Alpha<8>,
        timestamp: LeTimestamp,
        origin: Origin,
        sink: &mut S,
        event: Event,
    ) -> Result<(), DecodeError> {
        let header = self.announce(symbol, timestamp, origin, sink)?;
        sink.event(&header, &event);
        Ok(())
    }
}

fn key(symbol: &Alpha<8>) -> u64 {
    u64::from_le_bytes(symbol.0)
}

fn header(instrument_id: u32, timestamp: LeTimestamp, origin: Origin) -> Header {
    Header {
        instrument_id,
        sequence: origin.sequence,
        ts_event: timestamp.nanos(),
        ts_recv: origin.ts_recv,
    }
}

/// A message that the feeds share, in the one way that it is normalized.
pub(crate) trait Normalize {
    fn normalize<S: Sink>(
        &self,
        symbols: &mut SymbolTable,
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError>;
}

fn status(action: StatusAction, code: u8, reason: Text<4>) -> Event {
    Event::Status(Status {
        action,
        code,
        reason,
    })
}

impl Normalize for SystemEvent {
    fn normalize<S: Sink>(
        &self,
        symbols: &mut SymbolTable,
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        let code = self.system_event.0;
        let action = match code {
            b'O' => StatusAction::StartOfMessages,
            b'S' => StatusAction::PreOpen,
            b'R' => StatusAction::Trading,
            b'M' => StatusAction::Close,
            b'E' => StatusAction::PostClose,
            b'C' => StatusAction::EndOfMessages,
            _ => StatusAction::Other,
        };
        let header = header(symbols.channel_id(), self.timestamp, origin);
        sink.event(&header, &status(action, code, Text::default()));
        Ok(())
    }
}

impl Normalize for SecurityDirectory {
    fn normalize<S: Sink>(
        &self,
        symbols: &mut SymbolTable,
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        // This is the definition: no other is needed before it.
        let (instrument_id, _) = symbols.number(&self.symbol)?;
        let flags = self.security_directory_flags;
        let symbol: Symbol = self.symbol.text();
        sink.event(
            &header(instrument_id, self.timestamp, origin),
            &Event::Definition(Definition {
                symbol,
                round_lot_size: self.round_lot_size.get(),
                is_test: flags.test_security(),
                is_etp: flags.etp(),
            }),
        );
        Ok(())
    }
}

impl Normalize for TradingStatus {
    fn normalize<S: Sink>(
        &self,
        symbols: &mut SymbolTable,
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        let code = self.trading_status.0;
        let action = match code {
            b'H' => StatusAction::Halt,
            b'O' => StatusAction::OrderAcceptance,
            b'P' => StatusAction::Pause,
            b'T' => StatusAction::Trading,
            _ => StatusAction::Other,
        };
        let event = status(action, code, self.reason.text());
        symbols.emit(&self.symbol, self.timestamp, origin, sink, event)
    }
}

impl Normalize for RetailLiquidityIndicator {
    fn normalize<S: Sink>(
        &self,
        symbols: &mut SymbolTable,
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        let event = status(
            StatusAction::RetailInterest,
            self.retail_liquidity_indicator.0,
            Text::default(),
        );
        symbols.emit(&self.symbol, self.timestamp, origin, sink, event)
    }
}

impl Normalize for OperationalHaltStatus {
    fn normalize<S: Sink>(
        &self,
        symbols: &mut SymbolTable,
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        let code = self.operational_halt_status.0;
        let action = match code {
            b'O' => StatusAction::OperationalHalt,
            b'N' => StatusAction::OperationalResume,
            _ => StatusAction::Other,
        };
        let event = status(action, code, Text::default());
        symbols.emit(&self.symbol, self.timestamp, origin, sink, event)
    }
}

impl Normalize for ShortSalePriceTestStatus {
    fn normalize<S: Sink>(
        &self,
        symbols: &mut SymbolTable,
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        let event = status(
            StatusAction::ShortSaleRestriction,
            self.short_sale_price_test_status,
            Text::from_padded(&[self.detail.0]),
        );
        symbols.emit(&self.symbol, self.timestamp, origin, sink, event)
    }
}

impl Normalize for SecurityEvent {
    fn normalize<S: Sink>(
        &self,
        symbols: &mut SymbolTable,
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        let event = status(
            StatusAction::SecurityEvent,
            self.security_event.0,
            Text::default(),
        );
        symbols.emit(&self.symbol, self.timestamp, origin, sink, event)
    }
}

/// A trade event: a cross if the flags say so, else of the given kind.
pub(crate) fn trade(
    kind: TradeKind,
    flags: SaleConditionFlags,
    price: LePrice4,
    size: U32,
    trade_id: I64,
) -> Event {
    Event::Trade(Trade {
        kind: if flags.single_price_cross_trade() {
            TradeKind::Cross
        } else {
            kind
        },
        side: None,
        px: price.price(),
        size: u64::from(size.get()),
        trade_id: trade_id.get().cast_unsigned(),
        printable: flags.is_volume_eligible(),
        conditions: flags.0,
    })
}

impl Normalize for TradeReport {
    #[inline]
    fn normalize<S: Sink>(
        &self,
        symbols: &mut SymbolTable,
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        let event = trade(
            TradeKind::Report,
            self.sale_condition_flags,
            self.price,
            self.size,
            self.trade_id,
        );
        symbols.emit(&self.symbol, self.timestamp, origin, sink, event)
    }
}

/// A trade break event.
pub(crate) fn trade_break(price: LePrice4, size: U32, trade_id: I64) -> Event {
    Event::TradeBreak {
        trade_id: trade_id.get().cast_unsigned(),
        px: Some(price.price()),
        size: u64::from(size.get()),
    }
}

impl Normalize for TradeBreak {
    fn normalize<S: Sink>(
        &self,
        symbols: &mut SymbolTable,
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        let event = trade_break(self.price, self.size, self.trade_id);
        symbols.emit(&self.symbol, self.timestamp, origin, sink, event)
    }
}

impl Normalize for OfficialPrice {
    fn normalize<S: Sink>(
        &self,
        symbols: &mut SymbolTable,
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        // A price of the venue's own, not a trade: nothing was exchanged, nothing counts in volume.
        let event = Event::Trade(Trade {
            kind: TradeKind::Report,
            side: None,
            px: self.official_price.price(),
            size: 0,
            trade_id: 0,
            printable: false,
            conditions: self.price_type.0,
        });
        symbols.emit(&self.symbol, self.timestamp, origin, sink, event)
    }
}

impl Normalize for AuctionInformation {
    fn normalize<S: Sink>(
        &self,
        symbols: &mut SymbolTable,
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        let event = Event::Imbalance(Imbalance {
            auction_type: self.auction_type.0,
            side: match self.imbalance_side.0 {
                b'B' => Some(Side::Bid),
                b'S' => Some(Side::Ask),
                _ => None,
            },
            paired_size: u64::from(self.paired_shares.get()),
            imbalance_size: u64::from(self.imbalance_shares.get()),
            reference_px: self.reference_price.price(),
            near_px: self.indicative_clearing_price.price(),
            far_px: self.auction_book_clearing_price.price(),
        });
        symbols.emit(&self.symbol, self.timestamp, origin, sink, event)
    }
}

/// Declares a feed's `check` and its `Normalizer` over the messages of its module.
macro_rules! iex_feed {
    ($feed:literal, $message:ident { $($variant:ident),+ $(,)? }) => {
        /// Checks a message by the length table only.
        ///
        /// Types that the specification doesn't have pass, and so do messages that grew: IEX adds
        /// both without notice.  An empty message passes: IEX-TP allows it, so it mustn't cost the
        /// rest of its segment.
        ///
        /// # Errors
        ///
        /// [`DecodeError::Truncated`](crate::DecodeError::Truncated) if a message of a known type is
        /// shorter than its type.
        #[inline]
        pub fn check(message: &[u8]) -> Result<(), $crate::DecodeError> {
            match $message::parse(message) {
                Err(error @ $crate::DecodeError::Truncated { .. }) => Err(error),
                _ => Ok(()),
            }
        }

        #[doc = concat!("Maps ", $feed, " messages to events.")]
        ///
        /// Instruments get numbers from 1 in order of first appearance; the first event of each is
        /// its definition.
        #[derive(Debug, Clone)]
        pub struct Normalizer {
            symbols: $crate::iex::SymbolTable,
        }

        impl Normalizer {
            /// For our channel of this number.
            #[must_use]
            pub fn new(channel: u16) -> Self {
                Self {
                    symbols: $crate::iex::SymbolTable::new(channel),
                }
            }

            /// A new session begins.  Symbols keep their numbers, and nothing else is kept between
            /// messages.
            pub fn start_session(&mut self) {}

            /// The instruments seen so far.
            #[must_use]
            pub fn symbols(&self) -> &$crate::iex::SymbolTable {
                &self.symbols
            }
        }

        impl $crate::event::Normalizer for Normalizer {
            #[inline]
            fn message<S: $crate::event::Sink>(
                &mut self,
                bytes: &[u8],
                origin: $crate::event::Origin,
                sink: &mut S,
            ) -> Result<(), $crate::DecodeError> {
                use $crate::iex::Normalize;
                match $message::parse(bytes)? {
                    $(
                        $message::$variant(message) => {
                            message.normalize(&mut self.symbols, origin, sink)
                        }
                    )+
                }
            }
        }
    };
}
pub(crate) use iex_feed;
