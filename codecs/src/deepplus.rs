//! IEX DEEP+ 1.0 (specification 1.04, feed version 1.0.2): displayed orders one by one, and last sale.
//!
//! Orders are keyed by an id that may be used again after a delete.  An execution leaves the order's
//! place as it is; its price may differ from the order's own.  Auctions and official prices aren't on
//! this feed.  Trades between two orders that aren't displayed come as a message of their own that
//! moves no order.

use zerocopy::byteorder::little_endian::{I64, U32};

use crate::DecodeError;
use crate::event::{Event, Origin, Sink, TradeKind};
use crate::iex::{Normalize, SaleConditionFlags, SymbolTable, iex_feed, trade, wire_flags};
pub use crate::iex::{
    OperationalHaltStatus, RetailLiquidityIndicator, SecurityDirectory, SecurityEvent,
    ShortSalePriceTestStatus, SystemEvent, TradeBreak, TradingStatus,
};
use crate::types::Side;
use crate::wire::{Alpha, Char, LePrice4, LeTimestamp, wire_messages, wire_struct};

/// DEEP+'s message protocol id on IEX-TP.
pub const PROTOCOL_ID: u16 = 0x8005;

wire_flags! {
    /// Flags of an order modify message.
    ///
    /// "Bit 0 – Priority", and this specification counts bits from the lowest (its bit 7 is 0x80).
    ModifyFlags {
        "unused_7": 0xfe,
        /// The order keeps its place; else it joins the end of the queue.
        priority: 0x01,
    }
}

wire_struct! {
    /// A displayed order was added.
    AddOrder = "add_order", 38 {
        /// `a`.
        0 message_type: Char,
        /// `8` buy, `5` sell.
        1 side: Char,
        /// When.
        2 timestamp: LeTimestamp,
        /// The security.
        10 symbol: Alpha<8>,
        /// The order's id.
        18 order_id: I64,
        /// Shares displayed.
        26 size: U32,
        /// Booking price.
        30 price: LePrice4,
    }
}

wire_struct! {
    /// A displayed order's price, size or priority changed.
    OrderModify = "order_modify", 38 {
        /// `M`.
        0 message_type: Char,
        /// Whether it keeps its place.
        1 modify_flags: ModifyFlags,
        /// When.
        2 timestamp: LeTimestamp,
        /// The security.
        10 symbol: Alpha<8>,
        /// The order.
        18 order_id_reference: I64,
        /// New total shares displayed.
        26 size: U32,
        /// New booking price.
        30 price: LePrice4,
    }
}

wire_struct! {
    /// A displayed order was removed.
    OrderDelete = "order_delete", 26 {
        /// `R`.
        0 message_type: Char,
        /// Reserved.
        1 reserved: u8,
        /// When.
        2 timestamp: LeTimestamp,
        /// The security.
        10 symbol: Alpha<8>,
        /// The order.
        18 order_id_reference: I64,
    }
}

wire_struct! {
    /// A displayed order was executed in part or whole.
    OrderExecuted = "order_executed", 46 {
        /// `L`.
        0 message_type: Char,
        /// Flags.
        1 sale_condition_flags: SaleConditionFlags,
        /// When.
        2 timestamp: LeTimestamp,
        /// The security.
        10 symbol: Alpha<8>,
        /// The order.
        18 order_id_reference: I64,
        /// Shares executed.
        26 size: U32,
        /// The execution's price, which may differ from the order's.
        30 price: LePrice4,
        /// IEX's number of the trade.
        38 trade_id: I64,
    }
}

wire_struct! {
    /// A trade between orders that aren't displayed.
    Trade = "trade", 38 {
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
        /// IEX's number of the trade.
        30 trade_id: I64,
    }
}

wire_struct! {
    /// All orders of a security are gone.
    ClearBook = "clear_book", 18 {
        /// `C`.
        0 message_type: Char,
        /// Reserved.
        1 reserved: u8,
        /// When.
        2 timestamp: LeTimestamp,
        /// The security.
        10 symbol: Alpha<8>,
    }
}

wire_messages! {
    /// A DEEP+ message.
    Message, "DEEP+ 1.0" {
        b'S' => SystemEvent,
        b'D' => SecurityDirectory,
        b'H' => TradingStatus,
        b'I' => RetailLiquidityIndicator,
        b'O' => OperationalHaltStatus,
        b'P' => ShortSalePriceTestStatus,
        b'E' => SecurityEvent,
        b'a' => AddOrder,
        b'M' => OrderModify,
        b'R' => OrderDelete,
        b'L' => OrderExecuted,
        b'T' => Trade,
        b'B' => TradeBreak,
        b'C' => ClearBook,
    }
}

impl Normalize for AddOrder {
    #[inline]
    fn normalize<S: Sink>(
        &self,
        symbols: &mut SymbolTable,
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        let side = match self.side.0 {
            b'8' => Side::Bid,
            b'5' => Side::Ask,
            other => {
                return Err(DecodeError::BadValue {
                    field: "side",
                    value: u64::from(other),
                });
            }
        };
        let event = Event::Add {
            order_id: self.order_id.get().cast_unsigned(),
            side,
            px: self.price.price(),
            size: self.size.get(),
        };
        symbols.emit(&self.symbol, self.timestamp, origin, sink, event)
    }
}

impl Normalize for OrderModify {
    #[inline]
    fn normalize<S: Sink>(
        &self,
        symbols: &mut SymbolTable,
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        let event = Event::Modify {
            order_id: self.order_id_reference.get().cast_unsigned(),
            px: self.price.price(),
            size: self.size.get(),
            keeps_priority: self.modify_flags.priority(),
        };
        symbols.emit(&self.symbol, self.timestamp, origin, sink, event)
    }
}

impl Normalize for OrderDelete {
    #[inline]
    fn normalize<S: Sink>(
        &self,
        symbols: &mut SymbolTable,
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        let event = Event::Delete {
            order_id: self.order_id_reference.get().cast_unsigned(),
        };
        symbols.emit(&self.symbol, self.timestamp, origin, sink, event)
    }
}

impl Normalize for OrderExecuted {
    #[inline]
    fn normalize<S: Sink>(
        &self,
        symbols: &mut SymbolTable,
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        let event = Event::Execute {
            order_id: self.order_id_reference.get().cast_unsigned(),
            size: self.size.get(),
            px: Some(self.price.price()),
            trade_id: self.trade_id.get().cast_unsigned(),
            printable: self.sale_condition_flags.is_volume_eligible(),
            conditions: self.sale_condition_flags.0,
        };
        symbols.emit(&self.symbol, self.timestamp, origin, sink, event)
    }
}

impl Normalize for Trade {
    #[inline]
    fn normalize<S: Sink>(
        &self,
        symbols: &mut SymbolTable,
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        let event = trade(
            TradeKind::Hidden,
            self.sale_condition_flags,
            self.price,
            self.size,
            self.trade_id,
        );
        symbols.emit(&self.symbol, self.timestamp, origin, sink, event)
    }
}

impl Normalize for ClearBook {
    fn normalize<S: Sink>(
        &self,
        symbols: &mut SymbolTable,
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        symbols.emit(&self.symbol, self.timestamp, origin, sink, Event::Clear)
    }
}

iex_feed!(
    "DEEP+ 1.0",
    Message {
        SystemEvent,
        SecurityDirectory,
        TradingStatus,
        RetailLiquidityIndicator,
        OperationalHaltStatus,
        ShortSalePriceTestStatus,
        SecurityEvent,
        AddOrder,
        OrderModify,
        OrderDelete,
        OrderExecuted,
        Trade,
        TradeBreak,
        ClearBook,
    }
);
