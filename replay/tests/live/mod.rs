//! An exchange, loopback multicast, and shards that receive it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use tickcast_book::link::{self, Publisher as Updates, Subscription, WhenFull};
use tickcast_book::report::Report;
use tickcast_codecs::SessionId;
use tickcast_codecs::protocol::Protocol;
use tickcast_feed::limits::RING_SLOTS;
use tickcast_feed::socket::{JoinConfig, MulticastSocket};
use tickcast_feed::{Shard, ShardConfig, Share};
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
        let open = |line| -> io::Result<_> {
            let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?
                .local_addr()?
                .port();
            let group = SocketAddrV4::new(Ipv4Addr::new(239, 255, 80, line), port);
            let interface = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let join = JoinConfig::any_source(SocketAddr::V4(group), interface);
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
    let mut market = Market::new(MarketConfig {
        seed: 7,
        ..MarketConfig::default()
    });
    let config = PublisherConfig {
        session: SessionId::from_padded(name),
        ..PublisherConfig::default()
    };
    let mut publisher = Publisher::new(config, 0);
    let mut packets = Vec::new();
    let (mut message, mut packet) = (Vec::new(), Vec::new());
    let mut now = 0;
    for _ in 0..messages {
        message.clear();
        now = market.next(&mut message).offset_ns;
        publisher.handle_message(now, &message).unwrap();
        while publisher.poll_transmit(now, &mut packet) {
            packets.push(packet.clone());
        }
    }
    while publisher.next_sequence() > 0 && publisher.poll_transmit(now + 200_000, &mut packet) {
        packets.push(packet.clone());
    }
    packets
}

/// Shard `index` of `of`, and where its updates go.
pub(crate) fn shard(index: u16, of: u16, lines: u8) -> (Shard<Updates>, Subscription) {
    let (updates, subscription) = link::link(RING_SLOTS, WhenFull::Overrun);
    let mut config = ShardConfig::new(Protocol::MoldUdp64Itch50, 0, "XNAS");
    config.share = Share { index, of };
    config.arbiter.lines = lines;
    let shard = Shard::new(&config, updates, (), 0);
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
