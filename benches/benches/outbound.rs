//! What goes to subscribers: snapshots of books, and messages in JSON and FlatBuffers.
//!
//! Of a natural market's books: a whole book as ten levels a side (`mbp-10`) and as all its orders (`mbo`), and the update that one
//! venue message leads to.
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tickcast_benches::Stream;
use tickcast_book::{BookKind, Limits, Market, Mic, NoUpdates, Update, UpdateSink};
use tickcast_codecs::Side;
use tickcast_codecs::outbound::{
    Body, Message, MessageHeader, OrderAction, OrderUpdate, Reason, Schema, fb, json,
};
use tickcast_replay::exchange::MarketConfig;

const INSTRUMENTS: u16 = 300;
const MESSAGES: usize = 100_000;

fn market() -> Market {
    let mut stream = Stream::new(MarketConfig {
        instruments: INSTRUMENTS,
        ..MarketConfig::default()
    });
    let mut market = Market::new(Mic::from_padded(b"XNAS"), 0, &Limits::default());
    for (header, event) in &stream.events(MESSAGES) {
        market.apply(header, event, &mut NoUpdates);
    }
    market
}

/// Drops updates where they can't be optimised away.
struct Told;

impl UpdateSink for Told {
    fn update(&mut self, update: &Update) {
        black_box(update);
    }
}

fn snapshots(criterion: &mut Criterion) {
    let market = market();
    let instruments = 1..=u32::from(INSTRUMENTS);
    let mut group = criterion.benchmark_group("snapshot");
    group.throughput(Throughput::Elements(u64::from(INSTRUMENTS)));
    group.bench_function("mbp-10, a book", |bencher| {
        bencher.iter(|| {
            for instrument_id in instruments.clone() {
                black_box(market.book_snapshot(instrument_id, 10));
            }
        });
    });
    group.throughput(Throughput::Elements(market.order_count() as u64));
    group.bench_function("mbo, an order", |bencher| {
        bencher.iter(|| {
            for instrument_id in instruments.clone() {
                market.snapshot(instrument_id, BookKind::ByOrder, &mut Told);
            }
        });
    });
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let market = market();
    let book = market.book_snapshot(1, 10);
    let resting = market.book(1);
    let orders: Vec<OrderUpdate> = [Side::Bid, Side::Ask]
        .into_iter()
        .flat_map(|side| resting.orders(side))
        .map(|order| OrderUpdate {
            action: OrderAction::Add,
            order_id: order.order_id,
            side: order.side,
            px: order.px,
            size: order.size,
        })
        .collect();
    let reason = Reason::Subscribe;
    let checksum = Some(book.checksum());
    let bodies = [
        (
            Schema::Mbp10,
            "update",
            Body::Update {
                bids: &book.bids[..1],
                asks: &[],
                checksum,
                events: 1,
            },
        ),
        (
            Schema::Mbp10,
            "snapshot",
            Body::Snapshot {
                reason,
                bids: &book.bids,
                asks: &book.asks,
                checksum,
            },
        ),
        (
            Schema::Mbo,
            "update",
            Body::Orders {
                orders: &orders[..1],
            },
        ),
        (
            Schema::Mbo,
            "snapshot",
            Body::OrderSnapshot {
                reason,
                orders: &orders,
            },
        ),
    ];
    let mut group = criterion.benchmark_group("encode");
    let mut out = Vec::with_capacity(1 << 20);
    let mut encoder = fb::Encoder::new();
    for (schema, what, body) in bodies {
        let message = Message {
            header: MessageHeader {
                schema,
                instrument_id: 1,
                seq: 123_456,
                prev: 123_455,
                ts_event: 1_767_623_400_123_456_789,
                ts_recv: 1_767_623_400_123_460_000,
                ts_out: 1_767_623_400_123_470_000,
                flags: 0,
                sequence: Some((9_876_543, 9_876_543)),
            },
            body,
        };
        let name = format!("{} {what}", schema.name());
        group.bench_function(format!("{name}, JSON"), |bencher| {
            bencher.iter(|| {
                out.clear();
                json::encode(black_box(&message), false, &mut out);
                out.len()
            });
        });
        group.bench_function(format!("{name}, FlatBuffers"), |bencher| {
            bencher.iter(|| {
                out.clear();
                encoder.encode(black_box(&message), &mut out);
                out.len()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = snapshots, encode
}
criterion_main!(benches);
