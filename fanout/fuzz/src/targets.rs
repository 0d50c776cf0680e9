//! The bodies of the fuzz targets.

#![allow(clippy::expect_used, clippy::panic)] // A failure is what a target is for.

use serde_json::{Value, json};
use tickcast_fanout::protocol::{Op, Request};
use tickcast_fanout::{Encoding, HubConfig, Limits};

use crate::common::{MS, Peer, Random, World};

/// A target's name and body.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const ALL: [Target; 2] = [
    ("control_message", control_message),
    ("subscriber_ops", subscriber_ops),
];

/// Any text as a request, line by line: each line gets an answer that is JSON, nothing panics, and what was granted
/// is within the limits.
pub fn control_message(data: &[u8]) {
    let limits = Limits {
        message_burst_max: 1_000_000,
        topics_max: 8,
        subscriptions_max: 4,
        symbols_max: 16,
        ..Limits::default()
    };
    let config = HubConfig {
        limits,
        ..HubConfig::default()
    };
    let mut world = World::nasdaq_with(config);
    let mut peer = world.connect(Encoding::Json);
    world.read(&mut peer);
    for line in data.split(|&byte| byte == b'\n').take(64) {
        let Ok(text) = std::str::from_utf8(line) else {
            continue;
        };
        if let Ok(Request {
            op: Ok(Op::Subscribe(request)),
            ..
        }) = Request::parse(text, limits.symbols_max)
        {
            assert!(request.selection.symbols.len() <= limits.symbols_max);
        }
        let before = peer.control.len();
        world.hub.handle_text(peer.id, text, world.now);
        world.settle();
        world.read(&mut peer);
        if peer.closed.is_some() {
            assert_eq!(peer.control.last().expect("why")["fatal"], true);
            break;
        }
        assert!(peer.control.len() > before, "no answer to {text:?}");
        for answer in &peer.control[before..] {
            assert!(answer["type"].is_string());
        }
    }
    let status: Value = serde_json::from_slice(&world.hub.status()).expect("JSON");
    assert!(status["topics"].as_u64().expect("a number") <= 8);
    world.hub.disconnect(peer.id);
    let status: Value = serde_json::from_slice(&world.hub.status()).expect("JSON");
    assert_eq!(status["topics"], 0);
    assert_eq!(status["profiles"], 0);
}

/// Any order of operations: subscribers come, ask, read or don't, and go; the market moves, is lost and begins anew;
/// time passes.  No queue exceeds its bound, and all that is received is what the protocol permits.
pub fn subscriber_ops(data: &[u8]) {
    const SCHEMAS: [&str; 8] = [
        "mbo",
        "mbp-1",
        "mbp-5",
        "mbp-10",
        "mbp-full",
        "trades",
        "status",
        "definition",
    ];
    const QUEUE_BYTES_MAX: usize = 1_500;
    let config = HubConfig {
        limits: Limits {
            queue_bytes_max: QUEUE_BYTES_MAX,
            message_burst_max: 1_000_000,
            snapshot_orders_max: 3,
            mirror_linger_ns: 5 * MS,
            ..Limits::default()
        },
        ..HubConfig::default()
    };
    let mut world = World::nasdaq_with(config);
    let mut random = Random(1);
    let mut peers: Vec<Peer> = Vec::new();
    for pair in data.chunks_exact(2).take(2_000) {
        let (op, argument) = (pair[0], pair[1]);
        let which = usize::from(op >> 4) % peers.len().max(1);
        match op & 0x0f {
            0 if peers.len() < 6 => peers.push(world.connect(if argument & 1 == 0 {
                Encoding::Json
            } else {
                Encoding::FlatBuffers
            })),
            1 if !peers.is_empty() => {
                let peer = peers.swap_remove(which);
                peer.verified();
                world.hub.disconnect(peer.id);
            }
            2..5 if !peers.is_empty() => {
                let names = ["subscribe", "subscribe", "unsubscribe", "snapshot"];
                let name = names[usize::from(argument >> 6)];
                let symbols = ["AAPL", "MSFT", "A*", "*"][usize::from(argument >> 3 & 3)];
                let interval = [0, 10, 100][usize::from(op & 0x0f) - 2];
                let on_slow = ["conflate", "skip"][usize::from(argument >> 5 & 1)];
                let schema = SCHEMAS[usize::from(argument & 7)];
                let request = json!({"op": name, "schema": schema, "symbols": [symbols],
                    "conflate_ms": interval, "checksum": true, "on_slow": on_slow});
                world.send(&peers[which], &request);
            }
            5 if !peers.is_empty() => world.read_some(&mut peers[which], usize::from(argument)),
            6 => world.tick(u64::from(argument) * MS),
            7 => world.carry_requests(),
            8 => world.shards[0].serve(usize::from(argument)),
            9 => world.carry_updates(0, usize::from(argument)),
            10 => world.shards[0].set_stale(argument & 1 == 1),
            11 if argument == 0 => world.shards[0].clear(),
            12 if argument < 8 => {
                let lost = usize::from(argument).min(world.shards[0].ring.len());
                world.shards[0].ring.drain(..lost);
                world.hub.handle_overrun(0);
            }
            13 => {
                let number = u32::from(argument & 3) + 1;
                world.shards[0].define(
                    number,
                    ["AAPL", "MSFT", "AMZN", "IBM"][usize::from(argument >> 2 & 3)],
                );
            }
            _ => {
                random.0 ^= u64::from(argument);
                world.shards[0].random_event(&mut random, 2);
            }
        }
        for peer in &peers {
            assert!(world.hub.queued_bytes(peer.id) <= QUEUE_BYTES_MAX);
            world.hub.handle_pong(peer.id, world.now);
        }
    }
    world.settle();
    world.tick(2_000 * MS);
    world.settle();
    for peer in &mut peers {
        world.read(peer);
        peer.verified();
        assert_eq!(peer.closed, None);
        world.hub.disconnect(peer.id);
    }
    assert_eq!(world.hub.subscribers(), 0);
}
