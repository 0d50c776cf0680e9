//! A recording through the whole pipeline: frames to channels, channels to books.
//!
//! A machine without I/O or clock: whoever drives it reads the file and does the waiting.

use std::collections::BTreeMap;

use tickcast_book::UpdateSink;
use tickcast_codecs::SessionId;
use tickcast_codecs::protocol::Protocol;
use tickcast_codecs::wire::BeTimestamp48;
use tickcast_feed::{Shard, ShardConfig, Source};

use crate::books_csv::Rows;
use crate::capture::Item;
use crate::frame;
use crate::recognise::{ChannelIndex, Recogniser};

/// Makes the end of a new channel's updates; `None` refuses the channel.
pub type Connect<U> = Box<dyn FnMut(ChannelIndex) -> Option<U>>;

/// Plays recordings into books.
pub struct Player<U> {
    recogniser: Recogniser,
    connect: Connect<U>,
    /// By the recogniser's index; `None` = refused.
    shards: Vec<Option<Shard<U, Rows>>>,
    rows: Rows,
    totals: Totals,
}

/// What was counted outside the channels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records read.
    pub records: u64,
    /// Frames without a whole UDP datagram, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Datagrams that no protocol recognises.
    pub unrecognised: u64,
    /// Datagrams of channels beyond the bound.
    pub refused: u64,
}

impl<U: UpdateSink> Player<U> {
    /// A player; `connect` is called once for each channel that appears.
    #[must_use]
    pub fn new(recogniser: Recogniser, rows: Rows, connect: Connect<U>) -> Self {
        Self {
            recogniser,
            connect,
            shards: Vec::new(),
            rows,
            totals: Totals::default(),
        }
    }

    /// When a record was recorded, in ns: for pacing.  A BinaryFILE has only the venue's time of day.
    #[must_use]
    pub fn recorded_at(item: &Item<'_>) -> u64 {
        match item {
            Item::Packet(packet) => packet.ts_recv,
            // ITCH 5.0: the timestamp is at offset 5 of every message.
            Item::Message(message) => message
                .bytes
                .get(5..11)
                .and_then(|bytes| <[u8; 6]>::try_from(bytes).ok())
                .map_or(0, |bytes| BeTimestamp48(bytes).nanos()),
        }
    }

    /// Takes one record.  `ts_recv` is the receive time to put on its events: the recorded one, or now.
    pub fn handle_item(&mut self, item: &Item<'_>, ts_recv: u64) {
        self.totals.records += 1;
        match item {
            Item::Packet(packet) => {
                if let Some(csv) = &self.rows.0 {
                    csv.borrow_mut().set_packet(packet.index);
                }
                let datagram = match frame::udp(packet.link_type, packet.data) {
                    Ok(datagram) => datagram,
                    Err(skip) => {
                        *self.totals.skipped.entry(skip.counter()).or_default() += 1;
                        return;
                    }
                };
                let payload = datagram.payload;
                let channel = self
                    .recogniser
                    .protocol(datagram.dst, payload)
                    .and_then(|protocol| self.recogniser.channel(datagram.dst, protocol, payload));
                let Some(channel) = channel else {
                    self.totals.unrecognised += 1;
                    return;
                };
                match self.shard(channel) {
                    // A malformed packet is in the channel's counters.
                    Some(shard) => {
                        // The time of a recording is when its packets were recorded.
                        let now = packet.ts_recv;
                        let _ = shard.handle_packet(now, Source::Line(0), payload, ts_recv);
                    }
                    None => self.totals.refused += 1,
                }
            }
            Item::Message(message) => {
                if let Some(csv) = &self.rows.0 {
                    csv.borrow_mut().set_packet(message.index);
                }
                let protocol = self
                    .recogniser
                    .forced()
                    .unwrap_or(Protocol::BinaryFileItch50);
                let channel = self.recogniser.channel_of(protocol, SessionId::default());
                match channel.and_then(|channel| self.shard(channel)) {
                    Some(shard) => drop(shard.handle_file_message(message.bytes)),
                    None => self.totals.refused += 1,
                }
            }
        }
    }

    /// The recordings are over: what waits for a missing message is delivered without it.
    pub fn handle_end(&mut self) {
        for shard in self.shards.iter_mut().flatten() {
            shard.handle_timeout(u64::MAX);
        }
    }

    fn shard(&mut self, channel: ChannelIndex) -> Option<&mut Shard<U, Rows>> {
        // Those before it that have no packet yet (a recogniser that looked ahead knows them) come first.
        let known = self.shards.len();
        for (index, protocol) in self.recogniser.channels().enumerate().skip(known) {
            let shard = u16::try_from(index).ok().and_then(|number| {
                let updates = (self.connect)(ChannelIndex(index))?;
                let (venue, rows) = (protocol.venue(), self.rows.clone());
                let config = ShardConfig::recording(protocol, number, venue);
                Some(Shard::new(&config, updates, rows, 0))
            });
            self.shards.push(shard);
        }
        self.shards.get_mut(channel.0).and_then(Option::as_mut)
    }

    /// The channels, in order of appearance.
    pub fn shards(&self) -> impl Iterator<Item = &Shard<U, Rows>> {
        self.shards.iter().flatten()
    }

    /// The channels, in order of appearance.
    pub fn shards_mut(&mut self) -> impl Iterator<Item = &mut Shard<U, Rows>> {
        self.shards.iter_mut().flatten()
    }

    /// What was counted outside the channels.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The summary of all channels.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut summary = Summary {
            records: self.totals.records,
            skipped: self.totals.skipped.clone(),
            unrecognised: self.totals.unrecognised,
            ..Summary::default()
        };
        for shard in self.shards() {
            summary.add(shard);
        }
        summary
    }
}

/// What a replay tells at its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Records read: frames, or messages of a BinaryFILE.
    pub records: u64,
    /// Frames without a whole UDP datagram, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Datagrams that no protocol recognises.
    pub unrecognised: u64,
    /// Channels: protocol and last session.
    pub channels: Vec<(&'static str, String)>,
    /// Instruments with a definition.
    pub instruments: u64,
    /// Messages by protocol and type.
    pub messages: BTreeMap<(&'static str, &'static str), u64>,
    /// What the channels counted, added up.
    pub wire: BTreeMap<&'static str, u64>,
    /// What the books counted, added up.
    pub books: BTreeMap<&'static str, u64>,
    /// Live orders at the end.
    pub live_orders: u64,
}

impl Summary {
    fn add<U: UpdateSink>(&mut self, shard: &Shard<U, Rows>) {
        let channel = shard.channel();
        let protocol = channel.protocol();
        self.channels
            .push((protocol.name(), channel.session().to_string()));
        self.instruments += shard.market().instruments().count() as u64;
        self.live_orders += shard.market().order_count() as u64;
        let counters = shard.counters();
        for (name, value) in counters.list() {
            *self.wire.entry(name).or_default() += value;
        }
        for (name, _, value) in shard.market().counters().iter() {
            *self.books.entry(name).or_default() += value;
        }
        for (message_type, &count) in (0u8..=255).zip(&counters.by_type) {
            if count > 0 {
                let name = type_name(protocol, message_type);
                *self.messages.entry((protocol.name(), name)).or_default() += count;
            }
        }
    }

    /// All messages.
    #[must_use]
    pub fn message_count(&self) -> u64 {
        self.messages.values().sum()
    }
}

/// The name of a message type: that of an empty message of the type.
fn type_name(protocol: Protocol, message_type: u8) -> &'static str {
    let mut empty = [0; 256];
    empty[0] = message_type;
    protocol
        .message(&empty)
        .map_or("unknown", |message| message.name())
}
