//! Bytes that no exchange should send: refused whole, before any message is given out, and never a panic.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "helpers of tests"
)]

mod iex_examples;

use iex_examples::*;
use proptest::prelude::*;
use tickcast_codecs::DecodeError;
use tickcast_codecs::event::{Event, Header, Normalizer, Origin};
use tickcast_codecs::iextp::{GapFillRequest, Segment, SegmentEncoder, Stream};
use tickcast_codecs::{deep, deepplus, tops};

const STREAM: Stream = Stream {
    message_protocol_id: deep::PROTOCOL_ID,
    channel_id: 1,
    session_id: 1,
};

/// A segment around the given messages.
fn segment_of(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = SegmentEncoder::begin(&mut out, STREAM, 0, 1, 1, u16::MAX);
    for message in messages {
        assert!(encoder.push(message));
    }
    encoder.finish();
    out
}

fn all_examples() -> Vec<Vec<u8>> {
    [TOPS, TOPS_15, DEEP, DEEPPLUS]
        .concat()
        .into_iter()
        .map(hex)
        .collect()
}

#[test]
fn every_prefix_of_a_segment_is_truncated() {
    for example in all_examples() {
        let bytes = segment_of(&[example.clone(), example]);
        Segment::parse(&bytes).unwrap();
        for cut in 0..bytes.len() {
            let refused = Segment::parse(&bytes[..cut]).unwrap_err();
            assert_eq!(refused.counter(), "truncated", "cut at {cut}");
        }
    }
}

#[test]
fn bytes_after_a_segment_are_refused() {
    for example in [SEGMENT, HEARTBEAT] {
        let mut bytes = hex(example);
        bytes.push(0);
        assert_eq!(
            Segment::parse(&bytes).unwrap_err(),
            DecodeError::TrailingBytes {
                what: "segment",
                excess: 1
            }
        );
    }
}

#[test]
fn every_single_bit_flip_of_a_segment_is_refused_or_changes_no_block() {
    for example in all_examples() {
        let good = segment_of(&[example]);
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let outcome = Segment::parse(&bytes);
            // Version, payload length, message count, the sequence's sign bit, and the block's length.
            let must_refuse = matches!(bit / 8, 0 | 12..=15 | 40 | 41) || bit == 31 * 8 + 7;
            assert_eq!(outcome.is_err(), must_refuse, "bit {bit}");
            if let Ok(segment) = outcome {
                assert_eq!(segment.messages().count(), 1);
                for message in segment.messages() {
                    assert_eq!(message.len(), good.len() - 42);
                }
            }
        }
    }
}

#[test]
fn a_count_that_isnt_the_blocks_is_refused() {
    let good = hex(SEGMENT);
    let mut bytes = good.clone();
    bytes[14] = 1;
    assert_eq!(
        Segment::parse(&bytes).unwrap_err(),
        DecodeError::TrailingBytes {
            what: "message_block",
            excess: 32
        }
    );
    bytes[14] = 3;
    assert_eq!(
        Segment::parse(&bytes).unwrap_err(),
        DecodeError::Truncated {
            what: "message_block",
            need: 2,
            have: 0
        }
    );
    // Blocks may not reach past the payload although the payload length is right.
    let mut bytes = good;
    bytes[40] = 0xff;
    assert_eq!(
        Segment::parse(&bytes).unwrap_err(),
        DecodeError::Truncated {
            what: "message_block",
            need: 0xff,
            have: 70
        }
    );
}

#[test]
fn sequence_numbers_past_the_end_of_the_type_are_refused() {
    let mut bytes = hex(SEGMENT);
    for (first, fits) in [
        (i64::MAX - 2, true),
        (i64::MAX - 1, false),
        (i64::MAX, false),
        (-1, false),
        (i64::MIN, false),
        (0, true),
    ] {
        bytes[24..32].copy_from_slice(&first.to_le_bytes());
        assert_eq!(Segment::parse(&bytes).is_ok(), fits, "{first}");
    }
}

#[test]
fn every_prefix_and_bit_flip_of_a_gap_fill_request_is_handled() {
    let good = hex(GAP_FILL_REQUEST);
    for cut in 0..good.len() {
        let refused = GapFillRequest::parse(&good[..cut]).unwrap_err();
        assert_eq!(refused.counter(), "truncated", "cut at {cut}");
    }
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let refused = GapFillRequest::parse(&bytes).is_err();
        // Version, and the number of ranges.  A request type of 0, 3, … too; flips of the ranges may
        // leave them increasing.
        if matches!(bit / 8, 0 | 1 | 12..=15) {
            assert!(refused, "bit {bit}");
        }
    }
    let mut bytes = good;
    bytes.push(0);
    assert_eq!(
        GapFillRequest::parse(&bytes).unwrap_err().counter(),
        "trailing_bytes"
    );
    bytes[12..16].fill(0xff);
    assert_eq!(
        GapFillRequest::parse(&bytes).unwrap_err().counter(),
        "truncated"
    );
}

/// Every cut of every example is refused by `check`, by the parser and by the normalizer alike, and
/// gives no event; every bit flip is handled.
fn assert_robust<N: Normalizer>(
    examples: &[&str],
    check: fn(&[u8]) -> Result<(), DecodeError>,
    normalizer: impl Fn() -> N,
) {
    for example in examples {
        let good = hex(example);
        let mut normalizer = normalizer();
        for cut in 1..good.len() {
            let mut events: Vec<(Header, Event)> = Vec::new();
            let refused = normalizer.message(&good[..cut], Origin::default(), &mut events);
            assert_eq!(check(&good[..cut]), refused);
            assert!(
                matches!(refused, Err(DecodeError::Truncated { need, have, .. })
                    if need == good.len() && have == cut),
                "cut at {cut}"
            );
            assert!(events.is_empty());
        }
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mut events: Vec<(Header, Event)> = Vec::new();
            let outcome = normalizer.message(&bytes, Origin::default(), &mut events);
            assert_eq!(outcome.is_ok(), !events.is_empty(), "bit {bit}");
            if bit >= 16 {
                outcome.unwrap();
            }
        }
        assert_eq!(
            normalizer.message(b"", Origin::default(), &mut Vec::new()),
            Err(DecodeError::EmptyBlock)
        );
    }
}

#[test]
fn every_cut_message_is_refused_without_an_event() {
    assert_robust(TOPS, tops::check, || tops::Normalizer::new(1));
    assert_robust(TOPS_15, tops::v15::check, || tops::v15::Normalizer::new(1));
    assert_robust(DEEP, deep::check, || deep::Normalizer::new(1));
    assert_robust(DEEPPLUS, deepplus::check, || deepplus::Normalizer::new(1));
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        protocol in any::<u16>(),
        channel_id in any::<u32>(),
        session_id in any::<u32>(),
        offset in 0..=i64::MAX as u64,
        sequence in 0..=(i64::MAX - 64) as u64,
        send_time in 0..=i64::MAX as u64,
        messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..90), 0..40),
    ) {
        let stream = Stream { message_protocol_id: protocol, channel_id, session_id };
        let mut out = Vec::new();
        let mut encoder = SegmentEncoder::begin(&mut out, stream, offset, sequence, send_time, u16::MAX);
        for message in &messages {
            prop_assert!(encoder.push(message));
        }
        encoder.finish();

        let segment = Segment::parse(&out).unwrap();
        prop_assert_eq!(segment.protocol(), protocol);
        prop_assert_eq!(segment.channel(), channel_id);
        prop_assert_eq!(segment.session().to_string(), session_id.to_string());
        prop_assert_eq!(segment.stream_offset(), offset as i64);
        prop_assert_eq!(segment.sequence(), sequence);
        prop_assert_eq!(segment.next_sequence(), sequence + messages.len() as u64);
        prop_assert_eq!(segment.send_time(), send_time);
        prop_assert_eq!(segment.is_heartbeat(), messages.is_empty());
        let read: Vec<Vec<u8>> = segment.messages().map(<[u8]>::to_vec).collect();
        prop_assert_eq!(read, messages);
    }

    #[test]
    fn any_bytes_after_a_header_are_refused_or_fit_exactly(
        count in 0..6_u16,
        payload in proptest::collection::vec(0..8_u8, 0..24),
    ) {
        let mut bytes = hex(HEARTBEAT);
        bytes[12..14].copy_from_slice(&(payload.len() as u16).to_le_bytes());
        bytes[14..16].copy_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&payload);
        if let Ok(segment) = Segment::parse(&bytes) {
            let messages: Vec<&[u8]> = segment.messages().collect();
            prop_assert_eq!(messages.len(), usize::from(count));
            prop_assert_eq!(messages.iter().map(|m| m.len() + 2).sum::<usize>(), payload.len());
        }
    }
}
