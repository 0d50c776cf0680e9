//! Sentences of Nasdaq's transport specifications, one test each; then malformed input and round
//! trips.  The normalizer's tests are in `normalize_nasdaq.rs`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use proptest::prelude::*;
use tickcast_codecs::binaryfile::{self, Ending, Messages, Reader};
use tickcast_codecs::glimpse::EndOfSnapshot;
use tickcast_codecs::moldudp64::{self, DownstreamPacket, Kind, PacketBuilder, PushError, Request};
use tickcast_codecs::soupbintcp::{self, Frames, LoginRequest, Packet, RejectReason};
use tickcast_codecs::types::Text;
use tickcast_codecs::wire::{Fields, Value};
use tickcast_codecs::{DecodeError, SessionId, itch50};

fn session() -> SessionId {
    SessionId::from_padded(b"000010059B")
}

/// A downstream packet by hand: header fields and blocks with the lengths they claim.
fn packet(sequence: u64, count: u16, blocks: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = b"000010059B".to_vec();
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(count.to_be_bytes());
    for (length, data) in blocks {
        bytes.extend(length.to_be_bytes());
        bytes.extend(*data);
    }
    bytes
}

fn truncated(what: &'static str, need: usize, have: usize) -> DecodeError {
    DecodeError::Truncated { what, need, have }
}

mod moldudp64_1_00 {
    use super::*;

    #[test]
    fn number_fields_are_big_endian() {
        let bytes = packet(0x0102_0304_0506_0708, 1, &[(1, b"D")]);
        let packet = DownstreamPacket::parse(&bytes).unwrap();
        assert_eq!(packet.sequence(), 0x0102_0304_0506_0708);
        assert_eq!(packet.count(), 1);
    }

    #[test]
    fn a_captured_packet_reads_as_an_independent_dissector_reads_it() {
        let bytes = include_bytes!("../fuzz/corpus/moldudp64/real_multiple_packets");
        let packet = DownstreamPacket::parse(bytes).unwrap();
        assert_eq!(packet.session().as_str(), Some("000010059B"));
        assert_eq!(packet.sequence(), 14_764_496);
        assert_eq!(packet.kind(), Kind::Data);
        assert_eq!((packet.count(), packet.blocks().len()), (1, 1));
        assert_eq!(packet.blocks().next().map(<[u8]>::len), Some(19));
    }

    #[test]
    fn following_messages_are_implicitly_numbered_sequentially() {
        let bytes = packet(7, 3, &[(1, b"a"), (2, b"bc"), (3, b"def")]);
        let packet = DownstreamPacket::parse(&bytes).unwrap();
        let numbered: Vec<_> = (packet.sequence()..).zip(&packet).collect();
        assert_eq!(
            numbered,
            [(7, &b"a"[..]), (8, &b"bc"[..]), (9, &b"def"[..])]
        );
        assert_eq!(packet.next_sequence(), 10);
    }

    #[test]
    fn a_message_count_of_zero_denotes_a_heartbeat_with_the_next_expected_number() {
        let bytes = packet(42, 0, &[]);
        let packet = DownstreamPacket::parse(&bytes).unwrap();
        assert_eq!(packet.kind(), Kind::Heartbeat);
        assert_eq!((packet.sequence(), packet.next_sequence()), (42, 42));
        assert_eq!(packet.blocks().next(), None);
    }

    #[test]
    fn a_message_count_of_ffff_denotes_end_of_session_and_is_no_count() {
        let bytes = packet(42, 0xFFFF, &[]);
        let packet = DownstreamPacket::parse(&bytes).unwrap();
        assert_eq!(packet.kind(), Kind::EndOfSession);
        assert_eq!((packet.sequence(), packet.next_sequence()), (42, 42));
        assert_eq!((packet.count(), packet.blocks().len()), (0, 0));
        assert_eq!(packet.header().message_count.get(), 0xFFFF);
    }

    #[test]
    fn the_length_doesnt_include_its_own_two_bytes() {
        let bytes = packet(1, 1, &[(3, b"abc")]);
        assert_eq!(bytes.len(), 20 + 2 + 3);
        let packet = DownstreamPacket::parse(&bytes).unwrap();
        assert_eq!(packet.blocks().next(), Some(&b"abc"[..]));
    }

    #[test]
    fn a_message_of_length_zero_is_refused_because_it_has_no_type() {
        let bytes = packet(1, 2, &[(1, b"D"), (0, b"")]);
        assert_eq!(
            DownstreamPacket::parse(&bytes).unwrap_err(),
            DecodeError::EmptyBlock
        );
    }

    #[test]
    fn a_block_beyond_the_packet_refuses_the_packet_before_any_block() {
        let bytes = packet(1, 2, &[(1, b"D"), (4, b"abc")]);
        assert_eq!(
            DownstreamPacket::parse(&bytes).unwrap_err(),
            truncated("message data", 4, 3)
        );
        let bytes = packet(1, 2, &[(1, b"D")]);
        assert_eq!(
            DownstreamPacket::parse(&bytes).unwrap_err(),
            truncated("message length", 2, 0)
        );
    }

    #[test]
    fn bytes_after_the_last_block_refuse_the_packet() {
        for count in [0, 0xFFFF] {
            assert_eq!(
                DownstreamPacket::parse(&packet(1, count, &[(1, b"D")])).unwrap_err(),
                DecodeError::TrailingBytes {
                    what: "downstream packet",
                    excess: 3
                }
            );
        }
        assert_eq!(
            DownstreamPacket::parse(&packet(1, 1, &[(1, b"D"), (1, b"D")])).unwrap_err(),
            DecodeError::TrailingBytes {
                what: "downstream packet",
                excess: 3
            }
        );
    }

    #[test]
    fn a_range_of_sequence_numbers_beyond_64_bits_is_refused() {
        assert!(DownstreamPacket::parse(&packet(u64::MAX - 1, 1, &[(1, b"D")])).is_ok());
        assert!(DownstreamPacket::parse(&packet(u64::MAX, 0, &[])).is_ok());
        assert!(DownstreamPacket::parse(&packet(u64::MAX, 0xFFFF, &[])).is_ok());
        assert_eq!(
            DownstreamPacket::parse(&packet(u64::MAX, 1, &[(1, b"D")])).unwrap_err(),
            DecodeError::BadValue {
                field: "sequence_number",
                value: u64::MAX
            }
        );
    }

    #[test]
    fn every_cut_of_a_packet_is_refused() {
        let bytes = packet(1, 2, &[(1, b"D"), (3, b"abc")]);
        assert!(DownstreamPacket::parse(&bytes).is_ok());
        for cut in 0..bytes.len() {
            assert!(matches!(
                DownstreamPacket::parse(&bytes[..cut]),
                Err(DecodeError::Truncated { .. })
            ));
        }
    }

    #[test]
    fn the_request_packet_has_session_first_number_and_count() {
        let request = Request::new(session(), 14_757_721, 12);
        let bytes = request.encode();
        assert_eq!(&bytes[..10], b"000010059B");
        assert_eq!(bytes[10..18], 14_757_721_u64.to_be_bytes());
        assert_eq!(bytes[18..], [0, 12]);
        let read = Request::parse(&bytes).unwrap();
        assert_eq!(read, request);
        assert_eq!(
            (read.session(), read.sequence(), read.count()),
            (session(), 14_757_721, 12)
        );
    }

    #[test]
    fn a_request_of_another_length_or_beyond_64_bits_is_refused() {
        let bytes = Request::new(session(), 1, 1).encode();
        for cut in 0..bytes.len() {
            assert_eq!(
                Request::parse(&bytes[..cut]),
                Err(truncated("request packet", 20, cut))
            );
        }
        assert_eq!(
            Request::parse(&[&bytes[..], &[0]].concat()),
            Err(DecodeError::TrailingBytes {
                what: "request packet",
                excess: 1
            })
        );
        assert!(Request::parse(&Request::new(session(), u64::MAX, 1).encode()).is_err());
    }

    #[test]
    fn a_packet_ends_where_the_sender_says() {
        let mut buffer = b"old".to_vec();
        let mut builder = PacketBuilder::new(&mut buffer, session(), 5, 20 + 2 * (2 + 4));
        assert_eq!(builder.push(b"abcd"), Ok(()));
        assert_eq!(builder.push(b"abcde"), Err(PushError::Full));
        assert_eq!(builder.push(b"efgh"), Ok(()));
        assert_eq!(builder.push(b"i"), Err(PushError::Full));
        assert_eq!(
            builder.push(b"0123456789a"),
            Err(PushError::TooLong { len: 11, max: 10 })
        );
        assert_eq!(builder.push(b""), Err(PushError::Empty));
        assert_eq!((builder.count(), builder.next_sequence()), (2, 7));
        let bytes = builder.as_bytes().to_vec();
        assert_eq!(bytes, packet(5, 2, &[(4, b"abcd"), (4, b"efgh")]));
        assert_eq!(buffer, bytes);
    }

    #[test]
    fn a_packet_never_reaches_the_count_that_means_end_of_session() {
        let mut buffer = Vec::new();
        let mut builder = PacketBuilder::new(&mut buffer, session(), 1, usize::MAX);
        for _ in 0..0xFFFE {
            builder.push(b"D").unwrap();
        }
        assert_eq!(builder.push(b"D"), Err(PushError::Full));
        let packet = DownstreamPacket::parse(&buffer).unwrap();
        assert_eq!((packet.kind(), packet.count()), (Kind::Data, 0xFFFE));
    }

    #[test]
    fn a_session_without_numbers_left_takes_no_message() {
        let mut buffer = Vec::new();
        let mut builder = PacketBuilder::new(&mut buffer, session(), u64::MAX - 1, 1_400);
        assert_eq!(builder.push(b"D"), Ok(()));
        assert_eq!(builder.push(b"D"), Err(PushError::SequenceExhausted));
        assert!(DownstreamPacket::parse(&buffer).is_ok());
    }

    #[test]
    fn heartbeat_and_end_of_session_are_headers_alone() {
        let mut buffer = b"old".to_vec();
        moldudp64::encode_heartbeat(&mut buffer, session(), 9);
        assert_eq!(buffer, packet(9, 0, &[]));
        moldudp64::encode_end_of_session(&mut buffer, session(), 9);
        assert_eq!(buffer, packet(9, 0xFFFF, &[]));
        PacketBuilder::new(&mut buffer, session(), 9, 0);
        assert_eq!(buffer, packet(9, 0, &[]));
    }
}

mod soupbintcp_3_00 {
    use super::*;

    /// All packets that a byte stream gives, as text.
    fn packets(stream: &[u8]) -> Vec<String> {
        let mut frames = Frames::new();
        assert_eq!(frames.handle_bytes(stream), stream.len());
        let mut packets = Vec::new();
        while let Some(packet) = frames.poll() {
            packets.push(format!("{packet:?}"));
        }
        packets
    }

    #[test]
    fn the_length_counts_the_type_and_the_payload() {
        let mut bytes = Vec::new();
        Packet::SequencedData(b"abc").encode(&mut bytes).unwrap();
        assert_eq!(bytes, b"\0\x04Sabc");
        assert_eq!(Packet::parse(&bytes), Ok(Packet::SequencedData(b"abc")));
    }

    #[test]
    fn logical_packets_may_be_broken_apart_or_aggregated() {
        let stream = b"\0\x01H\0\x04Sabc\0\x03+hi\0\x01Z";
        let expected = packets(stream);
        assert_eq!(expected.len(), 4);
        for piece in 1..stream.len() {
            let mut frames = Frames::new();
            let mut got = Vec::new();
            for piece in stream.chunks(piece) {
                assert_eq!(frames.handle_bytes(piece), piece.len());
                while let Some(packet) = frames.poll() {
                    got.push(format!("{packet:?}"));
                }
            }
            assert_eq!(got, expected);
            assert_eq!(frames.held(), 0);
        }
    }

    #[test]
    fn the_payload_may_contain_any_byte() {
        let payload: Vec<u8> = (0..=255).collect();
        let mut bytes = Vec::new();
        Packet::UnsequencedData(&payload)
            .encode(&mut bytes)
            .unwrap();
        assert_eq!(Packet::parse(&bytes), Ok(Packet::UnsequencedData(&payload)));
    }

    #[test]
    fn every_packet_type_is_written_with_its_letter() {
        let login = LoginRequest {
            username: Text::from_padded(b"USER"),
            password: Text::from_padded(b"SECRET"),
            requested_session: SessionId::default(),
            requested_sequence: 1,
        };
        let cases: [(Packet<'_>, &[u8]); 11] = [
            (Packet::Debug(b"hi"), b"\0\x03+hi"),
            (
                Packet::LoginAccepted {
                    session: SessionId::from_padded(b"59B"),
                    sequence: 12,
                },
                b"\0\x1fA       59B                  12",
            ),
            (
                Packet::LoginRejected(RejectReason::NotAuthorized),
                b"\0\x02JA",
            ),
            (
                Packet::LoginRejected(RejectReason::SessionNotAvailable),
                b"\0\x02JS",
            ),
            (Packet::SequencedData(b"D"), b"\0\x02SD"),
            (Packet::ServerHeartbeat, b"\0\x01H"),
            (Packet::EndOfSession, b"\0\x01Z"),
            (
                Packet::LoginRequest(login),
                b"\0\x2fLUSER  SECRET                                 1",
            ),
            (Packet::UnsequencedData(b"x"), b"\0\x02Ux"),
            (Packet::ClientHeartbeat, b"\0\x01R"),
            (Packet::LogoutRequest, b"\0\x01O"),
        ];
        for (packet, wire) in cases {
            let mut bytes = Vec::new();
            packet.encode(&mut bytes).unwrap();
            assert_eq!(bytes, wire, "{packet:?}");
            assert_eq!(bytes[2], packet.packet_type());
            assert_eq!(Packet::parse(wire), Ok(packet));
            for cut in 0..wire.len() {
                assert!(Packet::parse(&wire[..cut]).is_err(), "{packet:?}");
            }
        }
    }

    #[test]
    fn the_session_may_be_padded_on_either_side() {
        for wire in [
            b"\0\x1fA       59B                   1",
            b"\0\x1fA59B       1                   ",
        ] {
            assert_eq!(
                Packet::parse(wire),
                Ok(Packet::LoginAccepted {
                    session: SessionId::from_padded(b"59B"),
                    sequence: 1
                })
            );
        }
    }

    #[test]
    fn a_sequence_number_that_isnt_decimal_or_too_great_is_refused() {
        let accepted = |number: &[u8; 20]| {
            let mut wire = b"\0\x1fA000010059B".to_vec();
            wire.extend(number);
            Packet::parse(&wire).map(|packet| match packet {
                Packet::LoginAccepted { sequence, .. } => sequence,
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(accepted(b"18446744073709551615"), Ok(u64::MAX));
        assert_eq!(accepted(b"00000000000000000007"), Ok(7));
        let bad = |byte: u8| {
            Err(DecodeError::BadValue {
                field: "sequence_number",
                value: u64::from(byte),
            })
        };
        assert_eq!(accepted(b"18446744073709551616"), bad(b'6'));
        assert_eq!(accepted(b"99999999999999999999"), bad(b'9'));
        assert_eq!(accepted(b"                  -1"), bad(b'-'));
        assert_eq!(accepted(b"                 1 1"), bad(b' '));
        assert_eq!(accepted(b"                    "), bad(b' '));
        assert_eq!(accepted(b"                  1\0"), bad(0));
    }

    #[test]
    fn a_packet_with_another_length_than_its_type_has_is_refused() {
        for (wire, what) in [
            (&b"\0\x02Hx"[..], "server heartbeat"),
            (b"\0\x02Rx", "client heartbeat"),
            (b"\0\x02Zx", "end of session"),
            (b"\0\x02Ox", "logout request"),
            (b"\0\x03JAx", "login rejected"),
        ] {
            assert_eq!(
                Packet::parse(wire),
                Err(DecodeError::TrailingBytes { what, excess: 1 })
            );
        }
        assert_eq!(
            Packet::parse(b"\0\x01J"),
            Err(truncated("login rejected", 4, 3))
        );
    }

    #[test]
    fn what_cant_be_understood_doesnt_lose_the_framing() {
        let seen = packets(b"\0\0\0\x02?x\0\x02Hx\0\x01H");
        assert_eq!(seen.len(), 4);
        assert_eq!(seen[0], "Err(EmptyBlock)");
        assert!(seen[1].contains("UnknownType"), "{seen:?}");
        assert!(seen[2].contains("TrailingBytes"), "{seen:?}");
        assert_eq!(seen[3], "Ok(ServerHeartbeat)");
    }

    #[test]
    fn what_is_held_is_bounded_by_the_length_field() {
        let mut greatest = vec![0xFF, 0xFF, b'S'];
        greatest.resize(2 + 0xFFFF, 7);
        let flood = greatest.repeat(5);
        let mut frames = Frames::new();
        let (mut taken, mut seen) = (0, 0);
        while taken < flood.len() {
            let now = frames.handle_bytes(&flood[taken..]);
            assert!(now > 0);
            taken += now;
            assert!(frames.held() <= 2 * greatest.len());
            while let Some(packet) = frames.poll() {
                assert!(matches!(packet, Ok(Packet::SequencedData(message))
                        if message.len() == soupbintcp::MESSAGE_BYTES_MAX));
                seen += 1;
            }
            assert!(frames.held() < greatest.len());
        }
        assert_eq!(seen, 5);
    }

    #[test]
    fn a_message_too_long_for_a_packet_isnt_written() {
        let long = vec![0; soupbintcp::MESSAGE_BYTES_MAX + 1];
        let mut out = Vec::new();
        assert_eq!(
            Packet::SequencedData(&long).encode(&mut out),
            Err(soupbintcp::TooLong { len: 0xFFFF })
        );
        assert!(out.is_empty());
        assert_eq!(Packet::SequencedData(&long[1..]).encode(&mut out), Ok(()));
        assert_eq!(out.len(), 2 + 0xFFFF);
    }

    #[test]
    fn the_password_isnt_shown() {
        let login = LoginRequest {
            username: Text::from_padded(b"USER"),
            password: Text::from_padded(b"SECRET"),
            requested_session: session(),
            requested_sequence: 1,
        };
        let shown = format!("{:?}", Packet::LoginRequest(login));
        assert!(
            shown.contains("USER") && !shown.contains("SECRET"),
            "{shown}"
        );
    }
}

mod binaryfile_1_00 {
    use super::*;

    #[test]
    fn a_length_of_zero_ends_the_session() {
        let mut messages = Messages::new(b"\0\x02SO\0\x01D\0\0");
        assert_eq!(messages.next(), Some(Ok(&b"SO"[..])));
        assert_eq!(messages.next(), Some(Ok(&b"D"[..])));
        assert_eq!(messages.next(), None);
        assert_eq!(messages.ending(), Ending::Marked);
    }

    #[test]
    fn a_file_without_the_mark_ends_unmarked() {
        for file in [&b""[..], b"\0\x01D"] {
            let mut messages = Messages::new(file);
            assert!(messages.by_ref().all(|message| message.is_ok()));
            assert_eq!(messages.ending(), Ending::Unmarked);
            let mut reader = Reader::new();
            reader.handle_bytes(file);
            while reader.poll().is_some() {}
            assert_eq!(reader.finish(), Ok(Ending::Unmarked));
        }
    }

    #[test]
    fn a_cut_file_tells_how_many_bytes_are_left_over() {
        for (file, need, have) in [
            (&b"\0\x01D\0"[..], 2, 1),
            (b"\0\x01D\0\x05", 7, 2),
            (b"\0\x01D\0\x05abcd", 7, 6),
        ] {
            let error = truncated("BinaryFILE message", need, have);
            let items: Vec<_> = Messages::new(file).collect();
            assert_eq!(items, [Ok(&b"D"[..]), Err(error)]);
            let mut reader = Reader::new();
            assert_eq!(reader.handle_bytes(file), file.len());
            assert_eq!(reader.poll(), Some(&b"D"[..]));
            assert_eq!(reader.poll(), None);
            assert_eq!(reader.finish(), Err(error));
        }
    }

    #[test]
    fn bytes_after_the_mark_are_told_and_arent_messages() {
        let file = b"\0\0\0\x01D";
        let error = DecodeError::TrailingBytes {
            what: "BinaryFILE session",
            excess: 3,
        };
        let items: Vec<_> = Messages::new(file).collect();
        assert_eq!(items, [Err(error)]);
        for chunk in 1..=file.len() {
            let mut reader = Reader::new();
            for chunk in file.chunks(chunk) {
                assert_eq!(reader.handle_bytes(chunk), chunk.len());
                assert_eq!(reader.poll(), None);
            }
            assert!(reader.is_ended());
            assert_eq!(reader.finish(), Err(error));
        }
    }

    #[test]
    fn a_message_that_the_length_cant_tell_isnt_written() {
        let mut out = Vec::new();
        assert!(!binaryfile::encode(b"", &mut out));
        assert!(!binaryfile::encode(&vec![0; 0x1_0000], &mut out));
        assert!(out.is_empty());
        assert!(binaryfile::encode(&vec![1; 0xFFFF], &mut out));
        binaryfile::encode_end_of_session(&mut out);
        let mut messages = Messages::new(&out);
        assert_eq!(messages.next().unwrap().unwrap().len(), 0xFFFF);
        assert_eq!(messages.next(), None);
        assert_eq!(messages.ending(), Ending::Marked);
    }

    #[test]
    fn a_real_start_of_day_has_one_thousand_messages_of_four_types() {
        let file = include_bytes!("../../testdata/nasdaq-itch/itch50_first1000_messages.itch");
        let mut count = [0; 256];
        let mut messages = Messages::new(file);
        for message in messages.by_ref() {
            let message = message.unwrap();
            let parsed = itch50::Message::parse(message).unwrap();
            assert_eq!(
                itch50::Message::length_of(message[0]),
                Some(message.len()),
                "{}",
                parsed.name()
            );
            count[usize::from(message[0])] += 1;
        }
        assert_eq!(messages.ending(), Ending::Unmarked);
        let types: Vec<_> = (0..=255u8)
            .filter(|&message_type| count[usize::from(message_type)] > 0)
            .map(|message_type| (char::from(message_type), count[usize::from(message_type)]))
            .collect();
        assert_eq!(types, [('H', 3), ('R', 993), ('S', 1), ('Y', 3)]);
    }
}

mod glimpse_5_0 {
    use super::*;

    #[test]
    fn the_snapshot_message_carries_the_sequence_number_in_ascii() {
        let bytes = EndOfSnapshot::new(313_928_997).encode();
        assert_eq!(&bytes, b"G           313928997");
        let message = EndOfSnapshot::parse(&bytes).unwrap();
        assert_eq!(message.sequence(), Ok(313_928_997));
        assert_eq!(EndOfSnapshot::NAME, "end_of_snapshot");
    }

    #[test]
    fn padding_may_be_spaces_on_either_side_or_zeros() {
        for wire in [
            b"G                   7",
            b"G7                   ",
            b"G00000000000000000007",
        ] {
            assert_eq!(
                EndOfSnapshot::parse(wire).and_then(|message| message.sequence()),
                Ok(7)
            );
        }
    }

    #[test]
    fn anything_but_digits_is_refused() {
        for (wire, byte) in [
            (b"G                 x 7", b'x'),
            (b"G                 1.7", b'.'),
            (b"G                    ", b' '),
            (b"G                  +7", b'+'),
            (b"G\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 0),
        ] {
            assert_eq!(
                EndOfSnapshot::parse(wire),
                Err(DecodeError::BadValue {
                    field: "sequence_number",
                    value: u64::from(byte)
                })
            );
        }
    }

    #[test]
    fn a_short_message_or_another_type_is_refused() {
        let bytes = EndOfSnapshot::new(7).encode();
        assert_eq!(EndOfSnapshot::parse(&[]), Err(DecodeError::EmptyBlock));
        for cut in 1..bytes.len() {
            assert_eq!(
                EndOfSnapshot::parse(&bytes[..cut]),
                Err(truncated("end_of_snapshot", 21, cut))
            );
        }
        assert!(matches!(
            EndOfSnapshot::parse(b"S                   7"),
            Err(DecodeError::UnknownType {
                protocol: "GLIMPSE",
                message_type: b'S'
            })
        ));
    }
}

mod itch_5_0 {
    use super::*;
    use itch50::Message;

    /// What a message's fields show, as text.
    fn shown(bytes: &[u8]) -> Vec<String> {
        let mut shown = Vec::new();
        Message::parse(bytes).unwrap().fields(&mut |name, value| {
            shown.push(match value {
                Value::Uint(number) => format!("{name}={number}"),
                Value::Price(price) => format!("{name}={price}"),
                Value::Text(text) => format!("{name}={}", String::from_utf8_lossy(text)),
                Value::Char(character) => format!("{name}={}", char::from(character)),
                other => format!("{name}={other:?}"),
            });
        });
        shown
    }

    #[test]
    fn captured_messages_read_as_an_independent_dissector_reads_them() {
        assert_eq!(
            shown(include_bytes!("../fuzz/corpus/itch50/real_f_0")),
            [
                "message_type=F",
                "stock_locate=1738",
                "tracking_number=0",
                "timestamp=34199999977782",
                "order_reference_number=18923125",
                "buy_sell_indicator=S",
                "shares=100",
                "stock=CASY",
                "price=255.52",
                "attribution=FLTU",
            ]
        );
        assert_eq!(
            shown(include_bytes!("../fuzz/corpus/itch50/real_i_0")),
            [
                "message_type=I",
                "stock_locate=6462",
                "tracking_number=0",
                "timestamp=34200000268978",
                "paired_shares=1",
                "imbalance_shares=0",
                "imbalance_direction=N",
                "stock=MDC",
                "far_price=46.44",
                "near_price=46.44",
                "current_reference_price=46.44",
                "cross_type=O",
                "price_variation_indicator=L",
            ]
        );
        assert_eq!(
            shown(include_bytes!("../fuzz/corpus/itch50/real_y_0")),
            [
                "message_type=Y",
                "locate_code=9405",
                "tracking_number=0",
                "timestamp=34200116533431",
                "stock=SOPA",
                "reg_sho_action=1",
            ]
        );
    }

    #[test]
    fn the_maximum_price_is_200000() {
        let mut add = *include_bytes!("../fuzz/corpus/itch50/real_a_0");
        add[32..36].copy_from_slice(&0x7735_9400_u32.to_be_bytes());
        assert!(shown(&add).contains(&"price=200000".to_owned()));
    }

    #[test]
    fn circuit_breaker_levels_have_eight_decimals() {
        let levels = shown(include_bytes!("../fuzz/corpus/itch50/hand_v"));
        assert_eq!(
            levels[4..],
            ["level_1=4530", "level_2=4240", "level_3=3900"]
        );
    }

    #[test]
    fn every_prefix_of_every_message_type_is_refused_and_every_longer_message_accepted() {
        for &message_type in Message::TYPES {
            let length = Message::length_of(message_type).unwrap();
            let mut bytes = vec![message_type; length];
            let name = Message::parse(&bytes).unwrap().name();
            for cut in 1..length {
                let error = truncated(name, length, cut);
                assert_eq!(Message::parse(&bytes[..cut]), Err(error));
                assert_eq!(itch50::check(&bytes[..cut]), Err(error));
            }
            bytes.extend(b"a later edition");
            assert_eq!(Message::parse(&bytes).unwrap().name(), name);
            assert_eq!(itch50::check(&bytes), Ok(()));
        }
        assert_eq!(Message::parse(&[]), Err(DecodeError::EmptyBlock));
        assert_eq!(itch50::check(&[]), Err(DecodeError::EmptyBlock));
    }

    #[test]
    fn an_unknown_type_is_let_pass_by_the_length_check_and_refused_by_the_parser() {
        for message_type in (0..=u8::MAX).filter(|byte| !Message::TYPES.contains(byte)) {
            let bytes = [message_type; 50];
            assert_eq!(itch50::check(&bytes[..1]), Ok(()));
            assert_eq!(
                Message::parse(&bytes),
                Err(DecodeError::UnknownType {
                    protocol: "ITCH 5.0",
                    message_type
                })
            );
        }
    }
}

proptest! {
    #[test]
    fn a_written_packet_reads_back(
        id in "[0-9A-Z]{1,10}",
        sequence in 0..u64::MAX - 100,
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..80), 0..40),
        bytes_max in 20..1_500_usize,
    ) {
        let id = SessionId::from_padded(id.as_bytes());
        let mut buffer = Vec::new();
        let mut builder = PacketBuilder::new(&mut buffer, id, sequence, bytes_max);
        let mut pushed = Vec::new();
        for message in &messages {
            if builder.push(message).is_ok() {
                pushed.push(&message[..]);
            }
        }
        prop_assert!(buffer.len() <= bytes_max);
        let packet = DownstreamPacket::parse(&buffer).unwrap();
        prop_assert_eq!(packet.session(), id);
        prop_assert_eq!(packet.sequence(), sequence);
        prop_assert_eq!(packet.next_sequence(), sequence + pushed.len() as u64);
        prop_assert_eq!(packet.blocks().collect::<Vec<_>>(), pushed);
    }

    #[test]
    fn a_packet_is_accepted_whole_or_refused_whatever_bit_flips(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 1..8),
    ) {
        let mut buffer = Vec::new();
        let mut builder = PacketBuilder::new(&mut buffer, session(), 1, 1_400);
        for message in &messages {
            builder.push(message).unwrap();
        }
        for bit in 0..buffer.len() * 8 {
            buffer[bit / 8] ^= 1 << (bit % 8);
            if let Ok(packet) = DownstreamPacket::parse(&buffer) {
                // Header and blocks agree to the last byte.
                let bytes: usize = packet.blocks().map(|message| 2 + message.len()).sum();
                prop_assert_eq!(20 + bytes, buffer.len());
                prop_assert_eq!(packet.blocks().count(), usize::from(packet.count()));
            }
            buffer[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_request_reads_back(id in "[0-9A-Z]{0,10}", sequence in 0..u64::MAX - 0xFFFF, count: u16) {
        let request = Request::new(SessionId::from_padded(id.as_bytes()), sequence, count);
        prop_assert_eq!(Request::parse(&request.encode()), Ok(request));
    }

    #[test]
    fn a_login_reads_back(
        username in "[!-~]{0,6}",
        password in "[!-~]{0,10}",
        id in "[0-9A-Z]{0,10}",
        requested_sequence: u64,
    ) {
        let packet = Packet::LoginRequest(LoginRequest {
            username: Text::from_padded(username.as_bytes()),
            password: Text::from_padded(password.as_bytes()),
            requested_session: SessionId::from_padded(id.as_bytes()),
            requested_sequence,
        });
        let mut bytes = Vec::new();
        packet.encode(&mut bytes).unwrap();
        prop_assert_eq!(Packet::parse(&bytes), Ok(packet));
    }

    #[test]
    fn a_file_reads_back_in_chunks_of_any_size(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..50),
        chunk in 1..400_usize,
    ) {
        let mut file = Vec::new();
        for message in &messages {
            prop_assert!(binaryfile::encode(message, &mut file));
        }
        binaryfile::encode_end_of_session(&mut file);
        let mut reader = Reader::new();
        let mut read = Vec::new();
        for chunk in file.chunks(chunk) {
            prop_assert_eq!(reader.handle_bytes(chunk), chunk.len());
            while let Some(message) = reader.poll() {
                read.push(message.to_vec());
            }
        }
        prop_assert_eq!(&read, &messages);
        prop_assert_eq!(reader.finish(), Ok(Ending::Marked));
    }

    #[test]
    fn an_end_of_snapshot_reads_back(sequence: u64) {
        let bytes = EndOfSnapshot::new(sequence).encode();
        prop_assert_eq!(EndOfSnapshot::parse(&bytes).and_then(|end| end.sequence()), Ok(sequence));
    }
}
