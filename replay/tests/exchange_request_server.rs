//! The MoldUDP64 re-request server: what it answers, and whom.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proptest::prelude::*;
use tickcast_codecs::SessionId;
use tickcast_codecs::moldudp64::{DownstreamPacket, Request};
use tickcast_replay::exchange::{RequestServer, RequestServerConfig, Store};

const SECOND: u64 = 1_000_000_000;

fn session() -> SessionId {
    SessionId::from_padded(b"TICKCAST01")
}

fn peer(last: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), 31_000)
}

fn server() -> RequestServer {
    RequestServer::new(&RequestServerConfig::new(
        session(),
        vec![peer(1).ip(), peer(2).ip()],
    ))
}

/// Messages of 40 bytes.
fn store(messages: u64) -> Store {
    let mut store = Store::new(1 << 20);
    for n in 1..=messages {
        store.push(&[n.to_be_bytes(); 5].concat());
    }
    store
}

fn ask(sequence: u64, count: u16) -> [u8; 20] {
    Request::new(session(), sequence, count).encode()
}

/// The answer to one request from peer 1.
fn answer(server: &mut RequestServer, store: &Store, now: u64, bytes: &[u8]) -> Option<Vec<u8>> {
    server.handle_request(now, peer(1), bytes, store);
    let mut packet = Vec::new();
    let to = server.poll_transmit(u64::MAX, store, &mut packet)?;
    assert_eq!(to, peer(1));
    assert!(
        server
            .poll_transmit(u64::MAX, store, &mut Vec::new())
            .is_none()
    );
    Some(packet)
}

#[test]
fn a_request_earns_one_downstream_packet_with_the_messages_asked_for() {
    let (mut server, store) = (server(), store(100));
    let packet = answer(&mut server, &store, 0, &ask(5, 3)).unwrap();
    let packet = DownstreamPacket::parse(&packet).unwrap();
    assert_eq!(packet.session(), session());
    assert_eq!((packet.sequence(), packet.count()), (5, 3));
    for (message, sequence) in packet.blocks().zip(5..) {
        assert_eq!(Some(message), store.get(sequence));
    }
}

#[test]
fn r3_of_too_many_messages_those_that_fit_are_sent_and_the_rest_is_asked_for_again() {
    let (mut server, store) = (server(), store(100));
    let mut next = 1;
    let mut packets = 0;
    while next <= 100 {
        let bytes = answer(&mut server, &store, 0, &ask(next, 0xFFFF)).unwrap();
        assert!(bytes.len() <= 1_400);
        let packet = DownstreamPacket::parse(&bytes).unwrap();
        assert_eq!(packet.sequence(), next);
        assert!(packet.count() == 32 || packet.next_sequence() == 101);
        next = packet.next_sequence();
        packets += 1;
    }
    assert_eq!(packets, 4);
}

#[test]
fn what_is_not_there_or_not_of_the_session_is_not_answered() {
    let mut store = Store::new(400);
    for n in 1..=100_u64 {
        store.push(&[n.to_be_bytes(); 5].concat());
    }
    let mut server = server();
    let gone = store.first_sequence() - 1;
    let other = Request::new(SessionId::from_padded(b"OTHER"), 100, 1).encode();
    for bytes in [&ask(gone, 5)[..], &ask(101, 1), &ask(0, 1), &ask(100, 0)] {
        assert_eq!(answer(&mut server, &store, 0, bytes), None);
    }
    for bytes in [&other[..], b"", &ask(100, 1)[..19], &[0xff; 20]] {
        assert_eq!(answer(&mut server, &store, 0, bytes), None);
    }
    assert!(answer(&mut server, &store, 0, &ask(100, 1)).is_some());
    let counters = *server.counters();
    assert_eq!(counters.not_stored, 3);
    assert_eq!(counters.malformed, 4);
    assert_eq!(counters.other_session, 1);
    assert_eq!(counters.answered, 1);
    assert_eq!(counters.requests, 9);
}

#[test]
fn r10_unlisted_peers_get_no_byte() {
    let (mut server, store) = (server(), store(100));
    let mut packet = Vec::new();
    // 10,000 probes a second, for three seconds, from a hundred addresses.
    for n in 0..30_000_u64 {
        let from = peer(u8::try_from(100 + n % 100).unwrap());
        server.handle_request(n * 100_000, from, &ask(1, 100), &store);
        assert_eq!(server.poll_transmit(u64::MAX, &store, &mut packet), None);
    }
    let counters = server.counters();
    assert_eq!(counters.requests, 30_000);
    assert_eq!(counters.unlisted, 30_000);
    assert_eq!(counters.bytes, 0);
    assert!(packet.is_empty());
    // They took nothing from those who are listed.
    assert!(answer(&mut server, &store, 3 * SECOND, &ask(1, 1)).is_some());
}

#[test]
fn r10_listed_peers_are_limited_to_100_requests_in_any_second_each() {
    let (mut server, store) = (server(), store(100));
    let mut packet = Vec::new();
    let mut answered = [Vec::new(), Vec::new()];
    // 10,000 requests a second of one, 50 of the other, for three seconds.
    for n in 0..30_000_u64 {
        let now = n * 100_000;
        server.handle_request(now, peer(1), &ask(1, 100), &store);
        if n % 200 == 0 {
            server.handle_request(now, peer(2), &ask(1, 100), &store);
        }
        while let Some(to) = server.poll_transmit(u64::MAX, &store, &mut packet) {
            answered[usize::from(to == peer(2))].push(now);
        }
    }
    assert_eq!(answered[0].len(), 300);
    assert_eq!(answered[1].len(), 150);
    for times in &answered {
        for in_a_row in times.windows(101) {
            assert!(in_a_row[100] - in_a_row[0] >= SECOND);
        }
    }
    assert_eq!(server.counters().limited, 30_000 - 300);
}

#[test]
fn a_listed_peer_is_the_same_whatever_its_port_and_however_its_address_is_written() {
    let (mut server, store) = (server(), store(10));
    let IpAddr::V4(address) = peer(1).ip() else {
        panic!("an IPv4 address");
    };
    let mapped = SocketAddr::new(IpAddr::V6(address.to_ipv6_mapped()), 5);
    server.handle_request(0, mapped, &ask(1, 1), &store);
    assert_eq!(
        server.poll_transmit(u64::MAX, &store, &mut Vec::new()),
        Some(mapped)
    );
}

#[test]
fn answers_that_nobody_sends_are_bounded() {
    let store = store(10);
    let config = RequestServerConfig {
        requests_per_second_max: 1_000_000,
        ..RequestServerConfig::new(session(), vec![peer(1).ip()])
    };
    let mut server = RequestServer::new(&config);
    for _ in 0..1_000 {
        server.handle_request(0, peer(1), &ask(1, 1), &store);
    }
    let mut packet = Vec::new();
    let mut sent = 0;
    while server
        .poll_transmit(u64::MAX, &store, &mut packet)
        .is_some()
    {
        sent += 1;
    }
    assert_eq!(sent + server.counters().dropped, 1_000);
    assert_eq!(sent, 64);
}

#[test]
fn each_counter_has_a_sentence() {
    for (name, sentence, _) in server().counters().iter() {
        assert!(sentence.ends_with('.'), "{name}: {sentence}");
    }
}

proptest! {
    #[test]
    fn any_bytes_move_the_requests_and_one_more_counter(
        requests in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..50),
        from in 0_u8..4,
    ) {
        let (mut server, store) = (server(), store(10));
        for bytes in &requests {
            server.handle_request(0, peer(from), bytes, &store);
            while server.poll_transmit(u64::MAX, &store, &mut Vec::new()).is_some() {}
        }
        let counters = server.counters();
        prop_assert_eq!(counters.requests, requests.len() as u64);
        let outcomes = counters.answered + counters.unlisted + counters.limited + counters.malformed
            + counters.other_session + counters.not_stored + counters.dropped;
        prop_assert_eq!(counters.requests, outcomes);
    }
}
