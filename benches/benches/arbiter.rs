//! The arbiter beside what it stands between: nanoseconds a message of packets of about thirty.
//!
//! All in one run, so that they can be compared: the walk over a packet, its check, decoding, decoding and books;
//! then a whole channel with a sink that counts, and a whole shard, of one line and of two.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main,
};
use std::hint::black_box;
use std::time::Duration;

use tickcast_benches::{Count, Events, itch_messages, packets};
use tickcast_book::{Limits, Market, Mic, NoUpdates};
use tickcast_codecs::event::{Normalizer as _, Origin};
use tickcast_codecs::moldudp64::DownstreamPacket;
use tickcast_codecs::protocol::{Normalizer, Packet, Protocol};
use tickcast_feed::{ArbiterConfig, Channel, RecoveryConfig, Shard, ShardConfig, Source};

const MESSAGES: usize = 120_000;
const PROTOCOL: Protocol = Protocol::MoldUdp64Itch50;

/// Packets as they reach the receiver: the line, and the payload.
type Arrivals = Vec<(u8, Vec<u8>)>;

/// One line in order.
fn one(a: &[Vec<u8>]) -> Arrivals {
    a.iter().map(|packet| (0, packet.clone())).collect()
}

/// The second line brings each packet some packets later.
fn two(a: &[Vec<u8>], b: &[Vec<u8>], lost: impl Fn(usize) -> bool) -> Arrivals {
    const LAG: usize = 3;
    let mut arrivals = Vec::new();
    let mut behind = 0;
    for (n, packet) in a.iter().enumerate() {
        if !lost(n) {
            arrivals.push((0, packet.clone()));
        }
        while behind < b.len() && behind * a.len() + LAG * b.len() <= (n + 1) * b.len() {
            arrivals.push((1, b[behind].clone()));
            behind += 1;
        }
    }
    arrivals.extend(b[behind..].iter().map(|packet| (1, packet.clone())));
    arrivals
}

fn channel(lines: u8) -> Channel {
    let arbiter = ArbiterConfig {
        lines,
        ..ArbiterConfig::default()
    };
    Channel::new(PROTOCOL, 0, arbiter, RecoveryConfig::default(), 0)
}

fn shard(lines: u8) -> Shard<NoUpdates> {
    let mut config = ShardConfig::new(PROTOCOL, 0, "XNAS");
    config.arbiter.lines = lines;
    Shard::new(&config, NoUpdates, (), 0)
}

fn arrive(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, lines: u8, arrivals: &Arrivals) {
    group.bench_function(format!("channel/{name}"), |bencher| {
        bencher.iter_batched_ref(
            || channel(lines),
            |channel| {
                let mut count = Count::default();
                for (line, payload) in arrivals {
                    let source = Source::Line(*line);
                    channel
                        .handle_packet(0, source, black_box(payload), 0, &mut count)
                        .unwrap();
                }
                assert_eq!(channel.arbiter().next_sequence(), MESSAGES as u64 + 1);
                count.0
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function(format!("shard/{name}"), |bencher| {
        bencher.iter_batched_ref(
            || shard(lines),
            |shard| {
                for (line, payload) in arrivals {
                    let source = Source::Line(*line);
                    shard
                        .handle_packet(0, source, black_box(payload), 0)
                        .unwrap();
                }
                shard.market().order_count()
            },
            BatchSize::PerIteration,
        );
    });
}

fn arbiter(criterion: &mut Criterion) {
    let messages = itch_messages(MESSAGES);
    let (a, b) = (packets(&messages, 1_100), packets(&messages, 1_000));
    let mut group = criterion.benchmark_group("arbiter");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    group.bench_function("walk", |bencher| {
        bencher.iter(|| {
            let packets = a
                .iter()
                .map(|packet| DownstreamPacket::parse(black_box(packet)).unwrap());
            packets
                .flat_map(|packet| packet.blocks())
                .map(|message| message.len())
                .sum::<usize>()
        });
    });
    group.bench_function("check", |bencher| {
        bencher.iter(|| {
            let packets = a
                .iter()
                .map(|packet| Packet::parse(PROTOCOL, black_box(packet)).unwrap());
            packets.map(|packet| u64::from(packet.count())).sum::<u64>()
        });
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let mut normalizer = Normalizer::new(PROTOCOL, 0);
            let mut count = Count::default();
            for message in &messages {
                let _ = normalizer.message(black_box(message), Origin::default(), &mut count);
            }
            count.0
        });
    });
    group.bench_function("decode and book", |bencher| {
        bencher.iter_batched_ref(
            || Market::new(Mic::from_padded(b"XNAS"), 0, &Limits::default()),
            |market| {
                let mut normalizer = Normalizer::new(PROTOCOL, 0);
                for message in &messages {
                    let mut events = Events(market);
                    let _ = normalizer.message(black_box(message), Origin::default(), &mut events);
                }
                market.order_count()
            },
            BatchSize::PerIteration,
        );
    });
    arrive(&mut group, "one line", 1, &one(&a));
    arrive(
        &mut group,
        "two lines, same packets",
        2,
        &two(&a, &a, |_| false),
    );
    arrive(
        &mut group,
        "two lines, other packets",
        2,
        &two(&a, &b, |_| false),
    );
    arrive(
        &mut group,
        "two lines, 1 % lost on the first",
        2,
        &two(&a, &b, |n| n % 100 == 50),
    );
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = arbiter
}
criterion_main!(benches);
