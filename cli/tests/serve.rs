//! The daemon as its operator meets it: configurations, signals, `/metrics`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::Value;
use tickcast_replay::exchange::edge::multicast_sender;

/// How long anything may take; only a failure waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn tickcast(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tickcast"))
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A port that was free.
fn port() -> u16 {
    UdpSocket::bind((LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A folder with a configuration of one channel of two lines on loopback.
struct Site {
    folder: tempfile::TempDir,
    lines: [SocketAddrV4; 2],
}

impl Site {
    fn new() -> Self {
        let (a, b) = (
            Ipv4Addr::new(239, 255, 78, 1),
            Ipv4Addr::new(239, 255, 78, 2),
        );
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
            lines: [SocketAddrV4::new(a, port()), SocketAddrV4::new(b, port())],
        };
        site.write(&site.text());
        site
    }

    fn text(&self) -> String {
        let [a, b] = self.lines;
        format!(
            r#"listen = "127.0.0.1:0"
metrics_listen = "127.0.0.1:0"
[[channel]]
name = "totalview"
protocol = "moldudp64/itch50"
interface = "127.0.0.1"
receive_buffer_min = "1B"
[[channel.line]]
group = "{a}"
[[channel.line]]
group = "{b}"
name = "West"
[channel.recovery]
reorder_wait = "1ms"
"#
        )
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("tickcast.toml")
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
    }

    fn check(&self, more: &[&str]) -> Output {
        let path = self.path();
        let mut arguments = vec!["check-config", "-c", path.to_str().unwrap()];
        arguments.extend(more);
        tickcast(&arguments)
    }

    fn serve(&self) -> Daemon {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tickcast"))
            .args(["serve", "-c", self.path().to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, said) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Daemon { child, said }
    }
}

/// A daemon that ends with the test.
struct Daemon {
    child: Child,
    said: Receiver<String>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    /// What it says up to the line that contains `part`, that line included.
    fn wait_for(&self, part: &str) -> Vec<String> {
        let mut said = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.said.recv_timeout(left) {
                Ok(line) => {
                    said.push(line);
                    if said.last().unwrap().contains(part) {
                        return said;
                    }
                }
                Err(_) => panic!("{part:?} wasn't said: {said:#?}"),
            }
        }
    }

    /// Where it says that `/metrics` is.
    fn metrics(&self) -> String {
        let said = self.wait_for("/metrics");
        let (_, url) = said.last().unwrap().split_once("http://").unwrap();
        url.strip_suffix("/metrics").unwrap().to_owned()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }
}

/// Status and body of one request, as it is on the wire.
fn ask(address: &str, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

/// Series of a scrape, by `name{labels}`; checks the grammar of the text on the way.
fn scrape(address: &str) -> BTreeMap<String, f64> {
    let (status, head, body) = ask(address, "GET /metrics");
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: application/openmetrics-text"),
        "{head}"
    );
    let mut families: BTreeMap<String, String> = BTreeMap::new();
    let mut helped: Option<String> = None;
    let mut current = (String::new(), String::new());
    let mut series = BTreeMap::new();
    let mut lines = body.lines();
    assert_eq!(lines.next_back(), Some("# EOF"));
    for line in lines {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, sentence) = help.split_once(' ').unwrap();
            assert!(sentence.len() > 5 && sentence.ends_with('.'), "{line}");
            assert!(!sentence.ends_with(".."), "{line}");
            helped = Some(name.to_owned());
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(helped.take().as_deref(), Some(name), "{line}");
            current = (name.to_owned(), kind.to_owned());
            let known = families.insert(name.to_owned(), kind.to_owned());
            assert_eq!(known, None, "{name} comes twice");
        } else if let Some(unit) = line.strip_prefix("# UNIT ") {
            let (name, unit) = unit.split_once(' ').unwrap();
            assert!(name == current.0 && name.ends_with(unit), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let suffix = name.strip_prefix(&current.0).unwrap();
            let suffixes: &[&str] = match current.1.as_str() {
                "counter" => &["_total"],
                "gauge" => &[""],
                "info" => &["_info"],
                "histogram" => &["_bucket", "_count", "_sum"],
                kind => panic!("{kind}"),
            };
            assert!(suffixes.contains(&suffix), "{line}");
            let value: f64 = value.parse().unwrap();
            let known = series.insert(sample.to_owned(), value);
            assert_eq!(known, None, "{sample} comes twice");
        }
    }
    series
}

#[test]
fn check_config_prints_what_is_meant_and_warns_of_what_is_not() {
    let site = Site::new();
    let output = site.check(&[]);
    assert_eq!(output.status.code(), Some(0));
    let printed = text(&output.stdout);
    for part in [
        "reorder_wait = \"1ms\"",
        "request_timeout = \"50ms\"",
        "venue = \"XNAS\"",
    ] {
        assert!(printed.contains(part), "{printed}");
    }
    let warned = text(&output.stderr);
    assert!(
        warned.contains("warning: totalview: no request server"),
        "{warned}"
    );
    // What is printed means the same.
    site.write(&printed);
    assert_eq!(text(&site.check(&[]).stdout), printed);

    let json: Value = serde_json::from_slice(&site.check(&["--json"]).stdout).unwrap();
    assert_eq!(json["valid"], true);
    assert_eq!(json["config"]["channel"][0]["recovery"]["line_down"], "3s");
    assert!(
        json["warnings"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    );
}

#[test]
fn a_wrong_configuration_is_refused_with_all_that_is_wrong_before_any_socket_is_opened() {
    let site = Site::new();
    // An address that is taken: nothing is said of it, for it wasn't tried.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let wrong = site
        .text()
        .replace(
            "listen = \"127.0.0.1:0\"\nmetrics",
            &format!("listen = \"{address}\"\nmetrics"),
        )
        .replace("interface = \"127.0.0.1\"", "interface = \"\"\ncolour = 1")
        .replace("reorder_wait = \"1ms\"", "reorder_wait = 1");
    site.write(&wrong);
    let path = site.path();
    let path = path.to_str().unwrap();
    for output in [tickcast(&["serve", "-c", path]), site.check(&[])] {
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        let said = text(&output.stderr);
        for part in [
            format!("{path}:6: totalview: interface = \"\": has to be"),
            format!("{path}:7: totalview: colour = 1: unknown key"),
            format!("{path}:15: totalview recovery: reorder_wait = 1: has to be a duration"),
        ] {
            assert!(said.contains(&part), "{part}\n{said}");
        }
        assert!(!said.contains(&address), "{said}");
    }
    let output = site.check(&["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&json["valid"], &json["config"]),
        (&Value::Bool(false), &Value::Null)
    );
    let mistake = &json["mistakes"][2];
    assert_eq!(
        (&mistake["line"], &mistake["key"], &mistake["value"]),
        (&15.into(), &"reorder_wait".into(), &"1".into())
    );

    let missing = tickcast(&["serve", "-c", "/nowhere/tickcast.toml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("/nowhere/tickcast.toml: No such file"));
}

#[test]
fn an_address_that_is_taken_ends_the_start_and_is_named() {
    let site = Site::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for key in ["listen", "metrics_listen"] {
        let (from, to) = (
            format!("{key} = \"127.0.0.1:0\"\n"),
            format!("{key} = \"{address}\"\n"),
        );
        let (before, after) = site
            .text()
            .split_once("[[channel]]")
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        let before: String = before
            .lines()
            .map(|line| format!("{line}\n"))
            .map(|line| if line == from { to.clone() } else { line })
            .collect();
        site.write(&format!("{before}[[channel]]{after}"));
        let output = tickcast(&["serve", "-c", site.path().to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{key}");
        assert!(text(&output.stderr).contains(&address), "{key}");
    }
}

#[test]
fn metrics_are_read_at_each_scrape_and_parse() {
    let site = Site::new();
    let daemon = site.serve();
    let address = daemon.metrics();
    let before = scrape(&address);
    for name in [
        "tickcast_uptime_seconds",
        "tickcast_hub_subscribers",
        "tickcast_hub_connected_total",
        "tickcast_channel_stale{channel=\"totalview\"}",
        "tickcast_channel_state{channel=\"totalview\",state=\"synchronized\"}",
        "tickcast_channel_messages_total{channel=\"totalview\"}",
        "tickcast_channel_repair_seconds_count{channel=\"totalview\"}",
        "tickcast_line_packets_total{channel=\"totalview\",line=\"A\"}",
        "tickcast_line_state{channel=\"totalview\",line=\"West\",state=\"up\"}",
    ] {
        assert!(before.contains_key(name), "{name}\n{before:#?}");
    }
    // What comes in shows, sooner or later.
    let rejected = "tickcast_line_packets_rejected_total{channel=\"totalview\",line=\"A\"}";
    assert_eq!(before.get(rejected), Some(&0.0));
    let sender = multicast_sender(site.lines[0], LOCALHOST).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while scrape(&address).get(rejected) == Some(&0.0) {
        assert!(Instant::now() < deadline, "nothing came");
        sender.send(b"not a packet").unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }

    assert_eq!(ask(&address, "POST /metrics").0, 405);
    assert_eq!(ask(&address, "GET /").0, 404);
    // A page of elsewhere whose name was made to lead here.
    let foreign = "GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.write_all(foreign.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[test]
fn without_metrics_listen_there_are_no_metrics_until_a_reload_asks_for_them() {
    let site = Site::new();
    let without = site
        .text()
        .replace("metrics_listen = \"127.0.0.1:0\"\n", "");
    site.write(&without);
    let mut daemon = site.serve();
    let said = daemon.wait_for("HTTP:");
    assert!(
        !said.iter().any(|line| line.contains("/metrics")),
        "{said:#?}"
    );
    site.write(&site.text());
    daemon.signal("HUP");
    let address = daemon.metrics();
    scrape(&address);
    site.write(&without);
    daemon.wait_for("was read again");
    daemon.signal("HUP");
    daemon.wait_for("was read again");
    assert!(TcpStream::connect(&address).is_err());
    assert_eq!(daemon.child.try_wait().unwrap(), None);
}

#[test]
fn a_reload_applies_what_can_change_and_says_what_cannot() {
    let site = Site::new();
    let daemon = site.serve();
    let address = daemon.metrics();
    daemon.wait_for("HTTP:");

    // A file that is refused changes nothing.
    site.write(
        &site
            .text()
            .replace("reorder_wait = \"1ms\"", "reorder_wait = \"soon\""),
    );
    daemon.signal("HUP");
    let said = daemon.wait_for("nothing was changed");
    assert!(
        said.iter()
            .any(|line| line.contains("totalview recovery: reorder_wait = \"soon\"")),
        "{said:#?}"
    );
    scrape(&address);

    // What can't change is named, the rest is applied.
    let other = format!("127.0.0.1:{}", port());
    site.write(
        &site
            .text()
            .replace(
                "metrics_listen = \"127.0.0.1:0\"",
                &format!("metrics_listen = \"{other}\""),
            )
            .replace("receive_buffer_min = \"1B\"", "receive_buffer_min = \"2B\"")
            .replace(
                "reorder_wait = \"1ms\"",
                "reorder_wait = \"1ms\"\nrequest_timeout = \"60ms\"",
            ),
    );
    daemon.signal("HUP");
    let said = daemon.wait_for("was read again");
    let restart: Vec<&String> = said
        .iter()
        .filter(|line| line.contains("restart"))
        .collect();
    assert_eq!(
        restart,
        ["reload: totalview: receive_buffer_min: needs a restart"]
    );
    assert_eq!(scrape(&other)["tickcast_hub_subscribers"], 0.0);
    assert!(TcpStream::connect(&address).is_err());
}

#[test]
fn shards_ask_the_servers_that_a_reload_names_from_then_on() {
    for shards in ["", "shards = 2\n"] {
        let server = || {
            let socket = UdpSocket::bind((LOCALHOST, 0)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let address = socket.local_addr().unwrap();
            (
                socket,
                format!("request_servers = [\"{address}\"]\nreorder_wait"),
            )
        };
        let ((first, first_key), (second, second_key)) = (server(), server());
        let site = Site::new();
        let text = site
            .text()
            .replacen("interface =", &format!("{shards}interface ="), 1);
        site.write(&text.replace("reorder_wait", &first_key));
        let daemon = site.serve();
        daemon.wait_for("HTTP:");

        // A heartbeat that says that 99 messages were missed, until somebody asks for them.
        let mut heartbeat = b"TICKCAST01".to_vec();
        heartbeat.extend(100_u64.to_be_bytes());
        heartbeat.extend(0_u16.to_be_bytes());
        let sender = multicast_sender(site.lines[0], LOCALHOST).unwrap();
        let asked = |server: &UdpSocket| {
            let mut request = [0; 64];
            server
                .set_read_timeout(Some(Duration::from_millis(20)))
                .unwrap();
            let deadline = Instant::now() + PATIENCE;
            while Instant::now() < deadline {
                sender.send(&heartbeat).unwrap();
                if let Ok(length) = server.recv(&mut request) {
                    return request[..length].to_vec();
                }
            }
            panic!("nobody asked");
        };
        let request = asked(&first);
        assert_eq!(&request[..18], b"TICKCAST01\0\0\0\0\0\0\0\x01");
        site.write(&text.replace("reorder_wait", &second_key));
        daemon.signal("HUP");
        let said = daemon.wait_for("was read again");
        assert!(
            said.iter()
                .any(|line| line.ends_with("recovery was changed")),
            "{said:#?}"
        );
        assert_eq!(asked(&second)[..18], request[..18]);
    }
}

#[test]
fn sigterm_and_sigint_end_the_daemon_with_success() {
    for signal in ["TERM", "INT"] {
        let site = Site::new();
        let mut daemon = site.serve();
        daemon.wait_for("HTTP:");
        daemon.signal(signal);
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match daemon.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < deadline, "{signal}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

#[test]
fn the_documented_keys_are_those_of_the_program() {
    let output = tickcast(&["check-config", "--keys"]);
    assert_eq!(output.status.code(), Some(0));
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    assert!(
        fs::read_to_string(page)
            .unwrap()
            .contains(text(&output.stdout).trim_end())
    );
}
