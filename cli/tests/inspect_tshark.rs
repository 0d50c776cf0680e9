//! `tickcast inspect --json` against tshark's decodings of the same captures: every field that tshark prints,
//! on every capture of the protocols that are decoded here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Map, Value};

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata")
        .join(path)
}

/// What was compared, and what differed.
#[derive(Default)]
struct Tally {
    packets: u64,
    messages: u64,
    fields: u64,
    differences: Vec<String>,
}

impl Tally {
    fn differ(&mut self, what: String) {
        if self.differences.len() < 20 {
            self.differences.push(what);
        }
    }
}

/// Padding in the dissector's own notation, or a number of the dissector's.
fn is_ignored(name: &str) -> bool {
    // `extensionnumber` is printed as the character of its number: "" for 0.
    name.starts_with("reserved") || name == "messageindex" || name == "extensionnumber"
}

/// Our fields by the dissector's names: without underscores, flags one level down.
fn flattened(object: &Map<String, Value>) -> BTreeMap<String, Value> {
    object
        .iter()
        .map(|(name, value)| (name.replace('_', ""), value.clone()))
        .collect()
}

/// A value as the dissector prints it: prices came from a double, so they are compared as numbers.
fn agrees(ours: &Value, theirs: &str) -> bool {
    let text = match ours {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return false,
    };
    // The dissector trims some fields and not others; a padding space says nothing.
    if text.trim_end() == theirs.trim_end() {
        return true;
    }
    match (text.parse::<f64>(), theirs.parse::<f64>()) {
        (Ok(ours), Ok(theirs)) => {
            text.contains('.') && (ours - theirs).abs() < 0.000_05 * 1.0_f64.max(ours.abs() * 1e-9)
        }
        _ => false,
    }
}

fn compare(tally: &mut Tally, place: &str, ours: &Map<String, Value>, theirs: &Map<String, Value>) {
    let ours = flattened(ours);
    for (name, value) in theirs {
        if is_ignored(name) {
            continue;
        }
        let Some(our) = ours.get(name) else {
            tally.differ(format!("{place}: {name} is missing"));
            continue;
        };
        match (our, value) {
            (Value::Object(our), Value::Object(flags)) => {
                let our = flattened(our);
                for (flag, bit) in flags {
                    // The whole in words; and a dissector of TOPS 1.5 was given packets of 1.6, so that
                    // its unused bits are one more.
                    if flag == "_" || flag == "unused4" {
                        continue;
                    }
                    tally.fields += 1;
                    let bit = bit.as_str().unwrap();
                    if !our.get(flag.as_str()).is_some_and(|our| agrees(our, bit)) {
                        tally.differ(format!("{place}: {name}.{flag}: {our:?} and {bit}"));
                    }
                }
            }
            (our, Value::String(text)) => {
                tally.fields += 1;
                if !agrees(our, text) {
                    tally.differ(format!("{place}: {name}: {our} and {text:?}"));
                }
            }
            other => panic!("{place}: {name}: {other:?}"),
        }
    }
}

/// The message's content: the object beside index and header.
fn content(message: &Map<String, Value>) -> (&str, &Map<String, Value>) {
    message
        .iter()
        .find_map(|(name, value)| match value {
            Value::Object(fields) if name != "messageheader" => Some((name.as_str(), fields)),
            _ => None,
        })
        .expect("a message has a content")
}

/// Whether our name and the dissector's mean the same message.
fn same_type(ours: &str, theirs: &str) -> bool {
    let ours = ours.replace('_', "");
    let theirs = theirs.strip_suffix("message").unwrap_or(theirs);
    // The specifications' longer names.
    let ours = match (ours.as_str(), theirs) {
        ("addorder", "addordernompidattribution") => "addordernompidattribution",
        ("addorderwithmpid", "addorderwithmpidattribution") => "addorderwithmpidattribution",
        ("trade", "noncrosstrade") => "noncrosstrade",
        ("noii", "netorderimbalanceindicator") => "netorderimbalanceindicator",
        ("regshorestriction", "regshoshortsalepricetestrestrictedindicator") => theirs,
        ("pricelevelupdate", "pricelevelbuyupdate" | "pricelevelsellupdate") => theirs,
        (ours, _) => ours,
    };
    ours == theirs
}

fn messages(packet: &Value) -> Vec<&Map<String, Value>> {
    match &packet["message"] {
        Value::Null => Vec::new(),
        Value::Array(messages) => messages
            .iter()
            .map(|one| one.as_object().unwrap())
            .collect(),
        one => vec![one.as_object().unwrap()],
    }
}

/// Runs `inspect --json` on a capture and compares each packet with a decoded line.
fn compare_capture(tally: &mut Tally, capture: &Path, decoded: impl Iterator<Item = Value>) {
    let mut inspect = Command::new(env!("CARGO_BIN_EXE_tickcast"))
        .arg("inspect")
        .arg(capture)
        .arg("--json")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(inspect.stdout.take().unwrap()).lines();
    for theirs in decoded {
        let ours: Value =
            serde_json::from_str(&lines.next().expect("a line a packet").unwrap()).unwrap();
        assert_eq!(ours["packet"], theirs["frame"], "{}", capture.display());
        let place = format!("{} packet {}", capture.display(), ours["packet"]);
        tally.packets += 1;
        let pdus = theirs["pdus"].as_array().unwrap();
        // IEX-TP: header and messages are in one or in several parts of the line.
        let mut their_messages = Vec::new();
        for pdu in pdus {
            for header in ["iextpheader", "packetheader"] {
                if let Some(header) = pdu.get(header) {
                    compare(
                        tally,
                        &place,
                        ours["header"].as_object().unwrap(),
                        header.as_object().unwrap(),
                    );
                }
            }
            their_messages.extend(messages(pdu));
        }
        let our_messages = ours["messages"].as_array().unwrap();
        assert_eq!(our_messages.len(), their_messages.len(), "{place}");
        compare_messages(tally, &place, our_messages, &their_messages);
    }
    assert!(
        lines.next().is_none(),
        "{}: more packets",
        capture.display()
    );
    assert!(inspect.wait().unwrap().success());
}

fn compare_messages(
    tally: &mut Tally,
    place: &str,
    ours: &[Value],
    theirs: &[&Map<String, Value>],
) {
    for (ours, theirs) in ours.iter().zip(theirs) {
        tally.messages += 1;
        let ours = ours.as_object().unwrap();
        let (name, fields) = content(theirs);
        let our_name = ours["type"].as_str().unwrap();
        assert!(same_type(our_name, name), "{place}: {our_name} and {name}");
        compare(
            tally,
            place,
            ours,
            theirs["messageheader"].as_object().unwrap(),
        );
        compare(tally, place, ours, fields);
    }
}

fn lines(path: &Path) -> impl Iterator<Item = Value> {
    let file = fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let read: Box<dyn Read> = if path.extension().is_some_and(|extension| extension == "zst") {
        Box::new(zstd::Decoder::new(file).unwrap())
    } else {
        Box::new(file)
    };
    BufReader::new(read)
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
}

fn finish(tally: &Tally, fields_min: u64) {
    println!(
        "{} packets, {} messages, {} fields compared, {} differences",
        tally.packets,
        tally.messages,
        tally.fields,
        tally.differences.len()
    );
    assert!(tally.differences.is_empty(), "{:#?}", tally.differences);
    assert!(tally.fields >= fields_min, "only {} fields", tally.fields);
}

fn whole(name: &str, fields_min: u64) {
    let mut tally = Tally::default();
    compare_capture(
        &mut tally,
        &testdata(&format!("{name}.pcap.gz")),
        lines(&testdata(&format!("{name}.tshark.jsonl.zst"))),
    );
    finish(&tally, fields_min);
}

#[test]
fn deep_of_three_sessions_agrees_with_tshark_in_every_field() {
    whole("iex/deep10_2017-04-25_sessions1-3", 450_000);
}

#[test]
fn deep_of_one_long_session_agrees_with_tshark_in_every_field() {
    whole("iex/deep10_2017-04-25_session12_first50000", 1_000_000);
}

#[test]
fn tops_agrees_with_tshark_in_every_field() {
    whole("iex/tops16_2017-07-10_first9000", 350_000);
}

#[test]
fn totalview_in_moldudp64_agrees_with_tshark_in_every_field() {
    whole(
        "nasdaq-itch/ARL_2025-07-17_first_reencoded_moldudp64",
        20_000,
    );
}

#[test]
fn totalview_in_a_binaryfile_agrees_with_tshark_in_every_field() {
    // tshark saw the messages re-framed 30 to a packet: only the messages are compared.
    let mut tally = Tally::default();
    let output = Command::new(env!("CARGO_BIN_EXE_tickcast"))
        .arg("inspect")
        .arg(testdata("nasdaq-itch/itch50_first1000_messages.itch"))
        .arg("--json")
        .output()
        .unwrap();
    assert!(output.status.success());
    let ours: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .flat_map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["messages"].as_array().unwrap().clone()
        })
        .collect();
    let decoded: Vec<Value> = lines(&testdata(
        "nasdaq-itch/itch50_first1000_messages.tshark.jsonl.zst",
    ))
    .collect();
    let theirs: Vec<&Map<String, Value>> = decoded
        .iter()
        .flat_map(|line| line["pdus"].as_array().unwrap())
        .flat_map(messages)
        .collect();
    assert_eq!((ours.len(), theirs.len()), (1_000, 1_000));
    compare_messages(&mut tally, "itch50_first1000_messages", &ours, &theirs);
    finish(&tally, 15_000);
}

#[test]
fn single_packets_of_each_type_agree_with_tshark_in_every_field() {
    let mut tally = Tally::default();
    for venue in ["Iex", "Nasdaq"] {
        for folder in fs::read_dir(testdata("omi-packets").join(venue)).unwrap() {
            let folder = folder.unwrap().path();
            let mut files: BTreeMap<String, Vec<Value>> = BTreeMap::new();
            for line in lines(&folder.join("tshark.jsonl")) {
                let file = line["file"].as_str().unwrap().to_owned();
                files.entry(file).or_default().push(line);
            }
            for (file, decoded) in files {
                compare_capture(&mut tally, &folder.join(file), decoded.into_iter());
            }
        }
    }
    finish(&tally, 2_000);
}
