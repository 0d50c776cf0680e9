//! `tickcast subscribe`: a subscriber that verifies what it gets.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Constraint;
use ratatui::style::{Color, Style};
use ratatui::widgets::{Block, Row, Table};
use serde_json::{Value, json};
use tickcast_codecs::outbound::{Feed, OwnedBody, OwnedMessage, Schema, json as encode};
use tickcast_codecs::types::{Level, Price};
use tickcast_fanout::client::{Client, Control, Event, Options};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::Failure;

/// The first pause before connecting again; doubles up to [`RECONNECT_MAX`], each with jitter.
const RECONNECT_MIN: Duration = Duration::from_millis(250);
const RECONNECT_MAX: Duration = Duration::from_secs(15);

/// A server that says nothing for so long is gone: it beats each second.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How often the ladder is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// A list of all instruments is one message.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Subscribe to a server: a live ladder in a terminal, JSON lines in a pipe.
///
/// Keeps the books itself, and verifies the chain of sequence numbers and the checksum of every message:
/// what doesn't fit is told on stderr, and the exit code is 1.  Connects again when the connection breaks.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tickcast subscribe ws://127.0.0.1:8080/v1/ws --symbols DEMO
  tickcast subscribe ws://127.0.0.1:8080/v1/ws --schema trades --symbols '*' --count 100 | jq .px
  tickcast subscribe ws://127.0.0.1:8080/v1/ws --schema mbp-10 --symbols 'T*' --duration 10 --json
  tickcast subscribe ws://127.0.0.1:8080/v1/ws --schema feed --venue XNAS --symbols '*'")]
pub(crate) struct Arguments {
    /// The server: ws://HOST:PORT/v1/ws.
    url: String,
    /// What to subscribe to.
    #[arg(long, default_value = "mbp-10", value_parser = schema)]
    schema: Schema,
    /// Symbols, separated by commas; * for all, T* for those that begin with T.  Of feed: names of channels.
    #[arg(long, value_delimiter = ',', required = true)]
    symbols: Vec<String>,
    /// The venue's market identifier code; may be left out if the server has one only.
    #[arg(long)]
    venue: Option<String>,
    /// Collect changes for so many milliseconds: 0, 10, 50, 100, 250 or 1000.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    conflate: u64,
    /// The encoding of data on the wire.
    #[arg(long, value_enum, default_value = "json")]
    encoding: Encoding,
    /// Prices as decimal strings.
    #[arg(long)]
    decimal: bool,
    /// JSON lines even in a terminal.
    #[arg(long)]
    json: bool,
    /// End after so many data messages.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    duration: Option<f64>,
    /// Don't verify chain and checksum.
    #[arg(long)]
    no_verify: bool,
    /// Fail when the connection breaks, instead of connecting again.
    #[arg(long)]
    no_reconnect: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Encoding {
    /// Text frames.
    Json,
    /// FlatBuffers in binary frames.
    Fb,
}

fn schema(name: &str) -> Result<Schema, String> {
    Schema::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Schema::ALL.into_iter().map(Schema::name).collect();
        format!("there is {}", names.join(", "))
    })
}

/// Why a connection ended.
enum Ended {
    /// Enough was received, or the time is over.
    Done,
    /// The connection broke; whether it had worked.
    Broken(String, bool),
    /// The server refused, and will refuse again.
    Refused(String),
    /// The output is closed.
    Output(io::Error),
}

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    if !arguments.url.starts_with("ws://") {
        return Err(Failure::Usage(format!(
            "{}: the address is ws://HOST:PORT/v1/ws",
            arguments.url
        )));
    }
    let duration = arguments
        .duration
        .map(|seconds| {
            Duration::try_from_secs_f64(seconds).map_err(|_| {
                Failure::Usage(format!(
                    "--duration {seconds}: it must be a number of seconds from 0 on"
                ))
            })
        })
        .transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let mut session = Session {
        output: Output::new(&arguments).map_err(|error| Failure::output(&error))?,
        deadline: duration.map(|duration| Instant::now() + duration),
        arguments,
        received: 0,
        violations: 0,
    };
    let ended = runtime.block_on(session.keep());
    session.output.close();
    if session.violations > 0 {
        eprintln!(
            "{} messages, {} violations of the protocol",
            session.received, session.violations
        );
    }
    match ended {
        Ended::Done if session.violations == 0 => Ok(()),
        Ended::Done => Err(Failure::Failed(
            "what was received didn't verify".to_owned(),
        )),
        Ended::Broken(why, _) | Ended::Refused(why) => {
            Err(Failure::Failed(format!("{}: {why}", session.arguments.url)))
        }
        Ended::Output(error) => Err(Failure::output(&error)),
    }
}

struct Session {
    arguments: Arguments,
    output: Output,
    deadline: Option<Instant>,
    received: u64,
    violations: u64,
}

impl Session {
    /// Connects, and connects again.
    async fn keep(&mut self) -> Ended {
        let mut pause = RECONNECT_MIN;
        // Listened to from here to the end: a signal during a pause ends it too.
        let mut stop = std::pin::pin!(stopped());
        loop {
            let ended = tokio::select! {
                ended = self.once() => ended,
                () = &mut stop => return Ended::Done,
            };
            let Ended::Broken(why, had_worked) = ended else {
                return ended;
            };
            if self.arguments.no_reconnect {
                return Ended::Broken(why, had_worked);
            }
            if had_worked {
                pause = RECONNECT_MIN;
            }
            let jittered = jitter(pause);
            if self
                .deadline
                .is_some_and(|deadline| Instant::now() + jittered >= deadline)
            {
                return Ended::Broken(why, had_worked);
            }
            eprintln!("{why}; connecting again in {jittered:.1?}");
            tokio::select! {
                () = tokio::time::sleep(jittered) => {}
                () = &mut stop => return Ended::Done,
            }
            pause = (pause * 2).min(RECONNECT_MAX);
        }
    }

    async fn once(&mut self) -> Ended {
        let mut socket = match self.connect().await {
            Ok(socket) => socket,
            Err(ended) => return ended,
        };
        let request = json!({
            "op": "subscribe",
            "id": 1,
            "schema": self.arguments.schema.name(),
            "venue": self.arguments.venue,
            "symbols": self.arguments.symbols,
            "conflate_ms": self.arguments.conflate,
            "checksum": !self.arguments.no_verify,
            "decimal": self.arguments.decimal,
        });
        let mut request = request;
        // Left out where it isn't given: null is no venue.
        if self.arguments.venue.is_none()
            && let Value::Object(fields) = &mut request
        {
            fields.remove("venue");
        }
        if let Err(error) = socket.send(Message::text(request.to_string())).await {
            return Ended::Broken(error.to_string(), false);
        }
        let mut client = Client::new(Options {
            verify: !self.arguments.no_verify,
        });
        let mut had_worked = false;
        loop {
            let silence = Instant::now() + SILENCE_MAX;
            let until = self
                .deadline
                .map_or(silence, |deadline| deadline.min(silence));
            let message = match tokio::time::timeout_at(until.into(), socket.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return Ended::Broken(error.to_string(), had_worked),
                Ok(None) => return Ended::Broken("the connection ended".to_owned(), had_worked),
                Err(_) if self.deadline == Some(until) => {
                    let _ = socket.close(None).await;
                    return Ended::Done;
                }
                Err(_) => {
                    return Ended::Broken("the server fell silent".to_owned(), had_worked);
                }
            };
            let events = match &message {
                Message::Text(text) => client.handle_text(text),
                Message::Binary(bytes) => client.handle_binary(bytes),
                Message::Close(frame) => {
                    let why = frame.as_ref().map_or_else(
                        || "the server closed the connection".to_owned(),
                        |frame| {
                            format!(
                                "the server closed the connection: {} {}",
                                u16::from(frame.code),
                                frame.reason
                            )
                        },
                    );
                    return Ended::Broken(why, had_worked);
                }
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            };
            for event in events {
                match event {
                    Event::Data(data) => {
                        had_worked = true;
                        self.received += 1;
                        if let Err(error) = self.output.data(&data, &client) {
                            return Ended::Output(error);
                        }
                        if Some(self.received) == self.arguments.count {
                            let _ = socket.close(None).await;
                            return Ended::Done;
                        }
                    }
                    Event::Violation { topic, violation } => {
                        self.violations += 1;
                        eprintln!("violation in {topic:?}: {violation:?}");
                    }
                    Event::Control(control) => {
                        if let Some((refused, transient)) = told(&control) {
                            let _ = socket.close(None).await;
                            // A server that was started again doesn't know its instruments yet.
                            return if transient || self.received > 0 {
                                Ended::Broken(refused, false)
                            } else {
                                Ended::Refused(refused)
                            };
                        }
                    }
                }
            }
            if let Err(error) = self.output.tick(&client, self.arguments.schema) {
                return Ended::Output(error);
            }
        }
    }

    async fn connect(&self) -> Result<Socket, Ended> {
        let mut request = self
            .arguments
            .url
            .as_str()
            .into_client_request()
            .map_err(|error| Ended::Refused(error.to_string()))?;
        let subprotocol = match self.arguments.encoding {
            Encoding::Json => "tickcast.v1.json",
            Encoding::Fb => "tickcast.v1.fb",
        };
        request.headers_mut().insert(
            "Sec-WebSocket-Protocol",
            HeaderValue::from_static(subprotocol),
        );
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        match tokio_tungstenite::connect_async_with_config(request, Some(config), true).await {
            Ok((socket, _)) => Ok(socket),
            // An answer of HTTP: the server is there and doesn't want to; busy ones may later.
            Err(Error::Http(answer))
                if answer.status().is_client_error() && answer.status() != 429 =>
            {
                Err(Ended::Refused(format!(
                    "the server answers {}",
                    answer.status()
                )))
            }
            Err(error) => Err(Ended::Broken(error.to_string(), false)),
        }
    }
}

/// Tells a person what the server says; gives the reason if there is no sense in going on, and whether there
/// may be sense in another try.
fn told(control: &Control) -> Option<(String, bool)> {
    match control {
        Control::Subscribed {
            symbols, failed, ..
        } => {
            for symbol in failed {
                eprintln!("{}: {}", symbol.symbol, symbol.code);
            }
            (symbols.is_empty() && !failed.is_empty())
                .then(|| ("none of the symbols is there".to_owned(), false))
        }
        Control::Error { code, message, .. } => {
            let transient = matches!(code.as_str(), "rate_limited" | "unavailable");
            Some((format!("{code}: {message}"), transient))
        }
        Control::State(state) => {
            eprintln!("channel {} is {}", state.channel, state.state);
            None
        }
        Control::Shutdown { in_ms } => {
            eprintln!("the server stops in {in_ms} ms");
            None
        }
        _ => None,
    }
}

/// Ends with the first Ctrl-C or SIGTERM.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

/// Half to one and a half: many clients of one server don't come back together.
fn jitter(pause: Duration) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    // A hasher's random key is enough randomness for this.
    let thousandths = RandomState::new().hash_one(0u8) % 1_000;
    pause / 2 + pause.mul_f64(thousandths as f64 / 1_000.0)
}

/// Where data goes.
enum Output {
    /// A JSON object a line.
    Lines {
        out: io::Stdout,
        line: Vec<u8>,
        decimal: bool,
    },
    /// A ladder of the book that changed last, the last trades, or the channels' lines.
    Ladder(Box<Ladder>),
}

struct Ladder {
    terminal: Terminal<CrosstermBackend<io::Stdout>>,
    drawn: Instant,
    instrument_id: Option<u32>,
    trades: Vec<String>,
    feeds: BTreeMap<u32, Feed>,
    messages: u64,
}

impl Output {
    fn new(arguments: &Arguments) -> io::Result<Self> {
        let ladder = arguments.schema.depth().is_some()
            || matches!(arguments.schema, Schema::Trades | Schema::Feed);
        if arguments.json || !ladder || !io::stdout().is_terminal() {
            return Ok(Self::Lines {
                out: io::stdout(),
                line: Vec::new(),
                decimal: arguments.decimal,
            });
        }
        // Not `Terminal::clear`: it asks where the cursor is, and not every terminal answers.
        io::stdout().lock().write_all(b"\x1b[2J\x1b[H")?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        Ok(Self::Ladder(Box::new(Ladder {
            terminal,
            drawn: Instant::now(),
            instrument_id: None,
            trades: Vec::new(),
            feeds: BTreeMap::new(),
            messages: 0,
        })))
    }

    fn data(&mut self, message: &OwnedMessage, client: &Client) -> io::Result<()> {
        match self {
            Self::Lines { out, line, decimal } => {
                line.clear();
                encode::encode(&message.as_message(), *decimal, line);
                line.push(b'\n');
                out.lock().write_all(line)
            }
            Self::Ladder(ladder) => {
                ladder.messages += 1;
                let id = message.header.instrument_id;
                ladder.instrument_id.get_or_insert(id);
                if let OwnedBody::Trade(trade) = &message.body {
                    let name = client.symbol(id).unwrap_or("?");
                    ladder
                        .trades
                        .push(format!("{name} {} x {}", trade.px, trade.size));
                    let excess = ladder.trades.len().saturating_sub(50);
                    ladder.trades.drain(..excess);
                }
                if let OwnedBody::Feed(feed) = &message.body {
                    ladder.feeds.insert(id, Feed::clone(feed));
                }
                Ok(())
            }
        }
    }

    fn tick(&mut self, client: &Client, schema: Schema) -> io::Result<()> {
        match self {
            Self::Ladder(ladder) if ladder.drawn.elapsed() >= DRAW_EVERY => {
                ladder.draw(client, schema)
            }
            _ => Ok(()),
        }
    }

    /// Leaves the terminal as a person expects it.
    fn close(&mut self) {
        if let Self::Ladder(ladder) = self {
            let _ = ladder.terminal.show_cursor();
            println!();
        }
    }
}

impl Ladder {
    fn draw(&mut self, client: &Client, schema: Schema) -> io::Result<()> {
        self.drawn = Instant::now();
        let id = self.instrument_id.unwrap_or(0);
        let counts = client.counts();
        let title = format!(
            " {} {}, {} messages, {} violations, Ctrl-C ends ",
            client.symbol(id).unwrap_or("waiting"),
            schema.name(),
            self.messages,
            counts.violations_total(),
        );
        let rows: Vec<Row<'_>> = if schema == Schema::Trades {
            self.trades
                .iter()
                .rev()
                .map(|trade| Row::new([trade.clone()]))
                .collect()
        } else {
            let (bids, asks) = client.levels(schema, id).unwrap_or((&[], &[]));
            let deepest = bids.len().max(asks.len());
            (0..deepest)
                .map(|at| Row::new(pair(bids.get(at), asks.get(at))))
                .collect()
        };
        let widths = [
            Constraint::Length(8),
            Constraint::Length(12),
            Constraint::Length(14),
        ]
        .into_iter()
        .chain([
            Constraint::Length(14),
            Constraint::Length(12),
            Constraint::Length(8),
        ]);
        let table = if schema == Schema::Feed {
            lines_table(self.feeds.values())
        } else if schema == Schema::Trades {
            Table::new(rows, [Constraint::Fill(1)])
        } else {
            Table::new(rows, widths).header(Row::new([
                "orders", "bid size", "bid", "ask", "ask size", "orders",
            ]))
        };
        let table = table
            .block(Block::bordered().title(title))
            .style(Style::default().fg(Color::Reset));
        self.terminal
            .draw(|frame| frame.render_widget(table, frame.area()))?;
        Ok(())
    }
}

/// Channels, each with its lines below it and what became of its gaps.
fn lines_table<'a>(feeds: impl Iterator<Item = &'a Feed>) -> Table<'static> {
    let mut rows = Vec::new();
    for feed in feeds {
        let color = if feed.stale {
            Color::Yellow
        } else {
            Color::Green
        };
        rows.push(
            Row::new([
                feed.channel.clone(),
                format!("{}{}", feed.state, if feed.stale { ", stale" } else { "" }),
                count(&feed.counters, "messages"),
                String::new(),
                format!("next {}", feed.next_sequence),
                format!("session {}", feed.session),
            ])
            .style(Style::default().fg(color)),
        );
        let all: u64 = feed.lines.iter().map(|line| line.won).sum();
        rows.extend(feed.lines.iter().map(|line| {
            Row::new([
                format!("  line {}", line.name),
                line.state.clone(),
                line.won.to_string(),
                share(line.won, all),
                line.duplicate.to_string(),
                count(&line.counters, "packets"),
            ])
        }));
        let missing: Vec<String> = feed
            .gaps
            .iter()
            .map(|(first, last)| format!("{first}-{last}"))
            .collect();
        let fates = [
            ("declared", "gaps_declared"),
            ("by line", "filled_by_line"),
            ("by request", "filled_by_request"),
            ("by snapshot", "filled_by_snapshot"),
            ("lost", "messages_lost"),
        ];
        for (at, (name, counter)) in fates.into_iter().enumerate() {
            let value = count(&feed.counters, counter);
            if value.is_empty() {
                continue;
            }
            let repair = |label: &str, value: Option<u64>| {
                let shown = value.map_or_else(
                    || format!("> {}", milliseconds(feed.repair.bound_ns)),
                    milliseconds,
                );
                format!("{label} {shown}")
            };
            let more = match at {
                0 if !missing.is_empty() => format!("open {}", missing.join(" ")),
                1 if feed.repair.count > 0 => format!("{} repairs", feed.repair.count),
                2 if feed.repair.count > 0 => repair("p50", feed.repair.p50_ns),
                3 if feed.repair.count > 0 => repair("p99", feed.repair.p99_ns),
                _ => String::new(),
            };
            rows.push(Row::new([
                if at == 0 { "  gaps" } else { "" }.to_owned(),
                name.to_owned(),
                value,
                String::new(),
                more,
            ]));
        }
    }
    let widths = [
        Constraint::Length(14),
        Constraint::Length(20),
        Constraint::Length(14),
        Constraint::Length(9),
        Constraint::Length(22),
        Constraint::Fill(1),
    ];
    Table::new(rows, widths).header(Row::new([
        "channel",
        "state",
        "won",
        "win rate",
        "duplicate",
        "packets",
    ]))
}

/// A counter by its name; nothing where the server doesn't count it.
fn count(counters: &[(String, u64)], name: &str) -> String {
    counters
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.to_string())
        .unwrap_or_default()
}

fn share(part: u64, all: u64) -> String {
    if all == 0 {
        return String::new();
    }
    let thousandths = u128::from(part) * 1_000 / u128::from(all);
    format!("{}.{} %", thousandths / 10, thousandths % 10)
}

fn milliseconds(ns: u64) -> String {
    format!("{} ms", ns as f64 / 1e6)
}

fn pair(bid: Option<&Level>, ask: Option<&Level>) -> [String; 6] {
    let show = |level: Option<&Level>, of: fn(&Level) -> String| level.map(of).unwrap_or_default();
    let px = |level: &Level| Price::to_string(&level.px);
    let size = |level: &Level| level.size.to_string();
    let count = |level: &Level| level.count.to_string();
    [
        show(bid, count),
        show(bid, size),
        show(bid, px),
        show(ask, px),
        show(ask, size),
        show(ask, count),
    ]
}
