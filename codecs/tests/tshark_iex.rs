//! Every field of every recorded IEX message against an independent dissector's reading of it.
//!
//! `testdata/README.md` says how the decodings were made.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use tickcast_codecs::event::{Event, Header, Normalizer, Origin};
use tickcast_codecs::iextp::Segment;
use tickcast_codecs::wire::{Fields, Value};
use tickcast_codecs::{DecodeError, deep, deepplus, tops};

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata")
}

/// The UDP payloads of a classic little-endian pcap file, as far as these captures need.
fn payloads(path: &Path) -> Vec<Vec<u8>> {
    let mut file = std::fs::read(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(file.as_slice())
            .read_to_end(&mut plain)
            .unwrap();
        file = plain;
    }
    let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    assert!(matches!(number(0), 0xa1b2_c3d4 | 0xa1b2_3c4d));
    let mut payloads = Vec::new();
    let mut at = 24;
    while at < file.len() {
        let frame = &file[at + 16..at + 16 + number(at + 8)];
        at += 16 + frame.len();
        let ip = if frame[12..14] == [0x81, 0x00] {
            18
        } else {
            14
        };
        let udp = ip + usize::from(frame[ip] & 15) * 4;
        let end = udp + usize::from(u16::from_be_bytes([frame[udp + 4], frame[udp + 5]]));
        payloads.push(frame[udp + 8..end].to_vec());
    }
    payloads
}

fn lines(path: &Path) -> Vec<Json> {
    let mut text = std::fs::read(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "zst") {
        text = zstd::decode_all(text.as_slice()).unwrap();
    }
    text.split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// Our fields in the dissector's notation.
fn ours(fields: impl FnOnce(&mut dyn FnMut(&'static str, Value<'_>))) -> BTreeMap<String, Json> {
    let mut map = BTreeMap::new();
    fields(&mut |name, value| {
        let name = name.replace('_', "");
        let value = match value {
            Value::Uint(number) => number.to_string(),
            Value::Int(number) => number.to_string(),
            Value::Price(price) => price.to_string(),
            Value::Text(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Value::Char(byte) => char::from(byte).to_string(),
            Value::Flags(byte, table) => {
                let flags = table.iter().map(|(flag, mask)| {
                    let bits = (byte & mask) >> mask.trailing_zeros();
                    (flag.replace('_', ""), Json::String(bits.to_string()))
                });
                map.insert(name, Json::Object(flags.collect()));
                return;
            }
        };
        // Padding, and a number that the dissector takes for text.
        if name != "reserved" && name != "extensionnumber" {
            map.insert(name, Json::String(value));
        }
    });
    map
}

fn theirs(fields: &Json) -> BTreeMap<String, Json> {
    let mut map = BTreeMap::new();
    for (name, value) in fields.as_object().unwrap() {
        if name.starts_with("reserved") || name == "extensionnumber" {
            continue;
        }
        let mut value = value.clone();
        if let Some(flags) = value.as_object_mut() {
            flags.remove("_");
        }
        map.insert(name.clone(), value);
    }
    map
}

/// One message by its protocol: name and fields.
fn parse(
    protocol: u16,
    message: &[u8],
) -> Result<(&'static str, BTreeMap<String, Json>), DecodeError> {
    macro_rules! with {
        ($feed:ident) => {{
            $feed::check(message)?;
            let message = $feed::Message::parse(message)?;
            (message.name(), ours(|visit| message.fields(visit)))
        }};
    }
    Ok(match protocol {
        tops::PROTOCOL_ID => with!(tops),
        deep::PROTOCOL_ID => with!(deep),
        deepplus::PROTOCOL_ID => with!(deepplus),
        other => panic!("protocol {other:#x}"),
    })
}

/// Compares one payload with its line; returns the number of messages.
fn compare(payload: &[u8], line: &Json) -> usize {
    let segment = Segment::parse(payload).unwrap();
    let pdu = &line["pdus"][0];
    assert_eq!(
        ours(|visit| segment.header().fields(visit)),
        theirs(&pdu["iextpheader"])
    );
    let expected: Vec<&Json> = match &pdu["message"] {
        Json::Null => Vec::new(),
        Json::Array(messages) => messages.iter().collect(),
        one => vec![one],
    };
    assert_eq!(usize::from(segment.count()), expected.len());
    for (message, expected) in segment.messages().zip(&expected) {
        let (name, mut fields) = parse(segment.protocol(), message).unwrap();
        let header = &expected["messageheader"];
        assert_eq!(header["messagelength"], message.len().to_string());
        let message_type = fields.remove("messagetype").unwrap();
        assert_eq!(message_type, header["messagetype"]);
        let name = match (name, message[0]) {
            ("price_level_update", b'8') => "pricelevelbuyupdate".to_owned(),
            ("price_level_update", _) => "pricelevelsellupdate".to_owned(),
            (name, _) => name.replace('_', ""),
        };
        let mut expected = theirs(&expected[format!("{name}message")]);
        // TOPS 1.5's dissector was given packets of 1.6: it doesn't know the fifth flag.
        if let Some(Json::Object(flags)) = expected.get_mut("saleconditionflags")
            && let Some(unused) = flags.remove("unused4")
        {
            assert_eq!(unused, "0");
            flags.insert("unused3".to_owned(), "0".into());
            flags.insert("singlepricecrosstrade".to_owned(), "0".into());
        }
        assert_eq!(fields, expected, "{name}");
    }
    expected.len()
}

/// Every message normalizes to at least one event.
fn normalize<N: Normalizer>(mut normalizer: N, payloads: &[Vec<u8>]) -> usize {
    let mut events: Vec<(Header, Event)> = Vec::new();
    let mut total = 0;
    for payload in payloads {
        for message in Segment::parse(payload).unwrap().messages() {
            normalizer
                .message(message, Origin::default(), &mut events)
                .unwrap();
            assert!(!events.is_empty());
            total += events.len();
            events.clear();
        }
    }
    total
}

/// Compares a capture with its decoding; returns payloads, messages and events.
fn capture(name: &str) -> (usize, usize, usize) {
    let payloads = payloads(&testdata().join(format!("iex/{name}.pcap.gz")));
    let lines = lines(&testdata().join(format!("iex/{name}.tshark.jsonl.zst")));
    assert_eq!(payloads.len(), lines.len());
    let messages = payloads
        .iter()
        .zip(&lines)
        .map(|(payload, line)| compare(payload, line))
        .sum();
    let events = if name.starts_with("tops") {
        normalize(tops::Normalizer::new(1), &payloads)
    } else {
        normalize(deep::Normalizer::new(1), &payloads)
    };
    (payloads.len(), messages, events)
}

#[test]
fn deep_sessions_1_to_3_agree_in_every_field() {
    let (payloads, messages, events) = capture("deep10_2017-04-25_sessions1-3");
    assert_eq!((payloads, messages), (7_884, 76_770));
    assert!(events > messages);
}

#[test]
fn deep_session_12_agrees_in_every_field() {
    let (payloads, messages, events) = capture("deep10_2017-04-25_session12_first50000");
    assert_eq!((payloads, messages), (50_000, 73_803));
    assert!(events > messages);
}

#[test]
fn tops_agrees_in_every_field() {
    let (payloads, messages, events) = capture("tops16_2017-07-10_first9000");
    assert_eq!((payloads, messages), (9_000, 46_844));
    assert!(events > messages);
}

#[test]
fn single_packets_of_each_message_agree() {
    let mut messages = 0;
    for folder in [
        "Deep.IexTp.v1.0",
        "DeepPlus.IexTp.1.0.2",
        "Tops.IexTp.v1.5",
        "Tops.IexTp.v1.6",
    ] {
        let folder = testdata().join("omi-packets/Iex").join(folder);
        for line in lines(&folder.join("tshark.jsonl")) {
            let payloads = payloads(&folder.join(line["file"].as_str().unwrap()));
            let frame: usize = line["frame"].to_string().parse().unwrap();
            messages += compare(&payloads[frame - 1], &line);
        }
    }
    assert!(messages > 300, "{messages}");
}
