//! IEX's specifications, rule by rule and example by example.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod iex_examples;

use iex_examples::*;
use tickcast_codecs::iextp::{GapFillRequest, Ranges, Segment, SegmentEncoder, Stream};
use tickcast_codecs::types::Price;
use tickcast_codecs::wire::Value;
use tickcast_codecs::{DecodeError, deep, deepplus, iex, tops};

/// "2016-08-23 15:30:32.572715948", in New York.
const TIMESTAMP: i64 = 1_471_980_632_572_715_948;
const DEEP_STREAM: Stream = Stream {
    message_protocol_id: 0x8004,
    channel_id: 1,
    session_id: 0x4287_0000,
};

/// A message's fields as an inspecting program shows them: `name=value`.
fn shown(visit_all: impl FnOnce(&mut dyn FnMut(&'static str, Value<'_>))) -> String {
    let mut text = String::new();
    visit_all(&mut |name, value| {
        let value = match value {
            Value::Uint(number) => number.to_string(),
            Value::Int(number) => number.to_string(),
            Value::Price(price) => price.to_string(),
            Value::Text(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Value::Char(byte) => char::from(byte).to_string(),
            Value::Flags(byte, table) => table
                .iter()
                .filter(|(_, mask)| byte & mask != 0)
                .map(|(flag, _)| *flag)
                .collect::<Vec<_>>()
                .join("|"),
        };
        text.push_str(&format!("{name}={value} "));
    });
    text.trim_end().to_owned()
}

macro_rules! assert_shown {
    ($feed:ident $(:: $version:ident)?, $hex:expr, $name:literal, $fields:literal) => {
        let bytes = hex($hex);
        let message = $feed$(::$version)?::Message::parse(&bytes).unwrap();
        assert_eq!(message.name(), $name);
        assert_eq!(shown(|visit| message.fields(visit)), $fields);
        assert_eq!(
            $feed$(::$version)?::Message::length_of(bytes[0]),
            Some(bytes.len()),
            "the example has its type's length"
        );
        $feed$(::$version)?::check(&bytes).unwrap();
    };
}

// Transport

#[test]
fn the_published_segment_is_read_as_its_comments_say() {
    let bytes = hex(SEGMENT);
    let segment = Segment::parse(&bytes).unwrap();
    assert_eq!(segment.header().version, 1);
    assert_eq!(segment.protocol(), deep::PROTOCOL_ID);
    assert_eq!(segment.channel(), 1);
    assert_eq!(segment.header().session_id.get(), 0x4287_0000);
    assert_eq!(segment.session().as_str(), Some("1116143616"));
    assert_eq!(segment.header().payload_length.get(), 72);
    assert_eq!(segment.count(), 2);
    assert_eq!(segment.stream_offset(), 2_205_324);
    assert_eq!(segment.sequence(), 50_122);
    assert_eq!(segment.next_sequence(), 50_124);
    assert_eq!(segment.send_time(), 1_471_980_632_572_839_404);
    assert!(!segment.is_heartbeat());

    let messages: Vec<&[u8]> = segment.messages().collect();
    assert_eq!(segment.messages().len(), 2);
    let deep::Message::TradeReport(trade) = deep::Message::parse(messages[0]).unwrap() else {
        panic!("the first message is a trade report");
    };
    assert_eq!(trade.timestamp.0.get(), TIMESTAMP);
    assert_eq!(trade.symbol.trimmed(), b"ZIEXT");
    assert_eq!(trade.size.get(), 100);
    assert_eq!(trade.price.price(), Price(99_050_000_000));
    assert_eq!(trade.trade_id.get(), 429_974);
    let deep::Message::PriceLevelUpdate(level) = deep::Message::parse(messages[1]).unwrap() else {
        panic!("the second message is a price level update");
    };
    assert_eq!(level.size.get(), 9_700);
    assert!(level.is_complete());
}

#[test]
fn the_encoder_writes_the_published_segment() {
    let bytes = hex(SEGMENT);
    let mut out = b"before".to_vec();
    let mut encoder = SegmentEncoder::begin(
        &mut out,
        DEEP_STREAM,
        2_205_324,
        50_122,
        1_471_980_632_572_839_404,
        1_400,
    );
    for message in Segment::parse(&bytes).unwrap().messages() {
        assert!(encoder.push(message));
    }
    assert_eq!((encoder.count(), encoder.payload_length()), (2, 72));
    encoder.finish();
    assert_eq!(out, [b"before".as_slice(), &bytes].concat());
}

#[test]
fn a_message_that_doesnt_fit_leaves_the_segment_as_it_was() {
    let mut out = Vec::new();
    let mut encoder = SegmentEncoder::begin(&mut out, DEEP_STREAM, 0, 1, 0, 10);
    assert!(encoder.push(&[0; 4]));
    assert!(!encoder.push(&[0; 3]), "2 + 4 + 2 + 3 exceed 10");
    assert!(encoder.push(&[0; 2]));
    assert!(!encoder.push(&[]));
    encoder.finish();
    let segment = Segment::parse(&out).unwrap();
    assert_eq!(
        segment.messages().map(<[u8]>::len).collect::<Vec<_>>(),
        [4, 2]
    );

    let mut out = Vec::new();
    let mut encoder = SegmentEncoder::begin(&mut out, DEEP_STREAM, 0, 1, 0, u16::MAX);
    assert!(!encoder.push(&vec![0; 65_536]), "a length has 16 bits");
    assert!(encoder.push(&vec![0; 65_533]));
    assert!(!encoder.push(&[]), "a payload length has 16 bits");
    encoder.finish();
    assert_eq!(out.len(), 40 + 65_535);
    Segment::parse(&out).unwrap();
}

#[test]
fn an_encoder_that_isnt_finished_writes_nothing() {
    let mut out = b"before".to_vec();
    let mut encoder = SegmentEncoder::begin(&mut out, DEEP_STREAM, 0, 1, 0, 1_400);
    assert!(encoder.push(b"message"));
    drop(encoder);
    assert_eq!(out, b"before");
}

#[test]
fn a_heartbeat_has_no_messages_and_the_next_sequence_number() {
    let bytes = hex(HEARTBEAT);
    let segment = Segment::parse(&bytes).unwrap();
    assert!(segment.is_heartbeat());
    assert_eq!(segment.protocol(), tops::v15::PROTOCOL_ID);
    assert_eq!(
        (segment.sequence(), segment.next_sequence()),
        (50_122, 50_122)
    );
    assert_eq!(segment.messages().count(), 0);

    let mut out = Vec::new();
    let stream = Stream {
        message_protocol_id: 0x8002,
        ..DEEP_STREAM
    };
    SegmentEncoder::begin(
        &mut out,
        stream,
        2_205_324,
        50_122,
        1_471_980_632_572_839_404,
        0,
    )
    .finish();
    assert_eq!(out, bytes);
}

#[test]
fn message_data_can_be_of_length_zero() {
    let mut out = Vec::new();
    let mut encoder = SegmentEncoder::begin(&mut out, DEEP_STREAM, 0, 7, 0, 1_400);
    assert!(encoder.push(b""));
    assert!(encoder.push(&hex(SYSTEM_EVENT)));
    encoder.finish();
    let segment = Segment::parse(&out).unwrap();
    assert_eq!(
        segment.messages().map(<[u8]>::len).collect::<Vec<_>>(),
        [0, 10]
    );
    for message in segment.messages() {
        deep::check(message).unwrap();
    }
    assert_eq!(deep::Message::parse(b""), Err(DecodeError::EmptyBlock));
}

#[test]
fn a_segment_over_tcp_tells_its_length_in_its_header() {
    let bytes = hex(SEGMENT);
    let segment = Segment::parse(&bytes).unwrap();
    assert_eq!(segment.header().segment_length(), bytes.len());
}

#[test]
fn the_published_gap_fill_request_is_read_and_written() {
    let bytes = hex(GAP_FILL_REQUEST);
    let request = GapFillRequest::parse(&bytes).unwrap();
    assert_eq!(request.stream(), DEEP_STREAM);
    assert_eq!(request.header().request_range_count.get(), 2);
    assert!(!request.is_test());
    let Ranges::SequencedMessages(ranges) = request.ranges() else {
        panic!("request type 1 asks for messages");
    };
    let ranges: Vec<(i64, i64)> = ranges
        .iter()
        .map(|range| {
            (
                range.first_message_sequence_number.get(),
                range.last_message_sequence_number.get(),
            )
        })
        .collect();
    assert_eq!(ranges, [(12_340, 12_350), (56_789, 56_799)]);

    let mut out = Vec::new();
    GapFillRequest::encode(&mut out, DEEP_STREAM, &[(12_340, 12_350), (56_789, 56_799)]).unwrap();
    assert_eq!(out, bytes);
}

#[test]
fn a_gap_fill_request_without_ranges_is_a_test() {
    let bytes = hex(GAP_FILL_TEST_REQUEST);
    assert!(GapFillRequest::parse(&bytes).unwrap().is_test());
    let mut out = Vec::new();
    GapFillRequest::encode(&mut out, DEEP_STREAM, &[]).unwrap();
    assert_eq!(out, bytes);
}

#[test]
fn request_type_2_asks_for_bytes() {
    let mut bytes = hex(GAP_FILL_REQUEST);
    bytes[1] = 2;
    let request = GapFillRequest::parse(&bytes).unwrap();
    let Ranges::Bytestream(ranges) = request.ranges() else {
        panic!("request type 2 asks for bytes");
    };
    assert_eq!(ranges[1].starting_stream_offset.get(), 56_789);
    assert_eq!(ranges[1].ending_stream_offset.get(), 56_799);

    bytes[1] = 3;
    assert_eq!(
        GapFillRequest::parse(&bytes).unwrap_err(),
        DecodeError::BadValue {
            field: "request_type",
            value: 3
        }
    );
}

#[test]
fn request_ranges_must_increase_without_overlap() {
    for ranges in [
        vec![(5, 4)],
        vec![(1, 5), (5, 6)],
        vec![(10, 20), (1, 2)],
        vec![(1, 2), (1, 2)],
        vec![(u64::MAX, u64::MAX)],
        vec![(1, u64::MAX)],
    ] {
        let mut out = b"before".to_vec();
        let refused = GapFillRequest::encode(&mut out, DEEP_STREAM, &ranges).unwrap_err();
        assert_eq!(refused.counter(), "bad_value", "{ranges:?}");
        assert_eq!(out, b"before");
    }
    // The same from the wire: the second range begins where the first ends.
    let mut bytes = hex(GAP_FILL_REQUEST);
    bytes.copy_within(24..32, 32);
    assert_eq!(
        GapFillRequest::parse(&bytes).unwrap_err(),
        DecodeError::BadValue {
            field: "first_message_sequence_number",
            value: 12_350
        }
    );
    GapFillRequest::encode(&mut Vec::new(), DEEP_STREAM, &[(0, 0), (1, 1), (3, 9)]).unwrap();
}

// Protocol identification

#[test]
fn each_feed_has_its_protocol_id() {
    assert_eq!(tops::v15::PROTOCOL_ID, 0x8002);
    assert_eq!(tops::PROTOCOL_ID, 0x8003);
    assert_eq!(deep::PROTOCOL_ID, 0x8004);
    assert_eq!(deepplus::PROTOCOL_ID, 0x8005);
}

// Administrative messages, the same on the three feeds

macro_rules! assert_shared {
    ([$($feed:ident),+], $hex:expr, $name:literal, $fields:literal) => {
        $( { assert_shown!($feed, $hex, $name, $fields); } )+
    };
}

#[test]
fn system_event_example() {
    assert_shared!(
        [tops, deep, deepplus],
        SYSTEM_EVENT,
        "system_event",
        "message_type=S system_event=E timestamp=1492448400000000000"
    );
}

#[test]
fn security_directory_example() {
    assert_shared!(
        [tops, deep, deepplus],
        SECURITY_DIRECTORY,
        "security_directory",
        "message_type=D security_directory_flags=test_security timestamp=1492414800000000000 \
         symbol=ZIEXT round_lot_size=100 adjusted_poc_price=99.05 luld_tier=1"
    );
}

#[test]
fn trading_status_example() {
    assert_shared!(
        [tops, deep, deepplus],
        TRADING_STATUS,
        "trading_status",
        "message_type=H trading_status=H timestamp=1471980632572715948 symbol=ZIEXT reason=T1"
    );
}

#[test]
fn retail_liquidity_indicator_example() {
    assert_shared!(
        [tops, deep, deepplus],
        RETAIL_LIQUIDITY_INDICATOR,
        "retail_liquidity_indicator",
        "message_type=I retail_liquidity_indicator=A timestamp=1471980632572715948 symbol=ZIEXT"
    );
}

#[test]
fn operational_halt_status_example() {
    assert_shared!(
        [tops, deep, deepplus],
        OPERATIONAL_HALT_STATUS,
        "operational_halt_status",
        "message_type=O operational_halt_status=O timestamp=1471980632572715948 symbol=ZIEXT"
    );
}

#[test]
fn short_sale_price_test_status_example() {
    assert_shared!(
        [tops, deep, deepplus],
        SHORT_SALE_PRICE_TEST_STATUS,
        "short_sale_price_test_status",
        "message_type=P short_sale_price_test_status=1 timestamp=1471980632572715948 symbol=ZIEXT \
         detail=A"
    );
}

#[test]
fn security_event_example_and_tops_has_none() {
    assert_shared!(
        [deep, deepplus],
        SECURITY_EVENT,
        "security_event",
        "message_type=E security_event=O timestamp=1492421400000000000 symbol=ZIEXT"
    );
    assert_eq!(
        tops::Message::parse(&hex(SECURITY_EVENT)),
        Err(DecodeError::UnknownType {
            protocol: "TOPS 1.6",
            message_type: b'E'
        })
    );
}

// Trading and auction messages

#[test]
fn quote_update_example() {
    assert_shared!(
        [tops],
        QUOTE_UPDATE,
        "quote_update",
        "message_type=Q quote_update_flags= timestamp=1471980632572715948 symbol=ZIEXT \
         bid_size=9700 bid_price=99.05 ask_price=99.07 ask_size=1000"
    );
}

#[test]
fn price_level_update_example_and_its_sides() {
    assert_shared!(
        [deep],
        PRICE_LEVEL_UPDATE,
        "price_level_update",
        "message_type=8 event_flags=1 timestamp=1471980632572715948 symbol=ZIEXT size=9700 price=99.05"
    );
    let mut bytes = hex(PRICE_LEVEL_UPDATE);
    bytes[0] = b'5';
    let deep::Message::PriceLevelUpdate(sell) = deep::Message::parse(&bytes).unwrap() else {
        panic!("'5' is a price level update too");
    };
    assert_eq!(sell.side(), tickcast_codecs::Side::Ask);
}

#[test]
fn trade_report_example() {
    assert_shared!(
        [tops, deep],
        TRADE_REPORT,
        "trade_report",
        "message_type=T sale_condition_flags= timestamp=1471980683662974915 symbol=ZIEXT size=100 \
         price=99.05 trade_id=429974"
    );
}

#[test]
fn official_price_example_and_deep_plus_has_none() {
    assert_shared!(
        [tops, deep],
        OFFICIAL_PRICE,
        "official_price",
        "message_type=X price_type=Q timestamp=1492421400000000000 symbol=ZIEXT official_price=99.05"
    );
    assert_eq!(
        deepplus::Message::parse(&hex(OFFICIAL_PRICE)),
        Err(DecodeError::UnknownType {
            protocol: "DEEP+ 1.0",
            message_type: b'X'
        })
    );
}

#[test]
fn trade_break_example() {
    assert_shared!(
        [tops, deep, deepplus],
        TRADE_BREAK,
        "trade_break",
        "message_type=B sale_condition_flags= timestamp=1471980724912754610 symbol=ZIEXT size=100 \
         price=99.05 trade_id=429974"
    );
}

#[test]
fn auction_information_example() {
    assert_shared!(
        [tops, deep],
        AUCTION_INFORMATION,
        "auction_information",
        "message_type=A auction_type=C timestamp=1492444212462929885 symbol=ZIEXT \
         paired_shares=100000 reference_price=99.05 indicative_clearing_price=99.1 \
         imbalance_shares=10000 imbalance_side=B extension_number=0 \
         scheduled_auction_time=1492444800 auction_book_clearing_price=99.15 \
         collar_reference_price=99.04 lower_auction_collar=89.13 upper_auction_collar=108.95"
    );
    // DEEP's own example has two digits of the paired shares exchanged.
    let mut bytes = hex(AUCTION_INFORMATION);
    bytes[18..22].copy_from_slice(&hex("a0 86 10 00"));
    let deep::Message::AuctionInformation(auction) = deep::Message::parse(&bytes).unwrap() else {
        panic!("'A' is auction information");
    };
    assert_eq!(auction.paired_shares.get(), 1_083_040);
}

#[test]
fn add_order_example() {
    assert_shared!(
        [deepplus],
        ADD_ORDER,
        "add_order",
        "message_type=a side=8 timestamp=1471980724912754610 symbol=ZIEXT order_id=429974 size=100 \
         price=99.05"
    );
}

#[test]
fn order_modify_example() {
    assert_shared!(
        [deepplus],
        ORDER_MODIFY,
        "order_modify",
        "message_type=M modify_flags= timestamp=1471980724912754610 symbol=ZIEXT \
         order_id_reference=429974 size=100 price=99.05"
    );
}

#[test]
fn order_delete_example() {
    assert_shared!(
        [deepplus],
        ORDER_DELETE,
        "order_delete",
        "message_type=R reserved=0 timestamp=1471980724912754610 symbol=ZIEXT \
         order_id_reference=429974"
    );
}

#[test]
fn order_executed_example() {
    assert_shared!(
        [deepplus],
        ORDER_EXECUTED,
        "order_executed",
        "message_type=L sale_condition_flags= timestamp=1471980724912754610 symbol=ZIEXT \
         order_id_reference=429974 size=100 price=99.05 trade_id=167830"
    );
}

#[test]
fn trade_example_of_deep_plus() {
    assert_shared!(
        [deepplus],
        TRADE,
        "trade",
        "message_type=T sale_condition_flags= timestamp=1471980724912754610 symbol=ZIEXT size=100 \
         price=99.05 trade_id=167830"
    );
}

#[test]
fn clear_book_example() {
    assert_shared!(
        [deepplus],
        CLEAR_BOOK,
        "clear_book",
        "message_type=C reserved=0 timestamp=1471980724912754610 symbol=ZIEXT"
    );
}

#[test]
fn tops_15_examples() {
    assert_shown!(
        tops::v15,
        QUOTE_UPDATE,
        "quote_update",
        "message_type=Q quote_update_flags= timestamp=1471980632572715948 symbol=ZIEXT \
         bid_size=9700 bid_price=99.05 ask_price=99.07 ask_size=1000"
    );
    assert_shown!(
        tops::v15,
        TRADE_REPORT_15,
        "trade_report",
        "message_type=T sale_condition_flags= timestamp=1471980683662974915 symbol=ZIEXT size=100 \
         price=99.05 trade_id=429974 reserved=0"
    );
    assert_shown!(
        tops::v15,
        TRADE_BREAK_15,
        "trade_break",
        "message_type=B sale_condition_flags= timestamp=1471980724912754610 symbol=ZIEXT size=100 \
         price=99.05 trade_id=429974 reserved=0"
    );
}

#[test]
fn tops_16_reads_a_trade_of_15_by_its_beginning_but_not_the_other_way() {
    let bytes = hex(TRADE_REPORT_15);
    assert!(matches!(
        tops::Message::parse(&bytes),
        Ok(tops::Message::TradeReport(_))
    ));
    assert_eq!(
        tops::v15::check(&hex(TRADE_REPORT)),
        Err(DecodeError::Truncated {
            what: "trade_report",
            need: 42,
            have: 38
        })
    );
}

// Architecture: "deal with unknown message types and messages that grow"

#[test]
fn messages_that_grew_are_read_by_their_known_beginning() {
    type Check = fn(&[u8]) -> Result<(), DecodeError>;
    let feeds: [(&[&str], Check); 4] = [
        (TOPS, tops::check),
        (TOPS_15, tops::v15::check),
        (DEEP, deep::check),
        (DEEPPLUS, deepplus::check),
    ];
    for (examples, check) in feeds {
        for example in examples {
            let mut bytes = hex(example);
            bytes.extend_from_slice(b"more");
            check(&bytes).unwrap();
        }
    }
    let mut bytes = hex(ADD_ORDER);
    bytes.extend_from_slice(b"more");
    assert!(matches!(
        deepplus::Message::parse(&bytes),
        Ok(deepplus::Message::AddOrder(order)) if order.size.get() == 100
    ));
}

#[test]
fn unknown_types_pass_the_check_and_are_named_by_the_parser() {
    for check in [tops::check, tops::v15::check, deep::check, deepplus::check] {
        check(b"?").unwrap();
    }
    assert_eq!(
        deep::Message::parse(b"?"),
        Err(DecodeError::UnknownType {
            protocol: "DEEP 1.0",
            message_type: b'?'
        })
    );
}

// Appendix A: flags

#[test]
fn flags_have_the_masks_of_appendix_a() {
    let directory = |flags| iex::SecurityDirectoryFlags(flags);
    assert!(directory(0x80).test_security() && !directory(0x7f).test_security());
    assert!(directory(0x40).when_issued() && !directory(0xbf).when_issued());
    assert!(directory(0x20).etp() && !directory(0xdf).etp());

    let sale = |flags| iex::SaleConditionFlags(flags);
    assert!(sale(0x80).intermarket_sweep() && !sale(0x7f).intermarket_sweep());
    assert!(sale(0x40).extended_hours() && !sale(0xbf).extended_hours());
    assert!(sale(0x20).odd_lot() && !sale(0xdf).odd_lot());
    assert!(sale(0x10).trade_through_exempt() && !sale(0xef).trade_through_exempt());
    assert!(sale(0x08).single_price_cross_trade() && !sale(0xf7).single_price_cross_trade());

    let quote = |flags| tops::QuoteUpdateFlags(flags);
    assert!(quote(0x80).symbol_availability() && !quote(0x7f).symbol_availability());
    assert!(quote(0x40).market_session() && !quote(0xbf).market_session());

    assert!(deepplus::ModifyFlags(0x01).priority() && !deepplus::ModifyFlags(0xfe).priority());

    let old_quote = |flags| tops::v15::QuoteUpdateFlags(flags);
    assert!(old_quote(0x80).symbol_halt() && !old_quote(0x7f).symbol_halt());
    assert!(old_quote(0x40).market_session() && !old_quote(0xbf).market_session());
    let old_sale = |flags| tops::v15::SaleConditionFlags(flags);
    assert!(old_sale(0x80).intermarket_sweep() && !old_sale(0x7f).intermarket_sweep());
    assert!(old_sale(0x40).extended_hours() && !old_sale(0xbf).extended_hours());
    assert!(old_sale(0x20).odd_lot() && !old_sale(0xdf).odd_lot());
    assert!(old_sale(0x10).trade_through_exempt() && !old_sale(0xef).trade_through_exempt());
}

#[test]
fn trade_eligibility_follows_the_guidelines() {
    for byte in 0..=u8::MAX {
        let flags = iex::SaleConditionFlags(byte);
        let is_round_and_regular = !flags.extended_hours() && !flags.odd_lot();
        assert_eq!(flags.is_last_sale_eligible(), is_round_and_regular);
        assert_eq!(flags.is_high_low_eligible(), is_round_and_regular);
        assert!(flags.is_volume_eligible());
    }
}

// Data types

#[test]
fn prices_have_four_implied_decimals_and_a_sign() {
    // "For example, 123400 = $12.34."
    let mut bytes = hex(OFFICIAL_PRICE);
    for (wire, shown) in [(123_400_i64, "12.34"), (0, "0"), (-1, "-0.0001")] {
        bytes[18..26].copy_from_slice(&wire.to_le_bytes());
        let deep::Message::OfficialPrice(message) = deep::Message::parse(&bytes).unwrap() else {
            panic!("'X' is an official price");
        };
        assert_eq!(message.official_price.price().to_string(), shown);
    }
}

#[test]
fn symbols_fill_their_field_or_are_padded_with_spaces() {
    let mut bytes = hex(TRADING_STATUS);
    for (wire, shown) in [
        (b"ZIEXT   ", "ZIEXT"),
        (b"ABCDEF+A", "ABCDEF+A"),
        (b"A       ", "A"),
    ] {
        bytes[10..18].copy_from_slice(wire);
        let deep::Message::TradingStatus(message) = deep::Message::parse(&bytes).unwrap() else {
            panic!("'H' is a trading status");
        };
        assert_eq!(message.symbol.text::<8>().to_string(), shown);
    }
}
