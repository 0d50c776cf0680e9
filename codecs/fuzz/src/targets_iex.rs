//! What the IEX fuzz targets do with their bytes: shared by the fuzz binaries (nightly) and by
//! `codecs/tests/corpus_iex.rs`, which replays the corpora on stable.
//!
//! Each body asserts what must hold for any bytes; "doesn't panic" is the least of it.

use std::collections::HashSet;

use tickcast_codecs::event::{Event, Header, Normalizer, Origin};
use tickcast_codecs::iextp::{
    GapFillRequest, Ranges, Segment, SegmentEncoder, SegmentHeader, Stream,
};
use tickcast_codecs::wire::Value;
use tickcast_codecs::{DecodeError, deep, deepplus, tops};

/// A segment, and the same bytes as a gap fill request.
pub fn iextp(data: &[u8]) {
    segment(data);
    gap_fill_request(data);
}

fn segment(data: &[u8]) {
    let Ok(segment) = Segment::parse(data) else {
        return;
    };
    let messages: Vec<&[u8]> = segment.messages().collect();
    assert_eq!(messages.len(), usize::from(segment.count()));
    assert_eq!(segment.messages().len(), messages.len());
    assert_eq!(
        segment.next_sequence(),
        segment.sequence() + u64::from(segment.count())
    );
    let blocks: usize = messages.iter().map(|message| message.len() + 2).sum();
    assert_eq!(SegmentHeader::LENGTH + blocks, data.len());
    assert_eq!(segment.header().segment_length(), data.len());

    // Written again, only the reserved byte and negative numbers may differ.
    let mut again = Vec::new();
    let mut encoder = SegmentEncoder::begin(
        &mut again,
        Stream {
            message_protocol_id: segment.protocol(),
            channel_id: segment.channel(),
            session_id: segment.header().session_id.get(),
        },
        u64::try_from(segment.stream_offset()).unwrap_or(0),
        segment.sequence(),
        segment.send_time(),
        u16::MAX,
    );
    for message in &messages {
        assert!(encoder.push(message));
    }
    encoder.finish();
    let mut expected = data.to_vec();
    expected[1] = 0;
    if segment.stream_offset() < 0 {
        expected[16..24].fill(0);
    }
    if segment.header().send_time.0.get() < 0 {
        expected[32..40].fill(0);
    }
    assert_eq!(again, expected);
}

fn gap_fill_request(data: &[u8]) {
    let Ok(request) = GapFillRequest::parse(data) else {
        return;
    };
    if let Ranges::SequencedMessages(ranges) = request.ranges() {
        let number = |wire: i64| u64::try_from(wire).expect("a checked range isn't negative");
        let ranges: Vec<(u64, u64)> = ranges
            .iter()
            .map(|range| {
                (
                    number(range.first_message_sequence_number.get()),
                    number(range.last_message_sequence_number.get()),
                )
            })
            .collect();
        let mut again = Vec::new();
        GapFillRequest::encode(&mut again, request.stream(), &ranges)
            .expect("checked ranges can be asked for");
        assert_eq!(again, data);
    }
}

/// TOPS messages of both versions: blocks of a 16-bit length and a message, as in a segment.
pub fn tops(data: &[u8]) {
    messages(
        data,
        tops::Normalizer::new(7),
        tops::check,
        |message, visit| {
            tops::Message::parse(message).map(|parsed| {
                parsed.fields(visit);
                tops::Message::length_of(message[0])
            })
        },
    );
    messages(
        data,
        tops::v15::Normalizer::new(7),
        tops::v15::check,
        |message, visit| {
            tops::v15::Message::parse(message).map(|parsed| {
                parsed.fields(visit);
                tops::v15::Message::length_of(message[0])
            })
        },
    );
}

/// DEEP messages, in blocks.
pub fn deep(data: &[u8]) {
    messages(
        data,
        deep::Normalizer::new(7),
        deep::check,
        |message, visit| {
            deep::Message::parse(message).map(|parsed| {
                parsed.fields(visit);
                deep::Message::length_of(message[0])
            })
        },
    );
}

/// DEEP+ messages, in blocks.
pub fn deepplus(data: &[u8]) {
    messages(
        data,
        deepplus::Normalizer::new(7),
        deepplus::check,
        |message, visit| {
            deepplus::Message::parse(message).map(|parsed| {
                parsed.fields(visit);
                deepplus::Message::length_of(message[0])
            })
        },
    );
}

type Visit<'v> = &'v mut dyn FnMut(&'static str, Value<'_>);

fn messages<N: Normalizer>(
    mut data: &[u8],
    mut normalizer: N,
    check: fn(&[u8]) -> Result<(), DecodeError>,
    parse: impl Fn(&[u8], Visit<'_>) -> Result<Option<usize>, DecodeError>,
) {
    let mut defined = HashSet::new();
    let mut sequence = 1;
    while let Some((length, rest)) = data.split_first_chunk::<2>() {
        // A cut last block is taken as far as it goes.
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (message, rest) = rest.split_at(length);
        data = rest;

        let mut fields = 0;
        let parsed = parse(message, &mut |name, _| {
            assert!(!name.is_empty());
            fields += 1;
        });
        match parsed {
            Ok(need) => {
                assert!(need.is_some_and(|need| need <= message.len()));
                assert!(fields >= 3);
                assert_eq!(check(message), Ok(()));
            }
            Err(error @ DecodeError::Truncated { .. }) => assert_eq!(check(message), Err(error)),
            Err(_) => assert_eq!(check(message), Ok(())),
        }

        let origin = Origin {
            sequence,
            ts_recv: 1,
        };
        let mut events: Vec<(Header, Event)> = Vec::new();
        let outcome = normalizer.message(message, origin, &mut events);
        match outcome {
            Ok(()) => assert!(!events.is_empty(), "every message is mapped"),
            Err(_) => assert!(events.is_empty(), "a refused message gives nothing"),
        }
        if let Err(error) = parsed {
            assert_eq!(outcome, Err(error));
        }
        for (header, event) in &events {
            assert_eq!(header.sequence, sequence);
            assert_eq!(header.ts_recv, 1);
            assert_eq!(header.instrument_id >> 16, 7);
            if matches!(event, Event::Definition(_)) {
                defined.insert(header.instrument_id);
            }
            let number = header.instrument_id & 0xffff;
            assert!(number == 0 || defined.contains(&header.instrument_id));
            assert!(usize::try_from(number).is_ok_and(|number| number <= defined.len()));
        }
        sequence += 1;
    }
}
