//! The threads of a run: who runs where, and in which order they begin and end.
//!
//! Whatever fails, all of them have ended when [`Run::measure`] is back.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tickcast_book::NoUpdates;
use tickcast_book::link::{self, WhenFull};
use tickcast_fanout::edge::{Feed, Reactor};
use tickcast_fanout::{ChannelInfo, HubConfig, HubStatus, ServerInfo};
use tickcast_feed::Shard;
use tickcast_feed::counters::ChannelStatus;
use tickcast_feed::drive::Drive;
use tickcast_feed::limits::RING_SLOTS;
use tickcast_feed::receiver::Clock;
use tokio::sync::watch;

use super::client::{self, Heard};
use super::measured::Measured;
use super::packets::{Packets, Schedule};
use super::receiver::{self, Arbitrated, Reception};
use super::{HERE, Line, To, sender, shard_config};
use crate::Failed;
use crate::stamps::{ns, wall_clock};
use crate::threads::{Cores, Followed, ThreadUse};

/// The first message is due so long after everybody is ready.
const LEAD_NS: u64 = 20_000_000;

/// Nothing new for so long: nothing comes any more.
const QUIET: Duration = Duration::from_millis(200);

/// How long a thread may take to get ready; only a failure waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often whoever waits for threads looks.
const LOOK: Duration = Duration::from_millis(2);

/// The threads of a run end with whoever started them.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Who takes which core.
pub(super) struct Seats {
    pub(super) receiver: Option<usize>,
    pub(super) reactor: Option<usize>,
    pub(super) client: Option<usize>,
    pub(super) sender: Option<usize>,
    pub(super) receiver_alone: bool,
    pub(super) sender_alone: bool,
    pub(super) threads: usize,
}

impl Seats {
    pub(super) fn of(to: To, cores: &Cores) -> Self {
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
pub(super) struct Run<'a> {
    pub(super) to: To,
    pub(super) rate: u64,
    pub(super) first: u64,
    pub(super) warm: &'a Packets,
    pub(super) packets: &'a Packets,
    pub(super) symbols: &'a [String],
    pub(super) cores: &'a Cores,
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
    pub(super) fn measure(&self, line: Line) -> Result<Measured, Failed> {
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
                Ok((sent, own.end(ns(began.elapsed()))))
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
            let took = ns(began.elapsed());
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
