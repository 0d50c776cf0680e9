//! Loading from an IEX gap fill server over TCP: the machine against bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod loading;

use loading::{SECOND, config, connected, error, sent};
use proptest::prelude::*;
use tickcast_codecs::SessionId;
use tickcast_codecs::iextp::{GapFillRequest, Ranges, SegmentEncoder, Stream};
use tickcast_codecs::protocol::Protocol;
use tickcast_feed::limits::{LOAD_IDLE_NS_MAX, LOAD_STALL_NS_MAX, RETRANSMISSION_CAUGHT_UP_NS};
use tickcast_feed::snapshot::{LoadError, LoadRequest, Loaded, Loader, LoaderConfig};

const DEEP: Protocol = Protocol::IexTpDeep10;
const STREAM: Stream = Stream {
    message_protocol_id: 0x8004,
    channel_id: 1,
    session_id: 1_116_143_616,
};

fn request(not_before: u64) -> LoadRequest {
    LoadRequest {
        session: SessionId::from_number(STREAM.session_id),
        ..loading::request(not_before)
    }
}

/// DEEP's Price Level Update on the buy side.
fn level(symbol: u8, size: u32, price: i64) -> Vec<u8> {
    let mut message = vec![b'8', 1];
    message.extend_from_slice(&(1_735_794_000 * SECOND).to_le_bytes());
    message.extend_from_slice(&[symbol, b'X', b' ', b' ', b' ', b' ', b' ', b' ']);
    message.extend_from_slice(&size.to_le_bytes());
    message.extend_from_slice(&price.to_le_bytes());
    message
}

/// The session's messages, the first with number 1.
fn messages(count: u32) -> Vec<Vec<u8>> {
    (0..count)
        .map(|n| {
            let symbol = [b'A', b'B', b'C'][n as usize % 3];
            level(symbol, 100 + n, 10_000 + i64::from(n % 7))
        })
        .collect()
}

fn segment(stream: Stream, first: u64, messages: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = SegmentEncoder::begin(&mut out, stream, 0, first, 0, u16::MAX);
    for message in messages {
        assert!(encoder.push(message));
    }
    encoder.finish();
    out
}

/// The outcome of a load whose server sends these bytes and closes the connection.
fn load(not_before: u64, bytes: &[u8]) -> Option<Result<Box<Loaded>, LoadError>> {
    let mut loader = connected(&config(DEEP), request(not_before));
    loader.handle_bytes(0, bytes);
    loader.handle_closed(0);
    loader.poll()
}

#[test]
fn the_request_goes_out_at_once_and_asks_for_everything_from_the_first_message_on() {
    let mut loader = connected(&config(DEEP), request(50_122));
    let bytes = sent(&mut loader);
    let asked = GapFillRequest::parse(&bytes).unwrap();
    assert_eq!(asked.stream(), STREAM);
    let Ranges::SequencedMessages([range]) = asked.ranges() else {
        panic!("{asked:?}");
    };
    assert_eq!(range.first_message_sequence_number.get(), 1);
    // "may be larger than the latest sequence received"
    assert!(range.last_message_sequence_number.get() > 50_121);
    assert!(sent(&mut loader).is_empty());
}

#[test]
fn the_whole_session_so_far_gives_the_books_of_who_was_there_from_the_start() {
    let all = messages(20);
    let bytes = [
        segment(STREAM, 1, &all[..7]),
        segment(STREAM, 8, &all[7..20]),
    ]
    .concat();
    let loaded = load(21, &bytes).unwrap().unwrap();
    assert_eq!(loaded.sequence, 21);
    assert_eq!(loaded.messages, 20);
    assert_eq!(loaded.market.last().sequence, 20);
    assert_eq!(loaded.market.instruments().count(), 3);
    assert_eq!(loaded.market.counters().faults(), 0);
}

#[test]
fn a_session_split_at_every_byte_is_the_same_session() {
    let all = messages(9);
    let bytes = [segment(STREAM, 1, &all[..4]), segment(STREAM, 5, &all[4..])].concat();
    for cut in 0..=bytes.len() {
        let mut loader = connected(&config(DEEP), request(10));
        loader.handle_bytes(0, &bytes[..cut]);
        loader.handle_bytes(0, &bytes[cut..]);
        loader.handle_closed(0);
        let loaded = loader.poll().unwrap().unwrap();
        assert_eq!((loaded.sequence, loaded.messages), (10, 9));
    }
}

#[test]
fn r4_more_than_was_asked_for_and_overlaps_are_taken_by_message() {
    let all = messages(12);
    let bytes = [
        segment(STREAM, 1, &all[..5]),
        segment(STREAM, 1, &all[..5]),
        segment(STREAM, 4, &all[3..12]),
    ]
    .concat();
    let loaded = load(9, &bytes).unwrap().unwrap();
    assert_eq!((loaded.sequence, loaded.messages), (13, 12));
}

#[test]
fn r3_an_answer_that_ends_early_gives_no_books() {
    let all = messages(9);
    let bytes = segment(STREAM, 1, &all);
    for cut in 0..bytes.len() {
        let mut loader = connected(&config(DEEP), request(10));
        loader.handle_bytes(0, &bytes[..cut]);
        loader.handle_closed(0);
        assert_eq!(error(loader.poll()), Some(LoadError::Closed));
    }
    // All that the server has, and it isn't enough.
    let mut loader = connected(&config(DEEP), request(11));
    loader.handle_bytes(0, &bytes);
    loader.handle_closed(0);
    assert_eq!(error(loader.poll()), Some(LoadError::Closed));
}

#[test]
fn a_hole_in_the_answer_is_no_answer() {
    let all = messages(9);
    let late = segment(STREAM, 2, &all[1..]);
    let torn = [segment(STREAM, 1, &all[..4]), segment(STREAM, 6, &all[5..])].concat();
    for bytes in [late, torn] {
        assert_eq!(error(load(10, &bytes)), Some(LoadError::Inconsistent));
    }
}

#[test]
fn a_segment_without_payload_moves_nothing() {
    let heartbeat = segment(STREAM, 1_000, &[]);
    assert_eq!(error(load(10, &heartbeat)), Some(LoadError::Closed));
    let bytes = [heartbeat, segment(STREAM, 1, &messages(9))].concat();
    assert_eq!(load(10, &bytes).unwrap().unwrap().sequence, 10);
}

#[test]
fn r5_another_session_stream_or_protocol_is_refused() {
    let all = messages(9);
    for (stream, outcome) in [
        (
            Stream {
                session_id: 5,
                ..STREAM
            },
            LoadError::OtherSession,
        ),
        (
            Stream {
                channel_id: 2,
                ..STREAM
            },
            LoadError::Malformed,
        ),
        (
            Stream {
                message_protocol_id: 0x8005,
                ..STREAM
            },
            LoadError::Malformed,
        ),
    ] {
        assert_eq!(error(load(10, &segment(stream, 1, &all))), Some(outcome));
    }
    let mut short = all;
    short[4].truncate(20);
    assert_eq!(
        error(load(10, &segment(STREAM, 1, &short))),
        Some(LoadError::Malformed)
    );
    let named = LoadRequest {
        session: SessionId::from_padded(b"TODAY"),
        ..request(10)
    };
    let mut loader = connected(&config(DEEP), named);
    assert_eq!(error(loader.poll()), Some(LoadError::OtherSession));
}

#[test]
fn messages_that_mean_nothing_are_skipped_as_in_the_feed() {
    let mut all = messages(9);
    all[2] = Vec::new();
    all[5] = b"\x01new".to_vec();
    let loaded = load(10, &segment(STREAM, 1, &all)).unwrap().unwrap();
    assert_eq!(loaded.sequence, 10);
}

#[test]
fn it_goes_on_until_the_server_has_caught_up() {
    let all = messages(30);
    let mut loader = connected(&config(DEEP), request(10));
    for (n, part) in (0_u64..).zip(all.chunks(10)) {
        loader.handle_bytes(n, &segment(STREAM, 10 * n + 1, part));
        assert!(loader.poll().is_none());
    }
    // It closes the connection then, or it is silent.
    let silent = loader.poll_timeout().unwrap();
    assert_eq!(silent, 2 + RETRANSMISSION_CAUGHT_UP_NS);
    loader.handle_timeout(silent - 1);
    assert!(loader.poll().is_none());
    loader.handle_timeout(silent);
    let loaded = loader.poll().unwrap().unwrap();
    assert_eq!((loaded.sequence, loaded.messages), (31, 30));
}

#[test]
fn r8_a_server_that_says_nothing_is_given_up() {
    let mut loader = connected(&config(DEEP), request(10));
    assert_eq!(loader.poll_timeout(), Some(LOAD_IDLE_NS_MAX));
    loader.handle_timeout(LOAD_IDLE_NS_MAX);
    assert_eq!(error(loader.poll()), Some(LoadError::TimedOut));
}

#[test]
fn r8_a_server_that_never_catches_up_is_given_up_with_what_is_there() {
    for (count, not_before, sequence) in [(3, 10, None), (9, 10, Some(10))] {
        let mut loader = connected(&config(DEEP), request(not_before));
        let again = segment(STREAM, 1, &messages(count));
        let mut now = 0;
        let outcome = loop {
            now += RETRANSMISSION_CAUGHT_UP_NS / 2;
            loader.handle_bytes(now, &again);
            if let Some(outcome) = loader.poll() {
                break outcome;
            }
        };
        // The first segment was the last that brought something.
        assert_eq!(now, RETRANSMISSION_CAUGHT_UP_NS / 2 + LOAD_STALL_NS_MAX);
        assert_eq!(outcome.ok().map(|loaded| loaded.sequence), sequence);
    }
}

#[test]
fn before_the_first_message_there_is_nothing_to_ask_for() {
    for not_before in [0, 1] {
        let mut loader = connected(&config(DEEP), request(not_before));
        assert!(sent(&mut loader).is_empty());
        let loaded = loader.poll().unwrap().unwrap();
        assert_eq!((loaded.sequence, loaded.messages), (1, 0));
    }
}

#[test]
fn a_sequence_number_that_the_transport_does_not_have_is_not_asked_for() {
    let mut loader = connected(&config(DEEP), request(u64::MAX));
    assert_eq!(error(loader.poll()), Some(LoadError::Malformed));
}

#[test]
fn several_ranges_are_encoded_into_the_callers_buffer_alone() {
    let ranges: Vec<(u64, u64)> = (0..90).map(|n| (10 * n + 1, 10 * n + 5)).collect();
    let mut out = Vec::with_capacity(16 + 16 * ranges.len());
    let before = (out.as_ptr(), out.capacity());
    GapFillRequest::encode(&mut out, STREAM, &ranges).unwrap();
    assert_eq!((out.as_ptr(), out.capacity()), before);
    assert_eq!(out.len(), out.capacity());
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_give_at_most_one_outcome(
        mut seed in prop::collection::vec(any::<u8>(), 0..2_000),
        piece in 1_usize..200,
        like_a_segment: bool,
    ) {
        if like_a_segment {
            let whole = segment(STREAM, 1, &messages(9));
            for (to, from) in seed.iter_mut().skip(1).zip(&whole[1..40]) {
                *to = *from;
            }
        }
        let config: LoaderConfig = config(DEEP);
        let mut loader: Loader = connected(&config, request(1_000));
        let mut outcomes = 0;
        for piece in seed.chunks(piece) {
            loader.handle_bytes(0, piece);
            outcomes += u32::from(loader.poll().is_some());
        }
        loader.handle_closed(0);
        outcomes += u32::from(loader.poll().is_some());
        prop_assert_eq!(outcomes, 1);
    }
}
