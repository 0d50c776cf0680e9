//! `tickcast simulate`: the exchange as a program of its own, and the simulation without a network.

mod check;
mod write;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tickcast_codecs::SessionId;
use tickcast_codecs::types::{Side, Text};
use tickcast_feed::receiver::wall_clock;
use tickcast_replay::exchange::edge::{multicast, multicast_sender};
use tickcast_replay::exchange::venue::Summary;
use tickcast_replay::exchange::{
    Behaviour, Day, Faults, Market, MarketConfig, Pace, Schedule, Venue, VenueConfig,
};
use tickcast_replay::fault::{Count, FaultCounters, Interval};

use crate::Failure;
use crate::progress;
use crate::serving::{self, Signals};

/// A day, in nanoseconds.
const DAY_NS: u64 = 86_400_000_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// How long the end of the session is told, and the servers stay: receivers that lost the last messages ask
/// for them.
const END_OF_SESSION_NS: u64 = 3 * SECOND_NS;

/// Publish a simulated exchange: a market on two multicast lines, with faults, and the servers to recover from.
///
/// TotalView-ITCH 5.0 over MoldUDP64.  Without options nothing goes wrong; all of it stays on this machine.
/// Ctrl-C and SIGTERM end the session, and so that receivers can get what they lack of it, the servers
/// stay for 3 s more.  Then it is told what was published, what was lost where, and a hash of the true books.
///
/// With --write nothing is published: the market goes to a file, as fast as it can be invented, and the same
/// options give the same file.
///
/// With --check nothing is published: exchange, network, receiver and subscribers run in one thread on a
/// virtual clock, a seed a run, and it is checked whether all that has to hold does.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tickcast simulate                                     in one terminal, and in another
  tickcast serve -c docs/loopback.example.toml
  tickcast simulate --loss 1 --burst-every 10           1 % of the packets lost, and 200 messages on both lines
  tickcast simulate --loss 5 --servers dead             nothing can be recovered
  tickcast simulate --day 60 --json                     a whole day in a minute, the summary as JSON
  tickcast simulate --write full.itch --messages 20000000
                                                        8,000 instruments, 1.6 million orders, as BinaryFILE
  tickcast simulate --write hot.pcap --messages 100000 --shape hot --step 10@5
                                                        one instrument, idle for 5 s, then at full rate, as packets
  tickcast simulate --check --seeds 1000                a thousand runs on a virtual clock
  tickcast simulate --check --seed 17                   one of them, in detail")]
pub(crate) struct Arguments {
    /// Decides market and faults; with --check, the only run [default: 1].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Instruments; 8,000 at most when publishing [default: 300, or as --shape says].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    instruments: Option<u16>,
    /// Messages a second in market hours; 200,000 at most when publishing [default: 1,500; with --write as --shape
    /// says].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// A market that is open for ever, or a whole day with opening and closing in so many seconds.
    #[arg(long, value_name = "continuous|SECONDS", default_value = "continuous", value_parser = day)]
    day: Day,
    /// End the session after so many seconds; with --write, seconds of the market's time.
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u64>,
    /// The form of the books.
    #[arg(long, value_enum, default_value_t = Shape::Natural, conflicts_with = "check")]
    shape: Shape,
    /// Orders that an instrument displays at most; there are some five eighths of it [default: as --shape says].
    #[arg(long, value_name = "N", conflicts_with = "check", value_parser = clap::value_parser!(u32).range(64..=10_000_000))]
    orders: Option<u32>,
    /// Step from idle to full: so many messages a second for so many seconds of market hours, then the rate.
    #[arg(long, value_name = "N@SECONDS", conflicts_with = "check", value_parser = step)]
    step: Option<Pace>,
    /// The summary as JSON on stdout.
    #[arg(long)]
    json: bool,
    /// Write the true books at the end: CSV, a line a level, prices in units of 1e-9 as /v1/book has them.
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    books_out: Option<PathBuf>,

    /// Where line A goes.
    #[arg(long, value_name = "GROUP:PORT", default_value = "239.255.77.1:31001", value_parser = group, help_heading = "Addresses")]
    line_a: SocketAddrV4,
    /// Where line B goes.
    #[arg(long, value_name = "GROUP:PORT", default_value = "239.255.77.2:31002", value_parser = group, help_heading = "Addresses")]
    line_b: SocketAddrV4,
    /// The address of the interface that sends.  Any other than loopback's sends to the network that it is on.
    #[arg(long, value_name = "IP", default_value_t = Ipv4Addr::LOCALHOST, help_heading = "Addresses")]
    interface: Ipv4Addr,
    /// Where missing messages can be asked for (MoldUDP64): a loopback or private address.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:31010",
        help_heading = "Addresses"
    )]
    request_server: SocketAddr,
    /// Where all books can be had (GLIMPSE over SoupBinTCP): a loopback or private address.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:31011",
        help_heading = "Addresses"
    )]
    snapshot_server: SocketAddr,
    /// Whom the request server answers beside this machine; may be given several times.
    #[arg(long, value_name = "IP", help_heading = "Addresses")]
    peer: Vec<IpAddr>,

    /// Packets lost, on each line by itself.
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = percent, help_heading = "Faults")]
    loss: u32,
    /// Lose messages in a row on both lines, each so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = "Faults")]
    burst_every: Option<u64>,
    /// How many messages that are.
    #[arg(
        long,
        value_name = "MESSAGES",
        default_value_t = 200,
        requires = "burst_every",
        help_heading = "Faults"
    )]
    burst: u64,
    /// Packets that come twice.
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = percent, help_heading = "Faults")]
    duplicate: u32,
    /// Packets that others overtake: half a millisecond late on average.
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = percent, help_heading = "Faults")]
    reorder: u32,
    /// Packets that come too short (line A) or too long (line B).
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = percent, help_heading = "Faults")]
    corrupt: u32,
    /// How late line B is.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000), help_heading = "Faults")]
    lag_b: u64,
    /// When line A carries nothing, in seconds from the start: 10..20, or 10.. for good; may be given several
    /// times.
    #[arg(long, value_name = "FROM..[UNTIL]", value_parser = interval, help_heading = "Faults")]
    dead_a: Vec<Interval>,
    /// How the servers behave: as specified; not there; answers a fifth of a second late and snapshots in pieces;
    /// half of the answers wrong and snapshots of another session.
    #[arg(long, value_enum, default_value_t = Servers::Honest, help_heading = "Faults")]
    servers: Servers,

    /// The login of the snapshot server [default: empty].
    #[arg(long, value_name = "NAME", value_parser = login::<6>, help_heading = "Login")]
    username: Option<Text<6>>,
    /// Its password [default: empty].
    #[arg(long, value_name = "WORD", value_parser = login::<10>, help_heading = "Login")]
    password: Option<Text<10>>,

    #[command(flatten)]
    write: write::Options,

    #[command(flatten)]
    check: check::Options,
}

/// The form of the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shape {
    /// Some 20 levels a side; with --write 8,000 instruments, busier ones with more orders, 100,000 messages a second.
    Natural,
    /// One instrument gets everything, with --write 100,000 messages a second.
    Hot,
    /// Four instruments with thousands of levels.
    Deep,
    /// Four instruments; each order has a level to itself.
    OneOrderALevel,
    /// Four instruments; all orders of a side queue at one level.
    OneLevel,
}

/// Most that a network is asked to carry.
const PUBLISHED_INSTRUMENTS_MAX: u16 = 8_000;
const PUBLISHED_RATE_MAX: u32 = 200_000;

/// How the servers behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Servers {
    Honest,
    Dead,
    Slow,
    Lying,
}

fn day(text: &str) -> Result<Day, String> {
    if text == "continuous" {
        return Ok(Day::Continuous);
    }
    let wrong = || "it is \"continuous\" or a number of seconds from 1 to 86400".to_owned();
    match text.parse() {
        Ok(seconds @ 1..=86_400_u64) => Ok(Day::Whole(Schedule::compressed(seconds * SECOND_NS))),
        _ => Err(wrong()),
    }
}

fn step(text: &str) -> Result<Pace, String> {
    let parsed = text.split_once('@').and_then(|(idle, after)| {
        Some(Pace::Step {
            idle_per_second: idle.parse().ok().filter(|idle| *idle > 0)?,
            after_ns: time(after)?,
        })
    });
    parsed.ok_or_else(|| {
        "it is messages a second and seconds, such as 10@5 for 10/s in the first 5 s".to_owned()
    })
}

fn group(text: &str) -> Result<SocketAddrV4, String> {
    match text.parse::<SocketAddrV4>() {
        Ok(group) if group.ip().is_multicast() && group.port() != 0 => Ok(group),
        _ => Err("it is an IPv4 multicast group and port, such as 239.255.77.1:31001".to_owned()),
    }
}

/// Parts of a million.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a million at most"
)]
pub(crate) fn percent(text: &str) -> Result<u32, String> {
    let wrong = || "it is a number from 0 to 100, such as 0.5".to_owned();
    let percent: f64 = text.parse().map_err(|_| wrong())?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(wrong());
    }
    Ok((percent * 10_000.0).round() as u32)
}

/// Nanoseconds; 0 is never.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    time(text)
        .filter(|ns| *ns == 0 || *ns >= SECOND_NS / 1_000)
        .ok_or_else(|| "it is a number of seconds from 0.001 on, or 0".to_owned())
}

/// Nanoseconds of a decimal number of seconds.
fn time(text: &str) -> Option<u64> {
    let time = Duration::try_from_secs_f64(text.parse().ok()?).ok()?;
    u64::try_from(time.as_nanos()).ok()
}

fn interval(text: &str) -> Result<Interval, String> {
    let parsed = text.split_once("..").and_then(|(from, until)| {
        Some(Interval {
            from_ns: time(from)?,
            until_ns: match until {
                "" => u64::MAX,
                until => time(until)?,
            },
        })
    });
    parsed
        .filter(|interval| interval.from_ns < interval.until_ns)
        .ok_or_else(|| "it is FROM..UNTIL or FROM.. in seconds, such as 10..20".to_owned())
}

/// A field of SoupBinTCP's login.
fn login<const LENGTH: usize>(text: &str) -> Result<Text<LENGTH>, String> {
    if text.len() > LENGTH || !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(format!("it is up to {LENGTH} letters or digits"));
    }
    Ok(Text::from_padded(text.as_bytes()))
}

/// A name for a session that tells runs apart: a receiver of the last run's packets sees another session.
pub(crate) fn session(prefix: &str) -> SessionId {
    let name = format!("{prefix}{:06}", wall_clock() / SECOND_NS % 1_000_000);
    SessionId::from_padded(name.as_bytes())
}

/// A market whose clock is ours, so that its times mean something beside `ts_recv`.
pub(crate) fn market(seed: u64, instruments: u16, rate: u32) -> MarketConfig {
    MarketConfig {
        seed,
        instruments,
        messages_per_second: rate,
        open_ns: wall_clock() % DAY_NS,
        ..MarketConfig::default()
    }
}

impl Arguments {
    /// The market of the shape, with what was asked for in its place.
    fn market(&self, of_shape: MarketConfig) -> MarketConfig {
        MarketConfig {
            seed: self.seed.unwrap_or(1),
            instruments: self.instruments.unwrap_or(of_shape.instruments),
            messages_per_second: self.rate.unwrap_or(of_shape.messages_per_second),
            orders_per_instrument_max: self.orders.unwrap_or(of_shape.orders_per_instrument_max),
            pace: self.step.unwrap_or(of_shape.pace),
            day: self.day,
            ..of_shape
        }
    }

    /// The market to be published.
    fn published(&self) -> Result<MarketConfig, Failure> {
        let usual = market(1, 300, 1_500);
        let of_shape = match self.shape {
            Shape::Natural => usual,
            Shape::Hot => MarketConfig::single_hot(),
            Shape::Deep => MarketConfig::deep(),
            Shape::OneOrderALevel => MarketConfig::one_order_a_level(),
            Shape::OneLevel => MarketConfig::one_level(),
        };
        let market = self.market(MarketConfig {
            open_ns: usual.open_ns,
            messages_per_second: usual.messages_per_second,
            ..of_shape
        });
        let too_many = |option: &str, asked: u32, most: u32| {
            Failure::Usage(format!(
                "{option} {asked}: {most} at most are published; --write has no such limit"
            ))
        };
        if market.instruments > PUBLISHED_INSTRUMENTS_MAX {
            let (asked, most) = (market.instruments.into(), PUBLISHED_INSTRUMENTS_MAX.into());
            return Err(too_many("--instruments", asked, most));
        }
        if market.messages_per_second > PUBLISHED_RATE_MAX {
            let asked = market.messages_per_second;
            return Err(too_many("--rate", asked, PUBLISHED_RATE_MAX));
        }
        Ok(market)
    }

    /// The market to be written: its clock is its own, so that the same options give the same file.
    fn written(&self) -> MarketConfig {
        self.market(match self.shape {
            Shape::Natural => MarketConfig::full_size(),
            Shape::Hot => MarketConfig::single_hot(),
            Shape::Deep => MarketConfig::deep(),
            Shape::OneOrderALevel => MarketConfig::one_order_a_level(),
            Shape::OneLevel => MarketConfig::one_level(),
        })
    }

    fn venue(&self) -> Result<VenueConfig, Failure> {
        let mut config = VenueConfig::new(self.published()?, session("SIM"));
        config.end_of_session_ns = END_OF_SESSION_NS;
        config.request_server = self.request_server;
        config.snapshot_server = self.snapshot_server;
        config.peers.extend(&self.peer);
        config.username = self.username.unwrap_or_default();
        config.password = self.password.unwrap_or_default();
        config.servers = match self.servers {
            Servers::Honest => Behaviour::Honest,
            Servers::Dead => Behaviour::Dead,
            Servers::Slow => Behaviour::Slow,
            Servers::Lying => Behaviour::Lying,
        };
        config.faults = Faults {
            loss_ppm: self.loss,
            burst_messages: self.burst,
            burst_every_ns: self.burst_every.unwrap_or(0),
            duplicate_ppm: self.duplicate,
            reorder_ppm: self.reorder,
            corrupt_ppm: self.corrupt,
            lag_b_ns: self.lag_b * 1_000_000,
            dead_a: self.dead_a.clone(),
        };
        Ok(config)
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.check.is_asked() {
        return check::run(&arguments.check, arguments.seed, arguments.json);
    }
    if arguments.write.is_asked() {
        return write::run(arguments);
    }
    let config = arguments.venue()?;
    let signals = Signals::new()?;
    let books = arguments
        .books_out
        .as_deref()
        .map(Books::create)
        .transpose()?;
    let failed = |error: io::Error| Failure::Failed(error.to_string());
    let mut senders = Vec::new();
    for group in [arguments.line_a, arguments.line_b] {
        let sender = multicast_sender(group, arguments.interface).map_err(|error| {
            Failure::Failed(format!(
                "can't send to {group} on interface {}: {error}",
                arguments.interface
            ))
        })?;
        senders.push(sender);
    }
    let venue = Venue::open(&config).map_err(failed)?;
    announce(arguments, &config, &venue);
    let started = Instant::now();
    let running = venue.publish(multicast(senders)).map_err(failed)?;
    let bar = progress::status();
    let is_over = || {
        arguments
            .duration
            .is_some_and(|seconds| started.elapsed() >= Duration::from_secs(seconds))
    };
    while !signals.came() && !running.is_finished() && !is_over() {
        if io::stderr().is_terminal() {
            bar.set_message(format!(
                "{} messages, {} requests answered, {} snapshots",
                running.messages(),
                running.requests_answered(),
                running.snapshots()
            ));
            bar.tick();
        }
        thread::sleep(serving::LOOK);
    }
    bar.finish_and_clear();
    if !running.is_finished() {
        eprintln!(
            "the session ends; the servers stay for {} s",
            END_OF_SESSION_NS / SECOND_NS
        );
    }
    let summary = running
        .finish()
        .map_err(|error| Failure::Failed(format!("sending: {error}")))?;
    let took = started.elapsed();
    if let Some(books) = books {
        books.write(&summary.market)?;
    }
    if arguments.json {
        writeln!(io::stdout(), "{}", as_json(&config, &summary, took))
            .map_err(|error| Failure::output(&error))
    } else {
        eprint!("{}", as_text(&config, &summary, took));
        Ok(())
    }
}

fn announce(arguments: &Arguments, config: &VenueConfig, venue: &Venue) {
    let Arguments {
        line_a,
        line_b,
        interface,
        ..
    } = arguments;
    eprintln!("session:     {}", config.session);
    eprintln!("lines:       {line_a} and {line_b} on interface {interface}");
    match config.servers {
        Behaviour::Dead => eprintln!("servers:     none"),
        _ => {
            eprintln!("requests:    {}", venue.request_server());
            eprintln!("snapshots:   {}", venue.snapshot_server());
        }
    }
    eprintln!("Ctrl-C ends");
}

/// The file of the true books: made before anything runs, written at the end.
struct Books<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> Books<'a> {
    fn create(path: &'a Path) -> Result<Self, Failure> {
        match File::create(path) {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(Failure::Failed(format!("{}: {error}", path.display()))),
        }
    }

    fn write(self, market: &Market) -> Result<(), Failure> {
        let written = write_books(&mut BufWriter::new(self.file), market);
        written.map_err(|error| Failure::Failed(format!("{}: {error}", self.path.display())))
    }
}

fn write_books(out: &mut impl Write, market: &Market) -> io::Result<()> {
    writeln!(out, "symbol,side,level,px,size,count")?;
    for stock_locate in 1..=market.instruments() {
        let padded = market.symbol(stock_locate).copied().unwrap_or_default();
        let symbol = Text::<8>::from_padded(&padded);
        for (side, name) in [(Side::Bid, "bid"), (Side::Ask, "ask")] {
            let levels = market.levels(stock_locate, side, usize::MAX);
            for (at, level) in levels.enumerate() {
                let (px, size, count) = (level.px.0, level.size, level.count);
                writeln!(out, "{symbol},{name},{at},{px},{size},{count}")?;
            }
        }
    }
    out.flush()
}

/// What befell packets, in words.
fn fates(counters: &FaultCounters) -> [(&'static str, &'static str, Count); 10] {
    [
        ("packets", "packets", counters.handled),
        ("sent", "sent, copies included", counters.passed),
        ("lost", "lost", counters.lost),
        ("burst_lost", "lost in bursts", counters.burst_lost),
        ("dead", "lost while the line was dead", counters.dead),
        (
            "overflowed",
            "lost because too many were late",
            counters.overflowed,
        ),
        ("duplicated", "sent twice", counters.duplicated),
        (
            "reordered",
            "late, so that others overtook them",
            counters.reordered,
        ),
        ("delayed", "late as all of the line", counters.delayed),
        ("corrupted", "sent with another length", counters.corrupted),
    ]
}

fn as_json(config: &VenueConfig, summary: &Summary, took: Duration) -> Value {
    let lines = summary
        .lines
        .iter()
        .zip(["A", "B"])
        .map(|(counters, name)| {
            let mut line = json!({ "name": name });
            for (name, _, count) in fates(counters) {
                line[name] = json!({ "packets": count.packets, "messages": count.messages });
            }
            line
        });
    let requests = summary.requests.iter();
    let requests: serde_json::Map<String, Value> = requests
        .map(|(name, _, value)| (name.to_owned(), value.into()))
        .collect();
    json!({
        "session": config.session.to_string(),
        "seed": config.market.seed,
        "messages": summary.next_sequence - 1,
        "next_sequence": summary.next_sequence,
        "lines": lines.collect::<Value>(),
        "requests": requests,
        "snapshots": summary.snapshots,
        "instruments": summary.market.instruments(),
        "books_hash": hash(&summary.market),
        "late_ns_max": summary.sent.late_ns_max,
        "seconds": took.as_secs_f64(),
    })
}

fn as_text(config: &VenueConfig, summary: &Summary, took: Duration) -> String {
    let mut text = format!(
        "{:>12} messages of session {}\n",
        summary.next_sequence - 1,
        config.session
    );
    for (counters, name) in summary.lines.iter().zip(["A", "B"]) {
        text.push_str(&format!("line {name}\n"));
        for (key, words, count) in fates(counters) {
            if count.packets > 0 || matches!(key, "packets" | "sent") {
                text.push_str(&format!("{:>12} {words}", count.packets));
                text.push_str(&format!(" ({} messages)\n", count.messages));
            }
        }
    }
    text.push_str("servers\n");
    for (name, words, value) in summary.requests.iter() {
        if value > 0 || matches!(name, "requests" | "answered") {
            let words = words.trim_end_matches('.').to_lowercase();
            text.push_str(&format!("{value:>12} {words}\n"));
        }
    }
    text.push_str(&format!("{:>12} snapshots begun\n", summary.snapshots));
    text.push_str(&format!("books {}\n", hash(&summary.market)));
    text.push_str(&format!("{:>12.3} s\n", took.as_secs_f64()));
    text
}

fn hash(market: &Market) -> String {
    format!("{:016x}", market.state_hash())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_and_times_are_numbers_within_their_bounds() {
        assert_eq!(percent("0.5"), Ok(5_000));
        assert_eq!(percent("100"), Ok(1_000_000));
        assert_eq!(seconds("0.25"), Ok(SECOND_NS / 4));
        for wrong in ["-1", "101", "NaN", "1%", ""] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
        for wrong in ["0.0001", "-1", "inf", "1e20", "1s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_dead_time_has_a_beginning_and_perhaps_an_end() {
        let of = |from_ns, until_ns| Ok(Interval { from_ns, until_ns });
        assert_eq!(interval("1..2.5"), of(SECOND_NS, 2_500_000_000));
        assert_eq!(interval("10.."), of(10 * SECOND_NS, u64::MAX));
        for wrong in ["", "..", "..3", "3..3", "3..2", "3", "a..b"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }
}
