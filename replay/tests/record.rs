//! The recorder as a machine: what its files hold, when it begins another, and what a full disk does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/disk.rs"]
mod disk;

use std::net::SocketAddr;

use disk::{Disk, Kept, read, received};
use serde_json::Value;
use tickcast_codecs::moldudp64::{PacketBuilder, encode_end_of_session, encode_heartbeat};
use tickcast_codecs::{SessionId, iextp};
use tickcast_replay::limits::{RECORD_FLUSH_NS, RECORD_RETRY_NS, RECORD_TELL_NS};
use tickcast_replay::record::{Files, Line, Notice, Received, Recorder, RecorderConfig};

const SECOND: u64 = 1_000_000_000;
/// 2024-02-29 12:34:56 UTC.
const WALL: u64 = 1_709_210_096 * SECOND;
const ROOM: usize = usize::MAX;

fn lines() -> Vec<Line> {
    ["233.54.12.111:26477", "[ff15::7]:7001"]
        .iter()
        .map(|group| Line {
            name: format!("line {group}"),
            group: group.parse().unwrap(),
            protocol: None,
        })
        .collect()
}

fn many(bytes_max: Option<u64>, every_ns: Option<u64>) -> Files {
    Files::Many {
        bytes_max,
        every_ns,
    }
}

fn recorder(files: Files, zstd: Option<i32>) -> Recorder {
    Recorder::new(RecorderConfig { files, zstd }, lines(), WALL).unwrap()
}

/// Packets that compress badly, with their times, alternately of both lines.
fn packets(count: usize) -> Vec<(u16, u64, Vec<u8>)> {
    let mut state = 1_u64;
    (0..count)
        .map(|n| {
            let payload = (0..n % 1_400)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(9);
                    u8::try_from(state >> 56).unwrap()
                })
                .collect();
            (
                u16::try_from(n % 2).unwrap(),
                WALL + n as u64 * 1_001,
                payload,
            )
        })
        .collect()
}

fn as_kept(line: u16, ts: u64, payload: &[u8]) -> Kept {
    let src = received(0, 0, &[]).src;
    let src = if line == 0 {
        src
    } else {
        // The sender's family isn't the group's: the headers can't hold it.
        SocketAddr::new("::".parse().unwrap(), src.port())
    };
    let group = lines()[usize::from(line)].group;
    (u32::from(line), ts, src, group, payload.to_vec())
}

fn feed(recorder: &mut Recorder, disk: &mut Disk, packets: &[(u16, u64, Vec<u8>)]) {
    for (line, ts, payload) in packets {
        disk.act(recorder, 0);
        recorder
            .handle_packet(0, &received(*line, *ts, payload))
            .unwrap();
    }
}

/// Every object of an index of a type.
fn index(text: &str, kind: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|value| value["type"] == kind)
        .collect()
}

#[test]
fn what_was_received_is_read_back_with_times_lines_and_addresses() {
    for zstd in [None, Some(3)] {
        let mut disk = Disk::new(ROOM);
        let mut recorder = recorder(Files::One("day.pcapng".to_owned()), zstd);
        let packets = packets(3_000);
        feed(&mut recorder, &mut disk, &packets);
        recorder.handle_end(0).unwrap();
        disk.act(&mut recorder, 0);
        let expected: Vec<Kept> = packets
            .iter()
            .map(|(line, ts, payload)| as_kept(*line, *ts, payload))
            .collect();
        let (kept, whole) = read(&disk.files["day.pcapng"]);
        assert!(whole);
        assert_eq!(kept, expected);
        let counters = recorder.counters();
        assert_eq!(
            (counters.packets, counters.written, counters.files),
            (3_000, 3_000, 1)
        );
        assert_eq!(counters.file_bytes, disk.files["day.pcapng"].len() as u64);
        let text = &disk.indexes["day.pcapng"];
        assert_eq!(index(text, "file")[0]["packets"], 3_000);
        assert_eq!(index(text, "line").len(), 2);
    }
}

#[test]
fn a_recording_without_packets_is_a_file_without_packets() {
    let mut disk = Disk::new(ROOM);
    let mut recorder = recorder(many(None, None), None);
    disk.act(&mut recorder, 0);
    // Its beginning is there before the first packet.
    assert!(read(&disk.part.as_ref().unwrap().1).1);
    recorder.handle_end(0).unwrap();
    disk.act(&mut recorder, 0);
    let (name, file) = disk.files.first_key_value().unwrap();
    assert_eq!(name, "tickcast-20240229T123456Z-000001.pcapng");
    assert_eq!(read(file), (vec![], true));
}

#[test]
fn a_file_that_would_become_too_large_is_finished_before() {
    for zstd in [None, Some(1)] {
        let mut disk = Disk::new(ROOM);
        let most = 300_000;
        let mut recorder = recorder(many(Some(most), None), zstd);
        let packets = packets(4_000);
        feed(&mut recorder, &mut disk, &packets);
        recorder.handle_end(0).unwrap();
        disk.act(&mut recorder, 0);
        assert!(disk.files.len() >= 9, "{}", disk.files.len());
        let mut kept = vec![];
        for (name, file) in &disk.files {
            assert!(file.len() as u64 <= most, "{name}: {}", file.len());
            let (of_file, whole) = read(file);
            assert!(whole, "{name}");
            assert_eq!(
                index(&disk.indexes[name], "file")[0]["packets"],
                of_file.len() as u64
            );
            kept.extend(of_file);
        }
        // Names sort as they were recorded; plain files are filled.
        assert_eq!(kept.len(), 4_000);
        assert!(kept.is_sorted_by_key(|(_, ts, ..)| *ts));
        if zstd.is_none() {
            let least = disk.files.values().rev().skip(1).map(Vec::len).min();
            assert!(least.unwrap() as u64 > most - 2_000);
        }
    }
}

#[test]
fn a_file_ends_where_utc_passes_a_multiple_of_the_interval_even_in_silence() {
    let mut disk = Disk::new(ROOM);
    // 12:34:56, every quarter of an hour.
    let mut recorder = recorder(many(None, Some(900 * SECOND)), None);
    let quarter = WALL + 4 * SECOND + 10 * 60 * SECOND;
    let at = |ts| vec![(0, ts, vec![1])];
    feed(&mut recorder, &mut disk, &at(WALL));
    feed(&mut recorder, &mut disk, &at(quarter - 1));
    feed(&mut recorder, &mut disk, &at(quarter));
    // A clock that is set back begins no file.
    feed(&mut recorder, &mut disk, &at(quarter - 1));
    disk.act(&mut recorder, 0);
    assert_eq!(disk.files.len(), 1);
    recorder.handle_timeout(0, quarter + 899 * SECOND).unwrap();
    disk.act(&mut recorder, 0);
    assert_eq!(disk.files.len(), 1);
    recorder.handle_timeout(0, quarter + 900 * SECOND).unwrap();
    disk.act(&mut recorder, 0);
    assert_eq!(disk.files.len(), 2);
    recorder
        .handle_timeout(0, quarter + 1_800 * SECOND)
        .unwrap();
    feed(&mut recorder, &mut disk, &at(quarter + 2_000 * SECOND));
    recorder.handle_end(0).unwrap();
    disk.act(&mut recorder, 0);
    let counts: Vec<usize> = disk.files.values().map(|file| read(file).0.len()).collect();
    assert_eq!(counts, [2, 2, 1]);
    let names: Vec<&String> = disk.files.keys().collect();
    assert!(
        names[1].starts_with("tickcast-20240229T124500Z-000002"),
        "{names:?}"
    );
}

#[test]
fn a_recorder_that_is_killed_leaves_whole_blocks_and_whole_streams() {
    for zstd in [None, Some(3)] {
        let mut disk = Disk::new(ROOM);
        // After every single action.
        disk.watch = |part| {
            if !part.is_empty() {
                assert!(read(part).1, "{} bytes", part.len());
            }
        };
        let mut recorder = recorder(many(Some(700_000), None), zstd);
        feed(&mut recorder, &mut disk, &packets(2_500));
        let waiting = recorder.counters().packets;
        recorder.handle_timeout(RECORD_FLUSH_NS - 1, WALL).unwrap();
        assert!(recorder.is_ready());
        // Little is written too, after a while.
        recorder.handle_timeout(RECORD_FLUSH_NS, WALL).unwrap();
        disk.act(&mut recorder, RECORD_FLUSH_NS);
        assert_eq!(recorder.counters().written, waiting);
        let finished: usize = disk.files.values().map(|file| read(file).0.len()).sum();
        let part = read(&disk.part.as_ref().unwrap().1).0.len();
        assert_eq!((finished + part) as u64, waiting);
    }
}

#[test]
fn a_file_that_is_cut_anywhere_gives_its_whole_packets() {
    let mut disk = Disk::new(ROOM);
    let mut recorder = recorder(Files::One("x".to_owned()), None);
    let packets = packets(12);
    feed(&mut recorder, &mut disk, &packets);
    recorder.handle_end(0).unwrap();
    disk.act(&mut recorder, 0);
    let file = &disk.files["x"];
    let all = read(file).0;
    let mut counts = vec![];
    for cut in 0..file.len() {
        let (kept, _) = read(&file[..cut]);
        assert_eq!(kept, all[..kept.len()], "cut at {cut}");
        counts.push(kept.len());
    }
    assert!(counts.is_sorted());
    assert_eq!(*counts.last().unwrap(), 12);
}

#[test]
fn a_full_disk_is_told_and_tried_again_and_nothing_taken_is_lost() {
    for zstd in [None, Some(3)] {
        let mut disk = Disk::new(600_000);
        let mut recorder = recorder(many(None, None), zstd);
        let packets = packets(3_000);
        let mut told = vec![];
        let mut now = 0;
        for (line, ts, payload) in &packets {
            while !recorder.is_ready() {
                told.extend(disk.act(&mut recorder, now));
                if recorder.is_ready() {
                    break;
                }
                // Nothing to do until the next try.
                assert!(recorder.poll_action(now).is_none());
                now += RECORD_RETRY_NS;
                if now > 95 * SECOND {
                    disk.capacity = ROOM;
                }
            }
            recorder
                .handle_packet(now, &received(*line, *ts, payload))
                .unwrap();
        }
        recorder.handle_end(now).unwrap();
        told.extend(disk.act(&mut recorder, now));
        // At once, each 30 s, and when it is over.
        let failing = |after: u64| Notice::Failing {
            for_ns: after * SECOND,
        };
        assert_eq!(RECORD_TELL_NS, 30 * SECOND);
        assert_eq!(
            told,
            [
                failing(0),
                failing(30),
                failing(60),
                failing(90),
                Notice::Recovered {
                    after_ns: 96 * SECOND
                }
            ]
        );
        assert_eq!(recorder.counters().failures, 96);
        assert_eq!(recorder.counters().given_up, 0);
        assert_eq!(recorder.counters().written, 3_000);
        let (kept, whole) = read(disk.files.first_key_value().unwrap().1);
        assert!(whole);
        assert_eq!(kept.len(), 3_000);
    }
}

#[test]
fn an_end_on_a_full_disk_leaves_a_whole_file_and_an_index_of_what_is_in_it() {
    for (zstd, capacity) in [
        (None, 600_000),
        (Some(3), 600_000),
        (None, 2_000),
        (None, 100),
    ] {
        let mut disk = Disk::new(capacity);
        let mut recorder = recorder(many(None, None), zstd);
        let mut taken = 0;
        for (line, ts, payload) in &packets(3_000) {
            disk.act(&mut recorder, 0);
            if !recorder.is_ready() {
                break;
            }
            recorder
                .handle_packet(0, &received(*line, *ts, payload))
                .unwrap();
            taken += 1;
        }
        recorder.handle_end(0).unwrap();
        let mut rounds = 0;
        while recorder.poll_action(0).is_some() {
            disk.act(&mut recorder, 0);
            rounds += 1;
            assert!(rounds < 10);
        }
        let counters = *recorder.counters();
        assert_eq!(counters.packets, taken);
        assert_eq!(counters.written + counters.given_up, taken);
        let Some((name, file)) = disk.files.first_key_value() else {
            panic!("a file that was begun is finished");
        };
        let (kept, whole) = read(file);
        assert_eq!(kept.len() as u64, counters.written);
        // Nothing at all fits 100 bytes.
        assert!(whole || file.is_empty());
        if let Some(text) = disk.indexes.get(name) {
            assert_eq!(index(text, "file")[0]["packets"], counters.written);
        }
        if capacity == 600_000 {
            assert!(counters.written > 100);
        }
    }
}

#[test]
fn a_name_that_is_taken_gets_the_next_number_unless_it_was_chosen() {
    let mut recorder = recorder(many(None, None), None);
    assert!(recorder.handle_exists());
    assert!(recorder.handle_exists());
    let mut disk = Disk::new(ROOM);
    disk.act(&mut recorder, 0);
    recorder.handle_end(0).unwrap();
    disk.act(&mut recorder, 0);
    let names: Vec<&String> = disk.files.keys().collect();
    assert_eq!(names, ["tickcast-20240229T123456Z-000003.pcapng"]);
    let config = RecorderConfig {
        files: Files::One("x-1.pcapng".to_owned()),
        zstd: None,
    };
    assert!(
        !Recorder::new(config, lines(), WALL)
            .unwrap()
            .handle_exists()
    );
}

#[test]
fn losses_are_in_the_packet_block_the_index_and_the_counters() {
    let mut disk = Disk::new(ROOM);
    let mut recorder = recorder(Files::One("x".to_owned()), None);
    disk.act(&mut recorder, 0);
    let lossy = Received {
        kernel_drops: 5,
        dropped: 2,
        ..received(0, WALL, b"late")
    };
    recorder.handle_packet(0, &lossy).unwrap();
    recorder.handle_losses(1, 0, 9);
    recorder.handle_end(0).unwrap();
    disk.act(&mut recorder, 0);
    let file = &disk.files["x"];
    // epb_dropcount: code 4, 8 bytes.
    let option = [4, 0, 8, 0, 7, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(file.windows(12).filter(|bytes| *bytes == option).count(), 1);
    let line = index(&disk.indexes["x"], "line");
    assert_eq!(
        (&line[0]["kernel_drops"], &line[0]["dropped"]),
        (&5.into(), &2.into())
    );
    assert_eq!(line[1]["dropped"], 9);
    let counters = recorder.counters();
    assert_eq!((counters.kernel_drops, counters.dropped), (5, 11));
}

#[test]
fn what_udp_cannot_carry_is_refused_and_counted() {
    let mut disk = Disk::new(ROOM);
    let mut recorder = recorder(Files::One("x".to_owned()), None);
    disk.act(&mut recorder, 0);
    recorder
        .handle_packet(0, &received(0, WALL, &[0; 65_536]))
        .unwrap();
    assert_eq!(
        (recorder.counters().refused, recorder.counters().packets),
        (1, 0)
    );
}

fn mold(session: &str, sequence: u64, count: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let session = SessionId::from_padded(session.as_bytes());
    if count == 0 {
        encode_heartbeat(&mut bytes, session, sequence);
        return bytes;
    }
    let mut packet = PacketBuilder::new(&mut bytes, session, sequence, 1_400);
    for _ in 0..count {
        // A system event.
        packet.push(b"S\0\0\0\0\0\0\0\0\0\0O").unwrap();
    }
    bytes
}

/// A segment of DEEP with a heartbeat's body, or `count` system events.
fn iex(session: u32, sequence: u64, count: u16, sent: u64) -> Vec<u8> {
    let mut event = vec![b'S', b'O'];
    event.extend(sent.to_le_bytes());
    let mut bytes = vec![1, 0, 0x04, 0x80, 1, 0, 0, 0];
    bytes.extend(session.to_le_bytes());
    bytes.extend((12 * count).to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    bytes.extend(sent.to_le_bytes());
    for _ in 0..count {
        bytes.extend(10_u16.to_le_bytes());
        bytes.extend(&event);
    }
    iextp::Segment::parse(&bytes).unwrap();
    bytes
}

/// The sessions in the index of a file with these packets on line 0.
fn sessions(payloads: &[Vec<u8>]) -> Vec<Value> {
    let mut disk = Disk::new(ROOM);
    let mut recorder = recorder(Files::One("x".to_owned()), None);
    disk.act(&mut recorder, 0);
    for payload in payloads {
        recorder
            .handle_packet(0, &received(0, WALL, payload))
            .unwrap();
    }
    recorder.handle_end(0).unwrap();
    disk.act(&mut recorder, 0);
    let text = &disk.indexes["x"];
    let line = &index(text, "line")[0];
    let sessions = index(text, "session");
    let sum: u64 = sessions
        .iter()
        .map(|one| one["packets"].as_u64().unwrap())
        .sum();
    let of = |name: &str| line[name].as_u64().unwrap();
    assert_eq!(
        sum + of("unrecognised") + of("rejected") + of("beyond"),
        of("packets")
    );
    sessions
}

fn assert_has(value: &Value, expected: &str) {
    for (name, wanted) in serde_json::from_str::<Value>(expected)
        .unwrap()
        .as_object()
        .unwrap()
    {
        assert_eq!(&value[name], wanted, "{name} of {value}");
    }
}

#[test]
fn an_index_tells_holes_late_packets_duplicates_and_the_end_of_each_session() {
    let mut end = Vec::new();
    encode_end_of_session(&mut end, SessionId::from_padded(b"MON"), 40);
    let found = sessions(&[
        // The recording begins in the middle: what was before isn't missing.
        mold("MON", 10, 5),
        mold("MON", 20, 5),
        mold("MON", 17, 5),
        mold("MON", 12, 3),
        mold("MON", 30, 0),
        end,
        // A session that begins meanwhile begins with 1.
        mold("TUE", 3, 1),
        mold("TUE", 4, 0),
        // Late, and of the session before.
        mold("MON", 25, 2),
        b"noise".to_vec(),
    ]);
    assert_has(
        &found[0],
        r#"{"session":"MON","first":10,"last":26,"missing":[[15,16],[27,39]],"missing_messages":15,
            "duplicates":5,"late":5,"packets":7,"messages":20,"heartbeats":2,"ended":true,"restarts":0,
            "missing_ranges_omitted":0,"protocol":"moldudp64/itch50"}"#,
    );
    assert_has(
        &found[1],
        r#"{"session":"TUE","first":3,"last":3,"missing":[[1,2]],"missing_messages":2,"ended":false,
            "packets":2,"heartbeats":1}"#,
    );
    assert_eq!(found.len(), 2);
}

#[test]
fn numbering_that_falls_back_with_a_newer_send_time_is_a_restart_and_an_older_copy_isnt() {
    let found = sessions(&[
        iex(7, 1, 3, 10 * SECOND),
        iex(7, 4, 1, 11 * SECOND),
        iex(7, 1, 2, 20 * SECOND),
        // From before the restart.
        iex(7, 2, 3, 11 * SECOND),
        iex(7, 5, 1, 21 * SECOND),
    ]);
    assert_has(
        &found[0],
        r#"{"restarts":0,"first":1,"last":4,"duplicates":3,"packets":3}"#,
    );
    assert_has(
        &found[1],
        r#"{"restarts":1,"first":1,"last":5,"missing":[[3,4]],"duplicates":0,"packets":2}"#,
    );
    assert_eq!(found[0]["session"], found[1]["session"]);
}

#[test]
fn the_next_file_goes_on_where_the_last_one_ended() {
    let mut disk = Disk::new(ROOM);
    let mut recorder = recorder(many(None, Some(3_600 * SECOND)), None);
    let hour = 3_600 * SECOND;
    let packets = [
        (0, WALL, mold("MON", 100, 2)),
        (0, WALL, mold("MON", 105, 1)),
        // Between the files two are lost; one of the last file comes late.
        (0, WALL + hour, mold("MON", 108, 1)),
        (0, WALL + hour, mold("MON", 103, 1)),
    ];
    feed(&mut recorder, &mut disk, &packets);
    disk.act(&mut recorder, 0);
    recorder.handle_end(0).unwrap();
    disk.act(&mut recorder, 0);
    let sessions: Vec<Value> = disk
        .indexes
        .values()
        .flat_map(|text| index(text, "session"))
        .collect();
    assert_has(
        &sessions[0],
        r#"{"first":100,"last":105,"missing":[[102,104]]}"#,
    );
    assert_has(
        &sessions[1],
        r#"{"first":103,"last":108,"missing":[[106,107]],"late":1,"duplicates":0}"#,
    );
    assert_eq!(sessions.len(), 2);
}

#[test]
fn hostile_packets_leave_a_bounded_index() {
    let mut payloads: Vec<Vec<u8>> = (0..2_000)
        .map(|n| mold(&format!("S{n}"), u64::MAX - 9, 1))
        .collect();
    payloads.push(mold("S0", 0, 1));
    payloads.push(mold("S0", u64::MAX - 1, 0));
    let found = sessions(&payloads);
    assert_eq!(found.len(), tickcast_replay::limits::INDEX_SESSIONS_MAX);
    // Above 2^53 numbers are decimal strings.
    assert_eq!(found[1]["first"], (u64::MAX - 9).to_string());
}
