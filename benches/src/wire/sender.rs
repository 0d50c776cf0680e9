//! The exchange of a run: sends each packet when it is due, whatever became of those before it (an open loop).

use std::io;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::packets::{Packets, Schedule};
use crate::stamps::wall_clock;

/// Before a packet is due by less than this, a sender with a core of its own doesn't sleep any more.
const SPIN_NS: u64 = 200_000;

/// A sleep ends so much late as a rule (the kernel's timer slack); on a shared core the sender gives way from
/// here on.
const SLACK_NS: u64 = 60_000;

/// What was sent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sent {
    /// Packets that the system didn't take.
    pub(super) refused: u64,
    /// When the last one was sent.
    pub(super) last: u64,
    /// How late the latest was.
    pub(super) late_ns_max: u64,
}

/// Sends all packets.  `alone`: nobody else needs this core.
pub(super) fn send(
    socket: &UdpSocket,
    packets: &Packets,
    schedule: Schedule,
    alone: bool,
    stop: &AtomicBool,
) -> io::Result<Sent> {
    let mut sent = Sent::default();
    for (place, packet) in packets.iter() {
        let due = schedule.due(place.first);
        let mut now = wall_clock();
        while now < due {
            if stop.load(Ordering::Relaxed) {
                return Ok(sent);
            }
            rest(due - now, alone);
            now = wall_clock();
        }
        sent.late_ns_max = sent.late_ns_max.max(now - due);
        match socket.send(packet) {
            Ok(_) => {}
            Err(error) if is_full(&error) => sent.refused += 1,
            Err(error) => return Err(error),
        }
        sent.last = now;
    }
    Ok(sent)
}

fn rest(left: u64, alone: bool) {
    let kept = if alone { SPIN_NS } else { SLACK_NS };
    match left.checked_sub(kept) {
        Some(sleep) if sleep > 0 => thread::sleep(Duration::from_nanos(sleep)),
        _ if alone => std::hint::spin_loop(),
        _ => thread::yield_now(),
    }
}

/// The system has no room for a packet at the moment: it is lost, as on a real network.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || error.raw_os_error() == Some(nix::errno::Errno::ENOBUFS as i32)
}
