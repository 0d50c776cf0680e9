//! What subscribers see of a gap in the venue's stream and of its repair: stale from its declaration, nothing half-filled,
//! and live only when what they hold, or what is on its way to them, is right.

#![allow(clippy::expect_used, clippy::panic)] // Helpers may fail a test.

mod common;

use common::{MS, Peer, S, World, trade};
use serde_json::{Value, json};
use tickcast_codecs::event::{Event, StatusAction};
use tickcast_codecs::outbound::{OwnedBody, OwnedMessage, Reason, Schema, fb, flags};
use tickcast_codecs::types::{Price, Side};
use tickcast_fanout::{Encoding, HubConfig, Limits};

const BAD: u8 = flags::MAYBE_BAD_BOOK;

fn subscribe(schema: &str, symbols: &[&str]) -> Value {
    json!({"op":"subscribe","schema":schema,"venue":"XNAS","symbols":symbols})
}

fn order(order_id: u64, px: i64) -> Event {
    Event::Add {
        order_id,
        side: Side::Bid,
        px: Price(px * Price::SCALE),
        size: 100,
    }
}

/// Type and reason of what came since `from`.
fn told(peer: &Peer, from: usize) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    peer.data[from..]
        .iter()
        .map(|message| (text(&message["type"]), text(&message["reason"])))
        .collect()
}

fn is(kind: &str, reason: &str) -> (String, String) {
    (kind.to_owned(), reason.to_owned())
}

/// The states of the channel that the peer was told, in order.
fn states(peer: &Peer) -> Vec<String> {
    peer.control
        .iter()
        .filter(|message| message["type"] == "state")
        .map(|message| message["state"].as_str().expect("a state").to_owned())
        .collect()
}

// ---- a snapshot replaces the books

#[test]
fn every_book_is_sent_again_whole_when_a_snapshot_replaced_it() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL", "MSFT"]));
    world.ask(&mut peer, subscribe("mbo", &["AAPL"]));
    world.add(1, 1, Side::Bid, 10, 100);
    world.read(&mut peer);
    let before = peer.data.len();
    world.shards[0].recover(|shard| {
        shard.apply(1, &order(2, 11));
        shard.apply(1, &Event::Delete { order_id: 1 });
    });
    world.settle();
    world.read(&mut peer);
    assert_eq!(
        told(&peer, before),
        [
            is("snapshot", "gap"),
            is("orders_snapshot", "gap"),
            is("snapshot", "gap"),
        ],
        "MSFT's as well: nobody knows whether it changed"
    );
    let aapl = &peer.data[before..]
        .iter()
        .find(|message| message["instrument_id"] == 1)
        .expect("a snapshot of AAPL");
    assert_eq!(aapl["bids"], json!([[11 * Price::SCALE, 100, 1]]));
    assert_eq!(states(&peer), ["stale", "live"]);
    world.add(1, 3, Side::Bid, 12, 100);
    world.read(&mut peer);
    peer.verified();
    assert_eq!(world.hub.counters().resyncs, 1);
}

#[test]
fn nobody_is_told_live_before_every_replaced_book_is_known_again() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL", "MSFT"]));
    world.add(1, 1, Side::Bid, 10, 100);
    world.read(&mut peer);
    let before = peer.data.len();
    world.shards[0].recover(|shard| shard.apply(1, &order(2, 11)));
    // Resync and Live are there; the shard hasn't answered yet.
    world.carry_updates(0, usize::MAX);
    world.tick(S);
    world.read(&mut peer);
    assert_eq!(states(&peer), ["stale"]);
    assert_eq!(peer.last("heartbeat")["channels"][0]["state"], "stale");
    assert!(
        told(&peer, before).is_empty(),
        "nothing empty or half-filled"
    );
    world.carry_requests();
    // The channel itself, and one of two books.
    world.shards[0].serve(2);
    world.carry_updates(0, usize::MAX);
    world.read(&mut peer);
    assert_eq!(states(&peer), ["stale"]);
    world.settle();
    world.read(&mut peer);
    assert_eq!(states(&peer), ["stale", "live"]);
    assert_eq!(
        told(&peer, before),
        [is("snapshot", "gap"), is("snapshot", "gap")]
    );
    peer.verified();
}

#[test]
fn a_channel_without_subscribed_books_is_live_at_once() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    world.ask(&mut peer, subscribe("trades", &["AAPL"]));
    world.shards[0].recover(|_| {});
    world.carry_updates(0, usize::MAX);
    world.read(&mut peer);
    assert_eq!(states(&peer), ["stale", "live"]);
    // A book that nobody waits for any more keeps nobody waiting.
    world.ask(&mut peer, subscribe("mbp-1", &["AAPL"]));
    world.shards[0].recover(|_| {});
    world.carry_updates(0, usize::MAX);
    world.ask(&mut peer, json!({"op":"unsubscribe","sub":2}));
    world.tick(2 * S);
    world.read(&mut peer);
    assert_eq!(states(&peer), ["stale", "live", "stale", "live"]);
}

#[test]
fn a_resync_that_no_gap_preceded_is_stale_until_its_books_are_known() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL"]));
    world.shards[0].resync();
    world.settle();
    world.read(&mut peer);
    assert_eq!(states(&peer), ["stale", "live"]);
    assert_eq!(told(&peer, 1), [is("snapshot", "gap")]);
}

#[test]
fn trades_lost_behind_a_snapshot_are_told_by_a_gap() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    world.ask(&mut peer, subscribe("trades", &["AAPL"]));
    world.event(1, Event::Trade(trade(1)));
    world.shards[0].recover(|shard| shard.apply(1, &Event::Trade(trade(2))));
    world.event(1, Event::Trade(trade(3)));
    world.read(&mut peer);
    let kinds: Vec<_> = told(&peer, 0).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["trade", "gap", "trade"]);
    assert_eq!(
        (&peer.data[1]["count"], &peer.data[1]["flags"]),
        (&json!(0), &json!(0x84)),
        "how many isn't known, and the channel is stale"
    );
    peer.verified();
}

#[test]
fn definitions_and_statuses_are_those_of_the_snapshot() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    world.ask(&mut peer, subscribe("status", &["*"]));
    world.ask(&mut peer, subscribe("definition", &["*"]));
    world.event(1, Event::Status(common::status(StatusAction::Trading)));
    world.event(2, Event::Status(common::status(StatusAction::Trading)));
    world.read(&mut peer);
    let before = peer.data.len();
    world.shards[0].recover(|shard| {
        shard.apply(1, &Event::Status(common::status(StatusAction::Halt)));
        shard.define(3, "AMZN");
    });
    world.settle();
    world.read(&mut peer);
    let news: Vec<_> = peer.data[before..]
        .iter()
        .filter(|message| message["type"] != "gap")
        .map(|message| (message["type"].clone(), message["instrument_id"].clone()))
        .collect();
    assert_eq!(
        news.iter()
            .filter(|(kind, _)| kind == "status")
            .collect::<Vec<_>>(),
        [&(json!("status"), json!(1))],
        "what is as before isn't told again"
    );
    assert!(news.contains(&(json!("definition"), json!(3))));
    assert_eq!(
        peer.control
            .iter()
            .filter(|one| one["type"] == "subscribed" && one.get("id").is_none())
            .filter(|one| one["symbols"][0]["symbol"] == "AMZN")
            .count(),
        2,
        "a new instrument joins the patterns"
    );
    peer.verified();
}

#[test]
fn a_snapshot_in_flight_when_the_books_are_replaced_counts_as_the_old_one() {
    let mut world = World::nasdaq();
    world.add(1, 1, Side::Bid, 10, 100);
    let mut peer = world.connect(Encoding::Json);
    world.send(&peer, &subscribe("mbp-10", &["AAPL"]));
    world.carry_requests();
    // Answered before the gap, in the ring, not read.
    world.shards[0].serve(usize::MAX);
    world.shards[0].recover(|shard| shard.apply(1, &order(2, 11)));
    world.carry_updates(0, usize::MAX);
    world.read(&mut peer);
    assert!(peer.data.is_empty(), "it never saw the old book");
    world.settle();
    world.read(&mut peer);
    assert_eq!(told(&peer, 0), [is("snapshot", "subscribe")]);
    assert_eq!(
        peer.data[0]["bids"],
        json!([[11 * Price::SCALE, 100, 1], [10 * Price::SCALE, 100, 1]])
    );
    // Asked for before, answered after: the answer is of the new books.
    let mut late = world.connect(Encoding::FlatBuffers);
    world.send(&late, &subscribe("mbo", &["AAPL"]));
    world.shards[0].recover(|shard| shard.apply(1, &order(3, 12)));
    world.settle();
    world.read(&mut late);
    assert_eq!(late.client.orders(1, Side::Bid).count(), 3);
    assert_eq!(late.client.counts().snapshots, 1);
    late.verified();
    peer.verified();
}

#[test]
fn several_in_a_row_end_with_the_last_books_and_one_snapshot() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL"]));
    let before = peer.data.len();
    for order_id in 1..=5 {
        world.shards[0].recover(|shard| shard.apply(1, &order(order_id, 10)));
        if order_id % 2 == 0 {
            world.carry_updates(0, usize::MAX);
        }
    }
    world.settle();
    world.read(&mut peer);
    assert_eq!(told(&peer, before), [is("snapshot", "gap")]);
    assert_eq!(
        peer.data[before]["bids"],
        json!([[10 * Price::SCALE, 500, 5]])
    );
    assert_eq!(states(&peer).last().map(String::as_str), Some("live"));
    peer.verified();
}

#[test]
fn a_gap_that_opens_again_before_the_books_are_known_keeps_them_stale() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL"]));
    world.shards[0].recover(|shard| shard.apply(1, &order(1, 10)));
    world.shards[0].set_stale(true);
    world.settle();
    world.read(&mut peer);
    assert_eq!(states(&peer), ["stale"]);
    assert_eq!(peer.data[1]["flags"], 0xa4);
    // Filled by requests: no book is sent again.
    world.add(1, 2, Side::Bid, 11, 100);
    world.shards[0].set_stale(false);
    world.settle();
    world.read(&mut peer);
    assert_eq!(states(&peer), ["stale", "live"]);
    assert_eq!(told(&peer, 1), [is("snapshot", "gap"), is("update", "")]);
    peer.verified();
}

#[test]
fn live_before_resync_is_live_when_the_books_are_known() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL"]));
    world.shards[0].set_stale(true);
    world.shards[0].set_stale(false);
    world.shards[0].resync();
    world.carry_updates(0, usize::MAX);
    world.read(&mut peer);
    assert_eq!(states(&peer), ["stale", "live", "stale"]);
    world.settle();
    world.read(&mut peer);
    assert_eq!(states(&peer), ["stale", "live", "stale", "live"]);
}

#[test]
fn a_slow_subscriber_gets_the_newest_book_once() {
    let limits = Limits {
        queue_bytes_max: 600,
        ..Limits::default()
    };
    let mut world = World::nasdaq_with(HubConfig {
        limits,
        ..HubConfig::default()
    });
    let mut peer = world.connect(Encoding::Json);
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL"]));
    let mut skip = subscribe("mbo", &["AAPL"]);
    skip["on_slow"] = json!("skip");
    world.ask(&mut peer, skip);
    let before = peer.data.len();
    for order_id in 1..=20 {
        world.add(1, order_id, Side::Bid, 10, 100);
    }
    world.shards[0].recover(|shard| shard.apply(1, &order(21, 11)));
    world.settle();
    for order_id in 22..=40 {
        world.add(1, order_id, Side::Bid, 10, 100);
    }
    world.read(&mut peer);
    let snapshots = told(&peer, before)
        .iter()
        .filter(|(kind, _)| kind == "snapshot")
        .count();
    assert_eq!(snapshots, 1);
    assert_eq!(peer.client.orders(1, Side::Bid).count(), 40);
    let (bids, _) = peer.client.levels(Schema::Mbp10, 1).expect("a book");
    assert_eq!((bids[0].size, bids[1].size), (100, 3_900));
    peer.verified();
}

#[test]
fn a_conflated_book_is_sent_whole_without_waiting_for_its_interval() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    let mut request = subscribe("mbp-full", &["AAPL"]);
    request["conflate_ms"] = json!(1000);
    world.ask(&mut peer, request);
    // Waits for its interval when the gap comes: the snapshot holds it.
    world.add(1, 1, Side::Bid, 10, 100);
    world.shards[0].recover(|shard| shard.apply(1, &order(2, 11)));
    world.settle();
    world.read(&mut peer);
    assert_eq!(told(&peer, 1), [is("snapshot", "gap")]);
    assert_eq!(peer.data[1]["bids"].as_array().map(Vec::len), Some(2));
    world.tick(2 * S);
    world.read(&mut peer);
    assert_eq!(peer.data.len(), 2, "there is nothing left to tell");
    world.add(1, 3, Side::Bid, 12, 100);
    world.tick(S);
    world.read(&mut peer);
    assert_eq!(told(&peer, 2), [is("update", "")]);
    peer.verified();
}

#[test]
fn a_long_book_by_order_is_sent_again_in_chunks() {
    let limits = Limits {
        snapshot_orders_max: 4,
        ..Limits::default()
    };
    let mut world = World::nasdaq_with(HubConfig {
        limits,
        ..HubConfig::default()
    });
    for order_id in 1..=10 {
        world.add(1, order_id, Side::Bid, 10, 100);
    }
    let mut peer = world.connect(Encoding::Json);
    world.send(&peer, &subscribe("mbo", &["AAPL"]));
    world.settle();
    // Amid the first snapshot the books are replaced: it is written to its end, and the new one follows.
    world.read_some(&mut peer, 3);
    let cut = peer.data.len();
    assert!(cut > 0 && cut < 3, "{cut}");
    world.shards[0].recover(|shard| shard.apply(1, &Event::Delete { order_id: 1 }));
    world.settle();
    world.read(&mut peer);
    let flags: Vec<_> = peer
        .data
        .iter()
        .map(|message| message["flags"].as_u64().expect("flags") & 0x81)
        .collect();
    assert_eq!(flags, [0x01, 0, 0x80, 0x01, 0, 0x80]);
    assert_eq!(peer.client.orders(1, Side::Bid).count(), 9);
    peer.verified();
}

#[test]
fn a_query_for_a_book_waits_for_the_new_one() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL"]));
    world.shards[0].recover(|shard| shard.apply(1, &order(1, 10)));
    world.carry_updates(0, usize::MAX);
    let token = world.hub.request_book("XNAS", "AAPL", 10, world.now);
    assert_eq!(
        world.hub.poll_book(token),
        tickcast_fanout::QueryState::Pending
    );
    world.settle();
    let tickcast_fanout::QueryState::Ready(body) = world.hub.poll_book(token) else {
        panic!("no answer");
    };
    let book: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(book["bids"], json!([[10 * Price::SCALE, 100, 1]]));
    assert_eq!(book["flags"], 0xa0);
}

#[test]
fn a_loss_between_shard_and_hub_amid_a_recovery_is_repaired_too() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL"]));
    world.shards[0].recover(|shard| shard.apply(1, &order(1, 10)));
    world.carry_updates(0, usize::MAX);
    world.carry_requests();
    world.shards[0].serve(usize::MAX);
    // The answers are lost.
    world.shards[0].ring.clear();
    world.hub.handle_overrun(0);
    world.settle();
    world.read(&mut peer);
    assert_eq!(told(&peer, 1), [is("snapshot", "gap")]);
    assert_eq!(states(&peer), ["stale", "live"]);
    peer.verified();
}

// ---- faults of single books

#[test]
fn a_books_own_fault_is_over_when_a_snapshot_replaced_it() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL"]));
    world.event(1, Event::Delete { order_id: 99 });
    world.read(&mut peer);
    assert_eq!(peer.last("book_state")["state"], "stale");
    world.shards[0].recover(|shard| {
        shard.apply(1, &Event::Clear);
        shard.apply(1, &order(1, 10));
    });
    world.carry_updates(0, usize::MAX);
    world.read(&mut peer);
    assert_eq!(peer.last("book_state")["state"], "live");
    assert_eq!(states(&peer), ["stale"], "the channel's holds for it still");
    world.settle();
    world.read(&mut peer);
    assert_eq!(states(&peer), ["stale", "live"]);
    world.add(1, 2, Side::Bid, 11, 100);
    world.read(&mut peer);
    assert_eq!(peer.data.last().expect("an update")["flags"], 0x80);
    peer.verified();
}

#[test]
fn who_joins_a_faulty_book_is_told_so_and_who_joins_amid_a_gap_only_of_the_channel() {
    let mut world = World::nasdaq();
    world.event(1, Event::Delete { order_id: 99 });
    let mut peer = world.connect(Encoding::Json);
    world.ask(&mut peer, subscribe("mbp-10", &["*"]));
    assert_eq!(
        peer.last("subscribed")["symbols"],
        json!([{"symbol":"AAPL","instrument_id":1,"state":"stale"},{"symbol":"MSFT","instrument_id":2}])
    );
    world.shards[0].set_stale(true);
    world.settle();
    let mut late = world.connect(Encoding::Json);
    world.ask(&mut late, subscribe("mbp-5", &["MSFT"]));
    assert_eq!(late.control[0]["channels"][0]["state"], "stale");
    assert_eq!(states(&late), ["stale"]);
    assert_eq!(late.count("book_state"), 0);
    world.shards[0].set_stale(false);
    world.add(2, 1, Side::Bid, 10, 100);
    world.read(&mut late);
    assert_eq!(states(&late), ["stale", "live"]);
    assert_eq!(
        late.data.last().expect("an update")["flags"],
        0x80,
        "the gap left nothing behind"
    );
}

// ---- stale from the declaration until the repair

/// Header and body of everything that came as FlatBuffers.
fn binary(peer: &Peer) -> Vec<OwnedMessage> {
    peer.raw
        .iter()
        .filter(|bytes| bytes.get(8..12) == Some(b"TCST"))
        .flat_map(|bytes| fb::messages(bytes))
        .map(|message| OwnedMessage::try_from(message.expect("a message")).expect("known"))
        .collect()
}

#[test]
fn every_message_of_every_schema_is_flagged_while_a_gap_is_open_in_both_encodings() {
    let mut world = World::nasdaq();
    world.event(1, Event::Status(common::status(StatusAction::Trading)));
    let mut json_peer = world.connect(Encoding::Json);
    let mut fb_peer = world.connect(Encoding::FlatBuffers);
    world.shards[0].set_stale(true);
    world.settle();
    let flags_of = |world: &mut World, json_peer: &mut Peer, fb_peer: &mut Peer| {
        for peer in [&mut *json_peer, &mut *fb_peer] {
            for schema in Schema::ALL {
                if schema == Schema::Feed {
                    continue;
                }
                let mut request = subscribe(schema.name(), &["AAPL"]);
                request["conflate_ms"] = json!(if schema == Schema::Mbp5 { 100 } else { 0 });
                world.ask(peer, request);
            }
        }
        world.add(1, world.now, Side::Bid, 10, 100);
        world.event(1, Event::Trade(trade(1)));
        world.event(
            1,
            Event::TradeBreak {
                trade_id: 1,
                px: None,
                size: 0,
            },
        );
        world.event(1, Event::Status(common::status(StatusAction::Halt)));
        world.event(1, Event::Status(common::status(StatusAction::Trading)));
        world.event(1, Event::Definition(common::definition("AAPL")));
        world.event(
            1,
            Event::Imbalance(tickcast_codecs::event::Imbalance {
                auction_type: b'C',
                side: None,
                paired_size: 1,
                imbalance_size: 2,
                reference_px: Price(3),
                near_px: Price(4),
                far_px: Price(5),
            }),
        );
        world.tick(S);
        let mut all = Vec::new();
        world.read(json_peer);
        for message in json_peer.data.drain(..) {
            let of = message["schema"].as_str().expect("a schema").to_owned();
            all.push((of, message["flags"].as_u64().expect("flags")));
        }
        world.read(fb_peer);
        for message in binary(fb_peer) {
            let flags = u64::from(message.header.flags);
            all.push((message.header.schema.name().to_owned(), flags));
        }
        fb_peer.raw.clear();
        json_peer.verified();
        fb_peer.verified();
        let schemas: std::collections::BTreeSet<_> =
            all.iter().map(|(schema, _)| schema.clone()).collect();
        assert_eq!(schemas.len(), Schema::ALL.len() - 1);
        assert!(all.len() > 40, "{}", all.len());
        all
    };
    for (schema, flags) in flags_of(&mut world, &mut json_peer, &mut fb_peer) {
        assert_ne!(flags & u64::from(BAD), 0, "{schema} {flags:02x}");
    }
    world.shards[0].set_stale(false);
    world.settle();
    for (schema, flags) in flags_of(&mut world, &mut json_peer, &mut fb_peer) {
        assert_eq!(flags & u64::from(BAD), 0, "{schema} {flags:02x}");
    }
}

#[test]
fn an_idle_subscriber_is_told_at_once_and_one_without_topics_by_the_heartbeat() {
    let mut world = World::nasdaq();
    let mut idle = world.connect(Encoding::FlatBuffers);
    let mut other = world.connect(Encoding::Json);
    world.ask(&mut idle, subscribe("trades", &["MSFT"]));
    world.tick(S);
    world.read(&mut idle);
    world.read(&mut other);
    while world.hub.poll_ready().is_some() {}
    world.shards[0].set_stale(true);
    world.settle();
    assert_eq!(
        world.hub.poll_ready(),
        Some(idle.id),
        "it is to be written to"
    );
    world.read(&mut idle);
    assert_eq!(states(&idle), ["stale"]);
    world.tick(S);
    world.read(&mut other);
    assert_eq!(other.last("heartbeat")["channels"][0]["state"], "stale");
    assert_eq!(other.count("state"), 0);
    // It subscribes before the next heartbeat.
    world.shards[0].set_stale(false);
    world.shards[0].set_stale(true);
    world.settle();
    world.ask(&mut other, subscribe("trades", &["AAPL"]));
    assert_eq!(states(&other), ["stale"]);
}

#[test]
fn a_heartbeat_that_waits_never_says_what_was_before() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    world.ask(&mut peer, subscribe("trades", &["AAPL"]));
    // Due, not written yet, when the gap opens.
    world.tick(S);
    world.shards[0].set_stale(true);
    world.settle();
    world.read(&mut peer);
    assert_eq!(states(&peer), ["stale"]);
    assert_eq!(peer.last("heartbeat")["channels"][0]["state"], "stale");
}

#[test]
fn who_joins_amid_a_gap_gets_what_is_known_flagged() {
    let mut world = World::nasdaq();
    world.add(1, 1, Side::Bid, 10, 100);
    world.shards[0].set_stale(true);
    world.settle();
    let mut peer = world.connect(Encoding::FlatBuffers);
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL"]));
    let message = binary(&peer).remove(0);
    assert_ne!(message.header.flags & BAD, 0);
    assert!(matches!(
        message.body,
        OwnedBody::Snapshot {
            reason: Reason::Subscribe,
            ref bids,
            ..
        } if bids.len() == 1
    ));
    world.tick(MS);
    world.shards[0].is_lost = true;
    world.shards[0].apply(1, &order(2, 11));
    world.shards[0].is_lost = false;
    world.shards[0].resync();
    world.shards[0].set_stale(false);
    world.settle();
    peer.raw.clear();
    world.read(&mut peer);
    let message = binary(&peer).remove(0);
    assert!(matches!(
        message.body,
        OwnedBody::Snapshot {
            reason: Reason::Gap,
            ref bids,
            ..
        } if bids.len() == 2
    ));
    assert_eq!(states(&peer), ["stale", "live"]);
    peer.verified();
}
