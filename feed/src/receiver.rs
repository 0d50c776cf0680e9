//! The pinned receive loop: an edge.  It moves packets from a socket to a shard and decides nothing.
//!
//! With one shard a channel the receiver *is* the shard: receive, decode, book, publish, run to
//! completion.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tickcast_book::link::Publisher;

use crate::arbiter::Source;
use crate::counters::ChannelStatus;
use crate::shard::{Observer, Shard};
use crate::socket::MulticastSocket;

/// How long the loop waits for a packet before it looks at requests and at the stop flag.  Bounds how
/// long a subscriber waits for a snapshot while the venue is silent.
const WAIT: Duration = Duration::from_millis(1);

/// How long the loop rests when none of several lines had a packet.
const REST: Duration = Duration::from_micros(100);

/// How often the counters are copied for other threads.
const STATUS_EVERY: Duration = Duration::from_millis(100);

/// How the loop waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wait {
    /// In the kernel.
    #[default]
    Sleep,
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

/// Pins the thread to a core.
#[must_use]
pub fn pin(core: Option<usize>) -> bool {
    core.is_some_and(|id| core_affinity::set_for_current(core_affinity::CoreId { id }))
}

/// Runs until `stop` is set or the reactor is gone.  Call it on a thread of its own.
///
/// All sockets are lines of the shard's channel.  With one, the loop waits for it in the kernel; with
/// several it looks at each in turn and rests when none had anything.
///
/// # Errors
///
/// The system's error if a socket fails.
pub fn run<O: Observer>(
    shard: &mut Shard<Publisher, O>,
    sockets: &mut [MulticastSocket],
    wait: Wait,
    status: &ChannelStatus,
    stop: &AtomicBool,
) -> io::Result<()> {
    let in_kernel = wait == Wait::Sleep && sockets.len() == 1;
    for socket in sockets.iter() {
        socket.set_wait(in_kernel.then_some(WAIT))?;
    }
    let started = Instant::now();
    let mut status_at = started;
    while !stop.load(Ordering::Relaxed) && !shard.is_abandoned() {
        let mut idle = true;
        let now = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        for (line, socket) in (0..).zip(sockets.iter_mut()) {
            if let Some(payload) = socket.receive()? {
                // A malformed packet was counted; the loop has nothing to add.
                let _ = shard.handle_packet(now, Source::Line(line), payload, wall_clock());
                idle = false;
            }
        }
        shard.handle_timeout(now);
        shard.handle_requests();
        if status_at.elapsed() >= STATUS_EVERY {
            status_at = Instant::now();
            status.store(|report| shard.report(report));
        }
        if idle && wait == Wait::Sleep && !in_kernel {
            std::thread::sleep(REST);
        }
    }
    status.store(|report| shard.report(report));
    Ok(())
}
