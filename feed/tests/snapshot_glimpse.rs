//! Loading from a GLIMPSE server: the machine against bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod loading;

use loading::*;
use proptest::prelude::*;
use tickcast_codecs::SessionId;
use tickcast_codecs::protocol::{Normalizer, Protocol};
use tickcast_codecs::soupbintcp::{Frames, Packet, RejectReason};
use tickcast_feed::Share;
use tickcast_feed::limits::{LOAD_HEARTBEAT_NS, LOAD_IDLE_NS_MAX, SNAPSHOT_NS_MAX};
use tickcast_feed::snapshot::{LoadError, LoadRequest, Loaded, Loader, LoaderConfig};

const ITCH: Protocol = Protocol::MoldUdp64Itch50;

fn itch_load(bytes: &[u8]) -> Option<Result<Box<Loaded>, LoadError>> {
    load(&config(ITCH), request(50), bytes)
}

#[test]
fn the_login_goes_out_at_once_and_asks_for_sequence_1_of_the_active_session() {
    let mut loader = connected(&config(ITCH), request(50));
    let bytes = sent(&mut loader);
    let Ok(Packet::LoginRequest(login)) = Packet::parse(&bytes) else {
        panic!("{bytes:?}");
    };
    assert_eq!(login.username.as_str(), Some("user"));
    assert_eq!(login.password.as_str(), Some("secret"));
    assert!(login.requested_session.is_empty());
    assert_eq!(login.requested_sequence, 1);
    assert!(sent(&mut loader).is_empty());
}

#[test]
fn a_whole_snapshot_gives_books_that_the_feed_joins_at_the_named_sequence() {
    let loaded = itch_load(&answer(&orders(), 60)).unwrap().unwrap();
    assert_eq!(loaded.id, 7);
    assert_eq!(loaded.sequence, 60);
    assert_eq!(loaded.messages, 10);
    assert_eq!(loaded.market.order_count(), 10);
    assert_eq!(loaded.market.instruments().count(), 4);
    assert_eq!(loaded.market.counters().faults(), 0);
    assert_eq!(loaded.market.book_snapshot(3 << 16 | 1, 10).bids.len(), 3);
}

#[test]
fn a_snapshot_split_at_every_byte_is_the_same_snapshot() {
    let bytes = answer(&orders(), 60);
    for cut in 0..=bytes.len() {
        let mut loader = connected(&config(ITCH), request(50));
        loader.handle_bytes(0, &bytes[..cut]);
        let early = loader.poll();
        assert_eq!(early.is_some(), cut == bytes.len(), "cut at {cut}");
        loader.handle_bytes(0, &bytes[cut..]);
        let loaded = early.or_else(|| loader.poll()).unwrap().unwrap();
        assert_eq!(loaded.market.order_count(), 10);
    }
    let mut loader = connected(&config(ITCH), request(50));
    for byte in &bytes {
        assert!(loader.poll().is_none());
        loader.handle_bytes(0, core::slice::from_ref(byte));
    }
    assert_eq!(loader.poll().unwrap().unwrap().messages, 10);
}

#[test]
fn debug_packets_and_heartbeats_are_not_messages() {
    let mut bytes = packet(&Packet::Debug(b"machine 4"));
    bytes.extend(accepted(1));
    bytes.extend(packet(&Packet::ServerHeartbeat));
    bytes.extend(packet(&Packet::SequencedData(&orders()[0])));
    bytes.extend(packet(&Packet::Debug(b"")));
    bytes.extend(end(50));
    let loaded = itch_load(&bytes).unwrap().unwrap();
    assert_eq!(loaded.messages, 1);
}

#[test]
fn a_message_of_an_unknown_type_and_a_longer_one_are_no_error() {
    let mut longer = orders()[0].clone();
    longer.push(0);
    let messages = [longer, itch(b'z', 1, b"??")];
    let loaded = itch_load(&answer(&messages, 50)).unwrap().unwrap();
    assert_eq!(loaded.market.order_count(), 1);
}

#[test]
fn a_share_keeps_its_own_instruments_and_all_shares_together_keep_all() {
    let mut orders_kept = 0;
    for index in 0..3 {
        let config = LoaderConfig {
            share: Share { index, of: 3 },
            ..config(ITCH)
        };
        let loaded = load(&config, request(50), &answer(&orders(), 50))
            .unwrap()
            .unwrap();
        for (id, _) in loaded.market.instruments() {
            assert_eq!((id & 0xffff) % 3, u32::from(index));
        }
        assert_eq!(loaded.messages, 10);
        orders_kept += loaded.market.order_count();
    }
    assert_eq!(orders_kept, 10);
}

#[test]
fn the_midnight_of_the_request_dates_the_snapshot_and_is_good_for_its_session_only() {
    let midnight = 1_735_794_000 * SECOND;
    let request = LoadRequest {
        midnight: Some(midnight),
        ..request(50)
    };
    let loaded = load(&config(ITCH), request, &answer(&orders(), 50))
        .unwrap()
        .unwrap();
    assert_eq!(loaded.market.last().ts_event, midnight + 34_200 * SECOND);
    let mut normalizer = loaded.normalizer;
    normalizer.start_session();
    let Normalizer::Itch50(normalizer) = normalizer else {
        panic!("ITCH's normalizer");
    };
    assert_eq!(normalizer.midnight(), None);

    // Where it isn't known, times stay those of the day.
    let loaded = itch_load(&answer(&orders(), 50)).unwrap().unwrap();
    assert_eq!(loaded.market.last().ts_event, 34_200 * SECOND);
}

#[test]
fn only_a_login_at_sequence_1_gives_a_whole_snapshot() {
    // Sequenced packets carry no number: what begins at 2 lacks its first message, and nothing shows it.
    for sequence in [0, 2, 3, u64::MAX] {
        let bytes = [accepted(sequence), end(60)].concat();
        assert_eq!(error(itch_load(&bytes)), Some(LoadError::Inconsistent));
    }
    let bytes = [accepted(1), end(60)].concat();
    assert_eq!(itch_load(&bytes).unwrap().unwrap().messages, 0);
}

#[test]
fn r8_a_snapshot_older_than_the_gap_is_refused_and_one_that_just_reaches_it_is_not() {
    for (sequence, outcome) in [
        (0, Some(LoadError::TooOld)),
        (1, Some(LoadError::TooOld)),
        (49, Some(LoadError::TooOld)),
        (50, None),
        (51, None),
        (u64::MAX, None),
    ] {
        let outcome_here = itch_load(&answer(&orders(), sequence)).unwrap().err();
        assert_eq!(outcome_here, outcome, "sequence {sequence}");
    }
    // There is no sequence number 0, whatever is asked for.
    let outcome = load(&config(ITCH), request(0), &answer(&[], 0));
    assert_eq!(error(outcome), Some(LoadError::TooOld));
}

#[test]
fn r8_a_server_that_dies_or_ends_its_session_before_the_end_gives_no_books() {
    let bytes = answer(&orders(), 60);
    for cut in 0..bytes.len() {
        let mut loader = connected(&config(ITCH), request(50));
        loader.handle_bytes(0, &bytes[..cut]);
        loader.handle_closed(0);
        assert_eq!(
            error(loader.poll()),
            Some(LoadError::Closed),
            "cut at {cut}"
        );
        assert_eq!(loader.poll_timeout(), None);
    }
    for before in [vec![], accepted(1)] {
        let bytes = [before, packet(&Packet::EndOfSession), end(60)].concat();
        assert_eq!(error(itch_load(&bytes)), Some(LoadError::Closed));
    }
}

#[test]
fn r8_a_snapshot_of_another_session_is_refused_unless_the_venue_names_them_differently() {
    let other = packet(&Packet::LoginAccepted {
        session: SessionId::from_padded(b"20250101A"),
        sequence: 1,
    });
    let bytes = [other, end(60)].concat();
    assert_eq!(error(itch_load(&bytes)), Some(LoadError::OtherSession));
    let config = LoaderConfig {
        same_session: false,
        ..config(ITCH)
    };
    assert!(load(&config, request(50), &bytes).unwrap().is_ok());
}

#[test]
fn r8_a_server_that_says_nothing_is_dead_after_15_seconds() {
    let mut loader = connected(&config(ITCH), request(50));
    let _ = sent(&mut loader);
    assert_eq!(loader.poll_timeout(), Some(LOAD_IDLE_NS_MAX));
    loader.handle_timeout(LOAD_IDLE_NS_MAX - 1);
    assert!(loader.poll().is_none());
    loader.handle_bytes(LOAD_IDLE_NS_MAX - 1, &accepted(1));
    loader.handle_timeout(LOAD_IDLE_NS_MAX);
    assert!(loader.poll().is_none());
    // What comes later is too late.
    loader.handle_bytes(2 * LOAD_IDLE_NS_MAX - 1, &end(60));
    assert_eq!(error(loader.poll()), Some(LoadError::TimedOut));
}

#[test]
fn r8_a_server_that_never_ends_is_given_up_however_lively_it_is() {
    let mut loader = connected(&config(ITCH), request(50));
    loader.handle_bytes(0, &accepted(1));
    let heartbeat = packet(&Packet::ServerHeartbeat);
    let mut now = 0;
    let outcome = loop {
        now += SECOND;
        loader.handle_bytes(now, &heartbeat);
        if let Some(outcome) = loader.poll() {
            break outcome;
        }
    };
    assert_eq!(outcome.unwrap_err(), LoadError::TimedOut);
    assert_eq!(now, SNAPSHOT_NS_MAX);
}

#[test]
fn a_client_heartbeat_goes_out_each_second_once_logged_in() {
    let mut loader = connected(&config(ITCH), request(50));
    let _ = sent(&mut loader);
    loader.handle_timeout(LOAD_HEARTBEAT_NS);
    assert!(sent(&mut loader).is_empty(), "not before the login");
    loader.handle_bytes(LOAD_HEARTBEAT_NS, &accepted(1));
    let mut now = LOAD_HEARTBEAT_NS;
    for _ in 0..5 {
        loader.handle_timeout(now);
        assert_eq!(sent(&mut loader), packet(&Packet::ClientHeartbeat));
        loader.handle_timeout(now + LOAD_HEARTBEAT_NS - 1);
        assert!(sent(&mut loader).is_empty());
        now = loader.poll_timeout().unwrap();
    }
    assert_eq!(now, 6 * LOAD_HEARTBEAT_NS);
}

#[test]
fn a_rejected_login_is_an_outcome() {
    for reason in [
        RejectReason::NotAuthorized,
        RejectReason::SessionNotAvailable,
        RejectReason::Other(b'?'),
    ] {
        let bytes = packet(&Packet::LoginRejected(reason));
        assert_eq!(error(itch_load(&bytes)), Some(LoadError::Rejected));
    }
}

#[test]
fn r5_what_is_not_the_servers_to_say_is_malformed() {
    let data = packet(&Packet::SequencedData(&orders()[0]));
    for bytes in [
        data,
        packet(&Packet::ServerHeartbeat),
        packet(&Packet::ClientHeartbeat),
        packet(&Packet::LogoutRequest),
        packet(&Packet::UnsequencedData(b"x")),
        [accepted(1), accepted(1)].concat(),
        [
            accepted(1),
            packet(&Packet::LoginRejected(RejectReason::NotAuthorized)),
        ]
        .concat(),
        [accepted(1), packet(&Packet::UnsequencedData(b"x"))].concat(),
        vec![0, 0],
        vec![0, 1, b'?'],
        vec![0, 1, b'A'],
        [accepted(1), packet(&Packet::SequencedData(b""))].concat(),
        [accepted(1), packet(&Packet::SequencedData(b"G12"))].concat(),
        [
            accepted(1),
            packet(&Packet::SequencedData(b"G99999999999999999999")),
        ]
        .concat(),
        [
            accepted(1),
            packet(&Packet::SequencedData(&orders()[0][..35])),
        ]
        .concat(),
        // An order of no instrument.
        [
            accepted(1),
            packet(&Packet::SequencedData(&add(0, 1, b'B', 1, 1))),
        ]
        .concat(),
    ] {
        assert_eq!(
            error(itch_load(&bytes)),
            Some(LoadError::Malformed),
            "{bytes:?}"
        );
    }
}

#[test]
fn r5_messages_that_the_books_refuse_are_inconsistent() {
    let first = orders()[0].clone();
    for second in [
        first.clone(),
        delete(1, 4),
        add(1, 2, b'B', 0, 1),
        add(1, 2, b'B', 1, 0),
    ] {
        let bytes = answer(&[first.clone(), second], 60);
        assert_eq!(error(itch_load(&bytes)), Some(LoadError::Inconsistent));
    }
}

#[test]
fn after_the_outcome_nothing_moves() {
    let mut loader = connected(&config(ITCH), request(50));
    loader.handle_bytes(0, &answer(&orders(), 60));
    assert!(loader.poll().unwrap().is_ok());
    loader.handle_bytes(1, &[0xff; 100]);
    loader.handle_timeout(u64::MAX);
    loader.handle_closed(u64::MAX);
    loader.handle_connected(u64::MAX);
    assert!(loader.poll().is_none());
    assert_eq!(loader.poll_timeout(), None);
    assert!(sent(&mut loader).is_empty());
}

#[test]
fn the_password_is_shown_nowhere() {
    let config = config(ITCH);
    let loader = connected(&config, request(50));
    for shown in [format!("{config:?}"), format!("{:?}", loader.request())] {
        assert!(!shown.contains("secret"), "{shown}");
    }
}

#[test]
fn every_single_bit_flip_ends_in_one_outcome_or_a_wait() {
    let bytes = answer(&orders()[..3], 60);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let mut loader = connected(&config(ITCH), request(50));
        loader.handle_bytes(0, &flipped);
        loader.handle_closed(0);
        assert!(loader.poll().is_some(), "bit {bit}");
        assert!(loader.poll().is_none());
    }
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_give_at_most_one_outcome(
        seed in prop::collection::vec(any::<u8>(), 0..2_000),
        pieces in prop::collection::vec(1_usize..200, 1..20),
        logged_in: bool,
    ) {
        let mut loader: Loader = connected(&config(ITCH), request(50));
        if logged_in {
            loader.handle_bytes(0, &accepted(1));
        }
        let mut rest = &seed[..];
        let mut outcomes = 0;
        for (now, piece) in pieces.iter().cycle().enumerate() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*piece).min(rest.len()));
            rest = after;
            loader.handle_bytes(now as u64, piece);
            outcomes += u32::from(loader.poll().is_some());
        }
        loader.handle_closed(0);
        outcomes += u32::from(loader.poll().is_some());
        prop_assert_eq!(outcomes, 1);
    }

    #[test]
    fn what_the_client_sends_is_always_packets(timeouts in prop::collection::vec(0_u64..3, 0..40)) {
        let mut loader = connected(&config(ITCH), request(50));
        let mut frames = Frames::new();
        let mut now = 0;
        frames.handle_bytes(&sent(&mut loader));
        loader.handle_bytes(0, &accepted(1));
        for step in timeouts {
            now += step * LOAD_HEARTBEAT_NS / 2;
            loader.handle_timeout(now);
            frames.handle_bytes(&sent(&mut loader));
        }
        let mut packets = 0;
        while let Some(packet) = frames.poll() {
            prop_assert!(packet.is_ok());
            packets += 1;
        }
        prop_assert!(packets >= 1 && packets <= 1 + now / LOAD_HEARTBEAT_NS);
        prop_assert_eq!(frames.held(), 0);
    }
}
