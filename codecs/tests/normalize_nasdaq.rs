//! Every ITCH message's way to the normalized model, with captured bytes where there are any.  The
//! expected values of captured messages are an independent dissector's.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use tickcast_codecs::binaryfile::Messages;
use tickcast_codecs::event::{
    Definition, Event, Header, Imbalance, Normalizer as _, Origin, Status, StatusAction, Trade,
    TradeKind,
};
use tickcast_codecs::itch50::{Message, Normalizer};
use tickcast_codecs::types::{Price, Side, Symbol, Text};
use tickcast_codecs::{DecodeError, event};

const CHANNEL: u16 = 3;
const HOUR: u64 = 3_600_000_000_000;
/// 2023-08-22 00:00 Eastern daylight time, and the capture's moment: 09:30 of that day.
const MIDNIGHT: u64 = 1_692_676_800_000_000_000;
const OPENING: u64 = MIDNIGHT + 34_200_000_000_000;

/// The seed of the fuzz corpus that holds this message.
macro_rules! seed {
    ($name:literal) => {
        include_bytes!(concat!("../fuzz/corpus/itch50/", $name)).as_slice()
    };
}

fn price(text: &str) -> Price {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let units: i64 = format!("{whole}{fraction:0<9}").parse().unwrap();
    Price(units)
}

fn normalize_at(bytes: &[u8], ts_recv: u64) -> Result<(Header, Event), DecodeError> {
    let mut events: Vec<(Header, Event)> = Vec::new();
    let origin = Origin {
        sequence: 99,
        ts_recv,
    };
    let result = Normalizer::new(CHANNEL).message(bytes, origin, &mut events);
    // An order of an instrument that had no directory message tells the instrument first.
    if matches!(events.last(), Some((_, Event::Add { .. }))) {
        assert!(matches!(events.remove(0).1, Event::Definition(_)));
    }
    assert_eq!(events.len(), usize::from(result.is_ok()));
    result.map(|()| events[0])
}

#[test]
fn an_order_without_directory_message_tells_its_symbol_once_a_session() {
    let mut normalizer = Normalizer::new(CHANNEL);
    let symbols = |bytes: &[u8], normalizer: &mut Normalizer| {
        let mut events: Vec<(Header, Event)> = Vec::new();
        normalizer
            .message(bytes, Origin::default(), &mut events)
            .unwrap();
        events
            .iter()
            .filter_map(|(_, event)| match event {
                Event::Definition(definition) => Some(definition.symbol.to_string()),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    let add = seed!("real_a_0");
    let first = symbols(add, &mut normalizer);
    assert_eq!(first.len(), 1);
    assert!(!first[0].is_empty());
    assert!(symbols(add, &mut normalizer).is_empty());
    normalizer.start_session();
    assert_eq!(symbols(add, &mut normalizer), first);
}

/// The event of one message, after a look at its header.
fn normalize(bytes: &[u8], locate: u16, since_midnight: u64) -> Event {
    let (header, event) = normalize_at(bytes, OPENING).unwrap();
    assert_eq!(
        header,
        Header {
            instrument_id: u32::from(CHANNEL) * 65_536 + u32::from(locate),
            sequence: 99,
            ts_event: MIDNIGHT + since_midnight,
            ts_recv: OPENING,
        }
    );
    event
}

/// The status of one hand-made or changed message.
fn status_of(bytes: &[u8]) -> (StatusAction, char, String) {
    match normalize_at(bytes, OPENING).unwrap().1 {
        Event::Status(Status {
            action,
            code,
            reason,
        }) => (action, char::from(code), reason.to_string()),
        other => panic!("{other:?} is no status"),
    }
}

fn with(bytes: &[u8], offset: usize, byte: u8) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[offset] = byte;
    changed
}

#[test]
fn add_order_adds() {
    assert_eq!(
        normalize(seed!("real_a_0"), 524, 34_199_999_357_223),
        Event::Add {
            order_id: 1_551_269,
            side: Side::Bid,
            px: price("24.27"),
            size: 300
        }
    );
}

#[test]
fn add_order_with_mpid_adds() {
    assert_eq!(
        normalize(seed!("real_f_0"), 1738, 34_199_999_977_782),
        Event::Add {
            order_id: 18_923_125,
            side: Side::Ask,
            px: price("255.52"),
            size: 100
        }
    );
}

#[test]
fn an_order_neither_bought_nor_sold_is_refused() {
    for name in [seed!("real_a_0"), seed!("real_f_0")] {
        assert_eq!(
            normalize_at(&with(name, 19, b'T'), OPENING),
            Err(DecodeError::BadValue {
                field: "buy_sell_indicator",
                value: u64::from(b'T')
            })
        );
    }
}

#[test]
fn order_executed_executes_at_the_orders_price() {
    assert_eq!(
        normalize(seed!("real_e_0"), 2345, 34_199_999_934_561),
        Event::Execute {
            order_id: 23_499_418,
            size: 25,
            px: None,
            trade_id: 255_547,
            printable: true,
            conditions: 0
        }
    );
}

#[test]
fn order_executed_with_price_executes_at_that_price_printable_or_not() {
    let bytes = seed!("real_c_0");
    let expected = |printable| Event::Execute {
        order_id: 19_993_566,
        size: 4926,
        px: Some(price("22.48")),
        trade_id: 255_581,
        printable,
        conditions: 0,
    };
    assert_eq!(normalize(bytes, 5092, 34_200_001_163_323), expected(false));
    assert_eq!(
        normalize(&with(bytes, 31, b'Y'), 5092, 34_200_001_163_323),
        expected(true)
    );
}

#[test]
fn order_cancel_cancels_in_part() {
    assert_eq!(
        normalize(seed!("real_x_0"), 9413, 34_200_002_394_205),
        Event::Cancel {
            order_id: 33_823_232,
            size: 100
        }
    );
}

#[test]
fn order_delete_deletes() {
    assert_eq!(
        normalize(seed!("real_d_0"), 4135, 34_199_999_524_563),
        Event::Delete {
            order_id: 2_902_330
        }
    );
}

#[test]
fn order_replace_replaces() {
    assert_eq!(
        normalize(seed!("real_u_0"), 7603, 34_199_999_836_649),
        Event::Replace {
            order_id: 15_108_479,
            new_order_id: 21_361_351,
            px: price("106.26"),
            size: 100
        }
    );
}

#[test]
fn trade_is_a_hidden_trade_whose_side_isnt_known_unless_it_is_ask() {
    let bytes = seed!("real_p_0");
    let expected = |side| {
        Event::Trade(Trade {
            kind: TradeKind::Hidden,
            side,
            px: price("128.46"),
            size: 100,
            trade_id: 255_554,
            printable: true,
            conditions: 0,
        })
    };
    let at = 34_200_000_684_713;
    assert_eq!(normalize(bytes, 4499, at), expected(None));
    assert_eq!(
        normalize(&with(bytes, 19, b'S'), 4499, at),
        expected(Some(Side::Ask))
    );
    assert_eq!(normalize(&with(bytes, 19, b' '), 4499, at), expected(None));
}

#[test]
fn cross_trade_is_a_cross_without_side() {
    assert_eq!(
        normalize(seed!("hand_q"), 9, 34_200_000_000_000),
        Event::Trade(Trade {
            kind: TradeKind::Cross,
            side: None,
            px: price("10"),
            size: 1200,
            trade_id: 77,
            printable: true,
            conditions: b'O',
        })
    );
}

#[test]
fn a_cross_without_shares_doesnt_count() {
    let mut bytes = seed!("hand_q").to_vec();
    bytes[11..19].fill(0);
    let Event::Trade(trade) = normalize(&bytes, 9, 34_200_000_000_000) else {
        panic!("no trade");
    };
    assert_eq!((trade.size, trade.printable), (0, false));
}

#[test]
fn broken_trade_breaks_by_match_number() {
    assert_eq!(
        normalize(seed!("hand_b"), 9, 34_200_000_000_000),
        Event::TradeBreak {
            trade_id: 77,
            px: None,
            size: 0
        }
    );
}

#[test]
fn noii_is_an_imbalance_with_a_side_only_for_buy_and_sell() {
    let bytes = seed!("real_i_0");
    for (direction, side) in [
        (b'N', None),
        (b'B', Some(Side::Bid)),
        (b'S', Some(Side::Ask)),
        (b'O', None),
        (b'P', None),
    ] {
        assert_eq!(
            normalize(&with(bytes, 27, direction), 6462, 34_200_000_268_978),
            Event::Imbalance(Imbalance {
                auction_type: b'O',
                side,
                paired_size: 1,
                imbalance_size: 0,
                reference_px: price("46.44"),
                near_px: price("46.44"),
                far_px: price("46.44"),
            })
        );
    }
    let mut bytes = bytes.to_vec();
    bytes[36..48].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
    let Event::Imbalance(imbalance) = normalize(&bytes, 6462, 34_200_000_268_978) else {
        panic!("no imbalance");
    };
    assert_eq!(
        (imbalance.far_px, imbalance.near_px, imbalance.reference_px),
        (price("0.0001"), price("0.0002"), price("0.0003"))
    );
}

#[test]
fn stock_directory_is_a_definition() {
    // The first of a recorded day: symbol A, listed at NYSE.
    let bytes = seed!("real_r_0");
    let definition = |bytes: &[u8]| match normalize_at(bytes, OPENING).unwrap() {
        (header, Event::Definition(definition)) => (header.instrument_id, definition),
        other => panic!("{other:?} is no definition"),
    };
    let expected = Definition {
        symbol: Symbol::from_padded(b"A"),
        round_lot_size: 100,
        is_test: false,
        is_etp: false,
    };
    assert_eq!(definition(bytes), (3 * 65_536 + 1, expected));
    assert!(definition(&with(bytes, 29, b'T')).1.is_test);
    assert!(definition(&with(bytes, 33, b'Y')).1.is_etp);
}

#[test]
fn system_event_is_a_status_of_the_channel() {
    let bytes = seed!("real_s_0");
    let (header, _) = normalize_at(bytes, OPENING).unwrap();
    assert_eq!(header.instrument_id, 3 * 65_536);
    for (code, action) in [
        ('O', StatusAction::StartOfMessages),
        ('S', StatusAction::PreOpen),
        ('Q', StatusAction::Trading),
        ('M', StatusAction::Close),
        ('E', StatusAction::PostClose),
        ('C', StatusAction::EndOfMessages),
        ('?', StatusAction::Other),
    ] {
        assert_eq!(
            status_of(&with(bytes, 11, u8::try_from(code).unwrap())),
            (action, code, String::new())
        );
    }
}

#[test]
fn stock_trading_action_is_a_status_with_its_reason() {
    let bytes = seed!("real_h_0");
    assert_eq!(
        normalize(bytes, 11_325, 34_215_592_125_541),
        Event::Status(Status {
            action: StatusAction::Pause,
            code: b'P',
            reason: Text::from_padded(b"LUDP"),
        })
    );
    for (state, action) in [
        (b'H', StatusAction::Halt),
        (b'Q', StatusAction::Quoting),
        (b'T', StatusAction::Trading),
        (b'V', StatusAction::Other),
    ] {
        assert_eq!(status_of(&with(bytes, 19, state)).0, action);
    }
}

#[test]
fn reg_sho_restriction_is_a_status() {
    assert_eq!(
        normalize(seed!("real_y_0"), 9405, 34_200_116_533_431),
        Event::Status(Status {
            action: StatusAction::ShortSaleRestriction,
            code: b'1',
            reason: Text::default(),
        })
    );
}

#[test]
fn market_participant_position_is_a_status_with_the_mpid() {
    assert_eq!(
        normalize(seed!("real_l_0"), 3648, 34_224_468_064_326),
        Event::Status(Status {
            action: StatusAction::MarketParticipant,
            code: b'A',
            reason: Text::from_padded(b"MAXM"),
        })
    );
}

#[test]
fn luld_auction_collar_is_a_status() {
    assert_eq!(
        normalize(seed!("real_j_0"), 11_325, 34_215_592_415_125),
        Event::Status(Status {
            action: StatusAction::AuctionCollar,
            code: b'J',
            reason: Text::default(),
        })
    );
}

#[test]
fn circuit_breaker_messages_are_statuses_of_the_channel() {
    for (bytes, code) in [(seed!("hand_v"), b'V'), (seed!("hand_w"), b'1')] {
        assert_eq!(
            normalize(bytes, 0, 34_200_000_000_000),
            Event::Status(Status {
                action: StatusAction::CircuitBreaker,
                code,
                reason: Text::default(),
            })
        );
    }
}

#[test]
fn operational_halt_tells_action_and_market() {
    let bytes = seed!("hand_lower_h");
    let told = |action, code| (action, code, "Q".to_owned());
    assert_eq!(status_of(bytes), told(StatusAction::OperationalHalt, 'H'));
    assert_eq!(
        status_of(&with(bytes, 20, b'T')),
        told(StatusAction::OperationalResume, 'T')
    );
    assert_eq!(
        status_of(&with(bytes, 20, b'?')),
        told(StatusAction::Other, '?')
    );
    assert_eq!(status_of(&with(bytes, 19, b'X')).2, "X");
}

#[test]
fn ipo_retail_and_direct_listing_messages_are_statuses_with_their_code() {
    for (bytes, action, code) in [
        (seed!("hand_k"), StatusAction::Other, 'A'),
        (seed!("hand_n"), StatusAction::RetailInterest, 'A'),
        (seed!("hand_o"), StatusAction::Other, 'Y'),
    ] {
        assert_eq!(status_of(bytes), (action, code, String::new()));
    }
}

/// One valid message of each type.
const ONE_OF_EACH: [&[u8]; 23] = [
    seed!("real_s_0"),
    seed!("real_r_0"),
    seed!("real_h_0"),
    seed!("real_y_0"),
    seed!("real_l_0"),
    seed!("hand_v"),
    seed!("hand_w"),
    seed!("hand_k"),
    seed!("real_j_0"),
    seed!("hand_lower_h"),
    seed!("real_a_0"),
    seed!("real_f_0"),
    seed!("real_e_0"),
    seed!("real_c_0"),
    seed!("real_x_0"),
    seed!("real_d_0"),
    seed!("real_u_0"),
    seed!("real_p_0"),
    seed!("hand_q"),
    seed!("hand_b"),
    seed!("real_i_0"),
    seed!("hand_n"),
    seed!("hand_o"),
];

#[test]
fn every_type_is_mapped_and_every_prefix_of_it_refused_as_by_the_parser() {
    let types: Vec<u8> = ONE_OF_EACH.iter().map(|bytes| bytes[0]).collect();
    assert_eq!(types, Message::TYPES);
    for bytes in ONE_OF_EACH {
        assert_eq!(Message::length_of(bytes[0]), Some(bytes.len()));
        assert!(normalize_at(bytes, OPENING).is_ok());
        for cut in 0..bytes.len() {
            assert_eq!(
                normalize_at(&bytes[..cut], OPENING).unwrap_err(),
                Message::parse(&bytes[..cut]).unwrap_err()
            );
        }
    }
}

#[test]
fn no_bit_flip_of_any_type_panics_or_gives_an_event_with_an_error() {
    for bytes in ONE_OF_EACH {
        for bit in 0..bytes.len() * 8 {
            let flipped = with(bytes, bit / 8, bytes[bit / 8] ^ (1 << (bit % 8)));
            for ts_recv in [0, OPENING, u64::MAX] {
                // `normalize_at` asserts that there is an event, or an error.
                let result = normalize_at(&flipped, ts_recv);
                let parsed = Message::parse(&flipped).map(drop);
                assert!(parsed.is_ok() || result.map(drop) == parsed);
            }
        }
    }
}

#[test]
fn locate_zero_is_refused_where_a_security_is_concerned_and_only_there() {
    for bytes in ONE_OF_EACH {
        let mut channel = bytes.to_vec();
        channel[1..3].fill(0);
        let refused = normalize_at(&channel, OPENING).is_err();
        assert_eq!(
            refused,
            b"AFECXDUPQBIR".contains(&bytes[0]),
            "{}",
            char::from(bytes[0])
        );
    }
}

#[test]
fn an_unknown_type_is_refused() {
    assert_eq!(
        normalize_at(seed!("unknown_type"), OPENING),
        Err(DecodeError::UnknownType {
            protocol: "ITCH 5.0",
            message_type: b'z'
        })
    );
}

/// `ts_event` of a message stamped `since_midnight` that reached us at `ts_recv`.
fn ts_event(normalizer: &mut Normalizer, since_midnight: u64, ts_recv: u64) -> u64 {
    let mut bytes = seed!("real_d_0").to_vec();
    bytes[5..11].copy_from_slice(&since_midnight.to_be_bytes()[2..]);
    let mut events: Vec<(event::Header, Event)> = Vec::new();
    let origin = Origin {
        sequence: 1,
        ts_recv,
    };
    normalizer.message(&bytes, origin, &mut events).unwrap();
    events[0].0.ts_event
}

#[test]
fn midnight_is_found_in_summer_and_winter_as_long_as_clocks_agree_within_half_an_hour() {
    // 2025-01-16 and 2025-07-17, 00:00 Eastern, in nanoseconds of UTC.
    for midnight in [1_737_003_600_000_000_000, 1_752_724_800_000_000_000] {
        for since_midnight in [0, 4 * HOUR, 9 * HOUR + HOUR / 2, 20 * HOUR, 24 * HOUR - 1] {
            for skew in [0, 1, HOUR / 2 - 1] {
                let event = midnight + since_midnight;
                for ts_recv in [event + skew, event - skew] {
                    let mut normalizer = Normalizer::new(0);
                    assert_eq!(normalizer.midnight(), None);
                    assert_eq!(ts_event(&mut normalizer, since_midnight, ts_recv), event);
                    assert_eq!(normalizer.midnight(), Some(midnight));
                }
            }
        }
    }
}

#[test]
fn midnight_is_kept_until_a_session_starts() {
    let mut normalizer = Normalizer::new(0);
    assert_eq!(
        ts_event(&mut normalizer, 9 * HOUR, MIDNIGHT + 9 * HOUR),
        MIDNIGHT + 9 * HOUR
    );
    // A retransmission two hours late, and a message without a stamp, are of the same day.
    assert_eq!(
        ts_event(&mut normalizer, 10 * HOUR, MIDNIGHT + 12 * HOUR),
        MIDNIGHT + 10 * HOUR
    );
    assert_eq!(
        ts_event(&mut normalizer, 11 * HOUR, 0),
        MIDNIGHT + 11 * HOUR
    );
    normalizer.start_session();
    let next = MIDNIGHT + 24 * HOUR;
    assert_eq!(
        ts_event(&mut normalizer, 4 * HOUR, next + 4 * HOUR),
        next + 4 * HOUR
    );
}

#[test]
fn a_given_midnight_is_never_found_anew() {
    let mut normalizer = Normalizer::new(0).with_midnight(MIDNIGHT);
    assert_eq!(normalizer.midnight(), Some(MIDNIGHT));
    for ts_recv in [0, MIDNIGHT + 72 * HOUR] {
        assert_eq!(ts_event(&mut normalizer, HOUR, ts_recv), MIDNIGHT + HOUR);
        normalizer.start_session();
    }
}

#[test]
fn without_a_stamp_the_time_is_since_midnight_and_nothing_is_learnt() {
    let mut normalizer = Normalizer::new(0);
    assert_eq!(ts_event(&mut normalizer, 9 * HOUR, 0), 9 * HOUR);
    assert_eq!(normalizer.midnight(), None);
    assert_eq!(
        ts_event(&mut normalizer, 9 * HOUR, MIDNIGHT + 9 * HOUR),
        MIDNIGHT + 9 * HOUR
    );
}

#[test]
fn a_time_beyond_the_day_doesnt_shift_the_others() {
    let mut normalizer = Normalizer::new(0);
    assert_eq!(ts_event(&mut normalizer, 24 * HOUR, OPENING), 24 * HOUR);
    assert_eq!(normalizer.midnight(), None);
}

#[test]
fn a_refused_message_doesnt_teach_midnight() {
    let mut normalizer = Normalizer::new(0);
    let bytes = with(seed!("real_a_0"), 19, b'?');
    let origin = Origin {
        sequence: 1,
        ts_recv: OPENING,
    };
    assert!(normalizer.message(&bytes, origin, &mut Vec::new()).is_err());
    assert_eq!(normalizer.midnight(), None);
}

#[test]
fn a_real_start_of_day_gives_one_event_for_each_message() {
    let file = include_bytes!("../../testdata/nasdaq-itch/itch50_first1000_messages.itch");
    let mut normalizer = Normalizer::new(CHANNEL);
    let mut events: Vec<(Header, Event)> = Vec::new();
    for (sequence, message) in (1..).zip(Messages::new(file)) {
        let origin = Origin {
            sequence,
            ts_recv: 0,
        };
        normalizer
            .message(message.unwrap(), origin, &mut events)
            .unwrap();
    }
    let count = |wanted: fn(&Event) -> bool| events.iter().filter(|(_, e)| wanted(e)).count();
    assert_eq!(count(|e| matches!(e, Event::Definition(_))), 993);
    assert_eq!(count(|e| matches!(e, Event::Status(_))), 7);
    assert_eq!(events.len(), 1000);
    assert!(
        events
            .windows(2)
            .all(|pair| pair[0].0.ts_event <= pair[1].0.ts_event)
    );
}
