//! `tickcast replay --books-out` against books that other programs made of the same captures: every row.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flate2::read::GzDecoder;

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata")
        .join(path)
}

type Row = HashMap<String, String>;

fn oracle(path: &str) -> Vec<Row> {
    let file = File::open(testdata(path)).unwrap();
    rows(csv::Reader::from_reader(GzDecoder::new(file)))
}

fn rows(mut reader: csv::Reader<impl std::io::Read>) -> Vec<Row> {
    reader.deserialize().map(|row| row.unwrap()).collect()
}

fn replay(capture: &str, depth: usize) -> (Vec<Row>, serde_json::Value) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("books.csv");
    let output: Output = Command::new(env!("CARGO_BIN_EXE_tickcast"))
        .arg("replay")
        .arg(testdata(capture))
        .arg("--books-out")
        .arg(&out)
        .args(["--depth", &depth.to_string(), "--json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let summary = serde_json::from_slice(&output.stdout).unwrap();
    (rows(csv::Reader::from_path(&out).unwrap()), summary)
}

/// In 1/10,000, as the DEEP oracle writes prices; empty stays empty.
fn wire_price(decimal: &str) -> String {
    if decimal.is_empty() {
        return String::new();
    }
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    let wire: u64 = format!("{whole}{fraction:0<4}").parse().unwrap();
    wire.to_string()
}

/// Best bid and ask and the level counts, after every price level update.
fn deep(capture: &str) -> (usize, serde_json::Value) {
    let theirs = oracle(&format!("{capture}.book_oracle.csv.gz"));
    let (ours, summary) = replay(&format!("{capture}.pcap.gz"), 1);
    assert_eq!(
        ours.len(),
        theirs.len(),
        "a row for each price level update"
    );
    let mut mismatches = 0;
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let same = ours["packet"] == theirs["frame"]
            && ours["sequence"] == theirs["seq"]
            && ours["symbol"] == theirs["symbol"]
            && wire_price(&ours["bid_px_00"]) == theirs["bid_px"]
            && ours["bid_sz_00"] == theirs["bid_sz"]
            && wire_price(&ours["ask_px_00"]) == theirs["ask_px"]
            && ours["ask_sz_00"] == theirs["ask_sz"]
            && ours["bid_levels"] == theirs["n_bid_levels"]
            && ours["ask_levels"] == theirs["n_ask_levels"];
        if !same {
            mismatches += 1;
            if mismatches < 5 {
                eprintln!("{ours:?}\n{theirs:?}");
            }
        }
    }
    println!(
        "{capture}: {} rows compared, {mismatches} mismatches",
        ours.len()
    );
    assert_eq!(mismatches, 0);
    (ours.len(), summary)
}

#[test]
fn deep_books_of_three_sessions_equal_the_oracle_in_every_row() {
    let (rows, summary) = deep("iex/deep10_2017-04-25_sessions1-3");
    assert_eq!(rows, 1_932);
    // The numbering falls back to 1 twice within one session id; books start empty each time.
    assert_eq!(summary["restarts"], 2);
    assert_eq!(summary["wire"]["sessions"], 3);
    // Each session clears the books once: an event of the books beside the rows.
    assert_eq!(summary["books"]["book_events"], 1_932 + 3);
    assert_eq!(summary["gaps"], 0);
}

#[test]
fn deep_books_of_one_long_session_equal_the_oracle_in_every_row() {
    let (rows, summary) = deep("iex/deep10_2017-04-25_session12_first50000");
    assert_eq!(rows, 14_978);
    assert_eq!(
        (&summary["restarts"], &summary["gaps"]),
        (&0.into(), &0.into())
    );
}

/// Ten levels of price, size and count at every listed message, and no change between them.
fn arl(capture: &str) {
    let theirs = oracle("nasdaq-itch/ARL_2025-07-17_first_book10_oracle.csv.gz");
    let (ours, summary) = replay(capture, 10);
    assert_eq!(summary["unknown_orders"], 0);
    let columns: Vec<String> = (0..10)
        .flat_map(|level| {
            ["bid", "ask"].into_iter().flat_map(move |side| {
                ["px", "sz", "ct"]
                    .into_iter()
                    .map(move |field| format!("{side}_{field}_{level:02}"))
            })
        })
        .collect();
    // No level: the oracle writes an empty price and zeros, we leave all three empty.
    let book = |row: &Row| -> Vec<String> {
        columns
            .iter()
            .map(|column| match row[column].as_str() {
                "" => "0".to_owned(),
                text => text.parse::<f64>().unwrap().to_string(),
            })
            .collect()
    };
    let by_sequence: HashMap<u64, Vec<String>> = ours
        .iter()
        .map(|row| (row["sequence"].parse().unwrap(), book(row)))
        .collect();
    let listed: HashMap<u64, Vec<String>> = theirs
        .iter()
        .map(|row| (row["itch_seq"].parse().unwrap(), book(row)))
        .collect();
    let (mut compared, mut mismatches) = (0, 0);
    let mut last = vec!["0".to_owned(); columns.len()];
    for sequence in 1..=2_800 {
        // A message that changes no book (the oracle lists trades too) has no row: the book is the last one.
        let changed = by_sequence.get(&sequence).unwrap_or(&last).clone();
        match listed.get(&sequence) {
            Some(theirs) => {
                compared += 1;
                mismatches += usize::from(changed != *theirs);
            }
            // Between listed messages the ten levels don't change.
            None => mismatches += usize::from(changed != last),
        }
        last = changed;
    }
    println!("{capture}: {compared} rows compared, {mismatches} mismatches");
    assert_eq!((compared, mismatches), (theirs.len(), 0));
}

#[test]
fn totalview_books_in_moldudp64_equal_the_oracle_in_every_row_to_ten_levels() {
    arl("nasdaq-itch/ARL_2025-07-17_first_reencoded_moldudp64.pcap.gz");
}

#[test]
fn totalview_books_in_a_binaryfile_equal_the_oracle_in_every_row_to_ten_levels() {
    arl("nasdaq-itch/ARL_2025-07-17_first_reencoded_itch50.itch.gz");
}
