//! Books of each shape: nanoseconds a message of a market that goes on, with nobody watching.
//!
//! *market* applies events that were decoded before, *shard* takes packets of about thirty messages: arbitration, decoding and
//! books.  Only that is timed, not the market that invents the messages; books are full before.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tickcast_benches::{Stream, payloads};
use tickcast_book::{Limits, Market, Mic, NoUpdates};
use tickcast_codecs::protocol::{Packet, Protocol};
use tickcast_feed::{Shard, ShardConfig, Source};
use tickcast_replay::exchange::MarketConfig;

/// Messages that are timed at once.
const CHUNK: usize = 50_000;
const PACKET_BYTES_MAX: usize = 1_000;
const PROTOCOL: Protocol = Protocol::MoldUdp64Itch50;

fn shapes() -> [(&'static str, MarketConfig); 5] {
    [
        ("full size", MarketConfig::full_size()),
        ("hot", MarketConfig::single_hot()),
        ("deep", MarketConfig::deep()),
        ("one order a level", MarketConfig::one_order_a_level()),
        ("one level", MarketConfig::one_level()),
    ]
}

/// The time of `count` chunks.
fn time(count: u64, mut chunk: impl FnMut() -> Duration) -> Duration {
    (0..count).map(|_| chunk()).sum()
}

fn shard(protocol: Protocol) -> Shard<NoUpdates> {
    Shard::new(&ShardConfig::new(protocol, 0, "XNAS"), NoUpdates, (), 0)
}

fn receive(shard: &mut Shard<NoUpdates>, packets: &[Vec<u8>]) -> Duration {
    let began = Instant::now();
    for packet in packets {
        shard
            .handle_packet(0, Source::Line(0), black_box(packet), 0)
            .unwrap();
    }
    began.elapsed()
}

fn books(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("books");
    group.throughput(Throughput::Elements(CHUNK as u64));
    for (name, config) in shapes() {
        // Criterion calls a closure several times: the books go on from call to call.
        let mut stream = Stream::new(config);
        let mut market = Market::new(Mic::from_padded(b"XNAS"), 0, &Limits::default());
        let mut apply = |stream: &mut Stream| {
            let events = stream.events(CHUNK);
            let began = Instant::now();
            for (header, event) in &events {
                market.apply(header, black_box(event), &mut NoUpdates);
            }
            began.elapsed()
        };
        while !stream.is_open() {
            apply(&mut stream);
        }
        group.bench_function(BenchmarkId::new("market", name), |bencher| {
            bencher.iter_custom(|count| time(count, || apply(&mut stream)));
        });
        assert_eq!(market.counters().unknown_order, 0);
        drop(market);

        let mut stream = Stream::new(config);
        let mut shard = shard(PROTOCOL);
        let mut handle = |stream: &mut Stream| {
            let packets = stream.packets(CHUNK, PACKET_BYTES_MAX);
            receive(&mut shard, &packets)
        };
        while !stream.is_open() {
            handle(&mut stream);
        }
        group.bench_function(BenchmarkId::new("shard", name), |bencher| {
            bencher.iter_custom(|count| time(count, || handle(&mut stream)));
        });
        assert_eq!(shard.market().counters().unknown_order, 0);
    }
    // Books by price, of a recorded day.
    let protocol = Protocol::IexTpDeep10;
    let recorded = payloads("iex/deep10_2017-04-25_session12_first50000.pcap.gz");
    let count = |payload| Packet::parse(protocol, payload).map_or(0, |packet| packet.count());
    let messages: u64 = recorded
        .iter()
        .map(|payload| u64::from(count(payload)))
        .sum();
    group.throughput(Throughput::Elements(messages));
    group.bench_function(BenchmarkId::new("shard", "recorded DEEP"), |bencher| {
        bencher.iter_custom(|count| time(count, || receive(&mut shard(protocol), &recorded)));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = books
}
criterion_main!(benches);
