//! `tickcast bench` as a person or a script meets it: what it writes, that it checks its books, and what it says.
//! Times are nobody's condition here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tickcast");

/// A small market: 40 instruments have their first orders after some 8,000 messages.
const SMALL: [&str; 4] = ["--instruments", "40", "--messages", "16000"];

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.arg("bench").args(arguments).output().unwrap()
}

/// The same in a network namespace of its own, or `None`, with a word, where none can be made.
fn bench_in_namespace(setup: &str, arguments: &[&str]) -> Option<Output> {
    let script = format!("{setup} && exec \"$0\" bench \"$@\"");
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-n", "sh", "-c", script, PROGRAM]);
        command
    };
    let possible = unshare(setup).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no network namespace can be made here");
        return None;
    }
    Some(unshare(&script).args(arguments).output().unwrap())
}

const LOOPBACK: &str = "ip link set lo up && ip route add 239.0.0.0/8 dev lo";

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What HdrHistogram's plotters read: four columns, of the last row three; values and counts rise.
fn check_hgrm(text: &str, count: u64) {
    assert!(text.lines().next().unwrap().contains("1/(1-Percentile)"));
    let rows: Vec<Vec<f64>> = text
        .lines()
        .skip(2)
        .take_while(|line| !line.starts_with('#'))
        .map(|line| {
            line.split_whitespace()
                .map(|field| field.parse().unwrap())
                .collect()
        })
        .collect();
    let (last, others) = rows.split_last().unwrap();
    assert!(others.iter().all(|row| row.len() == 4));
    assert_eq!((last.len(), last[1], last[2]), (3, 1.0, count as f64));
    assert!(rows.is_sorted_by(|a, b| a[0] <= b[0] && a[1] <= b[1] && a[2] <= b[2]));
    assert_eq!(
        text.lines().filter(|line| line.starts_with("#[")).count(),
        3
    );
}

fn check_machine(machine: &Value) {
    for key in ["cpu", "arch", "date", "kernel"] {
        assert!(
            machine[key].as_str().is_some_and(|text| !text.is_empty()),
            "{key}"
        );
    }
    assert!(!machine["cores"].as_array().unwrap().is_empty());
    assert_eq!(machine["program"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_file_is_measured_in_every_way_with_equal_books() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/results");
    let mut arguments = vec!["file", "--rounds", "5", "--watched", "3", "--json"];
    arguments.extend(SMALL);
    arguments.extend(["--out", path(&out)]);
    let output = bench(&arguments);
    let results = json_of(&output);
    check_machine(&results["machine"]);
    let file = &results["file"];
    assert_eq!(file["messages"], 16_000);
    assert_eq!(file["instruments"], 40);
    let names: Vec<&str> = file["ways"]
        .as_array()
        .unwrap()
        .iter()
        .map(|way| way["way"].as_str().unwrap())
        .collect();
    let expected = [
        "walk",
        "decode",
        "book",
        "watched",
        "watched_all",
        "two_shards",
    ];
    assert_eq!(names, expected);
    for way in file["ways"].as_array().unwrap() {
        let of = |key: &str| number(&way[key]);
        assert_eq!(way["rounds"].as_array().unwrap().len(), 5);
        assert!(0.0 < of("min") && of("min") <= of("median") && of("median") <= of("max"));
        assert!(of("to_walk") > 0.0 && of("to_walk_median") > 0.0);
    }
    let updates = |at: usize| number(&file["ways"][at]["updates"]);
    assert!(0.0 < updates(3) && updates(3) < updates(4));
    assert!(number(&file["books"]["orders"]) > 1_000.0);
    assert!(number(&file["best_changes"]) > 0.0);
    assert!(number(&file["memory"]["orders_max"]) >= number(&file["books"]["orders"]));

    let text = stderr(&output);
    for words in [
        "machine:",
        "settings:",
        "pinned to core",
        "÷ walk",
        "books ",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let written: Value =
        serde_json::from_slice(&fs::read(out.join("results.json")).unwrap()).unwrap();
    assert_eq!(written, results);
    let picture = fs::read_to_string(out.join("cost.svg")).unwrap();
    assert!(picture.contains("<svg") && picture.contains("two shards"));
}

#[test]
fn the_wire_is_measured_by_stage_to_book_and_to_subscriber() {
    let folder = tempfile::tempdir().unwrap();
    let mut arguments = vec!["wire", "--rates", "20000,max", "--seconds", "0.2", "--json"];
    arguments.extend(SMALL);
    arguments.extend(["--out", path(folder.path())]);
    let Some(output) = bench_in_namespace(LOOPBACK, &arguments) else {
        return;
    };
    let results = json_of(&output);
    check_machine(&results["machine"]);
    let runs = results["wire"].as_array().unwrap();
    let of: Vec<(&str, &Value)> = runs
        .iter()
        .map(|run| (run["to"].as_str().unwrap(), &run["asked"]))
        .collect();
    let (stated, max) = (json!({"per_second": 20_000}), json!("max"));
    let expected = [
        ("book", &stated),
        ("book", &max),
        ("subscriber", &stated),
        ("subscriber", &max),
    ];
    assert_eq!(of, expected);
    let to_book = ["send", "socket", "batch", "arbiter", "book"];
    let to_subscriber = ["ring", "write", "client"];
    for run in runs {
        let is_book = run["to"] == "book";
        assert_eq!(run["lost"], 0);
        assert!(!run["limits"].as_array().unwrap().is_empty());
        let latencies = run["latencies"].as_array().unwrap();
        let stages: Vec<&str> = latencies
            .iter()
            .map(|one| one["stage"].as_str().unwrap())
            .collect();
        let mut expected = to_book.to_vec();
        if is_book {
            expected.extend(["wire_to_book", "due_to_book"]);
        } else {
            expected.extend(to_subscriber);
            expected.extend(["wire_to_subscriber", "due_to_subscriber"]);
        }
        assert_eq!(stages, expected);
        let count = if is_book { "messages" } else { "updates" };
        for latency in latencies {
            let of = |key: &str| number(&latency[key]);
            assert_eq!(latency["count"], run[count], "{latency}");
            let percentiles = ["min", "p50", "p90", "p99", "p99_9", "max"].map(of);
            assert!(percentiles.is_sorted(), "{latency}");
        }
        let of = |stage: &str, key: &str| {
            let found = latencies.iter().find(|one| one["stage"] == stage).unwrap();
            number(&found[key])
        };
        let (wire, due) = match is_book {
            true => ("wire_to_book", "due_to_book"),
            false => ("wire_to_subscriber", "due_to_subscriber"),
        };
        // A message can't be sent before it is due.
        assert!(of(due, "max") >= of(wire, "max"));
        assert_eq!(
            run["threads"].as_array().unwrap().len(),
            if is_book { 2 } else { 4 }
        );
    }
    assert!(number(&runs[2]["updates"]) > 0.0);

    let mut hgrm = 0;
    for run in runs {
        let to = run["to"].as_str().unwrap();
        let rate = if run["asked"] == "max" {
            "max"
        } else {
            "20000"
        };
        for latency in run["latencies"].as_array().unwrap() {
            let stage = latency["stage"].as_str().unwrap().replace('_', "-");
            let file = folder.path().join(format!("{to}-{rate}.{stage}.hgrm"));
            check_hgrm(
                &fs::read_to_string(file).unwrap(),
                latency["count"].as_u64().unwrap(),
            );
            hgrm += 1;
        }
    }
    assert_eq!(hgrm, 2 * 7 + 2 * 10);
    let picture = fs::read_to_string(folder.path().join("latency.svg")).unwrap();
    for words in [
        "wire to book",
        "wire to subscriber",
        "20,000/s",
        "99 %",
        "socket",
    ] {
        assert!(picture.contains(words), "{words}");
    }
    let text = stderr(&output);
    for words in ["p99.9", "limit: ", "kept waiting", "with nothing lost"] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn without_multicast_on_loopback_it_says_what_to_do() {
    let mut arguments = vec!["wire", "--rates", "1000", "--seconds", "0.1"];
    arguments.extend(SMALL);
    let Some(output) = bench_in_namespace("true", &arguments) else {
        return;
    };
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.contains("multicast on loopback isn't possible"),
        "{text}"
    );
    assert!(text.contains("ip link set lo up"), "{text}");
}

#[test]
fn ctrl_c_ends_it_at_once() {
    let mut arguments = vec!["wire", "--rates", "1000", "--seconds", "10"];
    arguments.extend(SMALL);
    let script = format!("{LOOPBACK} && exec \"$0\" bench \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", &script, PROGRAM]);
    let mut child = command
        .args(&arguments)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    if !lines.any(|line| line.is_ok_and(|line| line.starts_with("program:"))) {
        eprintln!("skipped: no network namespace can be made here");
        let _ = child.wait();
        return;
    }
    // The shell and `unshare` are the program by now.
    let id = child.id().to_string();
    let kill = Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(kill.success());
    let ended = child.wait().unwrap();
    assert_eq!(ended.signal(), Some(2), "{ended}");
}

/// A file of one message after the other.
fn file(messages: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        bytes.extend_from_slice(&u16::try_from(message.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(message);
    }
    bytes
}

#[test]
fn a_file_that_cannot_be_measured_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let start = b"S\0\0\0\0\0\0\0\0\0\0O";
    // Deletes order 1, which nobody added.
    let mut delete = vec![b'D'; 19];
    delete[1..11].fill(0);
    delete[11..].copy_from_slice(&1_u64.to_be_bytes());
    delete[2] = 1;
    for (name, bytes, reason) in [
        ("empty", Vec::new(), "no messages"),
        ("zipped", b"\x1f\x8b\x08\0".to_vec(), "compressed"),
        (
            "capture",
            b"\xd4\xc3\xb2\xa1\x02\0\x04\0".to_vec(),
            "capture of packets",
        ),
        ("middle", file(&[&delete]), "start of messages"),
        ("unknown", file(&[start, &delete]), "unknown_order 1"),
        ("cut", file(&[start, start])[..20].to_vec(), "need"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let output = bench(&["file", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{name}");
        let text = stderr(&output);
        assert!(text.contains(path.to_str().unwrap()), "{name}: {text}");
        assert!(text.contains(reason), "{name}: {text}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn wrong_usage_is_exit_code_2_and_names_the_option() {
    for (wrong, named) in [
        (&["file", "--rounds", "2"][..], "--rounds"),
        (&["file", "--cores", "4096"], "--cores"),
        (&["file", "--messages", "1"], "--messages"),
        (&["wire", "--rates", "fast"], "--rates"),
        (&["wire", "--rates", "0"], "--rates"),
        (&["wire", "--seconds", "3600"], "--seconds"),
        (&["compare", "one.json"], "B"),
    ] {
        let output = bench(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(
            stderr(&output).contains(named),
            "{wrong:?}: {}",
            stderr(&output)
        );
    }
    let mut few = vec!["wire", "--warm-up", "16000", "--rates", "1000"];
    few.extend(SMALL);
    if let Some(output) = bench_in_namespace(LOOPBACK, &few) {
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("16000 messages are too few"));
    }
}

#[test]
fn the_examples_of_the_help_are_possible() {
    let arguments: BTreeSet<&str> = ["file", "wire", "compare"].into();
    let mut examples = 0;
    let helps = [&["--help"][..]]
        .into_iter()
        .map(<[_]>::to_vec)
        .chain(arguments.iter().map(|command| vec![*command, "--help"]));
    for help in helps {
        let output = bench(&help);
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let examples_begin = text.find("Example").unwrap();
        let text = &text[examples_begin..];
        for line in text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("tickcast bench"))
        {
            // Asked for help behind its options, it only checks that they are possible.
            let mut example: Vec<&str> = line.split_whitespace().collect();
            example.push("--help");
            let output = bench(&example);
            assert!(output.status.success(), "{line}: {}", stderr(&output));
            examples += 1;
        }
    }
    assert!(examples >= 8, "{examples}");
}

/// Results with one way's minimum and median, and the highest rate.
fn results(min: f64, median: f64, rate: f64) -> Value {
    let way = |name: &str, min: f64, median: f64| {
        json!({
            "way": name, "min": min, "median": median, "max": 2.0 * median, "rounds": [min, median],
            "per_second": 1e9 / min, "to_walk": min / 9.0, "to_walk_median": median / 9.0, "updates": 0,
        })
    };
    let latency = json!({
        "stage": "wire_to_book", "count": 10, "min": 1, "p50": 2_000, "p90": 3_000, "p99": 4_000, "p99_9": 5_000,
        "max": 6_000, "p50_of_parts": [1_900, 2_100], "p99_of_parts": [3_500, 9_000],
    });
    json!({
        "format": 1,
        "machine": {
            "cpu": "made up", "arch": "x86_64", "cores": [0], "caches": [], "date": "",
            "program": { "version": "0", "profile": "release", "target_features": [] },
        },
        "file": {
            "source": "day", "messages": 100, "bytes": 3_300, "instruments": 1, "rounds": 2, "watched": 100,
            "pinned": ["", ""], "ways": [way("walk", 9.0, 9.0), way("book", min, median)],
            "two_shards_speedup": 1.0, "books": { "hash": 1, "orders": 1, "levels": 1 }, "best_changes": 1,
            "memory": { "orders_max": 10, "order_bytes": 900, "levels": 2, "level_bytes": 100 },
        },
        "wire": [{
            "to": "book", "asked": "max", "rate": rate, "seconds": 1.0, "messages": 10, "packets": 1, "lost": 0,
            "kernel_drops": 0, "late_ns_max": 0, "receive_buffer_bytes": 1, "updates": 0, "fallbacks": 0,
            "latencies": [latency], "threads": [], "behind_ns": 0, "limits": [],
        }],
    })
}

#[test]
fn two_results_are_compared_with_a_verdict_only_beyond_the_spread() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, value: &Value| {
        let path = folder.path().join(name);
        fs::write(&path, value.to_string()).unwrap();
        path
    };
    let a = write("a.json", &results(40.0, 42.0, 1e6));
    let within = write("within.json", &results(41.0, 43.0, 1.03e6));
    let beyond = write("beyond.json", &results(30.0, 32.0, 2e6));
    let verdicts = |a: &Path, b: &Path| {
        let output = bench(&["compare", "--json", path(a), path(b)]);
        let compared = json_of(&output);
        let mut verdicts: Vec<(String, f64, Value)> = compared
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                let name = one["name"].as_str().unwrap().to_owned();
                (name, number(&one["ratio"]), one["verdict"].clone())
            })
            .collect();
        verdicts.retain(|(name, ..)| !name.contains("walk") || name.contains('÷'));
        verdicts
    };
    let same = verdicts(&a, &within);
    assert_eq!(same.len(), 6, "{same:?}");
    assert!(
        same.iter().all(|(.., verdict)| verdict.is_null()),
        "{same:?}"
    );
    let of = |verdicts: &[(String, f64, Value)], words: &str| {
        let found = verdicts
            .iter()
            .find(|(name, ..)| name.contains(words))
            .unwrap();
        (found.1, found.2.clone())
    };
    let better = verdicts(&a, &beyond);
    assert_eq!(of(&better, "decode + book"), (0.75, json!("better")));
    assert_eq!(of(&better, "highest rate with"), (2.0, json!("better")));
    assert_eq!(of(&better, "p99"), (1.0, Value::Null));
    let worse = verdicts(&beyond, &a);
    assert_eq!(of(&worse, "highest rate with"), (0.5, json!("worse")));

    let table = bench(&["compare", path(&a), path(&beyond)]);
    let text = String::from_utf8(table.stdout).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("decode + book"))
        .unwrap();
    assert!(line.ends_with("0.750 better"), "{line}");

    let other = write("other.json", &json!({"messages": 1}));
    let output = bench(&["compare", path(&a), path(&other)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("other.json: these are no results of tickcast bench"));
}
