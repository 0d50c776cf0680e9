//! Decode, and decode and book, of TotalView-ITCH 5.0: nanoseconds a message.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tickcast_benches::{Count, events, itch_messages};
use tickcast_book::{Limits, Market, Mic, NoUpdates};
use tickcast_codecs::event::{Normalizer as _, Origin};
use tickcast_codecs::protocol::{Normalizer, Protocol};

const MESSAGES: usize = 200_000;

fn pipeline(criterion: &mut Criterion) {
    let messages = itch_messages(MESSAGES);
    let events = events(&messages);
    let mut group = criterion.benchmark_group("itch50");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    group.sample_size(20);
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let mut normalizer = Normalizer::new(Protocol::MoldUdp64Itch50, 0);
            let mut count = Count::default();
            for message in &messages {
                let _ = normalizer.message(black_box(message), Origin::default(), &mut count);
            }
            count.0
        });
    });
    group.bench_function("book", |bencher| {
        bencher.iter(|| {
            let mut market = Market::new(Mic::from_padded(b"XNAS"), 0, &Limits::default());
            for (header, event) in &events {
                market.apply(header, black_box(event), &mut NoUpdates);
            }
            market.order_count()
        });
    });
    group.finish();
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
