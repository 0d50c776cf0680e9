//! The IEX gap fill servers, over UDP and TCP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proptest::prelude::*;
use tickcast_codecs::iextp::{GapFillRequest, Segment, Segments, Stream};
use tickcast_replay::exchange::{GapFillConfig, GapFillConnection, GapFillServer, Store};
use tickcast_replay::limits::REQUEST_WAIT_NS_MAX;

const SECOND: u64 = 1_000_000_000;
const STREAM: Stream = Stream {
    message_protocol_id: 0x8004,
    channel_id: 1,
    session_id: 77,
};

fn peer(last: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), 31_000)
}

fn server() -> GapFillServer {
    GapFillServer::new(&GapFillConfig::new(STREAM, vec![peer(1).ip()]))
}

/// Messages of 40 bytes.
fn store(messages: u64) -> Store {
    let mut store = Store::new(1 << 20);
    for n in 1..=messages {
        store.push(&[n.to_be_bytes(); 5].concat());
    }
    store
}

fn ask(stream: Stream, ranges: &[(u64, u64)]) -> Vec<u8> {
    let mut out = Vec::new();
    GapFillRequest::encode(&mut out, stream, ranges).unwrap();
    out
}

/// All segments that answer one request of peer 1.
fn answers(server: &mut GapFillServer, store: &Store, now: u64, bytes: &[u8]) -> Vec<Vec<u8>> {
    server.handle_request(now, peer(1), bytes, store);
    let mut all = Vec::new();
    let mut packet = Vec::new();
    while let Some(to) = server.poll_transmit(9, store, &mut packet) {
        assert_eq!(to, peer(1));
        all.push(packet.clone());
    }
    all
}

/// The sequence numbers in segments; each message is what is stored.
fn sequences(segments: &[Vec<u8>], store: &Store) -> Vec<u64> {
    let mut all = Vec::new();
    for bytes in segments {
        let segment = Segment::parse(bytes).unwrap();
        assert_eq!((segment.protocol(), segment.channel()), (0x8004, 1));
        assert_eq!(segment.session().as_str(), Some("77"));
        assert_eq!(segment.send_time(), 9);
        assert_eq!(
            Some(segment.stream_offset().unsigned_abs()),
            store.stream_offset(segment.sequence())
        );
        for (message, sequence) in segment.messages().zip(segment.sequence()..) {
            assert_eq!(Some(message), store.get(sequence));
            all.push(sequence);
        }
    }
    all
}

#[test]
fn over_udp_several_ranges_are_answered_by_segments_that_fit_a_packet() {
    let (mut server, store) = (server(), store(500));
    let bytes = ask(STREAM, &[(5, 7), (100, 199), (500, 600)]);
    let segments = answers(&mut server, &store, 0, &bytes);
    assert!(segments.iter().all(|segment| segment.len() <= 1_400));
    let wanted: Vec<u64> = (5..=7).chain(100..=199).chain([500]).collect();
    assert_eq!(sequences(&segments, &store), wanted);
    assert_eq!(server.counters().messages, 104);
}

#[test]
fn r3_over_udp_an_answer_ends_at_1_000_messages() {
    let (mut server, store) = (server(), store(5_000));
    let bytes = ask(STREAM, &[(1, 600), (700, 5_000)]);
    let segments = answers(&mut server, &store, 0, &bytes);
    let wanted: Vec<u64> = (1..=600).chain(700..=1_099).collect();
    assert_eq!(sequences(&segments, &store), wanted);
}

#[test]
fn over_udp_a_request_without_ranges_is_answered_by_a_segment_without_payload() {
    for messages in [0, 12] {
        let (mut server, store) = (server(), store(messages));
        let segments = answers(&mut server, &store, 0, &ask(STREAM, &[]));
        let [bytes] = &segments[..] else {
            panic!("{segments:?}");
        };
        let segment = Segment::parse(bytes).unwrap();
        assert!(segment.is_heartbeat());
        assert_eq!(segment.sequence(), messages + 1);
        assert_eq!(segment.stream_offset().unsigned_abs(), messages * 42);
    }
}

#[test]
fn over_udp_an_invalid_request_is_ignored() {
    let (mut server, store) = (server(), store(50));
    let mut descending = ask(STREAM, &[(1, 2), (5, 6)]);
    descending[16] = 9;
    let mut bytestream = ask(STREAM, &[(1, 2)]);
    bytestream[1] = 2;
    let other = Stream {
        session_id: 78,
        ..STREAM
    };
    let many: Vec<(u64, u64)> = (1..=91).map(|n| (3 * n, 3 * n)).collect();
    for bytes in [
        descending,
        bytestream,
        ask(other, &[(1, 2)]),
        ask(STREAM, &[(51, 60)]),
        ask(STREAM, &many),
        ask(STREAM, &[(1, 2)])[..31].to_vec(),
        Vec::new(),
    ] {
        assert!(answers(&mut server, &store, 0, &bytes).is_empty());
    }
    let counters = server.counters();
    assert_eq!(counters.requests, 7);
    assert_eq!(counters.answered, 0);
    assert_eq!(counters.malformed + counters.dropped, 5);
    assert_eq!(counters.other_stream, 1);
    assert_eq!(counters.not_stored, 1);
}

#[test]
fn r10_unlisted_peers_get_no_byte() {
    let (mut server, store) = (server(), store(50));
    for n in 0..10_000 {
        let bytes = ask(STREAM, if n % 2 == 0 { &[] } else { &[(1, 50)] });
        server.handle_request(n * 100_000, peer(2), &bytes, &store);
        assert_eq!(server.poll_transmit(9, &store, &mut Vec::new()), None);
    }
    assert_eq!(server.counters().unlisted, 10_000);
    assert_eq!(server.counters().bytes, 0);
    let limited = (0..10_000)
        .filter(|n| !answers(&mut server, &store, n * 100_000, &ask(STREAM, &[])).is_empty())
        .count();
    assert_eq!(limited, 100);
}

/// All bytes that a connection sends.
fn stream(connection: &mut GapFillConnection, store: &Store) -> Vec<Vec<u8>> {
    let mut segments = Vec::new();
    let mut out = Vec::new();
    while connection.poll_transmit(9, store, &mut out) {
        assert!(out.len() <= 64 * 1024);
        segments.push(out.clone());
    }
    segments
}

#[test]
fn over_tcp_the_whole_session_is_sent_and_then_the_connection_is_closed() {
    let store = store(10_000);
    let mut connection = GapFillConnection::new(STREAM, 0);
    connection.handle_bytes(&ask(STREAM, &[(1, 9_990)]));
    let segments = stream(&mut connection, &store);
    assert_eq!(
        sequences(&segments, &store),
        (1..=9_990).collect::<Vec<u64>>()
    );
    assert!(connection.is_closing());

    let mut cut = Segments::new();
    let mut count = 0;
    for piece in segments.concat().chunks(1_000) {
        assert_eq!(cut.handle_bytes(piece), piece.len());
        while let Some(segment) = cut.poll() {
            count += u64::from(segment.unwrap().count());
        }
    }
    assert_eq!(count, 9_990);
}

#[test]
fn over_tcp_a_range_beyond_the_publication_ends_where_that_is() {
    let store = store(100);
    let mut connection = GapFillConnection::new(STREAM, 0);
    connection.handle_bytes(&ask(STREAM, &[(90, 1_000_000)]));
    let segments = stream(&mut connection, &store);
    assert_eq!(
        sequences(&segments, &store),
        (90..=100).collect::<Vec<u64>>()
    );
    assert!(connection.is_closing());
}

#[test]
fn over_tcp_several_requests_go_on_where_the_last_ended() {
    let store = store(100);
    let mut connection = GapFillConnection::new(STREAM, 0);
    let bytes = [
        ask(STREAM, &[(1, 5), (8, 9)]),
        ask(STREAM, &[(10, 12), (20, 20)]),
    ]
    .concat();
    for byte in &bytes {
        connection.handle_bytes(core::slice::from_ref(byte));
    }
    let wanted: Vec<u64> = (1..=5).chain(8..=12).chain([20]).collect();
    assert_eq!(sequences(&stream(&mut connection, &store), &store), wanted);
}

#[test]
fn over_tcp_an_invalid_request_ends_the_session() {
    let store = store(100);
    let other = Stream {
        channel_id: 2,
        ..STREAM
    };
    let mut huge = ask(STREAM, &[]);
    huge[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut version = ask(STREAM, &[(1, 2)]);
    version[0] = 2;
    for bytes in [
        ask(other, &[(1, 2)]),
        huge,
        version,
        [ask(STREAM, &[(5, 9)]), ask(STREAM, &[(9, 10)])].concat(),
        ask(STREAM, &[]),
    ] {
        let mut connection = GapFillConnection::new(STREAM, 0);
        connection.handle_bytes(&bytes);
        assert!(connection.is_closing());
        assert!(stream(&mut connection, &store).is_empty());
    }
}

#[test]
fn over_tcp_what_is_not_stored_any_more_ends_the_session() {
    let mut store = Store::new(400);
    for n in 0..100_u64 {
        store.push(&[n.to_be_bytes(); 5].concat());
    }
    let mut connection = GapFillConnection::new(STREAM, 0);
    connection.handle_bytes(&ask(STREAM, &[(1, 100)]));
    assert!(stream(&mut connection, &store).is_empty());
    assert!(connection.is_closing());
    assert_eq!(connection.counters().not_stored, 1);
}

#[test]
fn over_tcp_a_client_that_asks_for_nothing_is_sent_away() {
    let mut connection = GapFillConnection::new(STREAM, 5);
    assert_eq!(connection.poll_timeout(), Some(5 + REQUEST_WAIT_NS_MAX));
    connection.handle_timeout(4 + REQUEST_WAIT_NS_MAX);
    assert!(!connection.is_closing());
    connection.handle_timeout(5 + REQUEST_WAIT_NS_MAX);
    assert!(connection.is_closing());
    let mut connection = GapFillConnection::new(STREAM, 5);
    connection.handle_bytes(&ask(STREAM, &[(1, 2)]));
    connection.handle_timeout(100 * SECOND);
    assert!(!connection.is_closing());
}

proptest! {
    #[test]
    fn any_bytes_over_tcp_end_the_session_or_wait_for_more(
        mut bytes in prop::collection::vec(any::<u8>(), 0..3_000),
        ranges in prop::option::of(0_u8..100),
        piece in 1_usize..100,
    ) {
        let store = store(10);
        if let Some(ranges) = ranges {
            let head = ask(STREAM, &[]);
            for (to, from) in bytes.iter_mut().zip(&head[..12]) {
                *to = *from;
            }
            if let Some(count) = bytes.get_mut(12..16) {
                count.copy_from_slice(&u32::from(ranges).to_le_bytes());
            }
        }
        let mut connection = GapFillConnection::new(STREAM, 0);
        let mut out = Vec::new();
        for piece in bytes.chunks(piece) {
            connection.handle_bytes(piece);
            while connection.poll_transmit(9, &store, &mut out) {
                prop_assert!(Segment::parse(&out).is_ok());
            }
        }
        let counters = connection.counters();
        prop_assert!(counters.malformed + counters.other_stream <= 1);
    }

    #[test]
    fn any_bytes_over_udp_earn_only_segments(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (mut server, store) = (server(), store(10));
        for segment in answers(&mut server, &store, 0, &bytes) {
            prop_assert!(Segment::parse(&segment).is_ok());
        }
    }
}
