//! Nasdaq TotalView-ITCH 5.0: every order on Nasdaq's book, message by message.
//!
//! Implements *Nasdaq TotalView-ITCH 5.0*, sections 1.1 to 1.8, in the edition of 19 February 2026; the
//! numbers in parentheses are its sections.  The editions of 2017 and 2023 have the same messages at the
//! same offsets, except that 2017 has neither Operational Halt (1.2.8, added March 2018) nor Direct
//! Listing with Capital Raise (1.8, added April 2023).  2026 adds values, no fields.
//!
//! Every message begins with its type, its stock locate, a tracking number and a timestamp, at the same
//! offsets.  Integers are big-endian and unsigned, text is ASCII padded on the right with spaces,
//! prices have four implied decimals (8 in the circuit breaker levels), timestamps are nanoseconds since
//! midnight, Eastern time ("Data Types").
//!
//! A message longer than its struct is accepted: a later edition may add fields at the end.  A shorter
//! one is refused.  A type that isn't in the table is refused by [`Message::parse`] and let pass by
//! [`check`]: its carrier tells its length, so it can be skipped and counted.
//!
//! What happens to each message on its way to the normalized model: [`Normalizer`].

use zerocopy::byteorder::big_endian::{U16, U32, U64};

use crate::DecodeError;
use crate::wire::{Alpha, BePrice4, BePrice8, BeTimestamp48, Char, wire_messages, wire_struct};

mod normalize;

pub use normalize::Normalizer;

/// The name that errors give to this protocol.
const PROTOCOL: &str = "ITCH 5.0";

wire_messages! {
    /// Any message of TotalView-ITCH 5.0.
    Message, "ITCH 5.0" {
        b'S' => SystemEvent,
        b'R' => StockDirectory,
        b'H' => StockTradingAction,
        b'Y' => RegShoRestriction,
        b'L' => MarketParticipantPosition,
        b'V' => MwcbDeclineLevel,
        b'W' => MwcbStatus,
        b'K' => IpoQuotingPeriodUpdate,
        b'J' => LuldAuctionCollar,
        b'h' => OperationalHalt,
        b'A' => AddOrder,
        b'F' => AddOrderWithMpid,
        b'E' => OrderExecuted,
        b'C' => OrderExecutedWithPrice,
        b'X' => OrderCancel,
        b'D' => OrderDelete,
        b'U' => OrderReplace,
        b'P' => Trade,
        b'Q' => CrossTrade,
        b'B' => BrokenTrade,
        b'I' => Noii,
        b'N' => RetailPriceImprovementIndicator,
        b'O' => DirectListingWithCapitalRaise,
    }
}

/// Whether a message is long enough for its type.  Nothing else is looked at.
///
/// # Errors
///
/// - [`DecodeError::EmptyBlock`] if there is no type byte;
/// - [`DecodeError::Truncated`] if the type is known and the message shorter than its length.
#[inline]
pub fn check(message: &[u8]) -> Result<(), DecodeError> {
    let Some(&message_type) = message.first() else {
        return Err(DecodeError::EmptyBlock);
    };
    match Message::length_of(message_type) {
        Some(need) if message.len() < need => Message::parse(message).map(drop),
        _ => Ok(()),
    }
}

wire_struct! {
    /// System Event (1.1).
    SystemEvent = "system_event", 12 {
        /// `S`.
        0 message_type: Char,
        /// Always 0.
        1 stock_locate: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// `O` start of messages, `S` start of system hours, `Q` start of market hours, `M` end of market
        /// hours, `E` end of system hours, `C` end of messages.
        11 event_code: Char,
    }
}

wire_struct! {
    /// Stock Directory (1.2.1).
    StockDirectory = "stock_directory", 39 {
        /// `R`.
        0 message_type: Char,
        /// Locate code assigned to the security for the day.
        1 stock_locate: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// Stock symbol, padded on the right with spaces.
        11 stock: Alpha<8>,
        /// Listing market or tier: `Q` `G` `S` Nasdaq, `N` NYSE, `A` NYSE American, `P` NYSE Arca, `M` NYSE
        /// Texas, `Z` BATS, `V` IEX, space not available.
        19 market_category: Char,
        /// Compliance with the listing requirements: `N` normal, `D` `E` `Q` `S` `G` `H` `J` `K` `C`, space
        /// not available.
        20 financial_status_indicator: Char,
        /// Shares in a round lot.
        21 round_lot_size: U32,
        /// `Y` only round lots are accepted, `N` no restriction.
        25 round_lots_only: Char,
        /// Security class (appendix D).
        26 issue_classification: Char,
        /// Security sub-type (appendix E).
        27 issue_sub_type: Alpha<2>,
        /// `P` live, `T` test.
        29 authenticity: Char,
        /// `Y` restricted under SEC Rule 203(b)(3), `N` not, space not available.
        30 short_sale_threshold_indicator: Char,
        /// `Y` new IPO security, `N` not, `Z` new listing without IPO (since 2026), space not available.
        31 ipo_flag: Char,
        /// Limit up, limit down: `1` tier 1, `2` tier 2, space not available.
        32 luld_reference_price_tier: Char,
        /// `Y` exchange-traded product, `N` not, space not available.
        33 etp_flag: Char,
        /// The product's leverage, rounded down to an integer.
        34 etp_leverage_factor: U32,
        /// `Y` inverse product, `N` not.
        38 inverse_indicator: Char,
    }
}

wire_struct! {
    /// Stock Trading Action (1.2.2).
    StockTradingAction = "stock_trading_action", 25 {
        /// `H`.
        0 message_type: Char,
        /// Locate code identifying the security.
        1 stock_locate: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// Stock symbol, padded on the right with spaces.
        11 stock: Alpha<8>,
        /// `H` halted, `P` paused, `Q` quotation only, `T` trading.
        19 trading_state: Char,
        /// Reserved.
        20 reserved: Char,
        /// Reason (appendix C).
        21 reason: Alpha<4>,
    }
}

wire_struct! {
    /// Reg SHO Short Sale Price Test Restricted Indicator (1.2.3).
    RegShoRestriction = "reg_sho_restriction", 20 {
        /// `Y`.
        0 message_type: Char,
        /// Locate code identifying the security.
        1 locate_code: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// Stock symbol, padded on the right with spaces.
        11 stock: Alpha<8>,
        /// `0` no price test, `1` in effect due to an intra-day drop, `2` remains in effect.
        19 reg_sho_action: Char,
    }
}

wire_struct! {
    /// Market Participant Position (1.2.4).
    MarketParticipantPosition = "market_participant_position", 26 {
        /// `L`.
        0 message_type: Char,
        /// Locate code identifying the security.
        1 stock_locate: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// Market participant identifier.
        11 mpid: Alpha<4>,
        /// Stock symbol, padded on the right with spaces.
        15 stock: Alpha<8>,
        /// `Y` primary market maker, `N` not.
        23 primary_market_maker: Char,
        /// `N` normal, `P` passive, `S` syndicate, `R` pre-syndicate, `L` penalty.
        24 market_maker_mode: Char,
        /// `A` active, `E` excused, `W` withdrawn, `S` suspended, `D` deleted.
        25 market_participant_state: Char,
    }
}

wire_struct! {
    /// Market-Wide Circuit Breaker Decline Level (1.2.5.1).
    MwcbDeclineLevel = "mwcb_decline_level", 35 {
        /// `V`.
        0 message_type: Char,
        /// Always 0.
        1 stock_locate: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// Level 1 of the day.
        11 level_1: BePrice8,
        /// Level 2 of the day.
        19 level_2: BePrice8,
        /// Level 3 of the day.
        27 level_3: BePrice8,
    }
}

wire_struct! {
    /// Market-Wide Circuit Breaker Status (1.2.5.2).
    MwcbStatus = "mwcb_status", 12 {
        /// `W`.
        0 message_type: Char,
        /// Always 0.
        1 stock_locate: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// The level that was breached: `1`, `2`, `3`.
        11 breached_level: Char,
    }
}

wire_struct! {
    /// IPO Quoting Period Update (1.2.6).
    IpoQuotingPeriodUpdate = "ipo_quoting_period_update", 28 {
        /// `K`.
        0 message_type: Char,
        /// Always 0.
        1 stock_locate: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// Stock symbol, padded on the right with spaces.
        11 stock: Alpha<8>,
        /// Seconds since midnight; 0 if cancelled.
        19 ipo_quotation_release_time: U32,
        /// `A` anticipated, `C` cancelled or postponed.
        23 ipo_quotation_release_qualifier: Char,
        /// IPO price; 0 if cancelled.
        24 ipo_price: BePrice4,
    }
}

wire_struct! {
    /// Limit Up, Limit Down Auction Collar (1.2.7).
    LuldAuctionCollar = "luld_auction_collar", 35 {
        /// `J`.
        0 message_type: Char,
        /// Locate code identifying the security.
        1 stock_locate: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// Stock symbol, padded on the right with spaces.
        11 stock: Alpha<8>,
        /// Reference price of the collars.
        19 auction_collar_reference_price: BePrice4,
        /// Upper threshold.
        23 upper_auction_collar_price: BePrice4,
        /// Lower threshold.
        27 lower_auction_collar_price: BePrice4,
        /// Number of extensions to the reopening auction.
        31 auction_collar_extension: U32,
    }
}

wire_struct! {
    /// Operational Halt; not in the edition of 2017 (1.2.8).
    OperationalHalt = "operational_halt", 21 {
        /// `h`.
        0 message_type: Char,
        /// Locate code identifying the security.
        1 stock_locate: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// Stock symbol, padded on the right with spaces.
        11 stock: Alpha<8>,
        /// `Q` Nasdaq, `B` Nasdaq Texas (BX), `X` PSX.
        19 market_code: Char,
        /// `H` halted on that market, `T` lifted.
        20 operational_halt_action: Char,
    }
}

wire_struct! {
    /// Add Order, no MPID attribution (1.3.1).
    AddOrder = "add_order", 36 {
        /// `A`.
        0 message_type: Char,
        /// Locate code identifying the security.
        1 stock_locate: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// The day-unique number of the new order.
        11 order_reference_number: U64,
        /// `B` buy, `S` sell.
        19 buy_sell_indicator: Char,
        /// Shares added to the book.
        20 shares: U32,
        /// Stock symbol, padded on the right with spaces.
        24 stock: Alpha<8>,
        /// Display price.
        32 price: BePrice4,
    }
}

wire_struct! {
    /// Add Order with MPID attribution (1.3.2).
    AddOrderWithMpid = "add_order_with_mpid", 40 {
        /// `F`.
        0 message_type: Char,
        /// Locate code identifying the security.
        1 stock_locate: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// The day-unique number of the new order.
        11 order_reference_number: U64,
        /// `B` buy, `S` sell.
        19 buy_sell_indicator: Char,
        /// Shares added to the book.
        20 shares: U32,
        /// Stock symbol, padded on the right with spaces.
        24 stock: Alpha<8>,
        /// Display price.
        32 price: BePrice4,
        /// Market participant identifier of the order.
        36 attribution: Alpha<4>,
    }
}

wire_struct! {
    /// Order Executed (1.4.1).
    OrderExecuted = "order_executed", 31 {
        /// `E`.
        0 message_type: Char,
        /// Locate code identifying the security.
        1 stock_locate: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// The order executed.
        11 order_reference_number: U64,
        /// Shares executed.
        19 executed_shares: U32,
        /// Day-unique number of this execution.
        23 match_number: U64,
    }
}

wire_struct! {
    /// Order Executed With Price (1.4.2).
    OrderExecutedWithPrice = "order_executed_with_price", 36 {
        /// `C`.
        0 message_type: Char,
        /// Locate code identifying the security.
        1 stock_locate: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// The order executed.
        11 order_reference_number: U64,
        /// Shares executed.
        19 executed_shares: U32,
        /// Day-unique number of this execution.
        23 match_number: U64,
        /// `Y` counts in time and sales and volume, `N` doesn't: a later bulk print includes it.
        31 printable: Char,
        /// Price of the execution, different from the order's.
        32 execution_price: BePrice4,
    }
}

wire_struct! {
    /// Order Cancel: in part (1.4.3).
    OrderCancel = "order_cancel", 23 {
        /// `X`.
        0 message_type: Char,
        /// Locate code identifying the security.
        1 stock_locate: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// The order cancelled.
        11 order_reference_number: U64,
        /// Shares removed from the order.
        19 canceled_shares: U32,
    }
}

wire_struct! {
    /// Order Delete (1.4.4).
    OrderDelete = "order_delete", 19 {
        /// `D`.
        0 message_type: Char,
        /// Locate code identifying the security.
        1 stock_locate: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// The order that is gone.
        11 order_reference_number: U64,
    }
}

wire_struct! {
    /// Order Replace (1.4.5).
    OrderReplace = "order_replace", 35 {
        /// `U`.
        0 message_type: Char,
        /// Locate code identifying the security.
        1 stock_locate: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// The order that is gone.
        11 original_order_reference_number: U64,
        /// The order that takes its place, on the same side.
        19 new_order_reference_number: U64,
        /// The new total displayed quantity.
        27 shares: U32,
        /// The new display price.
        31 price: BePrice4,
    }
}

wire_struct! {
    /// Trade (Non-Cross): an execution against an order that isn't displayed (1.5.1).
    Trade = "trade", 44 {
        /// `P`.
        0 message_type: Char,
        /// Locate code identifying the security.
        1 stock_locate: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// 0 since 6 December 2010.
        11 order_reference_number: U64,
        /// Side of the resting order; always `B` since 14 July 2014.
        19 buy_sell_indicator: Char,
        /// Shares matched.
        20 shares: U32,
        /// Stock symbol, padded on the right with spaces.
        24 stock: Alpha<8>,
        /// Match price.
        32 price: BePrice4,
        /// Session-unique number of this trade.
        36 match_number: U64,
    }
}

wire_struct! {
    /// Cross Trade (1.5.2).
    CrossTrade = "cross_trade", 40 {
        /// `Q`.
        0 message_type: Char,
        /// Locate code identifying the security.
        1 stock_locate: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// Shares matched in the cross; 0 if there was too little interest.
        11 shares: U64,
        /// Stock symbol, padded on the right with spaces.
        19 stock: Alpha<8>,
        /// Price of the cross.
        27 cross_price: BePrice4,
        /// Day-unique number of this execution.
        31 match_number: U64,
        /// `O` opening, `C` closing, `H` IPO, halted or paused security.
        39 cross_type: Char,
    }
}

wire_struct! {
    /// Broken Trade / Order Execution (1.5.3).
    BrokenTrade = "broken_trade", 19 {
        /// `B`.
        0 message_type: Char,
        /// Locate code identifying the security.
        1 stock_locate: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// The execution that was broken.
        11 match_number: U64,
    }
}

wire_struct! {
    /// Net Order Imbalance Indicator (1.6).
    Noii = "noii", 50 {
        /// `I`.
        0 message_type: Char,
        /// Locate code identifying the security.
        1 stock_locate: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// Shares that can be matched at the current reference price.
        11 paired_shares: U64,
        /// Shares not paired at the current reference price.
        19 imbalance_shares: U64,
        /// `B` buy, `S` sell, `N` none, `O` insufficient orders to calculate, `P` paused (since 2023).
        27 imbalance_direction: Char,
        /// Stock symbol, padded on the right with spaces.
        28 stock: Alpha<8>,
        /// Hypothetical clearing price of cross orders only.
        36 far_price: BePrice4,
        /// Hypothetical clearing price of cross and continuous orders.
        40 near_price: BePrice4,
        /// The price for which paired and imbalance shares are calculated.
        44 current_reference_price: BePrice4,
        /// `O` opening, `C` closing, `H` IPO, halted or paused security, `A` extended trading close.
        48 cross_type: Char,
        /// Deviation of the near price from the reference price: `L`, `1` to `9`, `A` to `C`, space.
        49 price_variation_indicator: Char,
    }
}

wire_struct! {
    /// Retail Price Improvement Indicator (1.7).
    RetailPriceImprovementIndicator = "retail_price_improvement_indicator", 20 {
        /// `N`.
        0 message_type: Char,
        /// Locate code identifying the security.
        1 stock_locate: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// Stock symbol, padded on the right with spaces.
        11 stock: Alpha<8>,
        /// Retail orders on `B` the buy side, `S` the sell side, `A` both, `N` none.
        19 interest_flag: Char,
    }
}

wire_struct! {
    /// Direct Listing with Capital Raise Price Discovery; since the edition of 2023 (1.8).
    DirectListingWithCapitalRaise = "direct_listing_with_capital_raise", 48 {
        /// `O`.
        0 message_type: Char,
        /// Locate code identifying the security.
        1 stock_locate: U16,
        /// Nasdaq internal tracking number.
        3 tracking_number: U16,
        /// Nanoseconds since midnight.
        5 timestamp: BeTimestamp48,
        /// Stock symbol, padded on the right with spaces.
        11 stock: Alpha<8>,
        /// `Y` eligible to be released for trading, `N` not.
        19 open_eligibility_status: Char,
        /// 20% below the registration statement's lower price.
        20 minimum_allowable_price: BePrice4,
        /// 80% above the registration statement's highest price.
        24 maximum_allowable_price: BePrice4,
        /// The reference price when the volatility test passed.
        28 near_execution_price: BePrice4,
        /// When the near execution price was set.
        32 near_execution_time: U64,
        /// 10% below the near execution price.
        40 lower_price_range_collar: BePrice4,
        /// 10% above the near execution price.
        44 upper_price_range_collar: BePrice4,
    }
}
