//! IEX DEEP 1.0 (specification 1.08): aggregated depth of book by price level, and last sale.
//!
//! A price level update sets the displayed size of one level; size 0 removes it.  Updates that belong
//! to one event of the matching engine follow each other with event flags 0, and the last has 1: only
//! then is the best bid and offer meaningful.  The specification doesn't say whether a trade was
//! against a displayed order, and the level update that follows it already moved the book.

use zerocopy::byteorder::little_endian::U32;

use crate::DecodeError;
use crate::event::{Event, Origin, Sink};
pub use crate::iex::{
    AuctionInformation, OfficialPrice, OperationalHaltStatus, RetailLiquidityIndicator,
    SecurityDirectory, SecurityEvent, ShortSalePriceTestStatus, SystemEvent, TradeBreak,
    TradeReport, TradingStatus,
};
use crate::iex::{Normalize, SymbolTable, iex_feed};
use crate::types::Side;
use crate::wire::{Alpha, Char, LePrice4, LeTimestamp, wire_messages, wire_struct};

/// DEEP's message protocol id on IEX-TP.
pub const PROTOCOL_ID: u16 = 0x8004;

wire_struct! {
    /// The displayed size of a price level is now this.
    PriceLevelUpdate = "price_level_update", 30 {
        /// `8` buy side, `5` sell side.
        0 message_type: Char,
        /// 1: event processing is complete; 0: the order book is in transition.
        1 event_flags: u8,
        /// When.
        2 timestamp: LeTimestamp,
        /// The security.
        10 symbol: Alpha<8>,
        /// Shares at the level; 0 removes it.
        18 size: U32,
        /// The level.
        22 price: LePrice4,
    }
}

impl PriceLevelUpdate {
    /// The side that the type byte tells.
    #[must_use]
    pub fn side(&self) -> Side {
        // `Message::parse` lets only `8` and `5` come here.
        if self.message_type.0 == b'8' {
            Side::Bid
        } else {
            Side::Ask
        }
    }

    /// Whether the order book's transition is complete with this update.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.event_flags & 1 != 0
    }
}

wire_messages! {
    /// A DEEP message.
    Message, "DEEP 1.0" {
        b'S' => SystemEvent,
        b'D' => SecurityDirectory,
        b'H' => TradingStatus,
        b'I' => RetailLiquidityIndicator,
        b'O' => OperationalHaltStatus,
        b'P' => ShortSalePriceTestStatus,
        b'E' => SecurityEvent,
        b'8' | b'5' => PriceLevelUpdate,
        b'T' => TradeReport,
        b'X' => OfficialPrice,
        b'B' => TradeBreak,
        b'A' => AuctionInformation,
    }
}

impl Normalize for PriceLevelUpdate {
    #[inline]
    fn normalize<S: Sink>(
        &self,
        symbols: &mut SymbolTable,
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        let event = Event::LevelSet {
            side: self.side(),
            px: self.price.price(),
            size: self.size.get(),
            complete: self.is_complete(),
        };
        symbols.emit(&self.symbol, self.timestamp, origin, sink, event)
    }
}

iex_feed!(
    "DEEP 1.0",
    Message {
        SystemEvent,
        SecurityDirectory,
        TradingStatus,
        RetailLiquidityIndicator,
        OperationalHaltStatus,
        ShortSalePriceTestStatus,
        SecurityEvent,
        PriceLevelUpdate,
        TradeReport,
        OfficialPrice,
        TradeBreak,
        AuctionInformation,
    }
);
