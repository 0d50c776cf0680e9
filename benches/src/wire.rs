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
mod packets;
mod receiver;
mod sender;
mod stages;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tickcast_book::NoUpdates;
use tickcast_book::link::{self, WhenFull};
use tickcast_codecs::binaryfile;
use tickcast_codecs::protocol::Protocol;
use tickcast_fanout::edge::{Feed, Reactor};
use tickcast_fanout::{ChannelInfo, HubConfig, HubStatus, ServerInfo};
use tickcast_feed::batch::Batch;
use tickcast_feed::counters::ChannelStatus;
use tickcast_feed::drive::Drive;
use tickcast_feed::limits::{RECEIVE_BUFFER_BYTES, RING_SLOTS};
use tickcast_feed::receiver::Clock;
use tickcast_feed::socket::{JoinConfig, MulticastSocket};
use tickcast_feed::{Shard, ShardConfig};
use tickcast_replay::exchange::edge::multicast_sender;
use tokio::sync::watch;

use self::client::{Got, Heard};
use self::packets::{Packets, Schedule, per_packet};
use self::receiver::{Arbitrated, Keeper, Received, Reception, Taken};
use self::sender::Sent;
use self::stages::Collector;
pub use self::stages::{Latency, Stage};
use crate::books::Books;
use crate::generate::{Generate, Generated};
use crate::limits::{SLICES, TRIAL_HALVINGS, TRIAL_RATE_FIRST, TRIAL_SECONDS, WIRE_RATE_MAX};
use crate::stamps::wall_clock;
use crate::threads::{Cores, Followed, ThreadUse};
use crate::{Failed, Step};

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// The group, of the administratively scoped block; the port is one that was free.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 79, 1);

/// How long to wait for a probe to come back from loopback.
const PROBE: Duration = Duration::from_millis(500);

/// The first message is due so long after everybody is ready.
const LEAD_NS: u64 = 20_000_000;

/// Nothing new for so long: nothing comes any more.
const QUIET: Duration = Duration::from_millis(200);

/// How long a thread may take to get ready; only a failure waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often whoever waits for threads looks.
const LOOK: Duration = Duration::from_millis(2);

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

/// The threads of a run end with whoever started them.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
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

    /// Measures one rate.
    ///
    /// # Errors
    ///
    /// What failed; or that the books of a run without loss aren't right.
    pub fn run(&self, to: To, rate: Rate, progress: &dyn Fn(Step<'_>)) -> Result<WireRun, Failed> {
        match rate {
            Rate::PerSecond(rate) => self.once(to, rate, self.config.seconds),
            Rate::Max => self.highest(to, progress),
        }
    }

    /// The highest rate at which nothing is lost, and nobody falls behind.
    fn highest(&self, to: To, progress: &dyn Fn(Step<'_>)) -> Result<WireRun, Failed> {
        let mut trials = 0;
        let mut attempt = |rate: u64| {
            trials += 1;
            progress(Step {
                what: "looking for the highest rate",
                done: trials,
                of: 0,
            });
            self.once(to, rate, TRIAL_SECONDS)
        };
        let (mut good, mut bad) = (0, TRIAL_RATE_FIRST);
        loop {
            let run = attempt(bad)?;
            if !run.keeps_up() {
                break;
            }
            good = whole(run.rate);
            if run.sender_is_late() || bad >= WIRE_RATE_MAX {
                // Nothing is lost because no more can be sent.
                bad = good;
                break;
            }
            bad *= 2;
        }
        for _ in 0..TRIAL_HALVINGS {
            let rate = good.midpoint(bad);
            if bad.saturating_sub(good) * 16 < bad {
                break;
            }
            match attempt(rate)?.keeps_up() {
                true => good = rate,
                false => bad = rate,
            }
        }
        // What went well for a moment may not for longer.
        let mut rate = if good == 0 { bad / 2 } else { good };
        loop {
            let mut run = self.once(to, rate, self.config.seconds)?;
            if run.keeps_up() || rate < 10 {
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

/// Who takes which core.
struct Seats {
    receiver: Option<usize>,
    reactor: Option<usize>,
    client: Option<usize>,
    sender: Option<usize>,
    receiver_alone: bool,
    sender_alone: bool,
    threads: usize,
}

impl Seats {
    fn of(to: To, cores: &Cores) -> Self {
        let threads = match to {
            To::Book => 2,
            To::Subscriber => 4,
        };
        Self {
            receiver: cores.seat(0),
            reactor: cores.seat(1),
            client: cores.seat(2),
            sender: cores.seat(threads - 1),
            receiver_alone: cores.count() > 1,
            sender_alone: cores.count() >= threads,
            threads,
        }
    }
}

/// One run.
struct Run<'a> {
    to: To,
    rate: u64,
    first: u64,
    warm: &'a Packets,
    packets: &'a Packets,
    symbols: &'a [String],
    cores: &'a Cores,
}

/// The stamps of a run.
struct Measured {
    received: Received,
    sent: Sent,
    heard: Heard,
    schedule: Schedule,
    threads: Vec<ThreadUse>,
    receive_buffer_bytes: usize,
}

/// A server, and the channel whose books it serves.
struct Served {
    address: SocketAddr,
    drive: Drive<Arbitrated>,
    /// Gone, the server ends.
    stop: watch::Sender<bool>,
}

impl Run<'_> {
    /// Starts the threads, lets the sender send, and waits until all that comes has come.
    fn measure(&self, line: Line) -> Result<Measured, Failed> {
        let Line {
            mut socket,
            sender,
            receive_buffer_bytes,
        } = line;
        let (receiving, hearing) = <(receiver::Progress, client::Progress)>::default();
        let stop = &AtomicBool::new(false);
        let (seats, clock) = (Seats::of(self.to, self.cores), Clock::new());
        let (follow, followed) = mpsc::channel();
        let (go, schedules) = mpsc::channel();
        thread::scope(|scope| {
            let _at_end = StopAtEnd(stop);
            let tell = follow.clone();
            let sending = scope.spawn(move || -> Result<_, Failed> {
                let mut own = Followed::pinned("sender", seats.sender);
                let _ = tell.send(None);
                let Ok(schedule) = schedules.recv() else {
                    return Err(Failed::new("nothing was sent"));
                };
                let began = Instant::now();
                own.begin();
                let sent = sender::send(&sender, self.packets, schedule, seats.sender_alone, stop)
                    .map_err(|error| Failed::new(format!("sending: {error}")))?;
                Ok((sent, own.end(crate::stamps::ns(began.elapsed()))))
            });
            let reception = Reception {
                clock,
                socket: &mut socket,
                warm: self.warm,
                packets_max: self.packets.len(),
                alone: seats.receiver_alone,
                progress: &receiving,
                stop,
            };
            let tell = follow.clone();
            let begin = move || {
                let _ = tell.send(Some(Followed::pinned("receiver", seats.receiver)));
            };
            let mut serving = None;
            let receiver = match self.to {
                To::Book => {
                    let shard = Shard::new(
                        &shard_config(),
                        NoUpdates,
                        Arbitrated::default(),
                        clock.now(),
                    );
                    scope.spawn(move || {
                        begin();
                        receiver::receive(shard, reception)
                    })
                }
                To::Subscriber => {
                    let served = serve(scope, clock, seats.reactor, &follow)?;
                    serving = Some((served.address, served.stop));
                    let drive = served.drive;
                    scope.spawn(move || {
                        begin();
                        receiver::receive(drive, reception)
                    })
                }
            };
            wait(|| receiver.is_finished() || receiving.warm.load(Ordering::Acquire))?;
            let subscriber = serving.as_ref().map(|(address, _)| {
                let (address, tell) = (*address, follow.clone());
                let hearing = &hearing;
                scope.spawn(move || {
                    let _ = tell.send(Some(Followed::pinned("client", seats.client)));
                    client::subscribe(address, self.symbols, hearing, stop)
                })
            });
            if let Some(subscriber) = &subscriber {
                wait(|| subscriber.is_finished() || hearing.ready.load(Ordering::Acquire))?;
            }
            let mut threads: Vec<Followed> = Vec::new();
            for _ in 0..seats.threads {
                threads.extend(followed.recv_timeout(PATIENCE).ok().flatten());
            }
            let began = Instant::now();
            threads.iter_mut().for_each(Followed::begin);
            let schedule = Schedule {
                start: wall_clock() + LEAD_NS,
                first: self.first,
                rate: self.rate,
            };
            let _ = go.send(schedule);
            let has_ended = || {
                receiver.is_finished() || subscriber.as_ref().is_some_and(|one| one.is_finished())
            };
            while !sending.is_finished() && !has_ended() {
                thread::sleep(LOOK);
            }
            let took = crate::stamps::ns(began.elapsed());
            let mut threads: Vec<ThreadUse> = threads.iter().map(|one| one.end(took)).collect();
            if !has_ended() {
                self.settle(&receiving, &hearing);
            }
            stop.store(true, Ordering::Relaxed);
            let heard = subscriber.map_or_else(|| Ok(Heard::default()), |one| joined(one.join()));
            let received = receiver.join().map_err(|_| panicked())?;
            let received = received.map_err(|error| Failed::new(format!("receiving: {error}")))?;
            let heard = heard?;
            drop(serving);
            let (sent, sender) = joined(sending.join())?;
            threads.push(sender);
            Ok(Measured {
                received,
                sent,
                heard,
                schedule,
                threads,
                receive_buffer_bytes,
            })
        })
    }

    /// Waits until all has come, or nothing comes any more.
    fn settle(&self, receiving: &receiver::Progress, hearing: &client::Progress) {
        let all = self.packets.messages();
        let now = || {
            (
                receiving.messages.load(Ordering::Relaxed),
                hearing.updates.load(Ordering::Relaxed),
            )
        };
        let deadline = Instant::now() + PATIENCE;
        let (mut seen, mut since) = (now(), Instant::now());
        while since.elapsed() < QUIET && Instant::now() < deadline {
            if self.to == To::Book && seen.0 >= all {
                return;
            }
            thread::sleep(LOOK);
            let new = now();
            if new != seen {
                (seen, since) = (new, Instant::now());
            }
        }
    }
}

/// Starts a reactor for one channel.
fn serve<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    clock: Clock,
    core: Option<usize>,
    follow: &mpsc::Sender<Option<Followed>>,
) -> Result<Served, Failed> {
    let failed = |error: io::Error| Failed::new(format!("the server: {error}"));
    let listener = TcpListener::bind((HERE, 0)).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let (publisher, subscription) = link::link(RING_SLOTS, WhenFull::Overrun);
    let status = Arc::new(ChannelStatus::default());
    let known = Arc::clone(&status);
    let feed = Feed {
        info: ChannelInfo {
            name: "bench".to_owned(),
            venue: "XNAS".to_owned(),
            by_order: true,
        },
        subscription,
        report: Arc::new(move || known.load()),
    };
    let shard = Shard::new(
        &shard_config(),
        publisher,
        Arbitrated::default(),
        clock.now(),
    );
    let (stop, stopped) = watch::channel(false);
    let follow = follow.clone();
    scope.spawn(move || {
        let _ = follow.send(Some(Followed::pinned("hub", core)));
        let hub = Arc::new(HubStatus::default());
        // What ends it early shows at the subscriber.
        Reactor::run(
            listener,
            HubConfig::default(),
            ServerInfo::default(),
            vec![feed],
            hub,
            stopped,
        )
    });
    Ok(Served {
        address,
        drive: Drive::new(shard, clock, None, None, status),
        stop,
    })
}

fn panicked() -> Failed {
    Failed::new("a thread of the measurement panicked")
}

fn joined<R>(result: thread::Result<Result<R, Failed>>) -> Result<R, Failed> {
    result.unwrap_or_else(|_| Err(panicked()))
}

/// Waits for a thread.
fn wait(is_ready: impl Fn() -> bool) -> Result<(), Failed> {
    let deadline = Instant::now() + PATIENCE;
    while !is_ready() {
        if Instant::now() > deadline {
            return Err(Failed::new(format!(
                "a thread wasn't ready after {} s",
                PATIENCE.as_secs()
            )));
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

impl Measured {
    /// From stamps to figures.
    fn result(self, run: &Run<'_>) -> Result<WireRun, Failed> {
        let received: u64 = self.received.taken.iter().map(|taken| taken.count).sum();
        let messages = run.packets.messages();
        let last_due = run
            .packets
            .places()
            .last()
            .map_or(0, |place| self.schedule.due(place.first + place.count));
        let took = self
            .sent
            .last
            .max(last_due)
            .saturating_sub(self.schedule.start);
        let seconds = took as f64 / 1e9;
        let latencies = match run.to {
            To::Book => self.to_books()?,
            To::Subscriber => self.to_subscriber()?,
        };
        let mut result = WireRun {
            to: run.to,
            asked: Rate::PerSecond(run.rate),
            rate: messages as f64 / seconds.max(1e-9),
            seconds,
            messages,
            packets: run.packets.len() as u64,
            lost: messages.saturating_sub(received),
            kernel_drops: self.received.kernel_drops,
            late_ns_max: self.sent.late_ns_max,
            receive_buffer_bytes: self.receive_buffer_bytes as u64,
            updates: self.heard.got.len() as u64,
            fallbacks: self.heard.fallbacks,
            latencies,
            threads: self.threads.clone(),
            behind_ns: self.behind(run.to),
            limits: Vec::new(),
        };
        result.limits = limits::of(&result, run);
        Ok(result)
    }

    /// In which part of the run a message was due.
    fn part(&self, sequence: u64) -> usize {
        let last = self.received.taken.last().map_or(0, |taken| taken.first);
        let first = self.schedule.first;
        let all = last.saturating_sub(first) + 1;
        let at = sequence.saturating_sub(first) * SLICES as u64 / all;
        usize::try_from(at).unwrap_or(0).min(SLICES - 1)
    }

    fn to_books(&self) -> Result<Vec<Latency>, Failed> {
        let mut stages = Collectors::new(&BOOK_STAGES, &[Stage::WireToBook, Stage::DueToBook])?;
        for taken in &self.received.taken {
            let due = self.schedule.due(taken.first);
            let part = self.part(taken.first);
            let stamps = stamps_to_book(due, taken);
            stages.add(&stamps, (taken.kernel, due, taken.done), taken.count, part);
        }
        Ok(stages.finish())
    }

    fn to_subscriber(&self) -> Result<Vec<Latency>, Failed> {
        let sums = [Stage::WireToSubscriber, Stage::DueToSubscriber];
        let mut stages = Collectors::new(&SUBSCRIBER_STAGES, &sums)?;
        for got in &self.heard.got {
            let Some(taken) = self.taken(got) else {
                continue;
            };
            let due = self.schedule.due(taken.first);
            // A kernel that doesn't stamp TCP leaves the client's part with the writing.
            let written = got.written.unwrap_or(got.read);
            let [a, b, c, d, e, f] = stamps_to_book(due, taken);
            let stamps = [a, b, c, d, e, f, got.ts_out.max(f), written, got.read];
            let part = self.part(got.sequence);
            stages.add(&stamps, (taken.kernel, due, got.read), 1, part);
        }
        Ok(stages.finish())
    }

    /// The packet that an update is of; `None` if it is of the warm-up.
    fn taken(&self, got: &Got) -> Option<&Taken> {
        let all = &self.received.taken;
        let after = all.partition_point(|taken| taken.first <= got.sequence);
        let taken = all.get(after.checked_sub(1)?)?;
        (got.sequence < taken.first + taken.count).then_some(taken)
    }

    /// How long the last message took to the end of its way.
    fn behind(&self, to: To) -> u64 {
        match to {
            To::Book => {
                let last = self.received.taken.last();
                last.map_or(0, |taken| taken.done.saturating_sub(taken.kernel))
            }
            To::Subscriber => {
                let last = self.heard.got.iter().rev().find_map(|got| {
                    let taken = self.taken(got)?;
                    Some(got.read.saturating_sub(taken.kernel))
                });
                last.unwrap_or(0)
            }
        }
    }
}

/// The stages to a book, in order.
const BOOK_STAGES: [Stage; 5] = [
    Stage::Send,
    Stage::Socket,
    Stage::Batch,
    Stage::Arbiter,
    Stage::Book,
];

/// The stages to a subscriber, in order.
const SUBSCRIBER_STAGES: [Stage; 8] = [
    Stage::Send,
    Stage::Socket,
    Stage::Batch,
    Stage::Arbiter,
    Stage::Book,
    Stage::Ring,
    Stage::Write,
    Stage::Client,
];

/// Where one stage ends and the next begins.
fn stamps_to_book(due: u64, taken: &Taken) -> [u64; 6] {
    [
        due,
        taken.kernel,
        taken.received,
        taken.begun,
        taken.arbitrated,
        taken.done,
    ]
}

/// All stages of a run, and their sums: from the kernel's stamp, from when it was due.
struct Collectors {
    stages: Vec<Collector>,
    sums: Vec<Collector>,
}

impl Collectors {
    fn new(stages: &[Stage], sums: &[Stage]) -> Result<Self, Failed> {
        let of = |stages: &[Stage]| -> Result<Vec<_>, Failed> {
            stages.iter().map(|stage| Collector::new(*stage)).collect()
        };
        Ok(Self {
            stages: of(stages)?,
            sums: of(sums)?,
        })
    }

    fn add(
        &mut self,
        stamps: &[u64],
        (kernel, due, end): (u64, u64, u64),
        times: u64,
        part: usize,
    ) {
        for (stage, pair) in self.stages.iter_mut().zip(stamps.windows(2)) {
            if let &[from, to] = pair {
                stage.add(from, to, times, part);
            }
        }
        for (sum, from) in self.sums.iter_mut().zip([kernel, due]) {
            sum.add(from, end, times, part);
        }
    }

    fn finish(self) -> Vec<Latency> {
        let all = self.stages.into_iter().chain(self.sums);
        all.map(Collector::finish).collect()
    }
}
