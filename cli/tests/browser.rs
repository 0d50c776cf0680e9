//! The web page in a real browser: `tickcast demo` serves it, headless Chromium shows it, and the test
//! looks at what a person would: the symbol typed, a ladder that moves, checksums that agree.
//!
//! Needs `chromium` (or Chrome) and `chromedriver` on the path; without them the test says so and passes,
//! unless `TICKCAST_REQUIRE_BROWSER=1`.  `TICKCAST_PAGE_URL` shows a page that is already served instead
//! of starting the demo; `TICKCAST_SCREENSHOT` names a file for a picture of the page.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use fantoccini::key::Key;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

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
    let (Some(chromium), Some(chromedriver)) = (
        program(&["chromium", "chromium-browser", "google-chrome", "chrome"]),
        program(&["chromedriver"]),
    ) else {
        assert!(
            env::var("TICKCAST_REQUIRE_BROWSER").as_deref() != Ok("1"),
            "TICKCAST_REQUIRE_BROWSER=1, but chromium or chromedriver isn't on the path"
        );
        eprintln!("skipped: chromium or chromedriver isn't on the path");
        return;
    };
    let (server, url) = match env::var("TICKCAST_PAGE_URL") {
        Ok(url) => (None, url),
        Err(_) => {
            let mut demo = Command::new(env!("CARGO_BIN_EXE_tickcast"));
            demo.args(["demo", "--listen", "127.0.0.1:0"]);
            let (server, url) = start(demo, Output::Stderr, page_url);
            (Some(server), url)
        }
    };
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
            let client = browser(&chromium, profile.path(), port).await;
            // In a task of its own, so that a failed assertion doesn't leave a browser behind.
            let outcome = tokio::spawn(visit(client.clone(), url, server)).await;
            let closed = client.close().await;
            if let Err(failure) = outcome {
                std::panic::resume_unwind(failure.into_panic());
            }
            closed.unwrap();
        });
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

    let picture = client.screenshot().await.unwrap();
    assert!(picture.starts_with(b"\x89PNG"));
    if let Some(file) = env::var_os("TICKCAST_SCREENSHOT") {
        std::fs::write(file, picture).unwrap();
    }

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
    let begin = Instant::now();
    loop {
        let seen = client.execute(LOOK, vec![]).await.unwrap();
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
