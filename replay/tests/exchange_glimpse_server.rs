//! The GLIMPSE server against the loader that is its client, without sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use tickcast_codecs::protocol::Protocol;
use tickcast_codecs::soupbintcp::{Frames, LoginRequest, Packet, RejectReason};
use tickcast_codecs::types::Text;
use tickcast_codecs::{Level, SessionId, Side};
use tickcast_feed::Share;
use tickcast_feed::snapshot::{LoadError, LoadRequest, Loaded, Loader, LoaderConfig};
use tickcast_replay::exchange::{
    GlimpseConfig, GlimpseServer, Manner, Market, MarketConfig, Snapshot,
};
use tickcast_replay::limits::STREAM_IDLE_NS_MAX;

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

fn session() -> SessionId {
    SessionId::from_padded(b"TICKCAST01")
}

fn serve(manner: Manner) -> GlimpseConfig {
    GlimpseConfig {
        session: session(),
        username: Text::from_padded(b"user"),
        password: Text::from_padded(b"secret"),
        manner,
    }
}

fn client() -> LoaderConfig {
    LoaderConfig {
        protocol: Protocol::MoldUdp64Itch50,
        number: 0,
        venue: Text::from_padded(b"TEST"),
        share: Share::WHOLE,
        username: Text::from_padded(b"user"),
        password: Text::from_padded(b"secret"),
        same_session: true,
    }
}

/// The first messages of a market as a snapshot: replayed from the start they make its books.
fn snapshot(messages: u64) -> Snapshot {
    let mut market = Market::new(MarketConfig::default());
    let mut message = Vec::new();
    Snapshot::new(messages + 1, |each| {
        for _ in 0..messages {
            message.clear();
            market.next(&mut message);
            each(&message);
        }
    })
}

/// Runs a client against a server, each byte delivered at once, until the client has an outcome; gives
/// the time that took.
fn run(manner: Manner, messages: u64) -> (Result<Box<Loaded>, LoadError>, u64) {
    let snapshot = snapshot(messages);
    let request = LoadRequest {
        id: 1,
        session: session(),
        not_before: 2,
        midnight: None,
        iextp_channel: 1,
    };
    let mut now = 0;
    let mut server = GlimpseServer::new(serve(manner), now);
    let mut loader = Loader::new(&client(), request, now);
    loader.handle_connected(now);
    let mut bytes = Vec::new();
    loop {
        while loader.poll_transmit(&mut bytes) {
            server.handle_bytes(now, &bytes, &mut || snapshot.clone());
        }
        while server.poll_transmit(now, &mut bytes) {
            assert!(bytes.len() <= 64 * 1024 + 100);
            loader.handle_bytes(now, &bytes);
        }
        if server.is_closing() {
            loader.handle_closed(now);
        }
        if let Some(outcome) = loader.poll() {
            return (outcome, now);
        }
        let due = [loader.poll_timeout(), server.poll_timeout()];
        now = due.into_iter().flatten().min().unwrap().max(now + 1);
        loader.handle_timeout(now);
        server.handle_timeout(now);
    }
}

#[test]
fn an_honest_server_gives_the_books_at_once() {
    let (outcome, took) = run(Manner::Honest, 5_000);
    let loaded = outcome.unwrap();
    assert_eq!(took, 0);
    assert_eq!((loaded.sequence, loaded.messages), (5_001, 5_000));
    let mut market = Market::new(MarketConfig::default());
    for _ in 0..5_000 {
        market.next(&mut Vec::new());
    }
    for (id, _) in loaded.market.instruments() {
        let locate = u16::try_from(id & 0xffff).unwrap();
        for side in [Side::Bid, Side::Ask] {
            let told: Vec<Level> = loaded.market.book(id).levels(side).collect();
            let true_levels: Vec<Level> = market.levels(locate, side, usize::MAX).collect();
            assert_eq!(told, true_levels, "instrument {locate}");
        }
    }
}

#[test]
fn r8_each_manner_of_failing_has_its_error() {
    for (manner, error) in [
        (Manner::DiesHalfWay, LoadError::Closed),
        (Manner::NeverEnds, LoadError::TimedOut),
        (Manner::TooOld, LoadError::TooOld),
        (Manner::Garbage, LoadError::Malformed),
        (Manner::Rejects, LoadError::Rejected),
        (Manner::OtherSession, LoadError::OtherSession),
        (Manner::Silent, LoadError::TimedOut),
    ] {
        let (outcome, _) = run(manner, 500);
        assert_eq!(outcome.unwrap_err(), error, "{manner:?}");
    }
}

#[test]
fn r2_a_slow_server_is_waited_for_as_long_as_it_lives() {
    let pause_ns = 100 * MILLISECOND;
    let (outcome, took) = run(Manner::Slow { pause_ns }, 2_000);
    assert_eq!(outcome.unwrap().messages, 2_000);
    assert!((2 * SECOND..20 * SECOND).contains(&took), "{took}");
    // Heartbeats don't make up for messages.
    let pause_ns = 20 * SECOND;
    let (outcome, _) = run(Manner::Slow { pause_ns }, 100);
    assert_eq!(outcome.unwrap_err(), LoadError::TimedOut);
}

fn login(username: &[u8], password: &[u8], session: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Packet::LoginRequest(LoginRequest {
        username: Text::from_padded(username),
        password: Text::from_padded(password),
        requested_session: SessionId::from_padded(session),
        requested_sequence: 1,
    })
    .encode(&mut bytes)
    .unwrap();
    bytes
}

/// What the server says first to these bytes.
fn first_answer(bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut server = GlimpseServer::new(serve(Manner::Honest), 0);
    server.handle_bytes(0, bytes, &mut || snapshot(1));
    let mut out = Vec::new();
    server.poll_transmit(0, &mut out);
    (out, server.is_closing())
}

#[test]
fn names_are_compared_without_case_and_sessions_exactly() {
    for (bytes, accepted) in [
        (login(b"USER", b"Secret", b""), true),
        (login(b"user", b"secret", b"TICKCAST01"), true),
        (login(b"user", b"secret", b"TICKCAST02"), false),
        (login(b"user", b"secre", b""), false),
        (login(b"", b"", b""), false),
    ] {
        let (out, closing) = first_answer(&bytes);
        let mut frames = Frames::new();
        frames.handle_bytes(&out);
        match frames.poll().unwrap().unwrap() {
            Packet::LoginAccepted { sequence, .. } => assert!(accepted && sequence == 1),
            Packet::LoginRejected(reason) => {
                assert!(!accepted && closing);
                assert_ne!(reason, RejectReason::Other(0));
                assert!(frames.poll().is_none(), "nothing follows a rejection");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_snapshot_is_taken_only_for_who_logged_in() {
    let mut server = GlimpseServer::new(serve(Manner::Honest), 0);
    let mut taken = 0;
    for bytes in [b"\0\x01R".to_vec(), login(b"user", b"wrong", b"")] {
        server.handle_bytes(0, &bytes, &mut || {
            taken += 1;
            Snapshot::default()
        });
    }
    assert_eq!(taken, 0);
    assert!(server.is_closing());
}

#[test]
fn a_heartbeat_goes_out_each_second_and_a_silent_client_is_given_up() {
    let mut server = GlimpseServer::new(serve(Manner::Honest), 0);
    server.handle_bytes(0, &login(b"user", b"secret", b""), &mut || snapshot(10));
    let mut out = Vec::new();
    while server.poll_transmit(0, &mut out) {}
    assert!(server.is_told());
    let mut heartbeats = 0;
    while let Some(now) = server.poll_timeout() {
        server.handle_timeout(now);
        while server.poll_transmit(now, &mut out) {
            assert_eq!(out, b"\0\x01H");
            heartbeats += 1;
        }
        if server.is_closing() {
            assert_eq!(now, STREAM_IDLE_NS_MAX);
        }
    }
    assert_eq!(heartbeats, 14);
}

#[test]
fn a_logout_closes_the_connection() {
    let mut server = GlimpseServer::new(serve(Manner::Honest), 0);
    server.handle_bytes(0, &login(b"user", b"secret", b""), &mut || snapshot(10));
    server.handle_bytes(0, b"\0\x01O", &mut || unreachable!());
    assert!(server.is_closing());
    assert_eq!(server.poll_timeout(), None);
}

#[test]
fn the_password_is_shown_nowhere() {
    let server = GlimpseServer::new(serve(Manner::Honest), 0);
    assert!(!format!("{server:?}").contains("secret"));
}

proptest! {
    #[test]
    fn any_bytes_from_a_client_are_answered_by_packets_or_not_at_all(
        bytes in prop::collection::vec(any::<u8>(), 0..500),
        piece in 1_usize..50,
        logged_in: bool,
    ) {
        let mut server = GlimpseServer::new(serve(Manner::Honest), 0);
        let mut frames = Frames::new();
        let mut out = Vec::new();
        let head = if logged_in { login(b"user", b"secret", b"") } else { Vec::new() };
        for piece in [&head[..], &bytes].concat().chunks(piece) {
            server.handle_bytes(0, piece, &mut || snapshot(3));
            while server.poll_transmit(0, &mut out) {
                frames.handle_bytes(&out);
                while let Some(packet) = frames.poll() {
                    prop_assert!(packet.is_ok());
                }
            }
        }
        prop_assert_eq!(frames.held(), 0);
    }
}
