//! An exchange, loopback multicast, and shards that receive it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use tickcast_book::link::{self, Publisher as Updates, Subscription, WhenFull};
use tickcast_book::report::Report;
use tickcast_codecs::SessionId;
use tickcast_codecs::protocol::Protocol;
use tickcast_feed::limits::{RECEIVE_BUFFER_BYTES, RING_SLOTS};
use tickcast_feed::shard::Observer;
use tickcast_feed::socket::{JoinConfig, MulticastSocket};
use tickcast_feed::{RecoveryConfig, Shard, ShardConfig, Share};
use tickcast_replay::exchange::edge::multicast_sender;
use tickcast_replay::exchange::{Market, MarketConfig, Publisher, PublisherConfig};

/// Lines on the loopback interface and their senders.
pub(crate) struct Loopback {
    pub(crate) sockets: Vec<MulticastSocket>,
    pub(crate) senders: Vec<UdpSocket>,
}

impl Loopback {
    /// So many lines, or `None` if there is no multicast on the loopback interface.
    pub(crate) fn open(lines: u8) -> Option<Self> {
        Self::with_buffers(lines, RECEIVE_BUFFER_BYTES)
    }

    /// The same, with receive buffers of this size.
    pub(crate) fn with_buffers(lines: u8, receive_buffer_bytes: usize) -> Option<Self> {
        let open = |line| -> io::Result<_> {
            let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?
                .local_addr()?
                .port();
            let group = SocketAddrV4::new(Ipv4Addr::new(239, 255, 80, line), port);
            let interface = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let join = JoinConfig {
                receive_buffer_bytes,
                ..JoinConfig::any_source(SocketAddr::V4(group), interface)
            };
            let socket = MulticastSocket::open(&join)?;
            Ok((socket, multicast_sender(group, Ipv4Addr::LOCALHOST)?))
        };
        match (1..=lines).map(open).collect::<io::Result<_>>() {
            Ok(lines) => {
                let lines: Vec<_> = lines;
                let (sockets, senders) = lines.into_iter().unzip();
                Some(Self { sockets, senders })
            }
            Err(error) => {
                println!("skipped: no multicast on the loopback interface: {error}");
                None
            }
        }
    }
}

/// The packets of a session with so many messages; always the same messages.
pub(crate) fn session(name: &[u8], messages: u64) -> Vec<Vec<u8>> {
    let config = PublisherConfig {
        session: SessionId::from_padded(name),
        ..PublisherConfig::default()
    };
    let mut publisher = Publisher::new(config, 0);
    let mut packets = Vec::new();
    let mut packet = Vec::new();
    let mut last = 0;
    each_message(messages, |now, message| {
        last = now;
        publisher.handle_message(now, message).unwrap();
        while publisher.poll_transmit(now, &mut packet) {
            packets.push(packet.clone());
        }
    });
    while publisher.poll_transmit(last + config.flush_ns, &mut packet) {
        packets.push(packet.clone());
    }
    packets
}

/// The messages of every session here, each with its time.
pub(crate) fn each_message(messages: u64, mut each: impl FnMut(u64, &[u8])) {
    let mut market = Market::new(MarketConfig {
        seed: 7,
        ..MarketConfig::default()
    });
    let mut message = Vec::new();
    for _ in 0..messages {
        message.clear();
        let now = market.next(&mut message).offset_ns;
        each(now, &message);
    }
}

/// Waits until it is so, for as long as a slow machine may need.
pub(crate) fn eventually(mut so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !so() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Sends packets on a line, with rests: nothing is lost to a full buffer.
pub(crate) fn send<'a>(packets: impl Iterator<Item = &'a Vec<u8>>, senders: &[UdpSocket]) {
    for (number, packet) in packets.enumerate() {
        for sender in senders {
            sender.send(packet).unwrap();
        }
        if number % 50 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Shard `index` of `of`, and where its updates go.
pub(crate) fn shard(index: u16, of: u16, lines: u8) -> (Shard<Updates>, Subscription) {
    recovering(index, of, lines, RecoveryConfig::default())
}

/// The same, with servers to ask.
pub(crate) fn recovering(
    index: u16,
    of: u16,
    lines: u8,
    recovery: RecoveryConfig,
) -> (Shard<Updates>, Subscription) {
    let share = Share { index, of };
    observed(share, lines, recovery, ())
}

/// The same, with an observer.
pub(crate) fn observed<O: Observer>(
    share: Share,
    lines: u8,
    recovery: RecoveryConfig,
    observer: O,
) -> (Shard<Updates, O>, Subscription) {
    let (updates, subscription) = link::link(RING_SLOTS, WhenFull::Overrun);
    let mut config = ShardConfig::new(Protocol::MoldUdp64Itch50, 0, "XNAS");
    config.share = share;
    config.arbiter.lines = lines;
    config.recovery = recovery;
    let shard = Shard::new(&config, updates, observer, 0);
    (shard, subscription)
}

/// A counter's value, summed over lines.
pub(crate) fn reading(report: &Report, name: &str) -> u64 {
    let of_name = report
        .readings
        .iter()
        .filter(|reading| reading.name == name);
    let values: Vec<u64> = of_name.map(|reading| reading.value).collect();
    assert!(!values.is_empty(), "there is no counter {name}");
    values.iter().sum()
}
