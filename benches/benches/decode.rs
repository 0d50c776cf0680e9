//! Decoding of each protocol into events that a sink counts: nanoseconds a message.
//!
//! *walk* steps over the messages; the others check each packet and map its messages.  ITCH 5.0 is the generated market's, DEEP
//! and TOPS 1.6 are recorded captures; DEEP+ is four recorded packets of one message over and over, and TOPS 1.5, of which there is
//! no recording, the quotes of that of TOPS 1.6 under its number.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tickcast_benches::{Count, itch_messages, packets, payloads};
use tickcast_codecs::binaryfile::{self, Messages};
use tickcast_codecs::event::{Normalizer as _, Origin};
use tickcast_codecs::protocol::{Normalizer, Packet, Protocol};
use tickcast_codecs::tops;

const MESSAGES: usize = 200_000;
/// A packet of one message is decoded so often.
const TIMES: usize = 1_000;

fn decode_packets(protocol: Protocol, payloads: &[Vec<u8>]) -> u64 {
    let mut normalizer = Normalizer::new(protocol, 0);
    let mut count = Count::default();
    for payload in payloads {
        if let Ok(packet) = Packet::parse(protocol, black_box(payload)) {
            for message in packet.messages() {
                let _ = normalizer.message(message, Origin::default(), &mut count);
            }
        }
    }
    count.0
}

fn decode_file(bytes: &[u8]) -> u64 {
    let mut normalizer = Normalizer::new(Protocol::BinaryFileItch50, 0);
    let mut count = Count::default();
    for message in Messages::new(black_box(bytes)).flatten() {
        let _ = normalizer.message(message, Origin::default(), &mut count);
    }
    count.0
}

/// Recorded packets of one message each, over and over.
fn deepplus() -> Vec<Vec<u8>> {
    let single: Vec<Vec<u8>> = [
        "a_AddOrder",
        "M_OrderModify",
        "R_OrderDelete",
        "B_TradeBreak",
    ]
    .iter()
    .flat_map(|name| payloads(&format!("omi-packets/Iex/DeepPlus.IexTp.1.0.2/{name}.pcap")))
    .collect();
    let repeated = single.iter().cycle().take(TIMES * single.len());
    repeated.cloned().collect()
}

/// The same segments, said to be of the older version: quotes are laid out alike, what else there is makes a segment
/// that doesn't fit.
fn as_tops15(tops16: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut segments = tops16.to_vec();
    for segment in &mut segments {
        // Message Protocol ID of IEX-TP's header.
        segment[2..4].copy_from_slice(&tops::v15::PROTOCOL_ID.to_le_bytes());
    }
    segments
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    let messages = itch_messages(MESSAGES);
    let mut file = Vec::new();
    for message in &messages {
        assert!(binaryfile::encode(message, &mut file));
    }
    group.throughput(Throughput::Elements(MESSAGES as u64));
    group.bench_function("binaryfile/itch50, walk", |bencher| {
        bencher.iter(|| {
            let messages = Messages::new(black_box(&file));
            messages.flatten().map(<[u8]>::len).sum::<usize>()
        });
    });
    group.bench_function("binaryfile/itch50", |bencher| {
        bencher.iter(|| decode_file(&file));
    });
    let tops16 = payloads("iex/tops16_2017-07-10_first9000.pcap.gz");
    for (protocol, payloads) in [
        (Protocol::MoldUdp64Itch50, packets(&messages, 1_000)),
        (
            Protocol::IexTpDeep10,
            payloads("iex/deep10_2017-04-25_session12_first50000.pcap.gz"),
        ),
        (Protocol::IexTpDeepPlus10, deepplus()),
        (Protocol::IexTpTops15, as_tops15(&tops16)),
        (Protocol::IexTpTops16, tops16),
    ] {
        let count = |payload| Packet::parse(protocol, payload).map_or(0, |packet| packet.count());
        let messages: u64 = payloads
            .iter()
            .map(|payload| u64::from(count(payload)))
            .sum();
        assert!(messages > 0, "{protocol}");
        group.throughput(Throughput::Elements(messages));
        group.bench_function(protocol.name(), |bencher| {
            bencher.iter(|| decode_packets(protocol, &payloads));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = decode
}
criterion_main!(benches);
