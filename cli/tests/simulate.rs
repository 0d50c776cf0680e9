//! The exchange and the daemon as two programs: what the lines lose, how it is repaired, and that the books served
//! are the exchange's in the end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take; only a failure waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

const PROGRAM: &str = env!("CARGO_BIN_EXE_tickcast");

/// A level: price, shares, orders.
type Level = (i64, u64, u64);

/// The documented configuration and an exchange of its own, at ports that were free.
struct Site {
    folder: tempfile::TempDir,
    listen: String,
    exchange: Vec<String>,
}

impl Site {
    /// `None`, with a word: there is no multicast on the loopback interface.
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let udp = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.local_addr().unwrap().port()
        };
        let tcp = || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            listener.local_addr().unwrap().to_string()
        };
        let replaced = [
            ("127.0.0.1:8080", tcp(), None),
            ("127.0.0.1:9090", tcp(), None),
            (
                "239.255.77.1:31001",
                format!("239.255.77.1:{}", udp()),
                Some("--line-a"),
            ),
            (
                "239.255.77.2:31002",
                format!("239.255.77.2:{}", udp()),
                Some("--line-b"),
            ),
            (
                "127.0.0.1:31010",
                format!("127.0.0.1:{}", udp()),
                Some("--request-server"),
            ),
            ("127.0.0.1:31011", tcp(), Some("--snapshot-server")),
        ];
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/loopback.example.toml");
        let mut text = fs::read_to_string(example).unwrap();
        let mut exchange = Vec::new();
        for (documented, ours, option) in &replaced {
            assert!(text.contains(documented), "{documented}");
            text = text.replace(documented, ours);
            if let Some(option) = option {
                exchange.extend([(*option).to_owned(), ours.clone()]);
            }
        }
        fs::write(folder.path().join("tickcast.toml"), text).unwrap();
        let [(_, listen, _), ..] = replaced;
        Some(Self {
            folder,
            listen,
            exchange,
        })
        .filter(|_| multicast_is_possible())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts an exchange that will tell its books and what it did.
    fn simulate(&self, options: &[&str]) -> Exchange {
        let child = Command::new(PROGRAM)
            .args(["simulate", "--json", "--books-out"])
            .arg(self.path("books.csv"))
            .args(&self.exchange)
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Exchange(Running(child))
    }

    /// Starts the daemon, and waits until it answers.
    fn serve(&self) -> Running {
        let child = Command::new(PROGRAM)
            .args(["serve", "-c"])
            .arg(self.path("tickcast.toml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let running = Running(child);
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(&self.listen).is_err() {
            assert!(Instant::now() < deadline, "the daemon doesn't answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        running
    }

    fn get(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(&self.listen).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let listen = &self.listen;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {listen}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        serde_json::from_str(body).unwrap()
    }

    /// What the daemon says of the channel.
    fn feed(&self) -> Value {
        self.get("/v1/status")["feeds"][0].take()
    }

    /// Waits until the channel is as wanted.
    fn eventually(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let feed = self.feed();
            if wanted(&feed) {
                return feed;
            }
            assert!(Instant::now() < deadline, "not {what}: {feed:#}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until all of a session was delivered, then compares the books of all instruments; gives the channel.
    fn compare(&self, summary: &Value) -> Value {
        let next = summary["next_sequence"].as_u64().unwrap();
        let feed = self.eventually(&format!("live at {next}"), |feed| {
            feed["next_sequence"] == next && is_live(feed)
        });
        assert_eq!(feed["session"], summary["session"]);
        for counter in ["faulty_now", "unknown_order", "messages_lost"] {
            assert_eq!(feed["counters"][counter], 0, "{counter}");
        }
        let mut books = self.books();
        // Those that are empty at the end have no row.
        for instrument in self.get("/v1/instruments")["instruments"]
            .as_array()
            .unwrap()
        {
            books
                .entry(instrument["symbol"].as_str().unwrap().to_owned())
                .or_default();
        }
        assert_eq!(
            books.len(),
            summary["instruments"].as_u64().unwrap() as usize
        );
        for (symbol, levels) in books {
            let served = self.get(&format!("/v1/book/XNAS/{symbol}?depth=1000"));
            assert_eq!(
                served["bids"]
                    .as_array()
                    .map(|all| all.iter().map(level).collect()),
                Some(levels[0].clone()),
                "{symbol}"
            );
            assert_eq!(
                served["asks"]
                    .as_array()
                    .map(|all| all.iter().map(level).collect()),
                Some(levels[1].clone()),
                "{symbol}"
            );
        }
        feed
    }

    /// The exchange's own books: of each symbol bids and asks, best first.
    fn books(&self) -> BTreeMap<String, [Vec<Level>; 2]> {
        let mut books: BTreeMap<String, [Vec<Level>; 2]> = BTreeMap::new();
        let mut rows = csv::Reader::from_path(self.path("books.csv")).unwrap();
        for row in rows.deserialize() {
            let (symbol, side, at, px, size, count): (String, String, usize, i64, u64, u64) =
                row.unwrap();
            let side = &mut books.entry(symbol).or_default()[usize::from(side == "ask")];
            assert_eq!(side.len(), at);
            side.push((px, size, count));
        }
        books
    }
}

fn multicast_is_possible() -> bool {
    let group = "239.255.77.9:0".parse().unwrap();
    let sent = tickcast_replay::exchange::edge::multicast_sender(group, Ipv4Addr::LOCALHOST);
    match sent {
        Ok(_) => true,
        Err(error) => {
            eprintln!("skipped: no multicast on the loopback interface: {error}");
            false
        }
    }
}

fn level(value: &Value) -> Level {
    let number = |at: usize| match &value[at] {
        Value::String(text) => text.parse().unwrap(),
        number => number.as_i64().unwrap(),
    };
    (
        number(0),
        number(1).unsigned_abs(),
        number(2).unsigned_abs(),
    )
}

fn is_live(feed: &Value) -> bool {
    feed["state"] == "synchronized" && feed["stale"] == false
}

fn counter(feed: &Value, name: &str) -> u64 {
    feed["counters"][name].as_u64().unwrap()
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Exchange(Running);

impl Exchange {
    fn signal(&self, name: &str) {
        let id = self.0.0.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &id])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end and gives what it did.
    fn summary(mut self) -> Value {
        let mut text = String::new();
        let child = &mut self.0.0;
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        serde_json::from_str(&text).unwrap()
    }
}

fn tickcast(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn lossy_lines_are_repaired_by_requests_and_the_books_are_the_exchanges() {
    let Some(site) = Site::new() else { return };
    let _daemon = site.serve();
    let exchange = site.simulate(&[
        "--instruments",
        "40",
        "--rate",
        "3000",
        "--loss",
        "5",
        "--burst-every",
        "1",
        "--burst",
        "300",
        "--duplicate",
        "2",
        "--reorder",
        "2",
        "--corrupt",
        "1",
        "--lag-b",
        "3",
        "--duration",
        "6",
    ]);
    let summary = exchange.summary();
    let feed = site.compare(&summary);
    // Everything that was missing was filled, and by what the exchange says that it answered.
    let missing = counter(&feed, "messages_missing");
    let [by_line, by_request, by_snapshot] =
        ["line", "request", "snapshot"].map(|by| counter(&feed, &format!("filled_by_{by}")));
    println!(
        "missing {missing}: {by_line} by line, {by_request} by request, {by_snapshot} by snapshot"
    );
    assert_eq!(missing, by_line + by_request + by_snapshot);
    assert_eq!(by_snapshot, 0);
    assert!(by_request >= 5 * 300, "{by_request}");
    let requests = &summary["requests"];
    assert!(by_request <= requests["messages"].as_u64().unwrap());
    assert_eq!(
        counter(&feed, "requests_sent"),
        requests["requests"].as_u64().unwrap()
    );
    // The exchange counts what it injects: what went in came out or is counted as lost.
    for line in summary["lines"].as_array().unwrap() {
        let of = |name: &str| line[name]["packets"].as_u64().unwrap();
        assert_eq!(
            of("packets") + of("duplicated"),
            of("sent") + of("lost") + of("burst_lost")
        );
        let messages = line["burst_lost"]["messages"].as_u64().unwrap();
        assert!((5 * 300..7 * 320).contains(&messages), "{messages}");
    }
    // And the receiver got exactly what was sent, as soon as it says so.
    for (at, line) in summary["lines"].as_array().unwrap().iter().enumerate() {
        let feed = site.eventually("all received", |feed| {
            let received = &feed["lines"][at]["counters"];
            assert_eq!(received["kernel_drops"], 0, "a machine too slow for this");
            received["packets"] == line["sent"]["packets"]
        });
        // Of those that come twice, both.
        let of = |name: &str| line[name]["packets"].as_u64().unwrap();
        let rejected = &feed["lines"][at]["counters"]["packets_rejected"];
        let expected = of("corrupted")..=of("corrupted") + of("duplicated");
        assert!(expected.contains(&rejected.as_u64().unwrap()));
    }
}

#[test]
fn a_late_joiner_loads_a_snapshot_and_has_the_books() {
    let Some(site) = Site::new() else { return };
    // No requests: what was missed has to come by snapshot.
    let config = fs::read_to_string(site.path("tickcast.toml")).unwrap();
    let without = config
        .lines()
        .filter(|line| !line.starts_with("request_servers"));
    fs::write(
        site.path("tickcast.toml"),
        without.collect::<Vec<_>>().join("\n"),
    )
    .unwrap();
    let exchange = site.simulate(&["--instruments", "60", "--rate", "4000", "--loss", "0.5"]);
    std::thread::sleep(Duration::from_secs(2));
    let _daemon = site.serve();
    let feed = site.eventually("live by a snapshot", |feed| {
        is_live(feed) && counter(feed, "snapshots_loaded") > 0
    });
    println!("live at {}", feed["next_sequence"]);
    exchange.signal("INT");
    let summary = exchange.summary();
    let feed = site.compare(&summary);
    assert!(summary["snapshots"].as_u64().unwrap() >= counter(&feed, "snapshots_loaded"));
    assert_eq!(summary["requests"]["requests"], 0);
}

#[test]
fn a_daemon_that_is_killed_is_live_again_by_snapshot_soon_after_its_restart() {
    let Some(site) = Site::new() else { return };
    let exchange = site.simulate(&[
        "--instruments",
        "600",
        "--rate",
        "5000",
        "--loss",
        "1",
        "--burst-every",
        "1",
    ]);
    let daemon = site.serve();
    // More messages than requests may ask for.
    site.eventually("so far that only a snapshot helps", |feed| {
        is_live(feed) && feed["next_sequence"].as_u64() > Some(80_000)
    });
    // SIGKILL.
    drop(daemon);
    let begun = Instant::now();
    let _daemon = site.serve();
    let feed = site.eventually("live again", |feed| {
        is_live(feed) && feed["next_sequence"].as_u64() > Some(80_000)
    });
    println!(
        "live again {:.3} s after the restart, at {}",
        begun.elapsed().as_secs_f64(),
        feed["next_sequence"]
    );
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert!(counter(&feed, "snapshots_loaded") > 0);
    exchange.signal("TERM");
    site.compare(&exchange.summary());
}

#[test]
fn servers_that_are_slow_or_lie_lead_to_no_book_that_is_wrong_and_not_stale() {
    for servers in ["slow", "lying"] {
        let Some(site) = Site::new() else { return };
        let _daemon = site.serve();
        let exchange = site.simulate(&[
            "--instruments",
            "20",
            "--loss",
            "2",
            "--burst-every",
            "2",
            "--servers",
            servers,
            "--duration",
            "5",
        ]);
        let summary = exchange.summary();
        // What they say may not be enough, or not in time: then it is told that it isn't.
        let feed = site.eventually("at an end", |feed| is_live(feed) || feed["state"] == "lost");
        println!("{servers}: {}, {}", feed["state"], feed["counters"]);
        if is_live(&feed) {
            site.compare(&summary);
        } else {
            assert_eq!(feed["stale"], true);
        }
        let requests = counter(&feed, "requests_sent");
        assert!(requests > 0 && counter(&feed, "requests_timed_out") > 0);
    }
}

#[test]
fn a_whole_day_ends_by_itself() {
    let Some(site) = Site::new() else { return };
    let _daemon = site.serve();
    let exchange = site.simulate(&["--instruments", "20", "--day", "4", "--dead-a", "1..2"]);
    let summary = exchange.summary();
    site.compare(&summary);
    let of_a = &summary["lines"][0];
    assert!(of_a["dead"]["packets"].as_u64() > Some(0), "{of_a}");
    assert_eq!(summary["lines"][1]["dead"]["packets"], 0);
}

#[test]
fn an_exchange_refuses_what_it_is_asked_wrongly_and_names_addresses_that_are_taken() {
    for wrong in [
        &["--loss", "101"][..],
        &["--line-a", "10.0.0.1:1"],
        &["--day", "0"],
        &["--dead-a", "3..2"],
        &["--password", "longerthanten"],
        &["--seeds", "3"],
        &["--check", "--seed", "1", "--seeds", "3"],
    ] {
        let output = tickcast(&[&["simulate"], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(output.stdout.is_empty());
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for server in [&address, "8.8.8.8:1"] {
        let output = tickcast(&[
            "simulate",
            "--duration",
            "0",
            "--request-server",
            "127.0.0.1:0",
            "--snapshot-server",
            server,
        ]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text(&output.stderr).contains(server),
            "{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn the_check_is_the_same_each_time_and_a_seed_alone_says_more() {
    let check = |threads: &str| -> Value {
        let output = tickcast(&[
            "simulate",
            "--check",
            "--seeds",
            "5",
            "--threads",
            threads,
            "--no-canaries",
            "--json",
        ]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let (one, two) = (check("1"), check("2"));
    assert_eq!(
        (&one["runs"], &one["violations"]),
        (&5.into(), &Value::Array(vec![]))
    );
    assert_eq!(one["hash"], two["hash"]);
    assert_eq!(one["published"], two["published"]);
    assert!(one["comparisons"].as_u64() > Some(100));

    let output = tickcast(&["simulate", "--check", "--seed", "3"]);
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output.stderr);
    for part in ["seed: 3,", "messages_won", "hash "] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}

#[test]
fn the_canaries_of_the_check_are_found() {
    let output = tickcast(&["simulate", "--check", "--seeds", "1", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let canaries = json["canaries"].as_array().unwrap();
    assert!(canaries.len() >= 6);
    assert!(
        canaries.iter().all(|canary| canary["seed"].is_u64()),
        "{json}"
    );
}
