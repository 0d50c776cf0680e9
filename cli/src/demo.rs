//! `tickcast demo`: an exchange, the whole product and its page, in one process, without configuration.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tickcast_codecs::protocol::Protocol;
use tickcast_feed::batch::Batch;
use tickcast_feed::drive::Drive;
use tickcast_feed::receiver::wall_clock;
use tickcast_feed::socket::{JoinConfig, MulticastSocket};
use tickcast_feed::{Share, Source};
use tickcast_replay::exchange::edge::{multicast, multicast_sender, run as transmit};
use tickcast_replay::exchange::repeater::IEX_DEEP;
use tickcast_replay::exchange::{Faults, Recorded, Repeater, Venue, VenueConfig};

use crate::Failure;
use crate::config::{Channel, Line};
use crate::serve::{Receiving, Started};
use crate::serving::{self, Serving};
use crate::simulate;

/// Silences of the recorded capture are cut to this.
const IDLE_MAX: Duration = Duration::from_millis(50);

/// How long to wait for a probe to come back from loopback.
const PROBE: Duration = Duration::from_millis(500);

/// Publish a simulated exchange and a recorded capture as multicast on loopback, receive them again, and
/// serve books, WebSocket and a page.
///
/// Two channels: XNAS, a generated market in TotalView-ITCH 5.0 over MoldUDP64, on two lines that lose packets,
/// with servers that bring them back; and IEXG, a capture of IEX DEEP on one line that starts over when it
/// ends.  Where multicast isn't possible the lines are handed over within the process, with the same losses;
/// the servers are the same.
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
    /// Packets lost, on each line of the generated market by itself.
    #[arg(long, value_name = "PERCENT", default_value = "1", value_parser = simulate::percent)]
    loss: u32,
    /// Lose 200 messages in a row on both lines, each so many seconds; 0 is never.
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = simulate::seconds)]
    burst_every: u64,
    /// Hand packets over within the process even where multicast is possible.
    #[arg(long)]
    no_multicast: bool,
    /// End after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u64>,
}

/// Groups of the administratively scoped block, on loopback.
const XNAS_GROUPS: [Ipv4Addr; 2] = [
    Ipv4Addr::new(239, 255, 77, 1),
    Ipv4Addr::new(239, 255, 77, 2),
];
const IEXG_GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 77, 3);

/// Messages of a burst: what people see is how soon they are there again.
const BURST_MESSAGES: u64 = 200;

/// Packets that wait to be handed over within the process; more are lost, as they are in a socket's buffer.
const HANDOVER_PACKETS: usize = 4_096;

/// How long a thread that is handed packets waits for one before it looks at the time.
const HANDOVER_REST: Duration = Duration::from_millis(1);

/// Packets that it takes before it looks at the time again.
const HANDOVER_BATCH: usize = 64;

fn channel(name: &str, protocol: Protocol, groups: &[Ipv4Addr], port: u16) -> Channel {
    let lines = groups.iter().zip(["A", "B"]).map(|(group, name)| Line {
        name: name.to_owned(),
        group: SocketAddrV4::new(*group, port).into(),
        interface: IpAddr::V4(Ipv4Addr::LOCALHOST).into(),
        sources: Vec::new(),
        source_specific: false,
    });
    Channel::new(name, protocol, lines.collect())
}

/// Whether a datagram sent to a group on loopback comes back.  Returns a port that was free.
fn probe() -> io::Result<u16> {
    // A port of our own: several demos on one machine don't hear each other.
    let port = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port();
    let group = SocketAddrV4::new(XNAS_GROUPS[0], port);
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

impl Arguments {
    fn venue(&self) -> VenueConfig {
        let market = simulate::market(self.seed, self.instruments, self.rate);
        let mut config = VenueConfig::new(market, simulate::session("DEMO"));
        config.faults = Faults {
            loss_ppm: self.loss,
            burst_messages: BURST_MESSAGES,
            burst_every_ns: self.burst_every,
            ..Faults::default()
        };
        config
    }
}

fn repeater() -> Result<Repeater, Failure> {
    let broken = |error: String| Failure::Failed(format!("the bundled capture: {error}"));
    let recorded = Recorded::from_capture(IEX_DEEP).map_err(|error| broken(error.to_string()))?;
    let idle = u64::try_from(IDLE_MAX.as_nanos()).unwrap_or(u64::MAX);
    Repeater::new(recorded, idle, 0).map_err(|error| broken(error.to_string()))
}

/// Where a channel's packets go.
type Deliver = Box<dyn FnMut(u8, &[u8]) -> io::Result<()> + Send>;

/// Starts to receive a channel by multicast.
fn by_multicast(
    channel: &Channel,
    number: u16,
    stop: &Arc<AtomicBool>,
) -> Result<(Started, Deliver), Failure> {
    let started = Receiving::start(channel, number, stop)?;
    let mut senders = Vec::new();
    for line in &channel.lines {
        let SocketAddr::V4(group) = line.group else {
            continue;
        };
        let sender = multicast_sender(group, Ipv4Addr::LOCALHOST)
            .map_err(|error| Failure::Failed(format!("{}: {group}: {error}", channel.name)))?;
        senders.push(sender);
    }
    Ok((started, Box::new(multicast(senders))))
}

/// The same without a network between.
fn in_process(
    channel: &Channel,
    number: u16,
    stop: &Arc<AtomicBool>,
) -> Result<(Started, Deliver), Failure> {
    let mut started = Started::default();
    let drive = started.drive(channel, &channel.shard(number, Share::WHOLE))?;
    let (packets, handed) = mpsc::sync_channel(HANDOVER_PACKETS);
    let stopped = Arc::clone(stop);
    let receiving = Receiving::spawn(&channel.name, move || {
        take(drive, &handed, &stopped);
        Ok(())
    })?;
    started.threads.push(receiving);
    let deliver = move |line, packet: &[u8]| {
        // What doesn't fit is lost, which the receiver notices.
        let _ = packets.try_send((line, packet.to_vec()));
        Ok(())
    };
    Ok((started, Box::new(deliver)))
}

/// Takes what is handed over, until `stop`.
fn take(mut drive: Drive<()>, handed: &Receiver<(u8, Vec<u8>)>, stop: &AtomicBool) {
    let clock = drive.clock();
    let mut batch = Batch::new();
    while !stop.load(Ordering::Relaxed) {
        let first = match handed.recv_timeout(HANDOVER_REST) {
            Ok(packet) => Some(packet),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(HANDOVER_REST);
                None
            }
        };
        let more = handed.try_iter().take(HANDOVER_BATCH);
        for (line, payload) in first.into_iter().chain(more) {
            drive.handle_packet(clock.now(), Source::Line(line), &payload, wall_clock());
        }
        drive.turn(clock.now(), &mut batch);
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let listener = serving::listen(arguments.listen)?;
    let port = if arguments.no_multicast {
        None
    } else {
        probe()
            .inspect_err(|error| {
                eprintln!(
                    "multicast on loopback isn't possible here ({error}): packets are handed over within the process"
                );
            })
            .ok()
    };
    let start = match port {
        Some(_) => by_multicast,
        None => in_process,
    };
    let port = port.unwrap_or(0);
    let failed = |error: io::Error| Failure::Failed(format!("exchange: {error}"));
    let stop = Arc::new(AtomicBool::new(false));

    let venue = Venue::open(&arguments.venue()).map_err(failed)?;
    let mut totalview = channel("totalview", Protocol::MoldUdp64Itch50, &XNAS_GROUPS, port);
    totalview.recovery.request_servers = vec![venue.request_server()];
    totalview.recovery.snapshot_servers = vec![venue.snapshot_server()];
    let (received, deliver) = start(&totalview, 0, &stop)?;
    let (mut threads, mut feeds) = (received.threads, received.feeds);
    let venue = venue.publish(deliver).map_err(failed)?;

    let mut repeater = repeater()?;
    let deep = channel("deep", Protocol::IexTpDeep10, &[IEXG_GROUP], port);
    let (received, deliver) = start(&deep, 1, &stop)?;
    threads.extend(received.threads);
    feeds.extend(received.feeds);
    let stopped = Arc::clone(&stop);
    threads.push(Receiving::spawn("deep exchange", move || {
        transmit(&mut repeater, deliver, &stopped).map(drop)
    })?);

    let serving = Serving::start(listener, feeds)?;
    serving.announce("XNAS", "DEMO");
    eprintln!("Ctrl-C ends");
    let started = Instant::now();
    serving::wait_for_signal(|| {
        serving.is_finished()
            || venue.is_finished()
            || threads.iter().any(Receiving::is_finished)
            || arguments
                .duration
                .is_some_and(|seconds| started.elapsed() >= Duration::from_secs(seconds))
    })?;
    let served = serving.stop();
    let published = venue.finish().map_err(failed);
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join()?;
    }
    published?;
    served
}
