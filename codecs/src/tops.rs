//! IEX TOPS 1.6 (specification 1.66): best bid and offer, and last sale; in [`v15`], TOPS 1.5 (1.56).
//!
//! A quote update carries both sides; price and size 0 mean that a side is empty ("zero quote").
//! The two versions are told apart by the transport's protocol id, [`PROTOCOL_ID`] and
//! [`v15::PROTOCOL_ID`].

use zerocopy::byteorder::little_endian::U32;

use crate::DecodeError;
use crate::event::{Event, Origin, Sink};
pub use crate::iex::{
    AuctionInformation, OfficialPrice, OperationalHaltStatus, RetailLiquidityIndicator,
    SecurityDirectory, ShortSalePriceTestStatus, SystemEvent, TradeBreak, TradeReport,
    TradingStatus,
};
use crate::iex::{Normalize, SymbolTable, iex_feed, wire_flags};
use crate::wire::{Alpha, Char, LePrice4, LeTimestamp, wire_messages, wire_struct};

/// TOPS 1.6's message protocol id on IEX-TP.
pub const PROTOCOL_ID: u16 = 0x8003;

wire_flags! {
    /// Flags of a quote update (Appendix A).
    QuoteUpdateFlags {
        "unused_6": 0x3f,
        /// Pre- or post-market session; else the regular one.
        market_session: 0x40,
        /// The symbol is halted, paused, or otherwise not available for trading on IEX.
        symbol_availability: 0x80,
    }
}

wire_struct! {
    /// IEX's best bid and offer are now these.
    QuoteUpdate = "quote_update", 42 {
        /// `Q`.
        0 message_type: Char,
        /// Flags.
        1 quote_update_flags: QuoteUpdateFlags,
        /// When.
        2 timestamp: LeTimestamp,
        /// The symbol.
        10 symbol: Alpha<8>,
        /// Shares at the best bid.
        18 bid_size: U32,
        /// Best bid.
        22 bid_price: LePrice4,
        /// Best offer.
        30 ask_price: LePrice4,
        /// Shares at the best offer.
        38 ask_size: U32,
    }
}

wire_messages! {
    /// A TOPS 1.6 message.
    Message, "TOPS 1.6" {
        b'S' => SystemEvent,
        b'D' => SecurityDirectory,
        b'H' => TradingStatus,
        b'I' => RetailLiquidityIndicator,
        b'O' => OperationalHaltStatus,
        b'P' => ShortSalePriceTestStatus,
        b'Q' => QuoteUpdate,
        b'T' => TradeReport,
        b'X' => OfficialPrice,
        b'B' => TradeBreak,
        b'A' => AuctionInformation,
    }
}

impl Normalize for QuoteUpdate {
    #[inline]
    fn normalize<S: Sink>(
        &self,
        symbols: &mut SymbolTable,
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        let event = Event::Quote {
            bid_px: self.bid_price.price(),
            bid_size: self.bid_size.get(),
            ask_px: self.ask_price.price(),
            ask_size: self.ask_size.get(),
        };
        symbols.emit(&self.symbol, self.timestamp, origin, sink, event)
    }
}

iex_feed!(
    "TOPS 1.6",
    Message {
        SystemEvent,
        SecurityDirectory,
        TradingStatus,
        RetailLiquidityIndicator,
        OperationalHaltStatus,
        ShortSalePriceTestStatus,
        QuoteUpdate,
        TradeReport,
        OfficialPrice,
        TradeBreak,
        AuctionInformation,
    }
);

pub mod v15 {
    //! IEX TOPS 1.5 (specification 1.56): quotes, trades and trade breaks, nothing else.
    //!
    //! The trade messages end in four reserved bytes that 1.6 dropped, the first quote flag has
    //! another name, and there is no flag for single-price crosses: a bit that 1.6 gave a meaning is
    //! not read here.

    use zerocopy::byteorder::little_endian::{I64, U32};

    use crate::DecodeError;
    use crate::event::{Event, Origin, Sink, Trade, TradeKind};
    use crate::iex::{Normalize, SymbolTable, iex_feed, trade_break, wire_flags};
    use crate::wire::{Alpha, Char, LePrice4, LeTimestamp, wire_messages, wire_struct};

    /// TOPS 1.5's message protocol id on IEX-TP.
    pub const PROTOCOL_ID: u16 = 0x8002;

    wire_flags! {
        /// Flags of a quote update (Appendix A).
        QuoteUpdateFlags {
            "unused_6": 0x3f,
            /// Pre- or post-market session; else the regular one.
            market_session: 0x40,
            /// The symbol is halted.
            symbol_halt: 0x80,
        }
    }

    wire_flags! {
        /// Sale condition flags of trades and trade breaks (Appendix A).
        SaleConditionFlags {
            "unused_4": 0x0f,
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

    wire_struct! {
        /// IEX's best bid and offer are now these.
        QuoteUpdate = "quote_update", 42 {
            /// `Q`.
            0 message_type: Char,
            /// Flags.
            1 quote_update_flags: QuoteUpdateFlags,
            /// When.
            2 timestamp: LeTimestamp,
            /// The symbol.
            10 symbol: Alpha<8>,
            /// Shares at the best bid.
            18 bid_size: U32,
            /// Best bid.
            22 bid_price: LePrice4,
            /// Best offer.
            30 ask_price: LePrice4,
            /// Shares at the best offer.
            38 ask_size: U32,
        }
    }

    wire_struct! {
        /// One fill.
        TradeReport = "trade_report", 42 {
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
            /// Reserved.
            38 reserved: U32,
        }
    }

    wire_struct! {
        /// A trade of the same day was broken.
        TradeBreak = "trade_break", 42 {
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
            /// Reserved.
            38 reserved: U32,
        }
    }

    wire_messages! {
        /// A TOPS 1.5 message.
        Message, "TOPS 1.5" {
            b'Q' => QuoteUpdate,
            b'T' => TradeReport,
            b'B' => TradeBreak,
        }
    }

    impl Normalize for QuoteUpdate {
        #[inline]
        fn normalize<S: Sink>(
            &self,
            symbols: &mut SymbolTable,
            origin: Origin,
            sink: &mut S,
        ) -> Result<(), DecodeError> {
            let event = Event::Quote {
                bid_px: self.bid_price.price(),
                bid_size: self.bid_size.get(),
                ask_px: self.ask_price.price(),
                ask_size: self.ask_size.get(),
            };
            symbols.emit(&self.symbol, self.timestamp, origin, sink, event)
        }
    }

    impl Normalize for TradeReport {
        #[inline]
        fn normalize<S: Sink>(
            &self,
            symbols: &mut SymbolTable,
            origin: Origin,
            sink: &mut S,
        ) -> Result<(), DecodeError> {
            let event = Event::Trade(Trade {
                kind: TradeKind::Report,
                side: None,
                px: self.price.price(),
                size: u64::from(self.size.get()),
                trade_id: self.trade_id.get().cast_unsigned(),
                printable: true,
                conditions: self.sale_condition_flags.0,
            });
            symbols.emit(&self.symbol, self.timestamp, origin, sink, event)
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

    iex_feed!(
        "TOPS 1.5",
        Message {
            QuoteUpdate,
            TradeReport,
            TradeBreak,
        }
    );
}
