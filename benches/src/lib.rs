//! Inputs that the benches share: made once, from a seed, outside of what is timed.  And what `tickcast bench`
//! measures.
//!
//! | module | what |
//! | --- | --- |
//! | [`machine`] | what the figures are of: the machine, its settings, the program |
//! | [`threads`] | which core each thread is pinned to, and what it got of it |
//! | [`mod@file`] | ns a message from a file in memory |
//! | [`wire`] | latency from a socket to books, and to a subscriber |
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
pub mod wire;

use std::fmt;

use tickcast_book::{Market as Books, NoUpdates};
use tickcast_codecs::SessionId;
use tickcast_codecs::event::{Event, Header, Normalizer as _, Origin, Sink};
use tickcast_codecs::moldudp64::PacketBuilder;
use tickcast_codecs::protocol::{Normalizer, Protocol};
use tickcast_feed::channel::ChannelSink;
use tickcast_feed::session::{Missing, Start};
use tickcast_replay::exchange::{Market, MarketConfig};

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
    let mut market = Market::new(MarketConfig {
        seed: 7,
        instruments: 300,
        ..MarketConfig::default()
    });
    (0..count)
        .map(|_| {
            let mut message = Vec::new();
            market.next(&mut message);
            message
        })
        .collect()
}

/// The events of those messages.
#[must_use]
pub fn events(messages: &[Vec<u8>]) -> Vec<(Header, Event)> {
    let mut normalizer = Normalizer::new(Protocol::MoldUdp64Itch50, 0);
    let mut events = Vec::new();
    for (sequence, message) in (1..).zip(messages) {
        let origin = Origin {
            sequence,
            ts_recv: 0,
        };
        // The market writes nothing that the normalizer refuses; its tests say so.
        let _ = normalizer.message(message, origin, &mut events);
    }
    events
}

/// Those messages in packets of at most so many bytes, numbered from 1.
#[must_use]
pub fn packets(messages: &[Vec<u8>], bytes_max: usize) -> Vec<Vec<u8>> {
    let session = SessionId::from_padded(b"BENCH");
    let mut packets = Vec::new();
    let mut left = messages;
    let mut next = 1;
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
