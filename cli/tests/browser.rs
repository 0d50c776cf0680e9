//! The web page in a real browser: `tickcast demo` serves it, headless Chromium shows it, and the test
//! looks at what a person would: the symbol typed, a ladder that moves, checksums that agree.
//!
//! Needs `chromium` (or Chrome) and `chromedriver` on the path; without them the test says so and passes,
//! unless `TICKCAST_REQUIRE_BROWSER=1`.  `TICKCAST_PAGE_URL` shows a page that is already served instead
//! of starting the demo; `TICKCAST_SCREENSHOT` names a file for a picture of the page, `TICKCAST_SCREENSHOT_FEEDS` one of
//! the panel of feeds, both taken `TICKCAST_SCREENSHOT_WAIT` seconds later.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use fantoccini::key::Key;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tickcast_book::Report;
use tickcast_book::link::{Publisher, WhenFull, link};
use tickcast_book::report::{Histogram, LineReport, Reading, ReadingKind};
use tickcast_fanout::edge::{Feed, Reactor};
use tickcast_fanout::{ChannelInfo, HubConfig, ServerInfo};
use tokio::sync::watch;

/// For each thing that is waited for; generous, because build machines are slow.
const WAIT: Duration = Duration::from_secs(30);

/// What a person sees, in one look, so that its parts belong together.
const LOOK: &str = r#"
    const of = (name) => document.querySelector(`[data-testid="${name}"]`);
    const badge = of('error-badge');
    return {
        state: of('state').dataset.state,
        lost: !of('lost').hidden,
        symbol: of('title').firstElementChild.textContent,
        hash: location.hash,
        updates: Number(of('ladder').dataset.updates),
        rows: [...of('ladder').querySelectorAll('tr[data-px]')].map(
            ({ dataset: { side, px, size } }) => ({ side, px, size })),
        checksum_ok: Number(of('checksum-ok').textContent.replaceAll(',', '')),
        error: badge.hidden ? '' : badge.textContent,
        instruments: [...document.querySelectorAll('[role=option]')].map(
            (option) => option.firstElementChild.textContent),
        styled: getComputedStyle(of('ladder')).borderCollapse === 'collapse',
    };
"#;

/// The client module by itself, on values that a JavaScript number can't hold.
const CHECK_CLIENT: &str = r#"
    const done = arguments[0];
    import('/tickcast.js').then(({ Book, crc32, formatPrice, integer }) => {
        const book = new Book();
        book.reset([['9223372036854775807', '18446744073709551615', 1]], []);
        const large = book.checksum();
        book.update([['9223372036854775807', 0, 0], [100000000000, 5, 1], [101000000000, 7, 2]],
            [[102000000000, 9, 3]]);
        let refused = false;
        try { integer(2 ** 53 + 2); } catch { refused = true; }
        done({
            check: crc32(new TextEncoder().encode('123456789')),
            large,
            bids: book.bids.map(([px, size]) => `${size}@${formatPrice(px)}`),
            asks: book.asks.map(([px, size]) => `${size}@${formatPrice(px)}`),
            odd: formatPrice(-1500000001n),
            refused,
        });
    }, (error) => done({ failed: String(error) }));
"#;

/// A child process, ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn page_shows_a_moving_ladder_whose_checksums_agree() {
    let Some(tools) = tools() else { return };
    let (server, url) = match env::var("TICKCAST_PAGE_URL") {
        Ok(url) => (None, url),
        Err(_) => {
            let mut demo = Command::new(env!("CARGO_BIN_EXE_tickcast"));
            // More to be repaired than is shown to people who have time.
            demo.args(["demo", "--listen", "127.0.0.1:0", "--burst-every", "4"]);
            let (server, url) = start(demo, Output::Stderr, page_url);
            (Some(server), url)
        }
    };
    browse(&tools, |client| visit(client, url, server));
}

#[test]
fn page_shows_the_lines_the_gaps_and_the_repairs_of_each_channel() {
    let Some(tools) = tools() else { return };
    let (server, url) = ChannelsWithGaps::start();
    browse(&tools, |client| visit_feeds(client, url));
    server.stop();
}

/// Chromium and chromedriver; says so if they aren't there.
fn tools() -> Option<(PathBuf, PathBuf)> {
    let chromium = program(&["chromium", "chromium-browser", "google-chrome", "chrome"]);
    let found = chromium.zip(program(&["chromedriver"]));
    if found.is_none() {
        assert!(
            env::var("TICKCAST_REQUIRE_BROWSER").as_deref() != Ok("1"),
            "TICKCAST_REQUIRE_BROWSER=1, but chromium or chromedriver isn't on the path"
        );
        eprintln!("skipped: chromium or chromedriver isn't on the path");
    }
    found
}

/// Starts a browser, and ends it whatever the visit comes to.
fn browse<V>((chromium, chromedriver): &(PathBuf, PathBuf), visit: impl FnOnce(Client) -> V)
where
    V: Future<Output = ()> + Send + 'static,
{
    let mut driver = Command::new(chromedriver);
    driver.arg("--port=0");
    let (_driver, port) = start(driver, Output::Stdout, driver_port);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let profile = tempfile::tempdir().unwrap();
            let client = browser(chromium, profile.path(), port).await;
            // In a task of its own, so that a failed assertion doesn't leave a browser behind.
            let outcome = tokio::spawn(visit(client.clone())).await;
            let closed = client.close().await;
            if let Err(failure) = outcome {
                std::panic::resume_unwind(failure.into_panic());
            }
            closed.unwrap();
        });
}

/// A server of two channels that receive nothing and say that they do: the page's panel of feeds by itself.
struct ChannelsWithGaps {
    stop: watch::Sender<bool>,
    thread: thread::JoinHandle<std::io::Result<()>>,
    /// Their shards' ends: a channel whose shard is gone would be another test.
    _publishers: Vec<Publisher>,
}

impl ChannelsWithGaps {
    fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (stop, stopped) = watch::channel(false);
        let begin = Instant::now();
        let mut publishers = Vec::new();
        let mut feeds = Vec::new();
        for (name, venue, quiet) in [("totalview", "XNAS", false), ("deep", "IEXG", true)] {
            let (publisher, subscription) = link(64, WhenFull::Overrun);
            publishers.push(publisher);
            feeds.push(Feed {
                info: ChannelInfo {
                    name: name.to_owned(),
                    venue: venue.to_owned(),
                    by_order: !quiet,
                },
                subscription,
                report: Arc::new(move || {
                    if quiet {
                        Report {
                            state: "idle",
                            ..Report::default()
                        }
                    } else {
                        report_with_gaps(begin.elapsed())
                    }
                }),
            });
        }
        let thread = thread::spawn(move || {
            let info = ServerInfo::default();
            let status = Arc::default();
            Reactor::run(listener, HubConfig::default(), info, feeds, status, stopped)
        });
        let server = Self {
            stop,
            thread,
            _publishers: publishers,
        };
        (server, url)
    }

    fn stop(self) {
        self.stop.send(true).unwrap();
        self.thread.join().unwrap().unwrap();
    }
}

/// What a channel says that has 20,000 messages a second and a gap every 3 s, filled half a second later by the other
/// line, by a request, or, each fourth time, by a snapshot; line B is silent for a while, and nothing counts losses.
fn report_with_gaps(time: Duration) -> Report {
    let ms = u64::try_from(time.as_millis()).unwrap();
    let gaps = ms / 3_000;
    let is_open = ms % 3_000 < 500 && gaps > 0;
    let filled = gaps - u64::from(is_open);
    let by_snapshot = filled / 4;
    let by_line = (filled - by_snapshot) / 2;
    let by_request = filled - by_snapshot - by_line;
    let messages = 1_000_000 + ms * 20;
    let won = messages * 62 / 100;
    let line = |name: &str, state, won, duplicate| LineReport {
        name: name.to_owned(),
        state,
        won,
        duplicate,
    };
    let silent = ms % 20_000 > 17_000;
    let reading = |name, line, value| Reading {
        name,
        help: "Of a test.",
        kind: ReadingKind::Counter,
        line,
        value,
    };
    Report {
        state: match (is_open, gaps % 4) {
            (false, _) => "synchronized",
            (true, 0) => "loading",
            (true, _) => "gap_fill",
        },
        stale: is_open,
        session: "S000000042".to_owned(),
        next_sequence: messages + 1,
        lines: vec![
            line("A", "up", won, messages - won),
            line(
                "B",
                if silent { "silent" } else { "up" },
                messages - won,
                won,
            ),
        ],
        gaps: if is_open {
            vec![
                (messages + 1, messages + 40),
                (messages + 60, messages + 60),
            ]
        } else {
            Vec::new()
        },
        readings: vec![
            reading("messages", None, messages),
            reading("gaps_declared", None, gaps),
            reading("messages_missing", None, gaps * 40 + by_snapshot * 60_000),
            reading("filled_by_line", None, by_line * 40),
            reading("filled_by_request", None, by_request * 40),
            reading("filled_by_snapshot", None, by_snapshot * 60_000),
            reading("kernel_drops", Some(1), gaps / 5),
        ],
        repair: Histogram {
            bounds_ns: &[1_000_000, 10_000_000, 100_000_000, 1_000_000_000],
            counts: vec![0, by_line, by_request, by_snapshot, 0],
            sum_ns: filled * 20_000_000,
        },
    }
}

/// The panel of feeds in one look.
const LOOK_AT_FEEDS: &str = r#"
    const card = document.querySelector('[data-testid="feed"]');
    const of = (name) => card?.querySelector(`[data-testid="feed-${name}"]`)?.textContent;
    const strip = card?.querySelector('canvas');
    return {
        channels: [...document.querySelectorAll('[data-testid="feed"]')].map(({ dataset }) => dataset.channel),
        state: card?.dataset.state,
        stale: card?.dataset.stale,
        rate: Number((of('rate') ?? '').replaceAll(',', '')),
        lines: [...(card?.querySelectorAll('[data-testid="feed-line"]') ?? [])].map((line) => ({
            name: line.dataset.line,
            state: line.dataset.state,
            share: line.querySelector('[data-testid="feed-share"]').textContent,
            bar: line.querySelector('.fill').style.transform,
        })),
        declared: of('gaps_declared'),
        by_request: of('filled_by_request'),
        lost: of('messages_lost'),
        p50: of('p50'),
        strip: strip?.getAttribute('aria-label'),
        painted: strip && strip.width > 0
            && strip.getContext('2d').getImageData(0, 0, strip.width, strip.height).data.some((part) => part > 0),
    };
"#;

async fn visit_feeds(client: Client, url: String) {
    client.goto(&url).await.unwrap();
    let seen = eventually_in(&client, LOOK_AT_FEEDS, "a channel's lines", |seen| {
        seen["lines"]
            .as_array()
            .is_some_and(|lines| lines.len() == 2)
            && seen["rate"].as_f64().is_some_and(|rate| rate > 1_000.0)
    })
    .await;
    assert_eq!(seen["channels"], json!(["totalview", "deep"]));
    let lines = seen["lines"].as_array().unwrap();
    assert_eq!(
        (&lines[0]["name"], &lines[1]["name"]),
        (&json!("A"), &json!("B"))
    );
    assert_eq!(lines[0]["share"], "62.0%");
    assert!(lines[0]["bar"].as_str().unwrap().starts_with("scaleX(0.6"));
    assert_eq!(
        seen["lost"], "–",
        "what the server doesn't count is no number"
    );
    eventually_in(&client, LOOK_AT_FEEDS, "a gap that is open", |seen| {
        seen["stale"] == "true" && seen["state"] == "gap_fill"
    })
    .await;
    let repaired = eventually_in(&client, LOOK_AT_FEEDS, "its repair, in the strip", |seen| {
        let strip = seen["strip"].as_str().unwrap_or_default();
        seen["stale"] == "false"
            && seen["state"] == "synchronized"
            && seen["by_request"] != "0"
            && !strip.contains(" 0 gaps")
            && !strip.contains(" 0 filled")
    })
    .await;
    assert_ne!(repaired["declared"], "0");
    assert!(
        repaired["p50"].as_str().unwrap().ends_with(" ms"),
        "{repaired}"
    );
    assert_eq!(repaired["painted"], true);
    write_picture(&client, "TICKCAST_SCREENSHOT_FEEDS").await;
}

/// Writes a picture of the page to the file that a variable names, if it does.
async fn write_picture(client: &Client, variable: &str) {
    let Some(file) = env::var_os(variable) else {
        return;
    };
    let wait = env::var("TICKCAST_SCREENSHOT_WAIT").unwrap_or_default();
    tokio::time::sleep(Duration::from_secs(wait.parse().unwrap_or(0))).await;
    std::fs::write(file, client.screenshot().await.unwrap()).unwrap();
}

async fn visit(client: Client, url: String, server: Option<Running>) {
    client.goto(&url).await.unwrap();
    let first = eventually(&client, "a book of the first instrument", |seen| {
        seen["state"] == "live" && !rows(seen).is_empty() && !names(seen).is_empty()
    })
    .await;
    assert_eq!(first["styled"], true, "the style sheet applies");

    let symbol = names(&first)
        .into_iter()
        .find(|name| first["symbol"] != **name)
        .unwrap_or_else(|| names(&first).remove(0));
    let search = client
        .find(Locator::Css(r#"[data-testid="symbol-search"]"#))
        .await
        .unwrap();
    search
        .send_keys(&format!("{symbol}{}", char::from(Key::Enter)))
        .await
        .unwrap();
    let picked = eventually(&client, "a book of the symbol typed", |seen| {
        seen["symbol"] == *symbol && !rows(seen).is_empty()
    })
    .await;
    assert!(
        picked["hash"].as_str().unwrap().ends_with(&symbol),
        "the address keeps the symbol: {picked}"
    );

    let moved = eventually(&client, "five more updates and a changed size", |seen| {
        number(seen, "updates") >= number(&picked, "updates") + 5 && size_changed(&picked, seen)
    })
    .await;
    assert!(number(&moved, "checksum_ok") > number(&picked, "checksum_ok"));
    assert_eq!(moved["error"], "", "no check failed");
    assert_sides_are_sorted_and_apart(&moved);

    check_client(&client).await;

    if server.is_some() {
        let what = "repairs of the generated market";
        let repaired = eventually_in(&client, LOOK_AT_FEEDS, what, |seen| {
            !matches!(seen["by_request"].as_str(), None | Some("–" | "0"))
        })
        .await;
        assert_eq!(repaired["lines"].as_array().map(Vec::len), Some(2));
        assert_eq!(repaired["lost"], "0");
    }

    let picture = client.screenshot().await.unwrap();
    assert!(picture.starts_with(b"\x89PNG"));
    write_picture(&client, "TICKCAST_SCREENSHOT").await;

    if server.is_some() {
        drop(server);
        eventually(&client, "word of the lost connection", |seen| {
            seen["state"] == "waiting" && seen["lost"] == true
        })
        .await;
    }
}

async fn check_client(client: &Client) {
    let found = client.execute_async(CHECK_CLIENT, vec![]).await.unwrap();
    let expected = json!({
        // The check value of CRC-32/ISO-HDLC, by its catalogue.
        "check": 0xcbf4_3926_u32,
        // CRC32 of ff ff ff ff ff ff ff 7f, then eight times ff, by zlib.
        "large": 0x59e6_c655_u32,
        "bids": ["7@101.00", "5@100.00"],
        "asks": ["9@102.00"],
        "odd": "-1.500000001",
        "refused": true,
    });
    assert_eq!(found, expected);
}

fn assert_sides_are_sorted_and_apart(seen: &Value) {
    let of = |side: &str| -> Vec<i64> {
        rows(seen)
            .iter()
            .filter(|row| row["side"] == side)
            .map(|row| row["px"].as_str().unwrap().parse().unwrap())
            .collect()
    };
    // Both are shown from the top of the screen to the bottom, asks above bids.
    let shown = [of("ask"), of("bid")].concat();
    assert!(
        shown.is_sorted_by(|above, below| above > below),
        "prices fall from top to bottom: {shown:?}"
    );
}

fn size_changed(before: &Value, after: &Value) -> bool {
    rows(after).iter().any(|now| {
        rows(before).iter().any(|then| {
            now["side"] == then["side"] && now["px"] == then["px"] && now["size"] != then["size"]
        })
    })
}

fn rows(seen: &Value) -> &[Value] {
    seen["rows"].as_array().unwrap()
}

fn names(seen: &Value) -> Vec<String> {
    let options = seen["instruments"].as_array().unwrap();
    options
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

fn number(seen: &Value, key: &str) -> u64 {
    seen[key].as_u64().unwrap()
}

/// Looks until it sees what is wanted; fails with the last look.
async fn eventually(client: &Client, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually_in(client, LOOK, what, wanted).await
}

/// The same with a look of its own.
async fn eventually_in(
    client: &Client,
    look: &str,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let begin = Instant::now();
    loop {
        let seen = client.execute(look, vec![]).await.unwrap();
        if wanted(&seen) {
            return seen;
        }
        assert!(begin.elapsed() < WAIT, "no {what}; the page shows {seen}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn browser(chromium: &Path, profile: &Path, port: u16) -> Client {
    let capabilities = json!({
        "goog:chromeOptions": {
            "binary": chromium,
            "args": [
                "--headless",
                // Build machines run as root, where the sandbox doesn't start; the page is our own.
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--window-size=1440,900",
                format!("--user-data-dir={}", profile.display()),
            ],
        },
    });
    ClientBuilder::new(HttpConnector::new())
        .capabilities(serde_json::from_value(capabilities).unwrap())
        .connect(&format!("http://127.0.0.1:{port}"))
        .await
        .unwrap()
}

/// Where a program says that it is ready.
enum Output {
    Stdout,
    Stderr,
}

/// Starts a program and waits for the line in which `find` finds something.
fn start<T>(
    mut command: Command,
    output: Output,
    find: impl Fn(&str) -> Option<T>,
) -> (Running, T) {
    let name = command.get_program().to_owned();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match output {
        Output::Stdout => command.stdout(Stdio::piped()),
        Output::Stderr => command.stderr(Stdio::piped()),
    };
    let mut running = Running(command.spawn().unwrap());
    let child = &mut running.0;
    let pipe: Box<dyn Read + Send> = match output {
        Output::Stdout => Box::new(child.stdout.take().unwrap()),
        Output::Stderr => Box::new(child.stderr.take().unwrap()),
    };
    let (lines, received) = mpsc::channel();
    thread::spawn(move || {
        // Reads to the end even when nobody listens any more: a full pipe would stop the program.
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = lines.send(line);
        }
    });
    let begin = Instant::now();
    let mut said = Vec::new();
    loop {
        let left = WAIT.saturating_sub(begin.elapsed());
        let Ok(line) = received.recv_timeout(left) else {
            panic!("{} isn't ready; it said {said:#?}", name.display());
        };
        if let Some(found) = find(&line) {
            return (running, found);
        }
        said.push(line);
    }
}

fn page_url(line: &str) -> Option<String> {
    let at = line.find("http://")?;
    line[at..].split_whitespace().next().map(str::to_owned)
}

fn driver_port(line: &str) -> Option<u16> {
    let (_, port) = line.split_once("started successfully on port ")?;
    port.trim_end_matches('.').parse().ok()
}

/// The first of these programs that the path has.
fn program(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let folders: Vec<_> = env::split_paths(&path).collect();
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|file| file.is_file())
}
