//! Recovery over IEX-TP with a recorded session of DEEP 1.0: two lines that lose different packets and some the
//! same, the gap fill server over UDP, a late joiner over TCP, and a numbering that begins again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use flate2::read::GzDecoder;
use tickcast_book::report::Report;
use tickcast_book::{Level, NoUpdates};
use tickcast_codecs::iextp::{Segment, Stream};
use tickcast_codecs::protocol::Protocol;
use tickcast_codecs::types::{Side, Text};
use tickcast_feed::snapshot::{Loader, LoaderConfig};
use tickcast_feed::{Shard, ShardConfig, Share, Source};
use tickcast_replay::exchange::repeater::IEX_DEEP;
use tickcast_replay::exchange::{GapFillConfig, GapFillConnection, GapFillServer, Recorded, Store};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const RESTARTS: &[u8] = include_bytes!("../../testdata/iex/deep10_2017-04-25_sessions1-3.pcap.gz");

fn config() -> ShardConfig {
    ShardConfig::new(Protocol::IexTpDeep10, 5, "IEXG")
}

fn peer() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000)
}

fn stream(segment: &Segment<'_>) -> Stream {
    Stream {
        message_protocol_id: segment.protocol(),
        channel_id: segment.channel(),
        session_id: segment.header().session_id.get(),
    }
}

/// The venue: what was published, and its gap fill servers.
struct Venue {
    stream: Stream,
    store: Store,
    server: GapFillServer,
}

impl Venue {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            store: Store::new(16 << 20),
            server: GapFillServer::new(&GapFillConfig {
                requests_per_second_max: 10_000,
                ..GapFillConfig::new(stream, vec![peer().ip()])
            }),
        }
    }

    /// Publishes a recorded packet: another session, or one that begins again, is another venue.
    fn publish(&mut self, segment: &Segment<'_>) {
        let again = !segment.is_heartbeat() && segment.sequence() < self.store.next_sequence();
        if again || stream(segment) != self.stream {
            *self = Self::new(stream(segment));
        }
        for message in segment.messages() {
            self.store.push(message);
        }
    }
}

/// The receiver: two lines, a request server, a snapshot server.
struct Receiver {
    shard: Shard<NoUpdates>,
    load: Option<(Loader, GapFillConnection)>,
    loads: u32,
}

impl Receiver {
    fn new(lines: u8, request_servers: u8, now: u64) -> Self {
        let mut config = config();
        config.arbiter.lines = lines;
        config.recovery.request_servers = request_servers;
        config.recovery.snapshot_servers = 1;
        Self {
            shard: Shard::new(&config, NoUpdates, (), now),
            load: None,
            loads: 0,
        }
    }

    fn take(&mut self, now: u64, source: Source, packet: &[u8]) {
        self.shard.handle_packet(now, source, packet, now).unwrap();
    }

    /// Time passes; requests are answered at once, and a snapshot is loaded a segment a turn.
    fn turn(&mut self, now: u64, venue: &mut Venue) {
        self.shard.handle_timeout(now);
        let mut packet = Vec::new();
        while self.shard.poll_request(now, &mut packet).is_some() {
            let store = &venue.store;
            venue.server.handle_request(now, peer(), &packet, store);
            while venue
                .server
                .poll_transmit(now, store, &mut packet)
                .is_some()
            {
                self.take(now, Source::Server(0), &packet);
            }
        }
        if let Some(request) = self.shard.poll_load() {
            let config = config();
            let config = LoaderConfig {
                protocol: config.protocol,
                number: config.number,
                venue: config.venue,
                share: Share::WHOLE,
                username: Text::default(),
                password: Text::default(),
                same_session: true,
            };
            let mut loader = Loader::new(&config, request, now);
            loader.handle_connected(now);
            self.load = Some((loader, GapFillConnection::new(venue.stream, now)));
            self.loads += 1;
        }
        let Some((loader, connection)) = &mut self.load else {
            return;
        };
        while loader.poll_transmit(&mut packet) {
            connection.handle_bytes(&packet);
        }
        if connection.poll_transmit(now, &venue.store, &mut packet) {
            loader.handle_bytes(now, &packet);
        } else if connection.is_closing() {
            loader.handle_closed(now);
        }
        loader.handle_timeout(now);
        let id = loader.request().id;
        match loader.poll() {
            None => return,
            Some(Ok(loaded)) => drop(self.shard.handle_loaded(now, loaded)),
            Some(Err(_)) => self.shard.handle_load_failed(now, id),
        }
        self.load = None;
    }

    fn reading(&self, name: &str) -> u64 {
        let mut report = Report::default();
        self.shard.report(&mut report);
        let mut readings = report.readings.iter();
        let own = readings.find(|reading| reading.name == name && reading.line.is_none());
        own.unwrap().value
    }
}

/// All levels of all books, by instrument and side.
fn levels(shard: &Shard<NoUpdates>) -> BTreeMap<(String, bool), Vec<Level>> {
    let market = shard.market();
    let sides = [(Side::Bid, true), (Side::Ask, false)];
    market
        .instruments()
        .flat_map(|(id, definition)| sides.map(|side| (id, definition.symbol, side)))
        .map(|(id, symbol, (side, is_bid))| {
            let levels = market.book(id).levels(side).collect();
            ((symbol.to_string(), is_bid), levels)
        })
        .collect()
}

/// Runs the packets past an undisturbed receiver of one line, and past one of two lines that lose what `lost` says;
/// it joins with packet `join`.
fn run(
    recorded: &[Recorded],
    join: usize,
    request_servers: u8,
    lost: impl Fn(usize, u8) -> bool,
) -> (Receiver, Receiver) {
    let first = Segment::parse(&recorded[0].payload).unwrap();
    let mut venue = Venue::new(stream(&first));
    let from = recorded[0].ts_ns;
    let mut undisturbed = Receiver::new(1, 0, from);
    let mut receiver = Receiver::new(2, request_servers, recorded[join].ts_ns);
    let mut now = from;
    for (number, packet) in recorded.iter().enumerate() {
        // What is due between two packets.
        while now + MS / 2 < packet.ts_ns {
            now = (now + SECOND / 4).min(packet.ts_ns);
            undisturbed.turn(now, &mut venue);
            if number > join {
                receiver.turn(now, &mut venue);
            }
        }
        venue.publish(&Segment::parse(&packet.payload).unwrap());
        undisturbed.take(now, Source::Line(0), &packet.payload);
        undisturbed.turn(now, &mut venue);
        if number < join {
            continue;
        }
        for line in 0..2 {
            // Nothing would follow the last to show that they are missing.
            if number + 10 > recorded.len() || !lost(number, line) {
                receiver.take(now, Source::Line(line), &packet.payload);
            }
        }
        receiver.turn(now, &mut venue);
    }
    // Less than the time after which both lines are down.
    for _ in 0..100 {
        now += 20 * MS;
        undisturbed.turn(now, &mut venue);
        receiver.turn(now, &mut venue);
    }
    (undisturbed, receiver)
}

/// The receiver is where the undisturbed one is.
fn assert_same(undisturbed: &Receiver, receiver: &Receiver) {
    let next = |of: &Receiver| of.shard.channel().arbiter().next_sequence();
    assert_eq!(next(receiver), next(undisturbed));
    let arbiter = receiver.shard.channel().arbiter();
    assert!(
        arbiter.is_live(),
        "{:?}, {:?}, {:#?}",
        arbiter.phase(),
        arbiter.gaps(),
        arbiter.lines()
    );
    let right = levels(&undisturbed.shard);
    assert!(right.len() > 10);
    assert_eq!(levels(&receiver.shard), right);
}

#[test]
fn what_both_lines_lose_the_gap_fill_server_brings_over_udp() {
    let recorded = Recorded::from_capture(IEX_DEEP).unwrap();
    // Line A loses each tenth, B each seventh, both now and then up to five in a row.
    let lost = |number: usize, line: u8| {
        let own = number % if line == 0 { 10 } else { 7 } == 3;
        own || (number > 100 && number % 500 < number / 500 % 6)
    };
    let (undisturbed, receiver) = run(&recorded, 0, 1, lost);
    println!(
        "{} gaps, {} missing, {} requests",
        receiver.reading("gaps_declared"),
        receiver.reading("messages_missing"),
        receiver.reading("requests_sent")
    );
    assert!(receiver.reading("gaps_declared") > 20);
    assert_eq!(
        receiver.reading("filled_by_request") + receiver.reading("filled_by_line"),
        receiver.reading("messages_missing")
    );
    assert!(receiver.reading("filled_by_request") > 0);
    assert_eq!((receiver.loads, receiver.reading("messages_lost")), (0, 0));
    assert_same(&undisturbed, &receiver);
}

#[test]
fn who_joins_late_loads_the_session_over_tcp() {
    let recorded = Recorded::from_capture(IEX_DEEP).unwrap();
    let lost = |number: usize, line: u8| number % 10 == usize::from(line);
    let (undisturbed, receiver) = run(&recorded, recorded.len() / 2, 0, lost);
    assert_eq!(receiver.reading("snapshots_loaded"), 1);
    assert_eq!(receiver.loads, 1);
    assert_eq!(receiver.reading("messages_lost"), 0);
    assert_same(&undisturbed, &receiver);
}

#[test]
fn who_joins_late_may_ask_for_the_session_over_udp() {
    let recorded = Recorded::from_capture(IEX_DEEP).unwrap();
    let lost = |number: usize, line: u8| number % 10 == usize::from(line);
    let (undisturbed, receiver) = run(&recorded, recorded.len() / 2, 1, lost);
    // Fewer messages than one request may ask for.
    assert_eq!(receiver.loads, 0);
    println!("{} requests", receiver.reading("requests_sent"));
    assert_same(&undisturbed, &receiver);
}

#[test]
fn a_numbering_that_begins_again_within_the_session_is_recovered_in_as_any_other() {
    let recorded = Recorded::from_capture(GzDecoder::new(RESTARTS)).unwrap();
    // Among others the first packets after both restarts.
    for offset in (0..97).step_by(3) {
        let lost = |number: usize, line: u8| {
            let both = number % 97 == offset || number % 97 == offset + 1;
            both || number % 10 == usize::from(line)
        };
        let (undisturbed, receiver) = run(&recorded, 0, 1, lost);
        println!(
            "{offset}: {} sessions, {} missing, {} loads",
            receiver.reading("sessions"),
            receiver.reading("messages_missing"),
            receiver.loads
        );
        let restarts = receiver.reading("restarts");
        assert_eq!(restarts, undisturbed.reading("restarts"));
        assert_eq!(restarts, 2);
        assert!(receiver.reading("messages_missing") > 0);
        assert_eq!(receiver.reading("messages_lost"), 0);
        assert_same(&undisturbed, &receiver);
    }
}
