//! Recordings through the whole product: `tickcast replay --serve` of each capture, and subscribers of every
//! schema in both encodings, some joining at random moments, some conflated, some slow.  Every chain holds,
//! every checksum fits, and at the end every subscriber's book is the server's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tickcast_codecs::outbound::Schema;
use tickcast_codecs::types::Side;
use tickcast_fanout::client::{Client, Control, Event, Options};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// A server that ends with the test.
struct Server {
    child: Child,
    address: SocketAddr,
    stderr: mpsc::Receiver<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn replay(capture: &str, options: &[&str]) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../testdata")
            .join(capture);
        let mut child = Command::new(env!("CARGO_BIN_EXE_tickcast"))
            .arg("replay")
            .arg(file)
            .args(["--serve", "--listen", "127.0.0.1:0"])
            .args(options)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (send, stderr) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let mut server = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            stderr,
        };
        let page = server.wait_for("http://");
        let address = page.split("http://").nth(1).unwrap().trim_end_matches('/');
        server.address = address.parse().unwrap();
        server
    }

    fn wait_for(&self, what: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.stderr.recv_timeout(left).expect(what);
            if line.contains(what) {
                return line;
            }
        }
    }

    fn get(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }
}

/// What a subscriber does.
#[derive(Debug, Clone)]
struct Plan {
    schema: Schema,
    binary: bool,
    conflate_ms: u64,
    join_after: Duration,
    /// Reads one message, then rests so long.
    rest: Duration,
    all: bool,
}

/// A subscriber until the recording has ended and nothing more comes.
async fn subscriber(
    address: SocketAddr,
    venue: String,
    symbols: Vec<String>,
    plan: Plan,
    mut ended: watch::Receiver<bool>,
) -> (Plan, Client, Vec<String>) {
    tokio::time::sleep(plan.join_after).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    if !plan.rest.is_zero() {
        // Else the kernel would read for the slow.
        socket.set_recv_buffer_size(4 * 1024).unwrap();
    }
    let stream = socket.connect(address).await.unwrap();
    let mut request = format!("ws://{address}/v1/ws")
        .into_client_request()
        .unwrap();
    let protocol = if plan.binary {
        "tickcast.v1.fb"
    } else {
        "tickcast.v1.json"
    };
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", protocol.parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream)
        .await
        .unwrap();
    let symbols = if plan.all { json!("*") } else { json!(symbols) };
    let subscribe = json!({
        "op": "subscribe", "id": 1, "schema": plan.schema.name(), "venue": venue,
        "symbols": symbols, "conflate_ms": plan.conflate_ms, "checksum": true,
    });
    socket
        .send(Message::text(subscribe.to_string()))
        .await
        .unwrap();

    let mut client = Client::new(Options::default());
    let mut wrong = Vec::new();
    loop {
        // Nothing but heartbeats for a second behind the end: all has arrived.
        let quiet = Duration::from_millis(if *ended.borrow() { 2_500 } else { 60_000 });
        let next = tokio::select! {
            next = tokio::time::timeout(quiet, socket.next()) => next,
            changed = ended.changed(), if !*ended.borrow() => { changed.unwrap(); continue; }
        };
        let Ok(next) = next else { break };
        let events = match next.expect("open").expect("no error") {
            Message::Text(text) => client.handle_text(&text),
            Message::Binary(bytes) => client.handle_binary(&bytes),
            Message::Close(frame) => panic!("{plan:?}: closed: {frame:?}"),
            _ => continue,
        };
        let mut beats = 0;
        for event in events {
            match event {
                Event::Violation { topic, violation } => {
                    wrong.push(format!("{topic:?}: {violation:?}"));
                }
                Event::Control(Control::Error { code, message, .. }) => {
                    wrong.push(format!("{code}: {message}"));
                }
                Event::Control(Control::Heartbeat { .. }) => beats += 1,
                // The venue hasn't defined them yet: ask again.
                Event::Control(Control::Subscribed { failed, .. }) if !failed.is_empty() => {
                    let missing: Vec<String> =
                        failed.into_iter().map(|symbol| symbol.symbol).collect();
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    let mut again = subscribe.clone();
                    again["symbols"] = json!(missing);
                    socket.send(Message::text(again.to_string())).await.unwrap();
                }
                _ => {}
            }
        }
        if beats > 0 && *ended.borrow() {
            // The heartbeat comes behind all data that waited: two of them, and everything was read.
            if client.counts().frames > 0
                && wrong.is_empty()
                && caught_up(&mut socket, &mut client, &mut wrong).await
            {
                break;
            }
        }
        if !plan.rest.is_zero() && !*ended.borrow() {
            tokio::time::sleep(plan.rest).await;
        }
    }
    (plan, client, wrong)
}

/// Reads until two heartbeats came with nothing between them.
async fn caught_up<S>(
    socket: &mut tokio_tungstenite::WebSocketStream<S>,
    client: &mut Client,
    wrong: &mut Vec<String>,
) -> bool
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut data_since = true;
    loop {
        let message = socket.next().await.expect("open").expect("no error");
        let events = match message {
            Message::Text(text) => client.handle_text(&text),
            Message::Binary(bytes) => client.handle_binary(&bytes),
            _ => continue,
        };
        for event in events {
            match event {
                Event::Control(Control::Heartbeat { .. }) if !data_since => return true,
                Event::Control(Control::Heartbeat { .. }) => data_since = false,
                Event::Data(_) => data_since = true,
                Event::Violation { topic, violation } => {
                    wrong.push(format!("{topic:?}: {violation:?}"));
                }
                Event::Control(_) => {}
            }
        }
    }
}

/// A small generator: the plan is the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn number(value: &Value) -> i128 {
    match value {
        Value::String(text) => text.parse().unwrap(),
        value => i128::from(value.as_i64().unwrap()),
    }
}

/// (price, size) of a side of an answer of `/v1/book`.
fn side(book: &Value, side: &str) -> Vec<(i128, i128)> {
    book[side]
        .as_array()
        .unwrap_or_else(|| panic!("{book}"))
        .iter()
        .map(|level| (number(&level[0]), number(&level[1])))
        .collect()
}

fn run(capture: &str, venue: &str, symbols: &[&str], schemas: &[Schema], pace: &[&str], seed: u64) {
    println!("{capture}: seed {seed}");
    let server = Server::replay(capture, pace);
    let mut random = Random(seed);
    let mut plans = Vec::new();
    for &schema in schemas {
        for binary in [false, true] {
            let conflate_ms = if schema.depth().is_some() && random.below(2) == 0 {
                [10, 50, 100, 250][usize::try_from(random.below(4)).unwrap()]
            } else {
                0
            };
            plans.push(Plan {
                schema,
                binary,
                conflate_ms,
                join_after: Duration::from_millis(random.below(6_000)),
                rest: Duration::from_millis(if random.below(3) == 0 { 15 } else { 0 }),
                all: schema == Schema::Mbp1
                    || (schema.depth().is_none() && schema != Schema::Mbo && binary),
            });
        }
    }
    let symbols: Vec<String> = symbols.iter().map(|&symbol| symbol.to_owned()).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (end, ended) = watch::channel(false);
    let tasks: Vec<_> = plans
        .into_iter()
        .map(|plan| {
            runtime.spawn(subscriber(
                server.address,
                venue.to_owned(),
                symbols.clone(),
                plan,
                ended.clone(),
            ))
        })
        .collect();
    server.wait_for("end of the recording");
    // Whoever was to join late has joined.
    std::thread::sleep(Duration::from_millis(7_000));
    end.send(true).unwrap();
    let finished: Vec<_> = tasks
        .into_iter()
        .map(|task| runtime.block_on(task).unwrap())
        .collect();

    let instruments = server.get("/v1/instruments");
    let ids: BTreeMap<&str, u32> = instruments["instruments"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["venue"] == venue)
        .map(|one| {
            (
                one["symbol"].as_str().unwrap(),
                u32::try_from(one["instrument_id"].as_u64().unwrap()).unwrap(),
            )
        })
        .collect();
    let (mut books, mut frames, mut messages) = (0, 0, 0);
    for (plan, client, wrong) in &finished {
        assert!(wrong.is_empty(), "{plan:?}: {wrong:#?}");
        frames += client.counts().frames;
        messages += client.counts().data;
        for symbol in &symbols {
            let id = ids[symbol.as_str()];
            let book = server.get(&format!("/v1/book/{venue}/{symbol}?depth=100000"));
            let (bids, asks) = (side(&book, "bids"), side(&book, "asks"));
            if let Some(depth) = plan.schema.depth() {
                let (our_bids, our_asks) = client
                    .levels(plan.schema, id)
                    .unwrap_or_else(|| panic!("{plan:?}: no book of {symbol}"));
                for (ours, theirs) in [(our_bids, &bids), (our_asks, &asks)] {
                    let ours: Vec<(i128, i128)> = ours
                        .iter()
                        .map(|level| (i128::from(level.px.0), i128::from(level.size)))
                        .collect();
                    let theirs: Vec<_> = theirs.iter().copied().take(depth).collect();
                    assert_eq!(ours, theirs, "{plan:?} {symbol}");
                }
                books += 1;
            } else if plan.schema == Schema::Mbo {
                for (of, theirs) in [(Side::Bid, &bids), (Side::Ask, &asks)] {
                    let mut ours: Vec<(i128, i128)> = Vec::new();
                    for order in client.orders(id, of) {
                        let px = i128::from(order.px.0);
                        match ours.last_mut() {
                            Some((last, size)) if *last == px => *size += i128::from(order.size),
                            _ => ours.push((px, i128::from(order.size))),
                        }
                    }
                    assert_eq!(&ours, theirs, "{plan:?} {symbol}");
                }
                books += 1;
            }
        }
    }
    let status = server.get("/v1/status");
    println!(
        "{capture}: {} subscribers, {frames} frames, {messages} data messages, {books} books equal; {}",
        finished.len(),
        status["counters"]
    );
    assert!(frames > 100 && books > 0 && messages > 0);
}

const BOOKS: [Schema; 6] = [
    Schema::Mbp1,
    Schema::Mbp5,
    Schema::Mbp10,
    Schema::Mbp20,
    Schema::Mbp50,
    Schema::MbpFull,
];

fn with(more: &[Schema]) -> Vec<Schema> {
    BOOKS.iter().chain(more).copied().collect()
}

#[test]
fn subscribers_of_totalview_end_with_the_servers_books() {
    run(
        "nasdaq-itch/ARL_2025-07-17_first_reencoded_moldudp64.pcap.gz",
        "XNAS",
        &["ARL"],
        &with(&[
            Schema::Mbo,
            Schema::Trades,
            Schema::Status,
            Schema::Definition,
        ]),
        &["--speed", "1", "--idle-max", "0.05"],
        1,
    );
}

#[test]
fn subscribers_of_deep_with_restarts_end_with_the_servers_books() {
    run(
        "iex/deep10_2017-04-25_sessions1-3.pcap.gz",
        "IEXG",
        &["MSFT", "ZXIET", "ZIEXT", "AAPL"],
        &with(&[Schema::Trades, Schema::Status, Schema::Definition]),
        &["--speed", "100", "--idle-max", "0.001"],
        2,
    );
}

#[test]
fn subscribers_of_a_long_deep_session_end_with_the_servers_books() {
    run(
        "iex/deep10_2017-04-25_session12_first50000.pcap.gz",
        "IEXG",
        &["MSFT", "QQQ", "PZZA"],
        &with(&[Schema::Trades]),
        &["--speed", "60"],
        3,
    );
}

#[test]
fn subscribers_of_tops_end_with_the_servers_quotes() {
    run(
        "iex/tops16_2017-07-10_first9000.pcap.gz",
        "IEXG",
        &["AAPL", "ZXIET"],
        &[
            Schema::Mbp1,
            Schema::Mbp10,
            Schema::Trades,
            Schema::Imbalance,
            Schema::Status,
        ],
        &["--speed", "100", "--idle-max", "0.001"],
        4,
    );
}
