//! The sentences of the subscriber protocol that the hub keeps, each a test.

#![allow(clippy::expect_used)] // Helpers may fail a test.

mod common;

use common::{MS, Peer, S, WALL, World, status};
use serde_json::{Value, json};
use tickcast_book::BookKind;
use tickcast_codecs::event::{Event, Imbalance, StatusAction};
use tickcast_codecs::outbound::Schema;
use tickcast_codecs::types::{Price, Side};
use tickcast_fanout::{Encoding, ErrorCode, HubConfig, Limits, QueryState};

fn with_limits(change: impl FnOnce(&mut Limits)) -> HubConfig {
    let mut config = HubConfig::default();
    change(&mut config.limits);
    config
}

/// XNAS, and a subscriber that has read its welcome.
fn connected() -> (World, Peer) {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    world.read(&mut peer);
    (world, peer)
}

fn subscribe(schema: &str, symbols: &[&str]) -> Value {
    json!({"op":"subscribe","schema":schema,"venue":"XNAS","symbols":symbols})
}

fn prev_and_seq(message: &Value) -> (u64, u64) {
    (
        message["prev"].as_u64().expect("prev"),
        message["seq"].as_u64().expect("seq"),
    )
}

// ---- connection

#[test]
fn the_first_message_of_a_connection_is_the_welcome() {
    let (_, peer) = connected();
    let welcome = &peer.control[0];
    assert_eq!(welcome["type"], "welcome");
    assert_eq!(welcome["proto"], 1);
    assert_eq!(welcome["session"], "a-session");
    assert_eq!(welcome["epoch"], "an-epoch");
    assert_eq!(welcome["heartbeat_ms"], 1000);
    assert_eq!(welcome["limits"]["topics_max"], 16_384);
    assert_eq!(
        welcome["channels"],
        json!([{"channel":"channel-0","venue":"XNAS","state":"live"}])
    );
}

#[test]
fn times_beyond_2_to_the_53_are_decimal_strings() {
    let (mut world, mut peer) = connected();
    world.ask(&mut peer, json!({"op":"ping","id":1}));
    let time = peer.last("pong")["server_time"].as_str().expect("a text");
    assert_eq!(time.parse::<u64>(), Ok(WALL + world.now));
}

#[test]
fn control_is_json_text_in_both_encodings() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::FlatBuffers);
    world.ask(&mut peer, subscribe("mbp-1", &["AAPL"]));
    assert_eq!(peer.count("welcome"), 1);
    assert_eq!(peer.last("subscribed")["effective"]["encoding"], "fb");
    assert_eq!(peer.raw.len(), 1, "the snapshot, binary");
    assert!(peer.client.levels(Schema::Mbp1, 1).is_some());
    peer.verified();
}

// ---- requests and answers

#[test]
fn each_request_has_an_optional_id_which_the_answer_echoes() {
    let (mut world, mut peer) = connected();
    for id in [json!(7), json!("seven")] {
        world.ask(&mut peer, json!({"op":"ping","id":id}));
        assert_eq!(peer.last("pong")["id"], id);
        world.ask(&mut peer, json!({"op":"fly","id":id}));
        assert_eq!(peer.last("error")["id"], id);
        assert_eq!(peer.last("error")["code"], "unknown_op");
    }
    world.ask(&mut peer, json!({"op":"ping"}));
    assert_eq!(peer.last("pong").get("id"), None);
}

#[test]
fn a_subscription_is_answered_with_every_option_as_granted() {
    let (mut world, mut peer) = connected();
    let mut request = subscribe("mbp-10", &["AAPL", "MSFT"]);
    request["conflate_ms"] = json!(50);
    request["checksum"] = json!(true);
    request["on_slow"] = json!("skip");
    request["id"] = json!(7);
    request["a field of the future"] = json!([1]);
    world.ask(&mut peer, request);
    assert_eq!(
        *peer.last("subscribed"),
        json!({"type":"subscribed","id":7,"sub":1,
            "effective":{"schema":"mbp-10","venue":"XNAS","stype":"raw_symbol","encoding":"json",
                "conflate_ms":50,"snapshot":true,"checksum":true,"on_slow":"skip","decimal":false},
            "symbols":[{"symbol":"AAPL","instrument_id":1},{"symbol":"MSFT","instrument_id":2}],
            "failed":[]})
    );
}

#[test]
fn one_bad_symbol_never_fails_the_rest() {
    let (mut world, mut peer) = connected();
    world.ask(&mut peer, subscribe("mbp-1", &["AAPL", "NOPE"]));
    let answer = peer.last("subscribed");
    assert_eq!(
        answer["symbols"],
        json!([{"symbol":"AAPL","instrument_id":1}])
    );
    assert_eq!(
        answer["failed"],
        json!([{"symbol":"NOPE","code":"unknown_symbol"}])
    );
    assert_eq!(peer.data_of("mbp-1").count(), 1);
}

#[test]
fn what_cannot_be_granted_is_refused_with_its_code() {
    let mut world = World::new(
        with_limits(|limits| limits.message_burst_max = 100),
        &[("XNAS", true), ("IEXG", false)],
    );
    let mut peer = world.connect(Encoding::Json);
    for (request, code) in [
        (json!({"op":"fly"}), ErrorCode::UnknownOp),
        (json!({"no":"op"}), ErrorCode::BadRequest),
        (
            json!({"op":"ping","id":{"not":"plain"}}),
            ErrorCode::BadRequest,
        ),
        (
            json!({"op":"subscribe","schema":"mbp-7","venue":"XNAS","symbols":"*"}),
            ErrorCode::UnknownSchema,
        ),
        (
            json!({"op":"subscribe","schema":"mbp-1","venue":"XXXX","symbols":"*"}),
            ErrorCode::UnknownVenue,
        ),
        (
            json!({"op":"subscribe","schema":"mbp-1","symbols":"*"}),
            ErrorCode::BadRequest,
        ),
        (
            json!({"op":"subscribe","schema":"mbo","venue":"IEXG","symbols":"*"}),
            ErrorCode::BadRequest,
        ),
        (
            json!({"op":"subscribe","schema":"mbp-1","venue":"XNAS","symbols":[]}),
            ErrorCode::BadRequest,
        ),
        (
            json!({"op":"subscribe","schema":"mbp-1","venue":"XNAS","symbols":"*","on_slow":"sulk"}),
            ErrorCode::BadRequest,
        ),
        (json!({"op":"unsubscribe","sub":99}), ErrorCode::NotFound),
        (json!({"op":"snapshot","sub":99}), ErrorCode::NotFound),
        (
            json!({"op":"resume","session":"a","epoch":"b","topics":[]}),
            ErrorCode::Unavailable,
        ),
    ] {
        world.ask(&mut peer, request.clone());
        let answer = peer.last("error");
        assert_eq!(answer["code"], code.name(), "{request}");
        assert_eq!(answer["fatal"], false);
    }
    assert_eq!(peer.count("subscribed"), 0);
}

#[test]
fn conflate_ms_is_0_10_50_100_250_or_1000() {
    let (mut world, mut peer) = connected();
    for (ms, good) in [
        (0, true),
        (10, true),
        (50, true),
        (100, true),
        (250, true),
        (1000, true),
        (20, false),
        (-1, false),
    ] {
        let mut request = subscribe("mbp-1", &["AAPL"]);
        request["conflate_ms"] = json!(ms);
        let before = peer.count("subscribed");
        world.ask(&mut peer, request);
        assert_eq!(peer.count("subscribed") > before, good, "{ms}");
    }
    assert_eq!(peer.last("error")["code"], "bad_request");
}

#[test]
fn the_third_message_that_is_not_json_closes_the_connection() {
    let (mut world, mut peer) = connected();
    for (text, fatal) in [("{", false), ("[1]", false), ("\u{0}", true)] {
        world.hub.handle_text(peer.id, text, world.now);
        world.read(&mut peer);
        assert_eq!(peer.last("error")["code"], "bad_json");
        assert_eq!(peer.last("error")["fatal"], fatal);
    }
    assert_eq!(peer.closed, Some((4400, "bad request")));
    // Nothing follows a close.
    world.ask(&mut peer, json!({"op":"ping"}));
    assert_eq!(peer.count("pong"), 0);
}

#[test]
fn a_message_beyond_4_kib_is_too_large() {
    let (mut world, mut peer) = connected();
    let long = json!({"op":"ping","id":"x".repeat(4096)}).to_string();
    world.hub.handle_text(peer.id, &long, world.now);
    world.read(&mut peer);
    assert_eq!(peer.last("error")["code"], "too_large");
    world.hub.handle_unreadable(peer.id, world.now);
    world.hub.handle_unreadable(peer.id, world.now);
    world.read(&mut peer);
    assert_eq!(peer.closed, Some((4400, "bad request")));
}

#[test]
fn requests_beyond_the_rate_are_told_when_to_come_again_and_then_closed_with_4429() {
    let (mut world, mut peer) = connected();
    for _ in 0..20 {
        world.send(&peer, &json!({"op":"ping"}));
    }
    world.read(&mut peer);
    assert_eq!(peer.count("pong"), 20);
    world.ask(&mut peer, json!({"op":"ping","id":21}));
    let refused = peer.last("error");
    assert_eq!(
        (&refused["code"], &refused["id"]),
        (&json!("rate_limited"), &json!(21))
    );
    assert_eq!(refused["retry_after_ms"], 200);
    world.tick(200 * MS);
    world.ask(&mut peer, json!({"op":"ping"}));
    assert_eq!(peer.count("pong"), 21);
    for _ in 0..50 {
        world.ask(&mut peer, json!({"op":"ping"}));
    }
    assert_eq!(peer.last("error")["fatal"], true);
    assert_eq!(peer.closed, Some((4429, "rate limited")));
}

#[test]
fn unsubscribing_by_number_or_by_symbols_ends_the_topics_and_what_waits_of_them() {
    let (mut world, mut peer) = connected();
    world.ask(&mut peer, subscribe("mbp-1", &["AAPL", "MSFT"]));
    world.ask(&mut peer, subscribe("trades", &["AAPL"]));
    world.add(1, 1, Side::Bid, 10, 100);
    world.add(2, 2, Side::Bid, 10, 100);
    let received = peer.data.len();
    world.send(
        &peer,
        &json!({"op":"unsubscribe","id":3,"schema":"mbp-1","symbols":["AAPL"],"venue":"XNAS"}),
    );
    world.read(&mut peer);
    assert_eq!(
        *peer.last("unsubscribed"),
        json!({"type":"unsubscribed","id":3,"topics":1})
    );
    assert_eq!(peer.data.len(), received + 1, "only MSFT's message");
    assert_eq!(peer.data[received]["instrument_id"], 2);
    world.ask(&mut peer, json!({"op":"unsubscribe","id":4,"sub":1}));
    assert_eq!(
        *peer.last("unsubscribed"),
        json!({"type":"unsubscribed","id":4,"sub":1,"topics":1})
    );
    world.add(2, 3, Side::Bid, 11, 100);
    world.read(&mut peer);
    assert_eq!(peer.data.len(), received + 1);
    world.ask(&mut peer, json!({"op":"list","id":5}));
    assert_eq!(
        peer.last("list")["subscriptions"].as_array().map(Vec::len),
        Some(1)
    );
}

#[test]
fn set_replaces_the_whole_set_and_what_stays_the_same_goes_on() {
    let (mut world, mut peer) = connected();
    world.ask(&mut peer, subscribe("mbp-1", &["AAPL", "MSFT"]));
    assert_eq!(peer.data.len(), 2);
    let wanted = json!([
        {"schema":"mbp-1","venue":"XNAS","symbols":["MSFT"]},
        {"schema":"mbp-9","venue":"XNAS","symbols":["MSFT"]},
        {"schema":"mbp-5","venue":"XNAS","symbols":["AAPL"]},
    ]);
    world.ask(&mut peer, json!({"op":"set","id":9,"subscriptions":wanted}));
    assert_eq!(peer.last("set")["subs"], json!([2, null, 3]));
    assert_eq!(peer.last("error")["code"], "unknown_schema");
    assert_eq!(peer.data.len(), 3, "one new snapshot: of mbp-5");
    world.add(1, 1, Side::Bid, 10, 100);
    world.add(2, 2, Side::Bid, 10, 100);
    world.read(&mut peer);
    let schemas: Vec<_> = peer.data[3..]
        .iter()
        .map(|m| {
            (
                m["schema"].as_str().expect("schema"),
                m["instrument_id"].as_u64().expect("id"),
            )
        })
        .collect();
    assert_eq!(schemas, [("mbp-5", 1), ("mbp-1", 2)]);
    world.ask(&mut peer, json!({"op":"list"}));
    let listed = peer.last("list")["subscriptions"]
        .as_array()
        .expect("a list")
        .clone();
    assert_eq!(
        listed
            .iter()
            .map(|one| one["sub"].clone())
            .collect::<Vec<_>>(),
        [json!(2), json!(3)]
    );
    peer.verified();
}

#[test]
fn a_connection_has_at_most_one_subscription_per_schema_and_instrument() {
    let (mut world, mut peer) = connected();
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL"]));
    let mut again = subscribe("mbp-10", &["AAPL"]);
    again["checksum"] = json!(true);
    world.ask(&mut peer, again);
    world.add(1, 1, Side::Bid, 10, 100);
    world.read(&mut peer);
    let kinds: Vec<_> = peer
        .data
        .iter()
        .map(|m| (m["type"].clone(), m.get("checksum").is_some()))
        .collect();
    assert_eq!(
        kinds,
        [
            (json!("snapshot"), false),
            (json!("snapshot"), true),
            (json!("update"), true)
        ]
    );
    world.ask(&mut peer, json!({"op":"list"}));
    assert_eq!(peer.last("list")["subscriptions"][0]["sub"], 2);
    peer.verified();
}

#[test]
fn a_pattern_also_matches_instruments_defined_later() {
    let (mut world, mut peer) = connected();
    world.ask(&mut peer, subscribe("mbp-1", &["A*"]));
    assert_eq!(
        peer.last("subscribed")["symbols"],
        json!([{"symbol":"AAPL","instrument_id":1}])
    );
    assert_eq!(
        peer.last("subscribed")["effective"]["patterns"],
        json!(["A*"])
    );
    for (number, symbol) in [(3, "AMZN"), (4, "GOOG"), (5, "ABNB")] {
        world.shards[0].define(number, symbol);
    }
    world.settle();
    world.read(&mut peer);
    let joined = peer.last("subscribed");
    assert_eq!(joined["sub"], 1);
    assert_eq!(
        joined["symbols"],
        json!([{"symbol":"AMZN","instrument_id":3},{"symbol":"ABNB","instrument_id":5}])
    );
    assert_eq!(peer.data_of("mbp-1").count(), 3, "each with its snapshot");
    world.ask(
        &mut peer,
        json!({"op":"unsubscribe","schema":"mbp-1","venue":"XNAS","symbols":["A*"]}),
    );
    assert_eq!(peer.last("unsubscribed")["topics"], 3);
    world.shards[0].define(6, "AAL");
    world.settle();
    world.read(&mut peer);
    assert_eq!(peer.count("subscribed"), 2);
}

#[test]
fn a_number_that_the_venue_gives_to_another_symbol_ends_subscriptions_to_the_old_one() {
    let (mut world, mut peer) = connected();
    world.ask(&mut peer, subscribe("mbp-1", &["AAPL"]));
    world.ask(&mut peer, subscribe("trades", &["*"]));
    world.shards[0].define(1, "IBM");
    world.settle();
    world.read(&mut peer);
    let ended = peer.last("unsubscribed");
    assert_eq!(ended["sub"], 1);
    assert_eq!(
        ended["symbols"],
        json!([{"symbol":"AAPL","instrument_id":1}])
    );
    let renamed = peer.last("subscribed");
    assert_eq!(
        (&renamed["sub"], &renamed["symbols"]),
        (&json!(2), &json!([{"symbol":"IBM","instrument_id":1}]))
    );
}

#[test]
fn stype_instrument_id_names_instruments_by_number() {
    let (mut world, mut peer) = connected();
    let request =
        json!({"op":"subscribe","schema":"mbp-1","stype":"instrument_id","symbols":["2", 1, 77]});
    world.ask(&mut peer, request);
    let answer = peer.last("subscribed");
    assert_eq!(
        answer["symbols"],
        json!([{"symbol":"MSFT","instrument_id":2},{"symbol":"AAPL","instrument_id":1}])
    );
    assert_eq!(
        answer["failed"],
        json!([{"symbol":"77","code":"unknown_symbol"}])
    );
}

#[test]
fn topics_and_subscriptions_of_a_connection_are_limited() {
    let mut world = World::nasdaq_with(with_limits(|limits| {
        limits.topics_max = 3;
        limits.subscriptions_max = 2;
    }));
    let mut peer = world.connect(Encoding::Json);
    world.ask(&mut peer, subscribe("mbp-1", &["*"]));
    world.ask(&mut peer, subscribe("trades", &["*"]));
    assert_eq!(
        peer.last("subscribed")["symbols"].as_array().map(Vec::len),
        Some(1)
    );
    assert_eq!(
        peer.last("subscribed")["failed"],
        json!([{"symbol":"MSFT","code":"too_many_subscriptions"}])
    );
    world.ask(&mut peer, subscribe("mbp-5", &["*"]));
    assert_eq!(peer.last("error")["code"], "too_many_subscriptions");
}

#[test]
fn everything_of_8000_instruments_can_be_subscribed_in_bounded_memory() {
    let mut world = World::new(HubConfig::default(), &[("XNAS", true)]);
    for number in 1..=8_000 {
        world.shards[0].define(number, &format!("S{number}"));
    }
    world.settle();
    let mut peer = world.connect(Encoding::Json);
    world.send(&peer, &subscribe("mbp-10", &["*"]));
    world.settle();
    assert_eq!(
        world.hub.queued_bytes(peer.id),
        0,
        "snapshots are made when they can be written"
    );
    world.read(&mut peer);
    assert_eq!(
        peer.last("subscribed")["symbols"].as_array().map(Vec::len),
        Some(8_000)
    );
    assert_eq!(peer.data_of("mbp-10").count(), 8_000);
    assert_eq!(peer.closed, None);
    peer.verified();
}

// ---- data

#[test]
fn the_first_message_of_a_book_subscription_is_a_snapshot_and_the_next_ones_prev_is_its_seq() {
    for schema in ["mbp-1", "mbp-10", "mbp-full", "mbo"] {
        let (mut world, mut peer) = connected();
        world.add(1, 1, Side::Bid, 10, 100);
        world.ask(&mut peer, subscribe(schema, &["AAPL"]));
        world.add(1, 2, Side::Ask, 11, 100);
        world.read(&mut peer);
        let [snapshot, update] = &peer.data[..] else {
            panic!("{:#?}", peer.data);
        };
        assert_eq!(snapshot["reason"], "subscribe");
        assert_eq!(prev_and_seq(update).0, prev_and_seq(snapshot).1);
        peer.verified();
    }
}

#[test]
fn no_update_is_sent_before_the_shards_snapshot_is_complete() {
    let (mut world, mut peer) = connected();
    for n in 0..5 {
        world.add(1, n, Side::Bid, 10 + i64::try_from(n).expect("small"), 100);
    }
    world.send(&peer, &subscribe("mbp-10", &["AAPL"]));
    world.carry_requests();
    world.shards[0].serve(1);
    for _ in 0..6 {
        world.carry_updates(0, 1);
        world.read(&mut peer);
        assert_eq!(peer.data.len(), 0);
    }
    world.settle();
    world.read(&mut peer);
    assert_eq!(peer.data[0]["bids"].as_array().map(Vec::len), Some(5));
}

#[test]
fn a_client_that_wants_no_snapshot_gets_updates_only() {
    let (mut world, mut peer) = connected();
    world.add(1, 1, Side::Bid, 10, 100);
    let mut request = subscribe("mbp-10", &["AAPL"]);
    request["snapshot"] = json!(false);
    world.ask(&mut peer, request);
    world.add(1, 2, Side::Bid, 11, 100);
    world.read(&mut peer);
    assert_eq!(peer.data.len(), 1);
    assert_eq!(peer.data[0]["type"], "update");
    assert_eq!(peer.data[0]["bids"], json!([[11 * Price::SCALE, 100, 1]]));
}

#[test]
fn who_joins_changes_no_byte_that_others_receive() {
    let mut alone = World::nasdaq();
    let mut crowded = World::nasdaq();
    let mut received = Vec::new();
    for world in [&mut alone, &mut crowded] {
        let mut peer = world.connect(Encoding::Json);
        let mut request = subscribe("mbp-10", &["AAPL"]);
        request["conflate_ms"] = json!(100);
        world.ask(&mut peer, request);
        received.push(peer);
    }
    let mut joining = Vec::new();
    for n in 0..50 {
        for (world, peer) in [&mut alone, &mut crowded].into_iter().zip(&mut received) {
            world.add(
                1,
                n,
                Side::Bid,
                10 + i64::try_from(n % 20).expect("small"),
                100,
            );
            world.tick(15 * MS);
            world.read(peer);
        }
        let mut peer = crowded.connect(Encoding::Json);
        let mut request = subscribe("mbp-10", &["AAPL"]);
        request["conflate_ms"] = json!(100);
        crowded.ask(&mut peer, request);
        joining.push(peer);
    }
    assert_eq!(received[0].raw, received[1].raw);
    assert!(received[0].raw.len() > 5);
    for peer in &mut joining {
        crowded.read(peer);
        peer.verified();
    }
}

#[test]
fn subscribers_of_a_profile_get_the_same_bytes_encoded_once() {
    let mut world = World::nasdaq();
    let mut peers: Vec<Peer> = (0..10).map(|_| world.connect(Encoding::Json)).collect();
    for peer in &mut peers {
        world.ask(peer, subscribe("mbp-10", &["AAPL"]));
    }
    let before = world.hub.counters().messages_encoded;
    world.add(1, 1, Side::Bid, 10, 100);
    for peer in &mut peers {
        world.read(peer);
    }
    assert_eq!(world.hub.counters().messages_encoded, before + 1);
    let first = peers[0].raw.last().expect("an update").as_ptr();
    for peer in &peers {
        assert_eq!(peer.raw.last().expect("an update").as_ptr(), first);
    }
}

#[test]
fn an_update_has_the_changed_levels_and_0_is_gone_and_the_server_sends_what_enters_the_depth() {
    let (mut world, mut peer) = connected();
    for (order, px) in [(1, 10), (2, 9)] {
        world.add(1, order, Side::Bid, px, 100);
    }
    world.ask(&mut peer, subscribe("mbp-1", &["AAPL"]));
    world.event(1, Event::Delete { order_id: 1 });
    world.add(1, 3, Side::Bid, 8, 100);
    world.read(&mut peer);
    assert_eq!(peer.data[0]["bids"], json!([[10 * Price::SCALE, 100, 1]]));
    assert_eq!(
        peer.data[1]["bids"],
        json!([[10 * Price::SCALE, 0, 0], [9 * Price::SCALE, 100, 1]])
    );
    assert_eq!(peer.data.len(), 2, "nothing changed within the depth");
}

#[test]
fn a_replacement_is_never_seen_half() {
    let (mut world, mut peer) = connected();
    world.add(1, 1, Side::Bid, 10, 100);
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL"]));
    let event = Event::Replace {
        order_id: 1,
        new_order_id: 2,
        px: Price(11 * Price::SCALE),
        size: 50,
    };
    let id = world.shards[0].id(1);
    world.shards[0].apply(id, &event);
    while !world.shards[0].ring.is_empty() {
        world.carry_updates(0, 1);
        world.read(&mut peer);
    }
    assert_eq!(peer.data.len(), 2);
    assert_eq!(
        peer.data[1]["bids"],
        json!([[11 * Price::SCALE, 50, 1], [10 * Price::SCALE, 0, 0]])
    );
}

#[test]
fn the_checksum_is_on_every_snapshot_and_update_when_asked_for() {
    let (mut world, mut peer) = connected();
    let mut request = subscribe("mbp-10", &["AAPL"]);
    request["checksum"] = json!(true);
    world.ask(&mut peer, request);
    for n in 0..30 {
        world.add(1, n, Side::Bid, i64::try_from(n).expect("small") + 1, 100);
    }
    world.read(&mut peer);
    assert_eq!(peer.data.len(), 31);
    assert!(peer.data.iter().all(|message| message["checksum"].is_u64()));
    peer.verified();
}

#[test]
fn conflation_sends_the_latest_value_per_level_and_the_final_one_always_arrives() {
    let (mut world, mut peer) = connected();
    let mut request = subscribe("mbp-10", &["AAPL"]);
    request["conflate_ms"] = json!(100);
    world.ask(&mut peer, request);
    world.add(1, 1, Side::Bid, 10, 100);
    world.add(1, 2, Side::Bid, 10, 100);
    world.add(1, 3, Side::Bid, 10, 100);
    world.read(&mut peer);
    assert_eq!(peer.data.len(), 1, "not before the interval is over");
    let at = world.hub.poll_timeout().expect("a time");
    assert_eq!(at % (100 * MS), 0);
    world.tick(at - world.now);
    world.read(&mut peer);
    assert_eq!(peer.data.len(), 2);
    let update = &peer.data[1];
    assert_eq!(update["bids"], json!([[10 * Price::SCALE, 300, 3]]));
    assert_eq!(update["events"], 3);
    assert_eq!(
        update["sequence"],
        json!([world.shards[0].sequence - 2, world.shards[0].sequence])
    );
    world.tick(S);
    world.read(&mut peer);
    assert_eq!(peer.data.len(), 2, "nothing changed");
    peer.verified();
}

#[test]
fn trades_and_mbo_are_never_conflated() {
    let (mut world, mut peer) = connected();
    for schema in ["trades", "mbo"] {
        let mut request = subscribe(schema, &["AAPL"]);
        request["conflate_ms"] = json!(1000);
        world.ask(&mut peer, request);
        assert_eq!(peer.last("subscribed")["effective"]["conflate_ms"], 0);
    }
    let before = peer.data.len();
    world.add(1, 1, Side::Bid, 10, 100);
    world.event(1, Event::Trade(common::trade(1)));
    world.event(1, Event::Trade(common::trade(2)));
    world.read(&mut peer);
    assert_eq!(peer.data.len(), before + 3);
    peer.verified();
}

#[test]
fn all_order_updates_of_a_venues_message_are_in_one_message() {
    let (mut world, mut peer) = connected();
    world.add(1, 1, Side::Bid, 10, 100);
    world.ask(&mut peer, subscribe("mbo", &["AAPL"]));
    let event = Event::Replace {
        order_id: 1,
        new_order_id: 2,
        px: Price(11 * Price::SCALE),
        size: 50,
    };
    world.event(1, event);
    world.read(&mut peer);
    assert_eq!(peer.data.len(), 2);
    assert_eq!(peer.data[1]["type"], "orders");
    assert_eq!(peer.data[1]["orders"].as_array().map(Vec::len), Some(2));
    peer.verified();
}

#[test]
fn a_long_snapshot_is_chunked_the_first_flagged_clear_and_the_last_flagged_last() {
    let mut world = World::nasdaq_with(with_limits(|limits| limits.snapshot_orders_max = 10));
    for n in 0..25 {
        world.add(
            1,
            n,
            Side::Bid,
            10 + i64::try_from(n % 3).expect("small"),
            100,
        );
    }
    let mut peer = world.connect(Encoding::Json);
    world.ask(&mut peer, subscribe("mbo", &["AAPL"]));
    let flags: Vec<_> = peer
        .data
        .iter()
        .map(|m| m["flags"].as_u64().expect("flags") & 0x81)
        .collect();
    assert_eq!(flags, [0x01, 0, 0x80]);
    assert_eq!(peer.client.orders(1, Side::Bid).count(), 25);
    peer.verified();
}

#[test]
fn a_snapshot_that_was_asked_for_says_so() {
    let (mut world, mut peer) = connected();
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL"]));
    world.ask(&mut peer, json!({"op":"snapshot","id":11,"sub":1}));
    assert_eq!(
        *peer.last("snapshots"),
        json!({"type":"snapshots","id":11,"topics":1})
    );
    assert_eq!(peer.data[1]["reason"], "request");
    world.add(1, 1, Side::Bid, 10, 100);
    world.read(&mut peer);
    assert_eq!(prev_and_seq(&peer.data[2]).0, prev_and_seq(&peer.data[1]).1);
    peer.verified();
}

#[test]
fn who_subscribes_to_status_or_definition_gets_the_last_known_at_once() {
    let (mut world, mut peer) = connected();
    world.event(1, Event::Status(status(StatusAction::Halt)));
    world.event(1, Event::Status(status(StatusAction::Trading)));
    world.ask(&mut peer, subscribe("status", &["AAPL"]));
    world.ask(&mut peer, subscribe("definition", &["AAPL"]));
    world.ask(&mut peer, subscribe("status", &["MSFT"]));
    assert_eq!(peer.data.len(), 2, "MSFT has no status");
    assert_eq!(peer.data[0]["action"], "trading");
    assert_eq!(
        (&peer.data[1]["symbol"], &peer.data[1]["venue"]),
        (&json!("AAPL"), &json!("XNAS"))
    );
    world.event(1, Event::Status(status(StatusAction::Halt)));
    world.read(&mut peer);
    assert_eq!(prev_and_seq(&peer.data[2]), (2, 3));
    peer.verified();
}

#[test]
fn a_channels_own_status_reaches_who_subscribed_to_every_status() {
    let (mut world, mut peer) = connected();
    world.ask(&mut peer, subscribe("status", &["*"]));
    world.event(0, Event::Status(status(StatusAction::Close)));
    world.read(&mut peer);
    assert_eq!(
        (&peer.data[0]["instrument_id"], &peer.data[0]["action"]),
        (&json!(0), &json!("close"))
    );
}

#[test]
fn imbalances_and_trade_breaks_reach_their_subscribers() {
    let (mut world, mut peer) = connected();
    world.ask(&mut peer, subscribe("imbalance", &["AAPL"]));
    world.ask(&mut peer, subscribe("trades", &["AAPL"]));
    let imbalance = Imbalance {
        auction_type: b'O',
        side: Some(Side::Bid),
        paired_size: 100,
        imbalance_size: 50,
        reference_px: Price(Price::SCALE),
        near_px: Price(0),
        far_px: Price(0),
    };
    world.event(1, Event::Imbalance(imbalance));
    let event = Event::TradeBreak {
        trade_id: 7,
        px: None,
        size: 0,
    };
    world.event(1, event);
    world.read(&mut peer);
    assert_eq!(peer.data[0]["paired_size"], 100);
    assert_eq!(peer.data[1]["type"], "trade_break");
    peer.verified();
}

// ---- book state

#[test]
fn stale_is_told_with_the_next_message_and_live_when_it_is_repaired() {
    let (mut world, mut peer) = connected();
    let mut other = world.connect(Encoding::Json);
    world.read(&mut other);
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL"]));
    world.shards[0].set_stale(true);
    world.settle();
    world.read(&mut peer);
    let stale = json!({"type":"state","channel":"channel-0","venue":"XNAS","state":"stale"});
    assert_eq!(*peer.last("state"), stale);
    world.add(1, 1, Side::Bid, 10, 100);
    world.tick(S);
    world.read(&mut peer);
    assert_eq!(peer.data[1]["flags"], 0x84);
    assert_eq!(peer.last("heartbeat")["channels"][0]["state"], "stale");
    world.shards[0].set_stale(false);
    world.add(1, 2, Side::Bid, 10, 100);
    world.read(&mut peer);
    assert_eq!(peer.last("state")["state"], "live");
    assert_eq!(peer.data[2]["flags"], 0x80);
    world.read(&mut other);
    assert_eq!(
        other.count("state"),
        0,
        "it has no subscription on the channel"
    );
}

#[test]
fn a_book_with_a_fault_of_its_own_is_told_stale_until_it_begins_anew() {
    let (mut world, mut peer) = connected();
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL"]));
    world.event(1, Event::Delete { order_id: 99 });
    world.add(1, 1, Side::Bid, 10, 100);
    world.read(&mut peer);
    assert_eq!(
        *peer.last("book_state"),
        json!({"type":"book_state","instrument_id":1,"state":"stale"})
    );
    assert_eq!(peer.data[1]["flags"], 0x84);
    world.event(1, Event::Clear);
    world.read(&mut peer);
    assert_eq!(peer.last("book_state")["state"], "live");
}

#[test]
fn a_new_session_resets_every_book_with_an_empty_snapshot() {
    let (mut world, mut peer) = connected();
    world.add(1, 1, Side::Bid, 10, 100);
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL"]));
    world.ask(&mut peer, subscribe("mbo", &["AAPL"]));
    let before = peer.data.len();
    world.shards[0].clear();
    world.settle();
    world.read(&mut peer);
    let reset: Vec<_> = peer.data[before..]
        .iter()
        .map(|m| (m["type"].clone(), m["reason"].clone()))
        .collect();
    assert_eq!(
        reset,
        [
            (json!("snapshot"), json!("session_start")),
            (json!("orders_snapshot"), json!("session_start"))
        ]
    );
    assert_eq!(peer.data[before]["bids"], json!([]));
    world.add(1, 1, Side::Ask, 10, 100);
    world.read(&mut peer);
    peer.verified();
}

#[test]
fn an_overrun_is_told_and_every_book_is_sent_again() {
    let (mut world, mut peer) = connected();
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL"]));
    world.ask(&mut peer, subscribe("trades", &["AAPL"]));
    world.add(1, 1, Side::Bid, 10, 100);
    world.read(&mut peer);
    let before = peer.data.len();
    let id = world.shards[0].id(1);
    let add = |order_id| Event::Add {
        order_id,
        side: Side::Bid,
        px: Price(9 * Price::SCALE),
        size: 1,
    };
    world.shards[0].apply(id, &add(2));
    world.shards[0].ring.clear();
    world.hub.handle_overrun(0);
    // What comes before the snapshot doesn't count.
    world.shards[0].apply(id, &add(3));
    world.settle();
    world.read(&mut peer);
    let told: Vec<_> = peer.data[before..]
        .iter()
        .map(|m| (m["type"].clone(), m["reason"].clone()))
        .collect();
    assert_eq!(
        told,
        [
            (json!("gap"), Value::Null),
            (json!("snapshot"), json!("gap"))
        ]
    );
    assert_eq!(peer.data[before]["count"], 0, "how many isn't known");
    assert_eq!(
        peer.data[before + 1]["bids"][1],
        json!([9 * Price::SCALE, 2, 2])
    );
    world.event(1, Event::Trade(common::trade(1)));
    world.read(&mut peer);
    peer.verified();
}

// ---- heartbeats, slow consumers, shutdown

#[test]
fn a_heartbeat_comes_every_second_and_those_not_written_are_replaced() {
    let (mut world, mut peer) = connected();
    let before = peer.count("heartbeat");
    world.tick(S);
    world.read(&mut peer);
    world.tick(S);
    world.read(&mut peer);
    assert_eq!(peer.count("heartbeat"), before + 2);
    for _ in 0..30 {
        world.tick(S);
        world.hub.handle_pong(peer.id, world.now);
    }
    world.read(&mut peer);
    assert_eq!(peer.count("heartbeat"), before + 3);
    let n: Vec<_> = peer
        .control
        .iter()
        .filter(|m| m["type"] == "heartbeat")
        .map(|m| m["n"].as_u64().expect("n"))
        .collect();
    assert!(n.is_sorted_by(|a, b| a < b));
}

#[test]
fn a_ping_comes_every_20_s_and_60_s_without_a_pong_close_with_4409() {
    let (mut world, mut peer) = connected();
    let mut other = world.connect(Encoding::Json);
    for _ in 0..=61 {
        world.tick(S);
        world.hub.handle_pong(other.id, world.now);
        world.read(&mut peer);
        world.read(&mut other);
    }
    assert_eq!(peer.pings, 3);
    assert_eq!(peer.closed, Some((4409, "idle")));
    assert_eq!((other.pings, other.closed), (3, None));
    assert_eq!(world.hub.counters().idle_disconnected, 1);
}

/// A world whose subscribers have room for a few messages only.
fn tight() -> World {
    World::nasdaq_with(with_limits(|limits| limits.queue_bytes_max = 1_000))
}

#[test]
fn a_slow_subscriber_of_a_book_gets_one_snapshot_of_the_newest_state() {
    let mut world = tight();
    let mut peer = world.connect(Encoding::Json);
    let mut fast = world.connect(Encoding::Json);
    for peer in [&mut peer, &mut fast] {
        world.ask(peer, subscribe("mbp-10", &["AAPL"]));
    }
    for n in 0..100 {
        world.add(1, n, Side::Bid, 10, 1);
        world.read(&mut fast);
        assert!(world.hub.queued_bytes(peer.id) <= 1_000);
    }
    world.read(&mut peer);
    assert_eq!(peer.data.len(), 2);
    assert_eq!(peer.data[1]["reason"], "slow");
    assert_eq!(peer.data[1]["bids"], json!([[10 * Price::SCALE, 100, 100]]));
    world.add(1, 200, Side::Bid, 10, 1);
    world.read(&mut peer);
    assert_eq!(prev_and_seq(&peer.data[2]).0, prev_and_seq(&peer.data[1]).1);
    peer.verified();
    world.read(&mut fast);
    assert_eq!(fast.data.len(), 102, "it never cost anyone else");
    fast.verified();
}

#[test]
fn on_slow_skip_sends_what_waits_before_the_snapshot() {
    let mut world = tight();
    let mut peer = world.connect(Encoding::Json);
    let mut request = subscribe("mbp-10", &["AAPL"]);
    request["on_slow"] = json!("skip");
    world.ask(&mut peer, request);
    for n in 0..100 {
        world.add(1, n, Side::Bid, 10, 1);
    }
    world.read(&mut peer);
    let kinds: Vec<_> = peer
        .data
        .iter()
        .map(|m| m["type"].as_str().expect("type"))
        .collect();
    assert!(kinds.len() > 3, "{kinds:?}");
    assert!(
        kinds[1..kinds.len() - 1]
            .iter()
            .all(|kind| *kind == "update")
    );
    assert_eq!(peer.data.last().expect("a snapshot")["reason"], "slow");
    peer.verified();
}

#[test]
fn on_slow_disconnect_closes_with_4408() {
    let mut world = tight();
    let mut peer = world.connect(Encoding::Json);
    let mut request = subscribe("trades", &["AAPL"]);
    request["on_slow"] = json!("disconnect");
    world.ask(&mut peer, request);
    for n in 0..100 {
        world.event(1, Event::Trade(common::trade(n)));
    }
    world.read(&mut peer);
    assert_eq!(peer.closed, Some((4408, "slow consumer")));
    assert_eq!(world.hub.counters().slow_disconnected, 1);
    world.hub.disconnect(peer.id);
    assert_eq!(world.hub.subscribers(), 0);
}

#[test]
fn trades_skip_and_send_a_gap() {
    let mut world = tight();
    let mut peer = world.connect(Encoding::Json);
    world.ask(&mut peer, subscribe("trades", &["AAPL"]));
    for n in 0..100 {
        world.event(1, Event::Trade(common::trade(n)));
    }
    world.read(&mut peer);
    let gap = peer.data.last().expect("a gap").clone();
    let received = peer.data.len() as u64 - 1;
    assert_eq!(gap["type"], "gap");
    assert_eq!(
        (gap["from"].as_u64(), gap["to"].as_u64()),
        (Some(received + 1), Some(100))
    );
    assert_eq!(gap["count"].as_u64(), Some(100 - received));
    world.event(1, Event::Trade(common::trade(100)));
    world.read(&mut peer);
    assert_eq!(prev_and_seq(peer.data.last().expect("a trade")), (100, 101));
    peer.verified();
}

#[test]
fn mbo_skips_and_sends_a_gap_followed_by_a_snapshot() {
    let mut world = tight();
    let mut peer = world.connect(Encoding::Json);
    world.ask(&mut peer, subscribe("mbo", &["AAPL"]));
    for n in 0..100 {
        world.add(1, n, Side::Bid, 10, 1);
    }
    world.read(&mut peer);
    let [.., gap, snapshot] = &peer.data[..] else {
        panic!("{:#?}", peer.data);
    };
    assert_eq!(
        (&gap["type"], &snapshot["reason"]),
        (&json!("gap"), &json!("slow"))
    );
    assert_eq!(peer.client.orders(1, Side::Bid).count(), 100);
    world.add(1, 100, Side::Bid, 10, 1);
    world.read(&mut peer);
    peer.verified();
}

#[test]
fn the_last_status_arrives_however_slow_its_subscriber_is() {
    let mut world = tight();
    let mut peer = world.connect(Encoding::Json);
    world.ask(&mut peer, subscribe("status", &["AAPL"]));
    for n in 0..100 {
        let action = if n == 99 {
            StatusAction::Close
        } else {
            StatusAction::Halt
        };
        world.event(1, Event::Status(status(action)));
    }
    world.read(&mut peer);
    let [.., gap, last] = &peer.data[..] else {
        panic!("{:#?}", peer.data);
    };
    assert_eq!((&gap["type"], &gap["to"]), (&json!("gap"), &json!(99)));
    assert_eq!(
        (&last["action"], prev_and_seq(last)),
        (&json!("close"), (99, 100))
    );
    world.event(1, Event::Status(status(StatusAction::Halt)));
    world.read(&mut peer);
    peer.verified();
}

#[test]
fn control_messages_are_never_dropped_and_who_does_not_read_them_is_closed() {
    let mut world = World::nasdaq_with(with_limits(|limits| {
        limits.control_messages_max = 10;
        limits.message_burst_max = 100;
    }));
    let mut peer = world.connect(Encoding::Json);
    for n in 0..9 {
        world.send(&peer, &json!({"op":"ping","id":n}));
    }
    assert_eq!(world.hub.counters().control_overflows, 0);
    world.send(&peer, &json!({"op":"ping","id":9}));
    world.read(&mut peer);
    assert_eq!(peer.count("pong"), 9);
    assert_eq!(peer.closed, Some((4408, "slow consumer")));
    assert_eq!(world.hub.counters().control_overflows, 1);
}

#[test]
fn a_shutdown_is_told_and_then_closes_with_1012() {
    let (mut world, mut peer) = connected();
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL"]));
    world.hub.shutdown(500, world.now);
    world.read(&mut peer);
    assert_eq!(
        *peer.last("shutdown"),
        json!({"type":"shutdown","in_ms":500})
    );
    world.add(1, 1, Side::Bid, 10, 100);
    world.tick(499 * MS);
    world.read(&mut peer);
    assert_eq!((peer.data.len(), peer.closed), (2, None));
    world.tick(MS);
    world.read(&mut peer);
    assert_eq!(peer.closed, Some((1012, "restart")));
    let mut late = world.connect(Encoding::Json);
    world.read(&mut late);
    assert_eq!(late.closed, Some((1012, "restart")));
}

#[test]
fn without_tokens_auth_is_answered_with_authenticated() {
    let (mut world, mut peer) = connected();
    world.ask(&mut peer, json!({"op":"auth","id":1,"token":"anything"}));
    assert_eq!(
        *peer.last("authenticated"),
        json!({"type":"authenticated","id":1})
    );
}

// ---- interest

#[test]
fn a_shard_publishes_a_book_only_while_somebody_is_interested() {
    let (mut world, mut peer) = connected();
    let id = world.shards[0].id(1);
    assert_eq!(world.shards[0].interest(id), 0);
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL"]));
    assert_eq!(world.shards[0].interest(id), 1);
    world.ask(&mut peer, subscribe("mbo", &["AAPL"]));
    assert_eq!(world.shards[0].interest(id), 3);
    world.hub.disconnect(peer.id);
    world.settle();
    assert_eq!(world.shards[0].interest(id), 3, "it may come back");
    world.tick(S);
    world.settle();
    assert_eq!(world.shards[0].interest(id), 0);
    assert_eq!(world.hub.counters().snapshots_requested, 2);
}

#[test]
fn a_book_that_is_left_and_joined_again_keeps_rising_numbers() {
    let (mut world, mut peer) = connected();
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL"]));
    world.add(1, 1, Side::Bid, 10, 100);
    world.read(&mut peer);
    world.ask(&mut peer, json!({"op":"unsubscribe","sub":1}));
    world.tick(2 * S);
    world.settle();
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL"]));
    assert!(prev_and_seq(&peer.data[2]).1 > prev_and_seq(&peer.data[1]).1);
    peer.verified();
}

// ---- HTTP

#[test]
fn a_query_gets_the_book_as_the_socket_would_send_it_with_venue_and_symbol() {
    let mut world = World::nasdaq();
    for (order, px) in [(1, 10), (2, 9), (3, 8)] {
        world.add(1, order, Side::Bid, px, 100);
    }
    let token = world.hub.request_book("XNAS", "AAPL", 2, world.now);
    assert_eq!(world.hub.poll_book(token), QueryState::Pending);
    world.settle();
    let QueryState::Ready(body) = world.hub.poll_book(token) else {
        panic!("no answer");
    };
    let book: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(book["type"], "snapshot");
    assert_eq!(
        (&book["venue"], &book["symbol"]),
        (&json!("XNAS"), &json!("AAPL"))
    );
    assert_eq!(
        book["bids"],
        json!([[10 * Price::SCALE, 100, 1], [9 * Price::SCALE, 100, 1]])
    );
    assert_eq!(
        world.hub.poll_book(token),
        QueryState::Unavailable,
        "it is over"
    );
    // Another one soon after costs the shard nothing.
    let token = world.hub.request_book("XNAS", "AAPL", 2, world.now);
    assert!(matches!(world.hub.poll_book(token), QueryState::Ready(_)));
    assert_eq!(world.hub.counters().snapshots_requested, 1);
}

#[test]
fn a_query_for_what_is_not_there_or_that_the_shard_does_not_answer_ends() {
    let mut world = World::nasdaq();
    for (venue, symbol) in [("XNAS", "NOPE"), ("XXXX", "AAPL")] {
        let token = world.hub.request_book(venue, symbol, 10, world.now);
        assert_eq!(world.hub.poll_book(token), QueryState::NotFound);
    }
    let token = world.hub.request_book("XNAS", "AAPL", 10, world.now);
    world.tick(2 * S);
    assert_eq!(world.hub.poll_book(token), QueryState::Unavailable);
    assert_eq!(world.hub.counters().queries_failed, 1);
}

#[test]
fn instruments_and_status_are_json() {
    let (mut world, mut peer) = connected();
    world.event(1, Event::Status(status(StatusAction::Trading)));
    world.ask(&mut peer, subscribe("mbp-10", &["*"]));
    let instruments: Value = serde_json::from_slice(&world.hub.instruments()).expect("JSON");
    assert_eq!(
        instruments["instruments"][0],
        json!({"venue":"XNAS","symbol":"AAPL","instrument_id":1,"channel":"channel-0",
            "round_lot_size":100,"is_test":false,"is_etp":false,"status":"trading"})
    );
    let status: Value = serde_json::from_slice(&world.hub.status()).expect("JSON");
    assert_eq!(
        (&status["subscribers"], &status["topics"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(status["counters"]["snapshots_sent"], 2);
}

#[test]
fn every_counter_has_a_sentence() {
    let world = World::nasdaq();
    let mut names = Vec::new();
    for (name, sentence, _) in world.hub.counters().each() {
        assert!(
            sentence.ends_with('.') && sentence.len() > 10,
            "{name}: {sentence}"
        );
        names.push(name);
    }
    assert!(names.contains(&"slow_conflated"));
}

// ---- corners

#[test]
fn a_snapshot_of_a_conflated_full_book_is_of_the_state_that_its_seq_names() {
    let (mut world, mut peer) = connected();
    let mut other = world.connect(Encoding::Json);
    let mut request = subscribe("mbp-full", &["AAPL"]);
    request["conflate_ms"] = json!(100);
    world.ask(&mut peer, request.clone());
    world.add(1, 1, Side::Bid, 10, 100);
    world.read(&mut peer);
    assert_eq!(peer.data.len(), 1);
    world.ask(&mut other, request);
    world.read(&mut peer);
    assert_eq!(
        prev_and_seq(&other.data[0]).1,
        prev_and_seq(&peer.data[1]).1
    );
    world.tick(S);
    world.read(&mut other);
    assert_eq!(other.data.len(), 1, "the snapshot has it already");
    world.add(1, 2, Side::Bid, 11, 100);
    world.tick(S);
    for peer in [&mut peer, &mut other] {
        world.read(peer);
        peer.verified();
    }
    assert_eq!(peer.raw.last(), other.raw.last());
}

#[test]
fn who_joins_while_a_book_is_lost_gets_nothing_before_it_is_known_again() {
    let (mut world, mut peer) = connected();
    let mut late = world.connect(Encoding::Json);
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL"]));
    world.hub.handle_overrun(0);
    world.send(&late, &subscribe("mbp-10", &["AAPL"]));
    world.read(&mut late);
    assert_eq!(late.data.len(), 0);
    world.settle();
    world.read(&mut late);
    assert_eq!(late.data.len(), 1);
    assert_eq!(late.data[0]["reason"], "subscribe");
}

#[test]
fn an_interval_that_ends_amid_an_event_is_made_up_for_when_the_event_is_complete() {
    let mut world = World::new(HubConfig::default(), &[("IEXG", false)]);
    world.shards[0].define(1, "AAPL");
    world.settle();
    let mut peer = world.connect(Encoding::Json);
    let request = json!({"op":"subscribe","schema":"mbp-10","symbols":["AAPL"],"conflate_ms":100});
    world.ask(&mut peer, request);
    let set = |px: i64, complete| Event::LevelSet {
        side: Side::Bid,
        px: Price(px),
        size: 100,
        complete,
    };
    world.event(1, set(1, true));
    world.event(1, set(2, false));
    world.tick(150 * MS);
    world.read(&mut peer);
    assert_eq!(peer.data.len(), 1, "the book isn't consistent");
    world.event(1, set(3, true));
    world.read(&mut peer);
    assert_eq!(peer.data.len(), 2);
    assert_eq!(peer.data[1]["bids"].as_array().map(Vec::len), Some(3));
    peer.verified();
}

#[test]
fn snapshots_that_another_hub_asked_for_change_nothing() {
    let (mut world, mut peer) = connected();
    world.add(1, 1, Side::Bid, 10, 100);
    world.send(&peer, &subscribe("mbo", &["AAPL"]));
    let id = world.shards[0].id(1);
    for kind in [BookKind::ByPrice, BookKind::ByOrder] {
        world.foreign_snapshot(id, kind);
    }
    world.carry_updates(0, usize::MAX);
    world.settle();
    world.read(&mut peer);
    for kind in [BookKind::ByPrice, BookKind::ByOrder] {
        world.foreign_snapshot(id, kind);
    }
    world.add(1, 2, Side::Bid, 10, 100);
    world.read(&mut peer);
    assert_eq!(peer.client.orders(1, Side::Bid).count(), 2);
    let kinds: Vec<_> = peer.data.iter().map(|message| &message["type"]).collect();
    assert_eq!(kinds, ["orders_snapshot", "orders"]);
    peer.verified();
}

#[test]
fn nobody_is_always_last() {
    let mut world = World::nasdaq();
    let mut peers: Vec<Peer> = (0..3).map(|_| world.connect(Encoding::Json)).collect();
    for peer in &mut peers {
        world.ask(peer, subscribe("mbp-10", &["AAPL"]));
    }
    while world.hub.poll_ready().is_some() {}
    let mut first = Vec::new();
    for n in 0..6 {
        world.add(1, n, Side::Bid, 10, 100);
        first.push(world.hub.poll_ready().expect("somebody").index());
        while world.hub.poll_ready().is_some() {}
    }
    for peer in &peers {
        assert_eq!(
            first
                .iter()
                .filter(|&&index| index == peer.id.index())
                .count(),
            2
        );
    }
}

#[test]
fn a_snapshot_that_differs_from_what_is_known_starts_the_book_anew() {
    let (mut world, mut peer) = connected();
    world.ask(&mut peer, subscribe("mbp-10", &["AAPL"]));
    let id = world.shards[0].id(1);
    let event = Event::Add {
        order_id: 1,
        side: Side::Bid,
        px: Price(Price::SCALE),
        size: 100,
    };
    world.shards[0].apply(id, &event);
    world.shards[0].ring.clear();
    world.foreign_snapshot(id, BookKind::ByPrice);
    world.settle();
    world.read(&mut peer);
    assert_eq!(peer.data[1]["reason"], "gap");
    assert_eq!(peer.data[1]["bids"], json!([[Price::SCALE, 100, 1]]));
}

#[test]
fn unsubscribing_amid_a_chunked_snapshot_ends_it() {
    let mut world = World::nasdaq_with(with_limits(|limits| limits.snapshot_orders_max = 10));
    for n in 0..25 {
        world.add(1, n, Side::Bid, 10, 100);
    }
    let mut peer = world.connect(Encoding::Json);
    world.read(&mut peer);
    world.send(&peer, &subscribe("mbo", &["AAPL"]));
    world.settle();
    world.read_some(&mut peer, 2);
    assert_eq!(peer.data.len(), 1, "the answer, and the first chunk");
    world.ask(&mut peer, json!({"op":"unsubscribe","sub":1}));
    assert_eq!((peer.data.len(), peer.count("unsubscribed")), (1, 1));
}
