//! The specifications' tables of offsets and lengths, transcribed by hand, against the compiled structs.

use core::mem::offset_of;

use tickcast_codecs::{deep, deepplus, iex, iextp, tops};

/// The size of a field.
fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// `Struct, total { field offset length, … }`, as the specification's table has it.
macro_rules! layout {
    ($name:path, $total:literal { $( $field:ident $offset:literal $length:literal ),+ $(,)? }) => {{
        // Fails to compile if the table leaves a field out.
        #[allow(clippy::redundant_pattern_matching)]
        let _ = |value: &$name| { let $name { $( $field: _ ),+ } = value; };
        let mut end = 0;
        $(
            assert_eq!($offset, end, "{}.{}: a hole in the table", stringify!($name), stringify!($field));
            assert_eq!(offset_of!($name, $field), $offset, "{}.{}", stringify!($name), stringify!($field));
            assert_eq!(
                size_of_field::<$name, _>(|value| &value.$field), $length,
                "{}.{}", stringify!($name), stringify!($field)
            );
            end = $offset + $length;
        )+
        assert_eq!(end, $total, "{}: the table's total", stringify!($name));
        assert_eq!(size_of::<$name>(), $total, "{}", stringify!($name));
        assert_eq!(align_of::<$name>(), 1, "{}: readable at any address", stringify!($name));
    }};
}

#[test]
fn transport_structs_lie_as_specified() {
    layout!(iextp::SegmentHeader, 40 {
        version 0 1, reserved 1 1, message_protocol_id 2 2, channel_id 4 4, session_id 8 4,
        payload_length 12 2, message_count 14 2, stream_offset 16 8,
        first_message_sequence_number 24 8, send_time 32 8,
    });
    layout!(iextp::GapFillRequestHeader, 16 {
        version 0 1, request_type 1 1, message_protocol_id 2 2, channel_id 4 4, session_id 8 4,
        request_range_count 12 4,
    });
    layout!(iextp::SequenceRange, 16 {
        first_message_sequence_number 0 8, last_message_sequence_number 8 8,
    });
    layout!(iextp::BytestreamRange, 16 {
        starting_stream_offset 0 8, ending_stream_offset 8 8,
    });
}

#[test]
fn administrative_messages_lie_as_specified() {
    layout!(iex::SystemEvent, 10 { message_type 0 1, system_event 1 1, timestamp 2 8 });
    layout!(iex::SecurityDirectory, 31 {
        message_type 0 1, security_directory_flags 1 1, timestamp 2 8, symbol 10 8,
        round_lot_size 18 4, adjusted_poc_price 22 8, luld_tier 30 1,
    });
    layout!(iex::TradingStatus, 22 {
        message_type 0 1, trading_status 1 1, timestamp 2 8, symbol 10 8, reason 18 4,
    });
    layout!(iex::RetailLiquidityIndicator, 18 {
        message_type 0 1, retail_liquidity_indicator 1 1, timestamp 2 8, symbol 10 8,
    });
    layout!(iex::OperationalHaltStatus, 18 {
        message_type 0 1, operational_halt_status 1 1, timestamp 2 8, symbol 10 8,
    });
    layout!(iex::ShortSalePriceTestStatus, 19 {
        message_type 0 1, short_sale_price_test_status 1 1, timestamp 2 8, symbol 10 8, detail 18 1,
    });
    layout!(iex::SecurityEvent, 18 {
        message_type 0 1, security_event 1 1, timestamp 2 8, symbol 10 8,
    });
}

#[test]
fn trading_and_auction_messages_lie_as_specified() {
    layout!(iex::TradeReport, 38 {
        message_type 0 1, sale_condition_flags 1 1, timestamp 2 8, symbol 10 8, size 18 4,
        price 22 8, trade_id 30 8,
    });
    layout!(iex::TradeBreak, 38 {
        message_type 0 1, sale_condition_flags 1 1, timestamp 2 8, symbol 10 8, size 18 4,
        price 22 8, trade_id 30 8,
    });
    layout!(iex::OfficialPrice, 26 {
        message_type 0 1, price_type 1 1, timestamp 2 8, symbol 10 8, official_price 18 8,
    });
    layout!(iex::AuctionInformation, 80 {
        message_type 0 1, auction_type 1 1, timestamp 2 8, symbol 10 8, paired_shares 18 4,
        reference_price 22 8, indicative_clearing_price 30 8, imbalance_shares 38 4,
        imbalance_side 42 1, extension_number 43 1, scheduled_auction_time 44 4,
        auction_book_clearing_price 48 8, collar_reference_price 56 8, lower_auction_collar 64 8,
        upper_auction_collar 72 8,
    });
}

#[test]
fn messages_of_one_feed_lie_as_specified() {
    layout!(tops::QuoteUpdate, 42 {
        message_type 0 1, quote_update_flags 1 1, timestamp 2 8, symbol 10 8, bid_size 18 4,
        bid_price 22 8, ask_price 30 8, ask_size 38 4,
    });
    layout!(tops::v15::QuoteUpdate, 42 {
        message_type 0 1, quote_update_flags 1 1, timestamp 2 8, symbol 10 8, bid_size 18 4,
        bid_price 22 8, ask_price 30 8, ask_size 38 4,
    });
    layout!(tops::v15::TradeReport, 42 {
        message_type 0 1, sale_condition_flags 1 1, timestamp 2 8, symbol 10 8, size 18 4,
        price 22 8, trade_id 30 8, reserved 38 4,
    });
    layout!(tops::v15::TradeBreak, 42 {
        message_type 0 1, sale_condition_flags 1 1, timestamp 2 8, symbol 10 8, size 18 4,
        price 22 8, trade_id 30 8, reserved 38 4,
    });
    layout!(deep::PriceLevelUpdate, 30 {
        message_type 0 1, event_flags 1 1, timestamp 2 8, symbol 10 8, size 18 4, price 22 8,
    });
    layout!(deepplus::AddOrder, 38 {
        message_type 0 1, side 1 1, timestamp 2 8, symbol 10 8, order_id 18 8, size 26 4, price 30 8,
    });
    layout!(deepplus::OrderModify, 38 {
        message_type 0 1, modify_flags 1 1, timestamp 2 8, symbol 10 8, order_id_reference 18 8,
        size 26 4, price 30 8,
    });
    layout!(deepplus::OrderDelete, 26 {
        message_type 0 1, reserved 1 1, timestamp 2 8, symbol 10 8, order_id_reference 18 8,
    });
    layout!(deepplus::OrderExecuted, 46 {
        message_type 0 1, sale_condition_flags 1 1, timestamp 2 8, symbol 10 8,
        order_id_reference 18 8, size 26 4, price 30 8, trade_id 38 8,
    });
    layout!(deepplus::Trade, 38 {
        message_type 0 1, sale_condition_flags 1 1, timestamp 2 8, symbol 10 8, size 18 4,
        price 22 8, trade_id 30 8,
    });
    layout!(deepplus::ClearBook, 18 {
        message_type 0 1, reserved 1 1, timestamp 2 8, symbol 10 8,
    });
}

/// Every type byte and only those, with the length that the specification prints.
fn assert_types(table: &[(u8, usize)], types: &[u8], length_of: impl Fn(u8) -> Option<usize>) {
    let mut given: Vec<u8> = types.to_vec();
    let mut specified: Vec<u8> = table.iter().map(|&(byte, _)| byte).collect();
    given.sort_unstable();
    specified.sort_unstable();
    assert_eq!(given, specified);
    for byte in 0..=u8::MAX {
        let length = table
            .iter()
            .find(|entry| entry.0 == byte)
            .map(|entry| entry.1);
        assert_eq!(length_of(byte), length, "type {:?}", char::from(byte));
    }
}

#[test]
fn each_feed_has_exactly_its_types() {
    assert_types(
        &[
            (0x53, 10),
            (0x44, 31),
            (0x48, 22),
            (0x49, 18),
            (0x4f, 18),
            (0x50, 19),
            (0x51, 42),
            (0x54, 38),
            (0x58, 26),
            (0x42, 38),
            (0x41, 80),
        ],
        tops::Message::TYPES,
        tops::Message::length_of,
    );
    assert_types(
        &[(0x51, 42), (0x54, 42), (0x42, 42)],
        tops::v15::Message::TYPES,
        tops::v15::Message::length_of,
    );
    assert_types(
        &[
            (0x53, 10),
            (0x44, 31),
            (0x48, 22),
            (0x49, 18),
            (0x4f, 18),
            (0x50, 19),
            (0x45, 18),
            (0x38, 30),
            (0x35, 30),
            (0x54, 38),
            (0x58, 26),
            (0x42, 38),
            (0x41, 80),
        ],
        deep::Message::TYPES,
        deep::Message::length_of,
    );
    assert_types(
        &[
            (0x53, 10),
            (0x44, 31),
            (0x48, 22),
            (0x49, 18),
            (0x4f, 18),
            (0x50, 19),
            (0x45, 18),
            (0x61, 38),
            (0x4d, 38),
            (0x52, 26),
            (0x4c, 46),
            (0x54, 38),
            (0x42, 38),
            (0x43, 18),
        ],
        deepplus::Message::TYPES,
        deepplus::Message::length_of,
    );
}
