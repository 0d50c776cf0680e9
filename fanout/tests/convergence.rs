//! Whatever subscribers do and however slowly they read, each ends with the market's book, every chain holds, every
//! checksum fits, and no queue exceeds its bound.

#![allow(clippy::expect_used, clippy::panic)] // Helpers may fail a test.

mod common;

use common::{MS, Peer, Random, S, World};
use serde_json::json;
use tickcast_codecs::outbound::Schema;
use tickcast_codecs::types::Side;
use tickcast_fanout::{Counters, Encoding, HubConfig, Limits};

const SCHEMAS: [&str; 11] = [
    "mbo",
    "mbp-1",
    "mbp-5",
    "mbp-10",
    "mbp-20",
    "mbp-50",
    "mbp-full",
    "trades",
    "status",
    "imbalance",
    "definition",
];

/// A subscriber of the run, and how it behaves.
struct Runner {
    peer: Peer,
    /// Reads nothing before this time.
    sleeps_until: u64,
    /// Topics that must be equal to the market's at the end: it wanted snapshots of them.
    books: Vec<(Schema, u32)>,
}

fn same_levels(world: &World, runner: &Runner, schema: Schema, id: u32) {
    let book = world.shards[(id >> 16) as usize].market.book(id);
    let depth = schema.depth().expect("a book by price");
    let (bids, asks) = runner
        .peer
        .client
        .levels(schema, id)
        .unwrap_or_else(|| panic!("no book {schema:?} {id}"));
    for (side, have) in [(Side::Bid, bids), (Side::Ask, asks)] {
        let want: Vec<_> = book
            .levels(side)
            .take(depth)
            .map(|level| (level.px, level.size, level.count))
            .collect();
        let have: Vec<_> = have
            .iter()
            .map(|level| (level.px, level.size, level.count))
            .collect();
        assert_eq!(have, want, "{schema:?} {id} {side:?}");
    }
}

fn same_orders(world: &World, runner: &Runner, id: u32) {
    let book = world.shards[(id >> 16) as usize].market.book(id);
    for side in [Side::Bid, Side::Ask] {
        let want: Vec<_> = book
            .orders(side)
            .map(|order| (order.order_id, order.px, order.size))
            .collect();
        let have: Vec<_> = runner
            .peer
            .client
            .orders(id, side)
            .map(|order| (order.order_id, order.px, order.size))
            .collect();
        assert_eq!(have, want, "mbo {id} {side:?}");
    }
}

/// What a run is allowed to do.
#[derive(Clone, Copy)]
struct Plan {
    subscribers: usize,
    steps: u64,
    queue_bytes_max: usize,
    overruns: bool,
    sessions: bool,
    resyncs: bool,
}

fn run(seed: u64, plan: Plan) -> Counters {
    println!("seed {seed}");
    let mut random = Random(seed);
    let limits = Limits {
        queue_bytes_max: plan.queue_bytes_max,
        snapshot_orders_max: 7,
        mirror_linger_ns: 20 * MS,
        messages_per_second_max: 1_000,
        message_burst_max: 1_000,
        ..Limits::default()
    };
    let config = HubConfig {
        limits,
        ..HubConfig::default()
    };
    let mut world = World::new(config, &[("XNAS", true), ("IEXG", false)]);
    for channel in 0..2 {
        for (number, symbol) in [(1, "AAPL"), (2, "AMZN"), (3, "MSFT")] {
            world.shards[channel].define(number, symbol);
        }
    }
    let mut runners: Vec<Runner> = Vec::new();
    for step in 0..plan.steps {
        // New ones come all the time, but the last ones have time to subscribe.
        if step + 500 < plan.steps && runners.len() < plan.subscribers && random.one_in(5) {
            let encoding = *random.pick(&[Encoding::Json, Encoding::FlatBuffers]);
            runners.push(Runner {
                peer: world.connect(encoding),
                sleeps_until: 0,
                books: Vec::new(),
            });
        }
        for runner in &mut runners {
            if random.one_in(40) {
                let schema = *random.pick(&SCHEMAS);
                let venue = if schema == "mbo" { 0 } else { random.index(2) };
                let number = u32::try_from(random.below(3)).expect("small") + 1;
                let symbol = ["AAPL", "AMZN", "MSFT"][number as usize - 1];
                let topic = (
                    Schema::from_name(schema).expect("a schema"),
                    u32::try_from(venue).expect("small") << 16 | number,
                );
                runner.books.retain(|known| *known != topic);
                let venue = ["XNAS", "IEXG"][venue];
                let request = match random.below(6) {
                    0 => {
                        json!({"op":"unsubscribe","schema":schema,"venue":venue,"symbols":[symbol]})
                    }
                    1 => json!({"op":"snapshot","schema":schema,"venue":venue,"symbols":[symbol]}),
                    _ => {
                        runner.books.push(topic);
                        json!({"op":"subscribe","schema":schema,"venue":venue,"symbols":[symbol],
                            "conflate_ms": random.pick(&[0, 0, 10, 50, 100, 250, 1000]),
                            "checksum": random.one_in(2), "decimal": random.one_in(3),
                            "on_slow": random.pick(&["conflate", "conflate", "skip"])})
                    }
                };
                world.send(&runner.peer, &request);
            }
        }
        for channel in 0..2 {
            for _ in 0..random.below(6) {
                world.shards[channel].random_event(&mut random, 3);
            }
            if random.one_in(150) {
                let stale = random.one_in(2);
                world.shards[channel].set_stale(stale);
            }
            if plan.resyncs && random.one_in(100) {
                world.shards[channel].recover(|shard| {
                    for _ in 0..random.below(30) {
                        shard.random_event(&mut random, 3);
                    }
                });
            }
            if plan.sessions && random.one_in(400) {
                world.shards[channel].clear();
            }
            if random.one_in(2) {
                world.carry_requests();
            }
            let requests = random.index(3);
            world.shards[channel].serve(requests);
            if plan.overruns && random.one_in(200) {
                let lost = random.index(30).min(world.shards[channel].ring.len());
                world.shards[channel].ring.drain(..lost);
                world.hub.handle_overrun(channel);
            }
            let updates = random.index(12);
            world.carry_updates(channel, updates);
        }
        world.tick(random.below(8) * MS);
        while let Some(id) = world.hub.poll_ready() {
            let Some(runner) = runners.iter_mut().find(|runner| runner.peer.id == id) else {
                continue;
            };
            world.hub.handle_pong(id, world.now);
            if runner.sleeps_until <= world.now {
                let count = random.index(100);
                world.read_some(&mut runner.peer, count);
            }
        }
        for runner in &mut runners {
            if random.one_in(60) {
                runner.sleeps_until = world.now + random.below(2_000) * MS;
            }
            assert!(
                world.hub.queued_bytes(runner.peer.id) <= plan.queue_bytes_max,
                "step {step}"
            );
        }
        if random.one_in(100) && runners.len() > 1 {
            let gone = runners.swap_remove(random.index(runners.len()));
            gone.peer.verified();
            world.hub.disconnect(gone.peer.id);
        }
    }
    // The last event of a level venue may leave its book amid an event: one more of each completes it.
    for number in 1..=3 {
        let id = world.shards[1].id(number);
        world.shards[1].apply(
            id,
            &tickcast_codecs::event::Event::LevelSet {
                side: Side::Bid,
                px: tickcast_codecs::Price(1),
                size: 1,
                complete: true,
            },
        );
    }
    world.settle();
    world.tick(2 * S);
    world.settle();
    let mut books = 0;
    for runner in &mut runners {
        world.read(&mut runner.peer);
        runner.peer.verified();
        assert_eq!(runner.peer.closed, None);
    }
    for runner in &runners {
        for &(schema, id) in &runner.books {
            if schema == Schema::Mbo {
                same_orders(&world, runner, id);
                books += 1;
            } else if schema.depth().is_some() {
                same_levels(&world, runner, schema, id);
                books += 1;
            }
        }
    }
    let counters = world.hub.counters();
    println!(
        "{} subscribers, {books} books compared, {} messages encoded, {} written, {} conflated, {} skipped, {} gaps",
        runners.len(),
        counters.messages_encoded,
        counters.messages_transmitted,
        counters.slow_conflated,
        counters.slow_skipped,
        counters.gaps_sent,
    );
    assert!(books > 0);
    counters
}

#[test]
fn every_subscriber_ends_with_the_markets_book() {
    for seed in 1..=8 {
        let counters = run(
            seed,
            Plan {
                subscribers: [1, 5, 20, 50][usize::try_from(seed % 4).expect("small")],
                steps: 2_000,
                queue_bytes_max: 256 * 1024,
                overruns: false,
                sessions: false,
                resyncs: false,
            },
        );
        assert_eq!(counters.overruns, 0);
    }
}

#[test]
fn slow_subscribers_with_small_queues_end_with_the_markets_book() {
    for seed in 101..=108 {
        let counters = run(
            seed,
            Plan {
                subscribers: 20,
                steps: 2_000,
                queue_bytes_max: [600, 2_000, 8_000][usize::try_from(seed % 3).expect("small")],
                overruns: false,
                sessions: false,
                resyncs: false,
            },
        );
        // The run is worth something: it was slow in every way.
        assert!(counters.slow_conflated > 0 && counters.slow_skipped > 0 && counters.gaps_sent > 0);
    }
}

#[test]
fn overruns_and_new_sessions_are_told_and_repaired() {
    for seed in 201..=208 {
        let counters = run(
            seed,
            Plan {
                subscribers: 15,
                steps: 2_000,
                queue_bytes_max: 4_000,
                overruns: true,
                sessions: true,
                resyncs: false,
            },
        );
        assert!(counters.overruns > 0);
    }
}

#[test]
fn books_replaced_by_snapshots_are_told_and_end_equal() {
    for seed in 301..=316 {
        let counters = run(
            seed,
            Plan {
                subscribers: 15,
                steps: 2_000,
                queue_bytes_max: [600, 4_000, 256 * 1024]
                    [usize::try_from(seed % 3).expect("small")],
                overruns: seed % 2 == 0,
                sessions: seed % 4 < 2,
                resyncs: true,
            },
        );
        assert!(counters.resyncs > 0);
    }
}
