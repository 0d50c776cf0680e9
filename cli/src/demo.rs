//! `tickcast demo`: an exchange, the whole product and its page, in one process, without configuration.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tickcast_codecs::SessionId;
use tickcast_codecs::protocol::Protocol;
use tickcast_fanout::edge::Feed;
use tickcast_feed::Source;
use tickcast_feed::batch::Batch;
use tickcast_feed::receiver::wall_clock;
use tickcast_feed::snapshot::Share;
use tickcast_feed::socket::{JoinConfig, MulticastSocket};
use tickcast_replay::exchange::edge::{
    MarketChannel, Transmit, multicast, multicast_sender, run as transmit,
};
use tickcast_replay::exchange::repeater::IEX_DEEP;
use tickcast_replay::exchange::{
    LineConfig, Lines, Market, MarketConfig, PublisherConfig, Recorded, Repeater,
};

use crate::Failure;
use crate::config::{Channel, Line};
use crate::serve::{Receiving, shard};
use crate::serving::{self, Serving};

/// Silences of the recorded capture are cut to this.
const IDLE_MAX: Duration = Duration::from_millis(50);

/// A day, in nanoseconds.
const DAY_NS: u64 = 86_400_000_000_000;

/// How long to wait for a probe to come back from loopback.
const PROBE: Duration = Duration::from_millis(500);

/// Publish a simulated exchange and a recorded capture as multicast on loopback, receive them again, and
/// serve books, WebSocket and a page.
///
/// Two channels: XNAS, a generated market in TotalView-ITCH 5.0 over MoldUDP64, and IEXG, a capture of
/// IEX DEEP that starts over when it ends.  Where multicast isn't possible both are handed over within the
/// process.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where to serve.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Decides the generated market.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Instruments of the generated market.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u16).range(1..=8_000))]
    instruments: u16,
    /// Messages a second of the generated market.
    #[arg(long, value_name = "N", default_value_t = 1_500, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    rate: u32,
    /// Hand packets over within the process even where multicast is possible.
    #[arg(long)]
    no_multicast: bool,
    /// End after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u64>,
}

/// Groups of the administratively scoped block, on loopback.
const XNAS_GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 77, 1);
const IEXG_GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 77, 2);

fn channel(name: &str, protocol: Protocol, group: SocketAddrV4) -> Channel {
    let line = Line {
        name: "A".to_owned(),
        group: SocketAddr::V4(group),
        interface: IpAddr::V4(Ipv4Addr::LOCALHOST).into(),
        sources: Vec::new(),
        source_specific: false,
    };
    Channel::new(name, protocol, vec![line])
}

/// Whether a datagram sent to a group on loopback comes back.  Returns a port that was free.
fn probe() -> io::Result<u16> {
    // A port of our own: several demos on one machine don't hear each other.
    let port = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port();
    let group = SocketAddrV4::new(XNAS_GROUP, port);
    let join = JoinConfig::any_source(SocketAddr::V4(group), IpAddr::V4(Ipv4Addr::LOCALHOST));
    let mut receiver = MulticastSocket::open(&join)?;
    let mut batch = Batch::new();
    let sender = multicast_sender(group, Ipv4Addr::LOCALHOST)?;
    let deadline = Instant::now() + PROBE;
    while Instant::now() < deadline {
        sender.send(b"probe")?;
        if receiver.receive(&mut batch)? > 0 {
            return Ok(port);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "a datagram sent to a group on loopback didn't come back",
    ))
}

/// What is published, and on which channel.
enum Machine {
    Market(Box<MarketChannel>),
    Capture(Box<Repeater>),
}

impl Transmit for Machine {
    fn poll_transmit(&mut self, now: u64, packet: &mut Vec<u8>) -> Option<u8> {
        match self {
            Self::Market(machine) => machine.poll_transmit(now, packet),
            Self::Capture(machine) => Transmit::poll_transmit(&mut **machine, now, packet),
        }
    }

    fn poll_timeout(&self) -> Option<u64> {
        match self {
            Self::Market(machine) => machine.poll_timeout(),
            Self::Capture(machine) => Transmit::poll_timeout(&**machine),
        }
    }

    fn handle_end(&mut self, now: u64) {
        match self {
            Self::Market(machine) => machine.handle_end(now),
            Self::Capture(machine) => Transmit::handle_end(&mut **machine, now),
        }
    }
}

fn machines(arguments: &Arguments) -> Result<[(Channel, SocketAddrV4, Machine); 2], Failure> {
    let broken = |error: String| Failure::Failed(format!("the bundled capture: {error}"));
    let recorded = Recorded::from_capture(IEX_DEEP).map_err(|error| broken(error.to_string()))?;
    let idle = u64::try_from(IDLE_MAX.as_nanos()).unwrap_or(u64::MAX);
    let repeater = Repeater::new(recorded, idle, 0).map_err(|error| broken(error.to_string()))?;
    let market = Market::new(MarketConfig {
        seed: arguments.seed,
        instruments: arguments.instruments,
        messages_per_second: arguments.rate,
        // The market's clock is ours, so that its times mean something beside `ts_recv`.
        open_ns: wall_clock() % DAY_NS,
        ..MarketConfig::default()
    });
    // The session tells runs apart: a receiver of the last run's packets sees another session.
    let session = format!("DEMO{:06}", wall_clock() / 1_000_000_000 % 1_000_000);
    let line = LineConfig {
        publisher: PublisherConfig {
            session: SessionId::from_padded(session.as_bytes()),
            ..PublisherConfig::default()
        },
        ..LineConfig::default()
    };
    let lines = Lines::new(&[line], 0);
    let xnas = SocketAddrV4::new(XNAS_GROUP, 0);
    let iexg = SocketAddrV4::new(IEXG_GROUP, 0);
    Ok([
        (
            channel("totalview", Protocol::MoldUdp64Itch50, xnas),
            xnas,
            Machine::Market(Box::new(MarketChannel::new(market, lines))),
        ),
        (
            channel("deep", Protocol::IexTpDeep10, iexg),
            iexg,
            Machine::Capture(Box::new(repeater)),
        ),
    ])
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let listener = serving::listen(arguments.listen)?;
    let port = if arguments.no_multicast {
        None
    } else {
        match probe() {
            Ok(port) => Some(port),
            Err(error) => {
                eprintln!(
                    "multicast on loopback isn't possible here ({error}): packets are handed over within the process"
                );
                None
            }
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    let mut feeds: Vec<Feed> = Vec::new();
    for (number, (mut channel, group, mut machine)) in (0..).zip(machines(arguments)?) {
        let name = format!("{} exchange", channel.name);
        let stopped = Arc::clone(&stop);
        match port {
            Some(port) => {
                let group = SocketAddrV4::new(*group.ip(), port);
                for line in &mut channel.lines {
                    line.group = SocketAddr::V4(group);
                }
                let started = Receiving::start(&channel, number, &stop)?;
                threads.extend(started.threads);
                feeds.extend(started.feeds);
                let sender = multicast_sender(group, Ipv4Addr::LOCALHOST)
                    .map_err(|error| Failure::Failed(format!("{name}: {group}: {error}")))?;
                threads.push(Receiving::spawn(&name, move || {
                    transmit(&mut machine, multicast(vec![sender]), &stopped).map(drop)
                })?);
            }
            None => {
                let (mut shard, status, feed) = shard(
                    &channel.name,
                    &channel.shard(number, Share::WHOLE),
                    &channel.venue,
                );
                feeds.push(feed);
                threads.push(Receiving::spawn(&name, move || {
                    in_process(&mut machine, &stopped, &mut |payload| {
                        if let Some(payload) = payload {
                            // A malformed packet is in the counters.
                            let now = wall_clock();
                            let _ = shard.handle_packet(now, Source::Line(0), payload, now);
                        }
                        shard.handle_timeout(wall_clock());
                        shard.handle_requests();
                        status.store(|report| shard.report(report));
                    });
                    Ok(())
                })?);
            }
        }
    }
    let serving = Serving::start(listener, feeds)?;
    serving.announce("XNAS", "DEMO");
    eprintln!("Ctrl-C ends");
    let started = Instant::now();
    serving::wait_for_signal(|| {
        serving.is_finished()
            || threads.iter().any(Receiving::is_finished)
            || arguments
                .duration
                .is_some_and(|seconds| started.elapsed() >= Duration::from_secs(seconds))
    })?;
    let served = serving.stop();
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join()?;
    }
    served
}

/// Runs a machine in real time and hands its packets over; `None` = nothing is due, look at requests.
fn in_process(machine: &mut Machine, stop: &AtomicBool, take: &mut dyn FnMut(Option<&[u8]>)) {
    let clock = Instant::now();
    let mut packet = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let now = u64::try_from(clock.elapsed().as_nanos()).unwrap_or(u64::MAX);
        while machine.poll_transmit(now, &mut packet).is_some() {
            take(Some(&packet));
        }
        take(None);
        std::thread::sleep(Duration::from_millis(1));
    }
}
