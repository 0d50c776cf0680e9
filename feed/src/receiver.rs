//! The pinned receive loop of a channel: an edge.  It moves packets from sockets to shards and decides
//! nothing.
//!
//! With one shard a channel the receiver *is* the shard ([`Receiver`]): receive, decode, book, publish, run
//! to completion.  With more it hands each packet to all of them ([`Splitter`]) and keeps no book.  Either
//! way it never waits for anybody but the network.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::batch::Batch;
use crate::drive::Drive;
use crate::limits::{REPORT_EVERY_NS, REST_NS_MAX};
use crate::shard::Observer;
use crate::shards::Splitter;
use crate::socket::MulticastSocket;

/// How a thread waits when nothing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wait {
    /// In the kernel, at once.
    #[default]
    Sleep,
    /// Not for a while after the last packet, then in the kernel.
    Adaptive {
        /// How long it looks again and again.
        spin: Duration,
    },
    /// Never: the core is its own.
    Spin,
}

/// Nanoseconds since the Unix epoch.
#[must_use]
pub fn wall_clock() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        })
}

/// Monotonic time, in nanoseconds since it was made.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// Starts at 0.
    #[must_use]
    pub fn new() -> Self {
        Self(Instant::now())
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// What was lost or refused at a line's socket.  Written by the receiver, read by every shard.
#[derive(Debug, Default)]
pub struct LineCounters {
    /// Datagrams that the kernel dropped, because the receive buffer was full; joined ones count as one.
    pub kernel_drops: AtomicU64,
    /// Datagrams from an address that isn't one of the line's sources.
    pub foreign_source: AtomicU64,
    /// Datagrams longer than what is taken.
    pub too_long: AtomicU64,
}

/// A channel's lines: their sockets, and what is counted at them.
#[derive(Debug)]
pub struct Lines {
    sockets: Vec<MulticastSocket>,
    counters: Arc<[LineCounters]>,
}

impl Lines {
    /// The lines of a channel, in their order; at most 255 are used.
    #[must_use]
    pub fn new(mut sockets: Vec<MulticastSocket>) -> Self {
        sockets.truncate(usize::from(u8::MAX));
        let counters = sockets.iter().map(|_| LineCounters::default()).collect();
        Self { sockets, counters }
    }

    /// The sockets.
    #[must_use]
    pub fn sockets(&self) -> &[MulticastSocket] {
        &self.sockets
    }

    /// What is counted, for the shards.
    #[must_use]
    pub fn counters(&self) -> Arc<[LineCounters]> {
        Arc::clone(&self.counters)
    }

    /// Receives one batch of each line; says how many datagrams came.
    fn receive(
        &mut self,
        batch: &mut Batch,
        mut each: impl FnMut(u8, &Batch),
    ) -> io::Result<usize> {
        let mut came = 0;
        for ((line, socket), counters) in (0..).zip(&mut self.sockets).zip(&*self.counters) {
            let count = socket.receive(batch)?;
            if count == 0 {
                continue;
            }
            came += count;
            each(line, batch);
            if batch.is_full() {
                // It is behind, and may have lost something.
                count_drops(socket, counters)?;
            }
        }
        Ok(came)
    }

    /// Takes over what the sockets counted.
    fn count(&mut self) -> io::Result<()> {
        for (socket, counters) in self.sockets.iter_mut().zip(&*self.counters) {
            count_drops(socket, counters)?;
            let refused = socket.refused();
            let store = |counter: &AtomicU64, value| counter.store(value, Ordering::Relaxed);
            store(&counters.foreign_source, refused.foreign);
            store(&counters.too_long, refused.too_long);
        }
        Ok(())
    }

    /// Copies of the sockets to wait for.
    fn waited_for(&self) -> io::Result<Vec<OwnedFd>> {
        self.sockets
            .iter()
            .map(|socket| socket.as_fd().try_clone_to_owned())
            .collect()
    }
}

fn count_drops(socket: &mut MulticastSocket, counters: &LineCounters) -> io::Result<()> {
    let lost = socket.kernel_drops()?;
    counters.kernel_drops.fetch_add(lost, Ordering::Relaxed);
    Ok(())
}

/// Decides when to look again at what has nothing.
#[derive(Debug)]
pub(crate) struct Rest<'fd> {
    sockets: Vec<PollFd<'fd>>,
    wait: Wait,
    busy_at: u64,
}

impl<'fd> Rest<'fd> {
    /// Waits for these.
    pub(crate) fn new(wait: Wait, sockets: impl Iterator<Item = &'fd OwnedFd>) -> Self {
        Self {
            sockets: sockets
                .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
                .collect(),
            wait,
            busy_at: 0,
        }
    }

    /// Whether the next turn comes at once: something came, or it isn't time to sleep yet.
    pub(crate) fn is_short(&mut self, now: u64, busy: bool) -> bool {
        if busy {
            self.busy_at = now;
            return true;
        }
        let spin = match self.wait {
            Wait::Sleep => false,
            Wait::Spin => true,
            Wait::Adaptive { spin } => {
                u128::from(now.saturating_sub(self.busy_at)) < spin.as_nanos()
            }
        };
        if spin {
            std::hint::spin_loop();
        }
        spin
    }

    /// Sleeps until a datagram comes, the time is there, or [`REST_NS_MAX`] is over.
    pub(crate) fn sleep(&mut self, now: u64, until: Option<u64>) {
        let length = until.map_or(REST_NS_MAX, |until| {
            until.saturating_sub(now).min(REST_NS_MAX)
        });
        // Whatever it says: the sockets are looked at next.
        let timeout = TimeSpec::from_duration(Duration::from_nanos(length));
        let _ = ppoll(&mut self.sockets, Some(timeout), None);
    }
}

/// A receiver that is its channel's only shard.
#[derive(Debug)]
pub struct Receiver<O> {
    lines: Lines,
    batch: Batch,
    clock: Clock,
    drive: Drive<O>,
}

impl<O: Observer> Receiver<O> {
    /// Stays on the thread that makes it.
    #[must_use]
    pub fn new(lines: Lines, mut drive: Drive<O>) -> Self {
        drive.watch(lines.counters());
        Self {
            lines,
            batch: Batch::new(),
            clock: drive.clock(),
            drive,
        }
    }

    /// The shard and what belongs to it.
    #[must_use]
    pub fn drive(&self) -> &Drive<O> {
        &self.drive
    }

    /// One round: a batch of each line, answers, timers, requests, loads, snapshots.  Says how many
    /// datagrams came.
    ///
    /// # Errors
    ///
    /// The system's error if a line's socket fails.
    pub fn turn(&mut self) -> io::Result<usize> {
        let now = self.clock.now();
        let drive = &mut self.drive;
        let came = self.lines.receive(&mut self.batch, |line, batch| {
            drive.handle_batch(now, line, batch);
        })?;
        if drive.report_is_due(now) {
            self.lines.count()?;
        }
        Ok(came + drive.turn(now, &mut self.batch))
    }

    /// Runs until `stop` is set or the reactor is gone.
    ///
    /// # Errors
    ///
    /// The system's error if a line's socket fails.
    pub fn run(&mut self, wait: Wait, stop: &AtomicBool) -> io::Result<()> {
        let ends = |drive: &Drive<O>| stop.load(Ordering::Relaxed) || drive.is_abandoned();
        while !ends(&self.drive) {
            let mut sockets = self.lines.waited_for()?;
            sockets.extend(self.drive.waited_for()?);
            let mut rest = Rest::new(wait, sockets.iter());
            while !ends(&self.drive) && !self.drive.take_sockets_changed() {
                let came = self.turn()?;
                let now = self.clock.now();
                if !rest.is_short(now, came > 0) {
                    rest.sleep(now, self.drive.poll_timeout());
                }
            }
        }
        self.lines.count()?;
        self.drive.report(self.clock.now());
        Ok(())
    }
}

/// Runs the receiver of a channel that has several shards, until `stop` is set.  Call it on a thread of its
/// own.
///
/// # Errors
///
/// The system's error if a line's socket fails.
pub fn run_split(
    mut lines: Lines,
    mut splitter: Splitter,
    wait: Wait,
    stop: &AtomicBool,
) -> io::Result<()> {
    let mut batch = Batch::new();
    let clock = Clock::new();
    let sockets = lines.waited_for()?;
    let mut rest = Rest::new(wait, sockets.iter());
    let mut count_at = 0;
    while !stop.load(Ordering::Relaxed) {
        let came = lines.receive(&mut batch, |line, batch| splitter.handle_batch(line, batch))?;
        let now = clock.now();
        if now >= count_at {
            count_at = now + REPORT_EVERY_NS;
            lines.count()?;
        }
        if !rest.is_short(now, came > 0) {
            rest.sleep(now, None);
        }
    }
    lines.count()
}
