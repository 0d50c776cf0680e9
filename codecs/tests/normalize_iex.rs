//! What every IEX message becomes in the normalized model, as `docs/field-map.md` says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod iex_examples;

use iex_examples::*;
use tickcast_codecs::event::{
    Definition, Event, Header, Imbalance, Normalizer, Origin, Status, StatusAction, Trade,
    TradeKind,
};
use tickcast_codecs::types::{Price, Side, Symbol, Text};
use tickcast_codecs::wire::Alpha;
use tickcast_codecs::{DecodeError, deep, deepplus, tops};

const CHANNEL: u16 = 3;
const ZIEXT: u32 = 3 << 16 | 1;
const PX: Price = Price(99_050_000_000);
const ORIGIN: Origin = Origin {
    sequence: 42,
    ts_recv: 1_700_000_000_000_000_000,
};

fn events<N: Normalizer>(normalizer: &mut N, bytes: &[u8]) -> Vec<(Header, Event)> {
    let mut events = Vec::new();
    normalizer.message(bytes, ORIGIN, &mut events).unwrap();
    events
}

/// The one event of a message whose symbol is new: its definition comes before it.
fn only<N: Normalizer>(mut normalizer: N, bytes: &[u8], ts_event: u64) -> Event {
    let events = events(&mut normalizer, bytes);
    let header = Header {
        instrument_id: ZIEXT,
        sequence: 42,
        ts_event,
        ts_recv: ORIGIN.ts_recv,
    };
    let [(first, Event::Definition(definition)), (second, event)] = events.as_slice() else {
        panic!("a definition and one event: {events:?}");
    };
    assert_eq!((*first, *second), (header, header));
    assert_eq!(
        *definition,
        Definition {
            symbol: Symbol::from_padded(b"ZIEXT"),
            round_lot_size: 0,
            is_test: false,
            is_etp: false
        }
    );
    *event
}

/// The same message on several feeds.
macro_rules! assert_maps {
    ([$($feed:ident),+], $bytes:expr, $ts_event:literal, $event:expr) => {
        let bytes = $bytes;
        $( assert_eq!(only($feed::Normalizer::new(CHANNEL), &bytes, $ts_event), $event); )+
    };
}

/// An example with one byte changed.
fn with(example: &str, at: usize, byte: u8) -> Vec<u8> {
    let mut bytes = hex(example);
    bytes[at] = byte;
    bytes
}

fn status(action: StatusAction, code: u8, reason: &[u8]) -> Event {
    Event::Status(Status {
        action,
        code,
        reason: Text::from_padded(reason),
    })
}

#[test]
fn system_events_are_statuses_of_the_channel() {
    for (code, action) in [
        (b'O', StatusAction::StartOfMessages),
        (b'S', StatusAction::PreOpen),
        (b'R', StatusAction::Trading),
        (b'M', StatusAction::Close),
        (b'E', StatusAction::PostClose),
        (b'C', StatusAction::EndOfMessages),
        (b'?', StatusAction::Other),
    ] {
        let bytes = with(SYSTEM_EVENT, 1, code);
        let expected = vec![(
            Header {
                instrument_id: 3 << 16,
                sequence: 42,
                ts_event: 1_492_448_400_000_000_000,
                ts_recv: ORIGIN.ts_recv,
            },
            status(action, code, b""),
        )];
        assert_eq!(
            events(&mut tops::Normalizer::new(CHANNEL), &bytes),
            expected
        );
        assert_eq!(
            events(&mut deep::Normalizer::new(CHANNEL), &bytes),
            expected
        );
        assert_eq!(
            events(&mut deepplus::Normalizer::new(CHANNEL), &bytes),
            expected
        );
    }
}

#[test]
fn a_security_directory_message_is_the_definition() {
    for (flags, is_test, is_etp) in [
        (0x80, true, false),
        (0x20, false, true),
        (0x40, false, false),
    ] {
        let bytes = with(SECURITY_DIRECTORY, 1, flags);
        let mut normalizer = deep::Normalizer::new(CHANNEL);
        // Also when the symbol is known already: the fuller one follows.
        for _ in 0..2 {
            let events = events(&mut normalizer, &bytes);
            assert_eq!(events.len(), 1);
            assert_eq!(events[0].0.instrument_id, ZIEXT);
            assert_eq!(
                events[0].1,
                Event::Definition(Definition {
                    symbol: Symbol::from_padded(b"ZIEXT"),
                    round_lot_size: 100,
                    is_test,
                    is_etp
                })
            );
        }
    }
}

#[test]
fn trading_statuses() {
    for (code, action) in [
        (b'H', StatusAction::Halt),
        (b'O', StatusAction::OrderAcceptance),
        (b'P', StatusAction::Pause),
        (b'T', StatusAction::Trading),
        (b'?', StatusAction::Other),
    ] {
        assert_maps!(
            [tops, deep, deepplus],
            with(TRADING_STATUS, 1, code),
            1_471_980_632_572_715_948,
            status(action, code, b"T1")
        );
    }
}

#[test]
fn retail_interest() {
    for code in [b' ', b'A', b'B', b'C'] {
        assert_maps!(
            [tops, deep, deepplus],
            with(RETAIL_LIQUIDITY_INDICATOR, 1, code),
            1_471_980_632_572_715_948,
            status(StatusAction::RetailInterest, code, b"")
        );
    }
}

#[test]
fn operational_halts() {
    for (code, action) in [
        (b'O', StatusAction::OperationalHalt),
        (b'N', StatusAction::OperationalResume),
        (b'?', StatusAction::Other),
    ] {
        assert_maps!(
            [tops, deep, deepplus],
            with(OPERATIONAL_HALT_STATUS, 1, code),
            1_471_980_632_572_715_948,
            status(action, code, b"")
        );
    }
}

#[test]
fn short_sale_price_tests_carry_their_detail_as_the_reason() {
    assert_maps!(
        [tops, deep, deepplus],
        hex(SHORT_SALE_PRICE_TEST_STATUS),
        1_471_980_632_572_715_948,
        status(StatusAction::ShortSaleRestriction, 1, b"A")
    );
    let mut none = with(SHORT_SALE_PRICE_TEST_STATUS, 1, 0);
    none[18] = b' ';
    assert_maps!(
        [tops, deep, deepplus],
        none.clone(),
        1_471_980_632_572_715_948,
        status(StatusAction::ShortSaleRestriction, 0, b"")
    );
}

#[test]
fn security_events() {
    for code in [b'O', b'C'] {
        assert_maps!(
            [deep, deepplus],
            with(SECURITY_EVENT, 1, code),
            1_492_421_400_000_000_000,
            status(StatusAction::SecurityEvent, code, b"")
        );
    }
}

#[test]
fn a_price_level_update_sets_a_level() {
    for (message_type, side) in [(b'8', Side::Bid), (b'5', Side::Ask)] {
        for (flags, complete) in [(1, true), (0, false), (2, false), (3, true)] {
            let mut bytes = with(PRICE_LEVEL_UPDATE, 0, message_type);
            bytes[1] = flags;
            assert_maps!(
                [deep],
                bytes.clone(),
                1_471_980_632_572_715_948,
                Event::LevelSet {
                    side,
                    px: PX,
                    size: 9_700,
                    complete
                }
            );
        }
    }
}

#[test]
fn a_quote_update_is_a_quote() {
    let quote = Event::Quote {
        bid_px: PX,
        bid_size: 9_700,
        ask_px: Price(99_070_000_000),
        ask_size: 1_000,
    };
    assert_maps!([tops], hex(QUOTE_UPDATE), 1_471_980_632_572_715_948, quote);
    assert_eq!(
        only(
            tops::v15::Normalizer::new(CHANNEL),
            &hex(QUOTE_UPDATE),
            1_471_980_632_572_715_948
        ),
        quote
    );
}

fn trade(kind: TradeKind, trade_id: u64, conditions: u8) -> Event {
    Event::Trade(Trade {
        kind,
        side: None,
        px: PX,
        size: 100,
        trade_id,
        printable: true,
        conditions,
    })
}

#[test]
fn a_trade_report_is_a_report_or_a_cross() {
    for (flags, kind) in [
        (0x00, TradeKind::Report),
        (0xf0, TradeKind::Report),
        (0x18, TradeKind::Cross),
    ] {
        assert_maps!(
            [tops, deep],
            with(TRADE_REPORT, 1, flags),
            1_471_980_683_662_974_915,
            trade(kind, 429_974, flags)
        );
    }
    // The cross flag has no meaning in TOPS 1.5.
    assert_eq!(
        only(
            tops::v15::Normalizer::new(CHANNEL),
            &with(TRADE_REPORT_15, 1, 0x08),
            1_471_980_683_662_974_915
        ),
        trade(TradeKind::Report, 429_974, 0x08)
    );
}

#[test]
fn a_trade_of_deep_plus_is_hidden_or_a_cross() {
    for (flags, kind) in [(0x20, TradeKind::Hidden), (0x08, TradeKind::Cross)] {
        assert_maps!(
            [deepplus],
            with(TRADE, 1, flags),
            1_471_980_724_912_754_610,
            trade(kind, 167_830, flags)
        );
    }
}

#[test]
fn trade_breaks_repeat_the_trade() {
    let expected = Event::TradeBreak {
        trade_id: 429_974,
        px: Some(PX),
        size: 100,
    };
    assert_maps!(
        [tops, deep, deepplus],
        hex(TRADE_BREAK),
        1_471_980_724_912_754_610,
        expected
    );
    assert_eq!(
        only(
            tops::v15::Normalizer::new(CHANNEL),
            &hex(TRADE_BREAK_15),
            1_471_980_724_912_754_610
        ),
        expected
    );
}

#[test]
fn an_official_price_is_a_report_that_counts_in_nothing() {
    for price_type in [b'Q', b'M'] {
        assert_maps!(
            [tops, deep],
            with(OFFICIAL_PRICE, 1, price_type),
            1_492_421_400_000_000_000,
            Event::Trade(Trade {
                kind: TradeKind::Report,
                side: None,
                px: PX,
                size: 0,
                trade_id: 0,
                printable: false,
                conditions: price_type
            })
        );
    }
}

#[test]
fn auction_information_is_an_imbalance() {
    for (letter, side) in [
        (b'B', Some(Side::Bid)),
        (b'S', Some(Side::Ask)),
        (b'N', None),
    ] {
        assert_maps!(
            [tops, deep],
            with(AUCTION_INFORMATION, 42, letter),
            1_492_444_212_462_929_885,
            Event::Imbalance(Imbalance {
                auction_type: b'C',
                side,
                paired_size: 100_000,
                imbalance_size: 10_000,
                reference_px: PX,
                near_px: Price(99_100_000_000),
                far_px: Price(99_150_000_000)
            })
        );
    }
}

#[test]
fn an_added_order_has_the_side_of_its_character() {
    for (letter, side) in [(b'8', Side::Bid), (b'5', Side::Ask)] {
        assert_maps!(
            [deepplus],
            with(ADD_ORDER, 1, letter),
            1_471_980_724_912_754_610,
            Event::Add {
                order_id: 429_974,
                side,
                px: PX,
                size: 100
            }
        );
    }
    let mut normalizer = deepplus::Normalizer::new(CHANNEL);
    let mut events: Vec<(Header, Event)> = Vec::new();
    assert_eq!(
        normalizer.message(&with(ADD_ORDER, 1, b'B'), ORIGIN, &mut events),
        Err(DecodeError::BadValue {
            field: "side",
            value: u64::from(b'B')
        })
    );
    assert!(events.is_empty());
    assert!(
        normalizer.symbols().is_empty(),
        "a refused message names no instrument"
    );
}

#[test]
fn a_modified_order_keeps_its_priority_if_the_flag_says_so() {
    for (flags, keeps_priority) in [(0, false), (1, true)] {
        assert_maps!(
            [deepplus],
            with(ORDER_MODIFY, 1, flags),
            1_471_980_724_912_754_610,
            Event::Modify {
                order_id: 429_974,
                px: PX,
                size: 100,
                keeps_priority
            }
        );
    }
}

#[test]
fn a_deleted_order() {
    assert_maps!(
        [deepplus],
        hex(ORDER_DELETE),
        1_471_980_724_912_754_610,
        Event::Delete { order_id: 429_974 }
    );
}

#[test]
fn an_execution_has_its_own_price() {
    assert_maps!(
        [deepplus],
        with(ORDER_EXECUTED, 1, 0x60),
        1_471_980_724_912_754_610,
        Event::Execute {
            order_id: 429_974,
            size: 100,
            px: Some(PX),
            trade_id: 167_830,
            printable: true,
            conditions: 0x60
        }
    );
}

#[test]
fn clear_book_clears_one_instrument() {
    assert_maps!(
        [deepplus],
        hex(CLEAR_BOOK),
        1_471_980_724_912_754_610,
        Event::Clear
    );
}

#[test]
fn instruments_are_numbered_in_order_of_appearance_and_defined_once() {
    let mut normalizer = tops::Normalizer::new(CHANNEL);
    let mut quote = hex(QUOTE_UPDATE);
    let mut ids = Vec::new();
    let mut definitions = 0;
    for symbol in [
        b"AAPL    ",
        b"ZIEXT   ",
        b"AAPL    ",
        b"MSFT    ",
        b"ZIEXT   ",
    ] {
        quote[10..18].copy_from_slice(symbol);
        let events = events(&mut normalizer, &quote);
        definitions += events.len() - 1;
        assert!(matches!(events.last(), Some((_, Event::Quote { .. }))));
        ids.push(events.last().unwrap().0.instrument_id & 0xffff);
    }
    assert_eq!(ids, [1, 2, 1, 3, 2]);
    assert_eq!(definitions, 3);
    assert_eq!(normalizer.symbols().len(), 3);
    assert_eq!(
        normalizer.symbols().find(&Alpha(*b"MSFT    ")),
        Some(3 << 16 | 3)
    );
    assert_eq!(normalizer.symbols().find(&Alpha(*b"IBM     ")), None);
}

#[test]
fn symbols_keep_their_numbers_across_sessions() {
    let mut normalizer = deep::Normalizer::new(CHANNEL);
    events(&mut normalizer, &hex(TRADING_STATUS));
    normalizer.start_session();
    let events = events(&mut normalizer, &hex(PRICE_LEVEL_UPDATE));
    assert_eq!(events.len(), 1, "defined already");
    assert_eq!(events[0].0.instrument_id, ZIEXT);
}

#[test]
fn a_full_symbol_table_refuses_and_counts() {
    let mut normalizer = deep::Normalizer::new(u16::MAX);
    let mut level = hex(PRICE_LEVEL_UPDATE);
    let mut events: Vec<(Header, Event)> = Vec::new();
    for number in 1..=65_535_u32 {
        level[10..18].copy_from_slice(format!("{number:<8}").as_bytes());
        normalizer.message(&level, ORIGIN, &mut events).unwrap();
    }
    assert_eq!(events.last().unwrap().0.instrument_id, u32::MAX);
    assert_eq!(normalizer.symbols().len(), 65_535);
    assert_eq!(normalizer.symbols().refused(), 0);

    events.clear();
    level[10..18].copy_from_slice(b"TOOMANY ");
    for refused in 1..=2 {
        assert_eq!(
            normalizer.message(&level, ORIGIN, &mut events),
            Err(DecodeError::BadValue {
                field: "symbol",
                value: u64::from_le_bytes(*b"TOOMANY ")
            })
        );
        assert_eq!(normalizer.symbols().refused(), refused);
    }
    assert!(events.is_empty());

    // Those that have a number go on.
    level[10..18].copy_from_slice(b"1       ");
    normalizer.message(&level, ORIGIN, &mut events).unwrap();
    assert_eq!(events[0].0.instrument_id, 0xffff_0001);
}

#[test]
fn a_blank_symbol_is_no_instrument() {
    let mut normalizer = deep::Normalizer::new(CHANNEL);
    for blank in [*b"        ", [0; 8]] {
        let mut level = hex(PRICE_LEVEL_UPDATE);
        level[10..18].copy_from_slice(&blank);
        let mut events: Vec<(Header, Event)> = Vec::new();
        let refused = normalizer.message(&level, ORIGIN, &mut events).unwrap_err();
        assert_eq!(refused.counter(), "bad_value");
        assert!(events.is_empty());
    }
    assert_eq!(normalizer.symbols().refused(), 0, "the table isn't full");
}

#[test]
fn an_unknown_type_is_an_error_and_no_event() {
    let mut events: Vec<(Header, Event)> = Vec::new();
    assert_eq!(
        deepplus::Normalizer::new(CHANNEL).message(b"?????", ORIGIN, &mut events),
        Err(DecodeError::UnknownType {
            protocol: "DEEP+ 1.0",
            message_type: b'?'
        })
    );
    assert!(events.is_empty());
}
