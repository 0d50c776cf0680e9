//! The verifying client: what it accepts, what it finds, and that all encodings lead to the same books.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use tickcast_codecs::checksum::book_checksum;
use tickcast_codecs::event::{Definition, Imbalance, Status, StatusAction, Trade, TradeKind};
use tickcast_codecs::outbound::{
    Body, Message, MessageHeader, OrderAction, OrderUpdate, OwnedBody, OwnedMessage, Reason,
    Schema, fb, flags, json,
};
use tickcast_codecs::types::Text;
use tickcast_codecs::{Level, Price, Side, Symbol};
use tickcast_fanout::client::{Client, Control, Event, Options, OrderFault, Violation};

const INSTRUMENT: u32 = 65_549;

#[derive(Debug, Clone, Copy)]
enum Encoding {
    Json,
    DecimalJson,
    FlatBuffers,
}

const ENCODINGS: [Encoding; 3] = [Encoding::Json, Encoding::DecimalJson, Encoding::FlatBuffers];

fn client() -> Client {
    Client::new(Options::default())
}

/// Puts a message in and gives what it violates; the message itself must come back as it was.
fn put(client: &mut Client, encoding: Encoding, message: &Message<'_>) -> Vec<Violation> {
    let mut out = Vec::new();
    let mut events = match encoding {
        Encoding::Json | Encoding::DecimalJson => {
            let decimal = matches!(encoding, Encoding::DecimalJson);
            json::encode(message, decimal, &mut out);
            client.handle_text(std::str::from_utf8(&out).unwrap())
        }
        Encoding::FlatBuffers => {
            fb::Encoder::new().encode(message, &mut out);
            client.handle_binary(&out)
        }
    }
    .into_iter();
    match events.next() {
        Some(Event::Data(got)) => assert_eq!(&got.as_message(), message, "{encoding:?}"),
        other => panic!("{encoding:?}: {other:?}"),
    }
    events
        .map(|event| match event {
            Event::Violation { topic, violation } => {
                let header = message.header;
                assert_eq!(topic, Some((header.schema, header.instrument_id)));
                violation
            }
            other => panic!("{other:?}"),
        })
        .collect()
}

fn message(schema: Schema, prev: u64, seq: u64, body: Body<'_>) -> Message<'_> {
    Message {
        header: MessageHeader {
            schema,
            instrument_id: INSTRUMENT,
            seq,
            prev,
            ts_event: 1_700_000_000_000_000_000,
            ts_recv: 1_700_000_000_000_000_100,
            ts_out: 1_700_000_000_000_000_200,
            flags: flags::LAST,
            sequence: Some((seq, seq)),
        },
        body,
    }
}

fn level(dollars: i64, size: u64) -> Level {
    Level {
        px: Price(dollars * Price::SCALE),
        size,
        count: u32::from(size > 0),
    }
}

fn snapshot<'a>(bids: &'a [Level], asks: &'a [Level]) -> Body<'a> {
    Body::Snapshot {
        reason: Reason::Subscribe,
        bids,
        asks,
        checksum: None,
    }
}

fn update<'a>(bids: &'a [Level], asks: &'a [Level]) -> Body<'a> {
    Body::Update {
        bids,
        asks,
        checksum: None,
        events: 1,
    }
}

fn checksum_of(bids: &[Level], asks: &[Level]) -> u32 {
    let pairs = |level: &Level| (level.px.0, level.size);
    book_checksum(bids.iter().map(pairs), asks.iter().map(pairs))
}

fn order(action: OrderAction, order_id: u64, side: Side, dollars: i64, size: u32) -> OrderUpdate {
    OrderUpdate {
        action,
        order_id,
        side,
        px: Price(dollars * Price::SCALE),
        size,
    }
}

fn order_snapshot(flags: u8, seq: u64, orders: &[OrderUpdate]) -> Message<'_> {
    let reason = Reason::Subscribe;
    let mut message = message(Schema::Mbo, 0, seq, Body::OrderSnapshot { reason, orders });
    message.header.flags = flags | flags::SNAPSHOT;
    message
}

const WHOLE: u8 = flags::CLEAR | flags::LAST;

fn ids(client: &Client, side: Side) -> Vec<u64> {
    let orders = client.orders(INSTRUMENT, side);
    orders.map(|order| order.order_id).collect()
}

#[test]
fn an_update_that_continues_the_snapshot_is_applied() {
    for encoding in ENCODINGS {
        let mut client = client();
        let schema = Schema::Mbp5;
        assert_eq!(client.levels(schema, INSTRUMENT), None);
        let (bids, asks) = ([level(99, 3), level(98, 1)], [level(101, 5)]);
        let first = message(schema, 0, 10, snapshot(&bids, &asks));
        assert_eq!(put(&mut client, encoding, &first), []);
        let (bids, asks) = ([level(99, 0), level(97, 4)], [level(100, 2), level(101, 6)]);
        let body = Body::Update {
            bids: &bids,
            asks: &asks,
            checksum: Some(checksum_of(
                &[level(98, 1), level(97, 4)],
                &[level(100, 2), level(101, 6)],
            )),
            events: 4,
        };
        assert_eq!(
            put(&mut client, encoding, &message(schema, 10, 14, body)),
            []
        );
        assert_eq!(
            client.levels(schema, INSTRUMENT),
            Some((
                &[level(98, 1), level(97, 4)][..],
                &[level(100, 2), level(101, 6)][..]
            ))
        );
        assert_eq!(
            client.positions().collect::<Vec<_>>(),
            [((schema, INSTRUMENT), 14)]
        );
        let counts = client.counts();
        assert_eq!(
            (counts.frames, counts.data, counts.snapshots, counts.events),
            (2, 2, 1, 4)
        );
        assert_eq!(counts.violations_total(), 0);
    }
}

#[test]
fn a_broken_chain_is_found_and_counted() {
    for encoding in ENCODINGS {
        let mut client = client();
        let schema = Schema::Mbp1;
        let first = message(schema, 0, 10, snapshot(&[], &[]));
        assert_eq!(put(&mut client, encoding, &first), []);
        let lost = message(schema, 11, 12, update(&[], &[]));
        let chain = Violation::Chain {
            expected: 10,
            got: 11,
        };
        assert_eq!(put(&mut client, encoding, &lost), [chain]);
        // Told once; the chain goes on from what came.
        let next = message(schema, 12, 13, update(&[], &[]));
        assert_eq!(put(&mut client, encoding, &next), []);
        // A repetition is a broken chain too.
        let chain = Violation::Chain {
            expected: 13,
            got: 12,
        };
        assert_eq!(put(&mut client, encoding, &next), [chain]);
        let falling = message(schema, 13, 13, update(&[], &[]));
        assert_eq!(
            put(&mut client, encoding, &falling),
            [Violation::Sequence { prev: 13, seq: 13 }]
        );
        assert_eq!(client.counts().violations["chain"], 2);
        assert_eq!(client.counts().violations_total(), 3);
    }
}

#[test]
fn a_snapshot_may_break_the_chain_at_any_time() {
    let mut client = client();
    for (prev, seq) in [(0, 10), (77, 90), (3, 4)] {
        let bids = [level(1, seq)];
        let reset = message(Schema::MbpFull, prev, seq, snapshot(&bids, &[]));
        assert_eq!(put(&mut client, Encoding::Json, &reset), []);
        let (held, _) = client.levels(Schema::MbpFull, INSTRUMENT).unwrap();
        assert_eq!(held, bids, "what was held before is void");
    }
}

#[test]
fn topics_have_chains_of_their_own() {
    let mut client = client();
    for (schema, seq) in [(Schema::Mbp1, 10), (Schema::Mbp10, 90)] {
        let first = message(schema, 0, seq, snapshot(&[], &[]));
        assert_eq!(put(&mut client, Encoding::FlatBuffers, &first), []);
    }
    for (schema, seq) in [(Schema::Mbp1, 10), (Schema::Mbp10, 90)] {
        let next = message(schema, seq, seq + 1, update(&[], &[]));
        assert_eq!(put(&mut client, Encoding::FlatBuffers, &next), []);
    }
}

#[test]
fn an_update_before_its_snapshot_is_a_violation_and_is_not_applied() {
    for encoding in ENCODINGS {
        let mut client = client();
        let bids = [level(1, 1)];
        let early = message(Schema::Mbp10, 4, 5, update(&bids, &[]));
        assert_eq!(
            put(&mut client, encoding, &early),
            [Violation::UpdateBeforeSnapshot]
        );
        assert_eq!(client.levels(Schema::Mbp10, INSTRUMENT), None);
        let orders = [order(OrderAction::Add, 1, Side::Bid, 1, 1)];
        let early = message(Schema::Mbo, 4, 5, Body::Orders { orders: &orders });
        assert_eq!(
            put(&mut client, encoding, &early),
            [Violation::UpdateBeforeSnapshot]
        );
        assert!(ids(&client, Side::Bid).is_empty());
    }
}

#[test]
fn a_wrong_checksum_is_found_on_snapshots_and_updates() {
    for encoding in ENCODINGS {
        let mut client = client();
        let (bids, asks) = ([level(99, 3)], [level(101, 5)]);
        let right = checksum_of(&bids, &asks);
        let with = |checksum| Body::Snapshot {
            reason: Reason::Request,
            bids: &bids,
            asks: &asks,
            checksum: Some(checksum),
        };
        let put = |client: &mut Client, prev, seq, body| {
            put(client, encoding, &message(Schema::Mbp10, prev, seq, body))
        };
        assert_eq!(put(&mut client, 0, 1, with(right)), []);
        let wrong = Violation::Checksum {
            expected: right ^ 1,
            got: right,
        };
        assert_eq!(put(&mut client, 0, 1, with(right ^ 1)), [wrong]);
        let body = Body::Update {
            bids: &[level(99, 4)],
            asks: &[],
            checksum: Some(right),
            events: 1,
        };
        let got = checksum_of(&[level(99, 4)], &asks);
        let wrong = Violation::Checksum {
            expected: right,
            got,
        };
        assert_eq!(put(&mut client, 1, 2, body), [wrong]);
    }
}

#[test]
fn a_book_deeper_than_subscribed_is_a_violation() {
    let mut client = client();
    let bids: Vec<Level> = (1..=5).rev().map(|px| level(px, 1)).collect();
    let first = message(Schema::Mbp5, 0, 1, snapshot(&bids, &[]));
    assert_eq!(put(&mut client, Encoding::Json, &first), []);
    let sixth = [level(6, 1)];
    let deeper = message(Schema::Mbp5, 1, 2, update(&sixth, &[]));
    let depth = Violation::Depth {
        side: Side::Bid,
        depth: 5,
        levels: 6,
    };
    assert_eq!(put(&mut client, Encoding::Json, &deeper), [depth]);
    // What enters and what leaves come together.
    let exchange = [level(7, 1), level(1, 0), level(2, 0)];
    let message = message(Schema::Mbp5, 2, 3, update(&exchange, &[]));
    assert_eq!(put(&mut client, Encoding::Json, &message), []);
}

#[test]
fn a_snapshot_out_of_order_or_with_an_empty_level_is_a_violation() {
    let good = [level(2, 1), level(1, 1)];
    let bad: [&[Level]; 3] = [
        &[level(1, 1), level(2, 1)],
        &[level(1, 1), level(1, 2)],
        &[level(2, 1), level(1, 0)],
    ];
    for bids in bad {
        let message = message(Schema::Mbp10, 0, 1, snapshot(bids, &[]));
        assert_eq!(
            put(&mut client(), Encoding::FlatBuffers, &message),
            [Violation::LevelOrder { side: Side::Bid }]
        );
    }
    // The best ask is the lowest.
    let message = message(Schema::Mbp10, 0, 1, snapshot(&good, &good));
    assert_eq!(
        put(&mut client(), Encoding::FlatBuffers, &message),
        [Violation::LevelOrder { side: Side::Ask }]
    );
}

#[test]
fn a_message_of_another_schema_is_a_violation() {
    let bodies = [
        (Schema::Trades, snapshot(&[], &[])),
        (Schema::Mbo, update(&[], &[])),
        (Schema::Mbp10, Body::Orders { orders: &[] }),
        (
            Schema::Mbp10,
            Body::TradeBreak {
                trade_id: 1,
                px: None,
                size: 0,
            },
        ),
    ];
    for (schema, body) in bodies {
        let message = message(schema, 0, 1, body);
        assert_eq!(
            put(&mut client(), Encoding::Json, &message),
            [Violation::Body]
        );
    }
}

#[test]
fn orders_stand_in_the_order_of_their_queue() {
    use OrderAction::{Add, Cancel, Fill, Modify};
    for encoding in ENCODINGS {
        let mut client = client();
        let orders = [
            order(Add, 1, Side::Bid, 99, 100),
            order(Add, 2, Side::Bid, 100, 200),
            order(Add, 3, Side::Bid, 99, 300),
            order(Add, 4, Side::Ask, 101, 400),
        ];
        let first = order_snapshot(WHOLE, 7, &orders);
        assert_eq!(put(&mut client, encoding, &first), []);
        assert_eq!(ids(&client, Side::Bid), [2, 1, 3]);
        assert_eq!(ids(&client, Side::Ask), [4]);
        let steps: [(&[OrderUpdate], &[u64]); 6] = [
            // Part of an order goes: it keeps its place.
            (&[order(Cancel, 1, Side::Bid, 99, 60)], &[2, 1, 3]),
            // More shares at the same price: it keeps its place.
            (&[order(Modify, 1, Side::Bid, 99, 500)], &[2, 1, 3]),
            // Another price: the end of that queue.
            (&[order(Modify, 2, Side::Bid, 99, 200)], &[1, 3, 2]),
            (&[order(Add, 5, Side::Bid, 99, 1)], &[1, 3, 2, 5]),
            (&[order(Fill, 3, Side::Bid, 99, 300)], &[1, 2, 5]),
            // A replacement is two events of one message.
            (
                &[
                    order(Cancel, 1, Side::Bid, 99, 500),
                    order(Add, 6, Side::Bid, 101, 1),
                ],
                &[6, 2, 5],
            ),
        ];
        for (seq, (orders, expected)) in (7..).zip(steps) {
            let message = message(Schema::Mbo, seq, seq + 1, Body::Orders { orders });
            assert_eq!(put(&mut client, encoding, &message), []);
            assert_eq!(ids(&client, Side::Bid), expected);
        }
        let sizes: Vec<u32> = client
            .orders(INSTRUMENT, Side::Bid)
            .map(|order| order.size)
            .collect();
        assert_eq!(sizes, [1, 200, 1]);
    }
}

#[test]
fn order_events_that_do_not_fit_are_violations() {
    use OrderAction::{Add, Cancel, Fill, Modify};
    let resting = [order(Add, 1, Side::Bid, 99, 100)];
    for (event, fault, left) in [
        (order(Cancel, 2, Side::Bid, 99, 1), OrderFault::Unknown, 1),
        (order(Modify, 2, Side::Bid, 99, 1), OrderFault::Unknown, 1),
        (order(Add, 1, Side::Bid, 98, 1), OrderFault::Duplicate, 1),
        (order(Add, 3, Side::Bid, 98, 0), OrderFault::Empty, 1),
        (order(Fill, 1, Side::Ask, 99, 1), OrderFault::Side, 1),
        (order(Fill, 1, Side::Bid, 99, 101), OrderFault::Oversize, 0),
        (order(Modify, 1, Side::Bid, 99, 0), OrderFault::Empty, 0),
    ] {
        let mut client = client();
        let first = order_snapshot(WHOLE, 1, &resting);
        assert_eq!(put(&mut client, Encoding::Json, &first), []);
        let orders = [event];
        let message = message(Schema::Mbo, 1, 2, Body::Orders { orders: &orders });
        let order_id = event.order_id;
        assert_eq!(
            put(&mut client, Encoding::Json, &message),
            [Violation::Order { order_id, fault }]
        );
        assert_eq!(ids(&client, Side::Bid).len(), left, "{event:?}");
    }
    let orders = [order(Cancel, 1, Side::Bid, 99, 1)];
    let fault = OrderFault::NotAdd;
    assert_eq!(
        put(
            &mut client(),
            Encoding::Json,
            &order_snapshot(WHOLE, 1, &orders)
        ),
        [Violation::Order { order_id: 1, fault }]
    );
}

#[test]
fn a_chunked_snapshot_is_a_book_only_with_its_last_chunk() {
    for encoding in ENCODINGS {
        let mut client = client();
        let chunks: Vec<_> = (1..=4)
            .map(|id| [order(OrderAction::Add, id, Side::Ask, 50, 1)])
            .collect();
        let first = order_snapshot(flags::CLEAR, 9, &chunks[0]);
        assert_eq!(put(&mut client, encoding, &first), []);
        let middle = order_snapshot(0, 9, &chunks[1]);
        assert_eq!(put(&mut client, encoding, &middle), []);
        assert!(ids(&client, Side::Ask).is_empty());
        let between = message(Schema::Mbo, 9, 10, Body::Orders { orders: &chunks[3] });
        assert_eq!(
            put(&mut client, encoding, &between),
            [Violation::UpdateBeforeSnapshot]
        );
        let other = order_snapshot(flags::LAST, 8, &chunks[2]);
        assert_eq!(put(&mut client, encoding, &other), [Violation::Chunk]);
        let last = order_snapshot(flags::LAST, 9, &chunks[2]);
        assert_eq!(put(&mut client, encoding, &last), []);
        assert_eq!(ids(&client, Side::Ask), [1, 2, 3]);
        assert_eq!(client.counts().snapshots, 2);
        assert_eq!(put(&mut client, encoding, &between), []);
        // A chunk without a beginning.
        assert_eq!(put(&mut client, encoding, &last), [Violation::Chunk]);
        assert_eq!(ids(&client, Side::Ask), [1, 2, 3, 4]);
        // A new snapshot drops what was held.
        let whole = order_snapshot(WHOLE, 20, &chunks[3]);
        assert_eq!(put(&mut client, encoding, &whole), []);
        assert_eq!(ids(&client, Side::Ask), [4]);
    }
}

const fn trade() -> Trade {
    Trade {
        kind: TradeKind::Displayed,
        side: Some(Side::Ask),
        px: Price(100_010_000_000),
        size: 50,
        trade_id: 77,
        printable: true,
        conditions: 0,
    }
}

#[test]
fn behind_a_gap_the_chain_goes_on_with_the_last_message_skipped() {
    for encoding in ENCODINGS {
        let mut client = client();
        let trade = trade();
        let trade = |prev, seq| message(Schema::Trades, prev, seq, Body::Trade(&trade));
        let gap = |from, to| {
            let count = 2;
            message(Schema::Trades, 6, to, Body::Gap { from, to, count })
        };
        assert_eq!(put(&mut client, encoding, &trade(4, 5)), []);
        assert_eq!(put(&mut client, encoding, &gap(6, 9)), []);
        assert_eq!(put(&mut client, encoding, &trade(9, 10)), []);
        let lie = Violation::Gap {
            last: Some(10),
            from: 10,
            to: 12,
        };
        assert_eq!(put(&mut client, encoding, &gap(10, 12)), [lie]);
        let chain = Violation::Chain {
            expected: 12,
            got: 13,
        };
        assert_eq!(put(&mut client, encoding, &trade(13, 14)), [chain]);
        assert_eq!((client.counts().gaps, client.counts().skipped), (2, 4));
    }
}

#[test]
fn behind_a_gap_a_book_by_order_needs_a_snapshot() {
    let mut client = client();
    let orders = [order(OrderAction::Add, 1, Side::Bid, 99, 1)];
    let whole = order_snapshot(WHOLE, 1, &orders);
    assert_eq!(put(&mut client, Encoding::Json, &whole), []);
    let gap = Body::Gap {
        from: 2,
        to: 3,
        count: 2,
    };
    assert_eq!(
        put(
            &mut client,
            Encoding::Json,
            &message(Schema::Mbo, 1, 3, gap)
        ),
        []
    );
    assert!(ids(&client, Side::Bid).is_empty());
    let next = message(Schema::Mbo, 3, 4, Body::Orders { orders: &[] });
    assert_eq!(
        put(&mut client, Encoding::Json, &next),
        [Violation::UpdateBeforeSnapshot]
    );
    let whole = order_snapshot(WHOLE, 5, &orders);
    assert_eq!(put(&mut client, Encoding::Json, &whole), []);
    assert_eq!(ids(&client, Side::Bid), [1]);
}

#[test]
fn messages_without_a_book_are_chained_too() {
    let status = Status {
        action: StatusAction::Trading,
        code: b'T',
        reason: Text::from_padded(b""),
    };
    let imbalance = Imbalance {
        auction_type: b'O',
        side: None,
        paired_size: 1,
        imbalance_size: 2,
        reference_px: Price(3),
        near_px: Price(4),
        far_px: Price(5),
    };
    let definition = Definition {
        symbol: Symbol::from_padded(b"ZVZZT"),
        round_lot_size: 100,
        is_test: true,
        is_etp: false,
    };
    let definition = Body::Definition {
        definition: &definition,
        venue: "XNAS",
    };
    let trade_break = Body::TradeBreak {
        trade_id: 77,
        px: None,
        size: 0,
    };
    for encoding in ENCODINGS {
        let mut client = client();
        for (schema, body) in [
            (Schema::Status, Body::Status(&status)),
            (Schema::Imbalance, Body::Imbalance(&imbalance)),
            (Schema::Definition, definition),
            (Schema::Trades, trade_break),
        ] {
            // The first of a subscription may continue what others got before.
            let first = message(schema, 7, 8, body);
            assert_eq!(put(&mut client, encoding, &first), []);
            let chain = Violation::Chain {
                expected: 8,
                got: 7,
            };
            assert_eq!(put(&mut client, encoding, &first), [chain]);
            // The newest state again, because it was asked for.
            let mut again = first;
            again.header.flags |= flags::SNAPSHOT;
            assert_eq!(put(&mut client, encoding, &again), []);
            let next = message(schema, 8, 9, body);
            assert_eq!(put(&mut client, encoding, &next), []);
        }
        assert_eq!(client.symbol(INSTRUMENT), Some("ZVZZT"));
    }
}

#[test]
fn without_checks_books_are_kept_and_nothing_is_said() {
    let mut client = Client::new(Options { verify: false });
    let bids = [level(1, 1)];
    let first = message(Schema::Mbp1, 0, 1, snapshot(&bids, &[]));
    assert_eq!(put(&mut client, Encoding::Json, &first), []);
    let bids = [level(2, 1)];
    let broken = message(Schema::Mbp1, 9, 9, update(&bids, &[]));
    assert_eq!(put(&mut client, Encoding::Json, &broken), []);
    let (bids, _) = client.levels(Schema::Mbp1, INSTRUMENT).unwrap();
    assert_eq!(bids, [level(2, 1), level(1, 1)]);
    assert_eq!(client.counts().violations_total(), 0);
    assert_eq!(
        client.handle_text("{").len(),
        1,
        "what can't be read is told"
    );
}

fn control(client: &mut Client, text: &str) -> Control {
    let mut events = client.handle_text(text);
    match (events.pop(), events.pop()) {
        (Some(Event::Control(control)), None) => control,
        other => panic!("{other:?}"),
    }
}

#[test]
fn control_messages_are_understood() {
    let mut client = client();
    let welcome = control(
        &mut client,
        r#"{"type":"welcome","proto":1,"session":"s1","epoch":"e1","server_time":"1700000000000000000",
            "limits":{"subscriptions_max":100},"heartbeat_ms":1000,
            "channels":[{"channel":"itch","venue":"XNAS","state":"live"}]}"#,
    );
    let Control::Welcome {
        proto: 1,
        heartbeat_ms: 1000,
        channels,
        ..
    } = welcome
    else {
        panic!("{welcome:?}");
    };
    assert_eq!(channels[0].state, "live");
    assert_eq!(client.session(), ("s1", "e1"));

    let subscribed = control(
        &mut client,
        r#"{"type":"subscribed","id":7,"sub":12,"effective":{"schema":"mbp-10","snapshot":true},
            "symbols":[{"symbol":"AAPL","instrument_id":13}],"failed":[{"symbol":"NOPE","code":"unknown_symbol"}]}"#,
    );
    let Control::Subscribed {
        sub: Some(12),
        symbols,
        failed,
        ..
    } = subscribed
    else {
        panic!("{subscribed:?}");
    };
    assert_eq!(
        (symbols.len(), failed[0].code.as_str()),
        (1, "unknown_symbol")
    );
    assert_eq!(client.symbol(13), Some("AAPL"));

    let error = control(
        &mut client,
        r#"{"type":"error","id":"x","code":"rate_limited","message":"later","retry_after_ms":50,"fatal":false}"#,
    );
    assert!(matches!(
        error,
        Control::Error {
            retry_after_ms: Some(50),
            fatal: false,
            ..
        }
    ));
    assert_eq!(
        control(
            &mut client,
            r#"{"type":"heartbeat","n":3,"server_time":"1700000000000000000","channels":[]}"#
        ),
        Control::Heartbeat {
            n: 3,
            server_time: 1_700_000_000_000_000_000,
            channels: Vec::new()
        }
    );
    assert_eq!(
        control(
            &mut client,
            r#"{"type":"slow_warning","lag_ms":900,"queued_bytes":65536}"#
        ),
        Control::SlowWarning {
            lag_ms: 900,
            queued_bytes: 65_536
        }
    );
    assert_eq!(
        control(&mut client, r#"{"type":"shutdown","in_ms":2000}"#),
        Control::Shutdown { in_ms: 2000 }
    );
    let state = control(
        &mut client,
        r#"{"type":"state","channel":"itch","venue":"XNAS","state":"stale"}"#,
    );
    assert!(matches!(state, Control::State(state) if state.state == "stale"));
    assert_eq!(
        control(
            &mut client,
            r#"{"type":"book_state","instrument_id":13,"state":"live"}"#
        ),
        Control::BookState {
            instrument_id: 13,
            state: "live".to_owned()
        }
    );
    let other = control(&mut client, r#"{"type":"pong","id":12}"#);
    assert!(matches!(other, Control::Other { kind, .. } if kind == "pong"));
    assert_eq!(client.counts().control, 9);
}

#[test]
fn a_frame_that_cannot_be_read_is_a_violation() {
    for text in [
        "",
        "[]",
        "{}",
        r#"{"type":1}"#,
        r#"{"type":"welcome"}"#,
        r#"{"type":"update"}"#,
        r#"{"type":"update","schema":"mbp-10","instrument_id":1,"seq":-1,"prev":0,"ts_event":0,"ts_recv":0,"ts_out":0,"flags":0}"#,
        r#"{"type":"trade","schema":"trades","instrument_id":1,"seq":1,"prev":0,"ts_event":0,"ts_recv":0,"ts_out":0,"flags":0}"#,
        r#"{"type":"gap","schema":"nope","instrument_id":1,"seq":1,"prev":0,"ts_event":0,"ts_recv":0,"ts_out":0,"flags":0,"from":1,"to":1,"count":1}"#,
    ] {
        let events = client().handle_text(text);
        assert!(
            matches!(
                events[..],
                [Event::Violation {
                    topic: None,
                    violation: Violation::Text(_)
                }]
            ),
            "{text}: {events:?}"
        );
    }
    let events = client().handle_binary(&[1, 2, 3]);
    assert!(matches!(
        events[..],
        [Event::Violation {
            violation: Violation::Frame(_),
            ..
        }]
    ));
}

#[test]
fn integers_may_be_strings_and_prices_decimal() {
    let mut client = client();
    let events = client.handle_text(
        r#"{"checksum":null,"asks":[["100.5","200",1],[101000000000,300,0]],"bids":[],"reason":"slow",
            "new_field":{},"flags":128,"ts_out":"3","ts_recv":2,"ts_event":1,"prev":"0","seq":"18446744073709551615",
            "instrument_id":65549,"schema":"mbp-10","type":"snapshot"}"#,
    );
    assert_eq!(events.len(), 1, "{events:?}");
    let (_, asks) = client.levels(Schema::Mbp10, INSTRUMENT).unwrap();
    let asks: Vec<_> = asks.iter().map(|level| (level.px.0, level.size)).collect();
    assert_eq!(asks, [(100_500_000_000, 200), (101_000_000_000, 300)]);
}

fn subscribed(schema: &str, snapshot: bool) -> String {
    format!(
        r#"{{"type":"subscribed","sub":1,"effective":{{"schema":"{schema}","snapshot":{snapshot}}},"symbols":[{{"symbol":"A","instrument_id":{INSTRUMENT}}}]}}"#
    )
}

#[test]
fn a_subscription_begins_a_new_chain() {
    let mut client = client();
    let trade = trade();
    let trade = |prev, seq| message(Schema::Trades, prev, seq, Body::Trade(&trade));
    assert_eq!(put(&mut client, Encoding::Json, &trade(4, 5)), []);
    control(&mut client, &subscribed("trades", true));
    assert_eq!(put(&mut client, Encoding::Json, &trade(90, 91)), []);

    // The snapshot may come before the answer.
    let first = message(Schema::Mbp1, 0, 1, snapshot(&[], &[]));
    assert_eq!(put(&mut client, Encoding::Json, &first), []);
    control(&mut client, &subscribed("mbp-1", true));
    let next = message(Schema::Mbp1, 1, 2, update(&[], &[]));
    assert_eq!(put(&mut client, Encoding::Json, &next), []);

    // Who wants no snapshot gets changes at once, chained, and has no book.
    control(&mut client, &subscribed("mbp-1", false));
    let later = message(Schema::Mbp1, 40, 41, update(&[], &[]));
    assert_eq!(put(&mut client, Encoding::Json, &later), []);
    assert_eq!(client.levels(Schema::Mbp1, INSTRUMENT), None);
    let chain = Violation::Chain {
        expected: 41,
        got: 40,
    };
    assert_eq!(put(&mut client, Encoding::Json, &later), [chain]);
}

#[test]
fn another_life_of_the_server_voids_what_is_held_and_a_resume_does_not() {
    let mut client = client();
    let welcome = |session: &str, epoch: &str| {
        format!(r#"{{"type":"welcome","proto":1,"session":"{session}","epoch":"{epoch}"}}"#)
    };
    control(&mut client, &welcome("s1", "e1"));
    let first = message(Schema::Mbp1, 0, 1, snapshot(&[], &[]));
    assert_eq!(put(&mut client, Encoding::Json, &first), []);
    control(&mut client, &welcome("s2", "e1"));
    let next = message(Schema::Mbp1, 1, 2, update(&[], &[]));
    assert_eq!(put(&mut client, Encoding::Json, &next), []);
    control(&mut client, &welcome("s3", "e2"));
    assert_eq!(client.positions().count(), 0);
    let next = message(Schema::Mbp1, 2, 3, update(&[], &[]));
    assert_eq!(
        put(&mut client, Encoding::Json, &next),
        [Violation::UpdateBeforeSnapshot]
    );
}

/// A book by price that knows everything, and what a subscriber of some depth sees of it.
#[derive(Default)]
struct Truth {
    bids: BTreeMap<i64, u64>,
    asks: BTreeMap<i64, u64>,
}

type View = (Vec<Level>, Vec<Level>);

impl Truth {
    fn set(&mut self, side: Side, px: i64, size: u64) {
        let levels = match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        };
        if size == 0 {
            levels.remove(&px);
        } else {
            levels.insert(px, size);
        }
    }

    fn view(&self, depth: usize) -> View {
        let level = |(&px, &size): (&i64, &u64)| level(px, size);
        (
            self.bids.iter().rev().take(depth).map(level).collect(),
            self.asks.iter().take(depth).map(level).collect(),
        )
    }
}

/// What changed from one view to another; size 0 for what left the depth.
fn changes(before: &[Level], after: &[Level]) -> Vec<Level> {
    let gone = before
        .iter()
        .filter(|old| after.iter().all(|new| new.px != old.px))
        .map(|old| Level {
            size: 0,
            count: 0,
            ..*old
        });
    let new = after.iter().filter(|new| !before.contains(new)).copied();
    gone.chain(new).collect()
}

fn arbitrary_order() -> impl Strategy<Value = OrderUpdate> {
    (
        proptest::sample::select(OrderAction::ALL.to_vec()),
        0..20_u64,
        any::<bool>(),
        0..5_i64,
        0..4_u32,
    )
        .prop_map(|(action, id, bid, dollars, size)| {
            let side = if bid { Side::Bid } else { Side::Ask };
            order(action, id, side, dollars, size)
        })
}

fn arbitrary_message() -> impl Strategy<Value = OwnedMessage> {
    let levels = || {
        vec(
            (-3..3_i64, 0..3_u64).prop_map(|(px, size)| level(px, size)),
            0..6,
        )
    };
    let body = prop_oneof![
        (levels(), levels(), any::<Option<u32>>()).prop_map(|(bids, asks, checksum)| {
            OwnedBody::Snapshot {
                reason: Reason::Gap,
                bids,
                asks,
                checksum,
            }
        }),
        (levels(), levels(), any::<Option<u32>>(), any::<u32>()).prop_map(
            |(bids, asks, checksum, events)| OwnedBody::Update {
                bids,
                asks,
                checksum,
                events
            }
        ),
        vec(arbitrary_order(), 0..6).prop_map(|orders| OwnedBody::OrderSnapshot {
            reason: Reason::Slow,
            orders
        }),
        vec(arbitrary_order(), 0..6).prop_map(|orders| OwnedBody::Orders { orders }),
        any::<(u64, u64, u64)>().prop_map(|(from, to, count)| OwnedBody::Gap { from, to, count }),
        Just(OwnedBody::Trade(trade())),
    ];
    let numbers = prop_oneof![0..6_u64, any::<u64>()];
    (
        proptest::sample::select(Schema::ALL.to_vec()),
        numbers.clone(),
        numbers,
        any::<u8>(),
        body,
    )
        .prop_map(|(schema, prev, seq, flags, body)| {
            let mut header = message(schema, prev, seq, Body::Orders { orders: &[] }).header;
            header.flags = flags;
            OwnedMessage { header, body }
        })
}

proptest! {
    #[test]
    fn all_encodings_lead_to_the_same_book_conflated_or_not(
        steps in vec((any::<bool>(), 0..40_i64, 0..4_u64, 1..4_u32), 1..120),
        schema in proptest::sample::select(vec![Schema::Mbp1, Schema::Mbp5, Schema::Mbp10, Schema::MbpFull]),
    ) {
        let depth = schema.depth().unwrap();
        let mut clients = ENCODINGS.map(|encoding| (encoding, client()));
        let mut truth = Truth::default();
        let mut sent = truth.view(depth);
        let mut seq = 1;
        for (encoding, client) in &mut clients {
            let first = message(schema, 0, seq, snapshot(&sent.0, &sent.1));
            prop_assert_eq!(put(client, *encoding, &first), []);
        }
        let mut waiting = 0;
        for (bid, px, size, conflate) in steps {
            truth.set(if bid { Side::Bid } else { Side::Ask }, px, size);
            waiting += 1;
            if waiting < conflate {
                continue;
            }
            let view = truth.view(depth);
            let (bids, asks) = (changes(&sent.0, &view.0), changes(&sent.1, &view.1));
            let body = Body::Update {
                bids: &bids,
                asks: &asks,
                checksum: Some(checksum_of(&view.0, &view.1)),
                events: waiting,
            };
            let next = message(schema, seq, seq + u64::from(waiting), body);
            for (encoding, client) in &mut clients {
                prop_assert_eq!(put(client, *encoding, &next), []);
                let (bids, asks) = client.levels(schema, INSTRUMENT).unwrap();
                prop_assert_eq!((bids, asks), (&view.0[..], &view.1[..]));
            }
            seq += u64::from(waiting);
            sent = view;
            waiting = 0;
        }
    }

    #[test]
    fn a_lost_message_never_goes_unseen(
        sizes in vec(1..9_u64, 3..20),
        lost in any::<prop::sample::Index>(),
    ) {
        let mut client = client();
        let first = message(Schema::Mbp1, 0, 1, snapshot(&[], &[]));
        prop_assert_eq!(put(&mut client, Encoding::Json, &first), []);
        let lost = lost.index(sizes.len() - 1);
        for (index, &size) in sizes.iter().enumerate() {
            let prev = index as u64 + 1;
            let bids = [level(1, size)];
            let next = message(Schema::Mbp1, prev, prev + 1, update(&bids, &[]));
            if index != lost {
                let violations = put(&mut client, Encoding::Json, &next);
                prop_assert_eq!(violations.len(), usize::from(index == lost + 1));
            }
        }
    }

    #[test]
    fn messages_that_make_no_sense_never_panic_and_read_alike_in_all_encodings(
        messages in vec(arbitrary_message(), 1..30)
    ) {
        let mut clients = ENCODINGS.map(|encoding| (encoding, client()));
        for message in &messages {
            let [a, b, c] = clients
                .each_mut()
                .map(|(encoding, client)| put(client, *encoding, &message.as_message()));
            prop_assert_eq!(&a, &b);
            prop_assert_eq!(&a, &c);
        }
        let [a, b, c] = clients.map(|(_, client)| client.counts().violations.clone());
        prop_assert_eq!(&a, &b);
        prop_assert_eq!(&a, &c);
    }

    #[test]
    fn random_text_never_panics(text: String, message in arbitrary_message(), cut in any::<prop::sample::Index>()) {
        let mut client = client();
        client.handle_text(&text);
        let mut out = Vec::new();
        json::encode(&message.as_message(), false, &mut out);
        let mut near = String::from_utf8(out).unwrap();
        near.replace_range(cut.index(near.len()).., &text);
        client.handle_text(&near);
        prop_assert_eq!(client.counts().frames, 2);
    }

    #[test]
    fn random_and_flipped_bytes_never_panic(
        bytes in vec(any::<u8>(), 0..200),
        messages in vec(arbitrary_message(), 1..4),
        flips in vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut client = client();
        client.handle_binary(&bytes);
        let mut encoder = fb::Encoder::new();
        let mut frame = Vec::new();
        for message in &messages {
            encoder.encode(&message.as_message(), &mut frame);
        }
        for flip in flips {
            let bit = flip.index(frame.len() * 8);
            frame[bit / 8] ^= 1 << (bit % 8);
            client.handle_binary(&frame);
        }
        for (schema, _) in client.positions().map(|(topic, _)| topic).collect::<Vec<_>>() {
            prop_assert!(client.levels(schema, INSTRUMENT).is_none_or(|_| schema.depth().is_some()));
        }
    }
}
