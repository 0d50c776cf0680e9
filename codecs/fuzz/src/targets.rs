//! What is done to each input: one function per target, named as its folder in `corpus`.
//!
//! A target decodes bytes and asserts what must hold whatever they are.  `fuzz_targets/*.rs` feeds them
//! from libFuzzer, `tests/corpus.rs` from the committed corpus.

use tickcast_codecs::binaryfile::{self, Ending};
use tickcast_codecs::event::{Event, Header, Normalizer, Origin};
use tickcast_codecs::moldudp64::{DownstreamPacket, Kind, PacketBuilder, Request};
use tickcast_codecs::soupbintcp::{Frames, Packet};
use tickcast_codecs::{glimpse, itch50};

/// What is done to one input.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const ALL: &[(&str, Target)] = &[
    ("binaryfile", binaryfile),
    ("itch50", itch50),
    ("moldudp64", moldudp64),
    ("soupbintcp", soupbintcp),
];

/// A UDP payload: a packet is accepted whole, and written back byte for byte.
pub fn moldudp64(data: &[u8]) {
    if let Ok(request) = Request::parse(data) {
        assert_eq!(request.encode(), *data);
    }
    let Ok(packet) = DownstreamPacket::parse(data) else {
        return;
    };
    let blocks = packet.blocks();
    assert_eq!(blocks.len(), usize::from(packet.count()));
    assert_eq!(blocks.count(), usize::from(packet.count()));
    assert_eq!(
        packet.next_sequence() - packet.sequence(),
        u64::from(packet.count())
    );
    if packet.kind() != Kind::Data {
        assert_eq!(data.len(), 20);
        return;
    }
    let mut written = Vec::new();
    let mut builder = PacketBuilder::new(
        &mut written,
        packet.session(),
        packet.sequence(),
        data.len(),
    );
    for message in packet.blocks() {
        assert!(!message.is_empty());
        builder.push(message).expect("it fitted before");
    }
    // The session is padded anew; all else is equal.
    assert_eq!(written.get(10..), data.get(10..));
}

/// A byte stream: cut anywhere it gives the same packets, and each is written back to the same meaning.
pub fn soupbintcp(data: &[u8]) {
    // The first byte says how the rest is cut.
    let Some((&cut, stream)) = data.split_first() else {
        return;
    };
    let (whole, whole_held) = soupbintcp_packets(stream, usize::MAX);
    let (parts, parts_held) = soupbintcp_packets(stream, usize::from(cut) + 1);
    assert_eq!(whole, parts);
    assert_eq!(whole_held, parts_held);
}

/// The packets of a stream given in pieces, as text, and the bytes left over.
fn soupbintcp_packets(stream: &[u8], piece: usize) -> (Vec<String>, usize) {
    let mut frames = Frames::new();
    let mut packets = Vec::new();
    for mut piece in stream.chunks(piece.min(stream.len().max(1))) {
        while !piece.is_empty() {
            let taken = frames.handle_bytes(piece);
            assert!(taken > 0, "a drained machine takes bytes");
            piece = &piece[taken..];
            while let Some(packet) = frames.poll() {
                if let Ok(packet) = packet {
                    let mut written = Vec::new();
                    packet.encode(&mut written).expect("it fitted before");
                    assert_eq!(Packet::parse(&written), Ok(packet));
                }
                packets.push(format!("{packet:?}"));
            }
        }
    }
    (packets, frames.held())
}

/// One message: the length table, the typed view and the normalizer agree on whether it can be read.
pub fn itch50(data: &[u8]) {
    let parsed = itch50::Message::parse(data);
    let known = data
        .first()
        .is_some_and(|message_type| itch50::Message::TYPES.contains(message_type));
    if known || data.is_empty() {
        assert_eq!(itch50::check(data), parsed.map(drop));
    } else {
        assert_eq!(itch50::check(data), Ok(()));
        assert!(parsed.is_err());
    }
    if let Ok(message) = parsed {
        let mut fields = 0;
        message.fields(&mut |name, _| {
            assert!(!name.is_empty());
            fields += 1;
        });
        assert!(
            fields >= 5,
            "{} has type, locate, number, time and more",
            message.name()
        );
    }
    let mut normalizer = itch50::Normalizer::new(7);
    for ts_recv in [0, 1, 1_752_760_000_000_000_000, u64::MAX] {
        let mut events: Vec<(Header, Event)> = Vec::new();
        let origin = Origin {
            sequence: 1,
            ts_recv,
        };
        let result = normalizer.message(data, origin, &mut events);
        // The first order of an instrument without directory message tells the instrument too.
        let told = match events.as_slice() {
            [(_, Event::Definition(_)), (_, Event::Add { .. })] => 1,
            _ => 0,
        };
        assert_eq!(events.len() - told, usize::from(result.is_ok()));
        if parsed.is_err() {
            assert_eq!(result, parsed.map(drop));
        }
        for (header, _) in events {
            assert_eq!(header.instrument_id >> 16, 7);
        }
    }
    if let Ok(end) = glimpse::EndOfSnapshot::parse(data) {
        let sequence = end.sequence().expect("it was parsed");
        let again = glimpse::EndOfSnapshot::new(sequence).encode();
        assert_eq!(
            glimpse::EndOfSnapshot::parse(&again).and_then(|end| end.sequence()),
            Ok(sequence)
        );
    }
}

/// A file: in memory and in chunks it gives the same messages and the same verdict on its end.
pub fn binaryfile(data: &[u8]) {
    // The first byte says how the rest is cut.
    let Some((&cut, file)) = data.split_first() else {
        return;
    };
    let mut messages = binaryfile::Messages::new(file);
    let mut whole = Vec::new();
    let mut error = None;
    for message in messages.by_ref() {
        assert_eq!(error, None, "an error is the last item");
        match message {
            Ok(message) => whole.push(message.to_vec()),
            Err(e) => error = Some(e),
        }
    }
    let verdict = error.map_or(Ok(messages.ending()), Err);

    let mut reader = binaryfile::Reader::new();
    let mut parts = Vec::new();
    for mut chunk in file.chunks(usize::from(cut) + 1) {
        while !chunk.is_empty() {
            let taken = reader.handle_bytes(chunk);
            assert!(taken > 0, "a drained machine takes bytes");
            chunk = &chunk[taken..];
            while let Some(message) = reader.poll() {
                parts.push(message.to_vec());
            }
        }
    }
    assert_eq!(whole, parts);
    assert_eq!(reader.finish(), verdict);
    assert_eq!(reader.is_ended(), messages.ending() == Ending::Marked);

    let mut written = Vec::new();
    for message in &whole {
        assert!(binaryfile::encode(message, &mut written));
    }
    if reader.is_ended() {
        binaryfile::encode_end_of_session(&mut written);
    }
    assert_eq!(file.get(..written.len()), Some(&*written));
}
