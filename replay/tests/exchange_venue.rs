//! A whole exchange in real time: what its servers tell belongs to what its lines carry.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tickcast_book::{Market as Books, NoUpdates};
use tickcast_codecs::SessionId;
use tickcast_codecs::event::{Event, Header, Normalizer as _, Origin};
use tickcast_codecs::glimpse::EndOfSnapshot;
use tickcast_codecs::itch50::Normalizer;
use tickcast_codecs::moldudp64::{DownstreamPacket, Kind, Request};
use tickcast_codecs::soupbintcp::{Frames, LoginRequest, Packet};
use tickcast_codecs::types::Text;
use tickcast_replay::exchange::compare::{books_hash, first_difference};
use tickcast_replay::exchange::{Behaviour, Faults, MarketConfig, Venue, VenueConfig};

/// For each thing that is waited for; only a failure waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

const SECOND: u64 = 1_000_000_000;

fn config() -> VenueConfig {
    let market = MarketConfig {
        instruments: 30,
        messages_per_second: 20_000,
        ..MarketConfig::default()
    };
    VenueConfig::new(market, SessionId::from_padded(b"VENUE"))
}

/// Messages that a line carried, by number, and how often the end of the session was told.
#[derive(Debug, Default)]
struct Carried {
    messages: BTreeMap<u64, Vec<u8>>,
    ends: usize,
}

impl Carried {
    fn take(&mut self, payload: &[u8]) {
        let packet = DownstreamPacket::parse(payload).unwrap();
        self.ends += usize::from(packet.kind() == Kind::EndOfSession);
        for (sequence, message) in (packet.sequence()..).zip(packet.blocks()) {
            let before = self.messages.insert(sequence, message.to_vec());
            assert_eq!(before, None, "message {sequence} comes twice");
        }
    }
}

/// Logs in, and reads messages and the number that they are joined at.
fn snapshot(server: SocketAddr) -> (Vec<Vec<u8>>, u64) {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut login = Vec::new();
    let request = LoginRequest {
        username: Text::default(),
        password: Text::default(),
        requested_session: SessionId::default(),
        requested_sequence: 1,
    };
    Packet::LoginRequest(request).encode(&mut login).unwrap();
    stream.write_all(&login).unwrap();
    let (mut frames, mut messages) = (Frames::new(), Vec::new());
    let mut buffer = [0; 4_096];
    loop {
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0, "closed");
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            rest = &rest[frames.handle_bytes(rest)..];
            while let Some(packet) = frames.poll() {
                let Packet::SequencedData(message) = packet.unwrap() else {
                    continue;
                };
                match EndOfSnapshot::parse(message) {
                    Ok(end) => return (messages, end.sequence().unwrap()),
                    Err(_) => messages.push(message.to_vec()),
                }
            }
        }
    }
}

/// A receiver's books.
struct Receiver {
    normalizer: Normalizer,
    books: Books,
}

impl Receiver {
    fn new() -> Self {
        let limits = tickcast_book::Limits::default();
        Self {
            normalizer: Normalizer::new(0),
            books: Books::new(Text::from_padded(b"XNAS"), 0, &limits),
        }
    }

    fn apply(&mut self, sequence: u64, message: &[u8]) {
        let origin = Origin {
            sequence,
            ts_recv: 0,
        };
        let mut events: Vec<(Header, Event)> = Vec::new();
        let done = self.normalizer.message(message, origin, &mut events);
        done.unwrap();
        for (header, event) in events {
            let applied = self.books.apply(&header, &event, &mut NoUpdates);
            assert_eq!(applied.fault, None, "message {sequence}: {event:?}");
        }
    }
}

#[test]
fn whoever_joins_by_snapshot_at_any_moment_has_the_books_in_the_end() {
    let venue = Venue::open(&config()).unwrap();
    let (requests, snapshots) = (venue.request_server(), venue.snapshot_server());
    let carried = [Arc::<Mutex<Carried>>::default(), Arc::default()];
    let lines = carried.clone();
    let running = venue
        .publish(move |line, packet| {
            lines[usize::from(line)].lock().unwrap().take(packet);
            Ok(())
        })
        .unwrap();
    let mut joined = Vec::new();
    for _ in 0..12 {
        thread::sleep(Duration::from_millis(60));
        joined.push(snapshot(snapshots));
    }
    // What the snapshot has last, can be asked for already.
    let last = joined.last().unwrap().1 - 1;
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = Request::new(SessionId::from_padded(b"VENUE"), last, 1);
    client.send_to(&request.encode(), requests).unwrap();
    let mut buffer = [0; 2_048];
    let length = client.recv(&mut buffer).unwrap();
    let answer = DownstreamPacket::parse(&buffer[..length]).unwrap();
    assert_eq!((answer.sequence(), answer.count()), (last, 1));

    let summary = running.finish().unwrap();
    assert_eq!(summary.snapshots, 12);
    assert_eq!(summary.requests.answered, 1);
    for line in &carried {
        let line = line.lock().unwrap();
        let all: Vec<u64> = line.messages.keys().copied().collect();
        assert_eq!(all, (1..summary.next_sequence).collect::<Vec<_>>());
        assert_eq!(line.ends, 1);
    }
    let line = carried[1].lock().unwrap();
    for (messages, at) in joined {
        let mut receiver = Receiver::new();
        for message in &messages {
            receiver.apply(0, message);
        }
        for (sequence, message) in line.messages.range(at..) {
            receiver.apply(*sequence, message);
        }
        let different = first_difference(&summary.market, &receiver.books, |_| true);
        assert_eq!(different, None, "joined at {at}");
        assert_eq!(summary.market.state_hash(), books_hash(&receiver.books));
    }
}

#[test]
fn bursts_take_the_same_messages_of_both_lines_and_line_a_can_be_dead() {
    let mut config = config();
    config.faults = Faults {
        burst_messages: 100,
        burst_every_ns: SECOND / 5,
        lag_b_ns: 3_000_000,
        dead_a: vec![tickcast_replay::fault::Interval {
            from_ns: SECOND * 7 / 10,
            until_ns: u64::MAX,
        }],
        ..Faults::default()
    };
    let carried = [Arc::<Mutex<Carried>>::default(), Arc::default()];
    let lines = carried.clone();
    let running = Venue::open(&config)
        .unwrap()
        .publish(move |line, packet| {
            lines[usize::from(line)].lock().unwrap().take(packet);
            Ok(())
        })
        .unwrap();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(1_100) {
        thread::sleep(Duration::from_millis(20));
    }
    let summary = running.finish().unwrap();
    let [a, b] = carried.map(|line| Arc::into_inner(line).unwrap().into_inner().unwrap());
    let missing = |line: &Carried| -> Vec<u64> {
        let all = 1..summary.next_sequence;
        all.filter(|sequence| !line.messages.contains_key(sequence))
            .collect()
    };
    let (of_a, of_b) = (missing(&a), missing(&b));
    let on_both = of_b.iter().filter(|sequence| of_a.contains(sequence));
    // Packets end where they will, and bursts with them.
    assert!(on_both.count() >= 80, "{of_a:?} {of_b:?}");
    for (line, missing) in summary.lines.iter().zip([&of_a, &of_b]) {
        let counted = line.burst_lost.messages + line.dead.messages;
        assert_eq!(counted, missing.len() as u64);
    }
    assert!(summary.lines[0].dead.packets > 0 && summary.lines[1].dead.packets == 0);
    assert_eq!((a.ends, b.ends), (0, 1));
}

#[test]
fn dead_servers_take_no_address_and_a_public_one_is_refused() {
    let mut dead = config();
    dead.servers = Behaviour::Dead;
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    dead.request_server = taken.local_addr().unwrap();
    drop(Venue::open(&dead).unwrap());
    dead.servers = Behaviour::Honest;
    let error = Venue::open(&dead).err().unwrap();
    let address = dead.request_server.to_string();
    assert!(error.to_string().contains(&address), "{error}");

    let mut public = config();
    public.snapshot_server = "8.8.8.8:9".parse().unwrap();
    let error = Venue::open(&public).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
}
