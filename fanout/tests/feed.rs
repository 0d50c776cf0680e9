//! `feed`: the state of channels, as their subscribers see it.

#![allow(clippy::expect_used, clippy::panic)] // Helpers may fail a test.

mod common;

use common::{MS, Peer, S, World};
use serde_json::{Value, json};
use tickcast_book::Report;
use tickcast_book::report::{Histogram, LineReport, Reading, ReadingKind};
use tickcast_codecs::outbound::{OwnedBody, OwnedMessage, Schema, fb};
use tickcast_fanout::client::{Client, Event, Options};
use tickcast_fanout::{Encoding, HubConfig, Limits};

/// A channel that receives on two lines.
fn report() -> Report {
    let line = |name: &str, won| LineReport {
        name: name.to_owned(),
        state: "up",
        won,
        duplicate: 10,
    };
    let reading = |name, line, value| Reading {
        name,
        help: "Moves.",
        kind: ReadingKind::Counter,
        line,
        value,
    };
    Report {
        state: "synchronized",
        stale: false,
        session: "S000000001".to_owned(),
        next_sequence: 101,
        lines: vec![line("A", 60), line("B", 40)],
        gaps: Vec::new(),
        readings: vec![
            reading("messages", None, 100),
            reading("packets", Some(0), 70),
            reading("packets", Some(1), 71),
            reading("gaps_declared", None, 0),
        ],
        repair: Histogram {
            bounds_ns: &[1_000_000, 10_000_000],
            counts: vec![0, 0, 0],
            sum_ns: 0,
        },
    }
}

/// As the reactor does in each turn.
fn turn(world: &mut World, report: &Report) -> usize {
    let mut read = 0;
    while let Some(channel) = world.hub.poll_report() {
        world.hub.handle_report(channel, report);
        read += 1;
    }
    read
}

fn ask(world: &mut World, peer: &mut Peer, request: Value, report: &Report) {
    world.send(peer, &request);
    turn(world, report);
    world.read(peer);
}

fn everything() -> Value {
    json!({"op":"subscribe","schema":"feed","venue":"XNAS","symbols":"*"})
}

#[test]
fn who_subscribes_gets_the_whole_state_first() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    ask(&mut world, &mut peer, everything(), &report());
    assert_eq!(
        peer.last("subscribed")["symbols"],
        json!([{"symbol":"channel-0","instrument_id":0}])
    );
    let first = &peer.data[0];
    assert_eq!(first["type"], "feed");
    assert_eq!(first["schema"], "feed");
    assert_eq!(first["instrument_id"], 0);
    assert_eq!(first["flags"], 0xa0);
    assert_eq!(first["channel"], "channel-0");
    assert_eq!(first["state"], "synchronized");
    assert_eq!(first["stale"], false);
    assert_eq!(first["session"], "S000000001");
    assert_eq!(first["next_sequence"], 101);
    assert_eq!(
        first["lines"],
        json!([
            {"name":"A","state":"up","won":60,"duplicate":10,"counters":{"packets":70}},
            {"name":"B","state":"up","won":40,"duplicate":10,"counters":{"packets":71}}
        ])
    );
    assert_eq!(first["counters"], json!({"messages":100,"gaps_declared":0}));
    assert_eq!(
        first["repair"],
        json!({"count":0,"sum_ns":0,"bound_ns":10_000_000})
    );
    peer.verified();
}

#[test]
fn a_report_is_read_only_while_somebody_is_subscribed_and_at_most_each_125_ms() {
    let mut world = World::nasdaq();
    assert_eq!(turn(&mut world, &report()), 0);
    let mut peer = world.connect(Encoding::Json);
    world.send(&peer, &everything());
    assert_eq!(turn(&mut world, &report()), 1);
    let mut read = 0;
    for _ in 0..1_000 {
        world.tick(MS);
        read += turn(&mut world, &report());
    }
    assert_eq!(read, 8);
    assert!(world.hub.poll_timeout().expect("a time") <= world.now + 125 * MS);
    world.read(&mut peer);
    ask(
        &mut world,
        &mut peer,
        json!({"op":"unsubscribe","sub":1}),
        &report(),
    );
    world.tick(S);
    assert_eq!(turn(&mut world, &report()), 0);
    assert_eq!(world.hub.counters().reports, 9);
}

#[test]
fn nothing_is_told_while_nothing_changes() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    ask(&mut world, &mut peer, everything(), &report());
    for _ in 0..20 {
        world.tick(125 * MS);
        turn(&mut world, &report());
    }
    world.read(&mut peer);
    assert_eq!(peer.data.len(), 1);
}

#[test]
fn counts_are_told_at_most_every_250_ms_and_the_last_ones_always() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    let mut report = report();
    ask(&mut world, &mut peer, everything(), &report);
    for _ in 0..1_000 {
        world.tick(MS);
        report.next_sequence += 1;
        turn(&mut world, &report);
    }
    for _ in 0..300 {
        world.tick(MS);
        turn(&mut world, &report);
    }
    world.read(&mut peer);
    assert!((4..=6).contains(&peer.data.len()), "{}", peer.data.len());
    assert_eq!(peer.data.last().expect("one")["next_sequence"], 1_101);
    peer.verified();
}

#[test]
fn a_change_of_state_or_of_a_line_is_told_as_soon_as_it_is_read() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    let mut report = report();
    ask(&mut world, &mut peer, everything(), &report);
    let changes: [fn(&mut Report); 4] = [
        |report| report.lines[1].state = "down",
        |report| report.state = "gap_fill",
        |report| report.stale = true,
        |report| "S000000002".clone_into(&mut report.session),
    ];
    for (told, change) in (2..).zip(changes) {
        change(&mut report);
        world.tick(125 * MS);
        turn(&mut world, &report);
        world.read(&mut peer);
        assert_eq!(peer.data.len(), told);
    }
    let last = peer.data.last().expect("one");
    assert_eq!(last["lines"][1]["state"], "down");
    assert_eq!(last["stale"], true);
}

#[test]
fn a_gap_in_the_ring_is_told_in_the_same_turn() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    ask(&mut world, &mut peer, everything(), &report());
    world.tick(MS);
    world.shards[0].set_stale(true);
    world.settle();
    assert_eq!(
        turn(&mut world, &report()),
        1,
        "though it was read just now"
    );
    world.read(&mut peer);
    assert_eq!(peer.data.len(), 2);
    assert_eq!(
        (&peer.data[1]["stale"], &peer.data[1]["flags"]),
        (&json!(true), &json!(0x84))
    );
    assert_eq!(peer.last("state")["state"], "stale");
    world.shards[0].set_stale(false);
    world.settle();
    turn(&mut world, &report());
    world.read(&mut peer);
    assert_eq!(peer.data[2]["stale"], false);
    peer.verified();
}

#[test]
fn symbols_are_names_of_channels_or_patterns_of_them_or_their_numbers() {
    let mut world = World::new(
        HubConfig::default(),
        &[("XNAS", true), ("IEXG", false), ("IEXG", true)],
    );
    let mut peer = world.connect(Encoding::Json);
    let granted = |peer: &Peer| -> Vec<u64> {
        let symbols = peer.last("subscribed")["symbols"]
            .as_array()
            .expect("a list");
        symbols
            .iter()
            .map(|one| one["instrument_id"].as_u64().expect("a number"))
            .collect()
    };
    let iex =
        |symbols: Value| json!({"op":"subscribe","schema":"feed","venue":"IEXG","symbols":symbols});
    ask(&mut world, &mut peer, iex(json!("*")), &report());
    assert_eq!(granted(&peer), [65_536, 131_072]);
    ask(
        &mut world,
        &mut peer,
        iex(json!(["channel-2", "channel-0"])),
        &report(),
    );
    assert_eq!(granted(&peer), [131_072]);
    assert_eq!(
        peer.last("subscribed")["failed"],
        json!([{"symbol":"channel-0","code":"unknown_symbol"}]),
        "it is another venue's"
    );
    ask(&mut world, &mut peer, iex(json!(["channel-*"])), &report());
    assert_eq!(granted(&peer), [65_536, 131_072]);
    let by_number =
        json!({"op":"subscribe","schema":"feed","stype":"instrument_id","symbols":[0, 65_536, 1]});
    ask(&mut world, &mut peer, by_number, &report());
    assert_eq!(granted(&peer), [0, 65_536]);
    assert_eq!(peer.last("subscribed")["failed"][0]["symbol"], "1");
    ask(&mut world, &mut peer, json!({"op":"list"}), &report());
    let listed = peer.last("list").to_string();
    assert!(listed.contains(r#""symbol":"channel-0""#), "{listed}");
    ask(
        &mut world,
        &mut peer,
        json!({"op":"unsubscribe","schema":"feed","venue":"IEXG","symbols":"*"}),
        &report(),
    );
    assert_eq!(peer.last("unsubscribed")["topics"], 2);
    ask(
        &mut world,
        &mut peer,
        json!({"op":"unsubscribe","schema":"feed","venue":"XNAS","symbols":["channel-0"]}),
        &report(),
    );
    assert_eq!(peer.last("unsubscribed")["topics"], 1);
    world.tick(S);
    assert_eq!(turn(&mut world, &report()), 0);
}

#[test]
fn instruments_defined_later_dont_join_a_pattern_of_channels() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    ask(&mut world, &mut peer, everything(), &report());
    world.shards[0].define(3, "AMZN");
    world.settle();
    world.read(&mut peer);
    assert_eq!(peer.count("subscribed"), 1);
    let status: Value = serde_json::from_slice(&world.hub.status()).expect("JSON");
    assert_eq!(status["topics"], 1);
}

#[test]
fn both_encodings_say_the_same_and_the_client_understands_them() {
    let mut world = World::nasdaq();
    let mut text = world.connect(Encoding::Json);
    let mut binary = world.connect(Encoding::FlatBuffers);
    let mut report = report();
    report.gaps = vec![(5, 9), (11, 11)];
    report.repair.counts = vec![3, 1, 1];
    report.repair.sum_ns = 1 << 60;
    ask(&mut world, &mut text, everything(), &report);
    ask(&mut world, &mut binary, everything(), &report);
    world.read(&mut text);
    let frame = &binary.raw[0];
    let decoded = fb::messages(frame)
        .map(|message| OwnedMessage::try_from(message.expect("a message")).expect("known"))
        .next()
        .expect("one");
    let mut client = Client::new(Options::default());
    let events = client.handle_text(std::str::from_utf8(&text.raw[0]).expect("UTF-8"));
    let [Event::Data(parsed)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(parsed.body, decoded.body);
    assert_eq!(parsed.header.schema, Schema::Feed);
    let OwnedBody::Feed(feed) = &parsed.body else {
        panic!("{parsed:?}");
    };
    assert_eq!(feed.gaps, [(5, 9), (11, 11)]);
    assert_eq!(
        (feed.repair.count, feed.repair.p50_ns, feed.repair.p99_ns),
        (5, Some(1_000_000), None)
    );
    text.verified();
    binary.verified();
}

#[test]
fn missing_ranges_that_overlap_are_a_violation() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    let mut report = report();
    report.gaps = vec![(5, 9), (9, 11)];
    ask(&mut world, &mut peer, everything(), &report);
    assert_eq!(peer.client.counts().violations["body"], 1);
}

#[test]
fn who_joins_later_gets_the_state_of_now_and_a_snapshot_changes_nothing_for_others() {
    let mut world = World::nasdaq();
    let mut first = world.connect(Encoding::Json);
    let mut report = report();
    ask(&mut world, &mut first, everything(), &report);
    report.next_sequence = 500;
    world.tick(250 * MS);
    turn(&mut world, &report);
    let mut second = world.connect(Encoding::Json);
    ask(&mut world, &mut second, everything(), &report);
    assert_eq!(second.data[0]["next_sequence"], 500);
    assert_eq!(second.data[0]["flags"], 0xa0);
    report.next_sequence = 600;
    world.tick(250 * MS);
    turn(&mut world, &report);
    world.read(&mut first);
    world.read(&mut second);
    assert_eq!(first.raw.last(), second.raw.last(), "encoded once");
    // All left; who comes now doesn't get what was then.
    for peer in [&mut first, &mut second] {
        world.ask(peer, json!({"op":"unsubscribe","sub":1}));
    }
    report.next_sequence = 700;
    let mut third = world.connect(Encoding::Json);
    ask(&mut world, &mut third, everything(), &report);
    assert_eq!(third.data.len(), 1);
    assert_eq!(third.data[0]["next_sequence"], 700);
    for peer in [&first, &second, &third] {
        peer.verified();
    }
}

#[test]
fn a_slow_subscriber_gets_the_newest_state() {
    let limits = Limits {
        queue_bytes_max: 2_000,
        ..Limits::default()
    };
    let mut world = World::nasdaq_with(HubConfig {
        limits,
        ..HubConfig::default()
    });
    let mut peer = world.connect(Encoding::Json);
    let mut report = report();
    ask(&mut world, &mut peer, everything(), &report);
    for _ in 0..50 {
        world.tick(250 * MS);
        report.next_sequence += 1;
        turn(&mut world, &report);
    }
    world.read(&mut peer);
    assert!(peer.data.len() < 10);
    assert_eq!(peer.data.last().expect("one")["next_sequence"], 151);
    assert!(peer.client.counts().gaps > 0);
    peer.verified();
}

#[test]
fn an_overrun_of_the_ring_is_no_gap_of_the_feed() {
    let mut world = World::nasdaq();
    let mut peer = world.connect(Encoding::Json);
    ask(&mut world, &mut peer, everything(), &report());
    world.hub.handle_overrun(0);
    world.settle();
    world.read(&mut peer);
    assert_eq!(peer.data.len(), 1);
}
