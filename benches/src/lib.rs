//! Inputs that the benches share: made from a seed, or read from the recorded captures, outside of what is timed.  And
//! what `tickcast bench` measures.
//!
//! `cargo bench -p tickcast-benches` runs for three minutes.  What must not regress is counted in instructions beside it
//! (`cargo xtask instructions`).
//!
//! | module | what |
//! | --- | --- |
//! | [`machine`] | what the figures are of: the machine, its settings, the program |
//! | [`threads`] | which core each thread is pinned to, and what it got of it |
//! | [`mod@file`] | ns a message from a file in memory |
//! | [`wire`] | latency from a socket to books, and to a subscriber |
//! | [`udp`] | what receiving costs the receiver's core, at saturation |
//! | [`generate`] | a market as a file in memory |
//! | [`books`] | one number for all books |
//! | [`stamps`] | times |
//! | [`results`] | all figures of a run; its files |
//! | [`plot`] | pictures of them |
//! | [`compare`] | two runs, figure by figure |
//! | [`limits`] | every bound, with its reason |
#![forbid(unsafe_code)]

pub mod books;
pub mod compare;
pub mod file;
pub mod generate;
pub mod limits;
pub mod machine;
pub mod plot;
pub mod results;
pub mod stamps;
pub mod threads;
pub mod udp;
pub mod wire;

use std::fmt;
use std::path::Path;

use tickcast_book::{Market as Books, NoUpdates};
use tickcast_codecs::SessionId;
use tickcast_codecs::event::{Event, Header, Normalizer as _, Origin, Sink};
use tickcast_codecs::moldudp64::PacketBuilder;
use tickcast_codecs::protocol::{Normalizer, Protocol};
use tickcast_feed::channel::ChannelSink;
use tickcast_feed::session::{Missing, Start};
use tickcast_replay::capture::{CaptureReader, Item};
use tickcast_replay::exchange::{Market, MarketConfig};
use tickcast_replay::frame;

/// A generated market that goes on as long as it is asked: what a bench applies has to be new each time.
#[derive(Debug)]
pub struct Stream {
    market: Market,
    normalizer: Normalizer,
    next_sequence: u64,
}

impl Stream {
    /// From its first message on.
    #[must_use]
    pub fn new(config: MarketConfig) -> Self {
        Self {
            market: Market::new(config),
            normalizer: Normalizer::new(Protocol::MoldUdp64Itch50, 0),
            next_sequence: 1,
        }
    }

    /// Whether every instrument has its first orders: from then on as many come as go.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.market.is_open()
    }

    /// The next messages, each as on the wire.
    pub fn messages(&mut self, count: usize) -> Vec<Vec<u8>> {
        self.next_sequence += count as u64;
        (0..count)
            .map(|_| {
                let mut message = Vec::new();
                self.market.next(&mut message);
                message
            })
            .collect()
    }

    /// The next messages as events.
    pub fn events(&mut self, count: usize) -> Vec<(Header, Event)> {
        let first = self.next_sequence;
        let messages = self.messages(count);
        let mut events = Vec::with_capacity(count);
        for (sequence, message) in (first..).zip(&messages) {
            let origin = Origin {
                sequence,
                ts_recv: 0,
            };
            // The market writes nothing that the normalizer refuses; its tests say so.
            let _ = self.normalizer.message(message, origin, &mut events);
        }
        events
    }

    /// The next messages in packets of at most so many bytes.
    pub fn packets(&mut self, count: usize, bytes_max: usize) -> Vec<Vec<u8>> {
        let first = self.next_sequence;
        packets_from(first, &self.messages(count), bytes_max)
    }
}

/// UDP payloads of a recorded capture, by its path below `testdata`.
///
/// # Panics
///
/// Without that capture there is nothing to measure.
#[must_use]
pub fn payloads(capture: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata")
        .join(capture);
    let mut reader = match CaptureReader::open(&path) {
        Ok(reader) => reader,
        Err(error) => unreachable!("{}: {error}", path.display()),
    };
    let mut payloads = Vec::new();
    while let Ok(Some(Item::Packet(packet))) = reader.next_item() {
        if let Ok(datagram) = frame::udp(packet.link_type, packet.data) {
            payloads.push(datagram.payload.to_vec());
        }
    }
    payloads
}

/// Why something wasn't measured, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed(String);

impl Failed {
    /// For this reason.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Failed {}

/// How far something has come.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// What is being done.
    pub what: &'a str,
    /// Steps done.
    pub done: u64,
    /// Steps altogether.
    pub of: u64,
}

/// Messages of the generated market, each as on the wire.
#[must_use]
pub fn itch_messages(count: usize) -> Vec<Vec<u8>> {
    Stream::new(MarketConfig {
        seed: 7,
        instruments: 300,
        ..MarketConfig::default()
    })
    .messages(count)
}

/// Those messages in packets of at most so many bytes, numbered from 1.
#[must_use]
pub fn packets(messages: &[Vec<u8>], bytes_max: usize) -> Vec<Vec<u8>> {
    packets_from(1, messages, bytes_max)
}

fn packets_from(first: u64, messages: &[Vec<u8>], bytes_max: usize) -> Vec<Vec<u8>> {
    let session = SessionId::from_padded(b"BENCH");
    let mut packets = Vec::new();
    let mut left = messages;
    let mut next = first;
    while !left.is_empty() {
        let mut packet = Vec::new();
        let mut builder = PacketBuilder::new(&mut packet, session, next, bytes_max);
        let fit = left
            .iter()
            .take_while(|message| builder.push(message).is_ok());
        let count = fit.count();
        assert!(count > 0, "no message is longer than a packet");
        next = builder.next_sequence();
        left = &left[count..];
        packets.push(packet);
    }
    packets
}

/// Events into a market.
#[derive(Debug)]
pub struct Events<'a>(pub &'a mut Books);

impl Sink for Events<'_> {
    #[inline]
    fn event(&mut self, header: &Header, event: &Event) {
        self.0.apply(header, event, &mut NoUpdates);
    }
}

/// Counts events, so that decoding isn't optimised away.
#[derive(Debug, Default)]
pub struct Count(pub u64);

impl Sink for Count {
    #[inline]
    fn event(&mut self, header: &Header, event: &Event) {
        self.0 += u64::from(header.instrument_id) + u64::from(matches!(event, Event::Add { .. }));
    }
}

impl ChannelSink for Count {
    fn start(&mut self, _: Start, _: SessionId) {}
    fn skip(&mut self, _: Missing) {}
    fn trust(&mut self, _: bool) {}
}
