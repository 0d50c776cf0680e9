//! The program as a person or a script meets it: exit codes, what goes where, and broken input.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata")
        .join(path)
}

fn tickcast(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tickcast"))
        .args(arguments)
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn help_goes_to_stdout_and_wrong_usage_is_exit_code_2() {
    let help = tickcast(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for command in [
        "demo",
        "serve",
        "check-config",
        "replay",
        "record",
        "subscribe",
        "inspect",
        "simulate",
        "bench",
    ] {
        assert!(stdout(&help).contains(command), "{command}");
        let help = tickcast(&[command, "--help"]);
        assert_eq!(help.status.code(), Some(0), "{command}");
    }
    for wrong in [
        &["inspect"][..],
        &["inspect", "x", "--protocol", "fix"],
        &["replay", "x", "--speed", "0"],
        &["subscribe", "http://127.0.0.1:1/", "--symbols", "A"],
        &[
            "subscribe",
            "ws://127.0.0.1:1/",
            "--symbols",
            "A",
            "--schema",
            "l2",
        ],
        &["nonsense"],
    ] {
        let output = tickcast(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(output.stdout.is_empty(), "{wrong:?}");
    }
}

#[test]
fn an_error_names_the_file_and_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("day.pcap");
    fs::write(&picture, b"\x89PNG\r\n\x1a\nnot a capture").unwrap();
    let empty = folder.path().join("empty.pcap");
    fs::write(&empty, b"").unwrap();
    let missing = folder.path().join("missing.pcap");
    for file in [&picture, &empty, &missing] {
        for command in ["inspect", "replay"] {
            let output = tickcast(&[command, file.to_str().unwrap()]);
            assert_eq!(output.status.code(), Some(1), "{command} {file:?}");
            assert!(
                stderr(&output).contains(file.to_str().unwrap()),
                "{}",
                stderr(&output)
            );
        }
    }
}

#[test]
fn a_cut_capture_gives_what_is_whole_then_says_so() {
    let capture = testdata("iex/tops16_2018-01-03_example1_truncated.pcapng");
    let output = tickcast(&["inspect", capture.to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output).lines().count(), 2);
    assert!(stderr(&output).contains("cut short in packet 3"));

    // A real capture, cut within a packet of the middle: the rows before the cut are kept.
    let whole = testdata("nasdaq-itch/ARL_2025-07-17_first_reencoded_moldudp64.pcap.gz");
    let mut plain = Vec::new();
    let file = fs::File::open(whole).unwrap();
    std::io::copy(&mut flate2::read::GzDecoder::new(file), &mut plain).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("cut.pcap");
    fs::write(&cut, &plain[..plain.len() / 2]).unwrap();
    let rows = folder.path().join("rows.csv");
    let output = tickcast(&[
        "replay",
        cut.to_str().unwrap(),
        "--books-out",
        rows.to_str().unwrap(),
        "--json",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cut short"), "{}", stderr(&output));
    let summary: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let written = fs::read_to_string(rows).unwrap().lines().count() as u64 - 1;
    assert_eq!(summary["book_rows"], written);
    assert!(written > 500, "{written}");
}

#[test]
fn a_symbol_filter_follows_orders_that_name_only_their_locate() {
    let capture = testdata("nasdaq-itch/ARL_2025-07-17_first_reencoded_itch50.itch.gz");
    let of = |symbol: &str| {
        let output = tickcast(&[
            "inspect",
            capture.to_str().unwrap(),
            "--json",
            "--symbol",
            symbol,
        ]);
        assert_eq!(output.status.code(), Some(0));
        stdout(&output)
    };
    assert_eq!(of("ARL").lines().count(), 2_800);
    assert!(of("ARL").contains("order_delete"));
    assert_eq!(of("AAPL").lines().count(), 0);
}

#[test]
fn a_file_is_what_it_contains_and_not_what_it_is_called() {
    let folder = tempfile::tempdir().unwrap();
    let capture = testdata("omi-packets/Iex/Tops.IexTp.v1.6/QuoteUpdateMessage.pcap");
    let bytes = fs::read(capture).unwrap();
    let packed = folder.path().join("picture.png");
    fs::write(&packed, zstd::encode_all(bytes.as_slice(), 1).unwrap()).unwrap();
    let output = tickcast(&["inspect", packed.to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("quote_update"));
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let capture = testdata("iex/tops16_2017-07-10_first9000.pcap.gz");
    let mut child = Command::new(env!("CARGO_BIN_EXE_tickcast"))
        .args(["inspect", capture.to_str().unwrap(), "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_port_in_use_is_named_before_anything_is_started() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let capture = testdata("iex/tops16_2017-07-10_first9000.pcap.gz");
    for arguments in [
        &["demo", "--listen", &address][..],
        &[
            "replay",
            capture.to_str().unwrap(),
            "--serve",
            "--listen",
            &address,
        ],
    ] {
        let output = tickcast(arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(&address), "{}", stderr(&output));
    }
}

#[test]
fn subscribing_where_nobody_listens_fails_at_once_if_asked_to() {
    let output = tickcast(&[
        "subscribe",
        "ws://127.0.0.1:1/v1/ws",
        "--symbols",
        "A",
        "--no-reconnect",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("ws://127.0.0.1:1/v1/ws"));
}

#[test]
fn rows_never_replace_the_recording_they_come_from() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("day.pcap.gz");
    let capture = testdata("nasdaq-itch/ARL_2025-07-17_first_reencoded_moldudp64.pcap.gz");
    fs::copy(&capture, &copy).unwrap();
    let path = copy.to_str().unwrap();
    let output = tickcast(&["replay", path, "--books-out", path]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert_eq!(fs::read(&copy).unwrap(), fs::read(&capture).unwrap());
    // Nor is an earlier result lost to a recording that isn't there.
    let rows = folder.path().join("rows.csv");
    fs::write(&rows, "earlier").unwrap();
    let output = tickcast(&[
        "replay",
        "missing.pcap",
        "--books-out",
        rows.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(fs::read(&rows).unwrap(), b"earlier");
}

#[test]
fn statistics_obey_the_symbol_filter() {
    let capture = testdata("nasdaq-itch/itch50_first1000_messages.itch");
    let output = tickcast(&[
        "inspect",
        capture.to_str().unwrap(),
        "--stats",
        "--json",
        "--symbol",
        "AAPL",
    ]);
    let statistics: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(statistics["packets"], 1_000);
    let counted: u64 = statistics["messages"]["binaryfile/itch50"]
        .as_object()
        .map_or(0, |by_type| {
            by_type.values().map(|count| count.as_u64().unwrap()).sum()
        });
    assert!(counted < 10, "{statistics}");
}
