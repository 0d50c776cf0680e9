//! What subscribers receive: both encodings, against written-out texts and against each other.
#![allow(clippy::unwrap_used)]

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tickcast_codecs::event::{Definition, Imbalance, Status, StatusAction, Trade, TradeKind};
use tickcast_codecs::outbound::fb::{self, FrameError};
use tickcast_codecs::outbound::{
    Body, Feed, FeedLine, FeedRepair, Message, MessageHeader, OrderAction, OrderUpdate, OwnedBody,
    OwnedMessage, Reason, Schema, flags, json,
};
use tickcast_codecs::types::Text;
use tickcast_codecs::{Level, Price, Side, Symbol};

const HEADER: MessageHeader = MessageHeader {
    schema: Schema::Mbp10,
    instrument_id: 13,
    seq: 7,
    prev: 6,
    ts_event: 1_700_000_000_000_000_001,
    ts_recv: 1_700_000_000_000_000_002,
    ts_out: 1_700_000_000_000_000_003,
    flags: flags::LAST,
    sequence: Some((41, 42)),
};

const HEAD: &str = concat!(
    r#""instrument_id":13,"seq":7,"prev":6,"ts_event":"1700000000000000001","#,
    r#""ts_recv":"1700000000000000002","ts_out":"1700000000000000003","flags":128,"sequence":[41,42]"#
);

const fn level(px: i64, size: u64, count: u32) -> Level {
    Level {
        px: Price(px),
        size,
        count,
    }
}

fn text(message: &Message<'_>, decimal: bool) -> String {
    let mut out = Vec::new();
    json::encode(message, decimal, &mut out);
    String::from_utf8(out).unwrap()
}

/// The JSON text of a body must be this, with `HEAD` between type, schema and what follows.
fn assert_json(schema: Schema, body: Body<'_>, rest: &str) {
    let header = MessageHeader { schema, ..HEADER };
    let (kind, schema) = (body.name(), schema.name());
    assert_eq!(
        text(&Message { header, body }, false),
        format!(r#"{{"type":"{kind}","schema":"{schema}",{HEAD},{rest}}}"#)
    );
}

#[test]
fn book_messages_are_written_as_documented() {
    let bids = [level(99_000_000_000, 300, 2), level(98_500_000_000, 1, 1)];
    let body = Body::Snapshot {
        reason: Reason::Subscribe,
        bids: &bids,
        asks: &[],
        checksum: Some(4_294_967_295),
    };
    assert_json(
        Schema::Mbp10,
        body,
        r#""reason":"subscribe","bids":[[99000000000,300,2],[98500000000,1,1]],"asks":[],"checksum":4294967295"#,
    );
    let body = Body::Update {
        bids: &[],
        asks: &[level(101_000_000_000, 0, 0)],
        checksum: None,
        events: 3,
    };
    assert_json(
        Schema::MbpFull,
        body,
        r#""bids":[],"asks":[[101000000000,0,0]],"events":3"#,
    );
}

#[test]
fn order_messages_are_written_as_documented() {
    let orders = [
        OrderUpdate {
            action: OrderAction::Add,
            order_id: (1 << 53) + 1,
            side: Side::Bid,
            px: Price(99_000_000_000),
            size: 100,
        },
        OrderUpdate {
            action: OrderAction::Fill,
            order_id: 1 << 53,
            side: Side::Ask,
            px: Price(101_000_000_000),
            size: 5,
        },
    ];
    let written = concat!(
        r#""orders":[{"action":"A","order_id":"9007199254740993","side":"B","px":99000000000,"size":100},"#,
        r#"{"action":"F","order_id":9007199254740992,"side":"A","px":101000000000,"size":5}]"#
    );
    assert_json(Schema::Mbo, Body::Orders { orders: &orders }, written);
    let body = Body::OrderSnapshot {
        reason: Reason::SessionStart,
        orders: &orders,
    };
    let written = format!(r#""reason":"session_start",{written}"#);
    assert_json(Schema::Mbo, body, &written);
    assert_json(Schema::Mbo, Body::Orders { orders: &[] }, r#""orders":[]"#);
}

#[test]
fn trades_and_breaks_are_written_as_documented() {
    let trade = Trade {
        kind: TradeKind::Cross,
        side: None,
        px: Price(100_250_000_000),
        size: 12_000,
        trade_id: u64::MAX,
        printable: true,
        conditions: b'O',
    };
    assert_json(
        Schema::Trades,
        Body::Trade(&trade),
        r#""kind":"cross","side":"N","px":100250000000,"size":12000,"trade_id":"18446744073709551615","printable":true,"conditions":79"#,
    );
    let body = Body::TradeBreak {
        trade_id: 9,
        px: None,
        size: 0,
    };
    assert_json(Schema::Trades, body, r#""trade_id":9,"size":0"#);
    let body = Body::TradeBreak {
        trade_id: 9,
        px: Some(Price(1)),
        size: 2,
    };
    assert_json(Schema::Trades, body, r#""trade_id":9,"px":1,"size":2"#);
}

#[test]
fn status_imbalance_definition_and_gap_are_written_as_documented() {
    let status = Status {
        action: StatusAction::Halt,
        code: b'H',
        reason: Text::from_padded(b"T1  "),
    };
    assert_json(
        Schema::Status,
        Body::Status(&status),
        r#""action":"halt","code":"H","reason":"T1""#,
    );
    let imbalance = Imbalance {
        auction_type: b'C',
        side: Some(Side::Ask),
        paired_size: 10,
        imbalance_size: 20,
        reference_px: Price(3),
        near_px: Price(-4),
        far_px: Price(i64::MIN),
    };
    assert_json(
        Schema::Imbalance,
        Body::Imbalance(&imbalance),
        r#""auction_type":"C","side":"A","paired_size":10,"imbalance_size":20,"reference_px":3,"near_px":-4,"far_px":"-9223372036854775808""#,
    );
    let definition = Definition {
        symbol: Symbol::from_padded(b"ZVZZT   "),
        round_lot_size: 100,
        is_test: true,
        is_etp: false,
    };
    let body = Body::Definition {
        definition: &definition,
        venue: "XNAS",
    };
    assert_json(
        Schema::Definition,
        body,
        r#""venue":"XNAS","symbol":"ZVZZT","round_lot_size":100,"is_test":true,"is_etp":false"#,
    );
    let body = Body::Gap {
        from: 1,
        to: 4,
        count: 4,
    };
    assert_json(Schema::Trades, body, r#""from":1,"to":4,"count":4"#);
}

#[test]
fn the_state_of_a_channel_is_written_as_documented() {
    let line = |name: &str, won| FeedLine {
        name: name.to_owned(),
        state: "up".to_owned(),
        won,
        duplicate: 1,
        counters: vec![("packets".to_owned(), 9)],
    };
    let mut feed = Feed {
        channel: "a \"channel\"".to_owned(),
        state: "gap_fill".to_owned(),
        stale: true,
        session: "S1".to_owned(),
        next_sequence: 1 << 60,
        lines: vec![line("A", 3), line("B", 4)],
        gaps: vec![(5, 6), (8, 8)],
        counters: vec![("gaps_declared".to_owned(), 2), ("held".to_owned(), 0)],
        repair: FeedRepair {
            count: 1,
            sum_ns: 7,
            p50_ns: Some(10),
            p99_ns: None,
            max_ns: None,
            bound_ns: 100,
        },
    };
    assert_json(
        Schema::Feed,
        Body::Feed(&feed),
        concat!(
            r#""channel":"a \"channel\"","state":"gap_fill","stale":true,"session":"S1","#,
            r#""next_sequence":"1152921504606846976","lines":["#,
            r#"{"name":"A","state":"up","won":3,"duplicate":1,"counters":{"packets":9}},"#,
            r#"{"name":"B","state":"up","won":4,"duplicate":1,"counters":{"packets":9}}],"#,
            r#""gaps":[[5,6],[8,8]],"counters":{"gaps_declared":2,"held":0},"#,
            r#""repair":{"count":1,"sum_ns":7,"p50_ns":10,"bound_ns":100}"#
        ),
    );
    feed = Feed::default();
    let mut object = Vec::new();
    json::encode_feed(&feed, &mut object);
    assert_eq!(
        String::from_utf8(object).unwrap(),
        concat!(
            r#"{"channel":"","state":"","stale":false,"session":"","next_sequence":0,"lines":[],"gaps":[],"#,
            r#""counters":{},"repair":{"count":0,"sum_ns":0,"bound_ns":0}}"#
        )
    );
}

#[test]
fn bytes_that_json_cannot_hold_are_escaped_or_shown_as_question_marks() {
    let definition = Definition {
        symbol: Symbol::from_padded(b"A\"\\\x01\xffB"),
        round_lot_size: 0,
        is_test: false,
        is_etp: false,
    };
    let body = Body::Definition {
        definition: &definition,
        venue: "\u{1f}\n\"\\é",
    };
    let text = text(
        &Message {
            header: HEADER,
            body,
        },
        false,
    );
    assert!(
        text.contains(r#""venue":"\u001f\u000a\"\\é","symbol":"A\"\\??B""#),
        "{text}"
    );
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["venue"], "\u{1f}\n\"\\é");

    let status = Status {
        action: StatusAction::Other,
        code: 0,
        reason: Text::from_padded(b""),
    };
    assert_json(
        Schema::Status,
        Body::Status(&status),
        r#""action":"other","code":"","reason":"""#,
    );
}

#[test]
fn a_message_without_venue_numbers_leaves_the_range_out() {
    let header = MessageHeader {
        sequence: None,
        ts_event: 5,
        ..HEADER
    };
    let body = Body::Orders { orders: &[] };
    let text = text(&Message { header, body }, false);
    assert!(!text.contains("sequence"), "{text}");
    assert!(text.contains(r#""ts_event":5,"#), "{text}");
}

#[test]
fn a_frame_holds_several_messages() {
    let mut encoder = fb::Encoder::new();
    let mut frame = Vec::new();
    for seq in 1..=3 {
        let header = MessageHeader { seq, ..HEADER };
        let body = Body::Gap {
            from: seq,
            to: seq,
            count: 1,
        };
        encoder.encode(&Message { header, body }, &mut frame);
    }
    let seqs: Vec<u64> = fb::messages(&frame).map(|m| m.unwrap().seq()).collect();
    assert_eq!(seqs, [1, 2, 3]);
    assert_eq!(frame.get(8..12), Some(b"TCST".as_slice()));
}

#[test]
fn a_frame_that_is_not_ours_is_refused() {
    assert!(fb::messages(&[]).next().is_none());
    let error = |frame: &[u8]| {
        let mut messages = fb::messages(frame);
        let error = messages.next().unwrap().unwrap_err();
        assert!(messages.next().is_none(), "there is nothing after an error");
        error
    };
    assert_eq!(error(&[1, 0]), FrameError::Truncated { need: 4, have: 2 });
    assert_eq!(
        error(&[9, 0, 0, 0, 1]),
        FrameError::Truncated { need: 13, have: 5 }
    );
    assert_eq!(error(&[0, 0, 0, 0, 1]), FrameError::Identifier);
    let mut frame = vec![8, 0, 0, 0, 0, 1, 0, 0];
    frame.extend(b"TCST");
    assert!(matches!(error(&frame), FrameError::Invalid(_)));
}

fn price() -> impl Strategy<Value = Price> {
    prop_oneof![any::<i64>(), 0..1_000_000_000_000_i64].prop_map(Price)
}

fn level_strategy() -> impl Strategy<Value = Level> {
    (price(), any::<u64>(), any::<u32>()).prop_map(|(px, size, count)| Level { px, size, count })
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Bid), Just(Side::Ask)]
}

fn order() -> impl Strategy<Value = OrderUpdate> {
    (
        proptest::sample::select(OrderAction::ALL.to_vec()),
        any::<u64>(),
        side(),
        price(),
        any::<u32>(),
    )
        .prop_map(|(action, order_id, side, px, size)| OrderUpdate {
            action,
            order_id,
            side,
            px,
            size,
        })
}

fn ascii<const N: usize>() -> impl Strategy<Value = Text<N>> {
    vec(b'!'..=b'~', 0..=N).prop_map(|bytes| Text::from_padded(&bytes))
}

fn counters() -> impl Strategy<Value = Vec<(String, u64)>> {
    vec(any::<(String, u64)>(), 0..4)
}

fn feed() -> impl Strategy<Value = Feed> {
    let line = (any::<(String, String, u64, u64)>(), counters()).prop_map(
        |((name, state, won, duplicate), counters)| FeedLine {
            name,
            state,
            won,
            duplicate,
            counters,
        },
    );
    let repair = any::<(u64, u64, Option<u64>, Option<u64>, Option<u64>, u64)>().prop_map(
        |(count, sum_ns, p50_ns, p99_ns, max_ns, bound_ns)| FeedRepair {
            count,
            sum_ns,
            p50_ns,
            p99_ns,
            max_ns,
            bound_ns,
        },
    );
    (
        any::<(String, String, bool, String, u64)>(),
        vec(line, 0..4),
        vec(any::<(u64, u64)>(), 0..17),
        counters(),
        repair,
    )
        .prop_map(
            |((channel, state, stale, session, next_sequence), lines, gaps, counters, repair)| {
                Feed {
                    channel,
                    state,
                    stale,
                    session,
                    next_sequence,
                    lines,
                    gaps,
                    counters,
                    repair,
                }
            },
        )
}

fn body() -> impl Strategy<Value = OwnedBody> {
    let reason = || proptest::sample::select(Reason::ALL.to_vec());
    let levels = || vec(level_strategy(), 0..12);
    let orders = || vec(order(), 0..12);
    let checksum = || option::of(any::<u32>());
    prop_oneof![
        (reason(), levels(), levels(), checksum()).prop_map(|(reason, bids, asks, checksum)| {
            OwnedBody::Snapshot {
                reason,
                bids,
                asks,
                checksum,
            }
        }),
        (levels(), levels(), checksum(), any::<u32>()).prop_map(
            |(bids, asks, checksum, events)| OwnedBody::Update {
                bids,
                asks,
                checksum,
                events,
            }
        ),
        (reason(), orders())
            .prop_map(|(reason, orders)| OwnedBody::OrderSnapshot { reason, orders }),
        orders().prop_map(|orders| OwnedBody::Orders { orders }),
        (
            proptest::sample::select(TradeKind::ALL.to_vec()),
            option::of(side()),
            price(),
            any::<(u64, u64, bool, u8)>()
        )
            .prop_map(
                |(kind, side, px, (size, trade_id, printable, conditions))| {
                    OwnedBody::Trade(Trade {
                        kind,
                        side,
                        px,
                        size,
                        trade_id,
                        printable,
                        conditions,
                    })
                }
            ),
        (any::<(u64, u64)>(), option::of(price()))
            .prop_map(|((trade_id, size), px)| OwnedBody::TradeBreak { trade_id, px, size }),
        (
            proptest::sample::select(StatusAction::ALL.to_vec()),
            b' '..=b'~',
            ascii()
        )
            .prop_map(|(action, code, reason)| OwnedBody::Status(Status {
                action,
                code,
                reason
            })),
        (
            b'!'..=b'~',
            option::of(side()),
            any::<(u64, u64)>(),
            price(),
            price(),
            price()
        )
            .prop_map(
                |(
                    auction_type,
                    side,
                    (paired_size, imbalance_size),
                    reference_px,
                    near_px,
                    far_px,
                )| {
                    OwnedBody::Imbalance(Imbalance {
                        auction_type,
                        side,
                        paired_size,
                        imbalance_size,
                        reference_px,
                        near_px,
                        far_px,
                    })
                }
            ),
        (ascii(), any::<(u32, bool, bool)>(), any::<String>()).prop_map(
            |(symbol, (round_lot_size, is_test, is_etp), venue)| OwnedBody::Definition {
                definition: Definition {
                    symbol,
                    round_lot_size,
                    is_test,
                    is_etp,
                },
                venue,
            }
        ),
        any::<(u64, u64, u64)>().prop_map(|(from, to, count)| OwnedBody::Gap { from, to, count }),
        feed().prop_map(|feed| OwnedBody::Feed(Box::new(feed))),
    ]
}

fn message() -> impl Strategy<Value = OwnedMessage> {
    (
        proptest::sample::select(Schema::ALL.to_vec()),
        any::<(u32, u64, u64, u64, u64, u64, u8)>(),
        option::of(any::<(u64, u64)>()),
        body(),
    )
        .prop_map(
            |(
                schema,
                (instrument_id, seq, prev, ts_event, ts_recv, ts_out, flags),
                sequence,
                body,
            )| {
                OwnedMessage {
                    header: MessageHeader {
                        schema,
                        instrument_id,
                        seq,
                        prev,
                        ts_event,
                        ts_recv,
                        ts_out,
                        flags,
                        sequence,
                    },
                    body,
                }
            },
        )
}

/// An integer as JSON shows it: a number up to 2^53 and a string beyond.
fn int(value: i128) -> serde_json::Value {
    if value.unsigned_abs() > 1 << 53 {
        value.to_string().into()
    } else {
        i64::try_from(value).unwrap().into()
    }
}

proptest! {
    #[test]
    fn flatbuffers_give_back_every_message(messages in vec(message(), 1..6)) {
        let mut encoder = fb::Encoder::new();
        let mut frame = Vec::new();
        for message in &messages {
            encoder.encode(&message.as_message(), &mut frame);
        }
        let decoded: Result<Vec<OwnedMessage>, FrameError> = fb::messages(&frame)
            .map(|table| OwnedMessage::try_from(table?))
            .collect();
        prop_assert_eq!(decoded.unwrap(), messages);
    }

    #[test]
    fn a_truncated_frame_is_an_error_and_no_panic(message in message(), cut in any::<prop::sample::Index>()) {
        let mut frame = Vec::new();
        fb::Encoder::new().encode(&message.as_message(), &mut frame);
        let cut = &frame[..cut.index(frame.len())];
        for table in fb::messages(cut) {
            let refused = matches!(table, Err(FrameError::Truncated { .. }));
            prop_assert!(refused);
        }
    }

    #[test]
    fn flipped_bits_never_panic(message in message(), flips in vec(any::<prop::sample::Index>(), 1..8)) {
        let mut frame = Vec::new();
        fb::Encoder::new().encode(&message.as_message(), &mut frame);
        for flip in flips {
            let bit = flip.index(frame.len() * 8);
            frame[bit / 8] ^= 1 << (bit % 8);
            for table in fb::messages(&frame) {
                // Whatever passes the verifier can be read to its last field.
                let _ = table.map(|table| (format!("{table:?}"), OwnedMessage::try_from(table)));
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in vec(any::<u8>(), 0..256)) {
        for table in fb::messages(&bytes) {
            let _ = table.map(OwnedMessage::try_from);
        }
        // The same with a head that leads into the verifier.
        if let Some(len) = u32::try_from(bytes.len()).unwrap().checked_sub(4) && len >= 8 {
            bytes[..4].copy_from_slice(&len.to_le_bytes());
            bytes[8..12].copy_from_slice(b"TCST");
            for table in fb::messages(&bytes) {
                let _ = table.map(|table| (format!("{table:?}"), OwnedMessage::try_from(table)));
            }
        }
    }

    #[test]
    fn json_parses_and_says_what_the_message_says(message in message(), decimal: bool) {
        let text = text(&message.as_message(), decimal);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let header = message.header;
        let price = |px: Price| if decimal { px.to_string().into() } else { int(px.0.into()) };
        prop_assert_eq!(&value["type"], message.as_message().body.name());
        prop_assert_eq!(&value["schema"], header.schema.name());
        prop_assert_eq!(&value["seq"], &int(header.seq.into()));
        prop_assert_eq!(&value["prev"], &int(header.prev.into()));
        prop_assert_eq!(&value["ts_event"], &int(header.ts_event.into()));
        prop_assert_eq!(&value["ts_recv"], &int(header.ts_recv.into()));
        prop_assert_eq!(&value["ts_out"], &int(header.ts_out.into()));
        prop_assert_eq!(&value["flags"], header.flags);
        match &message.body {
            OwnedBody::Snapshot { bids, asks, .. } | OwnedBody::Update { bids, asks, .. } => {
                for (name, levels) in [("bids", bids), ("asks", asks)] {
                    let levels: Vec<serde_json::Value> = levels
                        .iter()
                        .map(|l| vec![price(l.px), int(l.size.into()), int(l.count.into())].into())
                        .collect();
                    prop_assert_eq!(&value[name], &serde_json::Value::from(levels));
                }
            }
            OwnedBody::OrderSnapshot { orders, .. } | OwnedBody::Orders { orders } => {
                prop_assert_eq!(value["orders"].as_array().unwrap().len(), orders.len());
                for (order, value) in orders.iter().zip(value["orders"].as_array().unwrap()) {
                    prop_assert_eq!(&value["action"], &order.action.letter().to_string());
                    prop_assert_eq!(&value["order_id"], &int(order.order_id.into()));
                    prop_assert_eq!(&value["px"], &price(order.px));
                }
            }
            OwnedBody::Trade(trade) => {
                prop_assert_eq!(&value["px"], &price(trade.px));
                prop_assert_eq!(&value["size"], &int(trade.size.into()));
                prop_assert_eq!(&value["printable"], trade.printable);
            }
            OwnedBody::TradeBreak { px, .. } => {
                let px = px.map(price);
                prop_assert_eq!(value.get("px"), px.as_ref());
            }
            OwnedBody::Status(status) => {
                prop_assert_eq!(&value["reason"], &status.reason.to_string());
                prop_assert_eq!(&value["code"], &char::from(status.code).to_string());
            }
            OwnedBody::Imbalance(imbalance) => {
                prop_assert_eq!(&value["near_px"], &price(imbalance.near_px));
                prop_assert_eq!(&value["far_px"], &price(imbalance.far_px));
            }
            OwnedBody::Definition { definition, venue } => {
                prop_assert_eq!(&value["symbol"], &definition.symbol.to_string());
                prop_assert_eq!(&value["venue"], venue);
            }
            OwnedBody::Feed(feed) => {
                prop_assert_eq!(&value["session"], &feed.session);
                prop_assert_eq!(value["lines"].as_array().unwrap().len(), feed.lines.len());
                prop_assert_eq!(value["gaps"].as_array().unwrap().len(), feed.gaps.len());
            }
            OwnedBody::Gap { from, .. } => prop_assert_eq!(&value["from"], &int((*from).into())),
        }
    }
}
