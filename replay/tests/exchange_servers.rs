//! The servers on sockets of the loopback interface.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tickcast_codecs::SessionId;
use tickcast_codecs::iextp::{GapFillRequest, Segment, Stream};
use tickcast_codecs::moldudp64::{DownstreamPacket, Request};
use tickcast_codecs::types::Text;
use tickcast_replay::exchange::{
    GapFillConfig, GlimpseConfig, Manner, RequestServerConfig, Servers, Snapshot, Store,
};
use tickcast_replay::limits::CONNECTIONS_MAX;

const STREAM: Stream = Stream {
    message_protocol_id: 0x8004,
    channel_id: 1,
    session_id: 77,
};

fn store(messages: u64) -> Arc<Mutex<Store>> {
    let mut store = Store::new(1 << 20);
    for n in 1..=messages {
        store.push(&[n.to_be_bytes(); 5].concat());
    }
    Arc::new(Mutex::new(store))
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A client's socket on an address of the loopback network.
fn socket(last: u8) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    socket
}

fn session() -> SessionId {
    SessionId::from_padded(b"TICKCAST01")
}

fn peers() -> Vec<IpAddr> {
    vec![local(0).ip()]
}

/// Waits for what other threads will surely bring about.
fn wait_until(mut what: impl FnMut() -> bool) {
    while !what() {
        std::thread::yield_now();
    }
}

#[test]
fn a_request_over_udp_is_answered_to_its_source() {
    let mut servers = Servers::new(store(100), false);
    let address = servers
        .request(local(0), &RequestServerConfig::new(session(), peers()))
        .unwrap();
    let client = socket(1);
    client
        .send_to(&Request::new(session(), 98, 10).encode(), address)
        .unwrap();
    let mut buffer = [0; 2_000];
    let (len, from) = client.recv_from(&mut buffer).unwrap();
    assert_eq!(from, address);
    let packet = DownstreamPacket::parse(&buffer[..len]).unwrap();
    assert_eq!((packet.sequence(), packet.count()), (98, 3));
    servers.stop();
    assert_eq!(servers.request_counters().unwrap().answered, 1);
}

#[test]
fn r10_unlisted_addresses_get_no_byte() {
    let mut servers = Servers::new(store(100), false);
    let config = RequestServerConfig::new(session(), peers());
    let requests = servers.request(local(0), &config).unwrap();
    let gap_fills = servers
        .gap_fill_udp(local(0), &GapFillConfig::new(STREAM, peers()))
        .unwrap();
    let client = socket(2);
    let mut test = Vec::new();
    GapFillRequest::encode(&mut test, STREAM, &[]).unwrap();
    for _ in 0..1_000 {
        client
            .send_to(&Request::new(session(), 1, 100).encode(), requests)
            .unwrap();
        client.send_to(&test, gap_fills).unwrap();
    }
    // Once a listed peer's later request is answered, all of those have been looked at, or lost by
    // the kernel; which may lose that request too.
    let listed = socket(1);
    listed
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let mut buffer = [0; 2_000];
    let mut ask = |request: &[u8], server: SocketAddr| {
        loop {
            listed.send_to(request, server).unwrap();
            if let Ok((len, from)) = listed.recv_from(&mut buffer)
                && from == server
            {
                return buffer[..len].to_vec();
            }
        }
    };
    ask(&Request::new(session(), 1, 1).encode(), requests);
    let answer = ask(&test, gap_fills);
    assert!(Segment::parse(&answer).unwrap().is_heartbeat());
    client.set_nonblocking(true).unwrap();
    assert_eq!(
        client.recv_from(&mut buffer).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    let counters = servers.request_counters().unwrap();
    assert_eq!(counters.requests, counters.unlisted + counters.answered);
    assert!(counters.unlisted > 0);
    let counters = servers.gap_fill_counters().unwrap();
    assert_eq!(counters.requests, counters.unlisted + counters.answered);
}

#[test]
fn r10_an_unlisted_address_is_not_let_in_over_tcp() {
    let mut servers = Servers::new(store(100), false);
    let address = servers
        .gap_fill_tcp(
            local(0),
            &GapFillConfig::new(STREAM, vec![IpAddr::from([10, 0, 0, 1])]),
        )
        .unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    let mut bytes = Vec::new();
    GapFillRequest::encode(&mut bytes, STREAM, &[(1, 100)]).unwrap();
    // The server may be gone before or after this.
    let _ = client.write_all(&bytes);
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    assert!(answer.is_empty());
    wait_until(|| servers.connection_counters().unlisted == 1);
    assert_eq!(servers.connection_counters().bytes, 0);
}

#[test]
fn a_gap_fill_over_tcp_is_answered_and_closed() {
    let mut servers = Servers::new(store(10), false);
    let address = servers
        .gap_fill_tcp(local(0), &GapFillConfig::new(STREAM, peers()))
        .unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    let mut bytes = Vec::new();
    GapFillRequest::encode(&mut bytes, STREAM, &[(3, 1_000)]).unwrap();
    client.write_all(&bytes).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    let segment = Segment::parse(&answer).unwrap();
    assert_eq!((segment.sequence(), segment.count()), (3, 8));
}

#[test]
fn a_public_address_is_refused_unless_it_is_allowed() {
    let mut servers = Servers::new(store(0), false);
    for address in ["8.8.8.8:0", "0.0.0.0:0", "[::]:0", "[2001:db8::1]:0"] {
        let address: SocketAddr = address.parse().unwrap();
        let config = RequestServerConfig::new(session(), peers());
        let gap_fill = GapFillConfig::new(STREAM, peers());
        for refused in [
            servers.request(address, &config),
            servers.gap_fill_udp(address, &gap_fill),
            servers.gap_fill_tcp(address, &gap_fill),
        ] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            assert!(error.to_string().contains(&address.to_string()));
        }
    }
}

#[test]
fn connections_are_bounded_and_a_closed_one_makes_room() {
    let mut servers = Servers::new(store(0), false);
    let config = GlimpseConfig {
        session: session(),
        username: Text::from_padded(b"user"),
        password: Text::from_padded(b"secret"),
        manner: Manner::Honest,
    };
    let address = servers
        .glimpse(local(0), &config, Arc::new(Snapshot::default))
        .unwrap();
    let mut clients = Vec::new();
    for n in 1..=CONNECTIONS_MAX as u64 {
        clients.push(TcpStream::connect(address).unwrap());
        wait_until(|| servers.connection_counters().accepted == n);
    }
    let mut refused = TcpStream::connect(address).unwrap();
    assert!(!matches!(refused.read(&mut [0; 10]), Ok(1..)));
    assert_eq!(servers.connection_counters().busy, 1);
    clients.pop();
    let before = servers.connection_counters();
    let mut tried = 0;
    wait_until(|| {
        clients.push(TcpStream::connect(address).unwrap());
        tried += 1;
        let judged = |servers: &Servers| {
            let counters = servers.connection_counters();
            counters.accepted + counters.busy - before.accepted - before.busy
        };
        wait_until(|| judged(&servers) == tried);
        servers.connection_counters().accepted > before.accepted
    });
    servers.stop();
}
