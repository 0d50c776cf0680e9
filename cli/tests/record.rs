//! `tickcast record` and `tickcast replay --multicast` as programs: one sends, the other records, and what
//! was recorded is what was sent, by our own decoder and by tshark.
//!
//! Without tshark its part says so and passes, unless `TICKCAST_REQUIRE_TSHARK=1`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::env;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const CAPTURE: &str = "nasdaq-itch/ARL_2025-07-17_first_reencoded_moldudp64.pcap.gz";
/// Packets in it.
const PACKETS: u64 = 181;
/// Where it was recorded.
const RECORDED_GROUP: &str = "233.54.12.111:26400";

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata")
        .join(path)
}

fn capture() -> String {
    testdata(CAPTURE).to_str().unwrap().to_owned()
}

fn tickcast(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tickcast"))
        .args(arguments)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A group of ours at a free port.
fn group(last: u8) -> (String, String) {
    let port = UdpSocket::bind("0.0.0.0:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    (format!("239.255.79.{last}:{port}"), port.to_string())
}

/// A recorder of a group into a folder, once it receives.
fn record(group: &str, folder: &Path, more: &[&str]) -> Child {
    let out = format!("{}/", folder.display());
    let child = Command::new(env!("CARGO_BIN_EXE_tickcast"))
        .args(["record", "--group", group, "--interface", "127.0.0.1"])
        .args(["--out", &out, "--json"])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while files(folder, ".part").is_empty() {
        assert!(Instant::now() < deadline, "the recorder begins no file");
        thread::sleep(Duration::from_millis(5));
    }
    child
}

fn terminate(child: Child) -> Output {
    let pid = child.id().to_string();
    let killed = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(killed.success());
    child.wait_with_output().unwrap()
}

fn files(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(suffix))
        .collect();
    found.sort();
    found
}

/// Session, sequence number and message count of each packet, by `inspect`.
fn inspected(file: &Path) -> Vec<(String, u64, u64)> {
    let output = tickcast(&["inspect", file.to_str().unwrap(), "--json"]);
    stdout(&output)
        .lines()
        .map(|line| {
            let packet: Value = serde_json::from_str(line).unwrap();
            let field =
                |name: &str| find(&packet, name).unwrap_or_else(|| panic!("{name}: {line}"));
            (
                field("session").as_str().unwrap().to_owned(),
                field("sequence_number").as_u64().unwrap(),
                field("message_count").as_u64().unwrap(),
            )
        })
        .collect()
}

/// A field of an object, at whatever depth of objects.
fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let object = value.as_object()?;
    object
        .get(name)
        .or_else(|| object.values().find_map(|inner| find(inner, name)))
}

/// The same by tshark; `None` without it.
fn dissected(file: &Path, port: &str) -> Option<Vec<(String, u64, u64)>> {
    let output = Command::new("tshark")
        .args(["-r", file.to_str().unwrap(), "-n"])
        .args(["-d", &format!("udp.port=={port},moldudp64")])
        .args(["-T", "fields", "-E", "separator=,"])
        .args(["-e", "moldudp64.session", "-e", "moldudp64.sequence"])
        .args(["-e", "moldudp64.count"])
        .output();
    let Ok(output) = output else {
        assert!(
            env::var("TICKCAST_REQUIRE_TSHARK").as_deref() != Ok("1"),
            "TICKCAST_REQUIRE_TSHARK=1, but tshark isn't on the path"
        );
        println!("skipped: tshark isn't on the path");
        return None;
    };
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let packet = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{line}"));
        (
            fields[0].trim_end().to_owned(),
            number(fields[1]),
            number(fields[2]),
        )
    };
    Some(text.lines().map(packet).collect())
}

#[test]
fn a_capture_sent_twice_is_recorded_as_it_was_by_inspect_and_by_tshark() {
    let original = inspected(&testdata(CAPTURE));
    assert_eq!(original.len() as u64, PACKETS);
    for (last, options) in [(1, &[][..]), (2, &["--zstd"][..])] {
        let folder = tempfile::tempdir().unwrap();
        let (group, port) = group(last);
        let recorder = record(&group, folder.path(), options);
        let mapping = format!("{RECORDED_GROUP}={group}");
        let sent = tickcast(&[
            "replay",
            &capture(),
            "--multicast",
            "--group-map",
            &mapping,
            "--speed",
            "max",
            "--times",
            "2",
            "--json",
        ]);
        let sent: Value = serde_json::from_str(&stdout(&sent)).unwrap();
        assert_eq!(
            (&sent["packets"], &sent["laps"]),
            (&(2 * PACKETS).into(), &2.into())
        );
        assert_eq!(sent["pacing_error"], Value::Null);
        let summary: Value = serde_json::from_str(&stdout(&terminate(recorder))).unwrap();
        assert_eq!(summary["written"], 2 * PACKETS);
        assert_eq!(summary["lines"][0]["received"], 2 * PACKETS);

        let file = files(
            folder.path(),
            if options.is_empty() {
                ".pcapng"
            } else {
                ".zst"
            },
        );
        assert_eq!(file.len(), 1);
        assert!(files(folder.path(), ".part").is_empty());
        let recorded = inspected(&file[0]);
        let (first, second) = recorded.split_at(original.len());
        assert_eq!(first, original);
        assert!(
            second
                .iter()
                .zip(first)
                .all(|(two, one)| { (two.1, two.2) == (one.1, one.2) && two.0 != one.0 })
        );
        if let Some(theirs) = dissected(&file[0], &port) {
            assert_eq!(theirs, recorded);
        }
        let index = files(folder.path(), ".index.jsonl");
        assert!(
            index[0]
                .to_str()
                .unwrap()
                .starts_with(file[0].to_str().unwrap())
        );
        let sessions: Vec<Value> = fs::read_to_string(&index[0])
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|value| value["type"] == "session")
            .collect();
        assert_eq!(sessions.len(), 2);
        assert!(
            sessions
                .iter()
                .all(|one| one["packets"] == PACKETS && one["missing_messages"] == 0)
        );
    }
}

#[test]
fn a_recording_ends_by_itself_after_so_many_packets_and_tells_the_pace_it_came_in() {
    let folder = tempfile::tempdir().unwrap();
    let (group, _) = group(3);
    let recorder = record(
        &group,
        folder.path(),
        &["--packets", "100", "--rotate-every", "1h"],
    );
    let mapping = format!("{RECORDED_GROUP}={group}");
    let sent = tickcast(&[
        "replay",
        &capture(),
        "--multicast",
        "--group-map",
        &mapping,
        "--idle-max",
        "0.001",
        "--json",
    ]);
    let sent: Value = serde_json::from_str(&stdout(&sent)).unwrap();
    let pacing = &sent["pacing_error"];
    let us = |name: &str| pacing[name].as_f64().unwrap();
    assert_eq!(pacing["packets"], PACKETS);
    assert!(us("p50_us") <= us("p90_us") && us("p90_us") <= us("p99_us"));
    assert!(us("p99_us") <= us("p99_9_us") && us("p99_9_us") <= us("max_us"));
    let summary: Value =
        serde_json::from_str(&stdout(&recorder.wait_with_output().unwrap())).unwrap();
    assert_eq!(summary["written"], 100);
    let file = files(folder.path(), ".pcapng");
    assert_eq!(
        inspected(&file[0])[..],
        inspected(&testdata(CAPTURE))[..100]
    );
}

#[test]
fn the_channels_of_a_configuration_are_recorded_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let ((a, _), (b, _)) = (group(4), group(5));
    let config = folder.path().join("tickcast.toml");
    fs::write(
        &config,
        format!(
            "[[channel]]\nname = 'totalview'\nprotocol = 'moldudp64/itch50'\ninterface = '127.0.0.1'\n\
             [[channel.line]]\ngroup = '{a}'\n[[channel.line]]\ngroup = '{b}'\n"
        ),
    )
    .unwrap();
    let out = folder.path().join("day.pcapng");
    let output = tickcast(&[
        "record",
        "-c",
        config.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
        "--duration",
        "0",
        "--json",
    ]);
    let summary: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let names: Vec<&Value> = summary["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| &line["name"])
        .collect();
    assert_eq!(names, ["totalview/A", "totalview/B"]);
    assert!(out.exists());
    // It is there now, and isn't overwritten.
    let before = fs::read(&out).unwrap();
    let again = tickcast(&[
        "record",
        "-c",
        config.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
        "--duration",
        "0",
    ]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        stderr(&again).contains("day.pcapng exists"),
        "{}",
        stderr(&again)
    );
    assert_eq!(fs::read(&out).unwrap(), before);
}

#[test]
fn what_is_asked_wrongly_is_refused_with_its_rule_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("day.pcapng");
    let out = out.to_str().unwrap();
    let group = ["--group", "239.1.1.1:7001", "--interface", "127.0.0.1"];
    for (wrong, said) in [
        (&["record", "--out", out][..], "--group"),
        (
            &["record", "--out", out, "--group", "239.1.1.1:7001"],
            "--interface",
        ),
        (
            &["record", "--out", out, "--group", "10.1.1.1:7001"],
            "multicast group and port",
        ),
        (
            &[
                "record",
                "--out",
                out,
                group[0],
                group[1],
                group[2],
                group[3],
                "--rotate-every",
                "1h",
            ],
            "folder",
        ),
        (
            &[
                "record",
                "--out",
                out,
                group[0],
                group[1],
                group[2],
                group[3],
                "--rotate-size",
                "1",
            ],
            "1GB",
        ),
        (
            &[
                "record", "--out", out, group[0], group[1], group[2], group[3], "--zstd", "99",
            ],
            "99",
        ),
        (&["replay", "x", "--times", "2"], "--multicast"),
        (&["replay", "x", "--multicast", "--serve"], "--serve"),
        (&["replay", "x", "--multicast", "--times", "0"], "forever"),
        (
            &["replay", "x", "--multicast", "--group-map", "239.1.1.1:1"],
            "FROM=TO",
        ),
    ] {
        let output = tickcast(wrong);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{wrong:?}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(said),
            "{wrong:?}: {}",
            stderr(&output)
        );
    }
    let nowhere = format!("{out}/x.pcapng");
    let output = tickcast(&[
        "record", group[0], group[1], group[2], group[3], "--out", &nowhere,
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&nowhere), "{}", stderr(&output));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let itch = testdata("nasdaq-itch/itch50_first1000_messages.itch");
    let output = tickcast(&["replay", itch.to_str().unwrap(), "--multicast"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("no packets"),
        "{}",
        stderr(&output)
    );
}
