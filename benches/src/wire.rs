//! Latency from the wire: a socket's kernel stamp to the books, and to a subscriber.
//!
//! An exchange sends MoldUDP64 on loopback multicast at a stated rate, in an open loop: each message has a time at
//! which it is due, and is sent then or as soon after as the sender can, whatever became of those before.  Latency is
//! counted from the kernel's receive stamp and from the time that was due; the second can't hide a stall of the
//! sender (coordinated omission).  All stamps are of the wall clock, which is what the kernel's are.
//!
//! The sockets, the arbiter, the books, the ring, the hub and its WebSocket are the product's; the loop around them
//! makes the calls of `feed`'s receiver, with stamps between.  Encoding and writing can't be told apart without a
//! stamp in the hub, so they are one stage.
//!
//! Invariant: a run's books are those of the same messages without a network, or the run fails.
//!
//! Not here: a network card, a second line, loss and its repair.

mod client;
mod limits;
mod measured;
mod packets;
mod receiver;
mod run;
mod sender;
mod stages;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tickcast_book::NoUpdates;
use tickcast_codecs::binaryfile;
use tickcast_codecs::protocol::Protocol;
use tickcast_feed::batch::Batch;
use tickcast_feed::limits::RECEIVE_BUFFER_BYTES;
use tickcast_feed::socket::{JoinConfig, MulticastSocket};
use tickcast_feed::{Shard, ShardConfig};
use tickcast_replay::exchange::edge::multicast_sender;

use self::measured::Measured;
use self::packets::{Packets, per_packet};
use self::receiver::{Arbitrated, Keeper};
use self::run::Run;
pub use self::stages::{Latency, Stage};
use crate::books::Books;
use crate::generate::{Generate, Generated};
use crate::limits::{TRIAL_HALVINGS, TRIAL_RATE_FIRST, TRIAL_SECONDS, WIRE_RATE_MAX};
use crate::threads::{Cores, ThreadUse};
use crate::{Failed, Step};

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// The group, of the administratively scoped block; the port is one that was free.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 79, 1);

/// How long to wait for a probe to come back from loopback.
const PROBE: Duration = Duration::from_millis(500);

/// A rate is one that the receiver keeps up with if its last packet was no later than this in its book...
const BEHIND_BOOK_NS_MAX: u64 = 5_000_000;

/// ... and the last update at the subscriber, whose server has timers of a millisecond.
const BEHIND_SUBSCRIBER_NS_MAX: u64 = 50_000_000;

/// Instruments busier than those that are subscribed to: the busiest few are most of the market.
const BUSIER: u16 = 10;

/// A rate at which messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// So many messages a second.
    PerSecond(u64),
    /// The highest at which nothing is lost.
    Max,
}

/// How far a message is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum To {
    /// To its book; nobody subscribes, and no server runs.
    Book,
    /// To a subscriber of some instruments.
    Subscriber,
}

/// How to measure.
#[derive(Debug, Clone)]
pub struct WireConfig {
    /// The rates, one after the other.
    pub rates: Vec<Rate>,
    /// How long at each.
    pub seconds: f64,
    /// The market that is sent.
    pub generate: Generate,
    /// Messages that are in the books before anything is measured; `None`: until every instrument has its first
    /// orders.
    pub warm_up: Option<u64>,
    /// Instruments that the subscriber has.
    pub subscribed: u16,
    /// Where the threads run.
    pub cores: Cores,
}

/// What one run found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WireRun {
    /// How far messages were followed.
    pub to: To,
    /// The rate that was asked for.
    pub asked: Rate,
    /// Messages a second, as they were sent.
    pub rate: f64,
    /// How long it took to send them.
    pub seconds: f64,
    /// Messages sent.
    pub messages: u64,
    /// In so many packets.
    pub packets: u64,
    /// Messages that didn't reach the receiver.
    pub lost: u64,
    /// Packets that the kernel dropped at the receiver's socket.
    pub kernel_drops: u64,
    /// How late the sender was at the worst, ns.
    pub late_ns_max: u64,
    /// The receive buffer that the kernel granted, bytes.
    pub receive_buffer_bytes: u64,
    /// Updates that the subscriber got.
    pub updates: u64,
    /// Times that a book of the subscriber fell back to a snapshot, because something was too slow.
    pub fallbacks: u64,
    /// Latency by stage, then sums.
    pub latencies: Vec<Latency>,
    /// What each thread got of its core.
    pub threads: Vec<ThreadUse>,
    /// How long the last message took to the end of its way, ns: whether the others kept up.
    pub behind_ns: u64,
    /// What limits this run, in words.
    pub limits: Vec<String>,
}

impl WireRun {
    /// Whether nothing was lost and nobody fell behind.
    fn keeps_up(&self) -> bool {
        let behind_max = match self.to {
            To::Book => BEHIND_BOOK_NS_MAX,
            To::Subscriber => BEHIND_SUBSCRIBER_NS_MAX,
        };
        self.lost == 0 && self.fallbacks == 0 && self.behind_ns <= behind_max
    }

    /// Whether less was sent than asked for.
    #[must_use]
    pub fn sender_is_late(&self) -> bool {
        match self.asked {
            Rate::PerSecond(asked) => self.rate < asked as f64 * 0.97,
            Rate::Max => false,
        }
    }

    /// A stage's latency.
    #[must_use]
    pub fn latency(&self, stage: Stage) -> Option<&Latency> {
        self.latencies.iter().find(|one| one.stage == stage)
    }

    /// From the kernel's stamp to the end of the way.
    #[must_use]
    pub fn from_wire(&self) -> Option<&Latency> {
        self.latency(match self.to {
            To::Book => Stage::WireToBook,
            To::Subscriber => Stage::WireToSubscriber,
        })
    }
}

/// Messages of all runs, and what is needed of them.
pub struct Wire<'a> {
    config: &'a WireConfig,
    generated: Generated,
    /// Messages before what is measured.
    warm_up: u64,
}

/// The two ends of the line.
struct Line {
    socket: MulticastSocket,
    sender: UdpSocket,
    receive_buffer_bytes: usize,
}

impl Line {
    fn open() -> io::Result<Self> {
        // A port of our own: several runs on one machine don't hear each other.
        let port = UdpSocket::bind((HERE, 0))?.local_addr()?.port();
        let group = SocketAddrV4::new(GROUP, port);
        let join = JoinConfig {
            receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
            ..JoinConfig::any_source(SocketAddr::V4(group), IpAddr::V4(HERE))
        };
        let socket = MulticastSocket::open(&join)?;
        Ok(Self {
            receive_buffer_bytes: socket.granted().receive_buffer_bytes,
            socket,
            sender: multicast_sender(group, HERE)?,
        })
    }

    /// Whether what is sent comes back.
    fn probe(&mut self) -> io::Result<()> {
        let mut batch = Batch::new();
        let deadline = Instant::now() + PROBE;
        while Instant::now() < deadline {
            self.sender.send(b"probe")?;
            if self.socket.receive(&mut batch)? > 0 {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "a datagram sent to a group on loopback didn't come back",
        ))
    }
}

/// Whether datagrams to a multicast group on loopback come back.
///
/// # Errors
///
/// What is wrong, and what to do.
pub fn probe() -> Result<(), Failed> {
    Line::open()
        .and_then(|mut line| line.probe())
        .map_err(|error| {
            Failed::new(format!(
                "multicast on loopback isn't possible here: {error}; the interface lo has to be up with a route for \
                 multicast (ip link set lo up; ip route add 239.0.0.0/8 dev lo)"
            ))
        })
}

impl<'a> Wire<'a> {
    /// Generates the messages.
    ///
    /// # Errors
    ///
    /// Why nothing can be sent.
    pub fn prepare(config: &'a WireConfig, progress: &dyn Fn(Step<'_>)) -> Result<Self, Failed> {
        probe()?;
        let generated = config.generate.run(progress);
        let messages = config.generate.messages;
        let Some(warm_up) = config.warm_up.or(generated.opening) else {
            return Err(Failed::new(format!(
                "{messages} messages are too few: {} instruments don't have their first orders by then",
                config.generate.instruments
            )));
        };
        if warm_up == 0 || warm_up >= messages {
            return Err(Failed::new(format!(
                "{messages} messages are too few: {warm_up} are in the books before anything is measured, and that is at least 1"
            )));
        }
        Ok(Self {
            config,
            generated,
            warm_up,
        })
    }

    /// Measures one rate.  `before` are the runs so far: the highest rate is looked for beyond them.
    ///
    /// # Errors
    ///
    /// What failed; or that the books of a run without loss aren't right.
    pub fn run(
        &self,
        to: To,
        rate: Rate,
        before: &[WireRun],
        progress: &dyn Fn(Step<'_>),
    ) -> Result<WireRun, Failed> {
        let Rate::PerSecond(rate) = rate else {
            let known = before.iter().filter(|run| run.to == to && run.keeps_up());
            let known = known.map(|run| whole(run.rate)).max();
            return self.highest(to, known.unwrap_or(0), progress);
        };
        self.once(to, rate, self.config.seconds)
    }

    /// The highest rate at which nothing is lost, and nobody falls behind.  `known`: one that is known to go well.
    fn highest(&self, to: To, known: u64, progress: &dyn Fn(Step<'_>)) -> Result<WireRun, Failed> {
        let attempt = |rate: u64, seconds| -> Result<(WireRun, bool), Failed> {
            let what = format!("trying {rate} messages/s");
            progress(Step {
                what: &what,
                done: 0,
                of: 0,
            });
            let run = self.once(to, rate, seconds)?;
            if run.keeps_up() {
                return Ok((run, true));
            }
            // Another program may have had the core: a rate fails twice or not at all.
            let again = self.once(to, rate, seconds)?;
            let went_well = again.keeps_up();
            Ok((again, went_well))
        };
        let (mut good, mut bad) = (known, TRIAL_RATE_FIRST.max(known.saturating_mul(2)));
        loop {
            let (run, went_well) = attempt(bad, TRIAL_SECONDS)?;
            if !went_well {
                break;
            }
            good = good.max(whole(run.rate));
            if run.sender_is_late() || bad >= WIRE_RATE_MAX {
                // Nothing is lost because no more can be sent.
                bad = good;
                break;
            }
            bad *= 2;
        }
        for _ in 0..TRIAL_HALVINGS {
            if bad.saturating_sub(good) * 16 < bad {
                break;
            }
            let rate = good.midpoint(bad);
            match attempt(rate, TRIAL_SECONDS)? {
                (_, true) => good = rate,
                (_, false) => bad = rate,
            }
        }
        // What went well for a moment may not for longer.
        let mut rate = if good == 0 { bad / 2 } else { good };
        loop {
            let (mut run, went_well) = attempt(rate, self.config.seconds)?;
            if went_well || rate < 10 {
                run.asked = Rate::Max;
                return Ok(run);
            }
            rate = rate / 10 * 9;
        }
    }

    fn once(&self, to: To, rate: u64, seconds: f64) -> Result<WireRun, Failed> {
        let mut messages = binaryfile::Messages::new(&self.generated.file);
        let warm_up = self.warm_up;
        let warm = Packets::of(&mut messages, 1, warm_up, u64::MAX / 2)?;
        let first = warm_up + 1;
        let available = self.config.generate.messages.saturating_sub(warm_up);
        let count = whole(rate as f64 * seconds).clamp(1, available.max(1));
        let packets = Packets::of(&mut messages, first, count, per_packet(rate))?;
        let line = Line::open().map_err(|error| Failed::new(format!("the line: {error}")))?;
        let run = Run {
            to,
            rate,
            first,
            warm: &warm,
            packets: &packets,
            symbols: self.subscribed(),
            cores: &self.config.cores,
        };
        let measured = run.measure(line)?;
        self.check(&measured, &warm, &packets)?;
        measured.result(&run)
    }

    fn subscribed(&self) -> &[String] {
        let symbols = &self.generated.symbols;
        let count = usize::from(self.config.subscribed).min(symbols.len());
        let from = usize::from(BUSIER).min(symbols.len() - count);
        symbols.get(from..from + count).unwrap_or_default()
    }

    /// A run without loss has to have the right books.
    fn check(&self, measured: &Measured, warm: &Packets, packets: &Packets) -> Result<(), Failed> {
        let received: u64 = measured
            .received
            .taken
            .iter()
            .map(|taken| taken.count)
            .sum();
        if received != packets.messages() {
            return Ok(());
        }
        let mut shard = Shard::new(&shard_config(), NoUpdates, Arbitrated::default(), 0);
        for (_, packet) in warm.iter().chain(packets.iter()) {
            shard.handle(0, packet, 0);
        }
        let expected = Books::of(shard.market());
        let found = measured.received.books;
        let faults = measured.received.faults;
        if found != expected || faults > 0 {
            return Err(Failed::new(format!(
                "the books are wrong though nothing was lost: {:016x} with {} orders in place of {:016x} with {}, {faults} faults",
                found.hash, found.orders, expected.hash, expected.orders
            )));
        }
        Ok(())
    }
}

fn shard_config() -> ShardConfig {
    ShardConfig::new(Protocol::MoldUdp64Itch50, 0, "XNAS")
}

/// A number of messages that fits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates and seconds are bounded"
)]
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}
