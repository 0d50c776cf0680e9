//! `tickcast simulate --write`: what is written, what `inspect` finds in it, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn tickcast(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tickcast"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn write(folder: &Path, arguments: &[&str]) -> Value {
    let all = [&["simulate", "--json", "--write"], arguments].concat();
    let output = tickcast(folder, &all);
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{all:?}: {words}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn each_format_is_written_by_its_name_and_inspect_counts_what_the_summary_says() {
    let folder = tempfile::tempdir().unwrap();
    let small = [
        "--instruments",
        "50",
        "--messages",
        "20000",
        "--rate",
        "1000000",
    ];
    let mut hashes = Vec::new();
    for (name, format, protocol) in [
        ("a.itch", "BinaryFILE", "binaryfile/itch50"),
        ("a.pcap", "pcap", "moldudp64/itch50"),
        ("a.pcapng", "pcapng", "moldudp64/itch50"),
    ] {
        let summary = write(folder.path(), &[&[name][..], &small].concat());
        assert_eq!(summary["format"], format);
        assert_eq!(summary["messages"], 20_000);
        assert_eq!(summary["instruments"], 50);
        let bytes = fs::metadata(folder.path().join(name)).unwrap().len();
        assert_eq!(summary["bytes"], bytes);
        let output = tickcast(folder.path(), &["inspect", name, "--stats", "--json"]);
        let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
        let types = seen["messages"][protocol].as_object().unwrap();
        let counted: u64 = types.values().filter_map(Value::as_u64).sum();
        assert_eq!(counted, 20_000, "{name}");
        if format != "BinaryFILE" {
            assert_eq!(seen["packets"], summary["packets"]);
        }
        hashes.push(summary["books_hash"].clone());
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

#[test]
fn the_same_options_give_the_same_file_and_the_shapes_differ() {
    let folder = tempfile::tempdir().unwrap();
    let of = |shape: &str| {
        let options = ["--shape", shape, "--orders", "200", "--messages", "5000"];
        write(folder.path(), &[&["x"][..], &options].concat());
        fs::read(folder.path().join("x")).unwrap()
    };
    let shapes = ["natural", "hot", "deep", "one-order-a-level", "one-level"];
    let files: Vec<Vec<u8>> = shapes.iter().map(|shape| of(shape)).collect();
    for (at, file) in files.iter().enumerate() {
        assert!(*file == of(shapes[at]), "{}", shapes[at]);
        assert!(!files[..at].contains(file), "{}", shapes[at]);
    }
}

#[test]
fn the_true_books_can_be_had_beside_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let options = [
        "--messages",
        "30000",
        "--instruments",
        "20",
        "--books-out",
        "books.csv",
    ];
    let summary = write(folder.path(), &[&["x.itch"][..], &options].concat());
    let books = fs::read_to_string(folder.path().join("books.csv")).unwrap();
    let levels = books.lines().count() as u64 - 1;
    assert_eq!(summary["levels"], levels);
    assert!(summary["levels_max"].as_u64() >= Some(levels));
}

#[test]
fn a_day_and_a_duration_end_a_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let few = ["--instruments", "5", "--rate", "500"];
    let day = write(
        folder.path(),
        &[&["d.itch", "--day", "20"][..], &few].concat(),
    );
    assert_eq!(
        (&day["orders"], &day["by_type"]["S"]),
        (&0.into(), &6.into())
    );
    let some = write(
        folder.path(),
        &[&["s.itch", "--duration", "10"][..], &few].concat(),
    );
    let seconds = some["market_seconds"].as_f64().unwrap();
    assert!((10.0..11.0).contains(&seconds), "{seconds}");
}

#[test]
fn what_makes_no_sense_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for (wrong, word) in [
        (&["--write", "x.itch"][..], "never ends"),
        (&["--write", "x.pcap.gz", "--messages", "5"], "uncompressed"),
        (
            &["--write", "x.itch", "--messages", "5", "--loss", "1"],
            "--loss",
        ),
        (
            &["--write", "x.itch", "--messages", "5", "--check"],
            "--check",
        ),
        (&["--write", "x.itch", "--messages", "0"], "--messages"),
        (
            &["--write", "x.itch", "--messages", "5", "--step", "5"],
            "10@5",
        ),
        (&["--messages", "5"], "--write"),
        (&["--rate", "200001"], "200000 at most"),
        (&["--instruments", "8001"], "8000 at most"),
    ] {
        let output = tickcast(folder.path(), &[&["simulate"], wrong].concat());
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {words}");
        assert!(words.contains(word), "{wrong:?}: {words}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let output = tickcast(
        folder.path(),
        &["simulate", "--write", "none/x.itch", "--messages", "5"],
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("none/x.itch"));
}
