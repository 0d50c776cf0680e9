//! A channel under test: packets of numbered messages in, what is told in order out.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_errors_doc
)]

use tickcast_codecs::event::{Event, Header, Sink};
use tickcast_codecs::moldudp64::{self, PacketBuilder};
use tickcast_codecs::protocol::Protocol;
use tickcast_codecs::{DecodeError, SessionId};
use tickcast_feed::arbiter::Phase;
use tickcast_feed::channel::ChannelSink;
use tickcast_feed::session::{Missing, Start};
use tickcast_feed::{ArbiterConfig, Channel, RecoveryConfig, Source};

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MS;

/// What a channel told, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Start(Start),
    Skip(u64, u64),
    Trust(bool),
    /// A message's number, and what it says its number is.
    Message(u64, u64),
}

#[derive(Debug, Default)]
pub struct Recorder(pub Vec<Told>);

impl Sink for Recorder {
    fn event(&mut self, header: &Header, event: &Event) {
        if let Event::Delete { order_id } = event {
            self.0.push(Told::Message(header.sequence, *order_id));
        }
    }
}

impl ChannelSink for Recorder {
    fn start(&mut self, start: Start, _: SessionId) {
        self.0.push(Told::Start(start));
    }

    fn skip(&mut self, missing: Missing) {
        self.0.push(Told::Skip(missing.first, missing.last));
    }

    fn trust(&mut self, live: bool) {
        self.0.push(Told::Trust(live));
    }
}

/// The message that has this number: an order delete (ITCH 5.0, 1.4.4) that names it.
pub fn message(number: u64) -> [u8; 19] {
    let mut message = [0; 19];
    message[0] = b'D';
    message[2] = 1;
    message[11..].copy_from_slice(&number.to_be_bytes());
    message
}

/// A packet of the messages `first..first + count`.
pub fn packet(session: &str, first: u64, count: u64) -> Vec<u8> {
    let session = SessionId::from_padded(session.as_bytes());
    let mut packet = Vec::new();
    let mut builder = PacketBuilder::new(&mut packet, session, first, 65_000);
    for number in first..first + count {
        builder.push(&message(number)).unwrap();
    }
    packet
}

pub fn heartbeat(session: &str, next: u64) -> Vec<u8> {
    let mut packet = Vec::new();
    moldudp64::encode_heartbeat(
        &mut packet,
        SessionId::from_padded(session.as_bytes()),
        next,
    );
    packet
}

pub fn end_of_session(session: &str, next: u64) -> Vec<u8> {
    let mut packet = Vec::new();
    let session = SessionId::from_padded(session.as_bytes());
    moldudp64::encode_end_of_session(&mut packet, session, next);
    packet
}

/// A channel with two lines, what it told, and the time.
pub struct World {
    pub channel: Channel,
    pub told: Recorder,
    pub now: u64,
}

impl World {
    /// Two lines; so many request and snapshot servers.
    pub fn new(request_servers: u8, snapshot_servers: u8) -> Self {
        let arbiter = ArbiterConfig {
            lines: 2,
            ..ArbiterConfig::default()
        };
        let recovery = RecoveryConfig {
            request_servers,
            snapshot_servers,
            ..RecoveryConfig::default()
        };
        Self {
            channel: Channel::new(Protocol::MoldUdp64Itch50, 0, arbiter, recovery, 0),
            told: Recorder::default(),
            now: 0,
        }
    }

    pub fn line(&mut self, line: u8, packet: &[u8]) -> Result<(), DecodeError> {
        let source = Source::Line(line);
        self.channel
            .handle_packet(self.now, source, packet, self.now, &mut self.told)
    }

    pub fn reply(&mut self, packet: &[u8]) -> Result<(), DecodeError> {
        let source = Source::Server(0);
        self.channel
            .handle_packet(self.now, source, packet, self.now, &mut self.told)
    }

    /// Both lines bring the messages, A first.
    pub fn both(&mut self, first: u64, count: u64) {
        let packet = packet("S", first, count);
        self.line(0, &packet).unwrap();
        self.line(1, &packet).unwrap();
    }

    /// Time passes, with every timeout on the way.
    pub fn pass(&mut self, ns: u64) {
        let until = self.now + ns;
        while let Some(due) = self.channel.poll_timeout().filter(|&due| due <= until) {
            self.now = self.now.max(due);
            self.channel.handle_timeout(self.now, &mut self.told);
            if self.channel.poll_timeout().is_some_and(|at| at <= self.now) {
                break;
            }
        }
        self.now = until;
        self.channel.handle_timeout(self.now, &mut self.told);
    }

    /// The requests that are due: first number and count.
    pub fn requests(&mut self) -> Vec<(u64, u16)> {
        let mut asked = Vec::new();
        let mut packet = Vec::new();
        while self.channel.poll_request(self.now, &mut packet).is_some() {
            let request = moldudp64::Request::parse(&packet).unwrap();
            asked.push((request.sequence(), request.count()));
        }
        asked
    }

    /// A snapshot came that live data joins at `sequence`, as a shard takes it.
    pub fn loaded(&mut self, id: u64, sequence: u64) {
        let now = self.now;
        match self.channel.arbiter().check_load(id, sequence) {
            Ok(()) => self.channel.handle_loaded(now, sequence, &mut self.told),
            Err(None) => {}
            Err(Some(_)) => self.load_failed(id),
        }
    }

    pub fn load_failed(&mut self, id: u64) {
        self.channel
            .handle_load_failed(self.now, id, &mut self.told);
    }

    /// So many servers from now on.
    pub fn reconfigure(&mut self, request_servers: u8, snapshot_servers: u8) {
        self.channel.reconfigure(RecoveryConfig {
            request_servers,
            snapshot_servers,
            ..*self.channel.arbiter().recovery().config()
        });
    }

    /// The numbers delivered, each of which has to be its message's own.
    pub fn delivered(&self) -> Vec<u64> {
        let mut numbers = Vec::new();
        for told in &self.told.0 {
            if let Told::Message(number, says) = told {
                assert_eq!(number, says, "a message was delivered under another number");
                numbers.push(*number);
            }
        }
        numbers
    }

    pub fn phase(&self) -> Phase {
        self.channel.arbiter().phase()
    }

    pub fn trust(&self) -> Vec<bool> {
        let trust = |told: &Told| match told {
            Told::Trust(live) => Some(*live),
            _ => None,
        };
        self.told.0.iter().filter_map(trust).collect()
    }

    /// Every message that was ever missing in a gap still is, or one counter tells what became of it.
    pub fn assert_missing_accounted(&self) {
        let arbiter = self.channel.arbiter();
        let counters = arbiter.counters();
        let told = counters.filled_by_line
            + counters.filled_by_request
            + counters.filled_by_snapshot
            + counters.messages_lost
            + arbiter.gaps().declared_count();
        assert_eq!(counters.messages_missing, told, "{counters:?}");
    }

    /// Every message of every accepted packet of a line moved exactly one counter.
    pub fn assert_accounted(&self, line: usize, messages: u64) {
        let counters = self.channel.arbiter().lines()[line].counters();
        assert_eq!(counters.messages(), messages, "{counters:?}");
    }
}
