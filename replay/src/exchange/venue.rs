//! A whole exchange: a market on two lines with faults, a re-request server and a GLIMPSE server.
//!
//! What the program's `simulate` and `demo` run.  A [`Venue`] has its addresses and publishes nothing; what
//! [`Venue::publish`] gives, runs, until it is [finished](Running::finish) and tells what it did.
//!
//! The servers never tell what the lines won't: the market's next message is numbered and stored when it is
//! made, before it is due, so that a snapshot of the market and the number that it is joined at are of the same
//! moment ([`SharedTruth::snapshot`]).  For a snapshot the market is copied, and told from the copy.
//!
//! Not here: where packets go, which is the caller's choice ([`multicast`](super::edge::multicast) or within
//! the process).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

use tickcast_codecs::SessionId;
use tickcast_codecs::types::Text;

use super::edge::{Faulty, MarketChannel, Sent, SharedTruth, run};
use super::glimpse_server::{GlimpseConfig, Manner};
use super::lines::{LineConfig, Lines};
use super::market::{Market, MarketConfig};
use super::publisher::PublisherConfig;
use super::request_server::{Answering, RequestServerConfig, RequestServerCounters};
use super::servers::Servers;
use super::store::Store;
use crate::fault::{
    BurstLength, Corruption, Fault, FaultCounters, FaultPlan, Interval, Reorder, Repeated,
    moldudp64_messages,
};
use crate::limits::{VENUE_REQUESTS_PER_SECOND_MAX, VENUE_STORE_BYTES};

/// What the lines suffer.  Chances are in parts of a million and of each line by itself; times are since the
/// first message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults {
    /// A packet is lost.
    pub loss_ppm: u32,
    /// So many messages in a row are lost on both lines.
    pub burst_messages: u64,
    /// Each so often; 0 is never.
    pub burst_every_ns: u64,
    /// A packet comes twice.
    pub duplicate_ppm: u32,
    /// A packet is late, so that others overtake it.
    pub reorder_ppm: u32,
    /// A packet's length changes, so that no receiver can take it for another one.
    pub corrupt_ppm: u32,
    /// Every packet of line B is late by this.
    pub lag_b_ns: u64,
    /// Line A carries nothing in these times.
    pub dead_a: Vec<Interval>,
}

/// A copy of a packet comes this much later at most.
const DUPLICATE_NS_MAX: u64 = 1_000_000;
/// Each line's packets take up to so long, and stay in order: neither line is always first.
const JITTER_NS: u64 = 250_000;
/// A packet that others overtake is late by this on average: half of what receivers wait.
const REORDER_MEAN_NS: u64 = 500_000;

impl Faults {
    /// What line A, which is 0, or line B suffers.
    fn plan(&self, line: u8) -> FaultPlan {
        let is_a = line == 0;
        let length = BurstLength::Messages(self.burst_messages);
        FaultPlan {
            loss_ppm: self.loss_ppm,
            repeated: (self.burst_every_ns > 0).then_some(Repeated {
                every_ns: self.burst_every_ns,
                length,
            }),
            duplicate_ppm: self.duplicate_ppm,
            duplicate_delay_ns_max: DUPLICATE_NS_MAX,
            reorder_ppm: self.reorder_ppm,
            reorder: Reorder::Delay {
                mean_ns: REORDER_MEAN_NS,
            },
            corrupt_ppm: self.corrupt_ppm,
            corruption: Some(if is_a {
                Corruption::Truncation
            } else {
                Corruption::Extra
            }),
            jitter_ns: JITTER_NS,
            delay_ns: if is_a { 0 } else { self.lag_b_ns },
            dead: if is_a {
                self.dead_a.clone()
            } else {
                Vec::new()
            },
            ..FaultPlan::none()
        }
    }
}

/// How the servers behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behaviour {
    /// As the specifications say.
    #[default]
    Honest,
    /// They aren't there.
    Dead,
    /// Answers come a fifth of a second late, snapshots in pieces with pauses.
    Slow,
    /// Half of the answers are wrong, and snapshots name another session.
    Lying,
}

/// How late slow answers are: receivers have given up by then, and asked again.
const SLOW_ANSWER_NS: u64 = 200_000_000;
/// The pause between two kilobytes of a slow snapshot.
const SLOW_PAUSE_NS: u64 = 1_000_000;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VenueConfig {
    /// The market; its seed decides the faults as well.
    pub market: MarketConfig,
    /// The session.
    pub session: SessionId,
    /// How long the end of the session is told, and the servers stay.
    pub end_of_session_ns: u64,
    /// What the lines suffer.
    pub faults: Faults,
    /// How the servers behave.
    pub servers: Behaviour,
    /// Where the re-request server is.
    pub request_server: SocketAddr,
    /// Whom it answers.
    pub peers: Vec<IpAddr>,
    /// Where the GLIMPSE server is.
    pub snapshot_server: SocketAddr,
    /// Its login.
    pub username: Text<6>,
    /// Its password.
    pub password: Text<10>,
}

impl VenueConfig {
    /// A session without faults; honest servers at free ports of the loopback interface, for this host only,
    /// with an empty login.  The end of the session is told once.
    #[must_use]
    pub fn new(market: MarketConfig, session: SessionId) -> Self {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            market,
            session,
            end_of_session_ns: 0,
            faults: Faults::default(),
            servers: Behaviour::Honest,
            request_server: free,
            peers: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            snapshot_server: free,
            username: Text::default(),
            password: Text::default(),
        }
    }

    /// Lines A and B.  B's packets are smaller and go out sooner, so that few have a packet of A's as their equal.
    fn lines(&self) -> Lines {
        let line = |packet_bytes_max, flush_ns| LineConfig {
            publisher: PublisherConfig {
                session: self.session,
                packet_bytes_max,
                flush_ns,
                end_of_session_ns: self.end_of_session_ns,
                ..PublisherConfig::default()
            },
            offset_ns: 0,
        };
        Lines::new(&[line(1_400, 200_000), line(900, 150_000)], 0)
    }

    fn request_server(&self) -> RequestServerConfig {
        RequestServerConfig {
            requests_per_second_max: VENUE_REQUESTS_PER_SECOND_MAX,
            answering: match self.servers {
                Behaviour::Slow => Answering::Late {
                    by_ns: SLOW_ANSWER_NS,
                },
                Behaviour::Lying => Answering::Lying {
                    seed: self.market.seed,
                },
                Behaviour::Honest | Behaviour::Dead => Answering::Honest,
            },
            ..RequestServerConfig::new(self.session, self.peers.clone())
        }
    }

    fn snapshot_server(&self) -> GlimpseConfig {
        GlimpseConfig {
            session: self.session,
            username: self.username,
            password: self.password,
            manner: match self.servers {
                Behaviour::Slow => Manner::Slow {
                    pause_ns: SLOW_PAUSE_NS,
                },
                Behaviour::Lying => Manner::OtherSession,
                Behaviour::Honest | Behaviour::Dead => Manner::Honest,
            },
        }
    }
}

/// An exchange that has its addresses and publishes nothing yet.
pub struct Venue {
    machine: Faulty<MarketChannel>,
    servers: Servers,
    request_server: SocketAddr,
    snapshot_server: SocketAddr,
    snapshots: Arc<AtomicU64>,
}

impl Venue {
    /// Starts the servers.
    ///
    /// # Errors
    ///
    /// The system's with the address in it; [`io::ErrorKind::PermissionDenied`] for one that isn't private.
    pub fn open(config: &VenueConfig) -> io::Result<Self> {
        let store = Arc::new(Mutex::new(Store::new(VENUE_STORE_BYTES)));
        let market = Market::new(config.market);
        let channel = MarketChannel::with_store(market, config.lines(), Arc::clone(&store));
        let truth = channel.truth().clone();
        let seed = config.market.seed;
        let paths = [0, 1]
            .map(|line| {
                let seed = seed.wrapping_mul(2).wrapping_add(line.into());
                Fault::new(config.faults.plan(line), seed, moldudp64_messages)
            })
            .into();
        let mut venue = Self {
            machine: Faulty::new(channel, paths),
            servers: Servers::new(store, false),
            request_server: config.request_server,
            snapshot_server: config.snapshot_server,
            snapshots: Arc::default(),
        };
        if config.servers == Behaviour::Dead {
            return Ok(venue);
        }
        let named = |what: &str, address: SocketAddr, error: io::Error| {
            io::Error::new(error.kind(), format!("{what} server: {address}: {error}"))
        };
        venue.request_server = venue
            .servers
            .request(config.request_server, &config.request_server())
            .map_err(|error| named("request", config.request_server, error))?;
        let snapshots = Arc::clone(&venue.snapshots);
        let source = move || {
            snapshots.fetch_add(1, Ordering::Relaxed);
            truth.snapshot()
        };
        venue.snapshot_server = venue
            .servers
            .glimpse(
                config.snapshot_server,
                &config.snapshot_server(),
                Arc::new(source),
            )
            .map_err(|error| named("snapshot", config.snapshot_server, error))?;
        Ok(venue)
    }

    /// Where the re-request server is.
    #[must_use]
    pub fn request_server(&self) -> SocketAddr {
        self.request_server
    }

    /// Where the GLIMPSE server is.
    #[must_use]
    pub fn snapshot_server(&self) -> SocketAddr {
        self.snapshot_server
    }

    /// Publishes from now on, on a thread that hands each packet and its line to `deliver`.
    ///
    /// # Errors
    ///
    /// The system has no thread.
    pub fn publish(
        self,
        deliver: impl FnMut(u8, &[u8]) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Running> {
        let stop = Arc::new(AtomicBool::new(false));
        let truth = self.machine.machine().truth().clone();
        let (mut machine, stopped) = (self.machine, Arc::clone(&stop));
        let thread = Builder::new()
            .name("exchange".to_owned())
            .spawn(move || (run(&mut machine, deliver, &stopped), machine))?;
        Ok(Running {
            thread,
            stop,
            truth,
            servers: self.servers,
            snapshots: self.snapshots,
        })
    }
}

/// An exchange that publishes.
pub struct Running {
    thread: JoinHandle<(io::Result<Sent>, Faulty<MarketChannel>)>,
    stop: Arc<AtomicBool>,
    truth: SharedTruth,
    servers: Servers,
    snapshots: Arc<AtomicU64>,
}

/// What an exchange did.
#[derive(Debug)]
pub struct Summary {
    /// The market, all of whose messages were published.
    pub market: Market,
    /// The number that the next message would have had.
    pub next_sequence: u64,
    /// What was sent.
    pub sent: Sent,
    /// What befell each line's packets.
    pub lines: Vec<FaultCounters>,
    /// What the re-request server counted.
    pub requests: RequestServerCounters,
    /// Snapshots that were begun.
    pub snapshots: u64,
}

impl Running {
    /// Whether the market's day is over and everybody was told, or sending failed.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Messages so far.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.truth.look().next_sequence() - 1
    }

    /// Requests that were answered so far.
    #[must_use]
    pub fn requests_answered(&self) -> u64 {
        self.servers.request_counters().unwrap_or_default().answered
    }

    /// Snapshots that were begun so far.
    #[must_use]
    pub fn snapshots(&self) -> u64 {
        self.snapshots.load(Ordering::Relaxed)
    }

    /// Ends the session, waits until it was told for as long as configured, then stops the servers.
    ///
    /// # Errors
    ///
    /// What ended the sending before.
    pub fn finish(mut self) -> io::Result<Summary> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        let (sent, machine) = self
            .thread
            .join()
            .map_err(|_| io::Error::other("the exchange's thread panicked"))?;
        self.servers.stop();
        let truth = self.truth.look();
        Ok(Summary {
            market: truth.market().clone(),
            next_sequence: truth.next_sequence(),
            sent: sent?,
            lines: machine
                .paths()
                .iter()
                .map(|path| *path.counters())
                .collect(),
            requests: self.servers.request_counters().unwrap_or_default(),
            snapshots: self.snapshots.load(Ordering::Relaxed),
        })
    }
}
